//! The default backend: HDF5 in safe Rust, strict by design.
//!
//! Opening reads the whole structure: superblock, every group with all its links, every header, every chunk index. What
//! has a checksum is checked; what has none (files before HDF5 1.10) must agree with what the file says elsewhere: link
//! counts, the order of names, the accounts of the heaps of names, sizes of extents, chunks and types, and no byte may
//! have two owners. So a damaged file is refused, and a name that is not found was never there. Values are fetched on
//! demand, a file is never held whole in memory. [`crate::write`] uses a library; reading does not, because no library
//! at hand tells absence from damage.
//!
//! Not seen: damage inside values that have no checksum (unfiltered or LZF chunks, contiguous storage), an address of
//! such values that is moved into unused bytes of the file, and a type that is changed into another valid one.

mod chunks;
mod fault;
mod filters;
mod group;
mod header;
mod image;
mod messages;
mod tables;
mod tree;
mod values;

use super::{Backend, Chunk, Dtype, Info, Layout, Storage, find_superblock};
use crate::error::{Error, Result, one_line};
use fault::Fault;
use group::Link;
use messages::Place;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tree::{Column, Cut, Object, Tree};

/// An HDF5 file read by this crate itself, with the files in or below its folder that external links name.
pub struct PureFile {
    main: Rc<Part>,
    others: RefCell<BTreeMap<PathBuf, Rc<Part>>>,
}

/// One file.
struct Part {
    tree: Tree,
    label: String,
    /// Length of the file.
    bytes: u64,
    /// Where it lies; `None` for bytes in memory.
    folder: Option<PathBuf>,
}

/// What a path leads to.
enum Target {
    /// An object header of a file.
    At(Rc<Part>, u64),
    /// Nothing: the path ends in this group, which has no such name; `rest` is what should follow.
    Absent { part: Rc<Part>, group: u64, name: String, rest: String },
    /// The path goes through something that is no group.
    NoGroup,
}

/// Soft and external links that one key may lead through, in all.
const MOST_LINKS: u32 = 16;

impl Part {
    fn open(path: &Path) -> Result<Part> {
        let label = path.display().to_string();
        let (file, bytes, base) = super::open(path, &label)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = Self::new(image::Source::File(file), base, bytes, label)?;
        Ok(Part { folder: Some(folder.into()), ..part })
    }

    fn new(source: image::Source, base: u64, bytes: u64, label: String) -> Result<Part> {
        match Tree::open(source, base, bytes) {
            Err(Cut { expected }) => Err(Error::Truncated { file: label, expected, got: bytes }),
            Ok(Err((key, fault))) => Err(explain(&label, &key, fault)),
            Ok(Ok(tree)) => Ok(Part { tree, label, bytes, folder: None }),
        }
    }

    fn fail(&self, key: &str) -> impl Fn(Fault) -> Error {
        let (label, key) = (self.label.clone(), key.to_string());
        move |fault| explain(&label, &key, fault)
    }

    fn check(&self, key: &str, column: &Column) -> Result<usize> {
        let dataset = &column.dataset;
        let layout = match &dataset.place {
            Place::Compact(_) => Layout::Compact,
            Place::Contiguous { address, .. } => Layout::Contiguous { allocated: address.is_some() },
            Place::Chunked { chunk, .. } => Layout::Chunked {
                shape: chunk.clone(),
                filtered: !dataset.filters.is_empty(),
                chunks: column
                    .chunks
                    .iter()
                    .map(|c| Chunk { offset: c.offset.clone(), bytes: c.bytes })
                    .collect(),
            },
        };
        let storage =
            Storage { shape: dataset.extents.shape.clone(), element_bytes: dataset.kind.size, layout };
        storage.check(&self.label, key, self.bytes)
    }
}

impl PureFile {
    /// Follows a path from the root, through groups and links.
    fn resolve(&self, key: &str) -> Result<Target> {
        self.follow(self.main.clone(), self.main.tree.root, key, key, &Cell::new(MOST_LINKS))
    }

