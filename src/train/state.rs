//! The training state in one file: the smallest set from which the next round is determined.
//!
//! | tensor | what |
//! |---|---|
//! | `q.0.layer1.weight`, ... | parameters, targets and frozen models included, `[K, N]` |
//! | `adam.first.*`, `adam.second.*` | moments of the groups that have been trained; the others' are 0 |
//! | `adam.steps` | steps of every group, in the order of the metadata `groups` |
//! | `best.*` | parameters, moments and steps at the smallest held-out loss so far, if they are not the present ones |
//! | `dims` | S, A |
//! | `counters` | `round`, `offline_rounds`, `env_step`, `episode`, `episode_step`, `evaluations`, `best_round`, `phase`, `fitted` |
//! | `credit` | `credit`, `best_loss`, `episode_return`, `last_return` |
//! | `credit.actor` | `actor_credit` |
//! | `updates` | `critic_updates`, `actor_updates` |
//! | `scale.observation.mean`, `.std`, `scale.reward` | transforms of the data, also applied online; the reward's as factor and addend |
//! | `scale.action` | `[2, A]`, what -1 and 1 stand for in every action, of data that were rescaled or have another space |
//! | `replay.*`, `env.*` | online phase only: collected rows, environment |
//! | `generator.*` | with a generator only: its rounds, how many rows it has put where, what they were normalised by |
//! | `ledger.position`, `ledger.chain` | with a ledger only: its records and bytes so far, its last link |
//!
//! The four after `dims` hold fields of [`Counters`] in this order; a number that is absent is NaN.
//!
//! Strings (a JSON text in the metadata, see [`container`](crate::checkpoint::container)): `format`, `config` (the resolved file), `phase`, `dataset`, `dataset.sha256`, `groups`, and what the bits
//! depend on: `isa`, `numerics`, `mujoco` (see [`Simulators`]).
//! Randomness needs nothing here: it is a function of the seed and the counters.
//!
//! Above 400 lines because what is written and how it is read back stand side by side.

use std::path::Path;

use baq_datasets::scale::{ActionBounds, ObservationScale, RewardScale};

use super::agent::Agent;
use super::believable;
use super::conditions::Simulators;
use super::counters::Counters;
use super::data::Scales;
use super::dataset_facts::DatasetFacts;
use super::error::TrainError;
use super::generated::{Generated, Scales as RowScales};
use super::plan::Work;
use super::rundir::{self, RunDir};
use crate::algo::Dims;
use crate::audit::ledger::Mark;
use crate::autodiff::Store;
use crate::checkpoint::container::{Dtype, Reader, Writer};
use crate::config::Config;
use crate::replay::pools::{OFFLINE, ONLINE, Pool, by_age};

/// Before the names of what early stopping goes back to.
const BEST: &str = "best.";
/// Before the numbers of the pools of generated rows.
const GENERATED: &str = "replay.records.generated";
/// Version of the layout.
const FORMAT: &str = "baq-checkpoint-2";
/// Version of the layout of a policy by itself, see [`super::policy`].
pub(super) const POLICY: &str = "baq-policy-1";
/// Versions that this program no longer reads.
const EARLIER: [(&str, u32); 1] = [("baq-checkpoint-1", 1)];

