//! Adaptations: what may modify a base algorithm when it goes online. The trait is
//! [`crate::algo::Adaptation`]; a base never knows which one it was given, nor an adaptation which base.
//!
//! # To add an adaptation
//!
//! One file here and one line in [`ADAPTATIONS`]. The file has the header, the options and the struct of networks of any
//! method ([`crate::algo`] has the page); then it implements the hooks it needs, of which each does nothing by default:
//!
//! - *losses* `weight`, `perturb`, `value`, `policy_value`, `residual`, `imitate`, `unconstrained`, `tie`: asked by the base while
//!   a round is traced; `gradient_bound`: asked where its policy is trained; `finish_round`: further updates and metrics after the base's. The round gives what the base is made of:
//!   `b.learner().critics()`, `b.learner().policy()`. `unconstrained` drops what the header of each base names, as CQL's
//!   penalty. Where no hook stands at the place that is to change, add one: a method of
//!   [`Adaptation`] whose default is what bases do there, a line of
//!   [`Round`](crate::algo::Round) that asks it, and the call in every base that has such a place.
//! - *acting* `act`: the action in a state, given the base's opinion of it. Collecting, evaluating and all metrics ask it, and
//!   [`Acting`](crate::nn::Acting) says which; it may draw several times and consult critics, as [`e2o`] does.
//! - *the switch* `adopt`: which saved network fills which of ours, or that ours begins anew; `pretrain`: what must be
//!   fitted before the first environment step, as a list. A [`Pretraining`](crate::algo::Pretraining) names its group, its
//!   transitions, its updates and a round of it, and whether runs of another algorithm may have done it before. Its transitions
//!   say when: those of the data before the first environment step, collected ones beside them before the first round.
//! - *replay* `sampling` and `cadence`: how batches are drawn and how many updates a step earns; `annotate` columns that
//!   are computed once per transition, `priority` from them, `calibrate` constants from their means; or `reprioritise`, a
//!   model that learns beside the rounds.
//! - *calibration* `quantities` and `ranges`: what a run reports at its end, and where the means should lie.
//!
//! [`so2`] is the shortest with a loss, [`baq`] uses nearly all of them. What it sets in other sections, as fresh
//! moments at the switch, stands in `defaults` of its line: above the base's preset and the offline run's options, below
//! what the user gives. Another adaptation that fine-tunes the run again gives those that still have these values the ones from before.
//! A base that it makes no sense over is refused when it is declared; `critics` asks for critics,
//! [`Policy::has_density`](crate::nn::Policy::has_density), [`Learner::imitates`] and
//! [`Learner::target_critics`] for what else there may be to modify.
//!
//! Networks declared after the base's are the adaptation's own. Everything that holds for all methods is tested for a new
//! one by its line alone, over every base that it accepts.

pub mod aca;
pub mod apl;
pub mod baq;
pub mod cfdg;
pub mod density;
pub mod e2o;
pub mod edis;
pub mod generator;
mod method;
pub mod off2on;
pub mod opt;
pub mod pex;
pub mod registry;
pub mod so2;
pub mod suf;

use std::sync::Arc;

pub use generator::Generator;
pub use method::Method;
pub use registry::{
    ADAPTATIONS, Build, BuildGenerator, GENERATORS, NONE, PLAIN, USUAL, find, find_generator,
};

use crate::algo::{Adaptation, Dims, Learner};
use crate::autodiff::{ParamTable, Trace, Tracer};
use crate::config::ConfigError;
use crate::nn::Critics;
use crate::replay;

/// The critics of a base, or why an adaptation that does `what` to them makes no sense over it.
fn critics<'a>(base: &'a dyn Learner, what: &str) -> Result<&'a Critics, ConfigError> {
    base.critics().ok_or_else(|| {
        ConfigError::Other(format!(
            "it {what}, and this base has no critics; choose a base with values, as iql or cql, or --adapt plain"
        ))
    })
}

/// Traces the model that gives priorities beside a round of `dims.batch` rows; `None` without one.
pub fn reprioritisation(ad: &dyn Adaptation, table: &Arc<ParamTable>, dims: Dims) -> Option<Trace> {
    let t = Tracer::new(table.clone());
    let s = t.input(replay::S, 3 * dims.batch, dims.s);
    let a = t.input(replay::A, 3 * dims.batch, dims.a);
    let priority = ad.reprioritise(&t, s, a)?;
    t.output(replay::PRIORITY, priority);
    Some(t.finish())
}

/// Traces the annotated columns of `dims.batch` transitions as outputs; `None` without any.
pub fn annotation(ad: &dyn Adaptation, table: &Arc<ParamTable>, dims: Dims) -> Option<Trace> {
    let t = Tracer::new(table.clone());
    let s = t.input(replay::S, dims.batch, dims.s);
    let a = t.input(replay::A, dims.batch, dims.a);
    let columns = ad.annotate(s, a);
    for (name, value) in &columns {
        t.output(name, *value);
    }
    let any = !columns.is_empty();
    any.then(|| t.finish())
}
