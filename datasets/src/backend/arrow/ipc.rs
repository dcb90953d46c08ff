//! Arrow's file format: batches of rows whose columns are runs of plain values, behind a footer that says where they lie.
//! Format version 5, little-endian, uncompressed.

use super::bits::{Number, bit, plain};
use super::flatbuffer::Table as Record;
use super::{
    Column, DEEPEST, Dtype, Fault, Found, Info, MOST_COLUMNS, joined, part_names, slice, unsupported,
};
use std::collections::BTreeMap;

pub(super) const MAGIC: &[u8] = b"ARROW1";

/// The columns of a file and its batches.
pub(super) struct Table {
    pub columns: BTreeMap<String, Leaf>,
    batches: Vec<Batch>,
}

/// A column without parts.
pub(super) struct Leaf {
    dtype: Dtype,
    /// how its values are stored, if they are numbers
    number: Option<Number>,
    /// extents of a row
    shape: Vec<u64>,
    /// what may be null, from the outermost structure to the values
    levels: Vec<Level>,
    /// which of a batch's buffers holds the values
    values: usize,
}

#[derive(Clone)]
struct Level {
    /// which of a batch's nodes counts them
    node: usize,
    /// which of its buffers says what is null
    validity: usize,
    /// how many there are in a row
    per_row: u64,
}

/// Some consecutive rows.
struct Batch {
    rows: u64,
    /// length and nulls
    nodes: Vec<(u64, i64)>,
    /// place in the file and length
    buffers: Vec<(u64, u64)>,
}

impl Table {
    pub fn of(file: &[u8]) -> Found<Table> {
        let cut = Fault::Damaged("the file is cut short: it does not end as an Arrow file does");
        let end = file.strip_suffix(MAGIC).filter(|rest| rest.len() > 8).ok_or(cut.clone())?;
        let (rest, length) = end.split_last_chunk::<4>().ok_or(cut.clone())?;
        let length = u64::from(u32::from_le_bytes(*length));
        let start = (rest.len() as u64).checked_sub(length).ok_or(cut)?;
        let footer = Record::root(slice(rest, start, length)?)?;
        let schema = footer.table(1)?.ok_or(Fault::Damaged("no schema"))?;
        if schema.i16(0)? != 0 {
            return Err(unsupported("little-endian numbers", "big-endian ones"));
        }
        let mut walk = Walk::default();
        walk.fields("", &schema.tables(1)?, DEEPEST, &[], 1)?;
        let batches = footer.structures::<24>(3)?.iter().map(|block| Batch::of(file, block));
        Ok(Table { columns: walk.columns, batches: batches.collect::<Found<_>>()? })
    }

    /// A column; `None` if there is none of this name.
    pub fn read(&self, file: &[u8], key: &str) -> Found<Option<Column>> {
        let Some(leaf) = self.columns.get(key) else { return Ok(None) };
        let mut values = Vec::new();
        let rows = self.batches.iter().try_fold(0u64, |rows, batch| rows.checked_add(batch.rows));
        let rows = rows.ok_or(Fault::Damaged("too many rows"))?;
        if let Some(number) = leaf.number {
            self.batches.iter().try_for_each(|batch| batch.read(file, leaf, number, &mut values))?;
        }
        let shape = std::iter::once(rows).chain(leaf.shape.iter().copied()).collect();
        Ok(Some(Column { info: Info { shape, dtype: leaf.dtype.clone() }, values }))
    }
}

/// The schema, followed in the order in which a batch lists its nodes and buffers.
#[derive(Default)]
struct Walk {
    columns: BTreeMap<String, Leaf>,
    nodes: usize,
    buffers: usize,
}

impl Walk {
    fn fields(
        &mut self,
        parent: &str,
        fields: &[Record],
        deep: usize,
        levels: &[Level],
        per_row: u64,
    ) -> Found<()> {
        let names = fields.iter().map(|field| field.text(0)).collect::<Found<Vec<_>>>()?;
        let names = if parent.is_empty() { names } else { part_names(&names) };
        for (name, field) in names.iter().zip(fields) {
            self.field(&joined(parent, name), field, deep, levels, (per_row, &[]))?;
        }
        Ok(())
    }

