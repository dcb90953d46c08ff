//! `baq audit verify`: a run, computed again, against what it wrote down.
//!
//! In order: the chain of the ledger; configuration, data and checkpoints against it; then the replay, record by record,
//! with every checkpoint on its way compared to the bit. What cannot be done is said, and the rest is done.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::audit::compare::Comparer;
use crate::audit::ledger::{self, Header, Ledger, Scribe, Tail};
use crate::cli::replay::{self, Rerun};
use crate::cli::{Common, Outcome, Verdict, finetune, probes};
use crate::config::{Config, RunConfig};
use crate::train::data::{self, Dataset};
use crate::train::state::Saved;
use crate::train::{TrainError, rundir};

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

/// What was found, as lines.
#[derive(Default)]
struct Findings {
    lines: Vec<(bool, String)>,
}

impl Findings {
    fn good(&mut self, text: String) {
        self.lines.push((true, text));
    }

    fn bad(&mut self, text: String) {
        self.lines.push((false, text));
    }

    fn failed(&self) -> usize {
        self.lines.iter().filter(|(good, _)| !good).count()
    }
}

impl Verify {
    pub(super) fn run(self, common: Common) -> Outcome {
        let mut config = replay::configuration(&self.run)?;
        if let Some(data) = &self.data {
            let mut run: RunConfig = config.section();
            run.dataset.clone_from(data);
            config.put(run);
        }
        let path = self.run.join(rundir::LEDGER);
        if !path.exists() {
            return Err(TrainError::Input(format!(
                "{}: expected a run with a ledger, got none; train with --ledger, or compare gradients with `baq audit gradients`",
                self.run.display()
            )));
        }
        let ledger = Ledger::read(&path)?;
        let mut found = Findings::default();
        chain(&ledger, &mut found);
        let header = probes::header(
            &config,
            &self.run,
            (&ledger.header.dataset, &ledger.header.dataset_sha256),
            Some(self.run.join(finetune::ORIGIN)).filter(|p| p.exists()).as_deref(),
        )?;
        if header.config != ledger.header.config {
            found.bad(changed_config(&self.run, &ledger.header.config));
        }
        if header.origin != ledger.header.origin {
            found.bad(format!("{}: it is not what the run began with", finetune::ORIGIN));
        }
        if header.code != ledger.header.code {
            found.good(format!("written by version {}, this is {}", ledger.header.code, header.code));
        }
        checkpoints(&self.run, &ledger, &mut found)?;
        let outcome = self.prepare(&config, &ledger, &header, &mut found);
        let compared = match outcome {
            Ok(dataset) => self.replay(&config, dataset, ledger, &mut found)?,
            Err(e) => {
                self.print(common, &found, 0, "not replayed");
                return Err(e);
            }
        };
        let verdict = match found.failed() {
            0 => format!("verified: {compared} records are what a replay computes"),
            n => format!("NOT verified: {n} findings"),
        };
        self.print(common, &found, compared, &verdict);
        Ok(if found.failed() == 0 { Verdict::Done } else { Verdict::CheckFailed })
    }

    fn print(&self, common: Common, found: &Findings, compared: u64, verdict: &str) {
        if common.json {
            let lines: Vec<_> =
                found.lines.iter().map(|(good, text)| json!({ "good": good, "what": text })).collect();
            println!(
                "{}",
                json!({ "run": self.run, "findings": lines, "compared": compared, "verdict": verdict,
                        "passed": found.failed() == 0 && compared > 0 })
            );
            return;
        }
        for (good, text) in &found.lines {
            println!("{:<4} {text}", if *good { "ok" } else { "BAD" });
        }
        println!("{verdict}");
    }

