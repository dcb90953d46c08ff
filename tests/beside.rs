//! Evaluations beside training: no file of a run depends on it, wherever the run is cut off, and what fails is said.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use baq::cli::contents;
use baq::cli::learn::{self, Again, Manner};
use baq::cli::setup::RunArgs;
use baq::cli::train::{self, Train};
use baq::config::Config;
use baq::env::{self, Env, EnvError, Spec, Step};
use baq::rng::{Stream, derive};
use baq::train::TrainError;
use baq::train::progress::{Ended, Stop};
use common::place::{COMMON, Place, copy};

/// What a hook is called before.
#[derive(Clone, Copy)]
enum Before {
    /// the first step of the evaluation of this number
    Evaluation(u64),
    /// the step of training that follows so many
    Step(u64),
}
use Before::{Evaluation, Step as Training};

type Hook = Arc<dyn Fn(Before) -> Result<(), EnvError> + Send + Sync>;

/// The toy task by a name for each test, with a hook.
static SPECS: [Spec; 4] = [
    Spec::new("equal", 3, 1, 100),
    Spec::new("shown", 3, 1, 100),
    Spec::new("cut", 3, 1, 100),
    Spec::new("fails", 3, 1, 100),
];
static HOOKS: [Mutex<Option<Hook>>; 4] = [const { Mutex::new(None) }; 4];

struct Hooked<const K: usize> {
    toy: Box<dyn Env>,
    evaluation: Option<u64>,
    steps: Option<u64>,
}

impl<const K: usize> Env for Hooked<K> {
    fn spec(&self) -> &Spec {
        &SPECS[K]
    }
    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        // One episode each.
        let evaluates = seed == derive(0, Stream::EvalReset);
        (self.evaluation, self.steps) = match evaluates {
            true => (Some(episode), None),
            false => (None, self.steps.or(Some(0))),
        };
        self.toy.reset(seed, episode, obs);
    }
    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        let hook = HOOKS[K].lock().unwrap().clone();
        let before = self.evaluation.take().map(Evaluation).or(self.steps.map(Training));
        if let (Some(hook), Some(before)) = (hook, before) {
            hook(before)?;
        }
        self.steps = self.steps.map(|n| n + 1);
        self.toy.step(action, obs)
    }
    fn state(&self) -> Vec<f64> {
        self.toy.state()
    }
    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
        self.toy.set_state(state)
    }
}

fn hook<const K: usize>(hook: impl Fn(Before) -> Result<(), EnvError> + Send + Sync + 'static) {
    *HOOKS[K].lock().unwrap() = Some(Arc::new(hook));
}

fn error(problem: &str) -> EnvError {
    EnvError::Program { id: "toy".into(), problem: problem.into() }
}

/// Waits for what training does meanwhile; an error where it does not go on.
fn until(done: impl Fn() -> bool) -> Result<(), EnvError> {
    for _ in 0..10_000 {
        if done() {
            return Ok(());
        }
        sleep(Duration::from_millis(2));
    }
    Err(error("training waits"))
}

/// Whether the metrics of a run go beyond this unit.
fn beyond(run: &Path, unit: u64) -> bool {
    let text = fs::read_to_string(run.join("metrics.csv")).unwrap_or_default();
    text.lines().count() as u64 > 1 + unit / EVERY[2].1
}

/// Saved at 30, 60, 90 and the end, 110.
const EVERY: [(&str, u64); 3] = [("eval_every", 20), ("checkpoint_every", 30), ("log_every", 5)];

/// The unit of the evaluation of a number; one comes before the first environment step.
fn unit(number: u64, online: bool) -> u64 {
    (EVERY[0].1 * (number + u64::from(!online))).min(110)
}

fn config<const K: usize>(place: &Place, online: bool) -> Config {
    // Twice it is there already.
    let _ = env::register(&SPECS[K], || {
        Ok(Box::new(Hooked::<K> { toy: env::make("toy")?, evaluation: None, steps: None }))
    });
    let (algo, phase, mut sets) = match online {
        true => (
            "sac",
            "online",
            vec![
                "sac.hidden=[8]".to_string(),
                "online.env_steps=110".into(),
                "online.capacity=500".into(),
                "online.warmup_steps=10".into(),
            ],
        ),
        false => ("td3_bc", "offline", vec!["td3.hidden=[8]".to_string(), "offline.updates=110".into()]),
    };
    sets.extend(EVERY.map(|(key, n)| format!("{phase}.{key}={n}")));
    sets.extend(["batch=8", "eval_episodes=1"].map(|set| format!("{phase}.{set}")));
    let data = (!online).then(|| place.path("toy.hdf5").display().to_string());
    let args = RunArgs { sets, data, env: Some(SPECS[K].id.into()), ..RunArgs::default() };
    Train::new(algo, args).planned(COMMON).unwrap_or_else(|e| panic!("{e}"))
}

fn manner(stop: &Stop, beside: bool) -> Manner<'_> {
    Manner { beside, ..Manner::new(stop, true) }
}

fn begin(config: &Config, run: &Path, beside: bool) -> Result<Ended, TrainError> {
    train::begin(config, run, manner(&Stop::default(), beside))
}

fn files(run: &Path) -> BTreeMap<String, String> {
    let files = contents::digests(run).unwrap();
    assert!(
        files.contains_key("checkpoint.safetensors") && files.contains_key("evaluations.jsonl"),
        "{files:?}"
    );
    files
}

