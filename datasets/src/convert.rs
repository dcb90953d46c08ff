//! From the files that people have to the layout that training reads: what `baq data convert` does between reading and
//! writing. Nothing is changed that was not asked for, except ends of episodes that only a file's structure knows, for which
//! D4RL's layout has no place. They are counted, and so is what is left out.

use crate::backend::DefaultBackend;
use crate::backend::csv::CsvFile;
use crate::backend::npz::NpzFile;
use crate::d4rl::{self, Layout, Reading};
use crate::episodes::continues;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::recording::{Recording, check_finite};
use crate::scale::ActionBounds;
use crate::transitions::Options as Transitions;
use crate::{EMBEDDED_HOPPER, embedded_hopper, minari};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// What is done to actions.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Actions {
    /// Nothing; outside [-1, 1] they are an error.
    #[default]
    Keep,
    /// Clipped to [-1, 1].
    Clip,
    /// Rescaled to [-1, 1] from these bounds; without any from those of the action space, or of the data.
    Rescale(Option<(Vec<f32>, Vec<f32>)>),
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whose layout a file has that is no Minari folder.
    pub layout: Layout,
    /// Without rewards all are 0, instead of an error.
    pub zero_rewards: bool,
    /// Leave odd episodes out, instead of an error.
    pub skip_bad: bool,
    /// The last of so many rows of an episode is at a time limit, beside those that the file marks.
    pub max_episode_steps: Option<usize>,
    /// What is done to actions.
    pub actions: Actions,
}

/// Episodes that were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<&'static str, (usize, usize)>);

impl Skipped {
    /// Counts an episode of so many rows.
    pub(crate) fn add(&mut self, reason: &'static str, rows: usize) {
        let (episodes, all) = self.0.entry(reason).or_default();
        *episodes += 1;
        *all += rows;
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they had, with the number of episodes and of their rows (0 where these could not be counted).
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, usize, usize)> + '_ {
        self.0.iter().map(|(reason, (episodes, rows))| (*reason, *episodes, *rows))
    }
}

/// A recording that can be written and read back.
#[derive(Debug, Clone)]
pub struct Converted {
    /// Its rows.
    pub recording: Recording,
    /// What was left out.
    pub skipped: Skipped,
    /// Components of actions that were clipped.
    pub clipped: usize,
    /// Episodes that the time limit ended.
    pub timed_out: usize,
    /// Episodes that the file's structure ended and no flag: they are unfinished from now on.
    pub unfinished: usize,
    /// Episodes whose end next observations would not show either: it is a timeout from now on, and its row no transition.
    pub marked: usize,
}

/// Reads a file or a Minari folder. Errors: those of reading; what is odd and not asked to be left out.
pub fn read(path: &Path, options: &Options) -> Result<Converted> {
    let mut skipped = Skipped::default();
    let reading = reading(options);
    let recording = match (minari::is_minari(path), Format::of(path)) {
        (true, _) => minari::recorded::<DefaultBackend>(path, options.skip_bad.then_some(&mut skipped), true),
        (_, Some(Format::Npz)) => d4rl::recorded::<NpzFile>(path, reading),
        (_, Some(Format::Csv)) => d4rl::recorded::<CsvFile>(path, reading),
        _ => d4rl::recorded::<DefaultBackend>(path, reading),
    };
    finish(recording?, skipped, options)
}

/// The same of the embedded slice. Errors: bounds to rescale actions from that leave no room between them, are not as
/// many as components, or do not hold all actions.
pub fn read_embedded(options: &Options) -> Result<Converted> {
    let recording =
        d4rl::recorded_bytes::<DefaultBackend>(EMBEDDED_HOPPER, embedded_hopper(), reading(options))?;
    finish(recording, Skipped::default(), options)
}

fn reading(options: &Options) -> Reading {
    Reading { layout: options.layout, zero_rewards: options.zero_rewards, note_unread: true }
}

fn finish(mut recording: Recording, mut skipped: Skipped, options: &Options) -> Result<Converted> {
    let (episodes, limited) = trajectories(&recording, options.max_episode_steps);
    if options.max_episode_steps.is_some() {
        let n = recording.len();
        let timeouts = recording.timeouts.get_or_insert_with(|| vec![false; n]);
        limited.iter().for_each(|i| timeouts[*i] = true);
    }
    let mut timed_out = limited.len();
    if options.skip_bad {
        let keep = without_bad(&recording, &episodes, &mut skipped)?;
        timed_out = limited.iter().filter(|i| keep[**i]).count();
        recording = recording.select(&keep);
    }
    let (unfinished, marked) = flag_hidden_ends(&mut recording);
    let mut clipped = 0;
    match &options.actions {
        Actions::Keep => {}
        Actions::Clip => {
            clipped = recording.actions.iter().filter(|a| a.abs() > 1.0).count();
        }
        Actions::Rescale(bounds) => rescale(&mut recording, bounds.as_ref())?,
    }
    let recording = recording.checked(options.actions == Actions::Clip)?;
    recording.check_next_states(&Transitions::default())?;
    Ok(Converted { recording, skipped, clipped, timed_out, unfinished, marked })
}

