//! Policies that leave: other programs act as this one does.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use baq::algo::Dims;
use baq::autodiff::{Clock, Noise, NoiseKind, Program, Select, Trace, Workspace};
use baq::config::{Exploration, MujocoConfig, OnlineConfig};
use baq::export::{numpy, onnx};
use baq::replay;
use baq::train::agent::Agent;
use baq::train::data::Scales;
use baq::train::policy::Restored;
use baq_datasets::scale::{ObservationScale, RewardScale};
use common::place::folder;
use common::{Numbers, SIMBA, SMALL, agent, methods};
use serde_json::json;

const DIMS: Dims = Dims { s: 3, a: 2, batch: 4 };
const STATES: usize = 64;

/// Every FILE.json says what FILE.onnx, and where there is one FILE.npz, are to give.
const COMPARE: &str = r#"
import json, pathlib, sys
import numpy as np, onnxruntime
exec(open(sys.argv[2]).read())
worst = {"onnx": 0.0, "npz": 0.0}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    case = json.load(open(path))
    given = {k: np.array(v, dtype=np.float32) for k, v in case["inputs"].items()}
    want = np.array(case["action"], dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path.with_suffix(".onnx")), providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    assert names == set(given), f"{path.stem}: inputs {names}"
    got = {"onnx": session.run(["action"], given)[0]}
    if path.with_suffix(".npz").exists():
        got["npz"] = act(load(path.with_suffix(".npz")), given["observation"])
    for kind, action in got.items():
        assert action.shape == want.shape, f"{path.stem}: shape {action.shape}"
        far = np.abs(action - want).max()
        assert far < 1e-5, f"{path.stem}: {kind} differs by {far}: {action[:2]} {want[:2]}"
        worst[kind] = max(worst[kind], far)
    assert want.std() > 1e-3, f"{path.stem}: all actions are equal"
print(worst)
"#;

fn compare(folder: &Path) {
    let snippet = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export/snippet.py");
    println!("{}", common::python::check(&["onnxruntime", "numpy"], COMPARE, &[folder, &snippet]));
}

/// A policy of random parameters, so that nothing is nearly zero.
fn policy(algo: &str, adapt: &str, sets: &[&str]) -> Restored {
    let mut x = Numbers(5);
    let mut agent = agent(algo, adapt, DIMS, sets);
    for tensor in &mut agent.store.values {
        tensor.iter_mut().for_each(|v| *v += 0.4 * x.unit() as f32);
    }
    let mut numbers = |n: usize, around: f32| (0..n).map(|_| around + 0.5 * x.unit() as f32).collect();
    Restored {
        file: "memory".into(),
        algo: algo.into(),
        adapt: adapt.into(),
        method: format!("{algo} with {adapt}"),
        online: true,
        agent,
        scales: Scales {
            observation: ObservationScale { mean: numbers(DIMS.s, 0.3), std: numbers(DIMS.s, 1.0) },
            reward: RewardScale { scale: 1.0, shift: 0.0 },
            action: None,
        },
        counters: Default::default(),
        update: 0,
        options: OnlineConfig::default(),
        env: "toy".into(),
        simulator: MujocoConfig::default(),
    }
}

/// States, what is drawn, and the actions of the engine.
fn case(policy: &mut Restored) -> serde_json::Value {
    let mut x = Numbers(6);
    let trace = policy.agent.acting_trace(STATES, Exploration::Greedy, &policy.options);
    let noise: Vec<Vec<f32>> = trace
        .noises
        .iter()
        .map(|n| {
            let mut draw = || match n.kind {
                NoiseKind::Normal => x.unit() as f32 * 2.0,
                NoiseKind::Uniform => x.unit() as f32 * 0.5 + 0.5,
                NoiseKind::Subset { of } | NoiseKind::Choices { of } => x.below(of) as f32,
            };
            (0..n.shape.len()).map(|_| draw()).collect()
        })
        .collect();
    let states: Vec<f32> = (0..STATES * DIMS.s).map(|_| 2.0 * x.unit() as f32).collect();
    let action = act(&mut policy.agent, &trace, &policy.scales, &states, &noise);
    let mut inputs = json!({ "observation": nested(&states, &[STATES, DIMS.s]) });
    for (k, (spec, numbers)) in trace.noises.iter().zip(&noise).enumerate() {
        inputs[format!("noise{k}.{}", spec.name)] = nested(numbers, &spec.shape.dims());
    }
    json!({ "inputs": inputs, "action": nested(&action, &[STATES, DIMS.a]) })
}

