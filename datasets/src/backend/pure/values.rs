//! From stored bytes to numbers, chunk by chunk.

use super::fault::{Found, damaged, unsupported};
use super::filters;
use super::image::{Cursor, Image};
use super::messages::{Place, Type};
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
            let filters = if column.dataset.plain_edges { &[][..] } else { &column.dataset.filters };
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
        let edge = kept.iter().zip(chunk).any(|(k, c)| *k as u64 != *c);
        let filters = if dataset.plain_edges && edge { &[][..] } else { &dataset.filters };
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
