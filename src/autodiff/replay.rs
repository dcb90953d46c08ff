//! Replay: a program runs on preallocated memory, in f32, with the kernels of one instruction set.
//!
//! Nothing is allocated, locked or decided here. A kernel's output buffer is taken out of its place
//! while the kernel reads the others, and put back; that is how one slab serves safe Rust.

use std::sync::Arc;

use baq_kernels::{AdamStep, Buffer, Kernels, Scratch, philox};

use super::call::{Target, call};
use super::graph::{NoiseKind, ParamId};
use super::plan::{Kernel, Loc, Program, Slot, Step};
use super::probe::{Flow, NoProbe, OpView, Pass, Probe, RoundView, UpdateView};
use super::region::Space;
use super::schedule::Adam;
use super::store::Store;

/// Where in a run a replay stands. Randomness and schedules are functions of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Clock {
    /// rounds since the beginning of the run, offline and online: the position of all noise
    pub round: u64,
    /// rounds since the beginning of the phase: the position of all schedules
    pub phase_round: u64,
}

/// Where noise nodes get their numbers.
#[derive(Clone, Copy, Debug)]
pub enum Noise<'a> {
    /// Element i of stream k at round t is a function of (seed, k, t, i).
    Seed(u64),
    /// Numbers recorded elsewhere, one slice for every noise stream of the trace.
    Recorded(&'a [Vec<f32>]),
}

/// First stream id of noise nodes; lower ones belong to sampling and environments.
pub const NOISE_STREAMS: u32 = 1 << 16;

/// The memory of a program.
pub struct Workspace {
    pub(super) kernels: &'static Kernels,
    pub(super) buffers: Vec<Buffer>,
    scratch: Buffer,
    /// of every region, of every head
    regions: Vec<Vec<Space>>,
    hypers: Vec<f64>,
}

impl Workspace {
    /// Allocates everything that the program will ever need, for the process's instruction set ([`baq_kernels::active`]).
    pub fn new(program: &Program) -> Workspace {
        Workspace::with_kernels(program, baq_kernels::active())
    }

    /// The same for a chosen instruction set.
    pub fn with_kernels(program: &Program, kernels: &'static Kernels) -> Workspace {
        Workspace {
            kernels,
            buffers: program.memory(),
            scratch: Buffer::new(program.steps.iter().map(|s| s.scratch(kernels)).max().unwrap_or(0)),
            regions: program.bodies().map(|body| body.spaces(kernels)).collect(),
            hypers: vec![0.0; program.hypers.len()],
        }
    }

    /// The buffer of a batch column, row-major; `None` if the program does not read that column.
    pub fn input_mut(&mut self, program: &Program, name: &str) -> Option<&mut [f32]> {
        let buffer = program.inputs.iter().find(|(i, _)| i.name == name)?.1?;
        Some(&mut self.buffers[buffer])
    }

