//! Every derivative against central differences in f64: along one direction and element by element.

mod common;

use std::cell::Cell;
use std::sync::Arc;

use baq::adapt::GENERATORS;
use baq::algo::{Dims, Phase, Plain, Round};
use baq::audit::f32_check::check_f32;
use baq::audit::gradcheck::{self, Checker, TensorCheck, check};
use baq::audit::operations::operations;
use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use baq::autodiff::{
    Adam, Axis, Clock, Noise, Op, ParamTable, Program, Role, Schedule, Select, Shape, Store, Trace, Tracer,
    Var, Workspace, derivative,
};
use baq::nn::{Params, init::Init};
use baq::replay;
use common::{Numbers, SMALL, agent, methods, online};

/// Allowed error, relative along a direction, and relative to the largest element.
const TOLERANCE: f64 = 3e-6;

#[track_caller]
fn assert_good(what: &str, checks: &[TensorCheck]) {
    assert!(!checks.is_empty(), "{what}: nothing was checked");
    for c in checks {
        let at = format!("{what}: {} of {}", c.path, c.update);
        assert!(c.analytic.abs() > 1e-7, "{at}: the gradient is {:e}, nothing is checked", c.analytic);
        assert!(
            c.relative <= TOLERANCE,
            "{at}: {} along a direction, differences say {}",
            c.analytic,
            c.numeric
        );
        let worst = c.elementwise.expect("asked for");
        assert!(worst <= TOLERANCE, "{at}: an element is off by {worst:e} of the largest");
    }
}

/// What follows an operation: a mean has one number as cotangent, a weighted sum a different one per element.
#[derive(Clone, Copy)]
enum Close {
    Mean,
    Weighted,
}

