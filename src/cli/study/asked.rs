//! Which study a command is about, and where its data are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use baq_datasets::checksums;
use clap::Args;

use super::super::{Common, hints, setup};
use super::folder;
use super::held::STUDIES;
use super::resolve::Commands;
use crate::algo::Dims;
use crate::config::{OfflineConfig, OnlineConfig, RunConfig};
use crate::env;
use crate::study::graph::Data;
use crate::study::spec::{Begin, Method};
use crate::study::{Cell, Kind, Place, Spec, Study, paper};
use crate::suite::{PREFIX, Suite};
use crate::train::TrainError;
use crate::train::data::{self, EMBEDDED};
use crate::train::effects::{self, Stage};
use crate::train::reach;
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

/// Widths of states and actions.
type Widths = (usize, usize);

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
        let (mut data, mut widths) = (BTreeMap::new(), BTreeMap::new());
        for name in &spec.data {
            let found = self.data(name, beside);
            let (found, width) = found.map_err(|e| TrainError::Input(format!("{}: {e}", spec.origin)))?;
            data.insert(name.clone(), found);
            widths.insert(name.clone(), width);
        }
        let here = baq_kernels::active();
        let place = Place {
            scale: self.scale.clone(),
            isa: here.isa.name().into(),
            numerics: here.numerics.name().into(),
            data,
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
                study.spec.origin
            )));
        }
        check_options(&study)?;
        for cell in &study.graph.cells {
            let run: RunConfig = cell.config.section();
            if run.env.is_empty() {
                continue;
            }
            let width = &widths[&cell.data];
            let spec = env::spec(&run.env)?;
            if (spec.obs_dim, spec.act_dim) != *width {
                return Err(TrainError::Input(format!(
                    "{}: {}: expected data for {}, states of {} and actions of {}, got {} and {} in {}; name its environment with set = [\"run.env=ID\"]",
                    study.spec.origin,
                    cell.name(),
                    spec.id,
                    spec.obs_dim,
                    spec.act_dim,
                    width.0,
                    width.1,
                    run.dataset
                )));
            }
        }
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

    /// Where a data set is, its checksum, and its widths: a path from the study's
    /// file, a name in the folder of `--data`, or, without one, in the suite, where it need not be built yet.
    fn data(&self, name: &str, beside: &Path) -> Result<(Data, Widths), TrainError> {
        let path = match &self.data {
            _ if name == EMBEDDED => {
                let recording = data::read(Path::new(EMBEDDED), true)?;
                return Ok((Data::embedded(), (recording.obs_dim(), recording.act_dim())));
            }
            Some(folder) if is_name(name) => folder::find(folder, name)?,
            _ if is_path(name) => beside.join(name),
            _ => return of_suite(name),
        };
        if !path.exists() {
            return Err(TrainError::Input(format!(
                "data {name}: expected a file, found none at {}; put it there, or correct the path, which begins in the folder of the study's file",
                path.display()
            )));
        }
        let file = setup::absolute(&path.display().to_string())?;
        // All of it, as cells do: what cannot be read is refused before anything runs, and a folder has no other checksum.
        let recording = data::read(Path::new(&file), true)?;
        let widths = (recording.obs_dim(), recording.act_dim());
        let sha256 = recording.source.sha256;
        let known = path.file_name().and_then(|file| checksums::of_name(&file.to_string_lossy()));
        if let Some(known) = known.filter(|known| known.sha256 != sha256) {
            eprintln!(
                "note: {}: has the name of D4RL's file, whose sha256 is {}, and is another one, {sha256}; tables will say so",
                path.display(),
                known.sha256
            );
        }
        Ok((Data { file, sha256 }, widths))
    }
}

fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".hdf5")
}

/// Whether data are named by what they are, and may lie in any folder.
fn is_name(name: &str) -> bool {
    name != EMBEDDED && !is_path(name) && !name.starts_with(PREFIX)
}

/// Threads of every cell, which its results do not depend on.
pub fn cell_threads(common: Common) -> u16 {
    common.threads.unwrap_or(1)
}

/// An error for an option without effect, which the cells would refuse one after the other. Options are those of all seeds.
fn check_options(study: &Study) -> Result<(), TrainError> {
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

/// An error unless a fine-tuning goes on with the discount to which its training, once it is made, will have come.
fn discounts(origin: &Cell, cell: &Cell) -> Result<(), TrainError> {
    let offline: OfflineConfig = origin.config.section();
    let rounds = (offline.updates, offline.horizon());
    switch::check_discounts("its offline phase", rounds, &origin.config, &cell.config)
}

fn of_suite(name: &str) -> Result<(Data, Widths), TrainError> {
    let suite = Suite::here()?;
    let found = suite.find(name).and_then(|found| Ok((suite.record(&found)?.sha256.clone(), found)));
    let (sha256, found) = found.map_err(|e| {
        TrainError::Input(format!(
            "data {e}; or name a path in the study, or the folder of its file with --data DIR"
        ))
    })?;
    let env = env::spec(&suite.recipe(&found).env)?;
    Ok((Data { file: format!("{PREFIX}{}", found.text), sha256 }, (env.obs_dim, env.act_dim)))
}
