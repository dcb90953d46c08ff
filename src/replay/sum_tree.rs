//! Priorities as a tree of sums: draws proportional to mass, in f64.
//!
//! Leaf i is the mass of row i. Eight children make a node, a node is one cache line, and the sum of a
//! node is always computed from its eight children in the same order. The inner sums are therefore a
//! function of the leaves alone: they cannot drift, equal a rebuild bit by bit, and need not be saved.
//!
//! A draw walks from the root with a target in [0, total): inside a node it takes the first child whose
//! prefix sum exceeds the target, which therefore has mass, and keeps the rest of the target; where
//! rounding has put the target beyond all children it takes the last one with mass. So no leaf without
//! mass is ever drawn. Batches are walked level by level: the draws of a batch do not wait for each
//! other, and each asks for its next line while the others compute.
//!
//! If all leaves are equal, a target u · total would select floor(u · n) up to rounding; the tree knows
//! when they are equal and then selects exactly that row, so that equal priorities reproduce the
//! uniform stream bit by bit (see [`super::recipe`]).
//!
//! Above 400 lines because the tests stand beside the code.

use baq_kernels::gather::prefetch;

const CHILDREN: usize = 8;
/// Draws or updates walked together: their targets and positions live on the stack.
const GROUP: usize = 64;
/// Enough for 2^33 leaves.
const MAX_LEVELS: usize = 11;

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
struct Node([f64; CHILDREN]);

impl Node {
    const EMPTY: Self = Self([0.0; CHILDREN]);

    /// Sums of the first 1, 2, .. 8 children; the last is the mass of the node. A child without mass
    /// leaves the sum before it exactly as it was, whatever rounding does elsewhere.
    #[inline(always)]
    fn prefixes(&self) -> [f64; CHILDREN] {
        let c = &self.0;
        let p1 = c[0] + c[1];
        let p3 = p1 + (c[2] + c[3]);
        let p5 = p3 + (c[4] + c[5]);
        [c[0], p1, p1 + c[2], p3, p3 + c[4], p5, p5 + c[6], p5 + (c[6] + c[7])]
    }

    /// (((0 + 1) + (2 + 3)) + (4 + 5)) + (6 + 7), the order of every sum here.
    #[inline(always)]
    fn sum(&self) -> f64 {
        self.prefixes()[CHILDREN - 1]
    }

    /// The child that holds the target, and what remains of the target inside it. The child is counted,
    /// not searched: the outcome of a comparison is a coin toss that no branch predictor can learn.
    #[inline(always)]
    fn descend(&self, x: f64) -> (usize, f64) {
        let p = self.prefixes();
        let mut child = 0;
        for bound in p {
            child += usize::from(bound <= x);
        }
        if child == CHILDREN {
            // the target was rounded up to the mass of the node, or beyond
            child = self.0.iter().rposition(|&mass| mass > 0.0).unwrap_or(0);
        }
        let before = [0.0, p[0], p[1], p[2], p[3], p[4], p[5], p[6]];
        (child, x - before[child])
    }
}

/// Masses of up to `capacity` rows and their sums.
#[derive(Clone, Debug, PartialEq)]
pub struct SumTree {
    /// level by level, leaves first, the root alone at the end
    nodes: Vec<Node>,
    /// first node of each level
    starts: [usize; MAX_LEVELS],
    levels: usize,
    capacity: usize,
    /// leaves with mass
    positive: usize,
    /// places i where leaf i differs from leaf i + 1, an absent leaf counting as 0: one step behind a
    /// positive leaf 0 means that leaves 0..positive are equal and all others 0
    steps: usize,
}

impl SumTree {
    /// A tree for `capacity` rows, all without mass. Panics if the capacity is 0 or beyond 2^32 rows.
    pub fn new(capacity: usize) -> Self {
        assert!(
            capacity > 0 && u32::try_from(capacity).is_ok(),
            "capacity of the sum tree must be in 1..2^32, got {capacity}"
        );
        let mut starts = [0; MAX_LEVELS];
        let (mut levels, mut total) = (0, 0);
        let mut wide = capacity;
        loop {
            starts[levels] = total;
            levels += 1;
            wide = wide.div_ceil(CHILDREN);
            total += wide;
            if wide == 1 {
                break;
            }
        }
        let nodes = vec![Node::EMPTY; total];
        Self { nodes, starts, levels, capacity, positive: 0, steps: 0 }
    }

