//! Traces and expressions as text, for `baq explain`.
//!
//! A formula is read off the graph, not written beside it: what is printed is what is computed. Signs
//! move outwards and scaled sums become means, which changes how a formula looks and not its value.
//!
//! Above 400 lines because formulas, their signs and brackets, and the table are tested together.

use baq_kernels::Binary;

use super::NOISE_STREAMS;
use super::graph::{Axis, Graph, NodeId, Op, Shape, Unary};
use super::table::GroupId;
use super::trace::{Effect, Role, Trace, Tracer};
use super::var::Var;

/// The formula of a node. Recursion ends at named nodes and at leaves.
pub fn formula(trace: &Trace, id: NodeId) -> String {
    text(trace, id).signed()
}

/// How tightly the outermost operation of a text binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binds {
    Sum,
    Product,
    Tight,
}

/// An expression, its sign apart.
struct Text {
    negative: bool,
    body: String,
    binds: Binds,
}

impl Text {
    fn new(body: String, binds: Binds) -> Text {
        Text { negative: false, body, binds }
    }

    fn tight(body: impl Into<String>) -> Text {
        Text::new(body.into(), Binds::Tight)
    }

    fn number(x: f64) -> Text {
        Text { negative: x < 0.0, ..Text::tight(literal(x.abs())) }
    }

    fn negated(self, when: bool) -> Text {
        Text { negative: self.negative != when, ..self }
    }

    /// Without sign, in brackets unless it binds at least so tightly.
    fn at_least(&self, binds: Binds) -> String {
        if self.binds >= binds { self.body.clone() } else { format!("({})", self.body) }
    }

    /// With its sign, as an argument or a whole formula.
    fn signed(&self) -> String {
        if self.negative { format!("-{}", self.at_least(Binds::Product)) } else { self.body.clone() }
    }

    fn plus(self, other: Text) -> Text {
        let sum = |a: &Text, b: &Text| Text::new(format!("{} + {}", a.body, b.body), Binds::Sum);
        let difference = |a: &Text, b: &Text| {
            Text::new(format!("{} - {}", a.body, b.at_least(Binds::Product)), Binds::Sum)
        };
        match (self.negative, other.negative) {
            (false, false) => sum(&self, &other),
            (false, true) => difference(&self, &other),
            (true, false) => difference(&other, &self),
            (true, true) => sum(&self, &other).negated(true),
        }
    }

    fn times(self, other: Text) -> Text {
        let body = format!("{} * {}", self.at_least(Binds::Product), other.at_least(Binds::Product));
        Text { negative: self.negative != other.negative, ..Text::new(body, Binds::Product) }
    }

    fn over(self, other: Text) -> Text {
        let body = format!("{} / {}", self.at_least(Binds::Product), other.at_least(Binds::Tight));
        Text { negative: self.negative != other.negative, ..Text::new(body, Binds::Product) }
    }

    /// A linear function: its argument's sign becomes its own.
    fn linear(self, name: &str) -> Text {
        Text { negative: self.negative, ..Text::tight(format!("{name}({})", self.body)) }
    }
}

/// A number in at most seven digits.
fn literal(x: f64) -> String {
    let rounded: f64 = format!("{x:.6e}").parse().expect("invariant: a printed number is a number");
    let text = format!("{rounded:?}");
    text.strip_suffix(".0").map(str::to_string).unwrap_or(text)
}

fn text(trace: &Trace, id: NodeId) -> Text {
    match &trace.graph.node(id).label {
        Some(label) if label.starts_with(|c: char| c.is_alphabetic()) => Text::tight(label.clone()),
        Some(label) => Text::new(label.clone(), Binds::Product),
        None => expression(trace, id),
    }
}

