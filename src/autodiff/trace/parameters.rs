//! Declarations of parameters: which tensors there are, in which groups, under which paths.

use std::ops::Range;

use super::shape::Shape;

/// Index of a parameter tensor in its [`ParamTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub(in crate::autodiff) u32);

impl ParamId {
    /// Position in the table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Index of a parameter group (one network, usually).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub(in crate::autodiff) u32);

impl GroupId {
    /// Position in the table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Declaration of one parameter tensor `[J, K, N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// which network it belongs to
    pub group: GroupId,
    /// its name inside the network, as in `layer1.weight`
    pub name: String,
    /// extents; biases are `[J, 1, N]`
    pub shape: Shape,
}

/// Declaration of one group of parameters that are trained together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// path prefix: `q`, `pi`, ...
    pub name: String,
    /// the paths carry the head's number: `q.0.layer1.weight`
    pub ensemble: bool,
}

/// All parameters of a learner, in order of declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamTable {
    params: Vec<ParamSpec>,
    groups: Vec<GroupSpec>,
}

impl ParamTable {
    /// Opens a group.
    pub fn add_group(&mut self, name: &str, ensemble: bool) -> GroupId {
        assert!(self.groups.iter().all(|g| g.name != name), "two groups named {name}");
        self.groups.push(GroupSpec { name: name.into(), ensemble });
        GroupId(self.groups.len() as u32 - 1)
    }

    /// Adds a tensor to the group that was opened last, so that a group is one range of parameters.
    pub fn add(&mut self, group: GroupId, name: &str, shape: Shape) -> ParamId {
        assert_eq!(group.index() + 1, self.groups.len(), "tensors join the group opened last");
        self.params.push(ParamSpec { group, name: name.into(), shape });
        ParamId(self.params.len() as u32 - 1)
    }

    /// All tensors.
    pub fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    /// All groups.
    pub fn groups(&self) -> &[GroupSpec] {
        &self.groups
    }

    /// All tensor ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = ParamId> + use<> {
        (0..self.params.len() as u32).map(ParamId)
    }

    /// The tensors of a group.
    pub fn members(&self, group: GroupId) -> impl Iterator<Item = ParamId> + '_ {
        self.ids().filter(move |p| self.params[p.index()].group == group)
    }

    /// One tensor's declaration.
    pub fn param(&self, id: ParamId) -> &ParamSpec {
        &self.params[id.index()]
    }

    /// One group's declaration.
    pub fn group(&self, id: GroupId) -> &GroupSpec {
        &self.groups[id.index()]
    }

    /// The group of that name.
    pub fn find_group(&self, name: &str) -> Option<GroupId> {
        self.groups.iter().position(|g| g.name == name).map(|i| GroupId(i as u32))
    }

    /// Number of trained numbers in a group.
    pub fn group_len(&self, group: GroupId) -> usize {
        self.members(group).map(|p| self.param(p).shape.len()).sum()
    }

    /// Name of a tensor with all of its heads: `q.layer1.weight`.
    pub fn name(&self, id: ParamId) -> String {
        let spec = self.param(id);
        format!("{}.{}", self.group(spec.group).name, spec.name)
    }

    /// Paths of a tensor and the range of its elements that each names: one per head of an
    /// ensemble (`q.0.layer1.weight`, `q.1.layer1.weight`), a single one otherwise.
    pub fn paths(&self, id: ParamId) -> Vec<(String, Range<usize>)> {
        let spec = self.param(id);
        let group = self.group(spec.group);
        if !group.ensemble {
            return vec![(format!("{}.{}", group.name, spec.name), 0..spec.shape.len())];
        }
        let n = spec.shape.rows * spec.shape.cols;
        (0..spec.shape.heads)
            .map(|j| (format!("{}.{j}.{}", group.name, spec.name), j * n..(j + 1) * n))
            .collect()
    }
}
