//! What the methods must satisfy whatever the implementation: the identities of the specification that
//! concern behaviour cloning, IQL and BAQ. (Evaluation that changes nothing: `determinism`.)

mod common;

use std::f64::consts::PI;

use baq::algo::{Dims, Phase, Round};
use baq::audit::gradcheck;
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{
    Adam, Clock, Noise, Program, Role, Schedule, Select, Shape, Store, Trace, Tracer, Workspace,
};
use baq::config::NetSpec;
use baq::config::{Exploration, OnlineConfig};
use baq::nn::{Acting, Head, Mean, Params, Policy};
use baq::replay;
use baq::train::agent::Agent;
use baq::train::annotation::Annotator;
use common::{Learning, Numbers, agent, bits, config, online};

/// A policy for 1 state dimension without hidden layers whose outputs are its last biases.
fn policy(head: Head, a_dim: usize, biases: &[f64]) -> (Policy, Trace, Store, usize) {
    let mut params = Params::default();
    let pi = Policy::declare(&mut params, "pi", (1, a_dim), head, &NetSpec::default());
    let (table, mut store) = params.finish(0);
    let rows = 41;
    let t = Tracer::new(table);
    let (s, a) = (t.input("s", rows, 1), t.input("a", rows, a_dim));
    let log_prob = pi.log_prob(s, a);
    t.output("log_prob", log_prob);
    t.train("nll", Role::Actor, pi.group(), &Adam::new(Schedule::Constant(0.0)), -log_prob.mean());
    let (weight, bias) = pi.net().layers()[0];
    store.values[weight.index()].fill(0.0);
    for (to, from) in store.values[bias.expect("critics have one").index()].iter_mut().zip(biases) {
        *to = *from as f32;
    }
    (pi, t.finish(), store, rows)
}

/// log π(a) in f64 for actions `[B, A]`, and the same of the f32 program.
fn log_probs(trace: &Trace, store: &Store, actions: &[f64]) -> (Vec<f64>, Vec<f32>, Store) {
    let rows = trace.inputs[0].shape.rows;
    let inputs = ReferenceInputs { columns: vec![vec![0.0; rows], actions.to_vec()], noise: Vec::new() };
    let values = reference::run(trace, &mut ReferenceStore::from(store), &inputs, Clock::default(), |_| true);
    let exact = values[trace.outputs[0].1.index()].clone().expect("computed");
    let program = Program::compile(trace, Select::ALL);
    let mut workspace = Workspace::new(&program);
    let mut store = store.clone();
    let a = workspace.input_mut(&program, "a").expect("an input");
    a.iter_mut().zip(actions).for_each(|(to, from)| *to = *from as f32);
    program.run(&mut workspace, &mut store, Clock::default(), Noise::Seed(0));
    (exact, workspace.output(&program, "log_prob").to_vec(), store)
}

fn normal(x: f64, mean: f64, log_std: f64) -> f64 {
    let z = (x - mean) / log_std.exp();
    -0.5 * z * z - log_std - 0.5 * (2.0 * PI).ln()
}

