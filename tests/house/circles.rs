//! Which file imports which, read off the sources, and the circles among them.
//!
//! A file imports another when it names something that the other declares: in a `use`, or in a path anywhere in its code.
//! A name that a module only passes on (`pub use child::Name`) leads to the file that declares it. Not imports: the
//! line `mod child;`, and a `use` that only passes on.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, word};

/// The files of one crate.
pub struct Crate {
    /// by module path: `[]` is the root, `["train", "online"]` a file
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Default)]
struct Module {
    /// path of the file
    file: String,
    tokens: Vec<String>,
    /// names that it declares, and its children
    declares: BTreeSet<String>,
    macros: BTreeSet<String>,
    /// local name -> path as written, of every `use`
    uses: BTreeMap<String, Vec<String>>,
    /// those of them that are not `pub`, which are imports even where the name does not occur again: traits
    private: Vec<Vec<String>>,
    /// paths of `use a::*`
    globs: Vec<Vec<String>>,
}

/// Words, `::`, and everything else by character.
fn tokens(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        if !c.is_whitespace() {
            all.push(rest[..length].to_string());
        }
        rest = &rest[length..];
    }
    all
}

/// Inside `mod name { .. }` the parent is the file itself: the first `super` of a path becomes `self`. So it does inside
/// `macro_rules! name { .. }`, where it is the parent of whoever calls the macro.
fn own_super(mut tokens: Vec<String>) -> Vec<String> {
    let (mut depth, mut inside) = (0, Vec::new());
    for at in 0..tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                depth += 1;
                let of_macro = at > 2 && (tokens[at - 3] == "macro_rules" && tokens[at - 2] == "!");
                if of_macro || (at > 1 && tokens[at - 2] == "mod") {
                    inside.push(depth);
                }
            }
            "}" => {
                if inside.last() == Some(&depth) {
                    inside.pop();
                }
                depth -= 1;
            }
            "super" if !inside.is_empty() && tokens[at - 1] != "::" => tokens[at] = "self".into(),
            _ => {}
        }
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.starts_with(word)
}

/// The leaves of a `use`, from the token after it: (path, local name; `*` for a glob), and the token after its end.
fn leaves(
    tokens: &[String],
    mut at: usize,
    before: &[String],
    out: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).map_or(";", String::as_str) {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t != "}") {
                    at = leaves(tokens, at, &path, out);
                    at += usize::from(tokens.get(at).is_some_and(|t| t == ","));
                }
                return at + 1;
            }
            "*" => {
                out.push((path, "*".into()));
                return at + 1;
            }
            "as" => {
                out.push((path, tokens[at + 1].clone()));
                return at + 2;
            }
            "self" if !path.is_empty() => at += 1,
            word if is_word(word) => {
                path.push(word.into());
                at += 1;
            }
            _ => {
                let name = path.last().cloned().unwrap_or_default();
                out.push((path, name));
                return at;
            }
        }
    }
}

