//! Named tensors and strings in one file, in the safetensors layout (length of the header, JSON header,
//! little-endian values), which Python and others read.
//!
//! The same content gives the same bytes. The layout's metadata are a hash map, whose order differs from run to run, so
//! ours have one entry, `baq`: a JSON text of all strings, sorted, behind the digest. `safetensors` orders the values by
//! element type, widest first, so that each is aligned.
//! The digest is the SHA-256 of the whole file, computed with zeros in its own place: a flipped bit is an error, not a
//! different policy. Files without it (written by others) are read unchecked.
//!
//! Above 400 lines because writer, reader and the tests that damage files belong together.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use safetensors::tensor::Dtype;
use safetensors::tensor::{Metadata, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::atomic::write_atomic;

/// Name of the one entry of the metadata.
const ENTRY: &str = "baq";
/// How every file begins behind the length of its header, up to the digest.
const OPENING: &str = r#"{"__metadata__":{"baq":"{\"sha256\":\""#;
/// Stands for the digest while it is computed.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Bytes before [`OPENING`].
const LENGTH: usize = 8;
/// Where the digest stands.
const PLACE: Range<usize> = LENGTH + OPENING.len()..LENGTH + OPENING.len() + NO_DIGEST.len();

/// A file that cannot be written or read, or does not hold what is asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{}: cannot {what}: {error}", file.display())]
    Io {
        /// which file
        file: PathBuf,
        /// "read" or "write"
        what: &'static str,
        /// what the system says
        error: io::Error,
    },
    /// Not the layout, truncated, or damaged.
    #[error("{}: {what}; take an earlier checkpoint or write the file again", file.display())]
    Damaged {
        /// which file
        file: PathBuf,
        /// how one sees it
        what: String,
    },
    /// A tensor or a string is absent or of another kind.
    #[error("{}: {key}: expected {expected}, got {got}; the file belongs to another method, configuration or version", file.display())]
    Entry {
        /// which file
        file: PathBuf,
        /// name of the tensor, or of the string as "metadata NAME"
        key: String,
        /// what was asked for
        expected: String,
        /// what is there
        got: String,
    },
}

mod sealed {
    pub trait Sealed {}
}

/// Element types of a tensor: `f32`, `f64`, `u8`, `i64`, `u64`.
pub trait Element: sealed::Sealed + Copy {
    #[doc(hidden)]
    const DTYPE: Dtype;
    #[doc(hidden)]
    fn append(self, bytes: &mut Vec<u8>);
    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($type:ty, $name:ident;)*) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$name;
            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("invariant: as many bytes as the element has"))
            }
        }
    )*};
}
element! { f32, F32; f64, F64; u8, U8; i64, I64; u64, U64; }

/// What the entry of the metadata says.
#[derive(Serialize, Deserialize)]
struct Strings {
    sha256: String,
    strings: BTreeMap<String, String>,
}

/// A tensor on its way into a file.
#[derive(Debug)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Tensors and strings on their way into a file.
#[derive(Debug, Default)]
pub struct Writer {
    strings: BTreeMap<String, String>,
    tensors: BTreeMap<String, Tensor>,
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a string. Panics if the name is taken.
    pub fn text(&mut self, name: &str, value: impl Into<String>) {
        let old = self.strings.insert(name.to_owned(), value.into());
        assert!(old.is_none(), "invariant: metadata {name} is written once");
    }

    /// Adds a tensor, row-major. Panics if the name is taken or the shape has another number of elements.
    pub fn tensor<T: Element>(&mut self, name: &str, shape: &[usize], values: impl AsRef<[T]>) {
        let values = values.as_ref();
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "invariant: {name} has the elements of its shape {shape:?}"
        );
        assert_ne!(name, "__metadata__", "invariant: a name of the layout");
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|x| x.append(&mut bytes));
        let tensor = Tensor { dtype: T::DTYPE, shape: shape.to_vec(), bytes };
        let old = self.tensors.insert(name.to_owned(), tensor);
        assert!(old.is_none(), "invariant: tensor {name} is written once");
    }

    /// The whole file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, t)| {
            let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
            (name, view.expect("invariant: the elements of its shape"))
        });
        let strings = Strings { sha256: NO_DIGEST.to_owned(), strings: self.strings.clone() };
        let strings = serde_json::to_string(&strings).expect("invariant: strings are JSON");
        let metadata = [(ENTRY.to_owned(), strings)].into();
        let mut bytes =
            serialize(views, Some(metadata)).expect("invariant: the header is not absurdly large");
        let digest = digest(&bytes).expect("invariant: every file begins like this");
        bytes[PLACE].copy_from_slice(digest.as_bytes());
        bytes
    }

    /// Replaces the file, or leaves the old one: temporary file, fsync, rename.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_atomic(path, &self.to_bytes()).map_err(|error| Error::Io {
            file: path.to_owned(),
            what: "write",
            error,
        })
    }
}

