//! What stands around every plot: words, legend, grid, axes.

use super::axis;
use super::canvas::{Anchor, Canvas, Colour, GRID, INK, MUTED, Stroke};
use super::font::{fitted, text_width};

/// Maps x to pixels: one straight piece, or two that meet at the switch.
pub(super) struct Scale {
    pieces: Vec<[f64; 4]>,
}

impl Scale {
    /// Pieces as (from x, to x, from pixel, to pixel).
    pub(super) fn new(pieces: Vec<[f64; 4]>) -> Self {
        Self { pieces }
    }

    pub(super) fn pixel(&self, x: f64) -> f64 {
        let piece = self
            .pieces
            .iter()
            .find(|p| x <= p[1])
            .or(self.pieces.last())
            .expect("invariant: a scale has a piece");
        let [x0, x1, p0, p1] = *piece;
        p0 + (x - x0) / (x1 - x0) * (p1 - p0)
    }
}

/// Whether a value has a place on an axis: finite, and differences of such are too.
pub(super) fn drawable(v: f64) -> bool {
    v.abs() < 1e300
}

/// Smallest and largest drawable value.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| drawable(*v)).fold(None, |e, v| match e {
        None => Some((v, v)),
        Some((l, h)) => Some((l.min(v), h.max(v))),
    })
}

/// Widens a range a little, so that lines do not run along the frame.
pub(super) fn padded((low, high): (f64, f64)) -> (f64, f64) {
    if high - low > 1e-290 {
        let pad = 0.05 * (high - low);
        // A quantity that is never negative keeps its zero at the foot.
        let foot = if low >= 0.0 && low < pad * 2.0 { 0.0 } else { low - pad };
        (foot, high + pad)
    } else {
        let half = (low.abs() * 0.1).max(0.5);
        (if low >= 0.0 { (low - half).max(0.0) } else { low - half }, low + half)
    }
}

/// How much of what is behind a band shows through: opacity.
pub(super) const BAND: f64 = 0.18;
/// Ticks of y that are wanted, whatever the height: a picture and a page have the same.
const Y_TICKS: usize = 5;
/// A plot of less height has fewer.
const LOW: f64 = 150.0;

/// Type sizes.
const TITLE: f64 = 16.0;
pub(super) const TEXT: f64 = 12.5;
/// Space at the left edge.
pub(super) const MARGIN: f64 = 14.0;

/// What stands above a plot.
pub(super) struct Heading<'a> {
    pub(super) title: &'a str,
    pub(super) caption: &'a str,
    pub(super) y_label: &'a str,
    pub(super) legend: &'a [LegendEntry],
}

/// What stands for a legend's entry.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// A line.
    Line(Stroke),
    /// A thin, pale line.
    Thin,
    /// An area.
    Band,
}

/// A legend's entry: name, colour, what stands for it.
pub(super) type LegendEntry = (String, Colour, Mark);

/// The frame of a chart: what is left below its heading is for the plot.
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    y: (f64, f64),
}

impl Frame {
    /// Of a plot that has no axis of y, with so much space to its left and above it.
    pub(super) fn without_y(canvas: &Canvas, left: f64, top: f64) -> Self {
        Self { left, right: canvas.width - 18.0, top, bottom: canvas.height - 48.0, y: (0.0, 1.0) }
    }

    pub(super) fn y_pixel(&self, y: f64) -> f64 {
        self.bottom - (y - self.y.0) / (self.y.1 - self.y.0) * (self.bottom - self.top)
    }

    /// Draws everything around the plot and the horizontal grid, for values in the range `y`.
    pub(super) fn draw(canvas: &mut Canvas, heading: &Heading<'_>, y: (f64, f64)) -> Self {
        let right = canvas.width - 18.0;
        let top = heading.draw(canvas, right) + 16.0;
        let bottom = canvas.height - 48.0;
        let wanted = if bottom - top < LOW { 3 } else { Y_TICKS };
        let ticks = axis::ticks(y.0, y.1, wanted);
        let widest = ticks.iter().map(|t| text_width(&t.1, TEXT)).fold(0.0, f64::max);
        let frame = Self { left: MARGIN + widest + 8.0, right, top, bottom, y };
        for (value, label) in ticks {
            let height = frame.y_pixel(value);
            canvas.line(&[(frame.left, height), (right, height)], GRID, 1.0, Stroke::Solid);
            canvas.text(&label, (frame.left - 8.0, height), TEXT, MUTED, Anchor::Right);
        }
        frame
    }

    /// Upright lines at the ticks of x.
    pub(super) fn x_grid(&self, canvas: &mut Canvas, piece: [f64; 4]) {
        for (value, _) in x_places(piece) {
            let x = x_pixel(value, piece);
            canvas.line(&[(x, self.top), (x, self.bottom)], GRID, 1.0, Stroke::Solid);
        }
    }

