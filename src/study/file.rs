//! The file of a study: a question, stated so that a program can ask it.
//!
//! Above 400 lines because what a file may say and what is refused of it stand together.
//!
//! ```toml
#![doc = include_str!("example.toml")]
//! ```
//!
//! `[model]` is for the behaviour model that some adaptations take; it is shared by all who do. A method may have fewer
//! `seeds` than the study, where it is dear, and be compared with another one than the plain one (`against = "LABEL"`). A
//! scale may also leave out methods (`methods`) and data sets (`data`), and change the seeds of a method
//! (`seeds_of = { LABEL = 2 }`), its options or those of a training (`set_of = { LABEL = ["KEY=VALUE"] }`), or the
//! preset of a training (`preset_of = { NAME = "PRESET" }`).

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::options;
use super::source::{Source, SpecError};
use super::spec::{Base, Begin, Interaction, Method, Spec, Training};
use crate::adapt;
use crate::algo;
use crate::config::presets;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    #[serde(default = "nothing")]
    about: Spanned<String>,
    seeds: Spanned<u64>,
    data: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    offline: BTreeMap<String, Spanned<OfflineTable>>,
    model: Option<Spanned<Training>>,
    #[serde(default)]
    method: Vec<Spanned<MethodTable>>,
    #[serde(default)]
    online: Interaction,
    #[serde(default)]
    scale: BTreeMap<String, Spanned<Scale>>,
}

fn nothing() -> Spanned<String> {
    Spanned::new(0..0, String::new())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfflineTable {
    algo: Spanned<String>,
    preset: Option<Spanned<String>>,
    updates: Option<u64>,
    #[serde(default)]
    set: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MethodTable {
    label: Spanned<String>,
    from: Option<Spanned<String>>,
    adapt: Option<Spanned<String>>,
    algo: Option<Spanned<String>>,
    preset: Option<Spanned<String>>,
    #[serde(default)]
    set: Vec<String>,
    seeds: Option<Spanned<u64>>,
    against: Option<Spanned<String>>,
}

/// A named reduction: what it states replaces what the file states.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    seeds: Option<Spanned<u64>>,
    data: Option<Spanned<Vec<Spanned<String>>>>,
    methods: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    seeds_of: BTreeMap<Spanned<String>, Spanned<u64>>,
    #[serde(default)]
    preset_of: BTreeMap<Spanned<String>, Spanned<String>>,
    /// options of a method or a training besides those it states
    #[serde(default)]
    set_of: BTreeMap<Spanned<String>, Vec<String>>,
    #[serde(default)]
    offline: Training,
    #[serde(default)]
    model: Training,
    #[serde(default)]
    online: Interaction,
}

impl Spec {
    /// Reads a study; `origin` names the text in errors, `scale` chooses one of its reductions. What would have no effect is
    /// refused.
    pub fn parse(origin: &str, text: &str, scale: Option<&str>) -> Result<Spec, SpecError> {
        let (file, spec) = Spec::read(origin, text, scale)?;
        file.check_effects(&Source { origin, text })?;
        Ok(spec)
    }

    /// Reads the study of a directory, which an earlier version may have made. Errors: a text that is no study, a scale
    /// that it does not have.
    pub fn read_back(origin: &str, text: &str, scale: Option<&str>) -> Result<Spec, SpecError> {
        Ok(Spec::read(origin, text, scale)?.1)
    }

    fn read(origin: &str, text: &str, scale: Option<&str>) -> Result<(File, Spec), SpecError> {
        let source = Source { origin, text };
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(e) => {
                let (span, what) = (e.span().unwrap_or(0..0), e.message().replace('\n', ", "));
                // A value that stands in one line is shown with its key.
                let within =
                    text.get(span.clone()).is_some_and(|value| !value.is_empty() && !value.contains('\n'));
                let line = text.lines().nth(source.line(span.clone()) - 1).filter(|_| within);
                let shown = line.map(|line| format!("`{}`: ", line.trim())).unwrap_or_default();
                return source.error(span, shown + &what);
            }
        };
        options::check(&source)?;
        for (name, table) in &file.scale {
            check_name(&source, "scale", name, table.span())?;
        }
        if let Some(name) = scale.filter(|name| !file.scale.contains_key(*name)) {
            let names: Vec<&str> = file.scale.keys().map(String::as_str).collect();
            let what = match names.is_empty() {
                true => format!("--scale {name}: the study has no scales; leave it out"),
                false => format!("--scale {name}: expected {}", names.join(" or ")),
            };
            return source.error(0..0, what);
        }
        let mut spec = file.base(&source)?;
        for method in &file.method {
            let method = method.get_ref().read(&source, &spec)?;
            spec.methods.push(method);
        }
        let labels: Vec<&str> = spec.methods.iter().map(|m| m.label.as_str()).collect();
        for method in &file.method {
            let MethodTable { label, against: Some(against), .. } = method.get_ref() else { continue };
            let others: Vec<&str> =
                labels.iter().copied().filter(|l| *l != label.get_ref().as_str()).collect();
            source.known(against, &others, "against")?;
        }
        if spec.methods.is_empty() {
            return source.error(0..text.len(), "method: expected at least one [[method]], got none");
        }
        // What every scale names must be there, not only what the one does that is asked for.
        let mut chosen = None;
        for (name, reduction) in &file.scale {
            let reduced = reduction.get_ref().apply(name, &source, &spec)?;
            chosen = chosen.or((scale == Some(name.as_str())).then_some(reduced));
        }
        Ok((file, chosen.unwrap_or(spec)))
    }
}

