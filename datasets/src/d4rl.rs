//! D4RL's layout: equally long columns by name, in HDF5, or in the same form as NumPy's archive or as a table; and
//! OGBench's, which is nearly the same. [`crate::formats`] says what is accepted.
//!
//! Training uses neither `infos/action_log_probs` nor `metadata/algorithm`, so what is wrong with them is a note and no error.
//!
//! Chunks of D4RL's files are strips of one or two columns, so a column is always read whole. Every shape and type is
//! looked at before the first byte of data.

mod unused;

use crate::backend::{Backend, DefaultBackend, Dtype};
use crate::columns::Source;
use crate::error::{Error, Result, one_line};
use crate::flatten;
use crate::recording::Recording;
use crate::scale::ActionBounds;
use ndarray::{Array1, Array2};
use std::path::{Path, PathBuf};

/// Whose layout a file has, which decides what its `terminals` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// By its keys: OGBench's if it has no `timeouts`, and `masks` or neither `rewards` nor `next_observations`.
    #[default]
    Auto,
    /// 1 where the task ended.
    D4rl,
    /// 1 in the last row of every trajectory, whose action has no next observation; `masks` is 0 where the task ended.
    Ogbench,
}

/// How a file is to be understood that does not say all by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Whose layout it has.
    pub layout: Layout,
    /// Without the key `rewards` all are 0, instead of an error.
    pub zero_rewards: bool,
    /// Note the keys that are not read.
    pub(crate) note_unread: bool,
}

/// What others call `timeouts`.
const TRUNCATIONS: [&str; 7] = [
    "truncations",
    "truncation",
    "truncated",
    "truncateds",
    "time_outs",
    "TimeLimit.truncated",
    "infos/TimeLimit.truncated",
];

/// Reads all rows of a file with the default backend. `clip_actions` as in [`crate::Options`].
/// Errors: every one of [`Error`] that concerns reading.
pub fn read(path: &Path, clip_actions: bool) -> Result<Recording> {
    read_with::<DefaultBackend>(path, clip_actions)
}

/// As [`read`], through a chosen backend. Errors: as [`read`].
pub fn read_with<B: Backend>(path: &Path, clip_actions: bool) -> Result<Recording> {
    recorded::<B>(path, Reading::default())?.checked(clip_actions)
}

/// As [`read`], from bytes in memory; `label` stands for the path in messages.
/// Errors: as [`read`]; a key that is a link into another file.
pub fn read_bytes(label: &str, bytes: &[u8], clip_actions: bool) -> Result<Recording> {
    read_bytes_with::<DefaultBackend>(label, bytes, clip_actions)
}

/// As [`read_bytes`], through a chosen backend. Errors: as [`read_bytes`].
pub fn read_bytes_with<B: Backend>(label: &str, bytes: &[u8], clip_actions: bool) -> Result<Recording> {
    recorded_bytes::<B>(label, bytes, Reading::default())?.checked(clip_actions)
}

/// All rows as they stand in the file: what is not finite is there, and actions are as they were recorded.
pub(crate) fn recorded<B: Backend>(path: &Path, reading: Reading) -> Result<Recording> {
    let file = B::open(path)?;
    from_backend(&file, path, |linked| Source::of_files(path, linked), reading)
}

/// The same of bytes in memory.
pub(crate) fn recorded_bytes<B: Backend>(label: &str, bytes: &[u8], reading: Reading) -> Result<Recording> {
    let file = B::from_bytes(label, bytes)?;
    from_backend(&file, Path::new(label), |_| Ok(Source::of_bytes(label, bytes)), reading)
}

