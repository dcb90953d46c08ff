//! The whole way of the suite on the toy task: train, pick, policies, build, check, load; and what goes wrong on it.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use baq::train::policy::{self, Restored};
use baq::train::state::Saved;
use baq_datasets::{Options, d4rl};
use common::place::terminate;
use common::program::{baq, ran};
use serde_json::Value;
use tempfile::TempDir;

const RECIPE: &str = r#"
env = "toy"
version = 1
rows = [600, 250]
[rule]
expert_return = EXPERT
medium_return = -1e9
extend_by = 200
most_steps = 1200
[d4rl.medium]
rows = 10
episodes = 1
return_mean = 5.0
return_max = 6.5
[config.run]
algo = "sac"
env = "toy"
begin = "online"
seed = 3
[config.data]
[config.online]
env_steps = 600
warmup_steps = 40
eval_every = 100
eval_episodes = 3
checkpoint_every = 50
log_every = 50
actor_lr = "constant(1.0)"
capacity = 5000
batch = 16
[config.audit]
keep_every = 100
[config.sac]
hidden = [8, 8]
"#;

struct Place {
    folder: TempDir,
    recipes: PathBuf,
    data: PathBuf,
}

impl Place {
    /// With an untrained recipe; any evaluation reaches this return, or none does.
    fn new(expert: f64) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (recipes, data) = (folder.path().join("recipes"), folder.path().join("data"));
        fs::create_dir(&recipes).unwrap();
        fs::write(recipes.join("toy.toml"), RECIPE.replace("EXPERT", &expert.to_string())).unwrap();
        Place { folder, recipes, data }
    }

    /// A copy of the one that was trained once for all tests, with its recipes alone.
    fn trained() -> Place {
        static TRAINED: LazyLock<Place> = LazyLock::new(|| {
            let place = Place::new(-1e9);
            place.succeed("suite train recipes/toy.toml --run run --commit abc");
            place
        });
        let place = Place::new(0.0);
        for entry in fs::read_dir(&TRAINED.recipes).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), place.recipes.join(entry.file_name())).unwrap();
        }
        place
    }

    fn command(&self, line: &str) -> Command {
        let mut command = baq(&self.folder, line);
        command.args(["--threads", "1"]);
        command.env("BAQ_SUITE_RECIPES", &self.recipes).env("BAQ_SUITE_DATA", &self.data);
        command
    }

    fn baq(&self, line: &str) -> (Option<i32>, String, String) {
        ran(&mut self.command(line))
    }

    #[track_caller]
    fn succeed(&self, line: &str) -> String {
        let (code, out, err) = self.baq(line);
        assert_eq!(code, Some(0), "{line}: {out}{err}");
        out + &err
    }

    /// Bad input: one line that has these words.
    #[track_caller]
    fn refused(&self, line: &str, words: &[&str]) {
        let (code, out, err) = self.baq(line);
        let last = err.lines().last().unwrap_or_default();
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}: {err}");
        words.iter().for_each(|word| assert!(last.contains(word), "{line}: no `{word}` in {last}"));
    }

    fn recipe(&self) -> toml::Table {
        fs::read_to_string(self.recipes.join("toy.toml")).unwrap().parse().unwrap()
    }

    /// Changes the recipe.
    fn edit(&self, from: &str, to: &str) {
        let path = self.recipes.join("toy.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no {from} in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.join(format!("{name}-baq-v1.hdf5"))
    }

    fn states(&self) -> (Option<i32>, Vec<(String, String)>) {
        let (code, out, err) = self.baq("suite check --json");
        let json: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
        let text = |v: &Value| v.as_str().unwrap().to_string();
        let of = |f: &Value| (text(&f["name"]), text(&f["state"]));
        (code, json["files"].as_array().unwrap().iter().map(of).collect())
    }
}

const ALL: [&str; 7] = [
    "toy-medium-replay",
    "toy-medium",
    "toy-medium-expert",
    "toy-expert",
    "toy-medium-250",
    "toy-medium-expert-250",
    "toy-expert-250",
];