/// What only the online phase has.
pub struct OnlineState {
    /// rows that fit into all pools
    pub capacity: u64,
    /// rows of the offline pool
    pub offline: u64,
    /// rows ever put into the online pool
    pub pushed: u64,
    /// records of the online pool `[n, width]`, in the order of rows
    pub records: Vec<f32>,
    /// floats per record
    pub width: usize,
    /// annotated columns of the offline rows, where they move during training
    pub annotated: Vec<(&'static str, Vec<f32>)>,
    /// their means at the beginning; none where they do not move
    pub means: Vec<f64>,
    /// priorities, where they are a history instead of a function of the records
    pub priorities: Option<Priorities>,
    /// what a generator has made
    pub generated: Generated,
    /// complete state of the environment
    pub env: Vec<f64>,
    /// its last observation, unscaled
    pub observation: Vec<f64>,
}

/// Priorities that cannot be computed again.
pub struct Priorities {
    /// mass of every offline row, then of every online one
    pub leaves: Vec<f64>,
    /// that of the next new row
    pub newest: f64,
}

impl Priorities {
    /// Those of a pool's rows.
    pub fn of(&self, pool: &Pool) -> &[f64] {
        match pool.name() {
            OFFLINE => &self.leaves[..pool.len()],
            ONLINE => &self.leaves[self.leaves.len() - pool.len()..],
            _ => &[],
        }
    }
}

/// A state to be saved.
pub struct State<'a> {
    /// resolved configuration
    pub config: &'a Config,
    /// parameters and moments
    pub agent: &'a Agent,
    /// transforms
    pub scales: &'a Scales,
    /// the data
    pub dataset: &'a DatasetFacts,
    /// counters
    pub counters: &'a Counters,
    /// what the environment was simulated with
    pub simulators: &'a Simulators,
    /// what early stopping goes back to, if that is not what the agent has
    pub best: Option<&'a Store>,
    /// what the present phase is, as the plan says
    pub phase: Work,
    /// the online part
    pub online: Option<OnlineState>,
    /// where the ledger stands
    pub ledger: Option<Mark>,
}

impl State<'_> {
    /// Replaces the run's checkpoint, or leaves the old one whole; with `keep` there is one more that stays. Errors: a
    /// file cannot be written.
    pub fn save(&self, dir: &RunDir, keep: bool) -> Result<(), TrainError> {
        Ok(dir.save(&self.to_bytes(), keep.then_some((self.counters.round, self.counters.env_step)))?)
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.writer().to_bytes()
    }

    fn writer(&self) -> Writer {
        let mut w = Writer::new();
        let table = &self.agent.table;
        let stores = [("", Some(&self.agent.store)), (BEST, self.best)];
        for (prefix, store) in stores.into_iter().filter_map(|(prefix, store)| Some((prefix, store?))) {
            for id in table.ids() {
                let shape = table.param(id).shape;
                for (path, range) in table.paths(id) {
                    let i = id.index();
                    let shape = [shape.rows, shape.cols];
                    w.tensor(&format!("{prefix}{path}"), &shape, &store.values[i][range.clone()]);
                    if store.steps[table.param(id).group.index()] > 0 {
                        w.tensor(
                            &format!("{prefix}adam.first.{path}"),
                            &shape,
                            &store.first[i][range.clone()],
                        );
                        w.tensor(&format!("{prefix}adam.second.{path}"), &shape, &store.second[i][range]);
                    }
                }
            }
            w.tensor(&format!("{prefix}adam.steps"), &[store.steps.len()], &store.steps);
        }
        let groups: Vec<&str> = table.groups().iter().map(|g| g.name.as_str()).collect();
        w.text("format", FORMAT);
        w.text("groups", groups.join(" "));
        w.text("config", self.config.to_toml());
        w.text("dataset", self.dataset.name.as_str());
        w.text("dataset.sha256", self.dataset.sha256.as_str());
        w.text("isa", baq_kernels::active().isa.name());
        w.text("numerics", baq_kernels::active().arithmetic());
        w.text("mujoco", self.simulators.text());
        w.text("phase", self.phase.word());
        write_state(&mut w, self.counters, self.scales, self.agent.dims.sa());
        if let Some(o) = &self.online {
            let pointers = [o.capacity, o.offline, o.pushed];
            w.tensor("replay.pointers", &[3], pointers);
            w.tensor("replay.records", &[o.records.len() / o.width, o.width], &o.records[..]);
            for (name, values) in &o.annotated {
                w.tensor(&format!("replay.offline.{name}"), &[values.len()], &values[..]);
            }
            if !o.means.is_empty() {
                w.tensor("replay.means", &[o.means.len()], &o.means[..]);
            }
            if let Some(p) = &o.priorities {
                w.tensor("replay.priorities", &[p.leaves.len()], &p.leaves[..]);
                w.tensor("replay.newest", &[1], vec![p.newest]);
            }
            if self.agent.generator.is_some() {
                let pushed: Vec<u64> = o.generated.pools.iter().map(|(pushed, _)| *pushed).collect();
                w.tensor("generator.rounds", &[1], vec![self.counters.generator_rounds]);
                w.tensor("generator.pushed", &[pushed.len()], pushed);
                for (k, (_, records)) in o.generated.pools.iter().enumerate() {
                    w.tensor(&format!("{GENERATED}{k}"), &[records.len() / o.width, o.width], &records[..]);
                }
            }
            if let Some(RowScales { mean, std }) = &o.generated.scales {
                w.tensor("generator.scales", &[2, mean.len()], [&mean[..], &std[..]].concat());
            }
            w.tensor("env.state", &[o.env.len()], &o.env[..]);
            w.tensor("env.observation", &[o.observation.len()], &o.observation[..]);
        }
        if let Some(mark) = &self.ledger {
            w.tensor("ledger.position", &[2], vec![mark.records, mark.bytes]);
            w.tensor("ledger.chain", &[mark.chain.len()], mark.chain);
        }
        w
    }
}

