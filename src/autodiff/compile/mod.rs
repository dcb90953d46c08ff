//! From a trace to a program, in four passes: `regions` (what runs in blocks of rows), `fuse` (what is needed, and which
//! nodes share a kernel), `storage` (where each value lives, and how long), `emit` (kernel calls in order).

mod emit;
mod fuse;
mod memory;
pub mod regions;
mod storage;

use std::sync::Arc;

use self::regions::{Blocking, Region};
use super::run::program::{Program, RegionProgram, Slot, Step};
use super::trace::recorded::{Select, Trace};

impl Program {
    /// Compiles the selected parts of a trace.
    pub fn compile(trace: &Trace, select: Select) -> Program {
        Program::compile_blocked(trace, select, Blocking::USUAL)
    }

    /// The same with other limits for what runs in blocks.
    pub fn compile_blocked(trace: &Trace, select: Select, blocking: Blocking) -> Program {
        match regions::split(trace, select, blocking) {
            Some((trace, regions)) => {
                let bodies: Vec<Arc<RegionProgram>> = regions.into_iter().map(region).collect();
                emit::program(&trace, select, &bodies)
            }
            None => emit::program(trace, select, &[]),
        }
    }
}

fn region(region: Region) -> Arc<RegionProgram> {
    let program = emit::program(&region.body, Select::ALL, &[]);
    let sums = |slot: &Slot| {
        program.steps.iter().any(|s| match s {
            Step::Run { kernel, out } => {
                let beside = kernel.beside().into_iter().flatten();
                let out = kernel.sums_rows().then_some(*out);
                beside.chain(out).any(|sum| sum.loc == slot.loc)
            }
            _ => false,
        })
    };
    let results = program.outputs.iter().map(|(_, slot)| (*slot, sums(slot))).collect();
    Arc::new(RegionProgram {
        heads: region.heads,
        blocks: region.blocks,
        program,
        views: region.views,
        results,
    })
}
