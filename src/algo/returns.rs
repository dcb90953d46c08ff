//! The return to go of recorded transitions, where losses read one.

crate::choices! {
    /// Return to go in an episode whose rewards all are the lowest of the data, below 0.
    Failed {
        Auto      = "auto",      "perpetual on sparse tasks: the data have one reward below 0 and at most one other";
        Perpetual = "perpetual", "r / (1 - gamma) in every row";
        Sum       = "sum",       "the sum of its recorded rewards, as in any episode";
    }
}

/// What the column [`crate::replay::RETURN_TO_GO`] holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReturnToGo {
    /// γ
    pub discount: f64,
    /// episodes that never succeed
    pub failed: Failed,
}
