//! Turns the events of a run into the bodies of records.

use std::sync::Arc;

use super::{FIXED, Mark, Phase};
use crate::audit::Error;
use crate::autodiff::{Flow, Probe, RoundView, Trace, UpdateView, join};

/// Takes the bodies of records in order: writes them down, or compares them.
pub trait Sink: Send {
    /// One body.
    fn take(&mut self, body: &[u8]) -> Flow;
    /// The phase that begins is not the one that was declared before.
    fn refuse(&mut self, phase: &str) -> Flow;
    /// Everything so far is where it belongs when this returns; where the ledger stands. Errors: it cannot be put
    /// there.
    fn flush(&mut self) -> Result<Mark, Error>;
    /// Why it has stopped the run, if it has.
    fn reason(&mut self) -> Option<Error>;
}

/// Writes the records of a run to a sink. After the first round it allocates nothing.
pub struct Scribe<S> {
    /// where the records go
    pub sink: S,
    phases: Vec<Phase>,
    /// places of the present phase and of what runs beside it, with the number of kinds declared before each
    present: Vec<(usize, usize)>,
    rows: u64,
    gradients: u64,
    norms: Vec<f32>,
    body: Vec<u8>,
}

impl<S: Sink> Scribe<S> {
    /// After these phases have been declared: none for a new run.
    pub fn new(sink: S, phases: Vec<Phase>) -> Scribe<S> {
        let (norms, body) = (Vec::new(), Vec::new());
        Scribe { sink, phases, present: Vec::with_capacity(2), rows: 0, gradients: 0, norms, body }
    }
}

impl<S: Sink> Scribe<S> {
    /// Writes the declaration of a phase down, if it is new, and adds it to the present ones.
    fn declare(&mut self, name: &'static str, trace: &Arc<Trace>) -> Flow {
        let phase = Phase::of(name, trace);
        let known = self.phases.iter().position(|p| p.phase == phase.phase);
        let place = known.unwrap_or(self.phases.len());
        self.present.push((place, self.phases[..place].iter().map(|p| p.updates.len()).sum()));
        if known.is_some() {
            return match self.phases[place] == phase {
                true => Flow::Continue,
                false => self.sink.refuse(name),
            };
        }
        let tensors = phase.updates.iter().map(|k| k.tensors.len()).max().unwrap_or(0);
        self.norms.clear();
        self.body.clear();
        self.norms.reserve(tensors);
        self.body.reserve(FIXED + 8 * tensors);
        let mut body = 0u32.to_le_bytes().to_vec();
        serde_json::to_writer(&mut body, &phase).expect("invariant: strings and numbers are JSON");
        self.phases.push(phase);
        self.sink.take(&body)
    }

    /// The number of an update's kind, from 1.
    fn kind(&self, update: &str) -> u32 {
        let found = self.present.iter().find_map(|&(place, before)| {
            let kinds = &self.phases[place].updates;
            kinds.iter().position(|k| k.name == update).map(|k| before + k + 1)
        });
        found.expect("invariant: the phases declare their updates") as u32
    }
}

impl<S: Sink> Probe for Scribe<S> {
    fn phase(&mut self, name: &'static str, trace: &Arc<Trace>) -> Flow {
        self.present.clear();
        self.declare(name, trace)
    }

    fn beside(&mut self, name: &'static str, trace: &Arc<Trace>) -> Flow {
        self.declare(name, trace)
    }

    fn round(&mut self, view: &RoundView<'_>) -> Flow {
        let rows = view.pass.rows;
        self.rows = rows.iter().fold(rows.len() as u64, |h, &row| join(h, u64::from(row)));
        Flow::Continue
    }

    fn update(&mut self, view: &UpdateView<'_>) -> Flow {
        self.norms.clear();
        self.gradients = 0;
        for id in view.members() {
            let digest = view.gradient_digest(id);
            self.gradients = join(self.gradients, digest.checksum);
            self.norms.push(digest.squares.sqrt() as f32);
        }
        Flow::Continue
    }

    fn applied(&mut self, view: &UpdateView<'_>) -> Flow {
        let kind = self.kind(view.update.name);
        self.body.clear();
        self.body.extend_from_slice(&kind.to_le_bytes());
        self.body.extend_from_slice(&view.round.pass.clock.round.to_le_bytes());
        self.body.extend_from_slice(&view.loss.to_le_bytes());
        for word in [self.rows, self.gradients, 0] {
            self.body.extend_from_slice(&word.to_le_bytes());
        }
        self.norms.iter().for_each(|norm| self.body.extend_from_slice(&norm.to_le_bytes()));
        let mut parameters = 0;
        for id in view.members() {
            let digest = view.parameter_digest(id);
            parameters = join(parameters, digest.checksum);
            self.body.extend_from_slice(&(digest.squares.sqrt() as f32).to_le_bytes());
        }
        self.body[FIXED - 8..FIXED].copy_from_slice(&parameters.to_le_bytes());
        self.sink.take(&self.body)
    }
}
