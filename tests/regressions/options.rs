//! Options that passed their checks and then panicked, aborted, or did nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        place.succeed("collect --random --env toy --steps 1000 --out data.hdf5 --threads 1 --quiet");
        place
    }

    fn with_base() -> Place {
        let place = Place::new();
        place.succeed(&format!("{TRAIN} --updates 20 --out base --set iql.hidden=[8]"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit code, stdout and stderr, in at most 12 GB of address space.
    fn baq(&self, line: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c 0; ulimit -v 12000000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_baq")]);
        let out = command.args(line.split_whitespace()).current_dir(self.0.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    }

    fn succeed(&self, line: &str) {
        let (code, _, err) = self.baq(line);
        assert_eq!(code, Some(0), "baq {line}: {err}");
    }

    /// Code 2, one line with all of `words`, and no run directory.
    fn refused(&self, line: &str, words: &[&str]) {
        let (code, out, err) = self.baq(line);
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "baq {line}: {out}{err}");
        words.iter().for_each(|word| assert!(err.contains(word), "baq {line}: no `{word}` in {err}"));
        assert!(!self.path("o").exists(), "baq {line} left a directory");
    }

    fn config(&self, run: &str) -> String {
        std::fs::read_to_string(self.path(run).join("config.toml")).unwrap()
    }
}

const TRAIN: &str = "train --data data.hdf5 --env toy --quiet --threads 1 --set offline.eval_episodes=0 --set offline.batch=8";
const TUNE: &str =
    "finetune --from base --quiet --threads 1 --env-steps 20 --out o --set online.eval_episodes=0";

#[test]
fn config_panics() {
    let place = Place::with_base();
    let train = format!("{TRAIN} --out o");
    for algo in ["iql", "bc", "awac", "sac", "td3"] {
        let line = format!("{train} --algo {algo} --updates 5 --set {algo}.hidden=[0]");
        place.refused(&line, &[&format!("{algo}.hidden"), "[1, 4096]", "[0]"]);
    }
    for (line, words) in [
        ("--algo cql --set cql.policy_hidden=[64,0]", &["cql.policy_hidden"] as &[&str]),
        ("--algo cql --set cql.critic_hidden=[64,0]", &["cql.critic_hidden"]),
        ("--set offline.batch=4294967296", &["offline.batch", "1e6"]),
        ("--set offline.batch=9223372036854775807", &["offline.batch"]),
        ("--set offline.updates=18446744073709551615", &["offline.updates", "1e12"]),
        ("--algo cql --set cql.cloning_updates=18446744073709551615", &["cql.cloning_updates"]),
        ("--set iql.hidden=[1000000,1000000]", &["iql.hidden"]),
        ("--set iql.value=-1e-3", &["iql.value", "[0, 1e36]"]),
        ("--set iql.value={lr=1e-3,eps=0}", &["iql.value", "eps in [1e-16, 1]"]),
        ("--set iql.actor=cosine(1e-3,0,1e15)", &["iql.actor"]),
        ("--updates 0", &["--updates", "offline.updates", "got 0"]),
    ] {
        place.refused(&format!("{train} {line}"), words);
    }
    for (line, words) in [
        ("plain --set online.capacity=5e9", &["online.capacity"] as &[&str]),
        ("plain --set online.batch=1e15", &["online.batch"]),
        ("plain --set online.actor_updates_per_step=1e308", &["online.actor_updates_per_step"]),
        ("suf --set suf.critic_updates=1e308", &["suf.critic_updates"]),
        ("so2 --set so2.critic_updates=1e308", &["so2.critic_updates"]),
        ("baq --set baq.model_hidden=[0]", &["baq.model_hidden"]),
        ("off2on --set off2on.density_hidden=[0]", &["off2on.density_hidden"]),
        ("off2on --set off2on.density=1e20", &["off2on.density"]),
        ("off2on --set off2on.density=cosine(0.9)", &["off2on.density", "its length", "auto"]),
        ("plain --env-steps 0", &["cannot be used multiple times"]),
    ] {
        place.refused(&format!("{TUNE} --adapt {line}"), words);
    }
    place.refused("explain --algo iql --env toy --set iql.hidden=[0]", &["iql.hidden"]);
    place.refused("audit gradients --set iql.hidden=[0]", &["iql.hidden"]);
}

/// Sizes that are fine one by one are checked together, before anything is made.
#[test]
fn more_than_the_memory_there_is() {
    let place = Place::with_base();
    for (line, words) in [
        ("--set iql.hidden=[4096,4096,4096,4096]", &["iql.hidden", "offline.batch", " GiB free"] as &[&str]),
        ("--algo cql --set cql.samples=1000", &["cql.samples", "the memory of a round"]),
    ] {
        place.refused(
            &format!("{TRAIN} --out o --updates 5 --set offline.batch=100000 {line}").replacen(
                "--set offline.batch=8 ",
                "",
                1,
            ),
            words,
        );
    }
    place.refused(
        &format!("{TUNE} --adapt plain --set online.capacity=4000000000"),
        &["online.capacity", "the replay", "lower"],
    );
    let bench = "bench replay --seconds 0.1 --threads 1 --rows 4000000000";
    place.refused(bench, &["--rows", "the transitions"]);
    let steps = "collect --random --env toy --steps 100000000 --out o --threads 1";
    let (code, _, err) = place
        .baq(&steps.replace("--env toy", "--env toy --quiet").replace("--steps 100000000", "--steps 100"));
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn preset_or_config_of_another_algorithm_ignored() {
    let place = Place::new();
    let small = "--updates 5";
    place.succeed(&format!("{TRAIN} {small} --preset cql_light --set cql.samples=2 --out a"));
    assert!(place.config("a").contains("\nalgo = \"cql\"\n"));
    place.succeed(&format!("{TRAIN} {small} --config a/config.toml --out b"));
    assert!(place.config("b").contains("\nalgo = \"cql\"\n"));
    assert_eq!(place.config("a"), place.config("b"), "a run's own file gives the same run");
    place.succeed(&format!("{TRAIN} {small} --set run.algo=bc --set bc.model=mse --out c"));
    assert!(place.config("c").contains("\nalgo = \"bc\"\n"));
    let train = format!("{TRAIN} {small} --out o");
    for (line, words) in [
        ("--algo iql --preset cql", &["--algo", "iql", "--preset cql", "run.algo = cql"] as &[&str]),
        ("--algo iql --config a/config.toml", &["--algo", "a/config.toml", "cql"]),
        ("--preset bc --config a/config.toml", &["a/config.toml", "--preset bc"]),
        ("--preset bc --set run.algo=cql", &["--set run.algo", "--preset bc"]),
        ("--set run.adapt=so2", &["run.adapt", "baq finetune --adapt so2"]),
        ("--set cql.samples=3", &["--set cql.samples", "[cql]", "not used"]),
        ("--seed 3 --set run.seed=4", &["--seed", "run.seed=4"]),
        ("--set offline.updates=6", &["--updates", "offline.updates=6"]),
    ] {
        place.refused(&format!("{train} {line}"), words);
    }
    let (code, out, _) = place.baq("explain --env toy --preset td3_bc");
    assert_eq!((code, out.starts_with("td3_bc, offline phase")), (Some(0), true), "{out}");
    let (code, out, _) = place.baq("explain --config a/config.toml");
    assert_eq!((code, out.starts_with("cql, offline phase, on toy")), (Some(0), true), "{out}");
    place.refused("explain --algo iql --preset td3_bc", &["--algo", "td3_bc"]);
    place.refused("audit gradients --algo iql --preset td3", &["--algo", "td3"]);
    place.refused("bench update --algo iql --preset td3", &["--algo", "td3"]);
    let tune = "finetune --from a --quiet --threads 1 --env-steps 5 --set online.eval_episodes=0";
    place.refused(&format!("{tune} --preset iql --out o"), &["--preset iql", "cql", "a/checkpoint"]);
    std::fs::write(place.path("so2.toml"), "[run]\nadapt = \"so2\"\n[so2]\nsigma = 0.2\n").unwrap();
    place.succeed(&format!("{tune} --config so2.toml --set online.batch=8 --out d"));
    assert!(place.config("d").contains("\nadapt = \"so2\"\n"));
    place.refused(&format!("{tune} --config so2.toml --adapt suf --out o"), &["--adapt", "so2.toml"]);
    std::fs::write(place.path("other.toml"), "[iql]\nexpectile = 0.8\n").unwrap();
    place.refused(&format!("{train} --config other.toml --algo bc"), &["other.toml: iql.expectile", "[iql]"]);
}

#[test]
fn options_without_effect_are_refused() {
    let place = Place::with_base();
    std::fs::write(place.path("scale.toml"), "[data]\nreward_scale = 2.0\n").unwrap();
    for (line, words) in [
        ("--set data.reward_scale=2", &["--set data.reward_scale", "reward_scaling=affine"] as &[&str]),
        ("--config scale.toml", &["scale.toml: data.reward_scale", "affine"]),
        ("--set data.reward_bias=1", &["data.reward_bias", "affine"]),
        (
            "--set data.keep_timeout_transitions=true --set data.mode=d4rl",
            &["keep_timeout", "next_observations"],
        ),
        ("--set offline.patience=5", &["offline.patience", "iql"]),
        ("--set offline.validation_fraction=0.1", &["offline.validation_fraction"]),
        (
            "--set iql.actor_head=deterministic --set iql.log_std_min=-3",
            &["iql.log_std_min", "iql.actor_head"],
        ),
        ("--set online.exploration_noise=0.2", &["online.exploration_noise", "online.exploration=noise"]),
        ("--algo bc --set run.q_bound=10", &["run.q_bound", "no critics"]),
        (
            "--algo sac --set sac.temperature=fixed(0.2) --set sac.target_entropy=-1",
            &["sac.target_entropy", "sac.temperature"],
        ),
        (
            "--algo sac --set sac.temperature=fixed(0.2) --set sac.temperature_optimiser=1e-3",
            &["sac.temperature_optimiser"],
        ),
        ("--algo cql --set cql.multiplier_optimiser=1e-3", &["cql.multiplier_optimiser", "cql.lagrange"]),
        ("--algo td3 --set online.exploration=sample", &["online.exploration", "deterministic"]),
        (
            "--algo cql --set cql.difference_min=at(5) --set cql.difference_max=at(-5)",
            &["cql.difference_min", "got at(5"],
        ),
    ] {
        place.refused(&format!("{TRAIN} --out o --updates 5 {line}"), words);
    }
    for (line, words) in [
        ("plain --model base", &["--model", "--adapt baq", "plain"] as &[&str]),
        ("plain --set online.warmup_steps=20", &["online.warmup_steps", "nothing would be learnt"]),
        ("plain --set online.random_steps=100", &["online.random_steps", "nothing would be learnt"]),
        ("plain --set offline.updates=5", &["offline.updates", "not used"]),
        ("plain --set iql.init=torch", &["iql.init"]),
        ("so2 --set so2.sigma=0 --set so2.clip=0.5", &["so2.clip", "so2.sigma"]),
        (
            "so2 --set online.updates_per_step=2 --set so2.critic_updates=3",
            &["so2.critic_updates", "online.updates_per_step"],
        ),
        (
            "suf --set suf.unconstrained=true --set iql.temperature=1",
            &["iql.temperature", "suf.unconstrained"],
        ),
        ("baq --set baq.cql_scope=both", &["baq.cql_scope", "iql with baq"]),
        ("baq --set baq.rows=q --set baq.priority_exponent=1", &["baq.priority_exponent", "baq.rows"]),
        ("baq --set baq.rows=s --set baq.k_q=1", &["baq.k_q", "baq.rows"]),
        ("plain --set online.offline_rows=subset(5000)", &["online.offline_rows", "at most"]),
        ("plain --set online.offline_rows=best(1.5)", &["online.offline_rows", "whole number", "1.5"]),
        (
            "plain --set online.buffer=mix(0.5) --set online.offline_rows=none",
            &["online.buffer", "online.offline_rows = none"],
        ),
        ("plain --set online.updates_per_step=0", &["online.updates_per_step", "at least one update"]),
        ("plain --generator cfdg", &["cfdg.every", "nothing would be generated", "10000"]),
        ("baq --set baq.k_q=auto --set online.offline_rows=none", &["online.offline_rows", "auto"]),
        ("apl --set apl.latest_share=0.9", &["apl.latest_share", "apl.latest_after"]),
    ] {
        place.refused(&format!("{TUNE} --set online.batch=8 --adapt {line}"), words);
    }
    for (line, words) in [
        ("audit report base --seed 3", &["--seed 3", "leave it out"] as &[&str]),
        ("audit verify base --seed 3", &["--seed 3"]),
        ("bench env --env toy --seconds 0.1 --seed 3", &["--seed 3", "same episodes"]),
        ("bench train --data data.hdf5 --updates 1500", &["--updates 1500", "whole thousands"]),
        ("bench train --data data.hdf5 --set offline.updates=7", &["--set offline.updates", "leave it out"]),
        ("bench train --data data.hdf5 --set run.adapt=baq", &["run.adapt", "plain"]),
    ] {
        place.refused(&format!("{line} --threads 1"), words);
    }
    let alone = "train --algo sac --env toy --quiet --threads 1 --env-steps 30 --out o";
    for (line, words) in [
        ("--set online.warmup_steps=30", &["online.warmup_steps"] as &[&str]),
        ("--set online.offline_rows=none", &["online.offline_rows", "without data"]),
        ("--set data.mode=next_observations", &["data.mode", "without data"]),
        ("--set data.action_clip=0.1", &["data.action_clip", "without data"]),
    ] {
        place.refused(&format!("{alone} {line}"), words);
    }
    for (line, word) in [
        ("env --algo cql", "--algo"),
        ("env --set cql.samples=2", "--set"),
        ("acting --rows 10", "--rows"),
        ("acting --adapt baq", "--adapt"),
        ("update --env toy", "--env"),
    ] {
        place.refused(&format!("bench {line} --seconds 0.1 --threads 1"), &[word]);
    }
}

/// Batches offline and online may differ, and the buffer may mix, which concerns the phase online alone.
#[test]
fn an_update_is_measured_whatever_the_buffer_online() {
    let place = Place::new();
    for more in ["--set offline.batch=16", "--set online.batch=16 --adapt baq --set online.buffer=append"] {
        let small = "--set cql.samples=1 --set cql.policy_hidden=[8] --set cql.critic_hidden=[8]";
        place.succeed(&format!(
            "bench update --algo cal_ql {small} {more} --rows 100 --seconds 0.02 --threads 1"
        ));
    }
}

/// What presets and earlier runs say is no request: it may be without effect.
#[test]
fn inherited_options_without_effect_are_no_requests() {
    let place = Place::new();
    let td3 = format!("{TRAIN} --updates 5 --algo td3 --set td3.hidden=[8] --set online.exploration=greedy");
    place.succeed(&format!("{td3} --out a"));
    let config = Path::new("a/config.toml").display().to_string();
    place.succeed(&format!("{TRAIN} --updates 5 --config {config} --out b"));
    assert_eq!(place.config("a"), place.config("b"));
    place.succeed("finetune --from a --adapt plain --quiet --threads 1 --env-steps 5 --set online.batch=8 --set online.eval_episodes=0 --out c");
    let (code, _, err) = place.baq("train --algo td3 --env toy --quiet --threads 1 --env-steps 5 --set online.eval_episodes=0 --set online.capacity=100 --out d");
    assert_eq!((code, err.starts_with("note: online.random_steps")), (Some(0), true), "{err}");
}

#[test]
fn lengths_have_units_and_names_say_what_a_file_is() {
    let place = Place::new();
    place.succeed(&format!("{TRAIN} --updates 1k --out long --set iql.hidden=[8]"));
    assert!(place.config("long").contains("\nupdates = 1000\n"));
    place.refused(&format!("{TRAIN} --updates 1q --out o"), &["--updates", "20k or 2M"]);
    place.refused("collect --random --env toy --steps 5 --out o.csv", &["--out o.csv", "HDF5", "convert"]);
    place.refused(
        &format!("{TRAIN} --updates 5 --out o --set .expectile=0.5"),
        &["expected section.key=value"],
    );
    place.refused(&format!("{TRAIN} --updates 5 --out o --algo nope"), &["`nope`; known: bc"]);
}
