//! The calibration check of an adaptation: are its weights and priorities where they can do something?
//!
//! Which quantities it has, and where their means should lie, the adaptation says.

use serde_json::{Value, json};

use crate::algo::Range;
use crate::replay::stats::Summary;

/// Quantities of an adaptation: name, and a summary of each pool.
pub type Quantities = [(&'static str, Vec<(&'static str, Option<Summary>)>)];

/// As JSON: quantity, pool, mean and quantiles, and the range of the mean where there is one.
pub fn to_json(quantities: &Quantities, ranges: &[Range]) -> Value {
    let summary = |s: &Option<Summary>| match s {
        Some(s) => json!({"count": s.count, "mean": s.mean, "q05": s.q05, "q50": s.q50, "q95": s.q95}),
        None => Value::Null,
    };
    let of = |(name, pools): &(&'static str, Vec<(&'static str, Option<Summary>)>)| {
        let of = |(pool, s): &(&str, Option<Summary>)| (pool.to_string(), summary(s));
        let mut all = Value::Object(pools.iter().map(of).collect());
        if let Some(range) = ranges.iter().find(|r| r.quantity == *name) {
            all["range"] = json!({"offline": range.offline, "online": range.online, "advice": range.advice});
        }
        (name.to_string(), all)
    };
    quantities.iter().map(of).collect::<serde_json::Map<_, _>>().into()
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
    out.extend(verdict(calibration));
    out
}

/// Which means lie outside their ranges; `None` where no quantity has one.
fn verdict(calibration: &Value) -> Option<String> {
    let (mut complaints, mut ranges, mut advice) = (Vec::new(), 0, "");
    for (name, by) in calibration.as_object().into_iter().flatten() {
        let Some(range) = by.get("range") else { continue };
        ranges += 1;
        for origin in ["offline", "online"] {
            let bounds = (range[origin][0].as_f64(), range[origin][1].as_f64());
            if let (Some(mean), (Some(lo), Some(hi))) = (by[origin]["mean"].as_f64(), bounds)
                && !(lo..=hi).contains(&mean)
            {
                complaints.push(format!("{origin} mean of {name} is {mean:.3}, aim at {lo} to {hi}"));
                advice = range["advice"].as_str().unwrap_or_default();
            }
        }
    }
    (ranges > 0).then(|| match complaints.is_empty() {
        true => "calibration: weights are in their target ranges".into(),
        false => format!("calibration: {}; try {advice}", complaints.join("; ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_what_is_outside_its_range() {
        let summary = |mean: f64| Some(Summary { count: 10, mean, q05: mean, q50: mean, q95: mean });
        let last = |offline, online| {
            let pools = vec![("offline", summary(offline)), ("online", summary(online))];
            let (range, advice) = ((0.8, 0.98), "--set baq.k_q=auto");
            let range = Range { quantity: "weight w", offline: range, online: (0.4, 0.9), advice };
            lines(&to_json(&[("weight w", pools)], &[range])).pop().expect("a verdict")
        };
        assert!(last(0.9, 0.6).contains("target ranges"));
        let text = last(0.999, 0.6);
        assert!(text.contains("offline mean of weight w is 0.999") && text.contains("k_q=auto"), "{text}");
        assert!(!text.contains("online mean"), "{text}");
    }
}
