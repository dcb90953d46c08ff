//! The library as a program meets it: arrays in memory, a trainer, a policy. (Own environments and own methods: the examples
//! of `env::register` and `algo::register`.)

use std::path::Path;

use baq::adapt::{ADAPTATIONS, GENERATORS};
use baq::algo::{self, ACTOR, Build, Entry, Learner, Round};
use baq::config::{AdamConfig, NetSpec, Schedule};
use baq::env::{self, Spec};
use baq::nn::{self, Head};
use baq::{Arrays, Ending, Policy, Trainer};

/// Recorded steps of a task like the toy one, S = 3, A = 1, the reward largest where a = x / 2.
struct Recorded {
    s: Vec<f32>,
    a: Vec<f32>,
    r: Vec<f32>,
    ends: Vec<Ending>,
}

impl Recorded {
    fn new() -> Recorded {
        Recorded::of(1000)
    }

    fn of(steps: usize) -> Recorded {
        let (mut s, mut a, mut r, mut ends) = (vec![], vec![], vec![], vec![]);
        for step in 0..steps {
            let [x, action] = [101, 103].map(|k| (step * 37 % k) as f32 / 51.0 - 1.0);
            s.extend([x, 1.0, -x]);
            a.push(action);
            r.push(-(action - x / 2.0).powi(2));
            ends.push(if step % 20 == 19 { Ending::Terminated } else { Ending::Running });
        }
        Recorded { s, a, r, ends }
    }

    fn arrays(&self) -> Arrays<'_> {
        Arrays { observations: &self.s, actions: &self.a, rewards: &self.r, ends: &self.ends }
    }
}

/// As D4RL's medium-expert data: more rows than the buffer has by default.
#[test]
fn a_buffer_has_room_for_all_that_it_begins_with() {
    let (recorded, place) = (Recorded::of(2_000_001), tempfile::tempdir().expect("a directory"));
    let [first, tuned, small] = ["first", "tuned", "small"].map(|name| place.path().join(name));
    let options = ["td3.hidden=[4]", "offline.updates=1", "offline.batch=8"];
    run(Trainer::new("td3_bc").arrays(recorded.arrays()).options(&options), &first);
    let tune = |more: &[&str]| {
        let options = [&["online.env_steps=5", "online.batch=8", "online.eval_episodes=0"], more].concat();
        Trainer::fine_tune(&first, "plain").arrays(recorded.arrays()).env("toy").options(&options)
    };
    run(tune(&[]), &tuned);
    let config = std::fs::read_to_string(tuned.join("config.toml")).expect("a configuration");
    assert!(config.contains("\ncapacity = 2000005\n"), "{config}");
    // What was asked for is kept, or refused.
    let asked = error(tune(&["online.capacity=2000004"]).run(&small));
    assert!(asked.contains("online.capacity: expected at least 2000005"), "{asked}");
}

fn error<T>(result: Result<T, impl std::fmt::Display>) -> String {
    result.err().map(|e| e.to_string()).expect("an error")
}

