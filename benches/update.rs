//! What does one full update of every base cost, and how close is it to the processor's limit?
//!
//! `cargo bench --bench update` first prints a table: all contestants in turn, round after round, each with one thread and
//! then with two, with the probe of the limit before; least and median time, the share of the limit, and the factor to one
//! thread. Ratios within the table hold even on a busy machine. Then criterion measures the same one after the other; its
//! elements are floating-point operations.
//! `-- --table` stops after the table, and so does `--busy`, which has a process's worth of work pinned to one core
//! meanwhile; a word restricts all of it to the names that contain it.
//!
//! Batches and networks of each method's preset (for most batch 256, 256 x 256), states and actions of Hopper (11, 3) and
//! HalfCheetah (17, 6), one and two threads. An adaptation that refuses IQL stands over the first base that it takes. `mlp`
//! is one network 14-256-256-1, batch 256: forward, backward, Adam.

mod common;

use std::time::{Duration, Instant};

use baq::adapt::ADAPTATIONS;
use baq::algo::{ALGORITHMS, Dims};
use baq::autodiff::{Adam, Clock, Noise, Program, Role, Select, Store, Tracer, Workspace};
use baq::cli::setup::known_sections;
use baq::config::{Config, RunConfig, presets, resolve};
use baq::nn::{Mlp, Params};
use baq::train::agent::Agent;
use baq::train::bench::{Round, Samples};
use common::Arguments;
use criterion::{Criterion, Throughput};

const SIZES: [(&str, (usize, usize)); 2] = [("hopper", (11, 3)), ("halfcheetah", (17, 6))];
/// Transitions to draw from: every row of a batch is cold in the first-level cache.
const ROWS: usize = 100_000;

/// Something that is updated.
struct Contestant {
    name: String,
    /// of one call
    flops: u64,
    /// updates of one call
    updates: f64,
    run: Box<dyn FnMut() + Send>,
}

fn config(algo: &str, adapt: &str, preset: Option<&str>) -> Config {
    let preset = preset.or_else(|| presets::find(algo).is_ok().then_some(algo));
    let mut config = resolve(known_sections(), preset, None, &[]).expect("invariant: presets are valid");
    let mut run: RunConfig = config.section();
    (run.algo, run.adapt) = (algo.into(), adapt.into());
    config.put(run);
    config
}

fn round(name: String, config: &Config, dims: (usize, usize)) -> Contestant {
    let mut round = Round::new(config, dims, ROWS).expect("invariant: defaults are valid");
    // A whole cycle, as a round with the policy costs more than one without.
    let cycle = round.cycle();
    let flops = round.flops() * cycle as u64;
    let run = move || {
        for _ in 0..cycle {
            round.sample();
            round.run();
        }
    };
    Contestant { name, flops, updates: cycle as f64, run: Box::new(run) }
}

/// One network 14-256-256-1 with squared error, batch 256.
fn mlp() -> Contestant {
    let mut params = Params::default();
    let group = params.group("net", false);
    let net = Mlp::declare(&mut params, group, 1, (14, 1), &vec![256, 256].into());
    let (table, mut store): (_, Store) = params.finish(0);
    let t = Tracer::new(table);
    let (x, y) = (t.input("x", 256, 14), t.input("y", 256, 1));
    let loss = (net.forward(x) - y).square().mean();
    t.train("net", Role::Critic, group, &Adam::new(3e-4.into()), loss);
    let program = Program::compile(&t.finish(), Select::WITHOUT_METRICS);
    let mut workspace = Workspace::new(&program);
    for (name, stream) in [("x", 0), ("y", 1)] {
        let input = workspace.input_mut(&program, name).expect("invariant: an input");
        baq_kernels::philox::fill_uniform(0, stream, 0, input);
    }
    let flops = program.flops();
    let mut update = 0;
    let run = move || {
        program.run(&mut workspace, &mut store, Clock { round: update, phase_round: update }, Noise::Seed(0));
        update += 1;
    };
    let name = "mlp 14-256-256-1".into();
    Contestant { name, flops, updates: 1.0, run: Box::new(run) }
}

