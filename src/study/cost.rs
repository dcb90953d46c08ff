//! What the cells of a study will cost here, before any of them is run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;

use super::graph::{Cell, Graph, Kind};
use crate::adapt::generator::Task;
use crate::algo::Dims;
use crate::autodiff::{Program, Select, Trace};
use crate::config::{Begin, Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::env::{self, cost};
use crate::nn::diffusion::Drawing;
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
        Kind::Finetune | Kind::Scratch => Stage::Online { given: cell.model.is_some() },
    };
    Ok(Cost { seconds: seconds(&cell.config, stage, SECONDS)?, bytes: bytes(&cell.config) })
}

/// What a run does last, which takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// updates on data
    Offline,
    /// steps in an environment, whatever came before them
    Online {
        /// the model that the adaptation needs has been fitted
        given: bool,
    },
}

/// Seconds of one thread that the last stage of a run of this configuration will take here, from measurements of `each` seconds; 0
/// without an environment. Models that are fitted before it and refreshes of a generator are counted at the rate of its rounds.
pub fn seconds(config: &Config, stage: Stage, each: f64) -> Result<f64, TrainError> {
    let run: RunConfig = config.section();
    let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let Ok(spec) = env::spec(&run.env) else { return Ok(0.0) };
    let dims = (spec.obs_dim, spec.act_dim);
    let mut round = Round::new(config, dims, ROWS)?;
    let (drawing, computing) = round.measure(each);
    let update = drawing.median() + computing.call.median();
    let beside = flops_beside(config, dims, stage)? as f64 / computing.flops.max(1) as f64;
    let beside = beside * computing.call.median();
    let action = Acting::new(config, dims)?.measure(each).call.median();
    let mut steps = Samples::default();
    cost::measure(spec.id, each)?.step.into_iter().for_each(|seconds| steps.push(seconds));
    let step = action + steps.median();
    let evaluations = |every: u64, length: u64, episodes: usize| {
        let count = length.checked_div(every).map_or(0, |n| n + 1);
        count as f64 * episodes as f64 * EPISODE * step
    };
    Ok(beside
        + match stage {
            Stage::Offline => {
                offline.updates as f64 * update
                    + evaluations(offline.eval_every, offline.updates, offline.eval_episodes)
            }
            Stage::Online { .. } => {
                let agent = Agent::outline(config, Dims { s: dims.0, a: dims.1, batch: 1 })?;
                let before = if run.begin == Begin::Online { 0 } else { offline.updates };
                let rounds = online_phase(config, &agent, before).rounds;
                rounds as f64 * update
                    + online.env_steps as f64 * step
                    + evaluations(online.eval_every, online.env_steps, online.eval_episodes)
            }
        })
}

/// Floating-point operations of models that are fitted before the last stage and of the refreshes within it.
fn flops_beside(config: &Config, (s, a): (usize, usize), stage: Stage) -> Result<u64, TrainError> {
    let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let batch = if stage == Stage::Offline { offline.batch } else { online.rows() };
    let agent = Agent::outline(config, Dims { s, a, batch })?;
    let tunes = stage != Stage::Offline && config.section::<RunConfig>().begin != Begin::Online;
    let origin = if tunes { agent.learner.pretrain().len() } else { 0 };
    let given = stage == Stage::Online { given: true };
    let flops = |trace: &Trace| Program::compile(trace, Select::ALL).flops();
    let fits = agent.pretraining().into_iter().skip(origin).filter(|(fit, _)| fit.given.is_none() || !given);
    let fits: u64 = fits.map(|(fit, trace)| fit.updates * flops(&trace)).sum();
    let Some(generator) = agent.generator.as_ref().filter(|_| stage != Stage::Offline) else {
        return Ok(fits);
    };
    let refreshes =
        online.learning_horizon().saturating_sub(1) / generator.every() + u64::from(generator.at_start());
    let drawn = |drawing: &Drawing| {
        let steps = drawing.levels.len() as u64 - 1;
        flops(&drawing.begin) + steps * flops(&drawing.step) + flops(&drawing.last)
    };
    let round = |task: &Task| match task {
        Task::Learn { trace, .. } => flops(trace),
        Task::Contrast { trace, drawing, .. } => flops(trace) + drawn(drawing),
        Task::Draw { drawing, .. } => drawn(drawing),
    };
    let refresh: u64 = agent.refresh().iter().map(|stage| stage.rounds * round(&stage.task)).sum();
    Ok(fits + refreshes * refresh)
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

/// What cells take on so many cores, one thread each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// cores
    pub cores: usize,
    /// from the first beginning to the last end
    pub seconds: f64,
    /// share of that in which the cores work
    pub busy: f64,
}