/// The expression of a node, whatever name it may have.
fn expression(trace: &Trace, id: NodeId) -> Text {
    let graph: &Graph = &trace.graph;
    let node = graph.node(id);
    let arg = |k: usize| text(trace, node.args[k]);
    let args = |name: &str| {
        let all: Vec<String> = (0..node.args.len()).map(|k| arg(k).signed()).collect();
        Text::tight(format!("{name}({})", all.join(", ")))
    };
    match node.op {
        Op::Input(k) => Text::tight(trace.inputs[k].name),
        Op::Hyper(k) => Text::tight(symbol(&trace.hypers[k].name)),
        Op::Noise(k) => Text::tight(trace.noises[k].name.replace(' ', "_")),
        Op::Const(x) => Text::number(x.get()),
        Op::Param { id, .. } => Text::tight(trace.table.paths(id)[0].0.clone()),
        Op::Linear => args("linear"),
        Op::LinearDx | Op::LinearDw | Op::MinGrad(_) | Op::Pad { .. } | Op::SumRepeats(_) => args("gradient"),
        Op::Unary(f) => unary(trace, f, node.args[0]),
        Op::Binary(f) => match f {
            Binary::Add => arg(0).plus(arg(1)),
            Binary::Sub => arg(0).plus(arg(1).negated(true)),
            Binary::Mul => arg(0).times(arg(1)),
            Binary::Div => arg(0).over(arg(1)),
            Binary::Min => args("min"),
            Binary::Max => args("max"),
            Binary::Le => Text::tight(format!("1[{} <= {}]", arg(0).signed(), arg(1).signed())),
            Binary::Lt => Text::tight(format!("1[{} < {}]", arg(0).signed(), arg(1).signed())),
            Binary::Expectile => args("expectile"),
            Binary::ReluGrad | Binary::TanhGrad | Binary::ExpectileGrad => args("gradient"),
        },
        Op::Sum(_) => {
            let (inner, axes) = sums(graph, id);
            text(trace, inner).linear(&reduced("sum", &axes))
        }
        // max is traced as -min(-x).
        Op::Min(axis) => match arg(0) {
            x if x.negative => Text::tight(format!("{}({})", reduced("max", &[axis]), x.body)).negated(true),
            x => Text::tight(format!("{}({})", reduced("min", &[axis]), x.body)),
        },
        Op::LogSumExp => args("log_sum_exp"),
        Op::Concat => Text::tight(format!("[{}, {}]", arg(0).signed(), arg(1).signed())),
        Op::Slice { start, cols } => {
            Text::tight(format!("{}[{start}..{}]", arg(0).at_least(Binds::Tight), start + cols))
                .negated(arg(0).negative)
        }
        Op::Repeat(k) => Text::tight(format!("repeat({}, {k})", arg(0).signed())),
        Op::Reshape | Op::Expand => arg(0),
        Op::Blocks(k) => args(&format!("blocks{k}")),
        Op::Part(k) => args(&format!("part{k}")),
        Op::View(k) => Text::tight(format!("view{k}")),
        Op::Detach => arg(0).linear("constant"),
    }
}

fn unary(trace: &Trace, f: Unary, id: NodeId) -> Text {
    let arg = || text(trace, id);
    let call = |name: &str| Text::tight(format!("{name}({})", arg().signed()));
    match f {
        // exp(min(x, log c)) is min(exp(x), c) without the overflow.
        Unary::Exp => match trace.graph.node(id).op {
            Op::Unary(Unary::Clamp { lo, hi }) if lo.get() == f64::NEG_INFINITY => {
                let inner = text(trace, trace.graph.node(id).args[0]);
                Text::tight(format!("min(exp({}), {})", inner.signed(), literal(hi.get().exp())))
            }
            _ => call("exp"),
        },
        Unary::Log => call("log"),
        Unary::Tanh => call("tanh"),
        Unary::Relu => call("relu"),
        Unary::Softplus => call("softplus"),
        Unary::Sigmoid => call("sigmoid"),
        Unary::Square => Text::tight(format!("{}²", arg().at_least(Binds::Tight))),
        Unary::Sqrt => call("sqrt"),
        Unary::Abs => Text::tight(format!("|{}|", arg().body)),
        Unary::Sign => call("sign"),
        Unary::Affine { scale, shift } => affine(trace, id, scale.get(), shift.get()),
        Unary::Clamp { lo, hi } => match (lo.get().is_finite(), hi.get().is_finite()) {
            (false, _) => Text::tight(format!("min({}, {})", arg().signed(), literal(hi.get()))),
            (_, false) => Text::tight(format!("max({}, {})", arg().signed(), literal(lo.get()))),
            _ => Text::tight(format!(
                "clamp({}, {}, {})",
                arg().signed(),
                literal(lo.get()),
                literal(hi.get())
            )),
        },
        Unary::Inside { lo, hi } => match hi.get().is_finite() {
            true => Text::tight(format!(
                "1[{} <= {} <= {}]",
                literal(lo.get()),
                arg().signed(),
                literal(hi.get())
            )),
            false => Text::tight(format!("1[{} >= {}]", arg().signed(), literal(lo.get()))),
        },
    }
}

