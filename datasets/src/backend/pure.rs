//! The default backend: HDF5 in pure Rust. Column bytes are fetched on demand, a file is never held whole in memory.

use super::{Backend, Chunk, Dtype, HEAD_BYTES, Info, Layout, Storage, check_signature};
use crate::error::{Error, Result, one_line};
use hdf5_pure::{DType, Dataset, File, FormatError, Group};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

/// An HDF5 file opened by the pure-Rust library.
pub struct PureFile {
    file: File,
    label: String,
    bytes: u64,
    /// Groups below the root, opened once: looking each up by path again scans the root (Minari has thousands).
    groups: OnceCell<BTreeMap<String, Group>>,
}

impl PureFile {
    fn finish(file: std::result::Result<File, hdf5_pure::Error>, label: String, bytes: u64) -> Result<Self> {
        let file = file.map_err(|e| undecodable(&label, "/", &e))?;
        let end = file.superblock().eof_address;
        if end > bytes {
            return Err(Error::Truncated { file: label, expected: end, got: bytes });
        }
        Ok(PureFile { file, label, bytes, groups: OnceCell::new() })
    }

    fn groups(&self) -> Result<&BTreeMap<String, Group>> {
        if let Some(groups) = self.groups.get() {
            return Ok(groups);
        }
        let found = self.file.root().iter_groups().map_err(|e| undecodable(&self.label, "/", &e))?;
        Ok(self.groups.get_or_init(|| found.collect()))
    }

    fn dataset(&self, key: &str) -> Result<Option<Dataset>> {
        let found = match key.split_once('/') {
            None => self.file.dataset(key),
            Some((group, rest)) => match self.groups()?.get(group) {
                None => return Ok(None),
                Some(group) => group.dataset(rest),
            },
        };
        match found {
            Ok(dataset) => Ok(Some(dataset)),
            Err(
                hdf5_pure::Error::Format(FormatError::PathNotFound(_)) | hdf5_pure::Error::NotADataset(_),
            ) => Ok(None),
            Err(hdf5_pure::Error::NotAGroup(_)) => Ok(None),
            Err(e) => Err(undecodable(&self.label, key, &e)),
        }
    }

    fn required(&self, key: &str) -> Result<Dataset> {
        self.dataset(key)?.ok_or_else(|| Error::MissingKey {
            file: self.label.clone(),
            key: key.into(),
            expected: "a dataset",
            present: self.children("").map(|k| k.join(", ")).unwrap_or_default(),
            advice: "check that this is the right file",
        })
    }

    /// Dataset, its type and element count, after the checks that must precede reading.
    fn guarded(&self, key: &str) -> Result<(Dataset, Dtype, usize)> {
        let dataset = self.required(key)?;
        let (dtype, elements) = self.check(key, &dataset)?;
        Ok((dataset, dtype, elements))
    }

    fn check(&self, key: &str, dataset: &Dataset) -> Result<(Dtype, usize)> {
        let fail = |e: hdf5_pure::Error| undecodable(&self.label, key, &e);
        let layout = match dataset.layout().map_err(fail)? {
            hdf5_pure::Layout::Compact { .. } => Layout::Compact,
            hdf5_pure::Layout::Contiguous { address, .. } => {
                Layout::Contiguous { allocated: address.is_some() }
            }
            hdf5_pure::Layout::Chunked { chunk_shape, .. } => Layout::Chunked {
                shape: chunk_shape,
                filtered: !dataset.filters().is_empty(),
                chunks: dataset
                    .chunks()
                    .map_err(fail)?
                    .into_iter()
                    .map(|c| Chunk { offset: c.offset, bytes: c.storage_size })
                    .collect(),
            },
            other => return Err(self.refuse(key, &format!("storage layout {other}"))),
        };
        let storage = Storage {
            shape: dataset.shape().map_err(fail)?,
            element_bytes: dataset.element_size().map_err(fail)?,
            layout,
        };
        let elements = storage.check(&self.label, key, self.bytes)?;
        Ok((classify(&dataset.dtype().map_err(fail)?), elements))
    }

    fn refuse(&self, key: &str, reason: &str) -> Error {
        Error::Undecodable { file: self.label.clone(), key: key.into(), reason: reason.into() }
    }

