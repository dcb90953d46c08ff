//! Round-off against f64: every so many rounds the interpreter repeats the round, from the same parameters, batch and
//! noise, and what the kernels computed is compared with it.
//!
//! One row of `roundoff.csv` per tensor: the largest |x - y| / max(|y|, rms(y)) over its elements, y being the f64 value,
//! for its gradient and for its value after the update. An expression that cancels or a branch taken differently
//! (a ReLU at 0, the smaller of two critics) shows here first.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Error, MODEL, differences, worse};
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore, Values};
use crate::autodiff::{Clock, Effect, Flow, Item, ParamId, Probe, RoundView, Trace, UpdateView};
use crate::checkpoint::atomic::write_atomic;

/// The first line of `roundoff.csv`.
const HEADER: &str = "phase,update,loss,tensor,gradient,parameter";

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// phase of the run
    pub phase: String,
    /// number of the round, from 1
    pub update: u64,
    /// name of the update
    pub loss: String,
    /// the tensor, or nothing for the loss itself
    pub tensor: String,
    /// error of its gradient; of the loss
    pub gradient: f64,
    /// error of its value after the update; 0 for a loss
    pub parameter: f64,
}

impl Row {
    fn line(&self) -> String {
        let Row { phase, update, loss, tensor, gradient, parameter } = self;
        format!("{phase},{update},{loss},{tensor},{gradient:.3e},{parameter:.3e}\n")
    }

    fn parse(line: &str) -> Option<Row> {
        let cells: Vec<&str> = line.split(',').collect();
        let [phase, update, loss, tensor, gradient, parameter] = cells[..] else { return None };
        Some(Row {
            phase: phase.into(),
            update: update.parse().ok()?,
            loss: loss.into(),
            tensor: tensor.into(),
            gradient: gradient.parse().ok()?,
            parameter: parameter.parse().ok()?,
        })
    }

    /// The larger of both errors.
    pub fn worst(&self) -> f64 {
        worse(self.gradient, self.parameter)
    }
}

/// Reads `roundoff.csv`; a torn last line is left out. Errors: the file cannot be read, begins with another line, or
/// has a whole line that is no row.
pub fn read(path: &Path) -> Result<Vec<Row>, Error> {
    let text = crate::files::read_to_string(path).map_err(Error::io(path, "read the file"))?;
    let fail = |n: usize| Error::Ledger {
        path: path.into(),
        what: format!("line {}: expected `{HEADER}` in numbers; make it again with --probe reference", n + 1),
    };
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).enumerate();
    if lines.next().is_none_or(|(_, line)| line != HEADER) {
        return Err(fail(0));
    }
    lines.map(|(n, line)| Row::parse(line).ok_or_else(|| fail(n))).collect()
}

/// How far a checkpoint reaches.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// updates of the run
    pub updates: u64,
    /// within the fitting of a model, how many were fitted before it, and updates of this one
    pub fitting: Option<(u64, u64)>,
}

impl Reach {
    /// The rows up to there. Those of models come one model after the other, each from its first update on.
    fn of(self, rows: &[Row]) -> impl Iterator<Item = &Row> {
        let (mut model, mut last) = (0, 0);
        rows.iter().filter(move |row| {
            if row.phase != MODEL {
                return row.update <= self.updates;
            }
            model += u64::from(row.update < last);
            last = row.update;
            self.fitting.is_none_or(|(present, done)| (model, row.update) <= (present, done))
        })
    }
}

/// A round as it was before, and what the kernels made of it.
struct Seen {
    /// which of the present phases
    phase: usize,
    before: ReferenceStore,
    inputs: ReferenceInputs,
    updates: Vec<Trained>,
}

struct Trained {
    name: &'static str,
    loss: f64,
    /// (position in the table, gradient, value after the update)
    tensors: Vec<(usize, Vec<f64>, Vec<f64>)>,
}

/// Repeats every so many rounds in f64.
pub struct RoundOff {
    every: u64,
    path: Option<PathBuf>,
    /// the present phase and what runs beside it
    present: Vec<(&'static str, Arc<Trace>)>,
    seen: Option<Seen>,
    /// all comparisons so far that are not on the disk
    pub rows: Vec<Row>,
    failed: Option<Error>,
}

impl RoundOff {
    /// Keeps its rows to itself.
    pub fn new(every: u64) -> RoundOff {
        RoundOff { every, path: None, present: Vec::new(), seen: None, rows: Vec::new(), failed: None }
    }

    /// Writes to a file. Of an older one only the rows up to a checkpoint remain. Errors: with a checkpoint, the older
    /// one is refused by [`read`]; the file cannot be written.
    pub fn to_file(every: u64, path: &Path, kept: Option<Reach>) -> Result<RoundOff, Error> {
        let mut text = format!("{HEADER}\n");
        if let Some(reach) = kept
            && path.exists()
        {
            reach.of(&read(path)?).for_each(|row| text.push_str(&row.line()));
        }
        write_atomic(path, text.as_bytes()).map_err(Error::io(path, "write the file"))?;
        Ok(RoundOff { path: Some(path.into()), ..RoundOff::new(every) })
    }

    /// Everything so far is in the file when this returns. Errors: the file is gone or cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let text: String = self.rows.iter().map(Row::line).collect();
        let append = || {
            let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        append().map_err(Error::io(path, "write the file"))?;
        self.rows.clear();
        Ok(())
    }

