//! NumPy's `.npz`: a zip archive of arrays, as `numpy.savez` and `numpy.savez_compressed` write it.
//!
//! A key is the array's name, `/` in it stands for a group. Arrays may be compressed, of either byte order, and in C or
//! Fortran order; archives of any size are read. The zip's checksum is verified for every array that is read, and an array
//! must be as long as its shape says before room is made for it.

use super::foreign::foreign;
use super::names::Names;
use super::{Backend, Dtype, Info};
use crate::error::{Error, Result, one_line};
use ndarray::{ArrayD, IxDyn, ShapeBuilder as _};
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use zip::ZipArchive;
use zip::result::ZipError;

/// An open archive.
pub struct NpzFile {
    label: String,
    archive: RefCell<ZipArchive<Box<dyn Bytes>>>,
    /// in bytes
    length: u64,
    names: Names,
}

/// What an archive is read from.
trait Bytes: Read + Seek {}
impl<T: Read + Seek> Bytes for T {}

/// First bytes of a file of one array.
const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header of an array that is read; those of numbers have some hundred bytes.
const LONGEST_HEADER: usize = 1 << 16;
/// Deflate expands by at most 1032.
const MAX_EXPANSION: u64 = 1040;

/// What an array's header says.
struct Header {
    /// `<f4`
    descr: String,
    fortran: bool,
    shape: Vec<u64>,
}

impl NpzFile {
    fn new(label: &str, mut bytes: Box<dyn Bytes>) -> Result<Self> {
        let mut head = Vec::new();
        let fail = |e: std::io::Error| Error::io(Path::new(label), "cannot read", &e);
        (&mut bytes).take(64).read_to_end(&mut head).map_err(fail)?;
        let length = bytes.seek(SeekFrom::End(0)).map_err(fail)?;
        bytes.rewind().map_err(fail)?;
        let archive = ZipArchive::new(bytes).map_err(|e| no_archive(label, &head, &e.to_string()))?;
        let arrays = archive.file_names().filter_map(|name| name.strip_suffix(".npy"));
        let names = Names::new(label, arrays.map(str::to_string));
        Ok(NpzFile { label: label.into(), archive: RefCell::new(archive), length, names })
    }

    fn damaged(&self, key: &str, reason: impl ToString) -> Error {
        let (file, key) = (self.label.clone(), one_line(key));
        Error::Undecodable { file, key, reason: one_line(&reason.to_string()) }
    }

    fn unpackable(&self, key: &str, e: ZipError) -> Error {
        match e {
            ZipError::UnsupportedArchive(why) => Error::OtherFormat {
                file: self.label.clone(),
                expected: "arrays stored or deflated, as numpy.savez and numpy.savez_compressed write them",
                got: format!("`{}` packed otherwise ({why})", one_line(key)),
                advice: "write it again with numpy.savez_compressed",
            },
            other => self.damaged(key, other),
        }
    }

    /// Header of an array and, if `all`, its bytes; `None` if there is no such array.
    fn array(&self, key: &str, all: bool) -> Result<Option<(Header, Vec<u8>)>> {
        let mut archive = self.archive.borrow_mut();
        let Some(index) = archive.index_for_name(&format!("{key}.npy")) else {
            return self.names.absent(key).map(|()| None);
        };
        let cut = |e: std::io::Error| self.damaged(key, e);
        let mut entry = archive.by_index(index).map_err(|e| self.unpackable(key, e))?;
        let (declared, stored) = (entry.size(), entry.compressed_size());
        if stored > self.length {
            let why = format!("{stored} bytes, more than the {} of the archive", self.length);
            return Err(self.damaged(key, why));
        }
        let (header, before) = header(&mut entry).map_err(cut)?;
        let Some(header) = header else {
            return Err(self.damaged(key, "no header of an array"));
        };
        let Some((_, size, _)) = element(&header.descr) else {
            return Ok(Some((header, Vec::new())));
        };
        let expected =
            header.shape.iter().try_fold(size as u64, |product, extent| product.checked_mul(*extent));
        let expected = expected.filter(|n| {
            n.checked_add(before) == Some(declared) && declared <= stored.saturating_mul(MAX_EXPANSION)
        });
        let Some(expected) = expected.and_then(|n| usize::try_from(n).ok()) else {
            let why = format!("{declared} bytes for shape {} of {}", tuple(&header.shape), header.descr);
            return Err(self.damaged(key, why));
        };
        let mut bytes = Vec::new();
        if all {
            let full = |_| self.damaged(key, format!("{expected} bytes, more than fit in memory"));
            bytes.try_reserve_exact(expected).map_err(full)?;
            // To its end, where the checksum is compared.
            entry.take(expected as u64 + 1).read_to_end(&mut bytes).map_err(cut)?;
            if bytes.len() != expected {
                return Err(self.damaged(key, format!("{} of {expected} bytes", bytes.len())));
            }
        }
        Ok(Some((header, bytes)))
    }

