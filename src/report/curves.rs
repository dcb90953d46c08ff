//! Which curves a set of runs asks for.

use super::plot::{Curves, Series, XAxis};
use super::run::Run;
use super::summary::{Group, common_data, place, scored};
use crate::train::metrics::{Evaluation, Metric, MetricAbout, Phase};

/// Learning curves of all groups, as normalised scores where there are such, else as returns.
/// Groups that start from the same offline training share one grey line for it.
pub fn learning_curves(groups: &[Group]) -> Curves {
    let by_score = scored(groups);
    let evaluations = || runs(groups).flat_map(|r| &r.evaluations);
    let offline = runs(groups).map(Run::offline_end).max();
    let online = runs(groups).any(is_online);
    let mut curves = Curves {
        title: format!("{}{}", if by_score { "Normalised score" } else { "Return" }, place(groups)),
        series: series(groups, |e| if by_score { e.score } else { Some(e.mean()) }),
        references: references(groups, by_score),
        x_from: -(offline.unwrap_or(0) as f64),
        ..Curves::default()
    };
    if !online {
        from_zero(&mut curves, groups);
    } else if !evaluations().any(|e| e.stamp.phase == Phase::Online) {
        let planned = runs(groups).filter(|r| is_online(r)).map(|r| r.standing.planned).max();
        curves.x_to = planned.map(|steps| steps as f64);
    }
    if curves.series.iter().any(|s| !s.band.is_empty()) {
        curves.band = "lowest to highest seed".into();
    }
    if curves.series.iter().any(|s| s.thin) {
        curves.thin = "single seeds, where others have not come yet".into();
    }
    let episodes = || evaluations().map(|e| e.returns.len());
    curves.caption = caption(groups, episodes().min().zip(episodes().max()));
    curves
}

fn runs(groups: &[Group]) -> impl Iterator<Item = &Run> {
    groups.iter().flat_map(|g| &g.runs)
}

fn is_online(run: &Run) -> bool {
    run.standing.phase == Phase::Online
}

/// What a point and a line are.
fn caption(groups: &[Group], episodes: Option<(usize, usize)>) -> String {
    let several = groups.iter().filter(|g| g.runs.len() > 1);
    let partial = several.clone().any(|g| g.unfinished().is_some());
    let mut caption = match episodes {
        None => {
            return runs(groups).next().map(Run::without_evaluation).unwrap_or_default();
        }
        Some((1, 1)) => "Each point: an evaluation of one episode.".into(),
        Some((least, most)) => {
            let n = if least == most { most.to_string() } else { format!("{least} to {most}") };
            format!("Each point: an evaluation, the mean of {n} episodes.")
        }
    };
    caption += match (several.clone().count(), partial) {
        (0, _) => " One seed each: how far seeds differ is not known.",
        (_, false) => " Line: mean over seeds.",
        (_, true) => " Line: mean over seeds, up to where the shortest one is.",
    };
    if groups.iter().any(|g| g.evaluated() < g.runs.len()) {
        caption += " Runs without an evaluation are in no mean.";
    }
    if (1..groups.len()).contains(&several.count()) {
        caption += " Lines without a band: one seed.";
    }
    caption
}

/// Offline training alone: its axis counts from its beginning.
fn from_zero(curves: &mut Curves, groups: &[Group]) {
    let end = runs(groups).map(Run::offline_end).max().unwrap_or(0) as f64;
    curves.x = XAxis::Plain("offline updates".into());
    curves.x_from = 0.0;
    curves.x_to = groups.iter().any(|g| g.unfinished().is_some()).then_some(end);
}

/// Points of one run, by x: offline below 0, online above.
type Points = Vec<(f64, f64)>;

