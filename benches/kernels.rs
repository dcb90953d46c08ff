//! How close are the kernels to the machine's limit, at the shapes of real networks?
//!
//! `cargo bench --bench kernels` first prints a table: every contestant of a shape in turn, many times over,
//! the best time of each; GFLOP/s and the percentage of the multiply-adds that the processor does in
//! registers at that moment. Ratios within one row hold even on a busy machine. Then criterion measures the
//! same contestants one after the other ("elements" are floating point operations), and the kernels
//! that are not products. `-- --table` stops after the table, `-- --quick` is criterion's short run, and a
//! word restricts both to the names that contain it.
//!
//! Our products include what a layer needs (bias, ReLU, mask, bias gradient); those of `matrixmultiply` and
//! `gemm` are the bare product.

use baq_kernels::{
    Activation, AdamStep, Binary, Broadcast, Buffer, Isa, Kernels, Linear, Norm, NormGradients, Numerics,
    Scratch, Team, Unary, Unit, available, best, for_isa, peak_gflops, units,
};
use common::Arguments;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::time::{Duration, Instant};

mod common;
#[allow(unsafe_code)] // confined to the kernels crate's folder
#[path = "../kernels/benches/foreign/mod.rs"]
mod foreign;

/// Heads, rows, inputs, outputs: first, hidden and last layers; acting; one odd size.
const LAYERS: [[usize; 4]; 18] = [
    [1, 256, 256, 256],
    [2, 256, 256, 256],
    [1, 2560, 256, 256],
    [1, 256, 11, 256],
    [1, 256, 14, 256],
    [1, 256, 17, 256],
    [1, 256, 23, 256],
    [2, 256, 17, 256],
    [1, 256, 256, 1],
    [1, 256, 256, 2],
    [1, 256, 256, 3],
    [1, 256, 256, 6],
    [1, 256, 256, 12],
    [2, 256, 256, 1],
    [1, 7680, 256, 1],
    [1, 1, 256, 256],
    [1, 1, 17, 256],
    [1, 255, 129, 65],
];

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Forward,
    Dx,
    Dw,
}

/// Somebody who computes the same product.
struct Contestant<'a> {
    name: String,
    isa: Isa,
    run: Box<dyn FnMut() + Send + 'a>,
}

/// The name of one of our tables.
fn named(k: &Kernels) -> String {
    match k.unit {
        None => k.isa.to_string(),
        Some(_) => k.arithmetic(),
    }
}

fn numbers(n: usize) -> Buffer {
    let mut buffer = Buffer::new(n);
    let mut state = 1u32;
    for x in buffer.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = (state >> 8) as f32 / 8_388_608.0 - 1.0;
    }
    buffer
}

/// Arrays of one layer.
struct Layer {
    sizes: Linear,
    x: Buffer,
    w: Buffer,
    b: Buffer,
    dy: Buffer,
}

impl Layer {
    fn new([heads, rows, inputs, outputs]: [usize; 4]) -> Self {
        Self {
            sizes: Linear { heads, rows, inputs, outputs, shared_input: false },
            x: numbers(heads * rows * inputs),
            w: numbers(heads * inputs * outputs),
            b: numbers(heads * outputs),
            dy: numbers(heads * rows * outputs),
        }
    }

    fn flops(&self) -> f64 {
        let Linear { heads, rows, inputs, outputs, .. } = self.sizes;
        (2 * heads * rows * inputs * outputs) as f64
    }

