//! Histograms by origin.

use super::canvas::{Canvas, Chart};
use super::frame::{Frame, Heading, LegendEntry, Mark, Scale, drawable};
use super::plot::{colour, dash};
use crate::train::metrics::Distribution;

/// A number of things, short: `912`, `20k`, `1.9M`.
fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}k", (n + 500) / 1000),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
}

/// A histogram with one outline per origin, each as shares of its own total, so that a few
/// thousand online transitions compare with a million offline ones.
#[derive(Debug, Clone)]
pub struct Histogram<'a> {
    /// The counts.
    pub of: &'a Distribution,
}

impl Histogram<'_> {
    fn legend(&self) -> Vec<LegendEntry> {
        let groups = self.of.groups.iter().enumerate();
        groups
            .map(|(i, (name, counts))| {
                let n = count(total(counts));
                (format!("{name} ({n})"), colour(Some(i)), Mark::Line(dash(Some(i))))
            })
            .collect()
    }

    /// Percent of each group's total in each bin.
    fn shares(&self) -> Vec<Vec<f64>> {
        let share = |counts: &Vec<u64>| {
            let total = total(counts).max(1) as f64;
            counts.iter().map(|c| 100.0 * *c as f64 / total).collect()
        };
        self.of.groups.iter().map(|(_, counts)| share(counts)).collect()
    }
}

impl Chart for Histogram<'_> {
    fn title(&self) -> &str {
        &self.of.title
    }

    fn draw(&self, canvas: &mut Canvas) {
        let (shares, legend) = (self.shares(), self.legend());
        let highest = shares.iter().flatten().copied().fold(1.0, f64::max);
        let (title, y_label) = (&self.of.title, "share of each origin, %");
        let heading = Heading { title, caption: "", y_label, legend: &legend };
        let frame = Frame::draw(canvas, &heading, (0.0, highest * 1.05));
        let (Some(&low), Some(&high)) = (self.of.edges.first(), self.of.edges.last()) else {
            return;
        };
        if !(drawable(low) && drawable(high) && low < high) {
            return;
        }
        let piece = [low, high, frame.left, frame.right];
        let scale = Scale::new(vec![piece]);
        let pixel = |x: f64| scale.pixel(x).clamp(frame.left, frame.right);
        for (i, shares) in shares.iter().enumerate() {
            // One outline per stretch of filled bins: a line along zero would say nothing.
            let edges = self.of.edges.windows(2);
            let bins: Vec<(f64, f64, f64)> =
                edges.zip(shares).map(|(edge, share)| (pixel(edge[0]), pixel(edge[1]), *share)).collect();
            for filled in bins.split(|b| b.2 == 0.0).filter(|f| !f.is_empty()) {
                let mut outline = vec![(filled[0].0, frame.bottom)];
                for (from, to, share) in filled {
                    let y = frame.y_pixel(*share);
                    outline.extend([(*from, y), (*to, y)]);
                }
                outline.push((filled[filled.len() - 1].1, frame.bottom));
                canvas.area(&outline, colour(Some(i)), 0.15);
                canvas.line(&outline, colour(Some(i)), 1.8, dash(Some(i)));
            }
        }
        frame.x_ticks(canvas, piece, false);
        frame.x_label(canvas, &self.of.x_label, frame.left, frame.right);
        frame.foot(canvas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_draw_still_draws() {
        let d = Distribution::of("w", "w", &[("offline", &[])], 3);
        assert!(Histogram { of: &d }.svg(300, 200).contains("offline (0)"));
    }
}
