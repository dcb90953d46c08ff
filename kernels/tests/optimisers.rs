//! Adam and the slow copy: every variant against the reference.

mod common;

use baq_kernels::{AdamStep, adam, polyak};
use common::{Numbers, Odd, SIZES, bits, variants, with_threads};

fn step(t: i32) -> AdamStep {
    let (beta1, beta2) = (0.9f64, 0.999f64);
    AdamStep {
        step_size: (3e-4 / (1.0 - beta1.powi(t))) as f32,
        beta1: beta1 as f32,
        beta2: beta2 as f32,
        eps: 1e-8,
        rsqrt_bias2: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
    }
}

#[test]
fn adam_agrees_with_the_reference() {
    for k in variants() {
        for len in SIZES.into_iter().chain([40_000]) {
            let mut n = Numbers::new(len as u64);
            let (mut theta, mut m, mut v) =
                (n.units(len), Odd::from(vec![0.0; len]), Odd::from(vec![0.0; len]));
            for t in 1..4 {
                let g = n.units(len);
                let (before, mut theta2, mut m2, mut v2) =
                    (theta.clone(), theta.clone(), m.clone(), v.clone());
                (k.adam)(&step(t), &mut theta, &g, &mut m, &mut v);
                adam::reference::adam(&step(t), &mut theta2, &g, &mut m2, &mut v2);
                for x in [&theta, &m, &v] {
                    x.check_fence();
                }
                let ulp = 2f32.powi(-23);
                for i in 0..len {
                    assert!((m[i] - m2[i]).abs() <= 2.0 * ulp, "{} m {i}", k.isa);
                    assert!((v[i] - v2[i]).abs() <= 2.0 * ulp * v2[i].max(1e-3), "{} v {i}", k.isa);
                    let bound = ulp * theta2[i].abs() + 4.0 * ulp * (theta2[i] - before[i]).abs() + 1e-10;
                    assert!(
                        (theta[i] - theta2[i]).abs() <= bound,
                        "{} θ {i}: {} {}",
                        k.isa,
                        theta[i],
                        theta2[i]
                    );
                }
            }
        }
    }
}

#[test]
fn adam_steps_by_the_learning_rate_first() {
    // The first change is the learning rate times the sign of the gradient, whatever its size.
    for k in variants() {
        let (mut theta, mut m, mut v) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        (k.adam)(&step(1), &mut theta, &[1e-3, -50.0, 0.0], &mut m, &mut v);
        for (theta, want) in theta.iter().zip([-3e-4, 3e-4, 0.0]) {
            assert!((theta - want).abs() <= 1e-8, "{}: {theta} instead of {want}", k.isa);
        }
    }
}

#[test]
fn a_nan_gradient_stays_at_its_element() {
    for k in variants() {
        let mut g = [0.5; 40];
        g[21] = f32::NAN;
        let (mut theta, mut m, mut v) = ([1.0; 40], [0.0; 40], [0.0; 40]);
        (k.adam)(&step(1), &mut theta, &g, &mut m, &mut v);
        let mut target = [0.0; 40];
        (k.polyak)(0.5, &mut target, &g);
        for i in 0..40 {
            assert_eq!([theta[i], m[i], v[i], target[i]].map(f32::is_nan), [i == 21; 4]);
        }
    }
}

#[test]
fn polyak_agrees_with_the_reference() {
    for k in variants() {
        for len in SIZES {
            for rate in [0.0, 0.005, 0.5, 1.0] {
                let mut n = Numbers::new(len as u64);
                let (mut target, source) = (n.units(len), n.units(len));
                let (before, mut want) = (target.clone(), target.clone());
                (k.polyak)(rate, &mut target, &source);
                polyak::reference::polyak(rate, &mut want, &source);
                target.check_fence();
                for i in 0..len {
                    let bound = 2f32.powi(-23) * (want[i].abs() + rate * (source[i] - before[i]).abs());
                    assert!(
                        (target[i] - want[i]).abs() <= bound,
                        "{} {rate}: {} {}",
                        k.isa,
                        target[i],
                        want[i]
                    );
                }
                if rate == 0.0 {
                    assert_eq!(bits(&target), bits(&before));
                }
            }
        }
        let mut target = [4.0, -2.0, 8.0];
        (k.polyak)(0.25, &mut target, &[0.0, 2.0, 8.0]);
        assert_eq!(target, [3.0, -1.0, 8.0]);
    }
}

