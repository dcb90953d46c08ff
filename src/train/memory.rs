//! Whether a run fits into memory, found before anything is made.
//!
//! Sizes come from the declarations themselves: parameters from the table, the memory of a round from its compiled
//! programs. Nothing of these sizes is taken for finding them.

use std::path::{Path, PathBuf};

use super::TrainError;
use super::agent::Agent;
use super::cadence::{self, Roles};
use super::data::Dataset;
use super::online;
use crate::adapt;
use crate::algo::{Dims, Phase};
use crate::autodiff::{ParamTable, Program, Select, Trace};
use crate::config::{BufferMode, Config, Exploration, OfflineConfig, OnlineConfig, RunConfig, value::render};
use crate::replay::{Layout, annotate};

/// Something that takes memory.
struct Item {
    what: &'static str,
    bytes: f64,
    /// options that lower it
    options: Vec<String>,
}

/// What a program is about to take.
#[derive(Default)]
pub struct Needs {
    items: Vec<Item>,
}

impl Needs {
    /// Adds something; `options` are those whose values lower it.
    pub fn add(&mut self, what: &'static str, bytes: f64, options: Vec<String>) {
        self.items.push(Item { what, bytes, options });
    }

    /// An error if it is more than there is: the dearest item, and what lowers it.
    pub fn check(&self) -> Result<(), TrainError> {
        match free() {
            Some(free) => self.against(free),
            None => Ok(()),
        }
    }

    fn against(&self, free: f64) -> Result<(), TrainError> {
        let all: f64 = self.items.iter().map(|i| i.bytes).sum();
        let dearest = self.items.iter().max_by(|a, b| a.bytes.total_cmp(&b.bytes));
        match dearest {
            Some(item) if all > free => Err(TrainError::Input(format!(
                "{}: needs {} of memory, {} free; {} of it for {}; lower {0}",
                item.options.join(" or "),
                size(all),
                size(free),
                size(item.bytes),
                item.what,
            ))),
            _ => Ok(()),
        }
    }
}

/// 37.2 GiB
fn size(bytes: f64) -> String {
    let gib = bytes / f64::from(1 << 30);
    match gib {
        ..0.1 => format!("{:.0} MiB", gib.max(0.0) * 1024.0),
        ..1e6 => format!("{gib:.1} GiB"),
        _ => format!("{gib:.1e} GiB"),
    }
}

/// The options of these keys that are off their defaults, as candidates for the blame; or all of them.
fn options(config: &Config, wanted: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let found: Vec<(String, bool)> = config
        .sections()
        .flat_map(|s| s.fields().iter().map(move |f| (s, f)))
        .filter(|(s, f)| wanted(s.name(), f.key))
        .map(|(s, f)| {
            let moved = s.get(f.key).is_some_and(|v| render(&v) != render(&f.default));
            (format!("{}.{}", s.name(), f.key), moved)
        })
        .collect();
    let any = found.iter().any(|(_, moved)| *moved);
    found.into_iter().filter(|(_, moved)| *moved || !any).map(|(place, _)| place).collect()
}

fn of_networks(_: &str, key: &str) -> bool {
    key.ends_with("hidden") || ["critics", "ensemble"].contains(&key)
}

fn of_rounds(phase: &'static str) -> impl Fn(&str, &str) -> bool {
    move |section, key| of_networks(section, key) || key == "samples" || (section, key) == (phase, "batch")
}

/// Bytes of parameters, gradients and both moments.
fn store(table: &ParamTable) -> f64 {
    table.params().iter().map(|p| p.shape.len() as f64 * 16.0).sum()
}

/// Bytes of the programs of a phase's rounds: with and without metrics for each set of roles, and metrics alone.
fn rounds(trace: &Trace, roles: &[Roles]) -> f64 {
    let bytes = |critic, actor, metrics| program(trace, Select { critic, actor, metrics });
    let each = roles.iter().map(|r| bytes(r.critic, r.actor, false) + bytes(r.critic, r.actor, true));
    each.sum::<f64>() + bytes(false, false, true)
}

fn program(trace: &Trace, select: Select) -> f64 {
    Program::compile(trace, select).bytes() as f64
}

/// Bytes of a replay of these transitions, and of the columns that it is loaded from.
fn replay(dims: Dims, annotated: usize, capacity: usize, loaded: usize) -> f64 {
    let names = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let extra: Vec<(&str, usize)> = names.iter().take(annotated).map(|n| (*n, 1)).collect();
    let layout = Layout::transitions(dims.s, dims.a, &extra);
    4.0 * (layout.stride() as f64 * capacity.max(loaded) as f64 + layout.width() as f64 * loaded as f64)
}

