//! Whether a file is a whole shared library: a mapped file that is shorter than its headers say ends the process with
//! SIGBUS as soon as the missing part is touched, so it is refused before the loader sees it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Length of the file header, of a program header and of a section header in the 64-bit layout.
const HEADER: usize = 64;
const PROGRAM: usize = 56;
const SECTION: usize = 64;
/// Type of the sections that take no room in the file.
const NOTHING_STORED: u32 = 8;

fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes(bytes[at..at + 2].try_into().expect("invariant: 2 bytes")))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("invariant: 4 bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("invariant: 8 bytes"))
}

/// An error, half a sentence ("it ..."), unless everything that the headers of an ELF library for this processor speak of
/// is in the file. Other systems have loaders of their own: there nothing is checked.
pub fn check(path: &Path) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let machine = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        _ => return Ok(()),
    };
    let unreadable = |e: std::io::Error| format!("it cannot be read ({e})");
    let mut file = crate::files::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes)).map_err(unreadable)?;
        Ok::<_, String>(bytes)
    };
    let cut = |needed: u64| {
        format!("it is not a whole library: its headers speak of {needed} bytes, it has {size}; get it again")
    };
    let foreign = || "it is no shared library for this processor (ELF, 64 bits)".to_string();
    if size < HEADER as u64 {
        return Err(foreign());
    }
    let header = read(0, HEADER)?;
    if !header.starts_with(b"\x7fELF\x02\x01") || half(&header, 16) != 3 || half(&header, 18) != machine {
        return Err(foreign());
    }
    // (where the table is, entries, bytes of each, where offset and size stand in an entry)
    let programs = (long(&header, 32), half(&header, 56), half(&header, 54), PROGRAM, 8, 32);
    let sections = (long(&header, 40), half(&header, 60), half(&header, 58), SECTION, 24, 32);
    for (table, (start, count, entry, expected, offset, length)) in
        [programs, sections].into_iter().enumerate()
    {
        if count == 0 && table == 1 {
            continue;
        }
        if count == 0 || entry != expected as u64 {
            return Err(foreign());
        }
        let bytes = count as usize * expected;
        let end = start.saturating_add(bytes as u64);
        if end > size {
            return Err(cut(end));
        }
        for entry in read(start, bytes)?.chunks_exact(expected) {
            let stored = table == 0 || word(entry, 4) != NOTHING_STORED;
            let end = long(entry, offset).saturating_add(long(entry, length));
            if stored && end > size {
                return Err(cut(end));
            }
        }
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    /// A library of two segments and two sections that is never run, only measured.
    fn library() -> Vec<u8> {
        let mut bytes = vec![0; 1000];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
        for (at, value) in [(16, 3), (18, machine), (54, 56), (56, 2), (58, 64), (60, 2)] {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        let longs = [(32, 64u64), (40, 872), (64 + 8, 0), (64 + 32, 500), (120 + 8, 500), (120 + 32, 372)];
        // The second section takes no room, whatever its size.
        for (at, value) in longs.into_iter().chain([(872 + 24, 200), (872 + 32, 300), (936 + 32, u64::MAX)]) {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes[936 + 4] = 8;
        bytes
    }

    fn verdict(bytes: &[u8]) -> Result<(), String> {
        let file = tempfile::NamedTempFile::new().expect("invariant: a temporary file");
        std::fs::write(file.path(), bytes).expect("invariant: writable");
        check(file.path())
    }

    #[test]
    fn a_library_that_was_cut_off_anywhere_is_refused() {
        let whole = library();
        assert_eq!(verdict(&whole), Ok(()));
        for length in (0..whole.len()).step_by(7) {
            assert!(verdict(&whole[..length]).is_err(), "{length} bytes");
        }
        let error = verdict(&whole[..900]).expect_err("must be refused");
        assert!(error.contains("speak of 1000 bytes, it has 900"), "{error}");
    }

    #[test]
    fn offsets_beyond_the_file_and_other_processors_are_refused() {
        for (at, value) in [(64 + 8, 900u64), (64 + 32, u64::MAX), (872 + 32, 801), (32, u64::MAX), (40, 937)]
        {
            let mut bytes = library();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            assert!(verdict(&bytes).expect_err("must be refused").contains("not a whole library"), "{at}");
        }
        for at in [0, 4, 5, 16, 18, 54] {
            let mut bytes = library();
            bytes[at] ^= 0x40;
            assert!(verdict(&bytes).expect_err("must be refused").contains("no shared library"), "{at}");
        }
    }
}
