//! The text of a study's file, and errors with their place in it.

use std::ops::Range;

use toml::Spanned;

use crate::config::hint;

/// What is wrong with the file of a study.
#[derive(Debug, thiserror::Error)]
#[error("{origin}, line {line}: {what}")]
pub struct SpecError {
    origin: String,
    line: usize,
    what: String,
}

/// The text that lines are counted in.
pub(super) struct Source<'a> {
    pub(super) origin: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn line(&self, span: Range<usize>) -> usize {
        1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    pub(super) fn error<T>(&self, span: Range<usize>, what: impl Into<String>) -> Result<T, SpecError> {
        Err(SpecError { origin: self.origin.into(), line: self.line(span), what: what.into() })
    }

    /// An error that names the nearest of `all` unless the word is one of them.
    pub(super) fn known(&self, word: &Spanned<String>, all: &[&str], what: &str) -> Result<(), SpecError> {
        if all.contains(&word.get_ref().as_str()) {
            return Ok(());
        }
        let hint = hint(word.get_ref(), all.iter().copied());
        let got = word.get_ref();
        self.error(
            word.span(),
            match all {
                [] => format!("{what}: got {got}, and the study has none to name"),
                all => format!("{what}: expected {}, got {got}{hint}", all.join(" or ")),
            },
        )
    }
}
