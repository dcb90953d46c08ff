//! The list of base algorithms, and what a line of such a list says. A program that uses the library adds its own with
//! [`register`].

use std::sync::{PoisonError, RwLock};

use super::foreign::Foreign;
use super::{
    Dims, Learner, awac, bc, brac, cal_ql, cql, edac, emaq, famo2o, famo2o_cql, fql, iql, pbrl, prdc, rebrac,
    rlpd, rorl, sac, sac_ml, sac_n, spot, td3, td3_bc, wpc, wsrl,
};
use crate::config::{AnySection, Config, ConfigError, SHARED, presets, section};
use crate::nn::Params;

/// One line of a registry: of an algorithm or of an adaptation, which differ in how they are built.
pub struct Entry<B> {
    /// key on the command line and section of the configuration
    pub name: &'static str,
    /// one line
    pub about: &'static str,
    /// its section with defaults, if it has options
    pub section: Option<fn() -> Box<dyn AnySection>>,
    /// the entry, one with options, whose section it reads as well
    pub extends: Option<&'static str>,
    /// whether it is of no use without recorded transitions
    pub needs_data: bool,
    /// what it sets in other sections, as a configuration file: how batches are drawn, updates per step, what happens at
    /// the switch. Presets and whatever the user gives override it
    pub defaults: &'static str,
    /// readings of an adaptation under names of their own: option, its value as text, name
    pub variants: &'static [(&'static str, &'static str, &'static str)],
    /// traces of other programs that it reads
    pub foreign: &'static [Foreign],
    /// declares its networks
    pub build: B,
}

/// Declares an algorithm's networks.
pub type Build = fn(&Config, Dims, &mut Params) -> Result<Box<dyn Learner>, ConfigError>;

impl<B> Entry<B> {
    /// A method for recorded transitions that sets nothing outside its own section.
    pub const fn new(
        name: &'static str,
        about: &'static str,
        section: Option<fn() -> Box<dyn AnySection>>,
        build: B,
    ) -> Entry<B> {
        Entry {
            name,
            about,
            section,
            extends: None,
            needs_data: true,
            defaults: "",
            variants: &[],
            foreign: &[],
            build,
        }
    }

    /// The sections of a configuration that it reads.
    pub fn sections(&self) -> Vec<&'static str> {
        let own = self.section.map(|_| self.name);
        own.into_iter().chain(self.extends).collect()
    }
}

