//! From a file to what training reads: scaled columns, and the constants that scale the environment alike.
//! Above 400 lines because what a file is, what is unusual in it and what losses read of it are one way.

use std::path::Path;

use baq_datasets::inspect::{self, Expected, Summary};
use baq_datasets::scale::{ActionBounds, ObservationScale, RewardScale, RewardTransform};
use baq_datasets::{
    ARRAYS, Columns, EMBEDDED_HOPPER, Ending, Options, Recording, Source, TimeLimit, d4rl, embedded_hopper,
    episodes, returns, scale, scores,
};
use baq_kernels::digest::join;
use ndarray::{Array1, Array2, s};

use super::error::TrainError;
use super::metrics::DatasetFacts;
use super::shelf::{Shelf, Volume};
use crate::adapt::Method;
use crate::algo::{self, Failed, Learner, ReturnToGo};
use crate::config::{
    AuditConfig, AutoOr, Config, DataConfig, DataMode, ObservationScaling, RewardScaling, RunConfig,
};
use crate::env::{self, Spec};
use crate::replay::pools::{OFFLINE, ONLINE};
use crate::replay::{self, Layout, Pools};

/// Name that stands for the slice of rollouts inside the program.
pub const EMBEDDED: &str = "embedded";

/// Transforms between an environment and the networks, fixed by the offline data.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// of states
    pub observation: ObservationScale,
    /// of rewards
    pub reward: RewardScale,
    /// what the ends of [-1, 1] stand for in the actions of data that have been rescaled, or whose space is another one
    pub action: Option<ActionBounds>,
}

/// Offline data, ready to train on.
pub struct Dataset {
    /// scaled transitions
    pub columns: Columns,
    /// return of each of their episodes, of rewards as recorded: the scale may turn their order around
    pub returns: Vec<f64>,
    /// what scaled them
    pub scales: Scales,
    /// for the report; all empty without data
    pub facts: DatasetFacts,
    /// checksums of the transitions as they were read; only for a run with a ledger
    pub rows: Vec<u64>,
    /// where its rows are shared with other runs, if they are
    pub shelf: Option<Shelf>,
}

/// Reads and scales the data of a configuration. One that names none gets a dataset without rows and facts if
/// its algorithm can do without; anything else is an error, as are other data than those of a stated checksum.
pub fn load(config: &Config) -> Result<Dataset, TrainError> {
    let (run, data): (RunConfig, DataConfig) = (config.section(), config.section());
    match run.dataset.as_str() {
        "" => {
            let columns = nothing(&run, &data)?;
            check(config, "no data", "none")?;
            scaled(config, columns, DatasetFacts::default(), None)
        }
        file => of_recording(config, read(Path::new(file), data.clip_actions)?),
    }
}

/// Scales data that are already read as a configuration says. Errors: other data than those of a stated checksum;
/// an environment that is not known or does not
/// answer; those of [`summarise`]; no transition left, timeouts to be kept without next observations, `return_range` of
/// returns that are all equal.
pub fn of_recording(config: &Config, recording: Recording) -> Result<Dataset, TrainError> {
    let (run, data): (RunConfig, DataConfig) = (config.section(), config.section());
    check(config, &recording.source.path, &recording.source.sha256)?;
    let spec = if run.env.is_empty() { None } else { Some(env::spec(&run.env)?) };
    let (summary, options) = summarise(&recording, Path::new(&run.dataset), spec, &data)?;
    let mut facts = DatasetFacts::of(&summary);
    facts.notes.extend(unusual(&summary, &run, data.mode));
    let mut action = recording.action_bounds.clone();
    if let Some(space) = recording.action_space.as_ref().filter(|space| action.is_none() && !space.is_unit())
    {
        facts.notes.push(format!(
            "actions are in the unit of their space, {space}, of which policies reach [-1, 1]; baq data convert --rescale-actions makes all of it theirs"
        ));
        action = Some(ActionBounds::unit(recording.act_dim()));
    }
    scaled(config, recording.into_columns(&options)?, facts, action)
}

