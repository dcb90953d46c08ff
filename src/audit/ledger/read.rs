//! Ledgers read back and checked.

use std::path::{Path, PathBuf};

use super::{Change, Closing, FIXED, Header, LINK, Link, MAGIC, Mark, Note, Phase, Record, link, root};
use crate::audit::{Error, MODEL};

/// More bytes than any declaration of a phase has.
const LONGEST: usize = 1 << 20;

/// One record of a ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// a phase begins
    Phase(Phase),
    /// another simulator from here on
    Change(Change),
    /// the run has ended
    Closing(Closing),
    /// an update
    Update(Record),
}

/// A place where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// number of the record, from 0
    pub record: u64,
    /// byte of the file at which it begins
    pub byte: u64,
    /// what is wrong
    pub what: String,
}

/// What follows the last whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// how many bytes
    pub bytes: u64,
    /// whether they can be the beginning of a record, as a killed run leaves it
    pub torn: bool,
}

/// A ledger in memory.
pub struct Ledger {
    path: PathBuf,
    /// what it belongs to
    pub header: Header,
    bytes: Vec<u8>,
    /// where the records begin
    start: usize,
    /// ranges of the bodies
    bodies: Vec<(usize, usize)>,
}

impl Ledger {
    /// Reads a file and finds its records. Links are not checked yet. Errors: the file cannot be read, is no ledger of
    /// version 2, or has a header that is cut off or cannot be read.
    pub fn read(path: &Path) -> Result<Ledger, Error> {
        let bytes = crate::files::read(path).map_err(Error::io(path, "read the file"))?;
        let fail = |what: String| Error::Ledger { path: path.into(), what };
        if !bytes.starts_with(MAGIC.as_bytes()) {
            let line: Vec<u8> = bytes.iter().copied().take(40).take_while(|b| *b != b'\n').collect();
            let line = String::from_utf8_lossy(&line).into_owned();
            return Err(fail(match line.strip_prefix("baq-ledger ") {
                Some(version) => format!(
                    "expected a ledger of version 2, got version {version}; check it with the program that wrote it"
                ),
                None => format!("expected a ledger that begins with `{}`, got `{line}`", MAGIC.trim()),
            }));
        }
        let rest = &bytes[MAGIC.len()..];
        let end = rest.iter().position(|b| *b == b'\n');
        let end = end.ok_or_else(|| fail("the header is cut off; nothing can be verified".into()))?;
        let header = serde_json::from_slice(&rest[..end])
            .map_err(|e| fail(format!("the header was changed and cannot be read ({e})")))?;
        let start = MAGIC.len() + end + 1;
        let mut bodies = Vec::new();
        let mut at = start;
        while let Some(length) = bytes.get(at..at + 4) {
            let length = u32::from_le_bytes(length.try_into().expect("invariant: 4 bytes")) as usize;
            let body = (at + 4, at + 4 + length);
            if body.1 + LINK > bytes.len() {
                break;
            }
            bodies.push(body);
            at = body.1 + LINK;
        }
        Ok(Ledger { path: path.into(), header, bytes, start, bodies })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of whole records.
    pub fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Whether there is no whole record.
    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What follows the last whole record, if anything does.
    pub fn tail(&self) -> Option<Tail> {
        let end = self.bodies.last().map_or(self.start, |b| b.1 + LINK);
        let tail = &self.bytes[end..];
        (!tail.is_empty()).then(|| Tail { bytes: tail.len() as u64, torn: self.torn(tail) })
    }

    /// Whether these bytes can be the beginning of a record: the length is that of its kind.
    fn torn(&self, tail: &[u8]) -> bool {
        let word = |at: usize| {
            let bytes = tail.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().expect("invariant: 4 bytes")) as usize)
        };
        match (word(0), word(4)) {
            (Some(length), Some(kind)) if kind > 0 => {
                let phases = self.phases();
                let declared = phases.iter().flat_map(|p| &p.updates).nth(kind - 1);
                declared.is_some_and(|k| length == FIXED + 8 * k.tensors.len())
            }
            // The declaration of a phase is as long as its names.
            (Some(length), Some(_)) => length <= LONGEST,
            _ => true,
        }
    }

    /// The body of a record.
    pub fn body(&self, record: usize) -> &[u8] {
        let (from, to) = self.bodies[record];
        &self.bytes[from..to]
    }

    fn stored(&self, record: usize) -> Link {
        let end = self.bodies[record].1;
        self.bytes[end..end + LINK].try_into().expect("invariant: a whole record")
    }

    /// A record, if it can be read.
    pub fn entry(&self, record: usize) -> Option<Entry> {
        let body = self.body(record);
        match body.get(..4)? {
            [0, 0, 0, 0] => Some(match serde_json::from_slice(&body[4..]).ok()? {
                Note::Phase(phase) => Entry::Phase(phase),
                Note::Change(change) => Entry::Change(change),
                Note::Closing(closing) => Entry::Closing(closing),
            }),
            _ => Record::decode(body).map(Entry::Update),
        }
    }

    /// All phases that are declared, in order.
    pub fn phases(&self) -> Vec<Phase> {
        self.phases_before(self.len())
    }

    /// The two lines of text, byte for byte.
    pub fn head(&self) -> &[u8] {
        &self.bytes[..self.start]
    }

    /// Where it stands after so many records.
    pub fn mark(&self, records: usize) -> Mark {
        let (bytes, chain) = match records.checked_sub(1) {
            None => (self.start, root(self.head())),
            Some(last) => (self.bodies[last].1 + LINK, self.stored(last)),
        };
        Mark { records: records as u64, bytes: bytes as u64, chain }
    }

    /// What the last record says about the run's files, if the run has ended.
    pub fn closing(&self) -> Option<Closing> {
        match self.entry(self.len().checked_sub(1)?)? {
            Entry::Closing(closing) => Some(closing),
            _ => None,
        }
    }

    /// The first time that the simulator became another.
    pub fn change(&self) -> Option<Change> {
        (0..self.len()).filter(|i| self.body(*i).starts_with(&[0; 4])).find_map(|i| match self.entry(i) {
            Some(Entry::Change(change)) => Some(change),
            _ => None,
        })
    }

    /// The first record that cannot stand where it stands, whether its link holds or not: an update of a kind that no
    /// phase has declared, of a round before that of an update before it, or anything after the end.
    pub fn first_disorder(&self) -> Option<Break> {
        let model = self.model_kinds();
        let (mut kinds, mut last, mut ended) = (0, [None; 2], false);
        (0..self.len()).find_map(|i| {
            let what = match self.entry(i) {
                _ if ended => "a record follows the one that ends the run".into(),
                None => "cannot be read".into(),
                Some(Entry::Phase(phase)) => {
                    kinds += phase.updates.len();
                    return None;
                }
                Some(Entry::Change(_)) => return None,
                Some(Entry::Closing(_)) => {
                    ended = true;
                    return None;
                }
                Some(Entry::Update(record)) => {
                    // The rounds that fit a model count on their own.
                    let last = &mut last[usize::from(model.contains(&record.kind))];
                    let before = last.replace(record.round);
                    match before.filter(|before| record.round < *before) {
                        Some(before) => format!("update {} follows update {}", record.round + 1, before + 1),
                        None if record.kind >= kinds => "an update of no phase that was declared".into(),
                        None => return None,
                    }
                }
            };
            Some(Break { record: i as u64, byte: (self.bodies[i].0 - 4) as u64, what })
        })
    }

    /// Phases that are declared before a record.
    pub fn phases_before(&self, end: usize) -> Vec<Phase> {
        (0..end)
            .filter(|i| self.body(*i).starts_with(&[0; 4]))
            .filter_map(|i| match self.entry(i) {
                Some(Entry::Phase(phase)) => Some(phase),
                _ => None,
            })
            .collect()
    }

    /// The first place where the chain does not hold. A break is found again at the link after it only if that one is
    /// broken too: each link is checked against the one that is stored before it.
    pub fn first_break(&self) -> Option<Break> {
        self.breaks().next()
    }

    /// All places where the chain does not hold.
    pub fn breaks(&self) -> impl Iterator<Item = Break> + '_ {
        let mut before = root(&self.bytes[..self.start]);
        let mut last: Option<Record> = None;
        (0..self.len()).filter_map(move |i| {
            let body = self.body(i);
            let holds = link(&before, body) == self.stored(i);
            before = self.stored(i);
            let record = match self.entry(i) {
                Some(Entry::Update(record)) => Some(record),
                _ => None,
            };
            let found = (!holds).then(|| {
                let at = match (&record, &last) {
                    (Some(now), Some(last)) if now.round < last.round => format!(
                        "update {} follows update {}: records were exchanged or inserted",
                        now.round + 1,
                        last.round + 1
                    ),
                    (Some(now), Some(last)) if now.round > last.round + 1 => format!(
                        "update {} follows update {}: records were dropped",
                        now.round + 1,
                        last.round + 1
                    ),
                    (Some(now), _) => format!(
                        "of update {}: it was changed, or a record before it was dropped or exchanged",
                        now.round + 1
                    ),
                    (None, _) if i == 0 => "the first: it or the header was changed".into(),
                    (None, _) => "not an update: it was changed".into(),
                };
                Break { record: i as u64, byte: (self.bodies[i].0 - 4) as u64, what: at }
            });
            if let Some(record) = record {
                last = Some(record);
            }
            found
        })
    }

    /// Update records after the model of the data was fitted, whose rounds count anew; with their numbers.
    pub fn updates(&self) -> impl Iterator<Item = (usize, Record)> + '_ {
        let skip = self.model_kinds();
        (0..self.len()).filter_map(move |i| match self.entry(i) {
            Some(Entry::Update(record)) if !skip.contains(&record.kind) => Some((i, record)),
            _ => None,
        })
    }

    /// Kinds of the phase that fits a model.
    pub(in crate::audit) fn model_kinds(&self) -> std::ops::Range<usize> {
        let mut before = 0;
        for phase in self.phases() {
            let end = before + phase.updates.len();
            if phase.phase == MODEL {
                return before..end;
            }
            before = end;
        }
        0..0
    }

    /// An error if the ledger is not that of this run.
    pub fn check_header(&self, header: &Header) -> Result<(), Error> {
        let (a, b) = (&self.header, header);
        let or_none = |sum: &Option<String>| sum.clone().unwrap_or_else(|| "none".into());
        let pairs = [
            ("version", a.code.clone(), b.code.clone(), "use the version that began the run"),
            ("instruction set", a.isa.clone(), b.isa.clone(), "choose it with --isa"),
            (
                "numerics",
                a.numerics.clone(),
                b.numerics.clone(),
                "choose it with --numerics, on a processor with the same unit",
            ),
            (
                "subnormal numbers",
                a.subnormals.clone(),
                b.subnormals.clone(),
                "use a processor that does the same",
            ),
            ("MuJoCo", a.mujoco.clone(), b.mujoco.clone(), "config.toml was changed"),
            ("hash of the configuration", a.config.clone(), b.config.clone(), "config.toml was changed"),
            ("data", a.dataset_sha256.clone(), b.dataset_sha256.clone(), "give the same file again"),
            ("origin", or_none(&a.origin), or_none(&b.origin), "the checkpoint it started from was changed"),
            ("model", or_none(&a.model), or_none(&b.model), "the model of the data was changed"),
            ("earlier evaluations", or_none(&a.earlier), or_none(&b.earlier), "they were changed"),
            ("seed", a.seed.to_string(), b.seed.to_string(), "config.toml was changed"),
        ];
        match pairs.into_iter().find(|(_, a, b, _)| a != b) {
            None => Ok(()),
            Some((what, a, b, hint)) => Err(Error::Ledger {
                path: self.path.clone(),
                what: format!("{what}: expected {b}, got {a}; {hint}"),
            }),
        }
    }

    /// The phases declared up to a mark; an error unless every link up to it holds and ends in the mark's.
    pub fn up_to(&self, mark: &Mark) -> Result<Vec<Phase>, Error> {
        let fail = |what: String| Error::Ledger { path: self.path.clone(), what };
        let records = mark.records as usize;
        if self.len() < records {
            return Err(fail(format!(
                "expected at least the {records} records that the checkpoint knows, got {}; take an earlier checkpoint",
                self.len()
            )));
        }
        let broken = self.first_break().filter(|b| b.record < mark.records);
        if let Some(b) = broken {
            return Err(fail(format!("record {} is {}; the run cannot go on from it", b.record, b.what)));
        }
        if self.mark(records) != *mark {
            return Err(fail(
                "expected the chain that the checkpoint knows, got another; they are of two runs".into(),
            ));
        }
        Ok(self.phases_before(records))
    }
}