/// All base algorithms.
pub const ALGORITHMS: &[Entry<Build>] = &[
    Entry::new("bc", "behaviour cloning: imitate the data", Some(section::<bc::BcConfig>), |c, dims, p| {
        Ok(Box::new(bc::Bc::declare(&c.section(), "pi", dims, p)))
    }),
    Entry {
        foreign: iql::FOREIGN,
        ..Entry::new(
            "iql",
            "implicit Q-learning: expectile values, advantage-weighted cloning",
            Some(section::<iql::IqlConfig>),
            |c, dims, p| Ok(Box::new(iql::Iql::declare(&c.section(), dims, p))),
        )
    },
    Entry {
        foreign: awac::FOREIGN,
        ..Entry::new(
            "awac",
            "advantage-weighted actor-critic: cloning weighted by the policy's own advantages",
            Some(section::<awac::AwacConfig>),
            |c, dims, p| Ok(Box::new(awac::Awac::declare(&c.section(), dims, p))),
        )
    },
    Entry {
        foreign: cql::FOREIGN,
        ..Entry::new(
            "cql",
            "conservative Q-learning: values of sampled actions are pushed below those of the data",
            Some(section::<cql::CqlConfig>),
            |c, dims, p| Ok(Box::new(cql::Cql::declare(&c.section(), dims, p)?)),
        )
    },
    Entry {
        extends: Some("cql"),
        foreign: cal_ql::FOREIGN,
        ..Entry::new(
            "cal_ql",
            "CQL whose values are never pushed below the recorded returns",
            Some(section::<cal_ql::CalQlConfig>),
            |c, dims, p| Ok(Box::new(cal_ql::CalQl::declare(&c.section(), &c.section(), dims, p)?)),
        )
    },
    Entry {
        foreign: sac::FOREIGN,
        needs_data: false,
        ..Entry::new(
            "sac",
            "soft actor-critic, for training online",
            Some(section::<sac::SacConfig>),
            |c, dims, p| Ok(Box::new(sac::Sac::declare(&c.section(), dims, p)?)),
        )
    },
    Entry {
        foreign: td3::FOREIGN,
        needs_data: false,
        ..Entry::new(
            "td3",
            "twin delayed deterministic policy gradient, for training online",
            Some(section::<td3::Td3Config>),
            |c, dims, p| Ok(Box::new(td3::Td3::declare(&c.section(), dims, p))),
        )
    },
    Entry {
        extends: Some("td3"),
        foreign: td3_bc::FOREIGN,
        ..Entry::new(
            "td3_bc",
            "TD3 whose policy also clones the data",
            Some(section::<td3_bc::Td3BcConfig>),
            |c, dims, p| Ok(Box::new(td3_bc::Td3Bc::declare(&c.section(), &c.section(), dims, p))),
        )
    },
    Entry {
        foreign: sac_n::FOREIGN,
        ..Entry::new(
            "sac_n",
            "soft actor-critic on data, pessimistic by the least of many critics",
            Some(section::<sac_n::SacNConfig>),
            |c, dims, p| Ok(Box::new(sac_n::SacN::declare(&c.section(), dims, p))),
        )
    },
    Entry {
        extends: Some("sac_n"),
        foreign: edac::FOREIGN,
        ..Entry::new(
            "edac",
            "SAC-N whose critics are kept from agreeing about actions outside the data",
            Some(section::<edac::EdacConfig>),
            |c, dims, p| Ok(Box::new(edac::Edac::declare(&c.section(), &c.section(), dims, p)?)),
        )
    },
    Entry {
        defaults: sac_ml::DEFAULTS,
        ..Entry::new(
            "sac_ml",
            "soft actor-critic that also clones the data, with baselines of its density: the offline phase of ACA",
            Some(section::<sac_ml::SacMlConfig>),
            |c, dims, p| Ok(Box::new(sac_ml::SacMl::declare(&c.section(), dims, p))),
        )
    },
    Entry::new(
        "pbrl",
        "pessimistic bootstrapping: targets lowered by the critics' disagreement, outside the data most",
        Some(section::<pbrl::PbrlConfig>),
        |c, dims, p| Ok(Box::new(pbrl::Pbrl::declare(&c.section(), dims, p))),
    ),
    Entry {
        extends: Some("sac_n"),
        ..Entry::new(
            "rorl",
            "SAC-N made smooth around the recorded states, and pessimistic there",
            Some(section::<rorl::RorlConfig>),
            |c, dims, p| Ok(Box::new(rorl::Rorl::declare(&c.section(), &c.section(), dims, p))),
        )
    },
    Entry {
        extends: Some("td3"),
        ..Entry::new(
            "wpc",
            "TD3+BC that clones only actions better than the data's average",
            Some(section::<wpc::WpcConfig>),
            |c, dims, p| Ok(Box::new(wpc::Wpc::declare(&c.section(), &c.section(), dims, p))),
        )
    },
    Entry {
        extends: Some("td3"),
        ..Entry::new(
            "prdc",
            "TD3 whose policy is drawn to the nearest transition of the data",
            Some(section::<prdc::PrdcConfig>),
            |c, dims, p| Ok(Box::new(prdc::Prdc::declare(&c.section(), &c.section(), dims, p))),
        )
    },
    Entry::new(
        "brac",
        "soft actor-critic kept near a model of the behaviour by a divergence",
        Some(section::<brac::BracConfig>),
        |c, dims, p| Ok(Box::new(brac::Brac::declare(&c.section(), dims, p))),
    ),
    Entry {
        defaults: emaq::DEFAULTS,
        ..Entry::new(
            "emaq",
            "expected-max Q-learning: no policy, the best of many draws of a model of the behaviour",
            Some(section::<emaq::EmaqConfig>),
            |c, dims, p| Ok(Box::new(emaq::Emaq::declare(&c.section(), dims, p))),
        )
    },
    Entry {
        extends: Some("td3"),
        defaults: spot::DEFAULTS,
        foreign: spot::FOREIGN,
        ..Entry::new(
            "spot",
            "TD3 whose policy stays where an autoencoder finds the data",
            Some(section::<spot::SpotConfig>),
            |c, dims, p| Ok(Box::new(spot::Spot::declare(&c.section(), &c.section(), dims, p))),
        )
    },
    Entry {
        defaults: fql::DEFAULTS,
        foreign: fql::FOREIGN,
        ..Entry::new(
            "fql",
            "flow Q-learning: a flow clones the data, a policy of one step is distilled from it and follows Q",
            Some(section::<fql::FqlConfig>),
            |c, dims, p| Ok(Box::new(fql::Fql::declare(&c.section(), dims, p))),
        )
    },
    Entry {
        extends: Some("cql"),
        defaults: wsrl::DEFAULTS,
        foreign: wsrl::FOREIGN,
        ..Entry::new(
            "wsrl",
            "warm-start: many conservative critics offline; online no data, a soft actor-critic with many updates",
            Some(section::<wsrl::WsrlConfig>),
            |c, dims, p| Ok(Box::new(wsrl::Wsrl::declare(&c.section(), &c.section(), dims, p)?)),
        )
    },
    Entry {
        defaults: rebrac::DEFAULTS,
        foreign: rebrac::FOREIGN,
        ..Entry::new(
            "rebrac",
            "TD3+BC whose target is penalised too, critics normalised",
            Some(section::<rebrac::RebracConfig>),
            |c, dims, p| Ok(Box::new(rebrac::Rebrac::declare(&c.section(), dims, p))),
        )
    },
    Entry {
        defaults: rlpd::DEFAULTS,
        foreign: rlpd::FOREIGN,
        ..Entry::new(
            "rlpd",
            "soft actor-critic from scratch with data beside the environment, many normalised critics, many updates",
            Some(section::<rlpd::RlpdConfig>),
            |c, dims, p| Ok(Box::new(rlpd::Rlpd::declare(&c.section(), dims, p)?)),
        )
    },
    Entry {
        defaults: famo2o::DEFAULTS,
        foreign: famo2o::FOREIGN,
        ..Entry::new(
            "famo2o",
            "IQL with a family of policies, from cloning to greedy, and one that chooses among them per state",
            Some(section::<famo2o::Famo2oConfig>),
            |c, dims, p| Ok(Box::new(famo2o::Famo2o::declare(&c.section(), dims, p)?)),
        )
    },
    Entry {
        extends: Some("cql"),
        defaults: famo2o_cql::DEFAULTS,
        ..Entry::new(
            "famo2o_cql",
            "CQL with a family of policies, from soft to greedy, and one that chooses among them per state",
            Some(section::<famo2o_cql::Famo2oCqlConfig>),
            |c, dims, p| Ok(Box::new(famo2o_cql::Famo2oCql::declare(&c.section(), &c.section(), dims, p)?)),
        )
    },
];

