//! The messages that describe a dataset: extents, element type, storage, filters.

use super::fault::{Found, damaged, unsupported};
use super::filters::{Filter, read_filters};
use super::header::{Header, Message, kind};
use super::image::{Cursor, Image};
use crate::backend::Dtype;

/// Extents, and the largest they may become.
#[derive(Debug, Clone)]
pub(super) struct Extents {
    pub shape: Vec<u64>,
    /// `u64::MAX` stands for no limit.
    pub most: Vec<u64>,
}

/// Element type with what is needed to decode it.
#[derive(Debug, Clone)]
pub(super) struct Type {
    pub dtype: Dtype,
    pub size: u64,
    pub big_endian: bool,
    pub signed: bool,
    /// A string kept in the global heap.
    pub in_heap: bool,
}

/// Where the values are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Compact(Vec<u8>),
    Contiguous { address: Option<u64>, bytes: u64 },
    Chunked { chunk: Vec<u64>, index: Index },
}

/// How the chunks are found.
#[derive(Debug, Clone)]
pub(super) enum Index {
    Empty,
    TreeV1 { root: u64 },
    Single { address: u64, filtered: Option<(u64, u32)> },
    Implicit { address: u64 },
    FixedArray { header: u64, wide: bool },
    ExtensibleArray { header: u64, wide: bool },
    TreeV2 { header: u64, wide: bool },
}

/// One dataset as its header describes it.
#[derive(Debug, Clone)]
pub(super) struct Dataset {
    pub extents: Extents,
    pub kind: Type,
    pub place: Place,
    pub filters: Vec<Filter>,
    /// Chunks that reach over the edge are stored without filters.
    pub plain_edges: bool,
}

impl Dataset {
    /// Error: a message is missing, out of place, or contradicts another.
    pub fn read(image: &Image, header: &Header) -> Found<Dataset> {
        header.allows(&[
            kind::DATASPACE,
            kind::DATATYPE,
            kind::LAYOUT,
            kind::FILTERS,
            kind::EXTERNAL_FILES,
            kind::CONTINUATION,
        ])?;
        let must =
            |kind| header.only(kind)?.ok_or_else(|| damaged("a dataset without extents, type or storage"));
        let (space, kind_of, layout) = (must(kind::DATASPACE)?, must(kind::DATATYPE)?, must(kind::LAYOUT)?);
        if space.is_shared() || layout.is_shared() {
            return Err(unsupported("shared header messages"));
        }
        let extents = read_extents(&space.body)?;
        let element = read_committed(image, kind_of)?;
        let filters = match header.only(kind::FILTERS)? {
            None => Vec::new(),
            Some(m) if m.is_shared() => return Err(unsupported("shared header messages")),
            Some(m) => read_filters(&m.body, element.size)?,
        };
        if header.has(kind::EXTERNAL_FILES) {
            return Err(unsupported("values in other files (external storage)"));
        }
        let (place, plain_edges) = read_place(&layout.body, &extents, element.size)?;
        if !filters.is_empty() && !matches!(place, Place::Chunked { .. }) {
            return Err(damaged("filters on values that are not in chunks"));
        }
        Ok(Dataset { extents, kind: element, place, filters, plain_edges })
    }
}

fn read_extents(body: &[u8]) -> Found<Extents> {
    let mut fields = Cursor::new(body);
    let version = fields.u8()?;
    let (rank, flags) = (usize::from(fields.u8()?), fields.u8()?);
    let null = match version {
        1 => {
            if fields.take(5)? != [0; 5] {
                return Err(damaged("reserved bytes of the extents are set"));
            }
            false
        }
        2 => match fields.u8()? {
            0 if rank == 0 => false,
            1 => false,
            2 if rank == 0 => true,
            other => return Err(damaged(format!("extents of kind {other} and rank {rank}"))),
        },
        other => return Err(damaged(format!("version {other} of the extents"))),
    };
    if rank > 32 || flags > 1 {
        return Err(damaged(format!("extents of rank {rank} with flags {flags}")));
    }
    let mut list = |n: usize| (0..n).map(|_| fields.u64()).collect::<Found<Vec<u64>>>();
    let shape = if null { vec![0] } else { list(rank)? };
    let most = if flags == 1 { list(rank)? } else { shape.clone() };
    fields.finish("the message of the extents")?;
    if !null && shape.iter().zip(&most).any(|(n, most)| n > most) {
        return Err(damaged("extents beyond their own limit"));
    }
    Ok(Extents { shape, most })
}

