//! Base algorithms: each file states its losses and their order, in the paper's symbols.
//!
//! A [`Learner`] traces one round; the [`Adaptation`] it is given is asked at fixed places. Neither knows who the
//! other is.

pub mod adaptation;
pub mod awac;
pub mod bc;
pub mod cal_ql;
pub mod cql;
pub mod iql;
pub mod measure;
pub mod sac;
pub mod td3;
pub mod td3_bc;

use std::fmt::Debug;

pub use adaptation::{Adaptation, Cadence, OPENING, Plain, Sampling};
pub use cal_ql::{Failed, ReturnToGo};

use crate::autodiff::{Adam, Axis, Role, Schedule, Tracer, Var};
use crate::config::{AdamConfig, AnySection, Config, ConfigError, OnlineActorLr, section};
use crate::nn::{Critics, Params, Policy};
use crate::replay;

/// Sizes that a trace depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// S, state dimension
    pub s: usize,
    /// A, action dimension
    pub a: usize,
    /// B, rows of a batch
    pub batch: usize,
}

impl Dims {
    /// (S, A)
    pub fn sa(self) -> (usize, usize) {
        (self.s, self.a)
    }
}

/// The columns of a batch while tracing.
#[derive(Clone, Copy)]
pub struct Batch<'t> {
    t: &'t Tracer,
    dims: Dims,
    /// state `[B, S]`
    pub s: Var<'t>,
    /// action `[B, A]`
    pub a: Var<'t>,
    /// scaled reward `[B, 1]`
    pub r: Var<'t>,
    /// 1 - terminated `[B, 1]`; a time limit bootstraps
    pub m: Var<'t>,
    /// next state `[B, S]`
    pub s2: Var<'t>,
    /// 1 where the transition was collected online `[B, 1]`; only in the online phase
    pub online: Option<Var<'t>>,
}

impl<'t> Batch<'t> {
    /// A batch of these sizes.
    pub fn new(t: &'t Tracer, dims: Dims, phase: &Phase) -> Batch<'t> {
        let column = |name, cols| t.input(name, dims.batch, cols);
        Batch {
            t,
            dims,
            s: column(replay::S, dims.s),
            a: column(replay::A, dims.a),
            r: column(replay::R, 1),
            m: column(replay::M, 1),
            s2: column(replay::S2, dims.s).named("s'"),
            online: phase.online.then(|| column(replay::ONLINE, 1)),
        }
    }

    /// Sizes.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// An annotated column `[B, 1]`.
    pub fn column(&self, name: &'static str) -> Var<'t> {
        self.t.input(name, self.dims.batch, 1)
    }
}

/// The number that a person means by a product of two short decimals: 3e-5, not 2.9999999999999997e-5.
fn decimal(x: f64) -> f64 {
    format!("{x:.12e}").parse().expect("invariant: a formatted number is a number")
}

/// What a trace must know about the phase it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// batches carry the origin of their rows
    pub online: bool,
    /// planned rounds: the length of `auto` schedules
    pub rounds: u64,
    /// rounds of the offline phase before this one; 0 offline
    pub before: u64,
    /// rule for learning rates at the switch; without effect offline
    pub actor_lr: OnlineActorLr,
    /// the policy's updates have a rate of their own ([`Cadence::actor`]) in place of [`Learner::actor_every`]
    pub own_pace: bool,
}

impl Phase {
    /// Offline training of so many rounds.
    pub fn offline(rounds: u64) -> Phase {
        Phase { online: false, rounds, before: 0, actor_lr: OnlineActorLr::Restart, own_pace: false }
    }

    /// The optimiser of a policy.
    pub fn actor(&self, config: &AdamConfig) -> Adam {
        self.adam(config, self.actor_lr)
    }

    /// The optimiser of a critic or a model: its schedule goes on across the switch.
    pub fn critic(&self, config: &AdamConfig) -> Adam {
        self.adam(config, OnlineActorLr::Continue)
    }

    fn adam(&self, config: &AdamConfig, rule: OnlineActorLr) -> Adam {
        // Without an offline phase there is none to go on with.
        let offline = if self.before > 0 { self.before } else { self.rounds };
        let (lr, ahead) = match rule {
            _ if !self.online => (config.lr.over(self.rounds), 0),
            OnlineActorLr::Constant(share) => (Schedule::Constant(decimal(config.lr.ends()[0] * share)), 0),
            OnlineActorLr::Continue => (config.lr.over(offline), self.before),
            OnlineActorLr::Restart => (config.lr.over(self.rounds), 0),
            OnlineActorLr::Fixed(rate) => (Schedule::Constant(rate), 0),
        };
        Adam { lr, ahead, beta1: config.beta1, beta2: config.beta2, eps: config.eps }
    }

