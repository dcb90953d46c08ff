//! Mean and quantiles.

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
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(Summary::of(&mut []), None);
        // squares of 0..=100 in order: quantiles at places 5, 50, 95
        let mut squares: Vec<f64> = (0..101).rev().map(|i| f64::from(i * i)).collect();
        let expected = Summary { count: 101, mean: 3350.0, q05: 25.0, q50: 2500.0, q95: 9025.0 };
        assert_eq!(Summary::of(&mut squares), Some(expected));
        let two = Summary::of(&mut [9.0, 1.0]).unwrap();
        assert_eq!((two.count, two.mean, two.q50), (2, 5.0, 5.0));
        assert!((two.q05 - 1.4).abs() < 1e-12 && (two.q95 - 8.6).abs() < 1e-12);
    }
}
