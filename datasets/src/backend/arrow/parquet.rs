//! Parquet: column by column, each in groups of rows and these in pages, behind a footer that says where they lie.
//!
//! A page holds levels and values. The definition level of an entry says whether it is there or at which depth it is null,
//! the repetition level whether it begins a row (0) or goes on with a list. Pages of both versions are read.

use super::bits::{Number, plain, runs};
use super::thrift::Value;
use super::{
    Column, DEEPEST, Dtype, Fault, Found, Info, MOST_COLUMNS, joined, part_names, slice, unsupported,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) const MAGIC: &[u8] = b"PAR1";

/// The columns of a file and where their values lie.
pub(super) struct Table {
    pub columns: BTreeMap<String, Leaf>,
    groups: Vec<Group>,
}

/// A column without parts.
pub(super) struct Leaf {
    dtype: Dtype,
    number: Option<Number>,
    /// which of a group's columns it is
    index: usize,
    /// levels at which it is there, and at which it goes on with the innermost list
    defined: u32,
    repeated: u32,
}

/// Some consecutive rows.
struct Group {
    rows: u64,
    chunks: Vec<Chunk>,
}

/// The pages of one column.
struct Chunk {
    start: u64,
    bytes: u64,
    entries: u64,
    snappy: Found<bool>,
}

/// Of a byte of a page: a run takes a few bytes, whatever its length, but pages have some million entries at most.
const MOST_ENTRIES: u64 = 1 << 20;
/// Snappy's copies make at most 64 bytes of 2.
const MAX_EXPANSION: u64 = 64;

impl Table {
    pub fn of(file: &[u8]) -> Found<Table> {
        let cut = Fault::Damaged("the file is cut short: it does not end as a Parquet file does");
        let end = file.strip_suffix(MAGIC).filter(|rest| rest.len() >= 8).ok_or(cut.clone())?;
        let (rest, length) = end.split_last_chunk::<4>().ok_or(cut.clone())?;
        let length = u64::from(u32::from_le_bytes(*length));
        let start = (rest.len() as u64).checked_sub(length).ok_or(cut)?;
        let footer = Value::structure(&mut slice(rest, start, length)?)?;
        let mut schema = footer.list(2)?.iter();
        let root = schema.next().ok_or(Fault::Damaged("no schema"))?;
        let mut walk = Walk { schema, columns: BTreeMap::new(), leaves: 0 };
        walk.group("", root.count(5)?, DEEPEST, (0, 0))?;
        let groups = footer.list(4)?.iter().map(Group::of).collect::<Found<Vec<_>>>()?;
        if groups.iter().any(|group| group.chunks.len() != walk.leaves) {
            return Err(Fault::Damaged("a group of rows without all columns"));
        }
        Ok(Table { columns: walk.columns, groups })
    }

    /// A column; `None` if there is none of this name.
    pub fn read(&self, file: &[u8], key: &str) -> Found<Option<Column>> {
        let Some(leaf) = self.columns.get(key) else { return Ok(None) };
        let rows = self.groups.iter().try_fold(0u64, |rows, group| rows.checked_add(group.rows));
        let rows = rows.ok_or(Fault::Damaged("too many rows"))?;
        let mut entries = Entries::default();
        if let Some(number) = leaf.number {
            for group in &self.groups {
                let before = entries.rows;
                group.chunks[leaf.index].read(file, leaf, number, &mut entries)?;
                if entries.rows - before != group.rows {
                    return Err(Fault::Damaged("columns of different lengths"));
                }
            }
        }
        let mut info = Info { shape: vec![rows], dtype: leaf.dtype.clone() };
        if leaf.repeated > 0 && leaf.number.is_some() {
            match entries.width() {
                Some(width) => info.shape.push(width),
                None => info.dtype = Dtype::Other("list whose rows differ in length".into()),
            }
        }
        Ok(Some(Column { info, values: entries.values }))
    }
}

/// The schema, followed in the order in which a group lists its columns.
struct Walk<'v, 'a> {
    schema: std::slice::Iter<'v, Value<'a>>,
    columns: BTreeMap<String, Leaf>,
    leaves: usize,
}