    fn ours(&self, k: &'static Kernels, op: Op) -> Contestant<'_> {
        let (s, x, w, b, dy) = (&self.sizes, &self.x, &self.w, &self.b, &self.dy);
        let mut scratch = Buffer::new((k.linear_scratch)(s));
        let run: Box<dyn FnMut() + Send> = match op {
            Op::Forward => {
                let mut y = Buffer::new(dy.len());
                Box::new(move || {
                    (k.linear)(s, x, w, Some(b), Activation::Relu, &mut y, Scratch::Empty(&mut scratch))
                })
            }
            Op::Dx => {
                let mut dx = Buffer::new(x.len());
                let mask = Some((Activation::Relu, &**x));
                Box::new(move || (k.linear_dx)(s, dy, w, mask, &mut dx, Scratch::Empty(&mut scratch)))
            }
            Op::Dw => {
                let (mut dw, mut db) = (Buffer::new(w.len()), Buffer::new(b.len()));
                Box::new(move || (k.linear_dw)(s, x, dy, &mut dw, Some(&mut db), false, &mut scratch))
            }
        };
        Contestant { name: named(k), isa: k.isa, run }
    }

    fn foreign(&self, op: Op, library: &'static str) -> Contestant<'_> {
        let Linear { heads, rows, inputs, outputs, .. } = self.sizes;
        let (m, k, n) = match op {
            Op::Forward => (rows, inputs, outputs),
            Op::Dx => (rows, outputs, inputs),
            Op::Dw => (inputs, rows, outputs),
        };
        let product = foreign::Product { m, k, n, a_transposed: op == Op::Dw, b_transposed: op == Op::Dx };
        let (a, b) = match op {
            Op::Forward => (&self.x, &self.w),
            Op::Dx => (&self.dy, &self.w),
            Op::Dw => (&self.x, &self.dy),
        };
        let mut c = Buffer::new(heads * m * n);
        let run = move || {
            for ((a, b), c) in a.chunks(m * k).zip(b.chunks(k * n)).zip(c.chunks_mut(m * n)) {
                match library {
                    "gemm" => product.gemm(a, b, c),
                    _ => product.matrixmultiply(a, b, c),
                }
            }
        };
        Contestant { name: library.to_owned(), isa: best().isa, run: Box::new(run) }
    }

    fn contestants(&self, op: Op) -> Vec<Contestant<'_>> {
        let mut all: Vec<_> =
            available().filter(|k| k.isa > Isa::Portable).map(|k| self.ours(k, op)).collect();
        // Where a mode is f32, nobody needs to see it; nor the emulation of what is here.
        let Linear { rows, inputs, outputs, .. } = self.sizes;
        if rows.min(inputs).min(outputs) >= Numerics::LEAST {
            let modes = Numerics::ALL.into_iter().filter(|&n| n != Numerics::F32);
            let tables = modes.flat_map(|n| units(best().isa, n));
            all.extend(tables.filter(|k| k.unit > Some(Unit::Emulated)).map(|k| self.ours(k, op)));
        }
        all.extend(["matrixmultiply", "gemm"].map(|library| self.foreign(op, library)));
        all
    }
}

/// Every operation on every layer whose name contains the word.
fn layers(word: Option<&str>, mut f: impl FnMut(&str, &Layer, Op)) {
    for shape in LAYERS {
        let [heads, rows, inputs, outputs] = shape;
        let layer = Layer::new(shape);
        for (op, name) in [(Op::Forward, "forward"), (Op::Dx, "dx"), (Op::Dw, "dw")] {
            let name = format!("{name} {heads}x{rows}x{inputs}x{outputs}");
            // One row is acting, which has no backward pass.
            let real = rows > 1 || op == Op::Forward;
            if real && word.is_none_or(|word| name.contains(word)) {
                f(&name, &layer, op);
            }
        }
    }
}

/// The best of many short runs, contestants in turn, in GFLOP/s.
fn race(contestants: &mut [Contestant], flops: f64) -> Vec<f64> {
    let repeat = (2e5 / flops).ceil() as u32;
    let rounds = (3e8 / flops / f64::from(repeat)).clamp(20.0, 200.0) as usize;
    let mut times = vec![f64::INFINITY; contestants.len()];
    for _ in 0..rounds {
        for (contestant, time) in contestants.iter_mut().zip(&mut times) {
            (contestant.run)(); // brings the operands back into the caches
            let start = Instant::now();
            for _ in 0..repeat {
                (contestant.run)();
            }
            *time = time.min(start.elapsed().as_secs_f64() / f64::from(repeat));
        }
    }
    times.into_iter().map(|time| flops * 1e-9 / time).collect()
}

/// The table described at the top, one thread.
fn table(word: Option<&str>) {
    for isa in Isa::ALL.into_iter().filter(|&isa| for_isa(isa).is_none()) {
        println!("SKIPPED: {isa} is not available on this processor");
    }
    for unit in [Unit::Avx512Bf16, Unit::Amx] {
        if units(best().isa, Numerics::Bf16).all(|k| k.unit != Some(unit)) {
            println!("SKIPPED: {unit} is not available on this processor");
        }
    }
    println!("one thread, GFLOP/s, in brackets the share of the peak of the instruction set");
    layers(word, |name, layer, op| {
        let mut contestants = layer.contestants(op);
        let rates = race(&mut contestants, layer.flops());
        print!("{name:<24}");
        for (contestant, rate) in contestants.iter().zip(rates) {
            if Isa::ALL.iter().any(|isa| isa.name() == contestant.name) {
                let share = 100.0 * rate / peak_gflops(contestant.isa);
                print!(" {} {rate:6.1} ({share:3.0} %)", contestant.name);
            } else {
                print!(" {} {rate:6.1}", contestant.name);
            }
        }
        println!();
    });
    for kernels in available() {
        println!("peak of {}: {:.1} GFLOP/s", kernels.isa, peak_gflops(kernels.isa));
    }
}

/// Question: how far from the limit, and from other libraries, is each product? One and two threads.
fn products(c: &mut Criterion, word: Option<&str>) {
    let pools = [1, 2].map(|threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("invariant: threads can be started")
    });
    layers(word, |name, layer, op| {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(layer.flops() as u64));
        for (threads, pool) in (1..).zip(&pools) {
            let contestants = layer.contestants(op);
            for mut one in contestants.into_iter().filter(|one| threads == 1 || one.name == best().isa.name())
            {
                let id = BenchmarkId::new(&one.name, format!("{threads} threads"));
                let mut timed = |repeats: u64| {
                    let start = Instant::now();
                    for _ in 0..repeats {
                        (one.run)();
                    }
                    start.elapsed()
                };
                let mut together = |n| pool.install(|| Team::default().run(u64::MAX, || timed(n)));
                group.bench_function(id, |b| b.iter_custom(&mut together));
            }
        }
        group.finish();
    });
}

