//! Adaptations: what may modify a base algorithm when it goes online. The trait is
//! [`crate::algo::Adaptation`]; a base never knows which one it was given.

pub mod baq;
mod method;
pub mod off2on;
pub mod so2;
pub mod suf;

use std::sync::Arc;

pub use method::{Method, PLAIN};

use crate::algo::{Adaptation, Dims, Entry, Learner, Plain};
use crate::autodiff::{ParamTable, Trace, Tracer};
use crate::config::{Config, ConfigError, section};
use crate::nn::{Critics, Params};
use crate::replay;

/// Declares an adaptation's networks beside those of the base.
pub type Build = fn(&Config, Dims, &dyn Learner, &mut Params) -> Result<Box<dyn Adaptation>, ConfigError>;

/// All adaptations.
pub const ADAPTATIONS: &[Entry<Build>] = &[
    Entry {
        needs_data: false,
        ..Entry::new(PLAIN, "the base algorithm goes on as it is", None, |_, _, _, _| Ok(Box::new(Plain)))
    },
    Entry::new(
        "baq",
        "behaviour-adaptive Q-learning: weights and priorities from a model of the data",
        Some(section::<baq::BaqConfig>),
        |c, dims, base, p| Ok(Box::new(baq::Baq::declare(&c.section(), dims, base, p)?)),
    ),
    Entry {
        needs_data: false,
        variants: suf::VARIANTS,
        ..Entry::new(
            "suf",
            "Stabilized Unconstrained Fine-tuning: no tie to the data, many critic updates per step, few of the policy",
            Some(section::<suf::SufConfig>),
            |c, _, base, _| Ok(Box::new(suf::Suf::new(&c.section(), base)?)),
        )
    },
    Entry {
        needs_data: false,
        defaults: so2::DEFAULTS,
        ..Entry::new(
            "so2",
            "perturbed value targets and many critic updates per step",
            Some(section::<so2::So2Config>),
            |c, _, base, _| Ok(Box::new(so2::So2::new(&c.section(), base)?)),
        )
    },
    Entry {
        defaults: off2on::DEFAULTS,
        ..Entry::new(
            "off2on",
            "replay balanced by a density ratio, losses without the offline constraint",
            Some(section::<off2on::Off2OnConfig>),
            |c, dims, base, p| Ok(Box::new(off2on::Off2On::declare(&c.section(), dims, base, p)?)),
        )
    },
];

/// The registry's line of that name.
pub fn find(name: &str) -> Option<&'static Entry<Build>> {
    ADAPTATIONS.iter().find(|e| e.name == name)
}

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