fn scaled(
    config: &Config,
    mut columns: Columns,
    facts: DatasetFacts,
    action: Option<ActionBounds>,
) -> Result<Dataset, TrainError> {
    let data: DataConfig = config.section();
    let audit: AuditConfig = config.section();
    let rows = if audit.ledger { checksums(&columns) } else { Vec::new() };

    let transform = match data.reward_scaling {
        RewardScaling::None => RewardTransform::None,
        RewardScaling::ReturnRange => RewardTransform::ReturnRange,
        RewardScaling::Affine => {
            RewardTransform::Affine { scale: data.reward_scale as f32, shift: data.reward_bias as f32 }
        }
    };
    let scales = Scales {
        observation: match data.observation_scaling {
            ObservationScaling::None => ObservationScale::identity(columns.obs_dim()),
            ObservationScaling::Standardise => ObservationScale::fit(columns.observations.view()),
        },
        reward: RewardScale::fit(transform, &columns)?,
        action,
    };
    let returns = returns::episode_returns(&columns);
    for states in [&mut columns.observations, &mut columns.next_observations] {
        scales.observation.apply(states.as_slice_mut().expect("invariant: columns are dense"));
    }
    columns.rewards.mapv_inplace(|r| scales.reward.apply(r));
    scale::clip_actions(&mut columns.actions, 1.0 - data.action_clip as f32);
    Ok(Dataset { columns, returns, scales, facts, rows, shelf: None })
}

/// A checksum of every transition.
fn checksums(c: &Columns) -> Vec<u64> {
    let masks = c.masks();
    let add = |sum: u64, x: &f32| join(sum, u64::from(x.to_bits()));
    (0..c.len())
        .map(|i| {
            let sum = [c.observations.row(i), c.actions.row(i), c.next_observations.row(i)]
                .iter()
                .fold(0, |sum, part| part.iter().fold(sum, add));
            add(add(sum, &c.rewards[i]), &masks[i])
        })
        .collect()
}

/// The rows of a run without data.
fn nothing(run: &RunConfig, data: &DataConfig) -> Result<Columns, TrainError> {
    let refuse = |why: String| Err(TrainError::Input(why));
    if Method::new(&run.algo, &run.adapt).algorithm()?.needs_data {
        let able: Vec<&str> = algo::all().filter(|e| !e.needs_data).map(|e| e.name).collect();
        return refuse(format!(
            "no dataset: {} learns from recorded transitions; name some with --data FILE, or --data embedded for the slice inside the program (in an environment alone learn: {})",
            run.algo,
            able.join(", "),
        ));
    }
    if run.env.is_empty() {
        return refuse(format!(
            "neither dataset nor environment: {} learns in one without data, name it with --env, as in hopper-v4, or give a file with --data FILE",
            run.algo,
        ));
    }
    if data.observation_scaling != ObservationScaling::None {
        return refuse(
            "data.observation_scaling: expected none without data, got standardise; there is nothing to take mean and spread from"
                .into(),
        );
    }
    if data.reward_scaling == RewardScaling::ReturnRange {
        return refuse(
            "data.reward_scaling: expected none or affine without data, got return_range; there are no returns to take the range of"
                .into(),
        );
    }
    if data.max_episode_steps != AutoOr::Auto {
        return refuse(
            "data.max_episode_steps: expected data whose episodes it ends, got none; it is no limit of the environment".into(),
        );
    }
    let spec = env::spec(&run.env)?;
    Ok(Columns {
        observations: Array2::zeros((0, spec.obs_dim)),
        actions: Array2::zeros((0, spec.act_dim)),
        next_observations: Array2::zeros((0, spec.obs_dim)),
        rewards: Array1::zeros(0),
        endings: Vec::new(),
        action_log_probs: None,
        source: Source::in_memory("<none>"),
    })
}

