//! CSV files that can be cut back to a checkpoint and go on: they grow by whole rows, each stamped with the run's
//! counters. Beside a file there may be a twin with one JSON object per line.
//!
//! What is absent is an empty cell and null in JSON, which has no word for NaN and infinities either. Lists are one cell
//! with semicolons.

use super::rundir::RunError;
use super::stamp::Stamp;
use crate::checkpoint::atomic::write_atomic;
use csv::StringRecord;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A number whose text is the shortest that reads back to the same value: as f32 when the value is one (most metrics
/// are), else as f64.
#[derive(Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.0 as f32;
        if f64::from(short) == self.0 { write!(f, "{short:?}") } else { write!(f, "{:?}", self.0) }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let short = self.0 as f32;
        if f64::from(short) == self.0 {
            serializer.serialize_f32(short)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// One cell of a row: its text in CSV, its value in JSON.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Cell {
    Absent,
    Number(Number),
    Whole(u64),
    Numbers(Vec<Number>),
    Wholes(Vec<u64>),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
            items.iter().enumerate().try_for_each(|(i, x)| write!(f, "{}{x}", if i == 0 { "" } else { ";" }))
        }
        match self {
            Self::Absent => Ok(()),
            Self::Number(x) => x.fmt(f),
            Self::Whole(n) => n.fmt(f),
            Self::Numbers(all) => list(f, all),
            Self::Wholes(all) => list(f, all),
        }
    }
}

/// A list that [`Cell`] has written.
pub(super) struct List<T>(pub(super) Vec<T>);

impl<'de, T: FromStr> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(cell: D) -> Result<Self, D::Error> {
        let text = String::deserialize(cell)?;
        let items = text.split(';').filter(|item| !item.is_empty());
        items
            .map(|item| item.parse().map_err(|_| D::Error::custom("no number")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A row as an object.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    stamp: Stamp,
    #[serde(flatten)]
    cells: Cells<'a>,
}

/// Columns and cells of a row.
struct Cells<'a>(&'a [String], &'a [Cell]);

impl Serialize for Cells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// A CSV file, and perhaps its twin, to write to.
pub(super) struct ResumableCsv {
    columns: Vec<String>,
    csv: csv::Writer<File>,
    jsonl: Option<BufWriter<File>>,
    paths: (PathBuf, PathBuf),
}

impl ResumableCsv {
    /// New files with these columns behind those of the stamp.
    pub(super) fn create(csv: &Path, jsonl: Option<&Path>, columns: &[&str]) -> Result<Self, RunError> {
        let header = format!("{}\n", header(columns));
        write_atomic(csv, header.as_bytes()).map_err(RunError::io(csv, "write the file"))?;
        if let Some(path) = jsonl {
            write_atomic(path, b"").map_err(RunError::io(path, "write the file"))?;
        }
        Self::append(csv, jsonl, columns)
    }

    /// Those of an interrupted run, without the rows after `last` and without a torn last line. Both have all rows before,
    /// unless somebody has taken some away.
    pub(super) fn resume(
        csv: &Path,
        jsonl: Option<&Path>,
        columns: &[&str],
        last: Stamp,
    ) -> Result<Self, RunError> {
        let rows = keep_until(csv, Some(&header(columns)), csv_stamp, last)?;
        if let Some(path) = jsonl {
            let others = keep_until(path, None, |line| serde_json::from_str(line).ok(), last)?;
            let (short, whole, there, all) = match rows < others {
                true => (csv, path, rows, others),
                false => (path, csv, others, rows),
            };
            if there < all {
                return Err(RunError::Format {
                    path: short.into(),
                    // Of the CSV the first is the header.
                    line: there + 1 + usize::from(short == csv),
                    expected: format!("all {all} rows up to the checkpoint, as {} has them", whole.display()),
                    got: format!("{there}; put back the file as it was, or begin the run anew"),
                });
            }
        }
        Self::append(csv, jsonl, columns)
    }

    fn append(csv: &Path, jsonl: Option<&Path>, columns: &[&str]) -> Result<Self, RunError> {
        let open = |path: &Path| {
            OpenOptions::new().append(true).open(path).map_err(RunError::io(path, "open the file"))
        };
        Ok(Self {
            columns: columns.iter().map(|c| c.to_string()).collect(),
            csv: csv::WriterBuilder::new().has_headers(false).from_writer(open(csv)?),
            jsonl: jsonl.map(open).transpose()?.map(BufWriter::new),
            paths: (csv.into(), jsonl.unwrap_or(csv).into()),
        })
    }

    /// Appends a row, which a killed process leaves whole; after a loss of power it is there if [`Self::flush`] was called.
    pub(super) fn push(&mut self, stamp: Stamp, cells: &[Cell]) -> Result<(), RunError> {
        let texts: Vec<String> = cells.iter().map(Cell::to_string).collect();
        let written = self.csv.serialize((stamp, texts)).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.csv.flush());
        written.map_err(RunError::io(&self.paths.0, "write the file"))?;
        if let Some(file) = &mut self.jsonl {
            let object = Object { stamp, cells: Cells(&self.columns, cells) };
            let written = serde_json::to_writer(&mut *file, &object).map_err(std::io::Error::from);
            let written = written.and_then(|()| file.write_all(b"\n")).and_then(|()| file.flush());
            written.map_err(RunError::io(&self.paths.1, "write the file"))?;
        }
        Ok(())
    }

    /// Everything pushed so far is on the disk when this returns.
    pub(super) fn flush(&mut self) -> Result<(), RunError> {
        let flushed = self.csv.get_ref().sync_data();
        flushed.map_err(RunError::io(&self.paths.0, "write the file"))?;
        if let Some(file) = &mut self.jsonl {
            let flushed = file.get_ref().sync_data();
            flushed.map_err(RunError::io(&self.paths.1, "write the file"))?;
        }
        Ok(())
    }
}

