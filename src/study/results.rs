//! What the runs of a study have come to: all that tables and figures are made from.

use super::directory::{State, Study};
use super::graph::{Cell, Data, Kind};
use crate::config::OnlineConfig;
use crate::train::TrainError;
use crate::train::metrics::{Evaluation, Phase, Timing, read_evaluations, read_timing};
use crate::train::provenance;
use crate::train::rundir::{self, RunError};
use crate::train::state::Saved;
use baq_datasets::checksums;
use indicatif::HumanCount;
use std::collections::BTreeSet;
use std::path::Path;

/// Units of scores.
pub(super) const SCORE: &str = "normalised score";
pub(super) const RETURN: &str = "return";

/// The results of a study, as far as it has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// Its name.
    pub name: String,
    /// Its question, one line.
    pub about: String,
    /// The named reduction that it was run at; `None` for its full size.
    pub scale: Option<String>,
    /// The commits of the programs that made its runs.
    pub commit: String,
    /// Its data sets, in the order of its file: the rows of tables.
    pub data: Vec<String>,
    /// Which file each of them is, in a few words.
    pub files: Vec<String>,
    /// Its methods, in the order of its file: the columns of tables.
    pub methods: Vec<Method>,
    /// Its finished runs.
    pub outcomes: Vec<Outcome>,
    /// Its runs without a result.
    pub absent: Vec<Absent>,
}

/// A method of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// Its name in tables.
    pub label: String,
    /// The label of the method that it is compared with, run by run: `None` for a base.
    pub base: Option<String>,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its data set, one of [`Results::data`].
    pub data: String,
    /// Its method, the label of one of [`Results::methods`].
    pub method: String,
    /// Its seed: runs of one seed are paired.
    pub seed: u64,
    /// Its evaluations.
    pub curve: Curve,
    /// Updates of its offline training, which may have stopped early.
    pub offline_updates: u64,
    /// Its updates in all, offline and online.
    pub updates: u64,
    /// Its steps in the environment.
    pub env_steps: u64,
    /// Hours of its own, without training that it shares with other runs; core-hours, as a cell has one thread unless told
    /// otherwise. `None` where it kept no times.
    pub hours: Option<f64>,
}

/// A run without a result: not begun, not finished, or failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Absent {
    /// As in [`Outcome`].
    pub data: String,
    /// As in [`Outcome`].
    pub method: String,
    /// As in [`Outcome`].
    pub seed: u64,
    /// Why there is none.
    pub why: Why,
}

/// Why a run has no result.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// Nobody has begun it.
    NotBegun,
    /// The same, while there is one with another configuration.
    Changed,
    /// The share of it that is done.
    Unfinished(f64),
    /// It, or what it starts from, failed or cannot be read: how, in a few words.
    Failure(String),
}

impl Why {
    /// Whether waiting does not help.
    pub fn is_failure(&self) -> bool {
        matches!(self, Why::Failure(_))
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::NotBegun => f.write_str("not begun"),
            Why::Changed => f.write_str("not begun; there is a run with another configuration"),
            Why::Unfinished(share) => write!(f, "unfinished, {:.0} % done", 100.0 * share),
            Why::Failure(how) => f.write_str(how),
        }
    }
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Offline the updates so far, online the environment steps so far.
    pub step: u64,
    /// Mean over the evaluation's episodes, in the unit of the curve.
    pub score: f64,
}

/// The evaluations of a run, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Whether scores are D4RL-normalised; they are raw returns where the task has no reference scores.
    pub scored: bool,
    /// Of the offline training.
    pub offline: Vec<Point>,
    /// Of the online phase; the first one, at step 0, is the switch.
    pub online: Vec<Point>,
}

impl Curve {
    /// Reads the evaluations of a run directory. A run that was fine-tuned has those of its offline training too.
    /// Errors: its table of evaluations is missing or not understood.
    pub fn read(dir: &Path) -> Result<Self, RunError> {
        read_evaluations(dir).map(|evaluations| Self::of(&evaluations))
    }

