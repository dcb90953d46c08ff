//! The options in a study's file, `SECTION.KEY=VALUE`: each is known and takes its value, also those of scales that nobody
//! has asked for yet. Whether they have an effect where they stand is known when the study is expanded.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::source::{Source, SpecError};
use crate::config::Config;
use crate::train::sections::known_sections;

/// Key of a list of options.
const LIST: &str = "set";
/// Key of a table of such lists.
const LISTS: &str = "set_of";
/// The behaviour model.
const MODEL: &str = "model";
/// The phase in an environment, and its keys that an option of its list would overrule.
const ONLINE: &str = "online";
const KEYED: [&str; 2] = ["eval_every", "eval_episodes"];

/// An error with its line for an option that no configuration takes.
pub(super) fn check(source: &Source<'_>) -> Result<(), SpecError> {
    let Ok(file) = DeTable::parse(source.text) else { return Ok(()) };
    tables(source, file.get_ref())
}

fn tables(source: &Source<'_>, table: &DeTable<'_>) -> Result<(), SpecError> {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Array(_) if key.get_ref() == LIST => list(source, value.get_ref())?,
            DeValue::Table(lists) if key.get_ref() == LISTS => {
                lists.values().try_for_each(|value| list(source, value.get_ref()))?;
            }
            DeValue::Table(inner) => tables(source, inner)?,
            DeValue::Array(all) => {
                for inner in all.iter().filter_map(|value| value.get_ref().as_table()) {
                    tables(source, inner)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn list(source: &Source<'_>, options: &DeValue<'_>) -> Result<(), SpecError> {
    for option in options.as_array().into_iter().flatten() {
        let Some(text) = option.get_ref().as_str() else { continue };
        if let Err(e) = Config::new(known_sections()).apply_set(text) {
            return source.error(option.span(), e.to_string().trim_start_matches("--set "));
        }
    }
    Ok(())
}

/// An error with its line for an option in the list of `[online]`, or of a scale's, whose key is stated too.
pub(super) fn check_keyed(source: &Source<'_>) -> Result<(), SpecError> {
    let Ok(file) = DeTable::parse(source.text) else { return Ok(()) };
    let tables = with_scales(file.get_ref(), ONLINE);
    for (key, span) in tables.iter().flat_map(|table| keys(table)) {
        let stated = |name: &str| tables.iter().any(|table| value(table, name).is_some());
        if let Some(key) = KEYED.into_iter().find(|name| key == format!("{ONLINE}.{name}") && stated(name)) {
            let what = format!("{key}: expected it once, got a key and an option in `set`; keep the key");
            return source.error(span, what);
        }
    }
    Ok(())
}

/// An error with its line for an option in the list of `[model]`, or of a scale's, that no model reads.
pub(super) fn check_model(source: &Source<'_>) -> Result<(), SpecError> {
    let Ok(file) = DeTable::parse(source.text) else { return Ok(()) };
    let mut options = with_scales(file.get_ref(), MODEL).into_iter().flat_map(keys);
    match options.find(|(key, _)| key.split_once('.').is_some_and(|(section, _)| section == ONLINE)) {
        Some((key, span)) => {
            let what =
                "expected no option of the phase in an environment, of which a behaviour model has none";
            source.error(span, format!("model: {key}: {what}"))
        }
        None => Ok(()),
    }
}

/// The tables of this name: the study's, and those of its scales.
fn with_scales<'a, 'i>(file: &'a DeTable<'i>, name: &str) -> Vec<&'a DeTable<'i>> {
    let scales = inner(file, "scale").into_iter().flat_map(DeTable::values);
    let tables = [file].into_iter().chain(scales.filter_map(|scale| scale.get_ref().as_table()));
    tables.filter_map(|table| inner(table, name)).collect()
}

/// The keys of the options in a table's list, and where each option stands.
fn keys<'a>(table: &'a DeTable<'_>) -> impl Iterator<Item = (&'a str, Range<usize>)> {
    let options = value(table, LIST).and_then(DeValue::as_array).into_iter().flatten();
    options.filter_map(|option| Some((option.get_ref().as_str()?.split_once('=')?.0.trim(), option.span())))
}

fn value<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a DeValue<'i>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value.get_ref())
}

fn inner<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a DeTable<'i>> {
    value(table, name)?.as_table()
}
