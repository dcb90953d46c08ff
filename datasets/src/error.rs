//! The one error type of this crate.
//!
//! Every message is a single line of the shape *file: key: expected ..., got ...; what to do*, ready to be shown to the
//! person who named the file. Text that comes from a file or a library is flattened before it enters a message.
//! Above 400 lines because every cause is one variant of one list.

use std::borrow::Cow;
use std::path::Path;

/// Result of everything in this crate that reads or writes.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong with a user's data; see each variant for its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: missing file, directory, permissions, disk full.
    #[error("{file}: {action}: {reason}; check the path and its permissions")]
    Io {
        /// Path as the user gave it.
        file: String,
        /// What was being tried, e.g. `cannot open`.
        action: &'static str,
        /// The system's own words.
        reason: String,
    },
    /// A folder that is not a Minari dataset.
    #[error(
        "{file}: expected a file, or a Minari folder with data/{missing}, got a folder without it; {advice}"
    )]
    NotMinari {
        /// Path as the user gave it.
        file: String,
        /// The absent file.
        missing: &'static str,
        /// What to do about it.
        advice: String,
    },
    /// The bytes are of another format altogether.
    #[error("{file}: expected {expected}, got {got}; {advice}")]
    OtherFormat {
        /// Path as the user gave it.
        file: String,
        /// The format that was expected.
        expected: &'static str,
        /// What it is instead.
        got: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// An Arrow or Parquet file is whole, and stored in a way that is not read here.
    #[error(
        "{file}: key `{key}`: expected {expected}, got {got}, which is not read; write the file again with pyarrow's defaults, or the dataset with Minari and data_format=\"hdf5\""
    )]
    Unread {
        /// Path as the user gave it.
        file: String,
        /// Column, or `/` for the file as a whole.
        key: String,
        /// What is read.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// A folder does not hold the files of episodes that it should.
    #[error("{folder}: expected {expected}, got {got}; fetch the dataset again")]
    EpisodeFiles {
        /// The folder.
        folder: String,
        /// What should be in it.
        expected: String,
        /// What is.
        got: String,
    },
    /// A line of a text file that cannot be read.
    #[error("{file}: line {line}: expected {expected}, got {got}; {advice}")]
    Line {
        /// Path as the user gave it.
        file: String,
        /// Line, counted from 1; the header is the first.
        line: u64,
        /// What should stand there.
        expected: String,
        /// What stands there.
        got: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Columns that D4RL and OGBench give different meanings.
    #[error(
        "{file}: key `terminals`: expected to know whether a 1 is an end of the task, as in D4RL's files, or the last row of a trajectory, as in OGBench's, got `qpos` and rewards without `timeouts`, `masks` or `next_observations`, which may be either; say which with `baq data convert --layout d4rl` or `--layout ogbench`, or add the column `timeouts`"
    )]
    Ambiguous {
        /// Path as the user gave it.
        file: String,
    },
    /// A file name from which the format cannot be told.
    #[error("{file}: expected a name that ends in .hdf5, .h5, .npz or .csv, got another; name the file so")]
    UnknownFormat {
        /// Path as the user gave it.
        file: String,
    },
    /// Bounds of actions that do not fit the data.
    #[error("{file}: bounds of actions: expected {expected}, got {got}; {advice}")]
    Bounds {
        /// Path as the user gave it.
        file: String,
        /// What is needed.
        expected: String,
        /// What there is.
        got: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The HDF5 header promises more bytes than the file has.
    #[error(
        "{file}: expected {expected} bytes as the HDF5 header says, got {got}: the file is cut short; fetch it again"
    )]
    Truncated {
        /// Path as the user gave it.
        file: String,
        /// End of the file according to its superblock, bytes.
        expected: u64,
        /// Its length on disk, bytes.
        got: u64,
    },
    /// The HDF5 structure cannot be followed or decoded.
    #[error("{file}: key `{key}`: cannot be decoded ({reason}); the file is damaged, fetch it again")]
    Undecodable {
        /// Path as the user gave it.
        file: String,
        /// Dataset, or `/` for the file as a whole.
        key: String,
        /// The library's words, flattened to one line.
        reason: String,
    },
    /// The file is whole, and uses something of HDF5 that is not read here.
    #[error(
        "{file}: key `{key}`: expected plain, gzip, shuffle, LZF or Fletcher-32 storage, got {feature}, which is not supported; convert the file with `h5repack -f GZIP=4 OLD NEW`, or copy its columns with h5py (`pip install h5py hdf5plugin`)"
    )]
    Unsupported {
        /// Path as the user gave it.
        file: String,
        /// Dataset, or `/` for the file as a whole.
        key: String,
        /// What it is.
        feature: String,
    },
    /// A key that is not there, and may have been.
    #[error("{file}: key `{key}`: expected it to be there or clearly absent, got {reason}; {advice}")]
    Uncertain {
        /// Path as the user gave it.
        file: String,
        /// The key in question.
        key: String,
        /// What speaks for it.
        reason: String,
        /// What to do about it.
        advice: String,
    },
    /// A soft or external link that leads nowhere, or where it is not followed.
    #[error(
        "{file}: key `{key}`: expected a dataset or group, got {reason}; put the file there, or copy the linked data in (h5py: `f.copy(f[key], new_file, expand_soft=True, expand_external=True)`)"
    )]
    BrokenLink {
        /// Path as the user gave it.
        file: String,
        /// The key that is a link, or leads through one.
        key: String,
        /// Where the link leads, and what is wrong with that.
        reason: String,
    },
    /// A required dataset is absent.
    #[error("{file}: key `{key}`: expected {expected}, got a file without it (it has: {present}); {advice}")]
    MissingKey {
        /// Path as the user gave it.
        file: String,
        /// The absent dataset.
        key: String,
        /// Shape and type that were expected.
        expected: &'static str,
        /// The keys that are there.
        present: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Rank or length is wrong.
    #[error("{file}: key `{key}`: expected shape {expected}, got {got}; store the column in this shape")]
    Shape {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// Expected shape in words, e.g. `(1000, D)`.
        expected: String,
        /// Declared shape.
        got: String,
    },
    /// The element type is wrong.
    #[error(
        "{file}: key `{key}`: expected {expected}, got elements of type {got}; convert the column and try again"
    )]
    Dtype {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// Accepted types.
        expected: &'static str,
        /// Stored type.
        got: String,
    },
    /// A next state that is not finite where the task ended, which only one mode reads.
    #[error(
        "{file}: key `next_observations`: expected finite numbers, as data.mode=next_observations reads them everywhere, got {value} in row {row}, where the task ended; give data.mode=episodes, which does without it, or repair the row"
    )]
    NextAtEnd {
        /// Path as the user gave it.
        file: String,
        /// The first row, counted from 0.
        row: usize,
        /// Its value.
        value: f32,
    },
    /// NaN or infinity, also after conversion to f32.
    #[error(
        "{file}: key `{key}`: expected finite numbers, got {value} in row {row} ({count} such values in all); repair or drop these rows, or leave their episodes out with `baq data convert --skip-bad`"
    )]
    NotFinite {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// First offending row, counted from 0.
        row: usize,
        /// Its value.
        value: f32,
        /// Number of such elements in the column.
        count: usize,
    },
    /// A flag that is neither 0 nor 1.
    #[error(
        "{file}: key `{key}`: expected flags of 0 or 1, got {value} in row {row} ({count} such values in all); store 0 and 1"
    )]
    NotFlag {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// First offending row, counted from 0.
        row: usize,
        /// Its value.
        value: f64,
        /// Number of such elements in the column.
        count: usize,
    },
    /// An action component outside [-1, 1].
    #[error(
        "{file}: key `{key}`: expected values in [-1, 1], got {value} in row {row} ({count} such values in all); `baq data convert --rescale-actions` rescales them, --clip-actions clips them"
    )]
    ActionRange {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// First offending row, counted from 0.
        row: usize,
        /// Its value.
        value: f32,
        /// Number of such elements in the column.
        count: usize,
    },
    /// Timeout transitions cannot be kept, their next state is not known.
    #[error(
        "{file}: option `keep_timeout_transitions`: expected mode next_observations and a file with key `next_observations`, got {got}; turn the option off"
    )]
    CannotKeepTimeouts {
        /// Path as the user gave it.
        file: String,
        /// What stands against it.
        got: &'static str,
    },
    /// Nothing is left to learn from.
    #[error(
        "{file}: key `{key}`: expected at least {expected} row(s), got {got}; collect or fetch more data"
    )]
    TooFewRows {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// Rows needed.
        expected: usize,
        /// Rows present.
        got: usize,
    },
    /// Every row is dropped.
    #[error(
        "{file}: expected transitions, got none from {rows} rows: each is at a time limit or the last one, whose next state is not known; collect or fetch more data"
    )]
    NoTransition {
        /// Path as the user gave it.
        file: String,
        /// Rows present.
        rows: usize,
    },
    /// The declared size cannot be true for this file.
    #[error(
        "{file}: key `{key}`: expected at most {limit} bytes for a file of this size, got a declared size of {declared} bytes; the file is damaged, fetch it again"
    )]
    AbsurdSize {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// Bytes the shape would take (saturated).
        declared: u64,
        /// The most that could be stored.
        limit: u64,
    },
    /// Parts of a dataset were never written and would read as zeros.
    #[error(
        "{file}: key `{key}`: expected {expected} stored chunk(s), got {got}: the rest was never written and would read as zeros; write the file again to its end"
    )]
    Unwritten {
        /// Path as the user gave it.
        file: String,
        /// Dataset.
        key: String,
        /// Chunks the shape needs (1 for contiguous storage).
        expected: u64,
        /// Chunks present.
        got: u64,
    },
    /// Widths differ from the environment's.
    #[error(
        "{file}: key `{key}`: expected width {expected} for {env}, got {got}; choose the environment this data was made in"
    )]
    Dims {
        /// Path as the user gave it.
        file: String,
        /// `observations` or `actions`.
        key: &'static str,
        /// Environment name as given.
        env: String,
        /// Its width.
        expected: usize,
        /// The data's width.
        got: usize,
    },
    /// The metadata.json of a Minari folder does not fit.
    #[error("{file}: field `{field}`: expected {expected}, got {got}; {advice}")]
    Metadata {
        /// Path of the JSON file.
        file: String,
        /// JSON field.
        field: &'static str,
        /// Expected content.
        expected: String,
        /// Content found.
        got: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The target of a write is already there.
    #[error(
        "{file}: expected a path that is free, got an existing file; name another one, or remove it first"
    )]
    Exists {
        /// Path as the user gave it.
        file: String,
    },
    /// Columns handed to the writer do not belong together.
    #[error("{file}: key `{key}`: expected {expected}, got {got}; nothing was written")]
    Unwritable {
        /// Path as the user gave it.
        file: String,
        /// Column.
        key: String,
        /// Expected shape or content.
        expected: String,
        /// Found shape or content.
        got: String,
    },
    /// A scale cannot be derived from these columns.
    #[error(
        "{file}: reward scaling `{transform}`: expected complete episodes with different returns, got a return range of {range}; leave rewards as they are with `--set data.reward_scaling=none`"
    )]
    NoReturnRange {
        /// Path as the user gave it.
        file: String,
        /// Name of the transform.
        transform: &'static str,
        /// Largest minus smallest return.
        range: f64,
    },
}

impl Error {
    /// An operating-system error on `path`.
    pub(crate) fn io(path: &Path, action: &'static str, source: &std::io::Error) -> Self {
        Error::Io { file: path.display().to_string(), action, reason: one_line(&source.to_string()) }
    }
}

/// Text that came from outside as it may be shown: whatever would steer a terminal, or turn the direction of writing,
/// stands there as `\u001b`; ends of lines and tabs stay. The form is JSON's, so JSON stays what it is.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n' && c != '\t') || turns
}

/// Foreign text for a message: one line, blanks single, at most 200 characters, as [`plain`] shows it.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(char::is_whitespace).filter(|w| !w.is_empty()) {
        let word = plain(word);
        if out.chars().count() + word.chars().count() > 200 {
            out.push_str(" ...");
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word);
    }
    out
}