    /// The buffers of all batch columns that the program reads, with their names.
    pub fn inputs_mut<'a>(
        &'a mut self,
        program: &'a Program,
    ) -> impl Iterator<Item = (&'static str, &'a mut [f32])> {
        self.buffers.iter_mut().enumerate().filter_map(|(b, buffer)| {
            let (input, _) = program.inputs.iter().find(|(_, at)| *at == Some(b))?;
            Some((input.name, &mut buffer[..]))
        })
    }

    /// A named result of the last replay.
    pub fn output(&self, program: &Program, name: &str) -> &[f32] {
        let (_, slot) = program
            .outputs
            .iter()
            .find(|(n, _)| *n == name)
            .unwrap_or_else(|| panic!("no output named {name}"));
        self.result(*slot)
    }

    /// The loss of an update in the last replay.
    pub fn loss(&self, program: &Program, update: usize) -> f32 {
        self.result(program.updates[update].loss)[0]
    }

    /// Metrics of the last replay, in the order of [`Program::metrics`].
    pub fn metrics<'a>(&'a self, program: &'a Program) -> impl Iterator<Item = f32> + 'a {
        program.metrics.iter().map(|(_, slot)| self.result(*slot)[0])
    }

    fn result(&self, slot: Slot) -> &[f32] {
        let Loc::Buffer(b) = slot.loc else { unreachable!("invariant: results live in the workspace") };
        &self.buffers[b][..slot.len]
    }

    fn take(&mut self, store: &mut Store, out: Slot) -> Buffer {
        std::mem::take(self.place(store, out.loc))
    }

    fn place<'a>(&'a mut self, store: &'a mut Store, loc: Loc) -> &'a mut Buffer {
        match loc {
            Loc::Buffer(b) => &mut self.buffers[b],
            Loc::Gradient(p) => &mut store.gradients[p.index()],
            Loc::Param(_) | Loc::View(_) => unreachable!("invariant: kernels never write parameters"),
        }
    }

    fn run(
        &mut self,
        program: &Program,
        store: &mut Store,
        kernel: &Kernel,
        out: Slot,
        clock: Clock,
        noise: Noise<'_>,
    ) {
        let mut taken = self.take(store, out);
        let mut bias = match kernel {
            Kernel::LinearDw { db: Some(db), .. } => Some((*db, self.take(store, *db))),
            _ => None,
        };
        let y = &mut taken[..out.len];
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut regions = std::mem::take(&mut self.regions);
        let k = self.kernels;
        let at = |s: &Slot| -> &[f32] {
            match s.loc {
                Loc::View(_) => unreachable!("invariant: views are read in regions"),
                Loc::Buffer(b) => &self.buffers[b][..s.len],
                Loc::Param(p) => &store.values[p.index()],
                Loc::Gradient(p) => &store.gradients[p.index()],
            }
        };
        match kernel {
            Kernel::Noise { index } => {
                fill_noise(noise, *index, program.noises[*index].kind, clock.round, y);
            }
            Kernel::Blocks { region, body, views } => {
                let mut spaces = std::mem::take(&mut regions[*region]);
                body.run(k, &mut spaces, |i| at(&views[i]));
                regions[*region] = spaces;
            }
            Kernel::Part { region, body, index } => body.result(*index, &regions[*region], y),
            _ => {
                let bias = bias.as_mut().map(|(slot, b)| &mut b[..slot.len]);
                call(k, kernel, at, Target { y, bias, add: false, scratch: Scratch::Empty(&mut scratch) });
            }
        }
        self.scratch = scratch;
        self.regions = regions;
        *self.place(store, out.loc) = taken;
        if let Some((slot, b)) = bias {
            *self.place(store, slot.loc) = b;
        }
    }
}

impl Step {
    /// Scratch floats with these kernels.
    pub(super) fn scratch(&self, kernels: &Kernels) -> usize {
        match self {
            Step::Run { kernel: Kernel::Linear { sizes, .. } | Kernel::LinearDx { sizes, .. }, .. } => {
                (kernels.linear_scratch)(sizes)
            }
            // Only factors other than f32 are split into it.
            Step::Run { kernel: Kernel::LinearDw { sizes, .. }, .. } if kernels.unit.is_some() => {
                (kernels.linear_scratch)(sizes)
            }
            _ => 0,
        }
    }
}

impl Program {
    /// Its buffers, with its literals in them.
    pub(super) fn memory(&self) -> Vec<Buffer> {
        let mut buffers: Vec<Buffer> = self.buffers.iter().map(|&n| Buffer::new(n)).collect();
        for &(b, x) in &self.constants {
            buffers[b][0] = x;
        }
        buffers
    }

    /// One pass: gradients, optimiser steps and target updates in their order. The batch columns must
    /// have been written through [`Workspace::input_mut`]. Allocates nothing.
    pub fn run(&self, workspace: &mut Workspace, store: &mut Store, clock: Clock, noise: Noise<'_>) {
        let _ = self.run_with(workspace, store, Pass { clock, noise, rows: &[] }, &mut NoProbe);
    }

