//! Returns of episodes that were collected.

use super::Pools;
use super::pools::ONLINE;

/// Writes the discounted return to go of one finished online episode: its rows are the last `steps`
/// pushed. G_t = r_t + discount · m_t · G_{t+1}, 0 after the last row; an episode whose rewards all are `failing` has
/// failing / (1 - discount) in every row. Sums in f64. Rows of the episode that the pool
/// has already overwritten are skipped; panics if fewer rows were ever pushed.
pub fn return_to_go(pools: &mut Pools, steps: usize, discount: f64, failing: Option<f32>) {
    let (r, m) = (pools.column(super::R), pools.column(super::M));
    let target = pools.column(super::RETURN_TO_GO);
    assert!(
        steps as u64 <= pools.pool(ONLINE).pushed(),
        "invariant: an episode is pushed before its returns"
    );
    let failed = failing.filter(|f| pools.newest(ONLINE, steps).all(|row| pools.get(row, r)[0] == *f));
    let mut g = 0.0;
    for row in pools.newest(ONLINE, steps) {
        g = match failed {
            Some(reward) => f64::from(reward) / (1.0 - discount),
            None => f64::from(pools.get(row, r)[0]) + discount * f64::from(pools.get(row, m)[0]) * g,
        };
        pools.set(row, target, &[g as f32]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, M, R, RETURN_TO_GO};
    use super::*;

    #[test]
    fn returns_of_the_last_episode() {
        let layout = Layout::new(&[(R, 1), (M, 1), (RETURN_TO_GO, 1)]);
        let mut pools = Pools::new(layout, &[(ONLINE, 4)]);
        let push = |pools: &mut Pools, rows: &[(f32, f32)]| {
            rows.iter().for_each(|&(r, m)| {
                pools.push(ONLINE, &[r, m, -1.0]);
            });
        };
        push(&mut pools, &[(5.0, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 0.0)]);
        let g = pools.column(RETURN_TO_GO);
        let all = |pools: &Pools| -> Vec<f32> { (0..4).map(|i| pools.get(i, g)[0]).collect() };
        return_to_go(&mut pools, 3, 0.5, Some(4.0)); // not all rewards are the failing one
        assert_eq!(all(&pools), [-1.0, 3.0, 4.0, 4.0]);
        // truncated episodes that wrap around
        push(&mut pools, &[(1.0, 1.0), (1.0, 1.0)]);
        return_to_go(&mut pools, 2, 0.5, None);
        assert_eq!(all(&pools), [1.5, 1.0, 4.0, 4.0]);
        return_to_go(&mut pools, 2, 0.5, Some(1.0));
        assert_eq!(all(&pools), [2.0, 2.0, 4.0, 4.0]);
        push(&mut pools, &[(-1.0, 1.0), (-1.0, 1.0), (-1.0, 0.0)]);
        return_to_go(&mut pools, 3, 0.75, Some(-1.0));
        assert_eq!(all(&pools), [-4.0, 2.0, -4.0, -4.0]);
    }
}