/// A file that has been read and found whole.
#[derive(Debug)]
pub struct Reader {
    file: PathBuf,
    bytes: Vec<u8>,
    /// where the values begin
    start: usize,
    metadata: Metadata,
    names: Vec<String>,
    digest: Option<String>,
    strings: BTreeMap<String, String>,
}

impl Reader {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_unchecked(path)?.checked()
    }

    /// Checks bytes that are said to come from `path`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        Self::unchecked(path, bytes)?.checked()
    }

    /// Reads a file that may have been changed, to find out where.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] if not even the names can be read.
    pub fn open_unchecked(path: &Path) -> Result<Self, Error> {
        let bytes = crate::files::read(path).map_err(|error| Error::Io {
            file: path.to_owned(),
            what: "read",
            error,
        })?;
        Self::unchecked(path, bytes)
    }

    fn unchecked(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let damaged = |what: String| Error::Damaged { file: path.to_owned(), what };
        let (header, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| damaged(format!("not a checkpoint or policy file, or not whole ({e})")))?;
        let mut names = metadata.offset_keys();
        names.sort_unstable();
        let entries = metadata.metadata().iter().flatten().map(|(name, text)| (name.clone(), text.clone()));
        let mut strings: BTreeMap<String, String> = entries.collect();
        let mut digest = None;
        if let Some(text) = strings.remove(ENTRY) {
            let ours: Strings = serde_json::from_str(&text)
                .map_err(|e| damaged(format!("metadata {ENTRY} is not of this program ({e})")))?;
            (digest, strings) = (Some(ours.sha256), ours.strings);
        }
        let file = path.to_owned();
        Ok(Self { file, bytes, start: LENGTH + header, metadata, names, digest, strings })
    }

    fn checked(self) -> Result<Self, Error> {
        if self.digest.is_some() && self.digest != digest(&self.bytes) {
            let what = "the content does not match its checksum".to_owned();
            return Err(Error::Damaged { file: self.file, what });
        }
        Ok(self)
    }

    /// Element type, shape and little-endian bytes of a tensor, if it is there.
    pub fn raw(&self, name: &str) -> Option<(Dtype, &[usize], &[u8])> {
        let info = self.metadata.info(name)?;
        let (from, to) = info.data_offsets;
        Some((info.dtype, &info.shape, &self.bytes[self.start + from..self.start + to]))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// All strings of the metadata by their names.
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.strings
    }

    /// A string of the metadata, if present.
    pub fn find_text(&self, name: &str) -> Option<&str> {
        self.strings.get(name).map(String::as_str)
    }

    /// A string of the metadata.
    ///
    /// # Errors
    /// [`Error::Entry`] if it is absent.
    pub fn text(&self, name: &str) -> Result<&str, Error> {
        self.find_text(name).ok_or_else(|| self.entry(&format!("metadata {name}"), "a string", "nothing"))
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// [`Error::Entry`] if it is absent.
    pub fn shape(&self, name: &str) -> Result<&[usize], Error> {
        match self.metadata.info(name) {
            Some(info) => Ok(&info.shape),
            None => Err(self.entry(name, "a tensor", "nothing")),
        }
    }

    /// Values of a tensor of exactly this shape.
    ///
    /// # Errors
    /// [`Error::Entry`] if it is absent or of another shape or element type.
    pub fn tensor<T: Element>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>, Error> {
        Ok(self.elements(name, shape)?.collect())
    }

    /// As [`Reader::tensor`], into existing memory of the same number of elements.
    ///
    /// # Errors
    /// As [`Reader::tensor`]; `out` is then unchanged.
    pub fn tensor_into<T: Element>(&self, name: &str, shape: &[usize], out: &mut [T]) -> Result<(), Error> {
        assert_eq!(
            out.len(),
            shape.iter().product::<usize>(),
            "invariant: memory for {name} has the elements of {shape:?}"
        );
        for (y, x) in out.iter_mut().zip(self.elements(name, shape)?) {
            *y = x;
        }
        Ok(())
    }

    fn elements<T: Element>(&self, name: &str, shape: &[usize]) -> Result<impl Iterator<Item = T>, Error> {
        let describe = |dtype: Dtype, shape: &[usize]| format!("{dtype:?} {shape:?}");
        let expected = || describe(T::DTYPE, shape);
        let Some(info) = self.metadata.info(name) else {
            return Err(self.entry(name, &expected(), "nothing"));
        };
        if info.dtype != T::DTYPE || info.shape != shape {
            return Err(self.entry(name, &expected(), &describe(info.dtype, &info.shape)));
        }
        let (from, to) = info.data_offsets;
        let bytes = &self.bytes[self.start + from..self.start + to];
        Ok(bytes.chunks_exact(size_of::<T>()).map(T::read))
    }

    fn entry(&self, key: &str, expected: &str, got: &str) -> Error {
        Error::Entry {
            file: self.file.clone(),
            key: key.to_owned(),
            expected: expected.to_owned(),
            got: got.to_owned(),
        }
    }
}

