//! Training loops and what surrounds them.

pub mod agent;
pub mod balance;
pub mod bench;
pub mod cadence;
pub mod calibration;
pub mod collect;
pub mod data;
pub mod evaluate;
pub mod facts;
pub mod metrics;
pub mod offline;
pub mod online;
pub mod progress;
pub mod rundir;
mod sheet;
pub mod state;

use thiserror::Error;

/// Why a run cannot begin or go on. Each is one line.
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
    Run(#[from] rundir::RunError),
    /// replay
    #[error(transparent)]
    Replay(#[from] crate::replay::Error),
    /// configuration
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// checkpoint
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::container::Error),
    /// a value that is not finite
    #[error(
        "diverged: {metric} is {value} after update {round}; the last checkpoint is good, lower the learning rate or scale the rewards"
    )]
    Diverged {
        /// which
        metric: &'static str,
        /// what
        value: f64,
        /// when
        round: u64,
    },
    /// anything else that the user can mend
    #[error("{0}")]
    Input(String),
}
