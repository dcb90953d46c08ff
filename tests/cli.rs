//! The command line as a user meets it: exit codes, one-line errors, one JSON object, nothing overwritten.
//!
//! Every run is the built program in a folder of its own. Environments are the toy task or none, so neither
//! MuJoCo nor a network is needed. Above 400 lines because the list of bad inputs is long.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baq::train::rundir::RunDir;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tempfile::TempDir;

struct Place(TempDir);

/// What a run left behind.
struct Ran {
    args: String,
    code: Option<i32>,
    out: String,
    err: String,
}

fn root(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

fn fixture(name: &str) -> String {
    root(&format!("datasets/tests/fixtures/{name}"))
}

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn baq(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baq"));
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null());
        let out = command.output().unwrap();
        Ran {
            args: args.join(" "),
            code: out.status.code(),
            out: String::from_utf8(out.stdout).unwrap(),
            err: String::from_utf8(out.stderr).unwrap(),
        }
    }

    /// Runs a line whose words are separated by blanks.
    fn line(&self, line: &str) -> Ran {
        self.baq(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn succeed(&self, line: &str) -> Ran {
        let ran = self.line(line);
        assert_eq!(ran.code, Some(0), "baq {line}: {}", ran.err);
        ran
    }

    /// Every file below, with its content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.0.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                // The lock of a run holds the number of whoever looked last.
                if path.ends_with(".lock") {
                    continue;
                }
                if path.is_dir() {
                    found.insert(path.clone(), Vec::new());
                    folders.push(path);
                } else {
                    found.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    /// Runs something that must be refused: code 2, one line that holds all of `words`, nothing on stdout, no
    /// file touched, made or removed.
    fn refused(&self, args: &[&str], words: &[&str]) {
        let before = self.files();
        let ran = self.baq(args);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert_eq!(ran.out, "", "{ran}");
        assert_eq!(ran.err.lines().count(), 1, "{ran}");
        assert!(ran.err.starts_with("baq: "), "{ran}");
        for word in words {
            assert!(ran.err.contains(word), "no `{word}` in: {ran}");
        }
        let after = self.files();
        let changed: Vec<_> =
            before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
        assert!(changed.is_empty(), "{ran}: changed {changed:?}");
    }

    fn refused_line(&self, line: &str, words: &[&str]) {
        self.refused(&line.split_whitespace().collect::<Vec<_>>(), words);
    }

    /// Toy data and small runs on them.
    fn with_runs() -> Place {
        let place = Place::new();
        place.succeed("collect --random --env toy --steps 1500 --out toy.hdf5 --quiet");
        place.succeed(&format!("train --out iql {SMALL} --set iql.hidden=[8,8]"));
        place.succeed(&format!("train --out bc --algo bc {SMALL} --set bc.hidden=[8,8]"));
        place
    }
}

const SMALL: &str = "--data toy.hdf5 --env toy --quiet --updates 100 --set offline.batch=32 \
    --set offline.eval_every=50 --set offline.eval_episodes=2 --set offline.log_every=50";
const SMALL_ONLINE: &str = "--quiet --env-steps 60 --set online.batch=32 --set online.eval_every=30 \
    --set online.eval_episodes=2";

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "baq {}\nout: {}\nerr: {}", self.args, self.out, self.err)
    }
}

impl Ran {
    /// Stdout, which must be one JSON object and nothing else.
    fn json(&self) -> serde_json::Map<String, Value> {
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e} in {self}"));
        assert_eq!(self.out.lines().count(), 1, "{self}");
        value.as_object().unwrap_or_else(|| panic!("no object: {self}")).clone()
    }

    fn last(&self) -> &str {
        self.out.lines().last().unwrap_or_default()
    }
}

#[test]
fn from_random_actions_to_a_report() {
    let place = Place::with_runs();
    let json = place.succeed("data inspect toy.hdf5 --env toy --json").json();
    assert_eq!(json["n_transitions"], 1500);
    assert_eq!((&json["obs_dim"], &json["act_dim"]), (&3.into(), &1.into()));
    let count = |key: &str| json[key].as_u64().unwrap();
    assert_eq!(count("n_complete"), count("n_terminals") + count("n_timeouts"));
    assert!(json["sum_rewards"].is_f64() && count("n_qlearning") < 1500, "{json:?}");

    let evaluate = place.succeed("evaluate --from iql --episodes 3 --json");
    let json = evaluate.json();
    let returns: Vec<f64> = json["returns"].as_array().unwrap().iter().map(|r| r.as_f64().unwrap()).collect();
    assert_eq!(returns.len(), 3);
    let mean = returns.iter().sum::<f64>() / 3.0;
    assert!((json["return_mean"].as_f64().unwrap() - mean).abs() < 1e-9);
    // The same from the file, and with the same seed the same again; with another one something else.
    let again = place.succeed("evaluate --from iql/checkpoint.safetensors --episodes 3 --json").json();
    assert_eq!(again["returns"], json["returns"]);
    let other = place.succeed("evaluate --from iql --episodes 3 --seed 1 --json").json();
    assert_ne!(other["returns"], json["returns"]);
    assert!(place.succeed("evaluate --from iql --episodes 3").last().contains("over 3 episodes of toy"));

    place.succeed("collect --from iql --steps 300 --out a.hdf5 --quiet");
    place.succeed("collect --from iql --steps 300 --out b.hdf5 --quiet --threads 2");
    let json = place.succeed("collect --from iql --steps 300 --out greedy.hdf5 --greedy --json").json();
    assert_eq!((&json["n_transitions"], &json["actions"]), (&300.into(), &"greedy".into()));
    let read = |name| std::fs::read(place.path(name)).unwrap();
    assert!(read("a.hdf5") == read("b.hdf5"), "the same call gives the same bytes");
    assert!(read("a.hdf5") != read("greedy.hdf5"));
    place.succeed("data inspect a.hdf5 --env toy");

    place.succeed(&format!("finetune --from iql --adapt plain {SMALL_ONLINE} --out plain"));
    let model = "--set baq.model_updates=20 --set baq.model_hidden=[8]";
    let tuned = place.succeed(&format!("finetune --from iql {SMALL_ONLINE} {model} --out tuned --json"));
    assert_eq!(tuned.json()["adapt"], "baq");
    let tuned = place.succeed("evaluate --from tuned --episodes 2 --json").json();
    assert_eq!((&tuned["adapt"], &tuned["env_step"]), (&"baq".into(), &60.into()));

    let report = place.succeed("report iql tuned plain --json").json();
    assert_eq!(report["runs"], 3);
    let page = std::fs::read_to_string(place.path(report["report"].as_str().unwrap())).unwrap();
    assert!(page.contains("</html>"));
    // Made again over itself, with the same notes.
    let first = std::fs::read_to_string(place.path("tuned/report.html")).unwrap();
    place.succeed("report tuned");
    let second = std::fs::read_to_string(place.path("tuned/report.html")).unwrap();
    let calibration = |page: &str| page.lines().filter(|l| l.contains("calibration: ")).count();
    assert!(calibration(&first) > 0 && calibration(&first) == calibration(&second));
}

