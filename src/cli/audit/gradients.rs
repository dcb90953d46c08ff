//! `baq audit gradients`: every loss of a method against central differences.
//!
//! In f64, twice: with the configured networks, one random direction per tensor; with small networks,
//! every single parameter, and every kind of operation by itself. Beside it the same gradients by the kernels in f32.
//! `--all` does it for every base with every adaptation, one line each.

use baq_kernels::Numerics;
use clap::Args;
use serde_json::json;

use crate::adapt::{ADAPTATIONS, GENERATORS, Method, NONE};
use crate::algo::{ALGORITHMS, Dims, Phase};
use crate::audit::f32_check::{F32Check, TOLERANCE_F32, check_f32};
use crate::audit::gradcheck::{self, TOLERANCE, TensorCheck};
use crate::audit::operations::{OperationCheck, operations};
use crate::autodiff::reference::{ReferenceInputs, ReferenceStore};
use crate::autodiff::{Clock, Program, Select, Trace, Workspace};
use crate::cli::setup::{self, RunArgs};
use crate::cli::{Common, Outcome, Verdict};
use crate::config::toml::Value;
use crate::config::{Config, OnlineActorLr};
use crate::env;
use crate::replay::Pools;
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::data::Recorded;
use crate::train::effects::{self, Stage};
use crate::train::memory;

/// Compare gradients with central differences.
#[derive(Debug, Args)]
pub struct Gradients {
    /// base algorithm: see `baq options` (default: that of the preset, else iql)
    #[arg(long)]
    algo: Option<String>,
    /// adaptation: see `baq options` (default: plain)
    #[arg(long)]
    adapt: Option<String>,
    /// what makes up further transitions: none, cfdg or edis (default: none)
    #[arg(long)]
    generator: Option<String>,
    /// every base algorithm with every adaptation, and every generator over the first of them, one line each
    #[arg(long, conflicts_with_all = ["algo", "adapt", "generator", "preset"])]
    pub(super) all: bool,
    /// preset to start from (default: the one named like the algorithm)
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// set one option; may be repeated; with --all it is for the methods that have it
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// file to take the batch of the configured networks from (default: random numbers)
    #[arg(long, value_name = "FILE")]
    data: Option<String>,
}

/// Those of an algorithm, an adaptation and a generator, where they are given.
pub(super) type Names<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// The checks of one program.
struct Part {
    /// what the program does
    program: &'static str,
    /// which networks it was checked with
    networks: &'static str,
    tensors: Vec<TensorCheck>,
    /// the same gradients by the kernels in f32
    in_f32: Vec<F32Check>,
    /// every kind of operation by itself; only for small networks
    operations: Vec<OperationCheck>,
}

impl Part {
    fn failed(&self) -> usize {
        self.tensors.iter().filter(|t| !t.passed()).count()
            + self.in_f32.iter().filter(|t| !t.passed()).count()
            + self.operations.iter().filter(|o| !o.passed()).count()
    }
}

/// Sizes of the check with the configured networks: rows enough for every kind of row, no more, since the
/// f64 executor is slow.
const WIDE: Dims = Dims { s: 11, a: 3, batch: 32 };
/// Sizes of the check that perturbs every parameter.
pub(super) const SMALL: Dims = Dims { s: 4, a: 2, batch: 8 };
/// Hidden layers of the latter, normalised and active as they are configured.
const SMALL_HIDDEN: &str = "7x5";
/// The same where they are of equal widths, the blocks of SimBa.
const SMALL_BLOCKS: &str = "6x6";

/// Everything that was checked of one method.
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) dims: Dims,
    parts: Vec<Part>,
}

/// The largest error of some kind, and where.
pub(super) struct Worst {
    pub(super) error: f64,
    pub(super) at: String,
}

impl Worst {
    fn of(all: impl Iterator<Item = (f64, String)>) -> Worst {
        let start = Worst { error: 0.0, at: String::new() };
        // NaN is the worst of all.
        all.fold(start, |w, (error, at)| match w.error.is_nan() || error <= w.error {
            true => w,
            false => Worst { error, at },
        })
    }
}

