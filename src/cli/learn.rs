//! What `baq train` and `baq finetune` have in common: a run begins, goes on, is extended, and ends with its report.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{HumanCount, HumanDuration};

use super::probes::{close, probes};
use super::{Common, hints, notes, resume, say_notes, setup};
use crate::config::{Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::study::cost::{self, Last};
use crate::train::data::Dataset;
use crate::train::effects;
use crate::train::interaction::environment;
use crate::train::metrics::{Evaluation, EvaluationLog, Phase, read_evaluations};
use crate::train::plan::{parse_count, starts_online};
use crate::train::progress::{Ended, Stop};
use crate::train::provenance;
use crate::train::run::{Run, Sources};
use crate::train::rundir::{self, EARLIER, MODEL, ORIGIN, RunDir};
use crate::train::shelf::Shelf;
use crate::train::state::Saved;
use crate::train::{TrainError, memory, reach};

/// Options of a command that trains which change nothing of what the run computes.
#[derive(Clone, Debug, Default, Args)]
pub struct Conduct {
    /// repeat metrics and evaluations for TensorBoard, in tensorboard/ of the run directory
    #[arg(long)]
    tensorboard: bool,
    /// no progress bar, and no lines of progress
    #[arg(long)]
    quiet: bool,
    /// play evaluation episodes on a thread of their own while training goes on (results do not depend on it)
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    evaluate_beside: Beside,
    /// where a study's runs share their data
    #[arg(skip)]
    pub(super) shelf: Option<Shelf>,
}

impl Conduct {
    /// Until this stop.
    pub fn manner<'a>(&'a self, stop: &'a Stop, common: Common) -> Manner<'a> {
        let beside = self.evaluate_beside.holds();
        let (quiet, shelf) = (self.quiet || common.json, self.shelf.as_ref());
        Manner { stop, quiet, tensorboard: self.tensorboard, beside, shelf }
    }
}

/// When evaluations are played beside training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Beside {
    /// where the process may use more cores than it has --threads
    #[default]
    Auto,
    /// always
    On,
    /// never: training waits for them
    Off,
}

