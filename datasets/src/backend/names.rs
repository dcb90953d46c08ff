//! Keys of files that are flat lists of names, in which `/` stands for groups.

use super::resembles;
use crate::error::{Error, Result, one_line};
use std::collections::BTreeSet;

/// The names of a file.
pub(super) struct Names {
    label: String,
    names: BTreeSet<String>,
}

impl Names {
    pub fn new(label: &str, names: impl IntoIterator<Item = String>) -> Names {
        Names { label: label.into(), names: names.into_iter().collect() }
    }

    /// As [`super::Backend::children`]. Error: there is no such group.
    pub fn children(&self, group: &str) -> Result<Vec<String>> {
        let found = self.below(group);
        match found.is_empty() && !group.is_empty() {
            true => Err(self.missing(group, "a group")),
            false => Ok(found.into_iter().map(str::to_string).collect()),
        }
    }

    fn below(&self, group: &str) -> BTreeSet<&str> {
        let names = self.names.iter().filter_map(|name| match group {
            "" => Some(name.as_str()),
            _ => name.strip_prefix(group)?.strip_prefix('/'),
        });
        names.map(|name| name.split('/').next().unwrap_or_default()).collect()
    }

    /// A key that is not among the names is absent, unless one beside it may be it, misspelt.
    pub fn absent(&self, key: &str) -> Result<()> {
        let (group, name) = key.rsplit_once('/').unwrap_or(("", key));
        match self.below(group).into_iter().find(|other| resembles(other, name)) {
            None => Ok(()),
            Some(other) => Err(Error::Uncertain {
                file: self.label.clone(),
                key: key.into(),
                reason: format!("a file with `{}`, which is nearly that name", one_line(other)),
                advice: format!("rename it to `{name}`"),
            }),
        }
    }

    pub fn missing(&self, key: &str, expected: &'static str) -> Error {
        let present: Vec<&str> = self.below("").into_iter().collect();
        Error::MissingKey {
            file: self.label.clone(),
            key: key.into(),
            expected,
            present: one_line(&present.join(", ")),
            advice: "check that this is the right file",
        }
    }
}
