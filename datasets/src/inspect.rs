//! A summary of a file for people (table) and programs (JSON).

use crate::checksums::{self, Verdict};
use crate::columns::Source;
use crate::error::Result;
use crate::recording::{Bounds, Recording};
use crate::returns::{self, Stats};
use crate::scale::ActionBounds;
use crate::scores;
use crate::transitions::{Options, TimeLimit};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Numbers about one file. Returns and lengths are those of complete episodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Rows of the file.
    pub n_transitions: usize,
    /// Trajectories, an unfinished tail included.
    pub n_episodes: usize,
    /// Trajectories whose end is known: by a flag, a time limit, or the file's structure.
    pub n_complete: usize,
    /// Rows with the terminal flag.
    pub n_terminals: usize,
    /// Rows with the timeout flag; 0 for files without that column.
    pub n_timeouts: usize,
    /// Rows before the last at which an episode ends without a flag.
    pub n_seams: usize,
    /// Seams that the mode d4rl crosses.
    pub n_crossed_by_d4rl: usize,
    /// Rows at a time limit that was counted, not flagged.
    pub n_counted_out: usize,
    /// Rows of the standard Q-learning view.
    pub n_qlearning: usize,
    /// Rows that become transitions in the mode of the options.
    pub n_training: usize,
    /// The limit that `n_counted_out` counts with, in rows.
    pub time_limit: Option<usize>,
    /// Whether that limit was asked for, rather than assumed.
    pub limit_was_asked: bool,
    /// S.
    pub obs_dim: usize,
    /// A.
    pub act_dim: usize,
    /// Sum of all rewards, f64.
    pub sum_rewards: f64,
    /// Undiscounted returns; `None` if no episode is complete.
    pub returns: Option<Stats>,
    /// Lengths in rows; `None` if no episode is complete.
    pub lengths: Option<Stats>,
    /// Largest |action component|.
    pub max_abs_action: f32,
    /// What the ends of [-1, 1] stand for in rescaled actions.
    pub action_bounds: Option<ActionBounds>,
    /// Whether s' is recorded.
    pub has_next_observations: bool,
    /// Whether a timeout column is there.
    pub has_timeouts: bool,
    /// Whether the file's structure keeps its episodes apart (Minari).
    pub has_groups: bool,
    /// `metadata/algorithm` or Minari's algorithm name.
    pub algorithm: Option<String>,
    /// The environment asked about, else the recorded one.
    pub env: Option<String>,
    /// D4RL scores of the mean return and of the best tenth, where an environment was asked about that the table knows.
    pub scores: Option<(f64, f64)>,
    /// What was left out in reading, and why.
    pub notes: Vec<String>,
    /// File, hash, size.
    pub source: Source,
    /// What the table of published files says.
    pub verdict: Verdict,
}

/// Environment to hold a file against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Name for messages and for the normalised score.
    pub env: &'a str,
    /// S of the environment.
    pub obs_dim: usize,
    /// A of the environment.
    pub act_dim: usize,
}

/// Reads a D4RL file or Minari folder and summarises it. With `expected`, the widths must fit that environment.
/// Errors: as for reading.
pub fn inspect(path: &Path, options: &Options, expected: Option<Expected>) -> Result<Summary> {
    summarize(&crate::read_recording(path, options)?, options, expected)
}

