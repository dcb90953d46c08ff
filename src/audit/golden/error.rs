//! Why a foreign trace could not be compared.

use thiserror::Error;

use crate::algo::foreign::Wrong;
use crate::config::ConfigError;

/// Why a foreign trace could not be compared.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// A file that cannot be read.
    #[error("{file}: {cause}")]
    File {
        /// which
        file: String,
        /// why
        cause: String,
    },
    /// A tensor or a value that is missing or not as it should be.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// Hyper-parameters that make no sense here.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
