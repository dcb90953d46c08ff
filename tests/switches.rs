//! What happens at the switch and shortly after: OPT's new critics, ACA's critics from baselines; and the family of FamO2O over
//! CQL.
//!
//! Above 400 lines because runs and traces are made by the same few functions.

mod common;

use std::path::{Path, PathBuf};

use baq::algo::{Dims, Phase, Round};
use baq::audit::gradcheck;
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{
    Adam, Axis, Clock, Effect, ParamId, ParamTable, Role, Schedule, Select, Trace, Tracer, Var,
};
use baq::cli::Common;
use baq::cli::finetune::Start;
use baq::cli::learn::{self, Again, Manner};
use baq::cli::setup::RunArgs;
use baq::cli::train;
use baq::config::Config;
use baq::replay;
use baq::replay::pools::OFFLINE;
use baq::train::agent::Agent;
use baq::train::progress::{Ended, Stop};
use baq::train::state::Saved;
use baq::train::{data, run};
use common::place::{COMMON, Place};
use common::{Learning, Numbers, agent, assert_same, bits, config, of_groups, online, small};

const DIMS: Dims = Dims { s: 4, a: 2, batch: 16 };
type Bits = Vec<(String, Vec<u32>)>;

/// The base's networks after some online rounds on the same batches.
fn learned(algo: &str, adapt: &str, sets: &[&str]) -> Bits {
    let agent = small(algo, adapt, DIMS, sets);
    let mut learning = Learning::new(agent, &online(100), Select::WITHOUT_METRICS);
    (0..6).for_each(|_| learning.round());
    of_groups(bits(&learning.agent.store), &["q", "q_target", "pi", "pi_target"])
}

/// SPOT's support is made for fine-tuning and stays with the scale of Q, TD3+BC's cloning goes, and what a user says wins.
#[test]
fn opt_keeps_the_support_of_spot_alone() {
    for (algo, free) in [("spot", false), ("td3_bc", true)] {
        let with = |sets: &[&str]| learned(algo, "opt", sets);
        let [kept, dropped] = ["opt.unconstrained=false", "opt.unconstrained=true"].map(|set| with(&[set]));
        assert_ne!(kept, dropped, "{algo}: the tie does nothing");
        assert_same(algo, &with(&[]), if free { &dropped } else { &kept });
    }
}

/// Whatever the new critics have learnt, with the weight 0 they change nothing, and without pre-training there are none.
#[test]
fn opt_without_new_critics_is_its_base() {
    let same = ["opt.balanced=false", "opt.unconstrained=false"];
    for algo in ["td3", "td3_bc", "spot"] {
        let base = learned(algo, "plain", &[]);
        let with = |set: &str| learned(algo, "opt", &[&same[..], &[set]].concat());
        assert_same(&format!("{algo}, none"), &with("opt.updates=0"), &base);
        let (without, half) = (with("opt.kappa=0"), with("opt.kappa=0.5"));
        assert_same(&format!("{algo}, weight 0"), &without, &base);
        assert_ne!(
            of_groups(half, &["pi"]),
            of_groups(base, &["pi"]),
            "{algo}: the new critics are not heard"
        );
    }
    // Over TD3+BC cloning is dropped unless it is asked for.
    let free = learned("td3_bc", "opt", &["opt.balanced=false", "opt.kappa=0"]);
    assert_same("td3_bc", &free, &learned("td3", "plain", &[]));
}

/// Gradients that a trace gives the group `name`, and the loss.
fn gradient(trace: &Trace, name: &str, store: &ReferenceStore, inputs: &ReferenceInputs) -> (Tensors, f64) {
    let values = reference::run(trace, &mut store.clone(), inputs, Clock::default(), |_| true);
    let of = |effect: &Effect| match effect {
        Effect::Train { group, gradients, loss, .. } if trace.table.group(*group).name == name => {
            let all = gradients.iter().map(|(_, node)| values[node.index()].clone().expect("computed"));
            Some((all.collect(), values[loss.index()].as_ref().expect("computed")[0]))
        }
        _ => None,
    };
    trace.items.iter().find_map(|item| of(&item.effect)).expect("it is trained")
}

