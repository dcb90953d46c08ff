//! The range of an option, from Rust's own range syntax.

use std::fmt;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The interval an option's number must lie in; either end may be missing, in or out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
}

/// The most updates, environment steps or rounds that a run may count. Sums and products of a few of them stay whole
/// numbers, of 64 bits and of f64.
pub const MOST: i64 = 1_000_000_000_000;

/// A number of updates, environment steps or rounds that may be 0.
pub const COUNT: Limits = Limits::closed(0.0, MOST as f64);

/// A learning rate. The end is that of f32: below it a rate that is too large makes a run diverge, which is noticed.
pub const RATE: Limits = Limits::closed(0.0, 1e36);

/// Updates per environment step.
pub const PER_STEP: Limits = Limits::closed(0.0, 1000.0);

/// Units of a hidden layer.
pub const WIDTHS: Limits = Limits::closed(1.0, 4096.0);

/// Everything greater than `low`, which is itself excluded (Rust's ranges cannot say this).
pub fn above(low: f64) -> Limits {
    Limits { low: Some((low, false)), high: None }
}

impl Limits {
    /// Both ends, included.
    const fn closed(low: f64, high: f64) -> Self {
        Self { low: Some((low, true)), high: Some((high, true)) }
    }

    /// With an upper end that is excluded.
    pub fn below(self, high: f64) -> Self {
        Self { high: Some((high, false)), ..self }
    }

    /// With an upper end that is included.
    pub fn up_to(self, high: f64) -> Self {
        Self { high: Some((high, true)), ..self }
    }

    /// Whether `v` lies inside. NaN never does.
    pub fn contains(&self, v: f64) -> bool {
        let low = self.low.is_none_or(|(l, closed)| v > l || (closed && v == l));
        let high = self.high.is_none_or(|(h, closed)| v < h || (closed && v == h));
        !v.is_nan() && low && high
    }

    /// Whether there is no limit at all.
    pub fn is_open(&self) -> bool {
        self.low.is_none() && self.high.is_none()
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.low {
            Some((l, true)) => write!(f, "[{}, ", short(l))?,
            Some((l, false)) => write!(f, "({}, ", short(l))?,
            None => write!(f, "(-inf, ")?,
        }
        match self.high {
            Some((h, true)) => write!(f, "{}]", short(h)),
            Some((h, false)) => write!(f, "{})", short(h)),
            None => write!(f, "inf)"),
        }
    }
}

/// 1e12 instead of 1000000000000.
fn short(x: f64) -> String {
    let plain = x.to_string();
    if plain.len() > 6 { format!("{x:e}") } else { plain }
}

impl From<RangeFull> for Limits {
    fn from(_: RangeFull) -> Self {
        Self { low: None, high: None }
    }
}

macro_rules! limits_from {
    ($t:ty) => {
        impl From<Range<$t>> for Limits {
            fn from(r: Range<$t>) -> Self {
                Self { low: Some((r.start as f64, true)), high: Some((r.end as f64, false)) }
            }
        }
        impl From<RangeInclusive<$t>> for Limits {
            fn from(r: RangeInclusive<$t>) -> Self {
                Self { low: Some((*r.start() as f64, true)), high: Some((*r.end() as f64, true)) }
            }
        }
        impl From<RangeFrom<$t>> for Limits {
            fn from(r: RangeFrom<$t>) -> Self {
                Self { low: Some((r.start as f64, true)), high: None }
            }
        }
        impl From<RangeTo<$t>> for Limits {
            fn from(r: RangeTo<$t>) -> Self {
                Self { low: None, high: Some((r.end as f64, false)) }
            }
        }
        impl From<RangeToInclusive<$t>> for Limits {
            fn from(r: RangeToInclusive<$t>) -> Self {
                Self { low: None, high: Some((r.end as f64, true)) }
            }
        }
    };
}
limits_from!(f64);
limits_from!(i64);