/// Digest of a file with zeros in the place of the digest, in hexadecimal; `None` of a file that has no place for it.
fn digest(bytes: &[u8]) -> Option<String> {
    if bytes.len() < PLACE.end || !bytes[LENGTH..].starts_with(OPENING.as_bytes()) {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(&bytes[..PLACE.start]);
    hash.update(NO_DIGEST);
    hash.update(&bytes[PLACE.end..]);
    Some(crate::files::hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Writer {
        let mut w = Writer::new();
        w.text("method", "iql");
        w.text("config", "[iql]\nexpectile = 0.7\n");
        w.text("a \"quoted\" key", "ü");
        w.tensor("q.0.layer1.weight", &[2, 3], vec![1.0f32, -0.0, f32::NAN, f32::MIN_POSITIVE, 3.5, -7.25]);
        w.tensor("priorities", &[3], vec![0.1f64, 1e300, 5e-324]);
        w.tensor("bytes", &[5], vec![0u8, 1, 2, 254, 255]);
        w.tensor("signed", &[], vec![i64::MIN]);
        w.tensor("unsigned", &[2, 1], vec![u64::MAX, 7]);
        w.tensor("empty", &[0, 4], Vec::<f32>::new());
        w
    }

    fn reader(bytes: Vec<u8>) -> Result<Reader, Error> {
        Reader::from_bytes(Path::new("run/last.safetensors"), bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        example().write(&path).unwrap();
        let r = Reader::open(&path).unwrap();
        assert_eq!(
            r.names().collect::<Vec<_>>(),
            ["bytes", "empty", "priorities", "q.0.layer1.weight", "signed", "unsigned"]
        );
        let bits: Vec<u32> =
            r.tensor::<f32>("q.0.layer1.weight", &[2, 3]).unwrap().iter().map(|x| x.to_bits()).collect();
        let expected = [1.0f32, -0.0, f32::NAN, f32::MIN_POSITIVE, 3.5, -7.25].map(f32::to_bits);
        assert_eq!(bits, expected);
        assert_eq!(r.tensor::<f64>("priorities", &[3]).unwrap(), [0.1, 1e300, 5e-324]);
        assert_eq!(r.tensor::<u8>("bytes", &[5]).unwrap(), [0, 1, 2, 254, 255]);
        assert_eq!(r.tensor::<i64>("signed", &[]).unwrap(), [i64::MIN]);
        let mut out = [0u64; 2];
        r.tensor_into("unsigned", &[2, 1], &mut out).unwrap();
        assert_eq!(out, [u64::MAX, 7]);
        assert!(r.tensor::<f32>("empty", &[0, 4]).unwrap().is_empty());
        assert_eq!(r.shape("unsigned").unwrap(), [2, 1]);
        assert_eq!(r.text("config").unwrap(), "[iql]\nexpectile = 0.7\n");
        assert_eq!(r.text("a \"quoted\" key").unwrap(), "ü");
    }

    #[test]
    fn bytes_are_a_function_of_the_content() {
        let mut other = Writer::new();
        other.tensor("b", &[1], vec![2.0f32]);
        other.text("y", "1");
        other.text("x", "2");
        other.tensor("a", &[1], vec![1u8]);
        other.tensor("c", &[1], vec![1u64]);
        other.tensor("d", &[1], vec![1.0f64]);
        let mut same = Writer::new();
        let values = [2.0f32];
        same.tensor("d", &[1], [1.0f64]);
        same.tensor("c", &[1], vec![1u64]);
        same.tensor("a", &[1], &[1u8][..]);
        same.text("x", "2");
        same.text("y", "1");
        same.tensor("b", &[1], &values[..]);
        assert_eq!(other.to_bytes(), same.to_bytes());
        // the layout, byte for byte: header length, header, then the widest elements first
        let bytes = same.to_bytes();
        let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(n % 8, 0);
        let header = std::str::from_utf8(&bytes[8..8 + n]).unwrap();
        let digest = std::str::from_utf8(&bytes[PLACE]).unwrap();
        let strings = r#"\",\"strings\":{\"x\":\"2\",\"y\":\"1\"}}"}"#;
        assert_eq!(
            header.trim_end(),
            format!(
                "{OPENING}{digest}{strings},\"c\":{{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[0,8]}},\
                 \"d\":{{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]}},\
                 \"b\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]}},\
                 \"a\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[20,21]}}}}"
            )
        );
        assert_eq!(bytes[8 + n..16 + n], 1u64.to_le_bytes());
        assert_eq!(bytes[16 + n..], [0, 0, 0, 0, 0, 0, 240, 63, 0, 0, 0, 64, 1]);
        assert_eq!(
            digest,
            super::digest(&[&bytes[..PLACE.start], &[b'7'; 64], &bytes[PLACE.end..]].concat()).unwrap()
        );
    }

    #[test]
    fn foreign_files_without_checksum() {
        let header = br#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&1.5f32.to_le_bytes());
        let r = reader(bytes).unwrap();
        assert_eq!(r.tensor::<f32>("t", &[1]).unwrap(), [1.5]);
        assert_eq!((r.digest, r.strings.len()), (None, 0));
    }

    #[test]
    fn messages() {
        let r = reader(example().to_bytes()).unwrap();
        let message = |e: Error| {
            let text = e.to_string();
            assert!(!text.contains('\n'));
            text
        };
        let hint = "; the file belongs to another method, configuration or version";
        assert_eq!(
            message(r.tensor::<f32>("q.1.layer1.weight", &[2, 3]).unwrap_err()),
            format!("run/last.safetensors: q.1.layer1.weight: expected F32 [2, 3], got nothing{hint}")
        );
        assert_eq!(
            message(r.tensor::<f32>("q.0.layer1.weight", &[3, 2]).unwrap_err()),
            format!("run/last.safetensors: q.0.layer1.weight: expected F32 [3, 2], got F32 [2, 3]{hint}")
        );
        assert_eq!(
            message(r.tensor_into("priorities", &[3], &mut [0.0f32; 3]).unwrap_err()),
            format!("run/last.safetensors: priorities: expected F32 [3], got F64 [3]{hint}")
        );
        assert_eq!(
            message(r.text("algo").unwrap_err()),
            format!("run/last.safetensors: metadata algo: expected a string, got nothing{hint}")
        );
        let absent = Reader::open(Path::new("no/such.safetensors")).unwrap_err();
        assert!(message(absent).starts_with("no/such.safetensors: cannot read: "));
        let blocked = example().write(Path::new("no/such/folder.safetensors")).unwrap_err();
        assert!(message(blocked).starts_with("no/such/folder.safetensors: cannot write: "));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = example().to_bytes();
        for n in 0..bytes.len() {
            let e = reader(bytes[..n].to_vec()).unwrap_err();
            assert!(e.to_string().contains("or not whole"), "{n}: {e}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(reader(longer).is_err());
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = example().to_bytes();
        let key = LENGTH + OPENING.find("baq").unwrap();
        for k in 0..8 * bytes.len() {
            let mut bad = bytes.clone();
            bad[k / 8] ^= 1 << (k % 8);
            // in the name of the entry itself a flip makes a file of others
            if !(key..key + ENTRY.len()).contains(&(k / 8)) {
                let e = reader(bad).unwrap_err().to_string();
                assert!(
                    ["checksum", "or not whole", "metadata baq"].iter().any(|what| e.contains(what)),
                    "{k}: {e}"
                );
            }
        }
    }

    #[test]
    fn absurd_headers() {
        let bad = [
            r#"{"t":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#,
            r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#,
            r#"{"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            r#"{"t":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#,
            r#"{"t":1}"#,
            "[]",
            "",
        ];
        for header in bad {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(&[0; 4]);
            assert!(reader(bytes).is_err(), "{header}");
        }
        assert!(reader(vec![255; 100]).is_err());
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            flips in prop::collection::vec((0usize..2000, any::<u8>()), 1..5),
            cut in 0usize..2000,
        ) {
            let mut bytes = example().to_bytes();
            for (k, value) in flips {
                let n = bytes.len();
                bytes[k % n] = value;
            }
            bytes.truncate(cut.max(8));
            if let Ok(r) = reader(bytes) {
                for name in r.names().map(str::to_owned).collect::<Vec<_>>() {
                    let shape = r.shape(&name).unwrap().to_vec();
                    let _ = r.tensor::<f32>(&name, &shape);
                    let _ = r.tensor::<u8>(&name, &shape);
                }
            }
        }
    }
}
