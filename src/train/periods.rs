//! When a phase logs, evaluates and saves, in its own units: updates, or environment steps.

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

    /// Whether that checkpoint is kept.
    pub fn keeps(&self, done: u64) -> bool {
        self.keep_every > 0 && done.is_multiple_of(self.keep_every)
    }
}
