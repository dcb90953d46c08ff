//! Own data from the file to the policy: what NumPy, OGBench and Minari write is converted, trained on and acted with;
//! and what is wrong is said in one line.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use baq::env;
use baq::train::action_map::ActionMap;
use baq::train::state::Saved;
use baq_datasets::scale::ActionBounds;
use baq_datasets::{Options, read_recording};
use common::place::folder;
use common::{program, python};
use serde_json::Value;

const PACKAGES: &[&str] = &["h5py", "numpy"];

fn baq(place: &Path, line: &str, input: &str) -> Output {
    let file = place.join("input");
    fs::write(&file, input).unwrap();
    program::baq(place, line).stdin(Stdio::from(fs::File::open(file).unwrap())).output().unwrap()
}

fn succeed(place: &Path, line: &str) -> String {
    let out = baq(place, line, "");
    assert!(out.status.success(), "baq {line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Code 2, one line that holds all of `words`, no file more than before.
fn refused(place: &Path, line: &str, words: &[&str]) {
    let files = || fs::read_dir(place).unwrap().count();
    fs::write(place.join("input"), "").unwrap();
    let before = files();
    let out = baq(place, line, "");
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), said.lines().count()), (Some(2), 1), "baq {line}: {said}");
    for word in words {
        assert!(said.contains(word), "baq {line}: no `{word}` in {said}");
    }
    assert_eq!(files(), before, "baq {line}: no file is made");
}

fn json(place: &Path, line: &str) -> Value {
    serde_json::from_str(&succeed(place, &format!("{line} --json"))).unwrap()
}

/// The example of the page is what it says: it runs, and one learns from its file.
#[test]
fn the_example_of_the_page_is_learned_from() {
    let place = folder("own-example");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/src/example.py");
    let out = python::python(&["numpy"]).current_dir(&place).arg(example).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let seen = json(&place, "data inspect mine.npz");
    assert_eq!((&seen["n_episodes"], &seen["n_timeouts"]), (&20.into(), &20.into()));
    assert_eq!(
        (&seen["obs_dim"], &seen["act_dim"], &seen["n_training"]),
        (&2.into(), &2.into(), &980.into())
    );
    let small = "--updates 20 --set iql.hidden=[8] --set offline.batch=16 --quiet";
    succeed(&place, &format!("train --algo iql --data mine.npz {small} --out run"));
    // The same rows in another format are the same run.
    for (file, run) in [("mine.hdf5", "run-hdf5"), ("mine.csv", "run-csv")] {
        succeed(&place, &format!("data convert mine.npz {file}"));
        succeed(&place, &format!("train --algo iql --data {file} {small} --out {run}"));
        let act = |run: &str| {
            let out = baq(&place, &format!("act {run}"), "0.5 -0.25\n");
            String::from_utf8(out.stdout).unwrap()
        };
        assert!(act("run").split(' ').count() == 2 && act("run") == act(run), "{file}");
    }
}

/// Files as OGBench and Minari write them, and what NumPy finds in those that are written here.
const WRITE: &str = r#"
import json, os, sys
import h5py, numpy as np
os.chdir(sys.argv[1])
rng = np.random.default_rng(1)
f = lambda *shape: rng.uniform(-1, 1, size=shape).astype(np.float32)
ends = (np.arange(30) % 10 == 9).astype(np.float32)
np.savez_compressed("og.npz", observations=f(30, 4), actions=f(30, 2), terminals=ends, qpos=f(30, 3), button_states=f(30, 1))
np.savez_compressed("odd.npz", observations=np.asfortranarray(f(30, 4)).astype(">f8"), actions=3 * f(30, 2),
    rewards=f(30, 1), terminals=ends.astype(np.int64), pickled=np.array([{}], dtype=object))
