//! The modes of the linear family on bf16, by every unit that is here. `-- --nocapture` shows which these are, and the
//! errors of each mode.

mod common;

use baq_kernels::linear::reference;
use baq_kernels::{Activation, Kernels, Linear, Numerics, Scratch, Unit, for_isa, units};
use common::layers::{
    absolute, check_all, check_blocks, check_groups, check_integers, check_nan, name, outputs, scratch,
};
use common::{Numbers, Odd, SIZES, bits, modes, with_threads};

/// One more than all that the vector code and the tiles divide by, and so on.
const LARGE: [usize; 14] = [64, 65, 66, 67, 71, 72, 80, 81, 95, 96, 97, 127, 128, 129];

#[test]
fn every_size_agrees_with_the_reference() {
    let tables = modes();
    let mut n = Numbers::new(7);
    let mut cases = 0;
    for role in 0..3 {
        for size in LARGE.into_iter().chain([255, 256, 257, 300]) {
            let mut shape = [n.below(8), n.below(8), n.below(8)].map(|i| LARGE[i]);
            shape[role] = size;
            let [rows, inputs, outputs] = shape;
            let heads = n.below(3).max(1);
            let s = Linear { heads, rows, inputs, outputs, shared_input: n.below(2) == 0 };
            check_all(&tables, &s, cases);
            cases += 1;
        }
    }
    for (rows, inputs, outputs) in [(300, 300, 300), (600, 70, 80), (64, 600, 64), (65, 64, 600)] {
        check_all(&tables, &Linear { heads: 1, rows, inputs, outputs, shared_input: inputs < 100 }, cases);
        cases += 1;
    }
    for k in tables {
        println!("{}: {cases} shapes", name(k));
    }
}

#[test]
fn other_sizes_are_f32() {
    for k in modes() {
        let f32 = for_isa(k.isa).expect("its modes are here");
        let mut n = Numbers::new(3);
        let mut sizes: Vec<[usize; 3]> = vec![[0, 64, 64], [256, 17, 256], [256, 256, 1], [1, 256, 256]];
        for role in 0..3 {
            for size in SIZES.into_iter().filter(|&n| n < 64) {
                let mut shape = [n.below(25), n.below(25), n.below(25)].map(|i| SIZES[i]);
                shape[role] = size;
                sizes.push(shape);
            }
        }
        for [rows, inputs, outs] in sizes {
            let s = Linear { heads: 2, rows, inputs, outputs: outs, shared_input: inputs % 2 == 0 };
            assert!(outputs(k, &s) == outputs(f32, &s), "{} {s:?}", name(k));
        }
        // And the mode is one.
        let s = Linear { heads: 1, rows: 64, inputs: 64, outputs: 64, shared_input: false };
        let (a, b) = (outputs(k, &s), outputs(f32, &s));
        for (what, (a, b)) in ["y", "dx", "dw"].into_iter().zip(a.iter().zip(&b)) {
            assert_ne!(a, b, "{}: {what} is f32", name(k));
        }
    }
}

#[test]
fn small_integers_are_exact() {
    let tables = modes();
    for (rows, inputs, outputs) in [(128, 256, 128), (65, 257, 70), (300, 64, 97)] {
        for shared_input in [false, true] {
            check_integers(&tables, &Linear { heads: 2, rows, inputs, outputs, shared_input });
        }
    }
}

#[test]
fn one_nan_reaches_its_row_and_column_only() {
    for k in modes() {
        for (rows, inputs, outputs) in [(64, 70, 64), (97, 64, 129)] {
            check_nan(k, &Linear { heads: 1, rows, inputs, outputs, shared_input: false });
        }
    }
}

#[test]
fn a_bias_for_every_group_of_rows() {
    for k in modes() {
        for (groups, size) in [(1, 70), (8, 30), (37, 3), (2, 32), (70, 1)] {
            for (inputs, outputs) in [(64, 65), (300, 70)] {
                let s = Linear { heads: 2, rows: groups * size, inputs, outputs, shared_input: true };
                check_groups(k, &s, groups);
            }
        }
    }
}