/// A mean is traced as a scaled sum; it is printed as what it is.
fn affine(trace: &Trace, id: NodeId, scale: f64, shift: f64) -> Text {
    let graph = &trace.graph;
    let scaled = match mean(graph, id, scale) {
        Some((inner, name)) => text(trace, inner).linear(&name),
        None => {
            let x = text(trace, id).negated(scale < 0.0);
            let (factor, divisor) = (literal(scale.abs()), literal(1.0 / scale.abs()));
            match (factor.as_str(), divisor.len() < factor.len()) {
                ("1", _) => x,
                (_, true) => x.over(Text::tight(divisor)),
                (_, false) => {
                    let negative = x.negative;
                    Text::tight(factor).times(Text { negative: false, ..x }).negated(negative)
                }
            }
        }
    };
    if shift == 0.0 { scaled } else { scaled.plus(Text::number(shift)) }
}

/// If `scale` times the node is a mean: what of, and the name.
fn mean(graph: &Graph, id: NodeId, scale: f64) -> Option<(NodeId, String)> {
    let (mut node, mut count, mut axes) = (id, 1, Vec::new());
    while let Op::Sum(axis) = graph.node(node).op {
        node = graph.node(node).args[0];
        count *= graph.node(node).shape.dims()[axis.index()];
        axes.push(axis);
        if scale == 1.0 / count as f64 {
            let all = graph.node(id).shape == Shape::SCALAR && axes.contains(&Axis::Rows);
            return Some((node, if all { "mean".into() } else { reduced("mean", &axes) }));
        }
    }
    None
}

/// Nested sums as one: what of, over which axes.
fn sums(graph: &Graph, id: NodeId) -> (NodeId, Vec<Axis>) {
    let (mut node, mut axes) = (id, Vec::new());
    while let Op::Sum(axis) = graph.node(node).op {
        node = graph.node(node).args[0];
        axes.push(axis);
    }
    (node, axes)
}

fn reduced(name: &str, axes: &[Axis]) -> String {
    axes.iter().rev().fold(name.to_string(), |name, axis| {
        name + match axis {
            Axis::Heads => "_j",
            Axis::Rows => "_batch",
            Axis::Cols => "_i",
        }
    })
}

/// One node as an instruction: `%17 = relu(linear(s, v.layer0.weight, v.layer0.bias))`, with its arguments by name where
/// they have one, and the dense layer that an activation may share a kernel with spelled out.
pub fn instruction(trace: &Trace, id: NodeId) -> String {
    let node = trace.graph.node(id);
    let called = node.label.as_ref().map(|l| format!(" ({l})")).unwrap_or_default();
    format!("%{}{called} = {}", id.index(), call(trace, id, true))
}

