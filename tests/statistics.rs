//! Statistics held to rliable's, on the same numbers: the fixture is what `tests/golden/rliable_fixture.py` wrote.

use baq::study::statistics::{self as st, Estimate};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("golden/rliable.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// `[runs, tasks]` as one list per task.
fn strata(value: &Value) -> Vec<Vec<f64>> {
    let runs: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    (0..runs[0].len()).map(|task| runs.iter().map(|run| run[task]).collect()).collect()
}

/// Values agree to rounding. Ends of intervals are random on both sides: quantiles at 2.5 % of so many resamples scatter
/// by less than a fiftieth of the interval, and may fall on the next value there is.
#[track_caller]
fn assert_agrees(what: &str, ours: Estimate, theirs: &Value, share: f64) {
    let value = theirs["value"].as_f64().unwrap();
    assert!((ours.value - value).abs() <= 1e-12 * value.abs().max(1.0), "{what}: {} {value}", ours.value);
    let (ours, ends) = (ours.interval.unwrap(), numbers(&theirs["interval"]));
    let tolerance = share * (ends[1] - ends[0]);
    for (ours, end) in [ours.low, ours.high].into_iter().zip(ends) {
        assert!((ours - end).abs() <= tolerance, "{what}: {ours} {end}, expected within {tolerance}");
    }
}

#[test]
fn estimates_and_intervals_are_those_of_rliable() {
    let fixture = fixture();
    let target = fixture["target"].as_f64().unwrap();
    for case in fixture["cases"].as_array().unwrap() {
        let (x, y) = (strata(&case["x"]), strata(&case["y"]));
        let theirs = &case["aggregates"];
        for (key, ours) in [
            ("mean", st::estimate(&x, st::mean_of_means)),
            ("median", st::estimate(&x, st::median_of_means)),
            ("iqm", st::estimate(&x, st::iqm)),
            ("gap", st::estimate(&x, |drawn| st::optimality_gap(drawn, target))),
        ] {
            assert_agrees(&format!("{key}, {}", case["name"]), ours, &theirs[key], 0.05);
        }
        let what = format!("improvement, {}", case["name"]);
        assert_agrees(&what, st::improvement(&x, &y), &case["improvement"], 0.08);
    }
}

#[test]
fn profiles_are_those_of_rliable() {
    let fixture = fixture();
    let thresholds = numbers(&fixture["thresholds"]);
    for case in fixture["cases"].as_array().unwrap() {
        let x = strata(&case["x"]);
        let close = |ours: &[f64], theirs: Vec<f64>| {
            assert_eq!(ours.len(), theirs.len());
            let far = ours.iter().zip(&theirs).find(|(a, b)| (*a - *b).abs() > 1e-12);
            assert!(far.is_none(), "{}: {ours:?} {theirs:?}", case["name"]);
        };
        close(&st::profile(&x, &thresholds), numbers(&case["profile"]));
        close(&st::profile_of_means(&x, &thresholds), numbers(&case["profile_of_means"]));
    }
}
