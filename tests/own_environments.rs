//! Environments that a program registers: what is asked of their numbers, and where their episodes end.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use baq::env::{self, Env, EnvError, Spec, Step, check_state};
use baq::{Policy, Trainer};

/// Walk on a line that no step ends: S = (x), A = 1, the reward is -x². The task of the id `ending` ends in its 20th step; that
/// of the id `faulty` has a fault.
struct Line {
    spec: &'static Spec,
    x: f64,
    steps: usize,
}

/// Where a number is not finite.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Nowhere,
    Reward(f64),
    Observation(f64),
    Reset(f64),
}

static FAULT: Mutex<Fault> = Mutex::new(Fault::Nowhere);

impl Line {
    fn new(spec: &'static Spec) -> Line {
        Line { spec, x: 0.0, steps: 0 }
    }

    fn fault(&self) -> Fault {
        if self.spec.id == "faulty" { *FAULT.lock().unwrap() } else { Fault::Nowhere }
    }
}

impl Env for Line {
    fn spec(&self) -> &Spec {
        self.spec
    }
    fn reset(&mut self, seed: u64, episode: u64, obs: &mut [f64]) {
        (self.x, self.steps) = ((seed ^ episode) as f64 % 7.0 / 3.0 - 1.0, 0);
        if let (Fault::Reset(x), 1) = (self.fault(), episode) {
            self.x = x;
        }
        obs[0] = self.x;
    }
    fn step(&mut self, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        self.x += 0.1 * f64::from(action[0].clamp(-1.0, 1.0));
        self.steps += 1;
        let mut reward = -self.x * self.x;
        match self.fault() {
            Fault::Reward(x) if self.steps == 15 => reward = x,
            Fault::Observation(x) if self.steps == 15 => self.x = x,
            _ => {}
        }
        obs[0] = self.x;
        Ok(Step::new(reward, self.spec.id == "ending" && self.steps == 20, false))
    }
    fn state(&self) -> Vec<f64> {
        vec![self.x, self.steps as f64]
    }
    fn set_state(&mut self, state: &[f64]) -> Result<(), EnvError> {
        check_state(self.spec.id, state, 2)?;
        (self.x, self.steps) = (state[0], state[1] as usize);
        Ok(())
    }
}

/// A run whose checkpoints often lie in the middle of an episode.
fn train(env: &str, evaluations: &str, out: &Path) -> Result<Policy, String> {
    let options = [
        "td3.hidden=[8]",
        "online.batch=8",
        "online.env_steps=60",
        "online.warmup_steps=20",
        "online.random_steps=20",
        "online.log_every=10",
        "online.checkpoint_every=10",
        evaluations,
    ];
    Trainer::new("td3").env(env).options(&options).run(out).map_err(|e| e.to_string())
}

fn error<T>(result: Result<T, String>) -> String {
    result.err().expect("an error")
}

/// The checkpoint before them stays, and the run goes on from there when the environment has been mended.
#[test]
fn numbers_that_are_not_finite_are_named_and_end_no_run() {
    static SPEC: Spec = Spec::new("faulty", 1, 1, 20);
    env::register(&SPEC, || Ok(Box::new(Line::new(&SPEC)))).unwrap();
    let place = tempfile::tempdir().unwrap();
    let expected = |got: &str| format!("faulty: expected numbers that are finite in f32, got {got}; ");
    let metrics = |run: &Path| fs::read_to_string(run.join("metrics.csv")).unwrap();
    let whole = place.path().join("whole");
    train("faulty", "online.eval_episodes=0", &whole).unwrap();
    for (k, (fault, got)) in [
        (Fault::Reward(f64::NAN), "reward = NaN at step 15 of an episode"),
        (Fault::Reward(1e39), "reward = 1e39 at step 15 of an episode"),
        (Fault::Observation(f64::NEG_INFINITY), "observation[0] = -inf at step 15 of an episode"),
        // Of the second episode, where the first one has ended with a checkpoint.
        (Fault::Reset(f64::NAN), "observation[0] = NaN at a reset"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = place.path().join(k.to_string());
        *FAULT.lock().unwrap() = fault;
        let said = error(train("faulty", "online.eval_episodes=0", &out));
        assert!(said.starts_with(&expected(got)), "{fault:?}: {said}");
        let again = error(Trainer::resume(&out).map_err(|e| e.to_string()));
        assert!(again.starts_with(&expected(got)), "{fault:?}: {again}");
        *FAULT.lock().unwrap() = Fault::Nowhere;
        Trainer::resume(&out).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(metrics(&out), metrics(&whole), "{fault:?}");
    }
    // An evaluation blames nobody else either, and a step is that error until a reset.
    *FAULT.lock().unwrap() = Fault::Observation(f64::NAN);
    let said = error(train("faulty", "online.eval_episodes=1", &place.path().join("evaluated")));
    let named = expected("observation[0] = NaN at step 15 of an episode");
    assert!(said.starts_with(&named), "{said}");
    let mut env = env::make("faulty").unwrap();
    env.reset(0, 0, &mut [0.0]);
    let failed: Vec<bool> = (1..=16).map(|_| env.step(&[0.5], &mut [0.0]).is_err()).collect();
    assert_eq!(failed, [[false; 14].as_slice(), &[true; 2]].concat());
    env.reset(0, 0, &mut [0.0]);
    env.step(&[0.5], &mut [0.0]).unwrap();
}

#[test]
fn an_episode_ends_at_the_limit() {
    static SPECS: [Spec; 2] = [Spec::new("endless", 1, 1, 20), Spec::new("ending", 1, 1, 20)];
    env::register(&SPECS[0], || Ok(Box::new(Line::new(&SPECS[0])))).unwrap();
    env::register(&SPECS[1], || Ok(Box::new(Line::new(&SPECS[1])))).unwrap();
    for (id, last) in [("endless", (false, true)), ("ending", (true, true))] {
        let (mut one, mut other) = (env::make(id).unwrap(), env::make(id).unwrap());
        let flags = |env: &mut dyn Env, steps: usize| {
            let mut step = || env.step(&[0.5], &mut [0.0]).unwrap();
            (0..steps).map(|_| step()).map(|step| (step.terminated, step.truncated)).collect::<Vec<_>>()
        };
        for episode in 0..2 {
            one.reset(0, episode, &mut [0.0]);
            assert_eq!(flags(one.as_mut(), 7), [(false, false); 7], "{id}");
            // In the middle of an episode another one goes on.
            other.set_state(&one.state()).unwrap();
            for env in [&mut one, &mut other] {
                let rest = flags(env.as_mut(), 13);
                assert_eq!(rest, [[(false, false); 12].as_slice(), &[last]].concat(), "{id}");
            }
        }
        for wrong in [&[][..], &[0.5, 0.0, 0.0], &[f64::NAN, 0.0, 0.0], &[1.0, 0.0]] {
            assert!(matches!(one.set_state(wrong), Err(EnvError::State { .. })), "{wrong:?}");
        }
    }
    let place = tempfile::tempdir().unwrap();
    let mut policy = train("endless", "online.eval_episodes=1", &place.path().join("run")).unwrap();
    assert_eq!(policy.evaluate(1, 0).unwrap().lengths, [20]);
}
