//! Kernel calls in the order of the trace, with the effects between them.

use std::sync::Arc;

use baq_kernels::{Activation, Linear, Norm};

use super::fuse::{self, Fate};
use super::storage::Storage;
use crate::autodiff::inspect::print;
use crate::autodiff::run::program::{Kernel, Label, Loc, Program, RegionProgram, Slot, Step, Update};
use crate::autodiff::trace::graph::{Graph, NodeId};
use crate::autodiff::trace::operation::{Number, Op};
use crate::autodiff::trace::recorded::{Effect, Item, Select, Trace};
use crate::autodiff::trace::shape::Shape;

/// Compiles the selected parts of a trace.
pub(super) fn program(trace: &Trace, select: Select, bodies: &[Arc<RegionProgram>]) -> Program {
    let storage = Storage::new(trace, select, fuse::fates(trace, select));
    let emitter = Emitter { trace, graph: &trace.graph, storage: &storage, bodies };
    let n = trace.graph.nodes().len();
    let (mut steps, mut updates) = (Vec::new(), Vec::new());
    // The node of every step that has one.
    let mut nodes: Vec<Option<NodeId>> = Vec::new();
    let mut items = select.items(trace).peekable();
    for i in 0..=n {
        while let Some(item) = items.next_if(|item| item.after <= i) {
            emitter.effect(item, &mut steps, &mut updates);
            nodes.resize(steps.len(), None);
        }
        if i < n
            && let Some(kernel) = emitter.node(NodeId(i as u32))
        {
            steps.push(Step::Run { kernel, out: emitter.slot(NodeId(i as u32)) });
            nodes.push(Some(NodeId(i as u32)));
        }
    }
    let labels = labels(trace, &steps, &nodes, &updates);
    let slots =
        |named: &[(&'static str, NodeId)]| named.iter().map(|&(name, id)| (name, emitter.slot(id))).collect();
    let metrics = if select.metrics {
        trace.metrics.iter().map(|&(m, id)| (m, emitter.slot(id))).collect()
    } else {
        Vec::new()
    };
    let outputs = slots(&trace.outputs);
    Program {
        table: trace.table.clone(),
        steps,
        labels,
        updates,
        metrics,
        outputs,
        noises: trace.noises.clone(),
        hypers: trace.hypers.iter().map(|h| h.schedule).zip(storage.hypers).collect(),
        inputs: trace.inputs.iter().cloned().zip(storage.inputs).collect(),
        constants: storage.constants,
        buffers: storage.layout.lens,
    }
}

/// Words for probes.
fn labels(trace: &Trace, steps: &[Step], nodes: &[Option<NodeId>], updates: &[Update]) -> Vec<Label> {
    let mut stages = updates.iter().map(|u| u.name);
    let mut stage = stages.next().unwrap_or("");
    let label = |(step, node): (&Step, &Option<NodeId>)| {
        let (text, shape) = match (step, node) {
            (_, Some(id)) => (print::instruction(trace, *id), trace.graph.node(*id).shape),
            (Step::Train { group, .. }, _) => {
                (format!("adam({})", trace.table.group(*group).name), Shape::SCALAR)
            }
            (Step::Polyak { target, .. }, _) => {
                (format!("polyak({})", trace.table.group(*target).name), Shape::SCALAR)
            }
            (Step::Run { out, .. }, None) => ("copy of a gradient".into(), Shape::new(1, 1, out.len)),
        };
        let op = node.map(|id| trace.graph.node(id).op);
        let (moves, region) = (op.is_none_or(Op::moves), matches!(op, Some(Op::RegionResult(_))));
        let label = Label { stage, text, moves, region, shape };
        if let Step::Train { .. } = step {
            stage = stages.next().unwrap_or(stage);
        }
        label
    };
    steps.iter().zip(nodes).map(label).collect()
}

struct Emitter<'a> {
    trace: &'a Trace,
    graph: &'a Graph,
    storage: &'a Storage,
    bodies: &'a [Arc<RegionProgram>],
}

impl Emitter<'_> {
    fn slot(&self, id: NodeId) -> Slot {
        self.storage.slot(self.trace, id)
    }

    fn shape(&self, id: NodeId) -> Shape {
        self.graph.node(id).shape
    }

    fn effect(&self, item: &Item, steps: &mut Vec<Step>, updates: &mut Vec<Update>) {
        match &item.effect {
            Effect::Train { name, group, optimiser, loss, gradients } => {
                for (x, out) in self.storage.copies(self.trace, gradients) {
                    steps.push(Step::Run { kernel: Kernel::Copy { x }, out });
                }
                updates.push(Update { name, group: *group, loss: self.slot(*loss) });
                steps.push(Step::Train { group: *group, optimiser: *optimiser });
            }
            &Effect::Polyak { source, target, rate } => steps.push(Step::Polyak { source, target, rate }),
        }
    }

    fn node(&self, id: NodeId) -> Option<Kernel> {
        match self.storage.fate(id.index()) {
            Fate::Dead | Fate::Inside(_) | Fate::Alias(_) | Fate::SumsOf(_) => None,
            Fate::Activates(z, act) => Some(match self.graph.node(z).op {
                Op::LayerNorm { eps } => self.layer_norm(z, eps, act == Activation::Relu),
                _ => self.linear(z, act),
            }),
            Fate::Masks(dx, act, y) => Some(self.linear_dx(dx, Some((act, self.slot(y))))),
            Fate::WithSums(sums) => Some(self.with_sums(id, sums.map(|sum| sum.map(|id| self.slot(id))))),
            Fate::Alone => self.kernel(id),
        }
    }

    fn linear(&self, id: NodeId, act: Activation) -> Kernel {
        let args = &self.graph.node(id).args;
        let sizes = sizes(self.shape(args[0]), self.shape(args[1]));
        Kernel::Linear { sizes, act, x: self.slot(args[0]), w: self.slot(args[1]), b: self.slot(args[2]) }
    }

    fn linear_dx(&self, id: NodeId, mask: Option<(Activation, Slot)>) -> Kernel {
        let node = self.graph.node(id);
        let (dy, w) = (node.args[0], node.args[1]);
        Kernel::LinearDx { sizes: sizes(node.shape, self.shape(w)), dy: self.slot(dy), w: self.slot(w), mask }
    }

    fn linear_dw(&self, id: NodeId, db: Option<Slot>) -> Kernel {
        let node = self.graph.node(id);
        let (x, dy) = (node.args[0], node.args[1]);
        Kernel::LinearDw { sizes: sizes(self.shape(x), node.shape), x: self.slot(x), dy: self.slot(dy), db }
    }

    fn layer_norm(&self, id: NodeId, eps: Number, relu: bool) -> Kernel {
        let args = &self.graph.node(id).args;
        let [x, gain, bias] = [args[0], args[1], args[2]].map(|a| self.slot(a));
        Kernel::LayerNorm { sizes: norm(self.shape(args[0]), eps), relu, x, gain, bias }
    }

    /// A gradient and what its kernel writes beside.
    fn with_sums(&self, id: NodeId, [first, second]: [Option<Slot>; 2]) -> Kernel {
        let node = self.graph.node(id);
        let (eps, dx) = match node.op {
            Op::LayerNormDx { eps } => (eps, true),
            Op::LayerNormDgain { eps } => (eps, false),
            _ => return self.linear_dw(id, first),
        };
        let [x, gain, dy] = [node.args[0], node.args[1], node.args[2]].map(|a| self.slot(a));
        let sizes = norm(self.shape(node.args[0]), eps);
        Kernel::LayerNormGrad { sizes, x, gain, dy, dx, dgain: first, dbias: second }
    }

    /// The kernel of a node that has one of its own.
    fn kernel(&self, id: NodeId) -> Option<Kernel> {
        let node = self.graph.node(id);
        Some(match node.op {
            Op::Input(_) | Op::Hyper(_) | Op::Const(_) | Op::View(_) => return None,
            Op::Param { id: p, .. } => match self.slot(id) {
                Slot { loc: Loc::Param(_), .. } => return None,
                Slot { len, .. } => Kernel::Copy { x: Slot { loc: Loc::Param(p), len } },
            },
            Op::Noise(index) => Kernel::Noise { index },
            Op::Linear => self.linear(id, Activation::Identity),
            Op::LinearDx => self.linear_dx(id, None),
            Op::LinearDw | Op::LayerNormDx { .. } | Op::LayerNormDgain { .. } => {
                self.with_sums(id, [None; 2])
            }
            Op::LayerNorm { eps } => self.layer_norm(id, eps, false),
            Op::Region(region) => Kernel::Region {
                region,
                body: self.bodies[region].clone(),
                views: node.args.iter().map(|&a| self.slot(a)).collect(),
            },
            Op::RegionResult(index) => {
                let Op::Region(region) = self.graph.node(node.args[0]).op else {
                    unreachable!("invariant: a part is a part of a region")
                };
                Kernel::RegionResult { region, body: self.bodies[region].clone(), index }
            }
            op => Kernel::Operation {
                op,
                shape: node.shape,
                args: node.args.iter().map(|&a| (self.slot(a), self.shape(a))).collect(),
            },
        })
    }
}

/// Sizes of a dense layer from the shapes of its input (or dx) and its weight (or dw).
fn sizes(x: Shape, w: Shape) -> Linear {
    Linear {
        heads: w.heads,
        rows: x.rows,
        inputs: w.rows,
        outputs: w.cols,
        shared_input: x.heads == 1 && w.heads > 1,
    }
}

/// Sizes of a layer normalisation.
fn norm(x: Shape, eps: Number) -> Norm {
    Norm { heads: x.heads, rows: x.rows, cols: x.cols, eps: eps.get() as f32 }
}
