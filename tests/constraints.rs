//! Methods that keep a policy near the data, and those without one: what each must be equal to, and that each trains and
//! fine-tunes to the same bytes however it is cut.

mod common;

use std::sync::Mutex;

use baq::algo::{self, Dims, Phase};
use baq::audit::gradcheck;
use baq::autodiff::reference::{self, ReferenceStore};
use baq::autodiff::{Clock, Effect, Item, Node, Noise, Op, Program, Select, Trace, Tracer, Workspace};
use baq::config::{Config, DataConfig, RunConfig};
use baq::env::{self, Env, EnvError, Spec, Step};
use baq::nn::Acting;
use baq::replay;
use baq::replay::pools::ONLINE;
use baq::rng::Stream;
use baq::train::agent::Agent;
use baq::train::batches::Batches;
use baq::train::data::{self, Recorded, Scales};
use baq::train::evaluate::Evaluator;
use baq::train::metrics::{self, Stamp};
use baq_datasets::scale::{ObservationScale, RewardScale};
use common::place::Place;
use common::program::succeed;
use common::{Learning, assert_same, bits, config, of_groups, online, pools};

const DIMS: Dims = Dims { s: 4, a: 2, batch: 16 };

fn small(algo: &str, sets: &[&str]) -> Agent {
    common::small(algo, "plain", DIMS, sets)
}

/// Parameters and moments of these groups after rounds of `phase`, from the parameters of another agent with the same first
/// groups.
fn learned(
    agent: Agent,
    from: &Agent,
    phase: &Phase,
    rounds: usize,
    groups: &[&str],
) -> Vec<(String, Vec<u32>)> {
    let mut learning = Learning::new(agent, phase, Select::WITHOUT_METRICS);
    let store = &mut learning.agent.store;
    store.values.iter_mut().zip(&from.store.values).for_each(|(to, from)| to.clone_from(from));
    (0..rounds).for_each(|_| learning.round());
    of_groups(bits(&learning.agent.store), groups)
}

/// ReBRAC without both penalties is TD3 with normalised critics: the losses in every round, and the targets in the first, where
/// its own target of the policy stays behind.
#[test]
fn rebrac_without_penalties_is_td3() {
    let net = "=\"9x8 relu layer_norm\"";
    let nets = [
        format!("rebrac.policy_hidden{net}"),
        format!("rebrac.critic_hidden{net}"),
        format!("td3.hidden{net}"),
    ];
    for (polyak, rounds) in [("0", 4), ("0.5", 1)] {
        let rates = [format!("td3.polyak={polyak}"), format!("rebrac.polyak={polyak}")];
        let td3 = [&nets[2], &rates[0], "td3.critics=1", "td3.actor=0.001", "td3.critic=0.001"];
        let mut free: Vec<&str> =
            vec![&nets[0], &nets[1], &rates[1], "rebrac.critics=1", "rebrac.normalise=false"];
        let kept = free.clone();
        free.extend(["rebrac.cloning=0", "rebrac.target_cloning=0"]);
        let from = small("td3", &td3);
        let of = |algo: &str, sets: &[&str]| {
            let groups = ["pi", "q", "q_target"];
            learned(small(algo, sets), &from, &Phase::offline(100), rounds, &groups)
        };
        let base = of("td3", &td3);
        assert_same("rebrac", &of("rebrac", &free), &base);
        assert_ne!(of("rebrac", &kept), base, "the penalties do nothing");
    }
    let target =
        |algo: &str| learned(small(algo, &[]), &small(algo, &[]), &Phase::offline(9), 1, &["pi_target"]);
    let begin =
        |algo: &str| learned(small(algo, &[]), &small(algo, &[]), &Phase::offline(9), 0, &["pi_target"]);
    assert_same("the policy's target follows the policy of before", &target("rebrac"), &begin("rebrac"));
    assert_ne!(target("td3"), begin("td3"));
}

