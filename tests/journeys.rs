//! What a user is told on the way: names that are no text, a study that is interrupted, columns and options that are
//! not what they should be.

mod common;

use std::process::{Output, Stdio};
use std::time::Duration;

use baq_datasets::write::Npz;
use common::place::{Place, terminate};
use common::program::baq;
use serde_json::Value;

/// Its first cell does not end by itself.
const STUDY: &str = r#"
name  = "toys"
about = "what is tried here"
seeds = 1
data  = ["toy.hdf5"]
[offline.iql]
algo    = "iql"
updates = 1000000
set     = ["run.env=toy", "offline.batch=16", "iql.hidden=[8]", "offline.eval_episodes=1"]
[[method]]
label = "IQL + BAQ"
from  = "iql"
adapt = "baq"
[online]
env_steps     = 400
eval_every    = 200
eval_episodes = 1
set           = ["online.batch=16"]
"#;

/// What it says in one line with code 2.
#[track_caller]
fn refused(out: &Output) -> String {
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((out.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    said
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_are_refused_before_the_work() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"x\xff.hdf5");
    let collect = "collect --random --env toy --steps 10 --json --out";
    let said = refused(&baq(&place.0, collect).arg(name).output().unwrap());
    assert!(said.contains("x\u{fffd}.hdf5: expected an argument in UTF-8"), "{said}");
    assert!(!place.0.path().join(name).exists(), "nothing is recorded");
}

#[test]
fn an_interrupted_study_says_how_to_go_on() {
    let place = Place::new();
    std::fs::write(place.path("s.toml"), STUDY).unwrap();
    for (out, json) in [("text", false), ("json", true)] {
        let line = format!("study run s.toml --out {out} --jobs 1");
        let again = format!("baq {line} --threads 1");
        let mut command = baq(&place.0, &format!("{line} --quiet --threads 1"));
        command.args(json.then_some("--json")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = command.spawn().unwrap();
        while !place.path(out).join("logs").exists() {
            assert!(run.try_wait().unwrap().is_none(), "it ended before its first cell");
            std::thread::sleep(Duration::from_millis(1));
        }
        terminate(&run);
        let ended = run.wait_with_output().unwrap();
        let text = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{text}");
        if json {
            let said: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&said["ended"], &said["again"]), (&"interrupted".into(), &again.into()), "{text}");
        } else {
            let last = format!("interrupted, saved; go on with: {again}");
            assert_eq!(text.lines().last(), Some(last.as_str()), "{text}");
        }
    }
}

#[test]
fn a_column_of_an_archive_by_another_name_is_to_be_renamed() {
    let place = Place::new();
    let numbers = [0.5f32; 12];
    for (key, other) in [
        ("timeouts", "truncations"),
        ("timeouts", "timeout"),
        ("timeouts", "TimeLimit.truncated"),
        ("timeouts", "infos/TimeLimit.truncated"),
        ("rewards", "reward"),
        ("rewards", "Reward"),
        ("actions", "action"),
        ("observations", "observation"),
        ("terminals", "terminal"),
    ] {
        let named = |name: &'static str| if name == key { other } else { name };
        let mut npz = Npz::default();
        npz.floats(named("observations"), &[6, 2], numbers.iter()).unwrap();
        npz.floats(named("actions"), &[6, 1], numbers[..6].iter()).unwrap();
        npz.floats(named("rewards"), &[6], numbers[..6].iter()).unwrap();
        for flags in ["terminals", "timeouts"] {
            npz.array(named(flags), "|b1", &[6], &[0; 6]).unwrap();
        }
        std::fs::write(place.path("x.npz"), npz.finish().unwrap()).unwrap();
        // Rewards that are there under another name are not taken for missing ones.
        for line in ["data inspect x.npz", "data convert x.npz y.npz --zero-rewards"] {
            let said = refused(&baq(&place.0, line).output().unwrap());
            assert!(said.contains(other) && said.ends_with(&format!("; rename it to `{key}`\n")), "{said}");
        }
        assert!(!place.path("y.npz").exists());
    }
}

#[test]
fn an_option_of_a_model_that_is_fitted_already_is_refused() {
    let place = Place::new();
    let set = "baq.model_optimiser=0.02";
    let method = format!("adapt = \"baq\"\nset = [\"{set}\"]");
    std::fs::write(place.path("s.toml"), STUDY.replace("adapt = \"baq\"", &method)).unwrap();
    let said = refused(&baq(&place.0, "study plan s.toml").output().unwrap());
    let words = "--set baq.model_optimiser: has no effect with the study's model (see [model])";
    assert!(said.contains(words) && !said.contains("--model"), "{said}");

    let small = "--data toy.hdf5 --env toy --updates 5 --set offline.eval_episodes=1 --quiet --threads 1";
    for method in ["--algo iql --set iql.hidden=[8] --out iql", "--algo bc --set bc.hidden=[8] --out bc"] {
        assert!(
            baq(&place.0, &format!("train {small} {method}")).output().unwrap().status.success(),
            "{method}"
        );
    }
    let line = format!("finetune --from iql --model bc --adapt baq --set {set} --out x");
    let said = refused(&baq(&place.0, &line).output().unwrap());
    assert!(said.contains("has no effect with --model bc, which is fitted already"), "{said}");
}
