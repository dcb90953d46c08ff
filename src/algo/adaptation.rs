//! What may modify a base algorithm: hooks that bases and training loops consult at fixed places.
//!
//! | hook | asked by | for |
//! |---|---|---|
//! | `weight`, `weights` | bases | weights of the critic losses |
//! | `perturb` | bases | the action that a critic's target values |
//! | `unconstrained` | bases | whether the tie to the data is dropped online |
//! | `finish_round` | bases | further updates and metrics |
//! | `cadence`, `sampling` | loops | updates per environment step; how batches are drawn |
//! | `model`, `annotate`, `priority`, `quantities`, `calibrate` | loops | columns of a frozen model, and priorities from them |
//! | `reprioritise` | loops | priorities from a model that learns |

use std::fmt::Debug;

use super::{Batch, Learner, Phase, bc};
use crate::autodiff::{Schedule, Tracer, Var};

/// What may modify a base algorithm. Every hook defaults to "nothing", which is `plain`.
pub trait Adaptation: Debug + Send + Sync {
    /// Weight `[B, 1]` of each transition in the critic losses, a constant for their gradients;
    /// `q` `[J, B, 1]` are the values that the weighted loss regresses.
    fn weight<'t>(&self, _t: &'t Tracer, _b: &Batch<'t>, _q: Var<'t>, _phase: &Phase) -> Option<Var<'t>> {
        None
    }

    /// Weights `[B, 1]` of (the squared error, the conservative penalty) in algorithms whose critic loss has both
    /// terms. By default [`Adaptation::weight`] weighs the first and nothing the second.
    fn weights<'t>(
        &self,
        t: &'t Tracer,
        b: &Batch<'t>,
        q: Var<'t>,
        phase: &Phase,
    ) -> (Option<Var<'t>>, Option<Var<'t>>) {
        (self.weight(t, b, q, phase), None)
    }

    /// The action that a critic's target values in place of `a` `[.., A]`: a draw at s', or the recorded action
    /// where the base's target draws none. Densities stay those of `a`.
    fn perturb<'t>(&self, _t: &'t Tracer, a: Var<'t>) -> Var<'t> {
        a
    }

    /// Whether the base drops what ties it to the data while it is online: penalties, cloning.
    fn unconstrained(&self) -> bool {
        false
    }

    /// A model that is trained beside every round to tell new transitions from old: on (s, a) of 3B rows, which are
    /// B uniform offline ones, B uniform online ones and the B of the round. Gives the new priorities `[B, 1]` of
    /// the latter.
    fn reprioritise<'t>(&self, _t: &'t Tracer, _s: Var<'t>, _a: Var<'t>) -> Option<Var<'t>> {
        None
    }

    /// Further updates and metrics at the end of a round.
    fn finish_round<'t>(&self, _t: &'t Tracer, _b: &Batch<'t>, _base: &dyn Learner, _phase: &Phase) {}

    /// The model of the data that must be fitted before going online.
    fn model(&self) -> Option<&bc::Bc> {
        None
    }

    /// Columns of the replay that are computed once per transition, from (s, a) by frozen networks: their
    /// names and values `[B, 1]`.
    fn annotate<'t>(&self, _t: &'t Tracer, _s: Var<'t>, _a: Var<'t>) -> Vec<(&'static str, Var<'t>)> {
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

    /// Fixes constants that were left to the data: means over the offline data of the annotated values, in
    /// the order of `annotate`. Called once, before the online phase is traced.
    fn calibrate(&mut self, _offline_means: &[f64]) {}
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
