//! Runs put together by experiment, and their figures.

use std::collections::BTreeSet;

use super::run::{DATA, Run};
use super::standing::State;
use crate::train::Method;
use crate::train::metrics::{DatasetFacts, Evaluation, Phase};
use indicatif::HumanCount;

/// How many evaluations at the end of a phase make its headline figure. Never the best one.
pub const LAST: usize = 5;

/// Environment steps over which BAQ's paper scores fine-tuning: "the initial 30,000 steps", which may mean the evaluations
/// at their end or all of them.
pub const WINDOW: u64 = 30_000;

/// Runs that differ by their seed only.
#[derive(Debug, Clone)]
pub struct Group {
    /// Short name in legends and tables.
    pub label: String,
    /// The runs, by seed.
    pub runs: Vec<Run>,
}

/// Settings that the name of a group has already.
const IN_BASE: [&str; 5] = ["run.algo", "run.adapt", "run.generator", "run.env", DATA];

/// Puts runs together that differ by their seed only, in the order of their first run.
pub fn group(runs: Vec<Run>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        // What is fine-tuned has the settings of what it began with.
        let key = |run: &Run| (run.settings(), run.standing.phase);
        let mine = key(&run);
        match groups.iter_mut().find(|g| key(&g.runs[0]) == mine) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { label: String::new(), runs: vec![run] }),
        }
    }
    let mut groups: Vec<Group> = groups.into_iter().flat_map(by_origin).collect();
    let labels = labels(&groups);
    for (group, label) in groups.iter_mut().zip(labels) {
        group.label = label;
        group.runs.sort_by_key(|r| r.option("run", "seed").parse::<u64>().unwrap_or(u64::MAX));
    }
    groups
}

/// One group of runs for each origin, where a seed has several of them, as a run and its own continuation. Origins of other
/// seeds may have stopped where they had learnt enough.
fn by_origin(group: Group) -> Vec<Group> {
    let place = |run: &Run| (run.option("run", "seed"), run.origin());
    let again = |a: &Run, b: &Run| place(a).0 == place(b).0 && place(a).1 != place(b).1;
    if !group.runs.iter().any(|a| group.runs.iter().any(|b| again(a, b))) {
        return vec![group];
    }
    let mut parts: Vec<Group> = Vec::new();
    for run in group.runs {
        match parts.iter_mut().find(|part| part.runs[0].origin() == run.origin()) {
            Some(part) => part.runs.push(run),
            None => parts.push(Group { label: String::new(), runs: vec![run] }),
        }
    }
    parts
}

/// Names of the groups: algorithm and adaptation, data and environment where there are several, and what else tells them
/// apart where that is not enough.
fn labels(groups: &[Group]) -> Vec<String> {
    let several =
        |of: &dyn Fn(&Run) -> String| groups.iter().any(|g| of(&g.runs[0]) != of(&groups[0].runs[0]));
    let (data, env) = (several(&Run::data), several(&|run| run.option("run", "env")));
    // Beside what was fine-tuned, what was not says so.
    let phase = |g: &Group| g.runs[0].standing.phase;
    let online = groups.iter().any(|g| phase(g) == Phase::Online);
    let suffix = |g: &Group| if online && phase(g) == Phase::Offline { ", offline" } else { "" };
    let bases: Vec<String> = groups.iter().map(|g| base(&g.runs[0], data, env) + suffix(g)).collect();
    let differing = differences(groups);
    let label = |i: usize| {
        let mut twins: Vec<usize> = (0..bases.len()).filter(|j| *j != i && bases[*j] == bases[i]).collect();
        let mut label = bases[i].clone();
        // As many settings as tell it from all of them. Two files of one name are told apart by their checksums.
        for (place, values) in differing.iter().filter(|(p, _)| !IN_BASE.contains(&p.as_str()) || p == DATA) {
            let before = twins.len();
            twins.retain(|j| values[*j] == values[i]);
            if twins.len() < before {
                let key = place.split_once('.').map_or(place.as_str(), |p| p.1);
                label += &format!(", {key} {}", if values[i].is_empty() { "\u{2013}" } else { &values[i] });
            }
        }
        label
    };
    (0..groups.len()).map(label).collect()
}

