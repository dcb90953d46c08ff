//! Runs read back from their directories, put together by experiment.

use crate::train::Method;
use crate::train::metrics::{self, DatasetFacts, Distribution, Evaluation, MetricAbout, MetricTable, Phase};
use crate::train::rundir::{self, RunError};
use std::path::{Path, PathBuf};

/// How many evaluations at the end of a phase make its headline figure. Never the best one.
pub const LAST: usize = 5;

/// Environment steps over which BAQ's paper scores fine-tuning: "the initial 30,000 steps", which may mean the evaluations
/// at their end or all of them.
pub const WINDOW: u64 = 30_000;

/// One run as its directory tells it. Only the configuration and the evaluations must be there.
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
    /// Reads a run directory; a run that is still being written may be read too.
    pub fn load(dir: &Path) -> Result<Self, RunError> {
        let path = dir.join(rundir::CONFIG);
        let config = crate::files::read_to_string(&path)
            .map_err(RunError::io(&path, "read the configuration of a run"))?;
        let options = config.parse::<toml::Table>().map_err(|e| RunError::Format {
            path,
            line: 1,
            expected: "a configuration".into(),
            got: e.message().replace('\n', "; "),
        })?;
        let evaluations = if_there(dir, rundir::EVALUATIONS_CSV, metrics::read_evaluations)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            config,
            options,
            evaluations: evaluations.unwrap_or_default(),
            metrics: if_there(dir, rundir::METRICS_CSV, MetricTable::read)?,
            about: if_there(dir, rundir::METRICS_ABOUT, metrics::read_about)?.unwrap_or_default(),
            dataset: if_there(dir, rundir::DATASET, metrics::read_dataset)?,
            distributions: if_there(dir, rundir::DISTRIBUTIONS, metrics::read_distributions)?
                .unwrap_or_default(),
        })
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
    fn settings(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (section, values) in &self.options {
            for key in values.as_table().into_iter().flat_map(toml::Table::keys) {
                let place = format!("{section}.{key}");
                if section != "audit" && !BOOKKEEPING.contains(&place.as_str()) {
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

    /// A short name of its data: the file without folders and ending; empty without data.
    pub fn data(&self) -> String {
        let named = match &self.dataset {
            Some(facts) if !facts.name.is_empty() => facts.name.clone(),
            _ => self.option("run", "dataset"),
        };
        Path::new(&named).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// How far it has come, if that is not the length it is planned for: its last evaluation. Figures of runs at
    /// different places are no seeds of one experiment.
    fn unfinished(&self) -> Option<String> {
        let last = self.evaluations.last()?.stamp;
        let planned = |section, key| self.option(section, key).parse::<u64>().ok();
        let (done, length, unit) = match last.phase {
            Phase::Online => (last.env_step, planned("online", "env_steps"), "steps"),
            _ => (last.update, planned("offline", "updates"), "updates"),
        };
        length.filter(|length| done < *length).map(|length| format!("{done} of {length} {unit}"))
    }

    pub(super) fn phase(&self, phase: Phase) -> impl Iterator<Item = &Evaluation> {
        self.evaluations.iter().filter(move |e| e.stamp.phase == phase)
    }

    /// Evaluations as a curve: offline updates below zero, environment steps from zero on.
    /// `None` where the value asked for is missing.
    pub fn curve(&self, value: impl Fn(&Evaluation) -> Option<f64>) -> Vec<(f64, f64)> {
        let end = self.phase(Phase::Offline).map(|e| e.stamp.update).max().unwrap_or(0);
        let x = |e: &Evaluation| match e.stamp.phase {
            Phase::Online => e.stamp.env_step as f64,
            _ => e.stamp.update as f64 - end as f64,
        };
        let mut curve: Vec<(f64, f64)> =
            self.evaluations.iter().filter_map(|e| value(e).map(|v| (x(e), v))).collect();
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

/// Runs that differ by their seed only.
#[derive(Debug, Clone)]
pub struct Group {
    /// Short name in legends and tables.
    pub label: String,
    /// The runs, by seed.
    pub runs: Vec<Run>,
}

/// The data among the settings.
const DATA: &str = "data";

/// Options that decide no result: which of several equal runs it is, where its data lie, how often it writes itself down.
const BOOKKEEPING: [&str; 5] =
    ["run.seed", "run.dataset", "offline.checkpoint_every", "online.checkpoint_every", "online.log_every"];

/// Settings that the name of a group has already.
const IN_BASE: [&str; 4] = ["run.algo", "run.adapt", "run.env", DATA];

/// Puts runs together that differ by their seed only and have come equally far, in the order of their first run.
pub fn group(runs: Vec<Run>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let key = |run: &Run| (run.settings(), run.unfinished());
        let mine = key(&run);
        match groups.iter_mut().find(|g| key(&g.runs[0]) == mine) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { label: String::new(), runs: vec![run] }),
        }
    }
    let labels = labels(&groups);
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
        group.runs.sort_by_key(|r| r.option("run", "seed").parse::<u64>().unwrap_or(u64::MAX));
    }
    groups
}

/// Names of the groups: algorithm and adaptation, data and environment where there are several, and what else tells them
/// apart where that is not enough.
fn labels(groups: &[Group]) -> Vec<String> {
    let several =
        |of: &dyn Fn(&Run) -> String| groups.iter().any(|g| of(&g.runs[0]) != of(&groups[0].runs[0]));
    let (data, env) = (several(&Run::data), several(&|run| run.option("run", "env")));
    let bases: Vec<String> = groups.iter().map(|g| base(&g.runs[0], data, env)).collect();
    let differing = differences(groups);
    let label = |i: usize| {
        let twins: Vec<usize> = (0..bases.len()).filter(|j| *j != i && bases[*j] == bases[i]).collect();
        // Two files of one name are told apart by their checksums.
        let telling = differing.iter().filter(|(place, values)| {
            (!IN_BASE.contains(&place.as_str()) || place == DATA)
                && twins.iter().any(|j| values[*j] != values[i])
        });
        let words = telling.take(2).map(|(place, values)| {
            let key = place.split_once('.').map_or(place.as_str(), |p| p.1);
            format!("{key} {}", if values[i].is_empty() { "\u{2013}" } else { &values[i] })
        });
        std::iter::once(bases[i].clone()).chain(words).collect::<Vec<_>>().join(", ")
    };
    (0..groups.len()).map(label).collect()
}

/// Algorithm and adaptation of a run, with its data and environment if they are asked for.
fn base(run: &Run, with_data: bool, with_env: bool) -> String {
    let (algo, adapt) = (run.option("run", "algo"), run.option("run", "adapt"));
    let online = run.phase(Phase::Online).next().is_some();
    let mut name = match online {
        true => Method::new(&algo, &adapt).title(|key| run.option(&adapt, key)),
        false => algo,
    };
    let (data, env) = (run.data(), run.option("run", "env"));
    if with_data && !data.is_empty() {
        name.push_str(&format!(" on {data}"));
    }
    if with_env && !env.is_empty() {
        name.push_str(&format!(" in {env}"));
    }
    if let Some(place) = run.unfinished() {
        name.push_str(&format!(" ({place})"));
    }
    name
}

/// Settings in which the groups differ: `section.key` and each group's value.
pub fn differences(groups: &[Group]) -> Vec<(String, Vec<String>)> {
    let all: Vec<Vec<(String, String)>> = groups.iter().map(|g| g.runs[0].settings()).collect();
    let mut places: Vec<&String> = all.iter().flatten().map(|(place, _)| place).collect();
    places.sort();
    places.dedup();
    places
        .into_iter()
        .map(|place| {
            let value = |settings: &Vec<(String, String)>| {
                settings.iter().find(|s| s.0 == *place).map_or(String::new(), |s| s.1.clone())
            };
            (place.clone(), all.iter().map(value).collect::<Vec<_>>())
        })
        .filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

/// The data of all groups, each once.
pub fn datasets(groups: &[Group]) -> Vec<&DatasetFacts> {
    let mut all: Vec<&DatasetFacts> = Vec::new();
    for facts in groups.iter().flat_map(|g| &g.runs).filter_map(|r| r.dataset.as_ref()) {
        if !all.iter().any(|known| known.sha256 == facts.sha256 && known.name == facts.name) {
            all.push(facts);
        }
    }
    all
}

/// Mean and smallest and largest over seeds of one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean over seeds.
    pub mean: f64,
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        Some(Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// Figures of one run's online phase, in one unit (score or return). The evaluation before the first environment step
/// measures the offline policy: it is the switch, and in no mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OnlineFigures {
    /// The evaluation before the first environment step.
    pub switch: Option<f64>,
    /// Lowest evaluation, the switch included.
    pub lowest: Option<f64>,
    /// Mean of the last [`LAST`] evaluations.
    pub last: Option<f64>,
    /// Mean of the evaluations in (0, [`WINDOW`]], as far as the run has come.
    pub window: Option<f64>,
}

impl OnlineFigures {
    /// Of what `value` takes from the online evaluations of a run.
    pub fn of(evaluations: &[Evaluation], value: impl Fn(&Evaluation) -> Option<f64>) -> Self {
        let online = evaluations.iter().filter(|e| e.stamp.phase == Phase::Online);
        let all: Vec<(u64, f64)> = online.filter_map(|e| Some((e.stamp.env_step, value(e)?))).collect();
        let after: Vec<f64> = all.iter().filter(|(step, _)| *step > 0).map(|(_, x)| *x).collect();
        let early = all.iter().filter(|(step, _)| (1..=WINDOW).contains(step));
        let early: Vec<f64> = early.map(|(_, x)| *x).collect();
        Self {
            switch: all.first().filter(|(step, _)| *step == 0).map(|(_, x)| *x),
            lowest: all.iter().map(|(_, x)| *x).reduce(f64::min),
            last: mean(&after[after.len().saturating_sub(LAST)..]),
            window: mean(&early),
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    Spread::of(values).map(|s| s.mean)
}

/// The figures of one group in the table of results, in one unit (score or return).
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Mean of the last [`LAST`] offline evaluations.
    pub offline: Option<Spread>,
    /// The evaluation before the first environment step.
    pub switch: Option<Spread>,
    /// Lowest online evaluation.
    pub lowest: Option<Spread>,
    /// Mean of the last [`LAST`] online evaluations.
    pub online: Option<Spread>,
    /// Mean of the online evaluations in (0, [`WINDOW`]].
    pub window: Option<Spread>,
    /// The very last evaluation.
    pub last: Option<Spread>,
    /// The best evaluation, for the record only.
    pub best: Option<Spread>,
}

impl Group {
    /// Table figures of what `value` takes from an evaluation.
    pub fn result(&self, value: impl Fn(&Evaluation) -> Option<f64>) -> Figures {
        let over_seeds = |figure: &dyn Fn(&Run) -> Option<f64>| {
            let values: Vec<f64> = self.runs.iter().filter_map(figure).collect();
            Spread::of(&values)
        };
        let online = |run: &Run| OnlineFigures::of(&run.evaluations, &value);
        let offline = |run: &Run| {
            let all: Vec<f64> = run.phase(Phase::Offline).filter_map(&value).collect();
            mean(&all[all.len().saturating_sub(LAST)..])
        };
        Figures {
            offline: over_seeds(&offline),
            switch: over_seeds(&|r| online(r).switch),
            lowest: over_seeds(&|r| online(r).lowest),
            online: over_seeds(&|r| online(r).last),
            window: over_seeds(&|r| online(r).window),
            last: over_seeds(&|r| r.evaluations.iter().filter_map(&value).next_back()),
            best: over_seeds(&|r| {
                Spread::of(&r.evaluations.iter().filter_map(&value).collect::<Vec<_>>()).map(|s| s.high)
            }),
        }
    }

    /// The group's curves, one per seed.
    pub(super) fn curves(&self, value: impl Fn(&Evaluation) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
        self.runs.iter().map(|r| r.curve(&value)).collect()
    }
}

/// Whether every evaluation of every run has a normalised score.
pub fn scored(groups: &[Group]) -> bool {
    let mut evaluations = groups.iter().flat_map(|g| &g.runs).flat_map(|r| &r.evaluations).peekable();
    evaluations.peek().is_some() && evaluations.all(|e| e.score.is_some())
}