/// wPC that clones all rows is TD3+BC, and so is PRDC where states alone count in the distance.
#[test]
fn methods_over_td3_are_td3_bc_at_their_limits() {
    let groups = ["pi", "pi_target", "q", "q_target"];
    let from = small("td3_bc", &[]);
    for phase in [Phase::offline(100), online(100)] {
        let of = |algo: &str, sets: &[&str]| learned(small(algo, sets), &from, &phase, 4, &groups);
        let base = of("td3_bc", &[]);
        assert_same("wpc", &of("wpc", &["wpc.rows=all"]), &base);
        assert_ne!(of("wpc", &[]), base, "every row is cloned");
        assert_same("prdc", &of("prdc", &["prdc.state_scale=1000000"]), &base);
        assert_ne!(of("prdc", &["prdc.state_scale=0.001"]), base, "the nearest transition is the row's own");
        assert_ne!(of("prdc", &["prdc.alpha=0"]), base, "the scale of Q does nothing");
    }
}

/// The action that PRDC is drawn to is that of the nearest of all rows that are there, also once rows have given way.
#[test]
fn prdc_finds_the_nearest_of_the_rows_that_are_there() {
    const SCALE: f32 = 0.5;
    let mut agent = small("prdc", &["prdc.state_scale=0.5"]);
    let program = Program::compile(&agent.trace(&online(9)), Select::WITHOUT_METRICS);
    let mut workspace = Workspace::new(&program);
    let t = Tracer::new(agent.table.clone());
    t.output("a", agent.learner.policy().act(t.input(replay::S, DIMS.batch, DIMS.s), Acting::Greedy));
    let acting = Program::compile(&t.finish(), Select::ALL);
    let mut acts = Workspace::new(&acting);

    let mut batches = Batches::uniform(pools(DIMS, &[], 200, 30), (3, Stream::Batch), DIMS.batch);
    batches = batches.with_neighbours(&agent);
    let mut others = 0;
    for round in 0..12 {
        batches.draw(&mut agent, round, round).expect("uniform draws");
        batches.seek(&mut agent);
        batches.fill(&mut workspace, &program);
        let pools = batches.pools();
        let (s, a) = (pools.column(replay::S), pools.column(replay::A));
        let rows: Vec<usize> = batches.rows().iter().map(|&row| row as usize).collect();
        let states: Vec<f32> = rows.iter().flat_map(|&row| pools.get(row, s).to_vec()).collect();
        acts.input_mut(&acting, replay::S).expect("it is read").copy_from_slice(&states);
        acting.run(&mut acts, &mut agent.store, Clock::default(), Noise::Seed(0));
        let found = workspace.input_mut(&program, replay::NEAREST).expect("it is read").to_vec();
        for (k, action) in acts.output(&acting, "a").chunks_exact(DIMS.a).enumerate() {
            let distance = |row: &usize| {
                let states =
                    pools.get(*row, s).iter().zip(pools.get(rows[k], s)).map(|(x, y)| SCALE * (x - y));
                let actions = pools.get(*row, a).iter().zip(action).map(|(x, y)| x - y);
                states.chain(actions).map(|d| d * d).sum::<f32>()
            };
            let all = pools.iter().flat_map(|pool| pool.rows());
            let nearest = all.min_by(|x, y| distance(x).total_cmp(&distance(y))).expect("there are rows");
            assert_eq!(&found[k * DIMS.a..][..DIMS.a], pools.get(nearest, a), "row {k} of round {round}");
            others += usize::from(nearest != rows[k]);
        }
        // Other transitions in the place of some.
        let mut record = vec![0.0; pools.layout().width()];
        for i in 0..7 {
            record
                .iter_mut()
                .enumerate()
                .for_each(|(j, x)| *x = ((round * 7 + i) as f32 + j as f32 * 1.3).sin());
            batches.pools_mut().push(ONLINE, &record);
        }
    }
    assert!(others > 20, "the nearest row was another one {others} times");
}

/// Critics that say 0 everywhere do not make losses of infinities.
#[test]
fn the_scale_of_q_has_a_floor() {
    for (algo, sets) in [
        ("td3_bc", &[][..]),
        ("wpc", &[]),
        ("prdc", &[]),
        ("spot", &[]),
        ("rebrac", &[]),
        ("sac_ml", &[]),
        ("fql", &["fql.normalise=true"]),
    ] {
        let still = ["td3.critic=0", "rebrac.critic=0", "sac_ml.critic=0"];
        let agent = small(algo, &[&still[..], sets].concat());
        let trace = agent.trace(&Phase::offline(9));
        let mut store = ReferenceStore::from(&agent.store);
        for p in agent.table.members(agent.table.find_group("q").expect("there are critics")) {
            store.values[p.index()].fill(0.0);
        }
        let inputs = gradcheck::synthetic(&trace, 1);
        let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
        let (_, node) = trace.metrics.iter().find(|(m, _)| m.name == "q_weight").expect("it is logged");
        let weight = values[node.index()].as_ref().expect("computed")[0];
        assert!(weight.is_finite() && weight > 1e7, "{algo}: {weight}");
        assert!(trace.loss("policy", &values).is_finite(), "{algo}");
    }
}

