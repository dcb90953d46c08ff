//! Which rows make a batch.
//!
//! A batch is a function of (seed, stream, update) and the state of the pools and the tree: draw i of
//! an update uses the i-th 53-bit uniform number of these coordinates. Nothing is kept between updates.
//!
//! - *plain*: u_i is that number.
//! - *stratified*: u_i = (i + that number) / B, one draw from each of B equal shares of the mass. The
//!   marginal probabilities are the same and the variance is lower; the rows come out in ascending order.
//!
//! Equal numbers select equal rows whether by floor(u n) or by a tree whose priorities are all equal,
//! so a prioritised batch with equal priorities is the uniform batch, bit by bit.
//!
//! Above 400 lines because the tests stand beside the code.

use baq_kernels::philox::Philox;

use super::pools::{OFFLINE, ONLINE, Pool, Pools};
use super::sum_tree::{SumTree, uniform_row};

/// Numbers drawn together, on the stack.
const GROUP: usize = 64;

/// Coordinates of the noise of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// of the run
    pub seed: u64,
    /// of this recipe; no other noise may use it
    pub stream: u32,
    /// number of the update
    pub update: u64,
}

/// Where a part of a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// One pool.
    Pool(&'static str),
    /// The last so many rows of a pool.
    Latest(&'static str, usize),
    /// All pools, every row with the same probability.
    All,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Pool(name) => f.write_str(name),
            Source::Latest(name, n) => write!(f, "latest {n} {name}"),
            Source::All => f.write_str("of all"),
        }
    }
}

impl Source {
    fn len(self, pools: &Pools) -> usize {
        match self {
            Source::Pool(name) => pools.find(name).map_or(0, Pool::len),
            Source::Latest(name, n) => pools.pool(name).len().min(n),
            Source::All => pools.len(),
        }
    }

    fn nth(self, k: usize, pools: &Pools) -> usize {
        match self {
            Source::Pool(name) => pools.pool(name).rows().start + k,
            Source::Latest(name, _) => pools.pool(name).row_back(self.len(pools) - k),
            Source::All => pools.nth(k),
        }
    }
}

/// A rule by which batches are composed.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// Every row of every pool with the same probability.
    Uniform {
        /// one draw per equal share, see the module
        stratified: bool,
    },
    /// Row i with probability p_i / Σ p, priorities from the tree.
    Prioritised {
        /// one draw per equal share, see the module
        stratified: bool,
        /// rescales offline and online priorities so that online rows have this share of the mass; without
        /// effect while there are none of one kind
        online_share: Option<f64>,
    },
    /// So many rows from each source, one after another, each uniformly and plain. Rows of a source that is empty come
    /// from the last one that is not.
    Parts(Vec<(Source, usize)>),
    /// As [`Recipe::mix`], with the share that offline rows have among all at the time of the draw.
    Proportional,
    /// The whole batch from the latest online rows or the whole batch from everything, uniformly either way.
    Either {
        /// probability of a batch of the latest
        share: f64,
        /// online rows that count as the latest
        rows: usize,
        /// no such batch before more than so many online rows have been collected
        after: u64,
    },
    /// Rows by one rule, then so many generated ones by another stream; while there are none of these, all rows by a rule
    /// for so many.
    Generated {
        /// rule for what is left of the batch
        real: Box<Recipe>,
        /// rows from each source
        parts: Vec<(Source, usize)>,
        /// rule for a whole batch
        whole: Box<Recipe>,
        /// of the draws of generated rows
        stream: u32,
    },
}

impl Recipe {
    /// floor(share B) offline rows, then online ones. Panics on a share outside [0, 1].
    pub fn mix(share: f64, batch: usize) -> Recipe {
        assert!((0.0..=1.0).contains(&share), "a share of {share}");
        let offline = (share * batch as f64) as usize;
        Recipe::Parts(vec![(Source::Pool(OFFLINE), offline), (Source::Pool(ONLINE), batch - offline)])
    }

    /// So many online rows, then rows from everything. Panics on more online rows than the batch has.
    pub fn concat(online: usize, batch: usize) -> Recipe {
        assert!(online <= batch, "{online} rows of a batch of {batch}");
        Recipe::Parts(vec![(Source::Pool(ONLINE), online), (Source::All, batch - online)])
    }

