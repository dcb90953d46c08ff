//! The links of one group, complete: from a symbol table, from link messages, or from a heap of links.

use super::fault::{Found, damaged, unsupported};
use super::header::{Header, kind};
use super::image::{Cursor, Image, lookup3};
use super::tables::{Heap, records};
use std::collections::BTreeMap;

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// An object header of this file.
    Hard(u64),
    /// A path in this file.
    Soft(String),
    /// A path in another file.
    External { file: String, path: String },
}

/// The links of one group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub links: BTreeMap<String, Link>,
    /// Text among the names that belongs to no link: what is left of keys that were deleted, or damaged.
    pub left_over: Vec<String>,
    /// Names behind which a place is neither used nor free, so that they may have been longer.
    pub cut: Vec<String>,
}

impl Group {
    /// Reads all links of a group. `cached` is the symbol table as the entry that led here repeats it.
    pub fn read(image: &Image, header: &Header, cached: Option<(u64, u64)>) -> Found<Group> {
        header.allows(&[
            kind::LINK_INFO,
            kind::LINK,
            kind::GROUP_INFO,
            kind::SYMBOL_TABLE,
            kind::CONTINUATION,
        ])?;
        let mut group = Group::default();
        if let Some(table) = header.only(kind::SYMBOL_TABLE)? {
            let mut fields = Cursor::new(&table.body);
            let (tree, heap) = (fields.place("a symbol table")?, fields.place("a symbol table")?);
            fields.finish("the message of the symbol table")?;
            if header.has(kind::LINK_INFO) || header.has(kind::LINK) {
                return Err(damaged("a group with two kinds of links"));
            }
            if cached.is_some_and(|c| c != (tree, heap)) {
                return Err(damaged("a group and the entry that leads to it name different symbol tables"));
            }
            SymbolTable::read(image, heap)?.fill(&mut group, tree)?;
            return Ok(group);
        }
        for message in header.messages.iter().filter(|m| m.kind == kind::LINK) {
            group.message(&message.body)?;
        }
        let Some(info) = header.only(kind::LINK_INFO)? else {
            return Err(damaged("a group without an account of its links"));
        };
        let mut fields = Cursor::new(&info.body);
        fields.expect(0, "version of the links")?;
        let flags = fields.u8()?;
        fields.take(usize::from(flags & 1) * 8)?;
        if let (Some(heap), Some(tree)) = (fields.address()?, fields.address()?) {
            group.dense(image, heap, tree)?;
        }
        Ok(group)
    }

