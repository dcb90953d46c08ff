//! Opening files that others named: only regular ones, and never more bytes than asked for; and digests of bytes.
//!
//! A named pipe would block for ever, a device may never end, and reading either may change it.

use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// The longest text that is read whole.
const LONGEST_TEXT: u64 = 1 << 32;

/// The most that is read of a file whose length the system does not tell.
const MOST_UNTOLD: u64 = 1 << 26;

/// Opens a regular file for reading. Errors: anything else (directory, pipe, socket, device), and the system's.
pub fn open(path: &Path) -> Result<File> {
    // Before opening, because to open a device or a pipe may do something; after, because the name may have changed.
    check_regular(&std::fs::metadata(path)?)?;
    let file = options().open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file whole. Errors: as for [`open`], and a file that does not fit in memory.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, u64::MAX, false)
}

/// Reads a regular file of text whole. Errors: as for [`open`], not UTF-8, longer than 4 GiB.
pub fn read_to_string(path: &Path) -> Result<String> {
    text(read_at_most(path, LONGEST_TEXT, false)?)
}

/// Reads of a regular file of text that another process may append to what was there when it was opened, its last line perhaps not
/// whole. Errors: as for [`read_to_string`].
pub fn read_so_far(path: &Path) -> Result<String> {
    text(read_at_most(path, LONGEST_TEXT, true)?)
}

/// SHA-256 of bytes, 64 lower-case hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lower-case hex digits, two each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "not text (no valid UTF-8)"))
}

fn read_at_most(path: &Path, most: u64, grows: bool) -> Result<Vec<u8>> {
    let file = open(path)?;
    let long =
        |n: u64| Error::new(ErrorKind::FileTooLarge, format!("{n} bytes are too many to be read whole"));
    let length = file.metadata()?.len();
    if length > most {
        return Err(long(length));
    }
    let mut bytes = Vec::new();
    usize::try_from(length).ok().and_then(|n| bytes.try_reserve_exact(n).ok()).ok_or_else(|| long(length))?;
    if grows {
        file.take(length).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    // Files of the kernel's own say that they are empty and are not; they may be endless.
    let limit = if length == 0 { MOST_UNTOLD } else { length };
    let mut file = file.take(limit.saturating_add(1));
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::other("it grows while it is read, or never ends"));
    }
    Ok(bytes)
}

fn check_regular(metadata: &std::fs::Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let (kind, what) = if metadata.is_dir() {
        (ErrorKind::IsADirectory, "a directory")
    } else {
        (ErrorKind::InvalidInput, special(metadata))
    };
    Err(Error::new(kind, format!("expected a regular file, got {what}")))
}

#[cfg(unix)]
fn special(metadata: &std::fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "a named pipe (to read from a pipe, write it to a file first)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: &std::fs::Metadata) -> &'static str {
    "something else"
}

/// Opening never waits, even where a pipe took the file's place a moment ago.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    const O_NONBLOCK: i32 = if cfg!(target_os = "macos") { 0x4 } else { 0o4000 };
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(O_NONBLOCK);
    options
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_hex_digits() {
        assert_eq!(hex(&[0x00, 0x09, 0xa5, 0xff]), "0009a5ff");
        // The example of FIPS 180-4.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }
}
