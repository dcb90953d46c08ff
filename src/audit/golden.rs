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
//! | `noise.I.J.KIND` | J-th random draw of update I |
//! | `after.U.NET.PARAM` | parameters after U updates |
//!
//! The difference of two tensors is the largest |x - y| / max(|y|, rms(y)) over their elements.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use thiserror::Error;

use crate::adapt;
use crate::algo::iql::{Actor, InitRule, IqlConfig, Order};
use crate::algo::{self, Batch, Dims, Phase};
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use crate::autodiff::{
    Clock, Noise, ParamId, ParamTable, Program, Role, Schedule, Select, Store, Trace, Tracer, Workspace,
};
use crate::config::{AdamConfig, AutoOr, Config, ConfigError};
use crate::nn::Params;
use crate::replay;

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
    #[error("{file}: {key}: expected {expected}, got {got}")]
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

    /// Whether both executors are inside their tolerance.
    pub fn passed(&self) -> bool {
        self.worst_f64() <= self.tolerance_f64 && self.worst_f32() <= self.tolerance_f32
    }
}

/// The larger; NaN is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The tensors and the JSON of one trace.
struct Files {
    name: String,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    json: Value,
}

impl Files {
    fn read(path: &Path) -> Result<Files, GoldenError> {
        let name = path.display().to_string();
        let fail = |file: &Path, cause: String| GoldenError::File { file: file.display().to_string(), cause };
        let bytes = std::fs::read(path).map_err(|e| fail(path, e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| fail(path, format!("not a safetensors file ({e})")))?;
        let mut tensors = BTreeMap::new();
        for (key, view) in file.iter() {
            let values = match view.dtype() {
                Dtype::F64 => view
                    .data()
                    .chunks_exact(8)
                    .map(|b| f64::from_le_bytes(b.try_into().expect("invariant: 8 bytes")))
                    .collect(),
                Dtype::F32 => view
                    .data()
                    .chunks_exact(4)
                    .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("invariant: 4 bytes"))))
                    .collect(),
                other => {
                    return Err(GoldenError::Tensor {
                        file: name,
                        key: key.to_string(),
                        expected: "f64 or f32".into(),
                        got: format!("{other:?}"),
                    });
                }
            };
            tensors.insert(key.to_string(), (view.shape().to_vec(), values));
        }
        let json_path = path.with_extension("json");
        let text = std::fs::read_to_string(&json_path).map_err(|e| {
            fail(&json_path, format!("{e}; a trace is a pair NAME.safetensors, NAME.json in one folder"))
        })?;
        let json = serde_json::from_str(&text).map_err(|e| fail(&json_path, e.to_string()))?;
        Ok(Files { name, tensors, json })
    }

    fn tensor(&self, key: &str, len: usize) -> Result<&[f64], GoldenError> {
        let error = |got: String| GoldenError::Tensor {
            file: self.name.clone(),
            key: key.into(),
            expected: format!("{len} numbers"),
            got,
        };
        match self.tensors.get(key) {
            None => Err(error("no such tensor".into())),
            Some((shape, v)) if v.len() != len => Err(error(format!("shape {shape:?}"))),
            Some((_, v)) => Ok(v),
        }
    }

    fn meta(&self, key: &str) -> Result<&Value, GoldenError> {
        self.json.pointer(&format!("/meta/{key}")).ok_or_else(|| GoldenError::Tensor {
            file: self.name.replace(".safetensors", ".json"),
            key: format!("meta.{key}"),
            expected: "a value".into(),
            got: "nothing".into(),
        })
    }

    fn number(&self, key: &str) -> Result<f64, GoldenError> {
        let value = self.meta(key)?;
        value.as_f64().ok_or_else(|| GoldenError::Tensor {
            file: self.name.replace(".safetensors", ".json"),
            key: format!("meta.{key}"),
            expected: "a number".into(),
            got: value.to_string(),
        })
    }

    fn text(&self, key: &str) -> Result<&str, GoldenError> {
        let value = self.meta(key)?;
        value.as_str().ok_or_else(|| GoldenError::Tensor {
            file: self.name.replace(".safetensors", ".json"),
            key: format!("meta.{key}"),
            expected: "a string".into(),
            got: value.to_string(),
        })
    }

    /// Widths of the hidden layers of a network, read off its weights in the order of their numbers.
    fn hidden(&self, net: &str) -> Vec<usize> {
        let prefix = format!("init.{net}.");
        let mut layers: Vec<(usize, usize)> = self
            .tensors
            .iter()
            .filter_map(|(key, (shape, _))| {
                let name = key.strip_prefix(&prefix)?.strip_suffix(".weight")?;
                Some((name.rsplit('.').next()?.parse().ok()?, shape[0]))
            })
            .collect();
        layers.sort_unstable();
        layers.pop();
        layers.into_iter().map(|(_, width)| width).collect()
    }
}

