//! The digest: every variant against the reference, bit for bit, and what a checksum must find.

mod common;

use baq_kernels::digest::{join, reference};
use common::{Numbers, SIZES, variants, with_threads};

#[test]
fn all_variants_and_thread_counts_give_the_bits_of_the_reference() {
    for k in variants() {
        for len in SIZES.into_iter().chain([1000, (1 << 14) - 1, 1 << 14, 100_003, 1_100_000]) {
            let x = Numbers::new(len as u64).units(len);
            let (want, got) = (reference::digest(&x), (k.digest)(&x));
            assert_eq!(got.checksum, want.checksum, "{} {len}", k.isa);
            assert_eq!(got.squares.to_bits(), want.squares.to_bits(), "{} {len}", k.isa);
            assert_eq!(with_threads(3, || (k.digest)(&x)), got, "{} {len}", k.isa);
        }
        let whole = Numbers::new(1).smalls(5000);
        let exact: f32 = whole.iter().map(|x| x * x).sum();
        assert_eq!((k.digest)(&whole).squares, f64::from(exact), "{}", k.isa);
        assert!((k.digest)(&[1.0, f32::NAN]).squares.is_nan());
        // Their squares are numbers of f64, but kernels take them for zeros.
        for tiny in [&[1e-40f32][..], &[-1e-40; 100]] {
            assert_eq!((k.digest)(tiny), reference::digest(tiny), "{}", k.isa);
        }
    }
}

#[test]
fn every_bit_counts() {
    for k in variants() {
        for len in [1, 2, 31, 32, 33, 70] {
            let mut x = Numbers::new(9).units(len);
            let before = (k.digest)(&x).checksum;
            for i in 0..len {
                for bit in 0..32 {
                    let old = x[i];
                    x[i] = f32::from_bits(old.to_bits() ^ 1 << bit);
                    assert_ne!((k.digest)(&x).checksum, before, "{} {len}: bit {bit} of {i}", k.isa);
                    x[i] = old;
                }
            }
        }
    }
}

#[test]
fn order_length_and_signs_count() {
    for k in variants() {
        let sum = |x: &[f32]| (k.digest)(x).checksum;
        let x = Numbers::new(4).units(40_000);
        let mut seen = vec![sum(&x)];
        // Neighbours, words, lanes, stripes and tiles exchanged.
        for (a, b) in [(0, 1), (0, 2), (1, 5), (3, 35), (7, 7 + (1 << 14)), (64, 39_999)] {
            let mut y = x.to_vec();
            y.swap(a, b);
            seen.push(sum(&y));
        }
        for len in [0, 1, 2, 32, 64] {
            seen.push(sum(&vec![0.0; len]));
            seen.push(sum(&vec![-0.0; len]));
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        // Nothing is nothing, whatever its sign.
        assert_eq!(seen.len(), all - 1, "{}", k.isa);
    }
    assert_ne!(join(join(0, 1), 2), join(join(0, 2), 1));
}
