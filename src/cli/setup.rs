//! From arguments to a configuration.

use std::path::{Path, PathBuf};

use baq_kernels::Numerics;
use clap::Args;

use super::Common;
use crate::adapt::{ADAPTATIONS, Method};
use crate::algo::ALGORITHMS;
use crate::config::value::FieldValue as _;
use crate::config::{
    AnySection, AuditConfig, AutoOr, Config, ConfigError, DataConfig, MujocoConfig, OfflineConfig,
    OnlineConfig, RunConfig, Section as _, nearest, presets, resolve_over, section,
};
use crate::env;
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::conditions;
use crate::train::counters::Counters;
use crate::train::data::{self, Dataset, EMBEDDED, Scales, Task};
use crate::train::rundir::{self, RunDir};
use crate::train::state::Saved;

/// What a run is made of; the rest comes from presets, files and `--set`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// preset to start from (default: the one named like the algorithm)
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// set one option; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// environment, as in hopper-v4; `none` for training without evaluation (default: what the data record, or by their name)
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
    /// data file or Minari folder; `embedded` is the slice inside the program
    #[arg(long, value_name = "FILE")]
    pub data: Option<String>,
    /// accept recorded actions outside [-1, 1] by clipping them
    #[arg(long)]
    pub clip_actions: bool,
    /// time limit that ends episodes of the data beside the flags, in rows (default: the task's, in a file without
    /// timeouts)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub max_episode_steps: Option<u64>,
}

/// Every section there is.
pub fn known_sections() -> Vec<Box<dyn AnySection>> {
    let mut all = vec![
        section::<RunConfig>(),
        section::<DataConfig>(),
        section::<OfflineConfig>(),
        section::<OnlineConfig>(),
        section::<AuditConfig>(),
        section::<MujocoConfig>(),
    ];
    all.extend(ALGORITHMS.iter().filter_map(|e| e.section).map(|s| s()));
    all.extend(ADAPTATIONS.iter().filter_map(|e| e.section).map(|s| s()));
    all
}

/// The configuration of an interrupted run, exactly as its directory states it. Refused in a process of other
/// numerics than the run's.
pub fn of_run(dir: &RunDir) -> Result<Config, TrainError> {
    let config = of_text(&dir.file(rundir::CONFIG).display().to_string(), &dir.read(rundir::CONFIG)?)?;
    check_numerics(&config.section())?;
    Ok(config)
}

/// Numerics are chosen once in the life of a process, before it knows any configuration.
fn check_numerics(run: &RunConfig) -> Result<(), TrainError> {
    let (asked, here) = (&run.numerics, baq_kernels::active().numerics);
    match asked.parse::<Numerics>() {
        Ok(asked) if asked == here => Ok(()),
        Ok(_) => Err(TrainError::Input(format!(
            "run.numerics: the configuration has {asked}, this process uses {here}; say --numerics {asked}, or, for a new run, \
             --set run.numerics={here}"
        ))),
        Err(e) => Err(TrainError::Input(format!("run.numerics: {e}"))),
    }
}

/// Notes the simulator of a new run in its configuration, if it `acts` in an environment that has one. A configuration
/// that names another is refused, unless that is accepted.
pub fn note_simulator(config: Config, acts: bool, accept: bool) -> Result<Config, TrainError> {
    if !acts || !config.has::<MujocoConfig>() {
        let present: Vec<&str> = config.sections().map(|s| s.name()).filter(|n| *n != "mujoco").collect();
        return Ok(config.restrict(&present)?);
    }
    let (mut config, here) = (config, conditions::simulator()?);
    let asked: MujocoConfig = config.section();
    let differs = |asked: &str, here: &str| !asked.is_empty() && asked != here;
    if !accept && (differs(&asked.release, &here.release) || differs(&asked.sha256, &here.sha256)) {
        return Err(TrainError::Input(format!(
            "mujoco: the configuration names {asked}, this process has {here}; set MUJOCO_PATH to the other, or say --accept-mujoco"
        )));
    }
    config.put(here);
    Ok(config)
}

/// The configuration in the file of a run: the sections that are in it, and no others.
pub fn of_text(origin: &str, text: &str) -> Result<Config, TrainError> {
    let config = from_text(origin, text)?;
    let table: toml::Table = text.parse().map_err(|e| TrainError::Input(format!("{origin}: {e}")))?;
    let active: Vec<&str> = table.keys().map(String::as_str).collect();
    Ok(config.restrict(&active)?)
}

/// A configuration read back from text that `origin` names, with the defaults of all other sections.
pub fn from_text(origin: &str, text: &str) -> Result<Config, TrainError> {
    let mut config = Config::new(known_sections());
    config.apply_text(origin, text)?;
    Ok(config)
}

