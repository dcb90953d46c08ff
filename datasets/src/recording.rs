//! Every row of a file as it was recorded, whatever the format, and what separates its episodes.

use crate::columns::{Ending, Flags, Source, check_dims};
use crate::episodes::{self, Episode};
use crate::error::{Error, Result, one_line};
use crate::scale::ActionBounds;
use crate::transitions::TimeLimit;
use ndarray::{Array1, Array2};

/// All N rows of a file, checked: equal lengths, finite, actions in [-1, 1], N > 0. Next observations may hold NaN
/// where no transition needs them.
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
    /// Last rows of the episodes that the file's structure keeps apart, `[N]`; `None` for a file that is one list of
    /// rows.
    pub group_ends: Option<Vec<bool>>,
    /// log pi(a|s) of the behaviour policy where recorded, `[N]`.
    pub action_log_probs: Option<Array1<f32>>,
    /// Name of the generating algorithm where recorded.
    pub algorithm: Option<String>,
    /// Environment the data were made in, where recorded (Minari).
    pub env: Option<String>,
    /// What the ends of [-1, 1] stand for in `actions`, where these have been rescaled and the file says so.
    pub action_bounds: Option<ActionBounds>,
    /// Bounds of the task's actions as they were recorded, where the format knows them (Minari).
    pub action_space: Option<ActionBounds>,
    /// What was left out in reading, and why; one line each.
    pub notes: Vec<String>,
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

    /// The limit that counts in this file.
    pub(crate) fn limit(&self, limit: TimeLimit) -> Option<usize> {
        match limit {
            TimeLimit::Asked(steps) => Some(steps),
            TimeLimit::OfTask(steps) if self.timeouts.is_none() && self.group_ends.is_none() => Some(steps),
            TimeLimit::OfTask(_) | TimeLimit::Unknown => None,
        }
    }

    /// Consecutive trajectories, the unfinished tail included; see [`episodes`] for what separates them.
    pub fn episodes(&self, limit: TimeLimit) -> Vec<Episode> {
        let bounds = Bounds::of(self, limit);
        episodes::split(self.len(), |i| bounds.ending(self, i), |i| bounds.breaks[i])
    }

    /// Ends without a flag before the last row, where a reader that looks at flags alone would go on into the next
    /// episode.
    pub fn seams(&self, limit: TimeLimit) -> usize {
        let bounds = Bounds::of(self, limit);
        (0..self.len()).filter(|i| bounds.breaks[*i] && !self.terminals[*i] && !bounds.timed_out[*i]).count()
    }

    /// Finite everywhere and actions in [-1, 1] (or clipped). Next observations are looked at where they are used.
    /// Error: the first offending row.
    pub(crate) fn checked(mut self, clip_actions: bool) -> Result<Self> {
        let file = self.source.path.clone();
        check_finite(&file, "observations", flat(&self.observations), self.obs_dim())?;
        check_finite(&file, "actions", flat(&self.actions), self.act_dim())?;
        check_finite(&file, "rewards", self.rewards.as_slice().unwrap_or_default(), 1)?;
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

/// How each row ended, and where another episode begins after it.
pub(crate) struct Bounds {
    /// At the time limit, by flag or by count, `[N]`.
    pub timed_out: Vec<bool>,
    /// The next row is not the next state, flagged or not, `[N]`; false for the last row.
    pub breaks: Vec<bool>,
}

impl Bounds {
    pub fn of(r: &Recording, limit: TimeLimit) -> Self {
        let n = r.len();
        let next = r.next_observations.as_ref().map(|next| next.view());
        let breaks: Vec<bool> = (0..n)
            .map(|i| match (&r.group_ends, next) {
                _ if i + 1 == n => false,
                (Some(ends), _) => ends[i],
                (None, Some(next)) => !episodes::continues(r.observations.view(), next, i),
                (None, None) => false,
            })
            .collect();
        let limit = r.limit(limit);
        let mut steps = 0;
        let timed_out = (0..n)
            .map(|i| {
                steps += 1;
                // By count nothing ends that ends of itself.
                let counted = Some(steps) == limit && !r.terminals[i];
                let timed_out = r.timeouts.as_ref().is_some_and(|t| t[i]) || counted;
                if timed_out || r.terminals[i] || breaks[i] {
                    steps = 0;
                }
                timed_out
            })
            .collect();
        Bounds { timed_out, breaks }
    }

    /// How row i ended; the end of a group is an end, flagged or not.
    pub fn ending(&self, r: &Recording, i: usize) -> Ending {
        let ends_group = r.group_ends.as_ref().is_some_and(|ends| ends[i]);
        Ending::of(r.terminals[i], self.timed_out[i] || ends_group, Flags::Recorded)
    }
}

/// The note of keys that are not read, if there are any.
pub(crate) fn left_out(keys: &[String]) -> Option<String> {
    let named = one_line(&keys.join(", "));
    (!keys.is_empty()).then(|| format!("left out, as training does not use it: {named}"))
}

pub(crate) fn check_finite(file: &str, key: &str, values: &[f32], width: usize) -> Result<()> {
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
