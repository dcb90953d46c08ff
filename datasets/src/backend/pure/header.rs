//! Superblock and object headers: the messages of one object, complete and counted.

use super::fault::{Found, damaged, unsupported};
use super::image::{Cursor, Image, Ranks, lookup3, open_seal};

/// Kinds of header messages that this reader looks into.
pub(super) mod kind {
    pub const NIL: u8 = 0x00;
    pub const DATASPACE: u8 = 0x01;
    pub const LINK_INFO: u8 = 0x02;
    pub const DATATYPE: u8 = 0x03;
    pub const LINK: u8 = 0x06;
    pub const EXTERNAL_FILES: u8 = 0x07;
    pub const LAYOUT: u8 = 0x08;
    pub const FILTERS: u8 = 0x0b;
    pub const CONTINUATION: u8 = 0x10;
    pub const SYMBOL_TABLE: u8 = 0x11;
    pub const RANKS: u8 = 0x13;
    pub const DRIVER: u8 = 0x14;
    pub const LINK_COUNT: u8 = 0x16;
    pub const CACHE_IMAGE: u8 = 0x18;
    /// Fill values old and new, comment, times old and new, attributes and their index.
    pub const ANYWHERE: [u8; 8] = [0x04, 0x05, 0x0c, 0x0d, 0x0e, 0x12, 0x15, 0x16];
    pub const GROUP_INFO: u8 = 0x0a;
}

/// One message of an object header.
pub(super) struct Message {
    pub kind: u8,
    pub flags: u8,
    pub body: Vec<u8>,
}

impl Message {
    /// The body is a reference to a message of another object.
    pub fn is_shared(&self) -> bool {
        self.flags & 2 != 0
    }
}

/// All messages of one object.
pub(super) struct Header {
    pub messages: Vec<Message>,
    /// How many hard links lead here.
    pub links: u32,
}

impl Header {
    /// The only message of a kind; `None` if there is none. Error: several.
    pub fn only(&self, kind: u8) -> Found<Option<&Message>> {
        let mut all = self.messages.iter().filter(|m| m.kind == kind);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => Err(damaged(format!("an object header has two messages of kind {kind:#04x}"))),
        }
    }

    pub fn has(&self, kind: u8) -> bool {
        self.messages.iter().any(|m| m.kind == kind)
    }

    /// Error: a message that has no place in an object of this sort.
    pub fn allows(&self, kinds: &[u8]) -> Found<()> {
        let known =
            |m: &Message| m.kind == kind::NIL || kind::ANYWHERE.contains(&m.kind) || kinds.contains(&m.kind);
        match self.messages.iter().find(|m| !known(m)) {
            None => Ok(()),
            Some(m) if m.kind > kind::CACHE_IMAGE => {
                Err(unsupported(format!("header message {:#04x}, which this program does not know", m.kind)))
            }
            Some(m) => Err(damaged(format!("header message {:#04x} does not belong to this object", m.kind))),
        }
    }

    /// Reads the object header at `at`.
    pub fn read(image: &Image, at: u64) -> Found<Header> {
        if image.read(at, 4)? == b"OHDR" { Self::read_v2(image, at) } else { Self::read_v1(image, at) }
    }

    fn read_v1(image: &Image, at: u64) -> Found<Header> {
        let prefix = image.block(at, 16)?;
        let mut fields = Cursor::new(&prefix);
        fields.expect(1, "version of an object header")?;
        fields.expect(0, "reserved byte of an object header")?;
        let (count, links, size) = (fields.u16()?, fields.u32()?, fields.u32()?);
        let mut header = Header { messages: Vec::new(), links };
        let mut blocks = vec![(at + 16, u64::from(size))];
        while let Some((at, len)) = blocks.pop() {
            let bytes = image.block(at, len)?;
            let mut fields = Cursor::new(&bytes);
            while fields.left() > 0 {
                let (kind, size, flags) = (fields.u16()?, fields.u16()?, fields.u8()?);
                if fields.take(3)? != [0; 3] || size % 8 != 0 || kind > u16::from(kind::CACHE_IMAGE) {
                    return Err(damaged("an object header holds a message that cannot be"));
                }
                header.push(kind as u8, flags, fields.take(size.into())?, &mut blocks)?;
            }
        }
        // Without checksums, a message that became void by one byte would be an absence.
        let void = |m: &Message| m.kind == kind::NIL && m.body.iter().any(|b| *b != 0);
        if header.messages.len() != usize::from(count) || header.messages.iter().any(void) {
            return Err(damaged("an object header does not hold the messages that it counts"));
        }
        Ok(header)
    }

    fn read_v2(image: &Image, at: u64) -> Found<Header> {
        let start = image.read(at, 6)?;
        let mut fields = Cursor::new(&start[4..]);
        fields.expect(2, "version of an object header")?;
        let flags = fields.u8()?;
        let (times, phases) = (usize::from(flags >> 5 & 1) * 16, usize::from(flags >> 4 & 1) * 4);
        let width = 1 << (flags & 3);
        let prefix = 6 + times + phases + width;
        let start = image.read(at, prefix as u64)?;
        let size = Cursor::new(&start[prefix - width..]).uint(width)?;
        let whole =
            size.checked_add(prefix as u64 + 4).ok_or_else(|| damaged("an object header without end"))?;
        let mut bytes = image.block(at, whole)?;
        open_seal(&mut bytes, b"OHDR")?;
        let mut header = Header { messages: Vec::new(), links: 1 };
        let mut blocks = Vec::new();
        header.messages_v2(&bytes[prefix..], flags, &mut blocks)?;
        while let Some((at, len)) = blocks.pop() {
            let bytes = image.sealed(at, len, b"OCHK")?;
            header.messages_v2(&bytes, flags, &mut blocks)?;
        }
        if let Some(count) = header.only(kind::LINK_COUNT)? {
            let mut fields = Cursor::new(&count.body);
            fields.expect(0, "version of a link count")?;
            header.links = fields.u32()?;
        }
        Ok(header)
    }

    fn messages_v2(&mut self, bytes: &[u8], flags: u8, blocks: &mut Vec<(u64, u64)>) -> Found<()> {
        let order = usize::from(flags >> 2 & 1) * 2;
        let mut fields = Cursor::new(bytes);
        // What is too short for another message is a gap.
        while fields.left() >= 4 + order {
            let (kind, size, flags) = (fields.u8()?, fields.u16()?, fields.u8()?);
            fields.take(order)?;
            self.push(kind, flags, fields.take(size.into())?, blocks)?;
        }
        Ok(())
    }

    fn push(&mut self, kind: u8, flags: u8, body: &[u8], blocks: &mut Vec<(u64, u64)>) -> Found<()> {
        if kind == kind::CONTINUATION {
            let mut fields = Cursor::new(body);
            blocks.push((fields.place("a continuation")?, fields.u64()?));
        }
        self.messages.push(Message { kind, flags, body: body.to_vec() });
        Ok(())
    }
}