impl RunArgs {
    /// Resolves presets, file, `--set` and these arguments; `algo` and `adapt` are those of `--algo` and `--adapt`.
    /// Whoever names a method decides it, and all who do must agree.
    pub fn resolve(
        &self,
        common: Common,
        algo: Option<&str>,
        adapt: Option<&str>,
    ) -> Result<Config, TrainError> {
        let algo = self.agreed("algo", algo, None)?.unwrap_or_else(|| RunConfig::default().algo);
        let adapt = self.agreed("adapt", adapt, None)?.unwrap_or_else(|| RunConfig::default().adapt);
        let method = Method::new(&algo, &adapt);
        let (base, modifier) = (method.algorithm()?, method.adaptation()?);
        let by_name = if self.config.is_none() { self.usual_preset(&algo) } else { None };
        let preset = self.preset.as_deref().or(by_name);
        let (below, between) = ((base.name, base.defaults), (modifier.name, modifier.defaults));
        let file = self.config.as_deref();
        let config = resolve_over(known_sections(), below, preset, between, file, &self.sets)?;
        self.finish(config, common, &method)
    }

    /// The method that is named for `run.algo` or `run.adapt` by the preset, the file, `--set` or the argument, if it is
    /// named at all. An error if two of them differ, or one of them and the run that this one starts from.
    pub fn agreed(
        &self,
        key: &str,
        argument: Option<&str>,
        origin: Option<(&str, &str)>,
    ) -> Result<Option<String>, TrainError> {
        let of = |(who, name): (&str, &str)| (who.to_string(), name.to_string());
        let mut claims: Vec<(String, String)> = origin.map(of).into_iter().collect();
        let mut ask = |who: String, apply: &dyn Fn(&mut Config) -> Result<(), ConfigError>| {
            let mut alone = Config::new(known_sections());
            apply(&mut alone)?;
            let value = alone.get("run", key).and_then(|v| v.as_str().map(str::to_string));
            claims.extend(alone.find_stated("run", key).and(value).map(|name| (who, name)));
            Ok::<_, ConfigError>(())
        };
        if let Some(name) = &self.preset {
            ask(format!("--preset {name}"), &|c| c.apply_preset(name))?;
        }
        if let Some(path) = &self.config {
            ask(path.display().to_string(), &|c| c.apply_file(path))?;
        }
        ask(format!("--set run.{key}"), &|c| self.sets.iter().try_for_each(|set| c.apply_set(set)))?;
        claims.extend(argument.map(|name| of((&format!("--{key}"), name))));
        match claims.windows(2).find(|pair| pair[0].1 != pair[1].1) {
            None => Ok(claims.pop().map(|(_, name)| name)),
            Some(pair) => Err(TrainError::Input(format!(
                "{}: expected run.{key} = {}, as {} has it, got {}; leave one of them out",
                pair[1].0, pair[0].1, pair[0].0, pair[1].1,
            ))),
        }
    }

    /// The preset named like the algorithm. One that is for learning without data has a sister for learning
    /// from data.
    fn usual_preset(&self, algo: &str) -> Option<&'static str> {
        let find = |name: &str| presets::find(name).ok().map(|p| p.name);
        let has_data = self.data.is_some() || self.sets.iter().any(|set| set.starts_with("run.dataset="));
        let with_data = has_data.then(|| find(&format!("{algo}_offline"))).flatten();
        with_data.or_else(|| find(algo))
    }

    /// The same on top of an existing configuration, as that of the run one starts from.
    pub fn resolve_from(
        &self,
        mut config: Config,
        common: Common,
        algo: &str,
        adapt: &str,
    ) -> Result<Config, TrainError> {
        let method = Method::new(algo, adapt);
        let modifier = method.adaptation()?;
        if let Some(name) = &self.preset {
            config.apply_preset(name)?;
        }
        let between = (modifier.name, modifier.defaults);
        match &self.config {
            Some(path) => config.apply_file_over(path, between)?,
            None => config.apply_text(between.0, between.1)?,
        }
        for set in &self.sets {
            config.apply_set(set)?;
        }
        self.finish(config, common, &method)
    }

    fn finish(&self, mut config: Config, common: Common, method: &Method) -> Result<Config, TrainError> {
        if let Some(data) = &self.data {
            config.apply_argument("--data", ("run", "dataset"), &data.to_toml())?;
        }
        if let Some(seed) = common.seed {
            config.apply_argument("--seed", ("run", "seed"), &seed.to_toml())?;
        }
        if let Some(name) = &self.env {
            let id = if name == "none" { "" } else { env::spec(name)?.id };
            config.apply_argument("--env", ("run", "env"), &id.to_string().to_toml())?;
        }
        if self.clip_actions {
            config.apply_argument("--clip-actions", ("data", "clip_actions"), &true.to_toml())?;
        }
        if let Some(steps) = self.max_episode_steps {
            let steps = AutoOr::Value(steps).to_toml();
            config.apply_argument("--max-episode-steps", ("data", "max_episode_steps"), &steps)?;
        }
        let mut run: RunConfig = config.section();
        (run.algo, run.adapt) = (method.algo.clone(), method.adapt.clone());
        // A checksum belongs to the data that it was written beside.
        let renamed = self.data.is_some() || config.is_set(RunConfig::NAME, "dataset");
        if renamed && !config.is_set(RunConfig::NAME, "dataset_sha256") {
            run.dataset_sha256.clear();
        }
        run.dataset = absolute(&run.dataset)?;
        if run.numerics == Numerics::F32.name() {
            run.numerics = common.numerics.name().into();
        }
        check_numerics(&run)?;
        if !run.env.is_empty() {
            run.env = env::spec(&run.env)?.id.into();
        } else if self.env.is_none() {
            run.env = Task::of(Path::new(&run.dataset)).known().map_or("", |spec| spec.id).into();
        }
        let simulated = !run.env.is_empty() && env::spec(&run.env)?.needs_mujoco();
        let mut active = vec!["run", "data", "offline", "online", "audit"];
        active.extend(method.sections()?);
        if simulated {
            active.push("mujoco");
        }
        config.put(run);
        Ok(config.restrict(&active)?)
    }
}