impl<'v, 'a> Walk<'v, 'a> {
    fn next(&mut self) -> Found<&'v Value<'a>> {
        self.schema.next().ok_or(Fault::Damaged("a schema that is not whole"))
    }

    /// The parts of a structure, at these levels.
    fn group(&mut self, parent: &str, parts: u64, deep: usize, levels: (u32, u32)) -> Found<()> {
        let before = self.schema.clone();
        let mut names = Vec::new();
        for _ in 0..parts {
            let part = self.next()?;
            names.push(part.text(4)?);
            self.skip(part, deep)?;
        }
        self.schema = before;
        let names = if parent.is_empty() { names } else { part_names(&names) };
        names.iter().try_for_each(|name| {
            let part = self.next()?;
            self.part(&joined(parent, name), part, deep, levels)
        })
    }

    /// Passes over what lies in a part.
    fn skip(&mut self, part: &Value, deep: usize) -> Found<()> {
        let deeper = deep.checked_sub(1).ok_or(unsupported("less nested columns", "too many levels"))?;
        for _ in 0..part.int(5).unwrap_or(0) {
            let next = self.next()?;
            self.skip(next, deeper)?;
        }
        Ok(())
    }

    fn part(&mut self, key: &str, part: &Value, deep: usize, levels: (u32, u32)) -> Found<()> {
        let deeper = deep.checked_sub(1).ok_or(unsupported("less nested columns", "too many levels"))?;
        let (mut defined, mut repeated) = levels;
        // Required, optional, repeated.
        let repetition = part.int(3).unwrap_or(0);
        defined += u32::from(repetition > 0);
        repeated += u32::from(repetition == 2);
        let list = part.int(6) == Some(3) || part.field(10).is_some_and(|kind| kind.field(3).is_some());
        match (part.int(5).unwrap_or(0), list) {
            (0, _) => self.leaf(key, part, (defined, repeated)),
            (1, true) => {
                // list -> repeated group -> element, of which the middle one may be missing.
                let inner = self.next()?;
                let levels = (defined + 1, repeated + 1);
                match inner.int(5).unwrap_or(0) {
                    0 => self.leaf(key, inner, levels),
                    1 => {
                        let element = self.next()?;
                        self.part(key, element, deeper, levels)
                    }
                    _ => self.group(key, inner.count(5)?, deeper, levels),
                }
            }
            _ => self.group(key, part.count(5)?, deeper, (defined, repeated)),
        }
    }

    fn leaf(&mut self, key: &str, part: &Value, (defined, repeated): (u32, u32)) -> Found<()> {
        if self.leaves == MOST_COLUMNS {
            return Err(unsupported("fewer columns", format!("more than {MOST_COLUMNS}")));
        }
        let int = |bytes| Some(Number::Int { bytes, signed: true });
        let (dtype, number) = match part.int(1) {
            Some(0) => (Dtype::Bool, Some(Number::Bit)),
            Some(1) => (Dtype::Int, int(4)),
            Some(2) => (Dtype::Int, int(8)),
            Some(4) => (Dtype::F32, Some(Number::F32)),
            Some(5) => (Dtype::F64, Some(Number::F64)),
            Some(6) => (Dtype::Text, None),
            _ => (Dtype::Other("a decimal, a time, a half float or fixed binary".into()), None),
        };
        let leaf = Leaf { dtype, number, index: self.leaves, defined, repeated };
        self.leaves += 1;
        match self.columns.insert(key.into(), leaf) {
            None => Ok(()),
            Some(_) => Err(Fault::Damaged("two columns of one name")),
        }
    }
}