/// Where a run stands, its transforms, and the widths of states and actions.
fn write_state(w: &mut Writer, c: &Counters, scales: &Scales, (s, a): (usize, usize)) {
    let (whole, real) = (c.whole(), c.real());
    w.tensor("counters", &[whole.len()], whole);
    w.tensor("credit", &[real.len()], real);
    w.tensor("credit.actor", &[1], vec![c.actor_credit]);
    w.tensor("updates", &[2], vec![c.critic_updates, c.actor_updates]);
    let scale = &scales.observation;
    w.tensor("scale.observation.mean", &[scale.mean.len()], &scale.mean[..]);
    w.tensor("scale.observation.std", &[scale.std.len()], &scale.std[..]);
    let reward = [scales.reward.scale, scales.reward.shift];
    w.tensor("scale.reward", &[2], reward);
    if let Some(bounds) = &scales.action {
        w.tensor("scale.action", &[2, a], [bounds.low(), bounds.high()].concat());
    }
    w.tensor("dims", &[2], vec![s as u64, a as u64]);
}

/// A saved state. Errors of its readers: an entry that is absent, or of another shape or type than is read.
pub struct Saved {
    reader: Reader,
    file: String,
}

impl Saved {
    /// Opens a checkpoint, or that of a run directory. Errors: those of [`Saved::acting`]; a policy by itself.
    pub fn open(path: &Path) -> Result<Saved, TrainError> {
        let saved = Saved::acting(path)?;
        if !saved.is_policy() {
            return Ok(saved);
        }
        Err(TrainError::Input(format!(
            "{}: a policy by itself ({POLICY}), with which `baq collect` and `baq evaluate` act; expected a checkpoint of format {FORMAT}, which a run leaves",
            saved.file
        )))
    }

    /// Opens what a policy can be taken from: a checkpoint, that of a run directory, or a policy file. Errors: no file
    /// there, or one that cannot be read, is damaged or of another format, or has entries that no run of this program
    /// has.
    pub fn acting(path: &Path) -> Result<Saved, TrainError> {
        let file = if path.is_dir() { path.join(rundir::CHECKPOINT) } else { path.to_path_buf() };
        if let Ok(false) = file.try_exists() {
            let got = match (path.is_dir(), path.join(rundir::CONFIG).exists()) {
                (true, true) => {
                    "a run that has written none yet; its first one comes after offline.checkpoint_every or online.checkpoint_every"
                }
                (true, false) => "a folder without one",
                (false, _) => "nothing of that name",
            };
            let what = "the directory of a run with a checkpoint, a checkpoint or a policy file";
            return Err(TrainError::Input(format!("{}: expected {what}, got {got}", path.display())));
        }
        Saved::of(Reader::open(&file)?, &file)
    }

    /// The same from bytes in memory; `label` stands for the path in messages. Errors: bytes that are damaged or of
    /// another format, or have entries that no run of this program has.
    pub fn acting_bytes(label: &str, bytes: &[u8]) -> Result<Saved, TrainError> {
        Saved::of(Reader::from_bytes(Path::new(label), bytes.to_vec())?, Path::new(label))
    }

