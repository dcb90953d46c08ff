//! Comparison with update traces of a foreign program.
//!
//! A trace is a pair of files: `NAME.safetensors` with initial parameters, batches, random draws and the
//! parameters after some updates, in f64; `NAME.json` with the method, its hyper-parameters and the losses.
//! Both executors start from the same numbers, consume the same draws, and are compared
//! tensor by tensor.
//!
//! | key | meaning |
//! |---|---|
//! | `init.NET.PARAM` | parameters before the first update, weights stored `[N, K]` |
//! | `batch.I.COLUMN` | batch of update I, from 0 |
//! | `noise.I.J.KIND` | J-th random draw of update I: `normal`, or `uniform` on (-1, 1) |
//! | `after.U.NET.PARAM` | parameters after U updates |
//! | `meta.algo` | the method; `meta` holds its hyper-parameters too, and those of them that it leaves open are named in a note |
//! | `meta.constants` | `single` or `double`: how the foreign program rounded γ and the expectile; if not given, what agrees |
//! | `logs[I].LOSS` | losses of update I |
//!
//! The J-th draw of an update belongs to the J-th stream, in order of execution, that its losses read; streams that
//! metrics alone read have none.
//!
//! The difference of two tensors is the largest |x - y| / max(|y|, rms(y)) over their elements.
//!
//! Above 400 lines because a report, its verdict and the replay that fills it are read together.

mod beside;
mod files;
mod inputs;
mod method;
mod networks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use thiserror::Error;

use self::beside::{Beside, Stores};
use self::files::Files;
use self::inputs::{annotate, annotate_exact, batch, draws, unread};
use self::method::{Constants, Setup, setup};
use self::networks::{Networks, parameters};
use super::{differences, rms, worse};
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use crate::autodiff::{Clock, Effect, Noise, Program, Role, Select, Store, Workspace};
use crate::config::ConfigError;

/// Why a trace could not be compared.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// A file that cannot be read.
    #[error("{file}: {cause}")]
    File {
        /// which
        file: String,
        /// why
        cause: String,
    },
    /// A tensor that is missing or of another shape.
    #[error("{file}: {key}: expected {expected}, got {got}; mend the trace or write it again")]
    Tensor {
        /// file
        file: String,
        /// tensor or JSON key
        key: String,
        /// what should be there
        expected: String,
        /// what is
        got: String,
    },
    /// Hyper-parameters that make no sense here.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Differences of one tensor after some update.
#[derive(Clone, Debug)]
pub struct Difference {
    /// updates done
    pub after: usize,
    /// our path
    pub path: String,
    /// largest relative difference of the f64 executor
    pub f64: f64,
    /// the same of the f32 executor
    pub f32: f64,
    /// elements
    pub len: usize,
    /// how many of them are beyond the tolerance in f32
    pub beyond_f32: usize,
    /// root mean square of the f32 executor's relative differences
    pub rms_f32: f64,
}

impl Difference {
    /// Of both executors' numbers from what is expected.
    fn of(
        after: usize,
        path: String,
        expected: &[f64],
        wide: impl Iterator<Item = f64>,
        narrow: impl Iterator<Item = f64>,
    ) -> Difference {
        let (wide, narrow) = (differences(wide, expected), differences(narrow, expected));
        Difference {
            after,
            path,
            f64: wide.into_iter().fold(0.0, worse),
            f32: narrow.iter().copied().fold(0.0, worse),
            len: narrow.len(),
            beyond_f32: narrow.iter().filter(|d| beyond(**d, TOLERANCE_F32)).count(),
            rms_f32: rms(&narrow),
        }
    }
}

/// Losses of one update.
#[derive(Clone, Debug)]
pub struct LossRow {
    /// update, from 0
    pub update: usize,
    /// name given by the trace
    pub name: String,
    /// value in the trace
    pub expected: f64,
    /// relative difference of the f64 executor
    pub f64: f64,
    /// relative difference of the f32 executor
    pub f32: f64,
}

/// What the tolerances are.
const TOLERANCE_F64: f64 = 1e-10;
const TOLERANCE_F32: f64 = 2e-4;