type Tensors = Vec<Vec<f64>>;

/// Σ_j mean ( r - Q_j(s, a) )² on half of the rows, by hand: what L is where every row ends its episode.
fn loss_on_half(table: &std::sync::Arc<ParamTable>, half: usize) -> Trace {
    let t = Tracer::new(table.clone());
    let rows = 2 * DIMS.batch;
    let [s, a, r] = [(replay::S, DIMS.s), (replay::A, DIMS.a), (replay::R, 1)]
        .map(|(name, cols)| t.input(name, rows, cols).rows(half * DIMS.batch, DIMS.batch));
    let group = table.find_group("q_new").expect("the new critics");
    let members: Vec<ParamId> = table.members(group).collect();
    let p = |k: usize| t.param(members[k]);
    let x = s.concat(a).linear(p(0), p(1)).relu().linear(p(2), p(3)).relu().linear(p(4), p(5));
    let loss = (x - r).square().sum(Axis::Heads).mean();
    t.train("half", Role::Critic, group, &Adam::new(Schedule::Constant(0.0)), loss);
    t.finish()
}

/// ∇L_Q° = ∇L_1 + (I - η H) g, with the Hessian of L_1 by differences of its gradient; and for η = 0 the sum of both losses.
#[test]
fn the_gradient_of_pre_training_passes_the_hessian() {
    let eta = 0.05;
    let sets = |eta: f64, exact: bool| [format!("opt.inner_step={eta}"), format!("opt.second_order={exact}")];
    let of = |eta: f64, exact: bool| {
        let [step, order] = sets(eta, exact);
        small("td3_bc", "opt", DIMS, &[&step, &order])
    };
    let agent = of(eta, true);
    let trace = |agent: &Agent| agent.pretraining().pop().expect("the new critics").1;
    let whole = trace(&agent);
    let mut inputs = gradcheck::synthetic(&whole, 3);
    let at = |name| whole.inputs.iter().position(|i| i.name == name).expect("a column");
    let ends = at(replay::M);
    inputs.columns[ends].fill(0.0);
    let mut store = ReferenceStore::from(&agent.store);
    gradcheck::shake(&mut store, 5);

    let halves = [0, 1].map(|half| loss_on_half(&agent.table, half));
    let columns = |trace: &Trace| {
        let names = trace.inputs.iter().map(|i| at(i.name));
        ReferenceInputs { columns: names.map(|k| inputs.columns[k].clone()).collect(), noise: Vec::new() }
    };
    let on = |half: usize, store: &ReferenceStore| {
        gradient(&halves[half], "q_new", store, &columns(&halves[half]))
    };
    let group = agent.table.find_group("q_new").expect("the new critics");
    let moved = |by: f64, along: &Tensors| {
        let mut store = store.clone();
        for (p, d) in agent.table.members(group).zip(along) {
            store.values[p.index()].iter_mut().zip(d).for_each(|(x, d)| *x += by * d);
        }
        store
    };
    let (g1, l1) = on(0, &store);
    let (g, l2) = on(1, &moved(-eta, &g1));
    let h = 1e-5;
    let (up, down) = (on(0, &moved(h, &g)).0, on(0, &moved(-h, &g)).0);
    let flat = |x: &Tensors| x.concat();
    let hessian: Vec<f64> = flat(&up).iter().zip(flat(&down)).map(|(u, d)| (u - d) / (2.0 * h)).collect();
    let expected = |eta: f64| -> Vec<f64> {
        flat(&g1).iter().zip(flat(&g)).zip(&hessian).map(|((a, b), h)| a + b - eta * h).collect()
    };
    let distance = |a: &[f64], b: &[f64]| {
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(b)
    };
    let (got, loss) = gradient(&whole, "q_new", &store, &inputs);
    assert!((loss - l1 - l2).abs() < 1e-12 * loss, "{loss}, {l1} + {l2}");
    assert!(distance(&flat(&got), &expected(eta)) < 1e-7, "{}", distance(&flat(&got), &expected(eta)));
    // Without the Hessian it is another gradient, that of the flag.
    assert!(distance(&expected(0.0), &expected(eta)) > 1e-3);
    let first = gradient(&trace(&of(eta, false)), "q_new", &store, &inputs).0;
    assert!(distance(&flat(&first), &expected(0.0)) < 1e-12);
    // With η = 0 there is nothing between the losses.
    let (got, loss) = gradient(&trace(&of(0.0, true)), "q_new", &store, &inputs);
    let (g2, l2) = on(1, &store);
    let sum: Vec<f64> = flat(&g1).iter().zip(flat(&g2)).map(|(a, b)| a + b).collect();
    assert!((loss - l1 - l2).abs() < 1e-12 * loss && distance(&flat(&got), &sum) < 1e-12);
}

