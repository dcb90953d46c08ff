//! The linear family: every variant against the reference.

mod common;

use baq_kernels::linear::reference;
use baq_kernels::{Activation, Kernels, Linear, Scratch};
use common::{Numbers, Odd, SIZES, bits, variants, with_threads};

const ACTS: [Activation; 3] = [Activation::Identity, Activation::Relu, Activation::Tanh];

fn scratch(k: &Kernels, s: &Linear) -> Odd {
    Odd::new((k.linear_scratch)(s))
}

fn absolute(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| x.abs()).collect()
}

/// |got - want| within the contract's bound; `scale` holds Σ|terms|.
fn compare(what: &str, s: &Linear, got: &[f32], want: &[f32], scale: &[f32], terms: usize) {
    for i in 0..want.len() {
        let bound = 2f32.powi(-23) * ((8.0 + (terms as f32).sqrt()) * scale[i] + 4.0 * want[i].abs());
        let error = (got[i] - want[i]).abs();
        assert!(error <= bound, "{what} {s:?} element {i}: {} instead of {}, bound {bound}", got[i], want[i]);
    }
}

/// All three operations of one size, against the reference.
fn check_all(k: &Kernels, s: &Linear, seed: u64) {
    let mut n = Numbers::new(seed);
    let Linear { heads, rows, inputs, outputs, shared_input } = *s;
    let x_heads = if shared_input { 1 } else { heads };
    let act = ACTS[n.below(3)];
    let (with_bias, masked) = (n.below(3) > 0, n.below(3) > 0);
    let (x, w) = (n.units(x_heads * rows * inputs), n.units(heads * inputs * outputs));
    let (b, dy) = (n.units(heads * outputs), n.units(heads * rows * outputs));
    let b = with_bias.then_some(&*b);
    let mask = masked.then_some((act, &*x));
    let name = |op: &str| format!("{} {op} {act:?}", k.isa);

    let (mut y, mut want, mut scale) = (Odd::new(dy.len()), Odd::new(dy.len()), Odd::new(dy.len()));
    (k.linear)(s, &x, &w, b, act, &mut y, Scratch::Empty(&mut scratch(k, s)));
    reference::linear(s, &x, &w, b, act, &mut want);
    let positive = b.map(absolute);
    reference::linear(s, &absolute(&x), &absolute(&w), positive.as_deref(), Activation::Identity, &mut scale);
    compare(&name("y"), s, &y, &want, &scale, inputs + 1);
    y.check_fence();

    let (mut dx, mut want, mut scale) = (Odd::new(x.len()), Odd::new(x.len()), Odd::new(x.len()));
    (k.linear_dx)(s, &dy, &w, mask, &mut dx, Scratch::Empty(&mut scratch(k, s)));
    reference::linear_dx(s, &dy, &w, mask, &mut want);
    reference::linear_dx(s, &absolute(&dy), &absolute(&w), None, &mut scale);
    compare(&name("dx"), s, &dx, &want, &scale, outputs * heads);
    dx.check_fence();

    let (mut dw, mut want, mut scale) = (Odd::new(w.len()), Odd::new(w.len()), Odd::new(w.len()));
    let size = heads * outputs;
    let (mut db, mut want_b, mut scale_b) = (Odd::new(size), Odd::new(size), Odd::new(size));
    (k.linear_dw)(s, &x, &dy, &mut dw, Some(&mut db), false);
    reference::linear_dw(s, &x, &dy, &mut want, Some(&mut want_b));
    reference::linear_dw(s, &absolute(&x), &absolute(&dy), &mut scale, Some(&mut scale_b));
    compare(&name("dw"), s, &dw, &want, &scale, rows);
    compare(&name("db"), s, &db, &want_b, &scale_b, rows);
    dw.check_fence();
    db.check_fence();
    let mut alone = Odd::new(w.len());
    (k.linear_dw)(s, &x, &dy, &mut alone, None, false);
    assert_eq!(bits(&alone), bits(&dw), "{}: db changed dw of {s:?}", k.isa);
}