    fn of(reader: Reader, file: &Path) -> Result<Saved, TrainError> {
        let file = file.display().to_string();
        let format = reader.find_text("format");
        if format == Some(FORMAT) || format == Some(POLICY) {
            let saved = Saved { reader, file };
            believable::check(&saved.reader, &saved.file, &saved.counters()?, !saved.is_policy())?;
            return Ok(saved);
        }
        let earlier = EARLIER.iter().find(|(name, _)| format == Some(name));
        Err(TrainError::Input(match earlier {
            Some((_, version)) => format!(
                "{file}: written by an earlier version, format {version}; expected {FORMAT}, so use the version that wrote it or train again"
            ),
            None => format!(
                "{file}: expected a checkpoint of format {FORMAT}, got {}; give the checkpoint.safetensors of a run",
                format.unwrap_or("another safetensors file"),
            ),
        }))
    }

    /// Where an interrupted run goes on: its checkpoint, if it has one. A kept one that goes further was the first half of
    /// a step that a kill has interrupted; the second is made good. Errors: those of [`Saved::open`]; a folder of kept
    /// ones that cannot be read, a checkpoint that cannot be replaced.
    pub fn last(dir: &RunDir) -> Result<Option<Saved>, TrainError> {
        let saved = match dir.file(rundir::CHECKPOINT).exists() {
            true => Some(Saved::open(dir.path())?),
            false => None,
        };
        let at = |c: Counters| (c.round, c.env_step);
        let last = saved.as_ref().map(|s| Ok::<_, TrainError>(at(s.counters()?))).transpose()?;
        match dir.last_kept()? {
            Some(path) if rundir::kept_at(&path) > last => {
                let kept = Saved::open(&path)?;
                dir.save(kept.reader.bytes(), None)?;
                Ok(Some(kept))
            }
            _ => Ok(saved),
        }
    }

    /// Opens a checkpoint whose content does not match its checksum, to find out where it was changed. Errors: it
    /// cannot be read, or has not the layout of a checkpoint.
    pub fn open_unchecked(path: &Path) -> Result<Saved, TrainError> {
        Ok(Saved { reader: Reader::open_unchecked(path)?, file: path.display().to_string() })
    }

    /// The first string, or tensor and element, in which a file differs from that of a replay. Errors: one of them
    /// cannot be read or has not the layout of a checkpoint; that of the replay is damaged.
    pub fn difference(file: &Path, replay: &Path) -> Result<Option<String>, TrainError> {
        let (ours, theirs) = (Reader::open(replay)?, Reader::open_unchecked(file)?);
        let tensors = ours.names().find_map(|name| {
            let (dtype, shape, now) = ours.raw(name).expect("invariant: listed by the file");
            let Some((other, extents, then)) = theirs.raw(name) else {
                return Some(format!("{name} is missing"));
            };
            if (dtype, shape) != (other, extents) {
                return Some(format!("{name}: expected {dtype:?} {shape:?}, got {other:?} {extents:?}"));
            }
            let size = dtype.bitsize() / 8;
            let pairs = now.chunks_exact(size).zip(then.chunks_exact(size)).enumerate();
            let (i, (now, then)) = pairs.into_iter().find(|(_, (a, b))| a != b)?;
            let text = |bytes: &[u8]| match (dtype, bytes) {
                (Dtype::F32, &[a, b, c, d]) => format!("{:?}", f32::from_le_bytes([a, b, c, d])),
                _ => bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect(),
            };
            Some(format!("{name}, element {i}: the replay gives {}, the file has {}", text(now), text(then)))
        });
        let more = || {
            let extra = theirs.names().find(|name| !ours.contains(name));
            extra.map(|name| format!("{name} should not be there"))
        };
        let strings = || {
            let (ours, theirs) = (ours.texts(), theirs.texts());
            let name = ours.keys().chain(theirs.keys()).find(|name| ours.get(*name) != theirs.get(*name))?;
            Some(format!("metadata {name}: it is not that of the replay"))
        };
        Ok(tensors.or_else(more).or_else(strings))
    }

    /// The file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether it is a policy by itself.
    pub fn is_policy(&self) -> bool {
        self.reader.find_text("format") == Some(POLICY)
    }

    /// A string of the metadata.
    pub(super) fn text(&self, name: &str) -> Result<&str, TrainError> {
        Ok(self.reader.text(name)?)
    }

