//! `baq train`: offline training, or learning in an environment without any data.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::finetune::Start;
use super::probes::{ProbeArgs, close, probes};
use super::report;
use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict, hints, names, resume, say_notes};
use crate::adapt::Method;
use crate::algo::Dims;
use crate::audit::Recorder;
use crate::config::value::FieldValue as _;
use crate::config::{Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::env;
use crate::train::agent::Agent;
use crate::train::data::{self, Dataset};
use crate::train::effects::{self, Stage};
use crate::train::metrics::{read_dataset, read_evaluations, write_dataset};
use crate::train::offline::{self, Ended, Offline};
use crate::train::online::{self, Online};
use crate::train::progress::Stop;
use crate::train::rundir::{self, RunDir};
use crate::train::state::{Counters, Saved};
use crate::train::{TrainError, memory};

/// Train on a data set, or in an environment alone
///
/// With --data: offline training, for `baq finetune` to go on from. Without, --algo sac or td3 collect their
/// own transitions in --env.
#[derive(Debug, Args)]
pub struct Train {
    /// base algorithm: see `baq options` (default: that of the preset or the file, else iql)
    #[arg(long)]
    algo: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    probes: ProbeArgs,
    /// number of gradient updates on the data
    #[arg(long, value_name = "N")]
    updates: Option<u64>,
    /// number of environment steps without data
    #[arg(long, value_name = "N", conflicts_with_all = ["data", "updates"])]
    env_steps: Option<u64>,
    /// run directory to create (default: runs/METHOD-DATA-sSEED-HASH, of data and settings)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// go on with an interrupted run; takes everything from its directory, except where the data are if --data says so
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "updates", "env_steps", "preset", "config", "sets", "env", "max_episode_steps", "ledger", "probes", "algo", "clip_actions"])]
    resume: Option<PathBuf>,
    /// go on with, or begin with, another MuJoCo than the run or the configuration names
    #[arg(long)]
    accept_mujoco: bool,
    /// no progress bar
    #[arg(long)]
    quiet: bool,
}

impl Train {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let stop = Stop::on_signal()?;
        let quiet = self.quiet || common.json;
        let (dir, ended, config) = match &self.resume {
            Some(path) => {
                hints::check_resume(path, "train")?;
                resume::refuse_seed(common)?;
                let (ended, config) =
                    go_on(path, self.accept_mujoco, self.run.data.as_deref(), (&stop, quiet))?;
                (path.clone(), ended, config)
            }
            None => {
                let mut config = self.configuration(common)?;
                self.probes.apply(&mut config)?;
                let default = names::default_out(&config, self.run.preset.as_deref(), &[]);
                let out = names::out(self.out.as_deref(), default, "train")?;
                let ended = begin(&config, &out, &stop, quiet)?;
                (out, ended, config)
            }
        };
        if ended == Ended::Interrupted {
            return hints::interrupted(common, "train", &dir, self.moved());
        }
        let run: RunConfig = config.section();
        let with_data = !run.dataset.is_empty();
        let evaluations = read_evaluations(&dir)?;
        let last = &evaluations[evaluations.len().saturating_sub(5)..];
        let mean = last.iter().map(|e| e.mean()).sum::<f64>() / last.len().max(1) as f64;
        let page = dir.join(rundir::REPORT);
        if common.json {
            let counters = Saved::open(&dir)?.counters()?;
            let (updates, env_steps) = match with_data {
                true => (Some(counters.round), None),
                false => (None, Some(counters.env_step)),
            };
            let stops_early = offline::early_stop(&config, &counters).is_some();
            let out = json!({
                "run": dir, "report": page, "updates": updates, "env_steps": env_steps,
                "ended": if ended == Ended::Patience { "patience" } else { "complete" },
                "kept_update": stops_early.then_some(counters.best_round),
                "validation_loss": counters.best_loss.filter(|_| stops_early),
                "mean_return_last_5": if last.is_empty() { None } else { Some(mean) },
                "evaluations": evaluations.len(),
            });
            println!("{out}");
        } else {
            if !last.is_empty() {
                println!("mean return of the last {} evaluations: {mean:.1}", last.len());
            }
            report::notes(std::slice::from_ref(&dir)).iter().for_each(|note| println!("{note}"));
            println!("report: {}", page.display());
            println!("next: {}", next(common, &dir, &config)?);
        }
        Ok(Verdict::Done)
    }

    /// Where the data of a resumed run are, if not where it read them.
    fn moved(&self) -> Option<&str> {
        self.run.data.as_deref().filter(|_| self.resume.is_some())
    }

    fn configuration(&self, common: Common) -> Result<Config, TrainError> {
        let mut config = self.run.resolve(common, self.algo.as_deref(), None)?;
        let run: RunConfig = config.section();
        if run.dataset.is_empty() && !Method::of(&config).algorithm()?.needs_data {
            if self.updates.is_some() {
                return Err(TrainError::Input(
                    "--updates: expected data to make updates on, got none; without --data the length is --env-steps"
                        .into(),
                ));
            }
            // An option of a phase that does not take place is refused.
            let present: Vec<&str> =
                config.sections().map(|s| s.name()).filter(|n| *n != "offline").collect();
            config = config.restrict(&present)?;
        }
        if !run.dataset.is_empty() && !Method::of(&config).is_plain() {
            return Err(TrainError::Input(format!(
                "run.adapt: expected plain, since training on data has no adaptation, got {0}; give it to `baq finetune --adapt {0}`",
                run.adapt
            )));
        }
        if let Some(n) = self.updates {
            config.apply_argument("--updates", ("offline", "updates"), &n.to_toml())?;
        }
        if let Some(n) = self.env_steps {
            if !run.dataset.is_empty() {
                return Err(TrainError::Input(format!(
                    "--env-steps: expected a run without data, got {}; the length is --updates",
                    run.dataset
                )));
            }
            config.apply_argument("--env-steps", ("online", "env_steps"), &n.to_toml())?;
        }
        let acts = run.dataset.is_empty() || config.section::<OfflineConfig>().eval_episodes > 0;
        setup::note_simulator(config, acts, self.accept_mujoco)
    }
}

