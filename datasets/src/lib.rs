//! Offline reinforcement-learning data: files to columns.
//!
//! [`read`] turns a D4RL file or a Minari folder into [`Columns`], one transition per row; [`read_recording`] gives the
//! rows as recorded; [`Arrays`] are rows in memory; [`formats`] says what is accepted. Around them: [`episodes`], [`returns`], [`scale`], [`scores`],
//! [`checksums`], [`mod@inspect`], and [`mod@convert`] and [`mod@write`] for other files. Nothing here knows networks or simulators.
//!
//! Two rules hold everywhere: a file is either read completely and checked, or refused with one line that says what to
//! do; and raw values stay raw, scales are constants that the caller applies.

mod arrays;
pub mod backend;
pub mod checksums;
mod columns;
pub mod convert;
pub mod d4rl;
pub mod episodes;
mod error;
pub mod files;
mod flatten;
pub mod formats;
pub mod inspect;
pub mod minari;
mod recording;
pub mod returns;
pub mod scale;
pub mod scores;
pub mod suite;
pub mod synthetic;
mod transitions;
pub mod write;

pub use arrays::{ARRAYS, Arrays};
pub use columns::{Columns, Ending, Flags, Source};
pub use d4rl::Layout;
pub use error::{Error, Result, plain};
pub use formats::Format;
pub use recording::Recording;
pub use transitions::{Mode, Options, TimeLimit};

use std::path::Path;

/// Reads a file of D4RL's layout (HDF5, `.npz`, `.csv`), or a Minari folder, as training columns. Errors: see [`Error`].
pub fn read(path: &Path, options: &Options) -> Result<Columns> {
    read_recording(path, options)?.into_columns(options)
}

/// Reads all rows of such a file or folder. Errors: see [`Error`].
pub fn read_recording(path: &Path, options: &Options) -> Result<Recording> {
    let clip = options.clip_actions;
    match (minari::is_minari(path), Format::of(path)) {
        (true, _) => minari::read(path, clip),
        (_, Some(Format::Npz)) => d4rl::read_with::<backend::npz::NpzFile>(path, clip),
        (_, Some(Format::Csv)) => d4rl::read_with::<backend::csv::CsvFile>(path, clip),
        _ => d4rl::read(path, clip),
    }
}

/// A name for a folder or a table: Minari's id with `-` for `/`, else the file's name without its ending.
pub fn short_name(path: &Path) -> String {
    let id = if minari::is_minari(path) { minari::identity(path).and_then(|found| found.id) } else { None };
    let tame = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    match id.map(|id| id.chars().map(tame).collect::<String>()) {
        Some(id) if !id.trim_matches(['.', '-']).is_empty() => id.trim_start_matches(['.', '-']).into(),
        _ => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
    }
}

/// The environment that a file says it was recorded in (Minari), read without its rows.
pub fn recorded_env(path: &Path) -> Option<String> {
    if minari::is_minari(path) { minari::identity(path)?.env } else { None }
}

/// Label of the embedded file in messages.
pub const EMBEDDED_HOPPER: &str = "<embedded hopper-mixed-slice.hdf5>";

/// The embedded slice of Hopper rollouts, a D4RL-layout file of some 3 MB; `data/README.md` says what is in it.
pub fn embedded_hopper() -> &'static [u8] {
    include_bytes!("../data/hopper-mixed-slice.hdf5")
}
