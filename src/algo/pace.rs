//! How an adaptation wants a phase to run: updates per environment step, and how batches are drawn.

use crate::autodiff::Schedule;

/// In which rounds of a run the actor's role runs, where it has no rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// one round out of so many
    pub every: u64,
    /// which of them, counted from 0
    pub turn: u64,
}

impl Delay {
    /// In all of them.
    pub const NONE: Delay = Delay::last_of(1);

    /// In the last of every so many.
    pub const fn last_of(every: u64) -> Delay {
        Delay { every, turn: every - 1 }
    }

    /// In the first of every so many.
    pub const fn first_of(every: u64) -> Delay {
        Delay { every, turn: 0 }
    }

    /// Whether round `round`, counted from 0 at the beginning of the run, is one.
    pub fn acts(self, round: u64) -> bool {
        round % self.every == self.turn
    }
}

/// Updates per environment step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cadence {
    /// critic updates per environment step
    pub critic: f64,
    /// policy and temperature updates per environment step; `None`: in every
    /// round of [`super::Learner::delay`], as the base has it
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
    /// in proportion to [`super::Adaptation::priority`] instead of uniformly
    pub prioritised: bool,
    /// one draw in each of B equal parts of the mass instead of B independent draws
    pub stratified: bool,
    /// share of online rows in a batch, whatever their mass
    pub online_share: Option<f64>,
    /// exponent of the importance-sampling correction over the rounds of the phase
    pub importance: Option<Schedule>,
    /// recompute the annotated values of every sampled row, because what computes them moves
    pub refresh: bool,
    /// new rows take the largest priority so far instead of [`super::Adaptation::priority`]; it begins where the first
    /// [`OPENING`] of them have this share of the mass, offline rows having 1 each; with a share of 0 it begins as 1
    pub opening_share: Option<f64>,
    /// some batches come from the latest online rows alone
    pub latest: Option<Latest>,
}

/// How often a batch comes from the latest online rows alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latest {
    /// probability of such a batch
    pub share: f64,
    /// rows that count as the latest
    pub rows: usize,
    /// no such batch before more than so many have been collected
    pub after: u64,
}

/// Environment steps that some adaptations treat as the opening of the online phase.
pub const OPENING: u64 = 1000;