impl File {
    /// An error for what would have no effect: trainings that no method begins from, more seeds of a method than there are,
    /// what a scale says of methods that it leaves out or of two things at once, a key that an option overrules.
    fn check_effects(&self, source: &Source<'_>) -> Result<(), SpecError> {
        let about = &self.about;
        if about.get_ref().contains(char::is_control) {
            let what = format!("about: expected text in one line, got {:?}", about.get_ref());
            return source.error(about.span(), what);
        }
        let methods = || self.method.iter().map(Spanned::get_ref);
        for (name, table) in &self.offline {
            if !methods().any(|m| m.from.as_ref().is_some_and(|from| from.get_ref() == name)) {
                let what =
                    format!("offline: expected a method that begins from `{name}`, got none; leave it out");
                return source.error(table.span(), what);
            }
        }
        let at_most = |key: &str, n: &Spanned<u64>, all: u64| match *n.get_ref() <= all {
            true => Ok(()),
            false => {
                let what =
                    format!("{key}: expected at most {all}, as many as others have, got {}", n.get_ref());
                source.error(n.span(), what)
            }
        };
        methods().flat_map(|m| &m.seeds).try_for_each(|n| at_most("seeds", n, *self.seeds.get_ref()))?;
        options::check_keyed(source)?;
        options::check_model(source)?;
        for table in self.scale.values() {
            let scale = table.get_ref();
            let all = *scale.seeds.as_ref().unwrap_or(&self.seeds).get_ref();
            scale.seeds_of.values().try_for_each(|n| at_most("seeds_of", n, all))?;
            let is_both = |name: &&Spanned<String>| {
                let name = name.get_ref();
                self.offline.contains_key(name) && methods().any(|m| m.label.get_ref() == name)
            };
            if let Some(name) = scale.set_of.keys().find(is_both) {
                let what = format!(
                    "set_of: expected one thing of this name, got a training and a method, `{}`; name one of them otherwise",
                    name.get_ref()
                );
                return source.error(name.span(), what);
            }
            let Some(kept) = &scale.methods else { continue };
            let kept =
                |m: &&MethodTable| kept.get_ref().iter().any(|kept| kept.get_ref() == m.label.get_ref());
            let begins: Vec<&str> =
                methods().filter(kept).flat_map(|m| &m.from).map(|from| from.get_ref().as_str()).collect();
            let is_used = |name: &str| {
                begins.contains(&name) || methods().filter(kept).any(|m| m.label.get_ref() == name)
            };
            let said = scale.seeds_of.keys().map(|label| ("seeds_of", label));
            let said = said.chain(scale.set_of.keys().map(|label| ("set_of", label)));
            let mut said = said.chain(scale.preset_of.keys().map(|label| ("preset_of", label)));
            if let Some((key, label)) = said.find(|(_, label)| !is_used(label.get_ref())) {
                let what = format!(
                    "{key}: `{}` is left out by the scale's methods; leave it out here too",
                    label.get_ref()
                );
                return source.error(label.span(), what);
            }
            for (key, training) in [("offline", &scale.offline), ("model", &scale.model)] {
                if begins.is_empty() && training.is_stated() {
                    let what = format!("{key}: none of the scale's methods begins from data; leave it out");
                    return source.error(table.span(), what);
                }
            }
        }
        Ok(())
    }

