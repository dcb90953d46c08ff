//! `baq env`: which environments there are, and whether they behave as Gymnasium's.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Common, Outcome, Verdict};
use crate::env::{self, mujoco, recording};

/// Environments.
#[derive(Debug, Subcommand)]
pub enum Env {
    /// List the environments and the MuJoCo they would use
    List,
    /// Replay a trajectory that Gymnasium recorded; exit code 1 beyond the tolerance
    Replay(Replay),
}

/// Replay a recorded trajectory.
#[derive(Debug, Args)]
pub struct Replay {
    /// either file of the pair NAME.safetensors, NAME.json
    recording: PathBuf,
}

impl Env {
    /// Runs the command. Errors: of `replay` a recording that is missing or malformed, no MuJoCo, or actions that it
    /// cannot simulate; of `list` none.
    pub fn run(self, common: Common) -> Outcome {
        match self {
            Env::List => {
                list(common);
                Ok(Verdict::Done)
            }
            Env::Replay(c) => c.run(common),
        }
    }
}

fn list(common: Common) {
    let specs: Vec<&env::Spec> =
        env::ids().map(|id| env::spec(id).expect("invariant: a listed id")).collect();
    let simulator = mujoco::installed();
    if common.json {
        let rows: Vec<Value> = specs
            .iter()
            .map(|s| {
                json!({
                    "id": s.id, "obs_dim": s.obs_dim, "act_dim": s.act_dim,
                    "max_episode_steps": s.max_episode_steps, "score": s.score, "needs_mujoco": s.needs_mujoco(),
                })
            })
            .collect();
        let simulator = match simulator {
            Ok(m) => json!({
                "version": m.version().to_string(), "path": m.path().display().to_string(), "origin": m.origin().to_string(),
            }),
            Err(e) => json!({ "missing": e.to_string() }),
        };
        println!("{}", json!({ "environments": rows, "mujoco": simulator }));
        return;
    }
    let width = specs.iter().map(|s| s.id.len()).max().unwrap_or(0);
    println!("{:<width$} {:>3} {:>3} {:>6}  simulator", "id", "S", "A", "steps");
    for s in specs {
        let simulator = if s.needs_mujoco() { "MuJoCo" } else { "none" };
        println!(
            "{:<width$} {:>3} {:>3} {:>6}  {simulator}",
            s.id, s.obs_dim, s.act_dim, s.max_episode_steps
        );
    }
    println!("S, A: lengths of observation and action; a bare name such as hopper means its v4");
    println!("gym:ID is a task of Gymnasium, as in gym:Ant-v5; process:COMMAND one of a program of your own");
    match simulator {
        Ok(m) => println!("uses {m}"),
        Err(e) => println!("no MuJoCo yet: {e}"),
    }
}

impl Replay {
    fn run(self, common: Common) -> Outcome {
        let report = recording::replay(&self.recording)?;
        if common.json {
            let mut out = serde_json::to_value(&report).expect("invariant: a report has only plain fields");
            // JSON has no infinity: a difference that is not a number is null.
            out["verdict"] = report.verdict().into();
            println!("{out}");
        } else {
            println!("{report}");
        }
        Ok(if report.passed { Verdict::Done } else { Verdict::CheckFailed })
    }
}
