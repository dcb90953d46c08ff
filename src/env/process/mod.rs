//! Environments in another program: `gym:ID` for whatever Gymnasium makes, `process:COMMAND` for programs in any language.
//!
//! # `gym:ID`
//!
//! Any task of Gymnasium with continuous, bounded actions and a time limit, also of Gymnasium-Robotics and OGBench where they are
//! installed: `gym:Ant-v5`, `gym:AntMaze_UMaze-v5`, `gym:AdroitHandPen-v1`. They run in `python3` (`BAQ_PYTHON` names another),
//! with a script that is inside this program. Actions in [-1, 1] are laid between the task's bounds. An observation that is a
//! dictionary is flattened: `observation`, `achieved_goal`, `desired_goal`, then what else there is by name. An episode begins with
//! `reset(seed=SEED)`, after `numpy.random.seed(SEED)` for tasks that draw from there. Success is what steps say of it in their
//! `info` (`success` or `is_success`), if a first step says so: a task that tells it only as an episode ends is judged by its returns
//! alone. An observation of another length than its space is an error.
//!
//! Gymnasium-Robotics has relatives of D4RL's sparse tasks. Their scores take D4RL's reference returns where these fit: AntMaze,
//! whose score is the share of episodes that succeed (D4RL's end at the goal, these go on), and of Adroit the door, the hammer and
//! relocation. Not the pen, whose episodes are twice as long as D4RL's, and not the kitchen, which asks for more than four things.
//!
//! # The protocol
//!
//! COMMAND is split at blanks into a program and its arguments, without quotes or a shell. One program serves all environments of
//! a run, one request after the other. It writes one line of JSON when it is ready, of at most 1 MiB, then answers requests on its
//! standard input until that ends; two seconds later it is killed. Of its standard error the last line is quoted if it ends or
//! closes its output before that. Numbers are little-endian. Observations and rewards must be finite in f32, in which learning has
//! them.
//!
//! ```text
//! {"protocol": 1, "observation": S, "action": A, "limit": STEPS, "success": false, "versions": "..."}
//! {..., "low": [A numbers], "high": [A numbers]}      if the task's own actions have these bounds
//! {"error": "..."}      instead of all that
//!
//! request                                 answer
//! 'R' number:u32 seed:u64                 0 observation:f64[S]
//! 'S' number:u32 action:f32[A]            0 reward:f64 terminated:u8 truncated:u8 [success:u8] observation:f64[S]
//! 'C' number:u32                          none
//!                                         1 length:u32 text          instead, if something went wrong; below 64 KiB
//! ```
//!
//! Actions of 'S' are cut to [-1, 1] and never rescaled: a program lays them between its bounds itself. `low` and `high` are noted
//! in what is collected, and say what -1 and 1 mean where a policy has learnt from data with other bounds. Flags are true if not 0.
//!
//! Bytes beyond an answer are an error, which ends the program; missing ones are waited for, as long as the program runs that was
//! started. When it ends, so does all that it has started.
//!
//! An episode is truncated after STEPS, whether the program says so or not; a reset follows.
//! `success`, by default false, says that steps answer whether the goal is reached; an episode succeeds that reaches it once.
//! `number` says which of several environments; the first reset of a number makes it. A reset with a seed must lead to the
//! same episode whenever the same actions follow: a saved state is (seed, actions since), and going on from it is acting them
//! again, so that a run resumes to equal bytes without any help from the task. A state also has a checksum of what was answered:
//! a program that answers otherwise is refused. So are other `versions`.

mod child;
mod hello;
mod running;

pub(crate) use self::running::{end_all, end_silent, end_with_this_process, ignored};

use std::collections::BTreeMap;
use std::iter::once;
use std::sync::{Arc, Mutex, PoisonError};

use baq_kernels::philox::Philox;
use baq_kernels::threads;

use self::child::Child;
use self::hello::shortened;
use super::environment::check_numbers;
use super::{Env, EnvError, Needs, Spec, Step, stream};

/// Prefix of ids that name a program.
const PROCESS: &str = "process:";
/// Prefix of ids that name a task of Gymnasium.
const GYM: &str = "gym:";

/// Added to the checksum in a state, which is no action then: states of earlier versions have the first action there.
const BEYOND_ACTIONS: f64 = 2.0;

/// Whether an id leads here.
pub(super) fn is_external(id: &str) -> bool {
    id.starts_with(GYM) || id.starts_with(PROCESS)
}

/// A task, and the programs that run it.
struct Program {
    spec: &'static Spec,
    children: Vec<Arc<Mutex<Child>>>,
}

