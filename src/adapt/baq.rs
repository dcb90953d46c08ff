//! Behavior-Adaptive Q-learning. arXiv:2511.03695.
//!
//!   π_BC: maximum likelihood on the offline data, then frozen                          eq. 2
//!   w(s,a) = exp( - mean_i (π_BC(s)_i - a_i)² / k_q )                                  eq. 6
//!   critic losses of the base: E[ w · (...) ]                                          eqs. 7-9
//!   ρ(s,a) = ( ‖π_BC(s) - a‖ / k_ρ + 1 )^α,   P_i = ρ_i / Σ ρ                          eq. 10
//!
//! Order: the base's. π_BC never moves (except under `relax = follow`), so the two distances are computed
//! once per transition and stored with it.
//!
//! Eq. 6 shrinks the loss of transitions far from π_BC while eq. 10 draws them more often; the expected
//! contribution goes with ρ w, which favours *mildly* novel actions and suppresses far ones.
//!
//! Declared differences. From what the text fixes none; there is no public program. Where the text is silent: π_BC(s) is
//! the mode; the constants k_q, k_ρ, α are ours; w multiplies the value and critic losses and nothing else, in CQL the
//! squared error (eq. 7) unless `cql_scope` says otherwise; w has no gradient; draws are stratified (`stratified`);
//! priorities are not corrected unless `is_exponent` asks; the text's "gradual relaxation" has no equation and is offered as `relax`.
//!
//! Metrics, over the batch: `d2_offline`, `d2_online` = mean of the distance in eq. 6 over rows of that origin;
//! `w_offline`, `w_online` = mean w of eq. 6, before `normalise_weight`, under `relax = gate` with the critics after the
//! round; `rho_offline`, `rho_online` = mean min(ρ, e^70); `w_effective_share` = (Σ w)² / (B Σ w²); `online_share` = online
//! rows / B.
//! `rows` chooses between the method, its two parts alone (+Q, +S) and the base.
//! Cost per round: the base's; one forward pass of π_BC per *new* transition.
//!
//! Above 400 lines because the options of the method's every reading stand beside what they change.

use super::critics;
use crate::algo::bc::{Bc, BcConfig, Model};
use crate::algo::foreign::{Foreign, Ours, POSITIVE, Precision, Reading, Wrong};
use crate::algo::measure::{ONLINE_SHARE, effective_share, mean_where};
use crate::algo::{Adaptation, CRITIC, Dims, FitTo, Given, Learner, Pretraining, Range, Round, Sampling};
use crate::autodiff::{Axis, Schedule, Var};
use crate::config::limits::{MOST, RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, ConfigError, Metric, NetSpec, Section as _};
use crate::nn::Params;
use crate::replay;

crate::choices! {
    /// Distance in the weight (eq. 6).
    Distance {
        Mean        = "mean",        "mean over dimensions of the squared error, as printed";
        Sum         = "sum",         "sum over dimensions of the squared error";
        Mahalanobis = "mahalanobis", "mean over dimensions of the squared error in units of the model's spread";
    }
}

crate::choices! {
    /// Norm in the priority (eq. 10).
    Norm {
        L2  = "l2",  "Euclidean, as printed";
        L1  = "l1",  "sum of absolute values";
        Rms = "rms", "Euclidean divided by the root of the dimension";
    }
}

crate::choices! {
    /// Scale k_ρ of the priority.
    PriorityScale {
        SqrtDim = "sqrt_dim", "root of the action dimension";
        Auto    = "auto",     "offline mean of the norm";
        Fixed(value: f64 = 1e-6..=1e6) = "fixed", "this value";
    }
}

crate::choices! {
    /// Sign of the exponent in eq. 10.
    Favour {
        Novel    = "novel",    "transitions far from the model: exponent alpha, as printed";
        Familiar = "familiar", "transitions near the model: exponent -alpha";
    }
}

crate::choices! {
    /// What relaxes the weights during fine-tuning.
    Relax {
        None = "none",   "nothing: weights relax only as online data fills the buffer";
        Widen(rounds: f64 = 1.0..=1e12) = "widen",  "k_q grows as 1 + t / rounds, to the planned end of the phase";
        Fade(rounds: f64 = 1.0..=1e12)  = "fade",   "1 / k_q falls to 0 over so many rounds: then w = 1";
        Follow(rate: f64 = 0.0..=1.0) = "follow", "the model drifts towards the policy at this rate per round";
        Gate               = "gate",   "distances are scaled by the disagreement of the critics";
    }
}

