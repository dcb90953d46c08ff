//! `baq study plan`: what a study will cost.

use std::collections::BTreeSet;
use std::path::Path;

use baq_datasets::embedded_hopper;
use clap::Args;
use serde_json::json;

use super::super::{Common, Outcome, Verdict};
use super::asked::{Asked, cell_threads};
use crate::config::{DataConfig, RunConfig};
use crate::study::cost::{self, Cost};
use crate::study::graph::{Graph, folder};
use crate::study::local::duration;
use crate::study::{Cell, Kind, State, Study};
use crate::suite::{self, PREFIX};
use crate::train::TrainError;
use crate::train::data::EMBEDDED;

/// Plan a study.
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    asked: Asked,
    /// cores that the time is told for; may be repeated
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2, 16, 64, 1024],
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cores: Vec<u32>,
}

/// The cells of one (kind, label).
struct Row {
    kind: Kind,
    label: String,
    cells: usize,
    done: usize,
    /// folders of what a cell waits for
    needs: String,
    each: f64,
    /// what is left, also of cells that have begun
    left: Cost,
}

impl Plan {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let study = self.asked.study(common)?;
        let costs = cost::measure(&study.graph)?;
        let mut rows: Vec<Row> = Vec::new();
        // The share of every cell that is still to be made.
        let shares: Vec<f64> = study.left().iter().map(|done| done.map_or(0.0, |done| 1.0 - done)).collect();
        for (i, (cell, cost)) in study.graph.cells.iter().zip(&costs).enumerate() {
            let same = |row: &&mut Row| (row.kind, &row.label) == (cell.kind, &cell.label);
            let row = match rows.iter_mut().find(same) {
                Some(row) => row,
                None => {
                    rows.push(Row::new(cell, &study.graph));
                    rows.last_mut().expect("invariant: it was just put there")
                }
            };
            row.add(*cost, shares[i], study.state(cell) == State::Done);
        }
        let threads = cell_threads(common);
        let of_cores = |seconds: f64| seconds * f64::from(threads);
        let seconds = of_cores(rows.iter().map(|row| row.left.seconds).sum());
        let shared = shared(&study)?;
        let bytes: f64 = rows.iter().map(|row| row.left.bytes).sum::<f64>() + shared;
        let needs: Vec<Vec<usize>> = study.graph.cells.iter().map(|cell| cell.needs().collect()).collect();
        let left: Vec<f64> = costs.iter().zip(&shares).map(|(cost, share)| share * cost.seconds).collect();
        let times = self.cores.iter().map(|cores| {
            let at_once = (cores / u32::from(threads)).max(1);
            // Threads that share a core take turns.
            let turns = (f64::from(threads) / f64::from(*cores)).max(1.0);
            let taken = cost::schedule(&needs, &left, at_once as usize) * turns;
            let busy = if taken > 0.0 { seconds / (taken * f64::from(*cores)) } else { 0.0 };
            (cores, taken, busy)
        });
        let chain = cost::longest_chain(&needs, &left);
        if common.json {
            let cells = study.graph.cells.iter().zip(&costs).enumerate().map(|(i, (cell, cost))| {
                json!({
                    "cell": i, "kind": cell.kind.name(), "data": cell.data, "label": cell.label, "seed": cell.seed,
                    "folder": cell.folder(), "words": cell.words, "needs": needs[i],
                    "seconds": cost.seconds, "bytes": cost.bytes,
                })
            });
            let cells: Vec<_> = cells.collect();
            println!(
                "{}",
                json!({
                    "study": study.spec.title(), "cells": cells, "core_hours": seconds / 3600.0, "threads": threads, "bytes": bytes, "shared_bytes": shared,
                    "longest_chain_seconds": chain,
                    "cores": times.map(|(n, taken, busy)| json!({ "cores": n, "seconds": taken, "busy": busy })).collect::<Vec<_>>(),
                })
            );
            return Ok(Verdict::Done);
        }
        let about = &study.spec.about;
        println!("{}{}{about}", study.spec.title(), if about.is_empty() { "" } else { ": " });
        println!("data: {}; seeds: {}", study.spec.data.join(", "), study.spec.seeds);
        let unbuilt = unbuilt(&study)?;
        if unbuilt > 0 {
            println!("data to be built before: {:.2} GB", unbuilt as f64 / 1e9);
        }
        println!("\n{:<13} {:<24} {:>6} {:>6} {:>14} {:>14}  needs", "", "", "cells", "done", "each", "left");
        for row in &rows {
            println!(
                "{:<13} {:<24} {:>6} {:>6} {:>14} {:>14}  {}",
                row.kind.name(),
                row.label,
                row.cells,
                row.done,
                duration(row.each),
                duration(of_cores(row.left.seconds)),
                row.needs
            );
        }
        println!(
            "\nleft: {} of one core, {:.2} GB ({:.2} GB of them data that cells share, while they run); measured here just now, {threads} thread{} a cell; episodes taken at full length",
            duration(seconds),
            bytes / 1e9,
            shared / 1e9,
            if threads == 1 { "" } else { "s" }
        );
        println!("\n{:>6} {:>14} {:>7}", "cores", "takes", "busy");
        for (n, taken, busy) in times {
            println!("{n:>6} {:>14} {:>5.0} %", duration(taken), 100.0 * busy);
        }
        println!("the longest chain of cells takes {}: no number of cores takes less", duration(chain));
        Ok(Verdict::Done)
    }
}