/// Question: what does each vectorised function cost per element?
fn elementwise(c: &mut Criterion) {
    let x = numbers(65_536);
    let mut y = Buffer::new(x.len());
    for f in [Unary::Exp, Unary::Log, Unary::Tanh, Unary::Relu, Unary::Softplus, Unary::Sigmoid] {
        let mut group = c.benchmark_group(format!("unary {f:?}"));
        group.throughput(Throughput::Elements(x.len() as u64));
        for k in available() {
            group.bench_function(k.isa.name(), |b| b.iter(|| (k.unary)(f, black_box(&x), &mut y)));
        }
        group.finish();
    }
    let shapes = [
        ("dense", Broadcast { dims: [1, 256, 256], a: [0, 256, 1], b: [0, 256, 1] }),
        ("by row", Broadcast { dims: [1, 256, 256], a: [0, 256, 1], b: [0, 1, 0] }),
        ("expectile", Broadcast { dims: [1, 1, 256], a: [0, 0, 1], b: [0, 0, 0] }),
    ];
    for (name, shape) in shapes {
        let size = shape.dims.iter().product::<usize>();
        let mut group = c.benchmark_group(format!("binary {name}"));
        group.throughput(Throughput::Elements(size as u64));
        for k in available() {
            group.bench_function(k.isa.name(), |b| {
                b.iter(|| (k.binary)(Binary::Expectile, &shape, &x, &x, &mut y[..size]))
            });
        }
        group.finish();
    }
}