crate::choices! {
    /// Priority of offline transitions.
    OfflinePriority {
        Eq10                  = "eq10",       "eq. 10, as for online ones";
        One                   = "one",        "1";
        MeanMatch(share: f64 = 0.0..=1.0) = "mean_match", "eq. 10, rescaled so that online transitions have this share of a batch";
    }
}

crate::choices! {
    /// What w multiplies in the critic loss of CQL.
    Scope {
        Bellman = "bellman", "the squared error (eq. 7)";
        Penalty = "penalty", "the conservative penalty, as the text has it";
        Both    = "both",    "both, so that far transitions are not pushed down harder than they are fitted";
    }
}

crate::choices! {
    /// Rows of the ablation: the base, each of the two parts alone, both.
    Rows {
        Both     = "q_and_s", "weights of eq. 6 and priorities of eq. 10, the method";
        Weight   = "q",       "weights alone (+Q)";
        Priority = "s",       "priorities alone (+S)";
        None     = "none",    "neither: the base, to the bit";
    }
}

impl Rows {
    fn weighs(self) -> bool {
        matches!(self, Rows::Both | Rows::Weight)
    }

    fn prioritises(self) -> bool {
        matches!(self, Rows::Both | Rows::Priority)
    }
}

crate::config! {
    BaqConfig "baq", "Behavior-adaptive Q-learning" {
        shape rows:             Rows            = Rows::Both, ..,     "which of the two parts act: a row of the ablation";
        shape k_q:              AutoOr<f64>     = 0.5,   1e-6..=1e6,      "scale of the weight; auto: 4 times the offline mean of the distance";
        run   k_rho:            PriorityScale   = PriorityScale::SqrtDim, .., "scale of the priority";
        run   priority_exponent: f64            = 0.6,   0.0..=8.0,   "alpha of eq. 10";
        run   favour:           Favour          = Favour::Novel, ..,  "which transitions are drawn more often";
        shape distance:         Distance        = Distance::Mean, .., "distance in the weight";
        run   norm:             Norm            = Norm::L2, ..,       "norm in the priority";
        shape normalise_weight: bool            = false, ..,          "divide the weights by their mean over the batch";
        run   offline_priority: OfflinePriority = OfflinePriority::Eq10, .., "priority of offline transitions";
        run   stratified:       bool            = true,  ..,          "one draw in each equal part of the mass, instead of independent draws";
        hyper is_exponent:      Schedule        = 0.0,   0.0..=1.0,   "exponent of the importance-sampling correction; 0: none";
        shape cql_scope:        Scope           = Scope::Bellman, ..,     "what w multiplies in CQL, which has two terms";
        shape relax:            Relax           = Relax::None, ..,    "what relaxes the weights during fine-tuning";
        shape model:            Model           = Model::Gaussian, .., "likelihood that the behaviour model is fitted with";
        shape model_hidden:     NetSpec         = [256, 256], WIDTHS,     "hidden layers of the behaviour model";
        opt   model_optimiser:  AdamConfig      = 3e-4,  RATE,          "optimiser of the behaviour model";
        run   model_updates:    u64             = 100_000, 1..=MOST,       "updates that fit the behaviour model, unless a fitted one is given";
    }
}

/// Mean distance of offline rows.
pub static D2_OFFLINE: Metric =
    Metric::new("d2_offline", "mean distance of eq. 6, offline rows of the batch", "", "Distance from pi_BC");
/// Mean distance of online rows.
pub static D2_ONLINE: Metric =
    Metric::new("d2_online", "mean distance of eq. 6, online rows of the batch", "", "Distance from pi_BC");
/// Mean weight of offline rows.
pub static W_OFFLINE: Metric = Metric::new("w_offline", "mean w, offline rows of the batch", "", "Weights w");
/// Mean weight of online rows.
pub static W_ONLINE: Metric = Metric::new("w_online", "mean w, online rows of the batch", "", "Weights w");
/// Effective sample size.
pub static W_ESS: Metric =
    Metric::new("w_effective_share", "(sum w)^2 / (B sum w^2)", Metric::SHARE, "Effective sample share");