impl Group {
    fn of(value: &Value) -> Found<Group> {
        let chunks = value.list(1)?.iter().map(|chunk| {
            let meta = chunk.field(3).ok_or(unsupported("columns in the file itself", "encrypted ones"))?;
            let (data, dictionary) = (meta.count(9)?, meta.int(11).and_then(|at| u64::try_from(at).ok()));
            Ok(Chunk {
                start: dictionary.filter(|at| *at > 0).map_or(data, |at| at.min(data)),
                bytes: meta.count(7)?,
                entries: meta.count(5)?,
                snappy: match meta.int(4) {
                    Some(0) => Ok(false),
                    Some(1) => Ok(true),
                    other => {
                        let got = match other {
                            Some(2) => "GZIP".into(),
                            Some(4) => "Brotli".into(),
                            Some(5 | 7) => "LZ4".into(),
                            Some(6) => "Zstandard".into(),
                            _ => "another".to_string(),
                        };
                        Err(unsupported("Snappy or no compression", got))
                    }
                },
            })
        });
        Ok(Group { rows: value.count(3)?, chunks: chunks.collect::<Found<_>>()? })
    }
}

/// The values of a column so far, and how they make rows.
#[derive(Default)]
struct Entries {
    values: Vec<f64>,
    rows: u64,
    /// entries of the row that is being read, and of those before it if these are all equally long
    row: u64,
    width: Option<u64>,
    ragged: bool,
}

impl Entries {
    fn begin_row(&mut self) {
        self.end_row();
        (self.rows, self.row) = (self.rows + 1, 0);
    }

    fn end_row(&mut self) {
        if self.rows > 0 {
            self.ragged |= *self.width.get_or_insert(self.row) != self.row;
        }
    }

    /// Entries per row; `None` if rows differ.
    fn width(&mut self) -> Option<u64> {
        self.end_row();
        self.width.or(Some(0)).filter(|_| !self.ragged)
    }

    /// Appends what a page holds: a value for every entry that is defined, NaN for the others.
    fn append(&mut self, page: Page, leaf: &Leaf, mut values: impl Iterator<Item = f64>) -> Found<()> {
        for i in 0..page.entries {
            match page.repetition.get(i).copied().unwrap_or(0) {
                0 => self.begin_row(),
                _ if self.rows == 0 => return Err(Fault::Damaged("a list that begins nowhere")),
                _ => {}
            }
            self.row += 1;
            let there = page.definition.get(i).is_none_or(|level| *level == leaf.defined);
            let value = if there {
                values.next().ok_or(Fault::Damaged("fewer values than it says"))?
            } else {
                f64::NAN
            };
            self.values.push(value);
        }
        Ok(())
    }
}

/// A page of values, unpacked.
struct Page<'a> {
    entries: usize,
    /// Empty for a column that has no such levels.
    repetition: Vec<u32>,
    definition: Vec<u32>,
    encoding: i64,
    values: Cow<'a, [u8]>,
}

impl Chunk {
    fn read(&self, file: &[u8], leaf: &Leaf, number: Number, out: &mut Entries) -> Found<()> {
        let mut bytes = slice(file, self.start, self.bytes)?;
        let (mut dictionary, mut left) = (Vec::new(), self.entries);
        while left > 0 {
            let header = Value::structure(&mut bytes)?;
            let page = usize::try_from(header.count(3)?).ok().and_then(|n| bytes.split_off(..n));
            let page = page.ok_or(Fault::Damaged("a page that is cut short"))?;
            match header.int(1) {
                Some(0 | 3) => {
                    let page = self.page(&header, page, leaf, left)?;
                    left -= page.entries as u64;
                    let values = decode(&page, leaf, number, &dictionary)?;
                    out.append(page, leaf, values.into_iter())?;
                }
                Some(2) => {
                    let inner =
                        header.field(7).ok_or(Fault::Damaged("a dictionary without a description"))?;
                    let n = usize::try_from(inner.count(1)?).unwrap_or(usize::MAX);
                    dictionary = plain(number, &self.unpacked(page, header.count(2)?)?, n)?;
                }
                // Indexes.
                _ => {}
            }
        }
        Ok(())
    }

