//! How much memory there is, and whether what is asked for fits.

use std::path::{Path, PathBuf};

use super::error::TrainError;
use crate::autodiff::ParamTable;
use crate::config::{Config, value::render};

/// Something that takes memory.
struct Item {
    what: &'static str,
    bytes: f64,
    /// options that lower it
    options: Vec<String>,
}

/// What a program is about to take.
#[derive(Default)]
pub struct Needs {
    items: Vec<Item>,
}

impl Needs {
    /// Adds something; `options` are those whose values lower it.
    pub fn add(&mut self, what: &'static str, bytes: f64, options: Vec<String>) {
        self.items.push(Item { what, bytes, options });
    }

    /// An error if it is more than there is: the dearest item, and what lowers it.
    pub fn check(&self) -> Result<(), TrainError> {
        match free() {
            Some(free) => self.against(free),
            None => Ok(()),
        }
    }

    fn against(&self, free: f64) -> Result<(), TrainError> {
        let all: f64 = self.items.iter().map(|i| i.bytes).sum();
        let dearest = self.items.iter().max_by(|a, b| a.bytes.total_cmp(&b.bytes));
        match dearest {
            Some(item) if all > free => Err(TrainError::Input(format!(
                "{}: needs {} of memory, {} free; {} of it for {}; lower {0}",
                item.options.join(" or "),
                size(all),
                size(free),
                size(item.bytes),
                item.what,
            ))),
            _ => Ok(()),
        }
    }
}

/// 37.2 GiB
fn size(bytes: f64) -> String {
    let gib = bytes / f64::from(1 << 30);
    match gib {
        ..0.1 => format!("{:.0} MiB", gib.max(0.0) * 1024.0),
        ..1e6 => format!("{gib:.1} GiB"),
        _ => format!("{gib:.1e} GiB"),
    }
}

/// The options of these keys that are off their defaults, as candidates for the blame; or all of them.
pub fn options(config: &Config, wanted: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let found: Vec<(String, bool)> = config
        .sections()
        .flat_map(|s| s.fields().iter().map(move |f| (s, f)))
        .filter(|(s, f)| wanted(s.name(), f.key))
        .map(|(s, f)| {
            let moved = s.get(f.key).is_some_and(|v| render(&v) != render(&f.default));
            (format!("{}.{}", s.name(), f.key), moved)
        })
        .collect();
    let any = found.iter().any(|(_, moved)| *moved);
    found.into_iter().filter(|(_, moved)| *moved || !any).map(|(place, _)| place).collect()
}

/// Options that make networks large.
pub fn of_networks(_: &str, key: &str) -> bool {
    key.ends_with("hidden") || ["critics", "ensemble"].contains(&key)
}

/// Bytes of parameters, gradients and both moments.
pub fn store(table: &ParamTable) -> f64 {
    table.params().iter().map(|p| p.shape.len() as f64 * 16.0).sum()
}

/// An error if the networks of an agent alone do not fit.
pub fn check_networks(config: &Config, table: &ParamTable) -> Result<(), TrainError> {
    let mut needs = Needs::default();
    needs.add("the networks", store(table), options(config, of_networks));
    needs.check()
}

/// Left for the program itself, its threads and small things.
const MARGIN: f64 = 32.0 * 1024.0 * 1024.0;

/// Bytes that this process may still take, as far as the system says: what is available, what the group it runs in may
/// use, and its own limit.
fn free() -> Option<f64> {
    let limits = [available(), group_v2(), group_v1(), address_space()];
    limits.into_iter().flatten().reduce(f64::min).map(|free| (free - MARGIN).max(0.0))
}

/// `MemAvailable` of the machine.
fn available() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(field(&text, "MemAvailable:")? * 1024.0)
}

/// The number after a word at the beginning of a line.
fn field(text: &str, word: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the narrowest memory limit of the control groups above this process leaves.
fn group_v2() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    narrowest(Path::new("/sys/fs/cgroup"), own, "memory.max", "memory.current", "inactive_file")
}

/// The same in the older layout.
fn group_v1() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|c| c == "memory").then_some(path)
    })?;
    let root = Path::new("/sys/fs/cgroup/memory");
    narrowest(root, own, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
}

fn narrowest(root: &Path, own: &str, limit: &str, usage: &str, reclaimable: &str) -> Option<f64> {
    let number = |path: PathBuf| -> Option<f64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let left = |folder: &Path| {
        let (limit, used) = (number(folder.join(limit))?, number(folder.join(usage))?);
        let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        Some(limit - used + field(&stat, reclaimable).unwrap_or(0.0))
    };
    // Inside a container the path may be that of the host; the root then is the group itself.
    let leaf = root.join(own.trim_start_matches('/'));
    leaf.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(left).reduce(f64::min)
}

/// What `ulimit -v` leaves.
fn address_space() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = field(&limits, "Max address space")?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(limit - field(&status, "VmSize:")? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_is_named_with_what_lowers_it() {
        let mut needs = Needs::default();
        needs.add("the networks", 2e9, vec!["iql.hidden".into()]);
        needs.add("the replay", 30e9, vec!["online.capacity".into()]);
        assert!(needs.against(33e9).is_ok());
        assert_eq!(
            needs.against(8e9).unwrap_err().to_string(),
            "online.capacity: needs 29.8 GiB of memory, 7.5 GiB free; 27.9 GiB of it for the replay; lower online.capacity"
        );
        needs.add("too much", f64::INFINITY, vec!["x".into()]);
        assert!(needs.against(1e30).is_err());
    }

    #[test]
    fn the_narrowest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |folder: &Path, max: &str, used: &str| {
            std::fs::write(folder.join("memory.max"), max).unwrap();
            std::fs::write(folder.join("memory.current"), used).unwrap();
        };
        let of = |own: &str| narrowest(root.path(), own, "memory.max", "memory.current", "inactive_file");
        assert_eq!(of("/a/b"), None);
        write(&inner, "max\n", "50\n");
        write(&root.path().join("a"), "1000\n", "400\n");
        assert_eq!(of("/a/b"), Some(600.0));
        std::fs::write(root.path().join("a/memory.stat"), "anon 5\ninactive_file 100\n").unwrap();
        assert_eq!(of("/a/b"), Some(700.0));
        assert_eq!(of("/not/here"), None);
    }
}
