//! The whole of acting as an ONNX graph: whatever a method traces to choose an action, operation by operation.
//!
//! | input or output | shape | |
//! |---|---|---|
//! | `observation` | `[batch, S]` | raw, as the environment gives it |
//! | one more for every stream of random numbers, if the method draws even when evaluated | `[heads, rows, columns]` | the metadata say what to draw it from |
//! | `action` | `[batch, A]` | clipped to [-1, 1]; in the task's own unit, if the data were rescaled from it |
//!
//! Between them every tensor has the graph's three extents, heads, rows and columns. The number of rows is free: acting is traced
//! for two numbers of rows, and what differs between them grows with the batch.

use baq_kernels::Binary;
use prost::Message;

use super::builder::{Builder, Count, value};
use super::proto::{Attribute, FLOAT, Graph, INT64, Model, OperatorSet, Property};
use crate::autodiff::{Axis, NodeId, NoiseKind, Op, Shape, Trace, Unary};
use crate::config::Exploration;
use crate::train::TrainError;
use crate::train::policy::Restored;

/// Operator set: with those that 2022's runtimes have.
const OPSET: i64 = 17;
/// The file format that came with it.
const IR_VERSION: i64 = 8;
/// The input of states.
const OBSERVATION: &str = "observation";
/// Numbers of rows for which acting is traced.
const ROWS: [usize; 2] = [2, 3];

/// The file of a policy's mode.
///
/// # Errors
/// A method that chooses its actions by an operation that is not written.
pub fn file(policy: &Restored) -> Result<Vec<u8>, TrainError> {
    let trace = |rows| policy.agent.acting_trace(rows, Exploration::Greedy, &policy.options);
    let traces = ROWS.map(trace);
    let mut out = Lowering::new(policy, &traces);
    out.inputs();
    for id in traces[0].graph.ids() {
        out.node(id).map_err(|what| {
            let (file, method, op) = (&policy.file, &policy.method, traces[0].graph.node(id).op.name());
            TrainError::Input(format!(
                "{file}: {method} acts by `{op}` ({what}), which is not written as ONNX; use --format safetensors"
            ))
        })?;
    }
    out.output();
    Ok(out.model().encode_to_vec())
}

/// Names of the file's inputs.
pub fn inputs(policy: &Restored) -> Vec<String> {
    let trace = policy.agent.acting_trace(ROWS[0], Exploration::Greedy, &policy.options);
    let noises = trace.noises.iter().enumerate().map(|(k, noise)| noise_name(k, &noise.name));
    std::iter::once(OBSERVATION.to_string()).chain(noises).collect()
}

struct Lowering<'a> {
    policy: &'a Restored,
    traces: &'a [Trace; 2],
    out: Builder,
    notes: Vec<(String, String)>,
    /// names of the values of the nodes
    names: Vec<String>,
}