impl Place {
    fn args(&self, sets: &[&str]) -> RunArgs {
        RunArgs {
            sets: sets.iter().map(|s| (*s).to_string()).collect(),
            env: Some("toy".into()),
            data: Some(self.path("toy.hdf5").display().to_string()),
            ..RunArgs::default()
        }
    }

    /// A few offline updates.
    fn offline(&self, algo: &str, sets: &[&str]) -> PathBuf {
        let out = self.path(&[&[algo], sets].concat().join(" "));
        let common = ["offline.updates=4", "offline.batch=8", "offline.eval_episodes=0"];
        let config = self.args(&[&common, sets].concat()).resolve(COMMON, Some(algo), None);
        let config = config.unwrap_or_else(|e| panic!("{algo}: {e}"));
        train::begin(&config, &out, Manner::new(&Stop::default(), true))
            .unwrap_or_else(|e| panic!("{algo}: {e}"));
        out
    }

    fn start(&self, from: &Path, adapt: &str, sets: &[&str]) -> (Start, Config) {
        let start = Start { from: from.into(), model: None };
        let common =
            ["online.eval_episodes=0", "online.batch=8", "online.capacity=2000", "online.log_every=1"];
        let args = self.args(&[&common, sets].concat());
        let config = start.configuration(&args, COMMON, adapt).unwrap_or_else(|e| panic!("{adapt}: {e}"));
        (start, config)
    }
}

fn saved(run: &Path) -> Saved {
    Saved::open(run).unwrap_or_else(|e| panic!("{e}"))
}

fn restored(run: &Path, algo: &str, adapt: &str, sets: &[&str]) -> Bits {
    let mut agent = agent(algo, adapt, saved(run).dims(8).unwrap_or_else(|e| panic!("{e}")), sets);
    saved(run).restore(&mut agent).unwrap_or_else(|e| panic!("{e}"));
    bits(&agent.store)
}

