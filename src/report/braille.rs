//! Lines as braille dots: eight to a character.

use super::axis;
use super::frame::{drawable, extent, padded};

/// Codes of colours in a terminal, in the order of the palette of pictures.
const COLOURS: [u8; 6] = [33, 166, 36, 175, 214, 74];

/// Bits of a character's dots, by row and column.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// Text in the colour of a line, if there are colours.
pub(super) fn painted(text: &str, line: usize, colour: bool) -> String {
    match colour {
        true => format!("\u{1b}[38;5;{}m{text}\u{1b}[0m", COLOURS[line % COLOURS.len()]),
        false => text.to_string(),
    }
}

/// Lines over x, with axes.
pub(super) struct Plot<'a> {
    /// Points in order of x, and the mark that stands at the last one.
    pub(super) lines: &'a [(String, Vec<(f64, f64)>)],
    /// Where x ends; it begins at 0.
    pub(super) x_to: f64,
    /// What x is.
    pub(super) x_label: &'a str,
    /// Columns and rows of the whole.
    pub(super) size: (usize, usize),
    /// Whether lines have colours.
    pub(super) colour: bool,
}

/// Rows below the lines: the axis, its labels.
const BELOW: usize = 2;

impl Plot<'_> {
    /// As lines of text, none wider than asked for.
    pub(super) fn text(&self) -> Vec<String> {
        let (columns, rows) = (self.size.0, self.size.1.saturating_sub(BELOW).max(3));
        let values = self.lines.iter().flat_map(|(_, points)| points.iter().map(|p| p.1));
        let (low, high) = extent(values).map_or((0.0, 1.0), padded);
        let ticks = axis::ticks(low, high, (rows / 3).clamp(2, 5));
        let left = ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0) + 1;
        // Room for a mark behind the last point.
        let cells = columns.saturating_sub(left + 3).max(8);
        let mut field = Field::new(cells, rows);
        let x = |x: f64| x / self.x_to.max(1.0) * (2 * cells - 1) as f64;
        let y = |y: f64| (high - y) / (high - low) * (4 * rows - 1) as f64;
        for (i, (_, points)) in self.lines.iter().enumerate() {
            for part in points.split(|p| !drawable(p.1)).filter(|part| !part.is_empty()) {
                field.path(i, &part.iter().map(|p| (x(p.0), y(p.1))).collect::<Vec<_>>());
            }
        }
        for (i, (mark, points)) in self.lines.iter().enumerate() {
            if let Some(last) = points.iter().rfind(|p| drawable(p.1)) {
                field.mark(i, mark, (x(last.0), y(last.1)));
            }
        }
        let mut text: Vec<String> = (0..rows)
            .map(|row| {
                let here = |value: f64| (y(value) / 4.0) as usize == row;
                let label = ticks.iter().find(|(value, _)| here(*value));
                let (label, mark) = label.map_or(("", '\u{2502}'), |(_, label)| (label.as_str(), '\u{2524}'));
                format!("{label:>left$}{mark}{}", field.row(row, self.colour))
            })
            .collect();
        text.push(format!("{:>left$}\u{2514}{}", "", "\u{2500}".repeat(cells)));
        text.push(format!("{:>left$} {}", "", self.x_labels(cells)));
        text
    }

    /// Labels under their places, then what they count.
    fn x_labels(&self, cells: usize) -> String {
        let name = format!("  {}", self.x_label);
        let mut line: Vec<char> = vec![' '; cells];
        let room = cells.saturating_sub(name.chars().count());
        for (value, label) in axis::ticks(0.0, self.x_to.max(1.0), 4) {
            let (width, at) = (label.chars().count(), value / self.x_to.max(1.0) * (cells - 1) as f64);
            let from = (at as usize).saturating_sub(width / 2);
            // The name stands at the end; labels that would touch it are left out.
            if from + width <= room && line[from.saturating_sub(1)..from + width].iter().all(|c| *c == ' ') {
                line.splice(from..from + width, label.chars());
            }
        }
        line.truncate(room);
        line.iter().collect::<String>() + &name
    }
}

/// Characters of dots, each of the line that was drawn last.
struct Field {
    cells: usize,
    rows: usize,
    dots: Vec<u8>,
    of: Vec<usize>,
    marks: Vec<(usize, usize, usize, String)>,
}

