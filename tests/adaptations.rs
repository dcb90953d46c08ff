//! Adaptations over every base: what they change and what they leave, how often they update, what priorities of a
//! density ratio become, and runs that are interrupted after every step.

mod common;

use std::path::{Path, PathBuf};

use baq::algo::{self, Dims, Phase};
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{Clock, Effect, Flow, NoProbe, Select};
use baq::cli::finetune::Start;
use baq::cli::learn::{self, Again, Manner};
use baq::cli::setup::RunArgs;
use baq::cli::train;
use baq::config::{Config, OnlineActorLr};
use baq::replay::pools::{OFFLINE, ONLINE};
use baq::replay::{self, Layout, Pools, Recipe};
use baq::rng::Stream;
use baq::train::agent::Agent;
use baq::train::annotation::Annotator;
use baq::train::batches::Batches;
use baq::train::progress::Ended;
use baq::train::progress::Stop;
use baq::train::reprioritiser::Reprioritiser;
use baq::train::state::Saved;
use common::place::{COMMON, Place};
use common::{Learning, Numbers, SMALL, agent, assert_same, bits, methods, of_groups, online, small};

const DIMS: Dims = Dims { s: 4, a: 2, batch: 16 };
const BASES: [&str; 17] = [
    "iql", "awac", "cql", "cal_ql", "sac", "td3", "td3_bc", "sac_n", "edac", "pbrl", "rorl", "rebrac",
    "spot", "fql", "wpc", "prdc", "brac",
];

/// The base's parameters and moments after some online rounds.
fn learned(algo: &str, adapt: &str, sets: &[&str]) -> Vec<(String, Vec<u32>)> {
    let agent = small(algo, adapt, DIMS, sets);
    let mut learning = Learning::new(agent, &online(100), Select::WITHOUT_METRICS);
    (0..5).for_each(|_| learning.round());
    let agent = &learning.agent;
    let own: Vec<&str> = agent.table.groups()[..agent.base_groups].iter().map(|g| g.name.as_str()).collect();
    of_groups(bits(&agent.store), &own)
}

fn group(all: &[(String, Vec<u32>)], name: &str) -> Vec<(String, Vec<u32>)> {
    all.iter().filter(|(path, _)| path.starts_with(&format!("{name}."))).cloned().collect()
}

#[test]
fn so2_without_noise_and_suf_are_their_bases_to_the_bit() {
    let pairs: Vec<(&str, &str)> = methods().collect();
    let mut of = [0, 0];
    for (algo, _) in pairs.iter().filter(|(_, adapt)| *adapt == "plain") {
        let [so2, suf] = ["so2", "suf"].map(|adapt| pairs.contains(&(algo, adapt)));
        let base = learned(algo, "plain", &[]);
        if so2 {
            assert_same(&format!("{algo} + so2"), &learned(algo, "so2", &["so2.sigma=0"]), &base);
            assert_ne!(learned(algo, "so2", &[]), base, "{algo}: the perturbation changes nothing");
        }
        if suf {
            assert_same(&format!("{algo} + suf"), &learned(algo, "suf", &["suf.unconstrained=false"]), &base);
        }
        of = [of[0] + usize::from(so2), of[1] + usize::from(suf)];
    }
    assert!(of.iter().all(|n| *n > 19), "{of:?} bases");
}

const CQL_LIKE_SAC: [&str; 4] =
    ["cql.std_scale=false", "cql.init=rlkit", "cql.actor=0.0003", "cql.temperature_optimiser=0.0003"];

#[test]
fn unconstrained_bases_are_those_without_a_constraint() {
    let sac = learned("sac", "plain", &[]);
    for algo in ["cql", "cal_ql"] {
        for adapt in ["suf", "so2"] {
            let free = format!("{adapt}.unconstrained=true");
            let sets = [&CQL_LIKE_SAC[..], &[&free, "so2.sigma=0", "cql.max_backup=true"]].concat();
            assert_same(&format!("{algo} + {adapt}"), &learned(algo, adapt, &sets), &sac);
        }
        let kept = [&CQL_LIKE_SAC[..], &["suf.unconstrained=false"]].concat();
        assert_ne!(learned(algo, "suf", &kept), sac, "{algo}: the penalty does nothing");
    }
    let td3 = learned("td3", "plain", &[]);
    for algo in ["td3_bc", "wpc", "prdc"] {
        // wPC's values are not TD3's.
        let of_td3 = |all: Vec<(String, Vec<u32>)>| -> Vec<_> {
            all.into_iter().filter(|(path, _)| td3.iter().any(|(known, _)| known == path)).collect()
        };
        assert_same(algo, &of_td3(learned(algo, "suf", &["suf.unconstrained=true"])), &td3);
        let kept = of_td3(learned(algo, "suf", &["suf.unconstrained=false"]));
        assert_ne!(kept, td3, "{algo}: its constraint does nothing");
    }
    // SPOT draws more numbers, and so TD3's from other streams.
    for update in ["q", "policy"] {
        let of = |algo, adapt| losses(algo, adapt, 0.0, false, update);
        assert_eq!(of("spot", "suf"), of("td3", "plain"), "{update}");
    }
    assert_ne!(losses("spot", "plain", 0.0, false, "policy"), losses("td3", "plain", 0.0, false, "policy"));
    // IQL keeps its critics, which do not know the policy, and maximises Q.
    let (plain, free) = (learned("iql", "plain", &[]), learned("iql", "suf", &[]));
    for critic in ["v", "q", "q_target"] {
        assert_same(critic, &group(&free, critic), &group(&plain, critic));
    }
    assert_ne!(group(&free, "pi"), group(&plain, "pi"));
}

