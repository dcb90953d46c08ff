//! A whole configuration: read from presets, files and `--set`, checked, written back.
//!
//! Above 400 lines because every way of setting a value notes who set it.

use super::error::{ConfigError, nearest};
use super::field::{Field, Section};
use super::presets;
use super::stated::{By, Stated};
use super::value::render;
use std::any::Any;
use std::fmt::Write as _;
use std::path::Path;
use toml::{Table, Value};

/// A [`Section`] of which only the name is known at compile time.
pub trait AnySection {
    /// Name in files.
    fn name(&self) -> &'static str;
    /// What it configures.
    fn about(&self) -> &'static str;
    /// Its declared options.
    fn fields(&self) -> &'static [Field];
    /// See [`Section::get`].
    fn get(&self, key: &str) -> Option<Value>;
    /// See [`Section::set`]. Errors: no such option; a value that it does not accept.
    fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError>;
    /// For the way back to the concrete type.
    fn as_any(&self) -> &dyn Any;
    /// As `as_any`, mutable.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// A copy.
    fn copy(&self) -> Box<dyn AnySection>;
}

/// A wrapper, so that the methods of [`AnySection`] and [`Section`] never stand on one type.
struct Held<S>(S);

impl<S: Section> AnySection for Held<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }
    fn about(&self) -> &'static str {
        S::ABOUT
    }
    fn fields(&self) -> &'static [Field] {
        S::fields()
    }
    fn get(&self, key: &str) -> Option<Value> {
        self.0.get(key)
    }
    fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        self.0.set(key, value)
    }
    fn as_any(&self) -> &dyn Any {
        &self.0
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        &mut self.0
    }
    fn copy(&self) -> Box<dyn AnySection> {
        Box::new(Held(self.0.clone()))
    }
}

/// A section with its defaults, for the list of known sections given to [`resolve`].
pub fn section<S: Section>() -> Box<dyn AnySection> {
    Box::new(Held(S::default()))
}

/// Sections in a fixed order, every option with a checked value.
pub struct Config {
    sections: Vec<Box<dyn AnySection>>,
    /// What has been given a value, each option once, by whoever had the last word.
    stated: Vec<Stated>,
}

impl Clone for Config {
    fn clone(&self) -> Self {
        Self { sections: self.sections.iter().map(|s| s.copy()).collect(), stated: self.stated.clone() }
    }
}

/// Equal when they hold the same sections in the same order with the same values.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.sections.len() == other.sections.len()
            && self
                .sections
                .iter()
                .zip(&other.sections)
                .all(|(a, b)| a.name() == b.name() && a.fields().iter().all(|f| a.get(f.key) == b.get(f.key)))
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.bare_toml(&[]))
    }
}

/// Layers, later ones win: declared defaults; `preset` or the file's `inherit`; `file`;
/// `sets` (`section.key=value`). `known` lists every section there is, with its defaults;
/// see [`Config::restrict`] for keeping only those of one run.
/// Errors: `file` cannot be read or is no TOML; it inherits, and `preset` is given too; a preset, section or option
/// that there is not; a value that its option does not accept; one of `sets` in another form.
pub fn resolve(
    known: Vec<Box<dyn AnySection>>,
    preset: Option<&str>,
    file: Option<&Path>,
    sets: &[String],
) -> Result<Config, ConfigError> {
    resolve_over(known, ("", ""), preset, ("", ""), file, sets)
}