/// The recorded replay was taken from the kept checkpoint of a run with evaluations; `build` trained without. This holds
/// for `isa` too, which is the process's here.
#[test]
fn from_a_recipe_to_training_on_its_data() {
    let place = Place::trained();
    let recipe = place.recipe();
    let trained = recipe["trained"].as_table().unwrap();
    assert_eq!(trained["commit"].as_str(), Some("abc"));
    assert_eq!(trained["expert"]["env_step"].as_integer(), Some(600));
    let medium = trained["medium"]["env_step"].as_integer().unwrap() as usize;
    assert!(medium > 0 && medium.is_multiple_of(100), "{medium}");

    // Everything is built again from the policies, and a replay by training again, to the recorded bits.
    let (_, states) = place.states();
    let of = |state: &str| ALL.map(|name| (name.to_string(), state.to_string()));
    assert_eq!(
        states[..2],
        [("toy-medium", "whole"), ("toy-expert", "whole")].map(|(a, b)| (a.into(), b.into()))
    );
    assert_eq!(states[2..], of("not built"));
    let said = place.succeed("suite build toy --quiet");
    assert!(said.contains("training for") && said.contains("collecting 600 steps"), "{said}");
    place.succeed("suite build toy --rows 250 --quiet");
    assert_eq!(place.states().1[2..], of("whole"));
    assert_eq!(fs::read_dir(&place.data).unwrap().count(), 14, "a file and its lock each, no training left");

    // What is in them.
    let read = |name: &str| d4rl::read(&place.file(name), Options::default().clip_actions).unwrap();
    let (m, e, both, few, replay) = (
        read("toy-medium"),
        read("toy-expert"),
        read("toy-medium-expert"),
        read("toy-medium-250"),
        read("toy-medium-replay"),
    );
    assert_eq!((m.len(), e.len(), few.len(), replay.len()), (600, 600, 250, medium));
    assert_eq!(few.rewards, m.rewards.slice(ndarray::s![..250]), "fewer rows are the first of more");
    let ended = |r: &baq_datasets::Recording, i: usize| r.terminals[i] || r.timeouts.as_ref().unwrap()[i];
    let cut = (0..m.len()).rposition(|i| ended(&m, i)).unwrap() + 1;
    assert_eq!(both.len(), cut + e.len());
    assert_eq!(both.rewards.slice(ndarray::s![cut..]), e.rewards);
    assert!(ended(&both, cut - 1));
    assert_ne!(m.observations.row(0), e.observations.row(0), "other starts");
    // The episodes of a replay: counted limits are where the next state is not the next row's.
    let next = replay.next_observations.as_ref().unwrap();
    for i in 0..replay.len() - 1 {
        assert_eq!(ended(&replay, i), next.row(i) != replay.observations.row(i + 1), "row {i}");
    }
    assert!(
        (0..replay.len()).any(|i| replay.timeouts.as_ref().unwrap()[i]),
        "some reach the limit of 100 steps"
    );

    // And they are data like others.
    let seen = place.succeed("data inspect suite:toy-medium --json");
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!((seen["env"].as_str(), seen["n_transitions"].as_u64()), (Some("toy"), Some(600)), "{seen}");
    assert!(seen["algorithm"].as_str().unwrap().contains("environment steps"), "{seen}");
    let small = "--updates 20 --quiet --set iql.hidden=[8] --set offline.eval_episodes=0 --out a";
    place.succeed(&format!("train --algo iql --data suite:toy-medium-250 {small}"));
    let config = fs::read_to_string(place.folder.path().join("a/config.toml")).unwrap();
    assert!(
        config.contains("dataset = \"suite:toy-medium-250\"") && config.contains("env = \"toy\""),
        "{config}"
    );
    let facts = fs::read_to_string(place.folder.path().join("a/dataset.json")).unwrap();
    assert!(facts.contains("\"suite:toy-medium-250\"") && !facts.contains("baq-v1"), "{facts}");
    place.succeed(
        "finetune --from a --adapt plain --env-steps 20 --quiet --set online.eval_episodes=0 --out b",
    );
    let table = place.succeed("suite list");
    assert!(table.lines().count() == 7 && table.contains("| toy-medium-expert"), "{table}");
    assert!(table.contains("|         10 |"), "D4RL's own beside: {table}");
}

