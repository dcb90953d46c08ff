//! Soft actor-critic. Haarnoja et al. 2018, arXiv:1812.05905.
//!
//!   a~, log π from π(s), reparameterised;  α = exp(log α)
//!   L_α       = -log α · E[ log π(a~|s) + H ],  H = -A                         eq. 18
//!   L_π(φ)    =  E[ α log π(a~|s) - min_j Q_j(s, a~) ]                         eq. 7
//!   y         =  r + γ m ( min_j Q̂_j(s', a') - α log π(a'|s') ),  a' ~ π(s')
//!   L_Q(θ)    =  E[ w · Σ_j ( y - Q_j(s,a) )² ]                                eq. 5
//!   Q̂ ← (1-ρ) Q̂ + ρ Q
//!
//! w is 1 unless an adaptation supplies it.
//! Order `rlkit`: all losses from the parameters at the beginning of the round; then α, π, Q, Q̂ move.
//! Order `cleanrl`: Q; `actor_updates` times π, on the new Q, and α, on a draw of its own after π has moved, with
//! L_α = -α E[ log π(a|s) + H ]; then Q̂. π and α move in every `actor_every`-th round in either order; where the policy
//! has a rate of its own (SO2, SUF, `online.actor_updates_per_step`) that rate counts its updates, one in each of its
//! rounds.
//! `target = own`: y_j = r + γ m ( Q̂_j(s', a') - α log π(a'|s') ), each critic follows its own target;
//! `critic_loss = mean`: E[ w · mean_j ( y - Q_j(s,a) )² ]. Both, with order `cleanrl`, are SO2's authors'.
//!
//! Metrics: those of [`super::measure`]; `policy_entropy` = -E[ log π(a~|s) ]; `temperature` = α, `temperature_loss` = L_α.
//!
//! Declared differences. From the paper: the squared error has no 1/2, as in rlkit; α is learnt through log α. From
//! rlkit: in an environment alone updates alternate with single steps, not 1,000 with 1,000. From CleanRL (the preset
//! `sac_cleanrl`: its order, log σ between -5 and 2 by a tanh, 1e-6 in the density): none.
//! The networks and the three losses around the policy serve CQL as well, there also as an ensemble.
//!
//! Cost per update (batch 256, 2x256): 0.56 GFLOP.

use super::bc::policy_metrics;
use super::measure::{CRITIC_LOSS, POLICY_LOSS, error_metrics, value_metrics};
use super::{ACTOR, Adaptation, Batch, CRITIC, Dims, Learner, Phase};
use crate::autodiff::{Axis, GroupId, Metric, ParamId, Schedule, Shape, Tracer, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, ConfigError, Dims as Widths};
use crate::nn::init::Init;
use crate::nn::{self, Critics, Head, Params, Policy, Preset};

crate::choices! {
    /// The weight α of the entropy.
    Temperature {
        Learned = "learned", "trained towards the target entropy, from 1";
        Fixed(value: f64 = 0.0..=1e6) = "fixed", "this value";
    }
}

crate::choices! {
    /// Order of the updates.
    Order {
        Rlkit   = "rlkit",   "all losses from the parameters at the beginning of the round";
        Cleanrl = "cleanrl", "Q, the policy on the new Q, the temperature on a draw of its own";
    }
}

crate::choices! {
    /// What critics regress on.
    Target {
        Min = "min", "one target for all, the least of the target critics";
        Own = "own", "each on its own target critic";
    }
}

crate::choices! {
    /// How the losses of the critics become one.
    CriticLoss {
        Sum  = "sum",  "sum over critics";
        Mean = "mean", "mean over critics";
    }
}

crate::choices! {
    /// How log σ is kept between its bounds.
    Within {
        Clamped = "clamped", "cut off at them";
        Tanh    = "tanh",    "laid between them by a tanh";
    }
}

crate::choices! {
    /// Initial weights of policy and critics.
    InitRule {
        Rlkit = "rlkit", "uniform within 1/sqrt(outputs), last layers within 0.003 (critics) and 0.001 (policy), biases 0";
        Torch = "torch", "uniform within 1/sqrt(inputs), biases too";
        Corl  = "corl",  "critics orthogonal, last gain 0.01; policy as torch, last layer Xavier with gain 0.01";
        Lecun = "lecun", "truncated normal of variance 1/inputs, last layers uniform of variance 0.01/inputs, biases 0";
    }
}

impl InitRule {
    fn policy(self) -> Preset {
        match self {
            InitRule::Rlkit => Preset::Rlkit { last: 1e-3 },
            InitRule::Torch => Preset::Torch,
            InitRule::Corl => Preset::TorchXavier { last: 0.01 },
            InitRule::Lecun => Preset::Lecun,
        }
    }

