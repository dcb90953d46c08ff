//! What a trace has and nothing here reads, in notes.

use std::collections::BTreeMap;

use super::files::Files;

/// Most names in a note.
const MOST: usize = 8;

/// Draws, other tensors and logged values that were not read, a note each.
pub fn unread(files: &Files) -> Vec<String> {
    let (draws, tensors): (Vec<String>, Vec<String>) =
        files.tensors.keys().cloned().partition(|key| key.starts_with("noise."));
    let unread: Vec<&String> = draws.iter().filter(|key| !files.was_read(key)).collect();
    let draws = unread
        .first()
        .map(|first| format!("draws that no loss here reads: {}, the first {first}", unread.len()));
    let others = [tensors, files.logged()];
    draws.into_iter().chain(others.iter().filter_map(|keys| not_compared(files, keys))).collect()
}

/// Those of the keys that were not read, of all updates and rows under one name.
fn not_compared(files: &Files, keys: &[String]) -> Option<String> {
    // How many were not read, and how many there are.
    let mut names: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for key in keys {
        let (unread, all) = names.entry(name(key)).or_default();
        *unread += usize::from(!files.was_read(key));
        *all += 1;
    }
    let names: Vec<String> = names
        .into_iter()
        .filter(|(_, (unread, _))| *unread > 0)
        .map(|(name, counts)| match counts {
            (1, 1) => name,
            (unread, all) if unread == all => format!("{name} ({all})"),
            (unread, all) => format!("{name} ({unread} of {all})"),
        })
        .collect();
    let shown = names.get(..MOST).unwrap_or(&names).join(", ");
    match names.len() {
        0 => None,
        n if n > MOST => Some(format!("not compared: {shown} and {} more", n - MOST)),
        _ => Some(format!("not compared: {shown}")),
    }
}

/// A key with the number of its update or row, the first in it, as I. What is `init` has numbers of layers only.
fn name(key: &str) -> String {
    let mut replaced = key.starts_with("init.");
    let part = |part: &str| {
        let number = part.trim_end_matches(['.', ']']);
        if replaced || number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return part.to_string();
        }
        replaced = true;
        part.replace(number, "I")
    };
    key.split_inclusive(['.', '[', ']']).map(part).collect()
}
