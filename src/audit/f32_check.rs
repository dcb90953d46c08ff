//! Gradients in f32 beside gradients in f64.
//!
//! A unit of a ReLU layer whose input is 0 to within rounding may be on in f32 and off in f64: the gradient jumps there, by
//! far more than any rounding, and neither side is wrong. Among millions of units there is one every now and then. Where a
//! gradient differs, it is therefore also compared with those in f64 at parameters that f32 hardly tells from these, and
//! agrees if it is one of them. A kernel that is wrong gains nothing by it: such moves change a gradient by rounding, and by jumps.

use rand::distr::Distribution;
use rand_distr::StandardNormal;

use super::gradcheck::{Checker, norm};
use crate::autodiff::reference::{ReferenceInputs, ReferenceStore};
use crate::autodiff::{Clock, Flow, Noise, Pass, Probe, Program, Store, Trace, UpdateView, Workspace};
use crate::rng::{Rng, Stream};

/// A gradient as the kernels compute it in f32, beside f64.
#[derive(Clone, Debug, PartialEq)]
pub struct F32Check {
    /// name of the update
    pub update: &'static str,
    /// path of the (first head of the) tensor
    pub path: String,
    /// norm of the gradient in f32
    pub f32: f64,
    /// the same in f64
    pub f64: f64,
    /// |x - y| / |y| of the two gradients as vectors
    pub relative: f64,
    /// whether y is that at parameters moved by rounding, since at the given ones a branch is taken differently
    pub moved: bool,
}

impl F32Check {
    /// Whether both agree; a gradient that is zero in either has not been compared.
    pub fn passed(&self) -> bool {
        self.f32 != 0.0 && self.relative <= TOLERANCE_F32
    }
}

/// Largest relative difference, in norm, of a gradient in f32 and f64 that still counts as agreement.
pub const TOLERANCE_F32: f64 = 1e-4;

/// Moves by rounding that are tried: each sends a unit in question to either side with equal chance.
const MOVES: u64 = 12;

/// Runs the round in f32, with the kernels of the workspace, and compares all gradients with those in f64. The state and
/// the inputs are rounded to f32 first, so that both begin with the same numbers.
pub fn check_f32(
    trace: &Trace,
    program: &Program,
    mut workspace: Workspace,
    store: &ReferenceStore,
    inputs: &ReferenceInputs,
    clock: Clock,
) -> Vec<F32Check> {
    let mut single = Store::zeros(trace.table.clone());
    for (to, from) in single.values.iter_mut().zip(&store.values) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from as f32);
    }
    let wide = ReferenceStore::from(&single);
    let round = |x: &Vec<Vec<f64>>| -> Vec<Vec<f32>> {
        x.iter().map(|x| x.iter().map(|&x| x as f32).collect()).collect()
    };
    let widen = |x: &Vec<Vec<f32>>| x.iter().map(|x| x.iter().map(|&x| f64::from(x)).collect()).collect();
    let (columns, noise) = (round(&inputs.columns), round(&inputs.noise));
    for (spec, column) in trace.inputs.iter().zip(&columns) {
        if let Some(input) = workspace.input_mut(program, spec.name) {
            input.copy_from_slice(column);
        }
    }
    let exact = ReferenceInputs { columns: widen(&columns), noise: widen(&noise) };
    let mut seen = Gradients::default();
    let pass = Pass { clock, noise: Noise::Recorded(&noise), rows: &[] };
    let _ = program.run_with(&mut workspace, &mut single, pass, &mut seen);
    let mut all: Vec<F32Check> = Vec::new();
    for draw in 0..=MOVES {
        if draw > 0 && all.iter().all(F32Check::passed) {
            break;
        }
        let near = by_rounding(&wide, draw);
        let checker = Checker::new(trace, &near, &exact, clock);
        let tensors = checker.tensors();
        let checked = |(name, _): &&(&'static str, Vec<f32>)| tensors.iter().any(|t| t.update == *name);
        for (k, (t, (update, gradient))) in tensors.iter().zip(seen.0.iter().filter(checked)).enumerate() {
            assert_eq!(t.update, *update, "invariant: both executors keep the order");
            let gap: Vec<f64> = gradient.iter().zip(t.gradient).map(|(x, y)| f64::from(*x) - y).collect();
            let size = norm(t.gradient);
            let relative = norm(&gap) / size.max(f64::MIN_POSITIVE);
            if draw == 0 {
                all.push(F32Check {
                    update,
                    path: trace.table.paths(t.param)[0].0.clone(),
                    f32: gradient.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt(),
                    f64: size,
                    relative,
                    moved: false,
                });
            } else if !all[k].passed() && relative <= TOLERANCE_F32 {
                (all[k].relative, all[k].moved) = (relative, true);
            }
        }
    }
    all
}

/// The parameters, each moved by about one rounding of f32; as they are for draw 0.
fn by_rounding(store: &ReferenceStore, draw: u64) -> ReferenceStore {
    let mut store = store.clone();
    if draw > 0 {
        let mut rng = Rng::new(draw, Stream::Check, 3 << 32);
        for x in store.values.iter_mut().flatten() {
            let normal: f64 = StandardNormal.sample(&mut rng);
            *x *= 1.0 + f64::from(f32::EPSILON) * normal;
        }
    }
    store
}

/// All gradients of a round, in order.
#[derive(Default)]
struct Gradients(Vec<(&'static str, Vec<f32>)>);

impl Probe for Gradients {
    fn update(&mut self, view: &UpdateView<'_>) -> Flow {
        let store = view.round.store;
        self.0.extend(view.members().map(|p| (view.update.name, store.gradients[p.index()].to_vec())));
        Flow::Continue
    }
}