impl Checked {
    pub(super) fn checks(&self) -> usize {
        self.parts.iter().map(|p| p.tensors.len() + p.in_f32.len() + p.operations.len()).sum()
    }

    pub(super) fn failed(&self) -> usize {
        self.parts.iter().map(Part::failed).sum()
    }

    /// Central differences against f64.
    pub(super) fn worst(&self) -> Worst {
        let all = self.parts.iter().flat_map(|p| &p.tensors);
        Worst::of(all.map(|t| (t.worst(), format!("{}: {}", t.update, t.path))))
    }

    /// f32 against f64.
    pub(super) fn worst_f32(&self) -> Worst {
        let all = self.parts.iter().flat_map(|p| &p.in_f32);
        Worst::of(all.map(|n| (n.relative, format!("{}: {}", n.update, n.path))))
    }

    /// Gradients that agree only at parameters moved by rounding.
    pub(super) fn moved(&self) -> usize {
        self.parts.iter().flat_map(|p| &p.in_f32).filter(|n| n.moved).count()
    }

    fn wrong_operations(&self) -> Vec<&str> {
        let all = self.parts.iter().flat_map(|p| &p.operations);
        all.filter(|o| !o.passed()).map(|o| o.name.as_str()).collect()
    }

    pub(super) fn verdict(&self) -> String {
        let (Checked { name, .. }, checks) = (self, self.checks());
        let figures = format!(
            "worst relative error {:.1e} (tolerance {TOLERANCE:.0e}), f32 against f64 {:.1e} ({TOLERANCE_F32:.0e})",
            self.worst().error,
            self.worst_f32().error
        );
        let named = match self.wrong_operations()[..] {
            [] => String::new(),
            ref wrong => format!("; wrong derivative: {}", wrong.join(", ")),
        };
        match self.failed() {
            0 => format!("{name}: gradients agree: {checks} checks, {figures}"),
            n => format!("{name}: gradients DIFFER: {n} of {checks} checks, {figures}{named}"),
        }
    }
}

/// What an asterisk means.
pub(super) const MOVED: &str = "f32 takes a branch (a ReLU at 0) differently from f64; it agrees with f64 at parameters moved by one rounding of f32";

/// What is compared with what.
pub(super) fn about(dims: Dims) -> String {
    let Dims { s, a, batch } = dims;
    let small = SMALL;
    format!(
        "f64 against central differences: networks as configured (S {s}, A {a}, batch {batch}), every tensor along one \
         random direction; small networks ({SMALL_HIDDEN}, in blocks {SMALL_BLOCKS}, S {}, A {}, batch {}), every element, every operation; then \
         f32 ({}) against f64, every tensor in norm",
        small.s,
        small.a,
        small.batch,
        baq_kernels::active().isa
    )
}

/// An error for numerics that tolerances of f32 are not made for.
pub(super) fn check_numerics() -> Result<(), TrainError> {
    match baq_kernels::active().numerics {
        Numerics::F32 => Ok(()),
        other => {
            Err(TrainError::Input(format!("--numerics {other}: gradients are compared in f32; leave it out")))
        }
    }
}

impl Gradients {
    pub(super) fn run(self, common: Common) -> Outcome {
        check_numerics()?;
        let names = (self.algo.as_deref(), self.adapt.as_deref(), self.generator.as_deref());
        let method = self.method(common, names)?;
        let passed = method.failed() == 0;
        if common.json {
            let checks: Vec<serde_json::Value> = method.parts.iter().map(to_json).collect();
            println!(
                "{}",
                json!({
                    "method": method.name, "seed": common.seed.unwrap_or(0), "about": about(method.dims),
                    "tolerance": TOLERANCE, "tolerance_f32": TOLERANCE_F32, "checks": checks,
                    "worst": method.worst().error, "passed": passed, "verdict": method.verdict(),
                })
            );
        } else {
            println!("{}", about(method.dims));
            method.parts.iter().for_each(print);
            if method.moved() > 0 {
                println!("* {MOVED}");
            }
            println!("{}", method.verdict());
        }
        Ok(if passed { Verdict::Done } else { Verdict::CheckFailed })
    }