/// Identity 1: the density of a tanh-Gaussian is the change of variables, and stays finite far out.
#[test]
fn tanh_log_prob_is_the_change_of_variables() {
    let (mean, log_std) = (0.4, 0.3);
    let head = Head::tanh_gaussian((-5.0, 2.0));
    let (_, trace, store, rows) = policy(head, 1, &[mean, log_std]);
    let us: Vec<f64> = (0..rows).map(|i| -6.0 + 12.0 * i as f64 / (rows - 1) as f64).collect();
    let (exact, _, _) = log_probs(&trace, &store, &us.iter().map(|u| u.tanh()).collect::<Vec<_>>());
    for (u, got) in us.iter().zip(&exact) {
        // P(a in [tanh(u-h), tanh(u+h)]) / width, both by differences in u; f32 rounds the parameters.
        let h = 1e-4;
        let slope = ((u + h).tanh() - (u - h).tanh()) / (2.0 * h);
        let want = normal(*u, f64::from(mean as f32), f64::from(log_std as f32)) - slope.ln();
        assert!((got - want).abs() < 1e-5, "u = {u}: {got}, change of variables {want}");
    }
    let far: Vec<f64> = (0..rows).map(|i| if i % 2 == 0 { 20f64.tanh() } else { -1.0 }).collect();
    let (exact, narrow, after) = log_probs(&trace, &store, &far);
    assert!(exact.iter().all(|x| x.is_finite()), "f64: {exact:?}");
    assert!(narrow.iter().all(|x| x.is_finite()), "f32: {narrow:?}");
    assert!(after.gradients.iter().flat_map(|g| g.iter()).all(|x| x.is_finite()), "gradients");
}

/// Identity 2: head G has the density of a Gaussian around its squashed mean, without a Jacobian, and what is
/// executed is clipped.
#[test]
fn gaussian_log_prob_has_no_jacobian() {
    for (mean, state_std) in
        [(Mean::Tanh, false), (Mean::Tanh, true), (Mean::Linear, false), (Mean::Linear, true)]
    {
        let head = Head::Gaussian { mean, state_std, log_std: (-5.0, 2.0) };
        let centre = |x: f64| if mean == Mean::Tanh { x.tanh() } else { x };
        let biases = [0.9, -0.5, -1.0, 0.25];
        let (pi, trace, mut store, rows) = policy(head, 2, &biases[..if state_std { 4 } else { 2 }]);
        if let Some(p) = pi.free_log_std() {
            store.values[p.index()].copy_from_slice(&[-1.0, 0.25]);
        }
        let actions: Vec<f64> = Numbers(4).units(2 * rows);
        let (exact, narrow, _) = log_probs(&trace, &store, &actions);
        for ((a, got), narrow) in actions.chunks(2).zip(&exact).zip(&narrow) {
            let b = biases.map(|b| f64::from(b as f32));
            let want = normal(a[0], centre(b[0]), b[2]) + normal(a[1], centre(b[1]), b[3]);
            assert!((got - want).abs() < 1e-12, "{got}, formula {want}");
            assert!((f64::from(*narrow) - want).abs() < 1e-5 * want.abs().max(1.0), "{narrow} in f32");
        }
    }
    let mut wide = agent("iql", "plain", Dims { s: 2, a: 2, batch: 4 }, &["iql.hidden=[8]"]);
    let log_std = wide.learner.policy().free_log_std().expect("iql's policy has one");
    wide.store.values[log_std.index()].fill(1.0);
    let mut actor = wide.actor(200, Exploration::Sample, &OnlineConfig::default());
    let actions = actor.act(&mut wide.store, &[0.3; 400], 1, 1);
    assert!(actions.iter().all(|a| a.abs() <= 1.0), "an action leaves [-1, 1]");
    assert!(actions.iter().any(|a| a.abs() == 1.0) && actions.iter().any(|a| a.abs() < 1.0));
}

/// Identity 3: the τ-expectile of {0, 1} is τ, that of any two numbers at τ = 1/2 their mean.
#[test]
fn expectile_of_two_points() {
    let slope = |tau: f64, points: [f64; 2], at: f64| {
        let mut params = Params::default();
        let g = params.group("m", false);
        let m = params.tensor(g, "m", Shape::SCALAR, baq::nn::init::Init::Constant(0.0));
        let (table, store) = params.finish(0);
        let t = Tracer::new(table);
        let x = t.input("x", 2, 1);
        let loss = (x - t.param(m)).expectile(t.constant(tau)).mean();
        t.train("m", Role::Critic, g, &Adam::new(Schedule::Constant(0.0)), loss);
        let trace = t.finish();
        let mut store = ReferenceStore::from(&store);
        store.values[0][0] = at;
        let inputs = ReferenceInputs { columns: vec![points.to_vec()], noise: Vec::new() };
        reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
        store.gradients[0][0]
    };
    for tau in [0.5, 0.7, 0.9] {
        assert!(slope(tau, [0.0, 1.0], tau).abs() < 1e-15, "tau {tau} is not stationary at {tau}");
        assert!(slope(tau, [0.0, 1.0], tau - 0.01) < -1e-3 && slope(tau, [0.0, 1.0], tau + 0.01) > 1e-3);
    }
    assert!(slope(0.5, [-3.0, 2.0], -0.5).abs() < 1e-15);
}

