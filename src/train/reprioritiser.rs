//! Priorities from a model that is trained beside the rounds.
//!
//! After every round the adaptation's model sees B uniform offline rows, B uniform online rows and the B rows of
//! the round, moves once, and gives the latter new priorities. New transitions enter with the largest priority
//! so far. Priorities then are a history, not a function of the transitions: they belong to the checkpoint.

use super::agent::Agent;
use super::batches::Batches;
use super::cadence::Roles;
use super::error::TrainError;
use super::gather::gather;
use super::rounds::Rounds;
use crate::algo::OPENING;
use crate::audit::PRIORITIES;
use crate::autodiff::{Clock, Flow, Metric, Noise, Pass, Probe, Store};
use crate::replay::{self, Draw, Recipe};
use crate::rng::Stream;

/// An error if the adaptation has such a model and there are no offline rows to compare new ones with.
pub fn check(agent: &Agent, offline_rows: bool) -> Result<(), TrainError> {
    if offline_rows || agent.adaptation.sampling().opening_share.is_none() {
        return Ok(());
    }
    Err(TrainError::Input(
        "online.offline_rows: expected offline transitions, got none; this adaptation compares new transitions with them: keep some, or choose --adapt plain".into(),
    ))
}

/// The compiled model and what it needs between rounds.
pub struct Reprioritiser {
    rounds: Rounds,
    seed: u64,
    /// largest priority so far, that of new rows
    newest: f64,
    /// half of the rows offline, then half of them online
    halves: Recipe,
    /// the model's rows `[3B]`
    rows: Vec<u32>,
    weights: Vec<f32>,
    priorities: Vec<f64>,
}

impl Reprioritiser {
    /// Compiles the adaptation's model for so many offline rows; `None` without a model. `newest` is the saved priority
    /// of new rows.
    ///
    /// # Errors
    /// See [`check`].
    pub fn new(
        agent: &Agent,
        seed: u64,
        offline: usize,
        newest: Option<f64>,
    ) -> Result<Option<Reprioritiser>, TrainError> {
        let Some(trace) = agent.reprioritisation_trace() else { return Ok(None) };
        check(agent, offline > 0)?;
        let batch = agent.dims.batch;
        let share = agent.adaptation.sampling().opening_share.unwrap_or(0.0);
        let first = match share > 0.0 {
            true => offline as f64 * share / ((1.0 - share) * OPENING as f64),
            false => 1.0,
        };
        Ok(Some(Reprioritiser {
            rounds: Rounds::new(trace, &[Roles::BOTH]),
            seed,
            newest: newest.unwrap_or(first),
            halves: Recipe::mix(0.5, 2 * batch),
            rows: vec![0; 3 * batch],
            weights: vec![0.0; 2 * batch],
            priorities: vec![0.0; batch],
        }))
    }

    /// The priority of a new row.
    pub fn newest(&self) -> f64 {
        self.newest
    }

    /// Tells a probe that the model will run beside the rounds.
    pub fn begin(&self, probe: &mut impl Probe) -> Flow {
        probe.beside(PRIORITIES, self.rounds.trace())
    }

    /// Trains the model once and gives the rows of the round new priorities, unless the probe stops it. Allocates nothing.
    ///
    /// # Errors
    /// Priorities that no tree takes.
    pub fn round<P: Probe>(
        &mut self,
        store: &mut Store,
        batches: &mut Batches,
        clock: Clock,
        measure: bool,
        probe: &mut P,
    ) -> Result<Flow, TrainError> {
        let (uniform, drawn) = self.rows.split_at_mut(self.weights.len());
        let draw = Draw { seed: self.seed, stream: Stream::Balance as u32, update: clock.round };
        self.halves.compose(draw, batches.pools(), None, 0.0, uniform, &mut self.weights);
        drawn.copy_from_slice(batches.rows());
        let (program, workspace) = self.rounds.pick(Roles::BOTH, measure);
        gather(workspace, program, batches.pools(), &self.rows);
        let pass = Pass { clock, noise: Noise::Seed(self.seed), rows: &self.rows };
        if program.run_with(workspace, store, pass, probe) == Flow::Stop {
            return Ok(Flow::Stop);
        }
        for (p, &x) in self.priorities.iter_mut().zip(workspace.output(program, replay::PRIORITY)) {
            *p = f64::from(x);
            self.newest = self.newest.max(*p);
        }
        batches.reprioritise(&self.priorities)?;
        Ok(Flow::Continue)
    }

    /// Metrics that measured rounds report.
    pub fn metrics(&self) -> Vec<&'static Metric> {
        self.rounds.metrics()
    }

    /// Values of the last measured round.
    pub fn values(&self) -> Vec<(&'static Metric, f64)> {
        self.rounds.values()
    }
}
