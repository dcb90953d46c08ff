//! What may modify a base algorithm: hooks that bases and training loops consult at fixed places.
//!
//! | hook | asked by | for |
//! |---|---|---|
//! | `weight`, `weights` | bases | weights of the critic losses |
//! | `perturb` | bases | the action that a critic's target values |
//! | `imitate` | bases that clone | the action that the policy clones |
//! | `unconstrained` | bases | whether the tie to the data is dropped online |
//! | `finish_round` | the trace of a round, after the base | further updates and metrics |
//! | `act` | whoever acts, evaluates, measures | the action in a state |
//! | `adopt` | the switch | which saved network fills which of ours |
//! | `pretrain` | the switch | what must be fitted before the first environment step |
//! | `cadence`, `sampling` | loops | updates per environment step; how batches are drawn |
//! | `annotate`, `priority`, `calibrate` | loops | columns of a frozen model, and priorities from them |
//! | `quantities`, `ranges` | reports | whether its weights and priorities are where they can do something |
//! | `reprioritise` | loops | priorities from a model that learns |

use std::fmt::Debug;

use super::{Learner, Round};
use crate::autodiff::{GroupId, Schedule, Tracer, Var};
use crate::nn::Acting;

/// What may modify a base algorithm. Every hook defaults to "nothing", which is `plain`.
pub trait Adaptation: Debug + Send + Sync {
    /// Weight `[B, 1]` of each transition in the critic losses, a constant for their gradients;
    /// `q` `[J, B, 1]` are the values that the weighted loss regresses.
    fn weight<'t>(&self, _b: &Round<'t>, _q: Var<'t>) -> Option<Var<'t>> {
        None
    }

    /// Weights `[B, 1]` of (the squared error, the conservative penalty) in algorithms whose critic loss has both
    /// terms. By default [`Adaptation::weight`] weighs the first and nothing the second.
    fn weights<'t>(&self, b: &Round<'t>, q: Var<'t>) -> (Option<Var<'t>>, Option<Var<'t>>) {
        (self.weight(b, q), None)
    }

    /// The action that a critic's target values in place of `a` `[.., A]`: a draw at s', or the recorded action
    /// where the base's target draws none. Densities stay those of `a`.
    fn perturb<'t>(&self, _b: &Round<'t>, a: Var<'t>) -> Var<'t> {
        a
    }

    /// The action `[B, A]` that the policy clones in s, in place of the recorded one; asked when the policy's loss is
    /// traced, so that it sees the networks as they stand then.
    fn imitate<'t>(&self, _b: &Round<'t>) -> Option<Var<'t>> {
        None
    }

    /// Whether the base drops what ties it to the data while it is online: penalties, cloning.
    fn unconstrained(&self) -> bool {
        false
    }

    /// Further updates and metrics at the end of a round.
    fn finish_round(&self, _b: &Round<'_>) {}

    /// The action `[B, A]` in states s `[B, S]`, of which the base has one opinion: see [`Learner::act`].
    fn act<'t>(&self, base: &dyn Learner, s: Var<'t>, how: Acting) -> Var<'t> {
        base.act(s, how)
    }

    /// The saved group that fills our `group` when fine-tuning begins, of the groups `saved` in the run that it begins
    /// from; `None`: ours begins anew.
    fn adopt<'a>(&self, group: &'a str, _saved: &[&str]) -> Option<&'a str> {
        Some(group)
    }

    /// What must be fitted before the first environment step, in this order.
    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        Vec::new()
    }

    /// A model that is trained beside every round to tell new transitions from old: on (s, a) of 3B rows, which are
    /// B uniform offline ones, B uniform online ones and the B of the round. Gives the new priorities `[B, 1]` of
    /// the latter.
    fn reprioritise<'t>(&self, _t: &'t Tracer, _s: Var<'t>, _a: Var<'t>) -> Option<Var<'t>> {
        None
    }

    /// Columns of the replay that are computed once per transition, from (s, a) by frozen networks: their
    /// names and values `[B, 1]`.
    fn annotate<'t>(&self, _s: Var<'t>, _a: Var<'t>) -> Vec<(&'static str, Var<'t>)> {
        Vec::new()
    }

    /// How batches are drawn online.
    fn sampling(&self) -> Sampling {
        Sampling::default()
    }

    /// Updates per environment step, unless the user sets them.
    fn cadence(&self) -> Cadence {
        Cadence::default()
    }

    /// Sampling priority of a transition with these annotated values, in the order of `annotate`.
    fn priority(&self, _annotated: &[f32], _online: bool) -> f64 {
        1.0
    }

    /// What the calibration of the adaptation looks at: named quantities of a transition with these annotated
    /// values, in the order of `annotate`.
    fn quantities(&self, _annotated: &[f32], _online: bool) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Those of [`Adaptation::quantities`] whose means should lie in a range.
    fn ranges(&self) -> &'static [Range] {
        &[]
    }

    /// Fixes constants that were left to the data: means over the offline data of the annotated values, in
    /// the order of `annotate`. Called once, before the online phase is traced.
    fn calibrate(&mut self, _offline_means: &[f64]) {}
}

