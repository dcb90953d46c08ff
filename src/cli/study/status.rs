//! `baq study status`: how far a study is, read from its directory.

use clap::Args;
use serde_json::json;

use super::super::{Common, Outcome, Verdict};
use super::held::Held;
use crate::files::shell_word;
use crate::study::{Cell, State};

/// Look at a study.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    held: Held,
    /// every cell, not only those that are begun or failed
    #[arg(long)]
    all: bool,
}

impl Status {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let study = self.held.open(common)?;
        let states: Vec<State> = study.graph.cells.iter().map(|cell| study.state(cell)).collect();
        let count = |what: fn(&State) -> bool| states.iter().filter(|s| what(s)).count();
        let done = count(|s| *s == State::Done);
        let failed = count(|s| matches!(s, State::Failed(_)));
        let begun = count(|s| matches!(s, State::Begun(..)));
        let waiting = count(|s| *s == State::Waiting);
        let cells = || study.graph.cells.iter().zip(&states).enumerate();
        let waits =
            |(_, (cell, state)): &(_, (&Cell, &State))| **state == State::Waiting && study.is_changed(cell);
        let changed = cells().filter(waits).count();
        if common.json {
            let cells: Vec<_> = cells()
                .map(|(i, (cell, state))| {
                    let (word, by, reason) = match state {
                        State::Waiting => ("waiting", None, None),
                        State::Begun(_, by) => ("begun", by.clone(), None),
                        State::Done => ("done", None, None),
                        State::Failed(f) => ("failed", None, Some(&f.reason)),
                    };
                    json!({
                        "cell": i, "kind": cell.kind.name(), "data": cell.data, "label": cell.label, "seed": cell.seed,
                        "state": word, "share": state.share(), "process": by, "reason": reason,
                        "run": study.folder(cell), "log": study.log(cell),
                    })
                })
                .collect();
            println!(
                "{}",
                json!({ "study": study.spec.title(), "done": done, "failed": failed, "begun": begun, "waiting": waiting, "changed": changed, "cells": cells })
            );
            return Ok(Verdict::Done);
        }
        println!("{}: {done} done, {begun} begun, {waiting} waiting, {failed} failed", study.spec.title());
        if changed > 0 {
            println!("{changed} of those that wait are there with another configuration");
        }
        for (i, (cell, state)) in cells() {
            let said = match state {
                State::Begun(share, Some(by)) => format!("{:.0} %, process {by} works on it", 100.0 * share),
                State::Begun(share, None) => format!("{:.0} %, nobody works on it", 100.0 * share),
                State::Failed(f) => {
                    format!(
                        "failed: {}\n{:>6}log: tail {}",
                        f.reason,
                        "",
                        shell_word(&study.log(cell).display().to_string())
                    )
                }
                State::Done if self.all => "done".into(),
                State::Waiting if self.all => "waiting".into(),
                _ => continue,
            };
            println!("{i:>4}  {} ({}): {said}", cell.name(), cell.kind.name());
        }
        Ok(Verdict::Done)
    }
}
