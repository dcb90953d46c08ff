//! What the cells of a study will cost here, before any of them is run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::graph::{Cell, Graph, Kind};
use crate::algo::Dims;
use crate::config::{Begin, Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::env::{self, cost};
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::bench::{Acting, Round, Samples};
use crate::train::extra;
pub use crate::train::extra::Last;
use crate::train::plan::online_phase;

/// Transitions that rounds are measured on: fewer are nearer to the cache than those of a real data set.
const ROWS: usize = 100_000;
/// Seconds that each measurement takes.
const SECONDS: f64 = 0.5;
/// Steps of an episode that ends by its time limit, where the task has none of its own.
const EPISODE: f64 = 1000.0;

/// What one cell takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// on the threads of this process
    pub seconds: f64,
    /// of its directory
    pub bytes: f64,
}

/// Measures what each cell takes, with one measurement for each (kind, label): seeds and data sets of one task cost alike.
/// An estimate: episodes are taken to last as long as they can. Errors: those of [`seconds`].
pub fn measure(graph: &Graph) -> Result<Vec<Cost>, TrainError> {
    let mut known: BTreeMap<(Kind, String, String), Cost> = BTreeMap::new();
    let mut costs = Vec::new();
    for cell in &graph.cells {
        let key = (cell.kind, cell.label.clone(), cell.config.section::<RunConfig>().env);
        let cost = match known.get(&key) {
            Some(cost) => *cost,
            None => of(cell)?,
        };
        known.insert(key, cost);
        costs.push(cost);
    }
    Ok(costs)
}

fn of(cell: &Cell) -> Result<Cost, TrainError> {
    let last = match cell.kind {
        Kind::Offline | Kind::Model => Last::Offline,
        Kind::Finetune | Kind::Scratch => Last::Online { given: cell.model.is_some() },
    };
    Ok(Cost { seconds: seconds(&cell.config, last, SECONDS)?, bytes: bytes(&cell.config) })
}

/// Seconds, on the threads of this process, that the last stage of a run of this configuration will take here, from measurements of `each` seconds; 0
/// without an environment that is known here. Models that are fitted before it and refreshes of a generator are counted at the rate of its rounds.
/// Errors: options that do not go together; what does not fit in memory; an environment that cannot be had or becomes
/// unstable.
pub fn seconds(config: &Config, last: Last, each: f64) -> Result<f64, TrainError> {
    let run: RunConfig = config.section();
    let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let Ok(spec) = env::spec(&run.env) else { return Ok(0.0) };
    let dims = (spec.obs_dim, spec.act_dim);
    let mut round = Round::new(config, dims, ROWS)?;
    let (drawing, computing) = round.measure(each);
    let update = drawing.median() + computing.call.median();
    let beside = extra::flops(config, dims, last)? as f64 / computing.flops.max(1) as f64;
    let beside = beside * computing.call.median();
    let action = Acting::new(config, dims)?.measure(each).call.median();
    let steps: Samples = cost::measure(spec.id, each)?.step.into_iter().collect();
    let step = action + steps.median();
    let evaluations = |every: u64, length: u64, episodes: usize| {
        let count = length.checked_div(every).map_or(0, |n| n + 1);
        count as f64 * episodes as f64 * EPISODE * step
    };
    Ok(beside
        + match last {
            Last::Offline => {
                offline.updates as f64 * update
                    + evaluations(offline.eval_every, offline.updates, offline.eval_episodes)
            }
            Last::Online { .. } => {
                let agent = Agent::outline(config, Dims { s: dims.0, a: dims.1, batch: 1 })?;
                let before = if run.begin == Begin::Online { 0 } else { offline.updates };
                let rounds = online_phase(config, &agent, before).rounds;
                rounds as f64 * update
                    + online.env_steps as f64 * step
                    + evaluations(online.eval_every, online.env_steps, online.eval_episodes)
            }
        })
}

/// Bytes that the run of a configuration leaves: parameters, two moments, what is collected, curves and page.
pub fn bytes(config: &Config) -> f64 {
    let online: OnlineConfig = config.section();
    let Ok(spec) = env::spec(&config.section::<RunConfig>().env) else { return 1e6 };
    let dims = Dims { s: spec.obs_dim, a: spec.act_dim, batch: 1 };
    let numbers: usize = Agent::outline(config, dims)
        .map_or(0, |agent| agent.table.ids().map(|id| agent.table.param(id).shape.len()).sum());
    12.0 * numbers as f64 + 1e6 + online.env_steps as f64 * 4.0 * (2 * dims.s + dims.a + 4) as f64
}

/// Seconds from the first beginning to the last end of cells of which so many run at once. Plays the executor's order: whenever one
/// may begin, it is the first of which all that it needs is done. `needs` are cells before it; `seconds` its own, 0 for one that
/// is there already.
pub fn schedule(needs: &[Vec<usize>], seconds: &[f64], at_once: usize) -> f64 {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let first = (0..needs.len()).filter(|i| missing[*i] == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = first.map(Reverse).collect();
    // By the end, in nanoseconds, which have an order.
    let mut running: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut now = 0;
    loop {
        while running.len() < at_once {
            let Some(Reverse(i)) = ready.pop() else { break };
            running.push(Reverse((now + (seconds[i] * 1e9) as u64, i)));
        }
        let Some(Reverse((end, done))) = running.pop() else { break };
        now = end;
        for i in (0..needs.len()).filter(|i| needs[*i].contains(&done)) {
            missing[i] -= 1;
            if missing[i] == 0 {
                ready.push(Reverse(i));
            }
        }
    }
    now as f64 * 1e-9
}

/// Seconds of the longest chain of cells of which each needs the one before: no number of cores takes less.
pub fn longest_chain(needs: &[Vec<usize>], seconds: &[f64]) -> f64 {
    let mut ends: Vec<f64> = Vec::with_capacity(seconds.len());
    for (needs, own) in needs.iter().zip(seconds) {
        let begin = needs.iter().map(|need| ends[*need]).fold(0.0, f64::max);
        ends.push(begin + own);
    }
    ends.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_wait_for_what_cells_need() {
        // Two trainings, of the first two fine-tunings each wait; the second, of 4 s, is the longest.
        let needs = [vec![], vec![], vec![0], vec![0, 1]];
        let seconds = [1.0, 3.0, 2.0, 4.0];
        let at = |at_once| schedule(&needs, &seconds, at_once);
        assert_eq!([at(1), at(2), at(64)], [10.0, 7.0, 7.0]);
        assert_eq!(longest_chain(&needs, &seconds), 7.0);
        // What is done takes no time, and nobody waits for it.
        assert_eq!(schedule(&needs, &[0.0, 0.0, 2.0, 4.0], 2), 4.0);
        assert_eq!(schedule(&[], &[], 2), 0.0);
    }
}
