//! Minari layout: a folder with `data/metadata.json` and `data/main_data.hdf5`, or a file for every episode (`episode_files`).
//!
//! The HDF5 file holds one group `episode_i` per trajectory with `observations` (T+1, S), `actions` (T, A), `rewards`
//! (T,), `terminations` and `truncations` (T,). s' is the next observation of the same group. Observations may be a group of
//! parts, which are laid side by side ([`crate::formats`] has the order). The JSON holds its spaces as
//! JSON inside strings, with bare `Infinity` for bounds, which strict parsers refuse; see [`lenient_json`]. Before
//! Minari 0.5 the same fields were attributes of the HDF5 file.

mod episode_files;
mod metadata;

pub use metadata::{Identity, identity, lenient_json};

use crate::backend::{Backend, DefaultBackend, Dtype, Info};
use crate::columns::Source;
use crate::convert::Skipped;
use crate::error::{Error, Result, one_line};
use crate::flatten;
use crate::recording::{Recording, left_out};
use crate::scale::ActionBounds;
use metadata::{DATA, Folder, METADATA, Metadata, Stored};
use ndarray::{Array1, Array2};
use std::collections::BTreeSet;
use std::path::Path;

/// Reads all episodes of a Minari dataset, HDF5 with the default backend. `path` is the dataset's folder, its `data` folder,
/// or the `main_data.hdf5` in it; `clip_actions` as in [`crate::Options`]. Errors: every one that concerns reading.
pub fn read(path: &Path, clip_actions: bool) -> Result<Recording> {
    read_with::<DefaultBackend>(path, clip_actions)
}

/// As [`read`], through a chosen backend. Errors: as [`read`].
pub fn read_with<B: Backend>(path: &Path, clip_actions: bool) -> Result<Recording> {
    recorded::<B>(path, None, false)?.checked(clip_actions)
}

/// All rows as they stand in the files. Episodes whose columns do not fit together are left out and counted in `skipped`;
/// without it they are errors. `note_unread`: what else there is gets a note.
pub(crate) fn recorded<B: Backend>(
    path: &Path,
    skipped: Option<&mut Skipped>,
    note_unread: bool,
) -> Result<Recording> {
    let folder = Folder::find(path)?;
    let mut rows = Rows { skipped, ..Rows::default() };
    // What the metadata say comes first: they know how a dataset is stored.
    let (meta, source) = match folder.metadata()? {
        Some(meta) => match meta.stored {
            Stored::Episodes(ending) => {
                let source = episode_files::read(&folder.files, ending, &meta, &mut rows)?;
                (meta, source)
            }
            Stored::Hdf5 => all_groups::<B>(&folder.data()?, Some(meta), &mut rows)?,
        },
        None => all_groups::<B>(&folder.data()?, None, &mut rows)?,
    };
    if rows.skipped.as_ref().is_none_or(|skipped| skipped.is_empty()) {
        meta.check("total_steps", meta.total_steps, rows.rewards.len(), "rows in its episodes")?;
    }
    let unread: Vec<String> = std::mem::take(&mut rows.unread).into_iter().collect();
    let mut recording = rows.into_recording(meta, source)?;
    recording.notes.extend(left_out(&unread).filter(|_| note_unread));
    Ok(recording)
}

/// The groups of one HDF5 file, with its metadata if they are not known yet.
fn all_groups<B: Backend>(
    data: &Path,
    meta: Option<Metadata>,
    rows: &mut Rows,
) -> Result<(Metadata, Source)> {
    let file = B::open(data)?;
    let label = data.display().to_string();
    let meta = meta.map_or_else(|| Metadata::of_attributes(&file, &label), Ok)?;
    let groups = episode_groups(&file)?;
    meta.check("total_episodes", meta.total_episodes, groups.len(), "episode groups in main_data.hdf5")?;
    rows.unread.extend(file.children("")?.into_iter().filter(|name| number(name).is_none()));
    for group in &groups {
        let episode = Episode::read(&file, &Place { label: &label, group, padding: 0 });
        rows.add(&label, episode)?;
    }
    Ok((meta, Source::of_files(data, &file.linked_files())?))
}

/// True if `path` is a folder (of whatever content) or a `main_data.hdf5` next to a `metadata.json`.
pub fn is_minari(path: &Path) -> bool {
    path.is_dir() || (path.ends_with(DATA) && path.with_file_name(METADATA).is_file())
}

/// The number of a group that is an episode.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix("episode_")?.parse().ok()
}

/// Groups `episode_i` in numeric order.
fn episode_groups<B: Backend>(file: &B) -> Result<Vec<String>> {
    let names = file.children("")?.into_iter();
    let mut numbered: Vec<(u64, String)> = names.filter_map(|name| Some((number(&name)?, name))).collect();
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, name)| name).collect())
}