    fn page<'a>(&self, header: &Value, bytes: &'a [u8], leaf: &Leaf, left: u64) -> Found<Page<'a>> {
        let second = header.int(1) == Some(3);
        let inner = header.field(if second { 8 } else { 5 });
        let inner = inner.ok_or(Fault::Damaged("a page without a description"))?;
        let entries = inner.count(1)?;
        if entries > left.min(bytes.len() as u64 * MOST_ENTRIES) {
            return Err(Fault::Damaged("more values than it says, or than its bytes can hold"));
        }
        let entries = usize::try_from(entries).map_err(|_| Fault::Damaged("more values than can be"))?;
        let levels = |bytes: &[u8], most: u32| match most {
            0 => Ok(Vec::new()),
            _ => runs(bytes, 32 - most.leading_zeros(), entries),
        };
        let size = header.count(2)?;
        if !second {
            let bytes = self.unpacked(bytes, size)?;
            let mut rest = &bytes[..];
            let [repetition, definition] = [leaf.repeated, leaf.defined].map(|most| match most {
                0 => Ok(Vec::new()),
                _ => levels(counted(&mut rest)?, most),
            });
            let (repetition, definition) = (repetition?, definition?);
            let (encoding, values) = (inner.int(2).unwrap_or(-1), rest.to_vec().into());
            return Ok(Page { entries, repetition, definition, encoding, values });
        }
        let (mut rest, mut before) = (bytes, 0);
        let mut part = |number| {
            let length = inner.count(number)?;
            before += length;
            let part = usize::try_from(length).ok().and_then(|n| rest.split_off(..n));
            part.ok_or(Fault::Damaged("levels that are cut short"))
        };
        let (repetition, definition) = (part(6)?, part(5)?);
        let (repetition, definition) =
            (levels(repetition, leaf.repeated)?, levels(definition, leaf.defined)?);
        let packed = inner.int(7) != Some(0);
        let values = if packed { self.unpacked(rest, size.saturating_sub(before))? } else { rest.into() };
        Ok(Page { entries, repetition, definition, encoding: inner.int(4).unwrap_or(-1), values })
    }

    /// What is packed in these bytes, which must be as much as is said.
    fn unpacked<'a>(&self, bytes: &'a [u8], size: u64) -> Found<Cow<'a, [u8]>> {
        let there = bytes.len() as u64;
        match self.snappy.clone()? {
            false if size == there => Ok(bytes.into()),
            false => Err(Fault::Damaged("a page of another size than it says")),
            true if size == 0 && there == 0 => Ok(bytes.into()),
            true => {
                let declared = snap::raw::decompress_len(bytes).map_err(|_| SNAPPY)? as u64;
                if declared != size || size > there.saturating_mul(MAX_EXPANSION) {
                    return Err(SNAPPY);
                }
                snap::raw::Decoder::new().decompress_vec(bytes).map(Cow::from).map_err(|_| SNAPPY)
            }
        }
    }
}

const SNAPPY: Fault = Fault::Damaged("a page that Snappy cannot unpack");

/// A run of bytes behind its length.
fn counted<'a>(bytes: &mut &'a [u8]) -> Found<&'a [u8]> {
    let cut = Fault::Damaged("levels that are cut short");
    let length = bytes.split_off(..4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    length.and_then(|n| bytes.split_off(..n as usize)).ok_or(cut)
}

/// The values that are there.
fn decode(page: &Page, leaf: &Leaf, number: Number, dictionary: &[f64]) -> Found<Vec<f64>> {
    let n = match page.definition.is_empty() {
        true => page.entries,
        false => page.definition.iter().filter(|level| **level == leaf.defined).count(),
    };
    let mut bytes = &page.values[..];
    match (page.encoding, number) {
        (0, _) => plain(number, bytes, n),
        (2 | 8, _) => {
            let Some(width) = bytes.split_off_first() else {
                return if n == 0 { Ok(Vec::new()) } else { Err(Fault::Damaged("no values")) };
            };
            let indices = runs(bytes, u32::from(*width), n)?;
            let outside = Fault::Damaged("a value that is not in the dictionary");
            indices.iter().map(|i| dictionary.get(*i as usize).copied().ok_or(outside.clone())).collect()
        }
        (3, Number::Bit) => Ok(runs(counted(&mut bytes)?, 1, n)?.into_iter().map(f64::from).collect()),
        (other, _) => {
            let name = match other {
                3 => "runs".into(),
                5..=7 => "differences".into(),
                9 => "a byte stream split".into(),
                _ => format!("number {other}"),
            };
            Err(unsupported("plain or dictionary pages", name))
        }
    }
}
