//! Memory of this machine and its processes, as Linux tells it.

use std::path::Path;

/// Of a process, in bytes; 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// in use
    pub now: u64,
    /// in use at most so far
    pub peak: u64,
    /// what a further process of the kind takes: pages that no other one reads
    pub own: u64,
    /// pages of files, of which all processes read one copy: the program, and data on a shelf
    pub shared: u64,
}

impl Memory {
    /// That of a process now.
    pub fn of(process: u32) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let [now, peak, own, shared] =
            ["VmRSS:", "VmHWM:", "RssAnon:", "RssFile:"].map(|key| bytes(&status, key).unwrap_or(0));
        Memory { now, peak, own, shared }
    }

    /// The most of each.
    pub fn most(self, other: Memory) -> Memory {
        Memory {
            now: self.now.max(other.now),
            peak: self.peak.max(other.peak),
            own: self.own.max(other.own),
            shared: self.shared.max(other.shared),
        }
    }
}

/// Memory that can still be had, in bytes: of this machine, and of the control groups (version 2) that this process is in, as those
/// of a container.
pub fn free() -> Option<u64> {
    let machine = bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let groups = Path::new(own).ancestors().map(|group| room(&Path::new("/sys/fs/cgroup").join(group)));
    groups.chain([machine]).flatten().min()
}

/// What is left of the limit of a control group; `None` of one without.
fn room(group: &Path) -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    let (most, used) = (number("memory.max")?, number("memory.current")?);
    // Pages of files that nobody has read lately are given back where memory is short.
    let stat = read("memory.stat").unwrap_or_default();
    let idle = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok()).unwrap_or(0);
    Some(most.saturating_sub(used.saturating_sub(idle)))
}

fn bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(1024 * line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_has_what_its_limit_leaves() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(group.path().join(file), text).unwrap();
        assert_eq!(room(group.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(room(group.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(room(group.path()), Some(300));
        write("memory.stat", "anon 500\ninactive_file 150\n");
        assert_eq!(room(group.path()), Some(450));
        write("memory.current", "2000\n");
        assert_eq!(room(group.path()), Some(0));
    }
}
