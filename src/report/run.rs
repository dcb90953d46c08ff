//! One run read back from its directory.

use super::standing::{self, Standing, State};
use crate::train::metrics::{
    self, DatasetFacts, Distribution, Evaluation, MetricAbout, MetricTable, Phase, Stamp,
};
use crate::train::rundir::{self, RunError};
use indicatif::HumanCount;
use std::path::{Path, PathBuf};

/// One run as its directory tells it. Only the configuration must be there.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its directory.
    pub dir: PathBuf,
    /// Its resolved configuration as text.
    pub config: String,
    /// The same, parsed.
    pub options: toml::Table,
    /// Its evaluations.
    pub evaluations: Vec<Evaluation>,
    /// Its metrics, perhaps none.
    pub metrics: Option<MetricTable>,
    /// What the metrics mean.
    pub about: Vec<MetricAbout>,
    /// Its dataset, if known.
    pub dataset: Option<DatasetFacts>,
    /// Histograms by origin.
    pub distributions: Vec<Distribution>,
    /// How far it has come.
    pub standing: Standing,
    /// How it diverged, if it did.
    pub diverged: Option<String>,
}

/// `None` for a file that is not there; an error for one that is not understood.
fn if_there<T>(
    dir: &Path,
    file: &str,
    read: impl FnOnce(&Path) -> Result<T, RunError>,
) -> Result<Option<T>, RunError> {
    if dir.join(file).is_file() { read(dir).map(Some) } else { Ok(None) }
}

impl Run {
    /// Reads a run directory; a run that is still being written may be read too. Errors: no configuration that can be
    /// read as TOML; another file that is there and is not understood.
    pub fn load(dir: &Path) -> Result<Self, RunError> {
        // Before its rows are read: those of a run that nobody writes to are the last ones.
        let written = standing::is_written(dir);
        let path = dir.join(rundir::CONFIG);
        let config = crate::files::read_to_string(&path)
            .map_err(RunError::io(&path, "read the configuration of a run"))?;
        let options = config.parse::<toml::Table>().map_err(|e| RunError::Format {
            path,
            line: 1 + e.span().map_or(0, |at| config[..at.start].matches('\n').count()),
            expected: "a configuration".into(),
            got: e.message().replace('\n', "; "),
        })?;
        let evaluations = if_there(dir, rundir::EVALUATIONS_CSV, metrics::read_evaluations)?;
        let mut run = Self {
            dir: dir.to_path_buf(),
            config,
            options,
            evaluations: evaluations.unwrap_or_default(),
            metrics: if_there(dir, rundir::METRICS_CSV, MetricTable::read)?,
            about: if_there(dir, rundir::METRICS_ABOUT, metrics::read_about)?.unwrap_or_default(),
            dataset: if_there(dir, rundir::DATASET, metrics::read_dataset)?,
            distributions: if_there(dir, rundir::DISTRIBUTIONS, metrics::read_distributions)?
                .unwrap_or_default(),
            standing: Standing {
                state: State::Running,
                phase: Phase::Offline,
                done: 0,
                planned: 0,
                rate: None,
            },
            diverged: None,
        };
        let rate = if_there(dir, rundir::TIMING, metrics::read_timing)?;
        run.standing.rate = rate.and_then(|rows| Some(rows.last()?.steps_per_second));
        run.stand(written);
        if run.standing.state == State::Diverged {
            run.diverged = crate::files::read_to_string(&dir.join(rundir::DIVERGED)).ok();
        }
        Ok(run)
    }

    /// Finds how far it has come.
    fn stand(&mut self, written: bool) {
        let online = self.option("run", "begin") == Phase::Online.word()
            || self.dir.join(rundir::ORIGIN).is_file()
            || self.phase(Phase::Online).next().is_some();
        let phase = if online { Phase::Online } else { Phase::Offline };
        let reached = |stamp: Stamp| if stamp.phase == phase { stamp.unit() } else { 0 };
        let evaluated = self.evaluations.last().map_or(0, |e| reached(e.stamp));
        let measured = self.metrics.iter().flat_map(|t| t.rows.last()).map(|row| reached(row.0)).max();
        let number = |key: &str, of: Phase| self.option(of.word(), key).parse::<u64>().unwrap_or(0);
        let planned = match phase {
            Phase::Offline => number("updates", phase),
            Phase::Online => number("env_steps", phase),
        };
        let measured = measured.unwrap_or(0);
        // The evaluation at the end comes last, if there are any.
        let complete = match self.option(phase.word(), "eval_episodes").as_str() {
            _ if self.option("run", "env").is_empty() => evaluated.max(measured) >= planned,
            "0" => measured >= planned,
            "" => evaluated.max(measured) >= planned,
            _ => evaluated >= planned,
        };
        let early = || phase == Phase::Offline && standing::ended_early(&self.dir, number("patience", phase));
        let state = match (written, complete) {
            (_, true) => State::Finished,
            (true, false) => State::Running,
            (false, false) if early() => State::Finished,
            (false, false) if self.dir.join(rundir::DIVERGED).is_file() => State::Diverged,
            (false, false) => State::Stopped,
        };
        let done = evaluated.max(measured);
        self.standing = Standing { state, phase, done, planned, ..self.standing };
    }

