//! What a comparison with a foreign trace found, and its verdict.

use crate::audit::{differences, rms, worse};

/// Differences of one tensor after some update.
#[derive(Clone, Debug)]
pub struct Difference {
    /// updates done
    pub after: usize,
    /// our path
    pub path: String,
    /// largest relative difference of the f64 executor
    pub f64: f64,
    /// the same of the f32 executor
    pub f32: f64,
    /// elements
    pub len: usize,
    /// how many of them are beyond the tolerance in f32
    pub beyond_f32: usize,
    /// root mean square of the f32 executor's relative differences
    pub rms_f32: f64,
}

impl Difference {
    /// Of both executors' numbers from what is expected.
    pub(super) fn of(
        after: usize,
        path: String,
        expected: &[f64],
        wide: impl Iterator<Item = f64>,
        narrow: impl Iterator<Item = f64>,
    ) -> Difference {
        let (wide, narrow) = (differences(wide, expected), differences(narrow, expected));
        Difference {
            after,
            path,
            f64: wide.into_iter().fold(0.0, worse),
            f32: narrow.iter().copied().fold(0.0, worse),
            len: narrow.len(),
            beyond_f32: narrow.iter().filter(|d| beyond(**d, TOLERANCE_F32)).count(),
            rms_f32: rms(&narrow),
        }
    }
}

/// Losses of one update.
#[derive(Clone, Debug)]
pub struct LossRow {
    /// update, from 0
    pub update: usize,
    /// name given by the trace
    pub name: String,
    /// value in the trace
    pub expected: f64,
    /// relative difference of the f64 executor
    pub f64: f64,
    /// relative difference of the f32 executor
    pub f32: f64,
}

/// What the tolerances are.
pub(super) const TOLERANCE_F64: f64 = 1e-9;
pub(super) const TOLERANCE_F32: f64 = 2e-4;

/// The outcome of a comparison.
#[derive(Clone, Debug)]
pub struct Report {
    /// method as the trace calls it
    pub method: String,
    /// updates replayed
    pub updates: usize,
    /// parameters
    pub tensors: Vec<Difference>,
    /// losses
    pub losses: Vec<LossRow>,
    /// allowed in f64
    pub tolerance_f64: f64,
    /// allowed in f32
    pub tolerance_f32: f64,
    /// what the trace left open, and what is in it and was not compared
    pub notes: Vec<String>,
}

impl Report {
    /// Largest difference of the f64 executor.
    pub fn worst_f64(&self) -> f64 {
        self.tensors.iter().map(|d| d.f64).chain(self.losses.iter().map(|l| l.f64)).fold(0.0, worse)
    }

    /// Largest difference of the f32 executor.
    pub fn worst_f32(&self) -> f64 {
        self.tensors.iter().map(|d| d.f32).chain(self.losses.iter().map(|l| l.f32)).fold(0.0, worse)
    }

    /// The worst figure of a kind: (value, where).
    fn worst_of(
        &self,
        of_tensor: impl Fn(&Difference) -> f64,
        of_loss: impl Fn(&LossRow) -> f64,
    ) -> (f64, String) {
        let tensors =
            self.tensors.iter().map(|d| (of_tensor(d), format!("{} after update {}", d.path, d.after)));
        let losses =
            self.losses.iter().map(|l| (of_loss(l), format!("loss {} of update {}", l.name, l.update + 1)));
        tensors.chain(losses).fold(
            (0.0, String::new()),
            |a, b| {
                if a.0.is_nan() || b.0 <= a.0 { a } else { b }
            },
        )
    }

    /// The verdict in one line; where an executor differs, it says which tensor differs most.
    pub fn verdict(&self) -> String {
        let word = if self.passed() { "agrees" } else { "DIFFERS" };
        let figure = |name: &str, (value, place): (f64, String), tolerance: f64| {
            let place = if value <= tolerance { String::new() } else { format!(", at {place}") };
            format!("worst {name} {value:.1e} (tolerance {tolerance:.0e}{place})")
        };
        let f64 = figure("f64", self.worst_of(|d| d.f64, |l| l.f64), self.tolerance_f64);
        let f32 = figure("f32", self.worst_of(|d| d.f32, |l| l.f32), self.tolerance_f32);
        format!(
            "{}: {word}: {} updates, {} tensors, {} losses; {f64}; {f32}",
            self.method,
            self.updates,
            self.tensors.len(),
            self.losses.len()
        )
    }

    /// Whether both executors are inside their tolerance.
    pub fn passed(&self) -> bool {
        !self.tensors.is_empty()
            && self.worst_f64() <= self.tolerance_f64
            && self.worst_f32() <= self.tolerance_f32
    }
}

/// Whether a difference is outside its tolerance; NaN is.
fn beyond(difference: f64, tolerance: f64) -> bool {
    difference.is_nan() || difference > tolerance
}

/// Where f32 alone is beyond its tolerance, what a reader needs to tell rounding from a mistake. In wide
/// layers a few gradients are smaller than the rounding of the sums they are made of, or a unit switches
/// within it; Adam divides by their size, so they move by whole steps either way. A mistake moves many.
pub(super) fn rounding(tensors: &[Difference]) -> Option<String> {
    if tensors.iter().any(|d| beyond(d.f64, TOLERANCE_F64)) {
        return None;
    }
    let beyond: Vec<&Difference> = tensors.iter().filter(|d| d.beyond_f32 > 0).collect();
    let last = beyond.iter().map(|d| d.after).max()?;
    let (mut elements, mut all, mut largest) = (0, 0, 0.0f64);
    for d in beyond.iter().filter(|d| d.after == last) {
        (elements, all, largest) = (elements + d.beyond_f32, all + d.len, worse(largest, d.rms_f32));
    }
    Some(format!(
        "f64 agrees; f32 is beyond its tolerance after update {last} in {elements} of {all} elements of the tensors concerned, root mean square {largest:.1e} at most: few elements and a small mean point to gradients below f32 rounding, many to a mistake"
    ))
}

/// Absolute differences of losses to relative ones, by the rule for tensors: a loss over the updates is one.
pub(super) fn relate(losses: &mut [LossRow]) {
    let all = |name: &str, losses: &[LossRow]| -> Vec<f64> {
        losses.iter().filter(|l| l.name == name).map(|l| l.expected).collect()
    };
    let floors: Vec<f64> = losses.iter().map(|l| rms(&all(&l.name, losses))).collect();
    for (l, floor) in losses.iter_mut().zip(floors) {
        let scale = l.expected.abs().max(floor).max(f64::MIN_POSITIVE);
        l.f64 /= scale;
        l.f32 /= scale;
    }
}