/// A type, or the committed type that the message refers to.
fn read_committed(image: &Image, message: &Message) -> Found<Type> {
    if !message.is_shared() {
        return read_type(&mut Cursor::new(&message.body));
    }
    let mut fields = Cursor::new(&message.body);
    match (fields.u8()?, fields.u8()?) {
        (1, _) => {
            fields.take(6)?;
        }
        (2, _) | (3, 2) => {}
        (3, 1) => return Err(unsupported("shared header messages")),
        _ => return Err(damaged("a reference to a type that cannot be")),
    }
    let at = fields.place("a committed type")?;
    // The type's own header belongs to the walk; here it is looked at once more.
    let header = image.borrowing(|image| Header::read(image, at))?;
    match header.only(kind::DATATYPE)? {
        Some(m) if !m.is_shared() => read_type(&mut Cursor::new(&m.body)),
        _ => Err(damaged("a committed type without a type")),
    }
}

/// Reads a type at the front of `fields`.
fn read_type(fields: &mut Cursor) -> Found<Type> {
    let (head, bits, size) = (fields.u8()?, fields.uint(3)?, u64::from(fields.u32()?));
    if size == 0 || head >> 4 == 0 || head >> 4 > 5 {
        return Err(damaged(format!("a type of version {} and {size} bytes", head >> 4)));
    }
    let mut kind = Type {
        dtype: Dtype::Other(String::new()),
        size,
        big_endian: bits & 1 == 1,
        signed: bits & 8 != 0,
        in_heap: false,
    };
    kind.dtype = match head & 15 {
        0 => integer(fields, bits, size)?,
        1 => float(fields, bits, size)?,
        3 => Dtype::Text,
        8 => {
            // Only integers have names; another enumeration inside could go on for ever.
            let base = match fields.clone().u8()? & 15 {
                0 => read_type(fields)?,
                _ => return Err(damaged("an enumeration of something else than integers")),
            };
            kind.signed = base.signed;
            enumeration(fields, head >> 4, bits & 0xffff, &base)?
        }
        9 if bits & 15 == 1 => {
            kind.in_heap = true;
            Dtype::Text
        }
        other => {
            let names = [
                "",
                "",
                "time",
                "",
                "bits",
                "opaque",
                "compound",
                "reference",
                "",
                "variable length",
                "array",
                "complex",
            ];
            match names.get(usize::from(other)) {
                Some(name) => Dtype::Other((*name).into()),
                None => return Err(damaged(format!("a type of class {other}"))),
            }
        }
    };
    Ok(kind)
}

fn integer(fields: &mut Cursor, bits: u64, size: u64) -> Found<Dtype> {
    let (offset, precision) = (fields.u16()?, u64::from(fields.u16()?));
    if bits & !0b1111 != 0 || precision == 0 || u64::from(offset) + precision > size * 8 {
        return Err(damaged("an integer type that contradicts itself"));
    }
    let whole = offset == 0 && precision == size * 8 && matches!(size, 1 | 2 | 4 | 8);
    Ok(if whole { Dtype::Int } else { Dtype::Other(format!("integer of {precision} bits")) })
}

fn float(fields: &mut Cursor, bits: u64, size: u64) -> Found<Dtype> {
    let (offset, precision) = (fields.u16()?, fields.u16()?);
    let (exponent, exponent_bits) = (fields.u8()?, fields.u8()?);
    let (mantissa, mantissa_bits, bias) = (fields.u8()?, fields.u8()?, fields.u32()?);
    let layout = (offset, precision, exponent, exponent_bits, mantissa, mantissa_bits, bias);
    match (size, bits & !1) {
        (4, 0x1f20) if layout == (0, 32, 23, 8, 0, 23, 127) => Ok(Dtype::F32),
        (8, 0x3f20) if layout == (0, 64, 52, 11, 0, 52, 1023) => Ok(Dtype::F64),
        // Half precision, bfloat16 and long double are whole, and none of these.
        (1 | 2 | 10 | 12 | 16, _) => Ok(Dtype::Other(format!("float of {precision} bits"))),
        _ => Err(damaged("a float type that is none of IEEE's")),
    }
}

/// `FALSE` = 0 and `TRUE` = 1 is what h5py makes of a boolean.
fn enumeration(fields: &mut Cursor, version: u8, members: u64, base: &Type) -> Found<Dtype> {
    let mut names = Vec::new();
    for _ in 0..members {
        let mut name = Vec::new();
        loop {
            match fields.u8()? {
                0 => break,
                byte => name.push(byte),
            }
        }
        if version < 3 {
            fields.take((8 - (name.len() + 1) % 8) % 8)?;
        }
        names.push(String::from_utf8_lossy(&name).into_owned());
    }
    let values = (0..members).map(|_| fields.uint(base.size.min(8) as usize)).collect::<Found<Vec<u64>>>()?;
    if base.dtype == Dtype::Int && base.size == 1 && names == ["FALSE", "TRUE"] && values == [0, 1] {
        return Ok(Dtype::Bool);
    }
    let some: Vec<String> = names.into_iter().take(4).collect();
    Ok(Dtype::Other(format!("enumeration of {members} ({})", some.join(", "))))
}

