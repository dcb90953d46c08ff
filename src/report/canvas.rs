//! Charts as SVG, and as PNG made from it.

use super::axis::value;
use super::font::typefaces;
use crate::checkpoint::atomic::write_after_others;
use crate::train::rundir::RunError;
use maud::{Markup, PreEscaped, html};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;
use std::io;
use std::path::Path;

/// An RGB colour as SVG writes it; the style sheet of a page finds it by this text.
pub type Colour = &'static str;

/// Text and axes.
pub const INK: Colour = "#1F2328";
/// Less important text.
pub const MUTED: Colour = "#59636E";
/// Grid lines.
pub const GRID: Colour = "#E1E5EA";
/// Background.
const PAPER: Colour = "#FFFFFF";

/// Okabe and Ito's palette, told apart by every kind of colour vision; the pale yellow is left
/// out because it does not show on white.
pub const PALETTE: [Colour; 6] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

/// How a line is broken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// Not at all.
    Solid,
    /// Long strokes.
    Dashed,
    /// Short strokes.
    Dotted,
    /// Both in turn.
    DashDotted,
    /// Longer strokes.
    LongDashed,
    /// Short strokes, far apart.
    LooselyDotted,
    /// A long stroke and two short ones in turn.
    DashDotDotted,
    /// A longer stroke and a short one in turn.
    LongDashDotted,
}

impl Stroke {
    /// Lengths of strokes and gaps; the line beside a name in a legend is 20 long.
    pub(super) fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Solid => None,
            Self::Dashed => Some("7 4"),
            Self::Dotted => Some("2 3"),
            Self::DashDotted => Some("7 3 2 3"),
            Self::LongDashed => Some("12 4"),
            Self::LooselyDotted => Some("2 7"),
            Self::DashDotDotted => Some("7 3 2 3 2 3"),
            Self::LongDashDotted => Some("12 3 2 3"),
        }
    }
}

/// Where text stands relative to its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// It starts there, vertically centred.
    Left,
    /// It is centred there, hanging below.
    Below,
    /// It ends there, vertically centred.
    Right,
}

/// A drawing surface; the origin is at the top left.
pub struct Canvas {
    marks: String,
    /// Whether title and caption are left to the page around the chart.
    pub bare: bool,
    /// Whether lines carry their values, for the page's script to show.
    live: bool,
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
}

impl Canvas {
    fn add(&mut self, mark: Markup) {
        self.marks.push_str(&mark.0);
    }

    /// A line through the points.
    pub fn line(&mut self, points: &[(f64, f64)], colour: Colour, width: f64, dash: Stroke) {
        if points.len() > 1 {
            self.add(html! {
                polyline points=(path(points)) fill="none" stroke=(colour) stroke-width=(width)
                    stroke-dasharray=[dash.pattern()] {}
            });
        }
    }

    /// A line whose points are values that a reader may ask for, under a name.
    pub fn value_line(
        &mut self,
        points: &[(f64, f64)],
        (colour, width, dash): (Colour, f64, Stroke),
        name: &str,
        values: &[(f64, f64)],
    ) {
        if !self.live {
            return self.line(points, colour, width, dash);
        }
        let texts: Vec<String> = values.iter().map(|(x, y)| format!("{x}:{}", value(*y))).collect();
        self.add(html! {
            polyline points=(path(points)) fill="none" stroke=(colour) stroke-width=(width)
                stroke-dasharray=[dash.pattern()] data-n=(legible(name)) data-v=(texts.join(" ")) {}
        });
    }

    /// A thin, pale line through the points.
    pub fn thin_line(&mut self, points: &[(f64, f64)], colour: Colour) {
        if points.len() > 1 {
            self.add(html! {
                polyline points=(path(points)) fill="none" stroke=(colour) stroke-width="1" stroke-opacity="0.4" {}
            });
        }
    }

    /// A filled area.
    pub fn area(&mut self, points: &[(f64, f64)], colour: Colour, alpha: f64) {
        if points.len() > 2 {
            self.add(html! { polygon points=(path(points)) fill=(colour) fill-opacity=(alpha) {} });
        }
    }

