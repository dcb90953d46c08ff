//! An ensemble of agents: each alone offline, one policy online; what members that are equal, or one member, must give.

mod common;

use baq::algo::{Dims, Phase};
use baq::audit::f32_check::check_f32;
use baq::audit::gradcheck;
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{Clock, Program, Select, Tracer, Workspace};
use baq::train::agent::Agent;
use baq_kernels::WORTH_A_TEAM;
use common::{Learning, Numbers, SMALL, agent, assert_same, bits, online, with_threads};

const DIMS: Dims = Dims { s: 4, a: 2, batch: 8 };
const LAGRANGE: [&str; 4] =
    ["cql.lagrange=gap(1)", "cql.max_backup=true", "cql.entropy_backup=true", "cql.cloning_updates=5"];

fn cql(adapt: &str, members: usize, sets: &[&str]) -> Agent {
    let ensemble = format!("cql.ensemble={members}");
    agent("cql", adapt, DIMS, &[&SMALL[..], sets, &[&ensemble]].concat())
}

/// Parameters of order 1/2, so that members differ.
fn spread(agent: &Agent) -> ReferenceStore {
    let (mut store, mut x) = (ReferenceStore::from(&agent.store), Numbers(5));
    store.values.iter_mut().flatten().for_each(|p| *p = 0.5 * x.unit());
    store
}

fn close(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-9 * want.abs().max(1.0), "{what}: {got}, expected {want}");
}

#[test]
fn the_joint_policy_has_the_moments_of_the_mixture() {
    let members = 3;
    let agent = cql("off2on", members, &[]);
    let t = Tracer::new(agent.table.clone());
    let s = t.input("s", DIMS.batch, DIMS.s);
    let (joint, alone) = (agent.learner.policy(), agent.learner.policy().members());
    t.output("mode", joint.mode(s));
    t.output("std", joint.std(s).expect("head TG"));
    t.output("modes", alone.mode(s));
    t.output("stds", alone.std(s).expect("head TG"));
    let trace = t.finish();
    let inputs = gradcheck::synthetic(&trace, 1);
    let values = reference::run(&trace, &mut spread(&agent), &inputs, Clock::default(), |_| true);
    let [mode, std, modes, stds] =
        [0, 1, 2, 3].map(|k| values[trace.outputs[k].1.index()].as_ref().expect("computed"));
    let n = DIMS.batch * DIMS.a;
    assert_eq!((mode.len(), modes.len()), (n, members * n));
    for i in 0..n {
        let each = || (0..members).map(|j| (modes[j * n + i].atanh(), stds[j * n + i]));
        let mu = each().map(|(mu, _)| mu).sum::<f64>() / members as f64;
        let second = each().map(|(mu, sigma)| mu * mu + sigma * sigma).sum::<f64>() / members as f64;
        close("mode", mode[i], mu.tanh());
        close("sigma", std[i], (second - mu * mu).sqrt());
        assert!(each().all(|(m, _)| (m - mu).abs() > 1e-3), "members agree, nothing is tested");
    }
}

#[test]
fn equal_members_are_one() {
    let members = 3;
    for (adapt, sets) in [("off2on", &[][..]), ("plain", &[]), ("plain", &LAGRANGE[1..])] {
        let (one, all) = (cql(adapt, 1, sets), cql(adapt, members, sets));
        let single = spread(&one);
        let mut store = ReferenceStore::from(&all.store);
        for (id, (to, from)) in store.values.iter_mut().zip(&single.values).enumerate() {
            assert!(to.len().is_multiple_of(from.len()), "tensor {id}");
            *to = from.repeat(to.len() / from.len());
        }
        let traces = [one.trace(&online(10)), all.trace(&online(10))];
        assert_eq!(traces[0].noises, traces[1].noises, "one action for all members");
        let inputs = gradcheck::synthetic(&traces[0], 2);
        let [a, b] = [(&traces[0], single), (&traces[1], store)].map(|(trace, mut store)| {
            let values = reference::run(trace, &mut store, &inputs, Clock::default(), |_| true);
            ["policy", "q", "temperature"].map(|name| trace.loss(name, &values))
        });
        let n = members as f64;
        for (k, (name, factor)) in [("policy", 1.0), ("q", n), ("temperature", n)].into_iter().enumerate() {
            close(&format!("{adapt} {sets:?}: {name}"), b[k], factor * a[k]);
        }
    }
}

