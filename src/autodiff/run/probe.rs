//! Probes: who looks on while a program runs.
//!
//! [`Program::run_with`] is generic over its probe and tells it what happens, in this order: [`Probe::round`] once;
//! [`Probe::op`] after every kernel, where operations run in blocks after each of their results; [`Probe::update`] when
//! the gradients of an update are complete and nothing has moved; [`Probe::applied`] when the optimiser has;
//! [`Probe::step`] after everything that takes time; [`Probe::done`] at the end. All of it does nothing by default, so that
//! [`NoProbe`] compiles to nothing.
//!
//! A probe sees everything and changes nothing. It may ask the program to stop, at once and before anything moves.

use std::sync::Arc;

use baq_kernels::Digest;
use ndarray::{ArrayView2, ArrayView3};

use super::clock::{Clock, Noise, fill_noise};
use super::program::{Program, Update};
use super::store::Store;
use super::workspace::Workspace;
use crate::autodiff::trace::parameters::ParamId;
use crate::autodiff::trace::recorded::Trace;
use crate::autodiff::trace::shape::Shape;

/// What a probe wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// go on
    Continue,
    /// return from the program at once
    Stop,
}

/// What one pass of a program reads besides parameters and batch columns.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// where in the run it stands
    pub clock: Clock,
    /// where noise comes from
    pub noise: Noise<'a>,
    /// rows of the replay that the batch was gathered from; only probes look at them
    pub rows: &'a [u32],
}

/// Looks on. Every event does nothing unless a probe says otherwise.
pub trait Probe: Send {
    /// A phase begins: these rounds come next. Called by the training loops, also when a run is resumed.
    fn phase(&mut self, _name: &'static str, _trace: &Arc<Trace>) -> Flow {
        Flow::Continue
    }
    /// Beside the phase that has just begun a second program runs, once after each of its rounds and under the same
    /// clock. None of its updates has the name of one of the phase's, so that names tell them apart.
    fn beside(&mut self, _name: &'static str, _trace: &Arc<Trace>) -> Flow {
        Flow::Continue
    }
    /// A round begins: the batch is in place and nothing has been computed.
    fn round(&mut self, _: &RoundView<'_>) -> Flow {
        Flow::Continue
    }
    /// A kernel has run. Of operations that run in blocks only the results are told.
    fn op(&mut self, _: &OpView<'_>) -> Flow {
        Flow::Continue
    }
    /// The gradients of an update are complete; no parameter has moved.
    fn update(&mut self, _: &UpdateView<'_>) -> Flow {
        Flow::Continue
    }
    /// The optimiser has moved the parameters of an update.
    fn applied(&mut self, _: &UpdateView<'_>) -> Flow {
        Flow::Continue
    }
    /// Step `_index` of [`Program::costs`] is complete.
    fn step(&mut self, _index: usize) {}
    /// The round is over.
    fn done(&mut self, _: &RoundView<'_>) -> Flow {
        Flow::Continue
    }
}

/// Nobody looks on.
#[derive(Clone, Copy, Debug)]
pub struct NoProbe;

impl Probe for NoProbe {}

/// A round from outside: everything that determines it, or what became of it.
#[derive(Clone, Copy)]
pub struct RoundView<'a> {
    /// where the run stands, and its noise and rows
    pub pass: Pass<'a>,
    /// parameters and moments
    pub store: &'a Store,
    pub(super) program: &'a Program,
    pub(super) workspace: &'a Workspace,
}

impl<'a> RoundView<'a> {
    /// The program that runs.
    pub fn program(&self) -> &'a Program {
        self.program
    }

    /// The batch columns that the program reads, `[B, N]`.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, ArrayView2<'a, f32>)> + use<'a> {
        let workspace = self.workspace;
        self.program.inputs.iter().filter_map(move |(input, buffer)| {
            let values = &workspace.buffers[(*buffer)?][..input.shape.len()];
            Some((input.name, matrix(values, input.shape)))
        })
    }

    /// The numbers of every noise stream of the trace in this round, with their names.
    pub fn noise(&self) -> Vec<(&'a str, Vec<f32>)> {
        let all = self.program.noises.iter().enumerate();
        all.map(|(index, spec)| {
            let mut y = vec![0.0; spec.shape.len()];
            fill_noise(self.pass.noise, index, spec.kind, self.pass.clock.round, &mut y);
            (spec.name.as_str(), y)
        })
        .collect()
    }
}

/// A value that a kernel has just written. Its memory is soon somebody else's.
#[derive(Clone, Copy)]
pub struct OpView<'a> {
    /// position in the program, see [`Program::costs`]
    pub step: usize,
    /// name of the update that it prepares
    pub stage: &'static str,
    /// what was computed, as in `%17 = relu(linear(s, v.layer0.weight, v.layer0.bias))`
    pub text: &'a str,
    /// it only moves or repeats numbers
    pub moves: bool,
    /// it is a result of operations that ran in blocks and that no probe has seen
    pub region: bool,
    /// extents of the result
    pub shape: Shape,
    /// the result, row-major
    pub values: &'a [f32],
}

/// One update: a loss, its gradients and what they move.
#[derive(Clone, Copy)]
pub struct UpdateView<'a> {
    /// the round around it
    pub round: RoundView<'a>,
    /// its declaration
    pub update: &'a Update,
    /// the loss
    pub loss: f32,
}

impl<'a> UpdateView<'a> {
    /// The tensors that it trains.
    pub fn members(&self) -> impl Iterator<Item = ParamId> + use<'a> {
        self.round.program.table.members(self.update.group)
    }

    /// Parameters by path, one head each `[K, N]`.
    pub fn parameters(&self) -> impl Iterator<Item = (String, ArrayView2<'a, f32>)> + use<'a> {
        self.by_path(&self.round.store.values)
    }

    /// Gradients by path, one head each `[K, N]`.
    pub fn gradients(&self) -> impl Iterator<Item = (String, ArrayView2<'a, f32>)> + use<'a> {
        self.by_path(&self.round.store.gradients)
    }

    fn by_path(
        &self,
        tensors: &'a [baq_kernels::Buffer],
    ) -> impl Iterator<Item = (String, ArrayView2<'a, f32>)> + use<'a> {
        let table = &self.round.program.table;
        table.members(self.update.group).flat_map(move |id| {
            let shape = table.param(id).shape;
            let head = Shape::new(1, shape.rows, shape.cols);
            let of = move |(path, range): (String, std::ops::Range<usize>)| {
                (path, matrix(&tensors[id.index()][range], head))
            };
            table.paths(id).into_iter().map(of)
        })
    }

    /// Checksum and squares of a parameter.
    pub fn parameter_digest(&self, id: ParamId) -> Digest {
        (self.round.workspace.kernels.digest)(&self.round.store.values[id.index()])
    }

    /// Checksum and squares of a gradient.
    pub fn gradient_digest(&self, id: ParamId) -> Digest {
        (self.round.workspace.kernels.digest)(&self.round.store.gradients[id.index()])
    }
}

fn matrix(values: &[f32], shape: Shape) -> ArrayView2<'_, f32> {
    ArrayView3::from_shape(shape.dims(), values)
        .expect("invariant: a tensor has the length of its shape")
        .index_axis_move(ndarray::Axis(0), 0)
}