/// Algorithm, adaptation and generator of a run, with its data and environment if they are asked for.
fn base(run: &Run, with_data: bool, with_env: bool) -> String {
    let [algo, adapt, generator] = ["algo", "adapt", "generator"].map(|key| run.option("run", key));
    let mut name = match run.standing.phase {
        Phase::Online => Method::new(&algo, &adapt).with(&generator).title(|key| run.option(&adapt, key)),
        Phase::Offline => algo,
    };
    let (data, env) = (run.data(), run.option("run", "env"));
    if with_data && !data.is_empty() {
        name.push_str(&format!(" on {data}"));
    }
    if with_env && !env.is_empty() {
        name.push_str(&format!(" in {env}"));
    }
    name
}

/// Settings in which the groups differ: `section.key` and each group's value.
pub fn differences(groups: &[Group]) -> Vec<(String, Vec<String>)> {
    let of = |run: &Run| [run.settings(), vec![("run.origin".into(), run.origin())]].concat();
    let all: Vec<Vec<(String, String)>> = groups.iter().map(|g| of(&g.runs[0])).collect();
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

/// The data that all runs may be compared with: the only ones there are, of the only task.
pub(super) fn common_data(groups: &[Group]) -> Option<&DatasetFacts> {
    let [facts] = datasets(groups)[..] else { return None };
    let mut tasks = groups.iter().flat_map(|g| &g.runs).map(|run| run.option("run", "env"));
    let first = tasks.next()?;
    tasks.all(|task| task == first).then_some(facts)
}

/// The data and environments of all groups as the end of a title: `: hopper-medium, hopper-v4`; empty if nothing is known.
pub(super) fn place<'a>(groups: impl IntoIterator<Item = &'a Group>) -> String {
    let all: Vec<&Run> = groups.into_iter().flat_map(|g| &g.runs).collect();
    let runs = || all.iter().copied();
    let mut names: Vec<String> = Vec::new();
    for name in runs().map(Run::data).chain(runs().map(|run| run.option("run", "env"))) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
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
    /// How many these are: fewer in a short run.
    pub last_count: usize,
    /// Mean of the evaluations in (0, [`WINDOW`]], as far as the run has come.
    pub window: Option<f64>,
    /// How many these are.
    pub window_count: usize,
    /// Environment steps before the last of them.
    pub window_end: u64,
}

