//! How every room opens a file that somebody else named (regular files only, never a pipe or a device), digests of bytes,
//! where this program keeps what it can make again, and how much room there is.

use std::path::{Path, PathBuf};

pub use baq_datasets::files::{hex, open, read, read_so_far, read_to_string, sha256};

/// Our own cache folder, `.../baq`; `None` when there is no home.
pub fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_CACHE_HOME").filter(|p| p.is_absolute());
    folder.or_else(|| variable("HOME").map(|home| home.join(".cache"))).map(|folder| folder.join("baq"))
}

/// Bytes that this user may still write at a path, which need not exist; `None` where the system does not say.
#[cfg(unix)]
pub fn free_space(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|p| p.exists() && !p.as_os_str().is_empty());
    let system = rustix::fs::statvfs(existing.unwrap_or(Path::new("."))).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Bytes that this user may still write at a path; `None`: this system is not asked.
#[cfg(not(unix))]
pub fn free_space(_: &Path) -> Option<u64> {
    None
}

/// An error, in words, unless so many bytes fit at a path, which need not exist; `otherwise` is what else would help.
pub fn check_space(path: &Path, needed: u64, otherwise: &str) -> Result<(), String> {
    match free_space(path) {
        Some(free) if free < needed => Err(format!(
            "{}: needs {} on the disk, {} free; make room, or {otherwise}",
            path.display(),
            size(needed),
            size(free)
        )),
        _ => Ok(()),
    }
}

/// 145.7 MiB
pub fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// A word as a shell takes it apart again.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
