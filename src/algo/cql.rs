//! Conservative Q-learning, CQL(H) on a soft actor-critic. Kumar, Zhou, Tucker, Levine 2020, arXiv:2006.04779.
//!
//!   samples    N each of  u ~ U(-1,1)^A,  a' ~ π(s'),  a~ ~ π(s),  every one of them valued *at s*
//!   cat_j(s) = [ Q_j(s,u) + A log 2,  Q_j(s,a') - log π(a'|s'),  Q_j(s,a~) - log π(a~|s) ]      [B, 3N]
//!   D_j      = E[ clip( T log Σ exp(cat_j / T) - Q_j(s,a) ) ]                                 eq. 4, appendix F
//!   y        = r + γ m min_j Q̂_j(s', a'),  a' ~ π(s')
//!   L_Q(θ)   = Σ_j  E[ w ( y - Q_j(s,a) )² ] + α_c D_j
//!   L_α, L_π   as in SAC
//!   lagrange:  Σ_j α'·α_c ( D_j - gap ) in place of Σ_j α_c D_j,  L_α' = -mean_j α' α_c ( D_j - gap )
//!
//! `importance = false` (CQL(ρ)): cat_j = [ Q_j(s,u), Q_j(s,a), Q_j(s,a'), Q_j(s,a~) ] without densities.
//! `max_backup`: N draws at s'; the minimum over critics of each, then the maximum over draws.
//! `entropy_backup`: - α log π(a'|s') in the backup.
//! `target_critics` = Z: y has the minimum over Z critics, drawn for the round; `policy_value = mean`: L_π has the mean over
//! critics. With both, five critics and no entropy in the backup it is GCQL (Zheng et al. 2023), the base of APL.
//! `cloning_updates`: in the first so many rounds L_π = E[ α log π(a~|s) - log π(a|s) ].
//! w is 1 unless an adaptation supplies it; by default it weighs the squared error alone. An adaptation may drop the
//! penalty online; what remains is SAC, whose backup has the entropy and one draw.
//!
//! `ensemble = E`: E agents, as Off2On wants them, each with a policy, J critics (those of member i are `q.iJ` and on), a
//! temperature and a multiplier of its own. Offline each learns alone, with draws of its own from the round's common
//! batch; every loss is the sum over members. Online one policy acts and learns, in evaluations offline too:
//!
//!   π = tanh N(μ, σ²),  μ = mean_i μ_i,  σ² = mean_i (μ_i² + σ_i²) - μ²
//!   y_i = r + γ m min_j Q̂_ij(s', a'),   L_Q = Σ_i Σ_j E[ w ( y_i - Q_ij(s,a) )² ] + α_c D_ij
//!   L_π = E[ mean_i ( α_i log π(a~|s) - min_j Q_ij(s, a~) ) ],   L_α summed over members
//!
//! Order `start`: all losses from the parameters at the beginning of the round; then α', α, π, Q, Q̂ move.
//! Order `d3rlpy` (the program on which E2O's authors build): α, Q, π, Q̂, each on what moved before it; π on a draw of its
//! own, α on -α E[ log π(a~|s) + H ]; α' as before. `mode_backup`, likewise theirs: a' = mode π(s') in the backup.
//!
//! Metrics: those of [`super::measure`] and [`super::soft`]; `conservative_gap` = mean_j D_j; `bellman_loss` = Σ_j E[ w ( y - Q_j )² ] and
//! `penalty_loss` = Σ_j α_c D_j, or with its multiplier, the two sums of L_Q; `multiplier` = α'. Of an ensemble, values,
//! entropies, temperatures and multipliers are means over members; losses are as above.
//!
//! Declared differences. From the paper: no 1/2 before the squared error, so α_c is twice the paper's. From the
//! public PyTorch reference: log π(a|s) of `cloning_updates` is that of the recorded action; L_α' is a mean over
//! critics (the same for two). With `max_backup` and `entropy_backup` together, draws that tie for the maximum
//! share their log π.
//!
//! Above 400 lines because the options of every published variant, and the traces that set them, stand here.
//!
//! Cost per update (batch 256, 3x256, N = 10): 13.3 GFLOP, nearly all of it the 2(3N+1) values per state. The
//! policy's network and the critics' first layer as far as it reads s run once per distinct state, forward and
//! backward, and no gradient enters the policy from the samples of cat_j. An ensemble costs E times as much.

