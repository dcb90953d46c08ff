//! `baq finetune`: from an offline run to an environment.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::learn::{self, Again, Conduct, Manner};
use super::notes::{carried, carried_rows, read_calibration};
use super::probes::ProbeArgs;
use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict, hints, names};
use crate::adapt::{Method, NONE, USUAL};
use crate::algo::{Dims, Given};
use crate::config::value::FieldValue as _;
use crate::config::{
    Begin, By, Config, MujocoConfig, OfflineConfig, OnlineConfig, RunConfig, Section as _, Stated,
};
use crate::env;
use crate::report::{OnlineFigures, Run};
use crate::train::agent::Agent;
use crate::train::data::Dataset;
use crate::train::metrics::{Phase, read_evaluations};
use crate::train::progress::{Ended, Stop};
use crate::train::run::Sources;
use crate::train::rundir;
use crate::train::state::Saved;
use crate::train::training::recipe;
use crate::train::{TrainError, calibration, switch};

/// Fine-tune in an environment
///
/// From a run of `baq train` or `baq finetune`. Transitions that it has collected are carried on in the buffer
/// (`--set online.carry=false` leaves them behind); environment steps and the curve count anew.
#[derive(Debug, Args)]
pub struct Finetune {
    /// run (its directory or checkpoint) to start from
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    from: Option<PathBuf>,
    /// adaptation: see `baq options` (default: that of the file, else baq)
    #[arg(long)]
    adapt: Option<String>,
    /// run of `baq train --algo bc` that serves as the behaviour model (default: fit one)
    #[arg(long, value_name = "RUN")]
    model: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    probes: ProbeArgs,
    /// environment steps
    #[arg(long, value_name = "N", value_parser = setup::count)]
    env_steps: Option<u64>,
    /// run directory to create (default: runs/METHOD-ADAPTATION-DATA-sSEED-HASH, of origin, data and settings)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// go on with an interrupted run; takes everything from its directory, except where the data are if --data says so
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "model", "out", "env_steps", "preset", "config", "sets", "generator", "env", "max_episode_steps", "ledger", "probes", "adapt", "clip_actions"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    again: Again,
    #[command(flatten)]
    pub(super) conduct: Conduct,
}

impl Finetune {
    /// Runs the command. Errors: a `--from` or `--model` without a checkpoint; a `--resume` that is no run of
    /// `baq finetune`; options that are refused, contradict the run or have no effect; other data or another simulator
    /// than the run's; an `--out` that is taken; what does not fit in memory; a run that diverges.
    pub fn run(self, common: Common) -> Outcome {
        let stop = Stop::on_signal()?;
        let manner = self.conduct.manner(&stop, common);
        let (dir, ended, config) = match &self.resume {
            Some(path) => {
                let moved = self.run.data.as_deref();
                learn::resumed(path, "finetune", &self.again, moved, manner, common)?
            }
            None => {
                let from = self.from.clone().expect("invariant: clap asks for --from or --resume");
                let start = Start { from, model: self.model.clone() };
                start.say_unfinished();
                let mut config = start.configuration(&self.run, common, self.adapt.as_deref())?;
                self.arguments(&mut config)?;
                let config = setup::note_simulator(config, true, self.again.accept_mujoco)?;
                let default = start.default_out(&config, self.run.preset.as_deref())?;
                let out = names::out(self.out.as_deref(), default, "finetune")?;
                (out.clone(), start.run(&config, &out, manner)?, config)
            }
        };
        if ended == Ended::Interrupted {
            let moved = self.run.data.as_deref().filter(|_| self.resume.is_some());
            return hints::interrupted(common, "finetune", &dir, moved);
        }
        let run: RunConfig = config.section();
        let page = dir.join(rundir::REPORT);
        let evaluations = read_evaluations(&dir)?;
        let returns = OnlineFigures::of(&evaluations, |e| Some(e.mean()));
        let calibration = read_calibration(&dir)?;
        if common.json {
            let scores = OnlineFigures::of(&evaluations, |e| e.score);
            let counters = Saved::open(&dir)?.counters()?;
            let out = json!({
                "run": dir, "report": page, "adapt": run.adapt, "ended": "complete",
                "carried_transitions": carried_rows(&dir)?,
                "return_at_switch": returns.switch, "lowest_return": returns.lowest,
                "mean_return_last_5": returns.last, "score_last_5": scores.last,
                "evaluations": evaluations.len(),
                "mean_return_first_30k": returns.window, "score_first_30k": scores.window,
                "critic_updates": counters.critic_updates, "actor_updates": counters.actor_updates,
                "calibration": calibration,
            });
            println!("{out}");
        } else {
            calibration::lines(&calibration).iter().for_each(|n| println!("{n}"));
            let OnlineFigures { switch, lowest, last, last_count, window, window_count, window_end } =
                returns;
            if let (Some(a), Some(b), Some(c), Some(d)) = (switch, lowest, last, window) {
                println!(
                    "return at the switch {a:.1}, lowest since {b:.1}, mean of the last {last_count} {c:.1}, of the {window_count} to step {window_end} {d:.1}"
                );
            }
            carried(&dir).iter().for_each(|note| println!("{note}"));
            println!("report: {}", page.display());
            let run = hints::path(&dir);
            println!("next: {}", hints::command(common, &["evaluate", "--from", &run, "--episodes", "100"]));
        }
        Ok(Verdict::Done)
    }
}

