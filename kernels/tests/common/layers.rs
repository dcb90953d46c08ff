//! What every variant of the linear family must do, at one size.

use super::{Numbers, Odd, bits};
use baq_kernels::linear::reference;
use baq_kernels::{Activation, Kernels, Linear, Numerics, Scratch};

const ACTS: [Activation; 3] = [Activation::Identity, Activation::Relu, Activation::Tanh];

pub fn name(k: &Kernels) -> String {
    format!("{}, {}", k.isa, k.arithmetic())
}

pub fn scratch(k: &Kernels, s: &Linear) -> Odd {
    Odd::new((k.linear_scratch)(s))
}

pub fn absolute(x: &[f32]) -> Vec<f32> {
    x.iter().map(|x| x.abs()).collect()
}

/// |got - want| within the contract's bound of these numerics; `scale` holds Σ|terms|.
pub fn compare(k: &Kernels, op: &str, s: &Linear, got: &[f32], want: &[f32], scale: &[f32], terms: usize) {
    let what = format!("{} {op}", name(k));
    let (more, factors) = match k.numerics {
        Numerics::F32 => (8.0, 0.0),
        Numerics::Bf16x6 => (10.0, 2f32.powi(-23)),
        Numerics::Bf16x3 => (10.0, 2f32.powi(-14)),
        Numerics::Bf16 => (10.0, 2f32.powi(-7) + 2f32.powi(-16)),
    };
    for i in 0..want.len() {
        let sums = 2f32.powi(-23) * (more + (terms as f32).sqrt());
        let bound = (factors + sums) * scale[i] + 2f32.powi(-21) * want[i].abs();
        let error = (got[i] - want[i]).abs();
        assert!(error <= bound, "{what} {s:?} element {i}: {} instead of {}, bound {bound}", got[i], want[i]);
    }
}

/// All three operations of one size by these tables, against the reference.
pub fn check_all(tables: &[&Kernels], s: &Linear, seed: u64) {
    let mut n = Numbers::new(seed);
    let Linear { heads, rows, inputs, outputs, shared_input } = *s;
    let x_heads = if shared_input { 1 } else { heads };
    let act = ACTS[n.below(3)];
    let (with_bias, masked) = (n.below(3) > 0, n.below(3) > 0);
    let (x, w) = (n.units(x_heads * rows * inputs), n.units(heads * inputs * outputs));
    let (b, dy) = (n.units(heads * outputs), n.units(heads * rows * outputs));
    let b = with_bias.then_some(&*b);
    let mask = masked.then_some((act, &*x));
    let with = |op: &str| format!("{op} {act:?}");

    let [mut want, mut scale, mut y] = [(); 3].map(|()| Odd::new(dy.len()));
    reference::linear(s, &x, &w, b, act, &mut want);
    let positive = b.map(absolute);
    reference::linear(s, &absolute(&x), &absolute(&w), positive.as_deref(), Activation::Identity, &mut scale);
    for k in tables {
        y.fill(f32::NAN);
        (k.linear)(s, &x, &w, b, act, &mut y, Scratch::Empty(&mut scratch(k, s)));
        compare(k, &with("y"), s, &y, &want, &scale, inputs + 1);
        y.check_fence();
    }

    let [mut want, mut scale, mut dx] = [(); 3].map(|()| Odd::new(x.len()));
    reference::linear_dx(s, &dy, &w, mask, &mut want);
    reference::linear_dx(s, &absolute(&dy), &absolute(&w), None, &mut scale);
    for k in tables {
        dx.fill(f32::NAN);
        (k.linear_dx)(s, &dy, &w, mask, &mut dx, Scratch::Empty(&mut scratch(k, s)));
        compare(k, &with("dx"), s, &dx, &want, &scale, outputs * heads);
        dx.check_fence();
    }

    let [mut want, mut scale, mut dw, mut alone] = [(); 4].map(|()| Odd::new(w.len()));
    let [mut want_b, mut scale_b, mut db] = [(); 3].map(|()| Odd::new(heads * outputs));
    reference::linear_dw(s, &x, &dy, &mut want, Some(&mut want_b));
    reference::linear_dw(s, &absolute(&x), &absolute(&dy), &mut scale, Some(&mut scale_b));
    for k in tables {
        for out in [&mut dw, &mut alone, &mut db] {
            out.fill(f32::NAN);
        }
        (k.linear_dw)(s, &x, &dy, &mut dw, Some(&mut db), false, &mut scratch(k, s));
        compare(k, &with("dw"), s, &dw, &want, &scale, rows);
        compare(k, &with("db"), s, &db, &want_b, &scale_b, rows);
        dw.check_fence();
        db.check_fence();
        (k.linear_dw)(s, &x, &dy, &mut alone, None, false, &mut scratch(k, s));
        assert_eq!(bits(&alone), bits(&dw), "{}: db changed dw of {s:?}", name(k));
    }
}

