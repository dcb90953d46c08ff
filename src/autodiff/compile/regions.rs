//! Wide graphs in blocks of rows, so that what a block computes forward is still in the cache when it goes backward.
//!
//! A *region* is everything between wide layers: nodes that a wide layer leads to and that lead to another one, or to
//! what sums one up. In it row blocks and heads are independent (anything else, and there is no region), so
//! it becomes a *body*: a trace of one head and one block of rows, run for every head and block. Weight gradients
//! add up over the blocks in their order; heads may run at the same time. The trace keeps one node for the region
//! and one for each of its results. Results do not depend on whether metrics are asked for: they never decide what
//! a region is.

use std::collections::BTreeMap;

use super::fuse;
use crate::autodiff::run::program::View;
use crate::autodiff::trace::graph::{Graph, Node, NodeId};
use crate::autodiff::trace::operation::Op;
use crate::autodiff::trace::recorded::{Effect, Select, Trace};
use crate::autodiff::trace::shape::{Axis, Shape};

/// What is wide, and how long a block may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// a layer of so many rows is wide
    pub wide: usize,
    /// most rows of a block; blocks that would have to be shorter than a quarter of it are not made
    pub most: usize,
}

impl Blocking {
    /// For a level-2 cache of 1 MiB: three hidden layers of 256, their gradients, and the weights in use.
    pub const USUAL: Blocking = Blocking { wide: 1024, most: 256 };
}

/// One region.
pub(super) struct Region {
    pub(super) heads: usize,
    pub(super) blocks: usize,
    /// one head, one block; reads [`Op::View`]s; its outputs are the region's results
    pub(super) body: Trace,
    pub(super) views: Vec<View>,
}

/// The members of a region, before it is cut out.
struct Members {
    nodes: Vec<usize>,
    heads: usize,
    blocks: usize,
}

/// The trace with its regions cut out, and the regions; `None` without any.
pub(super) fn split(trace: &Trace, select: Select, blocking: Blocking) -> Option<(Trace, Vec<Region>)> {
    let nodes = trace.graph.nodes();
    let live = fuse::live(trace, Select { metrics: false, ..select });
    let candidates = connected(nodes, &between(nodes, &live, blocking.wide));
    let found: Vec<Members> = candidates
        .into_iter()
        .filter_map(|m| cut(nodes, m, blocking))
        .filter(|m| undisturbed(trace, select, m))
        .collect();
    (!found.is_empty()).then(|| Rewriter::new(trace, select, &found).run())
}

fn is_wide(nodes: &[Node], node: &Node, wide: usize) -> bool {
    matches!(node.op, Op::Linear | Op::LinearDx | Op::LinearDw | Op::LayerNormDgain { .. })
        && nodes[node.args[0].index()].shape.rows >= wide
}

/// Whether a node sums over rows, so that its result is complete after the last block only.
fn sums_rows(op: Op) -> bool {
    matches!(op, Op::LinearDw | Op::LayerNormDgain { .. } | Op::Sum(Axis::Rows))
}

/// Nodes on a way from a wide layer to another one, or to what sums its rows up.
fn between(nodes: &[Node], live: &[bool], wide: usize) -> Vec<bool> {
    let n = nodes.len();
    let (mut after, mut before) = (vec![false; n], vec![false; n]);
    let mut weighed = vec![false; n]; // gradients from which a wide LinearDw or LayerNormDgain is made
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
        let layer = is_wide(nodes, node, wide);
        after[i] = layer || node.args.iter().any(|a| after[a.index()]);
        if let (true, Some(dy)) = (layer, node.op.summed()) {
            weighed[node.args[dy].index()] = true;
        }
        let rows = |k: usize| nodes[node.args[k].index()].shape.rows;
        before[i] = layer
            || match node.op {
                Op::Sum(Axis::Rows) => weighed[node.args[0].index()],
                Op::SumRepeats(_) => rows(0) >= wide,
                _ => false,
            };
    }
    for i in (0..n).rev().filter(|&i| live[i]) {
        if before[i] {
            nodes[i].args.iter().for_each(|a| before[a.index()] = true);
        }
    }
    (0..n).map(|i| live[i] && after[i] && before[i]).collect()
}

/// Connected parts, each in order.
fn connected(nodes: &[Node], member: &[bool]) -> Vec<Vec<usize>> {
    let mut part: Vec<usize> = (0..nodes.len()).collect();
    fn root(part: &mut [usize], mut i: usize) -> usize {
        while part[i] != i {
            part[i] = part[part[i]];
            i = part[i];
        }
        i
    }
    for i in (0..nodes.len()).filter(|&i| member[i]) {
        for a in nodes[i].args.iter().filter(|a| member[a.index()]) {
            let (a, b) = (root(&mut part, a.index()), root(&mut part, i));
            part[a.max(b)] = a.min(b);
        }
    }
    let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
    for i in (0..nodes.len()).filter(|&i| member[i]) {
        let r = root(&mut part, i);
        match parts.iter_mut().find(|(at, _)| *at == r) {
            Some((_, list)) => list.push(i),
            None => parts.push((r, vec![i])),
        }
    }
    parts.into_iter().map(|(_, list)| list).collect()
}

