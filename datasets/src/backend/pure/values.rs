//! From stored bytes to numbers, chunk by chunk.

use super::chunks::Stored;
use super::fault::{Found, damaged, unsupported};
use super::filters::{self, Filter};
use super::image::{Cursor, Image};
use super::messages::{Dataset, Place, Type};
use super::tree::Column;
use crate::backend::Dtype;

/// The longest string that is read.
const LONGEST_STRING: u64 = 1 << 16;

/// Bytes of contiguous values that are fetched at a time.
const PIECE: u64 = 1 << 20;

/// All `n` values of a column of floats as f32.
pub(super) fn read_f32(image: &Image, column: &Column, n: usize) -> Found<Vec<f32>> {
    let kind = &column.dataset.kind;
    match (&kind.dtype, kind.big_endian) {
        (Dtype::F32, false) => read(image, column, n, |b: [u8; 4]| f32::from_le_bytes(b)),
        (Dtype::F32, true) => read(image, column, n, |b: [u8; 4]| f32::from_be_bytes(b)),
        (_, false) => read(image, column, n, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
        (_, true) => read(image, column, n, |b: [u8; 8]| f64::from_be_bytes(b) as f32),
    }
}

/// All `n` values of a column of numbers as f64.
pub(super) fn read_f64(image: &Image, column: &Column, n: usize) -> Found<Vec<f64>> {
    let kind = &column.dataset.kind;
    match (&kind.dtype, kind.size) {
        (Dtype::F32, _) => Ok(read_f32(image, column, n)?.into_iter().map(f64::from).collect()),
        (Dtype::F64, _) if kind.big_endian => read(image, column, n, f64::from_be_bytes),
        (Dtype::F64, _) => read(image, column, n, f64::from_le_bytes),
        (_, 1) => read(image, column, n, |b: [u8; 1]| integer(kind, b)),
        (_, 2) => read(image, column, n, |b: [u8; 2]| integer(kind, b)),
        (_, 4) => read(image, column, n, |b: [u8; 4]| integer(kind, b)),
        (_, 8) => read(image, column, n, |b: [u8; 8]| integer(kind, b)),
        (_, other) => Err(damaged(format!("numbers of {other} bytes"))),
    }
}

fn integer<const W: usize>(kind: &Type, mut bytes: [u8; W]) -> f64 {
    if kind.big_endian {
        bytes.reverse();
    }
    let value = bytes.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    if kind.signed {
        let unused = 64 - 8 * W as u32;
        ((value << unused) as i64 >> unused) as f64
    } else {
        value as f64
    }
}

/// A string that stands alone in its dataset.
pub(super) fn read_string(image: &Image, column: &Column) -> Found<String> {
    let size = column.dataset.kind.size;
    if size > LONGEST_STRING {
        return Err(unsupported(format!("a string of {size} bytes")));
    }
    let mut bytes = match &column.dataset.place {
        Place::Compact(bytes) => bytes.clone(),
        Place::Contiguous { address: Some(address), .. } => image.read(*address, size)?,
        Place::Contiguous { address: None, .. } => return Err(damaged("a string without an address")),
        Place::Chunked { chunk, .. } => {
            let nominal = chunk.iter().product::<u64>() * size;
            let first = column.chunks.first().ok_or_else(|| damaged("a string without its chunk"))?;
            let stored = image.read(first.address, first.bytes)?;
            let filters = filters_of(&column.dataset, chunk, first);
            let mut bytes = filters::decode(filters, first.mask, stored, nominal as usize, size as usize)?;
            bytes.truncate(size as usize);
            bytes
        }
    };
    if column.dataset.kind.in_heap {
        bytes = in_global_heap(image, &bytes)?;
    }
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).trim_end_matches(' ').to_string())
}