    /// The elements in row-major order, made of their bytes by `number`.
    fn elements<T: Copy>(
        &self,
        key: &str,
        accepts: impl Fn(&Dtype) -> bool,
        expected: &'static str,
        number: impl Fn(Element, &[u8]) -> T,
    ) -> Result<Vec<T>> {
        let Some((header, bytes)) = self.array(key, true)? else {
            return Err(self.names.missing(key, "an array"));
        };
        let dtype = dtype(&header.descr);
        let Some(element) = element(&header.descr).filter(|_| accepts(&dtype)) else {
            let (file, key) = (self.label.clone(), key.into());
            return Err(Error::Dtype { file, key, expected, got: dtype.to_string() });
        };
        let values: Vec<T> = bytes.chunks_exact(element.1).map(|b| number(element, b)).collect();
        if !header.fortran || header.shape.len() < 2 {
            return Ok(values);
        }
        let shape: Vec<usize> = header.shape.iter().map(|n| *n as usize).collect();
        let array = ArrayD::from_shape_vec(IxDyn(&shape).f(), values);
        Ok(array.map_err(|e| self.damaged(key, e))?.iter().copied().collect())
    }
}

/// Kind, size in bytes, and whether the order of bytes is big-endian.
type Element = (u8, usize, bool);

/// What a type of NumPy's is; `None` for objects and structures.
fn element(descr: &str) -> Option<Element> {
    let (order, rest) = descr.split_at_checked(1)?;
    let (kind, size) = rest.split_at_checked(1)?;
    let size: usize = size.parse().ok().filter(|n| *n > 0)?;
    let kind = kind.as_bytes()[0];
    // The size of text is in characters of four bytes.
    let bytes = if kind == b'U' { size.checked_mul(4)? } else { size };
    (["<", ">", "|", "="].contains(&order) && b"fiubSUc".contains(&kind)).then_some((
        kind,
        bytes,
        order == ">",
    ))
}

fn dtype(descr: &str) -> Dtype {
    match element(descr) {
        Some((b'f', 4, _)) => Dtype::F32,
        Some((b'f', 8, _)) => Dtype::F64,
        Some((b'b', 1, _)) => Dtype::Bool,
        Some((b'i' | b'u', 1 | 2 | 4 | 8, _)) => Dtype::Int,
        Some((b'S' | b'U', ..)) => Dtype::Text,
        _ if descr.contains('O') => Dtype::Other("Python objects".into()),
        _ => Dtype::Other(one_line(descr)),
    }
}

/// A number in f64; exact but for integers beyond 2^53.
fn number((kind, size, big): Element, bytes: &[u8]) -> f64 {
    let (mut b, used) = ([0; 8], size.min(8));
    b[..used].copy_from_slice(&bytes[..used]);
    if big {
        b[..used].reverse();
    }
    let whole = u64::from_le_bytes(b);
    match (kind, size) {
        (b'f', 4) => f64::from(f32::from_bits(whole as u32)),
        (b'f', _) => f64::from_bits(whole),
        (b'i', _) => {
            let unused = 64 - 8 * used as u32;
            (((whole << unused) as i64) >> unused) as f64
        }
        _ => whole as f64,
    }
}

