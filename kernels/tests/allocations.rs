//! The SIMD kernels allocate nothing, whatever the number of threads.

mod common;

use baq_kernels::{
    Activation, AdamStep, Binary, Broadcast, CountingAllocator, Isa, Kernels, Linear, Norm, NormGradients,
    Scratch, Unary,
};
use common::layers::name;
use common::{Numbers, modes, variants, with_threads};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn count() -> u64 {
    baq_kernels::allocations().expect("the counter is installed")
}

/// Allocations of the third of three rounds of every kernel.
fn allocations(k: &Kernels) -> u64 {
    let mut n = Numbers::new(1);
    let layers =
        [[2, 256, 256, 256], [2, 256, 17, 256], [2, 700, 256, 1], [1, 256, 256, 6], [1, 1, 256, 256]];
    let mut layers = layers.map(|[heads, rows, inputs, outputs]| {
        let s = Linear { heads, rows, inputs, outputs, shared_input: false };
        let (x, w) = (n.units(heads * rows * inputs), n.units(heads * inputs * outputs));
        let (b, y, scratch) =
            (n.units(heads * outputs), n.units(heads * rows * outputs), n.units((k.linear_scratch)(&s)));
        (s, x, w, b, y, scratch)
    });
    let mut arrays = [(); 4].map(|()| n.units(300_000));
    let step = AdamStep { step_size: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, rsqrt_bias2: 1.0 };
    let gain = n.units(1200);
    let mut counted = 0;
    for _ in 0..3 {
        let before = count();
        for (s, x, w, b, y, scratch) in &mut layers {
            (k.linear)(s, x, w, Some(b), Activation::Tanh, y, Scratch::Empty(scratch));
            (k.linear_dw)(s, x, y, w, Some(b), false, scratch);
            (k.linear_dx)(s, y, w, None, x, Scratch::Empty(scratch));
        }
        let [a, b, c, d] = &mut arrays;
        let shape = Broadcast { dims: [1, 1, 300_000], a: [0, 0, 1], b: [0, 0, 0] };
        (k.unary)(Unary::Softplus, a, b);
        (k.binary)(Binary::Expectile, &shape, a, b, c);
        (k.sum)([100, 3000, 1], a, &mut b[..100]);
        (k.sum)([1, 1000, 300], a, &mut b[..300]);
        (k.min)([2, 2, 75_000], a, &mut b[..150_000]);
        (k.min_grad)([2, 2, 75_000], a, &b[..150_000], &c[..150_000], d);
        (k.log_sum_exp)([10_000, 30], a, &mut b[..10_000]);
        let s = Norm { heads: 4, rows: 250, cols: 300, eps: 1e-6 };
        (k.layer_norm)(&s, a, &c[..1200], &d[..1200], true, b);
        let (dgain, scratch) = c.split_at_mut(1200);
        let gradients = NormGradients { dx: Some(d), dgain: Some(dgain), dbias: None, add: false, scratch };
        (k.layer_norm_grad)(&s, a, &gain, b, gradients);
        (k.adam)(&step, a, b, c, d);
        (k.polyak)(0.5, a, b);
        counted = count() - before;
    }
    counted
}

#[test]
fn steady_state_allocates_nothing() {
    for k in variants().into_iter().chain(modes().into_iter().filter(|k| k.isa > Isa::Portable)) {
        for threads in [1, 2] {
            let count = with_threads(threads, || allocations(k));
            println!("{} with {threads} threads: {count} allocations", name(k));
            if k.isa > Isa::Portable {
                assert_eq!(count, 0, "{} with {threads} threads", name(k));
            }
        }
    }
}
