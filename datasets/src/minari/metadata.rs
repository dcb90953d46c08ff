//! Where a Minari dataset's files lie and what its metadata say.

use crate::backend::{Backend, DefaultBackend};
use crate::error::{Error, Result, one_line, plain};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a dataset says of itself, read without its rows; `None` for what is no Minari dataset.
pub fn identity(path: &Path) -> Option<Identity> {
    let meta = Folder::find(path).and_then(|folder| match folder.metadata()? {
        Some(meta) => Ok(meta),
        None => {
            let data = folder.data()?;
            Metadata::of_attributes(&DefaultBackend::open(&data)?, &data.display().to_string())
        }
    });
    meta.ok().map(|meta| Identity { id: meta.id, env: meta.env })
}

/// See [`identity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `hopper/medium-v0`
    pub id: Option<String>,
    /// `Hopper-v5`
    pub env: Option<String>,
}

pub(super) const DATA: &str = "main_data.hdf5";
pub(super) const METADATA: &str = "metadata.json";

/// The folder in which a dataset's files lie.
pub(super) struct Folder {
    given: String,
    pub files: PathBuf,
}

/// How the rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// all episodes in one file
    Hdf5,
    /// a file for each, whose name ends so
    Episodes(&'static str),
}

impl Folder {
    /// From the dataset's folder, its `data` folder, or the file in it. Error: none of its files is there.
    pub fn find(path: &Path) -> Result<Self> {
        let given = path.display().to_string();
        if path.is_file() {
            return Ok(Folder { given, files: path.parent().unwrap_or(Path::new("")).to_path_buf() });
        }
        let places = [path.to_path_buf(), path.join("data")];
        let found = places.into_iter().find(|p| [DATA, METADATA].iter().any(|file| p.join(file).is_file()));
        match found {
            Some(files) => Ok(Folder { given, files }),
            None => Err(Error::NotMinari { file: given, missing: DATA, advice: below(path) }),
        }
    }

    /// The contents of `metadata.json`; `None` in a dataset of a Minari before 0.5, which has no such file.
    pub fn metadata(&self) -> Result<Option<Metadata>> {
        let path = self.files.join(METADATA);
        if path.is_file() { Metadata::of_json_file(&path).map(Some) } else { Ok(None) }
    }

    pub fn data(&self) -> Result<PathBuf> {
        let data = self.files.join(DATA);
        if data.is_file() {
            return Ok(data);
        }
        let advice = "fetch the dataset again".into();
        Err(Error::NotMinari { file: self.given.clone(), missing: DATA, advice })
    }
}

/// What to name instead of a folder that is no dataset: the datasets in it, as in a namespace of Minari's.
fn below(path: &Path) -> String {
    let is_dataset = |p: &PathBuf| [DATA, METADATA].iter().any(|file| p.join("data").join(file).is_file());
    let mut found: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()).filter(is_dataset))
        .filter_map(|p| p.file_name().map(|name| one_line(&name.to_string_lossy())))
        .collect();
    found.sort();
    match found.len() {
        0 => "give the HDF5 file itself".into(),
        n => format!("give one of the {n} in it: {}", one_line(&found.join(", "))),
    }
}

/// The part of a dataset's metadata that concerns a reader.
pub(super) struct Metadata {
    file: String,
    pub stored: Stored,
    pub total_episodes: u64,
    pub total_steps: u64,
    id: Option<String>,
    pub algorithm: Option<String>,
    pub env: Option<String>,
    /// bounds of the action space
    pub action_space: Option<(Vec<f32>, Vec<f32>)>,
    pub notes: Vec<String>,
}

/// Fields that Minari before 0.5 keeps as attributes.
const FIELDS: [&str; 7] = [
    "total_episodes",
    "total_steps",
    "dataset_id",
    "algorithm_name",
    "observation_space",
    "action_space",
    "env_spec",
];

fn json_file(path: &Path) -> Result<Value> {
    let text = crate::files::read_to_string(path).map_err(|e| Error::io(path, "cannot read", &e))?;
    lenient_json(&text).map_err(|e| {
        let file = path.display().to_string();
        bad(&file, "(whole file)", "a JSON object", &e.to_string(), "fetch the dataset again")
    })
}

/// The number of steps that an episode's own file says it has, if it says so.
pub(super) fn steps_of_episode(path: &Path) -> Result<Option<u64>> {
    Ok(json_file(path)?.get("total_steps").and_then(Value::as_u64))
}

impl Metadata {
    fn of_json_file(path: &Path) -> Result<Self> {
        Self::of_json(path.display().to_string(), &json_file(path)?)
    }

