//! Runs as pictures and pages.
//!
//! A report is made from the files of run directories alone: it knows no algorithm, and can be
//! made again at any time, also while a run is still going on.

pub mod axis;
pub mod canvas;
pub mod curves;
mod frame;
pub mod html;
pub mod plot;
pub mod sections;
pub mod summary;

pub use canvas::Chart;
pub use curves::{learning_curves, metric_charts};
pub use html::page;
pub use plot::{Curves, Histogram, Series, XAxis};
pub use summary::{Group, OnlineFigures, Run, group};

use crate::checkpoint::atomic::write_atomic;
use crate::train::rundir::{self, RunError};
use std::path::{Path, PathBuf};

/// Reads the runs and writes `report.html`, `curves.svg` and `curves.png` into `out`, replacing
/// older ones. Runs that differ only by their seed are drawn as one line with a band. Gives
/// back the page's path.
pub fn write(out: &Path, title: &str, runs: &[PathBuf], notes: &[String]) -> Result<PathBuf, RunError> {
    let runs: Result<Vec<Run>, RunError> = runs.iter().map(|dir| Run::load(dir)).collect();
    let groups = group(runs?);
    std::fs::create_dir_all(out).map_err(RunError::io(out, "create the directory"))?;
    let save = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        write_atomic(&path, bytes).map_err(RunError::io(&path, "write the file"))?;
        Ok(path)
    };
    let curves = learning_curves(&groups);
    save(rundir::CURVES_SVG, curves.svg(900, 460).as_bytes())?;
    let picture = out.join(rundir::CURVES_PNG);
    curves
        .png(&picture, 900, 460)
        .map_err(|e| RunError::io(&picture, "write the picture")(std::io::Error::other(e)))?;
    save(rundir::REPORT, page(title, &groups, notes).as_bytes())
}

#[cfg(test)]
mod tests;
