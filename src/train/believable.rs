//! What a checkpoint must hold to be believed.
//!
//! A checksum shows that a file is whole, not that this program wrote it. Whoever computes it anew may write anything, so what
//! could not be the state of a run is refused before it is used: here what the file alone shows, in `Training` what
//! takes the configuration and the data to see.

use super::counters::Counters;
use super::error::TrainError;
use super::plan::Work;
use crate::checkpoint::container::{Dtype, Reader};

/// Counts are exact as floating-point numbers, and sums of a few of them fit.
const MOST: u64 = 1 << 53;
/// States and actions that no program could hold in memory are beyond this.
const WIDEST: u64 = 1 << 20;

/// The file under examination.
struct File<'a> {
    reader: &'a Reader,
    name: &'a str,
}

/// An error that names the first entry that no run of this program has; `whole` for a file that has the replay of an online
/// phase.
pub(super) fn check(reader: &Reader, name: &str, counters: &Counters, whole: bool) -> Result<(), TrainError> {
    let file = File { reader, name };
    let phase = reader.text("phase")?;
    if !Work::WORDS.contains(&phase) {
        let known = Work::WORDS.join(" or ");
        return Err(file.wrong("phase", &known, &format!("`{}`", phase.escape_debug())));
    }
    file.sizes()?;
    file.counters(counters)?;
    file.numbers()?;
    if whole && phase == Work::ONLINE { file.online(counters) } else { Ok(()) }
}

impl File<'_> {
    fn wrong(&self, entry: &str, expected: &str, got: &str) -> TrainError {
        TrainError::Input(format!(
            "{}: {entry}: expected {expected}, got {got}; no run has this, take another checkpoint",
            self.name
        ))
    }

    fn require(&self, holds: bool, entry: &str, expected: &str, got: &str) -> Result<(), TrainError> {
        if holds { Ok(()) } else { Err(self.wrong(entry, expected, got)) }
    }

    fn sizes(&self) -> Result<(), TrainError> {
        let dims = self.reader.tensor::<u64>("dims", &[2])?;
        let fits = dims.iter().all(|n| (1..=WIDEST).contains(n));
        self.require(fits, "dims", &format!("numbers from 1 to {WIDEST}"), &format!("{dims:?}"))?;
        for steps in ["adam.steps", "best.adam.steps"] {
            if self.reader.contains(steps) {
                let shape = self.reader.shape(steps)?.to_vec();
                let steps_of = self.reader.tensor::<u64>(steps, &shape)?;
                let most = steps_of.into_iter().max().unwrap_or(0);
                self.require(most < MOST, steps, "counts below 2^53", &most.to_string())?;
            }
        }
        Ok(())
    }

    fn counters(&self, c: &Counters) -> Result<(), TrainError> {
        let counts = [
            ("round", c.round, MOST),
            ("rounds of the offline phase", c.offline_rounds, c.round),
            ("round of the smallest loss", c.best_round, c.round),
            ("environment steps", c.env_step, MOST),
            ("steps of the episode", c.episode_step, c.env_step),
            ("episodes", c.episode, MOST),
            ("evaluations", c.evaluations, MOST),
            ("critic updates", c.critic_updates, c.round),
            ("policy updates", c.actor_updates, c.round),
            ("phase of the plan", c.phase, MOST),
            ("rounds of a model", c.fitted, MOST),
            ("rounds of the generator", c.generator_rounds, MOST),
        ];
        for (what, count, most) in counts {
            let entry = format!("counters: {what}");
            self.require(count <= most, &entry, &format!("at most {most}"), &count.to_string())?;
        }
        for (what, owed) in [("critic", c.credit), ("policy", c.actor_credit)] {
            let entry = format!("credit of the {what}");
            self.require(owed.abs() <= 1.0, &entry, "a number from -1 to 1", &owed.to_string())?;
        }
        let returns = c.episode_return.is_finite() && c.last_return.is_none_or(f64::is_finite);
        self.require(returns, "credit: returns", "finite numbers", "others")
    }

    /// Every parameter and moment is finite, no second moment is negative, and what is stored beside them is no NaN.
    fn numbers(&self) -> Result<(), TrainError> {
        for name in self.reader.names() {
            let place = name.strip_prefix("best.").unwrap_or(name);
            let expected = match place {
                // Absent values are NaN there, and `counters` has looked at them.
                "credit" | "credit.actor" => continue,
                // Returns to go that are not known yet are minus infinity.
                _ if place.starts_with("replay.records") || place.starts_with("replay.offline.") => "no NaN",
                _ if place.starts_with("adam.second.")
                    || place.starts_with("scale.observation.std")
                    || place.starts_with("replay.") =>
                {
                    "finite numbers, none negative"
                }
                _ => "finite numbers",
            };
            let wrong = |x: f64| match expected {
                "no NaN" => x.is_nan(),
                "finite numbers" => !x.is_finite(),
                _ => !(0.0..=f64::MAX).contains(&x),
            };
            if let Some((at, x)) = self.first(name, wrong) {
                return Err(self.wrong(&format!("{name}, element {at}"), expected, &x.to_string()));
            }
        }
        Ok(())
    }

    /// The first element of a tensor of floats that is wrong.
    fn first(&self, name: &str, wrong: impl Fn(f64) -> bool) -> Option<(usize, f64)> {
        let (dtype, _, bytes) = self.reader.raw(name)?;
        let single = |b: &[u8; 4]| f64::from(f32::from_le_bytes(*b));
        match dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(single).enumerate().find(|(_, x)| wrong(*x)),
            Dtype::F64 => {
                let doubles = bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b));
                doubles.enumerate().find(|(_, x)| wrong(*x))
            }
            _ => None,
        }
    }

    /// The buffer and the environment agree with the counters.
    fn online(&self, c: &Counters) -> Result<(), TrainError> {
        let p = self.reader.tensor::<u64>("replay.pointers", &[3])?;
        let (capacity, offline, pushed) = (p[0], p[1], p[2]);
        let range = |what: &str, value: u64, least: u64, most: u64| {
            let (entry, expected) = (format!("replay.pointers: {what}"), format!("{least} to {most}"));
            self.require((least..=most).contains(&value), &entry, &expected, &value.to_string())
        };
        range("capacity", capacity, 1, u32::MAX.into())?;
        range("offline rows", offline, 0, capacity)?;
        range("rows collected", pushed, c.env_step, MOST)?;
        let records = self.reader.shape("replay.records")?;
        let rows = pushed.min(capacity - offline);
        let whole = records.len() == 2 && records[0] as u64 == rows && records[1] > 0;
        let expected = format!("{rows} rows");
        self.require(whole, "replay.records", &expected, &format!("shape {records:?}"))?;
        let s = self.reader.tensor::<u64>("dims", &[2])?[0];
        let seen = self.reader.shape("env.observation")?;
        let expected = format!("{s} numbers");
        self.require(*seen == [s as usize], "env.observation", &expected, &format!("shape {seen:?}"))
    }
}