/// Plays the executor's order: a core that is free takes the first cell of which all that it needs is done. `needs` are cells
/// before it; `seconds` its own, 0 for one that is there already.
pub fn schedule(needs: &[Vec<usize>], seconds: &[f64], cores: usize) -> Schedule {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let first = (0..needs.len()).filter(|i| missing[*i] == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = first.map(Reverse).collect();
    // By the end, in nanoseconds, which have an order.
    let mut running: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut now = 0;
    loop {
        while running.len() < cores {
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
    let (whole, work) = (now as f64 * 1e-9, seconds.iter().sum::<f64>());
    Schedule { cores, seconds: whole, busy: if whole > 0.0 { work / (whole * cores as f64) } else { 0.0 } }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `flops_beside` of this text, for states of 11 and actions of 3 numbers.
    fn beside(text: &str, stage: Stage) -> u64 {
        let config = crate::train::sections::from_text("test", text).unwrap();
        flops_beside(&config, (11, 3), stage).unwrap()
    }

    #[test]
    fn models_and_refreshes_cost_as_often_as_they_come() {
        let online = Stage::Online { given: false };
        assert_eq!(beside("[run]\nalgo = \"iql\"", Stage::Offline), 0);
        let spot = |n: u64| format!("[run]\nalgo = \"spot\"\n[spot]\nvae_updates = {n}");
        let fit = beside(&spot(1), Stage::Offline);
        assert!(fit > 0);
        assert_eq!(beside(&spot(1000), Stage::Offline), 1000 * fit);
        // Done by the run that is fine-tuned.
        assert_eq!(beside(&spot(1000), online), 0);
        let baq = "[run]\nalgo = \"iql\"\nadapt = \"baq\"\n[baq]\nmodel_updates = 7";
        assert!(beside(baq, online) > 0);
        assert_eq!(beside(baq, Stage::Online { given: true }), 0);
        let cfdg = |steps: u64| {
            format!(
                "[run]\nalgo = \"iql\"\ngenerator = \"cfdg\"\n[online]\nenv_steps = {steps}\n[cfdg]\nevery = 100"
            )
        };
        let refresh = beside(&cfdg(101), online);
        assert!(refresh > 0);
        assert_eq!(beside(&cfdg(100), online), 0);
        assert_eq!(beside(&cfdg(1000), online), 9 * refresh);
    }

    #[test]
    fn cores_wait_for_what_cells_need() {
        // Two trainings, of the first two fine-tunings each wait; the second, of 4 s, is the longest.
        let needs = [vec![], vec![], vec![0], vec![0, 1]];
        let seconds = [1.0, 3.0, 2.0, 4.0];
        let at = |cores| schedule(&needs, &seconds, cores);
        assert_eq!(at(1), Schedule { cores: 1, seconds: 10.0, busy: 1.0 });
        assert_eq!(at(2), Schedule { cores: 2, seconds: 7.0, busy: 10.0 / 14.0 });
        assert_eq!(at(64), Schedule { cores: 64, seconds: 7.0, busy: 10.0 / 448.0 });
        assert_eq!(longest_chain(&needs, &seconds), 7.0);
        // What is done takes no time, and nobody waits for it.
        assert_eq!(schedule(&needs, &[0.0, 0.0, 2.0, 4.0], 2).seconds, 4.0);
        assert_eq!(schedule(&[], &[], 2), Schedule { cores: 2, seconds: 0.0, busy: 0.0 });
    }
}
