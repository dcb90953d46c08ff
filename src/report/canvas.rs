//! A drawing surface in fractional pixels over any plotters backend.
//!
//! Backends take whole numbers; drawing everything `scale` times larger and shrinking the
//! result keeps curves smooth in both formats.

use crate::checkpoint::atomic::write_atomic;
use ab_glyph_font::register;
use image::codecs::png::PngEncoder;
use image::{ColorType, ImageEncoder as _};
use plotters::prelude::{DrawingBackend, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc};
use std::path::Path;

/// The typeface: by name the reader's own sans-serif in SVG, Ubuntu Light in pictures.
const FONT: &str = "sans-serif";

mod ab_glyph_font {
    use plotters::style::{FontStyle, register_font};
    use std::sync::Once;

    /// Makes the typeface known to the bitmap backend and to text measurement, once.
    pub fn register() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let ok = register_font(super::FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
            assert!(ok.is_ok(), "invariant: the embedded font is a font");
        });
    }
}

/// Text and axes.
pub const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
/// Less important text.
pub const MUTED: RGBColor = RGBColor(0x59, 0x63, 0x6E);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xE1, 0xE5, 0xEA);
/// Background.
pub const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);

/// Okabe and Ito's palette, told apart by every kind of colour vision; the pale yellow is left
/// out because it does not show on white.
pub const PALETTE: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// How a line is broken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dash {
    /// Not at all.
    Solid,
    /// Long strokes.
    Dashed,
    /// Short strokes.
    Dotted,
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

/// What drawing may report: only the bitmap's encoder and file can fail.
pub type Drawn = Result<(), String>;

/// The surface.
pub struct Canvas<'a, B: DrawingBackend> {
    backend: &'a mut B,
    scale: f64,
    /// Whether title and caption are left to the page around the chart.
    pub bare: bool,
    /// Width in pixels before scaling.
    pub width: f64,
    /// Height in pixels before scaling.
    pub height: f64,
}

impl<B: DrawingBackend> Canvas<'_, B> {
    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn stroke(&self, colour: RGBColor, width: f64) -> ShapeStyle {
        ShapeStyle {
            color: colour.to_rgba(),
            filled: false,
            stroke_width: (width * self.scale).round().max(1.0) as u32,
        }
    }

    /// A line through the points.
    pub fn line(&mut self, points: &[(f64, f64)], colour: RGBColor, width: f64, dash: Dash) -> Drawn {
        let strokes = match dash {
            Dash::Solid => vec![points.to_vec()],
            Dash::Dashed => dashes(points, 7.0, 4.0),
            Dash::Dotted => dashes(points, 2.0, 3.0),
        };
        let style = self.stroke(colour, width);
        for stroke in strokes {
            if stroke.len() < 2 {
                continue;
            }
            let path: Vec<(i32, i32)> = stroke.iter().map(|p| self.at(*p)).collect();
            self.backend.draw_path(path, &style).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// A filled area.
    pub fn area(&mut self, points: &[(f64, f64)], colour: RGBColor, alpha: f64) -> Drawn {
        if points.len() < 3 {
            return Ok(());
        }
        let path: Vec<(i32, i32)> = points.iter().map(|p| self.at(*p)).collect();
        let style: ShapeStyle = colour.mix(alpha).filled();
        self.backend.fill_polygon(path, &style).map_err(|e| e.to_string())
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), colour: RGBColor) -> Drawn {
        let style: ShapeStyle = colour.filled();
        let (from, to) = (self.at(from), self.at(to));
        self.backend.draw_rect(from, to, &style, true).map_err(|e| e.to_string())
    }

    /// A filled circle.
    pub fn dot(&mut self, centre: (f64, f64), radius: f64, colour: RGBColor) -> Drawn {
        let style: ShapeStyle = colour.filled();
        let radius = (radius * self.scale).round() as u32;
        let centre = self.at(centre);
        self.backend.draw_circle(centre, radius, &style, true).map_err(|e| e.to_string())
    }

    /// One line of text; `size` is the height of an em in pixels.
    pub fn text(
        &mut self,
        text: &str,
        point: (f64, f64),
        size: f64,
        colour: RGBColor,
        anchor: Anchor,
    ) -> Drawn {
        let pos = match anchor {
            Anchor::Left => Pos::new(HPos::Left, VPos::Center),
            Anchor::Below => Pos::new(HPos::Center, VPos::Top),
            Anchor::Right => Pos::new(HPos::Right, VPos::Center),
        };
        let style = TextStyle::from(font(size * self.scale)).color(&colour).pos(pos);
        let point = self.at(point);
        self.backend.draw_text(text, &style, point).map_err(|e| e.to_string())
    }
}

/// plotters counts 1.24 units per em.
fn font(size: f64) -> FontDesc<'static> {
    FontDesc::new(FontFamily::Name(FONT), size * 1.24, FontStyle::Normal)
}

