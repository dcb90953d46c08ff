//! Every index of chunks that HDF5 has written so far, as one list of places.

use super::fault::{Found, damaged};
use super::image::{Cursor, Image, lookup3};
use super::messages::{Dataset, Index};
use super::tables::records;

/// Where one chunk lies.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// First element, one coordinate per axis.
    pub offset: Vec<u64>,
    pub address: u64,
    pub bytes: u64,
    /// Bit i: filter i was left out.
    pub mask: u32,
}

/// Shape questions that all indexes ask.
struct Grid<'a> {
    image: &'a Image,
    dataset: &'a Dataset,
    chunk: &'a [u64],
    /// Bytes of an unfiltered chunk.
    nominal: u64,
    found: Vec<Stored>,
}

/// All stored chunks of a dataset in chunks, as its index lists them.
pub(super) fn list(image: &Image, dataset: &Dataset, chunk: &[u64], index: &Index) -> Found<Vec<Stored>> {
    let nominal = chunk.iter().product::<u64>() * dataset.kind.size;
    let mut grid = Grid { image, dataset, chunk, nominal, found: Vec::new() };
    match index {
        Index::Empty => {}
        Index::TreeV1 { root } => grid.tree_v1(*root, None, &mut Vec::new())?,
        Index::Single { address, filtered } => {
            let (bytes, mask) = filtered.unwrap_or((nominal, 0));
            let beyond = dataset.extents.shape.iter().zip(chunk).any(|(n, c)| n > c);
            if filtered.is_some() == dataset.filters.is_empty() || beyond {
                return Err(damaged("a single chunk that is not the whole"));
            }
            grid.found.push(Stored { offset: vec![0; chunk.len()], address: *address, bytes, mask });
        }
        Index::Implicit { address } => {
            if !dataset.filters.is_empty() {
                return Err(damaged("filters on chunks without an index"));
            }
            let count = grid.count()?;
            if count.saturating_mul(nominal) > image.end() {
                return Err(damaged("more chunks than the file has room for"));
            }
            for number in 0..count {
                let offset = grid.offset(number, None);
                // There is room for the largest extents, of which the present ones are a part.
                if offset.iter().zip(&dataset.extents.shape).all(|(o, n)| o < n) {
                    grid.push(offset, address.saturating_add(number.saturating_mul(nominal)), nominal, 0)?;
                }
            }
        }
        Index::FixedArray { header, wide } => grid.fixed(*header, *wide)?,
        Index::ExtensibleArray { header, wide } => grid.extensible(*header, *wide)?,
        Index::TreeV2 { header, wide } => grid.tree_v2(*header, *wide)?,
    }
    for stored in &grid.found {
        image.claim(stored.address, stored.bytes)?;
        super::filters::check_mask(&dataset.filters, stored.mask)?;
    }
    Ok(grid.found)
}