/// First environment steps alone, then the rounds of the new critics, then both; interrupted anywhere it ends with the
/// same bytes. Until the first round of the phase the base stands still.
#[test]
fn opt_collects_then_pre_trains_then_learns() {
    let place = Place::new();
    let nets = ["td3.hidden=[9, 8]"];
    let from = place.offline("td3_bc", &nets);
    let own = ["opt.updates=4", "opt.density_hidden=[9]"];
    let more = ["online.env_steps=6", "online.warmup_steps=3", "opt.critic_updates=2"];
    let sets = [&own[..], &more].concat();
    let (start, config) = place.start(&from, "opt", &sets);
    let (cut, stopped) = (place.path("cut"), Stop::default());
    stopped.request();
    let base = ["q", "q_target", "pi", "pi_target"];
    let all = [&nets[..], &own].concat();
    let before = restored(&from, "td3_bc", "plain", &nets);
    let fresh =
        |all: Bits| -> Bits { all.into_iter().filter(|(path, _)| !path.starts_with("adam.")).collect() };
    let mut seen = Vec::new();
    for k in 0..9 {
        match k {
            0 => start.run(&config, &cut, Manner::new(&stopped, true)),
            _ => learn::go_on(&cut, &Again::default(), None, Manner::new(&stopped, true))
                .map(|(ended, _)| ended),
        }
        .unwrap_or_else(|e| panic!("{e}"));
        let c = saved(&cut).counters().unwrap_or_else(|e| panic!("{e}"));
        seen.push((c.env_step, c.fitted, c.round - c.offline_rounds, c.critic_updates));
        let now = restored(&cut, "td3_bc", "opt", &all);
        let still = fresh(of_groups(now.clone(), &base)) == fresh(of_groups(before.clone(), &base));
        assert_eq!(still, c.critic_updates == 0, "{seen:?}");
        let steps = of_groups(now, &["q_new"])
            .iter()
            .any(|(p, x)| p.starts_with("adam.first") && x.iter().any(|x| *x != 0));
        assert_eq!(steps, c.fitted > 0, "{seen:?}");
    }
    let expected = [
        (1, 0, 0, 0),
        (2, 0, 0, 0),
        (3, 1, 1, 0),
        (3, 2, 2, 0),
        (3, 3, 3, 0),
        (3, 4, 4, 0),
        (4, 4, 5, 1),
        (4, 4, 6, 2),
        (5, 4, 7, 3),
    ];
    assert_eq!(seen, expected);
    let ended = learn::go_on(&cut, &Again::default(), None, Manner::new(&Stop::default(), true));
    assert_eq!(ended.unwrap_or_else(|e| panic!("{e}")).0, Ended::Complete);
    let whole = place.path("whole");
    start.run(&config, &whole, Manner::new(&Stop::default(), true)).unwrap_or_else(|e| panic!("{e}"));
    for file in ["checkpoint.safetensors", "metrics.csv"] {
        let read = |run: &Path| std::fs::read(run.join(file)).expect("a finished run has it");
        assert!(read(&whole) == read(&cut), "{file} differs");
    }
    // A run that goes on from there has its new critics already.
    let (start, config) = place.start(&whole, "opt", &sets);
    let again = place.path("again");
    start.run(&config, &again, Manner::new(&Stop::default(), true)).unwrap_or_else(|e| panic!("{e}"));
    let c = saved(&again).counters().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((c.fitted, c.critic_updates), (0, 6));
}

/// What a function of the round says on random rows, in f64.
fn said(agent: &Agent, store: &ReferenceStore, of: impl for<'t> Fn(&Round<'t>) -> Var<'t>) -> Vec<f64> {
    let t = Tracer::new(agent.table.clone());
    let phase = online(10);
    let b = Round::new(&t, agent.dims, &phase, agent.learner.as_ref(), agent.adaptation.as_ref());
    t.output("said", of(&b));
    let trace = t.finish();
    let inputs = gradcheck::synthetic(&trace, 3);
    let values = reference::run(&trace, &mut store.clone(), &inputs, Clock::default(), |_| true);
    values[trace.outputs[0].1.index()].clone().expect("computed")
}

