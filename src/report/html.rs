//! One page that holds everything: text, tables, pictures, style and a small script in a single file.

use super::axis::value;
use super::canvas::Chart;
use super::curves;
use super::histogram::Histogram;
use super::run::Run;
use super::summary::{self, Figures, Group, LAST, Spread, WINDOW};
use crate::train::metrics::{DatasetFacts, Distribution, Evaluation, Phase};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The style sheet: one column on a phone, two for charts on a desk; colours by the reader's
/// preference. The chart colours are those of `canvas`, found by their attributes and exchanged
/// in the dark.
const STYLE: &str = include_str!("style.css");

/// Shows values under the pointer. Without it everything else of the page is there.
const HOVER: &str = include_str!("hover.js");

/// The size of the learning curve, on a page and as a picture: so their ticks are the same.
pub(super) const WIDE: (u32, u32) = (1000, 440);

/// What is not known.
const NONE: &str = "\u{2013}";

/// A chart under its title.
fn figure(chart: &impl Chart, content: Markup) -> Markup {
    html! {
        figure {
            figcaption {
                b { (chart.title()) }
                @if !chart.caption().is_empty() { " " span { (chart.caption()) } }
            }
            (content)
        }
    }
}

/// A chart in two shapes, of which the style shows the one that suits the screen.
fn large_figure(chart: &impl Chart) -> Markup {
    let wide = chart.inline_svg(WIDE.0, WIDE.1);
    figure(chart, html! { div.wide { (wide) } div.narrow { (chart.inline_svg(380, 380)) } })
}

/// One of several charts side by side.
pub(super) fn small_figure(chart: &impl Chart) -> Markup {
    figure(chart, chart.inline_svg(480, 280))
}

fn spread(s: &Option<Spread>, class: Option<&str>) -> Markup {
    match s {
        None => html! { td.none { (NONE) } },
        Some(s) => html! {
            td class=[class] {
                (value(s.mean))
                @if s.low != s.high { " " small { (value(s.low)) " to " (value(s.high)) } }
            }
        },
    }
}

fn results_table(groups: &[Group], by_score: bool) -> Markup {
    let figure = |e: &Evaluation| if by_score { e.score } else { Some(e.mean()) };
    let evaluations = groups.iter().flat_map(|g| &g.runs).flat_map(|r| &r.evaluations);
    let online = evaluations.into_iter().any(|e| e.stamp.phase == Phase::Online);
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th { "method" } th { "runs" } th { "offline, last " (LAST) }
                        @if online {
                            th { "at the switch" } th { "lowest online" } th { "online, last " (LAST) }
                            th { "online, all in (0, " (WINDOW / 1000) "k]" }
                        }
                        th { "last one" } th { "best one" }
                    }
                }
                tbody {
                    @for group in groups { (results_row(group, group.result(figure), online)) }
                }
            }
        }
    }
}

fn results_row(group: &Group, figures: Figures, online: bool) -> Markup {
    let (n, all) = (group.evaluated(), group.runs.len());
    let Figures { offline, switch, lowest, online: tuned, window, last, best } = figures;
    html! {
        tr {
            th { (group.label) }
            td { @if (1..all).contains(&n) { (n) " of " } (all) } (spread(&offline, None))
            @if online { @for figure in [switch, lowest, tuned, window] { (spread(&figure, None)) } }
            (spread(&last, None)) (spread(&best, Some("aside")))
        }
    }
}

/// What the data themselves reach.
fn results_of_data(groups: &[Group], by_score: bool) -> Markup {
    let (datasets, common) = (summary::datasets(groups), summary::common_data(groups).is_some());
    let reached = |facts: &DatasetFacts| match by_score {
        true => facts.score_mean.zip(facts.score_best_tenth),
        false => facts.return_mean.zip(facts.return_best_tenth),
    };
    html! {
        @for facts in datasets {
            @if let Some((mean, best)) = reached(facts) {
                p.hint {
                    @if common { "The data themselves" } @else { (facts.name) }
                    ": mean " (value(mean)) ", best tenth of the episodes " (value(best)) "."
                }
            }
        }
    }
}

