//! Cells as commands: a run of a study is what `baq train` or `baq finetune` makes of the same words.

use clap::Parser;

use super::super::finetune::Finetune;
use super::super::train::Train;
use super::super::{Common, Outcome};
use crate::algo::Given;
use crate::config::{Begin, Config, RunConfig};
use crate::study::Resolve;
use crate::train::TrainError;
use crate::train::reach;
use crate::train::shelf::Shelf;

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
    Ok((parsed.command, Common { seed: parsed.common.seed, ..common }))
}

/// Runs a cell, its data by way of this shelf.
pub fn run(verb: &str, words: &[String], common: Common, shelf: Shelf) -> Outcome {
    if verb == "finetune" {
        let (mut command, common) = parse::<Finetune>(words, common)?;
        command.conduct.shelf = Some(shelf);
        return command.run(common);
    }
    let (mut command, common) = parse::<Train>(words, common)?;
    command.conduct.shelf = Some(shelf);
    command.run(common)
}

/// What words come to as commands of this process.
pub struct Commands(pub Common);

impl Resolve for Commands {
    fn train(&self, words: &[String]) -> Result<Config, TrainError> {
        let (command, common) = parse::<Train>(words, self.0)?;
        let config = command.planned(common)?;
        if config.section::<RunConfig>().begin == Begin::Online {
            reach::check_learns(&config)?;
        }
        Ok(config)
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
        let (config, given) = command.planned(trained, model, common)?;
        reach::check_learns(&config)?;
        Ok((config, given))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use baq_kernels::Numerics;

    use super::*;
    use crate::study::graph::Data;
    use crate::study::{Cell, Graph, Kind, Spec, cost, paper};

    fn cells(name: &str, text: &str, scale: Option<&str>) -> Graph {
        let common = Common { threads: None, isa: None, numerics: Numerics::F32, seed: None, json: false };
        let spec = Spec::parse(name, text, scale).unwrap_or_else(|e| panic!("{e}"));
        let file = |data: &String| {
            (data.clone(), Data { file: format!("/data/{data}-v2.hdf5"), sha256: String::new() })
        };
        let files: BTreeMap<String, Data> = spec.data.iter().map(file).collect();
        Graph::new(&spec, &files, &Commands(common)).unwrap_or_else(|e| panic!("{name} {scale:?}: {e}"))
    }

    /// Every combination of methods and options that they ask for is possible, at every scale.
    #[test]
    fn the_studies_of_the_program_expand() {
        for (name, text) in paper::STUDIES {
            let table: toml::Table = text.parse().unwrap();
            let scales = table["scale"].as_table().unwrap().keys().map(String::as_str);
            for scale in scales.map(Some).chain([None]) {
                let graph = cells(name, text, scale);
                let evaluated =
                    |c: &Cell| c.config.section::<crate::config::RunConfig>().env.ends_with("-v4");
                assert!(graph.cells.iter().all(|c| evaluated(c) && cost::bytes(&c.config) > 1e6), "{name}");
            }
        }
    }

    #[test]
    fn the_first_table_shares_what_it_can() {
        let count = |scale| {
            let graph = cells("", paper::find("paper-table1").unwrap(), scale);
            let of = |kind| graph.cells.iter().filter(|c| c.kind == kind).count();
            [Kind::Offline, Kind::Model, Kind::Finetune].map(of)
        };
        // 9 data sets, 4 seeds, 2 bases, 8 methods; CQL's preset standardises states, so its model is another one than IQL's. One
        // method of the laptop's has 2 seeds only.
        assert_eq!(count(None), [72, 72, 288]);
        assert_eq!(count(Some("laptop-cql")), [6, 6, 24]);
        assert_eq!(count(Some("laptop")), [27, 27, 27 * 3 + 18]);
    }
}