/// An error if the networks of an agent alone do not fit.
pub fn check_agent(config: &Config, agent: &Agent) -> Result<(), TrainError> {
    let mut needs = Needs::default();
    needs.add("the networks", store(&agent.table), options(config, of_networks));
    needs.check()
}

/// An error if a run of `baq train` does not fit.
pub fn check(config: &Config, dataset: &Dataset) -> Result<(), TrainError> {
    if dataset.is_absent() {
        return check_online(config, dataset);
    }
    let options_of: OfflineConfig = config.section();
    let rows = dataset.columns.len();
    let dims = dims(dataset, options_of.batch);
    let agent = Agent::outline(config, dims)?;
    let mut needs = networks(config, &agent);
    let trace = agent.trace(&Phase::offline(options_of.updates));
    let mut bytes = rounds(&trace, Roles::of_delay(agent.learner.actor_every()));
    bytes += agent.validation_trace(options_of.batch).map_or(0.0, |t| program(&t, Select::ALL));
    needs.add("the memory of a round", bytes, options(config, of_rounds("offline")));
    needs.add("the transitions", replay(dims, 1, 0, rows), vec!["the data set".into()]);
    evaluation(&mut needs, config, &agent, "offline", options_of.eval_episodes);
    needs.check()
}

/// An error if learning in an environment does not fit.
pub fn check_online(config: &Config, dataset: &Dataset) -> Result<(), TrainError> {
    let online: OnlineConfig = config.section();
    let dims = dims(dataset, online.rows());
    let agent = Agent::outline(config, dims)?;
    let mut needs = networks(config, &agent);

    let cadence = cadence::of(&online, agent.adaptation.as_ref());
    let phase = Phase {
        online: true,
        rounds: cadence.rounds(online.learning_steps()),
        before: 1,
        actor_lr: online.actor_lr,
        own_pace: cadence.actor.is_some(),
    };
    let mut bytes = rounds(&agent.trace(&phase), &cadence::roles(&cadence, agent.learner.actor_every()));
    bytes += agent.pretraining().iter().map(|(_, t)| rounds(t, &[Roles::BOTH])).sum::<f64>();
    bytes += agent.reprioritisation_trace().map_or(0.0, |t| rounds(&t, &[Roles::BOTH]));
    let mut annotated = usize::from(agent.learner.return_to_go().is_some());
    for batch in [annotate::BLOCK, dims.batch] {
        let trace = adapt::annotation(agent.adaptation.as_ref(), &agent.table, Dims { batch, ..dims });
        if let Some(trace) = trace {
            annotated = annotated.max(trace.outputs.len());
            bytes += program(&trace, Select::ALL);
        }
    }
    needs.add("the memory of a round", bytes, options(config, of_rounds("online")));

    let kept = online::kept(dataset, &online);
    let mut bytes = replay(dims, annotated, online.capacity, kept);
    let prioritised = online.buffer == BufferMode::Append && agent.adaptation.sampling().prioritised;
    // The tree of masses, eight children to a node.
    bytes += if prioritised { online.capacity as f64 * 8.0 * 8.0 / 7.0 } else { 0.0 };
    needs.add("the replay", bytes, vec!["online.capacity".into()]);
    let collected = online.env_steps.min(online.capacity as u64) as usize;
    let kept = 2.0 * replay(dims, annotated, 0, collected);
    needs.add("checkpoints of the collected transitions", kept, vec!["online.capacity".into()]);
    evaluation(&mut needs, config, &agent, "online", online.eval_episodes);
    needs.check()
}

/// An error if measuring the rounds of a method on so many transitions does not fit.
pub fn check_bench(config: &Config, dims: Dims, phase: &Phase, rows: usize) -> Result<(), TrainError> {
    let agent = Agent::outline(config, dims)?;
    let mut needs = networks(config, &agent);
    let roles = Roles::of_delay(agent.learner.actor_every());
    let section = if phase.online { "online" } else { "offline" };
    let bytes = rounds(&agent.trace(phase), roles);
    needs.add("the memory of a round", bytes, options(config, of_rounds(section)));
    // Beside the replay the masses of its rows.
    let bytes = replay(dims, 2, 0, rows) + rows as f64 * 32.0;
    needs.add("the transitions", bytes, vec!["--rows".into()]);
    needs.check()
}

/// An error if so many episodes side by side do not fit.
pub fn check_episodes(agent: &Agent, episodes: usize) -> Result<(), TrainError> {
    let mut needs = Needs::default();
    needs.add("the episodes", side_by_side(agent, episodes), vec!["--episodes".into()]);
    needs.check()
}