    /// Follows `path` from a group; `key` stands for the whole in messages, `links` is how many more may be followed.
    fn follow(&self, part: Rc<Part>, from: u64, path: &str, key: &str, links: &Cell<u32>) -> Result<Target> {
        let (mut part, mut at) =
            if path.starts_with('/') { (part.clone(), part.tree.root) } else { (part, from) };
        let mut names = path.split('/').filter(|n| !n.is_empty() && *n != ".");
        while let Some(name) = names.next() {
            let Some(group) = part.tree.group(at) else {
                return Ok(Target::NoGroup);
            };
            let link = match group.links.get(name) {
                None => {
                    let rest = names.collect::<Vec<_>>().join("/");
                    return Ok(Target::Absent { part, group: at, name: name.into(), rest });
                }
                Some(link) => link,
            };
            let target = match link {
                Link::Hard(child) => {
                    at = *child;
                    continue;
                }
                _ if links.replace(links.get().saturating_sub(1)) == 0 => {
                    return Err(self.broken(&part, key, "more than 16 links".into()));
                }
                Link::Soft(path) => {
                    let target = self.follow(part.clone(), at, path, key, links)?;
                    (target, format!("a link to `{path}`, which is not there"))
                }
                Link::External { file, path } => {
                    let other = self.other(&part, key, file)?;
                    let root = other.tree.root;
                    let target = self.follow(other, root, path, key, links)?;
                    (target, format!("a link to `{path}` of {file}, which is not there"))
                }
            };
            match target {
                (Target::At(other, child), _) => (part, at) = (other, child),
                (_, reason) => return Err(self.broken(&part, key, reason)),
            }
        }
        Ok(Target::At(part, at))
    }

    fn broken(&self, part: &Part, key: &str, reason: String) -> Error {
        Error::BrokenLink { file: part.label.clone(), key: key.into(), reason: one_line(&reason) }
    }

    /// The file that an external link names: beside the one that holds the link, where HDF5 looks first, or beside the main
    /// file. It must lie in the folder of the latter.
    fn other(&self, part: &Part, key: &str, name: &str) -> Result<Rc<Part>> {
        let broken = |why: &str| Err(self.broken(part, key, format!("a link into {name}, {why}")));
        let (Some(beside), Some(home)) = (&part.folder, &self.main.folder) else {
            return broken("and files in memory have no neighbours");
        };
        let places = [beside, home].map(|folder| folder.join(name));
        let found = places.into_iter().find_map(|path| Some((path.canonicalize().ok()?, path)));
        let (Some((real, path)), Ok(home)) = (found, home.canonicalize()) else {
            return broken("which is not beside the file");
        };
        if !real.starts_with(&home) {
            return broken("which lies outside of the file's folder and is not followed");
        }
        if let Some(part) = self.others.borrow().get(&real) {
            return Ok(part.clone());
        }
        let other = Rc::new(Part::open(&path)?);
        self.others.borrow_mut().insert(real, other.clone());
        Ok(other)
    }

    /// The dataset of a key; `None` if there certainly is none.
    fn column(&self, key: &str) -> Result<Option<(Rc<Part>, u64)>> {
        match self.resolve(key)? {
            Target::NoGroup => Ok(None),
            Target::Absent { part, group, name, rest } => match part.tree.doubt(group, &name, &rest) {
                None => Ok(None),
                Some(reason) => {
                    let reason = one_line(&reason);
                    let advice = "rename what is misspelt, fetch a damaged file again, or rewrite a whole one with h5repack";
                    let (file, key, advice) = (part.label.clone(), key.into(), advice.into());
                    Err(Error::Uncertain { file, key, reason, advice })
                }
            },
            Target::At(part, at) => match part.tree.objects.get(&at) {
                Some(Object::Dataset(_)) => Ok(Some((part, at))),
                Some(Object::Unknown(what)) => Err(part.fail(key)(Fault::Unsupported(what.clone()))),
                _ => Err(Error::Dtype {
                    file: part.label.clone(),
                    key: key.into(),
                    expected: "a dataset",
                    got: "a group or a type".into(),
                }),
            },
        }
    }

    /// Runs `read` on the dataset of a key, after the checks that must precede reading.
    fn with<T>(&self, key: &str, read: impl FnOnce(&Part, &Column, usize) -> Result<T>) -> Result<T> {
        let found = self.column(key)?;
        let column = found.as_ref().and_then(|(part, at)| match part.tree.objects.get(at) {
            Some(Object::Dataset(column)) => Some((part, column)),
            _ => None,
        });
        let Some((part, column)) = column else {
            return Err(Error::MissingKey {
                file: self.main.label.clone(),
                key: key.into(),
                expected: "a dataset",
                present: self.children("").map(|k| one_line(&k.join(", "))).unwrap_or_default(),
                advice: "check that this is the right file",
            });
        };
        let elements = part.check(key, column)?;
        read(part, column, elements)
    }
}

