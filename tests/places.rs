//! Machines: what is brought to them, and what a run notes of them.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::place::folder;
use common::program;

const TRAIN: &str = "train --algo sac --env toy --env-steps 40 --out run --quiet --set online.eval_episodes=0 --set sac.hidden=[4] --set online.batch=4";

fn baq(at: &Path, line: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = program::baq(at, line);
    command.env_remove("SLURM_JOB_ID").envs(variables.iter().copied());
    command.output().expect("the program runs")
}

#[test]
fn a_run_notes_where_it_was_made_and_each_place_once() {
    let at = folder("provenance");
    let noted = || fs::read_to_string(at.join("run/provenance.jsonl")).unwrap();
    assert!(baq(&at, TRAIN, &[]).status.success());
    let first = noted();
    assert_eq!(first.lines().count(), 1, "{first}");
    let place: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(
        (place["job"].as_str(), place["version"].as_str()),
        (Some(""), Some(env!("CARGO_PKG_VERSION")))
    );
    assert!(["host", "commit"].iter().all(|key| !place[key].as_str().unwrap().is_empty()), "{first}");

    assert!(baq(&at, "train --resume run --quiet", &[]).status.success());
    assert_eq!(noted(), first, "the same place again");
    let checkpoint = fs::read(at.join("run/checkpoint.safetensors")).unwrap();
    assert!(baq(&at, "train --resume run --quiet", &[("SLURM_JOB_ID", "4711")]).status.success());
    let second = noted();
    assert!(
        second.starts_with(&first) && second.lines().nth(1).unwrap().contains(r#""job":"4711""#),
        "{second}"
    );
    assert_eq!(fs::read(at.join("run/checkpoint.safetensors")).unwrap(), checkpoint);
}

#[test]
fn what_is_not_in_the_cache_and_may_not_be_fetched_is_said() {
    let at = folder("fetch");
    let cache = at.display().to_string();
    let out = baq(&at, "fetch", &[("XDG_CACHE_HOME", &cache), ("BAQ_NO_FETCH", "1")]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{text}");
    let expected = "baq: MuJoCo is not in the cache and BAQ_NO_FETCH=1 forbids to download it (unset it to allow that); run `pip";
    assert!(text.starts_with(expected) && text.trim_end().lines().count() == 1, "{text}");
    // A damaged one is not taken for it.
    fs::create_dir_all(at.join("baq/mujoco-3.3.7")).unwrap();
    fs::write(at.join("baq/mujoco-3.3.7/libmujoco.so.3.3.7"), "cut off").unwrap();
    let out = baq(&at, "fetch", &[("XDG_CACHE_HOME", &cache), ("BAQ_NO_FETCH", "1")]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(fs::read(at.join("baq/mujoco-3.3.7/libmujoco.so.3.3.7")).unwrap(), b"cut off");
}
