//! The bytes of one file, read by address, and who has claimed which of them.
//!
//! Every structure that is followed claims its bytes. Claims may neither overlap nor add up to more than the file, so a
//! damaged or crafted file cannot send a reader in circles, and one wrong address is seen as two owners of one place.

use super::fault::{Fault, Found, damaged};
use std::cell::RefCell;
use std::io::{Read as _, Seek as _, SeekFrom};

/// Where the bytes come from.
pub(super) enum Source {
    File(std::fs::File),
    Memory(Vec<u8>),
}

/// A file's bytes; addresses count from the superblock.
pub(super) struct Image {
    source: Source,
    /// Bytes before the superblock (a user block).
    base: u64,
    /// First address behind the file.
    end: u64,
    window: RefCell<(u64, Vec<u8>)>,
    claims: RefCell<Vec<(u64, u64)>>,
    claimed: RefCell<u64>,
    ranks: Ranks,
}

/// Half of the entries in a full node of the old B-trees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranks {
    /// Symbols in a leaf of a group.
    pub leaves: u64,
    /// Children of a node of a group.
    pub nodes: u64,
    /// Chunks of a node of a dataset.
    pub chunks: u64,
}

/// Small reads are served from one window of this size.
const WINDOW: u64 = 1 << 12;

/// Most bytes that one look at a structure of another owner may take.
const MOST_BORROWED: u64 = 1 << 16;

impl Image {
    pub fn new(source: Source, base: u64, length: u64) -> Self {
        Image {
            source,
            base,
            end: length.saturating_sub(base),
            window: RefCell::default(),
            claims: RefCell::default(),
            claimed: RefCell::new(0),
            ranks: Ranks { leaves: 4, nodes: 16, chunks: 32 },
        }
    }

    /// Lowers the end to what the superblock says.
    pub fn ends_at(&mut self, end: u64) {
        self.end = self.end.min(end);
    }

    pub fn ranks(&self) -> Ranks {
        self.ranks
    }

    pub fn set_ranks(&mut self, ranks: Ranks) {
        self.ranks = ranks;
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    fn inside(&self, at: u64, len: u64) -> Found<()> {
        match at.checked_add(len) {
            Some(stop) if stop <= self.end => Ok(()),
            _ => Err(damaged(format!("address {at} + {len} lies beyond the end of the file, {}", self.end))),
        }
    }

    /// Bytes at an address.
    pub fn read(&self, at: u64, len: u64) -> Found<Vec<u8>> {
        self.inside(at, len)?;
        match &self.source {
            // `inside` has compared with the length of this very vector.
            Source::Memory(bytes) => {
                let start = (self.base + at) as usize;
                Ok(bytes[start..start + len as usize].to_vec())
            }
            Source::File(file) if len >= WINDOW => fetch(file, self.base + at, len),
            Source::File(file) => {
                let mut window = self.window.borrow_mut();
                let held = window.0..window.0 + window.1.len() as u64;
                if !(held.contains(&at) && at + len <= held.end) {
                    window.1 = fetch(file, self.base + at, WINDOW.min(self.end - at))?;
                    window.0 = at;
                }
                let start = (at - window.0) as usize;
                Ok(window.1[start..start + len as usize].to_vec())
            }
        }
    }

    /// Makes `len` bytes the property of one structure.
    pub fn claim(&self, at: u64, len: u64) -> Found<()> {
        self.inside(at, len)?;
        let mut claimed = self.claimed.borrow_mut();
        *claimed += len;
        if *claimed > self.end {
            return Err(damaged("its structures claim more bytes than the file has"));
        }
        if len > 0 {
            self.claims.borrow_mut().push((at, at + len));
        }
        Ok(())
    }

    /// Claims bytes and reads them.
    pub fn block(&self, at: u64, len: u64) -> Found<Vec<u8>> {
        self.claim(at, len)?;
        self.read(at, len)
    }

    /// Claims and reads a block that begins with `signature` and ends with a checksum; returns what lies between.
    pub fn sealed(&self, at: u64, len: u64, signature: &[u8; 4]) -> Found<Vec<u8>> {
        let mut bytes = self.block(at, len)?;
        open_seal(&mut bytes, signature)?;
        bytes.drain(..4);
        Ok(bytes)
    }

    /// Reads a small structure that belongs to another one: what it claims is forgotten.
    pub fn borrowing<T>(&self, read: impl FnOnce(&Image) -> Found<T>) -> Found<T> {
        let held = std::mem::take(&mut *self.claims.borrow_mut());
        let claimed = self.claimed.replace(self.end.saturating_sub(MOST_BORROWED));
        let read = read(self);
        self.claims.replace(held);
        self.claimed.replace(claimed);
        read
    }

    /// Error: two claims overlap. The list is given up.
    pub fn check_claims(&self) -> Found<()> {
        let mut claims = std::mem::take(&mut *self.claims.borrow_mut());
        claims.sort_unstable();
        match claims.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            None => Ok(()),
            Some(pair) => Err(damaged(format!("two structures claim the bytes at address {}", pair[1].0))),
        }
    }
}

