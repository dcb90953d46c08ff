//! Curves.

use super::canvas::{Canvas, Chart, Colour, INK, MUTED, PALETTE, Stroke};
use super::font::text_width;
use super::frame::{
    BAND, Frame, Heading, LEGEND_LINE, LegendEntry, Mark, Scale, TEXT, drawable, extent, legend_columns,
    padded,
};

/// One line, with the band around it if it has one.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Name in the legend; empty keeps it out of the legend.
    pub label: String,
    /// Points in order of x. What has no place on an axis, as NaN, breaks the line.
    pub points: Vec<(f64, f64)>,
    /// (x, low, high) in order of x; may be empty. What has no place on an axis breaks it.
    pub band: Vec<(f64, f64, f64)>,
    /// Place in the palette; `None` draws it in grey.
    pub colour: Option<usize>,
    /// Whether it is a thin, pale line behind the others.
    pub thin: bool,
}

impl Series {
    /// A line without a band.
    pub fn new(label: impl Into<String>, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points, colour: Some(colour), ..Self::default() }
    }

    /// A thin line behind the others, without a name.
    pub fn thin(colour: Option<usize>, points: Vec<(f64, f64)>) -> Self {
        Self { points, colour, thin: true, ..Self::default() }
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
                let found = run.binary_search_by(|p| p.0.total_cmp(x)).ok();
                values.extend(found.map(|i| run[i].1));
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
#[derive(Debug, Clone, Default)]
pub enum XAxis {
    /// One axis with this label.
    Plain(String),
    /// Below zero the offline phase in updates, above zero the online phase in environment
    /// steps: two scales that meet at the switch.
    #[default]
    Switch,
}

/// Lines over a common axis.
#[derive(Debug, Clone, Default)]
pub struct Curves {
    /// Title.
    pub title: String,
    /// A line under the title that says how to read it, or nothing.
    pub caption: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// What x is.
    pub x: XAxis,
    /// The lines.
    pub series: Vec<Series>,
    /// What the bands are, and what the thin lines, for the legend; empty without such.
    pub band: String,
    /// See `band`.
    pub thin: String,
    /// The range that y can have, if that is shown whole: shares go from 0 to 1.
    pub y: Option<(f64, f64)>,
    /// Horizontal lines to compare with: name and height.
    pub references: Vec<(String, f64)>,
    /// Where the axis begins if that is before the first point.
    pub x_from: f64,
    /// Where it ends if that is behind the last one.
    pub x_to: Option<f64>,
    /// Axes that it has in common with other charts.
    pub shared: Option<Shared>,
}

/// Axes that reach as far as several charts need.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    x_to: f64,
    y: (f64, f64),
}

pub(super) fn colour(index: Option<usize>) -> Colour {
    index.map_or(MUTED, |i| PALETTE[i % PALETTE.len()])
}

/// How lines are broken up, in turn as their colours repeat.
const DASHES: [Stroke; 8] = [
    Stroke::Solid,
    Stroke::Dashed,
    Stroke::Dotted,
    Stroke::DashDotted,
    Stroke::LongDashed,
    Stroke::LooselyDotted,
    Stroke::DashDotDotted,
    Stroke::LongDashDotted,
];

/// Beyond the palette's length colours repeat, otherwise broken up; beyond 48 lines both repeat.
pub(super) fn dash(index: Option<usize>) -> Stroke {
    index.map_or(Stroke::Solid, |i| DASHES[i / PALETTE.len() % DASHES.len()])
}

impl Curves {
    /// Gives all of them the same axes.
    pub fn share_axes(all: &mut [Curves]) {
        let of_each = |range: fn(&Curves) -> (f64, f64)| {
            extent(all.iter().map(range).flat_map(|(low, high)| [low, high])).unwrap_or((0.0, 1.0))
        };
        let ((x_from, x_to), y) = (of_each(Self::x_range), of_each(Self::y_range));
        for curves in all {
            curves.x_from = x_from;
            curves.shared = Some(Shared { x_to, y });
        }
    }