np.savez("ints.npz", observations=np.zeros((3, 2), dtype=np.int64), actions=f(3, 1), rewards=f(3), terminals=np.zeros(3, dtype=bool))
np.save("one.npy", f(3)); os.rename("one.npy", "one.npz")
def minari(folder, bad):
    os.makedirs(f"{folder}/data")
    steps = [5, 7, 4]
    with h5py.File(f"{folder}/data/main_data.hdf5", "w") as file:
        for k, t in enumerate(steps):
            g = file.create_group(f"episode_{k}")
            o = g.create_group("observations")
            o["desired_goal"], o["achieved_goal"] = np.full((t + 1, 2), 3.0), np.full((t + 1, 2), 2.0)
            o["observation"], o["extra"] = np.arange((t + 1) * 3, dtype=float).reshape(t + 1, 3), np.full((t + 1, 1, 1), 4.0)
            g["actions"] = 2 * f(t - (bad == k), 1)
            g["rewards"], g["terminations"] = np.ones(t), np.zeros(t, dtype=bool)
            g["truncations"] = np.arange(t) == t - 1
            if bad == 2 and k == 0:
                g["rewards"][2] = np.nan
    box = lambda n, b: {"type": "Box", "dtype": "float64", "shape": [n], "low": [-b] * n, "high": [b] * n}
    parts = {"achieved_goal": box(2, 9), "desired_goal": box(2, 9), "observation": box(3, 9), "extra": box(1, 9)}
    json.dump({"total_episodes": 3, "total_steps": sum(steps), "data_format": "hdf5", "dataset_id": "own/goal-v0",
        "observation_space": json.dumps({"type": "Dict", "subspaces": parts}),
        "action_space": json.dumps(box(1, 2.5))}, open(f"{folder}/data/metadata.json", "w"))
minari("good", None); minari("bad", 2)
"#;

const CHECK: &str = r#"
import os, sys
import h5py, numpy as np
os.chdir(sys.argv[1])
og, back = np.load("og.npz"), np.load("og-out.npz")
same = lambda a, b: a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
assert same(og["observations"], back["observations"]) and same(og["actions"], back["actions"])
assert (back["rewards"] == 0).all() and not back["terminals"].any() and back["terminals"].dtype == bool
assert (back["timeouts"] == og["terminals"].astype(bool)).all()
goal = np.load("goal.npz")
assert (goal["observations"][1] == [3, 4, 5, 2, 2, 3, 3, 4]).all() and goal["observations"].dtype == np.float32
assert goal["metadata/action_low"].tolist() == [-2.5] and np.abs(goal["actions"]).max() <= 0.8 + 1e-6
with h5py.File("good/data/main_data.hdf5") as f:
    a = np.concatenate([f[f"episode_{k}/actions"][:] for k in range(3)])
assert np.allclose(a, goal["actions"] * 2.5, atol=1e-6)
csv = np.genfromtxt("og-out.csv", delimiter=",", names=True, dtype=np.float32, deletechars="")
assert (csv["observations_3"] == og["observations"][:, 3]).all() and (csv["timeouts"] == og["terminals"]).all()
"#;

