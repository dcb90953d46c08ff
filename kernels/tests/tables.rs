//! The choice of an instruction set.

mod common;

use baq_kernels::{Isa, Numerics, active, available, best, choose, for_isa, peak_gflops, probe_gflops};

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
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let both = pool.install(|| probe_gflops(isa, 2));
        assert_eq!(both > 0.0, for_isa(isa).is_some());
    }
    assert!(!common::variants().is_empty());
}

#[test]
#[should_panic(expected = "in a team")]
fn the_probe_of_all_threads_wants_them() {
    common::with_threads(2, || probe_gflops(Isa::Portable, 1));
}

#[test]
fn the_choice_holds_for_the_process() {
    let missing = Isa::ALL.into_iter().find(|isa| for_isa(*isa).is_none());
    if let Some(isa) = missing {
        let error = choose(isa, Numerics::F32).err().expect("a processor without it").to_string();
        assert!(
            error.starts_with(&format!("this processor does not have {isa}; it has portable")),
            "{error}"
        );
    }
    assert_eq!(choose(Isa::Portable, Numerics::F32).expect("everybody has it").isa, Isa::Portable);
    assert_eq!(active().isa, Isa::Portable);
    if best().isa != Isa::Portable {
        let error = choose(best().isa, Numerics::F32).err().expect("another one is in use").to_string();
        assert_eq!(error, format!("cannot switch to {}, f32: portable, f32 is in use already", best().isa));
    }
    assert!(choose(Isa::Portable, Numerics::F32).is_ok());
}
