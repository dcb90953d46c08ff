//! What a run writes down while it learns: metrics, evaluations, times, distributions.
//!
//! Metrics and evaluations are functions of the run alone, so that a resumed run's files equal
//! an uninterrupted run's byte for byte; wall-clock times go to a file of their own. The rule
//! that makes it work: *a checkpoint is written after [`MetricLog::flush`] and
//! [`EvaluationLog::flush`], and after every row of its own counters*. On resume all rows beyond
//! the checkpoint's counters, and a torn last line, are dropped.
//!
//! CSV: absent = empty cell. JSONL: absent, NaN and infinities = null (JSON has no word for them).

pub use crate::config::Metric;

use super::rundir::{self, RunError};
use crate::checkpoint::atomic::write_atomic;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
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
        [Self::Reference, Self::Offline, Self::Online]
            .into_iter()
            .find(|p| p.word() == word)
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

const STAMP: [&str; 3] = ["phase", "update", "env_step"];

/// One cell of a row.
enum Cell<'a> {
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
            if v.is_finite() {
                number(v)
            } else {
                "null".into()
            }
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
struct Sheet {
    columns: Vec<String>,
    csv: (PathBuf, BufWriter<File>),
    jsonl: Option<(PathBuf, BufWriter<File>)>,
}

fn appending(path: &Path) -> Result<(PathBuf, BufWriter<File>), RunError> {
    let file = OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(RunError::io(path, "open the file"))?;
    Ok((path.to_path_buf(), BufWriter::new(file)))
}

impl Sheet {
    fn create(csv: &Path, jsonl: Option<&Path>, columns: &[&str]) -> Result<Self, RunError> {
        let header = format!("{},{}\n", STAMP.join(","), columns.join(","));
        write_atomic(csv, header.as_bytes()).map_err(RunError::io(csv, "write the file"))?;
        if let Some(path) = jsonl {
            write_atomic(path, b"").map_err(RunError::io(path, "write the file"))?;
        }
        Self::append(csv, jsonl, columns)
    }

