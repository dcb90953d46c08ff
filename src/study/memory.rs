//! Memory of this machine and its processes, as Linux tells it.

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

/// Memory that this machine can still give, in bytes.
pub fn free() -> Option<u64> {
    bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

fn bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(1024 * line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?)
}