impl Beside {
    /// Whether they are in this process.
    pub fn holds(self) -> bool {
        match self {
            Beside::Auto => cores() > baq_kernels::threads(),
            Beside::On => true,
            Beside::Off => false,
        }
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

/// What ends a run early, who sees how it goes, and where it is evaluated.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// what ends it
    pub stop: &'a Stop,
    /// nobody at the terminal
    pub quiet: bool,
    /// TensorBoard
    pub tensorboard: bool,
    /// evaluations are played on a thread beside it
    pub beside: bool,
    /// where data are shared with other runs
    pub shelf: Option<&'a Shelf>,
}

impl<'a> Manner<'a> {
    /// The terminal sees it, unless it is quiet; evaluations beside it where a core is free.
    pub fn new(stop: &'a Stop, quiet: bool) -> Manner<'a> {
        Manner { stop, quiet, tensorboard: false, beside: Beside::Auto.holds(), shelf: None }
    }

    /// Asks the run in this directory for what will show it; a run that was asked before goes on with it.
    fn prepare(self, dir: &RunDir) -> Result<(), TrainError> {
        if self.tensorboard {
            dir.folder(rundir::TENSORBOARD)?;
        }
        Ok(())
    }
}

/// How a run in a directory goes on.
#[derive(Clone, Debug, Default, Args)]
pub struct Again {
    /// make the last phase of a finished run longer before going on: offline=UPDATES or online=STEPS, the new length, as in
    /// online=100k; schedules without a length of their own keep that of the first plan
    #[arg(long, value_name = "PHASE=LENGTH", requires = "resume")]
    pub extend: Option<String>,
    /// go on with, or begin with, another MuJoCo than the run or the configuration names
    #[arg(long)]
    pub accept_mujoco: bool,
}

/// Whether a run of this configuration, from nothing or fine-tuning, goes online.
fn online(config: &Config, from: &Sources) -> bool {
    from.origin.is_some() || starts_online(config)
}

/// Begins a run in a new directory. What can be wrong with the input is found before anything is created. `earlier` are the
/// evaluations of the origin. Errors: options without effect; a run that would learn nothing, or not fit in memory;
/// data, options and checkpoints that do not go together; a run that goes online without an environment; an `out` that
/// holds anything; files that cannot be written; a run that diverges.
pub fn begin(
    config: &Config,
    out: &Path,
    dataset: Dataset,
    from: &Sources,
    earlier: &[Evaluation],
    manner: Manner<'_>,
) -> Result<Ended, TrainError> {
    let stage = match &from.origin {
        Some(origin) => {
            effects::Stage::Online { before: origin.counters()?.round, collected: origin.collected_rows()? }
        }
        None if starts_online(config) => effects::Stage::Scratch,
        None => effects::Stage::Offline,
    };
    effects::check(config, &dataset, stage)?;
    reach::check_run(config, &dataset, stage)?;
    let config = &from.with_room(config, &dataset)?;
    check_memory(config, from, &dataset)?;
    let config = &dataset.pin(config);
    drop(from.agent(config, &dataset)?);
    let run: RunConfig = config.section();
    if run.env.is_empty() && online(config, from) {
        // A named one was checked where it was named; this says that one is needed.
        drop(environment(&run, &dataset)?);
    }
    let dir = RunDir::create(out)?;
    for (saved, name) in [(&from.origin, ORIGIN), (&from.model, MODEL)] {
        if let Some(saved) = saved {
            let file = saved.file();
            let bytes =
                crate::files::read(Path::new(file)).map_err(|e| TrainError::Input(format!("{file}: {e}")))?;
            dir.write(name, &bytes)?;
        }
    }
    if from.origin.is_some() {
        EvaluationLog::create(&dir.folder(EARLIER)?, earlier)?.flush()?;
    }
    manner.prepare(&dir)?;
    // Written last: a directory with a configuration can be resumed.
    dir.write(rundir::CONFIG, config.to_toml().as_bytes())?;
    learn(config, &dir, dataset, None, manner)
}

/// The evaluations that a run which starts from the checkpoint `origin`, of the run at `from`, shows before its own: those
/// that came before it. Errors: a run whose table of evaluations is missing or not understood.
pub fn earlier(from: &Path, origin: &Saved) -> Result<Vec<Evaluation>, TrainError> {
    let from = if from.ends_with(rundir::CHECKPOINT) { from.parent().unwrap_or(from) } else { from };
    if !from.join(rundir::CONFIG).exists() {
        return Ok(Vec::new());
    }
    let counters = origin.counters()?;
    let end = if origin.is_online()? { counters.offline_rounds } else { counters.round };
    // One that was stopped before its first update shows those of its own origin.
    let mut all = match from.join(rundir::EVALUATIONS_CSV).exists() || !from.join(EARLIER).exists() {
        true => read_evaluations(from)?,
        false => read_evaluations(&from.join(EARLIER))?,
    };
    // The curve counts environment steps of the new run.
    all.retain(|e| e.stamp.phase == Phase::Offline && e.stamp.update <= end);
    Ok(all)
}

/// Goes on with an interrupted run, or a longer one; everything comes from its directory, the data perhaps from `moved`.
/// Errors: no run, or one that another process writes; an extension that it cannot have; another configuration,
/// arithmetic, simulator or data than its own; what does not fit in memory; files that cannot be read or written; a run
/// that diverges.
pub fn go_on(
    path: &Path,
    again: &Again,
    moved: Option<&str>,
    manner: Manner<'_>,
) -> Result<(Ended, Config), TrainError> {
    let dir = RunDir::resume(path)?;
    if let Some(extension) = &again.extend {
        let config = extended(&dir, extension)?;
        // What can be wrong with the extension is found before the run is changed.
        let dataset = resume::data(&dir, &config, moved, manner.shelf)?;
        let from = Sources::of(path)?;
        check_memory(&config, &from, &dataset)?;
        from.agent(&config, &dataset).map_err(|e| {
            TrainError::Input(format!(
                "--extend {extension}: {e}; the options of a run stay: begin another one, or fine-tune from this one"
            ))
        })?;
        resume::open(&dir, again.accept_mujoco)?;
        dir.write(rundir::CONFIG, config.to_toml().as_bytes())?;
    }
    manner.prepare(&dir)?;
    let (config, saved) = resume::open(&dir, again.accept_mujoco)?;
    let dataset = resume::data(&dir, &config, moved, manner.shelf)?;
    check_memory(&config, &Sources::of(path)?, &dataset)?;
    if saved.is_none() {
        eprintln!("baq: {}: no checkpoint, so it begins again from its start", path.display());
    }
    let ended = learn(&config, &dir, dataset, saved.as_ref(), manner)?;
    if ended != Ended::Interrupted {
        resume::say_if_over(&dir, saved.as_ref())?;
    }
    Ok((ended, config))
}

/// Does what `baq VERB --resume` asks for; the directory of the run is the first of what it returns. Errors: no run of
/// `baq VERB`; a `--seed`; those of [`go_on`].
pub fn resumed(
    path: &Path,
    verb: &str,
    again: &Again,
    moved: Option<&str>,
    manner: Manner<'_>,
    common: Common,
) -> Result<(PathBuf, Ended, Config), TrainError> {
    hints::check_resume(path, verb)?;
    // The command line itself refuses the other options that a run takes from its directory.
    if let Some(seed) = common.seed {
        return Err(TrainError::Input(format!(
            "--seed {seed}: expected none beside --resume, which goes on with the seed of the run; leave it out"
        )));
    }
    let (ended, config) = go_on(path, again, moved, manner)?;
    Ok((path.to_path_buf(), ended, config))
}

/// The configuration of a run that is planned longer. It is all that changes; the checkpoint goes on from where it ended.
fn extended(dir: &RunDir, extension: &str) -> Result<Config, TrainError> {
    let refuse = |why: String| Err(TrainError::Input(format!("--extend {extension}: {why}")));
    let Some((phase, length)) = extension.split_once('=').and_then(|(p, n)| Some((p, parse_count(n)?)))
    else {
        return refuse("expected PHASE=LENGTH, as in online=100k".into());
    };
    let mut config = setup::of_run(dir)?;
    let last = if online(&config, &Sources::of(dir.path())?) { "online" } else { "offline" };
    if phase != last {
        return refuse(format!("expected the last phase of the run, {last}, got {phase}"));
    }
    if config.section::<crate::config::AuditConfig>().ledger {
        return refuse(
            "expected a run without a ledger, which belongs to the configuration it began with; plan a longer run, or fine-tune from this one".into(),
        );
    }
    let (offline, steps): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let planned = if last == "online" { steps.env_steps } else { offline.updates };
    if length < planned {
        return refuse(format!(
            "expected at least the {planned} that are planned, the whole length of the phase"
        ));
    }
    if last == "offline" && offline.patience > 0 && Saved::open(dir.path())?.counters()?.best_loss.is_some() {
        return refuse(
            "expected a run that keeps its last weights, got one that goes back to the best (offline.patience); begin a longer one".into(),
        );
    }
    if length > planned {
        let text = match last {
            "online" => {
                let horizon = steps.schedule_steps.or_else(|| planned);
                format!("[online]\nenv_steps = {length}\nschedule_steps = {horizon}\n")
            }
            _ => {
                let horizon = offline.schedule_updates.or_else(|| planned);
                format!("[offline]\nupdates = {length}\nschedule_updates = {horizon}\n")
            }
        };
        config.apply_text("--extend", &text)?;
    }
    Ok(config)
}

fn check_memory(config: &Config, from: &Sources, dataset: &Dataset) -> Result<(), TrainError> {
    match online(config, from) {
        true => memory::check_online(config, dataset),
        false => memory::check(config, dataset),
    }
}

/// Learns in a directory, from its checkpoint if there is one, and reports at the end.
fn learn(
    config: &Config,
    dir: &RunDir,
    dataset: Dataset,
    saved: Option<&Saved>,
    manner: Manner<'_>,
) -> Result<Ended, TrainError> {
    let run: RunConfig = config.section();
    let from = Sources::of(dir.path())?;
    let online = online(config, &from);
    provenance::note(dir)?;
    if let Some(given) = saved.or(from.origin.as_ref()) {
        // Only then is it certain that these are the data of this run.
        given.check_dataset(&dataset.facts)?;
    }
    say_notes(&dataset.facts);
    if !manner.quiet {
        let last = if online { Last::Online { given: from.model.is_some() } } else { Last::Offline };
        announce(config, &dataset, last, saved.is_some());
    }
    let on = if online { run.env } else { run.dataset };
    let mut probe = probes(config, dir, &dataset, saved)?;
    let (beside, manner) = (manner.beside, (manner.stop, manner.quiet));
    let ended = Run { config, path: dir.path(), dataset, saved, manner, beside }.learn(dir, &mut probe)?;
    if ended != Ended::Interrupted {
        close(dir, &mut probe)?;
        let title = format!("{} on {on}", setup::config_method(config));
        let runs = [dir.path().to_path_buf()];
        crate::report::write(dir.path(), &title, &runs, &notes::notes(&runs), &[])?;
    }
    Ok(ended)
}

/// One line on what is going to be done, and how long that takes here.
fn announce(config: &Config, dataset: &Dataset, last: Last, again: bool) {
    let (run, facts): (RunConfig, _) = (config.section(), &dataset.facts);
    let data = match dataset.is_absent() {
        true => String::new(),
        false => format!(" on {} ({} transitions)", facts.name, HumanCount(facts.used)),
    };
    let env = if run.env.is_empty() { "no environment" } else { &run.env };
    let (offline, steps): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let (work, every, episodes) = match last {
        Last::Offline => {
            (format!("{} updates", HumanCount(offline.updates)), offline.eval_every, offline.eval_episodes)
        }
        Last::Online { .. } => {
            let work = format!("{} environment steps", HumanCount(steps.env_steps));
            (work, steps.eval_every, steps.eval_episodes)
        }
    };
    let evaluated = match episodes > 0 && !run.env.is_empty() {
        true => format!(", evaluated every {}", HumanCount(every)),
        false => String::new(),
    };
    let seconds = cost::seconds(config, last, QUICK);
    // What stands against measuring stands against training, which says so itself.
    let time = match seconds {
        Ok(seconds) if seconds > 0.0 => {
            format!(", about {} here", HumanDuration(Duration::from_secs_f64(seconds.max(1.0))))
        }
        _ => String::new(),
    };
    let on = if again { "going on: " } else { "" };
    let method = setup::config_method(config);
    eprintln!("baq: {on}{method}{data}, {env}: {work} in all{evaluated}{time}");
}

/// Seconds of each measurement of what a run will take.
const QUICK: f64 = 0.03;
