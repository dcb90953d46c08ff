//! The subcommands, and what happens around them: arguments, threads, exit codes.

use std::process::ExitCode;
#[cfg(unix)]
use std::sync::{Arc, atomic::AtomicBool};

use baq_datasets::plain;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::outcome::{Common, Verdict, exit_code};
use super::{
    act, audit, bench, collect, data, demo, env, evaluate, explain, export, fetch, finetune, options, render,
    report, study, suite, train, watch,
};
use crate::train::TrainError;

/// Offline-to-online reinforcement learning on CPUs.
#[derive(Debug, Parser)]
#[command(name = "baq", version, about, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a check failed, training diverged or a simulation became unstable, 2 bad usage or input, 3 interrupted (Ctrl-C, TERM, HUP, USR1, USR2) and saved, or nothing written (data convert), 130 ended at once: by a second Ctrl-C, or by the first where there is nothing to save";

/// Those without a line here have theirs, and more, at what they run.
#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Train),
    Finetune(finetune::Finetune),
    /// The whole way on the embedded data, in a few minutes
    Demo(demo::Demo),
    /// Measure a trained policy
    Evaluate(evaluate::Evaluate),
    /// Record a policy's transitions in a D4RL file
    Collect(collect::Collect),
    Render(render::Render),
    Export(export::Export),
    Act(act::Act),
    #[command(subcommand)]
    Suite(suite::SuiteCommand),
    /// Look at data files, convert them
    #[command(subcommand)]
    Data(data::Data),
    Fetch(fetch::Fetch),
    /// List environments, replay recorded trajectories
    #[command(subcommand)]
    Env(env::Env),
    /// Print what a method computes in one round
    Explain(explain::Explain),
    /// Check gradients and updates
    #[command(subcommand)]
    Audit(audit::Audit),
    Watch(watch::Watch),
    /// Make a report of one or several runs
    Report(report::Report),
    /// Ask which method is better: a question as a file, answered by paired runs
    #[command(subcommand)]
    Study(study::StudyCommand),
    /// Measure speed beside the processor's limit
    Bench(bench::Bench),
    /// List the options of a section, or all sections and presets
    Options(options::Options),
}

/// Parses the arguments, runs the subcommand and gives the exit code.
pub fn main() -> ExitCode {
    // What is named becomes JSON, hints and configurations, which are text.
    if let Some(word) = std::env::args_os().skip(1).find(|word| word.to_str().is_none()) {
        return fail(&TrainError::Input(format!(
            "{}: expected an argument in UTF-8, got other bytes; rename the file or folder",
            word.to_string_lossy()
        )));
    }
    let cli = match arguments() {
        Ok(cli) => cli,
        Err(e) => {
            return usage(&e);
        }
    };
    // A file that outgrows the shell's limit is an error that says so, not the end of the process.
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let recorded = match &cli.command {
        Command::Suite(suite) => suite.isa(),
        _ => None,
    };
    let isa = cli.common.isa.or(recorded).unwrap_or(baq_kernels::best().isa);
    if let Err(e) = baq_kernels::choose(isa, cli.common.numerics) {
        return fail(&TrainError::Input(format!("--isa {isa}: {e}")));
    }
    let own = match &cli.command {
        Command::Study(study) => study.threads(cli.common),
        _ => None,
    };
    if let (Some(seed), Some(name)) = (cli.common.seed, draws_nothing(&cli.command)) {
        return fail(&TrainError::Input(format!(
            "--seed {seed}: `baq {name}` draws no numbers; leave it out"
        )));
    }
    // 0 threads is rayon's word for all cores.
    let threads = own.or(cli.common.threads).map_or(0, usize::from);
    let pool = match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool,
        Err(e) => return fail(&TrainError::Input(format!("cannot start {threads} threads: {e}"))),
    };
    if let Some(said) = unit(baq_kernels::active()) {
        eprintln!("{said}");
    }
    // The whole command runs inside the pool, where sharing work allocates nothing.
    let outcome = pool.install(|| match cli.command {
        Command::Train(c) => c.run(cli.common),
        Command::Finetune(c) => c.run(cli.common),
        Command::Demo(c) => c.run(cli.common),
        Command::Evaluate(c) => c.run(cli.common),
        Command::Collect(c) => c.run(cli.common),
        Command::Render(c) => c.run(cli.common),
        Command::Export(c) => c.run(cli.common),
        Command::Act(c) => c.run(cli.common),
        Command::Data(c) => c.run(cli.common),
        Command::Suite(c) => c.run(cli.common),
        Command::Fetch(c) => c.run(cli.common),
        Command::Env(c) => c.run(cli.common),
        Command::Explain(c) => c.run(cli.common),
        Command::Audit(c) => c.run(cli.common),
        Command::Watch(c) => c.run(cli.common),
        Command::Report(c) => c.run(cli.common),
        Command::Study(c) => c.run(cli.common),
        Command::Bench(c) => c.run(cli.common),
        Command::Options(c) => c.run(cli.common),
    });
    crate::env::process::close();
    match outcome {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::CheckFailed) => ExitCode::from(1),
        Ok(Verdict::Interrupted) => ExitCode::from(3),
        Err(e) => {
            if cli.common.json && e.is_divergence() {
                println!("{}", serde_json::json!({ "ended": "diverged", "why": e.to_string() }));
            }
            fail(&e)
        }
    }
}

/// The name of a command for which a seed has no meaning; some others refuse it themselves.
fn draws_nothing(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::Export(_) => "export",
        Command::Report(_) => "report",
        Command::Watch(_) => "watch",
        Command::Options(_) => "options",
        Command::Env(_) => "env",
        Command::Fetch(_) => "fetch",
        Command::Data(_) => "data",
        _ => return None,
    })
}

/// A negative number is a value, refused by the option that it is given to, and no option of its own.
fn arguments() -> Result<Cli, clap::Error> {
    fn numbers_are_values(command: clap::Command) -> clap::Command {
        let valued = |arg: clap::Arg| {
            let takes_values = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes_values)
        };
        command.mut_args(valued).mut_subcommands(numbers_are_values)
    }
    Cli::from_arg_matches(&numbers_are_values(Cli::command()).try_get_matches()?)
}

/// What multiplies in numerics other than f32, and how fast it is beside f32 on this processor now.
fn unit(kernels: &baq_kernels::Kernels) -> Option<String> {
    let (unit, single) = (kernels.unit?, baq_kernels::for_isa(kernels.isa)?);
    let [here, f32] = baq_kernels::layer_gflops([kernels, single]);
    let verdict = if here < f32 { ": slower than f32" } else { "" };
    Some(format!(
        "--numerics {}: large layers by {unit} at {here:.1} GFLOP/s, {:.2} times the {f32:.1} of f32 (measured now, one thread){verdict}",
        kernels.numerics,
        here / f32
    ))
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

fn fail(e: &TrainError) -> ExitCode {
    // One line, whatever a cause may contain.
    let text: Vec<String> = e.to_string().lines().map(|l| l.trim().to_string()).collect();
    eprintln!("baq: {}", plain(&text.join(" ")));
    ExitCode::from(exit_code(e))
}
