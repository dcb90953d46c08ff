//! A network that is fitted to collected transitions before the first round: [`FitTo::Collected`].
//!
//! Once the environment steps that only collect are over, its rounds are made, all of them for the last of these steps:
//! each on B uniform offline rows and B uniform online ones. They count as rounds of the run, not of the phase's schedules.

use super::agent::Agent;
use super::cadence::Roles;
use super::counters::Counters;
use super::error::TrainError;
use super::gather::{check_columns, gather};
use super::rounds::Rounds;
use crate::algo::{Delay, FitTo};
use crate::audit::{COLLECTED, Recorder};
use crate::autodiff::{Clock, Flow, Noise, Pass, Probe};
use crate::replay::{Draw, Pools, Recipe};
use crate::rng::Stream;

/// Its compiled rounds and what they need in between.
pub struct Opening {
    rounds: Rounds,
    seed: u64,
    /// environment steps before the first of them
    after: u64,
    updates: u64,
    delay: Delay,
    /// half of the rows offline, then half of them online
    halves: Recipe,
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Opening {
    /// Compiles the rounds of what has this name in [`Agent::fits`], to be made after so many environment steps.
    ///
    /// # Errors
    /// Losses that read a column which the pools lack.
    pub fn new(
        agent: &Agent,
        name: &str,
        (seed, after): (u64, u64),
        pools: &Pools,
    ) -> Result<Opening, TrainError> {
        let (updates, trace) = agent.pretraining_of(name);
        check_columns(&trace, pools.layout())?;
        let (delay, rows) = (agent.learner.delay(), FitTo::Collected.rows(agent.dims.batch));
        Ok(Opening {
            rounds: Rounds::new(trace, Roles::of_delay(delay)),
            seed,
            after,
            updates,
            delay,
            halves: Recipe::mix(0.5, rows),
            rows: vec![0; rows],
            weights: vec![0.0; rows],
        })
    }

    /// Rounds that are still to be made.
    pub fn due(&self, c: &Counters) -> u64 {
        if c.env_step < self.after { 0 } else { self.updates - c.fitted.min(self.updates) }
    }

    /// Tells a probe that these rounds will be made.
    pub fn begin(&self, probe: &mut impl Probe) -> Flow {
        probe.beside(COLLECTED, self.rounds.trace())
    }

    /// One of them. Allocates nothing.
    ///
    /// # Errors
    /// The probe has stopped it.
    pub fn round<R: Recorder>(
        &mut self,
        agent: &mut Agent,
        pools: &Pools,
        counters: &mut Counters,
        probe: &mut R,
    ) -> Result<(), TrainError> {
        let draw = Draw { seed: self.seed, stream: Stream::Opening as u32, update: counters.round };
        self.halves.compose(draw, pools, None, 0.0, &mut self.rows, &mut self.weights);
        let (program, workspace) = self.rounds.pick(Roles::delayed(counters.fitted, self.delay), false);
        gather(workspace, program, pools, &self.rows);
        let clock = Clock { round: counters.round, phase_round: counters.fitted };
        let pass = Pass { clock, noise: Noise::Seed(self.seed), rows: &self.rows };
        if program.run_with(workspace, &mut agent.store, pass, probe) == Flow::Stop {
            return Err(probe.reason().into());
        }
        counters.round += 1;
        counters.fitted += 1;
        Ok(())
    }
}