    /// The resolved configuration text. Errors: a checkpoint without it.
    pub fn config(&self) -> Result<&str, TrainError> {
        Ok(self.reader.text("config")?)
    }

    /// The length that a phase had when it was made, as its configuration has it. Errors: a checkpoint without a
    /// configuration, or with one that is no TOML.
    pub fn planned(&self, section: &str, key: &str) -> Result<Option<u64>, TrainError> {
        let config = self.config()?.parse::<toml::Table>();
        let config = config.map_err(|e| TrainError::Input(format!("{}: configuration: {e}", self.file)))?;
        let value = config.get(section).and_then(|s| s.get(key)).and_then(toml::Value::as_integer);
        Ok(value.and_then(|n| u64::try_from(n).ok()))
    }

    /// Instruction set and numerics under which it was made. Errors: a checkpoint without them.
    pub fn arithmetic(&self) -> Result<(&str, &str), TrainError> {
        Ok((self.reader.text("isa")?, self.reader.text("numerics")?))
    }

    /// The simulators under which it was made. Errors: a checkpoint without them, or with a text that is none of
    /// [`Simulators::text`].
    pub fn simulators(&self) -> Result<Simulators, TrainError> {
        let text = self.reader.text("mujoco")?;
        Simulators::parse(text).ok_or_else(|| {
            TrainError::Input(format!(
                "{}: metadata mujoco: expected lines of round, release and SHA-256, got `{}`; take an earlier checkpoint",
                self.file,
                text.escape_debug(),
            ))
        })
    }

    /// Within the fitting of a model, how many were fitted before it and how far it is. Errors: a checkpoint without
    /// phase or counters.
    pub fn fitting(&self) -> Result<Option<(u64, u64)>, TrainError> {
        let counters = self.counters()?;
        Ok((self.reader.text("phase")? == Work::FIT).then_some((counters.phase, counters.fitted)))
    }

    /// Whether the online phase had begun. Errors: a checkpoint without its phase.
    pub fn is_online(&self) -> Result<bool, TrainError> {
        Ok(self.reader.text("phase")? == Work::ONLINE)
    }

    /// Name of the data it was trained on. Errors: a checkpoint without it.
    pub fn dataset(&self) -> Result<&str, TrainError> {
        Ok(self.reader.text("dataset")?)
    }

    /// An error if the data are not those that it was trained on.
    pub fn check_dataset(&self, facts: &DatasetFacts) -> Result<(), TrainError> {
        let expected = self.reader.text("dataset.sha256")?;
        if expected == facts.sha256 {
            return Ok(());
        }
        if facts.name.is_empty() || self.dataset()?.is_empty() {
            let or_none = |name: &str| if name.is_empty() { "no data".to_string() } else { name.to_string() };
            return Err(TrainError::Input(format!(
                "{}: trained on {}, got {}; go on with the same",
                self.file,
                or_none(self.dataset()?),
                or_none(&facts.name),
            )));
        }
        Err(TrainError::Input(format!(
            "{}: trained on {} with sha256 {expected}, got {} with sha256 {}; give the same file again",
            self.file,
            self.dataset()?,
            facts.name,
            facts.sha256,
        )))
    }

    /// (S, A) with a batch of `batch` rows. Errors: a checkpoint without them.
    pub fn dims(&self, batch: usize) -> Result<Dims, TrainError> {
        let d = self.reader.tensor::<u64>("dims", &[2])?;
        Ok(Dims { s: d[0] as usize, a: d[1] as usize, batch })
    }

    /// The transforms. Errors: a checkpoint without them, or with bounds of actions that have no room between them.
    pub fn scales(&self) -> Result<Scales, TrainError> {
        let Dims { s: n, a, .. } = self.dims(1)?;
        let reward = self.reader.tensor::<f32>("scale.reward", &[2])?;
        Ok(Scales {
            observation: ObservationScale {
                mean: self.reader.tensor("scale.observation.mean", &[n])?,
                std: self.reader.tensor("scale.observation.std", &[n])?,
            },
            reward: RewardScale { scale: reward[0], shift: reward[1] },
            action: match self.reader.contains("scale.action") {
                true => {
                    let mut low = self.reader.tensor::<f32>("scale.action", &[2, a])?;
                    let high = low.split_off(a);
                    Some(ActionBounds::new(&self.file, low, high)?)
                }
                false => None,
            },
        })
    }

