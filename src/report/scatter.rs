//! Points of several kinds over two axes of one range, with the line on which both are equal.

use super::canvas::{Canvas, Chart, MUTED, Stroke};
use super::frame::{Frame, Heading, Scale, drawable, extent, padded};
use super::plot::colour;

/// Points of several kinds.
#[derive(Debug, Clone)]
pub struct Scatter {
    /// Title.
    pub title: String,
    /// What x is.
    pub x_label: String,
    /// What y is.
    pub y_label: String,
    /// Place in the palette and points, in the order of drawing.
    pub groups: Vec<(usize, Vec<(f64, f64)>)>,
    /// Range of both axes, if it is not that of the points.
    pub range: Option<(f64, f64)>,
}

impl Chart for Scatter {
    fn title(&self) -> &str {
        &self.title
    }

    fn draw(&self, canvas: &mut Canvas) {
        let points = || self.groups.iter().flat_map(|(_, points)| points);
        let range = self
            .range
            .unwrap_or_else(|| extent(points().flat_map(|(x, y)| [*x, *y])).map_or((0.0, 1.0), padded));
        let heading = Heading { title: &self.title, caption: "", y_label: &self.y_label, legend: &[] };
        let frame = Frame::draw(canvas, &heading, range);
        let piece = [range.0, range.1, frame.left, frame.right];
        let scale = Scale::new(vec![piece]);
        let pixel = |(x, y): (f64, f64)| (scale.pixel(x), frame.y_pixel(y));
        for (place, points) in &self.groups {
            let inside = |v: f64| drawable(v) && (range.0..=range.1).contains(&v);
            let drawn: Vec<(f64, f64)> =
                points.iter().filter(|(x, y)| inside(*x) && inside(*y)).map(|p| pixel(*p)).collect();
            canvas.cloud(&drawn, 1.5, colour(Some(*place)), 0.35);
        }
        canvas.line(&[pixel((range.0, range.0)), pixel((range.1, range.1))], MUTED, 1.2, Stroke::Dashed);
        frame.x_ticks(canvas, piece, false);
        frame.x_label(canvas, &self.x_label, frame.left, frame.right);
        frame.foot(canvas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_beyond_the_range_are_left_out() {
        let groups = vec![(0, vec![(0.0, 0.5), (f64::NAN, 0.0), (0.0, 9.0)]), (1, vec![])];
        let of = |range| {
            let s = Scatter {
                title: "t".into(),
                x_label: "x".into(),
                y_label: "y".into(),
                groups: groups.clone(),
                range,
            };
            s.svg(300, 300).matches("<circle").count()
        };
        assert_eq!((of(Some((-1.0, 1.0))), of(None)), (1, 2));
    }
}
