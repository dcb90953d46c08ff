//! Golden lists: the path and shape of every parameter of every method. Paths are an interface, because checkpoints and foreign
//! programs read them. `BAQ_BLESS=1 cargo test --test programs` writes them anew; review the difference.

mod common;

use std::fmt::Write as _;
use std::path::PathBuf;

use baq::algo::Dims;
use common::{agent, methods};

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
    for (base, modifier) in methods() {
        let agent = agent(base, modifier, dims, &[]);
        let mut text = String::new();
        for id in agent.table.ids() {
            let shape = agent.table.param(id).shape;
            for (path, range) in agent.table.paths(id) {
                assert_eq!(range.len(), shape.rows * shape.cols, "{path}");
                let _ = writeln!(text, "{path} [{}, {}]", shape.rows, shape.cols);
            }
        }
        let name = match modifier {
            "plain" => format!("paths-{base}.txt"),
            other => format!("paths-{base}-{other}.txt"),
        };
        golden(&name, &text);
    }
}
