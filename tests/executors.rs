//! The compiled program in f32 against the interpreter of the same graph in f64, on random programs.
//!
//! A random program has several networks, updates and target updates between its operations, values that outlive
//! the update of what they were computed from, metrics and outputs of any kind: whatever fusion, liveness,
//! aliasing and the places of gradients could get wrong. Every instruction set must agree with the
//! interpreter, and give the same bits for any number of threads.

mod common;

use std::sync::Arc;

use baq::autodiff::reference::{self, ReferenceInputs, ReferenceStore, Values};
use baq::autodiff::{
    Adam, Axis, Blocking, Clock, Cost, Effect, GroupId, Metric, NOISE_STREAMS, Noise, NoiseKind, ParamId,
    ParamTable, Program, Role, Schedule, Select, Shape, Store, Trace, Tracer, Var, Workspace,
};
use baq_kernels::{Kernels, WORTH_A_TEAM, available, philox};
use common::{Numbers, bits, with_threads};

static METRICS: [Metric; 6] = [
    Metric::new("m0", "", "", ""),
    Metric::new("m1", "", "", ""),
    Metric::new("m2", "", "", ""),
    Metric::new("m3", "", "", ""),
    Metric::new("m4", "", "", ""),
    Metric::new("m5", "", "", ""),
];
const UPDATES: [&str; 5] = ["u0", "u1", "u2", "u3", "u4"];
const OUTPUTS: [&str; 3] = ["o0", "o1", "o2"];
const COLUMNS: [&str; 4] = ["c0", "c1", "c2", "c3"];

/// A trace with a state to run it on.
struct Case {
    trace: Trace,
    store: Store,
    columns: Vec<Vec<f32>>,
}

impl Case {
    /// Random parameters and columns for a trace.
    fn new(trace: Trace, x: &mut Numbers) -> Case {
        let mut store = Store::zeros(trace.table.clone());
        for (p, spec) in store.values.iter_mut().zip(trace.table.params()) {
            let scale = 1.2 / (spec.shape.rows as f64).sqrt();
            p.iter_mut().for_each(|v| *v = (x.unit() * scale) as f32);
        }
        let columns =
            trace.inputs.iter().map(|i| (0..i.shape.len()).map(|_| x.unit() as f32).collect()).collect();
        Case { trace, store, columns }
    }
}

#[derive(Clone, Copy)]
struct Layer {
    w: ParamId,
    b: ParamId,
    /// gain and bias of a normalisation behind it
    norm: Option<[ParamId; 2]>,
    shape: Shape,
}

/// One network of a random program.
struct Network {
    group: GroupId,
    layers: Vec<Layer>,
    vectors: Vec<ParamId>,
}

/// A value with a bound of its size as far as we care to know it.
#[derive(Clone, Copy)]
struct Value<'t> {
    v: Var<'t>,
    size: f64,
}

struct Generator<'t> {
    t: &'t Tracer,
    x: Numbers,
    networks: &'t [Network],
    columns: Vec<Value<'t>>,
    pool: Vec<Value<'t>>,
    rows: usize,
}

fn declare(x: &mut Numbers, widths: &[usize]) -> (ParamTable, Vec<Network>) {
    let mut table = ParamTable::default();
    let mut networks: Vec<Network> = Vec::new();
    let heads = x.pick(&[2, 3]);
    for name in ["n0", "n1", "n2", "n0_target"] {
        let group = table.add_group(name, false);
        let mut network = Network { group, layers: Vec::new(), vectors: Vec::new() };
        let shapes: Vec<(Shape, bool)> = match (name, networks.first()) {
            ("n0_target", Some(first)) => first.layers.iter().map(|l| (l.shape, l.norm.is_some())).collect(),
            _ => (0..1 + x.below(2))
                .map(|_| (Shape::new(x.pick(&[1, heads]), x.pick(widths), x.pick(widths)), x.chance(0.4)))
                .collect(),
        };
        for (i, (shape, norm)) in shapes.into_iter().enumerate() {
            let row = Shape { rows: 1, ..shape };
            let w = table.add(group, &format!("w{i}"), shape);
            let b = table.add(group, &format!("b{i}"), row);
            let norm = norm.then(|| ["gain", "shift"].map(|n| table.add(group, &format!("{n}{i}"), row)));
            network.layers.push(Layer { w, b, norm, shape });
        }
        // The target has the shapes of its source, and only those.
        if !name.starts_with("n0") {
            let shape = Shape::new(x.pick(&[1, 1, heads]), 1, x.pick(&[1, widths[1], widths[2]]));
            network.vectors.push(table.add(group, "vector", shape));
        }
        networks.push(network);
    }
    (table, networks)
}

