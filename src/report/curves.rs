//! Which curves a set of runs asks for.

use super::plot::{Curves, Series, XAxis};
use super::summary::{Group, Run, datasets, scored};
use crate::train::metrics::{Evaluation, Phase, Stamp};

/// Learning curves of all groups, as normalised scores where there are such, else as returns.
/// Groups that start from the same offline training share one grey line for it.
pub fn learning_curves(groups: &[Group]) -> Curves {
    let by_score = scored(groups);
    let runs = || groups.iter().flat_map(|g| &g.runs);
    let evaluations = || runs().flat_map(|r| &r.evaluations);
    let offline = evaluations().filter(|e| e.stamp.phase == Phase::Offline).map(|e| e.stamp.update).max();
    let episodes = evaluations().map(|e| e.returns.len()).max().unwrap_or(0);
    let mut caption = format!("Each point: mean of {episodes} episodes of the deterministic policy.");
    if groups.iter().any(|g| g.runs.len() > 1) {
        caption.push_str(" Line: mean over seeds; band: lowest to highest seed.");
    }
    Curves {
        title: if by_score { "Normalised score" } else { "Return" }.to_string(),
        caption,
        y_label: String::new(),
        x: XAxis::Switch,
        series: series(groups, |e| if by_score { e.score } else { Some(e.mean()) }),
        references: references(groups, by_score),
        x_from: -(offline.unwrap_or(0) as f64),
        shared: None,
    }
}

/// Points of one run, by x: offline below 0, online above.
type Points = Vec<(f64, f64)>;

/// A line per group, and one per offline training that several share.
fn series(groups: &[Group], value: impl Fn(&Evaluation) -> Option<f64>) -> Vec<Series> {
    let all: Vec<Vec<Points>> = groups.iter().map(|g| g.curves(&value)).collect();
    let part = |curves: &[Points], of: fn(f64) -> bool| -> Vec<Points> {
        curves.iter().map(|c| c.iter().copied().filter(|p| of(p.0)).collect()).collect()
    };
    let before = |curves: &[Points]| part(curves, |x| x < 0.0);
    let goes_on = |curves: &[Points]| curves.iter().flatten().any(|p| p.0 > 0.0);
    let mut series: Vec<Series> = Vec::new();
    let mut shared: Vec<Vec<Points>> = Vec::new();
    for (i, (group, curves)) in groups.iter().zip(&all).enumerate() {
        let mine = before(curves);
        let trained = mine.iter().any(|c| !c.is_empty()) && goes_on(curves);
        let twin = |(j, other): (usize, &Vec<Points>)| j != i && goes_on(other) && before(other) == mine;
        if !(trained && all.iter().enumerate().any(twin)) {
            series.push(Series::over_runs(group.label.clone(), i, curves));
            continue;
        }
        if !shared.contains(&mine) {
            let label = format!("{} offline (shared)", group.runs[0].option("run", "algo"));
            // The line ends where the online ones begin.
            let line = Series::over_runs(label, 0, &part(curves, |x| x <= 0.0));
            series.push(Series { colour: None, ..line });
            shared.push(mine);
        }
        series.push(Series::over_runs(group.label.clone(), i, &part(curves, |x| x >= 0.0)));
    }
    series
}

/// What the data themselves reach. Of several data sets nothing would say whose line is whose; the table has them.
fn references(groups: &[Group], by_score: bool) -> Vec<(String, f64)> {
    let [facts] = datasets(groups)[..] else { return Vec::new() };
    let (mean, best) = match by_score {
        true => (facts.score_mean, facts.score_best_tenth),
        false => (facts.return_mean, facts.return_best_tenth),
    };
    let known = [("data, mean", mean), ("data, best tenth", best)];
    known.into_iter().filter_map(|(name, v)| Some((name.to_string(), v?))).collect()
}

/// One chart per section of a run's metrics and per phase in which they were recorded.
pub fn metric_charts(run: &Run) -> Vec<Curves> {
    let Some(table) = &run.metrics else {
        return Vec::new();
    };
    let mut sections: Vec<&str> = Vec::new();
    for about in &run.about {
        if !sections.contains(&about.section.as_str()) {
            sections.push(&about.section);
        }
    }
    let mut charts = Vec::new();
    for phase in [Phase::Offline, Phase::Online] {
        let x = |s: &Stamp| match phase {
            Phase::Offline => s.update as f64,
            Phase::Online => s.env_step as f64,
        };
        for section in &sections {
            let mut series: Vec<Series> = Vec::new();
            let mut unit = "";
            for about in run.about.iter().filter(|a| a.section == *section) {
                let rows = table.column(&about.name).into_iter().filter(|(s, _)| s.phase == phase);
                let points: Vec<(f64, f64)> = rows.map(|(s, v)| (x(&s), v)).collect();
                if !points.is_empty() {
                    unit = &about.unit;
                    series.push(Series::new(about.name.clone(), series.len(), points));
                }
            }
            if series.is_empty() {
                continue;
            }
            let steps = match phase {
                Phase::Offline => "updates",
                Phase::Online => "environment steps",
            };
            charts.push(Curves {
                title: format!("{section}, {}", phase.word()),
                caption: String::new(),
                y_label: unit.to_string(),
                x: XAxis::Plain(steps.into()),
                series,
                references: Vec::new(),
                x_from: 0.0,
                shared: None,
            });
        }
    }
    charts
}