/// A line per group, and one per offline training that several share; behind them the seeds of a group beyond its shortest one.
fn series(groups: &[Group], value: impl Fn(&Evaluation) -> Option<f64>) -> Vec<Series> {
    let offline = !runs(groups).any(is_online);
    let curves = |g: &Group| -> Vec<Points> {
        let begun = g.runs.iter().filter(|r| !r.evaluations.is_empty());
        let x = |x: f64, run: &Run| if offline { x + run.offline_end() as f64 } else { x };
        begun.map(|r| r.curve(&value).into_iter().map(|(at, y)| (x(at, r), y)).collect()).collect()
    };
    let all: Vec<Vec<Points>> = groups.iter().map(curves).collect();
    let part = |curves: &[Points], of: fn(f64) -> bool| -> Vec<Points> {
        curves.iter().map(|c| c.iter().copied().filter(|p| of(p.0)).collect()).collect()
    };
    // Of the offline training alone: the evaluation at the switch may be one of another policy.
    let trained: Vec<Vec<(String, Points)>> = groups
        .iter()
        .map(|g| g.runs.iter().map(|r| (r.origin(), r.offline_curve(&value))).collect())
        .collect();
    let goes_on = |curves: &[Points]| curves.iter().flatten().any(|p| p.0 > 0.0);
    let mut series: Vec<Series> = Vec::new();
    let mut shared: Vec<&Vec<(String, Points)>> = Vec::new();
    for (i, (group, curves)) in groups.iter().zip(&all).enumerate() {
        let mine = &trained[i];
        let learnt = mine.iter().any(|(_, c)| c.len() > 1) && goes_on(curves);
        let twin = |(j, other): (usize, &Vec<Points>)| j != i && goes_on(other) && trained[j] == *mine;
        if offline || !(learnt && all.iter().enumerate().any(twin)) {
            series.extend(lines(group.legend(), i, curves));
            continue;
        }
        if !shared.contains(&mine) {
            let label = format!("{} offline (shared)", group.runs[0].option("run", "algo"));
            let curves: Vec<Points> = mine.iter().map(|(_, curve)| curve.clone()).collect();
            let line = Series::over_runs(label, 0, &curves);
            series.push(Series { colour: None, ..line });
            shared.push(mine);
        }
        series.extend(lines(group.legend(), i, &part(curves, |x| x >= 0.0)));
    }
    series
}

/// The mean over seeds, and what some seeds have beyond it.
fn lines(label: String, colour: usize, curves: &[Points]) -> Vec<Series> {
    let mean = Series::over_runs(label, colour, curves);
    let end = mean.points.last().map_or(f64::NEG_INFINITY, |p| p.0);
    let beyond = curves.iter().filter(|c| c.last().is_some_and(|p| p.0 > end));
    let beyond = beyond.map(|c| c.iter().copied().filter(|p| p.0 >= end).collect());
    let beyond: Vec<Series> = beyond.map(|points| Series::thin(Some(colour), points)).collect();
    std::iter::once(mean).chain(beyond).collect()
}

/// What the data themselves reach. Of several data sets or tasks nothing would say whose line is whose; the table has them.
fn references(groups: &[Group], by_score: bool) -> Vec<(String, f64)> {
    let Some(facts) = common_data(groups) else { return Vec::new() };
    let (mean, best) = match by_score {
        true => (facts.score_mean, facts.score_best_tenth),
        false => (facts.return_mean, facts.return_best_tenth),
    };
    let known = [("data, mean", mean), ("data, best tenth", best)];
    known.into_iter().filter_map(|(name, v)| Some((name.to_string(), v?))).collect()
}

/// Most points of a line in a small chart.
const POINTS: usize = 120;

/// The share of its rows over which a line is smoothed.
const SMOOTHED: usize = 20;

/// How metrics are drawn, in words.
pub const HOW_METRICS_ARE_DRAWN: &str = "One chart per metric. Bold: mean over seeds, where all of them have come, as a moving average over a twentieth of its rows; pale: \
     every seed as it was recorded, of many rows the lowest and highest of each stretch.";

/// One chart per metric and phase in which it was recorded, with a line per group and behind it its seeds.
pub fn metric_charts(groups: &[Group]) -> Vec<Curves> {
    let mut all: Vec<&MetricAbout> = Vec::new();
    for about in groups.iter().flat_map(|g| &g.runs).flat_map(|r| &r.about) {
        if !all.iter().any(|known| known.name == about.name) {
            all.push(about);
        }
    }
    let mut charts = Vec::new();
    for phase in [Phase::Offline, Phase::Online] {
        charts.extend(all.iter().filter_map(|about| metric_chart(groups, about, phase)));
    }
    charts
}

