//! Methods whose pessimism is many critics: what they become without it, and what critics that agree must give.

mod common;

use baq::algo::measure::deviation;
use baq::algo::{Dims, Phase, Round};
use baq::audit::gradcheck;
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{Clock, Select, Shape, Trace, Tracer};
use baq::nn::Acting;
use baq::train::agent::Agent;
use common::{Learning, Numbers, agent, assert_same, bits, online, small};

const DIMS: Dims = Dims { s: 4, a: 2, batch: 8 };

/// All bits after some rounds of either phase.
fn learned(algo: &str, sets: &[&str], phase: &Phase) -> Vec<(String, Vec<u32>)> {
    let mut learning = Learning::new(small(algo, "plain", DIMS, sets), phase, Select::ALL);
    (0..4).for_each(|_| learning.round());
    bits(&learning.agent.store)
}

#[track_caller]
fn same(what: &str, (a, of_a): (&str, &[&str]), (b, of_b): (&str, &[&str])) {
    for phase in [Phase::offline(10), online(10)] {
        assert_same(what, &learned(a, of_a, &phase), &learned(b, of_b, &phase));
    }
}

#[test]
fn without_its_term_each_is_sac_n_to_the_bit() {
    for order in ["sac_n.order=corl", "sac_n.order=official"] {
        same("edac, eta 0", ("edac", &["edac.eta=0", order]), ("sac_n", &[order]));
        let off = ["rorl.policy_weight=0", "rorl.value_weight=0", "rorl.ood_weight=0", order];
        same("rorl without terms", ("rorl", &off), ("sac_n", &[order]));
    }
    assert_ne!(
        learned("edac", &["edac.eta=0.1"], &online(10)),
        learned("sac_n", &[], &online(10)),
        "eta has no effect"
    );
}

/// Weights that are not 0 on terms that are: no neighbourhood, no pessimism. (The policy's term draws before Q's.)
#[test]
fn terms_of_rorl_vanish_with_their_neighbourhood_and_their_lambda() {
    let none = ["rorl.policy_weight=0", "rorl.value_epsilon=0", "rorl.ood_lambda=0", "rorl.value_weight=0.5"];
    same("rorl, epsilon 0, lambda 0", ("rorl", &none), ("sac_n", &[]));
    let pessimistic = [&none[..], &["rorl.ood_lambda=1"]].concat();
    assert_ne!(learned("rorl", &pessimistic, &online(10)), learned("sac_n", &[], &online(10)));
}

#[test]
fn sac_n_of_two_critics_is_sac_to_the_bit() {
    let sac_n = ["sac_n.critics=2", "sac_n.order=official", "sac_n.init=rlkit", "sac_n.log_std_min=-20"];
    same("sac_n", ("sac_n", &sac_n), ("sac", &["sac.order=rlkit"]));
}

/// Parameters of Q after one round in f64 from parameters of order 1/2, with the same numbers for every draw of a name.
fn critics_after(agent: &Agent) -> Vec<f64> {
    let trace = agent.trace(&Phase::offline(10));
    let (mut store, mut x) = (ReferenceStore::from(&agent.store), Numbers(5));
    store.values.iter_mut().flatten().for_each(|p| *p = 0.5 * x.unit());
    let numbers = |name: &str, n: usize| {
        let seed = name.bytes().fold(3u64, |seed, b| seed.wrapping_mul(31).wrapping_add(u64::from(b)));
        Numbers(seed).units(n)
    };
    let mut inputs = gradcheck::synthetic(&trace, 1);
    inputs.noise = trace.noises.iter().map(|n| numbers(&n.name, n.shape.len())).collect();
    reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
    let q = agent.table.find_group("q").expect("it has critics");
    agent.table.members(q).flat_map(|p| store.values[p.index()].clone()).collect()
}

#[track_caller]
fn close(what: &str, a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= 1e-12 * y.abs().max(1.0), "{what}: element {i} is {x}, not {y}");
    }
}

