//! Counter-based noise: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers:
//! as easy as 1, 2, 3").
//!
//! A number is a function of its coordinates, so there is no generator state to save or to share:
//!
//! | coordinate | enters as |
//! |---|---|
//! | `seed` | both key words |
//! | `block` | counter word 0; one block is four 32-bit words |
//! | `position` (an update, a round, an environment step) | counter words 1 and 2, low half first |
//! | `stream` (which noise) | counter word 3 |
//!
//! The `fill_*` functions give element i a value that depends on (seed, stream, position, i) only.
//! They use additions, multiplications, divisions and square roots of IEEE arithmetic in a fixed
//! order and never a fused multiply-add or a library function, so their bits are the same on every
//! instruction set and every machine. Different `fill_*` functions with equal coordinates share
//! their words: give each noise its own stream.
//!
//! Above 400 lines because the tests stand beside the code.

#![allow(clippy::needless_range_loop, reason = "loops over lanes say what is vectorised")]

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// Blocks computed side by side, so that the compiler can give each lane of a vector its own.
const LANES: usize = 16;
/// Words in one group of lanes.
const GROUP: usize = 4 * LANES;

/// The bijection itself: ten rounds over a counter of four words with a key of two.
#[inline(always)]
fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let a = u64::from(counter[0]) * u64::from(MULTIPLIER[0]);
        let b = u64::from(counter[2]) * u64::from(MULTIPLIER[1]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The blocks of one (seed, stream, position), in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
}

impl Philox {
    /// Stands before block 0 of these coordinates.
    pub fn new(seed: u64, stream: u32, position: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, position as u32, (position >> 32) as u32, stream],
        }
    }

    /// Four uniform words; the block counter wraps after 2^32 blocks.
    #[inline]
    pub fn next_block(&mut self) -> [u32; 4] {
        let words = philox4x32(self.counter, self.key);
        self.counter[0] = self.counter[0].wrapping_add(1);
        words
    }

    /// Uniform numbers on [0, 1) with 53 bits, two per block, beginning with the next block; the second
    /// half of a last block that is not needed is dropped.
    pub fn fill_uniform_f64(&mut self, out: &mut [f64]) {
        for pair in out.chunks_mut(2) {
            let w = self.next_block();
            for (k, u) in pair.iter_mut().enumerate() {
                let bits = (u64::from(w[2 * k]) << 32 | u64::from(w[2 * k + 1])) >> 11;
                *u = bits as f64 * (1.0 / (1u64 << 53) as f64);
            }
        }
    }

    /// The words of `LANES` consecutive blocks, word k of block b at `[k][b]`.
    #[inline(always)]
    fn next_lanes(&mut self) -> [[u32; LANES]; 4] {
        let mut c = [[0u32; LANES]; 4];
        for b in 0..LANES {
            c[0][b] = self.counter[0].wrapping_add(b as u32);
            c[1][b] = self.counter[1];
            c[2][b] = self.counter[2];
            c[3][b] = self.counter[3];
        }
        let mut key = self.key;
        for _ in 0..ROUNDS {
            for b in 0..LANES {
                let p = u64::from(c[0][b]) * u64::from(MULTIPLIER[0]);
                let q = u64::from(c[2][b]) * u64::from(MULTIPLIER[1]);
                c[0][b] = (q >> 32) as u32 ^ c[1][b] ^ key[0];
                c[1][b] = q as u32;
                c[2][b] = (p >> 32) as u32 ^ c[3][b] ^ key[1];
                c[3][b] = p as u32;
            }
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        self.counter[0] = self.counter[0].wrapping_add(LANES as u32);
        c
    }
}

/// Uniform on [0, 1): the upper 24 bits of word i, times 2^-24. Element i is word i % 4 of block i / 4.
pub fn fill_uniform(seed: u64, stream: u32, position: u64, out: &mut [f32]) {
    dispatch(Philox::new(seed, stream, position), out, Law::Uniform);
}

