//! Parameters, their gradients and Adam's moments, as numbers.

use std::sync::Arc;

use baq_kernels::Buffer;
use ndarray::{ArrayView2, ArrayView3};

use crate::autodiff::trace::parameters::{GroupId, ParamId, ParamTable};

/// Values of all parameters of a [`ParamTable`] in f32, with gradients, moments and step counts.
/// Tensors are dense `[J, K, N]`.
#[derive(Clone)]
pub struct Store {
    table: Arc<ParamTable>,
    /// parameters
    pub values: Vec<Buffer>,
    /// gradients of the last update
    pub gradients: Vec<Buffer>,
    /// Adam's first moments
    pub first: Vec<Buffer>,
    /// Adam's second moments
    pub second: Vec<Buffer>,
    /// Adam steps of every group
    pub steps: Vec<u64>,
}

impl Store {
    /// All zeros.
    pub fn zeros(table: Arc<ParamTable>) -> Store {
        let buffers = || table.params().iter().map(|p| Buffer::new(p.shape.len())).collect::<Vec<_>>();
        let (values, gradients, first, second) = (buffers(), buffers(), buffers(), buffers());
        let steps = vec![0; table.groups().len()];
        Store { table, values, gradients, first, second, steps }
    }

    /// Room for the values of these parameters and for nothing else: for programs that only read, and only these.
    pub fn of_values(table: Arc<ParamTable>, read: &[ParamId]) -> Store {
        let empty = || vec![Buffer::default(); table.params().len()];
        let (mut values, gradients, first, second) = (empty(), empty(), empty(), empty());
        for id in read {
            values[id.index()] = Buffer::new(table.param(*id).shape.len());
        }
        let steps = vec![0; table.groups().len()];
        Store { table, values, gradients, first, second, steps }
    }

    /// The declaration.
    pub fn table(&self) -> &Arc<ParamTable> {
        &self.table
    }

    /// One head of a parameter, `[K, N]`.
    pub fn view(&self, id: ParamId, head: usize) -> ArrayView2<'_, f32> {
        let shape = self.table.param(id).shape;
        ArrayView3::from_shape(shape.dims(), &self.values[id.index()])
            .expect("invariant: a tensor has the length of its shape")
            .index_axis_move(ndarray::Axis(0), head)
    }

    /// Copies the values of one group to another of the same shapes (a new target network).
    pub fn copy_group(&mut self, from: GroupId, to: GroupId) {
        let pairs: Vec<_> = self.table.members(from).zip(self.table.members(to)).collect();
        for (a, b) in pairs {
            let source = self.values[a.index()].clone();
            self.values[b.index()].copy_from_slice(&source);
        }
    }

    /// Forgets the moments and the step count of a group.
    pub fn reset_optimiser(&mut self, group: GroupId) {
        let members: Vec<_> = self.table.members(group).collect();
        for p in members {
            self.first[p.index()].fill(0.0);
            self.second[p.index()].fill(0.0);
        }
        self.steps[group.index()] = 0;
    }
}