#[test]
fn a_policy_file_acts_as_its_checkpoint_and_nothing_more() {
    let place = Place::trained();
    place.succeed(
        "train --algo sac --env toy --env-steps 60 --out run --quiet --set sac.hidden=[8] --set online.eval_episodes=0",
    );
    let at = |name: &str| place.folder.path().join(name);
    let saved = Saved::open(&at("run")).unwrap();
    let bytes = policy::file_of(&saved).unwrap();
    fs::write(at("p.safetensors"), &bytes).unwrap();
    let again = policy::file_of(&Saved::acting(&at("p.safetensors")).unwrap()).unwrap();
    assert!(again == bytes, "the policy of a policy file is that file");
    place.succeed("collect --from run --steps 150 --out a.hdf5 --quiet");
    place.succeed("collect --from p.safetensors --steps 150 --out b.hdf5 --quiet");
    assert!(fs::read(at("a.hdf5")).unwrap() == fs::read(at("b.hdf5")).unwrap());
    let numbers = |from: &str| {
        let out: Value =
            serde_json::from_str(&place.succeed(&format!("evaluate --from {from} --episodes 2 --json")))
                .unwrap();
        (out["returns"].clone(), out["env_step"].clone())
    };
    assert_eq!(numbers("run"), numbers("p.safetensors"));
    let names: Vec<String> = safetensors::SafeTensors::deserialize(&bytes)
        .unwrap()
        .names()
        .into_iter()
        .map(String::from)
        .collect();
    let kept = |name: &String| {
        ["pi.", "scale.", "dims", "counters", "credit", "updates"].iter().any(|k| name.starts_with(k))
    };
    assert!(names.iter().all(kept) && names.iter().any(|n| n.starts_with("pi.")), "{names:?}");
    place.refused(
        "finetune --from p.safetensors --adapt plain --out x",
        &["p.safetensors", "a policy by itself", "checkpoint"],
    );
    // A damaged one is no other policy.
    let mut damaged = bytes.clone();
    let last = damaged.len() - 3;
    damaged[last] ^= 1;
    fs::write(at("p.safetensors"), damaged).unwrap();
    place.refused(
        "collect --from p.safetensors --steps 10 --out c.hdf5 --quiet",
        &["does not match its checksum"],
    );
    assert!(Restored::open(&at("run")).is_ok());
}

#[test]
fn damaged_files_are_named_and_built_again() {
    let place = Place::trained();
    place.succeed("suite build toy-medium-250 --quiet");
    let path = place.file("toy-medium-250");
    let whole = fs::read(&path).unwrap();
    let mut other = whole.clone();
    other[whole.len() / 2] ^= 4;
    for bad in [&other[..], &whole[..whole.len() / 2], b""] {
        fs::write(&path, bad).unwrap();
        let (code, states) = place.states();
        assert_eq!(code, Some(1));
        assert!(states.contains(&("toy-medium-250".into(), "damaged".into())), "{states:?}");
        let (code, out, err) = place.baq("data inspect suite:toy-medium-250");
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(err.contains("toy-medium-250-baq-v1.hdf5: expected") && err.contains("built again"), "{err}");
        assert!(fs::read(&path).unwrap() == whole);
    }
    let [once, twice] = ["toy", "toy toy-expert toy"].map(|n| place.succeed(&format!("suite check {n}")));
    assert_eq!(once, twice, "named again is not listed again");
    // A part is mended too when it is needed.
    fs::write(&path, b"x").unwrap();
    place.succeed("suite build toy-medium-expert-250 --quiet");
    assert!(fs::read(&path).unwrap() == whole);
    // A policy that was exchanged.
    fs::copy(place.recipes.join("toy-expert.safetensors"), place.recipes.join("toy-medium.safetensors"))
        .unwrap();
    let (code, states) = place.states();
    assert_eq!((code, states[0].1.as_str()), (Some(1), "damaged"));
    fs::remove_file(&path).unwrap();
    place.refused(
        "suite build toy-medium-250",
        &["toy-medium.safetensors", "expected the policy with sha256"],
    );
    fs::remove_file(place.recipes.join("toy-medium.safetensors")).unwrap();
    place.refused("suite build toy-medium-250", &["toy-medium.safetensors", "cannot read the policy"]);
    assert!(!path.exists());
}