/// The outcome of a comparison.
#[derive(Clone, Debug)]
pub struct Report {
    /// method as the trace calls it
    pub method: String,
    /// updates replayed
    pub updates: usize,
    /// parameters
    pub tensors: Vec<Difference>,
    /// losses
    pub losses: Vec<LossRow>,
    /// allowed in f64
    pub tolerance_f64: f64,
    /// allowed in f32
    pub tolerance_f32: f64,
    /// what the trace left open, and tensors that are not compared
    pub notes: Vec<String>,
}

impl Report {
    /// Largest difference of the f64 executor.
    pub fn worst_f64(&self) -> f64 {
        self.tensors.iter().map(|d| d.f64).chain(self.losses.iter().map(|l| l.f64)).fold(0.0, worse)
    }

    /// Largest difference of the f32 executor.
    pub fn worst_f32(&self) -> f64 {
        self.tensors.iter().map(|d| d.f32).chain(self.losses.iter().map(|l| l.f32)).fold(0.0, worse)
    }

    /// The worst figure of a kind: (value, where).
    fn worst_of(
        &self,
        of_tensor: impl Fn(&Difference) -> f64,
        of_loss: impl Fn(&LossRow) -> f64,
    ) -> (f64, String) {
        let tensors =
            self.tensors.iter().map(|d| (of_tensor(d), format!("{} after update {}", d.path, d.after)));
        let losses =
            self.losses.iter().map(|l| (of_loss(l), format!("loss {} of update {}", l.name, l.update + 1)));
        tensors.chain(losses).fold(
            (0.0, String::new()),
            |a, b| {
                if a.0.is_nan() || b.0 <= a.0 { a } else { b }
            },
        )
    }

    /// The verdict in one line; where an executor differs, it says which tensor differs most.
    pub fn verdict(&self) -> String {
        let word = if self.passed() { "agrees" } else { "DIFFERS" };
        let figure = |name: &str, (value, place): (f64, String), tolerance: f64| {
            let place = if value <= tolerance { String::new() } else { format!(", at {place}") };
            format!("worst {name} {value:.1e} (tolerance {tolerance:.0e}{place})")
        };
        let f64 = figure("f64", self.worst_of(|d| d.f64, |l| l.f64), self.tolerance_f64);
        let f32 = figure("f32", self.worst_of(|d| d.f32, |l| l.f32), self.tolerance_f32);
        format!(
            "{}: {word}: {} updates, {} tensors, {} losses; {f64}; {f32}",
            self.method,
            self.updates,
            self.tensors.len(),
            self.losses.len()
        )
    }

    /// Whether both executors are inside their tolerance.
    pub fn passed(&self) -> bool {
        self.worst_f64() <= self.tolerance_f64 && self.worst_f32() <= self.tolerance_f32
    }
}

/// Whether a difference is outside its tolerance; NaN is.
fn beyond(difference: f64, tolerance: f64) -> bool {
    difference.is_nan() || difference > tolerance
}

/// Replays a trace, given by either of its two files, with both executors.
pub fn compare(path: &Path) -> Result<Report, GoldenError> {
    let files = Files::read(path)?;
    let plain_iql = files.required_word("algo", method::METHODS)? == "iql";
    let (usual, other) = match files.word("constants", Constants::WORDS)? {
        Some("single") => return replay(&files, Constants::Single),
        Some(_) => return replay(&files, Constants::Double),
        None if plain_iql => (Constants::Single, Constants::Double),
        None => (Constants::Double, Constants::Single),
    };
    let agrees = |r: &Report| r.worst_f64() <= r.tolerance_f64;
    let report = replay(&files, usual)?;
    if agrees(&report) || !method::rounds_constants(&files)? {
        return Ok(report);
    }
    let mut second = replay(&files, other)?;
    if !agrees(&second) {
        return Ok(report);
    }
    let precision = if other == Constants::Single { "single" } else { "double" };
    second.notes.push(format!("the foreign program rounded its constants to {precision} precision"));
    Ok(second)
}

