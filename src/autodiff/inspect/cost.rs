//! What the steps of a program are and how much work they hold, for benches.

use baq_kernels::{Activation, Linear, Norm};

use crate::autodiff::run::program::{Kernel, Program, Step, flops};
use crate::autodiff::trace::operation::Op;

/// One step of a program, as a bench reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// name of the update that the step prepares or is; what follows the last update belongs to it
    pub stage: &'static str,
    /// kind of kernel
    pub kind: &'static str,
    /// its sizes; of a dense layer heads x rows x inputs x outputs
    pub sizes: String,
    /// useful floating-point operations, a multiplication and an addition each; of dense layers only
    pub flops: u64,
}

impl Program {
    /// All steps, in order.
    pub fn costs(&self) -> Vec<Cost> {
        let mut stages = self.updates.iter().map(|u| u.name);
        let mut stage = stages.next().unwrap_or("");
        let mut costs = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let (kind, sizes) = self.describe(step);
            let flops = match step {
                Step::Run { kernel, .. } => flops(kernel),
                Step::Train { .. } | Step::Polyak { .. } => 0,
            };
            costs.push(Cost { stage, kind, sizes, flops });
            if let Step::Train { .. } = step {
                stage = stages.next().unwrap_or(stage);
            }
        }
        costs
    }

    fn describe(&self, step: &Step) -> (&'static str, String) {
        let parameters = |group| {
            self.table.members(group).map(|p| self.table.param(p).shape.len()).sum::<usize>().to_string()
        };
        let (kernel, out) = match step {
            Step::Run { kernel, out } => (kernel, out),
            Step::Train { group, .. } => return ("adam", parameters(*group)),
            Step::Polyak { target, .. } => return ("polyak", parameters(*target)),
        };
        match kernel {
            Kernel::Linear { sizes, act, .. } => {
                let act = match act {
                    Activation::Identity => "",
                    Activation::Relu => " relu",
                    Activation::Tanh => " tanh",
                };
                ("linear", layer(sizes) + act)
            }
            Kernel::LinearDx { sizes, .. } => ("linear_dx", layer(sizes)),
            Kernel::LinearDw { sizes, .. } => ("linear_dw", layer(sizes)),
            Kernel::LayerNorm { sizes, relu, .. } => {
                ("layer_norm", norm(sizes) + if *relu { " relu" } else { "" })
            }
            Kernel::LayerNormGrad { sizes, .. } => ("layer_norm_grad", norm(sizes)),
            Kernel::Noise { .. } => ("noise", out.len.to_string()),
            Kernel::Operation { op, args, .. } => match op {
                Op::Unary(f) => ("element-wise", format!("{} {f:?}", out.len)),
                Op::Binary(f) => ("element-wise", format!("{} {f:?}", out.len)),
                op if op.moves() => ("copy", out.len.to_string()),
                op => ("reduction", format!("{:?} {}", args[0].1.dims(), op.name())),
            },
            Kernel::Region { body, .. } => ("blocks", format!("{} heads x {}", body.heads, body.blocks)),
            Kernel::Copy { .. } | Kernel::RegionResult { .. } => ("copy", out.len.to_string()),
        }
    }
}

fn norm(s: &Norm) -> String {
    format!("{}x{}x{}", s.heads, s.rows, s.cols)
}

fn layer(s: &Linear) -> String {
    format!("{}x{}x{}x{}", s.heads, s.rows, s.inputs, s.outputs)
}
