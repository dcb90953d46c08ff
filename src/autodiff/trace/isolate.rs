//! One operation of a trace alone, to check its derivative by itself.

use std::sync::Arc;

use super::gradient::gradients;
use super::graph::NodeId;
use super::parameters::ParamTable;
use super::recorded::{Role, Trace};
use super::schedule::{Adam, Schedule};
use super::shape::Shape;
use super::tracer::Tracer;

/// A trace of one operation: its arguments are parameters, but for those that no gradient passes to, which are
/// columns; its loss is a weighted sum of its results.
pub struct Isolated {
    /// the trace
    pub trace: Trace,
    /// nodes of the original trace whose values are the parameters, in order
    pub parameters: Vec<NodeId>,
    /// those whose values are the columns after the first, which holds the weights
    pub columns: Vec<NodeId>,
}

const COLUMNS: [&str; 2] = ["argument 0", "argument 1"];

/// Isolates a node; `None` if its operation has no derivative.
pub fn isolate(trace: &Trace, id: NodeId) -> Option<Isolated> {
    let node = trace.graph.node(id);
    if !node.op.is_differentiable() {
        return None;
    }
    let mut table = ParamTable::default();
    let group = table.add_group("argument", false);
    let shape = |k: usize| trace.graph.node(node.args[k]).shape;
    let ids: Vec<_> = (0..node.args.len())
        .map(|k| node.op.passes(k).then(|| table.add(group, &k.to_string(), shape(k))))
        .collect();
    let t = Tracer::with_rule(Arc::new(table), trace.rule);
    let column = |name, s: Shape| t.input(name, s.heads * s.rows, s.cols).reshape(s);
    let weights = column("weights", node.shape);
    let (mut parameters, mut columns) = (Vec::new(), Vec::new());
    let (mut args, mut trained) = (Vec::new(), Vec::new());
    for (k, p) in ids.iter().enumerate() {
        args.push(match p {
            Some(p) => {
                parameters.push(node.args[k]);
                trained.push(t.param(*p));
                t.param(*p).id
            }
            None => {
                columns.push(node.args[k]);
                column(COLUMNS[k], shape(k)).id
            }
        });
    }
    let y = weights.push(node.op, &args, node.shape);
    // The sum's gradient in y is the weights: no rule but that of the operation is used.
    let by_argument = gradients(y, weights, &trained);
    let never = Adam::new(Schedule::Constant(0.0));
    t.train_by("operation", Role::Critic, group, &never, ((y * weights).total(), by_argument));
    Some(Isolated { trace: t.finish(), parameters, columns })
}