const ALONE: &str = "--env toy --quiet --set online.batch=32 --set online.eval_every=50 \
    --set online.eval_episodes=2 --set online.log_every=50";

#[test]
fn without_data_from_nothing_to_a_report() {
    let place = Place::new();
    let sac = format!("{ALONE} --env-steps 100 --set sac.hidden=[8,8] --set online.warmup_steps=20");
    let ran = place.succeed(&format!("train --algo sac {sac} --out sac"));
    assert_eq!(ran.last(), "next: baq collect --from sac --steps 100000 --out transitions.hdf5");
    let td3 = format!("{ALONE} --env-steps 100 --set td3.hidden=[8,8] --set online.random_steps=20");
    let json = place.succeed(&format!("train --algo td3 {td3} --out td3 --json")).json();
    assert_eq!((&json["env_steps"], &json["updates"]), (&100.into(), &Value::Null));
    assert_eq!(json["evaluations"], 3);
    for file in ["config.toml", "metrics.csv", "evaluations.csv", "curves.png", "report.html"] {
        assert!(place.path("sac").join(file).exists(), "{file}");
    }
    assert!(!place.path("sac/dataset.json").exists());
    // The constants of the preset.
    let text = std::fs::read_to_string(place.path("td3/config.toml")).unwrap();
    for line in
        ["random_steps = 20", "exploration_noise = 0.1", "exploration = \"noise\"", "capacity = 1000000"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }

    let json = place.succeed("evaluate --from sac --episodes 2 --json").json();
    assert_eq!((&json["update"], &json["env_step"], &json["env"]), (&80.into(), &100.into(), &"toy".into()));
    place.succeed("collect --from td3 --steps 300 --out toy.hdf5 --quiet");
    place.succeed("data inspect toy.hdf5 --env toy");
    assert_eq!(place.succeed("report sac td3 --json").json()["runs"], 2);

    // Further training, with the networks and the transitions; the first steps are the policy's own.
    let tune = "--adapt plain --quiet --env-steps 40 --set online.eval_episodes=2";
    place.succeed(&format!("finetune --from td3 {tune} --out further"));
    let json = place.succeed("evaluate --from further --episodes 1 --json").json();
    assert_eq!((&json["update"], &json["env_step"]), (&120.into(), &40.into()));
    assert!(place.succeed("report further --json").json().contains_key("groups"));
    let text = std::fs::read_to_string(place.path("further/config.toml")).unwrap();
    assert!(text.contains("random_steps = 0"), "{text}");

    let none = &["data", "got baq", "--adapt plain"];
    place.refused_line("finetune --from td3 --adapt baq --quiet --out x", none);
    let data = ["td3/checkpoint.safetensors", "no data", "toy.hdf5"];
    place.refused_line("finetune --from td3 --adapt plain --data toy.hdf5 --quiet --out x", &data);
}

/// Something that has diverged: code 1, and one line that names it, the update and what there is to go back to.
fn diverges(place: &Place, line: &str, words: &[&str]) {
    let ran = place.line(line);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 1), "{ran}");
    assert!(ran.err.starts_with("baq: diverged: after update "), "{ran}");
    for word in words {
        assert!(ran.err.contains(word), "no `{word}` in: {ran}");
    }
}

/// Every number of the networks in a checkpoint is finite.
fn assert_finite(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    let checkpoint = SafeTensors::deserialize(&bytes).unwrap();
    for (name, view) in checkpoint.iter().filter(|(_, view)| view.dtype() == Dtype::F32) {
        let mut numbers = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        assert!(numbers.all(f32::is_finite), "{name} of {}", file.display());
    }
}

