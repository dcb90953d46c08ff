//! `baq act`: a policy that answers states with actions, line by line.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use clap::Args;

use super::{Common, Outcome, Verdict};
use crate::config::Exploration;
use crate::train::TrainError;
use crate::train::policy::{Answering, Restored};

/// Answer states on standard input with a policy's actions
///
/// A line is a state as the environment gives it: S numbers between blanks or commas, or a JSON array. The answer is one line of
/// A numbers in the same form, at once (with `--json` a JSON array a line), so that a script may talk to it through a pipe. They are in [-1, 1], or between the bounds from
/// which the data were rescaled.
#[derive(Debug, Args)]
pub struct Act {
    /// run directory, checkpoint or policy file
    run: PathBuf,
    /// the policy's way of exploring instead of its mode
    #[arg(long)]
    explore: bool,
}

impl Act {
    /// Runs the command. Errors: nothing at the path to take a policy from; a line that is not as many finite numbers
    /// as a state has; an action that is not finite; standard input or output that fails.
    pub fn run(self, common: Common) -> Outcome {
        let policy = Restored::open(&self.run)?;
        let how = if self.explore { policy.options.exploration } else { Exploration::Greedy };
        let mut policy = Answering::new(policy, how);
        let (s, seed) = (policy.policy.agent.dims.s, common.seed.unwrap_or(0));
        let mut state = Vec::new();
        let mut out = io::stdout().lock();
        for (k, line) in io::stdin().lock().lines().enumerate() {
            let fail = |what: String| TrainError::Input(format!("standard input, line {}: {what}", k + 1));
            let line = line.map_err(|e| fail(format!("cannot read: {e}")))?;
            let text = line.trim();
            if text.is_empty() {
                continue;
            }
            read(text, s, &mut state).map_err(fail)?;
            let action = policy.act(&state, seed, k as u64).map_err(fail)?;
            let numbers: Vec<String> = action.iter().map(f32::to_string).collect();
            let answer = match common.json || text.starts_with('[') {
                true => format!("[{}]", numbers.join(", ")),
                false => numbers.join(" "),
            };
            match writeln!(out, "{answer}").and_then(|()| out.flush()) {
                // Whoever asked has gone away.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => break,
                other => {
                    other.map_err(|e| TrainError::Input(format!("standard output: cannot write: {e}")))?
                }
            }
        }
        Ok(Verdict::Done)
    }
}

/// The S numbers of a line; an error says what was expected and what there is.
fn read(text: &str, s: usize, state: &mut Vec<f32>) -> Result<(), String> {
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    state.clear();
    let mut take = |word: &str| match word.parse::<f32>() {
        Ok(x) if x.is_finite() => {
            state.push(x);
            Ok(())
        }
        _ if word.is_empty() => Err("expected finite numbers, got nothing beside a comma".into()),
        _ => Err(format!("expected finite numbers, got `{word}`")),
    };
    match inside.contains(',') {
        true => inside.split(',').map(str::trim).try_for_each(&mut take)?,
        false => inside.split_whitespace().try_for_each(&mut take)?,
    }
    match state.len() == s {
        true => Ok(()),
        false => Err(format!("expected a state of {s} numbers, got {}", state.len())),
    }
}
