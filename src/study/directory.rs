//! The directory of a study: its file, where its data are, a directory for each cell, and what became of them.
//!
//! | file | what |
//! |---|---|
//! | `study.toml` | the study as it was asked |
//! | `place.toml` | its scale, what its data are, the arithmetic of this machine |
//! | `cells/DATA/METHOD/sSEED-HASH/` | the run of a cell |
//! | `cells/DATA/METHOD/sSEED-HASH.failed` | why it ended without a result, as JSON |
//! | `logs/DATA/METHOD/sSEED-HASH.log` | what it said |
//! | `shared/` | data as cells read them, see [`shelf`](crate::train::shelf); it goes when no cell is left |
//!
//! Everything that is known of a cell is read from there, never from a database: a study can be looked at while other
//! machines work on it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::graph::{Cell, Data, Graph, Kind, Resolve};
use super::spec::Spec;
use crate::checkpoint::atomic::{self, create_directories, is_temporary, write_atomic};
use crate::config::{OfflineConfig, OnlineConfig};
use crate::train::TrainError;
use crate::train::lock;
use crate::train::metrics::read_timing;
use crate::train::rundir;
use crate::train::state::Saved;

/// The question; it makes a directory that of a study.
pub const STUDY: &str = "study.toml";
const PLACE: &str = "place.toml";
pub(super) const CELLS: &str = "cells";
pub(super) const LOGS: &str = "logs";
const SHARED: &str = "shared";

/// What a study is run with, beside its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// of the scales, if any
    pub scale: Option<String>,
    /// instruction set of the kernels
    pub isa: String,
    /// factors in the products of large layers
    pub numerics: String,
    /// by the names of the study
    pub data: BTreeMap<String, Data>,
}

/// A study in its directory.
#[derive(Debug)]
pub struct Study {
    /// where it is
    pub dir: PathBuf,
    /// the question
    pub spec: Spec,
    /// what it is run with
    pub place: Place,
    /// its runs
    pub graph: Graph,
    text: String,
}

/// How far a cell is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nothing is there yet.
    Waiting,
    /// It can go on; the share that is done, and the process that works on it if one does. Of that share only what was saved
    /// is left if the process ends.
    Begun(f64, Option<String>),
    /// Its result is there.
    Done,
    /// It ended without a result.
    Failed(Failure),
}

impl State {
    /// The share of it that is done.
    pub fn share(&self) -> f64 {
        match self {
            State::Waiting | State::Failed(_) => 0.0,
            State::Begun(share, _) => *share,
            State::Done => 1.0,
        }
    }
}

/// Why a cell has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// exit code; none if it was killed
    pub code: Option<i32>,
    /// in a line
    pub reason: String,
}

impl Failure {
    /// Whether the same run would end in the same way.
    pub fn is_final(&self) -> bool {
        self.code == Some(1)
    }
}

impl Place {
    /// An error unless cells are made with this instruction set and these numerics.
    pub fn check_arithmetic(&self, dir: &Path, here: (&str, &str)) -> Result<(), TrainError> {
        let Place { isa, numerics, .. } = self;
        if (&**isa, &**numerics) == here {
            return Ok(());
        }
        Err(TrainError::Input(format!(
            "{}: its cells were made with {isa}, {numerics}, this process uses {}, {}: they would not be comparable to the bit; say --isa {isa} --numerics {numerics}, or choose another --out",
            dir.display(),
            here.0,
            here.1
        )))
    }
}

impl Study {
    /// A study for the directory `dir`, which may hold it already. Nothing is written. Refused: the directory of another
    /// study, data that have changed, another arithmetic, and cells that are there with another configuration unless
    /// `redo`. Errors: what is refused; a study with a method that cannot be run; a directory that is neither new nor a
    /// study's.
    pub fn new<R: Resolve>(
        dir: &Path,
        (text, spec): (String, Spec),
        place: Place,
        resolve: &R,
        redo: bool,
    ) -> Result<Study, TrainError> {
        let graph = Graph::new(&spec, &place.data, resolve)?;
        let mut study = Study { dir: dir.to_path_buf(), spec, place, graph, text };
        if study.dir.join(STUDY).exists() {
            let earlier = study.check_earlier()?;
            // What the study leaves out now may come back, and is to be the same then.
            for (name, data) in earlier.data {
                study.place.data.entry(name).or_insert(data);
            }
            let changed = study.changed();
            if !changed.is_empty() && !redo {
                let shown: Vec<String> = changed.iter().take(5).cloned().collect();
                let more = if changed.len() > 5 { ", ..." } else { "" };
                return Err(TrainError::Input(format!(
                    "{}: {} cells are there with another configuration: {}{more}; put the study back as it was, or say --redo to run them anew beside the old ones",
                    dir.display(),
                    changed.len(),
                    shown.join(", ")
                )));
            }
        } else if !is_new(dir) {
            return Err(TrainError::Input(format!(
                "{}: expected a new directory or that of a study, got one without {STUDY}; choose another --out",
                dir.display()
            )));
        }
        Ok(study)
    }

