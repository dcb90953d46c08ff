//! `baq audit verify`: a run, computed again, against what it wrote down.
//!
//! First what needs no replay: the chain of the ledger, what its last record says about the files, configuration, origin,
//! data and checkpoints. Then the run is computed again by the code that computed it the first time, evaluations and
//! metrics included, as far as its configuration and its checkpoint say, never as far as the ledger says: every record
//! and every file that a run determines is compared with the replay's, byte for byte.
//!
//! # What "verified" means
//!
//! | a file of the run | is |
//! |---|---|
//! | `ledger.bin`, `checkpoint.safetensors` and those in `checkpoints/`, `metrics.*`, `metrics_about.json`, `evaluations.*` (also the earlier `.jsonl`), `dataset.json`, `distributions.json`, `calibration.json`, `ledger_rows.bin`, `roundoff.csv` | proven: what the replay writes |
//! | `config.toml`, `origin.safetensors`, `model.safetensors`, `offline_evaluations/evaluations.csv` | given: the run is what follows from them and the data, by their SHA-256 |
//! | `timing.csv`, `report.html`, `curves.*`, `audit.html`, `.lock`, whatever else is there | not covered, and listed as that |
//!
//! The links of a ledger can be computed anew by anybody, and so can the digests in its last record. They show accidents
//! and careless hands, and locate them, also where nothing can be replayed. What holds against a forger is the replay: no
//! record, checkpoint, metric or evaluation can be other than what follows from configuration, origin and data. It cannot
//! tell which configuration, origin or data somebody meant: one who trains honestly with other ones, or who edits
//! configuration and files so that they are those of another honest run (a shorter one, say), has another honest run. Nor
//! can it know what is only claimed: the version of the program, the name of the data where they were moved, wall-clock
//! times. Whoever must exclude that notes the SHA-256 of `ledger.bin` when the run ends.
//!
//! Anything less is not called verified: a run that is in progress, that was interrupted or cut short, whose ledger has no
//! last record, that went on under another MuJoCo, or of which no update was compared. With `--from` and `--to` the run
//! is verified in part: the checkpoint at which the replay begins is taken on trust, and so is what stands before it in files that grow.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::again::Again;
use super::findings::Findings;
use super::stated::{chain, checkpoints, closing, header, rows};
use crate::audit::ledger::Ledger;
use crate::cli::contents::{self, Content};
use crate::cli::{Common, Outcome, Verdict, hints, rerun, setup};
use crate::config::{AuditConfig, Config, RunConfig};
use crate::train::conditions;
use crate::train::counters::Counters;
use crate::train::data::Dataset;
use crate::train::progress::Stop;
use crate::train::state::Saved;
use crate::train::{TrainError, lock, rundir};

/// Compute a run again.
#[derive(Debug, Args)]
pub struct Verify {
    /// directory of a run with a ledger
    run: PathBuf,
    /// first update to compare, counted from 1; the replay begins at the last checkpoint before it
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// last update to compare (default: the last one)
    #[arg(long, value_name = "L", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// where the data are now, if not where the run read them
    #[arg(long, value_name = "FILE")]
    data: Option<String>,
}

impl Verify {
    pub(super) fn run(self, common: Common) -> Outcome {
        if let Some(to) = self.to.filter(|to| *to < self.from) {
            let from = self.from;
            return Err(TrainError::Input(format!("--to {to}: expected at least {from}, as --from has it")));
        }
        let config = rerun::configuration(&self.run)?;
        let path = self.run.join(rundir::LEDGER);
        if !path.exists() && !config.section::<AuditConfig>().ledger {
            return Err(TrainError::Input(format!(
                "{}: expected a run with a ledger, got none; train with --ledger, or compare gradients with `baq audit gradients`",
                self.run.display()
            )));
        }
        let mut found = Findings::default();
        if let Some(process) = lock::holder(&self.run) {
            found.lacks(format!("the run is in progress (process {process}); ask again when it has ended"));
            return self.conclude(common, &found);
        }
        let ledger = match Ledger::read(&path) {
            Ok(ledger) => ledger,
            Err(e) => {
                found.bad(e.to_string());
                return self.conclude(common, &found);
            }
        };
        chain(&ledger, &mut found);
        closing(&self.run, &ledger, &mut found)?;
        let last = checkpoints(&self.run, &ledger, &mut found);
        if let Some(change) = ledger.change() {
            found.lacks(format!(
                "from update {} on the run was simulated with {} (--accept-mujoco), which no replay with one simulator follows",
                change.from + 1,
                change.simulator
            ));
        }
        let replayed = match self.prepare(&config, &ledger, &mut found) {
            Ok(dataset) => self.replay(&config, dataset, (ledger, last), common, &mut found),
            Err(e) => Err(e),
        };
        if let Err(e) = replayed {
            // Beside the object, stderr has the reason.
            found.lacks(if common.json { e.to_string() } else { "nothing was replayed".into() });
            self.conclude(common, &found)?;
            return Err(e);
        }
        self.conclude(common, &found)
    }

