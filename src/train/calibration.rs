//! The calibration check of an adaptation: are its weights and priorities where they can do something?
//!
//! Targets for BAQ's weight, from the spread of behaviour policies at their entropy targets: the offline mean
//! of w in 0.8 to 0.98, the online mean in 0.4 to 0.9. Outside, `baq.k_q = auto` scales the weight by the
//! data.

use serde_json::{Value, json};

use crate::adapt::baq::WEIGHT;
use crate::replay::stats::{ByOrigin, Summary};

/// Range of the offline mean of w that leaves room on both sides.
const OFFLINE: (f64, f64) = (0.8, 0.98);
/// Range of the online mean of w in which it still learns from new transitions.
const ONLINE: (f64, f64) = (0.4, 0.9);

/// As JSON: quantity, origin, mean and quantiles.
pub fn to_json(quantities: &[(&'static str, ByOrigin)]) -> Value {
    let summary = |s: &Option<Summary>| match s {
        Some(s) => json!({"count": s.count, "mean": s.mean, "q05": s.q05, "q50": s.q50, "q95": s.q95}),
        None => Value::Null,
    };
    quantities
        .iter()
        .map(|(name, by)| {
            (name.to_string(), json!({"offline": summary(&by.offline), "online": summary(&by.online)}))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// As lines of text, the last one the verdict. Takes what [`to_json`] gives.
pub fn lines(calibration: &Value) -> Vec<String> {
    let quantities = calibration.as_object().into_iter().flatten();
    let number = |v: &Value, key: &str| v[key].as_f64().unwrap_or(f64::NAN);
    let mut out = Vec::new();
    for (name, by) in quantities {
        for origin in ["offline", "online"] {
            let s = &by[origin];
            if s.is_object() {
                out.push(format!(
                    "{name:<13} {origin:<8} mean {:.3}  5 % {:.3}  median {:.3}  95 % {:.3}",
                    number(s, "mean"),
                    number(s, "q05"),
                    number(s, "q50"),
                    number(s, "q95"),
                ));
            }
        }
    }
    if let Some(w) = calibration.get(WEIGHT) {
        out.push(verdict(w));
    }
    out
}

fn verdict(w: &Value) -> String {
    let mut complaints = Vec::new();
    for (origin, (lo, hi)) in [("offline", OFFLINE), ("online", ONLINE)] {
        if let Some(mean) = w[origin]["mean"].as_f64()
            && !(lo..=hi).contains(&mean)
        {
            complaints.push(format!("{origin} mean of w is {mean:.3}, aim at {lo} to {hi}"));
        }
    }
    match complaints.is_empty() {
        true => "calibration: weights are in their target ranges".into(),
        false => format!("calibration: {}; try --set baq.k_q=auto", complaints.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_what_is_outside_its_range() {
        let summary = |mean: f64| Some(Summary { count: 10, mean, q05: mean, q50: mean, q95: mean });
        let last = |offline, online| {
            let by = ByOrigin { offline: summary(offline), online: summary(online) };
            lines(&to_json(&[(WEIGHT, by)])).pop().expect("a verdict")
        };
        assert!(last(0.9, 0.6).contains("target ranges"));
        let text = last(0.999, 0.6);
        assert!(text.contains("offline mean of w is 0.999") && text.contains("k_q=auto"), "{text}");
        assert!(!text.contains("online mean"), "{text}");
    }
}
