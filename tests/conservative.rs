//! Identities between algorithms, and of the conservative penalty, on small networks and synthetic batches.

mod common;

use baq::algo::{CRITIC, Dims, Phase};
use baq::audit::gradcheck;
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{
    Adam, Clock, NodeId, Noise, NoiseKind, NoiseSpec, Op, Program, Schedule, Select, Shape, Store, Trace,
    Tracer, Workspace,
};
use baq::replay;
use baq::train::agent::Agent;
use baq::train::cadence::Roles;
use baq::train::rounds::Rounds;
use common::{Numbers, config};

const DIMS: Dims = Dims { s: 4, a: 2, batch: 8 };
const N: usize = 3;

fn agent(algo: &str, adapt: &str, sets: &[&str]) -> Agent {
    let small = match algo {
        "cql" | "cal_ql" => &["cql.policy_hidden=[8,8]", "cql.critic_hidden=[8,8]", "cql.samples=3"][..],
        "sac" => &["sac.hidden=[8,8]"],
        _ => &["td3.hidden=[8,8]"],
    };
    Agent::new(&config(algo, adapt, 5, &[small, sets].concat()), DIMS).unwrap_or_else(|e| panic!("{e}"))
}

fn trace(agent: &Agent) -> Trace {
    agent.trace(&Phase::offline(100))
}

/// A batch; `return_to_go` is the same in all rows.
fn columns(trace: &Trace, return_to_go: f64) -> Vec<Vec<f64>> {
    trace
        .inputs
        .iter()
        .map(|i| {
            let n = i.shape.len();
            let mut x = Numbers(i.name.bytes().map(u64::from).sum());
            match i.name {
                replay::M => (0..n).map(|k| f64::from(k % 3 != 0)).collect(),
                replay::RETURN_TO_GO => vec![return_to_go; n],
                replay::D2 | replay::DISTANCE => x.units(n).iter().map(|d| d.abs()).collect(),
                _ => x.units(n).iter().map(|v| 0.9 * v).collect(),
            }
        })
        .collect()
}

/// Random numbers for every noise stream; those of stream `other` differ from their usual ones.
fn noise(trace: &Trace, other: Option<usize>) -> Vec<Vec<f64>> {
    // Critics that are drawn are no stream in the count, so that the others stay what they are without.
    let mut streams = 0..;
    let draw = |n: &NoiseSpec| {
        if let NoiseKind::Subset { .. } = n.kind {
            return (0..n.shape.len()).map(|i| 2.0 * i as f64).collect();
        }
        let k = streams.next().expect("without end");
        let mut x = Numbers(1000 + k as u64 + if other == Some(k) { 77 } else { 0 });
        let unit = x.units(n.shape.len());
        let scaled = |u: &f64| if n.kind == NoiseKind::Normal { 2.0 * u } else { 0.5 * (u + 1.0) };
        unit.iter().map(scaled).collect()
    };
    trace.noises.iter().map(draw).collect()
}

/// Parameters a little away from their initial values, so that no bias is zero.
fn perturbed(agent: &Agent) -> ReferenceStore {
    let mut store = ReferenceStore::from(&agent.store);
    for (i, t) in store.values.iter_mut().enumerate() {
        let mut x = Numbers(i as u64);
        t.iter_mut().for_each(|v| *v += 0.1 * x.unit());
    }
    store
}

/// Gradients of all parameters of `group` in one round of the f64 executor.
fn gradients(agent: &Agent, group: &str, return_to_go: f64, other: Option<usize>) -> Vec<f64> {
    let trace = trace(agent);
    let mut store = perturbed(agent);
    let inputs = ReferenceInputs { columns: columns(&trace, return_to_go), noise: noise(&trace, other) };
    reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
    members(agent, group).flat_map(|p| store.gradients[p].clone()).collect()
}

fn members(agent: &Agent, group: &str) -> impl Iterator<Item = usize> {
    let table = agent.table.clone();
    let group = table.find_group(group).unwrap_or_else(|| panic!("no group {group}"));
    let ids: Vec<usize> = table.members(group).map(|p| p.index()).collect();
    ids.into_iter()
}