    /// Fills `rows` `[B]` with rows of the pools and `weights` `[B]` with importance weights.
    ///
    /// Prioritised rows get (min_j p_j / p_i)^is_beta with the minimum over the batch, that is
    /// (n P_i)^-is_beta divided by its largest value in the batch; is_beta 0, and any other rule, gives 1.
    ///
    /// Whether the batch could have been of any rows: `false` if it was drawn from the latest alone.
    ///
    /// Panics if the pools are empty, the lengths differ, or a prioritised batch is asked for without a tree.
    pub fn compose(
        &self,
        draw: Draw,
        pools: &Pools,
        tree: Option<&SumTree>,
        is_beta: f64,
        rows: &mut [u32],
        weights: &mut [f32],
    ) -> bool {
        assert!(!pools.is_empty(), "invariant: a batch is drawn from pools with rows");
        assert_eq!(rows.len(), weights.len(), "importance weights of a batch");
        weights.fill(1.0);
        let mut from_all = true;
        match self {
            Self::Uniform { stratified } => {
                let n = pools.len();
                draw.numbers(*stratified, rows, |_, u, rows| {
                    for (row, &u) in rows.iter_mut().zip(u) {
                        *row = pools.nth(uniform_row(u, n) as usize) as u32;
                    }
                });
            }
            Self::Prioritised { stratified, online_share } => {
                let tree = tree.expect("invariant: a prioritised batch has a tree");
                let halves = online_share.and_then(|share| Halves::of(pools, tree, share));
                let mut stretched = [0.0; GROUP];
                draw.numbers(*stratified, rows, |_, u, rows| match halves {
                    None => tree.select(u, rows),
                    Some(halves) => {
                        let stretched = &mut stretched[..u.len()];
                        for (y, &u) in stretched.iter_mut().zip(u) {
                            *y = halves.stretch(u);
                        }
                        tree.select(stretched, rows);
                    }
                });
                if is_beta != 0.0 {
                    importance(tree, is_beta, rows, weights);
                }
            }
            Self::Parts(parts) => compose_parts(parts, draw, pools, rows),
            Self::Proportional => {
                let share = pools.pool(OFFLINE).len() as f64 / pools.len() as f64;
                let offline = (share * rows.len() as f64) as usize;
                let online = rows.len() - offline;
                let parts = [(Source::Pool(OFFLINE), offline), (Source::Pool(ONLINE), online)];
                compose_parts(&parts, draw, pools, rows);
            }
            Self::Either { share, rows: latest, after } => {
                // The number after those of the rows, which are thus the same whichever way it falls.
                let falls = draw.number(rows.len()) < *share;
                from_all = !(falls && pools.pool(ONLINE).pushed() > *after);
                let source = if from_all { Source::All } else { Source::Latest(ONLINE, *latest) };
                compose_parts(&[(source, rows.len())], draw, pools, rows);
            }
            Self::Generated { real, parts, whole, stream } => {
                if parts.iter().all(|(source, _)| source.len(pools) == 0) {
                    return whole.compose(draw, pools, tree, is_beta, rows, weights);
                }
                let n = self.real_rows(pools, rows.len());
                let (rows, generated) = rows.split_at_mut(n);
                from_all = real.compose(draw, pools, tree, is_beta, rows, &mut weights[..n]);
                compose_parts(parts, Draw { stream: *stream, ..draw }, pools, generated);
            }
        }
        from_all
    }

    /// How many of the rows of a batch, the first ones, are recorded or collected; the others are generated.
    pub fn real_rows(&self, pools: &Pools, batch: usize) -> usize {
        let Self::Generated { parts, .. } = self else { return batch };
        let there = parts.iter().any(|(source, _)| source.len(pools) > 0);
        if there { batch - parts.iter().map(|(_, n)| n).sum::<usize>() } else { batch }
    }

