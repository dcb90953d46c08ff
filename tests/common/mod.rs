//! What the suites of the engine share: numbers, agents on synthetic transitions, rounds.
#![allow(dead_code, reason = "every suite uses a part")]

pub mod place;
pub mod program;
pub mod python;

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use baq::adapt::ADAPTATIONS;
use baq::algo::{ALGORITHMS, Dims, Phase};
use baq::autodiff::{Clock, Flow, NoProbe, Noise, Pass, Probe, Program, Select, Store, Trace, Workspace};
use baq::cli::setup::known_sections;
use baq::config::{Config, OnlineActorLr, OnlineConfig, RunConfig, resolve};
use baq::replay::pools::{OFFLINE, ONLINE};
use baq::replay::{self, Layout, Pools};
use baq::train::agent::Agent;
use baq::train::annotation;
use baq::train::batches::Batches;
use baq::train::data::Recorded;
use baq::train::reprioritiser::Reprioritiser;
use baq::train::training::recipe;

/// Reproducible numbers (SplitMix64).
#[derive(Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 33) as usize % n
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() * 0.5 + 0.5 < p
    }
    /// Uniform on [-1, 1), representable in f32.
    pub fn unit(&mut self) -> f64 {
        f64::from((self.bits() >> 40) as f32 / 8_388_608.0 - 1.0)
    }
    pub fn units(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// A configuration of these methods; `sets` are `section.key=value`.
pub fn config(algo: &str, adapt: &str, seed: u64, sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_string()).collect();
    let mut config = resolve(known_sections(), None, None, &sets).unwrap_or_else(|e| panic!("{e}"));
    config.put(RunConfig { algo: algo.into(), adapt: adapt.into(), seed, ..config.section() });
    config
}

pub fn agent(algo: &str, adapt: &str, dims: Dims, sets: &[&str]) -> Agent {
    Agent::new(&config(algo, adapt, 7, sets), dims).unwrap_or_else(|e| panic!("{e}"))
}

/// The same with small networks.
pub fn small(algo: &str, adapt: &str, dims: Dims, sets: &[&str]) -> Agent {
    agent(algo, adapt, dims, &[&SMALL[..], sets].concat())
}

pub fn online(rounds: u64) -> Phase {
    Phase { online: true, actor_lr: OnlineActorLr::Constant(1.0), ..Phase::offline(rounds) }
}

/// Every base algorithm with every adaptation that is not refused over it.
pub fn methods() -> impl Iterator<Item = (&'static str, &'static str)> {
    let dims = Dims { s: 1, a: 1, batch: 1 };
    ALGORITHMS
        .iter()
        .flat_map(|base| ADAPTATIONS.iter().map(|modifier| (base.name, modifier.name)))
        .filter(move |(base, modifier)| Agent::new(&config(base, modifier, 0, &SMALL), dims).is_ok())
}

/// Settings that make the networks of every algorithm and adaptation small, whichever there are.
pub static SMALL: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut sets = vec!["cql.samples=2", "pbrl.samples=2", "rorl.samples=2", "opt.updates=3"];
    for section in known_sections() {
        for field in section.fields().iter().filter(|f| f.key.ends_with("hidden")) {
            // Models beside the networks of the base are smaller still.
            let widths = if field.key.contains("model_") { "[4]" } else { "[9, 8]" };
            sets.push(format!("{}.{}={widths}", section.name(), field.key).leak());
        }
    }
    sets
});

/// The same networks of SimBa's blocks, one and several; denoisers have layers of their own.
pub static SIMBA: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let own = ["cfdg.hidden", "edis.hidden"];
    let of = |set: &&'static str| match set.split_once('=') {
        Some((place, "[4]")) => format!("{place}=4 simba").leak(),
        Some((place, "[9, 8]")) if !own.contains(&place) => format!("{place}=8x8 simba").leak(),
        _ => *set,
    };
    SMALL.iter().map(of).collect()
});

/// Transitions of arithmetic noise: `offline` rows, then `online` ones; annotated columns are 0.
pub fn pools(dims: Dims, annotated: &[&str], offline: usize, online: usize) -> Pools {
    let extra: Vec<(&str, usize)> = annotated.iter().map(|n| (*n, 1)).collect();
    wide_pools(dims, &extra, offline, online)
}

/// The same with columns of so many numbers.
pub fn wide_pools(dims: Dims, extra: &[(&str, usize)], offline: usize, online: usize) -> Pools {
    let mut x = Numbers(11);
    let more: usize = extra.iter().map(|(_, n)| n).sum();
    let layout = Layout::transitions(dims.s, dims.a, extra);
    let mut pools = Pools::new(layout, &[(OFFLINE, offline), (ONLINE, online)]);
    let mut column = |n: usize| -> Vec<f32> { (0..n).map(|_| x.unit() as f32 * 0.9).collect() };
    let (s, a, r, s2) =
        (column(offline * dims.s), column(offline * dims.a), column(offline), column(offline * dims.s));
    let m: Vec<f32> = (0..offline).map(|i| if i % 9 == 0 { 0.0 } else { 1.0 }).collect();
    let columns: [(&str, &[f32]); 5] =
        [(replay::S, &s), (replay::A, &a), (replay::R, &r), (replay::M, &m), (replay::S2, &s2)];
    pools.load(OFFLINE, offline, &columns).expect("the rows fit");
    let width = pools.layout().width();
    for _ in 0..online {
        // The same numbers whatever is annotated.
        let mut record = column(width - more);
        record.resize(width, 0.5);
        record[pools.column(replay::M).offset] = 1.0;
        pools.push(ONLINE, &record);
    }
    pools
}

