//! Execution: a program runs on preallocated memory, in f32, with the kernels of one instruction set.
//!
//! Nothing is allocated, locked or decided here. A kernel's output buffer is taken out of its place
//! while the kernel reads the others, and put back; that is how one slab serves safe Rust.

use std::sync::Arc;

use baq_kernels::{AdamStep, Buffer, Kernels, Scratch};

use super::call::{Target, call};
use super::clock::{Clock, Noise, fill_noise};
use super::probe::{Flow, NoProbe, OpView, Pass, Probe, RoundView, UpdateView};
use super::program::{Kernel, Label, Loc, Program, Slot, Step};
use super::store::Store;
use super::workspace::Workspace;
use crate::autodiff::trace::parameters::{GroupId, ParamId};
use crate::autodiff::trace::schedule::Adam;

impl Program {
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
        let mut team = std::mem::take(&mut workspace.team);
        let flow = team.run(self.flops(), || self.execute(workspace, store, pass, probe));
        workspace.team = team;
        flow
    }

    fn execute<P: Probe + ?Sized>(
        &self,
        workspace: &mut Workspace,
        store: &mut Store,
        pass: Pass<'_>,
        probe: &mut P,
    ) -> Flow {
        self.set_hypers(workspace, pass.clock);
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
                    workspace.run(self, store, kernel, *out, pass);
                    tell!(op, self.op_view(i, *out, workspace, store));
                }
                Step::Train { group, optimiser } => {
                    let update = updates.next().expect("invariant: one update per optimiser step");
                    let loss = workspace.result(update.loss)[0];
                    let round = RoundView { pass, store, program: self, workspace };
                    tell!(update, UpdateView { round, update, loss });
                    store.steps[group.index()] += 1;
                    self.train(workspace.kernels, store, *group, optimiser, pass.clock.phase_round);
                    let round = RoundView { pass, store, program: self, workspace };
                    tell!(applied, UpdateView { round, update, loss });
                }
                Step::Polyak { source, target, rate } => {
                    let rate = workspace.hypers[*rate] as f32;
                    self.polyak(workspace.kernels, store, (*source, *target), rate);
                }
            }
            probe.step(i);
        }
        tell!(done, RoundView { pass, store, program: self, workspace });
        Flow::Continue
    }

    fn set_hypers(&self, workspace: &mut Workspace, clock: Clock) {
        for (i, (schedule, buffer)) in self.hypers.iter().enumerate() {
            workspace.hypers[i] = schedule.at(clock.phase_round);
            if let Some(b) = buffer {
                workspace.buffers[*b][0] = workspace.hypers[i] as f32;
            }
        }
    }

    fn train(
        &self,
        kernels: &Kernels,
        store: &mut Store,
        group: GroupId,
        optimiser: &Adam,
        phase_round: u64,
    ) {
        let step = adam_step(optimiser, phase_round, store.steps[group.index()]);
        let members = || self.table.members(group).map(ParamId::index);
        if optimiser.clip > 0.0 {
            let squares = members().map(|p| (kernels.digest)(&store.gradients[p]).squares).sum();
            let factor = optimiser.clipping(squares) as f32;
            members().for_each(|p| store.gradients[p].iter_mut().for_each(|g| *g *= factor));
        }
        if optimiser.decay > 0.0 {
            let factor = (1.0 - optimiser.lr_at(phase_round) * optimiser.decay) as f32;
            members().for_each(|p| store.values[p].iter_mut().for_each(|x| *x *= factor));
        }
        for p in members() {
            let (first, second) = (&mut store.first[p], &mut store.second[p]);
            (kernels.adam)(&step, &mut store.values[p], &store.gradients[p], first, second);
        }
    }

    fn polyak(&self, kernels: &Kernels, store: &mut Store, (source, target): (GroupId, GroupId), rate: f32) {
        for (s, t) in self.table.members(source).zip(self.table.members(target)) {
            // A target is declared after its source, so that the slice can be split between them.
            let (before, after) = store.values.split_at_mut(t.index());
            (kernels.polyak)(rate, &mut after[0], &before[s.index()]);
        }
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
        let Label { stage, moves, region, shape, .. } = *label;
        OpView { step, stage, text: &label.text, moves, region, shape, values }
    }
}

impl Workspace {
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

    fn run(&mut self, program: &Program, store: &mut Store, kernel: &Kernel, out: Slot, pass: Pass<'_>) {
        let mut taken = self.take(store, out);
        let mut beside = kernel.beside().map(|slot| slot.map(|slot| (slot, self.take(store, slot))));
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
                fill_noise(pass.noise, *index, program.noises[*index].kind, pass.clock.round, y);
            }
            Kernel::Region { region, body, views } => {
                let mut spaces = std::mem::take(&mut regions[*region]);
                body.run(k, &mut spaces, |i| at(&views[i]));
                regions[*region] = spaces;
            }
            Kernel::RegionResult { region, body, index } => body.result(*index, &regions[*region], y),
            _ => {
                let beside = beside.each_mut().map(|b| b.as_mut().map(|(slot, b)| &mut b[..slot.len]));
                call(k, kernel, at, Target { y, beside, add: false, scratch: Scratch::Empty(&mut scratch) });
            }
        }
        self.scratch = scratch;
        self.regions = regions;
        *self.place(store, out.loc) = taken;
        for (slot, b) in beside.into_iter().flatten() {
            *self.place(store, slot.loc) = b;
        }
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