/// Whether a node reads an argument whole in every block: weights, and biases for all rows.
fn reads_whole(node: &Node, k: usize, arg: Shape) -> bool {
    match (node.op, k) {
        (Op::Linear | Op::LinearDx, 1) => true,
        (Op::Linear, 2) => arg.rows == 1,
        _ => false,
    }
}

/// How to cut the rows of a connected part; `None` if it cannot be done or is not worth it.
fn cut(nodes: &[Node], members: Vec<usize>, blocking: Blocking) -> Option<Members> {
    let inside = |id: NodeId| members.binary_search(&id.index()).is_ok();
    let shape = |id: NodeId| nodes[id.index()].shape;
    let heads = members.iter().map(|&i| nodes[i].shape.heads).max()?;
    // Rows come in units (states), of which a block has a whole number.
    let (mut units, mut most) = (0, 0);
    let mut rows = |n: usize| {
        units = gcd(units, n);
        most = most.max(n);
    };
    for &i in &members {
        let node = &nodes[i];
        let by_rows = match node.op {
            Op::Linear | Op::LinearDx => !inside(node.args[1]),
            Op::Sum(axis) => axis != Axis::Heads,
            Op::Min(axis) | Op::MinGrad(axis) => axis == Axis::Cols,
            Op::LinearDw | Op::Unary(_) | Op::Binary(_) | Op::LogSumExp => true,
            Op::LayerNorm { .. } | Op::LayerNormDx { .. } | Op::LayerNormDgain { .. } => true,
            Op::Concat | Op::Slice { .. } | Op::Pad { .. } | Op::Expand | Op::Detach => true,
            Op::Repeat(_) | Op::SumRepeats(_) => true,
            Op::Reshape => shape(node.args[0]).heads == heads,
            _ => false,
        };
        let complete = node.args.iter().all(|a| !(inside(*a) && sums_rows(nodes[a.index()].op)));
        if !by_rows || !complete || node.shape.heads != heads {
            return None;
        }
        if !sums_rows(node.op) {
            rows(node.shape.rows);
        }
        for (k, &a) in node.args.iter().enumerate() {
            let arg = shape(a);
            if arg.heads != 1 && arg.heads != heads {
                return None;
            }
            if !reads_whole(node, k, arg) && (arg.rows > 1 || inside(a)) {
                rows(arg.rows);
            }
        }
    }
    let each = most / units.max(1);
    let size = (1..=units).rev().find(|c| units % c == 0 && c * each <= blocking.most)?;
    let blocks = units / size;
    (blocks > 1 && 4 * size * each >= blocking.most).then_some(Members { nodes: members, heads, blocks })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Nodes outside the region that it depends on, in order.
fn ancestors(nodes: &[Node], members: &Members) -> Vec<usize> {
    let inside = |i: usize| members.nodes.binary_search(&i).is_ok();
    let mut needed = vec![false; nodes.len()];
    for i in (0..nodes.len()).rev() {
        if needed[i] || inside(i) {
            nodes[i].args.iter().for_each(|a| needed[a.index()] = true);
        }
    }
    (0..nodes.len()).filter(|&i| needed[i] && !inside(i)).collect()
}

/// The region runs where its first node stands, and what it depends on comes before; that must not carry a parameter
/// across an effect that moves it.
fn undisturbed(trace: &Trace, select: Select, members: &Members) -> bool {
    let nodes = trace.graph.nodes();
    let first = members.nodes[0];
    ancestors(nodes, members).into_iter().filter(|&i| i > first).all(|i| match nodes[i].op {
        Op::Param { id, .. } => {
            let group = trace.table.param(id).group;
            select.items(trace).all(|e| e.effect.moves() != group || e.after <= first || e.after > i)
        }
        _ => true,
    })
}

/// Writes the trace anew.
struct Rewriter<'a> {
    trace: &'a Trace,
    select: Select,
    live: Vec<bool>,
    regions: &'a [Members],
    /// region of every node that is in one
    region: Vec<Option<usize>>,
    graph: Graph,
    /// where every node has gone; for members, their results
    map: Vec<Option<NodeId>>,
    done: Vec<Region>,
}

impl<'a> Rewriter<'a> {
    fn new(trace: &'a Trace, select: Select, regions: &'a [Members]) -> Self {
        let n = trace.graph.nodes().len();
        let mut region = vec![None; n];
        for (r, members) in regions.iter().enumerate() {
            members.nodes.iter().for_each(|&i| region[i] = Some(r));
        }
        let live = fuse::live(trace, select);
        Rewriter {
            trace,
            select,
            live,
            regions,
            region,
            graph: Graph::default(),
            map: vec![None; n],
            done: vec![],
        }
    }

