//! B-trees of version 2 and fractal heaps: where newer files keep the links of large groups, and chunks with two or more
//! unlimited extents.

use super::fault::{Found, damaged, unsupported};
use super::image::{Cursor, Image};

/// All records of a version-2 B-tree of the expected type, in order.
pub(super) fn records(image: &Image, at: u64, kind: u8, record_bytes: usize) -> Found<Vec<Vec<u8>>> {
    let header = image.sealed(at, 38, b"BTHD")?;
    let mut fields = Cursor::new(&header);
    fields.expect(0, "version of a B-tree")?;
    fields.expect(kind, "type of a B-tree")?;
    let (node, size, depth) = (fields.u32()?, fields.u16()?, fields.u16()?);
    fields.take(2)?;
    let (root, count, total) = (fields.address()?, u64::from(fields.u16()?), fields.u64()?);
    if usize::from(size) != record_bytes || depth > 16 || node < 64 {
        return Err(damaged(format!("a B-tree of depth {depth} with records of {size} bytes")));
    }
    let tree = Tree::new(image, kind, u64::from(node), u64::from(size), usize::from(depth))?;
    let mut found = Vec::new();
    if let Some(root) = root {
        tree.node(root, count, usize::from(depth), &mut found)?;
    }
    if found.len() as u64 != total {
        return Err(damaged(format!("a B-tree of {total} records holds {}", found.len())));
    }
    Ok(found)
}

struct Tree<'a> {
    image: &'a Image,
    kind: u8,
    record: u64,
    /// Most records of a node, by depth.
    most: Vec<u64>,
    /// Bytes that count the records below a node, by depth.
    widths: Vec<usize>,
}

/// Signature, version, type and checksum of a node.
const NODE_FRAME: u64 = 10;

impl<'a> Tree<'a> {
    fn new(image: &'a Image, kind: u8, node: u64, record: u64, depth: usize) -> Found<Self> {
        let small = || damaged("a B-tree whose nodes are too small");
        let leaf = (node - NODE_FRAME) / record;
        if leaf == 0 {
            return Err(small());
        }
        let mut tree = Tree { image, kind, record, most: vec![leaf], widths: vec![0] };
        let mut below = leaf;
        for level in 1..=depth {
            let pointer = tree.pointer_bytes(level);
            let most = (node - NODE_FRAME).checked_sub(pointer).ok_or_else(small)? / (record + pointer);
            if most == 0 {
                return Err(small());
            }
            below = (most + 1).saturating_mul(below).saturating_add(most);
            tree.most.push(most);
            tree.widths.push(bytes_for(below));
        }
        Ok(tree)
    }

    fn pointer_bytes(&self, level: usize) -> u64 {
        let all = if level > 1 { self.widths[level - 1] } else { 0 };
        (8 + bytes_for(self.most[0]) + all) as u64
    }

    fn node(&self, at: u64, count: u64, level: usize, found: &mut Vec<Vec<u8>>) -> Found<()> {
        if count > self.most[level] {
            return Err(damaged("a node of a B-tree with more records than fit"));
        }
        let pointers = if level > 0 { (count + 1) * self.pointer_bytes(level) } else { 0 };
        let signature = if level > 0 { b"BTIN" } else { b"BTLF" };
        let bytes = self.image.sealed(at, NODE_FRAME + count * self.record + pointers, signature)?;
        let mut fields = Cursor::new(&bytes);
        fields.expect(0, "version of a node")?;
        fields.expect(self.kind, "type of a node")?;
        let records =
            (0..count).map(|_| Ok(fields.take(self.record as usize)?.to_vec())).collect::<Found<Vec<_>>>()?;
        if level == 0 {
            found.extend(records);
            return Ok(());
        }
        let mut records = records.into_iter();
        for _ in 0..=count {
            let (child, below) = (fields.place("a node")?, fields.uint(bytes_for(self.most[0]))?);
            let total = if level > 1 { Some(fields.uint(self.widths[level - 1])?) } else { None };
            let before = found.len();
            self.node(child, below, level - 1, found)?;
            if total.is_some_and(|n| n != (found.len() - before) as u64) {
                return Err(damaged("a B-tree that miscounts its records"));
            }
            found.extend(records.next());
        }
        Ok(())
    }
}

/// Bytes that hold numbers up to `n`.
fn bytes_for(n: u64) -> usize {
    (n.max(1).ilog2() / 8 + 1) as usize
}

/// The objects of a fractal heap.
pub(super) struct Heap {
    /// Offset in the heap, and bytes, of each block.
    blocks: Vec<(u64, Vec<u8>)>,
    /// Bytes of an offset and of a length in an identifier.
    widths: (usize, usize),
    /// Objects in the heap.
    pub objects: u64,
}

/// Shape of the doubling table.
struct Table<'a> {
    image: &'a Image,
    header: u64,
    width: u64,
    start: u64,
    largest: u64,
    offset_bytes: usize,
    sealed: bool,
}