/// At the switch the baselines become the critics, to the bit: they do not know the action, so that values rank actions as the
/// density of the offline policy does; the temperature is 1 and the policy has a frozen copy. A run that goes on keeps them.
#[test]
fn aca_aligns_the_critics_with_the_policy() {
    let place = Place::new();
    let nets = ["sac_ml.hidden=[9, 8]"];
    let from = place.offline("sac_ml", &nets);
    let (start, config) = place.start(&from, "aca", &["online.env_steps=4", "online.warmup_steps=3"]);
    let (cut, stopped) = (place.path("cut"), Stop::default());
    stopped.request();
    start.run(&config, &cut, Manner::new(&stopped, true)).unwrap_or_else(|e| panic!("{e}"));
    let (before, now) = (restored(&from, "sac_ml", "plain", &nets), restored(&cut, "sac_ml", "aca", &nets));
    let values = |all: &Bits, name: &str| -> Vec<Vec<u32>> {
        let of = all.iter().filter(|(path, _)| path.starts_with(&format!("{name}.")));
        of.map(|(_, x)| x.clone()).collect()
    };
    for (ours, theirs) in [("q", "z"), ("q_target", "z"), ("pi_offline", "pi"), ("pi", "pi")] {
        assert_eq!(values(&now, ours), values(&before, theirs), "{ours}");
    }
    assert_eq!(values(&now, "log_alpha"), [vec![0]]);
    assert_ne!(values(&before, "log_alpha"), [vec![0]]);

    let dims = Dims { batch: 16, ..saved(&cut).dims(8).unwrap_or_else(|e| panic!("{e}")) };
    let mut agent = agent("sac_ml", "aca", dims, &nets);
    saved(&cut).restore(&mut agent).unwrap_or_else(|e| panic!("{e}"));
    let store = ReferenceStore::from(&agent.store);
    let critics = agent.learner.critics().expect("critics");
    // Sixteen actions in one state.
    fn one<'t>(b: &Round<'t>) -> Var<'t> {
        b.s.rows(0, 1).repeat(16)
    }
    let r = said(&agent, &store, |b| critics.all(one(b), b.a));
    for head in r.chunks(16) {
        assert!(head.iter().all(|x| (x - head[0]).abs() < 1e-12), "{head:?}");
    }
    let q = said(&agent, &store, |b| b.value(critics, one(b), b.a));
    let density = said(&agent, &store, |b| agent.learner.policy().log_prob(one(b), b.a));
    let order = |x: &[f64]| {
        let mut order: Vec<usize> = (0..x.len()).collect();
        order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
        order
    };
    assert_eq!(order(&q), order(&density));

    let complete = learn::go_on(&cut, &Again::default(), None, Manner::new(&Stop::default(), true));
    assert_eq!(complete.unwrap_or_else(|e| panic!("{e}")).0, Ended::Complete);
    let (start, config) = place.start(&cut, "aca", &["online.env_steps=2", "online.warmup_steps=1"]);
    let again = place.path("again");
    start.run(&config, &again, Manner::new(&stopped, true)).unwrap_or_else(|e| panic!("{e}"));
    let (before, now) = (restored(&cut, "sac_ml", "aca", &nets), restored(&again, "sac_ml", "aca", &nets));
    for name in ["q", "q_target", "pi", "pi_offline", "log_alpha"] {
        assert_eq!(values(&now, name), values(&before, name), "{name}");
    }
    assert_ne!(values(&now, "q"), values(&now, "z"));
    // Others would take what is left of values for values.
    let start = Start { from: cut.clone(), model: None };
    let refused =
        start.configuration(&RunArgs::default(), Common::of_library(), "plain").unwrap_err().to_string();
    assert!(refused.contains("run.adapt: ") && refused.contains("--adapt aca"), "{refused}");
}

