//! A killed run, resumed, ends with the very bytes of an uninterrupted one; so do runs with other thread
//! counts.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use baq::cli::finetune::Start;
use baq::cli::learn::Manner;
use baq::cli::setup::RunArgs;
use baq::train::counters::Counters;
use baq::train::progress::{Ended, Stop};
use baq::train::state::Saved;
use common::place::{COMMON, Place, terminate};
use common::program::{baq, succeed};

/// Files that two equal runs have in common, to the byte.
const FILES: [&str; 5] =
    ["checkpoint.safetensors", "metrics.csv", "metrics.jsonl", "evaluations.csv", "evaluations.jsonl"];
/// The same, of runs that have them.
const RECORDS: [&str; 2] = ["ledger.bin", "roundoff.csv"];

impl Place {
    fn baq(&self, args: &str) -> Command {
        let mut command = baq(&self.0, args);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    fn run(&self, args: &str) {
        succeed(&self.0, args);
    }

    /// Starts a run, waits for a checkpoint newer than the one before, and ends the process.
    fn start_and_end(&self, args: &str, out: &str, signal: &str) {
        let checkpoint = self.path(out).join("checkpoint.safetensors");
        let before = modified(&checkpoint);
        let mut child: Child = self.baq(args).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while modified(&checkpoint) == before {
            assert!(child.try_wait().unwrap().is_none(), "baq {args} ended before its first checkpoint");
            assert!(Instant::now() < deadline, "baq {args}: no checkpoint in two minutes");
            std::thread::sleep(Duration::from_millis(2));
        }
        // Some way into the stretch between two checkpoints.
        std::thread::sleep(Duration::from_millis(15));
        assert!(child.try_wait().unwrap().is_none(), "baq {args} ended before it could be killed");
        // The shell's own: a small machine has no program of this name.
        let kill =
            Command::new("sh").args(["-c", &format!("kill {signal} {}", child.id())]).status().unwrap();
        assert!(kill.success());
        child.wait().unwrap();
    }

    fn assert_equal(&self, a: &str, b: &str) {
        for file in FILES {
            let read = |run: &str| std::fs::read(self.path(run).join(file)).unwrap();
            assert!(read(a) == read(b), "{file} of {a} and {b} differ");
        }
        for file in RECORDS {
            let read = |run: &str| std::fs::read(self.path(run).join(file)).ok();
            assert!(read(a) == read(b), "{file} of {a} and {b} differ");
        }
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

const TRAIN: &str = "--data toy.hdf5 --env toy --quiet --threads 1 --updates 4000 --ledger --probe reference:every=1500 --set iql.hidden=[32,32] \
    --set offline.checkpoint_every=250 --set offline.eval_every=400 --set offline.log_every=50 \
    --set offline.eval_episodes=40 --evaluate-beside on";
const FINETUNE: &str = "--from offline --adapt baq --quiet --threads 1 --env-steps 3000 --ledger --evaluate-beside on \
    --set baq.model_updates=200 --set baq.model_hidden=[16] --set online.checkpoint_every=250 \
    --set online.eval_every=400 --set online.log_every=50 --set online.eval_episodes=40 \
    --set online.capacity=8000";

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let place = Place::of(4_000);
    place.run(&format!("train {TRAIN} --out offline"));
    place.start_and_end(&format!("train {TRAIN} --out killed"), "killed", "-KILL");
    // What starts from it is told that it is not all there.
    let early = "finetune --from killed --adapt plain --quiet --threads 1 --env-steps 20 --set online.eval_episodes=1 --out early";
    let said = String::from_utf8(place.baq(early).output().unwrap().stderr).unwrap();
    assert!(
        said.starts_with("note: killed: stopped, ")
            && said.contains(" of 4,000 updates; this run starts from what it saved after "),
        "{said}"
    );
    // What a kill in the middle of writing a record leaves besides: its first bytes.
    let ledger = place.path("killed/ledger.bin");
    let torn = std::fs::read(&ledger).unwrap();
    let mut half = torn[torn.len() - 150..].to_vec();
    half.truncate(37);
    std::fs::OpenOptions::new().append(true).open(&ledger).unwrap().write_all(&half).unwrap();
    place.start_and_end("train --resume killed --threads 1 --quiet", "killed", "-KILL");
    place.start_and_end("train --resume killed --threads 1 --quiet", "killed", "-TERM");
    place.run("train --resume killed --threads 1 --quiet");
    place.assert_equal("offline", "killed");
    place.run("audit verify killed --threads 2");

    place.run(&format!("finetune {FINETUNE} --out online"));
    place.start_and_end(&format!("finetune {FINETUNE} --out killed2"), "killed2", "-KILL");
    place.start_and_end("finetune --resume killed2 --threads 1 --quiet", "killed2", "-KILL");
    place.run("finetune --resume killed2 --threads 1 --quiet");
    place.assert_equal("online", "killed2");
    place.run("audit verify killed2 --threads 2");
    assert!(place.path("killed/ledger.bin").exists() && place.path("killed2/ledger.bin").exists());
    assert!(place.path("killed/roundoff.csv").exists());
}

/// Constants that the data gave at the beginning stay, though the model they were computed with moves.
#[test]
fn a_kill_where_the_behaviour_model_follows() {
    let place = Place::of(4_000);
    place.run(&format!("train {TRAIN} --out offline --set offline.eval_episodes=0"));
    let moving = format!("{FINETUNE} --set baq.relax=follow(0.05) --set baq.k_q=auto --set baq.k_rho=auto");
    place.run(&format!("finetune {moving} --out online"));
    place.start_and_end(&format!("finetune {moving} --out killed"), "killed", "-KILL");
    place.start_and_end("finetune --resume killed --threads 1 --quiet", "killed", "-TERM");
    place.run("finetune --resume killed --threads 1 --quiet");
    place.assert_equal("online", "killed");
}

/// A model that is fitted before the first environment step is a phase like the others: killed in its middle, it goes on.
#[test]
fn a_kill_while_a_model_is_fitted() {
    let place = Place::of(4_000);
    place.run(&format!("train {TRAIN} --out offline --set offline.eval_episodes=0"));
    let long = FINETUNE
        .replace("model_updates=200", "model_updates=20000")
        .replace("--env-steps 3000", "--env-steps 200");
    place.run(&format!("finetune {long} --out online"));
    place.start_and_end(&format!("finetune {long} --out killed"), "killed", "-KILL");
    assert!(!place.path("killed/metrics.csv").exists(), "the environment has not been reached");
    place.start_and_end("finetune --resume killed --threads 1 --quiet", "killed", "-TERM");
    place.run("finetune --resume killed --threads 1 --quiet");
    place.assert_equal("online", "killed");
    place.run("audit verify killed");
}

/// So is one that a learner needs before its first round.
#[test]
fn a_kill_while_a_learner_fits_a_model() {
    let place = Place::of(4_000);
    let train = "train --algo spot --data toy.hdf5 --env toy --quiet --threads 1 --updates 200 --ledger --set td3.hidden=[16] \
        --set spot.vae_hidden=[16] --set spot.vae_updates=20000 --set offline.checkpoint_every=250 \
        --set offline.eval_every=100 --set offline.log_every=50 --set offline.eval_episodes=2";
    place.run(&format!("{train} --out whole"));
    place.start_and_end(&format!("{train} --out killed"), "killed", "-KILL");
    assert!(!place.path("killed/metrics.csv").exists(), "the first round has not been reached");
    place.start_and_end("train --resume killed --threads 1 --quiet", "killed", "-TERM");
    place.run("train --resume killed --threads 1 --quiet");
    place.assert_equal("whole", "killed");
    place.run("audit verify killed");
}

/// Residual blocks of decaying weights are carried like other networks.
#[test]
fn a_kill_of_residual_blocks() {
    let place = Place::of(4_000);
    let blocks = "[iql]\nhidden = \"16x16 simba\"\ncritic = { lr = 1e-3, decay = 0.01 }\n";
    std::fs::write(place.path("blocks.toml"), blocks).unwrap();
    let train = TRAIN.replace("--set iql.hidden=[32,32]", "--config blocks.toml");
    place.run(&format!("train {train} --out whole"));
    place.start_and_end(&format!("train {train} --out killed"), "killed", "-KILL");
    place.run("train --resume killed --threads 1 --quiet");
    place.assert_equal("whole", "killed");
    place.run("audit verify killed --threads 2");
}

/// A finished run that is made longer is, byte for byte, the run that was planned so: also where the shorter one ended
/// between two rows of metrics, two evaluations and two checkpoints, and where the extension is killed.
#[test]
fn an_extended_run_is_one_that_was_planned_longer() {
    let place = Place::of(4_000);
    let data = "--data toy.hdf5 --env toy --quiet --threads 1 --set iql.hidden=[16] --set offline.checkpoint_every=200 \
        --set offline.eval_every=300 --set offline.eval_episodes=1 --set offline.log_every=70";
    place.run(&format!("train {data} --updates 750 --out short"));
    place.run("train --resume short --extend offline=1k --quiet --threads 1");
    place.run("train --resume short --extend offline=1_500 --quiet --threads 1");
    place.run(&format!("train {data} --updates 1500 --set offline.schedule_updates=750 --out long"));
    place.assert_equal("short", "long");

    let steps = "--quiet --threads 1 --set online.checkpoint_every=200 --set online.eval_every=300 \
        --set online.eval_episodes=1 --set online.log_every=70";
    let alone =
        format!("train --algo sac --env toy {steps} --set sac.hidden=[16] --set online.random_steps=50");
    let tuned = format!(
        "finetune --from long --adapt baq {steps} --set baq.model_updates=50 --set baq.model_hidden=[8] --set online.capacity=9000"
    );
    for (name, begin, verb) in [("alone", &alone, "train"), ("tuned", &tuned, "finetune")] {
        place.run(&format!("{begin} --env-steps 750 --out {name}"));
        let longer = format!("{verb} --resume {name} --quiet --threads 1 --extend online=3k");
        place.start_and_end(&longer, name, "-KILL");
        place.run(&format!("{verb} --resume {name} --quiet --threads 1"));
        place.run(&format!("{begin} --env-steps 3000 --set online.schedule_steps=750 --out {name}-long"));
        place.assert_equal(name, &format!("{name}-long"));
        // Nothing here depends on the length but what says so.
        let lines = |run: &str| std::fs::read_to_string(place.path(run).join("config.toml")).unwrap();
        assert_eq!(lines(name), lines(&format!("{name}-long")));
    }
    for (args, why) in [
        ("train --resume alone --extend offline=9k", "expected the last phase of the run, online"),
        ("train --resume alone --extend online=1k", "expected at least the 3000"),
        ("train --resume alone --extend online=many", "expected PHASE=LENGTH"),
        ("finetune --resume tuned --extend online=9k", "online.capacity: expected at least"),
    ] {
        let out = place.baq(args).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((out.status.code(), text.contains(why)), (Some(2), true), "{args}: {text}");
    }
    // Refused for its arithmetic, the run is what it was.
    let config = || std::fs::read(place.path("alone/config.toml")).unwrap();
    let before = config();
    let out = place.baq("train --resume alone --extend online=9k --isa portable --quiet").output().unwrap();
    assert!(out.status.code() == Some(2) && config() == before);
}

/// Interrupted within its last step, a run had not been evaluated at its end: made longer, it is the run that was planned so.
#[test]
fn a_run_is_extended_from_within_its_last_step() {
    let place = Place::of(4_000);
    place.run("train --data toy.hdf5 --env toy --quiet --threads 1 --updates 100 --set iql.hidden=[32,32] --out offline");
    let slow = "--from offline --adapt plain --quiet --threads 1 --set online.batch=512 --set online.updates_per_step=1000 --set online.eval_every=2 \
        --set online.log_every=1 --set online.eval_episodes=2";
    let mut child = place.baq(&format!("finetune {slow} --env-steps 3 --out cut")).spawn().unwrap();
    let rows =
        || std::fs::read_to_string(place.path("cut/metrics.csv")).map_or(0, |text| text.lines().count());
    // The heads and two steps: the third one has begun.
    while rows() < 3 {
        assert!(child.try_wait().unwrap().is_none(), "ended before its last step");
        std::thread::sleep(Duration::from_millis(2));
    }
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(3), "ended before it could be interrupted");
    place.run("finetune --resume cut --extend online=5 --threads 1 --quiet");
    place.run(&format!("finetune {slow} --env-steps 5 --set online.schedule_steps=3 --out whole"));
    place.assert_equal("whole", "cut");
}

/// A refresh of a generator is many rounds before one step: killed and interrupted in its middle, it goes on. Under an
/// adaptation that annotates rows and gives them priorities.
#[test]
fn a_kill_while_a_generator_is_refreshed() {
    let place = Place::of(4_000);
    place.run(&format!("train {TRAIN} --out offline --set offline.eval_episodes=0"));
    let tune = FINETUNE.replace("--env-steps 3000", "--env-steps 340").replace("every=250", "every=100");
    let options = format!(
        "{tune} --generator cfdg --set cfdg.every=100 --set cfdg.updates=400 --set cfdg.rows=1200 --set cfdg.steps=4 \
        --set cfdg.hidden=[8,32,32] --set online.batch=90"
    );
    place.run(&format!("finetune {options} --out whole"));
    place.start_and_end(&format!("finetune {options} --out killed"), "killed", "-KILL");
    place.start_and_end("finetune --resume killed --threads 1 --quiet", "killed", "-TERM");
    // Three stages: learning, and draws of 240 and 960 rows in blocks of 240 and 500.
    let refresh = 400 + 1 + 2;
    let bytes = std::fs::read(place.path("killed/checkpoint.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let done = u64::from_le_bytes(file.tensor("generator.rounds").unwrap().data().try_into().unwrap());
    println!("interrupted after {done} rounds, {refresh} a refresh");
    place.start_and_end("finetune --resume killed --threads 1 --quiet", "killed", "-KILL");
    place.run("finetune --resume killed --threads 2 --quiet");
    place.assert_equal("whole", "killed");
    place.run("audit verify killed --threads 2");
    let bytes = std::fs::read(place.path("killed/checkpoint.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let done = u64::from_le_bytes(file.tensor("generator.rounds").unwrap().data().try_into().unwrap());
    assert_eq!(done, 3 * refresh);
    let rows = [0, 1].map(|k| file.tensor(&format!("replay.records.generated{k}")).unwrap().shape()[0]);
    assert_eq!(rows, [240, 960]);
}

/// In a step that makes no other rounds: its row and its evaluation are still to come, after a kill behind them and in a longer
/// plan too.
#[test]
fn a_refresh_that_is_cut_short_leaves_its_step_to_come() {
    let place = Place::of(4_000);
    let data = place.path("toy.hdf5").display().to_string();
    place.run(&format!(
        "train --data {data} --env toy --quiet --threads 1 --updates 100 --set iql.hidden=[16] --out offline"
    ));
    let start = Start { from: place.path("offline"), model: None };
    let tune = |steps: u64, stop: &Stop, name: &str| {
        let sets = [
            "cfdg.every=20",
            "cfdg.updates=400",
            "cfdg.rows=50",
            "cfdg.steps=3",
            "cfdg.hidden=[8,16,16]",
            "online.updates_per_step=0.5",
            "online.log_every=1",
            "online.eval_every=15",
            "online.eval_episodes=2",
            "online.batch=16",
            "online.checkpoint_every=20",
            "online.capacity=9000",
            "online.schedule_steps=21",
            &format!("online.env_steps={steps}"),
        ];
        let sets = sets.map(String::from).into();
        let args = RunArgs { sets, generator: Some("cfdg".into()), ..RunArgs::default() };
        let config = start.configuration(&args, COMMON, "plain").unwrap_or_else(|e| panic!("{e}"));
        start.run(&config, &place.path(name), Manner::new(stop, true)).unwrap_or_else(|e| panic!("{e}"))
    };
    assert_eq!(tune(32, &Stop::default(), "whole"), Ended::Complete);
    // No signal comes as surely within the refresh, which is that of step 21.
    let within = Counters { env_step: 21, generator_rounds: 100, ..Counters::default() };
    for (name, steps, resume) in [
        ("killed", 32, "finetune --resume killed --threads 1 --quiet"),
        ("longer", 21, "finetune --resume longer --threads 1 --quiet --extend online=32"),
    ] {
        assert_eq!(tune(steps, &Stop::there(&within), name), Ended::Interrupted);
        let run = place.path(name);
        let at = Saved::open(&run).and_then(|saved| saved.counters()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((at.env_step, at.generator_rounds), (21, 100));
        let checkpoint = run.join("checkpoint.safetensors");
        let saved = std::fs::read(&checkpoint).unwrap();
        place.run(resume);
        place.assert_equal("whole", name);
        // As after a kill at the end, before the next checkpoint.
        std::fs::write(&checkpoint, &saved).unwrap();
        place.run(&format!("finetune --resume {name} --threads 1 --quiet"));
        place.assert_equal("whole", name);
    }
}

/// Under the methods of the paper.
#[test]
fn a_generator_under_other_adaptations() {
    let place = Place::of(4_000);
    place.run(&format!("train {TRAIN} --out offline --set offline.eval_episodes=0"));
    let small = "--set cql.policy_hidden=[16] --set cql.critic_hidden=[16] --set cql.samples=2";
    place.run(&format!(
        "train --algo cal_ql --data toy.hdf5 --env toy --quiet --threads 1 --updates 100 {small} --out calql \
        --set offline.eval_episodes=0 --set offline.batch=32"
    ));
    place.run(
        "train --algo prdc --data toy.hdf5 --env toy --quiet --threads 1 --updates 100 --set td3.hidden=[16] --out prdc \
        --set offline.eval_episodes=0 --set offline.batch=32",
    );
    let edis = "--quiet --threads 1 --env-steps 130 --set online.eval_episodes=2 --set online.capacity=9000 \
        --generator edis --set edis.every=50 --set edis.updates=30 --set edis.rows=100 --set edis.steps=3 \
        --set edis.hidden=[8,16,16] --set edis.energy_hidden=[16] --set edis.energy_updates=3 --set edis.at_start=true";
    let on_two_threads = |from: &str, adapt: &str, options: &str, name: &str| {
        let begin = format!("finetune --from {from} --adapt {adapt} {options}");
        place.run(&format!("{begin} --out {name}"));
        place.run(&format!("{begin} --out {name}2").replacen("--threads 1", "--threads 2", 1));
        place.assert_equal(name, &format!("{name}2"));
    };
    for from in ["offline", "calql", "prdc"] {
        on_two_threads(from, "plain", edis, &format!("{from}-edis"));
    }
    let out =
        place.baq(&format!("finetune --from offline --adapt baq {edis} --out refused")).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(
        (out.status.code(), text.contains("run.generator: expected one that leaves")),
        (Some(2), true),
        "{text}"
    );
    let options = "--quiet --threads 1 --env-steps 130 --set online.eval_episodes=2 --set online.capacity=9000 \
        --generator cfdg --set cfdg.every=50 --set cfdg.updates=30 --set cfdg.rows=100 --set cfdg.steps=3 \
        --set cfdg.hidden=[8,16,16] --set online.warmup_steps=20";
    for (from, adapt, buffer) in [
        ("offline", "pex", "mix(0.5)"),
        ("offline", "off2on", "append"),
        ("calql", "plain", "concat(0.5)"),
        ("calql", "apl", "append"),
    ] {
        let options = format!("{options} --set online.buffer={buffer}");
        place.run(&format!("finetune --from {from} --adapt {adapt} {options} --out {from}-{adapt}"));
        let metrics = std::fs::read_to_string(place.path(&format!("{from}-{adapt}/metrics.csv"))).unwrap();
        assert!(metrics.lines().next().unwrap().contains("generator_loss"), "{metrics}");
    }
    // PRDC looks for neighbours of generated rows, which are none themselves; also where their weights matter.
    for (adapt, own) in [("plain", ""), ("baq", "--set baq.model_updates=30 --set baq.model_hidden=[8]")] {
        on_two_threads("prdc", adapt, &format!("{options} {own}"), &format!("prdc-{adapt}"));
    }
    let longer = options.replace("--env-steps 130", "--env-steps 1500");
    let begin = format!("finetune --from prdc --adapt plain {longer} --set online.checkpoint_every=250");
    place.run(&format!("{begin} --out prdc-whole"));
    place.start_and_end(&format!("{begin} --out prdc-killed"), "prdc-killed", "-KILL");
    place.run("finetune --resume prdc-killed --threads 2 --quiet");
    place.assert_equal("prdc-whole", "prdc-killed");
}

#[test]
fn a_moving_model_resumes_to_the_same_bytes() {
    // `follow` refreshes annotated columns and priorities of sampled rows: more state to carry.
    let place = Place::of(4_000);
    place.run(&format!("train {TRAIN} --out offline"));
    let options = format!("{FINETUNE} --set baq.relax=follow(0.01)");
    place.run(&format!("finetune {options} --out online"));
    place.start_and_end(&format!("finetune {options} --out killed"), "killed", "-KILL");
    place.run("finetune --resume killed --threads 1 --quiet");
    place.assert_equal("online", "killed");
}

#[test]
fn returns_to_go_are_those_of_finished_episodes() {
    let place = Place::of(4_000);
    let small = "--set cql.policy_hidden=[16] --set cql.critic_hidden=[16] --set cql.samples=2";
    place.run(&format!(
        "train --algo cal_ql --data toy.hdf5 --env toy --quiet --threads 1 --updates 100 {small} --out offline \
        --set offline.eval_episodes=2 --set offline.batch=32"
    ));
    let options = "--from offline --adapt plain --quiet --threads 1 --env-steps 3030 \
        --set online.checkpoint_every=130 --set online.eval_every=400 --set online.log_every=50 \
        --set online.eval_episodes=2 --set online.capacity=8000 --set online.batch=32";
    place.run(&format!("finetune {options} --out online"));
    place.start_and_end(&format!("finetune {options} --out killed"), "killed", "-KILL");
    place.run("finetune --resume killed --threads 1 --quiet");
    place.assert_equal("online", "killed");

    // Records of the toy task: s [3], a [1], r, m, s2 [3], return to go.
    let bytes = std::fs::read(place.path("online").join("checkpoint.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("replay.records").unwrap();
    assert_eq!(view.shape(), [3030, 10]);
    let number = |k: usize| f32::from_le_bytes(view.data()[4 * k..4 * k + 4].try_into().unwrap());
    let row = |i: usize| [4, 5, 9].map(|column| f64::from(number(10 * i + column)));
    let running = (0..3030).rev().take_while(|&i| row(i)[2] == f64::NEG_INFINITY).count();
    assert!((1..100).contains(&running), "{running} rows of the running episode");
    let mut ends = 0;
    for i in 0..3030 - running {
        let [r, m, g] = row(i);
        // Inside an episode the return goes on; at its end, terminated or cut, it is the last reward.
        let goes_on = (g - (r + 0.99 * m * row(i + 1)[2])).abs() < 1e-4;
        assert!(goes_on || g == r, "row {i}: reward {r}, return {g}");
        ends += usize::from(g == r);
    }
    assert!((24..300).contains(&ends), "{ends} episodes in 3030 steps of at most 100");
}

/// Without data; the ring is smaller than the run, so that what is resumed has been overwritten.
const ALONE: &str = "--env toy --quiet --set online.checkpoint_every=250 --set online.eval_every=500 \
    --set online.log_every=50 --set online.eval_episodes=2 --set online.capacity=700 --set online.batch=64";

#[test]
fn learning_without_data_resumes_to_the_same_bytes() {
    let place = Place::of(4_000);
    let sac = format!(
        "train --algo sac {ALONE} --threads 1 --env-steps 4000 --set sac.hidden=[32,32] --set online.warmup_steps=100"
    );
    place.run(&format!("{sac} --out whole"));
    place.start_and_end(&format!("{sac} --out killed"), "killed", "-KILL");
    place.start_and_end("train --resume killed --threads 1 --quiet", "killed", "-KILL");
    place.start_and_end("train --resume killed --threads 1 --quiet", "killed", "-TERM");
    place.run("train --resume killed --threads 1 --quiet");
    place.assert_equal("whole", "killed");
}

#[test]
fn learning_without_data_gives_the_same_bytes_on_any_threads() {
    let place = Place::of(4_000);
    // TD3 also draws its first actions at random.
    for n in [1, 2, 4] {
        place.run(&format!(
            "train --algo td3 {ALONE} --threads {n} --env-steps 160 --set online.random_steps=100 --out t{n}"
        ));
    }
    place.assert_equal("t1", "t2");
    place.assert_equal("t1", "t4");
}

#[test]
fn thread_counts_give_the_same_bytes() {
    let place = Place::of(4_000);
    let train = "train --data toy.hdf5 --env toy --quiet --updates 60 --ledger --set offline.log_every=20 \
        --set offline.eval_every=60 --set offline.eval_episodes=2";
    let finetune = "finetune --from t1 --adapt baq --quiet --env-steps 60 --ledger --set baq.model_updates=20 \
        --set online.log_every=20 --set online.eval_every=30 --set online.eval_episodes=2 --set online.capacity=8000";
    for n in [1, 2, 4] {
        place.run(&format!("{train} --threads {n} --out t{n}"));
    }
    place.assert_equal("t1", "t2");
    place.assert_equal("t1", "t4");
    for n in [1, 2, 4] {
        place.run(&format!("{finetune} --threads {n} --out f{n}"));
    }
    place.assert_equal("f1", "f2");
    place.assert_equal("f1", "f4");
    // A moving model: every round writes annotated columns and the sum tree, from which the next one draws.
    let follow = "--set baq.relax=follow(0.1) --set online.checkpoint_every=7";
    for n in [1, 2, 4] {
        place.run(&format!("{finetune} {follow} --threads {n} --out g{n}"));
    }
    place.assert_equal("g1", "g2");
    place.assert_equal("g1", "g4");
    let still = std::fs::read(place.path("f1/metrics.csv")).unwrap();
    assert!(still != std::fs::read(place.path("g1/metrics.csv")).unwrap(), "the model stands still");
}