fn act(agent: &mut Agent, trace: &Trace, scales: &Scales, states: &[f32], noise: &[Vec<f32>]) -> Vec<f32> {
    let program = Program::compile(trace, Select::ALL);
    let mut workspace = Workspace::new(&program);
    let mut scaled = states.to_vec();
    scales.observation.apply(&mut scaled);
    workspace.input_mut(&program, replay::S).expect("a policy reads the state").copy_from_slice(&scaled);
    program.run(&mut workspace, &mut agent.store, Clock::default(), Noise::Recorded(noise));
    workspace.output(&program, "action").to_vec()
}

/// Numbers as nested arrays.
fn nested(x: &[f32], dims: &[usize]) -> serde_json::Value {
    match dims {
        [] | [_] => json!(x),
        [n, rest @ ..] => x.chunks_exact(x.len() / n).map(|part| nested(part, rest)).collect(),
    }
}

#[test]
fn every_method_acts_the_same_in_another_runtime() {
    let folder = folder("export-onnx");
    let plain = methods().map(|(algo, adapt)| (algo, adapt, "layers", &SMALL));
    let blocks = methods().map(|(algo, adapt)| (algo, adapt, "blocks", &SIMBA));
    for (algo, adapt, networks, sets) in plain.chain(blocks) {
        let mut policy = policy(algo, adapt, sets);
        let file = |ending: &str| folder.join(format!("{algo}-{adapt}-{networks}.{ending}"));
        fs::write(file("onnx"), onnx::file(&policy).unwrap_or_else(|e| panic!("{e}"))).unwrap();
        if adapt == "plain" && ["bc", "iql", "td3", "td3_bc", "sac", "cql", "awac", "cal_ql"].contains(&algo)
        {
            fs::write(file("npz"), numpy::file(&policy).unwrap()).unwrap();
        }
        // What the program for these arrays would not compute is refused.
        if adapt == "pex" || ["emaq", "fql", "famo2o"].contains(&algo) {
            let refused = numpy::file(&policy).unwrap_err().to_string();
            assert!(refused.contains("to act; give --format onnx"), "{algo} {adapt}: {refused}");
        }
        fs::write(file("json"), case(&mut policy).to_string()).unwrap();
    }
    compare(&folder);
}

