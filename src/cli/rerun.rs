//! A run computed again from its directory: from its beginning, or from a checkpoint that it has kept.

use std::path::{Path, PathBuf};

use super::setup;
use crate::audit::Recorder;
use crate::config::Config;
use crate::train::TrainError;
use crate::train::conditions;
use crate::train::data::Dataset;
use crate::train::progress::Stop;
use crate::train::run::{Run, Sources};
use crate::train::rundir;
use crate::train::state::Saved;
use crate::train::training::Training;

/// The configuration of a run, as its directory states it. Errors: it has no configuration that can be read, or one
/// with unknown options or values.
pub fn configuration(run: &Path) -> Result<Config, TrainError> {
    let path = run.join(rundir::CONFIG);
    let text = crate::files::read_to_string(&path).map_err(|e| {
        TrainError::Input(format!(
            "{}: expected the directory of a run with {} in it ({e}); name what `baq train` created",
            run.display(),
            rundir::CONFIG
        ))
    })?;
    setup::of_text(&path.display().to_string(), &text)
}

/// Checkpoints of a run in order of time, the last one at the end, each with what is wrong with it, if anything.
pub fn checkpoints(run: &Path) -> Vec<(PathBuf, Result<Saved, TrainError>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(run.join(rundir::KEPT))
        .map(|entries| entries.filter_map(|e| e.ok().map(|e| e.path())).collect())
        .unwrap_or_default();
    paths.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    paths.push(run.join(rundir::CHECKPOINT));
    paths.retain(|p| p.exists());
    paths.into_iter().map(|p| (p.clone(), Saved::open(&p))).collect()
}

/// The last phase of a run, at its beginning or where it was saved. Phases before it are done first, seen by the probe.
/// Errors: another simulator or other data than the run's; origin, model or checkpoint that cannot be read or do not
/// fit the configuration; a phase that diverges.
pub fn last_phase<'a, R: Recorder>(
    config: &'a Config,
    run: &Path,
    dataset: Dataset,
    saved: Option<&Saved>,
    probe: &mut R,
) -> Result<Training<'a>, TrainError> {
    if Sources::of(run)?.goes_online(config) {
        conditions::check_simulator(config)?;
    }
    let never = Stop::default();
    let rerun = Run { config, path: run, dataset, saved, manner: (&never, true), beside: false };
    let (training, _) = rerun.last_phase(None, probe)?.expect("invariant: nobody stops it");
    Ok(training)
}

/// The last whole checkpoint at or before a round, counted from 0; `None` means the beginning.
pub fn start(run: &Path, round: u64) -> Result<Option<Saved>, TrainError> {
    let mut best = None;
    for saved in checkpoints(run).into_iter().filter_map(|(_, saved)| saved.ok()) {
        let at = saved.counters()?.round;
        // Online, the rounds of one environment step belong together; only an interruption saves a state between them.
        if at <= round && best.as_ref().is_none_or(|(b, _)| at >= *b) {
            best = Some((at, saved));
        }
    }
    Ok(best.map(|(_, saved)| saved))
}
