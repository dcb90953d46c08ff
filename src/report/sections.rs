//! A page of headings, tables and charts, for reports that are not about learning curves.

use super::histogram::Histogram;
use super::html::{document, small_figure};
use super::plot::Curves;
use crate::train::metrics::Distribution;
use maud::{Markup, html};

/// What a section shows.
#[derive(Debug, Clone)]
pub enum Item {
    /// lines
    Curves(Curves),
    /// counts by origin
    Histogram(Distribution),
    /// a table: heads, then rows; the lines of a cell behind its first are small
    Table(Vec<String>, Vec<Vec<String>>),
    /// a paragraph
    Text(String),
}

/// A heading and what stands under it.
#[derive(Debug, Clone)]
pub struct Section {
    /// its heading
    pub heading: String,
    /// in order
    pub items: Vec<Item>,
}

impl Item {
    fn is_chart(&self) -> bool {
        matches!(self, Self::Curves(_) | Self::Histogram(_))
    }
}

fn lines(cell: &str) -> Markup {
    let (first, others) = cell.split_once('\n').unwrap_or((cell, ""));
    html! { (first) @for line in others.lines() { " " small { (line) } } }
}

fn item(item: &Item) -> Markup {
    match item {
        Item::Curves(curves) => small_figure(curves),
        Item::Histogram(of) => small_figure(&Histogram { of }),
        Item::Text(text) => html! { p.hint { (text) } },
        Item::Table(heads, rows) => html! {
            div.scroll {
                table {
                    thead { tr { @for head in heads { th { (lines(head)) } } } }
                    tbody {
                        @for row in rows {
                            tr {
                                @for (i, cell) in row.iter().enumerate() {
                                    @if i == 0 { th { (lines(cell)) } } @else { td { (lines(cell)) } }
                                }
                            }
                        }
                    }
                }
            }
        },
    }
}

/// The page: everything in one file.
pub fn sections_page(title: &str, subtitle: &str, notes: &[String], sections: &[Section]) -> String {
    let content = html! {
        @for section in sections {
            h2 { (section.heading) }
            // Neighbouring charts stand side by side.
            @for run in section.items.chunk_by(|a, b| a.is_chart() == b.is_chart()) {
                @if run[0].is_chart() { div.charts { @for of in run { (item(of)) } } }
                @else { @for of in run { (item(of)) } }
            }
        }
    };
    document(title, subtitle, notes, content)
}
