//! `baq options`: what can be set, and to what.

use clap::Args;
use serde_json::{Value, json};

use super::setup::known_sections;
use super::{Common, Outcome, Verdict};
use crate::config::{AnySection, ConfigError, PRESETS, RunConfig, help_text, nearest, value::render};

/// List options.
#[derive(Debug, Args)]
pub struct Options {
    /// section, as in iql or online (default: list the sections and the presets)
    section: Option<String>,
}

impl Options {
    /// Runs the command. Errors: there is no such section.
    pub fn run(self, common: Common) -> Outcome {
        let known = known_sections();
        match &self.section {
            None if common.json => println!("{}", overview_json(&known)),
            None => println!("{}", overview(&known)),
            Some(name) => {
                let section = find(&known, name)?;
                if common.json {
                    println!("{}", section_json(section));
                } else {
                    println!("{}", help_text(section).trim_end());
                }
            }
        }
        Ok(Verdict::Done)
    }
}

fn find<'a>(known: &'a [Box<dyn AnySection>], name: &str) -> Result<&'a dyn AnySection, ConfigError> {
    let names = || known.iter().map(|s| s.name());
    known.iter().find(|s| s.name() == name).map(AsRef::as_ref).ok_or_else(|| ConfigError::UnknownSection {
        section: name.into(),
        nearest: nearest(name, names()),
        known: names().collect::<Vec<_>>().join(", "),
    })
}

fn overview(known: &[Box<dyn AnySection>]) -> String {
    let sections: Vec<_> = known.iter().map(|s| (s.name(), s.about())).collect();
    let presets: Vec<_> = PRESETS.iter().map(|p| (p.name, p.about)).collect();
    let width = sections.iter().chain(&presets).map(|(name, _)| name.len()).max().unwrap_or(0);
    let list = |rows: &[(&str, &str)]| -> String {
        rows.iter().map(|(name, about)| format!("  {name:width$}  {about}\n")).collect()
    };
    format!(
        "sections, for --set SECTION.KEY=VALUE\n{}\npresets, for --preset NAME\n{}\nnext: baq options {}",
        list(&sections),
        list(&presets),
        RunConfig::default().algo
    )
}

fn overview_json(known: &[Box<dyn AnySection>]) -> Value {
    let rows = |rows: Vec<(&str, &str)>| -> Vec<Value> {
        rows.into_iter().map(|(name, about)| json!({ "name": name, "about": about })).collect()
    };
    json!({
        "sections": rows(known.iter().map(|s| (s.name(), s.about())).collect()),
        "presets": rows(PRESETS.iter().map(|p| (p.name, p.about)).collect()),
    })
}

fn section_json(section: &dyn AnySection) -> Value {
    let fields: Vec<Value> = section
        .fields()
        .iter()
        .map(|f| {
            json!({
                "key": f.key,
                "default": render(&f.default),
                "accepts": f.accepts(),
                "class": f.class.word(),
                "about": f.about,
                "choices": f.choices.iter().map(|c| json!({ "word": c.word, "about": c.about })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "section": section.name(), "about": section.about(), "options": fields })
}
