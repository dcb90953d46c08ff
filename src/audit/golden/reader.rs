//! A trace as a method reads it.

use super::files::Files;
use super::networks::Networks;
use crate::algo::Dims;
use crate::algo::foreign::{Precision, Reading, Wrong};

/// The options and the networks of a trace.
pub struct Reader<'a> {
    pub files: &'a Files,
    pub networks: &'a Networks,
    pub dims: Dims,
    pub constants: Precision,
    /// what the trace left open, and what was assumed
    pub notes: Vec<String>,
}

impl Reading for Reader<'_> {
    fn number(&self, key: &str, range: (f64, f64)) -> Result<Option<f64>, Wrong> {
        self.files.number(key, range)
    }

    fn whole(&self, key: &str, most: u64) -> Result<Option<u64>, Wrong> {
        self.files.whole(key, most)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Wrong> {
        self.files.flag(key)
    }

    fn text(&self, key: &str) -> Result<Option<&str>, Wrong> {
        self.files.text(key)
    }

    fn list(&self, key: &str) -> Result<Option<Vec<f64>>, Wrong> {
        self.files.list(key)
    }

    fn wrong(&self, key: &str, expected: &str, got: &str) -> Wrong {
        self.files.wrong(key, expected, got)
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn dims(&self) -> Dims {
        self.dims
    }

    fn has(&self, name: &str) -> bool {
        self.files.tensors.contains_key(&format!("init.{name}"))
    }

    fn widths(&self, group: &str) -> Vec<usize> {
        self.networks.widths(group)
    }

    fn copies(&self, group: &str) -> usize {
        self.networks.copies(group)
    }

    fn constants(&self) -> Precision {
        self.constants
    }
}
