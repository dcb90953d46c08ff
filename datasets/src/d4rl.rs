//! D4RL v2 layout: one HDF5 file of equally long columns.
//!
//! | key | shape | type |
//! |---|---|---|
//! | `observations`, `next_observations` (optional) | (N, S) | f32 or f64 |
//! | `actions` | (N, A) | f32 or f64 |
//! | `rewards` | (N,) or (N, 1) | f32 or f64 |
//! | `terminals`, `timeouts` (optional) | (N,) or (N, 1) | bool, integer or float; each 0 or 1 |
//! | `infos/action_log_probs` (optional) | (N,) or (N, 1) | f32 or f64 |
//! | `metadata/algorithm` (optional) | () | string |
//!
//! Training uses neither of the last two, so what is wrong with them is a note and no error.
//!
//! Chunks of these files are strips of one or two columns, so a column is always read whole. Every shape and type is
//! looked at before the first byte of data.

use crate::backend::{Backend, DefaultBackend, Dtype};
use crate::columns::Source;
use crate::error::{Error, Result, one_line, plain};
use crate::recording::{Recording, check_finite};
use ndarray::{Array1, Array2};
use std::path::{Path, PathBuf};

/// Reads all rows of a file with the default backend. `clip_actions` as in [`crate::Options`].
/// Errors: every one of [`Error`] that concerns reading.
pub fn read(path: &Path, clip_actions: bool) -> Result<Recording> {
    read_with::<DefaultBackend>(path, clip_actions)
}

/// As [`read`], through a chosen backend.
pub fn read_with<B: Backend>(path: &Path, clip_actions: bool) -> Result<Recording> {
    let file = B::open(path)?;
    from_backend(&file, path, |linked| Source::of_files(path, linked), clip_actions)
}

/// As [`read`], from bytes in memory; `label` stands for the path in messages.
pub fn read_bytes(label: &str, bytes: &[u8], clip_actions: bool) -> Result<Recording> {
    read_bytes_with::<DefaultBackend>(label, bytes, clip_actions)
}

/// As [`read_bytes`], through a chosen backend.
pub fn read_bytes_with<B: Backend>(label: &str, bytes: &[u8], clip_actions: bool) -> Result<Recording> {
    let file = B::from_bytes(label, bytes)?;
    from_backend(&file, Path::new(label), |_| Ok(Source::of_bytes(label, bytes)), clip_actions)
}

fn from_backend<B: Backend>(
    file: &B,
    path: &Path,
    source: impl FnOnce(&[PathBuf]) -> Result<Source>,
    clip_actions: bool,
) -> Result<Recording> {
    let layout = Reader { file, label: path.display().to_string() };
    let (n, obs_dim) =
        layout.matrix("observations", None)?.ok_or_else(|| layout.missing("observations", "(N, S) float"))?;
    if n == 0 {
        return Err(Error::TooFewRows {
            file: layout.label,
            key: "observations".into(),
            expected: 1,
            got: 0,
        });
    }
    let (_, act_dim) =
        layout.matrix("actions", Some(n))?.ok_or_else(|| layout.missing("actions", "(N, A) float"))?;
    if !layout.vector("rewards", n, false)? {
        return Err(layout.missing("rewards", "(N,) float"));
    }
    if !layout.vector("terminals", n, true)? {
        return Err(layout.missing("terminals", "(N,) flags"));
    }
    let has_timeouts = layout.vector("timeouts", n, true)?;
    let has_next = match layout.matrix("next_observations", Some(n))? {
        None => false,
        Some((_, width)) if width == obs_dim => true,
        Some((_, width)) => {
            return Err(layout.shape(
                "next_observations",
                format!("({n}, {obs_dim})"),
                format!("({n}, {width})"),
            ));
        }
    };
    let mut notes = Vec::new();
    let mut unused = |e: Error| notes.push(layout.left_out(&e));
    let action_log_probs = layout.log_probs(n).map_err(&mut unused).unwrap_or_default();
    let algorithm = layout.algorithm().map_err(&mut unused).unwrap_or_default();
    Recording {
        observations: layout.array("observations", n, obs_dim)?,
        actions: layout.array("actions", n, act_dim)?,
        rewards: Array1::from_vec(file.read_f32("rewards")?),
        next_observations: if has_next { Some(layout.array("next_observations", n, obs_dim)?) } else { None },
        terminals: file.read_flags("terminals")?,
        timeouts: if has_timeouts { Some(file.read_flags("timeouts")?) } else { None },
        group_ends: None,
        action_log_probs,
        algorithm,
        env: None,
        notes,
        source: source(&file.linked_files())?,
    }
    .checked(clip_actions)
}

/// Shape and type questions about one open file.
struct Reader<'a, B> {
    file: &'a B,
    label: String,
}

