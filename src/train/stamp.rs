//! Where in a run something was written down.

use serde::{Deserialize, Serialize};

/// A stage of a run, in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Training on the dataset.
    Offline,
    /// Fine-tuning in the environment.
    Online,
}

impl Phase {
    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }
}

/// Where in the run a row belongs; the order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Stage.
    pub phase: Phase,
    /// Gradient updates so far.
    pub update: u64,
    /// Environment steps so far.
    pub env_step: u64,
}

impl Stamp {
    /// Names of its fields, the first columns of every file.
    pub(super) const COLUMNS: [&'static str; 3] = ["phase", "update", "env_step"];

    /// Units of the phase so far: updates on data, in an environment steps of it.
    pub fn unit(self) -> u64 {
        match self.phase {
            Phase::Offline => self.update,
            Phase::Online => self.env_step,
        }
    }
}