impl Finetune {
    /// What fine-tuning a run of the configuration `trained` comes to, and the model that it takes; `fitted` is the
    /// configuration of one that it is given. Nothing needs to be there yet. Errors: no environment, or an unknown one;
    /// options that are refused, contradict the training or do not go together; a model that the method does not take.
    pub fn planned(
        &self,
        trained: &Config,
        fitted: Option<&Config>,
        common: Common,
    ) -> Result<(Config, Option<Given>), TrainError> {
        // As it will be read back: what was said of the training is not said of this run.
        let mut config =
            over(("the training", &trained.to_toml()), None, &self.run, common, self.adapt.as_deref())?;
        self.arguments(&mut config)?;
        let env = config.section::<RunConfig>().env;
        if env.is_empty() {
            return Err(TrainError::Input(
                "run.env: expected an environment to fine-tune in, got none; name data of a task that is known".into(),
            ));
        }
        let spec = env::spec(&env)?;
        let dims = Dims { s: spec.obs_dim, a: spec.act_dim, batch: 1 };
        switch::check_options("its offline phase", dims, trained, &config)?;
        let given = takes(&config, dims)?;
        recipe(&config.section(), &Agent::outline(&config, dims)?)?;
        if let Some(fitted) = fitted {
            take_form(&mut config, "the study's model (see [model])", fitted, given)?;
        }
        Ok((config, given))
    }

    fn arguments(&self, config: &mut Config) -> Result<(), TrainError> {
        if let Some(n) = self.env_steps {
            config.apply_argument("--env-steps", ("online", "env_steps"), &n.to_toml())?;
        }
        self.probes.apply(config)
    }
}

/// What a fine-tuning run starts from.
pub struct Start {
    /// the offline run: its directory or its checkpoint
    pub from: PathBuf,
    /// a run of behaviour cloning that serves as the model of the data
    pub model: Option<PathBuf>,
}