use super::foreign::{ANY, Foreign, Ours, POSITIVE, Reading, SHARE, Wrong};
use super::measure::{CRITIC_LOSS, POLICY_LOSS, critic_metrics, policy_metrics};
use super::soft::{Factor, InitRule, Link, SoftNets, SoftSpec, Steps, Temperature, mean_of_heads, scalars};
use super::{ACTOR, CRITIC, Dims, Learner, Round};
use crate::autodiff::{Axis, GroupId, Metric, NoiseKind, ParamId, Schedule, Shape, Var};
use crate::config::limits::{COUNT, RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, ConfigError, NetSpec};
use crate::nn::{Critics, Head, Params, Within};

crate::choices! {
    /// Whether the weight of the penalty is trained.
    Lagrange {
        None = "none", "the weight is given";
        Gap(value: f64 = -1e6..=1e6) = "gap", "a multiplier is trained so that D_j stays at this value";
    }
}

crate::choices! {
    /// The value of an action in the policy's loss.
    PolicyValue {
        Least = "least", "the smallest of the critics";
        Mean  = "mean",  "the mean over critics";
    }
}

crate::choices! {
    /// One end of a clipping interval.
    Bound {
        None = "none", "no bound";
        At(value: f64 = -1e6..=1e6) = "at", "this value";
    }
}

impl Bound {
    fn or(self, none: f64) -> f64 {
        match self {
            Bound::None => none,
            Bound::At(value) => value,
        }
    }
}

crate::choices! {
    /// Order of the updates.
    Order {
        Start  = "start",  "all losses from the parameters at the beginning of the round";
        D3rlpy = "d3rlpy", "temperature, Q, policy, target; each on what moved before it, the policy on a draw of its own";
    }
}

crate::config! {
    CqlConfig "cql", "Conservative Q-learning" {
        hyper discount:        Schedule    = 0.99,                 0.0..=1.0,  "gamma";
        hyper polyak:          Schedule    = 0.005,                0.0..=1.0,  "rho, target update rate";
        hyper penalty:         Schedule    = 10.0,                 0.0..=1e6,      "alpha_c, weight of the conservative penalty";
        shape penalty_online:  AutoOr<f64> = AutoOr::Auto,         0.0..=1e6,      "the same during fine-tuning; auto: as offline";
        shape samples:         usize       = 10,                   1..=1000,    "N, sampled actions of each kind";
        shape lse_temperature: f64         = 1.0,                  1e-6..=1e6, "T of the log-sum-exp";
        shape importance:      bool        = true,                 ..,         "subtract the log-densities of the sampled actions";
        shape difference_min:  Bound       = Bound::None,          ..,         "lower bound of the clipped difference";
        shape difference_max:  Bound       = Bound::None,          ..,         "upper bound of the clipped difference";
        shape lagrange:        Lagrange    = Lagrange::None,       ..,         "whether the weight of the penalty is trained";
        shape max_backup:      bool        = false,                ..,         "back up the best of N sampled next actions";
        shape entropy_backup:  bool        = false,                ..,         "back up the entropy of the next action too";
        shape mode_backup:     bool        = false,                ..,         "back up the policy's mode in place of a draw; for max_backup and entropy_backup there is a draw";
        shape order:           Order       = Order::Start,         ..,         "order of the updates";
        shape cloning_updates: u64         = 0,                    COUNT,        "first rounds in which the policy clones the data";
        shape temperature:     Temperature = Temperature::Learned, ..,         "alpha, weight of the entropy";
        shape target_entropy:  AutoOr<f64> = AutoOr::Auto,         -1e6..=1e6,         "H of the temperature's loss; auto: minus the action dimension";
        shape log_std_min:     f64         = -20.0,                -20.0..2.0, "lower bound of log sigma; the upper one is 2";
        shape std_scale:       bool        = true,                 ..,         "train a factor (from 1) and an offset (from -1) of log sigma";
        shape init:            InitRule    = InitRule::Corl,       ..,         "initial weights";
        shape policy_hidden:   NetSpec     = [256, 256, 256],      WIDTHS,         "hidden layers of the policy";
        shape critic_hidden:   NetSpec     = [256, 256, 256],      WIDTHS,         "hidden layers of the critics";
        shape critics:         usize       = 2,                    1..=64,      "J, number of critics";
        shape target_critics:  AutoOr<usize> = AutoOr::Auto,       1..=64,      "Z of them, drawn in every round, whose least value is the target's; auto: all";
        shape policy_value:    PolicyValue = PolicyValue::Least,   ..,         "what the policy maximises";
        shape ensemble:        usize       = 1,                    1..=64,      "E, agents: each learns alone offline, online they act and learn as one";
        opt   actor:           AdamConfig  = 3e-5,                 RATE,         "optimiser of the policy";
        opt   critic:          AdamConfig  = 3e-4,                 RATE,         "optimiser of Q";
        opt   temperature_optimiser: AdamConfig = 3e-5,            RATE,         "optimiser of log alpha";
        opt   multiplier_optimiser:  AdamConfig = 3e-4,            RATE,         "optimiser of log alpha'";
    }
}