/// A network that is fitted before the first environment step, unless a run is given that has fitted it.
pub struct Pretraining<'a> {
    /// what it is
    pub name: &'static str,
    /// what it fills
    pub group: GroupId,
    /// the transitions that it is fitted to
    pub pool: &'static str,
    /// how many rounds
    pub updates: u64,
    /// traces one of them
    pub trace: Box<dyn Fn(&Round<'_>) + 'a>,
    /// the runs that may have done it before
    pub given: Option<Given>,
}

/// Runs of another algorithm whose network may take the place of one to be fitted.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// that algorithm
    pub algo: &'static str,
    /// its group
    pub group: &'static str,
    /// (our option, its option) where ours has to follow, because it describes the network
    pub form: &'static [(&'static str, &'static str)],
    /// our options that a given network leaves without effect, because they say how to fit one
    pub fitting: &'static [&'static str],
}

/// Where the means of a quantity should lie.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// its name in [`Adaptation::quantities`]
    pub quantity: &'static str,
    /// of the offline transitions
    pub offline: (f64, f64),
    /// of the online ones
    pub online: (f64, f64),
    /// what to try outside
    pub advice: &'static str,
}

/// Updates per environment step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cadence {
    /// critic updates per environment step
    pub critic: f64,
    /// policy and temperature updates per environment step; `None`: in every
    /// [`Learner::actor_every`]-th round, as the base has it
    pub actor: Option<f64>,
    /// (n, factor): in the first n environment steps both are `factor` times as frequent
    pub opening: (u64, u64),
    /// the first n steps only collect; all updates that they earn are made after the last of them
    pub opening_collects: bool,
}

impl Default for Cadence {
    fn default() -> Cadence {
        Cadence { critic: 1.0, actor: None, opening: (0, 1), opening_collects: false }
    }
}

impl Cadence {
    /// (critic, actor) updates that environment step number `env_step`, from 1, earns.
    pub fn at(&self, env_step: u64) -> (f64, Option<f64>) {
        let (opening, factor) = self.opening;
        let factor = match self.opening_collects {
            _ if env_step > opening => 1,
            false => factor,
            true if env_step == opening => opening * factor,
            true => 0,
        };
        (self.critic * factor as f64, self.actor.map(|rate| rate * factor as f64))
    }

    /// Rounds that so many environment steps earn.
    pub fn rounds(&self, env_steps: u64) -> u64 {
        let (opening, factor) = self.opening;
        let earned = env_steps + env_steps.min(opening) * (factor - 1);
        (earned as f64 * self.critic.max(self.actor.unwrap_or(0.0))) as u64
    }
}

/// How batches are drawn online.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Sampling {
    /// in proportion to [`Adaptation::priority`] instead of uniformly
    pub prioritised: bool,
    /// one draw in each of B equal parts of the mass instead of B independent draws
    pub stratified: bool,
    /// share of online rows in a batch, whatever their mass
    pub online_share: Option<f64>,
    /// exponent of the importance-sampling correction over the rounds of the phase
    pub importance: Option<Schedule>,
    /// recompute the annotated values of every sampled row, because what computes them moves
    pub refresh: bool,
    /// new rows take the largest priority so far instead of [`Adaptation::priority`]; it begins where the first
    /// [`OPENING`] of them have this share of the mass, offline rows having 1 each
    pub opening_share: Option<f64>,
}

/// Environment steps that some adaptations treat as the opening of the online phase.
pub const OPENING: u64 = 1000;

/// The adaptation that changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Adaptation for Plain {}
