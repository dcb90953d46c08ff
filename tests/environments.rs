//! Environments against recordings of Gymnasium, and against their own promises.
//!
//! Without MuJoCo these tests fail and say how to get it; `BAQ_NO_MUJOCO=1` skips those that need
//! it, saying so. One long file, because all tests share the few functions at its top.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use baq::env::recording::{self, Report};
use baq::env::{self, Env, EnvError, mujoco};
use baq_datasets::{Ending, Flags};
use common::program::succeed;
use common::{Numbers, say, without_mujoco};

/// MuJoCo, or `None` when its absence is wanted.
fn simulator(test: &str) -> Option<&'static mujoco::MuJoCo> {
    if without_mujoco(test) {
        return None;
    }
    match mujoco::library() {
        Ok(library) => Some(library),
        Err(e) => panic!("{e} (or skip these tests: BAQ_NO_MUJOCO=1)"),
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// By tests/golden/env_fixture.py, or a forerunner of it.
const RECORDINGS: [&str; 16] = [
    "env-ant-v4",
    "env-ant-v5",
    "env-humanoid-v4",
    "env-humanoid-v5",
    "env-invertedpendulum-v4",
    "env-invertedpendulum-v5",
    "env-reacher-v4",
    "env-reacher-v5",
    "env-swimmer-v4",
    "env-swimmer-v5",
    "env-halfcheetah-v4",
    "env-halfcheetah-v5",
    "env-hopper-v4",
    "env-hopper-v5",
    "env-walker2d-v4",
    "env-walker2d-v5",
];

/// A reproducible action of large swings, [A] in [-1, 1].
fn action(t: usize, dim: usize) -> Vec<f32> {
    (0..dim).map(|i| ((t * (i + 2)) as f32 * 0.37).sin()).collect()
}

/// Observations and rewards, as bits, of `count` steps; a new episode after every end.
fn run(env: &mut dyn Env, from: usize, count: usize, bits: &mut Vec<u64>) {
    let mut obs = vec![0.0; env.obs_dim()];
    for t in from..from + count {
        let step = env.step(&action(t, env.act_dim()), &mut obs).unwrap();
        bits.extend(obs.iter().map(|x| x.to_bits()));
        bits.push(step.reward.to_bits());
        bits.push(u64::from(step.terminated) + 2 * u64::from(step.truncated));
        if step.ended() {
            env.reset(5, t as u64, &mut obs);
            bits.extend(obs.iter().map(|x| x.to_bits()));
        }
    }
}

fn usable_ids(test: &str) -> Vec<&'static str> {
    let simulator = simulator(test).is_some();
    env::ids().filter(|id| simulator || !env::spec(id).unwrap().needs_mujoco()).collect()
}

#[test]
fn recordings_of_gymnasium_are_reproduced() {
    let Some(mujoco) = simulator("recordings_of_gymnasium_are_reproduced") else {
        return;
    };
    for name in RECORDINGS {
        let report = recording::replay(&golden(&format!("{name}.safetensors"))).unwrap();
        println!("{}", report.verdict());
        assert!(report.steps >= 40, "{report}");
        if report.recorded_with.as_deref() != Some(report.mujoco.as_str()) {
            say(&format!("SKIPPED {name}: it needs MuJoCo 3.3.7, this is {mujoco}"));
            continue;
        }
        assert!(report.passed, "{report}");
        // Same library, same arithmetic: not merely close.
        for (quantity, worst) in report.quantities.iter() {
            assert_eq!(worst.difference, 0.0, "{name} {quantity}");
        }
    }
}