/// Summarises a recording that is already in memory. Errors: widths that do not fit `expected`, an unknown
/// next state that training needs.
pub fn summarize(recording: &Recording, options: &Options, expected: Option<Expected>) -> Result<Summary> {
    if let Some(e) = expected {
        recording.check_dims(e.env, e.obs_dim, e.act_dim)?;
    }
    recording.check_next_states(options)?;
    let limit = options.time_limit;
    let episodes = recording.episodes(limit);
    let complete: Vec<_> = episodes.iter().filter(|e| e.is_complete()).cloned().collect();
    let lengths: Vec<f64> = complete.iter().map(|e| e.len() as f64).collect();
    let count = |flags: &[bool]| flags.iter().filter(|f| **f).count();
    let n_timeouts = recording.timeouts.as_deref().map_or(0, count);
    let returns = Stats::of(&returns::of_episodes(recording.rewards.view(), &complete));
    let scores = expected
        .zip(returns.as_ref())
        .and_then(|(e, r)| scores::normalized(e.env, r.mean).zip(scores::normalized(e.env, r.best_tenth)));
    Ok(Summary {
        n_transitions: recording.len(),
        n_episodes: episodes.len(),
        n_complete: complete.len(),
        n_terminals: count(&recording.terminals),
        n_timeouts,
        n_seams: recording.seams(limit),
        n_crossed_by_d4rl: recording.crossed_by_d4rl(limit),
        n_counted_out: count(&Bounds::of(recording, limit).timed_out) - n_timeouts,
        n_qlearning: count(&recording.qlearning_rows(limit)),
        n_training: count(&recording.training_rows(options)),
        time_limit: recording.limit(limit),
        limit_was_asked: matches!(limit, TimeLimit::Asked(_)),
        obs_dim: recording.obs_dim(),
        act_dim: recording.act_dim(),
        sum_rewards: recording.rewards.iter().map(|r| f64::from(*r)).sum(),
        returns,
        scores,
        lengths: Stats::of(&lengths),
        max_abs_action: recording.actions.iter().fold(0.0, |m, a| a.abs().max(m)),
        has_next_observations: recording.next_observations.is_some(),
        has_timeouts: recording.timeouts.is_some(),
        has_groups: recording.group_ends.is_some(),
        algorithm: recording.algorithm.clone(),
        env: expected.map(|e| e.env.to_string()).or_else(|| recording.env.clone()),
        action_bounds: recording.action_bounds.clone(),
        notes: recording.notes.clone(),
        source: recording.source.clone(),
        verdict: checksums::verdict(&recording.source),
    })
}

impl Summary {
    /// One JSON object; the keys are an interface, see the issue of the command line.
    pub fn to_json(&self) -> Value {
        let stats = |s: &Option<Stats>| match s {
            None => Value::Null,
            Some(s) => json!({
                "n": s.n, "mean": s.mean, "std": s.std, "min": s.min, "max": s.max, "best_tenth_mean": s.best_tenth,
            }),
        };
        let lengths = match &self.lengths {
            None => Value::Null,
            Some(s) => json!({ "mean": s.mean, "min": s.min as u64, "max": s.max as u64 }),
        };
        let (verdict, known) = match self.verdict {
            Verdict::Matches(known) => ("matches", Some(known.name)),
            Verdict::SameSize(known) => ("same-size-different-hash", Some(known.name)),
            Verdict::Unknown => ("unknown", None),
        };
        json!({
            "path": self.source.path,
            "bytes": self.source.bytes,
            "sha256": self.source.sha256,
            "checksum": { "verdict": verdict, "file": known },
            "env": self.env,
            "algorithm": self.algorithm,
            "n_transitions": self.n_transitions,
            "n_episodes": self.n_episodes,
            "n_complete": self.n_complete,
            "n_terminals": self.n_terminals,
            "n_timeouts": self.n_timeouts,
            "n_seams": self.n_seams,
            "n_crossed_by_d4rl": self.n_crossed_by_d4rl,
            "n_counted_out": self.n_counted_out,
            "n_qlearning": self.n_qlearning,
            "n_training": self.n_training,
            "time_limit": self.time_limit.map(|steps| json!({ "steps": steps, "assumed": !self.limit_was_asked })),
            "obs_dim": self.obs_dim,
            "act_dim": self.act_dim,
            "sum_rewards": self.sum_rewards,
            "max_abs_action": self.max_abs_action,
            "action_bounds": self.action_bounds.as_ref().map(|b| json!({ "low": b.low(), "high": b.high() })),
            "has_next_observations": self.has_next_observations,
            "has_timeouts": self.has_timeouts,
            "returns": stats(&self.returns),
            "normalized_score": self.scores.map(|(mean, best)| json!({ "mean": mean, "best_tenth_mean": best })),
            "lengths": lengths,
            "notes": self.notes,
        })
    }

