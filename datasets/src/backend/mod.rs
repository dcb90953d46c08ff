//! Files of named columns behind one small trait.
//!
//! `pure` (no C, the default) and `libhdf5` (the C library, cargo feature of that name) are two ways into an HDF5 file;
//! [`npz`], [`csv`] and [`arrow`] answer the same questions of NumPy's archives and of tables. What makes reading HDF5
//! *safe* lives here and serves both: the signature and length test at opening, and `Storage::check`, which runs before any
//! column is read.

use crate::error::{Error, Result, one_line};
use foreign::foreign;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub mod arrow;
pub mod csv;
mod foreign;
#[cfg(feature = "libhdf5")]
pub mod libhdf5;
mod names;
pub mod npz;
pub mod pure;

#[cfg(not(feature = "libhdf5"))]
pub use pure::PureFile as DefaultBackend;

#[cfg(feature = "libhdf5")]
pub use libhdf5::LibFile as DefaultBackend;

/// Element type of a stored column, as far as a reader has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 32-bit float.
    F32,
    /// IEEE 64-bit float.
    F64,
    /// Boolean stored as an HDF5 enumeration of one byte.
    Bool,
    /// Any signed or unsigned integer of 1, 2, 4 or 8 bytes.
    Int,
    /// Fixed or variable length string.
    Text,
    /// Anything else, in the library's words.
    Other(String),
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dtype::F32 => f.write_str("f32"),
            Dtype::F64 => f.write_str("f64"),
            Dtype::Bool => f.write_str("bool"),
            Dtype::Int => f.write_str("integer"),
            Dtype::Text => f.write_str("string"),
            Dtype::Other(name) => f.write_str(&one_line(name)),
        }
    }
}

/// Shape and element type of one dataset; says nothing about its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// Element type.
    pub dtype: Dtype,
}

/// An open file of named columns.
///
/// Keys are paths without a leading slash (`observations`, `metadata/algorithm`). The `read_*` functions return the
/// whole column in row-major order and run `Storage::check` first, so a damaged header can neither cause an absurd
/// allocation nor silent zeros.
pub trait Backend: Sized {
    /// Name for messages and tests.
    const NAME: &'static str;

    /// Opens a file on disk. Errors: missing, of another format, cut short, undecodable.
    fn open(path: &Path) -> Result<Self>;

    /// Opens a file held in memory; `label` stands for its path in messages. Errors as [`Backend::open`].
    fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self>;

    /// The files beyond this one that links have led to so far; none in a format without links.
    fn linked_files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Sorted names of the datasets and groups directly inside `group` (`""` is the root). Errors: there is no such
    /// group, or a link on the way to it leads nowhere.
    fn children(&self, group: &str) -> Result<Vec<String>>;

    /// Shape and type of a dataset, or `None` if there is none of this name. Its storage has passed `Storage::check`, so
    /// the shape can be believed; and so can `None`: where damage may have hidden the name, that is an error.
    fn info(&self, key: &str) -> Result<Option<Info>>;

    /// Whole column of a float dataset as f32 (f64 is rounded). Errors: no such dataset; not one of floats; damaged, or
    /// stored in a way that is not read.
    fn read_f32(&self, key: &str) -> Result<Vec<f32>>;

    /// Whole column of a float dataset as f64. Errors: as [`Backend::read_f32`].
    fn read_f64(&self, key: &str) -> Result<Vec<f64>>;

    /// Whole column of flags (bool, integer or float), each 0 or 1; any other value is refused with its row.
    fn read_flags(&self, key: &str) -> Result<Vec<bool>>;

    /// A scalar (or one-element) string. Errors: no such dataset; not one string, as always in CSV, Arrow and Parquet;
    /// too long, damaged, or stored in a way that is not read.
    fn read_string(&self, key: &str) -> Result<String>;

    /// An attribute of the file's root that is one string or one integer, as text; `None` for any other, or if it is
    /// absent, as always in a format without attributes.
    fn attribute(&self, _name: &str) -> Result<Option<String>> {
        Ok(None)
    }
}

