//! A study's answers as tables: for the terminal, as CSV, Markdown, LaTeX and HTML.

use super::answers::{Answers, Bounds, Cell, Overall};
use super::metric::Metric;
use super::results::{Outcome, Results, range};
use super::sheet::{Block, Table};
use super::statistics::{CONFIDENCE, Difference, Estimate, Interval, LEAST_SEEDS, RESAMPLES};
use super::values;
use crate::checkpoint::atomic::write_after_others;
use crate::report::axis;
use crate::train::rundir::RunError;
use indicatif::HumanCount;
use std::path::{Path, PathBuf};

/// What is not known.
const NONE: &str = "\u{2013}";

/// A study's answers as tables.
pub fn table(answers: &Answers<'_>) -> Table {
    let results = answers.results;
    Table {
        title: format!("{}: {}", results.name, answers.metric.title()),
        about: results.about.clone(),
        facts: results.facts(),
        legend: legend(answers),
        notes: answers.notes.clone(),
        blocks: [scores(answers), differences(answers), overall(answers), cost(results)]
            .into_iter()
            .filter(|block| !block.rows.is_empty())
            .collect(),
    }
}

/// Writes the table of a metric into a directory, as `table.csv`, `.md`, `.tex` and `.html`, or `table-dip.csv` and so on
/// for others than the final score; every run by every metric as `runs.csv`, and those
/// without a result as `absent.csv`; and `hours.csv`, which alone differs between
/// two equal studies. Gives back what was written. Error: the first file that could not be.
pub fn write(dir: &Path, answers: &Answers<'_>) -> (Vec<PathBuf>, Result<(), RunError>) {
    let table = table(answers);
    let name = answers.metric.file("table");
    let files = [
        (format!("{name}.csv"), values::csv(answers)),
        (format!("{name}.md"), table.markdown()),
        (format!("{name}.tex"), table.tex()),
        (format!("{name}.html"), table.html()),
        ("runs.csv".into(), values::runs(answers.results)),
        ("absent.csv".into(), values::absent(answers.results)),
        ("hours.csv".into(), values::hours(answers.results)),
    ];
    let (mut written, mut all) = (Vec::new(), Ok(()));
    for (name, text) in files {
        let path = dir.join(name);
        match write_after_others(&path, text.as_bytes()).map_err(RunError::io(&path, "write the table")) {
            Ok(()) => written.push(path),
            failed => all = all.and(failed),
        }
    }
    (written, all)
}

fn legend(answers: &Answers<'_>) -> Vec<String> {
    let percent = CONFIDENCE * 100.0;
    let mut all = vec![answers.metric.definition()];
    if let Some((least, most)) = answers.seeds() {
        let seeds = |n| if n == 1 { "1 seed".to_string() } else { format!("{n} seeds") };
        all.push(match least == most {
            true => format!("every cell with a number rests on {}", seeds(most)),
            false => {
                format!("cells with a number rest on {least} to {}, which stand in brackets", seeds(most))
            }
        });
    }
    all.push(format!(
        "mean \u{b1} population standard deviation over seeds; in square brackets the {percent:.0} % interval: percentile \
         bootstrap of the mean over seeds within data sets, {} resamples; {NONE} where a data set has fewer than {LEAST_SEEDS} seeds; \
         of three seeds on one data set it is their range, which holds the true mean three times in four: of few seeds it is \
         too narrow",
        HumanCount(RESAMPLES as u64)
    ));
    if answers.overall.iter().any(|o| o.iqm.is_some()) {
        all.push(
            "over all data sets: IQM, the mean of runs without the lowest and the highest quarter; median and mean of the means \
             of data sets; optimality gap, how far runs are below 100 on average; P(better than base), of any run against any of \
             the base's on the same data set, over the seeds that both have, not paired"
                .into(),
        );
    }
    if answers.cells.iter().flatten().any(|cell| cell.difference.is_some()) {
        all.push(
            "differences are paired by data set and seed; p: sign-flip permutation test, two-sided, not corrected for the \
             number of comparisons; of n pairs it is at least 2^(1\u{2212}n), 0.25 of three"
                .into(),
        );
    }
    if answers.overall.iter().any(|o| o.censored > 0) {
        all.push(
            "\u{2265}, \u{2264}: at least, at most, as runs never recovered; ?: a difference bounded on neither side, as runs of \
             the method and of its base never did; intervals, p and the counts of data sets take the steps that such runs have \
             for their recovery, P(better than base) takes them for slower than any that recovered in as many"
                .into(),
        );
    }
    if let Some(published) = answers.published {
        all.push(format!("paper: {}; on D4RL's own data", published.source));
    }
    let files = &answers.results.files;
    all.extend((!files.is_empty()).then(|| format!("data: {}", files.join("; "))));
    all
}

/// How values are written.
struct Style {
    steps: bool,
    scored: bool,
}

