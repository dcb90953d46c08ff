//! Tables of Arrow's world as Minari writes them: Arrow's own files (IPC, also called Feather) and Parquet.
//!
//! A key is the path through structures, such as `observations/desired_goal`; parts of a structure whose names are 0, 1, 2 ...
//! are called `_index_0`, `_index_1` ... as in Minari's HDF5. Numbers, booleans and lists of them that are equally long in
//! every row are read, in Arrow those of fixed size alone; a null is NaN, as in pyarrow. Strings and what else there is have a
//! type and no values.
//!
//! Both readers are our own, and read what pyarrow writes by default: uncompressed Arrow; Parquet that is uncompressed or
//! Snappy, with plain or dictionary pages. The crates `parquet` and `arrow-ipc` (version 60, fewest features) bring nineteen
//! others and four minutes of compiling on one core, more than all of this crate, for two layouts of plain numbers. Every size
//! is held against the bytes that are there before room is made for it, and anything else is refused. Not seen: damage inside
//! values, which have no checksum.

mod bits;
mod flatbuffer;
mod ipc;
mod parquet;
mod thrift;

use super::foreign::foreign;
use super::names::Names;
use super::{Backend, Dtype, Info};
use crate::error::{Error, Result, one_line};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// An open table, held in memory as it is stored; a column is decoded when it is first asked for.
pub struct ArrowFile {
    label: String,
    bytes: Vec<u8>,
    table: Table,
    names: Names,
    decoded: RefCell<BTreeMap<String, Rc<Column>>>,
}

/// The columns that a file says it has, by key.
enum Table {
    Ipc(ipc::Table),
    Parquet(parquet::Table),
}

/// One column with all its rows.
struct Column {
    info: Info,
    /// Row-major; empty for a type that is no number. What is f32 passes through f64 with its bits, quiet NaNs included.
    values: Vec<f64>,
}

/// Result of the functions that follow a file's structure.
type Found<T> = std::result::Result<T, Fault>;

/// Why a structure was not read.
#[derive(Debug, Clone)]
enum Fault {
    /// It contradicts itself.
    Damaged(&'static str),
    /// It is whole, and of a kind that is not read here.
    Unsupported { expected: &'static str, got: String },
}

fn unsupported(expected: &'static str, got: impl Into<String>) -> Fault {
    Fault::Unsupported { expected, got: got.into() }
}

/// Most columns of a table, and deepest structure, that are followed.
const MOST_COLUMNS: usize = 4096;
const DEEPEST: usize = 32;

impl Fault {
    fn explain(self, file: &str, key: &str) -> Error {
        let (file, key) = (file.to_string(), one_line(key));
        match self {
            Fault::Damaged(reason) => Error::Undecodable { file, key, reason: reason.into() },
            Fault::Unsupported { expected, got } => {
                Error::Unread { file, key, expected, got: one_line(&got) }
            }
        }
    }
}

impl ArrowFile {
    fn new(label: &str, bytes: Vec<u8>) -> Result<Self> {
        let fail = |fault: Fault| fault.explain(label, "/");
        let table = if bytes.starts_with(ipc::MAGIC) {
            Table::Ipc(ipc::Table::of(&bytes).map_err(fail)?)
        } else if bytes.starts_with(parquet::MAGIC) {
            Table::Parquet(parquet::Table::of(&bytes).map_err(fail)?)
        } else {
            let (got, advice) = foreign(&bytes[..bytes.len().min(64)]);
            let expected = "an Arrow file (IPC) or a Parquet file";
            return Err(Error::OtherFormat { file: label.into(), expected, got, advice });
        };
        let names = match &table {
            Table::Ipc(table) => Names::new(label, table.columns.keys().cloned()),
            Table::Parquet(table) => Names::new(label, table.columns.keys().cloned()),
        };
        Ok(ArrowFile { label: label.into(), bytes, table, names, decoded: RefCell::default() })
    }

    fn column(&self, key: &str) -> Result<Option<Rc<Column>>> {
        if let Some(column) = self.decoded.borrow().get(key) {
            return Ok(Some(column.clone()));
        }
        let read = match &self.table {
            Table::Ipc(table) => table.read(&self.bytes, key),
            Table::Parquet(table) => table.read(&self.bytes, key),
        };
        let Some(column) = read.map_err(|fault| fault.explain(&self.label, key))? else {
            return self.names.absent(key).map(|()| None);
        };
        let column = Rc::new(column);
        self.decoded.borrow_mut().insert(key.into(), column.clone());
        Ok(Some(column))
    }

    fn numbers(&self, key: &str, expected: &'static str, flags: bool) -> Result<Rc<Column>> {
        let column = self.column(key)?.ok_or_else(|| self.names.missing(key, "a column"))?;
        match &column.info.dtype {
            Dtype::F32 | Dtype::F64 => Ok(column),
            Dtype::Bool | Dtype::Int if flags => Ok(column),
            other => {
                let (file, key, got) = (self.label.clone(), key.into(), other.to_string());
                Err(Error::Dtype { file, key, expected, got })
            }
        }
    }
}

impl Backend for ArrowFile {
    const NAME: &'static str = "arrow";

    fn open(path: &Path) -> Result<Self> {
        let bytes = crate::files::read(path).map_err(|e| Error::io(path, "cannot read", &e))?;
        Self::new(&path.display().to_string(), bytes)
    }

    fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self> {
        Self::new(label, bytes.to_vec())
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        self.names.children(group)
    }

    fn info(&self, key: &str) -> Result<Option<Info>> {
        Ok(self.column(key)?.map(|column| column.info.clone()))
    }

    fn read_f32(&self, key: &str) -> Result<Vec<f32>> {
        let column = self.numbers(key, "f32 or f64", false)?;
        Ok(column.values.iter().map(|v| *v as f32).collect())
    }

    fn read_f64(&self, key: &str) -> Result<Vec<f64>> {
        Ok(self.numbers(key, "f32 or f64", false)?.values.clone())
    }

    fn read_flags(&self, key: &str) -> Result<Vec<bool>> {
        let column = self.numbers(key, "flags (bool, integer or float)", true)?;
        super::flags_of(&self.label, key, &column.values)
    }

    fn read_string(&self, key: &str) -> Result<String> {
        let column = self.column(key)?.ok_or_else(|| self.names.missing(key, "a column"))?;
        let rows = column.info.shape.first().map_or(0, |rows| *rows as usize);
        Err(super::string_dtype(&self.label, key, &column.info.dtype, rows))
    }
}

/// The parts of a structure as keys have them: a tuple's, which are called by their number, as in HDF5.
fn part_names(names: &[String]) -> Vec<String> {
    match names.iter().enumerate().all(|(i, name)| *name == i.to_string()) {
        true => (0..names.len()).map(|i| format!("_index_{i}")).collect(),
        false => names.to_vec(),
    }
}

fn joined(parent: &str, name: &str) -> String {
    match parent {
        "" => name.into(),
        _ => format!("{parent}/{name}"),
    }
}

/// A run of bytes that must be there.
fn slice(bytes: &[u8], at: u64, length: u64) -> Found<&[u8]> {
    let range =
        usize::try_from(at).ok().zip(at.checked_add(length).and_then(|end| usize::try_from(end).ok()));
    range
        .and_then(|(at, end)| bytes.get(at..end))
        .ok_or(Fault::Damaged("it points beyond the end of the file"))
}