/// All rows of a file, of a Minari folder, or of the slice inside the program. Errors: [`ARRAYS`], which cannot be read
/// again; a file that cannot be read, lacks a column, or has numbers that are not finite or, unless they are clipped,
/// actions outside [-1, 1].
pub fn read(file: &Path, clip_actions: bool) -> Result<Recording, TrainError> {
    if file == Path::new(ARRAYS) {
        return Err(TrainError::Input(format!(
            "{ARRAYS}: expected data that can be read again, got a run on arrays of the program that began it; begin it again there, or give it a data file"
        )));
    }
    Ok(match file == Path::new(EMBEDDED) {
        true => d4rl::read_bytes(EMBEDDED_HOPPER, embedded_hopper(), clip_actions)?,
        false => baq_datasets::read_recording(file, &Options { clip_actions, ..Options::default() })?,
    })
}

/// What is in a recording, and how its rows become transitions. `asked` is the environment that it must fit; without
/// one the file's own counts, if it fits. The one place where a data file's numbers come from. Errors: widths that are
/// not those of `asked`, a next state that training needs and that is not finite.
pub fn summarise(
    recording: &Recording,
    file: &Path,
    asked: Option<&'static Spec>,
    data: &DataConfig,
) -> Result<(Summary, Options), TrainError> {
    let fits = |s: &&Spec| (s.obs_dim, s.act_dim) == (recording.obs_dim(), recording.act_dim());
    let spec = asked.or_else(|| Task::of(file).known().filter(fits));
    let options = Options {
        mode: match data.mode {
            DataMode::Episodes => baq_datasets::Mode::Episodes,
            DataMode::NextObservations => baq_datasets::Mode::NextObservations,
            DataMode::D4rl => baq_datasets::Mode::D4rl,
        },
        keep_timeout_transitions: data.keep_timeout_transitions,
        clip_actions: data.clip_actions,
        time_limit: match (data.max_episode_steps, spec) {
            (AutoOr::Value(steps), _) => TimeLimit::Asked(usize::try_from(steps).unwrap_or(usize::MAX)),
            (AutoOr::Auto, Some(spec)) => TimeLimit::OfTask(spec.max_episode_steps),
            (AutoOr::Auto, None) => TimeLimit::Unknown,
        },
    };
    let expected = spec.map(|s| Expected { env: s.id, obs_dim: s.obs_dim, act_dim: s.act_dim });
    Ok((inspect::summarize(recording, &options, expected)?, options))
}

/// The task that a data file tells, by what it records (Minari) or by its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// One of this program's environments.
    Known(&'static Spec),
    /// Recorded, but none of this program's environments.
    Foreign(String),
    /// Nothing tells.
    Unknown,
}

impl Task {
    /// Reads metadata at most. Files that cannot be read tell nothing here.
    pub fn of(file: &Path) -> Task {
        if file == Path::new(EMBEDDED) {
            return env::spec("hopper-v4").map_or(Task::Unknown, Task::Known);
        }
        if let Some(id) = baq_datasets::recorded_env(file) {
            return env::spec(&id).map_or(Task::Foreign(id), Task::Known);
        }
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let names = [name, baq_datasets::short_name(file)].map(|n| n.to_lowercase());
        env::of_score(|task| names.iter().any(|n| scores::names(n, task))).map_or(Task::Unknown, Task::Known)
    }

    /// The environment, if it is one of this program's.
    pub fn known(&self) -> Option<&'static Spec> {
        match self {
            Task::Known(spec) => Some(spec),
            Task::Foreign(_) | Task::Unknown => None,
        }
    }
}

/// What a user has to know about the data of a run before believing its results.
fn unusual(summary: &Summary, run: &RunConfig, mode: DataMode) -> Vec<String> {
    let mut notes = Vec::new();
    let seams = summary.n_seams;
    if mode == DataMode::D4rl && summary.n_crossed_by_d4rl > 0 {
        notes.push(format!(
            "data.mode=d4rl crosses {} unflagged ends of episodes: there s' is the beginning of another one; data.mode=episodes does not",
            summary.n_crossed_by_d4rl
        ));
    } else if seams > 0 && !summary.has_groups {
        notes.push(format!(
            "{seams} episodes end without a flag, seen by their next observations; no transition crosses"
        ));
    }
    if let (true, Some(limit)) = (summary.n_counted_out > 0 || !summary.has_timeouts, summary.assumed_limit())
    {
        notes.push(format!("time limit: {limit}"));
    }
    if let Some(bounds) = &summary.action_bounds {
        notes.push(format!("actions have been rescaled: [-1, 1] stands for {bounds}, also of the policy"));
    }
    if let (true, Task::Foreign(id)) = (run.env.is_empty(), Task::of(Path::new(&run.dataset))) {
        let known: Vec<&str> = env::ids().collect();
        notes.push(format!(
            "recorded in {id}, which is none of this program's environments, so nothing is evaluated; --env names one of {}",
            known.join(", ")
        ));
    }
    notes
}

