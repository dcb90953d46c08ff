//! Divergence: noticed, named, and kept out of the checkpoint.
//!
//! Metrics must be finite, with |Q| below a bound: those of measured rounds, and before anything is saved or
//! evaluated those of the very parameters that are about to be, on the last batch. Every parameter and moment
//! must be finite then too. So the checkpoint in a run directory is the last good one.
//!
//! The default bound: rewards of the locomotion tasks stay below 15 a step, scaled or not, which makes |Q| < 1500
//! at a discount of 0.99. Values that feed on themselves grow by a factor, and soon pass any bound.

use super::agent::Agent;
use super::error::TrainError;
use super::rundir::{self, RunDir};
use crate::algo::measure::Q_MAX;
use crate::autodiff::Metric;
use crate::replay::SumTree;

/// What is looked at while a run learns.
#[derive(Clone, Debug)]
pub struct Watch {
    q_bound: f64,
    checkpoint: String,
    /// round of the checkpoint
    good: Option<u64>,
}

impl Watch {
    /// Over a run in `dir` whose checkpoint, if there is one, is of round `good`.
    pub fn new(dir: &RunDir, q_bound: f64, good: Option<u64>) -> Watch {
        Watch { q_bound, checkpoint: dir.file(rundir::CHECKPOINT).display().to_string(), good }
    }

    /// The checkpoint now is of this round.
    pub fn saved(&mut self, round: u64) {
        self.good = Some(round);
    }

    /// An error that names the first metric of a measured round that shows divergence.
    pub fn metrics(&self, values: &[(&'static Metric, f64)], round: u64) -> Result<(), TrainError> {
        let unbounded = values.iter().find(|(_, v)| !v.is_finite());
        let too_large = values.iter().find(|(metric, v)| metric.name == Q_MAX.name && *v > self.q_bound);
        match unbounded.or(too_large) {
            None => Ok(()),
            Some((metric, value)) => Err(self.diverged(metric.name.into(), *value, round)),
        }
    }

    /// An error that names the first parameter or moment that is not finite.
    pub fn parameters(&self, agent: &Agent, round: u64) -> Result<(), TrainError> {
        let store = &agent.store;
        for id in agent.table.ids() {
            for (path, range) in agent.table.paths(id) {
                for (kind, values) in
                    [("", &store.values), ("adam.first.", &store.first), ("adam.second.", &store.second)]
                {
                    if let Some(x) = values[id.index()][range.clone()].iter().find(|x| !x.is_finite()) {
                        return Err(self.diverged(format!("{kind}{path}"), f64::from(*x), round));
                    }
                }
            }
        }
        Ok(())
    }

    /// An unusable priority or generated row as the divergence that it is; any other error as it is.
    pub fn divergence(&self, e: TrainError, round: u64) -> TrainError {
        match e {
            TrainError::Priority(value) => {
                let expected = format!("a number from 0 to {MOST:e}, and not 0 in every row");
                let what = "a row's priority".into();
                TrainError::Diverged { what, value, expected, round, checkpoint: self.last_good() }
            }
            TrainError::Generated { column, value } => {
                self.diverged(format!("column {column} of generated rows"), value, round)
            }
            e => e,
        }
    }

    fn diverged(&self, what: String, value: f64, round: u64) -> TrainError {
        let expected = match value.is_finite() {
            true => format!("at most run.q_bound = {}", self.q_bound),
            false => "a finite number".into(),
        };
        TrainError::Diverged { what, value, expected, round, checkpoint: self.last_good() }
    }

    fn last_good(&self) -> String {
        match self.good {
            Some(good) => format!("the last good checkpoint is that of update {good}, {}", self.checkpoint),
            None => "there is no checkpoint yet".into(),
        }
    }
}

/// Largest priority: its sum over any ring is finite.
const MOST: f64 = 1e200;

/// An error if these are no priorities for a sum tree.
pub fn check_priorities(masses: &[f64]) -> Result<(), TrainError> {
    match masses.iter().find(|mass| !(0.0..=MOST).contains(*mass)) {
        None => Ok(()),
        Some(mass) => Err(TrainError::Priority(*mass)),
    }
}

/// Gives rows new priorities, unless no row could be drawn with them. Allocates nothing. Errors: a priority that is
/// NaN, negative or above 1e200, and nothing is changed then; a tree without any mass.
pub fn reprioritise(tree: &mut SumTree, rows: &[u32], masses: &[f64]) -> Result<(), TrainError> {
    check_priorities(masses)?;
    tree.update(rows, masses);
    if tree.total() > 0.0 { Ok(()) } else { Err(TrainError::Priority(0.0)) }
}

/// An error that names the first metric that is not finite, where there is nothing to go back to.
pub fn check_finite(values: &[(&'static Metric, f64)], round: u64) -> Result<(), TrainError> {
    let watch = Watch { q_bound: f64::INFINITY, checkpoint: String::new(), good: None };
    watch.metrics(values, round)
}