impl<'t> Generator<'t> {
    fn chosen(&mut self) -> Value<'t> {
        let i = self.x.below(self.pool.len());
        self.pool[i]
    }

    fn matching(&mut self, fits: impl Fn(Shape) -> bool) -> Option<Value<'t>> {
        let found: Vec<_> = self.pool.iter().filter(|p| fits(p.v.shape())).copied().collect();
        (!found.is_empty()).then(|| found[self.x.below(found.len())])
    }

    /// Keeps numbers where f32 can follow.
    fn tame(&mut self, v: Var<'t>, size: f64) -> Value<'t> {
        if size > 4.0 { Value { v: v.tanh(), size: 1.0 } } else { Value { v, size } }
    }

    fn layer(&mut self, layer: Layer) -> Value<'t> {
        let k = layer.shape.rows;
        let input = self
            .matching(|s| s.cols == k && (s.heads == 1 || s.heads == layer.shape.heads))
            .or_else(|| self.columns.iter().find(|c| c.v.shape().cols == k).copied())
            .expect("there is a column of every width");
        let z = match input.v.shape().heads == 1 && layer.shape.heads > 1 && self.x.chance(0.2) {
            // Only some heads, which nobody knows before.
            true => return self.drawn(input, layer),
            false => input.v.linear(self.t.param(layer.w), self.t.param(layer.b)),
        };
        let z = match layer.norm {
            // A small ε would make large numbers of the rounding of equal ones.
            Some([gain, bias]) => z.layer_norm(self.t.param(gain), self.t.param(bias), 0.1),
            None => z,
        };
        match self.x.below(5) {
            0 => Value { v: z, size: 1.0 + input.size },
            1 => Value { v: z.tanh(), size: 1.0 },
            2 => self.tame(z.tanh().total().gradient(input.v), 5.0),
            _ => {
                if self.x.chance(0.2) {
                    // Somebody else reads the value before the activation.
                    self.pool.push(Value { v: z, size: 1.0 + input.size });
                }
                Value { v: z.relu(), size: 1.0 + input.size }
            }
        }
    }

    fn drawn(&mut self, input: Value<'t>, layer: Layer) -> Value<'t> {
        let of = layer.shape.heads;
        let some = Shape::new(1, 1, 1 + self.x.below(of));
        let indices = self.t.noise("heads", NoiseKind::Subset { of }, some);
        let param = |p: ParamId| self.t.param(p).pick_heads(indices);
        let z = input.v.linear(param(layer.w), param(layer.b));
        let z = match layer.norm {
            Some([gain, bias]) => z.layer_norm(param(gain), param(bias), 0.1),
            None => z,
        };
        Value { v: z.min(Axis::Heads), size: 3.0 + input.size }
    }

    fn unary(&mut self) -> Value<'t> {
        let a = self.chosen();
        let small = if a.size > 2.0 { a.v.tanh() } else { a.v };
        match self.x.below(13) {
            0 => self.tame(small.exp(), 7.0),
            1 => Value { v: (a.v.softplus() + 0.5).log(), size: 1.0 + a.size },
            2 => Value { v: a.v.tanh(), size: 1.0 },
            3 => Value { v: a.v.relu(), size: a.size },
            4 => Value { v: a.v.softplus(), size: a.size + 0.7 },
            5 => Value { v: a.v.sigmoid(), size: 1.0 },
            6 => self.tame(a.v.square(), a.size * a.size),
            7 => Value { v: (a.v.softplus() + 0.1).sqrt(), size: 1.0 + a.size },
            8 => Value { v: a.v.abs(), size: a.size },
            9 => Value { v: a.v * -0.7 + 0.1, size: a.size },
            10 => Value { v: a.v.clamp(-0.4, 0.9), size: 0.9 },
            11 => Value { v: a.v.clamp(f64::NEG_INFINITY, 0.3), size: a.size },
            _ => Value { v: a.v.inside(-0.3, 0.8), size: 1.0 },
        }
    }

    fn binary(&mut self) -> Value<'t> {
        let a = self.chosen();
        let s = a.v.shape();
        let join = |x: usize, y: usize| x == y || x == 1 || y == 1;
        let fits = |o: Shape| join(o.heads, s.heads) && join(o.rows, s.rows) && join(o.cols, s.cols);
        let b = self.matching(fits).expect("at least the value itself");
        match self.x.below(9) {
            0 => self.tame(a.v + b.v, a.size + b.size),
            1 => self.tame(a.v - b.v, a.size + b.size),
            2 | 3 => self.tame(a.v * b.v, a.size * b.size),
            4 => self.tame(a.v / (b.v.softplus() + 0.5), 2.0 * a.size),
            5 => Value { v: a.v.minimum(b.v), size: a.size + b.size },
            6 => Value { v: a.v.maximum(b.v), size: a.size + b.size },
            7 => Value { v: a.v.less(b.v), size: 1.0 },
            _ => {
                let tau = match self.x.chance(0.5) {
                    true => self.t.hyper("tau", &Schedule::Linear { from: 0.7, to: 0.9, steps: 4 }),
                    false => b.v.sigmoid().detach(),
                };
                self.tame(a.v.expectile(tau), a.size * a.size)
            }
        }
    }

    fn shaping(&mut self) -> Value<'t> {
        let a = self.chosen();
        let s = a.v.shape();
        let axis = self.x.pick(&[Axis::Heads, Axis::Rows, Axis::Cols]);
        match self.x.below(11) {
            0 => {
                let n = s.dims()
                    [[Axis::Heads, Axis::Rows, Axis::Cols].iter().position(|k| *k == axis).unwrap_or(0)];
                Value { v: a.v.sum(axis) * (1.0 / n as f64), size: a.size }
            }
            1 => Value { v: a.v.mean_over(axis), size: a.size },
            2 => Value { v: a.v.min(axis), size: a.size },
            3 => Value { v: a.v.max(axis), size: a.size },
            4 => Value { v: a.v.log_sum_exp(), size: a.size + (s.cols as f64).ln() },
            5 => match self.matching(|o| (o.heads, o.rows) == (s.heads, s.rows) && o.cols + s.cols < 200) {
                Some(b) => Value { v: a.v.concat(b.v), size: a.size + b.size },
                None => a,
            },
            6 => {
                let start = self.x.below(s.cols);
                let cols = 1 + self.x.below(s.cols - start);
                Value { v: a.v.slice(start, cols), size: a.size }
            }
            7 if s.rows <= self.rows => Value { v: a.v.repeat(1 + self.x.below(3)), size: a.size },
            8 => Value { v: a.v.reshape(Shape::new(1, s.heads * s.rows, s.cols)), size: a.size },
            9 => Value { v: a.v.reshape(Shape::new(s.heads, s.cols, s.rows)), size: a.size },
            _ => Value { v: a.v.detach(), size: a.size },
        }
    }

    fn step(&mut self) {
        let value = match self.x.below(10) {
            0..=3 => {
                let network = &self.networks[self.x.below(self.networks.len())];
                let layer = network.layers[self.x.below(network.layers.len())];
                self.layer(layer)
            }
            4..=5 => self.unary(),
            6..=7 => self.binary(),
            _ => self.shaping(),
        };
        self.pool.push(value);
        if self.pool.len() > 16 {
            let old = self.x.below(self.pool.len() - 1);
            self.pool.swap_remove(old);
        }
    }

    /// A loss that depends on every tensor of a network, and on whatever else is about.
    fn loss(&mut self, network: &Network) -> Var<'t> {
        let mut terms = Vec::new();
        for &layer in &network.layers {
            let y = self.layer(layer);
            terms.push(if self.x.chance(0.5) { y.v.tanh().mean() } else { y.v.square().mean() });
        }
        for &p in &network.vectors {
            let p = self.t.param(p);
            terms.push(match self.x.below(3) {
                0 => p.total(),
                1 => p.tanh().mean(),
                _ => {
                    let x = self.columns[0].v.slice(0, 1);
                    (x * p).square().mean()
                }
            });
        }
        for _ in 0..self.x.below(4) {
            let v = self.chosen();
            terms.push(match self.x.below(3) {
                0 => v.v.mean(),
                1 => v.v.square().mean(),
                _ => {
                    let w = v.v.shape();
                    let weight = self.matching(|o| o == w).map(|w| w.v);
                    v.v.weighted_mean(weight)
                }
            });
        }
        terms.into_iter().reduce(|a, b| a + b * 0.8).expect("there are terms")
    }
}

