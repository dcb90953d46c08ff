//! The denoiser, its samplers, and what generators make of them.

mod common;

use std::sync::Arc;

use baq::adapt::edis::{Energy, bounded};
use baq::adapt::generator::Task;
use baq::algo::Dims;
use baq::audit::gradcheck;
use baq::autodiff::reference::{self, ReferenceStore};
use baq::autodiff::{
    Adam, Clock, Noise, NoiseKind, ParamTable, Program, Role, Schedule, Select, Store, Tracer, Workspace,
};
use baq::config::NetSpec;
use baq::nn::Params;
use baq::nn::diffusion::{self, Denoiser, Drawing, KNOWN, Method, Sampler, slope};
use baq::replay::pools::{GENERATED, OFFLINE, ONLINE};
use baq::replay::{self, Draw, Layout, Pools, Recipe, Source};
use baq::train::generation::Drawer;
use common::{Numbers, small};

/// Rows of one draw.
const ROWS: usize = 500;
const BATCH: usize = 256;
const HEUN: Sampler = Sampler { steps: 16, method: Method::Heun, churn: 0.0 };

/// A denoiser of rows of `size` numbers.
struct Toy {
    denoiser: Denoiser,
    table: Arc<ParamTable>,
    store: Store,
    labels: usize,
    energy: Option<Energy>,
}

impl Toy {
    fn new(size: usize, labels: usize) -> Toy {
        Toy::with(size, labels, |_| None)
    }

    /// Of one number, with an energy.
    fn guided_by_an_energy() -> Toy {
        Toy::with(1, 0, |params| Some(Energy::declare(params, "energy", 1, &NetSpec::from(vec![64, 64]))))
    }

    fn with(size: usize, labels: usize, energy: impl Fn(&mut Params) -> Option<Energy>) -> Toy {
        let mut params = Params::default();
        let spec = NetSpec::from(vec![32, 96, 96, 96]);
        let denoiser = Denoiser::declare(&mut params, "denoiser", (size, labels), &spec).expect("widths");
        let energy = energy(&mut params);
        let (table, store) = params.finish(3);
        Toy { denoiser, table, store, labels, energy }
    }

    /// Learns from batches that `rows` fills: rows `[B, D]` and labels `[B, labels]`.
    fn learn(&mut self, updates: u64, mut rows: impl FnMut(&mut [f32], &mut [f32])) {
        let t = Tracer::new(self.table.clone());
        let x = t.input("x", BATCH, self.denoiser.size());
        let label = (self.labels > 0).then(|| t.input("label", BATCH, self.labels));
        let mut optimiser = diffusion::optimiser().adam();
        optimiser.lr = "cosine(0.002, 0, auto)".parse::<baq::autodiff::Schedule>().unwrap().over(updates);
        self.denoiser.train(&t, &optimiser, 0.1, self.denoiser.loss(x, label));
        let trace = t.finish();
        let of = |actor| Program::compile(&trace, Select { critic: true, actor, metrics: false });
        let programs = [of(false), of(true)];
        let mut workspaces = [Workspace::new(&programs[0]), Workspace::new(&programs[1])];
        let (mut x, mut label) = (vec![0.0; BATCH * self.denoiser.size()], vec![0.0; BATCH * self.labels]);
        for round in 0..updates {
            rows(&mut x, &mut label);
            let k = usize::from((round + 1) % diffusion::AVERAGED_EVERY == 0);
            let (program, workspace) = (&programs[k], &mut workspaces[k]);
            workspace.input_mut(program, "x").expect("it reads rows").copy_from_slice(&x);
            if let Some(input) = workspace.input_mut(program, "label") {
                input.copy_from_slice(&label);
            }
            program.run(workspace, &mut self.store, Clock { round, phase_round: round }, Noise::Seed(5));
        }
    }

    fn draw(&mut self, sampler: Sampler, slope: &diffusion::Slope<'_>, seed: u64) -> Vec<f32> {
        let mut drawer = Drawer::new(&self.drawing(sampler, 0, slope));
        drawer.run(&mut self.store, Noise::Seed(seed));
        drawer.output("rows").to_vec()
    }

    fn drawing(&self, sampler: Sampler, known: usize, slope: &diffusion::Slope<'_>) -> Drawing {
        let sizes = (ROWS, self.denoiser.size(), known);
        sampler.trace(&self.table, sizes, slope, &|t, x| t.output("rows", x))
    }