    fn critics(self) -> Preset {
        match self {
            InitRule::Rlkit => Preset::Rlkit { last: 3e-3 },
            InitRule::Corl => Preset::Orthogonal { last: 0.01 },
            InitRule::Torch | InitRule::Lecun => self.policy(),
        }
    }
}

crate::config! {
    SacConfig "sac", "Soft actor-critic" {
        hyper discount:       Schedule    = 0.99,                 0.0..=1.0,  "gamma";
        hyper polyak:         Schedule    = 0.005,                0.0..=1.0,  "rho, target update rate";
        shape temperature:    Temperature = Temperature::Learned, ..,         "alpha, weight of the entropy";
        shape target_entropy: AutoOr<f64> = AutoOr::Auto,         -1e6..=1e6,         "H of the temperature's loss; auto: minus the action dimension";
        shape order:          Order       = Order::Rlkit,         ..,         "order of the updates";
        shape actor_every:    u64         = 1,                    1..1001,    "rounds between updates of the policy and the temperature";
        shape actor_updates:  usize       = 1,                    1..9,       "how many of them in such a round; order cleanrl alone has several";
        shape log_std_min:    f64         = -20.0,                -20.0..2.0, "lower bound of log sigma; the upper one is 2";
        shape log_std_within: Within      = Within::Clamped,      ..,         "how log sigma is kept between its bounds";
        shape squash_eps:     f64         = 0.0,                  0.0..0.1,   "added to 1 - tanh^2 in the density; 0: the density as it is";
        shape init:           InitRule    = InitRule::Rlkit,      ..,         "initial weights";
        shape hidden:         Widths      = [256, 256],           WIDTHS,         "hidden layers of every network";
        shape critics:        usize       = 2,                    1..=64,      "J, number of critics";
        shape target:         Target      = Target::Min,          ..,         "what critics regress on";
        shape critic_loss:    CriticLoss  = CriticLoss::Sum,      ..,         "how the losses of the critics become one";
        opt   actor:          AdamConfig  = 3e-4,                 RATE,         "optimiser of the policy";
        opt   critic:         AdamConfig  = 3e-4,                 RATE,         "optimiser of Q";
        opt   temperature_optimiser: AdamConfig = 3e-4,           RATE,         "optimiser of log alpha";
    }
}

/// The temperature.
pub static TEMPERATURE: Metric = Metric::new("temperature", "alpha", "", "Temperature");
/// Loss of the temperature.
pub static TEMPERATURE_LOSS: Metric =
    Metric::new("temperature_loss", "L_alpha", "", "Loss of the temperature");
/// Entropy of the policy.
pub static ENTROPY: Metric = Metric::new("policy_entropy", "-E[ log pi(a~|s) ]", "", "Policy entropy");

/// What the networks of a soft actor-critic are like.
pub(super) struct SoftSpec<'a> {
    /// E, independent agents
    pub(super) ensemble: usize,
    pub(super) policy_hidden: &'a [usize],
    pub(super) critic_hidden: &'a [usize],
    pub(super) critics: usize,
    pub(super) init: InitRule,
    pub(super) head: Head,
    pub(super) temperature: Temperature,
    pub(super) target_entropy: AutoOr<f64>,
}

/// Policy, critics, their targets, and the temperature.
#[derive(Debug)]
pub(super) struct SoftNets {
    pub(super) pi: Policy,
    pub(super) q: Critics,
    pub(super) q_target: Critics,
    log_alpha: Option<(GroupId, ParamId)>,
    fixed: f64,
    target_entropy: f64,
}

/// Optimisers of one round, and the target's rate.
pub(super) struct Steps<'a> {
    pub(super) temperature: &'a AdamConfig,
    pub(super) actor: &'a AdamConfig,
    pub(super) critic: &'a AdamConfig,
    pub(super) polyak: (&'static str, &'a Schedule),
}

impl SoftNets {
    /// Declares them.
    pub(super) fn declare(spec: &SoftSpec<'_>, dims: Dims, params: &mut Params) -> SoftNets {
        let (e, init) = (spec.ensemble, spec.init.policy());
        let pi = Policy::ensemble(params, "pi", e, dims.sa(), spec.policy_hidden, spec.head, init);
        let mut critics = |name, symbol| {
            let init = spec.init.critics();
            let all = e * spec.critics;
            Critics::declare(params, name, symbol, all, dims.sa(), spec.critic_hidden, init).of_members(e)
        };
        let (q, q_target) = (critics("q", "q"), critics("q_target", "q^"));
        params.starts_equal(q.group(), q_target.group());
        let (log_alpha, fixed) = match spec.temperature {
            Temperature::Learned => (Some(scalars(params, "log_alpha", e, 0.0)), 1.0),
            Temperature::Fixed(value) => (None, value),
        };
        let target_entropy = spec.target_entropy.or_else(|| -(dims.a as f64));
        SoftNets { pi, q, q_target, log_alpha, fixed, target_entropy }
    }