fn contestants(word: Option<&str>) -> Vec<Contestant> {
    let wanted = |name: &str| word.is_none_or(|word| name.contains(word));
    let mut all = Vec::new();
    if wanted("mlp 14-256-256-1") {
        all.push(mlp());
    }
    for (size, dims) in SIZES {
        let bases = ALGORITHMS.iter().map(|e| (e.name.to_string(), e.name, "plain", None));
        let adapted = ADAPTATIONS.iter().filter(|e| e.name != "plain").map(|e| {
            let small = Dims { s: 1, a: 1, batch: 1 };
            let mut bases = std::iter::once("iql").chain(ALGORITHMS.iter().map(|e| e.name));
            let base = bases.find(|base| Agent::new(&config(base, e.name, None), small).is_ok());
            let base = base.expect("invariant: an adaptation takes a base");
            (format!("{base}+{}", e.name), base, e.name, None)
        });
        let corl = [("iql corl".to_string(), "iql", "plain", Some("iql_corl"))];
        for (name, algo, adapt, preset) in bases.chain(adapted).chain(corl) {
            let name = format!("{name} {size}");
            if wanted(&name) {
                all.push(round(name, &config(algo, adapt, preset), dims));
            }
        }
    }
    all
}

/// The table described at the top.
fn table(word: Option<&str>, pools: &[rayon::ThreadPool]) {
    /// With so many threads: what it took, and the limit before it.
    #[derive(Default)]
    struct Column {
        times: Samples,
        peak: Samples,
    }
    let isa = baq_kernels::active().isa;
    let mut all: Vec<_> =
        contestants(word).into_iter().map(|c| (c, [(); 2].map(|()| Column::default()))).collect();
    for (c, _) in &mut all {
        pools.iter().for_each(|pool| pool.install(|| (0..5).for_each(|_| (c.run)())));
    }
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(6 * all.len() as u64) {
        for (c, columns) in &mut all {
            for (pool, column) in pools.iter().zip(columns) {
                pool.install(|| {
                    column.peak.push(baq_kernels::probe_gflops(isa, 20));
                    // The probe leaves the caches to nobody, and the second thread sleeps; the first update mends both.
                    (c.run)();
                    for _ in 0..5 {
                        let start = Instant::now();
                        (c.run)();
                        column.times.push(start.elapsed().as_secs_f64());
                    }
                });
            }
        }
    }
    println!(
        "{isa}\n{:<28} {:>7} {:>8} {:>9} {:>9} {:>8} {:>7} {:>7} {:>9}",
        "sampling and update", "threads", "MFLOP", "least us", "median", "per s", "% best", "% med", "probe"
    );
    for (c, columns) in &all {
        let one = &columns[0].times;
        for (threads, Column { times, peak }) in (1..).zip(columns) {
            let (least, median) = (times.least(), times.median());
            let share = |seconds: f64, peak: f64| 100.0 * c.flops as f64 * 1e-9 / seconds / peak;
            let mflop = c.flops as f64 * 1e-6 / c.updates;
            let (best, usual) = (share(least, peak.most()), share(median, peak.median()));
            print!(
                "{:<28} {threads:>7} {mflop:>8.1} {:>9.1} {:>9.1} {:>8.1} {best:>7.1} {usual:>7.1} {:>9.1}",
                c.name,
                least * 1e6 / c.updates,
                median * 1e6 / c.updates,
                c.updates / median,
                peak.median()
            );
            if threads > 1 {
                print!("  {:.2} x one thread (median {:.2})", one.least() / least, one.median() / median);
            }
            println!();
        }
    }
}

/// Keeps the last core busy for good.
fn occupy() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::spawn(move || {
        let mut last = rustix::thread::CpuSet::new();
        last.set(cores - 1);
        rustix::thread::sched_setaffinity(None, &last).expect("a thread may be pinned");
        loop {
            std::hint::black_box(baq_kernels::peak_gflops(baq_kernels::active().isa));
        }
    });
}

fn main() {
    let arguments = Arguments::of_process();
    let (word, has) = (arguments.word(), |switch| arguments.has(switch));
    let pools = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("invariant: threads can be started")
    });
    if has("--busy") {
        occupy();
    }
    if !has("--test") && !has("--list") {
        table(word, &pools);
    }
    // Criterion knows neither.
    if has("--table") || has("--busy") {
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for mut c in contestants(word) {
        let mut group = criterion.benchmark_group(&c.name);
        group.throughput(Throughput::Elements((c.flops as f64 / c.updates) as u64));
        for (threads, pool) in (1..).zip(&pools) {
            let run = &mut c.run;
            let mut timed = |n: u64| {
                let start = Instant::now();
                (0..n).for_each(|_| run());
                start.elapsed().div_f64(c.updates)
            };
            group.bench_function(format!("{threads} threads"), |b| {
                b.iter_custom(|n| pool.install(|| timed(n)));
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