    /// Prints what was found.
    fn conclude(&self, common: Common, found: &Findings) -> Outcome {
        let (passed, verdict) = found.verdict();
        let names = contents::files(&self.run)?;
        let of = |kind: Content| -> Vec<&String> {
            names.iter().filter(|n| contents::content(n) == kind).collect()
        };
        let (given, free) = (of(Content::Given), of(Content::Free));
        if common.json {
            let lines: Vec<_> =
                found.lines.iter().map(|(good, text)| json!({ "good": good, "what": text })).collect();
            println!(
                "{}",
                json!({ "run": self.run, "findings": lines, "compared": found.records, "proven": found.proven,
                        "given": given, "not_covered": free, "verdict": verdict, "passed": passed })
            );
        } else {
            for (good, text) in &found.lines {
                println!("{:<4} {text}", if *good { "ok" } else { "BAD" });
            }
            let list = |names: Vec<&String>| names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
            println!("     given, not computed: {}", list(given));
            println!("     not covered: {}", list(free));
            println!("{verdict}");
        }
        Ok(if passed { Verdict::Done } else { Verdict::CheckFailed })
    }

    /// The data, if they are those of the run and the replay can give the same bits.
    fn prepare(&self, config: &Config, ledger: &Ledger, found: &mut Findings) -> Result<Dataset, TrainError> {
        let left = "the chain and the checkpoints were checked, nothing was replayed";
        let path = ledger.path().display();
        let then = &ledger.header;
        let refuse = |what: &str, then: &str, now: &str, hint: String| {
            Err(TrainError::Input(format!(
                "{path}: bits hold for one {what}: expected {then}, this process uses {now}; {hint}; {left}"
            )))
        };
        let here = baq_kernels::active();
        if then.isa != here.isa.name() {
            let hint = format!("say --isa {}", then.isa);
            return refuse("instruction set", &then.isa, here.isa.name(), hint);
        }
        if then.numerics != here.arithmetic() {
            let hint = format!("say --numerics {}, on a processor with the same unit", then.mode());
            return refuse("kind of numerics", &then.numerics, &here.arithmetic(), hint);
        }
        if then.subnormals != baq_kernels::subnormals() {
            let hint = "compute it on a processor that does the same with them".to_string();
            return refuse("kind of subnormal numbers", &then.subnormals, baq_kernels::subnormals(), hint);
        }
        conditions::check_simulator(config).map_err(|e| TrainError::Input(format!("{path}: {e}; {left}")))?;
        let mut dataset = self.load(config).map_err(|e| match self.data {
            Some(_) => TrainError::Input(format!("{e}; {left}")),
            None => TrainError::Input(format!("{e}; {left}; say where the data are with --data")),
        })?;
        let (then, now) = (&ledger.header.dataset_sha256, &dataset.facts.sha256);
        if then != now {
            rows(&self.run, &dataset, found);
            return Err(TrainError::Input(format!(
                "{}: the data have changed since the run: expected sha256 {then}, got {now}; {left}",
                dataset.facts.name
            )));
        }
        if !dataset.is_absent() {
            found.good(format!("{}: the data of the run, sha256 {}...", dataset.facts.name, &now[..12]));
        }
        if self.data.is_some() {
            // What they were called is a claim; what they are is known.
            dataset.facts.name.clone_from(&ledger.header.dataset);
        }
        header(config, &self.run, &dataset, ledger, found)?;
        Ok(dataset)
    }

    fn load(&self, config: &Config) -> Result<Dataset, TrainError> {
        let run: RunConfig = config.section();
        let dataset = self.data.clone().unwrap_or_else(|| run.dataset.clone());
        let (mut pinned, mut unpinned) = (config.clone(), config.clone());
        pinned.put(RunConfig { dataset: dataset.clone(), ..run.clone() });
        unpinned.put(RunConfig { dataset, dataset_sha256: String::new(), ..run });
        // Other data are shown row by row; what cannot be is called so first.
        setup::load(&unpinned, None).or_else(|_| setup::load(&pinned, None))
    }