#[test]
fn every_size_agrees_with_the_reference() {
    for k in variants() {
        let mut n = Numbers::new(7);
        let mut cases = 0;
        // Each size in each role, the other roles drawn.
        for role in 0..3 {
            for size in SIZES {
                for draw in 0..6 {
                    let mut shape = [n.below(25), n.below(25), n.below(25)].map(|i| SIZES[i]);
                    if draw > 0 {
                        shape = shape.map(|s| s.min(65));
                    }
                    shape[role] = size;
                    let [rows, inputs, outputs] = shape;
                    let heads = n.below(4).max(1);
                    let s = Linear { heads, rows, inputs, outputs, shared_input: n.below(2) == 0 };
                    check_all(k, &s, cases);
                    cases += 1;
                }
            }
        }
        // All small combinations, where one path gives way to another.
        for rows in [1, 2, 3, 13, 25, 33] {
            for inputs in [1, 3, 6, 11, 14, 16, 17, 23] {
                for outputs in [1, 2, 3, 6, 7, 12, 13, 17, 32, 33] {
                    let s = Linear { heads: 2, rows, inputs, outputs, shared_input: inputs % 2 == 0 };
                    check_all(k, &s, cases);
                    cases += 1;
                }
            }
        }
        // Shapes of real networks, and sums longer than a block.
        for (rows, inputs, outputs) in [
            (256, 17, 256),
            (256, 256, 256),
            (256, 256, 1),
            (256, 256, 6),
            (1, 256, 256),
            (300, 300, 300),
            (700, 23, 40),
            (700, 600, 3),
        ] {
            for heads in [1, 2] {
                check_all(k, &Linear { heads, rows, inputs, outputs, shared_input: inputs < 100 }, cases);
                cases += 1;
            }
        }
        println!("{}: {cases} shapes", k.isa);
    }
}

#[test]
fn no_heads_and_no_sums() {
    for k in variants() {
        let none = Linear { heads: 0, rows: 3, inputs: 2, outputs: 2, shared_input: true };
        let mut dx = [f32::NAN; 6];
        (k.linear_dx)(&none, &[], &[], None, &mut dx, Scratch::Empty(&mut scratch(k, &none)));
        assert_eq!(dx, [0.0; 6]);
        let no_inputs = Linear { heads: 1, rows: 2, inputs: 0, outputs: 3, shared_input: false };
        let mut y = [f32::NAN; 6];
        (k.linear)(
            &no_inputs,
            &[],
            &[],
            Some(&[1.0, -2.0, 3.0]),
            Activation::Relu,
            &mut y,
            Scratch::Empty(&mut scratch(k, &no_inputs)),
        );
        assert_eq!(y, [1.0, 0.0, 3.0, 1.0, 0.0, 3.0]);
        let mut db = [f32::NAN; 3];
        (k.linear_dw)(&no_inputs, &[], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut [], Some(&mut db), false);
        assert_eq!(db, [5.0, 7.0, 9.0]);
        let no_rows = Linear { heads: 1, rows: 0, inputs: 40, outputs: 40, shared_input: false };
        let (mut dw, mut db) = (vec![f32::NAN; 1600], vec![f32::NAN; 40]);
        (k.linear_dw)(&no_rows, &[], &[], &mut dw, Some(&mut db), false);
        assert!(dw.iter().chain(&db).all(|&x| x == 0.0));
    }
}