impl Start {
    /// The offline run's configuration, with arguments on top; `adapt` is that of `--adapt`. Errors: `from` or `model`
    /// has no checkpoint that can be read; arguments that are refused or contradict the run; a model that the method
    /// does not take.
    pub fn configuration<'a>(
        &self,
        args: &RunArgs,
        common: Common,
        adapt: impl Into<Option<&'a str>>,
    ) -> Result<Config, TrainError> {
        let origin = Saved::open(&self.from)?;
        let trained = setup::from_text(origin.file(), origin.config()?)?;
        let before = Path::new(origin.file()).with_file_name(rundir::ORIGIN);
        let text = (origin.file(), origin.config()?);
        let mut config = over(text, Some(&before), args, common, adapt.into())?;
        switch::check(&origin, &trained, &config)?;
        if let Some(path) = &self.model {
            let model = Saved::open(path)?;
            let fitted = setup::from_text(model.file(), model.config()?)?;
            let given = takes(&config, origin.dims(1)?)?;
            take_form(&mut config, &format!("--model {}", path.display()), &fitted, given)?;
        }
        Ok(config)
    }

    /// Says of runs to start from that more of them was planned. A checkpoint that was kept on the way is meant.
    fn say_unfinished(&self) {
        for path in [Some(&self.from), self.model.as_ref()].into_iter().flatten() {
            let last = path.ends_with(rundir::CHECKPOINT);
            let dir = if last { path.parent().unwrap_or(path) } else { path };
            let unfinished = Run::load(dir).ok().map(|run| run.standing).filter(|s| !s.is_finished());
            let at = Saved::open(dir).and_then(|saved| saved.counters());
            let (Some(standing), Ok(at)) = (unfinished, at) else { continue };
            let at = if standing.phase == Phase::Online { at.env_step } else { at.round };
            let (path, word, progress) = (path.display(), standing.state.word(), standing.progress());
            eprintln!("note: {path}: {word}, {progress}; this run starts from what it saved after {at}");
        }
    }

    /// The folder of a run that was given no name. Errors: `from` or `model` has no checkpoint that can be read.
    pub fn default_out(&self, config: &Config, preset: Option<&str>) -> Result<PathBuf, TrainError> {
        let file = |path: &PathBuf| Ok(PathBuf::from(Saved::open(path)?.file()));
        let origins = [Some(&self.from), self.model.as_ref()].into_iter().flatten().map(file);
        Ok(names::default_out(config, preset, &origins.collect::<Result<Vec<_>, TrainError>>()?))
    }

    /// Fine-tunes from the beginning in a new run directory. Errors: those of [`setup::load_again`] and of
    /// [`Start::run_on`].
    pub fn run(&self, config: &Config, out: &Path, manner: Manner<'_>) -> Result<Ended, TrainError> {
        self.run_on(setup::load_again(config, manner.shelf)?, config, out, manner)
    }

    /// The same on data that are already read. Errors: `from` or `model` has no checkpoint that can be read; those of
    /// [`learn::earlier`] and of [`learn::begin`].
    pub fn run_on(
        &self,
        dataset: Dataset,
        config: &Config,
        out: &Path,
        manner: Manner<'_>,
    ) -> Result<Ended, TrainError> {
        let origin = Saved::open(&self.from)?;
        let earlier = learn::earlier(&self.from, &origin)?;
        let model = self.model.as_deref().map(Saved::open).transpose()?;
        let from = Sources { origin: Some(origin), model };
        learn::begin(config, out, dataset, &from, &earlier, manner)
    }
}

/// The configuration of a run that `origin` names, from its text, with arguments on top; `before` is where the checkpoint
/// from which it was fine-tuned would be. Errors: a text that is no configuration; arguments that are refused, name another algorithm
/// than the run's, or set an option of the offline phase.
pub fn over(
    (origin, text): (&str, &str),
    before: Option<&Path>,
    args: &RunArgs,
    common: Common,
    adapt: Option<&str>,
) -> Result<Config, TrainError> {
    let trained = &setup::from_text(origin, text)?;
    let mut offline = trained.clone();
    let run: RunConfig = trained.section();
    args.agreed("algo", None, Some((origin, &run.algo)))?;
    let adapt = args.agreed("adapt", adapt, None)?.unwrap_or_else(|| USUAL.into());
    if adapt != run.adapt {
        undo_defaults(&mut offline, before)?;
    }
    // How it is fine-tuned is said anew.
    offline.put(RunConfig { generator: NONE.into(), ..run.clone() });
    // A trained policy does not begin anew with random actions, unless it is told to.
    let online: OnlineConfig = offline.section();
    offline.put(OnlineConfig { random_steps: 0, ..online });
    // It simulates with what is at hand, whatever the policy was evaluated with.
    offline.put(MujocoConfig::default());
    let mut config = args.resolve_from(offline, common, &run.algo, &adapt)?;
    // The offline phase is over: what is said about it is what it was.
    if config.stated().iter().any(|s| s.by == By::Set && s.section == OfflineConfig::NAME) {
        without_offline(config.clone())?;
    }
    match setup::of_text(origin, text)?.has::<OfflineConfig>() {
        true => config.put(trained.section::<OfflineConfig>()),
        // What learnt from scratch has made no updates on data alone.
        false => config = without_offline(config)?,
    }
    let run: RunConfig = config.section();
    if run.begin == Begin::Offline && config.is_set(RunConfig::NAME, "begin") {
        return Err(TrainError::Input(
            "run.begin: expected online, since fine-tuning begins in the environment, got offline; leave it out".into(),
        ));
    }
    config.put(RunConfig { begin: Begin::Online, ..run });
    Ok(config)
}

