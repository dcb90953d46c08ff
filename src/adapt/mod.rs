//! Adaptations: what may modify a base algorithm when it goes online. The trait is
//! [`crate::algo::Adaptation`]; a base never knows which one it was given.

pub mod baq;
pub mod off2on;
pub mod so2;
pub mod suf;

use std::sync::Arc;

use crate::algo::{Adaptation, Dims, Learner, Plain};
use crate::autodiff::{ParamTable, Trace, Tracer};
use crate::config::{AnySection, Config, ConfigError, section};
use crate::nn::{Critics, Params};
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
    /// what it sets in the other sections, as a configuration file: above the base's preset or the offline run's options,
    /// below what the user gives
    pub defaults: &'static str,
    /// readings of the method under names of their own: option, its value as text, name
    pub variants: &'static [(&'static str, &'static str, &'static str)],
    /// declares its networks beside those of the base
    pub build: Build,
}

/// All adaptations.
pub const ADAPTATIONS: &[Entry] = &[
    Entry {
        name: "plain",
        about: "the base algorithm goes on as it is",
        section: None,
        defaults: "",
        variants: &[],
        build: |_, _, _, _| Ok(Box::new(Plain)),
    },
    Entry {
        name: "baq",
        about: "behaviour-adaptive Q-learning: weights and priorities from a model of the data",
        section: Some(section::<baq::BaqConfig>),
        defaults: "",
        variants: &[],
        build: |c, dims, base, p| Ok(Box::new(baq::Baq::declare(&c.section(), dims, base, p)?)),
    },
    Entry {
        name: "suf",
        about: "Stabilized Unconstrained Fine-tuning: no tie to the data, many critic updates per step, few of the policy",
        section: Some(section::<suf::SufConfig>),
        defaults: "",
        variants: suf::VARIANTS,
        build: |c, _, base, _| Ok(Box::new(suf::Suf::new(&c.section(), base)?)),
    },
    Entry {
        name: "so2",
        about: "perturbed value targets and many critic updates per step",
        section: Some(section::<so2::So2Config>),
        defaults: so2::DEFAULTS,
        variants: &[],
        build: |c, _, base, _| Ok(Box::new(so2::So2::new(&c.section(), base)?)),
    },
    Entry {
        name: "off2on",
        about: "replay balanced by a density ratio, losses without the offline constraint",
        section: Some(section::<off2on::Off2OnConfig>),
        defaults: off2on::DEFAULTS,
        variants: &[],
        build: |c, dims, base, p| Ok(Box::new(off2on::Off2On::declare(&c.section(), dims, base, p)?)),
    },
];

/// The registry's line of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ADAPTATIONS.iter().find(|e| e.name == name)
}

/// The name of a method in tables: `iql`, `iql + baq`, `iql + suf (ratios alone)`; `option` gives the text of an option of
/// the adaptation's section.
pub fn method_name(algo: &str, adapt: &str, option: impl Fn(&str) -> String) -> String {
    if adapt.is_empty() || adapt == "plain" {
        return algo.into();
    }
    let variants = find(adapt).map_or(&[][..], |e| e.variants);
    match variants.iter().find(|(key, value, _)| option(key) == *value) {
        Some((_, _, variant)) => format!("{algo} + {adapt} ({variant})"),
        None => format!("{algo} + {adapt}"),
    }
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
    let columns = ad.annotate(&t, s, a);
    for (name, value) in &columns {
        t.output(name, *value);
    }
    let any = !columns.is_empty();
    any.then(|| t.finish())
}