    fn of(evaluations: &[Evaluation]) -> Self {
        let scored = !evaluations.is_empty() && evaluations.iter().all(|e| e.score.is_some());
        let mut curve = Self { scored, ..Self::default() };
        for e in evaluations {
            let score = if scored { e.score.unwrap_or(f64::NAN) } else { e.mean() };
            let points = match e.stamp.phase {
                Phase::Offline => &mut curve.offline,
                Phase::Online => &mut curve.online,
            };
            points.push(Point { step: e.stamp.unit(), score });
        }
        curve
    }
}

impl Results {
    /// Those of a study, as far as it has come.
    pub fn of(study: &Study) -> Self {
        let spec = &study.spec;
        let mut results = Self {
            name: spec.name.clone(),
            about: spec.about.clone(),
            scale: spec.scale.clone(),
            commit: String::new(),
            data: spec.data.clone(),
            files: spec.data.iter().filter_map(|name| file(name, &study.place.data[name])).collect(),
            methods: Vec::new(),
            outcomes: Vec::new(),
            absent: Vec::new(),
        };
        for method in &spec.methods {
            let base = spec.base_of(method).map(|base| base.label.clone());
            results.methods.push(Method { label: method.label.clone(), base });
        }
        let mut commits: Vec<String> = Vec::new();
        for cell in study.graph.cells.iter().filter(|cell| cell.kind >= Kind::Finetune) {
            let (data, method, seed) = (cell.data.clone(), cell.label.clone(), cell.seed);
            match outcome(study, cell) {
                Ok(outcome) => {
                    results.outcomes.push(outcome);
                    let needs = cell.needs().map(|need| &study.graph.cells[need]);
                    commits
                        .extend(needs.chain([cell]).flat_map(|run| provenance::commits(&study.folder(run))));
                }
                Err(why) => results.absent.push(Absent { data, method, seed, why }),
            }
        }
        results.commit = named(commits);
        results
    }

    /// The finished runs of a method on a data set, by seed.
    pub fn runs(&self, data: &str, method: &str) -> Vec<&Outcome> {
        let mut runs: Vec<&Outcome> =
            self.outcomes.iter().filter(|o| o.data == data && o.method == method).collect();
        runs.sort_by_key(|o| o.seed);
        runs
    }

    /// The unit of scores on a data set or, without one, on all of them; nothing where there are no runs.
    pub fn unit(&self, data: Option<&str>) -> &'static str {
        let mut runs = self.outcomes.iter().filter(|o| data.is_none_or(|data| o.data == data)).peekable();
        match (runs.peek().is_some(), runs.any(|o| o.curve.scored)) {
            (_, true) => SCORE,
            (true, false) => RETURN,
            (false, false) => "",
        }
    }

    /// What every table and figure says of its runs: scale, steps, seeds, commit.
    pub fn facts(&self) -> String {
        let updates = range(self.outcomes.iter().map(|o| o.offline_updates));
        let steps = range(self.outcomes.iter().map(|o| o.env_steps));
        let lengths = format!("{updates} offline updates, {steps} online steps");
        self.facts_of(&lengths, self.outcomes.iter().map(|o| o.seed), &self.commit)
    }

    /// The same of runs of other lengths, seeds and commits.
    pub fn facts_of(&self, lengths: &str, seeds: impl Iterator<Item = u64>, commit: &str) -> String {
        let scale = self.scale.as_ref().map_or("full size".into(), |scale| format!("scale {scale}"));
        let seeds: BTreeSet<u64> = seeds.collect();
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        let seeds = if seeds.is_empty() { "no runs".into() } else { format!("seeds {}", seeds.join(", ")) };
        format!("{scale}; {lengths}; {seeds}; commit {commit}")
    }

    /// How many runs a method should have on a data set.
    pub fn planned(&self, data: &str, method: &str) -> usize {
        let absent = self.absent.iter().filter(|a| a.data == data && a.method == method);
        self.runs(data, method).len() + absent.count()
    }
}

