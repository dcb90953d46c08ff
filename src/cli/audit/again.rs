//! A run computed again, by the program that computed it the first time, in a directory that nobody keeps; and its files
//! compared with those of the run.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::audit::ledger::{Ledger, Mark, Scribe, Sink};
use crate::audit::ledger_compare::Comparer;
use crate::audit::roundoff::RoundOff;
use crate::audit::{Error, Probes};
use crate::autodiff::Flow;
use crate::cli::contents::{self, Content};
use crate::cli::learn::Beside;
use crate::cli::probes;
use crate::config::{AuditConfig, Config};
use crate::train::TrainError;
use crate::train::data::Dataset;
use crate::train::metrics::{EvaluationLog, read_evaluations};
use crate::train::progress::{Ended, Stop};
use crate::train::run::Run;
use crate::train::rundir::{self, RunDir, RunError};
use crate::train::state::Saved;

/// A file of the run: equal to the replay's, or how it differs.
pub type Compared = (String, Option<String>);

/// What became of it.
pub struct Again {
    folder: TempDir,
    /// how it ended; nothing if the ledger differed and it was given up
    pub ended: Option<Ended>,
    /// the records
    pub records: Comparer,
    /// checkpoints that the run keeps
    pub kept: Vec<Compared>,
    /// files that it was given as they were at the checkpoint where it began
    pub copied: Vec<String>,
}

/// Compares records as they come, and checkpoints that are kept as soon as they are final.
struct Watcher {
    records: Comparer,
    run: PathBuf,
    again: PathBuf,
    kept: Vec<Compared>,
}

impl Watcher {
    /// Compares the checkpoints that were kept, and drops them. The last one may still be replaced.
    fn settle(&mut self, all: bool) -> Result<(), RunError> {
        let mut names = contents::files(&self.again)?;
        names.retain(|name| contents::is_kept(name));
        if !all {
            names.pop();
        }
        for name in names {
            let (now, then) = (self.again.join(&name), self.run.join(&name));
            let found = difference(&name, &now, &then, true)?;
            std::fs::remove_file(&now).map_err(RunError::io(&now, "remove the file"))?;
            self.kept.push((name, found));
        }
        Ok(())
    }
}

impl Sink for Watcher {
    fn take(&mut self, body: &[u8]) -> Flow {
        self.records.take(body)
    }

    fn refuse(&mut self, phase: &str) -> Flow {
        self.records.refuse(phase)
    }

    fn flush(&mut self) -> Result<Mark, Error> {
        self.settle(false).map_err(|e| Error::Ledger { path: self.again.clone(), what: e.to_string() })?;
        self.records.flush()
    }

    fn reason(&mut self) -> Option<Error> {
        self.records.reason()
    }
}

impl Again {
    /// Computes the run in the directory `run` again, in another one, from its beginning or from a checkpoint that it has kept,
    /// to its end or to where `stop` says.
    pub fn compute(
        config: &Config,
        run: &Path,
        dataset: Dataset,
        saved: Option<&Saved>,
        stop: &Stop,
        (ledger, folder): (Ledger, TempDir),
    ) -> Result<Again, TrainError> {
        let dir = RunDir::create(folder.path())?;
        let copied = copy(run, &dir, saved.is_some())?;
        let audit: AuditConfig = config.section();
        let mark = match saved {
            Some(saved) => saved.mark()?.unwrap_or_else(|| ledger.mark(0)),
            None => ledger.mark(0),
        };
        let reach = saved.map(probes::reach).transpose()?;
        let phases = ledger.phases_before(mark.records as usize);
        let records = Comparer::new(ledger, mark);
        let watcher = Watcher { records, run: run.into(), again: folder.path().into(), kept: Vec::new() };
        let mut probe = Probes { ledger: Some(Scribe::new(watcher, phases)), ..Probes::default() };
        if audit.reference_every > 0 {
            let path = dir.file(rundir::ROUNDOFF);
            probe.roundoff = Some(RoundOff::to_file(audit.reference_every, &path, reach)?);
        }
        probes::write_rows(&dir, &dataset)?;
        let (path, beside) = (folder.path(), Beside::Auto.holds());
        let again = Run { config, path, dataset, saved, manner: (stop, true), beside };
        let ended = again.learn(&dir, &mut probe);
        let mut watcher = probe.ledger.expect("invariant: it was given").sink;
        let ended = match ended {
            Ok(ended) => Some(ended),
            Err(_) if watcher.records.mismatch.is_some() => None,
            Err(e) if e.lacks_room() => return Err(e),
            Err(e) => {
                // The directory of the replay is none that anybody knows.
                let (here, there) = (folder.path().display().to_string(), run.display().to_string());
                return Err(TrainError::Input(e.to_string().replace(&here, &there)));
            }
        };
        watcher.settle(true)?;
        Ok(Again { folder, ended, records: watcher.records, kept: watcher.kept, copied })
    }

