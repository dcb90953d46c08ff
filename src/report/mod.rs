//! Runs as pictures and pages.
//!
//! A report is made from the files of run directories alone: it knows no algorithm, and can be
//! made again at any time, also while a run is still going on.

pub(crate) mod axis;
mod bars;
mod braille;
pub(crate) mod canvas;
mod curves;
mod font;
mod frame;
mod histogram;
mod html;
mod panels;
mod plot;
mod run;
mod scatter;
pub(crate) mod sections;
mod standing;
mod summary;
pub(crate) mod terminal;

pub use bars::{Bar, Bars};
pub use canvas::Chart;
pub use curves::{learning_curves, metric_charts};
pub use font::text_width;
pub use histogram::Histogram;
pub use html::{Illustration, page};
pub use panels::Panels;
pub use plot::{Curves, Series, XAxis};
pub use run::Run;
pub use scatter::Scatter;
pub use standing::{Standing, State};
pub use summary::{Group, LAST, OnlineFigures, WINDOW, group};

use crate::checkpoint::atomic::{create_directories, write_atomic};
use crate::train::rundir::{self, RunError};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Reads the runs and writes `report.html`, `curves.svg` and `curves.png` into `out`, replacing
/// older ones of this program and nothing else. Runs that differ only by their seed are drawn as one line with a band;
/// `shown` are moving pictures on the page. Gives back the page's path. Errors: those of [`Run::load`]; a page or
/// pictures of others are there; a file cannot be written.
pub fn write(
    out: &Path,
    title: &str,
    runs: &[PathBuf],
    notes: &[String],
    shown: &[Illustration],
) -> Result<PathBuf, RunError> {
    let runs: Result<Vec<Run>, RunError> = runs.iter().map(|dir| Run::load(dir)).collect();
    let groups = group(runs?);
    let report = out.join(rundir::REPORT);
    refuse_foreign(&report)?;
    let curves = learning_curves(&groups);
    let (svg, png) = (out.join(rundir::CURVES_SVG), out.join(rundir::CURVES_PNG));
    let of_run = out.join(rundir::CONFIG).exists();
    if !report.exists() && !of_run {
        // Elsewhere the page comes first, so that pictures without it are somebody else's.
        [&svg, &png].into_iter().try_for_each(|picture| refuse_existing(picture))?;
    }
    create_directories(out).map_err(RunError::io(out, "create the directory"))?;
    let page = || write_page(&report, &html::page(title, &groups, notes, shown));
    // In a run's directory it comes last: it says that all is there.
    if !of_run {
        page()?;
    }
    let (width, height) = html::WIDE;
    write_atomic(&svg, curves.svg(width, height).as_bytes()).map_err(RunError::io(&svg, "write the file"))?;
    curves.png(&png, width, height)?;
    if of_run {
        page()?;
    }
    Ok(report)
}

/// Writes a page, replacing an older one of this program and nothing else. Errors: something else is at `path`; the
/// file cannot be written.
pub fn write_page(path: &Path, page: &str) -> Result<(), RunError> {
    refuse_foreign(path)?;
    write_atomic(path, page.as_bytes()).map_err(RunError::io(path, "write the file"))
}

/// An error if there is something at `path` that is not a page of this program. In the directory of a run the names of
/// its pages are.
fn refuse_foreign(path: &Path) -> Result<(), RunError> {
    let in_run = path.with_file_name(rundir::CONFIG).is_file();
    if in_run && [rundir::REPORT, rundir::AUDIT].iter().any(|name| path.ends_with(name)) {
        return Ok(());
    }
    let ours = |path: &Path| -> std::io::Result<bool> {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        Ok(String::from_utf8_lossy(&head).contains(html::GENERATOR))
    };
    if path.is_file() && ours(path).map_err(RunError::io(path, "read the file"))? {
        return Ok(());
    }
    refuse_existing(path)
}

fn refuse_existing(path: &Path) -> Result<(), RunError> {
    match path.symlink_metadata() {
        Ok(_) => Err(RunError::Foreign { path: path.into() }),
        Err(_) => Ok(()),
    }
}

/// Bytes in which the head of a page says who made it.
const HEAD: u64 = 1024;

#[cfg(test)]
mod tests;
