//! The options in a study's file, `SECTION.KEY=VALUE`: each is known and takes its value, also those of scales that nobody
//! has asked for yet. Whether they have an effect where they stand is known when the study is expanded.

use toml::de::{DeTable, DeValue};

use super::source::{Source, SpecError};
use crate::config::Config;
use crate::train::sections::known_sections;

/// Key of a list of options.
const LIST: &str = "set";
/// Key of a table of such lists.
const LISTS: &str = "set_of";
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
    let file = file.get_ref();
    let scales = inner(file, "scale").into_iter().flat_map(DeTable::values);
    let tables = [file].into_iter().chain(scales.filter_map(|scale| scale.get_ref().as_table()));
    let tables: Vec<&DeTable<'_>> = tables.filter_map(|table| inner(table, ONLINE)).collect();
    let lists = tables.iter().filter_map(|online| value(online, LIST)?.as_array());
    for option in lists.flatten() {
        let set = |key: &&&str| {
            let text = option.get_ref().as_str().and_then(|text| text.trim().strip_prefix("online."));
            text.and_then(|text| text.split_once('=')).is_some_and(|(name, _)| name.trim() == **key)
        };
        let stated = |key: &&&str| tables.iter().any(|online| value(online, key).is_some());
        if let Some(key) = KEYED.iter().filter(set).find(stated) {
            let what = format!("{key}: expected it once, got a key and an option in `set`; keep the key");
            return source.error(option.span(), what);
        }
    }
    Ok(())
}

fn value<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a DeValue<'i>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value.get_ref())
}

fn inner<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a DeTable<'i>> {
    value(table, name)?.as_table()
}
