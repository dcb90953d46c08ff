//! What a compiled trace is: a constant list of kernel calls on numbered buffers.

use std::sync::Arc;

use baq_kernels::{Activation, Linear, Norm};

use crate::autodiff::trace::leaves::{InputSpec, NoiseSpec};
use crate::autodiff::trace::metric::Metric;
use crate::autodiff::trace::operation::Op;
use crate::autodiff::trace::parameters::{GroupId, ParamId, ParamTable};
use crate::autodiff::trace::schedule::{Adam, Schedule};
use crate::autodiff::trace::shape::Shape;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::autodiff) enum Loc {
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
pub(in crate::autodiff) struct Slot {
    pub(in crate::autodiff) loc: Loc,
    pub(in crate::autodiff) len: usize,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub(in crate::autodiff) enum Kernel {
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
    LayerNorm {
        sizes: Norm,
        relu: bool,
        x: Slot,
        gain: Slot,
        bias: Slot,
    },
    /// dx, or dgain if that is all that is wanted
    LayerNormGrad {
        sizes: Norm,
        x: Slot,
        gain: Slot,
        dy: Slot,
        dx: bool,
        dgain: Option<Slot>,
        dbias: Option<Slot>,
    },
    /// any other operation, of values with their extents
    Operation {
        op: Op,
        shape: Shape,
        args: Vec<(Slot, Shape)>,
    },
    Copy {
        x: Slot,
    },
    Noise {
        index: usize,
    },
    /// a region, of the outer values that it views
    Region {
        region: usize,
        body: Arc<RegionProgram>,
        views: Vec<Slot>,
    },
    /// a result of a region
    RegionResult {
        region: usize,
        body: Arc<RegionProgram>,
        index: usize,
    },
}

impl Kernel {
    /// What it writes beside its result.
    pub(in crate::autodiff) fn beside(&self) -> [Option<Slot>; 2] {
        match self {
            Kernel::LinearDw { db, .. } => [*db, None],
            Kernel::LayerNormGrad { dgain, dbias, .. } => [*dgain, *dbias],
            _ => [None; 2],
        }
    }

    /// Whether its result is a sum over rows, as all is that it writes beside.
    pub(in crate::autodiff) fn sums_rows(&self) -> bool {
        matches!(self, Kernel::LinearDw { .. } | Kernel::LayerNormGrad { dx: false, .. })
    }
}

/// A step of a program.
#[derive(Clone, Debug)]
pub(in crate::autodiff) enum Step {
    Run { kernel: Kernel, out: Slot },
    Train { group: GroupId, optimiser: Adam },
    Polyak { source: GroupId, target: GroupId, rate: usize },
}

/// A compiled region: what runs for every head and every block of rows.
#[derive(Debug)]
pub(in crate::autodiff) struct RegionProgram {
    pub(in crate::autodiff) heads: usize,
    pub(in crate::autodiff) blocks: usize,
    /// one head, one block
    pub(in crate::autodiff) program: Program,
    pub(in crate::autodiff) views: Vec<View>,
    /// of every result: its slot in the program, and whether it is complete only after the last block
    pub(in crate::autodiff) results: Vec<(Slot, bool)>,
}

/// A part of an outer value that one head and one block read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::autodiff) struct View {
    /// distance between heads
    pub(in crate::autodiff) head: usize,
    /// distance between blocks
    pub(in crate::autodiff) block: usize,
    /// length of the part
    pub(in crate::autodiff) len: usize,
}

/// What a probe is told about a step.
#[derive(Clone, Debug)]
pub(in crate::autodiff) struct Label {
    /// name of the update that it prepares or is
    pub(in crate::autodiff) stage: &'static str,
    pub(in crate::autodiff) text: String,
    /// it only moves or repeats numbers
    pub(in crate::autodiff) moves: bool,
    /// it is a result of a region
    pub(in crate::autodiff) region: bool,
    /// extents of the result
    pub(in crate::autodiff) shape: Shape,
}

/// One optimiser step as a program sees it.
#[derive(Clone, Debug)]
pub struct Update {
    /// name given while tracing
    pub name: &'static str,
    /// what it trains
    pub group: GroupId,
    pub(in crate::autodiff) loss: Slot,
}

/// A compiled trace: constant, shared between threads, executed on a [`Workspace`](crate::autodiff::Workspace).
#[derive(Clone, Debug)]
pub struct Program {
    pub(in crate::autodiff) table: Arc<ParamTable>,
    pub(in crate::autodiff) steps: Vec<Step>,
    /// what each step does, for probes
    pub(in crate::autodiff) labels: Vec<Label>,
    pub(in crate::autodiff) buffers: Vec<usize>,
    pub(in crate::autodiff) constants: Vec<(usize, f32)>,
    pub(in crate::autodiff) hypers: Vec<(Schedule, Option<usize>)>,
    pub(in crate::autodiff) inputs: Vec<(InputSpec, Option<usize>)>,
    pub(in crate::autodiff) noises: Vec<NoiseSpec>,
    pub(in crate::autodiff) updates: Vec<Update>,
    pub(in crate::autodiff) metrics: Vec<(&'static Metric, Slot)>,
    pub(in crate::autodiff) outputs: Vec<(&'static str, Slot)>,
}

impl Program {
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

    /// Names of its results.
    pub fn outputs(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.outputs.iter().map(|(name, _)| *name)
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
    pub(in crate::autodiff) fn bodies(&self) -> impl Iterator<Item = &Arc<RegionProgram>> {
        self.steps.iter().filter_map(|s| match s {
            Step::Run { kernel: Kernel::Region { body, .. }, .. } => Some(body),
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

    /// Sizes of its dense layers, each once.
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
pub(in crate::autodiff) fn flops(kernel: &Kernel) -> u64 {
    let product = |factors: [usize; 4]| factors.iter().fold(1, |p: u64, n| p.saturating_mul(*n as u64));
    match kernel {
        Kernel::Linear { sizes: s, .. }
        | Kernel::LinearDx { sizes: s, .. }
        | Kernel::LinearDw { sizes: s, .. } => {
            product([s.heads, s.rows, s.inputs, s.outputs]).saturating_mul(2)
        }
        Kernel::Region { body, .. } => {
            product([body.heads, body.blocks, 1, 1]).saturating_mul(body.program.flops())
        }
        _ => 0,
    }
}

fn kernels_of(step: &Step) -> usize {
    match step {
        Step::Run { kernel: Kernel::Region { body, .. }, .. } => body.program.kernels(),
        Step::Run { .. } => 1,
        Step::Train { .. } | Step::Polyak { .. } => 0,
    }
}
