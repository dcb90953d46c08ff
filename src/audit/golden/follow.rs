//! A foreign trace, followed by both executors update by update.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::acting;
use super::beside::{Beside, Stores};
use super::error::GoldenError;
use super::files::Files;
use super::inputs::{annotate, annotate_exact, batch, draws};
use super::networks::parameters;
use super::report::{Difference, LossRow, Report, TOLERANCE_F32, TOLERANCE_F64, relate, rounding};
use super::setup::{Setup, name, setup};
use super::unread::unread;
use crate::algo::foreign::{Precision, Wrong};
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use crate::autodiff::{Clock, Effect, Noise, Program, Role, Select, Store, Workspace};

/// Replays a trace, given by either of its two files, with both executors. Errors: one of them cannot be read or
/// decoded; no method has the name; a tensor or an option is missing or not as expected; the method refuses the
/// options.
pub fn compare(path: &Path) -> Result<Report, GoldenError> {
    let files = Files::read(path)?;
    let name = name(&files)?;
    let follow = |precision| Follow::new(&files, setup(&files, precision)?)?.report(name);
    match files.text("constants")? {
        Some("single") => return follow(Precision::Single),
        Some("double") => return follow(Precision::Double),
        Some(other) => return Err(files.wrong("meta.constants", "single or double", other).into()),
        None => {}
    }
    let Some(usual) = setup(&files, Precision::Double)?.constants else { return follow(Precision::Double) };
    let agrees = |r: &Report| r.worst_f64() <= r.tolerance_f64;
    let report = follow(usual)?;
    if agrees(&report) {
        return Ok(report);
    }
    let (other, word) = match usual {
        Precision::Single => (Precision::Double, "double"),
        Precision::Double => (Precision::Single, "single"),
    };
    let mut second = follow(other)?;
    if !agrees(&second) {
        return Ok(report);
    }
    second.notes.push(format!("the foreign program rounded its constants to {word} precision"));
    Ok(second)
}

/// The state of both executors, and what was found so far.
struct Follow<'a> {
    files: &'a Files,
    setup: Setup,
    exact: ReferenceStore,
    narrow: Store,
    /// without and with the actor's role
    programs: [(Program, Workspace); 2],
    beside: Option<Beside>,
    /// rounds done
    round: u64,
    /// groups that nothing moves
    frozen: BTreeSet<String>,
    tensors: Vec<Difference>,
    losses: Vec<LossRow>,
}

