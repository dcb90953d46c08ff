//! Layer normalisation: every variant against the reference.

mod common;

use baq_kernels::layer_norm::reference;
use baq_kernels::{Kernels, Norm, NormGradients};
use common::{Numbers, Odd, SIZES, bits, variants, with_threads};

const EPS: f32 = 1e-6;

/// Every width with some rows and heads.
fn shapes() -> Vec<Norm> {
    let mut all = Vec::new();
    for cols in SIZES {
        for (heads, rows) in [(1, 1), (2, 7), (1, 8), (3, 17), (1, 0), (0, 3)] {
            all.push(Norm { heads, rows, cols, eps: EPS });
        }
    }
    let more = [(2, 64, 40), (1, 65, 256), (2, 130, 31), (1, 200, 1), (1, 3, 1000), (10, 70, 48)];
    all.extend(more.map(|(heads, rows, cols)| Norm { heads, rows, cols, eps: EPS }));
    all
}

/// Arguments of both entries.
struct Case {
    s: Norm,
    x: Odd,
    gain: Odd,
    bias: Odd,
    dy: Odd,
}

/// What both entries write.
struct Results {
    y: Odd,
    dx: Odd,
    dgain: Odd,
    dbias: Odd,
}

impl Case {
    fn new(s: Norm, seed: u64) -> Case {
        let mut n = Numbers::new(seed);
        let (rows, dense) = (s.heads * s.cols, s.heads * s.rows * s.cols);
        Case { s, x: n.units(dense), gain: n.units(rows), bias: n.units(rows), dy: n.units(dense) }
    }

    fn outputs(&self) -> Results {
        let (dense, rows) = (self.x.len(), self.gain.len());
        Results { y: Odd::new(dense), dx: Odd::new(dense), dgain: Odd::new(rows), dbias: Odd::new(rows) }
    }

    fn run(&self, k: &Kernels, relu: bool) -> Results {
        let mut all = self.outputs();
        (k.layer_norm)(&self.s, &self.x, &self.gain, &self.bias, relu, &mut all.y);
        let gradients = NormGradients {
            dx: Some(&mut all.dx),
            dgain: Some(&mut all.dgain),
            dbias: Some(&mut all.dbias),
            add: false,
            scratch: &mut Odd::new(self.s.scratch()),
        };
        (k.layer_norm_grad)(&self.s, &self.x, &self.gain, &self.dy, gradients);
        [&all.y, &all.dx, &all.dgain, &all.dbias].iter().for_each(|out| out.check_fence());
        all
    }

    fn reference(&self, relu: bool) -> Results {
        let mut all = self.outputs();
        reference::layer_norm(&self.s, &self.x, &self.gain, &self.bias, relu, &mut all.y);
        let sums = [&mut *all.dgain, &mut *all.dbias];
        reference::layer_norm_grad(&self.s, &self.x, &self.gain, &self.dy, &mut all.dx, sums);
        all
    }