/// Columns of the data beside s, a, r, m, s' that losses read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded {
    /// [`replay::RETURN_TO_GO`], by this rule
    pub return_to_go: Option<ReturnToGo>,
    /// [`replay::NEXT_ACTION`]
    pub next_action: bool,
}

impl Recorded {
    /// What the losses of offline training read.
    pub fn offline(learner: &dyn Learner) -> Recorded {
        Recorded { next_action: learner.next_action(), ..Recorded::online(learner) }
    }

    /// What those of fine-tuning read.
    pub fn online(learner: &dyn Learner) -> Recorded {
        Recorded { return_to_go: learner.return_to_go(), next_action: false }
    }

    /// Names and floats per row, for actions of `a` numbers.
    pub fn columns(&self, a: usize) -> Vec<(&'static str, usize)> {
        let returns = self.return_to_go.map(|_| (replay::RETURN_TO_GO, 1));
        returns.into_iter().chain(self.next_action.then_some((replay::NEXT_ACTION, a + 1))).collect()
    }
}

/// An error if the configuration states another checksum than that of these data.
pub(super) fn check(config: &Config, name: &str, sha256: &str) -> Result<(), TrainError> {
    let expected = config.section::<RunConfig>().dataset_sha256;
    if expected.is_empty() || expected == sha256 {
        return Ok(());
    }
    Err(TrainError::Input(format!(
        "{name}: the run was configured for data with sha256 {expected}, got {sha256}; give the same file again, by --data where the command takes it"
    )))
}

impl Dataset {
    /// The configuration with the checksum of these data.
    pub fn pin(&self, config: &Config) -> Config {
        let mut config = config.clone();
        let run: RunConfig = config.section();
        config.put(RunConfig { dataset_sha256: self.facts.sha256.clone(), ..run });
        config
    }

    /// How many transitions there are; `None` of a run without data.
    pub fn transitions(&self) -> Option<usize> {
        (!self.is_absent()).then(|| self.columns.len())
    }

    /// Whether the run has no data. What is read from a file has rows.
    pub fn is_absent(&self) -> bool {
        self.columns.is_empty()
    }