/// So many rounds of the f32 executor; the parameters by path.
fn trained(agent: &Agent, return_to_go: f64, rounds: u64) -> Vec<(String, Vec<f32>)> {
    let trace = trace(agent);
    let program = Program::compile(&trace, Select { critic: true, actor: true, metrics: false });
    let mut workspace = Workspace::new(&program);
    let mut store: Store = agent.store.clone();
    for round in 0..rounds {
        for (input, values) in trace.inputs.iter().zip(columns(&trace, return_to_go)) {
            if let Some(to) = workspace.input_mut(&program, input.name) {
                to.iter_mut().zip(&values).for_each(|(t, v)| *t = *v as f32);
            }
        }
        program.run(&mut workspace, &mut store, Clock { round, phase_round: round }, Noise::Seed(9));
    }
    let table = &agent.table;
    table
        .ids()
        .flat_map(|id| {
            let values = &store.values[id.index()];
            table
                .paths(id)
                .into_iter()
                .map(|(path, range)| (path, values[range].to_vec()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let scale = b.iter().fold(0.0f64, |m, x| m.max(x.abs())).max(1e-12);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * scale)
}

#[test]
fn cql_without_penalty_but_with_entropy_backup_is_sac() {
    let sac = agent("sac", "plain", &["sac.actor=0.001"]);
    let same = [
        "cql.penalty=0.0",
        "cql.entropy_backup=true",
        "cql.std_scale=false",
        "cql.init=rlkit",
        "cql.actor=0.001",
        "cql.temperature_optimiser=0.0003",
    ];
    let cql = agent("cql", "plain", &same);
    let (a, b) = (trained(&sac, 0.0, 5), trained(&cql, 0.0, 5));
    assert_eq!(a, b);
    let without = agent("cql", "plain", &[&same[..], &["cql.entropy_backup=false"]].concat());
    assert_ne!(a, trained(&without, 0.0, 5), "the entropy changes nothing");
}

/// What GCQL draws and averages is no matter where all critics agree, and is one where they do not.
#[test]
fn gcql_draws_critics_for_its_target_and_maximises_their_mean() {
    let gradients = |group: &str, sets: &[&str], agree: bool| {
        let agent = agent("cql", "plain", &[&["cql.critics=4"], sets].concat());
        let trace = trace(&agent);
        let mut store = perturbed(&agent);
        for p in ["q", "q_target"].iter().flat_map(|g| members(&agent, g)).filter(|_| agree) {
            let each = store.values[p].len() / 4;
            let first = store.values[p][..each].to_vec();
            store.values[p].chunks_mut(each).for_each(|head| head.copy_from_slice(&first));
        }
        let inputs = ReferenceInputs { columns: columns(&trace, 0.0), noise: noise(&trace, None) };
        reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
        members(&agent, group).flat_map(|p| store.gradients[p].clone()).collect::<Vec<f64>>()
    };
    for (group, set) in [("q", "cql.target_critics=2"), ("pi", "cql.policy_value=mean")] {
        assert!(close(&gradients(group, &[set], true), &gradients(group, &[], true), 1e-12), "{set}");
        assert!(
            !close(&gradients(group, &[set], false), &gradients(group, &[], false), 1e-6),
            "{set} does nothing"
        );
    }
    let all = agent("cql", "plain", &["cql.critics=4", "cql.target_critics=4"]);
    assert_eq!(trained(&all, 0.0, 3), trained(&agent("cql", "plain", &["cql.critics=4"]), 0.0, 3));
    // Combinations that would leave an option without effect.
    for (sets, words) in [
        (&["cql.target_critics=3"][..], "at most cql.critics = 2"),
        (&["cql.target_critics=1", "cql.ensemble=2"], "expected auto"),
        (&["cql.policy_value=mean", "cql.ensemble=2"], "expected least"),
    ] {
        let e = Agent::new(&config("cql", "plain", 0, sets), DIMS).err().expect("refused").to_string();
        assert!(e.contains(words), "{e}");
    }
}

#[test]
fn cal_ql_with_a_return_of_minus_infinity_is_cql() {
    let (cql, cal) = (agent("cql", "plain", &[]), agent("cal_ql", "plain", &[]));
    assert_eq!(trained(&cql, 0.0, 5), trained(&cal, f64::NEG_INFINITY, 5));
    assert_ne!(trained(&cql, 0.0, 5), trained(&cal, 0.5, 5), "a return of 0.5 changes nothing");
}

/// Gradient of -alpha Σ_j E[Q_j(s,a)] in the critics, by a trace of its own.
fn data_term(agent: &Agent, alpha: f64) -> Vec<f64> {
    let t = Tracer::new(agent.table.clone());
    let (s, a) = (t.input(replay::S, DIMS.batch, DIMS.s), t.input(replay::A, DIMS.batch, DIMS.a));
    let critics = agent.learner.critics().expect("CQL has critics");
    let loss = critics.all(s, a).total() * (-alpha / DIMS.batch as f64);
    t.train("data", CRITIC, critics.group(), &Adam::new(Schedule::Constant(0.0)), loss);
    let trace = t.finish();
    let mut store = perturbed(agent);
    let inputs = ReferenceInputs { columns: columns(&trace, 0.0), noise: Vec::new() };
    reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
    members(agent, "q").flat_map(|p| store.gradients[p].clone()).collect()
}

#[test]
fn where_the_return_wins_only_the_data_term_has_a_gradient() {
    // Of the penalty, the term -Q_j(s,a)/B remains; that its gradient is -1/B is part of the claim.
    let cal = agent("cal_ql", "plain", &["cql.penalty=5.0"]);
    let bellman = gradients(&agent("cal_ql", "plain", &["cql.penalty=0.0"]), "q", 1e9, None);
    let expected: Vec<f64> = bellman.iter().zip(data_term(&cal, 5.0)).map(|(b, d)| b + d).collect();
    let got = gradients(&cal, "q", 1e9, None);
    assert!(close(&got, &expected, 1e-12));
    // Draws of the policy (streams 3 and 4) and random ones (2) play no part in it.
    for stream in 2..5 {
        assert!(close(&gradients(&cal, "q", 1e9, Some(stream)), &got, 1e-12), "stream {stream}");
    }
}

#[test]
fn random_actions_are_calibrated_only_when_asked() {
    // A return above every value, near enough for the random actions to keep some weight.
    let plain = agent("cal_ql", "plain", &[]);
    let all = agent("cal_ql", "plain", &["cal_ql.calibrate_random=true"]);
    let at = |agent: &Agent, other| gradients(agent, "q", 4.0, other);
    assert!(!close(&at(&plain, Some(2)), &at(&plain, None), 1e-6));
    assert!(close(&at(&all, Some(2)), &at(&all, None), 1e-12));
}

#[test]
fn the_log_sum_exp_runs_over_all_samples() {
    let width = |sets: &[&str]| {
        let trace = trace(&agent("cql", "plain", sets));
        let graph = &trace.graph;
        let sums: Vec<Shape> = graph
            .nodes()
            .iter()
            .filter(|n| n.op == Op::LogSumExp)
            .map(|n| graph.node(n.args[0]).shape)
            .collect();
        assert_eq!(sums.len(), 1);
        sums[0]
    };
    assert_eq!(width(&[]), Shape::new(2, DIMS.batch, 3 * N));
    assert_eq!(width(&["cql.importance=false"]), Shape::new(2, DIMS.batch, 3 * N + 1));
}

#[test]
fn the_penalty_does_not_see_a_constant_added_to_q() {
    // The softmax weights of a state sum to 1 and the data term has -1: nothing is left for the last bias.
    let last_bias = |sets: &[&str]| {
        let agent = agent("cql", "plain", sets);
        let all = gradients(&agent, "q", 0.0, None);
        all[all.len() - 2..].to_vec()
    };
    let (with, without) = (last_bias(&["cql.penalty=7.0"]), last_bias(&["cql.penalty=0.0"]));
    assert!(without.iter().all(|g| g.abs() > 1e-3), "{without:?}");
    assert!(close(&with, &without, 1e-12), "{with:?} {without:?}");
}

#[test]
fn sampled_actions_send_no_gradient_to_the_policy() {
    let cql = agent("cql", "plain", &[]);
    let policy = gradients(&cql, "pi", 0.0, None);
    for stream in 2..5 {
        assert_eq!(policy, gradients(&cql, "pi", 0.0, Some(stream)), "stream {stream}");
    }
    assert_ne!(policy, gradients(&cql, "pi", 0.0, Some(0)));
}

#[test]
fn gradients_agree_with_finite_differences() {
    let cases: &[(&str, &[&str])] = &[
        ("td3", &[]),
        ("td3_bc", &[]),
        ("sac", &[]),
        ("sac", &["sac.temperature=fixed(0.2)"]),
        ("cql", &[]),
        ("cql", &["cql.lagrange=gap(0.8)", "cql.max_backup=true", "cql.entropy_backup=true"]),
        ("cql", &["cql.importance=false", "cql.lse_temperature=0.7"]),
        ("cql", &["cql.critics=4", "cql.target_critics=2", "cql.policy_value=mean"]),
        ("cql", &["cql.difference_min=at(3.4)", "cql.difference_max=at(3.6)", "cql.critics=3"]),
        ("cql", &["cql.cloning_updates=3"]),
        ("cal_ql", &[]),
    ];
    for (algo, sets) in cases {
        let agent = agent(algo, "plain", sets);
        let trace = trace(&agent);
        let inputs = ReferenceInputs { columns: columns(&trace, 0.3), noise: noise(&trace, None) };
        let checks = gradcheck::check(&trace, &perturbed(&agent), &inputs, Clock::default(), 3, true);
        assert!(checks.len() >= 12, "{algo} {sets:?}: {} tensors", checks.len());
        for c in &checks {
            let worst = c.elementwise.expect("asked for");
            let what = format!("{algo} {sets:?} {} {}: {c:?}", c.update, c.path);
            assert!(c.analytic.is_finite() && (c.relative < 1e-5 || c.analytic.abs() < 1e-7), "{what}");
            assert!(worst < 1e-5, "{what}");
        }
    }
}

#[test]
fn clipping_has_rows_on_both_sides_in_the_gradient_check() {
    // The bounds of the case above cut some differences and leave others.
    let at = |set: &str| gradients(&agent("cql", "plain", &["cql.critics=3", set]), "q", 0.0, None);
    let (free, zero) = (at("cql.difference_min=none"), at("cql.penalty=0.0"));
    for bound in ["cql.difference_min=at(3.4)", "cql.difference_max=at(3.6)"] {
        let cut = at(bound);
        assert!(!close(&cut, &free, 1e-6) && !close(&cut, &zero, 1e-6), "{bound}");
    }
}

#[test]
fn the_policy_clones_in_the_first_rounds() {
    // While it clones, the policy's gradient knows nothing of Q.
    let agent = agent("cql", "plain", &["cql.cloning_updates=3"]);
    let trace = trace(&agent);
    let inputs = ReferenceInputs { columns: columns(&trace, 0.0), noise: noise(&trace, None) };
    let policy = |round: u64, shift: f64| {
        let mut store = perturbed(&agent);
        for p in members(&agent, "q") {
            store.values[p].iter_mut().for_each(|v| *v *= 1.0 + shift);
        }
        let clock = Clock { round, phase_round: round };
        reference::run(&trace, &mut store, &inputs, clock, |_| true);
        members(&agent, "pi").flat_map(|p| store.gradients[p].clone()).collect::<Vec<f64>>()
    };
    assert_eq!(policy(2, 0.0), policy(2, 0.5));
    assert_ne!(policy(3, 0.0), policy(3, 0.5));
}

#[test]
fn baq_switched_off_is_its_base_to_the_bit() {
    let off = ["baq.rows=none"];
    for algo in ["cql", "sac", "td3_bc"] {
        let base = trained(&agent(algo, "plain", &[]), 0.0, 4);
        let scopes: &[&str] = &["baq.cql_scope=bellman", "baq.cql_scope=penalty", "baq.cql_scope=both"];
        for scope in scopes {
            let baq = trained(&agent(algo, "baq", &[&off[..], &[scope]].concat()), 0.0, 4);
            assert_eq!(base[..], baq[..base.len()], "{algo} {scope}");
        }
    }
}

#[test]
fn baq_weighs_the_term_it_is_told() {
    // The part of the gradient that a scope changes: of both terms together it is the sum of the two parts.
    let at = |scope: &str, penalty: &str| {
        let sets = [format!("baq.cql_scope={scope}"), format!("cql.penalty={penalty}")];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        gradients(&agent("cql", "baq", &sets), "q", 0.0, None)
    };
    let plain = gradients(&agent("cql", "plain", &["cql.penalty=5.0"]), "q", 0.0, None);
    let [bellman, penalty, both] = ["bellman", "penalty", "both"]
        .map(|scope| at(scope, "5.0").iter().zip(&plain).map(|(g, p)| g - p).collect::<Vec<f64>>());
    let sum: Vec<f64> = bellman.iter().zip(&penalty).map(|(a, b)| a + b).collect();
    assert!(close(&both, &sum, 1e-12));
    assert!(!close(&bellman, &penalty, 1e-3));
    // Without a penalty its weight is without effect.
    let none = gradients(&agent("cql", "plain", &["cql.penalty=0.0"]), "q", 0.0, None);
    assert!(close(&at("penalty", "0.0"), &none, 1e-12));
    assert!(!close(&at("bellman", "0.0"), &none, 1e-3));
}

#[test]
fn delayed_roles_are_counted_exactly() {
    for (every, policy) in [(1, 7), (2, 3), (3, 2)] {
        let agent = agent("td3", "plain", &[&format!("td3.actor_every={every}")]);
        let delay = agent.learner.delay();
        let mut rounds = Rounds::new(trace(&agent), Roles::of_delay(delay));
        let trace = rounds.trace().clone();
        let mut store = agent.store.clone();
        let target = members(&agent, "q_target").next().expect("a target has tensors");
        let mut moved = 0;
        for round in 0..7 {
            let before = store.values[target].clone();
            let (program, workspace) = rounds.pick(Roles::delayed(round, delay), round % 2 == 0);
            for (input, values) in trace.inputs.iter().zip(columns(&trace, 0.0)) {
                if let Some(to) = workspace.input_mut(program, input.name) {
                    to.iter_mut().zip(&values).for_each(|(t, v)| *t = *v as f32);
                }
            }
            program.run(workspace, &mut store, Clock { round, phase_round: round }, Noise::Seed(9));
            moved += u32::from(before[..] != store.values[target][..]);
            assert!(rounds.values().iter().all(|(_, v)| v.is_finite()));
        }
        let steps = |group| store.steps[agent.table.find_group(group).expect("TD3's").index()];
        assert_eq!((steps("q"), steps("pi"), moved), (7, policy, policy as u32), "every {every}");
    }
}

#[test]
fn the_density_of_a_sample_is_that_of_its_action() {
    // log π from before the tanh against log π of the action, and against a change of variables.
    let agent = agent("cql", "plain", &[]);
    let t = Tracer::new(agent.table.clone());
    let s = t.input(replay::S, DIMS.batch, DIMS.s);
    let pi = agent.learner.policy();
    let (a, log_pi) = pi.draw(s, N);
    t.output("a", a);
    t.output("drawn", log_pi);
    t.output("given", pi.log_prob(s.repeat(N), a));
    let trace = t.finish();
    let run = |scale: f64| {
        let mut inputs = ReferenceInputs { columns: columns(&trace, 0.0), noise: noise(&trace, None) };
        inputs.noise.iter_mut().flatten().for_each(|e| *e *= scale);
        let values = reference::run(&trace, &mut perturbed(&agent), &inputs, Clock::default(), |_| true);
        let of = |id: NodeId| values[id.index()].clone().expect("every node was computed");
        let outputs: Vec<Vec<f64>> = trace.outputs.iter().map(|(_, id)| of(*id)).collect();
        outputs
    };
    let usual = run(1.0);
    assert_eq!(usual[0].len(), DIMS.batch * N * DIMS.a);
    assert!(close(&usual[1], &usual[2], 1e-9), "{:?} {:?}", usual[1], usual[2]);
    assert!(run(60.0)[1].iter().all(|l| l.is_finite()), "saturated actions have a finite density");
}

/// A column that the replay lacks is an error before the first round, not a column of zeros.
#[test]
fn a_missing_column_is_found_when_the_run_is_prepared() {
    use baq::replay::Layout;
    use baq::train::gather::check_columns;
    let trace = trace(&agent("cal_ql", "plain", &[]));
    let layout = |extra: &[(&str, usize)]| Layout::transitions(DIMS.s, DIMS.a, extra);
    let error = check_columns(&trace, &layout(&[])).expect_err("no returns in the replay").to_string();
    assert!(error.contains("`return_to_go`") && error.contains("s, a, r, m, s2"), "{error}");
    assert!(check_columns(&trace, &layout(&[(replay::RETURN_TO_GO, 1)])).is_ok());
    // Those that the loop fills need not be there.
    let online = Phase { online: true, ..Phase::offline(10) };
    let agent = agent("cql", "plain", &[]);
    assert!(agent.trace(&online).inputs.iter().any(|input| input.name == replay::ONLINE));
    assert!(check_columns(&agent.trace(&online), &layout(&[])).is_ok());
}