/// Standard normal: the inverse distribution function at word i (element i is word i % 4 of block
/// i / 4). |z| < 6.4; symmetric; relative error of the inverse below 1e-6.
pub fn fill_normal(seed: u64, stream: u32, position: u64, out: &mut [f32]) {
    dispatch(Philox::new(seed, stream, position), out, Law::Normal);
}

/// Uniform on [0, 1) with 53 bits, for drawing rows and other choices. Element i is made of words
/// 2 (i % 2) (upper) and 2 (i % 2) + 1 (lower) of block i / 2.
pub fn fill_uniform_f64(seed: u64, stream: u32, position: u64, out: &mut [f64]) {
    Philox::new(seed, stream, position).fill_uniform_f64(out);
}

/// Different whole numbers below `of`, at most 2^24: every sequence of so many is as likely, to `of` / 2^32. Element i is picked
/// by word i % 4 of block i / 4 among those that are left, in ascending order.
pub fn fill_subset(seed: u64, stream: u32, position: u64, of: usize, out: &mut [f32]) {
    assert!(out.len() <= of && of <= 1 << 24, "{} different numbers below {of}", out.len());
    let mut source = Philox::new(seed, stream, position);
    let mut words = [0; 4];
    for i in 0..out.len() {
        if i % 4 == 0 {
            words = source.next_block();
        }
        let rank = ((u64::from(words[i % 4]) * (of - i) as u64) >> 32) as usize;
        // What is left and has that rank stands as many places further on as drawn numbers stand before it.
        let (mut at, mut before) = (rank, 0);
        loop {
            let drawn = out[..i].iter().filter(|&&d| d as usize <= at).count();
            if drawn == before {
                break;
            }
            (at, before) = (rank + drawn, drawn);
        }
        out[i] = at as f32;
    }
}

/// Whole numbers below `of`, at most 2^24, each as likely whatever the others are, to `of` / 2^32: element i by word i % 4 of
/// block i / 4.
pub fn fill_choices(seed: u64, stream: u32, position: u64, of: usize, out: &mut [f32]) {
    assert!(of <= 1 << 24, "numbers below {of}");
    let mut source = Philox::new(seed, stream, position);
    for out in out.chunks_mut(4) {
        let words = source.next_block();
        out.iter_mut().zip(words).for_each(|(x, word)| *x = ((u64::from(word) * of as u64) >> 32) as f32);
    }
}

#[derive(Clone, Copy)]
enum Law {
    Uniform,
    Normal,
}

fn dispatch(source: Philox, out: &mut [f32], law: Law) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor was just found to have AVX-512F and AVX-512DQ.
            return unsafe { fill_avx512(source, out, law) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor was just found to have AVX2.
            return unsafe { fill_avx2(source, out, law) };
        }
    }
    fill(source, out, law);
}

// The same source compiled for wider vectors. `fma` is not enabled, and Rust never contracts a
// multiplication and an addition by itself, so the bits stay the same.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(source: Philox, out: &mut [f32], law: Law) {
    fill(source, out, law);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn fill_avx512(source: Philox, out: &mut [f32], law: Law) {
    fill(source, out, law);
}

#[inline(always)]
fn fill(source: Philox, out: &mut [f32], law: Law) {
    match law {
        Law::Uniform => fill_with(source, out, uniform),
        Law::Normal => fill_with(source, out, normal),
    }
}

#[inline(always)]
fn fill_with(mut source: Philox, out: &mut [f32], f: impl Fn(u32) -> f32) {
    for group in out.chunks_mut(GROUP) {
        let words = source.next_lanes();
        let mut y = [[0.0f32; LANES]; 4];
        for k in 0..4 {
            for b in 0..LANES {
                y[k][b] = f(words[k][b]);
            }
        }
        for (i, slot) in group.iter_mut().enumerate() {
            *slot = y[i % 4][i / 4];
        }
    }
}

#[inline(always)]
fn uniform(word: u32) -> f32 {
    (word >> 8) as i32 as f32 * (1.0 / (1u32 << 24) as f32)
}

