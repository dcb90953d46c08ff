//! Cells as commands: a run of a study is what `baq train` or `baq finetune` makes of the same words.

use clap::Parser;

use super::super::finetune::Finetune;
use super::super::train::Train;
use super::super::{Common, Outcome};
use crate::algo::Given;
use crate::config::Config;
use crate::study::Resolve;
use crate::train::TrainError;

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Command<C: clap::Args> {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    command: C,
}

/// The command that these words are, with the options of all commands from `common` but for the seed.
fn parse<C: clap::Args>(words: &[String], common: Common) -> Result<(C, Common), TrainError> {
    let parsed = Command::<C>::try_parse_from(words).map_err(|e| {
        let said = e.to_string();
        let line = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string();
        TrainError::Input(line)
    })?;
    Ok((parsed.command, Common { seed: parsed.common.seed, json: false, ..common }))
}

/// Runs a cell.
pub fn run(verb: &str, words: &[String], common: Common) -> Outcome {
    match verb {
        "finetune" => parse::<Finetune>(words, common).and_then(|(command, common)| command.run(common)),
        _ => parse::<Train>(words, common).and_then(|(command, common)| command.run(common)),
    }
}

/// What words come to as commands of this process.
pub struct Commands(pub Common);

impl Resolve for Commands {
    fn train(&self, words: &[String]) -> Result<Config, TrainError> {
        let (command, common) = parse::<Train>(words, self.0)?;
        command.planned(common)
    }

    fn finetune(
        &self,
        trained: &Config,
        model: Option<&Config>,
        words: &[String],
    ) -> Result<(Config, Option<Given>), TrainError> {
        // Where it starts from is decided when it runs.
        let words: Vec<String> =
            ["--from", "-"].into_iter().map(String::from).chain(words.iter().cloned()).collect();
        let (command, common) = parse::<Finetune>(&words, self.0)?;
        command.planned(trained, model, common)
    }
}
