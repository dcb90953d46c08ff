//! Golden lists: the path and shape of every parameter of every method. Paths are an interface, because checkpoints and foreign
//! programs read them. `BAQ_BLESS=1 cargo test --test programs` writes them anew; review the difference.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use baq::adapt::GENERATORS;
use baq::algo::Dims;
use baq::train::agent::Agent;
use common::{agent, golden, methods};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// IQL with a generator.
fn agent_with(generator: &str, dims: Dims) -> Agent {
    agent("iql", "plain", dims, &[&format!("run.generator={generator}")])
}

#[test]
fn parameter_paths() {
    let dims = Dims { s: 11, a: 3, batch: 256 };
    let generators = GENERATORS.iter().map(|g| (format!("iql-{}", g.name), agent_with(g.name, dims)));
    let pairs = methods().map(|(base, modifier)| {
        let name = if modifier == "plain" { base.to_string() } else { format!("{base}-{modifier}") };
        (name, agent(base, modifier, dims, &[]))
    });
    let mut seen = BTreeSet::new();
    for (name, agent) in pairs.chain(generators) {
        let mut text = String::new();
        for id in agent.table.ids() {
            let shape = agent.table.param(id).shape;
            for (path, range) in agent.table.paths(id) {
                assert_eq!(range.len(), shape.rows * shape.cols, "{path}");
                let _ = writeln!(text, "{path} [{}, {}]", shape.rows, shape.cols);
            }
        }
        let file = format!("paths-{name}.txt");
        golden(&file, &text);
        seen.insert(file);
    }
    // A method that is refused by mistake would be missed by every suite that goes through all of them.
    let names = std::fs::read_dir(folder()).expect("the folder");
    let names = names.map(|f| f.expect("an entry").file_name().to_string_lossy().into_owned());
    assert_eq!(seen, names.filter(|name| name.starts_with("paths-")).collect(), "methods and their lists");
}
