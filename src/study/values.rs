//! A study's answers as CSV, for programs: numbers in full, one row per data set and method.

use super::answers::{Answers, Bounds, Cell, Overall};
use super::metric::Metric;
use super::results::{Absent, Outcome, Results};
use super::statistics::{Difference, Interval};

const HEADS: [&str; 41] = [
    "study",
    "metric",
    "unit",
    "scale",
    "commit",
    "data",
    "method",
    "base",
    "offline_updates",
    "env_steps",
    "runs",
    "planned",
    "censored",
    "mean",
    "std",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "pairs",
    "pairs_censored",
    "paper_mean",
    "paper_std",
    "iqm",
    "iqm_low",
    "iqm_high",
    "median",
    "median_low",
    "median_high",
    "optimality_gap",
    "optimality_gap_low",
    "optimality_gap_high",
    "better_than_base",
    "better_than_base_low",
    "better_than_base_high",
    "data_better",
    "data_compared",
    "total",
    "paper_total",
];

/// As CSV: one row per data set and method, then one per method over all data sets (`data` is empty there). Numbers are
/// not rounded; what is not known is empty.
pub fn csv(answers: &Answers<'_>) -> String {
    written(rows(answers))
}

/// The rows of [`csv()`], heads first.
pub fn rows(answers: &Answers<'_>) -> Vec<Vec<String>> {
    let mut rows = vec![HEADS.map(String::from).to_vec()];
    for (row, data) in answers.results.data.iter().enumerate() {
        for (column, cell) in answers.cells[row].iter().enumerate() {
            rows.push(cell_row(answers, data, column, cell));
        }
    }
    for (column, overall) in answers.overall.iter().enumerate() {
        rows.push(overall_row(answers, column, overall));
    }
    rows
}

/// Every run, by every metric; empty where its evaluations do not tell. `recovered` is false where recovery is the time to
/// the run's end only, and empty where that is no number.
pub fn runs(results: &Results) -> String {
    let mut heads: Vec<String> =
        ["data", "method", "seed", "offline_updates", "updates", "env_steps", "normalised"]
            .map(String::from)
            .into();
    heads.extend(Metric::ALL.map(|metric| metric.to_string()));
    heads.push("recovered".into());
    let run = |o: &Outcome| {
        let mut row = vec![o.data.clone(), o.method.clone()];
        row.extend([o.seed, o.offline_updates, o.updates, o.env_steps].map(|n| n.to_string()));
        row.push(o.curve.scored.to_string());
        let values = Metric::ALL.map(|metric| metric.of(&o.curve));
        row.extend(values.map(|value| text(value.map(|v| v.value))));
        let recovery = Metric::Recovery.of(&o.curve).filter(|v| !v.value.is_nan());
        row.push(text(recovery.map(|v| !v.censored)));
        row
    };
    written(std::iter::once(heads).chain(results.outcomes.iter().map(run)).collect())
}

/// Every run without a result, and why.
pub fn absent(results: &Results) -> String {
    let heads = ["data", "method", "seed", "failed", "why"].map(String::from).to_vec();
    let run = |a: &Absent| {
        let [seed, failed, why] = [a.seed.to_string(), a.why.is_failure().to_string(), a.why.to_string()];
        vec![a.data.clone(), a.method.clone(), seed, failed, why]
    };
    written(std::iter::once(heads).chain(results.absent.iter().map(run)).collect())
}

/// How long every run took, and every training and model that runs start from. Only these numbers differ between two equal
/// studies.
pub fn hours(results: &Results) -> String {
    let heads = ["data", "method", "seed", "hours"].map(String::from).to_vec();
    let row = |data: &str, name: &str, seed: u64, hours| {
        vec![data.into(), name.into(), seed.to_string(), text(hours)]
    };
    let trained = results.trained.iter().map(|t| row(&t.data, &t.name, t.seed, t.hours));
    let runs = results.outcomes.iter().map(|o| row(&o.data, &o.method, o.seed, o.hours));
    written(std::iter::once(heads).chain(trained).chain(runs).collect())
}

