//! The two files of a trace: tensors as f64, method and hyper-parameters as JSON. Nothing in them is
//! trusted: every answer is a value of the kind asked for or an error that names file, key, expected and got.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::error::GoldenError;
use crate::algo::foreign::Wrong;

/// A tensor of the trace.
pub struct Tensor {
    /// extents, none of them zero
    pub shape: Vec<usize>,
    /// row-major, all finite
    pub values: Vec<f64>,
}

/// The tensors and the JSON of one trace.
pub struct Files {
    /// the safetensors file
    pub name: String,
    /// the JSON file
    pub json_name: String,
    /// by name
    pub tensors: BTreeMap<String, Tensor>,
    json: Value,
    /// keys of tensors and logged values that were read
    read: RefCell<BTreeSet<String>>,
}

impl Files {
    /// Reads the pair of which `path` is either file.
    pub fn read(path: &Path) -> Result<Files, GoldenError> {
        let (path, json_path) = pair(path);
        let fail = |file: &Path, cause: String| GoldenError::File { file: file.display().to_string(), cause };
        let bytes = crate::files::read(&path).map_err(|e| fail(&path, format!("cannot be read ({e})")))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| {
            fail(&path, format!("expected a safetensors file, got one that is damaged or no such file ({e})"))
        })?;
        let name = path.display().to_string();
        let mut tensors = BTreeMap::new();
        for (key, view) in file.iter() {
            let error = |expected: &str, got: String| Wrong {
                file: name.clone(),
                key: key.into(),
                expected: expected.into(),
                got,
            };
            let (shape, values) = (view.shape().to_vec(), numbers(view.dtype(), view.data()));
            let values =
                values.ok_or_else(|| error("numbers of 32 or 64 bits", format!("{:?}", view.dtype())))?;
            if values.is_empty() {
                return Err(error("at least one number", format!("shape {shape:?}")).into());
            }
            if let Some(x) = values.iter().find(|x| !x.is_finite()) {
                return Err(error("finite numbers", x.to_string()).into());
            }
            tensors.insert(key.to_string(), Tensor { shape, values });
        }
        let text = crate::files::read_to_string(&json_path).map_err(|e| {
            fail(
                &json_path,
                format!("cannot be read ({e}); a trace is a pair NAME.safetensors, NAME.json in one folder"),
            )
        })?;
        let json = serde_json::from_str(&text).map_err(|e| fail(&json_path, format!("is not JSON ({e})")))?;
        let (json_name, read) = (json_path.display().to_string(), RefCell::default());
        Ok(Files { name, json_name, tensors, json, read })
    }

    /// Remembers that a tensor or a logged value was read.
    pub fn mark(&self, key: &str) {
        self.read.borrow_mut().insert(key.into());
    }

    /// Whether it was.
    pub fn was_read(&self, key: &str) -> bool {
        self.read.borrow().contains(key)
    }

    /// A tensor of one of these shapes, which is read.
    pub fn tensor(&self, key: &str, shapes: &[&[usize]]) -> Result<&[f64], Wrong> {
        let error = |got: String| Wrong {
            file: self.name.clone(),
            key: key.into(),
            expected: format!("shape {:?}", shapes[0]),
            got,
        };
        match self.tensors.get(key) {
            None => Err(error("no such tensor".into())),
            Some(t) if !shapes.contains(&&t.shape[..]) => Err(error(format!("shape {:?}", t.shape))),
            Some(t) => {
                self.mark(key);
                Ok(&t.values)
            }
        }
    }

    /// The extents of a tensor `[rows, columns]`.
    pub fn matrix(&self, key: &str) -> Result<(usize, usize), Wrong> {
        let error = |got: String| Wrong {
            file: self.name.clone(),
            key: key.into(),
            expected: "a tensor [rows, columns]".into(),
            got,
        };
        match self.tensors.get(key).map(|t| &t.shape[..]) {
            None => Err(error("no such tensor".into())),
            Some(&[rows, cols]) => Ok((rows, cols)),
            Some(shape) => Err(error(format!("shape {shape:?}"))),
        }
    }

    /// A JSON value that is not what it should be.
    pub fn wrong(&self, key: &str, expected: &str, got: impl ToString) -> Wrong {
        Wrong {
            file: self.json_name.clone(),
            key: key.into(),
            expected: expected.into(),
            got: got.to_string(),
        }
    }

    /// `meta.KEY`, if it is there and not null.
    fn meta(&self, key: &str) -> Option<&Value> {
        self.json.get("meta")?.get(key).filter(|v| !v.is_null())
    }

    /// The number `meta.KEY` inside a range; `None` if it is not there.
    pub fn number(&self, key: &str, (lo, hi): (f64, f64)) -> Result<Option<f64>, Wrong> {
        let Some(value) = self.meta(key) else { return Ok(None) };
        match value.as_f64() {
            Some(x) if (lo..=hi).contains(&x) => Ok(Some(x)),
            _ => Err(self.wrong(&format!("meta.{key}"), &format!("a number in {lo}..={hi}"), value)),
        }
    }

    /// The whole number `meta.KEY` from 1 to `most`; `None` if it is not there.
    pub fn whole(&self, key: &str, most: u64) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.meta(key) else { return Ok(None) };
        let float = value.as_f64().filter(|x| x.fract() == 0.0 && (1.0..9e15).contains(x)).map(|x| x as u64);
        match value.as_u64().or(float) {
            Some(n) if (1..=most).contains(&n) => Ok(Some(n)),
            _ if most == u64::MAX => {
                Err(self.wrong(&format!("meta.{key}"), "a whole number of at least 1", value))
            }
            _ => Err(self.wrong(&format!("meta.{key}"), &format!("a whole number from 1 to {most}"), value)),
        }
    }

    /// The truth value `meta.KEY`; `None` if it is not there.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Wrong> {
        let Some(value) = self.meta(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(&format!("meta.{key}"), "true or false", value))
    }

    /// The string `meta.KEY`; `None` if it is not there.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Wrong> {
        let Some(value) = self.meta(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(&format!("meta.{key}"), "a string", value))
    }

    /// The numbers `meta.KEY`; `None` if it is not there.
    pub fn list(&self, key: &str) -> Result<Option<Vec<f64>>, Wrong> {
        let Some(value) = self.meta(key) else { return Ok(None) };
        let numbers = value.as_array().and_then(|all| all.iter().map(Value::as_f64).collect());
        numbers.map(Some).ok_or_else(|| self.wrong(&format!("meta.{key}"), "a list of numbers", value))
    }

    /// The sum of the numbers `logs[UPDATE].KEY`, which are read; `None` if one of them is not there.
    pub fn log(&self, update: usize, keys: &[impl AsRef<str>]) -> Result<Option<f64>, Wrong> {
        let entry = self.json.get("logs").and_then(|logs| logs.get(update));
        let mut sum = 0.0;
        for key in keys {
            let key = key.as_ref();
            let Some(value) = entry.and_then(|entry| entry.get(key)) else { return Ok(None) };
            sum += value.as_f64().ok_or_else(|| self.wrong(&log_key(update, key), "a number", value))?;
        }
        keys.iter().for_each(|key| self.mark(&log_key(update, key.as_ref())));
        Ok(Some(sum))
    }

    /// The keys of all logged values.
    pub fn logged(&self) -> Vec<String> {
        let updates = self.json.get("logs").and_then(Value::as_array).into_iter().flatten().enumerate();
        let entries = updates.filter_map(|(update, entry)| Some((update, entry.as_object()?)));
        entries.flat_map(|(update, entry)| entry.keys().map(move |key| log_key(update, key))).collect()
    }
}

fn log_key(update: usize, key: &str) -> String {
    format!("logs[{update}].{key}")
}

/// Both files of the pair that either names.
fn pair(path: &Path) -> (PathBuf, PathBuf) {
    match path.extension().is_some_and(|e| e == "json") {
        true => (path.with_extension("safetensors"), path.to_path_buf()),
        false => (path.to_path_buf(), path.with_extension("json")),
    }
}

/// Little-endian elements as f64; `None` for types that would lose something or mean something else.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    fn read<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
        Some(bytes.as_chunks::<N>().0.iter().map(|&b| f(b)).collect())
    }
    match dtype {
        Dtype::F64 => read(bytes, f64::from_le_bytes),
        Dtype::F32 => read(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::I64 => read(bytes, |b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => read(bytes, |b| f64::from(i32::from_le_bytes(b))),
        Dtype::U8 | Dtype::BOOL => read(bytes, |[b]| f64::from(b)),
        _ => None,
    }
}
