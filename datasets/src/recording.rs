//! Every row of a file as it was recorded, whatever the format, and the two ways of making transitions from it.

use crate::columns::{Columns, Ending, Source, check_dims};
use crate::episodes::{self, Episode};
use crate::error::{Error, Result};
use ndarray::{Array1, Array2};

/// How rows become transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The recorded next observation is s'; the rows are those of [`Mode::D4rl`], so counts stay comparable with
    /// published work, but s' of a terminal row is the true last state. Without that key, as [`Mode::D4rl`].
    #[default]
    NextObservations,
    /// Row for row what `d4rl.qlearning_dataset` returns: s' is the next row's observation, also across an episode's
    /// end, rows with the timeout flag go, the file's last row goes.
    D4rl,
}

/// Options of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How rows become transitions.
    pub mode: Mode,
    /// Keep rows with the timeout flag (m stays 1) and the last row. Needs recorded next observations and
    /// [`Mode::NextObservations`].
    pub keep_timeout_transitions: bool,
    /// Clip actions to [-1, 1] instead of refusing the file.
    pub clip_actions: bool,
    /// Time limit assumed for files without a timeout column, as D4RL does: rows counted since the last end.
    pub max_episode_steps: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mode: Mode::default(),
            keep_timeout_transitions: false,
            clip_actions: false,
            max_episode_steps: 1000,
        }
    }
}

/// All N rows of a file, checked: equal lengths, finite, actions in [-1, 1], N > 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// `[N, S]`.
    pub observations: Array2<f32>,
    /// `[N, A]`.
    pub actions: Array2<f32>,
    /// `[N]`, raw.
    pub rewards: Array1<f32>,
    /// `[N, S]` where the format records them.
    pub next_observations: Option<Array2<f32>>,
    /// The environment's own end, `[N]`.
    pub terminals: Vec<bool>,
    /// Time limit reached, `[N]`; `None` for files without such a column.
    pub timeouts: Option<Vec<bool>>,
    /// log pi(a|s) of the behaviour policy where recorded, `[N]`.
    pub action_log_probs: Option<Array1<f32>>,
    /// Name of the generating algorithm where recorded.
    pub algorithm: Option<String>,
    /// Environment the data were made in, where recorded (Minari).
    pub env: Option<String>,
    /// Origin.
    pub source: Source,
}

impl Recording {
    /// Number of rows N.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// True if there is no row (a reader never returns such a recording).
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Width of an observation, S.
    pub fn obs_dim(&self) -> usize {
        self.observations.ncols()
    }

    /// Width of an action, A.
    pub fn act_dim(&self) -> usize {
        self.actions.ncols()
    }

    /// Compares the widths with an environment's. Error: the first one that differs, naming `env`.
    pub fn check_dims(&self, env: &str, obs_dim: usize, act_dim: usize) -> Result<()> {
        check_dims(&self.source.path, env, (self.obs_dim(), self.act_dim()), (obs_dim, act_dim))
    }

    /// Consecutive trajectories, the unfinished tail included; see [`episodes`] for what separates them.
    pub fn episodes(&self) -> Vec<Episode> {
        let next = self.next_observations.as_ref().map(|n| n.view());
        episodes::split(self.len(), |i| self.ending(i), self.observations.view(), next)
    }

    /// The flags of row i; a failure that falls on the time limit is a failure.
    fn ending(&self, i: usize) -> Ending {
        if self.terminals[i] {
            Ending::Terminated
        } else if self.timeouts.as_ref().is_some_and(|t| t[i]) {
            Ending::Truncated
        } else {
            Ending::Running
        }
    }

    /// Which rows the standard Q-learning view keeps, `[N]`. `max_episode_steps` matters only without timeout column.
    pub fn qlearning_rows(&self, max_episode_steps: usize) -> Vec<bool> {
        let n = self.len();
        let mut keep = vec![false; n];
        // D4RL counts on from 1 after a terminal but from 0 after a timeout; row for row includes that.
        let mut step = 0;
        for i in 0..n.saturating_sub(1) {
            let last = match &self.timeouts {
                Some(timeouts) => timeouts[i],
                None => step + 1 == max_episode_steps,
            };
            if last {
                step = 0;
                continue;
            }
            if self.terminals[i] {
                step = 0;
            }
            keep[i] = true;
            step += 1;
        }
        keep
    }

