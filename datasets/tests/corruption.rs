//! Damaged files: never a panic, an endless loop or an absurd allocation, and never a silent loss.
//!
//! Each copy of a fixture with a few damaged bytes is either refused with one line, or gives the same columns as the
//! whole file. Values may differ only where they have no checksum and were themselves hit: `fixtures/values.tsv`, which
//! is made from the C library's words, says where those lie. Two kinds of damage are not seen by any reader, and do not
//! count: contiguous values whose address was moved into unused bytes, and a key of whose name three letters or more were
//! overwritten by others.
//!
//! The damage is done in a child process whose address space is limited to 1 GB and whose time to 10 minutes of one
//! core, because a failed allocation ends the whole process and could not be caught here. `BAQ_HDF5_MUTATIONS` sets how
//! many copies are made of each fixture (300); `all` flips every bit of every fixture, once each.
#![cfg(target_os = "linux")]

mod common;

use baq_datasets::backend::pure::PureFile;
use baq_datasets::{Error, Recording, d4rl, minari};
use common::{fixture, next};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

const FILES: [&str; 13] = [
    "big-endian-int-flags.hdf5",
    "extensible.hdf5",
    "f64-columns-float-flags.hdf5",
    "gzip.hdf5",
    "latest.hdf5",
    "lzf.hdf5",
    "minari/toy/fixture-v0/data/main_data.hdf5",
    "newest-unfiltered.hdf5",
    "newest.hdf5",
    "no-timeouts.hdf5",
    "plain.hdf5",
    "shuffle-fletcher32.hdf5",
    "soft-links.hdf5",
];

/// A place in the file's structure: of five places, four are not zero, where zeros are most of a small file.
fn place(whole: &[u8], state: &mut u64) -> usize {
    for _ in 0..32 {
        let at = next(state) as usize % whole.len();
        if whole[at] != 0 || next(state).is_multiple_of(5) {
            return at;
        }
    }
    next(state) as usize % whole.len()
}

/// One damaged copy.
fn damaged(whole: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let at = place(whole, state);
    match next(state) % 8 {
        0..=2 => {
            for _ in 0..=next(state) % 3 {
                let at = place(whole, state);
                bytes[at] ^= 1 << (next(state) % 8);
            }
        }
        3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, next(state) as u8][next(state) as usize % 6],
        4 => {
            // Fields of eight aligned bytes: sizes, addresses, extents.
            let (at, values) = (at / 8 * 8, [u64::MAX, 1 << 40, 1 << 62, 0, 1, next(state) % 65_536]);
            let field = values[next(state) as usize % 6].to_le_bytes();
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&field[..end - at]);
        }
        5 => bytes.truncate(at),
        6 => {
            // Blocks of 8 to 512 bytes change places.
            let size = 8 << (next(state) % 7);
            let other = place(whole, state);
            let (a, b) = (at / size * size, other / size * size);
            for k in 0..size {
                if a.max(b) + k < bytes.len() {
                    bytes.swap(a + k, b + k);
                }
            }
        }
        _ => {
            let end = bytes.len().min(at + (1 << (next(state) % 8)));
            bytes[at..end].fill(if next(state).is_multiple_of(2) { 0 } else { next(state) as u8 });
        }
    }
    bytes
}

/// Reads bytes as the fixture of this name.
fn read(name: &str, folder: &Path, bytes: &[u8]) -> Result<Recording, Error> {
    if !name.starts_with("minari") {
        return d4rl::read_bytes_with::<PureFile>(name, bytes, false);
    }
    std::fs::write(folder.join("main_data.hdf5"), bytes).expect("write");
    minari::read_with::<PureFile>(folder, false)
}

/// Everything that is not a value: which columns there are, and of what shape.
fn keys(r: &Recording) -> impl PartialEq + std::fmt::Debug + use<> {
    let optional = (r.next_observations.is_some(), r.timeouts.is_some(), r.action_log_probs.is_some());
    (r.observations.dim(), r.actions.dim(), optional, r.algorithm.is_some())
}

/// Values of a fixture that have no checksum.
fn bare_values(name: &str) -> Vec<Range<usize>> {
    let table = std::fs::read_to_string(fixture("values.tsv")).expect("a fixture");
    let rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| row[0] == name)
        .map(|row| (row[1].parse().expect("a number"), row[2].parse().expect("a number")))
        .map(|(at, n): (usize, usize)| at..at + n)
        .collect()
}

/// Where the bytes of `what` stand in a file.
fn all(file: &[u8], what: &[u8]) -> Vec<Range<usize>> {
    let places = file.windows(what.len()).enumerate().filter(|(_, w)| *w == what);
    places.map(|(at, _)| at..at + what.len()).collect()
}