#[test]
fn files_of_others_are_converted_or_refused_in_a_line() {
    let place = folder("own-others");
    python::check(PACKAGES, WRITE, &[&place]);
    refused(&place, "data convert og.npz x.npz", &["og.npz", "`rewards`", "--zero-rewards"]);
    let said = succeed(&place, "data convert og.npz og-out.npz --zero-rewards");
    assert!(
        said.contains("30 rows in 3 episodes") && said.contains("left out") && said.contains("qpos"),
        "{said}"
    );
    assert!(said.contains("next: baq data inspect og-out.npz"), "{said}");
    succeed(&place, "data convert og-out.npz og-out.csv");
    let said = json(&place, "data convert good goal.npz --rescale-actions");
    assert_eq!((&said["n_episodes"], &said["obs_dim"]), (&3.into(), &8.into()));
    assert_eq!(said["action_bounds"]["high"][0], 2.5);
    python::check(PACKAGES, CHECK, &[&place]);

    let bad = "data convert bad bad.hdf5 --rescale-actions";
    refused(&place, bad, &["episode_2/actions", "(4, A)"]);
    let said = json(&place, &format!("{bad} --skip-bad"));
    let skipped = said["skipped"].as_array().unwrap();
    assert_eq!((skipped.len(), &said["n_transitions"]), (2, &7.into()), "{said}");

    refused(&place, "data convert odd.npz x.hdf5", &["`actions`", "[-1, 1]", "--rescale-actions"]);
    let said = json(&place, "data convert odd.npz odd.csv --clip-actions --layout d4rl");
    assert!(said["n_clipped"].as_u64() > Some(5), "{said}");
    refused(&place, "data convert odd.npz x.csv --rescale-actions=-3:3", &["x.csv", "write .npz or .hdf5"]);
    refused(&place, "data convert odd.npz x.npz --rescale-actions=-3", &["LOW:HIGH"]);
    refused(&place, "data convert odd.npz x.npz --rescale-actions --clip-actions", &["cannot be used with"]);
    refused(&place, "data convert ints.npz x.npz", &["ints.npz", "`observations`", "f32 or f64", "integer"]);
    refused(&place, "data convert one.npz x.npz", &["one.npz", "a single array", "numpy.savez"]);
    refused(&place, "data convert og.npz og-out.npz --zero-rewards", &["og-out.npz", "existing file"]);
    refused(&place, "data convert og.npz x.parquet", &["x.parquet", ".hdf5, .h5, .npz or .csv"]);
    refused(&place, "data convert og.npz no/x.npz", &["no", "existing folder"]);
    refused(&place, "data convert none.npz x.npz", &["none.npz", "No such file"]);
    let cut = fs::read(place.join("og.npz")).unwrap();
    fs::write(place.join("cut.npz"), &cut[..cut.len() / 2]).unwrap();
    refused(&place, "data convert cut.npz x.npz", &["cut.npz", "cut short or damaged"]);
    refused(&place, "train --algo bc --data cut.npz --out x", &["cut.npz", "cut short or damaged"]);
    refused(&place, "train --algo bc --data og.npz --out x", &["og.npz", "`rewards`", "baq data convert"]);
    refused(&place, "data inspect odd.npz", &["`actions`", "baq data convert --rescale-actions"]);
}

/// A task whose actions are in [-2, 2], as a program: the reward of a step is the action in its own unit.
const TASK: &str = r#"
import struct, sys
out = sys.stdout.buffer
out.write(b'{"protocol": 1, "observation": 1, "action": 1, "limit": 5, "low": [-2], "high": [2]}\n'); out.flush()
t = 0
while op := sys.stdin.buffer.read(1):
    sys.stdin.buffer.read(4)
    if op == b"R":
        sys.stdin.buffer.read(8); t = 0
        out.write(b"\0" + struct.pack("<d", 0.0))
    elif op == b"S":
        a, = struct.unpack("<f", sys.stdin.buffer.read(4)); t += 1
        out.write(b"\0" + struct.pack("<dBBd", 2 * a, 0, t == 5, t / 5))
    out.flush()
"#;

