//! Lying bars with intervals, one row a name.

use super::canvas::{Anchor, Canvas, Chart, INK, MUTED, Stroke};
use super::font::{fitted, text_width};
use super::frame::{Frame, Heading, MARGIN, Scale, TEXT, drawable, extent};
use super::plot::colour;

/// One row.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Where it ends; nothing is drawn of what has no place on an axis, as NaN.
    pub value: f64,
    /// Ends of its interval.
    pub interval: Option<(f64, f64)>,
    /// What it is the mean of.
    pub dots: Vec<f64>,
    /// Place in the palette.
    pub colour: usize,
}

/// Bars from zero, over a common axis.
#[derive(Debug, Clone)]
pub struct Bars {
    /// Title.
    pub title: String,
    /// What the axis is.
    pub x_label: String,
    /// The rows, from the top.
    pub bars: Vec<Bar>,
    /// Range of the axis, if it is not that of the rows.
    pub range: Option<(f64, f64)>,
}

/// Room for bars beside their names, and most room for names, in pixels.
const BARS: f64 = 270.0;
const NAMES: f64 = 330.0;

impl Bars {
    /// The width in pixels that leaves room for the longest name of all, if it is not too long.
    pub fn width(all: &[Bars]) -> u32 {
        let names = all.iter().flat_map(|bars| &bars.bars).map(|bar| text_width(&bar.label, TEXT));
        (BARS + names.fold(0.0, f64::max).min(NAMES)) as u32
    }

    /// What the rows reach, zero included.
    pub fn reach(&self) -> (f64, f64) {
        let of = |bar: &Bar| {
            let ends = bar.interval.map_or([bar.value; 2], |(low, high)| [low, high]);
            bar.dots.iter().copied().chain(ends).chain([bar.value]).collect::<Vec<f64>>()
        };
        let (low, high) = extent(self.bars.iter().flat_map(of).chain([0.0])).unwrap_or((0.0, 0.0));
        if low < high { (low, high) } else { (0.0, 1.0) }
    }

    /// Gives all of them the same axis.
    pub fn share_axis(all: &mut [Bars]) {
        let range = extent(all.iter().map(Self::reach).flat_map(|(low, high)| [low, high]));
        all.iter_mut().for_each(|bars| bars.range = range);
    }
}

impl Chart for Bars {
    fn title(&self) -> &str {
        &self.title
    }

    fn draw(&self, canvas: &mut Canvas) {
        let heading = Heading { title: &self.title, caption: "", y_label: "", legend: &[] };
        let top = heading.draw(canvas, canvas.width - 18.0) + 16.0;
        let names = self.bars.iter().map(|bar| text_width(&bar.label, TEXT)).fold(0.0, f64::max);
        let room = names.min(canvas.width * 0.6);
        let frame = Frame::without_y(canvas, MARGIN + room + 8.0, top);
        let (low, high) = self.range.unwrap_or_else(|| self.reach());
        // Dots and whiskers at the ends keep clear of the frame.
        let pad = 0.03 * (high - low);
        let piece = [if low < 0.0 { low - pad } else { low }, high + pad, frame.left, frame.right];
        let scale = Scale::new(vec![piece]);
        frame.x_grid(canvas, piece);
        let pitch = (frame.bottom - frame.top) / self.bars.len().max(1) as f64;
        for (i, bar) in self.bars.iter().enumerate() {
            bar.draw(canvas, &scale, frame.top + (i as f64 + 0.5) * pitch, (pitch * 0.66).min(18.0));
            canvas.text(
                &fitted(&bar.label, TEXT, room),
                (frame.left - 8.0, frame.top + (i as f64 + 0.5) * pitch),
                TEXT,
                INK,
                Anchor::Right,
            );
        }
        let zero = scale.pixel(0.0);
        canvas.line(&[(zero, frame.top), (zero, frame.bottom)], MUTED, 1.0, Stroke::Solid);
        frame.x_ticks(canvas, piece, false);
        frame.x_label(canvas, &self.x_label, frame.left, frame.right);
    }
}