/// The place of data whatever the working directory; names that are no paths stay as they are.
pub(super) fn absolute(dataset: &str) -> Result<String, TrainError> {
    if ["", EMBEDDED].contains(&dataset) {
        return Ok(dataset.into());
    }
    let fail = |what: String| TrainError::Input(format!("--data {dataset}: {what}"));
    let path = std::path::absolute(dataset).map_err(|e| fail(e.to_string()))?;
    let text = path.to_str().ok_or_else(|| {
        fail("the working directory's name is not UTF-8; name the data by an absolute path".into())
    })?;
    Ok(text.into())
}

/// Reads the data of a run that exists; where they are gone, says what to do.
pub fn load_again(config: &Config) -> Result<Dataset, TrainError> {
    data::load(config).map_err(|e| {
        let name = config.section::<RunConfig>().dataset;
        match ["", EMBEDDED].contains(&name.as_str()) || Path::new(&name).exists() {
            true => e,
            false => {
                TrainError::Input(format!("{e}; if the data were moved, say where they are with --data FILE"))
            }
        }
    })
}

/// The method of a configuration, as tables name it.
pub fn config_method(config: &Config) -> String {
    let method = Method::of(config);
    method.title(|key| config.text(&method.adapt, key))
}

/// "; did you mean `x`?" for the nearest of `all`, or nothing.
pub fn hint<'a>(word: &str, all: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, all).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}

/// A policy read back from a checkpoint, for commands that only act.
pub struct Restored {
    /// the checkpoint
    pub file: String,
    /// base algorithm
    pub algo: String,
    /// adaptation
    pub adapt: String,
    /// both, as tables name them
    pub method: String,
    /// whether it was saved in the online phase
    pub online: bool,
    /// networks and parameters
    pub agent: Agent,
    /// transforms of states and rewards
    pub scales: Scales,
    /// where the run stood
    pub counters: Counters,
    /// the update whose parameters these are
    pub update: u64,
    /// options of acting
    pub options: OnlineConfig,
    env: String,
    simulator: MujocoConfig,
}

impl Restored {
    /// Opens a run directory or a checkpoint.
    pub fn open(path: &Path) -> Result<Restored, TrainError> {
        let saved = Saved::open(path)?;
        let config = from_text(&format!("{}: configuration", saved.file()), saved.config()?)?;
        let run: RunConfig = config.section();
        let options: OnlineConfig = config.section();
        let mut agent = Agent::new(&config, saved.dims(options.batch)?)?;
        let counters = saved.restore(&mut agent)?;
        Ok(Restored {
            file: saved.file().into(),
            method: config_method(&config),
            algo: run.algo,
            adapt: run.adapt,
            online: saved.is_online()?,
            scales: saved.scales()?,
            update: saved.update_of_parameters()?,
            agent,
            counters,
            options,
            env: run.env,
            simulator: config.section(),
        })
    }

    /// The environment asked for, or the run's; its dimensions fit the policy. Another simulator than the run's is named:
    /// returns differ from those of the run.
    pub fn environment(&self, asked: Option<&str>) -> Result<&'static env::Spec, TrainError> {
        let name = asked.unwrap_or(&self.env);
        if name.is_empty() {
            return Err(TrainError::Input(format!(
                "{}: run.env: expected an environment, got none; name one with --env, as in hopper-v4",
                self.file
            )));
        }
        let spec = env::spec(name)?;
        let (have, want) = (self.agent.dims.sa(), (spec.obs_dim, spec.act_dim));
        if have != want {
            return Err(TrainError::Input(format!(
                "{}: policy of {} observations and {} actions: expected {} and {} for {}; choose the environment it was trained for with --env",
                self.file, have.0, have.1, want.0, want.1, spec.id,
            )));
        }
        if spec.needs_mujoco() && !self.simulator.release.is_empty() {
            let here = conditions::simulator()?;
            if here != self.simulator {
                eprintln!(
                    "baq: note: {}: its run had {}, this process has {here}",
                    self.file, self.simulator
                );
            }
        }
        Ok(spec)
    }

    /// Method and age in a few words.
    pub fn describe(&self) -> String {
        let method = &self.method;
        match self.online {
            true => format!("{method} after {} environment steps", self.counters.env_step),
            false => format!("{method} after {} updates", self.update),
        }
    }
}