/// What the superblock says.
pub(super) struct Superblock {
    /// End of the file as it was written, counted from byte 0.
    pub end: u64,
    /// Object header of the root group.
    pub root: u64,
    /// Symbol table of the root group as the superblock repeats it: B-tree and heap.
    pub cached: Option<(u64, u64)>,
    /// Object header of the superblock's extension.
    pub extension: Option<u64>,
    /// Sizes of the old B-trees, where the superblock says them.
    pub ranks: Option<Ranks>,
}

impl Superblock {
    /// Reads the superblock, which is at address 0; `base` is its distance from the file's first byte.
    pub fn read(image: &Image, base: u64) -> Found<Superblock> {
        let start = image.read(0, 9)?;
        match start[8] {
            0 | 1 => Self::read_old(image, base, start[8]),
            2 | 3 => Self::read_new(image, base),
            version => Err(unsupported(format!("superblock version {version}"))),
        }
    }

    fn read_old(image: &Image, base: u64, version: u8) -> Found<Superblock> {
        let bytes = image.block(0, 96 + 4 * u64::from(version))?;
        let mut fields = Cursor::new(&bytes[9..]);
        for what in ["free space", "root group", "reserved byte", "shared messages"] {
            fields.expect(0, what)?;
        }
        widths(&mut fields)?;
        fields.u8()?;
        let (leaves, nodes) = (fields.u16()?.into(), fields.u16()?.into());
        fields.u32()?;
        let chunks = if version == 1 { u64::from(fields.u32()? as u16) } else { 32 };
        if fields.u64()? != base {
            return Err(damaged("the superblock does not know where it lies"));
        }
        fields.address()?;
        let end = fields.u64()?;
        if fields.address()?.is_some() {
            return Err(unsupported("a file of several parts (family or multi driver)"));
        }
        fields.u64()?;
        let root = fields.place("the root group")?;
        let cache = fields.u32()?;
        fields.u32()?;
        let cached = (fields.u64()?, fields.u64()?);
        match cache {
            0 | 1 => Ok(Superblock {
                end,
                root,
                cached: Some(cached).filter(|_| cache == 1),
                extension: None,
                ranks: Some(Ranks { leaves, nodes, chunks }),
            }),
            other => Err(damaged(format!("the root group's entry is of kind {other}"))),
        }
    }

    fn read_new(image: &Image, base: u64) -> Found<Superblock> {
        // Its length depends on them, and so does the place of its checksum.
        widths(&mut Cursor::new(&image.read(0, 11)?[9..]))?;
        let bytes = image.block(0, 48)?;
        if lookup3(&bytes[..44]).to_le_bytes() != bytes[44..] {
            return Err(damaged("the checksum of the superblock does not fit"));
        }
        let mut fields = Cursor::new(&bytes[11..44]);
        if fields.u8()? & 5 != 0 {
            return Err(unsupported(
                "the mark of a writer that did not close it (`h5clear -s` takes it away)",
            ));
        }
        if fields.u64()? != base {
            return Err(damaged("the superblock does not know where it lies"));
        }
        let extension = fields.address()?;
        let end = fields.u64()?;
        Ok(Superblock { end, root: fields.place("the root group")?, cached: None, extension, ranks: None })
    }
}

/// Sizes of addresses and lengths: 8 and 8.
fn widths(fields: &mut Cursor) -> Found<()> {
    match (fields.u8()?, fields.u8()?) {
        (8, 8) => Ok(()),
        (a @ (2 | 4 | 8 | 16 | 32), l @ (2 | 4 | 8 | 16 | 32)) => {
            Err(unsupported(format!("addresses of {a} and lengths of {l} bytes")))
        }
        (a, l) => Err(damaged(format!("addresses of {a} and lengths of {l} bytes"))),
    }
}