impl Style {
    fn number(&self, v: f64) -> String {
        let text = match (self.steps, self.scored && v.abs() < 1e5) {
            (true, _) => {
                format!("{}{}", if v <= -0.5 { "-" } else { "" }, HumanCount(v.abs().round() as u64))
            }
            (_, true) => format!("{v:.1}"),
            _ => axis::value(v),
        };
        let text = if text == "-0.0" { "0.0".into() } else { text };
        text.replace('-', "\u{2212}")
    }

    fn signed(&self, v: f64) -> String {
        let text = self.number(v);
        if v > 0.0 { format!("+{text}") } else { text }
    }

    fn interval(&self, interval: Option<Interval>) -> String {
        let ends = |i: Interval| format!("[{}, {}]", self.end(i.low), self.end(i.high));
        interval.map_or(NONE.into(), ends)
    }

    /// On which side of 0 an end lies is what an interval is read for: it has the digits that show it, up to three.
    fn end(&self, v: f64) -> String {
        let text = self.number(v);
        if v == 0.0 || !["0", "0.0"].contains(&text.as_str()) {
            return text;
        }
        let mut finer = (1..=3).map(|digits| format!("{v:.digits$}"));
        let shown = finer.find(|text| text.parse::<f64>() != Ok(0.0));
        shown.map_or(text, |shown| shown.replace('-', "\u{2212}"))
    }

    fn estimate(&self, estimate: Option<Estimate>, mark: &str) -> String {
        let text = |e: Estimate| format!("{mark}{}\n{}", self.number(e.value), self.interval(e.interval));
        estimate.map_or(NONE.into(), text)
    }

    fn difference(&self, difference: Option<Difference>, bounds: Bounds) -> String {
        let text = |d: Difference| {
            let mark = bounds.mark().map_or(String::new(), |mark| format!("{mark} "));
            let pairs = match bounds.pairs {
                0 => String::new(),
                n => format!("\n{n} of {} pairs not recovered", d.pairs),
            };
            let (mean, interval) = (self.signed(d.mean.value), self.interval(d.mean.interval));
            format!("{mark}{mean}, {}\n{interval}{pairs}", p_value(d.p))
        };
        difference.map_or(NONE.into(), text)
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p {p:.3}") }
}

/// What stands before a mean of runs of which so many are censored.
fn at_least(censored: usize) -> &'static str {
    if censored > 0 { "\u{2265} " } else { "" }
}

/// Probabilities and shares.
fn share(estimate: Option<Estimate>) -> String {
    let text = |e: Estimate| match e.interval {
        Some(i) => format!("{:.2}\n[{:.2}, {:.2}]", e.value, i.low, i.high),
        None => format!("{:.2}\n{NONE}", e.value),
    };
    estimate.map_or(NONE.into(), text)
}

fn style(answers: &Answers<'_>, row: Option<usize>) -> Style {
    let scored = match row {
        Some(row) => answers.scored(row),
        None => (0..answers.cells.len()).any(|row| answers.scored(row)),
    };
    Style { steps: answers.metric == Metric::Recovery, scored }
}

fn heads(first: &str, answers: &Answers<'_>, columns: &[usize]) -> Vec<String> {
    let labels = columns.iter().map(|c| answers.results.methods[*c].label.clone());
    std::iter::once(first.to_string()).chain(labels).collect()
}

fn scores(answers: &Answers<'_>) -> Block {
    let results = answers.results;
    let columns: Vec<usize> = (0..results.methods.len()).collect();
    let uneven = answers.seeds().is_some_and(|(least, most)| least < most);
    let paper = answers.cells.iter().flatten().any(|cell| cell.paper.is_some());
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (row, data) in results.data.iter().enumerate() {
        let style = style(answers, Some(row));
        let cells = answers.cells[row].iter().map(|cell| score(cell, &style, uneven, paper));
        rows.push(std::iter::once(data.clone()).chain(cells).collect());
    }
    if answers.overall.iter().any(|o| o.total.is_some()) {
        let total = |o: &Overall| {
            o.total.map_or(NONE.into(), |(ours, paper)| format!("{ours:.1}\npaper {}", as_given(paper)))
        };
        rows.push(std::iter::once("total".to_string()).chain(answers.overall.iter().map(total)).collect());
    }
    let heading = format!("{}, mean \u{b1} std over seeds", answers.metric.title());
    Block { heading, heads: heads("data", answers, &columns), rows }
}

