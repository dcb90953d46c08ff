//! The rules of the house, read off the sources.
//!
//! A room is a module of `src/`; `kernels` and `datasets` are crates of their own.

mod circles;
mod names;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the bottom up: room, rooms it may use, and crates of weight it may use. A crate not listed in `WEIGHTY` is free for all.
const ROOMS: &[(&str, &[&str], &[&str])] = &[
    ("files", &[], &["baq_datasets"]),
    ("autodiff", &[], &["baq_kernels", "ndarray"]),
    ("rng", &[], &["baq_kernels", "rand"]),
    ("config", &["files", "autodiff"], &[]),
    ("replay", &[], &["baq_kernels"]),
    ("nn", &["autodiff", "config", "rng"], &["rand", "rand_distr"]),
    ("algo", &["autodiff", "nn", "config", "replay"], &[]),
    ("adapt", &["autodiff", "nn", "config", "replay", "algo"], &[]),
    ("env", &["files"], &["baq_datasets", "baq_kernels", "libloading", "safetensors", "std::fs"]),
    ("checkpoint", &["files"], &["safetensors", "std::fs"]),
    (
        "audit",
        &["files", "autodiff", "algo", "adapt", "config", "nn", "replay", "rng", "checkpoint"],
        &["rand", "rand_distr", "safetensors", "std::fs"],
    ),
    (
        "train",
        &[
            "files",
            "autodiff",
            "algo",
            "adapt",
            "config",
            "nn",
            "replay",
            "rng",
            "checkpoint",
            "env",
            "audit",
        ],
        &["baq_datasets", "baq_kernels", "csv", "ndarray", "prost", "rand", "std::fs"],
    ),
    ("export", &["autodiff", "config", "nn", "train"], &["baq_datasets", "baq_kernels", "prost"]),
    (
        "suite",
        &["files", "autodiff", "config", "replay", "checkpoint", "env", "train"],
        &["baq_datasets", "baq_kernels", "ndarray", "std::fs"],
    ),
    ("report", &["files", "train", "config", "checkpoint"], &["maud", "resvg", "std::fs"]),
    ("render", &["env", "report"], &["gif", "resvg"]),
    (
        "study",
        &["files", "algo", "adapt", "config", "env", "rng", "checkpoint", "train", "report"],
        &["baq_datasets", "csv", "std::fs"],
    ),
    (
        "cli",
        &[
            "files",
            "autodiff",
            "algo",
            "adapt",
            "config",
            "replay",
            "env",
            "checkpoint",
            "audit",
            "train",
            "export",
            "suite",
            "report",
            "render",
            "study",
        ],
        &["clap", "rayon", "baq_datasets", "baq_kernels", "std::fs"],
    ),
    ("library", &["config", "train", "cli"], &["baq_datasets"]),
];

/// Crates that only some rooms may use.
const WEIGHTY: &[&str] = &[
    "baq_kernels",
    "baq_datasets",
    "ndarray",
    "rayon",
    "rand",
    "rand_distr",
    "safetensors",
    "prost",
    "libloading",
    "clap",
    "csv",
    "gif",
    "maud",
    "resvg",
    "std::fs",
    "matrixmultiply",
    "hdf5_metno",
    "hdf5",
];

