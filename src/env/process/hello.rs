//! What a program says when it is ready: one line of JSON, or what is wrong with it.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Longest line that is read: bounds of 10,000 actions with all their digits fit.
pub(super) const LONGEST: usize = 1 << 20;

/// How much of a longer text of a program is quoted, from its beginning and from its end.
const QUOTED: [usize; 2] = [300, 100];

/// The sizes of a task, and what else is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes {
    pub(super) observation: usize,
    pub(super) action: usize,
    pub(super) limit: usize,
    pub(super) success: bool,
    pub(super) versions: String,
    /// what -1 and 1 stand for; both or neither
    pub(super) low: Vec<f32>,
    pub(super) high: Vec<f32>,
}

impl Sizes {
    /// Those that a line tells; else the error that it tells, or what is wrong with it.
    pub(super) fn of(line: &[u8]) -> Result<Sizes, String> {
        let quoted = || shortened(&String::from_utf8_lossy(line));
        if line.len() > LONGEST {
            return Err(format!(
                "expected a line of JSON with its sizes, got one of more than {LONGEST} bytes: `{}`",
                quoted()
            ));
        }
        let Ok(text) = std::str::from_utf8(line) else {
            return Err(format!(
                "expected a line of JSON in UTF-8 with its sizes, got bytes that are not UTF-8: `{}`",
                quoted()
            ));
        };
        let hello: Map<String, Value> = serde_json::from_str(text)
            .map_err(|e| format!("expected a line of JSON with its sizes, got `{}`: {e}", quoted()))?;
        if let Some(Value::String(error)) = hello.get("error") {
            return Err(shortened(error));
        }
        whole(&hello, "protocol", 1..=1, "1")?;
        let sizes = Sizes {
            observation: whole(&hello, "observation", 1..=100_000, "a whole number from 1 to 100,000")?,
            action: whole(&hello, "action", 1..=10_000, "a whole number from 1 to 10,000")?,
            limit: whole(&hello, "limit", 1..=usize::MAX, "a whole number of steps, at least 1")?,
            success: if_there(&hello, "success", "true or false")?,
            versions: if_there(&hello, "versions", "text")?,
            low: if_there(&hello, "low", "a list of numbers")?,
            high: if_there(&hello, "high", "a list of numbers")?,
        };
        match sizes.wrong_bounds() {
            None => Ok(sizes),
            Some(got) => Err(format!(
                "expected `low` and `high` to be {} numbers each, one below the other, got {got}",
                sizes.action
            )),
        }
    }

    /// The bounds of actions, unless there are none, or those of as many components with room between them.
    fn wrong_bounds(&self) -> Option<String> {
        let (low, high) = (&self.low, &self.high);
        if low.is_empty() && high.is_empty() {
            return None;
        }
        if [low.len(), high.len()] != [self.action; 2] {
            return Some(format!("{} and {}", low.len(), high.len()));
        }
        let room = |k: usize| low[k] < high[k] && (high[k] - low[k]).is_finite();
        let k = (0..self.action).find(|k| !room(*k))?;
        Some(format!("{:?} and {:?} at index {k}", low[k], high[k]))
    }

    /// A checksum of what is to be the same when a saved state is gone on from.
    pub(super) fn version(&self) -> u32 {
        crc32c::crc32c(self.versions.as_bytes())
    }
}

fn wrong(hello: &Map<String, Value>, key: &str, expected: &str) -> String {
    let got = hello.get(key).map_or("none".to_string(), |value| shortened(&value.to_string()));
    format!("expected `{key}` to be {expected}, got {got}")
}

/// A number that must be there.
fn whole(
    hello: &Map<String, Value>,
    key: &str,
    range: RangeInclusive<usize>,
    expected: &str,
) -> Result<usize, String> {
    let number = hello.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    number.filter(|n| range.contains(n)).ok_or_else(|| wrong(hello, key, expected))
}

/// What may be left out.
fn if_there<T: DeserializeOwned + Default>(
    hello: &Map<String, Value>,
    key: &str,
    expected: &str,
) -> Result<T, String> {
    match hello.get(key) {
        None => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone()).map_err(|_| wrong(hello, key, expected)),
    }
}

/// Text of a program on one line. Of a long one the middle is left out: what helps stands at the beginning or at the end.
pub(super) fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let [first, last] = QUOTED;
    let length = line.chars().count();
    if length <= first + last {
        return line;
    }
    let begin: String = line.chars().take(first).collect();
    let end: String = line.chars().skip(length - last).collect();
    format!("{begin} \u{2026} {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_greetings_are_told_by_their_keys() {
        let refused = |line: &str| Sizes::of(line.as_bytes()).expect_err(line);
        let with = |rest: &str| format!(r#"{{"protocol": 1, "observation": 3, "action": 2, {rest}}}"#);
        assert!(Sizes::of(with(r#""limit": 5, "low": [-2, -1], "high": [2, 1.5]"#).as_bytes()).is_ok());
        assert_eq!(
            refused(r#"{"protocol": 1, "observation": 3, "action": 2.5, "limit": 5}"#),
            "expected `action` to be a whole number from 1 to 10,000, got 2.5"
        );
        assert_eq!(
            refused(&with(r#""success": 1"#)),
            "expected `limit` to be a whole number of steps, at least 1, got none"
        );
        assert_eq!(
            refused(&with(r#""limit": 5, "success": 1"#)),
            "expected `success` to be true or false, got 1"
        );
        let bounds = "expected `low` and `high` to be 2 numbers each, one below the other, got ";
        assert_eq!(refused(&with(r#""limit": 5, "low": [0, 0]"#)), format!("{bounds}2 and 0"));
        let none = with(r#""limit": 5, "low": [-1, 1], "high": [1, 1]"#);
        assert_eq!(refused(&none), format!("{bounds}1.0 and 1.0 at index 1"));
    }

    #[test]
    fn long_texts_keep_both_ends() {
        assert_eq!(shortened(" a\n b "), "a b");
        let long = shortened(&format!("begin {} end", "\u{e9}".repeat(1000)));
        assert!(long.starts_with("begin ") && long.ends_with(" end"), "{long}");
        assert_eq!(long.chars().count(), 403);
    }
}