#[test]
fn divergence_stops_a_run_and_spares_its_checkpoint() {
    let place = Place::with_runs();
    // A sane rate for 20 updates, then an absurd one.
    let train = format!("train {SMALL} --set iql.hidden=[8,8] --set offline.checkpoint_every=4");
    for (out, rate) in [("over", "1e35"), ("large", "1e6")] {
        let line = format!("{train} --set iql.critic=step(3e-4,{rate},20) --out {out}");
        let good = format!("the last good checkpoint is that of update 20, {out}/checkpoint.safetensors");
        diverges(&place, &line, &["after update 2", "expected", "got", &good, "learning rates"]);
        assert_finite(&place.path(out).join("checkpoint.safetensors"));
        // Going on from there ends in the same way and leaves it as it is.
        let before = std::fs::read(place.path(out).join("checkpoint.safetensors")).unwrap();
        diverges(&place, &format!("train --resume {out} --quiet"), &[&good]);
        assert!(before == std::fs::read(place.path(out).join("checkpoint.safetensors")).unwrap());
        let ran = place.line(&format!("train --resume {out} --quiet --json"));
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((ran.code, json["ended"].as_str()), (Some(1), Some("diverged")), "{ran}");
        assert!(json["why"].as_str().unwrap().contains(&good), "{json}");
        let why = std::fs::read_to_string(place.path(out).join("diverged.txt")).unwrap();
        assert!(why.starts_with("diverged: after update 2") && why.lines().count() == 1, "{why}");
        assert_eq!(place.succeed(&format!("evaluate --from {out} --episodes 1 --json")).json()["update"], 20);
    }
    diverges(&place, &format!("{train} --set iql.critic=1e35 --out x"), &["there is no checkpoint yet"]);
    // Finite but beyond the bound.
    let bound = ["q_max_abs: expected at most run.q_bound = 0.0001, got "];
    diverges(&place, &format!("{train} --set run.q_bound=1e-4 --out y"), &bound);

    let online = format!("{ALONE} --env-steps 100 --set sac.hidden=[8,8] --set online.checkpoint_every=4");
    let rates = ["actor", "critic"].map(|who| format!("--set sac.{who}=step(3e-4,1e30,20)")).join(" ");
    let good = "the last good checkpoint is that of update 20, online/checkpoint.safetensors";
    diverges(
        &place,
        &format!("train --algo sac {online} --set online.warmup_steps=12 {rates} --out online"),
        &[good],
    );
    assert_finite(&place.path("online/checkpoint.safetensors"));
    let line = format!("finetune --from iql --adapt plain {SMALL_ONLINE} --set run.q_bound=1e-4 --out tuned");
    diverges(&place, &line, &["run.q_bound", "the last good checkpoint is that of update 100, tuned"]);
}

#[test]
fn numerics_belong_to_a_run() {
    let place = Place::with_runs();
    place.succeed(&format!("train {SMALL} --set iql.hidden=[64,64] --numerics bf16x3 --out parts"));
    let config = std::fs::read_to_string(place.path("parts/config.toml")).unwrap();
    assert!(config.contains("numerics = \"bf16x3\""), "{config}");
    let words = ["run.numerics", "has bf16x3", "uses f32", "--numerics bf16x3"];
    place.refused_line("train --resume parts", &words);
    let tune = format!("finetune --from parts --adapt plain {SMALL_ONLINE} --out tuned");
    place.refused_line(&tune, &words);
    place.succeed(&format!("{tune} --set run.numerics=f32"));
    place.refused_line(&format!("train {SMALL} --set run.numerics=f16 --out x"), &["unknown numerics 'f16'"]);
    // What it comes to here is said, of f32 nothing.
    let said = |numerics: &str| place.succeed(&format!("options iql --numerics {numerics}")).err;
    for words in ["--numerics bf16: large layers by ", " GFLOP/s, ", " times the ", " of f32"] {
        assert!(said("bf16").contains(words), "{}", said("bf16"));
    }
    assert_eq!(said("f32"), "");
}

#[test]
fn what_needs_data_is_refused_without() {
    let place = Place::new();
    let learns_alone = ["sac", "td3"];
    for algo in baq::algo::ALGORITHMS.iter().map(|a| a.name).filter(|name| !learns_alone.contains(name)) {
        let words = ["no dataset", algo, "recorded transitions", "--data", "sac, td3"];
        place.refused_line(&format!("train --algo {algo} --env toy --out run"), &words);
    }
    for (line, words) in [
        ("", &["neither dataset nor environment", "--env", "--data"] as &[&str]),
        ("--env none", &["neither dataset nor environment"]),
        ("--env toy --updates 5", &["--updates", "--env-steps"]),
        ("--env toy --env-steps 5 --data toy.hdf5", &["--env-steps", "--updates", "run.begin=online"]),
        ("--env toy --set offline.updates=5", &["offline.updates", "not used by this run"]),
        ("--env toy --set online.buffer=mix(0.5)", &["online.buffer", "append"]),
        ("--env toy --set data.observation_scaling=standardise", &["data.observation_scaling", "none"]),
        ("--env toy --set data.reward_scaling=return_range", &["data.reward_scaling", "affine"]),
        ("--env toy --set run.adapt=baq", &["run.adapt", "plain", "baq"]),
        ("--env toy --set run.dataset=toy.hdf5 --env-steps 5", &["--env-steps", "--updates"]),
    ] {
        place.refused_line(&format!("train --algo sac {line} --out run"), words);
    }
}

#[test]
fn the_last_line_says_what_next_or_gives_the_verdict() {
    let place = Place::with_runs();
    let golden = root("tests/golden/iql-hopper.safetensors");
    for (line, last) in [
        ("data inspect toy.hdf5 --env toy", "next: baq train --data toy.hdf5 --env toy"),
        ("options", "next: baq options iql"),
        ("options iql", "Set one with --set"),
        ("explain --env toy", "next: baq options iql"),
        ("report iql bc", "open report/report.html"),
        ("watch iql bc", "next: baq report iql bc"),
        ("collect --from iql --steps 10 --out c.hdf5", "next: baq data inspect c.hdf5 --env toy"),
        ("train --data toy.hdf5 --env none --updates 1 --out t --quiet", "next: baq finetune --from t"),
        ("audit gradients --algo bc", "bc: gradients agree"),
        (&format!("audit trace {golden}"), "iql: agrees: 10 updates"),
    ] {
        let ran = place.succeed(line);
        assert!(ran.last().starts_with(last), "{ran}");
        assert!(!ran.out.contains('\u{1b}'), "no colours where nobody looks: {ran}");
    }
}