    /// A plain-text table of two columns, lines ending in `\n`.
    pub fn to_table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<20} {value}");
        };
        row("file", self.source.path.clone());
        row("size", format!("{} bytes", grouped(self.source.bytes)));
        row("sha256", self.source.sha256.clone());
        row("checksum", self.verdict.to_string());
        if let Some(env) = &self.env {
            row("environment", env.clone());
        }
        if let Some(algorithm) = &self.algorithm {
            row("algorithm", algorithm.clone());
        }
        row("transitions", grouped(self.n_transitions as u64));
        row("Q-learning rows", grouped(self.n_qlearning as u64));
        row("used in training", grouped(self.n_training as u64));
        let open = self.n_episodes - self.n_complete;
        row("episodes", format!("{} ({} complete, {open} unfinished)", self.n_episodes, self.n_complete));
        row("terminals", grouped(self.n_terminals as u64));
        row(
            "timeouts",
            if self.has_timeouts { grouped(self.n_timeouts as u64) } else { "no such column".into() },
        );
        self.assumed_limit().into_iter().for_each(|text| row("time limit", text));
        row("unflagged ends", self.seams());
        let next = if self.has_next_observations { "recorded" } else { "not recorded, the next row is used" };
        row("next observations", next.into());
        row("dimensions", format!("observations {}, actions {}", self.obs_dim, self.act_dim));
        row("largest |action|", format!("{}", self.max_abs_action));
        if let Some(bounds) = &self.action_bounds {
            row("actions", format!("[-1, 1] stands for {bounds}"));
        }
        row("sum of rewards", format!("{:.3}", self.sum_rewards));
        match &self.returns {
            None => row("return", "no complete episode".into()),
            Some(r) => {
                row("return", format!("{:.1} +- {:.1}, from {:.1} to {:.1}", r.mean, r.std, r.min, r.max));
                row("return, best tenth", format!("{:.1}", r.best_tenth));
            }
        }
        if let Some((mean, best)) = self.scores {
            let whose = if self.has_groups { " by D4RL's references, Minari has others" } else { "" };
            row("normalised score", format!("{mean:.1}, best tenth {best:.1}{whose}"));
        }
        if let Some(l) = &self.lengths {
            row("episode length", format!("{:.1}, from {} to {}", l.mean, l.min, l.max));
        }
        self.notes.iter().for_each(|note| row("note", note.clone()));
        out
    }

    /// What stands in for missing flags, in words; nothing if the flags are there and are all that counts.
    pub fn assumed_limit(&self) -> Option<String> {
        let cuts = grouped(self.n_counted_out as u64);
        match (self.time_limit, &self.env) {
            (Some(steps), _) if self.limit_was_asked => {
                Some(format!("{steps} rows as asked, which ends {cuts} episodes beside the flags"))
            }
            (Some(steps), env) => Some(format!(
                "{steps} rows assumed, that of {}, which ends {cuts} episodes; --max-episode-steps sets another",
                env.as_deref().unwrap_or("the task")
            )),
            (None, _) if !self.has_timeouts => Some(
                "none assumed, as the task is not known; --env or --max-episode-steps says what ends episodes"
                    .into(),
            ),
            (None, _) => None,
        }
    }

    /// Ends without a flag, and what becomes of them, in words.
    fn seams(&self) -> String {
        let n = grouped(self.n_seams as u64);
        match (self.has_groups, self.has_next_observations, self.n_seams) {
            (true, ..) => format!("{n}; the file keeps its episodes apart, whatever the flags say"),
            (false, false, _) => "not visible without next observations".into(),
            (false, true, 0) => "0".into(),
            (false, true, _) => {
                format!("{n}, not crossed; data.mode=d4rl crosses {}", grouped(self.n_crossed_by_d4rl as u64))
            }
        }
    }
}

/// 1234567 -> 1,234,567.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
