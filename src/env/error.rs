//! Why an environment cannot do what was asked.

use std::path::PathBuf;

/// Why an environment cannot do what was asked; every message is one line.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// No environment has this id.
    #[error("unknown environment \"{id}\": did you mean \"{nearest}\"? (known: {known})")]
    Unknown {
        /// what was asked for
        id: String,
        /// the most similar id
        nearest: &'static str,
        /// all ids
        known: String,
    },
    /// The word for no environment, where one is needed.
    #[error("expected an environment, got none; name one, as in hopper-v4")]
    None,
    /// An environment cannot be registered.
    #[error("environment \"{id}\": expected {expected}, got {got}")]
    Register {
        /// as it was to be registered
        id: &'static str,
        /// what is needed
        expected: &'static str,
        /// what there is
        got: String,
    },
    /// MuJoCo cannot be found, fetched or used; the message says how to get it.
    #[error("{0}")]
    MuJoCo(String),
    /// A component of an action is NaN or infinite.
    #[error("{id}: action[{index}] is {value}, expected a finite number in [-1, 1]")]
    Action {
        /// the environment
        id: &'static str,
        /// which component
        index: usize,
        /// its value
        value: f64,
    },
    /// The simulation left the range that MuJoCo can represent.
    #[error(
        "the simulation became unstable at time {time:.3} s ({warning}); other actions, as of another --seed, may not do this"
    )]
    Unstable {
        /// simulated seconds since the reset
        time: f64,
        /// what MuJoCo said about it
        warning: String,
    },
    /// The system does not let this process listen for signals.
    #[error("cannot listen for signals: {0}")]
    Signals(String),
    /// An environment in another program cannot be made, or does not answer.
    #[error("{id}: {problem}")]
    Program {
        /// the environment
        id: String,
        /// what the program said, or how it ended
        problem: String,
    },
    /// An observation or a reward of an environment that a program has registered is not finite in f32.
    #[error("{id}: {problem}; mend the environment, and a run goes on from its last checkpoint")]
    NotFinite {
        /// the environment
        id: &'static str,
        /// expected, got and where
        problem: String,
    },
    /// A saved state does not fit.
    #[error("{id}: saved state {problem}")]
    State {
        /// the environment
        id: &'static str,
        /// expected and got
        problem: String,
    },
    /// A file of a recording is missing or wrong.
    #[error("{}: {problem}", file.display())]
    Recording {
        /// the file
        file: PathBuf,
        /// key, expected and got
        problem: String,
    },
}