#[test]
fn small_integers_are_exact() {
    for k in variants() {
        for (rows, inputs, outputs) in [
            (256, 256, 256),
            (257, 17, 256),
            (64, 256, 6),
            (33, 255, 1),
            (1, 256, 256),
            (5, 11, 3),
            (600, 14, 12),
        ] {
            for shared_input in [false, true] {
                let s = Linear { heads: 2, rows, inputs, outputs, shared_input };
                let mut n = Numbers::new(3);
                let x = n.smalls(if shared_input { 1 } else { 2 } * rows * inputs);
                let (w, b, dy) =
                    (n.smalls(2 * inputs * outputs), n.smalls(2 * outputs), n.smalls(2 * rows * outputs));
                let (mut y, mut want) = (Odd::new(dy.len()), Odd::new(dy.len()));
                (k.linear)(
                    &s,
                    &x,
                    &w,
                    Some(&b),
                    Activation::Relu,
                    &mut y,
                    Scratch::Empty(&mut scratch(k, &s)),
                );
                reference::linear(&s, &x, &w, Some(&b), Activation::Relu, &mut want);
                assert_eq!(&*y, &*want, "{} y {s:?}", k.isa);
                let (mut dx, mut want) = (Odd::new(x.len()), Odd::new(x.len()));
                (k.linear_dx)(
                    &s,
                    &dy,
                    &w,
                    Some((Activation::Relu, &x)),
                    &mut dx,
                    Scratch::Empty(&mut scratch(k, &s)),
                );
                reference::linear_dx(&s, &dy, &w, Some((Activation::Relu, &x)), &mut want);
                assert_eq!(&*dx, &*want, "{} dx {s:?}", k.isa);
                let (mut dw, mut want) = (Odd::new(w.len()), Odd::new(w.len()));
                let (mut db, mut want_b) = (Odd::new(b.len()), Odd::new(b.len()));
                (k.linear_dw)(&s, &x, &dy, &mut dw, Some(&mut db), false);
                reference::linear_dw(&s, &x, &dy, &mut want, Some(&mut want_b));
                assert_eq!(&*dw, &*want, "{} dw {s:?}", k.isa);
                assert_eq!(&*db, &*want_b, "{} db {s:?}", k.isa);
            }
        }
    }
}

#[test]
fn one_nan_reaches_its_row_and_column_only() {
    for k in variants() {
        for outputs in [1, 6, 40, 256] {
            for rows in [7, 70] {
                let s = Linear { heads: 1, rows, inputs: 50, outputs, shared_input: false };
                let mut n = Numbers::new(5);
                let (mut x, w, mut dy) = (n.units(rows * 50), n.units(50 * outputs), n.units(rows * outputs));
                let row = 4;
                x[row * 50 + 49] = f32::NAN;
                let mut y = Odd::new(rows * outputs);
                (k.linear)(&s, &x, &w, None, Activation::Relu, &mut y, Scratch::Empty(&mut scratch(k, &s)));
                for (i, y) in y.iter().enumerate() {
                    assert_eq!(y.is_nan(), i / outputs == row, "{} y {s:?} {i}", k.isa);
                }
                let mut dw = Odd::new(50 * outputs);
                (k.linear_dw)(&s, &x, &dy, &mut dw, None, false);
                for (i, dw) in dw.iter().enumerate() {
                    assert_eq!(dw.is_nan(), i / outputs == 49, "{} dw {s:?} {i}", k.isa);
                }
                dy[row * outputs] = f32::INFINITY;
                let mut dx = Odd::new(rows * 50);
                (k.linear_dx)(&s, &dy, &w, None, &mut dx, Scratch::Empty(&mut scratch(k, &s)));
                for (i, dx) in dx.iter().enumerate() {
                    assert_eq!(dx.is_finite(), i / 50 != row, "{} dx {s:?} {i}", k.isa);
                }
                x.fill(-1.0);
                (k.linear_dx)(
                    &s,
                    &dy,
                    &w,
                    Some((Activation::Relu, &x)),
                    &mut dx,
                    Scratch::Empty(&mut scratch(k, &s)),
                );
                assert!(dx.iter().all(|&x| x == 0.0), "{}: a mask of 0 gives 0", k.isa);
            }
        }
    }
}

/// All outputs of one size, as bits.
fn outputs(k: &Kernels, s: &Linear) -> [Vec<u32>; 4] {
    let mut n = Numbers::new(11);
    let x = n.units(if s.shared_input { 1 } else { s.heads } * s.rows * s.inputs);
    let (w, b) = (n.units(s.heads * s.inputs * s.outputs), n.units(s.heads * s.outputs));
    let dy = n.units(s.heads * s.rows * s.outputs);
    let (mut y, mut dx, mut dw, mut db) =
        (Odd::new(dy.len()), Odd::new(x.len()), Odd::new(w.len()), Odd::new(b.len()));
    (k.linear)(s, &x, &w, Some(&b), Activation::Tanh, &mut y, Scratch::Empty(&mut scratch(k, s)));
    (k.linear_dx)(s, &dy, &w, Some((Activation::Relu, &x)), &mut dx, Scratch::Empty(&mut scratch(k, s)));
    (k.linear_dw)(s, &x, &dy, &mut dw, Some(&mut db), false);
    [bits(&y), bits(&dx), bits(&dw), bits(&db)]
}

