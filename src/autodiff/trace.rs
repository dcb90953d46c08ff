//! Tracing: an algorithm runs once, on shapes only, and leaves a [`Trace`].
//!
//! A trace is a graph plus *effects* (optimiser steps, target updates) at fixed places between its
//! nodes. Nodes are executed in the order of tracing, so "compute before the critic moves" means
//! "trace before the critic is trained".

use std::cell::RefCell;
use std::sync::Arc;

use super::graph::{Graph, NodeId, NoiseKind, Op, ParamId, Shape};
use super::metric::Metric;
use super::schedule::{Adam, Schedule};
use super::table::{GroupId, ParamTable};
use super::var::Var;
use super::vjp;

/// A column of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// column name, as in [`crate::replay`]
    pub name: &'static str,
    /// `[B, N]`
    pub shape: Shape,
}

/// A scalar that is read at every replay.
#[derive(Clone, Debug, PartialEq)]
pub struct HyperSpec {
    /// as the printer calls it
    pub name: String,
    /// value over the rounds of a phase
    pub schedule: Schedule,
}

/// A stream of random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseSpec {
    /// as the printer calls it
    pub name: String,
    /// distribution
    pub kind: NoiseKind,
    /// numbers per update
    pub shape: Shape,
}

/// When an effect happens: critic and actor updates may have different rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// value functions, their targets, models of the data
    Critic,
    /// policies and temperatures
    Actor,
}

/// A change of parameters.
#[derive(Clone, Debug)]
pub enum Effect {
    /// One Adam step on every tensor of a group.
    Train {
        /// as the printer calls it
        name: &'static str,
        /// what is trained
        group: GroupId,
        /// with
        optimiser: Adam,
        /// the loss, `[1, 1]`
        loss: NodeId,
        /// its gradients, in the order of the group's tensors
        gradients: Vec<(ParamId, NodeId)>,
    },
    /// target ← (1 - ρ) target + ρ source
    Polyak {
        /// read
        source: GroupId,
        /// moved
        target: GroupId,
        /// ρ, index into the hypers
        rate: usize,
    },
}

/// An effect and its place.
#[derive(Clone, Debug)]
pub struct Item {
    /// what
    pub effect: Effect,
    /// in which rounds
    pub role: Role,
    /// after the nodes before this index
    pub after: usize,
}

