//! Base algorithms: each file states its losses and their order, in the paper's symbols.
//!
//! A [`Learner`] traces one [`Round`]; the [`Adaptation`] it is given is asked at fixed places. Neither knows who the
//! other is.
//!
//! # To add an algorithm
//!
//! One file here and one line in [`registry::ALGORITHMS`], or in a program that uses the library one call of [`register`]. Where
//! the paper has settings of its own, a preset: a file and a line in `config/presets`. In the file, in this order, as in [`td3`]
//! (deterministic), [`iql`] (values) or [`rlpd`] (soft):
//!
//! 1. The losses, their order, metrics and *declared differences* from paper and program, as the header. Every metric that a
//!    round logs stands in its paragraph "Metrics", in backticks, or in that of a file to which the paragraph links.
//! 2. Options, by [`config!`](crate::config!), words among several by [`choices!`](crate::choices!): `hyper` may follow a
//!    schedule, `shape` makes another program, `opt` is an optimiser, `run` belongs to the loop. Networks are of type
//!    [`NetSpec`](crate::config::NetSpec). From the declaration come parsing, ranges, help, the file of a run, and the
//!    refusal of options without effect.
//! 3. A struct of networks: [`Critics`](crate::nn::Critics) of J heads, [`Policy`](crate::nn::Policy),
//!    [`ValueNet`](crate::nn::ValueNet). Each is a group of parameters with a name that checkpoints carry;
//!    `q.target(params)` declares a target beside its network. Initial weights depend on the order of declaration.
//! 4. Losses: functions of the round `b`, whose columns are `b.s, b.a, b.r, b.m, b.s2` and, online, `b.online`.
//!    `b.next_action()` and `b.nearest()` are columns for learners that say they read them; `b.part(k, n)` is a part of the rows.
//!
//!    ```text
//!    let u = self.q_target.min(b.s, b.a) - self.v.at(b.s);
//!    u.expectile(b.hyper("iql.expectile", &c.expectile)).weighted_mean(b.weight(q))
//!    ```
//!
//!    Nothing is computed: a [`Var`](crate::autodiff::Var) is a value to be, of shape `[heads, rows, columns]`, where
//!    missing ones are 1; critics are heads, transitions are rows. A network is read as it stands at that point of the
//!    trace: "before the critic moves" is "traced before the critic is trained". The same value asked for twice is
//!    computed once; a draw (`pi.draw(s, k)`, `b.noise(..)`) is another one each time. A gradient within a loss, as
//!    that of Q in the action, is a value too: [`Var::gradient`](crate::autodiff::Var::gradient).
//! 5. [`Learner::trace`]: losses and updates in order. `b.train(name, role, group, optimiser, loss)` moves one group and
//!    takes all other groups for constants; `detach` is for a target that is made of the group itself. `b.polyak(role,
//!    from, to, ..)` moves a target network, `b.metric(&METRIC, value)` logs. What is in the role [`CRITIC`] and what in
//!    [`ACTOR`] may be given rates of their own (`online.updates_per_step`, `Cadence`); [`Learner::delay`] lets policies
//!    wait.
//! 6. [`Learner::pretrain`], if losses read a model that is fitted to the data before the first round.
//! 7. [`Learner::act`], if choosing an action takes more than asking the policy for one.
//!
//! What several methods share: [`measure`] has the metrics, [`iql`] the values that learn without a policy (`Values`),
//! [`soft`] the networks of a soft actor-critic with their initial weights, losses and updates. An algorithm that reads
//! another's options says `extends` in its line; one that adds terms to another's losses hands them to its round, as [`edac`]
//! to that of [`sac_n`]; `as_base!()` in its `impl Learner` says that its networks are those of its field `base`, `of_nets!()`
//! that its policy and critics are those of its field `nets`, as [`soft`] has them.
//! What it needs outside its section, as batches of half new transitions or twenty updates of the critics for one of the
//! policy, stands in `defaults` of its line; presets and users override it.
//!
//! Where the base would be modified, it asks: `b.weight(q)` for the weights of a critic's loss, `b.perturb(a2)` for the
//! action that a target values, `b.value(critics, s2, a2)` for what target critics together say of it (with
//! [`Learner::target_critics`]), `b.imitate()` for the action that a policy clones, `b.unconstrained()` whether the tie to the
//! data is dropped, `b.tie()` how much of it counts in this batch. With these six it works under every adaptation but those
//! that train critics of their own, for which [`Learner::target`] and `b.policy_value(..)` are, or
//! put something beside the base's, for which [`Learner::baselines`] and `b.residual(y)` are.
//!
//! Tests come by themselves: every pair of the registries is checked for gradients, determinism, allocations, its `explain`
//! text and the paths of its parameters (`BAQ_BLESS=1 cargo test --test explain --test programs` writes the two latter). They
//! make networks small by the names of their options, which end in `hidden`; what else is to be small stands in `SMALL` of
//! `tests/common`. Write those of what only this method promises.
//!
//! Numbers of a foreign program go through `baq audit trace`: a list `FOREIGN` in the file ([`foreign`]) says what the options
//! of its traces are here, the line names it, a test in `tests/golden.rs` compares one. Names of networks and losses that other
//! programs use too are known to `audit::golden`; those of one program stand in its `FOREIGN`.

/// The policy, the critics, their targets and the delay of a learner are those of its field `base`.
macro_rules! as_base {
    () => {
        fn policy(&self) -> &$crate::nn::Policy {
            self.base.policy()
        }

        fn critics(&self) -> Option<&$crate::nn::Critics> {
            self.base.critics()
        }

        fn target_critics(&self) -> Option<&$crate::nn::Critics> {
            self.base.target_critics()
        }

        fn delay(&self) -> $crate::algo::Delay {
            self.base.delay()
        }
    };
}

/// The policy and the critics of a learner are those of its field `nets`, which are of a soft actor-critic.
macro_rules! of_nets {
    () => {
        fn policy(&self) -> &$crate::nn::Policy {
            &self.nets.pi
        }

        fn critics(&self) -> Option<&$crate::nn::Critics> {
            Some(&self.nets.q)
        }
    };
}

pub mod awac;
pub mod bc;
pub mod brac;
pub mod cal_ql;
pub mod cql;
pub mod edac;
pub mod emaq;
pub mod famo2o;
pub mod famo2o_cql;
pub mod foreign;
pub mod fql;
pub mod iql;
pub mod measure;
pub mod pace;
pub mod pbrl;
pub mod phase;
pub mod prdc;
pub mod rebrac;
pub mod registry;
pub mod returns;
pub mod rlpd;
pub mod rorl;
pub mod round;
pub mod sac;
pub mod sac_ml;
pub mod sac_n;
pub mod soft;
pub mod spot;
pub mod td3;
pub mod td3_bc;
pub mod wpc;
pub mod wsrl;

pub use pace::{Cadence, Delay, Latest, OPENING, Sampling};
pub use phase::Phase;
pub use registry::{ALGORITHMS, Build, Entry, all, find, register};
pub use returns::{Failed, ReturnToGo};
pub use round::{
    ACTOR, Adaptation, CRITIC, Dims, FitTo, Given, Learner, Plain, Pretraining, Range, Round, trace,
};