/// The difference that the penalty shrinks.
pub static GAP: Metric = Metric::new("conservative_gap", "mean_j D_j", "", "Conservative gap");
/// Bellman term of the critics' loss.
pub static BELLMAN: Metric =
    Metric::new("bellman_loss", "sum_j E[ w (y - Q_j)^2 ]", "", "Loss of Q, its two terms");
/// Conservative term of the critics' loss.
pub static PENALTY: Metric =
    Metric::new("penalty_loss", "sum_j alpha_c D_j, or with its multiplier", "", "Loss of Q, its two terms");
/// The trained multiplier.
pub static MULTIPLIER: Metric = Metric::new("multiplier", "alpha'", "", "Multiplier of the penalty");

/// Largest α'.
const MULTIPLIER_BOUND: f64 = 1e6;

/// Conservative Q-learning.
#[derive(Debug)]
pub struct Cql {
    pub(super) config: CqlConfig,
    pub(super) nets: SoftNets,
    log_multiplier: Option<(GroupId, ParamId)>,
}

/// Values at s of the sampled actions, before densities (J: E·J critics of an ensemble): `[J, B, N]` of random ones, `[J, B, 2N]` of the
/// policy's.
pub(super) type Sampled<'t> = (Var<'t>, Var<'t>);

/// What the policy reads, and how much its loss makes of Q.
#[derive(Clone, Copy)]
pub(super) struct Reads<'t> {
    /// in s: the state, or the state beside what else is given
    pub(super) s: Var<'t>,
    /// in s'
    pub(super) s2: Var<'t>,
    /// factor `[B, 1]` of Q in L_π; `None`: 1
    pub(super) factor: Option<Var<'t>>,
}

impl CqlConfig {
    /// What one option asks of another.
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError::Other(text));
        let (j, e) = (self.critics, self.ensemble);
        let (lo, hi) = (self.difference_min.or(f64::NEG_INFINITY), self.difference_max.or(f64::INFINITY));
        if lo >= hi {
            return refuse(format!(
                "cql.difference_min: expected less than cql.difference_max = {}, got {}",
                self.difference_max, self.difference_min
            ));
        }
        match self.target_critics {
            AutoOr::Value(z) if z > j => {
                refuse(format!("cql.target_critics: expected at most cql.critics = {j}, got {z}; lower it"))
            }
            AutoOr::Value(z) if z < j && e > 1 => refuse(format!(
                "cql.target_critics: expected auto with cql.ensemble = {e}, got {z}; an agent's target takes all its critics"
            )),
            _ if e > 1 && self.policy_value != PolicyValue::Least => refuse(format!(
                "cql.policy_value: expected least with cql.ensemble = {e}, got {}; leave it out",
                self.policy_value
            )),
            _ => Ok(()),
        }
    }
}

