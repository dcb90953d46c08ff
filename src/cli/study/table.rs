//! `baq study table`: what a study has come to, as tables.

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::output::terminal;
use super::super::{Common, Outcome, Verdict};
use super::held::Held;
use crate::study::answers::Answers;
use crate::study::metric::Metric;
use crate::study::results::Results;
use crate::study::{table, values};
use crate::train::TrainError;

/// Columns of a terminal that does not say how many it has.
const WIDTH: usize = 120;
/// Columns of the CSV that are words, from the first on.
const WORDS: usize = 8;

/// Answer a study in tables.
#[derive(Debug, Args)]
pub struct Table {
    #[command(flatten)]
    held: Held,
    /// what runs are judged by: final, auc, dip, best or recovery
    #[arg(long, value_name = "METRIC", default_value_t = Metric::Final)]
    metric: Metric,
}

impl Table {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let study = self.held.open(common)?;
        let results = Results::of(&study);
        let answers = Answers::of(&results, self.metric);
        let [trained, runs] = results.hours();
        if !common.json {
            println!("{}", table::table(&answers).text(width()).trim_end());
            println!(
                "hours by the cells' own clocks: {trained:.2} of trainings and models, {runs:.2} of runs"
            );
        }
        // The answer is said whether it can be written or not.
        let (files, written) = table::write(&study.dir, &answers);
        if common.json {
            println!(
                "{}",
                json!({
                    "study": study.spec.title(), "metric": self.metric.word(), "rows": objects(values::rows(&answers)),
                    "notes": answers.notes, "hours": trained + runs, "files": files,
                })
            );
        }
        written.map_err(|e| {
            TrainError::Input(format!(
                "{e}; what is printed is whole, but not all of its files are written: let the directory of the study be written to, or copy the study, move away what is in the place of a file, and repeat the command"
            ))
        })?;
        if !common.json {
            let names = files.iter().filter_map(|f| f.file_name()).map(|f| f.to_string_lossy().into_owned());
            println!("written: {} in {}", names.collect::<Vec<_>>().join(", "), study.dir.display());
        }
        Ok(Verdict::Done)
    }
}

/// Rows under their heads; what is not known is left out.
fn objects(rows: Vec<Vec<String>>) -> Vec<Value> {
    let Some((heads, rows)) = rows.split_first() else { return Vec::new() };
    let value = |column: usize, text: &String| match text.parse::<f64>() {
        Ok(number) if column >= WORDS => json!(number),
        _ => json!(text),
    };
    let object = |row: &Vec<String>| {
        let cells = row.iter().enumerate().filter(|(_, text)| !text.is_empty());
        Value::Object(cells.map(|(i, text)| (heads[i].clone(), value(i, text))).collect::<Map<_, _>>())
    };
    rows.iter().map(object).collect()
}

fn width() -> usize {
    terminal().map_or(WIDTH, |(columns, _)| columns.max(60))
}