    /// The contract's tolerances, element by element.
    fn bounds(&self) -> Results {
        let Norm { rows, cols, eps, .. } = self.s;
        let mut all = self.outputs();
        all.dgain.fill(0.0);
        all.dbias.fill(0.0);
        let n = cols as f64;
        let sums = 8.0 + (rows as f64).sqrt();
        for i in 0..self.x.len().checked_div(cols).unwrap_or(0) {
            let x: Vec<f64> = self.x[i * cols..][..cols].iter().map(|&x| f64::from(x)).collect();
            let dy = &self.dy[i * cols..][..cols];
            let j = i / rows;
            let mean = x.iter().sum::<f64>() / n;
            let spread = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + f64::from(eps)).sqrt();
            let c = 16.0 + n.sqrt() + x.iter().fold(0.0, |m: f64, x| m.max(x.abs())) / spread;
            let g: Vec<f64> = (0..cols).map(|q| f64::from(dy[q] * self.gain[j * cols + q]).abs()).collect();
            let x_hat: Vec<f64> = x.iter().map(|x| ((x - mean) / spread).abs()).collect();
            let e: Vec<f64> = x_hat.iter().map(|x| c * (1.0 + x)).collect();
            let plain = g.iter().sum::<f64>() / n;
            let along = g.iter().zip(&e).map(|(g, e)| g * e).sum::<f64>() / n;
            for q in 0..cols {
                let (at, own) = (i * cols + q, j * cols + q);
                let (gain, bias, dy) =
                    [self.gain[own], self.bias[own], dy[q]].map(|x| f64::from(x.abs())).into();
                let unit = 2f64.powi(-23);
                all.y[at] = (unit * (e[q] * gain + bias)) as f32;
                all.dx[at] = (2.0 * unit * (c * (g[q] + plain) + e[q] * along) / spread) as f32;
                all.dgain[own] += (unit * dy * (e[q] + sums * x_hat[q])) as f32;
                all.dbias[own] += (unit * dy * sums) as f32;
            }
        }
        all
    }

    /// Every variant against the reference.
    fn check(&self, what: &str) {
        let bounds = self.bounds();
        for relu in [false, true] {
            let want = self.reference(relu);
            for k in variants() {
                let got = self.run(k, relu);
                let pairs = [
                    ("y", &got.y, &want.y, &bounds.y),
                    ("dx", &got.dx, &want.dx, &bounds.dx),
                    ("dgain", &got.dgain, &want.dgain, &bounds.dgain),
                    ("dbias", &got.dbias, &want.dbias, &bounds.dbias),
                ];
                for (name, got, want, bound) in pairs {
                    for i in 0..want.len() {
                        let (got, want, bound) = (got[i], want[i], bound[i]);
                        assert!(
                            got == want || (got - want).abs() <= bound,
                            "{} {name} {:?} {what} element {i}: {got} instead of {want}, bound {bound}",
                            k.isa,
                            self.s,
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn all_shapes_agree_with_the_reference() {
    for (i, s) in shapes().into_iter().enumerate() {
        Case::new(s, i as u64).check("unit");
    }
}

#[test]
fn rows_of_any_size_and_far_from_zero_agree_with_the_reference() {
    for (scale, shift) in [(1e18, 0.0), (1e-3, 0.0), (1e-20, 0.0), (1.0, 1e4), (30.0, -1e6), (1e-4, 1.0)] {
        for cols in [1, 2, 9, 31, 256] {
            let mut case = Case::new(Norm { heads: 2, rows: 11, cols, eps: EPS }, cols as u64);
            case.x.iter_mut().for_each(|x| *x = *x * scale + shift);
            case.check(&format!("{scale} {shift}"));
        }
    }
}

#[test]
fn a_constant_row_becomes_the_bias_exactly() {
    for k in variants() {
        for cols in SIZES.into_iter().filter(|n| *n > 0) {
            for value in [0.0, 1.0, -0.1, 12345.678, 1e-30, 3.3e20, -1e30] {
                let mut case = Case::new(Norm { heads: 1, rows: 9, cols, eps: EPS }, 3);
                case.x.fill(value);
                let got = case.run(k, false);
                for row in got.y.chunks_exact(cols) {
                    assert_eq!(row, &*case.bias, "{} {cols} {value}", k.isa);
                }
                assert!(got.dgain.iter().all(|g| *g == 0.0), "{} {cols} {value}", k.isa);
                assert!(got.dx.iter().all(|g| g.is_finite()));
            }
            // The deviation is the root of ε.
            let mut case = Case::new(Norm { heads: 1, rows: 9, cols, eps: EPS }, 3);
            case.x.fill(7e3);
            let (got, want) = (case.run(k, false), case.reference(false));
            for (got, want) in got.dx.iter().zip(want.dx.iter()) {
                assert!((got - want).abs() <= 1e-3, "{} {cols}: {got} instead of {want}", k.isa);
            }
        }
    }
}

#[test]
fn what_overflows_is_the_bias_or_nan_as_the_contract_says() {
    for k in variants() {
        let mut case = Case::new(Norm { heads: 1, rows: 2, cols: 40, eps: EPS }, 5);
        case.x[..40].iter_mut().for_each(|x| *x *= 1e25);
        case.x[40..].fill(3e38);
        let got = case.run(k, true);
        let bias: Vec<f32> = case.bias.iter().map(|b| b.max(0.0)).collect();
        assert_eq!(got.y[..40], bias, "{}", k.isa);
        assert!(got.dx[..40].iter().all(|g| *g == 0.0));
        assert!(got.y[40..].iter().chain(&got.dx[40..]).all(|y| y.is_nan()), "{}", k.isa);
    }
}

#[test]
fn nan_and_infinity_reach_their_row_only() {
    for k in variants() {
        for cols in [1, 7, 8, 33, 256] {
            for bad in [f32::NAN, f32::INFINITY] {
                let clean = Case::new(Norm { heads: 2, rows: 19, cols, eps: EPS }, 7);
                let mut case = Case::new(clean.s, 7);
                let row = 21;
                case.x[row * cols + cols / 2] = bad;
                let (got, want) = (case.run(k, true), clean.run(k, true));
                for (got, want) in [(&got.y, &want.y), (&got.dx, &want.dx)] {
                    for (i, (got, want)) in got.chunks_exact(cols).zip(want.chunks_exact(cols)).enumerate() {
                        match i == row {
                            true => assert!(got.iter().all(|y| y.is_nan()), "{} {cols}: {got:?}", k.isa),
                            false => assert_eq!(bits(got), bits(want), "{} {cols} row {i}", k.isa),
                        }
                    }
                }
                assert!(got.dgain[cols..].iter().all(|g| g.is_nan()));
                assert_eq!(bits(&got.dgain[..cols]), bits(&want.dgain[..cols]));
            }
        }
    }
}

#[test]
fn subnormal_numbers_are_zeros() {
    for k in variants() {
        let mut case = Case::new(Norm { heads: 1, rows: 3, cols: 20, eps: EPS }, 9);
        case.x.iter_mut().for_each(|x| *x *= 1e-39);
        case.dy.iter_mut().for_each(|dy| *dy *= 1e-39);
        let got = case.run(k, false);
        assert!(got.y.chunks_exact(20).all(|row| *row == *case.bias), "{}", k.isa);
        assert!([&got.dx, &got.dgain, &got.dbias].iter().all(|g| g.iter().all(|g| *g == 0.0)), "{}", k.isa);
    }
}

#[test]
fn bits_depend_on_neither_threads_nor_other_rows() {
    for k in variants() {
        let case = Case::new(Norm { heads: 3, rows: 150, cols: 257, eps: EPS }, 11);
        let want = case.run(k, true);
        for threads in [1, 2, 3, 8] {
            let got = with_threads(threads, || case.run(k, true));
            for (got, want) in
                [(&got.y, &want.y), (&got.dx, &want.dx), (&got.dgain, &want.dgain), (&got.dbias, &want.dbias)]
            {
                assert_eq!(bits(got), bits(want), "{} with {threads} threads", k.isa);
            }
        }
        for row in [0, 77, 149] {
            let part = |all: &Odd, from: usize, n: usize| Odd::from(all[from * 257..][..n * 257].to_vec());
            let one = Case {
                s: Norm { heads: 1, rows: 1, ..case.s },
                x: part(&case.x, 150 + row, 1),
                gain: part(&case.gain, 1, 1),
                bias: part(&case.bias, 1, 1),
                dy: part(&case.dy, 150 + row, 1),
            };
            let got = one.run(k, true);
            assert_eq!(bits(&got.y), bits(&want.y[(150 + row) * 257..][..257]));
            assert_eq!(bits(&got.dx), bits(&want.dx[(150 + row) * 257..][..257]));
        }
    }
}

#[test]
fn blocks_of_rows_add_up_to_the_whole() {
    for k in variants() {
        let case = Case::new(Norm { heads: 1, rows: 192, cols: 33, eps: EPS }, 13);
        let want = case.run(k, false);
        let (mut dgain, mut dbias) = (Odd::new(33), Odd::new(33));
        let s = Norm { rows: 64, ..case.s };
        let mut scratch = Odd::new(s.scratch());
        for block in 0..3 {
            let rows = block * 64 * 33..(block + 1) * 64 * 33;
            let gradients = NormGradients {
                dx: None,
                dgain: Some(&mut dgain),
                dbias: Some(&mut dbias),
                add: block > 0,
                scratch: &mut scratch,
            };
            (k.layer_norm_grad)(&s, &case.x[rows.clone()], &case.gain, &case.dy[rows], gradients);
        }
        assert_eq!(bits(&dgain), bits(&want.dgain), "{}", k.isa);
        assert_eq!(bits(&dbias), bits(&want.dbias), "{}", k.isa);
        // dx alone is the same dx.
        let mut dx = Odd::new(case.x.len());
        let scratch = &mut Odd::new(case.s.scratch());
        let gradients = NormGradients { dx: Some(&mut dx), dgain: None, dbias: None, add: false, scratch };
        (k.layer_norm_grad)(&case.s, &case.x, &case.gain, &case.dy, gradients);
        assert_eq!(bits(&dx), bits(&want.dx), "{}", k.isa);
    }
}

#[test]
#[should_panic(expected = "dgain: 7 elements")]
fn wrong_lengths_are_refused() {
    let case = Case::new(Norm { heads: 2, rows: 3, cols: 4, eps: EPS }, 1);
    let gradients = NormGradients {
        dx: None,
        dgain: Some(&mut [0.0; 7]),
        dbias: None,
        add: false,
        scratch: &mut Odd::new(case.s.scratch()),
    };
    (variants()[0].layer_norm_grad)(&case.s, &case.x, &case.gain, &case.dy, gradients);
}
