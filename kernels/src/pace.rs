//! Alone or together: what took less time lately, found out by trying the other way now and then.

use std::time::Instant;

/// Whether a program is faster alone or with others, as it was lately.
pub(crate) struct Pace {
    /// recent seconds with others, and alone
    seconds: [f64; 2],
    turn: u32,
}

/// A program that runs now.
pub(crate) struct Turn {
    pub(crate) alone: bool,
    since: Instant,
}

impl Default for Pace {
    /// Four turns with others, then the first two alone.
    fn default() -> Pace {
        Pace { seconds: [0.0, f64::INFINITY], turn: Pace::EVERY - 7 }
    }
}

impl Pace {
    /// Turns after which the slower way is tried again, twice: the first time caches are cold.
    const EVERY: u32 = 128;

    /// A program begins.
    pub(crate) fn begin(&mut self) -> Turn {
        Turn { alone: self.alone(), since: Instant::now() }
    }

    /// It has ended.
    pub(crate) fn end(&mut self, turn: Turn) {
        self.took(turn.since.elapsed().as_secs_f64());
    }

    fn faster_alone(&self) -> bool {
        self.seconds[1] < self.seconds[0]
    }

    fn alone(&mut self) -> bool {
        self.turn = (self.turn + 1) % Pace::EVERY;
        self.faster_alone() != (self.turn >= Pace::EVERY - 2)
    }

    fn took(&mut self, seconds: f64) {
        let other = self.turn == Pace::EVERY - 1;
        if other || (1..Pace::EVERY - 2).contains(&self.turn) {
            let recent = &mut self.seconds[usize::from(self.faster_alone() != other)];
            let known = *recent > 0.0 && recent.is_finite();
            *recent = if known { 0.75 * *recent + 0.25 * seconds } else { seconds };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_way_is_taken_and_the_other_tried_now_and_then() {
        let mut pace = Pace::default();
        let mut turns = |n: usize, seconds: [f64; 2]| -> usize {
            let turn = |_| {
                let alone = pace.alone();
                pace.took(seconds[usize::from(alone)]);
                usize::from(alone)
            };
            (0..n).map(turn).sum()
        };
        assert_eq!(turns(4, [1.0, 2.0]), 0, "with others first");
        assert_eq!(turns(2, [1.0, 2.0]), 2);
        assert_eq!(turns(1280, [1.0, 2.0]), 20, "others help");
        let changes = turns(1280, [3.0, 2.0]);
        assert!((1240..1264).contains(&changes), "{changes}: others hinder");
        turns(1280, [1.0, 2.0]);
        assert_eq!(turns(1280, [1.0, 2.0]), 20, "others help again");
    }
}
