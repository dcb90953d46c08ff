//! The ways of making transitions from recorded rows.

use crate::columns::{Columns, Ending, Flags};
use crate::error::{Error, Result};
use crate::recording::{Bounds, Recording};
use ndarray::{Array1, Array2};

/// How rows become transitions. All modes have the same rows where every end is flagged, and none crosses an end that
/// the file's own structure knows (Minari's groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As [`Mode::D4rl`] inside episodes, but never across a seam: a row whose recorded next observation is not the next
    /// row's, without a flag, has the recorded one as s', and its episode is cut there.
    #[default]
    Episodes,
    /// The recorded next observation is s' in every row; the rows are those of [`Mode::Episodes`], but s' of a terminal
    /// row is the true last state. Without that key, as [`Mode::Episodes`].
    NextObservations,
    /// Row for row what `d4rl.qlearning_dataset` returns: s' is the next row's observation, also across an episode's
    /// end, rows with the timeout flag go, the file's last row goes.
    D4rl,
}

/// The time limit by which rows are cut where no flag says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeLimit {
    /// None is known: only flags, seams and the file's structure end an episode.
    #[default]
    Unknown,
    /// The task's, assumed as D4RL does: it counts only where a file has neither a timeout column nor episodes of its
    /// own.
    OfTask(usize),
    /// Asked for: it counts in every file, beside its flags.
    Asked(usize),
}

/// Options of reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// How rows become transitions.
    pub mode: Mode,
    /// Keep rows with the timeout flag (m stays 1) and the last row. Needs recorded next observations and
    /// [`Mode::NextObservations`].
    pub keep_timeout_transitions: bool,
    /// Clip actions to [-1, 1] instead of refusing the file.
    pub clip_actions: bool,
    /// The last of so many rows of an episode is one at a time limit.
    pub time_limit: TimeLimit,
}

impl Recording {
    /// Seams that [`Mode::D4rl`] crosses: rows that it keeps, with the beginning of another episode as s' and m = 1.
    pub fn crossed_by_d4rl(&self, limit: TimeLimit) -> usize {
        if self.group_ends.is_some() {
            return 0;
        }
        let keep = self.qlearning_rows(limit);
        let breaks = Bounds::of(self, limit).breaks;
        (0..self.len()).filter(|i| keep[*i] && breaks[*i] && !self.terminals[*i]).count()
    }