/// Online the weights fall in a straight line, but not below their floors. SPOT counts its rounds from 1.
#[test]
fn constraints_fade_online() {
    for (algo, key, first) in [
        ("spot", "spot.cooling_floor", 1),
        ("rebrac", "rebrac.cloning_floor", 0),
        ("brac", "brac.cooling_floor", 0),
    ] {
        let agent = |floor: &str| small(algo, &[&format!("{key}={floor}")]);
        let left = |trace: &Trace| trace.hypers.iter().position(|h| h.name == "left");
        assert!(left(&agent("1").trace(&online(10))).is_none(), "{algo}");
        assert!(left(&agent("0.2").trace(&Phase::offline(10))).is_none(), "{algo}: the weight falls offline");
        let agent = agent("0.2");
        let trace = agent.trace(&online(10));
        let left = left(&trace).expect("it falls");
        let nodes = trace.graph.nodes();
        let of_left = |node: &Node| nodes[node.args[0].index()].op == Op::Hyper(left);
        let floored =
            nodes.iter().position(|n| matches!(n.op, Op::Unary(_)) && of_left(n)).expect("it has a floor");
        for round in 0..12 {
            let clock = Clock { round, phase_round: round };
            let inputs = gradcheck::synthetic(&trace, 1);
            let values =
                reference::run(&trace, &mut ReferenceStore::from(&agent.store), &inputs, clock, |_| true);
            let got = values[floored].as_ref().expect("computed")[0];
            let want = (1.0 - (round + first) as f64 / 10.0).max(0.2);
            assert!((got - want).abs() < 1e-12, "{algo}, round {round}: {got}, expected {want}");
        }
    }
}

/// Metrics of one round, by name.
fn metrics(mut learning: Learning) -> Vec<(&'static str, f32)> {
    learning.round();
    let program = &learning.program;
    program.metrics().map(|m| m.name).zip(learning.workspace.metrics(program)).collect()
}

