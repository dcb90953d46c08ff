//! The choice of an instruction set.

mod common;

use baq_kernels::{Isa, available, best, for_isa, peak_gflops};

#[test]
fn names_round_trip() {
    for isa in Isa::ALL {
        assert_eq!(isa.to_string().parse(), Ok(isa));
    }
    let error = "sse9".parse::<Isa>().expect_err("no such name").to_string();
    assert_eq!(error, "unknown instruction set 'sse9', expected portable, avx2 or avx512");
}

#[test]
fn tables_say_what_they_are() {
    assert!(available().any(|k| k.isa == Isa::Portable));
    for isa in Isa::ALL {
        if let Some(kernels) = for_isa(isa) {
            assert_eq!(kernels.isa, isa);
            assert!(best().isa >= isa);
        }
        assert_eq!(peak_gflops(isa) > 0.0, for_isa(isa).is_some());
    }
    assert!(!common::variants().is_empty());
}
