//! `baq audit report`: what a run wrote down about itself, on one page.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::audit::ledger::{Entry, Kind, Ledger, Record};
use crate::audit::roundoff::{self, Row};
use crate::audit::worse;
use crate::cli::{Common, Outcome, Verdict};
use crate::report::sections::{Item, Section, sections_page};
use crate::report::{Curves, Run, Series, XAxis, group, metric_charts, write_page};
use crate::train::rundir;
use crate::train::{TrainError, metrics};

/// Make the page of the audit.
#[derive(Debug, Args)]
pub struct Report {
    /// directory of a run with a ledger or with round-off
    run: PathBuf,
    /// file to write (default: audit.html in the run)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Points of a line at most; of more, the largest of each stretch is drawn.
const POINTS: usize = 300;
/// Lines of a chart at most.
const LINES: usize = 8;

impl Report {
    pub(super) fn run(self, common: Common) -> Outcome {
        let dir = &self.run;
        let (ledger, rounded) = (dir.join(rundir::LEDGER), dir.join(rundir::ROUNDOFF));
        if !ledger.exists() && !rounded.exists() {
            return Err(TrainError::Input(format!(
                "{}: expected a run with a ledger or round-off, got neither; train with --ledger or --probe reference:every=N",
                dir.display()
            )));
        }
        let mut notes = Vec::new();
        let mut sections = Vec::new();
        if ledger.exists() {
            let ledger = Ledger::read(&ledger)?;
            notes.push(match ledger.first_break() {
                None => format!("Ledger: {} records, every link of the chain holds.", ledger.len()),
                Some(b) => format!("Ledger: the chain BREAKS at record {}: {}", b.record, b.what),
            });
            sections.push(facts(&ledger));
            sections.extend(norms(&ledger));
        }
        if rounded.exists() {
            sections.push(round_off(&roundoff::read(&rounded)?));
        }
        sections.extend(origins(&Run::load(dir)?, dir)?);
        let title = format!("Audit of {}", dir.file_name().unwrap_or_default().to_string_lossy());
        let page = sections_page(&title, &dir.display().to_string(), &notes, &sections);
        let out = self.out.clone().unwrap_or_else(|| dir.join(rundir::AUDIT));
        write_page(&out, &page)?;
        if common.json {
            println!("{}", json!({ "report": out, "notes": notes, "sections": sections.len() }));
        } else {
            notes.iter().for_each(|n| println!("{n}"));
            println!("open {} in a browser", out.display());
        }
        Ok(Verdict::Done)
    }
}

fn facts(ledger: &Ledger) -> Section {
    let h = &ledger.header;
    let mut rows = vec![
        vec!["version".into(), h.code.clone()],
        vec!["instruction set".into(), h.isa.clone()],
        vec!["numerics".into(), h.numerics.clone()],
        vec!["subnormal numbers".into(), h.subnormals.clone()],
        vec!["MuJoCo".into(), h.mujoco.clone()],
        vec!["configuration, SHA-256".into(), h.config.clone()],
        vec!["data".into(), h.dataset.clone()],
        vec!["data, SHA-256".into(), h.dataset_sha256.clone()],
        vec!["seed".into(), h.seed.to_string()],
        vec!["records".into(), ledger.len().to_string()],
    ];
    for phase in ledger.phases() {
        let names: Vec<&str> = phase.updates.iter().map(|k| k.name.as_str()).collect();
        rows.push(vec![format!("{} phase", phase.phase), names.join(", ")]);
    }
    Section {
        heading: "What it belongs to".into(),
        items: vec![Item::Table(vec!["".into(), "".into()], rows)],
    }
}

/// Lines over updates, of which there have been so many.
fn curves(title: String, y_label: &str, series: Vec<Series>, updates: usize) -> Item {
    let shown = series.len().min(LINES);
    let mut caption = match series.len() > shown {
        true => format!("The first {shown} of {}. ", series.len()),
        false => String::new(),
    };
    if stretch(updates) > 1 {
        caption += &format!("Drawn: the largest of every {} updates.", stretch(updates));
    }
    // Online, updates are counted on from the offline ones.
    let first = series.iter().filter_map(|s| s.points.first()).map(|p| p.0).fold(f64::INFINITY, f64::min);
    let x_from = if first.is_finite() { first - 1.0 } else { 0.0 };
    Item::Curves(Curves {
        title,
        caption,
        y_label: y_label.into(),
        x: XAxis::Plain("updates".into()),
        series: series.into_iter().take(LINES).collect(),
        x_from,
        ..Curves::default()
    })
}

/// Updates that share a point of a line.
fn stretch(updates: usize) -> usize {
    updates.div_ceil(POINTS).max(1)
}

/// The largest y of each of at most [`POINTS`] stretches.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let stretch = stretch(points.len());
    let largest = |part: &[(f64, f64)]| {
        let numbers = part.iter().map(|p| p.1).filter(|y| *y != f64::NEG_INFINITY);
        let y = numbers.reduce(worse).unwrap_or(f64::NEG_INFINITY);
        (part[part.len() - 1].0, y)
    };
    points.chunks(stretch).map(largest).collect()
}

/// Zero has no logarithm; a stretch of zeros alone is a gap in the line.
fn log10(x: f64) -> f64 {
    if x == 0.0 { f64::NEG_INFINITY } else { x.log10() }
}

