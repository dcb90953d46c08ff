//! Equal bits: for any number of threads, with and without evaluation and metrics, and for BAQ switched off.

mod common;

use std::collections::HashSet;

use baq::algo::Dims;
use baq::autodiff::{NOISE_STREAMS, NoProbe, NoiseKind, Select, Shape, Tracer};
use baq::config::{Exploration, OfflineConfig, OnlineConfig, RunConfig};
use baq::rng::{Rng, Stream, derive};
use baq::train::conditions::Simulators;
use baq::train::counters::Counters;
use baq::train::progress::Stop;
use baq::train::rundir::RunDir;
use baq::train::training::{Beginning, Training};
use baq::train::{agent::Agent, data};
use baq_kernels::{WORTH_A_TEAM, philox};
use common::{Learning, agent, assert_same, bits, config, methods, online, with_threads};
use rand::RngExt;

const DIMS: Dims = Dims { s: 11, a: 3, batch: 256 };
const PLAIN: Select = Select { critic: true, actor: true, metrics: false };

/// Bits after so many rounds.
fn learn(adapt: &str, sets: &[&str], select: Select, rounds: usize) -> Vec<(String, Vec<u32>)> {
    let mut learning = Learning::new(agent("iql", adapt, DIMS, sets), &online(100), select);
    let before = bits(&learning.agent.store);
    for _ in 0..rounds {
        learning.round();
    }
    let after = bits(&learning.agent.store);
    for group in ["v.", "q.0.", "q.1.", "q_target.0.", "pi."] {
        let moved = before.iter().zip(&after).filter(|(b, a)| b.0.starts_with(group) && a.1 != b.1).count();
        assert!(moved > 0, "{group} did not learn");
    }
    after
}

/// Without the networks of the adaptation.
fn base(all: Vec<(String, Vec<u32>)>) -> Vec<(String, Vec<u32>)> {
    all.into_iter().filter(|(path, _)| !path.contains("bc.")).collect()
}

#[test]
fn any_number_of_threads() {
    for (adapt, sets) in [
        ("plain", &[][..]),
        ("plain", &["iql.order=corl", "iql.actor_head=deterministic"][..]),
        ("baq", &[][..]),
        ("baq", &["baq.relax=gate", "baq.is_exponent=0.4"][..]),
        ("baq", &["baq.relax=follow(0.01)"][..]),
        ("baq", &["iql.hidden=96x96 simba", "baq.model_hidden=64 simba"][..]),
    ] {
        let one = with_threads(1, || learn(adapt, sets, Select::ALL, 12));
        for n in [2, 3, 4] {
            let many = with_threads(n, || learn(adapt, sets, Select::ALL, 12));
            assert_same(&format!("{adapt} {sets:?}, {n} threads"), &many, &one);
        }
    }
}

#[test]
fn any_number_of_threads_for_every_method() {
    let dims = Dims { batch: 128, ..DIMS };
    let sets = [
        "cql.policy_hidden=[64, 64]",
        "cql.critic_hidden=[64, 64]",
        "cql.samples=4",
        "iql.hidden=[64, 64]",
        "sac.hidden=[64, 64]",
        "td3.hidden=[64, 64]",
        "baq.model_hidden=[64]",
    ];
    for (algo, adapt) in methods() {
        let learn = |threads: usize| {
            with_threads(threads, || {
                let mut learning = Learning::new(agent(algo, adapt, dims, &sets), &online(100), Select::ALL);
                let flops = learning.program.flops();
                assert!(flops >= WORTH_A_TEAM, "{algo} + {adapt}: one thread does {flops} operations");
                let before = bits(&learning.agent.store);
                for _ in 0..3 {
                    learning.round();
                }
                let after = bits(&learning.agent.store);
                assert_ne!(before, after, "{algo} + {adapt} learns nothing");
                after
            })
        };
        let one = learn(1);
        for n in [2, 3] {
            assert_same(&format!("{algo} + {adapt}, {n} threads"), &learn(n), &one);
        }
    }
}

