//! What a generator has made, and what its rows are normalised by.

use crate::adapt::generator::Rows;
use crate::autodiff::{Program, Workspace};
use crate::replay::pools::{OFFLINE, ONLINE};
use crate::replay::{self, Pools};

/// What a generator has made, as a checkpoint has it.
#[derive(Default)]
pub struct Generated {
    /// what its rows were normalised by; `None` before the first refresh
    pub scales: Option<Scales>,
    /// of every pool: rows ever put into it, and its records `[n, width]` in the order of rows
    pub pools: Vec<(u64, Vec<f32>)>,
}

/// Mean and standard deviation plus 1e-5 of every normalised number of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// means
    pub mean: Vec<f32>,
    /// standard deviations
    pub std: Vec<f32>,
}

impl Scales {
    /// Over all recorded and collected rows.
    pub fn of(pools: &Pools) -> Scales {
        let columns = Rows::NORMALISED.map(|name| pools.column(name));
        let numbers: usize = columns.iter().map(|c| c.len).sum();
        let (mut sums, mut squares) = (vec![0.0; numbers], vec![0.0; numbers]);
        let rows = || [OFFLINE, ONLINE].into_iter().flat_map(|name| pools.pool(name).rows());
        let values = |row| columns.iter().flat_map(move |c| pools.get(row, *c)).map(|x| f64::from(*x));
        let n = rows().count() as f64;
        rows().for_each(|row| sums.iter_mut().zip(values(row)).for_each(|(sum, x)| *sum += x));
        let mean: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
        for row in rows() {
            let gaps = values(row).zip(&mean).map(|(x, mean)| (x - mean).powi(2));
            squares.iter_mut().zip(gaps).for_each(|(sum, gap)| *sum += gap);
        }
        Scales {
            mean: mean.iter().map(|x| *x as f32).collect(),
            std: squares.iter().map(|sum| ((sum / n).sqrt() + 1e-5) as f32).collect(),
        }
    }

    /// Brings them to a program, if it asks.
    pub fn fill(&self, workspace: &mut Workspace, program: &Program) {
        for (name, values) in [(replay::ROW_MEAN, &self.mean), (replay::ROW_STD, &self.std)] {
            if let Some(input) = workspace.input_mut(program, name) {
                input.copy_from_slice(values);
            }
        }
    }
}