#[test]
fn what_this_machine_does_not_compute_is_refused() {
    let place = Place::trained();
    place.refused("train --data suite:toy-medum", &["suite:toy-medum", "did you mean `toy-medium`?"]);
    place.refused("suite build toyy", &["toyy", "did you mean"]);
    place.refused("suite build toy --rows 7", &["--rows 7", "expected 600 or 250"]);
    place.refused("suite build toy-medium --rows 250", &["--rows 250", "give the task toy"]);
    place.refused("data inspect suite:x", &["suite:x", "no data set of the suite"]);
    // Another checksum than this machine's.
    let recorded = place.recipe()["files"]["toy-expert-250"]["sha256"].as_str().unwrap().to_string();
    place.edit(&recorded, &"0".repeat(64));
    place.refused(
        "suite build toy-expert-250",
        &["suite:toy-expert-250", "expected sha256 0000", &recorded, "nothing was kept"],
    );
    assert!(!place.file("toy-expert-250").exists());
    // Another instruction set than the training's: rollouts do not depend on it, a replay is trained by another process.
    let isa = place.recipe()["trained"]["isa"].as_str().unwrap().to_string();
    if isa != "portable" {
        let refused = format!("holds for the instruction set {isa}");
        place.refused("suite build toy-medium-replay --isa portable", &[&refused, &format!("--isa {isa}")]);
        place.succeed("suite build toy-medium-250 --isa portable --quiet");
        place.succeed("data inspect suite:toy-medium-replay --isa portable");
        assert!(place.file("toy-medium-replay").exists());
    }
    // More than the disk has.
    let place = Place::trained();
    let bytes = place.recipe()["files"]["toy-expert-250"]["bytes"].as_integer().unwrap();
    place.edit(&format!("bytes = {bytes}\n"), "bytes = 4000000000000000000\n");
    place.refused(
        "suite build toy-expert-250",
        &["data: needs 3725290298.5 GiB on the disk", "BAQ_SUITE_DATA"],
    );
    // Another simulator, and a policy of another environment.
    if common::without_mujoco("what_this_machine_does_not_compute_is_refused") {
        return;
    }
    place.edit("env = \"toy\"", "env = \"hopper-v4\"");
    place.edit("[config.run]", "[config.mujoco]\nrelease = \"3.1.6\"\n[config.run]");
    place.refused("suite build toy-medium-250", &["holds for MuJoCo 3.1.6, this process has", "MUJOCO_PATH"]);
    place.edit("[config.mujoco]\nrelease = \"3.1.6\"\n", "");
    let here = baq::train::conditions::simulator().unwrap().release;
    place.edit("[config.run]", &format!("[config.mujoco]\nrelease = \"{here}\"\n[config.run]"));
    place.refused(
        "suite build toy-medium-250",
        &["toy-medium.safetensors: policy of", "expected 11 and 3 for hopper-v4"],
    );
    // Without training there is nothing.
    let place = Place::new(0.0);
    place.refused("data inspect suite:toy-medium", &["suite:toy-medium", "not trained yet", "toy.toml"]);
    place.refused("suite build", &["not trained yet"]);
    place.refused("suite build toy", &["suite:toy-medium-replay: not trained yet"]);
    let (code, states) = place.states();
    assert!(code == Some(0) && states.iter().all(|(_, state)| state == "not trained"), "{states:?}");
    for (from, to, word) in [
        ("version = 1", "version = 1\nverson = 2", "line 4"),
        ("keep_every = 100", "keep_every = 150", "config.audit.keep_every"),
        ("env = \"toy\"\nversion", "env = \"tyo\"\nversion", "env"),
        ("rows = [600, 250]", "rows = [0]", "rows"),
        ("medium_return = -1e9", "medium_return = 1.0", "medium_return of at most"),
        ("begin = \"online\"", "begin = \"offline\"", "config.run"),
        ("batch = 16", "btach = 16", "btach"),
    ] {
        let place = Place::new(0.0);
        place.edit(from, to);
        place.refused("suite list", &["toy.toml", word]);
    }
    let place = Place::new(0.0);
    fs::remove_file(place.recipes.join("toy.toml")).unwrap();
    place.refused("suite list", &["expected recipes"]);
    // A folder that cannot be made.
    let place = Place::trained();
    fs::write(&place.data, "a file").unwrap();
    place.refused("suite build toy-medium-250", &["data", "BAQ_SUITE_DATA"]);
}