fn call(trace: &Trace, id: NodeId, spell_out: bool) -> String {
    let node = trace.graph.node(id);
    let activation = matches!(
        node.op,
        Op::Unary(Unary::Relu | Unary::Tanh) | Op::Binary(Binary::ReluGrad | Binary::TanhGrad)
    );
    let arg = |a: &NodeId| {
        let arg = trace.graph.node(*a);
        match (&arg.label, arg.op) {
            (_, Op::Input(_) | Op::Hyper(_) | Op::Const(_) | Op::Param { .. } | Op::Noise(_)) => {
                expression(trace, *a).signed()
            }
            (Some(label), _) => label.clone(),
            (None, Op::Linear | Op::LinearDx) if activation && spell_out => call(trace, *a, false),
            (None, _) => format!("%{}", a.index()),
        }
    };
    let args: Vec<String> = node.args.iter().map(arg).collect();
    match node.op {
        Op::Noise(_) => format!("noise {}", expression(trace, id).signed()),
        Op::Input(_) | Op::Hyper(_) | Op::Const(_) | Op::Param { .. } => expression(trace, id).signed(),
        op => format!("{}({})", word(op), args.join(", ")),
    }
}

/// An operation in one word, its constants in brackets.
pub(super) fn word(op: Op) -> String {
    let debug = match op {
        Op::Unary(f) => format!("{f:?}"),
        Op::Binary(f) => format!("{f:?}"),
        other => format!("{other:?}"),
    };
    let mut word = String::new();
    for c in debug.chars() {
        if c.is_uppercase() && word.chars().last().is_some_and(char::is_lowercase) {
            word.push('_');
        }
        word.extend(c.to_lowercase());
    }
    word.replace('(', "_").replace(')', "").replace(" { ", "[").replace(" }", "]")
}

/// The last part of a name such as `iql.discount`.
fn symbol(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_string()
}

/// How the printer calls a variable while it is being traced.
pub fn name_of(v: Var<'_>) -> String {
    let inner = v.tracer.inner.borrow();
    let node = inner.graph.node(v.id);
    match (&node.label, node.op) {
        (Some(label), _) => label.clone(),
        (None, Op::Input(k)) => inner.input_name(k).to_string(),
        _ => "·".into(),
    }
}

/// The name of a parameter group while tracing.
pub fn group_name(t: &Tracer, group: GroupId) -> String {
    t.inner.borrow().table.group(group).name.clone()
}

/// What one effect does.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectText {
    /// name of the update, or of the target that moves
    pub name: String,
    /// `critic` or `actor`: which may have rates of their own
    pub role: &'static str,
    /// the group that changes
    pub group: String,
    /// its parameters
    pub parameters: usize,
    /// the loss, or the rule of a target
    pub formula: String,
    /// the optimiser; `None` for targets
    pub optimiser: Option<String>,
    /// graph nodes of the loss and its gradients that no effect before has needed
    pub ops: usize,
}

/// A symbol in a formula.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolText {
    /// as it stands there
    pub symbol: String,
    /// what it is
    pub meaning: String,
    /// the effects that use it in this meaning
    pub used_by: Vec<String>,
}

/// A stream of random numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseText {
    /// stream of the generator
    pub stream: u32,
    /// name, distribution and shape
    pub what: String,
    /// no loss depends on it
    pub metrics_only: bool,
}

/// A trace in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// in order
    pub effects: Vec<EffectText>,
    /// in order of first use
    pub symbols: Vec<SymbolText>,
    /// batch columns that losses read, with their shapes, and how formulas call them
    pub columns: Vec<(&'static str, Shape, String)>,
    /// all streams
    pub noises: Vec<NoiseText>,
}