fn optimiser() -> Adam {
    // A large ε keeps an update a smooth function of its gradient.
    Adam { eps: 0.05, ..Adam::new(Schedule::Cosine { from: 0.1, to: 0.0, steps: 10 }) }
}

/// Decay and a bound on the norm of the gradient: the compiled step against the interpreter's, and against one by hand.
#[test]
fn steps_decay_and_are_clipped() {
    let mut table = ParamTable::default();
    let group = table.add_group("p", false);
    let ids = [3, 5].map(|n| table.add(group, &format!("x{n}"), Shape::new(1, 2, n)));
    let table = Arc::new(table);
    let trace = |optimiser: &Adam| {
        let t = Tracer::new(table.clone());
        let loss = ids.map(|p| (t.param(p) - 1.0).square().total());
        t.train("loss", Role::Critic, group, optimiser, loss[0] + loss[1]);
        t.finish()
    };
    let run = |optimiser: &Adam| {
        let (trace, mut x) = (trace(optimiser), Numbers(6));
        let mut store = Store::zeros(table.clone());
        store.values.iter_mut().flat_map(|v| v.iter_mut()).for_each(|v| *v = 3.0 * x.unit() as f32);
        let (begin, mut exact) = (store.values[0][0], ReferenceStore::from(&store));
        let program = Program::compile(&trace, Select::ALL);
        let mut workspace = Workspace::new(&program);
        for round in 0..3 {
            let clock = Clock { round, phase_round: round };
            program.run(&mut workspace, &mut store, clock, Noise::Seed(0));
            reference::run(&trace, &mut exact, &ReferenceInputs::default(), clock, |_| true);
            for (a, b) in [(&store.values, &exact.values), (&store.gradients, &exact.gradients)] {
                for (a, b) in a.iter().flat_map(|v| v.iter()).zip(b.iter().flatten()) {
                    assert!((f64::from(*a) - b).abs() < 1e-5, "{optimiser}: {a} {b}");
                }
            }
        }
        let norm = exact.gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        (f64::from(begin), exact.values[0][0], norm)
    };
    // A large epsilon makes a step proportional to its gradient.
    let plain = Adam { eps: 10.0, ..Adam::new(Schedule::Constant(0.1)) };
    let (clipped, decayed) = (Adam { clip: 0.5, ..plain }, Adam { decay: 0.2, ..plain });
    let all = [plain, clipped, decayed].map(|o| run(&o));
    assert!((all[1].2 - 0.5).abs() < 1e-6 && all[0].2 > 2.0, "{all:?}");
    // Without a step three decays are left of what it began with; the steps add the same to first order.
    let still = run(&Adam { lr: Schedule::Constant(0.1), clip: 1e-12, decay: 0.2, ..plain });
    assert!((still.1 - still.0 * 0.98f64.powi(3)).abs() < 1e-6, "{still:?}");
    // Each of them makes a difference that the comparison would have seen.
    assert!((all[0].1 - all[1].1).abs() > 1e-3 && (all[0].1 - all[2].1).abs() > 1e-3, "{all:?}");
    // A short gradient is left as it is.
    assert_eq!(run(&Adam { clip: 1e6, ..plain }), all[0]);
}