impl<'a> Follow<'a> {
    /// Before the first update.
    fn new(files: &'a Files, mut setup: Setup) -> Result<Follow<'a>, GoldenError> {
        check_updates(files, setup.updates)?;
        let mut exact = ReferenceStore::zeros(&setup.table);
        let mut narrow = Store::zeros(setup.table.clone());
        let initial = parameters(files, &setup.networks, &setup.table, "init.", &setup.unread())?;
        for (id, values) in setup.table.ids().zip(initial) {
            let Some(values) = values else { continue };
            for (to, from) in narrow.values[id.index()].iter_mut().zip(&values) {
                *to = *from as f32;
            }
            exact.values[id.index()] = values;
        }
        let programs = [false, true].map(|actor| {
            let program = Program::compile(&setup.trace, Select { critic: true, actor, metrics: false });
            let workspace = Workspace::new(&program);
            (program, workspace)
        });
        let frozen = setup.frozen();
        let beside = setup.beside.take().map(Beside::new);
        let (tensors, losses) = (Vec::new(), Vec::new());
        Ok(Follow { files, setup, exact, narrow, programs, beside, round: 0, frozen, tensors, losses })
    }

    /// Whether the actor's role runs in round number `round`, from 0.
    fn acts(&self, round: u64) -> bool {
        self.setup.delay.acts(round)
    }

    /// Follows all updates.
    fn report(mut self, method: &str) -> Result<Report, GoldenError> {
        for update in 0..self.setup.updates {
            let mut first = 0;
            for slice in 0..self.setup.slices {
                self.round(update, slice, &mut first)?;
            }
            if let Some(beside) = &mut self.beside {
                let clock = Clock { round: self.round - 1, phase_round: self.round - 1 };
                let stores = Stores { exact: &mut self.exact, narrow: &mut self.narrow };
                let (loss, priority) = beside.update(self.files, (update, self.setup.dims), clock, stores)?;
                self.losses.extend(loss);
                self.tensors.extend(priority);
            }
            self.after(update)?;
        }
        let stores = Stores { exact: &mut self.exact, narrow: &mut self.narrow };
        self.tensors.extend(acting::compare(self.files, &self.setup, stores)?);
        relate(&mut self.losses);

        let mut notes = std::mem::take(&mut self.setup.notes);
        notes.extend(rounding(&self.tensors));
        if self.losses.is_empty() {
            notes.push("the JSON logs no losses".into());
        }
        notes.extend(unread(self.files));
        Ok(Report {
            method: method.into(),
            updates: self.setup.updates,
            tensors: self.tensors,
            losses: self.losses,
            tolerance_f64: TOLERANCE_F64,
            tolerance_f32: TOLERANCE_F32,
            notes,
        })
    }

    /// One round of both executors on slice `slice` of the batch of an update, its draws from number `first` on. Losses and
    /// named results of the last slice are compared with what the trace says of the update.
    fn round(&mut self, update: usize, slice: usize, first: &mut usize) -> Result<(), GoldenError> {
        let Setup { trace, dims, slices, .. } = &self.setup;
        let batch = batch(self.files, update, (slice, *slices), *dims, trace)?;
        let mut wide = batch.clone();
        let mut narrow: BTreeMap<&str, Vec<f32>> =
            batch.iter().map(|(k, v)| (*k, v.iter().map(|x| *x as f32).collect())).collect();
        if let Some(annotation) = &self.setup.annotation {
            annotate_exact(annotation, &self.exact, &mut wide);
            annotate(annotation, &mut self.narrow, &mut narrow);
        }
        let clock = Clock { round: self.round, phase_round: self.round };
        let actor = self.acts(self.round);
        self.round += 1;
        let roles = |role| actor || role == Role::Critic;
        let draws = draws(self.files, (update, first), trace, *dims, roles)?;
        let narrow_draws: Vec<Vec<f32>> =
            draws.iter().map(|d| d.iter().map(|x| *x as f32).collect()).collect();
        let (program, workspace) = &mut self.programs[usize::from(actor)];
        for (name, values) in &narrow {
            if let Some(input) = workspace.input_mut(program, name) {
                input.copy_from_slice(values);
            }
        }
        program.run(workspace, &mut self.narrow, clock, Noise::Recorded(&narrow_draws));

        let inputs = ReferenceInputs {
            columns: trace.inputs.iter().map(|i| wide[i.name].clone()).collect(),
            noise: draws,
        };
        let values = reference::run(trace, &mut self.exact, &inputs, clock, roles);
        if slice + 1 == *slices {
            self.losses(update, actor, &values)?;
            self.extras(update, actor, &values)?;
        }
        Ok(())
    }

    /// Compares the losses of a round.
    fn losses(&mut self, update: usize, actor: bool, values: &[Option<Vec<f64>>]) -> Result<(), Wrong> {
        let (program, workspace) = &self.programs[usize::from(actor)];
        let items = self.setup.trace.items.iter().filter(|item| actor || item.role == Role::Critic);
        let ran = items.filter_map(|item| match &item.effect {
            Effect::Train { name, loss, .. } => Some((*name, *loss)),
            Effect::Polyak { .. } => None,
        });
        for (k, (name, node)) in ran.enumerate() {
            let Some(expected) = logged(self.files, update, name, &self.setup.losses)? else { continue };
            let exact = values[node.index()].as_ref().expect("invariant: the pass has computed it")[0];
            let expected = match name {
                "temperature" => of_members(expected, self.setup.members, exact),
                _ => expected,
            };
            self.losses.push(LossRow {
                update,
                name: name.into(),
                expected,
                f64: (exact - expected).abs(),
                f32: (f64::from(workspace.loss(program, k)) - expected).abs(),
            });
        }
        Ok(())
    }

    /// Compares the named results of a round with `extra.I.NAME`.
    fn extras(&mut self, update: usize, actor: bool, values: &[Option<Vec<f64>>]) -> Result<(), Wrong> {
        let prefix = format!("extra.{update}.");
        let (program, workspace) = &self.programs[usize::from(actor)];
        for key in self.files.tensors.keys().filter(|key| key.starts_with(&prefix)) {
            let name = &key[prefix.len()..];
            let output = self.setup.trace.outputs.iter().find(|(output, _)| *output == name);
            let Some((output, node)) = output else { continue };
            let wide = values[node.index()].as_ref().expect("invariant: an output is computed");
            let shape = self.setup.trace.graph.node(*node).shape;
            let (rows, cols) = (shape.heads * shape.rows, shape.cols);
            let flat: &[&[usize]] = &[&[rows, cols], &[rows]];
            let expected = self.files.tensor(key, if cols == 1 { flat } else { &flat[..1] })?;
            let narrow = workspace.output(program, output).iter().map(|x| f64::from(*x));
            let wide = wide.iter().copied();
            self.tensors.push(Difference::of(update + 1, name.into(), expected, wide, narrow));
        }
        Ok(())
    }

    /// Compares the parameters after an update, if the trace kept them.
    fn after(&mut self, update: usize) -> Result<(), Wrong> {
        let prefix = format!("after.{}.", update + 1);
        if !self.files.tensors.keys().any(|key| key.starts_with(&prefix)) {
            return Ok(());
        }
        let Setup { networks, table, .. } = &self.setup;
        let after = parameters(self.files, networks, table, &prefix, &self.frozen)?;
        for (id, expected) in table.ids().zip(after) {
            let Some(expected) = expected else { continue };
            for (path, range) in table.paths(id) {
                let y = &expected[range.clone()];
                let wide = self.exact.values[id.index()][range.clone()].iter().copied();
                let narrow = self.narrow.values[id.index()][range].iter().map(|x| f64::from(*x));
                self.tensors.push(Difference::of(update + 1, path, y, wide, narrow));
            }
        }
        Ok(())
    }
}

/// The loss of all members' temperatures, which move alike. A trace has one temperature for all and logs its loss, or
/// their sum: a whole factor, which the numbers show.
fn of_members(logged: f64, members: usize, ours: f64) -> f64 {
    let sum = logged * members as f64;
    if (logged - ours).abs() < (sum - ours).abs() { logged } else { sum }
}

/// Something must be there to compare, and nothing may be recorded of an update that is not followed.
fn check_updates(files: &Files, updates: usize) -> Result<(), Wrong> {
    let error = |key: String, expected: String, got: &str| {
        Err(Wrong { file: files.name.clone(), key, expected, got: got.into() })
    };
    if !files.tensors.keys().any(|key| key.starts_with("after.")) {
        return error("after.U.NET.PARAM".into(), "parameters after some update U".into(), "none");
    }
    // Updates that are done are counted from 1.
    for (prefix, first) in [("after.", 1), ("extra.", 0), ("priority.", 0)] {
        let (keys, last) = (files.tensors.keys(), updates - 1 + first);
        for update in keys.filter_map(|key| key.strip_prefix(prefix)?.split('.').next()) {
            if !update.parse().is_ok_and(|k: usize| (first..=last).contains(&k) && k.to_string() == update) {
                let expected = format!("an update from {first} to {last}");
                return error(format!("{prefix}{update}"), expected, update);
            }
        }
    }
    Ok(())
}

/// Losses that most programs log: our update, the keys whose sum it is.
const LOSSES: &[(&str, &[&str])] = &[
    ("value", &["value_loss"]),
    ("q", &["q_loss"]),
    ("q", &["critic_loss"]),
    ("policy", &["actor_loss"]),
    ("policy", &["policy_loss"]),
    ("temperature", &["alpha_loss"]),
];

/// The loss that the trace logs for an update of ours, if it does; `own` are spellings of the method. Where an update runs
/// several times, theirs are numbered: `actor_loss_2` is that of our `policy 2`.
fn logged(files: &Files, update: usize, name: &str, own: &[(&str, &[&str])]) -> Result<Option<f64>, Wrong> {
    let (name, turn) = name.split_once(' ').unwrap_or((name, "1"));
    for (_, keys) in own.iter().chain(LOSSES).filter(|(ours, _)| *ours == name) {
        let numbered: Vec<String> = keys.iter().map(|key| format!("{key}_{turn}")).collect();
        let found = match files.log(update, &numbered)? {
            None if turn == "1" => files.log(update, keys)?,
            found => found,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
