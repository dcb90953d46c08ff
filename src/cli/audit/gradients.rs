//! `baq audit gradients`: every loss of a method against central differences.
//!
//! In f64, twice: with the configured networks, one random direction per tensor; with small networks,
//! every single parameter too.

use clap::Args;
use serde_json::{Value, json};

use crate::algo::{Dims, Phase};
use crate::audit::gradcheck::{self, TOLERANCE, TensorCheck};
use crate::autodiff::reference::ReferenceStore;
use crate::autodiff::{Clock, Trace};
use crate::cli::setup::RunArgs;
use crate::cli::{Common, Outcome, Verdict};
use crate::config::{Config, OnlineActorLr};
use crate::train::TrainError;
use crate::train::agent::Agent;

/// Compare gradients with central differences.
#[derive(Debug, Args)]
pub struct Gradients {
    /// base algorithm: iql or bc
    #[arg(long, default_value = "iql")]
    algo: String,
    /// adaptation: plain, baq, suf, so2 or off2on
    #[arg(long, default_value = "plain")]
    adapt: String,
    /// preset to start from (default: the one named like the algorithm)
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// set one option; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
}

/// The checks of one program.
struct Part {
    /// what the program does
    program: &'static str,
    /// which networks it was checked with
    networks: &'static str,
    tensors: Vec<TensorCheck>,
}

/// Sizes of the check with the configured networks: rows enough for every kind of row, no more, since the
/// f64 executor is slow.
const WIDE: Dims = Dims { s: 11, a: 3, batch: 32 };
/// Sizes of the check that perturbs every parameter.
const SMALL: Dims = Dims { s: 4, a: 2, batch: 8 };
/// Hidden layers of the latter.
const SMALL_HIDDEN: &str = "[7, 5]";

impl Gradients {
    pub(super) fn run(self, common: Common) -> Outcome {
        let args =
            RunArgs { preset: self.preset, sets: self.sets, env: Some("none".into()), ..RunArgs::default() };
        let config = args.resolve(common, Some(&self.algo), Some(&self.adapt))?;
        let seed = common.seed.unwrap_or(0);
        let mut parts = check(&config, WIDE, "as configured", false, seed)?;
        parts.extend(check(&small(&config)?, SMALL, "small", true, seed)?);

        let all = || parts.iter().flat_map(|p| &p.tensors);
        let failed = all().filter(|t| !t.passed()).count();
        let worst =
            all().map(TensorCheck::worst).fold(0.0, |a: f64, b| if a.is_nan() || b <= a { a } else { b });
        let method =
            if self.adapt == "plain" { self.algo } else { format!("{} + {}", self.algo, self.adapt) };
        let verdict = match failed {
            0 => format!(
                "{method}: gradients agree: {} checks, worst relative error {worst:.1e} (tolerance {TOLERANCE:.0e})",
                all().count()
            ),
            n => format!(
                "{method}: gradients DIFFER: {n} of {} checks, worst relative error {worst:.1e} (tolerance {TOLERANCE:.0e})",
                all().count()
            ),
        };
        if common.json {
            let checks: Vec<Value> = parts.iter().map(to_json).collect();
            println!(
                "{}",
                json!({
                    "method": method, "seed": seed, "tolerance": TOLERANCE, "checks": checks,
                    "worst": worst, "passed": failed == 0, "verdict": verdict,
                })
            );
        } else {
            parts.iter().for_each(print);
            println!("{verdict}");
        }
        Ok(if failed == 0 { Verdict::Done } else { Verdict::CheckFailed })
    }
}

/// The same method with all networks small.
fn small(config: &Config) -> Result<Config, TrainError> {
    let places: Vec<String> = config
        .sections()
        .flat_map(|s| s.fields().iter().map(move |f| (s.name(), f.key)))
        .filter(|(_, key)| key.ends_with("hidden"))
        .map(|(section, key)| format!("{section}.{key}={SMALL_HIDDEN}"))
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
) -> Result<Vec<Part>, TrainError> {
    let agent = Agent::new(config, dims)?;
    // Online, since offline an adaptation does nothing; the losses of the base are the same in both.
    let phase = Phase { online: true, rounds: 1000, before: 1000, actor_lr: OnlineActorLr::Constant(0.1) };
    let mut store = ReferenceStore::from(&agent.store);
    gradcheck::shake(&mut store, seed);
    let part = |program, trace: &Trace| {
        let inputs = gradcheck::synthetic(trace, seed);
        let tensors = gradcheck::check(trace, &store, &inputs, Clock::default(), seed, elements);
        Part { program, networks, tensors }
    };
    let mut parts = vec![part("round", &agent.trace(&phase))];
    if let Some(model) = agent.model_trace(&Phase::offline(1000)) {
        parts.push(part("behaviour model", &model));
    }
    if let Some(model) = agent.reprioritisation_trace() {
        parts.push(part("priorities", &model));
    }
    Ok(parts)
}

fn print(p: &Part) {
    let width = p.tensors.iter().map(|t| t.path.len()).max().unwrap_or(0);
    println!("{}, networks {}", p.program, p.networks);
    let every = if p.tensors.iter().any(|t| t.elementwise.is_some()) { "  every element" } else { "" };
    println!(
        "  {:<8} {:width$}  {:>12}  {:>12}  {:>8}{every}",
        "update", "tensor", "analytic", "central", "relative"
    );
    for t in &p.tensors {
        let element = t.elementwise.map(|e| format!("  {e:>13.1e}")).unwrap_or_default();
        let flag = match (t.passed(), t.analytic == 0.0) {
            (true, _) => "",
            (false, true) => "  ZERO",
            (false, false) => "  DIFFERS",
        };
        println!(
            "  {:<8} {:width$}  {:>12.5e}  {:>12.5e}  {:>8.1e}{element}{flag}",
            t.update, t.path, t.analytic, t.numeric, t.relative
        );
    }
}

/// JSON has no word for NaN; it becomes null.
fn to_json(p: &Part) -> Value {
    let rows: Vec<Value> = p
        .tensors
        .iter()
        .map(|t| {
            json!({
                "update": t.update, "tensor": t.path, "analytic": t.analytic, "central": t.numeric,
                "relative": t.relative, "elementwise": t.elementwise, "passed": t.passed(),
            })
        })
        .collect();
    json!({ "program": p.program, "networks": p.networks, "tensors": rows })
}
