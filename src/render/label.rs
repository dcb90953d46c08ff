//! Words in the corners of a picture.

use std::io;

use super::paint::Picture;
use super::palette::{Rgb, mix};
use crate::report::canvas::{Anchor, Canvas, INK, MUTED};
use crate::report::{Chart, text_width};

/// One line of text on a plate.
struct Plate<'a> {
    text: &'a str,
    size: f64,
    strong: bool,
}

impl Chart for Plate<'_> {
    fn title(&self) -> &str {
        self.text
    }

    fn draw(&self, canvas: &mut Canvas) {
        let colour = if self.strong { INK } else { MUTED };
        canvas.text(self.text, (0.5 * self.size, 0.5 * canvas.height), self.size, colour, Anchor::Left);
    }
}

/// Which corner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Corner {
    UpperLeft,
    LowerLeft,
}

/// How much of the picture a plate hides.
const OPAQUE: f64 = 0.86;

/// Writes a line into a corner, or nothing where it has no room.
///
/// # Errors
/// Of the drawing library.
pub fn write(picture: &mut Picture, text: &str, corner: Corner) -> io::Result<()> {
    let strong = corner == Corner::UpperLeft;
    let em = (f64::from(picture.height) / 24.0).clamp(9.0, 26.0) * if strong { 1.0 } else { 0.8 };
    // Drawn in the typeface that was measured, so without the measure's reserve of a tenth.
    let (width, height) = ((text_width(text, em) / 1.1 + em).ceil() as u32, (1.6 * em).ceil() as u32);
    let margin = (0.6 * em).ceil() as u32;
    if text.is_empty() || width + 2 * margin > picture.width || height + 2 * margin > picture.height {
        return Ok(());
    }
    let plate = Plate { text, size: em, strong }.pixels(width, height, 1)?;
    let top = if strong { margin } else { picture.height - margin - height };
    for (k, dot) in plate.pixels().iter().enumerate() {
        let (x, y) = (margin + k as u32 % width, top + k as u32 / width);
        let below = &mut picture.rgb[(y * picture.width + x) as usize];
        let above: Rgb = [dot.red(), dot.green(), dot.blue()].map(f64::from);
        *below = mix(below.map(f64::from), above, OPAQUE).map(|c| (c + 0.5) as u8);
    }
    Ok(())
}
