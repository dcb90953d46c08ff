//! Statistics over seeds and data sets: pure functions in f64.
//!
//! *Strata* hold one list per data set, with one value per seed. The estimators are those of rliable (Agarwal, Schwarzer,
//! Castro, Courville, Bellemare 2021, arXiv:2108.13264), and held to its numbers in `tests/statistics.rs`; lists may be of
//! unequal length here, which [`iqm`] and [`profile`] weigh by their lengths, all others equally. Values are finite; of
//! none, an estimate is NaN.
//!
//! Resample r draws its indices from (seed 0, [`Stream::Resample`], r): equal values have equal intervals, on every machine.

use crate::rng::{Rng, Stream};

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 10_000;
/// Of fewer seeds there is no interval.
pub const LEAST_SEEDS: usize = 3;
/// Confidence of intervals.
pub const CONFIDENCE: f64 = 0.95;
/// Up to so many pairs all assignments of signs are tried, beyond it as many as [`FLIPS`].
const EXACT_PAIRS: usize = 16;
/// Random assignments of signs.
const FLIPS: u64 = 100_000;

/// The interval of an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// An estimate with its interval, if there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Of the values themselves.
    pub value: f64,
    /// Of resamples; `None` with fewer than [`LEAST_SEEDS`] seeds on any data set.
    pub interval: Option<Interval>,
}

/// What a paired comparison says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Mean over data sets of the mean over paired seeds.
    pub mean: Estimate,
    /// Sign-flip permutation test of no difference, two-sided.
    pub p: f64,
    /// Pairs it rests on.
    pub pairs: usize,
}

/// Arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Population standard deviation, as tables of the field give it.
pub fn std(values: &[f64]) -> f64 {
    let centre = mean(values);
    let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all
}

fn means(strata: &[Vec<f64>]) -> Vec<f64> {
    strata.iter().map(|values| mean(values)).collect()
}

/// Mean over data sets of their means.
pub fn mean_of_means(strata: &[Vec<f64>]) -> f64 {
    mean(&means(strata))
}

/// Median over data sets of their means.
pub fn median_of_means(strata: &[Vec<f64>]) -> f64 {
    let all = sorted(means(strata).into_iter());
    match all.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => all[n / 2],
        n => (all[n / 2 - 1] + all[n / 2]) / 2.0,
    }
}

/// Interquartile mean over all runs: without the lowest and the highest quarter, rounded down.
pub fn iqm(strata: &[Vec<f64>]) -> f64 {
    let all = sorted(strata.iter().flatten().copied());
    let cut = all.len() / 4;
    mean(&all[cut..all.len() - cut])
}

/// How far runs are from `target` on average, mean over data sets; what lies beyond it counts as reaching it.
pub fn optimality_gap(strata: &[Vec<f64>], target: f64) -> f64 {
    let short = |values: &Vec<f64>| mean(&values.iter().map(|v| target - v.min(target)).collect::<Vec<_>>());
    mean(&strata.iter().map(short).collect::<Vec<_>>())
}

/// Probability that a run of `x` is above one of `y` on the same data set, ties counting half; mean over data sets.
pub fn probability_of_improvement(x: &[Vec<f64>], y: &[Vec<f64>]) -> f64 {
    let wins = |a: f64, b: f64| if a > b { 1.0 } else { f64::from(u8::from(a == b)) / 2.0 };
    let one = |(x, y): (&Vec<f64>, &Vec<f64>)| {
        let won: f64 = x.iter().map(|a| y.iter().map(|b| wins(*a, *b)).sum::<f64>()).sum();
        won / (x.len() * y.len()) as f64
    };
    mean(&x.iter().zip(y).map(one).collect::<Vec<f64>>())
}

/// Performance profile: the share of runs above each threshold.
pub fn profile(strata: &[Vec<f64>], thresholds: &[f64]) -> Vec<f64> {
    shares_above(sorted(strata.iter().flatten().copied()), thresholds)
}

/// Performance profile of averages: the share of data sets whose mean is above each threshold.
pub fn profile_of_means(strata: &[Vec<f64>], thresholds: &[f64]) -> Vec<f64> {
    shares_above(sorted(means(strata).into_iter()), thresholds)
}

fn shares_above(sorted: Vec<f64>, thresholds: &[f64]) -> Vec<f64> {
    let above = |t: &f64| sorted.len() - sorted.partition_point(|v| v <= t);
    thresholds.iter().map(|t| above(t) as f64 / sorted.len() as f64).collect()
}