impl Grid<'_> {
    /// Chunks that the largest extents need. Error: more than the file has bytes.
    fn count(&self) -> Found<u64> {
        let axes = self.dataset.extents.most.iter().zip(self.chunk);
        let count = axes.fold(1u64, |p, (n, c)| p.saturating_mul(n.div_ceil(*c)));
        if count > self.image.end() {
            return Err(damaged(format!("{count} chunks in a file of {} bytes", self.image.end())));
        }
        Ok(count)
    }

    /// Records chunk `number` of the grid of largest extents, with the unlimited axis (if any) counted slowest.
    fn numbered(
        &mut self,
        number: u64,
        address: Option<u64>,
        bytes: u64,
        mask: u32,
        slowest: Option<usize>,
    ) -> Found<()> {
        let Some(address) = address else { return Ok(()) };
        self.push(self.offset(number, slowest), address, bytes, mask)
    }

    /// Where chunk `number` of that grid begins.
    fn offset(&self, number: u64, slowest: Option<usize>) -> Vec<u64> {
        let mut rest = number;
        let mut offset = vec![0; self.chunk.len()];
        for axis in (0..self.chunk.len()).rev().filter(|a| Some(*a) != slowest) {
            let along = self.dataset.extents.most[axis].div_ceil(self.chunk[axis]).max(1);
            offset[axis] = (rest % along) * self.chunk[axis];
            rest /= along;
        }
        if let Some(axis) = slowest {
            offset[axis] = rest.saturating_mul(self.chunk[axis]);
        }
        offset
    }

    fn push(&mut self, offset: Vec<u64>, address: u64, bytes: u64, mask: u32) -> Found<()> {
        let shape = &self.dataset.extents.shape;
        let grid = offset.iter().zip(self.chunk).all(|(o, c)| o % c == 0);
        if !grid || offset.len() != shape.len() || offset.iter().zip(shape).any(|(o, n)| o >= n) {
            return Err(damaged(format!("a chunk at {offset:?} of extents {shape:?}")));
        }
        if self.dataset.filters.is_empty() && (bytes != self.nominal || mask != 0) {
            return Err(damaged(format!("a chunk of {bytes} bytes where {} belong", self.nominal)));
        }
        self.found.push(Stored { offset, address, bytes, mask });
        Ok(())
    }

    /// Old index; `before` is the last chunk so far.
    fn tree_v1(&mut self, at: u64, level: Option<u8>, before: &mut Vec<u64>) -> Found<()> {
        let rank = self.chunk.len();
        let start = self.image.read(at, 8)?;
        let mut fields = Cursor::new(&start);
        if fields.take(4)? != b"TREE" || fields.u8()? != 1 {
            return Err(damaged("expected a B-tree of chunks, got other bytes"));
        }
        let (own, count) = (fields.u8()?, u64::from(fields.u16()?));
        if level.is_some_and(|l| l != own) || own > 32 {
            return Err(damaged("a node of a B-tree of chunks is not where it belongs"));
        }
        let key_bytes = 8 + 8 * (rank as u64 + 1);
        let most = 2 * self.image.ranks().chunks;
        let bytes = self.image.block(at, 24 + most * (key_bytes + 8) + key_bytes)?;
        let mut fields = Cursor::new(&bytes[24..]);
        for i in 0..=count {
            let (size, mask) = (fields.u32()?, fields.u32()?);
            let offset = (0..rank).map(|_| fields.u64()).collect::<Found<Vec<u64>>>()?;
            let inner = fields.u64()?;
            // The last key stands behind the last chunk by the bytes of a value, or by more.
            let follows = before.is_empty() || offset > *before || (i == count && offset == *before);
            if !follows || (inner != 0 && i < count) {
                return Err(damaged("a B-tree of chunks is out of order"));
            }
            if i == count {
                return fields.rest_is_zero("a node of a B-tree of chunks");
            }
            let child = fields.place("a chunk")?;
            if own == 0 {
                before.clone_from(&offset);
                self.push(offset, child, size.into(), mask)?;
            } else {
                self.tree_v1(child, Some(own - 1), before)?;
            }
        }
        Ok(())
    }

    fn tree_v2(&mut self, header: u64, wide: bool) -> Found<()> {
        let (filtered, size_bytes) = (!self.dataset.filters.is_empty(), self.size_bytes(wide));
        let entry = if filtered { 8 + size_bytes + 4 } else { 8 };
        let rank = self.chunk.len();
        for record in records(self.image, header, 10 + u8::from(filtered), entry + 8 * rank)? {
            let mut fields = Cursor::new(&record);
            let (address, bytes, mask) = self.entry(&mut fields, size_bytes)?;
            let mut offset = Vec::with_capacity(rank);
            for chunk in self.chunk {
                offset.push(fields.u64()?.saturating_mul(*chunk));
            }
            if let Some(address) = address {
                self.push(offset, address, bytes, mask)?;
            }
        }
        Ok(())
    }

    /// Bytes that hold a stored chunk's size: eight since HDF5 2.0, before as many as the nominal size needs, and one.
    fn size_bytes(&self, wide: bool) -> usize {
        if wide { 8 } else { (1 + (self.nominal.max(1).ilog2() as usize + 8) / 8).min(8) }
    }

    fn entry_bytes(&self, wide: bool) -> usize {
        if self.dataset.filters.is_empty() { 8 } else { 8 + self.size_bytes(wide) + 4 }
    }

    /// Address, bytes and mask of one chunk.
    fn entry(&self, fields: &mut Cursor, size_bytes: usize) -> Found<(Option<u64>, u64, u32)> {
        let address = fields.address()?;
        if self.dataset.filters.is_empty() {
            return Ok((address, self.nominal, 0));
        }
        Ok((address, fields.uint(size_bytes)?, fields.u32()?))
    }

    fn fixed(&mut self, header: u64, wide: bool) -> Found<()> {
        let bytes = self.image.sealed(header, 28, b"FAHD")?;
        let mut fields = Cursor::new(&bytes);
        let client = u8::from(!self.dataset.filters.is_empty());
        let entry = self.entry_bytes(wide);
        fields.expect(0, "version of a fixed array")?;
        fields.expect(client, "kind of a fixed array")?;
        fields.expect(entry as u8, "entries of a fixed array")?;
        let (page_bits, count) = (u32::from(fields.u8()?), fields.u64()?);
        let Some(block) = fields.address()? else {
            return Ok(());
        };
        if count != self.count()? || page_bits > 32 {
            return Err(damaged(format!("a fixed array of {count} chunks")));
        }
        let page = 1u64 << page_bits;
        let pages = if count > page { count.div_ceil(page) } else { 0 };
        let flags = pages.div_ceil(8);
        let head = 4 + 1 + 1 + 8 + flags;
        let inline = if pages == 0 { count * entry as u64 } else { 0 };
        let bytes = self.image.sealed(block, head + inline + 4, b"FADB")?;
        let mut fields = Cursor::new(&bytes);
        fields.expect(0, "version of a fixed array")?;
        fields.expect(client, "kind of a fixed array")?;
        if fields.u64()? != header {
            return Err(damaged("a fixed array belongs to another one"));
        }
        let written = fields.take(flags as usize)?;
        if pages == 0 {
            return self.entries(&mut fields, 0, count, wide, None);
        }
        for number in 0..pages {
            let at = block + head + 4 + number * (page * entry as u64 + 4);
            if written[(number / 8) as usize] & (0x80 >> (number % 8)) != 0 {
                self.page(at, number * page, page.min(count - number * page), wide, None)?;
            }
        }
        Ok(())
    }

    /// A page of entries with its own checksum.
    fn page(&mut self, at: u64, first: u64, count: u64, wide: bool, slowest: Option<usize>) -> Found<()> {
        let stored = self.image.block(at, count * self.entry_bytes(wide) as u64 + 4)?;
        let body = stored.len() - 4;
        if lookup3(&stored[..body]).to_le_bytes() != stored[body..] {
            return Err(damaged("the checksum of a page of chunks does not fit"));
        }
        self.entries(&mut Cursor::new(&stored[..body]), first, count, wide, slowest)
    }

    fn entries(
        &mut self,
        fields: &mut Cursor,
        first: u64,
        count: u64,
        wide: bool,
        slowest: Option<usize>,
    ) -> Found<()> {
        let size_bytes = self.size_bytes(wide);
        for number in first..first + count {
            let (address, bytes, mask) = self.entry(fields, size_bytes)?;
            self.numbered(number, address, bytes, mask, slowest)?;
        }
        Ok(())
    }

    /// The extensible array: blocks of entries that double every second time.
    fn extensible(&mut self, header: u64, wide: bool) -> Found<()> {
        let bytes = self.image.sealed(header, 72, b"EAHD")?;
        let mut fields = Cursor::new(&bytes);
        let client = u8::from(!self.dataset.filters.is_empty());
        fields.expect(0, "version of an extensible array")?;
        fields.expect(client, "kind of an extensible array")?;
        fields.expect(self.entry_bytes(wide) as u8, "entries of an extensible array")?;
        let bits = u32::from(fields.u8()?);
        let (inline, least) = (u64::from(fields.u8()?), u64::from(fields.u8()?));
        let (pointers, page_bits) = (u64::from(fields.u8()?), u32::from(fields.u8()?));
        fields.take(6 * 8)?;
        let Some(block) = fields.address()? else {
            return Ok(());
        };
        let sane = bits <= 64 && least.is_power_of_two() && pointers.is_power_of_two() && page_bits <= 32;
        let supers = (1 + bits).checked_sub(least.max(1).ilog2());
        let (true, Some(supers)) = (sane, supers) else {
            return Err(damaged("an extensible array of impossible shape"));
        };
        let array = Extensible {
            header,
            client,
            wide,
            offset_bytes: (bits as usize).div_ceil(8),
            page: 1 << page_bits,
            slowest: self.dataset.extents.most.iter().position(|n| *n == u64::MAX),
        };
        // Super blocks whose data blocks the index block lists itself.
        let direct = 2 * pointers.ilog2();
        let (blocks, supers_listed) = (2 * (pointers - 1), u64::from(supers.saturating_sub(direct)));
        let entry = self.entry_bytes(wide) as u64;
        let bytes =
            self.image.sealed(block, 14 + inline * entry + 8 * (blocks + supers_listed) + 4, b"EAIB")?;
        let mut fields = array.frame(&bytes)?;
        self.entries(&mut fields, 0, inline, wide, array.slowest)?;
        let mut first = inline;
        for level in 0..supers {
            let (count, size) = (1u64 << (level / 2), (1u64 << level.div_ceil(2)).saturating_mul(least));
            if level < direct {
                for _ in 0..count {
                    let address = fields.address()?;
                    self.data_block(&array, address, (first, size), None)?;
                    first += size;
                }
            } else {
                let address = fields.address()?;
                self.super_block(&array, address, (first, size), count)?;
                first = first.saturating_add(size.saturating_mul(count));
            }
        }
        Ok(())
    }

    /// `count` blocks, each of `size` entries, the first of which is number `first`.
    fn super_block(
        &mut self,
        array: &Extensible,
        at: Option<u64>,
        (first, size): (u64, u64),
        count: u64,
    ) -> Found<()> {
        let Some(at) = at else {
            return Ok(());
        };
        let paged = size > array.page;
        let flags = if paged { (size / array.page).div_ceil(8) } else { 0 };
        let length = (14 + array.offset_bytes as u64).checked_add(count.saturating_mul(flags + 8));
        let length =
            length.and_then(|n| n.checked_add(4)).ok_or_else(|| damaged("an endless super block"))?;
        let bytes = self.image.sealed(at, length, b"EASB")?;
        let mut fields = array.frame(&bytes)?;
        fields.take(array.offset_bytes)?;
        let written = fields.take((count * flags) as usize)?.to_vec();
        for number in 0..count {
            let pages = paged.then(|| &written[(number * flags) as usize..((number + 1) * flags) as usize]);
            let address = fields.address()?;
            self.data_block(array, address, (first + number * size, size), pages)?;
        }
        Ok(())
    }

    fn data_block(
        &mut self,
        array: &Extensible,
        at: Option<u64>,
        (first, size): (u64, u64),
        pages: Option<&[u8]>,
    ) -> Found<()> {
        let Some(at) = at else {
            return Ok(());
        };
        let entry = self.entry_bytes(array.wide) as u64;
        let head = 14 + array.offset_bytes as u64;
        let inline = if pages.is_none() { size.saturating_mul(entry) } else { 0 };
        let length = head.checked_add(inline).and_then(|n| n.checked_add(4));
        let length = length.ok_or_else(|| damaged("an endless block of chunks"))?;
        let bytes = self.image.sealed(at, length, b"EADB")?;
        let mut fields = array.frame(&bytes)?;
        fields.take(array.offset_bytes)?;
        let Some(pages) = pages else {
            return self.entries(&mut fields, first, size, array.wide, array.slowest);
        };
        for number in 0..size / array.page {
            let at = at + head + 4 + number * (array.page * entry + 4);
            if pages[(number / 8) as usize] & (0x80 >> (number % 8)) != 0 {
                self.page(at, first + number * array.page, array.page, array.wide, array.slowest)?;
            }
        }
        Ok(())
    }
}

/// What the blocks of one extensible array share.
struct Extensible {
    header: u64,
    client: u8,
    wide: bool,
    offset_bytes: usize,
    /// Entries of a page.
    page: u64,
    /// The unlimited axis.
    slowest: Option<usize>,
}

impl Extensible {
    /// Checks version, kind and owner at the front of a block.
    fn frame<'b>(&self, bytes: &'b [u8]) -> Found<Cursor<'b>> {
        let mut fields = Cursor::new(bytes);
        fields.expect(0, "version of an extensible array")?;
        fields.expect(self.client, "kind of an extensible array")?;
        match fields.u64()? {
            owner if owner == self.header => Ok(fields),
            _ => Err(damaged("a block of chunks belongs to another array")),
        }
    }
}
