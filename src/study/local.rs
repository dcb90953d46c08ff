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

use super::directory::{Failure, State, Study};
use super::graph::{Cell, Kind};
use super::memory::{self, Memory};
use super::signals::{interrupt, is_killed};
use crate::checkpoint::atomic::create_directories;
use crate::train::TrainError;
use crate::train::lock;
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
    /// whether it was asked to save and end
    asked: bool,
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
    let (mut looks, mut told) = (0, None);
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
        if work.running.is_empty() {
            let Some(other) = work.waits_for() else { break };
            if told.replace(other) != Some(other) {
                work.say_waits(other);
            }
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

    /// A cell that is being made by another process.
    fn waits_for(&mut self) -> Option<usize> {
        for index in 0..self.states.len() {
            if self.is_held(index) {
                self.states[index] = self.study.state(self.cell(index));
            }
        }
        (0..self.states.len()).find(|index| self.is_held(*index))
    }

    /// One that ended on another machine, without locks, would be waited for for ever.
    fn say_waits(&self, index: usize) {
        let State::Begun(_, Some(holder)) = &self.states[index] else { return };
        let (cell, owner) = (self.cell(index), self.study.folder(self.cell(index)).join(lock::OWNER));
        let hint = match owner.exists() {
            true => format!("; if that process has ended, remove {}", owner.display()),
            false => String::new(),
        };
        self.table.say(&format!("waiting for {}: process {holder} works on it{hint}", cell.name()));
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
        self.running.push(Running { index, child, began: Instant::now(), first, asked: false, bar });
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
            let Running { index, asked, bar, .. } = self.running.swap_remove(k);
            let cell = self.cell(index);
            let code = status.code();
            let mut state = self.study.state(cell);
            // Interrupted, by whomever, is no failure; ended without a word is, unless it was asked to before it listened.
            let interrupted = code == Some(3) || asked && code.is_none();
            if !matches!(state, State::Done | State::Failed(_)) && !interrupted {
                let reason = match code {
                    None if is_killed(status) => format!("killed ({status}), perhaps for want of memory"),
                    None => format!("ended by a signal ({status})"),
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
        for r in &mut self.running {
            interrupt(r.child.id());
            r.asked = true;
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
                let hours = r.began.elapsed().as_secs_f64() / 3600.0;
                let speed = match gained > 0.0 {
                    true => {
                        let rate = gained / hours;
                        format!("{:.0} %/h, {} left", 100.0 * rate, duration(3600.0 * (1.0 - share) / rate))
                    }
                    false => "- left".into(),
                };
                r.bar.set_message(format!("{speed}  {}", cell.name()));
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
        self.say(&said);
    }

    fn say(&self, line: &str) {
        match self.all.is_hidden() {
            true => eprintln!("{line}"),
            false => drop(self.all.println(line)),
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
