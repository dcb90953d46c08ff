//! Programs and expressions as text, for `baq explain`.

use std::fmt::Write;

use baq_kernels::Binary;

use super::graph::{Axis, Graph, NodeId, Op, Unary, Var};
use super::trace::{Effect, Role, Trace};

/// The formula of a node. Recursion ends at named nodes and at leaves.
pub fn formula(trace: &Trace, id: NodeId) -> String {
    let node = trace.graph.node(id);
    match &node.label {
        Some(label) => label.clone(),
        None => expression(trace, id),
    }
}

fn expression(trace: &Trace, id: NodeId) -> String {
    let graph: &Graph = &trace.graph;
    let node = graph.node(id);
    let arg = |k: usize| formula(trace, node.args[k]);
    let call = |name: &str| format!("{name}({})", arg(0));
    match node.op {
        Op::Input(k) => trace.inputs[k].name.to_string(),
        Op::Hyper(k) => {
            let name = &trace.hypers[k].name;
            name.rsplit('.').next().unwrap_or(name).to_string()
        }
        Op::Noise(k) => trace.noises[k].name.clone(),
        Op::Const(x) => format!("{}", x.get()),
        Op::Param { id, .. } => trace.table.paths(id)[0].0.clone(),
        Op::Linear => call("linear"),
        Op::LinearDx | Op::LinearDw | Op::MinGrad(_) | Op::Pad { .. } | Op::SumRepeats(_) => {
            "gradient".into()
        }
        Op::Unary(f) => match f {
            Unary::Exp => call("exp"),
            Unary::Log => call("log"),
            Unary::Tanh => call("tanh"),
            Unary::Relu => call("relu"),
            Unary::Softplus => call("softplus"),
            Unary::Sigmoid => call("sigmoid"),
            Unary::Square => format!("{}²", atom(arg(0))),
            Unary::Sqrt => call("sqrt"),
            Unary::Abs => format!("|{}|", arg(0)),
            Unary::Sign => call("sign"),
            Unary::Affine { scale, shift } => affine(trace, node.args[0], scale.get(), shift.get()),
            Unary::Clamp { lo, hi } => match (lo.get().is_finite(), hi.get().is_finite()) {
                (false, _) => format!("min({}, {})", arg(0), hi.get()),
                (_, false) => format!("max({}, {})", arg(0), lo.get()),
                _ => format!("clamp({}, {}, {})", arg(0), lo.get(), hi.get()),
            },
            Unary::Inside { lo, hi } => format!("1({} in {}..{})", arg(0), lo.get(), hi.get()),
        },
        Op::Binary(f) => {
            let infix = |op: &str| format!("{} {op} {}", arg(0), arg(1));
            match f {
                Binary::Add => infix("+"),
                Binary::Sub => format!("{} - {}", arg(0), atom_sum(arg(1))),
                Binary::Mul => format!("{} * {}", atom_sum(arg(0)), atom_sum(arg(1))),
                Binary::Div => format!("{} / {}", atom_sum(arg(0)), atom(arg(1))),
                Binary::Min => format!("min({}, {})", arg(0), arg(1)),
                Binary::Max => format!("max({}, {})", arg(0), arg(1)),
                Binary::Le => format!("1({} <= {})", arg(0), arg(1)),
                Binary::Lt => format!("1({} < {})", arg(0), arg(1)),
                Binary::Expectile => format!("expectile({}, {})", arg(0), arg(1)),
                Binary::ReluGrad | Binary::TanhGrad | Binary::ExpectileGrad => "gradient".into(),
            }
        }
        Op::Sum(axis) => format!("sum_{}({})", axis_name(axis), arg(0)),
        Op::Min(axis) => format!("min_{}({})", axis_name(axis), arg(0)),
        Op::LogSumExp => call("log_sum_exp"),
        Op::Concat => format!("[{}, {}]", arg(0), arg(1)),
        Op::Slice { start, cols } => format!("{}[{start}..{}]", atom(arg(0)), start + cols),
        Op::Repeat(k) => format!("repeat({}, {k})", arg(0)),
        Op::Reshape | Op::Expand => arg(0),
        Op::Detach => call("constant"),
    }
}

