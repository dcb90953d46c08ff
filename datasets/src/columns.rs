//! What training sees: one transition per row, all columns equally long, plus where they came from.

use crate::error::{Error, Result};
use crate::files::{hex, sha256};
use ndarray::{Array1, Array2};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What happened to the recorded trajectory after a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// The next row continues it (or the data simply stop here).
    #[default]
    Running,
    /// The decision process ended: bootstrapping stops, m = 0.
    Terminated,
    /// The recording was cut (time limit, dropped row, seam between files): m stays 1.
    Truncated,
}

/// Who set the flags of a row, which decides what both at once mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// A file, where `terminals` says that the task ended and nothing else: a failure on the last step that the limit
    /// allows is a failure.
    Recorded,
    /// An environment that is being stepped: the time limit wins. The published online loops store a failure only
    /// where `step < limit`, and what they learned is what we compare with.
    Live,
}

impl Ending {
    /// What the flags of a row mean; `cut` is a time limit or another end of the recording. Nothing else decides it.
    pub fn of(terminated: bool, cut: bool, flags: Flags) -> Ending {
        match (terminated, cut, flags) {
            (true, true, Flags::Live) | (false, true, _) => Ending::Truncated,
            (true, ..) => Ending::Terminated,
            (false, false, _) => Ending::Running,
        }
    }

    /// m, with which targets bootstrap: 0 where the task ended, else 1.
    pub fn m(self) -> f32 {
        if self == Ending::Terminated { 0.0 } else { 1.0 }
    }

    /// The same, but a running trajectory is truncated if `cut`.
    pub(crate) fn or_cut(self, cut: bool) -> Self {
        if cut && self == Ending::Running { Ending::Truncated } else { self }
    }
}

/// Where columns came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path as given, the folder of a dataset whose episodes are files, or a label such as `<synthetic>`.
    pub path: String,
    /// SHA-256 of the file's bytes, 64 lower-case hex digits; empty for data that never were a file.
    pub sha256: String,
    /// Length of the file in bytes.
    pub bytes: u64,
}

impl Source {
    /// Data made in memory; `label` stands for the path in messages.
    pub fn in_memory(label: &str) -> Self {
        Source { path: label.into(), sha256: String::new(), bytes: 0 }
    }

    /// Hashes a file on disk in one pass, and behind it the files that its links led to (usually none), as if they were
    /// one. Error: a file cannot be read.
    pub fn of_files(path: &Path, linked: &[PathBuf]) -> Result<Self> {
        Self::of_parts(path, std::iter::once(path).chain(linked.iter().map(PathBuf::as_path)))
    }

    /// Hashes the files of a folder, one behind the other. Error: a file cannot be read.
    pub(crate) fn of_parts<'a>(whole: &Path, files: impl Iterator<Item = &'a Path>) -> Result<Self> {
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
        for path in files {
            let fail = |e| Error::io(path, "cannot read", &e);
            let mut file = crate::files::open(path).map_err(fail)?;
            loop {
                let n = file.read(&mut buffer).map_err(fail)?;
                if n == 0 {
                    break;
                }
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
        Ok(Source { path: whole.display().to_string(), sha256: hex(&hash.finalize()), bytes })
    }

    /// Hashes bytes held in memory.
    pub fn of_bytes(label: &str, bytes: &[u8]) -> Self {
        Source { path: label.into(), sha256: sha256(bytes), bytes: bytes.len() as u64 }
    }
}

/// N transitions as columns, f32, row-major; S and A are the widths of observations and actions.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// s, `[N, S]`.
    pub observations: Array2<f32>,
    /// a, `[N, A]`, each component in [-1, 1].
    pub actions: Array2<f32>,
    /// r, `[N]`, raw (unscaled).
    pub rewards: Array1<f32>,
    /// s', `[N, S]`.
    pub next_observations: Array2<f32>,
    /// What followed each row, `[N]`.
    pub endings: Vec<Ending>,
    /// log pi(a|s) of the behaviour policy where the file has it, `[N]`.
    pub action_log_probs: Option<Array1<f32>>,
    /// Origin of the rows.
    pub source: Source,
}

impl Columns {
    /// Number of transitions N.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// True if there is no transition.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Width of an observation, S.
    pub fn obs_dim(&self) -> usize {
        self.observations.ncols()
    }

    /// Width of an action, A.
    pub fn act_dim(&self) -> usize {
        self.actions.ncols()
    }

    /// m = 1 - terminated, `[N]`: the factor in front of every bootstrapped value.
    pub fn masks(&self) -> Array1<f32> {
        self.endings.iter().map(|e| e.m()).collect()
    }

    /// Compares the widths with an environment's. Error: the first one that differs, naming `env`.
    pub fn check_dims(&self, env: &str, obs_dim: usize, act_dim: usize) -> Result<()> {
        check_dims(&self.source.path, env, (self.obs_dim(), self.act_dim()), (obs_dim, act_dim))
    }

    /// Checks that all columns have N rows and next observations the width of observations.
    /// Error: the first column that does not, against the rewards' length.
    pub fn check_lengths(&self) -> Result<()> {
        let n = self.len();
        let bad = |key: &str, expected: String, got: String| {
            Err(Error::Unwritable { file: self.source.path.clone(), key: key.into(), expected, got })
        };
        for (key, array) in
            [("observations", &self.observations), ("next_observations", &self.next_observations)]
        {
            if array.dim() != (n, self.obs_dim()) {
                return bad(key, format!("shape ({n}, {})", self.obs_dim()), format!("{:?}", array.dim()));
            }
        }
        if self.actions.nrows() != n {
            return bad("actions", format!("{n} rows"), format!("{}", self.actions.nrows()));
        }
        if self.endings.len() != n {
            return bad("endings", format!("{n} rows"), format!("{}", self.endings.len()));
        }
        match &self.action_log_probs {
            Some(p) if p.len() != n => bad("action_log_probs", format!("{n} rows"), format!("{}", p.len())),
            _ => Ok(()),
        }
    }
}

/// Widths (S, A) of data against those of an environment.
pub(crate) fn check_dims(file: &str, env: &str, got: (usize, usize), expected: (usize, usize)) -> Result<()> {
    for (key, expected, got) in [("observations", expected.0, got.0), ("actions", expected.1, got.1)] {
        if expected != got {
            return Err(Error::Dims { file: file.into(), key, env: env.into(), expected, got });
        }
    }
    Ok(())
}
