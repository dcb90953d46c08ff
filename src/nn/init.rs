//! Initial distributions of parameters.

use rand::distr::{Distribution, Uniform};
use rand_distr::StandardNormal;

use crate::autodiff::Shape;
use crate::config::InitScheme;
use crate::rng::{Rng, Stream};

/// Distribution of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// all equal
    Constant(f64),
    /// U(-bound, bound)
    Uniform(f64),
    /// U(-bound, bound) in the first so many rows, 0 below
    UniformAbove {
        /// largest absolute value
        bound: f64,
        /// how many rows
        rows: usize,
    },
    /// `gain` times a matrix with orthonormal rows or columns, whichever are fewer
    Orthogonal(f64),
    /// normal of this standard deviation, redrawn beyond two of them
    TruncatedNormal(f64),
}

/// Distributions of (weight, bias) of a layer with K inputs and N outputs.
pub fn layer(scheme: InitScheme, inputs: usize, outputs: usize, last: bool) -> (Init, Init) {
    let (k, n) = (inputs as f64, outputs as f64);
    let zero = Init::Constant(0.0);
    let xavier = Init::Uniform((6.0 / (k + n)).sqrt());
    match (scheme, last) {
        (InitScheme::Torch, _) | (InitScheme::TorchXavier { .. }, false) => {
            (Init::Uniform(1.0 / k.sqrt()), Init::Uniform(1.0 / k.sqrt()))
        }
        (InitScheme::TorchXavier { last }, true) => (Init::Uniform(last * (6.0 / (k + n)).sqrt()), zero),
        (InitScheme::Xavier, _) => (xavier, zero),
        (InitScheme::Orthogonal { .. }, false) => (Init::Orthogonal(2f64.sqrt()), zero),
        (InitScheme::Orthogonal { last }, true) => (Init::Orthogonal(last), zero),
        (InitScheme::Lecun, false) => (Init::TruncatedNormal(lecun_sigma(k)), zero),
        // A uniform variable on ±b has variance b²/3.
        (InitScheme::Lecun, true) => (Init::Uniform((3.0 * 0.01 / k).sqrt()), zero),
        (InitScheme::Rlkit { .. }, false) => (Init::Uniform(1.0 / n.sqrt()), zero),
        (InitScheme::Rlkit { last }, true) => (Init::Uniform(last), zero),
        (InitScheme::FanIn { .. }, false) => (Init::Uniform(1.0 / k.sqrt()), Init::Constant(0.1)),
        (InitScheme::FanIn { last }, true) => (Init::Uniform(last), Init::Uniform(last)),
    }
}

/// Truncated normal with variance 2/fan_in, for the inputs of rectifiers (He et al. 2015).
pub(super) fn he(fan_in: usize) -> Init {
    Init::TruncatedNormal(2f64.sqrt() * lecun_sigma(fan_in as f64))
}

/// Standard deviation before truncation at two of them that leaves a variance of 1/fan_in.
fn lecun_sigma(fan_in: f64) -> f64 {
    const STD_AFTER_TRUNCATION: f64 = 0.879_625_661_034_239_8;
    1.0 / (fan_in.sqrt() * STD_AFTER_TRUNCATION)
}

/// Fills a tensor `[J, K, N]`; every head has draws of its own, a function of (seed, tensor, head).
pub(super) fn fill(init: Init, shape: Shape, seed: u64, tensor: usize, out: &mut [f32]) {
    let size = shape.rows * shape.cols;
    for (head, out) in out.chunks_exact_mut(size).enumerate() {
        let mut rng = Rng::new(seed, Stream::Init, ((tensor as u64) << 16) | head as u64);
        match init {
            Init::Constant(x) => out.fill(x as f32),
            Init::Uniform(bound) => {
                let u = Uniform::new_inclusive(-bound, bound).expect("invariant: bounds are finite");
                out.fill_with(|| u.sample(&mut rng) as f32);
            }
            Init::UniformAbove { bound, rows } => {
                let u = Uniform::new_inclusive(-bound, bound).expect("invariant: bounds are finite");
                let (above, below) = out.split_at_mut(rows * shape.cols);
                above.fill_with(|| u.sample(&mut rng) as f32);
                below.fill(0.0);
            }
            Init::TruncatedNormal(sigma) => out.fill_with(|| {
                loop {
                    let z: f64 = StandardNormal.sample(&mut rng);
                    if z.abs() <= 2.0 {
                        return (sigma * z) as f32;
                    }
                }
            }),
            Init::Orthogonal(gain) => orthogonal(gain, shape.rows, shape.cols, &mut rng, out),
        }
    }
}