    fn whole<T>(
        &self,
        key: &str,
        elements: usize,
        read: std::result::Result<Vec<T>, hdf5_pure::Error>,
    ) -> Result<Vec<T>> {
        let values = read.map_err(|e| undecodable(&self.label, key, &e))?;
        if values.len() != elements {
            return Err(self.refuse(key, &format!("{} of {elements} elements came back", values.len())));
        }
        Ok(values)
    }

    fn float_only(&self, key: &str, dtype: Dtype) -> Result<()> {
        match dtype {
            Dtype::F32 | Dtype::F64 => Ok(()),
            got => Err(Error::Dtype {
                file: self.label.clone(),
                key: key.into(),
                expected: "f32 or f64",
                got: got.to_string(),
            }),
        }
    }
}

impl Backend for PureFile {
    const NAME: &'static str = "pure";

    fn open(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let open = |e| Error::io(path, "cannot open", &e);
        let mut file = std::fs::File::open(path).map_err(open)?;
        let bytes = file.metadata().map_err(open)?.len();
        let mut head = Vec::new();
        (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(open)?;
        check_signature(&label, &head)?;
        Self::finish(File::open_streaming(path), label, bytes)
    }

    fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self> {
        check_signature(label, &bytes[..bytes.len().min(HEAD_BYTES)])?;
        Self::finish(File::from_bytes(bytes.to_vec()), label.into(), bytes.len() as u64)
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        let fail =
            |e: hdf5_pure::Error| undecodable(&self.label, if group.is_empty() { "/" } else { group }, &e);
        let node = if group.is_empty() { self.file.root() } else { self.file.group(group).map_err(fail)? };
        let mut names = node.datasets().map_err(fail)?;
        names.extend(node.groups().map_err(fail)?);
        names.sort();
        Ok(names)
    }

    fn info(&self, key: &str) -> Result<Option<Info>> {
        let Some(dataset) = self.dataset(key)? else {
            return Ok(None);
        };
        let (dtype, _) = self.check(key, &dataset)?;
        Ok(Some(Info { shape: dataset.shape().map_err(|e| undecodable(&self.label, key, &e))?, dtype }))
    }

    fn read_f32(&self, key: &str) -> Result<Vec<f32>> {
        let (dataset, dtype, elements) = self.guarded(key)?;
        self.float_only(key, dtype)?;
        self.whole(key, elements, dataset.read_f32())
    }

    fn read_f64(&self, key: &str) -> Result<Vec<f64>> {
        let (dataset, dtype, elements) = self.guarded(key)?;
        self.float_only(key, dtype)?;
        self.whole(key, elements, dataset.read_f64())
    }

    fn read_flags(&self, key: &str) -> Result<Vec<bool>> {
        let (dataset, dtype, elements) = self.guarded(key)?;
        match dtype {
            Dtype::Bool => {
                Ok(self.whole(key, elements, dataset.read_i8())?.iter().map(|v| *v != 0).collect())
            }
            Dtype::Int | Dtype::F32 | Dtype::F64 => {
                super::flags_of(&self.label, key, &self.whole(key, elements, dataset.read_f64())?)
            }
            got => Err(super::flag_dtype(&self.label, key, &got)),
        }
    }

    fn read_string(&self, key: &str) -> Result<String> {
        let (dataset, dtype, elements) = self.guarded(key)?;
        if dtype != Dtype::Text || elements != 1 {
            return Err(super::string_dtype(&self.label, key, &dtype, elements));
        }
        let mut values = self.whole(key, elements, dataset.read_string())?;
        Ok(values.pop().unwrap_or_default().trim_end_matches('\0').to_string())
    }
}

fn undecodable(label: &str, key: &str, error: &hdf5_pure::Error) -> Error {
    Error::Undecodable { file: label.into(), key: key.into(), reason: one_line(&error.to_string()) }
}

fn classify(dtype: &DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => Dtype::Int,
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => Dtype::Int,
        DType::String | DType::VariableLengthString => Dtype::Text,
        DType::Enum(names) if names.len() == 2 && names[0] == "FALSE" && names[1] == "TRUE" => Dtype::Bool,
        other => Dtype::Other(other.to_string()),
    }
}
