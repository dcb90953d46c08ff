//! Comparison with update traces of a foreign program.
//!
//! A trace is a pair of files: `NAME.safetensors` with initial parameters, batches, random draws and the
//! parameters after some updates, in f64; `NAME.json` with the method, its hyper-parameters and the losses.
//! Both executors start from the same numbers, consume the same draws, and are compared
//! tensor by tensor.
//!
//! | key | meaning |
//! |---|---|
//! | `init.NET.PARAM` | parameters before the first update, weights stored `[N, K]` |
//! | `batch.I.COLUMN` | batch of update I, from 0 |
//! | `noise.I.J.KIND` | J-th random draw of update I: `normal`, `uniform` on (-1, 1), `unit` on [0, 1), `subset`, which are indices |
//! | `after.U.NET.PARAM` | parameters after U updates |
//! | `extra.I.NAME` | what update I makes on its way: the output NAME of our round |
//! | `priority.I` | after update I, the priorities of its rows by a model that is trained beside the updates |
//! | `act.observations`, `act.MODE.noise.R.J.KIND`, `act.MODE.action` | acting after the last update, `explore` or `evaluate`: states, draws of row R, actions |
//! | `meta.algo` | the method, which reads its hyper-parameters from `meta` ([`Foreign`](crate::algo::foreign::Foreign)); what they leave open is named in a note |
//! | `meta.constants` | `single` or `double`: how the foreign program rounded γ and the expectile; if not given, what agrees |
//! | `logs[I].LOSS` | losses of update I |
//!
//! Other tensors and logged values, misspelt ones too, are not compared: notes name them.
//!
//! The J-th draw of an update belongs to the J-th stream, in order of execution, that its losses read; streams that
//! metrics alone read have none. Where an update of theirs is several rounds of ours, J goes on from round to round.
//!
//! The difference of two tensors is the largest |x - y| / max(|y|, rms(y)) over their elements.

mod acting;
mod beside;
mod error;
mod files;
mod follow;
mod inputs;
mod networks;
mod reader;
mod report;
mod setup;
mod unread;

pub use error::GoldenError;
pub use follow::compare;
pub use report::{Difference, LossRow, Report};
