//! Numbers that may move during training.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

/// A number, constant or moving with a counter of updates (or whatever its owner counts).
///
/// Text form: `0.0003`, `linear(0.4, 1, 30000)`, `cosine(0.0003, 0, 1000000)`, `step(1.0, 0.0, 40000)`. The last argument
/// may be `auto` or be left out: the length of the phase, filled in by [`Schedule::over`]. Without the second it goes to 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// The same value always.
    Constant(f64),
    /// A straight line from `from` at 0 to `to` at `steps`.
    Linear {
        /// Value at 0.
        from: f64,
        /// Value at `steps`.
        to: f64,
        /// Length; [`Schedule::AUTO`] until the phase is known.
        steps: u64,
    },
    /// Half a cosine from `from` at 0 to `to` at `steps`.
    Cosine {
        /// Value at 0.
        from: f64,
        /// Value at `steps`.
        to: f64,
        /// Length; [`Schedule::AUTO`] until the phase is known.
        steps: u64,
    },
    /// `from` before `steps`, `to` from there on.
    Step {
        /// Value at 0.
        from: f64,
        /// Value at `steps`.
        to: f64,
        /// Where it changes; [`Schedule::AUTO`] until the phase is known.
        steps: u64,
    },
}

impl Schedule {
    /// Length "as long as the phase", to be replaced by [`Schedule::over`] before use.
    pub const AUTO: u64 = u64::MAX;

    /// Value at `step`; from the end on it holds the last value.
    ///
    /// Panics when the length is still `auto`: a schedule that silently stood still would be
    /// a wrong learning rate nobody sees.
    pub fn at(&self, step: u64) -> f64 {
        match *self {
            Self::Constant(v) => v,
            Self::Linear { to, steps, .. }
            | Self::Cosine { to, steps, .. }
            | Self::Step { to, steps, .. }
                if step >= steps =>
            {
                to
            }
            Self::Step { from, to, steps } => {
                if fraction(step, steps) < 1.0 {
                    from
                } else {
                    to
                }
            }
            Self::Linear { from, to, steps } => from + (to - from) * fraction(step, steps),
            Self::Cosine { from, to, steps } => cosine(from, to, fraction(step, steps)),
        }
    }

    /// As [`Schedule::at`], but a cosine goes on after its end and so climbs back to `from`
    /// at `2 * steps`, as schedulers do that are stepped on through the online phase.
    fn at_continued(&self, step: u64) -> f64 {
        match *self {
            Self::Cosine { from, to, steps } if steps > 0 => cosine(from, to, fraction(step, steps)),
            _ => self.at(step),
        }
    }

    /// The schedule with an `auto` length replaced by `phase_steps`.
    pub fn over(self, phase_steps: u64) -> Self {
        let fill = |steps| {
            if steps == Self::AUTO { phase_steps } else { steps }
        };
        match self {
            Self::Constant(v) => Self::Constant(v),
            Self::Linear { from, to, steps } => Self::Linear { from, to, steps: fill(steps) },
            Self::Cosine { from, to, steps } => Self::Cosine { from, to, steps: fill(steps) },
            Self::Step { from, to, steps } => Self::Step { from, to, steps: fill(steps) },
        }
    }

    /// First value and last value; what lies between lies between them.
    pub fn ends(&self) -> [f64; 2] {
        match *self {
            Self::Constant(v) => [v, v],
            Self::Linear { from, to, .. } | Self::Cosine { from, to, .. } | Self::Step { from, to, .. } => {
                [from, to]
            }
        }
    }
}

fn fraction(step: u64, steps: u64) -> f64 {
    assert!(
        steps != Schedule::AUTO,
        "invariant: a schedule of length `auto` is given its phase by Schedule::over before use"
    );
    step as f64 / steps as f64
}

fn cosine(from: f64, to: f64, t: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * t).cos()) / 2.0
}

impl From<f64> for Schedule {
    fn from(v: f64) -> Self {
        Self::Constant(v)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, from, to, steps) = match *self {
            Self::Constant(v) => return write!(f, "{v:?}"),
            Self::Linear { from, to, steps } => ("linear", from, to, steps),
            Self::Cosine { from, to, steps } => ("cosine", from, to, steps),
            Self::Step { from, to, steps } => ("step", from, to, steps),
        };
        if steps == Self::AUTO {
            write!(f, "{name}({from:?}, {to:?}, auto)")
        } else {
            write!(f, "{name}({from:?}, {to:?}, {steps})")
        }
    }
}