impl Field {
    fn new(cells: usize, rows: usize) -> Self {
        Self { cells, rows, dots: vec![0; cells * rows], of: vec![0; cells * rows], marks: Vec::new() }
    }

    fn dot(&mut self, line: usize, x: f64, y: f64) {
        let (x, y) = (x.round().max(0.0) as usize, y.round().max(0.0) as usize);
        let (column, row) = ((x / 2).min(self.cells - 1), (y / 4).min(self.rows - 1));
        let cell = row * self.cells + column;
        self.dots[cell] |= DOTS[y % 4][x % 2];
        self.of[cell] = line;
    }

    /// Dots from point to point.
    fn path(&mut self, line: usize, points: &[(f64, f64)]) {
        self.dot(line, points[0].0, points[0].1);
        for pair in points.windows(2) {
            let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
            let steps = dx.abs().max(dy.abs()).ceil().max(1.0) as usize;
            for k in 1..=steps {
                let t = k as f64 / steps as f64;
                self.dot(line, pair[0].0 + t * dx, pair[0].1 + t * dy);
            }
        }
    }

    /// A name right of a point, in the row nearest to it that is free there.
    fn mark(&mut self, line: usize, name: &str, (x, y): (f64, f64)) {
        let column = (x / 2.0) as usize + 1;
        let wanted = ((y / 4.0) as usize).min(self.rows - 1);
        let taken = |row: usize| self.marks.iter().any(|m| m.0 == row && m.1.abs_diff(column) < 2);
        let nearest = (0..self.rows).filter(|row| !taken(*row)).min_by_key(|row| row.abs_diff(wanted));
        self.marks.push((nearest.unwrap_or(wanted), column, line, name.to_string()));
    }

    fn row(&self, row: usize, colour: bool) -> String {
        let mut text = String::new();
        let mut marks: Vec<_> = self.marks.iter().filter(|m| m.0 == row).collect();
        marks.sort_by_key(|m| m.1);
        let mut column = 0;
        while column < self.cells || !marks.is_empty() {
            if marks.first().is_some_and(|m| m.1 <= column) {
                let (_, _, line, name) = marks.remove(0);
                text += &painted(name, *line, colour);
                column += name.chars().count();
                continue;
            }
            let cell = row * self.cells + column;
            match self.dots.get(cell).filter(|dots| **dots != 0 && column < self.cells) {
                Some(dots) => {
                    let glyph = char::from_u32(0x2800 + u32::from(*dots)).unwrap_or(' ').to_string();
                    text += &painted(&glyph, self.of[cell], colour);
                }
                None => text.push(' '),
            }
            column += 1;
        }
        text.trim_end().to_string()
    }
}

/// Values as bars of one character each; of more than fit, means of stretches.
pub(super) fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] =
        ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let stretch = values.len().div_ceil(width).max(1);
    let means: Vec<f64> = values.chunks(stretch).map(mean).collect();
    let (low, high) = extent(means.iter().copied()).unwrap_or((0.0, 0.0));
    let bar = |v: &f64| match drawable(*v) {
        true if high > low => BARS[((v - low) / (high - low) * 7.0).round() as usize],
        true => BARS[0],
        false => '?',
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_line_rises() {
        let lines = [("1".to_string(), (0..=10).map(|i| (f64::from(i), f64::from(i))).collect())];
        let plot = Plot { lines: &lines, x_to: 20.0, x_label: "updates", size: (40, 9), colour: false };
        let text = plot.text();
        assert_eq!(text.len(), 9);
        assert!(text.iter().all(|line| line.chars().count() <= 40), "{text:#?}");
        let first_dot = |row: &String| row.chars().position(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
        let places: Vec<usize> = text[..7].iter().filter_map(first_dot).collect();
        assert!(places.len() >= 6 && places.windows(2).all(|p| p[0] > p[1]), "{text:#?}");
        assert!(text[0].contains('1') && text[8].ends_with("updates"), "{text:#?}");
    }

    #[test]
    fn bars_have_the_height_of_their_values() {
        assert_eq!(sparkline(&[0.0, 7.0, 3.5, f64::NAN], 9), "\u{2581}\u{2588}\u{2585}?");
        assert_eq!(sparkline(&[1.0; 100], 10).chars().count(), 10);
        assert_eq!(sparkline(&[], 10), "");
    }
}