/// Mean priority of offline rows.
pub static RHO_OFFLINE: Metric = Metric::new(
    "rho_offline",
    "mean min(rho, e^70), rho of eq. 10, offline rows of the batch",
    "",
    "Priorities rho",
);
/// Mean priority of online rows.
pub static RHO_ONLINE: Metric = Metric::new(
    "rho_online",
    "mean min(rho, e^70), rho of eq. 10, online rows of the batch",
    "",
    "Priorities rho",
);

/// Largest log ρ in metrics: f32 must hold the sum over a batch. Priorities themselves are f64.
const LOG_RHO_MOST: f64 = 70.0;
/// Name of w among [`Adaptation::quantities`].
const WEIGHT: &str = "weight w";
/// From the spread of behaviour policies at their entropy targets: offline there is room on both sides, online it still
/// learns from new transitions.
const RANGE: Range =
    Range { quantity: WEIGHT, offline: (0.8, 0.98), online: (0.4, 0.9), advice: "--set baq.k_q=auto" };
const RANGES: &[Range] = &[RANGE];
/// The same where that is set.
const RANGES_OF_AUTO: &[Range] =
    &[Range { advice: "a number for baq.k_q instead of auto, a greater one for greater weights", ..RANGE }];

/// BAQ over some base.
#[derive(Debug)]
pub struct Baq {
    config: BaqConfig,
    model: Bc,
    dims: Dims,
    k_q: f64,
    k_rho: f64,
}

impl Baq {
    /// Declares π_BC as the group `bc`, after the networks of the base. Errors: a base without critics; options that do
    /// not go together: `relax = gate` over one critic, `is_exponent` with `mean_match`, `relax = follow` over an ensemble or a policy that reads more
    /// than the state, `mahalanobis` with a model that has no spread.
    pub fn declare(
        config: &BaqConfig,
        dims: Dims,
        base: &dyn Learner,
        params: &mut Params,
    ) -> Result<Baq, ConfigError> {
        let c = config;
        let heads = critics(base, "weighs the losses of critics")?.heads();
        if c.relax == Relax::Gate && heads < 2 {
            return Err(ConfigError::Other(
                "baq.relax = gate asks how far several critics disagree, and this base has one, so that all weights would be 1; raise their number, or choose another relax".into(),
            ));
        }
        if let Relax::Fade(rounds) = c.relax
            && rounds.fract() != 0.0
        {
            return Err(ConfigError::Other(format!(
                "baq.relax = fade: expected whole rounds, got {rounds}; round it"
            )));
        }
        if let (OfflinePriority::MeanMatch(_), true) =
            (c.offline_priority, c.is_exponent != Schedule::Constant(0.0))
        {
            return Err(ConfigError::Other(
                "baq.is_exponent corrects eq. 10's probabilities, which baq.offline_priority = mean_match replaces; use one of them".into(),
            ));
        }
        let pi = base.policy();
        if matches!(c.relax, Relax::Follow(_)) && (pi.size() > 1 || pi.inputs() != dims.s) {
            return Err(ConfigError::Other(
                "baq.relax = follow moves one model towards one policy of the state, and this base has an ensemble of them, or one that reads more; choose another relax, or an ensemble of 1".into(),
            ));
        }
        let model = if let Relax::Follow(_) = c.relax {
            // A model that drifts towards the policy has the policy's own form.
            Bc::like(base.policy(), c.model_optimiser, "bc", dims, params)
        } else {
            let config =
                BcConfig { model: c.model, hidden: c.model_hidden.clone(), actor: c.model_optimiser };
            Bc::declare(&config, "bc", dims, params)
        };
        if c.distance == Distance::Mahalanobis && !model.policy().has_density() {
            return Err(ConfigError::Other(
                "baq.distance = mahalanobis needs a behaviour model with a spread; set baq.model = gaussian, or under baq.relax = follow a policy with one"
                    .into(),
            ));
        }
        let k_rho = match c.k_rho {
            PriorityScale::Fixed(k) => k,
            PriorityScale::SqrtDim | PriorityScale::Auto => (dims.a as f64).sqrt(),
        };
        let k_q = c.k_q.or_else(|| 0.5);
        Ok(Baq { config: c.clone(), model, dims, k_q, k_rho })
    }

