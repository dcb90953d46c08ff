//! The element-wise functions: every variant against the reference, and their accuracy.

mod common;

use baq_kernels::elementwise::reference;
use baq_kernels::{Binary, Broadcast, Unary};
use common::{Numbers, Odd, SIZES, bits, variants, with_threads};

const UNARY: [Unary; 14] = [
    Unary::Exp,
    Unary::Log,
    Unary::Tanh,
    Unary::Relu,
    Unary::Softplus,
    Unary::Sigmoid,
    Unary::Square,
    Unary::Sqrt,
    Unary::Abs,
    Unary::Sign,
    Unary::Affine { scale: -1.5, shift: 0.25 },
    Unary::Clamp { lo: -0.5, hi: 0.75 },
    Unary::Clamp { lo: f32::NEG_INFINITY, hi: 2.0 },
    Unary::Inside { lo: -0.5, hi: 0.75 },
];

const BINARY: [Binary; 12] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Min,
    Binary::Max,
    Binary::Le,
    Binary::Lt,
    Binary::ReluGrad,
    Binary::TanhGrad,
    Binary::Expectile,
    Binary::ExpectileGrad,
];

/// Distance of `got` from the real number `want`, in units in the last place of the float next to `want`.
fn ulps(got: f32, want: f64) -> f64 {
    let near = want as f32;
    if got == near || (got.is_nan() && near.is_nan()) {
        return 0.0;
    }
    if !got.is_finite() || !near.is_finite() {
        return f64::INFINITY;
    }
    let size = near.abs();
    let ulp = f32::from_bits(size.to_bits() + 1) as f64 - size as f64;
    (got as f64 - want).abs() / ulp
}

/// What arithmetic takes a float for: subnormal numbers are zeros of their sign.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// Whether the function computes, so that no result of it is subnormal; the others choose or copy.
fn computes(f: Unary) -> bool {
    !matches!(f, Unary::Relu | Unary::Abs | Unary::Sign | Unary::Clamp { .. } | Unary::Inside { .. })
}

/// The documented bound.
fn bound(f: Unary) -> f64 {
    match f {
        Unary::Exp | Unary::Log => 1.5,
        Unary::Tanh | Unary::Softplus => 2.5,
        Unary::Sigmoid => 2.5,
        Unary::Square | Unary::Sqrt => 0.5001,
        _ => 0.0,
    }
}

#[test]
fn sines_within_their_bound() {
    let mut x: Vec<f32> = (0..2_000_000).map(|i| (i - 1_000_000) as f32 * 1e-3).collect();
    x.extend((0..1000).map(|i| f32::from_bits(i * 1_000_003)));
    x.extend([f32::MAX, -1e7, 3e9, f32::INFINITY, f32::NAN]);
    let mut y = vec![0.0; x.len()];
    for k in variants() {
        (k.unary)(Unary::Sin, &x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            match x.abs() {
                ..=1000.0 => {
                    assert!((f64::from(*y) - f64::from(*x).sin()).abs() < 3e-7, "{} sin {x}: {y}", k.isa)
                }
                ..f32::INFINITY => assert!(y.abs() <= 1.000_001, "{} sin {x}: {y}", k.isa),
                _ => assert!(y.is_nan(), "{} sin {x}: {y}", k.isa),
            }
        }
    }
}