/// A finished trace.
#[derive(Debug)]
pub struct Trace {
    /// nodes in order of execution
    pub graph: Graph,
    /// parameters it was traced on
    pub table: Arc<ParamTable>,
    /// batch columns
    pub inputs: Vec<InputSpec>,
    /// scalars
    pub hypers: Vec<HyperSpec>,
    /// random streams
    pub noises: Vec<NoiseSpec>,
    /// effects in order
    pub items: Vec<Item>,
    /// what is computed only when metrics are asked for
    pub metrics: Vec<(&'static Metric, NodeId)>,
    /// named results
    pub outputs: Vec<(&'static str, NodeId)>,
    /// The reference executor rounds τ's shares |τ - 1(u < 0)| to single precision, as some foreign programs do.
    pub single_expectiles: bool,
    /// see [`Tracer::wrong_derivative`]
    pub(super) wrong: Option<&'static str>,
}

impl Trace {
    /// What it does to parameters and what it puts out, as text: equal for traces that do the same, whatever they
    /// measure.
    pub fn essence(&self) -> String {
        let (nodes, wanted) = (self.graph.nodes(), self.reached());
        let mut text = String::new();
        let mut number = vec![0; nodes.len()];
        for (k, i) in (0..nodes.len()).filter(|i| wanted[*i]).enumerate() {
            number[i] = k;
            let args: Vec<usize> = nodes[i].args.iter().map(|a| number[a.index()]).collect();
            let what = match nodes[i].op {
                Op::Input(n) => format!("{:?}", self.inputs[n]),
                Op::Hyper(n) => format!("{:?}", self.hypers[n]),
                Op::Noise(n) => format!("{:?}", self.noises[n]),
                op => format!("{op:?}"),
            };
            text += &format!("{what} {args:?} {:?}\n", nodes[i].shape);
        }
        for Item { effect, role, .. } in &self.items {
            text += &match effect {
                Effect::Train { group, optimiser, gradients, .. } => {
                    let gradients: Vec<usize> = gradients.iter().map(|(_, id)| number[id.index()]).collect();
                    format!("{role:?} {group:?} {optimiser:?} {gradients:?}\n")
                }
                Effect::Polyak { source, target, rate } => {
                    format!("{role:?} {source:?} {target:?} {:?}\n", self.hypers[*rate])
                }
            };
        }
        text
    }

    /// The nodes that an effect or an output is computed from.
    fn reached(&self) -> Vec<bool> {
        let nodes = self.graph.nodes();
        let mut wanted = vec![false; nodes.len()];
        self.outputs.iter().for_each(|(_, id)| wanted[id.index()] = true);
        for item in &self.items {
            if let Effect::Train { gradients, .. } = &item.effect {
                gradients.iter().for_each(|(_, id)| wanted[id.index()] = true);
            }
        }
        for (i, node) in nodes.iter().enumerate().rev() {
            if wanted[i] {
                node.args.iter().for_each(|a| wanted[a.index()] = true);
            }
        }
        wanted
    }
}

pub(super) struct Inner {
    pub(super) graph: Graph,
    pub(super) table: Arc<ParamTable>,
    versions: Vec<u32>,
    inputs: Vec<InputSpec>,
    hypers: Vec<HyperSpec>,
    noises: Vec<NoiseSpec>,
    items: Vec<Item>,
    metrics: Vec<(&'static Metric, NodeId)>,
    outputs: Vec<(&'static str, NodeId)>,
    pub(super) wrong: Option<&'static str>,
    /// nodes from here on are right whatever `wrong` says
    pub(super) right_from: usize,
}

impl Inner {
    pub(super) fn input_name(&self, index: usize) -> &'static str {
        self.inputs[index].name
    }
}

/// Records what an algorithm would do.
pub struct Tracer {
    pub(super) inner: RefCell<Inner>,
}

impl Tracer {
    /// A trace on these parameters.
    pub fn new(table: Arc<ParamTable>) -> Tracer {
        let versions = vec![0; table.groups().len()];
        Tracer {
            inner: RefCell::new(Inner {
                graph: Graph::default(),
                table,
                versions,
                inputs: Vec::new(),
                hypers: Vec::new(),
                noises: Vec::new(),
                items: Vec::new(),
                metrics: Vec::new(),
                outputs: Vec::new(),
                wrong: None,
                right_from: usize::MAX,
            }),
        }
    }

    fn var(&self, op: Op, shape: Shape) -> Var<'_> {
        let id = self.inner.borrow_mut().graph.push(op, &[], shape);
        Var { tracer: self, id }
    }

    /// A batch column `[B, N]`. Asking twice for a name gives the same column.
    pub fn input(&self, name: &'static str, rows: usize, cols: usize) -> Var<'_> {
        let shape = Shape::new(1, rows, cols);
        let index = {
            let inputs = &mut self.inner.borrow_mut().inputs;
            match inputs.iter().position(|i| i.name == name) {
                Some(i) => {
                    assert_eq!(inputs[i].shape, shape, "column {name} was traced with another shape");
                    i
                }
                None => {
                    inputs.push(InputSpec { name, shape });
                    inputs.len() - 1
                }
            }
        };
        self.var(Op::Input(index), shape)
    }

    /// A parameter tensor as it stands at this point of the trace.
    pub fn param(&self, id: ParamId) -> Var<'_> {
        let (version, shape) = {
            let inner = self.inner.borrow();
            let spec = inner.table.param(id);
            (inner.versions[spec.group.index()], spec.shape)
        };
        self.var(Op::Param { id, version }, shape)
    }

    /// A literal.
    pub fn constant(&self, x: f64) -> Var<'_> {
        self.var(Op::Const(x.into()), Shape::SCALAR)
    }

    /// A scalar that follows its schedule from round to round.
    pub fn hyper(&self, name: &str, schedule: &Schedule) -> Var<'_> {
        let index = self.hyper_index(name, schedule);
        self.var(Op::Hyper(index), Shape::SCALAR)
    }

    fn hyper_index(&self, name: &str, schedule: &Schedule) -> usize {
        let hypers = &mut self.inner.borrow_mut().hypers;
        match hypers.iter().position(|h| h.name == name) {
            Some(i) => {
                assert_eq!(&hypers[i].schedule, schedule, "hyper {name} was traced with another schedule");
                i
            }
            None => {
                hypers.push(HyperSpec { name: name.into(), schedule: *schedule });
                hypers.len() - 1
            }
        }
    }

