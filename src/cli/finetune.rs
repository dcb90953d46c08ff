//! `baq finetune`: from an offline run to an environment.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::probes::{ProbeArgs, close, probes};
use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict, resume, say_notes};
use crate::adapt::baq::BaqConfig;
use crate::algo::Learner as _;
use crate::algo::bc::BcConfig;
use crate::audit::Recorder;
use crate::config::{Config, MujocoConfig, OnlineConfig, RunConfig};
use crate::report::{self, OnlineFigures};
use crate::train::agent::Agent;
use crate::train::data::{self, Dataset};
use crate::train::metrics::{EvaluationLog, Phase, read_evaluations, write_dataset};
use crate::train::offline::Ended;
use crate::train::online::{self, Online};
use crate::train::progress::Stop;
use crate::train::rundir::{self, RunDir};
use crate::train::state::{Counters, Saved};
use crate::train::{TrainError, calibration};

/// Fine-tune in an environment
///
/// From a run of `baq train`. One that had no data goes on with its networks and an empty buffer.
#[derive(Debug, Args)]
pub struct Finetune {
    /// run (its directory or checkpoint) to start from
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    from: Option<PathBuf>,
    /// adaptation: plain, baq, suf, so2 or off2on
    #[arg(long, default_value = "baq")]
    adapt: String,
    /// run of `baq train --algo bc` that serves as the behaviour model (default: fit one)
    #[arg(long, value_name = "RUN")]
    model: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    probes: ProbeArgs,
    /// environment steps
    #[arg(long, value_name = "N")]
    env_steps: Option<u64>,
    /// run directory to create (default: runs/METHOD-DATA-sSEED)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// go on with an interrupted run; takes everything from its directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "model", "out", "env_steps", "preset", "config", "sets", "data", "env", "max_episode_steps", "ledger", "probes", "adapt", "clip_actions"])]
    resume: Option<PathBuf>,
    /// go on with, or begin with, another MuJoCo than the run or the configuration names
    #[arg(long)]
    accept_mujoco: bool,
    /// no progress bar
    #[arg(long)]
    quiet: bool,
}

/// Where a fine-tuning run came from; kept in its directory for `--resume`.
pub(super) const ORIGIN: &str = "origin.safetensors";
/// The behaviour model's origin, where it was given.
pub(super) const MODEL: &str = "model.safetensors";
/// The offline evaluations, kept so that a resumed run draws the same curve.
pub(super) const EARLIER: &str = "offline_evaluations";