#[test]
fn a_bias_for_every_group_of_rows() {
    for k in variants() {
        for (groups, size) in [(1, 7), (8, 30), (37, 3), (5, 64), (256, 1)] {
            for (inputs, outputs) in [(3, 256), (6, 17), (40, 33), (256, 2), (0, 5), (300, 70)] {
                let s = Linear { heads: 2, rows: groups * size, inputs, outputs, shared_input: true };
                let mut n = Numbers::new(19);
                let (x, w) = (n.units(s.rows * inputs), n.units(2 * inputs * outputs));
                let (b, mut y) = (n.units(2 * groups * outputs), Odd::new(2 * s.rows * outputs));
                (k.linear)(
                    &s,
                    &x,
                    &w,
                    Some(&b),
                    Activation::Relu,
                    &mut y,
                    Scratch::Empty(&mut scratch(k, &s)),
                );
                y.check_fence();
                let mut want = vec![0.0; y.len()];
                reference::linear(&s, &x, &w, Some(&b), Activation::Relu, &mut want);
                let (x, w, b) = (absolute(&x), absolute(&w), absolute(&b));
                let mut scale = vec![0.0; y.len()];
                reference::linear(&s, &x, &w, Some(&b), Activation::Identity, &mut scale);
                compare(&format!("{} {groups} groups", k.isa), &s, &y, &want, &scale, inputs + 1);
            }
        }
    }
}

#[test]
fn gradients_add_up_in_blocks_and_packed_weights_last() {
    for k in variants() {
        for (rows, inputs, outputs) in [(64, 256, 256), (60, 17, 40), (90, 256, 1), (33, 3, 256), (48, 70, 6)]
        {
            let s = Linear { heads: 2, rows, inputs, outputs, shared_input: false };
            let mut n = Numbers::new(23);
            let (w, b) = (n.units(2 * inputs * outputs), n.units(2 * outputs));
            let (mut dw, mut db) = (Odd::new(w.len()), Odd::new(b.len()));
            let (mut kept, mut kept_dx) = (scratch(k, &s), scratch(k, &s));
            // The same blocks as one long batch, for the reference.
            let whole = Linear { rows: 3 * rows, ..s };
            let (mut all_x, mut all_dy) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
            for block in 0..3 {
                let (x, dy) = (n.units(2 * rows * inputs), n.units(2 * rows * outputs));
                for j in 0..2 {
                    all_x[j].extend_from_slice(&x[j * rows * inputs..][..rows * inputs]);
                    all_dy[j].extend_from_slice(&dy[j * rows * outputs..][..rows * outputs]);
                }
                (k.linear_dw)(&s, &x, &dy, &mut dw, Some(&mut db), block > 0);

                let (mut once, mut again) = (Odd::new(dy.len()), Odd::new(dy.len()));
                (k.linear)(
                    &s,
                    &x,
                    &w,
                    Some(&b),
                    Activation::Relu,
                    &mut once,
                    Scratch::Empty(&mut scratch(k, &s)),
                );
                let packed = if block == 0 { Scratch::Keep(&mut kept) } else { Scratch::Packed(&kept) };
                (k.linear)(&s, &x, &w, Some(&b), Activation::Relu, &mut again, packed);
                assert_eq!(bits(&once), bits(&again), "{} y {s:?} block {block}", k.isa);
                let (mut once, mut again) = (Odd::new(x.len()), Odd::new(x.len()));
                (k.linear_dx)(&s, &dy, &w, None, &mut once, Scratch::Empty(&mut scratch(k, &s)));
                let packed = if block == 0 { Scratch::Keep(&mut kept_dx) } else { Scratch::Packed(&kept_dx) };
                (k.linear_dx)(&s, &dy, &w, None, &mut again, packed);
                assert_eq!(bits(&once), bits(&again), "{} dx {s:?} block {block}", k.isa);
            }
            dw.check_fence();
            db.check_fence();
            let (x, dy) = (all_x.concat(), all_dy.concat());
            let (mut want, mut want_b) = (vec![0.0; dw.len()], vec![0.0; db.len()]);
            reference::linear_dw(&whole, &x, &dy, &mut want, Some(&mut want_b));
            let (mut scale, mut scale_b) = (vec![0.0; dw.len()], vec![0.0; db.len()]);
            reference::linear_dw(&whole, &absolute(&x), &absolute(&dy), &mut scale, Some(&mut scale_b));
            compare(&format!("{} dw", k.isa), &whole, &dw, &want, &scale, 3 * rows);
            compare(&format!("{} db", k.isa), &whole, &db, &want_b, &scale_b, 3 * rows);
        }
    }
}