    /// Whether the run has come to its end.
    pub fn complete(&self) -> bool {
        matches!(self.ended, Some(Ended::Complete | Ended::Patience))
    }

    /// Compares the other files that a run determines. Of one that went on after the replay stopped, files that grow begin
    /// as the replay's; its checkpoint is compared only if it is of that place.
    pub fn files(&self, run: &Path, checkpoint: bool) -> Result<Vec<Compared>, RunError> {
        let mut compared = Vec::new();
        for name in contents::files(self.folder.path())? {
            let here = contents::content(&name) == Content::Computed;
            if here && (checkpoint || name != rundir::CHECKPOINT) {
                let (now, then) = (self.folder.path().join(&name), run.join(&name));
                let found = difference(&name, &now, &then, self.complete())?;
                compared.push((name, found));
            }
        }
        Ok(compared)
    }
}

/// Everything that a run is given, and what follows from it at once; to go on in the middle, also the rows that it has
/// written so far, whose files it names.
fn copy(run: &Path, dir: &RunDir, rows: bool) -> Result<Vec<String>, RunError> {
    let mut copied = Vec::new();
    for name in contents::files(run)? {
        let grows = !contents::is_kept(&name) && name != rundir::CHECKPOINT;
        let needed = match contents::content(&name) {
            Content::Given => true,
            Content::Computed => rows && grows,
            Content::Ledger => false,
            Content::Free => rows && name == rundir::TIMING,
        };
        if needed {
            if let Some((folder, _)) = name.split_once('/') {
                let folder = dir.file(folder);
                std::fs::create_dir_all(&folder).map_err(RunError::io(&folder, "create the directory"))?;
            }
            dir.write(&name, &contents::read(&run.join(&name))?)?;
            if contents::content(&name) == Content::Computed {
                copied.push(name);
            }
        }
    }
    if run.join(rundir::ORIGIN).exists() {
        let earlier = read_evaluations(&run.join(rundir::EARLIER))?;
        EvaluationLog::create(&dir.file(rundir::EARLIER), &earlier)?.flush()?;
    }
    Ok(copied)
}

/// How the file `then` of a run differs from the replay's. Unless it is `whole`, what the run wrote later is left out.
fn difference(name: &str, now: &Path, then: &Path, whole: bool) -> Result<Option<String>, RunError> {
    if !then.exists() {
        return Ok(Some("missing".into()));
    }
    let theirs = match contents::read(then) {
        Ok(bytes) => bytes,
        Err(e) => return Ok(Some(e.to_string())),
    };
    let ours = contents::read(now)?;
    if theirs == ours || (!whole && theirs.starts_with(&ours)) {
        return Ok(None);
    }
    if name.ends_with(".safetensors") {
        let found = Saved::difference(then, now).unwrap_or_else(|e| Some(e.to_string()));
        return Ok(Some(found.unwrap_or_else(|| "its header is written in another way".into())));
    }
    let (Ok(a), Ok(b)) = (std::str::from_utf8(&ours), std::str::from_utf8(&theirs)) else {
        let place = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        let place = place.unwrap_or(ours.len().min(theirs.len()));
        return Ok(Some(format!("byte {place} is not that of the replay")));
    };
    Ok(Some(line(a, b)))
}

/// The first line in which a text differs from the replay's, from a little before the place on.
fn line(replay: &str, file: &str) -> String {
    let (mut ours, mut theirs) = (replay.split_inclusive('\n'), file.split_inclusive('\n'));
    for number in 1.. {
        let (a, b) = (ours.next(), theirs.next());
        if a == b && a.is_some() {
            continue;
        }
        let (x, y) = (a.unwrap_or_default(), b.unwrap_or_default());
        let common = x.chars().zip(y.chars()).take_while(|(x, y)| x == y).count();
        let show = |line: Option<&str>| match line {
            None => "nothing".to_string(),
            Some(line) => {
                let part: String = line.chars().skip(common.saturating_sub(20)).take(50).collect();
                format!("`{}`", part.escape_debug())
            }
        };
        return format!("line {number}: the replay gives {}, the file has {}", show(a), show(b));
    }
    unreachable!("invariant: the texts differ")
}