    /// A hyper-parameter over the rounds of this phase.
    pub fn hyper(&self, schedule: &Schedule) -> Schedule {
        schedule.over(self.rounds)
    }
}

/// A base algorithm with its networks declared.
pub trait Learner: Debug + Send + Sync {
    /// One round: losses and optimiser steps in the algorithm's order.
    fn trace<'t>(&self, t: &'t Tracer, b: &Batch<'t>, ad: &dyn Adaptation, phase: &Phase);

    /// The policy that acts.
    fn policy(&self) -> &Policy;

    /// The trained critics, where there are any.
    fn critics(&self) -> Option<&Critics> {
        None
    }

    /// The actor's role runs in every so many-th round of a run, first in round number `actor_every`.
    fn actor_every(&self) -> u64 {
        1
    }

    /// What the column [`replay::RETURN_TO_GO`] holds, if the losses read it.
    fn return_to_go(&self) -> Option<ReturnToGo> {
        None
    }

    /// The loss on held-out transitions, for algorithms that clone behaviour.
    fn validation<'t>(&self, _t: &'t Tracer, _b: &Batch<'t>) -> Option<Var<'t>> {
        None
    }
}

/// Declares an algorithm's networks.
pub type Build = fn(&Config, Dims, &mut Params) -> Result<Box<dyn Learner>, ConfigError>;

/// One line of the registry.
pub struct Entry {
    /// key on the command line and section of the configuration
    pub name: &'static str,
    /// one line
    pub about: &'static str,
    /// its section with defaults
    pub section: fn() -> Box<dyn AnySection>,
    /// the algorithm whose section it reads as well
    pub extends: Option<&'static str>,
    /// whether it is for recorded transitions only; otherwise it also learns in an environment alone
    pub needs_data: bool,
    /// declares its networks
    pub build: Build,
}

/// All base algorithms.
pub const ALGORITHMS: &[Entry] = &[
    Entry {
        name: "bc",
        about: "behaviour cloning: imitate the data",
        section: section::<bc::BcConfig>,
        extends: None,
        needs_data: true,
        build: |c, dims, p| Ok(Box::new(bc::Bc::declare(&c.section(), "pi", dims, p))),
    },
    Entry {
        name: "iql",
        about: "implicit Q-learning: expectile values, advantage-weighted cloning",
        section: section::<iql::IqlConfig>,
        extends: None,
        needs_data: true,
        build: |c, dims, p| Ok(Box::new(iql::Iql::declare(&c.section(), dims, p))),
    },
    Entry {
        name: "awac",
        about: "advantage-weighted actor-critic: cloning weighted by the policy's own advantages",
        section: section::<awac::AwacConfig>,
        extends: None,
        needs_data: true,
        build: |c, dims, p| Ok(Box::new(awac::Awac::declare(&c.section(), dims, p))),
    },
    Entry {
        name: "cql",
        about: "conservative Q-learning: values of sampled actions are pushed below those of the data",
        section: section::<cql::CqlConfig>,
        extends: None,
        needs_data: true,
        build: |c, dims, p| Ok(Box::new(cql::Cql::declare(&c.section(), dims, p))),
    },
    Entry {
        name: "cal_ql",
        about: "CQL whose values are never pushed below the recorded returns",
        section: section::<cal_ql::CalQlConfig>,
        extends: Some("cql"),
        needs_data: true,
        build: |c, dims, p| Ok(Box::new(cal_ql::CalQl::declare(&c.section(), &c.section(), dims, p))),
    },
    Entry {
        name: "sac",
        about: "soft actor-critic, for training online",
        section: section::<sac::SacConfig>,
        extends: None,
        needs_data: false,
        build: |c, dims, p| Ok(Box::new(sac::Sac::declare(&c.section(), dims, p)?)),
    },
    Entry {
        name: "td3",
        about: "twin delayed deterministic policy gradient, for training online",
        section: section::<td3::Td3Config>,
        extends: None,
        needs_data: false,
        build: |c, dims, p| Ok(Box::new(td3::Td3::declare(&c.section(), dims, p))),
    },
    Entry {
        name: "td3_bc",
        about: "TD3 whose policy also clones the data",
        section: section::<td3_bc::Td3BcConfig>,
        extends: Some("td3"),
        needs_data: true,
        build: |c, dims, p| Ok(Box::new(td3_bc::Td3Bc::declare(&c.section(), &c.section(), dims, p))),
    },
];

/// The registry's line of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALGORITHMS.iter().find(|e| e.name == name)
}

/// Mean of x `[B, 1]` over the rows where `flag` is 1; 0 where there are none.
pub fn mean_where<'t>(x: Var<'t>, flag: Var<'t>) -> Var<'t> {
    (x * flag).total() / flag.total().clamp(1.0, f64::INFINITY)
}

/// Largest |x|.
pub fn max_abs(x: Var<'_>) -> Var<'_> {
    x.abs().max(Axis::Rows).max(Axis::Cols).max(Axis::Heads)
}

/// The role of everything that is not a policy.
pub const CRITIC: Role = Role::Critic;
/// The role of policies and temperatures.
pub const ACTOR: Role = Role::Actor;