    /// The policies that learn: the members of an ensemble each for itself offline, their joint policy online.
    pub(super) fn learning(&self, phase: &Phase) -> Policy {
        if phase.online { self.pi.clone() } else { self.pi.members() }
    }

    /// α `[E, 1, 1]`
    pub(super) fn alpha<'t>(&self, t: &'t Tracer) -> Var<'t> {
        match self.log_alpha {
            Some((_, p)) => t.param(p).exp().named("alpha"),
            None => t.constant(self.fixed),
        }
    }

    /// E[ α log π(a~|s) - min_j Q_j(s, a~) ], of an ensemble the sum over members' own actions or, for one action of
    /// all, the mean over members
    pub(super) fn policy_loss<'t>(
        &self,
        t: &'t Tracer,
        b: &Batch<'t>,
        (a, log_pi): (Var<'t>, Var<'t>),
    ) -> Var<'t> {
        let loss = self.alpha(t) * log_pi - self.q.min(t, b.s, a);
        if a.shape().heads == 1 { loss.mean() } else { loss.sum(Axis::Heads).mean() }
    }

    /// Moves α, π, Q and the target, in this order, all on losses that have been traced before.
    pub(super) fn step<'t>(
        &self,
        t: &'t Tracer,
        phase: &Phase,
        log_pi: Var<'t>,
        policy_loss: Var<'t>,
        critic_loss: Var<'t>,
        steps: &Steps<'_>,
    ) {
        t.metric(&POLICY_LOSS, policy_loss);
        t.metric(&CRITIC_LOSS, critic_loss);
        t.metric(&ENTROPY, -log_pi.mean());
        t.metric(&TEMPERATURE, mean_of_heads(self.alpha(t)));
        if let Some((group, p)) = self.log_alpha {
            let loss = -(t.param(p) * (log_pi + self.target_entropy)).sum(Axis::Heads).mean();
            t.metric(&TEMPERATURE_LOSS, loss);
            t.train("temperature", ACTOR, group, &phase.actor(steps.temperature), loss);
        }
        t.train("policy", ACTOR, self.pi.group(), &phase.actor(steps.actor), policy_loss);
        self.step_critics(t, phase, critic_loss, steps);
        self.step_target(t, phase, steps);
    }

    fn step_critics<'t>(&self, t: &'t Tracer, phase: &Phase, loss: Var<'t>, steps: &Steps<'_>) {
        t.train("q", CRITIC, self.q.group(), &phase.critic(steps.critic), loss);
    }

    fn step_target(&self, t: &Tracer, phase: &Phase, steps: &Steps<'_>) {
        let (name, rate) = steps.polyak;
        t.polyak(CRITIC, self.q.group(), self.q_target.group(), name, &phase.hyper(rate));
    }

    /// Moves π on Q as it stands, then α on a draw of its own: the k-th time in a round.
    fn step_policy<'t>(&self, t: &'t Tracer, b: &Batch<'t>, phase: &Phase, steps: &Steps<'_>, k: usize) {
        let (policy, temperature) = REPEATS[k];
        let (a, log_pi) = self.pi.draw(t, b.s, 1);
        let loss = self.policy_loss(t, b, (a, log_pi));
        if k == 0 {
            t.metric(&POLICY_LOSS, loss);
            t.metric(&ENTROPY, -log_pi.mean());
            t.metric(&TEMPERATURE, mean_of_heads(self.alpha(t)));
        }
        t.train(policy, ACTOR, self.pi.group(), &phase.actor(steps.actor), loss);
        if let Some((group, _)) = self.log_alpha {
            let (_, log_pi) = self.pi.draw(t, b.s, 1);
            let loss = -(self.alpha(t) * (log_pi + self.target_entropy)).mean();
            if k == 0 {
                t.metric(&TEMPERATURE_LOSS, loss);
            }
            t.train(temperature, ACTOR, group, &phase.actor(steps.temperature), loss);
        }
    }
}

/// Names of the updates of policy and temperature, as often as a round may have them.
const REPEATS: [(&str, &str); 8] = [
    ("policy", "temperature"),
    ("policy 2", "temperature 2"),
    ("policy 3", "temperature 3"),
    ("policy 4", "temperature 4"),
    ("policy 5", "temperature 5"),
    ("policy 6", "temperature 6"),
    ("policy 7", "temperature 7"),
    ("policy 8", "temperature 8"),
];

/// A trained scalar of each member `[E, 1, 1]` as a group of its own.
pub(super) fn scalars(params: &mut Params, name: &str, members: usize, begin: f64) -> (GroupId, ParamId) {
    let group = params.group(name, members > 1);
    (group, params.tensor(group, "value", Shape::new(members, 1, 1), Init::Constant(begin)))
}

