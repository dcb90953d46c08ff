//! What methods do at the switch, and returns of episodes that fail for ever.

use std::path::Path;
use std::process::Command;

use baq::algo::{Failed, ReturnToGo};
use baq::cli::setup::{RunArgs, known_sections};
use baq::config::{Config, DataConfig, OnlineActorLr, OnlineConfig, RewardScaling, RunConfig, resolve};
use baq::replay;
use baq::train::data::{self, Dataset, Recorded};
use baq_datasets::{Ending, synthetic};

use crate::common::place::{COMMON, write_d4rl};

fn config(sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_string()).collect();
    resolve(known_sections(), None, None, &sets).unwrap_or_else(|e| panic!("{e}"))
}

/// Ten episodes of 50 steps that are cut by a time limit; the goal gives 1 in the last row of the last one, if ever.
fn maze(path: &Path, reward: impl Fn(usize) -> f32, terminal: bool) {
    let mut columns = synthetic::point(3, 500, 4, 2);
    columns.rewards.iter_mut().enumerate().for_each(|(i, r)| *r = reward(i));
    for (i, ending) in columns.endings.iter_mut().enumerate() {
        *ending = match (i % 50 == 49, terminal) {
            (true, true) => Ending::Terminated,
            (true, false) => Ending::Truncated,
            (false, _) => Ending::Running,
        };
    }
    // Every row continues the one before it, except where an episode begins.
    for i in (0..499).filter(|i| i % 50 != 49) {
        let next = columns.next_observations.row(i).to_owned();
        columns.observations.row_mut(i + 1).assign(&next);
    }
    let _ = std::fs::remove_file(path);
    write_d4rl(path, &columns);
}

fn dataset(path: &Path, bias: f64) -> Dataset {
    let mut config = config(&["data.mode=next_observations", "data.keep_timeout_transitions=true"]);
    let run: RunConfig = config.section();
    config.put(RunConfig { algo: "cal_ql".into(), dataset: path.display().to_string(), ..run });
    let data: DataConfig = config.section();
    config.put(DataConfig { reward_scaling: RewardScaling::Affine, reward_bias: bias, ..data });
    data::load(&config).unwrap_or_else(|e| panic!("{e}"))
}

/// The column of returns to go, and the reward that means failing.
fn returns(dataset: &Dataset, failed: Failed) -> (Vec<f32>, Option<f32>) {
    let rule = ReturnToGo { discount: 0.99, failed };
    let every: Vec<usize> = (0..dataset.columns.len()).collect();
    let pools = dataset
        .pools(&every, 0, &[], Recorded { return_to_go: Some(rule), ..Default::default() })
        .unwrap_or_else(|e| panic!("{e}"));
    let column = pools.column(replay::RETURN_TO_GO);
    (every.iter().map(|&i| pools.get(i, column)[0]).collect(), dataset.failing(rule))
}

/// The sum to the time limit of a failed episode is no return of the behaviour: it is too high, and lifts values.
#[test]
fn calql_failed_sparse() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("maze.hdf5");
    let goal = |i: usize| if i == 499 { 1.0 } else { 0.0 };
    maze(&path, goal, false);
    let data = dataset(&path, -1.0);
    let (auto, failing) = returns(&data, Failed::Auto);
    assert_eq!(failing, Some(-1.0));
    assert!(auto[..450].iter().all(|g| (g + 100.0).abs() < 1e-4), "{:?}", &auto[..3]);
    // The episode that succeeds keeps its sum.
    assert_eq!(auto[499], 0.0);
    assert!((auto[450] + (1.0 - 0.99f32.powi(49)) / 0.01).abs() < 1e-3, "{}", auto[450]);
    assert_eq!(returns(&data, Failed::Perpetual).0, auto);
    let (sum, failing) = returns(&data, Failed::Sum);
    assert_eq!((sum[0], sum[49], failing), (auto[450] - 0.99f32.powi(49), -1.0, None));

    // Nobody ever reached the goal, and nothing ended but by time: all failed.
    maze(&path, |_| 0.0, false);
    assert!(returns(&dataset(&path, -1.0), Failed::Auto).0.iter().all(|g| (g + 100.0).abs() < 1e-4));
    // One reward in every step and terminal states: time is the price, the terminal state the goal.
    maze(&path, |_| 0.0, true);
    assert_eq!(returns(&dataset(&path, -1.0), Failed::Auto).1, None);
    // Rewards that are not negative need nothing.
    maze(&path, goal, false);
    assert_eq!(returns(&dataset(&path, 0.0), Failed::Auto).1, None);
    // Dense rewards never are a sparse task, negative or not.
    maze(&path, |i| (i % 7) as f32, false);
    for bias in [-100.0, 0.0] {
        assert_eq!(returns(&dataset(&path, bias), Failed::Auto).1, None);
    }
}