/// Those of the program that uses the library. Looked at when something begins, never in a round.
static OWN: RwLock<Vec<&'static Entry<Build>>> = RwLock::new(Vec::new());

/// Names of adaptations and generators, whose sections stand beside those of algorithms.
const MODIFIERS: [&str; 13] =
    ["plain", "baq", "suf", "so2", "off2on", "apl", "opt", "aca", "e2o", "pex", "none", "cfdg", "edis"];

/// All base algorithms: the program's own after [`ALGORITHMS`].
pub fn all() -> impl Iterator<Item = &'static Entry<Build>> {
    let own = OWN.read().unwrap_or_else(PoisonError::into_inner).clone();
    ALGORITHMS.iter().chain(own)
}

/// The registry's line of that name.
pub fn find(name: &str) -> Option<&'static Entry<Build>> {
    all().find(|e| e.name == name)
}

/// Adds a base algorithm for the life of the process: from now on it is named like any other, and its options are set like those
/// of any other. The head of [`crate::algo`] says how one is written. A program whose `main` registers its methods and then returns
/// [`baq::cli::main()`](crate::cli::main) has all commands for them, from `train --algo NAME` to studies.
///
/// ```
/// use baq::algo::measure::POLICY_LOSS;
/// use baq::algo::{self, ACTOR, Dims, Entry, Learner, Round};
/// use baq::config::limits::{RATE, WIDTHS};
/// use baq::config::{AdamConfig, NetSpec, section};
/// use baq::nn::{Head, Params, Policy};
///
/// baq::config! {
///     AbsConfig "abs_bc", "Behaviour cloning by absolute error" {
///         shape hidden: NetSpec    = [256, 256], WIDTHS, "hidden layers";
///         opt   actor:  AdamConfig = 3e-4,       RATE,   "optimiser of the policy";
///     }
/// }
///
/// /// L(φ) = E[ mean_i |π_i(s) - a_i| ]: the median action instead of the mean.
/// #[derive(Debug)]
/// struct AbsBc {
///     config: AbsConfig,
///     pi: Policy,
/// }
///
/// impl AbsBc {
///     fn declare(config: AbsConfig, dims: Dims, params: &mut Params) -> AbsBc {
///         let pi = Policy::declare(params, "pi", dims.sa(), Head::Deterministic, &config.hidden);
///         AbsBc { config, pi }
///     }
/// }
///
/// impl Learner for AbsBc {
///     fn trace<'t>(&self, b: &Round<'t>) {
///         let loss = (self.pi.mode(b.s) - b.a).abs().mean();
///         b.metric(&POLICY_LOSS, loss);
///         b.train("policy", ACTOR, self.pi.group(), &self.config.actor, loss);
///     }
///     fn policy(&self) -> &Policy {
///         &self.pi
///     }
/// }
///
/// algo::register(Entry::new("abs_bc", "cloning by absolute error", Some(section::<AbsConfig>), |c, dims, p| {
///     Ok(Box::new(AbsBc::declare(c.section(), dims, p)))
/// }))?;
///
/// let runs = tempfile::tempdir()?;
/// let mut policy = baq::Trainer::new("abs_bc")
///     .data("embedded")
///     .env("none")
///     .options(&["abs_bc.hidden=[16]", "offline.updates=100"])
///     .run(runs.path().join("abs"))?;
/// assert_eq!(policy.act(&[0.0; 11])?.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A name that is taken, by an algorithm, an adaptation, a generator, a preset or a section that every run has; one that is no
/// key of a configuration; a section of another name; one to extend that no algorithm has; variants, which adaptations have.
pub fn register(entry: Entry<Build>) -> Result<(), ConfigError> {
    let name = entry.name;
    let refuse = |what: String| Err(ConfigError::Other(format!("algorithm `{name}`: expected {what}")));
    if let Some(section) = entry.section.map(|make| make().name()).filter(|section| *section != name) {
        return refuse(format!("its options in the section `{name}`, got `{section}`; name both alike"));
    }
    if !entry.variants.is_empty() {
        return refuse("no `variants`, which name readings of an adaptation; leave them out".into());
    }
    let mut own = OWN.write().unwrap_or_else(PoisonError::into_inner);
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return refuse("a name of a to z, 0 to 9 and _, as keys of a configuration are".into());
    }
    let taken = ALGORITHMS.iter().chain(own.iter().copied()).any(|e| e.name == name);
    if taken || SHARED.contains(&name) || MODIFIERS.contains(&name) || presets::find(name).is_ok() {
        return refuse("a name that is not taken; give it another".into());
    }
    let has = |name: &str| {
        ALGORITHMS.iter().chain(own.iter().copied()).any(|e| e.name == name && e.section.is_some())
    };
    if let Some(other) = entry.extends.filter(|other| !has(other)) {
        return refuse(format!("in `extends` an algorithm with options, got `{other}`; name another"));
    }
    own.push(Box::leak(Box::new(entry)));
    Ok(())
}
