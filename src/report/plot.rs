//! Curves and histograms.

use super::axis;
use super::canvas::{Anchor, Canvas, Chart, Dash, Drawn, GRID, INK, MUTED, PALETTE, text_width};
use crate::train::metrics::Distribution;
use plotters::prelude::{DrawingBackend, RGBColor};

/// One line, with the band around it if it has one.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Name in the legend; empty keeps it out of the legend.
    pub label: String,
    /// Points in order of x. NaN breaks the line.
    pub points: Vec<(f64, f64)>,
    /// (x, low, high) in order of x; may be empty.
    pub band: Vec<(f64, f64, f64)>,
    /// Place in the palette; `None` draws it in grey.
    pub colour: Option<usize>,
}

impl Series {
    /// A line without a band.
    pub fn new(label: impl Into<String>, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self {
            label: label.into(),
            points,
            band: Vec::new(),
            colour: Some(colour),
        }
    }

    /// The mean over several runs, at every x that all of them have, in a band from the
    /// smallest to the largest.
    pub fn over_runs(label: impl Into<String>, colour: usize, runs: &[Vec<(f64, f64)>]) -> Self {
        let mut series = Self::new(label, colour, Vec::new());
        let Some((first, others)) = runs.split_first() else {
            return series;
        };
        for (x, y) in first {
            let mut values = vec![*y];
            for run in others {
                let found = run.iter().find(|p| p.0 == *x);
                values.extend(found.map(|p| p.1));
            }
            if values.len() < runs.len() {
                continue;
            }
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            series.points.push((*x, mean));
            if runs.len() > 1 {
                let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                series.band.push((*x, low, high));
            }
        }
        series
    }
}

/// The meaning of x.
#[derive(Debug, Clone)]
pub enum XAxis {
    /// One axis with this label.
    Plain(String),
    /// Below zero the offline phase in updates, above zero the online phase in environment
    /// steps: two scales that meet at the switch.
    Switch,
}

/// Lines over a common axis.
#[derive(Debug, Clone)]
pub struct Curves {
    /// Title.
    pub title: String,
    /// A line under the title that says what the bands are, or nothing.
    pub caption: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// What x is.
    pub x: XAxis,
    /// The lines.
    pub series: Vec<Series>,
    /// Horizontal lines to compare with: name and height.
    pub references: Vec<(String, f64)>,
}

/// Maps x to pixels: one straight piece, or two that meet at the switch.
struct Scale {
    pieces: Vec<[f64; 4]>,
}

impl Scale {
    /// Pieces as (from x, to x, from pixel, to pixel).
    fn new(pieces: Vec<[f64; 4]>) -> Self {
        Self { pieces }
    }

    fn pixel(&self, x: f64) -> f64 {
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

/// Smallest and largest finite value.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| v.is_finite()).fold(None, |e, v| match e {
        None => Some((v, v)),
        Some((l, h)) => Some((l.min(v), h.max(v))),
    })
}

/// Widens a range a little, so that lines do not run along the frame.
fn padded((low, high): (f64, f64)) -> (f64, f64) {
    if high > low {
        let pad = 0.05 * (high - low);
        // A quantity that is never negative keeps its zero at the foot.
        let foot = if low >= 0.0 && low < pad * 2.0 {
            0.0
        } else {
            low - pad
        };
        (foot, high + pad)
    } else {
        let half = (low.abs() * 0.1).max(0.5);
        (low - half, low + half)
    }
}

/// Type sizes; a narrow drawing is one for a phone.
const TITLE: f64 = 16.0;
const TEXT: f64 = 12.5;

/// The frame of a chart: title, caption, legend above; what is left is for the plot.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    y: (f64, f64),
}

/// A legend's entry: name, colour, how its swatch is drawn.
type Entry = (String, RGBColor, Dash);

impl Frame {
    fn y_pixel(&self, y: f64) -> f64 {
        self.bottom - (y - self.y.0) / (self.y.1 - self.y.0) * (self.bottom - self.top)
    }

