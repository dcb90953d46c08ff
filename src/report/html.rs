//! One page that holds everything: text, tables, pictures and style in a single file, no script.

use super::axis::value;
use super::canvas::Chart;
use super::curves;
use super::plot::Histogram;
use super::summary::{self, Figures, Group, LAST, Run, Spread, WINDOW};
use crate::train::metrics::{DatasetFacts, Evaluation, Phase};
use std::fmt::Write as _;

/// The style sheet: one column on a phone, two for charts on a desk; colours by the reader's
/// preference. The chart colours are those of `canvas`, found by their attributes and exchanged
/// in the dark.
const STYLE: &str = include_str!("style.css");

/// Text safe inside HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A chart in two shapes, of which the style shows the one that suits the screen.
pub(super) fn figure(chart: &impl Chart, wide: (u32, u32), narrow: (u32, u32)) -> String {
    let mut words = format!("<b>{}</b>", escaped(chart.title()));
    if !chart.caption().is_empty() {
        let _ = write!(words, " <span>{}</span>", escaped(chart.caption()));
    }
    format!(
        "<figure><figcaption>{words}</figcaption><div class=\"wide\">{}</div><div class=\"narrow\">{}</div></figure>\n",
        chart.inline_svg(wide.0, wide.1),
        chart.inline_svg(narrow.0, narrow.1)
    )
}

fn spread(s: &Option<Spread>) -> String {
    match s {
        None => "<td class=\"none\">\u{2013}</td>".into(),
        Some(s) if s.low == s.high => format!("<td>{}</td>", value(s.mean)),
        Some(s) => format!("<td>{} <small>{} to {}</small></td>", value(s.mean), value(s.low), value(s.high)),
    }
}

