//! `baq train`: offline training, or learning in an environment without any data.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::finetune::Start;
use super::learn::{self, Again, Conduct, Manner};
use super::notes;
use super::probes::ProbeArgs;
use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict, hints, names};
use crate::adapt::{Method, PLAIN, USUAL};
use crate::config::value::FieldValue as _;
use crate::config::{Begin, Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::env;
use crate::train::agent::Agent;
use crate::train::metrics::{read_dataset, read_evaluations};
use crate::train::plan::starts_online;
use crate::train::progress::{Ended, Stop};
use crate::train::run::Sources;
use crate::train::rundir;
use crate::train::state::Saved;
use crate::train::training::recipe;
use crate::train::{TrainError, held_out};

/// Train on a data set, or in an environment alone
///
/// With --data: offline training, for `baq finetune` to go on from. Without, or with `--set run.begin=online`, the method
/// learns from scratch in --env, the data beside what it collects.
#[derive(Debug, Default, Args)]
pub struct Train {
    /// base algorithm: see `baq options` (default: that of the preset or the file, else iql)
    #[arg(long)]
    algo: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    probes: ProbeArgs,
    /// number of gradient updates on the data
    #[arg(long, value_name = "N", value_parser = setup::count)]
    updates: Option<u64>,
    /// number of environment steps, where it learns in one
    #[arg(long, value_name = "N", value_parser = setup::count, conflicts_with = "updates")]
    env_steps: Option<u64>,
    /// run directory to create (default: runs/METHOD-DATA-sSEED-HASH, of data and settings)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// go on with an interrupted run; takes everything from its directory, except where the data are if --data says so
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "updates", "env_steps", "preset", "config", "sets", "generator", "env", "max_episode_steps", "ledger", "probes", "algo", "clip_actions"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    again: Again,
    #[command(flatten)]
    pub(super) conduct: Conduct,
}

impl Train {
    /// Training of this algorithm, nothing else said.
    pub fn new(algo: &str, run: RunArgs) -> Train {
        Train { algo: Some(algo.into()), run, ..Train::default() }
    }

    /// Runs the command. Errors: options that are refused or have no effect; data that cannot be read; a `--resume`
    /// that is no run of `baq train`; another simulator than the configuration's; an `--out` that is taken; what does
    /// not fit in memory; a run that diverges.
    pub fn run(self, common: Common) -> Outcome {
        let stop = Stop::on_signal()?;
        let manner = self.conduct.manner(&stop, common);
        let (dir, ended, config) = match &self.resume {
            Some(path) => {
                let moved = self.run.data.as_deref();
                learn::resumed(path, "train", &self.again, moved, manner, common)?
            }
            None => {
                let config = self.planned(common)?;
                let acts = acts(&config);
                let config = setup::note_simulator(config, acts, self.again.accept_mujoco)?;
                let default = names::default_out(&config, self.run.preset.as_deref(), &[]);
                let out = names::out(self.out.as_deref(), default, "train")?;
                let ended = begin(&config, &out, manner)?;
                (out, ended, config)
            }
        };
        if ended == Ended::Interrupted {
            return hints::interrupted(common, "train", &dir, self.moved());
        }
        let online = starts_online(&config);
        let mut evaluations = read_evaluations(&dir)?;
        let played = evaluations.len();
        evaluations.retain(|e| !online || e.stamp.env_step > 0);
        let last = &evaluations[evaluations.len().saturating_sub(5)..];
        let mean = last.iter().map(|e| e.mean()).sum::<f64>() / last.len().max(1) as f64;
        let page = dir.join(rundir::REPORT);
        if common.json {
            let counters = Saved::open(&dir)?.counters()?;
            let (updates, env_steps) = match online {
                false => (Some(counters.round), None),
                true => (None, Some(counters.env_step)),
            };
            let stops_early = held_out::early_stop(&config, &counters).is_some();
            let out = json!({
                "run": dir, "report": page, "updates": updates, "env_steps": env_steps,
                "ended": if ended == Ended::Patience { "patience" } else { "complete" },
                "kept_update": stops_early.then_some(counters.best_round),
                "validation_loss": counters.best_loss.filter(|_| stops_early),
                "mean_return_last_5": if last.is_empty() { None } else { Some(mean) },
                "evaluations": played,
            });
            println!("{out}");
        } else {
            if !last.is_empty() {
                println!("mean return of the last {} evaluations: {mean:.1}", last.len());
            }
            notes::notes(std::slice::from_ref(&dir)).iter().for_each(|note| println!("{note}"));
            println!("report: {}", page.display());
            println!("next: {}", next(common, &dir, &config)?);
        }
        Ok(Verdict::Done)
    }

    /// Where the data of a resumed run are, if not where it read them.
    fn moved(&self) -> Option<&str> {
        self.run.data.as_deref().filter(|_| self.resume.is_some())
    }

    /// What the arguments come to. Errors: those of [`RunArgs::resolve`]; an adaptation or a generator for training on
    /// data; `--updates` of a run that learns in an environment, `--env-steps` of one that does not.
    pub fn planned(&self, common: Common) -> Result<Config, TrainError> {
        let mut config = self.run.resolve(common, self.algo.as_deref(), None)?;
        let run: RunConfig = config.section();
        let online = starts_online(&config);
        if online {
            if self.updates.is_some() {
                return Err(TrainError::Input(
                    "--updates: expected a run that makes updates on data alone, got one that learns in an environment; its length is --env-steps"
                        .into(),
                ));
            }
            // An option of a phase that does not take place is refused.
            let present: Vec<&str> =
                config.sections().map(|s| s.name()).filter(|n| *n != "offline").collect();
            config = config.restrict(&present)?;
        } else if Method::of(&config).generates() {
            return Err(TrainError::Input(format!(
                "run.generator: expected none, since training on data has no generator, got {0}; give it to `baq finetune --generator {0}`",
                run.generator
            )));
        } else if !Method::of(&config).is_plain() {
            return Err(TrainError::Input(format!(
                "run.adapt: expected plain, since training on data has no adaptation, got {0}; give it to `baq finetune --adapt {0}`",
                run.adapt
            )));
        }
        config.put(RunConfig { begin: if online { Begin::Online } else { Begin::Offline }, ..run });
        if let Some(n) = self.updates {
            config.apply_argument("--updates", ("offline", "updates"), &n.to_toml())?;
        }
        if let Some(n) = self.env_steps {
            if !online {
                return Err(TrainError::Input(format!(
                    "--env-steps: expected a run that learns in an environment, got training on {}; its length is --updates (--set run.begin=online: from scratch in the environment, with the data)",
                    config.section::<RunConfig>().dataset
                )));
            }
            config.apply_argument("--env-steps", ("online", "env_steps"), &n.to_toml())?;
        }
        self.probes.apply(&mut config)?;
        Ok(config)
    }
}

/// The command that goes on from a run that has ended.
fn next(common: Common, dir: &Path, config: &Config) -> Result<String, TrainError> {
    let run: RunConfig = config.section();
    let from = hints::path(dir);
    if starts_online(config) {
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
        recipe(&online, &agent).map(drop)
    };
    let config = start.configuration(&args, common, USUAL).and_then(|config| fits(&config).map(|()| config));
    let (adapt, config) = match config {
        Ok(config) => (USUAL, config),
        Err(_) => (PLAIN, start.configuration(&args, common, PLAIN)?),
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

/// Whether a run of this configuration acts in an environment.
pub fn acts(config: &Config) -> bool {
    starts_online(config) || config.section::<OfflineConfig>().eval_episodes > 0
}

/// Trains from the beginning in a new run directory. Errors: those of [`setup::load`] and of [`learn::begin`].
pub fn begin(config: &Config, out: &Path, manner: Manner<'_>) -> Result<Ended, TrainError> {
    let dataset = setup::load(config, manner.shelf)?;
    learn::begin(config, out, dataset, &Sources::default(), &[], manner)
}