/// A string in the global heap, by its length, the collection's address, and its number there.
fn in_global_heap(image: &Image, reference: &[u8]) -> Found<Vec<u8>> {
    let mut fields = Cursor::new(reference);
    let (length, collection, number) = (u64::from(fields.u32()?), fields.u64()?, fields.u32()?);
    if length == 0 {
        return Ok(Vec::new());
    }
    let head = image.read(collection, 16)?;
    let mut fields = Cursor::new(&head);
    if fields.take(4)? != b"GCOL" || fields.uint(4)? != 1 {
        return Err(damaged("expected a global heap, got other bytes"));
    }
    let bytes = image.read(collection, fields.u64()?)?;
    let mut fields = Cursor::new(bytes.get(16..).unwrap_or_default());
    while fields.left() >= 16 {
        let (index, size) = (u32::from(fields.u16()?), fields.take(6).and_then(|_| fields.u64())?);
        if index == 0 {
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if index == number {
            if size as u64 != length || length > LONGEST_STRING {
                return Err(damaged("a string that is not as long as it says"));
            }
            return Ok(fields.take(size)?.to_vec());
        }
        fields.take(size.checked_next_multiple_of(8).unwrap_or(usize::MAX))?;
    }
    Err(damaged("a string is not in its heap"))
}

/// All values of a column, each made from its `W` bytes.
fn read<T: Copy + Default, const W: usize>(
    image: &Image,
    column: &Column,
    n: usize,
    value: impl Fn([u8; W]) -> T,
) -> Found<Vec<T>> {
    let mut out = Vec::new();
    out.try_reserve_exact(n)
        .map_err(|_| unsupported(format!("a column of {n} values, more than fit in memory")))?;
    let decode =
        |bytes: &[u8], out: &mut Vec<T>| out.extend(bytes.as_chunks::<W>().0.iter().map(|b| value(*b)));
    match &column.dataset.place {
        Place::Compact(bytes) => decode(bytes, &mut out),
        Place::Contiguous { address, bytes } => {
            let address = address.unwrap_or(0);
            for start in (0..*bytes).step_by(PIECE as usize) {
                decode(&image.read(address + start, PIECE.min(bytes - start))?, &mut out);
            }
        }
        Place::Chunked { chunk, .. } => {
            out.resize(n, T::default());
            read_chunks(image, column, chunk, &mut out, value)?;
        }
    }
    if out.len() != n {
        return Err(damaged(format!("{} of {n} values came back", out.len())));
    }
    Ok(out)
}

/// The filters that a chunk went through.
fn filters_of<'a>(dataset: &'a Dataset, chunk: &[u64], stored: &Stored) -> &'a [Filter] {
    let edge = (0..chunk.len()).any(|k| chunk[k] > dataset.extents.shape[k] - stored.offset[k]);
    if dataset.plain_edges && edge { &[] } else { &dataset.filters }
}

fn read_chunks<T: Copy, const W: usize>(
    image: &Image,
    column: &Column,
    chunk: &[u64],
    out: &mut [T],
    value: impl Fn([u8; W]) -> T,
) -> Found<()> {
    let (dataset, shape) = (&column.dataset, &column.dataset.extents.shape);
    let nominal = chunk.iter().product::<u64>() as usize * W;
    for stored in &column.chunks {
        // How much of the chunk lies inside.
        let kept: Vec<usize> =
            (0..chunk.len()).map(|k| chunk[k].min(shape[k] - stored.offset[k]) as usize).collect();
        let filters = filters_of(dataset, chunk, stored);
        let bytes = image.read(stored.address, stored.bytes)?;
        let bytes = filters::decode(filters, stored.mask, bytes, nominal, W)?;
        let values = bytes.as_chunks::<W>().0;
        let last = chunk.len() - 1;
        let mut row = vec![0; last];
        loop {
            let (mut from, mut to) = (0, 0);
            for k in 0..=last {
                let along = row.get(k).copied().unwrap_or(0);
                from = from * chunk[k] as usize + along;
                to = to * shape[k] as usize + stored.offset[k] as usize + along;
            }
            for (target, bytes) in out[to..to + kept[last]].iter_mut().zip(&values[from..]) {
                *target = value(*bytes);
            }
            // The next run along the last axis, odometer-wise.
            let Some(k) = (0..last).rev().find(|k| row[*k] + 1 < kept[*k]) else {
                break;
            };
            row[k] += 1;
            row[k + 1..].fill(0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::image::Source;
    use super::super::messages::{Extents, Index};
    use super::*;
    use std::io::Write as _;

    /// A string alone in a chunk that has room for so many, in a dataset whose chunks at the edge are not compressed.
    fn string(room: u64, stored: Vec<u8>) -> Found<String> {
        let bytes = stored.len() as u64;
        let deflate = [2, 1, 1, 0, 0, 0, 1, 0, 4, 0, 0, 0];
        let dataset = Dataset {
            extents: Extents { shape: vec![1], most: vec![u64::MAX] },
            kind: Type { dtype: Dtype::Text, size: 8, big_endian: false, signed: false, in_heap: false },
            place: Place::Chunked { chunk: vec![room], index: Index::Empty },
            filters: filters::read_filters(&deflate, 8)?,
            plain_edges: true,
        };
        let chunks = vec![Stored { offset: vec![0], address: 0, bytes, mask: 0 }];
        read_string(&Image::new(Source::Memory(stored), 0, bytes), &Column { dataset, chunks })
    }

    #[test]
    fn only_chunks_at_the_edge_go_without_filters() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"whole\0\0\0").unwrap();
        assert_eq!(string(1, zlib.finish().unwrap()).unwrap(), "whole");
        assert_eq!(string(2, b"edge\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()).unwrap(), "edge");
    }
}