impl Cql {
    /// Declares the networks of a soft actor-critic and the multiplier. Errors: `difference_min` not below
    /// `difference_max`; more `target_critics` than `critics`; with an ensemble, fewer `target_critics`, or a
    /// `policy_value` other than least.
    pub fn declare(config: &CqlConfig, dims: Dims, params: &mut Params) -> Result<Cql, ConfigError> {
        Cql::of(config, &Cql::spec(config), dims, params)
    }

    /// What its networks are like.
    pub(super) fn spec(c: &CqlConfig) -> SoftSpec {
        SoftSpec {
            ensemble: c.ensemble,
            given: 0,
            policy_net: c.policy_hidden.begin(c.init.policy()),
            critic_net: c.critic_hidden.begin(c.init.critics()),
            critics: c.critics,
            head: Head::TanhGaussian {
                log_std: (c.log_std_min, 2.0),
                within: Within::Clamped,
                squash_eps: 0.0,
                std_scale: c.std_scale.then_some((1.0, -1.0)),
            },
            temperature: c.temperature,
            link: Link::Exp,
            target_entropy: c.target_entropy,
        }
    }

    /// Declares networks that are like this.
    pub(super) fn of(
        config: &CqlConfig,
        spec: &SoftSpec,
        dims: Dims,
        params: &mut Params,
    ) -> Result<Cql, ConfigError> {
        config.check()?;
        let nets = SoftNets::declare(spec, dims, params);
        let log_multiplier = match config.lagrange {
            Lagrange::None => None,
            Lagrange::Gap(_) => Some(scalars(params, "log_alpha_prime", config.ensemble, 1.0)),
        };
        Ok(Cql { config: config.clone(), nets, log_multiplier })
    }

    /// How many target critics are drawn in a round, where not all are asked.
    fn drawn_targets(&self) -> Option<usize> {
        match self.config.target_critics {
            AutoOr::Value(z) if z < self.config.critics => Some(z),
            _ => None,
        }
    }

    /// y = r + γ m · (value of the next state).
    fn target<'t>(&self, b: &Round<'t>, reads: Reads<'t>) -> Var<'t> {
        let (c, n) = (&self.config, &self.nets);
        let k = if c.max_backup && !b.unconstrained() { c.samples } else { 1 };
        let with_entropy = c.entropy_backup || b.unconstrained();
        let pi = n.learning(b);
        let (a2, log_pi) = pi.draw(reads.s2, k);
        let a2 = if c.mode_backup && k == 1 && !with_entropy { pi.mode(reads.s2) } else { a2 };
        let a2 = b.perturb(a2);
        let q = match self.drawn_targets() {
            Some(z) => n.q_target.min_of_drawn(b.s2, a2, z),
            None => b.value(&n.q_target, b.s2, a2),
        };
        let (best, log_pi) = if k == 1 { (q, log_pi) } else { best_of(q, log_pi, k) };
        let value = match with_entropy {
            true => best - n.alpha(b) * log_pi,
            false => best,
        };
        let gamma = b.hyper("cql.discount", &c.discount);
        b.r + gamma * b.m * value
    }

    /// clip( T log Σ exp(cat_j / T) - Q_j(s,a) ) `[J, B, 1]`, for q = Q_j(s,a).
    fn difference<'t>(
        &self,
        b: &Round<'t>,
        q: Var<'t>,
        reads: Reads<'t>,
        calibrate: impl FnOnce(Sampled<'t>) -> Sampled<'t>,
    ) -> Var<'t> {
        let (c, pi, critics) = (&self.config, self.nets.learning(b), &self.nets.q);
        let (n, rows, a_dim) = (c.samples, b.dims().batch, b.dims().a);
        let heads = if b.phase().online { 1 } else { c.ensemble };
        let uniform = b.noise("uniform actions", NoiseKind::Uniform, Shape::new(heads, rows * n, a_dim));
        let (current, log_pi) = pi.draw(reads.s, n);
        let (next, log_pi2) = pi.draw(reads.s2, n);

        // One state's samples side by side, then one below the other.
        let beside = |x: Var<'t>| x.reshape(Shape::new(heads, rows, n * x.shape().cols));
        let actions = beside(uniform * 2.0 - 1.0).concat(beside(next)).concat(beside(current));
        let actions = actions.reshape(Shape::new(heads, rows * 3 * n, a_dim)).named("samples");
        let values = critics.all(b.s, actions);
        let values = values.reshape(Shape::new(c.ensemble * c.critics, rows, 3 * n));
        let (random, sampled) = calibrate((values.slice(0, n), values.slice(n, 2 * n)));