    /// Draws everything around the plot and the horizontal grid.
    fn draw<B: DrawingBackend>(
        canvas: &mut Canvas<'_, B>,
        title: &str,
        caption: &str,
        y_label: &str,
        legend: &[Entry],
        y: (f64, f64),
    ) -> Result<Self, String> {
        let margin = 14.0;
        let right = canvas.width - 18.0;
        let mut top = 20.0;
        canvas.text(title, (margin, top), TITLE, INK, Anchor::Left)?;
        if !caption.is_empty() {
            for line in wrapped(caption, TEXT, right - margin) {
                top += 19.0;
                canvas.text(&line, (margin, top), TEXT, MUTED, Anchor::Left)?;
            }
        }
        if !legend.is_empty() {
            top += 22.0;
            let mut x = margin;
            for (name, colour, dash) in legend {
                let width = 26.0 + text_width(name, TEXT) + 16.0;
                if x + width > right + 16.0 && x > margin {
                    x = margin;
                    top += 19.0;
                }
                canvas.line(&[(x, top), (x + 20.0, top)], *colour, 2.5, *dash)?;
                canvas.text(name, (x + 26.0, top), TEXT, INK, Anchor::Left)?;
                x += width;
            }
        }
        if !y_label.is_empty() {
            top += 23.0;
            canvas.text(y_label, (margin, top), TEXT, MUTED, Anchor::Left)?;
        }
        top += 16.0;
        let bottom = canvas.height - 48.0;
        let wanted = (((bottom - top) / 48.0) as usize).clamp(2, 7);
        let ticks = axis::ticks(y.0, y.1, wanted);
        let widest = ticks
            .iter()
            .map(|t| text_width(&t.1, TEXT))
            .fold(0.0, f64::max);
        let frame = Self {
            left: margin + widest + 8.0,
            right,
            top,
            bottom,
            y,
        };
        for (value, label) in ticks {
            let height = frame.y_pixel(value);
            canvas.line(
                &[(frame.left, height), (right, height)],
                GRID,
                1.0,
                Dash::Solid,
            )?;
            canvas.text(
                &label,
                (frame.left - 8.0, height),
                TEXT,
                MUTED,
                Anchor::Right,
            )?;
        }
        Ok(frame)
    }

    fn x_ticks<B: DrawingBackend>(
        &self,
        canvas: &mut Canvas<'_, B>,
        piece: [f64; 4],
        without_zero: bool,
    ) -> Drawn {
        let wanted = (((piece[3] - piece[2]) / 85.0) as usize).max(1);
        for (value, label) in axis::ticks(piece[0], piece[1], wanted) {
            if without_zero && value == 0.0 {
                continue;
            }
            let t = (value - piece[0]) / (piece[1] - piece[0]);
            let x = piece[2] + t * (piece[3] - piece[2]);
            canvas.line(
                &[(x, self.bottom), (x, self.bottom + 4.0)],
                MUTED,
                1.0,
                Dash::Solid,
            )?;
            // The outermost labels must not be cut off by the edge.
            let half = text_width(&label, TEXT) / 2.0;
            let x = x.clamp(half + 2.0, canvas.width - half - 2.0);
            canvas.text(&label, (x, self.bottom + 8.0), TEXT, MUTED, Anchor::Below)?;
        }
        Ok(())
    }

    fn x_label<B: DrawingBackend>(
        &self,
        canvas: &mut Canvas<'_, B>,
        text: &str,
        from: f64,
        to: f64,
    ) -> Drawn {
        let half = text_width(text, TEXT) / 2.0;
        let x = ((from + to) / 2.0).clamp(half + 2.0, canvas.width - half - 2.0);
        canvas.text(text, (x, self.bottom + 26.0), TEXT, MUTED, Anchor::Below)
    }
}

/// Breaks text into lines that fit.
fn wrapped(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("invariant: there is always a line");
        let longer = if last.is_empty() {
            word.to_string()
        } else {
            format!("{last} {word}")
        };
        if !last.is_empty() && text_width(&longer, size) > width {
            lines.push(word.to_string());
        } else {
            *last = longer;
        }
    }
    lines
}

fn colour(index: Option<usize>) -> RGBColor {
    index.map_or(MUTED, |i| PALETTE[i % PALETTE.len()])
}

/// Beyond the palette's length colours repeat, but dashed.
fn dash(index: Option<usize>) -> Dash {
    match index {
        Some(i) if i >= PALETTE.len() => Dash::Dashed,
        _ => Dash::Solid,
    }
}

impl Curves {
    fn y_range(&self) -> (f64, f64) {
        let lines = self
            .series
            .iter()
            .flat_map(|s| s.points.iter().map(|p| p.1));
        let bands = self
            .series
            .iter()
            .flat_map(|s| s.band.iter().flat_map(|b| [b.1, b.2]));
        let references = self.references.iter().map(|r| r.1);
        extent(lines.chain(bands).chain(references)).map_or((0.0, 1.0), padded)
    }

    fn x_range(&self) -> (f64, f64) {
        extent(
            self.series
                .iter()
                .flat_map(|s| s.points.iter().map(|p| p.0)),
        )
        .unwrap_or((0.0, 1.0))
    }
}

impl Chart for Curves {
    fn title(&self) -> &str {
        &self.title
    }

    fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>) -> Drawn {
        let mut legend: Vec<Entry> = self
            .series
            .iter()
            .filter(|s| !s.label.is_empty())
            .map(|s| (s.label.clone(), colour(s.colour), dash(s.colour)))
            .collect();
        let patterns = [Dash::Dotted, Dash::Dashed];
        for (i, (name, _)) in self.references.iter().enumerate() {
            legend.push((name.clone(), MUTED, patterns[i % 2]));
        }
        let frame = Frame::draw(
            canvas,
            &self.title,
            &self.caption,
            &self.y_label,
            &legend,
            self.y_range(),
        )?;
        let (low, high) = self.x_range();
        let scale = match &self.x {
            XAxis::Switch if low < 0.0 && high > 0.0 => {
                // Each phase gets what is due to its length, but at least two fifths.
                let share = (-low / (high - low)).clamp(0.4, 0.6);
                let middle = frame.left + share * (frame.right - frame.left);
                let off = [low, 0.0, frame.left, middle];
                let on = [0.0, high, middle, frame.right];
                frame.x_ticks(canvas, off, true)?;
                frame.x_ticks(canvas, on, false)?;
                frame.x_label(canvas, "offline updates", frame.left, middle)?;
                frame.x_label(canvas, "online environment steps", middle, frame.right)?;
                canvas.line(
                    &[(middle, frame.top - 8.0), (middle, frame.bottom + 4.0)],
                    INK,
                    1.0,
                    Dash::Solid,
                )?;
                Scale::new(vec![off, on])
            }
            x => {
                let high = if high > low { high } else { low + 1.0 };
                let piece = [low, high, frame.left, frame.right];
                let text = match x {
                    XAxis::Plain(text) => text.as_str(),
                    XAxis::Switch if low < 0.0 => "offline updates before the end",
                    XAxis::Switch => "online environment steps",
                };
                frame.x_ticks(canvas, piece, false)?;
                frame.x_label(canvas, text, frame.left, frame.right)?;
                Scale::new(vec![piece])
            }
        };
        canvas.line(
            &[(frame.left, frame.bottom), (frame.right, frame.bottom)],
            MUTED,
            1.0,
            Dash::Solid,
        )?;
        for (i, (_, y)) in self.references.iter().enumerate() {
            let y = frame.y_pixel(*y);
            canvas.line(
                &[(frame.left, y), (frame.right, y)],
                MUTED,
                1.5,
                patterns[i % 2],
            )?;
        }
        for s in &self.series {
            let mut outline: Vec<(f64, f64)> = s
                .band
                .iter()
                .map(|b| (scale.pixel(b.0), frame.y_pixel(b.2)))
                .collect();
            outline.extend(
                s.band
                    .iter()
                    .rev()
                    .map(|b| (scale.pixel(b.0), frame.y_pixel(b.1))),
            );
            if outline.iter().all(|p| p.1.is_finite()) {
                canvas.area(&outline, colour(s.colour), 0.18)?;
            }
        }
        for s in &self.series {
            let few = s.points.len() <= 40;
            for run in s.points.split(|p| !p.1.is_finite()) {
                let pixels: Vec<(f64, f64)> = run
                    .iter()
                    .map(|p| (scale.pixel(p.0), frame.y_pixel(p.1)))
                    .collect();
                let width = if few { 2.0 } else { 1.6 };
                canvas.line(&pixels, colour(s.colour), width, dash(s.colour))?;
                // A line of one point would not show at all.
                if few || pixels.len() == 1 {
                    for pixel in &pixels {
                        canvas.dot(*pixel, 2.6, colour(s.colour))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A histogram with one outline per origin, each as shares of its own total, so that a few
/// thousand online transitions compare with a million offline ones.
#[derive(Debug, Clone)]
pub struct Histogram<'a> {
    /// The counts.
    pub of: &'a Distribution,
}

impl Chart for Histogram<'_> {
    fn title(&self) -> &str {
        &self.of.title
    }

    fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>) -> Drawn {
        let shares: Vec<Vec<f64>> = self
            .of
            .groups
            .iter()
            .map(|(_, counts)| {
                let total = counts.iter().sum::<u64>().max(1) as f64;
                counts.iter().map(|c| 100.0 * *c as f64 / total).collect()
            })
            .collect();
        let highest = shares.iter().flatten().copied().fold(1.0, f64::max);
        let legend: Vec<Entry> = self
            .of
            .groups
            .iter()
            .enumerate()
            .map(|(i, (name, counts))| {
                let n = counts.iter().sum::<u64>() as f64;
                let n = axis::label(
                    n,
                    if n >= 1e6 {
                        1e4
                    } else {
                        1.0f64.max(n / 1e3).round()
                    },
                    n,
                );
                (format!("{name} ({n})"), colour(Some(i)), dash(Some(i)))
            })
            .collect();
        let frame = Frame::draw(
            canvas,
            &self.of.title,
            "",
            "share of each origin, %",
            &legend,
            (0.0, highest * 1.05),
        )?;
        let (Some(low), Some(high)) = (self.of.edges.first(), self.of.edges.last()) else {
            return Ok(());
        };
        let piece = [*low, *high, frame.left, frame.right];
        let scale = Scale::new(vec![piece]);
        for (i, shares) in shares.iter().enumerate() {
            let mut outline = vec![(frame.left, frame.bottom)];
            for (edges, share) in self.of.edges.windows(2).zip(shares) {
                let y = frame.y_pixel(*share);
                outline.push((scale.pixel(edges[0]), y));
                outline.push((scale.pixel(edges[1]), y));
            }
            outline.push((frame.right, frame.bottom));
            canvas.area(&outline, colour(Some(i)), 0.15)?;
            canvas.line(&outline, colour(Some(i)), 1.8, dash(Some(i)))?;
        }
        frame.x_ticks(canvas, piece, false)?;
        frame.x_label(canvas, &self.of.x_label, frame.left, frame.right)?;
        canvas.line(
            &[(frame.left, frame.bottom), (frame.right, frame.bottom)],
            MUTED,
            1.0,
            Dash::Solid,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves() -> Curves {
        let ramp = |k: f64| {
            (-4..=4)
                .map(|i| (f64::from(i) * 10.0, k * f64::from(i)))
                .collect::<Vec<_>>()
        };
        Curves {
            title: "A <title> & \"more\"".into(),
            caption: String::new(),
            y_label: "score".into(),
            x: XAxis::Switch,
            series: vec![Series::over_runs("two", 0, &[ramp(1.0), ramp(3.0)])],
            references: vec![("data".into(), 5.0)],
        }
    }

    #[test]
    fn the_band_spans_the_runs() {
        let s = &curves().series[0];
        assert_eq!(s.points[8], (40.0, 8.0));
        assert_eq!(s.band[8], (40.0, 4.0, 12.0));
        let gap = Series::over_runs("", 0, &[vec![(0.0, 1.0), (1.0, 2.0)], vec![(1.0, 4.0)]]);
        assert_eq!(gap.points, [(1.0, 3.0)]);
    }

    #[test]
    fn two_scales_meet_at_the_switch() {
        let scale = Scale::new(vec![[-100.0, 0.0, 10.0, 60.0], [0.0, 4.0, 60.0, 100.0]]);
        let pixels = [-100.0, -50.0, 0.0, 2.0, 4.0].map(|x| scale.pixel(x));
        assert_eq!(pixels, [10.0, 35.0, 60.0, 80.0, 100.0]);
    }

    #[test]
    fn svg_is_well_formed_and_inline_has_no_paper() {
        let c = curves();
        let document = c.svg(640, 360);
        assert!(
            document.starts_with("<svg width=\"640\" height=\"360\" viewBox=\"0 0 6400 3600\"")
        );
        assert!(document.contains("#FFFFFF") && document.trim_end().ends_with("</svg>"));
        assert!(!document.contains("<title> &") && document.contains("&lt;title&gt;"));
        let inline = c.inline_svg(640, 360);
        assert!(!inline.contains("#FFFFFF") && !inline.contains(" height=\"360\""));
        for text in ["offline updates", "online environment steps", "two", "data"] {
            assert!(inline.contains(text), "{text}");
        }
        assert_eq!(c.svg(640, 360), document, "drawing is deterministic");
    }

    #[test]
    fn pictures_are_written_whole_and_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        curves().png(&path, 320, 200).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        assert_eq!(
            bytes[16..24],
            [0, 0, 2, 128, 0, 0, 1, 144],
            "640 by 400 dots"
        );
        assert!(bytes.len() > 5_000, "{}", bytes.len());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(
            curves()
                .png(&folder.path().join("no/a.png"), 320, 200)
                .is_err()
        );
    }

    #[test]
    fn nothing_to_draw_still_draws() {
        let empty = Curves {
            series: vec![
                Series::new("none", 0, Vec::new()),
                Series::new("nan", 1, vec![(0.0, f64::NAN)]),
            ],
            references: Vec::new(),
            ..curves()
        };
        assert!(empty.svg(300, 200).contains("none"));
        let d = Distribution::of("w", "w", &[("offline", &[])], 3);
        assert!(Histogram { of: &d }.svg(300, 200).contains("offline (0)"));
    }
}