/// Rows as CSV, heads first.
pub(super) fn written(rows: Vec<Vec<String>>) -> String {
    let mut out = csv::Writer::from_writer(Vec::new());
    rows.into_iter().for_each(|row| out.write_record(row).expect("invariant: rows are of one length"));
    let bytes = out.into_inner().expect("invariant: memory takes all");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ends(interval: Option<Interval>) -> [String; 2] {
    interval.map_or_else(Default::default, |i| [i.low.to_string(), i.high.to_string()])
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |v| v.to_string())
}

/// The columns that say which runs a row is about.
fn head(answers: &Answers<'_>, data: Option<&str>, column: usize) -> Vec<String> {
    let results = answers.results;
    let method = &results.methods[column];
    let of = |o: &&Outcome| o.method == method.label && data.is_none_or(|data| o.data == data);
    let runs: Vec<&Outcome> = results.outcomes.iter().filter(of).collect();
    let range = |value: fn(&Outcome) -> u64| {
        let (low, high) = (runs.iter().map(|o| value(o)).min(), runs.iter().map(|o| value(o)).max());
        if low == high { text(low) } else { format!("{} to {}", text(low), text(high)) }
    };
    vec![
        results.name.clone(),
        answers.metric.to_string(),
        answers.unit(data).into(),
        text(results.scale.clone()),
        results.commit.clone(),
        text(data),
        method.label.clone(),
        text(answers.base(column).map(|base| &results.methods[base].label)),
        range(|o| o.offline_updates),
        range(|o| o.env_steps),
    ]
}

fn difference_cells(difference: Option<Difference>, bounds: Bounds) -> Vec<String> {
    let mut cells = vec![text(difference.map(|d| d.mean.value))];
    cells.extend(ends(difference.and_then(|d| d.mean.interval)));
    cells.extend([text(difference.map(|d| d.p)), text(difference.map(|d| d.pairs))]);
    cells.push(text(difference.map(|_| bounds.pairs)));
    cells
}

fn cell_row(answers: &Answers<'_>, data: &str, column: usize, cell: &Cell) -> Vec<String> {
    let mut row = head(answers, Some(data), column);
    row.extend([cell.runs.len().to_string(), cell.planned.to_string()]);
    row.extend([text(cell.summary.map(|s| s.censored)), text(cell.summary.map(|s| s.mean))]);
    row.push(text(cell.summary.map(|s| s.std)));
    row.extend(ends(cell.summary.and_then(|s| s.interval)));
    row.extend(difference_cells(cell.difference, cell.bounds));
    row.extend([text(cell.paper.map(|p| p.0)), text(cell.paper.and_then(|p| p.1))]);
    row.resize(HEADS.len(), String::new());
    row
}

fn overall_row(answers: &Answers<'_>, column: usize, overall: &Overall) -> Vec<String> {
    let cells = || answers.cells.iter().map(|row| &row[column]);
    let mut row = head(answers, None, column);
    row.push(overall.runs.to_string());
    row.push(cells().map(|cell| cell.planned).sum::<usize>().to_string());
    row.push(overall.censored.to_string());
    row.extend([text(overall.mean.map(|e| e.value)), String::new()]);
    row.extend(ends(overall.mean.and_then(|e| e.interval)));
    row.extend(difference_cells(overall.difference, overall.bounds));
    row.extend([String::new(), String::new()]);
    for estimate in [overall.iqm, overall.median] {
        row.push(text(estimate.map(|e| e.value)));
        row.extend(ends(estimate.and_then(|e| e.interval)));
    }
    for estimate in [overall.gap, overall.improvement] {
        row.push(text(estimate.map(|e| e.value)));
        row.extend(ends(estimate.and_then(|e| e.interval)));
    }
    row.extend([text(overall.better.map(|b| b.0)), text(overall.better.map(|b| b.1))]);
    row.extend([text(overall.total.map(|t| t.0)), text(overall.total.map(|t| t.1))]);
    row
}
