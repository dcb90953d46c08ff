//! Pipes, devices and escapes where files are named on the command line.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use crate::common::program::{self, ran};

fn baq(folder: &Path, line: &str) -> (Option<i32>, String) {
    let (code, out, err) = ran(&mut program::baq(folder, line));
    (code, out + &err)
}

#[test]
fn pipes_and_devices_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["pipe", "pipe.safetensors", "pipe.json"] {
        assert!(Command::new("mkfifo").arg(folder.join(name)).status().unwrap().success());
    }
    for name in ["of-pipes", "of-devices/data"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    for name in ["config.toml", "checkpoint.safetensors", "ledger.bin", "metadata.json", "main_data.hdf5"] {
        assert!(Command::new("mkfifo").arg(folder.join("of-pipes").join(name)).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", folder.join("of-devices/data").join(name)).unwrap();
    }
    for line in [
        "data inspect pipe",
        "data inspect /dev/zero",
        "data inspect of-pipes",
        "data inspect of-devices",
        "train --env toy --data pipe --updates 1 --out out",
        "train --env toy --data embedded --config pipe --updates 1 --out out",
        "train --env toy --data embedded --config /dev/zero --updates 1 --out out",
        "train --resume of-pipes",
        "finetune --from pipe --out out",
        "finetune --from of-pipes --out out",
        "evaluate --from pipe",
        "evaluate --from /dev/zero",
        "evaluate --from of-pipes",
        "collect --from of-pipes --steps 1 --out out",
        "report of-pipes --out out",
        "audit verify of-pipes",
        "audit trace pipe.safetensors",
        "audit trace /dev/zero",
    ] {
        let (code, text) = baq(folder, line);
        assert_eq!((code, text.lines().count()), (Some(2), 1), "{line}: {text}");
        assert!(!folder.join("out").exists(), "{line}");
    }
}

#[test]
fn a_directory_for_temporary_files_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let (code, _, text) = ran(program::baq(&folder, "bench train").env("TMPDIR", none));
    assert_eq!((code, text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("none/.tmp") && text.contains("TMPDIR"), "{text}");
}

#[test]
fn nothing_that_is_printed_steers_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/tests/fixtures");
    let named = folder.path().join("\u{1b}[2Jx\u{9b}31m.hdf5");
    std::fs::copy(fixtures.join("escapes.hdf5"), &named).unwrap();
    let name = named.file_name().unwrap().to_str().unwrap();
    std::fs::write(folder.path().join("\u{1b}[2J.toml"), "[\u{1b}[2J]").unwrap();
    for line in [
        format!("data inspect {name}"),
        format!("data inspect {name} --json"),
        "data inspect \u{1b}[2Jnothing".into(),
        "train --env \u{1b}[2J".into(),
        "train --env toy --data embedded --config \u{1b}[2J.toml".into(),
        "train --\u{1b}[2J".into(),
    ] {
        let (_, text) = baq(folder.path(), &line);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{line}: {text:?}");
    }
}
