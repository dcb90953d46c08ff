//! A study as a user meets it: expanded, run in several processes, killed, run again, submitted.
//!
//! The toy environment and networks of a few units, so that cells take moments.

mod common;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use baq::train::metrics::{Evaluation, EvaluationLog, Phase, Stamp};
use baq_datasets::synthetic;
use common::place::{copy, terminate, write_d4rl};
use common::program::baq;
use tempfile::TempDir;

const STUDY: &str = r#"
name  = "toys"
about = "what is tried here"
seeds = 2
data  = ["a.hdf5"]
[offline.iql]
algo    = "iql"
updates = 400
set     = ["run.env=toy", "offline.batch=16", "iql.hidden=[8,8]", "offline.eval_episodes=1", "offline.checkpoint_every=50"]
[model]
updates = 200
set     = ["run.env=toy", "offline.batch=16", "bc.hidden=[8,8]", "offline.eval_episodes=0"]
[[method]]
label = "IQL"
from  = "iql"
adapt = "plain"
[[method]]
label = "IQL + BAQ"
from  = "iql"
adapt = "baq"
[[method]]
label = "SAC"
algo  = "sac"
seeds = 1
set   = ["run.env=toy", "sac.hidden=[8,8]", "online.capacity=2000"]
[online]
env_steps     = 400
eval_every    = 200
eval_episodes = 1
set           = ["online.batch=16", "online.warmup_steps=50", "online.checkpoint_every=50"]
[scale.half]
offline = { updates = 200 }
"#;

/// 2 trainings, 2 models, 2 + 2 fine-tunings, 1 from scratch.
const CELLS: usize = 9;

struct Place(TempDir);

impl Place {
    fn new(study: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        write_d4rl(&place.path("a.hdf5"), &synthetic::point(5, 300, 3, 1));
        std::fs::write(place.path("s.toml"), study).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        baq(&self.0, line)
    }

    fn run(&self, line: &str, code: i32) -> String {
        let out = self.command(line).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "baq {line}: {}", said(&out));
        said(&out)
    }

    /// Refused: code 2, one line with all of `words`, nothing written.
    fn refused(&self, line: &str, words: &[&str]) {
        let before = results(self.0.path());
        let out = self.run(line, 2);
        assert_eq!(out.lines().count(), 1, "{out}");
        assert!(words.iter().all(|w| out.contains(w)), "{words:?} in {out}");
        assert!(before == results(self.0.path()), "baq {line} changed something");
    }

    /// Runs the study, and the processes of its cells as soon as one is at work; `None` if it ends before.
    fn at_work(&self, out: &str) -> Option<(Child, Vec<u32>)> {
        let mut run = self.command(&format!("study run s.toml --out {out} --jobs 2 --quiet"));
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        loop {
            if run.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
            if !self.path(out).join("logs").exists() {
                continue;
            }
            let status = self.json(&format!("study status {out} --json"));
            let process = |cell: &serde_json::Value| cell["process"].as_str()?.parse().ok();
            let cells: Vec<u32> = status["cells"].as_array().unwrap().iter().filter_map(process).collect();
            if !cells.is_empty() {
                return Some((run, cells));
            }
        }
    }

    /// The run of a method.
    fn cell(&self, study: &str, label: &str, seed: u64) -> PathBuf {
        let status = self.json(&format!("study status {study} --json"));
        let mut cells = status["cells"].as_array().unwrap().iter();
        let cell = cells.find(|cell| cell["label"] == label && cell["seed"] == seed).unwrap();
        self.path(cell["run"].as_str().unwrap())
    }

    fn json(&self, line: &str) -> serde_json::Value {
        let out = self.command(line).output().unwrap();
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("baq {line}: {e}: {}", said(&out)))
    }
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Gives a finished run other evaluations: one offline, and one after each of 0, 200 and 400 steps.
fn evaluated(run: &str, returns: [f64; 3]) {
    let of = |phase, update, env_step, x| Evaluation {
        stamp: Stamp { phase, update, env_step },
        score: None,
        success: None,
        returns: vec![x],
        lengths: vec![1],
    };
    let online =
        [0, 200, 400].into_iter().zip(returns).map(|(step, x)| of(Phase::Online, 400 + step, step, x));
    let all: Vec<Evaluation> = std::iter::once(of(Phase::Offline, 400, 0, 1.0)).chain(online).collect();
    EvaluationLog::create(Path::new(run), &all).unwrap().flush().unwrap();
}

/// With -9, those that have not ended.
fn kill_all(processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    Command::new("kill").arg("-9").args(ids).stderr(Stdio::null()).status().unwrap();
}

/// Every file of a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    entries
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&p).unwrap()))
        .collect()
}