    fn resume(
        csv: &Path,
        jsonl: Option<&Path>,
        columns: &[&str],
        last: Stamp,
    ) -> Result<Self, RunError> {
        let header = format!("{},{}", STAMP.join(","), columns.join(","));
        keep_until(csv, Some(&header), |line| csv_stamp(line), last)?;
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

    fn push(&mut self, stamp: Stamp, cells: &[Cell<'_>]) -> Result<(), RunError> {
        let Stamp {
            phase,
            update,
            env_step,
        } = stamp;
        let mut line = format!("{},{update},{env_step}", phase.word());
        for cell in cells {
            line.push(',');
            line.push_str(&cell.csv());
        }
        line.push('\n');
        let (path, file) = &mut self.csv;
        file.write_all(line.as_bytes())
            .map_err(RunError::io(path, "write the file"))?;
        if let Some((path, file)) = &mut self.jsonl {
            line.clear();
            let _ = write!(
                line,
                "{{\"phase\":\"{}\",\"update\":{update},\"env_step\":{env_step}",
                phase.word()
            );
            for (column, cell) in self.columns.iter().zip(cells) {
                let _ = write!(line, ",\"{column}\":{}", cell.json());
            }
            line.push_str("}\n");
            file.write_all(line.as_bytes())
                .map_err(RunError::io(path, "write the file"))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RunError> {
        for (path, file) in [Some(&mut self.csv), self.jsonl.as_mut()]
            .into_iter()
            .flatten()
        {
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
    let text = fs::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
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

/// Complete lines of a CSV file as (line number, cells), after its header.
fn read_csv(path: &Path) -> Result<(Vec<String>, Vec<(usize, Vec<String>)>), RunError> {
    let text = fs::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
    let cells = |line: &str| line.split(',').map(str::to_string).collect::<Vec<_>>();
    let mut lines = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .enumerate();
    let header = lines
        .next()
        .map(|(_, line)| cells(line))
        .unwrap_or_default();
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

fn cell<T: std::str::FromStr>(path: &Path, line: usize, text: &str) -> Result<T, RunError> {
    text.parse().map_err(|_| RunError::Format {
        path: path.to_path_buf(),
        line,
        expected: "a number".into(),
        got: format!("`{text}`"),
    })
}

fn optional(path: &Path, line: usize, text: &str) -> Result<Option<f64>, RunError> {
    if text.is_empty() {
        return Ok(None);
    }
    cell(path, line, text).map(Some)
}

fn row_stamp(path: &Path, line: usize, cells: &[String]) -> Result<Stamp, RunError> {
    csv_stamp(&cells[..3].join(",")).ok_or_else(|| RunError::Format {
        path: path.to_path_buf(),
        line,
        expected: STAMP.join(","),
        got: format!("`{}`", cells[..3].join(",")),
    })
}

/// Writes `metrics.csv` and `metrics.jsonl`; the columns are fixed when it is created.
pub struct MetricLog {
    metrics: Vec<&'static str>,
    sheet: Sheet,
}

/// A metric's declaration as stored beside its values, so that a report needs no algorithm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricAbout {
    /// Column name.
    pub name: String,
    /// See [`Metric::formula`].
    pub formula: String,
    /// See [`Metric::unit`].
    pub unit: String,
    /// See [`Metric::section`].
    pub section: String,
    /// See [`Metric::label`].
    pub label: String,
    /// See [`Metric::band`].
    pub band: Option<(String, String)>,
}

impl From<&Metric> for MetricAbout {
    fn from(m: &Metric) -> Self {
        Self {
            name: m.name.into(),
            formula: m.formula.into(),
            unit: m.unit.into(),
            section: m.section.into(),
            label: if m.label.is_empty() { m.name } else { m.label }.into(),
            band: m.band.map(|(low, high)| (low.into(), high.into())),
        }
    }
}

impl MetricLog {
    /// New files in `dir` with one column per metric. Two metrics of one name are a mistake of
    /// the program and panic.
    pub fn create(dir: &Path, metrics: &[&Metric]) -> Result<Self, RunError> {
        let names = unique(metrics);
        let about: Vec<MetricAbout> = metrics.iter().map(|m| MetricAbout::from(*m)).collect();
        let path = dir.join(rundir::METRICS_ABOUT);
        let text = serde_json::to_string_pretty(&about).expect("invariant: text serialises");
        write_atomic(&path, text.as_bytes()).map_err(RunError::io(&path, "write the file"))?;
        let sheet = Sheet::create(
            &dir.join(rundir::METRICS_CSV),
            Some(&dir.join(rundir::METRICS_JSONL)),
            &names,
        )?;
        Ok(Self {
            metrics: names,
            sheet,
        })
    }

    /// The files of an interrupted run, cut back to the checkpoint's counters.
    pub fn resume(dir: &Path, metrics: &[&Metric], checkpoint: Stamp) -> Result<Self, RunError> {
        let names = unique(metrics);
        let sheet = Sheet::resume(
            &dir.join(rundir::METRICS_CSV),
            Some(&dir.join(rundir::METRICS_JSONL)),
            &names,
            checkpoint,
        )?;
        Ok(Self {
            metrics: names,
            sheet,
        })
    }

    /// Appends one row; metrics not given stay empty. Panics on a metric without a column.
    pub fn record(&mut self, stamp: Stamp, values: &[(&Metric, f64)]) -> Result<(), RunError> {
        let mut cells: Vec<Cell<'_>> = self.metrics.iter().map(|_| Cell::Absent).collect();
        for (metric, value) in values {
            let column = self.metrics.iter().position(|n| *n == metric.name);
            let column = column.unwrap_or_else(|| {
                panic!(
                    "invariant: metric {} was given to MetricLog::create",
                    metric.name
                )
            });
            cells[column] = Cell::Number(*value);
        }
        self.sheet.push(stamp, &cells)
    }

    /// Everything recorded so far is on the disk when this returns.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.sheet.flush()
    }
}

fn unique(metrics: &[&Metric]) -> Vec<&'static str> {
    let mut names = Vec::with_capacity(metrics.len());
    for metric in metrics {
        assert!(
            !names.contains(&metric.name) && !STAMP.contains(&metric.name),
            "invariant: metric {} is declared once",
            metric.name
        );
        names.push(metric.name);
    }
    names
}

/// The metrics of a run, read back.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricTable {
    /// Column names without the counters.
    pub columns: Vec<String>,
    /// Rows in order, one value or nothing per column.
    pub rows: Vec<(Stamp, Vec<Option<f64>>)>,
}

impl MetricTable {
    /// Reads `metrics.csv` of a run; a torn last line is left out.
    pub fn read(dir: &Path) -> Result<Self, RunError> {
        let path = dir.join(rundir::METRICS_CSV);
        let (header, lines) = read_csv(&path)?;
        let mut rows = Vec::with_capacity(lines.len());
        for (line, cells) in &lines {
            let values: Result<Vec<_>, _> = cells[3..]
                .iter()
                .map(|c| optional(&path, *line, c))
                .collect();
            rows.push((row_stamp(&path, *line, cells)?, values?));
        }
        Ok(Self {
            columns: header[3..].to_vec(),
            rows,
        })
    }

    /// The rows in which the column `name` has a value.
    pub fn column(&self, name: &str) -> Vec<(Stamp, f64)> {
        let Some(i) = self.columns.iter().position(|c| c == name) else {
            return Vec::new();
        };
        self.rows
            .iter()
            .filter_map(|(stamp, values)| values[i].map(|v| (*stamp, v)))
            .collect()
    }
}

/// Reads the declarations that [`MetricLog::create`] stored in `dir`.
pub fn read_about(dir: &Path) -> Result<Vec<MetricAbout>, RunError> {
    read_json(&dir.join(rundir::METRICS_ABOUT))
}

/// One evaluation: episodes in a separate environment, with raw rewards.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// When.
    pub stamp: Stamp,
    /// Normalised score of the mean return, where the environment has one.
    pub score: Option<f64>,
    /// Undiscounted return of each episode.
    pub returns: Vec<f64>,
    /// Steps of each episode.
    pub lengths: Vec<u64>,
}

impl Evaluation {
    /// Mean return over the episodes; NaN without episodes.
    pub fn mean(&self) -> f64 {
        self.returns.iter().sum::<f64>() / self.returns.len() as f64
    }

    /// Standard deviation over the episodes (divided by their number, not one less).
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.returns.iter().map(|r| (r - mean).powi(2)).sum();
        (squares / self.returns.len() as f64).sqrt()
    }
}

const EVALUATION: [&str; 6] = [
    "episodes",
    "return_mean",
    "return_std",
    "score",
    "returns",
    "lengths",
];

/// Writes `evaluations.csv` and `evaluations.jsonl`.
pub struct EvaluationLog {
    sheet: Sheet,
}

impl EvaluationLog {
    /// New files in `dir`, beginning with `earlier`: a fine-tuning run keeps the evaluations of
    /// the offline run it starts from, so that its curve is whole.
    pub fn create(dir: &Path, earlier: &[Evaluation]) -> Result<Self, RunError> {
        let sheet = Sheet::create(
            &dir.join(rundir::EVALUATIONS_CSV),
            Some(&dir.join(rundir::EVALUATIONS_JSONL)),
            &EVALUATION,
        )?;
        let mut log = Self { sheet };
        for evaluation in earlier {
            log.record(evaluation)?;
        }
        log.flush()?;
        Ok(log)
    }

    /// The files of an interrupted run, cut back to the checkpoint's counters.
    pub fn resume(dir: &Path, checkpoint: Stamp) -> Result<Self, RunError> {
        let sheet = Sheet::resume(
            &dir.join(rundir::EVALUATIONS_CSV),
            Some(&dir.join(rundir::EVALUATIONS_JSONL)),
            &EVALUATION,
            checkpoint,
        )?;
        Ok(Self { sheet })
    }

    /// Appends one evaluation.
    pub fn record(&mut self, e: &Evaluation) -> Result<(), RunError> {
        self.sheet.push(
            e.stamp,
            &[
                Cell::Whole(e.returns.len() as u64),
                Cell::Number(e.mean()),
                Cell::Number(e.std()),
                e.score.map_or(Cell::Absent, Cell::Number),
                Cell::Numbers(&e.returns),
                Cell::Wholes(&e.lengths),
            ],
        )
    }

    /// Everything recorded so far is on the disk when this returns.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.sheet.flush()
    }
}

/// Reads `evaluations.csv` of a run; a torn last line is left out.
pub fn read_evaluations(dir: &Path) -> Result<Vec<Evaluation>, RunError> {
    let path = dir.join(rundir::EVALUATIONS_CSV);
    let (header, lines) = read_csv(&path)?;
    if header[3..] != EVALUATION {
        return Err(RunError::Format {
            path,
            line: 1,
            expected: format!("columns {}", EVALUATION.join(",")),
            got: format!("`{}`", header[3..].join(",")),
        });
    }
    let mut evaluations = Vec::with_capacity(lines.len());
    for (line, cells) in &lines {
        evaluations.push(Evaluation {
            stamp: row_stamp(&path, *line, cells)?,
            score: optional(&path, *line, &cells[6])?,
            returns: list(&path, *line, &cells[7])?,
            lengths: list(&path, *line, &cells[8])?,
        });
    }
    Ok(evaluations)
}

fn list<T: std::str::FromStr>(path: &Path, line: usize, text: &str) -> Result<Vec<T>, RunError> {
    text.split(';')
        .filter(|t| !t.is_empty())
        .map(|t| cell(path, line, t))
        .collect()
}

const TIME: [&str; 2] = ["seconds", "updates_per_second"];

/// Writes `timing.csv`: wall-clock times, apart from what must be reproducible.
pub struct TimingLog {
    sheet: Sheet,
}

/// One row of `timing.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// When in the run.
    pub stamp: Stamp,
    /// Seconds of computing since the run began; a resumed run goes on counting.
    pub seconds: f64,
    /// Gradient updates per second since the row before.
    pub updates_per_second: f64,
}

