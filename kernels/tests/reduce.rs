//! The reductions: every variant against the reference.

mod common;

use baq_kernels::reduce::reference;
use common::{Numbers, Odd, SIZES, bits, variants};

/// Dims with every size in every place.
fn shapes() -> Vec<[usize; 3]> {
    let mut all = Vec::new();
    for size in SIZES {
        for small in [0, 1, 2, 3, 17] {
            all.extend([
                [size, small, 1],
                [small, size, 1],
                [small, small, size],
                [size, small, 3],
                [1, size, small],
            ]);
        }
    }
    all.extend([
        [1, 5000, 1],
        [33, 1000, 1],
        [1, 1000, 40],
        [2, 513, 7],
        [1, 2, 70_000],
        [3, 64, 65],
        [1, 300_000, 1],
    ]);
    all
}

#[test]
fn sum_agrees_with_the_reference_and_between_instruction_sets() {
    for (i, dims) in shapes().into_iter().enumerate() {
        let [o, n, inner] = dims;
        let mut draw = Numbers::new(i as u64);
        let x = draw.units(o * n * inner);
        let mut want = Odd::new(o * inner);
        reference::sum(dims, &x, &mut want);
        let mut first: Option<Vec<u32>> = None;
        for k in variants() {
            let mut y = Odd::new(o * inner);
            (k.sum)(dims, &x, &mut y);
            y.check_fence();
            for (y, want) in y.iter().zip(want.iter()) {
                let bound = 2f32.powi(-23) * (8.0 + (n.max(1) as f32).log2()) * n as f32;
                assert!((y - want).abs() <= bound, "{} {dims:?}: {y} instead of {want}", k.isa);
            }
            match &first {
                None => first = Some(bits(&y)),
                Some(first) => assert!(*first == bits(&y), "{} {dims:?} differs from portable", k.isa),
            }
        }
    }
}

#[test]
fn sum_is_exact_on_small_integers() {
    for k in variants() {
        for dims in shapes() {
            let [o, n, inner] = dims;
            let x = Numbers::new(2).smalls(o * n * inner);
            let (mut y, mut want) = (Odd::new(o * inner), Odd::new(o * inner));
            (k.sum)(dims, &x, &mut y);
            reference::sum(dims, &x, &mut want);
            assert_eq!(&*y, &*want, "{} {dims:?}", k.isa);
        }
    }
}

/// The order of the contract, written down once more and naively.
fn sum_in_order(x: &[f32]) -> f32 {
    let tile = |x: &[f32]| {
        let mut lanes = [0.0f32; 16];
        for (i, x) in x.iter().enumerate() {
            lanes[i % 16] += x;
        }
        for half in [8, 4, 2, 1] {
            for l in 0..half {
                lanes[l] += lanes[l + half];
            }
        }
        lanes[0]
    };
    let mut groups: Vec<(usize, f32)> = Vec::new();
    for x in x.chunks(256) {
        groups.push((1, tile(x)));
        while let [.., (m, a), (n, b)] = groups[..]
            && m == n
        {
            groups.truncate(groups.len() - 2);
            groups.push((2 * m, a + b));
        }
    }
    let last = groups.pop().map_or(0.0, |g| g.1);
    groups.into_iter().rev().fold(last, |sum, (_, group)| group + sum)
}

#[test]
fn sum_follows_the_documented_order() {
    for k in variants() {
        for n in SIZES.into_iter().chain([511, 512, 513, 1024, 3333, 70_001]) {
            let x = Numbers::new(n as u64).units(n);
            let mut y = [f32::NAN];
            (k.sum)([1, n, 1], &x, &mut y);
            assert_eq!(y[0].to_bits(), sum_in_order(&x).to_bits(), "{} {n}", k.isa);
        }
    }
}

#[test]
fn min_and_its_gradient_are_exact() {
    for (i, dims) in shapes().into_iter().enumerate() {
        let [o, n, inner] = dims;
        let mut draw = Numbers::new(i as u64);
        // Integers: equal elements are frequent.
        let mut x = draw.smalls(o * n * inner);
        let g = draw.units(o * inner);
        if i % 3 == 0 && !x.is_empty() {
            for _ in 0..3 {
                let at = draw.below(x.len());
                x[at] = f32::NAN;
            }
        }
        let (mut want, mut want_dx) = (Odd::new(o * inner), Odd::new(x.len()));
        reference::min(dims, &x, &mut want);
        reference::min_grad(dims, &x, &want, &g, &mut want_dx);
        for k in variants() {
            let (mut y, mut dx) = (Odd::new(o * inner), Odd::new(x.len()));
            (k.min)(dims, &x, &mut y);
            y.check_fence();
            for (y, want) in y.iter().zip(want.iter()) {
                assert!(y == want || (y.is_nan() && want.is_nan()), "{} {dims:?}: {y} for {want}", k.isa);
            }
            (k.min_grad)(dims, &x, &want, &g, &mut dx);
            dx.check_fence();
            assert_eq!(&*dx, &*want_dx, "{} {dims:?}", k.isa);
        }
    }
}

#[test]
fn log_sum_exp_agrees_with_the_reference() {
    for k in variants() {
        for n in SIZES {
            for scale in [1.0, 30.0, 1000.0] {
                let mut draw = Numbers::new(n as u64);
                let mut x = draw.units(37 * n);
                x.iter_mut().for_each(|x| *x *= scale);
                let (mut y, mut want) = (Odd::new(37), Odd::new(37));
                (k.log_sum_exp)([37, n], &x, &mut y);
                reference::log_sum_exp([37, n], &x, &mut want);
                y.check_fence();
                for (y, want) in y.iter().zip(want.iter()) {
                    let bound = 2f32.powi(-22) * (want.abs() + 4.0 + n as f32 / 8.0);
                    assert!(y == want || (y - want).abs() <= bound, "{} {n}: {y} instead of {want}", k.isa);
                }
            }
        }
        let lse = |x: &[f32]| {
            let mut y = [0.0];
            (k.log_sum_exp)([1, x.len()], x, &mut y);
            y[0]
        };
        const INF: f32 = f32::INFINITY;
        assert_eq!(lse(&[]), -INF);
        assert_eq!(lse(&[-INF, -INF]), -INF);
        assert_eq!(lse(&[1.0, INF, -INF]), INF);
        assert_eq!(lse(&[3.0, -INF]), 3.0);
        assert!(lse(&[1.0, f32::NAN, 2.0]).is_nan());
        assert!(lse(&[-INF, f32::NAN]).is_nan());
        assert!(lse(&[INF, f32::NAN]).is_nan());
        assert!((lse(&[f32::MAX, f32::MAX]) / f32::MAX - 1.0).abs() < 1e-6);
    }
}

#[test]
fn one_nan_reaches_its_sum_only() {
    for k in variants() {
        for dims in [[40, 17, 1], [3, 300, 1], [2, 70, 33]] {
            let [o, n, inner] = dims;
            let mut x = Numbers::new(1).units(o * n * inner);
            let at = x.len() - 2;
            x[at] = f32::NAN;
            let mut y = Odd::new(o * inner);
            (k.sum)(dims, &x, &mut y);
            let hit = (at / (n * inner)) * inner + at % inner;
            for (i, y) in y.iter().enumerate() {
                assert_eq!(y.is_nan(), i == hit, "{} {dims:?} {i}", k.isa);
            }
        }
    }
}