    /// The data, if they are those of the run and the replay can give the same bits.
    fn prepare(
        &self,
        config: &Config,
        ledger: &Ledger,
        header: &Header,
        found: &mut Findings,
    ) -> Result<Dataset, TrainError> {
        let left = "the chain and the checkpoints were checked, nothing was replayed";
        let path = ledger.path().display();
        let (then, now) = (&ledger.header.isa, &header.isa);
        if then != now {
            return Err(TrainError::Input(format!(
                "{path}: bits hold for one instruction set: expected {then}, this process uses {now}; say --isa {then}; {left}"
            )));
        }
        let (then, now) = (&ledger.header.numerics, &header.numerics);
        if then != now {
            let mode = ledger.header.mode();
            return Err(TrainError::Input(format!(
                "{path}: bits hold for one kind of numerics: expected {then}, this process uses {now}; say --numerics {mode}, on a processor with the same unit; {left}"
            )));
        }
        let dataset = data::load(config)
            .map_err(|e| TrainError::Input(format!("{e}; {left}; say where the data are with --data")))?;
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
            if row_sums(&self.run).is_none_or(|sums| sums != dataset.rows) {
                found.bad(format!("{}: it is not that of these data", rundir::LEDGER_ROWS));
            }
        }
        Ok(dataset)
    }

    fn replay(
        &self,
        config: &Config,
        dataset: Dataset,
        ledger: Ledger,
        found: &mut Findings,
    ) -> Result<u64, TrainError> {
        let saved = match self.from {
            1 => None,
            from => replay::start(&self.run, from - 1)?,
        };
        let first = match &saved {
            None => 0,
            Some(saved) => saved.mark()?.map_or(0, |mark| mark.records as usize),
        };
        let last = ledger.updates().last().map_or(0, |(_, r)| r.round + 1);
        let until = self.to.unwrap_or(last).min(last);
        let end = ledger.first_of(until).unwrap_or(ledger.len());
        // A run that goes on from another one begins with its rounds.
        let begin = match &saved {
            Some(saved) => saved.counters()?.round,
            None => ledger.updates().next().map_or(0, |(_, r)| r.round),
        };
        let mut probe = Scribe::comparing(ledger, first, end);
        // The checkpoints that the replay passes, in order.
        let mut stations = Vec::new();
        for (path, opened) in replay::checkpoints(&self.run) {
            let Ok(file) = opened.or_else(|_| Saved::open_unchecked(&path)) else { continue };
            let at = file.counters()?;
            if at.round > begin && at.round <= until {
                stations.push((at.round, at.env_step, path, file));
            }
        }
        let start = Instant::now();
        let outcome = self.pass(config, dataset, saved.as_ref(), until, &stations, &mut probe, found);
        let rate = (until - begin) as f64 / start.elapsed().as_secs_f64();
        let missing = probe.sink.missing();
        let Comparer { equal, mismatch, .. } = probe.sink;
        match (outcome, mismatch) {
            (_, Some(m)) => {
                found.bad(format!(
                    "record {} ({}): {}; {equal} records before it agree",
                    m.record, m.place, m.what
                ));
            }
            (Err(e), None) => return Err(e),
            (Ok(()), None) => {
                found.good(format!(
                    "replayed updates {} to {until}: {equal} records agree; {rate:.0} updates per second",
                    begin + 1
                ));
                if missing > 0 {
                    found.bad(format!("the last {missing} records are of updates that this run does not do"));
                }
            }
        }
        Ok(equal)
    }

    #[expect(clippy::too_many_arguments, reason = "one replay and what it is compared with")]
    fn pass(
        &self,
        config: &Config,
        dataset: Dataset,
        saved: Option<&Saved>,
        until: u64,
        stations: &[(u64, u64, PathBuf, Saved)],
        probe: &mut Scribe<Comparer>,
        found: &mut Findings,
    ) -> Result<(), TrainError> {
        let mut rerun = Rerun::new(config, &self.run, dataset, saved, probe)?;
        for (round, env_step, path, file) in stations {
            rerun.go(*round, *env_step, probe)?;
            match file.difference(&rerun.state()) {
                None => found.good(format!("{}: equal to the replay, bit for bit", path.display())),
                Some(difference) => found.bad(format!("{}: {difference}", path.display())),
            }
        }
        rerun.go(until, 0, probe)
    }
}

