//! A kill, a full or a broken disk at any operation that changes a file: recovery gives the files of an undisturbed run.
//!
//! The operations of the program go through a small library that is preloaded (`faults.c`), so that nothing of this is in
//! the program. `.ci/kill` does the same at the system calls themselves, with more commands.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::common::program::baq;
use crate::common::without_mujoco;

const DATA: &str = "collect --random --env toy --steps 300 --out data.hdf5 --quiet --threads 1";
const OFFLINE: &str =
    "--data data.hdf5 --env toy --quiet --threads 1 --set offline.batch=8 --set offline.eval_episodes=1";
const IQL: &str = "--updates 20 --set iql.hidden=[8] --set offline.log_every=5 --set offline.checkpoint_every=10 \
    --set offline.eval_every=10 --set audit.keep_every=10 --ledger --probe reference:every=10";
const BC: &str = "--algo bc --updates 500 --set bc.hidden=[8] --set bc.actor=0.1 --set offline.log_every=5 \
    --set offline.eval_every=20 --set offline.checkpoint_every=20 --set offline.validation_fraction=0.2 \
    --set offline.patience=25";
const TUNE: &str = "finetune --from iql --adapt baq --env-steps 10 --quiet --threads 1 --set baq.model_updates=5 \
    --set baq.model_hidden=[8] --set online.eval_episodes=1 --set online.checkpoint_every=5 \
    --set online.capacity=1000 --set audit.keep_every=5 --ledger --out tuned";

/// The library that lets an operation go wrong.
fn faults() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions/faults.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(cc.status().expect("a C compiler, as Rust's linker needs one").success());
        library
    })
}

