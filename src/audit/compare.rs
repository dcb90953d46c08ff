//! A replayed run against the ledger of the first one, record by record.

use super::ledger::{Entry, Ledger, Phase, Record, Scribe, Sink};
use super::{Error, Recorder};
use crate::autodiff::Flow;

/// Where a replay leaves its ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// number of the record, from 0
    pub record: usize,
    /// where in the run
    pub place: String,
    /// what differs
    pub what: String,
}

/// Compares records with those of a ledger.
pub struct Comparer {
    ledger: Ledger,
    phases: Vec<Phase>,
    next: usize,
    end: usize,
    /// records that were equal
    pub equal: u64,
    /// the first that was not
    pub mismatch: Option<Mismatch>,
}

impl Scribe<Comparer> {
    /// Compares from record `first` up to but not including `end`.
    pub fn comparing(ledger: Ledger, first: usize, end: usize) -> Scribe<Comparer> {
        let phases = ledger.phases_before(first);
        let all = ledger.phases();
        Scribe::new(Comparer { ledger, phases: all, next: first, end, equal: 0, mismatch: None }, phases)
    }
}

impl Comparer {
    /// Records that were asked for and that the replay has not come to.
    pub fn missing(&self) -> usize {
        self.end.saturating_sub(self.next)
    }

    /// Phase and update of a record.
    fn place(&self, record: &Record) -> (String, usize, usize) {
        let mut before = 0;
        for (p, phase) in self.phases.iter().enumerate() {
            if record.kind < before + phase.updates.len() {
                let k = record.kind - before;
                let place = format!("{} update {}, {}", phase.phase, record.round + 1, phase.updates[k].name);
                return (place, p, k);
            }
            before += phase.updates.len();
        }
        (format!("update {}, of no phase that was declared", record.round + 1), 0, 0)
    }

    fn describe(&self, body: &[u8]) -> Mismatch {
        let record = self.next;
        let fail = |place: String, what: String| Mismatch { record, place, what };
        match (self.ledger.entry(record), Record::decode(body)) {
            (Some(Entry::Update(then)), Some(now)) => {
                let (place, p, k) = self.place(&then);
                if (then.kind, then.round) != (now.kind, now.round) {
                    return fail(place, format!("the replay is at {} instead", self.place(&now).0));
                }
                let found = then.difference(&now, &self.phases[p].updates[k]);
                let what = found.map_or("its length differs".into(), |(what, a, b)| {
                    format!("{what}: the ledger says {a}, the replay {b}")
                });
                fail(place, what)
            }
            (Some(Entry::Phase(then)), _) => fail(
                format!("beginning of the {} phase", then.phase),
                "the replay declares something else".into(),
            ),
            (None, _) => fail("a record that cannot be read".into(), "it was changed".into()),
            (_, None) => fail("a record".into(), "the replay begins a phase instead".into()),
        }
    }
}

impl Sink for Comparer {
    fn take(&mut self, body: &[u8]) -> Flow {
        // What comes after the last one that was asked for is not compared: a step of the environment pays for whole
        // rounds, and the last round of a killed run may be in the ledger only in part.
        if self.missing() == 0 {
            return Flow::Continue;
        }
        if self.ledger.body(self.next) != body {
            self.mismatch = Some(self.describe(body));
            return Flow::Stop;
        }
        self.next += 1;
        self.equal += 1;
        Flow::Continue
    }

    fn refuse(&mut self, phase: &str) -> Flow {
        self.mismatch = Some(Mismatch {
            record: self.next,
            place: format!("{phase} phase"),
            what: "this program computes something else than the one that wrote the ledger".into(),
        });
        Flow::Stop
    }
}

impl Recorder for Scribe<Comparer> {
    fn reason(&mut self) -> Error {
        let m = self.sink.mismatch.clone();
        let what = m.map_or("the ledger ends here".into(), |m| format!("{}: {}", m.place, m.what));
        Error::Ledger { path: self.sink.ledger.path().into(), what }
    }
}