/// Rust source without comments and string contents, and without what follows `#[cfg(test)]` at the beginning
/// of a line (tests stand last in a file).
fn code(source: &str) -> String {
    let source = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    let mut out = String::with_capacity(source.len());
    let b: Vec<char> = source.chars().collect();
    let mut i = 0;
    while i < b.len() {
        let two = (b[i], b.get(i + 1).copied().unwrap_or(' '));
        if two == ('/', '/') {
            while i < b.len() && b[i] != '\n' {
                i += 1;
            }
        } else if two == ('/', '*') {
            while i + 1 < b.len() && (b[i], b[i + 1]) != ('*', '/') {
                i += 1;
            }
            i += 2;
        } else if two.0 == 'r' && (two.1 == '"' || two.1 == '#') && !b[..i].last().is_some_and(|c| word(*c)) {
            let hashes = b[i + 1..].iter().take_while(|c| **c == '#').count();
            if b.get(i + 1 + hashes) != Some(&'"') {
                out.push('r');
                i += 1;
                continue;
            }
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            i += hashes + 2;
            while i < b.len() && !b[i..].starts_with(&end) {
                i += 1;
            }
            i += end.len();
            out.push_str("\"\"");
        } else if two.0 == '"' {
            i += 1;
            while i < b.len() && b[i] != '"' {
                i += if b[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
            out.push_str("\"\"");
        } else if two.0 == '\'' && (b.get(i + 2) == Some(&'\'') || two.1 == '\\') {
            // A character, not a lifetime.
            i += if two.1 == '\\' { 3 } else { 2 };
            while i < b.len() && b[i] != '\'' {
                i += 1;
            }
            i += 1;
            out.push_str("' '");
        } else {
            out.push(b[i]);
            i += 1;
        }
    }
    out
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words of code with what stands directly before and after them.
fn words(code: &str) -> Vec<(&str, &str, &str)> {
    let mut all = Vec::new();
    let mut start = None;
    for (i, c) in code.char_indices().chain([(code.len(), ' ')]) {
        match (word(c), start) {
            (true, None) => start = Some(i),
            (false, Some(s)) => {
                all.push((&code[..s], &code[s..i], &code[i..]));
                start = None;
            }
            _ => {}
        }
    }
    all
}

/// First names of what a path leads to: `{a, b::c}` gives a and b, `a::b` gives a.
fn heads(after: &str) -> Vec<String> {
    let first = |s: &str| s.trim_start().chars().take_while(|c| word(*c)).collect::<String>();
    let Some(group) = after.strip_prefix('{') else { return vec![first(after)] };
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(first(&item));
                item.clear();
                continue;
            }
            _ => {}
        }
        item.push(c);
    }
    items.push(first(&item));
    items.retain(|i| !i.is_empty());
    items
}

/// Rooms and weighty crates that a file uses. `depth` is how many modules lie between it and its room.
fn uses(code: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let words = words(code);
    for (k, &(before, word, after)) in words.iter().enumerate() {
        let continues = before.ends_with("::") || before.ends_with("macro_rules! ");
        if word == "crate" && after.starts_with("::") && !before.ends_with('$') {
            found.extend(heads(&after[2..]).into_iter().map(|h| macro_home(&h)));
        } else if word == "super" && !continues && after.starts_with("::") {
            let mut rest = after;
            let mut climbed = 1;
            while let Some(more) = rest.strip_prefix("::super") {
                rest = more;
                climbed += 1;
            }
            if climbed > depth {
                found.extend(
                    heads(rest.strip_prefix("::").unwrap_or(rest)).into_iter().map(|h| macro_home(&h)),
                );
            }
        } else if !continues && after.starts_with("::") {
            let next = words.get(k + 1).map_or("", |w| w.1);
            let path = format!("{word}::{next}");
            found.extend(WEIGHTY.iter().filter(|w| **w == word || **w == path).map(|w| (*w).to_string()));
        }
    }
    found
}

/// Macros live at the root of the crate, but belong to a room.
fn macro_home(name: &str) -> String {
    match name {
        "choices" | "__choice" | "__limits" => "config".into(),
        other => other.into(),
    }
}

/// What is wrong with the imports of a file of a room.
fn imports(room: &str, depth: usize, source: &str) -> Vec<String> {
    let Some((_, rooms, crates)) = ROOMS.iter().find(|(name, ..)| *name == room) else {
        return vec![format!("room {room} is not in the table")];
    };
    let allowed = |name: &str| name == room || rooms.contains(&name) || crates.contains(&name);
    uses(&code(source), depth).into_iter().filter(|u| !allowed(u)).map(|u| format!("uses {u}")).collect()
}

