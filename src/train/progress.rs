//! Progress bars and the request to stop.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use super::counters::Counters;
use super::error::TrainError;
use super::metrics::Evaluation;
use crate::env::process;

/// Time that programs have to answer once a signal has come, and between two looks at them.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);
/// Time within which a second Ctrl-C is the first one.
const TWICE: Duration = Duration::from_millis(500);

/// A flag that a signal raises, or a place at which to stop. The training loops look at it after every round, save and
/// return.
///
/// The signals are those that ask a process to end, and USR1 and USR2, which batch systems send before a job's time is up
/// (Slurm: `--signal=USR1@120`).
#[derive(Clone, Debug, Default)]
pub struct Stop {
    signal: Arc<AtomicBool>,
    /// rounds, environment steps and rounds of a generator
    place: Option<(u64, u64, u64)>,
}

impl Stop {
    /// Raised by signals. A second Ctrl-C ends the process at once, with code 130; the others may come as often as they
    /// like, since a batch system repeats them while a run is saving. Errors: the system does not let this process
    /// listen for signals.
    pub fn on_signal() -> Result<Stop, TrainError> {
        let stop = Stop::default();
        let listen = || -> std::io::Result<()> {
            let mut presses = Signals::new([SIGINT])?;
            thread::Builder::new().spawn(move || {
                let mut first: Option<Instant> = None;
                for _ in presses.forever() {
                    // Launchers send one Ctrl-C twice: to the program, and to the group that it is in.
                    if first.get_or_insert_with(Instant::now).elapsed() > TWICE {
                        process::end_all();
                        low_level::exit(130);
                    }
                }
            })?;
            for signal in [SIGINT, SIGTERM] {
                flag::register(signal, stop.signal.clone())?;
            }
            #[cfg(unix)]
            for signal in [SIGUSR1, SIGUSR2, SIGHUP] {
                if !(signal == SIGHUP && process::ignored(SIGHUP)) {
                    flag::register(signal, stop.signal.clone())?;
                }
            }
            // An environment in a program that hangs keeps nobody from stopping.
            let asked = stop.clone();
            thread::Builder::new().spawn(move || {
                let mut signal = None;
                loop {
                    thread::sleep(LOOK);
                    if asked.requested() {
                        process::end_silent(*signal.get_or_insert_with(Instant::now), PATIENCE);
                    }
                }
            })?;
            Ok(())
        };
        listen().map_err(|e| TrainError::Input(format!("cannot listen for signals: {e}")))?;
        Ok(stop)
    }

    /// At the first place after so many rounds and environment steps at which a run can stop.
    pub fn at(rounds: u64, env_steps: u64) -> Stop {
        Stop { place: Some((rounds, env_steps, 0)), ..Stop::default() }
    }

    /// Where a run stands, at the first place at which it can stop.
    pub fn there(c: &Counters) -> Stop {
        Stop { place: Some((c.round, c.env_step, c.generator_rounds)), ..Stop::default() }
    }

    /// Whether a run that stands there is to stop.
    pub fn reached(&self, counters: &Counters) -> bool {
        let c = counters;
        let there = |(rounds, env_steps, generator_rounds)| {
            c.round >= rounds && c.env_step >= env_steps && c.generator_rounds >= generator_rounds
        };
        self.requested() || self.place.is_some_and(there)
    }

    /// Raises it.
    pub fn request(&self) {
        self.signal.store(true, Ordering::Relaxed);
    }

    /// Whether it was raised.
    pub fn requested(&self) -> bool {
        self.signal.load(Ordering::Relaxed)
    }
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of it was done.
    Complete,
    /// The held-out loss stopped falling.
    Patience,
    /// A signal asked for it; the checkpoint can be resumed.
    Interrupted,
}

/// A bar with rate, time to go and the last evaluation; where there is no terminal, as in a batch job, a line at every evaluation and
/// every minute instead.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    first: u64,
    /// rounds that the bar does not show yet
    pending: u64,
    /// the last line, where lines are written
    said: Option<Instant>,
}

/// Longest time between two lines.
const MINUTE: Duration = Duration::from_secs(60);

/// Rounds between redraws; drawing costs more than a round.
const REDRAW: u64 = 50;

impl Progress {
    /// A bar of `total` rounds that begins at `done`; `quiet` draws nothing.
    pub fn new(label: &str, total: u64, done: u64, quiet: bool) -> Progress {
        let bar = ProgressBar::new(total).with_position(done);
        if quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = "{prefix:>12} {bar:28} {human_pos}/{human_len}  {per_sec}  {eta} left  {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("invariant: the template is valid"));
        bar.set_prefix(label.to_string());
        bar.reset_eta();
        let said = (!quiet && !std::io::stderr().is_terminal()).then(Instant::now);
        Progress { bar, start: Instant::now(), first: done, pending: 0, said }
    }

    /// So many rounds are done.
    pub fn advance(&mut self, rounds: u64) {
        self.pending += rounds;
        if self.pending >= REDRAW {
            self.bar.inc(std::mem::take(&mut self.pending));
            if self.said.is_some_and(|said| said.elapsed() >= MINUTE) {
                self.say(self.done());
            }
        }
    }

    fn done(&self) -> u64 {
        self.bar.position() + self.pending
    }

    /// Shows an evaluation.
    pub fn evaluated(&mut self, e: &Evaluation) {
        let score = e.score.map(|s| format!(" (score {s:.1})")).unwrap_or_default();
        let success = e.success.map(|s| format!(", {:.0} % succeed", 100.0 * s)).unwrap_or_default();
        self.bar.set_message(format!("return {:.0}{score}{success}", e.mean()));
        if self.said.is_some() {
            self.say(e.stamp.unit());
        }
    }

    /// Writes how it stands as a line about so many rounds.
    fn say(&mut self, done: u64) {
        let all = self.bar.length().unwrap_or(0);
        let (rate, message) = (self.rate(), self.bar.message());
        let mut line = format!("{} {}/{}", self.bar.prefix(), HumanCount(done), HumanCount(all));
        if rate > 0.0 {
            let left = Duration::from_secs_f64((all.saturating_sub(done) as f64 / rate).min(1e9));
            line += &format!("  {rate:.0}/s  {} left", HumanDuration(left));
        }
        // A log that cannot be written ends no training.
        let _ = writeln!(std::io::stderr(), "{line}  {message}");
        self.said = Some(Instant::now());
    }

    /// Seconds since the bar was made.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Rounds per second since the bar was made.
    pub fn rate(&self) -> f64 {
        (self.done() - self.first) as f64 / self.seconds().max(1e-9)
    }

    /// Leaves the bar as it stands.
    pub fn finish(&mut self) {
        self.bar.inc(std::mem::take(&mut self.pending));
        self.bar.abandon();
    }
}