/// Commits, each once.
pub fn named(mut commits: Vec<String>) -> String {
    commits.sort_unstable();
    commits.dedup();
    if commits.is_empty() { "unknown".into() } else { commits.join(", ") }
}

/// The result of a cell, or why there is none.
fn outcome(study: &Study, cell: &Cell) -> Result<Outcome, Why> {
    match study.state(cell) {
        State::Done => {}
        State::Failed(failure) => return Err(Why::Failure(format!("failed: {}", failure.reason))),
        State::Begun(share, _) => return Err(Why::Unfinished(share)),
        State::Waiting => return Err(waiting(study, cell)),
    }
    let read = || -> Result<Outcome, TrainError> {
        let run = study.folder(cell);
        let saved = Saved::open_unchecked(&run.join(rundir::CHECKPOINT))?;
        let (at, curve) = (saved.counters()?, Curve::read(&run)?);
        let online: OnlineConfig = cell.config.section();
        // One that was extended is longer than the study has it; while it grows, only so much is certain.
        let planned = saved.planned("online", "env_steps")?.filter(|steps| *steps == at.env_step);
        let planned = planned.unwrap_or(online.env_steps);
        let mut steps = (1..=planned / online.eval_every).map(|k| k * online.eval_every).chain([planned]);
        let missing = steps.find(|step| curve.online.iter().all(|p| p.step != *step));
        let missing = missing.filter(|_| online.eval_episodes > 0);
        let missing = missing.map(|step| format!("an evaluation after step {step}, got none"));
        let disorder = curve.online.windows(2).map(|two| [two[0].step, two[1].step]).find(|[a, b]| a >= b);
        let disorder = disorder.map(|[a, b]| format!("steps in order, each once, got {b} after {a}"));
        if let Some(expected) = missing.or(disorder) {
            let file = run.join(rundir::EVALUATIONS_CSV);
            return Err(TrainError::Input(format!(
                "{}: expected {expected}; restore it, or remove the run and run the study again",
                file.display()
            )));
        }
        Ok(Outcome {
            data: cell.data.clone(),
            method: cell.label.clone(),
            seed: cell.seed,
            curve,
            offline_updates: at.offline_rounds,
            updates: at.offline_rounds + at.critic_updates,
            env_steps: at.env_step,
            hours: read_timing(&run).ok().and_then(|rows| hours(&rows, at.env_step)),
        })
    };
    read().map_err(|e| Why::Failure(format!("cannot be read: {}", study.wherever(&e.to_string()))))
}

/// Why a cell is not begun.
fn waiting(study: &Study, cell: &Cell) -> Why {
    for need in cell.needs().map(|need| &study.graph.cells[need]) {
        if let State::Failed(failure) = study.state(need) {
            return Why::Failure(format!("not begun, as {} failed: {}", need.name(), failure.reason));
        }
    }
    if study.is_changed(cell) { Why::Changed } else { Why::NotBegun }
}

/// Hours of a run of so many environment steps, of all processes that worked on it. The clock counts from 0 in each, and is
/// written down with the rate since then, which tells where the process began. `None` of a run that kept none.
fn hours(rows: &[Timing], env_steps: u64) -> Option<f64> {
    let began = |t: &Timing| t.stamp.env_step as f64 - t.seconds * t.steps_per_second;
    let took = |steps: f64, t: &Timing| steps.max(0.0) / t.steps_per_second.max(1e-9);
    let first = rows.first()?;
    // Before the first row there may have been other processes, about as fast.
    let mut seconds = if began(first) < 0.5 { 0.0 } else { took(began(first), first) };
    for (k, row) in rows.iter().enumerate() {
        let done = row.stamp.env_step as f64;
        let until = match rows.get(k + 1).map(began) {
            // The next row is the same process's.
            Some(next) if next < done - 0.5 => continue,
            Some(next) => next,
            None => env_steps as f64,
        };
        // What came behind its last row took as long as what came before.
        seconds += row.seconds + took(until - done, row);
    }
    Some(seconds / 3600.0)
}