/// Starts a command and kills it once this file is there.
fn killed(place: &Place, line: &str, there: &Path) {
    let mut child: Child = place.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A deadline, without which a program that never writes would hang the test.
    for _ in 0..60_000 {
        if there.exists() || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.try_wait().unwrap().is_none(), "{line} ended before it could be killed");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_kill_leaves_a_whole_file_or_none() {
    let place = Place::trained();
    let replay = place.file("toy-medium-replay");
    let run = replay.with_extension("run");
    killed(&place, "suite build toy-medium-replay --quiet", &run.join("checkpoint.safetensors"));
    assert!(!replay.exists() && run.exists());
    // The training goes on, and the file is the recorded one.
    place.succeed("suite build toy-medium-replay --quiet");
    assert!(replay.exists() && !run.exists());
    killed(&place, "suite build toy --quiet", &place.file("toy-medium").with_extension("lock"));
    for (name, state) in place.states().1 {
        assert_ne!(state, "damaged", "{name}");
    }
    // What was left half written is gone.
    place.succeed("suite build toy --quiet");
    let left: Vec<_> = fs::read_dir(&place.data).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 8, "{left:?}");
    // A run of another recipe in the training's place is no state of this one.
    fs::remove_file(&replay).unwrap();
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.toml"), "[run]\n").unwrap();
    place.succeed("suite build toy-medium-replay --quiet");
}

