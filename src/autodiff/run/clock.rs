//! What one execution depends on besides numbers in memory: where in a run it stands, and where its noise comes from.

use baq_kernels::philox;

use crate::autodiff::trace::operation::NoiseKind;

/// Where in a run an execution stands. Randomness and schedules are functions of it.
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

/// The numbers of one noise stream at a round.
pub(super) fn fill_noise(noise: Noise<'_>, index: usize, kind: NoiseKind, round: u64, y: &mut [f32]) {
    match noise {
        Noise::Seed(seed) => {
            let stream = NOISE_STREAMS + index as u32;
            match kind {
                NoiseKind::Normal => philox::fill_normal(seed, stream, round, y),
                NoiseKind::Uniform => philox::fill_uniform(seed, stream, round, y),
                NoiseKind::Subset { of } => philox::fill_subset(seed, stream, round, of, y),
                NoiseKind::Choices { of } => philox::fill_choices(seed, stream, round, of, y),
            }
        }
        Noise::Recorded(draws) => y.copy_from_slice(&draws[index]),
    }
}