    /// The signed exponent of eq. 10.
    fn exponent(&self) -> f64 {
        match self.config.favour {
            Favour::Novel => self.config.priority_exponent,
            Favour::Familiar => -self.config.priority_exponent,
        }
    }

    /// exp(-d² g / k_q) with the chosen relaxation; g is 1 or the gate.
    fn eq6<'t>(&self, b: &Round<'t>, q: Var<'t>) -> Var<'t> {
        let d2 = b.column(replay::D2);
        let k = self.k_q;
        match self.config.relax {
            Relax::None | Relax::Follow(_) => (d2 * (-1.0 / k)).exp(),
            Relax::Widen(rounds) => {
                let all = b.phase().rounds;
                let to = k * (1.0 + all as f64 / rounds);
                let k_t = Schedule::Linear { from: k, to, steps: all.max(1) };
                (-d2 / b.hyper("baq.k_q", &k_t)).exp()
            }
            Relax::Fade(rounds) => {
                let inverse = Schedule::Linear { from: 1.0 / k, to: 0.0, steps: rounds as u64 };
                (-d2 * b.hyper("baq.1/k_q", &inverse)).exp()
            }
            Relax::Gate => {
                // The running mean of the disagreement is taken over the batch.
                let spread = q.max(Axis::Heads) - q.min(Axis::Heads);
                let gate = (spread / (spread.mean() + 1e-8)).clamp(0.0, 4.0);
                (d2 * gate * (-1.0 / k)).exp()
            }
        }
        .named("w")
    }

    /// w of eq. 6 as the losses use it.
    fn q_weight<'t>(&self, b: &Round<'t>, q: Var<'t>) -> Option<Var<'t>> {
        self.config.rows.weighs().then(|| {
            // No gradient passes the gate's critics.
            let w = self.eq6(b, q.detach());
            if self.config.normalise_weight { w / w.mean().clamp(1e-30, f64::INFINITY) } else { w }
        })
    }

    /// The importance-sampling correction of a prioritised batch; it belongs to every term of a critic loss.
    fn correction<'t>(&self, b: &Round<'t>) -> Option<Var<'t>> {
        self.sampling().importance.map(|_| b.column(replay::IMPORTANCE))
    }
}

/// The product of what there is.
fn product<'t>(a: Option<Var<'t>>, b: Option<Var<'t>>) -> Option<Var<'t>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a * b),
        (a, b) => a.or(b),
    }
}

impl Adaptation for Baq {
    fn weight<'t>(&self, b: &Round<'t>, q: Var<'t>) -> Option<Var<'t>> {
        product(self.q_weight(b, q), self.correction(b))
    }

