//! All environments. A new one is its file or folder beside this one and a line of [`ENVIRONMENTS`].
//!
//! An id is `task-version`, as `hopper-v4`, or `scheme:task-version` for environments that follow somebody else's
//! definition to the letter; the scheme is part of the id. Case does not matter. The schemes `gym:` and `process:` lead to
//! [other programs](super::process), whose tasks nobody lists here.

use super::process;
use super::robots::{
    Robot, ant, half_cheetah, hopper, humanoid, inverted_pendulum, reacher, swimmer, walker2d,
};
use super::toy::{self, Toy};
use super::{Env, EnvError, Spec};

/// One line of the registry.
struct Registered {
    /// known without a simulator
    spec: &'static Spec,
    /// reset with seed 0, episode 0
    build: fn() -> Result<Box<dyn Env>, EnvError>,
}

static ENVIRONMENTS: &[Registered] = &[
    Registered { spec: &half_cheetah::V2.spec, build: || Robot::build(&half_cheetah::V2) },
    Registered { spec: &half_cheetah::V4.spec, build: || Robot::build(&half_cheetah::V4) },
    Registered { spec: &half_cheetah::V5.spec, build: || Robot::build(&half_cheetah::V5) },
    Registered { spec: &hopper::V2.spec, build: || Robot::build(&hopper::V2) },
    Registered { spec: &hopper::V4.spec, build: || Robot::build(&hopper::V4) },
    Registered { spec: &hopper::V5.spec, build: || Robot::build(&hopper::V5) },
    Registered { spec: &walker2d::V2.spec, build: || Robot::build(&walker2d::V2) },
    Registered { spec: &walker2d::V4.spec, build: || Robot::build(&walker2d::V4) },
    Registered { spec: &walker2d::V5.spec, build: || Robot::build(&walker2d::V5) },
    Registered { spec: &ant::V2.spec, build: || Robot::build(&ant::V2) },
    Registered { spec: &ant::V4.spec, build: || Robot::build(&ant::V4) },
    Registered { spec: &ant::V5.spec, build: || Robot::build(&ant::V5) },
    Registered { spec: &humanoid::V4.spec, build: || Robot::build(&humanoid::V4) },
    Registered { spec: &humanoid::V5.spec, build: || Robot::build(&humanoid::V5) },
    Registered { spec: &inverted_pendulum::V4.spec, build: || Robot::build(&inverted_pendulum::V4) },
    Registered { spec: &inverted_pendulum::V5.spec, build: || Robot::build(&inverted_pendulum::V5) },
    Registered { spec: &reacher::V4.spec, build: || Robot::build(&reacher::V4) },
    Registered { spec: &reacher::V5.spec, build: || Robot::build(&reacher::V5) },
    Registered { spec: &swimmer::V4.spec, build: || Robot::build(&swimmer::V4) },
    Registered { spec: &swimmer::V5.spec, build: || Robot::build(&swimmer::V5) },
    Registered { spec: &toy::SPEC, build: || Ok(Box::new(Toy::new())) },
];

/// The short name of a default task: `hopper` for `hopper-v4`.
fn bare(id: &'static str) -> Option<&'static str> {
    id.strip_suffix("-v4")
}

/// The canonical ids of all environments.
pub fn ids() -> impl Iterator<Item = &'static str> {
    ENVIRONMENTS.iter().map(|line| line.spec.id)
}

fn find(id: &str) -> Result<&'static Registered, EnvError> {
    let is = |name: &str| name.eq_ignore_ascii_case(id);
    ENVIRONMENTS.iter().find(|line| is(line.spec.id) || bare(line.spec.id).is_some_and(is)).ok_or_else(|| {
        let wanted = id.to_lowercase();
        let nearest = ids()
            .flat_map(|id| [Some(id), bare(id)].map(|name| (name, id)))
            .filter_map(|(name, id)| Some((strsim::levenshtein(&wanted, &name?.to_lowercase()), id)))
            .min_by_key(|&(distance, _)| distance)
            .map(|(_, id)| id)
            .expect("invariant: there are environments");
        EnvError::Unknown { id: id.to_string(), nearest, known: known() }
    })
}

fn known() -> String {
    ids().chain(["gym:ID", "process:COMMAND"]).collect::<Vec<_>>().join(" ")
}

/// The properties of an environment, by id in any case; a bare task name means its `v4`.
///
/// # Errors
/// [`EnvError::Unknown`] with the nearest id, or [`EnvError::Program`].
pub fn spec(id: &str) -> Result<&'static Spec, EnvError> {
    if process::is_external(id) { process::spec(id) } else { Ok(find(id)?.spec) }
}

/// The environment of data of a task in D4RL's table: in its usual version, or where that observes something else in D4RL's.
pub fn of_score(wanted: impl Fn(&str) -> bool) -> Option<&'static Spec> {
    let recorded = ENVIRONMENTS.iter().map(|line| line.spec).find(|spec| spec.score.is_some_and(&wanted))?;
    let usual = spec(recorded.score?).ok()?;
    Some(if usual.obs_dim == recorded.obs_dim { usual } else { recorded })
}

/// A new, independent environment, reset with seed 0, episode 0.
///
/// # Errors
/// [`EnvError::Unknown`], [`EnvError::Program`], or [`EnvError::MuJoCo`] when the simulator cannot be had.
pub fn make(id: &str) -> Result<Box<dyn Env>, EnvError> {
    if process::is_external(id) { process::make(id) } else { (find(id)?.build)() }
}
