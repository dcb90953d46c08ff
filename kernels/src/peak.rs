//! The limit against which kernels are measured.

use crate::simd::{Plain, Simd};
use crate::team::within;
use crate::{Activation, Buffer, Isa, Kernels, Linear, Scratch};
use std::time::{Duration, Instant};

/// Independent running sums, enough for any latency; sums and two factors fit the registers.
const SUMS: usize = 12;
const STEPS: usize = 1 << 15;

/// `STEPS * SUMS` multiply-adds in registers.
#[inline(always)]
unsafe fn spin<S: Simd>(x: f32) -> f32 {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        let (a, b) = (S::splat(x), S::splat(1.0 - x));
        let mut sums = [S::zero(); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = S::fma(*sum, a, b);
            }
        }
        let mut all = sums[0];
        for &sum in &sums[1..] {
            all = S::add(all, sum);
        }
        let mut out = [0.0; 16];
        S::store(out.as_mut_ptr(), all);
        out[0]
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn spin_avx2(x: f32) -> f32 {
    // SAFETY: this function enables the instruction set.
    unsafe { spin::<crate::simd::Avx2>(x) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn spin_avx512(x: f32) -> f32 {
    // SAFETY: this function enables the instruction set.
    unsafe { spin::<crate::simd::Avx512>(x) }
}

/// Lanes and the loop that keeps their units busy.
type Probe = (usize, unsafe fn(f32) -> f32);

/// Lanes and probe of an instruction set that the processor has.
fn probe(isa: Isa) -> Option<Probe> {
    Some(match crate::for_isa(isa)?.isa {
        Isa::Portable => (Plain::LANES, spin::<Plain>),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (8, spin_avx2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => (16, spin_avx512),
        #[cfg(not(target_arch = "x86_64"))]
        _ => return None,
    })
}

/// GFLOP/s of so many successive runs on this thread.
fn rate(lanes: usize, run: unsafe fn(f32) -> f32, runs: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..runs {
        // SAFETY: `probe` found the instruction set.
        std::hint::black_box(unsafe { run(std::hint::black_box(0.999)) });
    }
    2.0 * (runs * STEPS * SUMS * lanes) as f64 / start.elapsed().as_secs_f64() * 1e-9
}

/// Multiply-adds of one thread, in registers only, in GFLOP/s (a multiply-add counts as two): the limit
/// of this processor now. Best of 40 short runs, about 10 ms. 0 where the instruction set is missing. For the portable
/// set it is separate multiplications and additions at the width of the baseline target, which
/// `matrixmultiply` exceeds by choosing better instructions.
pub fn peak_gflops(isa: Isa) -> f64 {
    let Some((lanes, run)) = probe(isa) else {
        return 0.0;
    };
    (0..40).map(|_| rate(lanes, run, 1)).fold(0.0, f64::max)
}

/// The same for all threads of the current rayon pool at once: the sum of their rates over one window of
/// so many runs of 0.05 to 0.3 ms. A window as long as
/// the one it is compared with loses as much to other processes.
///
/// Panics inside a [`Team`](crate::Team), whose threads would never take part.
pub fn probe_gflops(isa: Isa, runs: usize) -> f64 {
    assert!(!within(), "the threads of the pool are in a team");
    match probe(isa) {
        Some((lanes, run)) if rayon::current_num_threads() > 1 => {
            rayon::broadcast(|_| rate(lanes, run, runs)).iter().sum()
        }
        Some((lanes, run)) => rate(lanes, run, runs),
        None => 0.0,
    }
}

/// GFLOP/s of these kernels in dense layers of 256 rows, inputs and outputs, forward and both gradients, on this thread: of each
/// the best of five turns or more, one after the other, for at least 30 ms: on a busy machine some of them are undisturbed.
pub fn layer_gflops<const N: usize>(tables: [&Kernels; N]) -> [f64; N] {
    const SIDE: usize = 256;
    let sizes = Linear { heads: 1, rows: SIDE, inputs: SIDE, outputs: SIDE, shared_input: false };
    let mut ones = Buffer::new(SIDE * SIDE);
    ones.fill(1.0);
    let (mut y, mut dx, mut dw) = (ones.clone(), ones.clone(), ones.clone());
    let room = tables.iter().map(|k| (k.linear_scratch)(&sizes)).max().unwrap_or(0);
    let mut scratch = Buffer::new(room);
    let mut best = [f64::INFINITY; N];
    let (start, mut turns) = (Instant::now(), 0);
    while turns < 5 || start.elapsed() < Duration::from_millis(30) {
        turns += 1;
        for (k, best) in tables.iter().zip(&mut best) {
            let turn = Instant::now();
            (k.linear)(&sizes, &ones, &ones, None, Activation::Relu, &mut y, Scratch::Empty(&mut scratch));
            (k.linear_dx)(&sizes, &ones, &ones, None, &mut dx, Scratch::Empty(&mut scratch));
            (k.linear_dw)(&sizes, &ones, &ones, &mut dw, None, false, &mut scratch);
            *best = best.min(turn.elapsed().as_secs_f64());
        }
    }
    best.map(|seconds| 6.0 * (SIDE * SIDE * SIDE) as f64 / seconds * 1e-9)
}