/// Where a dataset's bytes lie, as the file declares it.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// Inside the object header.
    Compact,
    /// One run of bytes; `allocated` is false when it was never written.
    Contiguous { allocated: bool },
    /// A grid of chunks; `chunks` lists the allocated ones.
    Chunked { shape: Vec<u64>, filtered: bool, chunks: Vec<Chunk> },
}

/// One allocated chunk.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// First element, one coordinate per axis.
    pub offset: Vec<u64>,
    /// Stored bytes.
    pub bytes: u64,
}

/// Declared storage of one dataset.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub shape: Vec<u64>,
    pub element_bytes: u64,
    pub layout: Layout,
}

/// Deflate expands by at most 1032; the other filters of the D4RL world expand by less.
const MAX_EXPANSION: u64 = 1040;

/// 64 GiB: beyond this a declared size is called absurd even if most of it might just be unwritten.
const LARGEST: u128 = 1 << 36;

impl Storage {
    /// Refuses what cannot be true for a file of `file_bytes`, and what was never written. Returns the element count.
    pub fn check(&self, file: &str, key: &str, file_bytes: u64) -> Result<usize> {
        let absurd = |declared: u128, limit: u64| Error::AbsurdSize {
            file: file.into(),
            key: key.into(),
            declared: u64::try_from(declared).unwrap_or(u64::MAX),
            limit,
        };
        let elements = product(&self.shape);
        let declared = elements.saturating_mul(u128::from(self.element_bytes));
        match &self.layout {
            Layout::Compact => {
                // An object header message holds at most 64 kB.
                if declared > 65_536 {
                    return Err(absurd(declared, 65_536));
                }
            }
            Layout::Contiguous { allocated } => {
                if declared > LARGEST {
                    return Err(absurd(declared, file_bytes));
                }
                if !allocated && declared > 0 {
                    return Err(Error::Unwritten { file: file.into(), key: key.into(), expected: 1, got: 0 });
                }
                if declared > u128::from(file_bytes) {
                    return Err(absurd(declared, file_bytes));
                }
            }
            Layout::Chunked { shape: chunk, filtered, chunks } => {
                self.check_chunks(file, key, file_bytes, chunk, *filtered, chunks, declared)?;
            }
        }
        usize::try_from(elements).map_err(|_| absurd(declared, file_bytes))
    }

    #[allow(clippy::too_many_arguments)]
    fn check_chunks(
        &self,
        file: &str,
        key: &str,
        file_bytes: u64,
        chunk: &[u64],
        filtered: bool,
        chunks: &[Chunk],
        declared: u128,
    ) -> Result<()> {
        let undecodable =
            |reason: &str| Error::Undecodable { file: file.into(), key: key.into(), reason: reason.into() };
        if chunk.len() != self.shape.len() || chunk.contains(&0) {
            return Err(undecodable("chunk shape does not fit the dataset"));
        }
        let expansion = if filtered { MAX_EXPANSION } else { 1 };
        let limit = file_bytes.saturating_mul(expansion);
        let chunk_bytes = product(chunk).saturating_mul(u128::from(self.element_bytes));
        let absurd = |bytes: u128| Error::AbsurdSize {
            file: file.into(),
            key: key.into(),
            declared: u64::try_from(bytes).unwrap_or(u64::MAX),
            limit,
        };
        if declared > LARGEST {
            return Err(absurd(declared));
        }
        let grid: Vec<u64> = self.shape.iter().zip(chunk).map(|(n, c)| n.div_ceil(*c)).collect();
        let expected = product(&grid);
        let mut seen: Vec<&[u64]> = Vec::with_capacity(chunks.len());
        for c in chunks {
            if c.bytes > file_bytes || u128::from(c.bytes.saturating_mul(expansion)) < chunk_bytes {
                return Err(undecodable("a chunk's stored size cannot be right"));
            }
            let inside = c.offset.len() == chunk.len()
                && c.offset.iter().zip(&self.shape).zip(chunk).all(|((o, n), c)| o < n && o % c == 0);
            if !inside {
                return Err(undecodable("a chunk lies outside of its dataset"));
            }
            seen.push(&c.offset);
        }
        seen.sort_unstable();
        seen.dedup();
        if seen.len() as u128 != expected {
            let expected = u64::try_from(expected).unwrap_or(u64::MAX);
            return Err(Error::Unwritten {
                file: file.into(),
                key: key.into(),
                expected,
                got: seen.len() as u64,
            });
        }
        // One chunk may be larger than a small dataset, but never than what its stored bytes can expand to.
        for bytes in [declared, if chunks.is_empty() { 0 } else { chunk_bytes }] {
            if bytes > u128::from(limit) {
                return Err(absurd(bytes));
            }
        }
        Ok(())
    }
}

