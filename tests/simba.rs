//! Networks of SimBa's blocks: torch's numbers, what they are without their blocks, and where they cannot be.

mod common;

use baq::algo::Dims;
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{Adam, Clock, Noise, Program, Role, Schedule, Select, Tracer, Workspace};
use baq::config::{NetSpec, Norm};
use baq::nn::{Mlp, Params};
use baq::train::agent::Agent;
use common::{Numbers, SMALL, config};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn simba(width: usize, blocks: usize) -> NetSpec {
    NetSpec { simba: true, norm: Norm::Layer { eps: 1e-6 }, ..vec![width; blocks].into() }
}

fn assert_near(what: &str, ours: impl IntoIterator<Item = f64>, theirs: &[f64], tolerance: f64) {
    let ours: Vec<f64> = ours.into_iter().collect();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}[{i}]: {a}, torch {b}");
    }
}

/// The forward pass, the gradients and one step of AdamW, in f64 and by the kernels.
#[test]
fn an_update_is_that_of_torch() {
    let golden: Value = serde_json::from_str(include_str!("golden/simba.json")).unwrap();
    let size = |key: &str| golden["sizes"][key].as_u64().unwrap() as usize;
    let (rows, heads) = (size("rows"), size("heads"));
    let mut params = Params::default();
    let group = params.group("net", true);
    let sizes = (size("inputs"), size("outputs"));
    let net = Mlp::declare(&mut params, group, heads, sizes, &simba(size("width"), size("blocks")));
    let (table, mut store) = params.finish(0);
    let t = Tracer::new(table.clone());
    let (x, y) = (t.input("x", rows, sizes.0), t.input("y", rows, sizes.1));
    let f = net.forward(x);
    t.output("f", f);
    let adam = Adam {
        decay: golden["decay"].as_f64().unwrap(),
        ..Adam::new(Schedule::Constant(golden["lr"].as_f64().unwrap()))
    };
    t.train("net", Role::Critic, group, &adam, (f - y).square().mean());
    let trace = t.finish();

    let columns = vec![numbers(&golden["x"]), numbers(&golden["y"])];
    let mut exact = ReferenceStore::from(&store);
    let tensors: Vec<(usize, String)> =
        table.members(group).map(|id| (id.index(), table.param(id).name.clone())).collect();
    assert_eq!(tensors.len(), golden["before"].as_object().unwrap().len());
    for (i, name) in &tensors {
        exact.values[*i] = numbers(&golden["before"][name]);
        let wide = store.values[*i].iter_mut().zip(&exact.values[*i]);
        wide.for_each(|(to, from)| *to = *from as f32);
    }
    let inputs = ReferenceInputs { columns: columns.clone(), noise: Vec::new() };
    let values = reference::run(&trace, &mut exact, &inputs, Clock::default(), |_| true);
    let f = values[trace.outputs[0].1.index()].clone().expect("computed");
    assert_near("f", f, &numbers(&golden["f"]), 1e-12);
    assert_near("loss", [trace.loss("net", &values)], &[golden["loss"].as_f64().unwrap()], 1e-12);

    let program = Program::compile(&trace, Select::ALL);
    let mut workspace = Workspace::new(&program);
    for (column, numbers) in ["x", "y"].into_iter().zip(&columns) {
        let column = workspace.input_mut(&program, column).expect("an input");
        column.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from as f32);
    }
    program.run(&mut workspace, &mut store, Clock::default(), Noise::Seed(0));
    let narrow = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    assert_near("f in f32", narrow(workspace.output(&program, "f")), &numbers(&golden["f"]), 1e-5);
    for (i, name) in &tensors {
        let (gradient, after) = (numbers(&golden["gradient"][name]), numbers(&golden["after"][name]));
        assert_near(&format!("gradient of {name}"), exact.gradients[*i].clone(), &gradient, 1e-12);
        assert_near(name, exact.values[*i].clone(), &after, 1e-11);
        assert_near(&format!("gradient of {name} in f32"), narrow(&store.gradients[*i]), &gradient, 1e-5);
    }
}

/// With blocks that give nothing it is two layers around a norm, whatever the blocks are inside.
#[test]
fn without_its_blocks_it_is_linear_norm_linear() {
    let (rows, width) = (7, 6);
    let mut params = Params::default();
    let group = params.group("net", false);
    let net = Mlp::declare(&mut params, group, 1, (3, 2), &simba(width, 2));
    let (table, store) = params.finish(4);
    let t = Tracer::new(table.clone());
    let x = t.input("x", rows, 3);
    t.output("f", net.forward(x));
    let named = |name: &str| {
        let id = table.members(group).find(|&id| table.param(id).name == name);
        t.param(id.unwrap_or_else(|| panic!("no {name}")))
    };
    let z = x.linear(named("layer0.weight"), named("layer0.bias"));
    let z = z.layer_norm(named("norm4.weight"), named("norm4.bias"), 1e-6);
    t.output("plain", z.linear(named("layer5.weight"), named("layer5.bias")));
    let trace = t.finish();
    let inputs = ReferenceInputs { columns: vec![Numbers(3).units(rows * 3)], noise: Vec::new() };
    let mut store = ReferenceStore::from(&store);
    let mut x = Numbers(5);
    store.values.iter_mut().flatten().for_each(|v| *v += 0.3 * x.unit());
    let both = |store: &mut ReferenceStore| {
        let values = reference::run(&trace, store, &inputs, Clock::default(), |_| true);
        let of = |name: &str| trace.outputs.iter().find(|(n, _)| *n == name).expect("an output").1;
        ["f", "plain"].map(|name| values[of(name).index()].clone().expect("computed"))
    };
    let [f, plain] = both(&mut store);
    assert_ne!(f, plain, "blocks give something");
    for id in table.members(group) {
        if ["layer2.", "layer4."].iter().any(|start| table.param(id).name.starts_with(start)) {
            store.values[id.index()].fill(0.0);
        }
    }
    let [f, plain] = both(&mut store);
    assert_eq!(f, plain);
}

/// Denoisers have residual layers of their own.
#[test]
fn a_denoiser_of_blocks_is_refused() {
    let dims = Dims { s: 3, a: 2, batch: 8 };
    for generator in ["cfdg", "edis"] {
        let sets = [format!("run.generator={generator}"), format!("{generator}.hidden=32x32 simba")];
        let sets: Vec<&str> = SMALL.iter().copied().chain(sets.iter().map(String::as_str)).collect();
        let error = Agent::new(&config("iql", "plain", 0, &sets), dims).err().expect("refused").to_string();
        assert!(error.contains("hidden") && error.contains("32x32 simba"), "{error}");
    }
}
