//! Boundaries of episodes, the environments that data name, and the numbers that are shown of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use baq::cli::names::default_out;
use baq::cli::setup::known_sections;
use baq::config::{AutoOr, Config, DataConfig, DataMode, RewardScaling, RunConfig};
use baq::train::data::{self, Dataset, Task};
use baq_datasets::{Columns, Ending, Source, returns};
use ndarray::{Array1, Array2};
use serde_json::Value;

use crate::common::place::write_d4rl;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/tests/fixtures").join(name)
}

/// A D4RL file of 20 trajectories of 20 rows whose ends are flagged where `flagged` says so; component 0 is
/// 100 k + t / 100. Returns to its path.
fn file(folder: &Path, name: &str, flagged: fn(usize) -> bool) -> PathBuf {
    let (n, len) = (400, 20);
    let (k, t) = (|i: usize| i / len, |i: usize| i % len);
    let state = |i: usize, t: usize, c: usize| match c {
        0 => 100.0 * k(i) as f32 + t as f32 / 100.0,
        _ => ((i * 7 + c * 3) % 32) as f32 / 320.0,
    };
    let observations = Array2::from_shape_fn((n, 11), |(i, c)| state(i, t(i), c));
    let next = |i: usize, c: usize| match t(i) + 1 == len {
        true => state(i, t(i) + 1, c),
        false => observations[[i + 1, c]],
    };
    let columns = Columns {
        next_observations: Array2::from_shape_fn((n, 11), |(i, c)| next(i, c)),
        actions: Array2::from_shape_fn((n, 3), |(i, c)| ((i * 5 + c) % 17) as f32 / 10.0 - 0.8),
        rewards: Array1::from_shape_fn(n, |i| 1.0 + (k(i) % 5) as f32 / 10.0),
        endings: (0..n)
            .map(|i| if t(i) + 1 == len && flagged(k(i)) { Ending::Truncated } else { Ending::Running })
            .collect(),
        action_log_probs: None,
        source: Source::in_memory("<test>"),
        observations,
    };
    let path = folder.join(name);
    write_d4rl(&path, &columns);
    path
}

fn load(file: &Path, env: &str, change: impl FnOnce(&mut DataConfig)) -> Dataset {
    let mut config = Config::new(known_sections());
    let run = RunConfig { dataset: file.display().to_string(), env: env.into(), ..RunConfig::default() };
    config.put(run);
    let mut data = DataConfig::default();
    change(&mut data);
    config.put(data);
    data::load(&config).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Transitions that go from one trajectory into another.
fn crossing(c: &Columns) -> usize {
    (0..c.len()).filter(|&i| (c.next_observations[[i, 0]] - c.observations[[i, 0]]).abs() > 1.0).count()
}

fn baq(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_baq")).current_dir(folder).args(args).output().expect("the program runs")
}

fn succeed(folder: &Path, args: &[&str]) -> (String, String) {
    let out = baq(folder, args);
    let (text, err) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{args:?}: {err}");
    (text.into_owned(), err.into_owned())
}

#[test]
fn minari_unflagged_end() {
    let minari = fixture("minari/hopper/cut-v0");
    for mode in [DataMode::Episodes, DataMode::NextObservations, DataMode::D4rl] {
        let set = load(&minari, "", |d| d.mode = mode);
        assert_eq!((crossing(&set.columns), set.columns.len(), set.facts.episodes), (0, 46, 4), "{mode:?}");
    }
}

#[test]
fn unflagged_seams() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let half = file(folder.path(), "half.hdf5", |k| k % 2 == 0);
    let set = load(&half, "", |d| d.reward_scaling = RewardScaling::ReturnRange);
    assert_eq!((crossing(&set.columns), set.facts.seams, set.facts.episodes), (0, 9, 20));
    // Trajectories of 19 and 20 rows, rewards of 1 to 1.4.
    assert!((set.scales.reward.scale - 1000.0 / 9.0).abs() < 1e-3, "{}", set.scales.reward.scale);
    assert!(
        set.facts.notes.iter().any(|n| n.contains("9 episodes end without a flag")),
        "{:?}",
        set.facts.notes
    );
    let raw = load(&half, "", |_| ());
    let greatest = returns::returns_to_go(&raw.columns, 0.99).iter().fold(0.0f32, |m, g| m.max(*g));
    assert!((greatest - 25.493).abs() < 1e-3, "{greatest}");
    // D4RL's own reader can still be had, and says what it does.
    let literal = load(&half, "", |d| d.mode = DataMode::D4rl);
    assert_eq!(crossing(&literal.columns), 9);
    let note = literal.facts.notes.iter().find(|n| n.contains("data.mode=d4rl")).expect("a note");
    assert!(note.contains("crosses 9 unflagged ends"), "{note}");
    // Where every end has its flag the two modes are the same, to the bit.
    let whole = file(folder.path(), "whole.hdf5", |_| true);
    let (default, literal) = (load(&whole, "", |_| ()), load(&whole, "", |d| d.mode = DataMode::D4rl));
    assert_eq!(default.columns, literal.columns);
    assert!(default.facts.notes.is_empty(), "{:?}", default.facts.notes);
}

