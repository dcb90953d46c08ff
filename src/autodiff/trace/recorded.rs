//! A finished trace: a graph plus *effects* (optimiser steps, target updates) at fixed places between its nodes.
//!
//! Nodes are executed in the order of tracing, so "compute before the critic moves" means "trace before the critic is
//! trained".

use std::sync::Arc;

use super::graph::{Graph, NodeId};
use super::leaves::{HyperSpec, InputSpec, NoiseSpec};
use super::metric::Metric;
use super::operation::Op;
use super::parameters::{GroupId, ParamId, ParamTable};
use super::schedule::Adam;
use super::var::Rule;

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
        /// its constants
        optimiser: Adam,
        /// the loss, `[1, 1]`
        loss: NodeId,
        /// its gradients, in the order of the group's tensors
        gradients: Vec<(ParamId, NodeId)>,
    },
    /// target ← (1 - ρ) target + ρ source
    Polyak {
        /// the network that it follows
        source: GroupId,
        /// the network that moves
        target: GroupId,
        /// ρ, index into the hypers
        rate: usize,
    },
}

impl Effect {
    /// The group whose parameters change.
    pub(in crate::autodiff) fn moves(&self) -> GroupId {
        match self {
            Effect::Train { group, .. } => *group,
            Effect::Polyak { target, .. } => *target,
        }
    }

    /// The group whose optimiser steps.
    pub(in crate::autodiff) fn trains(&self) -> Option<GroupId> {
        match self {
            Effect::Train { group, .. } => Some(*group),
            Effect::Polyak { .. } => None,
        }
    }
}

/// An effect and its place.
#[derive(Clone, Debug)]
pub struct Item {
    /// what happens
    pub effect: Effect,
    /// in which rounds
    pub role: Role,
    /// after the nodes before this index
    pub after: usize,
}

/// Which parts of a trace a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Select {
    /// effects of [`Role::Critic`]
    pub critic: bool,
    /// effects of [`Role::Actor`]
    pub actor: bool,
    /// metrics
    pub metrics: bool,
}

impl Select {
    /// Everything.
    pub const ALL: Select = Select { critic: true, actor: true, metrics: true };

    /// Everything but metrics.
    pub const WITHOUT_METRICS: Select = Select { metrics: false, ..Select::ALL };

    fn role(self, role: Role) -> bool {
        match role {
            Role::Critic => self.critic,
            Role::Actor => self.actor,
        }
    }

    /// The selected effects, in order.
    pub(in crate::autodiff) fn items(self, trace: &Trace) -> impl Iterator<Item = &Item> {
        trace.items.iter().filter(move |i| self.role(i.role))
    }
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
    /// scalars that follow a schedule
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
    /// the derivatives that its gradients were made with
    pub(in crate::autodiff) rule: Rule,
}

impl Trace {
    /// Another graph over the same parameters, of which nothing is read from outside.
    pub(in crate::autodiff) fn with_graph(&self, graph: Graph) -> Trace {
        Trace {
            graph,
            table: self.table.clone(),
            inputs: Vec::new(),
            hypers: Vec::new(),
            noises: Vec::new(),
            items: Vec::new(),
            metrics: Vec::new(),
            outputs: Vec::new(),
            single_expectiles: self.single_expectiles,
            rule: self.rule,
        }
    }

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
