//! `baq report`: runs as one page.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::named_runs::{self, Named, same};
use super::notes;
use super::{Common, Outcome, Verdict};
use crate::report::{self, Group, Run, group};
use crate::train::{TrainError, rundir};

/// Make a report.
#[derive(Debug, Args)]
pub struct Report {
    /// run directories, also of runs that go on; those that differ only by their seed become one line, and what is no run is left out
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// directory of the report (default: that of the run, or `report` beside one that has not ended or the first of several)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// title of the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

impl Report {
    /// Runs the command. Errors: nothing under a name, or no run among them; a run that cannot be read; a place for the
    /// report that is a file, is the directory of another run or of one that goes on, or holds files of others.
    pub fn run(self, common: Common) -> Outcome {
        let Named { runs: dirs, left_out } = named_runs::sort(&self.runs)?;
        let runs = dirs.iter().map(|dir| Ok(Run::load(dir)?)).collect::<Result<Vec<_>, TrainError>>()?;
        let count = runs.len();
        let groups = group(runs);
        let labels: Vec<String> = groups.iter().map(|g| g.label.clone()).collect();
        let open: Vec<String> =
            groups.iter().filter(|g| g.unfinished().is_some()).map(Group::legend).collect();
        let out = self.out(&dirs, open.is_empty())?;
        let title = self.title.clone().unwrap_or_else(|| labels.join(", "));
        let mut notes = if open.is_empty() { notes::notes(&dirs) } else { Vec::new() };
        for (group, run) in groups.iter().flat_map(|g| g.runs.iter().map(move |r| (g, r))) {
            let how = run.diverged.iter().map(|how| how.trim());
            notes.extend(
                how.map(|how| format!("{}, seed {}: {how}.", group.label, run.option("run", "seed"))),
            );
        }
        notes.extend((!open.is_empty()).then(|| format!("Partial: {}.", open.join("; "))));
        notes.extend(left_out.iter().map(|dir| format!("{}: no run, left out", dir.display())));
        let page = report::write(&out, &title, &dirs, &notes, &[])?;
        if common.json {
            println!(
                "{}",
                json!({
                    "report": page, "runs": count, "groups": labels, "unfinished": open, "left_out": left_out,
                    "curves": [out.join(rundir::CURVES_SVG), out.join(rundir::CURVES_PNG)],
                })
            );
        } else {
            for group in &groups {
                let seeds = group.runs.len();
                let open = group.unfinished().map(|open| format!("; {open}")).unwrap_or_default();
                println!("{}: {seeds} run{}{open}", group.label, if seeds == 1 { "" } else { "s" });
            }
            println!("open {} in a browser", page.display());
        }
        Ok(Verdict::Done)
    }

    /// Where the report goes. It replaces reports, and nothing else. A run's own page says that it has ended, so that of one that
    /// has not stands beside it.
    fn out(&self, runs: &[PathBuf], finished: bool) -> Result<PathBuf, TrainError> {
        let out = match (&self.out, runs) {
            (Some(out), _) => out.clone(),
            (None, [one]) if finished => one.clone(),
            (None, runs) => {
                // `.` has no name that another could stand for.
                let named = runs[0].file_name().map(|_| runs[0].clone());
                let first = named.or_else(|| runs[0].canonicalize().ok());
                first.unwrap_or_default().with_file_name("report")
            }
        };
        if out.exists() && !out.is_dir() {
            return Err(TrainError::Input(format!(
                "{}: expected a directory for the report, got a file; choose another --out",
                out.display()
            )));
        }
        let own = matches!(runs, [one] if same(&out, one));
        if own && finished || !out.join(rundir::CONFIG).exists() {
            return Ok(out);
        }
        Err(TrainError::Input(format!(
            "{}: expected a directory for the report, got that of a run{}; choose another --out",
            out.display(),
            if own { " that has not ended" } else { "" },
        )))
    }
}
