//! The cells of a study on this machine, several at once.
//!
//! Each is a process of its own, `baq study cell`, so that one that fails takes no other with it. How many run at once is
//! bounded by cores and by memory: what a cell of its kind has needed at most is measured, and another one begins only
//! while that much is free. A signal is passed on, and every cell saves; if this process dies, the cells notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

use super::directory::{Failure, State, Study};
use super::graph::{Cell, Kind};
use super::memory::{self, Memory};
use crate::checkpoint::atomic::create_directories;
use crate::train::TrainError;
use crate::train::progress::Stop;

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(100);
/// How long the first cell of a kind runs before another one begins.
const SHOWING: Duration = Duration::from_secs(5);
/// Looks between two drawings of the table.
const DRAW: u32 = 20;

/// How the cells of a study are run.
#[derive(Clone, Debug)]
pub struct Manner {
    /// at most so many at once
    pub jobs: usize,
    /// the program, and options of every command
    pub program: PathBuf,
    /// as `--threads 1`
    pub options: Vec<String>,
    /// no progress
    pub quiet: bool,
}

/// How a study stands when the work ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// cells with a result
    pub done: usize,
    /// cells that ended without one
    pub failed: usize,
    /// cells that cannot begin, since what they start from has failed
    pub held_up: usize,
    /// all others
    pub left: usize,
}

/// The most memory that a cell of a kind, on such data, has had.
pub type Peaks = BTreeMap<(Kind, String), Memory>;

/// A process at work.
struct Running {
    index: usize,
    child: Child,
    began: Instant,
    /// share that was done when it began
    first: f64,
    bar: ProgressBar,
}

/// Runs what is missing of a study until nothing is left that can be, or until `stop`. Errors: the study is changed
/// meanwhile; a cell cannot be started, its log or a note not be written.
pub fn run(study: &Study, manner: &Manner, stop: &Stop) -> Result<(Tally, Peaks), TrainError> {
    let cells = &study.graph.cells;
    for cell in cells {
        match study.state(cell) {
            // What failed for a reason outside of it may succeed now.
            State::Failed(failure) if !failure.is_final() => study.note_failure(cell, None)?,
            _ => {}
        }
    }
    let mut work = Work {
        study,
        manner,
        states: cells.iter().map(|cell| study.state(cell)).collect(),
        running: Vec::new(),
        peaks: BTreeMap::new(),
        shown: BTreeSet::new(),
        table: Table::new(cells.len(), manner.quiet),
    };
    let mut looks = 0;
    loop {
        work.reap()?;
        if stop.requested() {
            work.end()?;
            break;
        }
        while work.running.len() < manner.jobs {
            let Some(index) = work.next() else { break };
            if !study.is_current() {
                work.end()?;
                let dir = study.dir.display();
                return Err(TrainError::Input(format!(
                    "{dir}: the study was changed while it ran; what was at work is saved; run it again"
                )));
            }
            work.start(index)?;
        }
        if work.running.is_empty() && !work.waits_for_others() {
            break;
        }
        work.measure();
        if looks % DRAW == 0 {
            work.draw();
        }
        looks += 1;
        sleep(LOOK);
    }
    work.table.total.abandon();
    Ok((work.tally(), work.peaks))
}

struct Work<'a> {
    study: &'a Study,
    manner: &'a Manner,
    states: Vec<State>,
    running: Vec<Running>,
    peaks: Peaks,
    /// kinds of which a cell was done here, so that their peaks are whole
    shown: BTreeSet<(Kind, String)>,
    table: Table,
}