fn product(extents: &[u64]) -> u128 {
    extents.iter().fold(1u128, |p, &n| p.saturating_mul(u128::from(n)))
}

/// The eight bytes every HDF5 file carries at offset 0, 512, 1024, 2048, ...
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Opens a regular file, and gives its length and where the superblock lies. Errors: unreadable, not HDF5.
fn open(path: &Path, label: &str) -> Result<(std::fs::File, u64, u64)> {
    let fail = |e| Error::io(path, "cannot open", &e);
    let mut file = crate::files::open(path).map_err(fail)?;
    let bytes = file.metadata().map_err(fail)?.len();
    let base = find_superblock(label, &mut file, bytes)?;
    Ok((file, bytes, base))
}

/// True if `other` may be `name` after damage, or a slip of the pen: a letter or two differ, or less than half of them
/// where the length is the same, or it begins or ends alike and holds signs that names of columns do not have.
pub(crate) fn resembles(other: &str, name: &str) -> bool {
    let (o, n) = (other.as_bytes(), name.as_bytes());
    let strange = |c: char| !c.is_alphanumeric() && !"_-. :()[]".contains(c);
    let differing = o.iter().zip(n).filter(|(a, b)| a != b).count() + o.len().abs_diff(n.len());
    let allowed = match (o.len() == n.len(), n.len()) {
        (_, ..5) => 0,
        (true, length) => 2.max((length - 1) / 2),
        (false, ..8) => 0,
        (false, _) => 2,
    };
    let alike = o.starts_with(&n[..2.min(n.len())]) || o.ends_with(&n[n.len().saturating_sub(2)..]);
    other != name && (differing <= allowed || (alike && other.contains(strange)))
}

