//! All sections of a configuration there are, and configurations read back from text.

use super::error::TrainError;
use crate::adapt::{ADAPTATIONS, GENERATORS, Method};
use crate::algo;
use crate::config::{
    AnySection, AuditConfig, Config, DataConfig, MujocoConfig, OfflineConfig, OnlineConfig, RunConfig,
    section,
};

/// Every section there is.
pub fn known_sections() -> Vec<Box<dyn AnySection>> {
    let mut all = vec![
        section::<RunConfig>(),
        section::<DataConfig>(),
        section::<OfflineConfig>(),
        section::<OnlineConfig>(),
        section::<AuditConfig>(),
        section::<MujocoConfig>(),
    ];
    all.extend(algo::all().filter_map(|e| e.section).map(|s| s()));
    all.extend(ADAPTATIONS.iter().filter_map(|e| e.section).map(|s| s()));
    all.extend(GENERATORS.iter().filter_map(|e| e.section).map(|s| s()));
    all
}

/// The configuration in the file of a run: the sections that are in it, and no others. Errors: those of [`from_text`].
pub fn of_text(origin: &str, text: &str) -> Result<Config, TrainError> {
    let config = from_text(origin, text)?;
    let table: toml::Table = text.parse().map_err(|e| TrainError::Input(format!("{origin}: {e}")))?;
    let active: Vec<&str> = table.keys().map(String::as_str).collect();
    Ok(config.restrict(&active)?)
}

/// A configuration read back from text that `origin` names, with the defaults of all other sections. Errors: text that
/// is no TOML; a section or an option that is not known, a value that an option cannot have.
pub fn from_text(origin: &str, text: &str) -> Result<Config, TrainError> {
    let mut config = Config::new(known_sections());
    config.apply_text(origin, text)?;
    Ok(config)
}

/// The method of a configuration, as tables name it.
pub fn config_method(config: &Config) -> String {
    let method = Method::of(config);
    method.title(|key| config.text(&method.adapt, key))
}
