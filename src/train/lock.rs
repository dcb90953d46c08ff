//! The lock of a directory: one writer at a time.
//!
//! It is the operating system's lock on a file, so that a killed process leaves none behind. Some network file systems
//! refuse such locks. There a file that only one process can create names its owner: process, when it began, and
//! machine. An owner that has ended is recognised on its own machine alone; elsewhere a person must decide.

use super::run_error::RunError;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Lock; holds the process id of a living writer. Never removed, so that two processes cannot hold locks on two files
/// of the same name.
pub const LOCK: &str = ".lock";
/// Names the writer where the file system has no locks.
pub const OWNER: &str = ".lock.owner";

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// what says so instead of the operating system
    owner: Option<PathBuf>,
}

impl Lock {
    /// Locks a directory for this process. Errors: another process holds the lock, or may hold it; its files cannot be
    /// made, read, written or removed.
    pub fn of(directory: &Path) -> Result<Lock, RunError> {
        Lock::with(directory, File::try_lock)
    }

    fn with(
        directory: &Path,
        try_lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Lock, RunError> {
        let path = directory.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(RunError::io(&path, "open the lock"))?;
        let owner = directory.join(OWNER);
        let mut lock = match try_lock(&file) {
            Ok(()) => {
                // Another machine may see the same directory without locks.
                evict(directory, &owner)?;
                Lock { file, owner: None }
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The number only helps the message; without it the refusal stands.
                let _ = file.read_to_string(&mut pid);
                let by = if pid.trim().is_empty() {
                    "another process".into()
                } else {
                    format!("process {}", pid.trim())
                };
                return Err(RunError::InUse { path: directory.to_path_buf(), by, hint: String::new() });
            }
            Err(TryLockError::Error(_)) => {
                own(directory, &owner)?;
                eprintln!(
                    "baq: {}: no locks on this file system; {OWNER} says who writes",
                    directory.display()
                );
                Lock { file, owner: Some(owner) }
            }
        };
        lock.sign().map_err(RunError::io(&path, "write the lock"))?;
        Ok(lock)
    }

    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }
}

/// The process that holds the lock of a directory, if one does: its number, and without locks its machine unless it is this
/// process. Changes nothing.
pub fn holder(directory: &Path) -> Option<String> {
    let owner = crate::files::read_to_string(&directory.join(OWNER)).ok();
    if let Some(owner) = owner.and_then(|text| Owner::parse(&text)).filter(|owner| !owner.has_ended()) {
        return Some(match owner == Owner::this() {
            true => owner.pid.to_string(),
            false => format!("{} on {}", owner.pid, owner.host),
        });
    }
    let mut file = crate::files::open(&directory.join(LOCK)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid); // the number only helps the message
            Some(pid.trim().to_string())
        }
        _ => None,
    }
}

impl Drop for Lock {
    /// A directory that nobody writes to names nobody, and equal runs have equal files.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        if let Some(owner) = &self.owner {
            let _ = fs::remove_file(owner);
        }
    }
}

/// A process among those of all machines.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// clock ticks from the machine's start to the process's; a process number is used again
    began: String,
    host: String,
    /// this start of the machine, and the space of process numbers (of a container) on it
    machine: String,
}

impl Owner {
    fn this() -> Owner {
        let pid = std::process::id();
        Owner { pid, began: began(pid).unwrap_or_default(), host: host(), machine: machine() }
    }

    fn parse(text: &str) -> Option<Owner> {
        let lines: Vec<&str> = text.split('\n').collect();
        let [pid, began, host, machine, ""] = lines[..] else { return None };
        Some(Owner {
            pid: pid.parse().ok()?,
            began: began.into(),
            host: host.into(),
            machine: machine.into(),
        })
    }

    /// Whether it is certain that the process has ended.
    fn has_ended(&self) -> bool {
        let known = !self.machine.is_empty() && !self.began.is_empty();
        known && self.machine == machine() && began(self.pid).is_none_or(|began| began != self.began)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n{}\n", self.pid, self.began, self.host, self.machine)
    }
}

/// When a living process began; `None` if there is none of this number, or nobody knows.
fn began(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses and may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_string)
}

pub(super) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string()
}

/// Empty where it cannot be known; then no owner is ever said to have ended.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let space = fs::read_link("/proc/self/ns/pid");
    match (boot, space) {
        (Ok(boot), Ok(space)) => format!("{} {}", boot.trim(), space.display()),
        _ => String::new(),
    }
}

