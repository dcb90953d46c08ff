//! Transitions that are held out: the loss on them, and when it ends training.

use rand::seq::SliceRandom;

use super::agent::Agent;
use super::counters::Counters;
use super::data::Dataset;
use super::error::TrainError;
use super::gather::gather;
use super::periods::Periods;
use super::progress::Ended;
use super::state::Saved;
use crate::autodiff::{Clock, Metric, Noise, Program, Select, Store, Workspace};
use crate::config::{Config, OfflineConfig, RunConfig};
use crate::replay::Pools;
use crate::rng::{Rng, Stream};

/// Loss on held-out transitions.
pub static VALIDATION_LOSS: Metric =
    Metric::new("validation_loss", "loss on held-out transitions", "", "Held-out loss");

/// Rows for training and rows held out, both ascending; a function of the seed.
pub fn split(rows: usize, held_out: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let count = (rows as f64 * held_out) as usize;
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut Rng::new(seed, Stream::Validation, 0));
    let mut out = order.split_off(rows - count);
    order.sort_unstable();
    out.sort_unstable();
    (order, out)
}

/// Rows to train on and rows to hold out, where the method has a loss on such rows.
pub fn split_of(config: &Config, agent: &Agent, dataset: &Dataset) -> (Vec<usize>, Vec<usize>) {
    let options: OfflineConfig = config.section();
    let share = agent.validation_trace(1).map_or(0.0, |_| options.validation_fraction);
    split(dataset.columns.len(), share, config.section::<RunConfig>().seed)
}

/// An error if training is to stop early and there is nothing to stop it by.
pub fn check(config: &Config, agent: &Agent, rows: Option<usize>) -> Result<(), TrainError> {
    let Some(rows) = rows.filter(|_| agent.validation_trace(1).is_some()) else { return Ok(()) };
    let options: OfflineConfig = config.section();
    let share = options.validation_fraction;
    if options.patience == 0 || (rows as f64 * share) as usize > 0 {
        return Ok(());
    }
    // Two digits, rounded up, so that the product is at least 1.
    let enough = (100.0 / rows as f64).ceil().max(1.0) / 100.0;
    let more = if rows > 1 { format!("set it to {enough} or more, or ") } else { String::new() };
    Err(TrainError::Input(format!(
        "offline.validation_fraction: expected at least one of {rows} transitions held out to stop early by, got none with {share}; {more}train to the end with offline.patience=0",
    )))
}

/// What early stopping has done to a run that has ended, in words; `None` for other runs.
pub fn early_stop(config: &Config, counters: &Counters) -> Option<String> {
    let options: OfflineConfig = config.section();
    let best = counters.best_loss.filter(|_| options.patience > 0 && counters.env_step == 0)?;
    let kept = format!("the weights of update {} are kept", counters.best_round);
    Some(match counters.round < options.updates {
        true => format!(
            "stopped early after update {}: the held-out loss has not fallen below {best:.6} for {} updates; {kept}",
            counters.round,
            counters.round - counters.best_round
        ),
        false => format!(
            "trained to the end, update {}: the smallest held-out loss is {best:.6}; {kept}",
            counters.round
        ),
    })
}

/// A compiled loss on held-out rows, and the agent at its smallest value.
pub struct HeldOut {
    /// rows of a pass, its program and its memory: whole batches, then what is left over
    passes: Vec<(usize, Program, Workspace)>,
    pools: Pools,
    /// updates without a smaller loss that end training
    patience: u64,
    /// the agent at the smallest loss so far, where training stops early
    best: Option<Store>,
}

impl HeldOut {
    /// For all rows of `pools`, in batches of the agent's size; `None` if the learner has no such loss.
    ///
    /// # Errors
    /// A checkpoint that lacks the weights that early stopping goes back to.
    pub fn new(
        agent: &Agent,
        pools: Pools,
        patience: u64,
        periods: &Periods,
        saved: Option<&Saved>,
    ) -> Result<Option<HeldOut>, TrainError> {
        let whole = agent.dims.batch.min(pools.len());
        let left = pools.len() % whole.max(1);
        let mut passes = Vec::new();
        for rows in [whole, left].into_iter().filter(|rows| *rows > 0) {
            let Some(trace) = agent.validation_trace(rows) else { return Ok(None) };
            let program = Program::compile(&trace, Select::ALL);
            let workspace = Workspace::new(&program);
            passes.push((rows, program, workspace));
        }
        let mut this = HeldOut { passes, pools, patience, best: None };
        if patience > 0 {
            this.best = Some(agent.store.clone());
            if let Some(saved) = saved {
                this.restore(agent, periods, saved)?;
            }
        }
        Ok(Some(this))
    }

    fn restore(&mut self, agent: &Agent, periods: &Periods, saved: &Saved) -> Result<(), TrainError> {
        let c = saved.counters()?;
        // What has ended, as planned or by patience, has gone back already.
        let ended = c.round >= periods.total || self.over(&c, periods).is_some();
        if let Some(best) = saved.best(agent)? {
            self.best = Some(best);
        } else if !ended && c.best_loss.is_some() && c.best_round != c.round {
            return Err(TrainError::Input(format!(
                "{}: expected the weights of update {}, the best so far, got those of update {} alone; it was written by a version that kept the last: train anew",
                saved.file(),
                c.best_round,
                c.round,
            )));
        }
        Ok(())
    }

    /// Mean loss over all held-out rows; remembers the agent at the smallest.
    pub fn measure(&mut self, store: &mut Store, counters: &mut Counters) -> f64 {
        let all: Vec<u32> = (0..self.pools.len() as u32).collect();
        let mut sum = 0.0;
        for rows in all.chunks(self.passes[0].0) {
            let pass = self.passes.iter_mut().find(|(n, ..)| *n == rows.len());
            let (n, program, workspace) = pass.expect("invariant: compiled for whole batches and the rest");
            gather(workspace, program, &self.pools, rows);
            program.run(workspace, store, Clock::default(), Noise::Seed(0));
            sum += f64::from(workspace.output(program, super::agent::LOSS)[0]) * *n as f64;
        }
        let loss = sum / all.len() as f64;
        if let Some(best) = &mut self.best
            && counters.judge(loss)
        {
            copy(store, best);
        }
        loss
    }

    /// Whether patience has ended training. A function of the counters alone, so that an ended run stays so.
    pub fn over(&self, c: &Counters, periods: &Periods) -> Option<Ended> {
        let impatient = self.best.is_some()
            && c.best_loss.is_some()
            && periods.measures(c.round)
            && c.round >= c.best_round + self.patience;
        (impatient && c.round < periods.total).then_some(Ended::Patience)
    }

    /// At the end, back to the agent at the smallest loss.
    pub fn go_back(&self, store: &mut Store, counters: &Counters) {
        if let (Some(best), Some(_)) = (&self.best, counters.best_loss) {
            copy(best, store);
        }
    }

    /// What early stopping would go back to, if that is not what the agent has.
    pub fn best(&self, counters: &Counters) -> Option<&Store> {
        self.best.as_ref().filter(|_| counters.best_round < counters.round)
    }
}

/// Parameters, moments and steps of one agent's store into another's.
fn copy(from: &Store, to: &mut Store) {
    let tensors =
        [(&from.values, &mut to.values), (&from.first, &mut to.first), (&from.second, &mut to.second)];
    for (from, to) in tensors {
        from.iter().zip(to).for_each(|(from, to)| to.copy_from_slice(from));
    }
    to.steps.copy_from_slice(&from.steps);
}
