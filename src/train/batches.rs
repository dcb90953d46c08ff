//! From the pools to the inputs of a round: the one place where rows become batches.

use super::agent::Agent;
use super::annotation::{self, Annotator, BLOCK};
use super::divergence::{check_priorities, reprioritise};
use super::error::TrainError;
use super::gather::gather;
use super::neighbours::Neighbours;
use super::state::OnlineState;
use crate::autodiff::{Program, Schedule, Workspace};
use crate::replay::pools::{OFFLINE, ONLINE};
use crate::replay::{self, Draw, Pools, Recipe, SumTree};
use crate::rng::Stream;

/// Programs that annotate, and room for their values.
struct Annotation {
    one: Annotator,
    batch: Annotator,
    values: Vec<f32>,
}

impl Annotation {
    /// Computes the columns of state `s` and action `a` and writes them into their record.
    fn fill(&mut self, agent: &mut Agent, pools: &Pools, record: &mut [f32], (s, a): (&[f32], &[f32])) {
        self.one.one(&mut agent.store, s, a, &mut self.values);
        for (name, value) in self.one.columns().iter().zip(&self.values) {
            record[pools.column(name).offset] = *value;
        }
    }
}

/// Pools, the rule by which batches are drawn from them, and the batch at hand.
pub struct Batches {
    pools: Pools,
    recipe: Recipe,
    seed: u64,
    stream: u32,
    tree: Option<SumTree>,
    /// exponent of the importance-sampling correction over the rounds of the phase
    importance: Option<Schedule>,
    /// annotated values of the rows of a batch are computed anew, because what computes them moves
    refresh: bool,
    annotation: Option<Annotation>,
    /// of the annotated columns over the offline rows at the beginning, from which the adaptation has its constants
    means: Vec<f64>,
    neighbours: Option<Neighbours>,
    rows: Vec<u32>,
    weights: Vec<f32>,
    /// whether the batch at hand could have been of any rows
    from_all: bool,
    priorities: Vec<f64>,
}

impl Batches {
    /// Batches of so many rows, without priorities or annotated columns; `stream` is that of the draws.
    pub fn new(pools: Pools, recipe: Recipe, (seed, stream): (u64, Stream), batch: usize) -> Batches {
        Batches {
            pools,
            recipe,
            seed,
            stream: stream as u32,
            tree: None,
            importance: None,
            refresh: false,
            annotation: None,
            means: Vec::new(),
            neighbours: None,
            rows: vec![0; batch],
            weights: vec![1.0; batch],
            from_all: true,
            priorities: vec![0.0; batch],
        }
    }

    /// Uniform batches.
    pub fn uniform(pools: Pools, draws: (u64, Stream), batch: usize) -> Batches {
        Batches::new(pools, Recipe::Uniform { stratified: false }, draws, batch)
    }

    /// Batches as the agent's adaptation samples them, by `recipe`: annotates what is in the pools, fixes the adaptation's
    /// constants, computes priorities, or goes on with those that were saved. `rounds` is the length of schedules.
    ///
    /// # Errors
    /// Priorities that no tree takes.
    pub fn adapted(
        agent: &mut Agent,
        mut pools: Pools,
        recipe: Recipe,
        (seed, rounds): (u64, u64),
        saved: Option<&OnlineState>,
    ) -> Result<Batches, TrainError> {
        let means = annotate(agent, &mut pools, saved);
        let sampling = agent.adaptation.sampling();
        let names = annotation::columns(agent);
        let mut this = Batches::new(pools, recipe, (seed, Stream::Batch), agent.dims.batch);
        if this.recipe.is_prioritised() {
            match saved.and_then(|s| s.priorities.as_ref()) {
                Some(saved) => this.prioritise(|pools, pool| saved.of(pools.pool(pool)).to_vec())?,
                None => this.prioritise(|pools, pool| {
                    pools.pool(pool).rows().map(|row| priority(agent, pools, &names, row)).collect()
                })?,
            }
        }
        this.importance = sampling.importance.map(|s| s.over(rounds));
        this.refresh = sampling.refresh;
        this.means = means;
        this.annotation = match (Annotator::new(agent, 1), Annotator::new(agent, agent.dims.batch)) {
            (Some(one), Some(batch)) => Some(Annotation { one, batch, values: vec![0.0; names.len()] }),
            _ => None,
        };
        Ok(this)
    }

