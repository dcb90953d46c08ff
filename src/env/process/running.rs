//! A program at work, and how it ends.

use std::collections::BTreeMap;
use std::io;
#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a program that is to end.
const NAP: Duration = Duration::from_millis(5);
/// Naps in which a program may end by itself once its input has ended: two seconds.
const FAREWELL: u32 = 400;

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

#[cfg(unix)]
fn kill_group(id: u32) {
    if let Some(id) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
        // One that has ended by itself is no failure.
        let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_: u32) {}

/// A program, which ends with this value.
pub(super) struct Running(process::Child);

impl Running {
    /// Starts a program in a process group of its own.
    pub(super) fn start(command: &mut Command) -> io::Result<(Running, ChildStdin, ChildStdout)> {
        // Ctrl-C is for this program, which still needs its environments while it saves.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        living().insert(process.id(), Living::default());
        let requests = process.stdin.take().expect("invariant: it is piped");
        let answers = process.stdout.take().expect("invariant: it is piped");
        Ok((Running(process), requests, answers))
    }

    /// Notes whether an answer is awaited from now on.
    pub(super) fn awaits(&self, answer: bool) {
        if let Some(program) = living().get_mut(&self.0.id()) {
            program.awaited = answer.then(Instant::now);
        }
    }

    /// How it ended. One that lives on some time after its input has ended is ended; `None` then, and if it was ended
    /// because it did not answer.
    pub(super) fn farewell(&mut self) -> io::Result<Option<ExitStatus>> {
        for _ in 0..FAREWELL {
            let mut living = living();
            if let Some(ended) = self.0.try_wait()? {
                let silent = living.remove(&self.0.id()).is_some_and(|program| program.silent);
                return Ok((!silent).then_some(ended));
            }
            drop(living);
            thread::sleep(NAP);
        }
        self.kill();
        Ok(None)
    }

    /// Ends it with all that it has started, unless it has ended.
    fn kill(&mut self) {
        let mut all = living();
        // Not waited for yet, so that no other process can have its number.
        let lives = matches!(self.0.try_wait(), Ok(None));
        if lives {
            kill_group(self.0.id());
        }
        all.remove(&self.0.id());
        // Its end may take a while, for which nobody is to wait.
        drop(all);
        if lives {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
