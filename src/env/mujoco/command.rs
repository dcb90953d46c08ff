//! Running another program, with limited patience.

use std::fs;
use std::io::{ErrorKind, Read as _, Seek as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::ffi::one_line;

/// Time between two looks at a command that runs.
const NAP: Duration = Duration::from_millis(5);

/// Runs a command to its end, but hardly longer than this.
pub fn run(command: &mut Command, patience: Duration) -> std::io::Result<Output> {
    // Into files: a pipe may be held open by children of a child that was ended.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let mut child = command.spawn()?;
    let mut naps = 0..patience.as_millis() / NAP.as_millis();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if naps.next().is_some() => std::thread::sleep(NAP),
            None => {
                child.kill().and_then(|()| child.wait())?;
                let what = format!("did not answer within {} seconds", patience.as_secs());
                return Err(std::io::Error::new(ErrorKind::TimedOut, what));
            }
        }
    };
    let read = |file: &mut fs::File| {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(1 << 20).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    Ok(Output { status, stdout: read(&mut out)?, stderr: read(&mut err)? })
}

/// The last line of an output that is not empty.
pub fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    one_line(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message"))
}
