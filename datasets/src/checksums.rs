//! Sizes and SHA-256 of published D4RL files, so that a download can be told from a look-alike.

use crate::columns::Source;
use std::fmt;

/// Lines `name <tab> bytes <tab> sha256`, one header line.
const TABLE: &str = include_str!("../data/d4rl-checksums.tsv");

/// A published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Path on the D4RL server, e.g. `gym_mujoco_v2/hopper_medium-v2.hdf5`.
    pub name: &'static str,
    /// Length in bytes.
    pub bytes: u64,
    /// 64 lower-case hex digits.
    pub sha256: &'static str,
}

impl Known {
    /// Name of the file, without its folder.
    pub fn file(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

/// What the table says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Bit for bit the published file.
    Matches(Known),
    /// As long as the published file, but with other content.
    SameSize(Known),
    /// Neither: a file of one's own, or one the table does not list.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Matches(known) => write!(f, "matches {}", known.name),
            Verdict::SameSize(known) => {
                write!(f, "same size as {} but different content: damaged or altered", known.name)
            }
            Verdict::Unknown => f.write_str("not a known D4RL file"),
        }
    }
}

/// All published files of the table, in its order.
pub fn known_files() -> Vec<Known> {
    TABLE
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split('\t');
            Some(Known { name: fields.next()?, bytes: fields.next()?.parse().ok()?, sha256: fields.next()? })
        })
        .collect()
}

/// A name as names are compared: D4RL writes `hopper-medium-v2` and `hopper_medium-v2`.
pub fn plain(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

/// The published file of a name, without its folder, as names are compared.
pub fn of_name(name: &str) -> Option<Known> {
    known_files().into_iter().find(|known| plain(known.file()) == plain(name))
}

/// Holds a file's length and hash against the table.
pub fn verdict(source: &Source) -> Verdict {
    let known = known_files();
    let same_hash = known.iter().find(|k| k.sha256 == source.sha256);
    let same_size = known.iter().find(|k| k.bytes == source.bytes);
    match (same_hash, same_size) {
        (Some(known), _) => Verdict::Matches(*known),
        (None, Some(known)) => Verdict::SameSize(*known),
        (None, None) => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_whole_and_verdicts_differ() {
        let known = known_files();
        assert_eq!(known.len(), TABLE.lines().count() - 1);
        assert_eq!(known.len(), 26);
        assert!(known.iter().all(|k| k.sha256.len() == 64 && k.bytes > 1_000_000));
        let medium = known[1];
        assert_eq!(medium.name, "gym_mujoco_v2/hopper_medium-v2.hdf5");
        let mut source = Source { path: "x".into(), sha256: medium.sha256.into(), bytes: medium.bytes };
        assert_eq!(verdict(&source), Verdict::Matches(medium));
        source.sha256.replace_range(..1, "0");
        assert_eq!(verdict(&source), Verdict::SameSize(medium));
        source.bytes += 1;
        assert_eq!(verdict(&source), Verdict::Unknown);
        for (name, known) in [
            ("hopper_medium-v2.hdf5", Some(medium)),
            ("hopper-medium-v2.hdf5", Some(medium)),
            ("hopper-medium.hdf5", None),
        ] {
            assert_eq!(of_name(name), known, "{name}");
        }
    }
}