#[test]
#[should_panic(expected = "b: 2 rows a head, not a divisor of 3")]
fn groups_of_unequal_size_are_refused() {
    let s = Linear { heads: 1, rows: 3, inputs: 1, outputs: 1, shared_input: false };
    let (x, b) = ([0.0; 3], [0.0; 2]);
    let act = Activation::Relu;
    (baq_kernels::best().linear)(&s, &x, &[0.0], Some(&b), act, &mut [0.0; 3], Scratch::Empty(&mut []));
}

#[test]
fn threads_do_not_change_bits() {
    for k in variants() {
        for (heads, rows, inputs, outs) in [
            (1, 256, 256, 256),
            (2, 256, 17, 256),
            (2, 1500, 256, 6),
            (3, 2000, 256, 1),
            (1, 515, 300, 200),
            (2, 1300, 256, 23),
        ] {
            for shared_input in [false, true] {
                let s = Linear { heads, rows, inputs, outputs: outs, shared_input };
                let one = with_threads(1, || outputs(k, &s));
                for threads in [2, 4] {
                    assert!(
                        one == with_threads(threads, || outputs(k, &s)),
                        "{} {s:?} with {threads} threads",
                        k.isa
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    for k in variants() {
        if k.isa == baq_kernels::Isa::Portable {
            continue; // not promised: matrixmultiply may choose another kernel for one row
        }
        for outs in [1, 3, 6, 12, 17, 40, 256] {
            for inputs in [11, 17, 256, 600] {
                let many = Linear { heads: 1, rows: 100, inputs, outputs: outs, shared_input: false };
                let one = Linear { rows: 1, ..many };
                let mut n = Numbers::new(13);
                let (x, w, b) = (n.units(100 * inputs), n.units(inputs * outs), n.units(outs));
                let mut all = Odd::new(100 * outs);
                (k.linear)(
                    &many,
                    &x,
                    &w,
                    Some(&b),
                    Activation::Tanh,
                    &mut all,
                    Scratch::Empty(&mut scratch(k, &many)),
                );
                for r in [0, 57, 99] {
                    let mut y = Odd::new(outs);
                    let x = &x[r * inputs..(r + 1) * inputs];
                    (k.linear)(
                        &one,
                        x,
                        &w,
                        Some(&b),
                        Activation::Tanh,
                        &mut y,
                        Scratch::Empty(&mut scratch(k, &one)),
                    );
                    assert_eq!(bits(&y), bits(&all[r * outs..(r + 1) * outs]), "{} {many:?} row {r}", k.isa);
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "w: 5 elements")]
fn wrong_lengths_are_refused() {
    let s = Linear { heads: 1, rows: 1, inputs: 2, outputs: 3, shared_input: false };
    (baq_kernels::best().linear)(
        &s,
        &[0.0; 2],
        &[0.0; 5],
        None,
        Activation::Relu,
        &mut [0.0; 3],
        Scratch::Empty(&mut []),
    );
}
