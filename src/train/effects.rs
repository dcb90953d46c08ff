//! Options without effect: what a user asks for is obeyed or refused, never ignored.
//!
//! For options of a method this is not a list but a comparison: an option that may take any of its other values while
//! the method computes the same has no effect. The rest, what is done with data and in which phase, is a list.

use super::agent::Agent;
use super::cadence;
use super::data::Dataset;
use super::error::TrainError;
use super::plan::{offline_phase, online_phase};
use crate::adapt::generator::Task;
use crate::adapt::{self, Method};
use crate::algo::{Dims, FitTo, Given};
use crate::config::{
    BufferMode, By, Config, DataConfig, DataMode, Exploration, Field, OfflineConfig, OfflineRows,
    OnlineConfig, PRESETS, RewardScaling, RunConfig, Section as _, Stated, value::render,
};
use crate::replay;
use toml::Value;

/// What a configuration is about to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// training on data; what is set for the online phase is kept for it
    Offline,
    /// learning in an environment from scratch
    Scratch,
    /// fine-tuning
    Online {
        /// rounds before it
        before: u64,
        /// transitions that the run it starts from has collected
        collected: u64,
    },
}

/// An error for the first option that the user asked for and that has no effect.
pub fn check(config: &Config, dataset: &Dataset, stage: Stage) -> Result<(), TrainError> {
    let dims = Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch: BATCH };
    check_rows(config, dataset.transitions())?;
    check_method(config, dims, stage)
}

/// The same without data to look at. Errors: an option without effect that the user asked for, unless it is the form of
/// a behaviour model; those of [`Agent::outline`].
pub fn check_method(config: &Config, dims: Dims, stage: Stage) -> Result<(), TrainError> {
    let agent = Agent::outline(config, dims)?;
    for asked in config.stated().iter().filter(|s| is_asked(config, s)) {
        let needs = common(config, &agent, asked, stage);
        let needs = match needs {
            None if depends(config, asked) => of_method(config, dims, asked, stage)?,
            needs => needs,
        };
        if let Some(needs) = needs {
            if takes_its_form(config, &agent, asked) {
                eprintln!("note: {}: has no effect {needs}", asked.place);
                continue;
            }
            return Err(TrainError::Input(format!(
                "{}: has no effect {needs}, or leave it out",
                asked.place
            )));
        }
    }
    Ok(())
}

/// The form of a behaviour model that is taken from somewhere else is said, not refused: one line of options serves runs
/// with and without such a model.
fn takes_its_form(config: &Config, agent: &Agent, asked: &Stated) -> bool {
    let given = agent.adaptation.pretrain().into_iter().filter_map(|fit| fit.given);
    let form = |g: Given| g.form.iter().any(|(own, _)| *own == asked.key);
    asked.section == Method::of(config).adapt && given.into_iter().any(form)
}

/// Rows of the batch of traces that are only compared.
const BATCH: usize = 4;

/// Whether the user asks for a value in this command. A file that an earlier run has written holds every value; those
/// that nobody chose then, declared ones and those of the method's presets, are not asked for now.
pub(super) fn is_asked(config: &Config, stated: &Stated) -> bool {
    match stated.by {
        By::Set | By::Argument => true,
        By::Preset => false,
        By::File => {
            let value = config.get(&stated.section, &stated.key);
            let declared = field(config, stated).map(|f| f.default.clone());
            value != declared && !preset_values(config, stated).contains(&value)
        }
    }
}

fn field(config: &Config, stated: &Stated) -> Option<Field> {
    let section = config.sections().find(|s| s.name() == stated.section)?;
    section.fields().iter().find(|f| f.key == stated.key).cloned()
}

