//! What a study answers by one metric: each cell, each method against its base, each method over all data sets.

use super::metric::{Metric, Value};
use super::notes::{MOST_LINES, absent};
use super::published::{Published, published};
use super::results::{Method, Outcome, Results, range};
use super::statistics::{self as st, Difference, Estimate, Interval};
use crate::report::LAST;

/// The score of D4RL's expert, short of which the optimality gap counts.
const EXPERT: f64 = 100.0;
/// Why runs are in no mean.
pub(super) const RAW: &str = "raw returns beside normalised scores";

/// A study's answers by one metric.
#[derive(Debug)]
pub struct Answers<'a> {
    /// What they are made from.
    pub results: &'a Results,
    /// What runs are judged by.
    pub metric: Metric,
    /// The table of a paper that stands beside them.
    pub published: Option<&'static Published>,
    /// By data set, then by method.
    pub cells: Vec<Vec<Cell>>,
    /// By method.
    pub overall: Vec<Overall>,
    /// Finished runs that are in no number of these, as the notes say.
    pub left_out: usize,
    /// What a reader must know: what is missing, what does not compare.
    pub notes: Vec<String>,
}

/// A method on a data set.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Seed and value of each run.
    pub runs: Vec<(u64, Value)>,
    /// How many runs there should be.
    pub planned: usize,
    /// Of the runs; `None` without any.
    pub summary: Option<Summary>,
    /// To the base, over the seeds that both have.
    pub difference: Option<Difference>,
    /// Of the difference.
    pub bounds: Bounds,
    /// What the paper gives: mean and standard deviation.
    pub paper: Option<(f64, Option<f64>)>,
}

/// What censored runs leave of a difference to the base.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Whether runs of the method are censored: it may be greater.
    above: bool,
    /// Whether runs of the base are: it may be less.
    below: bool,
    /// Pairs in which one run at least is.
    pub pairs: usize,
}

impl Bounds {
    /// The sign of a difference that is a bound: of at least, of at most, or `?` of one that is bounded on neither side.
    pub fn mark(self) -> Option<&'static str> {
        match (self.above, self.below) {
            (false, false) => None,
            (true, false) => Some("\u{2265}"),
            (false, true) => Some("\u{2264}"),
            (true, true) => Some("?"),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            above: self.above || other.above,
            below: self.below || other.below,
            pairs: self.pairs + other.pairs,
        }
    }
}

/// The runs of a cell.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Mean over seeds.
    pub mean: f64,
    /// Population standard deviation over seeds.
    pub std: f64,
    /// Of the mean.
    pub interval: Option<Interval>,
    /// Runs that ended before what the metric is the time of.
    pub censored: usize,
}

/// A method over all data sets on which it has runs.
#[derive(Debug, Clone, Default)]
pub struct Overall {
    /// How many data sets these are.
    pub data: usize,
    /// Mean over data sets.
    pub mean: Option<Estimate>,
    /// Median over data sets.
    pub median: Option<Estimate>,
    /// Interquartile mean over runs.
    pub iqm: Option<Estimate>,
    /// Optimality gap to the score of an expert, 100.
    pub gap: Option<Estimate>,
    /// Its runs on them.
    pub runs: usize,
    /// Those that ended before what the metric is the time of.
    pub censored: usize,
    /// To the base, over the runs that both have.
    pub difference: Option<Difference>,
    /// Of the difference.
    pub bounds: Bounds,
    /// Probability that a run is better than one of the base, over the seeds that both have: runs of one seed start from the
    /// same training, so that other seeds would compare trainings too.
    pub improvement: Option<Estimate>,
    /// Data sets on which it is better than the base, and those on which both have runs of one seed.
    pub better: Option<(usize, usize)>,
    /// Sum over the data sets, where the paper gives one over the same, and the paper's.
    pub total: Option<(f64, f64)>,
}

impl<'a> Answers<'a> {
    /// Works them out.
    pub fn of(results: &'a Results, metric: Metric) -> Self {
        let published = published(&results.name).filter(|_| metric == Metric::Final);
        let mut answers = Self {
            results,
            metric,
            published,
            cells: Vec::new(),
            overall: Vec::new(),
            left_out: 0,
            notes: absent(results),
        };
        let mut left_out = Vec::new();
        for data in &results.data {
            let cells =
                results.methods.iter().map(|method| answers.cell(data, method, &mut left_out)).collect();
            answers.cells.push(cells);
        }
        answers.left_out = left_out.len();
        let more = left_out.len().saturating_sub(MOST_LINES);
        answers.notes.extend(left_out.into_iter().take(MOST_LINES));
        if more > 0 {
            answers.notes.push(format!("left out: {more} more runs like these"));
        }
        for row in 0..results.data.len() {
            for column in 0..results.methods.len() {
                let difference = st::difference(&[answers.differences(row, column)]);
                let bounds = answers.bounds(row, column);
                let cell = &mut answers.cells[row][column];
                (cell.difference, cell.bounds) = (difference, bounds);
            }
        }
        let comparable = answers.comparable();
        answers.overall =
            (0..results.methods.len()).map(|column| answers.overall(column, comparable)).collect();
        answers.note_what_does_not_compare(comparable);
        answers
    }