/// Bounds travel with the actions: from the data through the run to the policy, and every environment is given what
/// its own bounds make of them.
#[test]
fn rescaled_actions_are_undone_wherever_the_policy_acts() {
    let place = folder("own-rescaled");
    fs::write(place.join("task.py"), TASK).unwrap();
    let task = format!("process:python3 {}", place.join("task.py").display());
    let env = env::make(&task).unwrap();
    assert_eq!(env.action_bounds(), Some((vec![-2.0], vec![2.0])));
    let bounds = |low: f32, high: f32| ActionBounds::new("", vec![low], vec![high]).unwrap();
    // Equal bounds: not a bit changes. Others: by way of the task's unit.
    let mut room = [0.0];
    let mut given =
        |low, high, a: f32| ActionMap::new(Some(&bounds(low, high)), env.as_ref()).apply(&[a], &mut room)[0];
    assert_eq!(given(-2.0, 2.0, 0.3), 0.3);
    assert_eq!((given(-1.0, 1.0, 1.0), given(-1.0, 1.0, -1.0)), (0.5, -0.5));
    assert_eq!((given(0.0, 2.0, -1.0), given(0.0, 4.0, 1.0)), (0.0, 2.0));
    let toy = env::make("toy").unwrap();
    let same = ActionMap::new(Some(&bounds(-1.0, 1.0)), toy.as_ref());
    assert_eq!((toy.action_bounds(), same.apply(&[0.7], &mut room)[0]), (None, 0.7));

    // Of the same rows once as they are and once in a unit four times as large, the same networks are learned.
    let states: Vec<f32> = (0..40).map(|i| (i % 5) as f32 / 5.0).collect();
    let rows = |unit: f32| {
        let line = |i: usize| {
            format!("{},{},{},{}\n", states[i], unit * (0.2 + 0.1 * states[i]), 1, u8::from(i % 5 == 4))
        };
        let head = "observations_0,actions_0,rewards,terminals\n".to_string();
        head + &(0..40).map(line).collect::<String>()
    };
    fs::write(place.join("plain.csv"), rows(1.0)).unwrap();
    fs::write(place.join("wide.csv"), rows(4.0)).unwrap();
    refused(
        &place,
        "train --algo bc --data wide.csv --out x",
        &["`actions`", "baq data convert --rescale-actions"],
    );
    succeed(&place, "data convert wide.csv wide.hdf5 --rescale-actions=-4:4");
    assert!(succeed(&place, "data inspect wide.hdf5").contains("[-1, 1] stands for -4:4"));
    let small = "--updates 200 --set bc.hidden=[8] --set offline.batch=16 --set offline.patience=0 --quiet";
    for data in ["plain.csv", "wide.hdf5"] {
        let out = data.split('.').next().unwrap();
        let ran = baq(&place, &format!("train --algo bc --data {data} {small} --out {out}"), "");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.success() && said.contains("stands for -4:4") == (out == "wide"), "{said}");
    }
    let act = |run: &str| -> f32 {
        let out = baq(&place, &format!("act {run}"), "0.4\n");
        String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
    };
    assert!((act("wide") - 4.0 * act("plain")).abs() < 1e-6 && act("plain").abs() > 1e-3);
    succeed(&place, "export wide --format safetensors --out wide.safetensors");
    assert_eq!(act("wide.safetensors"), act("wide"));

    // The task is given its own unit: its rewards are the actions as `act` says them.
    let line = "evaluate --from wide --episodes 1 --json --env";
    let out = program::baq(&place, line).arg(&task).output().unwrap();
    let said: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    let expected: f32 = ["0", "0.2", "0.4", "0.6", "0.8"]
        .map(|state| -> f32 {
            let out = baq(&place, "act wide", &format!("{state}\n"));
            String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
        })
        .iter()
        .sum();
    let got = said["returns"][0].as_f64().unwrap_or_else(|| panic!("{said}"));
    assert!((got - f64::from(expected)).abs() < 1e-4, "{got} {expected} {said}");

    // What is collected there says what its actions stand for.
    let line = "collect --random --steps 10 --out collected.hdf5 --quiet --env";
    let out = program::baq(&place, line).arg(&task).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let collected = read_recording(&place.join("collected.hdf5"), &Options::default()).unwrap();
    assert_eq!(collected.action_bounds.map(|b| b.to_string()).as_deref(), Some("-2:2"));
}

/// Minari's actions are in the task's own unit, whatever that is: a policy that learns from them acts in it.
#[test]
fn actions_of_another_space_keep_their_unit() {
    let place = folder("own-space");
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/tests/fixtures/minari/toy/fixture-v0/data");
    for (name, high) in [("unit", "1.0"), ("wide", "3.0")] {
        let data = place.join(name).join("data");
        fs::create_dir_all(&data).unwrap();
        fs::copy(fixture.join("main_data.hdf5"), data.join("main_data.hdf5")).unwrap();
        let space = fs::read_to_string(fixture.join("metadata.json")).unwrap();
        let space = space
            .replace("[-1.0, -1.0]", &format!("[-{high}, -{high}]"))
            .replace("[1.0, 1.0]", &format!("[{high}, {high}]"));
        fs::write(data.join("metadata.json"), space).unwrap();
        let train = format!(
            "train --algo bc --data {name} --out {name}-run --updates 20 --set bc.hidden=[8] --set offline.batch=16 --quiet"
        );
        let ran = baq(&place, &train, "");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(
            ran.status.success() && said.contains("unit of their space, -3:3") == (name == "wide"),
            "{said}"
        );
    }
    let of = |run: &str| Saved::open(&place.join(run)).unwrap().scales().unwrap().action;
    assert_eq!((of("unit-run"), of("wide-run")), (None, Some(ActionBounds::unit(2))));
    let act = |run: &str| baq(&place, &format!("act {run}"), "0.1 0.2 0.3\n").stdout;
    assert!(act("unit-run") == act("wide-run") && !act("unit-run").is_empty());
}