    /// `row` is how many there are in a row, and the extents of the lists around them.
    fn field(
        &mut self,
        key: &str,
        field: &Record,
        deep: usize,
        above: &[Level],
        row: (u64, &[u64]),
    ) -> Found<()> {
        if deep == 0 || self.nodes == MOST_COLUMNS {
            return Err(unsupported("fewer and less nested columns", format!("more than {MOST_COLUMNS}")));
        }
        let (per_row, extents) = row;
        let mut levels = above.to_vec();
        levels.push(Level { node: self.nodes, validity: self.buffers, per_row });
        self.nodes += 1;
        let first = self.buffers;
        let dictionary = field.table(4)?.is_some();
        let kind = if dictionary { Kind::other("dictionary", 2) } else { Kind::of(field)? };
        self.buffers += kind.buffers;
        let children = field.tables(5)?;
        match (kind.nesting, &children[..]) {
            (Nesting::Structure, _) => {
                if !extents.is_empty() {
                    return Err(unsupported("structures of lists", "a list of structures"));
                }
                self.fields(key, &children, deep - 1, &levels, per_row)
            }
            (Nesting::List(size), [element]) => {
                let extents = [extents, &[size]].concat();
                let per_row =
                    per_row.checked_mul(size).ok_or(Fault::Damaged("lists of too many elements"))?;
                self.field(key, element, deep - 1, &levels, (per_row, &extents))
            }
            (Nesting::List(_), _) => Err(Fault::Damaged("a list that is of no type")),
            (Nesting::None, _) => {
                self.unread(&children, deep - 1)?;
                let Kind { dtype, number, .. } = kind;
                let leaf = Leaf { dtype, number, shape: extents.to_vec(), levels, values: first + 1 };
                match self.columns.insert(key.into(), leaf) {
                    None => Ok(()),
                    Some(_) => Err(Fault::Damaged("two columns of one name")),
                }
            }
        }
    }

    /// Counts what lies in a column that is not read.
    fn unread(&mut self, fields: &[Record], deep: usize) -> Found<()> {
        for field in fields {
            if deep == 0 || self.nodes == MOST_COLUMNS {
                return Err(unsupported(
                    "fewer and less nested columns",
                    format!("more than {MOST_COLUMNS}"),
                ));
            }
            self.nodes += 1;
            self.buffers += if field.table(4)?.is_some() { 2 } else { Kind::of(field)?.buffers };
            self.unread(&field.tables(5)?, deep - 1)?;
        }
        Ok(())
    }
}

/// What a field's type says.
struct Kind {
    dtype: Dtype,
    number: Option<Number>,
    nesting: Nesting,
    /// of a batch that belong to it
    buffers: usize,
}

enum Nesting {
    None,
    Structure,
    /// all of so many elements
    List(u64),
}

impl Kind {
    fn other(name: &str, buffers: usize) -> Kind {
        Kind { dtype: Dtype::Other(name.into()), number: None, nesting: Nesting::None, buffers }
    }

    fn of(field: &Record) -> Found<Kind> {
        let details = field.table(3)?;
        let detail = |index| details.map_or(Ok(0), |details| details.i32(index));
        let number = |dtype, number| Kind { dtype, number: Some(number), nesting: Nesting::None, buffers: 2 };
        let nested = |nesting| Kind { nesting, ..Kind::other("structure", 1) };
        Ok(match field.u8(2)? {
            1 => Kind::other("null", 0),
            2 => {
                let signed = details.map_or(Ok(0), |details| details.u8(1))? != 0;
                match detail(0)? {
                    bits @ (8 | 16 | 32 | 64) => {
                        number(Dtype::Int, Number::Int { bytes: bits as usize / 8, signed })
                    }
                    _ => return Err(Fault::Damaged("integers of no known size")),
                }
            }
            3 => match details.map_or(Ok(0), |details| details.i16(0))? {
                1 => number(Dtype::F32, Number::F32),
                2 => number(Dtype::F64, Number::F64),
                _ => Kind::other("half float", 2),
            },
            6 => number(Dtype::Bool, Number::Bit),
            5 | 20 => Kind { dtype: Dtype::Text, ..Kind::other("", 3) },
            4 | 19 => Kind::other("binary", 3),
            7..=11 | 15 | 18 => Kind::other("a decimal, a time or fixed binary", 2),
            12 | 17 | 21 => Kind::other("list of variable length (those of fixed size are read)", 2),
            13 => nested(Nesting::Structure),
            16 => match u64::try_from(detail(0)?) {
                Ok(size) => nested(Nesting::List(size)),
                Err(_) => return Err(Fault::Damaged("lists of negative length")),
            },
            22 => Kind::other("run-end encoded", 0),
            25 | 26 => Kind::other("list view", 3),
            other => {
                return Err(unsupported(
                    "numbers, booleans, strings, lists and structures",
                    format!("type {other} of Arrow's"),
                ));
            }
        })
    }
}

