//! The second backend: the C library through the `hdf5-metno` fork, cargo feature `libhdf5`.
//!
//! The structure is read by [`PureFile`] first, which knows damage where the library takes it for absence; the library
//! decodes the values, and reads alone what `PureFile` does not support. Every call takes the library's global lock, so
//! nothing here runs in parallel. Flags are read as i8, never as `bool`: a damaged file may hold other bytes than 0 and 1.

use super::pure::PureFile;
use super::{Backend, Chunk, Dtype, Info, Layout, Storage};
use crate::error::{Error, Result, one_line};
use hdf5::types::{FixedAscii, FixedUnicode, FloatSize, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, File, H5Type};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// An HDF5 file opened by the C library.
pub struct LibFile {
    file: File,
    label: String,
    bytes: u64,
    /// The same file in the eyes of the other backend; `None` if it does not support the file.
    checked: Option<PureFile>,
}

/// Longest fixed-length string that is read, bytes; D4RL's metadata strings have a dozen.
const MAX_STRING: usize = 1024;

impl LibFile {
    fn fail(&self, key: &str, error: &hdf5::Error) -> Error {
        undecodable(&self.label, key, error)
    }

    fn refuse(&self, key: &str, reason: &str) -> Error {
        Error::Undecodable { file: self.label.clone(), key: key.into(), reason: reason.into() }
    }

    fn dataset(&self, key: &str) -> Result<Option<Dataset>> {
        // `link_exists` wants each intermediate group to exist, so the path is walked.
        let mut upto = String::new();
        for part in key.split('/') {
            if !upto.is_empty() {
                upto.push('/');
            }
            upto.push_str(part);
            if !self.file.link_exists(&upto) {
                return Ok(None);
            }
        }
        if self.file.group(key).is_ok() {
            return Ok(None);
        }
        self.file.dataset(key).map(Some).map_err(|e| self.fail(key, &e))
    }

    /// What the other backend says of a key; `None` if it does not support it.
    fn checked_info(&self, key: &str) -> Result<Option<Option<Info>>> {
        match self.checked.as_ref().map(|file| file.info(key)) {
            None | Some(Err(Error::Unsupported { .. })) => Ok(None),
            Some(info) => info.map(Some),
        }
    }

    /// Dataset, its type and element count, after the checks that must precede reading.
    fn guarded(&self, key: &str) -> Result<(Dataset, TypeDescriptor, usize)> {
        self.checked_info(key)?;
        let dataset = self.dataset(key)?.ok_or_else(|| Error::MissingKey {
            file: self.label.clone(),
            key: key.into(),
            expected: "a dataset",
            present: self.children("").map(|k| k.join(", ")).unwrap_or_default(),
            advice: "check that this is the right file",
        })?;
        let (descriptor, elements) = self.check(key, &dataset)?;
        Ok((dataset, descriptor, elements))
    }

    fn check(&self, key: &str, dataset: &Dataset) -> Result<(TypeDescriptor, usize)> {
        let dtype = dataset.dtype().map_err(|e| self.fail(key, &e))?;
        let layout = match dataset.layout() {
            hdf5::plist::dataset_create::Layout::Compact => Layout::Compact,
            hdf5::plist::dataset_create::Layout::Contiguous => {
                Layout::Contiguous { allocated: dataset.offset().is_some() }
            }
            hdf5::plist::dataset_create::Layout::Chunked => {
                let shape = dataset.chunk().ok_or_else(|| self.refuse(key, "chunk shape is missing"))?;
                let mut chunks = Vec::new();
                dataset
                    .chunks_visit(|c| {
                        chunks.push(Chunk { offset: c.offset.to_vec(), bytes: c.size });
                        0
                    })
                    .map_err(|e| self.fail(key, &e))?;
                Layout::Chunked {
                    shape: shape.iter().map(|n| *n as u64).collect(),
                    filtered: !dataset.filters().is_empty(),
                    chunks,
                }
            }
            other => return Err(self.refuse(key, &format!("storage layout {other:?}"))),
        };
        let storage = Storage { shape: extents(dataset), element_bytes: dtype.size() as u64, layout };
        let elements = storage.check(&self.label, key, self.bytes)?;
        let descriptor = dtype.to_descriptor().map_err(|e| self.fail(key, &e))?;
        Ok((descriptor, elements))
    }

    fn whole<T: H5Type>(&self, key: &str, dataset: &Dataset) -> Result<Vec<T>> {
        dataset.read_raw::<T>().map_err(|e| self.unsupported(key).unwrap_or_else(|| self.fail(key, &e)))
    }

    /// What neither backend undoes, in the words of the one that can name it.
    fn unsupported(&self, key: &str) -> Option<Error> {
        let file = self.checked.as_ref()?;
        let errors = [file.read_f32(key).err(), file.read_f64(key).err()];
        errors.into_iter().flatten().find(|e| matches!(e, Error::Unsupported { .. }))
    }

    fn floats<T: H5Type>(&self, key: &str) -> Result<Vec<T>> {
        let (dataset, descriptor, _) = self.guarded(key)?;
        match classify(&descriptor) {
            Dtype::F32 | Dtype::F64 => self.whole(key, &dataset),
            got => Err(Error::Dtype {
                file: self.label.clone(),
                key: key.into(),
                expected: "f32 or f64",
                got: got.to_string(),
            }),
        }
    }
}

impl Backend for LibFile {
    const NAME: &'static str = "libhdf5";

    fn open(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let bytes = super::open(path, &label)?.1;
        let checked = if_supported(PureFile::open(path))?;
        let file = File::open(path).map_err(|e| undecodable(&label, "/", &e))?;
        Ok(LibFile { file, label, bytes, checked })
    }