/// Gives options that still have the values which the adaptation of an earlier fine-tuning brings itself those from
/// before it, or if nothing says what these were, the base's. Errors: a method that there is not.
fn undo_defaults(config: &mut Config, before: Option<&Path>) -> Result<(), TrainError> {
    let run: RunConfig = config.section();
    let method = Method::of(config);
    let (base, earlier) = (method.algorithm()?, method.adaptation()?);
    let mut its = Config::new(setup::known_sections());
    its.apply_text(earlier.name, earlier.defaults)?;
    if its.stated().is_empty() {
        return Ok(());
    }
    let mut bases = Config::new(setup::known_sections());
    bases.apply_text(base.name, base.defaults)?;
    if let Some(preset) = setup::usual_preset(&run.algo, !run.dataset.is_empty()) {
        bases.apply_preset(preset)?;
    }
    if let Some(path) = before.filter(|path| path.exists()) {
        let saved = Saved::open(path)?;
        let there = setup::from_text(saved.file(), saved.config()?)?;
        if there.section::<RunConfig>().adapt != run.adapt {
            bases = there;
        }
    }
    for stated in its.stated() {
        let [now, its, bases] = [&*config, &its, &bases].map(|c| c.get(&stated.section, &stated.key));
        if let Some(value) = bases.filter(|_| now == its) {
            config.follow((&stated.section, &stated.key), &value)?;
        }
    }
    Ok(())
}

fn without_offline(config: Config) -> Result<Config, TrainError> {
    let names: Vec<&str> =
        config.sections().map(|s| s.name()).filter(|n| *n != OfflineConfig::NAME).collect();
    Ok(config.restrict(&names)?)
}

/// The model, fitted elsewhere, that a method takes. Errors: a method that there is not, or options of it that do not
/// go together.
fn takes(config: &Config, dims: Dims) -> Result<Option<Given>, TrainError> {
    Ok(Agent::outline(config, dims)?.adaptation.pretrain().into_iter().find_map(|fit| fit.given))
}

/// Gives the options that describe a network fitted elsewhere the values of the run that fitted it; errors call it
/// `model`. Errors: the method takes no model, or one of another algorithm; `--set` gives an option of the fitting,
/// which is done.
fn take_form(
    config: &mut Config,
    model: &str,
    fitted: &Config,
    given: Option<Given>,
) -> Result<(), TrainError> {
    let fail = |what: String| Err(TrainError::Input(format!("{model}: {what}")));
    let adapt = Method::of(config).adapt;
    let Some(given) = given else {
        return fail(format!(
            "expected an adaptation with a model of the data, as --adapt baq, got {adapt}; leave it out"
        ));
    };
    let asked =
        |s: &&Stated| s.by == By::Set && s.section == adapt && given.fitting.contains(&s.key.as_str());
    if let Some(asked) = config.stated().iter().find(asked) {
        return Err(TrainError::Input(format!(
            "{}: has no effect with {model}, which is fitted already; leave it out",
            asked.place
        )));
    }
    let run: RunConfig = fitted.section();
    if run.algo != given.algo {
        return fail(format!("expected a run of `baq train --algo {}`, got one of {}", given.algo, run.algo));
    }
    for (own, its) in given.form {
        let value =
            fitted.get(given.algo, its).expect("invariant: an algorithm has the options of its networks");
        config.follow((&adapt, own), &value)?;
    }
    Ok(())
}