/// All outputs of one size, as bits.
pub fn outputs(k: &Kernels, s: &Linear) -> [Vec<u32>; 4] {
    let mut n = Numbers::new(11);
    let x = n.units(if s.shared_input { 1 } else { s.heads } * s.rows * s.inputs);
    let (w, b) = (n.units(s.heads * s.inputs * s.outputs), n.units(s.heads * s.outputs));
    let dy = n.units(s.heads * s.rows * s.outputs);
    let (mut y, mut dx, mut dw, mut db) =
        (Odd::new(dy.len()), Odd::new(x.len()), Odd::new(w.len()), Odd::new(b.len()));
    (k.linear)(s, &x, &w, Some(&b), Activation::Tanh, &mut y, Scratch::Empty(&mut scratch(k, s)));
    (k.linear_dx)(s, &dy, &w, Some((Activation::Relu, &x)), &mut dx, Scratch::Empty(&mut scratch(k, s)));
    (k.linear_dw)(s, &x, &dy, &mut dw, Some(&mut db), false, &mut scratch(k, s));
    [bits(&y), bits(&dx), bits(&dw), bits(&db)]
}

/// Sums of small integers have no error, by none of these tables.
pub fn check_integers(tables: &[&Kernels], s: &Linear) {
    let Linear { rows, inputs, outputs, .. } = *s;
    let mut n = Numbers::new(3);
    let x = n.smalls(if s.shared_input { 1 } else { 2 } * rows * inputs);
    let (w, b, dy) = (n.smalls(2 * inputs * outputs), n.smalls(2 * outputs), n.smalls(2 * rows * outputs));
    let mask = Some((Activation::Relu, &*x));
    let (mut want, mut want_dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    let (mut want_dw, mut want_db) = (vec![0.0; w.len()], vec![0.0; b.len()]);
    reference::linear(s, &x, &w, Some(&b), Activation::Relu, &mut want);
    reference::linear_dx(s, &dy, &w, mask, &mut want_dx);
    reference::linear_dw(s, &x, &dy, &mut want_dw, Some(&mut want_db));
    for k in tables {
        let (mut y, mut dx) = (Odd::new(dy.len()), Odd::new(x.len()));
        let (mut dw, mut db) = (Odd::new(w.len()), Odd::new(b.len()));
        (k.linear)(s, &x, &w, Some(&b), Activation::Relu, &mut y, Scratch::Empty(&mut scratch(k, s)));
        (k.linear_dx)(s, &dy, &w, mask, &mut dx, Scratch::Empty(&mut scratch(k, s)));
        (k.linear_dw)(s, &x, &dy, &mut dw, Some(&mut db), false, &mut scratch(k, s));
        assert_eq!(&*y, &want, "{} y {s:?}", name(k));
        assert_eq!(&*dx, &want_dx, "{} dx {s:?}", name(k));
        assert_eq!(&*dw, &want_dw, "{} dw {s:?}", name(k));
        assert_eq!(&*db, &want_db, "{} db {s:?}", name(k));
    }
}

/// Of one head: NaN and infinity go where they belong, and nowhere else.
pub fn check_nan(k: &Kernels, s: &Linear) {
    let Linear { rows, inputs, outputs, .. } = *s;
    let mut n = Numbers::new(5);
    let (mut x, w, mut dy) = (n.units(rows * inputs), n.units(inputs * outputs), n.units(rows * outputs));
    let row = 4;
    x[row * inputs + inputs - 1] = f32::NAN;
    let mut y = Odd::new(rows * outputs);
    (k.linear)(s, &x, &w, None, Activation::Relu, &mut y, Scratch::Empty(&mut scratch(k, s)));
    for (i, y) in y.iter().enumerate() {
        assert_eq!(y.is_nan(), i / outputs == row, "{} y {s:?} {i}", name(k));
    }
    let mut dw = Odd::new(inputs * outputs);
    (k.linear_dw)(s, &x, &dy, &mut dw, None, false, &mut scratch(k, s));
    for (i, dw) in dw.iter().enumerate() {
        assert_eq!(dw.is_nan(), i / outputs == inputs - 1, "{} dw {s:?} {i}", name(k));
    }
    dy[row * outputs] = f32::INFINITY;
    let mut dx = Odd::new(rows * inputs);
    (k.linear_dx)(s, &dy, &w, None, &mut dx, Scratch::Empty(&mut scratch(k, s)));
    for (i, dx) in dx.iter().enumerate() {
        assert_eq!(dx.is_finite(), i / inputs != row, "{} dx {s:?} {i}", name(k));
    }
    x.fill(-1.0);
    (k.linear_dx)(s, &dy, &w, Some((Activation::Relu, &x)), &mut dx, Scratch::Empty(&mut scratch(k, s)));
    assert!(dx.iter().all(|&x| x == 0.0), "{}: a mask of 0 gives 0", name(k));
}

/// Of two heads and a shared input: a bias for so many groups of rows.
pub fn check_groups(k: &Kernels, s: &Linear, groups: usize) {
    let Linear { inputs, outputs, .. } = *s;
    let mut n = Numbers::new(19);
    let (x, w) = (n.units(s.rows * inputs), n.units(2 * inputs * outputs));
    let (b, mut y) = (n.units(2 * groups * outputs), Odd::new(2 * s.rows * outputs));
    (k.linear)(s, &x, &w, Some(&b), Activation::Relu, &mut y, Scratch::Empty(&mut scratch(k, s)));
    y.check_fence();
    let mut want = vec![0.0; y.len()];
    reference::linear(s, &x, &w, Some(&b), Activation::Relu, &mut want);
    let (x, w, b) = (absolute(&x), absolute(&w), absolute(&b));
    let mut scale = vec![0.0; y.len()];
    reference::linear(s, &x, &w, Some(&b), Activation::Identity, &mut scale);
    compare(k, &format!("y {groups} groups"), s, &y, &want, &scale, inputs + 1);
}

/// Of two heads: gradients of three batches added up are those of one long batch; packed weights serve again.
pub fn check_blocks(k: &Kernels, s: &Linear) {
    let Linear { rows, inputs, outputs, .. } = *s;
    let mut n = Numbers::new(23);
    let (w, b) = (n.units(2 * inputs * outputs), n.units(2 * outputs));
    let (mut dw, mut db) = (Odd::new(w.len()), Odd::new(b.len()));
    let (mut kept, mut kept_dx) = (scratch(k, s), scratch(k, s));
    // The same blocks as one long batch, for the reference.
    let whole = Linear { rows: 3 * rows, ..*s };
    let (mut all_x, mut all_dy) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
    for block in 0..3 {
        let (x, dy) = (n.units(2 * rows * inputs), n.units(2 * rows * outputs));
        for j in 0..2 {
            all_x[j].extend_from_slice(&x[j * rows * inputs..][..rows * inputs]);
            all_dy[j].extend_from_slice(&dy[j * rows * outputs..][..rows * outputs]);
        }
        (k.linear_dw)(s, &x, &dy, &mut dw, Some(&mut db), block > 0, &mut scratch(k, s));

        let (mut once, mut again) = (Odd::new(dy.len()), Odd::new(dy.len()));
        (k.linear)(s, &x, &w, Some(&b), Activation::Relu, &mut once, Scratch::Empty(&mut scratch(k, s)));
        let packed = if block == 0 { Scratch::Keep(&mut kept) } else { Scratch::Packed(&kept) };
        (k.linear)(s, &x, &w, Some(&b), Activation::Relu, &mut again, packed);
        assert_eq!(bits(&once), bits(&again), "{} y {s:?} block {block}", name(k));
        let (mut once, mut again) = (Odd::new(x.len()), Odd::new(x.len()));
        (k.linear_dx)(s, &dy, &w, None, &mut once, Scratch::Empty(&mut scratch(k, s)));
        let packed = if block == 0 { Scratch::Keep(&mut kept_dx) } else { Scratch::Packed(&kept_dx) };
        (k.linear_dx)(s, &dy, &w, None, &mut again, packed);
        assert_eq!(bits(&once), bits(&again), "{} dx {s:?} block {block}", name(k));
    }
    dw.check_fence();
    db.check_fence();
    let (x, dy) = (all_x.concat(), all_dy.concat());
    let (mut want, mut want_b) = (vec![0.0; dw.len()], vec![0.0; db.len()]);
    reference::linear_dw(&whole, &x, &dy, &mut want, Some(&mut want_b));
    let (mut scale, mut scale_b) = (vec![0.0; dw.len()], vec![0.0; db.len()]);
    reference::linear_dw(&whole, &absolute(&x), &absolute(&dy), &mut scale, Some(&mut scale_b));
    compare(k, "dw", &whole, &dw, &want, &scale, 3 * rows);
    compare(k, "db", &whole, &db, &want_b, &scale_b, 3 * rows);
}