    /// All but its methods.
    fn base(&self, source: &Source<'_>) -> Result<Spec, SpecError> {
        let name = self.name.get_ref();
        check_name(source, "name", name, self.name.span())?;
        let mut offline = BTreeMap::new();
        let mut lines = lines(source, &self.data);
        lines.extend(self.model.iter().map(|table| ("model".to_string(), source.line(table.span()))));
        for (name, table) in &self.offline {
            lines.insert(format!("offline {name}"), source.line(table.span()));
            check_name(source, "offline", name, table.span())?;
            let OfflineTable { algo, preset, updates, set } = table.get_ref();
            check_algo(source, algo, preset.as_ref())?;
            let training = Training { updates: *updates, set: set.clone() };
            let base = Base { algo: algo.get_ref().clone(), preset: text(preset.as_ref()), training };
            offline.insert(name.clone(), base);
        }
        Ok(Spec {
            origin: source.origin.into(),
            name: name.clone(),
            about: self.about.get_ref().clone(),
            scale: None,
            seeds: seeds(source, &self.seeds)?,
            data: data(source, &self.data)?,
            lines,
            offline,
            model: self.model.as_ref().map(|model| model.get_ref().clone()).unwrap_or_default(),
            methods: Vec::new(),
            online: self.online.clone(),
        })
    }
}

impl MethodTable {
    fn read(&self, source: &Source<'_>, spec: &Spec) -> Result<Method, SpecError> {
        let label = &self.label;
        if label.get_ref().trim().is_empty() {
            return source.error(label.span(), "label: expected a name for tables, got nothing");
        }
        if label.get_ref().contains(char::is_control) {
            let what = format!("label: expected text in one line, got {:?}", label.get_ref());
            return source.error(label.span(), what);
        }
        if let Some(other) = spec.methods.iter().find(|m| m.label == *label.get_ref()) {
            let what = format!("label: {} is that of the method on line {} too", other.label, other.line);
            return source.error(label.span(), what);
        }
        let begin = match (&self.from, &self.algo) {
            (Some(from), None) => {
                let names: Vec<&str> = spec.offline.keys().map(String::as_str).collect();
                source.known(from, &names, "from")?;
                if let Some(preset) = &self.preset {
                    let what = "preset: expected none beside `from`; it belongs to [offline.NAME]";
                    return source.error(preset.span(), what);
                }
                let Some(adapt) = &self.adapt else {
                    let what = "adapt: expected an adaptation beside `from`, as in adapt = \"plain\"";
                    return source.error(from.span(), what);
                };
                let names: Vec<&str> = adapt::ADAPTATIONS.iter().map(|e| e.name).collect();
                source.known(adapt, &names, "adapt")?;
                Begin::From { offline: from.get_ref().clone(), adapt: adapt.get_ref().clone() }
            }
            (None, Some(algo)) => {
                check_algo(source, algo, self.preset.as_ref())?;
                if let Some(adapt) = &self.adapt {
                    let what = "adapt: expected none beside `algo`, which learns from scratch";
                    return source.error(adapt.span(), what);
                }
                Begin::Scratch { algo: algo.get_ref().clone(), preset: text(self.preset.as_ref()) }
            }
            _ => {
                let what = "method: expected `from` and `adapt`, or `algo` to learn from scratch";
                return source.error(label.span(), what);
            }
        };
        Ok(Method {
            label: label.get_ref().clone(),
            begin,
            set: self.set.clone(),
            seeds: self.seeds.as_ref().map(|n| seeds(source, n)).transpose()?,
            against: text(self.against.as_ref()),
            line: source.line(label.span()),
        })
    }
}