fn fetch(mut file: &std::fs::File, at: u64, len: u64) -> Found<Vec<u8>> {
    let fail = |e: std::io::Error| Fault::Io(e.to_string());
    let mut bytes = vec![0; len as usize];
    file.seek(SeekFrom::Start(at)).map_err(fail)?;
    file.read_exact(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Checks signature and final checksum, and removes the checksum.
pub(super) fn open_seal(bytes: &mut Vec<u8>, signature: &[u8; 4]) -> Found<()> {
    let name = String::from_utf8_lossy(signature).into_owned();
    if bytes.len() < 8 || &bytes[..4] != signature {
        return Err(damaged(format!("expected a block {name}, got other bytes")));
    }
    let body = bytes.len() - 4;
    if lookup3(&bytes[..body]).to_le_bytes() != bytes[body..] {
        return Err(damaged(format!("the checksum of a block {name} does not fit")));
    }
    bytes.truncate(body);
    Ok(())
}

/// Reads integers from the front of a slice.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes }
    }

    pub fn take(&mut self, n: usize) -> Found<&'a [u8]> {
        match self.bytes.split_at_checked(n) {
            None => Err(damaged("a structure is shorter than its fields")),
            Some((front, rest)) => {
                self.bytes = rest;
                Ok(front)
            }
        }
    }

    /// Unsigned integer of `n` <= 8 bytes.
    pub fn uint(&mut self, n: usize) -> Found<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)))
    }

    pub fn u8(&mut self) -> Found<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn u16(&mut self) -> Found<u16> {
        Ok(self.uint(2)? as u16)
    }

    pub fn u32(&mut self) -> Found<u32> {
        Ok(self.uint(4)? as u32)
    }

    pub fn u64(&mut self) -> Found<u64> {
        self.uint(8)
    }

    /// An address; all ones stand for none.
    pub fn address(&mut self) -> Found<Option<u64>> {
        Ok(Some(self.u64()?).filter(|a| *a != u64::MAX))
    }

    /// An address that must be there.
    pub fn place(&mut self, what: &str) -> Found<u64> {
        self.address()?.ok_or_else(|| damaged(format!("{what} has no address")))
    }

    /// Error unless the next byte is `expected`.
    pub fn expect(&mut self, expected: u8, what: &str) -> Found<()> {
        match self.u8()? {
            got if got == expected => Ok(()),
            got => Err(damaged(format!("{what}: expected {expected}, got {got}"))),
        }
    }

    /// Error unless what is left is zero, as behind the last entry of a node.
    pub fn rest_is_zero(&self, what: &str) -> Found<()> {
        match self.bytes.iter().all(|b| *b == 0) {
            true => Ok(()),
            false => Err(damaged(format!("{what} holds more than it counts"))),
        }
    }

    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Error unless less than eight bytes, all of them zero, are left.
    pub fn finish(&self, what: &str) -> Found<()> {
        if self.bytes.len() < 8 && self.bytes.iter().all(|b| *b == 0) {
            return Ok(());
        }
        Err(damaged(format!("{what} is longer than its fields")))
    }
}

/// Bob Jenkins' lookup3, the checksum of HDF5's metadata.
pub(super) fn lookup3(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let word = |piece: &[u8], i: usize| {
        (0..4).fold(0, |v, k| v | u32::from(piece.get(4 * i + k).copied().unwrap_or(0)) << (8 * k))
    };
    let mut rest = bytes;
    while rest.len() > 12 {
        a = a.wrapping_add(word(rest, 0));
        b = b.wrapping_add(word(rest, 1));
        c = c.wrapping_add(word(rest, 2));
        for (shift, turn) in [(4, 0), (6, 1), (8, 2), (16, 0), (19, 1), (4, 2)] {
            let (x, y, z) = match turn {
                0 => (&mut a, &mut c, b),
                1 => (&mut b, &mut a, c),
                _ => (&mut c, &mut b, a),
            };
            *x = x.wrapping_sub(*y) ^ y.rotate_left(shift);
            *y = y.wrapping_add(z);
        }
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    a = a.wrapping_add(word(rest, 0));
    b = b.wrapping_add(word(rest, 1));
    c = c.wrapping_add(word(rest, 2));
    for (shift, turn) in [(14, 0), (11, 1), (25, 2), (16, 0), (4, 1), (14, 2), (24, 0)] {
        let (x, y) = match turn {
            0 => (&mut c, b),
            1 => (&mut a, c),
            _ => (&mut b, a),
        };
        *x = (*x ^ y).wrapping_sub(y.rotate_left(shift));
    }
    c
}
