//! Several charts under one title and one legend.

use super::canvas::{Anchor, Canvas, Chart, INK, MUTED};
use super::font::fitted;
use super::frame::{Heading, LegendEntry, MARGIN, Mark, TEXT, legend_columns, wrapped};
use super::plot::{colour, dash};

/// Charts in a grid.
pub struct Panels {
    /// Title of all.
    pub title: String,
    /// How to read them.
    pub caption: String,
    /// Names and places in the palette.
    pub legend: Vec<(String, usize)>,
    /// What the bands are; empty without bands.
    pub band: String,
    /// Most charts side by side.
    pub columns: usize,
    /// Size of a chart in pixels.
    pub size: (u32, u32),
    /// The charts, each under a name; they need no legends of their own.
    pub panels: Vec<(String, Box<dyn Chart>)>,
}

/// Space at the right edge, above each chart for its name, and for the title.
const EDGE: f64 = 18.0;
const NAME: f64 = 30.0;
const TITLE: f64 = 34.0;
/// Height of the names.
const HEADING: f64 = 13.5;

impl Panels {
    fn across(&self) -> usize {
        self.columns.min(self.panels.len()).max(1)
    }

    fn entries(&self) -> Vec<LegendEntry> {
        let line = |i: usize| (colour(Some(i)), Mark::Line(dash(Some(i))));
        let lines = self.legend.iter().map(|(name, i)| (name.clone(), line(*i).0, line(*i).1));
        let band = (!self.band.is_empty()).then(|| (self.band.clone(), MUTED, Mark::Band));
        lines.chain(band).collect()
    }

    /// The size of the whole in pixels.
    pub fn whole(&self) -> (u32, u32) {
        let across = self.across();
        let (width, height) = self.size;
        let down = self.panels.len().div_ceil(across) as u32;
        let whole_width = (width * across as u32).max(LEAST_WIDTH);
        // What stands above them.
        let (right, legend) = (f64::from(whole_width) - EDGE, self.entries());
        let lines = wrapped(&self.caption, TEXT, right - MARGIN).len();
        let rows = legend.len().div_ceil(legend_columns(&legend, right).len());
        let above = TITLE + 19.0 * (lines + rows) as f64 + 14.0;
        (whole_width, above as u32 + down * (height + NAME as u32))
    }
}

/// A title and its caption want some width.
const LEAST_WIDTH: u32 = 560;

impl Chart for Panels {
    fn title(&self) -> &str {
        &self.title
    }

    fn caption(&self) -> &str {
        &self.caption
    }

    fn draw(&self, canvas: &mut Canvas) {
        let legend = self.entries();
        let heading = Heading { title: &self.title, caption: &self.caption, y_label: "", legend: &legend };
        let top = heading.draw(canvas, canvas.width - EDGE) + 14.0;
        let across = self.across();
        let down = self.panels.len().div_ceil(across).max(1);
        let (width, height) = (canvas.width / across as f64, (canvas.height - top) / down as f64);
        for (i, (name, chart)) in self.panels.iter().enumerate() {
            let (x, y) = ((i % across) as f64 * width, top + (i / across) as f64 * height);
            let name = fitted(name, HEADING, width - 28.0);
            canvas.text(&name, (x + 14.0, y + NAME / 2.0), HEADING, INK, Anchor::Left);
            canvas.chart(chart.as_ref(), (x, y + NAME), (width, height - NAME));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_legend_stand_in_columns() {
        let names =
            ["IQL", "IQL + SO2, as published", "BAQ", "a", "CQL + BAQ", "WSRL", "RLPD of ten critics"];
        let panels = Panels {
            title: "t".into(),
            caption: String::new(),
            legend: names.iter().map(|name| name.to_string()).zip(0..).collect(),
            band: "95 % interval".into(),
            columns: 1,
            size: (420, 200),
            panels: Vec::new(),
        };
        let (width, height) = panels.whole();
        let svg = panels.svg(width, height);
        // Rows by their height, each with the places of its names.
        let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
        for name in names.iter().chain([&"95 % interval"]) {
            let (before, _) = svg.split_once(&format!(">{name}<")).unwrap();
            let of = |key: &str| before.rsplit_once(key).unwrap().1.split('"').next().unwrap();
            let (x, y) = (of(" x=\""), of(" y=\""));
            match rows.last_mut().filter(|row| row.0 == y) {
                Some(row) => row.1.push(x),
                None => rows.push((y, vec![x])),
            }
        }
        assert!(rows.len() > 1, "{rows:?}");
        assert!(rows.iter().all(|row| rows[0].1.starts_with(&row.1)), "{rows:?}");
        let foot: f64 = rows[rows.len() - 1].0.parse().unwrap();
        assert!(foot + 10.0 < f64::from(height), "{foot} of {height}");
    }
}