/// With every β 0 and no floor, PBRL's critics follow each its own target critic, without entropy, and feel nothing outside
/// the data; of one critic that is SAC-N's target with the entropy's weight 0.
#[test]
fn pbrl_without_its_betas() {
    let none = [
        "pbrl.beta_in=0",
        "pbrl.beta_ood=0",
        "pbrl.beta_next=0",
        "pbrl.floor=none",
        "pbrl.critics=5",
        "pbrl.actor=0",
    ];
    let own = ["sac.target=own", "sac.critics=5", "sac.temperature=fixed(0)", "sac.actor=0"];
    let (pbrl, sac) =
        (critics_after(&small("pbrl", "plain", DIMS, &none)), small("sac", "plain", DIMS, &own));
    close("own targets", &pbrl, &critics_after(&sac));
    for beta in ["pbrl.beta_in=1", "pbrl.beta_ood=1", "pbrl.beta_next=1"] {
        let with = critics_after(&small("pbrl", "plain", DIMS, &[&none[..], &[beta]].concat()));
        assert!(with.iter().zip(&pbrl).any(|(x, y)| (x - y).abs() > 1e-6), "{beta} has no effect");
    }
    let one = critics_after(&small("pbrl", "plain", DIMS, &[&none[..], &["pbrl.critics=1"]].concat()));
    let base = ["sac_n.critics=1", "sac_n.temperature=fixed(0)", "sac_n.actor=0", "sac_n.log_std_min=-20"];
    close("one critic", &one, &critics_after(&small("sac_n", "plain", DIMS, &base)));
}

/// What a trace's metric is with these parameters.
fn metric(trace: &Trace, store: &ReferenceStore, name: &str) -> f64 {
    let inputs = gradcheck::synthetic(trace, 1);
    let values = reference::run(trace, &mut store.clone(), &inputs, Clock::default(), |_| true);
    let (_, node) = trace.metrics.iter().find(|(m, _)| m.name == name).expect("it is logged");
    values[node.index()].as_ref().expect("computed")[0]
}

/// Parameters of order 1/2; of the critics all heads those of the first, if they are to agree.
fn parameters(agent: &Agent, agreeing: bool) -> ReferenceStore {
    let (mut store, mut x) = (ReferenceStore::from(&agent.store), Numbers(5));
    store.values.iter_mut().flatten().for_each(|p| *p = 0.5 * x.unit());
    for group in ["q", "q_target"].iter().filter(|_| agreeing) {
        for p in agent.table.members(agent.table.find_group(group).expect("there are critics")) {
            let shape = agent.table.param(p).shape;
            let head = store.values[p.index()][..shape.rows * shape.cols].to_vec();
            store.values[p.index()].chunks_mut(head.len()).for_each(|h| h.copy_from_slice(&head));
        }
    }
    store
}

#[test]
fn slopes_that_agree_are_alike_and_others_less() {
    let agent = small("edac", "plain", DIMS, &["sac_n.critics=6"]);
    let trace = agent.trace(&Phase::offline(10));
    let alike = metric(&trace, &parameters(&agent, true), "diversity_loss");
    assert!((alike - 6.0).abs() < 1e-6, "six equal critics: {alike}");
    let other = metric(&trace, &parameters(&agent, false), "diversity_loss");
    assert!((-6.0 / 5.0..5.0).contains(&other), "{other}");
}

/// Of every critic, row and component against central differences in the action; layer normalisation included.
#[test]
fn slopes_are_those_of_differences() {
    for net in ["[9, 8]", "\"9x8 layer_norm relu\""] {
        let net = format!("sac_n.critic_hidden={net}");
        let agent = agent("sac_n", "plain", DIMS, &["sac_n.policy_hidden=[4]", "sac_n.critics=3", &net]);
        let t = Tracer::new(agent.table.clone());
        let (s, a) = (t.input("s", DIMS.batch, DIMS.s), t.input("a", DIMS.batch, DIMS.a));
        let critics = agent.learner.critics().expect("it has critics");
        t.output("q", critics.all(s, a));
        t.output("slopes", critics.slopes(s, a));
        let trace = t.finish();
        let (mut store, mut x) = (parameters(&agent, false), Numbers(8));
        let columns: Vec<Vec<f64>> = trace.inputs.iter().map(|i| x.units(i.shape.len())).collect();
        let mut run = |columns: &[Vec<f64>], k: usize| {
            let inputs = ReferenceInputs { columns: columns.to_vec(), noise: Vec::new() };
            let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
            values[trace.outputs[k].1.index()].clone().expect("computed")
        };
        let (slopes, h) = (run(&columns, 1), 1e-6);
        for c in 0..DIMS.a {
            let moved = |d: f64| {
                let mut columns = columns.clone();
                columns[1].iter_mut().skip(c).step_by(DIMS.a).for_each(|a| *a += d);
                columns
            };
            let (up, down) = (run(&moved(h), 0), run(&moved(-h), 0));
            for (i, (up, down)) in up.iter().zip(&down).enumerate() {
                let (slope, difference) = (slopes[i * DIMS.a + c], (up - down) / (2.0 * h));
                assert!(
                    (slope - difference).abs() < 1e-7,
                    "{net}: {i}, {c}: {slope}, differences {difference}"
                );
            }
        }
    }
}

