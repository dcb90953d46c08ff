//! Tables of options for the terminal.

use super::field::Field;
use super::file::AnySection;
use super::value::{Choice, render};
use std::fmt::Write as _;

fn range(field: &Field) -> String {
    if field.limits.is_open() { String::new() } else { field.limits.to_string() }
}

/// The options of a section as plain text, with aligned columns.
pub fn help_text(section: &dyn AnySection) -> String {
    let mut out = format!("[{}] {}\n\n", section.name(), section.about());
    let fields = section.fields();
    let width = |texts: &mut dyn Iterator<Item = String>| texts.map(|t| t.chars().count()).max().unwrap_or(0);
    let keys = width(&mut fields.iter().map(|f| f.key.to_string())).max("option".len());
    let defaults = width(&mut fields.iter().map(|f| render(&f.default))).max("default".len());
    let ranges = width(&mut fields.iter().map(range)).max("range".len());
    let _ =
        writeln!(out, "  {:keys$}  {:defaults$}  {:ranges$}  class  meaning", "option", "default", "range");
    for field in fields {
        let _ = writeln!(
            out,
            "  {:keys$}  {:defaults$}  {:ranges$}  {:5}  {}",
            field.key,
            render(&field.default),
            range(field),
            field.class.word(),
            field.about
        );
        let words = width(&mut field.choices.iter().map(Choice::form));
        for choice in field.choices {
            let _ = writeln!(out, "  {:keys$}    {:words$}  {}", "", choice.form(), choice.about);
        }
    }
    let _ = write!(
        out,
        "\nSet one with --set {}.{}=VALUE.\n",
        section.name(),
        fields.first().map_or("KEY", |f| f.key)
    );
    out
}
