//! Declaring parameters with their initial distribution.

use std::sync::Arc;

use super::init::{self, Init};
use crate::autodiff::{GroupId, ParamId, ParamTable, Shape, Store};

/// The initial distributions of all tensors.
#[derive(Clone, Debug, Default)]
pub struct Beginnings {
    inits: Vec<Init>,
    copies: Vec<(GroupId, GroupId)>,
}

impl Beginnings {
    /// Gives these groups initial values of another seed, and no moments.
    pub fn begin(&self, store: &mut Store, groups: &[GroupId], seed: u64) {
        let table = store.table().clone();
        for &group in groups {
            for id in table.members(group) {
                let values = &mut store.values[id.index()];
                init::fill(self.inits[id.index()], table.param(id).shape, seed, id.index(), values);
            }
            store.reset_optimiser(group);
        }
        for &(source, target) in self.copies.iter().filter(|(_, target)| groups.contains(target)) {
            store.copy_group(source, target);
        }
    }
}

/// A table of parameters under construction, with the initial distribution of each tensor.
#[derive(Debug, Default)]
pub struct Params {
    table: ParamTable,
    inits: Vec<Init>,
    copies: Vec<(GroupId, GroupId)>,
    meanings: Vec<String>,
}

impl Params {
    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.table.groups().len()
    }

    /// Opens a group; `ensemble` puts the head's number into the paths.
    pub fn group(&mut self, name: &str, ensemble: bool) -> GroupId {
        self.table.add_group(name, ensemble)
    }

    /// Adds a tensor `[J, K, N]` to the group opened last.
    pub fn tensor(&mut self, group: GroupId, name: &str, shape: Shape, init: Init) -> ParamId {
        self.inits.push(init);
        self.table.add(group, name, shape)
    }

    /// Gives a tensor another initial distribution.
    pub fn initialise(&mut self, tensor: ParamId, init: Init) {
        self.inits[tensor.index()] = init;
    }

    /// `target` starts as a copy of `source`.
    pub fn starts_equal(&mut self, source: GroupId, target: GroupId) {
        self.copies.push((source, target));
    }

    /// Says what tensors mean beyond their shapes, as the head of a policy does: networks of other meanings do not go on
    /// from them.
    pub fn mean(&mut self, what: String) {
        self.meanings.push(what);
    }

    /// All that has been said so.
    pub fn meanings(&self) -> &[String] {
        &self.meanings
    }

    /// How groups begin, for those that begin anew later.
    pub fn beginnings(&self) -> Beginnings {
        Beginnings { inits: self.inits.clone(), copies: self.copies.clone() }
    }

    /// (source, target) of all that start equal.
    pub fn copies(&self) -> &[(GroupId, GroupId)] {
        &self.copies
    }

    /// What has been declared.
    pub fn table(&self) -> Arc<ParamTable> {
        Arc::new(self.table.clone())
    }

    /// The table, and a store filled with initial values that depend on the seed alone.
    pub fn finish(self, seed: u64) -> (Arc<ParamTable>, Store) {
        let table = self.table();
        let store = self.fill(&table, seed);
        (table, store)
    }

    /// A store of this table, filled with initial values that depend on the seed alone.
    pub fn fill(self, table: &Arc<ParamTable>, seed: u64) -> Store {
        let mut store = Store::zeros(table.clone());
        for (id, init) in table.ids().zip(&self.inits) {
            init::fill(*init, table.param(id).shape, seed, id.index(), &mut store.values[id.index()]);
        }
        for (source, target) in self.copies {
            store.copy_group(source, target);
        }
        store
    }
}