/// Width of a line of text in pixels, with a reserve because the reader's own sans-serif may
/// be wider than the measured one.
pub fn text_width(text: &str, size: f64) -> f64 {
    register();
    // Measured large, since the answer comes in whole pixels.
    let (width, _) = font(100.0).box_size(text).unwrap_or((60 * text.len() as u32, 0));
    f64::from(width) * size / 100.0 * 1.1
}

fn dashes(points: &[(f64, f64)], on: f64, off: f64) -> Vec<Vec<(f64, f64)>> {
    let mut strokes = Vec::new();
    let mut current = Vec::new();
    let (mut drawing, mut left) = (true, on);
    for pair in points.windows(2) {
        let [mut a, b] = [pair[0], pair[1]];
        loop {
            let length = (b.0 - a.0).hypot(b.1 - a.1);
            if drawing && current.is_empty() {
                current.push(a);
            }
            if length <= left {
                left -= length;
                if drawing {
                    current.push(b);
                }
                break;
            }
            let t = left / length;
            a = (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
            if drawing {
                current.push(a);
                strokes.push(std::mem::take(&mut current));
            }
            drawing = !drawing;
            left = if drawing { on } else { off };
        }
    }
    if drawing {
        strokes.push(current);
    }
    strokes
}

/// Something that can be drawn in any size.
pub trait Chart {
    /// Its title; also the text for readers who do not see the picture.
    fn title(&self) -> &str;
    /// A line about how to read it, or nothing.
    fn caption(&self) -> &str {
        ""
    }
    /// Draws it on the whole canvas.
    fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>) -> Drawn;

    /// As a complete SVG document on white.
    fn svg(&self, width: u32, height: u32) -> String {
        self.vector(width, height, true)
    }

    /// As SVG for a page, without title, caption, background or fixed size: the page has words
    /// and a style of its own.
    fn inline_svg(&self, width: u32, height: u32) -> String {
        self.vector(width, height, false)
    }

    /// Shared by the two SVG forms.
    #[doc(hidden)]
    fn vector(&self, width: u32, height: u32, document: bool) -> String {
        const SCALE: u32 = 10;
        register();
        let mut svg = String::new();
        {
            let size = (width * SCALE, height * SCALE);
            let mut backend = plotters::prelude::SVGBackend::with_string(&mut svg, size);
            let mut canvas = Canvas {
                backend: &mut backend,
                scale: f64::from(SCALE),
                bare: !document,
                width: f64::from(width),
                height: f64::from(height),
            };
            if document {
                let corner = (f64::from(width), f64::from(height));
                canvas.rectangle((0.0, 0.0), corner, PAPER).expect("invariant: text drawing cannot fail");
            }
            self.draw(&mut canvas).expect("invariant: text drawing cannot fail");
            backend.present().expect("invariant: text drawing cannot fail");
        }
        let body = svg.split_once('>').map_or("", |(_, body)| body);
        let size = if document { format!("width=\"{width}\" height=\"{height}\" ") } else { String::new() };
        let label = self.title().replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        format!(
            "<svg {size}viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{label}\" stroke-linejoin=\"round\">{body}",
            width * SCALE,
            height * SCALE
        )
    }

    /// As a PNG file with two dots per pixel.
    fn png(&self, path: &Path, width: u32, height: u32) -> Drawn {
        const DOTS: u32 = 2;
        const SAMPLES: u32 = 3;
        register();
        let scale = DOTS * SAMPLES;
        let (w, h) = (width * scale, height * scale);
        let mut fine = vec![255u8; (w * h * 3) as usize];
        {
            let mut backend = plotters::prelude::BitMapBackend::with_buffer(&mut fine, (w, h));
            let mut canvas = Canvas {
                backend: &mut backend,
                scale: f64::from(scale),
                bare: false,
                width: f64::from(width),
                height: f64::from(height),
            };
            self.draw(&mut canvas)?;
            backend.present().map_err(|e| e.to_string())?;
        }
        let size = (width * DOTS, height * DOTS);
        let picture = shrink(&fine, w as usize, h as usize, SAMPLES as usize);
        save(path, &picture, size)
    }
}

/// Averages squares of `n` by `n` pixels.
fn shrink(fine: &[u8], w: usize, h: usize, n: usize) -> Vec<u8> {
    let mut picture = Vec::with_capacity(fine.len() / (n * n));
    for y in 0..h / n {
        for x in 0..w / n {
            for channel in 0..3 {
                let mut sum = 0usize;
                for dy in 0..n {
                    for dx in 0..n {
                        sum += fine[((y * n + dy) * w + x * n + dx) * 3 + channel] as usize;
                    }
                }
                picture.push((sum / (n * n)) as u8);
            }
        }
    }
    picture
}

fn save(path: &Path, picture: &[u8], (width, height): (u32, u32)) -> Drawn {
    let text = |e: &dyn std::fmt::Display| format!("{}: cannot write the picture: {e}", path.display());
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(picture, width, height, ColorType::Rgb8).map_err(|e| text(&e))?;
    write_atomic(path, &bytes).map_err(|e| text(&e))
}