    /// The value of `section.key` as text; empty when it is not set.
    pub fn option(&self, section: &str, key: &str) -> String {
        match self.options.get(section).and_then(|s| s.get(key)) {
            None => String::new(),
            Some(toml::Value::String(text)) => text.clone(),
            Some(other) => crate::config::value::render(other),
        }
    }

    /// What decides the run's results, the seed apart, as (`section.key`, text); the data as [`DATA`], by their checksum
    /// where it is known, wherever the file lies.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (section, values) in &self.options {
            for key in values.as_table().into_iter().flat_map(toml::Table::keys) {
                let place = format!("{section}.{key}");
                let unused = section == Phase::Online.word() && self.standing.phase == Phase::Offline;
                if !unused && section != "audit" && !BOOKKEEPING.contains(&place.as_str()) {
                    all.push((place, self.option(section, key)));
                }
            }
        }
        let data = match &self.dataset {
            Some(facts) if !facts.sha256.is_empty() => format!("{} {}", self.data(), facts.sha256),
            _ => self.data(),
        };
        all.push((DATA.into(), data));
        all
    }

    /// Where it went online, as text; empty offline.
    pub(super) fn origin(&self) -> String {
        let first = self.phase(Phase::Online).next();
        first.map(|e| format!("update {}", e.stamp.update)).unwrap_or_default()
    }

    /// A short name of its data: the file without folders and ending; empty without data.
    pub fn data(&self) -> String {
        let named = match &self.dataset {
            Some(facts) if !facts.name.is_empty() => facts.name.clone(),
            _ => self.option("run", "dataset"),
        };
        let named = named.trim_start_matches('<').trim_end_matches('>');
        Path::new(named).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(super) fn phase(&self, phase: Phase) -> impl Iterator<Item = &Evaluation> {
        self.evaluations.iter().filter(move |e| e.stamp.phase == phase)
    }

    /// Its last evaluation, as (updates or online environment steps, mean return, score).
    pub fn last(&self) -> Option<(u64, f64, Option<f64>)> {
        self.evaluations.last().map(|e| (e.stamp.unit(), e.mean(), e.score))
    }

    /// Why a run has no evaluation in its phase, as a sentence.
    pub(super) fn without_evaluation(&self) -> String {
        let Standing { phase, state, .. } = self.standing;
        match (self.option(phase.word(), "eval_episodes").as_str(), phase) {
            ("0", _) => format!("No evaluation: {}.eval_episodes = 0.", phase.word()),
            _ if self.option("run", "env").is_empty() => {
                "No evaluation: it is trained for no environment (run.env).".into()
            }
            _ if state == State::Diverged => "No evaluation: it diverged before the first.".into(),
            (_, Phase::Online) => {
                "No evaluation yet: the first comes before the first environment step.".into()
            }
            (_, Phase::Offline) => {
                let every = self.option(phase.word(), "eval_every").parse().unwrap_or(0);
                format!("No evaluation yet: the first comes after {} updates.", HumanCount(every))
            }
        }
    }

    /// Updates in which training on data ends: where it is planned to, or did before what came next.
    pub(super) fn offline_end(&self) -> u64 {
        let last = self.phase(Phase::Offline).map(|e| e.stamp.update).max().unwrap_or(0);
        match self.standing.phase {
            // Early stopping ends it before.
            Phase::Offline if self.standing.is_finished() => last.max(self.standing.done),
            Phase::Offline => last.max(self.standing.planned),
            Phase::Online => last,
        }
    }

    /// Evaluations of its training on data alone, as a curve that ends at 0.
    pub(super) fn offline_curve(&self, value: impl Fn(&Evaluation) -> Option<f64>) -> Vec<(f64, f64)> {
        let end = self.offline_end() as f64;
        self.phase(Phase::Offline).filter_map(|e| Some((e.stamp.update as f64 - end, value(e)?))).collect()
    }

    /// Evaluations as a curve: offline updates below zero, environment steps from zero on.
    /// `None` where the value asked for is missing.
    pub fn curve(&self, value: impl Fn(&Evaluation) -> Option<f64>) -> Vec<(f64, f64)> {
        let end = self.offline_end();
        let x = |stamp: Stamp| match stamp.phase {
            Phase::Online => stamp.env_step as f64,
            Phase::Offline => stamp.update as f64 - end as f64,
        };
        let all = self.evaluations.iter();
        let mut curve: Vec<(f64, f64)> = all.filter_map(|e| Some((x(e.stamp), value(e)?))).collect();
        // The last offline and the first online evaluation stand at the same place; the
        // switch itself is measured by the latter.
        curve.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = next.1;
            }
            same
        });
        curve
    }
}

/// The data among the settings.
pub(super) const DATA: &str = "data";

/// Options that decide no result: which of several equal runs it is, where its data lie, how often it writes itself down.
/// How often and how well it is evaluated is none of them: figures are means over the last evaluations.
const BOOKKEEPING: [&str; 6] = [
    "run.seed",
    "run.dataset",
    "offline.checkpoint_every",
    "offline.log_every",
    "online.checkpoint_every",
    "online.log_every",
];