    /// Rows that the tree has leaves for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sum of all leaves.
    pub fn total(&self) -> f64 {
        self.nodes[self.nodes.len() - 1].sum()
    }

    /// Mass of a row.
    #[inline]
    pub fn leaf(&self, row: usize) -> f64 {
        assert!(row < self.capacity, "row {row} of a sum tree for {}", self.capacity);
        self.nodes[row / CHILDREN].0[row % CHILDREN]
    }

    /// Gives a row its mass, finite and not negative. O(log capacity), upwards until a sum stays the same.
    pub fn set(&mut self, row: usize, mass: f64) {
        self.write(row, mass);
        let mut node = row / CHILDREN;
        for level in 0..self.levels - 1 {
            if !self.lift(level, node) {
                break;
            }
            node /= CHILDREN;
        }
    }

    /// Gives many rows their masses; of a repeated row the last mass stays. Level by level, each
    /// changed node once for rows in ascending order.
    pub fn update(&mut self, rows: &[u32], masses: &[f64]) {
        assert_eq!(rows.len(), masses.len(), "masses of an update");
        let mut changed = [0usize; GROUP];
        for (rows, masses) in rows.chunks(GROUP).zip(masses.chunks(GROUP)) {
            for &row in rows {
                if let Some(node) = self.nodes.get(row as usize / CHILDREN) {
                    prefetch(node);
                }
            }
            let mut n = 0;
            for (&row, &mass) in rows.iter().zip(masses) {
                self.write(row as usize, mass);
                changed[n] = row as usize / CHILDREN;
                n += 1;
            }
            for level in 0..self.levels - 1 {
                let mut kept = 0;
                for k in 0..n {
                    let node = changed[k];
                    if self.lift(level, node) {
                        let parent = node / CHILDREN;
                        if kept == 0 || changed[kept - 1] != parent {
                            changed[kept] = parent;
                            kept += 1;
                        }
                    }
                }
                n = kept;
            }
        }
    }

    /// Gives the rows from `first` on their masses and recomputes the sums above them: O(rows), the
    /// way to build the tree.
    pub fn assign(&mut self, first: usize, masses: &[f64]) {
        if masses.is_empty() {
            return;
        }
        for (k, &mass) in masses.iter().enumerate() {
            self.write(first + k, mass);
        }
        let (mut lo, mut hi) = (first, first + masses.len() - 1);
        for level in 0..self.levels - 1 {
            (lo, hi) = (lo / CHILDREN, hi / CHILDREN);
            for node in lo..=hi {
                self.lift(level, node);
            }
        }
    }

    /// Copies the masses of the rows from `first` on: all that a checkpoint needs of a tree.
    pub fn read(&self, first: usize, out: &mut [f64]) {
        for (k, mass) in out.iter_mut().enumerate() {
            *mass = self.leaf(first + k);
        }
    }

    /// Sum of the leaves before `row`, all of them before the capacity: O(log n).
    pub fn prefix(&self, row: usize) -> f64 {
        assert!(row <= self.capacity, "row {row} of {}", self.capacity);
        if row == self.capacity {
            return self.total();
        }
        let mut at = row;
        let mut sum = 0.0;
        for level in 0..self.levels {
            let (node, child) = (at / CHILDREN, at % CHILDREN);
            if child > 0 {
                sum += self.nodes[self.starts[level] + node].prefixes()[child - 1];
            }
            at = node;
        }
        sum
    }

    /// n if leaves 0..n have equal mass and the others none: then a draw is uniform over n rows.
    #[inline]
    pub fn flat(&self) -> Option<usize> {
        (self.steps == 1 && self.leaf(0) > 0.0).then_some(self.positive)
    }

