//! The scalars of a run as an event file that TensorBoard reads while the run goes on.
//!
//! | tag | what |
//! |---|---|
//! | `train/METRIC` | every column of `metrics.csv` |
//! | `eval/return`, `eval/episode_length` | means over the episodes of an evaluation |
//! | `eval/d4rl_normalized_score` | where the task has one |
//!
//! A step is an update on data, in an environment a step of it. The file is the copy of `metrics.csv` and
//! `evaluations.csv` that TensorBoard understands: it is written row by row as they are, and cut back with them when a run goes on.
//! Only the times at which rows were written make it differ between equal runs.
//!
//! Format: records of (length, checksum, an `Event` message, checksum), as TensorFlow's `RecordWriter` writes them.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::evaluations::{Evaluation, read_evaluations};
use super::metrics::MetricTable;
use super::rundir::{self, RunError};
use super::stamp::{Phase, Stamp};
use crate::checkpoint::atomic::write_atomic;

/// Its name: what TensorBoard looks for, and no time in it, so that a run has one.
const FILE: &str = "events.out.tfevents.0.baq";

/// One record of the file.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// seconds since 1970
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// only in the first record
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    // Of a oneof: a 0 is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// An event file to write to.
pub struct TensorBoard {
    path: PathBuf,
    file: File,
    phase: Phase,
}

impl TensorBoard {
    /// The event file of a run directory that has asked for one by [`rundir::TENSORBOARD`]; `None` for others. It holds the rows that the
    /// run's tables have, which are cut back to where the run stands, and those of one `phase` only.
    pub fn of(dir: &Path, phase: Phase) -> Result<Option<TensorBoard>, RunError> {
        let folder = dir.join(rundir::TENSORBOARD);
        if !folder.is_dir() {
            return Ok(None);
        }
        let path = folder.join(FILE);
        let known = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            known => known.map_err(RunError::io(&path, "read the file"))?,
        };
        let rows = rows(dir, phase)?;
        write_atomic(&path, &rewritten(&known, &rows)).map_err(RunError::io(&path, "write the file"))?;
        let file =
            OpenOptions::new().append(true).open(&path).map_err(RunError::io(&path, "open the file"))?;
        Ok(Some(TensorBoard { path, file, phase }))
    }

    /// Appends a row of metrics.
    pub fn measured(&mut self, stamp: Stamp, values: &[(&str, f64)]) -> Result<(), RunError> {
        self.append(stamp, metrics(values.iter().map(|(name, x)| (*name, *x))))
    }

    /// Appends an evaluation.
    pub fn evaluated(&mut self, e: &Evaluation) -> Result<(), RunError> {
        self.append(e.stamp, evaluation(e))
    }

    fn append(&mut self, stamp: Stamp, value: Vec<Scalar>) -> Result<(), RunError> {
        if stamp.phase != self.phase || value.is_empty() {
            return Ok(());
        }
        let record = record(&event(now(), stamp.unit() as i64, value));
        self.file.write_all(&record).map_err(RunError::io(&self.path, "write the file"))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

fn event(wall_time: f64, step: i64, value: Vec<Scalar>) -> Event {
    Event { wall_time, step, file_version: None, summary: Some(Summary { value }) }
}

fn scalar(tag: String, x: f64) -> Scalar {
    Scalar { tag, simple_value: Some(x as f32) }
}

fn metrics<'a>(values: impl Iterator<Item = (&'a str, f64)>) -> Vec<Scalar> {
    values.map(|(name, x)| scalar(format!("train/{name}"), x)).collect()
}

fn evaluation(e: &Evaluation) -> Vec<Scalar> {
    let length = e.lengths.iter().sum::<u64>() as f64 / e.lengths.len() as f64;
    let score = e.score.map(|x| scalar("eval/d4rl_normalized_score".into(), x));
    let success = e.success.map(|x| scalar("eval/success_rate".into(), x));
    let others = [("eval/return", e.mean()), ("eval/episode_length", length)];
    score.into_iter().chain(success).chain(others.map(|(tag, x)| scalar(tag.into(), x))).collect()
}

/// (step, scalars) of the rows of a run's tables, in the order in which a run writes them.
fn rows(dir: &Path, phase: Phase) -> Result<Vec<(i64, Vec<Scalar>)>, RunError> {
    let table = MetricTable::read(dir)?;
    let mut all: Vec<(Stamp, Vec<Scalar>)> = Vec::new();
    for (stamp, values) in &table.rows {
        let named = table.columns.iter().zip(values).filter_map(|(name, x)| Some((name.as_str(), (*x)?)));
        all.push((*stamp, metrics(named)));
    }
    all.extend(read_evaluations(dir)?.iter().map(|e| (e.stamp, evaluation(e))));
    all.retain(|(stamp, scalars)| stamp.phase == phase && !scalars.is_empty());
    all.sort_by_key(|(stamp, _)| *stamp);
    Ok(all.into_iter().map(|(stamp, scalars)| (stamp.unit() as i64, scalars)).collect())
}

/// A file of these rows; those that a file held already keep their times.
fn rewritten(known: &[u8], rows: &[(i64, Vec<Scalar>)]) -> Vec<u8> {
    let known = events(known);
    let first = known.first().filter(|e| e.file_version.is_some()).map_or_else(now, |e| e.wall_time);
    let version =
        Event { wall_time: first, step: 0, file_version: Some("brain.Event:2".into()), summary: None };
    let mut out = record(&version);
    for (step, scalars) in rows {
        let same = |e: &&Event| e.step == *step && e.summary.as_ref().is_some_and(|s| s.value == *scalars);
        let time = known.iter().find(same).map_or_else(now, |e| e.wall_time);
        out.extend(record(&event(time, *step, scalars.clone())));
    }
    out
}

/// The whole records of a file, up to the first that is torn.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        let Some(message) = rest.get(4..).and_then(|rest| rest.get(..length)) else { break };
        let Ok(event) = Event::decode(message) else { break };
        all.push(event);
        bytes = rest.get(4 + length + 4..).unwrap_or_default();
    }
    all
}

fn record(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &message, &masked(&message)].concat()
}

/// TensorFlow's checksum: CRC-32C, rotated and shifted so that checksums of checksums do not vanish.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_tensorflows() {
        // Of the first record that TensorFlow 2 writes to any event file: 24 bytes follow.
        assert_eq!(masked(&24u64.to_le_bytes()), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_zero_is_a_value() {
        // Field 2, four bytes.
        let bytes = event(5.0, 1, vec![scalar("t".into(), 0.0)]).encode_to_vec();
        assert!(bytes.ends_with(&[0x15, 0, 0, 0, 0]), "{bytes:?}");
    }

    #[test]
    fn rows_keep_their_times_and_torn_records_go() {
        let row = |step: i64, x: f64| (step, vec![scalar("train/loss".into(), x)]);
        let mut file = rewritten(&[], &[row(1, 0.5)]);
        file.extend(record(&event(5.0, 2, row(2, 0.25).1)));
        file.extend(record(&event(6.0, 3, row(3, 0.1).1)));
        let torn = &file[..file.len() - 3];
        assert_eq!(events(torn).len(), 4, "a message that is whole, without its checksum");
        assert_eq!(events(&file[..file.len() - 9]).len(), 3);
        let again = events(&rewritten(torn, &[row(1, 0.5), row(2, 0.25)]));
        assert_eq!(again.len(), 3, "cut back to the rows that there are");
        assert_eq!((again[2].wall_time, again[2].step), (5.0, 2));
    }
}
