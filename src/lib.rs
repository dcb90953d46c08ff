//! Offline-to-online reinforcement learning on CPUs, as a library; the command `baq` is a thin layer above it.
//!
//! A program names what learns, from what, and where the run is kept:
//!
//! ```
//! use baq::{Arrays, Ending, Trainer};
//!
//! // 50 recorded episodes of 20 steps; the reward is largest where the action is half of the first number of the state.
//! let (mut s, mut a, mut r, mut ends) = (vec![], vec![], vec![], vec![]);
//! for step in 0..1000 {
//!     let [x, action] = [101, 103].map(|k| (step * 37 % k) as f32 / 51.0 - 1.0);
//!     s.extend([x, 1.0]);
//!     a.push(action);
//!     r.push(-(action - x / 2.0).powi(2));
//!     ends.push(if step % 20 == 19 { Ending::Terminated } else { Ending::Running });
//! }
//! let runs = tempfile::tempdir()?;
//! let mut policy = Trainer::new("iql")
//!     .arrays(Arrays { observations: &s, actions: &a, rewards: &r, ends: &ends })
//!     .options(&["iql.hidden=[32, 32]", "iql.actor=3e-3", "iql.value=3e-3", "iql.critic=3e-3"])
//!     .options(&["offline.batch=64", "offline.updates=1000"])
//!     .run(runs.path().join("iql"))?;
//! let [low, high] = [policy.act(&[-0.8, 1.0])?[0], policy.act(&[0.8, 1.0])?[0]];
//! assert!(low < -0.2 && high > 0.2, "{low} and {high}, where -0.4 and 0.4 are best");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | you have | look at |
//! |---|---|
//! | recorded steps, in memory or in files | [`Trainer::arrays`], [`Trainer::data`], [`baq_datasets::formats`] |
//! | an environment of your own | [`env::register`] has a whole program, [`mod@env::process`] one in another language |
//! | a method of your own | [`algo::register`] has a whole program, the head of [`algo`] the rest |
//! | a run to go on with in an environment | [`Trainer::fine_tune`] |
//! | a run that was cut off | [`Trainer::resume`] |
//! | a run or a policy file | [`Policy::open`], [`Policy::act`], [`Policy::evaluate`]; [`export`] for other programs |
//! | an option to set | [`mod@config`]; `baq options` lists the sections, `baq options SECTION` its options |
//! | a question why a number is what it is | [`audit`], `baq explain` |
//!
//! A build for development is unusably slow unless the program's own `Cargo.toml` says `[profile.dev.package."*"]` and
//! `opt-level = 3`: profiles of dependencies do not count.
//!
//! The rooms, from the bottom up; each may use only the ones before it (`tests/house` checks):
//!
//! | module | what |
//! |---|---|
//! | [`baq_kernels`] | the hot arithmetic, one table of function pointers per instruction set |
//! | [`baq_datasets`] | D4RL and Minari files to columns |
//! | [`files`] | opening files that others named |
//! | [`autodiff`] | trace a computation once, compile it, execute it; an f64 interpreter of the same graph |
//! | [`rng`] | streams of random numbers, each by its name |
//! | [`mod@config`] | one declaration per option |
//! | [`replay`] | transitions in memory, prioritised sampling, batch composition |
//! | [`nn`] | networks, policy heads, initialisation |
//! | [`algo`], [`adapt`] | base algorithms and what may modify them online |
//! | [`mod@env`] | MuJoCo tasks, a toy task, tasks of other programs and of yours |
//! | [`checkpoint`] | the complete training state in one file |
//! | [`audit`] | golden traces and gradient checks |
//! | [`train`] | offline and online loops, evaluation, collection |
//! | [`export`] | policies as files for other programs |
//! | [`suite`] | data sets that are built from recipes |
//! | [`report`] | runs as pictures and one self-contained page |
//! | [`render`] | episodes as pictures |
//! | [`study`] | questions as files: paired runs, statistics, tables, figures |
//! | [`cli`] | the command line |
//! | [`library`] | the same from a program: [`Trainer`], [`Policy`] |

#![deny(missing_docs)]

/// The `eprintln!` of this crate, before all modules so that it hides the standard one, which panics: where nobody can read
/// any more, on a full disk or a closed terminal, work goes on and exit codes are what they would have been.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod adapt;
pub mod algo;
pub mod audit;
pub mod autodiff;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod env;
pub mod export;
pub mod files;
pub mod library;
pub mod nn;
pub mod render;
pub mod replay;
pub mod report;
pub mod rng;
pub mod study;
pub mod suite;
pub mod train;

pub use baq_datasets::{Arrays, Ending};
pub use library::{Policy, Trainer};