/// Gymnasium plays episodes to their ends while the test runs, some with actions in f32.
#[test]
fn episodes_of_a_live_gymnasium_are_reproduced() {
    let Some(mujoco) = simulator("episodes_of_a_live_gymnasium_are_reproduced") else {
        return;
    };
    if mujoco.release() != "3.3.7" {
        return say(&format!(
            "SKIPPED episodes_of_a_live_gymnasium: it needs MuJoCo 3.3.7, this is {mujoco}"
        ));
    }
    const PACKAGES: &[&str] =
        &["gymnasium==1.4.0", "mujoco==3.3.7", "numpy==2.4.6", "safetensors", "imageio", "packaging"];
    let place = common::place::folder("live-gymnasium");
    for (task, steps) in [
        ("Ant-v4", "1300"),
        ("Ant-v5", "600:f32"),
        ("Humanoid-v4", "200:f32"),
        ("Humanoid-v5", "200"),
        ("Swimmer-v5", "1300:f32"),
        ("Reacher-v4", "300:f32"),
        ("Reacher-v5", "300"),
        ("InvertedPendulum-v5", "300:f32"),
        ("HalfCheetah-v5", "1300:f32"),
        ("Hopper-v4", "300:f32"),
    ] {
        let status = common::python::python(PACKAGES)
            .arg(golden("env_fixture.py"))
            .arg(&place)
            .arg(format!("{task}:{steps}"))
            .status()
            .unwrap();
        assert!(status.success(), "{task}");
        let file = place.join(format!("env-{}.safetensors", task.to_lowercase()));
        let report = recording::replay(&file).unwrap();
        for (quantity, worst) in report.quantities.iter() {
            assert_eq!(worst.difference, 0.0, "{task} {quantity}: {report}");
        }
        assert!(report.passed, "{report}");
    }
}

/// The state of a task whose measure lags behind its positions holds that measure too.
#[test]
fn the_state_needs_what_the_next_reward_looks_back_at() {
    if simulator("the_state_needs_what_the_next_reward_looks_back_at").is_none() {
        return;
    }
    for id in ["ant-v4", "humanoid-v5", "reacher-v4"] {
        let mut env = env::make(id).unwrap();
        let mut obs = vec![0.0; env.obs_dim()];
        run(env.as_mut(), 0, 10, &mut Vec::new());
        let mut state = env.state();
        let act = action(10, env.act_dim());
        let step = env.step(&act, &mut obs).unwrap();
        *state.last_mut().unwrap() += 0.5;
        env.set_state(&state).unwrap();
        assert_ne!(env.step(&act, &mut obs).unwrap().reward, step.reward, "{id}");
    }
}

/// Actions lie in [-1, 1] whatever the model's controls are; the simulator cuts the controls there.
#[test]
fn an_action_of_one_is_the_largest_control() {
    if simulator("an_action_of_one_is_the_largest_control").is_none() {
        return;
    }
    let after = |id: &str, action: f32| {
        let mut env = env::make(id).unwrap();
        let mut obs = vec![0.0; env.obs_dim()];
        env.reset(1, 0, &mut obs);
        env.step(&vec![action; env.act_dim()], &mut obs).unwrap();
        obs
    };
    for id in ["humanoid-v4", "invertedpendulum-v5"] {
        assert_eq!(after(id, 1.5), after(id, 1.0), "{id}");
        assert_ne!(after(id, 0.9), after(id, 1.0), "{id}");
    }
}

#[test]
fn the_goals_of_reacher_fill_a_disc() {
    if simulator("the_goals_of_reacher_fill_a_disc").is_none() {
        return;
    }
    let mut env = env::make("reacher-v4").unwrap();
    let mut obs = vec![0.0; 11];
    let (mut inner, mut farthest) = (0, 0.0_f64);
    for episode in 0..1000 {
        env.reset(3, episode, &mut obs);
        let distance = obs[4].hypot(obs[5]);
        farthest = farthest.max(distance);
        inner += usize::from(distance < 0.1);
        // Where the tip is seen from the goal, by the arm's angles.
        let tip = |i: usize| [obs[i], obs[i + 2]];
        let ([c0, s0], [c1, s1]) = (tip(0), tip(1));
        let (x, y) = (0.1 * c0 + 0.11 * (c0 * c1 - s0 * s1), 0.1 * s0 + 0.11 * (s0 * c1 + c0 * s1));
        assert!((x - obs[4] - obs[8]).abs() < 1e-12 && (y - obs[5] - obs[9]).abs() < 1e-12);
    }
    // A quarter of the area; five standard errors.
    assert!(farthest < 0.2 && farthest > 0.195, "{farthest}");
    assert!((inner as f64 - 250.0).abs() < 70.0, "{inner}");
}

