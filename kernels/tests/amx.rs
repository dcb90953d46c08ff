//! The machine code for AMX, on any processor with AVX-512: where there is no AMX, its instructions are done in software
//! (see `common/amx.rs`). Its bits must be those of the emulation in Rust.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "common/amx.rs"]
mod amx;
mod common;

use baq_kernels::{Isa, Kernels, Linear, Numerics, Unit, units};
use common::layers::{check_all, check_blocks, check_groups, check_integers, check_nan, name, outputs};
use common::with_threads;
use std::sync::OnceLock;

/// Tables that use AMX, beside those that emulate it.
fn pairs() -> Vec<(&'static Kernels, &'static Kernels)> {
    static REAL: OnceLock<bool> = OnceLock::new();
    let real = *REAL.get_or_init(|| {
        let real = units(Isa::Avx512, Numerics::Bf16).any(|k| k.unit == Some(Unit::Amx));
        if !real {
            amx::install();
            // SAFETY: the handler does the tile instructions, in every thread.
            unsafe { baq_kernels::assume_amx() };
        }
        real
    });
    let modes = [Numerics::Bf16, Numerics::Bf16x3, Numerics::Bf16x6];
    let of = |unit| modes.iter().filter_map(move |&n| units(Isa::Avx512, n).find(|k| k.unit == Some(unit)));
    let pairs: Vec<_> = of(Unit::Amx).zip(of(Unit::Emulated)).collect();
    match (pairs.is_empty(), real) {
        (true, _) => common::say("SKIPPED: amx needs avx512, which is not available on this processor"),
        (_, true) => common::say("amx: by the processor"),
        (_, false) => common::say("amx: its machine code, done in software"),
    }
    pairs
}

#[test]
fn machine_code_gives_the_bits_of_the_emulation() {
    for (real, emulated) in pairs() {
        let before = amx::products();
        for [heads, rows, inputs, outs] in [[1, 64, 64, 64], [2, 65, 97, 70], [1, 97, 300, 65]] {
            let s = Linear { heads, rows, inputs, outputs: outs, shared_input: heads == 1 };
            assert!(outputs(real, &s) == outputs(emulated, &s), "{} {s:?}", name(real));
        }
        eprintln!("{}: {} tile products in software", name(real), amx::products() - before);
    }
}

#[test]
fn it_keeps_the_contract() {
    for (real, _) in pairs() {
        for (seed, [rows, inputs, outputs]) in (0..).zip([[64, 64, 64], [70, 97, 66]]) {
            let s = Linear { heads: 2, rows, inputs, outputs, shared_input: seed == 1 };
            check_all(&[real], &s, seed);
            check_integers(&[real], &s);
            check_blocks(real, &Linear { heads: 2, rows, inputs, outputs, shared_input: false });
        }
        check_nan(real, &Linear { heads: 1, rows: 64, inputs: 70, outputs: 64, shared_input: false });
        check_groups(real, &Linear { heads: 2, rows: 80, inputs: 64, outputs: 65, shared_input: true }, 8);
    }
}

#[test]
fn threads_do_not_change_bits() {
    for (real, _) in pairs() {
        let s = Linear { heads: 2, rows: 130, inputs: 97, outputs: 64, shared_input: false };
        let one = with_threads(1, || outputs(real, &s));
        for threads in [2, 4] {
            assert!(
                one == with_threads(threads, || outputs(real, &s)),
                "{} with {threads} threads",
                name(real)
            );
        }
    }
}