    /// The configuration of the method that these arguments name; with --all they always do.
    pub(super) fn config(
        &self,
        common: Common,
        (algo, adapt, generator): Names<'_>,
    ) -> Result<Config, TrainError> {
        // One set of options serves all methods: what belongs to another one is left out.
        let modifiers = || ADAPTATIONS.iter().map(|e| e.name).chain(GENERATORS.iter().map(|e| e.name));
        let methods = || ALGORITHMS.iter().map(|e| e.name).chain(modifiers());
        let others: Vec<&str> = match (self.all, algo) {
            (true, Some(name)) => {
                let method = Method::new(name, adapt.unwrap_or_default());
                let mine = method.with(generator.unwrap_or(NONE)).sections()?;
                methods().filter(|n| !mine.contains(n)).collect()
            }
            _ => Vec::new(),
        };
        let mine = |set: &&String| !others.contains(&set.split('.').next().unwrap_or_default());
        let args = RunArgs {
            preset: self.preset.clone(),
            sets: self.sets.iter().filter(mine).cloned().collect(),
            env: Some(env::NONE.into()),
            generator: generator.map(str::to_string),
            data: self.data.clone(),
            ..RunArgs::default()
        };
        let config = args.resolve(common, algo, adapt)?;
        if !self.all {
            effects::check_method(&config, SMALL, Stage::Offline)?;
        }
        Ok(config)
    }

    pub(super) fn method(&self, common: Common, names: Names<'_>) -> Result<Checked, TrainError> {
        let config = self.config(common, names)?;
        let seed = common.seed.unwrap_or(0);
        let mut dims = WIDE;
        let mut pools = None;
        if self.data.is_some() {
            let dataset = setup::load(&config, None)?;
            (dims.s, dims.a) = (dataset.columns.obs_dim(), dataset.columns.act_dim());
            let every: Vec<usize> = (0..dataset.columns.len()).collect();
            pools = Some(dataset.pools(&every, 0, &[], Recorded::default())?);
        }
        let mut parts = check(&config, dims, "as configured", false, seed, pools.as_ref())?;
        parts.extend(check(&small(&config)?, SMALL, "small", true, seed, None)?);
        let name = Method::of(&config).to_string();
        Ok(Checked { name, dims, parts })
    }
}

/// The same method with all networks small.
pub(super) fn small(config: &Config) -> Result<Config, TrainError> {
    let small = |value: Option<Value>| match value.as_ref().and_then(Value::as_str) {
        Some(text) => {
            let words = text.split_once(' ').map_or("", |(_, words)| words);
            let widths = if words == "simba" { SMALL_BLOCKS } else { SMALL_HIDDEN };
            format!("{widths} {words}")
        }
        None => SMALL_HIDDEN.into(),
    };
    let places: Vec<String> = config
        .sections()
        .flat_map(|s| s.fields().iter().map(move |f| (s, f.key)))
        .filter(|(_, key)| key.ends_with("hidden"))
        .map(|(s, key)| format!("{}.{key}={}", s.name(), small(s.get(key))))
        .collect();
    let mut config = config.clone();
    for place in places {
        config.apply_set(&place)?;
    }
    Ok(config)
}