impl OnlineFigures {
    /// Of what `value` takes from the online evaluations of a run.
    pub fn of<'a>(
        evaluations: impl IntoIterator<Item = &'a Evaluation>,
        value: impl Fn(&Evaluation) -> Option<f64>,
    ) -> Self {
        let online = evaluations.into_iter().filter(|e| e.stamp.phase == Phase::Online);
        let all: Vec<(u64, f64)> = online.filter_map(|e| Some((e.stamp.env_step, value(e)?))).collect();
        let after: Vec<f64> = all.iter().filter(|(step, _)| *step > 0).map(|(_, x)| *x).collect();
        let last = &after[after.len().saturating_sub(LAST)..];
        let early = all.iter().filter(|(step, _)| (1..=WINDOW).contains(step));
        let (steps, early): (Vec<u64>, Vec<f64>) = early.copied().unzip();
        Self {
            switch: all.first().filter(|(step, _)| *step == 0).map(|(_, x)| *x),
            lowest: all.iter().map(|(_, x)| *x).reduce(f64::min),
            last: mean(last),
            last_count: last.len(),
            window: mean(&early),
            window_count: early.len(),
            window_end: steps.last().copied().unwrap_or(0),
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
    /// Runs that are not all there, as words: `running, 1,250 of 3,000 updates`; of several seeds which ones.
    pub fn unfinished(&self) -> Option<String> {
        let open: Vec<&Run> = self.runs.iter().filter(|r| !r.standing.is_finished()).collect();
        let words = |state: State| {
            let runs: Vec<&&Run> = open.iter().filter(|r| r.standing.state == state).collect();
            let (first, last) = (runs.first()?, runs.last()?);
            let s = first.standing;
            let (least, most) = runs.iter().fold((u64::MAX, 0), |(least, most), r| {
                (least.min(r.standing.done), most.max(r.standing.done))
            });
            let seeds: Vec<String> = runs.iter().map(|r| r.option("run", "seed")).collect();
            let progress = match least == most {
                true => last.standing.progress(),
                false => format!("{} to {}", HumanCount(least), last_at(most, s)),
            };
            Some(match self.runs.len() {
                1 => format!("{}, {progress}", state.word()),
                _ => format!("seed {} {}, {progress}", seeds.join(", "), state.word()),
            })
        };
        let states = [State::Running, State::Stopped, State::Diverged];
        let parts: Vec<String> = states.into_iter().filter_map(words).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Its name in legends: how many seeds, and which of them are not all there.
    pub fn legend(&self) -> String {
        let seeds: BTreeSet<String> = self.runs.iter().map(|r| r.option("run", "seed")).collect();
        let seeds = match (self.runs.len(), seeds.len()) {
            (1, _) => None,
            (n, seeds) if n == seeds => Some(format!("{n} seeds")),
            (n, seeds) => Some(format!("{n} runs, different seeds: {seeds}")),
        };
        let more: Vec<String> = seeds.into_iter().chain(self.unfinished()).collect();
        if more.is_empty() { self.label.clone() } else { format!("{} ({})", self.label, more.join("; ")) }
    }

    /// How many of its runs take part in means.
    pub fn evaluated(&self) -> usize {
        self.runs.iter().filter(|r| !r.evaluations.is_empty()).count()
    }

    /// The runs that take part in means: those with an evaluation. Where one goes on or was stopped, all of them up to the last
    /// evaluation that they have in common, as there is no mean over seeds at different progress.
    fn compared(&self) -> Vec<Vec<&Evaluation>> {
        let begun = || self.runs.iter().filter(|r| !r.evaluations.is_empty());
        let at = |e: &Evaluation| (e.stamp.phase, e.stamp.unit());
        let end = begun().filter_map(|r| r.evaluations.last().map(at)).min();
        let end = end.filter(|_| begun().any(|r| !r.standing.is_finished()));
        let cut = |e: &&Evaluation| end.is_none_or(|end| at(e) <= end);
        begun().map(|r| r.evaluations.iter().filter(cut).collect()).collect()
    }

    /// Table figures of what `value` takes from an evaluation.
    pub fn result(&self, value: impl Fn(&Evaluation) -> Option<f64>) -> Figures {
        let compared = self.compared();
        let over_seeds = |figure: &dyn Fn(&[&Evaluation]) -> Option<f64>| {
            let values: Vec<f64> = compared.iter().filter_map(|all| figure(all)).collect();
            Spread::of(&values)
        };
        let online = |all: &[&Evaluation]| OnlineFigures::of(all.iter().copied(), &value);
        let offline = |all: &[&Evaluation]| {
            let offline = all.iter().filter(|e| e.stamp.phase == Phase::Offline);
            let all: Vec<f64> = offline.filter_map(|e| value(e)).collect();
            mean(&all[all.len().saturating_sub(LAST)..])
        };
        Figures {
            offline: over_seeds(&offline),
            switch: over_seeds(&|all| online(all).switch),
            lowest: over_seeds(&|all| online(all).lowest),
            online: over_seeds(&|all| online(all).last),
            window: over_seeds(&|all| online(all).window),
            last: over_seeds(&|all| all.iter().filter_map(|e| value(e)).next_back()),
            best: over_seeds(&|all| all.iter().filter_map(|e| value(e)).reduce(f64::max)),
        }
    }
}

/// The progress of a run as if it had come so far.
fn last_at(done: u64, standing: super::standing::Standing) -> String {
    super::standing::Standing { done, ..standing }.progress()
}

/// Whether every evaluation of every run has a normalised score.
pub fn scored(groups: &[Group]) -> bool {
    let mut evaluations = groups.iter().flat_map(|g| &g.runs).flat_map(|r| &r.evaluations).peekable();
    evaluations.peek().is_some() && evaluations.all(|e| e.score.is_some())
}
