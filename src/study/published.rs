//! Numbers that papers report, to stand beside those of the studies of the same name.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A table of a paper.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Names of the studies that it stands beside.
    studies: Vec<String>,
    /// Where it is printed.
    pub source: String,
    /// The paper's own sums over the data sets, by method.
    total: BTreeMap<String, f64>,
    /// Mean and, where given, standard deviation, by method and data set.
    cells: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
}

#[derive(Deserialize)]
struct Numbers {
    table: Vec<Published>,
}

static NUMBERS: LazyLock<Numbers> = LazyLock::new(|| {
    toml::from_str(include_str!("paper/numbers.toml"))
        .expect("invariant: the embedded numbers are read by a test")
});

/// The table that stands beside a study.
pub fn published(study: &str) -> Option<&'static Published> {
    NUMBERS.table.iter().find(|t| t.studies.iter().any(|s| s == study))
}

impl Published {
    /// Mean and, where given, standard deviation of a method on a data set. The data may be D4RL's, whatever its version,
    /// or the same made by this program: `hopper-medium`, `hopper-medium-v2`, `hopper-medium-baq-v1`.
    pub fn cell(&self, data: &str, method: &str) -> Option<(f64, Option<f64>)> {
        let data = stem(data);
        let (_, cells) = self.cells.iter().find(|(label, _)| same(label, method))?;
        let (_, numbers) =
            cells.iter().find(|(name, _)| data.strip_prefix(name.as_str()).is_some_and(is_version))?;
        Some((*numbers.first()?, numbers.get(1).copied()))
    }

    /// The paper's own sum over its data sets.
    pub fn total(&self, method: &str) -> Option<f64> {
        self.total.iter().find(|(label, _)| same(label, method)).map(|(_, total)| *total)
    }

    /// Whether these are its data sets, each once: only then does a sum over them compare with [`Published::total`].
    pub fn covers(&self, data: &[String]) -> bool {
        let most = self.cells.values().max_by_key(|cells| cells.len());
        most.is_some_and(|cells| {
            let is = |d: &str, name: &str| stem(d).strip_prefix(name).is_some_and(is_version);
            let of = |name: &str| data.iter().filter(|d| is(d, name)).count();
            cells.len() == data.len() && cells.keys().all(|name| of(name) == 1)
        })
    }
}

/// `IQL + BAQ` and `iql+baq` are one method.
fn same(a: &str, b: &str) -> bool {
    let plain = |s: &str| s.split_whitespace().collect::<String>().to_lowercase();
    plain(a) == plain(b)
}

/// A data set without the folders, the kind and the suite of its name.
fn stem(data: &str) -> &str {
    let name = data.rsplit(['/', ':']).next().unwrap_or(data);
    name.strip_suffix(".hdf5").unwrap_or(name)
}

/// Whether this may stand behind the name of a data set of D4RL: nothing, `-v2`, `-baq-v1`.
fn is_version(rest: &str) -> bool {
    let number = rest.strip_prefix("-baq").unwrap_or(rest).strip_prefix("-v");
    rest.is_empty() || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_paper() {
        let table = published("paper-table1").unwrap();
        assert_eq!(table.cells.len(), 8);
        // The other table has one column of it again.
        let other = &published("paper-table2").unwrap();
        assert_eq!((&other.cells["CQL"], other.total["CQL"]), (&table.cells["CQL"], table.total["CQL"]));
        for (method, total) in &table.total {
            assert_eq!(table.cells[method].len(), 9, "{method}");
            let sum: f64 = table.cells[method].values().map(|v| v[0]).sum();
            // Nine numbers rounded to a tenth; the paper's own slip is known.
            let slip = if method == "CQL + BAQ" { 0.72 } else { 0.0 };
            assert!((sum + slip - total).abs() < 9.0 * 0.05, "{method}: {sum} {total}");
        }
    }

    #[test]
    fn cells_are_found_by_what_they_are() {
        let table = published("paper-table1").unwrap();
        assert_eq!(table.cell("hopper-medium-replay", "IQL + BAQ"), Some((86.1, Some(19.0))));
        assert_eq!(table.cell("hopper-medium-v2", "iql+baq"), Some((70.6, Some(8.4))));
        assert_eq!(table.cell("walker2d-medium-expert-baq-v1", "CQL"), Some((110.1, Some(0.6))));
        assert_eq!(
            table.cell("../d4rl/hopper-medium-v2.hdf5", "CQL"),
            table.cell("suite:hopper-medium", "CQL")
        );
        assert!(table.cell("suite:hopper-medium", "CQL").is_some());
        for foreign in
            ["hopper-medium-full-replay", "hopper-medium-v", "hopper", "my-hopper-medium", "hopper-mediumx"]
        {
            assert_eq!(table.cell(foreign, "CQL"), None, "{foreign}");
        }
        assert_eq!(table.cell("hopper-medium", "TD3"), None);
        assert_eq!(
            published("paper-table2").unwrap().cell("hopper-medium-expert", "CQL + S"),
            Some((97.61, None))
        );
        assert!(published("mine").is_none());
    }

    #[test]
    fn totals_are_of_all_data_sets_or_none() {
        let table = published("paper-table1").unwrap();
        let mut data: Vec<String> = table.cells["CQL"].keys().map(|d| format!("{d}-baq-v1")).collect();
        assert!(table.covers(&data));
        data[0] = data[1].clone();
        assert!(!table.covers(&data) && !table.covers(&data[1..]));
    }
}