    /// Whether the rule needs a tree.
    pub fn is_prioritised(&self) -> bool {
        match self {
            Self::Prioritised { .. } => true,
            Self::Generated { real, .. } => real.is_prioritised(),
            _ => false,
        }
    }
}

fn compose_parts(parts: &[(Source, usize)], draw: Draw, pools: &Pools, rows: &mut [u32]) {
    let total: usize = parts.iter().map(|(_, n)| n).sum();
    assert_eq!(total, rows.len(), "invariant: the parts make up the batch");
    let rest = parts.iter().rev().map(|(source, _)| *source).find(|source| source.len(pools) > 0);
    let rest = rest.expect("invariant: some source has rows");
    draw.numbers(false, rows, |first, u, rows| {
        for (k, (row, &u)) in rows.iter_mut().zip(u).enumerate() {
            let mut end = 0;
            let part = parts.iter().find(|(_, n)| {
                end += n;
                first + k < end
            });
            let source = part.expect("invariant: within the batch").0;
            let source = if source.len(pools) > 0 { source } else { rest };
            *row = source.nth(uniform_row(u, source.len(pools)) as usize, pools) as u32;
        }
    });
}

/// Two parts of the mass, offline first, and the share that the second one is to have.
#[derive(Clone, Copy)]
struct Halves {
    /// mass of the offline part / total mass
    offline: f64,
    share: f64,
}

impl Halves {
    fn of(pools: &Pools, tree: &SumTree, share: f64) -> Option<Self> {
        let rows = pools.pool(OFFLINE).rows();
        assert_eq!(rows.start, 0, "invariant: offline rows come first");
        let offline = tree.prefix(rows.end) / tree.total();
        (offline > 0.0 && offline < 1.0).then_some(Self { offline, share })
    }

    /// The piecewise linear map of [0, 1) to itself that gives the offline part 1 - share.
    fn stretch(self, u: f64) -> f64 {
        let kept = 1.0 - self.share;
        let y = if u < kept {
            u / kept * self.offline
        } else {
            self.offline + (u - kept) / self.share * (1.0 - self.offline)
        };
        y.min(BELOW_ONE)
    }
}

/// The largest number below 1.
const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;

impl Draw {
    /// The number after the first `skip`.
    fn number(&self, skip: usize) -> f64 {
        let mut source = Philox::new(self.seed, self.stream, self.update);
        let mut group = [0.0; GROUP];
        for left in (0..skip).step_by(GROUP) {
            source.fill_uniform_f64(&mut group[..GROUP.min(skip - left)]);
        }
        source.fill_uniform_f64(&mut group[..1]);
        group[0]
    }

    /// Calls `f(first, u, rows)` for consecutive groups of rows with their numbers in [0, 1).
    fn numbers(&self, stratified: bool, rows: &mut [u32], mut f: impl FnMut(usize, &[f64], &mut [u32])) {
        let batch = rows.len() as f64;
        let mut source = Philox::new(self.seed, self.stream, self.update);
        let mut group = [0.0; GROUP];
        for (g, rows) in rows.chunks_mut(GROUP).enumerate() {
            let u = &mut group[..rows.len()];
            source.fill_uniform_f64(u);
            if stratified {
                for (k, u) in u.iter_mut().enumerate() {
                    // the sum may round up to the next share, the last one to 1
                    *u = (((g * GROUP + k) as f64 + *u) / batch).min(BELOW_ONE);
                }
            }
            f(g * GROUP, u, rows);
        }
    }
}

