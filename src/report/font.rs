//! The typeface of pictures: Noto Sans (Apache License 2.0), embedded, so that a machine without fonts draws the same.
//! Of SVG it only measures the text, which the reader sees in a sans-serif of his own.

use resvg::usvg::fontdb::Database;
use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider as _};
use std::sync::{Arc, LazyLock};
use ttf_noto_sans::REGULAR;

/// All typefaces there are for a picture: the one.
pub(super) fn typefaces() -> Arc<Database> {
    static TYPEFACES: LazyLock<Arc<Database>> = LazyLock::new(|| {
        let mut all = Database::new();
        all.load_font_data(REGULAR.to_vec());
        all.set_sans_serif_family("Noto Sans");
        Arc::new(all)
    });
    TYPEFACES.clone()
}

/// Width of a line of text in pixels, with a reserve because the reader's own sans-serif may be wider.
pub fn text_width(text: &str, size: f64) -> f64 {
    static FACE: LazyLock<FontRef<'static>> =
        LazyLock::new(|| FontRef::new(REGULAR).expect("invariant: the embedded font is a font"));
    let (glyphs, metrics) =
        (FACE.charmap(), FACE.glyph_metrics(Size::new(size as f32), LocationRef::default()));
    let advance = |c: char| metrics.advance_width(glyphs.map(c).unwrap_or_default()).unwrap_or_default();
    text.chars().map(|c| f64::from(advance(c))).sum::<f64>() * 1.1
}

/// A name, or as much of it as there is room for.
pub(super) fn fitted(name: &str, size: f64, room: f64) -> String {
    let fits = |text: &str| text_width(text, size) <= room + 0.5;
    if fits(name) {
        return name.into();
    }
    let mut shorter = name.char_indices().rev().map(|(end, _)| format!("{}\u{2026}", name[..end].trim_end()));
    shorter.find(|text| fits(text.as_str())).unwrap_or_default()
}
