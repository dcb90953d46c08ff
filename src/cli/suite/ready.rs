//! Data sets of the suite wherever data are named: built when they are used first.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::suite::{self, PREFIX};
use crate::train::TrainError;
use crate::train::progress::Stop;

/// Between two looks at the process.
const LOOK: Duration = Duration::from_millis(100);

/// The file of a data set `suite:NAME`. A replay comes from training again; a process of its own does so where this one
/// computes otherwise than the training that is recorded. Errors: no such data set, or nothing recorded of it; a build
/// that fails or is interrupted.
pub fn ready(name: &str) -> Result<PathBuf, TrainError> {
    if let Some((isa, numerics)) = suite::trained_otherwise(name)? {
        let text = name.strip_prefix(PREFIX).unwrap_or(name);
        build(&["suite", "build", text, "--isa", &isa, "--numerics", &numerics])?;
    }
    suite::ready(name)
}

fn build(words: &[&str]) -> Result<(), TrainError> {
    let said = format!("baq {}", words.join(" "));
    let fail = |e: std::io::Error| TrainError::Input(format!("{said}: {e}"));
    let stop = Stop::on_signal()?;
    let program = std::env::current_exe().map_err(fail)?;
    // Its progress is shown; what it would print at its end is not this command's.
    let mut command = Command::new(program);
    let mut child = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn().map_err(fail)?;
    let mut asked = false;
    loop {
        match child.try_wait().map_err(fail)?.map(|status| status.code()) {
            None => {}
            Some(Some(0)) => return Ok(()),
            Some(Some(3)) => return Err(TrainError::Interrupted(format!("{said}: interrupted, saved"))),
            Some(_) => return Err(TrainError::Input(format!("{said}: it has said why it did not succeed"))),
        }
        if stop.requested() && !asked {
            crate::study::signals::interrupt(child.id());
            asked = true;
        }
        sleep(LOOK);
    }
}
