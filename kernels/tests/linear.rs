//! The linear family: every variant against the reference.

mod common;

use baq_kernels::{Activation, Linear, Scratch};
use common::layers::{check_all, check_blocks, check_groups, check_integers, check_nan, outputs, scratch};
use common::{Numbers, Odd, SIZES, bits, variants, with_threads};

#[test]
fn every_size_agrees_with_the_reference() {
    let tables = variants();
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
                check_all(&tables, &s, cases);
                cases += 1;
            }
        }
    }
    // All small combinations, where one path gives way to another.
    for rows in [1, 2, 3, 13, 25, 33] {
        for inputs in [1, 3, 6, 11, 14, 16, 17, 23] {
            for outputs in [1, 2, 3, 6, 7, 12, 13, 17, 32, 33] {
                let s = Linear { heads: 2, rows, inputs, outputs, shared_input: inputs % 2 == 0 };
                check_all(&tables, &s, cases);
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
            check_all(&tables, &Linear { heads, rows, inputs, outputs, shared_input: inputs < 100 }, cases);
            cases += 1;
        }
    }
    println!("{cases} shapes");
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
        (k.linear_dw)(
            &no_inputs,
            &[],
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            &mut [],
            Some(&mut db),
            false,
            &mut scratch(k, &no_inputs),
        );
        assert_eq!(db, [5.0, 7.0, 9.0]);
        let no_rows = Linear { heads: 1, rows: 0, inputs: 40, outputs: 40, shared_input: false };
        let (mut dw, mut db) = (vec![f32::NAN; 1600], vec![f32::NAN; 40]);
        (k.linear_dw)(&no_rows, &[], &[], &mut dw, Some(&mut db), false, &mut scratch(k, &no_rows));
        assert!(dw.iter().chain(&db).all(|&x| x == 0.0));
    }
}

#[test]
fn small_integers_are_exact() {
    let tables = variants();
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
            check_integers(&tables, &s);
        }
    }
}

#[test]
fn one_nan_reaches_its_row_and_column_only() {
    for k in variants() {
        for outputs in [1, 6, 40, 256] {
            for rows in [7, 70] {
                let s = Linear { heads: 1, rows, inputs: 50, outputs, shared_input: false };
                check_nan(k, &s);
            }
        }
    }
}

#[test]
fn a_bias_for_every_group_of_rows() {
    for k in variants() {
        for (groups, size) in [(1, 7), (8, 30), (37, 3), (5, 64), (256, 1)] {
            for (inputs, outputs) in [(3, 256), (6, 17), (40, 33), (256, 2), (0, 5), (300, 70)] {
                let s = Linear { heads: 2, rows: groups * size, inputs, outputs, shared_input: true };
                check_groups(k, &s, groups);
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
            check_blocks(k, &s);
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
