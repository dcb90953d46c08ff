//! Whether an interrupted run may go on in this process: it must compute what the run computed so far.

use super::setup;
use crate::config::{Config, MujocoConfig, OfflineConfig, OnlineConfig, RunConfig};
use crate::train::TrainError;
use crate::train::conditions;
use crate::train::data::Dataset;
use crate::train::rundir::{self, RunDir};
use crate::train::shelf::Shelf;
use crate::train::state::Saved;

/// The configuration of an interrupted run and its checkpoint, if it has one. An error unless configuration,
/// instruction set, numerics and simulator are those of the checkpoint; another simulator may be accepted.
pub fn open(dir: &RunDir, accept_mujoco: bool) -> Result<(Config, Option<Saved>), TrainError> {
    let mut config = setup::of_run(dir)?;
    let began: MujocoConfig = config.section();
    let saved = Saved::last(dir)?;
    if let Some(saved) = &saved {
        check_config(dir, &config, saved)?;
        check_arithmetic(saved)?;
    }
    if !began.release.is_empty() {
        let here = conditions::simulator()?;
        let then = saved.as_ref().map(Saved::simulators).transpose()?;
        let then = then.as_ref().and_then(|all| all.last()).unwrap_or(&began);
        if *then != here && !accept_mujoco {
            return Err(TrainError::Input(format!(
                "{}: it was simulated with {then}, this process has {here}; its numbers would be those of no run: \
                 set MUJOCO_PATH to the other, or say --accept-mujoco",
                dir.path().display()
            )));
        }
        if *then != here && saved.is_none() {
            // Nothing has been computed yet.
            config.put(here);
            dir.write(rundir::CONFIG, config.to_toml().as_bytes())?;
        }
    }
    Ok((config, saved))
}

/// The data of a run that goes on, from where it read them or, if they were moved, from `moved`; they must be the same.
/// Nothing that the run writes tells of the move: its files are those of a run that was never interrupted. Errors: data
/// that cannot be read, or are others; `moved` of a run without data, or of one that does not say what they were.
pub fn data(
    dir: &RunDir,
    config: &Config,
    moved: Option<&str>,
    shelf: Option<&Shelf>,
) -> Result<Dataset, TrainError> {
    let run: RunConfig = config.section();
    let Some(data) = moved else {
        return setup::load_again(config, shelf);
    };
    let refuse = |why: &str| Err(TrainError::Input(format!("--data {data}: {} {why}", dir.path().display())));
    if run.dataset.is_empty() {
        return refuse("is a run without data; leave it out");
    }
    if run.dataset_sha256.is_empty() {
        return refuse("does not say what its data were; put them where it read them");
    }
    let mut there = config.clone();
    there.put(RunConfig { dataset: setup::absolute(data)?, ..run.clone() });
    let mut dataset = setup::load_again(&there, shelf)?;
    dataset.facts.name = run.dataset;
    Ok(dataset)
}

/// Says so if the run that has just gone on from a checkpoint had no update left to make. Errors: a checkpoint is
/// missing or cannot be read.
pub fn say_if_over(dir: &RunDir, before: Option<&Saved>) -> Result<(), TrainError> {
    let Some(before) = before else { return Ok(()) };
    if Saved::open(dir.path())?.counters()? == before.counters()? {
        eprintln!("baq: {}: the run is complete; no update was left to make", dir.path().display());
    }
    Ok(())
}

fn check_arithmetic(saved: &Saved) -> Result<(), TrainError> {
    let (isa, numerics) = saved.arithmetic()?;
    let here = baq_kernels::active();
    let refuse = |what: &str, then: &str, now: &str, hint: String| {
        Err(TrainError::Input(format!(
            "{}: {what}: made with {then}, this process uses {now}; {hint}",
            saved.file()
        )))
    };
    if isa != here.isa.name() {
        return refuse("instruction set", isa, here.isa.name(), format!("say --isa {isa}"));
    }
    if numerics != here.arithmetic() {
        let mode = numerics.split(' ').next().unwrap_or(numerics);
        let hint = format!("say --numerics {mode}, on a processor with the same unit");
        return refuse("numerics", numerics, &here.arithmetic(), hint);
    }
    Ok(())
}

/// An error that names the first line of the configuration that is not as the checkpoint has it. Where the data are may
/// change: what they are is known by their checksum.
fn check_config(dir: &RunDir, now: &Config, saved: &Saved) -> Result<(), TrainError> {
    let then = setup::of_text(&format!("{}: configuration", saved.file()), saved.config()?)?;
    let text = dir.read(rundir::CONFIG)?;
    let file = dir.file(rundir::CONFIG);
    let names = |config: &Config| config.sections().map(|s| s.name()).collect::<Vec<_>>().join(", ");
    if names(&then) != names(now) {
        return Err(TrainError::Input(format!(
            "{}: expected the checkpoint of a run with the sections {} of {}, got {}; it is of another method",
            saved.file(),
            names(now),
            file.display(),
            names(&then)
        )));
    }
    for (a, b) in then.sections().zip(now.sections()) {
        for field in a.fields().iter().filter(|f| (a.name(), f.key) != ("run", "dataset")) {
            let (before, after) = (a.get(field.key), b.get(field.key));
            if before != after && !(is_length(a.name(), field.key) && is_longer(&then, now)) {
                let show = |value: Option<toml::Value>| {
                    format!("{} = {}", field.key, value.map(|v| v.to_string()).unwrap_or_default())
                };
                let line = line_of(&text, a.name(), field.key).map(|n| format!(", line {n}"));
                return Err(TrainError::Input(format!(
                    "{}{}: the run was made with `{}`, now there is `{}`; put it back, or begin another run with --config",
                    file.display(),
                    line.unwrap_or_default(),
                    show(before),
                    show(after)
                )));
            }
        }
    }
    Ok(())
}

fn is_length(section: &str, key: &str) -> bool {
    [
        ("offline", "updates"),
        ("offline", "schedule_updates"),
        ("online", "env_steps"),
        ("online", "schedule_steps"),
    ]
    .contains(&(section, key))
}

/// Whether `now` plans what `then` did, and more of it: schedules are what they were.
fn is_longer(then: &Config, now: &Config) -> bool {
    let (a, b): (OfflineConfig, OfflineConfig) = (then.section(), now.section());
    let (c, d): (OnlineConfig, OnlineConfig) = (then.section(), now.section());
    a.updates <= b.updates
        && a.horizon() == b.horizon()
        && c.env_steps <= d.env_steps
        && c.learning_horizon() == d.learning_horizon()
}

/// The line, counted from 1, on which a section sets a key.
fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let mut within = false;
    for (i, line) in text.lines().map(str::trim).enumerate() {
        if line.starts_with('[') {
            within = line == format!("[{section}]");
        } else if within && line.split('=').next().is_some_and(|k| k.trim() == key) {
            return Some(i + 1);
        }
    }
    None
}