impl<B: Backend> Reader<'_, B> {
    /// (rows, width) of a float matrix; `None` if the key is absent. Rows must equal `n` where given.
    fn matrix(&self, key: &str, n: Option<usize>) -> Result<Option<(usize, usize)>> {
        let Some(info) = self.file.info(key)? else {
            return Ok(None);
        };
        let rows = n.map_or("N".to_string(), |n| n.to_string());
        let (Some(&[r, w]), true) = (info.shape.first_chunk::<2>(), info.shape.len() == 2) else {
            return Err(self.shape(key, format!("({rows}, D)"), tuple(&info.shape)));
        };
        let ok = n.is_none_or(|n| n as u64 == r) && (w > 0 || r == 0);
        let (Ok(r), Ok(w), true) = (usize::try_from(r), usize::try_from(w), ok) else {
            return Err(self.shape(key, format!("({rows}, D)"), tuple(&info.shape)));
        };
        self.float(key, &info.dtype)?;
        Ok(Some((r, w)))
    }

    /// Whether the key is there; if so its shape must be (n,) or (n, 1) and its type float (or flags).
    fn vector(&self, key: &str, n: usize, flags: bool) -> Result<bool> {
        let Some(info) = self.file.info(key)? else {
            return Ok(false);
        };
        let n64 = n as u64;
        if info.shape != [n64] && info.shape != [n64, 1] {
            return Err(self.shape(key, format!("({n},) or ({n}, 1)"), tuple(&info.shape)));
        }
        match info.dtype {
            Dtype::Bool | Dtype::Int if flags => Ok(true),
            Dtype::F32 | Dtype::F64 => Ok(true),
            got => Err(Error::Dtype {
                file: self.label.clone(),
                key: key.into(),
                expected: if flags { "flags (bool, integer or float)" } else { "f32 or f64" },
                got: got.to_string(),
            }),
        }
    }

    /// A column that training does not use.
    fn log_probs(&self, n: usize) -> Result<Option<Array1<f32>>> {
        let key = "infos/action_log_probs";
        if !self.vector(key, n, false)? {
            return Ok(None);
        }
        let values = self.file.read_f32(key)?;
        check_finite(&self.label, key, &values, 1)?;
        Ok(Some(Array1::from_vec(values)))
    }

    fn algorithm(&self) -> Result<Option<String>> {
        let key = "metadata/algorithm";
        match self.file.info(key)? {
            Some(info) if info.dtype == Dtype::Text && info.shape.is_empty() => {
                Ok(Some(plain(&self.file.read_string(key)?).into_owned()))
            }
            _ => Ok(None),
        }
    }

    /// An error as a note: without the file's name, and without advice on what need not be mended.
    fn left_out(&self, error: &Error) -> String {
        let text = error.to_string();
        let text = text.strip_prefix(&format!("{}: ", self.label)).unwrap_or(&text);
        let what = text.rsplit_once("; ").map_or(text, |(what, _)| what);
        format!("left out, as training does not use it: {what}")
    }

    fn float(&self, key: &str, got: &Dtype) -> Result<()> {
        match got {
            Dtype::F32 | Dtype::F64 => Ok(()),
            got => Err(Error::Dtype {
                file: self.label.clone(),
                key: key.into(),
                expected: "f32 or f64",
                got: got.to_string(),
            }),
        }
    }

    fn array(&self, key: &str, n: usize, width: usize) -> Result<Array2<f32>> {
        let values = self.file.read_f32(key)?;
        let got = values.len();
        Array2::from_shape_vec((n, width), values)
            .map_err(|_| self.shape(key, format!("({n}, {width})"), format!("{got} elements")))
    }

    fn shape(&self, key: &str, expected: String, got: String) -> Error {
        Error::Shape { file: self.label.clone(), key: key.into(), expected, got }
    }

    fn missing(&self, key: &str, expected: &'static str) -> Error {
        let names = self.file.children("").unwrap_or_default();
        let minari = names.iter().any(|name| name.starts_with("episode_"));
        let many = names.len() > 12;
        let mut present = names.into_iter().take(12).collect::<Vec<_>>().join(", ");
        if many {
            present.push_str(", ...");
        }
        if present.is_empty() {
            present.push_str("nothing");
        }
        Error::MissingKey {
            file: self.label.clone(),
            key: key.into(),
            expected,
            present: one_line(&present),
            advice: if minari {
                "this looks like Minari, give the folder that holds data/main_data.hdf5"
            } else {
                "check that this is a D4RL-layout file"
            },
        }
    }
}

fn tuple(shape: &[u64]) -> String {
    match shape {
        [one] => format!("({one},)"),
        more => format!("({})", more.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}