/// What goes wrong, and at which operation.
#[derive(Clone, Copy, Debug)]
struct Fault(&'static str, u64);

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        place.succeed(DATA);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, line: &str, fault: Option<Fault>) -> Output {
        let mut command = baq(&self.0, line);
        if let Some(Fault(kind, at)) = fault {
            command.env("LD_PRELOAD", faults()).env("FAULT", kind).env("FAULT_AT", at.to_string());
        }
        command.output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, line: &str) -> Output {
        let ran = self.run(line, None);
        assert!(ran.status.success(), "baq {line}: {}", String::from_utf8_lossy(&ran.stderr));
        ran
    }

    /// How many operations of a command change a file.
    fn count(&self, line: &str) -> u64 {
        let mut command = baq(&self.0, line);
        command.env("LD_PRELOAD", faults()).env("FAULT_COUNT", self.at("count"));
        assert!(command.output().unwrap().status.success(), "{line}");
        let count = std::fs::read_to_string(self.at("count")).unwrap().parse().unwrap();
        std::fs::remove_file(self.at("count")).unwrap();
        count
    }

    /// Everything there is below a name, and beside it where it is a file; without times.
    fn files(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.0.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let relative = path.strip_prefix(self.0.path()).unwrap().to_path_buf();
                if path.is_dir() && relative.starts_with(name) {
                    folders.push(path);
                } else if path.is_file() && !path.ends_with("timing.csv") {
                    found.insert(relative, std::fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    fn remove(&self, name: &str) {
        let path = self.at(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Every fault at every `stride`-th operation of a command that makes `name`, and the recovery from it.
    fn survives(&self, line: &str, name: &str, stride: u64) {
        let count = self.count(line);
        let expected = self.files(name);
        self.remove(name);
        assert!(count > 2, "{line}: {count} operations");
        for (k, kind) in ["kill", "torn", "full", "eio"].into_iter().enumerate() {
            for at in (1 + k as u64 % stride..=count).step_by(stride as usize) {
                let fault = Fault(kind, at);
                let ran = self.run(line, Some(fault));
                let said = String::from_utf8_lossy(&ran.stderr).into_owned();
                match ran.status.code() {
                    None => assert_eq!(ran.status.signal(), Some(9), "{fault:?} {line}: {said}"),
                    code => assert!(matches!(code, Some(0 | 2)), "{fault:?} {line}: {code:?} {said}"),
                }
                let begun = self.at(name).join("config.toml").exists();
                let again = match (begun, line.split_once(' ')) {
                    (true, Some((command, _))) => format!("{command} --resume {name} --quiet --threads 1"),
                    _ => line.to_string(),
                };
                let recovered = self.run(&again, None);
                let said = String::from_utf8_lossy(&recovered.stderr).into_owned();
                let there = said.contains("exist") && self.at(name).is_file();
                assert!(recovered.status.success() || there, "{fault:?} {line}: {again}: {said}");
                let got = self.files(name);
                let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&got), names(&expected), "{fault:?} {line}");
                for (file, bytes) in &expected {
                    assert!(got[file] == *bytes, "{fault:?} {line}: {} differs", file.display());
                }
                self.remove(name);
            }
        }
    }
}

#[test]
fn an_offline_run_survives_every_fault() {
    Place::new().survives(&format!("train {OFFLINE} {IQL} --out run"), "run", 11);
}

#[test]
fn a_run_that_ends_by_patience_survives_every_fault() {
    Place::new().survives(&format!("train {OFFLINE} {BC} --out run"), "run", 11);
}

#[test]
fn a_finetuning_run_survives_every_fault() {
    let place = Place::new();
    place.succeed(&format!("train {OFFLINE} {IQL} --out iql"));
    place.survives(TUNE, "tuned", 13);
}

#[test]
fn single_files_survive_every_fault() {
    let place = Place::new();
    place.survives(
        "collect --random --env toy --steps 100 --out out.hdf5 --quiet --threads 1",
        "out.hdf5",
        1,
    );
    place.succeed(&format!("train {OFFLINE} {IQL} --out iql"));
    place.survives("report iql --out page", "page", 2);
}

#[test]
fn patience_resume() {
    let place = Place::new();
    place.succeed(&format!("train {OFFLINE} {BC} --out run"));
    let before = place.files("run");
    assert!(
        String::from_utf8_lossy(&before[Path::new("run/metrics.csv")]).lines().count() < 100,
        "it ended early"
    );
    for _ in 0..2 {
        let again = place.succeed("train --resume run --quiet --threads 1");
        assert!(String::from_utf8_lossy(&again.stderr).contains("run: the run is complete"));
        assert_eq!(place.files("run"), before);
    }
    // A run that has made all its updates likewise.
    place.succeed(&format!("train {OFFLINE} {IQL} --out iql"));
    let before = place.files("iql");
    place.succeed("train --resume iql --quiet --threads 1");
    assert_eq!(place.files("iql"), before);
}

/// A kept checkpoint that is ahead of the last one, as a kill between the two leaves it, is where the run goes on.
#[test]
fn kept_checkpoint_lost() {
    let place = Place::new();
    place.succeed(&format!("train {OFFLINE} {IQL} --out run"));
    let expected = place.files("run");
    std::fs::copy(
        place.at("run/checkpoints/update-0000000010.safetensors"),
        place.at("run/checkpoint.safetensors"),
    )
    .unwrap();
    std::fs::remove_file(place.at("run/curves.svg")).unwrap();
    place.succeed("train --resume run --quiet --threads 1");
    assert_eq!(place.files("run"), expected);
}

#[test]
fn stuck_directory() {
    let place = Place::new();
    place.succeed(&format!("train {OFFLINE} {IQL} --out iql"));
    let refused = |line: &str, words: &str| {
        let ran = place.run(line, None);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(2) && said.contains(words), "{line}: {said}");
    };
    // As a kill leaves it before the configuration is in place.
    std::fs::create_dir_all(place.at("tuned/offline_evaluations")).unwrap();
    for left in [
        ".lock",
        "origin.safetensors",
        ".config.toml.baq-tmp",
        "offline_evaluations/.evaluations.csv.baq-tmp",
    ] {
        std::fs::write(place.at("tuned").join(left), "1").unwrap();
    }
    refused("finetune --resume tuned", "it had not begun; begin it again with the same --out");
    // What is not of a run is not touched.
    std::fs::write(place.at("tuned/notes.txt"), "mine").unwrap();
    let before = place.files("tuned");
    refused(TUNE, "is not empty (it holds notes.txt)");
    assert_eq!(place.files("tuned"), before);
    std::fs::remove_file(place.at("tuned/notes.txt")).unwrap();
    place.succeed(TUNE);
    refused(TUNE, "already holds a run");
    // Files of these names without a lock are someone's own.
    std::fs::create_dir(place.at("other")).unwrap();
    std::fs::write(place.at("other/origin.safetensors"), "mine").unwrap();
    refused(&TUNE.replace("--out tuned", "--out other"), "is not empty (it holds origin.safetensors)");
}

#[test]
fn temp_litter() {
    let place = Place::new();
    let litter = |folder: &str| -> Vec<String> {
        let names = std::fs::read_dir(place.at(folder)).unwrap();
        let names = names.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|n| n.contains("tmp")).collect()
    };
    place.succeed(&format!("train {OFFLINE} {IQL} --out run"));
    for left in [".curves.png.baq-tmp", "checkpoints/.update-0000000010.safetensors.baq-tmp"] {
        std::fs::write(place.at("run").join(left), "half").unwrap();
    }
    place.succeed("train --resume run --quiet --threads 1");
    assert_eq!(litter("run"), [""; 0]);
    assert_eq!(litter("run/checkpoints"), [""; 0]);
    std::fs::write(place.at(".new.hdf5.baq-tmp"), "half").unwrap();
    place.succeed("collect --random --env toy --steps 100 --out new.hdf5 --quiet --threads 1");
    assert_eq!(litter("."), [""; 0]);
}

/// A demo that was killed goes on with the same command, and with no other.
#[test]
fn a_demo_goes_on() {
    if without_mujoco("a_demo_goes_on") {
        return;
    }
    let place = Place::new();
    let demo = "demo --updates 100 --env-steps 100 --quiet --threads 1 --out demo";
    place.run(demo, Some(Fault("kill", 450)));
    assert!(place.at("demo/iql/config.toml").exists() && !place.at("demo/baq").exists(), "killed half-way");
    let before = place.files("demo/bc");
    let other = place.run(&format!("{demo} --seed 1"), None);
    assert!(String::from_utf8_lossy(&other.stderr).contains("expected the configuration of this demo"));
    place.succeed(demo);
    let after = place.files("demo/bc");
    assert!(before.iter().all(|(file, bytes)| after[file] == *bytes), "what was finished stays");
    assert!(place.at("demo/baq/report.html").exists() && place.at("demo/report.html").exists());
}