/// An error if comparing a program of these networks with f64 does not fit.
pub fn check_reference(config: &Config, agent: &Agent, trace: &Trace) -> Result<(), TrainError> {
    let mut needs = Needs::default();
    let numbers: f64 = trace.graph.nodes().iter().map(|n| n.shape.len() as f64).sum();
    let bytes = 4.0 * store(&agent.table) + 8.0 * 4.0 * numbers;
    needs.add("the networks and their gradients in f64", bytes, options(config, of_rounds("none")));
    needs.check()
}

fn dims(dataset: &Dataset, batch: usize) -> Dims {
    Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch }
}

/// The networks, and their checkpoint in the making.
fn networks(config: &Config, agent: &Agent) -> Needs {
    let mut needs = Needs::default();
    needs.add("the networks and their checkpoint", 2.0 * store(&agent.table), options(config, of_networks));
    needs
}

/// Policies and environments side by side.
fn evaluation(needs: &mut Needs, config: &Config, agent: &Agent, phase: &str, episodes: usize) {
    let run: RunConfig = config.section();
    if !run.env.is_empty() && episodes > 0 {
        let bytes = side_by_side(agent, episodes);
        needs.add("the episodes of an evaluation", bytes, vec![format!("{phase}.eval_episodes")]);
    }
}

fn side_by_side(agent: &Agent, episodes: usize) -> f64 {
    // A simulated body with its model.
    const ENVIRONMENT: f64 = 5e5;
    let trace = agent.acting_trace(episodes, Exploration::Greedy, &OnlineConfig::default());
    program(&trace, Select::ALL) + ENVIRONMENT * episodes as f64
}

/// Left for the program itself, its threads and small things.
const MARGIN: f64 = 32.0 * 1024.0 * 1024.0;

/// Bytes that this process may still take, as far as the system says: what is available, what the group it runs in may
/// use, and its own limit.
fn free() -> Option<f64> {
    let limits = [available(), group_v2(), group_v1(), address_space()];
    limits.into_iter().flatten().reduce(f64::min).map(|free| (free - MARGIN).max(0.0))
}

/// `MemAvailable` of the machine.
fn available() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(field(&text, "MemAvailable:")? * 1024.0)
}

/// The number after a word at the beginning of a line.
fn field(text: &str, word: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the narrowest memory limit of the control groups above this process leaves.
fn group_v2() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    narrowest(Path::new("/sys/fs/cgroup"), own, "memory.max", "memory.current", "inactive_file")
}

/// The same in the older layout.
fn group_v1() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|c| c == "memory").then_some(path)
    })?;
    let root = Path::new("/sys/fs/cgroup/memory");
    narrowest(root, own, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
}

fn narrowest(root: &Path, own: &str, limit: &str, usage: &str, reclaimable: &str) -> Option<f64> {
    let number = |path: PathBuf| -> Option<f64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let left = |folder: &Path| {
        let (limit, used) = (number(folder.join(limit))?, number(folder.join(usage))?);
        let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        Some(limit - used + field(&stat, reclaimable).unwrap_or(0.0))
    };
    // Inside a container the path may be that of the host; the root then is the group itself.
    let leaf = root.join(own.trim_start_matches('/'));
    leaf.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(left).reduce(f64::min)
}

/// What `ulimit -v` leaves.
fn address_space() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = field(&limits, "Max address space")?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(limit - field(&status, "VmSize:")? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_is_named_with_what_lowers_it() {
        let mut needs = Needs::default();
        needs.add("the networks", 2e9, vec!["iql.hidden".into()]);
        needs.add("the replay", 30e9, vec!["online.capacity".into()]);
        assert!(needs.against(33e9).is_ok());
        assert_eq!(
            needs.against(8e9).unwrap_err().to_string(),
            "online.capacity: needs 29.8 GiB of memory, 7.5 GiB free; 27.9 GiB of it for the replay; lower online.capacity"
        );
        needs.add("too much", f64::INFINITY, vec!["x".into()]);
        assert!(needs.against(1e30).is_err());
    }

    #[test]
    fn the_narrowest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |folder: &Path, max: &str, used: &str| {
            std::fs::write(folder.join("memory.max"), max).unwrap();
            std::fs::write(folder.join("memory.current"), used).unwrap();
        };
        let of = |own: &str| narrowest(root.path(), own, "memory.max", "memory.current", "inactive_file");
        assert_eq!(of("/a/b"), None);
        write(&inner, "max\n", "50\n");
        write(&root.path().join("a"), "1000\n", "400\n");
        assert_eq!(of("/a/b"), Some(600.0));
        std::fs::write(root.path().join("a/memory.stat"), "anon 5\ninactive_file 100\n").unwrap();
        assert_eq!(of("/a/b"), Some(700.0));
        assert_eq!(of("/not/here"), None);
    }
}