/// What the presets of the configured algorithm and the method's own defaults give an option.
fn preset_values(config: &Config, stated: &Stated) -> Vec<Option<Value>> {
    let algo = config.section::<RunConfig>().algo;
    let apply = |name: &str| {
        let mut with = Config::new(config.sections().map(|s| s.copy()).collect());
        with.apply_preset(name).ok()?;
        with.find_stated(&stated.section, &stated.key)?;
        (with.section::<RunConfig>().algo == algo).then(|| with.get(&stated.section, &stated.key))
    };
    let method = Method::of(config);
    let base = method.algorithm().map(|entry| (entry.name, entry.defaults));
    let modifier = method.adaptation().map(|entry| (entry.name, entry.defaults));
    let of_defaults = |(name, text): (&str, &str)| {
        let mut with = Config::new(config.sections().map(|s| s.copy()).collect());
        with.apply_text(name, text).ok()?;
        with.find_stated(&stated.section, &stated.key)?;
        Some(with.get(&stated.section, &stated.key))
    };
    let own = [base, modifier].into_iter().flatten().filter_map(of_defaults);
    PRESETS.iter().filter_map(|p| apply(p.name)).chain(own).collect()
}

/// What an option outside the method would need; `None` if it has an effect, or if this is not known here.
fn common(config: &Config, agent: &Agent, asked: &Stated, stage: Stage) -> Option<String> {
    let (data, offline, online, run): (DataConfig, OfflineConfig, OnlineConfig, RunConfig) =
        (config.section(), config.section(), config.section(), config.section());
    let no_data = run.dataset.is_empty() && stage != Stage::Offline;
    let value = config.get(&asked.section, &asked.key);
    let off =
        matches!(value, Some(Value::Boolean(false) | Value::Integer(0))) || value == Some(Value::Float(0.0));
    let needs = match (asked.section.as_str(), asked.key.as_str()) {
        ("data", "reward_scale" | "reward_bias") if data.reward_scaling != RewardScaling::Affine => {
            format!("with data.reward_scaling = {}; set data.reward_scaling=affine", data.reward_scaling)
        }
        ("data", "keep_timeout_transitions") if !off && data.mode == DataMode::D4rl => {
            "with data.mode = d4rl; set data.mode=next_observations".into()
        }
        ("data", "mode" | "keep_timeout_transitions" | "clip_actions" | "action_clip" | "max_episode_steps") if no_data && !off => {
            "without data; name some with --data".into()
        }
        ("online", "offline_rows") if no_data => "without data; name some with --data".into(),
        ("online", "reset_optimisers" | "reset_targets" | "carry" | "actor_lr") if stage == Stage::Scratch => {
            "on learning from scratch, which has no switch; fine-tune a trained run".into()
        }
        ("offline", _) if matches!(stage, Stage::Online { .. }) && asked.by != By::File => {
            "on fine-tuning; set the option of [online]".into()
        }
        ("online", "buffer")
            if online.offline_rows == OfflineRows::None
                && matches!(online.buffer, BufferMode::Mix(_) | BufferMode::Proportional) =>
        {
            "with online.offline_rows = none, which leaves no offline transitions to mix; set online.offline_rows=all".into()
        }
        ("online", "buffer") if stage != Stage::Offline && draws_all(agent) => {
            "beside a generator that refreshes before the first update and draws all rows itself; set its at_start=false".into()
        }
        ("offline", "validation_fraction" | "patience") if !off && agent.validation_trace(BATCH).is_none() => {
            format!("on {}, which clones no behaviour; give it to a method that does", run.algo)
        }
        ("offline", "patience") if !off && offline.validation_fraction == 0.0 => {
            "with offline.validation_fraction = 0; hold some transitions out".into()
        }
        ("offline", "eval_every") if run.env.is_empty() && asked.by != By::File => {
            "without an environment; name one with --env".into()
        }
        ("offline", "eval_episodes") if !off && run.env.is_empty() => {
            "without an environment; name one with --env".into()
        }
        ("run", "q_bound") if agent.learner.critics().is_none() => {
            format!("on {}, which has no critics; choose a method with values", run.algo)
        }
        ("online", "exploration") if no_spread(config, agent) => {
            "on a deterministic policy, which has no spread to sample from; set online.exploration=noise or greedy".into()
        }
        _ => return None,
    };
    Some(needs)
}

/// Whether a generator composes every batch.
fn draws_all(agent: &Agent) -> bool {
    agent.generator.as_ref().is_some_and(|g| g.at_start() && g.rest(1).is_some())
}