/// As [`resolve`], with the texts of two other configuration files, each with its name in errors: one below the preset, one
/// between it and `file`.
pub fn resolve_over(
    known: Vec<Box<dyn AnySection>>,
    (beneath, below): (&str, &str),
    preset: Option<&str>,
    (origin, between): (&str, &str),
    file: Option<&Path>,
    sets: &[String],
) -> Result<Config, ConfigError> {
    let mut config = Config::new(known);
    config.apply_text(beneath, below)?;
    let file = match file {
        None => None,
        Some(path) => {
            let origin = path.display().to_string();
            let table = parse_table(&read(path)?).map_err(|e| e.in_origin(&origin))?;
            Some((origin, table))
        }
    };
    if let Some(name) = preset {
        if let Some((origin, Some(inherited))) = file.as_ref().map(|(o, t)| (o, t.get("inherit"))) {
            return Err(ConfigError::Other(format!(
                "{origin}: it inherits {} and --preset {name} was given too; keep one of them",
                render(inherited)
            )));
        }
        config.apply_preset(name)?;
    }
    if let Some((origin, table)) = &file {
        config.inherit(origin, table, 0)?;
    }
    config.apply_text(origin, between)?;
    if let Some((origin, table)) = &file {
        config.apply_values(origin, table, By::File)?;
    }
    for set in sets {
        config.apply_set(set)?;
    }
    Ok(config)
}

/// Whether a configuration file starts from a preset of its own. Errors: it cannot be read or is no TOML.
pub fn inherits(path: &Path) -> Result<bool, ConfigError> {
    let table = parse_table(&read(path)?).map_err(|e| e.in_origin(&path.display().to_string()))?;
    Ok(table.contains_key("inherit"))
}

impl Config {
    /// These sections as they are.
    pub fn new(sections: Vec<Box<dyn AnySection>>) -> Self {
        Self { sections, stated: Vec::new() }
    }

    /// Applies an embedded preset and what it inherits. Errors: no such preset, or one of a section that is not here.
    pub fn apply_preset(&mut self, name: &str) -> Result<(), ConfigError> {
        self.apply_preset_at(name, 0)
    }

    fn apply_preset_at(&mut self, name: &str, depth: usize) -> Result<(), ConfigError> {
        let preset = presets::find(name)?;
        let origin = format!("preset {name}");
        let table = parse_table(preset.text).map_err(|e| e.in_origin(&origin))?;
        self.apply_table(&origin, &table, depth)
    }

    /// Applies the text of a configuration that nobody asks for in this command, as that of an earlier run; `origin` is
    /// its name in errors.
    pub fn apply_text(&mut self, origin: &str, text: &str) -> Result<(), ConfigError> {
        let table = parse_table(text).map_err(|e| e.in_origin(origin))?;
        self.apply_table(origin, &table, 0)
    }