    /// The C library's image driver has no safe binding; the bytes pass through a temporary file, removed at once.
    fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let checked = if_supported(PureFile::from_bytes(label, bytes))?;
        let name = format!("baq-{}-{}.hdf5.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let write = |e| Error::io(&path, "cannot write", &e);
        std::fs::File::create_new(&path).and_then(|mut f| f.write_all(bytes)).map_err(write)?;
        let opened = File::open(&path);
        std::fs::remove_file(&path).map_err(write)?;
        let file = opened.map_err(|e| undecodable(label, "/", &e))?;
        Ok(LibFile { file, label: label.into(), bytes: bytes.len() as u64, checked })
    }

    fn linked_files(&self) -> Vec<PathBuf> {
        self.checked.as_ref().map(PureFile::linked_files).unwrap_or_default()
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        if let Some(file) = &self.checked {
            return file.children(group);
        }
        let names = if group.is_empty() {
            self.file.member_names()
        } else {
            self.file.group(group).and_then(|g| g.member_names())
        };
        let mut names = names.map_err(|e| self.fail(if group.is_empty() { "/" } else { group }, &e))?;
        names.sort();
        Ok(names)
    }

    fn info(&self, key: &str) -> Result<Option<Info>> {
        if let Some(info) = self.checked_info(key)? {
            return Ok(info);
        }
        let Some(dataset) = self.dataset(key)? else {
            return Ok(None);
        };
        let (descriptor, _) = self.check(key, &dataset)?;
        Ok(Some(Info { shape: extents(&dataset), dtype: classify(&descriptor) }))
    }

    fn read_f32(&self, key: &str) -> Result<Vec<f32>> {
        self.floats(key)
    }

    fn read_f64(&self, key: &str) -> Result<Vec<f64>> {
        self.floats(key)
    }

    fn read_flags(&self, key: &str) -> Result<Vec<bool>> {
        let (dataset, descriptor, _) = self.guarded(key)?;
        match classify(&descriptor) {
            Dtype::Bool => super::flags_of(&self.label, key, &self.whole::<i8>(key, &dataset)?),
            Dtype::Int | Dtype::F32 | Dtype::F64 => {
                super::flags_of(&self.label, key, &self.whole::<f64>(key, &dataset)?)
            }
            got => Err(super::flag_dtype(&self.label, key, &got)),
        }
    }

    fn read_string(&self, key: &str) -> Result<String> {
        let (dataset, descriptor, elements) = self.guarded(key)?;
        let long = |n: usize| self.refuse(key, &format!("a string of {n} bytes, longer than {MAX_STRING}"));
        let text = match descriptor {
            _ if elements != 1 => None,
            TypeDescriptor::FixedAscii(n) | TypeDescriptor::FixedUnicode(n) if n > MAX_STRING => {
                return Err(long(n));
            }
            TypeDescriptor::FixedAscii(_) => {
                self.whole::<FixedAscii<MAX_STRING>>(key, &dataset)?.first().map(|s| s.as_str().to_string())
            }
            TypeDescriptor::FixedUnicode(_) => {
                self.whole::<FixedUnicode<MAX_STRING>>(key, &dataset)?.first().map(|s| s.as_str().to_string())
            }
            TypeDescriptor::VarLenAscii => {
                self.whole::<VarLenAscii>(key, &dataset)?.first().map(|s| s.as_str().to_string())
            }
            TypeDescriptor::VarLenUnicode => {
                self.whole::<VarLenUnicode>(key, &dataset)?.first().map(|s| s.as_str().to_string())
            }
            _ => None,
        };
        text.ok_or_else(|| super::string_dtype(&self.label, key, &classify(&descriptor), elements))
    }

    fn attribute(&self, name: &str) -> Result<Option<String>> {
        let read = || -> hdf5::Result<Option<String>> {
            if !self.file.attr_names()?.iter().any(|n| n == name) {
                return Ok(None);
            }
            let attribute = self.file.attr(name)?;
            if attribute.size() != 1 {
                return Ok(None);
            }
            Ok(match attribute.dtype()?.to_descriptor()? {
                TypeDescriptor::VarLenUnicode => Some(attribute.read_raw::<VarLenUnicode>()?[0].to_string()),
                TypeDescriptor::VarLenAscii => Some(attribute.read_raw::<VarLenAscii>()?[0].to_string()),
                TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) => {
                    Some(attribute.read_raw::<i64>()?[0].to_string())
                }
                _ => None,
            })
        };
        read().map_err(|e| self.fail("/", &e))
    }
}

fn if_supported(file: Result<PureFile>) -> Result<Option<PureFile>> {
    match file {
        Err(Error::Unsupported { .. }) => Ok(None),
        file => file.map(Some),
    }
}

fn extents(dataset: &Dataset) -> Vec<u64> {
    dataset.shape().iter().map(|n| *n as u64).collect()
}

fn undecodable(label: &str, key: &str, error: &hdf5::Error) -> Error {
    Error::Undecodable { file: label.into(), key: key.into(), reason: one_line(&error.to_string()) }
}

fn classify(descriptor: &TypeDescriptor) -> Dtype {
    match descriptor {
        TypeDescriptor::Float(FloatSize::U4) => Dtype::F32,
        TypeDescriptor::Float(FloatSize::U8) => Dtype::F64,
        TypeDescriptor::Boolean => Dtype::Bool,
        TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) => Dtype::Int,
        TypeDescriptor::FixedAscii(_)
        | TypeDescriptor::FixedUnicode(_)
        | TypeDescriptor::VarLenAscii
        | TypeDescriptor::VarLenUnicode => Dtype::Text,
        other => Dtype::Other(other.to_string()),
    }
}