/// Makes this process the owner.
fn own(directory: &Path, path: &Path) -> Result<(), RunError> {
    let text = Owner::this().to_string();
    let staged = staged(directory);
    let publish = || -> io::Result<()> {
        // Whole before others see it: one that says nothing would stand in everyone's way.
        fs::write(&staged, &text)?;
        tempfile::TempPath::try_from_path(&staged)?.persist_noclobber(path)?;
        Ok(())
    };
    evict(directory, path)?;
    match publish() {
        Ok(()) => Ok(()),
        // Someone came first.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(in_use(directory, path)),
        Err(e) => Err(RunError::io(path, "make the lock")(e)),
    }
}

/// Removes an owner that has ended; an error if there is one that may live.
fn evict(directory: &Path, path: &Path) -> Result<(), RunError> {
    let seen = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(RunError::io(path, "read the lock"))?,
    };
    if !Owner::parse(&seen).is_some_and(|owner| owner.has_ended()) {
        return Err(in_use(directory, path));
    }
    // Of several that see the same ended owner one takes it away. Who finds that the name was another's by then gives
    // it back.
    let staged = staged(directory);
    match fs::rename(path, &staged) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(RunError::io(path, "remove the lock"))?,
    }
    if fs::read_to_string(&staged).is_ok_and(|text| text == seen) {
        return fs::remove_file(&staged).map_err(RunError::io(&staged, "remove the lock"));
    }
    let _ = fs::rename(&staged, path);
    Err(in_use(directory, path))
}

/// A name of this process's own, which a later recovery knows.
fn staged(directory: &Path) -> PathBuf {
    directory.join(format!("{OWNER}.{}.baq-tmp", std::process::id()))
}

fn in_use(directory: &Path, path: &Path) -> RunError {
    let owner = fs::read_to_string(path).ok().and_then(|text| Owner::parse(&text));
    RunError::InUse {
        path: directory.to_path_buf(),
        by: owner.map_or("another process".into(), |o| format!("process {} on {}", o.pid, o.host)),
        hint: format!(
            "; this file system has no locks: if that process has ended, remove {}",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a file system without locks answers.
    fn refuse(_: &File) -> Result<(), TryLockError> {
        Err(TryLockError::Error(io::Error::from(io::ErrorKind::Unsupported)))
    }

    fn message(result: Result<Lock, RunError>, folder: &Path) -> String {
        result.unwrap_err().to_string().replace(&folder.display().to_string(), "F")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn without_locks_a_file_names_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let this = Owner::this();
        let lock = Lock::with(at, refuse).unwrap();
        assert_eq!(names(at), [LOCK, OWNER]);
        let busy = format!(
            "F: in use by process {} on {}; wait for it or choose another --out; this file system has no locks: if that \
             process has ended, remove F/.lock.owner",
            this.pid, this.host
        );
        assert_eq!(message(Lock::with(at, refuse), at), busy);
        // Another machine, whose view of the same directory has locks, sees it too.
        assert_eq!(message(Lock::of(at), at), busy);
        assert_eq!(names(at), [LOCK, OWNER]);
        assert_eq!(holder(at), Some(this.pid.to_string()), "a report of its own run knows it by this");
        drop(lock);
        assert_eq!((names(at), holder(at)), (vec![LOCK.to_string()], None));
        assert_eq!(fs::read(at.join(LOCK)).unwrap(), b"", "nobody writes now");
        drop(Lock::of(at).unwrap());
        assert_eq!(names(at), [LOCK]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_owner_that_has_ended_gives_way_and_one_elsewhere_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let this = Owner::this();
        assert!(!this.has_ended() && Owner::parse(&this.to_string()).as_ref() == Some(&this));
        let leave = |owner: &Owner| fs::write(at.join(OWNER), owner.to_string()).unwrap();
        // The number was given to another process since.
        for ended in [Owner { began: "1".into(), ..this.clone() }, Owner { pid: u32::MAX, ..this.clone() }] {
            for try_lock in [refuse, File::try_lock as fn(&File) -> Result<(), TryLockError>] {
                leave(&ended);
                drop(Lock::with(at, try_lock).unwrap());
                assert_eq!(names(at), [LOCK]);
            }
        }
        let elsewhere = Owner { host: "other".into(), machine: "other".into(), pid: u32::MAX, ..this };
        leave(&elsewhere);
        assert!(message(Lock::with(at, refuse), at).contains("on other; "));
        assert_eq!(names(at), [LOCK, OWNER]);
        fs::write(at.join(OWNER), "half").unwrap();
        assert!(message(Lock::with(at, refuse), at).contains("by another process; "));
    }
}