/// Checks the links.
fn chain(ledger: &Ledger, found: &mut Findings) {
    let name = ledger.path().display();
    let breaks: Vec<_> = ledger.breaks().collect();
    for b in breaks.iter().take(3) {
        found.bad(format!("{name}: the chain breaks at record {}, byte {}: {}", b.record, b.byte, b.what));
    }
    if breaks.len() > 3 {
        found.bad(format!("{name}: and at {} records more", breaks.len() - 3));
    }
    if breaks.is_empty() {
        found.good(format!("{name}: {} records, every link holds", ledger.len()));
    }
    match ledger.tail() {
        Some(Tail { bytes, torn: true }) => found.good(format!(
            "{name}: {bytes} bytes of a record that was being written when the run was killed"
        )),
        Some(Tail { bytes, torn: false }) => found.bad(format!(
            "{name}: {bytes} bytes after record {} are no record: the length of the next one was changed",
            ledger.len() - 1
        )),
        None => {}
    }
}

/// Checks checkpoints against the ledger, without any replay.
fn checkpoints(run: &Path, ledger: &Ledger, found: &mut Findings) -> Result<(), TrainError> {
    let all = replay::checkpoints(run);
    if all.is_empty() {
        found.good("no checkpoint yet: the replay begins at the beginning".into());
    }
    for (path, saved) in all {
        let name = path.display();
        let saved = match saved {
            Ok(saved) => saved,
            Err(e) => {
                found.bad(e.to_string());
                continue;
            }
        };
        // A kept one is named after its update.
        let named = path.file_stem().and_then(|s| s.to_str()?.strip_prefix("update-")?.parse::<u64>().ok());
        let round = saved.counters()?.round;
        if named.is_some_and(|named| named != round) {
            found.bad(format!("{name}: it is that of update {round}"));
        }
        if ledger::sha256(saved.config()?.as_bytes()) != ledger.header.config {
            found.bad(format!("{name}: its configuration is not that of the run"));
        }
        match saved.mark()? {
            None => found.bad(format!("{name}: written without a ledger")),
            Some(mark) => match ledger.up_to(&mark) {
                Ok(_) => found.good(format!("{name}: knows the ledger's first {} records", mark.records)),
                Err(e) => found.bad(format!("{name}: {e}")),
            },
        }
    }
    Ok(())
}

/// In words what has changed in the configuration: its first line that is not as in a checkpoint, which carries a copy.
fn changed_config(run: &Path, sha256: &str) -> String {
    let file = rundir::CONFIG;
    let now = std::fs::read_to_string(run.join(file)).unwrap_or_default();
    let saved = replay::checkpoints(run).into_iter().filter_map(|(_, saved)| saved.ok());
    let mut copies = saved.filter_map(|s| s.config().ok().map(String::from));
    let Some(then) = copies.find(|text| ledger::sha256(text.as_bytes()) == sha256) else {
        return format!("{file}: it is not what the run began with");
    };
    let (mut old, mut new) = (then.lines(), now.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                let quote = |line: Option<&str>| line.map_or("nothing".into(), |line| format!("`{line}`"));
                return format!(
                    "{file}: it is not what the run began with: line {number} was {} and is {}",
                    quote(a),
                    quote(b)
                );
            }
        }
    }
    format!("{file}: it is not what the run began with: other line ends")
}

/// The checksums of all transitions as the run had them, if there are any.
fn row_sums(run: &Path) -> Option<Vec<u64>> {
    let bytes = std::fs::read(run.join(rundir::LEDGER_ROWS)).ok()?;
    let words = bytes.chunks_exact(8);
    Some(words.map(|b| u64::from_le_bytes(b.try_into().expect("invariant: 8 bytes"))).collect())
}

/// Says which transitions have changed.
fn rows(run: &Path, dataset: &Dataset, found: &mut Findings) {
    let Some(then) = row_sums(run) else {
        return found.bad(format!(
            "{}: missing, so that nobody can say which rows have changed",
            rundir::LEDGER_ROWS
        ));
    };
    let now = &dataset.rows;
    let name = &dataset.facts.name;
    if then.len() != now.len() {
        found.bad(format!("{name}: {} transitions, the run had {}", now.len(), then.len()));
    }
    let changed: Vec<usize> = (0..then.len().min(now.len())).filter(|&i| then[i] != now[i]).collect();
    match changed[..] {
        [] => found.bad(format!("{name}: the file differs, the transitions read from it do not")),
        [one] => found.bad(format!("{name}: transition {one} has changed, counted from 0")),
        [first, .., last] => found.bad(format!(
            "{name}: {} transitions have changed, the first is {first}, the last {last}, counted from 0",
            changed.len()
        )),
    }
}
