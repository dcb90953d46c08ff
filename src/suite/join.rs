//! Two files as one, as D4RL joins them: the first without its unfinished last episode, then the second.

use std::path::Path;

use baq_datasets::{Columns, Ending, Flags, Options, d4rl};
use ndarray::{Array2, Axis, concatenate, s};

use crate::train::TrainError;

/// The rows of both files, which are of one task.
pub fn read(first: &Path, second: &Path) -> Result<Columns, TrainError> {
    let (mut a, b) = (raw(first)?, raw(second)?);
    let whole = a.endings.iter().rposition(|e| *e != Ending::Running).map_or(0, |last| last + 1);
    a.endings.truncate(whole);
    let both = |a: &Array2<f32>, b: &Array2<f32>| {
        concatenate(Axis(0), &[a.slice(s![..whole, ..]), b.view()]).expect("invariant: both are of one task")
    };
    let rewards = concatenate(Axis(0), &[a.rewards.slice(s![..whole]), b.rewards.view()]);
    Ok(Columns {
        observations: both(&a.observations, &b.observations),
        actions: both(&a.actions, &b.actions),
        next_observations: both(&a.next_observations, &b.next_observations),
        rewards: rewards.expect("invariant: both are vectors"),
        endings: [a.endings, b.endings].concat(),
        action_log_probs: None,
        source: b.source,
    })
}

/// All rows of a file that the suite wrote.
fn raw(path: &Path) -> Result<Columns, TrainError> {
    let recording = d4rl::read(path, Options::default().clip_actions)?;
    let missing =
        || TrainError::Input(format!("{}: expected next observations and timeouts", path.display()));
    let timeouts = recording.timeouts.as_ref().ok_or_else(missing)?;
    let endings = recording.terminals.iter().zip(timeouts);
    let endings = endings.map(|(t, c)| Ending::of(*t, *c, Flags::Recorded)).collect();
    Ok(Columns {
        endings,
        next_observations: recording.next_observations.ok_or_else(missing)?,
        observations: recording.observations,
        actions: recording.actions,
        rewards: recording.rewards,
        action_log_probs: None,
        source: recording.source,
    })
}
