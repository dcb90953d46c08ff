//! The command line: one file per subcommand.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | done; early stopping is done too |
//! | 1 | a check failed, or training diverged |
//! | 2 | bad usage or input |
//! | 3 | interrupted by Ctrl-C, TERM, HUP, USR1 or USR2: training has saved, and says how to go on |
//! | 130 | ended at once by a second Ctrl-C; what was saved before can be resumed |
//!
//! Errors are one line on stderr. With `--json` stdout holds one JSON object and nothing else; without it the last line says what to do next
//! or gives the verdict.

/// The `println!` of the commands. It stands before the modules, so it hides the standard one in them.
macro_rules! println {
    ($($text:tt)*) => { $crate::cli::print_line(format_args!($($text)*)) };
}

pub mod audit;
pub mod bench;
pub mod collect;
pub mod contents;
pub mod data;
pub mod demo;
pub mod env;
pub mod evaluate;
pub mod explain;
pub mod finetune;
pub mod hints;
pub mod names;
pub mod options;
pub mod probes;
pub mod replay;
pub mod report;
pub mod resume;
pub mod setup;
pub mod train;

use baq_datasets::plain;
use std::io::{self, Write as _};
use std::process::ExitCode;

use baq_kernels::{Isa, Numerics};
use clap::{Args, Parser, Subcommand};

use crate::audit::Error;
use crate::train::TrainError;
use crate::train::metrics::DatasetFacts;

/// Offline-to-online reinforcement learning on CPUs.
#[derive(Debug, Parser)]
#[command(name = "baq", version, about, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a check failed or training diverged, 2 bad usage or input, 3 interrupted (Ctrl-C, TERM, HUP, USR1, USR2) and saved, 130 ended by a second Ctrl-C";

/// Options of every subcommand.
#[derive(Clone, Copy, Debug, Args)]
pub struct Common {
    /// threads of the numerical kernels (default: all cores; results do not depend on it)
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// instruction set of the kernels: portable, avx2 or avx512 (default: the processor's best); bits may
    /// depend on it
    #[arg(long, global = true, value_name = "ISA")]
    pub isa: Option<Isa>,
    /// factors in the products of large layers: f32, bf16x6, bf16x3 or bf16 (six, three or one product of bf16 parts);
    /// bits depend on it
    #[arg(long, global = true, value_name = "MODE", default_value_t)]
    pub numerics: Numerics,
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
    /// Measure a trained policy
    Evaluate(evaluate::Evaluate),
    /// Record a policy's transitions in a D4RL file
    Collect(collect::Collect),
    /// Look at data files
    #[command(subcommand)]
    Data(data::Data),
    /// List environments, replay recorded trajectories
    #[command(subcommand)]
    Env(env::Env),
    /// Print what a method computes in one round
    Explain(explain::Explain),
    /// Check gradients and updates
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Make a report of one or several runs
    Report(report::Report),
    /// Measure speed beside the processor's limit
    Bench(bench::Bench),
    /// List the options of a section, or all sections and presets
    Options(options::Options),
}

/// How a command that ran to its end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// exit code 0
    Done,
    /// exit code 1
    CheckFailed,
    /// exit code 3
    Interrupted,
}

/// A command's result; errors give exit code 2.
pub type Outcome = Result<Verdict, TrainError>;

/// Parses the arguments, runs the subcommand and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            return usage(&e);
        }
    };
    let isa = cli.common.isa.unwrap_or(baq_kernels::best().isa);
    if let Err(e) = baq_kernels::choose(isa, cli.common.numerics) {
        return fail(&TrainError::Input(format!("--isa {isa}: {e}")));
    }
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
        Command::Evaluate(c) => c.run(cli.common),
        Command::Collect(c) => c.run(cli.common),
        Command::Data(c) => c.run(cli.common),
        Command::Env(c) => c.run(cli.common),
        Command::Explain(c) => c.run(cli.common),
        Command::Audit(c) => c.run(cli.common),
        Command::Report(c) => c.run(cli.common),
        Command::Bench(c) => c.run(cli.common),
        Command::Options(c) => c.run(cli.common),
    });
    match outcome {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::CheckFailed) => ExitCode::from(1),
        Ok(Verdict::Interrupted) => ExitCode::from(3),
        Err(e) => fail(&e),
    }
}

/// Help and version go to stdout as clap prints them; a mistake becomes one line like every other error.
fn usage(e: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // To a reader that has gone away there is nothing more to say.
        let _ = e.print();
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let text = e.to_string();
    let said: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let usage = usage.map(|u| format!("; usage: {u}")).unwrap_or_default();
    eprintln!("baq: {}{usage}", plain(&said.join("; ").replace(":;", ":")));
    ExitCode::from(2)
}

/// Prints a line. A reader that has gone away (`| head`) is no error and changes no verdict.
///
/// What a file or a run says of itself stands in many lines, so all of them are made plain here.
fn print_line(text: std::fmt::Arguments<'_>) {
    let text = text.to_string();
    let text = plain(&text);
    let mut out = io::stdout().lock();
    if let Err(e) = writeln!(out, "{text}").and_then(|()| out.flush())
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("baq: cannot write to standard output: {e}");
        std::process::exit(2);
    }
}

/// Says what is unusual about the data of a run. It goes to stderr: results stay one JSON object.
fn say_notes(facts: &DatasetFacts) {
    for note in &facts.notes {
        eprintln!("baq: note: {}: {note}", facts.name);
    }
}

fn fail(e: &TrainError) -> ExitCode {
    // One line, whatever a cause may contain.
    let text: Vec<String> = e.to_string().lines().map(|l| l.trim().to_string()).collect();
    eprintln!("baq: {}", plain(&text.join(" ")));
    let diverged = matches!(
        e,
        TrainError::Diverged { .. } | TrainError::Priority(_) | TrainError::Audit(Error::NotFinite(_))
    );
    ExitCode::from(if diverged { 1 } else { 2 })
}