    /// Fresh random numbers; every call is a stream of its own.
    pub fn noise(&self, name: &str, kind: NoiseKind, shape: Shape) -> Var<'_> {
        let index = {
            let noises = &mut self.inner.borrow_mut().noises;
            noises.push(NoiseSpec { name: name.into(), kind, shape });
            noises.len() - 1
        };
        self.var(Op::Noise(index), shape)
    }

    /// Trains a group on a loss: gradients with respect to this group only, then one Adam step.
    /// Everything else that the loss reads is a constant.
    pub fn train(&self, name: &'static str, role: Role, group: GroupId, optimiser: &Adam, loss: Var<'_>) {
        assert_eq!(loss.shape(), Shape::SCALAR, "loss {name} is not a scalar");
        let members: Vec<ParamId> = self.inner.borrow().table.members(group).collect();
        let wrt: Vec<Var<'_>> = members.iter().map(|&p| self.param(p)).collect();
        let gradients = vjp::gradients(loss, &wrt);
        let mut inner = self.inner.borrow_mut();
        let gradients = members
            .iter()
            .zip(gradients)
            .map(|(&p, g)| {
                let path = &inner.table.paths(p)[0].0;
                (p, g.unwrap_or_else(|| panic!("loss {name} does not depend on {path}")).id)
            })
            .collect();
        inner.versions[group.index()] += 1;
        let after = inner.graph.nodes().len();
        let effect = Effect::Train { name, group, optimiser: *optimiser, loss: loss.id, gradients };
        inner.items.push(Item { effect, role, after });
    }

    /// Moves a target network towards its source.
    pub fn polyak(&self, role: Role, source: GroupId, target: GroupId, name: &str, rate: &Schedule) {
        assert!(source < target, "a target network is declared after its source");
        let rate = self.hyper_index(name, rate);
        let mut inner = self.inner.borrow_mut();
        let shapes = |g| inner.table.members(g).map(|p| inner.table.param(p).shape).collect::<Vec<_>>();
        assert_eq!(shapes(source), shapes(target), "target network of another shape");
        inner.versions[target.index()] += 1;
        let after = inner.graph.nodes().len();
        inner.items.push(Item { effect: Effect::Polyak { source, target, rate }, role, after });
    }

    /// Reports a scalar whenever metrics are asked for.
    pub fn metric(&self, metric: &'static Metric, value: Var<'_>) {
        assert_eq!(value.shape(), Shape::SCALAR, "metric {} is not a scalar", metric.name);
        let metrics = &mut self.inner.borrow_mut().metrics;
        assert!(metrics.iter().all(|(m, _)| m.name != metric.name), "two metrics {}", metric.name);
        metrics.push((metric, value.id));
    }

    /// Makes the derivative of one kind of operation wrong by a thousandth in all losses to come, so that tests can see
    /// that the checks of derivatives find it.
    #[doc(hidden)]
    pub fn wrong_derivative(&self, operation: &'static str) {
        self.inner.borrow_mut().wrong = Some(operation);
    }

    /// Names a result of a program without effects (acting, annotating).
    pub fn output(&self, name: &'static str, value: Var<'_>) {
        self.inner.borrow_mut().outputs.push((name, value.id));
    }

    /// Ends the trace.
    pub fn finish(self) -> Trace {
        let inner = self.inner.into_inner();
        Trace {
            graph: inner.graph,
            table: inner.table,
            inputs: inner.inputs,
            hypers: inner.hypers,
            noises: inner.noises,
            items: inner.items,
            metrics: inner.metrics,
            outputs: inner.outputs,
            single_expectiles: false,
            wrong: inner.wrong,
        }
    }
}

impl Trace {
    /// The loss of the update of that name, from the values of a reference pass.
    pub fn loss(&self, name: &str, values: &super::reference::Values) -> f64 {
        let loss = self.items.iter().find_map(|item| match &item.effect {
            Effect::Train { name: n, loss, .. } if *n == name => Some(*loss),
            _ => None,
        });
        let loss = loss.unwrap_or_else(|| panic!("no update named {name}"));
        values[loss.index()].as_ref().expect("invariant: the pass has computed it")[0]
    }
}
