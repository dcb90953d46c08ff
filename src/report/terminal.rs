//! Runs as text for a terminal: how far they are, their curves, and of a single one its metrics.

use super::axis::value;
use super::braille::{Plot, painted, sparkline};
use super::run::Run;
use super::summary::{Group, LAST, place, scored};
use crate::train::metrics::{Evaluation, Phase};
use indicatif::HumanCount;

/// What there is to write on.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Lines, if they are limited.
    pub height: Option<usize>,
    /// Whether there are colours.
    pub colour: bool,
}

/// Least columns, so that something can be read.
const NARROWEST: usize = 60;
/// Lines of a plot where nothing limits them, and at least.
const PLOT: usize = 16;
const LEAST_PLOT: usize = 7;
/// Least columns of a method's name; one that is cut further is better left out.
const METHOD: usize = 12;
/// Columns of a metric: its name, its bars, its last value.
const METRIC: [usize; 3] = [20, 8, 9];

/// One picture of the runs, in lines no wider than the screen.
pub fn frame(groups: &[Group], screen: Screen) -> Vec<String> {
    let width = screen.width.max(NARROWEST);
    let runs: Vec<(&Group, &Run)> = groups.iter().flat_map(|g| g.runs.iter().map(move |r| (g, r))).collect();
    let by_score = scored(groups);
    let what = if by_score { "Normalised score" } else { "Return" };
    let mut lines = vec![fitted(&format!("{what}{}", place(groups)), width), String::new()];
    let most = screen.height.map_or(runs.len(), |height| (height / 2).max(3).min(runs.len()));
    lines.extend(table(&runs[..most], by_score, width, screen.colour));
    if most < runs.len() {
        lines.push(format!("   and {} more", runs.len() - most));
    }
    for (_, run) in &runs {
        let name = run.dir.file_name().unwrap_or(run.dir.as_os_str()).to_string_lossy();
        lines.extend(run.diverged.iter().map(|how| fitted(&format!("{name}: {}", how.trim()), width)));
    }
    let phases: Vec<Phase> = [Phase::Offline, Phase::Online]
        .into_iter()
        .filter(|phase| runs.iter().any(|(_, run)| run.standing.phase == *phase))
        .collect();
    let left = screen.height.map(|height| height.saturating_sub(lines.len() + 2));
    let alone = runs.len() == 1;
    // A single run leaves room for its metrics.
    let share = left.map(|left| if alone { left * 3 / 5 } else { left / phases.len().max(1) });
    let rows = share.map_or(PLOT, |rows| rows.clamp(LEAST_PLOT, 2 * PLOT)) - 1;
    for phase in phases {
        lines.push(String::new());
        lines.extend(plot(&runs, phase, by_score, (width, rows), screen.colour));
    }
    if let ([(_, run)], true) = (&runs[..], alone) {
        lines.push(String::new());
        lines.extend(metrics(run, width));
    }
    if let Some(height) = screen.height {
        lines.truncate(height.saturating_sub(2));
    }
    if screen.width < NARROWEST {
        lines.iter_mut().for_each(|line| *line = cut(line, screen.width));
    }
    lines
}

/// A line cut to a width, in which colours take no room.
fn cut(line: &str, width: usize) -> String {
    let (mut out, mut room, mut escape) = (String::new(), width, false);
    for c in line.chars() {
        escape |= c == '\u{1b}';
        if escape || room > 0 {
            out.push(c);
        }
        room = if escape { room } else { room.saturating_sub(1) };
        escape &= c != 'm';
    }
    out
}

/// Text without control characters, cut to a width.
fn fitted(text: &str, width: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match plain.chars().count() <= width {
        true => plain,
        false => plain.chars().take(width.saturating_sub(1)).collect::<String>() + "\u{2026}",
    }
}

