//! When a phase logs, evaluates and saves, in its own units: updates, or environment steps.

use super::counters::Counters;

/// Periods of one phase. Everything also happens at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// planned length
    pub total: u64,
    /// units between rows of metrics
    pub log_every: u64,
    /// units between evaluations
    pub eval_every: u64,
    /// units between checkpoints
    pub checkpoint_every: u64,
    /// units between checkpoints that are kept; 0: none
    pub keep_every: u64,
}

impl Periods {
    /// Whether metrics are measured in the unit that makes so many.
    pub fn measures(&self, done: u64) -> bool {
        done.is_multiple_of(self.log_every) || done == self.total
    }

    /// Whether the agent is evaluated after so many.
    pub fn evaluates(&self, done: u64) -> bool {
        done.is_multiple_of(self.eval_every) || done == self.total
    }

    /// Whether the state is saved after so many.
    pub fn saves(&self, done: u64) -> bool {
        done.is_multiple_of(self.checkpoint_every) || done == self.total || self.keeps(done)
    }

    /// Where a longer plan goes on from the `end` of a shorter one: leaves out the evaluation that was made only because
    /// that was the end.
    pub fn forget(&self, end: bool, counters: &mut Counters) {
        let done = if counters.env_step > 0 { counters.env_step } else { counters.round };
        if end && !done.is_multiple_of(self.eval_every) {
            counters.evaluations -= 1;
        }
    }

    /// Whether that checkpoint is kept.
    pub fn keeps(&self, done: u64) -> bool {
        self.keep_every > 0 && done.is_multiple_of(self.keep_every)
    }
}