/// Critics have learnt with what γ came to, and estimate nothing else.
#[test]
fn a_discount_goes_on_as_training_left_it() {
    let place = Place::new();
    let from = place.offline("iql", &["iql.hidden=[8]", "iql.discount=linear(0.5,0.75,auto)"]);
    let start = Start { from: from.clone(), model: None };
    let configuration = |from: &Path, discount: Option<&str>| {
        let sets = discount.map(|x| format!("iql.discount={x}")).into_iter().collect();
        let args = RunArgs { sets, ..RunArgs::default() };
        let start = Start { from: from.to_path_buf(), model: None };
        start.configuration(&args, Common::of_library(), "plain").map(drop).map_err(|e| e.to_string())
    };
    let refused = configuration(&from, None).unwrap_err();
    assert!(
        refused.contains("iql.discount: expected 0.75") && refused.contains("got linear(0.5, 0.75"),
        "{refused}"
    );
    assert!(configuration(&from, Some("0.5")).unwrap_err().contains("expected 0.75"));
    assert_eq!(configuration(&from, Some("0.75")), Ok(()));
    // Fine-tuned again nothing need be said.
    let sets = ["iql.discount=0.75", "online.env_steps=4", "online.warmup_steps=2"];
    let (_, config) = place.start(&from, "plain", &sets);
    let out = place.path("tuned");
    start.run(&config, &out, Manner::new(&Stop::default(), true)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(configuration(&out, None), Ok(()));
}

/// What PEX brings itself belongs to its own fine-tuning, and so does what generates transitions; what a user chose stays.
#[test]
fn another_adaptation_begins_from_the_options_of_the_base() {
    let place = Place::new();
    let from = place.offline("iql", &["iql.hidden=[8]"]);
    let generating = |name: &str, hidden: &str| {
        let of = |option: &str| format!("{name}.{option}");
        let options = ["every=2", "updates=2", "rows=12", "batch=4", "steps=2"].map(of);
        [vec![format!("run.generator={name}"), of(&format!("hidden={hidden}"))], options.into()].concat()
    };
    let run = |from: &Path, adapt: &str, sets: &[String], name: &str| {
        let own = ["online.env_steps=6", "online.warmup_steps=2"];
        let sets: Vec<&str> = own.into_iter().chain(sets.iter().map(String::as_str)).collect();
        let (start, config) = place.start(from, adapt, &sets);
        let out = place.path(name);
        start
            .run(&config, &out, Manner::new(&Stop::default(), true))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        out
    };
    let pex = run(&from, "pex", &generating("cfdg", "[4,8,8]"), "pex");
    let options = |from: &Path, adapt: &str| {
        let start = Start { from: from.into(), model: None };
        let config =
            start.configuration(&RunArgs::default(), COMMON, adapt).unwrap_or_else(|e| panic!("{e}"));
        let online = ["buffer", "actor_lr", "reset_optimisers"].map(|key| config.text("online", key));
        (online, config.text("online", "env_steps"), config.text("run", "generator"))
    };
    let (base, after, again) = (options(&from, "plain"), options(&pex, "plain"), options(&pex, "pex"));
    assert_eq!((&after.0, after.1.as_str(), after.2.as_str()), (&base.0, "6", "none"));
    assert_eq!((again.0[0].as_str(), again.2.as_str()), ("mix(0.5)", "none"));
    assert!(again.0.iter().zip(&base.0).all(|(a, b)| a != b), "{again:?} {base:?}");
    // What was chosen before it comes back.
    let chosen = place
        .offline("iql", &["iql.hidden=[8]", "online.buffer=concat(0.25)", "online.actor_lr=constant(0.5)"]);
    let pex = run(&chosen, "pex", &[], "pex of another");
    let (base, after) = (options(&chosen, "plain"), options(&pex, "plain"));
    assert_eq!((&after.0, after.0[0].as_str()), (&base.0, "concat(0.25)"));
    // Its networks begin untrained, so that another one, or one of another size, may follow.
    let edis = |hidden: &str| {
        let energies = ["edis.energy_hidden=[5]", "edis.energy_updates=2", "edis.energy_batch=3"];
        [generating("edis", hidden), energies.map(String::from).into()].concat()
    };
    let first = run(&pex, "plain", &edis("[6,8,8]"), "first");
    run(&first, "plain", &edis("[4,9,9]"), "second");
}

/// A weight that is spread over the phase comes to 0 with it.
#[test]
fn aca_can_be_left_when_its_weight_is_gone() {
    let place = Place::new();
    let from = place.offline("sac_ml", &["sac_ml.hidden=[9, 8]"]);
    for (weight, may) in [("linear(1,0,auto)", true), ("linear(1,0.5,auto)", false)] {
        let sets = ["online.env_steps=4", "online.warmup_steps=2", &format!("aca.weight={weight}")];
        let (start, config) = place.start(&from, "aca", &sets);
        let out = place.path(weight);
        start.run(&config, &out, Manner::new(&Stop::default(), true)).unwrap_or_else(|e| panic!("{e}"));
        let next = Start { from: out, model: None };
        let config = next.configuration(&RunArgs::default(), Common::of_library(), "plain");
        assert_eq!(config.is_ok(), may, "{weight}");
    }
}

/// ℓ is never below w c, is w log π_0 where that is far above c, and its gradient in the action is that of differences; the
/// weight comes to its floor when it should.
#[test]
fn the_aligned_density_has_a_floor() {
    let beta = 1.5;
    let agent = small("sac_ml", "aca", DIMS, &["aca.floor=1.5", "aca.weight=0.5"]);
    let mut store = ReferenceStore::from(&agent.store);
    gradcheck::shake(&mut store, 5);
    // The frozen policy is another one, made the same.
    let of = |name| agent.table.members(agent.table.find_group(name).expect("there")).collect::<Vec<_>>();
    for (theirs, ours) in of("pi").into_iter().zip(of("pi_offline")) {
        store.values[ours.index()] = store.values[theirs.index()].clone();
    }
    let (pi, critics) = (agent.learner.policy(), agent.learner.critics().expect("critics"));
    fn zero<'t>(b: &Round<'t>) -> Var<'t> {
        b.r * 0.0
    }
    let l = said(&agent, &store, |b| b.policy_value(critics, b.a, &|_| zero(b)));
    let density = said(&agent, &store, |b| pi.log_prob(b.s, b.a));
    let at = |z: f64| {
        said(&agent, &store, |b| {
            let (mean, log_std) = pi.gaussian(b.s);
            pi.log_prob(b.s, (mean + log_std.exp() * z).tanh())
        })
    };
    let floor: Vec<f64> = at(beta).iter().zip(at(-beta)).map(|(a, b)| a.min(b)).collect();
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let mut below = 0;
    for ((l, d), c) in l.iter().zip(&density).zip(&floor) {
        assert!((l - 0.5 * (softplus(d - c) + c)).abs() < 1e-8, "{l}, log pi_0 {d}, c {c}");
        assert!(*l >= 0.5 * c - 1e-12);
        below += usize::from(d < c);
    }
    assert!(below > 0 && below < l.len(), "{below} of {} below the floor", l.len());

    let trace = small("sac_ml", "aca", DIMS, &[]).trace(&online(100_000));
    let weight = trace.hypers.iter().find(|h| h.name == "aca.weight").expect("the weight").schedule;
    assert_eq!([0, 10_000, 20_000, 90_000].map(|k| weight.at(k)), [1.0, 0.75, 0.5, 0.5]);
}

