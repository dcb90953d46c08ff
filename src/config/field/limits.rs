//! The range of an option, from Rust's own range syntax.

use std::fmt;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The interval an option's number must lie in; either end may be missing, in or out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
}

/// Everything greater than `low`, which is itself excluded (Rust's ranges cannot say this).
pub fn above(low: f64) -> Limits {
    Limits { low: Some((low, false)), high: None }
}

impl Limits {
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
            Some((l, true)) => write!(f, "[{l}, ")?,
            Some((l, false)) => write!(f, "({l}, ")?,
            None => write!(f, "(-inf, ")?,
        }
        match self.high {
            Some((h, true)) => write!(f, "{h}]"),
            Some((h, false)) => write!(f, "{h})"),
            None => write!(f, "inf)"),
        }
    }
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
