//! `baq audit gradients --all`: one line per method.

use serde_json::json;

use super::gradients::{Gradients, MOVED, SMALL, about, check_numerics, small};
use crate::adapt::{ADAPTATIONS, GENERATORS, PLAIN};
use crate::algo::ALGORITHMS;
use crate::audit::f32_check::TOLERANCE_F32;
use crate::audit::gradcheck::TOLERANCE;
use crate::cli::{Common, Outcome, Verdict};
use crate::config::RunConfig;
use crate::train::agent::Agent;

/// One line per method that the registries allow.
pub(super) fn run(args: &Gradients, common: Common) -> Outcome {
    check_numerics()?;
    let (mut methods, mut refused, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut moved = false;
    let pairs = ALGORITHMS.iter().flat_map(|base| ADAPTATIONS.iter().map(move |m| (base.name, m.name, None)));
    // A generator reads nothing of the method under it but its policy.
    let usual = RunConfig::default().algo;
    let generators = GENERATORS.iter().map(|g| (usual.as_str(), PLAIN, Some(g.name)));
    for (algo, adapt, generator) in pairs.chain(generators) {
        let names = (Some(algo), Some(adapt), generator);
        let small = small(&args.config(common, names)?)?;
        if let Err(e) = Agent::new(&small, SMALL) {
            refused.push(e.to_string());
            continue;
        }
        let method = args.method(common, names)?;
        let (f64, f32) = (method.worst(), method.worst_f32());
        let passed = method.failed() == 0;
        if !common.json {
            if methods.is_empty() {
                println!("{}", about(method.dims));
                println!(
                    "{:<16} {:>6}  {:>8}  {:<28} {:>8}  {:<28}",
                    "method", "checks", "f64", "worst tensor", "f32-f64", "worst tensor"
                );
            }
            let flag = match (passed, method.moved() > 0) {
                (false, _) => "  DIFFERS",
                (true, true) => "  agree *",
                (true, false) => "  agree",
            };
            println!(
                "{:<16} {:>6}  {:>8.1e}  {:<28} {:>8.1e}  {:<28}{flag}",
                method.name,
                method.checks(),
                f64.error,
                f64.at,
                f32.error,
                f32.at
            );
        }
        moved |= method.moved() > 0;
        methods.push(json!({
            "method": method.name, "checks": method.checks(), "worst": f64.error, "at": f64.at,
            "worst_f32": f32.error, "at_f32": f32.at, "moved": method.moved(), "passed": passed,
            "verdict": method.verdict(),
        }));
        if !passed {
            failed.push(method.verdict());
        }
    }
    let figures = format!("tolerance {TOLERANCE:.0e}, f32 against f64 {TOLERANCE_F32:.0e}");
    let verdict = match failed.len() {
        0 => format!("{} methods: all gradients agree ({figures})", methods.len()),
        n => format!("{n} of {} methods: gradients DIFFER ({figures})", methods.len()),
    };
    if common.json {
        println!(
            "{}",
            json!({
                "methods": methods, "refused": refused, "passed": failed.is_empty(), "verdict": verdict,
                "tolerance": TOLERANCE, "tolerance_f32": TOLERANCE_F32,
            })
        );
    } else {
        if moved {
            println!("* {MOVED}");
        }
        refused.iter().for_each(|why| println!("refused: {why}"));
        failed.iter().for_each(|what| println!("{what}"));
        println!("{verdict}");
    }
    Ok(if failed.is_empty() { Verdict::Done } else { Verdict::CheckFailed })
}
