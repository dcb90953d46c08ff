//! `baq watch`: runs in the terminal while they go on.

use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::output::terminal;
use super::{Common, Outcome, Verdict, hints, named_runs};
use crate::report::terminal::{Screen, frame};
use crate::report::{Group, Run, State, group};
use crate::train::TrainError;
use crate::train::progress::Stop;

/// Watch runs in the terminal
///
/// Their curves, how fast they are, and when they will have ended; of one run its metrics too. Ends when they have, or by Ctrl-C, which the runs do not notice.
#[derive(Debug, Args)]
pub struct Watch {
    /// run directories
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// print one picture and end; without a terminal that is what happens anyway (width: COLUMNS, else 80)
    #[arg(long)]
    once: bool,
    /// seconds between pictures
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

impl Watch {
    /// Runs the command. Errors: nothing under a name, or no run among them; a run that cannot be read.
    pub fn run(self, common: Common) -> Outcome {
        let dirs = named_runs::sort(&self.runs)?.runs;
        let groups = load(&dirs)?;
        if common.json {
            println!("{}", json!({ "runs": groups.iter().flat_map(rows).collect::<Vec<_>>() }));
            return Ok(Verdict::Done);
        }
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        if !self.once && io::stdout().is_terminal() && !dumb {
            self.live(&dirs)?;
        } else {
            show(&frame(&groups, Screen { height: None, ..screen() }));
        }
        let paths: Vec<String> = dirs.iter().map(|dir| hints::path(dir)).collect();
        let words: Vec<&str> = std::iter::once("report").chain(paths.iter().map(String::as_str)).collect();
        println!("next: {}", hints::command(common, &words));
        Ok(Verdict::Done)
    }

    /// Draws again and again, on a screen of its own, and leaves the last picture.
    fn live(&self, dirs: &[PathBuf]) -> Result<(), TrainError> {
        let stop = Stop::on_signal()?;
        let alternate = Alternate::enter();
        let groups = loop {
            let groups = load(dirs)?;
            let mut drawn = screen();
            let running = runs(&groups).any(|run| run.standing.state == State::Running);
            if !draw(&groups, drawn) || !running {
                break groups;
            }
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(self.every) && !stop.requested() {
                sleep(Duration::from_millis(50));
                // A window that has another size has another picture at once.
                let now = screen();
                if (now.width, now.height) != (drawn.width, drawn.height) {
                    drawn = now;
                    draw(&groups, drawn);
                }
            }
            if stop.requested() {
                break groups;
            }
        };
        drop(alternate);
        show(&frame(&groups, screen()));
        Ok(())
    }
}

fn load(dirs: &[PathBuf]) -> Result<Vec<Group>, TrainError> {
    Ok(group(dirs.iter().map(|dir| Run::load(dir)).collect::<Result<_, _>>()?))
}

fn runs(groups: &[Group]) -> impl Iterator<Item = &Run> {
    groups.iter().flat_map(|g| &g.runs)
}

/// What standard output is, and how wide where it is no terminal.
fn screen() -> Screen {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|n| (1..=1000).contains(n));
    let size = terminal();
    let colour = size.is_some() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    Screen { width: size.map(|s| s.0).or_else(columns).unwrap_or(80), height: size.map(|s| s.1), colour }
}

/// The screen beside the one that has the user's lines; left when this is dropped.
struct Alternate;

impl Alternate {
    fn enter() -> Self {
        write("\u{1b}[?1049h\u{1b}[?25l");
        Self
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        write("\u{1b}[?25h\u{1b}[?1049l");
    }
}

/// Whether there is still somebody to write to.
fn write(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Draws over the last picture, without a moment in which there is none.
fn draw(groups: &[Group], screen: Screen) -> bool {
    let mut text = String::from("\u{1b}[H");
    for line in frame(groups, screen) {
        text += &format!("{line}\u{1b}[K\r\n");
    }
    write(&format!("{text}\u{1b}[J\r\nCtrl-C ends watching; runs go on."))
}

/// Prints a picture below what is there.
fn show(lines: &[String]) {
    write(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
}

/// The runs of a group as objects.
fn rows(group: &Group) -> Vec<Value> {
    let row = |run: &Run| {
        let s = &run.standing;
        let last = run.last().map(|(at, mean, score)| json!({ "at": at, "return": mean, "score": score }));
        let metrics = run.metrics.iter().flat_map(|table| {
            let last = |name: &String| Some((name.clone(), json!(table.column(name).last()?.1)));
            table.columns.iter().filter_map(last)
        });
        json!({
            "run": run.dir, "method": group.label, "seed": run.option("run", "seed").parse::<u64>().ok(),
            "data": run.data(), "env": run.option("run", "env"), "state": s.state.word(),
            "phase": s.phase.word(), "done": s.done, "planned": s.planned, "unit": s.unit(),
            "per_second": s.rate, "seconds_left": s.seconds_left(), "evaluations": run.evaluations.len(),
            "last": last, "metrics": metrics.collect::<serde_json::Map<_, _>>(),
        })
    };
    group.runs.iter().map(row).collect()
}