        let cat = if c.importance {
            let uniform_density = -(a_dim as f64) * 2f64.ln();
            (random - uniform_density)
                .concat(sampled - critics.per_critic(beside(log_pi2).concat(beside(log_pi))))
        } else {
            random.concat(q).concat(sampled)
        };
        let temperature = c.lse_temperature;
        let soft_max = match temperature == 1.0 {
            true => cat.log_sum_exp(),
            false => (cat / temperature).log_sum_exp() * temperature,
        };
        match (c.difference_min, c.difference_max) {
            (Bound::None, Bound::None) => soft_max - q,
            (lo, hi) => (soft_max - q).clamp(lo.or(f64::NEG_INFINITY), hi.or(f64::INFINITY)),
        }
    }

    /// Σ_j α_c D_j, or with the multiplier its Lagrangian and the multiplier's loss; D_j is `[J, 1, 1]`.
    fn penalty<'t>(&self, b: &Round<'t>, d: Var<'t>) -> (Var<'t>, Option<Var<'t>>) {
        let c = &self.config;
        let weight = match c.penalty_online {
            AutoOr::Value(x) if b.phase().online => Schedule::Constant(x),
            _ => c.penalty,
        };
        let weight = b.hyper("cql.penalty", &weight);
        match (c.lagrange, self.log_multiplier) {
            (Lagrange::Gap(gap), Some((_, p))) => {
                let multiplier = d.param(p).exp().clamp(0.0, MULTIPLIER_BOUND).named("alpha'");
                b.metric(&MULTIPLIER, mean_of_heads(multiplier));
                let terms = self.nets.q.per_critic(multiplier) * (weight * (d - gap));
                let terms = terms.sum(Axis::Heads);
                (terms, Some(-(terms / c.critics as f64)))
            }
            _ => ((weight * d).sum(Axis::Heads), None),
        }
    }

    fn policy_loss<'t>(&self, b: &Round<'t>, reads: Reads<'t>, drawn: (Var<'t>, Var<'t>)) -> Var<'t> {
        let soft = match (self.config.policy_value, reads.factor) {
            (PolicyValue::Least, None) => self.nets.policy_loss(b, drawn),
            (PolicyValue::Mean, None) => self.nets.policy_loss_on_mean(b, drawn),
            (value, Some(factor)) => {
                let q = match value {
                    PolicyValue::Least => self.nets.q.min(b.s, drawn.0),
                    PolicyValue::Mean => self.nets.q.all(b.s, drawn.0).mean_over(Axis::Heads),
                };
                (self.nets.alpha(b) * drawn.1 - factor * q).mean()
            }
        };
        let left = self.config.cloning_updates.saturating_sub(b.phase().before);
        if left == 0 || b.unconstrained() {
            return soft;
        }
        // Both losses are there in every round; one of them counts.
        let cloning = self.nets.alpha(b) * drawn.1 - self.nets.learning(b).log_prob(reads.s, b.a);
        let cloning = if drawn.1.shape().heads == 1 { cloning } else { cloning.sum(Axis::Heads) }.mean();
        let clones = b.hyper("cql.cloning", &Schedule::Step { from: 1.0, to: 0.0, steps: left });
        let clones = b.tied(clones);
        clones * cloning + (1.0 - clones) * soft
    }

    /// One round; `calibrate` may change the values of the sampled actions.
    pub(super) fn round<'t>(&self, b: &Round<'t>, calibrate: impl FnOnce(Sampled<'t>) -> Sampled<'t>) {
        policy_metrics(b, b.greedy(), &self.nets.pi, b.s);
        self.learn(b, Reads { s: b.s, s2: b.s2, factor: None }, calibrate);
    }

    /// The same without the metrics of the policy, which reads this.
    pub(super) fn learn<'t>(
        &self,
        b: &Round<'t>,
        reads: Reads<'t>,
        calibrate: impl FnOnce(Sampled<'t>) -> Sampled<'t>,
    ) {
        let (c, n) = (&self.config, &self.nets);
        let (a, log_pi) = n.learning(b).draw(reads.s, 1);
        let polyak = ("cql.polyak", &c.polyak);
        match c.order {
            Order::Start => {
                let policy_loss = self.policy_loss(b, reads, (a, log_pi));
                let critic_loss = self.critic_loss(b, reads, calibrate);
                let steps = Steps {
                    temperature: &c.temperature_optimiser,
                    actor: &c.actor,
                    critic: &c.critic,
                    polyak,
                };
                n.train_all(b, log_pi, policy_loss, critic_loss, &steps);
            }
            Order::D3rlpy => {
                n.policy_metrics(b, log_pi);
                n.train_temperature(b, log_pi, Factor::Alpha, &c.temperature_optimiser);
                let loss = self.critic_loss(b, reads, calibrate);
                b.metric(&CRITIC_LOSS, loss);
                b.train("q", CRITIC, n.q.group(), &c.critic, loss);
                let loss = self.policy_loss(b, reads, n.learning(b).draw(reads.s, 1));
                b.metric(&POLICY_LOSS, loss);
                b.train("policy", ACTOR, n.pi.group(), &c.actor, loss);
                n.move_target(b, polyak);
            }
        }
    }

    /// L_Q; moves the multiplier, if there is one, on the way.
    fn critic_loss<'t>(
        &self,
        b: &Round<'t>,
        reads: Reads<'t>,
        calibrate: impl FnOnce(Sampled<'t>) -> Sampled<'t>,
    ) -> Var<'t> {
        let (c, n) = (&self.config, &self.nets);
        let y = self.target(b, reads);
        let q = n.q.all(b.s, b.a);
        let squares = (q - n.q.per_critic(y)).square();
        let (on_error, on_penalty) = b.weights(q);
        let bellman = squares.sum(Axis::Heads).weighted_mean(on_error);
        let penalty = (!b.unconstrained()).then(|| {
            let difference = self.difference(b, q, reads, calibrate);
            b.metric(&GAP, difference.mean());
            let d = match on_penalty {
                Some(w) => w * difference,
                None => difference,
            };
            self.penalty(b, d.mean_over(Axis::Rows))
        });
        critic_metrics(b, &n.q, q, squares);
        b.metric(&BELLMAN, bellman);
        let Some((penalty, multiplier_loss)) = penalty else { return bellman };
        let (penalty, multiplier_loss) = (b.tied(penalty), multiplier_loss.map(|loss| b.tied(loss)));
        b.metric(&PENALTY, penalty);
        let loss = bellman + penalty;
        if let (Some(loss), Some((group, _))) = (multiplier_loss, self.log_multiplier) {
            b.train("multiplier", CRITIC, group, &c.multiplier_optimiser, loss);
        }
        loss
    }
}