/// The gradient of the policy is cut to its norm, and nobody else's.
#[test]
fn aca_bounds_the_gradient_of_the_policy() {
    let trace = small("sac_ml", "aca", DIMS, &["aca.gradient_bound=0.125"]).trace(&online(100));
    let clips: Vec<(&str, f64)> = (trace.items.iter())
        .filter_map(|item| match &item.effect {
            Effect::Train { name, optimiser, .. } => Some((*name, optimiser.clip)),
            _ => None,
        })
        .collect();
    assert_eq!(clips, [("temperature", 0.0), ("q", 0.0), ("policy", 0.125)]);
}

/// `best(n)`: the rows of the n episodes with the largest returns, in the order of the data.
#[test]
fn a_buffer_may_begin_with_the_best_episodes() {
    let place = Place::new();
    let resolve = |set: &str| {
        let config = place.args(&[set]).resolve(COMMON, Some("sac_ml"), None);
        config.unwrap_or_else(|e| panic!("{e}"))
    };
    let config = resolve("online.offline_rows=best(2)");
    let dataset = data::load(&config).unwrap_or_else(|e| panic!("{e}"));
    let episodes = baq_datasets::episodes::of(&dataset.columns);
    let of = |e: &baq_datasets::episodes::Episode| -> f64 {
        e.rows.clone().map(|i| f64::from(dataset.columns.rewards[i])).sum()
    };
    let mut returns: Vec<f64> = episodes.iter().map(of).collect();
    returns.sort_by(|a, b| b.total_cmp(a));
    assert!(episodes.len() > 3 && returns[1] > returns[2], "{returns:?}");
    let expected: Vec<f32> = episodes
        .iter()
        .filter(|e| of(e) >= returns[1])
        .flat_map(|e| e.rows.clone().map(|i| dataset.columns.rewards[i]))
        .collect();
    let agent = agent("sac_ml", "plain", Dims { s: 3, a: 1, batch: 8 }, &["sac_ml.hidden=[4]"]);
    let pools = run::pools(&dataset, &agent, &config).unwrap_or_else(|e| panic!("{e}"));
    let rows = pools.pool(OFFLINE).rows();
    assert_eq!(pools.read_column(pools.column(replay::R), rows), expected);
}

