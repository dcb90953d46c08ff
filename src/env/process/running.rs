//! A program at work, and how it ends.

use std::io;
#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

/// Between two looks at a program that is to end.
const NAP: Duration = Duration::from_millis(5);
/// Naps in which a program may end by itself once its input has ended: two seconds.
const FAREWELL: u32 = 400;

/// A program, which ends with this value.
pub(super) struct Running(process::Child);

impl Running {
    /// Starts a program in a process group of its own.
    pub(super) fn start(command: &mut Command) -> io::Result<(Running, ChildStdin, ChildStdout)> {
        // Ctrl-C is for this program, which still needs its environments while it saves.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = process.stdin.take().expect("invariant: it is piped");
        let answers = process.stdout.take().expect("invariant: it is piped");
        Ok((Running(process), requests, answers))
    }

    /// How it ended. One that lives on some time after its input has ended is ended; `None` then.
    pub(super) fn farewell(&mut self) -> io::Result<Option<ExitStatus>> {
        for _ in 0..FAREWELL {
            let ended = self.0.try_wait()?;
            if ended.is_some() {
                return Ok(ended);
            }
            thread::sleep(NAP);
        }
        self.kill();
        Ok(None)
    }

    /// Ends it with all that it has started, unless it has ended.
    fn kill(&mut self) {
        // Not waited for yet, so that no other process can have its number.
        if let Ok(None) = self.0.try_wait() {
            #[cfg(unix)]
            let _ = rustix::process::kill_process_group(
                rustix::process::Pid::from_child(&self.0),
                rustix::process::Signal::KILL,
            );
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