    /// The study that a directory holds. Errors: its files are missing or not understood; a method cannot be run; the
    /// folder of runs cannot be read.
    pub fn open<R: Resolve>(dir: &Path, resolve: &R) -> Result<Study, TrainError> {
        let read = |name: &str| {
            crate::files::read_to_string(&dir.join(name)).map_err(|e| {
                TrainError::Input(format!(
                    "{}: expected the directory of a study with {name} in it ({e}); make one with: baq study run",
                    dir.display()
                ))
            })
        };
        let (text, place) = (read(STUDY)?, read(PLACE)?);
        let place: Place = toml::from_str(&place).map_err(|e| {
            let what = e.message().replace('\n', ", ");
            TrainError::Input(format!("{}: {what}", dir.join(PLACE).display()))
        })?;
        let origin = dir.join(STUDY).display().to_string();
        let spec = Spec::read_back(&origin, &text, place.scale.as_deref())
            .map_err(|e| TrainError::Input(e.to_string()))?;
        let graph = Graph::new(&spec, &place.data, resolve)?;
        let cells = dir.join(CELLS);
        match std::fs::read_dir(&cells) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(TrainError::Input(format!("{}: cannot read the runs: {e}", cells.display())))
            }
            _ => Ok(Study { dir: dir.to_path_buf(), spec, place, graph, text }),
        }
    }

    /// Writes the study to its directory. Errors: the directory cannot be made, or a file not be written.
    pub fn write(&self) -> Result<(), TrainError> {
        let place = toml::to_string(&self.place).expect("invariant: a place is a table");
        // Last what makes the directory that of a study.
        for (name, text) in [(PLACE, place.as_str()), (STUDY, &self.text)] {
            let path = self.dir.join(name);
            let write = create_directories(&self.dir)
                .and_then(|()| atomic::write_after_others(&path, text.as_bytes()));
            write.map_err(|e| TrainError::Input(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }

    /// Where the data sets of the study are. The place knows those too that it names no longer.
    pub fn data(&self) -> impl Iterator<Item = &Data> {
        self.spec.data.iter().map(|name| &self.place.data[name])
    }

    /// Whether the directory holds the study as it is here: another process may change it.
    pub fn is_current(&self) -> bool {
        crate::files::read_to_string(&self.dir.join(STUDY)).is_ok_and(|text| text == self.text)
    }

    /// The run of a cell.
    pub fn folder(&self, cell: &Cell) -> PathBuf {
        self.dir.join(CELLS).join(cell.folder())
    }

    /// A text with the paths of its cells as they are within the study: equal studies have equal tables wherever they are.
    pub fn wherever(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.dir.join(CELLS).display()), &format!("{CELLS}/"))
    }

    /// What cells share.
    pub fn shared(&self) -> PathBuf {
        self.dir.join(SHARED)
    }

    /// Of every cell whether it can still be made, and how far it is: not those that are done or diverged, and none that
    /// needs one that diverged.
    pub fn left(&self) -> Vec<Option<f64>> {
        let mut lost: Vec<bool> = Vec::new();
        let share = |cell: &Cell| {
            let state = self.state(cell);
            let own = matches!(&state, State::Failed(failure) if failure.is_final());
            lost.push(own || cell.needs().any(|need| lost[need]));
            (state != State::Done && !lost[lost.len() - 1]).then(|| state.share())
        };
        self.graph.cells.iter().map(share).collect()
    }

    /// Removes what cells share once no cell is left to read it. What cannot be removed does no harm.
    pub fn tidy(&self) {
        if self.left().iter().all(Option::is_none) {
            let _ = std::fs::remove_dir_all(self.shared());
        }
    }

    /// What a cell said.
    pub fn log(&self, cell: &Cell) -> PathBuf {
        self.dir.join(LOGS).join(format!("{}.log", cell.folder()))
    }

    fn failure(&self, cell: &Cell) -> PathBuf {
        self.dir.join(CELLS).join(format!("{}.failed", cell.folder()))
    }

    /// How far a cell is.
    pub fn state(&self, cell: &Cell) -> State {
        let run = self.folder(cell);
        // It is written last.
        if run.join(rundir::REPORT).exists() {
            return State::Done;
        }
        let failure = crate::files::read_to_string(&self.failure(cell)).ok();
        if let Some(failure) = failure.and_then(|text| serde_json::from_str(&text).ok()) {
            return State::Failed(failure);
        }
        match run.join(rundir::CONFIG).exists() {
            true => {
                let holder = lock::holder(&run);
                State::Begun(progress(cell, &run, holder.is_some()).unwrap_or(0.0), holder)
            }
            false => State::Waiting,
        }
    }

    /// Notes that a cell ended without a result, or takes the note back. Errors: the note cannot be written or removed.
    pub fn note_failure(&self, cell: &Cell, failure: Option<&Failure>) -> Result<(), TrainError> {
        let path = self.failure(cell);
        let done = match failure {
            Some(failure) => {
                let text = serde_json::to_vec(failure).expect("invariant: a failure is a table");
                create_directories(path.parent().unwrap_or(Path::new(".")))
                    .and_then(|()| write_atomic(&path, &text))
            }
            None => atomic::remove(&path),
        };
        done.map_err(|e| TrainError::Input(format!("{}: {e}", path.display())))
    }

    /// What the study in the directory is run with.
    fn earlier(&self) -> Option<Place> {
        toml::from_str(&crate::files::read_to_string(&self.dir.join(PLACE)).ok()?).ok()
    }

    /// What the study in the directory is run with; an error unless it is this very study, on the same data and arithmetic.
    fn check_earlier(&self) -> Result<Place, TrainError> {
        let path = self.dir.join(PLACE);
        let refuse = |what: String| Err(TrainError::Input(format!("{}: {what}", self.dir.display())));
        let Some(earlier) = self.earlier() else {
            return refuse(format!("{} cannot be read; choose another --out", path.display()));
        };
        let text = crate::files::read_to_string(&self.dir.join(STUDY)).unwrap_or_default();
        let named = toml::from_str::<toml::Table>(&text).ok();
        let named = named.and_then(|t| Some(t.get("name")?.as_str()?.to_string())).unwrap_or_default();
        if named != self.spec.name || earlier.scale != self.place.scale {
            let scale = earlier.scale.map(|s| format!(" at scale {s}")).unwrap_or_default();
            return refuse(format!(
                "expected {}, got the directory of the study {named}{scale}; choose another --out",
                self.spec.title()
            ));
        }
        earlier.check_arithmetic(&self.dir, (&self.place.isa, &self.place.numerics))?;
        for (name, data) in &self.place.data {
            let other = |before: &&Data| ![&*data.sha256, ""].contains(&&*before.sha256);
            let Some(before) = earlier.data.get(name).filter(other) else { continue };
            return refuse(format!(
                "{name}: {} has changed since the study began (sha256 {} then, {} now); put the file back, or choose another --out",
                data.file, before.sha256, data.sha256
            ));
        }
        Ok(earlier)
    }

    /// The cells whose directory is there under another hash only.
    fn changed(&self) -> Vec<String> {
        self.graph.cells.iter().filter(|cell| self.is_changed(cell)).map(Cell::name).collect()
    }

    /// Whether a cell is not there, but one with another configuration is.
    pub fn is_changed(&self, cell: &Cell) -> bool {
        let run = self.folder(cell);
        if run.exists() {
            return false;
        }
        let begin = format!("s{}-", cell.seed);
        let others = run.parent().and_then(|parent| std::fs::read_dir(parent).ok());
        others
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(&begin) && entry.path().is_dir())
    }
}

/// Whether nothing is there, or what a process leaves that ended before the directory was a study's.
fn is_new(dir: &Path) -> bool {
    let own = |name: &OsStr| name == PLACE || is_temporary(name);
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| own(&entry.file_name()))),
        Err(e) => e.kind() == ErrorKind::NotFound,
    }
}

/// The share of a run that is done: what it has noted while a process is at work on it, what it has saved otherwise.
fn progress(cell: &Cell, run: &Path, at_work: bool) -> Option<f64> {
    let noted = || read_timing(run).ok()?.last().map(|last| (last.stamp.update, last.stamp.env_step));
    let saved = || Saved::open(run).ok()?.counters().ok().map(|counters| (counters.round, counters.env_step));
    let (round, env_step) = if at_work { noted().or_else(saved) } else { saved() }?;
    let (offline, online): (OfflineConfig, OnlineConfig) = (cell.config.section(), cell.config.section());
    let (done, all) = match cell.kind {
        Kind::Offline | Kind::Model => (round, offline.updates),
        Kind::Finetune | Kind::Scratch => (env_step, online.env_steps),
    };
    Some(done as f64 / all.max(1) as f64)
}