    fn y_range(&self) -> (f64, f64) {
        if let Some(shared) = self.shared {
            return shared.y;
        }
        let lines = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.1));
        let bands = self.series.iter().flat_map(|s| s.band.iter().flat_map(|b| [b.1, b.2]));
        let references = self.references.iter().map(|r| r.1);
        let found = extent(lines.chain(bands).chain(references));
        match (self.y, found) {
            (None, found) => found.map_or((0.0, 1.0), padded),
            (Some(y), None) => y,
            (Some(y), Some(found)) => (y.0.min(found.0), y.1.max(found.1)),
        }
    }

    fn x_range(&self) -> (f64, f64) {
        let points = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
        let (low, high) = extent(points).unwrap_or((0.0, 1.0));
        let high = high.max(self.x_to.unwrap_or(high));
        (low.min(self.x_from), self.shared.map_or(high, |shared| shared.x_to))
    }

    fn legend(&self) -> Vec<LegendEntry> {
        let named = self.series.iter().filter(|s| !s.label.is_empty());
        let series = named.map(|s| (s.label.clone(), colour(s.colour), Mark::Line(dash(s.colour))));
        let there = |name: &str, mark| (!name.is_empty()).then(|| (name.to_string(), MUTED, mark));
        let behind = [there(&self.band, Mark::Band), there(&self.thin, Mark::Thin)].into_iter().flatten();
        let references = self.references.iter().zip(PATTERNS.iter().cycle());
        let references = references.map(|((name, _), dash)| (name.clone(), MUTED, Mark::Line(*dash)));
        series.chain(behind).chain(references).collect()
    }

    /// Draws the axis of x.
    fn axis(&self, canvas: &mut Canvas, frame: &Frame) -> Scale {
        let (low, high) = self.x_range();
        if matches!(self.x, XAxis::Switch) && low < 0.0 && high > 0.0 {
            // Each phase gets what is due to its length, but at least two fifths; of many small charts the online one more.
            let due = (-low / (high - low)).clamp(0.4, 0.6);
            let share = if self.shared.is_some() { 0.35 } else { due };
            let middle = frame.left + share * (frame.right - frame.left);
            let off = [low, 0.0, frame.left, middle];
            let on = [0.0, high, middle, frame.right];
            frame.x_ticks(canvas, off, true);
            frame.x_ticks(canvas, on, false);
            frame.x_label(canvas, "offline updates", frame.left, middle);
            let narrow = text_width(STEPS, TEXT) > frame.right - middle;
            frame.x_label(canvas, if narrow { "online steps" } else { STEPS }, middle, frame.right);
            let switch = [(middle, frame.top - 8.0), (middle, frame.bottom + 4.0)];
            canvas.line(&switch, INK, 1.0, Stroke::Solid);
            return Scale::new(vec![off, on]);
        }
        let high = if high > low { high } else { low + 1.0 };
        let piece = [low, high, frame.left, frame.right];
        let text = match &self.x {
            XAxis::Plain(text) => text.as_str(),
            XAxis::Switch if low < 0.0 => "offline updates before the end",
            XAxis::Switch => STEPS,
        };
        frame.x_ticks(canvas, piece, false);
        frame.x_label(canvas, text, frame.left, frame.right);
        Scale::new(vec![piece])
    }
}

/// What x is behind the switch.
const STEPS: &str = "online environment steps";

/// Bands that are drawn at full strength.
const FEW_BANDS: f64 = 4.0;
/// How horizontal lines to compare with are broken up, in turn.
const PATTERNS: [Stroke; 2] = [Stroke::Dotted, Stroke::Dashed];

impl Series {
    fn draw_band(&self, canvas: &mut Canvas, frame: &Frame, scale: &Scale, opacity: f64) {
        for run in self.band.split(|b| !(drawable(b.1) && drawable(b.2))) {
            let upper = run.iter().map(|b| (scale.pixel(b.0), frame.y_pixel(b.2)));
            let lower = run.iter().rev().map(|b| (scale.pixel(b.0), frame.y_pixel(b.1)));
            canvas.area(&upper.chain(lower).collect::<Vec<_>>(), colour(self.colour), opacity);
        }
    }

    fn draw_line(&self, canvas: &mut Canvas, frame: &Frame, scale: &Scale, small: bool) {
        let few = self.points.len() <= 40 && !small;
        let width = if few { 2.0 } else { 1.6 };
        for run in self.points.split(|p| !drawable(p.1)) {
            let pixels: Vec<(f64, f64)> =
                run.iter().map(|p| (scale.pixel(p.0), frame.y_pixel(p.1))).collect();
            if self.thin {
                canvas.thin_line(&pixels, colour(self.colour));
                continue;
            }
            let stroke = (colour(self.colour), width, dash(self.colour));
            canvas.value_line(&pixels, stroke, &self.label, run);
            // A line of one point would not show at all.
            if few || pixels.len() == 1 {
                pixels.iter().for_each(|pixel| canvas.dot(*pixel, 2.6, colour(self.colour)));
            }
        }
    }
}