impl Work<'_> {
    fn cell(&self, index: usize) -> &Cell {
        &self.study.graph.cells[index]
    }

    /// A cell that can begin or go on now: not done, what it needs is there, nobody works on it, and it fits in memory.
    fn next(&mut self) -> Option<usize> {
        let ready = |this: &Self, index: usize| {
            let cell = this.cell(index);
            matches!(this.states[index], State::Waiting | State::Begun(..))
                && this.running.iter().all(|r| r.index != index)
                && cell.needs().all(|need| this.states[need] == State::Done)
        };
        for index in 0..self.states.len() {
            if !ready(self, index) {
                continue;
            }
            // Another machine may have come first, or finished it.
            self.states[index] = self.study.state(self.cell(index));
            if ready(self, index) && !self.is_held(index) && self.fits(index) {
                return Some(index);
            }
        }
        None
    }

    fn is_held(&self, index: usize) -> bool {
        matches!(self.states[index], State::Begun(_, Some(_)))
    }

    /// Whether something that is left is being made by another process.
    fn waits_for_others(&mut self) -> bool {
        for index in 0..self.states.len() {
            if self.is_held(index) {
                self.states[index] = self.study.state(self.cell(index));
            }
        }
        (0..self.states.len()).any(|index| self.is_held(index))
    }

    /// Whether what is free is enough for it beside what the others may still take. The first of a kind shows what one
    /// needs: until it has run for a while no other of its kind begins.
    fn fits(&self, index: usize) -> bool {
        if self.running.is_empty() {
            return true;
        }
        let own = key(self.cell(index));
        let mut same = self.running.iter().filter(|r| key(self.cell(r.index)) == own).peekable();
        let first = same.peek().is_some() && same.all(|r| r.began.elapsed() < SHOWING);
        if first && !self.shown.contains(&own) {
            return false;
        }
        let Some(need) = self.peaks.get(&own) else { return true };
        let growth = |r: &Running| {
            let peak = self.peaks.get(&key(self.cell(r.index))).map_or(0, |most| most.peak);
            peak.saturating_sub(Memory::of(r.child.id()).now)
        };
        let growth: u64 = self.running.iter().map(growth).sum();
        memory::free().is_none_or(|free| free > need.peak + growth)
    }

    /// Takes note of what the running ones need.
    fn measure(&mut self) {
        for r in &self.running {
            let cell = &self.study.graph.cells[r.index];
            let peak = self.peaks.entry(key(cell)).or_default();
            *peak = peak.most(Memory::of(r.child.id()));
        }
    }

    fn start(&mut self, index: usize) -> Result<(), TrainError> {
        let cell = self.cell(index);
        let log = self.study.log(cell);
        let fail = |what: String| TrainError::Input(format!("{}: {what}", log.display()));
        create_directories(log.parent().unwrap_or(&self.study.dir)).map_err(|e| fail(e.to_string()))?;
        let file =
            OpenOptions::new().create(true).append(true).open(&log).map_err(|e| fail(e.to_string()))?;
        let copy = file.try_clone().map_err(|e| fail(e.to_string()))?;
        let mut command = Command::new(&self.manner.program);
        command.args(["study", "cell"]).arg(&self.study.dir);
        // By what it is, not by its place: another process may change the study meanwhile.
        command.arg(cell.folder());
        command.args(["--parent", &std::process::id().to_string()]).args(&self.manner.options);
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        // Signals of the terminal come by way of this process, once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(|e| {
            TrainError::Input(format!("{}: cannot start: {e}", self.manner.program.display()))
        })?;
        let first = if let State::Begun(share, _) = self.states[index] { share } else { 0.0 };
        let bar = self.table.add(cell);
        self.running.push(Running { index, child, began: Instant::now(), first, bar });
        Ok(())
    }

    /// Takes those that have ended.
    fn reap(&mut self) -> Result<(), TrainError> {
        let mut k = 0;
        while k < self.running.len() {
            let ended = self.running[k].child.try_wait();
            let Some(status) =
                ended.map_err(|e| TrainError::Input(format!("cannot wait for a cell: {e}")))?
            else {
                k += 1;
                continue;
            };
            let Running { index, bar, .. } = self.running.swap_remove(k);
            let cell = self.cell(index);
            let code = status.code();
            let mut state = self.study.state(cell);
            // Interrupted, by whom ever, is no failure; ended without a word is.
            if !matches!(state, State::Done | State::Failed(_)) && code != Some(3) {
                let reason = match code {
                    None => format!("killed ({status}), perhaps for want of memory"),
                    Some(code) => format!("ended with code {code}; see its log"),
                };
                let failure = Failure { code: None, reason };
                self.study.note_failure(cell, Some(&failure))?;
                state = State::Failed(failure);
            }
            self.table.ended(self.study, cell, &state, &bar);
            if state == State::Done {
                self.shown.insert(key(cell));
            }
            self.states[index] = state;
        }
        Ok(())
    }

    /// Asks all that run to save, and waits for them.
    fn end(&mut self) -> Result<(), TrainError> {
        for r in &self.running {
            interrupt(r.child.id());
        }
        while !self.running.is_empty() {
            sleep(LOOK);
            self.reap()?;
        }
        Ok(())
    }

    fn draw(&mut self) {
        let tally = self.tally();
        for r in &self.running {
            let cell = &self.study.graph.cells[r.index];
            if let State::Begun(share, _) = self.study.state(cell) {
                r.bar.set_position((1000.0 * share) as u64);
                let gained = share - r.first;
                let left = r.began.elapsed().as_secs_f64() / gained.max(1e-9) * (1.0 - share);
                let left = if gained > 0.0 { duration(left) } else { "-".into() };
                r.bar.set_message(format!("{left} left  {}", cell.name()));
            }
        }
        self.table.total.set_position(tally.done as u64);
        self.table.total.set_message(format!("{} running, {} failed", self.running.len(), tally.failed));
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for index in 0..self.states.len() {
            match self.states[index] {
                State::Done => tally.done += 1,
                State::Failed(_) => tally.failed += 1,
                _ if self.cell(index).needs().any(|need| matches!(self.states[need], State::Failed(_))) => {
                    tally.held_up += 1;
                }
                _ => tally.left += 1,
            }
        }
        tally
    }
}