/// Checks f of parameters of these shapes, drawn from `range`.
#[track_caller]
fn operation(
    name: &str,
    shapes: &[Shape],
    range: (f64, f64),
    f: impl for<'t> Fn(&'t Tracer, &[Var<'t>]) -> Var<'t>,
) {
    for close in [Close::Mean, Close::Weighted] {
        let (trace, store, inputs) = traced(shapes, range, close, &f);
        let what = format!("{name} of {shapes:?}");
        assert_good(&what, &check(&trace, &store, &inputs, Clock::default(), 5, true));
    }
}

fn traced(
    shapes: &[Shape],
    (lo, hi): (f64, f64),
    close: Close,
    f: &impl for<'t> Fn(&'t Tracer, &[Var<'t>]) -> Var<'t>,
) -> (Trace, ReferenceStore, ReferenceInputs) {
    let mut table = ParamTable::default();
    let group = table.add_group("p", false);
    let ids: Vec<_> = shapes.iter().enumerate().map(|(i, s)| table.add(group, &format!("{i}"), *s)).collect();
    let t = Tracer::new(Arc::new(table));
    let params: Vec<Var<'_>> = ids.iter().map(|&p| t.param(p)).collect();
    let y = f(&t, &params);
    let loss = match close {
        Close::Mean => y.mean(),
        Close::Weighted => {
            let s = y.shape();
            (y * t.input("weights", s.heads * s.rows, s.cols).reshape(s)).total()
        }
    };
    t.train("f", Role::Critic, group, &Adam::new(Schedule::Constant(0.0)), loss);
    let trace = t.finish();
    let mut x = Numbers(3);
    let mut store = ReferenceStore::zeros(&trace.table);
    for p in store.values.iter_mut().flatten() {
        *p = lo + (hi - lo) * (0.5 + 0.5 * x.unit());
    }
    let columns = trace.inputs.iter().map(|i| x.units(i.shape.len())).collect();
    (trace, store, ReferenceInputs { columns, noise: Vec::new() })
}

const DENSE: Shape = Shape::new(2, 3, 4);
const WIDE: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.3, 2.0);

#[test]
fn functions_of_one_argument() {
    operation("exp", &[DENSE], WIDE, |_, p| p[0].exp());
    operation("log", &[DENSE], POSITIVE, |_, p| p[0].log());
    operation("tanh", &[DENSE], WIDE, |_, p| p[0].tanh());
    operation("relu", &[DENSE], WIDE, |_, p| p[0].relu());
    operation("softplus", &[DENSE], WIDE, |_, p| p[0].softplus());
    operation("sigmoid", &[DENSE], WIDE, |_, p| p[0].sigmoid());
    operation("gelu", &[DENSE], WIDE, |_, p| p[0].gelu());
    operation("silu", &[DENSE], WIDE, |_, p| p[0].silu());
    operation("square", &[DENSE], WIDE, |_, p| p[0].square());
    operation("sqrt", &[DENSE], POSITIVE, |_, p| p[0].sqrt());
    operation("abs", &[DENSE], WIDE, |_, p| p[0].abs());
    operation("affine", &[DENSE], WIDE, |_, p| p[0].affine(-1.7, 0.4));
    operation("clamp", &[DENSE], WIDE, |_, p| p[0].clamp(-0.9, 1.1));
    operation("clamp above", &[DENSE], WIDE, |_, p| p[0].clamp(f64::NEG_INFINITY, 0.5));
    operation("clamp below", &[DENSE], WIDE, |_, p| p[0].clamp(-0.5, f64::INFINITY));
    operation("neg", &[DENSE], WIDE, |_, p| -p[0]);
    operation("with numbers", &[DENSE], POSITIVE, |_, p| {
        1.0 / (p[0] + 1.0) + 2.0 * p[0] - (3.0 - p[0]) / 4.0 + (p[0] - 0.5) * 0.3
    });
    operation("steps beside a path", &[DENSE], WIDE, |_, p| {
        p[0] * p[0].inside(-1.0, 1.0) + p[0] * p[0].less(p[0] * 0.5)
    });
    operation("one value many times", &[DENSE], WIDE, |_, p| p[0] * p[0] * p[0].tanh() + p[0]);
}

#[test]
fn functions_of_two_arguments_with_every_broadcast() {
    let all = |k: usize| {
        let extent = |bit: usize, n: usize| if k >> bit & 1 == 1 { n } else { 1 };
        Shape::new(extent(2, 2), extent(1, 3), extent(0, 4))
    };
    for (a, b) in (0..8).flat_map(|a| (0..8).map(move |b| (all(a), all(b)))) {
        let shapes = [a, b];
        operation("add", &shapes, WIDE, |_, p| p[0] + p[1]);
        operation("sub", &shapes, WIDE, |_, p| p[0] - p[1]);
        operation("mul", &shapes, WIDE, |_, p| p[0] * p[1]);
        operation("div", &shapes, POSITIVE, |_, p| p[0] / p[1]);
        // The smaller argument is shifted so that each wins somewhere even where both are scalars.
        operation("min", &shapes, WIDE, |_, p| {
            p[0].minimum(p[1]) * 1.3 + p[1].minimum(p[0] - 0.3) * 0.7 + (p[0] - p[1]) * 0.37
        });
        operation("max", &shapes, WIDE, |_, p| {
            p[0].maximum(p[1]) * 1.3 + p[1].maximum(p[0] + 0.3) * 0.7 + (p[0] - p[1]) * 0.37
        });
        operation("expectile", &[a], WIDE, |t, p| {
            let tau = t.input("tau", b.heads * b.rows, b.cols).reshape(b).sigmoid();
            p[0].expectile(tau)
        });
    }
}

#[test]
fn layers_with_shared_and_own_inputs() {
    for heads in [1, 2, 3] {
        for x_heads in [1, heads] {
            for rows in [1, 5] {
                let shapes = [Shape::new(x_heads, rows, 3), Shape::new(heads, 3, 4), Shape::new(heads, 1, 4)];
                operation("linear", &shapes, WIDE, |_, p| p[0].linear(p[1], p[2]));
                operation("linear, relu", &shapes, WIDE, |_, p| p[0].relu().linear(p[1], p[2]).relu());
                operation("linear, tanh", &shapes, (-0.7, 0.7), |_, p| p[0].tanh().linear(p[1], p[2]).tanh());
            }
        }
    }
}

#[test]
fn layer_normalisation_and_its_gradients() {
    for [heads, rows, cols] in [[1, 1, 4], [2, 3, 5], [3, 2, 7]] {
        let row = Shape::new(heads, 1, cols);
        let shapes = [Shape::new(heads, rows, cols), row, row];
        operation("layer norm", &shapes, WIDE, |_, p| p[0].layer_norm(p[1], p[2], 1e-6));
        operation("layer norm, relu", &shapes, WIDE, |_, p| p[0].layer_norm(p[1], p[2], 0.3).relu().square());
        operation("relu, layer norm", &shapes, WIDE, |_, p| p[0].relu().layer_norm(p[1], p[2], 0.1));
        // Gradients of gradients, in everything that they depend on.
        operation("gradient in x", &shapes, WIDE, |_, p| {
            p[0].layer_norm(p[1], p[2], 0.1).square().total().gradient(p[0]).square()
        });
        operation("gradient in the gain", &shapes, WIDE, |_, p| {
            p[0].layer_norm(p[1], p[2], 0.1).square().total().gradient(p[1]).square()
        });
    }
    let layer = [Shape::new(1, 4, 3), Shape::new(2, 3, 5), Shape::new(2, 1, 5), Shape::new(2, 1, 5)];
    operation("linear, layer norm, relu", &layer, WIDE, |_, p| {
        // The mean over the columns takes the bias away.
        p[0].linear(p[1], p[2]).layer_norm(p[3], p[2], 1e-6).relu()
    });
}

#[test]
#[should_panic(expected = "layer norm: input [3, 4], gain [1, 4], bias [3, 4]; gain and bias must be [1, 4]")]
fn a_normalisation_of_other_shapes_is_refused() {
    let shapes = [Shape::new(1, 3, 4), Shape::new(1, 1, 4)];
    traced(&shapes, WIDE, Close::Mean, &|_, p| p[0].layer_norm(p[1], p[0], 1e-6));
}

#[test]
fn reductions_over_every_axis() {
    for axis in [Axis::Heads, Axis::Rows, Axis::Cols] {
        operation("sum", &[DENSE], WIDE, |_, p| p[0].sum(axis));
        operation("min", &[DENSE], WIDE, |_, p| p[0].min(axis));
        operation("max", &[DENSE], WIDE, |_, p| p[0].max(axis));
        operation("mean over", &[DENSE], WIDE, |_, p| p[0].mean_over(axis));
        operation("sum of squares", &[DENSE], WIDE, |_, p| p[0].square().sum(axis).square());
        operation("share", &[DENSE], POSITIVE, |_, p| (p[0] / p[0].sum(axis)).square());
    }
    operation("mean", &[DENSE], WIDE, |_, p| p[0].square().mean());
    operation("total", &[DENSE], WIDE, |_, p| p[0].square().total());
    operation("weighted mean", &[DENSE, Shape::new(1, 3, 1)], POSITIVE, |_, p| {
        p[0].weighted_mean(Some(p[1])) + p[0].square().weighted_mean(None)
    });
    operation("log sum exp", &[DENSE], WIDE, |_, p| p[0].log_sum_exp());
    // Beyond the range of e^x; differences of such numbers are coarse, so the sum is shifted back inside.
    operation("log sum exp of large numbers", &[DENSE], WIDE, |_, p| (p[0] * 400.0).log_sum_exp() * 0.0025);
}

#[test]
fn rearrangements() {
    operation("concat", &[DENSE, Shape::new(2, 3, 2)], WIDE, |_, p| p[0].concat(p[1]).square());
    operation("concat with itself", &[DENSE], WIDE, |_, p| p[0].concat(p[0].square()));
    operation("slice", &[DENSE], WIDE, |_, p| p[0].slice(1, 2).square() + p[0].slice(2, 1));
    operation("repeat", &[DENSE], WIDE, |_, p| p[0].repeat(3).square());
    operation("head", &[DENSE], WIDE, |_, p| p[0].head(1).square() - p[0].head(0));
    fn two(t: &Tracer) -> Var<'_> {
        t.constant(2.0).concat(t.constant(0.0))
    }
    operation("picked heads", &[Shape::new(3, 2, 4)], WIDE, |t, p| {
        p[0].pick_heads(two(t)).square() + p[0].head(1).square()
    });
    operation("gradient of picked heads", &[Shape::new(3, 2, 4)], WIDE, |t, p| {
        (p[0].pick_heads(two(t)).square().total().gradient(p[0]) + p[0]).square()
    });
    operation("reshape", &[DENSE], WIDE, |_, p| p[0].reshape(Shape::new(1, 2, 12)).square());
    operation("groups", &[DENSE], WIDE, |_, p| p[0].repeat(2).reshape(Shape::new(2, 3, 8)).log_sum_exp());
}