    /// Where the run stood. Errors: a checkpoint without them.
    pub fn counters(&self) -> Result<Counters, TrainError> {
        let w = self.reader.tensor::<u64>("counters", &[9])?;
        let r = self.reader.tensor::<f64>("credit", &[4])?;
        let present = |x: f64| (!x.is_nan()).then_some(x);
        let owed = self.reader.tensor::<f64>("credit.actor", &[1])?;
        let updates = self.reader.tensor::<u64>("updates", &[2])?;
        Ok(Counters {
            round: w[0],
            offline_rounds: w[1],
            env_step: w[2],
            episode: w[3],
            episode_step: w[4],
            evaluations: w[5],
            best_round: w[6],
            phase: w[7],
            fitted: w[8],
            best_loss: present(r[1]),
            credit: r[0],
            actor_credit: owed[0],
            critic_updates: updates[0],
            actor_updates: updates[1],
            generator_rounds: match self.reader.contains("generator.rounds") {
                true => self.reader.tensor::<u64>("generator.rounds", &[1])?[0],
                false => 0,
            },
            episode_return: r[2],
            last_return: present(r[3]),
        })
    }

    /// Where the ledger stood, if there was one. Errors: a checkpoint with a part of it alone.
    pub fn mark(&self) -> Result<Option<Mark>, TrainError> {
        if !self.reader.contains("ledger.position") {
            return Ok(None);
        }
        let position = self.reader.tensor::<u64>("ledger.position", &[2])?;
        let mut mark = Mark { records: position[0], bytes: position[1], chain: Default::default() };
        self.reader.tensor_into("ledger.chain", &[mark.chain.len()], &mut mark.chain)?;
        Ok(Some(mark))
    }

    /// Names of the parameter groups. Errors: a checkpoint without them.
    pub fn groups(&self) -> Result<Vec<&str>, TrainError> {
        Ok(self.reader.text("groups")?.split(' ').collect())
    }

    /// Fills every group of the agent, moments included, and gives the counters. Errors: those of
    /// [`Saved::restore_group`], and a checkpoint without counters.
    pub fn restore(&self, agent: &mut Agent) -> Result<Counters, TrainError> {
        let groups: Vec<String> = agent.table.groups().iter().map(|g| g.name.clone()).collect();
        for name in &groups {
            self.restore_group(agent, name, name)?;
        }
        self.counters()
    }

    /// Fills what the agent acts with, and gives the counters: all that a policy file has. Errors: a checkpoint without
    /// one of these parameters, or without counters.
    pub fn restore_acting(&self, agent: &mut Agent) -> Result<Counters, TrainError> {
        let table = agent.table.clone();
        for id in agent.acting_parameters() {
            let shape = table.param(id).shape;
            for (path, range) in table.paths(id) {
                let out = &mut agent.store.values[id.index()][range];
                self.reader.tensor_into(&path, &[shape.rows, shape.cols], out)?;
            }
        }
        self.counters()
    }

    /// Writes where the run stood, the transforms and the widths into a file that has these parameters alone.
    pub(super) fn copy_state(&self, w: &mut Writer) -> Result<(), TrainError> {
        let dims = self.dims(1)?;
        // By which [`Saved::update_of_parameters`] tells it.
        let counters = Counters { best_round: self.update_of_parameters()?, ..self.counters()? };
        write_state(w, &counters, &self.scales()?, dims.sa());
        Ok(())
    }