impl Batch {
    fn of(file: &[u8], block: &[u8; 24]) -> Found<Batch> {
        let unsigned = |at: usize, length: usize| {
            let mut wide = [0; 8];
            wide[..length].copy_from_slice(&block[at..at + length]);
            u64::from_le_bytes(wide)
        };
        let (offset, before, body) = (unsigned(0, 8), unsigned(8, 4), unsigned(16, 8));
        let described = slice(file, offset, before)?;
        // Since format version 5 four bytes of ones precede the length.
        let prefix = if described.starts_with(&[0xff; 4]) { 8 } else { 4 };
        let message = Record::root(described.get(prefix..).ok_or(Fault::Damaged("no message"))?)?;
        let Some(batch) = message.table(2)?.filter(|_| message.u8(1).is_ok_and(|kind| kind == 3)) else {
            return Err(Fault::Damaged("something else where a batch of rows should be"));
        };
        if let Some(compression) = batch.table(3)? {
            let codec = if compression.u8(0)? == 0 { "LZ4" } else { "Zstandard" };
            return Err(unsupported("uncompressed batches", codec));
        }
        let pairs = |field| -> Found<Vec<(u64, u64)>> {
            let halves = batch.structures::<16>(field)?.iter().map(|pair| {
                let (first, second) = pair.split_at(8);
                let number = |b: &[u8]| b.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
                (number(first), number(second))
            });
            Ok(halves.collect())
        };
        let start = offset + before;
        slice(file, start, body)?;
        let inside = |(at, length): (u64, u64)| match at.checked_add(length) {
            Some(end) if end <= body => Ok((start + at, length)),
            _ => Err(Fault::Damaged("a column lies outside of its batch")),
        };
        Ok(Batch {
            rows: u64::try_from(batch.i64(0)?).map_err(|_| Fault::Damaged("fewer rows than none"))?,
            nodes: pairs(1)?.into_iter().map(|(length, nulls)| (length, nulls as i64)).collect(),
            buffers: pairs(2)?.into_iter().map(inside).collect::<Found<_>>()?,
        })
    }

    /// Appends the values of a column.
    fn read(&self, file: &[u8], leaf: &Leaf, number: Number, out: &mut Vec<f64>) -> Found<()> {
        let buffer = |index: usize| match self.buffers.get(index) {
            Some((at, length)) => slice(file, *at, *length),
            None => Err(Fault::Damaged("a batch without all columns")),
        };
        let count = |per_row: u64| self.rows.checked_mul(per_row).and_then(|n| usize::try_from(n).ok());
        let all = Fault::Damaged("more values than can be");
        let n = count(leaf.shape.iter().product()).ok_or(all.clone())?;
        let mut values = plain(number, buffer(leaf.values)?, n)?;
        for level in &leaf.levels {
            let (length, nulls) =
                *self.nodes.get(level.node).ok_or(Fault::Damaged("a batch without all columns"))?;
            let these = count(level.per_row).ok_or(all.clone())?;
            if length != these as u64 {
                return Err(Fault::Damaged("columns of different lengths"));
            }
            if nulls != 0 && n > 0 {
                let validity = buffer(level.validity)?;
                let nulls = (0..these).filter(|i| !bit(validity, *i));
                let each = n / these;
                nulls.for_each(|i| values[i * each..(i + 1) * each].fill(f64::NAN));
            }
        }
        out.append(&mut values);
        Ok(())
    }
}