/// A loss may train through a gradient in an input: the gradient of every operation has a derivative itself.
#[test]
fn gradients_of_gradients() {
    type Formula = for<'t> fn(&[Var<'t>]) -> Var<'t>;
    /// Name, shapes, range of the numbers.
    type Case<'a> = (&'a str, &'a [Shape], (f64, f64), Formula);
    let network: &[Shape] = &[
        Shape::new(1, 5, 3),
        Shape::new(2, 3, 4),
        Shape::new(2, 1, 4),
        Shape::new(2, 4, 2),
        Shape::new(2, 1, 2),
    ];
    let cases: [Case<'_>; 17] = [
        ("exp", &[DENSE], WIDE, |p| p[0].exp()),
        ("log", &[DENSE], POSITIVE, |p| p[0].log()),
        ("tanh", &[DENSE], WIDE, |p| p[0].tanh()),
        ("relu", &[DENSE], WIDE, |p| p[0].relu() * p[0].exp()),
        ("softplus", &[DENSE], WIDE, |p| p[0].softplus()),
        ("sigmoid", &[DENSE], WIDE, |p| p[0].sigmoid()),
        ("sqrt", &[DENSE], POSITIVE, |p| p[0].sqrt()),
        ("abs", &[DENSE], WIDE, |p| p[0].abs() * p[0]),
        ("div", &[DENSE, Shape::new(1, 3, 1)], POSITIVE, |p| p[1] / p[0]),
        ("max", &[DENSE, DENSE], WIDE, |p| (p[0].square()).maximum(p[1] * 0.5)),
        ("expectile", &[DENSE, Shape::SCALAR], WIDE, |p| p[0].expectile(p[1].sigmoid())),
        ("min over", &[DENSE], WIDE, |p| p[0].min(Axis::Heads).exp()),
        ("log sum exp", &[DENSE], WIDE, |p| p[0].log_sum_exp()),
        ("rearranged", &[DENSE], WIDE, |p| {
            p[0].concat(p[0].square())
                .slice(1, 5)
                .repeat(2)
                .reshape(Shape::new(1, 4, 15))
                .sum(Axis::Rows)
                .exp()
        }),
        ("tanh network", network, WIDE, |p| p[0].linear(p[1], p[2]).tanh().linear(p[3], p[4]).tanh()),
        ("relu network", network, WIDE, |p| p[0].linear(p[1], p[2]).relu().linear(p[3], p[4]).softplus()),
        ("gelu network", network, WIDE, |p| p[0].linear(p[1], p[2]).gelu().linear(p[3], p[4]).gelu()),
    ];
    for (name, shapes, range, f) in cases {
        operation(&format!("gradient of {name}"), shapes, range, |_, p| {
            // The sum makes it depend on parameters that the gradient does not.
            f(p).total().gradient(p[0]).square() + p.iter().fold(f(p).total(), |y, p| y + p.total())
        });
    }
}

