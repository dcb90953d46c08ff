//! `baq report`: runs as one page.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Common, Outcome, Verdict};
use crate::report::{self, Run, group};
use crate::train::{TrainError, rundir};

/// Make a report.
#[derive(Debug, Args)]
pub struct Report {
    /// run directories; those that differ only by their seed become one line
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
        let runs = self.runs.iter().map(|dir| self.load(dir)).collect::<Result<Vec<_>, _>>()?;
        let count = runs.len();
        let groups = group(runs);
        let labels: Vec<String> = groups.iter().map(|g| g.label.clone()).collect();
        let out = self.out();
        // A report replaces reports, and nothing else.
        if out.join(rundir::CONFIG).exists() && !(count == 1 && same(&out, &self.runs[0])) {
            return Err(TrainError::Input(format!(
                "{}: expected a directory for the report, got that of a run; choose another --out",
                out.display()
            )));
        }
        let title = self.title.clone().unwrap_or_else(|| labels.join(", "));
        let page = report::write(&out, &title, &self.runs, &self.notes())?;
        if common.json {
            println!(
                "{}",
                json!({
                    "report": page, "runs": count, "groups": labels,
                    "curves": [out.join(rundir::CURVES_SVG), out.join(rundir::CURVES_PNG)],
                })
            );
        } else {
            for group in &groups {
                let seeds = group.runs.len();
                println!("{}: {seeds} run{}", group.label, if seeds == 1 { "" } else { "s" });
            }
            println!("next: open {} in a browser", page.display());
        }
        Ok(Verdict::Done)
    }

    /// The verdict of the calibration check, where a single run left one.
    fn notes(&self) -> Vec<String> {
        let [run] = &self.runs[..] else { return Vec::new() };
        super::finetune::calibration_verdict(run).into_iter().collect()
    }

    fn load(&self, dir: &Path) -> Result<Run, TrainError> {
        if !dir.join(rundir::CONFIG).is_file() {
            let got = match (dir.is_dir(), dir.exists()) {
                (true, _) => "a directory without it",
                (false, true) => "a file",
                (false, false) => "nothing",
            };
            return Err(TrainError::Input(format!(
                "{}: expected the directory of a run, with {} in it, got {got}; name what `baq train` created",
                dir.display(),
                rundir::CONFIG,
            )));
        }
        Ok(Run::load(dir)?)
    }

    fn out(&self) -> PathBuf {
        match (&self.out, &self.runs[..]) {
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