impl Finetune {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let stop = Stop::on_signal()?;
        let quiet = self.quiet || common.json;
        let (dir, ended, config) = match &self.resume {
            Some(path) => {
                resume::refuse_seed(common)?;
                let (ended, config) = go_on(path, self.accept_mujoco, &stop, quiet)?;
                (path.clone(), ended, config)
            }
            None => {
                let from = self.from.clone().expect("invariant: clap asks for --from or --resume");
                let start = Start { from, model: self.model.clone() };
                let mut config = start.configuration(&self.run, common, &self.adapt)?;
                if let Some(n) = self.env_steps {
                    let mut online: OnlineConfig = config.section();
                    online.env_steps = n;
                    config.put(online);
                }
                self.probes.apply(&mut config)?;
                let config = setup::note_simulator(config, true, self.accept_mujoco)?;
                let out = self.out.clone().unwrap_or_else(|| setup::default_out(&config));
                (out.clone(), start.run(&config, &out, &stop, quiet)?, config)
            }
        };
        let shown = dir.display();
        if ended == Ended::Interrupted {
            if !common.json {
                println!("interrupted; go on with: baq finetune --resume {shown}");
            }
            return Ok(Verdict::Done);
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
                "run": dir, "report": page, "adapt": run.adapt,
                "return_at_switch": returns.switch, "lowest_return": returns.lowest,
                "mean_return_last_5": returns.last, "score_last_5": scores.last,
                "mean_return_first_30k": returns.window, "score_first_30k": scores.window,
                "critic_updates": counters.critic_updates, "actor_updates": counters.actor_updates,
                "calibration": calibration,
            });
            println!("{out}");
        } else {
            calibration::lines(&calibration).iter().for_each(|n| println!("{n}"));
            if let OnlineFigures { switch: Some(a), lowest: Some(b), last: Some(c), window: Some(d) } =
                returns
            {
                println!(
                    "return at the switch {a:.1}, lowest since {b:.1}, mean of the last 5 {c:.1}, of all in (0, 30k] {d:.1}"
                );
            }
            println!("report: {}", page.display());
            println!("next: baq report {shown} OTHER_RUN ... puts several runs on one page");
        }
        Ok(Verdict::Done)
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
    /// The offline run's configuration, with arguments on top.
    pub fn configuration(&self, args: &RunArgs, common: Common, adapt: &str) -> Result<Config, TrainError> {
        let origin = Saved::open(&self.from)?;
        let mut offline = setup::from_text(origin.file(), origin.config()?)?;
        // A trained policy does not begin anew with random actions, unless it is told to.
        let online: OnlineConfig = offline.section();
        offline.put(OnlineConfig { random_steps: 0, ..online });
        // It simulates with what is at hand, whatever the policy was evaluated with.
        offline.put(MujocoConfig::default());
        let run: RunConfig = offline.section();
        let mut config = args.resolve_from(offline, common, &run.algo, adapt)?;
        if let Some(path) = &self.model
            && config.has::<BaqConfig>()
        {
            // The model's own form, whatever this configuration says.
            let model = Saved::open(path)?;
            let trained: BcConfig = setup::from_text(model.file(), model.config()?)?.section();
            let mut baq: BaqConfig = config.section();
            (baq.model, baq.model_hidden) = (trained.model, trained.hidden);
            config.put(baq);
        }
        Ok(config)
    }

    /// Fine-tunes from the beginning in a new run directory.
    pub fn run(&self, config: &Config, out: &Path, stop: &Stop, quiet: bool) -> Result<Ended, TrainError> {
        let origin = Saved::open(&self.from)?;
        let model = self.model.as_deref().map(Saved::open).transpose()?;
        // What can be wrong with the input is found before anything is created.
        prepare(config, &origin, model.as_ref(), &data::load(config)?)?;
        let mut earlier = match self.from.is_dir() {
            true => read_evaluations(&self.from)?,
            false => Vec::new(),
        };
        // The curve counts environment steps of this run.
        earlier.retain(|e| e.stamp.phase == Phase::Offline);
        let dir = RunDir::create(out)?;
        copy(origin.file(), &dir, ORIGIN)?;
        if let Some(model) = &model {
            copy(model.file(), &dir, MODEL)?;
        }
        let folder = dir.file(EARLIER);
        std::fs::create_dir_all(&folder)?;
        EvaluationLog::create(&folder, &earlier)?.flush()?;
        // Written last: a directory with a configuration can be resumed.
        dir.write(rundir::CONFIG, config.to_toml().as_bytes())?;
        tune(config, &dir, None, stop, quiet)
    }
}

/// Goes on with an interrupted run; everything comes from its directory.
pub fn resume(path: &Path, stop: &Stop, quiet: bool) -> Result<(Ended, Config), TrainError> {
    go_on(path, false, stop, quiet)
}

fn go_on(path: &Path, accept: bool, stop: &Stop, quiet: bool) -> Result<(Ended, Config), TrainError> {
    let dir = RunDir::resume(path)?;
    let (config, saved) = resume::open(&dir, accept)?;
    Ok((tune(&config, &dir, saved.as_ref(), stop, quiet)?, config))
}

