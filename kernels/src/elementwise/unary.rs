//! The element-wise functions of one argument: an entry for each, which says everything that the kernels know of it.

use super::vector::{TILE, exp, gelu, gelu_slope, log, sigmoid, sin, softplus, tanh};
use crate::simd::{Job, Simd};
use crate::tile::{Shared, run};
use std::ops::Range;

/// A function of one vector.
trait Op1: Copy + Sync {
    unsafe fn at<S: Simd>(self, x: S::V) -> S::V;
}

/// An entry has the formula, the name and constants, the cost of an element beside that of a copy, the kernel of one
/// vector and the reference of one number.
macro_rules! functions {
    ($(
        $(#[$formula:meta])*
        $name:ident $({ $( $(#[$about:meta])* $field:ident ),* })? $cost:literal
            |$x:ident| $kernel:expr, $reference:expr;
    )*) => {
        /// Element-wise functions of one argument, their constants of type N.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Unary<N = f32> {
            $( $(#[$formula])* $name $({ $( $(#[$about])* $field: N ),* })?, )*
        }

        impl<N> Unary<N> {
            /// The same function with other constants.
            pub fn map<M>(self, f: impl Fn(N) -> M) -> Unary<M> {
                match self {
                    $( Unary::$name $({ $($field),* })? => Unary::$name $({ $($field: f($field)),* })?, )*
                }
            }
        }

        /// One value of a unary function.
        pub fn unary_at(f: Unary<f64>, x: f64) -> f64 {
            match f {
                $( Unary::$name $({ $($field),* })? => { let $x = x; $reference } )*
            }
        }

        $(
            #[derive(Clone, Copy)]
            struct $name { $($( $field: f32 ),*)? }
            impl Op1 for $name {
                #[inline(always)]
                unsafe fn at<S: Simd>(self, $x: S::V) -> S::V {
                    let Self { $($($field),*)? } = self;
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $kernel }
                }
            }
        )*

        /// See the contract.
        #[inline(always)]
        pub(crate) unsafe fn unary<S: Simd>(f: Unary, x: &[f32], y: &mut [f32]) {
            assert!(x.len() == y.len(), "x: {} elements, y has {}", x.len(), y.len());
            let y = Shared::new(y);
            let tiles = x.len().div_ceil(TILE);
            match f {
                $( Unary::$name $({ $($field),* })? => {
                    let f = $name { $($($field),*)? };
                    // SAFETY: the caller promises the instruction set.
                    unsafe { run::<S>(tiles, x.len() * $cost, &Map { f, x, y }) }
                } )*
            }
        }
    };
}

functions! {
    /// e^x
    Exp 16 |x| exp::<S>(x), x.exp();
    /// ln x
    Log 16 |x| log::<S>(x), x.ln();
    /// tanh x
    Tanh 16 |x| tanh::<S>(x), x.tanh();
    /// max(x, 0)
    Relu 1 |x| S::max(S::zero(), x), if x < 0.0 { 0.0 } else { x };
    /// ln(1 + e^x)
    Softplus 16 |x| softplus::<S>(x), x.max(0.0) + (-x.abs()).exp().ln_1p();
    /// 1 / (1 + e^-x)
    Sigmoid 16 |x| sigmoid::<S>(x), if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
    /// x / (1 + e^-2u), u = √(2/π) (x + 0.044715 x³): the tanh form of the Gaussian error linear unit
    Gelu 16 |x| gelu::<S>(x), if x < -30.0 { 0.0 } else { x * gate(x).0 };
    /// its derivative
    GeluSlope 16 |x| gelu_slope::<S>(x), {
        // Beyond these it is 0 or 1.
        let x = x.clamp(-30.0, 30.0);
        let (open, rise) = gate(x);
        open + x * open * gate(-x).0 * rise
    };
    /// sin x; to 3e-7 for |x| up to 1,000, beyond which the period is no longer exact enough
    Sin 16 |x| sin::<S>(x), x.sin();
    /// x²
    Square 1 |x| S::mul(x, x), x * x;
    /// √x
    Sqrt 4 |x| S::sqrt(x), x.sqrt();
    /// |x|
    Abs 1 |x| S::abs(x), x.abs();
    /// -1, 0 or 1
    Sign 1 |x| {
        // 0 and NaN are neither below nor above 0 and pass.
        let y = S::select(S::lt(S::zero(), x), S::splat(1.0), x);
        S::select(S::lt(x, S::zero()), S::splat(-1.0), y)
    }, if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x };
    /// scale · x + shift
    Affine {
        /// factor
        scale,
        /// summand
        shift
    } 1 |x| S::fma(S::splat(scale), x, S::splat(shift)), scale * x + shift;
    /// min(max(x, lo), hi)
    Clamp {
        /// lower bound, may be -∞
        lo,
        /// upper bound, may be +∞
        hi
    } 1 |x| S::min(S::splat(hi), S::max(S::splat(lo), x)), {
        let x = if x < lo { lo } else { x };
        if x > hi { hi } else { x }
    };
    /// 1 where lo <= x <= hi, else 0 (the derivative of `Clamp`)
    Inside {
        /// lower bound
        lo,
        /// upper bound
        hi
    } 1 |x| {
        let y = S::select(S::le(S::splat(lo), x), S::splat(1.0), S::zero());
        S::select(S::le(x, S::splat(hi)), y, S::zero())
    }, f64::from(lo <= x && x <= hi);
}

/// (1 / (1 + e^-2u), 2 du/dx) of `Gelu`.
fn gate(x: f64) -> (f64, f64) {
    let c = 2.0 * std::f64::consts::FRAC_2_PI.sqrt();
    let cube = 0.044715 * x * x;
    (unary_at(Unary::Sigmoid, c * x * (1.0 + cube)), c * (1.0 + 3.0 * cube))
}

impl<N> Unary<N> {
    /// Whether it is a step, whose derivative is 0 wherever it has one.
    pub fn is_step(&self) -> bool {
        matches!(self, Unary::Sign | Unary::Inside { .. })
    }
}

/// y = f(x).
struct Map<'a, F> {
    f: F,
    x: &'a [f32],
    y: Shared<f32>,
}

impl<S: Simd, F: Op1> Job<S> for Map<'_, F> {
    #[inline(always)]
    unsafe fn run(&self, tiles: Range<usize>) {
        let (mut i, end) = (tiles.start * TILE, (tiles.end * TILE).min(self.x.len()));
        // SAFETY: tiles are disjoint parts of y, which is as long as x.
        unsafe {
            let (x, y) = (self.x.as_ptr(), self.y.ptr());
            while i + S::LANES <= end {
                S::store(y.add(i), self.f.at::<S>(S::load(x.add(i))));
                i += S::LANES;
            }
            if i < end {
                let n = end - i;
                S::store_part(y.add(i), self.f.at::<S>(S::load_part(x.add(i), n)), n);
            }
        }
    }
}