/// Foreign network names and ours.
const NETWORKS: &[(&str, &str)] = &[
    ("actor", "pi"),
    ("qf.q1", "q.0"),
    ("qf.q2", "q.1"),
    ("q_target.q1", "q_target.0"),
    ("q_target.q2", "q_target.1"),
    ("vf", "v"),
    ("bc", "bc"),
];

/// Our path of a foreign parameter: `vf.v.net.2.weight` is `v.layer1.weight`, since every second of its
/// modules is an activation.
fn our_path(foreign: &str) -> Option<String> {
    let (net, rest) = NETWORKS
        .iter()
        .find_map(|(theirs, ours)| Some((ours, foreign.strip_prefix(theirs)?.strip_prefix('.')?)))?;
    let mut parts = rest.rsplit('.');
    match (parts.next()?, parts.next().and_then(|n| n.parse::<usize>().ok())) {
        (kind @ ("weight" | "bias"), Some(n)) => Some(format!("{net}.layer{}.{kind}", n / 2)),
        (name, None) => Some(format!("{net}.{name}")),
        _ => None,
    }
}

/// A learner with the trace's method and hyper-parameters.
struct Setup {
    table: std::sync::Arc<ParamTable>,
    trace: Trace,
    annotation: Option<Trace>,
    dims: Dims,
}

fn setup(files: &Files) -> Result<Setup, GoldenError> {
    let method = files.text("algo")?;
    let (adaptation, base) = match method.strip_prefix("baq-") {
        Some(base) => ("baq", base),
        None => ("plain", method),
    };
    let dims = Dims {
        s: files.number("obs_dim")? as usize,
        a: files.number("act_dim")? as usize,
        batch: files.number("batch")? as usize,
    };
    let mut config = Config::new(Vec::new());
    let rounds;
    match base {
        "iql" => {
            let lr = files.number("lr")?;
            rounds = files.number("actor_cosine_max_steps")? as u64;
            let constant = |key: &str| files.number(key).map(Schedule::Constant);
            let adam = |lr| AdamConfig::new(Schedule::Constant(lr));
            // The reference forms |tau - 1(u < 0)| in single precision even where all else is double;
            // its weighted variant does not.
            let tau = files.number("iql_tau")?;
            let tau = if adaptation == "plain" { f64::from(tau as f32) } else { tau };
            config.put(IqlConfig {
                expectile: Schedule::Constant(tau),
                temperature: constant("beta")?,
                discount: constant("discount")?,
                polyak: constant("tau")?,
                weight_bound: files.number("exp_adv_max")?,
                order: Order::Corl,
                actor_head: match files.text("policy")? {
                    "deterministic" => Actor::Deterministic,
                    _ => Actor::Gaussian,
                },
                log_std_min: -20.0,
                init: InitRule::Torch,
                hidden: files.hidden("vf"),
                critics: 2,
                actor: AdamConfig::new(Schedule::Cosine { from: lr, to: 0.0, steps: Schedule::AUTO }),
                value: adam(lr),
                critic: adam(lr),
            });
        }
        other => {
            return Err(GoldenError::Tensor {
                file: files.name.replace(".safetensors", ".json"),
                key: "meta.algo".into(),
                expected: "iql or baq-iql".into(),
                got: other.into(),
            });
        }
    }
    if adaptation == "baq" {
        config.put(adapt::baq::BaqConfig {
            k_q: AutoOr::Value(files.number("k_q")?),
            use_priority: false,
            model: match files.text("bc")? {
                "deterministic" => algo::bc::Model::Mse,
                _ => algo::bc::Model::Gaussian,
            },
            model_hidden: files.hidden("bc"),
            ..Default::default()
        });
    }

    let base = algo::find(base).expect("invariant: matched above");
    let adaptation = adapt::find(adaptation).expect("invariant: matched above");
    let mut params = Params::default();
    let learner = (base.build)(&config, dims, &mut params)?;
    let adaptation = (adaptation.build)(&config, dims, learner.as_ref(), &mut params)?;
    let (table, _) = params.finish(0);

    let phase = Phase::offline(rounds);
    let tracer = Tracer::new(table.clone());
    learner.trace(&tracer, &Batch::new(&tracer, dims, &phase), adaptation.as_ref(), &phase);
    let trace = tracer.finish();
    let annotation = adapt::annotation(adaptation.as_ref(), &table, dims);
    Ok(Setup { table, trace, annotation, dims })
}

