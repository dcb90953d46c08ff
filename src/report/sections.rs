//! A page of headings, tables and charts, for reports that are not about learning curves.

use super::canvas::Chart;
use super::html::{escaped, figure, opening};
use super::plot::{Curves, Histogram};
use crate::train::metrics::Distribution;
use std::fmt::Write as _;

/// What a section shows.
#[derive(Debug, Clone)]
pub enum Item {
    /// lines
    Curves(Curves),
    /// counts by origin
    Histogram(Distribution),
    /// a table: heads, then rows
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

fn chart(chart: &impl Chart) -> String {
    figure(chart, (540, 300), (380, 270))
}

fn table(heads: &[String], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"scroll\"><table><thead><tr>");
    for head in heads {
        let _ = write!(html, "<th>{}</th>", escaped(head));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let tag = if i == 0 { "th" } else { "td" };
            let _ = write!(html, "<{tag}>{}</{tag}>", escaped(cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// The page: everything in one file, no script.
pub fn sections_page(title: &str, subtitle: &str, notes: &[String], sections: &[Section]) -> String {
    let mut html = opening(title, subtitle, notes);
    for section in sections {
        let _ = writeln!(html, "<h2>{}</h2>", escaped(&section.heading));
        let mut in_charts = false;
        for item in &section.items {
            let drawn = matches!(item, Item::Curves(_) | Item::Histogram(_));
            if drawn != in_charts {
                html.push_str(if drawn { "<div class=\"charts\">\n" } else { "</div>\n" });
                in_charts = drawn;
            }
            match item {
                Item::Curves(curves) => html.push_str(&chart(curves)),
                Item::Histogram(of) => html.push_str(&chart(&Histogram { of })),
                Item::Table(heads, rows) => html.push_str(&table(heads, rows)),
                Item::Text(text) => {
                    let _ = writeln!(html, "<p class=\"hint\">{}</p>", escaped(text));
                }
            }
        }
        if in_charts {
            html.push_str("</div>\n");
        }
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}