fn dataset_table(facts: &DatasetFacts) -> Markup {
    let figure = |x: Option<f64>| x.map_or(NONE.into(), value);
    let open = facts.episodes.saturating_sub(facts.complete);
    let complete = format!("{} ({} complete, {open} unfinished)", facts.episodes, facts.complete);
    let spread = format!("{} \u{b1} {}", figure(facts.return_mean), figure(facts.return_std));
    let range = format!("{} to {}", figure(facts.return_min), figure(facts.return_max));
    let [mean, min, max] = [facts.length_mean, facts.length_min, facts.length_max].map(figure);
    let rows = [
        ("file", facts.name.clone()),
        ("transitions", facts.transitions.to_string()),
        ("used in training", facts.used.to_string()),
        ("episodes", complete),
        ("terminals", facts.terminals.to_string()),
        ("timeouts", facts.timeouts.to_string()),
        ("unflagged ends", facts.seams.to_string()),
        ("return, mean \u{b1} std", spread),
        ("return, least to greatest", range),
        ("return, best tenth of episodes", figure(facts.return_best_tenth)),
        ("episode length", format!("{mean}, from {min} to {max}")),
    ];
    html! {
        div.scroll {
            table.facts {
                tbody {
                    @for (name, text) in &rows { tr { th { (name) } td { (text) } } }
                    @if let (Some(mean), Some(best)) = (facts.score_mean, facts.score_best_tenth) {
                        tr {
                            th { "normalised score, mean and best tenth" }
                            td { (value(mean)) " and " (value(best)) }
                        }
                    }
                    @for note in &facts.notes { tr { th { "note" } td { (note) } } }
                    @if !facts.sha256.is_empty() { tr { th { "SHA-256" } td { code { (facts.sha256) } } } }
                }
            }
        }
    }
}

/// Options that all groups have and that differ; below them, folded away, those that only some methods have.
fn differences_table(groups: &[Group]) -> Markup {
    let (own, shared): (Vec<_>, Vec<_>) =
        summary::differences(groups).into_iter().partition(|(_, values)| values.iter().any(|v| v.is_empty()));
    html! {
        @if groups.len() > 1 && !(own.is_empty() && shared.is_empty()) {
            h2 { "What differs" }
            @if !shared.is_empty() { (options_table(groups, &shared)) }
            @if !own.is_empty() {
                details {
                    summary { (own.len()) " options that not every method has" }
                    (options_table(groups, &own))
                }
            }
        }
    }
}

/// One row an option, one column a group.
fn options_table(groups: &[Group], options: &[(String, Vec<String>)]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "option" } @for group in groups { th { (group.label) } } } }
                tbody {
                    @for (place, values) in options {
                        tr {
                            th { code { (place) } }
                            @for v in values { td { @if v.is_empty() { (NONE) } @else { (v) } } }
                        }
                    }
                }
            }
        }
    }
}

/// Metrics of all runs, then histograms of each.
fn diagnostics(groups: &[Group]) -> Markup {
    let charts = curves::metric_charts(groups);
    let titled = |group: &Group, run: &Run| -> Vec<Distribution> {
        let title = |of: &Distribution| format!("{}{}", of.title, summary::place([group]));
        run.distributions.iter().map(|of| Distribution { title: title(of), ..of.clone() }).collect()
    };
    let spread: Vec<(&Group, &Run)> =
        groups.iter().flat_map(|g| g.runs.iter().map(move |r| (g, r))).collect();
    let spread: Vec<_> = spread.into_iter().filter(|(_, run)| !run.distributions.is_empty()).collect();
    html! {
        @if !charts.is_empty() {
            h2 { "Metrics" }
            p.hint { (curves::HOW_METRICS_ARE_DRAWN) }
            div.charts { @for chart in &charts { (small_figure(chart)) } }
        }
        @if !spread.is_empty() { h2 { "Weights and priorities at the end" } }
        @for (i, (group, run)) in spread.iter().enumerate() {
            details open[i == 0] {
                summary { (group.label) ", seed " (run.option("run", "seed")) }
                div.charts { @for of in titled(group, run) { (small_figure(&Histogram { of: &of })) } }
            }
        }
    }
}