    pub(super) fn x_ticks(&self, canvas: &mut Canvas, piece: [f64; 4], without_zero: bool) {
        for (value, label) in x_places(piece) {
            if without_zero && value == 0.0 {
                continue;
            }
            let x = x_pixel(value, piece);
            canvas.line(&[(x, self.bottom), (x, self.bottom + 4.0)], MUTED, 1.0, Stroke::Solid);
            // The outermost labels must not be cut off by the edge.
            let half = text_width(&label, TEXT) / 2.0;
            let x = x.clamp(half + 2.0, canvas.width - half - 2.0);
            canvas.text(&label, (x, self.bottom + 8.0), TEXT, MUTED, Anchor::Below);
        }
    }

    pub(super) fn x_label(&self, canvas: &mut Canvas, text: &str, from: f64, to: f64) {
        let half = text_width(text, TEXT) / 2.0;
        let x = ((from + to) / 2.0).clamp(half + 2.0, canvas.width - half - 2.0);
        canvas.text(text, (x, self.bottom + 26.0), TEXT, MUTED, Anchor::Below);
    }

    /// The line along the foot of the plot.
    pub(super) fn foot(&self, canvas: &mut Canvas) {
        canvas.line(&[(self.left, self.bottom), (self.right, self.bottom)], MUTED, 1.0, Stroke::Solid);
    }
}

/// Ticks of x, for lines and labels alike: as many as have room for their labels.
fn x_places(piece: [f64; 4]) -> Vec<(f64, String)> {
    axis::ticks(piece[0], piece[1], (((piece[3] - piece[2]) / 85.0) as usize).max(1))
}

fn x_pixel(value: f64, [from, to, left, right]: [f64; 4]) -> f64 {
    left + (value - from) / (to - from) * (right - left)
}

/// Space that stands for a legend's entry before its name, and behind the name.
const KEY: f64 = 26.0;
const BEHIND: f64 = 16.0;
/// Height of a line of the caption or the legend.
pub(super) const LEGEND_LINE: u32 = 19;

/// Widths of the columns that a legend's entries stand in, row by row: of as many as fit.
pub(super) fn legend_columns(legend: &[LegendEntry], right: f64) -> Vec<f64> {
    let width = |entry: &LegendEntry| KEY + text_width(&legend_name(entry, right), TEXT) + BEHIND;
    let widths: Vec<f64> = legend.iter().map(width).collect();
    let columns = |n: usize| -> Vec<f64> {
        (0..n).map(|c| widths.iter().skip(c).step_by(n).copied().fold(0.0, f64::max)).collect()
    };
    let fit = |columns: &Vec<f64>| columns.iter().sum::<f64>() <= right + BEHIND - MARGIN;
    (2..=legend.len()).rev().map(columns).find(fit).unwrap_or_else(|| columns(1))
}

fn legend_name(entry: &LegendEntry, right: f64) -> String {
    fitted(&entry.0, TEXT, right - MARGIN - KEY)
}

impl Heading<'_> {
    /// Draws it and says how far down it reaches.
    pub(super) fn draw(&self, canvas: &mut Canvas, right: f64) -> f64 {
        let mut top = 20.0;
        if canvas.bare {
            top = -8.0;
        } else {
            let title = fitted(self.title, TITLE, right - MARGIN);
            canvas.text(&title, (MARGIN, top), TITLE, INK, Anchor::Left);
            for line in wrapped(self.caption, TEXT, right - MARGIN) {
                top += f64::from(LEGEND_LINE);
                canvas.text(&line, (MARGIN, top), TEXT, MUTED, Anchor::Left);
            }
        }
        if !self.legend.is_empty() {
            top += 22.0;
            let columns = legend_columns(self.legend, right);
            for (i, entry) in self.legend.iter().enumerate() {
                let column = i % columns.len();
                if i > 0 && column == 0 {
                    top += f64::from(LEGEND_LINE);
                }
                let x = MARGIN + columns[..column].iter().sum::<f64>();
                let (_, colour, mark) = entry;
                let line = [(x, top), (x + 20.0, top)];
                match mark {
                    Mark::Line(dash) => canvas.line(&line, colour, 2.5, *dash),
                    Mark::Thin => canvas.thin_line(&line, colour),
                    Mark::Band => {
                        let (above, below) = (top - 5.0, top + 5.0);
                        canvas.area(
                            &[(x, above), (x + 20.0, above), (x + 20.0, below), (x, below)],
                            colour,
                            BAND,
                        );
                    }
                }
                canvas.text(&legend_name(entry, right), (x + KEY, top), TEXT, INK, Anchor::Left);
            }
        }
        if !self.y_label.is_empty() {
            top += 23.0;
            canvas.text(self.y_label, (MARGIN, top), TEXT, MUTED, Anchor::Left);
        }
        top
    }
}

/// Breaks text into lines that fit.
pub(super) fn wrapped(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let Some(last) = lines.last_mut() else {
            lines.push(word.to_string());
            continue;
        };
        let longer = format!("{last} {word}");
        if text_width(&longer, size) > width {
            lines.push(word.to_string());
        } else {
            *last = longer;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_scales_meet_at_the_switch() {
        let scale = Scale::new(vec![[-100.0, 0.0, 10.0, 60.0], [0.0, 4.0, 60.0, 100.0]]);
        let pixels = [-100.0, -50.0, 0.0, 2.0, 4.0].map(|x| scale.pixel(x));
        assert_eq!(pixels, [10.0, 35.0, 60.0, 80.0, 100.0]);
    }
}
