//! Element-wise functions of one and of two arguments.
//!
//! **Formula.** See [`Unary`] and [`crate::Binary`].
//!
//! **Shapes.** Unary: x and y of equal length. Binary: y dense `[d0, d1, d2]`; each argument is walked with its own
//! strides and must reach the last element they name.
//!
//! **Aliasing.** y overlaps no argument; arguments may overlap each other.
//!
//! **Zero sizes.** Nothing to do; the arguments are then not looked at.
//!
//! **NaN.** A NaN argument gives NaN, in `Relu`, `Clamp`, `Sign`, `Min` and `Max` too. Comparisons (`Le`, `Lt`, `Inside`)
//! with NaN give 0. `ReluGrad` gives 0 where b is NaN. `Log` of a negative number is NaN, of ±0 it is -∞.
//!
//! **Order of additions.** None: element i depends on element i only, with the same bits wherever it stands.
//!
//! **Tolerance to the reference.** In units in the last place, over all arguments, subnormal ones taken
//! for zeros: `Exp` and `Log` 1.5 (measured: 1.02 and 0.78), `Tanh`, `Softplus` and `Sigmoid` 2.5 (2.27, 2.22 and 2.04). `Gelu`
//! within 4e-7 max(1, |x|) and `GeluSlope` within 8e-7, absolutely. `Square`, `Sqrt`,
//! `Add`, `Sub`, `Mul` and `Div` are correctly rounded; `Affine`, `TanhGrad`, `Expectile` and
//! `ExpectileGrad` round each operation, fused ones once; the rest is exact.

pub(crate) mod generic;
pub mod reference;
mod unary;
pub(crate) mod vector;

use crate::Broadcast;
pub use unary::Unary;

crate::simd::family! {
    fn unary(f: crate::Unary, x: &[f32], y: &mut [f32]);
    fn binary(f: crate::Binary, shape: &crate::Broadcast, a: &[f32], b: &[f32], y: &mut [f32]);
}

/// Drops axes of extent 1 and joins axes that both arguments walk evenly, so that most calls become one
/// long row. Axes that are not needed come first, with extent 1.
pub(crate) fn collapse(b: &Broadcast) -> Broadcast {
    let mut out = Broadcast { dims: [1; 3], a: [0; 3], b: [0; 3] };
    let mut at = 3; // the axis filled last
    for axis in (0..3).rev() {
        let (d, sa, sb) = (b.dims[axis], b.a[axis], b.b[axis]);
        if d == 1 {
            continue;
        }
        if at < 3 && sa == out.a[at] * out.dims[at] && sb == out.b[at] * out.dims[at] {
            out.dims[at] *= d;
        } else {
            at -= 1;
            (out.dims[at], out.a[at], out.b[at]) = (d, sa, sb);
        }
    }
    out
}

/// Checks lengths; `false` if there is nothing to do.
#[track_caller]
pub(crate) fn check_binary(b: &Broadcast, x: &[f32], z: &[f32], y: &[f32]) -> bool {
    let size = b.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    assert!(size == Some(y.len()), "y: {} elements, the dims are {:?}", y.len(), b.dims);
    if y.is_empty() {
        return false;
    }
    for (name, strides, slice) in [("a", b.a, x), ("b", b.b, z)] {
        let last =
            b.dims.iter().zip(strides).try_fold(0usize, |n, (&d, s)| n.checked_add((d - 1).checked_mul(s)?));
        assert!(
            last.is_some_and(|last| last < slice.len()),
            "{name}: {} elements, dims {:?} and strides {strides:?} reach further",
            slice.len(),
            b.dims,
        );
        assert!(strides[2] < 2, "{name}: innermost stride {}, must be 0 or 1", strides[2]);
    }
    true
}