    /// For each u in [0, 1) the row whose share of the total mass contains u; its mass is positive.
    /// Panics if there is no mass at all.
    pub fn select(&self, u: &[f64], rows: &mut [u32]) {
        assert_eq!(u.len(), rows.len(), "rows of a draw");
        if let Some(n) = self.flat() {
            for (row, &u) in rows.iter_mut().zip(u) {
                *row = uniform_row(u, n);
            }
            return;
        }
        let total = self.total();
        assert!(total > 0.0, "a draw from a sum tree without mass");
        for (u, rows) in u.chunks(GROUP).zip(rows.chunks_mut(GROUP)) {
            self.walk(u, total, rows);
        }
    }

    /// All draws of a group, one level at a time.
    fn walk(&self, u: &[f64], total: f64, at: &mut [u32]) {
        let mut target = [0.0; GROUP];
        for (x, u) in target.iter_mut().zip(u) {
            *x = u * total;
        }
        at.fill(0);
        for level in (0..self.levels).rev() {
            let nodes = &self.nodes[self.starts[level]..];
            let below = if level > 0 { &self.nodes[self.starts[level - 1]..] } else { &[] };
            for (position, x) in at.iter_mut().zip(&mut target) {
                let (child, rest) = nodes[*position as usize].descend(*x);
                *x = rest;
                let next = *position as usize * CHILDREN + child;
                if let Some(node) = below.get(next) {
                    prefetch(node);
                }
                *position = next as u32;
            }
        }
    }

    /// Writes a leaf and the counts that describe the leaves; the sums above are the caller's.
    #[inline]
    fn write(&mut self, row: usize, mass: f64) {
        assert!(
            mass >= 0.0 && mass.is_finite(),
            "priority of row {row} is {mass}: it must be finite and not negative"
        );
        let old = self.leaf(row);
        let new = mass + 0.0; // -0 becomes 0
        let after = if row + 1 < self.capacity { self.leaf(row + 1) } else { 0.0 };
        self.steps -= usize::from(old != after);
        self.steps += usize::from(new != after);
        if row > 0 {
            let before = self.leaf(row - 1);
            self.steps -= usize::from(before != old);
            self.steps += usize::from(before != new);
        }
        self.positive -= usize::from(old > 0.0);
        self.positive += usize::from(new > 0.0);
        self.nodes[row / CHILDREN].0[row % CHILDREN] = new;
    }

    /// Puts the sum of a node into its parent; whether that changed anything.
    #[inline]
    fn lift(&mut self, level: usize, node: usize) -> bool {
        let sum = self.nodes[self.starts[level] + node].sum();
        let slot = &mut self.nodes[self.starts[level + 1] + node / CHILDREN].0[node % CHILDREN];
        let changed = *slot != sum;
        *slot = sum;
        changed
    }
}