#[test]
fn offline_every_member_learns_alone() {
    let members = 2;
    for sets in [&[][..], &LAGRANGE] {
        let (one, all) = (cql("plain", 1, sets), cql("plain", members, sets));
        let phase = Phase::offline(10);
        let (trace, single) = (all.trace(&phase), one.trace(&phase));
        let (inputs, store) = (gradcheck::synthetic(&trace, 2), spread(&all));
        let part = |x: &[f64], len: usize, i: usize| match x.len() == len {
            true => x.to_vec(),
            false => x[i * len..(i + 1) * len].to_vec(),
        };
        let names = ["policy", "q", "temperature", "multiplier"];
        let names = &names[..if sets.is_empty() { 3 } else { 4 }];
        let mut sums = vec![0.0; names.len()];
        for i in 0..members {
            let mut own = ReferenceStore::from(&one.store);
            for (to, from) in own.values.iter_mut().zip(&store.values) {
                *to = part(from, to.len(), i);
            }
            let noise =
                inputs.noise.iter().zip(&single.noises).map(|(x, n)| part(x, n.shape.len(), i)).collect();
            let inputs = ReferenceInputs { columns: inputs.columns.clone(), noise };
            let values = reference::run(&single, &mut own, &inputs, Clock::default(), |_| true);
            sums.iter_mut().zip(names).for_each(|(sum, name)| *sum += single.loss(name, &values));
        }
        let values = reference::run(&trace, &mut store.clone(), &inputs, Clock::default(), |_| true);
        for (name, sum) in names.iter().zip(sums) {
            close(&format!("{sets:?}: {name}"), trace.loss(name, &values), sum);
        }
    }
}

#[test]
fn gradients() {
    for (adapt, sets) in [("off2on", &[][..]), ("plain", &[]), ("plain", &LAGRANGE), ("baq", &[])] {
        let agent = cql(adapt, 2, sets);
        for phase in [Phase::offline(10), online(10)] {
            let trace = agent.trace(&phase);
            let mut store = ReferenceStore::from(&agent.store);
            gradcheck::shake(&mut store, 1);
            let checks =
                gradcheck::check(&trace, &store, &gradcheck::synthetic(&trace, 1), Clock::default(), 9, true);
            assert!(
                checks.iter().any(|c| c.path.starts_with("pi"))
                    && checks.iter().any(|c| c.path.starts_with("q"))
            );
            for c in checks {
                assert!(c.passed(), "{adapt} {sets:?}, online {}: {c:?}", phase.online);
            }
        }
    }
}

/// Wide enough that the values of sampled actions are computed in blocks, with actions of each member's own.
#[test]
fn blocks_and_threads() {
    let dims = Dims { s: 5, a: 2, batch: 128 };
    let sets = ["cql.policy_hidden=[64]", "cql.critic_hidden=[64, 64]", "cql.samples=4", "cql.ensemble=2"];
    let agent = || agent("cql", "off2on", dims, &[&SMALL[..], &sets].concat());
    let (offline, mut store) = (agent(), ReferenceStore::from(&agent().store));
    let trace = offline.trace(&Phase::offline(100));
    gradcheck::shake(&mut store, 3);
    let program = Program::compile(&trace, Select::WITHOUT_METRICS);
    let inputs = gradcheck::synthetic(&trace, 3);
    for n in check_f32(&trace, &program, Workspace::new(&program), &store, &inputs, Clock::default()) {
        assert!(n.passed(), "{} of {}: {:e}", n.path, n.update, n.relative);
    }
    for phase in [Phase::offline(100), online(100)] {
        let learn = |threads| {
            with_threads(threads, || {
                let mut learning = Learning::new(agent(), &phase, Select::ALL);
                assert!(learning.program.flops() >= WORTH_A_TEAM, "one thread does it");
                (0..3).for_each(|_| learning.round());
                bits(&learning.agent.store)
            })
        };
        assert_same(&format!("online {}", phase.online), &learn(3), &learn(1));
    }
}

#[test]
fn a_model_that_follows_the_policy_needs_a_single_one() {
    let sets = ["cql.ensemble=2", "baq.relax=follow(0.1)"];
    let error = Agent::new(&common::config("cql", "baq", 1, &sets), DIMS).err().expect("refused").to_string();
    assert!(error.contains("ensemble") && !error.contains('\n'), "{error}");
}