    pub fn of_attributes<B: Backend>(file: &B, label: &str) -> Result<Self> {
        let mut json = serde_json::Map::new();
        for field in FIELDS {
            if let Some(text) = file.attribute(field)? {
                let value = text.parse::<u64>().map_or(Value::String(text), Value::from);
                json.insert(field.into(), value);
            }
        }
        Self::of_json(label.into(), &Value::Object(json))
    }

    fn of_json(file: String, json: &Value) -> Result<Self> {
        let stored = match json.get("data_format").and_then(Value::as_str).unwrap_or("hdf5") {
            "hdf5" => Stored::Hdf5,
            "arrow" => Stored::Episodes("arrow"),
            "parquet" => Stored::Episodes("parquet"),
            other => {
                let advice = "load it with Minari and save it again with data_format=\"hdf5\"";
                return Err(bad(&file, "data_format", "hdf5, arrow or parquet", other, advice));
            }
        };
        let count = |field| {
            json.get(field).and_then(Value::as_u64).ok_or_else(|| {
                let got = json.get(field).map_or("nothing".into(), Value::to_string);
                bad(&file, field, "a count", &got, "fetch the dataset again")
            })
        };
        let (total_episodes, total_steps) = (count("total_episodes")?, count("total_steps")?);
        for field in ["observation_space", "action_space"] {
            // Older versions leave the spaces out; the shapes in the HDF5 file decide then.
            if let Some(space) = nested(json, field) {
                check_space(&file, field, &space, false)?;
            }
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(|t| plain(t).into_owned());
        let spec = nested(json, "env_spec");
        let env = spec.as_ref().and_then(|spec| text(spec.get("id")));
        let arguments =
            spec.as_ref().and_then(|spec| spec.get("kwargs")?.as_object()).filter(|a| !a.is_empty());
        let notes = arguments.iter().map(|arguments| {
            let arguments = one_line(&Value::Object((*arguments).clone()).to_string());
            format!(
                "recorded in {} with the arguments {arguments}",
                env.as_deref().unwrap_or("an environment")
            )
        });
        Ok(Metadata {
            stored,
            total_episodes,
            total_steps,
            id: text(json.get("dataset_id")),
            algorithm: text(json.get("algorithm_name")),
            action_space: nested(json, "action_space").and_then(|space| bounds(&space)),
            notes: notes.collect(),
            env,
            file,
        })
    }

    pub fn check(&self, field: &'static str, declared: u64, found: usize, what: &str) -> Result<()> {
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

fn bad(file: &str, field: &'static str, expected: &str, got: &str, advice: &'static str) -> Error {
    Error::Metadata { file: file.into(), field, expected: expected.into(), got: one_line(got), advice }
}

/// Lower and upper bounds of a Box, if all are finite.
fn bounds(space: &Value) -> Option<(Vec<f32>, Vec<f32>)> {
    let list = |key: &str| -> Option<Vec<f32>> {
        space.get(key)?.as_array()?.iter().map(|v| v.as_f64().map(|v| v as f32)).collect()
    };
    Some((list("low")?, list("high")?))
}

/// Only vectors of numbers can be read, and observations that are dictionaries or tuples of numbers; `inside` of these they are of any
/// shape.
fn check_space(file: &str, field: &'static str, space: &Value, inside: bool) -> Result<()> {
    let kind = space.get("type").and_then(Value::as_str).unwrap_or("Box");
    let rank = space.get("shape").and_then(Value::as_array).map_or(1, Vec::len);
    let shape = space.get("shape").map(Value::to_string).unwrap_or_default();
    let got = match (kind, rank) {
        ("Box", 1) => return Ok(()),
        ("Box", _) if inside => return Ok(()),
        ("Dict" | "Tuple", _) if field == "observation_space" => {
            let parts = |v: &Value| match v {
                Value::Object(parts) => parts.values().cloned().collect(),
                Value::Array(parts) => parts.clone(),
                _ => Vec::new(),
            };
            let parts: Vec<Value> = space.get("subspaces").map(parts).unwrap_or_default();
            if !parts.is_empty() {
                return parts.iter().try_for_each(|part| check_space(file, field, part, true));
            }
            format!("{kind} without parts")
        }
        ("Box", 3) => format!("a Box of shape {shape}, such as an image"),
        ("Box", _) => format!("a Box of shape {shape}"),
        (other, _) => other.to_string(),
    };
    let advice = match (field, kind) {
        (_, "Dict" | "Tuple") => {
            "only vectors are supported: flatten it into one Box and save the dataset again"
        }
        ("action_space", "Discrete" | "MultiDiscrete" | "MultiBinary") => {
            "only continuous control is supported, discrete actions are not"
        }
        _ => "only vectors of numbers are supported",
    };
    Err(bad(file, field, "a Box space of one axis", &got, advice))
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
