//! Minari layout: a folder with `data/main_data.hdf5` and `data/metadata.json`.
//!
//! The HDF5 file holds one group `episode_i` per trajectory with `observations` (T+1, S), `actions` (T, A), `rewards`
//! (T,), `terminations` and `truncations` (T,). s' is the next observation of the same group. The JSON holds its spaces as
//! JSON inside strings, with bare `Infinity` for bounds, which strict parsers refuse; see [`lenient_json`].

use crate::backend::{Backend, DefaultBackend, Dtype, Info};
use crate::columns::Source;
use crate::error::{Error, Result, one_line, plain};
use crate::recording::Recording;
use ndarray::{Array1, Array2};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Reads all episodes of a Minari dataset with the default backend. `path` is the dataset's folder, its `data` folder, or
/// the `main_data.hdf5` in it; `clip_actions` as in [`crate::Options`]. Errors: every one that concerns reading.
pub fn read(path: &Path, clip_actions: bool) -> Result<Recording> {
    read_with::<DefaultBackend>(path, clip_actions)
}

/// As [`read`], through a chosen backend.
pub fn read_with<B: Backend>(path: &Path, clip_actions: bool) -> Result<Recording> {
    let folder = data_folder(path);
    for missing in ["main_data.hdf5", "metadata.json"] {
        if !folder.join(missing).is_file() {
            return Err(Error::NotMinari { file: path.display().to_string(), missing });
        }
    }
    let meta = Metadata::read(&folder.join("metadata.json"))?;
    let data = folder.join("main_data.hdf5");
    let file = B::open(&data)?;
    let label = data.display().to_string();
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
        action_log_probs: None,
        algorithm: meta.algorithm,
        env: meta.env,
        source: Source::of_files(&data, &file.linked_files())?,
    }
    .checked(clip_actions)
}

/// True if `path` is a folder (of whatever content) or a `main_data.hdf5` next to a `metadata.json`.
pub fn is_minari(path: &Path) -> bool {
    path.is_dir() || (path.ends_with("main_data.hdf5") && path.with_file_name("metadata.json").is_file())
}

fn data_folder(path: &Path) -> PathBuf {
    if path.is_file() {
        path.parent().unwrap_or(Path::new("")).to_path_buf()
    } else if path.join("main_data.hdf5").exists() {
        path.to_path_buf()
    } else {
        path.join("data")
    }
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
        Ok(())
    }
}

/// The part of metadata.json that concerns a reader.
struct Metadata {
    file: String,
    total_episodes: u64,
    total_steps: u64,
    algorithm: Option<String>,
    env: Option<String>,
}

impl Metadata {
    fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let text = crate::files::read_to_string(path).map_err(|e| Error::io(path, "cannot read", &e))?;
        let bad = |field, expected: &str, got: String, advice| Error::Metadata {
            file: file.clone(),
            field,
            expected: expected.into(),
            got: one_line(&got),
            advice,
        };
        let json = lenient_json(&text)
            .map_err(|e| bad("(whole file)", "a JSON object", e.to_string(), "fetch the dataset again"))?;
        let format = json.get("data_format").and_then(Value::as_str).unwrap_or("hdf5");
        if format != "hdf5" {
            let advice = "download or save the dataset again with data_format=\"hdf5\"";
            return Err(bad("data_format", "hdf5", format.into(), advice));
        }
        let count = |field| {
            json.get(field).and_then(Value::as_u64).ok_or_else(|| {
                let got = json.get(field).map_or("nothing".into(), Value::to_string);
                bad(field, "a count", got, "fetch the dataset again")
            })
        };
        let (total_episodes, total_steps) = (count("total_episodes")?, count("total_steps")?);
        for field in ["observation_space", "action_space"] {
            // Older versions leave the spaces out; the shapes in the HDF5 file decide then.
            let Some(space) = nested(&json, field) else {
                continue;
            };
            let kind = space.get("type").and_then(Value::as_str).unwrap_or("Box");
            if kind != "Box" {
                return Err(bad(field, "a Box space", kind.into(), "only continuous control is supported"));
            }
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(|t| plain(t).into_owned());
        let algorithm = text(json.get("algorithm_name"));
        let env = nested(&json, "env_spec").and_then(|spec| text(spec.get("id")));
        Ok(Metadata { file, total_episodes, total_steps, algorithm, env })
    }

    fn check(&self, field: &'static str, declared: u64, found: usize, what: &str) -> Result<()> {
        if declared == found as u64 {
            return Ok(());
        }
        Err(Error::Metadata {
            file: self.file.clone(),
            field,
            expected: format!("{found}, the number of {what}"),
            got: declared.to_string(),
            advice: "the two files do not belong together or one is incomplete, fetch the dataset again",
        })
    }
}

/// A field that is JSON itself, or JSON inside a string.
fn nested(json: &Value, field: &str) -> Option<Value> {
    match json.get(field)? {
        Value::String(text) => lenient_json(text).ok(),
        other => Some(other.clone()),
    }
}

/// Parses JSON in which `Infinity`, `-Infinity` and `NaN` may stand where a number belongs; they become null.
/// Error: anything else that is not JSON.
pub fn lenient_json(text: &str) -> serde_json::Result<Value> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let (mut in_string, mut escaped) = (false, false);
    while let Some(c) = rest.chars().next() {
        if !in_string
            && let Some(word) = ["-Infinity", "Infinity", "NaN"].iter().find(|w| rest.starts_with(**w))
        {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            in_string = c == '"';
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    serde_json::from_str(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_is_replaced_outside_strings_only() {
        let text =
            r#"{"low": [-Infinity, 1.5], "high": [Infinity, NaN], "note": "a \"Infinity\" \\", "n": 3}"#;
        let json = lenient_json(text).expect("valid once the bare words are gone");
        assert_eq!(json["low"][0], Value::Null);
        assert_eq!(json["low"][1], 1.5);
        assert_eq!(json["high"], serde_json::json!([null, null]));
        assert_eq!(json["note"], "a \"Infinity\" \\");
        assert_eq!(json["n"], 3);
        assert!(
            serde_json::from_str::<Value>(text).is_err(),
            "the strict parser must be the reason for this function"
        );
        assert!(lenient_json("{\"a\": Infinit}").is_err());
    }
}
