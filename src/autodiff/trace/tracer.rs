//! Tracing: an algorithm runs once, on shapes only, and leaves a [`Trace`].

use std::cell::RefCell;
use std::sync::Arc;

use super::gradient;
use super::graph::NodeId;
use super::metric::Metric;
use super::operation::NoiseKind;
use super::parameters::{GroupId, ParamId, ParamTable};
use super::recorded::{Effect, Item, Role, Trace};
use super::schedule::{Adam, Schedule};
use super::shape::Shape;
use super::var::{Recording, Rule, Var};

/// Records what an algorithm would do. What cannot be is a mistake of the program and panics while it is traced, operations on
/// values of shapes that do not broadcast too ([`Shape::broadcast`]).
pub struct Tracer {
    recording: RefCell<Recording>,
    effects: RefCell<Effects>,
}

/// What is done with values.
#[derive(Default)]
struct Effects {
    items: Vec<Item>,
    metrics: Vec<(&'static Metric, NodeId)>,
    outputs: Vec<(&'static str, NodeId)>,
}

impl Tracer {
    /// A trace on these parameters.
    pub fn new(table: Arc<ParamTable>) -> Tracer {
        Tracer::with_rule(table, gradient::derivative)
    }

    /// The same with other derivatives: tests hand in a wrong one to see that the checks of gradients find it.
    pub fn with_rule(table: Arc<ParamTable>, rule: Rule) -> Tracer {
        Tracer { recording: RefCell::new(Recording::new(table, rule)), effects: RefCell::default() }
    }

    fn var(&self, id: NodeId) -> Var<'_> {
        Var { recording: &self.recording, id }
    }

    /// A batch column `[B, N]`. Asking twice for a name gives the same column.
    ///
    /// # Panics
    /// If it had another shape before.
    pub fn input(&self, name: &'static str, rows: usize, cols: usize) -> Var<'_> {
        self.var(self.recording.borrow_mut().input(name, Shape::new(1, rows, cols)))
    }

    /// A parameter tensor as it stands at this point of the trace.
    pub fn param(&self, id: ParamId) -> Var<'_> {
        self.var(self.recording.borrow_mut().param(id))
    }

    /// A literal.
    pub fn constant(&self, x: f64) -> Var<'_> {
        self.var(self.recording.borrow_mut().constant(x))
    }

    /// A scalar that follows its schedule from round to round.
    ///
    /// # Panics
    /// If this name had another schedule before.
    pub fn hyper(&self, name: &str, schedule: &Schedule) -> Var<'_> {
        self.var(self.recording.borrow_mut().hyper(name, schedule))
    }

    /// Fresh random numbers; every call is a stream of its own.
    pub fn noise(&self, name: &str, kind: NoiseKind, shape: Shape) -> Var<'_> {
        self.var(self.recording.borrow_mut().noise(name, kind, shape))
    }

    /// Trains a group on a loss: gradients with respect to this group only, then one Adam step.
    /// Everything else that the loss reads is a constant.
    ///
    /// # Panics
    /// If the loss is no scalar or does not depend on a tensor of the group as it stands now (to train a group again takes a
    /// loss that is traced anew), or if two updates have one name.
    pub fn train(&self, name: &'static str, role: Role, group: GroupId, optimiser: &Adam, loss: Var<'_>) {
        assert_eq!(loss.shape(), Shape::SCALAR, "loss {name} is not a scalar");
        let table = self.recording.borrow().table.clone();
        let wrt: Vec<Var<'_>> = table.members(group).map(|p| self.param(p)).collect();
        let gradients = gradient::gradients(loss, self.constant(1.0), &wrt);
        self.train_by(name, role, group, optimiser, (loss, gradients));
    }

    /// One step of a group's optimiser on gradients of zero: its moments go on moving it.
    ///
    /// # Panics
    /// If two updates have one name.
    pub fn idle(&self, name: &'static str, role: Role, group: GroupId, optimiser: &Adam) {
        let table = self.recording.borrow().table.clone();
        let zero = self.constant(0.0);
        let gradients = table.members(group).map(|p| Some(zero.expand(table.param(p).shape)));
        self.train_by(name, role, group, optimiser, (zero, gradients.collect()));
    }

    /// Trains a group by gradients that are given, in the order of its tensors.
    pub(super) fn train_by(
        &self,
        name: &'static str,
        role: Role,
        group: GroupId,
        optimiser: &Adam,
        (loss, gradients): (Var<'_>, Vec<Option<Var<'_>>>),
    ) {
        let table = self.recording.borrow().table.clone();
        let gradients = (table.members(group).zip(gradients))
            .map(|(p, g)| {
                let path = &table.paths(p)[0].0;
                (p, g.unwrap_or_else(|| panic!("loss {name} does not depend on {path}")).id)
            })
            .collect();
        let optimiser = *optimiser;
        self.effect(role, Effect::Train { name, group, optimiser, loss: loss.id, gradients });
    }

    /// Moves a target network towards its source.
    ///
    /// # Panics
    /// If the target was declared before its source or has tensors of other shapes, or if this name had another rate before.
    pub fn polyak(&self, role: Role, source: GroupId, target: GroupId, name: &str, rate: &Schedule) {
        assert!(source < target, "a target network is declared after its source");
        let rate = {
            let mut recording = self.recording.borrow_mut();
            let table = &recording.table;
            let shapes = |g| table.members(g).map(|p| table.param(p).shape).collect::<Vec<_>>();
            assert_eq!(shapes(source), shapes(target), "target network of another shape");
            recording.hyper_index(name, rate)
        };
        self.effect(role, Effect::Polyak { source, target, rate });
    }

    /// An effect at this point of the trace.
    fn effect(&self, role: Role, effect: Effect) {
        if let Effect::Train { name, .. } = &effect {
            let same =
                |item: &Item| matches!(&item.effect, Effect::Train { name: other, .. } if other == name);
            assert!(!self.effects.borrow().items.iter().any(same), "two updates {name}");
        }
        let mut recording = self.recording.borrow_mut();
        recording.moved(effect.moves());
        let after = recording.graph.nodes().len();
        self.effects.borrow_mut().items.push(Item { effect, role, after });
    }

    /// Reports a scalar whenever metrics are asked for.
    ///
    /// # Panics
    /// If the value is no scalar, or if two metrics have one name.
    pub fn metric(&self, metric: &'static Metric, value: Var<'_>) {
        assert_eq!(value.shape(), Shape::SCALAR, "metric {} is not a scalar", metric.name);
        let metrics = &mut self.effects.borrow_mut().metrics;
        assert!(metrics.iter().all(|(m, _)| m.name != metric.name), "two metrics {}", metric.name);
        metrics.push((metric, value.id));
    }

    /// Names a result of a program without effects (acting, annotating).
    pub fn output(&self, name: &'static str, value: Var<'_>) {
        self.effects.borrow_mut().outputs.push((name, value.id));
    }

    /// Ends the trace.
    pub fn finish(self) -> Trace {
        let (recording, effects) = (self.recording.into_inner(), self.effects.into_inner());
        Trace {
            graph: recording.graph,
            table: recording.table,
            inputs: recording.inputs,
            hypers: recording.hypers,
            noises: recording.noises,
            items: effects.items,
            metrics: effects.metrics,
            outputs: effects.outputs,
            single_expectiles: false,
            rule: recording.rule,
        }
    }
}
