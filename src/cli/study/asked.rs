//! Which study a command is about, and where its data are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{Common, hints};
use super::held::STUDIES;
use super::resolve::Commands;
use super::sets::{Set, is_name};
use crate::algo::Dims;
use crate::config::{Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::env;
use crate::study::graph::Data;
use crate::study::spec::{Begin, Method};
use crate::study::{Cell, Graph, Kind, Place, Spec, Study, paper};
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::effects::{self, Stage};
use crate::train::reach;
use crate::train::start::{self, Start};
use crate::train::switch;

/// Which study.
#[derive(Clone, Debug, Args)]
pub struct Asked {
    /// file of the study, or the name of one that comes with the program
    study: String,
    /// one of its scales, as in laptop
    #[arg(long, value_name = "NAME")]
    scale: Option<String>,
    /// folder with the data sets that the study names, as NAME.hdf5 or NAME-v2.hdf5 (default: those of `baq suite list`)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// directory of the study (default: studies/NAME or studies/NAME-SCALE)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// take cells whose configuration has changed for new ones, beside what is there
    #[arg(long)]
    redo: bool,
}

impl Asked {
    /// The study in its directory; nothing is written.
    pub fn study(&self, common: Common) -> Result<Study, TrainError> {
        let (origin, text) = self.text()?;
        let spec = Spec::parse(&origin, &text, self.scale.as_deref())
            .map_err(|e| TrainError::Input(e.to_string()))?;
        let beside = Path::new(&origin).parent().unwrap_or(Path::new(""));
        if let Some(folder) = self.data.as_ref().filter(|folder| !folder.is_dir()) {
            let what = "expected a folder with the data sets of the study, found none";
            return Err(TrainError::Input(format!("--data {}: {what}", folder.display())));
        }
        if self.data.is_some() && !spec.data.iter().any(|name| is_name(name)) {
            let what = "--data: the study names paths or what the program has itself; leave it out";
            return Err(TrainError::Input(what.into()));
        }
        let sets = self.sets(&spec, beside, common)?;
        let here = baq_kernels::active();
        let place = Place {
            scale: self.scale.clone(),
            isa: here.isa.name().into(),
            numerics: here.numerics.name().into(),
            data: places(&sets),
        };
        let mut out = self.out.clone().unwrap_or_else(|| Path::new(STUDIES).join(spec.title()));
        // Commands of cells have it as a word.
        if out.as_os_str().as_encoded_bytes().starts_with(b"-") {
            out = Path::new(".").join(out);
        }
        let study = Study::new(&out, (text, spec), place, &Commands(common), self.redo)?;
        // A scale may leave out the methods that it is for.
        if study.spec.scale.is_none()
            && study.spec.model.is_stated()
            && study.graph.cells.iter().all(|cell| cell.kind != Kind::Model)
        {
            return Err(TrainError::Input(format!(
                "{}: model: expected a method with a behaviour model, got none; leave it out",
                study.spec.at("model")
            )));
        }
        check_options(&study, &sets)?;
        Ok(study)
    }

    /// The words that ask for it on a command line.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![hints::path(Path::new(&self.study))];
        words.extend(self.scale.iter().flat_map(|scale| ["--scale".to_string(), scale.clone()]));
        for (option, dir) in [("--data", &self.data), ("--out", &self.out)] {
            words.extend(dir.iter().flat_map(|dir| [option.to_string(), hints::path(dir)]));
        }
        words.extend(self.redo.then(|| "--redo".to_string()));
        words
    }

    /// The text of the study and what errors call it; a file comes before a study of the program of the same name.
    fn text(&self) -> Result<(String, String), TrainError> {
        let path = Path::new(&self.study);
        let own = paper::find(&self.study).filter(|_| !path.is_file());
        if let Some(text) = own {
            return Ok((self.study.clone(), text.into()));
        }
        let text = crate::files::read_to_string(path).map_err(|e| {
            let names = paper::STUDIES.map(|(name, _)| name).join(", ");
            TrainError::Input(format!(
                "{}: cannot read the study: {e}; those that come with the program are {names}",
                path.display()
            ))
        })?;
        Ok((self.study.clone(), text))
    }

    /// The data sets of a study, looked at as its cells will read them: what would be refused then is refused before anything
    /// runs.
    fn sets(&self, spec: &Spec, beside: &Path, common: Common) -> Result<Sets, TrainError> {
        let refuse = |name: &str, e: &TrainError| {
            TrainError::Input(format!("{}: {e}", spec.at(&format!("data {name}"))))
        };
        let mut sets = Sets::new();
        for name in &spec.data {
            let set = Set::find(name, beside, self.data.as_deref()).map_err(|e| refuse(name, &e))?;
            sets.insert(name.clone(), set);
        }
        // Seeds read alike.
        let once = Spec { seeds: 1, ..spec.clone() };
        let graph = Graph::new(&once, &places(&sets), &Commands(common));
        if graph.is_err() {
            // What cannot be read names no task, which is then missed first.
            sets.iter().try_for_each(|(name, set)| set.look().map_err(|e| refuse(name, &e)))?;
        }
        let cells = graph?.cells;
        let mut known: Vec<(&str, String)> = Vec::new();
        for name in &spec.data {
            let set = sets.get_mut(name).expect("invariant: each was put there");
            let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.data == *name).collect();
            set.read(&cells).map_err(|e| refuse(name, &e))?;
            let sha256 = set.data.sha256.clone();
            if let Some((other, _)) = known.iter().find(|(_, of)| *of == sha256 && !of.is_empty()) {
                let e = format!(
                    "data {name}: expected other data than {other}, got the same, which would count twice; leave one out"
                );
                return Err(refuse(name, &TrainError::Input(e)));
            }
            known.push((name, sha256));
        }
        Ok(sets)
    }
}

