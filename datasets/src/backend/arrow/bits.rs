//! Packed numbers: bit maps, Parquet's runs, and plain values.

use super::{Fault, Found};

/// Types of numbers, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// one bit, the lowest of a byte first
    Bit,
    /// signed or not, of so many bytes
    Int {
        bytes: usize,
        signed: bool,
    },
    F32,
    F64,
}

/// Whether bit `i` is set; false beyond the end.
pub(super) fn bit(bytes: &[u8], i: usize) -> bool {
    bytes.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1)
}

/// The first `n` values of a run of bytes. Integers beyond 2^53 are rounded. Error: it is shorter.
pub(super) fn plain(number: Number, bytes: &[u8], n: usize) -> Found<Vec<f64>> {
    let size = match number {
        Number::Bit if bytes.len() >= n.div_ceil(8) => {
            return Ok((0..n).map(|i| bit(bytes, i).into()).collect());
        }
        Number::Bit => return Err(SHORT),
        Number::Int { bytes, .. } => bytes,
        Number::F32 => 4,
        Number::F64 => 8,
    };
    let bytes = n.checked_mul(size).and_then(|length| bytes.get(..length)).ok_or(SHORT)?;
    Ok(bytes.chunks_exact(size).map(|b| value(number, b)).collect())
}

const SHORT: Fault = Fault::Damaged("fewer values than it says");

fn value(number: Number, b: &[u8]) -> f64 {
    let mut wide = [0; 8];
    wide[..b.len()].copy_from_slice(b);
    let whole = u64::from_le_bytes(wide);
    match number {
        Number::F32 => f64::from(f32::from_bits(whole as u32)),
        Number::F64 => f64::from_bits(whole),
        Number::Int { signed: true, .. } => {
            let unused = 64 - 8 * b.len() as u32;
            (((whole << unused) as i64) >> unused) as f64
        }
        Number::Bit | Number::Int { .. } => whole as f64,
    }
}

/// Parquet's mixture of runs and packed groups of 8: `n` numbers of `width` bits each, 32 at most.
pub(super) fn runs(mut bytes: &[u8], width: u32, n: usize) -> Found<Vec<u32>> {
    if width > 32 {
        return Err(Fault::Damaged("numbers of more than 32 bits"));
    }
    let mut out = Vec::new();
    while out.len() < n {
        let left = n - out.len();
        let header = varint(&mut bytes)?;
        let count = usize::try_from(header >> 1).map_err(|_| SHORT)?;
        if header & 1 == 0 {
            let run = bytes.split_off(..(width as usize).div_ceil(8)).ok_or(SHORT)?;
            let mut wide = [0; 4];
            wide[..run.len()].copy_from_slice(run);
            if count == 0 {
                return Err(Fault::Damaged("a run of nothing"));
            }
            out.try_reserve(count.min(left)).map_err(|_| Fault::Damaged("more values than fit in memory"))?;
            out.resize(out.len() + count.min(left), u32::from_le_bytes(wide));
        } else {
            // The last group may be cut where its numbers end.
            let packed = count.checked_mul(width as usize).ok_or(SHORT)?;
            let packed = bytes.split_off(..packed.min(bytes.len())).ok_or(SHORT)?;
            let there = match width {
                0 => left,
                _ => packed.len() * 8 / width as usize,
            };
            let count = count.saturating_mul(8).min(there).min(left);
            if count == 0 {
                return Err(SHORT);
            }
            out.extend((0..count).map(|i| unpack(packed, i * width as usize, width)));
        }
    }
    Ok(out)
}

fn unpack(bytes: &[u8], at: usize, width: u32) -> u32 {
    let (first, shift) = (at / 8, at % 8);
    // 32 bits that begin inside a byte touch five.
    let wide =
        (0..5).fold(0u64, |wide, k| wide | u64::from(bytes.get(first + k).copied().unwrap_or(0)) << (8 * k));
    (wide >> shift & ((1 << width) - 1)) as u32
}

/// A number in groups of seven bits, the lowest first.
pub(super) fn varint(bytes: &mut &[u8]) -> Found<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first().ok_or(Fault::Damaged("it is cut short"))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::Damaged("a number that does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups_are_unpacked() {
        // The specification's example: 0 to 7 in three bits; then five times 4.
        let bytes = [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010, 10, 4];
        assert_eq!(runs(&bytes, 3, 13).expect("whole"), [0, 1, 2, 3, 4, 5, 6, 7, 4, 4, 4, 4, 4]);
        assert_eq!(runs(&bytes, 3, 2).expect("the first two"), [0, 1]);
        assert_eq!(runs(&[6], 0, 3).expect("no bits at all"), [0; 3]);
        assert_eq!(runs(&[200, 1, 1, 0, 0, 128], 32, 2).expect("wide"), [0x8000_0001; 2]);
        for bad in [&bytes[..1], &bytes[..5], &[0, 4], &[0xff; 12], &[]] {
            assert!(runs(bad, 3, 13).is_err(), "{bad:?}");
        }
        assert!(runs(&bytes, 33, 1).is_err());
        let vast = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
        assert!(runs(&vast, 1, 1 << 54).is_err());
    }

    #[test]
    fn plain_values_of_every_type() {
        let int = |bytes, signed| Number::Int { bytes, signed };
        let of = |number, bytes: &[u8]| plain(number, bytes, 1).expect("there")[0];
        assert_eq!(of(Number::F32, &1.5f32.to_le_bytes()), 1.5);
        assert_eq!(of(Number::F64, &(-2.25f64).to_le_bytes()), -2.25);
        assert_eq!(of(int(1, true), &[0xff]), -1.0);
        assert_eq!(of(int(1, false), &[0xff]), 255.0);
        assert_eq!(of(int(8, true), &(-5i64).to_le_bytes()), -5.0);
        assert_eq!(plain(Number::Bit, &[0b101], 3).expect("bits"), [1.0, 0.0, 1.0]);
        assert!(plain(Number::Bit, &[0], 9).is_err() && plain(Number::F64, &[0; 8], usize::MAX).is_err());
    }
}
