//! Adaptations: what may modify a base algorithm when it goes online. The trait is
//! [`crate::algo::Adaptation`]; a base never knows which one it was given.

pub mod baq;

use std::sync::Arc;

use crate::algo::{Adaptation, Dims, Learner, Plain};
use crate::autodiff::{ParamTable, Trace, Tracer};
use crate::config::{AnySection, Config, ConfigError, section};
use crate::nn::Params;
use crate::replay;

/// Declares an adaptation's networks beside those of the base.
pub type Build = fn(&Config, Dims, &dyn Learner, &mut Params) -> Result<Box<dyn Adaptation>, ConfigError>;

/// One line of the registry.
pub struct Entry {
    /// key on the command line
    pub name: &'static str,
    /// one line
    pub about: &'static str,
    /// its section with defaults, if it has options
    pub section: Option<fn() -> Box<dyn AnySection>>,
    /// declares its networks beside those of the base
    pub build: Build,
}

/// All adaptations.
pub const ADAPTATIONS: &[Entry] = &[
    Entry {
        name: "plain",
        about: "the base algorithm goes on as it is",
        section: None,
        build: |_, _, _, _| Ok(Box::new(Plain)),
    },
    Entry {
        name: "baq",
        about: "behaviour-adaptive Q-learning: weights and priorities from a model of the data",
        section: Some(section::<baq::BaqConfig>),
        build: |c, dims, base, p| Ok(Box::new(baq::Baq::declare(&c.section(), dims, base, p)?)),
    },
];

/// The registry's line of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ADAPTATIONS.iter().find(|e| e.name == name)
}

/// Traces the annotated columns of `dims.batch` transitions as outputs; `None` without any.
pub fn annotation(ad: &dyn Adaptation, table: &Arc<ParamTable>, dims: Dims) -> Option<Trace> {
    let t = Tracer::new(table.clone());
    let s = t.input(replay::S, dims.batch, dims.s);
    let a = t.input(replay::A, dims.batch, dims.a);
    let columns = ad.annotate(&t, s, a);
    for (name, value) in &columns {
        t.output(name, *value);
    }
    let any = !columns.is_empty();
    any.then(|| t.finish())
}