    /// Returns the hash of the name.
    fn insert(&mut self, name: &[u8], link: Link) -> Found<u32> {
        let name = match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '/') => name,
            _ => return Err(damaged(format!("a name that cannot be: `{}`", String::from_utf8_lossy(name)))),
        };
        match self.links.insert(name.to_string(), link) {
            None => Ok(lookup3(name.as_bytes())),
            Some(_) => Err(damaged(format!("a group has the name `{name}` twice"))),
        }
    }

    /// A link as newer files write it; returns the hash of its name.
    fn message(&mut self, body: &[u8]) -> Found<u32> {
        let mut fields = Cursor::new(body);
        fields.expect(1, "version of a link")?;
        let flags = fields.u8()?;
        let sort = if flags & 8 != 0 { fields.u8()? } else { 0 };
        fields.take(usize::from(flags >> 2 & 1) * 8 + usize::from(flags >> 4 & 1))?;
        let length = fields.uint(1 << (flags & 3))?;
        let name = fields.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let link = match sort {
            0 => Link::Hard(fields.place("a link")?),
            1 => {
                let length = fields.u16()?;
                Link::Soft(text(fields.take(length.into())?)?)
            }
            64 => {
                let length = fields.u16()?;
                let value = fields.take(length.into())?;
                let mut parts = value.get(1..).unwrap_or_default().split(|b| *b == 0);
                let mut part = || text(parts.next().unwrap_or_default());
                Link::External { file: part()?, path: part()? }
            }
            other => return Err(unsupported(format!("a link of the user-defined kind {other}"))),
        };
        self.insert(name, link)
    }

    /// Links in a fractal heap, listed by a B-tree of the hashes of their names.
    fn dense(&mut self, image: &Image, heap: u64, tree: u64) -> Found<()> {
        let heap = Heap::read(image, heap)?;
        let listed = records(image, tree, 5, 11)?;
        if listed.len() as u64 != heap.objects {
            return Err(damaged(format!("{} links are listed of {}", listed.len(), heap.objects)));
        }
        for record in &listed {
            let hash = self.message(heap.object(&record[4..])?)?;
            if hash.to_le_bytes() != record[..4] {
                return Err(damaged("a link is listed under another name"));
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Found<String> {
    let plain = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match std::str::from_utf8(plain) {
        Ok(t) if !t.is_empty() && !t.contains(char::is_control) => Ok(t.to_string()),
        _ => Err(damaged("a link to a name that cannot be")),
    }
}

/// Symbol table of an old group: a heap of names, and a B-tree of entries in the order of the names.
struct SymbolTable<'a> {
    image: &'a Image,
    names: Vec<u8>,
    /// Starts and lengths of what the heap calls free.
    free: BTreeMap<u64, u64>,
    /// Starts and lengths of what entries use, in whole units of eight bytes.
    used: BTreeMap<u64, u64>,
    entries: Vec<(Vec<u8>, Link)>,
}

const UNIT: u64 = 8;

impl<'a> SymbolTable<'a> {
    fn read(image: &'a Image, at: u64) -> Found<Self> {
        let header = image.block(at, 32)?;
        let mut fields = Cursor::new(&header);
        if fields.take(4)? != b"HEAP" || fields.take(4)? != [0; 4] {
            return Err(damaged("expected a heap of names, got other bytes"));
        }
        let (size, first, data) = (fields.u64()?, fields.u64()?, fields.place("a heap of names")?);
        let names = image.block(data, size)?;
        let mut free = BTreeMap::new();
        let mut next = first;
        // 1 ends the list.
        while next != 1 && next != u64::MAX {
            let mut fields = Cursor::new(names.get(next as usize..).unwrap_or_default());
            let (after, length) = (fields.u64()?, fields.u64()?);
            let inside = next.checked_add(length).is_some_and(|end| end <= size);
            if next % UNIT != 0 || length < 2 * UNIT || !inside || free.insert(next, length).is_some() {
                return Err(damaged("the free places of a heap of names contradict each other"));
            }
            next = after;
        }
        Ok(SymbolTable { image, names, free, used: BTreeMap::from([(0, UNIT)]), entries: Vec::new() })
    }

    fn fill(mut self, group: &mut Group, tree: u64) -> Found<()> {
        let mut last = Vec::new();
        self.node(tree, None, (u64::MAX, u64::MAX), &mut last)?;
        self.account(group)?;
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().try_for_each(|(name, link)| group.insert(&name, link).map(drop))
    }

    /// One node; `last` is the greatest name so far.
    fn node(&mut self, at: u64, level: Option<u8>, sides: (u64, u64), last: &mut Vec<u8>) -> Found<()> {
        let start = self.image.read(at, 8)?;
        let mut fields = Cursor::new(&start);
        if fields.take(4)? != b"TREE" || fields.u8()? != 0 {
            return Err(damaged("expected a B-tree of a group, got other bytes"));
        }
        let (own, count) = (fields.u8()?, u64::from(fields.u16()?));
        let bytes = self.image.block(at, 24 + 32 * self.image.ranks().nodes + 8)?;
        let mut fields = Cursor::new(&bytes[8..]);
        if level.is_some_and(|l| l != own) || own > 32 || (fields.u64()?, fields.u64()?) != sides {
            return Err(damaged("a node of a group's B-tree is not where it belongs"));
        }
        let mut keys = Vec::new();
        let mut children = Vec::new();
        for _ in 0..count {
            keys.push(fields.u64()?);
            children.push(fields.place("a node")?);
        }
        keys.push(fields.u64()?);
        fields.rest_is_zero("a node of a group's B-tree")?;
        for (i, child) in children.iter().enumerate() {
            if self.name(keys[i])? < *last {
                return Err(damaged("a group's B-tree is out of order"));
            }
            if own == 0 {
                self.leaf(*child, last)?;
            } else {
                let side = |k: Option<usize>| k.and_then(|k| children.get(k)).copied().unwrap_or(u64::MAX);
                // Neighbours beyond this node's children are known to its parent only; they are not compared.
                let sides = (side(i.checked_sub(1)), side(Some(i + 1)));
                let stored = self.image.read(*child, 24)?;
                let mut fields = Cursor::new(&stored[8..]);
                let own_sides = (fields.u64()?, fields.u64()?);
                let differs = |a: u64, b: u64| b != u64::MAX && a != b;
                if differs(own_sides.0, sides.0) || differs(own_sides.1, sides.1) {
                    return Err(damaged("nodes of a group's B-tree do not follow each other"));
                }
                self.node(*child, Some(own - 1), own_sides, last)?;
            }
            if self.name(keys[i + 1])? < *last {
                return Err(damaged("a group's B-tree is out of order"));
            }
        }
        Ok(())
    }

    fn leaf(&mut self, at: u64, last: &mut Vec<u8>) -> Found<()> {
        let start = self.image.read(at, 8)?;
        let mut fields = Cursor::new(&start);
        if fields.take(4)? != b"SNOD" || fields.u8()? != 1 || fields.u8()? != 0 {
            return Err(damaged("expected a node of a symbol table, got other bytes"));
        }
        let count = fields.u16()?;
        let bytes = self.image.block(at, 8 + 80 * self.image.ranks().leaves)?;
        let mut fields = Cursor::new(&bytes[8..]);
        if count == 0 {
            return Err(damaged("a node of a symbol table is empty"));
        }
        for _ in 0..count {
            let (place, header, cache) = (fields.u64()?, fields.address()?, fields.u32()?);
            fields.u32()?;
            let mut scratch = Cursor::new(fields.take(16)?);
            let name = self.take_name(place)?;
            if name <= *last {
                return Err(damaged("the names of a group are out of order"));
            }
            let link = match (cache, header) {
                (0 | 1, Some(header)) => Link::Hard(header),
                (2, None) => {
                    let value = self.take_name(u64::from(scratch.u32()?))?;
                    Link::Soft(text(&value)?)
                }
                _ => return Err(damaged(format!("an entry of kind {cache} in a symbol table"))),
            };
            last.clone_from(&name);
            self.entries.push((name, link));
        }
        fields.rest_is_zero("a node of a symbol table")
    }

    /// The text at a place of the heap.
    fn name(&self, place: u64) -> Found<Vec<u8>> {
        let bytes = usize::try_from(place).ok().and_then(|p| self.names.get(p..)).unwrap_or_default();
        match bytes.iter().position(|b| *b == 0) {
            Some(end) if place.is_multiple_of(UNIT) => Ok(bytes[..end].to_vec()),
            _ => Err(damaged("a name lies outside of its heap")),
        }
    }

    /// The text at a place that from now on belongs to one entry.
    fn take_name(&mut self, place: u64) -> Found<Vec<u8>> {
        let name = self.name(place)?;
        let length = (name.len() as u64 + 1).next_multiple_of(UNIT);
        match self.used.insert(place, length) {
            None => Ok(name),
            Some(_) => Err(damaged("two entries of a symbol table share a name")),
        }
    }

    /// Goes through the heap from end to end and notes what the names do not explain. Error: places that overlap.
    fn account(&self, group: &mut Group) -> Found<()> {
        let mut parts: Vec<(u64, u64, bool)> = self.used.iter().map(|(at, n)| (*at, *n, true)).collect();
        parts.extend(self.free.iter().map(|(at, n)| (*at, *n, false)));
        parts.push((self.names.len() as u64, 0, false));
        parts.sort_unstable();
        // Where the last place ends, and where its text does.
        let (mut at, mut text, mut name) = (0, 0, Vec::new());
        for (start, length, used) in parts {
            if start < at || start + length > self.names.len() as u64 {
                return Err(damaged("a name lies in a place that is free, or taken"));
            }
            let between = self.names.get(text as usize..start as usize).unwrap_or_default();
            let pieces = between.split(|b| *b == 0).filter(|piece| !piece.is_empty());
            group.left_over.extend(pieces.map(|piece| String::from_utf8_lossy(piece).into_owned()));
            if at < start {
                group.cut.push(String::from_utf8_lossy(&name).into_owned());
            }
            name = if used { self.name(start)? } else { Vec::new() };
            at = start + length;
            text = if used { start + name.len() as u64 } else { at };
        }
        Ok(())
    }
}