/// Loss, gradients and parameters of every update.
fn norms(ledger: &Ledger) -> Vec<Section> {
    let mut kinds: Vec<(String, Kind)> = Vec::new();
    for phase in ledger.phases() {
        kinds.extend(phase.updates.into_iter().map(|k| (phase.phase.clone(), k)));
    }
    let mut records: Vec<Vec<Record>> = vec![Vec::new(); kinds.len()];
    for entry in (0..ledger.len()).filter_map(|i| ledger.entry(i)) {
        let Entry::Update(record) = entry else { continue };
        if let Some(place) = records.get_mut(record.kind) {
            place.push(record);
        }
    }
    let drawn = kinds.iter().zip(&records).filter(|(_, records)| !records.is_empty());
    drawn
        .map(|((phase, kind), records)| {
            let line = |label: &str, colour: usize, y: &dyn Fn(&Record) -> f64| {
                let points = records.iter().map(|r| ((r.round + 1) as f64, y(r))).collect();
                Series::new(label, colour, thinned(points))
            };
            let n = records.len();
            let of = |norms: &dyn Fn(&Record) -> &[f32]| -> Vec<Series> {
                let each = |(k, path): (usize, &String)| {
                    line(path, k, &|r| log10(norms(r).get(k).map_or(0.0, |x| f64::from(*x))))
                };
                kind.tensors.iter().enumerate().map(each).collect()
            };
            Section {
                heading: format!("Update {}, {phase}", kind.name),
                items: vec![
                    curves("Loss".into(), "", vec![line("loss", 0, &|r| f64::from(r.loss))], n),
                    curves("Norms of gradients".into(), "log10 of the norm", of(&|r| &r.gradient_norms), n),
                    curves("Norms of parameters".into(), "log10 of the norm", of(&|r| &r.parameter_norms), n),
                ],
            }
        })
        .collect()
}

/// Errors against f64 over time, a chart per phase, and the worst of each tensor.
fn round_off(rows: &[Row]) -> Section {
    let mut losses: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if !losses.contains(&(&row.phase, &row.loss)) {
            losses.push((&row.phase, &row.loss));
        }
    }
    let mut items = vec![Item::Text(
        "Largest |x - y| / max(|y|, rms(y)) over the elements of a tensor, y computed in f64 from the same state. A unit of a \
         ReLU layer at 0 to within rounding may be on in one and off in the other; its gradients then differ by far more than \
         rounding."
            .into(),
    )];
    let mut charts: Vec<(&str, usize, Vec<Series>)> = Vec::new();
    let mut table = Vec::new();
    for (phase, loss) in &losses {
        let mine = || rows.iter().filter(|r| r.phase == *phase && r.loss == *loss);
        let mut points: Vec<(f64, f64)> = Vec::new();
        for row in mine() {
            let y = log10(row.worst());
            match points.last_mut().filter(|p| p.0 == row.update as f64) {
                Some(p) => p.1 = worse(p.1, y),
                None => points.push((row.update as f64, y)),
            }
        }
        if charts.last().is_none_or(|(of, ..)| of != phase) {
            charts.push((phase, 0, Vec::new()));
        }
        let (_, updates, series) = charts.last_mut().expect("invariant: one was just pushed");
        *updates = points.len().max(*updates);
        series.push(Series::new(*loss, series.len(), thinned(points)));
        let mut tensors: Vec<&str> = Vec::new();
        mine().for_each(|r| {
            if !tensors.contains(&r.tensor.as_str()) {
                tensors.push(&r.tensor);
            }
        });
        for tensor in tensors {
            let of = |f: &dyn Fn(&Row) -> f64| {
                let worst = mine().filter(|r| r.tensor == tensor).map(f).fold(0.0, worse);
                format!("{worst:.1e}")
            };
            let (name, after) = match tensor {
                "" => ("the loss itself", String::new()),
                _ => (tensor, of(&|r| r.parameter)),
            };
            table.push(vec![name.into(), format!("{loss}, {phase}"), of(&|r| r.gradient), after]);
        }
    }
    for (phase, updates, series) in charts {
        items.push(curves(
            format!("Worst tensor of each update, {phase}"),
            "log10 of the error",
            series,
            updates,
        ));
    }
    let heads = ["gradient of", "update", "worst error", "of the value after"].map(String::from).to_vec();
    items.push(Item::Table(heads, table));
    Section { heading: "Round-off against f64".into(), items }
}

/// Weights and priorities by origin: how they are spread at the end, and over time.
fn origins(run: &Run, dir: &std::path::Path) -> Result<Vec<Section>, TrainError> {
    let about =
        |c: &&Curves| ["weight", "priorit"].iter().any(|word| c.caption.to_lowercase().contains(word));
    let charts = metric_charts(&group(vec![run.clone()]));
    let mut items: Vec<Item> = charts.iter().filter(about).cloned().map(Item::Curves).collect();
    if dir.join(rundir::DISTRIBUTIONS).exists() {
        items.extend(metrics::read_distributions(dir)?.into_iter().map(Item::Histogram));
    }
    match items.is_empty() {
        true => Ok(Vec::new()),
        false => {
            let about = "Over time: of batches, as in metrics.csv. Histograms: of all transitions in the replay at the end, \
                         by where they come from.";
            items.insert(0, Item::Text(about.into()));
            Ok(vec![Section { heading: "Weights and priorities".into(), items }])
        }
    }
}