fn run(trainer: Trainer<'_>, out: &Path) -> Policy {
    trainer.run(out).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_policy_is_learnt_from_arrays_and_tuned_further() {
    let (recorded, place) = (Recorded::new(), tempfile::tempdir().expect("a directory"));
    let [first, second] = ["first", "second"].map(|name| place.path().join(name));
    let options = ["td3.hidden=[32, 32]", "td3.actor=3e-3", "td3.critic=3e-3", "offline.updates=600"];
    let trainer = || Trainer::new("td3_bc").arrays(recorded.arrays()).options(&options);
    let mut policy = run(trainer(), &first);
    let [low, high] = [-0.9, 0.9].map(|x| policy.act(&[x, 1.0, -x]).expect("an action")[0]);
    println!("{low} {high}");
    assert!(low < -0.2 && high > 0.2, "{low} and {high}, where -0.45 and 0.45 are best");
    // Read back it is the same, and so is another run.
    let again = run(trainer(), &second).act(&[0.9, 1.0, -0.9]).expect("an action")[0];
    let reopened =
        Policy::open(&first).and_then(|mut p| Ok(p.act(&[0.9, 1.0, -0.9])?[0])).expect("an action");
    assert_eq!([again, reopened].map(f32::to_bits), [high.to_bits(); 2]);

    let more = ["online.env_steps=60", "online.eval_episodes=0"];
    let tune = || Trainer::fine_tune(&first, "plain").env("toy").options(&more);
    let tuned = run(tune().arrays(recorded.arrays()), &place.path().join("tuned")).evaluate(2, 0);
    assert_eq!(tuned.expect("episodes").returns.len(), 2);
    let nowhere = place.path().join("nowhere");
    let no_env = Trainer::fine_tune(&first, "plain").arrays(recorded.arrays()).options(&more).run(&nowhere);
    let no_env = error(no_env);
    assert!(no_env.starts_with("run.env: expected an environment, got none"), "{no_env}");
    assert!(!nowhere.exists());
    let gone = error(tune().run(place.path().join("gone")));
    assert!(gone.starts_with("<arrays>: expected data that can be read again"), "{gone}");
    let other = Recorded { r: vec![0.0; 1000], ..Recorded::new() };
    let other = error(tune().arrays(other.arrays()).run(place.path().join("other")));
    assert!(other.contains("sha256"), "{other}");
}

/// A run that was cut off, here by an earlier checkpoint in the place of its last, goes on to the same bytes.
#[test]
fn a_run_goes_on() {
    let place = tempfile::tempdir().expect("a directory");
    let out = place.path().join("run");
    let options = ["iql.hidden=[8]", "offline.batch=16", "offline.updates=100", "audit.keep_every=40"];
    let mut policy = run(Trainer::new("iql").data("embedded").env("none").options(&options), &out);
    let last = out.join("checkpoint.safetensors");
    let read = || std::fs::read(&last).expect("a checkpoint");
    let whole = read();
    std::fs::copy(out.join("checkpoints/update-0000000040.safetensors"), &last).expect("it was kept");
    assert!(read() != whole);
    let mut resumed = Trainer::resume(&out).unwrap_or_else(|e| panic!("{e}"));
    assert!(read() == whole);
    let state = [0.5; 11];
    assert_eq!(policy.act(&state).expect("an action"), resumed.act(&state).expect("an action"));
    assert!(error(Trainer::resume(place.path().join("none"))).contains("none"));
}

#[test]
fn a_policy_refuses_what_it_cannot_answer() {
    let (recorded, place) = (Recorded::new(), tempfile::tempdir().expect("a directory"));
    let options = ["bc.hidden=[4]", "offline.updates=1", "data.observation_scaling=standardise"];
    let trainer = Trainer::new("bc").arrays(recorded.arrays()).env("toy").options(&options);
    let mut policy = run(trainer, &place.path().join("run"));
    for (state, what) in [
        (&[0.0, 1.0][..], "expected a state of 3 numbers, got 2"),
        (&[0.0, f32::NAN, 0.0], "expected a state of finite numbers, got NaN"),
        (&[f32::NEG_INFINITY, 0.0, 0.0], "expected a state of finite numbers, got -inf"),
        (&[f32::MAX; 3], "expected a state that the policy can compute with, got an action of NaN"),
    ] {
        let error = error(policy.act(state));
        assert!(error.contains(what) && error.contains("checkpoint.safetensors"), "{error}");
    }
    assert!(error(policy.evaluate(0, 0)).contains("expected one or more, got 0"));
}

/// As `baq act` does, line by line.
#[test]
fn a_policy_that_draws_draws_anew_in_every_call() {
    let (recorded, place) = (Recorded::new(), tempfile::tempdir().expect("a directory"));
    let options = [
        "fql.policy_hidden=[4]",
        "fql.flow_hidden=[4]",
        "fql.critic_hidden=[4]",
        "offline.updates=1",
        "offline.batch=8",
    ];
    let trainer = Trainer::new("fql").arrays(recorded.arrays()).env("toy").options(&options);
    let mut policy = run(trainer, &place.path().join("run"));
    let mut answers = || policy.act(&[0.1, 0.2, 0.3]).expect("an action")[0];
    let first = [answers(), answers(), answers()];
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    let mut again = Policy::open(place.path().join("run")).expect("a policy");
    assert_eq!(first, [(); 3].map(|()| again.act(&[0.1, 0.2, 0.3]).expect("an action")[0]));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_made() {
    let (recorded, place) = (Recorded::new(), tempfile::tempdir().expect("a directory"));
    let out = place.path().join("run");
    for (trainer, what) in [
        (Trainer::new("iqll").arrays(recorded.arrays()), "unknown algorithm `iqll`; did you mean `iql`?"),
        (Trainer::new("iql"), "no dataset: iql learns from recorded transitions"),
        (Trainer::new("iql").arrays(recorded.arrays()).options(&["iql.temprature=3"]), "iql.temperature"),
        (Trainer::new("iql").arrays(Arrays { ends: &[], ..recorded.arrays() }), "<arrays>: key `ends`"),
        (Trainer::new("iql").arrays(recorded.arrays()).env("hopper"), "hopper-v4"),
        (
            Trainer::new("rlpd").data("embedded").env("none"),
            "run.env: expected an environment, got none; name one with --env",
        ),
    ] {
        let error = error(trainer.run(&out));
        assert!(error.contains(what) && !error.contains('\n'), "{error}");
        assert!(!out.exists(), "{error}");
    }
}

#[test]
fn names_are_registered_once() {
    static TAKEN: [Spec; 3] =
        [Spec::new("Hopper", 1, 1, 1), Spec::new("gym:Mine-v0", 1, 1, 1), Spec::new("mine", 0, 1, 1)];
    for (spec, what) in TAKEN.iter().zip(["that of \"hopper-v4\"", "`gym:` or `process:`", "from 1 up"]) {
        let error = error(env::register(spec, || env::make("toy")));
        assert!(error.contains(what), "{error}");
    }
    let modifiers = ADAPTATIONS.iter().map(|e| e.name).chain(GENERATORS.iter().map(|e| e.name));
    for name in modifiers.chain(["iql", "offline", "iql_corl"]) {
        let entry = Entry::new(name, "", None, algo::find("bc").expect("there").build);
        let error = error(algo::register(entry));
        assert!(error.contains("expected a name that is not taken"), "{name}: {error}");
    }
    for name in ["", "my.own", "my+own", "Mine"] {
        let entry = Entry::new(name, "", None, algo::find("bc").expect("there").build);
        let error = error(algo::register(entry));
        assert!(error.contains("expected a name of a to z"), "{name}: {error}");
    }
    let section = algo::find("bc").expect("there").section;
    let error =
        error(algo::register(Entry::new("mine", "", section, algo::find("bc").expect("there").build)));
    assert!(error.contains("section `mine`, got `bc`"), "{error}");
    let entry = || Entry::new("mine", "", None, algo::find("bc").expect("there").build);
    for (entry, what) in [
        (Entry { extends: Some("nope"), ..entry() }, "in `extends` an algorithm with options, got `nope`"),
        (
            Entry { extends: Some("offline"), ..entry() },
            "in `extends` an algorithm with options, got `offline`",
        ),
        (Entry { variants: &[("hidden", "[4]", "small")], ..entry() }, "expected no `variants`"),
    ] {
        let error = self::error(algo::register(entry));
        assert!(error.contains(what), "{error}");
    }
}

/// Clones, and logs nothing.
#[derive(Debug)]
struct Silent(nn::Policy);

impl Learner for Silent {
    fn trace<'t>(&self, b: &Round<'t>) {
        let loss = (self.0.mode(b.s) - b.a).square().mean();
        let optimiser = AdamConfig::new(Schedule::Constant(1e-3));
        b.train("policy", ACTOR, self.0.group(), &optimiser, loss);
    }
    fn policy(&self) -> &nn::Policy {
        &self.0
    }
}

#[test]
fn a_method_may_log_nothing() {
    let (recorded, place) = (Recorded::new(), tempfile::tempdir().expect("a directory"));
    let build: Build = |_, dims, params| {
        let hidden: NetSpec = vec![4].into();
        Ok(Box::new(Silent(nn::Policy::declare(params, "pi", dims.sa(), Head::Deterministic, &hidden))))
    };
    algo::register(Entry::new("silent", "", None, build)).expect("a free name");
    let options = ["offline.updates=3", "offline.log_every=1", "offline.batch=8"];
    let trainer = Trainer::new("silent").arrays(recorded.arrays()).options(&options);
    run(trainer, &place.path().join("run"));
}