/// A mean is traced as a scaled sum; print it as what it is.
fn affine(trace: &Trace, arg: NodeId, scale: f64, shift: f64) -> String {
    if shift == 0.0 && scale != 1.0 {
        let (mut node, mut count, mut axes) = (arg, 1usize, Vec::new());
        while let Op::Sum(axis) = trace.graph.node(node).op {
            let inner = trace.graph.node(node).args[0];
            count *= trace.graph.node(inner).shape.dims()[axis.index()];
            axes.push(axis);
            node = inner;
            if count > 1 && scale == 1.0 / count as f64 && !matches!(trace.graph.node(node).op, Op::Sum(_)) {
                let everything = axes.contains(&Axis::Rows);
                let name = if everything { "mean".into() } else { format!("mean_{}", axis_name(axes[0])) };
                return format!("{name}({})", formula(trace, node));
            }
        }
    }
    let x = formula(trace, arg);
    match (scale, shift) {
        (1.0, b) if b < 0.0 => format!("{x} - {}", -b),
        (1.0, b) => format!("{x} + {b}"),
        (-1.0, 0.0) => format!("-{}", atom_sum(x)),
        (a, 0.0) => format!("{a} * {}", atom_sum(x)),
        (-1.0, b) => format!("{b} - {}", atom_sum(x)),
        (a, b) => format!("{a} * {} + {b}", atom_sum(x)),
    }
}

fn axis_name(axis: Axis) -> &'static str {
    match axis {
        Axis::Heads => "j",
        Axis::Rows => "batch",
        Axis::Cols => "dims",
    }
}

/// Brackets around anything with a space at depth 0.
fn atom(x: String) -> String {
    bracket(x, |c| matches!(c, ' '))
}

/// Brackets around sums and differences at depth 0.
fn atom_sum(x: String) -> String {
    let mut depth = 0i32;
    let chars: Vec<char> = x.chars().collect();
    let sum = chars.windows(3).any(|w| {
        match w[0] {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        depth == 0 && w[0] == ' ' && matches!(w[1], '+' | '-') && w[2] == ' '
    });
    if sum { format!("({x})") } else { x }
}

fn bracket(x: String, breaks: impl Fn(char) -> bool) -> String {
    let mut depth = 0i32;
    let open = x.chars().any(|c| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        depth == 0 && breaks(c)
    });
    if open { format!("({x})") } else { x }
}

/// A table of the effects of a trace: what is trained, on which loss, what moves.
pub fn explain(trace: &Trace) -> String {
    let mut out = String::new();
    for (i, item) in trace.items.iter().enumerate() {
        let role = match item.role {
            Role::Critic => "critic",
            Role::Actor => "actor",
        };
        match &item.effect {
            Effect::Train { name, group, optimiser, loss, .. } => {
                let _ = writeln!(
                    out,
                    "{} {name:<10} {role:<6}  trains {} ({} parameters), lr {}\n    loss {}",
                    i + 1,
                    trace.table.group(*group).name,
                    trace.table.group_len(*group),
                    optimiser.lr,
                    formula(trace, *loss),
                );
            }
            Effect::Polyak { source, target, rate } => {
                let _ = writeln!(
                    out,
                    "{} target     {role:<6}  {} <- (1 - p) {} + p {}, p = {}",
                    i + 1,
                    trace.table.group(*target).name,
                    trace.table.group(*target).name,
                    trace.table.group(*source).name,
                    trace.hypers[*rate].schedule,
                );
            }
        }
    }
    for (k, noise) in trace.noises.iter().enumerate() {
        let _ = writeln!(out, "noise stream {k}: {} {:?} {}", noise.name, noise.kind, noise.shape);
    }
    out
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
