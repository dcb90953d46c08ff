//! A trace in words, for `baq explain`: its effects, and what the symbols in their formulas stand for.

use super::print::{expression, formula, symbol};
use crate::autodiff::run::clock::NOISE_STREAMS;
use crate::autodiff::trace::graph::NodeId;
use crate::autodiff::trace::operation::Op;
use crate::autodiff::trace::parameters::GroupId;
use crate::autodiff::trace::recorded::{Effect, Item, Role, Trace};
use crate::autodiff::trace::shape::Shape;

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
    let mut needed = vec![false; trace.graph.nodes().len()];
    let mut found = Vec::new();
    let effects = trace.items.iter().map(|item| effect(trace, item, &mut needed, &mut found)).collect();
    let nodes = trace.graph.nodes();
    let used = |op: Op| nodes.iter().zip(&needed).any(|(n, needed)| *needed && n.op == op);
    let columns = (trace.inputs.iter().enumerate())
        .filter(|(k, _)| used(Op::Input(*k)))
        .map(|(k, input)| {
            let node = nodes.iter().find(|n| n.op == Op::Input(k));
            let called = node.and_then(|n| n.label.clone()).unwrap_or_else(|| input.name.into());
            (input.name, input.shape, called)
        })
        .collect();
    let noises = (trace.noises.iter().enumerate())
        .map(|(k, noise)| NoiseText {
            stream: NOISE_STREAMS + k as u32,
            what: format!("{}, {} {}", noise.name, noise.kind, noise.shape),
            metrics_only: !used(Op::Noise(k)),
        })
        .collect();
    Explanation { effects, symbols: found, columns, noises }
}

/// One effect, with the nodes it needs marked and its symbols defined.
fn effect(trace: &Trace, item: &Item, needed: &mut [bool], found: &mut Vec<SymbolText>) -> EffectText {
    let role = match item.role {
        Role::Critic => "critic",
        Role::Actor => "actor",
    };
    let group = |id: GroupId| trace.table.group(id).name.clone();
    match &item.effect {
        Effect::Train { name, group: id, optimiser, loss, gradients } => {
            let before = count(trace, needed);
            mark(trace, *loss, needed);
            gradients.iter().for_each(|(_, g)| mark(trace, *g, needed));
            symbols(trace, *loss, name, found);
            EffectText {
                name: (*name).into(),
                role,
                group: group(*id),
                parameters: trace.table.group_len(*id),
                formula: formula(trace, *loss),
                optimiser: Some(optimiser.to_string()),
                ops: count(trace, needed) - before,
            }
        }
        Effect::Polyak { source, target, rate } => {
            let (from, to) = (group(*source), group(*target));
            let rate = &trace.hypers[*rate];
            let meaning = format!("{} = {}", rate.name, rate.schedule);
            define(found, "rho", meaning, &to);
            EffectText {
                formula: format!("{to} <- (1 - rho) * {to} + rho * {from}"),
                name: to.clone(),
                role,
                group: to,
                parameters: trace.table.group_len(*target),
                optimiser: None,
                ops: 0,
            }
        }
    }
}

/// Nodes that compute something.
fn count(trace: &Trace, needed: &[bool]) -> usize {
    let computes = |op: Op| matches!(op, Op::Noise(_)) || !(op.is_leaf() || op.is_alias());
    trace.graph.nodes().iter().zip(needed).filter(|(n, needed)| **needed && computes(n.op)).count()
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
