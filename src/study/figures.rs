//! A study's answers as pictures. Each names its data, seeds, steps, scale and commit.

use super::answers::{Answers, Bounds, Cell, Overall, RAW, scored};
use super::curve::{Curve, Point};
use super::results::{Outcome, RETURN, Results, SCORE};
use super::statistics::{self as st, Interval};
use crate::report::{Bar, Bars, Chart, Curves, Panels, Series, XAxis};

/// Columns of a grid.
pub(super) const COLUMNS: usize = 3;
/// Width of a panel of bars at least, and of all panels side by side, in pixels.
const LEAST_WIDTH: u32 = 380;
const MOST_WIDTH: u32 = 1260;
/// Hues of the palette.
const HUES: usize = 6;
/// Thresholds of a performance profile.
const THRESHOLDS: usize = 121;

/// The base of a method's base, and so on, up to one that has none; of a circle, where it closes.
fn root<'a>(results: &'a Results, method: &'a str) -> &'a str {
    let base =
        |label: &str| results.methods.iter().find(|m| m.label == label).and_then(|m| m.base.as_deref());
    let mut seen = vec![method];
    while let Some(base) = base(seen[seen.len() - 1]).filter(|base| !seen.contains(base)) {
        seen.push(base);
    }
    seen[seen.len() - 1]
}

/// Colours of the methods: those of one base have different hues, and equal places under several bases the same one, told
/// apart by their dashes.
fn colours(results: &Results) -> Vec<usize> {
    let mut bases: Vec<&str> = Vec::new();
    let mut members: Vec<usize> = Vec::new();
    let mut places = Vec::new();
    for method in &results.methods {
        let base = root(results, &method.label);
        let family = bases.iter().position(|b| *b == base).unwrap_or_else(|| {
            bases.push(base);
            members.push(0);
            bases.len() - 1
        });
        places.push((family, members[family]));
        members[family] += 1;
    }
    let fit = bases.len() <= 3 && members.iter().all(|n| *n <= HUES) && members.iter().any(|n| *n > 1);
    places
        .iter()
        .enumerate()
        .map(|(i, (family, place))| if fit { family * HUES + place } else { i })
        .collect()
}

fn legend(results: &Results) -> Vec<(String, usize)> {
    results.methods.iter().map(|m| m.label.clone()).zip(colours(results)).collect()
}

fn caption(results: &Results, about: &str) -> String {
    let missing = match results.absent.len() {
        0 => String::new(),
        n => format!(" {n} of {} runs have no result.", n + results.outcomes.len()),
    };
    format!("{}.{missing} {about}", results.facts())
}

/// How many runs are in no number of a picture; nothing without any.
fn left_out(runs: usize, why: &str) -> String {
    match runs {
        0 => String::new(),
        1 => format!(" 1 run left out{why}."),
        n => format!(" {n} runs left out{why}."),
    }
}

/// The same of numbers whose table tells the reasons.
fn without(answers: &Answers<'_>) -> String {
    left_out(answers.left_out, "; the table says why")
}

/// The name of what is over all data sets, with the number of those that it rests on where there are more.
fn on_fewer(answers: &Answers<'_>, label: String, data: usize) -> String {
    match data {
        n if n == 0 || n == answers.filled().count() => label,
        1 => format!("{label} (1 data set)"),
        n => format!("{label} ({n} data sets)"),
    }
}

pub(super) fn band(of: &str) -> String {
    format!(
        "{of}: {:.0} % interval (bootstrap over seeds; none below {} seeds, of three their range: too narrow).",
        st::CONFIDENCE * 100.0,
        st::LEAST_SEEDS
    )
}

/// What bands are, where there are enough seeds for them.
fn interval(results: &Results) -> String {
    let seeds = |data: &String| results.methods.iter().map(|m| results.runs(data, &m.label).len()).max();
    match results.data.iter().filter_map(seeds).max().is_some_and(|n| n >= st::LEAST_SEEDS) {
        true => format!("{:.0} % interval", st::CONFIDENCE * 100.0),
        false => String::new(),
    }
}

/// Whether a run's curve is in the unit of its data set.
fn drawn(results: &Results, run: &Outcome) -> bool {
    run.curve.scored == scored(results, &run.data)
}