#[test]
fn gradients_add_up_in_blocks_and_packed_weights_last() {
    for k in modes() {
        for (rows, inputs, outputs) in [(64, 256, 128), (90, 100, 65), (260, 64, 70)] {
            check_blocks(k, &Linear { heads: 2, rows, inputs, outputs, shared_input: false });
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    for k in modes() {
        for (heads, rows, inputs, outs) in
            [(1, 128, 256, 128), (2, 97, 129, 65), (3, 300, 64, 64), (1, 64, 300, 100)]
        {
            for shared_input in [false, true] {
                let s = Linear { heads, rows, inputs, outputs: outs, shared_input };
                let one = with_threads(1, || outputs(k, &s));
                for threads in [2, 4] {
                    let many = with_threads(threads, || outputs(k, &s));
                    assert!(one == many, "{} {s:?} with {threads} threads", name(k));
                }
            }
        }
    }
}

#[test]
fn units_agree() {
    for k in modes() {
        let emulated = units(k.isa, k.numerics).next().expect("everybody has it");
        if k.unit == Some(Unit::Emulated) {
            continue;
        }
        for (rows, inputs, outs) in [(64, 64, 64), (256, 256, 256), (97, 300, 129)] {
            let s = Linear { heads: 2, rows, inputs, outputs: outs, shared_input: false };
            if k.unit == Some(Unit::Amx) {
                assert!(outputs(k, &s) == outputs(emulated, &s), "{} {s:?}", name(k));
                println!("{} {s:?}: the bits of the emulation", name(k));
                continue;
            }
            // The same products, added in another order.
            let mut n = Numbers::new(29);
            let (x, w) = (n.units(2 * rows * inputs), n.units(2 * inputs * outs));
            let [mut y, mut want, mut scale] = [(); 3].map(|()| Odd::new(2 * rows * outs));
            for (k, y) in [(k, &mut y), (emulated, &mut want)] {
                (k.linear)(&s, &x, &w, None, Activation::Identity, y, Scratch::Empty(&mut scratch(k, &s)));
            }
            reference::linear(&s, &absolute(&x), &absolute(&w), None, Activation::Identity, &mut scale);
            for i in 0..y.len() {
                let bound = 2f32.powi(-23) * (8.0 + (inputs as f32).sqrt()) * scale[i];
                assert!((y[i] - want[i]).abs() <= bound, "{} {s:?} {i}: {} {}", name(k), y[i], want[i]);
            }
        }
    }
}

#[test]
fn numbers_below_the_normal_ones_are_zeros() {
    for k in modes() {
        let s = Linear { heads: 1, rows: 64, inputs: 64, outputs: 64, shared_input: false };
        for (x, w, want) in [
            (f32::MIN_POSITIVE / 4.0, 1.0, 0.0),
            (2f32.powi(-100), 2f32.powi(-40), 0.0),
            (f32::MIN_POSITIVE, 1.0, 64.0 * f32::MIN_POSITIVE),
        ] {
            let (x, w, mut y) = (Odd::from(vec![x; 4096]), Odd::from(vec![w; 4096]), Odd::new(4096));
            (k.linear)(&s, &x, &w, None, Activation::Identity, &mut y, Scratch::Empty(&mut scratch(k, &s)));
            assert_eq!(bits(&y), bits(&[want; 4096]), "{}", name(k));
        }
    }
}

/// c `[m, n]` = a `[m, k]` b `[k, n]` in f64; elements by row and column.
fn exact(
    [m, k, n]: [usize; 3],
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let b: Vec<f64> = (0..k * n).map(|i| f64::from(b(i / n, i % n))).collect();
    let mut c = vec![0.0; m * n];
    for (i, c) in c.chunks_exact_mut(n).enumerate() {
        for (l, b) in b.chunks_exact(n).enumerate() {
            let a = f64::from(a(i, l));
            c.iter_mut().zip(b).for_each(|(c, b)| *c += a * b);
        }
    }
    c
}

/// Root mean square and largest error, both in units of the result's root mean square.
fn errors(got: &[f32], want: &[f64]) -> [f64; 2] {
    let square = |sum: f64| (sum / want.len() as f64).sqrt();
    let size = square(want.iter().map(|x| x * x).sum());
    let error = |(g, w): (&f32, &f64)| (f64::from(*g) - w).abs();
    let rms = square(got.iter().zip(want).map(error).map(|e| e * e).sum());
    [rms / size, got.iter().zip(want).map(error).fold(0.0, f64::max) / size]
}

/// The shapes of the documentation, on normal data.
#[test]
fn errors_are_those_of_the_documentation() {
    let tables = modes();
    for [rows, inputs, outputs] in [[256, 256, 256], [2560, 256, 256], [256, 17, 256]] {
        let s = Linear { heads: 1, rows, inputs, outputs, shared_input: false };
        let mut n = Numbers::new(31);
        let [x, w, dy] =
            [rows * inputs, inputs * outputs, rows * outputs].map(|len| Odd::from(n.normals(len)));
        let want = [
            exact([rows, inputs, outputs], |r, k| x[r * inputs + k], |k, c| w[k * outputs + c]),
            exact([rows, outputs, inputs], |r, k| dy[r * outputs + k], |k, c| w[c * outputs + k]),
            exact([inputs, rows, outputs], |r, k| x[k * inputs + r], |k, c| dy[k * outputs + c]),
        ];
        let measure = |k: &Kernels| {
            let (mut y, mut dx, mut dw) = (Odd::new(dy.len()), Odd::new(x.len()), Odd::new(w.len()));
            let mut room = scratch(k, &s);
            (k.linear)(&s, &x, &w, None, Activation::Identity, &mut y, Scratch::Empty(&mut room));
            (k.linear_dx)(&s, &dy, &w, None, &mut dx, Scratch::Empty(&mut room));
            (k.linear_dw)(&s, &x, &dy, &mut dw, None, false, &mut room);
            [errors(&y, &want[0]), errors(&dx, &want[1]), errors(&dw, &want[2])]
        };
        for k in &tables {
            let (f32, this) = (measure(for_isa(k.isa).expect("its modes are here")), measure(k));
            for (op, (f32, [rms, worst])) in ["y", "dx", "dw"].into_iter().zip(f32.into_iter().zip(this)) {
                let what = format!("{} {op} {rows}x{inputs}x{outputs}", name(k));
                println!("{what}: rms {rms:.1e} worst {worst:.1e}, f32 {:.1e} {:.1e}", f32[0], f32[1]);
                let most = match k.numerics {
                    Numerics::F32 => f32[0],
                    Numerics::Bf16x6 => 1.5 * f32[0],
                    Numerics::Bf16x3 => 1e-5,
                    Numerics::Bf16 => 4e-3,
                };
                assert!(rms <= most, "{what}: rms {rms:e}, expected at most {most:e}");
            }
        }
    }
}
