//! One operation of a trace alone, to check its derivative by itself.

use std::sync::Arc;

use baq_kernels::Binary;

use super::graph::{NodeId, Op, Shape, Unary};
use super::print::word;
use super::schedule::{Adam, Schedule};
use super::table::ParamTable;
use super::trace::{Role, Trace, Tracer};
use super::var::Var;

/// A trace of one operation: its arguments are parameters, but for those that nothing differentiates, which are
/// columns; its loss is a weighted sum of its results.
pub struct Isolated {
    /// the trace
    pub trace: Trace,
    /// nodes of the original trace whose values are the parameters, in order
    pub parameters: Vec<NodeId>,
    /// those whose values are the columns after the first, which holds the weights
    pub columns: Vec<NodeId>,
}

/// Name of an operation without its constants, as in `affine`; `None` if it has no derivative.
pub fn differentiable(op: Op) -> Option<String> {
    let leaf = matches!(op, Op::Input(_) | Op::Param { .. } | Op::Hyper(_) | Op::Const(_) | Op::Noise(_));
    let step = matches!(
        op,
        Op::Unary(Unary::Sign | Unary::Inside { .. }) | Op::Binary(Binary::Le | Binary::Lt) | Op::Detach
    );
    let second = matches!(
        op,
        Op::LinearDx
            | Op::LinearDw
            | Op::MinGrad(_)
            | Op::Binary(Binary::ReluGrad | Binary::TanhGrad | Binary::ExpectileGrad)
            | Op::Blocks(_)
            | Op::Part(_)
            | Op::View(_)
    );
    if leaf || step || second {
        return None;
    }
    let name = word(op);
    Some(name.split('[').next().unwrap_or_default().to_string())
}

const COLUMNS: [&str; 2] = ["argument 0", "argument 1"];

/// Isolates a node; `None` if its operation has no derivative.
pub fn isolate(trace: &Trace, id: NodeId) -> Option<Isolated> {
    let node = trace.graph.node(id);
    differentiable(node.op)?;
    // Nothing trains an expectile.
    let fixed = |k: usize| matches!(node.op, Op::Binary(Binary::Expectile)) && k == 1;
    let mut table = ParamTable::default();
    let group = table.add_group("argument", false);
    let shape = |k: usize| trace.graph.node(node.args[k]).shape;
    let ids: Vec<_> = (0..node.args.len())
        .map(|k| (!fixed(k)).then(|| table.add(group, &k.to_string(), shape(k))))
        .collect();
    let t = Tracer::new(Arc::new(table));
    t.inner.borrow_mut().wrong = trace.wrong;
    let column = |name, s: Shape| t.input(name, s.heads * s.rows, s.cols).reshape(s);
    let weights = column("weights", node.shape);
    let (mut parameters, mut columns) = (Vec::new(), Vec::new());
    let mut args = Vec::new();
    for (k, p) in ids.iter().enumerate() {
        args.push(match p {
            Some(p) => {
                parameters.push(node.args[k]);
                t.param(*p).id
            }
            None => {
                columns.push(node.args[k]);
                column(COLUMNS[k], shape(k)).id
            }
        });
    }
    let y = t.inner.borrow_mut().graph.push(node.op, &args, node.shape);
    // What makes a loss of it is not what is checked.
    t.inner.borrow_mut().right_from = y.index() + 1;
    let loss = (Var { tracer: &t, id: y } * weights).total();
    t.train("operation", Role::Critic, group, &Adam::new(Schedule::Constant(0.0)), loss);
    Some(Isolated { trace: t.finish(), parameters, columns })
}