/// On batches of everything APL is its base, on batches of the latest transitions its base without a tie to the data,
/// and what lies between is that much of both.
#[test]
fn apl_lets_go_of_the_tie_by_batches() {
    let cases = [
        ("cql", "q"),
        ("cal_ql", "q"),
        ("pbrl", "q"),
        ("iql", "policy"),
        ("awac", "policy"),
        ("famo2o", "policy"),
    ];
    for (algo, update) in cases {
        let apl = |tie| losses_tied(algo, "apl", 0.0, false, update, tie);
        let (base, free) =
            (losses(algo, "plain", 0.0, false, update), losses(algo, "suf", 0.0, false, update));
        assert!((base - free).abs() > 1e-3 * base.abs(), "{algo}: nothing to let go of: {base}, {free}");
        for (tie, expected) in [(1.0, base), (0.0, free), (0.25, 0.25 * base + 0.75 * free)] {
            let got = apl(tie);
            assert!(
                (got - expected).abs() < 1e-12 * base.abs().max(free.abs()),
                "{algo}, W = {tie}: {got}, {expected}"
            );
        }
    }
    // TD3+BC keeps the scale of Q.
    let apl = |tie| losses_tied("td3_bc", "apl", 0.0, false, "policy", tie);
    assert_eq!(apl(1.0), losses("td3_bc", "plain", 0.0, false, "policy"));
    assert!((apl(0.5) - 0.5 * (apl(0.0) + apl(1.0))).abs() < 1e-12 && apl(1.0) > apl(0.0));
    for algo in ["sac", "td3"] {
        assert_same(algo, &learned(algo, "apl", &[]), &learned(algo, "plain", &[]));
    }
    // The loops draw what the options say: nothing but the latest, and the metric says so.
    let select = Select::ALL;
    for (share, tied) in [("1", 0.0), ("0", 1.0)] {
        let share = format!("apl.latest_share={share}");
        let sets = [&share[..], "apl.latest_after=100", "apl.latest_rows=50"];
        let mut learning = Learning::new(small("cql", "apl", DIMS, &sets), &online(100), select);
        for _ in 0..5 {
            learning.round();
            let latest = learning.batches.rows().iter().all(|&row| row >= 3450);
            assert_eq!(latest, tied == 0.0);
            let values = learning.workspace.metrics(&learning.program);
            let mut metrics = learning.program.metrics().zip(values);
            let measured = metrics.find(|(m, _)| m.name == "tied").expect("a metric of APL").1;
            assert_eq!(f64::from(measured), tied);
        }
    }
}

/// The losses of an online round in f64, with the perturbation's noise multiplied by `eps`; without a target
/// critic, if asked, so that of the target only the density of a' is left.
fn losses(algo: &str, adapt: &str, eps: f64, without_q_target: bool, update: &str) -> f64 {
    losses_tied(algo, adapt, eps, without_q_target, update, 1.0)
}