impl FromStr for Schedule {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        let number = |s: &str| s.trim().parse::<f64>().ok().filter(|v| v.is_finite()).ok_or(());
        let Some((name, rest)) = text.split_once('(') else {
            return number(text).map(Self::Constant);
        };
        let inside = rest.strip_suffix(')').ok_or(())?;
        let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
        if parts.is_empty() || parts.len() > 3 {
            return Err(());
        }
        let from = number(parts[0])?;
        let to = parts.get(1).map_or(Ok(0.0), |s| number(s))?;
        let steps = match parts.get(2) {
            None | Some(&"auto") => Self::AUTO,
            Some(s) => {
                let n = number(&s.replace('_', ""))?;
                // 2^53: beyond it neighbouring whole numbers are not told apart.
                if n < 1.0 || n.fract() != 0.0 || n > 9.0e15 {
                    return Err(());
                }
                n as u64
            }
        };
        match name.trim() {
            "linear" => Ok(Self::Linear { from, to, steps }),
            "cosine" => Ok(Self::Cosine { from, to, steps }),
            "step" => Ok(Self::Step { from, to, steps }),
            _ => Err(()),
        }
    }
}

/// Adam (Kingma & Ba 2015, algorithm 1): bias-corrected moments, ε added outside the root. With a decay it is AdamW
/// (Loshchilov & Hutter 2019, algorithm 2): parameters shrink by 1 - lr λ before the step, outside the moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// learning rate over the rounds of a phase
    pub lr: Schedule,
    /// rounds by which a continued learning rate is ahead of its phase; 0 for a phase of its own
    pub ahead: u64,
    /// β₁
    pub beta1: f64,
    /// β₂
    pub beta2: f64,
    /// ε
    pub eps: f64,
    /// λ, decay of the parameters; 0: none
    pub decay: f64,
    /// largest norm of the group's gradient, all tensors together; a longer one is scaled down to it. 0: any
    pub clip: f64,
}

impl fmt::Display for Adam {
    /// The learning rate, and the constants that are not the usual ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lr {}", self.lr)?;
        if self.ahead > 0 && !matches!(self.lr, Schedule::Constant(_)) {
            write!(f, ", going on from round {}", self.ahead)?;
        }
        let usual = Adam::new(self.lr);
        for (name, value, usual) in [
            ("beta1", self.beta1, usual.beta1),
            ("beta2", self.beta2, usual.beta2),
            ("eps", self.eps, usual.eps),
            ("decay", self.decay, usual.decay),
            ("clip", self.clip, usual.clip),
        ] {
            if value != usual {
                write!(f, ", {name} {value:?}")?;
            }
        }
        Ok(())
    }
}

impl Adam {
    /// The usual constants (0.9, 0.999, 1e-8) with this learning rate.
    pub fn new(lr: Schedule) -> Adam {
        Adam { lr, ahead: 0, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.0, clip: 0.0 }
    }

    /// What a gradient is multiplied by whose squares have this sum. The addend is PyTorch's.
    pub fn clipping(&self, squares: f64) -> f64 {
        if self.clip > 0.0 { (self.clip / (squares.sqrt() + 1e-6)).min(1.0) } else { 1.0 }
    }

    /// The learning rate at a round of the phase. A continued cosine climbs again after its end.
    pub fn lr_at(&self, phase_round: u64) -> f64 {
        match self.ahead {
            0 => self.lr.at(phase_round),
            n => self.lr.at_continued(phase_round + n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_at_the_end_unless_continued() {
        let s: Schedule = "cosine(3e-4, 0, 1000000)".parse().unwrap();
        assert_eq!(s.at(0), 3e-4);
        assert!((s.at(500_000) - 1.5e-4).abs() < 1e-18);
        assert_eq!(s.at(1_000_000), 0.0);
        assert_eq!(s.at(1_030_000), 0.0);
        // 30k steps past the end of a million the continued cosine is back at 6.7e-7.
        assert!((s.at_continued(1_030_000) - 6.66e-7).abs() < 1e-9);
        assert!((s.at_continued(2_000_000) - 3e-4).abs() < 1e-12);

        let l: Schedule = "linear(0.4, 1.0, 30_000)".parse().unwrap();
        assert!((l.at(15_000) - 0.7).abs() < 1e-15);
        assert_eq!(l.at(40_000), 1.0);
        assert_eq!(l.at_continued(40_000), 1.0);
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "0.0003",
            "1e-8",
            "linear(0.4, 1.0, 30000)",
            "cosine(0.0003, 0.0, 1000000)",
            "cosine(0.0003, 0.0, auto)",
            "step(1.0, 0.0, 40000)",
        ] {
            let s: Schedule = text.parse().unwrap();
            assert_eq!(s.to_string(), text);
        }
        assert_eq!("cosine(3e-4)".parse(), "cosine(0.0003, 0, auto)".parse::<Schedule>());
        for bad in [
            "",
            "x",
            "cosine(",
            "cosine()",
            "stair(1,2,3)",
            "linear(1,2,0)",
            "linear(1,2,3,4)",
            "nan",
            "inf",
            "linear(1,2,1.5)",
        ] {
            assert_eq!(bad.parse::<Schedule>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn auto_length_is_filled_once() {
        let s: Schedule = "cosine(1.0)".parse().unwrap();
        assert_eq!(s.over(10).at(10), 0.0);
        assert_eq!(s.over(10).over(20), s.over(10));
    }

    #[test]
    #[should_panic(expected = "given its phase")]
    fn auto_length_is_never_used_silently() {
        "cosine(1.0)".parse::<Schedule>().unwrap().at(5);
    }
}