#[test]
fn unused_log_probs_block() {
    for name in ["odd-log-probs-inf.hdf5", "odd-log-probs-wide.hdf5"] {
        let set = load(&fixture(name), "", |_| ());
        assert_eq!(set.columns.len(), 58);
        assert!(set.facts.notes[0].contains("left out") && set.facts.notes[0].contains("action_log_probs"));
        let (table, _) = succeed(Path::new("."), &["data", "inspect", &fixture(name).display().to_string()]);
        assert!(table.contains("note                 left out, as training does not use it"), "{table}");
    }
}

#[test]
fn a_file_without_timeouts_has_the_limit_of_its_task_or_the_one_asked_for() {
    let read = |name: &str| data::read(&fixture(name), false).expect("good fixture");
    let mut long = read("minari/hopper/cut-v0");
    // The same rows as one list without flags, and over again until it is long enough.
    let rows: Vec<usize> = (0..2100).map(|i| i % long.len()).collect();
    for matrix in [&mut long.observations, &mut long.actions] {
        *matrix = matrix.select(ndarray::Axis(0), &rows);
    }
    long.rewards = long.rewards.select(ndarray::Axis(0), &rows);
    long.terminals = vec![false; rows.len()];
    (long.next_observations, long.timeouts, long.group_ends) = (None, None, None);
    let used = |file: &str, steps| {
        let data = DataConfig { max_episode_steps: steps, ..DataConfig::default() };
        let (summary, options) = data::summarise(&long, Path::new(file), None, &data).expect("fits");
        let columns = long.clone().into_columns(&options).expect("rows");
        assert_eq!(columns.len(), summary.n_training);
        (summary.n_training, summary.n_episodes, summary.assumed_limit().unwrap_or_default())
    };
    let (rows, episodes, said) = used("my-hopper.hdf5", AutoOr::Auto);
    assert_eq!((rows, episodes), (2100 - 3, 3));
    assert!(said.contains("1000 rows assumed, that of hopper-v4, which ends 2 episodes"), "{said}");
    let (rows, episodes, said) = used("my-hopper.hdf5", AutoOr::Value(200));
    assert_eq!((rows, episodes), (2100 - 11, 11));
    assert!(said.contains("200 rows as asked"), "{said}");
    let (rows, episodes, said) = used("rollouts.hdf5", AutoOr::Auto);
    assert_eq!((rows, episodes), (2099, 1));
    assert!(said.contains("none assumed") && said.contains("--max-episode-steps"), "{said}");
    assert_eq!(used("rollouts.hdf5", AutoOr::Value(1000)).0, 2100 - 3);

    let bare = fixture("no-timeouts.hdf5").display().to_string();
    let line = ["data", "inspect", &bare, "--max-episode-steps", "12", "--json"];
    let json: Value = serde_json::from_str(&succeed(Path::new("."), &line).0).expect("one object");
    assert_eq!((&json["n_training"], &json["time_limit"]["steps"]), (&Value::from(55), &Value::from(12)));
    let refused = baq(Path::new("."), &["data", "inspect", &bare, "--max-episode-steps", "0"]);
    assert_eq!(refused.status.code(), Some(2));
    let refused =
        baq(Path::new("."), &["train", "--algo", "sac", "--env", "toy", "--max-episode-steps", "9"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("data.max_episode_steps: expected data"));
}

#[test]
fn minari_env() {
    let task = |file: &Path| Task::of(file).known().map(|spec| spec.id);
    let minari = fixture("minari/hopper/cut-v0");
    assert_eq!(task(&minari), Some("hopper-v5"));
    assert_eq!(task(&minari.join("data/main_data.hdf5")), Some("hopper-v5"));
    assert_eq!(Task::of(&fixture("minari/toy/fixture-v0")), Task::Foreign("Toy-v0".into()));
    assert_eq!(task(Path::new("walker2d-medium.hdf5")), Some("walker2d-v4"));
    assert_eq!(Task::of(&fixture("plain.hdf5")), Task::Unknown);
    // Other versions and tasks, with and without a record of the environment.
    let folder = tempfile::tempdir().expect("temporary folder");
    let json = std::fs::read_to_string(minari.join("data/metadata.json")).expect("fixture");
    std::fs::create_dir_all(folder.path().join("data")).expect("folder");
    std::fs::copy(minari.join("data/main_data.hdf5"), folder.path().join("data/main_data.hdf5"))
        .expect("copy");
    let recorded = |from: &str, to: &str| {
        std::fs::write(folder.path().join("data/metadata.json"), json.replace(from, to)).expect("write");
        Task::of(folder.path())
    };
    assert_eq!(recorded("Hopper-v5", "Hopper-v4").known().map(|s| s.id), Some("hopper-v4"));
    assert_eq!(recorded("Hopper-v5", "HalfCheetah-v2").known().map(|s| s.id), Some("halfcheetah-v2"));
    assert_eq!(recorded("Hopper-v5", "Hopper-v3"), Task::Foreign("Hopper-v3".into()));
    assert_eq!(recorded("env_spec", "other").known().map(|s| s.id), Some("hopper-v4"), "by its id");

    let out = |file: &Path| {
        let mut config = Config::new(known_sections());
        config.put(RunConfig { dataset: file.display().to_string(), ..RunConfig::default() });
        default_out(&config, None, &[]).display().to_string()
    };
    assert!(out(&minari).starts_with("runs/iql-hopper-cut-v0-s0"), "{}", out(&minari));
    let toy = out(&fixture("minari/toy/fixture-v0"));
    assert!(toy.contains("toy-fixture-v0-s0"), "{toy}");
}

#[test]
fn inspect_and_report_say_the_same() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let place = folder.path();
    let show = |path: PathBuf| path.display().to_string();
    let files = [
        (show(file(place, "half.hdf5", |k| k % 2 == 0)), "none"),
        (show(file(place, "whole.hdf5", |_| true)), "none"),
        (show(file(place, "open.hdf5", |_| false)), "none"),
        (show(fixture("gzip.hdf5")), "none"),
        (show(fixture("no-timeouts.hdf5")), "none"),
        (show(fixture("no-next-observations.hdf5")), "none"),
        (show(fixture("odd-log-probs-wide.hdf5")), "none"),
        (show(fixture("minari/toy/fixture-v0")), ""),
        (show(fixture("minari/hopper/cut-v0")), "none"),
        ("embedded".to_string(), "none"),
    ];
    for (i, (data, env)) in files.iter().enumerate() {
        let (text, _) = succeed(place, &["data", "inspect", data, "--json"]);
        let inspected: Value = serde_json::from_str(&text).expect("one object");
        let run = format!("run{i}");
        let mut line = vec!["train", "--data", data, "--out", &run, "--quiet", "--updates", "2"];
        line.extend(["--set", "iql.hidden=[4]", "--set", "offline.batch=8"]);
        if !env.is_empty() {
            line.extend(["--env", env]);
        }
        let (_, err) = succeed(place, &line);
        let json = std::fs::read_to_string(place.join(&run).join("dataset.json")).expect("written by train");
        let facts: Value = serde_json::from_str(&json).expect("JSON");
        for (fact, number) in [
            ("/transitions", "/n_transitions"),
            ("/used", "/n_training"),
            ("/episodes", "/n_episodes"),
            ("/complete", "/n_complete"),
            ("/terminals", "/n_terminals"),
            ("/timeouts", "/n_timeouts"),
            ("/seams", "/n_seams"),
            ("/return_mean", "/returns/mean"),
            ("/return_std", "/returns/std"),
            ("/return_min", "/returns/min"),
            ("/return_max", "/returns/max"),
            ("/return_best_tenth", "/returns/best_tenth_mean"),
            ("/length_mean", "/lengths/mean"),
            ("/score_mean", "/normalized_score/mean"),
            ("/score_best_tenth", "/normalized_score/best_tenth_mean"),
            ("/sha256", "/sha256"),
        ] {
            let nothing = Value::Null;
            let (a, b) =
                (facts.pointer(fact).unwrap_or(&nothing), inspected.pointer(number).unwrap_or(&nothing));
            assert_eq!(a, b, "{data}: {fact} of the run, {number} of inspect");
        }
        let length = |of: &str| inspected.pointer(&format!("/lengths/{of}")).and_then(Value::as_f64);
        assert_eq!(
            (facts["length_min"].as_f64(), facts["length_max"].as_f64()),
            (length("min"), length("max"))
        );
        for note in facts["notes"].as_array().expect("a list") {
            assert!(err.contains(note.as_str().expect("text")), "{note} is not in: {err}");
        }
        let page = std::fs::read_to_string(place.join(&run).join("report.html")).expect("written by train");
        assert!(page.contains(&format!("<td>{}</td>", facts["transitions"])), "{data}");
    }
}