/// The largest of the k values of each state, and the log π of the draw that has it.
fn best_of<'t>(q: Var<'t>, log_pi: Var<'t>, k: usize) -> (Var<'t>, Var<'t>) {
    let beside = |x: Var<'t>| x.reshape(Shape::new(x.shape().heads, x.shape().rows / k, k));
    let q = beside(q);
    let best = q.max(Axis::Cols);
    let is_best = 1.0 - q.less(best);
    (best, (is_best * beside(log_pi)).sum(Axis::Cols) / is_best.sum(Axis::Cols))
}

impl Learner for Cql {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.round(b, |values| values);
    }

    of_nets!();

    fn target_critics(&self) -> Option<&Critics> {
        self.drawn_targets().is_none().then_some(&self.nets.q_target)
    }
}

/// Traces of CORL's CQL, of the agents that Off2On's authors go online with, and of the critics that E2O's do.
pub const FOREIGN: &[Foreign] = &[
    Foreign { losses: LOSSES, ..Foreign::new("cql", foreign) },
    Foreign::new("off2on", unconstrained_ensemble),
    Foreign::new("e2o", many_critics),
];

/// How CORL logs them.
pub(super) const LOSSES: &[(&str, &[&str])] = &[
    ("q", &["qf1_loss", "qf2_loss", "cql_min_qf1_loss", "cql_min_qf2_loss"]),
    ("multiplier", &["alpha_prime_loss"]),
];