/// Data sets by their names in the study.
type Sets = BTreeMap<String, Set>;

fn places(sets: &Sets) -> BTreeMap<String, Data> {
    sets.iter().map(|(name, set)| (name.clone(), set.data.clone())).collect()
}

/// Threads of every cell, which its results do not depend on.
pub fn cell_threads(common: Common) -> u16 {
    common.threads.unwrap_or(1)
}

/// An error for an option without effect, or for options that do not go together or not with the data, which the cells would
/// refuse one after the other. Options are those of all seeds.
fn check_options(study: &Study, sets: &Sets) -> Result<(), TrainError> {
    let Study { spec, graph, .. } = study;
    for cell in graph.cells.iter().filter(|cell| cell.seed == 0) {
        let Ok(env) = env::spec(&cell.config.section::<RunConfig>().env) else { continue };
        let stage = match (cell.kind, cell.origin) {
            (Kind::Offline | Kind::Model, _) => Stage::Offline,
            (_, Some(origin)) => {
                let before = graph.cells[origin].config.section::<OfflineConfig>().updates;
                Stage::Online { before, collected: 0 }
            }
            (_, None) => Stage::Scratch,
        };
        let dims = Dims { s: env.obs_dim, a: env.act_dim, batch: 1 };
        let evaluated =
            match stage != Stage::Offline && cell.config.section::<OnlineConfig>().eval_episodes == 0 {
                true => Err(TrainError::Input(
                    "online.eval_episodes: expected at least 1, by which a study judges, got 0; leave it out"
                        .into(),
                )),
                false => Ok(()),
            };
        let checked = evaluated
            .and_then(|()| effects::check_method(&cell.config, dims, stage))
            .and_then(|()| reach::check(&cell.config, dims, stage))
            .and_then(|()| can_begin(&cell.config, dims, stage, sets[&cell.data].rows(&cell.config)))
            .and_then(|()| cell.origin.map_or(Ok(()), |origin| discounts(&graph.cells[origin], cell)));
        checked.map_err(|e| {
            let begins = |m: &&Method| match &m.begin {
                _ if stage != Stage::Offline => m.label == cell.label,
                Begin::From { offline, .. } => cell.kind == Kind::Offline && *offline == cell.label,
                Begin::Scratch { .. } => false,
            };
            let place = match spec.methods.iter().find(begins) {
                Some(m) if stage == Stage::Offline => {
                    format!(", line {}: method `{}`: offline", m.line, m.label)
                }
                Some(m) => format!(", line {}: method", m.line),
                None => format!(": {}", cell.kind.name()),
            };
            TrainError::Input(format!("{}{place} `{}`: {e}", spec.origin, cell.label))
        })?;
    }
    Ok(())
}

/// An error if a run cannot begin so with that many transitions, at least and at most.
fn can_begin(
    config: &Config,
    dims: Dims,
    stage: Stage,
    (least, most): (usize, usize),
) -> Result<(), TrainError> {
    effects::check_rows(config, Some(most))?;
    let online = stage != Stage::Offline;
    let first = online.then(|| start::kept_of(least, &config.section()) as u64);
    let config = first.map_or_else(|| config.clone(), |first| start::with_room(config, first));
    start::check(&config, &Agent::outline(&config, dims)?, Start { rows: Some(most), first })
}

/// An error unless a fine-tuning goes on with the discount to which its training, once it is made, will have come.
fn discounts(origin: &Cell, cell: &Cell) -> Result<(), TrainError> {
    let offline: OfflineConfig = origin.config.section();
    let rounds = (offline.updates, offline.horizon());
    switch::check_discounts("its offline phase", rounds, &origin.config, &cell.config)
}