    /// What early stopping goes back to, if that is not what [`Saved::restore`] gives. Errors: a checkpoint with a part
    /// of it alone, or of other networks than the agent's.
    pub fn best(&self, agent: &Agent) -> Result<Option<Store>, TrainError> {
        if !self.reader.contains(&format!("{BEST}adam.steps")) {
            return Ok(None);
        }
        let table = &agent.table;
        let mut store = Store::zeros(table.clone());
        let groups = store.steps.len();
        self.reader.tensor_into(&format!("{BEST}adam.steps"), &[groups], &mut store.steps)?;
        for id in table.ids() {
            let shape = [table.param(id).shape.rows, table.param(id).shape.cols];
            let trained = store.steps[table.param(id).group.index()] > 0;
            for (path, range) in table.paths(id) {
                let tensors = [
                    ("", &mut store.values),
                    ("adam.first.", &mut store.first),
                    ("adam.second.", &mut store.second),
                ];
                for (kind, tensors) in tensors {
                    if kind.is_empty() || trained {
                        let out = &mut tensors[id.index()][range.clone()];
                        self.reader.tensor_into(&format!("{BEST}{kind}{path}"), &shape, out)?;
                    }
                }
            }
        }
        Ok(Some(store))
    }

    /// The update whose parameters these are: early stopping ends with older ones than the last. Errors: a checkpoint
    /// without phase or counters.
    pub fn update_of_parameters(&self) -> Result<u64, TrainError> {
        let c = self.counters()?;
        let stopped = c.best_loss.is_some()
            && !self.is_online()?
            && !self.reader.contains(&format!("{BEST}adam.steps"));
        Ok(if stopped { c.best_round } else { c.round })
    }

    /// How many transitions collected online are in it. Errors: a checkpoint without its phase, or online without
    /// these.
    pub fn collected_rows(&self) -> Result<u64, TrainError> {
        match self.is_online()? {
            true => Ok(self.reader.shape("replay.records")?.first().map_or(0, |n| *n as u64)),
            false => Ok(0),
        }
    }

    /// Transitions collected online, the oldest first, as (floats per row, rows one after another); `None` offline.
    pub fn collected(&self) -> Result<Option<(usize, Vec<f32>)>, TrainError> {
        if !self.is_online()? {
            return Ok(None);
        }
        let p = self.reader.tensor::<u64>("replay.pointers", &[3])?;
        let shape = self.reader.shape("replay.records")?.to_vec();
        let records: Vec<f32> = self.reader.tensor("replay.records", &shape)?;
        let width = shape.get(1).copied().unwrap_or(0);
        let capacity = p[0].saturating_sub(p[1]) as usize;
        Ok(Some((width, by_age(&records, width, capacity, p[2]))))
    }

    /// Fills one group of the agent from the saved group `from`, moments included. Errors: a checkpoint without that
    /// group, or with more, fewer or other tensors in it than the agent has; some may be filled by then.
    pub fn restore_group(&self, agent: &mut Agent, from: &str, to: &str) -> Result<(), TrainError> {
        let saved = self.groups()?;
        let Some(position) = saved.iter().position(|g| *g == from) else {
            return Err(TrainError::Input(format!(
                "{}: no network `{from}`, it has {}; the checkpoint is of another method",
                self.file,
                saved.join(", "),
            )));
        };
        let steps = self.reader.tensor::<u64>("adam.steps", &[saved.len()])?;
        let group = agent.table.find_group(to).expect("invariant: the caller names a group of the agent");
        let table = agent.table.clone();
        // Some of several critics or agents would otherwise be taken for all of them.
        let there = self.reader.names().filter(|n| n.strip_prefix(from).is_some_and(|n| n.starts_with('.')));
        let (there, expected) =
            (there.count(), table.members(group).map(|p| table.paths(p).len()).sum::<usize>());
        if there > expected {
            return Err(TrainError::Input(format!(
                "{}: expected {expected} tensors in network `{from}`, got {there}; it has more critics, agents or layers than are asked for: set the numbers that it was trained with",
                self.file,
            )));
        }
        for id in table.members(group) {
            let shape = table.param(id).shape;
            let shape = [shape.rows, shape.cols];
            for (path, range) in table.paths(id) {
                let source = format!("{from}{}", &path[to.len()..]);
                let i = id.index();
                let store = &mut agent.store;
                self.reader.tensor_into(&source, &shape, &mut store.values[i][range.clone()])?;
                for (moment, out) in [("first", &mut store.first[i]), ("second", &mut store.second[i])] {
                    let out = &mut out[range.clone()];
                    match steps[position] {
                        0 => out.fill(0.0),
                        _ => self.reader.tensor_into(&format!("adam.{moment}.{source}"), &shape, out)?,
                    }
                }
            }
        }
        agent.store.steps[group.index()] = steps[position];
        Ok(())
    }

