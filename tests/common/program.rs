//! The built program, run in a folder.

use std::path::Path;
use std::process::{Command, Stdio};

/// `baq` with the words of a line, in a folder, with nothing to read.
pub fn baq(folder: impl AsRef<Path>, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baq"));
    command.current_dir(folder).args(line.split_whitespace()).stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error of a command, which is run to its end.
pub fn ran(command: &mut Command) -> (Option<i32>, String, String) {
    let out = command.output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (out.status.code(), text(out.stdout), text(out.stderr))
}

/// Runs a line that must succeed; its standard output.
#[track_caller]
pub fn succeed(folder: impl AsRef<Path>, line: &str) -> String {
    let (code, out, err) = ran(&mut baq(folder, line));
    assert_eq!(code, Some(0), "baq {line}: {out}{err}");
    out
}
