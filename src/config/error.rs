//! What can be wrong with a configuration, each in one line.

use thiserror::Error;

/// A configuration that cannot be used. The command line prints it and exits with code 2.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A value of the wrong type, outside its range or not among its choices.
    #[error("{place}: expected {expected}, got {got} (default {default}){}", did_you_mean(nearest))]
    Value {
        /// `section.key`.
        place: String,
        /// What is accepted.
        expected: String,
        /// What was given.
        got: String,
        /// The declared default.
        default: String,
        /// The nearest accepted word, if one is near.
        nearest: Option<String>,
    },
    /// A key that the section does not declare.
    #[error("{section}.{key}: no such option{}; `baq options {section}` lists them", did_you_mean(nearest))]
    UnknownKey {
        /// Section that was addressed.
        section: String,
        /// The key that is not there.
        key: String,
        /// The nearest declared `section.key`, if one is near.
        nearest: Option<String>,
    },
    /// A section nobody declares.
    #[error("[{section}]: no such section{}; known: {known}", did_you_mean(nearest))]
    UnknownSection {
        /// The section that is not there.
        section: String,
        /// The nearest declared section, if one is near.
        nearest: Option<String>,
        /// All declared sections.
        known: String,
    },
    /// A setting by the user of a section that this run does not use.
    #[error(
        "{place}: section [{section}] is not used by this run (it uses {active}); leave it out, or choose the method it belongs to"
    )]
    Inactive {
        /// How it was set, as `--set section.key`.
        place: String,
        /// Its section.
        section: String,
        /// The sections that are used.
        active: String,
    },
    /// A preset that is not embedded.
    #[error("preset `{name}`: no such preset{}; known: {known}", did_you_mean(nearest))]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The nearest preset, if one is near.
        nearest: Option<String>,
        /// All presets.
        known: String,
    },
    /// Anything else: syntax, missing file, circular inheritance.
    #[error("{0}")]
    Other(String),
    /// An error with the file or preset it was found in.
    #[error("{origin}: {cause}")]
    In {
        /// File name or `preset NAME`.
        origin: String,
        /// What was wrong there.
        cause: Box<ConfigError>,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    match nearest {
        Some(word) => format!("; did you mean `{word}`?"),
        None => String::new(),
    }
}

impl ConfigError {
    /// The same error, located in `origin`.
    pub fn in_origin(self, origin: &str) -> Self {
        Self::In { origin: origin.to_string(), cause: Box::new(self) }
    }
}

/// The candidate most like `word`, if any is alike enough to be a slip of the pen.
///
/// ```
/// use baq::config::nearest;
/// assert_eq!(nearest("expectil", ["polyak", "expectile"]), Some("expectile".to_string()));
/// assert_eq!(nearest("zebra", ["polyak", "expectile"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let lower = candidate.to_lowercase();
        let mut likeness = strsim::jaro_winkler(&word, &lower);
        // `actor_lr` for `online_actor_lr`: a whole part of the name was left out.
        if word.len() >= 3 && lower.contains(word.as_str()) {
            likeness = likeness.max(0.9);
        }
        if likeness >= 0.8 && best.is_none_or(|(b, _)| likeness > b) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_string())
}

/// "; did you mean `x`?" for the candidate [`nearest`] to `word`, or nothing.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean(&nearest(word, candidates))
}
