//! Golden lists: the path and shape of every parameter of every method. Paths are an interface, because checkpoints and foreign
//! programs read them. `BAQ_BLESS=1 cargo test --test programs` writes them anew; review the difference.

mod common;

use std::fmt::Write as _;
use std::path::PathBuf;

use baq::adapt::ADAPTATIONS;
use baq::algo::{ALGORITHMS, Dims};
use common::agent;

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BAQ_BLESS").is_some() {
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; BAQ_BLESS=1 writes it", path.display()));
    for (i, (got, want)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, want, "{name}, line {}; if intended, bless with BAQ_BLESS=1", i + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{name}: number of lines");
}

#[test]
fn parameter_paths() {
    let dims = Dims { s: 11, a: 3, batch: 256 };
    for base in ALGORITHMS {
        for modifier in ADAPTATIONS {
            // Behaviour cloning has no critic to adapt.
            if base.name == "bc" && modifier.name != "plain" {
                continue;
            }
            let agent = agent(base.name, modifier.name, dims, &[]);
            let mut text = String::new();
            for id in agent.table.ids() {
                let shape = agent.table.param(id).shape;
                for (path, range) in agent.table.paths(id) {
                    assert_eq!(range.len(), shape.rows * shape.cols, "{path}");
                    let _ = writeln!(text, "{path} [{}, {}]", shape.rows, shape.cols);
                }
            }
            let name = match modifier.name {
                "plain" => format!("paths-{}.txt", base.name),
                other => format!("paths-{}-{other}.txt", base.name),
            };
            golden(&name, &text);
        }
    }
}