impl Heap {
    pub fn read(image: &Image, at: u64) -> Found<Heap> {
        let fixed = image.read(at, 9)?;
        let filter_bytes = u64::from(u16::from_le_bytes([fixed[7], fixed[8]]));
        if filter_bytes > 0 {
            return Err(unsupported("a filtered heap of links"));
        }
        let header = image.sealed(at, 146, b"FRHP")?;
        let mut fields = Cursor::new(&header);
        fields.expect(0, "version of a heap")?;
        fields.take(4)?;
        let flags = fields.u8()?;
        let longest = u64::from(fields.u32()?);
        fields.take(8 * 4 + 8 * 3)?;
        let objects = fields.u64()?;
        fields.u64()?;
        let huge = fields.u64()?;
        fields.u64()?;
        let tiny = fields.u64()?;
        let (width, start, largest) = (u64::from(fields.u16()?), fields.u64()?, fields.u64()?);
        let (bits, _) = (fields.u16()?, fields.u16()?);
        let (root, rows) = (fields.address()?, u64::from(fields.u16()?));
        let sane = width.is_power_of_two() && start.is_power_of_two() && largest.is_power_of_two();
        if !sane || start > largest || largest > 1 << 32 || bits > 64 || bits == 0 || rows > 64 {
            return Err(damaged("a heap of impossible shape"));
        }
        if huge + tiny > 0 {
            return Err(unsupported("links with names of more than 4,000 bytes"));
        }
        let offset_bytes = usize::from(bits).div_ceil(8);
        let table = Table { image, header: at, width, start, largest, offset_bytes, sealed: flags & 2 != 0 };
        let mut blocks = Vec::new();
        match root {
            None => {}
            Some(root) if rows == 0 => table.direct(root, start, 0, &mut blocks)?,
            Some(root) => table.indirect(root, rows, 0, &mut blocks)?,
        }
        Ok(Heap { blocks, widths: (offset_bytes, bytes_for(largest.min(longest))), objects })
    }

    /// The object of an identifier.
    pub fn object(&self, id: &[u8]) -> Found<&[u8]> {
        let mut fields = Cursor::new(id);
        fields.expect(0, "kind of an object in a heap")?;
        let (offset, length) = (fields.uint(self.widths.0)?, fields.uint(self.widths.1)? as usize);
        let after = self.blocks.partition_point(|(start, _)| *start <= offset);
        let found = after.checked_sub(1).and_then(|i| {
            let (start, bytes) = &self.blocks[i];
            let at = usize::try_from(offset - start).ok()?;
            bytes.get(at..at.checked_add(length)?)
        });
        found.ok_or_else(|| damaged("an object lies outside of its heap"))
    }
}

impl Table<'_> {
    /// Bytes of a block in `row`.
    fn size(&self, row: u64) -> u64 {
        self.start.checked_shl(row.saturating_sub(1) as u32).unwrap_or(u64::MAX)
    }

    fn direct(&self, at: u64, size: u64, offset: u64, blocks: &mut Vec<(u64, Vec<u8>)>) -> Found<()> {
        let mut bytes = self.image.block(at, size)?;
        self.frame(&bytes, b"FHDB", offset)?;
        if self.sealed {
            let place = 13 + self.offset_bytes;
            let stored = Cursor::new(bytes.get(place..).unwrap_or_default()).u32()?;
            bytes[place..place + 4].fill(0);
            if super::image::lookup3(&bytes) != stored {
                return Err(damaged("the checksum of a heap block does not fit"));
            }
        }
        blocks.push((offset, bytes));
        Ok(())
    }

    fn indirect(&self, at: u64, rows: u64, offset: u64, blocks: &mut Vec<(u64, Vec<u8>)>) -> Found<()> {
        let direct_rows = u64::from((self.largest / self.start).ilog2()) + 2;
        let frame = 13 + self.offset_bytes as u64;
        let bytes = self.image.block(at, frame + rows * self.width * 8 + 4)?;
        let mut checked = bytes.clone();
        super::image::open_seal(&mut checked, b"FHIB")?;
        self.frame(&checked, b"FHIB", offset)?;
        let mut fields = Cursor::new(&checked[frame as usize..]);
        let mut offset = offset;
        for row in 0..rows {
            let size = self.size(row);
            for _ in 0..self.width {
                match fields.address()? {
                    None => {}
                    Some(child) if row < direct_rows => self.direct(child, size, offset, blocks)?,
                    Some(child) => {
                        let first = u64::from((self.start * self.width).ilog2());
                        let below = (u64::from(size.ilog2()) + 1).checked_sub(first);
                        let below = below.filter(|b| *b > 0 && *b < rows);
                        let below = below.ok_or_else(|| damaged("a heap of impossible shape"))?;
                        self.indirect(child, below, offset, blocks)?;
                    }
                }
                offset = offset.checked_add(size).ok_or_else(|| damaged("a heap of impossible shape"))?;
            }
        }
        Ok(())
    }

    /// Signature, version, the heap's header, and the block's own place in the heap.
    fn frame(&self, bytes: &[u8], signature: &[u8; 4], offset: u64) -> Found<()> {
        let mut fields = Cursor::new(bytes);
        let own = fields.take(4)? == signature && fields.u8()? == 0;
        if own && fields.u64()? == self.header && fields.uint(self.offset_bytes)? == offset {
            return Ok(());
        }
        Err(damaged("a block of a heap is not where it belongs"))
    }
}
