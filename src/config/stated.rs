//! Who gave an option its value.

/// Where a value comes from that is not the declared default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// An embedded preset, or the run that this one starts from.
    Preset,
    /// A file that the user names.
    File,
    /// `--set`
    Set,
    /// An argument of its own, as `--updates`.
    Argument,
}

/// That an option has been given a value, and how to call that in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// Its section.
    pub section: String,
    /// Its key.
    pub key: String,
    /// Where the value comes from.
    pub by: By,
    /// In words that precede a complaint, as `--set iql.order`.
    pub place: String,
}