impl Bar {
    fn draw(&self, canvas: &mut Canvas, scale: &Scale, y: f64, height: f64) {
        if !drawable(self.value) {
            return;
        }
        let colour = colour(Some(self.colour));
        let (from, to, half) = (scale.pixel(0.0), scale.pixel(self.value), height / 2.0);
        let corners = [(from, y - half), (to, y - half), (to, y + half), (from, y + half)];
        canvas.area(&corners, colour, 0.3);
        canvas.line(&[(to, y - half), (to, y + half)], colour, 2.5, Stroke::Solid);
        let dots: Vec<(f64, f64)> =
            self.dots.iter().filter(|d| drawable(**d)).map(|d| (scale.pixel(*d), y)).collect();
        canvas.cloud(&dots, 2.2, colour, 0.8);
        if let Some((low, high)) = self.interval {
            let (low, high) = (scale.pixel(low), scale.pixel(high));
            canvas.line(&[(low, y), (high, y)], INK, 1.4, Stroke::Solid);
            for end in [low, high] {
                canvas.line(&[(end, y - half * 0.5), (end, y + half * 0.5)], INK, 1.4, Stroke::Solid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::canvas::GRID;
    use super::*;

    fn bars(values: &[f64]) -> Bars {
        let bar = |v: &f64| Bar {
            label: format!("row {v}"),
            value: *v,
            interval: Some((v - 1.0, v + 1.0)),
            dots: vec![*v, f64::NAN],
            colour: 7,
        };
        Bars { title: "t".into(), x_label: "x".into(), bars: values.iter().map(bar).collect(), range: None }
    }

    #[test]
    fn axes_reach_zero_and_are_shared() {
        assert_eq!(bars(&[5.0]).reach(), (0.0, 6.0));
        assert_eq!(bars(&[-5.0]).reach(), (-6.0, 0.0));
        assert_eq!(bars(&[]).reach(), (0.0, 1.0));
        let mut both = [bars(&[5.0]), bars(&[-2.0])];
        Bars::share_axis(&mut both);
        assert_eq!(both.map(|b| b.range), [Some((-3.0, 6.0)); 2]);
    }

    #[test]
    fn gridlines_stand_over_the_labels() {
        let mut all = bars(&[0.3]);
        (all.bars[0].interval, all.range) = (None, Some((0.0, 0.62)));
        for width in (300..900).step_by(40) {
            let svg = all.svg(width, 120);
            // x, height and colour of every upright line.
            let upright = svg.split("<polyline points=\"").skip(1).filter_map(|mark| {
                let (points, rest) = mark.split_once('"')?;
                let (from, to) = points.split_once(' ')?;
                let ((x, top), (other, foot)) = (from.split_once(',')?, to.split_once(',')?);
                let height = foot.parse::<f64>().ok()? - top.parse::<f64>().ok()?;
                (x == other).then(|| (x.to_string(), height, rest.contains(GRID)))
            });
            let upright: Vec<(String, f64, bool)> = upright.collect();
            let of = |wanted: &dyn Fn(&(String, f64, bool)) -> bool| -> Vec<&str> {
                upright.iter().filter(|line| wanted(line)).map(|line| line.0.as_str()).collect()
            };
            let (grid, ticks) = (of(&|line| line.2), of(&|line| (line.1 - 4.0).abs() < 0.2));
            assert!(grid == ticks && grid.len() > 1, "{width} px: lines {grid:?}, labels {ticks:?}");
        }
    }

    #[test]
    fn names_are_given_room_and_cut_where_there_is_none() {
        let named = |label: &str| {
            let mut all = bars(&[1.0]);
            all.bars[0].label = label.into();
            all
        };
        let (short, long) = (named("a name"), named(&"a name of many words ".repeat(9)));
        let [one, other] = [&short, &long].map(|b| Bars::width(std::slice::from_ref(b)));
        assert!(one < 330 && other == 600, "{one} {other}");
        assert!(short.svg(one, 80).contains(">a name<"));
        let svg = long.svg(other, 80);
        assert!(svg.contains(">a name of many words") && svg.contains("\u{2026}<"), "{svg}");
        assert_eq!(fitted("anything", TEXT, 0.0), "");
    }

    #[test]
    fn what_has_no_place_is_not_drawn() {
        let svg = bars(&[f64::NAN, 3.0]).svg(300, 200);
        assert!(!svg.contains("NaN,") && svg.contains("row 3"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(bars(&[]).svg(300, 200).contains("</svg>"));
    }
}
