//! Where randomness comes from: a seed, a named stream and a position. No generator state is kept
//! anywhere; the number that a purpose needs at an update is a function of these three.

use baq_kernels::philox::Philox;
use rand::distr::{Distribution, Uniform};
use rand::rand_core::{Infallible, TryRng};

/// Purposes of random numbers. Streams from [`crate::autodiff::NOISE_STREAMS`] up belong to noise nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// initial parameters; position = tensor and head
    Init = 0,
    /// rows of a batch; position = round
    Batch = 1,
    /// held-out rows; position = 0
    Validation = 2,
    /// exploration of the training environment; position = transitions collected so far, also before this run
    Explore = 3,
    /// resets of the training environment; position = episode
    TrainReset = 4,
    /// resets of the evaluation environments; position = evaluation and episode
    EvalReset = 5,
    /// actions of `baq collect`; position = environment step
    Collect = 6,
    /// directions of finite differences
    Check = 7,
    /// rows of a batch of the behaviour model; position = update
    Model = 8,
    /// the offline rows that an online buffer begins with; position = 0
    Subset = 9,
    /// uniform random actions at the beginning of training; position = transitions collected so far, also before this run
    RandomAction = 10,
    /// rows that a density ratio is trained on; position = round
    Balance = 11,
    /// runs that a resample of a bootstrap is made of; position = resample
    Resample = 12,
    /// signs of a permutation test; position = permutation
    Flip = 13,
    /// noise of a generator, while it learns and while it draws; its seed moves on with its rounds
    Generator = 14,
    /// rows of a batch that a generator learns from; position = its round
    GeneratorBatch = 15,
    /// generated rows of a batch; position = round
    Generated = 16,
    /// rows of a batch of recorded and collected transitions before the first round; position = round
    Opening = 17,
}

impl Stream {
    /// All of them.
    pub const ALL: [Stream; 18] = [
        Stream::Init,
        Stream::Batch,
        Stream::Validation,
        Stream::Explore,
        Stream::TrainReset,
        Stream::EvalReset,
        Stream::Collect,
        Stream::Check,
        Stream::Model,
        Stream::Subset,
        Stream::RandomAction,
        Stream::Balance,
        Stream::Resample,
        Stream::Flip,
        Stream::Generator,
        Stream::GeneratorBatch,
        Stream::Generated,
        Stream::Opening,
    ];
}

/// A generator for `rand` and `rand_distr` at one position of one stream.
#[derive(Clone, Debug)]
pub struct Rng {
    philox: Philox,
    block: [u32; 4],
    used: usize,
}

impl Rng {
    /// The beginning of (seed, stream, position).
    pub fn new(seed: u64, stream: Stream, position: u64) -> Rng {
        Rng { philox: Philox::new(seed, stream as u32, position), block: [0; 4], used: 4 }
    }

    /// A whole number below `n`, which is from 1 to 2^32; their odds are equal up to n / 2^32.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = self.philox.next_block();
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.word()) | u64::from(self.word()) << 32)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(4) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A random action, every component uniform on [-1, 1).
pub fn uniform_action(seed: u64, stream: Stream, position: u64, action: &mut [f32]) {
    let uniform = Uniform::new(-1.0f32, 1.0).expect("invariant: -1 is less than 1");
    let mut rng = Rng::new(seed, stream, position);
    action.fill_with(|| uniform.sample(&mut rng));
}

/// A seed of its own for one purpose of a run.
pub fn derive(seed: u64, stream: Stream) -> u64 {
    let [lo, hi, ..] = Philox::new(seed, stream as u32, u64::MAX).next_block();
    u64::from(lo) | u64::from(hi) << 32
}