    /// Applies a configuration file that the user names. Errors: it cannot be read or is no TOML; a preset, section or
    /// option in it that there is not; a value that its option does not accept.
    pub fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.apply_file_over(path, ("", ""))
    }

    /// The same, with another text and its name in errors between what the file inherits and what it says itself.
    pub fn apply_file_over(&mut self, path: &Path, (name, between): (&str, &str)) -> Result<(), ConfigError> {
        let origin = path.display().to_string();
        let table = parse_table(&read(path)?).map_err(|e| e.in_origin(&origin))?;
        self.inherit(&origin, &table, 0)?;
        self.apply_text(name, between)?;
        self.apply_values(&origin, &table, By::File)
    }

    fn state(&mut self, section: &str, key: &str, by: By, place: String) {
        self.stated.retain(|s| (s.section.as_str(), s.key.as_str()) != (section, key));
        self.stated.push(Stated { section: section.into(), key: key.into(), by, place });
    }

    /// Options that presets, files, `--set` or arguments have given a value.
    pub fn stated(&self) -> &[Stated] {
        &self.stated
    }

    /// The last word on an option, if anything but its declaration gave it a value.
    pub fn find_stated(&self, section: &str, key: &str) -> Option<&Stated> {
        self.stated.iter().find(|s| (s.section.as_str(), s.key.as_str()) == (section, key))
    }

    fn apply_table(&mut self, origin: &str, table: &Table, depth: usize) -> Result<(), ConfigError> {
        self.inherit(origin, table, depth)?;
        self.apply_values(origin, table, By::Preset)
    }

    /// Applies the preset that a file starts from.
    fn inherit(&mut self, origin: &str, table: &Table, depth: usize) -> Result<(), ConfigError> {
        let other = |text: String| Err(ConfigError::Other(text).in_origin(origin));
        if let Some(parent) = table.get("inherit") {
            let Some(parent) = parent.as_str() else {
                return other(format!("inherit: expected the name of a preset, got {}", render(parent)));
            };
            if depth >= 8 {
                return other(format!("inherit = \"{parent}\" goes round in a circle (more than 8 levels)"));
            }
            self.apply_preset_at(parent, depth + 1).map_err(|e| e.in_origin(origin))?;
        }
        Ok(())
    }

    /// Applies what a file itself says.
    fn apply_values(&mut self, origin: &str, table: &Table, by: By) -> Result<(), ConfigError> {
        let other = |text: String| Err(ConfigError::Other(text).in_origin(origin));
        for (name, value) in table {
            if name == "inherit" {
                continue;
            }
            let section = self.find(name).map_err(|e| e.in_origin(origin))?;
            let Value::Table(values) = value else {
                return other(format!("{name}: expected a section, `[{name}]` on its own line"));
            };
            for (key, value) in values {
                section.set(key, value).map_err(|e| e.in_origin(origin))?;
            }
            for key in values.keys() {
                self.state(name, key, by, format!("{origin}: {name}.{key}"));
            }
        }
        Ok(())
    }

    /// Gives an option the value of the argument of its own that stands for it. An error if `--set` has given it
    /// another one.
    pub fn apply_argument(
        &mut self,
        argument: &str,
        (section, key): (&str, &str),
        value: &Value,
    ) -> Result<(), ConfigError> {
        let before = self.get(section, key);
        self.find(section)?.set(key, value).map_err(|e| e.in_origin(argument))?;
        if let (true, Some(before)) = (self.is_set(section, key), before)
            && self.get(section, key).as_ref() != Some(&before)
        {
            return Err(ConfigError::Other(format!(
                "{argument}: --set {section}.{key}={} was given too; keep one of them",
                render(&before)
            )));
        }
        self.state(section, key, By::Argument, argument.to_string());
        Ok(())
    }

    /// Gives an option a value that follows from somewhere else: nobody has asked for it. Errors: no such section or
    /// option; a value that it does not accept.
    pub fn follow(&mut self, (section, key): (&str, &str), value: &Value) -> Result<(), ConfigError> {
        self.find(section)?.set(key, value)
    }

    /// The value of `section.key`, if it is there.
    pub fn get(&self, section: &str, key: &str) -> Option<Value> {
        self.sections.iter().find(|s| s.name() == section)?.get(key)
    }

    /// Applies one `section.key=value`. The value is read as TOML, or else as bare text. Errors: a text of another
    /// form; no such section or option; a value that it does not accept.
    pub fn apply_set(&mut self, set: &str) -> Result<(), ConfigError> {
        let malformed = || ConfigError::Other(format!("--set {set}: expected section.key=value"));
        let (place, text) = set.split_once('=').ok_or_else(malformed)?;
        let (name, key) = place.trim().split_once('.').ok_or_else(malformed)?;
        if name.is_empty() || key.is_empty() {
            return Err(malformed());
        }
        let text = text.trim();
        let bare = Value::String(text.to_string());
        let value = parse_table(&format!("v = {text}"))
            .ok()
            // A line break in the text could smuggle in a second key.
            .filter(|t| t.len() == 1)
            .and_then(|t| t.get("v").cloned())
            .unwrap_or_else(|| bare.clone());
        let section = self.find(name)?;
        // A text option may well be called 2024; try the value as text before complaining.
        if let Err(error) = section.set(key, &value)
            && section.set(key, &bare).is_err()
        {
            return Err(error);
        }
        self.state(name, key, By::Set, format!("--set {name}.{key}"));
        Ok(())
    }

    /// The values of section `S`, or its defaults when this configuration has no such section.
    pub fn section<S: Section>(&self) -> S {
        self.sections.iter().find_map(|s| s.as_any().downcast_ref::<S>()).cloned().unwrap_or_default()
    }

    /// Whether this option was given by `--set`.
    pub fn is_set(&self, section: &str, key: &str) -> bool {
        self.find_stated(section, key).is_some_and(|s| s.by == By::Set)
    }

    /// Whether section `S` is part of this configuration.
    pub fn has<S: Section>(&self) -> bool {
        self.sections.iter().any(|s| s.as_any().is::<S>())
    }

    /// Replaces the values of section `S`, adding it at the end if it is not there.
    pub fn put<S: Section>(&mut self, values: S) {
        match self.sections.iter_mut().find_map(|s| s.as_any_mut().downcast_mut::<S>()) {
            Some(place) => *place = values,
            None => self.sections.push(Box::new(Held(values))),
        }
    }

    /// The value of an option as text without quotes; empty if there is no such option.
    pub fn text(&self, section: &str, key: &str) -> String {
        match self.sections().find(|s| s.name() == section).and_then(|s| s.get(key)) {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => render(&other),
        }
    }

    /// The sections in order.
    pub fn sections(&self) -> impl Iterator<Item = &dyn AnySection> {
        self.sections.iter().map(AsRef::as_ref)
    }

    /// Only the named sections. An error if the user addressed one of the others: a setting
    /// that is ignored is a misunderstanding.
    pub fn restrict(mut self, active: &[&str]) -> Result<Self, ConfigError> {
        let ignored = |s: &&Stated| s.by != By::Preset && !active.contains(&s.section.as_str());
        if let Some(stated) = self.stated.iter().find(ignored) {
            return Err(ConfigError::Inactive {
                place: stated.place.clone(),
                section: stated.section.clone(),
                active: active.join(", "),
            });
        }
        self.sections.retain(|s| active.contains(&s.name()));
        Ok(self)
    }

    /// The configuration as a TOML file: every value, under its meaning, range and default.
    /// [`Config::apply_text`] on it gives back an equal configuration.
    pub fn to_toml(&self) -> String {
        let mut out = String::from("# Resolved configuration: every value that this run used.\n");
        for section in self.sections() {
            let _ = write!(out, "\n# {}\n[{}]\n", section.about(), section.name());
            for field in section.fields() {
                let value = section.get(field.key).expect("invariant: fields() are readable");
                let _ = writeln!(
                    out,
                    "# {} ({}; default {})\n{} = {}",
                    field.about,
                    field.accepts(),
                    render(&field.default),
                    field.key,
                    render(&value)
                );
            }
        }
        out
    }

    fn bare_toml(&self, without: &[&str]) -> String {
        let mut out = String::new();
        for section in self.sections() {
            let _ = writeln!(out, "[{}]", section.name());
            for field in section.fields() {
                let place = format!("{}.{}", section.name(), field.key);
                if !without.contains(&place.as_str()) {
                    let value = section.get(field.key).expect("invariant: fields() are readable");
                    let _ = writeln!(out, "{} = {}", field.key, render(&value));
                }
            }
        }
        out
    }

    /// First 12 hex digits of the SHA-256 of all values, except those of the keys in `without`
    /// (for example `run.seed`, to recognise the seeds of one experiment).
    pub fn hash(&self, without: &[&str]) -> String {
        crate::files::sha256(self.bare_toml(without).as_bytes())[..12].to_string()
    }

    fn find(&mut self, name: &str) -> Result<&mut Box<dyn AnySection>, ConfigError> {
        let names: Vec<&str> = self.sections.iter().map(|s| s.name()).collect();
        match names.iter().position(|n| *n == name) {
            Some(i) => Ok(&mut self.sections[i]),
            None => Err(ConfigError::UnknownSection {
                section: name.to_string(),
                nearest: nearest(name, names.iter().copied()),
                known: names.join(", "),
            }),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    crate::files::read_to_string(path)
        .map_err(|e| ConfigError::Other(format!("{}: cannot read the configuration: {e}", path.display())))
}

fn parse_table(text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|e| {
        let line = e.span().map(|s| 1 + text[..s.start.min(text.len())].matches('\n').count());
        let message = e.message().replace('\n', "; ");
        ConfigError::Other(match line {
            Some(line) => format!("line {line}: not TOML: {message}"),
            None => format!("not TOML: {message}"),
        })
    })
}