#[test]
fn training_goes_on_and_files_are_equal() {
    let place = Place::new();
    for online in [false, true] {
        let config = config::<0>(&place, online);
        let run = |name: &str, beside: bool| {
            let run = place.path(&format!("{name}-{online}"));
            let at = run.clone();
            hook::<0>(move |before| match before {
                // At 60 and at the end training waits, to save.
                Evaluation(number) if beside && [20, 40, 80, 100].contains(&unit(number, online)) => {
                    until(|| beyond(&at, unit(number, online)))
                }
                _ => Ok(()),
            });
            begin(&config, &run, beside).unwrap_or_else(|e| panic!("{name}: {e}"));
            files(&run)
        };
        assert_eq!(run("beside", true), run("in-turn", false), "online: {online}");
    }
}

/// An event file without its times.
fn timeless(run: &Path) -> Vec<u8> {
    let folder = run.join("tensorboard");
    let mut bytes = fs::read(fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path()).unwrap();
    let mut at = 0;
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let end = at + 12 + length + 4;
        bytes[at + 12..at + 21].fill(0);
        bytes[end - 4..end].fill(0);
        at = end;
    }
    bytes
}

#[test]
fn an_event_file_has_the_order_of_steps() {
    let place = Place::new();
    let config = config::<1>(&place, true);
    hook::<1>(|before| {
        if let Evaluation(_) = before {
            sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let stop = Stop::default();
    let [a, b] = [true, false].map(|beside| {
        let run = place.path(&format!("run-{beside}"));
        let manner = Manner { tensorboard: true, ..manner(&stop, beside) };
        train::begin(&config, &run, manner).unwrap_or_else(|e| panic!("{e}"));
        timeless(&run)
    });
    assert!(a == b && a.len() > 2000, "{} and {} bytes", a.len(), b.len());
}

#[test]
fn a_run_that_is_cut_off_goes_on_to_the_same_files() {
    let place = Place::new();
    let config = config::<2>(&place, true);
    begin(&config, &place.path("whole"), false).unwrap_or_else(|e| panic!("{e}"));
    let whole = files(&place.path("whole"));
    let go_on = |name: &str| {
        hook::<2>(|_| Ok(()));
        let stop = Stop::default();
        let ended = learn::go_on(&place.path(name), &Again::default(), None, manner(&stop, true));
        ended.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(files(&place.path(name)), whole, "{name}");
    };

    // What a kill leaves, in the middle of the evaluation at 40, and behind the checkpoint at 90, before which that at 80
    // has ended, slow as it is.
    let [run, early, late] = ["run", "killed-46", "killed-95"].map(|name| place.path(name));
    let copies = [run.clone(), early.clone(), late.clone()];
    hook::<2>(move |before| {
        let [run, early, late] = &copies;
        match before {
            Training(46) => copy(run, early),
            Training(95) => copy(run, late),
            Evaluation(2) => until(|| early.join("config.toml").exists())?,
            Evaluation(4) => sleep(Duration::from_millis(200)),
            _ => {}
        }
        Ok(())
    });
    begin(&config, &run, true).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(files(&run), whole);
    let evaluated = |run: &Path| fs::read_to_string(run.join("evaluations.csv")).unwrap().lines().count() - 1;
    assert_eq!((evaluated(&early), evaluated(&late)), (2, 5), "0 and 20; 0 to 80");
    go_on("killed-46");
    go_on("killed-95");

    let stop = Stop::default();
    let signal = stop.clone();
    hook::<2>(move |before| {
        match before {
            Training(46) => signal.request(),
            Evaluation(2) => sleep(Duration::from_millis(100)),
            _ => {}
        }
        Ok(())
    });
    let ended = train::begin(&config, &place.path("stopped"), manner(&stop, true));
    assert_eq!(ended.unwrap_or_else(|e| panic!("{e}")), Ended::Interrupted);
    assert_eq!(evaluated(&place.path("stopped")), 3, "that at 40 too");
    go_on("stopped");
}

#[test]
fn what_fails_beside_training_is_said() {
    let place = Place::new();
    let config = config::<3>(&place, true);
    let run = |name: &str, beside: bool| {
        let run = place.path(&format!("{name}-{beside}"));
        let result = catch_unwind(AssertUnwindSafe(|| begin(&config, &run, beside)));
        (result, fs::read_to_string(run.join("evaluations.csv")).unwrap())
    };
    let said = |(result, rows): (std::thread::Result<Result<Ended, TrainError>>, String)| {
        (result.expect("no panic").expect_err("it fails").to_string(), rows)
    };

    // An evaluation, and training while one is played.
    for (at, problem) in [(Evaluation(2), "an evaluation fell over"), (Training(46), "training fell over")] {
        hook::<3>(move |before| {
            if let Evaluation(2) = before {
                sleep(Duration::from_millis(50));
            }
            match (before, at) {
                (Evaluation(n), Evaluation(m)) | (Training(n), Training(m)) if n == m => Err(error(problem)),
                _ => Ok(()),
            }
        });
        let [a, b] = [true, false].map(|beside| said(run(problem, beside)));
        assert_eq!(a, b);
        assert!(a.0.contains(problem), "{}", a.0);
    }

    hook::<3>(|before| {
        if let Evaluation(2) = before {
            panic!("in an evaluation");
        }
        Ok(())
    });
    let panic = run("panic", true).0.expect_err("a panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"in an evaluation"));
}
