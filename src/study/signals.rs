//! What the process of a study and those of its cells tell each other.

use std::process::ExitStatus;

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

use crate::train::TrainError;

/// Whether a process was ended by a signal that it cannot hear.
#[cfg(unix)]
pub(super) fn is_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(Signal::KILL.as_raw())
}

/// Whether a process was ended by a signal that it cannot hear.
#[cfg(not(unix))]
pub(super) fn is_killed(_: ExitStatus) -> bool {
    true
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