/// Orthonormalises normal vectors by modified Gram-Schmidt, twice for accuracy, along the shorter side.
fn orthogonal(gain: f64, rows: usize, cols: usize, rng: &mut Rng, out: &mut [f32]) {
    let (count, len) = (rows.min(cols), rows.max(cols));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut v: Vec<f64> = (0..len).map(|_| StandardNormal.sample(rng)).collect();
        for _ in 0..2 {
            for u in &basis {
                let dot: f64 = u.iter().zip(&v).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(u).for_each(|(x, u)| *x -= dot * u);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        basis.push(v);
    }
    for r in 0..rows {
        for c in 0..cols {
            let x = if rows <= cols { basis[r][c] } else { basis[c][r] };
            out[r * cols + c] = (gain * x) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(init: Init, shape: Shape) -> Vec<f32> {
        let mut out = vec![0.0; shape.len()];
        fill(init, shape, 7, 3, &mut out);
        out
    }

    #[test]
    fn orthogonal_rows_or_columns_are_orthonormal_times_gain() {
        for (k, n) in [(5, 8), (8, 5), (17, 17), (256, 1)] {
            let w = filled(Init::Orthogonal(1.5), Shape::new(1, k, n));
            let at = |i: usize, j: usize| if k <= n { w[i * n + j] } else { w[j * n + i] };
            let (count, len) = (k.min(n), k.max(n));
            for a in 0..count {
                for b in 0..count {
                    let dot: f64 = (0..len).map(|i| f64::from(at(a, i)) * f64::from(at(b, i))).sum();
                    let want = if a == b { 2.25 } else { 0.0 };
                    assert!((dot - want).abs() < 1e-5, "{k}x{n} ({a}, {b}): {dot}");
                }
            }
        }
    }

    /// Every scheme with the variances of (hidden weights, hidden biases, last weights, last biases) of layers of 100 inputs
    /// and 50 outputs.
    const SCHEMES: [(InitScheme, [f64; 4]); 7] = [
        (InitScheme::Torch, [0.01 / 3.0; 4]),
        (InitScheme::TorchXavier { last: 0.1 }, [0.01 / 3.0, 0.01 / 3.0, 0.01 * 2.0 / 150.0, 0.0]),
        (InitScheme::Xavier, [2.0 / 150.0, 0.0, 2.0 / 150.0, 0.0]),
        (InitScheme::Orthogonal { last: 0.01 }, [2.0 / 100.0, 0.0, 0.0001 / 100.0, 0.0]),
        (InitScheme::Lecun, [0.01, 0.0, 0.0001, 0.0]),
        (InitScheme::Rlkit { last: 3e-3 }, [0.02 / 3.0, 0.0, 9e-6 / 3.0, 0.0]),
        (InitScheme::FanIn { last: 3e-3 }, [0.01 / 3.0, 0.0, 9e-6 / 3.0, 9e-6 / 3.0]),
    ];

    #[test]
    fn every_scheme_has_its_moments_and_heads_differ() {
        for (scheme, variances) in SCHEMES {
            let (hidden, last) = (layer(scheme, 100, 50, false), layer(scheme, 100, 50, true));
            for (init, variance) in [hidden.0, hidden.1, last.0, last.1].into_iter().zip(variances) {
                // Constants vary as little whatever they are; `value_stability` has the numbers.
                let centre = if let Init::Constant(x) = init { x as f32 } else { 0.0 };
                let w = filled(init, Shape::new(2, 100, 50));
                let w: Vec<f64> = w.into_iter().map(|x| f64::from(x - centre)).collect();
                let n = w.len() as f64;
                let (mean, square) = (w.iter().sum::<f64>() / n, w.iter().map(|x| x * x).sum::<f64>() / n);
                // Five standard errors, of the mean and of the square of a normal variable, which has the widest.
                assert!(mean.abs() <= 5.0 * (variance / n).sqrt(), "{scheme:?} {init:?}: mean {mean}");
                let error = 5.0 * variance * (2.0 / n).sqrt();
                assert!((square - variance).abs() <= error, "{scheme:?} {init:?}: {square}, not {variance}");
                assert!(variance == 0.0 || w[..5000] != w[5000..], "{scheme:?} {init:?}: heads are equal");
            }
        }
    }

    /// Nothing may change what a seed begins with: (hidden weights, hidden biases, last weights) as they are.
    #[test]
    fn value_stability() {
        let first = SCHEMES.map(|(scheme, _)| {
            let (hidden, last) = (layer(scheme, 100, 50, false), layer(scheme, 100, 50, true));
            [hidden.0, hidden.1, last.0].map(|init| {
                let w = filled(init, Shape::new(1, 100, 50));
                [w[0], w[1], w[4999]]
            })
        });
        let expected: [[[f32; 3]; 3]; 7] = [
            [
                [0.039827324, -0.024270512, 0.08052257],
                [0.039827324, -0.024270512, 0.08052257],
                [0.039827324, -0.024270512, 0.08052257],
            ],
            [
                [0.039827324, -0.024270512, 0.08052257],
                [0.039827324, -0.024270512, 0.08052257],
                [0.007965465, -0.0048541026, 0.016104514],
            ],
            [[0.07965465, -0.048541024, 0.16104513], [0.0, 0.0, 0.0], [0.07965465, -0.048541024, 0.16104513]],
            [
                [0.12770642, 0.09491318, 0.16182327],
                [0.0, 0.0, 0.0],
                [0.00090302073, 0.0006711375, 0.0011442633],
            ],
            [
                [0.102875605, -0.035505176, -0.13351557],
                [0.0, 0.0, 0.0],
                [0.0068982947, -0.004203776, 0.013946918],
            ],
            [
                [0.05632434, -0.03432369, 0.113876104],
                [0.0, 0.0, 0.0],
                [0.0011948197, -0.0007281154, 0.002415677],
            ],
            [
                [0.039827324, -0.024270512, 0.08052257],
                [0.1, 0.1, 0.1],
                [0.0011948197, -0.0007281154, 0.002415677],
            ],
        ];
        assert_eq!(first, expected);
    }
}