fn explain(label: &str, key: &str, fault: Fault) -> Error {
    let (file, key) = (label.to_string(), one_line(key));
    match fault {
        Fault::Damaged(reason) => Error::Undecodable { file, key, reason: one_line(&reason) },
        Fault::Unsupported(feature) => Error::Unsupported { file, key, feature: one_line(&feature) },
        Fault::Io(reason) => Error::Io { file, action: "cannot read", reason: one_line(&reason) },
    }
}

impl Backend for PureFile {
    const NAME: &'static str = "pure";

    fn open(path: &Path) -> Result<Self> {
        Ok(PureFile { main: Rc::new(Part::open(path)?), others: RefCell::default() })
    }

    fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self> {
        let base = find_superblock(label, &mut std::io::Cursor::new(bytes), bytes.len() as u64)?;
        let source = image::Source::Memory(bytes.to_vec());
        let main = Rc::new(Part::new(source, base, bytes.len() as u64, label.into())?);
        Ok(PureFile { main, others: RefCell::default() })
    }

    fn linked_files(&self) -> Vec<PathBuf> {
        self.others.borrow().keys().cloned().collect()
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        if let Target::At(part, at) = self.resolve(group)?
            && let Some(found) = part.tree.group(at)
        {
            return Ok(found.links.keys().cloned().collect());
        }
        Err(Error::MissingKey {
            file: self.main.label.clone(),
            key: group.into(),
            expected: "a group",
            present: String::new(),
            advice: "check that this is the right file",
        })
    }

    fn info(&self, key: &str) -> Result<Option<Info>> {
        if self.column(key)?.is_none() {
            return Ok(None);
        }
        self.with(key, |_, column, _| {
            let dataset = &column.dataset;
            Ok(Some(Info { shape: dataset.extents.shape.clone(), dtype: dataset.kind.dtype.clone() }))
        })
    }

    fn read_f32(&self, key: &str) -> Result<Vec<f32>> {
        self.with(key, |part, column, n| match column.dataset.kind.dtype {
            Dtype::F32 | Dtype::F64 => values::read_f32(&part.tree.image, column, n).map_err(part.fail(key)),
            _ => Err(not_float(part, key, column)),
        })
    }

    fn read_f64(&self, key: &str) -> Result<Vec<f64>> {
        self.with(key, |part, column, n| match column.dataset.kind.dtype {
            Dtype::F32 | Dtype::F64 => values::read_f64(&part.tree.image, column, n).map_err(part.fail(key)),
            _ => Err(not_float(part, key, column)),
        })
    }

    fn read_flags(&self, key: &str) -> Result<Vec<bool>> {
        self.with(key, |part, column, n| match &column.dataset.kind.dtype {
            Dtype::Bool | Dtype::Int | Dtype::F32 | Dtype::F64 => {
                let numbers = values::read_f64(&part.tree.image, column, n).map_err(part.fail(key))?;
                super::flags_of(&part.label, key, &numbers)
            }
            got => Err(super::flag_dtype(&part.label, key, got)),
        })
    }

    fn read_string(&self, key: &str) -> Result<String> {
        self.with(key, |part, column, n| match &column.dataset.kind.dtype {
            Dtype::Text if n == 1 => values::read_string(&part.tree.image, column).map_err(part.fail(key)),
            got => Err(super::string_dtype(&part.label, key, got, n)),
        })
    }

    /// Through the library, once this reader has found the file's structure sound; in memory there are no metadata.
    fn attribute(&self, name: &str) -> Result<Option<String>> {
        if self.main.folder.is_none() {
            return Ok(None);
        }
        let fail = |e: hdf5_pure::Error| explain(&self.main.label, "/", Fault::Damaged(e.to_string()));
        let all = hdf5_pure::File::open_streaming(&self.main.label).and_then(|file| file.root().attrs());
        let value = all.map_err(fail)?.remove(name);
        Ok(value.and_then(|v| v.as_str().map(str::to_string).or_else(|| v.as_i64().map(|n| n.to_string()))))
    }
}

fn not_float(part: &Part, key: &str, column: &Column) -> Error {
    Error::Dtype {
        file: part.label.clone(),
        key: key.into(),
        expected: "f32 or f64",
        got: column.dataset.kind.dtype.to_string(),
    }
}