    /// Computes the run again, as far as its checkpoint says that it went.
    fn replay(
        &self,
        config: &Config,
        dataset: Dataset,
        (ledger, last): (Ledger, Option<Counters>),
        common: Common,
        found: &mut Findings,
    ) -> Result<(), TrainError> {
        let Some(last) = last else {
            found.lacks(format!(
                "{}: missing or unreadable, or the run was killed before its first one",
                rundir::CHECKPOINT
            ));
            return Ok(());
        };
        let to = self.to.unwrap_or(last.round).min(last.round);
        let first =
            last.offline_rounds.min(last.round) * u64::from(self.run.join(rundir::ORIGIN).exists()) + 1;
        if self.from > to || (self.to.is_some() && to < first) {
            found.lacks(format!(
                "updates {} to {to}: the range is empty, the run has {first} to {}",
                self.from, last.round
            ));
            return Ok(());
        }
        let online = dataset.is_absent() || self.run.join(rundir::ORIGIN).exists();
        if (online && last.env_step == 0) || last.round == 0 {
            found.lacks("the run was interrupted before its first update".into());
            return Ok(());
        }
        let saved = match self.from {
            1 => None,
            from => rerun::start(&self.run, from - 1)?,
        };
        let change = ledger.change();
        let stop = match &change {
            Some(change) if change.from <= to => Stop::at(change.from, 0),
            _ if to < last.round => Stop::at(to, 0),
            _ => Stop::there(&last),
        };
        let whole = change.is_none() && to == last.round;
        let closed = ledger.closing().is_some();
        let start = Instant::now();
        let room = "the replay needs as much room as the run, in the directory that TMPDIR names";
        let folder = tempfile::tempdir().map_err(|e| TrainError::Input(format!("{e}; {room}")))?;
        let again = match Again::compute(config, &self.run, dataset, saved.as_ref(), &stop, (ledger, folder))
        {
            Ok(again) => again,
            // The run is not to blame for it.
            Err(e) if e.lacks_room() => return Err(TrainError::Input(format!("{e}; {room}"))),
            Err(e) => {
                found.bad(format!("it cannot be computed again: {e}"));
                return Ok(());
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        self.records(&again, saved.as_ref(), to < last.round, seconds, found);
        self.compare(&again, whole, saved.as_ref(), &last, found)?;
        if whole && again.ended.is_some() {
            self.end((&again, closed, &last), config, common, found);
        }
        Ok(())
    }

    /// Says how the records compare.
    fn records(&self, again: &Again, saved: Option<&Saved>, cut: bool, seconds: f64, found: &mut Findings) {
        let records = &again.records;
        if let Some(m) = &records.mismatch {
            let before = records.equal;
            found.bad(format!(
                "record {} ({}): {}; {before} records before it agree",
                m.record, m.place, m.what
            ));
        }
        let Some((first, last)) = records.rounds else { return };
        found.records = records.equal;
        let range = format!("updates {} to {}", first + 1, last + 1);
        if records.mismatch.is_none() {
            let rate = (last + 1 - first) as f64 / seconds;
            found.good(format!(
                "replayed {range}: {} records agree; {rate:.0} updates per second",
                records.equal
            ));
        }
        if saved.is_some() || cut {
            let trust = saved.map(|s| format!(", from {}, which is taken on trust", s.file()));
            found.part = Some(format!("{range}{}", trust.unwrap_or_default()));
        }
    }

    /// Compares the files.
    fn compare(
        &self,
        again: &Again,
        whole: bool,
        saved: Option<&Saved>,
        last: &Counters,
        found: &mut Findings,
    ) -> Result<(), TrainError> {
        let mut all = again.kept.clone();
        if again.ended.is_some() {
            all.extend(again.files(&self.run, whole)?);
        }
        let names: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
        for (name, difference) in all {
            let shown = self.run.join(&name);
            match difference {
                None if again.copied.contains(&name) => found.good(format!(
                    "{}: equal to the replay from where it began; what stands before is taken on trust",
                    shown.display()
                )),
                None => {
                    found.good(format!("{}: equal to the replay, bit for bit", shown.display()));
                    found.proven.push(name);
                }
                Some(what) => found.bad(format!("{}: {what}", shown.display())),
            }
        }
        if !whole || saved.is_some() || again.ended.is_none() {
            return Ok(());
        }
        let computed = |name: &String| contents::content(name) == Content::Computed;
        for name in contents::files(&self.run)?.into_iter().filter(computed).filter(|n| !names.contains(n)) {
            let path = self.run.join(name);
            let later = rundir::kept_at(&path).is_some_and(|at| at > (last.round, last.env_step));
            match later && !again.complete() {
                true => found
                    .good(format!("{}: later than the checkpoint: --resume goes on from it", path.display())),
                false => found.bad(format!("{}: the run does not write it", path.display())),
            }
        }
        Ok(())
    }

    /// Whether the run has ended, and the ledger with it.
    fn end(
        &self,
        (again, closed, last): (&Again, bool, &Counters),
        config: &Config,
        common: Common,
        found: &mut Findings,
    ) {
        let rest = again.records.rest() - usize::from(closed);
        let command = match self.run.join(rundir::ORIGIN).exists() {
            true => "finetune",
            false => "train",
        };
        let resume = hints::command(common, &[command, "--resume", &hints::path(&self.run)]);
        if again.complete() {
            if rest > 0 {
                found.bad(format!("{rest} records after the last update are of nothing that this run does"));
            }
            if !closed {
                found.lacks(format!("the run was killed before it closed its ledger; end it with: {resume}"));
            }
            return;
        }
        if closed {
            found.bad("the ledger says that the run has ended, a replay goes on".into());
        }
        if rest > 0 {
            found.good(format!("{rest} records are later than the checkpoint: --resume computes them again"));
        }
        let (done, all, unit) = length(config, last);
        found.lacks(format!("the run was interrupted after {done} of {all} {unit}; go on with: {resume}"));
    }
}

/// How far a run is, how long it is, and in what.
fn length(config: &Config, last: &Counters) -> (u64, u64, &'static str) {
    use crate::config::{OfflineConfig, OnlineConfig};
    match last.env_step {
        0 => (last.round, config.section::<OfflineConfig>().updates, "updates"),
        steps => (steps, config.section::<OnlineConfig>().env_steps, "environment steps"),
    }
}