/// Columns while they grow episode by episode.
#[derive(Default)]
struct Rows<'a> {
    /// Where episodes that are left out are counted.
    skipped: Option<&'a mut Skipped>,
    /// What the files hold beside the columns that are read.
    unread: BTreeSet<String>,
    dims: Option<(usize, usize)>,
    observations: Vec<f32>,
    next_observations: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    terminals: Vec<bool>,
    timeouts: Vec<bool>,
    group_ends: Vec<bool>,
}

/// Where an episode stands.
struct Place<'a> {
    /// The file, for messages.
    label: &'a str,
    /// The group in it; empty if the whole file is one episode.
    group: &'a str,
    /// Rows that follow its steps in every column but the observations, and mean nothing.
    padding: u64,
}

impl Place<'_> {
    fn key(&self, name: &str) -> String {
        match self.group {
            "" => name.into(),
            group => format!("{group}/{name}"),
        }
    }
}

/// One episode, checked by itself.
struct Episode {
    /// The key of its actions and that of its observations.
    keys: [String; 2],
    dims: (usize, usize),
    /// `[T + 1, S]`
    observations: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    terminals: Vec<bool>,
    timeouts: Vec<bool>,
    /// What else it has.
    unread: Vec<String>,
}

/// What is read of an episode.
const COLUMNS: [&str; 5] = ["observations", "actions", "rewards", "terminations", "truncations"];

impl Episode {
    fn read<B: Backend>(file: &B, place: &Place) -> Result<Episode> {
        let (label, padding) = (place.label, place.padding);
        let key = |name: &str| place.key(name);
        let missing = |name: &str, expected: &'static str| Error::MissingKey {
            file: label.into(),
            key: key(name),
            expected,
            present: file.children(place.group).map(|names| one_line(&names.join(", "))).unwrap_or_default(),
            advice: "only complete episodes are supported; `baq data convert --skip-bad` leaves others out",
        };
        let info = |name: &str, expected: &'static str| -> Result<Info> {
            let info = file.info(&key(name))?.ok_or_else(|| missing(name, expected))?;
            check_known(label, &key(name), &info)?;
            Ok(info)
        };
        let bad = |key: String, expected: String, got: &[u64]| bad_shape(label, key, expected, got);
        let rewards = info("rewards", "(T,) float")?;
        let (stored, steps) = match rewards.shape[..] {
            [stored] if stored >= padding => (stored, stored - padding),
            _ => return Err(bad(key("rewards"), "(T,)".into(), &rewards.shape)),
        };
        let parts = observation_parts(file, label, &key("observations"), steps)?
            .ok_or_else(|| missing("observations", "(T+1, S) float"))?;
        let actions = info("actions", "(T, A) float")?;
        let a = match actions.shape[..] {
            [t, a] if t == stored && a > 0 => usize::try_from(a).unwrap_or(usize::MAX),
            _ => return Err(bad(key("actions"), format!("({stored}, A)"), &actions.shape)),
        };
        check_float(label, &key("actions"), &actions)?;
        check_float(label, &key("rewards"), &rewards)?;
        for name in ["terminations", "truncations"] {
            let flags = info(name, "(T,) flags")?;
            if flags.shape != [stored] {
                return Err(bad(key(name), format!("({stored},)"), &flags.shape));
            }
        }
        let mut episode = Episode {
            dims: (parts.iter().map(|(_, width)| width).sum(), a),
            observations: flatten::read(file, label, &parts, plus_one(steps))?,
            actions: file.read_f32(&key("actions"))?,
            rewards: file.read_f32(&key("rewards"))?,
            terminals: file.read_flags(&key("terminations"))?,
            timeouts: file.read_flags(&key("truncations"))?,
            keys: [key("actions"), key("observations")],
            unread: unread(file, place),
        };
        episode.cut(usize::try_from(steps).unwrap_or(usize::MAX));
        Ok(episode)
    }

    /// Leaves what follows the last step out.
    fn cut(&mut self, steps: usize) {
        self.actions.truncate(steps.saturating_mul(self.dims.1));
        self.rewards.truncate(steps);
        self.terminals.truncate(steps);
        self.timeouts.truncate(steps);
    }
}

/// The names in an episode that are not read; those of `infos` one by one.
fn unread<B: Backend>(file: &B, place: &Place) -> Vec<String> {
    let names = |group: &str| file.children(group).unwrap_or_default();
    let mut found = names(place.group);
    found.retain(|name| name != "infos" && !COLUMNS.contains(&name.as_str()));
    found.extend(names(&place.key("infos")).iter().map(|name| format!("infos/{name}")));
    found
}

fn plus_one(steps: u64) -> usize {
    usize::try_from(steps).map_or(usize::MAX, |steps| steps.saturating_add(1))
}

