//! The probes of one run.

use super::Error;
use super::finite::Finite;
use super::ledger::{Mark, Scribe, Sink, Writer};
use super::roundoff::RoundOff;
use crate::autodiff::{Flow, NoProbe, OpView, Probe, RoundView, Trace, UpdateView};
use std::sync::Arc;

/// A probe as the training loops want it: it keeps up with checkpoints, and gives its reasons.
pub trait Recorder: Probe {
    /// A checkpoint is about to be written: everything seen so far is on the disk when this returns. Where the
    /// ledger stands, if there is one. Errors: a file of a probe cannot be written.
    fn flush(&mut self) -> Result<Option<Mark>, Error> {
        Ok(None)
    }

    /// Why it has asked to stop.
    fn reason(&mut self) -> Error {
        unreachable!("invariant: who never stops is never asked")
    }
}

impl Recorder for NoProbe {}

/// The probes that a run was started with; by default none. Where the ledger's records go is `S`'s affair.
pub struct Probes<S = Writer> {
    /// writes every update down
    pub ledger: Option<Scribe<S>>,
    /// looks for numbers that are none
    pub finite: Option<Finite>,
    /// repeats rounds in f64
    pub roundoff: Option<RoundOff>,
}

impl<S> Default for Probes<S> {
    fn default() -> Probes<S> {
        Probes { ledger: None, finite: None, roundoff: None }
    }
}

/// Passes an event on to all; the first that wants to stop stops.
macro_rules! forward {
    ($self:ident, $event:ident, $($arg:expr),*) => {{
        if let Some(probe) = &mut $self.finite && probe.$event($($arg),*) == Flow::Stop {
            return Flow::Stop;
        }
        if let Some(probe) = &mut $self.ledger && probe.$event($($arg),*) == Flow::Stop {
            return Flow::Stop;
        }
        if let Some(probe) = &mut $self.roundoff && probe.$event($($arg),*) == Flow::Stop {
            return Flow::Stop;
        }
        Flow::Continue
    }};
}

impl<S: Sink> Probe for Probes<S> {
    fn phase(&mut self, name: &'static str, trace: &Arc<Trace>) -> Flow {
        forward!(self, phase, name, trace)
    }
    fn beside(&mut self, name: &'static str, trace: &Arc<Trace>) -> Flow {
        forward!(self, beside, name, trace)
    }
    fn round(&mut self, view: &RoundView<'_>) -> Flow {
        forward!(self, round, view)
    }
    fn op(&mut self, view: &OpView<'_>) -> Flow {
        forward!(self, op, view)
    }
    fn update(&mut self, view: &UpdateView<'_>) -> Flow {
        forward!(self, update, view)
    }
    fn applied(&mut self, view: &UpdateView<'_>) -> Flow {
        forward!(self, applied, view)
    }
    fn done(&mut self, view: &RoundView<'_>) -> Flow {
        forward!(self, done, view)
    }
}

impl<S: Sink> Recorder for Probes<S> {
    fn flush(&mut self) -> Result<Option<Mark>, Error> {
        if let Some(roundoff) = &mut self.roundoff {
            roundoff.flush()?;
        }
        self.ledger.as_mut().map(|ledger| ledger.sink.flush()).transpose()
    }

    fn reason(&mut self) -> Error {
        let finite = self.finite.as_mut().and_then(Finite::reason);
        let ledger = || self.ledger.as_mut().and_then(|l| l.sink.reason());
        let roundoff = || self.roundoff.as_mut().and_then(RoundOff::reason);
        finite.or_else(ledger).or_else(roundoff).expect("invariant: one of them has stopped")
    }
}
