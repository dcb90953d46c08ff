//! What a base algorithm is to everybody else.

use std::fmt::Debug;

use super::{ReturnToGo, Round};
use crate::autodiff::Var;
use crate::nn::{Acting, Critics, Policy};

/// A base algorithm with its networks declared.
pub trait Learner: Debug + Send + Sync {
    /// One round: losses and optimiser steps in the algorithm's order.
    fn trace<'t>(&self, b: &Round<'t>);

    /// The policy that learns.
    fn policy(&self) -> &Policy;

    /// The action `[B, A]` in states s `[B, S]`, whatever it takes to choose it. Whoever acts, evaluates, measures or
    /// exports asks here; it may leave [-1, 1], to which the caller clips it.
    fn act<'t>(&self, s: Var<'t>, how: Acting) -> Var<'t> {
        self.policy().act(s, how)
    }

    /// The trained critics, where there are any.
    fn critics(&self) -> Option<&Critics> {
        None
    }

    /// The actor's role runs in every so many-th round of a run, first in round number `actor_every`.
    fn actor_every(&self) -> u64 {
        1
    }

    /// What the column [`crate::replay::RETURN_TO_GO`] holds, if the losses read it.
    fn return_to_go(&self) -> Option<ReturnToGo> {
        None
    }

    /// Whether its policy clones actions, which an adaptation may then choose: see [`super::Adaptation::imitate`].
    fn imitates(&self) -> bool {
        false
    }

    /// The loss on held-out transitions, for algorithms that clone behaviour.
    fn validation<'t>(&self, _b: &Round<'t>) -> Option<Var<'t>> {
        None
    }
}