/// ∇ₐ Q(s, a), row by row, against central differences in the action.
#[test]
fn a_gradient_in_an_input_is_that_of_differences() {
    let mut table = ParamTable::default();
    let group = table.add_group("q", true);
    let shapes = [Shape::new(2, 5, 8), Shape::new(2, 1, 8), Shape::new(2, 8, 1), Shape::new(2, 1, 1)];
    let ids = shapes.map(|s| table.add(group, &format!("{}x{}", s.rows, s.cols), s));
    let t = Tracer::new(Arc::new(table));
    let [w0, b0, w1, b1] = ids.map(|id| t.param(id));
    let (s, a) = (t.input("s", 4, 3), t.input("a", 4, 2));
    let q = s.concat(a).linear(w0, b0).tanh().linear(w1, b1).min(Axis::Heads);
    t.output("q", q);
    t.output("q_a", q.total().gradient(a));
    let trace = t.finish();

    let mut x = Numbers(8);
    let mut store = ReferenceStore::zeros(&trace.table);
    store.values.iter_mut().flatten().for_each(|v| *v = f64::from(x.unit() as f32));
    let mut columns: Vec<Vec<f64>> = trace.inputs.iter().map(|i| x.units(i.shape.len())).collect();
    columns.iter_mut().flatten().for_each(|v| *v = f64::from(*v as f32));
    let outputs = |columns: &[Vec<f64>]| -> [Vec<f64>; 2] {
        let inputs = ReferenceInputs { columns: columns.to_vec(), noise: Vec::new() };
        let values = reference::run(&trace, &mut store.clone(), &inputs, Clock::default(), |_| true);
        [0, 1].map(|k| values[trace.outputs[k].1.index()].clone().expect("computed"))
    };
    let [_, gradient] = outputs(&columns);
    let h = 1e-5;
    for (i, &g) in gradient.iter().enumerate() {
        let at = |d: f64| {
            let mut moved = columns.clone();
            moved[1][i] += d;
            outputs(&moved)[0].iter().sum::<f64>()
        };
        let difference = (at(h) - at(-h)) / (2.0 * h);
        assert!(g != 0.0 && (g - difference).abs() < 1e-9, "element {i}: {g}, differences say {difference}");
    }

    let mut narrow = Store::zeros(trace.table.clone());
    for (to, from) in narrow.values.iter_mut().zip(&store.values) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from as f32);
    }
    let program = Program::compile(&trace, Select::ALL);
    let mut workspace = Workspace::new(&program);
    for (name, values) in ["s", "a"].into_iter().zip(&columns) {
        let column = workspace.input_mut(&program, name).expect("it is read");
        column.iter_mut().zip(values).for_each(|(to, from)| *to = *from as f32);
    }
    program.run(&mut workspace, &mut narrow, Clock::default(), Noise::Seed(1));
    for (got, want) in workspace.output(&program, "q_a").iter().zip(&gradient) {
        assert!((f64::from(*got) - want).abs() < 1e-6, "f32 {got}, f64 {want}");
    }
}

