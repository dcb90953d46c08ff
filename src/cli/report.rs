//! `baq report`: runs as one page.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::notes;
use super::{Common, Outcome, Verdict};
use crate::report::{self, Run, group};
use crate::train::{TrainError, rundir};

/// Make a report.
#[derive(Debug, Args)]
pub struct Report {
    /// run directories; those that differ only by their seed become one line, and folders that are no runs are left out
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// directory of the report (default: that of the run, or `report` beside the first of several)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// title of the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

impl Report {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let (dirs, left_out) = self.sorted()?;
        let runs = dirs.iter().map(|dir| Ok(Run::load(dir)?)).collect::<Result<Vec<_>, TrainError>>()?;
        let count = runs.len();
        let groups = group(runs);
        let labels: Vec<String> = groups.iter().map(|g| g.label.clone()).collect();
        let out = self.out(&dirs);
        // A report replaces reports, and nothing else.
        if out.join(rundir::CONFIG).exists() && !(count == 1 && same(&out, &dirs[0])) {
            return Err(TrainError::Input(format!(
                "{}: expected a directory for the report, got that of a run; choose another --out",
                out.display()
            )));
        }
        let title = self.title.clone().unwrap_or_else(|| labels.join(", "));
        let mut notes = notes::notes(&dirs);
        notes.extend(left_out.iter().map(|dir| format!("{}: no run, left out", dir.display())));
        let page = report::write(&out, &title, &dirs, &notes)?;
        if common.json {
            println!(
                "{}",
                json!({
                    "report": page, "runs": count, "groups": labels, "left_out": left_out,
                    "curves": [out.join(rundir::CURVES_SVG), out.join(rundir::CURVES_PNG)],
                })
            );
        } else {
            for group in &groups {
                let seeds = group.runs.len();
                println!("{}: {seeds} run{}", group.label, if seeds == 1 { "" } else { "s" });
            }
            left_out.iter().for_each(|dir| println!("{}: no run, left out", dir.display()));
            println!("open {} in a browser", page.display());
        }
        Ok(Verdict::Done)
    }

    /// The runs among what was named, and the other folders. Something else than a folder, or no run at all, is an error.
    fn sorted(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>), TrainError> {
        let mut named: Vec<PathBuf> = Vec::new();
        for dir in &self.runs {
            // One run named twice is not two seeds.
            if !named.iter().any(|known| same(known, dir)) {
                named.push(dir.clone());
            }
        }
        let (runs, others): (Vec<PathBuf>, Vec<PathBuf>) =
            named.into_iter().partition(|dir| dir.join(rundir::CONFIG).is_file());
        match others.iter().find(|dir| !dir.is_dir() || runs.is_empty()) {
            None => Ok((runs, others)),
            Some(dir) => {
                let got = match (dir.is_dir(), dir.exists()) {
                    (true, _) => "a directory without it",
                    (false, true) => "a file",
                    (false, false) => "nothing",
                };
                Err(TrainError::Input(format!(
                    "{}: expected the directory of a run, with {} in it, got {got}; name what `baq train` created",
                    dir.display(),
                    rundir::CONFIG,
                )))
            }
        }
    }

    fn out(&self, runs: &[PathBuf]) -> PathBuf {
        match (&self.out, runs) {
            (Some(out), _) => out.clone(),
            (None, [one]) => one.clone(),
            (None, runs) => runs[0].with_file_name("report"),
        }
    }
}

fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
