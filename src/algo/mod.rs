//! Base algorithms: each file states its losses and their order, in the paper's symbols.
//!
//! A [`Learner`] traces one [`Round`]; the [`Adaptation`] it is given is asked at fixed places. Neither knows who the
//! other is.

pub mod adaptation;
pub mod awac;
pub mod bc;
pub mod cal_ql;
pub mod cql;
pub mod iql;
pub mod learner;
pub mod measure;
pub mod phase;
pub mod registry;
pub mod round;
pub mod sac;
pub mod soft;
pub mod td3;
pub mod td3_bc;

pub use adaptation::{Adaptation, Cadence, Given, OPENING, Plain, Pretraining, Range, Sampling};
pub use cal_ql::{Failed, ReturnToGo};
pub use learner::Learner;
pub use phase::Phase;
pub use registry::{ALGORITHMS, Build, Entry, find};
pub use round::{ACTOR, CRITIC, Dims, Round, trace};