fn random_case(seed: u64, rows: &[usize], widths: &[usize; 4], operations: usize) -> Case {
    let mut x = Numbers(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1);
    let (table, networks) = declare(&mut x, widths);
    let t = Tracer::new(Arc::new(table));
    let rows = x.pick(rows);
    {
        let columns: Vec<Value<'_>> = COLUMNS
            .iter()
            .zip(widths)
            .map(|(name, w)| Value { v: t.input(name, rows, *w), size: 1.0 })
            .collect();
        let mut pool = columns.clone();
        let noise = |kind, w| Value { v: t.noise("noise", kind, Shape::new(1, rows, w)), size: 3.0 };
        pool.push(noise(NoiseKind::Normal, widths[1]));
        pool.push(noise(NoiseKind::Uniform, widths[2]));
        pool.push(Value { v: t.constant(0.3), size: 0.3 });
        let mut g = Generator { t: &t, x: x.clone(), networks: &networks, columns, pool, rows };
        let (mut updates, mut metrics, mut outputs) = (0, 0, 0);
        for k in 0..operations {
            g.step();
            let last = k + 1 == operations;
            if updates < UPDATES.len() && (g.x.chance(0.12) || last) {
                let network = &networks[g.x.below(3)];
                let loss = g.loss(network);
                let role = g.x.pick(&[Role::Critic, Role::Actor]);
                t.train(UPDATES[updates], role, network.group, &optimiser(), loss);
                updates += 1;
                if g.x.chance(0.5) {
                    let rate = Schedule::Constant(0.3);
                    t.polyak(role, networks[0].group, networks[3].group, "polyak", &rate);
                }
            }
            if metrics < METRICS.len() && (g.x.chance(0.15) || last) {
                let v = g.chosen().v;
                t.metric(&METRICS[metrics], v.mean());
                metrics += 1;
            }
            if outputs < OUTPUTS.len() && (g.x.chance(0.06) || last) {
                let v = match g.x.below(4) {
                    0 => t.param(networks[0].layers[0].w),
                    1 => t.param(networks[3].layers[0].b).detach(),
                    _ => g.chosen().v,
                };
                t.output(OUTPUTS[outputs], v);
                outputs += 1;
            }
        }
        x = g.x;
    }
    Case::new(t.finish(), &mut x)
}

const ROUNDS: u64 = 2;
const SEED: u64 = 3;

/// Results of the interpreter after some rounds.
struct Exact {
    store: ReferenceStore,
    values: Values,
}