    fn weights<'t>(&self, b: &Round<'t>, q: Var<'t>) -> (Option<Var<'t>>, Option<Var<'t>>) {
        let (w, correction) = (self.q_weight(b, q), self.correction(b));
        match self.config.cql_scope {
            Scope::Bellman => (product(w, correction), correction),
            Scope::Penalty => (correction, product(w, correction)),
            Scope::Both => (product(w, correction), product(w, correction)),
        }
    }

    fn finish_round(&self, b: &Round<'_>) {
        let base = b.learner();
        if let Some(online) = b.online {
            let d2 = b.column(replay::D2);
            let offline = 1.0 - online;
            b.metric(&D2_OFFLINE, mean_where(d2, offline));
            b.metric(&D2_ONLINE, mean_where(d2, online));
            b.metric(&ONLINE_SHARE, online.mean());
            let exponent = self.exponent();
            let log_rho = (b.column(replay::DISTANCE) / self.k_rho + 1.0).log() * exponent;
            let rho = log_rho.clamp(f64::NEG_INFINITY, LOG_RHO_MOST).exp();
            b.metric(&RHO_OFFLINE, mean_where(rho, offline));
            b.metric(&RHO_ONLINE, mean_where(rho, online));
            if let (true, Some(critics)) = (self.config.rows.weighs(), base.critics()) {
                let w = self.eq6(b, critics.all(b.s, b.a));
                b.metric(&W_OFFLINE, mean_where(w, offline));
                b.metric(&W_ONLINE, mean_where(w, online));
                b.metric(&W_ESS, effective_share(w, self.dims.batch));
            }
        }
        if let Relax::Follow(rate) = self.config.relax {
            let (pi, model) = (base.policy().group(), self.model.policy().group());
            b.polyak(CRITIC, pi, model, "baq.follow", &Schedule::Constant(rate));
        }
    }

    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        vec![Pretraining {
            name: "behaviour model",
            group: self.model.policy().group(),
            to: FitTo::Data,
            updates: self.config.model_updates,
            trace: Box::new(|b| self.model.trace(b)),
            given: Some(Given {
                algo: BcConfig::NAME,
                group: "pi",
                form: &[("model", "model"), ("model_hidden", "hidden")],
                fitting: &["model_updates", "model_optimiser"],
            }),
        }]
    }

    fn annotate<'t>(&self, s: Var<'t>, a: Var<'t>) -> Vec<(&'static str, Var<'t>)> {
        let pi = self.model.policy();
        let error = pi.mode(s) - a;
        let squares = error.square();
        let d2 = match self.config.distance {
            Distance::Mean => squares.mean_over(Axis::Cols),
            Distance::Sum => squares.sum(Axis::Cols),
            Distance::Mahalanobis => {
                let std = pi.std(s).expect("invariant: checked when declared");
                (error / std).square().mean_over(Axis::Cols)
            }
        };
        let norm = match self.config.norm {
            Norm::L2 => squares.sum(Axis::Cols).sqrt(),
            Norm::Rms => squares.mean_over(Axis::Cols).sqrt(),
            Norm::L1 => error.abs().sum(Axis::Cols),
        };
        vec![(replay::D2, d2), (replay::DISTANCE, norm)]
    }

    fn sampling(&self) -> Sampling {
        let c = &self.config;
        let importance =
            (c.rows.prioritises() && c.is_exponent != Schedule::Constant(0.0)).then_some(c.is_exponent);
        let online_share = match c.offline_priority {
            OfflinePriority::MeanMatch(share) => Some(share),
            OfflinePriority::Eq10 | OfflinePriority::One => None,
        };
        Sampling {
            prioritised: c.rows.prioritises(),
            stratified: c.stratified && c.rows.prioritises(),
            online_share: online_share.filter(|_| c.rows.prioritises()),
            importance,
            refresh: matches!(c.relax, Relax::Follow(_)),
            opening_share: None,
            latest: None,
        }
    }

    fn priority(&self, annotated: &[f32], online: bool) -> f64 {
        let c = &self.config;
        if !c.rows.prioritises() || (!online && c.offline_priority == OfflinePriority::One) {
            return 1.0;
        }
        (f64::from(annotated[1]) / self.k_rho + 1.0).powf(self.exponent())
    }

    fn quantities(&self, annotated: &[f32], online: bool) -> Vec<(&'static str, f64)> {
        let d2 = f64::from(annotated[0]);
        vec![
            ("distance d2", d2),
            (WEIGHT, (-d2 / self.k_q).exp()),
            ("priority rho", self.priority(annotated, online)),
        ]
    }

    fn ranges(&self) -> &'static [Range] {
        match self.config.k_q {
            AutoOr::Auto => RANGES_OF_AUTO,
            AutoOr::Value(_) => RANGES,
        }
    }

    fn calibrate(&mut self, offline_means: &[f64]) {
        self.k_q = self.config.k_q.or_else(|| (4.0 * offline_means[0]).max(1e-6));
        if self.config.k_rho == PriorityScale::Auto {
            self.k_rho = offline_means[1].max(1e-6);
        }
    }
}

/// Traces of the method over two bases.
pub const FOREIGN: &[Foreign] = &[
    Foreign { base: "iql", networks: &[("bc", "bc")], ..Foreign::new("baq-iql", foreign) },
    Foreign { base: "cql", networks: &[("bc", "bc")], ..Foreign::new("baq-cql", foreign) },
];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    // Nothing is rounded here, whatever the base's own program does.
    ours.constants = ours.constants.map(|_| Precision::Double);
    // The distance needs the model's mode alone, so its head follows from its width.
    let model = match r.widths("bc").last() {
        Some(width) if *width == 2 * r.dims().a => Model::Gaussian,
        _ => Model::Mse,
    };
    ours.config.put(BaqConfig {
        k_q: AutoOr::Value(r.number_or("k_q", POSITIVE, 0.5)?),
        rows: Rows::Weight,
        model,
        model_hidden: r.hidden("bc"),
        ..Default::default()
    });
    Ok(())
}
