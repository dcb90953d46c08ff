//! All environments. A new one is its file or folder beside this one and a line of [`ENVIRONMENTS`]; a program that uses the
//! library adds its own with [`register`].
//!
//! An id is `task-version`, as `hopper-v4`, or `scheme:task-version` for environments that follow somebody else's
//! definition to the letter; the scheme is part of the id. Case does not matter. The schemes `gym:` and `process:`, in small letters, lead to
//! [other programs](super::process), whose tasks nobody lists here.

use std::sync::{PoisonError, RwLock};

use super::own::Own;
use super::process;
use super::robots::{
    Robot, ant, half_cheetah, hopper, humanoid, inverted_pendulum, reacher, swimmer, walker2d,
};
use super::toy::{self, Toy};
use super::{Env, EnvError, Spec};

/// What `--env` says for no environment; an id that nobody can register.
pub const NONE: &str = "none";

/// One line of the registry.
#[derive(Clone, Copy)]
struct Registered {
    /// known without a simulator
    spec: &'static Spec,
    /// reset with seed 0, episode 0
    build: Build,
}

/// Makes an environment, reset with seed 0, episode 0.
pub type Build = fn() -> Result<Box<dyn Env>, EnvError>;

/// Those of the program that uses the library. Looked at when something begins, never in a step.
static OWN: RwLock<Vec<Registered>> = RwLock::new(Vec::new());

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

/// All lines: the program's own after ours.
fn lines() -> impl Iterator<Item = Registered> {
    let own = OWN.read().unwrap_or_else(PoisonError::into_inner).clone();
    ENVIRONMENTS.iter().copied().chain(own)
}

/// The canonical ids of all environments.
pub fn ids() -> impl Iterator<Item = &'static str> {
    lines().map(|line| line.spec.id)
}

/// Adds an environment for the life of the process: from now on [`make`], [`spec`], configurations (`run.env`) and whatever
/// trains or evaluates know it by `spec.id`. `build` gives it reset with seed 0, episode 0. An episode is truncated after
/// `spec.max_episode_steps`, whether the environment says so or not; an observation or a reward that is not finite in f32 is an error.
///
/// ```
/// use baq::env::{self, Env, EnvError, Spec, Step, check_state};
///
/// /// Walk on a line to 0: S = (x), A = 1, the reward is -x².
/// #[derive(Default)]
/// struct Line {
///     x: f64,
/// }
/// static SPEC: Spec = Spec::new("line", 1, 1, 20);
///
/// impl Env for Line {
///     fn spec(&self) -> &Spec {
///         &SPEC
///     }
///     fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
///         self.x = (seed ^ episode) as f64 % 7.0 / 3.0 - 1.0;
///         obs[0] = self.x;
///     }
///     fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
///         if !action[0].is_finite() {
///             return Err(EnvError::Action { id: SPEC.id, index: 0, value: f64::from(action[0]) });
///         }
///         self.x += 0.1 * f64::from(action[0].clamp(-1.0, 1.0));
///         obs[0] = self.x;
///         Ok(Step::new(-self.x * self.x, false, false))
///     }
///     fn state(&self) -> Vec<f64> {
///         vec![self.x]
///     }
///     fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
///         check_state(SPEC.id, state, 1)?;
///         self.x = state[0];
///         Ok(())
///     }
/// }
///
/// env::register(&SPEC, || Ok(Box::new(Line::default())))?;
/// assert_eq!(env::make("line")?.obs_dim(), 1);
/// assert!(env::register(&SPEC, || Ok(Box::new(Line::default()))).is_err(), "its id is taken");
///
/// // From scratch in it, on from there, and what comes of it.
/// let small = ["td3.hidden=[16]", "online.batch=32", "online.env_steps=200", "online.eval_episodes=2"];
/// let runs = tempfile::tempdir()?;
/// let [first, second] = ["first", "second"].map(|name| runs.path().join(name));
/// baq::Trainer::new("td3").env("line").options(&small).run(&first)?;
/// let mut policy = baq::Trainer::fine_tune(&first, "plain").options(&small[2..]).run(&second)?;
/// assert_eq!(policy.evaluate(3, 0)?.lengths, [20, 20, 20]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnvError::Register`] for an id that is taken, or means another program, and for lengths of 0.
pub fn register(spec: &'static Spec, build: Build) -> Result<(), EnvError> {
    let refuse = |expected, got: String| Err(EnvError::Register { id: spec.id, expected, got });
    if spec.id.is_empty()
        || spec.id == NONE
        || process::is_external(spec.id)
        || spec.id.contains(char::is_whitespace)
    {
        return refuse(
            "an id of one word other than `none`, that does not begin with `gym:` or `process:`",
            format!("{:?}", spec.id),
        );
    }
    if spec.obs_dim == 0 || spec.act_dim == 0 || spec.max_episode_steps == 0 {
        let sizes = format!("{}, {} and {}", spec.obs_dim, spec.act_dim, spec.max_episode_steps);
        return refuse("observations, actions and episodes of a length from 1 up", sizes);
    }
    let mut own = OWN.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(there) = ENVIRONMENTS.iter().chain(own.iter()).find(|line| answers(line, spec.id)) {
        return refuse("an id that is not taken", format!("that of {:?}; give it another", there.spec.id));
    }
    own.push(Registered { spec, build });
    Ok(())
}

/// Whether this is what an id means.
fn answers(line: &Registered, id: &str) -> bool {
    let is = |name: &str| name.eq_ignore_ascii_case(id);
    is(line.spec.id) || bare(line.spec.id).is_some_and(is)
}

fn find(id: &str) -> Result<Registered, EnvError> {
    if id == NONE {
        return Err(EnvError::None);
    }
    lines().find(|line| answers(line, id)).ok_or_else(|| {
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
/// [`EnvError::Unknown`] with the nearest id, [`EnvError::None`] of [`NONE`], or [`EnvError::Program`].
pub fn spec(id: &str) -> Result<&'static Spec, EnvError> {
    if process::is_external(id) { process::spec(id) } else { Ok(find(id)?.spec) }
}

/// The environment of data of a task in D4RL's table: in its usual version, or where that observes something else in D4RL's.
pub fn of_score(wanted: impl Fn(&str) -> bool) -> Option<&'static Spec> {
    let recorded = lines().map(|line| line.spec).find(|spec| spec.score.is_some_and(&wanted))?;
    let usual = spec(recorded.score?).ok()?;
    Some(if usual.obs_dim == recorded.obs_dim { usual } else { recorded })
}

/// A new, independent environment, reset with seed 0, episode 0.
///
/// # Errors
/// [`EnvError::Unknown`], [`EnvError::Program`], or [`EnvError::MuJoCo`] when the simulator cannot be had.
pub fn make(id: &str) -> Result<Box<dyn Env>, EnvError> {
    if process::is_external(id) {
        return process::make(id);
    }
    let Registered { spec, build } = find(id)?;
    let env = build()?;
    let ours = ENVIRONMENTS.iter().any(|line| line.spec.id == spec.id);
    if ours { Ok(env) } else { Ok(Box::new(Own::new(spec, env))) }
}