/// Learning curves: one panel per data set, offline training before the switch, the online phase behind it.
pub fn curves(results: &Results) -> Panels {
    let colours = colours(results);
    let mut panels: Vec<Curves> = results.data.iter().map(|data| panel(results, data, &colours)).collect();
    let any = |unit: &str| panels.iter().any(|panel| panel.y_label == unit);
    let (scores, returns) = (any(SCORE), any(RETURN));
    let units = match (scores, returns) {
        (true, true) => "scores and returns",
        (false, true) => "returns",
        _ => "normalised scores",
    };
    if !returns {
        Curves::share_axes(&mut panels);
    }
    let other = |o: &&Outcome| !drawn(results, o) && o.curve != Curve::default();
    let left_out = left_out(results.outcomes.iter().filter(other).count(), &format!(": {RAW}"));
    Panels {
        title: format!("{}: learning curves, {units}", results.name),
        caption: caption(
            results,
            &format!(
                "Line: mean over seeds. {} Offline training that methods share is drawn once, in the colour of the first.{left_out}",
                band("Band")
            ),
        ),
        legend: legend(results),
        band: interval(results),
        columns: COLUMNS,
        size: (400, 290),
        panels: panels.into_iter().map(|c| (c.title.clone(), boxed(c))).collect(),
    }
}

fn panel(results: &Results, data: &str, colours: &[usize]) -> Curves {
    let mut series = Vec::new();
    let mut known: Vec<&[Point]> = Vec::new();
    for (method, colour) in results.methods.iter().zip(colours) {
        let mut runs = results.runs(data, &method.label);
        runs.retain(|run| drawn(results, run));
        let offline: Vec<&[Point]> = runs.iter().map(|run| run.curve.offline.as_slice()).collect();
        let shared = runs.iter().all(|run| !run.curve.online.is_empty())
            && offline.iter().all(|curve| known.contains(curve));
        series.push(line(&runs, *colour, !shared));
        known.extend(offline);
    }
    Curves { title: data.into(), y_label: results.unit(Some(data)).into(), series, ..Curves::default() }
}

/// The mean over runs at every x that all of them have, in its interval.
pub(super) fn line(runs: &[&Outcome], colour: usize, with_offline: bool) -> Series {
    let ends = |run: &&Outcome| run.offline_updates.max(run.curve.offline.last().map_or(0, |p| p.step));
    // Those that stopped early end before the switch, and begin together.
    let end = runs.iter().map(ends).max().unwrap_or(0) as f64;
    let curves: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| points(run, end, with_offline)).collect();
    let mut series = Series::new("", colour, Vec::new());
    let Some((first, others)) = curves.split_first() else { return series };
    let at = |curve: &[(f64, f64)], x: f64| curve.iter().find(|p| p.0 == x).map(|p| p.1);
    let mut columns: Vec<(f64, Vec<f64>)> = Vec::new();
    for (x, y) in first {
        let found: Option<Vec<f64>> = others.iter().map(|curve| at(curve, *x)).collect();
        columns.extend(found.map(|others| (*x, [vec![*y], others].concat())));
    }
    series.points = columns.iter().map(|(x, values)| (*x, st::mean(values))).collect();
    let seeds: Vec<usize> = (0..curves.len()).collect();
    let mean =
        |drawn: &[usize], values: &[f64]| drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64;
    let bands =
        st::bootstrap(&[seeds], |drawn| columns.iter().map(|(_, values)| mean(&drawn[0], values)).collect());
    let with_x = |(column, i): (&(f64, Vec<f64>), Interval)| (column.0, i.low, i.high);
    series.band = columns.iter().zip(bands.unwrap_or_default()).map(with_x).collect();
    series
}

/// A run by x: updates before the `end` of the offline training below zero, environment steps from zero on.
fn points(run: &Outcome, end: f64, with_offline: bool) -> Vec<(f64, f64)> {
    let online = run.curve.online.iter().map(|p| (p.step as f64, p.score));
    let offline = run.curve.offline.iter().filter(|_| with_offline).map(|p| (p.step as f64 - end, p.score));
    // Where both stand at the switch, the online one measures it.
    let begins = run.curve.online.first().map(|p| p.step as f64);
    offline.filter(|p| begins.is_none_or(|x| p.0 < x)).chain(online).collect()
}