/// Words that no code of the product may contain.
const NEVER: &[(&str, &str)] = &[
    ("todo", "unfinished"),
    ("unimplemented", "unfinished"),
    ("dbg", "left over"),
    ("thread_rng", "randomness of a thread"),
    ("from_os_rng", "randomness of the machine"),
    ("OsRng", "randomness of the machine"),
    ("StdRng", "a generator that may change between releases"),
    ("SmallRng", "a generator that differs between machines"),
    ("RandomState", "random hashing"),
];

/// Words that only these files may contain.
const ONLY: &[(&str, &[&str])] = &[
    ("unsafe", &["kernels/", "src/env/mujoco/ffi.rs"]),
    (
        "rayon",
        &[
            "kernels/src/team.rs",
            "kernels/src/tile.rs",
            // All cores are loaded at once.
            "kernels/src/peak.rs",
            // A thread that evaluations have to themselves is a pool of one.
            "kernels/src/beside.rs",
            "src/cli/command.rs",
        ],
    ),
    // The time of day, which TensorBoard shows.
    ("SystemTime", &["src/train/tensorboard.rs"]),
    // A look-up that is never iterated.
    ("HashMap", &["src/autodiff/trace/graph.rs"]),
    ("HashSet", &[]),
    // Rates and peak figures, shown and never computed with, and who does a program's work, which changes no bit.
    (
        "Instant",
        &[
            "src/train/progress.rs",
            "src/train/bench.rs",
            "src/train/peak.rs",
            "src/env/cost.rs",
            "kernels/src/peak.rs",
            "kernels/src/pace.rs",
            "src/cli/",
            "src/study/local.rs",
            "src/env/process/running.rs",
        ],
    ),
];

const TASKS: [&str; 3] = ["hopper", "halfcheetah", "walker2d"];
const MAY_NAME_TASKS: &[&str] = &[
    "src/env/",
    "src/config/presets",
    "src/cli/setup.rs",
    "datasets/src/scores.rs",
    "datasets/src/checksums.rs",
];

/// What is wrong with the words of a file.
fn forbidden(path: &str, source: &str) -> Vec<String> {
    let text = code(source);
    let mut found = Vec::new();
    for (before, word, after) in words(&text) {
        if let Some((_, why)) = NEVER.iter().find(|(w, _)| *w == word) {
            found.push(format!("{word}: {why}"));
        }
        if word == "rng" && before.ends_with("rand::") {
            found.push("rand::rng: randomness of a thread".into());
        }
        if let Some((_, files)) = ONLY.iter().find(|(w, _)| *w == word)
            && !files.iter().any(|f| path.starts_with(f))
        {
            found.push(format!("{word}: only in {files:?}"));
        }
        if word == "unwrap" && before.ends_with('.') && after.starts_with("()") {
            found.push("unwrap: say what is invariant, or return an error".into());
        }
        if matches!(word, "sum" | "reduce" | "product") && before.ends_with('.') {
            let statement = before.rsplit([';', '{', '}']).next().unwrap_or_default();
            if statement.contains("par_") {
                found.push(format!("a parallel {word}: its order of additions is not fixed"));
            }
        }
    }
    // Expectations are about us, never about the user's files; strings are needed, so the source is read.
    let product = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    for (n, line) in product.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        if let Some((_, message)) = line.split_once(".expect(\"")
            && !message.starts_with("invariant: ")
        {
            found.push(format!("line {}: expect without \"invariant: \"", n + 1));
        }
        let lower = line.to_lowercase();
        let compares =
            ["==", "!=", "=>", "contains(", "starts_with(", "matches!"].iter().any(|c| line.contains(c));
        let names = TASKS.iter().any(|t| lower.contains(&format!("\"{t}")));
        if compares && names && !MAY_NAME_TASKS.iter().any(|f| path.starts_with(f)) {
            found.push(format!("line {}: decides by the name of a task", n + 1));
        }
    }
    found
}

