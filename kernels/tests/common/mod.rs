//! What the kernel tests share: numbers, unaligned slices, and the list of variants.
//!
//! `BAQ_TEST_ISA=portable|avx2|avx512` restricts the tests to one instruction set, and fails
//! where the processor lacks it. A skipped instruction set is printed.
#![allow(dead_code)]

pub mod layers;

use std::io::Write as _;

use baq_kernels::{Isa, Kernels, Numerics, Team, Unit, for_isa, units};

/// Says a line past the test harness, which would swallow what a passing test prints.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The tables to test.
pub fn variants() -> Vec<&'static Kernels> {
    if let Ok(name) = std::env::var("BAQ_TEST_ISA") {
        let isa: Isa = name.parse().expect("BAQ_TEST_ISA");
        return vec![
            for_isa(isa).unwrap_or_else(|| panic!("BAQ_TEST_ISA={isa}: this processor does not have it")),
        ];
    }
    let mut tables = Vec::new();
    for isa in Isa::ALL {
        match for_isa(isa) {
            Some(kernels) => tables.push(kernels),
            None => say(&format!("SKIPPED: {isa} is not available on this processor")),
        }
    }
    tables
}

/// The tables of every mode other than f32, by every unit that is here. A skipped unit is printed.
pub fn modes() -> Vec<&'static Kernels> {
    let tables: Vec<_> = variants()
        .into_iter()
        .flat_map(|k| Numerics::ALL.into_iter().filter(|&n| n != Numerics::F32).flat_map(|n| units(k.isa, n)))
        .collect();
    for unit in [Unit::Emulated, Unit::Avx512Bf16, Unit::Amx] {
        match tables.iter().any(|k| k.unit == Some(unit)) {
            true => say(&format!("{unit}: present")),
            false => say(&format!("SKIPPED: {unit} is not available on this processor")),
        }
    }
    tables
}

/// Sizes at which vector code goes wrong.
pub const SIZES: [usize; 25] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 63, 64, 65, 255, 256, 257];

/// A small generator of reproducible numbers.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }
    /// Uniform on (-1, 1).
    pub fn unit(&mut self) -> f32 {
        self.bits() as f32 / 2f32.powi(31) - 1.0
    }
    /// Normal, by Box and Muller.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let mut normal = || {
            let (u, v) = (f64::from(self.bits()) + 0.5, f64::from(self.bits()));
            let radius = (-2.0 * (u / 2f64.powi(32)).ln()).sqrt();
            (radius * (std::f64::consts::TAU * v / 2f64.powi(32)).cos()) as f32
        };
        (0..n).map(|_| normal()).collect()
    }
    /// Integers from -4 to 4, whose sums of products are exact.
    pub fn small(&mut self) -> f32 {
        self.below(9) as f32 - 4.0
    }
    pub fn units(&mut self, n: usize) -> Odd {
        Odd::from((0..n).map(|_| self.unit()).collect())
    }
    pub fn smalls(&mut self, n: usize) -> Odd {
        Odd::from((0..n).map(|_| self.small()).collect())
    }
}

/// A slice that starts one float after an aligned address, and whose neighbours are watched.
#[derive(Clone)]
pub struct Odd {
    memory: baq_kernels::Buffer,
    len: usize,
}

const FENCE: f32 = 12345.678;

impl Odd {
    pub fn new(len: usize) -> Self {
        Self::from(vec![f32::NAN; len])
    }
    pub fn from(values: Vec<f32>) -> Self {
        let mut memory = baq_kernels::Buffer::new(values.len() + 34);
        memory.fill(FENCE);
        memory[17..17 + values.len()].copy_from_slice(&values);
        Self { memory, len: values.len() }
    }
    /// Panics if something outside of the slice was written.
    pub fn check_fence(&self) {
        let (before, rest) = self.memory.split_at(17);
        assert!(before.iter().chain(&rest[self.len..]).all(|&x| x == FENCE), "written outside of the output");
    }
}

impl std::ops::Deref for Odd {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[17..17 + self.len]
    }
}

impl std::ops::DerefMut for Odd {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[17..17 + self.len]
    }
}

/// Bits, for equality that tells NaN and -0 apart.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Runs `f` with a team of so many threads.
pub fn with_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let begun = || {
        // Or `f` might be over before the others have begun.
        std::thread::sleep(std::time::Duration::from_millis(if threads > 1 { 2 } else { 0 }));
        f()
    };
    pool.install(|| Team::default().run(u64::MAX, begun))
}