impl Program {
    fn start(id: &str) -> Result<Program, EnvError> {
        let child = start(id)?;
        // Known for the life of the process, as the specs of the registry are.
        let spec: &'static Spec = Box::leak(Box::new(Spec {
            id: id.to_string().leak(),
            obs_dim: child.sizes.observation,
            act_dim: child.sizes.action,
            max_episode_steps: child.sizes.limit,
            score: id.strip_prefix(GYM).and_then(score),
            success: child.sizes.success,
            needs: Needs::Program,
        }));
        Ok(Program { spec, children: vec![Arc::new(Mutex::new(child))] })
    }

    /// The program for one more environment: Gymnasium runs once per thread, programs of users once.
    fn child(&mut self) -> Result<Arc<Mutex<Child>>, EnvError> {
        let free = self.children.iter().min_by_key(|child| Arc::strong_count(child));
        let free = free.expect("invariant: one was started").clone();
        // Two: ours here and in the list.
        let idle = Arc::strong_count(&free) == 2;
        if idle || !self.spec.id.starts_with(GYM) || self.children.len() >= threads() {
            return Ok(free);
        }
        let child = Arc::new(Mutex::new(start(self.spec.id)?));
        self.children.push(child.clone());
        Ok(child)
    }
}

fn start(id: &str) -> Result<Child, EnvError> {
    let command = match (id.strip_prefix(GYM), id.strip_prefix(PROCESS)) {
        (Some(task), _) => child::gymnasium(task),
        (_, Some(line)) => child::words(id, line)?,
        _ => unreachable!("invariant: other ids are in the registry"),
    };
    Child::start(id, command)
}

/// Programs by the ids that they were asked for by.
static PROGRAMS: Mutex<BTreeMap<String, Program>> = Mutex::new(BTreeMap::new());

/// Lets programs end that no environment needs any more; one that does not within two seconds is ended.
pub(crate) fn close() {
    let programs = std::mem::take(&mut *PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner));
    drop(programs);
}

/// Looks at the program behind an id, which is started when it is asked for first.
fn look<T>(id: &str, at: impl FnOnce(&mut Program) -> Result<T, EnvError>) -> Result<T, EnvError> {
    let mut known = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = known.get_mut(id) {
        return at(program);
    }
    at(known.entry(id.into()).or_insert(Program::start(id)?))
}

/// The task of D4RL whose reference returns fit a task of Gymnasium.
fn score(task: &str) -> Option<&'static str> {
    let is = |name: &str| task.strip_prefix(name).is_some_and(|rest| rest.starts_with("-v"));
    match task {
        _ if task.starts_with("AntMaze_") => Some("antmaze"),
        _ if is("AdroitHandDoor") => Some("door"),
        _ if is("AdroitHandHammer") => Some("hammer"),
        _ if is("AdroitHandRelocate") => Some("relocate"),
        _ => None,
    }
}

/// The properties of an environment.
///
/// # Errors
/// [`EnvError::Program`] if the program cannot be started or does not know the task.
pub(super) fn spec(id: &str) -> Result<&'static Spec, EnvError> {
    look(id, |program| Ok(program.spec))
}