/// What is wrong with the shape of a file.
fn shape(path: &str, source: &str) -> Vec<String> {
    let header: String = source.lines().take_while(|l| l.starts_with("//!")).collect();
    let mut found = Vec::new();
    if header.is_empty() {
        found.push("no header that says what it is".into());
    }
    let lines = source.lines().count();
    if lines > 400 && !header.contains("400 lines") {
        found.push(format!("{lines} lines and no reason in the header (\"Above 400 lines because ...\")"));
    }
    // The other rules read a file up to there.
    let tests = source.split_once("\n#[cfg(test)]\n").map_or("", |(_, tests)| tests);
    if !tests.is_empty() && !tests.lines().next().is_some_and(|l| l.contains("mod ")) {
        found.push("`#[cfg(test)]` on what is no module".into());
    }
    let mut declared =
        tests.lines().filter(|l| !(l.is_empty() || *l == "#[cfg(test)]" || l.starts_with("mod ")));
    if tests.contains("{\n") {
        declared.by_ref().find(|l| *l == "}");
    }
    found.extend(declared.map(|l| format!("behind its tests: {l}")));
    let method = path.starts_with("src/algo/") || path.starts_with("src/adapt/");
    if method && code(source).contains(".detach()") && !header.contains("gradient") {
        found.push("detach, and the header does not say which gradient it stops".into());
    }
    found
}

/// What a method may take from the replay: names of columns, which are constants.
fn columns_only(path: &str, source: &str) -> Vec<String> {
    if !path.starts_with("src/algo/") && !path.starts_with("src/adapt/") {
        return Vec::new();
    }
    words(&code(source))
        .into_iter()
        .filter(|(before, word, _)| before.ends_with("replay::") && word.chars().any(char::is_lowercase))
        .map(|(_, word, _)| format!("replay::{word}: only the names of columns"))
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files below a folder with their paths from the root, in order.
fn files(folder: &str) -> Vec<(String, String)> {
    fn walk(path: &Path, out: &mut Vec<PathBuf>) {
        let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|p| {
            let name = p.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            (name, std::fs::read_to_string(&p).expect("a readable file"))
        })
        .collect()
}

/// Whether a file holds nothing but tests of its neighbours.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
}

#[track_caller]
fn assert_none(problems: Vec<String>) {
    assert!(
        problems.is_empty(),
        "{} against the rules of the house:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn rooms_use_only_what_lies_below_them() {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, source) in files("src") {
        let inside = path.strip_prefix("src/").expect("a file of src");
        let parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        let room = parts[0];
        if matches!(room, "build" | "lib" | "main") || is_test(&path) {
            continue;
        }
        let depth = parts[1..].iter().filter(|p| **p != "mod").count();
        seen.insert(room.to_string());
        problems.extend(imports(room, depth, &source).into_iter().map(|p| format!("{path}: {p}")));
        problems.extend(columns_only(&path, &source).into_iter().map(|p| format!("{path}: {p}")));
    }
    assert_none(problems);
    for (room, ..) in ROOMS {
        assert!(seen.contains(*room), "the table has a room {room} that does not exist");
    }
}

#[test]
fn the_crates_below_stand_alone() {
    let mut problems = Vec::new();
    for (folder, allowed) in [
        ("kernels/src", &["matrixmultiply", "rayon"][..]),
        ("datasets/src", &["csv", "ndarray", "hdf5_metno", "hdf5", "std::fs"][..]),
    ] {
        for (path, source) in files(folder) {
            let found = uses(&code(&source), usize::MAX);
            let weighty = found.iter().filter(|u| WEIGHTY.contains(&u.as_str()) || u.as_str() == "baq");
            problems.extend(
                weighty.filter(|u| !allowed.contains(&u.as_str())).map(|u| format!("{path}: uses {u}")),
            );
        }
    }
    assert_none(problems);
}

