//! Learning in an environment alone, without recorded transitions, on the toy task.
//! (Killed and resumed, and on other thread counts: `resume`. The commands: `cli`.)

mod common;

use std::path::{Path, PathBuf};

use baq::autodiff::NoProbe;
use baq::config::Config;
use baq::train::TrainError;
use baq::train::counters::Counters;
use baq::train::data;
use baq::train::metrics::read_evaluations;
use baq::train::progress::Stop;
use baq::train::run::Run;
use baq::train::rundir::{METRICS_CSV, RunDir};
use baq::train::state::{OnlineState, Saved};
use common::config;

const SMALL: &[&str] = &[
    "run.env=toy",
    "sac.hidden=[32, 32]",
    "td3.hidden=[32, 32]",
    "online.batch=64",
    "online.capacity=10000",
    "online.eval_episodes=0",
    "online.checkpoint_every=100000",
];

/// Floats of a record: s [3], a [1], r, m, s2 [3].
const WIDTH: usize = 9;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A whole run; `sets` go on top of [`SMALL`].
    fn run(&self, name: &str, algo: &str, sets: &[&str]) -> PathBuf {
        let path = self.0.path().join(name);
        let folder = RunDir::create(&path).unwrap_or_else(|e| panic!("{e}"));
        learn(&config(algo, "plain", 3, &[SMALL, sets].concat()), &folder).unwrap_or_else(|e| panic!("{e}"));
        path
    }
}

fn learn(config: &Config, folder: &RunDir) -> Result<(), TrainError> {
    let dataset = data::load(config)?;
    let stop = Stop::default();
    let run = Run { config, path: folder.path(), dataset, saved: None, manner: (&stop, true), beside: true };
    run.learn(folder, &mut NoProbe).map(drop)
}

fn saved(run: &Path) -> (Counters, OnlineState) {
    let saved = Saved::open(run).unwrap_or_else(|e| panic!("{e}"));
    let counters = saved.counters().unwrap_or_else(|e| panic!("{e}"));
    (counters, saved.online(WIDTH, &[], false).unwrap_or_else(|e| panic!("{e}")))
}

/// The networks in a checkpoint, as bytes; what else it holds may differ.
fn networks(run: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(run.join("checkpoint.safetensors")).expect("a checkpoint");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a checkpoint");
    let mut all: Vec<_> = file
        .iter()
        .filter(|(name, _)| ["pi", "q", "adam"].iter().any(|p| name.starts_with(p)))
        .map(|(name, view)| (name.to_string(), view.data().to_vec()))
        .collect();
    all.sort();
    assert!(all.len() > 20, "{} tensors", all.len());
    all
}

#[test]
fn sac_and_td3_learn() {
    let place = Place::new();
    // No force gathers 38 and a good controller 94.
    for (algo, sets) in [
        ("sac", &["online.warmup_steps=200", "sac.temperature_optimiser=3e-3"][..]),
        (
            "td3",
            &[
                "online.random_steps=500",
                "online.exploration=noise",
                "online.exploration_noise=0.1",
                "online.exploration_clip=2",
            ],
        ),
    ] {
        let rates = ["actor", "critic"].map(|who| format!("{algo}.{who}=3e-3"));
        let common = ["online.env_steps=4000", "online.eval_every=4000", "online.eval_episodes=10"];
        let run = place.run(algo, algo, &[&common, sets, &rates.each_ref().map(String::as_str)].concat());
        let evaluations = read_evaluations(&run).unwrap_or_else(|e| panic!("{e}"));
        let [before, after] = [0, 1].map(|k| evaluations[k].mean());
        assert!(before < 60.0 && after > 80.0, "{algo}: from {before} to {after}");
    }
}