#[test]
fn deviations_of_both_conventions() {
    let t = Tracer::new(Default::default());
    let x = t.input("x", 1, 3).reshape(Shape::new(3, 1, 1));
    t.output("population", deviation(x, 0));
    t.output("unbiased", deviation(x, 1));
    t.output("of one", deviation(x.head(1), 1));
    let trace = t.finish();
    let inputs = ReferenceInputs { columns: vec![vec![1.0, 2.0, 4.5]], noise: Vec::new() };
    let mut store = ReferenceStore::zeros(&trace.table);
    let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
    let got = [0, 1, 2].map(|k| values[trace.outputs[k].1.index()].as_ref().expect("computed")[0]);
    for (got, want) in got.into_iter().zip([(6.5f64 / 3.0).sqrt(), (6.5f64 / 2.0).sqrt(), 0.0]) {
        assert!((got - want).abs() < 1e-12, "{got}, not {want}");
    }
}

const E2O: [&str; 4] = ["cql.order=d3rlpy", "cql.critics=5", "e2o.weight=batch", "e2o.target=pairs"];

/// What a target says of the action of every row, with the same numbers for the values whatever it is.
fn values_of(target: &str, store: Option<&ReferenceStore>) -> Vec<f64> {
    let agent = small("cql", "e2o", DIMS, &[&E2O[..], &[target]].concat());
    let store = store.cloned().unwrap_or_else(|| parameters(&agent, false));
    let t = Tracer::new(agent.table.clone());
    let phase = online(10);
    let b = Round::new(&t, DIMS, &phase, agent.learner.as_ref(), agent.adaptation.as_ref());
    let critics = agent.learner.target_critics().expect("many");
    t.output("value", b.value(critics, b.s2, b.a));
    let trace = t.finish();
    let inputs = gradcheck::synthetic(&trace, 2);
    let values = reference::run(&trace, &mut store.clone(), &inputs, Clock::default(), |_| true);
    let (_, node) = trace.outputs.iter().find(|(name, _)| *name == "value").expect("named");
    values[node.index()].clone().expect("computed")
}

#[test]
fn targets_of_e2o_lie_between_the_least_and_the_mean() {
    let [least, pairs, mean] = ["min", "pairs", "mean"].map(|t| values_of(&format!("e2o.target={t}"), None));
    for ((least, pairs), mean) in least.iter().zip(&pairs).zip(&mean) {
        assert!(least < pairs && pairs < mean, "{least} < {pairs} < {mean}");
    }
    for target in ["random_pair", "rem"] {
        let drawn = values_of(&format!("e2o.target={target}"), None);
        assert!(drawn.iter().zip(&least).all(|(x, least)| x >= least), "{target}");
        assert!(drawn.iter().zip(&mean).any(|(x, mean)| (x - mean).abs() > 1e-6), "{target}");
    }
    // Critics that agree are of one opinion whatever is made of them.
    let agent = small("cql", "e2o", DIMS, &E2O);
    let agreeing = parameters(&agent, true);
    let least = values_of("e2o.target=min", Some(&agreeing));
    for target in ["pairs", "mean", "random_pair", "rem"] {
        close(target, &values_of(&format!("e2o.target={target}"), Some(&agreeing)), &least);
    }
}