    /// The same with the neighbours that the learner looks for.
    pub fn with_neighbours(self, agent: &Agent) -> Batches {
        Batches { neighbours: Neighbours::new(agent, &self.pools), ..self }
    }

    /// Looks for the neighbours of the batch at hand, if the learner needs them.
    pub fn seek(&mut self, agent: &mut Agent) {
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.find(agent, &self.pools, &self.rows);
        }
    }

    /// Gives every row a priority: those of the rows of a pool.
    ///
    /// # Errors
    /// Priorities that no tree takes.
    pub fn prioritise(&mut self, of: impl Fn(&Pools, &str) -> Vec<f64>) -> Result<(), TrainError> {
        let mut tree = SumTree::new(self.pools.capacity());
        for pool in self.pools.iter() {
            let masses = of(&self.pools, pool.name());
            check_priorities(&masses)?;
            tree.assign(pool.rows().start, &masses);
        }
        self.tree = Some(tree);
        Ok(())
    }

    /// What the batches are drawn from.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The same, to be written to.
    pub fn pools_mut(&mut self) -> &mut Pools {
        &mut self.pools
    }

    /// Priorities, where batches follow them.
    pub fn tree(&self) -> Option<&SumTree> {
        self.tree.as_ref()
    }

    /// The rows of the batch at hand.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Draws the rows of round `round` of the run, which is round `phase_round` of the phase. Allocates nothing.
    ///
    /// # Errors
    /// Priorities that no tree takes.
    pub fn draw(&mut self, agent: &mut Agent, round: u64, phase_round: u64) -> Result<(), TrainError> {
        let draw = Draw { seed: self.seed, stream: self.stream, update: round };
        let exponent = self.importance.map_or(0.0, |s| s.at(phase_round));
        let tree = self.tree.as_ref();
        let (rows, weights) = (&mut self.rows, &mut self.weights);
        self.from_all = self.recipe.compose(draw, &self.pools, tree, exponent, rows, weights);
        if let (true, Some(a)) = (self.refresh, &mut self.annotation) {
            a.batch.rows(&mut agent.store, &mut self.pools, &self.rows);
            if let Some(tree) = &mut self.tree {
                let names = a.batch.columns();
                let n = self.recipe.real_rows(&self.pools, self.rows.len());
                for (p, &row) in self.priorities[..n].iter_mut().zip(&self.rows) {
                    *p = priority(agent, &self.pools, names, row as usize);
                }
                reprioritise(tree, &self.rows[..n], &self.priorities[..n])?;
            }
        }
        Ok(())
    }

    /// Gives the rows of the batch at hand new priorities, except generated ones, which have none.
    ///
    /// # Errors
    /// Priorities that no tree takes.
    pub fn reprioritise(&mut self, masses: &[f64]) -> Result<(), TrainError> {
        let tree = self.tree.as_mut().expect("invariant: these batches follow priorities");
        let n = self.recipe.real_rows(&self.pools, self.rows.len());
        reprioritise(tree, &self.rows[..n], &masses[..n])
    }

    /// Copies the batch at hand to the inputs of a program.
    pub fn fill(&self, workspace: &mut Workspace, program: &Program) {
        gather(workspace, program, &self.pools, &self.rows);
        if let Some(neighbours) = &self.neighbours
            && let Some(nearest) = workspace.input_mut(program, replay::NEAREST)
        {
            nearest.copy_from_slice(neighbours.found());
        }
        mark_online(workspace, program, &self.pools, &self.rows);
        if let Some(from_all) = workspace.input_mut(program, replay::FROM_ALL) {
            from_all.fill(if self.from_all { 1.0 } else { 0.0 });
        }
        if let Some(importance) = workspace.input_mut(program, replay::IMPORTANCE) {
            importance.copy_from_slice(&self.weights);
        }
    }

    /// Puts a collected transition `record` with state `s` and action `a` into the online pool, with its annotated columns
    /// and its priority: `newest`, or what the adaptation gives it. Allocates nothing.
    ///
    /// # Errors
    /// A priority that no tree takes.
    pub fn push(
        &mut self,
        agent: &mut Agent,
        record: &mut [f32],
        (s, a): (&[f32], &[f32]),
        newest: Option<f64>,
    ) -> Result<(), TrainError> {
        let mut mass = 1.0;
        if let Some(annotation) = &mut self.annotation {
            annotation.fill(agent, &self.pools, record, (s, a));
            mass = agent.adaptation.priority(&annotation.values, true);
        }
        let mass = newest.unwrap_or(mass);
        check_priorities(&[mass])?;
        match &mut self.tree {
            Some(tree) => self.pools.push_with_priority(ONLINE, record, tree, mass),
            None => self.pools.push(ONLINE, record),
        };
        Ok(())
    }

    /// Puts a generated transition into its pool, with its annotated columns.
    pub fn push_generated(&mut self, agent: &mut Agent, pool: &'static str, record: &mut [f32]) {
        if let Some(annotation) = &mut self.annotation {
            let [s, a] = [replay::S, replay::A].map(|name| {
                let column = self.pools.column(name);
                record[column.offset..][..column.len].to_vec()
            });
            annotation.fill(agent, &self.pools, record, (&s, &a));
        }
        self.pools.push(pool, record);
    }

    /// Annotated columns of offline rows, where they move while training.
    pub fn moving(&self) -> Vec<(&'static str, Vec<f32>)> {
        let (true, Some(a)) = (self.refresh, &self.annotation) else { return Vec::new() };
        let rows = || self.pools.pool(OFFLINE).rows();
        let column = |name: &'static str| (name, self.pools.read_column(self.pools.column(name), rows()));
        a.one.columns().iter().map(|name| column(name)).collect()
    }

    /// Means of these at the beginning.
    pub fn means(&self) -> Vec<f64> {
        if self.refresh { self.means.clone() } else { Vec::new() }
    }

    /// Quantities of the adaptation, pool by pool, of every row: (name, values of each pool).
    pub fn quantities(&self, agent: &Agent) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let Some(a) = &self.annotation else { return Vec::new() };
        let columns: Vec<_> = a.one.columns().iter().map(|n| self.pools.column(n)).collect();
        let mut all: Vec<(&'static str, Vec<Vec<f64>>)> = Vec::new();
        for (p, pool) in self.pools.iter().enumerate() {
            for row in pool.rows() {
                let values: Vec<f32> = columns.iter().map(|c| self.pools.get(row, *c)[0]).collect();
                let of_row = agent.adaptation.quantities(&values, pool.name() == ONLINE);
                for (k, (name, x)) in of_row.into_iter().enumerate() {
                    if all.len() == k {
                        all.push((name, vec![Vec::new(); self.pools.iter().count()]));
                    }
                    all[k].1[p].push(x);
                }
            }
        }
        all
    }
}