/// A new environment, reset with seed 0, episode 0.
///
/// # Errors
/// As [`spec`].
pub(super) fn make(id: &str) -> Result<Box<dyn Env>, EnvError> {
    let (spec, child) = look(id, |program| Ok((program.spec, program.child()?)))?;
    let number = lock(&child).number();
    let mut env = Process { spec, child, number, seed: 0, actions: Vec::new(), answers: None, broken: None };
    let mut obs = vec![0.0; spec.obs_dim];
    env.reset(0, 0, &mut obs);
    match env.broken.take() {
        None => Ok(Box::new(env)),
        Some(e) => Err(e),
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One environment of a program.
struct Process {
    spec: &'static Spec,
    child: Arc<Mutex<Child>>,
    number: u32,
    /// of the running episode
    seed: u64,
    /// since its beginning, `[steps, A]`
    actions: Vec<f32>,
    /// checksum of what was answered since; `None` where no episode has begun
    answers: Option<u32>,
    /// why the last reset or restoring failed; the next step says it
    broken: Option<EnvError>,
}

/// Seed of a reset: 31 bits, which every generator takes.
fn reset_seed(seed: u64, episode: u64) -> u64 {
    let [bits, ..] = Philox::new(seed, stream::RESET_UNIFORM, episode).next_block();
    u64::from(bits >> 1)
}

impl Process {
    fn begin(&mut self, seed: u64, obs: &mut [f64]) -> Result<(), EnvError> {
        self.seed = seed;
        self.actions.clear();
        self.answers = None;
        lock(&self.child).reset(self.number, seed, obs)?;
        self.take(obs, 0.0)
    }

    fn act(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        self.actions.extend(action);
        let answer = lock(&self.child).step(self.number, action, obs);
        let answer = answer.and_then(|step| self.take(obs, step.reward).map(|()| step));
        // A step that failed has not been made.
        let mut step = answer.inspect_err(|_| self.actions.truncate(self.actions.len() - action.len()))?;
        step.truncated |= self.steps() >= self.spec.max_episode_steps;
        Ok(step)
    }

    /// Acts an episode of a saved state again; `answers` is its checksum, where it has one.
    fn replay(&mut self, seed: u64, answers: Option<f64>, actions: &[f64]) -> Result<(), EnvError> {
        let mut obs = vec![0.0; self.spec.obs_dim];
        self.begin(seed, &mut obs)?;
        for action in actions.chunks_exact(self.spec.act_dim) {
            let action: Vec<f32> = action.iter().map(|a| *a as f32).collect();
            self.act(&action, &mut obs)?;
        }
        if answers.is_some() && answers != self.answers.map(f64::from) {
            return Err(self.failed(
                "does not play an episode again: the same seed and actions gave other observations or rewards than before; seed every source of randomness at a reset, and let nothing else count, as the time or earlier episodes; one that keeps to this computes otherwise here: resume on the machine where the run began".into(),
            ));
        }
        Ok(())
    }

    /// Since the reset.
    fn steps(&self) -> usize {
        self.actions.len() / self.spec.act_dim
    }

    /// Checks what the program sent and adds it to the checksum.
    fn take(&mut self, obs: &[f64], reward: f64) -> Result<(), EnvError> {
        check_numbers(obs, reward, self.steps()).map_err(|problem| self.failed(problem))?;
        let before = self.answers.unwrap_or(0);
        let numbers = once(&reward).chain(obs);
        self.answers = Some(numbers.fold(before, |sum, x| crc32c::crc32c_append(sum, &x.to_le_bytes())));
        Ok(())
    }

    fn failed(&self, problem: String) -> EnvError {
        EnvError::Program { id: self.spec.id.into(), problem }
    }
}

impl Env for Process {
    fn spec(&self) -> &Spec {
        self.spec
    }

    fn action_bounds(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let child = lock(&self.child);
        let sizes = &child.sizes;
        (!sizes.low.is_empty()).then(|| (sizes.low.clone(), sizes.high.clone()))
    }

    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        assert_eq!(obs.len(), self.spec.obs_dim, "invariant: an observation has S numbers");
        self.broken = self.begin(reset_seed(seed, episode), obs).err();
        if self.broken.is_some() {
            // No episode has begun; finite, as checkpoints ask.
            obs.fill(0.0);
        }
    }

    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        assert_eq!(action.len(), self.spec.act_dim, "invariant: an action has A numbers");
        if let Some(e) = &self.broken {
            return Err(e.clone());
        }
        if let Some(index) = action.iter().position(|a| !a.is_finite()) {
            return Err(EnvError::Action { id: self.spec.id, index, value: f64::from(action[index]) });
        }
        let action: Vec<f32> = action.iter().map(|a| a.clamp(-1.0, 1.0)).collect();
        self.act(&action, obs)
    }

    /// Versions, seed, checksum, actions.
    fn state(&self) -> Vec<f64> {
        let version = lock(&self.child).sizes.version();
        let begin = [f64::from(version), self.seed as f64];
        let answers = self.answers.map(|sum| f64::from(sum) + BEYOND_ACTIONS);
        let actions = self.actions.iter().map(|a| f64::from(*a));
        begin.into_iter().chain(answers).chain(actions).collect()
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
        let id = self.spec.id;
        let refuse = |problem: String| Err(EnvError::State { id, problem });
        let [version, seed, rest @ ..] = state else {
            return refuse(format!("has {} numbers, expected at least 2", state.len()));
        };
        let (answers, actions) = match rest {
            [sum, actions @ ..] if *sum >= BEYOND_ACTIONS => (Some(sum - BEYOND_ACTIONS), actions),
            actions => (None, actions),
        };
        if !actions.len().is_multiple_of(self.spec.act_dim) || state.iter().any(|x| !x.is_finite()) {
            return refuse(format!("holds no actions of {} numbers", self.spec.act_dim));
        }
        let here = lock(&self.child).sizes.clone();
        if *version != f64::from(here.version()) {
            return refuse(format!(
                "was made by other versions than {}; install those that the run began with",
                shortened(&here.versions)
            ));
        }
        let replayed = self.replay(*seed as u64, answers, actions);
        self.broken = replayed.clone().err();
        replayed
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        lock(&self.child).close(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::score;

    #[test]
    fn tasks_have_the_references_that_fit_them() {
        let of = |task| score(task);
        assert_eq!(of("AntMaze_Large_Diverse_GR-v5"), Some("antmaze"));
        assert_eq!(of("AdroitHandDoor-v1"), Some("door"));
        for other in ["AdroitHandDoorSparse-v1", "AdroitHandPen-v1", "FrankaKitchen-v1", "Ant-v5"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