fn exact(case: &Case, select: Select) -> Exact {
    let mut store = ReferenceStore::from(&case.store);
    let mut values = Values::new();
    for round in 0..ROUNDS {
        let noise = case
            .trace
            .noises
            .iter()
            .enumerate()
            .map(|(k, n)| {
                let mut out = vec![0.0f32; n.shape.len()];
                let stream = NOISE_STREAMS + k as u32;
                match n.kind {
                    NoiseKind::Normal => philox::fill_normal(SEED, stream, round, &mut out),
                    NoiseKind::Uniform => philox::fill_uniform(SEED, stream, round, &mut out),
                    NoiseKind::Subset { of } => philox::fill_subset(SEED, stream, round, of, &mut out),
                    NoiseKind::Choices { of } => philox::fill_choices(SEED, stream, round, of, &mut out),
                }
                wide(&out)
            })
            .collect();
        let inputs = ReferenceInputs { columns: case.columns.iter().map(|c| wide(c)).collect(), noise };
        let clock = Clock { round, phase_round: round };
        let roles = |role| match role {
            Role::Critic => select.critic,
            Role::Actor => select.actor,
        };
        values = reference::run(&case.trace, &mut store, &inputs, clock, roles);
    }
    Exact { store, values }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn replay(case: &Case, select: Select, kernels: &'static Kernels) -> (Program, Workspace, Store) {
    replay_blocked(case, select, kernels, Blocking::USUAL)
}

fn replay_blocked(
    case: &Case,
    select: Select,
    kernels: &'static Kernels,
    blocking: Blocking,
) -> (Program, Workspace, Store) {
    let program = Program::compile_blocked(&case.trace, select, blocking);
    let mut workspace = Workspace::with_kernels(&program, kernels);
    let mut store = case.store.clone();
    for (input, values) in case.trace.inputs.iter().zip(&case.columns) {
        if let Some(column) = workspace.input_mut(&program, input.name) {
            column.copy_from_slice(values);
        }
    }
    for round in 0..ROUNDS {
        let clock = Clock { round, phase_round: round };
        program.run(&mut workspace, &mut store, clock, Noise::Seed(SEED));
    }
    (program, workspace, store)
}

/// Largest |x - y| relative to the largest |y|, or to `floor` for tensors of smaller numbers.
fn difference(x: &[f32], y: &[f64], floor: f64) -> f64 {
    assert_eq!(x.len(), y.len());
    let scale = y.iter().fold(floor, |m, v| m.max(v.abs()));
    x.iter()
        .zip(y)
        .map(|(x, y)| (f64::from(*x) - y).abs() / scale)
        .fold(0.0, |a, b| if a >= b { a } else { b })
}

/// The worst difference between a replay and the interpreter, and where.
fn compare(case: &Case, select: Select, exact: &Exact, run: &(Program, Workspace, Store)) -> (f64, String) {
    let (program, workspace, store) = run;
    let mut worst = (0.0, String::new());
    let mut note = |d: f64, what: String| {
        if d > worst.0 || d.is_nan() {
            worst = (d, what);
        }
    };
    for id in case.trace.table.ids() {
        let path = &case.trace.table.paths(id)[0].0;
        for (kind, ours, theirs) in [
            ("value", &store.values, &exact.store.values),
            ("moment", &store.first, &exact.store.first),
            ("gradient", &store.gradients, &exact.store.gradients),
        ] {
            note(difference(&ours[id.index()], &theirs[id.index()], 0.01), format!("{kind} of {path}"));
        }
    }
    assert_eq!(store.steps, exact.store.steps);
    let node = |id: baq::autodiff::NodeId| exact.values[id.index()].as_deref().expect("computed");
    for (name, id) in &case.trace.outputs {
        note(difference(workspace.output(program, name), node(*id), 1.0), (*name).into());
    }
    if select.metrics {
        for ((metric, id), value) in case.trace.metrics.iter().zip(workspace.metrics(program)) {
            note(difference(&[value], node(*id), 1.0), metric.name.into());
        }
    }
    for (k, update) in program.updates().iter().enumerate() {
        let loss = case.trace.loss(update.name, &exact.values);
        // A loss is a sum of terms of order 1 that may cancel.
        note(difference(&[workspace.loss(program, k)], &[loss], 1.0), format!("loss of {}", update.name));
    }
    worst
}

const PLAIN: Select = Select { critic: true, actor: true, metrics: false };
const CRITIC: Select = Select { critic: true, actor: false, metrics: true };
const ACTOR: Select = Select { critic: false, actor: true, metrics: false };

/// A replay of one case on every instruction set; `threads` must all give the same bits.
fn check(name: &str, case: &Case, threads: &[usize], tolerance: f64) -> f64 {
    check_blocked(name, case, threads, tolerance, Blocking::USUAL)
}

fn check_blocked(name: &str, case: &Case, threads: &[usize], tolerance: f64, blocking: Blocking) -> f64 {
    let replay = |case: &Case, select, kernels| replay_blocked(case, select, kernels, blocking);
    if threads.len() > 1 {
        // A smaller one is left to a single thread.
        let flops = Program::compile_blocked(&case.trace, PLAIN, blocking).flops();
        assert!(flops >= WORTH_A_TEAM, "{name}: {flops} operations");
    }
    let mut worst = 0.0f64;
    for select in [Select::ALL, PLAIN, CRITIC, ACTOR] {
        let exact = exact(case, select);
        for kernels in available() {
            let first = with_threads(threads[0], || replay(case, select, kernels));
            let (d, place) = compare(case, select, &exact, &first);
            assert!(d <= tolerance, "{name}, {select:?}, {}: {place} differs by {d:e}", kernels.isa);
            worst = worst.max(d);
            for &n in &threads[1..] {
                let again = with_threads(n, || replay(case, select, kernels));
                common::assert_same(
                    &format!("{name}, {select:?}, {}, {n} threads", kernels.isa),
                    &bits(&again.2),
                    &bits(&first.2),
                );
            }
            if select == PLAIN {
                let measured = replay(case, Select::ALL, kernels);
                let what = format!("{name}, {}: with metrics", kernels.isa);
                common::assert_same(&what, &bits(&measured.2), &bits(&first.2));
            }
        }
    }
    worst
}

#[test]
fn random_programs_agree_with_the_interpreter() {
    let mut worst = 0.0f64;
    let mut updates = 0;
    for seed in 0..300 {
        let case = random_case(seed, &[1, 2, 5, 33], &[1, 3, 8, 17], 10 + seed as usize % 40);
        updates += case.trace.items.iter().filter(|i| matches!(i.effect, Effect::Train { .. })).count();
        worst = worst.max(check(&format!("program {seed}"), &case, &[1], 5e-5));
    }
    println!("{updates} updates, worst difference {worst:.1e}");
    assert!(updates > 600, "only {updates} updates");
    assert!(worst > 0.0, "f32 and f64 never differ: one executor is checked with itself");
}

#[test]
fn wide_programs_give_equal_bits_for_any_number_of_threads() {
    for seed in 0..5 {
        let case = random_case(1000 + seed, &[200, 256], &[1, 40, 96, 130], 20);
        check(&format!("wide program {seed}"), &case, &[1, 2, 3, 4, 8], 5e-5);
    }
}

#[test]
fn random_programs_in_blocks_agree_with_the_interpreter() {
    let blocking = Blocking { wide: 12, most: 16 };
    let mut regions = 0;
    for seed in 0..150 {
        let case = random_case(seed, &[12, 30, 33], &[1, 3, 8, 17], 10 + seed as usize % 40);
        regions += Program::compile_blocked(&case.trace, PLAIN, blocking).regions().count();
        check_blocked(&format!("program {seed} in blocks"), &case, &[1], 5e-5, blocking);
    }
    println!("{regions} regions");
    assert!(regions > 30, "only {regions} regions in 150 programs");
}

/// Two critics that value several actions of every state, with a penalty like that of CQL.
fn samples_of_a_state(states: usize, each: usize) -> Case {
    let (s_dim, a_dim, hidden) = (5, 3, 72);
    let mut table = ParamTable::default();
    let q = table.add_group("q", true);
    let widths = [s_dim + a_dim, hidden, hidden, 1];
    let layers: Vec<(ParamId, ParamId)> = (0..3)
        .map(|i| {
            let w = table.add(q, &format!("w{i}"), Shape::new(2, widths[i], widths[i + 1]));
            (w, table.add(q, &format!("b{i}"), Shape::new(2, 1, widths[i + 1])))
        })
        .collect();
    let other = table.add_group("other", false);
    let scale = table.add(other, "scale", Shape::SCALAR);
    let t = Tracer::new(Arc::new(table));
    {
        let (s, r) = (t.input("s", states, s_dim), t.input("r", states, 1));
        let a = t.noise("actions", NoiseKind::Normal, Shape::new(1, states * each, a_dim));
        let w0 = t.param(layers[0].0);
        let of_s = s.linear(w0.rows(0, s_dim), t.param(layers[0].1));
        let h = a.linear(w0.rows(s_dim, a_dim), of_s).relu();
        let h = h.linear(t.param(layers[1].0), t.param(layers[1].1)).relu();
        let values = h.linear(t.param(layers[2].0), t.param(layers[2].1));
        let values = values.reshape(Shape::new(2, states, each));
        let soft = (values * t.param(scale).exp() - r).log_sum_exp();
        t.metric(&METRICS[0], values.max(Axis::Cols).mean());
        t.metric(&METRICS[1], h.square().mean());
        // An update between the values and their gradients, as of a temperature.
        t.train("other", Role::Actor, other, &optimiser(), t.param(scale).square());
        t.train("q", Role::Critic, q, &optimiser(), (soft - r).clamp(-1.0, 3.0).square().mean());
        t.output("o0", soft);
    }
    Case::new(t.finish(), &mut Numbers(17))
}

#[test]
fn a_region_keeps_heads_and_blocks_apart() {
    for (states, each, blocks) in [(24, 10, 3), (24, 10, 6), (24, 7, 24), (128, 3, 2)] {
        let case = samples_of_a_state(states, each);
        let blocking = Blocking { wide: states * each, most: states * each / blocks };
        let program = Program::compile_blocked(&case.trace, PLAIN, blocking);
        assert_eq!(program.regions().collect::<Vec<_>>(), [(2, blocks)]);
        let name = format!("{states} x {each}");
        check_blocked(&name, &case, &[1, 2, 3, 8], 2e-5, blocking);
        let whole = Program::compile(&case.trace, PLAIN);
        assert_eq!(whole.regions().count(), 0, "nothing here is wide");
        assert_eq!(whole.flops(), program.flops());
        assert!(program.bytes() < whole.bytes() || blocks == 2, "{name}: {} bytes", program.bytes());
    }
}

#[test]
fn what_blocks_cannot_keep_apart_stays_whole() {
    // Heads meet in a minimum between wide layers; rows meet in a mean between them.
    for mix in [0, 1] {
        let mut table = ParamTable::default();
        let g = table.add_group("g", false);
        let (w, b) = (table.add(g, "w", Shape::new(2, 4, 4)), table.add(g, "b", Shape::new(2, 1, 4)));
        let t = Tracer::new(Arc::new(table));
        let x = t.input("x", 64, 4);
        let y = x.linear(t.param(w), t.param(b)).relu();
        let y = if mix == 0 { y.min(Axis::Heads) } else { y - y.mean_over(Axis::Rows) };
        let z = y.linear(t.param(w), t.param(b));
        t.train("z", Role::Critic, g, &optimiser(), z.square().mean());
        let case = Case::new(t.finish(), &mut Numbers(3));
        let blocking = Blocking { wide: 16, most: 16 };
        assert_eq!(Program::compile_blocked(&case.trace, PLAIN, blocking).regions().count(), 0);
        check_blocked("mixed", &case, &[1], 2e-5, blocking);
    }
}

#[test]
fn the_comparison_can_fail() {
    let case = random_case(5, &[5], &[1, 3, 8, 17], 20);
    let good = exact(&case, PLAIN);
    let mut run = replay(&case, PLAIN, baq_kernels::best());
    assert!(compare(&case, PLAIN, &good, &run).0 < 2e-4);
    run.2.values[0][0] *= 1.01;
    assert!(compare(&case, PLAIN, &good, &run).0 > 2e-4, "a wrong parameter passes");
    let mut other = random_case(5, &[5], &[1, 3, 8, 17], 20);
    other.columns[1][0] += 0.1;
    other.columns[2][0] += 0.1;
    let run = replay(&other, PLAIN, baq_kernels::best());
    assert!(compare(&case, PLAIN, &good, &run).0 > 2e-4, "another batch passes");
}

/// One network with a layer `[1, 3, 4]` and a vector `[1, 1, 4]`, and a second layer of another network.
fn small(build: impl FnOnce(&Tracer, [ParamId; 3], [GroupId; 2], [ParamId; 2])) -> Case {
    let mut table = ParamTable::default();
    let g = table.add_group("g", false);
    let w = table.add(g, "w", Shape::new(1, 3, 4));
    let b = table.add(g, "b", Shape::new(1, 1, 4));
    let v = table.add(g, "v", Shape::new(1, 1, 4));
    let h = table.add_group("h", false);
    let w2 = table.add(h, "w", Shape::new(1, 4, 4));
    let b2 = table.add(h, "b", Shape::new(1, 1, 4));
    let t = Tracer::new(Arc::new(table));
    build(&t, [w, b, v], [g, h], [w2, b2]);
    Case::new(t.finish(), &mut Numbers(9))
}

#[test]
fn a_value_keeps_the_parameters_of_its_place_in_the_trace() {
    // The parameter itself, a view of it, an activation and a gradient are all computed after the step that
    // moves what they are made of.
    let case = small(|t, [w, b, v], [g, h], [w2, b2]| {
        let x = t.input("x", 6, 3);
        let before = (t.param(w), t.param(v).detach());
        let y = x.linear(t.param(w), t.param(b)) * t.param(v);
        let q = y.linear(t.param(w2), t.param(b2));
        let z = x.linear(t.param(w), t.param(b));
        let late = q.square().mean() + y.mean();
        t.train("q", Role::Critic, h, &optimiser(), q.mean());
        t.train("late", Role::Actor, g, &optimiser(), late);
        t.metric(&METRICS[0], before.0.square().total());
        t.metric(&METRICS[1], before.1.square().total());
        t.metric(&METRICS[2], z.relu().mean());
        t.output("o0", t.param(w));
        t.output("o1", before.0);
    });
    check("kept values", &case, &[1], 1e-5);
    let (program, workspace, store) = replay(&case, Select::ALL, baq_kernels::best());
    assert_eq!(workspace.output(&program, "o0"), &*store.values[0]);
    assert_ne!(workspace.output(&program, "o1"), workspace.output(&program, "o0"));
}

#[test]
fn gradients_that_are_leaves_or_shared_or_needed_twice() {
    // ∂/∂v of Σ v c is c itself; two updates of one network with one and the same gradient node; two
    // tensors with the same gradient; a loss that is a parameter.
    let case = small(|t, [w, b, v], [g, _], [_, _]| {
        let c = t.input("c", 1, 4);
        let pull = || {
            let linear = t.param(w).total() + t.param(b).total() * 2.0;
            linear + (t.param(v) * c).total() + (t.param(b) * c).total()
        };
        t.train("first", Role::Critic, g, &optimiser(), pull());
        t.train("second", Role::Critic, g, &optimiser(), pull());
        t.train("third", Role::Actor, g, &optimiser(), pull());
    });
    check("leaves", &case, &[1], 1e-5);
    let mut table = ParamTable::default();
    let g = table.add_group("g", false);
    let p = table.add(g, "p", Shape::SCALAR);
    let t = Tracer::new(Arc::new(table));
    let loss = t.param(p);
    t.metric(&METRICS[0], loss);
    t.train("p", Role::Critic, g, &optimiser(), loss);
    check("a parameter as loss", &Case::new(t.finish(), &mut Numbers(1)), &[1], 1e-6);
}

#[test]
fn column_sums_that_are_read_before_the_weight_gradient() {
    // v is added to the layer's output through a tanh, so that the sums of dy are wanted twice, and first by v.
    let case = small(|t, [w, b, v], [g, _], [_, _]| {
        let x = t.input("x", 6, 3);
        let y = x.linear(t.param(w), t.param(b)) + t.param(v).tanh();
        t.train("y", Role::Critic, g, &optimiser(), y.square().mean());
    });
    check("sums", &case, &[1], 1e-5);
}

#[test]
fn a_fused_program_has_no_separate_activations() {
    let case = small(|t, [w, b, v], [g, _], [_, _]| {
        let x = t.input("x", 6, 3);
        let y = x.linear(t.param(w), t.param(b)).relu() * t.param(v);
        t.train("y", Role::Critic, g, &optimiser(), y.mean());
    });
    let program = Program::compile(&case.trace, PLAIN);
    let nodes = case.trace.graph.nodes().len();
    // linear + relu, v·y, mean (2 sums, 1 scale), its gradient, v's two, the mask, dW + db
    assert!(program.kernels() <= 11, "{} kernels for {nodes} nodes", program.kernels());
}

/// Values of a network with normalised hidden layers, of all heads or of those drawn.
fn value<'t>(t: &'t Tracer, layers: &[Vec<ParamId>], x: Var<'t>, drawn: Option<Var<'t>>) -> Var<'t> {
    let param = |p: ParamId| drawn.map_or(t.param(p), |heads| t.param(p).pick_heads(heads));
    layers.iter().fold(x, |x, layer| {
        let z = x.linear(param(layer[0]), param(layer[1]));
        match layer[..] {
            [_, _, gain, shift] => z.layer_norm(param(gain), param(shift), 1e-6).relu(),
            _ => z,
        }
    })
}