/// Tells a program which of the rows were collected, if it asks.
pub(super) fn mark_online(workspace: &mut Workspace, program: &Program, pools: &Pools, rows: &[u32]) {
    if let Some(online) = workspace.input_mut(program, replay::ONLINE) {
        for (x, &row) in online.iter_mut().zip(rows) {
            *x = if pools.is_online(row as usize) { 1.0 } else { 0.0 };
        }
    }
}

/// Annotates what is in the pools, except what was saved with its values, and fixes the adaptation's constants by the
/// offline rows: gives their means.
fn annotate(agent: &mut Agent, pools: &mut Pools, saved: Option<&OnlineState>) -> Vec<f64> {
    let Some(mut block) = Annotator::new(agent, BLOCK) else { return Vec::new() };
    let mut means = Vec::new();
    if saved.is_none() {
        block.pool(&mut agent.store, pools, ONLINE);
    }
    let offline = pools.pool(OFFLINE).rows();
    if !offline.is_empty() {
        block.pool(&mut agent.store, pools, OFFLINE);
        let mean = |name: &&'static str| {
            let values = pools.read_column(pools.column(name), offline.clone());
            values.iter().map(|x| f64::from(*x)).sum::<f64>() / offline.len() as f64
        };
        means = block.columns().iter().map(mean).collect();
        // Where what annotates moves, the values at hand are no longer those of the beginning.
        if let Some(then) = saved.map(|s| &s.means).filter(|means| !means.is_empty()) {
            means.clone_from(then);
        }
        agent.adaptation.calibrate(&means);
    }
    // Annotated values that move have been saved.
    for (name, values) in saved.iter().flat_map(|s| &s.annotated) {
        let column = pools.column(name);
        pools.write_column(column, offline.clone(), values);
    }
    means
}

fn priority(agent: &Agent, pools: &Pools, names: &[&'static str], row: usize) -> f64 {
    // Two columns at most today; the array keeps this off the heap.
    let mut values = [0.0; 8];
    for (v, name) in values.iter_mut().zip(names) {
        *v = pools.get(row, pools.column(name))[0];
    }
    agent.adaptation.priority(&values[..names.len()], pools.is_online(row))
}