#[test]
fn gelu_within_its_bound() {
    let mut x: Vec<f32> = (0..2_000_000).map(|i| (i - 1_000_000) as f32 * 1e-4).collect();
    x.extend((0..1000).map(|i| f32::from_bits(i * 1_000_003)));
    x.extend([f32::MAX, f32::MIN, -1e7, 3e9, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    let mut y = vec![0.0; x.len()];
    let c = std::f64::consts::FRAC_2_PI.sqrt();
    for k in variants() {
        (k.unary)(Unary::Gelu, &x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let wide = f64::from(*x);
            let want = 0.5 * wide.max(-1e3) * (1.0 + (c * (wide + 0.044715 * wide.powi(3))).tanh());
            let near = (f64::from(*y) - want).abs() <= 4e-7 * wide.abs().max(1.0);
            assert!(near || f64::from(*y) == want || (x.is_nan() && y.is_nan()), "{} gelu {x}: {y}", k.isa);
        }
        (k.unary)(Unary::GeluSlope, &x, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let wide = f64::from(*x).clamp(-50.0, 50.0);
            let t = (c * (wide + 0.044715 * wide.powi(3))).tanh();
            let want =
                0.5 * (1.0 + t) + 0.5 * wide * (1.0 - t * t) * c * (1.0 + 3.0 * 0.044715 * wide * wide);
            let near = (f64::from(*y) - want).abs() <= 8e-7;
            assert!(near || (x.is_nan() && y.is_nan()), "{} slope of gelu at {x}: {y}, not {want}", k.isa);
        }
    }
}

#[test]
fn unary_within_the_documented_ulps_over_all_floats() {
    // Every 4,001st float, of both signs, plus the places where branches meet.
    let mut x: Vec<f32> = (0..u32::MAX / 4001).map(|i| f32::from_bits(i * 4001)).collect();
    x.extend((0..200_000).map(|i| (i - 100_000) as f32 * 1.3e-3));
    x.extend((0..200_000).map(|i| 1.0 + (i - 100_000) as f32 * 1.3e-5));
    for edge in [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        1.0e-45,
        88.722_84,
        88.722_85,
        -87.336_55,
        -103.972_08,
        -103.972_1,
        9.010_913,
        0.5,
        0.75,
        std::f32::consts::SQRT_2,
        std::f32::consts::FRAC_1_SQRT_2,
    ] {
        let around = |d: i32| f32::from_bits((edge.to_bits() as i32).wrapping_add(d) as u32);
        x.extend((-3..=3).map(around));
        x.extend((-3..=3).map(|d| -around(d)));
    }
    let mut y = vec![0.0; x.len()];
    for k in variants() {
        for f in UNARY {
            if matches!(f, Unary::Affine { .. }) {
                continue; // rounded once or twice, tested below
            }
            (k.unary)(f, &x, &mut y);
            let (mut worst, mut at) = (0.0, 0.0);
            for (&x, &y) in x.iter().zip(&y) {
                assert!(!(computes(f) && y.is_subnormal()), "{} {f:?} of {x:e}: {y:e}", k.isa);
                let want = reference::unary_at(f.map(f64::from), f64::from(flushed(x)));
                let error = match (f64::from(y) - want).abs() <= 2.0 * f64::from(f32::MIN_POSITIVE) {
                    true => 0.0,
                    false => ulps(y, want),
                };
                if error > worst {
                    (worst, at) = (error, x);
                }
            }
            println!("{} {f:?}: {worst:.3} ulp at {at:e}", k.isa);
            assert!(worst <= bound(f), "{} {f:?}: {worst} ulp at {at:e}", k.isa);
        }
    }
}

#[test]
fn unary_at_every_size() {
    for k in variants() {
        for f in UNARY {
            for len in SIZES.into_iter().chain([40_000]) {
                let mut n = Numbers::new(len as u64);
                let x = n.units(len);
                let mut y = Odd::new(len);
                (k.unary)(f, &x, &mut y);
                y.check_fence();
                for i in 0..len {
                    let want = reference::unary_at(f.map(f64::from), x[i] as f64);
                    let close = ulps(y[i], want) <= bound(f).max(0.51) || (y[i] as f64 - want).abs() < 2e-7;
                    assert!(close, "{} {f:?} of {}: {} instead of {want}", k.isa, x[i], y[i]);
                }
                // The same element in another place has the same bits.
                for i in (0..len).step_by(7) {
                    let mut alone = [0.0];
                    (k.unary)(f, &x[i..=i], &mut alone);
                    assert_eq!(alone[0].to_bits(), y[i].to_bits());
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_go_where_the_contract_says() {
    for k in variants() {
        let unary = |f, x| {
            let mut y = [0.0];
            (k.unary)(f, &[x], &mut y);
            y[0]
        };
        for f in UNARY {
            let y = unary(f, f32::NAN);
            assert_eq!(y.is_nan(), !matches!(f, Unary::Inside { .. }), "{} {f:?} of NaN: {y}", k.isa);
        }
        assert_eq!(unary(Unary::Log, 0.0), f32::NEG_INFINITY);
        assert!(unary(Unary::Log, -1.0).is_nan());
        assert_eq!(unary(Unary::Exp, f32::NEG_INFINITY), 0.0);
        assert_eq!(unary(Unary::Softplus, 200.0), 200.0);
        assert_eq!(unary(Unary::Sigmoid, f32::NEG_INFINITY), 0.0);
        assert_eq!(unary(Unary::Tanh, f32::NEG_INFINITY), -1.0);
        let binary = |f, a, b| {
            let one = Broadcast { dims: [1; 3], a: [0; 3], b: [0; 3] };
            let mut y = [0.0];
            (k.binary)(f, &one, &[a], &[b], &mut y);
            y[0]
        };
        for f in BINARY {
            let (a, b) = (binary(f, f32::NAN, 1.0), binary(f, 1.0, f32::NAN));
            let compares = matches!(f, Binary::Le | Binary::Lt);
            assert_eq!(a.is_nan(), !compares, "{} {f:?} NaN first: {a}", k.isa);
            assert_eq!(b.is_nan(), !compares && f != Binary::ReluGrad, "{} {f:?} NaN second: {b}", k.isa);
        }
        assert_eq!(binary(Binary::ReluGrad, f32::NAN, 0.0), 0.0);
    }
}

/// All ways in which one argument of dims `d` can be broadcast, with its length.
fn layouts(d: [usize; 3]) -> Vec<([usize; 3], usize)> {
    let mut all = Vec::new();
    for kept in 0..8 {
        let keep = [kept & 4 > 0, kept & 2 > 0, kept & 1 > 0];
        let mut strides = [0; 3];
        let mut len = 1;
        for axis in (0..3).rev() {
            if keep[axis] {
                strides[axis] = len;
                len *= d[axis];
            }
        }
        all.push((strides, len));
    }
    all
}

#[test]
fn binary_with_every_broadcast() {
    for k in variants() {
        let shapes = [
            [1, 1, 1],
            [2, 3, 5],
            [3, 1, 17],
            [1, 256, 1],
            [2, 7, 64],
            [5, 16, 1],
            [1, 1, 257],
            [4, 33, 6],
            [0, 3, 2],
            [2, 300, 3],
        ];
        for dims in shapes {
            for (i, (a_strides, a_len)) in layouts(dims).into_iter().enumerate() {
                for (j, (b_strides, b_len)) in layouts(dims).into_iter().enumerate() {
                    let f = BINARY[(i * 8 + j + dims[2]) % 12];
                    let mut n = Numbers::new((i * 8 + j) as u64);
                    let shape = Broadcast { dims, a: a_strides, b: b_strides };
                    let (a, b) = (n.units(a_len), n.units(b_len));
                    let size = dims.iter().product();
                    let (mut y, mut want) = (Odd::new(size), Odd::new(size));
                    (k.binary)(f, &shape, &a, &b, &mut y);
                    reference::binary(f, &shape, &a, &b, &mut want);
                    y.check_fence();
                    for (y, want) in y.iter().zip(want.iter()) {
                        assert!(
                            (y - want).abs() <= 3e-7 * want.abs().max(1.0),
                            "{} {f:?} {shape:?}: {y} for {want}",
                            k.isa
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn binary_is_exact_on_small_integers() {
    for k in variants() {
        for f in BINARY {
            for len in SIZES {
                let mut n = Numbers::new(len as u64);
                let (a, mut b) = (n.smalls(len), n.smalls(len));
                if f == Binary::Div {
                    b.iter_mut().for_each(|b| *b = b.signum() * 2.0);
                }
                let shape = Broadcast { dims: [1, 1, len], a: [0, 0, 1], b: [0, 0, 1] };
                let (mut y, mut want) = (Odd::new(len), Odd::new(len));
                (k.binary)(f, &shape, &a, &b, &mut y);
                reference::binary(f, &shape, &a, &b, &mut want);
                assert_eq!(&*y, &*want, "{} {f:?}", k.isa);
            }
        }
    }
}

#[test]
fn strides_that_skip_are_walked() {
    // One column of a matrix, as a column: the innermost axis has extent 1.
    for k in variants() {
        let a: Vec<f32> = (0..60).map(|i| i as f32).collect();
        let shape = Broadcast { dims: [1, 20, 1], a: [0, 3, 1], b: [0, 1, 0] };
        let b = vec![1.0; 20];
        let mut y = vec![0.0; 20];
        (k.binary)(Binary::Add, &shape, &a, &b, &mut y);
        let want: Vec<f32> = (0..20).map(|i| (3 * i + 1) as f32).collect();
        assert_eq!(y, want, "{}", k.isa);
    }
}

#[test]
fn threads_do_not_change_bits() {
    for k in variants() {
        let run = |threads| {
            with_threads(threads, || {
                let mut n = Numbers::new(1);
                let (a, b) = (n.units(1_300_001), n.units(1_300_001));
                let (mut y, mut z) = (Odd::new(a.len()), Odd::new(a.len()));
                (k.unary)(Unary::Tanh, &a, &mut y);
                let shape = Broadcast { dims: [1, 1, a.len()], a: [0, 0, 1], b: [0, 0, 1] };
                (k.binary)(Binary::Expectile, &shape, &a, &b, &mut z);
                (bits(&y), bits(&z))
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(4), "{}", k.isa);
    }
}

#[test]
#[should_panic(expected = "b: 3 elements")]
fn strides_beyond_the_end_are_refused() {
    let shape = Broadcast { dims: [1, 2, 2], a: [0, 2, 1], b: [0, 2, 1] };
    (baq_kernels::best().binary)(Binary::Add, &shape, &[0.0; 4], &[0.0; 3], &mut [0.0; 4]);
}