/// Where the superblock lies: before it there may be a user block of any length. Errors: unreadable; there is none, with
/// the usual mistakes named by the first bytes.
fn find_superblock(file: &str, bytes: &mut (impl Read + Seek), length: u64) -> Result<u64> {
    let fail = |e| Error::io(Path::new(file), "cannot read", &e);
    let (mut at, mut found) = (0, [0; 8]);
    while at + 8 <= length {
        bytes.seek(SeekFrom::Start(at)).and_then(|_| bytes.read_exact(&mut found)).map_err(fail)?;
        if found == SIGNATURE {
            return Ok(at);
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    let mut head = Vec::new();
    bytes.rewind().and_then(|()| bytes.take(64).read_to_end(&mut head)).map_err(fail)?;
    let (got, advice) = foreign(&head);
    Err(Error::OtherFormat { file: file.into(), expected: "an HDF5 file", got, advice })
}

/// Numbers to flags. Only 0 and 1 have a truth value: 255 may mean true, unset or damage, and nobody can tell which.
fn flags_of<T: Copy + Into<f64>>(file: &str, key: &str, values: &[T]) -> Result<Vec<bool>> {
    let odd = |v: f64| v != 0.0 && v != 1.0;
    match values.iter().position(|v| odd((*v).into())) {
        None => Ok(values.iter().map(|v| (*v).into() == 1.0).collect()),
        Some(row) => Err(Error::NotFlag {
            file: file.into(),
            key: key.into(),
            row,
            value: values[row].into(),
            count: values.iter().filter(|v| odd((**v).into())).count(),
        }),
    }
}

fn flag_dtype(file: &str, key: &str, got: &Dtype) -> Error {
    let got = got.to_string();
    Error::Dtype { file: file.into(), key: key.into(), expected: "flags (bool, integer or float)", got }
}

fn string_dtype(file: &str, key: &str, got: &Dtype, elements: usize) -> Error {
    let got = format!("{got} x {elements}");
    Error::Dtype { file: file.into(), key: key.into(), expected: "one string", got }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u64 = 10_000;

    fn verdict(shape: &[u64], layout: Layout) -> String {
        let storage = Storage { shape: shape.to_vec(), element_bytes: 4, layout };
        match storage.check("f", "k", FILE) {
            Ok(n) => format!("{n}"),
            Err(e) => format!("{e:?}").split_once(' ').map_or(String::new(), |(name, _)| name.to_string()),
        }
    }

    fn chunked(filtered: bool, chunk: &[u64], chunks: &[(&[u64], u64)]) -> Layout {
        let chunks =
            chunks.iter().map(|(offset, bytes)| Chunk { offset: offset.to_vec(), bytes: *bytes }).collect();
        Layout::Chunked { shape: chunk.to_vec(), filtered, chunks }
    }

    #[test]
    fn what_resembles_a_key() {
        for other in ["timeout", "timeoutz", "timeoutq", "timxoyts", "tim&kkkkkkk", "timeouts2"] {
            assert!(resembles(other, "timeouts"), "{other}");
        }
        for other in ["timeouts", "timestep", "time", "terminals", "truncations", "step (s)", "a, b", "x&y"] {
            assert!(!resembles(other, "timeouts"), "{other}");
        }
        assert!(resembles("infoz", "infos") && !resembles("info", "infos"));
    }

    #[test]
    fn contiguous_sizes() {
        let there = || Layout::Contiguous { allocated: true };
        assert_eq!(verdict(&[2500], there()), "2500");
        assert_eq!(verdict(&[2501], there()), "AbsurdSize");
        assert_eq!(verdict(&[1 << 40, 1 << 40], there()), "AbsurdSize");
        assert_eq!(verdict(&[u64::MAX; 3], there()), "AbsurdSize");
        assert_eq!(verdict(&[10], Layout::Contiguous { allocated: false }), "Unwritten");
        assert_eq!(verdict(&[0], Layout::Contiguous { allocated: false }), "0");
        assert_eq!(verdict(&[], there()), "1");
        assert_eq!(verdict(&[20_000], Layout::Compact), "AbsurdSize");
    }

    #[test]
    fn chunks_must_cover_the_grid_and_hold_what_they_promise() {
        let plain = |chunks: &[(&[u64], u64)]| verdict(&[100], chunked(false, &[64], chunks));
        assert_eq!(plain(&[(&[0], 256), (&[64], 256)]), "100");
        assert_eq!(plain(&[(&[0], 256)]), "Unwritten");
        // The same chunk twice is not the missing one.
        assert_eq!(plain(&[(&[0], 256), (&[0], 256)]), "Unwritten");
        assert_eq!(plain(&[(&[0], 256), (&[64], 256), (&[128], 256)]), "Undecodable");
        assert_eq!(plain(&[(&[0], 256), (&[64], 255)]), "Undecodable");
        assert_eq!(plain(&[(&[0], 256), (&[64], FILE + 1)]), "Undecodable");
        assert_eq!(verdict(&[100], chunked(true, &[64], &[(&[0], 9), (&[64], 9)])), "100");
        // 2^20 values do not come out of 100 bytes of deflate.
        assert_eq!(verdict(&[1 << 20], chunked(true, &[1 << 20], &[(&[0], 100)])), "Undecodable");
        assert_eq!(verdict(&[1 << 40], chunked(true, &[1 << 20], &[(&[0], 100)])), "AbsurdSize");
        assert_eq!(verdict(&[4], chunked(false, &[0], &[])), "Undecodable");
        assert_eq!(verdict(&[4, 4], chunked(false, &[4], &[])), "Undecodable");
    }
}
