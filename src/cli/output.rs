//! What the commands print.

use std::io::{self, Write as _};

use baq_datasets::plain;

use crate::train::metrics::DatasetFacts;

/// The `println!` of the commands. Its module stands before theirs, so it hides the standard one in them.
macro_rules! println {
    ($($text:tt)*) => { $crate::cli::output::print_line(format_args!($($text)*)) };
}

/// Prints a line. A reader that has gone away (`| head`, a closed terminal) is no error and changes no verdict.
///
/// What a file or a run says of itself stands in many lines, so all of them are made plain here.
pub fn print_line(text: std::fmt::Arguments<'_>) {
    let text = text.to_string();
    let text = plain(&text);
    let mut out = io::stdout().lock();
    if let Err(e) = writeln!(out, "{text}").and_then(|()| out.flush())
        && !reader_is_gone(&e)
    {
        eprintln!("baq: cannot write to standard output: {e}");
        std::process::exit(2);
    }
}

fn reader_is_gone(e: &io::Error) -> bool {
    #[cfg(unix)]
    if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
        use rustix::fs::{FileType, fstat};
        // Of a terminal that is no more; of a file it is a broken disk.
        return !fstat(io::stdout()).is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_file());
    }
    e.kind() == io::ErrorKind::BrokenPipe
}

/// Columns and lines of the terminal that standard output is.
pub fn terminal() -> Option<(usize, usize)> {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
        && size.ws_col > 0
    {
        return Some((size.ws_col.into(), size.ws_row.into()));
    }
    None
}

/// Says what is unusual about the data of a run. It goes to stderr: results stay one JSON object.
pub fn say_notes(facts: &DatasetFacts) {
    for note in &facts.notes {
        eprintln!("baq: note: {}: {note}", facts.name);
    }
}
