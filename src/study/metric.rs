//! What a run is judged by: one number from its evaluations.

use super::curve::{Curve, Point};
use crate::report::LAST;
use std::fmt;
use std::str::FromStr;

/// One number per run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Where the run ends.
    Final,
    /// How well it does on the way.
    Auc,
    /// What the switch costs at its worst.
    Dip,
    /// The best it ever was.
    Best,
    /// How long it takes, from the switch, until its score is reached again behind the lowest evaluation.
    Recovery,
}

/// A run's number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// The number; of a censored one, what it is at least.
    pub value: f64,
    /// Whether the run ended before what it is the time of.
    pub censored: bool,
}

impl Metric {
    /// All of them, the usual one first.
    pub const ALL: [Self; 5] = [Self::Final, Self::Auc, Self::Dip, Self::Best, Self::Recovery];

    /// Its word on the command line and in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Auc => "auc",
            Self::Dip => "dip",
            Self::Best => "best",
            Self::Recovery => "recovery",
        }
    }

    /// What a file of it is called, without its ending: `table`, or `table-dip` and so on for others than the final score.
    pub fn file(self, what: &str) -> String {
        match self {
            Self::Final => what.into(),
            metric => format!("{what}-{metric}"),
        }
    }

    /// Its name above a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Final => "Final score",
            Self::Auc => "Score over the online phase",
            Self::Dip => "Dip",
            Self::Best => "Best score",
            Self::Recovery => "Recovery",
        }
    }

    /// What it is.
    pub fn definition(self) -> String {
        match self {
            Self::Final => format!(
                "final: mean of the last {LAST} evaluations behind the switch; higher is better"
            ),
            Self::Auc => "auc: area under the online curve from the switch on, divided by its steps; higher is better".into(),
            Self::Dip => "dip: score at the switch minus the lowest evaluation behind it, below 0 where none is as low; \
                          lower is better"
                .into(),
            Self::Best => "best: highest online evaluation; choosing it afterwards flatters; higher is better".into(),
            Self::Recovery => "recovery: environment steps from the switch until its score is reached again, from the lowest \
                               evaluation on; 0 where none is below it; runs that never reach it count with all their steps, \
                               and the figure is then a lower bound (\u{2265}); lower is better"
                .into(),
        }
    }

    /// Whether less of it is better.
    pub fn lower_is_better(self) -> bool {
        matches!(self, Self::Dip | Self::Recovery)
    }

    /// Whether it is a level of the score, which other levels, as D4RL's expert, compare with.
    pub fn is_level(self) -> bool {
        matches!(self, Self::Final | Self::Auc | Self::Best)
    }

    /// Of a run; `None` where its evaluations do not tell, as of a dip without evaluations behind the switch; NaN where one
    /// that it needs is not a number.
    pub fn of(self, curve: &Curve) -> Option<Value> {
        let known = |value| Value { value, censored: false };
        // The least and the greatest of numbers do not show that one of them was none.
        if self != Self::Final && curve.online.iter().any(|p| p.score.is_nan()) {
            return Some(known(f64::NAN));
        }
        let (switch, after) = split(&curve.online);
        match self {
            Self::Final => last_mean(after).map(known),
            Self::Auc => area(&curve.online).map(known),
            Self::Dip => Some(known(switch?.score - lowest(after)?.score)),
            Self::Best => curve.online.iter().map(|p| p.score).reduce(f64::max).map(known),
            Self::Recovery => recovery(switch?.score, after),
        }
    }
}

/// The evaluation before the first step, and those behind it.
fn split(online: &[Point]) -> (Option<&Point>, &[Point]) {
    match online.split_first() {
        Some((first, rest)) if first.step == 0 => (Some(first), rest),
        _ => (None, online),
    }
}

fn last_mean(points: &[Point]) -> Option<f64> {
    let last = &points[points.len().saturating_sub(LAST)..];
    (!last.is_empty()).then(|| last.iter().map(|p| p.score).sum::<f64>() / last.len() as f64)
}

/// The first of the lowest ones.
fn lowest(points: &[Point]) -> Option<&Point> {
    points.iter().min_by(|a, b| a.score.total_cmp(&b.score))
}

