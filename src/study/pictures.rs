//! A study's figures as files.

use super::answers::Answers;
use super::figures;
use crate::checkpoint::atomic::{create_directories, remove, write_after_others};
use crate::report::{Chart as _, Panels};
use crate::train::rundir::RunError;
use std::path::{Path, PathBuf};

/// Folder of a study's figures.
pub const FOLDER: &str = "figures";

/// Writes all figures there are into a directory, as SVG and PNG: `curves`, and of the metric `scores`, `differences` and
/// `profiles`, or `scores-dip` and so on for others than the final score. Gives the paths back. Errors: the directory
/// cannot be made; those of [`write_figure`].
pub fn write(dir: &Path, answers: &Answers<'_>) -> Result<Vec<PathBuf>, RunError> {
    let name = |figure: &str| answers.metric.file(figure);
    let all = [
        ("curves".to_string(), Some(figures::curves(answers.results))),
        (name("scores"), Some(figures::scores(answers))),
        (name("differences"), figures::differences(answers)),
        (name("profiles"), figures::profiles(answers)),
    ];
    create_directories(dir).map_err(RunError::io(dir, "create the folder"))?;
    let mut written = Vec::new();
    for (name, figure) in &all {
        match figure {
            Some(figure) => written.extend(write_figure(dir, name, figure)?),
            // One of an earlier state would pass for one of this.
            None => {
                for path in paths(dir, name) {
                    remove(&path).map_err(RunError::io(&path, "remove the picture"))?;
                }
            }
        }
    }
    Ok(written)
}

fn paths(dir: &Path, name: &str) -> [PathBuf; 2] {
    ["svg", "png"].map(|kind| dir.join(format!("{name}.{kind}")))
}

/// Writes a figure as `name.svg` and `name.png`. Errors: it is too large, or a file cannot be written.
pub fn write_figure(dir: &Path, name: &str, figure: &Panels) -> Result<[PathBuf; 2], RunError> {
    let (width, height) = figure.whole();
    let [svg, png] = paths(dir, name);
    write_after_others(&svg, figure.svg(width, height).as_bytes())
        .map_err(RunError::io(&svg, "write the picture"))?;
    figure.png(&png, width, height)?;
    Ok([svg, png])
}
