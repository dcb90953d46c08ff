//! Programs on products of bf16: equal bits for any number of threads, and close to f32.

mod common;

use baq::algo::Dims;
use baq::autodiff::{Select, Store, Workspace};
use baq_kernels::{Numerics, choose, for_isa};
use common::{Learning, agent, assert_same, bits, online, with_threads};

#[test]
fn any_number_of_threads() {
    let isa = baq_kernels::best().isa;
    choose(isa, Numerics::Bf16x6).unwrap_or_else(|e| panic!("{e}"));
    println!("{isa}, {}", baq_kernels::active().arithmetic());
    let sets = [
        "cql.policy_hidden=[64, 64]",
        "cql.critic_hidden=[64, 64]",
        "cql.samples=4",
        "iql.hidden=[64, 80]",
        "baq.model_hidden=[64, 64]",
    ];
    for (algo, adapt) in [("iql", "baq"), ("cql", "plain")] {
        let learn = |threads: usize, numerics: Numerics| {
            with_threads(threads, || {
                let agent = agent(algo, adapt, Dims { s: 11, a: 3, batch: 96 }, &sets);
                let mut learning = Learning::new(agent, &online(100), Select::ALL);
                if numerics == Numerics::F32 {
                    let single = for_isa(isa).expect("it is the best");
                    learning.workspace = Workspace::with_kernels(&learning.program, single);
                }
                let before = values(&learning.agent.store);
                (0..3).for_each(|_| learning.round());
                let store = &learning.agent.store;
                (bits(store), before, values(store))
            })
        };
        let (one, _, here) = learn(1, Numerics::Bf16x6);
        for n in [2, 3] {
            assert_same(&format!("{algo} + {adapt}, {n} threads"), &learn(n, Numerics::Bf16x6).0, &one);
        }
        let (single, before, there) = learn(1, Numerics::F32);
        assert_ne!(one, single, "{algo} + {adapt}: the mode does nothing");
        // Adam makes a step of the learning rate of any gradient, so a sign that rounding turns moves a parameter; few do.
        let apart = distance(&here, &there) / distance(&there, &before);
        println!("{algo} + {adapt}: apart by {apart:.1e} of the way");
        assert!(apart < 1e-3, "{algo} + {adapt}: {apart} of the way from f32");
    }
}

/// Σ|a - b|
fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).abs()).sum()
}

/// All parameters.
fn values(store: &Store) -> Vec<f32> {
    store.values.iter().flat_map(|v| v.to_vec()).collect()
}
