//! The command line: one file per subcommand.
//!
//! Exit codes: 0 done, 1 a check failed, 2 bad usage or input. Errors are one line on stderr. With
//! `--json` stdout holds one JSON object and nothing else; without it the last line says what to do next
//! or gives the verdict.

pub mod demo;
pub mod finetune;
pub mod setup;
pub mod train;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::train::TrainError;

/// Offline-to-online reinforcement learning on CPUs.
#[derive(Debug, Parser)]
#[command(name = "baq", version, about, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(Clone, Copy, Debug, Args)]
pub struct Common {
    /// threads of the numerical kernels (default: all cores; results do not depend on it)
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// seed of initialisation, batches, noise and environments (default 0)
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on a data set
    Train(train::Train),
    /// Go on in an environment
    Finetune(finetune::Finetune),
    /// The whole way on the embedded data, in a few minutes
    Demo(demo::Demo),
}

/// How a command that ran to its end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// exit code 0
    Done,
    /// exit code 1
    CheckFailed,
}

/// A command's result; errors give exit code 2.
pub type Outcome = Result<Verdict, TrainError>;

/// Parses the arguments, runs the subcommand and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let help = !e.use_stderr();
            let _ = e.print();
            return if help { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    // 0 threads is rayon's word for all cores.
    let threads = cli.common.threads.map_or(0, usize::from);
    let pool = match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool,
        Err(e) => return fail(&TrainError::Input(format!("cannot start {threads} threads: {e}"))),
    };
    // The whole command runs inside the pool, where sharing work allocates nothing.
    let outcome = pool.install(|| match cli.command {
        Command::Train(c) => c.run(cli.common),
        Command::Finetune(c) => c.run(cli.common),
        Command::Demo(c) => c.run(cli.common),
    });
    match outcome {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::CheckFailed) => ExitCode::from(1),
        Err(e) => fail(&e),
    }
}

fn fail(e: &TrainError) -> ExitCode {
    // One line, whatever a cause may contain.
    let text: Vec<String> = e.to_string().lines().map(|l| l.trim().to_string()).collect();
    eprintln!("baq: {}", text.join(" "));
    ExitCode::from(2)
}