/// `None`: refused. Otherwise what is wrong with what came back, if anything.
fn loss(name: &str, folder: &Path, whole: (&[u8], &Recording), bytes: &[u8]) -> Option<Option<String>> {
    match read(name, folder, bytes) {
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n') && !text.contains(char::is_control), "{text}");
            None
        }
        Ok(mut recording) => {
            recording.source = whole.1.source.clone();
            if recording.algorithm.is_some() && whole.1.algorithm.is_some() {
                // Text in a global heap has no checksum.
                recording.algorithm.clone_from(&whole.1.algorithm);
            }
            if !recording.notes.is_empty() {
                // What is left out with a note is no silent loss.
                recording.notes.clear();
                recording.action_log_probs.clone_from(&whole.1.action_log_probs);
                recording.algorithm.clone_from(&whole.1.algorithm);
            }
            if recording == *whole.1 {
                return Some(None);
            }
            let hit = (0..bytes.len()).filter(|i| bytes[*i] != whole.0[*i]);
            let among = |ranges: &[Range<usize>]| {
                hit.clone().filter(|i| ranges.iter().any(|r| r.contains(i))).count()
            };
            let values = bare_values(name);
            let addresses: Vec<_> =
                values.iter().flat_map(|v| all(whole.0, &v.start.to_le_bytes())).collect();
            let same_keys = keys(&recording) == keys(whole.1);
            if same_keys && among(&values) + among(&addresses) > 0 {
                return Some(None);
            }
            let renamed = |key: &str| among(&all(whole.0, key.as_bytes())) > 2;
            if ["timeouts", "next_observations", "action_log_probs", "infos", "metadata"]
                .iter()
                .any(|k| renamed(k))
            {
                return Some(None);
            }
            let hit: Vec<_> = hit.map(|i| format!("{i}: {:#04x} -> {:#04x}", whole.0[i], bytes[i])).collect();
            Some(Some(format!(
                "{name}: {} change {:?} to {:?}",
                hit.join(", "),
                keys(whole.1),
                keys(&recording)
            )))
        }
    }
}

#[test]
#[ignore = "run by damaged_files_are_survived in a process with limited memory"]
fn child() {
    let wanted = std::env::var("BAQ_HDF5_MUTATIONS").unwrap_or_default();
    let folder = tempfile::tempdir().expect("temporary folder");
    let metadata = fixture("minari/toy/fixture-v0/data/metadata.json");
    std::fs::copy(metadata, folder.path().join("metadata.json")).expect("copy");
    let (mut total, mut refused, mut losses) = (0, 0, Vec::new());
    for (seed, name) in FILES.iter().enumerate() {
        let whole = std::fs::read(fixture(name)).expect("fixture");
        let recording = read(name, folder.path(), &whole).expect("a whole fixture");
        let mut state = seed as u64;
        let count = if wanted == "all" { whole.len() * 8 } else { wanted.parse().unwrap_or(300) };
        for number in 0..count {
            let bytes = if wanted == "all" {
                let mut bytes = whole.clone();
                bytes[number / 8] ^= 1 << (number % 8);
                bytes
            } else {
                damaged(&whole, &mut state)
            };
            total += 1;
            match loss(name, folder.path(), (&whole, &recording), &bytes) {
                None => refused += 1,
                Some(found) => losses.extend(found),
            }
        }
    }
    println!("{total} damaged files, {refused} refused, {} silent losses", losses.len());
    assert!(losses.is_empty(), "{}", losses.join("\n"));
    // Most damage to these fixtures hits something.
    assert!(refused * 3 > total || wanted == "all", "{refused} of {total} refused");
}

fn limited(test: &str) -> (bool, String) {
    let me = std::env::current_exe().expect("invariant: a test knows its binary");
    let out = Command::new("sh")
        .args(["-c", "ulimit -v 1000000; ulimit -t 600; exec \"$0\" --ignored --nocapture --exact \"$1\" --test-threads 1"])
        .arg(&me)
        .arg(test)
        .output()
        .expect("sh");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.success(), text)
}

#[test]
fn damaged_files_are_survived() {
    let (success, text) = limited("child");
    assert!(success, "{text}");
    assert!(text.contains("1 passed"), "the child must have run: {text}");
    println!("{text}");
}

#[test]
fn the_memory_limit_bites() {
    // Without this the test above could pass because the limit did nothing.
    assert!(!limited("greedy_child").0);
}

#[test]
#[ignore = "run by the_memory_limit_bites"]
fn greedy_child() {
    let mut buffer: Vec<u8> = Vec::with_capacity(2 << 30);
    buffer.push(1);
    println!("{}", std::hint::black_box(&buffer).len());
}