/// The mean over an ensemble; of one member its value.
pub(super) fn mean_of_heads(x: Var<'_>) -> Var<'_> {
    if x.shape().heads == 1 { x } else { x.mean_over(Axis::Heads) }
}

/// Soft actor-critic.
#[derive(Debug)]
pub struct Sac {
    config: SacConfig,
    nets: SoftNets,
}

impl Sac {
    /// Declares policy, critics, targets and temperature.
    pub fn declare(config: &SacConfig, dims: Dims, params: &mut Params) -> Result<Sac, ConfigError> {
        let c = config;
        if c.order == Order::Rlkit && c.actor_updates > 1 {
            return Err(ConfigError::Other(format!(
                "sac.actor_updates = {}: order rlkit has one update of the policy in a round; set sac.order = cleanrl or sac.actor_updates = 1",
                c.actor_updates
            )));
        }
        let within = match c.log_std_within {
            Within::Clamped => nn::Within::Clamped,
            Within::Tanh => nn::Within::Tanh,
        };
        let spec = SoftSpec {
            ensemble: 1,
            policy_hidden: &c.hidden,
            critic_hidden: &c.hidden,
            critics: c.critics,
            init: c.init,
            head: Head::TanhGaussian {
                log_std: (c.log_std_min, 2.0),
                within,
                squash_eps: c.squash_eps,
                std_scale: None,
            },
            temperature: c.temperature,
            target_entropy: c.target_entropy,
        };
        Ok(Sac { config: config.clone(), nets: SoftNets::declare(&spec, dims, params) })
    }

    /// y = r + γ m ( min_j Q̂_j(s', a') - α log π(a'|s') ), or one for each critic
    fn target<'t>(&self, t: &'t Tracer, b: &Batch<'t>, ad: &dyn Adaptation, phase: &Phase) -> Var<'t> {
        let (a2, log_pi) = self.nets.pi.draw(t, b.s2, 1);
        let a2 = ad.perturb(t, a2);
        let value = match self.config.target {
            Target::Min => self.nets.q_target.min(t, b.s2, a2),
            Target::Own => self.nets.q_target.all(t, b.s2, a2),
        };
        let soft = value - self.nets.alpha(t) * log_pi;
        let gamma = t.hyper("sac.discount", &phase.hyper(&self.config.discount));
        b.r + gamma * b.m * soft
    }

    fn critic_loss<'t>(&self, t: &'t Tracer, b: &Batch<'t>, ad: &dyn Adaptation, phase: &Phase) -> Var<'t> {
        let n = &self.nets;
        let y = self.target(t, b, ad, phase);
        let q = n.q.all(t, b.s, b.a);
        let squares = (q - y).square();
        let all = match self.config.critic_loss {
            CriticLoss::Sum => squares.sum(Axis::Heads),
            CriticLoss::Mean => squares.mean_over(Axis::Heads),
        };
        let loss = all.weighted_mean(ad.weight(t, b, q, phase));
        value_metrics(t, b, &n.q, &n.pi, q);
        error_metrics(t, b, squares);
        loss
    }
}

impl Learner for Sac {
    fn trace<'t>(&self, t: &'t Tracer, b: &Batch<'t>, ad: &dyn Adaptation, phase: &Phase) {
        let (c, n) = (&self.config, &self.nets);
        let steps = Steps {
            temperature: &c.temperature_optimiser,
            actor: &c.actor,
            critic: &c.critic,
            polyak: ("sac.polyak", &c.polyak),
        };
        policy_metrics(t, b, &n.pi);
        match c.order {
            Order::Rlkit => {
                let (a, log_pi) = n.pi.draw(t, b.s, 1);
                let policy_loss = n.policy_loss(t, b, (a, log_pi));
                let critic_loss = self.critic_loss(t, b, ad, phase);
                n.step(t, phase, log_pi, policy_loss, critic_loss, &steps);
            }
            Order::Cleanrl => {
                let loss = self.critic_loss(t, b, ad, phase);
                t.metric(&CRITIC_LOSS, loss);
                n.step_critics(t, phase, loss, &steps);
                let repeats = if phase.own_pace { 1 } else { c.actor_updates };
                (0..repeats).for_each(|k| n.step_policy(t, b, phase, &steps, k));
                n.step_target(t, phase, &steps);
            }
        }
        ad.finish_round(t, b, self, phase);
    }

    fn policy(&self) -> &Policy {
        &self.nets.pi
    }

    fn critics(&self) -> Option<&Critics> {
        Some(&self.nets.q)
    }

    fn actor_every(&self) -> u64 {
        self.config.actor_every
    }
}