    /// Why it has stopped the run.
    pub fn reason(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// Compares with the interpreter.
    fn compare(&mut self, seen: Seen, clock: Clock) {
        let (phase, trace) = &self.present[seen.phase];
        let ran: Vec<&str> = seen.updates.iter().map(|u| u.name).collect();
        let roles: Vec<_> = trace
            .items
            .iter()
            .filter(|i| matches!(&i.effect, Effect::Train { name, .. } if ran.contains(name)))
            .map(|i| i.role)
            .collect();
        let (mut store, mut moved) = (seen.before, Vec::new());
        // A group that is trained several times in a round is compared after each.
        let watch = |effect: &Effect, store: &ReferenceStore| {
            if let Effect::Train { gradients, .. } = effect {
                moved.push(
                    gradients.iter().map(|&(p, _)| store.values[p.index()].clone()).collect::<Vec<_>>(),
                );
            }
        };
        let select = |role| roles.contains(&role);
        let values = reference::run_watched(trace, &mut store, &seen.inputs, clock, select, watch);
        let number = |node: crate::autodiff::NodeId, values: &Values| -> Vec<f64> {
            values[node.index()].clone().expect("invariant: every node was computed")
        };
        let largest = |x: &[f64], y: &[f64]| differences(x.iter().copied(), y).into_iter().fold(0.0, worse);
        let trained =
            trace.items.iter().filter(|item| select(item.role)).filter_map(|item| match &item.effect {
                Effect::Train { name, loss, gradients, .. } => Some((name, loss, gradients)),
                Effect::Polyak { .. } => None,
            });
        for ((name, loss, gradients), moved) in trained.zip(&moved) {
            let Some(update) = seen.updates.iter().find(|u| u.name == *name) else { continue };
            let row = |tensor: String, gradient, parameter| Row {
                phase: (*phase).into(),
                update: clock.round + 1,
                loss: (*name).into(),
                tensor,
                gradient,
                parameter,
            };
            self.rows.push(row(String::new(), largest(&[update.loss], &number(*loss, &values)), 0.0));
            for ((&(p, g), moved), (_, gradient, value)) in gradients.iter().zip(moved).zip(&update.tensors) {
                let of_gradient = largest(gradient, &number(g, &values));
                let of_value = largest(value, moved);
                self.rows.push(row(trace.table.name(p), of_gradient, of_value));
            }
        }
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

impl Probe for RoundOff {
    fn phase(&mut self, name: &'static str, trace: &Arc<Trace>) -> Flow {
        self.present.clear();
        self.beside(name, trace)
    }

    fn beside(&mut self, name: &'static str, trace: &Arc<Trace>) -> Flow {
        self.present.push((name, trace.clone()));
        Flow::Continue
    }

    fn round(&mut self, view: &RoundView<'_>) -> Flow {
        if !(view.pass.clock.round + 1).is_multiple_of(self.every) {
            return Flow::Continue;
        }
        let trains = |trace: &Trace| {
            let mut updates = view.program().updates().iter();
            updates.all(|u| {
                let named = |i: &Item| matches!(i.effect, Effect::Train { name, .. } if name == u.name);
                trace.items.iter().any(named)
            })
        };
        let phase = self.present.iter().position(|(_, trace)| trains(trace));
        let phase = phase.expect("invariant: its phase has begun");
        let (_, trace) = &self.present[phase];
        // Columns that nothing in this program reads may be anything.
        let mut columns: Vec<Vec<f64>> = trace.inputs.iter().map(|i| vec![0.0; i.shape.len()]).collect();
        for (name, values) in view.columns() {
            let k = trace.inputs.iter().position(|i| i.name == name).expect("invariant: a traced column");
            columns[k] = values.iter().map(|&x| f64::from(x)).collect();
        }
        let noise = view.noise().into_iter().map(|(_, x)| wide(&x)).collect();
        let before = ReferenceStore::from(view.store);
        self.seen =
            Some(Seen { phase, before, inputs: ReferenceInputs { columns, noise }, updates: Vec::new() });
        Flow::Continue
    }

    fn update(&mut self, view: &UpdateView<'_>) -> Flow {
        if let Some(seen) = &mut self.seen {
            let of = |p: ParamId| (p.index(), wide(&view.round.store.gradients[p.index()]), Vec::new());
            let tensors = view.members().map(of).collect();
            seen.updates.push(Trained { name: view.update.name, loss: view.loss.into(), tensors });
        }
        Flow::Continue
    }

    fn applied(&mut self, view: &UpdateView<'_>) -> Flow {
        let last = self.seen.as_mut().and_then(|seen| seen.updates.last_mut());
        for (p, _, value) in last.into_iter().flat_map(|update| &mut update.tensors) {
            *value = wide(&view.round.store.values[*p]);
        }
        Flow::Continue
    }

    fn done(&mut self, view: &RoundView<'_>) -> Flow {
        if let Some(seen) = self.seen.take() {
            self.compare(seen, view.pass.clock);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_reach_as_far_as_a_checkpoint() {
        let row = |phase: &str, update| Row {
            phase: phase.into(),
            update,
            loss: String::new(),
            tensor: String::new(),
            gradient: 0.0,
            parameter: 0.0,
        };
        // Two models, of 30 and 20 updates, then the run.
        let model = [10, 20, 30, 10, 20].map(|update| row(MODEL, update));
        let rows = [&model[..], &[row("online", 110), row("online", 120)]].concat();
        let kept = |updates, fitting| -> Vec<u64> {
            Reach { updates, fitting }.of(&rows).map(|row| row.update).collect()
        };
        assert_eq!(kept(100, Some((0, 20))), [10, 20]);
        assert_eq!(kept(100, Some((1, 15))), [10, 20, 30, 10]);
        assert_eq!(kept(110, None), [10, 20, 30, 10, 20, 110]);
    }
}
