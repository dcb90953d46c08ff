//! A replayed run against the ledger of the first one, record by record.

use super::Error;
use super::ledger::{Entry, LINK, Ledger, Mark, Phase, Record, Sink, link};
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

/// Compares records with those of a ledger. How far is the replay's affair: a ledger that has too few records differs.
pub struct Comparer {
    ledger: Ledger,
    phases: Vec<Phase>,
    /// kinds of the updates that fit a model
    model: std::ops::Range<usize>,
    /// where the ledger of the replay would stand
    mark: Mark,
    /// records that were equal
    pub equal: u64,
    /// first and last round of those that are updates, from 0; rounds that fit a model count on their own and are left out
    pub rounds: Option<(u64, u64)>,
    /// the first that was not
    pub mismatch: Option<Mismatch>,
}

impl Comparer {
    /// Compares from a mark on.
    pub fn new(ledger: Ledger, mark: Mark) -> Comparer {
        Comparer {
            phases: ledger.phases(),
            model: ledger.model_kinds(),
            ledger,
            mark,
            equal: 0,
            rounds: None,
            mismatch: None,
        }
    }

    /// Records of the ledger behind those that the replay has come to.
    pub fn rest(&self) -> usize {
        self.ledger.len().saturating_sub(self.mark.records as usize)
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
        let record = self.mark.records as usize;
        let fail = |place: String, what: String| Mismatch { record, place, what };
        let now = Record::decode(body);
        if record >= self.ledger.len() {
            let place = now.map_or("a phase".into(), |now| self.place(&now).0);
            return fail(place, "the ledger ends before it".into());
        }
        match (self.ledger.entry(record), now) {
            (Some(Entry::Update(then)), Some(now)) => {
                let (place, p, k) = self.place(&then);
                if (then.kind, then.round) != (now.kind, now.round) {
                    return fail(place, format!("the replay is at {} instead", self.place(&now).0));
                }
                let kind = self.phases.get(p).and_then(|phase| phase.updates.get(k));
                let found = kind.and_then(|kind| then.difference(&now, kind));
                let what = found.map_or("its length differs".into(), |(what, a, b)| {
                    format!("{what}: the ledger says {a}, the replay {b}")
                });
                fail(place, what)
            }
            (Some(Entry::Phase(then)), _) => fail(
                format!("beginning of the {} phase", then.phase),
                "the replay declares something else".into(),
            ),
            (Some(Entry::Change(_)), _) => {
                fail("another simulator".into(), "the replay keeps its own".into())
            }
            (Some(Entry::Closing(_)), now) => {
                let place = now.map_or("a phase".into(), |now| self.place(&now).0);
                fail(place, "the ledger says that the run ended before it".into())
            }
            (None, _) => fail("a record that cannot be read".into(), "it was changed".into()),
            (_, None) => fail("a record".into(), "the replay begins a phase instead".into()),
        }
    }
}

impl Sink for Comparer {
    fn take(&mut self, body: &[u8]) -> Flow {
        let record = self.mark.records as usize;
        if record >= self.ledger.len() || self.ledger.body(record) != body {
            self.mismatch = Some(self.describe(body));
            return Flow::Stop;
        }
        self.mark = Mark {
            records: self.mark.records + 1,
            bytes: self.mark.bytes + (4 + body.len() + LINK) as u64,
            chain: link(&self.mark.chain, body),
        };
        self.equal += 1;
        if let Some((kind, round)) = Record::place(body)
            && !self.model.contains(&kind)
        {
            self.rounds = Some((self.rounds.map_or(round, |(first, _)| first), round));
        }
        Flow::Continue
    }

    fn refuse(&mut self, phase: &str) -> Flow {
        self.mismatch = Some(Mismatch {
            record: self.mark.records as usize,
            place: format!("{phase} phase"),
            what: "this program computes something else than the one that wrote the ledger".into(),
        });
        Flow::Stop
    }

    fn flush(&mut self) -> Result<Mark, Error> {
        Ok(self.mark)
    }

    fn reason(&mut self) -> Option<Error> {
        let m = self.mismatch.clone()?;
        let what = format!("{}: {}", m.place, m.what);
        Some(Error::Ledger { path: self.ledger.path().into(), what })
    }
}
