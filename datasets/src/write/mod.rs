//! Columns as the bytes of a D4RL-layout HDF5 file ([`encode`]): gzip 4, flags as HDF5 booleans, every chunk written.
//! Recordings are also written as NumPy's archive and as a table ([`recording`]).
//!
//! The same columns give the same bytes. That a file of them appears whole or not at all is up to whoever has it made.

mod csv;
mod npz;

pub use npz::Npz;

use crate::columns::{Columns, Ending};
use crate::d4rl::ACTION_BOUNDS;
use crate::error::{Error, Result, one_line};
use crate::formats::Format;
use crate::recording::Recording;
use crate::scale::ActionBounds;
use hdf5_pure::{Datatype, EnumTypeBuilder, FileBuilder, make_i8_type};
use ndarray::{Array1, Array2};
use std::io::{Seek, Write};
use std::path::Path;

/// What goes beside the columns.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `metadata/algorithm`, e.g. the policy's name.
    pub algorithm: Option<String>,
    /// Further strings of the group `metadata`, by their keys; none is `algorithm`.
    pub metadata: Vec<(String, String)>,
    /// What the ends of [-1, 1] stand for, where actions have been rescaled.
    pub action_bounds: Option<ActionBounds>,
}

const GZIP: u32 = 4;
/// Rows per chunk: long enough to compress well, short enough to be decoded piece by piece.
const CHUNK_ROWS: u64 = 4096;

/// Writes all rows of `columns` to `out`, which messages call `path`; `Terminated` becomes `terminals`, `Truncated` becomes
/// `timeouts`.
///
/// Errors: columns of different length, empty, not finite or with actions outside [-1, 1] (such a file would be refused
/// by the reader); those of `out`. Nothing is written before the columns have been checked.
pub fn encode(path: &Path, columns: &Columns, options: &Options, out: impl Write) -> Result<()> {
    check(path, columns)?;
    let fail = |action, e: hdf5_pure::Error| Error::Io {
        file: path.display().to_string(),
        action,
        reason: one_line(&e.to_string()),
    };
    let builder = layout(&Rows::of_columns(columns), options).map_err(|e| fail("cannot encode", e))?;
    builder.finish_to(out).map_err(|e| fail("cannot write", e))
}

fn check(path: &Path, columns: &Columns) -> Result<()> {
    columns.check_lengths()?;
    let file = path.display().to_string();
    if columns.is_empty() {
        return Err(Error::TooFewRows { file, key: "rewards".into(), expected: 1, got: 0 });
    }
    let bad = |key: &str, expected: &str, got: f32| Error::Unwritable {
        file: file.clone(),
        key: key.into(),
        expected: expected.into(),
        got: got.to_string(),
    };
    let finite = [
        ("observations", columns.observations.iter().find(|v| !v.is_finite())),
        ("actions", columns.actions.iter().find(|v| !v.is_finite())),
        ("rewards", columns.rewards.iter().find(|v| !v.is_finite())),
        ("next_observations", columns.next_observations.iter().find(|v| !v.is_finite())),
        ("action_log_probs", columns.action_log_probs.iter().flatten().find(|v| !v.is_finite())),
    ];
    for (key, found) in finite {
        if let Some(value) = found {
            return Err(bad(key, "finite numbers", *value));
        }
    }
    match columns.actions.iter().find(|a| a.abs() > 1.0) {
        Some(value) => Err(bad("actions", "values in [-1, 1]", *value)),
        None => Ok(()),
    }
}

/// All rows of a recording, in a format. What it has of metadata goes with them, as far as the format has a place for it.
/// Messages call `out` by the name `path`.
///
/// Errors: columns of different length; bounds of rescaled actions, for which a table has no place; those of `out`.
pub fn recording(format: Format, path: &Path, recording: &Recording, out: impl Write + Seek) -> Result<()> {
    let n = recording.len();
    for (key, rows) in [
        ("observations", Some(recording.observations.nrows())),
        ("actions", Some(recording.actions.nrows())),
        ("next_observations", recording.next_observations.as_ref().map(Array2::nrows)),
        ("terminals", Some(recording.terminals.len())),
        ("timeouts", recording.timeouts.as_ref().map(Vec::len)),
        ("action_log_probs", recording.action_log_probs.as_ref().map(Array1::len)),
    ] {
        if let Some(rows) = rows.filter(|rows| *rows != n) {
            let (file, key) = (path.display().to_string(), key.into());
            return Err(Error::Unwritable {
                file,
                key,
                expected: format!("{n} rows"),
                got: rows.to_string(),
            });
        }
    }
    let fail = |e: std::io::Error| Error::io(path, "cannot write", &e);
    match format {
        Format::Npz => npz::write(recording, out).map_err(fail),
        Format::Csv if recording.action_bounds.is_some() => Err(Error::Bounds {
            file: path.display().to_string(),
            expected: "a format that keeps them beside rescaled actions".into(),
            got: "a table (.csv)".into(),
            advice: "write .npz or .hdf5",
        }),
        Format::Csv => csv::write(recording, out).map_err(fail),
        Format::Hdf5 => {
            let options = Options {
                algorithm: recording.algorithm.clone(),
                action_bounds: recording.action_bounds.clone(),
                ..Options::default()
            };
            let library = |e: hdf5_pure::Error| Error::Io {
                file: path.display().to_string(),
                action: "cannot write",
                reason: one_line(&e.to_string()),
            };
            layout(&Rows::of_recording(recording), &options)
                .and_then(|file| file.finish_to(out))
                .map_err(library)
        }
    }
}