impl Scale {
    fn apply(&self, name: &str, source: &Source<'_>, spec: &Spec) -> Result<Spec, SpecError> {
        let mut spec = spec.clone();
        spec.scale = Some(name.to_string());
        if let Some(n) = &self.seeds {
            spec.seeds = seeds(source, n)?;
        }
        if let Some(names) = &self.data {
            spec.data = data(source, names)?;
            spec.lines.extend(lines(source, names));
        }
        let known: Vec<String> = spec.methods.iter().map(|m| m.label.clone()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for (label, n) in &self.seeds_of {
            source.known(label, &known, "seeds_of")?;
            let n = seeds(source, n)?;
            spec.methods.iter_mut().filter(|m| m.label == *label.get_ref()).for_each(|m| m.seeds = Some(n));
        }
        if let Some(labels) = &self.methods {
            let (span, labels) = (labels.span(), labels.get_ref());
            labels.iter().try_for_each(|label| source.known(label, &known, "methods"))?;
            let kept = |label: &String| labels.iter().any(|kept| kept.get_ref() == label);
            spec.methods.retain(|m| kept(&m.label));
            if spec.methods.is_empty() {
                return source.error(span, "methods: expected at least one, got none");
            }
            for Method { label, against, .. } in &spec.methods {
                if let Some(base) = against.as_ref().filter(|base| !kept(base)) {
                    let what = format!("methods: expected `{base}` too, which `{label}` is compared with");
                    return source.error(span, what);
                }
            }
        }
        let trainings: Vec<String> = spec.offline.keys().cloned().collect();
        let trainings: Vec<&str> = trainings.iter().map(String::as_str).collect();
        for (name, preset) in &self.preset_of {
            source.known(name, &trainings, "preset_of")?;
            check_preset(source, preset)?;
            if let Some(base) = spec.offline.get_mut(name.get_ref()) {
                base.preset = Some(preset.get_ref().clone());
            }
        }
        // What is said of all comes before what is said of one.
        for base in spec.offline.values_mut() {
            base.training = base.training.over(&self.offline);
        }
        let all: Vec<&str> = trainings.iter().chain(&known).copied().collect();
        for (name, options) in &self.set_of {
            source.known(name, &all, "set_of")?;
            let of_method =
                spec.methods.iter_mut().filter(|m| m.label == *name.get_ref()).map(|m| &mut m.set);
            let of_training = spec.offline.get_mut(name.get_ref()).map(|base| &mut base.training.set);
            of_method.chain(of_training).for_each(|set| set.extend(options.iter().cloned()));
        }
        spec.model = spec.model.over(&self.model);
        let (old, new) = (&spec.online, &self.online);
        spec.online = Interaction {
            env_steps: new.env_steps.or(old.env_steps),
            eval_every: new.eval_every.or(old.eval_every),
            eval_episodes: new.eval_episodes.or(old.eval_episodes),
            set: old.set.iter().chain(&new.set).cloned().collect(),
        };
        Ok(spec)
    }
}

/// A name that is part of a directory's.
fn check_name(source: &Source<'_>, what: &str, name: &str, span: Range<usize>) -> Result<(), SpecError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || name.len() > 100 || !name.chars().all(fits) {
        let what =
            format!("{what}: expected letters, digits, `-`, `_` and `.`, at most 100 of them, got {name:?}");
        return source.error(span, what);
    }
    Ok(())
}

fn text(word: Option<&Spanned<String>>) -> Option<String> {
    word.map(|w| w.get_ref().clone())
}

fn check_algo(
    source: &Source<'_>,
    algo: &Spanned<String>,
    preset: Option<&Spanned<String>>,
) -> Result<(), SpecError> {
    let names: Vec<&str> = algo::all().map(|e| e.name).collect();
    source.known(algo, &names, "algo")?;
    preset.map_or(Ok(()), |preset| check_preset(source, preset))
}

fn check_preset(source: &Source<'_>, preset: &Spanned<String>) -> Result<(), SpecError> {
    match presets::find(preset.get_ref()) {
        Err(e) => source.error(preset.span(), format!("preset: {e}")),
        Ok(_) => Ok(()),
    }
}