/// How far runs have come, if one is not all there.
fn progress_table(groups: &[Group]) -> Markup {
    let open = groups.iter().any(|g| g.unfinished().is_some());
    html! {
        @if open {
            h2 { "Progress" }
            div.scroll {
                table {
                    thead { tr { th { "run" } th { "seed" } th { "state" } th { "done" } th { "evaluations" } th { "last return" } } }
                    tbody {
                        @for (group, run) in groups.iter().flat_map(|g| g.runs.iter().map(move |r| (g, r))) {
                            tr {
                                th { (group.label) }
                                td { (run.option("run", "seed")) }
                                td { (run.standing.state.word()) }
                                td { (run.standing.progress()) }
                                td { (run.evaluations.len()) }
                                td { (run.last().map_or(NONE.into(), |(_, mean, _)| value(mean))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn glossary(groups: &[Group]) -> Markup {
    let mut all: Vec<_> = Vec::new();
    for about in groups.iter().flat_map(|g| &g.runs).flat_map(|r| &r.about) {
        if all.iter().all(|known: &&crate::train::metrics::MetricAbout| known.name != about.name) {
            all.push(about);
        }
    }
    html! {
        @if !all.is_empty() {
            details {
                summary { "What the metrics mean" }
                div.scroll {
                    table.facts {
                        thead { tr { th { "column" } th { "meaning" } th { "unit" } } }
                        tbody {
                            @for about in all {
                                tr { th { code { (about.name) } } td { (about.formula) } td { (about.unit) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The facts under the title, for instance `hopper-medium · hopper-v4 · seeds 0, 1`. No times: equal runs have equal pages.
fn subtitle(groups: &[Group]) -> String {
    let runs: Vec<&Run> = groups.iter().flat_map(|g| &g.runs).collect();
    let distinct = |of: &dyn Fn(&Run) -> String| {
        let mut all: Vec<String> = Vec::new();
        for text in runs.iter().map(|run| of(run)) {
            if !text.is_empty() && !all.contains(&text) {
                all.push(text);
            }
        }
        all
    };
    let mut facts =
        vec![distinct(&Run::data).join(", "), distinct(&|run| run.option("run", "env")).join(", ")];
    let mut seeds = distinct(&|run| run.option("run", "seed"));
    seeds.sort_by_key(|seed| seed.parse::<u64>().ok());
    if !seeds.is_empty() {
        facts.push(format!("{} {}", if seeds.len() == 1 { "seed" } else { "seeds" }, seeds.join(", ")));
    }
    facts.retain(|fact| !fact.is_empty());
    facts.join(" \u{b7} ")
}

/// What the pages of this program have in their heads, by which it knows them.
pub(super) const GENERATOR: &str = "<meta name=\"generator\" content=\"baq\">";

/// A page around its own content.
pub(super) fn document(title: &str, subtitle: &str, notes: &[String], content: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                (PreEscaped(GENERATOR))
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { (title) }
                        p.sub { (subtitle) }
                        @for note in notes { p.note { (note) } }
                    }
                    (content)
                }
                script { (PreEscaped(HOVER)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// A moving picture.
pub struct Illustration {
    /// stands above it
    pub title: String,
    /// an animated GIF
    pub gif: Vec<u8>,
}

/// Illustrations side by side, inside the page.
fn illustrations(all: &[Illustration]) -> Markup {
    html! {
        @if !all.is_empty() {
            h2 { "Episodes" }
            div.charts {
                @for one in all {
                    figure {
                        figcaption { b { (one.title) } }
                        img alt=(one.title) src={ "data:image/gif;base64," (BASE64_STANDARD.encode(&one.gif)) };
                    }
                }
            }
        }
    }
}

/// The page for one run or a comparison of several. `notes` are paragraphs of plain text that
/// stand under the title, such as a verdict or a warning; `shown` are moving pictures below the results.
pub fn page(title: &str, groups: &[Group], notes: &[String], shown: &[Illustration]) -> String {
    let datasets = summary::datasets(groups);
    let content = html! {
        h2 { "Learning" }
        (large_figure(&curves::learning_curves(groups)))
        (progress_table(groups))
        h2 { "Results" }
        @if summary::scored(groups) {
            h3 { "Normalised score" }
            (results_table(groups, true)) (results_of_data(groups, true))
            h3 { "Return" }
        }
        (results_table(groups, false)) (results_of_data(groups, false))
        p.hint {
            "Headline: mean of the last " (LAST) " evaluations of a phase. The best one is given for the record; "
            "choosing it afterwards would flatter."
            @if groups.iter().any(|g| g.runs.len() > 1) { " Small figures: lowest and highest seed." }
            @if groups.iter().any(|g| g.evaluated() < g.runs.len()) { " Runs without an evaluation are in no mean." }
            @if groups.iter().any(|g| g.runs.len() > 1 && g.unfinished().is_some()) {
                " Where seeds are not equally far, all of them are taken up to the last evaluation that they have in common."
            }
        }
        (illustrations(shown))
        (differences_table(groups))
        (diagnostics(groups))
        (glossary(groups))
        @if !datasets.is_empty() {
            h2 { "Data" }
            @for facts in datasets { (dataset_table(facts)) }
        }
        h2 { "Configuration" }
        @for group in groups {
            @if let Some(run) = group.runs.first() {
                details { summary { (group.label) } pre { (run.config) } }
            }
        }
    };
    document(title, &subtitle(groups), notes, content)
}