/// Parameters of the trace under `prefix` in our layout, by tensor.
fn parameters(files: &Files, table: &ParamTable, prefix: &str) -> Result<Vec<Option<Vec<f64>>>, GoldenError> {
    let mut found: BTreeMap<String, &(Vec<usize>, Vec<f64>)> = BTreeMap::new();
    for (key, value) in &files.tensors {
        if let Some(path) = key.strip_prefix(prefix).and_then(our_path) {
            found.insert(path, value);
        }
    }
    table
        .ids()
        .map(|id: ParamId| {
            let shape = table.param(id).shape;
            let mut out = Vec::with_capacity(shape.len());
            for (path, _) in table.paths(id) {
                let Some((have, values)) = found.get(&path) else { return Ok(None) };
                let stored = if shape.rows == 1 { vec![shape.cols] } else { vec![shape.cols, shape.rows] };
                if *have != stored {
                    return Err(GoldenError::Tensor {
                        file: files.name.clone(),
                        key: format!("{prefix}{path}"),
                        expected: format!("shape {stored:?}"),
                        got: format!("{have:?}"),
                    });
                }
                // [N, K] to [K, N]
                out.extend((0..shape.rows).flat_map(|k| (0..shape.cols).map(move |n| (k, n))).map(
                    |(k, n)| {
                        if shape.rows == 1 { values[n] } else { values[n * shape.rows + k] }
                    },
                ));
            }
            Ok(Some(out))
        })
        .collect()
}

/// Largest |x - y| / max(|y|, rms(y)).
fn difference(x: impl Iterator<Item = f64>, y: &[f64]) -> f64 {
    let rms = (y.iter().map(|v| v * v).sum::<f64>() / y.len() as f64).sqrt();
    let floor = rms.max(f64::MIN_POSITIVE);
    x.zip(y).map(|(x, y)| (x - y).abs() / y.abs().max(floor)).fold(0.0, worse)
}

