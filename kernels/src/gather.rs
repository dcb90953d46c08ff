//! Scattered rows of a flat table to dense columns.
//!
//! - Formula: `out[b, k] = records[rows[b] * stride + offset + k]` for each part.
//! - Shapes: `records` `[n, stride]`, `rows` `[B]`, each part `[B, len]` with `offset + len <= stride`.
//! - Aliasing: parts are disjoint from each other and from the records (the types say so); they may read
//!   overlapping ranges of a record.
//! - Zero sizes: no rows, no parts and `len` 0 are allowed.
//! - NaN: copied, like everything, bit by bit.
//! - Panics if a row is outside the table, a part outside the record, or an output of the wrong length.
//!
//! A random row of a table of millions is in no cache; the rows ahead are therefore requested while
//! the present one is copied.

/// One column of the result: `len` floats of every record, starting `offset` floats into it.
#[derive(Debug)]
pub struct Part<'a> {
    /// first float inside a record
    pub offset: usize,
    /// floats per row
    pub len: usize,
    /// `[B, len]`
    pub out: &'a mut [f32],
}

/// Rows requested ahead of the copy. A core keeps about a dozen to two dozen misses in flight and a
/// record is two or three lines.
const AHEAD: usize = 12;
const LINE: usize = 16;

/// Copies the parts of the given rows. The contract is the module's.
pub fn gather(records: &[f32], stride: usize, rows: &[u32], parts: &mut [Part]) {
    assert!(stride > 0, "stride of the records must not be 0");
    let n = records.len() / stride;
    for part in parts.iter() {
        assert!(
            part.offset + part.len <= stride,
            "part {}..{} is outside a record of {stride}",
            part.offset,
            part.offset + part.len
        );
        assert_eq!(part.out.len(), rows.len() * part.len, "output of a part");
    }
    for &row in &rows[..AHEAD.min(rows.len())] {
        prefetch_record(records, stride, row);
    }
    for (b, &row) in rows.iter().enumerate() {
        if let Some(&next) = rows.get(b + AHEAD) {
            prefetch_record(records, stride, next);
        }
        let row = row as usize;
        assert!(row < n, "row {row} of a table of {n}");
        let record = &records[row * stride..][..stride];
        for part in parts.iter_mut() {
            copy(&record[part.offset..][..part.len], &mut part.out[b * part.len..][..part.len]);
        }
    }
}

/// Asks for all cache lines of a record; rows outside the table are ignored.
#[inline]
fn prefetch_record(records: &[f32], stride: usize, row: u32) {
    let start = row as usize * stride;
    let Some(record) = records.get(start..start + stride) else {
        return;
    };
    let mut k = 0;
    while k < stride {
        prefetch(&record[k]);
        k += LINE;
    }
    prefetch(&record[stride - 1]);
}

/// Asks the processor to bring the line of `x` near; a no-op where there is no such instruction.
#[inline(always)]
pub fn prefetch<T>(x: &T) {
    prefetch_at(x);
}

/// The same for an address, which need not exist.
#[inline(always)]
pub(crate) fn prefetch_at<T>(x: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address, and changes no value; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(x.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = x;
}

/// Columns are short (1 to some 20 floats): a loop is quicker than a call of memcpy.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    for (y, x) in to.iter_mut().zip(from) {
        *y = *x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_every_row() {
        for stride in [1, 3, 16, 29, 32, 48] {
            for batch in [0usize, 1, 2, 11, 12, 13, 64, 257] {
                let n = 100;
                let records: Vec<f32> = (0..n * stride).map(|i| i as f32).collect();
                let rows: Vec<u32> = (0..batch).map(|b| (b * 37 % n) as u32).collect();
                let split = stride / 3;
                let (mut a, mut b, mut c) =
                    (vec![-1.0; batch * split], vec![-1.0; batch * (stride - split)], vec![-1.0; batch]);
                gather(
                    &records,
                    stride,
                    &rows,
                    &mut [
                        Part { offset: 0, len: split, out: &mut a },
                        Part { offset: split, len: stride - split, out: &mut b },
                        Part { offset: stride - 1, len: 1, out: &mut c },
                    ],
                );
                for (i, &row) in rows.iter().enumerate() {
                    let base = row as usize * stride;
                    for k in 0..split {
                        assert_eq!(a[i * split + k], (base + k) as f32);
                    }
                    for k in 0..stride - split {
                        assert_eq!(b[i * (stride - split) + k], (base + split + k) as f32);
                    }
                    assert_eq!(c[i], (base + stride - 1) as f32);
                }
            }
        }
    }

    #[test]
    fn bits_survive() {
        let nan = f32::from_bits(0x7FC0_1234);
        let records = [nan, -0.0];
        let mut out = [0.0; 2];
        gather(&records, 2, &[0], &mut [Part { offset: 0, len: 2, out: &mut out }]);
        assert_eq!(out.map(f32::to_bits), [0x7FC0_1234, 0x8000_0000]);
    }

    #[test]
    #[should_panic(expected = "row 2 of a table of 2")]
    fn a_row_outside() {
        gather(&[0.0; 4], 2, &[1, 2], &mut [Part { offset: 0, len: 1, out: &mut [0.0; 2] }]);
    }

    #[test]
    #[should_panic(expected = "part 1..3 is outside a record of 2")]
    fn a_part_outside() {
        gather(&[0.0; 4], 2, &[1], &mut [Part { offset: 1, len: 2, out: &mut [0.0; 2] }]);
    }

    #[test]
    #[should_panic(expected = "output of a part")]
    fn an_output_too_short() {
        gather(&[0.0; 4], 2, &[1, 0], &mut [Part { offset: 0, len: 1, out: &mut [0.0; 1] }]);
    }
}
