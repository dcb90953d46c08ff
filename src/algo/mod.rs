//! Base algorithms: each file states its losses and their order, in the paper's symbols.
//!
//! A [`Learner`] traces one [`Round`]; the [`Adaptation`] it is given is asked at fixed places. Neither knows who the
//! other is.
//!
//! # To add an algorithm
//!
//! One file here and one line in [`registry::ALGORITHMS`]; a preset where the paper has settings of its own. In the file,
//! in this order, as in [`td3`] or [`iql`]:
//!
//! 1. The losses, their order, metrics and *declared differences* from paper and program, as the header.
//! 2. Options, by [`config!`](crate::config!): `hyper` may follow a schedule, `shape` makes another program, `opt` is an
//!    optimiser, `run` belongs to the loop. Networks are of type [`NetSpec`](crate::config::NetSpec). From the
//!    declaration come parsing, ranges, help, the file of a run, and the refusal of options without effect.
//! 3. A struct of networks. Each is a group of parameters with a name that checkpoints carry; `q.target(params)`
//!    declares a target beside its network. Initial weights depend on the order of declaration.
//! 4. Losses: functions of the round `b`, whose columns are `b.s, b.a, b.r, b.m, b.s2` and, online, `b.online`.
//!
//!    ```text
//!    let u = self.q_target.min(b.s, b.a) - self.v.at(b.s);
//!    u.expectile(b.hyper("iql.expectile", &c.expectile)).weighted_mean(b.weight(q))
//!    ```
//!
//!    Nothing is computed: a [`Var`](crate::autodiff::Var) is a value to be, a network is read as it stands at that point
//!    of the trace. "Before the critic moves" is "traced before the critic is trained".
//! 5. [`Learner::trace`]: losses and updates in order. `b.train(name, role, group, optimiser, loss)` moves one group and
//!    takes all else for constants, so nothing is ever detached. What is in the role [`CRITIC`] and what in [`ACTOR`] may
//!    be given rates of their own (`online.updates_per_step`, `Cadence`); [`Learner::actor_every`] is a delay.
//! 6. [`Learner::act`], if choosing an action takes more than asking the policy for one.
//!
//! What several methods share: [`measure`] has the metrics, [`iql`] the values that learn without a policy (`Values`),
//! [`soft`] the networks of a soft actor-critic. An algorithm that reads another's options says `extends` in its line.
//! What it needs outside its section, as batches of half new transitions or twenty updates of the critics for one of the
//! policy, stands in `defaults` of its line; presets and users override it.
//!
//! Where the base would be modified, it asks: `b.weight(q)` for the weights of a critic's loss, `b.perturb(a2)` for the
//! action that a target values, `b.imitate()` for the action that a policy clones, `b.unconstrained()` whether the tie to
//! the data is dropped, `b.tie()` how much of it counts in this batch. With these five it works under every adaptation.
//!
//! Tests come by themselves: every pair of the registries is checked for gradients, determinism, allocations, its `explain`
//! text and the paths of its parameters (`BAQ_BLESS=1 cargo test --test explain --test programs` writes the two latter).
//! Write those of what only this method promises; numbers of a foreign program go through `baq audit trace`.

pub mod awac;
pub mod bc;
pub mod cal_ql;
pub mod cql;
pub mod famo2o;
pub mod foreign;
pub mod iql;
pub mod measure;
pub mod pace;
pub mod phase;
pub mod registry;
pub mod returns;
pub mod rlpd;
pub mod round;
pub mod sac;
pub mod soft;
pub mod td3;
pub mod td3_bc;

pub use pace::{Cadence, Latest, OPENING, Sampling};
pub use phase::Phase;
pub use registry::{ALGORITHMS, Build, Entry, find};
pub use returns::{Failed, ReturnToGo};
pub use round::{ACTOR, Adaptation, CRITIC, Dims, Given, Learner, Plain, Pretraining, Range, Round, trace};