fn no_spread(config: &Config, agent: &Agent) -> bool {
    let online: OnlineConfig = config.section();
    online.exploration == Exploration::Sample && !agent.learner.policy().has_density()
}

/// An error if more offline transitions are asked for than the data have, if there are any.
pub fn check_rows(config: &Config, rows: Option<usize>) -> Result<(), TrainError> {
    let online: OnlineConfig = config.section();
    match online.offline_rows {
        OfflineRows::Subset(n) | OfflineRows::Best(n) if n.fract() != 0.0 => {
            Err(TrainError::Input(format!("online.offline_rows: expected a whole number, got {n}")))
        }
        OfflineRows::Subset(n) => match rows.filter(|rows| n as usize > *rows) {
            Some(rows) => Err(TrainError::Input(format!(
                "online.offline_rows: expected a subset of at most the {rows} transitions of the data, got {n}; lower it"
            ))),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether an option can be judged by what the method computes.
fn depends(config: &Config, asked: &Stated) -> bool {
    match (asked.section.as_str(), asked.key.as_str()) {
        ("online", key) => ["exploration_noise", "exploration_clip"].contains(&key),
        (section, _) => is_method(config, section),
    }
}

/// Whether a section is one of the base or the adaptation.
fn is_method(config: &Config, section: &str) -> bool {
    Method::of(config).sections().is_ok_and(|all| all.contains(&section))
}

/// What an option of the method would need; `None` if it has an effect.
fn of_method(
    config: &Config,
    dims: Dims,
    asked: &Stated,
    stage: Stage,
) -> Result<Option<String>, TrainError> {
    if matters(config, dims, asked, stage)? {
        return Ok(None);
    }
    // Which switch of its section or of the method, or which other option that was asked for, would bring it to life?
    let same = |s: &Stated| (&s.section, &s.key) == (&asked.section, &asked.key);
    let place =
        |section: &str, key: &str| Stated { section: section.into(), key: key.into(), ..asked.clone() };
    let mut switches: Vec<Stated> = config.stated().iter().filter(|s| s.by != By::Preset).cloned().collect();
    let near = |name: &str| name == asked.section || is_method(config, name);
    switches.extend(config.sections().filter(|s| near(s.name())).flat_map(|s| {
        let switch = |f: &&Field| !f.choices.is_empty() || f.default.is_bool();
        s.fields().iter().filter(switch).map(move |f| place(s.name(), f.key))
    }));
    switches.push(place(OnlineConfig::NAME, "actor_updates_per_step"));
    let may = |s: &&Stated| s.section == "online" || is_method(config, &s.section);
    for switch in switches.iter().filter(|s| !same(s) && may(s) && !s.key.ends_with("hidden")) {
        for other in alternatives(config, switch) {
            let now = config.get(&switch.section, &switch.key).map(|v| render(&v)).unwrap_or_default();
            if matters(&other, dims, asked, stage).unwrap_or(false) {
                let wanted = other.get(&switch.section, &switch.key).map(|v| render(&v)).unwrap_or_default();
                let name = format!("{}.{}", switch.section, switch.key);
                return Ok(Some(format!("with {name} = {now}; set {name}={}", wanted.trim_matches('"'))));
            }
        }
    }
    let run: RunConfig = config.section();
    Ok(Some(format!("on {} with {}; choose a method that reads it", run.algo, run.adapt)))
}

/// Whether any other value of an option changes what is computed.
fn matters(config: &Config, dims: Dims, asked: &Stated, stage: Stage) -> Result<bool, TrainError> {
    let now = computed(config, dims, stage)?;
    let mut tried = false;
    for other in alternatives(config, asked) {
        if let Ok(then) = computed(&other, dims, stage) {
            tried = true;
            if then != now {
                return Ok(true);
            }
        }
    }
    Ok(!tried)
}

/// The configuration with other values of an option.
fn alternatives(config: &Config, asked: &Stated) -> Vec<Config> {
    let Some(field) = field(config, asked) else { return Vec::new() };
    let mut texts: Vec<String> = vec![render(&field.default)];
    for choice in field.choices {
        match choice.word.split_once('(') {
            None => texts.push(choice.word.into()),
            Some((word, _)) => texts.extend(["0.25", "1", "3"].map(|x| format!("{word}({x})"))),
        }
    }
    let plain = ["true", "false", "0.5", "0.125", "1", "2", "7", "-1", "[3]", "[5, 4]"];
    texts.extend(plain.map(String::from));
    let now = config.get(&asked.section, &asked.key);
    let with = |text: &String| {
        let mut other = config.clone();
        other.apply_set(&format!("{}.{}={text}", asked.section, asked.key)).ok()?;
        (other.get(&asked.section, &asked.key) != now).then_some(other)
    };
    texts.iter().filter_map(with).collect()
}

/// Everything that a method computes, as text.
fn computed(config: &Config, dims: Dims, stage: Stage) -> Result<String, TrainError> {
    let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let (mut agent, params) = Agent::declare(config, dims)?;
    // Constants that are left to the data; which ones they are makes no difference.
    agent.adaptation.calibrate(&[0.3, 0.7]);
    let cadence = cadence::of(&online, agent.adaptation.as_ref());
    let before = match stage {
        Stage::Offline => offline.updates,
        Stage::Scratch => 0,
        Stage::Online { before, .. } => before,
    };
    let later = online_phase(config, &agent, before);
    let mut text = format!("{:?} {cadence:?}\n", agent.adaptation.sampling());
    // Where training begins, from which fine-tuning goes on.
    text +=
        &if let Stage::Online { .. } = stage { format!("{:?}", agent.table) } else { format!("{params:?}") };
    if stage == Stage::Offline {
        text += &agent.trace(&offline_phase(config)).essence();
        text += &format!("{:?}", agent.validation_trace(BATCH).map(|t| t.essence()));
    }
    let acting = [Exploration::Greedy, online.exploration].map(|how| agent.acting_trace(1, how, &online));
    // A run that is fine-tuned has fitted the models of its method.
    let fitted = if matches!(stage, Stage::Online { .. }) { agent.learner.pretrain().len() } else { 0 };
    for (fit, trace) in agent.pretraining().into_iter().skip(fitted) {
        text += &format!("{:?} {} {}", fit.to, fit.updates, trace.essence());
    }
    let beside =
        [agent.reprioritisation_trace(), adapt::annotation(agent.adaptation.as_ref(), &agent.table, dims)];
    text += &agent.trace(&later).essence();
    acting.iter().chain(beside.iter().flatten()).for_each(|t| text += &t.essence());
    if agent.adaptation.sampling().prioritised {
        let of = |online| agent.adaptation.priority(&[0.31, 0.77], online);
        text += &format!("{:?} {:?}", of(false), of(true));
    }
    if let Some(generator) = &agent.generator {
        text += &format!("{} {:?} {:?}", generator.every(), generator.pools(), generator.parts(BATCH * 100));
        text += &format!("{}", generator.at_start());
        for stage in agent.refresh() {
            text += &match stage.task {
                Task::Learn { trace, rows } => format!("{} {rows:?} {}", stage.rounds, trace.essence()),
                Task::Contrast { trace, rows, given, drawing } => {
                    let traces = [*trace, *given, drawing.step].map(|t| t.essence());
                    format!("{} {rows:?} {traces:?}", stage.rounds)
                }
                Task::Draw { drawing: d, .. } => {
                    let programs = [&d.step, &d.last].map(|t| t.essence());
                    format!("{} {:?} {programs:?}", stage.rounds, d.levels)
                }
            };
        }
    }
    let learner = &agent.learner;
    if text.contains(replay::RETURN_TO_GO) {
        text += &format!("{:?}", learner.return_to_go());
    }
    // Of no effect where the policy's updates have a rate of their own.
    let delays = stage == Stage::Offline
        || cadence.actor.is_none()
        || agent.fits().iter().any(|fit| fit.to == FitTo::Collected);
    if delays {
        text += &format!(" {:?}", learner.delay());
    }
    text += &format!(" {:?}", learner.nearest());
    Ok(text)
}