/// What comes of a recording of Hopper in which one number is changed, `t.safetensors`.
fn changed(key: &str, index: usize, change: &dyn Fn(&mut [u8])) -> Result<Report, EnvError> {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(golden("env-hopper-v4.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let size = if json[key]["dtype"] == "U8" { 1 } else { 8 };
    let start = json[key]["data_offsets"][0].as_u64().unwrap() as usize;
    let at = 8 + header + start + size * index;
    change(&mut bytes[at..at + size]);
    let file = folder.path().join("t.safetensors");
    fs::write(&file, bytes).unwrap();
    fs::copy(golden("env-hopper-v4.json"), folder.path().join("t.json")).unwrap();
    recording::replay(&file)
}

#[test]
fn a_recording_of_numbers_that_are_not_finite_is_refused_by_its_key() {
    for (key, index, value) in [("qpos", 0, f64::NAN), ("qvel", 2, f64::INFINITY), ("actions", 4, f64::NAN)] {
        let set = |bytes: &mut [u8]| bytes.copy_from_slice(&value.to_le_bytes());
        let refused = changed(&format!("segment.1.{key}"), index, &set).unwrap_err();
        assert!(matches!(refused, EnvError::Recording { .. }), "{refused}");
        let expected = format!(
            "t.safetensors: key segment.1.{key} holds {value} at index {index}, expected finite numbers"
        );
        assert!(refused.to_string().ends_with(&expected), "{refused}");
    }
}

#[test]
fn an_unstable_replay_says_where_it_is() {
    if simulator("an_unstable_replay_says_where_it_is").is_none() {
        return;
    }
    let huge = |bytes: &mut [u8]| bytes.copy_from_slice(&1e12_f64.to_le_bytes());
    let unstable = changed("segment.1.qvel", 0, &huge).unwrap_err();
    assert!(matches!(unstable, EnvError::Unstable { .. }), "{unstable}");
    assert!(unstable.to_string().contains("(segment 1, step 1 of the recording: "), "{unstable}");
}

#[test]
fn a_replay_finds_a_single_wrong_number() {
    if simulator("a_replay_finds_a_single_wrong_number").is_none() {
        return;
    }
    let change = |key: &str, index: usize, change: &dyn Fn(&mut [u8])| changed(key, index, change).unwrap();
    let add = |delta: f64| {
        move |b: &mut [u8]| {
            let x = f64::from_le_bytes((&*b).try_into().unwrap());
            b.copy_from_slice(&(x + delta).to_le_bytes());
        }
    };
    let untouched = change("segment.2.rewards", 3, &|_| {});

    let report = change("segment.2.rewards", 3, &add(2e-9));
    assert!(!report.passed && report.quantities["positions"] == untouched.quantities["positions"]);
    assert!((report.quantities["rewards"].difference - 2e-9).abs() < 1e-12);
    assert_eq!((report.quantities["rewards"].segment, report.quantities["rewards"].step), (2, 4));

    // S = 11, 5 positions: row 1, component 5 is a velocity.
    let report = change("segment.1.observations", 11 + 5, &add(f64::NAN));
    assert_eq!(report.quantities["velocities"].difference, f64::INFINITY);
    assert_eq!((report.quantities["velocities"].segment, report.quantities["velocities"].step), (1, 1));
    assert!(!report.passed && report.verdict().contains("DIFFERS"));

    let report = change("segment.4.terminated", 0, &|b| b[0] ^= 1);
    assert_eq!(report.termination_mismatches, 1);
    assert_eq!(report.first_mismatch, Some((4, 1)));
    assert!(!report.passed);

    // A slightly different start must not go unnoticed either.
    let report = change("segment.0.qpos", 1, &add(1e-6));
    assert!(report.quantities["positions"].difference >= 1e-7 && !report.passed);
}

#[test]
fn a_wrong_recording_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.safetensors");
    let beside = folder.path().join("t.json");
    let complain = |expected: &str| {
        let error = recording::replay(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    complain("cannot be read");
    fs::write(&file, "no").unwrap();
    complain("is not a safetensors file");
    fs::copy(golden("env-hopper-v4.safetensors"), &file).unwrap();
    complain("t.json");
    fs::write(&beside, "{").unwrap();
    complain("is not JSON");
    fs::write(&beside, "{}").unwrap();
    complain("key \"env\" is missing");
    fs::write(&beside, r#"{"env": "toy"}"#).unwrap();
    complain("toy runs on no simulator");
    fs::write(&beside, r#"{"env": "Hoper-v4"}"#).unwrap();
    complain("did you mean \"hopper-v4\"");
    fs::write(&beside, r#"{"env": "Hopper-v4", "segments": 3}"#).unwrap();
    complain("holds 39 segments, its JSON says 3");
    for (key, value) in [("segments", r#""3""#), ("frame_skip", "5.0")] {
        fs::write(&beside, format!(r#"{{"env": "Hopper-v4", "{key}": {value}}}"#)).unwrap();
        complain(&format!("key \"{key}\": expected a whole number, got {value}"));
    }
    // A file starts no program.
    let started = folder.path().join("started");
    fs::write(&beside, format!(r#"{{"env": "process:touch {}"}}"#, started.display())).unwrap();
    complain("runs on no simulator");
    assert!(!started.exists());
    fs::write(&beside, r#"{"env": "Walker2d-v4"}"#).unwrap();
    complain("segment.0.qpos has shape [6], expected [9]");
}

#[test]
fn a_saved_state_continues_to_the_last_bit() {
    for id in usable_ids("a_saved_state_continues_to_the_last_bit") {
        let mut env = env::make(id).unwrap();
        let mut other = env::make(id).unwrap();
        env.reset(3, 1, &mut vec![0.0; env.obs_dim()]);
        run(env.as_mut(), 0, 137, &mut Vec::new());
        let state = env.state();

        // Into another instance with a different past, and back into the same one.
        run(other.as_mut(), 9, 40, &mut Vec::new());
        other.set_state(&state).unwrap();
        assert_eq!(other.state(), state, "{id}");
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        run(env.as_mut(), 137, 200, &mut a);
        run(other.as_mut(), 137, 200, &mut b);
        env.set_state(&state).unwrap();
        run(env.as_mut(), 137, 200, &mut c);
        assert!(a == b && a == c, "{id}");
    }
}

/// Shows that the test above can fail: without the solver's memory some steps differ.
#[test]
fn the_state_needs_the_memory_of_the_solver() {
    if simulator("the_state_needs_the_memory_of_the_solver").is_none() {
        return;
    }
    let mut env = env::make("walker2d-v4").unwrap();
    let mut obs = vec![0.0; 17];
    let differing = (0..100)
        .filter(|&t| {
            let state = env.state();
            let mut without = state.clone();
            // steps, time, 9 positions, 9 velocities, then the warm start.
            without[20..29].fill(0.0);
            env.set_state(&without).unwrap();
            env.step(&action(t, 6), &mut obs).unwrap();
            let forgetful = obs.clone();
            env.set_state(&state).unwrap();
            env.step(&action(t, 6), &mut obs).unwrap();
            obs != forgetful
        })
        .count();
    assert!(differing > 0);
}

#[test]
fn the_step_counter_is_part_of_the_state() {
    for id in usable_ids("the_step_counter_is_part_of_the_state") {
        let mut env = env::make(id).unwrap();
        let mut obs = vec![0.0; env.obs_dim()];
        let limit = env.spec().max_episode_steps;
        let still = vec![0.0; env.act_dim()];
        env.reset(0, 0, &mut obs);
        env.step(&still, &mut obs).unwrap();
        let state = env.state();
        for _ in 0..2 {
            env.set_state(&state).unwrap();
            for t in 2..=limit {
                // A fallen robot is simulated on: only the clock matters here.
                let step = env.step(&still, &mut obs).unwrap();
                assert_eq!(step.truncated, t == limit, "{id} at {t}");
            }
        }
        env.reset(0, 1, &mut obs);
        assert!(!env.step(&still, &mut obs).unwrap().truncated, "{id}");
    }
}

#[test]
fn wrong_states_are_refused_and_change_nothing() {
    for id in usable_ids("wrong_states_are_refused_and_change_nothing") {
        let mut env = env::make(id).unwrap();
        let state = env.state();
        let mut nan = state.clone();
        nan[2] = f64::NAN;
        for wrong in [&state[1..], &nan[..]] {
            let error = env.set_state(wrong).unwrap_err();
            assert!(matches!(error, EnvError::State { .. }), "{error}");
            assert!(error.to_string().starts_with(id), "{error}");
        }
        assert_eq!(env.state(), state);
    }
}

#[test]
fn an_action_that_is_not_finite_is_refused_before_anything_moves() {
    for id in usable_ids("an_action_that_is_not_finite_is_refused_before_anything_moves") {
        let mut env = env::make(id).unwrap();
        let mut obs = vec![0.0; env.obs_dim()];
        env.reset(1, 1, &mut obs);
        let before = env.state();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut action = vec![0.0; env.act_dim()];
            *action.last_mut().unwrap() = bad;
            let error = env.step(&action, &mut obs).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{id}: action[")), "{error}");
            assert_eq!(env.state(), before);
        }
    }
}

#[test]
fn a_simulation_that_blows_up_is_an_error_and_not_a_silent_restart() {
    if simulator("a_simulation_that_blows_up_is_an_error_and_not_a_silent_restart").is_none() {
        return;
    }
    let mut env = env::make("halfcheetah-v4").unwrap();
    let mut obs = vec![0.0; 17];
    run(env.as_mut(), 0, 20, &mut Vec::new());
    let good = env.state();
    // In the first step of an episode the clock alone would not show it.
    env.reset(3, 0, &mut obs);
    let begun = env.state();
    for start in [&good, &good, &begun] {
        let mut state = start.clone();
        state[11] = 1e12; // a velocity beyond what MuJoCo accepts
        env.set_state(&state).unwrap();
        let error = env.step(&[0.0; 6], &mut obs).unwrap_err().to_string();
        assert!(error.contains("unstable"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    env.set_state(&good).unwrap();
    env.step(&[0.0; 6], &mut obs).unwrap();
    assert!(!Path::new("MUJOCO_LOG.TXT").exists());
}

#[test]
fn resets_depend_on_seed_and_episode_only() {
    for id in usable_ids("resets_depend_on_seed_and_episode_only") {
        let mut env = env::make(id).unwrap();
        let mut first = vec![0.0; env.obs_dim()];
        let mut again = first.clone();
        env.reset(11, 3, &mut first);
        run(env.as_mut(), 0, 60, &mut Vec::new());
        env.reset(11, 3, &mut again);
        assert_eq!(first, again, "{id}");
        for (seed, episode) in [(11, 4), (12, 3), (11, 1 << 40)] {
            env.reset(seed, episode, &mut again);
            assert_ne!(first, again, "{id}");
        }
    }
}

#[test]
fn the_reset_noise_has_the_published_range() {
    if simulator("the_reset_noise_has_the_published_range").is_none() {
        return;
    }
    // id, height at rest, uniform range of positions, of velocities (None: normal, deviation 0.1)
    for (id, height, positions, velocities) in [
        ("hopper-v4", 1.25, 5e-3, Some(5e-3)),
        ("walker2d-v5", 1.25, 5e-3, Some(5e-3)),
        ("halfcheetah-v2", 0.0, 0.1, None),
        ("invertedpendulum-v5", 0.0, 1e-2, Some(1e-2)),
    ] {
        let mut env = env::make(id).unwrap();
        let mut obs = vec![0.0; env.obs_dim()];
        let split = env.obs_dim() / 2;
        let (mut largest, mut sum, mut squares, mut fastest) = (0.0_f64, 0.0, 0.0, 0.0_f64);
        let episodes = 400;
        for episode in 0..episodes {
            env.reset(1, episode, &mut obs);
            obs[0] -= height;
            for &x in &obs[..split] {
                largest = largest.max(x.abs());
                sum += x;
            }
            for &v in &obs[split..] {
                squares += v * v;
                fastest = fastest.max(v.abs());
            }
        }
        let count = episodes as f64 * split as f64;
        assert!(largest <= positions * (1.0 + 1e-9), "{id} {largest}");
        assert!(largest > 0.98 * positions, "{id} {largest}");
        // Five standard errors of the mean of a uniform variable.
        assert!(sum.abs() / count < 5.0 * positions / (3.0 * count).sqrt(), "{id}");
        let speeds = env.obs_dim() - split;
        let deviation = (squares / (episodes as f64 * speeds as f64)).sqrt();
        let expected = velocities.map_or(0.1, |range| range / 3.0_f64.sqrt());
        assert!((deviation / expected - 1.0).abs() < 0.1, "{id} {deviation}");
        match velocities {
            Some(range) => assert!(fastest <= range, "{id} {fastest}"),
            None => assert!(fastest > 0.25, "{id}: a normal variable has tails"),
        }
    }
}

#[test]
fn generations_treat_excessive_actions_as_documented() {
    if simulator("generations_treat_excessive_actions_as_documented").is_none() {
        return;
    }
    let reward = |id: &str, a: f32| {
        let mut env = env::make(id).unwrap();
        let mut obs = vec![0.0; env.obs_dim()];
        env.reset(2, 0, &mut obs);
        let step = env.step(&vec![a; env.act_dim()], &mut obs).unwrap();
        (step.reward, obs)
    };
    for (task, weight, dim) in [("halfcheetah", 0.1, 6.0), ("hopper", 1e-3, 3.0)] {
        let (v2, v4, v5) = (format!("{task}-v2"), format!("{task}-v4"), format!("{task}-v5"));
        assert_eq!(reward(&v2, 2.0), reward(&v2, 1.0));
        assert_eq!(reward(&v2, 0.5), reward(&v4, 0.5));
        assert_eq!(reward(&v4, 2.0), reward(&v5, 2.0));
        let (charged, moved) = reward(&v4, 2.0);
        let (normal, same) = reward(&v4, 1.0);
        assert_eq!(moved, same, "the motors are cut in every generation");
        assert!((normal - charged - weight * dim * 3.0).abs() < 1e-12);
    }
}

#[test]
fn only_v5_withholds_the_healthy_reward_at_the_fall() {
    if simulator("only_v5_withholds_the_healthy_reward_at_the_fall").is_none() {
        return;
    }
    let last = |id: &str| {
        let mut env = env::make(id).unwrap();
        let mut obs = vec![0.0; 11];
        env.reset(2, 0, &mut obs);
        (0..).map(|t| env.step(&action(t, 3), &mut obs).unwrap()).find(|step| step.ended()).unwrap()
    };
    let (v2, v4, v5) = (last("hopper-v2"), last("hopper-v4"), last("hopper-v5"));
    assert!(v2.terminated && !v2.truncated);
    assert_eq!(v2, v4);
    assert!((v4.reward - v5.reward - 1.0).abs() < 1e-12);
}

#[test]
fn threads_share_a_model_without_changing_a_bit() {
    if simulator("threads_share_a_model_without_changing_a_bit").is_none() {
        return;
    }
    let roll = |seed: u64| {
        let mut env = env::make("walker2d-v5").unwrap();
        let mut obs = vec![0.0; 17];
        env.reset(seed, 0, &mut obs);
        let mut bits = Vec::new();
        run(env.as_mut(), seed as usize, 150, &mut bits);
        bits
    };
    let alone: Vec<_> = (0..4).map(roll).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || roll(seed))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert_ne!(alone[0], alone[1]);
}

/// SAC in every task's last version: stopped and gone on with to equal bytes; and its evaluation, episodes side by side as one by one.
#[test]
fn learning_goes_on_and_is_evaluated_to_the_same_bits() {
    let place = common::place::folder("environments-runs");
    let sets = "--set sac.hidden=[16] --set online.batch=16 --set online.random_steps=30 --set online.warmup_steps=30 \
         --set online.eval_episodes=2 --set online.eval_every=100 --set online.log_every=50 --set online.checkpoint_every=70 \
         --set online.capacity=2000";
    let ids = usable_ids("learning_goes_on_and_is_evaluated_to_the_same_bits");
    for id in ids.into_iter().filter(|id| !id.ends_with("-v2") && !id.ends_with("-v4")) {
        let train = |steps: u32, out: &str| {
            succeed(
                &place,
                &format!(
                    "train --algo sac --env {id} --env-steps {steps} {sets} --threads 1 --quiet --out {out}"
                ),
            );
        };
        let (whole, parts) = (format!("{id}-whole"), format!("{id}-parts"));
        train(200, &whole);
        train(110, &parts);
        succeed(&place, &format!("train --resume {parts} --extend online=200 --threads 2 --quiet"));
        for file in ["metrics.csv", "evaluations.csv"] {
            let read = |run: &str| fs::read_to_string(place.join(run).join(file)).unwrap();
            assert_eq!(read(&whole), read(&parts), "{id} {file}");
        }
        let evaluated = |threads| {
            succeed(&place, &format!("evaluate --from {whole} --episodes 3 --json --threads {threads}"))
        };
        assert_eq!(evaluated(1), evaluated(3), "{id}");
    }
}

#[test]
fn properties_need_no_simulator_and_fit_it() {
    assert_eq!(env::spec("Hopper-v4").unwrap(), env::spec("hopper").unwrap());
    let spec = env::spec("HALFCHEETAH").unwrap();
    assert_eq!((spec.id, spec.obs_dim, spec.act_dim), ("halfcheetah-v4", 17, 6));
    assert_eq!(env::spec("walker2d-v2").unwrap().score, Some("walker2d"));
    assert_eq!(env::spec("toy").unwrap().max_episode_steps, 100);
    assert_eq!(env::ids().count(), 21);
    for id in usable_ids("properties_need_no_simulator_and_fit_it") {
        let env = env::make(id).unwrap();
        assert_eq!(env.spec(), env::spec(id).unwrap());
    }
}

#[test]
fn an_unknown_id_is_answered_with_the_nearest() {
    for (wrong, nearest) in [
        ("hoper-v4", "hopper-v4"),
        ("HalfCheeta-v5", "halfcheetah-v5"),
        ("walker-v2", "walker2d-v2"),
        ("tyo", "toy"),
        ("Hoper", "hopper-v4"),
    ] {
        let error = env::spec(wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("did you mean \"{nearest}\"")), "{error}");
        assert!(env::make(wrong).is_err());
    }
}

#[test]
fn toy_can_be_solved_and_can_be_lost() {
    let mut env = env::make("toy").unwrap();
    let mut obs = vec![0.0; 3];
    let mut x = Numbers(3);
    // Returns that its page states, under control, without a force and with a random one; how many of the last end early.
    let (mut returns, mut fallen) = ([0.0; 3], 0);
    let episodes = 4000;
    for episode in 0..episodes {
        for (who, total) in returns.iter_mut().enumerate() {
            env.reset(0, episode, &mut obs);
            loop {
                let a = [4.0 * obs[2] - 2.0 * obs[1], 0.0, x.unit()][who];
                let step = env.step(&[a as f32], &mut obs).unwrap();
                *total += step.reward / episodes as f64;
                if step.ended() {
                    assert!(step.truncated || who == 2);
                    fallen += usize::from(!step.truncated);
                    break;
                }
            }
        }
    }
    for (mean, stated) in returns.iter().zip([94.0, 35.0, 29.0]) {
        assert!((mean - stated).abs() < 1.0, "{returns:?}");
    }
    assert!((fallen as f64 / episodes as f64 - 1.0 / 8.0).abs() < 0.03, "{fallen} of {episodes}");

    env.reset(0, 0, &mut obs);
    let lost = (0..100).map(|_| env.step(&[1.0], &mut obs).unwrap()).find(|step| step.ended()).unwrap();
    assert!(lost.terminated && !lost.truncated && lost.ending().m() == 0.0);
}

#[test]
fn both_flags_on_the_last_step_count_as_truncated() {
    let mut env = env::make("toy").unwrap();
    let mut obs = vec![0.0; 3];
    // steps, x, v, goal: one step before the limit, one step before the edge.
    env.set_state(&[99.0, 1.99, 1.0, 0.0]).unwrap();
    let step = env.step(&[1.0], &mut obs).unwrap();
    assert!(step.terminated && step.truncated && step.ended());
    assert_eq!((step.ending(), step.ending().m()), (Ending::Truncated, 1.0));
    // A file that says the same says something else: there `terminals` is set by the task alone.
    assert_eq!(Ending::of(true, true, Flags::Recorded), Ending::Terminated);
}