fn check(
    config: &Config,
    dims: Dims,
    networks: &'static str,
    elements: bool,
    seed: u64,
    pools: Option<&Pools>,
) -> Result<Vec<Part>, TrainError> {
    // Online, since offline an adaptation does nothing; the losses of the base are the same in both.
    let actor_lr = OnlineActorLr::Constant(0.1);
    let phase = Phase { online: true, before: 1000, actor_lr, ..Phase::offline(1000) };
    let outline = Agent::outline(config, dims)?;
    memory::check_reference(config, &outline, &outline.trace(&phase))?;
    let agent = Agent::new(config, dims)?;
    let mut store = ReferenceStore::from(&agent.store);
    gradcheck::shake(&mut store, seed);
    let part = |program, trace: &Trace| {
        let mut inputs = gradcheck::synthetic(trace, seed);
        if let Some(pools) = pools {
            real(trace, pools, seed, &mut inputs);
        }
        let clock = Clock::default();
        let tensors = gradcheck::check(trace, &store, &inputs, clock, seed, elements);
        let compiled = Program::compile(trace, Select::WITHOUT_METRICS);
        let workspace = Workspace::new(&compiled);
        let in_f32 = check_f32(trace, &compiled, workspace, &store, &inputs, clock);
        let operations = match elements {
            true => operations(trace, &store, &inputs, clock, seed),
            false => Vec::new(),
        };
        Part { program, networks, tensors, in_f32, operations }
    };
    let mut parts = vec![part("round", &agent.trace(&phase))];
    parts.extend(agent.pretraining().iter().map(|(fit, trace)| part(fit.name, trace)));
    if let Some(model) = agent.reprioritisation_trace() {
        parts.push(part("priorities", &model));
    }
    let refresh = agent.refresh();
    parts.extend(refresh.iter().filter_map(|stage| Some(part(stage.name, stage.learns()?))));
    Ok(parts)
}

/// Replaces random columns by those of transitions of a file, where it has them.
fn real(trace: &Trace, pools: &Pools, seed: u64, inputs: &mut ReferenceInputs) {
    for (spec, column) in trace.inputs.iter().zip(&mut inputs.columns) {
        let Some(found) = pools.layout().find(spec.name) else { continue };
        for (i, values) in column.chunks_exact_mut(spec.shape.cols).enumerate() {
            // Rows far apart; which ones does not matter.
            let row = (seed as usize + i * (pools.len() / spec.shape.rows).max(1)) % pools.len();
            let row = pools.get(pools.nth(row), found);
            values.iter_mut().zip(row).for_each(|(to, from)| *to = f64::from(*from));
        }
    }
}

fn print(p: &Part) {
    let width = p.tensors.iter().map(|t| t.path.len()).max().unwrap_or(0);
    println!("{}, networks {}", p.program, p.networks);
    let every = if p.tensors.iter().any(|t| t.elementwise.is_some()) { "  every element" } else { "" };
    println!(
        "  {:<11} {:width$}  {:>12}  {:>12}  {:>8}  {:>11}  {:>11}  {:>8}{every}",
        "update", "tensor", "f64 slope", "central", "relative", "f64 norm", "f32 norm", "f32-f64"
    );
    for (t, n) in p.tensors.iter().zip(&p.in_f32) {
        let element = t.elementwise.map(|e| format!("  {e:>13.1e}")).unwrap_or_default();
        let flag = match (t.passed() && n.passed(), t.analytic == 0.0) {
            (true, _) if n.moved => "  *",
            (true, _) => "",
            (false, true) => "  ZERO",
            (false, false) => "  DIFFERS",
        };
        println!(
            "  {:<11} {:width$}  {:>12.5e}  {:>12.5e}  {:>8.1e}  {:>11.4e}  {:>11.4e}  {:>8.1e}{element}{flag}",
            t.update, t.path, t.analytic, t.numeric, t.relative, n.f64, n.f32, n.relative
        );
    }
    for o in &p.operations {
        let flag = if o.passed() { "" } else { "  WRONG" };
        println!("  derivative of {:<16} {:>4} uses  {:>8.1e}{flag}", o.name, o.uses, o.relative);
    }
}

/// JSON has no word for NaN; it becomes null.
fn to_json(p: &Part) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = p
        .tensors
        .iter()
        .zip(&p.in_f32)
        .map(|(t, n)| {
            json!({
                "update": t.update, "tensor": t.path, "analytic": t.analytic, "central": t.numeric,
                "relative": t.relative, "elementwise": t.elementwise, "norm_f64": n.f64, "norm_f32": n.f32,
                "f32": n.relative, "moved": n.moved, "passed": t.passed() && n.passed(),
            })
        })
        .collect();
    let operations: Vec<serde_json::Value> = p
        .operations
        .iter()
        .map(|o| json!({ "operation": o.name, "uses": o.uses, "relative": o.relative, "passed": o.passed() }))
        .collect();
    json!({ "program": p.program, "networks": p.networks, "tensors": rows, "operations": operations })
}