fn results_table(groups: &[Group], datasets: &[&DatasetFacts], by_score: bool) -> String {
    let figure = |e: &Evaluation| if by_score { e.score } else { Some(e.mean()) };
    let online = groups
        .iter()
        .flat_map(|g| &g.runs)
        .flat_map(|r| &r.evaluations)
        .any(|e| e.stamp.phase == Phase::Online);
    let mut heads = vec![format!("offline, last {LAST}")];
    if online {
        heads.extend(["at the switch".into(), "lowest online".into()]);
        heads.extend([format!("online, last {LAST}"), format!("online, all in (0, {}k]", WINDOW / 1000)]);
    }
    heads.extend(["last one".into(), "best one".into()]);
    let mut html = String::from("<div class=\"scroll\"><table><thead><tr><th>run</th><th>seeds</th>");
    for head in &heads {
        let _ = write!(html, "<th>{head}</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for group in groups {
        let Figures { offline, switch, lowest, online: tuned, window, last, best } = group.result(figure);
        let _ = write!(
            html,
            "<tr><th>{}</th><td>{}</td>{}",
            escaped(&group.label),
            group.runs.len(),
            spread(&offline)
        );
        if online {
            html.push_str(&[switch, lowest, tuned, window].map(|s| spread(&s)).concat());
        }
        html.push_str(&spread(&last));
        html.push_str(&spread(&best).replace("<td", "<td class=\"aside\""));
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>\n");
    for facts in datasets {
        let data = match by_score {
            true => facts.score_mean.zip(facts.score_best_tenth),
            false => facts.return_mean.zip(facts.return_best_tenth),
        };
        let Some((mean, best)) = data else { continue };
        let whose = match datasets.len() {
            1 => "The data themselves".into(),
            _ => escaped(&facts.name),
        };
        let _ = writeln!(
            html,
            "<p class=\"hint\">{whose}: mean {}, best tenth of the episodes {}.</p>",
            value(mean),
            value(best)
        );
    }
    html
}

fn dataset_table(facts: &DatasetFacts) -> String {
    let figure = |x: Option<f64>| x.map_or("\u{2013}".into(), value);
    let open = facts.episodes.saturating_sub(facts.complete);
    let mut rows = vec![
        ("file", escaped(&facts.name)),
        ("transitions", facts.transitions.to_string()),
        ("used in training", facts.used.to_string()),
        ("episodes", format!("{} ({} complete, {open} unfinished)", facts.episodes, facts.complete)),
        ("terminals", facts.terminals.to_string()),
        ("timeouts", facts.timeouts.to_string()),
        ("unflagged ends", facts.seams.to_string()),
        (
            "return, mean \u{b1} std",
            format!("{} \u{b1} {}", figure(facts.return_mean), figure(facts.return_std)),
        ),
        (
            "return, least to greatest",
            format!("{} to {}", figure(facts.return_min), figure(facts.return_max)),
        ),
        ("return, best tenth of episodes", figure(facts.return_best_tenth)),
        (
            "episode length",
            format!(
                "{}, from {} to {}",
                figure(facts.length_mean),
                figure(facts.length_min),
                figure(facts.length_max)
            ),
        ),
    ];
    if let (Some(mean), Some(best)) = (facts.score_mean, facts.score_best_tenth) {
        rows.push(("normalised score, mean and best tenth", format!("{} and {}", value(mean), value(best))));
    }
    rows.extend(facts.notes.iter().map(|note| ("note", escaped(note))));
    if !facts.sha256.is_empty() {
        rows.push(("SHA-256", format!("<code>{}</code>", escaped(&facts.sha256))));
    }
    let mut html = String::from("<div class=\"scroll\"><table class=\"facts\"><tbody>");
    for (name, text) in rows {
        let _ = write!(html, "<tr><th>{name}</th><td>{text}</td></tr>");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// Options that all groups have and that differ; below them, folded away, those that only some methods have.
fn differences_table(groups: &[Group]) -> String {
    let (own, shared): (Vec<_>, Vec<_>) =
        summary::differences(groups).into_iter().partition(|(_, values)| values.iter().any(|v| v.is_empty()));
    if groups.len() < 2 || (own.is_empty() && shared.is_empty()) {
        return String::new();
    }
    let mut html = String::from("<h2>What differs</h2>\n");
    if !shared.is_empty() {
        html.push_str(&options_table(groups, &shared));
    }
    if !own.is_empty() {
        let _ = write!(
            html,
            "<details><summary>{} options that not every method has</summary>\n{}</details>\n",
            own.len(),
            options_table(groups, &own)
        );
    }
    html
}

/// One row an option, one column a group.
fn options_table(groups: &[Group], options: &[(String, Vec<String>)]) -> String {
    let mut html = String::from("<div class=\"scroll\"><table><thead><tr><th>option</th>");
    for group in groups {
        let _ = write!(html, "<th>{}</th>", escaped(&group.label));
    }
    html.push_str("</tr></thead><tbody>");
    for (place, values) in options {
        let _ = write!(html, "<tr><th><code>{}</code></th>", escaped(place));
        for v in values {
            let _ = write!(html, "<td>{}</td>", if v.is_empty() { "\u{2013}".into() } else { escaped(v) });
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// The diagnostics of one run.
fn diagnostics(run: &Run) -> String {
    let mut html = String::from("<div class=\"charts\">\n");
    for chart in curves::metric_charts(run) {
        html.push_str(&figure(&chart, (540, 300), (380, 270)));
    }
    for of in &run.distributions {
        html.push_str(&figure(&Histogram { of }, (540, 300), (380, 270)));
    }
    html.push_str("</div>\n");
    html
}

fn glossary(groups: &[Group]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut rows = String::new();
    for about in groups.iter().flat_map(|g| &g.runs).flat_map(|r| &r.about) {
        if !seen.contains(&about.name.as_str()) {
            seen.push(&about.name);
            let _ = write!(
                rows,
                "<tr><th><code>{}</code></th><td>{}</td><td>{}</td></tr>",
                escaped(&about.name),
                escaped(&about.formula),
                escaped(&about.unit)
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<details><summary>What the metrics mean</summary><div class=\"scroll\"><table class=\"facts\">\
         <thead><tr><th>column</th><th>meaning</th><th>unit</th></tr></thead><tbody>{rows}</tbody></table></div></details>\n"
    )
}

/// The facts under the title, for instance `hopper-medium · hopper-v4 · seeds 0, 1`. No times: equal runs have equal pages.
fn subtitle(groups: &[Group]) -> String {
    let runs: Vec<&Run> = groups.iter().flat_map(|g| &g.runs).collect();
    let mut facts: Vec<String> = Vec::new();
    for of in [Run::data, |run: &Run| run.option("run", "env")] {
        let mut names: Vec<String> = runs.iter().map(|run| of(run)).filter(|name| !name.is_empty()).collect();
        names.sort();
        names.dedup();
        if !names.is_empty() {
            facts.push(names.join(", "));
        }
    }
    let mut seeds: Vec<String> = runs.iter().map(|r| r.option("run", "seed")).collect();
    seeds.sort();
    seeds.dedup();
    seeds.retain(|s| !s.is_empty());
    if !seeds.is_empty() {
        let word = if seeds.len() == 1 { "seed" } else { "seeds" };
        facts.push(format!("{word} {}", seeds.join(", ")));
    }
    facts.join(" \u{b7} ")
}

/// What the pages of this program have in their heads, by which it knows them.
pub(super) const GENERATOR: &str = "<meta name=\"generator\" content=\"baq\">";

/// A page up to where its own content begins.
pub(super) fn opening(title: &str, subtitle: &str, notes: &[String]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{GENERATOR}\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{0}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{0}</h1>\n<p class=\"sub\">{1}</p>\n",
        escaped(title),
        escaped(subtitle)
    );
    for note in notes {
        let _ = writeln!(html, "<p class=\"note\">{}</p>", escaped(note));
    }
    html.push_str("</header>\n");
    html
}

/// The page for one run or a comparison of several. `notes` are paragraphs of plain text that
/// stand under the title, such as a verdict or a warning.
pub fn page(title: &str, groups: &[Group], notes: &[String]) -> String {
    let datasets = summary::datasets(groups);
    let mut html = opening(title, &subtitle(groups), notes);
    html.push_str("<h2>Learning</h2>\n");
    html.push_str(&figure(&curves::learning_curves(groups), (1080, 420), (380, 380)));
    html.push_str("<h2>Results</h2>\n");
    if summary::scored(groups) {
        html.push_str("<h3>Normalised score</h3>\n");
        html.push_str(&results_table(groups, &datasets, true));
        html.push_str("<h3>Return</h3>\n");
    }
    html.push_str(&results_table(groups, &datasets, false));
    let spreads = groups.iter().any(|g| g.runs.len() > 1);
    let _ = writeln!(
        html,
        "<p class=\"hint\">Headline: mean of the last {LAST} evaluations of a phase. The best one is \
         given for the record; choosing it afterwards would flatter.{}</p>",
        if spreads { " Small figures: lowest and highest seed." } else { "" }
    );
    html.push_str(&differences_table(groups));
    if groups.iter().flat_map(|g| &g.runs).any(|r| r.metrics.is_some() || !r.distributions.is_empty()) {
        html.push_str("<h2>Diagnostics</h2>\n");
    }
    for (i, group) in groups.iter().enumerate() {
        let Some(run) = group.runs.first() else {
            continue;
        };
        if run.metrics.is_none() && run.distributions.is_empty() {
            continue;
        }
        let inside = diagnostics(run);
        if groups.len() == 1 {
            html.push_str(&inside);
        } else {
            let _ = write!(
                html,
                "<details{}><summary>{}, seed {}</summary>\n{inside}</details>\n",
                if i + 1 == groups.len() { " open" } else { "" },
                escaped(&group.label),
                escaped(&run.option("run", "seed"))
            );
        }
    }
    html.push_str(&glossary(groups));
    if !datasets.is_empty() {
        html.push_str("<h2>Data</h2>\n");
        datasets.iter().for_each(|facts| html.push_str(&dataset_table(facts)));
    }
    html.push_str("<h2>Configuration</h2>\n");
    for group in groups {
        if let Some(run) = group.runs.first() {
            let _ = write!(
                html,
                "<details><summary>{}</summary>\n<pre>{}</pre></details>\n",
                escaped(&group.label),
                escaped(&run.config)
            );
        }
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}