#[test]
#[should_panic(expected = "which it does not depend on")]
fn a_gradient_in_what_is_not_read_is_refused() {
    let t = Tracer::new(Arc::default());
    let (s, a) = (t.input("s", 4, 3), t.input("a", 4, 2));
    s.square().total().gradient(a);
}

#[test]
fn nothing_passes_a_detach() {
    operation("detach", &[DENSE], WIDE, |_, p| p[0].square().detach() * p[0]);
    let (trace, store, inputs) = traced(&[DENSE], WIDE, Close::Mean, &|_, p| p[0].detach() * p[0]);
    let checker = Checker::new(&trace, &store, &inputs, Clock::default());
    let n = DENSE.len() as f64;
    for (g, x) in checker.tensors()[0].gradient.iter().zip(&store.values[0]) {
        assert!((g - x / n).abs() < 1e-15, "d(detach(x) x) = {g}, expected {}", x / n);
    }
}

/// Where there is no derivative: ties send it to the first, bounds lie inside, and at 0 it is 0.
#[test]
fn kinks_have_the_documented_slopes() {
    type Formula = for<'t> fn(&'t Tracer, Var<'t>) -> Var<'t>;
    let cases: [(&str, [f64; 2], Formula, [f64; 2]); 9] = [
        ("minimum", [1.0, 1.0], |_, p| p.slice(0, 1).minimum(p.slice(1, 1)), [1.0, 0.0]),
        ("maximum", [1.0, 1.0], |_, p| p.slice(0, 1).maximum(p.slice(1, 1)), [1.0, 0.0]),
        ("min over", [1.0, 1.0], |_, p| p.min(Axis::Cols), [1.0, 0.0]),
        ("max over", [1.0, 1.0], |_, p| p.max(Axis::Cols), [1.0, 0.0]),
        ("clamp", [-1.0, 1.0], |_, p| p.clamp(-1.0, 1.0), [1.0, 1.0]),
        ("inside", [-1.0, 1.0], |_, p| p * p.inside(-1.0, 1.0), [1.0, 1.0]),
        ("relu", [0.0, -0.0], |_, p| p.relu(), [0.0, 0.0]),
        ("abs", [0.0, -0.0], |_, p| p.abs(), [0.0, 0.0]),
        ("expectile", [0.0, -0.0], |t, p| p.expectile(t.constant(0.7)), [0.0, 0.0]),
    ];
    for (name, at, f, slopes) in cases {
        let (trace, mut store, inputs) =
            traced(&[Shape::new(1, 1, 2)], WIDE, Close::Mean, &|t, p| f(t, p[0]).total());
        store.values[0] = at.to_vec();
        let checker = Checker::new(&trace, &store, &inputs, Clock::default());
        assert_eq!(checker.tensors()[0].gradient, slopes, "{name} in f64");

        let program = Program::compile(&trace, Select::ALL);
        for kernels in baq_kernels::available() {
            let mut narrow = Store::zeros(trace.table.clone());
            narrow.values[0].copy_from_slice(&at.map(|x| x as f32));
            let mut workspace = Workspace::with_kernels(&program, kernels);
            program.run(&mut workspace, &mut narrow, Clock::default(), Noise::Seed(1));
            assert_eq!(narrow.gradients[0][..], slopes.map(|x| x as f32), "{name}, {}", kernels.isa);
        }
    }
}

#[test]
#[should_panic(expected = "does not depend on p.0")]
fn a_loss_behind_steps_only_is_refused() {
    traced(&[DENSE], WIDE, Close::Mean, &|_, p| p[0].inside(0.0, 1.0));
}

const DIMS: Dims = Dims { s: 3, a: 2, batch: 6 };

