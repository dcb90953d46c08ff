//! A CSV file and its JSONL twin that grow by whole rows, each row stamped with the run's
//! counters, so that they can be cut back to a checkpoint.

use super::rundir::RunError;
use crate::checkpoint::atomic::write_atomic;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// A stage of a run, in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Training of a frozen reference policy for an adaptation.
    Reference,
    /// Training on the dataset.
    Offline,
    /// Fine-tuning in the environment.
    Online,
}

impl Phase {
    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Reference, Self::Offline, Self::Online].into_iter().find(|p| p.word() == word)
    }
}

/// Where in the run a row belongs; the order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Stage.
    pub phase: Phase,
    /// Gradient updates so far.
    pub update: u64,
    /// Environment steps so far.
    pub env_step: u64,
}

pub(super) const STAMP: [&str; 3] = ["phase", "update", "env_step"];

/// One cell of a row.
pub(super) enum Cell<'a> {
    Absent,
    Number(f64),
    Whole(u64),
    Numbers(&'a [f64]),
    Wholes(&'a [u64]),
}

/// Shortest text that reads back to the same value: as f32 when the value is one (most
/// metrics are), else as f64.
fn number(v: f64) -> String {
    let short = v as f32;
    if v.is_nan() {
        "NaN".into()
    } else if f64::from(short) == v {
        format!("{short:?}")
    } else {
        format!("{v:?}")
    }
}

fn joined<T: Copy>(items: &[T], separator: &str, text: impl Fn(T) -> String) -> String {
    let items: Vec<String> = items.iter().map(|v| text(*v)).collect();
    items.join(separator)
}

impl Cell<'_> {
    fn csv(&self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Number(v) => number(*v),
            Self::Whole(v) => v.to_string(),
            Self::Numbers(v) => joined(v, ";", number),
            Self::Wholes(v) => joined(v, ";", |v| v.to_string()),
        }
    }

    fn json(&self) -> String {
        let finite = |v: f64| {
            if v.is_finite() { number(v) } else { "null".into() }
        };
        match self {
            Self::Absent => "null".into(),
            Self::Number(v) => finite(*v),
            Self::Whole(v) => v.to_string(),
            Self::Numbers(v) => format!("[{}]", joined(v, ",", finite)),
            Self::Wholes(v) => format!("[{}]", joined(v, ",", |v| v.to_string())),
        }
    }
}

/// A CSV file, and optionally its JSONL twin, that grow by whole rows.
pub(super) struct Sheet {
    columns: Vec<String>,
    csv: (PathBuf, BufWriter<File>),
    jsonl: Option<(PathBuf, BufWriter<File>)>,
}

fn appending(path: &Path) -> Result<(PathBuf, BufWriter<File>), RunError> {
    let file = OpenOptions::new().append(true).open(path).map_err(RunError::io(path, "open the file"))?;
    Ok((path.to_path_buf(), BufWriter::new(file)))
}

impl Sheet {
    pub(super) fn create(csv: &Path, jsonl: Option<&Path>, columns: &[&str]) -> Result<Self, RunError> {
        let header = format!("{},{}\n", STAMP.join(","), columns.join(","));
        write_atomic(csv, header.as_bytes()).map_err(RunError::io(csv, "write the file"))?;
        if let Some(path) = jsonl {
            write_atomic(path, b"").map_err(RunError::io(path, "write the file"))?;
        }
        Self::append(csv, jsonl, columns)
    }

    pub(super) fn resume(
        csv: &Path,
        jsonl: Option<&Path>,
        columns: &[&str],
        last: Stamp,
    ) -> Result<Self, RunError> {
        let header = format!("{},{}", STAMP.join(","), columns.join(","));
        keep_until(csv, Some(&header), csv_stamp, last)?;
        if let Some(path) = jsonl {
            keep_until(path, None, json_stamp, last)?;
        }
        Self::append(csv, jsonl, columns)
    }

    fn append(csv: &Path, jsonl: Option<&Path>, columns: &[&str]) -> Result<Self, RunError> {
        Ok(Self {
            columns: columns.iter().map(|c| c.to_string()).collect(),
            csv: appending(csv)?,
            jsonl: jsonl.map(appending).transpose()?,
        })
    }

