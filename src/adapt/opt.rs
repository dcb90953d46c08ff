//! OPT, online pre-training for offline-to-online reinforcement learning. Shin et al. 2025, arXiv:2507.08387.
//!
//!   before       the first `online.warmup_steps` environment steps only collect, with the offline policy as it is; then in
//!                each of N rounds, for new critics Q° on B rows of the data and B collected ones,
//!     L(X; ψ)   =  E_X[ Σ_j ( y - Q°_j(s,a; ψ) )² ],  y the base's with Q̂° for its target critics
//!     L_Q°      =  L(data; ψ) + L(collected; ψ - η ∇L(data; ψ))
//!   after        the base's rounds, and L_Q° = L(batch; ψ)
//!     L_π       =  the base's, on (1-κ) Q + κ Q° for the value of its action
//!   Q̂° ← (1-ρ) Q̂° + ρ Q°
//!
//! The gradient of L_Q° passes through ∇L(data; ψ): (I - η H) g for the second term, H the Hessian of L(data; ψ), g the
//! gradient at the shifted point. `second_order = false` leaves H out. N = `updates`; 0: no new critics, the base.
//! The replay is that of [`super::density`], over all transitions; `balanced = false`: uniform. Optimisers begin anew at the
//! switch; those of Q° go on from pre-training to fine-tuning.
//!
//! Over bases that offer others their target: TD3 and TD3+BC, whose tie to the data is dropped, and SPOT, which keeps its own
//! and the scale of Q; `unconstrained` says otherwise. Values of the policy's action are those of the first critic, of
//! either kind. κ follows its schedule over the rounds of fine-tuning. Published, with `critic_updates = 5` in MuJoCo, where
//! 150,000 steps are 750,000 rounds, and 1 elsewhere: random 1; medium `linear(0.3, 0.9, 750000)`; medium-replay
//! `linear(0.1, 0.9, 750000)`; AntMaze `linear(0.1, 0.9, 100000)`, large-diverse 200,000; Adroit 250,000. 300,000
//! environment steps in all.
//!
//! Order: the base's round; then Q°, Q̂°, which moves with the base's targets; then w and the priorities. The policy thus reads
//! the Q° of the round before.
//!
//! Metrics: those of [`super::density`]; `new_critic_loss` = L_Q°; `new_critic_weight` = κ; `q_new` = E[ min_j Q°_j(s, a) ];
//! `online_share` = online rows / B.
//!
//! The text fixes both losses, the step between them, the two phases and their lengths, the blend of the values, κ and the
//! replay. The authors' program was not read: ours are the order of the updates, that Q° reads one batch with Q, and the exact
//! derivative. Declared differences. From the text: none. From their program, as it is described: the second loss is not scaled
//! by min(L_1, L_2) / L_2.
//!
//! Cost per round (batch 256, 2x256) over TD3: 0.77 GFLOP, mean of two, and 0.31 of the density ratio; one of pre-training 1.04.

use super::critics;
use super::density::Density;
use crate::algo::measure::ONLINE_SHARE;
use crate::algo::{
    ACTOR, Adaptation, CRITIC, Cadence, Dims, FitTo, Learner, Phase, Plain, Pretraining, Round, Sampling,
};
use crate::autodiff::{Axis, Schedule, Tracer, Var};
use crate::config::limits::{COUNT, PER_STEP, RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, ConfigError, Metric, NetSpec};
use crate::nn::{Critics, Params};

crate::config! {
    OptConfig "opt", "Online pre-training of new critics" {
        shape updates:              u64        = 50_000, COUNT,     "N, rounds that pre-train the new critics after the environment steps that only collect (online.warmup_steps); 0: no new critics";
        shape inner_step:           f64        = 3e-4,   0.0..=1.0, "eta, step on the data's loss before that of collected transitions";
        shape second_order:         bool       = true,   ..,        "pass the gradient through that step";
        hyper kappa:                Schedule   = Schedule::Linear { from: 0.1, to: 0.9, steps: 750_000 }, 0.0..=1.0, "share of the new critics in the value that the policy maximises, over the rounds of fine-tuning";
        hyper polyak:               Schedule   = 0.005,  0.0..=1.0, "rho, target update rate of the new critics";
        shape unconstrained:        AutoOr<bool> = AutoOr::Auto, .., "drop what ties the base to the data while online; auto: unless that is made for fine-tuning, so that TD3+BC loses its cloning and SPOT keeps its support";
        run   critic_updates:       f64        = 5.0,    PER_STEP,  "rounds per environment step, unless online.updates_per_step is set";
        shape balanced:             bool       = true,   ..,        "sample by the density ratio; otherwise uniformly";
        shape priority_temperature: f64        = 5.0,    1e-3..=1e6, "T of the priorities; large: nearly uniform";
        shape density_hidden:       NetSpec    = [256, 256], WIDTHS, "hidden layers of the density ratio";
        opt   density:              AdamConfig = 3e-4,   RATE,      "optimiser of the density ratio";
        opt   critic:               AdamConfig = 3e-4,   RATE,      "optimiser of the new critics";
    }
}

/// Outside its own section.
pub const DEFAULTS: &str = "[online]\nwarmup_steps = 25_000\nreset_optimisers = true\nactor_lr = \"constant(1)\"\nexploration = \"noise\"\nexploration_noise = 0.1\n";

/// Loss of the new critics.
pub static NEW_LOSS: Metric = Metric::new("new_critic_loss", "L_Qo", "", "Loss of the new critics");
/// Their weight.
pub static KAPPA: Metric = Metric::new("new_critic_weight", "kappa", "", "Weight of the new critics");
/// Their values.
pub static Q_NEW: Metric = Metric::new("q_new", "E[ min_j Qo_j(s, a) ]", "", "Values");

