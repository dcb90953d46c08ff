//! Minari layout: a folder with `data/main_data.hdf5` and `data/metadata.json`.
//!
//! The HDF5 file holds one group `episode_i` per trajectory with `observations` (T+1, S), `actions` (T, A), `rewards`
//! (T,), `terminations` and `truncations` (T,). s' is the next observation of the same group. The JSON holds its spaces as
//! JSON inside strings, with bare `Infinity` for bounds, which strict parsers refuse; see [`lenient_json`]. Before
//! Minari 0.5 the same fields were attributes of the HDF5 file.

mod metadata;

pub use metadata::{Identity, identity, lenient_json};

use crate::backend::{Backend, DefaultBackend, Dtype, Info};
use crate::columns::Source;
use crate::error::{Error, Result, one_line};
use crate::recording::Recording;
use metadata::{DATA, Folder, METADATA, Metadata};
use ndarray::{Array1, Array2};
use std::path::Path;

/// Reads all episodes of a Minari dataset with the default backend. `path` is the dataset's folder, its `data` folder, or
/// the `main_data.hdf5` in it; `clip_actions` as in [`crate::Options`]. Errors: every one that concerns reading.
pub fn read(path: &Path, clip_actions: bool) -> Result<Recording> {
    read_with::<DefaultBackend>(path, clip_actions)
}

/// As [`read`], through a chosen backend.
pub fn read_with<B: Backend>(path: &Path, clip_actions: bool) -> Result<Recording> {
    let folder = Folder::find(path)?;
    // What the metadata say comes first: they know of a dataset that is stored in another way.
    let from_json = folder.metadata()?;
    let data = folder.data()?;
    let file = B::open(&data)?;
    let label = data.display().to_string();
    let meta = match from_json {
        Some(meta) => meta,
        None => Metadata::of_attributes(&file, &label)?,
    };
    let episodes = episode_groups(&file)?;
    meta.check("total_episodes", meta.total_episodes, episodes.len(), "episode groups in main_data.hdf5")?;

    let mut rows = Rows::default();
    for group in &episodes {
        rows.append(&file, &label, group)?;
    }
    meta.check("total_steps", meta.total_steps, rows.rewards.len(), "rows in main_data.hdf5")?;
    let n = rows.rewards.len();
    let Some((obs_dim, act_dim)) = rows.dims.filter(|_| n > 0) else {
        return Err(Error::TooFewRows { file: label, key: "rewards".into(), expected: 1, got: 0 });
    };
    let matrix = |data: Vec<f32>, width| {
        Array2::from_shape_vec((n, width), data)
            .expect("invariant: every episode was appended with equal widths")
    };
    Recording {
        observations: matrix(rows.observations, obs_dim),
        actions: matrix(rows.actions, act_dim),
        rewards: Array1::from_vec(rows.rewards),
        next_observations: Some(matrix(rows.next_observations, obs_dim)),
        terminals: rows.terminals,
        timeouts: Some(rows.timeouts),
        group_ends: Some(rows.group_ends),
        action_log_probs: None,
        algorithm: meta.algorithm,
        env: meta.env,
        notes: meta.notes,
        source: Source::of_files(&data, &file.linked_files())?,
    }
    .checked(clip_actions)
}

/// True if `path` is a folder (of whatever content) or a `main_data.hdf5` next to a `metadata.json`.
pub fn is_minari(path: &Path) -> bool {
    path.is_dir() || (path.ends_with(DATA) && path.with_file_name(METADATA).is_file())
}

/// Groups `episode_i` in numeric order.
fn episode_groups<B: Backend>(file: &B) -> Result<Vec<String>> {
    let mut numbered: Vec<(u64, String)> = file
        .children("")?
        .into_iter()
        .filter_map(|name| Some((name.strip_prefix("episode_")?.parse().ok()?, name)))
        .collect();
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, name)| name).collect())
}

/// Columns while they grow episode by episode.
#[derive(Default)]
struct Rows {
    dims: Option<(usize, usize)>,
    observations: Vec<f32>,
    next_observations: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    terminals: Vec<bool>,
    timeouts: Vec<bool>,
    group_ends: Vec<bool>,
}

impl Rows {
    fn append<B: Backend>(&mut self, file: &B, label: &str, group: &str) -> Result<()> {
        let key = |name: &str| format!("{group}/{name}");
        let info = |name: &str, expected: &'static str| -> Result<Info> {
            file.info(&key(name))?.ok_or_else(|| Error::MissingKey {
                file: label.into(),
                key: key(name),
                expected,
                present: file.children(group).map(|names| one_line(&names.join(", "))).unwrap_or_default(),
                advice: "only Box spaces and complete episodes are supported",
            })
        };
        let bad = |name: &str, expected: String, got: &[u64]| Error::Shape {
            file: label.into(),
            key: key(name),
            expected,
            got: format!("{got:?}"),
        };
        let rewards = info("rewards", "(T,) float")?;
        let [steps] = rewards.shape[..] else {
            return Err(bad("rewards", "(T,)".into(), &rewards.shape));
        };
        let observations = info("observations", "(T+1, S) float")?;
        let (rows, s) = match observations.shape[..] {
            [rows, s] if steps.checked_add(1) == Some(rows) && s > 0 => (rows, s),
            _ => {
                return Err(bad("observations", format!("({steps} + 1, S)"), &observations.shape));
            }
        };
        let actions = info("actions", "(T, A) float")?;
        let a = match actions.shape[..] {
            [t, a] if t == steps && a > 0 => a,
            _ => return Err(bad("actions", format!("({steps}, A)"), &actions.shape)),
        };
        for (name, info) in [("observations", &observations), ("actions", &actions), ("rewards", &rewards)] {
            if !matches!(info.dtype, Dtype::F32 | Dtype::F64) {
                let got = info.dtype.to_string();
                return Err(Error::Dtype { file: label.into(), key: key(name), expected: "f32 or f64", got });
            }
        }
        let (s, a) = (usize::try_from(s).unwrap_or(usize::MAX), usize::try_from(a).unwrap_or(usize::MAX));
        let dims = *self.dims.get_or_insert((s, a));
        if dims != (s, a) {
            let expected = format!("width {} as in the first episode", dims.0);
            let (name, got) =
                if dims.0 == s { ("actions", &actions) } else { ("observations", &observations) };
            return Err(bad(name, expected, &got.shape));
        }
        for name in ["terminations", "truncations"] {
            let flags = info(name, "(T,) flags")?;
            if flags.shape != [steps] {
                return Err(bad(name, format!("({steps},)"), &flags.shape));
            }
        }
        let values = file.read_f32(&key("observations"))?;
        if values.len() as u64 != rows.saturating_mul(s as u64) {
            return Err(bad("observations", format!("({rows}, {s})"), &[values.len() as u64]));
        }
        self.observations.extend_from_slice(&values[..values.len() - s]);
        self.next_observations.extend_from_slice(&values[s..]);
        self.actions.extend(file.read_f32(&key("actions"))?);
        self.rewards.extend(file.read_f32(&key("rewards"))?);
        self.terminals.extend(file.read_flags(&key("terminations"))?);
        self.timeouts.extend(file.read_flags(&key("truncations"))?);
        self.group_ends.resize(self.rewards.len(), false);
        if steps > 0
            && let Some(last) = self.group_ends.last_mut()
        {
            *last = true;
        }
        Ok(())
    }
}
