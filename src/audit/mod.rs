//! Checks of gradients and updates, and the record of a run that anybody can check again.

pub mod capture;
pub mod compare;
pub mod finite;
pub mod golden;
pub mod gradcheck;
pub mod ledger;
mod probes;
pub mod roundoff;

pub use probes::{Probes, Recorder};

use std::io;
use std::path::{Path, PathBuf};

/// The phase in which an adaptation's model of the data is fitted.
pub const MODEL: &str = "model";
/// Training on the data.
pub const OFFLINE: &str = "offline";
/// Training in an environment.
pub const ONLINE: &str = "online";

/// Why a probe has stopped a run, or what is wrong with its files. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// which file
        path: PathBuf,
        /// what was tried
        action: &'static str,
        /// why not
        source: io::Error,
    },
    /// A ledger that cannot be read, or is not the one expected.
    #[error("{}: {what}", path.display())]
    Ledger {
        /// which file
        path: PathBuf,
        /// expected, got, what to do
        what: String,
    },
    /// A number that is not one.
    #[error("{0}")]
    NotFinite(String),
}

impl Error {
    /// For `map_err` on operations with files.
    pub fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { path: path.to_path_buf(), action, source }
    }
}

/// |x - y| / max(|y|, rms(y)) of every element.
fn differences(x: impl Iterator<Item = f64>, y: &[f64]) -> Vec<f64> {
    let floor = rms(y).max(f64::MIN_POSITIVE);
    x.zip(y).map(|(x, y)| (x - y).abs() / y.abs().max(floor)).collect()
}

fn rms(x: &[f64]) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64).sqrt()
}

/// The larger; NaN is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}