fn metric_chart(groups: &[Group], about: &MetricAbout, phase: Phase) -> Option<Curves> {
    let rows = |group: &Group| -> Vec<Points> {
        let tables = group.runs.iter().filter_map(|run| run.metrics.as_ref());
        let column = tables.map(|table| table.column(&about.name));
        let of_phase = column.map(|rows| rows.into_iter().filter(|(s, _)| s.phase == phase));
        let points = of_phase.map(|rows| rows.map(|(s, v)| (s.unit() as f64, v)).collect::<Points>());
        points.filter(|points| !points.is_empty()).collect()
    };
    let (mut series, mut there) = (Vec::new(), Vec::new());
    for (i, group) in groups.iter().enumerate() {
        let seeds = rows(group);
        if seeds.is_empty() {
            continue;
        }
        there.push(group);
        let label = if groups.len() > 1 { group.legend() } else { String::new() };
        let mean = Series::over_runs(label, i, &seeds);
        let smooth = smoothed(&mean.points);
        if seeds.len() > 1 || smooth != mean.points {
            series.extend(seeds.iter().map(|seed| Series::thin(Some(i), extremes(seed))));
        }
        series.push(Series { points: thinned(&smooth), band: Vec::new(), ..mean });
    }
    (!series.is_empty()).then(|| Curves {
        title: format!("{}, {}{}", about.name, phase.word(), place(there)),
        caption: format!("{}: {}", about.section, about.formula),
        y_label: about.unit.clone(),
        x: XAxis::Plain(if phase == Phase::Offline { "updates" } else { "environment steps" }.into()),
        series,
        y: (about.unit == Metric::SHARE).then_some((0.0, 1.0)),
        ..Curves::default()
    })
}

/// The mean over as many neighbours on either side, fewer at the ends; what is no number stays so and is in no mean.
fn smoothed(points: &[(f64, f64)]) -> Points {
    let half = points.len() / SMOOTHED / 2;
    let mean = |i: usize| {
        let reach = half.min(i).min(points.len() - 1 - i);
        let near = points[i - reach..=i + reach].iter().map(|p| p.1).filter(|y| y.is_finite());
        let (sum, n) = near.fold((0.0, 0), |(sum, n), y| (sum + y, n + 1));
        if points[i].1.is_finite() { sum / f64::from(n) } else { points[i].1 }
    };
    (0..points.len()).map(|i| (points[i].0, mean(i))).collect()
}

/// At most [`POINTS`] of the points, evenly, the last one among them.
fn thinned(points: &[(f64, f64)]) -> Points {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(|(i, _)| (last - i).is_multiple_of(every)).map(|(_, p)| *p).collect()
}

/// The lowest and the highest point of each of at most [`POINTS`] stretches, in order.
fn extremes(points: &[(f64, f64)]) -> Points {
    if points.len() <= 2 * POINTS {
        return points.to_vec();
    }
    let both = |part: &[(f64, f64)]| {
        let place = |best: fn(&(f64, f64), &(f64, f64)) -> bool| {
            (1..part.len()).fold(0, |at, i| if best(&part[i], &part[at]) { i } else { at })
        };
        let (low, high) = (place(|a, b| a.1 < b.1), place(|a, b| a.1 > b.1));
        [part[low.min(high)], part[low.max(high)]]
    };
    points.chunks(points.len().div_ceil(POINTS)).flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_moves_no_end_and_no_straight_line() {
        let line: Points = (0..200).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        assert!(smoothed(&line).iter().zip(&line).all(|(a, b)| (a.1 - b.1).abs() < 1e-9));
        let mut broken = line.clone();
        broken[50].1 = f64::NAN;
        let smooth = smoothed(&broken);
        assert!(smooth[50].1.is_nan() && smooth.iter().filter(|p| p.1.is_finite()).count() == 199);
        assert_eq!(smoothed(&line[..30]), line[..30], "few rows stay as they are");
    }

    #[test]
    fn thinning_keeps_the_last_point_and_the_extremes() {
        let mut line: Points = (0..1000).map(|i| (f64::from(i), 0.0)).collect();
        (line[333].1, line[777].1) = (5.0, -7.0);
        assert!(thinned(&line).len() <= POINTS && thinned(&line).last() == line.last());
        let few = extremes(&line);
        assert!(few.len() <= 2 * POINTS && few.contains(&(333.0, 5.0)) && few.contains(&(777.0, -7.0)));
        assert!(few.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}