/// Fine-tunes in a directory that [`Start::run`] has prepared, from its checkpoint if there is one.
fn tune(
    config: &Config,
    dir: &RunDir,
    saved: Option<&Saved>,
    stop: &Stop,
    quiet: bool,
) -> Result<Ended, TrainError> {
    let run: RunConfig = config.section();
    let dataset = data::load(config)?;
    // Only now is it certain that these are the data of this run.
    Saved::open(&dir.file(ORIGIN))?.check_dataset(&dataset.facts)?;
    say_notes(&dataset.facts);
    let mut probe = probes(config, dir, &dataset, saved)?;
    let ended = learn(config, dir, dataset, saved, (stop, quiet), &mut probe)?;
    if ended != Ended::Interrupted {
        close(dir, &mut probe)?;
        let title = format!("{} on {}", setup::config_method(config), run.env);
        let verdict: Vec<String> =
            calibration::lines(&read_calibration(dir.path())?).pop().into_iter().collect();
        report::write(dir.path(), &title, &[dir.path().to_path_buf()], &verdict)?;
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
    if !dataset.is_absent() {
        write_dataset(dir.path(), &dataset.facts)?;
    }
    let ready = ready(config, dir.path(), dataset, saved, (stop, quiet), probe)?;
    let Some(mut training) = ready else { return Ok(Ended::Interrupted) };
    let earlier = read_evaluations(&dir.file(EARLIER))?;
    let ended = training.run(dir, &earlier, saved.is_some(), stop, quiet, probe)?;
    if ended != Ended::Interrupted {
        let calibration = calibration::to_json(&training.calibration());
        dir.write(rundir::CALIBRATION, calibration.to_string().as_bytes())?;
    }
    Ok(ended)
}

/// The online phase of the run in `dir`, at its beginning or where it was saved; `None` if a signal came while the model
/// of the data was being fitted.
pub(super) fn ready<'a, R: Recorder>(
    config: &'a Config,
    dir: &Path,
    dataset: Dataset,
    saved: Option<&Saved>,
    (stop, quiet): (&Stop, bool),
    probe: &mut R,
) -> Result<Option<Online<'a>>, TrainError> {
    let run: RunConfig = config.section();
    let model = match dir.join(MODEL).exists() {
        true => Some(Saved::open(&dir.join(MODEL))?),
        false => None,
    };
    let origin = Saved::open(&dir.join(ORIGIN))?;
    let mut agent = prepare(config, &origin, model.as_ref(), &dataset)?;
    let ring = online::ring(&dataset, &agent, config)?;
    let counters = match saved {
        Some(saved) => {
            saved.check_dataset(&dataset.facts)?;
            saved.restore(&mut agent)?
        }
        None => {
            if needs_model(&agent, &origin, model.as_ref())? {
                let baq: BaqConfig = config.section();
                let every: Vec<usize> = (0..dataset.columns.len()).collect();
                let all = dataset.ring(&every, 0, &[], None)?;
                if online::fit_model(&mut agent, &all, run.seed, baq.model_updates, stop, quiet, probe)? {
                    return Ok(None);
                }
            }
            let offline = origin.counters()?;
            Counters {
                round: offline.round,
                offline_rounds: offline.round,
                evaluations: offline.evaluations,
                ..Counters::default()
            }
        }
    };
    Online::new(config, agent, &dataset, ring, counters, saved).map(Some)
}

fn read_calibration(run: &Path) -> Result<Value, TrainError> {
    let file = run.join(rundir::CALIBRATION);
    let fail = |e: String| TrainError::Input(format!("{}: {e}", file.display()));
    let text = crate::files::read_to_string(&file).map_err(|e| fail(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| fail(e.to_string()))
}

/// The verdict on a finished run's calibration.
pub fn calibration_verdict(run: &Path) -> Result<String, TrainError> {
    Ok(calibration::lines(&read_calibration(run)?).pop().unwrap_or_default())
}

/// The agent with the offline run's parameters and, where one is given, the behaviour model's.
fn prepare(
    config: &Config,
    origin: &Saved,
    model: Option<&Saved>,
    dataset: &Dataset,
) -> Result<Agent, TrainError> {
    let options: OnlineConfig = config.section();
    origin.check_dataset(&dataset.facts)?;
    let dims = origin.dims(options.rows())?;
    let mut agent = Agent::new(config, dims)?;
    online::check(config, &agent, dataset)?;
    online::check_capacity(config, dataset)?;
    let saved: Vec<String> = origin.groups()?.iter().map(|g| g.to_string()).collect();
    let own = own_group(&agent);
    let groups: Vec<String> = agent.table.groups().iter().map(|g| g.name.clone()).collect();
    for (k, name) in groups.iter().enumerate() {
        // The adaptation's own networks need not be there; those of the base must.
        if k < agent.base_groups || saved.contains(name) {
            origin.restore_group(&mut agent, name, name)?;
        }
    }
    if let (Some(own), Some(model)) = (&own, model) {
        model.check_dataset(&dataset.facts)?;
        if model.scales()?.observation != dataset.scales.observation {
            return Err(TrainError::Input(format!(
                "{}: expected a behaviour model trained on states scaled as in {}, got another scaling; train it with the same data.* options",
                model.file(),
                origin.file(),
            )));
        }
        model.restore_group(&mut agent, "pi", own)?;
    }
    agent.switch(&options);
    Ok(agent)
}

/// The group of the adaptation's model.
fn own_group(agent: &Agent) -> Option<String> {
    let model = agent.adaptation.model()?;
    Some(agent.table.group(model.policy().group()).name.clone())
}

fn needs_model(agent: &Agent, origin: &Saved, model: Option<&Saved>) -> Result<bool, TrainError> {
    let Some(own) = own_group(agent) else { return Ok(false) };
    Ok(model.is_none() && !origin.groups()?.contains(&own.as_str()))
}

fn copy(from: &str, dir: &RunDir, name: &str) -> Result<(), TrainError> {
    let bytes = crate::files::read(Path::new(from)).map_err(|e| TrainError::Input(format!("{from}: {e}")))?;
    Ok(dir.write(name, &bytes)?)
}