/// Critics with normalised layers, whose target is a column or the minimum of two that are drawn.
fn normalised_critics(rows: usize, heads: usize, hidden: usize, drawn: bool) -> Case {
    let s_dim = 5;
    let mut table = ParamTable::default();
    let widths = [s_dim, hidden, hidden, 1];
    let networks = ["q", "q_target"].map(|name| {
        let group = table.add_group(name, true);
        let layers: Vec<Vec<ParamId>> = (0..3)
            .map(|i| {
                let row = Shape::new(heads, 1, widths[i + 1]);
                let w = table.add(group, &format!("w{i}"), Shape::new(heads, widths[i], widths[i + 1]));
                let vectors = if i < 2 { &["b", "gain", "shift"][..] } else { &["b"] };
                let vectors = vectors.iter().map(|v| table.add(group, &format!("{v}{i}"), row));
                std::iter::once(w).chain(vectors).collect()
            })
            .collect();
        (group, layers)
    });
    let t = Tracer::new(Arc::new(table));
    {
        let (s, s2) = (t.input("s", rows, s_dim), t.input("s2", rows, s_dim));
        let two = t.noise("critics", NoiseKind::Subset { of: heads }, Shape::new(1, 1, 2));
        let y = match drawn {
            true => value(&t, &networks[1].1, s2, Some(two)).min(Axis::Heads) * 0.9,
            false => s2.slice(0, 1),
        };
        let loss = (value(&t, &networks[0].1, s, None) - y).square().mean();
        t.train("q", Role::Critic, networks[0].0, &optimiser(), loss);
        let rate = Schedule::Constant(0.1);
        t.polyak(Role::Critic, networks[0].0, networks[1].0, "polyak", &rate);
        t.output("o0", two);
    }
    Case::new(t.finish(), &mut Numbers(23))
}