/// Bars of the metric with their intervals and the runs: one panel per data set, and over all.
pub fn scores(answers: &Answers<'_>) -> Panels {
    let results = answers.results;
    let colours = colours(results);
    let columns: Vec<usize> = (0..results.methods.len()).collect();
    let at_least = |censored: usize| (censored > 0).then_some("\u{2265}");
    let bar = |column: usize, cell: &Cell| Bar {
        label: marked(&results.methods[column].label, at_least(cell.summary.map_or(0, |s| s.censored))),
        value: cell.summary.map_or(f64::NAN, |s| s.mean),
        interval: ends(cell.summary.and_then(|s| s.interval)),
        dots: cell.values(),
        colour: colours[column],
    };
    let of_row = |row: &Vec<Cell>| columns.iter().map(|c| bar(*c, &row[*c])).collect();
    let rows = answers.cells.iter().map(of_row).collect();
    let all = answers.overall.iter().zip(&columns).map(|(o, column)| Bar {
        label: on_fewer(answers, marked(&results.methods[*column].label, at_least(o.censored)), o.data),
        value: o.iqm.map_or(f64::NAN, |e| e.value),
        interval: ends(o.iqm.and_then(|e| e.interval)),
        dots: Vec::new(),
        colour: colours[*column],
    });
    let never = never_recovered(answers, "(\u{2265}) at least");
    let about = format!("Bar: mean over seeds, dots: seeds. {}{never}", band("Line"));
    let title = format!("{}: {}", results.name, answers.metric.title().to_lowercase());
    bars(answers, (title, &about), rows, ("all data sets, IQM", all.collect()))
}

/// Differences to the base with their intervals: what a method adds, or what leaving a part out costs.
pub fn differences(answers: &Answers<'_>) -> Option<Panels> {
    let results = answers.results;
    let colours = colours(results);
    let columns: Vec<usize> = (0..results.methods.len()).filter(|c| answers.base(*c).is_some()).collect();
    let bar = |column: usize, difference: Option<st::Difference>, bounds: Bounds| Bar {
        label: marked(&results.methods[column].label, bounds.mark()),
        value: difference.map_or(f64::NAN, |d| d.mean.value),
        interval: ends(difference.and_then(|d| d.mean.interval)),
        dots: Vec::new(),
        colour: colours[column],
    };
    let of_row =
        |row: &Vec<Cell>| columns.iter().map(|c| bar(*c, row[*c].difference, row[*c].bounds)).collect();
    let rows = answers.cells.iter().map(of_row);
    let over_all = |c: &usize| {
        let overall = &answers.overall[*c];
        let bar = bar(*c, overall.difference, overall.bounds);
        Bar { label: on_fewer(answers, bar.label, overall.better.map_or(0, |(_, all)| all)), ..bar }
    };
    let all = columns.iter().map(over_all).collect();
    let against = columns.iter().filter_map(|c| {
        let base = &results.methods[answers.base(*c)?].label;
        Some(format!("{} to {base}", results.methods[*c].label))
    });
    let against: Vec<String> = against.collect();
    let marks = "(\u{2265}) at least, (\u{2264}) at most, (?) bounded on neither side";
    let never = never_recovered(answers, marks);
    let about = format!("Paired by seed: {}. {}{never}", against.join("; "), band("Line"));
    let title =
        format!("{}: difference to the base, {}", results.name, answers.metric.title().to_lowercase());
    (!columns.is_empty())
        .then(|| bars(answers, (title, &about), rows.collect(), ("all data sets, mean", all)))
}

/// A bar's name, with the sign of a bound.
fn marked(label: &str, mark: Option<&str>) -> String {
    mark.map_or(label.to_string(), |mark| format!("{label} ({mark})"))
}

/// How many runs are censored and how bars that rest on such are marked; nothing without any.
fn never_recovered(answers: &Answers<'_>, marks: &str) -> String {
    let sum = |of: fn(&Overall) -> usize| answers.overall.iter().map(of).sum::<usize>();
    match (sum(|o| o.censored), sum(|o| o.runs)) {
        (0, _) => String::new(),
        (n, all) => format!(" {n} of {all} runs never recovered and count with all their steps: {marks}."),
    }
}

pub(super) fn boxed(chart: impl Chart + 'static) -> Box<dyn Chart> {
    Box::new(chart)
}