impl<'a> Lowering<'a> {
    fn new(policy: &'a Restored, traces: &'a [Trace; 2]) -> Lowering<'a> {
        let [a, b] = traces.each_ref().map(|t| t.graph.nodes().len());
        assert_eq!(a, b, "invariant: acting in other numbers of states takes the same operations");
        Lowering { policy, traces, out: Builder::default(), notes: Vec::new(), names: vec![String::new(); a] }
    }

    // ---- extents ----

    fn shape(&self, id: NodeId) -> Shape {
        self.traces[0].graph.node(id).shape
    }

    /// The extents of a node's value.
    fn extents(&self, id: NodeId) -> [Count; 3] {
        let [a, b] = self.traces.each_ref().map(|t| t.graph.node(id).shape.dims());
        std::array::from_fn(|k| extent(a[k], b[k]))
    }

    /// Extents as a tensor of whole numbers, which exists only when the graph runs if they depend on the batch.
    fn runtime(&mut self, extents: &[Count]) -> String {
        let fixed: Option<Vec<usize>> = extents
            .iter()
            .map(|e| match e {
                Count::Fixed(n) => Some(*n),
                Count::Batches(_) => None,
            })
            .collect();
        if let Some(fixed) = fixed {
            return self.out.whole(&fixed);
        }
        let batch = self.out.emit(
            "Shape",
            &["observation"],
            vec![Attribute::int("start", 0), Attribute::int("end", 1)],
        );
        let parts: Vec<String> = extents
            .iter()
            .map(|e| match *e {
                Count::Fixed(n) => self.out.whole(&[n]),
                Count::Batches(n) => {
                    let times = self.out.whole(&[n]);
                    self.out.emit("Mul", &[&batch, &times], Vec::new())
                }
            })
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.out.emit("Concat", &parts, vec![Attribute::int("axis", 0)])
    }

    // ---- ends ----

    fn inputs(&mut self) {
        let dims = self.policy.agent.dims;
        self.out.graph.input.push(value(OBSERVATION, &[Count::Batches(1), Count::Fixed(dims.s)]));
        for (k, noise) in self.traces[0].noises.iter().enumerate() {
            let (a, b) = (noise.shape.dims(), self.traces[1].noises[k].shape.dims());
            let extents: [Count; 3] = std::array::from_fn(|k| extent(a[k], b[k]));
            let name = noise_name(k, &noise.name);
            self.out.graph.input.push(value(&name, &extents));
            self.notes.push((name, drawn(noise.kind)));
        }
    }

    /// The states as the networks see them, `[1, batch, S]`.
    fn states(&mut self) -> String {
        let (s, scale) = (self.policy.agent.dims.s, self.policy.scales.observation.clone());
        let first = self.out.whole(&[0]);
        let x = self.out.emit("Unsqueeze", &[OBSERVATION, &first], Vec::new());
        let mean = self.out.tensor(&[1, 1, s], &scale.mean);
        let std = self.out.tensor(&[1, 1, s], &scale.std);
        let centred = self.out.emit("Sub", &[&x, &mean], Vec::new());
        self.out.emit("Div", &[&centred, &std], Vec::new())
    }

    fn output(&mut self) {
        let (_, id) = self.traces[0].outputs[0];
        let (mut action, first) = (self.names[id.index()].clone(), self.out.whole(&[0]));
        if let Some(bounds) = &self.policy.scales.action {
            // low + (a + 1) (high - low) / 2, as a factor and an addend.
            let pairs =
                || bounds.low().iter().zip(bounds.high()).map(|(l, h)| (f64::from(*l), f64::from(*h)));
            let factor: Vec<f32> = pairs().map(|(low, high)| ((high - low) / 2.0) as f32).collect();
            let addend: Vec<f32> = pairs().map(|(low, high)| ((high + low) / 2.0) as f32).collect();
            let factor = self.out.tensor(&[1, 1, factor.len()], &factor);
            let addend = self.out.tensor(&[1, 1, addend.len()], &addend);
            let scaled = self.out.emit("Mul", &[&action, &factor], Vec::new());
            action = self.out.emit("Add", &[&scaled, &addend], Vec::new());
        }
        self.out.emit_as("Squeeze", &[&action, &first], Vec::new(), "action");
        let a = self.policy.agent.dims.a;
        self.out.graph.output.push(value("action", &[Count::Batches(1), Count::Fixed(a)]));
    }

    fn model(self) -> Model {
        let p = self.policy;
        let mut notes =
            vec![("method".to_string(), p.method.clone()), ("environment".to_string(), p.env.clone())];
        notes.extend(self.notes);
        Model {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: p.describe(),
            graph: Some(Graph { name: "policy".into(), ..self.out.graph }),
            opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
            metadata_props: notes.into_iter().map(|(key, value)| Property { key, value }).collect(),
        }
    }

    // ---- operations ----

    /// Writes a node; an error says what of it cannot be written.
    fn node(&mut self, id: NodeId) -> Result<(), &'static str> {
        let node = self.traces[0].graph.node(id).clone();
        let args: Vec<String> = node.args.iter().map(|a| self.names[a.index()].clone()).collect();
        let x = args.first().map_or("", String::as_str);
        let name = match node.op {
            Op::Input(_) => self.states(),
            Op::Noise(k) => noise_name(k, &self.traces[0].noises[k].name),
            Op::Const(c) => self.out.number(c.get()),
            Op::Hyper(k) => self.out.number(self.traces[0].hypers[k].schedule.at(0)),
            Op::Param { id, .. } => {
                let values = self.policy.agent.store.values[id.index()].to_vec();
                self.out.tensor(&node.shape.dims(), &values)
            }
            Op::Linear => self.linear(id, &args),
            Op::LayerNorm { eps } => self.layer_norm(&args, eps.get()),
            Op::Unary(f) => self.unary(f, x)?,
            Op::Binary(f) => self.binary(f, x, &args[1])?,
            Op::Sum(axis) => {
                let axes = self.out.whole(&[number_of(axis) as usize]);
                self.out.emit("ReduceSum", &[x, &axes], Vec::new())
            }
            Op::Min(axis) => {
                self.out.emit("ReduceMin", &[x], vec![Attribute::ints("axes", &[number_of(axis)])])
            }
            Op::MinGrad(axis) if axis != Axis::Rows => self.at_least(&args, axis, self.shape(node.args[0])),
            Op::LogSumExp => self.out.emit("ReduceLogSumExp", &[x], vec![Attribute::ints("axes", &[2])]),
            Op::Concat => self.out.emit("Concat", &[x, &args[1]], vec![Attribute::int("axis", 2)]),
            Op::Slice { start, cols } => {
                let [from, to, axis] = [start, start + cols, 2].map(|n| self.out.whole(&[n]));
                self.out.emit("Slice", &[x, &from, &to, &axis], Vec::new())
            }
            Op::PickHeads => {
                let whole = self.out.emit("Cast", &[&args[1]], vec![Attribute::int("to", INT64.into())]);
                let count = self.out.whole(&[node.shape.heads]);
                let indices = self.out.emit("Reshape", &[&whole, &count], Vec::new());
                self.out.emit("Gather", &[x, &indices], vec![Attribute::int("axis", 0)])
            }
            Op::Repeat(k) => self.repeat(id, x, k),
            Op::SumRepeats(k) => self.sum_repeats(id, x, k),
            Op::Reshape => {
                let extents = self.extents(id);
                let to = self.runtime(&extents);
                self.out.emit("Reshape", &[x, &to], Vec::new())
            }
            Op::Expand => {
                let extents = self.extents(id);
                let to = self.runtime(&extents);
                self.out.emit("Expand", &[x, &to], Vec::new())
            }
            Op::Detach => x.to_string(),
            _ => return Err("no operation of a forward pass"),
        };
        self.names[id.index()] = name;
        Ok(())
    }

    fn linear(&mut self, id: NodeId, args: &[String]) -> String {
        let bias = self.traces[0].graph.node(id).args[2];
        let (own, rows) = (self.shape(bias).rows, self.shape(id).rows);
        let product = self.out.emit("MatMul", &[&args[0], &args[1]], Vec::new());
        let b = match own == 1 || own == rows {
            true => args[2].clone(),
            false => self.repeat(id, &args[2], rows / own),
        };
        self.out.emit("Add", &[&product, &b], Vec::new())
    }

    /// Every row of x k times in succession; the result has the rows and columns of `id`.
    fn repeat(&mut self, id: NodeId, x: &str, k: usize) -> String {
        let axis = self.out.whole(&[2]);
        let apart = self.out.emit("Unsqueeze", &[x, &axis], Vec::new());
        let times = self.out.whole(&[1, 1, k, 1]);
        let wide = self.out.emit("Expand", &[&apart, &times], Vec::new());
        let extents = self.extents(id);
        let to = self.runtime(&extents);
        self.out.emit("Reshape", &[&wide, &to], Vec::new())
    }

    fn sum_repeats(&mut self, id: NodeId, x: &str, k: usize) -> String {
        let [j, b, n] = self.extents(id);
        let to = self.runtime(&[j, b, Count::Fixed(k), n]);
        let apart = self.out.emit("Reshape", &[x, &to], Vec::new());
        let axes = self.out.whole(&[2]);
        self.out.emit("ReduceSum", &[&apart, &axes], vec![Attribute::int("keepdims", 0)])
    }

    /// g where x has its first minimum along an axis, else 0, of (x, min, g).
    fn at_least(&mut self, args: &[String], axis: Axis, x: Shape) -> String {
        let along = number_of(axis);
        let attributes = vec![Attribute::int("axis", along), Attribute::int("keepdims", 1)];
        let least = self.out.emit("ArgMin", &[&args[0]], attributes);
        let mut dims = [1; 3];
        dims[along as usize] = x.dims()[along as usize];
        let numbers: Vec<usize> = (0..x.dims()[along as usize]).collect();
        let (numbers, dims) = (self.out.whole(&numbers), self.out.whole(&dims));
        let numbers = self.out.emit("Reshape", &[&numbers, &dims], Vec::new());
        let there = self.truth("Equal", &numbers, &least);
        self.out.emit("Mul", &[&there, &args[2]], Vec::new())
    }

    fn layer_norm(&mut self, args: &[String], eps: f64) -> String {
        let mean =
            |to: &mut Self, x: &str| to.out.emit("ReduceMean", &[x], vec![Attribute::ints("axes", &[2])]);
        let centre = mean(self, &args[0]);
        let x = self.out.emit("Sub", &[&args[0], &centre], Vec::new());
        let square = self.out.emit("Mul", &[&x, &x], Vec::new());
        let variance = mean(self, &square);
        let eps = self.out.number(eps);
        let variance = self.out.emit("Add", &[&variance, &eps], Vec::new());
        let std = self.out.emit("Sqrt", &[&variance], Vec::new());
        let x = self.out.emit("Div", &[&x, &std], Vec::new());
        let x = self.out.emit("Mul", &[&x, &args[1]], Vec::new());
        self.out.emit("Add", &[&x, &args[2]], Vec::new())
    }

    fn unary(&mut self, f: Unary, x: &str) -> Result<String, &'static str> {
        let named = match f {
            Unary::Exp => "Exp",
            Unary::Log => "Log",
            Unary::Tanh => "Tanh",
            Unary::Relu => "Relu",
            Unary::Softplus => "Softplus",
            Unary::Sigmoid => "Sigmoid",
            Unary::Sin => "Sin",
            Unary::Sqrt => "Sqrt",
            Unary::Abs => "Abs",
            Unary::Sign => "Sign",
            Unary::Square => return Ok(self.out.emit("Mul", &[x, x], Vec::new())),
            Unary::Affine { scale, shift } => {
                let (scale, shift) = (self.out.number(scale.get()), self.out.number(shift.get()));
                let scaled = self.out.emit("Mul", &[x, &scale], Vec::new());
                return Ok(self.out.emit("Add", &[&scaled, &shift], Vec::new()));
            }
            Unary::Clamp { lo, hi } => {
                let (lo, hi) = (self.out.number(lo.get()), self.out.number(hi.get()));
                let low = self.out.emit("Max", &[x, &lo], Vec::new());
                return Ok(self.out.emit("Min", &[&low, &hi], Vec::new()));
            }
            Unary::Inside { lo, hi } => {
                let (lo, hi) = (self.out.number(lo.get()), self.out.number(hi.get()));
                let above = self.truth("GreaterOrEqual", x, &lo);
                let below = self.truth("LessOrEqual", x, &hi);
                return Ok(self.out.emit("Mul", &[&above, &below], Vec::new()));
            }
            Unary::Gelu => return Ok(self.gelu(x)),
            _ => return Err("one of its functions"),
        };
        Ok(self.out.emit(named, &[x], Vec::new()))
    }

    /// x / (1 + e^-2u), u = √(2/π) (x + 0.044715 x³)
    fn gelu(&mut self, x: &str) -> String {
        let c = 2.0 * std::f64::consts::FRAC_2_PI.sqrt();
        let (cubic, linear) = (self.out.number(0.044715 * c), self.out.number(c));
        let square = self.out.emit("Mul", &[x, x], Vec::new());
        let scaled = self.out.emit("Mul", &[&square, &cubic], Vec::new());
        let factor = self.out.emit("Add", &[&scaled, &linear], Vec::new());
        let u = self.out.emit("Mul", &[x, &factor], Vec::new());
        let gate = self.out.emit("Sigmoid", &[&u], Vec::new());
        self.out.emit("Mul", &[x, &gate], Vec::new())
    }

    fn binary(&mut self, f: Binary, a: &str, b: &str) -> Result<String, &'static str> {
        let named = match f {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Min => "Min",
            Binary::Max => "Max",
            Binary::Le => return Ok(self.truth("LessOrEqual", a, b)),
            Binary::Lt => return Ok(self.truth("Less", a, b)),
            _ => return Err("an operation of losses"),
        };
        Ok(self.out.emit(named, &[a, b], Vec::new()))
    }

    /// 1 where a comparison holds, else 0.
    fn truth(&mut self, comparison: &str, a: &str, b: &str) -> String {
        let holds = self.out.emit(comparison, &[a, b], Vec::new());
        self.out.emit("Cast", &[&holds], vec![Attribute::int("to", FLOAT.into())])
    }
}

fn extent(at_first: usize, at_second: usize) -> Count {
    match at_first == at_second {
        true => Count::Fixed(at_first),
        false => Count::Batches(at_first / ROWS[0]),
    }
}

fn number_of(axis: Axis) -> i64 {
    match axis {
        Axis::Heads => 0,
        Axis::Rows => 1,
        Axis::Cols => 2,
    }
}

fn noise_name(k: usize, name: &str) -> String {
    format!("noise{k}.{name}")
}

fn drawn(kind: NoiseKind) -> String {
    match kind {
        NoiseKind::Normal => "standard normal".into(),
        other => other.to_string(),
    }
}