fn replay(files: &Files, constants: Constants) -> Result<Report, GoldenError> {
    let method = files.required_word("algo", method::METHODS)?.to_string();
    let Setup { table, trace, annotation, beside, members, dims, updates, actor_every, mut notes } =
        setup(files, constants)?;
    let mut beside = beside.map(Beside::new);
    let networks = Networks::of(files)?;
    let mut unknown = BTreeSet::new();
    check_after(files, updates)?;

    let mut exact = ReferenceStore::zeros(&table);
    let mut store = Store::zeros(table.clone());
    let initial = parameters(files, &networks, &table, "init.", &[], &mut unknown)?;
    for (id, values) in table.ids().zip(initial) {
        let values = values.expect("invariant: no initial network is optional");
        for (to, from) in store.values[id.index()].iter_mut().zip(&values) {
            *to = *from as f32;
        }
        exact.values[id.index()] = values;
    }

    let mut programs = [false, true].map(|actor| {
        let program = Program::compile(&trace, Select { critic: true, actor, metrics: false });
        let workspace = Workspace::new(&program);
        (program, workspace)
    });
    let (mut tensors, mut losses) = (Vec::new(), Vec::new());
    for update in 0..updates {
        let batch = batch(files, update, dims, &trace)?;
        let mut wide = batch.clone();
        let mut narrow: BTreeMap<&str, Vec<f32>> =
            batch.iter().map(|(k, v)| (*k, v.iter().map(|x| *x as f32).collect())).collect();
        if let Some(annotation) = &annotation {
            annotate_exact(annotation, &exact, &mut wide);
            annotate(annotation, &mut store, &mut narrow);
        }
        let clock = Clock { round: update as u64, phase_round: update as u64 };
        let actor = (clock.round + 1).is_multiple_of(actor_every);
        let (program, workspace) = &mut programs[usize::from(actor)];
        let roles = |role| actor || role == Role::Critic;
        let draws = draws(files, update, &trace, dims, roles)?;
        let narrow_draws: Vec<Vec<f32>> =
            draws.iter().map(|d| d.iter().map(|x| *x as f32).collect()).collect();
        for (name, values) in &narrow {
            if let Some(input) = workspace.input_mut(program, name) {
                input.copy_from_slice(values);
            }
        }
        program.run(workspace, &mut store, clock, Noise::Recorded(&narrow_draws));

        let inputs = ReferenceInputs {
            columns: trace.inputs.iter().map(|i| wide[i.name].clone()).collect(),
            noise: draws,
        };
        let values = reference::run(&trace, &mut exact, &inputs, clock, roles);
        let ran = trace.items.iter().filter(|item| roles(item.role)).filter_map(|item| match &item.effect {
            Effect::Train { name, loss, .. } => Some((*name, *loss)),
            Effect::Polyak { .. } => None,
        });
        for (k, (name, node)) in ran.enumerate() {
            if let Some(expected) = logged(files, update, name)? {
                let exact = values[node.index()].as_ref().expect("invariant: the pass has computed it")[0];
                let expected = match name {
                    "temperature" => of_members(expected, members, exact),
                    _ => expected,
                };
                losses.push(LossRow {
                    update,
                    name: name.into(),
                    expected,
                    f64: (exact - expected).abs(),
                    f32: (f64::from(workspace.loss(program, k)) - expected).abs(),
                });
            }
        }
        if let Some(beside) = &mut beside {
            let stores = Stores { exact: &mut exact, narrow: &mut store };
            let (loss, priority) = beside.update(files, (update, dims), clock, stores)?;
            losses.extend(loss);
            tensors.extend(priority);
        }
        let prefix = format!("after.{}.", update + 1);
        if !files.tensors.keys().any(|key| key.starts_with(&prefix)) {
            continue;
        }
        // A frozen model need not be stored again.
        let after = parameters(files, &networks, &table, &prefix, &["bc"], &mut unknown)?;
        for (id, expected) in table.ids().zip(after) {
            let Some(expected) = expected else { continue };
            for (path, range) in table.paths(id) {
                let y = &expected[range.clone()];
                let wide = exact.values[id.index()][range.clone()].iter().copied();
                let narrow = store.values[id.index()][range].iter().map(|x| f64::from(*x));
                tensors.push(Difference::of(update + 1, path, y, wide, narrow));
            }
        }
    }
    relate(&mut losses);
    notes.extend(rounding(&tensors));
    notes.extend(unread(files, &trace, updates, actor_every));
    if losses.is_empty() {
        notes.push("the JSON logs no losses".into());
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        notes.push(format!("not compared, unknown to {method}: {}", names.join(", ")));
    }
    let (tolerance_f64, tolerance_f32) = (TOLERANCE_F64, TOLERANCE_F32);
    Ok(Report { method, updates, tensors, losses, tolerance_f64, tolerance_f32, notes })
}