#[test]
fn normalised_critics_share_kernels_and_run_in_blocks() {
    let case = normalised_critics(64, 5, 80, true);
    let program = Program::compile(&case.trace, PLAIN);
    let kinds: Vec<&str> = program.costs().iter().map(|cost| cost.kind).collect();
    let count = |kind: &str| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!((count("layer_norm"), count("layer_norm_grad")), (4, 2), "{kinds:?}");
    let relu = |cost: &Cost| cost.kind == "layer_norm" && cost.sizes.ends_with(" relu");
    assert_eq!(program.costs().iter().filter(|cost| relu(cost)).count(), 4);
    // The heads of 10 tensors are picked.
    assert_eq!(count("copy"), 10, "{kinds:?}");
    let layers: Vec<usize> = program.layers().iter().map(|l| l.heads).collect();
    assert!(layers.contains(&2) && layers.contains(&5), "{layers:?}");
    check("drawn critics", &case, &[1, 2, 3], 5e-5);
    for (rows, blocks) in [(128, 2), (192, 3)] {
        let case = normalised_critics(rows, 3, 72, false);
        let blocking = Blocking { wide: rows, most: rows / blocks };
        let program = Program::compile_blocked(&case.trace, PLAIN, blocking);
        assert_eq!(program.regions().collect::<Vec<_>>(), [(3, blocks)]);
        check_blocked("normalised critics in blocks", &case, &[1, 2, 8], 5e-5, blocking);
    }
}

