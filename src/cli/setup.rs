//! From arguments to a configuration.

use std::path::{Path, PathBuf};

use baq_datasets::ARRAYS;
use baq_kernels::Numerics;
use clap::Args;

use super::Common;
use super::suite::ready;
use crate::adapt::Method;
use crate::config::value::FieldValue as _;
use crate::config::{
    AutoOr, By, Config, ConfigError, MujocoConfig, RunConfig, Section as _, inherits, presets, resolve_over,
};
use crate::env;
use crate::suite::{PREFIX, Suite};
use crate::train::TrainError;
use crate::train::conditions;
use crate::train::data::{self, Dataset, EMBEDDED, Task};
use crate::train::decoded;
use crate::train::plan::parse_count;
use crate::train::rundir::{self, RunDir};
pub use crate::train::sections::{config_method, from_text, known_sections, of_text};
use crate::train::shelf::Shelf;

/// What a run is made of; the rest comes from presets, files and `--set`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// preset to start from (default: the one named like the algorithm)
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// set one option; may be repeated, and of two values of one option the later counts
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// what makes up further transitions online: none, cfdg or edis (default: none)
    #[arg(long, value_name = "NAME")]
    pub generator: Option<String>,
    /// environment, as in hopper-v4; `none` for training without evaluation (default: what the data record, or by their name)
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
    /// data file (.hdf5, .npz, .csv) or Minari folder; `embedded` is the slice inside the program, `suite:NAME` a data set of `baq suite list`
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

/// A number of updates or steps, for arguments: 20000, 20k or 2M. Errors: anything else, 2^64 and more too.
pub fn count(text: &str) -> Result<u64, String> {
    parse_count(text).ok_or_else(|| "expected a whole number, as in 20000, 20k or 2M".into())
}

/// The configuration of an interrupted run, exactly as its directory states it. Refused in a process of other
/// numerics than the run's. Errors: a configuration that is missing, empty, or has unknown options or values.
pub fn of_run(dir: &RunDir) -> Result<Config, TrainError> {
    let file = dir.file(rundir::CONFIG).display().to_string();
    let config = of_text(&file, &dir.read(rundir::CONFIG)?)?;
    if config.sections().next().is_none() {
        return Err(TrainError::Input(format!(
            "{file}: expected the configuration of the run, got nothing; its checkpoint has it under `config`"
        )));
    }
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

impl RunArgs {
    /// Resolves presets, file, `--set` and these arguments; `algo` and `adapt` are those of `--algo` and `--adapt`.
    /// Whoever names a method decides it, and all who do must agree. Errors: a method, preset, environment, option or
    /// value that there is not; a file that cannot be read; two different methods; an option of a section that the
    /// method does not have; other numerics than the process's.
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
        let preset = match (&self.preset, &self.config) {
            (Some(name), _) => Some(name.as_str()),
            (None, Some(file)) if inherits(file)? => None,
            (None, _) => self.preset_beside(&algo)?,
        };
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

    /// The usual preset of the algorithm beside these arguments.
    fn preset_beside(&self, algo: &str) -> Result<Option<&'static str>, TrainError> {
        let mut alone = Config::new(known_sections());
        self.config.iter().try_for_each(|file| alone.apply_file(file))?;
        self.sets.iter().try_for_each(|set| alone.apply_set(set))?;
        let has_data = self.data.is_some() || !alone.section::<RunConfig>().dataset.is_empty();
        Ok(usual_preset(algo, has_data))
    }

    /// The same on top of an existing configuration, as that of the run one starts from. Errors: those of
    /// [`RunArgs::resolve`], but who names a method is not compared.
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
            if data.is_empty() {
                let what = "--data: expected a file, got nothing; leave it out to learn without data";
                return Err(TrainError::Input(what.into()));
            }
            config.apply_argument("--data", ("run", "dataset"), &data.to_toml())?;
        }
        if let Some(seed) = common.seed {
            config.apply_argument("--seed", ("run", "seed"), &seed.to_toml())?;
        }
        if let Some(name) = &self.env {
            let id = if name == env::NONE { "" } else { env::spec(name)?.id };
            config.apply_argument("--env", ("run", "env"), &id.to_string().to_toml())?;
        }
        if let Some(name) = &self.generator {
            config.apply_argument("--generator", ("run", "generator"), &name.clone().to_toml())?;
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
        let asked = config.find_stated(RunConfig::NAME, "numerics").is_some_and(|s| s.by != By::Preset);
        if run.numerics == Numerics::F32.name() && !asked {
            run.numerics = common.numerics.name().into();
        }
        check_numerics(&run)?;
        if run.env == env::NONE {
            run.env.clear();
        } else if !run.env.is_empty() {
            run.env = env::spec(&run.env)?.id.into();
        } else if self.env.is_none() {
            run.env = task(&run.dataset)?.known().map_or("", |spec| spec.id).into();
        }
        let simulated = !run.env.is_empty() && env::spec(&run.env)?.needs_mujoco();
        let mut active = vec!["run", "data", "offline", "online", "audit"];
        active.extend(method.clone().with(&run.generator).sections()?);
        if simulated {
            active.push("mujoco");
        }
        config.put(run);
        Ok(config.restrict(&active)?)
    }
}