/// The same with this for the column that ties APL to the data.
fn losses_tied(algo: &str, adapt: &str, eps: f64, without_q_target: bool, update: &str, tie: f64) -> f64 {
    let agent = small(algo, adapt, DIMS, &["cql.entropy_backup=true"]);
    let trace = agent.trace(&online(10));
    let columns = trace
        .inputs
        .iter()
        .map(|i| {
            if i.name == replay::FROM_ALL {
                return vec![tie; i.shape.len()];
            }
            // Of its own, so that it does not depend on which others are read.
            let u = Numbers(i.name.bytes().map(u64::from).sum()).units(i.shape.len());
            u.iter().map(|u| if i.name == replay::M { 1.0 } else { 0.9 * u }).collect()
        })
        .collect();
    let noise = trace
        .noises
        .iter()
        .map(|n| {
            let perturbation = n.name.starts_with("perturbation");
            let mut x = Numbers(if perturbation { 5 } else { 21 });
            let scale = if perturbation { eps } else { 1.0 };
            x.units(n.shape.len()).iter().map(|u| 1.5 * u * scale).collect()
        })
        .collect();
    let mut store = ReferenceStore::from(&agent.store);
    let mut y = Numbers(77);
    store.values.iter_mut().flatten().for_each(|v| *v += 0.3 * y.unit());
    if without_q_target {
        let target = agent.table.find_group("q_target").expect("every base here has one");
        agent.table.members(target).for_each(|p| store.values[p.index()].fill(0.0));
    }
    let inputs = ReferenceInputs { columns, noise };
    let values = reference::run(&trace, &mut store, &inputs, Clock::default(), |_| true);
    trace.loss(update, &values)
}

#[test]
fn perturbation_moves_the_action_of_the_target_alone() {
    for algo in BASES {
        // The only target of IQL that values an action is that of V.
        let update = if algo == "iql" { "value" } else { "q" };
        let base = losses(algo, "plain", 0.0, false, update);
        assert_eq!(losses(algo, "so2", 0.0, false, update), base, "{algo}: a perturbation of 0");
        let moved = losses(algo, "so2", 1.0, false, update);
        assert!((moved - base).abs() > 1e-6 * base.abs(), "{algo}: the target does not see it");
        // Where the policy's loss is taken before anything moves, the perturbation is not in it.
        if matches!(algo, "cql" | "cal_ql" | "sac") {
            let policy = |eps| losses(algo, "so2", eps, false, "policy");
            assert_eq!(policy(1.0), policy(0.0), "{algo}: the policy sees the perturbation");
        }
    }
    for algo in ["sac", "cql", "sac_n"] {
        let density = losses(algo, "so2", 0.0, true, "q");
        assert_eq!(
            losses(algo, "so2", 1.0, true, "q"),
            density,
            "{algo}: log pi depends on the perturbation"
        );
    }
}

/// The mean ratios on offline and online rows, and priorities of 32 rows of each, after training on rows whose
/// first coordinate is `shift` apart.
fn separated(shift: f64) -> ((f64, f64), [Vec<f64>; 2]) {
    let dims = Dims { s: 2, a: 1, batch: 64 };
    let sets = ["sac.hidden=[4]", "off2on.density_hidden=[16]", "off2on.density=0.003"];
    let mut agent = agent("sac", "off2on", dims, &sets);
    let layout = Layout::transitions(2, 1, &[]);
    let mut pools = Pools::new(layout, &[(OFFLINE, 500), (ONLINE, 300)]);
    let mut x = Numbers(3);
    let mut states = |n: usize, shift: f64| -> Vec<f32> {
        (0..n).flat_map(|_| [0.4 * x.unit() + shift, 0.4 * x.unit()]).map(|v| v as f32).collect()
    };
    pools.load(OFFLINE, 500, &[(replay::S, &states(500, -shift / 2.0))]).expect("the rows fit");
    for s in states(300, shift / 2.0).chunks(2) {
        pools.push(ONLINE, &[s[0], s[1], 0.0, 0.0, 1.0, 0.0, 0.0]);
    }
    // Half of the rows offline, half of them online.
    let recipe = Recipe::mix(0.5, 64);
    let mut batches = Batches::new(pools, recipe, (9, Stream::Batch), 64);
    batches.prioritise(|pools, pool| vec![1.0; pools.pool(pool).len()]).expect("numbers");
    let mut beside =
        Reprioritiser::new(&agent, 9, 500, None).expect("there are offline rows").expect("a model");
    // f = 0.5 of the mass to the first 1000 rows: 500 * 0.5 / (0.5 * 1000).
    assert_eq!(beside.newest(), 0.5);
    batches.draw(&mut agent, 0, 0).expect("nothing is annotated");
    for round in 0..400 {
        let clock = Clock { round, phase_round: round };
        let flow = beside.round(&mut agent.store, &mut batches, clock, round == 399, &mut NoProbe);
        assert_eq!(flow.expect("priorities are numbers"), Flow::Continue);
    }
    let value = |name| beside.values().into_iter().find(|(m, _)| m.name == name).expect("measured").1;
    let tree = batches.tree().expect("priorities");
    let rows = batches.rows();
    let leaves = |rows: &[u32]| rows.iter().map(|&row| tree.leaf(row as usize)).collect();
    assert!(batches.pools().is_online(500));
    let largest = rows.iter().map(|&row| tree.leaf(row as usize)).fold(0.0, f64::max);
    assert!(beside.newest() >= largest);
    ((value("ratio_offline"), value("ratio_online")), [leaves(&rows[..32]), leaves(&rows[32..])])
}