/// Replays a trace with both executors.
pub fn compare(path: &Path) -> Result<Report, GoldenError> {
    let files = Files::read(path)?;
    let method = files.text("algo")?.to_string();
    let updates = files.number("steps")? as usize;
    let Setup { table, trace, annotation, dims } = setup(&files)?;

    let mut exact = ReferenceStore::zeros(&table);
    let mut store = Store::zeros(table.clone());
    for (id, values) in table.ids().zip(parameters(&files, &table, "init.")?) {
        let values = values.ok_or_else(|| GoldenError::Tensor {
            file: files.name.clone(),
            key: format!("init.{}", table.paths(id)[0].0),
            expected: "initial parameters".into(),
            got: "no such tensor".into(),
        })?;
        for (to, from) in store.values[id.index()].iter_mut().zip(&values) {
            *to = *from as f32;
        }
        exact.values[id.index()] = values;
    }

    let select = Select { critic: true, actor: true, metrics: false };
    let program = Program::compile(&trace, select);
    let mut workspace = Workspace::new(&program);
    let mut report = Report {
        method,
        updates,
        tensors: Vec::new(),
        losses: Vec::new(),
        tolerance_f64: 1e-8,
        tolerance_f32: 2e-4,
    };
    for update in 0..updates {
        let batch = batch(&files, update, dims)?;
        let mut wide = batch.clone();
        let mut narrow: BTreeMap<&str, Vec<f32>> =
            batch.iter().map(|(k, v)| (*k, v.iter().map(|x| *x as f32).collect())).collect();
        if let Some(annotation) = &annotation {
            annotate_exact(annotation, &exact, &mut wide);
            annotate(annotation, &mut store, &mut narrow);
        }
        let clock = Clock { round: update as u64, phase_round: update as u64 };
        let draws = vec![Vec::new(); trace.noises.len()];
        for (name, values) in &narrow {
            if let Some(input) = workspace.input_mut(&program, name) {
                input.copy_from_slice(values);
            }
        }
        program.run(&mut workspace, &mut store, clock, Noise::Recorded(&draws));

        let inputs = ReferenceInputs {
            columns: trace.inputs.iter().map(|i| wide[i.name].clone()).collect(),
            noise: trace.noises.iter().map(|n| vec![0.0; n.shape.len()]).collect(),
        };
        let values = reference::run(&trace, &mut exact, &inputs, clock, |_: Role| true);
        for (k, u) in program.updates().iter().enumerate() {
            let key = format!("/logs/{update}/{}", foreign_loss(u.name));
            if let Some(expected) = files.json.pointer(&key).and_then(Value::as_f64) {
                let relative = |x: f64| (x - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
                report.losses.push(LossRow {
                    update,
                    name: u.name.into(),
                    expected,
                    f64: relative(trace.loss(u.name, &values)),
                    f32: relative(f64::from(workspace.loss(&program, k))),
                });
            }
        }
        let after = parameters(&files, &table, &format!("after.{}.", update + 1))?;
        for (id, expected) in table.ids().zip(after) {
            let Some(expected) = expected else { continue };
            for (path, range) in table.paths(id) {
                let y = &expected[range.clone()];
                let wide = exact.values[id.index()][range.clone()].iter().copied();
                let narrow = store.values[id.index()][range].iter().map(|x| f64::from(*x));
                report.tensors.push(Difference {
                    after: update + 1,
                    path,
                    f64: difference(wide, y),
                    f32: difference(narrow, y),
                });
            }
        }
    }
    if report.tensors.is_empty() {
        return Err(GoldenError::Tensor {
            file: files.name,
            key: "after.U.NET.PARAM".into(),
            expected: "parameters after some update".into(),
            got: "none".into(),
        });
    }
    Ok(report)
}

/// How the trace's logs call the loss of an update.
fn foreign_loss(update: &str) -> &str {
    match update {
        "value" => "value_loss",
        "q" => "q_loss",
        "policy" => "actor_loss",
        other => other,
    }
}

fn batch(files: &Files, update: usize, dims: Dims) -> Result<BTreeMap<&'static str, Vec<f64>>, GoldenError> {
    let column = |name: &str, cols: usize| {
        files.tensor(&format!("batch.{update}.{name}"), dims.batch * cols).map(<[f64]>::to_vec)
    };
    let terminals = column("terminals", 1)?;
    Ok(BTreeMap::from([
        (replay::S, column("observations", dims.s)?),
        (replay::A, column("actions", dims.a)?),
        (replay::R, column("rewards", 1)?),
        (replay::M, terminals.iter().map(|t| 1.0 - t).collect()),
        (replay::S2, column("next_observations", dims.s)?),
    ]))
}

fn annotate_exact(annotation: &Trace, store: &ReferenceStore, batch: &mut BTreeMap<&'static str, Vec<f64>>) {
    let inputs = ReferenceInputs {
        columns: annotation.inputs.iter().map(|i| batch[i.name].clone()).collect(),
        noise: Vec::new(),
    };
    let values = reference::run(annotation, &mut store.clone(), &inputs, Clock::default(), |_| true);
    for (name, node) in &annotation.outputs {
        let value = values[node.index()].clone().expect("invariant: every node was computed");
        batch.insert(name, value);
    }
}

fn annotate(annotation: &Trace, store: &mut Store, batch: &mut BTreeMap<&str, Vec<f32>>) {
    let program = Program::compile(annotation, Select::ALL);
    let mut workspace = Workspace::new(&program);
    for (name, values) in batch.iter() {
        if let Some(input) = workspace.input_mut(&program, name) {
            input.copy_from_slice(values);
        }
    }
    program.run(&mut workspace, store, Clock::default(), Noise::Seed(0));
    for (name, _) in &annotation.outputs {
        batch.insert(name, workspace.output(&program, name).to_vec());
    }
}