/// Everything below that is a function of the study alone, with its bytes.
fn results(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inside) = folders.pop() {
        for path in std::fs::read_dir(&inside).unwrap().map(|e| e.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".safetensors")
                || name.starts_with("evaluations")
                || name.ends_with(".toml")
            {
                found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_study_that_is_killed_and_run_again_has_the_results_of_one_that_was_not() {
    let place = Place::new(STUDY);
    let plan = place.json("study plan s.toml --json --cores 1,1000");
    assert_eq!(plan["cells"].as_array().unwrap().len(), CELLS);
    // On as many threads as cells have, whatever the machine has.
    assert_eq!(plan["threads"], 1);
    let (hours, seconds) =
        (plan["core_hours"].as_f64().unwrap(), |k: usize| plan["cores"][k]["seconds"].as_f64().unwrap());
    assert!(hours > 0.0 && (seconds(0) / 3600.0 / hours - 1.0).abs() < 1e-3, "{plan}");
    assert!((seconds(1) / plan["longest_chain_seconds"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{plan}");
    place.run("study run s.toml --out whole --jobs 2 --quiet", 0);
    assert_eq!(place.json("study status whole --json")["done"], CELLS);
    let begun = || match place.path("cut/logs").exists() {
        true => place.json("study status cut --json")["begun"].as_u64().unwrap(),
        false => 0,
    };
    // The study's process, with -9: its cells are told and save. Whatever the moment, the next run goes on.
    let mut cut_short = 0;
    for k in 0..6 {
        let mut child = place.command("study run s.toml --out cut --jobs 2 --quiet").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(120 + 90 * k));
        // On a slow machine too, one of them comes while a cell is at work.
        loop {
            cut_short += begun();
            if k < 5 || cut_short > 0 {
                break;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before a cell was cut short");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    place.run("study run s.toml --out cut --jobs 3 --quiet", 0);
    // A cell, with -9, unless it ends before: it is a row with its reason, and the others go on.
    let hit = (0..5).map(|k| format!("hit{k}")).find(|hit| {
        let Some((mut run, cells)) = place.at_work(hit) else { return false };
        kill_all(&cells[..1]);
        run.wait().unwrap();
        place.json(&format!("study status {hit} --json"))["failed"] == 1
    });
    let hit = hit.expect("a cell is killed at work");
    let status = place.json(&format!("study status {hit} --json"));
    assert!(
        status["done"].as_u64() > Some(3) && status.to_string().contains("killed (signal: 9"),
        "{status}"
    );
    place.run(&format!("study run s.toml --out {hit} --jobs 2 --quiet"), 0);
    // All of it, as if the power were gone.
    let (mut run, cells) = place.at_work("dark").expect("a cell is at work");
    kill_all(&[&[run.id()], &cells[..]].concat());
    run.wait().unwrap();
    assert!(place.json("study status dark --json")["done"].as_u64() < Some(CELLS as u64));
    place.run("study run s.toml --out dark --jobs 2 --quiet", 0);
    let same = |name: &str| {
        place.run(&format!("study table {name}"), 0);
        let mut all = results(&place.path(name));
        let tables = files(&place.path(name)).into_iter().filter(|(file, _)| file != "hours.csv");
        all.extend(tables.map(|(file, bytes)| (file.into(), bytes)));
        all
    };
    let whole = same("whole");
    assert!(whole.len() > 3 * CELLS && whole.contains_key(Path::new("table.csv")));
    for cut in [same("cut"), same(&hit), same("dark")] {
        assert_eq!(whole.keys().collect::<Vec<_>>(), cut.keys().collect::<Vec<_>>());
        for (path, bytes) in &whole {
            assert!(cut[path] == *bytes, "{} differs", path.display());
        }
    }
    // Nothing is left to do, and nothing is done again.
    assert!(place.run("study run s.toml --out whole --quiet", 0).contains("9 of 9 cells done"));
    assert!(whole == same("whole"));
    // Methods of one seed stand alike at the switch, those of two do not.
    let switch = |method: &str| {
        [0, 1].map(|seed| {
            let run = place.cell("whole", method, seed);
            let all = std::fs::read_to_string(run.join("evaluations.csv")).unwrap();
            all.lines().find(|line| line.starts_with("online,400,0,")).expect("at the switch").to_string()
        })
    };
    let [first, second] = switch("IQL");
    assert!(first != second && switch("IQL + BAQ") == [first, second]);
}

/// Data that cells share, and data that each decodes for itself: the same bytes.
#[test]
fn what_is_shared_changes_no_result() {
    let place = Place::new(STUDY);
    for out in ["with", "without", "cluster"] {
        place.run(&format!("study run s.toml --out {out} --on slurm --dry-run"), 0);
    }
    (0..CELLS).for_each(|cell| drop(place.run(&format!("study cell cluster {cell}"), 0)));
    assert!(!place.path("cluster/shared").exists(), "the last cell leaves no data");
    // Nothing can be put there.
    std::fs::write(place.path("without/shared"), "").unwrap();
    place.run("study cell with 0", 0);
    let shared = files(&place.path("with/shared"));
    let count = |kind: &str| shared.keys().filter(|name| name.starts_with(kind)).count();
    assert_eq!((count("columns-"), count("rows-"), shared.len()), (1, 1, 2), "{:?}", shared.keys());
    let said = place.run("study run s.toml --out with --jobs 2 --quiet", 0);
    assert!(said.contains("9 of 9 cells done"), "{said}");
    if cfg!(target_os = "linux") {
        assert!(said.contains("memory of a cell (fine-tuning, a.hdf5): "), "{said}");
    }
    assert!(!place.path("with/shared").exists(), "a finished study keeps no data");
    let out = place.json("study run s.toml --out without --jobs 2 --json");
    assert!(
        out["done"] == CELLS && (!cfg!(target_os = "linux") || !out["memory"][0]["own"].is_null()),
        "{out}"
    );
    let tables = |name: &str| {
        place.run(&format!("study table {name}"), 0);
        let mut all = results(&place.path(name));
        for table in ["table.csv", "runs.csv"] {
            all.insert(table.into(), std::fs::read(place.path(name).join(table)).unwrap());
        }
        all
    };
    let (with, without) = (tables("with"), tables("without"));
    assert_eq!(with.keys().collect::<Vec<_>>(), without.keys().collect::<Vec<_>>());
    for (path, bytes) in &with {
        assert!(without[path] == *bytes, "{} differs", path.display());
    }
    let status = place.json("study status without --json");
    let log = std::fs::read_to_string(place.path(status["cells"][0]["log"].as_str().unwrap())).unwrap();
    assert!(log.contains("keeps its data to itself"), "{log}");
}

#[test]
fn a_behaviour_model_reads_the_data_as_what_it_serves() {
    let base = STUDY.find("[offline.iql]").unwrap()..STUDY.find("[model]").unwrap();
    let method = STUDY.find("[[method]]\nlabel = \"IQL + BAQ\"").unwrap()
        ..STUDY.find("[[method]]\nlabel = \"SAC\"").unwrap();
    let other = |name: &str, option: &str| {
        STUDY[base.clone()].replace("offline.iql", &format!("offline.{name}")).replace("run.env=toy", option)
            + &STUDY[method.clone()].replace("IQL", name).replace("\"iql\"", &format!("\"{name}\""))
    };
    // States on another scale need another model, rewards do not.
    let more = other("std", "run.env=toy\", \"data.observation_scaling=standardise")
        + &other("paid", "run.env=toy\", \"data.reward_scaling=affine\", \"data.reward_scale=2");
    let place = Place::new(
        &STUDY
            .replace("seeds = 2", "seeds = 1")
            .replace("[[method]]\nlabel = \"SAC\"", &format!("{more}[[method]]\nlabel = \"SAC\"")),
    );
    place.run("study run s.toml --out all --jobs 2 --quiet", 0);
    let status = place.json("study status all --json");
    let models: Vec<&str> = status["cells"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|cell| cell["kind"] == "model")
        .map(|cell| cell["label"].as_str().unwrap())
        .collect();
    assert_eq!(models, ["bc", "bc observation_scaling=standardise"]);
    assert_eq!((&status["done"], &status["failed"]), (&10.into(), &0.into()), "{status}");
}

#[test]
fn a_cell_that_diverges_is_a_row_with_its_reason_and_the_rest_goes_on() {
    let bad = STUDY
        .replace("label = \"SAC\"", "label = \"Diverging\"")
        .replace("\"sac.hidden=[8,8]\"", "\"sac.hidden=[8,8]\", \"sac.critic={ lr = 1e30 }\"");
    let place = Place::new(&bad);
    let out = place.run("study run s.toml --out s --jobs 2", 1);
    assert!(
        out.contains("failed: Diverging on a.hdf5, seed 0: ") && out.contains("8 of 9 cells done, 1 failed"),
        "{out}"
    );
    let status = place.run("study status s", 0);
    assert!(
        status.contains("8 done, 0 begun, 0 waiting, 1 failed") && status.contains("log: tail s/logs/"),
        "{status}"
    );
    // Nothing is left that reads them.
    assert!(!place.path("s/shared").exists());
    let absent = |out: &str| {
        place.run(&format!("study table {out}"), 0);
        std::fs::read_to_string(place.path(out).join("absent.csv")).unwrap()
    };
    let other = place.path("other/t").display().to_string();
    place.run(&format!("study run s.toml --out {other} --jobs 2 --quiet"), 1);
    let said = absent("s");
    assert!(said.contains("of update 0, cells/a/diverging/s0-"), "{said}");
    for out in ["s/", "./s", "other/t", &other] {
        assert_eq!(said, absent(out), "{out}");
    }
}

/// A cell that has just been started does not listen to signals yet.
#[test]
fn a_cell_that_is_interrupted_at_once_has_not_failed() {
    let place = Place::new(STUDY);
    for k in 0..6 {
        let out = format!("s{k}");
        let mut run = place.command(&format!("study run s.toml --out {out} --jobs 2 --quiet"));
        let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !place.path(&out).join("logs").exists() {
            assert!(run.try_wait().unwrap().is_none(), "it ended before its first cell");
            std::thread::sleep(Duration::from_millis(1));
        }
        terminate(&run);
        let ended = run.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(3), "{}", said(&ended));
        assert_eq!(place.json(&format!("study status {out} --json"))["failed"], 0, "{}", said(&ended));
    }
}

/// Nobody but a person knows whether a process on another machine has ended.
#[test]
fn a_study_that_waits_says_for_whom() {
    let scratch =
        &STUDY[STUDY.find("[[method]]\nlabel = \"SAC\"").unwrap()..STUDY.find("[scale.half]").unwrap()];
    let head = &STUDY[..STUDY.find("[offline.iql]").unwrap()];
    let place = Place::new(&format!("{head}{scratch}"));
    place.run("study run s.toml --out s --jobs 1 --quiet", 0);
    let status = place.json("study status s --json");
    let run = place.path(status["cells"][0]["run"].as_str().unwrap());
    std::fs::remove_file(run.join("report.html")).unwrap();
    std::fs::write(run.join(".lock.owner"), "7\n1\nelsewhere\nmachine\n").unwrap();
    let mut waits = place.command("study run s.toml --out s --jobs 1 --quiet");
    let mut waits = waits.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (told, telling) = std::sync::mpsc::channel();
    let mut said = std::io::BufReader::new(waits.stderr.take().unwrap());
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = said.read_line(&mut line);
        told.send(line)
    });
    let line = telling.recv_timeout(Duration::from_secs(60));
    terminate(&waits);
    waits.wait().unwrap();
    let line = line.expect("it says that it waits");
    for words in [
        "waiting for SAC on a.hdf5, seed 0: process 7 on elsewhere works on it",
        "remove s/cells/",
        ".lock.owner",
    ] {
        assert!(line.contains(words), "{words} in {line}");
    }
}

#[test]
fn other_settings_are_other_directories_and_nothing_is_overwritten() {
    let place = Place::new(STUDY);
    place.run("study run s.toml --scale half --out s --jobs 2 --quiet", 0);
    let first = results(&place.path("s"));
    place.refused("study run s.toml --out s", &["expected toys", "the study toys at scale half", "--out"]);
    place.refused("study run s.toml --scale half --out s --isa portable", &["portable", "--isa", "--out"]);
    // Plain fine-tuning with other settings: its two cells, and no other, are run anew.
    let changed =
        STUDY.replace("adapt = \"plain\"", "adapt = \"plain\"\nset = [\"online.updates_per_step=2\"]");
    std::fs::write(place.path("s.toml"), &changed).unwrap();
    let words = ["2 cells are there with another configuration", "IQL on a.hdf5, seed 0", "--redo"];
    place.refused("study run s.toml --scale half --out s", &words);
    place.run("study run s.toml --scale half --out s --redo --quiet", 0);
    let second = results(&place.path("s"));
    let kept =
        first.iter().filter(|(path, _)| !path.ends_with("study.toml")).all(|(p, bytes)| second[p] == *bytes);
    assert!(kept);
    let new = second.keys().filter(|p| !first.contains_key(*p) && p.ends_with("checkpoint.safetensors"));
    assert_eq!(new.count(), 2);
    // Data that are no longer what they were.
    std::fs::remove_file(place.path("a.hdf5")).unwrap();
    write_d4rl(&place.path("a.hdf5"), &synthetic::point(6, 300, 3, 1));
    place.refused("study run s.toml --scale half --out s --redo", &["a.hdf5", "has changed", "sha256"]);
}

/// What a study leaves out for a while is to be the same when it comes back. Cells that another study has changed say so.
#[test]
fn data_that_were_left_out_are_still_known() {
    let both = STUDY.replacen("[\"a.hdf5\"]", "[\"b.hdf5\", \"a.hdf5\"]", 1);
    let place = Place::new(&both);
    let other = |seed| {
        let _ = std::fs::remove_file(place.path("b.hdf5"));
        write_d4rl(&place.path("b.hdf5"), &synthetic::point(seed, 300, 3, 1));
    };
    other(6);
    let write = "study run s.toml --out s --on slurm --dry-run";
    place.run(write, 0);
    std::fs::write(place.path("s.toml"), STUDY).unwrap();
    place.run(write, 0);
    other(7);
    place.run(write, 0);
    std::fs::write(place.path("s.toml"), &both).unwrap();
    place.refused(write, &["b.hdf5", "has changed", "sha256"]);
    other(6);
    place.run(write, 0);
    place.run("study cell s 0", 0);
    let changed = both.replace("updates = 400", "updates = 300");
    std::fs::write(place.path("s/study.toml"), changed).unwrap();
    let status = place.run("study status s", 0);
    assert!(status.contains("1 of those that wait are there with another configuration"), "{status}");
}

/// Cells are those of the study that this process was given, or none.
#[test]
fn a_study_that_is_changed_while_it_runs_is_left() {
    let place = Place::new(STUDY);
    let mut run = place.command("study run s.toml --out s --jobs 1 --quiet");
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !place.path("s/cells").exists() {
        assert!(run.try_wait().unwrap().is_none(), "it ended before its first cell");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::write(place.path("s/study.toml"), STUDY.replace("updates = 400", "updates = 300")).unwrap();
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
    assert!(said(&ended).contains("was changed while it ran"), "{}", said(&ended));
    place.run("study run s.toml --out s --jobs 2 --quiet", 0);
    let status = place.json("study status s --json");
    assert_eq!((status["done"].as_u64(), status["failed"].as_u64()), (Some(9), Some(0)), "{status}");
}

/// Of a folder there is no file to sum; it is known all the same.
#[test]
fn a_folder_that_has_changed_is_other_data() {
    let place = Place::new(&STUDY.replace("a.hdf5", "./minari").replace("run.env=toy", "run.env=hopper-v4"));
    let fixture = "datasets/tests/fixtures/minari/hopper/cut-v0/data";
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture), &place.path("minari"));
    place.run("study run s.toml --out s --on slurm --dry-run", 0);
    let file = place.path("minari/main_data.hdf5");
    std::fs::write(&file, [std::fs::read(&file).unwrap(), vec![0]].concat()).unwrap();
    place.refused("study run s.toml --out s", &["./minari", "has changed", "sha256"]);
}

/// A cell is not told by the study's process alone what its data and its arithmetic are.
#[test]
fn a_cell_takes_the_data_and_the_arithmetic_of_its_study() {
    let place = Place::new(STUDY);
    place.run("study run s.toml --out whole --jobs 2 --quiet", 0);
    place.run("study run s.toml --out s --on slurm --dry-run", 0);
    place.refused("study cell s 0 --isa portable", &["portable", "say --isa"]);
    assert!(place.run("study cell s 0 --numerics bf16", 2).contains("--numerics f32"));
    let right = std::fs::read(place.path("a.hdf5")).unwrap();
    std::fs::remove_file(place.path("a.hdf5")).unwrap();
    write_d4rl(&place.path("a.hdf5"), &synthetic::point(6, 300, 3, 1));
    let said = place.run("study cell s 0", 2);
    assert!(said.contains("a.hdf5") && said.contains("sha256"), "{said}");
    std::fs::write(place.path("a.hdf5"), right).unwrap();
    place.run("study run s.toml --out s --jobs 2 --quiet", 0);
    let of = |name: &str| results(&place.path(name)).into_values().collect::<Vec<_>>();
    assert!(of("s") == of("whole"));
}

#[test]
fn data_may_be_moved_between_a_training_and_what_starts_from_it() {
    let place = Place::new(STUDY);
    place.run("study run s.toml --out s --on slurm --dry-run", 0);
    let cells = place.json("study plan s.toml --out s --json")["cells"].as_array().unwrap().clone();
    let trainings =
        cells.iter().filter(|cell| ["offline", "model"].contains(&cell["kind"].as_str().unwrap()));
    trainings.for_each(|cell| drop(place.run(&format!("study cell s {}", cell["cell"]), 0)));
    std::fs::create_dir(place.path("moved")).unwrap();
    for name in ["a.hdf5", "s.toml"] {
        std::fs::rename(place.path(name), place.path("moved").join(name)).unwrap();
    }
    place.run("study run moved/s.toml --out s --jobs 2 --quiet", 0);
    assert_eq!(place.json("study status s --json")["done"], CELLS);
}

#[test]
fn a_cell_at_work_shows_how_far_it_is_before_it_has_saved_anything() {
    let long = STUDY.replacen("updates = 400", "updates = 2_000_000", 1);
    let long = long.replacen("offline.checkpoint_every=50", "offline.checkpoint_every=2_000_000", 1);
    let place = Place::new(&long);
    let mut child = place.command("study run s.toml --out s --jobs 1 --quiet").spawn().unwrap();
    // The study's directory is not there at once.
    let share = || {
        let out = place.command("study status s --json").output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
        status["cells"][0]["share"].as_f64().filter(|share| *share > 0.0)
    };
    let share = (0..1200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        share()
    });
    // To write it anew would end it.
    let study = || std::fs::read_to_string(place.path("s/study.toml")).unwrap();
    std::fs::write(place.path("s.toml"), long.replacen("seeds = 2", "seeds = 1", 1)).unwrap();
    let changed = place.command("study run s.toml --out s --on slurm --dry-run").output().unwrap();
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(changed.status.code() == Some(2) && study() == long, "{}", said(&changed));
    assert!(said(&changed).contains("would stop"), "{}", said(&changed));
    assert!(share.is_some_and(|share| share < 1.0), "{share:?}");
}

/// Its cells are told so as well.
#[test]
fn a_directory_may_begin_like_an_option() {
    let study = STUDY.replace("seeds = 2", "seeds = 1");
    let place = Place::new(&study);
    let said = place.run("study run s.toml --out=-s --jobs 2 --quiet", 0);
    assert!(said.contains("5 of 5 cells done") && place.path("-s/study.toml").exists(), "{said}");
}

/// Two processes that are given the same study share the work, and neither takes the other's for a failure.
#[test]
fn a_study_may_be_run_twice_at_once() {
    let place = Place::new(STUDY);
    for k in 0..4 {
        let start = || {
            let mut command = place.command(&format!("study run s.toml --out s{k} --jobs 2 --quiet"));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let first = start();
        std::thread::sleep(Duration::from_millis(20 * k));
        for child in [start(), first] {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{k}: {}", said(&out));
        }
        let status = place.json(&format!("study status s{k} --json"));
        assert_eq!(
            (status["done"].as_u64(), status["failed"].as_u64()),
            (Some(CELLS as u64), Some(0)),
            "{status}"
        );
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is() {
    let place = Place::new(STUDY);
    std::fs::create_dir(place.path("empty")).unwrap();
    let row = |action: f64| format!("0.1,0.2,0.3,{action},1,0\n");
    let head = "observations_0,observations_1,observations_2,actions_0,rewards,terminals\n";
    let wide = [head, &row(0.5), &row(1.5), &row(0.5)].concat();
    std::fs::write(place.path("wide.csv"), wide).unwrap();
    write_d4rl(&place.path("one.hdf5"), &synthetic::point(5, 1, 3, 1));
    std::fs::copy(place.path("a.hdf5"), place.path("copy.hdf5")).unwrap();
    for (from, to, words) in [
        ("seeds = 2", "sseds = 2", ["s.toml, line 4", "sseds"]),
        (
            "adapt = \"baq\"",
            "adapt = \"pex\"\nset = [\"baq.k_q=1\"]",
            ["s.toml, line 18: method `IQL + BAQ`", "baq"],
        ),
        ("a.hdf5", "b.hdf5", ["s.toml, line 5: data b.hdf5: expected a file", "or correct the path"]),
        ("a.hdf5", "b.npz", ["s.toml, line 5: data b.npz: expected a file", "or correct the path"]),
        (
            "a.hdf5",
            "walkr2d-medium",
            ["s.toml, line 5: data walkr2d-medium", "did you mean `walker2d-medium`?"],
        ),
        (
            "[\"a.hdf5\"]",
            "[\n\"a.hdf5\",\n\"./a.hdf5\"]",
            ["s.toml, line 7: data `./a.hdf5` and data `a.hdf5`", "the folder a"],
        ),
        (
            "a.hdf5",
            "embedded",
            ["line 5: iql on", "expected data for toy, states of 3 and actions of 1, got 11 and 3"],
        ),
        ("a.hdf5", "walker2d-medium", ["expected data for toy, states of 3", "got 17 and 6"]),
        (
            ", \"online.capacity=2000\"]\n[online]\nenv_steps     = 400",
            "]\n[online]\nenv_steps     = 900_000_000_000",
            ["out: needs", "on the disk"],
        ),
        ("a.hdf5", "wide.csv", ["s.toml, line 5: ", "expected values in [-1, 1], got 1.5"]),
        ("a.hdf5", "one.hdf5", ["s.toml, line 5: ", "expected at least 2 row(s), got 1"]),
        (
            "a.hdf5\"",
            "a.hdf5\",\n\"copy.hdf5\"",
            ["line 6: data copy.hdf5: expected other data than a.hdf5", "twice"],
        ),
        (
            "online.capacity=2000",
            "online.capacity=600",
            ["line 22: method `SAC`: online.capacity: expected at least", "got 600"],
        ),
        (
            "adapt = \"plain\"",
            "adapt = \"plain\"\nset = [\"online.capacity=100\"]",
            ["line 14: method `IQL`: online.capacity", "got 100"],
        ),
        (
            "adapt = \"plain\"",
            "adapt = \"plain\"\nset = [\"online.offline_rows=subset(1000)\"]",
            ["line 14: method `IQL`: online.offline_rows: expected a subset of at most the 2", "got 1000"],
        ),
        (
            "adapt = \"baq\"",
            "adapt = \"baq\"\nset = [\"online.offline_rows=none\", \"baq.k_q=auto\"]",
            ["line 18: method `IQL + BAQ`: online.offline_rows", "whose means fix the constants"],
        ),
        (
            "\"bc.hidden=[8,8]\"",
            "\"bc.hidden=[8,8]\", \"offline.patience=3\", \"offline.validation_fraction=0.001\"",
            ["s.toml", "held out to stop early by"],
        ),
        (
            "\"bc.hidden=[8,8]\"",
            "\"bc.hidden=[8,8]\", \"data.observation_scaling=standardise\"",
            [
                "line 18: method `IQL + BAQ`: model: data.observation_scaling=standardise: expected none",
                "leave it out",
            ],
        ),
        (
            "\"bc.hidden=[8,8]\"",
            "\"bc.hidden=[8,8]\", \"online.updates_per_step=7\"",
            ["s.toml, line 12: model: online.updates_per_step", "has none"],
        ),
        ("algo  = \"sac\"", "algo  = \"bc\"", ["method `SAC`", "bc"]),
        ("\"SAC\"", "\"iql: baq\"", ["method `iql: baq` and method `IQL + BAQ`", "the folder iql-baq"]),
        ("\"SAC\"", "\"model.bc\"", ["method `model.bc`", "behaviour models"]),
        ("\"SAC\"", &format!("\"{}\"", "long ".repeat(60)), ["at most 200 letters", "got 299"]),
        ("\"SAC\"", "\"S\\nC\"", ["s.toml, line 22: label", "one line"]),
        ("[scale.half]", "[scale.\"../x\"]", ["s.toml, line 31: scale", "letters"]),
        ("offline = { updates = 200 }", "methods = []", ["line 32: methods", "at least one"]),
        (
            "adapt = \"baq\"",
            "adapt = \"baq\"\nset = [\"--seed\"]",
            ["s.toml, line 21", "--seed: expected section.key=value"],
        ),
        (
            "[scale.half]",
            "[scale.half]\nset_of = { SAC = [\"sac.hiddn=[8]\"] }",
            ["line 32: sac.hiddn", "did you mean `sac.hidden`"],
        ),
        ("run.env=toy\", \"sac", "run.env=hopper-v4\", \"sac", ["SAC on a.hdf5, seed 0", "states of 11"]),
        ("a.hdf5", "./s.toml", ["expected an HDF5 file", "check the path"]),
        (
            "online.capacity=2000",
            "online.random_steps=400",
            ["line 22: method `SAC`", "nothing would be learnt"],
        ),
        ("a.hdf5", "empty/", ["empty", "a folder without it"]),
        (
            "adapt = \"plain\"",
            "adapt = \"plain\"\nset = [\"run.seed=7\"]",
            ["line 14: method `IQL`", "run.seed"],
        ),
        (
            "adapt = \"plain\"",
            "adapt = \"plain\"\nset = [\"run.dataset=embedded\"]",
            ["line 14: method `IQL`", "run.dataset"],
        ),
        (
            "adapt = \"plain\"",
            "adapt = \"plain\"\nset = [\"iql.hidden=[9,9]\"]",
            ["line 14: method `IQL`: iql.hidden: expected [8, 8]", "its networks are others"],
        ),
        (
            "adapt = \"plain\"",
            "adapt = \"plain\"\nset = [\"iql.discount=0.5\"]",
            ["line 14: method `IQL`: iql.discount: expected 0.99", "got 0.5"],
        ),
        (
            "\"iql.hidden=[8,8]\"",
            "\"iql.hidden=[8,8]\", \"iql.discount=linear(0.5,0.75,800)\"",
            ["line 14: method `IQL`: iql.discount: expected 0.625", "got linear(0.5, 0.75"],
        ),
        ("eval_episodes = 1\n", "eval_episodes = 0\n", ["line 14: method `IQL`", "by which a study judges"]),
        (
            "adapt = \"baq\"",
            "adapt = \"so2\"",
            ["s.toml, line 10: model", "expected a method with a behaviour model"],
        ),
        (
            "offline = { updates = 200 }",
            "methods = [\"SAC\"]\noffline = { updates = 200 }",
            ["line 31: offline", "begins from data"],
        ),
        (
            "offline = { updates = 200 }",
            "methods = [\"SAC\"]\nset_of = { iql = [\"iql.expectile=0.8\"] }",
            ["line 33: set_of", "left out by the scale"],
        ),
    ] {
        std::fs::write(place.path("bad.toml"), STUDY.replacen(from, to, 1)).unwrap();
        let line = "study run bad.toml --out out";
        let words = words.map(|w| w.replace("s.toml", "bad.toml"));
        place.refused(line, &words.each_ref().map(String::as_str));
    }
    place.refused("study run s.toml --data none", &["--data none", "expected a folder"]);
    place.refused("study run s.toml --scale tiny", &["--scale tiny", "expected half"]);
    for command in ["plan s.toml", "status s", "table s", "figures s", "cell s 0"] {
        place.refused(&format!("study {command} --seed 1"), &["--seed", "seeds of its own"]);
    }
    place.refused("study run s.toml --data empty", &["--data", "names paths"]);
    for (option, words) in [
        ("--sbatch=time=1", "expected an option, as in --time"),
        ("--quiet", "belongs to --on local"),
        ("--sbatch=--array=0-1%1", "--jobs N"),
    ] {
        place.refused(&format!("study run s.toml --on slurm --dry-run {option}"), &[words]);
    }
    place.refused("study run none.toml", &["none.toml", "cannot read"]);
    place.refused("study run s.toml --dry-run", &["--dry-run", "--on slurm"]);
    place.refused("study status .", &["expected the directory of a study"]);
    // What a kill leaves between the two files of a new study does not stand in the way.
    std::fs::create_dir(place.path("half")).unwrap();
    std::fs::write(place.path("half/place.toml"), "").unwrap();
    place.run("study run s.toml --out half --on slurm --dry-run", 0);
    std::fs::create_dir(place.path("full")).unwrap();
    std::fs::write(place.path("full/x"), "x").unwrap();
    place.refused("study run s.toml --out full", &["expected a new directory"]);
}

/// A long study has its first table early: the data sets come one after the other, in each the trainings first. Arrays are
/// submitted trainings first, whatever the data.
#[test]
fn one_data_set_is_finished_before_the_next_is_begun() {
    let place = Place::new(&STUDY.replacen("[\"a.hdf5\"]", "[\"b.hdf5\", \"a.hdf5\"]", 1));
    write_d4rl(&place.path("b.hdf5"), &synthetic::point(6, 300, 3, 1));
    place.run("study run s.toml --out s --on slurm --dry-run", 0);
    let status = place.json("study status s --json");
    let cells: Vec<(&str, bool)> = status["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| {
            (cell["data"].as_str().unwrap(), ["offline", "model"].contains(&cell["kind"].as_str().unwrap()))
        })
        .collect();
    let expected =
        ["b.hdf5", "a.hdf5"].map(|data| [[(data, true); 4].to_vec(), [(data, false); 5].to_vec()].concat());
    assert_eq!(cells, expected.concat());
    let submit = std::fs::read_to_string(place.path("s/slurm/submit.sh")).unwrap();
    let scripts: Vec<&str> = submit.lines().filter(|line| line.starts_with("job_")).collect();
    assert!(scripts.len() == 5 && scripts[..2].iter().all(|line| !line.contains("--dependency")), "{submit}");
}

#[test]
fn a_file_that_only_has_the_name_of_d4rls_is_told_from_it() {
    let place = Place::new(&STUDY.replacen("a.hdf5", "hopper-medium", 1));
    std::fs::create_dir(place.path("d")).unwrap();
    std::fs::rename(place.path("a.hdf5"), place.path("d/hopper_medium-v2.hdf5")).unwrap();
    let said = place.run("study run s.toml --data d --out s --on slurm --dry-run", 0);
    for words in ["hopper_medium-v2.hdf5: has", "is another one, "] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[test]
fn arrays_wait_for_what_they_start_from_task_by_task() {
    let place = Place::new(STUDY);
    let out = place.run(
        "study run s.toml --out s --on slurm --dry-run --sbatch=--time=01:00:00 --threads 2 --jobs 4",
        0,
    );
    assert!(out.contains("submit.sh") && out.contains("#SBATCH --requeue"), "{out}");
    let told = place.json("study run s.toml --out other --on slurm --dry-run --json");
    assert_eq!(told["scripts"].as_array().map(Vec::len), Some(6), "{told}");
    assert_eq!(told["scripts"][5], told["script"]);
    let read = |name: &str| std::fs::read_to_string(place.path("s/slurm").join(name)).unwrap();
    let submit = read("submit.sh");
    let line = "job_3=$(sbatch --parsable --dependency=aftercorr:$job_0:$job_1 --kill-on-invalid-dep=yes iql-baq.job)";
    assert!(submit.contains(line), "{submit}");
    for line in [
        "job_0=$(sbatch --parsable train.iql.job)",
        "job_1=$(sbatch --parsable model.bc.job)",
        "sbatch --parsable sac.job)",
    ] {
        assert!(submit.contains(line), "{submit}");
    }
    // A method of the name of the script that submits them.
    std::fs::write(place.path("t.toml"), STUDY.replace("\"SAC\"", "\"submit\"")).unwrap();
    place.run("study run t.toml --out t --on slurm --dry-run", 0);
    let other = std::fs::read_to_string(place.path("t/slurm/submit.sh")).unwrap();
    assert!(other.contains("sbatch --parsable submit.job)"), "{other}");
    let script = read("iql-baq.job");
    // Cells by their folders: places change when the study grows.
    assert!(script.contains("cells=([0]=a/iql-baq/s0-"), "{script}");
    for words in [
        "#SBATCH --array=0,1%4",
        "#SBATCH --signal=B:USR1@120",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --time=01:00:00",
        "--requeue",
    ] {
        assert!(script.contains(words), "{words} in {script}");
    }
    let here = format!("\n#SBATCH --chdir={}\n", place.0.path().canonicalize().unwrap().display());
    assert!(script.contains(&here), "{script}");
    // What a task does, without Slurm: its training is not there yet, then it is.
    let task = |script: &str, k: &str| {
        let mut command = Command::new("bash");
        command.arg(script).current_dir(place.path("s/slurm")).env("SLURM_ARRAY_TASK_ID", k);
        command.output().unwrap()
    };
    let status = || place.json("study status s --json");
    let log = status()["cells"].as_array().unwrap().iter().find_map(|cell| {
        let own = cell["label"] == "IQL" && cell["seed"] == 1;
        own.then(|| place.path(cell["log"].as_str().unwrap()))
    });
    assert!(!task("iql.job", "1").status.success());
    let early = std::fs::read_to_string(log.unwrap()).unwrap();
    assert!(early.contains("expected it to be done before"), "{early}");
    assert_eq!(status()["failed"], 0, "what cannot begin yet has not failed");
    for script in ["train.iql.job", "iql.job"] {
        let done = task(script, "1");
        assert!(done.status.success(), "{}", said(&done));
    }
    let ended = status();
    assert_eq!((ended["done"].as_u64(), ended["failed"].as_u64()), (Some(2), Some(0)), "{ended}");
    // One that is killed, and one whose program is gone: nobody but the script says so. Submitted again they go on.
    let script = read("sac.job");
    for (program, reason) in [("kill -9 $$", "killed"), ("exit 127", "ended with code 127")] {
        let of = script.lines().find(|line| line.contains("study cell")).unwrap();
        std::fs::write(
            place.path("s/slurm/ended.job"),
            script.replace(of, &format!("bash -c '{program}' &")),
        )
        .unwrap();
        assert!(!task("ended.job", "0").status.success());
        let status = status();
        assert!(status["failed"] == 1 && status.to_string().contains(reason), "{status}");
    }
    assert!(task("sac.job", "0").status.success());
    assert_eq!((status()["done"].as_u64(), status()["failed"].as_u64()), (Some(3), Some(0)));
}

#[test]
fn tables_and_figures_are_made_of_the_finished_runs_of_a_directory() {
    let place = Place::new(STUDY);
    place.run("study run s.toml --out studies/toys --jobs 2 --quiet", 0);
    let run = |label: &str, seed: u64| place.cell("toys", label, seed).display().to_string();
    evaluated(&run("IQL", 0), [10.0, 4.0, 10.0]);
    evaluated(&run("IQL", 1), [10.0, 6.0, 8.0]);
    evaluated(&run("IQL + BAQ", 0), [10.0, 10.0, 14.0]);
    evaluated(&run("IQL + BAQ", 1), [10.0, 9.0, 12.0]);
    let row = |table: &serde_json::Value, method: &str| {
        let mut rows = table["rows"].as_array().unwrap().iter();
        rows.find(|r| r["data"] == "a.hdf5" && r["method"] == method).cloned().unwrap()
    };
    for (metric, iql, baq) in [
        ("final", 7.0, 11.25),
        ("auc", 7.25, 10.5),
        ("dip", 5.0, 0.5),
        ("best", 10.0, 13.0),
        ("recovery", 400.0, 200.0),
    ] {
        let table = place.json(&format!("study table toys --metric {metric} --json"));
        let (iql, baq) = ((iql, row(&table, "IQL")), (baq, row(&table, "IQL + BAQ")));
        for (mean, row) in [&iql, &baq] {
            assert_eq!(row["mean"].as_f64(), Some(*mean), "{metric}: {row}");
            assert!(row.get("low").is_none(), "two seeds have no interval: {row}");
        }
        assert_eq!(baq.1["difference"].as_f64(), Some(baq.0 - iql.0));
        // Of four assignments of signs to two differences two are as far from 0, or all where one difference is 0.
        let (p, censored) = if metric == "recovery" { (1.0, 1.0) } else { (0.5, 0.0) };
        assert_eq!((baq.1["p"].as_f64(), baq.1["pairs"].as_f64()), (Some(p), Some(2.0)), "{metric}");
        assert_eq!(iql.1["censored"].as_f64(), Some(censored));
    }
    let dir = place.path("studies/toys");
    let first = files(&dir);
    for name in [
        "table.csv",
        "table.md",
        "table.tex",
        "table.html",
        "table-dip.csv",
        "runs.csv",
        "absent.csv",
        "hours.csv",
    ] {
        assert!(first.contains_key(name), "{name} in {:?}", first.keys());
    }
    // What runs start from took its time too.
    assert!(place.json("study table toys --json")["hours"].as_f64() > Some(0.0));
    let hours = String::from_utf8_lossy(&first["hours.csv"]).into_owned();
    for name in ["train.iql,0,", "train.iql,1,", "model.bc,1,", "SAC,0,"] {
        let row =
            hours.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} in {hours}"));
        let hours = row.rsplit(',').next().unwrap().parse::<f64>();
        assert!(hours.is_ok_and(|h| h > 0.0), "{row}");
    }
    place.refused("study table toy", &["toy: expected the directory of a study", "studies/ has toys"]);
    place.run("study figures toys", 0);
    let figures = files(&dir.join("figures"));
    for name in ["curves", "scores", "differences", "profiles", "actions", "actions-a+iql"] {
        assert!(
            figures.contains_key(&format!("{name}.svg")) && figures.contains_key(&format!("{name}.png")),
            "{name}"
        );
    }
    assert!(String::from_utf8_lossy(&figures["actions.svg"]).contains("400 offline updates"));
    // Again: the same bytes.
    let said = place.run("study table toys", 0);
    place.run("study figures studies/toys", 0);
    assert!(files(&dir) == first && files(&dir.join("figures")) == figures);
    assert!(
        said.contains("a.hdf5 (sha256 ") && said.contains("11.2") && said.contains("- raw returns"),
        "{said}"
    );
    // One is unfinished, one has failed.
    std::fs::remove_file(Path::new(&run("SAC", 0)).join("report.html")).unwrap();
    std::fs::remove_file(Path::new(&run("IQL + BAQ", 1)).join("report.html")).unwrap();
    let note = format!("{}.failed", run("IQL + BAQ", 1));
    std::fs::write(note, r#"{"code":1,"reason":"diverged at update 500"}"#).unwrap();
    let table = place.json("study table toys --json");
    let baq = row(&table, "IQL + BAQ");
    assert_eq!(
        (baq["mean"].as_f64(), baq["runs"].as_f64(), baq["planned"].as_f64()),
        (Some(12.0), Some(1.0), Some(2.0))
    );
    assert_eq!(row(&table, "SAC").get("mean"), None);
    let absent = std::fs::read_to_string(dir.join("absent.csv")).unwrap();
    assert!(absent.contains("a.hdf5,IQL + BAQ,1,true,failed: diverged at update 500"), "{absent}");
    let notes = table["notes"].to_string();
    for words in [
        "SAC on a.hdf5: unfinished, 100 % done (seed 0)",
        "IQL + BAQ on a.hdf5: failed: diverged at update 500 (seed 1)",
    ] {
        assert!(notes.contains(words), "{words} in {notes}");
    }
    // Something else of its name does not hide it.
    std::fs::write(place.path("toys"), "").unwrap();
    place.run("study status toys", 0);
    place.refused("study table toys --metric most", &["final, auc, dip, best, recovery", "most"]);
    place.refused("study table none", &["none", "expected the directory of a study"]);
}