impl Module {
    fn of(file: &str, source: &str) -> Module {
        let all = own_super(tokens(&code(source)));
        let mut module = Module { file: file.into(), ..Module::default() };
        let mut at = 0;
        while at < all.len() {
            match all[at].as_str() {
                "use" => {
                    // `pub`, or the end of `pub(crate)`
                    let passed_on = at > 0 && matches!(all[at - 1].as_str(), "pub" | ")");
                    let mut found = Vec::new();
                    at = leaves(&all, at + 1, &[], &mut found);
                    for (path, name) in found {
                        if name == "*" {
                            module.globs.push(path);
                            continue;
                        }
                        if !passed_on {
                            module.private.push(path.clone());
                        }
                        module.uses.insert(name, path);
                    }
                    continue;
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "mod" => {
                    module.declares.extend(all.get(at + 1).filter(|t| is_word(t)).cloned());
                    // `mod child;` is no use of the child.
                    if all[at] == "mod" && all.get(at + 2).is_some_and(|t| t == ";") {
                        at += 3;
                        continue;
                    }
                }
                "macro_rules" => module.macros.extend(all.get(at + 2).cloned()),
                _ => {}
            }
            module.tokens.push(all[at].clone());
            at += 1;
        }
        module
    }
}

/// The module path of a file of a crate whose sources lie in `root`.
fn module_path(file: &str, root: &str) -> Vec<String> {
    let inside = file.strip_prefix(root).unwrap_or(file).trim_start_matches('/').trim_end_matches(".rs");
    let mut parts: Vec<String> = inside.split('/').map(String::from).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

impl Crate {
    /// Of files (path, source) below `root`.
    pub fn new(files: &[(String, String)], root: &str) -> Crate {
        let modules = files
            .iter()
            .filter(|(file, _)| *file != format!("{root}/main.rs"))
            .map(|(file, source)| (module_path(file, root), Module::of(file, source)))
            .collect();
        Crate { modules }
    }

    /// The module that declares a macro used in module `from`: exported ones by `crate::name!` anywhere, others below
    /// the module that declares them or has them in a child.
    fn macro_home(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let name = path.last()?;
        let reaches = |home: &[String]| {
            let parent = &home[..home.len().saturating_sub(1)];
            path[0] == "crate" || from.starts_with(home) || (!parent.is_empty() && from.starts_with(parent))
        };
        let declares = |m: &Module| m.macros.contains(name);
        if declares(&self.modules[from]) {
            return None;
        }
        self.modules.iter().find(|(home, m)| declares(m) && reaches(home)).map(|(home, _)| home.clone())
    }

    /// The module that declares what `path`, written in module `from`, leads to; `None` for a path into another crate,
    /// and for one that only names a module.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let (mut at, mut rest) = (from.to_vec(), path);
        match path.first()?.as_str() {
            "crate" => (at, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|p| p == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            head => {
                let here = &self.modules[from];
                let local = here.declares.contains(head) || self.modules.contains_key(&child(from, head));
                if !local {
                    return self.bound(from, rest, depth);
                }
            }
        }
        self.descend(at, rest, depth)
    }

    /// Follows `rest` from module `at`.
    fn descend(&self, mut at: Vec<String>, mut rest: &[String], depth: usize) -> Option<Vec<String>> {
        while let Some(name) = rest.first() {
            let below = child(&at, name);
            if !self.modules.contains_key(&below) {
                break;
            }
            at = below;
            rest = &rest[1..];
        }
        let name = rest.first()?;
        let module = self.modules.get(&at)?;
        if module.declares.contains(name) {
            return Some(at);
        }
        self.bound(&at, rest, depth).or(Some(at))
    }

    /// Follows a path whose head a `use` of module `from` binds.
    fn bound(&self, from: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let module = self.modules.get(from)?;
        if depth == 0 {
            return None;
        }
        if let Some(target) = module.uses.get(&path[0]) {
            let whole: Vec<String> = target.iter().chain(&path[1..]).cloned().collect();
            // `use x;` of a crate binds its own name.
            return if whole == path && target.len() == 1 {
                None
            } else {
                self.resolve(from, &whole, depth - 1)
            };
        }
        module.globs.iter().find_map(|glob| {
            let whole: Vec<String> = glob.iter().chain(path).cloned().collect();
            let home = self.resolve(from, &whole, depth - 1)?;
            self.modules[&home].declares.contains(&path[0]).then_some(home)
        })
    }

    /// Every import: file, imported file, one of the names.
    pub fn imports(&self) -> BTreeMap<(&str, &str), String> {
        let mut all = BTreeMap::new();
        for (from, module) in &self.modules {
            let private = module.private.iter().map(|path| (path.clone(), false));
            for (path, is_macro) in private.chain(paths(&module.tokens)) {
                let home =
                    if is_macro { self.macro_home(from, &path) } else { self.resolve(from, &path, 16) };
                if let Some(home) = home.filter(|home| home != from) {
                    let pair = (module.file.as_str(), self.modules[&home].file.as_str());
                    all.entry(pair).or_insert_with(|| path.join("::"));
                }
            }
        }
        all
    }

    /// Groups of files each of which leads to every other of its group, each with one circle: a line per import.
    pub fn circles(&self) -> Vec<String> {
        let imports = self.imports();
        let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, to) in imports.keys() {
            next.entry(from).or_default().push(to);
        }
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for file in next.keys() {
            if seen.contains(file) {
                continue;
            }
            let Some(circle) = way(&next, file, file) else { continue };
            let group: Vec<&str> =
                next.keys().copied().filter(|f| *f == *file || joined(&next, file, f)).collect();
            seen.extend(group.iter().copied());
            let mut text = format!("{} files form circles: {}\n  for example", group.len(), group.join(" "));
            for pair in circle.windows(2) {
                text += &format!("\n    {} -> {} ({})", pair[0], pair[1], imports[&(pair[0], pair[1])]);
            }
            found.push(text);
        }
        found
    }
}

/// Whether each of two files leads to the other.
fn joined(next: &BTreeMap<&str, Vec<&str>>, a: &str, b: &str) -> bool {
    way(next, a, b).is_some() && way(next, b, a).is_some()
}

/// A shortest way of at least one import from a file to another.
fn way<'a>(next: &BTreeMap<&'a str, Vec<&'a str>>, from: &str, to: &str) -> Option<Vec<&'a str>> {
    let start = next.get_key_value(from)?.0;
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([*start]);
    while let Some(at) = queue.pop_front() {
        for step in next.get(at).into_iter().flatten() {
            if before.contains_key(step) {
                continue;
            }
            before.insert(step, at);
            if *step == to {
                let mut way = vec![*step, at];
                while way[way.len() - 1] != from {
                    way.push(before[way[way.len() - 1]]);
                }
                way.reverse();
                return Some(way);
            }
            queue.push_back(step);
        }
    }
    None
}

fn child(of: &[String], name: &str) -> Vec<String> {
    of.iter().cloned().chain([name.to_string()]).collect()
}

/// Every path in code, words joined by `::`, and whether it is that of a macro. Not what follows a dot, nor `$crate`, nor
/// a word in small letters that is not called: it may be a variable.
fn paths(tokens: &[String]) -> Vec<(Vec<String>, bool)> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let dot = at > 0 && matches!(tokens[at - 1].as_str(), "." | "$" | "'");
        if !is_word(&tokens[at]) {
            at += 1;
            continue;
        }
        let mut path = vec![tokens[at].clone()];
        at += 1;
        while at + 1 < tokens.len() && tokens[at] == "::" && is_word(&tokens[at + 1]) {
            path.push(tokens[at + 1].clone());
            at += 2;
        }
        let opens = |t: &String| matches!(t.as_str(), "(" | "[" | "{");
        let is_macro = tokens.get(at).is_some_and(|t| t == "!") && tokens.get(at + 1).is_some_and(opens);
        let variable = path.len() == 1
            && path[0].starts_with(char::is_lowercase)
            && !is_macro
            && tokens.get(at).is_none_or(|t| t != "(");
        if !dot && !variable {
            all.push((path, is_macro));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(p, s)| (p.to_string(), s.to_string())).collect();
        Crate::new(&files, "src").circles()
    }

    #[test]
    fn planted_circles_are_found() {
        let root = ("src/lib.rs", "pub mod a; pub mod b; pub mod c;");
        let a = ("src/a.rs", "use crate::b::{self, x::Y}; pub struct A; fn f() -> Y {}");
        let b = ("src/b/mod.rs", "mod x; pub use x::Y; pub fn g() {}");
        let x = ("src/b/x.rs", "pub struct Y;");
        assert!(circles(&[root, a, b, x]).is_empty());

        // By a plain `use`, a path, a group, a name passed on, a module's name, a glob, another name.
        for back in [
            "use crate::a::A; pub struct Y(A);",
            "pub struct Y(crate::a::A);",
            "pub struct Y(super::super::a::A);",
            "use crate::{a::A, c}; pub struct Y(A);",
            "use crate::c::A; pub struct Y(A);",
            "use crate::a; pub struct Y(a::A);",
            "use crate::a::*; pub struct Y(A);",
            "use crate::{a::A as Other}; pub struct Y(Other);",
            // A trait whose methods are called.
            "use crate::a::A; pub struct Y;",
        ] {
            let c = ("src/c.rs", "pub use crate::a::A;");
            let found = circles(&[root, a, b, ("src/b/x.rs", back), c]);
            assert_eq!(found.len(), 1, "{back}: {found:?}");
            assert!(
                found[0].starts_with("2 files form circles: src/a.rs src/b/x.rs"),
                "{back}: {}",
                found[0]
            );
            assert!(found[0].contains("src/b/x.rs -> src/a.rs"), "{}", found[0]);
        }
    }

    #[test]
    fn a_module_that_passes_on_is_no_part_of_a_circle_but_one_that_uses_is() {
        let root = ("src/lib.rs", "pub mod b;");
        let x = ("src/b/x.rs", "use super::Shared; pub struct Y(Shared);");
        let passes = ("src/b/mod.rs", "mod x; pub use x::Y; pub struct Shared;");
        assert!(circles(&[root, passes, x]).is_empty());
        let inline =
            "mod x; pub use x::Y; pub struct Shared; mod z { use super::Shared; fn f(_: super::Shared) {} }";
        assert!(circles(&[root, ("src/b/mod.rs", inline), x]).is_empty());
        for uses in [
            "mod x; pub use x::Y; pub struct Shared; fn f(y: Y) {}",
            "mod x; pub use x::Y; pub struct Shared; mod z { fn f(_: super::Y) {} }",
            "mod x; pub struct Shared; fn f(y: x::Y) {}",
        ] {
            assert_eq!(circles(&[root, ("src/b/mod.rs", uses), x]).len(), 1, "{uses}");
        }
    }

    #[test]
    fn other_crates_comments_and_tests_are_no_imports() {
        let a = "use std::b::X; //! crate::b::g\nfn f(b: B) { b.g(); B::g() }\n#[cfg(test)]\nmod t { use crate::b::g; }";
        let b = "use crate::a::f; pub fn g() {}";
        assert!(circles(&[("src/lib.rs", ""), ("src/a.rs", a), ("src/b.rs", b)]).is_empty());
    }

    #[test]
    fn macros_lead_to_where_they_are_declared() {
        let files = [
            ("src/lib.rs", ""),
            ("src/a.rs", "macro_rules! config { () => { $crate::b::X } }"),
            ("src/b.rs", "crate::config! {} pub struct X; println!()"),
            ("src/cli/mod.rs", "mod print; mod c;"),
            ("src/cli/print.rs", "macro_rules! println { () => {} }"),
            ("src/cli/c.rs", "println!();"),
        ];
        let imports = Crate::new(&files.map(|(p, s)| (p.into(), s.into())), "src");
        let imports: Vec<_> = imports.imports().into_keys().collect();
        assert_eq!(imports, [("src/b.rs", "src/a.rs"), ("src/cli/c.rs", "src/cli/print.rs")]);
    }
}
