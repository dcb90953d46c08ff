//! `baq study figures`: what a study has come to, as pictures.

use clap::Args;
use serde_json::json;

use super::super::{Common, Outcome, Verdict, setup};
use super::held::Held;
use crate::study::actions;
use crate::study::answers::Answers;
use crate::study::metric::Metric;
use crate::study::pictures;
use crate::study::results::Results;

/// Answer a study in pictures.
#[derive(Debug, Args)]
pub struct Figures {
    #[command(flatten)]
    held: Held,
    /// what runs are judged by: final, auc, dip, best or recovery
    #[arg(long, value_name = "METRIC", default_value_t = Metric::Final)]
    metric: Metric,
    /// not what policies and behaviour models do in the states of the data, for which data are read
    #[arg(long)]
    no_actions: bool,
}

impl Figures {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let study = self.held.open(common)?;
        let results = Results::of(&study);
        let answers = Answers::of(&results, self.metric);
        let dir = study.dir.join(pictures::FOLDER);
        let mut files = pictures::write(&dir, &answers)?;
        let mut notes = answers.notes.clone();
        if !self.no_actions {
            let compared = actions::compare(&study, |config| setup::load(config, None), &mut notes);
            files.extend(actions::write(&dir, &results, &compared)?);
        }
        if common.json {
            println!(
                "{}",
                json!({ "study": study.spec.title(), "metric": self.metric.word(), "notes": notes, "files": files })
            );
            return Ok(Verdict::Done);
        }
        notes.iter().for_each(|note| println!("- {note}"));
        files.iter().for_each(|file| println!("{}", file.display()));
        Ok(Verdict::Done)
    }
}
