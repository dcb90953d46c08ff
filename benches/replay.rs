//! What a batch of 256 costs: choosing the rows, and bringing them from memory.
//!
//! Hopper-sized records (S 11, A 3, one annotated column), one thread. Every batch is drawn for another
//! update, so the rows are cold; the upper levels of the tree are warm. Elements
//! are rows.

use std::hint::black_box;

use baq::replay::pools::OFFLINE;
use baq::replay::{D2, Draw, Layout, Part, Pools, Recipe, SumTree};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const B: usize = 256;

struct Batch {
    rows: Vec<u32>,
    weights: Vec<f32>,
    columns: Vec<Vec<f32>>,
}

impl Batch {
    fn new(pools: &Pools) -> Self {
        let columns = pools.layout().columns().map(|(_, c)| vec![0.0; B * c.len]).collect();
        Self { rows: vec![0; B], weights: vec![0.0; B], columns }
    }

    fn compose(&mut self, recipe: &Recipe, update: u64, pools: &Pools, tree: &SumTree) {
        let draw = Draw { seed: 1, stream: 1, update };
        recipe.compose(draw, pools, Some(tree), 0.0, &mut self.rows, &mut self.weights);
    }

    fn gather(&mut self, pools: &Pools) {
        let mut columns = self.columns.iter_mut();
        let mut places = pools.layout().columns().map(|(_, c)| c);
        let mut parts: [Part; 6] = std::array::from_fn(|_| {
            let c = places.next().expect("invariant: six columns");
            let out = columns.next().expect("invariant: six columns");
            Part { offset: c.offset, len: c.len, out }
        });
        pools.gather(&self.rows, &mut parts);
        black_box(&parts);
    }
}

fn replay(c: &mut Criterion) {
    for n in [1_000_000usize, 2_000_000] {
        let mut pools = Pools::new(Layout::transitions(11, 3, &[(D2, 1)]), &[(OFFLINE, n)]);
        let d2: Vec<f32> = (0..n).map(|i| (i % 1000) as f32 * 0.001).collect();
        pools.load(OFFLINE, n, &[(D2, &d2)]).expect("invariant: the rows fit");
        let mut tree = SumTree::new(n);
        let masses: Vec<f64> = d2.iter().map(|&d| (f64::from(d).sqrt() + 1.0).powf(0.6)).collect();
        tree.assign(0, &masses);
        let mut batch = Batch::new(&pools);

        let mut group = c.benchmark_group(format!("replay/{n}"));
        group.throughput(Throughput::Elements(B as u64));
        let mut update = 0;
        for (name, recipe) in [
            ("uniform", Recipe::Uniform { stratified: false }),
            ("plain", Recipe::Prioritised { stratified: false, online_share: None }),
            ("stratified", Recipe::Prioritised { stratified: true, online_share: None }),
        ] {
            group.bench_function(format!("{name}/rows"), |b| {
                b.iter(|| {
                    update += 1;
                    batch.compose(&recipe, update, &pools, &tree);
                    black_box(&batch.rows);
                });
            });
            group.bench_function(format!("{name}/rows+gather"), |b| {
                b.iter(|| {
                    update += 1;
                    batch.compose(&recipe, update, &pools, &tree);
                    batch.gather(&pools);
                });
            });
        }
        for stratified in [false, true] {
            let name = if stratified { "ascending" } else { "scattered" };
            let rows: Vec<Vec<u32>> = (0..512)
                .map(|k| {
                    batch.compose(&Recipe::Prioritised { stratified, online_share: None }, k, &pools, &tree);
                    batch.rows.clone()
                })
                .collect();
            let masses: Vec<[f64; B]> =
                (0..512).map(|k| std::array::from_fn(|i| 1.0 + ((i + k) % 97) as f64 * 0.01)).collect();
            let mut k = 0;
            group.bench_function(format!("update/{name}"), |b| {
                b.iter(|| {
                    k += 1;
                    // Rows that come again get other masses; with their own a tree has nothing to do.
                    tree.update(&rows[k % 512], &masses[(k + k / 512) % 512]);
                });
            });
        }
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function("build", |b| b.iter(|| tree.assign(0, &masses)));
        group.finish();
    }
}

criterion_group!(benches, replay);
criterion_main!(benches);