pub(super) fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    let a = r.dims().a as f64;
    let lagrange = r.flag_or("cql_lagrange", false)?;
    ours.config.put(CqlConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        penalty: r.constant_or("cql_alpha", ANY, 10.0)?,
        penalty_online: AutoOr::Auto,
        samples: r.whole_or("cql_n_actions", 999, 10)? as usize,
        lse_temperature: r.number_or("cql_temp", POSITIVE, 1.0)?,
        importance: r.flag_or("cql_importance_sample", true)?,
        difference_min: Bound::None,
        difference_max: Bound::None,
        lagrange: match lagrange {
            true => Lagrange::Gap(r.number_or("cql_target_action_gap", ANY, 10.0)?),
            false => Lagrange::None,
        },
        max_backup: r.flag_or("cql_max_target_backup", false)?,
        mode_backup: false,
        order: Order::Start,
        entropy_backup: r.flag_or("backup_entropy", false)?,
        cloning_updates: r.number_or("bc_steps", (0.0, 1e12), 0.0)? as u64,
        temperature: Temperature::Learned,
        target_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -a)?),
        log_std_min: r.log_std_min_or(-20.0)?,
        std_scale: true,
        init: InitRule::Corl,
        policy_hidden: r.hidden("pi"),
        critic_hidden: r.hidden("q"),
        critics: r.copies("q"),
        target_critics: AutoOr::Auto,
        policy_value: PolicyValue::Least,
        ensemble: 1,
        actor: r.adam_or(&["actor_lr"], 3e-5)?,
        critic: r.adam_or(&["critic_lr"], 3e-4)?,
        temperature_optimiser: r.adam_or(&["alpha_lr"], 3e-5)?,
        multiplier_optimiser: r.adam_or(&["alpha_prime_lr"], 3e-4)?,
    });
    Ok(())
}

/// Soft actor-critics as rlkit's, which are CQL's without the penalty.
fn unconstrained_ensemble(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    let (members, critics, a) = (r.copies("pi"), r.copies("q"), r.dims().a as f64);
    r.check_size("ensemble", members, "init.actor_*")?;
    if !critics.is_multiple_of(members) {
        let expected = format!("critics that {members} members can share equally");
        return Err(r.wrong("init.critic_*", &expected, &critics.to_string()));
    }
    ours.config.put(CqlConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        temperature: match r.has("log_alpha") {
            true => Temperature::Learned,
            false => Temperature::Fixed(r.number_or("alpha", (0.0, 1e9), 0.2)?),
        },
        target_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -a)?),
        log_std_min: r.log_std_min_or(-20.0)?,
        std_scale: false,
        policy_hidden: r.hidden("pi"),
        critic_hidden: r.hidden("q"),
        critics: critics / members,
        ensemble: members,
        actor: r.adam_or(&["actor_lr", "policy_lr", "lr"], 3e-4)?,
        critic: r.adam_or(&["critic_lr", "q_lr", "lr"], 3e-4)?,
        temperature_optimiser: r.adam_or(&["alpha_lr", "policy_lr", "lr"], 3e-4)?,
        ..Default::default()
    });
    Ok(())
}

/// One agent of many critics in the order of d3rlpy, which online is CQL's without the penalty.
fn many_critics(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    let a = r.dims().a as f64;
    r.check_size("num_critics", r.copies("q"), "init.critic_*")?;
    r.word("order", &["temperature, critics, actor, targets"])?;
    ours.config.put(CqlConfig {
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        order: Order::D3rlpy,
        target_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -a)?),
        log_std_min: r.log_std_min_or(-20.0)?,
        std_scale: false,
        policy_hidden: r.hidden("pi"),
        critic_hidden: r.hidden("q"),
        critics: r.copies("q"),
        actor: r.adam_or(&["actor_lr"], 3e-5)?,
        critic: r.adam_or(&["critic_lr"], 3e-4)?,
        temperature_optimiser: r.adam_or(&["alpha_lr"], 1e-4)?,
        ..Default::default()
    });
    Ok(())
}
