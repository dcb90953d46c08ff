//! What each method computes, as text under review. When a change is meant to alter a method, its program or
//! its cost: `BAQ_BLESS=1 cargo test --release --test explain` writes the files anew; read the difference
//! before committing it.

mod common;

use std::process::Command;

use baq::adapt::GENERATORS;
use common::{golden, methods};

fn check(name: &str, args: &[&str]) {
    let out = Command::new(env!("CARGO_BIN_EXE_baq")).arg("explain").args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    golden(&format!("explain-{name}.txt"), &text);
}

#[test]
fn every_method() {
    for (algo, adapt) in methods() {
        let name = if adapt == "plain" { algo.to_string() } else { format!("{algo}-{adapt}") };
        check(&name, &["--algo", algo, "--adapt", adapt, "--env", "hopper"]);
    }
}

#[test]
fn every_generator() {
    for generator in GENERATORS {
        let args = ["--algo", "iql", "--adapt", "plain", "--generator", generator.name, "--env", "hopper"];
        check(&format!("iql-{}", generator.name), &args);
    }
}

#[test]
fn famo2o_as_released() {
    check("famo2o-released", &["--algo", "famo2o", "--env", "hopper", "--set", "famo2o.compat_weight=true"]);
}

/// One line of each option that changes a formula.
#[test]
fn options_show_in_the_formulas() {
    let of_baq = [
        ("iql.order=corl", "loss    mean(w * mean_j((q_j(s, a) - (r + gamma * m * v(s')))²))"),
        (
            "iql.actor_head=deterministic",
            "loss    mean(min(exp(beta * (min_j q^_j(s, a) - v(s))), 100) * sum_i((pi(s) - a)²))",
        ),
        (
            "iql.weight_bound=20",
            "loss    -mean(min(exp(beta * (min_j q^_j(s, a) - v(s))), 20) * log pi(a | s))",
        ),
        ("iql.expectile=linear(0.6,0.9,1000)", "tau   = iql.expectile = linear(0.6, 0.9, 1000)"),
        ("baq.k_q=0.25", "w     = exp(-4 * d2)"),
        ("baq.relax=widen(1000)", "w     = exp(-d2 / k_q)"),
        ("baq.relax=follow(0.01)", "rule    bc <- (1 - rho) * bc + rho * pi"),
        (
            "baq.normalise_weight=true",
            "loss    mean(w / max(mean(w), 1e-30) * expectile(min_j q^_j(s, a) - v(s), tau))",
        ),
        ("baq.is_exponent=0.4", "loss    mean(w * importance * expectile(min_j q^_j(s, a) - v(s), tau))"),
        ("baq.rows=s", "loss    mean(expectile(min_j q^_j(s, a) - v(s), tau))"),
        ("baq.rows=q", "offline and online transitions in one buffer, uniform with replacement"),
        ("baq.distance=sum", "d2 = sum_i((bc(s) - a)²)"),
        ("baq.distance=mahalanobis", "d2 = mean_i(((bc(s) - a) / sigma_bc(s))²)"),
        ("baq.norm=l1", "distance = sum_i(|bc(s) - a|)"),
        ("online.updates_per_step=0.5", "0.5 rounds per environment step"),
        ("online.warmup_steps=1000", "batch 256, 29,000 in all"),
        ("baq.relax=widen(1000)", "k_q   = baq.k_q = linear(0.5, 15.5, 30000)"),
        ("baq.relax=fade(1000)", "1/k_q = baq.1/k_q = linear(2.0, 0.0, 1000)"),
        ("baq.relax=gate", "w     = exp(-2 * d2 * clamp((max_j("),
        ("baq.offline_priority=mean_match(0.3)", "by priority, stratified, 30% of the mass online"),
    ];
    let others = [
        ("brac", "plain", "brac.entropy=0.1", "(min_j(q^_j(s', a~pi(s'))) - entropy * log pi(a~ | s')"),
        ("brac", "plain", "brac.entropy=0.1", "+ entropy * log pi(a~ | s) - "),
        (
            "brac",
            "plain",
            "brac.pessimism=0.7",
            "m * (0.7 * min_j(q^_j(s', a~pi(s'))) + 0.3 * max_j(q^_j(s', a~pi(s')))",
        ),
        (
            "brac",
            "plain",
            "brac.pessimism=0.7",
            "(0.7 * min_j(q_j(s, a~pi(s))) + 0.3 * max_j(q_j(s, a~pi(s))))",
        ),
        (
            "emaq",
            "plain",
            "emaq.pessimism=0.7",
            "max_i(0.7 * min_j(q^_j(s', a~mu(s'))) + 0.3 * max_j(q^_j(s', a~mu(s'))))",
        ),
        ("cql", "plain", "cql.mode_backup=true", "(r + discount * m * min_j q^_j(s', pi(s'))"),
        ("cql", "plain", "cql.penalty_online=2", "penalty  = cql.penalty = 2.0"),
        ("cql", "e2o", "e2o.weight=row", "sigma_q  = sqrt(mean_j((q^_j(s', ·) - mean_j(q^_j(s', ·)))²))"),
    ];
    let all = of_baq.map(|(set, line)| ("iql", "baq", set, line)).into_iter().chain(others);
    for (algo, adapt, set, line) in all {
        let args = [
            "explain", "--algo", algo, "--adapt", adapt, "--phase", "online", "--env", "hopper", "--set", set,
        ];
        let out = Command::new(env!("CARGO_BIN_EXE_baq")).args(args).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let round = text.split("\nround:").nth(1).unwrap_or_else(|| panic!("{set}: no round in\n{text}"));
        assert!(round.lines().any(|l| l.contains(line)), "{set}: no `{line}` in\n{round}");
    }
}