/// An agent that learns from such transitions, as the training loop drives it.
pub struct Learning {
    pub agent: Agent,
    pub batches: Batches,
    pub reprioritiser: Option<Reprioritiser>,
    pub trace: Arc<Trace>,
    pub program: Program,
    pub workspace: Workspace,
    pub round: u64,
}

impl Learning {
    /// Annotates the rows, computes priorities, compiles.
    pub fn new(mut agent: Agent, phase: &Phase, select: Select) -> Learning {
        let annotated = annotation::columns(&agent).into_iter().map(|name| (name, 1));
        let recorded = Recorded::offline(agent.learner.as_ref()).columns(agent.dims.a);
        let extra: Vec<(&str, usize)> = annotated.chain(recorded).collect();
        let pools = wide_pools(agent.dims, &extra, 3000, 500);
        let options = OnlineConfig { batch: agent.dims.batch, ..OnlineConfig::default() };
        let recipe = recipe(&options, &agent).unwrap_or_else(|e| panic!("{e}"));
        let batches = Batches::adapted(&mut agent, pools, recipe, (7, phase.rounds), None)
            .unwrap_or_else(|e| panic!("{e}"))
            .with_neighbours(&agent);
        let reprioritiser = Reprioritiser::new(&agent, 7, 3000, None).expect("there are offline rows");
        let trace = Arc::new(agent.trace(phase));
        let program = Program::compile(&trace, select);
        let workspace = Workspace::new(&program);
        Learning { agent, batches, reprioritiser, trace, program, workspace, round: 0 }
    }

    /// One round: draw, gather, execute.
    pub fn round(&mut self) {
        let _ = self.round_with(&mut NoProbe);
    }

    /// The same while a probe looks on.
    pub fn round_with(&mut self, probe: &mut impl Probe) -> Flow {
        self.batches.draw(&mut self.agent, self.round, self.round).expect("priorities are numbers");
        self.batches.seek(&mut self.agent);
        self.batches.fill(&mut self.workspace, &self.program);
        let clock = Clock { round: self.round, phase_round: self.round };
        let pass = Pass { clock, noise: Noise::Seed(7), rows: self.batches.rows() };
        let flow = self.program.run_with(&mut self.workspace, &mut self.agent.store, pass, probe);
        let beside = match &mut self.reprioritiser {
            Some(beside) => beside
                .round(&mut self.agent.store, &mut self.batches, clock, false, probe)
                .expect("priorities are numbers"),
            None => Flow::Continue,
        };
        self.round += 1;
        if flow == Flow::Stop { flow } else { beside }
    }
}

/// Every parameter and moment as bits, with its path.
pub fn bits(store: &Store) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    for id in store.table().ids() {
        for (path, range) in store.table().paths(id) {
            for (kind, tensors) in
                [("", &store.values), ("adam.first.", &store.first), ("adam.second.", &store.second)]
            {
                let tensor = &tensors[id.index()][range.clone()];
                all.push((format!("{kind}{path}"), tensor.iter().map(|x| x.to_bits()).collect()));
            }
        }
    }
    all
}

/// Those of these groups.
pub fn of_groups(all: Vec<(String, Vec<u32>)>, names: &[&str]) -> Vec<(String, Vec<u32>)> {
    let of = |path: &str| {
        let path = path.trim_start_matches("adam.first.").trim_start_matches("adam.second.");
        names.iter().any(|name| path.starts_with(&format!("{name}.")))
    };
    all.into_iter().filter(|(path, _)| of(path)).collect()
}

/// Asserts equal bits, naming the first tensor that differs.
#[track_caller]
pub fn assert_same(what: &str, a: &[(String, Vec<u32>)], b: &[(String, Vec<u32>)]) {
    assert_eq!(a.len(), b.len(), "{what}: number of tensors");
    for ((path, x), (other, y)) in a.iter().zip(b) {
        assert_eq!((path, x.len()), (other, y.len()), "{what}");
        let differing = x.iter().zip(y).filter(|(x, y)| x != y).count();
        assert_eq!(differing, 0, "{what}: {path} differs in {differing} of {} elements", x.len());
    }
}

/// Asserts that a text is the one in `tests/golden`; `BAQ_BLESS=1` writes it anew.
#[track_caller]
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BAQ_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; BAQ_BLESS=1 writes it", path.display()));
    for (i, (got, want)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, want, "{name}, line {}; if intended, bless with BAQ_BLESS=1", i + 1);
    }
    assert_eq!(text, expected, "{name}; if intended, bless with BAQ_BLESS=1");
}

/// Says a line past the test harness, which would swallow what a passing test prints.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether a test that needs MuJoCo is to be left out, which is said.
pub fn without_mujoco(test: &str) -> bool {
    let without = baq::env::mujoco::flag("BAQ_NO_MUJOCO");
    if without {
        say(&format!("SKIPPED {test}: BAQ_NO_MUJOCO is set"));
    }
    without
}

/// Runs inside a pool of so many threads.
pub fn with_threads<T: Send>(n: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads").install(f)
}