fn read_place(body: &[u8], extents: &Extents, element: u64) -> Found<(Place, bool)> {
    let mut fields = Cursor::new(body);
    let version = fields.u8()?;
    match version {
        1 | 2 => return Err(unsupported(format!("storage message version {version} (before HDF5 1.6)"))),
        3..=5 => {}
        other if other < 16 => return Err(unsupported(format!("storage message version {other}"))),
        other => return Err(damaged(format!("storage message version {other}"))),
    }
    let bytes = extents.shape.iter().try_fold(element, |p, n| p.checked_mul(*n));
    match fields.u8()? {
        0 => {
            let size = fields.u16()?;
            let values = fields.take(size.into())?.to_vec();
            fields.finish("the storage message")?;
            if bytes != Some(size.into()) {
                return Err(damaged(format!("{size} bytes are stored for extents {:?}", extents.shape)));
            }
            Ok((Place::Compact(values), false))
        }
        1 => {
            let (address, size) = (fields.address()?, fields.u64()?);
            fields.finish("the storage message")?;
            if bytes != Some(size) {
                return Err(damaged(format!("{size} bytes are stored for extents {:?}", extents.shape)));
            }
            Ok((Place::Contiguous { address, bytes: size }, false))
        }
        2 if version == 3 => {
            let rank = usize::from(fields.u8()?);
            let root = fields.address()?;
            let dims = (0..rank).map(|_| fields.uint(4)).collect::<Found<Vec<u64>>>()?;
            fields.finish("the storage message")?;
            let index = root.map_or(Index::Empty, |root| Index::TreeV1 { root });
            Ok((chunked(dims, index, extents, element)?, false))
        }
        2 => read_chunked(&mut fields, version, extents, element),
        3 => Err(unsupported("a virtual dataset (its values are those of other datasets)")),
        other => Err(damaged(format!("storage of kind {other}"))),
    }
}

/// Chunked storage as of HDF5 1.10 (version 4) and 2.0 (version 5).
fn read_chunked(fields: &mut Cursor, version: u8, extents: &Extents, element: u64) -> Found<(Place, bool)> {
    let (flags, rank, width) = (fields.u8()?, usize::from(fields.u8()?), usize::from(fields.u8()?));
    if flags > 3 || !(1..=8).contains(&width) {
        return Err(damaged("chunked storage that cannot be"));
    }
    let dims = (0..rank).map(|_| fields.uint(width)).collect::<Found<Vec<u64>>>()?;
    let kind = fields.u8()?;
    let wide = version == 5;
    let filtered = if kind == 1 && flags & 2 != 0 { Some((fields.u64()?, fields.u32()?)) } else { None };
    match kind {
        1 | 2 => {}
        3 => drop(fields.take(1)?),
        4 => drop(fields.take(5)?),
        5 => drop(fields.take(6)?),
        other => return Err(unsupported(format!("chunk index of kind {other}"))),
    }
    let index = match (fields.address()?, kind) {
        (None, _) => Index::Empty,
        (Some(address), 1) => Index::Single { address, filtered },
        (Some(address), 2) => Index::Implicit { address },
        (Some(header), 3) => Index::FixedArray { header, wide },
        (Some(header), 4) => Index::ExtensibleArray { header, wide },
        (Some(header), _) => Index::TreeV2 { header, wide },
    };
    Ok((chunked(dims, index, extents, element)?, flags & 1 != 0))
}

fn chunked(mut dims: Vec<u64>, index: Index, extents: &Extents, element: u64) -> Found<Place> {
    let fits = dims.pop() == Some(element) && dims.len() == extents.shape.len() && !dims.is_empty();
    let small = dims.iter().zip(&extents.most).all(|(c, most)| *c > 0 && (c <= most || *most == 0));
    let bytes = dims.iter().try_fold(element, |p, n| p.checked_mul(*n));
    if !fits || !small || bytes.is_none() {
        return Err(damaged(format!("chunks of {dims:?} for extents {:?}", extents.shape)));
    }
    Ok(Place::Chunked { chunk: dims, index })
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::*;

    #[test]
    fn a_virtual_dataset_may_have_its_values_in_the_same_file() {
        let fault = read_place(&[4, 3], &Extents { shape: vec![1], most: vec![1] }, 4).unwrap_err();
        assert!(matches!(fault, Fault::Unsupported(what) if what.contains("those of other datasets")));
    }
}