#[test]
fn the_density_ratio_tells_disjoint_data_apart_and_equal_data_not() {
    let ((offline, online), [old, new]) = separated(1.2);
    assert!(offline < 0.1 && online > 3.0, "ratios {offline} offline, {online} online");
    let largest = old.iter().copied().fold(0.0, f64::max);
    assert!(new.iter().all(|p| *p > 2.0 * largest), "offline up to {largest}, online {new:?}");
    assert!(old.iter().chain(&new).all(|p| (1e-3f32 as f64..=1e3).contains(p)));

    let ((offline, online), leaves) = separated(0.0);
    assert!((offline - 1.0).abs() < 0.15 && (online - 1.0).abs() < 0.15, "{offline} {online}");
    for p in leaves.iter().flatten() {
        assert!((p - 1.0).abs() < 0.1, "{leaves:?}");
    }
}

/// f of the mass to 1000 collected rows beside 500 of the data with 1 each; without f they begin as those do.
#[test]
fn collected_rows_begin_with_their_share_of_the_mass() {
    for (share, priority) in [("0.2", 0.125), ("0.5", 0.5), ("0.75", 1.5), ("0", 1.0)] {
        let agent = small("sac", "off2on", DIMS, &[&format!("off2on.init_online_fraction={share}")]);
        let beside =
            Reprioritiser::new(&agent, 9, 500, None).expect("there are offline rows").expect("a model");
        assert!((beside.newest() - priority).abs() < 1e-12, "share {share}: {}", beside.newest());
    }
}

/// Distances and priorities of the rows that are drawn are those from the model as it stands, not from where it began.
#[test]
fn distances_follow_a_model_that_moves() {
    let agent = small("iql", "baq", DIMS, &["baq.relax=follow(0.5)"]);
    let mut learning = Learning::new(agent, &online(100), Select::ALL);
    let columns = [replay::D2, replay::DISTANCE].map(|name| learning.batches.pools().column(name));
    let stored =
        |batches: &Batches, row: usize| columns.map(|column| batches.pools().get(row, column)[0].to_bits());
    let first: Vec<[u32; 2]> =
        (0..learning.batches.pools().len()).map(|row| stored(&learning.batches, row)).collect();
    (0..3).for_each(|_| learning.round());
    learning.batches.draw(&mut learning.agent, 3, 3).expect("priorities are numbers");

    let mut annotator = Annotator::new(&learning.agent, 1).expect("baq annotates");
    let pools = learning.batches.pools();
    let (s, a) = (pools.column(replay::S), pools.column(replay::A));
    let tree = learning.batches.tree().expect("priorities");
    for row in learning.batches.rows().iter().map(|row| *row as usize) {
        let mut now = [0.0; 2];
        annotator.one(&mut learning.agent.store, pools.get(row, s), pools.get(row, a), &mut now);
        assert_eq!(stored(&learning.batches, row), now.map(f32::to_bits), "row {row}");
        assert_ne!(stored(&learning.batches, row), first[row], "row {row}: the model has not moved");
        let priority = learning.agent.adaptation.priority(&now, pools.is_online(row));
        assert_eq!(tree.leaf(row), priority, "row {row}");
    }
}

impl Place {
    fn args(&self, active: &[&str], sets: &[&str]) -> RunArgs {
        let small = SMALL.iter().filter(|set| active.contains(&set.split_once('.').expect("dotted").0));
        RunArgs {
            sets: small.chain(sets).map(|s| (*s).to_string()).collect(),
            env: Some("toy".into()),
            data: Some(self.path("toy.hdf5").display().to_string()),
            ..RunArgs::default()
        }
    }

    /// A few offline updates.
    fn offline(&self, algo: &str, own: &[&str]) -> PathBuf {
        let out = self.path(&[&[algo], own].concat().join("-"));
        if !out.exists() {
            let active = [Some(algo), algo::find(algo).expect("known").extends];
            let active: Vec<&str> = active.into_iter().flatten().collect();
            let sets = [
                "offline.updates=3",
                "offline.batch=8",
                "offline.eval_episodes=0",
                "data.observation_scaling=none",
                "run.begin=offline",
            ];
            let config = self
                .args(&active, &[&sets, own].concat())
                .resolve(COMMON, Some(algo), None)
                .unwrap_or_else(|e| panic!("{algo}: {e}"));
            train::begin(&config, &out, Manner::new(&Stop::default(), true))
                .unwrap_or_else(|e| panic!("{algo}: {e}"));
        }
        out
    }