fn score(cell: &Cell, style: &Style, with_seeds: bool, with_paper: bool) -> String {
    let mut lines = Vec::new();
    match &cell.summary {
        None => lines.push(NONE.to_string()),
        Some(s) => {
            let seeds = if with_seeds { format!(" ({})", cell.runs.len()) } else { String::new() };
            let bound = at_least(s.censored);
            // One seed has no deviation.
            let std =
                if cell.runs.len() > 1 { format!(" \u{b1} {}", style.number(s.std)) } else { String::new() };
            lines.push(format!("{bound}{}{std}{seeds}", style.number(s.mean)));
            lines.push(style.interval(s.interval));
            if style.steps {
                lines.push(format!("{} of {} recovered", cell.runs.len() - s.censored, cell.runs.len()));
            }
        }
    }
    if with_paper {
        lines.push(match cell.paper {
            None => format!("paper {NONE}"),
            Some((mean, None)) => format!("paper {}", as_given(mean)),
            Some((mean, Some(std))) => format!("paper {} \u{b1} {}", as_given(mean), as_given(std)),
        });
    }
    lines.join("\n")
}

/// A number of a paper, to the tenth or the hundredth that it gives.
fn as_given(v: f64) -> String {
    let tenth = format!("{v:.1}");
    if tenth.parse() == Ok(v) { tenth } else { format!("{v:.2}") }
}

fn differences(answers: &Answers<'_>) -> Block {
    let results = answers.results;
    let columns: Vec<usize> = (0..results.methods.len()).filter(|c| answers.base(*c).is_some()).collect();
    let mut heads = heads("data", answers, &columns);
    for (head, column) in heads.iter_mut().skip(1).zip(&columns) {
        let base = answers.base(*column).map_or("", |base| &results.methods[base].label);
        *head = format!("{head}\n\u{2212} {base}");
    }
    let heading = "Difference to the base".to_string();
    if columns.is_empty() {
        return Block { heading, heads, rows: Vec::new() };
    }
    let mut rows = Vec::new();
    for (row, data) in results.data.iter().enumerate() {
        let style = style(answers, Some(row));
        let cells = columns.iter().map(|c| &answers.cells[row][*c]);
        let cells = cells.map(|cell| style.difference(cell.difference, cell.bounds));
        rows.push(std::iter::once(data.clone()).chain(cells).collect());
    }
    let all = columns.iter().map(|c| {
        let overall = &answers.overall[*c];
        let better = overall.better.map_or(String::new(), |(m, n)| format!("\nbetter on {m} of {n}"));
        style(answers, None).difference(overall.difference, overall.bounds) + &better
    });
    rows.push(std::iter::once("all data sets".to_string()).chain(all).collect());
    Block { heading, heads, rows }
}

fn overall(answers: &Answers<'_>) -> Block {
    let style = style(answers, None);
    let gap = answers.overall.iter().any(|o| o.gap.is_some());
    let compared = answers.overall.iter().any(|o| o.improvement.is_some());
    let mut heads: Vec<String> = ["method", "data sets", "IQM", "median", "mean"].map(String::from).into();
    heads.extend(gap.then(|| "optimality\ngap".to_string()));
    heads.extend(compared.then(|| "P(better\nthan base)".to_string()));
    heads.extend(style.steps.then(|| "recovered".to_string()));
    let row = |(column, o): (usize, &Overall)| {
        let mut cells = vec![answers.results.methods[column].label.clone(), o.data.to_string()];
        cells.extend([o.iqm, o.median, o.mean].map(|e| style.estimate(e, at_least(o.censored))));
        cells.extend(gap.then(|| style.estimate(o.gap, "")));
        cells.extend(compared.then(|| share(o.improvement)));
        cells.extend(style.steps.then(|| format!("{} of {}", o.runs - o.censored, o.runs)));
        cells
    };
    let any = answers.overall.iter().any(|o| o.iqm.is_some());
    let rows = answers.overall.iter().enumerate().filter(|_| any).map(row).collect();
    Block { heading: "Over all data sets".into(), heads, rows }
}

fn cost(results: &Results) -> Block {
    let row = |label: &String| {
        let runs: Vec<&Outcome> = results.outcomes.iter().filter(|o| o.method == *label).collect();
        let planned: usize = results.data.iter().map(|data| results.planned(data, label)).sum();
        vec![
            label.clone(),
            format!("{} of {planned}", runs.len()),
            range(runs.iter().map(|o| o.updates)),
            range(runs.iter().map(|o| o.env_steps)),
        ]
    };
    Block {
        heading: "Cost of a run".into(),
        heads: ["method", "runs", "updates", "environment\nsteps"].map(String::from).into(),
        rows: results.methods.iter().map(|m| row(&m.label)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_an_interval_keep_their_side_of_zero() {
        let text = |steps, low, high| {
            Style { steps, scored: true }.interval(Some(Interval { low, high })).replace('\u{2212}', "-")
        };
        assert_eq!(text(false, -1.04, -0.01), "[-1.0, -0.01]");
        assert_eq!(text(false, 0.002, 0.06), "[0.002, 0.1]");
        assert_eq!(text(false, -0.0001, 0.0), "[0.0, 0.0]");
        assert_eq!(text(true, -12.4, -0.3), "[-12, -0.3]");
        assert_eq!(text(true, 0.0, 0.5), "[0, 1]");
    }
}