/// Trajectories as they were recorded, and the rows that the limit ends. A number that is not finite ends nothing, so that
/// an odd episode is odd as a whole; and the limit ends nothing that a flag ends.
fn trajectories(r: &Recording, limit: Option<usize>) -> (Vec<Range<usize>>, Vec<usize>) {
    let (mut episodes, mut limited, mut start) = (Vec::new(), Vec::new(), 0);
    for i in 0..r.len() {
        let marked = r.terminals[i] || r.timeouts.as_ref().is_some_and(|t| t[i]);
        let known = marked || r.group_ends.as_ref().is_some_and(|ends| ends[i]);
        let ends = known || i + 1 == r.len() || is_seam(r, i);
        let at_limit = limit == Some(i + 1 - start);
        if at_limit && !marked {
            limited.push(i);
        }
        if ends || at_limit {
            episodes.push(start..i + 1);
            start = i + 1;
        }
    }
    (episodes, limited)
}

/// Whether the recorded next observation of a row, which is not the last, is another than the next row's.
fn is_seam(r: &Recording, i: usize) -> bool {
    let Some(next) = r.next_observations.as_ref().filter(|_| r.group_ends.is_none()) else {
        return false;
    };
    let finite = |row: ndarray::ArrayView1<f32>| row.iter().all(|x| x.is_finite());
    finite(next.row(i))
        && finite(r.observations.row(i + 1))
        && !continues(r.observations.view(), next.view(), i)
}

/// Ends that only the file's structure knows are seen by next observations; where these happen to be the beginning of the next
/// episode, the flag says so. How many there are of either kind.
fn flag_hidden_ends(r: &mut Recording) -> (usize, usize) {
    let Some(ends) = r.group_ends.take() else { return (0, 0) };
    let n = r.len();
    // A file without the column would be cut at its task's time limit.
    let mut timeouts = r.timeouts.take().unwrap_or_else(|| vec![false; n]);
    let continues =
        |i| r.next_observations.as_ref().is_none_or(|next| continues(r.observations.view(), next.view(), i));
    let unflagged = (0..n).filter(|i| ends[*i] && !r.terminals[*i] && !timeouts[*i]);
    let (hidden, seen): (Vec<usize>, Vec<usize>) = unflagged.partition(|i| i + 1 < n && continues(*i));
    hidden.iter().for_each(|i| timeouts[*i] = true);
    r.timeouts = Some(timeouts);
    (seen.len(), hidden.len())
}

/// Which rows belong to no odd episode, `[N]`. Error: none does.
fn without_bad(r: &Recording, episodes: &[Range<usize>], skipped: &mut Skipped) -> Result<Vec<bool>> {
    let mut keep = vec![true; r.len()];
    for rows in episodes {
        let odd = |row: ndarray::ArrayView1<f32>| row.iter().any(|x| !x.is_finite());
        // s' of a row that ends for good, or is no transition, is not used.
        let unused =
            |i: usize| r.terminals[i] || r.timeouts.as_ref().is_some_and(|t| t[i]) || i + 1 == r.len();
        let next = r.next_observations.as_ref();
        let unknown = |i: usize| next.is_some_and(|next| !unused(i) && odd(next.row(i)));
        let any = |odd: &dyn Fn(usize) -> bool| rows.clone().any(odd);
        let reason = match () {
            () if any(&|i| odd(r.observations.row(i))) => Some("observations that are not finite"),
            () if any(&|i| odd(r.actions.row(i))) => Some("actions that are not finite"),
            () if any(&|i| !r.rewards[i].is_finite()) => Some("rewards that are not finite"),
            () if any(&unknown) => Some("next_observations that are not finite"),
            () => None,
        };
        if let Some(reason) = reason {
            skipped.add(reason, rows.len());
            keep[rows.clone()].fill(false);
        }
    }
    let (file, key) = (r.source.path.clone(), "rewards".into());
    match keep.contains(&true) {
        true => Ok(keep),
        false => Err(Error::TooFewRows { file, key, expected: 1, got: 0 }),
    }
}

fn rescale(r: &mut Recording, asked: Option<&(Vec<f32>, Vec<f32>)>) -> Result<()> {
    let (file, a) = (r.source.path.clone(), r.act_dim());
    let actions = r.actions.as_slice().expect("invariant: standard layout");
    check_finite(&file, "actions", actions, a)?;
    if let Some(there) = &r.action_bounds {
        return Err(Error::Bounds {
            file,
            expected: "actions that have not been rescaled yet".into(),
            got: format!("such from {there}, as the file says"),
            advice: "leave --rescale-actions out",
        });
    }
    let bounds = match (asked, r.action_space.take()) {
        (Some((low, high)), _) => {
            let each = |values: &[f32]| match values {
                [one] => vec![*one; a],
                more => more.to_vec(),
            };
            ActionBounds::new(&file, each(low), each(high))?
        }
        (None, Some(space)) => space,
        (None, None) => ActionBounds::of_data(&file, r.actions.view())?,
    };
    if bounds.low().len() != a {
        return Err(Error::Bounds {
            file,
            expected: format!("one number for all, or {a}, one for each component"),
            got: bounds.low().len().to_string(),
            advice: "give --rescale-actions=LOW:HIGH so",
        });
    }
    for (row, action) in r.actions.rows().into_iter().enumerate() {
        let outside = (0..a).find(|k| action[*k] < bounds.low()[*k] || action[*k] > bounds.high()[*k]);
        if let Some(k) = outside {
            return Err(Error::Bounds {
                file,
                expected: format!("{bounds} to hold all actions"),
                got: format!("{} in component {k} of row {row}", action[k]),
                advice: "give wider ones with --rescale-actions=LOW:HIGH",
            });
        }
    }
    bounds.rescale(r.actions.as_slice_mut().expect("invariant: standard layout"));
    r.action_bounds = Some(bounds);
    Ok(())
}