    fn start(&self, algo: &str, adapt: &str, sets: &[&str]) -> (Start, Config) {
        // What the offline run must have too.
        let own: Vec<&str> = sets.iter().copied().filter(|s| s.starts_with("cql.ensemble")).collect();
        let from = self.offline(algo, &own);
        let start = Start { from, model: (adapt == "baq").then(|| self.offline("bc", &[])) };
        let common = ["online.eval_episodes=0", "online.batch=8", "online.capacity=2000"];
        let args = self.args(&[adapt], &[&common, sets].concat());
        let config =
            start.configuration(&args, COMMON, adapt).unwrap_or_else(|e| panic!("{algo} + {adapt}: {e}"));
        (start, config)
    }

    fn finetune(&self, algo: &str, adapt: &str, sets: &[&str], name: &str) -> PathBuf {
        let (start, config) = self.start(algo, adapt, sets);
        let out = self.path(name);
        let ended = start
            .run(&config, &out, Manner::new(&Stop::default(), true))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(ended, Ended::Complete);
        out
    }
}

/// The agent of a run's checkpoint.
fn restored(run: &Path, algo: &str, adapt: &str) -> Agent {
    let saved = Saved::open(run).unwrap_or_else(|e| panic!("{e}"));
    let sets: Vec<&str> = SMALL.iter().copied().chain(["baq.model_hidden=[9, 8]"]).collect();
    let mut agent = agent(algo, adapt, saved.dims(8).unwrap_or_else(|e| panic!("{e}")), &sets);
    saved.restore(&mut agent).unwrap_or_else(|e| panic!("{e}"));
    agent
}

/// Adam steps of a group of a run's checkpoint.
fn steps(run: &Path, algo: &str, adapt: &str, group: &str) -> u64 {
    let agent = restored(run, algo, adapt);
    agent.store.steps[agent.table.find_group(group).expect("a group of the base").index()]
}