/// Percentile intervals of several statistics at once by the stratified bootstrap: the entries of each stratum are drawn
/// anew with replacement, [`RESAMPLES`] times. `None` if there is nothing, or a stratum of fewer than [`LEAST_SEEDS`].
pub fn bootstrap<T: Copy>(
    strata: &[Vec<T>],
    statistics: impl Fn(&[Vec<T>]) -> Vec<f64>,
) -> Option<Vec<Interval>> {
    if strata.is_empty() || strata.iter().any(|values| values.len() < LEAST_SEEDS) {
        return None;
    }
    let mut drawn = strata.to_vec();
    let mut samples: Vec<Vec<f64>> = Vec::new();
    for r in 0..RESAMPLES {
        let mut rng = Rng::new(0, Stream::Resample, r as u64);
        for (drawn, values) in drawn.iter_mut().zip(strata) {
            drawn.fill_with(|| values[rng.below(values.len())]);
        }
        let found = statistics(&drawn);
        samples.resize_with(found.len(), || Vec::with_capacity(RESAMPLES));
        samples.iter_mut().zip(found).for_each(|(all, value)| all.push(value));
    }
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let interval = |values: &mut Vec<f64>| Interval {
        low: percentile(values, tail),
        high: percentile(values, 1.0 - tail),
    };
    Some(samples.iter_mut().map(interval).collect())
}

/// Linear between neighbours, as numpy's default.
fn percentile(values: &mut [f64], at: f64) -> f64 {
    let place = at * (values.len() - 1) as f64;
    let (_, low, above) = values.select_nth_unstable_by(place as usize, f64::total_cmp);
    let (low, next) = (*low, above.iter().copied().min_by(f64::total_cmp));
    low + place.fract() * (next.unwrap_or(low) - low)
}

/// A statistic of the values and its bootstrap interval.
pub fn estimate(strata: &[Vec<f64>], statistic: impl Fn(&[Vec<f64>]) -> f64) -> Estimate {
    let interval = bootstrap(strata, |drawn| vec![statistic(drawn)]).map(|all| all[0]);
    Estimate { value: statistic(strata), interval }
}

/// [`probability_of_improvement`] with its interval; the runs of the two are drawn independently.
pub fn improvement(x: &[Vec<f64>], y: &[Vec<f64>]) -> Estimate {
    estimate(&[x, y].concat(), |both| {
        let (x, y) = both.split_at(x.len());
        probability_of_improvement(x, y)
    })
}

/// What differences of paired runs say, one list per data set; `None` of none.
pub fn difference(strata: &[Vec<f64>]) -> Option<Difference> {
    let pairs = strata.iter().map(Vec::len).sum();
    if pairs == 0 || strata.iter().any(Vec::is_empty) {
        return None;
    }
    // So weighted, the sum of all is the mean over data sets of their means.
    let weighted =
        strata.iter().flat_map(|d| d.iter().map(|v| v / (d.len() * strata.len()) as f64)).collect::<Vec<_>>();
    Some(Difference { mean: estimate(strata, mean_of_means), p: sign_flip(&weighted), pairs })
}

