//! Every kernel at a few odd sizes, on slices that end where their memory ends: small enough for an interpreter of Rust that checks every
//! access (`.ci/miri`). What comes out is compared with the references elsewhere; here it must be finite.

use baq_kernels::gather::{Part, gather};
use baq_kernels::{
    Activation, AdamStep, Binary, Broadcast, Kernels, Linear, Norm, NormGradients, Scratch, Unary, available,
    philox,
};

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| 0.5 + (i * 7 % 13) as f32 / 16.0).collect()
}

fn finite(what: &str, k: &Kernels, x: &[f32]) {
    assert!(x.iter().all(|x| x.is_finite()), "{what} {}: {x:?}", k.isa);
}

/// Heads, rows, inputs, outputs.
const LAYERS: [[usize; 4]; 6] =
    [[1, 1, 1, 1], [2, 5, 3, 17], [1, 9, 33, 2], [2, 3, 1, 9], [1, 30, 40, 19], [1, 2, 7, 1]];

fn layers(k: &Kernels) {
    for ([heads, rows, inputs, outputs], shared_input) in
        LAYERS.into_iter().zip([true, false].into_iter().cycle())
    {
        let s = Linear { heads, rows, inputs, outputs, shared_input };
        let x = numbers(if shared_input { 1 } else { heads } * rows * inputs);
        let (w, b) = (numbers(heads * inputs * outputs), numbers(heads * outputs));
        let (mut y, mut dx) = (vec![0.0; heads * rows * outputs], vec![0.0; x.len()]);
        let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; b.len()]);
        let mut scratch = vec![0.0; (k.linear_scratch)(&s)];
        for act in [Activation::Relu, Activation::Tanh] {
            (k.linear)(&s, &x, &w, Some(&b), act, &mut y, Scratch::Keep(&mut scratch));
            (k.linear)(&s, &x, &w, Some(&b), act, &mut y, Scratch::Packed(&scratch));
            (k.linear_dx)(&s, &y, &w, Some((act, &x)), &mut dx, Scratch::Empty(&mut scratch));
            (k.linear_dw)(&s, &x, &y, &mut dw, Some(&mut db), act == Activation::Tanh, &mut scratch);
        }
        [&y, &dx, &dw, &db].iter().for_each(|out| finite("linear", k, out));
    }
}

fn norms(k: &Kernels) {
    for (heads, rows, cols) in [(1, 1, 1), (2, 9, 17), (1, 17, 40), (1, 66, 3)] {
        let s = Norm { heads, rows, cols, eps: 1e-6 };
        let (x, gain) = (numbers(heads * rows * cols), numbers(heads * cols));
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut dgain, mut dbias) = (vec![0.0; gain.len()], vec![0.0; gain.len()]);
        let mut scratch = vec![0.0; s.scratch()];
        (k.layer_norm)(&s, &x, &gain, &gain, true, &mut y);
        for add in [false, true] {
            let (dgain, dbias) = (Some(&mut dgain[..]), Some(&mut dbias[..]));
            let gradients = NormGradients { dx: Some(&mut dx), dgain, dbias, add, scratch: &mut scratch };
            (k.layer_norm_grad)(&s, &x, &gain, &y, gradients);
        }
        [&y, &dx, &dgain, &dbias].iter().for_each(|out| finite("layer_norm", k, out));
    }
}

fn element_wise(k: &Kernels) {
    for n in [1, 7, 8, 9, 35] {
        let (x, mut y) = (numbers(n), vec![0.0; n]);
        for f in [
            Unary::Exp,
            Unary::Log,
            Unary::Tanh,
            Unary::Softplus,
            Unary::Sigmoid,
            Unary::Gelu,
            Unary::GeluSlope,
            Unary::Sign,
        ] {
            (k.unary)(f, &x, &mut y);
            finite("unary", k, &y);
        }
        for (a, b) in [([0, 0, 1], [0, 0, 1]), ([0, 0, 1], [0, 0, 0]), ([0, 0, 0], [0, 0, 1])] {
            let shape = Broadcast { dims: [1, 1, n], a, b };
            let part = |s: [usize; 3]| if s[2] == 1 { &x[..] } else { &x[..1] };
            (k.binary)(Binary::Expectile, &shape, part(a), part(b), &mut y);
            finite("binary", k, &y);
        }
        let step = AdamStep { step_size: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, rsqrt_bias2: 1.0 };
        let [mut theta, mut m, mut v] = [(); 3].map(|()| numbers(n));
        (k.adam)(&step, &mut theta, &x, &mut m, &mut v);
        (k.polyak)(0.1, &mut theta, &x);
        finite("optimiser", k, &theta);
        assert!((k.digest)(&theta).squares > 0.0);
    }
}

fn reductions(k: &Kernels) {
    for dims @ [o, n, i] in [[1, 1, 1], [9, 5, 1], [1, 300, 1], [2, 66, 9], [1, 3, 40]] {
        let x = numbers(o * n * i);
        let (mut y, mut dx) = (vec![0.0; o * i], vec![0.0; x.len()]);
        (k.sum)(dims, &x, &mut y);
        finite("sum", k, &y);
        (k.min)(dims, &x, &mut y);
        (k.min_grad)(dims, &x, &y, &numbers(o * i), &mut dx);
        finite("min", k, &dx);
        if i == 1 {
            (k.log_sum_exp)([o, n], &x, &mut y);
            finite("log_sum_exp", k, &y);
        }
    }
}

#[test]
fn every_kernel_stays_inside_its_slices() {
    for k in available() {
        println!("{}", k.isa);
        layers(k);
        norms(k);
        element_wise(k);
        reductions(k);
    }
}

#[test]
fn rows_and_noise_stay_inside_their_slices() {
    let records = numbers(5 * 7);
    let (mut a, mut b) = (vec![0.0; 3 * 2], vec![0.0; 3]);
    let parts = &mut [Part { offset: 0, len: 2, out: &mut a }, Part { offset: 6, len: 1, out: &mut b }];
    gather(&records, 7, &[4, 0, 3], parts);
    assert_eq!((a[0], b[0]), (records[28], records[34]));
    for n in [1, 3, 5, 67] {
        let mut y = vec![f32::NAN; n];
        philox::fill_uniform(1, 2, 3, &mut y);
        philox::fill_normal(1, 2, 3, &mut y);
        philox::fill_subset(1, 2, 3, n, &mut y);
        assert!(y.iter().all(|x| x.is_finite()));
    }
}