/// Reads a header, and says how many bytes it takes; `None` if it is not a header.
fn header(entry: &mut impl Read) -> std::io::Result<(Option<Header>, u64)> {
    let mut head = [0; 8];
    entry.read_exact(&mut head)?;
    if !head.starts_with(MAGIC) {
        return Ok((None, 8));
    }
    let width = if head[6] == 1 { 2 } else { 4 };
    let mut length = [0; 4];
    entry.read_exact(&mut length[..width])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_HEADER {
        return Ok((None, 8));
    }
    let mut text = vec![0; length];
    entry.read_exact(&mut text)?;
    Ok((parse(&String::from_utf8_lossy(&text)), (8 + width + length) as u64))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 3), }`, a form that NumPy fixes.
fn parse(text: &str) -> Option<Header> {
    let value = |key: &str| {
        let key = format!("'{key}':");
        Some(text[text.find(&key)? + key.len()..].trim_start())
    };
    let descr = value("descr")?;
    let descr = match descr.strip_prefix('\'') {
        Some(rest) => rest.split_once('\'')?.0,
        None => "a structure",
    };
    let fortran = match value("fortran_order")? {
        v if v.starts_with("True") => true,
        v if v.starts_with("False") => false,
        _ => return None,
    };
    let shape = value("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let shape = shape.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().ok());
    Some(Header { descr: descr.into(), fortran, shape: shape.collect::<Option<_>>()? })
}

fn tuple(shape: &[u64]) -> String {
    format!("({})", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
}

fn no_archive(label: &str, head: &[u8], problem: &str) -> Error {
    let (got, advice) = if head.starts_with(b"PK") {
        let got = format!("one that is cut short or damaged ({})", one_line(problem));
        (got, "fetch it again, or write it again")
    } else if head.starts_with(MAGIC) {
        ("a single array (.npy)".into(), "store the columns together, with numpy.savez")
    } else if head.starts_with(b"\x89HDF") {
        ("an HDF5 file".into(), "give it a name that ends in .hdf5")
    } else {
        foreign(head)
    };
    Error::OtherFormat { file: label.into(), expected: "a NumPy archive (.npz)", got, advice }
}

impl Backend for NpzFile {
    const NAME: &'static str = "npz";

    fn open(path: &Path) -> Result<Self> {
        let file: File = crate::files::open(path).map_err(|e| Error::io(path, "cannot open", &e))?;
        Self::new(&path.display().to_string(), Box::new(BufReader::new(file)))
    }

    fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self> {
        Self::new(label, Box::new(Cursor::new(bytes.to_vec())))
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        self.names.children(group)
    }

    fn info(&self, key: &str) -> Result<Option<Info>> {
        let found = self.array(key, false)?;
        Ok(found.map(|(header, _)| Info { dtype: dtype(&header.descr), shape: header.shape }))
    }

    fn read_f32(&self, key: &str) -> Result<Vec<f32>> {
        let float = |d: &Dtype| matches!(d, Dtype::F32 | Dtype::F64);
        // What is f32 passes through f64 with its bits, quiet NaNs included.
        self.elements(key, float, "f32 or f64", |e, b| number(e, b) as f32)
    }

    fn read_f64(&self, key: &str) -> Result<Vec<f64>> {
        let float = |d: &Dtype| matches!(d, Dtype::F32 | Dtype::F64);
        self.elements(key, float, "f32 or f64", number)
    }

    fn read_flags(&self, key: &str) -> Result<Vec<bool>> {
        let flags = |d: &Dtype| matches!(d, Dtype::Bool | Dtype::Int | Dtype::F32 | Dtype::F64);
        let numbers = self.elements(key, flags, "flags (bool, integer or float)", number)?;
        super::flags_of(&self.label, key, &numbers)
    }

    fn read_string(&self, key: &str) -> Result<String> {
        let Some((header, bytes)) = self.array(key, true)? else {
            return Err(self.names.missing(key, "an array"));
        };
        let n = header.shape.iter().fold(1, |n: u64, extent| n.saturating_mul(*extent));
        match element(&header.descr) {
            Some((b'S', ..)) if n == 1 => {
                Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string())
            }
            Some((b'U', 4.., big)) if n == 1 => {
                let unit = |b: &[u8]| char::from_u32(number((b'u', 4, big), b) as u32);
                Ok(bytes.chunks_exact(4).filter_map(unit).filter(|c| *c != '\0').collect())
            }
            _ => Err(super::string_dtype(&self.label, key, &dtype(&header.descr), n as usize)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_nothing_else_is() {
        let header = parse("{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 3), }   \n");
        let header = header.expect("NumPy's own form");
        assert_eq!(
            (header.descr.as_str(), header.fortran, &header.shape[..]),
            ("<f4", false, &[1000, 3][..])
        );
        let scalar = parse("{'descr': '|b1', 'fortran_order': True, 'shape': (), }").expect("a scalar");
        assert!(scalar.fortran && scalar.shape.is_empty());
        for text in ["", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}"] {
            assert!(parse(text).is_none(), "{text}");
        }
        let negative = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}";
        assert!(parse(negative).is_none());
    }

    #[test]
    fn numbers_of_every_type() {
        let of = |descr: &str, bytes: &[u8]| number(element(descr).expect("a type"), bytes);
        assert_eq!(of("<f4", &1.5f32.to_le_bytes()), 1.5);
        assert_eq!(of(">f4", &1.5f32.to_be_bytes()), 1.5);
        assert_eq!(of(">f8", &(-2.25f64).to_be_bytes()), -2.25);
        assert_eq!(of("|i1", &[0xff]), -1.0);
        assert_eq!(of("<i2", &(-300i16).to_le_bytes()), -300.0);
        assert_eq!(of(">i8", &(-5i64).to_be_bytes()), -5.0);
        assert_eq!(of("|u1", &[255]), 255.0);
        assert_eq!(of("|b1", &[1]), 1.0);
        assert!(element("|O").is_none() && element("").is_none() && element("<f").is_none());
        assert_eq!(dtype("<f2"), Dtype::Other("<f2".into()));
    }
}