/// The normal quantile by the rational functions of Wichura 1988, AS 241, PPND7. The top bit is the
/// sign and the other 31 bits, plus one half, count the tail probability t in (0, 1/2) in units of
/// 2^-32; then √(-ln t) < 5, and the third of his three regions is never entered.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "constants as published")]
fn normal(word: u32) -> f32 {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    let v = (word & 0x7FFF_FFFF) as i32;
    let t = (v as f32 + 0.5) * UNIT;
    let q = ((0x7FFF_FFFF - v) as f32 + 0.5) * UNIT; // 1/2 - t without cancellation

    let r = 0.180_625 - q * q;
    let centre = q * (((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9)
        / (((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0);
    let r = (-ln(t)).sqrt() - 1.6;
    let tail = (((0.170_238_211_03 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7)
        / ((0.120_211_329_75 * r + 0.737_001_642_50) * r + 1.0);

    let z = if q <= 0.425 { centre } else { tail };
    f32::from_bits(z.to_bits() | (word & 0x8000_0000))
}

/// ln x for a normal positive x: x = 2^e m with m in [√½, √2), ln m = 2 artanh((m - 1)/(m + 1)).
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3F35_04F3;
    const ONE: u32 = 0x3F80_0000;
    let shifted = x.to_bits().wrapping_add(ONE - SQRT_HALF);
    let e = (shifted >> 23) as i32 - 127;
    let m = f32::from_bits((shifted & 0x007F_FFFF) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = (((s2 / 9.0 + 1.0 / 7.0) * s2 + 1.0 / 5.0) * s2 + 1.0 / 3.0) * s2;
    e as f32 * core::f32::consts::LN_2 + 2.0 * (s + s * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // Random123, kat_vectors, philox 4x32 10.
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn coordinates_enter_where_the_header_says() {
        let mut p = Philox::new(0x299f_31d0_a409_3822, 0x0370_7344, 0x1319_8a2e_85a3_08d3);
        p.counter[0] = 0x243f_6a88;
        assert_eq!(p.next_block(), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
        assert_eq!(p.counter[0], 0x243f_6a89);
    }

    #[test]
    fn lanes_are_the_blocks_in_order() {
        let mut a = Philox::new(7, 3, 1 << 40);
        let mut b = a.clone();
        for _ in 0..3 {
            let lanes = a.next_lanes();
            for l in 0..LANES {
                assert_eq!(b.next_block(), core::array::from_fn(|k| lanes[k][l]));
            }
        }
    }

    #[test]
    fn an_element_does_not_depend_on_the_length() {
        type Fill = fn(u64, u32, u64, &mut [f32]);
        for f in [fill_uniform as Fill, fill_normal] {
            let mut long = vec![0.0; 300];
            f(1, 2, 3, &mut long);
            for n in [0, 1, 3, 4, 5, 63, 64, 65, 127, 128, 257] {
                let mut short = vec![0.0; n];
                f(1, 2, 3, &mut short);
                assert_eq!(short, long[..n]);
            }
            let mut other = vec![0.0; 300];
            f(1, 2, 4, &mut other);
            assert_ne!(other, long);
            f(1, 3, 3, &mut other);
            assert_ne!(other, long);
            f(2, 2, 3, &mut other);
            assert_ne!(other, long);
        }
    }

    #[test]
    fn every_isa_gives_the_same_bits() {
        for law in [Law::Uniform, Law::Normal] {
            let source = Philox::new(11, 5, 9);
            let mut portable = vec![0.0; 100_003];
            fill(source.clone(), &mut portable, law);
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let mut chosen = vec![0.0; portable.len()];
            dispatch(source.clone(), &mut chosen, law);
            assert_eq!(bits(&chosen), bits(&portable));
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                let mut y = vec![0.0; portable.len()];
                // SAFETY: the processor was just found to have AVX2.
                unsafe { fill_avx2(source, &mut y, law) };
                assert_eq!(bits(&y), bits(&portable));
            }
        }
    }

    #[test]
    fn value_stability() {
        let mut u = [0.0; 6];
        fill_uniform(42, 1, 7, &mut u);
        assert_eq!(u.map(f32::to_bits), U_BITS);
        fill_normal(42, 1, 7, &mut u);
        assert_eq!(u.map(f32::to_bits), N_BITS);
        let mut d = [0.0; 3];
        fill_uniform_f64(42, 1, 7, &mut d);
        assert_eq!(d.map(f64::to_bits), D_BITS);
    }
    // U and D from an independent Python program; N within 3 units in the last place of its quantiles.
    const U_BITS: [u32; 6] = [0x3F4C_73CD, 0x3D22_F280, 0x3ED5_84B8, 0x3E69_B844, 0x3E81_CFE0, 0x3F38_0E03];
    const N_BITS: [u32; 6] = [0xBF07_3F58, 0x3FE0_6985, 0x3E56_87A4, 0x3F3E_A14F, 0x3F29_D432, 0xBF46_941B];
    const D_BITS: [u64; 3] = [0x3FE98E79A60145E5, 0x3FDAB0973CCE9B84, 0x3FD039FC0F6E0380];

    #[test]
    fn uniform_ranges() {
        assert_eq!(uniform(0), 0.0);
        assert_eq!(uniform(u32::MAX), 1.0 - 1.0 / 16_777_216.0);
        let mut d = vec![0.0; 10_001];
        fill_uniform_f64(1, 1, 1, &mut d);
        assert!(d.iter().all(|u| (0.0..1.0).contains(u)));
    }

    #[test]
    fn ln_is_accurate() {
        for k in 0..100_000u32 {
            let x = f32::from_bits(0x2F00_0000 + k * 2659); // 2^-33 .. 1/2
            let exact = f64::from(x).ln();
            assert!((f64::from(ln(x)) / exact - 1.0).abs() < 3e-7, "{x}");
        }
    }

    /// Quantiles from an independent program (Python's statistics.NormalDist().inv_cdf).
    #[test]
    fn quantiles() {
        for (word, z) in QUANTILES {
            let got = f64::from(normal(word));
            assert!((got / z - 1.0).abs() < 1e-6, "{word:#x}: {got}, expected {z}");
            assert_eq!(normal(word ^ 0x8000_0000), -normal(word));
        }
    }
    const QUANTILES: [(u32, f64); 17] = [
        (0x0, 6.337957754554e+00),
        (0x1, 6.166429517820e+00),
        (0x2, 6.085104545783e+00),
        (0xa, 5.850891760642e+00),
        (0x64, 5.463062554390e+00),
        (0x3039, 4.535422762090e+00),
        (0xf4240, 3.499768988758e+00),
        (0x989680, 2.829875428685e+00),
        (0x5f5e100, 1.990225241389e+00),
        (0x11e1a300, 1.476915138469e+00),
        (0x13333333, 1.439531470445e+00),
        (0x13333334, 1.439531468800e+00),
        (0x17d78400, 1.321710667287e+00),
        (0x3b9aca00, 7.295565530759e-01),
        (0x77359400, 8.618094900449e-02),
        (0x7ffffd78, 3.778938687927e-07),
        (0x7ffffffe, 8.754298118750e-10),
    ];

    #[test]
    fn normal_is_monotone_across_the_regions() {
        // q = 0.425 is v = 0.075 * 2^32
        let v0 = (0.075 * 4_294_967_296.0) as u32;
        let (a, b) = (normal(v0 - 2000), normal(v0 + 2000));
        assert!(a > b && a - b < 2e-5, "{a} {b}");
    }

    #[test]
    fn moments_and_tails() {
        let n = 1 << 20;
        let mut z = vec![0.0; n];
        fill_normal(3, 1, 4, &mut z);
        let mean = |f: &dyn Fn(f64) -> f64| z.iter().map(|&v| f(f64::from(v))).sum::<f64>() / n as f64;
        // five standard errors: Var z = 1, z^2: 2, z^3: 15, z^4: 96
        let five = |var: f64| 5.0 * (var / n as f64).sqrt();
        assert!(mean(&|v| v).abs() < five(1.0));
        assert!((mean(&|v| v * v) - 1.0).abs() < five(2.0));
        assert!(mean(&|v| v * v * v).abs() < five(15.0));
        assert!((mean(&|v| v.powi(4)) - 3.0).abs() < five(96.0));
        for (bound, p) in
            [(1.0, 0.317_310_507_9), (2.0, 0.045_500_263_9), (3.0, 0.002_699_796_1), (4.0, 6.334_248e-5)]
        {
            let share = mean(&|v| f64::from(u8::from(v.abs() > bound)));
            assert!((share - p).abs() < five(p * (1.0 - p)), "beyond {bound}: {share}");
        }
        let neighbours = z.windows(2).map(|w| f64::from(w[0] * w[1])).sum::<f64>() / (n - 1) as f64;
        assert!(neighbours.abs() < five(1.0));
    }

    #[test]
    fn chi_square() {
        // 64 equiprobable cells: for uniforms by value, for normals by the quantiles of the cells.
        let n = 1 << 20;
        let mut x = vec![0.0; n];
        let mut counts = [0u32; 64];
        fill_uniform(5, 1, 1, &mut x);
        for v in &x {
            counts[(v * 64.0) as usize] += 1;
        }
        let statistic = |counts: &[u32; 64]| {
            let e = n as f64 / 64.0;
            counts.iter().map(|&c| (f64::from(c) - e).powi(2) / e).sum::<f64>()
        };
        // 63 degrees of freedom: P(> 92.0) = 0.01, P(< 39.9) = 0.01
        let s = statistic(&counts);
        assert!((39.9..92.0).contains(&s), "uniform: {s}");

        // edges z_k with P(z < z_k) = k/64, by bisection of the error function's series
        let cdf = |z: f64| {
            let (mut term, mut sum, mut k) = (z, z, 1.0);
            while term.abs() > 1e-17 {
                term *= z * z / (2.0 * k + 1.0);
                sum += term;
                k += 1.0;
            }
            0.5 + sum * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
        };
        let edges: Vec<f32> = (1..64)
            .map(|k| {
                let (mut lo, mut hi) = (-6.0, 6.0);
                for _ in 0..60 {
                    let mid = 0.5 * (lo + hi);
                    if cdf(mid) < f64::from(k) / 64.0 { lo = mid } else { hi = mid }
                }
                lo as f32
            })
            .collect();
        fill_normal(5, 1, 1, &mut x);
        let mut counts = [0u32; 64];
        for v in &x {
            counts[edges.partition_point(|e| e <= v)] += 1;
        }
        let s = statistic(&counts);
        assert!((39.9..92.0).contains(&s), "normal: {s}");
    }

    #[test]
    fn subsets_are_different_numbers_and_all_sequences_are_as_likely() {
        // Quantiles 0.001 and 0.999 of chi-square with (sequences - 1) degrees of freedom.
        for (of, len, low, high) in
            [(10, 2, 54.2, 135.9), (5, 3, 32.0, 98.3), (4, 4, 7.5, 49.7), (7, 1, 0.3, 22.5)]
        {
            let sequences: usize = (of + 1 - len..=of).product();
            let each = 2000;
            let mut counts = vec![0u32; of.pow(len as u32)];
            let mut y = vec![f32::NAN; len];
            for position in 0..(each * sequences) as u64 {
                fill_subset(6, 1, position, of, &mut y);
                counts[y.iter().fold(0, |code, &d| code * of + d as usize)] += 1;
                for (i, d) in y.iter().enumerate() {
                    assert!(d.fract() == 0.0 && *d < of as f32 && !y[..i].contains(d), "{y:?}");
                }
            }
            assert_eq!(counts.iter().filter(|&&n| n > 0).count(), sequences);
            let mean = each as f64;
            let drawn = counts.iter().filter(|&&n| n > 0);
            let s: f64 = drawn.map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
            assert!((low..high).contains(&s), "{len} of {of}: {s}");
        }
        let draw = |seed, stream, position| {
            let mut y = [0.0; 9];
            fill_subset(seed, stream, position, 1000, &mut y);
            y
        };
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        assert!([draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)].iter().all(|other| *other != draw(1, 2, 3)));
    }
}
