//! The lists of adaptations and of generators.

use super::generator::Generator;
use super::{aca, apl, baq, cfdg, e2o, edis, off2on, opt, pex, so2, suf};
use crate::algo::{Adaptation, Dims, Entry, Learner, Plain};
use crate::config::{Config, ConfigError, section};
use crate::nn::Params;

/// The name of the adaptation that changes nothing.
pub const PLAIN: &str = "plain";
/// The one that fine-tuning uses unless it is told another.
pub const USUAL: &str = "baq";

/// The name of no generator.
pub const NONE: &str = "none";

/// Declares an adaptation's networks beside those of the base.
pub type Build = fn(&Config, Dims, &dyn Learner, &mut Params) -> Result<Box<dyn Adaptation>, ConfigError>;

/// All adaptations.
pub const ADAPTATIONS: &[Entry<Build>] = &[
    Entry {
        needs_data: false,
        ..Entry::new(PLAIN, "the base algorithm goes on as it is", None, |_, _, _, _| Ok(Box::new(Plain)))
    },
    Entry {
        foreign: baq::FOREIGN,
        ..Entry::new(
            "baq",
            "behaviour-adaptive Q-learning: weights and priorities from a model of the data",
            Some(section::<baq::BaqConfig>),
            |c, dims, base, p| Ok(Box::new(baq::Baq::declare(&c.section(), dims, base, p)?)),
        )
    },
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
        foreign: so2::FOREIGN,
        ..Entry::new(
            "so2",
            "perturbed value targets and many critic updates per step",
            Some(section::<so2::So2Config>),
            |c, _, base, _| Ok(Box::new(so2::So2::new(&c.section(), base)?)),
        )
    },
    Entry {
        defaults: off2on::DEFAULTS,
        foreign: off2on::FOREIGN,
        ..Entry::new(
            "off2on",
            "replay balanced by a density ratio, losses without the offline constraint",
            Some(section::<off2on::Off2OnConfig>),
            |c, dims, base, p| Ok(Box::new(off2on::Off2On::declare(&c.section(), dims, base, p)?)),
        )
    },
    Entry {
        defaults: aca::DEFAULTS,
        ..Entry::new(
            "aca",
            "actor-critic alignment: critics built anew from the offline policy's density, over sac_ml",
            Some(section::<aca::AcaConfig>),
            |c, dims, base, p| Ok(Box::new(aca::Aca::declare(&c.section(), dims, base, p)?)),
        )
    },
    Entry {
        defaults: opt::DEFAULTS,
        ..Entry::new(
            "opt",
            "online pre-training: new critics learn from what the offline policy collects, and take over",
            Some(section::<opt::OptConfig>),
            |c, dims, base, p| Ok(Box::new(opt::Opt::declare(&c.section(), dims, base, p)?)),
        )
    },
    Entry {
        needs_data: false,
        defaults: apl::DEFAULTS,
        ..Entry::new(
            "apl",
            "adaptive policy learning: tied to the data on batches of everything, free on batches of the latest transitions",
            Some(section::<apl::AplConfig>),
            |c, _, base, _| Ok(Box::new(apl::Apl::new(&c.section(), base)?)),
        )
    },
    Entry {
        needs_data: false,
        defaults: e2o::DEFAULTS,
        foreign: e2o::FOREIGN,
        ..Entry::new(
            "e2o",
            "the ensemble's pessimism loosened, its disagreement explored: for bases of many critics",
            Some(section::<e2o::E2oConfig>),
            |c, _, base, _| Ok(Box::new(e2o::E2o::new(&c.section(), base)?)),
        )
    },
    Entry {
        defaults: pex::DEFAULTS,
        foreign: pex::FOREIGN,
        ..Entry::new(
            "pex",
            "policy expansion: the offline policy stays, a new one learns beside it, the critics choose",
            Some(section::<pex::PexConfig>),
            |c, dims, base, p| Ok(Box::new(pex::Pex::declare(&c.section(), dims, base, p)?)),
        )
    },
];

/// The registry's line of that name.
pub fn find(name: &str) -> Option<&'static Entry<Build>> {
    ADAPTATIONS.iter().find(|e| e.name == name)
}

/// Declares a generator's networks beside those of a method.
pub type BuildGenerator = fn(&Config, Dims, &mut Params) -> Result<Box<dyn Generator>, ConfigError>;

/// All generators.
pub const GENERATORS: &[Entry<BuildGenerator>] = &[
    Entry::new(
        "cfdg",
        "classifier-free diffusion: one model draws rows like the data's and rows like collected ones",
        Some(section::<cfdg::CfdgConfig>),
        |c, dims, p| Ok(Box::new(cfdg::Cfdg::declare(&c.section(), dims, p)?)),
    ),
    Entry::new(
        "edis",
        "energy-guided diffusion: draws pulled to what the policy visits and does, in place of the data",
        Some(section::<edis::EdisConfig>),
        |c, dims, p| Ok(Box::new(edis::Edis::declare(&c.section(), dims, p)?)),
    ),
];

/// The registry's line of that generator.
pub fn find_generator(name: &str) -> Option<&'static Entry<BuildGenerator>> {
    GENERATORS.iter().find(|e| e.name == name)
}
