//! What a run writes down while it learns: metrics, evaluations, times.
//!
//! Metrics and evaluations are functions of the run alone, so that a resumed run's files equal
//! an uninterrupted run's byte for byte; wall-clock times go to a file of their own. The rule
//! that makes it work: *a checkpoint is written after [`MetricLog::flush`] and
//! [`EvaluationLog::flush`], and after every row of its own counters*. On resume all rows beyond
//! the checkpoint's counters, and a torn last line, are dropped.

pub use super::dataset_facts::{DatasetFacts, read_dataset, write_dataset};
pub use super::distribution::{Distribution, read_distributions, write_distributions};
pub use super::evaluations::{Evaluation, EvaluationLog, read_evaluations};
pub use super::stamp::{Phase, Stamp};
pub use super::timing::{Timing, TimingLog, read_timing};
pub use crate::config::Metric;

use super::resumable_csv::{Cell, Number, ResumableCsv, Table};
use super::rundir::{self, RunError};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Writes `metrics.csv` and `metrics.jsonl`; the columns are fixed when it is created.
pub struct MetricLog {
    columns: Vec<&'static str>,
    file: ResumableCsv,
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
}

impl From<&Metric> for MetricAbout {
    fn from(m: &Metric) -> Self {
        Self {
            name: m.name.into(),
            formula: m.formula.into(),
            unit: m.unit.into(),
            section: m.section.into(),
        }
    }
}

impl MetricLog {
    /// New files in `dir` with one column per metric. Two columns of one name are a mistake of
    /// the program and panic. Errors: a file cannot be written.
    pub fn create(dir: &Path, metrics: &[&Metric]) -> Result<Self, RunError> {
        let columns = unique(metrics);
        let about: Vec<MetricAbout> = metrics.iter().map(|m| MetricAbout::from(*m)).collect();
        rundir::write_json(&dir.join(rundir::METRICS_ABOUT), &about)?;
        let (csv, jsonl) = (dir.join(rundir::METRICS_CSV), dir.join(rundir::METRICS_JSONL));
        let file = ResumableCsv::create(&csv, Some(&jsonl), &columns)?;
        Ok(Self { columns, file })
    }

    /// The files of an interrupted run, cut back to the checkpoint's counters. Errors: a file cannot be read or
    /// written, has other columns, or a row that is none of a run.
    pub fn resume(dir: &Path, metrics: &[&Metric], checkpoint: Stamp) -> Result<Self, RunError> {
        let columns = unique(metrics);
        let (csv, jsonl) = (dir.join(rundir::METRICS_CSV), dir.join(rundir::METRICS_JSONL));
        let file = ResumableCsv::resume(&csv, Some(&jsonl), &columns, checkpoint)?;
        Ok(Self { columns, file })
    }

    /// Appends one row; metrics not given stay empty. Panics on a metric without a column. Errors: a file cannot be
    /// written.
    pub fn record(&mut self, stamp: Stamp, values: &[(&Metric, f64)]) -> Result<(), RunError> {
        let mut cells: Vec<Cell> = self.columns.iter().map(|_| Cell::Absent).collect();
        for (metric, value) in values {
            let column = self.columns.iter().position(|n| *n == metric.name);
            let column = column.unwrap_or_else(|| {
                panic!("invariant: metric {} was given to MetricLog::create", metric.name)
            });
            cells[column] = Cell::Number(Number(*value));
        }
        self.file.push(stamp, &cells)
    }

    /// Everything recorded so far is on the disk when this returns. Errors: a file cannot be written.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush()
    }
}

fn unique(metrics: &[&Metric]) -> Vec<&'static str> {
    let mut names = Vec::with_capacity(metrics.len());
    for Metric { name, .. } in metrics {
        let taken = names.contains(name) || Stamp::COLUMNS.contains(name);
        assert!(
            !taken,
            "metric {name}: expected a name that no other column of the run has, as phase, update, env_step, episode_return and validation_loss; give it another"
        );
        names.push(*name);
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
    /// Reads `metrics.csv` of a run; a torn last line is left out. Errors: it cannot be read, does not begin with the
    /// counters' columns, or has a row of another number of cells or with one that is no number.
    pub fn read(dir: &Path) -> Result<Self, RunError> {
        let Table { columns, rows } = Table::read(&dir.join(rundir::METRICS_CSV), None)?;
        Ok(Self { columns, rows })
    }

    /// The rows in which the column `name` has a value.
    pub fn column(&self, name: &str) -> Vec<(Stamp, f64)> {
        let Some(i) = self.columns.iter().position(|c| c == name) else {
            return Vec::new();
        };
        self.rows.iter().filter_map(|(stamp, values)| values[i].map(|v| (*stamp, v))).collect()
    }
}

