//! Regions when they run: one program for every head and every block of rows.

use baq_kernels::{Buffer, Kernels, Scratch};

use super::call::{Target, call};
use super::program::{Kernel, Loc, RegionProgram, Slot, Step};
use super::workspace::Space;

impl RegionProgram {
    /// All heads, as far as there are threads at the same time, and all their blocks in order.
    pub(super) fn run<'v>(
        &self,
        kernels: &Kernels,
        spaces: &mut [Space],
        outer: impl Fn(usize) -> &'v [f32] + Sync,
    ) {
        baq_kernels::for_each(spaces, &|head, space: &mut Space| {
            for block in 0..self.blocks {
                let view = |k: usize| {
                    let v = &self.views[k];
                    &outer(k)[head * v.head + block * v.block..][..v.len]
                };
                space.block(kernels, self, block, view);
            }
        });
    }

    /// Copies a result of the last run to its place.
    pub(super) fn result(&self, k: usize, spaces: &[Space], y: &mut [f32]) {
        let (slot, sums) = self.results[k];
        for (y, space) in y.chunks_exact_mut((y.len() / self.heads).max(1)).zip(spaces) {
            y.copy_from_slice(if sums { space.at(&slot) } else { &space.results[k] });
        }
    }
}

impl Space {
    fn at(&self, slot: &Slot) -> &[f32] {
        match slot.loc {
            Loc::Buffer(b) => &self.buffers[b][..slot.len],
            _ => unreachable!("invariant: what a body computes is in its buffers"),
        }
    }

    fn take(&mut self, slot: &Slot) -> Buffer {
        std::mem::take(self.place(slot))
    }

    fn place(&mut self, slot: &Slot) -> &mut Buffer {
        match slot.loc {
            Loc::Buffer(b) => &mut self.buffers[b],
            _ => unreachable!("invariant: a body writes its buffers only"),
        }
    }

    fn block<'v>(
        &mut self,
        kernels: &Kernels,
        body: &RegionProgram,
        block: usize,
        view: impl Fn(usize) -> &'v [f32],
    ) {
        for (i, step) in body.program.steps.iter().enumerate() {
            let Step::Run { kernel, out } = step else { unreachable!("invariant: a body has no effects") };
            let mut y = self.take(out);
            let mut beside = kernel.beside().map(|slot| slot.map(|slot| (slot, self.take(&slot))));
            let mut scratch = std::mem::take(&mut self.scratch[i]);
            let target = Target {
                y: &mut y[..out.len],
                beside: beside.each_mut().map(|b| b.as_mut().map(|(slot, b)| &mut b[..slot.len])),
                add: block > 0,
                scratch: match kernel {
                    Kernel::Linear { .. } | Kernel::LinearDx { .. } if block > 0 => Scratch::Packed(&scratch),
                    Kernel::Linear { .. } | Kernel::LinearDx { .. } => Scratch::Keep(&mut scratch),
                    _ => Scratch::Empty(&mut scratch),
                },
            };
            let at = |slot: &Slot| match slot.loc {
                Loc::View(k) => view(k),
                _ => self.at(slot),
            };
            call(kernels, kernel, at, target);
            self.scratch[i] = scratch;
            *self.place(out) = y;
            for (slot, b) in beside.into_iter().flatten() {
                *self.place(&slot) = b;
            }
        }
        for (k, (slot, _)) in body.results.iter().enumerate().filter(|(_, (_, sums))| !sums) {
            let mut all = std::mem::take(&mut self.results[k]);
            all[block * slot.len..][..slot.len].copy_from_slice(self.at(slot));
            self.results[k] = all;
        }
    }
}