/// OPT over some base.
#[derive(Debug)]
pub struct Opt {
    config: OptConfig,
    unconstrained: bool,
    density: Option<Density>,
    new: Option<New>,
}

/// The new critics.
#[derive(Debug)]
struct New {
    q: Critics,
    target: Critics,
}

impl Opt {
    /// Declares w, and new critics of the form of the base's. Errors: a base without critics, or without
    /// [`Learner::target`]; with balanced replay, a schedule of `density` without a length of its own.
    pub fn declare(
        config: &OptConfig,
        dims: Dims,
        base: &dyn Learner,
        params: &mut Params,
    ) -> Result<Opt, ConfigError> {
        let c = config;
        let old = critics(base, "trains new critics beside the base's")?;
        if !takes_other_critics(base, old, dims, params) {
            return Err(ConfigError::Other(
                "it trains critics beside the base's on the base's own target, which this base does not offer for others; choose td3, td3_bc or spot, or --adapt plain".into(),
            ));
        }
        let density = match c.balanced {
            true => {
                let net = (&c.density_hidden, &c.density);
                Some(Density::declare("opt", net, c.priority_temperature, dims, params)?)
            }
            false => None,
        };
        let new = (c.updates > 0).then(|| {
            let q = old.others(params, "q_new");
            let target = q.target(params);
            New { q, target }
        });
        let unconstrained = c.unconstrained.or_else(|| !base.keeps_tie());
        Ok(Opt { config: config.clone(), unconstrained, density, new })
    }

    /// One round of pre-training, on rows of the data and as many collected ones.
    fn pretrain_round(&self, b: &Round<'_>, new: &New) {
        let psi: Vec<Var<'_>> = new.q.tensors().into_iter().map(|id| b.s.param(id)).collect();
        let on_data = new.loss(&b.part(0, 2), &psi);
        let gradient = on_data.gradients(&psi).into_iter();
        let gradient = gradient.map(|g| if self.config.second_order { g } else { g.detach() });
        let shifted: Vec<Var<'_>> =
            psi.iter().zip(gradient).map(|(p, g)| *p - g * self.config.inner_step).collect();
        let loss = on_data + new.loss(&b.part(1, 2), &shifted);
        b.train("pre-training", CRITIC, new.q.group(), &self.config.critic, loss);
        b.polyak(ACTOR, new.q.group(), new.target.group(), "opt.polyak", &self.config.polyak);
    }
}

/// Whether a base has [`Learner::target`].
fn takes_other_critics(base: &dyn Learner, critics: &Critics, dims: Dims, params: &Params) -> bool {
    let t = Tracer::new(params.table());
    base.target(&Round::new(&t, dims, &Phase::offline(1), base, &Plain), critics).is_some()
}

impl New {
    /// L(X; ψ) on the rows of a round.
    fn loss<'t>(&self, b: &Round<'t>, psi: &[Var<'t>]) -> Var<'t> {
        let y = b.learner().target(b, &self.target).expect("invariant: the base was asked before");
        (self.q.all_at(psi, b.s, b.a) - y).square().sum(Axis::Heads).mean()
    }
}

impl Adaptation for Opt {
    fn policy_value<'t>(
        &self,
        b: &Round<'t>,
        own: &Critics,
        _a: Var<'t>,
        of: &dyn Fn(&Critics) -> Var<'t>,
    ) -> Var<'t> {
        let Some(new) = self.new.as_ref().filter(|_| b.phase().online) else { return of(own) };
        let kappa = b.hyper("opt.kappa", &self.config.kappa).named("kappa");
        b.metric(&KAPPA, kappa);
        (1.0 - kappa) * of(own) + kappa * of(&new.q)
    }

    fn unconstrained(&self) -> bool {
        self.unconstrained
    }

    fn finish_round(&self, b: &Round<'_>) {
        if let Some(online) = b.online {
            b.metric(&ONLINE_SHARE, online.mean());
        }
        let Some(new) = self.new.as_ref().filter(|_| b.phase().online) else { return };
        let psi: Vec<Var<'_>> = new.q.tensors().into_iter().map(|id| b.s.param(id)).collect();
        let loss = new.loss(b, &psi);
        b.metric(&NEW_LOSS, loss);
        b.metric(&Q_NEW, new.q.min(b.s, b.a).mean());
        b.train_anew("q_new", CRITIC, new.q.group(), &self.config.critic, loss);
        let with = if b.phase().own_pace { CRITIC } else { ACTOR };
        b.polyak(with, new.q.group(), new.target.group(), "opt.polyak", &self.config.polyak);
    }

    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        let Some(new) = &self.new else { return Vec::new() };
        vec![Pretraining {
            name: "new critics",
            group: new.q.group(),
            to: FitTo::Collected,
            updates: self.config.updates,
            trace: Box::new(|b| self.pretrain_round(b, new)),
            given: None,
        }]
    }

    fn reprioritise<'t>(&self, t: &'t Tracer, s: Var<'t>, a: Var<'t>) -> Option<Var<'t>> {
        Some(self.density.as_ref()?.reprioritise(t, s, a))
    }

    fn sampling(&self) -> Sampling {
        let balanced = self.density.is_some();
        Sampling {
            prioritised: balanced,
            stratified: balanced,
            opening_share: balanced.then_some(0.0),
            ..Sampling::default()
        }
    }

    fn cadence(&self) -> Cadence {
        Cadence { critic: self.config.critic_updates, ..Cadence::default() }
    }
}