#[test]
fn methods_are_named_at_home() {
    let registries = ["src/algo/registry.rs", "src/adapt/registry.rs"];
    let text = |path: &str| std::fs::read_to_string(root().join(path)).expect("a registry");
    let mut methods: BTreeSet<String> = registries.iter().flat_map(|p| names::registered(&text(p))).collect();
    assert!(methods.contains("iql") && methods.contains("baq"), "the registries are not read: {methods:?}");
    methods.insert("plain".into());
    let mut problems = Vec::new();
    for (path, source) in files("src").into_iter().filter(|(path, _)| !is_test(path)) {
        problems.extend(names::foreign(&path, &source, &methods).into_iter().map(|p| format!("{path}: {p}")));
    }
    assert_none(problems);
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let mut problems = Vec::new();
    for folder in ["src", "kernels/src"] {
        let files: Vec<_> = files(folder).into_iter().filter(|(path, _)| !is_test(path)).collect();
        problems.extend(circles::Crate::new(&files, folder).circles());
    }
    assert_none(problems);
}

#[test]
fn forbidden_words() {
    let mut problems = Vec::new();
    for folder in ["src", "kernels/src", "datasets/src"] {
        for (path, source) in files(folder).into_iter().filter(|(p, _)| !is_test(p)) {
            problems.extend(forbidden(&path, &source).into_iter().map(|p| format!("{path}: {p}")));
        }
    }
    assert_none(problems);
}

#[test]
fn files_say_what_they_are() {
    let mut problems = Vec::new();
    for folder in ["src", "kernels/src", "datasets/src"] {
        for (path, source) in files(folder).into_iter().filter(|(p, _)| !is_test(p)) {
            problems.extend(shape(&path, &source).into_iter().map(|p| format!("{path}: {p}")));
        }
    }
    assert_none(problems);
}

#[test]
fn tests_do_not_measure_time() {
    let mut problems = Vec::new();
    for folder in ["tests", "kernels/tests", "datasets/tests"] {
        for (path, source) in files(folder) {
            // Waiting for another process needs a deadline.
            if path == "tests/resume.rs" {
                continue;
            }
            let measures =
                words(&code(&source)).iter().any(|(_, w, _)| *w == "Instant" || *w == "SystemTime");
            if measures {
                problems.push(format!("{path}: measures time"));
            }
        }
    }
    assert_none(problems);
}

/// The checks themselves, on sources made up to break each rule.
mod checks {
    use super::*;

    #[test]
    fn comments_and_strings_are_not_code() {
        let source = r##"
            //! use crate::train;
            /* unsafe */ let x = "todo!() // not a comment"; let c = '"'; let d = '\''; // rayon
            let y = r#"crate::cli "quoted" "#; fn f<'a>(x: &'a str) {}
        "##;
        let code = code(source);
        for gone in ["train", "unsafe", "todo", "rayon", "cli", "quoted"] {
            assert!(!code.contains(gone), "{gone} is left in {code}");
        }
        assert!(code.contains("fn f<'a>(x: &'a str)"), "{code}");
    }

