//! `baq study`: a question as a file, answered by paired runs.

mod asked;
mod cell;
mod figures;
mod folder;
mod held;
mod plan;
mod resolve;
mod run;
mod sets;
mod status;
mod table;

use clap::Subcommand;

use super::{Common, Outcome};
use crate::train::TrainError;

/// Questions as files, answered by paired runs.
#[derive(Debug, Subcommand)]
pub enum StudyCommand {
    /// Say what a study consists of and what it will cost, without running anything
    Plan(plan::Plan),
    /// Run what is missing of a study, here or on Slurm
    Run(run::Run),
    /// Say how far a study is
    Status(status::Status),
    /// Answer a study in tables: on the terminal, as CSV, Markdown, LaTeX and HTML
    Table(table::Table),
    /// Answer a study in pictures: curves, bars, differences, profiles, actions
    Figures(figures::Figures),
    /// Run one cell of a study; what `run` does for each
    Cell(cell::Cell),
}

impl StudyCommand {
    /// Threads of this process, if they are not the usual ones: a plan is measured as cells run.
    pub fn threads(&self, common: Common) -> Option<u16> {
        matches!(self, StudyCommand::Plan(_)).then(|| asked::cell_threads(common))
    }

    /// Runs the command. Errors: `--seed`; a file that is no study, or a directory that holds none; what the subcommand
    /// refuses.
    pub fn run(self, common: Common) -> Outcome {
        if common.seed.is_some() {
            return Err(TrainError::Input("--seed: a study has seeds of its own; leave it out".into()));
        }
        match self {
            StudyCommand::Plan(c) => c.run(common),
            StudyCommand::Run(c) => c.run(common),
            StudyCommand::Status(c) => c.run(common),
            StudyCommand::Table(c) => c.run(common),
            StudyCommand::Figures(c) => c.run(common),
            StudyCommand::Cell(c) => c.run(common),
        }
    }
}