fn importance(tree: &SumTree, is_beta: f64, rows: &[u32], weights: &mut [f32]) {
    let least = rows.iter().map(|&row| tree.leaf(row as usize)).fold(f64::INFINITY, f64::min);
    for (weight, &row) in weights.iter_mut().zip(rows) {
        *weight = (least / tree.leaf(row as usize)).powf(is_beta) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{D2, Layout};
    use super::*;

    const DRAWS: usize = 1_000_000;

    /// `offline` rows and, in a pool of what is left of `capacity`, `online` pushes.
    fn pools(capacity: usize, offline: usize, online: usize) -> Pools {
        let sizes = [(OFFLINE, offline), (ONLINE, capacity - offline)];
        let mut pools = Pools::new(Layout::new(&[(D2, 1)]), &sizes);
        pools.load(OFFLINE, offline, &[]).unwrap();
        for _ in 0..online {
            pools.push(ONLINE, &[0.0]);
        }
        pools
    }

    fn compose(
        recipe: &Recipe,
        update: u64,
        pools: &Pools,
        tree: Option<&SumTree>,
        batch: usize,
    ) -> Vec<u32> {
        let (mut rows, mut weights) = (vec![0; batch], vec![0.0; batch]);
        let draw = Draw { seed: 5, stream: 2, update };
        recipe.compose(draw, pools, tree, 0.0, &mut rows, &mut weights);
        assert!(weights.iter().all(|&w| w == 1.0));
        rows
    }

    #[test]
    fn either_everything_or_the_latest() {
        // 40 offline rows; 130 pushes into a pool of 60, so that the latest 25 wrap around
        let mut pools = Pools::new(Layout::new(&[(D2, 1)]), &[(OFFLINE, 40), (ONLINE, 60)]);
        pools.load(OFFLINE, 40, &[]).unwrap();
        let pushed: Vec<usize> = (0..130).map(|_| pools.push(ONLINE, &[0.0])).collect();
        let last = |n: usize| {
            let mut p = vec![0.0; 100];
            pushed[130 - n..].iter().for_each(|&row| p[row] += 1.0 / n as f64);
            p
        };
        let recipe = |share, rows, after| Recipe::Either { share, rows, after };
        let draw = |recipe: &Recipe, update| {
            let (mut rows, mut weights) = (vec![0; 250], vec![0.0; 250]);
            let draw = Draw { seed: 5, stream: 2, update };
            let all = recipe.compose(draw, &pools, None, 0.0, &mut rows, &mut weights);
            (all, rows)
        };
        let z = deviate(&frequencies(&recipe(1.0, 25, 0), &pools, None), &last(25));
        assert!(z.abs() < 2.326, "{z}");
        let z = deviate(&frequencies(&recipe(1.0, 1000, 129), &pools, None), &last(60));
        assert!(z.abs() < 2.326, "{z}");
        // Never, or not yet: the uniform stream, bit by bit.
        for never in [recipe(0.0, 25, 0), recipe(1.0, 25, 130)] {
            for update in 0..20 {
                let uniform = compose(&Recipe::Uniform { stratified: false }, update, &pools, None, 250);
                assert_eq!(draw(&never, update), (true, uniform));
            }
        }
        // A batch is of one kind, and each kind comes as often as it should.
        let n = 20_000;
        let mut latest = 0.0;
        for update in 0..n {
            let (all, rows) = draw(&recipe(0.3, 25, 0), update);
            let within = rows.iter().all(|&row| pushed[105..].contains(&(row as usize)));
            assert_eq!(all, !within, "update {update}");
            latest += f64::from(!all);
        }
        let n = n as f64;
        assert!((latest - 0.3 * n).abs() < 3.0 * (n * 0.3 * 0.7).sqrt(), "{latest} of {n}");
    }

    /// Counts of at least a million draws in batches of 250.
    fn frequencies(recipe: &Recipe, pools: &Pools, tree: Option<&SumTree>) -> Vec<f64> {
        let mut counts = vec![0.0; pools.len()];
        for update in 0..DRAWS as u64 / 250 {
            for row in compose(recipe, update, pools, tree, 250) {
                counts[row as usize] += 1.0;
            }
        }
        counts
    }

    /// Normal deviate of Pearson's statistic (Wilson and Hilferty's cube root); 2.326 is p = 0.01.
    fn deviate(counts: &[f64], p: &[f64]) -> f64 {
        let total: f64 = counts.iter().sum();
        let mut statistic = 0.0;
        let mut cells = 0.0;
        for (&c, &p) in counts.iter().zip(p) {
            if p > 0.0 {
                assert!(p * total > 10.0, "cells must be well filled");
                statistic += (c - p * total).powi(2) / (p * total);
                cells += 1.0;
            } else {
                assert_eq!(c, 0.0, "a row of probability 0 was drawn");
            }
        }
        let k: f64 = cells - 1.0;
        let v = 2.0 / (9.0 * k);
        ((statistic / k).cbrt() - (1.0 - v)) / v.sqrt()
    }

    fn priorities(n: usize) -> Vec<f64> {
        let mut noise = Philox::new(3, 9, 0);
        (0..n)
            .map(|_| {
                let w = noise.next_block();
                if w[0].is_multiple_of(10) { 0.0 } else { (f64::from(w[1] % 1000) * 0.01 + 1.0).powf(0.6) }
            })
            .collect()
    }

    #[test]
    fn prioritised_frequencies() {
        let pools = pools(1003, 1003, 0);
        let masses = priorities(1003);
        let mut tree = SumTree::new(1003);
        tree.assign(0, &masses);
        let total: f64 = masses.iter().sum();
        let p: Vec<f64> = masses.iter().map(|m| m / total).collect();
        let plain =
            frequencies(&Recipe::Prioritised { stratified: false, online_share: None }, &pools, Some(&tree));
        let z = deviate(&plain, &p);
        assert!(z.abs() < 2.326, "plain: {z}");
        // strata only take variance away
        let stratified =
            frequencies(&Recipe::Prioritised { stratified: true, online_share: None }, &pools, Some(&tree));
        let z = deviate(&stratified, &p);
        assert!(z < 2.326, "stratified: {z}");
        // the test can fail: neighbouring priorities exchanged
        let mut wrong = p.clone();
        wrong.swap(1, 2);
        wrong.swap(3, 4);
        wrong.swap(10, 11);
        assert!(deviate(&plain, &wrong) > 2.326);
    }

    #[test]
    fn a_share_of_online_rows_leaves_the_order_inside_each_part() {
        let mut pools = pools(1003, 900, 0);
        let mut tree = SumTree::new(1003);
        let masses = priorities(1003);
        tree.assign(0, &masses[..900]);
        for &mass in &masses[900..] {
            pools.push_with_priority(ONLINE, &[0.0], &mut tree, mass);
        }
        let (offline, online): (f64, f64) = (masses[..900].iter().sum(), masses[900..].iter().sum());
        assert!((tree.prefix(900) - offline).abs() < 1e-9 * offline);
        let p: Vec<f64> = masses
            .iter()
            .enumerate()
            .map(|(i, m)| if i < 900 { 0.7 * m / offline } else { 0.3 * m / online })
            .collect();
        let recipe = Recipe::Prioritised { stratified: false, online_share: Some(0.3) };
        let z = deviate(&frequencies(&recipe, &pools, Some(&tree)), &p);
        assert!(z.abs() < 2.326, "{z}");
    }

    #[test]
    fn frequencies_after_wrap_around() {
        // 700 offline rows, and 900 pushes into a pool of 300; new rows are four times as heavy
        let (mut pools, mut tree) = (pools(1000, 700, 0), SumTree::new(1000));
        let masses = priorities(1600);
        tree.assign(0, &masses[..700]);
        let mut naive = masses[..700].to_vec();
        naive.resize(1000, 0.0);
        for (k, &mass) in masses.iter().enumerate().skip(700) {
            let slot = pools.push_with_priority(ONLINE, &[0.0], &mut tree, 4.0 * mass);
            assert_eq!(slot, 700 + (k - 700) % 300);
            naive[slot] = 4.0 * mass;
        }
        assert_eq!(pools.len(), 1000);
        let total: f64 = naive.iter().sum();
        assert!((tree.total() / total - 1.0).abs() < 1e-9);
        let p: Vec<f64> = naive.iter().map(|m| m / total).collect();
        let counts =
            frequencies(&Recipe::Prioritised { stratified: false, online_share: None }, &pools, Some(&tree));
        let z = deviate(&counts, &p);
        assert!(z.abs() < 2.326, "{z}");
    }

    #[test]
    fn a_full_batch_of_strata_is_exact() {
        // integer masses that divide the batch: every row exactly its share, whatever the noise
        let pools = pools(4, 4, 0);
        let mut tree = SumTree::new(4);
        tree.assign(0, &[1.0, 3.0, 0.0, 4.0]);
        for update in 0..100 {
            let rows = compose(
                &Recipe::Prioritised { stratified: true, online_share: None },
                update,
                &pools,
                Some(&tree),
                64,
            );
            let count = |r| rows.iter().filter(|&&x| x == r).count();
            assert_eq!([0, 1, 2, 3].map(count), [8, 24, 0, 32]);
            assert!(rows.is_sorted());
        }
    }

    #[test]
    fn uniform_frequencies() {
        let pools = pools(2000, 800, 203);
        let p = vec![1.0 / 1003.0; 1003];
        for stratified in [false, true] {
            let z = deviate(&frequencies(&Recipe::Uniform { stratified }, &pools, None), &p);
            assert!(z < 2.326, "{z}");
        }
    }

    #[test]
    fn equal_priorities_are_the_uniform_stream() {
        for n in [1, 5, 1000, 65_537] {
            let pools = pools(70_000, n, 0);
            for mass in [1.0, 0.3, 1.0 / 3.0, 7e-9] {
                let mut tree = SumTree::new(70_000);
                tree.assign(0, &vec![mass; n]);
                for stratified in [false, true] {
                    for update in 0..20 {
                        for batch in [1, 63, 256] {
                            assert_eq!(
                                compose(
                                    &Recipe::Prioritised { stratified, online_share: None },
                                    update,
                                    &pools,
                                    Some(&tree),
                                    batch
                                ),
                                compose(&Recipe::Uniform { stratified }, update, &pools, None, batch),
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn mixtures() {
        let only_online = pools(50, 0, 30);
        let only_offline = pools(50, 30, 0);
        let both = pools(1000, 400, 100);
        let wrapped = pools(500, 400, 300);
        let share = |pools: &Pools, p: f64, batch: usize| {
            let rows = compose(&Recipe::mix(p, batch), 3, pools, None, batch);
            let offline = |&&row: &&u32| !pools.is_online(row as usize);
            let n = rows.iter().filter(offline).count();
            assert_eq!(rows.iter().take_while(offline).count(), n, "offline rows come first");
            n
        };
        assert_eq!(share(&only_online, 0.5, 256), 0);
        assert_eq!(share(&only_offline, 0.5, 256), 256);
        for pools in [&both, &wrapped] {
            assert_eq!(share(pools, 0.5, 256), 128);
            assert_eq!(share(pools, 0.1, 256), 25);
            assert_eq!(share(pools, 0.0, 256), 0);
            assert_eq!(share(pools, 1.0, 256), 256);
            assert_eq!(share(pools, 0.5, 1), 0);
        }
        let mut p = vec![0.5 / 400.0; 400];
        p.extend(vec![0.5 / 100.0; 100]);
        for pools in [&both, &wrapped] {
            let z = deviate(&frequencies(&Recipe::mix(0.5, 250), pools, None), &p);
            assert!(z.abs() < 2.326, "{z}");
        }
    }

    #[test]
    fn three_sources() {
        let sizes = [(OFFLINE, 10), ("generated", 20), (ONLINE, 30)];
        let mut pools = Pools::new(Layout::new(&[(D2, 1)]), &sizes);
        let recipe = Recipe::Parts(vec![
            (Source::Pool(ONLINE), 2),
            (Source::Pool("generated"), 3),
            (Source::Pool(OFFLINE), 5),
        ]);
        pools.load(OFFLINE, 10, &[]).unwrap();
        assert!(compose(&recipe, 0, &pools, None, 10).iter().all(|&row| row < 10));
        pools.load("generated", 4, &[]).unwrap();
        for _ in 0..7 {
            pools.push(ONLINE, &[0.0]);
        }
        for update in 0..50 {
            let rows = compose(&recipe, update, &pools, None, 10);
            assert!(rows[..2].iter().all(|row| (30..37).contains(row)), "{rows:?}");
            assert!(rows[2..5].iter().all(|row| (10..14).contains(row)), "{rows:?}");
            assert!(rows[5..].iter().all(|row| *row < 10), "{rows:?}");
        }
    }

    #[test]
    fn proportional_frequencies() {
        // 400 of 500 rows are offline: 200 of 250
        let pools_of = pools(1000, 400, 100);
        let p = [1.0 / 500.0; 500];
        let z = deviate(&frequencies(&Recipe::Proportional, &pools_of, None), &p);
        assert!(z.abs() < 2.326, "{z}");
        // 249 of 250 rows are offline at first: the batch has one online row, and none without one
        let online = |pools: &Pools| {
            let rows = compose(&Recipe::Proportional, 3, pools, None, 250);
            rows.iter().filter(|&&row| pools.is_online(row as usize)).count()
        };
        assert_eq!(online(&pools(1000, 600, 1)), 1);
        assert_eq!(online(&pools(1000, 600, 0)), 0);
        assert_eq!(online(&pools(1000, 0, 20)), 250);
    }

    #[test]
    fn concatenated_frequencies() {
        // a fifth of the batch from the online rows, the rest from all; the second pool has wrapped
        for both in [pools(1000, 400, 100), pools(500, 400, 300)] {
            let p: Vec<f64> =
                (0..500).map(|i| 0.8 / 500.0 + if i >= 400 { 0.2 / 100.0 } else { 0.0 }).collect();
            let z = deviate(&frequencies(&Recipe::concat(50, 250), &both, None), &p);
            assert!(z.abs() < 2.326, "{z}");
        }
        let rows = compose(&Recipe::concat(256, 2560), 9, &pools(1000, 400, 100), None, 2560);
        assert!(rows[..256].iter().all(|&row| row >= 400), "the online batch comes first");
        assert!(rows[256..].iter().filter(|&&row| row < 400).count() > 1700);
        // no online rows: uniform
        let only_offline = pools(1000, 400, 0);
        assert_eq!(
            compose(&Recipe::concat(6, 64), 9, &only_offline, None, 64),
            compose(&Recipe::Uniform { stratified: false }, 9, &only_offline, None, 64),
        );
    }

    #[test]
    fn importance_weights() {
        let pools = pools(4, 4, 0);
        let mut tree = SumTree::new(4);
        tree.assign(0, &[1.0, 4.0, 2.0, 4.0]);
        let (mut rows, mut weights) = ([0; 64], [0.0; 64]);
        let draw = Draw { seed: 1, stream: 1, update: 1 };
        let recipe = Recipe::Prioritised { stratified: true, online_share: None };
        recipe.compose(draw, &pools, Some(&tree), 0.5, &mut rows, &mut weights);
        for (&row, &w) in rows.iter().zip(&weights) {
            assert_eq!(w, [1.0, 0.5, 0.5f32.sqrt(), 0.5][row as usize]);
        }
        recipe.compose(draw, &pools, Some(&tree), 1.0, &mut rows, &mut weights);
        let mean = |f: [f32; 4]| {
            rows.iter().zip(&weights).map(|(&r, &w)| w * f[r as usize]).sum::<f32>()
                / weights.iter().sum::<f32>()
        };
        // full correction: the weighted mean is the uniform one, up to a stratum at each border
        assert!((mean([1.0, 2.0, 3.0, 4.0]) - 2.5).abs() < 0.1);
    }

    #[test]
    fn value_stability() {
        let pools = pools(1000, 1000, 0);
        let mut tree = SumTree::new(1000);
        let masses: Vec<f64> = (0..1000).map(|i| f64::from(i % 7) + 0.1).collect();
        tree.assign(0, &masses);
        assert_eq!(compose(&Recipe::Uniform { stratified: false }, 1, &pools, None, 6), UNIFORM);
        let prioritised = |stratified| {
            compose(&Recipe::Prioritised { stratified, online_share: None }, 1, &pools, Some(&tree), 6)
        };
        assert_eq!(prioritised(false), PLAIN);
        assert_eq!(prioritised(true), STRATIFIED);
    }
    // by an independent Python program
    const UNIFORM: [u32; 6] = [484, 647, 180, 86, 908, 981];
    const PLAIN: [u32; 6] = [486, 648, 181, 87, 909, 982];
    const STRATIFIED: [u32; 6] = [82, 276, 363, 515, 818, 997];
}