/// The preset named like the algorithm. One that is for learning without data has a sister for learning from data.
pub fn usual_preset(algo: &str, has_data: bool) -> Option<&'static str> {
    let find = |name: &str| presets::find(name).ok().map(|p| p.name);
    let with_data = has_data.then(|| find(&format!("{algo}_offline"))).flatten();
    with_data.or_else(|| find(algo))
}

/// The place of data whatever the working directory; names that are no paths stay as they are.
pub(super) fn absolute(dataset: &str) -> Result<String, TrainError> {
    if ["", EMBEDDED, ARRAYS].contains(&dataset) {
        return Ok(dataset.into());
    }
    if dataset.starts_with(PREFIX) {
        return Ok(format!("{PREFIX}{}", Suite::here()?.find(dataset)?.text));
    }
    let fail = |what: String| TrainError::Input(format!("--data {dataset}: {what}"));
    let path = std::path::absolute(dataset).map_err(|e| fail(e.to_string()))?;
    let text = path.to_str().ok_or_else(|| {
        fail("the working directory's name is not UTF-8; name the data by an absolute path".into())
    })?;
    Ok(text.into())
}

/// The task that data tell.
pub(super) fn task(dataset: &str) -> Result<Task, TrainError> {
    if !dataset.starts_with(PREFIX) {
        return Ok(Task::of(Path::new(dataset)));
    }
    let suite = Suite::here()?;
    Ok(Task::Known(env::spec(&suite.recipe(&suite.find(dataset)?).env)?))
}

/// Reads the data of a configuration, by way of a shelf if there is one; those of the suite are built if they are not
/// there. Errors: data that cannot be read, are others than those of a stated checksum or do not fit the environment;
/// none, where the algorithm needs some; a data set of the suite that cannot be built.
pub fn load(config: &Config, shelf: Option<&Shelf>) -> Result<Dataset, TrainError> {
    let read = |config: &Config| match shelf {
        Some(shelf) => decoded::load(config, shelf),
        None => data::load(config),
    };
    let run: RunConfig = config.section();
    if !run.dataset.starts_with(PREFIX) {
        return read(config);
    }
    let file = ready(&run.dataset)?;
    let mut there = config.clone();
    there.put(RunConfig { dataset: absolute(&file.to_string_lossy())?, ..run.clone() });
    let mut dataset = read(&there)?;
    // Where they are kept is no part of the run.
    dataset.facts.name = run.dataset;
    Ok(dataset)
}

/// The same for a run that exists; where the data are gone, says what to do. Errors: those of [`load`].
pub fn load_again(config: &Config, shelf: Option<&Shelf>) -> Result<Dataset, TrainError> {
    load(config, shelf).map_err(|e| {
        let name = config.section::<RunConfig>().dataset;
        let named = ["", EMBEDDED, ARRAYS].contains(&name.as_str()) || name.starts_with(PREFIX);
        if named || Path::new(&name).exists() {
            return e;
        }
        let advice = match shelf {
            Some(_) => "put them back and run the study again",
            None => "say where they are with --data FILE",
        };
        TrainError::Input(format!("{e}; if the data were moved, {advice}"))
    })
}