/// The command that goes on from a run that has ended.
fn next(common: Common, dir: &Path, config: &Config) -> Result<String, TrainError> {
    let run: RunConfig = config.section();
    let from = hints::path(dir);
    if run.dataset.is_empty() {
        let out = hints::path(&hints::free(Path::new("transitions.hdf5")));
        let words = ["collect", "--from", &from, "--steps", "100000", "--out", &out];
        return Ok(hints::command(common, &words));
    }
    let dims = Saved::open(dir)?.dims(1)?;
    let fits = |id: &&str| env::spec(id).is_ok_and(|spec| (spec.obs_dim, spec.act_dim) == dims.sa());
    let known = Some(run.env.as_str()).filter(|env| !env.is_empty());
    // Its usual version, which a bare name means.
    let usual =
        |id: &'static str| env::spec(id.rsplit_once("-v").map_or(id, |(task, _)| task)).map_or(id, |s| s.id);
    let Some(task) = known.or_else(|| env::ids().find(fits).map(usual)) else {
        // Nowhere to go on to.
        return Ok(hints::command(common, &["report", &from]));
    };
    let online: OnlineConfig = config.section();
    let needed = read_dataset(dir)?.transitions.saturating_add(online.env_steps);
    let capacity = format!("online.capacity={needed}");
    let sets = if needed > online.capacity as u64 { vec![capacity.clone()] } else { Vec::new() };
    let args = RunArgs { env: Some(task.into()), sets, ..RunArgs::default() };
    let start = Start { from: dir.into(), model: None };
    // Some methods and buffers go with plain fine-tuning only.
    let fits = |config: &Config| {
        let agent = Agent::new(config, dims)?;
        online::composer(online.buffer, &agent.adaptation.sampling()).map(drop)
    };
    let config = start.configuration(&args, common, "baq").and_then(|config| fits(&config).map(|()| config));
    let (adapt, config) = match config {
        Ok(config) => ("baq", config),
        Err(_) => ("plain", start.configuration(&args, common, "plain")?),
    };
    let mut words = vec!["finetune", "--from", &from, "--adapt", adapt];
    if run.env.is_empty() {
        words.extend(["--env", task]);
    }
    if !args.sets.is_empty() {
        words.extend(["--set", &capacity]);
    }
    // The command's own directory may be there already.
    let out = start.default_out(&config, None)?;
    let free = hints::path(&hints::free(&out));
    if out.exists() {
        words.extend(["--out", &free]);
    }
    Ok(hints::command(common, &words))
}

