//! What the rows look like, offline and online apart: the calibration of weights and priorities.

use super::{Origin, Ring};

/// Mean and quantiles of one quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// values
    pub count: usize,
    /// arithmetic mean
    pub mean: f64,
    /// 5 % quantile; all quantiles interpolate linearly between order statistics
    pub q05: f64,
    /// median
    pub q50: f64,
    /// 95 % quantile
    pub q95: f64,
}

impl Summary {
    /// Summarises the values, which are reordered; `None` if there are none.
    pub fn of(values: &mut [f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Self {
            count: values.len(),
            mean,
            q05: quantile(values, 0.05),
            q50: quantile(values, 0.5),
            q95: quantile(values, 0.95),
        })
    }
}

/// A summary per origin; `None` where there is no row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByOrigin {
    /// rows of the data file
    pub offline: Option<Summary>,
    /// our own rows
    pub online: Option<Summary>,
}

/// Summarises `f(slot)` over all rows of the ring, for example a function of one of their columns or
/// their mass in a tree.
pub fn by_origin(ring: &Ring, mut f: impl FnMut(usize) -> f64) -> ByOrigin {
    let mut summary = |wanted: Origin| {
        let mut values: Vec<f64> = match wanted {
            Origin::Offline => ring.offline_rows().map(&mut f).collect(),
            Origin::Online => (0..ring.online_len()).map(|k| f(ring.online_slot(k))).collect(),
        };
        Summary::of(&mut values)
    };
    ByOrigin { offline: summary(Origin::Offline), online: summary(Origin::Online) }
}

/// The q-quantile, linear between order statistics; reorders the values. NaN counts as the largest.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    let place = q * (values.len() - 1) as f64;
    let k = place as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(k, f64::total_cmp);
    match above.iter().copied().min_by(f64::total_cmp) {
        Some(high) if place > k as f64 => low + (place - k as f64) * (high - low),
        _ => low,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{D2, Layout};
    use super::*;

    #[test]
    fn split_by_origin() {
        let mut ring = Ring::new(Layout::new(&[(D2, 1)]), 200);
        let values: Vec<f32> = (0..101).rev().map(|i| i as f32).collect();
        ring.load(101, &[(D2, &values)]).unwrap();
        let d2 = ring.column(D2);
        let square = |ring: &Ring| by_origin(ring, |slot| f64::from(ring.get(slot, d2)[0]).powi(2));
        let s = square(&ring);
        assert_eq!(s.online, None);
        // squares of 0..=100 in order: quantiles at places 5, 50, 95
        let expected = Summary { count: 101, mean: 3350.0, q05: 25.0, q50: 2500.0, q95: 9025.0 };
        assert_eq!(s.offline, Some(expected));
        ring.push(&[3.0]);
        ring.push(&[1.0]);
        let s = square(&ring);
        assert_eq!(s.offline, Some(expected));
        let online = s.online.unwrap();
        assert_eq!((online.count, online.mean, online.q50), (2, 5.0, 5.0));
        assert!((online.q05 - 1.4).abs() < 1e-12 && (online.q95 - 8.6).abs() < 1e-12);
    }
}