#[test]
fn every_command_prints_one_json_object() {
    let place = Place::with_runs();
    let golden = root("tests/golden/baq-iql-hopper.json");
    for (line, keys) in [
        ("train --out t --data toy.hdf5 --env none --updates 5 --json", "run report updates"),
        ("evaluate --from bc --episodes 1 --json", "returns lengths return_mean return_std score env method"),
        ("collect --random --env toy --steps 20 --out r.hdf5 --json", "file n_transitions n_episodes"),
        (
            "data inspect embedded --env hopper --json",
            "n_transitions n_episodes n_complete n_terminals n_timeouts n_qlearning obs_dim act_dim sum_rewards",
        ),
        ("env list --json", "environments mujoco"),
        ("explain --algo iql --adapt baq --json", "algo adapt env programs"),
        ("audit gradients --algo bc --json", "checks passed worst tolerance verdict"),
        (
            &format!("audit trace {golden} --json"),
            "method updates passed worst_f64 worst_f32 tolerance_f64 tolerance_f32 tensors losses verdict",
        ),
        ("report bc --json", "report runs groups unfinished"),
        ("watch bc --json", "runs"),
        ("options --json", "sections presets"),
        ("options baq --json", "section options about"),
    ] {
        // The flag may stand anywhere.
        let json = place.succeed(line).json();
        for key in keys.split(' ') {
            assert!(json.contains_key(key), "baq {line}: no {key} in {json:?}");
        }
        let front = line.trim_end_matches(" --json").replace("--out ", "--out 2");
        place.succeed(&format!("--json {front}")).json();
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let place = Place::new();
    for line in ["--help", "help", "-h", "train --help", "data inspect --help", "help audit", "--version"] {
        let ran = place.succeed(line);
        assert!(ran.err.is_empty() && !ran.out.is_empty(), "{ran}");
    }
    let bare = place.baq(&[]);
    assert_eq!(bare.code, Some(2));
    assert!(bare.err.contains("Usage: baq"), "{bare}");
    // Which there are is said in one place.
    for line in ["finetune --help", "explain --help", "audit gradients --help"] {
        let ran = place.succeed(line);
        assert!(ran.out.contains("adaptation: see `baq options`"), "{ran}");
    }
}

#[test]
fn bad_usage_is_one_line() {
    let place = Place::new();
    for (line, words) in [
        ("trian", &["trian", "'train'"] as &[&str]),
        ("train --updates many", &["--updates", "many"]),
        ("train --updats 5", &["--updats", "--updates"]),
        ("train --threads 0 --data embedded", &["--threads", "0"]),
        ("train --seed -1 --data embedded", &["'-1'", "--seed <N>", "invalid digit"]),
        ("evaluate --from x --episodes -5", &["'-5'", "--episodes <"]),
        ("evaluate", &["--from"]),
        ("evaluate --from x --episodes 0", &["--episodes", "0"]),
        ("collect --steps 5 --out x.hdf5", &["--from"]),
        ("collect --random --steps 5 --out x.hdf5", &["--env"]),
        ("collect --random --env toy --steps 0 --out x.hdf5", &["--steps", "0"]),
        ("collect --random --from x --env toy --steps 1 --out x.hdf5", &["--from", "--random"]),
        ("collect --random --env toi --steps 1 --out x.hdf5", &["toi", "toy"]),
        ("collect --random --env toy --steps 1 --out no/x.hdf5", &["no/x.hdf5", "existing folder"]),
        ("explain --algo iqll", &["`iqll`", "did you mean `iql`?"]),
        ("explain --adapt bac", &["`bac`", "did you mean `baq`?"]),
        ("explain --env hoper", &["hoper", "hopper-v4"]),
        ("explain --phase offlin", &["offlin", "offline"]),
        ("explain --set iql.expectil=0.8", &["iql.expectil", "`iql.expectile`", "baq options iql"]),
        ("explain --set iql.expectile=1.5", &["iql.expectile", "1.5", "default 0.7"]),
        ("explain --set iql.order=corrl", &["iql.order", "corrl", "`corl`"]),
        ("explain --set iql.critics=two", &["iql.critics", "two"]),
        ("explain --set iqll.expectile=0.8", &["[iqll]", "`iql`"]),
        ("explain --set iql", &["--set iql", "section.key=value"]),
        ("explain --set bc.model=mse", &["bc.model", "not used by this run"]),
        ("explain --preset iql_corll", &["iql_corll", "did you mean `iql_corl`?"]),
        ("explain --config nowhere.toml", &["nowhere.toml"]),
        ("train --algo sac --data= --env toy --out x", &["--data: expected a file, got nothing"]),
        ("explain --adapt baq --set baq.relax=widen(0)", &["baq.relax"]),
        ("explain --algo bc --adapt baq", &["bc with baq", "no critics", "--adapt plain"]),
        ("explain --algo bc --adapt so2", &["bc with so2", "perturbs", "no critics"]),
        ("explain --algo bc --adapt suf", &["bc with suf", "no critics"]),
        ("explain --algo bc --adapt off2on", &["bc with off2on", "no critics"]),
        ("explain --algo td3 --adapt off2on", &["td3 with off2on", "stochastic", "cql"]),
        ("explain --algo td3_bc --adapt off2on", &["td3_bc with off2on", "stochastic", "cql"]),
        ("explain --adapt off2on --set iql.actor_head=deterministic", &["iql with off2on", "stochastic"]),
        ("explain --generator cfdg --phase offline", &["expected --generator none", "got cfdg"]),
        ("explain --env none", &["run.env: expected an environment", "leave it out"]),
        ("explain --set run.env=none", &["run.env: expected an environment", "leave it out"]),
        ("collect --random --env none --steps 5 --out x.hdf5", &["expected an environment, got none"]),
        ("data inspect embedded --seed 3", &["--seed 3", "`baq data` draws no numbers"]),
        ("bench acting --set run.adapt=pex", &["expected plain and none", "got pex and none"]),
        ("report x --seed 3", &["--seed 3", "`baq report` draws no numbers"]),
        ("audit gradients --algo ddpg", &["`ddpg`", "iql"]),
        ("options iqll", &["[iqll]", "`iql`"]),
        ("env replay nothing", &["nothing.safetensors"]),
        ("report", &["RUN"]),
        ("report nowhere", &["nowhere", "config.toml"]),
    ] {
        place.refused_line(line, words);
    }
}

#[test]
fn bad_data_files_are_refused() {
    let place = Place::new();
    let path = |name: &str| place.path(name).display().to_string();
    std::fs::write(place.path("empty.hdf5"), "").unwrap();
    std::fs::create_dir(place.path("folder")).unwrap();
    let plain = std::fs::read(fixture("plain.hdf5")).unwrap();
    std::fs::write(place.path("half.hdf5"), &plain[..plain.len() / 2]).unwrap();
    for (file, words) in [
        (path("nowhere.hdf5"), &["nowhere.hdf5", "No such file"] as &[&str]),
        (path("empty.hdf5"), &["empty.hdf5", "expected an HDF5 file"]),
        (path("folder"), &["folder", "Minari"]),
        (path("half.hdf5"), &["half.hdf5", "cut short"]),
        (fixture("bad-html.hdf5"), &["expected an HDF5 file"]),
        (fixture("bad-lfs-pointer.hdf5"), &["expected an HDF5 file"]),
        (fixture("bad-cut.hdf5"), &["cut short"]),
        (fixture("bad-gzip.hdf5"), &["expected an HDF5 file", "gunzip"]),
        (fixture("bad-missing-rewards.hdf5"), &["`rewards`", "expected"]),
        (fixture("bad-rank.hdf5"), &["expected shape"]),
        (fixture("bad-length.hdf5"), &["expected shape"]),
        (fixture("bad-next-width.hdf5"), &["`next_observations`", "expected shape"]),
        (fixture("bad-text-rewards.hdf5"), &["`rewards`", "type"]),
        (fixture("bad-integer-observations.hdf5"), &["`observations`", "type"]),
        (fixture("bad-nan.hdf5"), &["expected finite numbers", "NaN"]),
        (fixture("bad-overflow.hdf5"), &["expected finite numbers", "inf"]),
        (fixture("bad-nan-flags.hdf5"), &["`terminals`", "expected flags of 0 or 1", "NaN in row 5"]),
        (fixture("bad-action-range.hdf5"), &["`actions`", "[-1, 1]", "--clip-actions"]),
        (fixture("bad-zero-rows.hdf5"), &["expected at least 1", "got 0"]),
        (fixture("bad-absurd.hdf5"), &["declared size"]),
        (fixture("bad-unwritten-chunk.hdf5"), &["never written"]),
        (fixture("bad-unwritten-contiguous.hdf5"), &["never written"]),
    ] {
        place.refused(&["data", "inspect", &file], words);
        place.refused(&["data", "inspect", &file, "--json"], words);
        place.refused(&["train", "--data", &file, "--env", "none", "--updates", "1", "--out", "run"], words);
    }
    let wide = fixture("bad-action-range.hdf5");
    place.succeed(&format!("data inspect {wide} --clip-actions"));
    // Dimensions that do not fit the environment.
    for args in [["data", "inspect", "embedded"], ["train", "--data", "embedded"]] {
        let args = [&args[..], &["--env", "walker2d"]].concat();
        place.refused(&args, &["`observations`", "expected width 17 for walker2d-v4, got 11"]);
    }
    place.refused(&["train", "--env", "none", "--out", "run"], &["no dataset", "--data"]);
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::with_runs();
    let train = |out: &str| format!("train {SMALL} --out {out}");
    place.refused_line(&train("iql"), &["iql", "already holds a run", "--resume"]);
    std::fs::create_dir(place.path("mine")).unwrap();
    std::fs::write(place.path("mine/notes.txt"), "precious").unwrap();
    place.refused_line(&train("mine"), &["mine", "not empty", "notes.txt"]);
    place.refused_line(&train("mine/notes.txt"), &["mine/notes.txt", "is a file"]);
    let tune = format!("finetune --from iql --adapt plain {SMALL_ONLINE} --out");
    place.refused_line(&format!("{tune} bc"), &["bc", "already holds a run"]);
    place.refused_line(&format!("{tune} mine"), &["mine", "not empty"]);
    place.refused_line("collect --from iql --steps 5 --out toy.hdf5", &["toy.hdf5", "existing file"]);
    place.refused_line("collect --from iql --steps 5 --out mine", &["mine", "existing"]);
    place.refused_line("report iql bc --out bc", &["bc", "that of a run"]);
    place.refused_line("train --resume mine", &["mine", "no run to resume"]);

    // A directory that another process writes to.
    let busy = RunDir::create(&place.path("busy")).unwrap();
    let pid = std::process::id().to_string();
    place.refused_line(&train("busy"), &["busy", "in use by process", &pid]);
    drop(busy);
    let busy = RunDir::resume(&place.path("iql")).unwrap();
    place.refused_line("train --resume iql", &["iql", "in use by process", &pid]);
    drop(busy);
}

#[test]
fn wrong_checkpoints_are_refused() {
    let place = Place::with_runs();
    let whole = std::fs::read(place.path("iql/checkpoint.safetensors")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path(name), bytes).unwrap();
    write("cut.safetensors", &whole[..whole.len() - 100]);
    write("head.safetensors", &whole[..50]);
    write("text.safetensors", b"not a checkpoint at all, just some text");
    let mut flipped = whole.clone();
    let middle = flipped.len() - 1000;
    flipped[middle] ^= 1;
    write("flipped.safetensors", &flipped);
    std::fs::create_dir(place.path("folder")).unwrap();
    let golden = root("tests/golden/iql-hopper.safetensors");
    for (from, words) in [
        ("nowhere", &["nowhere: expected the directory of a run", "got nothing of that name"] as &[&str]),
        ("folder", &["folder: expected the directory of a run", "got a folder without one"]),
        ("cut.safetensors", &["cut.safetensors", "not whole", "not fully covered"]),
        ("head.safetensors", &["head.safetensors", "not whole", "header length"]),
        ("text.safetensors", &["text.safetensors", "not a checkpoint", "header too large"]),
        ("flipped.safetensors", &["flipped.safetensors", "does not match its checksum"]),
        (&golden, &["expected a checkpoint of format", "another safetensors file"]),
    ] {
        place.refused_line(&format!("evaluate --from {from}"), words);
        place.refused_line(&format!("collect --from {from} --steps 5 --out x.hdf5"), words);
        place.refused_line(&format!("finetune --from {from} --out x"), words);
    }
    for command in ["evaluate", "collect --steps 5 --out x.hdf5"] {
        let fit = ["iql/checkpoint.safetensors", "3 observations", "expected 11 and 3 for hopper-v4"];
        place.refused_line(&format!("{command} --from iql --env hopper"), &fit);
        place.refused_line(&format!("{command} --from iql --env hoppr"), &["hoppr", "hopper-v4"]);
    }

    // The checkpoint of another method in the place of its own.
    std::fs::copy(place.path("bc/checkpoint.safetensors"), place.path("iql/checkpoint.safetensors")).unwrap();
    place.refused_line("train --resume iql", &["iql/checkpoint.safetensors", "sections", "another method"]);
    // Trained on other data.
    place.succeed("collect --random --env toy --steps 1500 --seed 9 --out other.hdf5 --quiet");
    std::fs::rename(place.path("other.hdf5"), place.path("toy.hdf5")).unwrap();
    place.refused_line("train --resume bc", &["sha256", "the same file"]);
    // No environment to evaluate in.
    place.succeed("train --data toy.hdf5 --env none --updates 1 --out none --quiet");
    place.refused_line("evaluate --from none", &["run.env", "--env"]);
}

#[test]
fn combinations_without_sense_are_refused() {
    let place = Place::with_runs();
    place.succeed(
        "train --algo wsrl --data toy.hdf5 --env toy --updates 1 --set offline.batch=16 --set offline.eval_episodes=0 \
         --set cql.critic_hidden=[8] --set cql.policy_hidden=[8] --set cql.samples=2 --out wsrl --quiet",
    );
    // It says first how fast it is.
    let numerics = place.line("explain --algo bc --numerics bf16 --set run.numerics=f32");
    let expected = "run.numerics: the configuration has f32, this process uses bf16";
    assert!(numerics.code == Some(2) && numerics.err.contains(expected), "{numerics}");
    for (line, words) in [
        ("--from bc --adapt so2", &["bc with so2", "no critics"] as &[&str]),
        ("--from bc --adapt baq", &["bc with baq", "no critics"]),
        ("--from iql --adapt baq --set online.buffer=mix(0.5)", &["online.buffer", "append", "mix(0.5)"]),
        ("--from iql --adapt baq --set online.buffer=proportional", &["online.buffer", "proportional"]),
        ("--from iql --adapt off2on --set online.buffer=concat(0.1)", &["online.buffer", "concat(0.1)"]),
        ("--from iql --adapt off2on --set online.offline_rows=none", &["online.offline_rows", "got none"]),
        (
            "--from iql --adapt plain --generator cfdg --set cfdg.share=0",
            &["run.generator", "a share of generated rows"],
        ),
        ("--from iql --adapt plain --set run.begin=offline", &["run.begin", "got offline"]),
        ("--from wsrl --adapt plain --set wsrl.calibrated=true", &["--set wsrl.calibrated: has no effect"]),
        ("--from iql --adapt suf --set so2.sigma=0.1", &["so2.sigma", "not used by this run"]),
    ] {
        place.refused_line(&format!("finetune {line} --out x"), words);
    }
    for algo in ["td3", "rebrac"] {
        let bound = format!("--set {algo}.target_noise=0 --set {algo}.target_clip=0.1");
        let line = format!("train --algo {algo} --data toy.hdf5 --env toy {bound} --out x");
        let words =
            [format!("{algo}.target_clip"), "has no effect".into(), format!("set {algo}.target_noise=0.2")];
        place.refused_line(&line, &words.each_ref().map(String::as_str));
    }
}

/// Changes the tensors of a trace.
type Edit<'a> = &'a dyn Fn(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

/// A copy of a golden trace with other tensors and another JSON.
fn trace(place: &Place, name: &str, edit: Edit<'_>, json: &dyn Fn(&mut Value)) -> String {
    let source = root("tests/golden/iql-hopper.safetensors");
    let bytes = std::fs::read(&source).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<_, _> =
        file.iter().map(|(k, v)| (k.into(), (v.dtype(), v.shape().to_vec(), v.data().to_vec()))).collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(k, (t, s, d))| (k, TensorView::new(*t, s.clone(), d).unwrap()));
    let path = place.path(name);
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let text = std::fs::read_to_string(Path::new(&source).with_extension("json")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    json(&mut value);
    std::fs::write(path.with_extension("json"), value.to_string()).unwrap();
    name.into()
}

#[test]
fn traces_that_differ_fail_the_audit() {
    let place = Place::new();
    let none: Edit<'_> = &|_| {};
    let same = trace(&place, "same.safetensors", none, &|_| {});
    place.succeed(&format!("audit trace {same}"));
    // Any hyper-parameter, and one element of one tensor.
    for (key, value) in [
        ("discount", 0.98),
        ("iql_tau", 0.71),
        ("beta", 3.1),
        ("tau", 0.006),
        ("lr", 0.00031),
        ("exp_adv_max", 1.0),
    ] {
        let file = trace(&place, "other.safetensors", none, &|j| j["meta"][key] = value.into());
        let ran = place.line(&format!("audit trace {file}"));
        assert_eq!(ran.code, Some(1), "meta.{key}: {ran}");
        assert!(ran.last().contains("DIFFERS") && ran.err.is_empty(), "{ran}");
    }
    let file = trace(
        &place,
        "element.safetensors",
        &|t| {
            let (_, _, data) = t.get_mut("after.10.vf.v.net.2.weight").unwrap();
            let x = f64::from_le_bytes(data[80..88].try_into().unwrap());
            data[80..88].copy_from_slice(&(x + 1e-6).to_le_bytes());
        },
        &|_| {},
    );
    let ran = place.line(&format!("audit trace {file} --json"));
    assert_eq!(ran.code, Some(1), "{ran}");
    let json = ran.json();
    assert_eq!(json["passed"], false);
    let beyond: Vec<&Value> = json["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| t["f64"].as_f64().unwrap() > json["tolerance_f64"].as_f64().unwrap())
        .collect();
    assert_eq!(beyond.len(), 1, "{beyond:?}");
    assert_eq!((&beyond[0]["tensor"], &beyond[0]["update"]), (&"v.layer1.weight".into(), &10.into()));
    // Nothing that could be compared is no agreement.
    let file = trace(
        &place,
        "renamed.safetensors",
        &|t| {
            *t = std::mem::take(t)
                .into_iter()
                .map(|(key, tensor)| match key.strip_prefix("after.") {
                    Some(rest) => (format!("after.0{rest}"), tensor),
                    None => (key, tensor),
                })
                .collect();
        },
        &|j| j["logs"] = Value::Null,
    );
    let ran = place.line(&format!("audit trace {file}"));
    assert!(ran.code == Some(2) && ran.err.contains("after.0"), "{ran}");
    // A logged loss.
    let file = trace(&place, "loss.safetensors", none, &|j| j["logs"][4]["q_loss"] = 0.5.into());
    let ran = place.line(&format!("audit trace {file}"));
    assert!(ran.code == Some(1) && ran.last().contains("loss q of update 5"), "{ran}");
    // CORL forms some constants of IQL in single precision.
    let file = trace(&place, "single.safetensors", none, &|j| j["meta"]["constants"] = "single".into());
    place.succeed(&format!("audit trace {file}"));
    let file = trace(&place, "double.safetensors", none, &|j| j["meta"]["constants"] = "double".into());
    let ran = place.line(&format!("audit trace {file}"));
    assert!(ran.code == Some(1) && ran.last().contains("DIFFERS"), "{ran}");
    // Draws that nothing consumes.
    let more: Edit<'_> = &|t| {
        let draw = t["batch.0.actions"].clone();
        t.insert("noise.3.0.normal".into(), draw);
    };
    let file = trace(&place, "draws.safetensors", more, &|_| {});
    let ran = place.succeed(&format!("audit trace {file}"));
    assert!(ran.out.contains("note: draws that no loss here reads: 1, the first noise.3.0.normal"), "{ran}");
    // What the JSON does not state is read off the tensors, or assumed and said.
    let file = trace(&place, "short.safetensors", none, &|j| {
        for key in ["batch", "obs_dim", "act_dim", "steps", "hidden", "kept_steps", "policy", "lr"] {
            j["meta"].as_object_mut().unwrap().remove(key);
        }
    });
    let ran = place.succeed(&format!("audit trace {file}"));
    assert!(ran.out.contains("note: meta.lr is not given; 0.0003 is assumed"), "{ran}");
}

#[test]
fn broken_traces_are_refused() {
    let place = Place::new();
    let fine: Edit<'_> = &|_| {};
    let untouched: &dyn Fn(&mut Value) = &|_| {};
    let remove = |key: &'static str| move |t: &mut BTreeMap<String, _>| assert!(t.remove(key).is_some());
    let both = |algo: &'static str, key: &'static str, value: Value| {
        move |j: &mut Value| {
            j["meta"]["algo"] = algo.into();
            j["meta"][key] = value.clone();
        }
    };
    let q = "init.qf.q2.net.2.weight";
    type Json<'a> = &'a dyn Fn(&mut Value);
    let cases: &[(Edit<'_>, Json<'_>, &[&str])] = &[
        (&remove(q), untouched, &["init.qf.q2", "[32, 32]", "no such tensor"]),
        (&remove("init.actor.log_std"), untouched, &["init.actor", "no such tensor"]),
        (&remove("batch.3.rewards"), untouched, &["batch.3.rewards", "no such tensor"]),
        (&remove("batch.0.observations"), untouched, &["batch.0.observations", "no such tensor"]),
        (&remove("after.2.vf.v.net.0.bias"), untouched, &["after.2.vf", "no such tensor"]),
        (&|t| t.retain(|k, _| !k.starts_with("after.")), untouched, &["after.U", "none"]),
        (&|t| t.retain(|k, _| !k.starts_with("init.")), untouched, &["init.", "no such tensor"]),
        (&|t| t.get_mut(q).unwrap().1 = vec![16, 64], untouched, &[q, "[32, 32]", "[16, 64]"]),
        (&|t| t.get_mut(q).unwrap().1 = vec![1024], untouched, &[q, "[1024]"]),
        (
            &|t| t.get_mut("batch.2.actions").unwrap().1 = vec![3, 32],
            untouched,
            &["batch.2.actions", "[32, 3]"],
        ),
        (
            &|t| t.get_mut("batch.2.actions").unwrap().2[..8].copy_from_slice(&f64::NAN.to_le_bytes()),
            untouched,
            &["batch.2.actions", "finite", "NaN"],
        ),
        (&|t| t.get_mut(q).unwrap().0 = Dtype::U64, untouched, &[q, "U64"]),
        (fine, &|j| j["meta"]["algo"] = "ppo".into(), &["json", "meta.algo", "baq-iql or cal-ql", "ppo"]),
        (fine, &|j| j["meta"]["algo"] = 3.into(), &["meta.algo", "a string", "3"]),
        (fine, &|j| j["meta"] = "iql".into(), &["meta.algo", "nothing"]),
        (fine, &|j| *j = Value::Null, &["meta.algo", "nothing"]),
        (fine, &|j| j["meta"]["discount"] = "0.99".into(), &["meta.discount", "a number", "\"0.99\""]),
        (fine, &|j| j["meta"]["iql_tau"] = 1.5.into(), &["meta.iql_tau", "0..=1", "1.5"]),
        (fine, &|j| j["meta"]["exp_adv_max"] = 0.into(), &["meta.exp_adv_max", "got 0"]),
        (
            fine,
            &|j| j["meta"]["policy"] = "mixture".into(),
            &["meta.policy", "`gaussian` or `deterministic`"],
        ),
        (fine, &|j| j["meta"]["steps"] = (-1).into(), &["meta.steps", "-1"]),
        (fine, &|j| j["meta"]["steps"] = 1e30.into(), &["meta.steps", "whole number"]),
        (fine, &|j| j["meta"]["steps"] = 11.into(), &["batch.10.", "no such tensor"]),
        (fine, &|j| j["meta"]["steps"] = 9.into(), &["after.10", "from 1 to 9"]),
        (fine, &|j| j["meta"]["batch"] = 64.into(), &["meta.batch", "32", "64"]),
        (fine, &|j| j["meta"]["obs_dim"] = 17.into(), &["meta.obs_dim", "11", "17"]),
        (fine, &|j| j["meta"]["algo"] = "baq-iql".into(), &["init.bc", "no such tensor"]),
        (fine, &|j| j["meta"]["algo"] = "awac".into(), &["noise.0.0.normal", "no such tensor"]),
        (fine, &|j| j["meta"]["constants"] = "half".into(), &["meta.constants", "single or double", "half"]),
        (fine, &both("awac", "mean", "relu".into()), &["meta.mean", "`linear` or `tanh`", "relu"]),
        (fine, &both("awac", "log_std_max", 1.into()), &["meta.log_std_max", "2..=2", "got 1"]),
        (fine, &both("sac-cleanrl", "policy_frequency", 9.into()), &["meta.policy_frequency", "1 to 8", "9"]),
        (fine, &both("sac-cleanrl", "log_std", "tanh".into()), &["meta.log_std", "LO + HALF", "tanh"]),
        (fine, &both("cql", "cql_n_actions", 1e15.into()), &["meta.cql_n_actions", "1 to 999"]),
        (fine, &|j| j["logs"][2]["q_loss"] = "big".into(), &["logs[2].q_loss", "a number", "big"]),
    ];
    for (edit, json, words) in cases {
        let file = trace(&place, "bad.safetensors", edit, json);
        place.refused_line(&format!("audit trace {file}"), words);
    }

    let file = trace(&place, "bad.safetensors", fine, untouched);
    let bytes = std::fs::read(place.path(&file)).unwrap();
    for cut in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(place.path(&file), &bytes[..cut]).unwrap();
        place.refused_line(
            &format!("audit trace {file}"),
            &["bad.safetensors", "expected a safetensors file"],
        );
    }
    std::fs::write(place.path(&file), &bytes).unwrap();
    std::fs::write(place.path("bad.json"), "{\"meta\": {").unwrap();
    place.refused_line(&format!("audit trace {file}"), &["bad.json", "is not JSON"]);
    std::fs::remove_file(place.path("bad.json")).unwrap();
    place.refused_line(&format!("audit trace {file}"), &["bad.json", "No such file", "pair"]);
    place.refused_line(&format!("env replay {file}"), &["bad.json"]);
    place.refused_line("audit trace nowhere.safetensors", &["nowhere.safetensors", "No such file"]);
    place.refused_line("audit trace nowhere.json", &["nowhere.safetensors", "No such file"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let golden = root("tests/golden/iql-hopper.safetensors");
    for args in [
        vec!["options", "iql"],
        vec!["--help"],
        vec!["explain", "--env", "toy"],
        vec!["data", "inspect", "embedded"],
        vec!["data", "inspect", "embedded", "--json"],
        vec!["audit", "trace", &golden],
        vec!["env", "list"],
    ] {
        // The reading end is closed before the program starts, so its first write fails.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_baq"));
        command.current_dir(place.0.path()).args(&args).stdout(writer).stderr(Stdio::piped());
        let out = command.spawn().unwrap().wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!((out.status.code(), &*err), (Some(0), ""), "baq {args:?}");
    }
    // A full disk is one.
    if Path::new("/dev/full").exists() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_baq"));
        let out = command.args(["options"]).stdout(full).output().unwrap();
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains("cannot write to standard output"));
    }
}
