//! The memory of a program.

use baq_kernels::{Buffer, Kernels, Team};

use super::program::{Kernel, Loc, Program, RegionProgram, Slot, Step};

/// The memory of a program.
pub struct Workspace {
    pub(super) kernels: &'static Kernels,
    pub(super) buffers: Vec<Buffer>,
    pub(super) scratch: Buffer,
    /// of every region, of every head
    pub(super) regions: Vec<Vec<Space>>,
    pub(super) hypers: Vec<f64>,
    /// threads that run the program together
    pub(super) team: Team,
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
            team: Team::default(),
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

    /// A named result of the last execution.
    pub fn output(&self, program: &Program, name: &str) -> &[f32] {
        let (_, slot) = program
            .outputs
            .iter()
            .find(|(n, _)| *n == name)
            .unwrap_or_else(|| panic!("no output named {name}"));
        self.result(*slot)
    }

    /// The loss of an update in the last execution.
    pub fn loss(&self, program: &Program, update: usize) -> f32 {
        self.result(program.updates[update].loss)[0]
    }

    /// Metrics of the last execution, in the order of [`Program::metrics`].
    pub fn metrics<'a>(&'a self, program: &'a Program) -> impl Iterator<Item = f32> + 'a {
        program.metrics.iter().map(|(_, slot)| self.result(*slot)[0])
    }

    pub(super) fn result(&self, slot: Slot) -> &[f32] {
        let Loc::Buffer(b) = slot.loc else { unreachable!("invariant: results live in the workspace") };
        &self.buffers[b][..slot.len]
    }
}

impl RegionProgram {
    /// Memory for all heads.
    fn spaces(&self, kernels: &Kernels) -> Vec<Space> {
        let space = || Space {
            buffers: self.program.memory(),
            scratch: self.program.steps.iter().map(|s| Buffer::new(s.scratch(kernels))).collect(),
            results: (self.results.iter())
                .map(|(slot, sums)| Buffer::new(if *sums { 0 } else { slot.len * self.blocks }))
                .collect(),
        };
        (0..self.heads).map(|_| space()).collect()
    }
}

/// Memory of one head.
pub(super) struct Space {
    pub(super) buffers: Vec<Buffer>,
    /// of every step: weights packed for the first block, which serve all others, and room for gradients of weights
    pub(super) scratch: Vec<Buffer>,
    /// results of all blocks, one after the other; sums stay in their buffers
    pub(super) results: Vec<Buffer>,
}

impl Program {
    /// Its buffers, with its literals in them.
    fn memory(&self) -> Vec<Buffer> {
        let mut buffers: Vec<Buffer> = self.buffers.iter().map(|&n| Buffer::new(n)).collect();
        for &(b, x) in &self.constants {
            buffers[b][0] = x;
        }
        buffers
    }
}

impl Step {
    /// Scratch floats with these kernels.
    fn scratch(&self, kernels: &Kernels) -> usize {
        match self {
            Step::Run { kernel: Kernel::Linear { sizes, .. } | Kernel::LinearDx { sizes, .. }, .. } => {
                (kernels.linear_scratch)(sizes)
            }
            Step::Run { kernel: Kernel::LayerNormGrad { sizes, .. }, .. } => sizes.scratch(),
            // Only factors other than f32 are split into it.
            Step::Run { kernel: Kernel::LinearDw { sizes, .. }, .. } if kernels.unit.is_some() => {
                (kernels.linear_scratch)(sizes)
            }
            _ => 0,
        }
    }
}