/// With a family of one policy that does not look at its balance FamO2O over CQL is CQL.
#[test]
fn famo2o_over_cql_with_one_policy_is_cql() {
    let nets = ["cql.policy_hidden=[9, 8]", "cql.critic_hidden=[9, 8]", "cql.samples=2"];
    let one = ["famo2o_cql.balance_min=1", "famo2o_cql.balance_max=1"];
    let losses = |algo: &str, online_phase: bool, sets: &[&str]| -> Vec<(String, f64)> {
        let agent = agent(algo, "plain", DIMS, &[&nets[..], sets].concat());
        let phase = if online_phase { online(10) } else { Phase::offline(10) };
        let trace = agent.trace(&phase);
        let named = |name: &str| Numbers(name.bytes().map(u64::from).sum());
        let columns = trace.inputs.iter().map(|i| named(i.name).units(i.shape.len())).collect();
        let (mut seen, mut begun) = (std::collections::BTreeMap::<String, u64>::new(), false);
        let noise = trace.noises.iter().map(|n| {
            // The first draw of the family is that of the balance policy's loss, which CQL does not have.
            let own = n.name.contains("enc(beta)") && !std::mem::replace(&mut begun, true);
            let name = n.name.replace(", enc(beta)", "");
            let count = seen.entry(name.clone()).or_default();
            *count += u64::from(!own);
            let x = Numbers(named(&name).0 + 1000 * *count).units(n.shape.len());
            x.iter().map(|u| 0.5 + 0.49 * u).collect()
        });
        let noise = noise.collect();
        let mut store = ReferenceStore::from(&agent.store);
        let table = &agent.table;
        for group in ["pi", "q", "q_target", "log_alpha"] {
            for p in table.members(table.find_group(group).expect("a group of CQL")) {
                let name = table.name(p);
                let shape = table.param(p).shape;
                let wide = name == "pi.layer0.weight" && shape.rows > DIMS.s;
                let rows = if wide { DIMS.s } else { shape.rows };
                let n = shape.heads * rows * shape.cols;
                let mut values = Numbers(name.bytes().map(u64::from).sum()).units(n);
                values.iter_mut().for_each(|x| *x *= 0.4);
                values.resize(shape.len(), 0.0);
                store.values[p.index()] = values;
            }
        }
        let inputs = ReferenceInputs { columns, noise };
        let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
        ["q", "policy", "temperature"].map(|u| (u.to_string(), trace.loss(u, &values))).to_vec()
    };
    for online_phase in [false, true] {
        let (ours, theirs) = (losses("famo2o_cql", online_phase, &one), losses("cql", online_phase, &[]));
        for ((name, a), (_, b)) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-12 * b.abs(), "{name}, online {online_phase}: {a}, CQL has {b}");
        }
        let wide = losses("famo2o_cql", online_phase, &[]);
        assert_ne!(wide[1], ours[1], "the balance is not heard");
    }
}

#[test]
fn a_balance_whose_range_is_the_wrong_way_round_is_refused() {
    for algo in ["famo2o", "famo2o_cql"] {
        let sets = [format!("{algo}.balance_min=5"), format!("{algo}.balance_max=1")];
        let config = config(algo, "plain", 1, &[&sets[0], &sets[1]]);
        let Err(error) = Agent::new(&config, DIMS) else { panic!("{algo} is not refused") };
        let expected = format!("{algo}.balance_min: expected at most {algo}.balance_max = 1, got 5");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}