    /// A filled circle.
    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, colour: Colour) {
        self.add(html! { circle cx=(tenths(x)) cy=(tenths(y)) r=(radius) fill=(colour) {} });
    }

    /// Filled circles of one kind, which shine through one another.
    pub fn cloud(&mut self, points: &[(f64, f64)], radius: f64, colour: Colour, alpha: f64) {
        self.add(html! {
            g fill=(colour) fill-opacity=(alpha) {
                @for (x, y) in points { circle cx=(tenths(*x)) cy=(tenths(*y)) r=(radius) {} }
            }
        });
    }

    /// A chart on a part of the surface, without its title and caption.
    pub fn chart(&mut self, chart: &dyn Chart, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let mut part = Self { marks: String::new(), bare: true, live: self.live, width, height };
        chart.draw(&mut part);
        let place = format!("translate({},{})", tenths(x), tenths(y));
        self.add(html! { g transform=(place) { (PreEscaped(part.marks)) } });
    }

    /// One line of text; `size` is the height of an em in pixels.
    pub fn text(&mut self, text: &str, (x, y): (f64, f64), size: f64, colour: Colour, anchor: Anchor) {
        let (align, baseline) = match anchor {
            Anchor::Left => (None, 0.35),
            Anchor::Below => (Some("middle"), 0.85),
            Anchor::Right => (Some("end"), 0.35),
        };
        let y = tenths(y + baseline * size);
        self.add(html! {
            text x=(tenths(x)) y=(y) font-size=(size) fill=(colour) text-anchor=[align] { (legible(text)) }
        });
    }
}

/// A length to a tenth of a pixel.
fn tenths(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

fn path(points: &[(f64, f64)]) -> String {
    let texts: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", tenths(*x), tenths(*y))).collect();
    texts.join(" ")
}

/// Text without the characters that XML has no place for.
fn legible(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), "\u{fffd}")
}

/// Something that can be drawn in any size.
pub trait Chart {
    /// Its title; also the text for readers who do not see the picture.
    fn title(&self) -> &str;
    /// A line about how to read it, or nothing.
    fn caption(&self) -> &str {
        ""
    }
    /// Height beyond the usual that it needs in a picture of this width.
    fn extra(&self, _width: u32) -> u32 {
        0
    }
    /// Draws it on the whole canvas.
    fn draw(&self, canvas: &mut Canvas);

    /// As a complete SVG document on white.
    fn svg(&self, width: u32, height: u32) -> String {
        let height = height + self.extra(width);
        let marks = self.marks((width, height), false);
        let label = legible(self.title());
        html! {
            svg width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } xmlns="http://www.w3.org/2000/svg"
                role="img" aria-label=(label) stroke-linejoin="round" font-family="sans-serif" {
                rect width=(width) height=(height) fill=(PAPER) {}
                (marks)
            }
        }
        .into_string()
    }

    /// As SVG for a page, without title, caption, background or fixed size: the page has words
    /// and a style of its own.
    fn inline_svg(&self, width: u32, height: u32) -> Markup {
        let height = height + self.extra(width);
        let marks = self.marks((width, height), true);
        let label = legible(self.title());
        html! {
            svg viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(label) stroke-linejoin="round" { (marks) }
        }
    }

    /// Shared by the two.
    #[doc(hidden)]
    fn marks(&self, (width, height): (u32, u32), bare: bool) -> Markup {
        let (width, height) = (f64::from(width), f64::from(height));
        let mut canvas = Canvas { marks: String::new(), bare, live: bare, width, height };
        self.draw(&mut canvas);
        PreEscaped(canvas.marks)
    }

    /// As pixels, so many dots per unit of length. Errors: a picture without area, or with too many pixels.
    fn pixels(&self, width: u32, height: u32, dots: u32) -> io::Result<Pixmap> {
        let options = usvg::Options { fontdb: typefaces(), ..usvg::Options::default() };
        let tree = usvg::Tree::from_str(&self.svg(width, height), &options).map_err(io::Error::other)?;
        let size = tree.size().to_int_size();
        let mut picture = Pixmap::new(size.width() * dots, size.height() * dots)
            .ok_or_else(|| io::Error::other("too large"))?;
        let scale = Transform::from_scale(dots as f32, dots as f32);
        resvg::render(&tree, scale, &mut picture.as_mut());
        Ok(picture)
    }

    /// As a PNG file with two dots per pixel. Errors: those of [`Chart::pixels`]; the file cannot be written.
    fn png(&self, path: &Path, width: u32, height: u32) -> Result<(), RunError> {
        let encoded = self.pixels(width, height, 2).and_then(|p| p.encode_png().map_err(io::Error::other));
        let written = encoded.and_then(|bytes| write_after_others(path, &bytes));
        written.map_err(RunError::io(path, "write the picture"))
    }
}