    /// The reward of every row of an episode that fails for ever, if these data have such episodes.
    pub fn failing(&self, rule: ReturnToGo) -> Option<f32> {
        let c = &self.columns;
        let (lowest, highest) =
            c.rewards.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), r| (lo.min(*r), hi.max(*r)));
        let sparse = || {
            // The failing reward comes again and again; two rows with two rewards tell nothing.
            let recurs = c.rewards.iter().filter(|r| **r == lowest).nth(1).is_some();
            let goals = lowest < highest || !c.endings.contains(&Ending::Terminated);
            recurs && goals && c.rewards.iter().all(|r| *r == lowest || *r == highest)
        };
        let perpetual = match rule.failed {
            Failed::Auto => sparse(),
            Failed::Perpetual => true,
            Failed::Sum => false,
        };
        (lowest < 0.0 && perpetual).then_some(lowest)
    }

    /// The return to go of every row in its own episode.
    fn returns_to_go(&self, rule: ReturnToGo) -> Array1<f32> {
        let c = &self.columns;
        let mut returns = returns::returns_to_go(c, rule.discount);
        if let Some(failing) = self.failing(rule) {
            let perpetual = (f64::from(failing) / (1.0 - rule.discount)) as f32;
            for episode in episodes::of(c) {
                if episode.rows.clone().all(|i| c.rewards[i] == failing) {
                    episode.rows.for_each(|i| returns[i] = perpetual);
                }
            }
        }
        returns
    }

    /// Of every row what [`replay::NEXT_ACTION`] holds.
    fn next_actions(&self) -> Array2<f32> {
        let (c, a) = (&self.columns, self.columns.act_dim());
        let mut next = Array2::zeros((c.len(), a + 1));
        for episode in episodes::of(c) {
            for i in episode.rows.start..episode.rows.end - 1 {
                next.slice_mut(s![i, ..a]).assign(&c.actions.row(i + 1));
                next[[i, a]] = 1.0;
            }
        }
        next
    }

    /// The transitions `rows`, and room for collected ones, `capacity` together if that is more; with these further columns.
    /// Errors: those of [`Dataset::pools_beside`].
    pub fn pools(
        &self,
        rows: &[usize],
        capacity: usize,
        annotated: &[&str],
        recorded: Recorded,
    ) -> Result<Pools, TrainError> {
        self.pools_beside(rows, (capacity, &[]), annotated, recorded)
    }

    /// The same with empty pools (name, capacity) for generated rows. All rows are shared where the data are, unless the run
    /// writes columns of them; a part of them is drawn with the run's seed, so that no other run would read it. Errors:
    /// none today, the offline pool has room for all `rows`.
    pub fn pools_beside(
        &self,
        rows: &[usize],
        (capacity, generated): (usize, &[(&'static str, usize)]),
        annotated: &[&str],
        recorded: Recorded,
    ) -> Result<Pools, TrainError> {
        let c = &self.columns;
        let mut extra = recorded.columns(c.act_dim());
        extra.extend(annotated.iter().map(|n| (*n, 1)));
        let layout = Layout::transitions(c.obs_dim(), c.act_dim(), &extra);
        let room = capacity.max(rows.len()).max(1) - rows.len();
        let sizes = [&[(OFFLINE, rows.len()), (ONLINE, room)], generated].concat();
        let whole = !rows.is_empty() && rows.iter().copied().eq(0..c.len());
        let Some(shelf) = self.shelf.as_ref().filter(|_| whole && annotated.is_empty()) else {
            return self.filled(Pools::new(layout, &sizes), rows, recorded);
        };
        let words = format!("{layout:?} {:?}", recorded.return_to_go);
        let floats = layout.stride() * sizes.iter().map(|(_, rows)| rows).sum::<usize>();
        let volume = shelf.volume(("rows", &words), floats, || {
            let pools = self.filled(Pools::new(layout.clone(), &sizes[..1]), rows, recorded)?;
            Ok(Volume { floats: pools.into_memory(), text: String::new() })
        })?;
        Ok(Pools::holding(layout, &sizes, volume.floats))
    }

    /// Puts the transitions `rows` into the offline pool.
    fn filled(&self, mut pools: Pools, rows: &[usize], recorded: Recorded) -> Result<Pools, TrainError> {
        let c = &self.columns;
        let matrix = |m: &Array2<f32>| -> Vec<f32> { rows.iter().flat_map(|&i| m.row(i).to_vec()).collect() };
        let vector = |v: &Array1<f32>| -> Vec<f32> { rows.iter().map(|&i| v[i]).collect() };
        let returns = recorded.return_to_go.map(|rule| vector(&self.returns_to_go(rule)));
        let next = recorded.next_action.then(|| matrix(&self.next_actions()));
        let (s, a, s2) = (matrix(&c.observations), matrix(&c.actions), matrix(&c.next_observations));
        let (r, m) = (vector(&c.rewards), vector(&c.masks()));
        let mut columns: Vec<(&str, &[f32])> =
            vec![(replay::S, &s), (replay::A, &a), (replay::R, &r), (replay::M, &m), (replay::S2, &s2)];
        columns.extend(returns.as_deref().map(|g| (replay::RETURN_TO_GO, g)));
        columns.extend(next.as_deref().map(|a| (replay::NEXT_ACTION, a)));
        pools.load(OFFLINE, rows.len(), &columns)?;
        Ok(pools)
    }
}

impl Scales {
    /// An observation of the environment as the networks see it.
    pub fn state(&self, observation: &[f64], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(observation) {
            *o = *x as f32;
        }
        self.observation.apply(out);
    }
}
