//! Regions when they run: a program for one head and one block, its memory, and the loops around it.

use std::sync::Arc;

use baq_kernels::{Buffer, Kernels, Scratch};

use super::blocks::{Region, View};
use super::call::{Target, call};
use super::emit;
use super::plan::{Kernel, Loc, Program, Select, Slot, Step};

/// A compiled region.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) heads: usize,
    pub(super) blocks: usize,
    pub(super) program: Program,
    views: Vec<View>,
    /// of every result: its slot in the program, and whether it is complete only after the last block
    results: Vec<(Slot, bool)>,
}

impl Body {
    pub(super) fn new(region: Region) -> Arc<Body> {
        let program = emit::program(&region.body, Select::ALL, &[]);
        let sums = |slot: &Slot| {
            program.steps.iter().any(|s| match s {
                Step::Run { kernel: Kernel::LinearDw { db, .. }, out } => {
                    out.loc == slot.loc || db.is_some_and(|db| db.loc == slot.loc)
                }
                _ => false,
            })
        };
        let results = program.outputs.iter().map(|(_, slot)| (*slot, sums(slot))).collect();
        Arc::new(Body { heads: region.heads, blocks: region.blocks, program, views: region.views, results })
    }

    /// Memory for all heads.
    pub(super) fn spaces(&self, kernels: &Kernels) -> Vec<Space> {
        let space = || Space {
            buffers: self.program.memory(),
            scratch: self.program.steps.iter().map(|s| Buffer::new(s.scratch(kernels))).collect(),
            results: (self.results.iter())
                .map(|(slot, sums)| Buffer::new(if *sums { 0 } else { slot.len * self.blocks }))
                .collect(),
        };
        (0..self.heads).map(|_| space()).collect()
    }

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

/// Memory of one head.
pub(super) struct Space {
    buffers: Vec<Buffer>,
    /// of every step: weights packed for the first block, which serve all others, and room for gradients of weights
    scratch: Vec<Buffer>,
    /// results of all blocks, one after the other; sums stay in their buffers
    results: Vec<Buffer>,
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

    fn block<'v>(&mut self, kernels: &Kernels, body: &Body, block: usize, view: impl Fn(usize) -> &'v [f32]) {
        for (i, step) in body.program.steps.iter().enumerate() {
            let Step::Run { kernel, out } = step else { unreachable!("invariant: a body has no effects") };
            let mut y = self.take(out);
            let mut bias = match kernel {
                Kernel::LinearDw { db: Some(db), .. } => Some((*db, self.take(db))),
                _ => None,
            };
            let mut scratch = std::mem::take(&mut self.scratch[i]);
            let target = Target {
                y: &mut y[..out.len],
                bias: bias.as_mut().map(|(slot, b)| &mut b[..slot.len]),
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
            if let Some((slot, b)) = bias {
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
