//! What `baq audit verify` can check without a replay: links, header, digests and checkpoints, each against the others.

use std::path::Path;

use super::findings::Findings;
use crate::audit::ledger::{self, Ledger, Tail};
use crate::cli::contents::{self, Content};
use crate::cli::{probes, rerun};
use crate::config::Config;
use crate::train::counters::Counters;
use crate::train::data::Dataset;
use crate::train::state::Saved;
use crate::train::{TrainError, rundir};

/// Compares what the ledger says it belongs to with what is there.
pub(super) fn header(
    config: &Config,
    run: &Path,
    dataset: &Dataset,
    ledger: &Ledger,
    found: &mut Findings,
) -> Result<(), TrainError> {
    let then = &ledger.header;
    let facts = &dataset.facts;
    let mut now = probes::header(config, run, (&facts.name, &facts.sha256))?;
    if now.code != then.code {
        found.good(format!("written by version {}, this is {}", then.code, now.code));
        now.code.clone_from(&then.code);
    }
    if ledger.head() == ledger::text(&now) {
        return Ok(());
    }
    if now.config != then.config {
        found.bad(changed_config(run, &then.config));
    }
    let earlier = format!("{}/{}", rundir::EARLIER, rundir::EVALUATIONS_CSV);
    for (same, what) in [
        (now.origin == then.origin, rundir::ORIGIN),
        (now.model == then.model, rundir::MODEL),
        (now.earlier == then.earlier, &earlier),
    ] {
        if !same {
            found.bad(format!("{what}: it is not what the run began with"));
        }
    }
    for (what, then, now) in [
        ("simulator", &then.mujoco, &now.mujoco),
        ("data", &then.dataset, &now.dataset),
        ("seed", &then.seed.to_string(), &now.seed.to_string()),
    ] {
        if then != now {
            found.bad(format!("{}: {what}: expected {now}, got {then}", ledger.path().display()));
        }
    }
    if now == *then {
        found.bad(format!("{}: the header is written in another way", ledger.path().display()));
    }
    Ok(())
}

/// Checks the links, and the order of the records whether they hold or not.
pub(super) fn chain(ledger: &Ledger, found: &mut Findings) {
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
        if let Some(b) = ledger.first_disorder() {
            found.bad(format!("{name}: record {}, byte {}: {}", b.record, b.byte, b.what));
        }
    }
    match ledger.tail() {
        Some(Tail { bytes, torn: true }) if ledger.closing().is_none() => found.good(format!(
            "{name}: {bytes} bytes of a record that was being written when the run was killed"
        )),
        Some(Tail { bytes, torn }) => found.bad(format!(
            "{name}: {bytes} bytes after {} are no record{}",
            ledger.len().checked_sub(1).map_or("the header".into(), |last| format!("record {last}")),
            if torn { "" } else { ": the length of the next one was changed" }
        )),
        None => {}
    }
}

/// Checks the files against the last record of a run that has ended.
pub(super) fn closing(run: &Path, ledger: &Ledger, found: &mut Findings) -> Result<(), TrainError> {
    let Some(closing) = ledger.closing() else { return Ok(()) };
    let name = ledger.path().display();
    let mut good = true;
    let mut bad = |text: String| {
        good = false;
        found.bad(text);
    };
    for (file, then) in &closing.files {
        match contents::read(&run.join(file)).map(|bytes| crate::files::sha256(&bytes)) {
            Ok(now) if now == *then => {}
            Ok(_) => bad(format!("{file}: it is not what it was when the run ended")),
            Err(e) => bad(e.to_string()),
        }
    }
    for file in contents::files(run)? {
        let known = matches!(contents::content(&file), Content::Given | Content::Computed);
        if known && !closing.files.contains_key(&file) {
            bad(format!("{file}: it was not there when the run ended"));
        }
    }
    if good {
        found.good(format!("{name}: {} files are what they were when the run ended", closing.files.len()));
    }
    Ok(())
}

/// Checks checkpoints against the ledger, without any replay. Where the last one stands, if it can be read.
pub(super) fn checkpoints(run: &Path, ledger: &Ledger, found: &mut Findings) -> Option<Counters> {
    let mut last = None;
    for (path, saved) in rerun::checkpoints(run) {
        let saved = saved.or_else(|e| {
            found.bad(e.to_string());
            Saved::open_unchecked(&path)
        });
        let Ok(saved) = saved else { continue };
        match checkpoint(&path, &saved, ledger, found) {
            Ok(counters) if path == run.join(rundir::CHECKPOINT) => last = Some(counters),
            Ok(_) => {}
            Err(e) => found.bad(e.to_string()),
        }
    }
    last
}

fn checkpoint(
    path: &Path,
    saved: &Saved,
    ledger: &Ledger,
    found: &mut Findings,
) -> Result<Counters, TrainError> {
    let name = path.display();
    // A kept one is named after its update and step.
    let named = rundir::kept_at(path);
    let counters = saved.counters()?;
    let (round, step) = (counters.round, counters.env_step);
    if named.is_some_and(|named| named != (round, step)) {
        let step = if step > 0 { format!(", step {step}") } else { String::new() };
        found.bad(format!("{name}: it is that of update {round}{step}"));
    }
    if crate::files::sha256(saved.config()?.as_bytes()) != ledger.header.config {
        found.bad(format!("{name}: its configuration is not that of the run"));
    }
    match saved.mark()? {
        None => found.bad(format!("{name}: written without a ledger")),
        Some(mark) => match ledger.up_to(&mark) {
            Ok(_) => found.good(format!("{name}: knows the ledger's first {} records", mark.records)),
            Err(e) => found.bad(format!("{name}: {e}")),
        },
    }
    Ok(counters)
}

/// In words what has changed in the configuration: its first line that is not as in a checkpoint, which carries a copy.
fn changed_config(run: &Path, sha256: &str) -> String {
    let file = rundir::CONFIG;
    let now = crate::files::read_to_string(&run.join(file)).unwrap_or_default();
    let saved = rerun::checkpoints(run).into_iter().filter_map(|(_, saved)| saved.ok());
    let mut copies = saved.filter_map(|s| s.config().ok().map(String::from));
    let Some(then) = copies.find(|text| crate::files::sha256(text.as_bytes()) == sha256) else {
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
    let bytes = crate::files::read(&run.join(rundir::LEDGER_ROWS)).ok()?;
    let words = bytes.chunks_exact(8);
    Some(words.map(|b| u64::from_le_bytes(b.try_into().expect("invariant: 8 bytes"))).collect())
}

/// Says which transitions have changed.
pub(super) fn rows(run: &Path, dataset: &Dataset, found: &mut Findings) {
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