#[test]
fn seeds_differ() {
    let a = Agent::new(&config("iql", "plain", 1, &[]), DIMS).unwrap_or_else(|e| panic!("{e}"));
    let b = Agent::new(&config("iql", "plain", 2, &[]), DIMS).unwrap_or_else(|e| panic!("{e}"));
    assert_ne!(bits(&a.store), bits(&b.store));
}

#[test]
fn metrics_change_nothing() {
    for adapt in ["plain", "baq"] {
        for set in ["iql.order=official", "iql.order=corl"] {
            let plain = learn(adapt, &[set], PLAIN, 5);
            assert_same(&format!("{adapt} {set}"), &learn(adapt, &[set], Select::ALL, 5), &plain);
        }
    }
}

#[test]
fn baq_without_weights_and_priorities_is_the_base() {
    let off = ["baq.rows=none"];
    let plain = learn("plain", &[], PLAIN, 10);
    assert_same("switched off", &base(learn("baq", &off, PLAIN, 10)), &plain);
    // With metrics too: they add streams of noise, which nothing that learns may read.
    assert_same("switched off, measured", &base(learn("baq", &off, Select::ALL, 10)), &plain);
    // Priorities that are all equal draw the uniform batches.
    let flat = ["baq.rows=s", "baq.priority_exponent=0", "baq.stratified=false"];
    let agent_flat = agent("iql", "baq", DIMS, &flat);
    assert!(agent_flat.adaptation.sampling().prioritised);
    assert_same("flat priorities", &base(learn("baq", &flat, PLAIN, 10)), &plain);
    // And the comparison can fail.
    for on in [&["baq.rows=q"][..], &["baq.rows=s"][..], &[][..]] {
        assert_ne!(base(learn("baq", on, PLAIN, 10)), plain, "{on:?} does nothing");
    }
}

#[test]
fn acting_changes_nothing() {
    let quiet = learn("plain", &[], PLAIN, 6);
    let agent = agent("iql", "plain", DIMS, &[]);
    let online_config = OnlineConfig::default();
    let mut greedy = agent.actor(10, Exploration::Greedy, &online_config);
    let mut noisy = agent.actor(1, Exploration::Sample, &online_config);
    let mut learning = Learning::new(agent, &online(100), PLAIN);
    let mut actions = HashSet::new();
    for round in 0..6 {
        let store = &mut learning.agent.store;
        greedy.act(store, &[0.1; 110], 1, round);
        let action = noisy.act(store, &[0.1; 11], 1, round);
        actions.insert(action.iter().map(|a| a.to_bits()).collect::<Vec<_>>());
        learning.round();
    }
    assert_eq!(actions.len(), 6, "exploration repeats itself");
    assert_same("with acting", &bits(&learning.agent.store), &quiet);
}

/// A whole offline run on the toy's transitions; methods-core identity 16.
#[test]
fn evaluation_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = |name: &str, episodes: usize| {
        let sets = ["iql.hidden=[32, 32]", "offline.batch=64"];
        let mut config = config("iql", "plain", 3, &sets);
        config.put(OfflineConfig {
            updates: 60,
            eval_every: 20,
            log_every: 10,
            eval_episodes: episodes,
            ..config.section()
        });
        config.put(RunConfig { env: "toy".into(), dataset: "synthetic".into(), ..config.section() });
        let columns = baq_datasets::synthetic::point(1, 500, 3, 1);
        let agent = Agent::new(&config, Dims { s: 3, a: 1, batch: 64 }).unwrap_or_else(|e| panic!("{e}"));
        let dataset = data::Dataset {
            scales: data::Scales {
                observation: baq_datasets::scale::ObservationScale::identity(3),
                action: None,
                reward: baq_datasets::scale::RewardScale::fit(
                    baq_datasets::scale::RewardTransform::None,
                    &columns,
                )
                .unwrap_or_else(|e| panic!("{e}")),
            },
            facts: Default::default(),
            returns: baq_datasets::returns::episode_returns(&columns),
            columns,
            rows: Vec::new(),
            shelf: None,
        };
        let path = dir.path().join(name);
        let folder = RunDir::create(&path).unwrap_or_else(|e| panic!("{e}"));
        let counters = Counters::default();
        let start = Beginning {
            config: &config,
            agent,
            dataset: &dataset,
            counters,
            saved: None,
            simulators: Simulators::default(),
        };
        let mut offline = Training::offline(start).unwrap_or_else(|e| panic!("{e}"));
        offline
            .run(&folder, &[], false, (&Stop::default(), true), &mut NoProbe)
            .unwrap_or_else(|e| panic!("{e}"));
        let log = std::fs::read_to_string(path.join(baq::train::rundir::METRICS_CSV)).expect("metrics");
        let evaluations =
            std::fs::read_to_string(path.join(baq::train::rundir::EVALUATIONS_CSV)).expect("evaluations");
        (bits(&offline.into_parts().0.store), log, evaluations.lines().count())
    };
    let (with, with_log, evaluated) = run("with", 2);
    let (without, without_log, none) = run("without", 0);
    assert!(evaluated >= none + 3, "{evaluated} lines of evaluations with, {none} without");
    assert_same("evaluation", &with, &without);
    assert_eq!(with_log, without_log);
}