fn header(columns: &[&str]) -> String {
    [&Stamp::COLUMNS[..], columns].concat().join(",")
}

fn csv_stamp(line: &str) -> Option<Stamp> {
    let cells: StringRecord = line.split(',').take(Stamp::COLUMNS.len()).collect();
    cells.deserialize(None).ok()
}

/// Rewrites the file without the rows after `last` and without a torn last line; how many it has then.
fn keep_until(
    path: &Path,
    header: Option<&str>,
    stamp: impl Fn(&str) -> Option<Stamp>,
    last: Stamp,
) -> Result<usize, RunError> {
    let text = crate::files::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
    let format = |line: usize, expected: &str, got: &str| RunError::Format {
        path: path.to_path_buf(),
        line,
        expected: expected.to_string(),
        got: format!("`{}`", got.chars().take(80).collect::<String>()),
    };
    let (mut kept, mut rows) = (0, 0);
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let Some(row) = line.strip_suffix('\n') else {
            break;
        };
        match header {
            Some(header) if i == 0 && row != header => {
                return Err(format(1, &format!("the columns `{header}`"), row));
            }
            Some(_) if i == 0 => {}
            _ => {
                let at = stamp(row).ok_or_else(|| format(i + 1, "a row of this run", row))?;
                if at > last {
                    break;
                }
                rows += 1;
            }
        }
        kept += line.len();
    }
    if kept != text.len() {
        write_atomic(path, &text.as_bytes()[..kept]).map_err(RunError::io(path, "write the file"))?;
    }
    Ok(rows)
}

/// A CSV file read back.
pub(super) struct Table<T> {
    /// Columns behind those of the stamp.
    pub(super) columns: Vec<String>,
    /// The complete rows; a torn last one is left out.
    pub(super) rows: Vec<(Stamp, T)>,
}

impl<T: DeserializeOwned> Table<T> {
    /// Reads a file that has these columns behind those of the stamp; without them, any.
    pub(super) fn read(path: &Path, columns: Option<&[&str]>) -> Result<Self, RunError> {
        let text = crate::files::read_so_far(path).map_err(RunError::io(path, "read the file"))?;
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let format = |line: u64, expected: String, got: String| RunError::Format {
            path: path.to_path_buf(),
            line: line as usize,
            expected,
            got,
        };
        let mut records =
            csv::ReaderBuilder::new().has_headers(false).from_reader(whole.as_bytes()).into_records();
        let header: Vec<String> = match records.next() {
            Some(Ok(header)) => header.iter().map(str::to_string).collect(),
            _ => Vec::new(),
        };
        let (stamp, rest) = header.split_at(header.len().min(Stamp::COLUMNS.len()));
        if stamp != Stamp::COLUMNS {
            let expected = format!("columns {},...", Stamp::COLUMNS.join(","));
            return Err(format(1, expected, format!("`{}`", header.join(","))));
        }
        if let Some(columns) = columns.filter(|columns| rest != *columns) {
            return Err(format(1, format!("columns {}", columns.join(",")), format!("`{}`", rest.join(","))));
        }
        let mut rows = Vec::new();
        for record in records {
            let record = record.map_err(|e| match e.kind() {
                csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                    let line = pos.as_ref().map_or(1, csv::Position::line);
                    format(line, format!("{expected_len} cells"), len.to_string())
                }
                _ => format(1, "CSV".into(), e.to_string()),
            })?;
            let row: csv::Result<(Stamp, T)> = match rest {
                // To the reader of CSV a pair without cells for its second half is no pair.
                [] => {
                    record.deserialize(None).and_then(|at| Ok((at, StringRecord::new().deserialize(None)?)))
                }
                _ => record.deserialize(None),
            };
            let row = row.map_err(|e| {
                let line = record.position().map_or(1, csv::Position::line);
                let (expected, got) = unreadable(&record, &e);
                format(line, expected.into(), format!("`{got}`"))
            })?;
            rows.push(row);
        }
        Ok(Self { columns: rest.to_vec(), rows })
    }
}

/// What was expected in a row, and which cell it is not.
fn unreadable(record: &StringRecord, error: &csv::Error) -> (&'static str, String) {
    let field = match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.field(),
        _ => None,
    };
    match field.and_then(|i| record.get(i as usize)) {
        Some(cell) => ("a number", cell.to_string()),
        None => ("a row of this run", record.iter().collect::<Vec<_>>().join(",")),
    }
}
