//! What all subcommands take, and how they end.

use baq_kernels::{Isa, Numerics};
use clap::Args;

use crate::train::TrainError;

/// Options of every subcommand.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Common {
    /// threads of the numerical kernels (default: all cores; results do not depend on it); where that leaves a core free,
    /// a training is evaluated on it, see --evaluate-beside of train and finetune
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// instruction set of the kernels: portable, avx2 or avx512 (default: the processor's best); bits may
    /// depend on it
    #[arg(long, global = true, value_name = "ISA")]
    pub isa: Option<Isa>,
    /// factors in the products of large layers: f32, bf16x6, bf16x3 or bf16 (six, three or one product of bf16 parts);
    /// bits depend on it
    #[arg(long, global = true, value_name = "MODE", default_value_t)]
    pub numerics: Numerics,
    /// seed of initialisation, batches, noise and environments (default 0)
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

impl Common {
    /// Those of a process that is no command: kernels as they are, nothing else said.
    pub fn of_library() -> Common {
        let numerics = baq_kernels::active().numerics;
        Common { threads: None, isa: None, numerics, seed: None, json: false }
    }
}

/// How a command that ran to its end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// exit code 0
    Done,
    /// exit code 1
    CheckFailed,
    /// exit code 3
    Interrupted,
}

/// A command's result; errors give exit code 2.
pub type Outcome = Result<Verdict, TrainError>;

/// The exit code of a command that ended with this error.
pub fn exit_code(e: &TrainError) -> u8 {
    match e {
        TrainError::Interrupted(_) => 3,
        _ if e.is_divergence() => 1,
        _ => 2,
    }
}
