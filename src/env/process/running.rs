//! A program at work, and how it ends.

use std::collections::BTreeMap;
use std::io::{self, Read};
#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(unix)]
use rustix::io::{Errno, ioctl_fionread};
#[cfg(unix)]
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::env::EnvError;

/// Between two looks at a program that is to end.
const NAP: Duration = Duration::from_millis(5);
/// Naps in which a program may end by itself once its input has ended: two seconds.
const FAREWELL: u32 = 400;
/// Between two looks at whether a silent program still runs.
#[cfg(unix)]
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A program that was started and whose end nobody has seen, so that no other process can have its number.
#[derive(Default)]
struct Living {
    /// since when an answer is awaited
    awaited: Option<Instant>,
    /// it was ended because none came
    silent: bool,
}

/// By their numbers.
static LIVING: Mutex<BTreeMap<u32, Living>> = Mutex::new(BTreeMap::new());

fn living() -> MutexGuard<'static, BTreeMap<u32, Living>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all programs at once, from whatever thread, with all that they have started.
pub(crate) fn end_all() {
    living().keys().for_each(|id| kill_group(*id));
}

/// Ends those that have not answered for so long after a signal.
pub(crate) fn end_silent(signal: Instant, patience: Duration) {
    for (id, program) in living().iter_mut() {
        if program.awaited.is_some_and(|since| since.max(signal).elapsed() >= patience) {
            program.silent = true;
            kill_group(*id);
        }
    }
}

/// For commands that have nothing to save: a signal that ends this process ends all programs first, which it would not
/// reach in their process groups.
///
/// # Errors
/// The system does not let this process listen for signals.
pub(crate) fn end_with_this_process() -> Result<(), EnvError> {
    let fatal = [
        SIGINT,
        SIGTERM,
        #[cfg(unix)]
        SIGHUP,
    ];
    let cannot = |e: io::Error| EnvError::Signals(e.to_string());
    let listened = fatal.into_iter().filter(|signal| !ignored(*signal));
    let mut signals = Signals::new(listened).map_err(cannot)?;
    let listen = move || {
        for signal in signals.forever() {
            end_all();
            // It knows these signals, and does not return.
            let _ = emulate_default_handler(signal);
        }
    };
    thread::Builder::new().spawn(listen).map(drop).map_err(cannot)
}

/// Whether this process was started with a signal ignored, as `nohup` does. Unknown is no.
pub(crate) fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|m| m >> (signal - 1) & 1 == 1)
}

#[cfg(unix)]
fn kill_group(id: u32) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // One that has ended by itself is no failure.
        let _ = kill_process_group(id, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_: u32) {}

/// A program, which ends with this value. What is read is what it writes.
pub(super) struct Running {
    process: process::Child,
    answers: ChildStdout,
}

impl Running {
    /// Starts a program in a process group of its own.
    pub(super) fn start(command: &mut Command) -> io::Result<(Running, ChildStdin)> {
        // Ctrl-C is for this program, which still needs its environments while it saves.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        living().insert(process.id(), Living::default());
        let requests = process.stdin.take().expect("invariant: it is piped");
        let answers = process.stdout.take().expect("invariant: it is piped");
        Ok((Running { process, answers }, requests))
    }

    /// Notes whether an answer is awaited from now on.
    fn awaits(&self, answer: bool) {
        if let Some(program) = living().get_mut(&self.process.id()) {
            program.awaited = answer.then(Instant::now);
        }
    }

    /// Bytes that it has written and nobody has read.
    #[cfg(unix)]
    pub(super) fn unread(&self) -> u64 {
        ioctl_fionread(&self.answers).unwrap_or(0)
    }

    #[cfg(not(unix))]
    pub(super) fn unread(&self) -> u64 {
        0
    }

    /// Waits until there is something to read, or its output ends. False: it has ended, and another program that it
    /// started holds its output open and is silent.
    #[cfg(unix)]
    fn writes(&mut self) -> io::Result<bool> {
        let mut ended = false;
        loop {
            let looked = poll(&mut [PollFd::new(&self.answers, PollFlags::IN)], Some(&LOOK));
            match looked {
                Ok(0) if ended => return Ok(false),
                // What it wrote last may have come since, so there is one more look.
                Ok(0) => ended = self.has_ended(),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    #[cfg(not(unix))]
    fn writes(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Leaves its end for others to see: until then its number stands for its process group.
    #[cfg(unix)]
    fn has_ended(&mut self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(Pid::from_child(&self.process)), look), Ok(None))
    }

    #[cfg(not(unix))]
    fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// How it ended. One that lives on some time after its input has ended is ended; `None` then, and if it was ended
    /// because it did not answer.
    pub(super) fn farewell(&mut self) -> io::Result<Option<ExitStatus>> {
        let mut naps = 0..FAREWELL;
        let mut ended = self.has_ended();
        while !ended && naps.next().is_some() {
            thread::sleep(NAP);
            ended = self.has_ended();
        }
        let (status, silent) = self.end()?;
        Ok((ended && !silent).then_some(status))
    }

    /// Ends it with all that it has started: how it ended, and whether it had been ended for its silence.
    pub(super) fn end(&mut self) -> io::Result<(ExitStatus, bool)> {
        let mut all = living();
        let program = all.remove(&self.process.id());
        if program.is_some() {
            // Not waited for yet, so that no other process can have its number.
            kill_group(self.process.id());
        }
        // Its end may take a while, for which nobody is to wait.
        drop(all);
        let _ = self.process.kill();
        Ok((self.process.wait()?, program.is_some_and(|program| program.silent)))
    }
}

impl Read for Running {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.awaits(true);
        let read = match self.writes() {
            Ok(true) => self.answers.read(to),
            Ok(false) => Ok(0),
            Err(e) => Err(e),
        };
        self.awaits(false);
        read
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