#[test]
fn threads_do_not_change_bits() {
    for k in variants() {
        let run = |threads| {
            with_threads(threads, || {
                let mut n = Numbers::new(1);
                let len = 300_007;
                let (mut theta, g, mut m) = (n.units(len), n.units(len), n.units(len));
                let mut v = Odd::from(vec![0.25; len]);
                (k.adam)(&step(5), &mut theta, &g, &mut m, &mut v);
                (k.polyak)(0.1, &mut m, &theta);
                [bits(&theta), bits(&m), bits(&v)]
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(4), "{}", k.isa);
    }
}

/// The fault: without flushing, m stays at the subnormal numbers that 0.9 rounds to themselves, and every touch costs
/// an assist on some processors.
#[test]
fn moments_of_a_dead_unit_become_exactly_zero() {
    let step = AdamStep { step_size: 3e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, rsqrt_bias2: 1.0 };
    for k in variants() {
        for len in [1, 7, 33] {
            let (mut theta, none) = (vec![0.5; len], vec![0.0; len]);
            // Second moments shrink slowly: these are those of gradients of 1e-16.
            let (mut first, mut second) = (vec![1.0; len], vec![1e-35; len]);
            for _ in 0..10_000 {
                (k.adam)(&step, &mut theta, &none, &mut first, &mut second);
                assert!(first.iter().chain(&second).all(|x| !x.is_subnormal()), "{}", k.isa);
            }
            assert!(first.iter().chain(&second).all(|&x| x == 0.0), "{}: {} {}", k.isa, first[0], second[0]);
        }
    }
}

/// What a subnormal argument and a subnormal result become, in every kernel that computes.
#[test]
fn subnormal_numbers_count_as_zero_in_every_kernel() {
    use baq_kernels::{Activation, Binary, Broadcast, Linear, Scratch, Unary};
    let (tiny, small) = (1e-40f32, f32::MIN_POSITIVE);
    assert_eq!(baq_kernels::subnormals(), "zero");
    for k in variants() {
        let mut y = [f32::NAN; 1];
        let one = Broadcast { dims: [1; 3], a: [0; 3], b: [0; 3] };
        for (f, a, b) in [(Binary::Mul, small, 0.5), (Binary::Mul, tiny, 1e30), (Binary::Add, tiny, tiny)] {
            (k.binary)(f, &one, &[a], &[b], &mut y);
            assert_eq!(y[0], 0.0, "{} {f:?}", k.isa);
        }
        (k.unary)(Unary::Exp, &[-90.0], &mut y);
        assert_eq!(y[0], 0.0, "{}", k.isa);
        (k.sum)([1, 2, 1], &[tiny, tiny], &mut y);
        assert_eq!(y[0], 0.0, "{}", k.isa);
        (k.polyak)(0.5, &mut y, &[small]);
        assert_eq!(y[0], 0.0, "{}", k.isa);
        // A dense layer, its input's gradient and its weights' gradient, at a size that every path has.
        let sizes = Linear { heads: 1, rows: 40, inputs: 24, outputs: 24, shared_input: false };
        let (x, w) = (vec![1e-20f32; 40 * 24], vec![1e-20f32; 24 * 24]);
        let mut scratch = vec![0.0; (k.linear_scratch)(&sizes)];
        let mut out = vec![f32::NAN; 40 * 24];
        (k.linear)(&sizes, &x, &w, None, Activation::Identity, &mut out, Scratch::Empty(&mut scratch));
        assert!(out.iter().all(|&y| y == 0.0), "{}", k.isa);
        (k.linear_dx)(&sizes, &x, &w, None, &mut out, Scratch::Empty(&mut scratch));
        assert!(out.iter().all(|&y| y == 0.0), "{}", k.isa);
        let mut dw = vec![f32::NAN; 24 * 24];
        (k.linear_dw)(&sizes, &x, &x, &mut dw, None, false, &mut scratch);
        assert!(dw.iter().all(|&y| y == 0.0), "{}", k.isa);
        // The bias, also where there is one output, or nothing else.
        for (inputs, outputs) in [(24, 24), (24, 1), (0, 3)] {
            let sizes = Linear { heads: 1, rows: 40, inputs, outputs, shared_input: false };
            let (dy, mut db) = (vec![tiny; 40 * outputs], vec![f32::NAN; outputs]);
            let dw = &mut dw[..inputs * outputs];
            (k.linear_dw)(&sizes, &x[..40 * inputs], &dy, dw, Some(&mut db), false, &mut scratch);
            assert!(db.iter().all(|&y| y == 0.0), "{} {inputs} x {outputs}: {db:?}", k.isa);
        }
    }
    // The thread that called them is as it was.
    assert!(std::hint::black_box(small) * std::hint::black_box(0.5) > 0.0);
}
