//! What the leaves of a graph stand for: columns of the batch, scalars, random numbers.

use super::operation::NoiseKind;
use super::schedule::Schedule;
use super::shape::Shape;

/// A column of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// column name, as in [`crate::replay`]
    pub name: &'static str,
    /// `[B, N]`
    pub shape: Shape,
}

/// A scalar that is read whenever the program runs.
#[derive(Clone, Debug, PartialEq)]
pub struct HyperSpec {
    /// as the printer calls it
    pub name: String,
    /// value over the rounds of a phase
    pub schedule: Schedule,
}

/// A stream of random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseSpec {
    /// as the printer calls it
    pub name: String,
    /// what they are drawn from
    pub kind: NoiseKind,
    /// numbers per update
    pub shape: Shape,
}