/// Several processes that need one file build it once or wait for it; all of them get it.
#[test]
fn many_at_once() {
    let place = Place::trained();
    let line = "data inspect suite:toy-medium-expert-250 --json";
    let start = |_| place.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let all: Vec<Child> = (0..3).map(start).collect();
    for child in all {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn training_goes_on_until_there_is_an_expert() {
    // Never: the run is made longer, and given up with the best that it had.
    let place = Place::new(1e9);
    let line = "suite train recipes/toy.toml --run run --commit abc --quiet";
    place.refused(line, &["no evaluation from step 600 to 1200 reaches 1000000000", "the best: "]);
    let curve = fs::read_to_string(place.folder.path().join("run/evaluations.csv")).unwrap();
    assert_eq!(curve.lines().count(), 14, "{curve}");
    assert!(!place.recipes.join("toy-expert.safetensors").exists());
    // What there is can be had before.
    place.refused("suite adopt recipes/toy.toml --run run", &["--commit", "toy.toml records none yet"]);
    let said = place.succeed("suite adopt recipes/toy.toml --run run --commit abc --quiet");
    assert!(said.contains("no expert yet") && said.contains("3 data sets"), "{said}");
    let before = place.recipe();
    assert!(before["trained"].get("expert").is_none());
    assert!(
        place.succeed("suite build toy --quiet").contains("not trained yet: toy-medium-expert, toy-expert")
    );
    place.refused("data inspect suite:toy-expert", &["suite:toy-expert: not trained yet"]);
    place.refused("suite build toy-expert toy-medium", &["suite:toy-expert: not trained yet"]);
    let table = place.succeed("suite list");
    assert_eq!(
        (table.matches("| not trained |").count(), table.matches("| built ").count()),
        (2, 2),
        "{table}"
    );
    // A bar between the first end and the best later one: the first that reaches it.
    let means = |from: u64| -> Vec<(u64, f64)> {
        let cells = |line: &str| line.split(',').map(String::from).collect::<Vec<_>>();
        let rows = curve.lines().skip(1).map(cells);
        rows.map(|c| (c[2].parse().unwrap(), c[4].parse().unwrap()))
            .filter(|(step, _)| *step >= from)
            .collect()
    };
    let best = means(600).into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    place.edit("expert_return = 1000000000.0", &format!("expert_return = {:?}", best.1));
    place.succeed(line);
    let recipe = place.recipe();
    assert_eq!(recipe["trained"]["expert"]["env_step"].as_integer(), Some(best.0 as i64));
    assert_eq!(recipe["config"]["online"]["env_steps"].as_integer(), Some(600), "the recipe keeps its plan");
    // What was adopted before the expert is what it was.
    assert_eq!(recipe["trained"]["medium"], before["trained"]["medium"]);
    assert!(before["files"].as_table().unwrap().iter().all(|(name, of)| recipe["files"][name] == *of));
    place.succeed("suite build toy --quiet");
    // A run of something else is not taken.
    place.succeed("train --algo sac --env toy --env-steps 40 --out other --quiet --set sac.hidden=[8] --set online.eval_episodes=0");
    place.refused(
        "suite train recipes/toy.toml --run other --commit abc",
        &["other", "expected a run of the recipe"],
    );
    place.refused("suite adopt recipes/toy.toml --run recipes", &["name what `baq train` created"]);
    place.refused("suite train recipes/none.toml --run r --commit abc", &["none.toml", "expected a recipe"]);
    place.refused("suite train recipes/toy.toml --run r --commit abc --seed 4", &["--seed 4"]);
}

/// Killed in its middle, training a recipe goes on with the same command to the same recipe and policies.
#[test]
fn a_killed_training_ends_the_same() {
    let (place, whole) = (Place::new(-1e9), Place::trained());
    let line = "suite train recipes/toy.toml --run run --commit abc --quiet";
    killed(&place, line, &place.folder.path().join("run/checkpoints"));
    place.succeed(line);
    for name in ["toy.toml", "toy-medium.safetensors", "toy-expert.safetensors"] {
        assert!(
            fs::read(place.recipes.join(name)).unwrap() == fs::read(whole.recipes.join(name)).unwrap(),
            "{name}"
        );
    }
}

/// Data of the suite wherever data are named.
#[test]
fn data_of_the_suite_are_data() {
    let place = Place::trained();
    let small = "--quiet --set iql.hidden=[8] --set offline.eval_episodes=0 --set offline.batch=8";
    place.succeed(&format!(
        "train --algo iql --data suite:toy-medium-250 --updates 6 --ledger {small} --out a"
    ));
    assert!(place.succeed("audit verify a").contains("suite:toy-medium-250: the data of the run"));
    place.succeed("audit step a --update 3");
    // In a study by their bare names, built before the first cell.
    fs::remove_dir_all(&place.data).unwrap();
    let study = r#"
name = "few"
seeds = 1
data = ["toy-medium-250", "suite:toy-expert-250"]
[offline.iql]
algo = "iql"
updates = 6
set = ["iql.hidden=[8]", "offline.batch=8", "offline.eval_episodes=0"]
[[method]]
label = "IQL"
from = "iql"
adapt = "plain"
[online]
env_steps = 20
eval_episodes = 1
set = ["online.batch=8", "online.warmup_steps=10"]
"#;
    let file = place.folder.path().join("few.toml");
    fs::write(&file, study).unwrap();
    let plan = place.succeed("study plan few.toml");
    assert!(plan.contains("data to be built before: 0.00 GB") && !place.data.exists(), "{plan}");
    assert!(plan.lines().any(|row| row.starts_with("fine-tuning") && row.ends_with("train.iql")), "{plan}");
    // A cell that is interrupted while its data are built has not failed.
    place.succeed("study run few.toml --on slurm --dry-run");
    fs::create_dir_all(&place.data).unwrap();
    let other = fs::File::create(place.file("toy-medium-250").with_extension("lock")).unwrap();
    other.lock().unwrap();
    let mut cell = place.command("study cell studies/few 0").stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(cell.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("another process is building it"), "{line}");
    terminate(&cell);
    assert_eq!(cell.wait().unwrap().code(), Some(3));
    drop(other);
    let status = place.succeed("study status few");
    assert!(status.contains("0 done, 0 begun, 4 waiting, 0 failed"), "{status}");
    let said = place.succeed("study run few.toml --jobs 1 --quiet");
    assert!(
        said.contains("4 of 4 cells done") && said.contains("suite:toy-expert-250: collecting 250 steps"),
        "{said}"
    );
    assert!(place.file("toy-medium-250").exists());
    // Another recipe is other data.
    let recorded = place.recipe()["files"]["toy-expert-250"]["sha256"].as_str().unwrap().to_string();
    place.edit(&recorded, &"0".repeat(64));
    place.refused("study run few.toml", &["suite:toy-expert-250 has changed since the study began"]);
    fs::write(&file, study.replace("toy-medium-250", "toy-medum-250")).unwrap();
    place.refused(
        "study plan few.toml",
        &["data toy-medum-250", "did you mean `toy-medium-250`?", "--data DIR"],
    );
}

/// The beginnings of the suite's rollouts: to the bit on every machine, and whoever else in the program compresses.
#[test]
fn rollouts_have_their_bytes_on_every_machine() {
    if common::without_mujoco("rollouts_have_their_bytes_on_every_machine") {
        return;
    }
    let place = Place::new(0.0);
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/data/suite");
    for (task, medium, expert) in [
        (
            "hopper",
            "89c521601abb77de0cccb5abddee330f8e2f0bbf0042348bdf21858c0f1a212c",
            "da2f925c96d3f378aa1f8b93937657f66638bbfa9a8f6e549e7131a4103cde44",
        ),
        (
            "halfcheetah",
            "51bd3f909dbfa309aa7fcda2e3d37edc5086ddedbabbc19891c0f3b5e1fc5ed0",
            "cb96b0e2378d4a44bfb8da7768dc345c70673f699bc67a917e3070c57ba42c77",
        ),
        (
            "walker2d",
            "adf2733b656cb6daa7ef60f3018ce4b3ad61763578abe18db6ff8673f2707954",
            "aa1e7cea80bf1454b38a1631187c42c9c39fa56b4850440233ad7e3fbad16c7f",
        ),
    ] {
        let recipe = fs::read_to_string(suite.join(format!("{task}.toml"))).unwrap();
        let mut recipe: toml::Table = recipe.parse().unwrap();
        recipe["rows"] = vec![2000].into();
        let file = |kind: &str, sha256: &str| {
            let file = format!(
                "bytes = 1\nsha256 = \"{sha256}\"\nrows = 1\nepisodes = 1\nreturn_mean = 0.0\nreturn_max = 0.0"
            );
            (format!("{task}-{kind}"), toml::Value::from(file.parse::<toml::Table>().unwrap()))
        };
        recipe["files"] = toml::Table::from_iter([file("medium", medium), file("expert", expert)]).into();
        fs::write(place.recipes.join(format!("{task}.toml")), recipe.to_string()).unwrap();
        for entry in fs::read_dir(&suite).unwrap() {
            let policy = entry.unwrap().path();
            if policy.extension().is_some_and(|end| end == "safetensors") {
                fs::copy(&policy, place.recipes.join(policy.file_name().unwrap())).unwrap();
            }
        }
        place.succeed(&format!("suite build {task}-medium {task}-expert --quiet"));
    }
}

/// The recipes inside the program are whole, and name what they hold for; their README has the table of `baq suite list`.
#[test]
fn the_program_has_its_suite() {
    let place = Place::new(0.0);
    let readme = include_str!("../datasets/data/suite/README.md");
    let out = place.command("suite list").env_remove("BAQ_SUITE_RECIPES").output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let rows = out.lines().filter(|line| line.starts_with('|'));
    rows.for_each(|row| assert!(readme.lines().any(|line| line == row), "not in the README: {row}"));
    let out = place.command("suite check").env_remove("BAQ_SUITE_RECIPES").output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    assert!(out.contains("hopper-medium policy") && out.ends_with("0 damaged\n"), "{out}");
    let mut command = place.command("suite list --json");
    let out = command.env_remove("BAQ_SUITE_RECIPES").output().unwrap();
    let out: Value = serde_json::from_slice(&out.stdout).unwrap();
    let sets = out["data_sets"].as_array().unwrap();
    assert_eq!(sets.len(), 12);
    assert!(sets.iter().all(
        |s| s["d4rl"]["rows"].as_u64().unwrap() > 200_000 && s["env"].as_str().unwrap().ends_with("-v4")
    ));
}
