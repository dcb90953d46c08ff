//! Which curves a set of runs asks for.

use super::plot::{Curves, Series, XAxis};
use super::summary::{Group, Run, datasets, scored};
use crate::train::metrics::{Evaluation, Phase, Stamp};

/// Learning curves of all groups, as normalised scores where there are such, else as returns.
/// Groups that start from the same offline training share one grey line for it.
pub fn learning_curves(groups: &[Group]) -> Curves {
    let by_score = scored(groups);
    let value = |e: &Evaluation| if by_score { e.score } else { Some(e.mean()) };
    let mut series: Vec<Series> = Vec::new();
    let mut shared: Vec<Vec<Vec<(f64, f64)>>> = Vec::new();
    let offline = |curves: &[Vec<(f64, f64)>]| -> Vec<Vec<(f64, f64)>> {
        curves.iter().map(|c| c.iter().copied().filter(|p| p.0 < 0.0).collect()).collect()
    };
    let all: Vec<Vec<Vec<(f64, f64)>>> = groups.iter().map(|g| g.curves(value)).collect();
    for (i, curves) in all.iter().enumerate() {
        let mine = offline(curves);
        let before = mine.iter().any(|c| !c.is_empty());
        let online = curves.iter().flatten().any(|p| p.0 > 0.0);
        let is_shared = before
            && online
            && (0..all.len())
                .any(|j| j != i && offline(&all[j]) == mine && all[j].iter().flatten().any(|p| p.0 > 0.0));
        let drawn: Vec<Vec<(f64, f64)>> = if is_shared {
            if !shared.contains(&mine) {
                let algo = groups[i].runs[0].option("run", "algo");
                // The line ends where the online ones begin.
                let whole: Vec<Vec<(f64, f64)>> =
                    curves.iter().map(|c| c.iter().copied().filter(|p| p.0 <= 0.0).collect()).collect();
                shared.push(mine);
                let mut line = Series::over_runs(format!("{algo} offline (shared)"), 0, &whole);
                line.colour = None;
                series.push(line);
            }
            curves.iter().map(|c| c.iter().copied().filter(|p| p.0 >= 0.0).collect()).collect()
        } else {
            curves.clone()
        };
        series.push(Series::over_runs(groups[i].label.clone(), i, &drawn));
    }
    let mut references = Vec::new();
    // Lines of several data sets would say of none whose they are; the table has them.
    if let [facts] = datasets(groups)[..] {
        let figures = if by_score {
            (facts.score_mean, facts.score_best_tenth)
        } else {
            (facts.return_mean, facts.return_best_tenth)
        };
        let known = [("data, mean", figures.0), ("data, best tenth", figures.1)];
        references.extend(known.into_iter().filter_map(|(n, v)| v.map(|v| (n.to_string(), v))));
    }
    let offline_updates = groups
        .iter()
        .flat_map(|g| &g.runs)
        .flat_map(|r| r.phase(Phase::Offline))
        .map(|e| e.stamp.update)
        .max()
        .unwrap_or(0);
    let seeds = groups.iter().map(|g| g.runs.len()).max().unwrap_or(0);
    let episodes = groups
        .iter()
        .flat_map(|g| &g.runs)
        .flat_map(|r| &r.evaluations)
        .map(|e| e.returns.len())
        .max()
        .unwrap_or(0);
    let mut caption = format!("Each point: mean of {episodes} episodes of the deterministic policy.");
    if seeds > 1 {
        caption.push_str(" Line: mean over seeds; band: lowest to highest seed.");
    }
    Curves {
        title: if by_score { "Normalised score" } else { "Return" }.to_string(),
        caption,
        y_label: String::new(),
        x: XAxis::Switch,
        series,
        references,
        x_from: -(offline_updates as f64),
    }
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
            });
        }
    }
    charts
}
