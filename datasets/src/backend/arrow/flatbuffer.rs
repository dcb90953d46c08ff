//! FlatBuffers as Arrow's files use them: tables whose fields are found through a list of offsets. Every access is checked.

use super::{Fault, Found, MOST_COLUMNS};

/// One table.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    buffer: &'a [u8],
    at: usize,
    /// where its list of offsets begins, and how long it is
    offsets: (usize, usize),
}

const BAD: Fault = Fault::Damaged("its description cannot be followed");

fn bytes<const N: usize>(buffer: &[u8], at: usize) -> Found<[u8; N]> {
    let end = at.checked_add(N).ok_or(BAD)?;
    buffer.get(at..end).and_then(|b| b.try_into().ok()).ok_or(BAD)
}

fn u32_at(buffer: &[u8], at: usize) -> Found<usize> {
    Ok(u32::from_le_bytes(bytes(buffer, at)?) as usize)
}

impl<'a> Table<'a> {
    pub fn root(buffer: &'a [u8]) -> Found<Self> {
        Self::at(buffer, u32_at(buffer, 0)?)
    }

    fn at(buffer: &'a [u8], at: usize) -> Found<Self> {
        let back = i64::from(i32::from_le_bytes(bytes(buffer, at)?));
        let offsets = usize::try_from(at as i64 - back).map_err(|_| BAD)?;
        let length = usize::from(u16::from_le_bytes(bytes(buffer, offsets)?));
        Ok(Table { buffer, at, offsets: (offsets, length) })
    }

    /// Where a field lies; `None` if it has its default.
    fn place(&self, field: usize) -> Found<Option<usize>> {
        let (offsets, length) = self.offsets;
        let entry = 4 + 2 * field;
        if entry + 2 > length {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(bytes(self.buffer, offsets + entry)?);
        Ok((offset != 0).then_some(self.at + usize::from(offset)))
    }

    pub fn u8(&self, field: usize) -> Found<u8> {
        Ok(self.place(field)?.map_or(Ok([0]), |at| bytes(self.buffer, at))?[0])
    }

    pub fn i16(&self, field: usize) -> Found<i16> {
        self.place(field)?.map_or(Ok(0), |at| Ok(i16::from_le_bytes(bytes(self.buffer, at)?)))
    }

    pub fn i32(&self, field: usize) -> Found<i32> {
        self.place(field)?.map_or(Ok(0), |at| Ok(i32::from_le_bytes(bytes(self.buffer, at)?)))
    }

    pub fn i64(&self, field: usize) -> Found<i64> {
        self.place(field)?.map_or(Ok(0), |at| Ok(i64::from_le_bytes(bytes(self.buffer, at)?)))
    }

    pub fn table(&self, field: usize) -> Found<Option<Table<'a>>> {
        self.place(field)?.map(|at| self.follow(at)).transpose()
    }

    fn follow(&self, at: usize) -> Found<Table<'a>> {
        Self::at(self.buffer, at.checked_add(u32_at(self.buffer, at)?).ok_or(BAD)?)
    }

    pub fn text(&self, field: usize) -> Found<String> {
        Ok(String::from_utf8_lossy(self.list(field, 1)?.1).into_owned())
    }

    /// The tables of a list, such as columns; none if there is no list.
    pub fn tables(&self, field: usize) -> Found<Vec<Table<'a>>> {
        let (first, list) = self.list(field, 4)?;
        if list.len() / 4 > MOST_COLUMNS {
            return Err(BAD);
        }
        (0..list.len() / 4).map(|i| self.follow(first + 4 * i)).collect()
    }

    /// Structures of `N` bytes each.
    pub fn structures<const N: usize>(&self, field: usize) -> Found<&'a [[u8; N]]> {
        Ok(self.list(field, N)?.1.as_chunks().0)
    }

    /// The elements of a list as bytes, and where they begin.
    fn list(&self, field: usize, size: usize) -> Found<(usize, &'a [u8])> {
        let Some(at) = self.place(field)? else { return Ok((0, &[])) };
        let at = at.checked_add(u32_at(self.buffer, at)?).ok_or(BAD)?;
        let length = u32_at(self.buffer, at)?.checked_mul(size).ok_or(BAD)?;
        let elements = self.buffer.get(at + 4..).and_then(|rest| rest.get(..length)).ok_or(BAD)?;
        Ok((at + 4, elements))
    }
}