#[test]
fn nan_is_treated_alike_by_both_executors() {
    // A divergence must show in the interpreter wherever it shows in the kernels.
    let t = Tracer::new(Default::default());
    let (x, y) = (t.input("x", 2, 4), t.input("y", 2, 4));
    let all = [
        x.relu(),
        x.clamp(-1.0, 1.0),
        x.abs(),
        x.inside(-1.0, 1.0),
        x.minimum(y),
        x.maximum(y),
        x.less(y),
        x.min(Axis::Rows),
        x.max(Axis::Cols),
        x.min(Axis::Cols),
        x.sum(Axis::Cols),
        x.log_sum_exp(),
        x.expectile(t.constant(0.7)),
    ];
    const NAMES: [&str; 13] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
    for (name, v) in NAMES.iter().zip(all) {
        t.output(name, v);
    }
    let nan = f32::NAN;
    let columns = vec![
        vec![nan, -2.0, 0.5, f32::INFINITY, 1.0, 2.0, 3.0, 4.0],
        vec![1.0, nan, nan, 0.0, 1.0, 0.0, nan, 9.0],
    ];
    let case = Case { store: Store::zeros(Default::default()), columns, trace: t.finish() };
    let case = Case { store: Store::zeros(case.trace.table.clone()), ..case };
    let exact = exact(&case, Select::ALL);
    let mut nans = 0;
    for kernels in available() {
        let (program, workspace, _) = replay(&case, Select::ALL, kernels);
        for (name, id) in &case.trace.outputs {
            let want = exact.values[id.index()].as_deref().expect("computed");
            for (k, (got, want)) in workspace.output(&program, name).iter().zip(want).enumerate() {
                let same = (f64::from(*got) - want).abs() < 1e-5 || f64::from(*got) == *want;
                let place = format!("output {name}[{k}], {}: {got}, interpreter {want}", kernels.isa);
                assert!(same || (got.is_nan() && want.is_nan()), "{place}");
                nans += usize::from(got.is_nan());
            }
        }
    }
    assert!(nans > 20, "only {nans} NaN");
}
