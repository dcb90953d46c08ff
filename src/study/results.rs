//! What the runs of a study have come to: all that tables and figures are made from.

use super::curve::Curve;
use super::directory::{State, Study};
use super::graph::{self, Cell, Data, Kind};
use super::hours;
use crate::config::OnlineConfig;
use crate::train::TrainError;
use crate::train::metrics::Phase;
use crate::train::provenance;
use crate::train::rundir;
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
    /// Its finished trainings and models, from which runs start.
    pub trained: Vec<Trained>,
}

/// A finished training on data, or a model of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// As in [`Outcome`].
    pub data: String,
    /// Its folder's name, as `train.iql`.
    pub name: String,
    /// As in [`Outcome`].
    pub seed: u64,
    /// As in [`Outcome`].
    pub hours: Option<f64>,
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
            trained: Vec::new(),
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
        let done = |cell: &&Cell| cell.kind < Kind::Finetune && study.state(cell) == State::Done;
        results.trained = study.graph.cells.iter().filter(done).map(|cell| trained(study, cell)).collect();
        results
    }

    /// Hours of all that is finished, as far as clocks are known: of trainings and models, and of runs.
    pub fn hours(&self) -> [f64; 2] {
        [
            self.trained.iter().filter_map(|t| t.hours).sum(),
            self.outcomes.iter().filter_map(|o| o.hours).sum(),
        ]
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
            hours: hours::of_run(&run, Phase::Online, at.env_step),
        })
    };
    read().map_err(|e| Why::Failure(format!("cannot be read: {}", study.wherever(&e.to_string()))))
}

fn trained(study: &Study, cell: &Cell) -> Trained {
    let run = study.folder(cell);
    let saved = Saved::open_unchecked(&run.join(rundir::CHECKPOINT));
    let updates = saved.and_then(|saved| Ok(saved.counters()?.round)).ok();
    Trained {
        data: cell.data.clone(),
        name: graph::folder(cell.kind, &cell.label),
        seed: cell.seed,
        hours: updates.and_then(|updates| hours::of_run(&run, Phase::Offline, updates)),
    }
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

/// Which file a data set is; nothing of one that is called as it is named.
pub(super) fn file(name: &str, data: &Data) -> Option<String> {
    let file = Path::new(&data.file).file_name().map_or(data.file.as_str().into(), |f| f.to_string_lossy());
    let published = checksums::known_files().into_iter().find(|known| known.sha256 == data.sha256);
    Some(match (published, data.sha256.get(..12)) {
        (Some(known), _) => format!("{name} is D4RL's {}", known.name),
        (None, Some(sum)) => {
            let other = checksums::of_name(&file).map_or("", |_| ", not D4RL's of that name");
            format!("{name} is {file}{other} (sha256 {sum}...)")
        }
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

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(range([30_000, 200].into_iter()), "200 to 30,000");
        assert_eq!((range([7, 7].into_iter()), range([].into_iter())), ("7".into(), "no".into()));
    }

    #[test]
    fn files_are_what_their_checksums_say() {
        let known = checksums::of_name("hopper_medium-v2.hdf5").unwrap();
        for (path, sha256, told) in [
            ("/x.hdf5", known.sha256, "D4RL's gym_mujoco_v2/hopper_medium-v2.hdf5"),
            ("/x.hdf5", "0123456789abcdef", "x.hdf5 (sha256 0123456789ab...)"),
            (
                "/hopper_medium-v2.hdf5",
                "0123456789abcdef",
                "hopper_medium-v2.hdf5, not D4RL's of that name (sha256 0123456789ab...)",
            ),
        ] {
            let data = Data { file: path.into(), sha256: sha256.into() };
            assert_eq!(file("m", &data), Some(format!("m is {told}")));
        }
    }
}