/// The parts of an episode's observations with their widths; `None` if there are none.
fn observation_parts<B: Backend>(
    file: &B,
    label: &str,
    key: &str,
    steps: u64,
) -> Result<Option<Vec<(String, usize)>>> {
    let found = flatten::parts(file, label, key)?;
    let mut parts = Vec::with_capacity(found.len());
    for (part, info) in found {
        // The whole is a matrix; a part of a dictionary may have any shape.
        let flat = part != key || info.shape.len() == 2;
        check_known(label, &part, &info)?;
        match (info.shape.first(), flatten::width(&info)) {
            (Some(rows), Some(width)) if flat && steps.checked_add(1) == Some(*rows) => {
                check_float(label, &part, &info)?;
                parts.push((part, width));
            }
            _ => return Err(bad_shape(label, part, format!("({steps} + 1, S)"), &info.shape)),
        }
    }
    Ok(Some(parts).filter(|parts| !parts.is_empty()))
}

/// An error for a column of a type that is not read, whose shape says nothing.
fn check_known(label: &str, key: &str, info: &Info) -> Result<()> {
    if let Dtype::Other(_) = info.dtype { check_float(label, key, info) } else { Ok(()) }
}

fn check_float(label: &str, key: &str, info: &Info) -> Result<()> {
    match info.dtype {
        Dtype::F32 | Dtype::F64 => Ok(()),
        _ => {
            let (file, key, got) = (label.into(), key.into(), info.dtype.to_string());
            Err(Error::Dtype { file, key, expected: "f32 or f64", got })
        }
    }
}

fn bad_shape(label: &str, key: String, expected: String, got: &[u64]) -> Error {
    Error::Shape { file: label.into(), key, expected, got: format!("{got:?}") }
}

impl Rows<'_> {
    /// Appends an episode. Error: its own, or another width, unless it may be left out.
    fn add(&mut self, label: &str, episode: Result<Episode>) -> Result<()> {
        let added = episode.and_then(|episode| self.append(label, episode));
        match (added, &mut self.skipped) {
            (Err(Error::Shape { .. }), Some(skipped)) => skipped.add("columns of other lengths", 0),
            (Err(Error::MissingKey { .. }), Some(skipped)) => skipped.add("columns that are missing", 0),
            (other, _) => other?,
        }
        Ok(())
    }

    fn append(&mut self, label: &str, episode: Episode) -> Result<()> {
        let (s, a) = episode.dims;
        let steps = episode.rewards.len();
        let dims = *self.dims.get_or_insert((s, a));
        if dims != (s, a) {
            let [actions, observations] = episode.keys;
            let (key, width, got) = match dims.0 == s {
                true => (actions, dims.1, [steps as u64, a as u64]),
                false => (observations, dims.0, [steps as u64 + 1, s as u64]),
            };
            return Err(bad_shape(label, key, format!("width {width} as in the first episode"), &got));
        }
        self.unread.extend(episode.unread);
        let all = episode.observations;
        self.observations.extend_from_slice(&all[..all.len() - s]);
        self.next_observations.extend_from_slice(&all[s..]);
        self.actions.extend(episode.actions);
        self.rewards.extend(episode.rewards);
        self.terminals.extend(episode.terminals);
        self.timeouts.extend(episode.timeouts);
        self.group_ends.resize(self.rewards.len(), false);
        if steps > 0
            && let Some(last) = self.group_ends.last_mut()
        {
            *last = true;
        }
        Ok(())
    }
    fn into_recording(self, meta: Metadata, source: Source) -> Result<Recording> {
        let n = self.rewards.len();
        let Some((obs_dim, act_dim)) = self.dims.filter(|_| n > 0) else {
            return Err(Error::TooFewRows { file: source.path, key: "rewards".into(), expected: 1, got: 0 });
        };
        let matrix = |data: Vec<f32>, width| {
            Array2::from_shape_vec((n, width), data)
                .expect("invariant: every episode was appended with equal widths")
        };
        let bounds = |(low, high)| ActionBounds::new(&source.path, low, high).ok();
        Ok(Recording {
            observations: matrix(self.observations, obs_dim),
            actions: matrix(self.actions, act_dim),
            rewards: Array1::from_vec(self.rewards),
            next_observations: Some(matrix(self.next_observations, obs_dim)),
            terminals: self.terminals,
            timeouts: Some(self.timeouts),
            group_ends: Some(self.group_ends),
            action_log_probs: None,
            algorithm: meta.algorithm,
            env: meta.env,
            action_bounds: None,
            action_space: meta.action_space.and_then(bounds).filter(|b| b.low().len() == act_dim),
            notes: meta.notes,
            source,
        })
    }
}
