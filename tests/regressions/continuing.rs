//! Going on: the switch to fine-tuning, early stopping, interruptions, runs and data found again.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use baq_datasets::synthetic;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::place::{Place, write_d4rl};
use crate::common::program::baq;

impl Place {
    fn command(&self, line: &str) -> Command {
        baq(&self.0, line)
    }

    fn output(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a line that must succeed; its stdout.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        let out = self.output(line);
        assert_eq!(out.status.code(), Some(0), "baq {line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{line} --json"))).unwrap()
    }

    /// Runs a line that must be refused in one line with all of these words, and leave `out` unmade.
    #[track_caller]
    fn refused(&self, line: &str, words: &[&str]) {
        let out = self.output(line);
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.status.code(), text.lines().count()), (Some(2), 1), "baq {line}: {text}");
        for word in words {
            assert!(text.contains(word), "no `{word}` in: {text}");
        }
        assert!(!self.path("x").exists(), "baq {line} left something behind");
    }

    /// Starts a line, sends a signal once `file` has been written anew, and gives the exit code and stdout.
    fn interrupted(&self, line: &str, file: &str, signal: &str) -> (Option<i32>, String) {
        let file = self.path(file);
        let modified = || std::fs::metadata(&file).and_then(|m| m.modified()).ok();
        let before = modified();
        let mut child = self.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while modified() == before {
            if child.try_wait().unwrap().is_some() {
                let out = child.wait_with_output().unwrap();
                panic!("baq {line} ended: {}", String::from_utf8_lossy(&out.stderr));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if signal == "KILL" {
            child.kill().unwrap(); // at once, without a shell between
        } else {
            let kill = format!("kill -{signal} {}", child.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        }
        let out = child.wait_with_output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    }

    fn same(&self, a: &str, b: &str, files: &[&str]) {
        for file in files {
            let read = |run: &str| {
                std::fs::read(self.path(run).join(file)).unwrap_or_else(|e| panic!("{run}/{file}: {e}"))
            };
            assert!(read(a) == read(b), "{file} of {a} and {b} differ");
        }
    }

    /// Tensors of a checkpoint whose names satisfy `which`, as bytes.
    fn tensors(&self, file: &str, which: impl Fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
        let bytes = std::fs::read(self.path(file)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<_> =
            file.iter().filter(|(n, _)| which(n)).map(|(n, t)| (n.into(), t.data().to_vec())).collect();
        all.sort();
        all
    }

    /// Number of online transitions in a checkpoint.
    fn records(&self, run: &str) -> usize {
        let bytes = std::fs::read(self.path(run).join("checkpoint.safetensors")).unwrap();
        SafeTensors::deserialize(&bytes).unwrap().tensor("replay.records").unwrap().shape()[0]
    }
}

const IQL: &str = "--data toy.hdf5 --env toy --quiet --threads 1 --updates 40 --set iql.hidden=[8,8] \
    --set offline.batch=16 --set offline.eval_episodes=1 --set offline.log_every=20";
const TUNE: &str = "--quiet --threads 1 --env-steps 30 --set online.batch=16 --set online.eval_episodes=1";
const BAQ: &str = "--adapt baq --set baq.model_updates=5 --set baq.model_hidden=[8]";
const CLONE: &str = "--algo bc --data toy.hdf5 --env toy --quiet --threads 1 --set bc.hidden=[16] \
    --set offline.batch=64 --set offline.eval_episodes=1 --set offline.log_every=10 --set offline.eval_every=100";

#[test]
fn finetune_other_scaling() {
    let place = Place::of(600);
    place.run(&format!("train {IQL} --out run --set data.observation_scaling=standardise"));
    std::fs::write(place.path("cql.toml"), "[run]\nalgo = \"cql\"\n").unwrap();
    for (set, key) in [
        ("--set data.observation_scaling=none", "data.observation_scaling"),
        ("--set data.reward_scaling=affine", "data.reward_scaling"),
        ("--set data.reward_scale=2", "data.reward_scale"),
        ("--set data.action_clip=0.1", "data.action_clip"),
        ("--clip-actions", "data.clip_actions"),
        ("--set iql.discount=0.9", "iql.discount"),
        ("--set iql.hidden=[8,8,8]", "iql.hidden"),
        ("--set iql.critics=3", "iql.critics"),
        ("--set iql.actor_head=deterministic", "iql.actor_head"),
        ("--set iql.log_std_min=-3", "iql.log_std_min"),
        ("--set iql.init=torch", "iql.init"),
        ("--env hopper", "run.env"),
        ("--preset iql", "data."),
    ] {
        let words = [key, ": expected ", "run/checkpoint.safetensors was trained with, got", "leave it out"];
        place.refused(&format!("finetune --from run --adapt plain {TUNE} --out x {set}"), &words);
    }
    for other in ["--preset td3_bc", "--config cql.toml"] {
        let words = ["run.algo", "run/checkpoint.safetensors", "leave"];
        place.refused(&format!("finetune --from run --adapt plain {TUNE} --out x {other}"), &words);
    }
    place.refused(
        &format!("finetune --from run --adapt plain {TUNE} --out x --set offline.updates=9"),
        &["offline.updates", "not used"],
    );
    place.refused(
        &format!("finetune --from run --model run --adapt baq {TUNE} --out x"),
        &["--model run", "baq train --algo bc", "iql"],
    );
    // What may change does, and what is said again as it was is no change.
    let free = "--set iql.actor=1e-4 --set iql.expectile=0.9 --set iql.temperature=1 --set iql.polyak=0.01 \
        --set data.observation_scaling=standardise --set run.q_bound=1e5";
    place.run(&format!("finetune --from run {BAQ} {TUNE} --out tuned {free}"));
    let config = std::fs::read_to_string(place.path("tuned/config.toml")).unwrap();
    assert!(config.contains("expectile = 0.9") && config.contains("\nupdates = 40"), "{config}");
    // The adaptation's own network is one of those that go on.
    let line = format!("finetune --from tuned {BAQ} {TUNE} --out ");
    place
        .refused(&format!("{line} x --set baq.model=tanh_gaussian"), &["baq.model", "expected \"gaussian\""]);
    place.run(&format!("{line} again --set baq.k_q=1"));
}

#[test]
fn bc_keeps_last() {
    let place = Place::of(300);
    let line = format!(
        "train {CLONE} --set offline.validation_fraction=0.3 --set offline.patience=150 --set bc.actor=0.02 --set audit.keep_every=10 --updates 20000 --ledger"
    );
    let json = place.json(&format!("{line} --out a"));
    let (end, kept) = (json["updates"].as_u64().unwrap(), json["kept_update"].as_u64().unwrap());
    assert_eq!((json["ended"].as_str(), end), (Some("patience"), kept + 150), "{json}");
    // The networks, their moments and steps are those of the update that is named, and the loss is the smallest measured.
    let networks = |n: &str| n.starts_with("pi.") || n.starts_with("adam.");
    let best = format!("a/checkpoints/update-{kept:010}.safetensors");
    assert!(place.tensors("a/checkpoint.safetensors", networks) == place.tensors(&best, networks));
    let before = format!("a/checkpoints/update-{:010}.safetensors", end - 10);
    assert!(place.tensors("a/checkpoint.safetensors", networks) != place.tensors(&before, networks));
    assert!(place.tensors("a/checkpoint.safetensors", |n| n.starts_with("best.")).is_empty());
    let metrics = std::fs::read_to_string(place.path("a/metrics.csv")).unwrap();
    let column = metrics.lines().next().unwrap().split(',').position(|c| c == "validation_loss").unwrap();
    let losses = metrics.lines().skip(1).map(|l| l.split(',').nth(column).unwrap().parse::<f64>().unwrap());
    assert_eq!(json["validation_loss"].as_f64(), losses.reduce(f64::min));
    let said = format!("weights of update {kept} are kept");
    assert!(std::fs::read_to_string(place.path("a/report.html")).unwrap().contains(&said));
    // A policy file names the update that it is of, before and after the best.
    for update in [kept - 10, kept + 20] {
        let from = format!("a/checkpoints/update-{update:010}.safetensors");
        place.run(&format!("export {from} --format safetensors --out p{update}.safetensors"));
        for file in [from, format!("p{update}.safetensors")] {
            assert_eq!(
                place.json(&format!("evaluate --from {file} --episodes 1"))["update"],
                update,
                "{file}"
            );
        }
    }
    place.run("report a");
    assert!(std::fs::read_to_string(place.path("a/report.html")).unwrap().contains(&said));
    assert_eq!(place.json("evaluate --from a --episodes 1")["update"], kept);
    assert!(place.run("audit verify a").contains("verified"));

    // Killed between the best and the end, it goes on to the same bytes; ended, it stays so.
    let last = format!("b/checkpoints/update-{:010}.safetensors", kept + 20);
    assert_eq!(place.interrupted(&format!("{line} --out b"), &last, "KILL").0, None);
    assert!(!place.tensors("b/checkpoint.safetensors", |n| n.starts_with("best.pi")).is_empty());
    for _ in 0..2 {
        place.run("train --resume b --quiet --threads 1");
        place.same("a", "b", &["checkpoint.safetensors", "metrics.csv", "evaluations.csv", "ledger.bin"]);
    }
    assert!(place.run("audit verify b").contains("verified"));

    // Trained to the end it keeps the best as well, and without patience the last.
    let short = format!("train {CLONE} --set bc.actor=0.02 --set audit.keep_every=10 --updates {}", end - 20);
    let line = format!("{short} --set offline.validation_fraction=0.3 --set offline.patience=150 --out c");
    let json = place.json(&line);
    assert_eq!((json["ended"].as_str(), json["kept_update"].as_u64()), (Some("complete"), Some(kept)));
    assert!(place.tensors("c/checkpoint.safetensors", networks) == place.tensors(&best, networks));
    // Killed between its last checkpoint and its report, it has the report left to write.
    let checkpoint = || std::fs::read(place.path("c/checkpoint.safetensors")).unwrap();
    let before = checkpoint();
    std::fs::remove_file(place.path("c/report.html")).unwrap();
    place.run("train --resume c --quiet --threads 1");
    assert!(checkpoint() == before && place.path("c/report.html").exists());
    let json = place
        .json(&format!("{short} --set offline.validation_fraction=0.3 --set offline.patience=0 --out d"));
    assert_eq!(json["kept_update"], Value::Null);
    let end = format!("d/checkpoints/update-{:010}.safetensors", end - 20);
    assert!(place.tensors("d/checkpoint.safetensors", networks) == place.tensors(&end, networks));
}

/// Evaluations behind the last checkpoint of a killed run are of parameters that a run which starts from it never had.
#[test]
fn a_run_begins_with_the_evaluations_of_its_origin() {
    let place = Place::of(600);
    place.run(
        "train --algo iql --data toy.hdf5 --env toy --quiet --threads 1 --updates 60 --set iql.hidden=[4] --out a \
         --set offline.batch=8 --set offline.eval_episodes=1 --set offline.eval_every=10 --set audit.keep_every=20",
    );
    // As if it had been killed there.
    let kept = place.path("a/checkpoints/update-0000000020.safetensors");
    std::fs::copy(kept, place.path("a/checkpoint.safetensors")).unwrap();
    for (from, out) in [("a", "b"), ("a/checkpoint.safetensors", "c")] {
        place.run(&format!(
            "finetune --from {from} --adapt plain --quiet --threads 1 --env-steps 5 --set online.batch=8 \
             --set online.eval_episodes=1 --out {out}"
        ));
        let text = std::fs::read_to_string(place.path(out).join("evaluations.csv")).unwrap();
        let offline: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("offline,")).collect();
        let updates: Vec<&str> = offline.iter().map(|l| l.split(',').next().unwrap()).collect();
        assert_eq!(updates, ["10", "20"], "{out}");
    }
}

#[test]
fn early_stop_off_when_small() {
    let place = Place::of(120);
    let line = format!("train {CLONE} --set bc.actor=0.02 --updates 5000 --set offline.patience=100");
    // Fewer held-out rows than a batch; one row; batches and a rest.
    for (k, more) in ["", "--set offline.validation_fraction=0.01", "--set offline.validation_fraction=0.7"]
        .iter()
        .enumerate()
    {
        let json = place.json(&format!("{line} {more} --out run{k}"));
        assert_eq!(json["ended"], "patience", "{more}: {json}");
        let metrics = std::fs::read_to_string(place.path(&format!("run{k}/metrics.csv"))).unwrap();
        assert!(metrics.lines().next().unwrap().contains("validation_loss"));
    }
    // Patience is judged where the loss is measured, not before.
    let json = place.json(&format!("{line} --set offline.log_every=200 --out rare"));
    assert!(
        json["updates"].as_u64().unwrap().is_multiple_of(200) && json["kept_update"].as_u64().unwrap() > 0,
        "{json}"
    );
    let words =
        ["offline.validation_fraction", "117 transitions", "0.001", "offline.patience=0", "0.01 or more"];
    place.refused(&format!("{line} --set offline.validation_fraction=0.001 --out x"), &words);
    let words = ["offline.patience", "offline.validation_fraction = 0"];
    place.refused(&format!("{line} --set offline.validation_fraction=0 --out x"), &words);
    let words = ["offline.validation_fraction", "got none with 0;", "offline.patience=0"];
    place.refused(&format!("train {CLONE} --updates 20 --set offline.validation_fraction=0 --out x"), &words);
    place.run(&format!(
        "train {CLONE} --updates 20 --set offline.validation_fraction=0 --set offline.patience=0 --out all"
    ));
}

#[test]
fn chained_finetune_drops_buffer() {
    let place = Place::of(600);
    place.run(&format!("train {IQL} --out a"));
    place.run(&format!("finetune --from a --adapt plain {TUNE} --out b"));
    let text = place.run(&format!("finetune --from b --adapt plain {TUNE} --out c --ledger"));
    assert!(text.contains("30 transitions that the origin had collected are carried on"), "{text}");
    assert_eq!((place.records("b"), place.records("c")), (30, 60));
    let rows = |run: &str| {
        place.tensors(&format!("{run}/checkpoint.safetensors"), |n| n == "replay.records").remove(0).1
    };
    assert!(rows("c")[..rows("b").len()] == rows("b")[..]);
    // Episodes begin elsewhere than those of the origin.
    assert!(rows("c")[rows("b").len()..] != rows("b")[..]);
    assert!(place.run("audit verify c").contains("verified"));
    // Under another adaptation, which annotates them, and once more.
    let json = place.json(&format!("finetune --from c {BAQ} {TUNE} --out d --ledger"));
    assert_eq!((json["carried_transitions"].as_u64(), place.records("d")), (Some(60), 90));
    assert!(place.run("audit verify d").contains("verified"));
    let text = place.run(&format!("finetune --from c --adapt plain {TUNE} --out e --set online.carry=false"));
    assert!(text.contains("none are carried on (online.carry=false)"), "{text}");
    assert_eq!(place.records("e"), 30);
    let line = format!("finetune --from c --adapt plain {TUNE} --out x --set online.capacity=650");
    place.refused(&line, &["online.capacity", "expected at least", "got 650"]);
    // Interrupted at its first checkpoint, it goes on to the same bytes.
    let long = "--set online.checkpoint_every=10 --env-steps 3000";
    let line = format!("finetune --from c --adapt plain {} {long}", TUNE.replace("--env-steps 30 ", ""));
    place.run(&format!("{line} --out f"));
    assert_eq!(place.interrupted(&format!("{line} --out g"), "g/checkpoint.safetensors", "TERM").0, Some(3));
    place.run("finetune --resume g --quiet --threads 1");
    place.same("f", "g", &["checkpoint.safetensors", "metrics.csv", "evaluations.csv"]);
}

#[test]
fn interrupted_is_not_done() {
    let place = Place::of(600);
    let line = format!("train {IQL} --set offline.checkpoint_every=20 --updates 1000000")
        .replace("--updates 40 ", "");
    for (k, signal) in ["INT", "TERM", "USR1", "USR2", "HUP"].iter().enumerate() {
        let out = format!("it's run {k}");
        let checkpoint = place.path(&out).join("checkpoint.safetensors");
        // Whoever runs the tests may ignore some of them, and what is ignored at the start stays so.
        let mut command = Command::new("env");
        command.current_dir(place.0.path()).args(["--default-signal", env!("CARGO_BIN_EXE_baq")]);
        command.args(line.split_whitespace()).args(["--out", &out, "--isa", "portable"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        while !checkpoint.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before its first checkpoint");
            std::thread::sleep(Duration::from_millis(2));
        }
        // What batch systems repeat does no harm.
        let again = if *signal == "INT" {
            String::new()
        } else {
            format!("; kill -{signal} {} 2>/dev/null; true", child.id())
        };
        let kill = format!("kill -{signal} {}{again}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let done = child.wait_with_output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(3), "{signal}: {text}");
        assert_eq!(
            text,
            format!(
                "interrupted; go on with: baq train --resume 'it'\\''s run {k}' --isa portable --threads 1\n"
            )
        );
    }
    let (code, text) =
        place.interrupted(&format!("{line} --out j --json"), "j/checkpoint.safetensors", "USR1");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &json["ended"], &json["resume"]),
        (Some(3), &"interrupted".into(), &"baq train --resume j --threads 1".into())
    );
    assert!(json["updates"].as_u64() > Some(0) && place.path("j/checkpoint.safetensors").exists());
    let (code, text) =
        place.interrupted("train --resume j --json --threads 1", "j/checkpoint.safetensors", "TERM");
    assert_eq!(code, Some(3), "{text}");
    assert!(place.run("--help").contains("3 interrupted"));
}

/// Pastes the command after `next: ` into a shell in which `baq` is the built program.
#[track_caller]
fn paste(place: &Place, text: &str) -> String {
    let hint =
        text.lines().last().unwrap().strip_prefix("next: ").unwrap_or_else(|| panic!("no hint in {text}"));
    // Only lengths are added, so that it ends soon.
    let shorter = match hint.split(' ').nth(1).unwrap() {
        "train" => " --updates 5 --quiet --set iql.hidden=[8]",
        "finetune" => " --env-steps 5 --quiet --set online.eval_episodes=1 --set online.batch=8",
        "collect" => " --quiet",
        _ => "",
    };
    let baq = "--adapt baq --set baq.model_updates=2 --set baq.model_hidden=[4]";
    let hint = hint.replace("--adapt baq", baq);
    let hint = hint.replace("--steps 100000", "--steps 50").replace("--episodes 100", "--episodes 2");
    let script = format!("baq() {{ \"{}\" \"$@\"; }}\n{hint}{shorter}", env!("CARGO_BIN_EXE_baq"));
    let out = Command::new("sh").current_dir(place.0.path()).args(["-c", &script]).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{hint}{shorter}: {err}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn every_hint_works_when_pasted() {
    let place = Place::of(600);
    let spaced = "my toy's data.hdf5";
    std::fs::rename(place.path("toy.hdf5"), place.path(spaced)).unwrap();
    let run = |args: &[&str]| {
        let out = place.command("").args(args).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let small = ["--quiet", "--updates", "10", "--set", "offline.batch=8"];
    // From the file to a policy that is measured, each line being the hint of the one before.
    let inspected = run(&["data", "inspect", spaced, "--env", "toy", "--threads", "1"]);
    paste(&place, &paste(&place, &paste(&place, &inspected)));
    // Whatever the method, the task, the numerics and the names.
    for (out, more) in [
        ("a b", &["--algo", "bc", "--env", "toy", "--set", "bc.hidden=[8]"] as &[&str]),
        ("-c", &["--algo", "iql", "--env", "none", "--set", "iql.hidden=[8]", "--isa", "portable"]),
        ("d$", &["--algo", "iql", "--env", "toy", "--set", "iql.hidden=[8]", "--numerics", "bf16x3"]),
        (
            "e",
            &[
                "--algo",
                "cal_ql",
                "--env",
                "toy",
                "--set",
                "cql.policy_hidden=[8]",
                "--set",
                "cql.critic_hidden=[8]",
            ],
        ),
        ("f", &["--algo", "iql", "--env", "toy", "--set", "iql.hidden=[8]", "--set", "online.capacity=700"]),
    ] {
        let out = format!("--out={out}");
        let text = run(&[&["train", "--data", spaced, &out], &small[..], more].concat());
        paste(&place, &paste(&place, &text));
    }
    let alone = [
        "--algo",
        "sac",
        "--env",
        "toy",
        "--env-steps",
        "40",
        "--quiet",
        "--set",
        "sac.hidden=[8]",
        "--set",
        "online.eval_episodes=1",
        "--set",
        "online.warmup_steps=30",
    ];
    for out in ["s 1", "s 2"] {
        let text = run(&[&["train", "--out", out], &alone[..]].concat());
        let collected = paste(&place, &text);
        paste(&place, &collected);
    }
    paste(&place, &run(&["options"]));
    paste(&place, &run(&["explain", "--env", "toy", "--adapt", "baq"]));
    run(&[
        &[
            "train",
            "--data",
            spaced,
            "--env",
            "toy",
            "--out",
            "led ger",
            "--ledger",
            "--set",
            "iql.hidden=[8]",
        ],
        &small[..],
    ]
    .concat());
    for _ in 0..2 {
        let step = run(&["audit", "step", "led ger", "--update", "3"]);
        let hint = step.lines().last().unwrap();
        assert!(hint.contains("--export step"), "{hint}");
        let script = format!(
            "baq() {{ \"{}\" \"$@\"; }}\n{}",
            env!("CARGO_BIN_EXE_baq"),
            hint.strip_prefix("next: ").unwrap()
        );
        assert!(
            Command::new("sh")
                .current_dir(place.0.path())
                .args(["-c", &script])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    for text in [run(&["report", "e", "f"]), run(&["audit", "report", "led ger"])] {
        assert!(!text.contains("next:"), "{text}");
    }
}

#[test]
fn default_names_do_not_collide() {
    let place = Place::of(300);
    for folder in ["a", "b", "hopper/medium-v0", "walker2d/medium-v0"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
        std::fs::copy(place.path("toy.hdf5"), place.path(folder).join("data.hdf5")).unwrap();
    }
    let runs = || -> Vec<String> {
        let entries = std::fs::read_dir(place.path("runs")).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let short = "--quiet --threads 1 --updates 2 --set offline.batch=8 --set offline.eval_episodes=0 --set iql.hidden=[8]";
    let mut count = 0;
    for line in [
        "--data a/data.hdf5 --env toy",
        "--data b/data.hdf5 --env toy",
        "--data a/data.hdf5 --env none",
        "--data a/data.hdf5 --env toy --preset iql_corl",
        "--data a/data.hdf5 --env toy --set iql.expectile=0.9",
        "--data a/data.hdf5 --env toy --seed 1",
        "--data hopper/medium-v0/data.hdf5 --env none",
        "--data walker2d/medium-v0/data.hdf5 --env none",
    ] {
        let run: String = place.json(&format!("train {line} {short}"))["run"].as_str().unwrap().into();
        count += 1;
        assert_eq!(runs().len(), count, "{run}");
        assert!(run.starts_with("runs/iql"), "{run}");
    }
    // The same again is refused, and says how to go on.
    place.refused(
        &format!("train --data a/data.hdf5 --env toy {short}"),
        &["this very run", "baq train --resume runs/iql-toy-data-s0-", "--out"],
    );
    // A run never takes the name of what it came from, however long the chain.
    let mut from = runs().into_iter().find(|r| r.starts_with("iql-toy-data-s0")).unwrap();
    for adapt in ["plain", "plain", "baq", "plain"] {
        let method = if adapt == "baq" { BAQ } else { "--adapt plain" };
        let json = place.json(&format!("finetune --from runs/{from} {method} {TUNE}"));
        from = Path::new(json["run"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().into();
        count += 1;
        assert!(runs().len() == count && from.starts_with(&format!("iql-{adapt}-toy-data-s0-")), "{from}");
    }
}

#[test]
fn resume_of_the_wrong_kind() {
    let place = Place::of(300);
    place.refused(
        "train --resume nothing",
        &["--resume nothing", "no such directory", "baq train --out nothing"],
    );
    place.run(&format!("train {IQL} --out run --set audit.keep_every=20"));
    place.run(&format!("finetune --from run --adapt plain {TUNE} --out tuned"));
    std::fs::create_dir(place.path("empty")).unwrap();
    let kept = "run/checkpoints/update-0000000020.safetensors";
    for (line, words) in [
        ("train --resume tuned", &["a run of baq finetune", "baq finetune --resume tuned"] as &[&str]),
        (
            "finetune --resume run",
            &["a run of baq train", "baq train --resume run", "baq finetune --from run"],
        ),
        ("train --resume run/checkpoint.safetensors", &["got a file", "baq train --resume run"]),
        ("finetune --resume run/checkpoint.safetensors", &["got a file", "baq train --resume run"]),
        ("finetune --resume tuned/checkpoint.safetensors", &["baq finetune --resume tuned"]),
        (
            &format!("train --resume {kept}"),
            &["baq train --resume run;", &format!("baq finetune --from {kept}")],
        ),
        ("train --resume run/checkpoints", &["baq train --resume run"]),
        ("train --resume nowhere", &["no such directory", "run, tuned"]),
        ("train --resume .", &["no run to resume", "run, tuned"]),
        ("train --resume toy.hdf5", &["got a file"]),
        ("train --resume empty", &["empty", "no run to resume"]),
    ] {
        place.refused(line, words);
    }
}

#[test]
fn moved_data() {
    let place = Place::of(600);
    let columns = synthetic::point(6, 600, 3, 1);
    write_d4rl(&place.path("other.hdf5"), &columns);
    let line = format!("train {IQL} --ledger --set offline.checkpoint_every=20 --updates 2000")
        .replace("--updates 40 ", "");
    place.run(&format!("{line} --out a"));
    let config = |run: &str| std::fs::read_to_string(place.path(run).join("config.toml")).unwrap();
    let absolute = place.path("toy.hdf5").canonicalize().unwrap();
    assert!(config("a").contains(&format!("dataset = \"{}\"", absolute.display())), "{}", config("a"));
    let sha = place.json("data inspect toy.hdf5")["sha256"].as_str().unwrap().to_string();
    assert!(config("a").contains(&format!("dataset_sha256 = \"{sha}\"")));

    assert_eq!(place.interrupted(&format!("{line} --out b"), "b/checkpoint.safetensors", "TERM").0, Some(3));
    let before = config("b");
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    std::fs::rename(place.path("toy.hdf5"), place.path("elsewhere/renamed.hdf5")).unwrap();
    place.refused("train --resume b", &["toy.hdf5", "say where they are with --data FILE"]);
    place.refused("train --resume b --data other.hdf5", &["other.hdf5", &sha, "got"]);
    // Whatever else is wrong with them for this run.
    write_d4rl(&place.path("wide.hdf5"), &synthetic::point(6, 600, 4, 2));
    place.refused("train --resume b --data wide.hdf5", &["wide.hdf5", &sha, "got"]);
    assert_eq!(config("b"), before);
    place.run("train --resume b --data elsewhere/renamed.hdf5 --quiet --threads 1");
    // Nothing tells of the move.
    place.same(
        "a",
        "b",
        &["config.toml", "checkpoint.safetensors", "metrics.csv", "evaluations.csv", "ledger.bin"],
    );
    assert!(place.run("audit verify b --data elsewhere/renamed.hdf5").contains("verified"));
    assert!(place.run("audit verify a --data elsewhere/renamed.hdf5").contains("verified"));
    place.refused("audit verify a --data wide.hdf5", &["wide.hdf5", &sha, "nothing was replayed"]);

    place.refused(&format!("finetune --from a --adapt plain {TUNE} --out x"), &["toy.hdf5", "--data FILE"]);
    place.refused(&format!("finetune --from a --adapt plain {TUNE} --out x --data other.hdf5"), &[&sha]);
    place.run(&format!("finetune --from a --adapt plain {TUNE} --out c --data elsewhere/renamed.hdf5"));
    std::fs::rename(place.path("elsewhere/renamed.hdf5"), place.path("toy.hdf5")).unwrap();
    place.run("finetune --resume c --data toy.hdf5 --quiet");
    // A configuration means the data that it was written beside.
    std::fs::rename(place.path("other.hdf5"), place.path("toy.hdf5")).unwrap();
    place.refused("train --config a/config.toml --updates 5 --out x", &["toy.hdf5", &sha, "--data"]);
    place.run("train --config a/config.toml --data toy.hdf5 --updates 5 --quiet --out y");
}
