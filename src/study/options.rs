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