    pub(super) fn push(&mut self, stamp: Stamp, cells: &[Cell<'_>]) -> Result<(), RunError> {
        let Stamp { phase, update, env_step } = stamp;
        let mut line = format!("{},{update},{env_step}", phase.word());
        for cell in cells {
            line.push(',');
            line.push_str(&cell.csv());
        }
        line.push('\n');
        let (path, file) = &mut self.csv;
        file.write_all(line.as_bytes()).map_err(RunError::io(path, "write the file"))?;
        if let Some((path, file)) = &mut self.jsonl {
            line.clear();
            let _ =
                write!(line, "{{\"phase\":\"{}\",\"update\":{update},\"env_step\":{env_step}", phase.word());
            for (column, cell) in self.columns.iter().zip(cells) {
                let _ = write!(line, ",\"{column}\":{}", cell.json());
            }
            line.push_str("}\n");
            file.write_all(line.as_bytes()).map_err(RunError::io(path, "write the file"))?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), RunError> {
        for (path, file) in [Some(&mut self.csv), self.jsonl.as_mut()].into_iter().flatten() {
            file.flush()
                .and_then(|()| file.get_ref().sync_data())
                .map_err(RunError::io(path, "write the file"))?;
        }
        Ok(())
    }
}

fn csv_stamp(line: &str) -> Option<Stamp> {
    let mut cells = line.split(',');
    Some(Stamp {
        phase: Phase::of(cells.next()?)?,
        update: cells.next()?.parse().ok()?,
        env_step: cells.next()?.parse().ok()?,
    })
}

fn json_stamp(line: &str) -> Option<Stamp> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(Stamp {
        phase: Phase::of(value.get("phase")?.as_str()?)?,
        update: value.get("update")?.as_u64()?,
        env_step: value.get("env_step")?.as_u64()?,
    })
}

/// Rewrites the file without the rows after `last` and without a torn last line.
fn keep_until(
    path: &Path,
    header: Option<&str>,
    stamp: impl Fn(&str) -> Option<Stamp>,
    last: Stamp,
) -> Result<(), RunError> {
    let text = crate::files::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
    let format = |line: usize, expected: &str, got: &str| RunError::Format {
        path: path.to_path_buf(),
        line,
        expected: expected.to_string(),
        got: format!("`{}`", got.chars().take(80).collect::<String>()),
    };
    let mut kept = String::with_capacity(text.len());
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        match header {
            Some(header) if i == 0 => {
                if line != header {
                    return Err(format(1, &format!("the columns `{header}`"), line));
                }
            }
            _ => {
                let at = stamp(line).ok_or_else(|| format(i + 1, "a row of this run", line))?;
                if at > last {
                    break;
                }
            }
        }
        kept.push_str(line);
        kept.push('\n');
    }
    if kept.len() != text.len() {
        write_atomic(path, kept.as_bytes()).map_err(RunError::io(path, "write the file"))?;
    }
    Ok(())
}

/// A CSV file's columns and its complete rows, each with its line number.
type Lines = (Vec<String>, Vec<(usize, Vec<String>)>);

/// Reads a CSV file; a torn last line is left out.
pub(super) fn read_csv(path: &Path) -> Result<Lines, RunError> {
    let text = crate::files::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
    let cells = |line: &str| line.split(',').map(str::to_string).collect::<Vec<_>>();
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).enumerate();
    let header = lines.next().map(|(_, line)| cells(line)).unwrap_or_default();
    let expected = |line: usize, expected: String, got: String| RunError::Format {
        path: path.to_path_buf(),
        line,
        expected,
        got,
    };
    if header.len() < 3 || header[..3] != STAMP {
        let got = format!("`{}`", header.join(","));
        return Err(expected(1, format!("columns {},...", STAMP.join(",")), got));
    }
    let mut rows = Vec::new();
    for (i, line) in lines {
        let row = cells(line);
        if row.len() != header.len() {
            let got = row.len().to_string();
            return Err(expected(i + 1, format!("{} cells", header.len()), got));
        }
        rows.push((i + 1, row));
    }
    Ok((header, rows))
}

pub(super) fn cell<T: std::str::FromStr>(path: &Path, line: usize, text: &str) -> Result<T, RunError> {
    text.parse().map_err(|_| RunError::Format {
        path: path.to_path_buf(),
        line,
        expected: "a number".into(),
        got: format!("`{text}`"),
    })
}

pub(super) fn optional(path: &Path, line: usize, text: &str) -> Result<Option<f64>, RunError> {
    if text.is_empty() {
        return Ok(None);
    }
    cell(path, line, text).map(Some)
}

pub(super) fn row_stamp(path: &Path, line: usize, cells: &[String]) -> Result<Stamp, RunError> {
    csv_stamp(&cells[..3].join(",")).ok_or_else(|| RunError::Format {
        path: path.to_path_buf(),
        line,
        expected: STAMP.join(","),
        got: format!("`{}`", cells[..3].join(",")),
    })
}