/// A batch for a trace: every column in its natural range.
fn batch(trace: &Trace) -> ReferenceInputs {
    let mut x = Numbers(21);
    let columns = trace
        .inputs
        .iter()
        .map(|i| {
            let u = x.units(i.shape.len());
            let map: fn(f64) -> f64 = match i.name {
                replay::M | replay::ONLINE => |u| if u > -0.3 { 1.0 } else { 0.0 },
                replay::D2 | replay::DISTANCE => |u| 0.5 + 0.4 * u,
                replay::IMPORTANCE => |u| 0.6 + 0.4 * u,
                replay::ROW_STD => |u| 1.0 + 0.5 * u,
                _ => |u| 0.9 * u,
            };
            u.into_iter().map(map).collect()
        })
        .collect();
    let noise = trace.noises.iter().map(|n| x.units(n.shape.len())).collect();
    ReferenceInputs { columns, noise }
}

/// Parameters away from their beginning, so that targets, models and policies all differ.
fn moved(store: &Store) -> ReferenceStore {
    let mut x = Numbers(77);
    let mut store = ReferenceStore::from(store);
    store.values.iter_mut().flatten().for_each(|v| *v += 0.3 * x.unit());
    store
}

const CLOCK: Clock = Clock { round: 3, phase_round: 3 };

fn method(algo: &str, adapt: &str, sets: &[&str]) -> (Trace, ReferenceStore, ReferenceInputs) {
    let mut all: Vec<String> = sets.iter().map(|s| (*s).to_string()).collect();
    all.push(format!("{algo}.hidden=[5, 4]"));
    all.push("baq.model_hidden=[4]".into());
    let sets: Vec<&str> = all.iter().map(String::as_str).collect();
    let agent = agent(algo, adapt, DIMS, &sets);
    let trace = agent.trace(&online(10));
    let (store, inputs) = (moved(&agent.store), batch(&trace));
    (trace, store, inputs)
}

fn check_method(algo: &str, adapt: &str, sets: &[&str], updates: usize) {
    let (trace, store, inputs) = method(algo, adapt, sets);
    let checks = check(&trace, &store, &inputs, CLOCK, 9, true);
    let mut names: Vec<&str> = checks.iter().map(|c| c.update).collect();
    names.dedup();
    assert_eq!(names.len(), updates, "{names:?}");
    assert_good(&format!("{algo} + {adapt} {sets:?}"), &checks);
}

#[test]
fn behaviour_cloning() {
    for model in ["mse", "gaussian", "tanh_gaussian"] {
        check_method("bc", "plain", &[&format!("bc.model={model}")], 1);
    }
}

#[test]
fn implicit_q_learning() {
    for order in ["official", "corl"] {
        for actor in ["gaussian", "deterministic"] {
            let sets = [format!("iql.order={order}"), format!("iql.actor_head={actor}")];
            check_method("iql", "plain", &[&sets[0], &sets[1]], 3);
        }
    }
    check_method("iql", "plain", &["iql.critics=1"], 3);
    check_method("iql", "plain", &["iql.critics=3", "iql.init=torch"], 3);
    check_method("iql", "plain", &["iql.hidden=6x5 layer_norm relu"], 3);
}

#[test]
fn behaviour_adaptive_weights_over_iql() {
    for relax in ["none", "widen(5)", "fade(8)", "follow(0.1)", "gate"] {
        for distance in ["mean", "sum", "mahalanobis"] {
            for normalise in ["true", "false"] {
                let sets = [
                    format!("baq.relax={relax}"),
                    format!("baq.distance={distance}"),
                    format!("baq.normalise_weight={normalise}"),
                ];
                check_method("iql", "baq", &[&sets[0], &sets[1], &sets[2]], 3);
            }
        }
    }
    check_method("iql", "baq", &["baq.is_exponent=0.4"], 3);
    check_method("iql", "baq", &["baq.is_exponent=0.4", "baq.rows=s"], 3);
    check_method("iql", "baq", &["iql.order=corl", "baq.relax=gate"], 3);
}

/// Whatever the registries hold, offline and online, and the models that are fitted before.
#[test]
fn every_method() {
    for (algo, adapt) in methods() {
        every_loss(algo, adapt, &[]);
    }
}

fn every_loss(algo: &str, adapt: &str, sets: &[&str]) {
    let agent = agent(algo, adapt, DIMS, &[&SMALL[..], sets].concat());
    let model = agent.reprioritisation_trace().map(|trace| (true, trace));
    let rounds = [Phase::offline(10), online(10)].map(|p| (p.online, agent.trace(&p)));
    let fits = agent.pretraining().into_iter().map(|(_, trace)| (false, trace));
    for (online, trace) in rounds.into_iter().chain(model).chain(fits) {
        let checks = check(&trace, &moved(&agent.store), &batch(&trace), CLOCK, 9, true);
        assert!(!checks.is_empty(), "{algo} + {adapt} {sets:?} trains nothing");
        for c in checks {
            assert!(c.passed(), "{algo} + {adapt} {sets:?}, online {online}: {c:?}");
        }
    }
}

