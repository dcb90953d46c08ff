//! Standard output and error that nobody reads any more, and files that may not grow.
#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::common::place::terminate;
use crate::common::program::baq;

const TRAIN: &str = "train --data embedded --env none --threads 1 --set iql.hidden=[8] --set offline.batch=8";

#[test]
fn errors_that_cannot_be_said_change_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let code = |line: &str| {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        baq(folder.path(), line).stdout(Stdio::null()).stderr(full).status().unwrap().code()
    };
    assert_eq!(code("data inspect nofile"), Some(2));
    assert_eq!(code("--no-such-option"), Some(2));
    assert_eq!(code(&format!("{TRAIN} --updates 30 --out run")), Some(0));
    assert!(folder.path().join("run/report.html").exists());
}

/// A terminal: its end that a person has, and the one that a program has.
fn terminal() -> (File, File) {
    // No child has the person's end too, which would stay open.
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (person.into(), program.into())
}

/// A run that ends with this value.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_whose_terminal_is_closed_is_interrupted_and_saved() {
    let folder = tempfile::tempdir().unwrap();
    for (out, quiet) in [("loud", ""), ("quiet", "--quiet")] {
        let (person, mut program) = terminal();
        let line = format!("{TRAIN} --updates 100000000 --set offline.log_every=10 {quiet} --out {out}");
        let [stdout, stderr] = [(); 2].map(|()| Stdio::from(program.try_clone().unwrap()));
        let mut run = Run(baq(folder.path(), &line).stdout(stdout).stderr(stderr).spawn().unwrap());
        let timing = folder.path().join(out).join("timing.csv");
        let begun = (0..6000).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            std::fs::metadata(&timing).is_ok_and(|m| m.len() > 200)
        });
        assert!(begun, "it does not begin");
        drop(person);
        // A child of another test that has not become its program yet has this end too.
        let gone = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            program.write_all(b"x").is_err()
        });
        assert!(gone, "the terminal is still there");
        // As HUP, which a process under `nohup` ignores.
        terminate(&run.0);
        assert_eq!(run.0.wait().unwrap().code(), Some(3), "{out}");
        assert!(folder.path().join(out).join("checkpoint.safetensors").exists());
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["big.hdf5", "big.npz", "big.csv"] {
        let words = format!("ulimit -f 8; exec \"$0\" data convert embedded {name}");
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path()).args(["-c", &words, env!("CARGO_BIN_EXE_baq")]);
        let Output { status, stderr, .. } = shell.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), said.lines().count()), (Some(2), 1), "{name}: {said}");
        assert!(said.contains(name) && said.contains("cannot write"), "{said}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name} left something");
    }
}