fn ends(interval: Option<Interval>) -> Option<(f64, f64)> {
    interval.map(|i| (i.low, i.high))
}

/// One panel per data set, and one over all where values are in one unit.
fn bars(
    answers: &Answers<'_>,
    (title, about): (String, &str),
    rows: Vec<Vec<Bar>>,
    (over, all): (&str, Vec<Bar>),
) -> Panels {
    let results = answers.results;
    let comparable = answers.overall.iter().any(|o| o.mean.is_some());
    let height = 62 + 22 * all.len() as u32;
    let mut named: Vec<(String, Vec<Bar>)> = results.data.iter().cloned().zip(rows).collect();
    if comparable && named.len() > 1 {
        named.push((over.to_string(), all));
    }
    let panel = |(row, (title, bars)): (usize, (String, Vec<Bar>))| Bars {
        title,
        x_label: answers.unit(results.data.get(row).map(String::as_str)).into(),
        bars,
        range: None,
    };
    let mut panels: Vec<Bars> = named.into_iter().enumerate().map(panel).collect();
    if comparable {
        Bars::share_axis(&mut panels);
    }
    let caption = caption(results, &(about.to_string() + &without(answers)));
    grid((title, caption), panels, height)
}

/// Panels of bars side by side, each so many pixels high.
pub(super) fn grid((title, caption): (String, String), panels: Vec<Bars>, height: u32) -> Panels {
    let width = Bars::width(&panels).max(LEAST_WIDTH);
    Panels {
        title,
        caption,
        legend: Vec::new(),
        band: String::new(),
        columns: COLUMNS.min((MOST_WIDTH / width).max(1) as usize),
        size: (width, height),
        panels: panels.into_iter().map(|b| (b.title.clone(), boxed(b))).collect(),
    }
}

/// Performance profiles: shares of runs, and of data sets by their means, above a score; `None` where data sets do not
/// compare or less is better.
pub fn profiles(answers: &Answers<'_>) -> Option<Panels> {
    let results = answers.results;
    if !answers.metric.is_level() || answers.overall.iter().all(|o| o.iqm.is_none()) {
        return None;
    }
    let of = |column: usize| -> Vec<Vec<f64>> {
        answers.cells.iter().map(|row| row[column].values()).filter(|values| !values.is_empty()).collect()
    };
    let strata: Vec<Vec<Vec<f64>>> = (0..results.methods.len()).map(of).collect();
    let values = || strata.iter().flatten().flatten().copied();
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let step = (high - low) / (THRESHOLDS - 1) as f64;
    let thresholds: Vec<f64> = (0..THRESHOLDS).map(|i| low + i as f64 * step).collect();
    let colours = colours(results);
    let panel = |title: &str, share: fn(&[Vec<f64>], &[f64]) -> Vec<f64>| {
        let series = strata.iter().zip(&colours).filter(|(strata, _)| !strata.is_empty());
        let series = series.map(|(strata, colour)| {
            let points = thresholds.iter().copied().zip(share(strata, &thresholds)).collect();
            let bands = st::bootstrap(strata, |drawn| share(drawn, &thresholds)).unwrap_or_default();
            let band = thresholds.iter().zip(bands).map(|(x, i)| (*x, i.low, i.high)).collect();
            Series { band, ..Series::new("", *colour, points) }
        });
        Curves {
            title: title.into(),
            x: XAxis::Plain("score".into()),
            series: series.collect(),
            x_from: low,
            ..Curves::default()
        }
    };
    let mut panels = [
        panel("share of runs above a score", st::profile),
        panel("share of data sets whose mean is above it", st::profile_of_means),
    ];
    Curves::share_axes(&mut panels);
    let named = legend(results).into_iter().zip(&answers.overall);
    let named = named.map(|((label, colour), o)| (on_fewer(answers, label, o.data), colour));
    let metric = answers.metric.title().to_lowercase();
    Some(Panels {
        title: format!("{}: performance profiles, {metric}", results.name),
        caption: caption(
            results,
            &format!("Data: {}. {}{}", results.data.join(", "), band("Band"), without(answers)),
        ),
        legend: named.collect(),
        band: interval(results),
        columns: 2,
        size: (520, 330),
        panels: panels.into_iter().map(|c| (c.title.clone(), boxed(c))).collect(),
    })
}
