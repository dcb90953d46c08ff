//! What the cells of a study will cost here, before any of them is run.

use std::collections::BTreeMap;
use std::path::Path;

use super::graph::{Cell, Graph, Kind};
use crate::algo::Dims;
use crate::config::{Begin, Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::env::{self, cost};
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::bench::{Acting, Round, Samples};
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
    /// of one thread
    pub seconds: f64,
    /// of its directory
    pub bytes: f64,
}

/// Measures what each cell takes, with one measurement for each (kind, label): seeds and data sets of one task cost alike.
/// An estimate: episodes are taken to last as long as they can.
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
    let stage = match cell.kind {
        Kind::Offline | Kind::Model => Stage::Offline,
        Kind::Finetune | Kind::Scratch => Stage::Online,
    };
    Ok(Cost { seconds: seconds(&cell.config, stage, SECONDS)?, bytes: bytes(&cell.config) })
}

/// What a run does last, which takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// updates on data
    Offline,
    /// steps in an environment, whatever came before them
    Online,
}

/// Seconds of one thread that the last stage of a run of this configuration will take here, from measurements of `each` seconds; 0
/// without an environment.
pub fn seconds(config: &Config, stage: Stage, each: f64) -> Result<f64, TrainError> {
    let run: RunConfig = config.section();
    let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let Ok(spec) = env::spec(&run.env) else { return Ok(0.0) };
    let dims = (spec.obs_dim, spec.act_dim);
    let mut round = Round::new(config, dims, ROWS)?;
    let (drawing, computing) = round.measure(each);
    let update = drawing.median() + computing.call.median();
    let action = Acting::new(config, dims)?.measure(each).call.median();
    let mut steps = Samples::default();
    cost::measure(spec.id, each)?.step.into_iter().for_each(|seconds| steps.push(seconds));
    let step = action + steps.median();
    let evaluations = |every: u64, length: u64, episodes: usize| {
        let count = length.checked_div(every).map_or(0, |n| n + 1);
        count as f64 * episodes as f64 * EPISODE * step
    };
    Ok(match stage {
        Stage::Offline => {
            offline.updates as f64 * update
                + evaluations(offline.eval_every, offline.updates, offline.eval_episodes)
        }
        Stage::Online => {
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

/// An error unless the file system can take what is left of the study.
pub fn check_disk(dir: &Path, bytes: f64) -> Result<(), TrainError> {
    match crate::files::free_space(dir).map(|free| free as f64) {
        Some(free) if free < bytes => Err(TrainError::Input(format!(
            "{}: expected {:.1} GB free for the study's runs, got {:.1} GB; make room, or choose another --out",
            dir.display(),
            bytes / 1e9,
            free / 1e9
        ))),
        _ => Ok(()),
    }
}