/// Networks of SimBa's blocks; EDAC trains through their slopes.
#[test]
fn residual_blocks() {
    every_loss("iql", "plain", &["iql.hidden=6x6 simba"]);
    every_loss("edac", "plain", &["sac_n.critic_hidden=6x6 simba", "sac_n.critics=3"]);
}

/// Options that make other losses.
#[test]
fn constraints_and_flows() {
    every_loss("brac", "plain", &["brac.divergence=mmd", "brac.entropy=0.1", "brac.pessimism=0.7"]);
    every_loss("brac", "plain", &["brac.divergence=dual_kl", "brac.weight=learned(0.1)"]);
    every_loss("fql", "plain", &["fql.normalise=true", "fql.aggregate=min"]);
    every_loss("famo2o", "plain", &["famo2o.compat_weight=true"]);
    every_loss("wsrl", "plain", &["wsrl.compat_shared_head=true", "cql.max_backup=true"]);
    every_loss("wsrl", "plain", &["wsrl.compat_idle_steps=true"]);
}

/// What generators learn; and with a wrong derivative it is found.
#[test]
fn generators() {
    for generator in GENERATORS {
        let set = format!("run.generator={}", generator.name);
        let agent = agent(
            "iql",
            "plain",
            DIMS,
            &[&SMALL[..], &[&set, "cfdg.batch=6", "edis.batch=6", "edis.energy_batch=4", "edis.negatives=3"]]
                .concat(),
        );
        let mut count = 0;
        for stage in agent.refresh() {
            let Some(trace) = stage.learns() else { continue };
            assert_good(&set, &check(trace, &moved(&agent.store), &batch(trace), CLOCK, 9, true));
            count += 1;
        }
        assert!(count > 0, "{set} learns nothing");
    }
}

#[test]
fn the_model_of_the_data() {
    for model in ["mse", "gaussian", "tanh_gaussian"] {
        let set = format!("baq.model={model}");
        let agent = agent("iql", "baq", DIMS, &[&set, "baq.model_hidden=[5, 4]"]);
        let (_, trace) = agent.pretraining().pop().expect("baq has a model");
        assert_good(&set, &check(&trace, &moved(&agent.store), &batch(&trace), CLOCK, 9, true));
    }
}

/// Squares, roots and the least of values that are far smaller than the step.
#[test]
fn tiny_parameters_are_checked_at_their_own_scale() {
    let mut params = Params::default();
    let group = params.group("tiny", false);
    let tiny = params.tensor(group, "x", Shape::new(1, 6, 4), Init::Uniform(1e-7));
    let (table, store) = params.finish(3);
    let t = Tracer::new(table);
    let x = t.constant(0.0).param(tiny);
    let loss = (x.square().sqrt() * t.input("w", 6, 4)).sum(Axis::Cols) + x.min(Axis::Cols);
    t.train("tiny", Role::Critic, group, &Adam::new(Schedule::Constant(1e-3)), loss.mean());
    let trace = t.finish();
    let checked = |factor: f64| {
        let (store, inputs) = (ReferenceStore::from(&store), gradcheck::synthetic(&trace, 1));
        let checker = Checker::new(&trace, &store, &inputs, Clock::default());
        let [t] = &checker.tensors()[..] else { panic!("one tensor") };
        let claimed: Vec<f64> = t.gradient.iter().map(|g| g * factor).collect();
        checker.compare(t, &claimed, 1, false)
    };
    assert!(checked(1.0).passed(), "{:?}", checked(1.0));
    assert!(!checked(1.001).passed(), "{:?}", checked(1.001));
}

#[test]
fn a_wrong_gradient_is_found() {
    let (trace, store, inputs) = method("iql", "plain", &[]);
    let checker = Checker::new(&trace, &store, &inputs, CLOCK);
    for t in checker.tensors() {
        assert!(checker.compare(&t, t.gradient, 9, true).relative <= TOLERANCE);
        // One hundredth too large: both checks see it.
        let scaled: Vec<f64> = t.gradient.iter().map(|g| g * 1.01).collect();
        let found = checker.compare(&t, &scaled, 9, true);
        assert!(found.relative > gradcheck::TOLERANCE, "{}: it passes along a direction", found.path);
        assert!(found.elementwise > Some(1e-3), "{}: it passes by elements", found.path);
        // A single element wrong.
        let mut one = t.gradient.to_vec();
        let largest = one.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        one[0] += 0.01 * largest;
        assert!(checker.compare(&t, &one, 9, true).elementwise > Some(1e-3), "{}: one element", found.path);
    }
}