fn from_backend<B: Backend>(
    file: &B,
    path: &Path,
    source: impl FnOnce(&[PathBuf]) -> Result<Source>,
    reading: Reading,
) -> Result<Recording> {
    let layout = Reader { file, label: path.display().to_string() };
    let (n, observations, act_dim) = layout.extents()?;
    let ogbench = layout.is_ogbench(reading.layout)?;
    let has_rewards = layout.vector("rewards", n, false)?;
    if !has_rewards {
        layout.refuse_other("rewards", &["reward"])?;
        if !reading.zero_rewards {
            return Err(layout.missing("rewards", "(N,) float"));
        }
    }
    if !layout.vector("terminals", n, true)? {
        return Err(layout.missing("terminals", "(N,) flags"));
    }
    let has_timeouts = layout.vector("timeouts", n, true)?;
    if !has_timeouts {
        layout.refuse_other("timeouts", &TRUNCATIONS)?;
    }
    let has_masks = ogbench && layout.vector("masks", n, true)?;
    let next = layout.next_observations(n, &observations)?;
    let action_bounds = layout.action_bounds(act_dim)?;
    let mut notes = Vec::new();
    let mut unused = |e: Error| notes.push(layout.as_note(&e));
    let action_log_probs = layout.log_probs(n).map_err(&mut unused).unwrap_or_default();
    let algorithm = layout.algorithm().map_err(&mut unused).unwrap_or_default();
    notes.extend(reading.note_unread.then(|| layout.unread(ogbench)).flatten());
    let mut recording = Recording {
        observations: layout.array(&observations, n)?,
        actions: layout.array(&[("actions".into(), act_dim)], n)?,
        rewards: match has_rewards {
            true => Array1::from_vec(file.read_f32("rewards")?),
            false => Array1::zeros(n),
        },
        next_observations: next.map(|parts| layout.array(&parts, n)).transpose()?,
        terminals: file.read_flags("terminals")?,
        timeouts: if has_timeouts { Some(file.read_flags("timeouts")?) } else { None },
        group_ends: None,
        action_log_probs,
        algorithm,
        env: None,
        action_bounds,
        action_space: None,
        notes,
        source: source(&file.linked_files())?,
    };
    if ogbench {
        let masks = if has_masks { Some(file.read_flags("masks")?) } else { None };
        recording.trajectories_end_at_terminals(masks);
    }
    Ok(recording)
}

impl Recording {
    /// OGBench's flags: what `terminals` says is where trajectories end. Where next observations are recorded, every row
    /// has one; otherwise the last row of a trajectory has none and is a row at a time limit, which training leaves out.
    fn trajectories_end_at_terminals(&mut self, masks: Option<Vec<bool>>) {
        let failed = masks.map_or(vec![false; self.len()], |masks| masks.iter().map(|m| !m).collect());
        let ends = std::mem::replace(&mut self.terminals, failed);
        match self.next_observations {
            Some(_) => self.group_ends = Some(ends),
            None => {
                let given = self.timeouts.take().unwrap_or_else(|| vec![false; ends.len()]);
                self.timeouts = Some(ends.iter().zip(given).map(|(end, timeout)| *end || timeout).collect());
            }
        }
    }
}

/// Keys with their widths.
type Parts = Vec<(String, usize)>;

/// Keys of the bounds of rescaled actions.
pub(crate) const ACTION_BOUNDS: [&str; 2] = ["metadata/action_low", "metadata/action_high"];

/// Keys that are read.
pub(crate) const KNOWN: [&str; 7] =
    ["observations", "actions", "rewards", "next_observations", "terminals", "timeouts", "masks"];

/// Shape and type questions about one open file.
struct Reader<'a, B> {
    file: &'a B,
    label: String,
}

