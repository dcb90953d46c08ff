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

/// What [`to_json`] wrote; nothing for anything else.
pub fn from_json(value: &Value) -> Option<Vec<(String, ByOrigin)>> {
    let number = |v: &Value, key: &str| v.get(key)?.as_f64();
    let summary = |v: &Value| -> Option<Summary> {
        Some(Summary {
            count: v.get("count")?.as_u64()? as usize,
            mean: number(v, "mean")?,
            q05: number(v, "q05")?,
            q50: number(v, "q50")?,
            q95: number(v, "q95")?,
        })
    };
    let by = |v: &Value| {
        Some(ByOrigin {
            offline: v.get("offline").and_then(summary),
            online: v.get("online").and_then(summary),
        })
    };
    value.as_object()?.iter().map(|(name, v)| Some((name.clone(), by(v)?))).collect()
}

/// As lines of text, the last one the verdict.
pub fn lines<N: AsRef<str>>(quantities: &[(N, ByOrigin)]) -> Vec<String> {
    let mut out = Vec::new();
    for (name, by) in quantities {
        let name = name.as_ref();
        for (origin, s) in [("offline", &by.offline), ("online", &by.online)] {
            if let Some(s) = s {
                out.push(format!(
                    "{name:<13} {origin:<8} mean {:.3}  5 % {:.3}  median {:.3}  95 % {:.3}",
                    s.mean, s.q05, s.q50, s.q95
                ));
            }
        }
    }
    if let Some((_, by)) = quantities.iter().find(|(name, _)| name.as_ref() == WEIGHT) {
        out.push(verdict(by));
    }
    out
}

fn verdict(w: &ByOrigin) -> String {
    let outside = |s: &Option<Summary>, (lo, hi): (f64, f64)| match s {
        Some(s) if !(lo..=hi).contains(&s.mean) => Some((s.mean, lo, hi)),
        _ => None,
    };
    let mut complaints = Vec::new();
    for (origin, s, range) in [("offline", &w.offline, OFFLINE), ("online", &w.online, ONLINE)] {
        if let Some((mean, lo, hi)) = outside(s, range) {
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

    fn summary(mean: f64) -> Option<Summary> {
        Some(Summary { count: 10, mean, q05: mean, q50: mean, q95: mean })
    }

    #[test]
    fn a_report_made_again_says_the_same() {
        let all = [(WEIGHT, ByOrigin { offline: summary(0.9), online: None })];
        let back = from_json(&to_json(&all)).expect("what was written");
        assert_eq!(lines(&back), lines(&all));
        assert_eq!(from_json(&json!([1])).map(|v| v.len()), None);
    }

    #[test]
    fn the_verdict_names_what_is_outside_its_range() {
        let good = ByOrigin { offline: summary(0.9), online: summary(0.6) };
        assert!(verdict(&good).contains("target ranges"));
        let bad = ByOrigin { offline: summary(0.999), online: summary(0.6) };
        let text = verdict(&bad);
        assert!(text.contains("offline mean of w is 0.999") && text.contains("k_q=auto"), "{text}");
        assert!(!text.contains("online mean"), "{text}");
    }
}