    #[test]
    fn wrong_imports_are_found() {
        let of = |room: &str, depth: usize, source: &str| imports(room, depth, source);
        assert_eq!(of("algo", 1, "use crate::train::agent;"), ["uses train"]);
        assert_eq!(of("algo", 1, "use crate::{nn::Mlp, env, config::{A, B}};"), ["uses env"]);
        assert_eq!(of("algo", 1, "fn f() { crate::cli::main(); }"), ["uses cli"]);
        assert_eq!(of("algo", 1, "use super::super::report::x;"), ["uses report"]);
        assert_eq!(of("algo", 0, "use super::report::x;"), ["uses report"]);
        assert_eq!(of("autodiff", 1, "use rayon::prelude::*;"), ["uses rayon"]);
        assert_eq!(of("adapt", 1, "let x = std::fs::read(p);"), ["uses std::fs"]);
        assert_eq!(of("adapt", 1, "use ndarray::Array2;"), ["uses ndarray"]);
        assert_eq!(of("env", 1, "use crate::train::TrainError;"), ["uses train"]);
        assert_eq!(of("cellar", 1, ""), ["room cellar is not in the table"]);
        assert!(of("algo", 1, "use super::bc; use crate::autodiff::Var; crate::choices! {}").is_empty());
        assert!(of("env", 2, "use super::super::Env;").is_empty());
        assert!(
            of("algo", 1, "#[cfg(test)]\nmod tests;\n\n#[cfg(test)]\nmod more { use crate::train; }")
                .is_empty()
        );
        let found = columns_only("src/algo/x.rs", "b.column(replay::D2); replay::pools::Pools::new();");
        assert_eq!(found, ["replay::pools: only the names of columns"]);
    }

    #[test]
    fn forbidden_words_are_found() {
        let of = |path: &str, source: &str| forbidden(path, source).len();
        for bad in [
            "fn f() { todo!() }",
            "unsafe { g() }",
            "let r = rand::rng();",
            "let r = rand::thread_rng();",
            "x.iter().unwrap();".replace(".iter()", ".first()").as_str(),
            "use std::collections::HashMap;",
            "let x: f32 = v.par_iter().map(|x| x * x).sum();",
            "let x = v.par_chunks(4).map(f).reduce(a, b);",
            "file.read().expect(\"reads\");",
            "if env.id == \"hopper-v4\" { 1 } else { 2 }",
            "match name { \"Walker2d\" => 1, _ => 2 }",
        ] {
            assert!(of("src/nn/x.rs", bad) > 0, "{bad}");
        }
        assert_eq!(of("kernels/src/simd.rs", "unsafe { g() }"), 0);
        assert_eq!(of("src/env/toy.rs", "if id == \"hopper\" {}"), 0);
        assert_eq!(
            of("src/nn/x.rs", "let s: f64 = v.iter().sum(); v.first().expect(\"invariant: full\");"),
            0
        );
        assert_eq!(
            of("src/nn/x.rs", "// unsafe todo\nlet a = \"hopper\";\n#[cfg(test)]\nmod t { x.unwrap() }"),
            0
        );
    }

    #[test]
    fn shapeless_files_are_found() {
        assert_eq!(shape("src/nn/x.rs", "use y;").len(), 1);
        let long = format!("//! Text.\n{}", "x();\n".repeat(400));
        assert_eq!(shape("src/nn/x.rs", &long).len(), 1);
        assert!(shape("src/nn/x.rs", &long.replace("Text.", "Above 400 lines because tests.")).is_empty());
        let behind = "//! Text.\n\n#[cfg(test)]\nmod tests {\n    x();\n}\n\npub use y;";
        assert_eq!(shape("src/nn/x.rs", behind), ["behind its tests: pub use y;"]);
        let behind = "//! Text.\n\n#[cfg(test)]\nmod tests;\n\npub use y;";
        assert_eq!(shape("src/nn/x.rs", behind), ["behind its tests: pub use y;"]);
        let other = "//! Text.\n\n#[cfg(test)]\nuse y;\n\npub fn x() {\n    todo!();\n}";
        assert_eq!(shape("src/nn/x.rs", other), ["`#[cfg(test)]` on what is no module"]);
        assert!(shape("src/nn/x.rs", "//! Text.\n\n#[cfg(test)]\nmod tests {\n    x();\n}").is_empty());
        assert_eq!(shape("src/adapt/x.rs", "//! Text.\nlet q = q.detach();").len(), 1);
        assert!(shape("src/adapt/x.rs", "//! No gradient passes q.\nlet q = q.detach();").is_empty());
    }
}