    fn unguided(&mut self, sampler: Sampler) -> Vec<f32> {
        let denoiser = self.denoiser.clone();
        self.draw(sampler, &|x, sigma| slope(x, sigma, denoiser.denoise(x, sigma, None)), 9)
    }
}

fn normal(x: &mut Numbers) -> f64 {
    (0..12).map(|_| x.unit()).sum::<f64>() / 2.0
}

/// Two half circles that reach into each other, standardised, with a little noise.
fn moons(x: &mut Numbers, out: &mut [f32]) {
    for row in out.chunks_exact_mut(2) {
        let angle = (x.unit() + 1.0) * std::f64::consts::FRAC_PI_2;
        let (a, b) = match x.chance(0.5) {
            true => (angle.cos(), angle.sin()),
            false => (1.0 - angle.cos(), 0.5 - angle.sin()),
        };
        let noise = [normal(x), normal(x)].map(|e| 0.06 * e);
        row.copy_from_slice(&[((a + noise[0] - 0.5) / 0.87) as f32, ((b + noise[1] - 0.25) / 0.5) as f32]);
    }
}

/// Szekely's energy distance of two sets of points in the plane: 2 E|X-Y| - E|X-X'| - E|Y-Y'|.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let mean = |a: &[f32], b: &[f32]| {
        let pairs = a.chunks_exact(2).flat_map(|p| b.chunks_exact(2).map(move |q| (p, q)));
        let (mut sum, mut n) = (0.0, 0.0);
        for (p, q) in pairs {
            sum += f64::from((p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2)).sqrt();
            n += 1.0;
        }
        sum / n
    };
    2.0 * mean(a, b) - mean(a, a) - mean(b, b)
}

#[test]
fn two_moons() {
    let mut x = Numbers(1);
    let mut toy = Toy::new(2, 0);
    let (mut held_out, mut others, mut gaussian) = (vec![0.0; 4000], vec![0.0; 4000], vec![0.0; 4000]);
    moons(&mut Numbers(77), &mut held_out);
    moons(&mut Numbers(78), &mut others);
    gaussian.fill_with(|| normal(&mut x) as f32);
    let untrained = distance(&toy.unguided(HEUN), &held_out);
    toy.learn(3000, |rows, _| moons(&mut x, rows));
    let same = distance(&others, &held_out);
    let gaussian = distance(&gaussian, &held_out);
    let ddim = Sampler { method: Method::Ddim, steps: 64, ..HEUN };
    let churned = Sampler { churn: 10.0, ..HEUN };
    for sampler in [HEUN, ddim, churned] {
        let trained = distance(&toy.unguided(sampler), &held_out);
        println!(
            "{sampler:?}: {trained:.4}, untrained {untrained:.4}, moments alone {gaussian:.4}, data {same:.4}"
        );
        assert!(trained < 0.1 * untrained && trained < 0.2 * gaussian, "{sampler:?}: {trained}");
    }
}