impl<B: Backend> Reader<'_, B> {
    /// Rows, the parts of observations, and A.
    fn extents(&self) -> Result<(usize, Parts, usize)> {
        let (n, observations) = self
            .matrices("observations", None)?
            .ok_or_else(|| self.missing("observations", "(N, S) float"))?;
        if n == 0 {
            let (file, key) = (self.label.clone(), "observations".into());
            return Err(Error::TooFewRows { file, key, expected: 1, got: 0 });
        }
        let actions = self.matrix("actions", Some(n))?;
        if actions.is_none() {
            self.refuse_other("actions", &["action"])?;
        }
        let (_, act_dim) = actions.ok_or_else(|| self.missing("actions", "(N, A) float"))?;
        Ok((n, observations, act_dim))
    }

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
        self.typed(key, &info.dtype, false)?;
        Ok(Some((r, w)))
    }

    /// The same of a key that may be a group of such matrices, or of vectors: its rows, and the parts with their widths.
    fn matrices(&self, key: &str, n: Option<usize>) -> Result<Option<(usize, Parts)>> {
        let found = flatten::parts(self.file, &self.label, key)?;
        if found.iter().all(|(part, _)| part == key) {
            let whole = self.matrix(key, n)?;
            return Ok(whole.map(|(rows, width)| (rows, vec![(key.to_string(), width)])));
        }
        let (mut rows, mut parts): (_, Parts) = (n, Vec::new());
        for (part, info) in found {
            let length = info.shape.first().and_then(|r| usize::try_from(*r).ok());
            match (length, flatten::width(&info)) {
                (Some(r), Some(width)) if *rows.get_or_insert(r) == r => {
                    self.typed(&part, &info.dtype, false)?;
                    parts.push((part, width));
                }
                _ => {
                    let expected = format!("({}, D)", rows.map_or("N".to_string(), |n| n.to_string()));
                    return Err(self.shape(&part, expected, tuple(&info.shape)));
                }
            }
        }
        Ok(rows.map(|rows| (rows, parts)))
    }

    /// Next observations, where they are recorded: the same parts as observations.
    fn next_observations(&self, n: usize, observations: &Parts) -> Result<Option<Parts>> {
        let key = "next_observations";
        let Some((_, parts)) = self.matrices(key, Some(n))? else {
            return Ok(None);
        };
        let names =
            |parts: &Parts| parts.iter().map(|(part, width)| format!("{part} ({n}, {width})")).collect();
        let (seen, next): (Vec<String>, Vec<String>) = (names(observations), names(&parts));
        let same =
            seen.len() == next.len() && seen.iter().zip(&next).all(|(s, s2)| *s2 == format!("next_{s}"));
        match same {
            true => Ok(Some(parts)),
            false => Err(self.shape(key, format!("next_{}", seen.join(", next_")), next.join(", "))),
        }
    }

    fn is_ogbench(&self, layout: Layout) -> Result<bool> {
        if layout != Layout::Auto {
            return Ok(layout == Layout::Ogbench);
        }
        let names = self.file.children("")?;
        let has = |key: &str| names.iter().any(|name| name == key);
        match (has("timeouts"), has("masks"), has("next_observations"), has("rewards")) {
            (true, ..) | (false, false, true, _) => Ok(false),
            (false, true, ..) | (false, false, false, false) => Ok(true),
            (false, false, false, true) if has("qpos") => Err(Error::Ambiguous { file: self.label.clone() }),
            (false, false, false, true) => Ok(false),
        }
    }

    /// An error if a file without the key has a column by one of the names that others give it, in capitals or not.
    fn refuse_other(&self, key: &str, names: &[&str]) -> Result<()> {
        let within = self.names("infos").into_iter().map(|name| format!("infos/{name}"));
        let mut all = self.names("").into_iter().chain(within);
        let found = all.find(|name| names.iter().any(|other| name.eq_ignore_ascii_case(other)));
        found.map_or(Ok(()), |other| {
            let (file, reason) = (self.label.clone(), format!("a file with `{other}`, which may be it"));
            Err(Error::Uncertain { file, key: key.into(), reason, advice: format!("rename it to `{key}`") })
        })
    }

    /// What [-1, 1] stands for in the columns of actions, where they have been rescaled.
    fn action_bounds(&self, act_dim: usize) -> Result<Option<ActionBounds>> {
        let [low, high] = ACTION_BOUNDS;
        if !self.names("metadata").iter().any(|name| name == "action_low" || name == "action_high") {
            return Ok(None);
        }
        for key in ACTION_BOUNDS {
            if !self.vector(key, act_dim, false)? {
                return Err(self.missing(key, "(A,) float, as the other bound is there"));
            }
        }
        ActionBounds::new(&self.label, self.file.read_f32(low)?, self.file.read_f32(high)?).map(Some)
    }

    fn names(&self, group: &str) -> Vec<String> {
        self.file.children(group).unwrap_or_default()
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
        self.typed(key, &info.dtype, flags)?;
        Ok(true)
    }

    /// An error unless elements are floats, or may be `flags` and are.
    fn typed(&self, key: &str, dtype: &Dtype, flags: bool) -> Result<()> {
        match dtype {
            Dtype::Bool | Dtype::Int if flags => Ok(()),
            Dtype::F32 | Dtype::F64 => Ok(()),
            got => Err(Error::Dtype {
                file: self.label.clone(),
                key: key.into(),
                expected: if flags { "flags (bool, integer or float)" } else { "f32 or f64" },
                got: got.to_string(),
            }),
        }
    }

    fn array(&self, parts: &[(String, usize)], n: usize) -> Result<Array2<f32>> {
        let width = parts.iter().map(|(_, width)| width).sum();
        let values = flatten::read(self.file, &self.label, parts, n)?;
        Ok(Array2::from_shape_vec((n, width), values).expect("invariant: as many as were asked for"))
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
            advice: match key {
                _ if minari => "this looks like Minari, give the folder that holds data/main_data.hdf5",
                "rewards" => {
                    "store them under this name (OGBench computes them by the task: `relabel_dataset`), or let `baq data convert --zero-rewards` write 0"
                }
                _ => "name the columns as in the D4RL layout (cargo doc: baq_datasets::formats)",
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