fn baq(place: &Path, line: &str, input: &str) -> std::process::Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_baq"))
        .args(line.split_whitespace())
        .current_dir(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has ended does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn succeed(place: &Path, line: &str, input: &str) -> String {
    let out = baq(place, line, input);
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A trained run of standardised states leaves in all formats, and acts alike in all of them.
#[test]
fn a_run_acts_the_same_wherever_it_went() {
    let place = folder("export-run");
    succeed(&place, "collect --random --env toy --steps 300 --out data.hdf5", "");
    succeed(&place, "data convert data.hdf5 rescaled.npz --rescale-actions=-1.5:4", "");
    let mut x = Numbers(8);
    fs::write(place.join("blocks.toml"), "[awac]\nhidden = \"8x8 simba\"\n").unwrap();
    for algo in ["iql", "td3_bc", "cql", "awac"] {
        let hidden = match algo {
            "cql" => "--set cql.policy_hidden=[8] --set cql.critic_hidden=[8]",
            "td3_bc" => "--set td3.hidden=[8]",
            "awac" => "--config blocks.toml",
            _ => "--set iql.hidden=[8]",
        };
        let file = if algo == "td3_bc" { "rescaled.npz" } else { "data.hdf5" };
        let data = "--env toy --updates 30 --set offline.batch=16 --set data.observation_scaling=standardise";
        succeed(
            &place,
            &format!("train --algo {algo} --data {file} {data} {hidden} --quiet --out {algo}"),
            "",
        );
        for (format, ending) in [("onnx", "onnx"), ("numpy", "npz"), ("safetensors", "safetensors")] {
            let said = succeed(&place, &format!("export {algo} --format {format} --out {algo}.{ending}"), "");
            assert!(said.contains(&format!("{algo}.{ending}")), "{said}");
        }
        let policy = Restored::open(&place.join(algo)).unwrap();
        let s = policy.agent.dims.s;
        let states: Vec<Vec<f64>> = (0..1000).map(|_| x.units(s)).collect();
        let line = |s: &Vec<f64>| s.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        let input: String = states.iter().map(|s| line(s) + "\n").collect();
        let said = succeed(&place, &format!("act {algo}"), &input);
        assert_eq!(said, succeed(&place, &format!("act {algo}.safetensors"), &input), "the policy file");
        let as_json: String = states.iter().map(|s| format!("[{}]\n", line(s))).collect();
        let arrays = succeed(&place, &format!("act {algo}"), &as_json);
        let action: Vec<Vec<f32>> =
            said.lines().map(|l| l.split(' ').map(|x| x.parse().unwrap()).collect()).collect();
        let same: Vec<Vec<f32>> = arrays.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(action, same);
        let case = json!({ "inputs": { "observation": states }, "action": action });
        fs::write(place.join(format!("{algo}.json")), case.to_string()).unwrap();
    }
    compare(&place);
}

#[test]
fn other_networks_are_refused_as_arrays() {
    for (hidden, words) in [("8x8 gelu", "activations"), ("8x8 layer_norm relu", "normalised layers")] {
        let policy = policy("bc", "plain", &[&format!("bc.hidden={hidden}")]);
        let refused = numpy::file(&policy).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
        assert!(onnx::file(&policy).is_ok());
    }
    let ensemble = policy("cql", "plain", &["cql.ensemble=2"]);
    let refused = numpy::file(&ensemble).unwrap_err().to_string();
    assert!(refused.contains("several policies that act as one"), "{refused}");
}

#[test]
fn what_is_no_state_is_named() {
    let place = folder("export-errors");
    succeed(&place, "collect --random --env toy --steps 60 --out data.hdf5", "");
    let small = "--set bc.hidden=[4] --set offline.batch=8";
    succeed(
        &place,
        &format!("train --algo bc --data data.hdf5 --env toy --updates 2 {small} --quiet --out run"),
        "",
    );
    let s = Restored::open(&place.join("run")).unwrap().agent.dims.s;
    let good = vec!["0.5"; s].join(" ");
    for (bad, named) in [
        ("0.5".to_string(), format!("expected a state of {s} numbers, got 1")),
        (good.replacen("0.5", "abc", 1), "expected finite numbers, got `abc`".into()),
        (good.replacen("0.5", "nan", 1), "expected finite numbers, got `nan`".into()),
        (good.replacen("0.5 ", "0.5,,", 1), "expected finite numbers, got nothing beside a comma".into()),
    ] {
        let out = baq(&place, "act run", &format!("{good}\n\n{bad}\n"));
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("standard input, line 3: {named}")), "{said}");
        assert_eq!(out.stdout.iter().filter(|b| **b == b'\n').count(), 1, "the first state was answered");
    }
    succeed(&place, "export run --format onnx", "");
    let again = baq(&place, "export run --format onnx", "");
    assert_eq!(again.status.code(), Some(2), "nothing is replaced");
    assert!(String::from_utf8_lossy(&again.stderr).contains("run/policy.onnx"));
    assert!(place.join("run/policy.onnx").exists());
}