/// The loss of all members' temperatures, which move alike. A trace has one temperature for all and logs its loss, or
/// their sum: a whole factor, which the numbers show.
fn of_members(logged: f64, members: usize, ours: f64) -> f64 {
    let sum = logged * members as f64;
    if (logged - ours).abs() < (sum - ours).abs() { logged } else { sum }
}

/// Where f32 alone is beyond its tolerance, what a reader needs to tell rounding from a mistake. In wide
/// layers a few gradients are smaller than the rounding of the sums they are made of, or a unit switches
/// within it; Adam divides by their size, so they move by whole steps either way. A mistake moves many.
fn rounding(tensors: &[Difference]) -> Option<String> {
    if tensors.iter().any(|d| beyond(d.f64, TOLERANCE_F64)) {
        return None;
    }
    let beyond: Vec<&Difference> = tensors.iter().filter(|d| d.beyond_f32 > 0).collect();
    let last = beyond.iter().map(|d| d.after).max()?;
    let (mut elements, mut all, mut largest) = (0, 0, 0.0f64);
    for d in beyond.iter().filter(|d| d.after == last) {
        (elements, all, largest) = (elements + d.beyond_f32, all + d.len, worse(largest, d.rms_f32));
    }
    Some(format!(
        "f64 agrees; f32 is beyond its tolerance after update {last} in {elements} of {all} elements of the tensors concerned, root mean square {largest:.1e} at most: few elements and a small mean point to gradients below f32 rounding, many to a mistake"
    ))
}

/// Something must be there to compare, and nothing may be recorded after more updates than there are.
fn check_after(files: &Files, updates: usize) -> Result<(), GoldenError> {
    let recorded: BTreeSet<&str> = files
        .tensors
        .keys()
        .filter_map(|key| key.strip_prefix("after.")?.split_once('.').map(|(u, _)| u))
        .collect();
    let error = |key: String, expected: String, got: &str| {
        Err(GoldenError::Tensor { file: files.name.clone(), key, expected, got: got.into() })
    };
    if recorded.is_empty() {
        return error("after.U.NET.PARAM".into(), "parameters after some update U".into(), "none");
    }
    for u in recorded {
        if !u.parse().is_ok_and(|u: usize| (1..=updates).contains(&u)) {
            return error(format!("after.{u}"), format!("an update from 1 to {updates}"), u);
        }
    }
    Ok(())
}

/// Absolute differences of losses to relative ones, by the rule for tensors: a loss over the updates is one.
fn relate(losses: &mut [LossRow]) {
    let all = |name: &str, losses: &[LossRow]| -> Vec<f64> {
        losses.iter().filter(|l| l.name == name).map(|l| l.expected).collect()
    };
    let floors: Vec<f64> = losses.iter().map(|l| rms(&all(&l.name, losses))).collect();
    for (l, floor) in losses.iter_mut().zip(floors) {
        let scale = l.expected.abs().max(floor).max(f64::MIN_POSITIVE);
        l.f64 /= scale;
        l.f32 /= scale;
    }
}

/// The loss that the trace logs for an update of ours, if it does. Ours may be a sum of theirs. Where an update runs
/// several times, theirs are numbered: `actor_loss_2` is that of our `policy 2`.
fn logged(files: &Files, update: usize, name: &str) -> Result<Option<f64>, GoldenError> {
    let (name, turn) = name.split_once(' ').unwrap_or((name, "1"));
    let spellings: &[&[&str]] = match name {
        "value" => &[&["value_loss"]],
        "q" => &[
            &["q_loss"],
            &["critic_loss"],
            &["qf1_loss", "qf2_loss", "cql_min_qf1_loss", "cql_min_qf2_loss"],
        ],
        "policy" => &[&["actor_loss"], &["policy_loss"]],
        "temperature" => &[&["alpha_loss"]],
        "multiplier" => &[&["alpha_prime_loss"]],
        _ => &[],
    };
    for keys in spellings {
        let term = |key: &&str| match files.log(update, &format!("{key}_{turn}"))? {
            None if turn == "1" => files.log(update, key),
            numbered => Ok(numbered),
        };
        let terms: Option<Vec<f64>> = keys.iter().map(term).collect::<Result<_, GoldenError>>()?;
        if let Some(terms) = terms {
            return Ok(Some(terms.iter().sum()));
        }
    }
    Ok(None)
}