#[test]
fn evaluation_changes_nothing() {
    let place = Place::new();
    let sets = ["online.env_steps=250", "online.log_every=10", "online.warmup_steps=50"];
    let with =
        place.run("with", "sac", &[&sets[..], &["online.eval_every=20", "online.eval_episodes=3"]].concat());
    let without = place.run("without", "sac", &sets);
    assert_eq!(read_evaluations(&with).expect("evaluations").len(), 14);
    assert_eq!(read_evaluations(&without).expect("no evaluations").len(), 0);
    assert!(networks(&with) == networks(&without), "evaluation changes the networks");
    let log = |run: &Path| std::fs::read_to_string(run.join(METRICS_CSV)).expect("metrics");
    assert_eq!(log(&with).lines().count(), 26);
    assert_eq!(log(&with), log(&without));
    assert!(saved(&with).1.records == saved(&without).1.records, "evaluation changes what is collected");
}

#[test]
fn only_the_task_ends_bootstrapping() {
    let place = Place::new();
    let run = place.run("run", "td3", &["online.env_steps=4000", "online.random_steps=4000"]);
    let (counters, state) = saved(&run);
    assert_eq!((counters.round, counters.env_step), (0, 4000), "no update before random_steps are over");
    let rows: Vec<&[f32]> = state.records.chunks_exact(WIDTH).collect();
    assert_eq!(rows.len(), 4000);
    let (mut length, mut limits, mut falls) = (0, 0, 0);
    for pair in rows.windows(2) {
        let (s2, m) = (&pair[0][6..9], pair[0][5]);
        length += 1;
        if s2 == &pair[1][..3] {
            assert_eq!(m, 1.0, "in the middle of an episode");
            continue;
        }
        match (length, s2[0].abs() > 2.0) {
            (100, _) => limits += 1,
            (_, true) => falls += 1,
            other => panic!("an episode ended at {other:?}"),
        }
        assert_eq!(m, if length == 100 { 1.0 } else { 0.0 }, "after {length} steps at {s2:?}");
        length = 0;
    }
    assert!(limits > 5 && falls > 2, "{limits} time limits, {falls} falls");

    // Uniform on [-1, 1): mean 0 +- 0.01, variance 1/3 +- 0.005.
    let actions: Vec<f64> = rows.iter().map(|r| f64::from(r[3])).collect();
    let mean = |f: &dyn Fn(f64) -> f64| actions.iter().map(|a| f(*a)).sum::<f64>() / 4000.0;
    assert!(actions.iter().all(|a| (-1.0..1.0).contains(a)));
    assert!(mean(&|a| a).abs() < 0.04 && (mean(&|a| a * a) - 1.0 / 3.0).abs() < 0.02);
    // They are the run's, whoever learns from them.
    let other = place.run("sac", "sac", &["online.env_steps=200", "online.random_steps=200"]);
    assert!(saved(&other).1.records[..] == state.records[..200 * WIDTH]);
}

#[test]
fn updates_begin_when_they_should() {
    let place = Place::new();
    let rounds = |name: &str, sets: &[&str]| {
        saved(&place.run(name, "sac", &[&["online.env_steps=100"], sets].concat())).0.round
    };
    assert_eq!(rounds("a", &[]), 100);
    assert_eq!(rounds("b", &["online.warmup_steps=30"]), 70);
    assert_eq!(rounds("c", &["online.random_steps=40"]), 60);
    assert_eq!(rounds("d", &["online.warmup_steps=30", "online.random_steps=10"]), 70);
    assert_eq!(rounds("e", &["online.updates_per_step=0.25", "online.warmup_steps=20"]), 20);
}

/// `online.actor_lr` is for the switch, to which an untrained agent does not come.
#[test]
fn the_policy_learns_at_its_full_rate() {
    let place = Place::new();
    let run = |name: &str, rule: &str| {
        networks(&place.run(name, "td3", &["online.env_steps=60", &format!("online.actor_lr={rule}")]))
    };
    let tenth = run("tenth", "constant(0.1)");
    assert!(tenth == run("whole", "constant(1.0)") && tenth == run("continue", "continue"));
}