/// Reads the declarations that [`MetricLog::create`] stored in `dir`. Errors: the file cannot be read, or is not that
/// JSON.
pub fn read_about(dir: &Path) -> Result<Vec<MetricAbout>, RunError> {
    rundir::read_json(&dir.join(rundir::METRICS_ABOUT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;

    const LOSS: Metric = Metric::new("loss", "mean squared error", "", "Losses");
    const Q: Metric = Metric::new("q_mean", "mean Q(s, a)", "return", "Values");

    fn at(phase: Phase, update: u64, env_step: u64) -> Stamp {
        Stamp { phase, update, env_step }
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
            let stamp =
                if i < 10 { at(Phase::Offline, i * 100, 0) } else { at(Phase::Online, i * 100, i - 10) };
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
                        success: None,
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
            for name in [rundir::METRICS_CSV, rundir::METRICS_JSONL, rundir::EVALUATIONS_CSV] {
                let mut file = OpenOptions::new().append(true).open(dir.join(name)).unwrap();
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
            assert_eq!(files(dir), expected, "checkpoint {checkpoint}, killed at {killed}");
        }
    }

    #[test]
    fn rows_that_somebody_has_taken_away_are_missed() {
        for name in [rundir::EVALUATIONS_CSV, rundir::EVALUATIONS_JSONL] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path();
            let mut m = MetricLog::create(dir, &[&LOSS, &Q]).unwrap();
            let mut e = EvaluationLog::create(dir, &[]).unwrap();
            run(&mut m, &mut e, 0, 20);
            drop((m, e));
            let text = fs::read_to_string(dir.join(name)).unwrap();
            let last = text.trim_end().rfind('\n').unwrap() + 1;
            fs::write(dir.join(name), &text[..last]).unwrap();
            let refused = EvaluationLog::resume(dir, at(Phase::Online, 2000, 20)).err().unwrap().to_string();
            assert!(refused.contains(name) && refused.contains("rows up to the checkpoint"), "{refused}");
            // Behind the checkpoint they are made again.
            assert!(EvaluationLog::resume(dir, at(Phase::Offline, 500, 0)).is_ok());
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let mut m = MetricLog::create(dir, &[&LOSS, &Q]).unwrap();
        let values = [0.1f32 as f64, 0.1, 1.0 / 3.0, -1e-30, f64::INFINITY, 12345.678];
        for (i, v) in values.iter().enumerate() {
            m.record(at(Phase::Offline, i as u64, 0), &[(&Q, *v)]).unwrap();
        }
        m.record(at(Phase::Online, 9, 1), &[(&LOSS, f64::NAN)]).unwrap();
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
            success: None,
            returns: vec![1.0, 2.0, 1.0 / 3.0],
            lengths: vec![10, 20, 1000],
        };
        let second = Evaluation { stamp: at(Phase::Online, 5000, 0), score: None, ..first.clone() };
        let mut log = EvaluationLog::create(dir, std::slice::from_ref(&first)).unwrap();
        log.record(&second).unwrap();
        log.flush().unwrap();
        assert_eq!(read_evaluations(dir).unwrap(), [first.clone(), second]);
        assert_eq!(first.mean(), (3.0 + 1.0 / 3.0) / 3.0);

        let mut log = TimingLog::create(dir).unwrap();
        let t = Timing { stamp: first.stamp, seconds: 1.25, steps_per_second: 4000.0 };
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
        let text = MetricLog::resume(dir, &[&LOSS], stamp).err().unwrap().to_string();
        assert!(text.contains("expected the columns `phase,update,env_step,loss`"), "{text}");
    }

    /// As of a method that logs nothing.
    #[test]
    fn rows_without_metrics_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut m = MetricLog::create(folder.path(), &[]).unwrap();
        m.record(at(Phase::Offline, 50, 0), &[]).unwrap();
        m.record(at(Phase::Online, 50, 7), &[]).unwrap();
        m.flush().unwrap();
        let table = MetricTable::read(folder.path()).unwrap();
        let rows = vec![(at(Phase::Offline, 50, 0), vec![]), (at(Phase::Online, 50, 7), vec![])];
        assert_eq!(table, MetricTable { columns: vec![], rows });
        let foreign = "phase,update,env_step\noffline,x,0\n";
        fs::write(folder.path().join(rundir::METRICS_CSV), foreign).unwrap();
        let text = MetricTable::read(folder.path()).unwrap_err().to_string();
        assert!(text.ends_with("metrics.csv, line 2: expected a number, got `x`"), "{text}");
    }

    #[test]
    #[should_panic(expected = "metric loss: expected a name that no other column of the run has")]
    fn one_name_is_one_metric() {
        unique(&[&LOSS, &LOSS]);
    }

    #[test]
    #[should_panic(expected = "metric env_step: expected a name that no other column of the run has")]
    fn counters_keep_their_names() {
        unique(&[&Metric::new("env_step", "steps", "", "Steps")]);
    }
}