/// The row of a uniform draw over n rows: floor(u n).
#[inline]
pub(super) fn uniform_row(u: f64, n: usize) -> u32 {
    ((u * n as f64) as usize).min(n - 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use baq_kernels::philox::{Philox, fill_uniform_f64};
    use proptest::prelude::*;

    fn built(masses: &[f64]) -> SumTree {
        let mut tree = SumTree::new(masses.len());
        tree.assign(0, masses);
        tree
    }

    /// The same leaves put into a new tree.
    fn rebuilt(tree: &SumTree) -> SumTree {
        let mut leaves = vec![0.0; tree.capacity()];
        tree.read(0, &mut leaves);
        built(&leaves)
    }

    fn select_one(tree: &SumTree, u: f64) -> usize {
        let mut row = [0];
        tree.select(&[u], &mut row);
        row[0] as usize
    }

    #[test]
    fn a_node_is_a_cache_line() {
        assert_eq!((size_of::<Node>(), align_of::<Node>()), (64, 64));
        assert_eq!(SumTree::new(8).nodes.len(), 1);
        assert_eq!(SumTree::new(9).nodes.len(), 3);
        assert_eq!(SumTree::new(4096).levels, 4);
        assert_eq!(SumTree::new(4097).levels, 5);
    }

    #[test]
    fn shares_of_the_mass() {
        // 1 2 0 4 | 0 ... 0 | 9
        let mut masses = [0.0; 20];
        (masses[0], masses[1], masses[3], masses[19]) = (1.0, 2.0, 4.0, 9.0);
        let tree = built(&masses);
        assert_eq!(tree.total(), 16.0);
        let rows: Vec<usize> = (0..16).map(|k| select_one(&tree, f64::from(k) / 16.0)).collect();
        assert_eq!(rows, [0, 1, 1, 3, 3, 3, 3, 19, 19, 19, 19, 19, 19, 19, 19, 19]);
        assert_eq!(select_one(&tree, 1.0 - f64::EPSILON / 2.0), 19);
    }

    #[test]
    fn flatness_is_seen() {
        let mut tree = SumTree::new(10);
        assert_eq!(tree.flat(), None);
        for row in 0..10 {
            tree.set(row, 0.3);
            assert_eq!(tree.flat(), Some(row + 1));
        }
        tree.set(4, 0.4);
        assert_eq!(tree.flat(), None);
        tree.set(4, 0.3);
        assert_eq!(tree.flat(), Some(10));
        tree.set(0, 0.5);
        assert_eq!(tree.flat(), None);
        tree.assign(1, &[0.5; 9]);
        assert_eq!(tree.flat(), Some(10));
        tree.set(9, 0.0);
        assert_eq!(tree.flat(), Some(9));
        tree.set(3, 0.0);
        assert_eq!(tree.flat(), None);
    }

    #[test]
    fn the_walk_agrees_with_floor_for_powers_of_two() {
        // without the shortcut for flat trees: sums and differences are exact here
        let mut u = vec![0.0; 20_000];
        fill_uniform_f64(1, 1, 1, &mut u);
        for (n, mass) in [(1usize, 1.0), (7, 1.0), (1000, 0.25), (4097, 1.0), (200_000, 4.0)] {
            let tree = built(&vec![mass; n]);
            let mut rows = vec![0; u.len()];
            for (u, rows) in u.chunks(GROUP).zip(rows.chunks_mut(GROUP)) {
                tree.walk(u, tree.total(), rows);
            }
            for (&u, &row) in u.iter().zip(&rows) {
                assert_eq!(row, uniform_row(u, n));
            }
        }
    }

    #[test]
    fn uniform_row_stays_inside() {
        for n in [1usize, 2, 3, 1000, (1 << 21) + 1, u32::MAX as usize] {
            assert_eq!(uniform_row(1.0 - f64::EPSILON / 2.0, n), n as u32 - 1);
            assert_eq!(uniform_row(1.0, n), n as u32 - 1);
            assert_eq!(uniform_row(0.0, n), 0);
        }
    }

    #[test]
    fn sums_do_not_drift() {
        let n = 10_007;
        let mut tree = SumTree::new(n);
        let mut noise = Philox::new(1, 2, 3);
        for k in 0..100_000 {
            let w = noise.next_block();
            // thirty orders of magnitude, and sometimes nothing
            let mass = if w[1].is_multiple_of(11) {
                0.0
            } else {
                10f64.powi((w[2] % 31) as i32 - 15) * f64::from(w[3])
            };
            tree.set(w[0] as usize % n, mass);
            if k % 20_000 == 0 {
                assert!(tree == rebuilt(&tree));
            }
        }
        assert!(tree == rebuilt(&tree));
        for _ in 0..400 {
            let (mut rows, mut masses) = ([0u32; 256], [0f64; 256]);
            for (row, mass) in rows.iter_mut().zip(&mut masses) {
                let w = noise.next_block();
                *row = w[0] % n as u32;
                *mass = f64::from(w[1] % 1000) * 0.001;
            }
            tree.update(&rows, &masses);
        }
        assert!(tree == rebuilt(&tree));
    }

    #[test]
    fn a_leaf_without_mass_is_never_drawn() {
        // Sums that round: 0.1 is not a binary fraction, masses differ by 15 orders of magnitude.
        let mut u = vec![0.0; 4096];
        fill_uniform_f64(9, 1, 1, &mut u);
        u[0] = 1.0 - f64::EPSILON / 2.0;
        u[1] = 1.0;
        u[2] = 0.0;
        let mut rows = vec![0; u.len()];
        for seed in 0..200 {
            let mut noise = Philox::new(seed, 0, 0);
            let n = 1 + noise.next_block()[0] as usize % 300;
            let masses: Vec<f64> = (0..n)
                .map(|_| {
                    let w = noise.next_block();
                    if w[0].is_multiple_of(2) { 0.0 } else { 0.1 * 10f64.powi((w[1] % 16) as i32) }
                })
                .collect();
            let tree = built(&masses);
            if tree.total() == 0.0 {
                continue;
            }
            tree.select(&u, &mut rows);
            for &row in &rows {
                assert!(masses[row as usize] > 0.0, "row {row} of {n}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "without mass")]
    fn nothing_to_draw() {
        select_one(&SumTree::new(5), 0.5);
    }

    #[test]
    #[should_panic(expected = "priority of row 1 is NaN")]
    fn a_priority_that_is_no_number() {
        SumTree::new(5).set(1, f64::NAN);
    }

    #[test]
    #[should_panic(expected = "row 5 of a sum tree for 5")]
    fn a_row_outside() {
        SumTree::new(5).set(5, 1.0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(usize, u8),
        Update(Vec<(usize, u8)>),
        Assign(usize, Vec<u8>),
    }

    proptest! {
        #[test]
        fn as_a_naive_list(
            n in 1usize..700,
            steps in prop::collection::vec(
                prop_oneof![
                    (0usize..700, 0u8..6).prop_map(|(i, p)| Step::Set(i, p)),
                    prop::collection::vec((0usize..700, 0u8..6), 0..150).prop_map(Step::Update),
                    (0usize..700, prop::collection::vec(0u8..6, 0..200)).prop_map(|(i, p)| Step::Assign(i, p)),
                ],
                1..12,
            ),
            u in prop::collection::vec(0.0f64..1.0, 1..100),
        ) {
            let mut tree = SumTree::new(n);
            let mut naive = vec![0.0; n];
            for step in steps {
                match step {
                    Step::Set(i, p) => {
                        tree.set(i % n, f64::from(p));
                        naive[i % n] = f64::from(p);
                    }
                    Step::Update(list) => {
                        let rows: Vec<u32> = list.iter().map(|(i, _)| (i % n) as u32).collect();
                        let masses: Vec<f64> = list.iter().map(|&(_, p)| f64::from(p)).collect();
                        tree.update(&rows, &masses);
                        for (&i, &p) in rows.iter().zip(&masses) { naive[i as usize] = p }
                    }
                    Step::Assign(i, list) => {
                        let first = i % n;
                        let masses: Vec<f64> =
                            list.iter().take(n - first).map(|&p| f64::from(p)).collect();
                        tree.assign(first, &masses);
                        naive[first..first + masses.len()].copy_from_slice(&masses);
                    }
                }
            }
            let total: f64 = naive.iter().sum();
            prop_assert_eq!(tree.total(), total);
            prop_assert!(tree == rebuilt(&tree));
            for row in [0, n / 2, n] {
                prop_assert_eq!(tree.prefix(row), naive[..row].iter().sum::<f64>());
            }
            let n_positive = naive.iter().filter(|&&p| p > 0.0).count();
            let flat = n_positive > 0
                && naive[..n_positive].iter().all(|&p| p == naive[0] && p > 0.0);
            prop_assert_eq!(tree.flat(), flat.then_some(n_positive));
            if total > 0.0 {
                let mut rows = vec![0; u.len()];
                tree.select(&u, &mut rows);
                for (&u, &row) in u.iter().zip(&rows) {
                    if flat {
                        prop_assert_eq!(row, uniform_row(u, n_positive));
                        continue;
                    }
                    // integer masses: prefix sums and differences are exact
                    let mut x = u * total;
                    let expected = naive.iter().position(|&p| { x -= p; x < 0.0 });
                    prop_assert_eq!(expected, Some(row as usize));
                }
            }
        }
    }
}