/// Trains from the beginning in a new run directory.
pub fn begin(config: &Config, out: &Path, stop: &Stop, quiet: bool) -> Result<Ended, TrainError> {
    // What can be wrong with the input is found before anything is created.
    let dataset = data::load(config)?;
    dataset.check(config)?;
    let stage = if dataset.is_absent() { Stage::Alone } else { Stage::Offline };
    effects::check(config, &dataset, stage)?;
    memory::check(config, &dataset)?;
    let config = &dataset.pin(config);
    let untrained = agent(config, &dataset)?;
    online::check(config, &untrained, &dataset)?;
    offline::check(config, &untrained, &dataset)?;
    drop(untrained);
    let dir = RunDir::create(out)?;
    dir.write(rundir::CONFIG, config.to_toml().as_bytes())?;
    train(config, &dir, dataset, None, stop, quiet)
}

/// The untrained agent.
pub(super) fn agent(config: &Config, dataset: &Dataset) -> Result<Agent, TrainError> {
    let batch = match dataset.is_absent() {
        true => config.section::<OnlineConfig>().rows(),
        false => config.section::<OfflineConfig>().batch,
    };
    let dims = Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch };
    Agent::new(config, dims)
}

/// Goes on with an interrupted run; everything comes from its directory.
pub fn resume(path: &Path, stop: &Stop, quiet: bool) -> Result<(Ended, Config), TrainError> {
    go_on(path, false, None, (stop, quiet))
}

fn go_on(
    path: &Path,
    accept: bool,
    moved: Option<&str>,
    (stop, quiet): (&Stop, bool),
) -> Result<(Ended, Config), TrainError> {
    let dir = RunDir::resume(path)?;
    let (config, saved) = resume::open(&dir, accept)?;
    let dataset = resume::data(&dir, &config, moved)?;
    memory::check(&config, &dataset)?;
    let ended = train(&config, &dir, dataset, saved.as_ref(), stop, quiet)?;
    if ended != Ended::Interrupted {
        resume::say_if_over(&dir, saved.as_ref())?;
    }
    Ok((ended, config))
}

fn train(
    config: &Config,
    dir: &RunDir,
    dataset: Dataset,
    saved: Option<&Saved>,
    stop: &Stop,
    quiet: bool,
) -> Result<Ended, TrainError> {
    let run: RunConfig = config.section();
    let on = if dataset.is_absent() { run.env } else { run.dataset };
    if let Some(saved) = saved {
        saved.check_dataset(&dataset.facts)?;
    }
    say_notes(&dataset.facts);
    let mut probe = probes(config, dir, &dataset, saved)?;
    let ended = learn(config, dir, dataset, saved, (stop, quiet), &mut probe)?;
    if ended != Ended::Interrupted {
        close(dir, &mut probe)?;
        let title = format!("{} on {on}", run.algo);
        crate::report::write(
            dir.path(),
            &title,
            &[dir.path().to_path_buf()],
            &report::notes(&[dir.path().to_path_buf()]),
        )?;
    }
    Ok(ended)
}

/// Writes everything into a directory that a run determines.
pub(super) fn learn<R: Recorder>(
    config: &Config,
    dir: &RunDir,
    dataset: Dataset,
    saved: Option<&Saved>,
    (stop, quiet): (&Stop, bool),
    probe: &mut R,
) -> Result<Ended, TrainError> {
    let agent = agent(config, &dataset)?;
    if dataset.is_absent() {
        let mut training = alone(config, agent, &dataset, saved)?;
        return training.run(dir, &[], saved.is_some(), stop, quiet, probe);
    }
    let mut training = Offline::new(config, agent, &dataset, saved)?;
    // Only now is it certain that these are the data of this run.
    write_dataset(dir.path(), &dataset.facts)?;
    drop(dataset);
    training.run(dir, saved.is_some(), stop, quiet, probe)
}

/// Learning in an environment, from an untrained agent and an empty buffer.
pub(super) fn alone<'a>(
    config: &'a Config,
    mut agent: Agent,
    dataset: &Dataset,
    saved: Option<&Saved>,
) -> Result<Online<'a>, TrainError> {
    let ring = online::ring(dataset, &agent, config)?;
    let counters = match saved {
        Some(saved) => saved.restore(&mut agent)?,
        None => Counters::default(),
    };
    Online::new(config, agent, dataset, ring, counters, saved)
}

impl From<std::io::Error> for TrainError {
    fn from(e: std::io::Error) -> TrainError {
        TrainError::Input(e.to_string())
    }
}
