//! Ticks and their labels.

/// A shorter axis has one label: steps of it would not be numbers any more.
const LEAST_SPAN: f64 = 1e-290;

/// Round numbers inside `[low, high]`, about `wanted` of them, each with its label.
pub fn ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let span = high - low;
    let largest = low.abs().max(high.abs());
    if !(LEAST_SPAN..=f64::MAX).contains(&span) {
        return vec![(low, label(low, 0.0, largest))];
    }
    // Two labels are the fewest that tell a scale.
    let wanted = wanted.max(1);
    (wanted..wanted + 20)
        .map(|wanted| multiples(low, high, span / wanted as f64))
        .find(|(_, values)| values.len() >= 2)
        .map(|(step, values)| {
            let labelled = values.into_iter().map(|v| (v, label(v, step, largest)));
            labelled.collect()
        })
        .unwrap_or_default()
}

/// The round step nearest to `raw` from above, or hardly below, and its multiples in the range.
fn multiples(low: f64, high: f64, raw: f64) -> (f64, Vec<f64>) {
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| *s >= raw * 0.85)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (step, (first..=last).map(|i| i as f64 * step).collect())
}

/// A number as a tick label: `30k`, `1.5M`, `0.25`, `2e-5`. Digits as fine as `step` needs,
/// in the unit that suits `largest`, so that all labels of an axis are in one unit.
pub fn label(value: f64, step: f64, largest: f64) -> String {
    let scaled = |unit: f64, letter: &str| {
        let digits = decimals(step / unit);
        format!("{:.digits$}{letter}", value / unit)
    };
    if value.abs() <= step * 1e-6 {
        "0".into()
    } else if !(1e-3..1e9).contains(&largest) {
        let power = 10f64.powf(value.abs().log10().floor());
        let digits = decimals(step / power);
        let text = format!("{value:.digits$e}");
        match text.split_once('e') {
            Some((mantissa, power)) if mantissa.contains('.') => {
                format!("{}e{power}", mantissa.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => text,
        }
    } else if largest >= 1e6 {
        scaled(1e6, "M")
    } else if largest >= 1e4 {
        scaled(1e3, "k")
    } else {
        scaled(1.0, "")
    }
    .replace('-', "\u{2212}")
}

/// Decimals that tell multiples of `step` apart.
fn decimals(step: f64) -> usize {
    if step <= 0.0 {
        return 1;
    }
    (0..8)
        .find(|d| {
            let scaled = step * 10f64.powi(*d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1e-3)
        })
        .unwrap_or(8) as usize
}

/// A value in a table: four significant digits, no more decimals than help.
pub fn value(v: f64) -> String {
    let size = v.abs();
    if !v.is_finite() {
        "\u{2013}".into()
    } else if size >= 1e7 {
        format!("{v:.2e}")
    } else if size >= 1000.0 {
        format!("{v:.0}")
    } else if size >= 10.0 || v == 0.0 {
        format!("{v:.1}")
    } else if size >= 0.01 {
        format!("{v:.3}")
    } else {
        format!("{v:.2e}")
    }
    .replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let labels = |l, h, n| ticks(l, h, n).into_iter().map(|t| t.1).collect::<Vec<_>>().join(" ");
        assert_eq!(labels(0.0, 30_000.0, 3), "0 10k 20k 30k");
        assert_eq!(labels(-1_000_000.0, 0.0, 2), "\u{2212}1.0M \u{2212}0.5M 0");
        assert_eq!(labels(-3.0, 107.0, 5), "0 20 40 60 80 100");
        assert_eq!(labels(0.0, 1.0, 4), "0 0.25 0.50 0.75 1.00");
        assert_eq!(labels(0.0, 4e-5, 2), "0 2e\u{2212}5 4e\u{2212}5");
        assert_eq!(
            labels(0.0, 1.28e-4, 5),
            "0 2.5e\u{2212}5 5e\u{2212}5 7.5e\u{2212}5 1e\u{2212}4 1.25e\u{2212}4"
        );
        assert_eq!(labels(1.00e9, 1.01e9, 3), "1e9 1.005e9 1.01e9");
        assert_eq!(labels(0.0, 30_000.0, 1), "0 20k");
        assert_eq!(labels(5.0, 5.0, 3), "5.0");
        for (l, h) in [(0.0, 1e-323), (0.0, 5e-320), (-1e308, 1e308), (f64::NAN, 1.0), (2.0, 1.0)] {
            assert_eq!(ticks(l, h, 5).len(), 1, "{l} to {h}");
        }
        for (l, h) in [(0.1, 0.3), (-7.0, 1e6), (1e-9, 2e-9), (1e308, 1.001e308), (1.0, 1.0 + 1e-14)] {
            let t = ticks(l, h, 5);
            assert!((2..=8).contains(&t.len()), "{t:?}");
            assert!(t.iter().all(|(v, _)| *v >= l - (h - l) * 1e-6 && *v <= h + (h - l) * 1e-6));
        }
    }

    #[test]
    fn table_values_are_short() {
        let texts: Vec<String> = [1e300, 3234.31, 44.325, 0.98765, 0.0, f64::NAN].map(value).into();
        assert_eq!(texts, ["1.00e300", "3234", "44.3", "0.988", "0.0", "\u{2013}"]);
    }
}