/// Identity 4: transitions that time out bootstrap, so that V is r / (1 - γ); terminal ones do not, and V is r.
#[test]
fn time_limits_bootstrap_and_terminations_do_not() {
    const B: usize = 64;
    let dims = Dims { s: 2, a: 1, batch: B };
    let mut agent = agent(
        "iql",
        "plain",
        dims,
        &[
            "iql.hidden=[32, 32]",
            "iql.discount=0.9",
            "iql.polyak=0.05",
            "iql.value=0.001",
            "iql.critic=0.001",
            "iql.actor=0.001",
        ],
    );
    let trace = agent.trace(&Phase::offline(4000));
    let program = Program::compile(&trace, Select { critic: true, actor: false, metrics: false });
    let mut workspace = Workspace::new(&program);
    let mut x = Numbers(1);
    // State (1, 0) always times out into itself, state (0, 1) always terminates; the reward is 1.
    let state: Vec<f32> = (0..B).flat_map(|i| if i % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    let mask: Vec<f32> = (0..B).map(|i| if i % 2 == 0 { 1.0 } else { 0.0 }).collect();
    for round in 0..4000 {
        let actions: Vec<f32> = (0..B).map(|_| x.unit() as f32).collect();
        for (name, values) in [
            (replay::S, &state),
            (replay::S2, &state),
            (replay::A, &actions),
            (replay::M, &mask),
            (replay::R, &vec![1.0; B]),
        ] {
            if let Some(column) = workspace.input_mut(&program, name) {
                column.copy_from_slice(values);
            }
        }
        let clock = Clock { round, phase_round: round };
        program.run(&mut workspace, &mut agent.store, clock, Noise::Seed(0));
    }
    let measured = Program::compile(&trace, Select { critic: false, actor: false, metrics: true });
    let mut w = Workspace::new(&measured);
    let mut mean_v = |s: [f32; 2]| {
        w.input_mut(&measured, replay::S)
            .expect("read")
            .chunks_mut(2)
            .for_each(|row| row.copy_from_slice(&s));
        measured.run(&mut w, &mut agent.store, Clock::default(), Noise::Seed(0));
        let v = measured.metrics().position(|m| m.name == baq::algo::iql::V_MEAN.name).expect("declared");
        f64::from(w.metrics(&measured).nth(v).expect("as many values as metrics"))
    };
    let (endless, ended) = (mean_v([1.0, 0.0]), mean_v([0.0, 1.0]));
    assert!((endless - 10.0).abs() < 0.3, "V of a state that only times out is {endless}, r/(1-gamma) = 10");
    assert!((ended - 1.0).abs() < 0.1, "V of a state that terminates is {ended}, r = 1");
}

/// Identity 8: in the order `official` the policy is weighed with the new V, in `corl` with the old one.
#[test]
fn the_policy_sees_the_step_of_v_in_official_order_only() {
    let dims = Dims { s: 4, a: 2, batch: 32 };
    let policy_after = |order: &str, value_lr: &str| {
        let sets = [format!("iql.order={order}"), format!("iql.value={value_lr}"), "iql.hidden=[16]".into()];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let mut learning = Learning::new(agent("iql", "plain", dims, &sets), &online(10), Select::ALL);
        learning.round();
        bits(&learning.agent.store).into_iter().filter(|(p, _)| p.starts_with("pi.")).collect::<Vec<_>>()
    };
    assert_ne!(policy_after("official", "0.01"), policy_after("official", "0.02"));
    assert_eq!(policy_after("corl", "0.01"), policy_after("corl", "0.02"));
}

const BAQ_DIMS: Dims = Dims { s: 3, a: 4, batch: 8 };

/// Annotated values of one transition at `distance` per dimension from the mode of π_BC, and the weight in
/// a batch of such rows.
fn at_distance(sets: &[&str], distance: f32) -> (Vec<f32>, f64, f64) {
    let mut agent = agent("iql", "baq", BAQ_DIMS, sets);
    // π_BC(s) = tanh(0) = 0 for every s.
    let bc = agent.table.find_group("bc").expect("baq has a model");
    for p in agent.table.clone().members(bc) {
        agent.store.values[p.index()].fill(0.0);
    }
    let mut out = [0.0; 2];
    let mut annotator = Annotator::new(&agent, 1).expect("baq annotates");
    annotator.one(&mut agent.store, &[0.3, -0.2, 0.9], &[distance; 4], &mut out);

    let t = Tracer::new(agent.table.clone());
    let phase = online(10);
    let (learner, baq) = (agent.learner.as_ref(), agent.adaptation.as_ref());
    let b = Round::new(&t, BAQ_DIMS, &phase, learner, baq);
    let critics = learner.critics().expect("iql has critics");
    t.output("w", b.weight(critics.all(b.s, b.a)).expect("weights are on"));
    let trace = t.finish();
    let inputs = ReferenceInputs {
        columns: trace
            .inputs
            .iter()
            .map(|i| match i.name {
                replay::D2 => vec![f64::from(out[0]); BAQ_DIMS.batch],
                _ => vec![0.1; i.shape.len()],
            })
            .collect(),
        noise: Vec::new(),
    };
    let values =
        reference::run(&trace, &mut ReferenceStore::from(&agent.store), &inputs, Clock::default(), |_| true);
    let w = values[trace.outputs[0].1.index()].as_ref().expect("computed")[0];
    (out.to_vec(), w, agent.adaptation.priority(&out, true))
}

/// Identity 10: w = 1 and ρ = 1 on the model's own action; known values at distance 0.5 per dimension.
#[test]
fn weight_and_priority_of_known_distances() {
    for set in ["baq.distance=mean", "baq.distance=sum", "baq.distance=mahalanobis", "baq.norm=l1"] {
        let (annotated, w, rho) = at_distance(&[set], 0.0);
        assert_eq!((annotated, w, rho), (vec![0.0, 0.0], 1.0, 1.0), "{set}");
    }
    let close = |what: &str, got: f64, want: f64| {
        assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "{what}: {got}, expected {want}");
    };
    // d² = 0.25, k_q = 0.5; ‖·‖ = 0.5 √4 = 1, k_ρ = √4, α = 0.6
    let (_, w, rho) = at_distance(&[], 0.5);
    close("w", w, (-0.5f64).exp());
    close("rho", rho, 1.5f64.powf(0.6));
    let (_, w, _) = at_distance(&["baq.distance=sum", "baq.k_q=2"], -0.5);
    close("w, sum", w, (-0.5f64).exp());
    // σ = e^0 in a model of zeros
    let (_, w, _) = at_distance(&["baq.distance=mahalanobis", "baq.k_q=0.25"], 0.5);
    close("w, mahalanobis", w, (-1.0f64).exp());
    for (set, rho) in [
        ("baq.norm=l1", 2.0f64.powf(0.6)),
        ("baq.norm=rms", 1.25f64.powf(0.6)),
        ("baq.k_rho=fixed(0.5)", 3.0f64.powf(0.6)),
        ("baq.priority_exponent=2", 2.25),
        ("baq.favour=familiar", 1.5f64.powf(-0.6)),
    ] {
        close(set, at_distance(&[set], 0.5).2, rho);
    }
    let agent = agent("iql", "baq", BAQ_DIMS, &["baq.offline_priority=one"]);
    assert_eq!(agent.adaptation.priority(&[0.25, 1.0], false), 1.0);
    assert!(agent.adaptation.priority(&[0.25, 1.0], true) > 1.2);
}

