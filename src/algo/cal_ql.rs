//! Cal-QL. Nakamoto et al. 2023, arXiv:2303.05479.
//!
//!   cat_j of CQL, with  max( Q_j(s, ã), G(s) )  in place of  Q_j(s, ã)  for the actions ã of the policy     eq. 5.1
//!   G_t = r_t + γ m_t G_{t+1} within the recorded episode of the row, the behaviour's value to compare with
//!
//! Importance terms are subtracted after the maximum; random actions and the data term stay as they are. The
//! gradient vanishes where G wins. All else, and all other options (`cql.*`), as in CQL.
//!
//! G sums scaled rewards to the end of the episode. A time limit ends the sum without bootstrapping: where rewards are
//! positive G is too small there, where they are negative too large, and a bound that is too large lifts values. On sparse
//! tasks, AntMaze and its like, an episode that never sees the goal would go on as it is: all of its rows have
//!   G = r / (1 - γ),  r its one reward                                                    (`failed`)
//! as in the authors' program, which knows such tasks by name. Here a task is sparse if its data have one reward below 0
//! and at most one other; dense locomotion never is. Data that never reach a goal and have terminal states are not:
//! there one reward may be the price of time and the terminal state the goal. Online, the rows of the running episode have G = -inf, which is CQL without calibration, until the
//! episode ends and their returns are known; 0 would not be neutral.
//!
//! Metrics: those of [`super::cql`]; `calibrated_share` = share of Q_j(s, a~) < G(s).
//!
//! Declared differences: the reference stores G = 0 for online rows; it scales AntMaze's 0 and 1 by 10r - 5, so that its
//! failed episodes have -500, here `data.reward_scaling = affine` with `reward_scale`, `reward_bias`.
//!
//! Cost per update: as CQL.

use super::cql::{Cql, CqlConfig, Sampled};
use super::foreign::{Foreign, Ours, Reading, Wrong};
pub use super::returns::Failed;
use super::returns::ReturnToGo;
use super::{Dims, Learner, Round};
use crate::autodiff::{Metric, Schedule};
use crate::config::ConfigError;
use crate::nn::Params;
use crate::replay;

crate::config! {
    CalQlConfig "cal_ql", "Calibrated conservative Q-learning" {
        shape calibrate_random: bool   = false,        .., "bound the values of random actions by the return too";
        run   failed:           Failed = Failed::Auto, .., "return to go in an episode whose rewards all are the lowest of the data, below 0";
    }
}

/// How often the return wins.
pub static BOUND_RATE: Metric =
    Metric::new("calibrated_share", "share of Q_j(s, a~) < G(s)", Metric::SHARE, "Calibrated values");

/// CQL whose values of the policy's actions never fall below the recorded return.
#[derive(Debug)]
pub struct CalQl {
    config: CalQlConfig,
    base: Cql,
}

impl CalQl {
    /// Declares the networks of CQL. Errors: a schedule of `cql.discount`; those of [`Cql::declare`].
    pub fn declare(
        config: &CalQlConfig,
        base: &CqlConfig,
        dims: Dims,
        params: &mut Params,
    ) -> Result<CalQl, ConfigError> {
        check_discount(base)?;
        Ok(CalQl { config: config.clone(), base: Cql::declare(base, dims, params)? })
    }
}

/// An error if returns to go, which are summed once, would be those of another discount.
pub(super) fn check_discount(base: &CqlConfig) -> Result<(), ConfigError> {
    match base.discount {
        Schedule::Constant(_) => Ok(()),
        schedule => Err(ConfigError::Other(format!(
            "cql.discount: expected a constant, with which recorded returns are summed once, got {schedule}; choose one"
        ))),
    }
}

/// Values of sampled actions that do not fall below the recorded return.
pub(super) fn calibrated<'t>(b: &Round<'t>, random_too: bool, (random, sampled): Sampled<'t>) -> Sampled<'t> {
    let to_go = b.column(replay::RETURN_TO_GO);
    b.metric(&BOUND_RATE, sampled.less(to_go).mean());
    let random = if random_too { random.maximum(to_go) } else { random };
    (random, sampled.maximum(to_go))
}

impl Learner for CalQl {
    fn trace<'t>(&self, b: &Round<'t>) {
        self.base.round(b, |values| calibrated(b, self.config.calibrate_random, values));
    }

    as_base!();

    fn return_to_go(&self) -> Option<ReturnToGo> {
        Some(ReturnToGo { discount: self.base.config.discount.ends()[0], failed: self.config.failed })
    }
}

/// Traces of CORL's Cal-QL, whose options and losses are those of its CQL.
pub const FOREIGN: &[Foreign] = &[Foreign { losses: super::cql::LOSSES, ..Foreign::new("cal-ql", foreign) }];

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    super::cql::foreign(r, ours)?;
    ours.config.put(CalQlConfig::default());
    Ok(())
}