    /// The same while a probe looks on. If it asks to stop, what comes after has not happened.
    pub fn run_with<P: Probe + ?Sized>(
        &self,
        workspace: &mut Workspace,
        store: &mut Store,
        pass: Pass<'_>,
        probe: &mut P,
    ) -> Flow {
        assert!(Arc::ptr_eq(&self.table, store.table()), "a program runs on the parameters it was traced on");
        let Pass { clock, noise, .. } = pass;
        for (i, (schedule, buffer)) in self.hypers.iter().enumerate() {
            workspace.hypers[i] = schedule.at(clock.phase_round);
            if let Some(b) = buffer {
                workspace.buffers[*b][0] = workspace.hypers[i] as f32;
            }
        }
        /// Leaves the function if the probe says so.
        macro_rules! tell {
            ($event:ident, $view:expr) => {
                if probe.$event(&$view) == Flow::Stop {
                    return Flow::Stop;
                }
            };
        }
        let mut updates = self.updates.iter();
        tell!(round, RoundView { pass, store, program: self, workspace });
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Run { kernel, out } => {
                    workspace.run(self, store, kernel, *out, clock, noise);
                    tell!(op, self.op_view(i, *out, workspace, store));
                }
                Step::Train { group, optimiser } => {
                    let update = updates.next().expect("invariant: one update per optimiser step");
                    let loss = workspace.result(update.loss)[0];
                    let round = RoundView { pass, store, program: self, workspace };
                    tell!(update, UpdateView { round, update, loss });
                    store.steps[group.index()] += 1;
                    let step = adam_step(optimiser, clock.phase_round, store.steps[group.index()]);
                    for p in self.table.members(*group).map(ParamId::index) {
                        (workspace.kernels.adam)(
                            &step,
                            &mut store.values[p],
                            &store.gradients[p],
                            &mut store.first[p],
                            &mut store.second[p],
                        );
                    }
                    let round = RoundView { pass, store, program: self, workspace };
                    tell!(applied, UpdateView { round, update, loss });
                }
                Step::Polyak { source, target, rate } => {
                    let rate = workspace.hypers[*rate] as f32;
                    for (s, t) in self.table.members(*source).zip(self.table.members(*target)) {
                        // A target is declared after its source, so that the slice can be split between them.
                        let (before, after) = store.values.split_at_mut(t.index());
                        (workspace.kernels.polyak)(rate, &mut after[0], &before[s.index()]);
                    }
                }
            }
            probe.step(i);
        }
        tell!(done, RoundView { pass, store, program: self, workspace });
        Flow::Continue
    }

    fn op_view<'a>(
        &'a self,
        step: usize,
        out: Slot,
        workspace: &'a Workspace,
        store: &'a Store,
    ) -> OpView<'a> {
        let values = match out.loc {
            Loc::Buffer(b) => &workspace.buffers[b][..out.len],
            Loc::Gradient(p) => &store.gradients[p.index()],
            Loc::Param(_) | Loc::View(_) => unreachable!("invariant: kernels never write parameters"),
        };
        let label = &self.labels[step];
        OpView { step, stage: label.stage, text: &label.text, moves: label.moves, shape: label.shape, values }
    }
}

/// The numbers of one noise stream at a round.
pub(super) fn fill_noise(noise: Noise<'_>, index: usize, kind: NoiseKind, round: u64, y: &mut [f32]) {
    match noise {
        Noise::Seed(seed) => {
            let stream = NOISE_STREAMS + index as u32;
            match kind {
                NoiseKind::Normal => philox::fill_normal(seed, stream, round, y),
                NoiseKind::Uniform => philox::fill_uniform(seed, stream, round, y),
            }
        }
        Noise::Recorded(draws) => y.copy_from_slice(&draws[index]),
    }
}

fn adam_step(optimiser: &Adam, phase_round: u64, count: u64) -> AdamStep {
    let t = count as f64;
    // The decay rates as the kernel has them, or the bias corrections would belong to other ones.
    let (beta1, beta2) = (f64::from(optimiser.beta1 as f32), f64::from(optimiser.beta2 as f32));
    AdamStep {
        step_size: (optimiser.lr_at(phase_round) / (1.0 - beta1.powf(t))) as f32,
        beta1: beta1 as f32,
        beta2: beta2 as f32,
        eps: optimiser.eps as f32,
        rsqrt_bias2: (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32,
    }
}
