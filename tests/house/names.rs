//! Names of methods stand in their own files, in the registries and in presets. Everybody else takes what a registry gives.

use std::collections::BTreeSet;

use super::{code, word, words};

/// Where methods may be named.
const HOMES: &[&str] = &["src/algo/", "src/adapt/", "src/config/presets"];

/// Elsewhere: file, name, why.
const MAY: &[(&str, &str, &str)] = &[
    ("src/config/sections.rs", "iql", "the default of run.algo"),
    ("src/config/sections.rs", "plain", "the default of run.adapt"),
    ("src/config/field.rs", "opt", "the class of options that are optimisers"),
];

/// Names that are words of everyday use as well, or that of the program: only a literal of nothing else counts, and for the
/// latter types and modules.
const COMMON: [&str; 2] = ["plain", "baq"];
/// Where the name of the program stands.
const PROGRAM: &[&str] =
    &["src/cli/command.rs", "src/cli/hints.rs", "src/files.rs", "src/checkpoint/container.rs"];

/// The names in the text of a registry: the first literal, or its constant, of every `Entry::new(`.
pub fn registered(source: &str) -> BTreeSet<String> {
    let text = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    let first = |after: &str| {
        let end = after.find([',', ')'])?;
        let argument = after[..end].trim();
        Some(argument.strip_prefix('"')?.strip_suffix('"')?.to_string())
    };
    text.split("Entry::new(").skip(1).filter_map(first).collect()
}

/// The contents of string literals, by line, comments and tests left out.
fn literals(source: &str) -> Vec<(usize, String)> {
    let product = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    let (mut rest, mut line) = (product, 1);
    while let Some(at) = rest.find(['"', '/', '\'', '\n']) {
        let (here, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = match here {
            b'\n' => {
                line += 1;
                after
            }
            b'/' if after.starts_with('/') => &after[after.find('\n').unwrap_or(after.len())..],
            b'\'' if after.starts_with("\\\"'") => &after[3..],
            b'\'' if after.starts_with("\"'") => &after[2..],
            b'"' => {
                let raw = rest[..at].ends_with('#')
                    || rest[..at].ends_with('r') && !rest[..at].ends_with(|c| word(c) && c != 'r');
                let hashes = rest[..at].len() - rest[..at].trim_end_matches('#').len();
                let close = format!("\"{}", "#".repeat(if raw { hashes } else { 0 }));
                let mut end = 0;
                while end < after.len() && !after[end..].starts_with(&close) {
                    let escaped = !raw && after[end..].starts_with('\\');
                    end += after[end..]
                        .chars()
                        .take(1 + usize::from(escaped))
                        .map(char::len_utf8)
                        .sum::<usize>();
                }
                let text = &after[..end.min(after.len())];
                found.push((line, text.to_string()));
                line += text.matches('\n').count();
                after.get(end + close.len()..).unwrap_or_default()
            }
            _ => after,
        };
    }
    found
}

/// Small words of an identifier: `BaqConfig` is baq_config.
fn snake(identifier: &str) -> String {
    let mut out = String::new();
    for c in identifier.chars() {
        if c.is_uppercase() && out.ends_with(char::is_lowercase) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Whether `name` stands in a text by itself.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(word) && !after.starts_with(word)
    })
}

/// Methods that a file names although it may not.
pub fn foreign(path: &str, source: &str, methods: &BTreeSet<String>) -> Vec<String> {
    if HOMES.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    let may = |name: &str| MAY.iter().any(|(file, n, _)| *file == path && *n == name);
    let (text, literals) = (code(source), literals(source));
    let mut found = BTreeSet::new();
    for name in methods.iter().filter(|name| !may(name)) {
        let common = COMMON.contains(&name.as_str());
        for (line, literal) in &literals {
            let program = name == "baq" && PROGRAM.contains(&path);
            if !program && if common { literal == name } else { names(literal, name) } {
                found.insert(format!("line {line}: \"{literal}\" names {name}"));
            }
        }
        for (before, identifier, _) in words(&text) {
            let parts = format!("_{}_", snake(identifier));
            let module = identifier == name && before.ends_with("adapt::");
            let typed = identifier.starts_with(char::is_uppercase);
            if parts.contains(&format!("_{name}_")) && (!common || module || (name == "baq" && typed)) {
                found.insert(format!("{identifier} names {name}"));
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods() -> BTreeSet<String> {
        ["iql", "cal_ql", "so2", "baq", "plain"].map(String::from).into()
    }

    #[test]
    fn registries_are_read() {
        let text =
            "Entry::new(PLAIN, \"x\"), Entry::new(\"bc\", \"about\"), ..Entry::new(\n    \"cal_ql\",\n )";
        assert_eq!(registered(text), ["bc", "cal_ql"].map(String::from).into());
    }

    #[test]
    fn names_are_found() {
        let of = |source: &str| foreign("src/cli/x.rs", source, &methods()).len();
        for bad in [
            "use crate::adapt::baq::WEIGHT;",
            "let c: BaqConfig = x;",
            "let iql_rounds = 1;",
            "match name { \"plain\" => 1 }",
            "if adapt == \"baq\" {}",
            "println!(\"for example cal_ql\");",
            "let x = '\"'; let y = \"so2\";",
            "let y = r#\"a \"quoted\" so2\"#;",
        ] {
            assert_eq!(of(bad), 1, "{bad}");
        }
        for good in [
            "use baq_datasets::plain; // as iql does",
            "println!(\"baq train --data FILE\"); let plain = 1;",
            "let e = \"expectile\"; let so22 = 1; let z = '/';",
            "fn f() {}\n#[cfg(test)]\nmod t { let x = \"iql\"; }",
        ] {
            assert_eq!(of(good), 0, "{good}");
        }
        assert!(foreign("src/algo/x.rs", "let x = \"iql\";", &methods()).is_empty());
    }
}
