//! What is called verified is what a replay computes, and what goes on is the run that was begun.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use baq::files::sha256;
use baq::train::rundir::RunDir;
use baq_datasets::synthetic;
use safetensors::tensor::TensorView;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::common::place::{copy, write_d4rl};
use crate::common::program::{baq, ran};
use crate::common::without_mujoco;

const SMALL: &str = "--env toy --quiet --threads 1 --ledger --set offline.batch=16 --set offline.eval_every=20 \
    --set offline.eval_episodes=1 --set offline.log_every=10 --set iql.hidden=[8,8] --set audit.keep_every=20";

struct Place(TempDir);

impl Place {
    /// With a run of 60 updates that keeps three checkpoints.
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        write_d4rl(&place.path("toy.hdf5"), &synthetic::point(5, 900, 3, 1));
        place.succeed(&format!("train --data toy.hdf5 --out run --updates 60 {SMALL}"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn baq(&self, line: &str) -> (Option<i32>, String) {
        let (code, out, err) = ran(&mut baq(&self.0, line));
        (code, out + &err)
    }

    #[track_caller]
    fn succeed(&self, line: &str) -> String {
        let (code, text) = self.baq(line);
        assert_eq!(code, Some(0), "{line}: {text}");
        text
    }

    #[track_caller]
    fn refused(&self, line: &str, words: &[&str]) {
        let (code, text) = self.baq(line);
        assert_eq!((code, text.lines().count()), (Some(2), 1), "{line}: {text}");
        words.iter().for_each(|word| assert!(text.contains(word), "no `{word}` in {text}"));
    }

    /// Whether the program says that a run is verified: exit code and JSON agree.
    #[track_caller]
    fn verify(&self, line: &str) -> (bool, Value) {
        let (code, text) = self.baq(&format!("audit verify {line} --json"));
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{line}: {e}: {text}"));
        assert_eq!(json["passed"], Value::from(code == Some(0)), "{text}");
        assert!(code == Some(0) || code == Some(1), "{text}");
        (code == Some(0), json)
    }

    #[track_caller]
    fn not_verified(&self, line: &str, words: &[&str]) {
        let (passed, json) = self.verify(line);
        assert!(!passed, "{json:#}");
        let text = json.to_string();
        words.iter().for_each(|word| assert!(text.contains(word), "no `{word}` in {json:#}"));
        assert!(json["verdict"].as_str().unwrap().starts_with("NOT verified: "), "{text}");
    }

    /// A copy of a run, changed by a forger who knows the layouts: digests and links are computed anew.
    fn forged(&self, name: &str, change: impl FnOnce(&Path)) -> String {
        let _ = std::fs::remove_dir_all(self.path(name));
        copy(&self.path("run"), &self.path(name));
        change(&self.path(name));
        close(&self.path(name));
        name.to_string()
    }
}

/// Where the bodies of the records are.
fn bodies(ledger: &[u8]) -> Vec<Range<usize>> {
    let mut from = ledger.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0 + 1;
    let mut all = Vec::new();
    while from < ledger.len() {
        let length = u32::from_le_bytes(ledger[from..from + 4].try_into().unwrap()) as usize;
        all.push(from + 4..from + 4 + length);
        from += 4 + length + 16;
    }
    all
}

/// A ledger of these records, every link as it must be.
fn linked(head: &[u8], bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut ledger = head.to_vec();
    let mut link = Sha256::digest(head)[..16].to_vec();
    for body in bodies {
        link = Sha256::new().chain_update(&link).chain_update(body).finalize()[..16].to_vec();
        ledger.extend((body.len() as u32).to_le_bytes());
        ledger.extend(body);
        ledger.extend(&link);
    }
    ledger
}

/// Changes head and records of a ledger, and computes the links anew.
fn rewrite(run: &Path, change: impl FnOnce(&mut Vec<u8>, &mut Vec<Vec<u8>>)) {
    let path = run.join("ledger.bin");
    let ledger = std::fs::read(&path).unwrap();
    let places = bodies(&ledger);
    let mut head = ledger[..places.first().map_or(ledger.len(), |first| first.start - 4)].to_vec();
    let mut records: Vec<Vec<u8>> = places.into_iter().map(|place| ledger[place].to_vec()).collect();
    change(&mut head, &mut records);
    std::fs::write(path, linked(&head, &records)).unwrap();
}

/// Computes the digests in the last record anew, if it still is the one that ends the run.
fn close(run: &Path) {
    rewrite(run, |_, records| {
        let Some(last) = records.last_mut() else { return };
        let Ok(mut json) = serde_json::from_slice::<Value>(&last[4..]) else { return };
        let Some(files) = json["files"].as_object_mut() else { return };
        let kept = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten();
        let kept = kept.map(|e| format!("checkpoints/{}", e.unwrap().file_name().into_string().unwrap()));
        let names: Vec<String> = files.keys().cloned().chain(kept).collect();
        files.clear();
        for name in names {
            if let Ok(bytes) = std::fs::read(run.join(&name)) {
                files.insert(name, sha256(&bytes).into());
            }
        }
        *last = [&[0; 4], json.to_string().as_bytes()].concat();
    });
}

/// Exchanges text among the strings of a checkpoint for as much other, and computes its digest anew.
fn restamp(path: &Path, from: &str, to: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    assert_eq!(from.len(), to.len());
    // The strings are JSON inside JSON.
    let (from, to) = (from.replace('"', "\\\""), to.replace('"', "\\\""));
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("it is there");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    let key = br#"{\"sha256\":\""#;
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    bytes[at..at + 64].fill(b'0');
    let digest = sha256(&bytes);
    bytes[at..at + 64].copy_from_slice(digest.as_bytes());
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn edit(path: PathBuf, change: impl FnOnce(String) -> String) {
    let text = change(std::fs::read_to_string(&path).unwrap());
    std::fs::write(path, text).unwrap();
}

#[test]
fn an_honest_run_is_verified_and_every_file_is_accounted_for() {
    let place = Place::new();
    let (passed, json) = place.verify("run");
    assert!(passed, "{json:#}");
    let mut listed: Vec<&str> = ["proven", "given", "not_covered"]
        .iter()
        .flat_map(|class| json[class].as_array().unwrap().iter().map(|name| name.as_str().unwrap()))
        .chain(["ledger.bin"])
        .collect();
    listed.sort_unstable();
    let mut there = Vec::new();
    for entry in std::fs::read_dir(place.path("run")).unwrap().map(|e| e.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_string();
        match std::fs::read_dir(&entry) {
            Err(_) => there.push(name),
            Ok(inner) => {
                there.extend(inner.map(|e| format!("{name}/{}", e.unwrap().file_name().to_str().unwrap())));
            }
        }
    }
    there.sort();
    assert_eq!(listed, there);
    assert_eq!(json["given"], serde_json::json!(["config.toml"]));
    let free: Vec<&str> = json["not_covered"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(free.contains(&"timing.csv") && free.contains(&"report.html"), "{free:?}");
    assert!(!free.iter().any(|n| n.starts_with("metrics") || n.starts_with("evaluations")), "{free:?}");
}

/// `verify` took the length of its check from the ledger: a copy of the first record at the end, and one update was
/// replayed and called verified.
#[test]
fn a_ledger_never_says_how_long_the_check_is() {
    let place = Place::new();
    type Change = fn(&mut Vec<u8>, &mut Vec<Vec<u8>>);
    let changes: [(&str, Change, &[&str]); 9] = [
        ("copy", |_, r| r.push(r[1].clone()), &["a record follows the one that ends the run"]),
        ("copy within", |_, r| r.insert(r.len() - 1, r[1].clone()), &["update 1 follows update 60"]),
        ("all twice", |_, r| r.extend(r.clone()), &["a record follows"]),
        ("nothing left", |_, r| r.clear(), &["expected at least the"]),
        ("only the end", |_, r| drop(r.drain(..r.len() - 1)), &["expected at least the"]),
        ("cut", |_, r| drop(r.drain(100..r.len() - 1)), &["expected at least the"]),
        ("not closed", |_, r| drop(r.pop()), &["before it closed its ledger", "--resume"]),
        ("twice the same", |_, r| r.insert(50, r[50].clone()), &["record 51 "]),
        (
            "other seed",
            |head, _| {
                let text = String::from_utf8(head.clone()).unwrap().replace("\"seed\":0", "\"seed\":1");
                *head = text.into_bytes();
            },
            &["seed: expected 0, got 1"],
        ),
    ];
    for (name, change, words) in changes {
        let name = place.forged(&name.replace(' ', "_"), |run| rewrite(run, change));
        place.not_verified(&name, words);
    }
    for bytes in [&b""[..], b"baq-ledger 2\n", b"\0\0\0"] {
        std::fs::write(place.path("copy/ledger.bin"), bytes).unwrap();
        place.not_verified("copy", &["ledger.bin"]);
    }
    std::fs::remove_file(place.path("copy/ledger.bin")).unwrap();
    place.not_verified("copy", &["ledger.bin"]);
}

#[test]
fn an_empty_range_is_not_verified() {
    let place = Place::new();
    place.not_verified("run --from 61", &["the range is empty, the run has 1 to 60"]);
    place.refused("audit verify run --from 30 --to 20", &["--to 20: expected at least 30"]);
    let (passed, json) = place.verify("run --from 30 --to 50");
    assert!(
        passed && json["verdict"].as_str().unwrap().starts_with("verified in part: 90 records"),
        "{json}"
    );
    assert!(json["verdict"].as_str().unwrap().contains("taken on trust"), "{json}");
}

/// A run in the state of its checkpoint after 40 updates, as one who hides the rest leaves it.
#[test]
fn a_run_that_was_cut_short_or_goes_on_is_not_verified() {
    let place = Place::new();
    let cut = place.forged("cut", |run| {
        let kept = run.join("checkpoints/update-0000000040.safetensors");
        std::fs::copy(&kept, run.join("checkpoint.safetensors")).unwrap();
        std::fs::remove_file(run.join("checkpoints/update-0000000060.safetensors")).unwrap();
        rewrite(run, |_, records| records.truncate(1 + 3 * 40));
        for file in ["metrics.csv", "metrics.jsonl", "evaluations.csv", "evaluations.jsonl"] {
            let late = |line: &&str| {
                !["offline,50,", "offline,60,", "\"update\":50", "\"update\":60"]
                    .iter()
                    .any(|word| line.contains(word))
            };
            edit(run.join(file), |text| text.split_inclusive('\n').filter(late).collect());
        }
    });
    place.not_verified(&cut, &["the run was interrupted after 40 of 60 updates", "baq train --resume cut"]);
    let json = place.verify(&cut).1;
    assert!(json["findings"].as_array().unwrap().iter().all(|f| f["good"] == true), "{json:#}");
    // It goes on to the same bytes, and is verified then.
    place.succeed("train --resume cut --quiet");
    let ledger = |run: &str| std::fs::read(place.path(run).join("ledger.bin")).unwrap();
    assert!(ledger("cut") == ledger("run"));
    assert!(place.verify("cut").0);

    let held = RunDir::resume(&place.path("run")).unwrap();
    let process = format!("in progress (process {})", std::process::id());
    place.not_verified("run", &[&process]);
    drop(held);
    assert!(place.verify("run").0);
}

/// Everything that a run writes can be changed by hand, and its digest with it.
#[test]
fn every_file_that_is_changed_with_its_digest_is_found_by_the_replay() {
    let place = Place::new();
    let last_digit = |text: String| {
        let at = text.rfind(|c: char| c.is_ascii_digit()).unwrap();
        let digit = if &text[at..=at] == "1" { "2" } else { "1" };
        format!("{}{digit}{}", &text[..at], &text[at + 1..])
    };
    let files = ["metrics.csv", "metrics.jsonl", "evaluations.csv", "evaluations.jsonl", "dataset.json"];
    for file in files {
        let run = place.forged("bent", |run| edit(run.join(file), last_digit));
        place.not_verified(&run, &[&format!("{file}: line "), "the replay gives"]);
        let run = place.forged("bent", |run| {
            edit(run.join(file), |text| text[..text.len() - 5].to_string());
        });
        place.not_verified(&run, &[&format!("{file}: line ")]);
        let run = place.forged("bent", |run| std::fs::remove_file(run.join(file)).unwrap());
        place.not_verified(&run, &[&format!("{file}: missing")]);
    }
    let run = place.forged("bent", |run| {
        edit(run.join("metrics_about.json"), |text| text.replacen("mean", "mien", 1));
    });
    place.not_verified(&run, &["metrics_about.json: line "]);
    let run = place.forged("bent", |run| {
        let mut rows = std::fs::read(run.join("ledger_rows.bin")).unwrap();
        rows[80] ^= 1;
        std::fs::write(run.join("ledger_rows.bin"), rows).unwrap();
    });
    place.not_verified(&run, &["ledger_rows.bin: byte 80"]);
    let run = place.forged("bent", |run| std::fs::write(run.join("calibration.json"), "{}").unwrap());
    place.not_verified(&run, &["calibration.json: "]);
    // What nobody promises anything about may be anything.
    let run = place.forged("free", |run| {
        std::fs::write(run.join("timing.csv"), "").unwrap();
        std::fs::write(run.join("notes.txt"), "mine").unwrap();
    });
    let (passed, json) = place.verify(&run);
    assert!(passed && json["not_covered"].to_string().contains("notes.txt"), "{json:#}");
}

#[test]
fn every_checkpoint_and_its_metadata_are_proven() {
    let place = Place::new();
    let kept = |run: &Path, update: u64| run.join(format!("checkpoints/update-{update:010}.safetensors"));
    let both = ["checkpoint.safetensors", "checkpoints/update-0000000020.safetensors"];
    for file in both {
        for (from, to) in [
            ("toy.hdf5\",\"dataset.sha256", "toy.hdf6\",\"dataset.sha256"),
            ("\"phase\":\"offline\"", "\"phase\":\"onlinee\""),
            ("\"numerics\":\"f32\"", "\"numerics\":\"f64\""),
            ("\"mujoco\":\"\"", "\"mujocO\":\"\""),
        ] {
            let run = place.forged("bent", |run| restamp(&run.join(file), from, to));
            place.not_verified(&run, &[&format!("{file}: metadata ")]);
        }
    }
    let run = place.forged("bent", |run| std::fs::remove_file(kept(run, 20)).unwrap());
    place.not_verified(&run, &["update-0000000020.safetensors: missing"]);
    let run = place.forged("bent", |run| {
        std::fs::copy(kept(run, 20), kept(run, 30)).unwrap();
    });
    place.not_verified(&run, &["update-0000000030.safetensors: the run does not write it"]);
    let run = place.forged("bent", |run| std::fs::remove_dir_all(run.join("checkpoints")).unwrap());
    place.not_verified(&run, &["update-0000000040.safetensors: missing"]);
    let run = place.forged("bent", |run| std::fs::remove_file(run.join("checkpoint.safetensors")).unwrap());
    place.not_verified(&run, &["checkpoint.safetensors: missing"]);
    // Whole files of another run of the same shape.
    place.succeed(&format!("train --data toy.hdf5 --out other --updates 60 --seed 1 {SMALL}"));
    for name in ["checkpoint.safetensors", "evaluations.csv", "metrics.csv"] {
        let run = place.forged("bent", |run| {
            std::fs::copy(place.path("other").join(name), run.join(name)).unwrap();
        });
        place.not_verified(&run, &[&format!("{name}: ")]);
    }
    let run = place.forged("bent", |run| {
        std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
        copy(&place.path("other/checkpoints"), &run.join("checkpoints"));
    });
    place.not_verified(&run, &["update-0000000040.safetensors: "]);
}

/// An online run has more files; its origin is given.
#[test]
fn a_fine_tuned_run_is_proven_as_a_whole() {
    let place = Place::new();
    place.succeed(
        "finetune --from run --out tuned --adapt baq --env-steps 40 --quiet --threads 1 --ledger \
         --set online.batch=16 --set online.eval_every=20 --set online.eval_episodes=1 --set baq.model_updates=20 \
         --set baq.model_hidden=[8] --set online.log_every=10 --set audit.keep_every=10 \
         --set online.updates_per_step=0.3 --probe reference:every=5",
    );
    std::fs::rename(place.path("run"), place.path("origin")).unwrap();
    std::fs::rename(place.path("tuned"), place.path("run")).unwrap();
    let (passed, json) = place.verify("run");
    assert!(passed, "{json:#}");
    let proven = json["proven"].to_string();
    for name in ["calibration.json", "distributions.json", "roundoff.csv", "checkpoints/"] {
        assert!(proven.contains(name), "{name}: {proven}");
    }
    for name in ["calibration.json", "distributions.json", "roundoff.csv"] {
        let run = place.forged("bent", |run| edit(run.join(name), |text| text.replacen('1', "2", 1)));
        place.not_verified(&run, &[&format!("{name}: line ")]);
    }
    let name = "offline_evaluations/evaluations.jsonl";
    let run = place.forged("bent", |run| std::fs::remove_file(run.join(name)).unwrap());
    place.not_verified(&run, &[&format!("{name}: missing")]);
    for name in ["origin.safetensors", "offline_evaluations/evaluations.csv"] {
        let run = place.forged("bent", |run| {
            let mut bytes = std::fs::read(run.join(name)).unwrap();
            let at = bytes.len() - 3;
            bytes[at] ^= 1;
            std::fs::write(run.join(name), bytes).unwrap();
        });
        place.not_verified(&run, &[name]);
    }
}

/// `--resume` went on under another instruction set or with an edited configuration, and passed over its other options.
#[test]
fn a_run_goes_on_only_as_what_it_was() {
    let place = Place::new();
    let plain = SMALL.replace("--ledger ", "");
    place.succeed(&format!("train --data toy.hdf5 --out plain --updates 60 {plain}"));
    place.succeed("train --resume plain --quiet");
    let best = baq_kernels::best().isa.name();
    if best != "portable" {
        place.refused(
            "train --resume plain --isa portable",
            &["plain/checkpoint.safetensors: instruction set", &format!("say --isa {best}")],
        );
    }
    let config = place.path("plain/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    for (then, now) in
        [("discount = 0.99", "discount = 0.1"), ("seed = 0", "seed = 7"), ("updates = 60", "updates = 90")]
    {
        let number = 1 + text.lines().position(|line| line == then).unwrap();
        edit(config.clone(), |text| text.replace(then, now));
        let words =
            [&format!("plain/config.toml, line {number}: "), &format!("`{then}`"), &format!("`{now}`")];
        place.refused("train --resume plain", &words.map(|word| word.as_str()));
        std::fs::write(&config, &text).unwrap();
    }
    // Remarks are no options.
    edit(config.clone(), |text| format!("# mine\n{text}"));
    place.succeed("train --resume plain --quiet");
    for option in
        ["--seed 3", "--algo iql", "--clip-actions", "--set iql.discount=0.5", "--env toy", "--preset iql"]
    {
        place.refused(
            &format!("train --resume plain {option}"),
            &[option.split(' ').next().unwrap(), "--resume"],
        );
        place.refused(&format!("train {option} --resume plain"), &["--resume"]);
    }
    place.refused("--seed 3 train --resume plain", &["--seed 3", "--resume"]);
    for option in ["--seed 3", "--adapt plain", "--clip-actions", "--model run"] {
        place.refused(&format!("finetune --resume plain {option}"), &["--resume"]);
    }
    // A checkpoint that does not say under what it was made.
    restamp(&place.path("plain/checkpoint.safetensors"), "\"isa\":", "\"isb\":");
    place.refused("train --resume plain", &["plain/checkpoint.safetensors", "metadata isa"]);
    // And one whose strings are where the first version had them.
    let strings = HashMap::from([("format".into(), "baq-checkpoint-1".into())]);
    let no_tensors: [(&str, TensorView); 0] = [];
    let file = place.path("plain/checkpoint.safetensors");
    std::fs::write(&file, safetensors::serialize(no_tensors, Some(strings)).unwrap()).unwrap();
    for command in ["train --resume plain", "evaluate --from plain", "finetune --from plain --adapt plain"] {
        place.refused(command, &["plain/checkpoint.safetensors: written by an earlier version, format 1;"]);
    }
}

/// The simulator's release was in no file: a run went on under another without a word.
#[test]
fn another_simulator_is_refused_or_accepted_and_named() {
    if without_mujoco("another_simulator_is_refused_or_accepted_and_named") {
        return;
    }
    let place = Place(tempfile::tempdir().unwrap());
    place.succeed(
        "train --algo td3 --env halfcheetah --out run --env-steps 60 --quiet --threads 1 --ledger --set td3.hidden=[8,8] \
         --set online.batch=16 --set online.eval_episodes=0 --set online.checkpoint_every=30 --set online.random_steps=10",
    );
    let config = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    let value = |key: &str| {
        let line = config.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
        line.trim_matches('"').to_string()
    };
    let (release, sha256) = (value("release"), value("sha256"));
    assert!(release.starts_with(|c: char| c.is_ascii_digit()) && sha256.len() == 64, "{config}");
    let ledger = std::fs::read(place.path("run/ledger.bin")).unwrap();
    assert!(String::from_utf8_lossy(&ledger).contains(&sha256));
    assert!(place.verify("run").0);

    // As if the checkpoint had been made with another library.
    let other = format!("0 {release} {}", sha256.replace(|_: char| true, "7"));
    restamp(&place.path("run/checkpoint.safetensors"), &format!("0 {release} {sha256}"), &other);
    place.refused("train --resume run", &["777777", &sha256, "--accept-mujoco", "MUJOCO_PATH"]);
    place.succeed("train --resume run --accept-mujoco --quiet");
    place.not_verified("run", &["--accept-mujoco", &sha256]);
    place.refused(
        "train --algo td3 --env halfcheetah --out x --env-steps 60 --set mujoco.release=3.1.0",
        &["MuJoCo 3.1.0", &release, "--accept-mujoco"],
    );
    place.refused(
        "train --algo td3 --env toy --out x --env-steps 60 --set mujoco.release=3.1.0",
        &["mujoco.release"],
    );
}