#[test]
fn critics_that_agree_have_weight_one() {
    for (algo, weight) in [("cql", "batch"), ("cql", "row"), ("td3_bc", "batch"), ("td3_bc", "row")] {
        let weight = format!("e2o.weight={weight}");
        let agent = small(algo, "e2o", DIMS, &["td3.critics=4", "cql.critics=4", &weight, "e2o.draws=3"]);
        let trace = agent.trace(&online(10));
        assert_eq!(metric(&trace, &parameters(&agent, true), "critic_weight"), 1.0, "{algo} {weight}");
        let other = metric(&trace, &parameters(&agent, false), "critic_weight");
        assert!((0.5..1.0).contains(&other), "{algo} {weight}: {other}");
    }
}

/// Bases with other policies' losses than TD3's take its target, and so another one in its place.
#[test]
fn targets_over_td3_are_loosened_too() {
    let targets = |algo: &str, target: &str| {
        let target = format!("e2o.target={target}");
        let agent =
            small(algo, "e2o", DIMS, &["td3.critics=4", "rebrac.critics=4", &target, "e2o.weight=off"]);
        let trace = agent.trace(&online(10));
        metric(&trace, &parameters(&agent, false), "critic_loss")
    };
    for algo in ["td3", "td3_bc", "wpc", "prdc", "spot", "rebrac"] {
        assert_ne!(targets(algo, "pairs"), targets(algo, "min"), "{algo}: its target stays");
    }
}

/// What an explorer does, what an evaluation does and the policy's mode; the first draw is the mode.
fn actions(algo: &str, sets: &[&str], of_critics: impl Fn(&mut Vec<f64>)) -> [Vec<f64>; 3] {
    let sets = [&["cql.critics=4", "td3.critics=4", "e2o.draws=3"], sets].concat();
    let agent = small(algo, "e2o", DIMS, &sets);
    let how = match agent.learner.policy().has_density() {
        true => Acting::Sample,
        false => Acting::Noise { scale: 0.3, clip: 1.0 },
    };
    let t = Tracer::new(agent.table.clone());
    let s = t.input("s", DIMS.batch, DIMS.s);
    t.output("explored", agent.adaptation.act(agent.learner.as_ref(), s, how));
    t.output("greedy", agent.adaptation.act(agent.learner.as_ref(), s, Acting::Greedy));
    t.output("mode", agent.learner.policy().mode(s));
    let trace = t.finish();
    assert_eq!(trace.noises.len(), 3, "three draws");
    let mut inputs = gradcheck::synthetic(&trace, 2);
    inputs.noise[0].fill(0.0);
    let mut store = parameters(&agent, false);
    let q = agent.table.find_group("q").expect("there are critics");
    agent.table.members(q).for_each(|p| of_critics(&mut store.values[p.index()]));
    let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
    [0, 1, 2].map(|k| values[trace.outputs[k].1.index()].clone().expect("computed"))
}

#[test]
fn an_explorer_takes_the_most_promising_draw_and_the_first_of_equal_ones() {
    for algo in ["cql", "td3_bc"] {
        let [explored, greedy, mode] = actions(algo, &[], |_| ());
        assert_eq!(greedy, mode, "{algo}: an evaluation does not explore");
        assert_ne!(explored, mode, "{algo}: another draw promises more somewhere");
        let [other, ..] = actions(algo, &["e2o.bonus=0"], |_| ());
        assert_ne!(explored, other, "{algo}: the bonus has no effect");
        let [indifferent, _, mode] = actions(algo, &[], |q| q.fill(0.0));
        assert_eq!(indifferent, mode, "{algo}: critics that see no difference");
    }
}

#[test]
fn e2o_is_refused_where_no_target_takes_a_least() {
    for (algo, sets, reason) in [
        ("iql", &[][..], "the least of several target critics"),
        ("fql", &[], "the least of several target critics"),
        ("sac", &["sac.target=own"], "the least of several target critics"),
        ("cql", &["cql.ensemble=2"], "cql.ensemble = 1"),
        ("td3", &["td3.critics=1"], "raise their number"),
    ] {
        let config = common::config(algo, "e2o", 1, sets);
        let Err(error) = Agent::new(&config, DIMS) else { panic!("{algo} is not refused") };
        let error = error.to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{algo}: {error}");
    }
}
