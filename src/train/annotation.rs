//! Columns that an adaptation computes from (s, a) of every transition: when it is loaded, collected, or drawn.

use super::agent::Agent;
use super::error::TrainError;
use super::gather::gather;
use crate::adapt;
use crate::algo::Dims;
use crate::autodiff::{Clock, Noise, Program, Select, Store, Workspace};
use crate::config::Config;
use crate::replay::{self, Pools};

/// Rows per call while whole pools are annotated.
pub const BLOCK: usize = 256;

/// Compiled annotated columns for a fixed number of rows.
pub struct Annotator {
    program: Program,
    workspace: Workspace,
    columns: Vec<&'static str>,
}

impl Annotator {
    /// For `rows` rows; `None` if the adaptation has no columns.
    pub fn new(agent: &Agent, rows: usize) -> Option<Annotator> {
        let dims = Dims { batch: rows, ..agent.dims };
        let trace = adapt::annotation(agent.adaptation.as_ref(), &agent.table, dims)?;
        let program = Program::compile(&trace, Select::ALL);
        let workspace = Workspace::new(&program);
        let columns = trace.outputs.iter().map(|(name, _)| *name).collect();
        Some(Annotator { program, workspace, columns })
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    fn run(&mut self, store: &mut Store) {
        self.program.run(&mut self.workspace, store, Clock::default(), Noise::Seed(0));
    }

    /// Computes the columns of these rows and writes them there.
    pub fn rows(&mut self, store: &mut Store, pools: &mut Pools, rows: &[u32]) {
        gather(&mut self.workspace, &self.program, pools, rows);
        self.run(store);
        for &name in &self.columns {
            pools.scatter(rows, pools.column(name), self.workspace.output(&self.program, name));
        }
    }

    /// The columns of one transition, for a program of one row.
    pub fn one(&mut self, store: &mut Store, s: &[f32], a: &[f32], out: &mut [f32]) {
        for (name, values) in [(replay::S, s), (replay::A, a)] {
            if let Some(input) = self.workspace.input_mut(&self.program, name) {
                input.copy_from_slice(values);
            }
        }
        self.run(store);
        for (k, name) in self.columns.iter().enumerate() {
            out[k] = self.workspace.output(&self.program, name)[0];
        }
    }

    /// Computes the columns of a whole pool, for a program of [`BLOCK`] rows.
    pub fn pool(&mut self, store: &mut Store, pools: &mut Pools, name: &str) {
        let all: Vec<u32> = pools.pool(name).rows().map(|row| row as u32).collect();
        let mut block = vec![0; BLOCK];
        for rows in all.chunks(BLOCK) {
            // A short last block is filled up with its last row; annotating a row twice changes nothing.
            let last = rows[rows.len() - 1];
            block.iter_mut().enumerate().for_each(|(k, r)| *r = *rows.get(k).unwrap_or(&last));
            self.rows(store, pools, &block);
        }
    }
}

/// Names of the columns that the agent's adaptation annotates.
pub fn columns(agent: &Agent) -> Vec<&'static str> {
    Annotator::new(agent, 1).map(|a| a.columns).unwrap_or_default()
}

/// Whether the adaptation leaves constants to the means of the data. Errors: those of [`Agent::outline`].
pub fn fixes_constants(config: &Config, dims: Dims) -> Result<bool, TrainError> {
    let mut outline = Agent::outline(config, dims)?;
    let before = format!("{:?}", outline.adaptation);
    outline.adaptation.calibrate(&[0.3, 0.7]);
    Ok(format!("{:?}", outline.adaptation) != before)
}