impl TimingLog {
    /// A new file in `dir`.
    pub fn create(dir: &Path) -> Result<Self, RunError> {
        let sheet = Sheet::create(&dir.join(rundir::TIMING), None, &TIME)?;
        Ok(Self { sheet })
    }

    /// The file of an interrupted run, cut back to the checkpoint's counters.
    pub fn resume(dir: &Path, checkpoint: Stamp) -> Result<Self, RunError> {
        let sheet = Sheet::resume(&dir.join(rundir::TIMING), None, &TIME, checkpoint)?;
        Ok(Self { sheet })
    }

    /// Appends one row.
    pub fn record(&mut self, t: Timing) -> Result<(), RunError> {
        self.sheet.push(
            t.stamp,
            &[Cell::Number(t.seconds), Cell::Number(t.updates_per_second)],
        )
    }

    /// Everything recorded so far is on the disk when this returns.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.sheet.flush()
    }
}

/// Reads `timing.csv` of a run.
pub fn read_timing(dir: &Path) -> Result<Vec<Timing>, RunError> {
    let path = dir.join(rundir::TIMING);
    let (_, lines) = read_csv(&path)?;
    lines
        .iter()
        .map(|(line, cells)| {
            Ok(Timing {
                stamp: row_stamp(&path, *line, cells)?,
                seconds: cell(&path, *line, &cells[3])?,
                updates_per_second: cell(&path, *line, &cells[4])?,
            })
        })
        .collect()
}