fn seeds(source: &Source<'_>, n: &Spanned<u64>) -> Result<u64, SpecError> {
    match *n.get_ref() {
        n @ 1..=1000 => Ok(n),
        other => source.error(n.span(), format!("seeds: expected how many, 1 to 1000, got {other}")),
    }
}

fn data(source: &Source<'_>, names: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, SpecError> {
    let mut all: Vec<String> = Vec::new();
    for name in names.get_ref() {
        if name.get_ref().trim().is_empty() || all.contains(name.get_ref()) {
            let what = format!("data: expected different names, got \"{}\"", name.get_ref());
            return source.error(name.span(), what);
        }
        all.push(name.get_ref().clone());
    }
    match all.is_empty() {
        true => source.error(names.span(), "data: expected at least one data set, got none"),
        false => Ok(all),
    }
}

/// Where each data set stands.
fn lines(source: &Source<'_>, names: &Spanned<Vec<Spanned<String>>>) -> BTreeMap<String, usize> {
    let line = |name: &Spanned<String>| (format!("data {}", name.get_ref()), source.line(name.span()));
    names.get_ref().iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = r#"
name = "short"
seeds = 3
data = ["embedded"]
[offline.iql]
algo = "iql"
updates = 10
[[method]]
label = "IQL"
from = "iql"
adapt = "plain"
[[method]]
label = "IQL + BAQ"
from = "iql"
adapt = "baq"
seeds = 2
[[method]]
label = "RLPD"
algo = "rlpd"
[online]
env_steps = 100
[scale.tiny]
seeds = 1
offline = { updates = 5, set = ["offline.batch=4"] }
online = { env_steps = 50, set = ["online.batch=8"] }
methods = ["IQL", "RLPD"]
seeds_of = { RLPD = 1 }
preset_of = { iql = "iql_small" }
set_of = { IQL = ["online.warmup_steps=9"], iql = ["iql.expectile=0.8"] }
"#;

    #[test]
    fn a_scale_replaces_what_it_states() {
        let whole = Spec::parse("x.toml", SHORT, None).unwrap();
        assert_eq!((whole.title(), whole.seeds, whole.methods.len()), ("short".into(), 3, 3));
        assert_eq!(whole.base_of(&whole.methods[1]).map(|m| m.label.as_str()), Some("IQL"));
        assert!(whole.base_of(&whole.methods[0]).is_none() && whole.base_of(&whole.methods[2]).is_none());
        let tiny = Spec::parse("x.toml", SHORT, Some("tiny")).unwrap();
        assert_eq!((tiny.title(), tiny.seeds, tiny.methods.len()), ("short-tiny".into(), 1, 2));
        assert_eq!(tiny.offline["iql"].training.updates, Some(5));
        assert_eq!((tiny.online.env_steps, tiny.online.set.len()), (Some(50), 1));
        // What is said of one training overrules what is said of all.
        assert_eq!(tiny.offline["iql"].training.set, ["offline.batch=4", "iql.expectile=0.8"]);
        assert_eq!((tiny.methods[0].seeds, tiny.methods[1].seeds), (None, Some(1)));
        assert_eq!(
            (&tiny.methods[0].set[..], tiny.methods[1].set.len()),
            (&["online.warmup_steps=9".into()][..], 0)
        );
        assert_eq!(
            (tiny.offline["iql"].preset.as_deref(), &whole.offline["iql"].preset),
            (Some("iql_small"), &None)
        );
    }

    #[test]
    fn a_method_may_name_what_it_is_compared_with() {
        let text = SHORT
            .replace("algo = \"rlpd\"", "algo = \"rlpd\"\nagainst = \"IQL + BAQ\"")
            .replace("methods = [\"IQL\", ", "methods = [\"IQL + BAQ\", ")
            .replace("set_of = { IQL", "set_of = { RLPD");
        let spec = Spec::parse("x.toml", &text, None).unwrap();
        assert_eq!(spec.base_of(&spec.methods[2]).map(|m| m.label.as_str()), Some("IQL + BAQ"));
        let itself = text.replace("against = \"IQL + BAQ\"", "against = \"RLPD\"");
        let e = Spec::parse("x.toml", &itself, None).unwrap_err().to_string();
        assert!(e.contains("line 20: against: expected IQL or IQL + BAQ, got RLPD"), "{e}");
    }

    #[test]
    fn mistakes_are_refused_with_their_line() {
        for (from, to, line, words) in [
            ("seeds = 3", "seed = 3", 3, "seed"),
            ("seeds = 3", "seeds = 0", 3, "seeds: expected how many"),
            ("data = [\"embedded\"]", "data = []", 4, "at least one"),
            ("data = [\"embedded\"]", "data = [\"a\", \"a\"]", 4, "different"),
            ("algo = \"iql\"", "algo = \"iqll\"", 6, "did you mean `iql`?"),
            ("updates = 10", "updates = \"many\"", 7, "expected u64"),
            (
                "from = \"iql\"\nadapt = \"plain\"",
                "from = \"cql\"\nadapt = \"plain\"",
                10,
                "from: expected iql",
            ),
            ("adapt = \"baq\"", "adapt = \"bag\"", 15, "did you mean `baq`?"),
            ("label = \"IQL + BAQ\"", "label = \"IQL\"", 13, "line 9"),
            ("algo = \"rlpd\"", "algo = \"rlpd\"\nadapt = \"baq\"", 20, "from scratch"),
            ("methods = [\"IQL\", \"RLPD\"]", "methods = [\"IQ\"]", 26, "did you mean `IQL`?"),
            ("seeds_of = { RLPD = 1 }", "seeds_of = { RLPD = 0 }", 27, "seeds: expected how many"),
            ("seeds_of = { RLPD = 1 }", "seeds_of = { SAC = 1 }", 27, "seeds_of: expected IQL"),
            (
                "set = [\"online.batch=8\"]",
                "eval_every = 9, set = [\"online.eval_every=8\"]",
                25,
                "eval_every: expected",
            ),
            ("label = \"IQL + BAQ\"", "label = \"iql\"", 29, "a training and a method"),
            ("preset_of = { iql = \"iql_small\" }", "preset_of = { iql = \"x\" }", 28, "preset"),
            ("set_of = { IQL", "set_of = { SAC", 29, "set_of: expected iql or IQL"),
            ("online.batch=8", "online.batches=8", 25, "did you mean `online.batch`?"),
            ("iql.expectile=0.8", "iql.expectile=8", 29, "iql.expectile"),
            ("online.warmup_steps=9", "online.warmup_steps", 29, "expected section.key=value"),
            ("name = \"short\"", "name = \"a/b\"", 2, "name: expected letters"),
            ("seeds = 3\n", "seeds = 3\nabout = \"a\\u001bb\"\n", 4, "about: expected text in one line"),
            ("seeds = 2\n", "seeds = 4\n", 16, "seeds: expected at most 3, as many"),
            (
                "seeds_of = { RLPD = 1 }",
                "seeds_of = { RLPD = 2 }",
                27,
                "seeds_of: expected at most 1, as many",
            ),
            (
                "seeds_of = { RLPD = 1 }",
                "seeds_of = { \"IQL + BAQ\" = 1 }",
                27,
                "seeds_of: `IQL + BAQ` is left out",
            ),
            ("[online]", "[offline.cql]\nalgo = \"cql\"\n[online]", 20, "begins from `cql`, got none"),
            ("algo = \"rlpd\"", "algo = \"rlpd\"\nagainst = \"IQL + BAQ\"", 27, "expected `IQL + BAQ` too"),
        ] {
            assert!(SHORT.contains(from), "{from}");
            let text = SHORT.replacen(from, to, 1);
            let e = Spec::parse("x.toml", &text, None).unwrap_err().to_string();
            assert!(e.starts_with(&format!("x.toml, line {line}: ")) && e.contains(words), "{to}: {e}");
        }
        // A directory may hold what is refused now.
        let unused = SHORT.replace("[online]", "[offline.cql]\nalgo = \"cql\"\n[online]");
        assert!(Spec::read_back("x.toml", &unused, None).is_ok());
        let both = SHORT.replace("label = \"IQL + BAQ\"", "label = \"iql\"");
        assert!(Spec::read_back("x.toml", &both, None).is_ok());
        let e = Spec::parse("x.toml", SHORT, Some("huge")).unwrap_err().to_string();
        assert!(e.contains("--scale huge: expected tiny"), "{e}");
    }
}
