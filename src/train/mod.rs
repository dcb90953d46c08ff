//! How an agent is trained: the phases of a run, their batches, their loop, and what surrounds them.
//!
//! A loop of one's own is made of the same parts. This one computes what [`Trainer`](crate::Trainer) does on data, to the last bit
//! ([`data::of_recording`] takes [`Arrays`](crate::Arrays) in place of a file):
//!
//! ```
//! use baq::algo::{Dims, Phase};
//! use baq::autodiff::{Clock, Noise};
//! use baq::config::{Exploration, OfflineConfig, OnlineConfig, resolve};
//! use baq::rng::Stream;
//! use baq::train::agent::Agent;
//! use baq::train::batches::Batches;
//! use baq::train::cadence::Roles;
//! use baq::train::data::{self, Recorded};
//! use baq::train::rounds::Rounds;
//! use baq::train::sections::known_sections;
//!
//! let sets = ["run.dataset=embedded", "iql.hidden=[16]", "offline.batch=64", "offline.updates=100"];
//! let config = resolve(known_sections(), Some("iql"), None, &sets.map(String::from))?;
//! let (options, seed): (OfflineConfig, u64) = (config.section(), 0);
//!
//! let dataset = data::load(&config)?;
//! let dims = Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch: options.batch };
//! let mut agent = Agent::new(&config, dims)?;
//! let all: Vec<usize> = (0..dataset.columns.len()).collect();
//! let pools = dataset.pools(&all, 0, &[], Recorded::offline(agent.learner.as_ref()))?;
//! let mut batches = Batches::uniform(pools, (seed, Stream::Batch), options.batch).with_neighbours(&agent);
//!
//! // Traced once, compiled for every set of roles that a round can have.
//! let (trace, delay) = (agent.trace(&Phase::offline(options.updates)), agent.learner.delay());
//! let mut rounds = Rounds::new(trace, Roles::of_delay(delay));
//! for round in 0..options.updates {
//!     batches.draw(&mut agent, round, round)?;
//!     batches.seek(&mut agent);
//!     let measured = round + 1 == options.updates;
//!     let (program, workspace) = rounds.pick(Roles::delayed(round, delay), measured);
//!     batches.fill(workspace, program);
//!     let clock = Clock { round, phase_round: round };
//!     program.run(workspace, &mut agent.store, clock, Noise::Seed(seed));
//! }
//! for (metric, value) in rounds.values() {
//!     println!("{} = {value}", metric.name);
//! }
//!
//! let mut actor = agent.actor(1, Exploration::Greedy, &OnlineConfig::default());
//! let action = actor.act(&mut agent.store, &[0.5; 11], seed, 0);
//! let runs = tempfile::tempdir()?;
//! let run = baq::Trainer::new("iql").data("embedded").env("none").options(&sets[1..]);
//! assert_eq!(action, run.run(runs.path().join("iql"))?.act(&[0.5; 11])?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod action_map;
pub mod agent;
pub mod annotation;
pub mod batches;
mod believable;
pub mod bench;
pub mod cadence;
pub mod calibration;
pub mod collect;
pub mod conditions;
pub mod counters;
pub mod data;
pub mod dataset_facts;
pub mod decoded;
pub mod distribution;
pub mod divergence;
pub mod effects;
pub mod error;
pub mod evaluate;
pub mod evaluating;
pub mod evaluations;
pub mod extra;
pub mod gather;
pub mod generated;
pub mod generation;
pub mod held_out;
pub mod interaction;
pub mod lock;
pub mod memory;
pub mod metrics;
mod needs;
mod neighbours;
mod opening;
mod peak;
mod periods;
pub mod plan;
pub mod policy;
pub mod progress;
pub mod provenance;
pub mod reach;
pub mod reprioritiser;
mod resumable_csv;
pub mod rounds;
pub mod run;
mod run_error;
pub mod rundir;
pub mod sections;
pub mod shelf;
mod stamp;
pub mod start;
pub mod state;
pub mod switch;
mod tensorboard;
pub mod timing;
pub mod training;

pub use crate::adapt::Method;
pub use error::TrainError;