#[test]
fn the_gradient_of_another_loss_is_found() {
    let (trace, store, inputs) = method("iql", "plain", &[]);
    let checker = Checker::new(&trace, &store, &inputs, CLOCK);
    for (set, update) in [
        ("iql.expectile=0.72", "v.layer0.weight"),
        ("iql.temperature=3.1", "pi.layer0.weight"),
        ("iql.discount=0.97", "q.0.layer0.weight"),
    ] {
        let (other, _, _) = method("iql", "plain", &[set]);
        let wrong = Checker::new(&other, &store, &inputs, CLOCK);
        let mut seen = 0;
        for (t, w) in checker.tensors().iter().zip(wrong.tensors()) {
            let found = checker.compare(t, w.gradient, 9, false);
            if found.path == update {
                assert!(found.relative > 1e-4, "{set}: {update} passes with {:e}", found.relative);
                seen += 1;
            }
        }
        assert_eq!(seen, 1, "{update}");
    }
}

thread_local! {
    /// name of the operation whose derivative is wrong
    static WRONG: Cell<&'static str> = const { Cell::new("") };
}

/// The derivatives, but for a wrong one.
fn wrong_rule<'t>(op: Op, k: usize, args: &[Var<'t>], y: Var<'t>, g: Var<'t>) -> Var<'t> {
    let right = derivative(op, k, args, y, g);
    if op.name() == WRONG.get() { right * 1.001 } else { right }
}

/// A derivative that is wrong by a thousandth is found in the gradients that it is part of, and named.
#[test]
fn a_wrong_derivative_is_named() {
    let dims = Dims { s: 4, a: 2, batch: 8 };
    for (algo, names) in [
        ("iql", &["tanh", "expectile", "linear", "exp", "mul", "sub", "sum_rows"][..]),
        ("cql", &["log_sum_exp", "square"][..]),
    ] {
        let agent = agent(algo, "plain", dims, &SMALL);
        let mut store = ReferenceStore::from(&agent.store);
        gradcheck::shake(&mut store, 1);
        let traced = |wrong: &'static str| {
            WRONG.set(wrong);
            let t = Tracer::with_rule(agent.table.clone(), wrong_rule);
            let learner = agent.learner.as_ref();
            learner.trace(&Round::new(&t, dims, &Phase::offline(10), learner, &Plain));
            t.finish()
        };
        let right = traced("");
        let inputs = gradcheck::synthetic(&right, 1);
        let run = |trace: &Trace| {
            let tensors = check(trace, &store, &inputs, Clock::default(), 1, false);
            let all = operations(trace, &store, &inputs, Clock::default(), 1);
            let wrong: Vec<String> = all.iter().filter(|o| !o.passed()).map(|o| o.name.clone()).collect();
            (tensors.iter().filter(|t| !t.passed()).count(), wrong, all.len())
        };
        let (failed, wrong, kinds) = run(&right);
        assert_eq!((failed, wrong), (0, Vec::new()), "{algo}");
        assert!(kinds >= 8, "{algo}: {kinds} kinds of operations");
        for name in names {
            let (failed, wrong, _) = run(&traced(name));
            assert!(failed > 0, "{algo}: no gradient is wrong with {name}");
            assert_eq!(wrong, [*name], "{algo}");
        }
    }
}

/// The promise across instruction sets: from one state, every gradient within this of the one in f64, in norm.
#[test]
fn kernels_of_every_instruction_set_agree_with_f64() {
    let dims = Dims { s: 5, a: 2, batch: 16 };
    for (algo, adapt) in methods() {
        let agent = agent(algo, adapt, dims, &SMALL);
        let trace = agent.trace(&online(100));
        let mut store = ReferenceStore::from(&agent.store);
        gradcheck::shake(&mut store, 3);
        let program = Program::compile(&trace, Select::WITHOUT_METRICS);
        for kernels in baq_kernels::available() {
            let workspace = Workspace::with_kernels(&program, kernels);
            let inputs = gradcheck::synthetic(&trace, 3);
            let all = check_f32(&trace, &program, workspace, &store, &inputs, Clock::default());
            assert_eq!(all.len(), Checker::new(&trace, &store, &inputs, Clock::default()).tensors().len());
            for n in all {
                let at = format!("{algo} + {adapt}, {}: {} of {}", kernels.isa, n.path, n.update);
                assert!(n.passed(), "{at}: {:e}", n.relative);
            }
        }
    }
}