impl Chart for Curves {
    fn title(&self) -> &str {
        &self.title
    }

    fn caption(&self) -> &str {
        &self.caption
    }

    /// A long legend takes nothing from the plot.
    fn extra(&self, width: u32) -> u32 {
        let legend = self.legend();
        let columns = legend_columns(&legend, f64::from(width) - 18.0).len();
        LEGEND_LINE * legend.len().div_ceil(columns.max(1)).saturating_sub(2) as u32
    }

    fn draw(&self, canvas: &mut Canvas) {
        let legend = self.legend();
        let (title, caption, y_label) = (&self.title, &self.caption, &self.y_label);
        let frame =
            Frame::draw(canvas, &Heading { title, caption, y_label, legend: &legend }, self.y_range());
        let scale = self.axis(canvas, &frame);
        frame.foot(canvas);
        for ((_, y), dash) in self.references.iter().zip(PATTERNS.iter().cycle()) {
            let y = frame.y_pixel(*y);
            canvas.line(&[(frame.left, y), (frame.right, y)], MUTED, 1.5, *dash);
        }
        // Many bands, one over the other, must not hide what is behind them.
        let bands = self.series.iter().filter(|s| !s.band.is_empty()).count();
        let opacity = BAND * (FEW_BANDS / bands.max(1) as f64).min(1.0);
        self.series.iter().for_each(|s| s.draw_band(canvas, &frame, &scale, opacity));
        let small = self.shared.is_some() || canvas.width < 600.0;
        for thin in [true, false] {
            let lines = self.series.iter().filter(|s| s.thin == thin);
            lines.for_each(|s| s.draw_line(canvas, &frame, &scale, small));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves() -> Curves {
        let ramp = |k: f64| (-4..=4).map(|i| (f64::from(i) * 10.0, k * f64::from(i))).collect::<Vec<_>>();
        Curves {
            title: "A <title> & \"more\"".into(),
            y_label: "score".into(),
            series: vec![Series::over_runs("two", 0, &[ramp(1.0), ramp(3.0)])],
            references: vec![("data".into(), 5.0)],
            x_from: -50.0,
            ..Curves::default()
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
    fn svg_is_well_formed_and_inline_has_no_paper() {
        let c = curves();
        let document = c.svg(640, 360);
        assert!(document.starts_with("<svg width=\"640\" height=\"360\" viewBox=\"0 0 640 360\""));
        assert!(document.contains("#FFFFFF") && document.trim_end().ends_with("</svg>"));
        assert!(!document.contains("<title> &") && document.contains("&lt;title&gt;"));
        let inline = c.inline_svg(640, 360).into_string();
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
        assert_eq!(bytes[16..24], [0, 0, 2, 128, 0, 0, 1, 144], "640 by 400 dots");
        assert!(bytes.len() > 5_000, "{}", bytes.len());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(curves().png(&folder.path().join("no/a.png"), 320, 200).is_err());
    }

    #[test]
    fn a_band_is_broken_where_it_has_no_place() {
        let band = |k: i32| (f64::from(k), 1.0, if k == 3 { f64::NAN } else { 2.0 });
        let points = (0..7).map(|k| (f64::from(k), 1.5)).collect();
        let series = vec![Series { band: (0..7).map(band).collect(), ..Series::new("mean", 0, points) }];
        let svg = Curves { series, references: Vec::new(), ..curves() }.svg(300, 200);
        assert_eq!(svg.matches("<polygon").count(), 2, "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }

    /// As many as the largest study that the program brings has methods.
    #[test]
    fn forty_four_lines_are_told_apart() {
        let mut drawn: Vec<(Colour, Option<&str>)> =
            (0..44).map(|i| (colour(Some(i)), dash(Some(i)).pattern())).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 44, "{drawn:?}");
    }

    #[test]
    fn nothing_to_draw_still_draws() {
        let empty = Curves {
            series: vec![Series::new("none", 0, Vec::new()), Series::new("nan", 1, vec![(0.0, f64::NAN)])],
            references: Vec::new(),
            ..curves()
        };
        assert!(empty.svg(300, 200).contains("none"));
    }
}