/// Trapezia, so that it does not matter how evaluations are spaced.
fn area(points: &[Point]) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let trapezium = |p: &[Point]| (p[1].step as f64 - p[0].step as f64) * (p[0].score + p[1].score) / 2.0;
    let sum: f64 = points.windows(2).map(trapezium).sum();
    (last.step > first.step).then(|| sum / (last.step as f64 - first.step as f64))
}

fn recovery(switch: f64, after: &[Point]) -> Option<Value> {
    let (low, end) = (lowest(after)?, after.last()?);
    if low.score >= switch {
        return Some(Value { value: 0.0, censored: false });
    }
    let reached = after.iter().find(|p| p.step >= low.step && p.score >= switch);
    Some(Value { value: reached.unwrap_or(end).step as f64, censored: reached.is_none() })
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|m| m.word() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::word).join(", ");
            format!("expected a metric ({known}), got `{text}`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(metric: Metric, online: &[(u64, f64)]) -> Option<(f64, bool)> {
        let points = |all: &[(u64, f64)]| all.iter().map(|&(step, score)| Point { step, score }).collect();
        let curve = Curve { scored: true, offline: points(&[(1, 5.0), (2, 7.0)]), online: points(online) };
        metric.of(&curve).map(|v| (v.value, v.censored))
    }

    #[test]
    fn by_hand() {
        use Metric::*;
        // Falls from 50 to 20, reaches 50 at step 40, having been above it at 10.
        let curve = [(0, 50.0), (10, 60.0), (20, 20.0), (30, 40.0), (40, 50.0), (50, 70.0), (60, 30.0)];
        assert_eq!(of(Final, &curve), Some(((20.0 + 40.0 + 50.0 + 70.0 + 30.0) / 5.0, false)));
        assert_eq!(of(Auc, &curve), Some(((40.0 + 60.0 + 20.0 + 40.0 + 50.0 + 70.0) / 6.0, false)));
        assert_eq!(of(Dip, &curve), Some((30.0, false)));
        assert_eq!(of(Best, &curve), Some((70.0, false)));
        assert_eq!(of(Recovery, &curve), Some((40.0, false)));
        assert_eq!(of(Recovery, &curve[..4]), Some((30.0, true)), "never reached: at least all its steps");
        assert_eq!(of(Recovery, &curve[..2]), Some((0.0, false)), "never below");
        assert_eq!(of(Dip, &curve[..2]), Some((-10.0, false)));
    }

    #[test]
    fn areas_do_not_depend_on_the_spacing() {
        let even = [(0, 0.0), (10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)];
        let uneven = [(0, 0.0), (30, 30.0), (40, 40.0)];
        assert_eq!(of(Metric::Auc, &even), Some((20.0, false)));
        assert_eq!(of(Metric::Auc, &uneven), Some((20.0, false)));
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for metric in Metric::ALL {
            let value = of(metric, &[(0, 50.0), (10, f64::NAN), (20, 60.0)]).map(|v| v.0);
            assert!(value.is_some_and(f64::is_nan), "{metric}: {value:?}");
        }
        // The final score asks for the last ones alone.
        let curve: Vec<(u64, f64)> = (0..8).map(|i| (i, if i == 1 { f64::NAN } else { 3.0 })).collect();
        assert_eq!(of(Metric::Final, &curve), Some((3.0, false)));
    }

    #[test]
    fn too_little_says_nothing() {
        for metric in Metric::ALL {
            assert_eq!(of(metric, &[]), None, "without an online phase: {metric}");
            let switch = (metric == Metric::Best).then_some((3.0, false));
            assert_eq!(of(metric, &[(0, 3.0)]), switch, "the switch alone: {metric}");
            assert_eq!(metric.word().parse(), Ok(metric));
        }
        // Without an evaluation at the switch nothing is measured from it.
        let late = [(10, 1.0), (20, 2.0)];
        assert_eq!((of(Metric::Dip, &late), of(Metric::Recovery, &late)), (None, None));
        assert_eq!(of(Metric::Final, &late), Some((1.5, false)));
        assert!("max".parse::<Metric>().unwrap_err().contains("final, auc, dip, best, recovery"));
    }
}