/// What is left to the data: k_q = 4 E[d²], k_ρ = E[norm].
#[test]
fn constants_left_to_the_data() {
    let mut auto = agent("iql", "baq", BAQ_DIMS, &["baq.k_q=auto", "baq.k_rho=auto"]);
    auto.adaptation.calibrate(&[0.02, 0.3]);
    let w = auto.adaptation.quantities(&[0.08, 0.3], true);
    assert!((w[1].1 - (-1.0f64).exp()).abs() < 1e-7, "{w:?}");
    assert!((auto.adaptation.priority(&[0.08, 0.3], true) - 2.0f64.powf(0.6)).abs() < 1e-6);
}

/// A distance in units of the model's spread needs a model with a spread, whichever way it got its head.
#[test]
fn mahalanobis_needs_a_spread() {
    let declared = |sets: &[&str]| {
        let mut all = vec!["baq.distance=mahalanobis"];
        all.extend(sets);
        Agent::new(&config("iql", "baq", 1, &all), BAQ_DIMS).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(declared(&[]), Ok(()));
    assert_eq!(declared(&["baq.model=mse", "baq.relax=follow(0.1)"]), Ok(()));
    for sets in [&["baq.model=mse"][..], &["baq.relax=follow(0.1)", "iql.actor_head=deterministic"][..]] {
        let error = declared(sets).expect_err("no spread");
        assert!(error.contains("mahalanobis") && !error.contains('\n'), "{error}");
    }
}

/// PEX whose new policy is the old one acts as that: in evaluations to the bit, while collecting as the spread goes to 0.
#[test]
fn pex_of_two_equal_policies_is_one() {
    let dims = Dims { s: 4, a: 2, batch: 64 };
    let agent =
        agent("iql", "pex", dims, &["iql.hidden=[9, 8]", "iql.log_std_min=-20", "pex.exploring_share=0"]);
    let t = Tracer::new(agent.table.clone());
    let s = t.input("s", dims.batch, dims.s);
    let (pex, base) = (agent.adaptation.as_ref(), agent.learner.as_ref());
    t.output("evaluating", pex.act(base, s, Acting::Greedy));
    t.output("collecting", pex.act(base, s, Acting::Sample));
    t.output("mode", base.policy().mode(s));
    let trace = t.finish();
    let members = |name: &str| agent.table.members(agent.table.find_group(name).expect("a policy"));
    let log_std = base.policy().free_log_std().expect("iql's policy has one");
    let actions = |spread: f64| {
        let mut store = ReferenceStore::from(&agent.store);
        store.values[log_std.index()].fill(spread);
        for (new, old) in members("pi").zip(members("pi_offline")) {
            store.values[old.index()] = store.values[new.index()].clone();
        }
        let inputs = gradcheck::synthetic(&trace, 3);
        let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
        [0, 1, 2].map(|k| values[trace.outputs[k].1.index()].clone().expect("computed"))
    };
    let [evaluating, collecting, mode] = actions(-20.0);
    assert_eq!(evaluating, mode);
    let apart = collecting.iter().zip(&mode).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < 1e-7, "{apart}");
    // With a spread a state has the old one's mode or the new one's draw.
    let [evaluating, collecting, mode] = actions(-0.5);
    assert_eq!(evaluating, mode);
    let old = collecting.chunks(dims.a).zip(mode.chunks(dims.a)).filter(|(a, b)| a == b).count();
    assert!((10..55).contains(&old), "{old} of {} states have the mode", dims.batch);
}