/// Base, adaptation, settings, environment steps, and the updates of (critic, policy) that they make.
type Counted<'a> = (&'a str, &'a str, &'a [&'a str], u64, (u64, u64));

#[test]
fn updates_are_counted_exactly() {
    let place = Place::new();
    let cases: [Counted; 11] = [
        ("sac", "suf", &["suf.critic_updates=1.3", "suf.actor_updates=0.3337"], 1000, (1300, 334)),
        ("iql", "suf", &["suf.critic_updates=0.7", "suf.actor_updates=0.1"], 1000, (700, 100)),
        (
            "iql",
            "plain",
            &["online.updates_per_step=0.1", "online.actor_updates_per_step=0.3"],
            1000,
            (100, 300),
        ),
        ("sac", "suf", &[], 40, (400, 20)),
        ("sac", "so2", &["online.warmup_steps=0"], 20, (200, 20)),
        ("iql", "so2", &["online.warmup_steps=15"], 20, (50, 5)),
        // What is set by hand wins over what the adaptation asks for, each for itself.
        ("sac", "so2", &["online.updates_per_step=2", "online.warmup_steps=0"], 20, (40, 20)),
        ("sac", "suf", &["online.updates_per_step=2", "online.actor_updates_per_step=1"], 20, (40, 20)),
        ("sac", "off2on", &["off2on.first_epoch_multiplier=3"], 1010, (3010, 3010)),
        ("sac", "off2on", &["off2on.opening=spread"], 7, (70, 70)),
        ("sac", "off2on", &["off2on.first_epoch_multiplier=2", "online.warmup_steps=5"], 12, (14, 14)),
    ];
    for (k, (algo, adapt, sets, env_steps, expected)) in cases.into_iter().enumerate() {
        let steps_set = format!("online.env_steps={env_steps}");
        let run = place.finetune(algo, adapt, &[sets, &[&steps_set]].concat(), &format!("run{k}"));
        let c = Saved::open(&run).and_then(|s| s.counters()).unwrap_or_else(|e| panic!("{e}"));
        let what = format!("{algo} + {adapt} {sets:?}");
        assert_eq!((c.critic_updates, c.actor_updates), expected, "{what}");
        assert_eq!(c.env_step, env_steps);
        // Three updates are from the offline phase, whose moments Off2On forgets. A temperature moves with the policy.
        let offline = if adapt == "off2on" { 0 } else { 3 };
        assert_eq!(steps(&run, algo, adapt, "q"), offline + expected.0, "{what}");
        assert_eq!(steps(&run, algo, adapt, "pi"), offline + expected.1, "{what}");
        if algo == "sac" {
            assert_eq!(steps(&run, algo, adapt, "log_alpha"), offline + expected.1, "{what}");
        }
    }
}

/// The delay of TD3 is that of the policy and of both targets. Where the policy has a rate of its own, the target
/// critics follow the critics: in a run whose policy stands still they move, without that rate only every second time.
#[test]
fn targets_of_td3_move_with_their_networks_where_the_policy_has_a_rate_of_its_own() {
    let place = Place::new();
    for algo in ["td3", "td3_bc"] {
        let before = bits(&restored(&place.offline(algo, &[]), algo, "plain").store);
        let after = |adapt, sets: &[&str], name: &str| {
            let sets = [&["online.env_steps=1", "online.warmup_steps=0"], sets].concat();
            let run = place.finetune(algo, adapt, &sets, &format!("{algo}-{name}"));
            bits(&restored(&run, algo, adapt).store)
        };
        let moved = |after: &[(String, Vec<u32>)]| {
            ["q", "q_target", "pi", "pi_target"].map(|name| group(after, name) != group(&before, name))
        };
        let still = ["online.actor_updates_per_step=0"];
        for adapt in ["plain", "so2", "suf"] {
            assert_eq!(moved(&after(adapt, &still, adapt)), [true, true, false, false], "{algo} + {adapt}");
        }
        // Three rounds have been offline; the fourth is the policy's.
        assert_eq!(moved(&after("plain", &[], "own")), [true; 4], "{algo}");
    }
    for own_pace in [false, true] {
        let phase = Phase { own_pace, ..online(100) };
        let critics = Select { critic: true, actor: false, metrics: false };
        let mut learning = Learning::new(small("td3", "plain", DIMS, &[]), &phase, critics);
        let before = bits(&learning.agent.store);
        learning.round();
        let after = bits(&learning.agent.store);
        let moved = ["q", "q_target", "pi_target"].map(|name| group(&after, name) != group(&before, name));
        assert_eq!(moved, [true, own_pace, false]);
    }
}

#[test]
fn every_method_interrupted_after_every_step_ends_with_the_same_bytes() {
    let place = Place::new();
    let sets =
        &["online.env_steps=4", "online.log_every=1", "online.buffer=append", "online.warmup_steps=0"][..];
    let ensemble = [sets, &["cql.ensemble=2"]].concat();
    // Of the data that WSRL leaves behind some adaptations ask for rows.
    let kept = [sets, &["online.offline_rows=all"]].concat();
    let of = |algo: &str| if algo == "wsrl" { &kept[..] } else { sets };
    let all =
        methods().map(|(algo, adapt)| (algo, adapt, of(algo))).chain([("cql", "off2on", &ensemble[..])]);
    for (k, (algo, adapt, sets)) in all.enumerate() {
        let what = format!("{algo} + {adapt} {sets:?}");
        let whole = place.finetune(algo, adapt, sets, &format!("whole{k}"));
        let (start, config) = place.start(algo, adapt, sets);
        let cut = place.path(&format!("cut{k}"));
        let stopped = Stop::default();
        stopped.request();
        let fail = |e| -> Ended { panic!("{what}: {e}") };
        assert_eq!(
            start.run(&config, &cut, Manner::new(&stopped, true)).unwrap_or_else(fail),
            Ended::Interrupted,
            "{what}"
        );
        for _ in 0..2 {
            let ended = learn::go_on(&cut, &Again::default(), None, Manner::new(&stopped, true))
                .map(|(ended, _)| ended)
                .unwrap_or_else(fail);
            assert_eq!(ended, Ended::Interrupted, "{what}");
        }
        let ended = learn::go_on(&cut, &Again::default(), None, Manner::new(&Stop::default(), true))
            .map(|(ended, _)| ended)
            .unwrap_or_else(fail);
        assert_eq!(ended, Ended::Complete, "{what}");
        for file in ["checkpoint.safetensors", "metrics.csv"] {
            let read = |run: &Path| std::fs::read(run.join(file)).expect("a finished run has it");
            assert!(read(&whole) == read(&cut), "{what}: {file} differs");
        }
    }
}

/// What does not fit the offline run or the buffer is refused before there is a run directory.
#[test]
fn a_refused_run_leaves_nothing_behind() {
    let place = Place::new();
    let (start, _) = place.start("cql", "off2on", &["cql.ensemble=2"]);
    let common = ["online.eval_episodes=0", "online.env_steps=4"];
    for (sets, expected) in [
        (["cql.ensemble=2", "online.capacity=3"], "online.capacity: expected at least"),
        (["cql.ensemble=1", "online.capacity=2000"], "cql.ensemble: expected 2, as"),
        (["cql.ensemble=3", "online.capacity=2000"], "cql.ensemble: expected 2, as"),
    ] {
        let args = place.args(&["off2on"], &[&common[..], &sets].concat());
        let out = place.path("refused");
        let ended = start
            .configuration(&args, COMMON, "off2on")
            .and_then(|config| start.run(&config, &out, Manner::new(&Stop::default(), true)));
        let error = ended.expect_err("it does not fit").to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{sets:?}: {error}");
        assert!(!out.exists(), "{sets:?}: a run directory was made");
    }
}

#[test]
fn batches_of_the_online_options_grow_and_mix() {
    let place = Place::new();
    let sets = ["online.env_steps=4", "online.log_every=1", "online.warmup_steps=0"];
    for (buffer, rows) in [("concat(0.25)", 32), ("proportional", 8), ("mix(0.5)", 8)] {
        let set = format!("online.buffer={buffer}");
        let (_, config) = place.start("sac", "so2", &[&sets[..], &[&set]].concat());
        assert_eq!(config.section::<baq::config::OnlineConfig>().rows(), rows);
        let run = place.finetune("sac", "so2", &[&sets[..], &[&set]].concat(), buffer);
        let log = std::fs::read_to_string(run.join("metrics.csv")).expect("metrics");
        assert_eq!(log.lines().count(), 5, "{log}");
    }
}

/// What stands in a checkpoint under a group, without its name.
fn values(agent: &Agent, name: &str) -> Vec<u32> {
    group(&bits(&agent.store), name).into_iter().flat_map(|(_, x)| x).collect()
}

/// Off2On begins anew: fresh moments, targets that are copies, the rate 3e-4 whatever the base had; and what the user
/// says wins.
#[test]
fn off2on_switches_as_its_authors_do() {
    let place = Place::new();
    let stopped = Stop::default();
    stopped.request();
    let offline = restored(&place.offline("sac", &[]), "sac", "plain");
    assert_ne!(values(&offline, "q"), values(&offline, "q_target"));
    for (sets, fresh) in
        [(&[][..], true), (&["online.reset_targets=false", "online.reset_optimisers=false"], false)]
    {
        let (start, config) = place.start("sac", "off2on", &[&["online.env_steps=9"], sets].concat());
        let online: baq::config::OnlineConfig = config.section();
        assert_eq!(online.actor_lr, OnlineActorLr::Fixed(3e-4));
        assert_eq!((online.reset_targets, online.reset_optimisers), (fresh, fresh));
        let run = place.path(&format!("fresh-{fresh}"));
        // Interrupted after the first step, which only collects.
        let ended = start.run(&config, &run, Manner::new(&stopped, true)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(ended, Ended::Interrupted);
        let agent = restored(&run, "sac", "off2on");
        assert_eq!(values(&agent, "q"), values(&offline, "q"), "nothing was trained");
        assert_eq!(values(&agent, "q_target") == values(&agent, "q"), fresh);
        assert_eq!(agent.store.steps.iter().all(|n| *n == 0), fresh);
        assert_eq!(agent.store.first.iter().all(|m| m.iter().all(|x| *x == 0.0)), fresh);
    }
    let (_, config) = place.start("sac", "off2on", &["online.actor_lr=constant(0.5)"]);
    assert_eq!(config.section::<baq::config::OnlineConfig>().actor_lr, OnlineActorLr::Constant(0.5));
    for adapt in ["plain", "baq", "suf", "so2"] {
        let (_, config) = place.start("sac", adapt, &[]);
        let online: baq::config::OnlineConfig = config.section();
        assert_eq!(online.warmup_steps, if adapt == "so2" { 5000 } else { 0 }, "{adapt}");
        assert!(!online.reset_targets && !online.reset_optimisers, "{adapt}");
    }
}

/// The opening only collects; its updates come after its last step, all of them, and can be interrupted anywhere.
#[test]
fn off2on_collects_and_then_makes_the_updates_it_owes() {
    let place = Place::new();
    let sets = ["online.env_steps=1003", "off2on.first_epoch_multiplier=2", "audit.keep_every=500"];
    let run = place.finetune("sac", "off2on", &sets, "whole");
    let kept = |round: u64| {
        let all = std::fs::read_dir(run.join("checkpoints")).expect("kept checkpoints");
        let saved = all.map(|f| Saved::open(&f.expect("an entry").path()).unwrap_or_else(|e| panic!("{e}")));
        saved.map(|s| s.counters().unwrap_or_else(|e| panic!("{e}"))).find(|c| c.round == 3 + round)
    };
    assert_eq!(kept(0).map(|c| (c.env_step, c.critic_updates)), Some((500, 0)));
    assert_eq!(kept(2000).map(|c| (c.env_step, c.critic_updates)), Some((1000, 2000)));

    let sets = ["online.env_steps=4", "online.log_every=1"];
    let (start, config) = place.start("sac", "off2on", &sets);
    let (cut, stopped) = (place.path("cut"), Stop::default());
    stopped.request();
    start.run(&config, &cut, Manner::new(&stopped, true)).unwrap_or_else(|e| panic!("{e}"));
    let mut seen = Vec::new();
    for _ in 0..6 {
        learn::go_on(&cut, &Again::default(), None, Manner::new(&stopped, true))
            .unwrap_or_else(|e| panic!("{e}"));
        let c = Saved::open(&cut).and_then(|s| s.counters()).unwrap_or_else(|e| panic!("{e}"));
        seen.push((c.env_step, c.critic_updates));
    }
    // 40 updates are due after the fourth step, and nothing else happens before they are made.
    assert_eq!(seen, [(2, 0), (3, 0), (4, 1), (4, 2), (4, 3), (4, 4)]);
    let (ended, _) = learn::go_on(&cut, &Again::default(), None, Manner::new(&Stop::default(), true))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ended, Ended::Complete);
    let whole = place.finetune("sac", "off2on", &sets, "uncut");
    for file in ["checkpoint.safetensors", "metrics.csv"] {
        let read = |run: &Path| std::fs::read(run.join(file)).expect("a finished run has it");
        assert!(read(&whole) == read(&cut), "{file} differs");
    }
}

#[test]
fn the_density_ratio_begins_as_its_authors_do() {
    let agent = small("sac", "off2on", DIMS, &["off2on.density_hidden=[64, 36]"]);
    let all: std::collections::BTreeMap<String, Vec<f32>> = group(&bits(&agent.store), "density")
        .into_iter()
        .map(|(path, x)| (path, x.into_iter().map(f32::from_bits).collect()))
        .collect();
    for (path, bound) in [("0.weight", 1.0 / 8.0), ("1.weight", 1.0 / 6.0), ("2.weight", 3e-3)] {
        let largest = all[&format!("density.layer{path}")].iter().fold(0.0f32, |a, x| a.max(x.abs()));
        assert!(largest <= bound && largest > 0.8 * bound, "{path}: {largest}, expected up to {bound}");
    }
    assert!(all["density.layer0.bias"].iter().chain(&all["density.layer1.bias"]).all(|b| *b == 0.0));
    assert_eq!(all["density.layer2.bias"], [1.0]);
}

/// What is not trained before the switch begins its schedule there.
#[test]
fn schedules_of_new_critics_begin_with_their_phase() {
    let phase = Phase { before: 100, offline: 100, ..online(40) };
    for (algo, adapt, option, update) in
        [("wsrl", "plain", "wsrl.critic", "q"), ("td3", "opt", "opt.critic", "q_new")]
    {
        let agent = small(algo, adapt, DIMS, &[&format!("{option}=linear(3e-4,0,auto)")]);
        let rates = agent.trace(&phase).items.into_iter().find_map(|item| match item.effect {
            Effect::Train { name, optimiser, .. } if name == update => {
                Some([0, 20, 40].map(|k| optimiser.lr_at(k)))
            }
            _ => None,
        });
        assert_eq!(rates, Some([3e-4, 1.5e-4, 0.0]), "{option}");
    }
}

#[test]
fn options_that_would_say_nothing_are_refused() {
    for (algo, adapt, sets, words) in [
        ("iql", "baq", &["iql.critics=1", "baq.relax=gate"][..], "baq.relax = gate asks"),
        ("iql", "baq", &["baq.relax=fade(1.5)"], "expected whole rounds, got 1.5"),
        ("cal_ql", "plain", &["cql.discount=linear(0.5,0.99,auto)"], "cql.discount: expected a constant"),
        (
            "wsrl",
            "plain",
            &["wsrl.calibrated=true", "cql.discount=linear(0.5,0.99,auto)"],
            "expected a constant",
        ),
        ("iql", "plain", &["run.generator=cfdg", "cfdg.unlabelled=0"], "cfdg.unlabelled: expected a number"),
        ("iql", "plain", &["run.generator=cfdg", "cfdg.unlabelled=1", "cfdg.guidance=0"], "got 1"),
    ] {
        let config = common::config(algo, adapt, 1, &[&SMALL[..], sets].concat());
        let Err(error) = Agent::new(&config, DIMS) else { panic!("{sets:?} are not refused") };
        assert!(error.to_string().contains(words), "{sets:?}: {error}");
    }
}