/// Seconds, short.
fn short_time(seconds: f64) -> String {
    match seconds {
        s if s < 99.5 => format!("{s:.0} s"),
        s if s < 5970.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

/// A column: its head, what it says of a run, whether it stands at the right, and how early it is left out; 0 never.
type Column = (&'static str, fn(&Run, &Group, bool) -> String, bool, u8);

fn figure(run: &Run, by_score: bool, last: usize) -> String {
    let of_phase = run.evaluations.iter().filter(|e| e.stamp.phase == run.standing.phase);
    // A mean of the online phase is of what comes after the switch.
    let begun = |e: &&Evaluation| last == 1 || run.standing.phase == Phase::Offline || e.stamp.env_step > 0;
    let values = of_phase.filter(begun);
    let values: Vec<f64> = values.map(|e| e.score.filter(|_| by_score).unwrap_or(e.mean())).collect();
    let last = &values[values.len().saturating_sub(last)..];
    match last.is_empty() {
        true => "\u{2013}".into(),
        false => value(last.iter().sum::<f64>() / last.len() as f64),
    }
}

/// Up to which rank columns go before the names of methods are cut, and the rank of those.
const FIGURES: u8 = 2;
const NAMES: u8 = 4;

const COLUMNS: [Column; 9] = [
    (
        "run",
        |r, _, _| r.dir.file_name().unwrap_or(r.dir.as_os_str()).to_string_lossy().into_owned(),
        false,
        0,
    ),
    ("method", |_, g, _| g.label.clone(), false, NAMES),
    ("seed", |r, _, _| r.option("run", "seed"), true, 3),
    ("state", |r, _, _| r.standing.state.word().into(), false, 0),
    ("done", |r, _, _| r.standing.progress().replacen(" of ", "/", 1), true, 0),
    (
        "rate",
        |r, _, _| match r.standing.rate {
            Some(rate) if rate >= 10.0 => format!("{rate:.0}/s"),
            Some(rate) => format!("{rate:.2}/s"),
            None => "\u{2013}".into(),
        },
        true,
        FIGURES,
    ),
    ("left", |r, _, _| r.standing.seconds_left().map_or("\u{2013}".into(), short_time), true, 0),
    ("now", |r, _, by_score| figure(r, by_score, 1), true, 0),
    ("last 5", |r, _, by_score| figure(r, by_score, LAST), true, 1),
];

/// One row per run under heads; columns that do not fit are left out, then names are cut.
fn table(runs: &[(&Group, &Run)], by_score: bool, width: usize, colour: bool) -> Vec<String> {
    let number = runs.len().to_string().len();
    let mut columns: Vec<(bool, u8, Vec<String>)> = COLUMNS
        .iter()
        .map(|(head, cell, right, rank)| {
            let cells = runs.iter().map(|(group, run)| fitted(&cell(run, group, by_score), 32));
            (*right, *rank, std::iter::once(head.to_string()).chain(cells).collect())
        })
        .collect();
    let widest = |cells: &[String]| cells.iter().map(|c| c.chars().count()).max().unwrap_or(0);
    let total = |columns: &[(bool, u8, Vec<String>)]| {
        number + columns.iter().map(|(_, _, cells)| widest(cells) + 2).sum::<usize>()
    };
    while total(&columns) > width
        && let Some(first) = columns.iter().map(|c| c.1).filter(|rank| *rank > 0).min()
    {
        let over = total(&columns) - width;
        let method = columns.iter_mut().find(|c| c.1 == NAMES).filter(|c| widest(&c.2) > METHOD);
        match method.filter(|_| first > FIGURES) {
            Some((_, _, cells)) => {
                let room = widest(cells).saturating_sub(over).max(METHOD);
                cells.iter_mut().for_each(|cell| *cell = fitted(cell, room));
            }
            None => columns.retain(|c| c.1 != first),
        }
    }
    let over = total(&columns).saturating_sub(width);
    let name = widest(&columns[0].2).saturating_sub(over).max(6);
    columns[0].2.iter_mut().for_each(|cell| *cell = fitted(cell, name));
    (0..=runs.len())
        .map(|row| {
            let mut line = match row {
                0 => " ".repeat(number),
                _ => painted(&format!("{row:>number$}"), row - 1, colour),
            };
            for (right, _, cells) in &columns {
                let (cell, wide) = (&cells[row], widest(cells));
                line += &if *right { format!("  {cell:>wide$}") } else { format!("  {cell:<wide$}") };
            }
            line.trim_end().to_string()
        })
        .collect()
}

/// The evaluations of the runs that are in a phase.
fn plot(
    runs: &[(&Group, &Run)],
    phase: Phase,
    by_score: bool,
    size: (usize, usize),
    colour: bool,
) -> Vec<String> {
    let points = |run: &Run| -> Vec<(f64, f64)> {
        let of_phase = run.evaluations.iter().filter(|e| e.stamp.phase == phase);
        let value = |e: &crate::train::metrics::Evaluation| e.score.filter(|_| by_score).unwrap_or(e.mean());
        of_phase.map(|e| (e.stamp.unit() as f64, value(e))).collect()
    };
    let here = |run: &Run| run.standing.phase == phase;
    let lines: Vec<(String, Vec<(f64, f64)>)> = runs
        .iter()
        .enumerate()
        .map(|(i, (_, run))| ((i + 1).to_string(), if here(run) { points(run) } else { Vec::new() }))
        .collect();
    let of_phase = || runs.iter().map(|(_, run)| *run).filter(|run| here(run));
    if lines.iter().all(|(_, points)| points.is_empty()) {
        let why = of_phase().next().map(Run::without_evaluation).unwrap_or_default();
        return vec![fitted(&why, size.0)];
    }
    let x_to = of_phase().map(|run| run.standing.planned.max(run.standing.done)).max().unwrap_or(1) as f64;
    let x_label = if phase == Phase::Offline { "updates" } else { "environment steps" };
    Plot { lines: &lines, x_to, x_label, size, colour }.text()
}

/// Names, courses and last values of a run's metrics, side by side as far as they fit.
fn metrics(run: &Run, width: usize) -> Vec<String> {
    let Some(table) = &run.metrics else { return vec!["No metrics yet.".into()] };
    let [name, bars, last] = METRIC;
    let cell = |column: &String| {
        let rows: Vec<f64> = table.column(column).into_iter().map(|(_, v)| v).collect();
        let now = rows.last().map(|v| if v.is_finite() { value(*v) } else { v.to_string() })?;
        Some(format!("{:<name$} {:<bars$} {now:>last$}", fitted(column, name), sparkline(&rows, bars)))
    };
    let cells: Vec<String> = table.columns.iter().filter_map(cell).collect();
    let across = ((width + 2) / (METRIC.iter().sum::<usize>() + 4)).max(1);
    let down = cells.len().div_ceil(across).max(1);
    let rows = HumanCount(table.rows.len() as u64);
    let head = format!("Metrics over {rows} rows: course, last value");
    let line = |row: usize| (row..cells.len()).step_by(down).map(|i| cells[i].as_str()).collect::<Vec<_>>();
    std::iter::once(head).chain((0..down).map(|row| line(row).join("  "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let texts: Vec<String> = [5.2, 99.0, 600.0, 7200.0, 400_000.0].map(short_time).into();
        assert_eq!(texts, ["5 s", "99 s", "10 min", "2.0 h", "4.6 d"]);
    }

    #[test]
    fn text_of_a_file_moves_no_cursor() {
        assert_eq!(fitted("a\u{1b}[2J", 3), "a\u{fffd}\u{2026}");
    }

    #[test]
    fn colours_take_no_room() {
        let line = "ab\u{1b}[31mcd\u{1b}[0mef";
        assert_eq!(cut(line, 3), "ab\u{1b}[31mc\u{1b}[0m");
        assert_eq!((cut(line, 6), cut("ab", 1), cut("", 3)), (line.into(), "a".into(), String::new()));
    }
}
