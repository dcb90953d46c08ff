//! What keeps a run from beginning or going on.

use thiserror::Error;

/// Why a run cannot begin or go on. Each is one line. `Diverged` is a failed check, the others are bad input.
#[derive(Debug, Error)]
pub enum TrainError {
    /// data
    #[error(transparent)]
    Data(#[from] baq_datasets::Error),
    /// environment
    #[error(transparent)]
    Env(#[from] crate::env::EnvError),
    /// run directory and its files
    #[error(transparent)]
    Run(#[from] super::run_error::RunError),
    /// replay
    #[error(transparent)]
    Replay(#[from] crate::replay::Error),
    /// configuration
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// checkpoint
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::container::Error),
    /// a probe, or its files
    #[error(transparent)]
    Audit(#[from] crate::audit::Error),
    /// a value that is not finite or too large
    #[error(
        "diverged: after update {round}, {what}: expected {expected}, got {value}; {checkpoint}; lower the learning rates or scale the rewards"
    )]
    Diverged {
        /// metric or tensor
        what: String,
        /// its value
        value: f64,
        /// what it should be
        expected: String,
        /// when
        round: u64,
        /// what there is to go back to
        checkpoint: String,
    },
    /// a priority that no sum tree takes, or the last mass of a tree
    #[error(
        "a row's priority became {0}: expected a number from 0 to 1e200, and not 0 in every row; lower the learning rates or the exponents of the priorities"
    )]
    Priority(f64),
    /// a generated row with what is no number
    #[error(
        "the generator has diverged: expected finite numbers in the column {column} of its rows, got {value}; lower its learning rate or its guidance"
    )]
    Generated {
        /// of the replay
        column: &'static str,
        /// NaN or infinite
        value: f64,
    },
    /// a signal came before something that the command needs was there
    #[error("{0}")]
    Interrupted(String),
    /// anything else that the user can mend
    #[error("{0}")]
    Input(String),
}

impl TrainError {
    /// Whether there was no room to write a file.
    pub fn lacks_room(&self) -> bool {
        use std::io::ErrorKind;
        let source = match self {
            TrainError::Run(super::run_error::RunError::Io { source, .. }) => source,
            TrainError::Audit(crate::audit::Error::Io { source, .. }) => source,
            TrainError::Checkpoint(crate::checkpoint::container::Error::Io { error, .. }) => error,
            _ => return false,
        };
        matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
    }

    /// Whether it is what a run has come to, not what was asked of it.
    pub fn is_divergence(&self) -> bool {
        matches!(
            self,
            TrainError::Diverged { .. }
                | TrainError::Priority(_)
                | TrainError::Generated { .. }
                | TrainError::Audit(crate::audit::Error::NotFinite(_))
                | TrainError::Env(crate::env::EnvError::Unstable { .. })
        )
    }
}