/// Puts a trace into words.
pub fn explain(trace: &Trace) -> Explanation {
    let nodes = trace.graph.nodes();
    let mut needed = vec![false; nodes.len()];
    let mut all =
        Explanation { effects: Vec::new(), symbols: Vec::new(), columns: Vec::new(), noises: Vec::new() };
    for item in &trace.items {
        let role = match item.role {
            Role::Critic => "critic",
            Role::Actor => "actor",
        };
        let group = |id: GroupId| trace.table.group(id).name.clone();
        match &item.effect {
            Effect::Train { name, group: id, optimiser, loss, gradients } => {
                let before = count(trace, &needed);
                mark(trace, *loss, &mut needed);
                gradients.iter().for_each(|(_, g)| mark(trace, *g, &mut needed));
                symbols(trace, *loss, name, &mut all.symbols);
                all.effects.push(EffectText {
                    name: (*name).into(),
                    role,
                    group: group(*id),
                    parameters: trace.table.group_len(*id),
                    formula: formula(trace, *loss),
                    optimiser: Some(optimiser.to_string()),
                    ops: count(trace, &needed) - before,
                });
            }
            Effect::Polyak { source, target, rate } => {
                let (from, to) = (group(*source), group(*target));
                let rate = &trace.hypers[*rate];
                let meaning = format!("{} = {}", rate.name, rate.schedule);
                define(&mut all.symbols, "rho", meaning, &to);
                all.effects.push(EffectText {
                    formula: format!("{to} <- (1 - rho) * {to} + rho * {from}"),
                    name: to.clone(),
                    role,
                    group: to,
                    parameters: trace.table.group_len(*target),
                    optimiser: None,
                    ops: 0,
                });
            }
        }
    }
    let used = |op: &dyn Fn(Op) -> bool| nodes.iter().zip(&needed).any(|(n, needed)| *needed && op(n.op));
    for (k, input) in trace.inputs.iter().enumerate() {
        if used(&|op| op == Op::Input(k)) {
            let node = nodes.iter().find(|n| n.op == Op::Input(k));
            let called = node.and_then(|n| n.label.clone()).unwrap_or_else(|| input.name.into());
            all.columns.push((input.name, input.shape, called));
        }
    }
    for (k, noise) in trace.noises.iter().enumerate() {
        all.noises.push(NoiseText {
            stream: NOISE_STREAMS + k as u32,
            what: format!("{}, {} {}", noise.name, noise.kind, noise.shape),
            metrics_only: !used(&|op| op == Op::Noise(k)),
        });
    }
    all
}

/// Nodes that compute something.
fn count(trace: &Trace, needed: &[bool]) -> usize {
    let leaf = |op| {
        matches!(op, Op::Input(_) | Op::Param { .. } | Op::Hyper(_) | Op::Const(_) | Op::Reshape | Op::Detach)
    };
    trace.graph.nodes().iter().zip(needed).filter(|(n, needed)| **needed && !leaf(n.op)).count()
}

fn mark(trace: &Trace, root: NodeId, needed: &mut [bool]) {
    let mut stack = vec![root];
    while let Some(id) = stack.pop() {
        if !std::mem::replace(&mut needed[id.index()], true) {
            stack.extend(&trace.graph.node(id).args);
        }
    }
}

/// Collects what the symbols in a formula stand for. Functions such as `v(s)` need no definition.
fn symbols(trace: &Trace, root: NodeId, update: &str, found: &mut Vec<SymbolText>) {
    let mut stack = vec![root];
    let mut seen = vec![false; trace.graph.nodes().len()];
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let node = trace.graph.node(id);
        match (node.op, &node.label) {
            (Op::Input(_), _) => continue,
            (Op::Hyper(k), label) => {
                let hyper = &trace.hypers[k];
                let symbol = label.clone().unwrap_or_else(|| symbol(&hyper.name));
                define(found, &symbol, format!("{} = {}", hyper.name, hyper.schedule), update);
            }
            (_, Some(label)) if label.contains('(') => continue,
            (_, Some(label)) => define(found, label, expression(trace, id).signed(), update),
            (_, None) => {}
        }
        // In reading order, the last pushed comes first.
        stack.extend(node.args.iter().rev());
    }
}

fn define(found: &mut Vec<SymbolText>, symbol: &str, meaning: String, used_by: &str) {
    match found.iter_mut().find(|s| s.symbol == symbol && s.meaning == meaning) {
        Some(s) if s.used_by.iter().any(|u| u == used_by) => {}
        Some(s) => s.used_by.push(used_by.into()),
        None => found.push(SymbolText { symbol: symbol.into(), meaning, used_by: vec![used_by.into()] }),
    }
}

/// The formulas of the named outputs of a trace.
pub fn outputs(trace: &Trace) -> Vec<(&'static str, String)> {
    trace.outputs.iter().map(|(name, id)| (*name, formula(trace, *id))).collect()
}
