//! What a training collected up to a checkpoint, in the order of collection.
//!
//! A replay has no flag for the time limit. But every episode that a task does not end ends there, so that counting its
//! rows tells.

use std::path::Path;

use baq_datasets::{Columns, Ending, Source};
use ndarray::{Array1, Array2};

use super::recipe::Recipe;
use crate::autodiff::NoProbe;
use crate::config::{AuditConfig, AutoOr, Config, OnlineConfig};
use crate::env::Spec;
use crate::replay::{self, Layout};
use crate::train::TrainError;
use crate::train::data;
use crate::train::progress::{Ended, Stop};
use crate::train::run::Run;
use crate::train::rundir::{self, RunDir};
use crate::train::state::Saved;

/// The training's configuration for its first `steps` environment steps, and nothing that does not bear on them:
/// evaluations have seeds of their own.
fn first_steps(config: &Config, steps: u64) -> Config {
    let mut config = config.clone();
    let online: OnlineConfig = config.section();
    config.put(OnlineConfig {
        schedule_steps: AutoOr::Value(online.schedule_steps.or_else(|| online.env_steps)),
        env_steps: steps,
        eval_episodes: 0,
        ..online
    });
    config.put(AuditConfig { keep_every: 0, ..config.section() });
    config
}

/// Trains up to the checkpoint in the directory `path`, from where it was left if it was; `None` if a signal came.
pub fn train(
    recipe: &Recipe,
    origin: &str,
    steps: u64,
    path: &Path,
    manner: (&Stop, bool),
) -> Result<Option<Saved>, TrainError> {
    let config = first_steps(&recipe.config(origin)?, steps);
    let text = config.to_toml();
    let begun = crate::files::read_to_string(&path.join(rundir::CONFIG)).is_ok_and(|there| there == text);
    if !begun && path.exists() {
        // Of another version of the recipe, if it is a run at all.
        std::fs::remove_dir_all(path)
            .map_err(|e| TrainError::Input(format!("{}: cannot remove: {e}", path.display())))?;
    }
    let dir = if begun { RunDir::resume(path)? } else { RunDir::create(path)? };
    dir.write(rundir::CONFIG, text.as_bytes())?;
    let saved = if begun { Saved::last(&dir)? } else { None };
    let dataset = data::load(&config)?;
    let run = Run { config: &config, path, dataset, saved: saved.as_ref(), manner, beside: false };
    match run.learn(&dir, &mut NoProbe)? {
        Ended::Interrupted => Ok(None),
        _ => Saved::open(path).map(Some),
    }
}

/// The transitions of a checkpoint.
///
/// # Errors
/// The first of them have been overwritten, or they are not as the environment gave them.
pub fn columns(saved: &Saved, spec: &Spec) -> Result<Columns, TrainError> {
    let refuse = |what: String| Err(TrainError::Input(format!("{}: {what}", saved.file())));
    let steps = saved.counters()?.env_step;
    let Some((width, rows)) = saved.collected()? else {
        return refuse("expected a checkpoint with collected transitions, got one without".into());
    };
    let n = rows.len() / width.max(1);
    if n as u64 != steps {
        return refuse(format!("expected all {steps} transitions that were collected, got {n}"));
    }
    let scales = saved.scales()?;
    let raw = scales.action.is_none()
        && scales.reward.scale == 1.0
        && scales.reward.shift == 0.0
        && scales.observation.mean.iter().all(|x| *x == 0.0)
        && scales.observation.std.iter().all(|x| *x == 1.0);
    let layout = Layout::transitions(spec.obs_dim, spec.act_dim, &[]);
    if !raw || width < layout.width() {
        return refuse(format!("expected transitions as {} gives them, got scaled ones", spec.id));
    }
    let column = |name: &str| -> Vec<f32> {
        let c = layout.column(name);
        rows.chunks_exact(width).flat_map(|row| row[c.offset..c.offset + c.len].iter().copied()).collect()
    };
    let matrix = |name: &str, len| {
        Array2::from_shape_vec((n, len), column(name)).expect("invariant: every row has its columns")
    };
    Ok(Columns {
        observations: matrix(replay::S, spec.obs_dim),
        actions: matrix(replay::A, spec.act_dim),
        next_observations: matrix(replay::S2, spec.obs_dim),
        rewards: Array1::from_vec(column(replay::R)),
        endings: endings(&column(replay::M), spec.max_episode_steps),
        action_log_probs: None,
        source: Source::in_memory("<replay>"),
    })
}

/// How the rows end: where m is 0 the task did, also in the row at which the time was up.
fn endings(masks: &[f32], limit: usize) -> Vec<Ending> {
    let mut steps = 0;
    let of = |m: &f32| {
        steps += 1;
        let ending = match (*m == 0.0, steps == limit) {
            (true, _) => Ending::Terminated,
            (false, true) => Ending::Truncated,
            (false, false) => Ending::Running,
        };
        if ending != Ending::Running {
            steps = 0;
        }
        ending
    };
    masks.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_counted() {
        use Ending::{Running as R, Terminated as T, Truncated as C};
        let masks = [1., 0., 1., 1., 1., 0., 1., 1., 1., 1.];
        assert_eq!(endings(&masks, 3), [R, T, R, R, C, T, R, R, C, R]);
    }
}