/// What a file holds for each row, by D4RL's keys.
struct Rows<'a> {
    matrices: Vec<(&'static str, &'a Array2<f32>)>,
    rewards: &'a Array1<f32>,
    flags: Vec<(&'static str, Vec<bool>)>,
    action_log_probs: Option<&'a Array1<f32>>,
}

impl<'a> Rows<'a> {
    fn of_columns(c: &'a Columns) -> Rows<'a> {
        let flags = |ending| c.endings.iter().map(|e| *e == ending).collect();
        Rows {
            matrices: vec![
                ("actions", &c.actions),
                ("next_observations", &c.next_observations),
                ("observations", &c.observations),
            ],
            rewards: &c.rewards,
            flags: vec![("terminals", flags(Ending::Terminated)), ("timeouts", flags(Ending::Truncated))],
            action_log_probs: c.action_log_probs.as_ref(),
        }
    }

    fn of_recording(r: &'a Recording) -> Rows<'a> {
        let mut matrices = vec![("observations", &r.observations), ("actions", &r.actions)];
        matrices.extend(r.next_observations.as_ref().map(|next| ("next_observations", next)));
        let mut flags = vec![("terminals", r.terminals.clone())];
        flags.extend(r.timeouts.clone().map(|timeouts| ("timeouts", timeouts)));
        let action_log_probs = r.action_log_probs.as_ref();
        Rows { matrices, rewards: &r.rewards, flags, action_log_probs }
    }
}

fn layout(all: &Rows, options: &Options) -> std::result::Result<FileBuilder, hdf5_pure::Error> {
    let n = all.rewards.len() as u64;
    let rows = n.min(CHUNK_ROWS);
    let mut file = FileBuilder::new();
    for (key, array) in &all.matrices {
        matrix(&mut file, key, array, rows);
    }
    let flat = |a: &Array1<f32>| a.iter().copied().collect::<Vec<f32>>();
    file.create_dataset("rewards")
        .with_f32_data(&flat(all.rewards))
        .with_shape(&[n])
        .with_chunks(&[rows])
        .with_deflate(GZIP);
    let boolean: Datatype = EnumTypeBuilder::with_base(make_i8_type())
        .value("FALSE", 0)
        .value("TRUE", 1)
        .build()
        .map_err(hdf5_pure::Error::Format)?;
    for (key, flags) in &all.flags {
        let flags: Vec<u8> = flags.iter().map(|flag| u8::from(*flag)).collect();
        file.create_dataset(key)
            .with_enum_u8_data(boolean.clone(), &flags)
            .with_shape(&[n])
            .with_chunks(&[rows])
            .with_deflate(GZIP);
    }
    if let Some(p) = all.action_log_probs {
        let mut infos = file.create_group("infos");
        infos
            .create_dataset("action_log_probs")
            .with_f32_data(&flat(p))
            .with_shape(&[n])
            .with_chunks(&[rows])
            .with_deflate(GZIP);
        file.add_group(infos.finish());
    }
    let algorithm = options.algorithm.as_deref().map(|name| ("algorithm", name));
    let others = options.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    // A string of no bytes has no HDF5 type.
    let strings: Vec<_> = algorithm.into_iter().chain(others).filter(|(_, text)| !text.is_empty()).collect();
    if !strings.is_empty() || options.action_bounds.is_some() {
        let mut metadata = file.create_group("metadata");
        for (key, text) in strings {
            let dataset = metadata.create_dataset(key);
            dataset.with_strings(&[text]).map_err(hdf5_pure::Error::Format)?.with_shape(&[]);
        }
        for (key, values) in options.action_bounds.iter().flat_map(bounds) {
            let name = key.rsplit('/').next().unwrap_or_default();
            metadata.create_dataset(name).with_f32_data(values).with_shape(&[values.len() as u64]);
        }
        file.add_group(metadata.finish());
    }
    Ok(file)
}

/// Bounds of rescaled actions by their keys.
fn bounds(bounds: &ActionBounds) -> [(&'static str, &[f32]); 2] {
    let [low, high] = ACTION_BOUNDS;
    [(low, bounds.low()), (high, bounds.high())]
}

fn matrix(file: &mut FileBuilder, key: &str, array: &Array2<f32>, rows: u64) {
    let (n, width) = (array.nrows() as u64, array.ncols() as u64);
    let data: Vec<f32> = array.iter().copied().collect();
    file.create_dataset(key)
        .with_f32_data(&data)
        .with_shape(&[n, width])
        .with_chunks(&[rows, width])
        .with_deflate(GZIP);
}
