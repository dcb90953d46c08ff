//! Timing beside the processor's peak.
//!
//! Rates are compared with that peak, which moves with clock, heat and neighbours. Windows of work and windows
//! of the peak of about equal length therefore take turns; medians are compared with medians and the best with the
//! best, so that what disturbs one disturbs the other.

use std::time::Instant;

/// Calls before anything is measured.
const WARM_UP: usize = 20;
/// Shortest window of measured work.
const WINDOW: f64 = 1e-3;

/// Several measurements of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub(super) Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, x: f64) {
        self.0.push(x);
    }

    /// The median, halfway between the middle two of an even number; NaN without any.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = |k: usize| sorted.get(k / 2).copied().unwrap_or(f64::NAN);
        (middle(sorted.len().saturating_sub(1)) + middle(sorted.len())) / 2.0
    }

    /// The smallest; infinite without any.
    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest.
    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(all: I) -> Self {
        Samples(all.into_iter().collect())
    }
}

/// Work beside the processor's peak.
#[derive(Clone, Debug)]
pub struct Measured {
    /// seconds of one call
    pub call: Samples,
    /// GFLOP/s of the peak, all threads together
    pub peak: Samples,
    /// measured calls
    pub calls: u64,
    /// allocations during them; `None` where nobody counts
    pub allocations: Option<u64>,
    /// useful floating-point operations of one call; of the mean call where calls differ
    pub flops: u64,
}

impl Measured {
    /// Times `call` in turn with the peak for so many seconds. `prepare` comes before every call and
    /// is not counted. Calls repeat themselves after `cycle` of them, and a window holds whole cycles.
    pub fn new(
        flops: u64,
        cycle: usize,
        seconds: f64,
        mut prepare: impl FnMut(),
        mut call: impl FnMut(),
    ) -> Measured {
        let isa = baq_kernels::active().isa;
        let mut first = f64::INFINITY;
        for _ in 0..WARM_UP {
            prepare();
            first = first.min(time(&mut call));
        }
        let calls = ((WINDOW / first).ceil().max(1.0) as usize).next_multiple_of(cycle);
        let one = time(|| {
            baq_kernels::probe_gflops(isa, 1);
        });
        let runs = (first * calls as f64 / one).ceil().max(1.0) as usize;
        let mut this = Measured {
            call: Samples::default(),
            peak: Samples::default(),
            calls: 0,
            allocations: baq_kernels::allocations().map(|_| 0),
            flops,
        };
        let begin = Instant::now();
        while begin.elapsed().as_secs_f64() < seconds || this.calls == 0 {
            this.peak.push(baq_kernels::probe_gflops(isa, runs));
            let mut sum = 0.0;
            for _ in 0..calls {
                prepare();
                let before = baq_kernels::allocations();
                sum += time(&mut call);
                if let (Some(n), Some(before), Some(after)) =
                    (&mut this.allocations, before, baq_kernels::allocations())
                {
                    *n += after - before;
                }
            }
            this.call.push(sum / calls as f64);
            this.calls += calls as u64;
        }
        this
    }

    /// Useful GFLOP/s at so many seconds per call.
    pub fn gflops(&self, seconds: f64) -> f64 {
        self.flops as f64 * 1e-9 / seconds
    }

    /// Median rate as a share of the peak's median.
    pub fn fraction(&self) -> f64 {
        self.gflops(self.call.median()) / self.peak.median()
    }

    /// Best rate as a share of the peak's best.
    pub fn best_fraction(&self) -> f64 {
        self.gflops(self.call.least()) / self.peak.most()
    }
}

/// Seconds that one call takes.
pub(super) fn time(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        let of = |x: &[f64]| x.iter().copied().collect::<Samples>().median();
        assert_eq!((of(&[3.0, 1.0]), of(&[5.0, 1.0, 2.0]), of(&[4.0])), (2.0, 2.0, 4.0));
        assert!(of(&[]).is_nan());
    }
}