    fn run(mut self) -> (Trace, Vec<Region>) {
        let (trace, n) = (self.trace, self.map.len());
        let mut items = Vec::new();
        let mut effects = self.select.items(trace).peekable();
        for i in 0..=n {
            while let Some(item) = effects.next_if(|item| item.after <= i) {
                let mut item = item.clone();
                item.after = self.graph.nodes().len();
                if let Effect::Train { loss, gradients, .. } = &mut item.effect {
                    *loss = self.at(*loss);
                    gradients.iter_mut().for_each(|(_, g)| *g = self.at(*g));
                }
                items.push(item);
            }
            if i < n && self.live[i] {
                match self.region[i] {
                    Some(r) => self.region(r),
                    None => self.node(i),
                }
            }
        }
        let metrics = if self.select.metrics { &trace.metrics[..] } else { &[] };
        let split = Trace {
            items,
            metrics: metrics.iter().map(|&(m, id)| (m, self.at(id))).collect(),
            outputs: trace.outputs.iter().map(|&(name, id)| (name, self.at(id))).collect(),
            inputs: trace.inputs.clone(),
            hypers: trace.hypers.clone(),
            noises: trace.noises.clone(),
            ..trace.with_graph(self.graph)
        };
        (split, self.done)
    }

    fn at(&self, id: NodeId) -> NodeId {
        self.map[id.index()].expect("invariant: arguments and results have been written before")
    }

    fn node(&mut self, i: usize) {
        if self.map[i].is_some() {
            return;
        }
        let node = &self.trace.graph.nodes()[i];
        let args: Vec<NodeId> = node.args.iter().map(|&a| self.at(a)).collect();
        self.write(i, node.op, &args, node.shape);
    }

    fn write(&mut self, i: usize, op: Op, args: &[NodeId], shape: Shape) {
        let id = self.graph.push(op, args, shape);
        if let Some(label) = &self.trace.graph.nodes()[i].label {
            self.graph.label(id, label.clone());
        }
        self.map[i] = Some(id);
    }

    /// What a region depends on, the region, its results.
    fn region(&mut self, r: usize) {
        let members = &self.regions[r];
        if self.done.len() > r {
            return;
        }
        let nodes = self.trace.graph.nodes();
        for i in ancestors(nodes, members) {
            self.node(i);
        }
        let (mut body, args) = Body::new(nodes, members);
        let mut results = vec![false; nodes.len()];
        fuse::roots(self.trace, self.select).iter().for_each(|id| results[id.index()] = true);
        for (i, node) in nodes.iter().enumerate() {
            if self.live[i] && self.region[i] != Some(r) {
                node.args.iter().for_each(|a| results[a.index()] = true);
            }
        }
        let args: Vec<NodeId> = args.into_iter().map(|a| self.at(a)).collect();
        let run = self.graph.push(Op::Region(r), &args, Shape::new(1, 1, 0));
        let mut outputs = Vec::new();
        for &i in members.nodes.iter().filter(|i| results[**i]) {
            self.write(i, Op::RegionResult(outputs.len()), &[run], nodes[i].shape);
            outputs.push(("", body.map[&i]));
        }
        self.done.push(Region {
            heads: members.heads,
            blocks: members.blocks,
            views: std::mem::take(&mut body.views),
            body: Trace { outputs, ..self.trace.with_graph(body.graph) },
        });
    }
}

/// The graph of one head and one block.
struct Body {
    graph: Graph,
    map: BTreeMap<usize, NodeId>,
    views: Vec<View>,
}

impl Body {
    /// With the outer nodes that it views, in the order of its views.
    fn new(nodes: &[Node], members: &Members) -> (Body, Vec<NodeId>) {
        let mut body = Body { graph: Graph::default(), map: BTreeMap::new(), views: Vec::new() };
        let mut viewed: Vec<(NodeId, bool)> = Vec::new();
        for &i in &members.nodes {
            let node = &nodes[i];
            let args: Vec<NodeId> = (node.args.iter().enumerate())
                .map(|(k, &a)| {
                    let outer = &nodes[a.index()];
                    match (body.map.get(&a.index()), outer.op) {
                        (Some(id), _) => *id,
                        (None, Op::Const(_)) => body.graph.push(outer.op, &[], outer.shape),
                        (None, _) => {
                            let whole = reads_whole(node, k, outer.shape) || outer.shape.rows == 1;
                            let known = viewed.iter().position(|v| *v == (a, whole));
                            let at = known.unwrap_or_else(|| {
                                viewed.push((a, whole));
                                body.views.push(view(outer.shape, whole, members.blocks));
                                viewed.len() - 1
                            });
                            let rows = outer.shape.rows / if whole { 1 } else { members.blocks };
                            body.graph.push(Op::View(at), &[], Shape { heads: 1, rows, ..outer.shape })
                        }
                    }
                })
                .collect();
            let rows = node.shape.rows / if sums_rows(node.op) { 1 } else { members.blocks };
            let id = body.graph.push(node.op, &args, Shape { heads: 1, rows, ..node.shape });
            body.map.insert(i, id);
        }
        (body, viewed.into_iter().map(|(id, _)| id).collect())
    }
}

fn view(s: Shape, whole: bool, blocks: usize) -> View {
    let size = s.rows * s.cols;
    let len = if whole { size } else { size / blocks };
    View { head: if s.heads == 1 { 0 } else { size }, block: if whole { 0 } else { len }, len }
}

#[cfg(test)]
mod tests;
