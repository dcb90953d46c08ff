//! What a batch of 256 costs: choosing the rows, and bringing them from memory.
//!
//! Hopper-sized records (S 11, A 3, one annotated column), one thread. Every batch is drawn for another
//! update, so the rows are cold; the upper levels of the tree are warm.

use std::hint::black_box;

use baq::replay::{Composer, D2, Draw, Layout, Part, Ring, SumTree};
use criterion::{Criterion, criterion_group, criterion_main};

const B: usize = 256;

struct Batch {
    rows: Vec<u32>,
    weights: Vec<f32>,
    columns: Vec<Vec<f32>>,
}

impl Batch {
    fn new(ring: &Ring) -> Self {
        let columns = ring.layout().columns().map(|(_, c)| vec![0.0; B * c.len]).collect();
        Self { rows: vec![0; B], weights: vec![0.0; B], columns }
    }

    fn compose(&mut self, composer: Composer, update: u64, ring: &Ring, tree: &SumTree) {
        let draw = Draw { seed: 1, stream: 1, update };
        composer.compose(draw, ring, Some(tree), 0.0, &mut self.rows, &mut self.weights);
    }

    fn gather(&mut self, ring: &Ring) {
        let mut columns = self.columns.iter_mut();
        let mut places = ring.layout().columns().map(|(_, c)| c);
        let mut parts: [Part; 6] = std::array::from_fn(|_| {
            let c = places.next().expect("invariant: six columns");
            let out = columns.next().expect("invariant: six columns");
            Part { offset: c.offset, len: c.len, out }
        });
        ring.gather(&self.rows, &mut parts);
        black_box(&parts);
    }
}

fn replay(c: &mut Criterion) {
    for n in [1_000_000usize, 2_000_000] {
        let mut ring = Ring::new(Layout::transitions(11, 3, &[(D2, 1)]), n);
        let d2: Vec<f32> = (0..n).map(|i| (i % 1000) as f32 * 0.001).collect();
        ring.load(n, &[(D2, &d2)]).expect("invariant: the rows fit");
        let mut tree = SumTree::new(n);
        let masses: Vec<f64> = d2.iter().map(|&d| (f64::from(d).sqrt() + 1.0).powf(0.6)).collect();
        tree.assign(0, &masses);
        let mut batch = Batch::new(&ring);

        let mut group = c.benchmark_group(format!("replay/{n}"));
        let mut update = 0;
        for (name, composer) in [
            ("uniform", Composer::Uniform { stratified: false }),
            ("plain", Composer::Prioritised { stratified: false, online_share: None }),
            ("stratified", Composer::Prioritised { stratified: true, online_share: None }),
        ] {
            group.bench_function(format!("{name}/rows"), |b| {
                b.iter(|| {
                    update += 1;
                    batch.compose(composer, update, &ring, &tree);
                    black_box(&batch.rows);
                });
            });
            group.bench_function(format!("{name}/rows+gather"), |b| {
                b.iter(|| {
                    update += 1;
                    batch.compose(composer, update, &ring, &tree);
                    batch.gather(&ring);
                });
            });
        }
        for stratified in [false, true] {
            let name = if stratified { "ascending" } else { "scattered" };
            let rows: Vec<Vec<u32>> = (0..512)
                .map(|k| {
                    batch.compose(Composer::Prioritised { stratified, online_share: None }, k, &ring, &tree);
                    batch.rows.clone()
                })
                .collect();
            let mut k = 0;
            group.bench_function(format!("update/{name}"), |b| {
                b.iter(|| {
                    k += 1;
                    let rows = &rows[k % 512];
                    let masses: [f64; B] = std::array::from_fn(|i| 1.0 + ((i + k) % 97) as f64 * 0.01);
                    tree.update(rows, &masses);
                });
            });
        }
        group.bench_function("build", |b| b.iter(|| tree.assign(0, &masses)));
        group.finish();
    }
}

criterion_group!(benches, replay);
criterion_main!(benches);