/// Two-sided p of the sign-flip permutation test: how often a sum with random signs is as far from 0 as that of the values.
/// Exact for few values; else of random assignments, the observed one counted among them.
pub fn sign_flip(values: &[f64]) -> f64 {
    let size: f64 = values.iter().map(|v| v.abs()).sum();
    // Sums that are equal but for rounding count as equal.
    let least = values.iter().sum::<f64>().abs() - 1e-12 * size;
    let extreme = |sign: &mut dyn FnMut(usize) -> bool| {
        let signed = values.iter().enumerate().map(|(i, v)| if sign(i) { -v } else { *v });
        signed.sum::<f64>().abs() >= least
    };
    if values.len() <= EXACT_PAIRS {
        let all = 1u32 << values.len();
        let count = (0..all).filter(|signs| extreme(&mut |i| signs >> i & 1 == 1)).count();
        return count as f64 / f64::from(all);
    }
    let count = (0..FLIPS).filter(|flip| {
        let mut rng = Rng::new(0, Stream::Flip, *flip);
        extreme(&mut |_| rng.below(2) == 1)
    });
    (count.count() + 1) as f64 / (FLIPS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_by_hand() {
        // Of 8 assignments to 1, 2, 3 only all plus and all minus reach 6.
        assert_eq!(sign_flip(&[1.0, 2.0, 3.0]), 0.25);
        // 1 + 2 - 4 = -1 is reached by (+ + -), (- - +) alone... and passed by all others.
        assert_eq!(sign_flip(&[1.0, 2.0, -4.0]), 1.0);
        assert_eq!(sign_flip(&[0.1, 0.2, -0.3]), 1.0, "0 is reached always, whatever rounding does");
        assert_eq!(sign_flip(&[0.0; 4]), 1.0);
        assert_eq!(sign_flip(&[]), 1.0);
        // Beyond the exact ones: 20 equal differences are extreme with probability 2^-19.
        assert!(sign_flip(&[1.0; 20]) < 1e-4);
        let mixed: Vec<f64> = (0..20).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert_eq!(sign_flip(&mixed), 1.0);
    }

    /// The exact test and its sampled form agree: 17 values of which one is 0 have the p of the other 16.
    #[test]
    fn sampled_signs_agree_with_exact_ones() {
        let values: Vec<f64> = (0..16).map(|i| (f64::from(i) * 2.7).sin() + 0.4).collect();
        let exact = sign_flip(&values);
        let sampled = sign_flip(&[values, vec![0.0]].concat());
        assert!((0.02..0.5).contains(&exact), "{exact}");
        // Four standard deviations of a share of 100,000 draws.
        let tolerance = 4.0 * (exact * (1.0 - exact) / FLIPS as f64).sqrt();
        assert!((exact - sampled).abs() < tolerance, "{exact} {sampled}");
    }

    #[test]
    fn few_seeds_have_no_interval() {
        assert!(estimate(&[vec![1.0, 2.0]], iqm).interval.is_none());
        assert!(estimate(&[vec![1.0, 2.0, 3.0], vec![1.0]], iqm).interval.is_none());
        assert!(bootstrap::<f64>(&[], |_| vec![0.0]).is_none());
        let one = estimate(&[vec![1.0, 2.0, 3.0]], mean_of_means);
        assert_eq!((one.value, one.interval.unwrap().low, one.interval.unwrap().high), (2.0, 1.0, 3.0));
        assert!(difference(&[]).is_none() && difference(&[vec![], vec![1.0]]).is_none());
    }

    /// Three values 0, 1, 2: of 27 resamples 1 has mean 0 and 3 have mean 1/3: the 2.5 % quantile is 0, the one of 97.5 % is 2.
    /// Five of equal odds: the binomial's quantiles are whole numbers of fifths.
    #[test]
    fn intervals_by_hand() {
        let of = |values: &[f64]| estimate(&[values.to_vec()], mean_of_means).interval.unwrap();
        assert_eq!(of(&[0.0, 1.0, 2.0]), Interval { low: 0.0, high: 2.0 });
        // 10 values, 5 of them 1: resample means are Binomial(10, 1/2) / 10 with quantiles 2 and 8.
        let halves: Vec<f64> = (0..10).map(|i| f64::from(i % 2)).collect();
        assert_eq!(of(&halves), Interval { low: 0.2, high: 0.8 });
        // Strata do not mix: two data sets without spread have none together.
        let apart = estimate(&[vec![0.0; 3], vec![10.0; 3]], mean_of_means);
        assert_eq!(apart.interval, Some(Interval { low: 5.0, high: 5.0 }));
    }

    #[test]
    fn percentiles_are_linear_between_neighbours() {
        let mut values = vec![4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.25, 1.0].map(|at| percentile(&mut values, at)), [1.0, 2.5, 1.75, 4.0]);
        assert_eq!(percentile(&mut [7.0], 0.3), 7.0);
    }

    #[test]
    fn a_gap_weighs_data_sets_equally() {
        assert_eq!(optimality_gap(&[vec![100.0, 130.0, 100.0], vec![20.0]], 100.0), 40.0);
    }

    #[test]
    fn a_difference_weighs_data_sets_equally() {
        let d = difference(&[vec![1.0, 1.0, 1.0], vec![-3.0]]).unwrap();
        assert_eq!((d.mean.value, d.pairs, d.mean.interval), (-1.0, 4, None));
        // Sums of signed 1/6, 1/6, 1/6, -3/2: all 16 assignments reach 1.
        assert_eq!(d.p, 1.0);
    }
}