    /// Which rows the standard Q-learning view keeps, `[N]`. Without a timeout column D4RL counts rows up to the limit,
    /// on from 1 after a terminal but from 0 after a timeout; row for row includes that.
    pub fn qlearning_rows(&self, limit: TimeLimit) -> Vec<bool> {
        let n = self.len();
        let limit = self.limit(limit);
        let mut keep = vec![false; n];
        let mut step = 0;
        for i in 0..n.saturating_sub(1) {
            if self.timeouts.as_ref().is_some_and(|t| t[i]) || Some(step + 1) == limit {
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

    /// Which rows become transitions, `[N]`.
    pub fn training_rows(&self, options: &Options) -> Vec<bool> {
        let n = self.len();
        if options.keep_timeout_transitions {
            return vec![true; n];
        }
        if self.is_literal(options.mode) {
            return self.qlearning_rows(options.time_limit);
        }
        let timed_out = Bounds::of(self, options.time_limit).timed_out;
        (0..n).map(|i| i + 1 < n && !timed_out[i]).collect()
    }

    /// Whether only flags end an episode. What the file's structure knows is never replaced by flags.
    fn is_literal(&self, mode: Mode) -> bool {
        mode == Mode::D4rl && self.group_ends.is_none()
    }

    /// Turns rows into transitions, in place, without a second copy of the data where next observations are recorded.
    ///
    /// A dropped timeout row leaves [`Ending::Truncated`] on the row before it, where the trajectory now stops; a seam
    /// has it on its own row. Errors: a kept timeout without recorded next observations; a next observation that is
    /// needed and not finite; no transition left.
    pub fn into_columns(mut self, options: &Options) -> Result<Columns> {
        let (n, keep) = (self.len(), self.kept(options)?);
        let kept = keep.iter().filter(|k| **k).count();
        let bounds = Bounds::of(&self, options.time_limit);
        let mut endings: Vec<Ending> = match self.is_literal(options.mode) {
            true => (0..n).map(|i| self.flagged(i)).collect(),
            false => (0..n).map(|i| bounds.ending(&self, i).or_cut(bounds.breaks[i])).collect(),
        };
        for i in 0..n.saturating_sub(1) {
            // The file's last row goes without being an end of anything, unless it is at a time limit itself.
            let limit = endings[i + 1] == Ending::Truncated && bounds.timed_out[i + 1];
            let cut = !keep[i + 1] && (i + 2 < n || limit);
            endings[i] = endings[i].or_cut(keep[i] && cut);
        }
        let next = self.next_states(options.mode, &keep, kept, &bounds.breaks);
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

    /// How many transitions [`Recording::into_columns`] makes, whose errors these are; changes nothing.
    pub fn check(&self, options: &Options) -> Result<usize> {
        Ok(self.kept(options)?.into_iter().filter(|k| *k).count())
    }

    /// The rows that become transitions.
    fn kept(&self, options: &Options) -> Result<Vec<bool>> {
        let (n, file) = (self.len(), || self.source.path.clone());
        if n < 2 && !options.keep_timeout_transitions {
            return Err(Error::TooFewRows { file: file(), key: "rewards".into(), expected: 2, got: n });
        }
        if options.keep_timeout_transitions {
            self.check_kept_timeouts(options.mode)?;
        }
        let keep = self.training_rows(options);
        if !keep.contains(&true) {
            return Err(Error::NoTransition { file: file(), rows: n });
        }
        self.check_next_states(options)?;
        Ok(keep)
    }

    /// The rows that are kept, of which there is one.
    pub(crate) fn select(mut self, keep: &[bool]) -> Recording {
        let kept = keep.iter().filter(|k| **k).count();
        let flags = |flags: &[bool]| flags.iter().zip(keep).filter(|(_, k)| **k).map(|(f, _)| *f).collect();
        self.observations = compact(self.observations, keep, kept, 0);
        self.actions = compact(self.actions, keep, kept, 0);
        self.next_observations = self.next_observations.map(|next| compact(next, keep, kept, 0));
        self.rewards = compact_1(self.rewards, keep, kept);
        self.action_log_probs = self.action_log_probs.map(|p| compact_1(p, keep, kept));
        self.terminals = flags(&self.terminals);
        self.timeouts = self.timeouts.as_deref().map(flags);
        self.group_ends = self.group_ends.as_deref().map(flags);
        self
    }

    fn check_kept_timeouts(&self, mode: Mode) -> Result<()> {
        let got = match mode {
            Mode::NextObservations if self.next_observations.is_some() => return Ok(()),
            Mode::NextObservations => "a file without that key",
            Mode::Episodes => "mode episodes",
            Mode::D4rl => "mode d4rl",
        };
        Err(Error::CannotKeepTimeouts { file: self.source.path.clone(), got })
    }

    /// What the flags say of row i.
    fn flagged(&self, i: usize) -> Ending {
        Ending::of(self.terminals[i], self.timeouts.as_ref().is_some_and(|t| t[i]), Flags::Recorded)
    }

    /// s' of the kept rows. Takes the recorded next observations.
    fn next_states(&mut self, mode: Mode, keep: &[bool], kept: usize, breaks: &[bool]) -> Array2<f32> {
        let recorded = self.next_observations.take().filter(|_| !self.is_literal(mode));
        let Some(mut next) = recorded else {
            return compact(self.observations.clone(), keep, kept, 1);
        };
        for i in 0..self.len() {
            if !self.has_own_next(mode, breaks, i) {
                next.row_mut(i).assign(&self.observations.row(i + 1));
            }
        }
        compact(next, keep, kept, 0)
    }

    /// Whether s' of row i is the recorded one, not the next row. Minari's s' of a terminal row lies in its own group;
    /// in a D4RL file it is the next row, as D4RL has it.
    fn has_own_next(&self, mode: Mode, breaks: &[bool], i: usize) -> bool {
        let ends_group = self.group_ends.as_ref().is_some_and(|ends| ends[i]);
        let seam = breaks[i] && !self.terminals[i];
        mode == Mode::NextObservations || ends_group || i + 1 == self.len() || seam
    }

    /// Checks that every next state that training needs is known. Error: the first one that is not finite.
    pub fn check_next_states(&self, options: &Options) -> Result<()> {
        let Some(next) = self.next_observations.as_ref().filter(|_| !self.is_literal(options.mode)) else {
            return Ok(());
        };
        let keep = self.training_rows(options);
        let breaks = Bounds::of(self, options.time_limit).breaks;
        let unknown = |i: &usize| {
            let needed = keep[*i] && self.has_own_next(options.mode, &breaks, *i);
            needed && next.row(*i).iter().any(|v| !v.is_finite())
        };
        (0..self.len()).find(unknown).map_or(Ok(()), |i| Err(self.unknown_next_state(next, i)))
    }

    fn unknown_next_state(&self, next: &Array2<f32>, row: usize) -> Error {
        let bad = |v: &&f32| !v.is_finite();
        let file = self.source.path.clone();
        let value = next.row(row).iter().copied().find(|v| !v.is_finite()).unwrap_or(f32::NAN);
        if self.terminals[row] {
            return Error::NextAtEnd { file, row, value };
        }
        let (key, count) = ("next_observations".into(), next.iter().filter(bad).count());
        Error::NotFinite { file, key, row, value, count }
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