/// Options that an adaptation brings stand above the base's, also those that a file inherits, and below the user's own.
#[test]
fn an_adaptations_defaults_lie_between_the_base_and_the_user() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("mine.toml");
    let lines = |file_text: &str, args: &[&str]| {
        std::fs::write(&file, file_text).expect("a temporary file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_baq"));
        command.args(["explain", "--algo", "cql", "--adapt", "off2on", "--env", "hopper"]).args(args);
        if !file_text.is_empty() {
            command.arg("--config").arg(&file);
        }
        let out = command.output().expect("baq runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("text");
        let policy = text.split("trains pi").nth(1).expect("a policy").to_string();
        policy.lines().find(|l| l.contains("adam")).expect("an optimiser").to_string()
    };
    // The preset of CQL says constant(1.0) of 3e-5.
    assert!(lines("", &[]).contains("3e-4") || lines("", &[]).contains("0.0003"), "{}", lines("", &[]));
    let inherits = "inherit = \"cql_corl\"\n";
    assert_eq!(lines(inherits, &[]), lines("", &[]));
    let own = "inherit = \"cql_corl\"\n[online]\nactor_lr = \"constant(1.0)\"\n";
    assert_ne!(lines(own, &[]), lines("", &[]));
    assert_eq!(lines("", &["--set", "online.actor_lr=constant(1.0)"]), lines(own, &[]));
}

/// The same on top of the run that fine-tuning starts from.
#[test]
fn an_inherited_preset_does_not_undo_an_adaptations_defaults() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("mine.toml");
    let rate = |text: &str| {
        std::fs::write(&file, text).expect("a temporary file");
        let args = RunArgs { config: Some(file.clone()), env: Some("toy".into()), ..RunArgs::default() };
        let offline =
            resolve(known_sections(), Some("cql_corl"), None, &[]).unwrap_or_else(|e| panic!("{e}"));
        let config = args.resolve_from(offline, COMMON, "cql", "off2on").unwrap_or_else(|e| panic!("{e}"));
        config.section::<OnlineConfig>().actor_lr
    };
    assert_eq!(rate("inherit = \"cql_light\"\n"), OnlineActorLr::Fixed(3e-4));
    let own = "inherit = \"cql_light\"\n[online]\nactor_lr = \"constant(0.5)\"\n";
    assert_eq!(rate(own), OnlineActorLr::Constant(0.5));
}

/// Its full name is the paper's, wherever it is said.
#[test]
fn suf_is_stabilized_unconstrained_fine_tuning() {
    let about = baq::adapt::find("suf").expect("registered").about;
    assert!(about.starts_with("Stabilized Unconstrained Fine-tuning"), "{about}");
    let section = baq::adapt::find("suf").and_then(|e| e.section).expect("it has options")();
    assert_eq!(section.about(), "Stabilized Unconstrained Fine-tuning");
    for (set, name) in [("true", "unconstrained"), ("false", "ratios alone")] {
        let set = format!("suf.unconstrained={set}");
        let out = Command::new(env!("CARGO_BIN_EXE_baq"))
            .args(["explain", "--algo", "cql", "--adapt", "suf", "--set", &set])
            .output()
            .expect("baq runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.starts_with(&format!("cql + suf ({name}), online phase")), "{text}");
        assert_eq!(text.contains("cql.penalty"), name == "ratios alone", "{text}");
    }
}