/// Question: what do reductions cost at the shapes of losses, bias gradients and CQL's penalty?
fn reductions(c: &mut Criterion) {
    let x = numbers(65_536);
    let mut y = Buffer::new(x.len());
    for dims in [[1, 65_536, 1], [1, 256, 1], [256, 6, 1], [1, 256, 256], [1, 2, 256]] {
        let mut group = c.benchmark_group(format!("sum {dims:?}"));
        let (from, to) = (dims.iter().product(), dims[0] * dims[2]);
        group.throughput(Throughput::Elements(from as u64));
        for k in available() {
            group.bench_function(k.isa.name(), |b| {
                b.iter(|| (k.sum)(dims, black_box(&x[..from]), &mut y[..to]))
            });
        }
        group.finish();
    }
    let mut group = c.benchmark_group("log_sum_exp [512, 30]");
    group.throughput(Throughput::Elements(512 * 30));
    for k in available() {
        group.bench_function(k.isa.name(), |b| {
            b.iter(|| (k.log_sum_exp)([512, 30], black_box(&x[..512 * 30]), &mut y[..512]))
        });
    }
    group.finish();
}

/// Question: what does a layer normalisation cost? Bytes: what has to be read and written.
fn norms(c: &mut Criterion) {
    for heads in [1, 10] {
        let s = Norm { heads, rows: 256, cols: 256, eps: 1e-6 };
        let (x, dy, gain) = (numbers(heads << 16), numbers(heads << 16), numbers(heads << 8));
        let (mut y, mut dgain, mut dbias) = (Buffer::new(x.len()), gain.clone(), gain.clone());
        let mut scratch = Buffer::new(s.scratch());
        for (name, arrays) in [("layer_norm relu", 2), ("layer_norm gradient", 3)] {
            let mut group = c.benchmark_group(format!("{name} {heads}x256x256"));
            group.throughput(Throughput::Bytes((x.len() * 4 * arrays) as u64));
            for k in available() {
                group.bench_function(k.isa.name(), |b| {
                    b.iter(|| match arrays {
                        2 => (k.layer_norm)(&s, black_box(&x), &gain, &gain, true, &mut y),
                        _ => {
                            let gradients = NormGradients {
                                dx: Some(&mut y),
                                dgain: Some(&mut dgain),
                                dbias: Some(&mut dbias),
                                add: false,
                                scratch: &mut scratch,
                            };
                            (k.layer_norm_grad)(&s, black_box(&x), &gain, &dy, gradients)
                        }
                    })
                });
            }
            group.finish();
        }
    }
}

/// Question: what do the optimiser and the slow copy cost for one network of 70,000 parameters?
fn optimisers(c: &mut Criterion) {
    const SIZE: usize = 70_000;
    let step = AdamStep { step_size: 3e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, rsqrt_bias2: 1.5 };
    let g = numbers(SIZE);
    let (mut theta, mut m, mut v) = (numbers(SIZE), Buffer::new(SIZE), Buffer::new(SIZE));
    for (name, arrays) in [("adam", 7), ("polyak", 3), ("digest", 1)] {
        let mut group = c.benchmark_group(format!("{name} {SIZE}"));
        group.throughput(Throughput::Bytes((SIZE * 4 * arrays) as u64));
        for k in available() {
            group.bench_function(k.isa.name(), |b| {
                b.iter(|| match name {
                    "adam" => (k.adam)(&step, &mut theta, &g, &mut m, &mut v),
                    "polyak" => (k.polyak)(0.005, &mut theta, &g),
                    _ => {
                        black_box((k.digest)(&g));
                    }
                })
            });
        }
        group.finish();
    }
}

fn main() {
    let arguments = Arguments::of_process();
    let (word, has) = (arguments.word(), |switch| arguments.has(switch));
    if !has("--test") && !has("--list") {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        pool.expect("invariant: a thread can be started").install(|| table(word));
    }
    if has("--table") {
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    products(&mut criterion, word);
    elementwise(&mut criterion);
    reductions(&mut criterion);
    norms(&mut criterion);
    optimisers(&mut criterion);
    criterion.final_summary();
}
