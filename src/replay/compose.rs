//! Which rows make a batch.
//!
//! A batch is a function of (seed, stream, update) and the state of the ring and the tree: draw i of
//! an update uses the i-th 53-bit uniform number of these coordinates. Nothing is kept between updates.
//!
//! - *plain*: u_i is that number.
//! - *stratified*: u_i = (i + that number) / B, one draw from each of B equal shares of the mass. The
//!   marginal probabilities are the same and the variance is lower; the rows come out in ascending order.
//!
//! Equal numbers select equal rows whether by floor(u n) or by a tree whose priorities are all equal,
//! so a prioritised batch with equal priorities is the uniform batch, bit by bit.

use baq_kernels::philox::Philox;

use super::sum_tree::uniform_row;
use super::{Ring, SumTree};

/// Numbers drawn together, on the stack.
const GROUP: usize = 64;

/// Coordinates of the noise of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// of the run
    pub seed: u64,
    /// of this composer; no other noise may use it
    pub stream: u32,
    /// number of the update
    pub update: u64,
}

/// A rule that composes batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Composer {
    /// Every row with the same probability: `append`, when the offline rows were loaded first.
    Uniform {
        /// one draw per equal share, see the module
        stratified: bool,
    },
    /// Row i with probability p_i / Σ p, priorities from the tree.
    Prioritised {
        /// one draw per equal share, see the module
        stratified: bool,
    },
    /// The first floor(p B) rows from the offline part, the rest from the online part, each uniformly
    /// and plain. While one part is empty the whole batch comes from the other.
    Mix(
        /// offline share, in [0, 1]
        f64,
    ),
}

impl Composer {
    /// Fills `rows` `[B]` with slots of the ring and `weights` `[B]` with importance weights.
    ///
    /// Prioritised rows get (min_j p_j / p_i)^is_beta with the minimum over the batch, that is
    /// (n P_i)^-is_beta divided by its largest value in the batch; is_beta 0, and any other rule, gives 1.
    ///
    /// Panics if the ring is empty, the lengths differ, or a prioritised batch is asked for without a tree.
    pub fn compose(
        &self,
        draw: Draw,
        ring: &Ring,
        tree: Option<&SumTree>,
        is_beta: f64,
        rows: &mut [u32],
        weights: &mut [f32],
    ) {
        assert!(
            !ring.is_empty(),
            "invariant: a batch is drawn from a ring with rows"
        );
        assert_eq!(rows.len(), weights.len(), "importance weights of a batch");
        weights.fill(1.0);
        match *self {
            Self::Uniform { stratified } => {
                let n = ring.len();
                draw.numbers(stratified, rows, |_, u, rows| {
                    for (row, &u) in rows.iter_mut().zip(u) {
                        *row = uniform_row(u, n);
                    }
                });
            }
            Self::Prioritised { stratified } => {
                let tree = tree.expect("invariant: a prioritised batch has a tree");
                draw.numbers(stratified, rows, |_, u, rows| tree.select(u, rows));
                if is_beta != 0.0 {
                    importance(tree, is_beta, rows, weights);
                }
            }
            Self::Mix(share) => {
                let (offline, online) = (ring.offline_rows(), ring.online_len());
                let from_offline = if online == 0 {
                    rows.len()
                } else if offline.is_empty() {
                    0
                } else {
                    (share * rows.len() as f64) as usize
                };
                draw.numbers(false, rows, |first, u, rows| {
                    for (k, (row, &u)) in rows.iter_mut().zip(u).enumerate() {
                        *row = if first + k < from_offline {
                            offline.start as u32 + uniform_row(u, offline.len())
                        } else {
                            ring.online_slot(uniform_row(u, online) as usize) as u32
                        };
                    }
                });
            }
        }
    }

    /// Whether the rule needs a tree.
    pub fn is_prioritised(&self) -> bool {
        matches!(self, Self::Prioritised { .. })
    }
}

impl Draw {
    /// Calls `f(first, u, rows)` for consecutive groups of rows with their numbers in [0, 1).
    fn numbers(
        &self,
        stratified: bool,
        rows: &mut [u32],
        mut f: impl FnMut(usize, &[f64], &mut [u32]),
    ) {
        const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;
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
    let least = rows
        .iter()
        .map(|&row| tree.leaf(row as usize))
        .fold(f64::INFINITY, f64::min);
    for (weight, &row) in weights.iter_mut().zip(rows) {
        *weight = (least / tree.leaf(row as usize)).powf(is_beta) as f32;
    }
}