    /// The column of the method that a method is compared with.
    pub fn base(&self, column: usize) -> Option<usize> {
        let base = self.results.methods[column].base.as_ref()?;
        self.results.methods.iter().position(|m| m.label == *base).filter(|b| *b != column)
    }

    /// The unit of the metric on a data set, or over all; nothing where there are no runs.
    pub fn unit(&self, data: Option<&str>) -> &'static str {
        match self.metric {
            Metric::Recovery => "environment steps",
            _ => self.results.unit(data),
        }
    }

    /// Whether scores on this data set are D4RL-normalised.
    pub fn scored(&self, row: usize) -> bool {
        scored(self.results, &self.results.data[row])
    }

    fn cell(&self, data: &str, method: &Method, left_out: &mut Vec<String>) -> Cell {
        let (results, scored) = (self.results, scored(self.results, data));
        let mut cell = Cell { planned: results.planned(data, &method.label), ..Cell::default() };
        for run in results.runs(data, &method.label) {
            match value(run, self.metric, scored) {
                Ok(value) => cell.runs.push((run.seed, value)),
                Err(why) => {
                    left_out.push(format!("left out: {} on {data}, seed {}: {why}", method.label, run.seed))
                }
            }
        }
        let values = cell.values();
        cell.summary = (!values.is_empty()).then(|| Summary {
            mean: st::mean(&values),
            std: st::std(&values),
            interval: st::estimate(std::slice::from_ref(&values), st::mean_of_means).interval,
            censored: cell.runs.iter().filter(|(_, v)| v.censored).count(),
        });
        cell.paper = self.published.and_then(|p| p.cell(data, &method.label));
        cell
    }

    /// Value and the base's, for each seed that both have.
    fn pairs(&self, row: usize, column: usize) -> Vec<(Value, Value)> {
        let Some(base) = self.base(column) else { return Vec::new() };
        let (of, base) = (&self.cells[row][column].runs, &self.cells[row][base].runs);
        let other = |seed: &u64| base.iter().find(|(s, _)| s == seed).map(|(_, value)| *value);
        of.iter().filter_map(|(seed, value)| Some((*value, other(seed)?))).collect()
    }

    fn differences(&self, row: usize, column: usize) -> Vec<f64> {
        self.pairs(row, column).iter().map(|(value, base)| value.value - base.value).collect()
    }

    fn bounds(&self, row: usize, column: usize) -> Bounds {
        let of = |(value, base): (Value, Value)| Bounds {
            above: value.censored,
            below: base.censored,
            pairs: usize::from(value.censored || base.censored),
        };
        self.pairs(row, column).into_iter().map(of).fold(Bounds::default(), Bounds::and)
    }

    /// Whether values on different data sets are in one unit.
    fn comparable(&self) -> bool {
        let of_scores = self.metric != Metric::Recovery;
        !of_scores || self.filled().count() < 2 || self.filled().all(|row| self.scored(row))
    }

    /// The data sets on which any method has runs.
    pub fn filled(&self) -> impl Iterator<Item = usize> {
        (0..self.cells.len()).filter(move |row| self.has_runs(*row))
    }

    fn has_runs(&self, row: usize) -> bool {
        self.cells[row].iter().any(|cell| !cell.runs.is_empty())
    }

    fn overall(&self, column: usize, comparable: bool) -> Overall {
        let filled = |column: usize| self.cells.iter().map(move |row| row[column].values());
        let strata: Vec<Vec<f64>> = filled(column).filter(|values| !values.is_empty()).collect();
        let runs = || self.cells.iter().flat_map(|row| &row[column].runs);
        let censored = runs().filter(|(_, v)| v.censored).count();
        let mut overall =
            Overall { data: strata.len(), runs: runs().count(), censored, ..Overall::default() };
        if !comparable || strata.is_empty() {
            return overall;
        }
        let of = |statistic: &dyn Fn(&[Vec<f64>]) -> f64| Some(st::estimate(&strata, statistic));
        overall.mean = of(&st::mean_of_means);
        overall.median = of(&st::median_of_means);
        overall.iqm = of(&st::iqm);
        if self.metric.is_level() && self.filled().all(|row| self.scored(row)) {
            overall.gap = of(&|drawn| st::optimality_gap(drawn, EXPERT));
        }
        let label = &self.results.methods[column].label;
        let complete = strata.len() == self.cells.len();
        overall.total = self
            .published
            .filter(|p| complete && p.covers(&self.results.data))
            .and_then(|p| Some((strata.iter().map(|values| st::mean(values)).sum(), p.total(label)?)));
        if self.base(column).is_some() {
            self.compare(column, &mut overall);
        }
        overall
    }

    fn compare(&self, column: usize, overall: &mut Overall) {
        let differences = (0..self.cells.len()).map(|row| self.differences(row, column));
        let differences: Vec<Vec<f64>> = differences.filter(|d| !d.is_empty()).collect();
        let sign = if self.metric.lower_is_better() { -1.0 } else { 1.0 };
        overall.difference = st::difference(&differences);
        overall.bounds = self.cells.iter().map(|row| row[column].bounds).fold(Bounds::default(), Bounds::and);
        let better = differences.iter().filter(|d| sign * st::mean(d) > 0.0).count();
        overall.better = (!differences.is_empty()).then_some((better, differences.len()));
        let ranks = |row: usize| -> (Vec<f64>, Vec<f64>) {
            self.pairs(row, column).into_iter().map(|(value, base)| (rank(value), rank(base))).unzip()
        };
        let both = (0..self.cells.len()).map(ranks);
        let (mut x, mut y): (Vec<_>, Vec<_>) = both.filter(|(x, _)| !x.is_empty()).unzip();
        if sign < 0.0 {
            std::mem::swap(&mut x, &mut y);
        }
        overall.improvement = (!x.is_empty()).then(|| st::improvement(&x, &y));
    }

    fn note_what_does_not_compare(&mut self, comparable: bool) {
        let results = self.results;
        let few = results.outcomes.iter().map(|o| o.curve.online.iter().filter(|p| p.step > 0).count());
        let few: Vec<u64> = few.filter(|n| (1..LAST).contains(n)).map(|n| n as u64).collect();
        if self.metric == Metric::Final && !few.is_empty() {
            let few = range(few.into_iter());
            self.notes.push(format!(
                "of runs with {few} evaluations behind the switch, final is the mean of these"
            ));
        }
        let spaced = |row: &usize| {
            let mut runs = results.outcomes.iter().filter(|o| o.data == results.data[*row]);
            let steps = |o: &Outcome| o.curve.online.iter().map(|p| p.step).collect::<Vec<u64>>();
            let first = runs.next().map(steps);
            runs.any(|o| Some(steps(o)) != first)
        };
        let spaced: Vec<&str> = self.filled().filter(spaced).map(|row| results.data[row].as_str()).collect();
        if !spaced.is_empty() {
            self.notes.push(format!(
                "runs are evaluated at different steps, so that their numbers may not compare: {}",
                spaced.join(", ")
            ));
        }
        let raw = self.filled().filter(|row| self.metric != Metric::Recovery && !self.scored(*row));
        let raw: Vec<&str> = raw.map(|row| results.data[row].as_str()).collect();
        if !raw.is_empty() {
            let over_all = if comparable { "" } else { ", so there are no figures over all data sets" };
            self.notes
                .push(format!("raw returns, for want of reference scores: {}{over_all}", raw.join(", ")));
        }
        let all = self.filled().count();
        let uneven = |column: &usize| {
            let mut counts = self.cells.iter().map(|row| row[*column].runs.len()).filter(|n| *n > 0);
            let first = counts.next();
            self.overall[*column].iqm.is_some() && counts.any(|n| Some(n) != first)
        };
        let uneven = (0..results.methods.len()).filter(uneven);
        let uneven: Vec<&str> = uneven.map(|column| results.methods[column].label.as_str()).collect();
        if !uneven.is_empty() {
            self.notes.push(format!(
                "IQM and the profile of runs count data sets by their runs, of which these have unequal numbers: {}",
                uneven.join("; ")
            ));
        }
        let fewer = results.methods.iter().zip(&self.overall).filter(|(_, o)| (1..all).contains(&o.data));
        let fewer: Vec<String> = fewer.map(|(m, o)| format!("{} on {}", m.label, o.data)).collect();
        if !fewer.is_empty() {
            self.notes.push(format!(
                "figures over all data sets do not rest on the same ones: {} of {all}; only differences to the base compare",
                fewer.join(", ")
            ));
        }
    }

    /// Fewest and most runs of a cell that has any; `None` without any.
    pub fn seeds(&self) -> Option<(usize, usize)> {
        let counts = || self.cells.iter().flatten().map(|cell| cell.runs.len()).filter(|n| *n > 0);
        Some((counts().min()?, counts().max()?))
    }
}

impl Cell {
    /// Values by seed.
    pub fn values(&self) -> Vec<f64> {
        self.runs.iter().map(|(_, v)| v.value).collect()
    }
}

/// Numbers that are ordered as the runs are: one that never recovered comes behind one that did at its last evaluation.
fn rank(v: Value) -> f64 {
    if v.censored { v.value.next_up() } else { v.value }
}

/// Whether scores on a data set are D4RL-normalised.
pub(super) fn scored(results: &Results, data: &str) -> bool {
    results.outcomes.iter().any(|o| o.data == data && o.curve.scored)
}

/// The value of a run in the unit of its data set, or why there is none.
fn value(run: &Outcome, metric: Metric, scored: bool) -> Result<Value, String> {
    let value = metric.of(&run.curve).ok_or_else(|| format!("its evaluations do not tell `{metric}`"))?;
    if run.curve.scored != scored {
        return Err(RAW.into());
    }
    // A number near the largest there is overflows in sums.
    match value.value.abs() < 1e100 {
        true => Ok(value),
        false => Err(format!("`{metric}` is {}", value.value)),
    }
}