/// Bytes of its data in the suite that are not there yet.
fn unbuilt(study: &Study) -> Result<u64, TrainError> {
    let data = study.data().filter(|data| data.file.starts_with(PREFIX));
    data.map(|data| Ok(suite::unbuilt(&data.file)?.unwrap_or(0))).sum()
}

/// Bytes of what the cells that are left will share, about: for every data set, and every way of scaling it, its columns and
/// its rows in one or two layouts.
pub(super) fn shared(study: &Study) -> Result<f64, TrainError> {
    // Of what the files take, which hold some further columns and most states once.
    const TIMES: f64 = 3.0;
    let left = study.left();
    let cells = study.graph.cells.iter().zip(left).filter(|(_, left)| left.is_some()).map(|(cell, _)| cell);
    let reads = |cell: &&Cell| !cell.config.section::<RunConfig>().dataset.is_empty();
    let way = |cell: &Cell| (cell.data.clone(), format!("{:?}", cell.config.section::<DataConfig>()));
    let ways: BTreeSet<_> = cells.filter(reads).map(way).collect();
    let mut bytes = 0;
    for data in ways.iter().filter_map(|(name, _)| study.place.data.get(name)) {
        bytes += match data.file.as_str() {
            EMBEDDED => embedded_hopper().len() as u64,
            file if file.starts_with(PREFIX) => suite::bytes(file)?,
            file => size(Path::new(file)),
        };
    }
    Ok(TIMES * bytes as f64)
}

/// Bytes of a file or of all files of a folder, as far as they can be seen.
fn size(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_symlink()))
            .map(|entry| size(&entry.path()))
            .sum(),
        Err(_) => path.metadata().map_or(0, |m| m.len()),
    }
}

impl Row {
    fn new(cell: &Cell, graph: &Graph) -> Row {
        let (kind, label) = (cell.kind, cell.label.clone());
        let needs = cell.needs().map(|need| &graph.cells[need]).map(|need| folder(need.kind, &need.label));
        let needs = needs.collect::<Vec<_>>().join(", ");
        Row { kind, label, cells: 0, done: 0, needs, each: 0.0, left: Cost::default() }
    }

    fn add(&mut self, cost: Cost, left: f64, done: bool) {
        self.cells += 1;
        self.done += usize::from(done);
        self.each = self.each.max(cost.seconds);
        self.left.seconds += left * cost.seconds;
        self.left.bytes += left * cost.bytes;
    }
}