/// Cells alike in what memory they need.
fn key(cell: &Cell) -> (Kind, String) {
    (cell.kind, cell.data.clone())
}

/// What a person sees.
struct Table {
    all: MultiProgress,
    total: ProgressBar,
    quiet: bool,
}

impl Table {
    fn new(cells: usize, quiet: bool) -> Table {
        let all = MultiProgress::new();
        if quiet {
            all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let total = all.add(ProgressBar::new(cells as u64));
        let style = ProgressStyle::with_template("{pos}/{len} cells {bar:28} {elapsed} {msg}");
        total.set_style(style.expect("invariant: the template is valid"));
        Table { all, total, quiet }
    }

    fn add(&self, cell: &Cell) -> ProgressBar {
        let bar = self.all.add(ProgressBar::new(1000));
        let style = ProgressStyle::with_template("  {percent:>3}% {bar:20} {msg}");
        bar.set_style(style.expect("invariant: the template is valid"));
        bar.set_message(cell.name());
        bar
    }

    fn ended(&self, study: &Study, cell: &Cell, state: &State, bar: &ProgressBar) {
        self.all.remove(bar);
        if self.quiet {
            return;
        }
        let said = match state {
            State::Done => format!("done: {}", cell.name()),
            State::Failed(f) => {
                format!("failed: {}: {}; log: {}", cell.name(), f.reason, study.log(cell).display())
            }
            _ => format!("saved: {}", cell.name()),
        };
        match self.all.is_hidden() {
            true => eprintln!("{said}"),
            false => drop(self.all.println(said)),
        }
    }
}

/// `2 h 05 min`, `3 min`, `20 s`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "-".into(),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{} h {:02} min", (s / 3600.0) as u64, (s / 60.0) as u64 % 60),
    }
}

/// Asks a process to save and end.
#[cfg(unix)]
pub fn interrupt(process: u32) {
    // One that has ended already needs no signal.
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Asks a process to save and end.
#[cfg(not(unix))]
pub fn interrupt(_: u32) {}

/// From now on this process is asked to save when the one that started it ends; an error if it has ended already.
pub fn die_with(parent: u32) -> Result<(), TrainError> {
    #[cfg(target_os = "linux")]
    {
        let done = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
        done.map_err(|e| TrainError::Input(format!("cannot listen for the end of process {parent}: {e}")))?;
        if std::os::unix::process::parent_id() != parent {
            return Err(TrainError::Input(format!("process {parent}, which started this one, has ended")));
        }
    }
    let _ = parent;
    Ok(())
}