/// How values of several origins are spread, in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Title of its chart, for example `Weights w`.
    pub title: String,
    /// What the values are.
    pub x_label: String,
    /// Bin edges, one more than bins.
    pub edges: Vec<f64>,
    /// Name of each origin with the number of its values per bin.
    pub groups: Vec<(String, Vec<u64>)>,
}

impl Distribution {
    /// Counts finite values of each group in `bins` bins that span all groups.
    pub fn of(title: &str, x_label: &str, groups: &[(&str, &[f32])], bins: usize) -> Self {
        let finite = || {
            groups
                .iter()
                .flat_map(|(_, values)| values.iter())
                .filter(|v| v.is_finite())
                .map(|v| f64::from(*v))
        };
        let (mut low, mut high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        if low > high {
            (low, high) = (0.0, 1.0);
        } else if low == high {
            // A constant gets a bin of visible width around it.
            let half = (low.abs() * 0.05).max(0.05);
            (low, high) = (low - half, high + half);
        }
        let bins = bins.max(1);
        let width = (high - low) / bins as f64;
        let count = |values: &[f32]| {
            let mut counts = vec![0; bins];
            for v in values.iter().filter(|v| v.is_finite()) {
                let bin = ((f64::from(*v) - low) / width) as usize;
                counts[bin.min(bins - 1)] += 1;
            }
            counts
        };
        Self {
            title: title.into(),
            x_label: x_label.into(),
            edges: (0..=bins).map(|i| low + width * i as f64).collect(),
            groups: groups
                .iter()
                .map(|(name, values)| (name.to_string(), count(values)))
                .collect(),
        }
    }
}

/// Writes `distributions.json` of a run.
pub fn write_distributions(dir: &Path, distributions: &[Distribution]) -> Result<(), RunError> {
    write_json(&dir.join(rundir::DISTRIBUTIONS), distributions)
}

/// Reads `distributions.json` of a run.
pub fn read_distributions(dir: &Path) -> Result<Vec<Distribution>, RunError> {
    read_json(&dir.join(rundir::DISTRIBUTIONS))
}

/// What a report says about the dataset of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// File name or a short name.
    pub name: String,
    /// SHA-256 of the file in hex, or empty.
    pub sha256: String,
    /// Transitions as used in training.
    pub transitions: u64,
    /// Episodes, an unfinished last one included.
    pub episodes: u64,
    /// Mean undiscounted return over episodes.
    pub return_mean: f64,
    /// Standard deviation of the returns.
    pub return_std: f64,
    /// Smallest return.
    pub return_min: f64,
    /// Largest return.
    pub return_max: f64,
    /// Mean return of the best tenth of the episodes.
    pub return_best_tenth: f64,
    /// Normalised score of `return_mean`, where the task has one.
    pub score_mean: Option<f64>,
    /// Normalised score of `return_best_tenth`.
    pub score_best_tenth: Option<f64>,
}