    /// What a generator has made: of these pools (name, capacity), records of so many floats, scales of so many numbers.
    /// Errors: a checkpoint without a part of it, or of other pools or sizes.
    pub fn generated(
        &self,
        pools: &[(&'static str, usize)],
        width: usize,
        numbers: usize,
    ) -> Result<Generated, TrainError> {
        let r = &self.reader;
        let pushed = r.tensor::<u64>("generator.pushed", &[pools.len()])?;
        let of = |(k, (&(_, capacity), &pushed)): (usize, (&(&'static str, usize), &u64))| {
            let n = pushed.min(capacity as u64) as usize;
            Ok((pushed, r.tensor(&format!("{GENERATED}{k}"), &[n, width])?))
        };
        let scales = match r.contains("generator.scales") {
            false => None,
            true => {
                let mut mean = r.tensor::<f32>("generator.scales", &[2, numbers])?;
                let std = mean.split_off(numbers);
                Some(RowScales { mean, std })
            }
        };
        let pools = pools.iter().zip(&pushed).enumerate().map(of).collect::<Result<_, TrainError>>()?;
        Ok(Generated { scales, pools })
    }

    /// The online part; `width` is that of a record, `annotated` the columns that were saved for offline
    /// rows, `priorities` whether those were saved. Errors: a checkpoint without a part of it, or of other sizes.
    pub fn online(
        &self,
        width: usize,
        annotated: &[&'static str],
        priorities: bool,
    ) -> Result<OnlineState, TrainError> {
        let r = &self.reader;
        let p = r.tensor::<u64>("replay.pointers", &[3])?;
        let [capacity, offline, pushed] = [p[0], p[1], p[2]];
        let n = pushed.min(capacity.saturating_sub(offline)) as usize;
        let rows = offline as usize + n;
        let vector = |name: &str| -> Result<Vec<f64>, TrainError> {
            let shape = r.shape(name)?.to_vec();
            Ok(r.tensor(name, &shape)?)
        };
        Ok(OnlineState {
            capacity,
            offline,
            pushed,
            records: r.tensor("replay.records", &[n, width])?,
            width,
            annotated: annotated
                .iter()
                .map(|name| {
                    let values = r.tensor(&format!("replay.offline.{name}"), &[offline as usize])?;
                    Ok((*name, values))
                })
                .collect::<Result<_, TrainError>>()?,
            means: match annotated {
                [] => Vec::new(),
                all => r.tensor("replay.means", &[all.len()])?,
            },
            priorities: match priorities {
                true => Some(Priorities {
                    leaves: r.tensor("replay.priorities", &[rows])?,
                    newest: r.tensor::<f64>("replay.newest", &[1])?[0],
                }),
                false => None,
            },
            generated: Generated::default(),
            env: vector("env.state")?,
            observation: vector("env.observation")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field that a row of the table above names has the value at its place.
    #[test]
    fn counters_stand_in_the_order_of_the_table() {
        let counters = Counters {
            round: 1,
            offline_rounds: 2,
            env_step: 3,
            episode: 4,
            episode_step: 5,
            evaluations: 6,
            best_round: 7,
            phase: 8,
            fitted: 9,
            credit: 0.1,
            best_loss: Some(0.2),
            episode_return: 0.3,
            last_return: Some(0.4),
            ..Counters::default()
        };
        let fields = format!("{counters:?}").replace("Some(", "");
        let check = |tensor: &str, values: &[String]| {
            let row = include_str!("state.rs").lines().find_map(|l| l.strip_prefix(tensor)).unwrap();
            let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
            assert_eq!(names.len(), values.len(), "{row}");
            for (name, value) in names.iter().zip(values) {
                assert!(fields.contains(&format!(" {name}: {value}")), "{name} is not {value}: {fields}");
            }
        };
        check("//! | `counters` |", &counters.whole().map(|n| n.to_string()));
        check("//! | `credit` |", &counters.real().map(|x| x.to_string()));
    }
}
