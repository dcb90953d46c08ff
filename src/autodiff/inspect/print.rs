//! Expressions and instructions as text.
//!
//! A formula is read off the graph, not written beside it: what is printed is what is computed. Signs
//! move outwards and scaled sums become means, which changes how a formula looks and not its value.

use baq_kernels::Binary;

use crate::autodiff::trace::graph::{Graph, NodeId};
use crate::autodiff::trace::operation::{Op, Unary};
use crate::autodiff::trace::recorded::Trace;
use crate::autodiff::trace::shape::{Axis, Shape};

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
pub(super) struct Text {
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
    pub(super) fn signed(&self) -> String {
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
pub(super) fn expression(trace: &Trace, id: NodeId) -> Text {
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
        Op::LayerNorm { .. } => args("layer_norm"),
        Op::LinearDx | Op::LinearDw | Op::MinGrad(_) | Op::Pad { .. } | Op::SumRepeats(_) => args("gradient"),
        Op::LayerNormDx { .. } | Op::LayerNormDgain { .. } | Op::PutHeads(_) => args("gradient"),
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
        Op::Slice { start, cols } => match flattened(graph, node.args[0], start, cols) {
            1 => {
                let of = arg(0).at_least(Binds::Tight);
                Text::tight(format!("{of}[{start}..{}]", start + cols)).negated(arg(0).negative)
            }
            width => {
                let (from, to) = (start / width, (start + cols) / width);
                Text::tight(format!("rows({}, {from}..{to})", arg(0).signed()))
            }
        },
        Op::PickHeads => args("heads"),
        Op::Repeat(k) => Text::tight(format!("repeat({}, {k})", arg(0).signed())),
        Op::Reshape | Op::Expand => arg(0),
        Op::Region(k) => args(&format!("region{k}")),
        Op::RegionResult(k) => args(&format!("result{k}")),
        Op::View(k) => Text::tight(format!("view{k}")),
        Op::Detach => arg(0).linear("constant"),
    }
}

/// The length of a row if a slice of this node takes whole ones, as `Var::rows` traces it; else 1.
fn flattened(graph: &Graph, id: NodeId, start: usize, cols: usize) -> usize {
    let flat = graph.node(id);
    let (Op::Reshape, 1) = (flat.op, flat.shape.rows) else { return 1 };
    let from = graph.node(flat.args[0]).shape;
    let whole =
        from.heads == flat.shape.heads && start.is_multiple_of(from.cols) && cols.is_multiple_of(from.cols);
    if whole { from.cols } else { 1 }
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
        Unary::Square => Text::tight(format!("{}²", arg().at_least(Binds::Tight))),
        Unary::Abs => Text::tight(format!("|{}|", arg().body)),
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
        _ => call(&Op::Unary(f).name()),
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
            (_, op) if op.is_leaf() => expression(trace, *a).signed(),
            (Some(label), _) => label.clone(),
            (None, Op::Linear | Op::LinearDx | Op::LayerNorm { .. }) if activation && spell_out => {
                call(trace, *a, false)
            }
            (None, _) => format!("%{}", a.index()),
        }
    };
    let args: Vec<String> = node.args.iter().map(arg).collect();
    match node.op {
        Op::Noise(_) => format!("noise {}", expression(trace, id).signed()),
        op if op.is_leaf() => expression(trace, id).signed(),
        op => format!("{}({})", op.word(), args.join(", ")),
    }
}

/// The last part of a name such as `iql.discount`.
pub(super) fn symbol(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_string()
}

/// The formulas of the named outputs of a trace.
pub fn outputs(trace: &Trace) -> Vec<(&'static str, String)> {
    trace.outputs.iter().map(|(name, id)| (*name, formula(trace, *id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::Tracer;

    /// A range counts what it is one of: columns, rows whatever their width, numbers of what has neither.
    #[test]
    fn ranges_of_rows_count_rows() {
        let t = Tracer::new(std::sync::Arc::default());
        let x = t.input("x", 6, 4);
        let flat = x.reshape(Shape::new(1, 1, 24));
        for (name, var) in [
            ("x[1..3]", x.slice(1, 2)),
            ("rows(x, 1..3)", x.rows(1, 2)),
            ("rows(x, 2..5)[1..3]", x.rows(2, 3).slice(1, 2)),
            ("rows(rows(x, 2..5), 1..2)", x.rows(2, 3).rows(1, 1)),
            ("rows(-x, 1..3)", (-x).rows(1, 2)),
            ("x[3..8]", flat.slice(3, 5)),
        ] {
            t.output(name, var);
        }
        for (expected, text) in outputs(&t.finish()) {
            assert_eq!(text, expected);
        }
    }
}
