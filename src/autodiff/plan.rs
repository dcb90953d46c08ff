//! What a compiled trace is: a constant list of kernel calls on numbered buffers.
//!
//! [`Program::compile`] makes it in four passes over the trace, each in a file of its own: `blocks` (what runs in
//! blocks of rows), `fuse` (what is needed, and which nodes share a kernel), `places` (where each value lives, and how long), `emit` (kernel calls in order).

use std::sync::Arc;

use baq_kernels::{self as kernels, Activation, Binary, Broadcast, Linear};

use super::blocks::{self, Blocking};
use super::emit;
use super::graph::{ParamId, Shape};
use super::metric::Metric;
use super::region::Body;
use super::schedule::{Adam, Schedule};
use super::table::{GroupId, ParamTable};
use super::trace::{InputSpec, Item, NoiseSpec, Role, Trace};

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

    fn role(self, role: Role) -> bool {
        match role {
            Role::Critic => self.critic,
            Role::Actor => self.actor,
        }
    }

    /// The selected effects, in order.
    pub(super) fn items(self, trace: &Trace) -> impl Iterator<Item = &Item> {
        trace.items.iter().filter(move |i| self.role(i.role))
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loc {
    /// a buffer of the workspace
    Buffer(usize),
    /// a parameter of the store
    Param(ParamId),
    /// a gradient of the store
    Gradient(ParamId),
    /// in the body of a region: part of an outer value
    View(usize),
}

/// A value: where and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) loc: Loc,
    pub(super) len: usize,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub(super) enum Kernel {
    Linear {
        sizes: Linear,
        act: Activation,
        x: Slot,
        w: Slot,
        b: Slot,
    },
    LinearDx {
        sizes: Linear,
        dy: Slot,
        w: Slot,
        mask: Option<(Activation, Slot)>,
    },
    LinearDw {
        sizes: Linear,
        x: Slot,
        dy: Slot,
        db: Option<Slot>,
    },
    Unary {
        f: kernels::Unary,
        x: Slot,
    },
    Binary {
        f: Binary,
        how: Broadcast,
        a: Slot,
        b: Slot,
    },
    Sum {
        dims: [usize; 3],
        x: Slot,
    },
    Min {
        dims: [usize; 3],
        x: Slot,
    },
    MinGrad {
        dims: [usize; 3],
        x: Slot,
        min: Slot,
        g: Slot,
    },
    LogSumExp {
        dims: [usize; 2],
        x: Slot,
    },
    /// rows of a and b side by side
    Concat {
        a_cols: usize,
        b_cols: usize,
        a: Slot,
        b: Slot,
    },
    /// `cols` columns of x from `start`
    Slice {
        start: usize,
        cols: usize,
        x_cols: usize,
        x: Slot,
    },
    /// x from column `start` on, zeros elsewhere
    Pad {
        start: usize,
        cols: usize,
        x_cols: usize,
        x: Slot,
    },
    /// every row `k` times
    Repeat {
        k: usize,
        cols: usize,
        x: Slot,
    },
    Copy {
        x: Slot,
    },
    Noise {
        index: usize,
    },
    /// a region, of the outer values that it views
    Blocks {
        region: usize,
        body: Arc<Body>,
        views: Vec<Slot>,
    },
    /// a result of a region
    Part {
        region: usize,
        body: Arc<Body>,
        index: usize,
    },
}

/// A step of a program.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Run { kernel: Kernel, out: Slot },
    Train { group: GroupId, optimiser: Adam },
    Polyak { source: GroupId, target: GroupId, rate: usize },
}

/// What a probe is told about a step.
#[derive(Clone, Debug)]
pub(super) struct Label {
    /// name of the update that it prepares or is
    pub(super) stage: &'static str,
    pub(super) text: String,
    /// it only moves or repeats numbers
    pub(super) moves: bool,
    /// extents of the result
    pub(super) shape: Shape,
}

/// One optimiser step as a program sees it.
#[derive(Clone, Debug)]
pub struct Update {
    /// name given while tracing
    pub name: &'static str,
    /// what it trains
    pub group: GroupId,
    pub(super) loss: Slot,
}