#[test]
fn the_last_slope_leads_to_the_denoised_rows() {
    // D(x; σ) is x where there is no noise.
    let toy = Toy::new(3, 0);
    let t = Tracer::new(toy.table.clone());
    let x = t.input("x", 4, 3);
    t.output("d", toy.denoiser.denoise(x, t.constant(1e-5), None));
    let program = Program::compile(&t.finish(), Select::ALL);
    let mut workspace = Workspace::new(&program);
    let rows: Vec<f32> = Numbers(4).units(12).iter().map(|x| *x as f32).collect();
    workspace.input_mut(&program, "x").expect("it reads rows").copy_from_slice(&rows);
    program.run(&mut workspace, &mut toy.store.clone(), Clock::default(), Noise::Seed(0));
    for (a, b) in rows.iter().zip(workspace.output(&program, "d")) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn levels_fall_from_80_to_0() {
    let levels = Sampler { steps: 128, method: Method::Heun, churn: 80.0 }.levels();
    assert_eq!((levels.len(), levels[0].sigma, levels[127].next), (128, 80.0, 0.0));
    assert!((levels[126].next - 0.002).abs() < 1e-12);
    for pair in levels.windows(2) {
        let below = pair[0].next;
        let churned = (0.05..=50.0).contains(&below);
        let factor = if churned { 2f64.sqrt().min(1.0 + 80.0 / 128.0) } else { 1.0 };
        assert!((pair[1].sigma / below - factor).abs() < 1e-12 && (pair[1].added > 0.0) == churned);
        assert!(pair[1].next < below);
    }
}

/// The first column is given; the other depends on it.
#[test]
fn inpainting_keeps_what_is_given() {
    let (mut x, mut toy) = (Numbers(2), Toy::new(2, 0));
    toy.learn(1500, |rows, _| {
        for row in rows.chunks_exact_mut(2) {
            let a = normal(&mut x);
            row.copy_from_slice(&[a as f32, (0.9 * a + 0.2 * normal(&mut x)) as f32]);
        }
    });
    let given: Vec<f32> = (0..ROWS).map(|_| normal(&mut x) as f32).collect();
    for sampler in [HEUN, Sampler { churn: 10.0, method: Method::Ddim, ..HEUN }] {
        let denoiser = toy.denoiser.clone();
        let plain: &diffusion::Slope<'_> = &|x, sigma| slope(x, sigma, denoiser.denoise(x, sigma, None));
        let mut drawer = Drawer::new(&toy.drawing(sampler, 1, plain));
        drawer.set(KNOWN, &given);
        drawer.run(&mut toy.store, Noise::Seed(8));
        let rows = drawer.output("rows");
        let mut error = 0.0;
        for (row, given) in rows.chunks_exact(2).zip(&given) {
            assert!((row[0] - given).abs() <= 1e-6, "{row:?} {given}");
            error += f64::from(row[1] - 0.9 * given).abs() / ROWS as f64;
        }
        assert!(error < 0.45, "{sampler:?}: the drawn column does not follow the given one: {error}");
    }
}

/// Two Gaussians, one for each label: their means come back, and guidance moves rows away from the other class.
#[test]
fn labels_and_guidance() {
    let (mut x, mut toy) = (Numbers(3), Toy::new(1, 3));
    toy.learn(2000, |rows, labels| {
        for (row, label) in rows.iter_mut().zip(labels.chunks_exact_mut(3)) {
            let class = x.below(2);
            *row = (if class == 0 { -0.8 } else { 0.8 } + 0.6 * normal(&mut x)) as f32;
            label.fill(0.0);
            label[if x.chance(0.1) { 2 } else { class }] = 1.0;
        }
    });
    let mean = |rows: &[f32]| rows.iter().map(|x| f64::from(*x)).sum::<f64>() / rows.len() as f64;
    for (class, centre) in [(0, -0.8), (1, 0.8)] {
        let at = |toy: &mut Toy, w: f64| {
            let denoiser = toy.denoiser.clone();
            mean(&toy.draw(HEUN, &|x, sigma| slope(x, sigma, denoiser.guided(x, sigma, class, w)), 4))
        };
        let (plain, some, more) = (at(&mut toy, 0.0), at(&mut toy, 1.0), at(&mut toy, 3.0));
        println!("class {class}: {plain:.3} {some:.3} {more:.3}");
        assert!((plain - centre).abs() < 0.12, "class {class}: mean {plain}");
        let away = centre.signum();
        assert!(some * away > plain * away + 0.05 && more * away > some * away + 0.05);
    }
}

/// Without guidance: the rows of the plain conditional model, at half the cost of a step.
#[test]
fn no_guidance_is_one_evaluation() {
    let mut toy = Toy::new(2, 3);
    let denoiser = toy.denoiser.clone();
    let plain: &diffusion::Slope<'_> = &|x, sigma| slope(x, sigma, denoiser.denoise(x, sigma, Some(1)));
    let zero: &diffusion::Slope<'_> = &|x, sigma| slope(x, sigma, denoiser.guided(x, sigma, 1, 0.0));
    let some: &diffusion::Slope<'_> = &|x, sigma| slope(x, sigma, denoiser.guided(x, sigma, 1, 0.5));
    let flops = [plain, zero, some].map(|s| Drawer::new(&toy.drawing(HEUN, 0, s)).step_flops());
    assert_eq!(flops[0], flops[1]);
    // What does not depend on the label is computed once.
    assert!(flops[2] as f64 > 1.8 * flops[1] as f64, "{flops:?}");
    let rows = [plain, zero, some].map(|s| toy.draw(HEUN, s, 6));
    assert_eq!(rows[0], rows[1]);
    assert_ne!(rows[1], rows[2]);
}

/// An agent whose generator is small, and the transitions that it learns from.
fn generating(base: &str, sets: &[&str]) -> baq::train::agent::Agent {
    let own = ["run.generator=cfdg", "cfdg.updates=12", "cfdg.rows=150", "cfdg.batch=32", "cfdg.steps=3"];
    small(base, "plain", DIMS, &[&own[..], sets].concat())
}

const DIMS: Dims = Dims { s: 3, a: 2, batch: 90 };

/// Draws rows that the replay has around 0 with this standard deviation.
fn drawn(store: &mut Store, drawing: &Drawing, std: f32) -> Drawer {
    let normalised = 2 * DIMS.s + DIMS.a + 1;
    let mut drawer = Drawer::new(drawing);
    drawer.set(replay::ROW_MEAN, &vec![0.0; normalised]);
    drawer.set(replay::ROW_STD, &vec![std; normalised]);
    drawer.run(store, Noise::Seed(5));
    drawer
}

/// While it learns a row of the data has the first label, a collected one the second, a hidden one the third; draws have that of
/// their pool, also where the other pool has no rows.
#[test]
fn labels_are_those_of_the_rows() {
    let agent = generating("iql", &[]);
    let stages = agent.refresh();
    let Task::Learn { trace, .. } = &stages[0].task else { panic!("the first stage learns") };
    let labels = agent.table.ids().find(|id| agent.table.name(*id) == "denoiser.labels");
    let labels = labels.expect("it has labels");
    let width = agent.table.param(labels).shape.cols;
    for (online, unit, label) in [(0.0, 1.0, 0), (1.0, 1.0, 1), (0.0, 0.0, 2), (1.0, 0.0, 2)] {
        let mut inputs = gradcheck::synthetic(trace, 1);
        for (input, numbers) in trace.inputs.iter().zip(&mut inputs.columns) {
            if input.name == replay::ONLINE {
                numbers.fill(online);
            }
        }
        for (noise, numbers) in trace.noises.iter().zip(&mut inputs.noise) {
            if noise.kind == NoiseKind::Uniform {
                numbers.fill(unit);
            }
        }
        let mut store = ReferenceStore::from(&agent.store);
        reference::run(trace, &mut store, &inputs, Clock::default(), |_| true);
        let slopes = store.gradients[labels.index()].chunks_exact(width);
        let learnt: Vec<bool> = slopes.map(|row| row.iter().any(|x| *x != 0.0)).collect();
        assert_eq!(learnt, [0, 1, 2].map(|k| k == label), "online {online}, number {unit}");
    }
    for (share, pools) in [("0.8", &GENERATED[..]), ("1", &GENERATED[1..])] {
        let agent = generating("iql", &["cfdg.guidance=0", &format!("cfdg.online_share={share}")]);
        let average = agent.table.ids().find(|id| agent.table.name(*id) == "denoiser_average.labels");
        let average = average.expect("it has labels");
        let stages = agent.refresh();
        let names: Vec<&str> = stages[1..].iter().map(|stage| stage.name).collect();
        assert_eq!(names, pools);
        for stage in &stages[1..] {
            let Task::Draw { pool, drawing } = &stage.task else { panic!("then it draws") };
            let rows = |other: Option<usize>| {
                let mut store = agent.store.clone();
                if let Some(k) = other {
                    store.values[average.index()][k * width..][..width].fill(0.5);
                }
                drawn(&mut store, drawing, 1.0).output(replay::S).to_vec()
            };
            let plain = rows(None);
            let read = [0, 1, 2].map(|k| rows(Some(k)) != plain);
            assert_eq!(read, [0, 1, 2].map(|k: usize| GENERATED.get(k) == Some(pool)), "{pool}");
        }
    }
}

#[test]
fn labels_are_two_to_eight() {
    for (batch, parts) in [(90, [6, 24]), (256, [17, 68]), (300, [20, 80])] {
        let generator = generating("iql", &[]).generator.expect("it was asked for");
        assert_eq!(generator.pools(), [(GENERATED[0], 30), (GENERATED[1], 120)]);
        let sources = GENERATED.map(Source::Pool);
        assert_eq!(generator.parts(batch), [(sources[0], parts[0]), (sources[1], parts[1])]);
        // In a batch, behind what the method's own rule draws: the very rows that it would draw alone.
        let sizes = [(OFFLINE, 40), (ONLINE, 60), (GENERATED[0], 30), (GENERATED[1], 120)];
        let mut pools = Pools::new(Layout::new(&[(replay::D2, 1)]), &sizes);
        sizes.iter().for_each(|(name, n)| pools.load(name, *n, &[]).expect("they fit"));
        let left = batch - parts[0] - parts[1];
        let recipe = Recipe::Generated {
            real: Box::new(Recipe::mix(0.5, left)),
            parts: generator.parts(batch),
            whole: Box::new(Recipe::mix(0.5, batch)),
            stream: 16,
        };
        for update in 0..50 {
            let (mut rows, mut weights) = (vec![0; batch], vec![0.0; batch]);
            recipe.compose(Draw { seed: 5, stream: 1, update }, &pools, None, 0.0, &mut rows, &mut weights);
            let count = |name| rows.iter().filter(|row| pools.pool_of(**row as usize).name() == name).count();
            assert_eq!(GENERATED.map(count), parts);
            let mut alone = vec![0; left];
            let draw = Draw { seed: 5, stream: 1, update };
            Recipe::mix(0.5, left).compose(draw, &pools, None, 0.0, &mut alone, &mut vec![0.0; left]);
            assert_eq!(rows[..left], alone);
            assert!(rows.iter().all(|row| {
                let online = [ONLINE, GENERATED[1]].contains(&pools.pool_of(*row as usize).name());
                pools.is_online(*row as usize) == online
            }));
        }
        // What concerns all rows does not concern these.
        assert_eq!((pools.len(), pools.capacity(), pools.iter().count()), (100, 100, 2));
    }
}

/// Of two-sided data, what is collected is positive: the energy pulls draws there.
#[test]
fn an_energy_moves_the_mass() {
    let (mut x, mut toy) = (Numbers(9), Toy::guided_by_an_energy());
    toy.learn(1500, |rows, _| rows.fill_with(|| normal(&mut x) as f32));
    let negative = toy.unguided(HEUN);
    let (k, rows) = (10, 50);
    let energy = toy.energy.take().expect("it was declared");
    let t = Tracer::new(toy.table.clone());
    let loss = energy.loss(t.input("positive", rows, 1), t.input(replay::NEGATIVES, rows * k, 1));
    t.train("energy", Role::Critic, energy.group(), &Adam::new(Schedule::Constant(1e-3)), loss);
    let program = Program::compile(&t.finish(), Select::ALL);
    let mut workspace = Workspace::new(&program);
    for round in 0..600 {
        let positive: Vec<f32> = (0..rows).map(|_| normal(&mut x).abs() as f32).collect();
        workspace.input_mut(&program, "positive").expect("read").copy_from_slice(&positive);
        let others: Vec<f32> = (0..rows * k).map(|_| negative[x.below(ROWS)]).collect();
        workspace.input_mut(&program, replay::NEGATIVES).expect("read").copy_from_slice(&others);
        program.run(&mut workspace, &mut toy.store, Clock { round, phase_round: round }, Noise::Seed(2));
        if round == 0 {
            let (loss, chance) = (workspace.loss(&program, 0), (1.0 + k as f32).ln());
            assert!((loss - chance).abs() < 0.1, "at first {loss}, by chance {chance}");
        }
    }
    let share = |rows: &[f32]| rows.iter().filter(|x| **x > 0.0).count() as f64 / rows.len() as f64;
    let before = share(&negative);
    let denoiser = toy.denoiser.clone();
    let after = share(&toy.draw(
        HEUN,
        &|x, sigma| {
            let plain = slope(x, sigma, denoiser.denoise(x, sigma, None));
            plain + bounded(energy.gradient(x, sigma) * 2.0)
        },
        9,
    ));
    println!("positive: {before:.3} of the rows without the energy, {after:.3} with it");
    assert!((before - 0.5).abs() < 0.1 && after >= 0.9, "{before} {after}");
}

#[test]
fn energies_that_do_not_pull_change_nothing() {
    let rows = |state: &str, policy: &str, transition: &str| {
        let sets = [
            "run.generator=edis",
            "edis.rows=40",
            "edis.energy_batch=4",
            "edis.negatives=10",
            "edis.steps=4",
            &format!("edis.state={state}"),
            &format!("edis.policy={policy}"),
            &format!("edis.transition={transition}"),
        ];
        let mut agent = small("iql", "plain", DIMS, &sets);
        let stages = agent.refresh();
        let mut draw =
            |drawing: &Drawing, name: &str| drawn(&mut agent.store, drawing, 1.0).output(name).to_vec();
        let Task::Draw { drawing, .. } = &stages[4].task else { panic!("the last stage draws") };
        let guided = [replay::S, replay::R, replay::S2, replay::A].map(|name| draw(drawing, name));
        // The negatives of the state's energy are draws without energies.
        let Task::Contrast { drawing, .. } = &stages[1].task else { panic!("the second stage contrasts") };
        let plain = draw(drawing, diffusion::X);
        let column = |from: usize, n: usize| -> Vec<f32> {
            plain.chunks_exact(2 * DIMS.s + DIMS.a + 1).flat_map(|row| row[from..from + n].to_vec()).collect()
        };
        let (s, a) = (DIMS.s, DIMS.a);
        let plain = [column(0, s), column(s + a, 1), column(s + a + 1, s)];
        (guided[..3] == plain, guided)
    };
    let (same, zero) = rows("0", "0", "0");
    assert!(same, "without a pull the rows are those of the sampler without energies");
    // Each moves its own block first, and with it the others.
    for pull in [["3", "0", "0"], ["0", "3", "0"], ["0", "0", "3"]] {
        let (same, some) = rows(pull[0], pull[1], pull[2]);
        assert!(!same && some != zero, "{pull:?} pulls nowhere");
    }
}

/// Under a denoiser that knows nothing columns do not mix, and an energy that rises by so much in each column as the column's number
/// says moves its own block: down, and by the slopes of that block.
#[test]
fn each_energy_pulls_its_own_block_down() {
    let (s, a) = (DIMS.s, DIMS.a);
    let columns = |[state, policy, transition]: [&str; 3]| -> Vec<Vec<f32>> {
        let sets = [
            "run.generator=edis",
            "edis.rows=40",
            "edis.steps=4",
            &format!("edis.state={state}"),
            &format!("edis.policy={policy}"),
            &format!("edis.transition={transition}"),
        ];
        let mut agent = small("iql", "plain", DIMS, &sets);
        for id in agent.table.ids() {
            let (name, cols) = (agent.table.name(id), agent.table.param(id).shape.cols);
            let values = &mut agent.store.values[id.index()];
            match name.split_once('.').expect("a group and a tensor") {
                ("denoiser_average", _) => values.fill(0.0),
                (group, "layer0.weight") if group.starts_with("energy_") => {
                    let rows = values.chunks_exact_mut(cols).zip(1u8..);
                    rows.for_each(|(row, n)| row.fill(0.01 * f32::from(n)));
                }
                // Above 0 everywhere, so that every unit is on and the energy is linear.
                (group, tensor) if group.starts_with("energy_") => {
                    values.fill(if tensor.ends_with("bias") { 2.0 } else { 0.1 });
                }
                _ => {}
            }
        }
        let stages = agent.refresh();
        let Task::Draw { drawing, .. } = &stages[4].task else { panic!("the last stage draws") };
        // So near 0 that no action is clipped.
        let drawer = drawn(&mut agent.store, drawing, 0.1);
        let mut found = Vec::new();
        for (name, n) in [(replay::S, s), (replay::A, a), (replay::R, 1), (replay::S2, s)] {
            let all = drawer.output(name);
            found.extend((0..n).map(|k| all.iter().skip(k).step_by(n).copied().collect::<Vec<f32>>()));
        }
        found
    };
    let plain = columns(["0"; 3]);
    let mut falls = Vec::new();
    for (i, block) in [0..s, s..s + a, s + a + 1..2 * s + a + 1].into_iter().enumerate() {
        let mut pulls = ["0"; 3];
        pulls[i] = "1";
        for (k, (pulled, plain)) in columns(pulls).iter().zip(&plain).enumerate() {
            for (pulled, plain) in pulled.iter().zip(plain) {
                let fall = f64::from(plain - pulled);
                match block.contains(&k) {
                    true => falls.push(fall / (k + 1) as f64),
                    false => assert!(fall.abs() < 1e-5, "energy {i} moves column {k} by {fall}"),
                }
            }
        }
    }
    let first = falls[0];
    assert!(first > 1e-3 && falls.iter().all(|fall| (fall / first - 1.0).abs() < 0.01), "{falls:?}");
}

/// What the negatives of an energy have in common with its positives: nothing, the state, the state and the action.
#[test]
fn negatives_are_given_what_an_energy_does_not_judge() {
    let agent = small("iql", "plain", DIMS, &["run.generator=edis"]);
    let stages = agent.refresh();
    let known = stages[1..4].iter().map(|stage| {
        let Task::Contrast { given, .. } = &stage.task else { panic!("{} does not contrast", stage.name) };
        given.outputs.iter().map(|(_, node)| given.graph.node(*node).shape.cols).sum::<usize>()
    });
    assert_eq!(known.collect::<Vec<usize>>(), [0, DIMS.s, DIMS.s + DIMS.a]);
}