fn metric(all: &[(&'static str, f32)], name: &str) -> f32 {
    all.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no metric {name}")).1
}

/// The divergence from a behaviour that is the policy is 0 within its sampling error, and not from another one.
#[test]
fn brac_measures_no_divergence_from_itself() {
    for kind in ["kl", "mmd"] {
        let sets = [&format!("brac.divergence={kind}"), "brac.samples=32"];
        let of = |same: bool| {
            let mut agent = small("brac", &sets);
            if same {
                let find = |name| agent.table.find_group(name).expect("declared");
                let (pi, b) = (find("pi"), find("behaviour"));
                agent.store.copy_group(pi, b);
            } else {
                // A behaviour of another mean.
                let b = agent.table.find_group("behaviour").expect("declared");
                let last = agent.table.members(b).last().expect("it has tensors");
                agent.store.values[last.index()].fill(1.5);
            }
            metric(&metrics(Learning::new(agent, &Phase::offline(9), Select::ALL)), "divergence")
        };
        let (own, other) = (of(true), of(false));
        assert!(
            own.abs() < 0.02 && other > 4.0 * own.abs(),
            "{kind}: {own} from itself, {other} from another"
        );
    }
}

/// Without a divergence BRAC is SAC without entropy.
#[test]
fn brac_without_a_divergence_is_sac() {
    let sac = [
        "sac.order=cleanrl",
        "sac.temperature=fixed(0)",
        "sac.log_std_min=-5",
        "sac.polyak=0",
        "sac.init=torch",
    ];
    let sac = [&sac[..], &["sac.actor=0.001", "sac.critic=0.001"]].concat();
    let brac = [
        "brac.penalty=policy",
        "brac.cloning_rounds=0",
        "brac.polyak=0",
        "brac.actor=0.001",
        "brac.critic=0.001",
    ];
    let from = small("sac", &sac);
    let of =
        |algo: &str, sets: &[&str]| learned(small(algo, sets), &from, &Phase::offline(9), 4, &["pi", "q"]);
    let base = of("sac", &sac);
    let with = |weight: &'static str| of("brac", &[&brac[..], &[weight]].concat());
    assert_same("brac", &with("brac.weight=fixed(0)"), &base);
    assert_ne!(with("brac.weight=fixed(1)"), base, "the divergence does nothing");
}

/// A round of the dual form: the discriminator after the policy, on its share of the rows, the weight between. The target compares
/// with the action recorded in s', which is there offline alone.
#[test]
fn the_dual_form_takes_its_steps_in_order() {
    let agent = |sets: &[&str]| small("brac", &[&["brac.divergence=dual_kl"], sets].concat());
    let trace = agent(&["brac.weight=learned(0.1)"]).trace(&Phase::offline(9));
    assert_eq!(updates(&trace), ["q", "policy", "c", "divergence weight", "c 2", "c 3"]);
    let one = agent(&["brac.discriminator_steps=1"]).trace(&Phase::offline(9));
    assert_eq!(updates(&one), ["q", "policy", "c"]);
    let first = trace.items.first().expect("it has updates");
    assert!(matches!(first.effect, Effect::Polyak { .. }), "the target moves first");
    for (set, phase, reads) in [
        ("brac.penalty=value", Phase::offline(9), true),
        ("brac.penalty=policy", Phase::offline(9), false),
        ("brac.penalty=value", online(9), false),
    ] {
        let agent = agent(&[set]);
        let read = agent.trace(&phase).inputs.iter().any(|i| i.name == replay::NEXT_ACTION);
        assert_eq!((read, agent.learner.next_action()), (reads, set == "brac.penalty=value"), "{set}");
    }
}

/// The dual form judges the action whose value is taken: Q and the policy have one draw each. The steps of the discriminator and
/// that of the weight have their own.
#[test]
fn the_dual_form_judges_the_action_whose_value_is_taken() {
    let sets = ["brac.divergence=dual_kl", "brac.weight=learned(0.1)"];
    let trace = small("brac", &sets).trace(&Phase::offline(9));
    let names = trace.noises.iter().map(|n| n.name.as_str());
    let of_pi: Vec<&str> = names.filter_map(|name| name.strip_prefix("noise of pi")).collect();
    assert_eq!(of_pi, ["(s'[0])", "(s[0])", "(s[0])", "(s[0])", "(s[1])", "(s[2])"]);
}

/// Divergence and slope that the discriminator finds after so many rounds, between a policy that takes -0.3 and recorded
/// actions `recorded` of each row and round.
fn discriminated(rounds: u64, recorded: impl Fn(u64, usize) -> f32) -> (f32, f32) {
    let dims = Dims { s: 1, a: 1, batch: 48 };
    let sets = ["brac.divergence=dual_kl", "brac.penalty=policy", "brac.critic_hidden=[24,24]"];
    let mut agent = common::small("brac", "plain", dims, &sets);
    let pi = agent.table.find_group("pi").expect("declared");
    let last: Vec<usize> = agent.table.members(pi).map(|p| p.index()).collect();
    let [.., weight, bias] = last[..] else { panic!("layers of two tensors") };
    agent.store.values[weight].fill(0.0);
    agent.store.values[bias].copy_from_slice(&[(-0.3f32).atanh(), -9.0]);
    let policy = agent.store.clone();
    let trace = agent.trace(&Phase::offline(rounds));
    let program = Program::compile(&trace, Select::ALL);
    let mut workspace = Workspace::new(&program);
    for round in 0..rounds {
        for input in &trace.inputs {
            let Some(to) = workspace.input_mut(&program, input.name) else { continue };
            match input.name {
                replay::A => to.iter_mut().enumerate().for_each(|(row, x)| *x = recorded(round, row)),
                _ => to.fill(0.2),
            }
        }
        program.run(&mut workspace, &mut agent.store, Clock { round, phase_round: round }, Noise::Seed(4));
        last.iter().for_each(|&i| agent.store.values[i].clone_from(&policy.values[i]));
    }
    let all: Vec<_> = program.metrics().map(|m| m.name).zip(workspace.metrics(&program)).collect();
    (metric(&all, "divergence"), metric(&all, "discriminator_slope"))
}

/// Of two actions at a distance d the best discriminator rises evenly from one to the other: from c to c + g d, where
/// 1 + log φ(c + g d) - φ(c) - 5 max(0, g - 1)² is largest.
#[test]
fn the_discriminator_finds_what_its_loss_is_best_at() {
    let (divergence, slope) = discriminated(4000, |_, _| 0.5);
    let (d, phi) = (0.8f64, |x: f64| x.exp().ln_1p());
    let value = |c: f64, g: f64| 1.0 + phi(c + g * d).ln() - phi(c);
    let grid =
        (0..400).flat_map(|i| (0..400).map(move |j| (-2.0 + 0.01 * f64::from(i), 0.005 * f64::from(j))));
    let loss = |(c, g): (f64, f64)| 5.0 * (g - 1.0).max(0.0).powi(2) - value(c, g);
    let (c, g) = grid.min_by(|x, y| loss(*x).total_cmp(&loss(*y))).expect("there are points");
    assert!((f64::from(slope) - g).abs() < 0.02, "slope {slope}, the best is {g}");
    let best = value(c, g);
    assert!((f64::from(divergence) - best).abs() < 0.02, "divergence {divergence}, the best is {best}");
}

/// Actions that are the policy's own are at no divergence, whatever the discriminator learns; others are at some.
#[test]
fn the_discriminator_finds_no_divergence_from_itself() {
    // -0.3 within the policy's spread, by other draws.
    let own = |round: u64, row: usize| -0.3 + 0.006 * ((round * 48 + row as u64) as f32 * 2.4).sin();
    let (same, _) = discriminated(600, own);
    let (other, _) = discriminated(600, |_, _| 0.5);
    assert!(same.abs() < 0.01 && other > 0.3, "{same} from itself, {other} from another");
}

/// A maximum over one draw adds nothing; over many it adds something.
#[test]
fn emaq_gains_by_more_draws() {
    let gain = |n: usize| {
        let agent = small("emaq", &[&format!("emaq.samples={n}")]);
        metric(&metrics(Learning::new(agent, &Phase::offline(9), Select::ALL)), "backup_gain")
    };
    let gains = [1, 4, 64].map(gain);
    assert!(gains[0] == 0.0 && 0.0 < gains[1] && gains[1] < gains[2], "{gains:?}");
}

/// EMaQ acts by the draw that its critics value most.
#[test]
fn emaq_acts_by_the_best_draw() {
    let agent = small("emaq", &["emaq.candidates=8", "emaq.exploring_share=0"]);
    let t = Tracer::new(agent.table.clone());
    let s = t.input(replay::S, 32, DIMS.s);
    let critics = agent.learner.critics().expect("it has critics");
    for (name, how) in [("greedy", Acting::Greedy), ("sample", Acting::Sample)] {
        t.output(name, critics.min(s, agent.learner.act(s, how)));
    }
    let one = small("emaq", &["emaq.candidates=1"]);
    t.output("one", critics.min(s, one.learner.act(s, Acting::Greedy)));
    let program = Program::compile(&t.finish(), Select::ALL);
    let mut workspace = Workspace::new(&program);
    let mut store = agent.store.clone();
    workspace.input_mut(&program, replay::S).expect("it is read").fill(0.3);
    program.run(&mut workspace, &mut store, Clock::default(), Noise::Seed(3));
    let mean = |name: &str| workspace.output(&program, name).iter().sum::<f32>() / 32.0;
    let (greedy, sample, one) = (mean("greedy"), mean("sample"), mean("one"));
    assert!(greedy > one && sample > one, "{greedy} and {sample} of eight, {one} of one");
}

/// A policy that acts with noise does so in every step and episode of an evaluation.
#[test]
fn fql_draws_in_every_step_of_an_evaluation() {
    static SPEC: Spec = Spec::new("still", DIMS.s, DIMS.a, 5);
    static SEEN: Mutex<Vec<Vec<u32>>> = Mutex::new(Vec::new());
    struct Still(usize);
    impl Env for Still {
        fn spec(&self) -> &Spec {
            &SPEC
        }
        fn reset(&mut self, _: u64, _: u64, obs: &mut [f64]) {
            self.0 = 0;
            obs.fill(0.5);
        }
        fn step(&mut self, action: &[f32], _: &mut [f64]) -> Result<Step, EnvError> {
            SEEN.lock().unwrap().push(action.iter().map(|x| x.to_bits()).collect());
            self.0 += 1;
            Ok(Step::new(0.0, false, self.0 == 5))
        }
        fn state(&self) -> Vec<f64> {
            Vec::new()
        }
        fn set_state(&mut self, _: &[f64]) -> Result<(), EnvError> {
            Ok(())
        }
    }
    env::register(&SPEC, || Ok(Box::new(Still(0)))).unwrap();
    let scales = Scales {
        observation: ObservationScale::identity(DIMS.s),
        reward: RewardScale::IDENTITY,
        action: None,
    };
    for (algo, draws) in [("fql", true), ("td3", false)] {
        SEEN.lock().unwrap().clear();
        let mut agent = small(algo, &[]);
        let mut evaluator = Evaluator::new(&agent, "still", 2, 1).unwrap();
        for number in 0..2 {
            let stamp = Stamp { phase: metrics::Phase::Online, update: 0, env_step: 0 };
            evaluator.run(&mut agent.store, &scales, number, stamp).unwrap();
        }
        let mut seen = SEEN.lock().unwrap().clone();
        seen.sort();
        seen.dedup();
        // 2 evaluations of 2 episodes of 5 steps.
        assert_eq!(seen.len(), if draws { 20 } else { 1 }, "{algo}");
    }
}

/// FQL's policy takes a fresh z whenever it acts, and stays inside the actions there are.
#[test]
fn fql_draws_whenever_it_acts() {
    let agent = small("fql", &[]);
    let t = Tracer::new(agent.table.clone());
    let s = t.input(replay::S, 32, DIMS.s);
    t.output("a", agent.learner.act(s, Acting::Greedy));
    let program = Program::compile(&t.finish(), Select::ALL);
    let mut workspace = Workspace::new(&program);
    workspace.input_mut(&program, replay::S).expect("it is read").fill(0.3);
    let mut store = agent.store.clone();
    store.values.iter_mut().flat_map(|tensor| tensor.iter_mut()).for_each(|x| *x *= 3.0);
    program.run(&mut workspace, &mut store, Clock::default(), Noise::Seed(3));
    let a = workspace.output(&program, "a");
    assert!(a.iter().all(|x| x.abs() <= 1.0) && a[..2] != a[2..4], "{a:?}");
}

/// Names of the updates of a round, in order.
fn updates(trace: &Trace) -> Vec<&'static str> {
    let of = |item: &Item| match &item.effect {
        Effect::Train { name, .. } => Some(*name),
        Effect::Polyak { .. } => None,
    };
    trace.items.iter().filter_map(of).collect()
}

/// WSRL's round gives every row to one step of the critics, and all rows to the policy.
#[test]
fn wsrl_shares_a_round_out() {
    let trace = |sets: &[&str]| small("wsrl", sets).trace(&online(9));
    let names = |sets: &[&str]| updates(&trace(sets));
    assert_eq!(names(&[]), ["q", "q 2", "q 3", "q 4", "policy", "temperature"]);
    assert_eq!(names(&["wsrl.critic_steps=1"]), ["q", "policy", "temperature"]);
    let idle = names(&["wsrl.critic_steps=2", "wsrl.compat_idle_steps=true"]);
    let expected =
        "q,policy idle,temperature idle,q 2,policy idle 2,temperature idle 2,policy,temperature,q idle";
    assert_eq!(idle.join(","), expected);
}

/// The next action of a row is the action of the row after it in its episode, where the next state is that row's state.
#[test]
fn next_actions_are_those_of_the_row_after() {
    let place = Place::of(1_000);
    let mut config: Config = config("rebrac", "plain", 0, &[]);
    let run = RunConfig { dataset: place.path("toy.hdf5").display().to_string(), ..config.section() };
    config.put(run);
    config.put(DataConfig::default());
    let dataset = data::load(&config).unwrap_or_else(|e| panic!("{e}"));
    let c = &dataset.columns;
    let rows: Vec<usize> = (0..c.len()).step_by(3).collect();
    let recorded = Recorded { next_action: true, ..Recorded::default() };
    let pools = dataset.pools(&rows, 0, &[], recorded).unwrap_or_else(|e| panic!("{e}"));
    let column = pools.column(replay::NEXT_ACTION);
    let (mut known, mut ends) = (0, 0);
    for (k, &i) in rows.iter().enumerate() {
        let next = pools.get(k, column);
        if next[1] == 1.0 {
            known += 1;
            assert_eq!(next[0], c.actions[[i + 1, 0]], "row {i}");
            assert_eq!(c.next_observations.row(i), c.observations.row(i + 1), "row {i}");
        } else {
            ends += 1;
            assert_eq!(next, [0.0, 0.0], "row {i}");
            assert!(i + 1 == c.len() || c.next_observations.row(i) != c.observations.row(i + 1), "row {i}");
        }
    }
    assert!(known > 100 && ends > 3, "{known} rows with a next action, {ends} without");
}

impl Place {
    #[track_caller]
    fn baq(&self, line: &str) {
        succeed(&self.0, line);
    }

    fn assert_equal(&self, a: &str, b: &str) {
        for file in ["checkpoint.safetensors", "metrics.csv", "evaluations.csv"] {
            let read = |run: &str| {
                std::fs::read(self.path(run).join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
            };
            assert!(read(a) == read(b), "{file} of {a} and {b} differ");
        }
    }
}

/// Options that make the runs of a method short and its networks small, also of a model that it fits.
fn short(algo: &str, fits: bool) -> String {
    let entry = algo::find(algo).expect("in the registry");
    let mut sets = String::new();
    for section in common_sections() {
        for field in section.fields().iter().filter(|_| entry.sections().contains(&section.name())) {
            let value = match field.key {
                key if key.ends_with("hidden") => "[9,8]",
                "vae_updates" | "behaviour_updates" if fits => "25",
                "samples" if section.name() == "cql" => "2",
                _ => continue,
            };
            sets += &format!(" --set {}.{}={value}", section.name(), field.key);
        }
    }
    sets
}

fn common_sections() -> Vec<Box<dyn baq::config::AnySection>> {
    baq::cli::setup::known_sections()
}

/// Each trains and goes on online on a short schedule; a run that was ended and made longer, or has other threads, has the
/// bytes of the one that was planned so.
#[test]
fn every_one_trains_and_fine_tunes_to_the_same_bytes() {
    let dual = " --set brac.divergence=dual_kl --set brac.weight=learned(0.1)";
    for (algo, more) in [
        ("rebrac", ""),
        ("spot", ""),
        ("wsrl", ""),
        ("fql", ""),
        ("wpc", ""),
        ("prdc", ""),
        ("brac", ""),
        ("brac", dual),
        ("emaq", ""),
    ] {
        let place = Place::of(1_000);
        let all = format!(
            "train --algo {algo} --data toy.hdf5 --env toy --quiet --set offline.batch=16 --set offline.checkpoint_every=10 \
             --set offline.log_every=7 --set offline.eval_every=20 --set offline.eval_episodes=1{}{more}",
            short(algo, more != dual)
        );
        place.baq(&format!("{all} --threads 1 --updates 40 --set offline.schedule_updates=20 --out whole"));
        place.baq(&format!("{all} --threads 2 --updates 20 --out parts"));
        place.baq("train --resume parts --extend offline=40 --threads 2 --quiet");
        place.assert_equal("whole", "parts");
        place.baq(&format!("{all} --threads 1 --updates 10 --ledger --out seen"));
        place.baq("audit verify seen --threads 2");

        let all = "finetune --adapt plain --quiet --set online.batch=16 --set online.capacity=3000 \
             --set online.warmup_steps=6 --set online.checkpoint_every=5 --set online.log_every=3 \
             --set online.eval_every=10 --set online.eval_episodes=1";
        place.baq(&format!(
            "{all} --from whole --threads 1 --env-steps 30 --set online.schedule_steps=15 --out long"
        ));
        place.baq(&format!("{all} --from parts --threads 2 --env-steps 15 --out grown"));
        place.baq("finetune --resume grown --extend online=30 --threads 2 --quiet");
        place.assert_equal("long", "grown");
        place.baq(&format!("{all} --from whole --threads 1 --env-steps 10 --ledger --out seen_online"));
        place.baq("audit verify seen_online --threads 2");
    }
}