/// A compiled trace: constant, shared between threads, replayed on a
/// [`Workspace`](super::Workspace).
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) table: Arc<ParamTable>,
    pub(super) steps: Vec<Step>,
    /// what each step does, for probes
    pub(super) labels: Vec<Label>,
    pub(super) buffers: Vec<usize>,
    pub(super) constants: Vec<(usize, f32)>,
    pub(super) hypers: Vec<(Schedule, Option<usize>)>,
    pub(super) inputs: Vec<(InputSpec, Option<usize>)>,
    pub(super) noises: Vec<NoiseSpec>,
    pub(super) updates: Vec<Update>,
    pub(super) metrics: Vec<(&'static Metric, Slot)>,
    pub(super) outputs: Vec<(&'static str, Slot)>,
}

impl Program {
    /// Compiles the selected parts of a trace.
    pub fn compile(trace: &Trace, select: Select) -> Program {
        Program::compile_blocked(trace, select, Blocking::USUAL)
    }

    /// The same with other limits for what runs in blocks.
    pub fn compile_blocked(trace: &Trace, select: Select, blocking: Blocking) -> Program {
        match blocks::split(trace, select, blocking) {
            Some((trace, regions)) => {
                let bodies: Vec<Arc<Body>> = regions.into_iter().map(Body::new).collect();
                emit::program(&trace, select, &bodies)
            }
            None => emit::program(trace, select, &[]),
        }
    }

    /// Parameters it runs on.
    pub fn table(&self) -> &Arc<ParamTable> {
        &self.table
    }

    /// Batch columns it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &InputSpec> {
        self.inputs.iter().filter(|(_, b)| b.is_some()).map(|(i, _)| i)
    }

    /// Optimiser steps in order.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Metrics it computes.
    pub fn metrics(&self) -> impl ExactSizeIterator<Item = &'static Metric> + '_ {
        self.metrics.iter().map(|(m, _)| *m)
    }

    /// Number of kernel calls; those of a region count once, however many heads and blocks it has.
    pub fn kernels(&self) -> usize {
        self.steps.iter().map(kernels_of).sum()
    }

    /// Kernel calls and useful floating-point operations of each update: of all that runs since the update
    /// before it.
    pub fn stages(&self) -> Vec<(usize, u64)> {
        let mut stages = Vec::with_capacity(self.updates.len());
        let mut stage = (0, 0_u64);
        for step in &self.steps {
            match step {
                Step::Run { kernel, .. } => {
                    stage = (stage.0 + kernels_of(step), stage.1.saturating_add(flops(kernel)));
                }
                Step::Train { .. } => stages.push(std::mem::take(&mut stage)),
                Step::Polyak { .. } => {}
            }
        }
        stages
    }

    /// Bytes of its intermediate values.
    pub fn bytes(&self) -> usize {
        let bodies = self.bodies().map(|body| body.heads.saturating_mul(body.program.bytes()));
        let buffers = self.buffers.iter().map(|len| len.saturating_mul(4));
        bodies.chain(buffers).fold(0, usize::saturating_add)
    }

    /// Heads and blocks of every region that runs in blocks.
    pub fn regions(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.bodies().map(|body| (body.heads, body.blocks))
    }

    /// Its regions, in order.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &Arc<Body>> {
        self.steps.iter().filter_map(|s| match s {
            Step::Run { kernel: Kernel::Blocks { body, .. }, .. } => Some(body),
            _ => None,
        })
    }

    /// Useful floating-point operations of its dense layers, a multiplication and an addition each.
    pub fn flops(&self) -> u64 {
        let one = |s: &Step| match s {
            Step::Run { kernel, .. } => flops(kernel),
            Step::Train { .. } | Step::Polyak { .. } => 0,
        };
        self.steps.iter().map(one).fold(0, u64::saturating_add)
    }

    /// Sizes of its dense layers, for benches.
    pub fn layers(&self) -> Vec<Linear> {
        let mut all: Vec<Linear> = Vec::new();
        for body in self.bodies() {
            all.extend(body.program.layers());
        }
        for s in &self.steps {
            if let Step::Run { kernel: Kernel::Linear { sizes, .. }, .. } = s
                && !all.contains(sizes)
            {
                all.push(*sizes);
            }
        }
        all
    }
}

/// Useful floating-point operations of a kernel: those of dense layers.
pub(super) fn flops(kernel: &Kernel) -> u64 {
    let product = |factors: [usize; 4]| factors.iter().fold(1, |p: u64, n| p.saturating_mul(*n as u64));
    match kernel {
        Kernel::Linear { sizes: s, .. }
        | Kernel::LinearDx { sizes: s, .. }
        | Kernel::LinearDw { sizes: s, .. } => {
            product([s.heads, s.rows, s.inputs, s.outputs]).saturating_mul(2)
        }
        Kernel::Blocks { body, .. } => {
            product([body.heads, body.blocks, 1, 1]).saturating_mul(body.program.flops())
        }
        _ => 0,
    }
}

fn kernels_of(step: &Step) -> usize {
    match step {
        Step::Run { kernel: Kernel::Blocks { body, .. }, .. } => body.program.kernels(),
        Step::Run { .. } => 1,
        Step::Train { .. } | Step::Polyak { .. } => 0,
    }
}