#[test]
fn every_noise_has_a_stream_of_its_own() {
    let dims = Dims { s: 4, a: 2, batch: 8 };
    for (adapt, sets) in [("plain", &[][..]), ("baq", &[][..]), ("baq", &["baq.relax=gate"][..])] {
        let trace = agent("iql", adapt, dims, sets).trace(&online(10));
        let read: Vec<usize> = trace
            .graph
            .nodes()
            .iter()
            .filter_map(|n| match n.op {
                baq::autodiff::Op::Noise(k) => Some(k),
                _ => None,
            })
            .collect();
        let distinct: HashSet<usize> = read.iter().copied().collect();
        assert_eq!(distinct.len(), read.len(), "two noise nodes share a stream");
        assert_eq!(read.len(), trace.noises.len());
    }
    let t = Tracer::new(Default::default());
    let shape = Shape::new(1, 4, 2);
    let (a, b) = (t.noise("same", NoiseKind::Normal, shape), t.noise("same", NoiseKind::Normal, shape));
    t.output("a", a);
    t.output("b", b);
    let trace = t.finish();
    assert_ne!(trace.outputs[0].1, trace.outputs[1].1, "equal noise nodes were shared");
}

#[test]
fn streams_seeds_and_positions_are_told_apart() {
    let mut firsts = HashSet::new();
    for stream in Stream::ALL {
        assert!((stream as u32) < NOISE_STREAMS, "{stream:?} is among the noise nodes'");
        for seed in [0, 1, 1 << 32] {
            assert!(firsts.insert(derive(seed, stream)), "{stream:?}, seed {seed}: a derived seed twice");
            for position in [0, 1, 1 << 32] {
                let first: u64 = Rng::new(seed, stream, position).random();
                assert!(firsts.insert(first), "{stream:?}, seed {seed}, position {position}: numbers twice");
            }
        }
    }
    for stream in 0..40 {
        for round in [0, 1, 1 << 32] {
            let mut x = [0.0f32; 4];
            philox::fill_uniform(5, NOISE_STREAMS + stream, round, &mut x);
            let key = x.iter().fold(0u64, |h, x| h.wrapping_mul(31).wrapping_add(u64::from(x.to_bits())));
            assert!(firsts.insert(key), "noise stream {stream}, round {round}: numbers twice");
        }
    }
}

#[test]
fn roles_can_be_left_out() {
    let dims = Dims { s: 4, a: 2, batch: 8 };
    let critic = Select { critic: true, actor: false, metrics: false };
    let mut learning = Learning::new(agent("iql", "plain", dims, &[]), &online(10), critic);
    let before = bits(&learning.agent.store);
    learning.round();
    for ((path, b), (_, a)) in before.iter().zip(bits(&learning.agent.store)) {
        let policy = path.contains("pi.");
        if policy {
            assert_eq!(*b, a, "{path} moved without its role");
        } else if path.starts_with("v.") {
            assert_ne!(*b, a, "{path} stands still");
        }
    }
    assert_eq!(learning.program.updates().len(), 2);
}