/// Which file a data set is; nothing of one that is called as it is named.
pub(super) fn file(name: &str, data: &Data) -> Option<String> {
    let file = Path::new(&data.file).file_name().map_or(data.file.as_str().into(), |f| f.to_string_lossy());
    let published = checksums::known_files().into_iter().find(|known| known.sha256 == data.sha256);
    Some(match (published, data.sha256.get(..12)) {
        (Some(known), _) => format!("{name} is D4RL's {}", known.name),
        (None, Some(sum)) => format!("{name} is {file} (sha256 {sum}...)"),
        (None, None) if file == name => return None,
        (None, None) => format!("{name} is {file}"),
    })
}

/// From the least to the greatest; `no` without any.
pub fn range(all: impl Iterator<Item = u64> + Clone) -> String {
    match (all.clone().min(), all.max()) {
        (Some(low), Some(high)) if low < high => format!("{} to {}", HumanCount(low), HumanCount(high)),
        (Some(low), _) => HumanCount(low).to_string(),
        _ => "no".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::{EvaluationLog, Stamp};

    fn evaluation(phase: Phase, at: u64, score: Option<f64>, x: f64) -> Evaluation {
        let (update, env_step) = if phase == Phase::Offline { (at, 0) } else { (7, at) };
        let stamp = Stamp { phase, update, env_step };
        Evaluation { stamp, score, success: None, returns: vec![x, x + 2.0], lengths: vec![1, 1] }
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(range([30_000, 200].into_iter()), "200 to 30,000");
        assert_eq!((range([7, 7].into_iter()), range([].into_iter())), ("7".into(), "no".into()));
    }

    #[test]
    fn every_process_of_a_run_counts() {
        let row = |env_step, seconds, steps_per_second| {
            let stamp = Stamp { phase: Phase::Online, update: 7, env_step };
            Timing { stamp, seconds, steps_per_second }
        };
        // 10 steps a second; saved at step 250, gone on with at 20, saved at 405, gone on with at 10 to step 500.
        let first = [row(100, 10.0, 10.0), row(200, 20.0, 10.0)];
        let second = [row(300, 2.5, 20.0), row(400, 7.5, 20.0)];
        let third = [row(500, 9.5, 10.0)];
        let all = [&first[..], &second, &third].concat();
        let seconds = |rows, env_steps| 3600.0 * hours(rows, env_steps).unwrap();
        assert!((seconds(&all, 500) - (25.0 + 7.75 + 9.5)).abs() < 1e-6);
        // Its clock never fell.
        let rising = [row(100, 10.0, 10.0), row(200, 11.0, 100.0 / 11.0)];
        assert!((seconds(&rising, 200) - 21.0).abs() < 1e-6);
        assert!((seconds(&first, 250) - 25.0).abs() < 1e-6);
        // The first process ended before its first row, at step 95.
        assert!((seconds(&third, 500) - (40.5 + 9.5)).abs() < 1e-6 && hours(&[], 500).is_none());
    }

    #[test]
    fn a_run_directory_becomes_a_curve() {
        let folder = tempfile::tempdir().unwrap();
        let read = |second: Option<f64>| {
            let all = [
                evaluation(Phase::Offline, 500, Some(3.0), 30.0),
                evaluation(Phase::Online, 0, second, 40.0),
                evaluation(Phase::Online, 100, Some(5.0), 50.0),
            ];
            EvaluationLog::create(folder.path(), &all).unwrap();
            let curve = Curve::read(folder.path()).unwrap();
            let pairs = |points: &[Point]| points.iter().map(|p| (p.step, p.score)).collect::<Vec<_>>();
            (curve.scored, pairs(&curve.offline), pairs(&curve.online))
        };
        assert_eq!(read(Some(4.0)), (true, vec![(500, 3.0)], vec![(0, 4.0), (100, 5.0)]));
        // One evaluation without a score: all of them as returns, never both units in one curve.
        assert_eq!(read(None), (false, vec![(500, 31.0)], vec![(0, 41.0), (100, 51.0)]));
        assert!(Curve::read(&folder.path().join("none")).is_err());
    }
}