/// Writes `dataset.json` of a run.
pub fn write_dataset(dir: &Path, facts: &DatasetFacts) -> Result<(), RunError> {
    write_json(&dir.join(rundir::DATASET), facts)
}

/// Reads `dataset.json` of a run.
pub fn read_dataset(dir: &Path) -> Result<DatasetFacts, RunError> {
    read_json(&dir.join(rundir::DATASET))
}

fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(value).expect("invariant: plain data serialise");
    write_atomic(path, text.as_bytes()).map_err(RunError::io(path, "write the file"))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, RunError> {
    let text = fs::read_to_string(path).map_err(RunError::io(path, "read the file"))?;
    serde_json::from_str(&text).map_err(|e| RunError::Format {
        path: path.to_path_buf(),
        line: e.line(),
        expected: "the JSON this program writes".into(),
        got: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSS: Metric = Metric::new("loss", "mean squared error", "", "Losses");
    const Q: Metric = Metric::new("q_mean", "mean Q(s, a)", "return", "Values");

    fn at(phase: Phase, update: u64, env_step: u64) -> Stamp {
        Stamp {
            phase,
            update,
            env_step,
        }
    }

    fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
        [
            rundir::METRICS_CSV,
            rundir::METRICS_JSONL,
            rundir::METRICS_ABOUT,
            rundir::EVALUATIONS_CSV,
            rundir::EVALUATIONS_JSONL,
        ]
        .iter()
        .map(|name| (name.to_string(), fs::read(dir.join(name)).unwrap()))
        .collect()
    }

    /// Ten offline and ten online rows, from `first` on.
    fn run(metrics: &mut MetricLog, evaluations: &mut EvaluationLog, first: u64, end: u64) {
        for i in first..end {
            let stamp = if i < 10 {
                at(Phase::Offline, i * 100, 0)
            } else {
                at(Phase::Online, i * 100, i - 10)
            };
            let loss = f64::from(1.0 / (1.0 + i as f32));
            let mut values = vec![(&LOSS, loss)];
            if i % 2 == 0 {
                values.push((&Q, i as f64 / 3.0));
            }
            metrics.record(stamp, &values).unwrap();
            if i % 3 == 0 {
                evaluations
                    .record(&Evaluation {
                        stamp,
                        score: (i > 3).then_some(1.5),
                        returns: vec![0.1 * i as f64, 2.0],
                        lengths: vec![1000, i],
                    })
                    .unwrap();
            }
        }
        metrics.flush().unwrap();
        evaluations.flush().unwrap();
    }

    #[test]
    fn a_resumed_run_writes_the_same_bytes() {
        let whole = tempfile::tempdir().unwrap();
        let mut m = MetricLog::create(whole.path(), &[&LOSS, &Q]).unwrap();
        let mut e = EvaluationLog::create(whole.path(), &[]).unwrap();
        run(&mut m, &mut e, 0, 20);
        let expected = files(whole.path());

        for (checkpoint, killed) in [(0, 20), (5, 9), (9, 10), (10, 17), (19, 20)] {
            let broken = tempfile::tempdir().unwrap();
            let dir = broken.path();
            let mut m = MetricLog::create(dir, &[&LOSS, &Q]).unwrap();
            let mut e = EvaluationLog::create(dir, &[]).unwrap();
            run(&mut m, &mut e, 0, killed);
            drop((m, e));
            // A kill in the middle of a write leaves half a line in every file.
            for name in [
                rundir::METRICS_CSV,
                rundir::METRICS_JSONL,
                rundir::EVALUATIONS_CSV,
            ] {
                let mut file = OpenOptions::new()
                    .append(true)
                    .open(dir.join(name))
                    .unwrap();
                file.write_all(b"online,19").unwrap();
            }
            let stamp = match checkpoint {
                i if i < 10 => at(Phase::Offline, i * 100, 0),
                i => at(Phase::Online, i * 100, i - 10),
            };
            let mut m = MetricLog::resume(dir, &[&LOSS, &Q], stamp).unwrap();
            let mut e = EvaluationLog::resume(dir, stamp).unwrap();
            if killed > checkpoint + 1 {
                assert_ne!(files(dir), expected, "something was cut off");
            }
            run(&mut m, &mut e, checkpoint + 1, 20);
            assert_eq!(
                files(dir),
                expected,
                "checkpoint {checkpoint}, killed at {killed}"
            );
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let mut m = MetricLog::create(dir, &[&LOSS, &Q]).unwrap();
        let values = [
            0.1f32 as f64,
            0.1,
            1.0 / 3.0,
            -1e-30,
            f64::INFINITY,
            12345.678,
        ];
        for (i, v) in values.iter().enumerate() {
            m.record(at(Phase::Offline, i as u64, 0), &[(&Q, *v)])
                .unwrap();
        }
        m.record(at(Phase::Online, 9, 1), &[(&LOSS, f64::NAN)])
            .unwrap();
        m.flush().unwrap();
        let table = MetricTable::read(dir).unwrap();
        assert_eq!(table.columns, ["loss", "q_mean"]);
        let q = table.column("q_mean");
        assert_eq!(q.len(), values.len());
        for ((_, got), v) in q.iter().zip(values) {
            assert_eq!(*got as f32, v as f32);
        }
        assert_eq!(q[1].1, 0.1, "an f64 that is no f32 keeps all its digits");
        assert!(table.column("loss")[0].1.is_nan());
        assert!(table.column("nothing").is_empty());
        let jsonl = fs::read_to_string(dir.join(rundir::METRICS_JSONL)).unwrap();
        assert_eq!(
            jsonl.lines().next().unwrap(),
            r#"{"phase":"offline","update":0,"env_step":0,"loss":null,"q_mean":0.1}"#
        );
        for line in jsonl.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert_eq!(read_about(dir).unwrap(), [(&LOSS).into(), (&Q).into()]);
    }

    #[test]
    fn evaluations_and_times_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let first = Evaluation {
            stamp: at(Phase::Offline, 5000, 0),
            score: Some(43.21987654321),
            returns: vec![1.0, 2.0, 1.0 / 3.0],
            lengths: vec![10, 20, 1000],
        };
        let second = Evaluation {
            stamp: at(Phase::Online, 5000, 0),
            score: None,
            ..first.clone()
        };
        let mut log = EvaluationLog::create(dir, std::slice::from_ref(&first)).unwrap();
        log.record(&second).unwrap();
        log.flush().unwrap();
        assert_eq!(read_evaluations(dir).unwrap(), [first.clone(), second]);
        assert_eq!(first.mean(), (3.0 + 1.0 / 3.0) / 3.0);

        let mut log = TimingLog::create(dir).unwrap();
        let t = Timing {
            stamp: first.stamp,
            seconds: 1.25,
            updates_per_second: 4000.0,
        };
        log.record(t).unwrap();
        log.flush().unwrap();
        assert_eq!(read_timing(dir).unwrap(), [t]);
    }

    #[test]
    fn foreign_files_are_named_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let path = dir.join(rundir::METRICS_CSV);
        let error = |text: &str| {
            fs::write(&path, text).unwrap();
            let text = MetricTable::read(dir).unwrap_err().to_string();
            assert!(!text.contains('\n'));
            text.rsplit('/').next().unwrap().to_string()
        };
        assert_eq!(
            error("a,b\n"),
            "metrics.csv, line 1: expected columns phase,update,env_step,..., got `a,b`"
        );
        assert_eq!(
            error("phase,update,env_step,loss\noffline,1,0,0.5\noffline,2,0,x\n"),
            "metrics.csv, line 3: expected a number, got `x`"
        );
        assert_eq!(
            error("phase,update,env_step,loss\noffline,1,0\n"),
            "metrics.csv, line 2: expected 4 cells, got 3"
        );
        fs::write(&path, "phase,update,env_step,other\n").unwrap();
        let stamp = at(Phase::Offline, 0, 0);
        let text = MetricLog::resume(dir, &[&LOSS], stamp)
            .err()
            .unwrap()
            .to_string();
        assert!(
            text.contains("expected the columns `phase,update,env_step,loss`"),
            "{text}"
        );
    }

    #[test]
    fn distributions_count_every_finite_value_once() {
        let off = [0.0f32, 0.5, 1.0, f32::NAN];
        let on = [2.0f32, 0.25];
        let d = Distribution::of("w", "w", &[("offline", &off), ("online", &on)], 4);
        assert_eq!(d.edges, [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(d.groups[0].1, [1, 1, 1, 0]);
        assert_eq!(d.groups[1].1, [1, 0, 0, 1]);
        let constant = Distribution::of("w", "w", &[("offline", &[1.0; 7])], 3);
        assert_eq!(constant.groups[0].1.iter().sum::<u64>(), 7);
        let empty = Distribution::of("w", "w", &[("online", &[])], 2);
        assert_eq!(empty.groups[0].1, [0, 0]);
        let folder = tempfile::tempdir().unwrap();
        write_distributions(folder.path(), std::slice::from_ref(&d)).unwrap();
        assert_eq!(read_distributions(folder.path()).unwrap(), [d]);
    }

    #[test]
    #[should_panic(expected = "declared once")]
    fn one_name_is_one_metric() {
        unique(&[&LOSS, &LOSS]);
    }
}