    /// Turns rows into transitions, in place, without a second copy of the data.
    ///
    /// A dropped timeout row leaves [`Ending::Truncated`] on the row before it, where the trajectory now stops; a
    /// recorded seam (next observation differs from the next row) does the same. Errors: a kept timeout without recorded
    /// next observations; no transition left.
    pub fn into_columns(mut self, options: &Options) -> Result<Columns> {
        let n = self.len();
        if n == 0 {
            return Err(Error::TooFewRows {
                file: self.source.path,
                key: "rewards".into(),
                expected: 1,
                got: 0,
            });
        }
        let recorded = options.mode == Mode::NextObservations && self.next_observations.is_some();
        if options.keep_timeout_transitions && !recorded {
            let got = match options.mode {
                Mode::D4rl => "mode d4rl",
                Mode::NextObservations => "a file without that key",
            };
            return Err(Error::CannotKeepTimeouts { file: self.source.path, got });
        }
        let keep = if options.keep_timeout_transitions {
            vec![true; n]
        } else if recorded && self.timeouts.is_none() {
            // Seams are visible in the recorded next observations: no need to guess them from a step counter.
            (0..n).map(|i| i + 1 < n).collect()
        } else {
            self.qlearning_rows(options.max_episode_steps)
        };
        let mut endings: Vec<Ending> = (0..n).map(|i| self.ending(i)).collect();
        if recorded {
            for episode in self.episodes() {
                let last = episode.rows.end - 1;
                if last + 1 < n && endings[last] == Ending::Running {
                    endings[last] = Ending::Truncated;
                }
            }
        }
        for i in 0..n - 1 {
            // The file's last row goes without being an end of anything, unless it is flagged itself.
            let cut = !keep[i + 1] && (i + 2 < n || endings[i + 1] == Ending::Truncated);
            if keep[i] && cut && endings[i] == Ending::Running {
                endings[i] = Ending::Truncated;
            }
        }
        let kept = keep.iter().filter(|k| **k).count();
        if kept == 0 {
            return Err(Error::TooFewRows {
                file: self.source.path,
                key: "rewards".into(),
                expected: 2,
                got: n,
            });
        }
        let next = match self.next_observations.take() {
            Some(next) if recorded => compact(next, &keep, kept, 0),
            _ => compact(self.observations.clone(), &keep, kept, 1),
        };
        let mut flags = keep.iter();
        endings.retain(|_| *flags.next().expect("invariant: one flag per row"));
        Ok(Columns {
            next_observations: next,
            observations: compact(self.observations, &keep, kept, 0),
            actions: compact(self.actions, &keep, kept, 0),
            rewards: compact_1(self.rewards, &keep, kept),
            endings,
            action_log_probs: self.action_log_probs.map(|p| compact_1(p, &keep, kept)),
            source: self.source,
        })
    }

    /// Finite everywhere and actions in [-1, 1] (or clipped). Error: the first offending row.
    pub(crate) fn checked(mut self, clip_actions: bool) -> Result<Self> {
        let file = self.source.path.clone();
        check_finite(&file, "observations", flat(&self.observations), self.obs_dim())?;
        check_finite(&file, "actions", flat(&self.actions), self.act_dim())?;
        check_finite(&file, "rewards", self.rewards.as_slice().unwrap_or_default(), 1)?;
        if let Some(next) = &self.next_observations {
            check_finite(&file, "next_observations", flat(next), self.obs_dim())?;
        }
        if let Some(p) = &self.action_log_probs {
            check_finite(&file, "infos/action_log_probs", p.as_slice().unwrap_or_default(), 1)?;
        }
        if clip_actions {
            self.actions.mapv_inplace(|a| a.clamp(-1.0, 1.0));
        }
        let outside = |a: &f32| a.abs() > 1.0;
        let actions = flat(&self.actions);
        if let Some(at) = actions.iter().position(outside) {
            return Err(Error::ActionRange {
                file,
                key: "actions".into(),
                row: at / self.act_dim(),
                value: actions[at],
                count: actions.iter().filter(|a| outside(a)).count(),
            });
        }
        Ok(self)
    }
}

/// Elements in row-major order; every array of this crate is in standard layout.
fn flat(array: &Array2<f32>) -> &[f32] {
    array.as_slice().expect("invariant: standard layout")
}

fn check_finite(file: &str, key: &str, values: &[f32], width: usize) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            file: file.into(),
            key: key.into(),
            row: at / width.max(1),
            value: values[at],
            count: values.iter().filter(|v| !v.is_finite()).count(),
        }),
    }
}

/// Moves row i + shift to the front for every kept i; reading never falls behind writing, so one buffer suffices.
fn compact(array: Array2<f32>, keep: &[bool], kept: usize, shift: usize) -> Array2<f32> {
    let width = array.ncols();
    if kept == keep.len() && shift == 0 {
        return array;
    }
    let mut data = row_major(array);
    let rows = (0..keep.len()).filter(|i| keep[*i]);
    for (to, row) in rows.enumerate() {
        let from = (row + shift) * width;
        data.copy_within(from..from + width, to * width);
    }
    data.truncate(kept * width);
    Array2::from_shape_vec((kept, width), data).expect("invariant: kept rows of equal width")
}

/// The elements in row-major order, without a copy where they lie so already (always, if a reader made the array).
fn row_major(array: Array2<f32>) -> Vec<f32> {
    if !array.is_standard_layout() {
        return array.iter().copied().collect();
    }
    let n = array.len();
    let (mut data, offset) = array.into_raw_vec_and_offset();
    data.drain(..offset.unwrap_or(0));
    data.truncate(n);
    data
}

fn compact_1(array: Array1<f32>, keep: &[bool], kept: usize) -> Array1<f32> {
    let column = array.insert_axis(ndarray::Axis(1));
    compact(column, keep, kept, 0).remove_axis(ndarray::Axis(1))
}
