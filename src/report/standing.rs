//! How far a run has come.

use crate::train::metrics::Phase;
use crate::train::state::Saved;
use indicatif::HumanCount;
use std::path::Path;

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A process writes to it.
    Running,
    /// Nobody does, and it is short of what was planned: killed or interrupted.
    Stopped,
    /// The same, since its numbers were no longer finite, or too large.
    Diverged,
    /// It has done what was planned, or early stopping has ended it.
    Finished,
}

impl State {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Diverged => "diverged",
            Self::Finished => "finished",
        }
    }
}

/// How far a run has come in its last phase, by the rows in its files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// What becomes of it.
    pub state: State,
    /// The phase it is made for.
    pub phase: Phase,
    /// Updates, or online environment steps, that its files reach.
    pub done: u64,
    /// How many are planned; 0 if nobody knows.
    pub planned: u64,
    /// Updates or environment steps per second, since the phase began or went on.
    pub rate: Option<f64>,
}

impl Standing {
    /// The unit of its counts.
    pub fn unit(&self) -> &'static str {
        match self.phase {
            Phase::Offline => "updates",
            Phase::Online => "steps",
        }
    }

    /// Whether all of it is there.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// For instance `1,250 of 3,000 updates`.
    pub fn progress(&self) -> String {
        match self.planned {
            0 => format!("{} {}", HumanCount(self.done), self.unit()),
            planned => format!("{} of {} {}", HumanCount(self.done), HumanCount(planned), self.unit()),
        }
    }

    /// Seconds that are left at its rate, of a run that goes on.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.planned.saturating_sub(self.done) as f64;
        let rate = self.rate.filter(|rate| *rate > 0.0 && self.state == State::Running)?;
        Some(left / rate).filter(|seconds| seconds.is_finite())
    }
}

/// Whether another process writes to a run. This one does not count: when it makes a report of its own run, the run has ended.
pub(super) fn is_written(dir: &Path) -> bool {
    let this = std::process::id().to_string();
    crate::train::lock::holder(dir).is_some_and(|pid| pid != this)
}

/// Whether a run that nobody writes to was ended by early stopping, `patience` updates behind its smallest loss.
pub(super) fn ended_early(dir: &Path, patience: u64) -> bool {
    let counters = || Saved::open(dir).ok()?.counters().ok();
    patience > 0 && counters().is_some_and(|c| c.best_loss.is_some() && c.round - c.best_round >= patience)
}
