//! An episode as a moving picture (GIF) or as a strip of pictures (PNG).

use std::io;

use gif::{Encoder, Frame, Repeat};
use resvg::tiny_skia::{ColorU8, Pixmap};

use super::label::{self, Corner};
use super::paint::{Picture, paint};
use super::palette::{Palette, UNCHANGED};
use super::view::View;
use crate::env::mujoco::SceneReader;
use crate::env::scene::Scene;

/// A task after one of its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// positions of the model
    pub qpos: Vec<f64>,
    /// steps so far
    pub steps: u64,
    /// sum of rewards so far
    pub sum: f64,
    /// whether the task ended here
    pub terminated: bool,
}

/// An episode, and how to see it.
pub struct Film {
    /// places the model's solids
    pub reader: SceneReader,
    /// simulated seconds from one moment to the next
    pub seconds: f64,
    /// the first is the start, and there is at least that one
    pub moments: Vec<Moment>,
    /// stands below the pictures
    pub caption: String,
    /// pixels
    pub size: (u32, u32),
}

/// How long the last picture of a film stays, in hundredths of a second.
const LINGERS: u16 = 120;

/// At so many moments the camera looks where to stand.
const LOOKS: usize = 50;

impl Film {
    /// How it ends.
    pub fn last(&self) -> &Moment {
        self.moments.last().expect("invariant: a film has a beginning")
    }

    /// An animated GIF that plays as fast as the task is, of at most so many pictures in a second; and how many it has.
    ///
    /// # Errors
    /// Of the drawing library or the encoder.
    pub fn gif(&mut self, fps: u32) -> io::Result<(Vec<u8>, usize)> {
        // Whole steps; the tolerance is for times like 5 · 0.008 = 1 / 25.
        let every = (1.0 / (f64::from(fps) * self.seconds) - 1e-9).ceil().max(1.0) as usize;
        let last = self.moments.len() - 1;
        let shown: Vec<usize> = (0..last).step_by(every).chain([last]).collect();
        let (width, height) = self.size;
        let side = |x: u32| u16::try_from(x).map_err(|_| io::Error::other("too large for a GIF"));
        let (width, height) = (side(width)?, side(height)?);
        let mut palette = Palette::new();
        let mut bytes = Vec::new();
        let mut encoder =
            Encoder::new(&mut bytes, width, height, &palette.bytes()).map_err(io::Error::other)?;
        encoder.set_repeat(Repeat::Infinite).map_err(io::Error::other)?;
        let hundredths = |moment: usize| (100.0 * self.seconds * moment as f64).round() as u64;
        let delays: Vec<u16> = shown
            .windows(2)
            .map(|pair| (hundredths(pair[1]) - hundredths(pair[0])).clamp(2, 1000) as u16)
            .chain([LINGERS])
            .collect();
        let (mut view, mut before) = (self.view(), Vec::new());
        for (&moment, delay) in shown.iter().zip(delays) {
            let picture = self.picture(moment, &mut view)?;
            let pixels: Vec<u8> = picture.rgb.iter().map(|c| palette.nearest(*c)).collect();
            // What stays is left out, which makes a fifth of a file.
            let changed = match before.len() {
                0 => pixels.clone(),
                _ => pixels.iter().zip(&before).map(|(n, b)| if n == b { UNCHANGED } else { *n }).collect(),
            };
            before = pixels;
            let mut frame = Frame::from_indexed_pixels(width, height, changed, Some(UNCHANGED));
            frame.delay = delay;
            encoder.write_frame(&frame).map_err(io::Error::other)?;
        }
        drop(encoder);
        Ok((bytes, shown.len()))
    }

    /// A PNG file of so many pictures side by side, from the start to the end; and how many it has.
    ///
    /// # Errors
    /// Of the drawing library.
    pub fn strip(&mut self, count: usize) -> io::Result<(Vec<u8>, usize)> {
        let last = self.moments.len() - 1;
        let count = count.min(last + 1);
        let (width, height) = self.size;
        let gap = (width / 80).max(1);
        let total = count as u32 * (width + gap) - gap;
        let mut strip = Pixmap::new(total, height).ok_or_else(|| io::Error::other("too large"))?;
        strip.fill(resvg::tiny_skia::Color::WHITE);
        let mut view = self.view();
        for k in 0..count {
            let picture = self.picture(if count > 1 { k * last / (count - 1) } else { 0 }, &mut view)?;
            let left = k as u32 * (width + gap);
            for (y, row) in picture.rgb.chunks_exact(width as usize).enumerate() {
                let begin = (y as u32 * total + left) as usize;
                for (to, c) in strip.pixels_mut()[begin..].iter_mut().zip(row) {
                    *to = ColorU8::from_rgba(c[0], c[1], c[2], 255).premultiply();
                }
            }
        }
        Ok((strip.encode_png().map_err(io::Error::other)?, count))
    }

    /// A camera for this film.
    fn view(&mut self) -> View {
        let step = self.moments.len().div_ceil(LOOKS);
        let scenes: Vec<Scene> = self.moments.iter().step_by(step).map(|m| self.reader.at(&m.qpos)).collect();
        View::of(&scenes, self.size)
    }

    fn picture(&mut self, moment: usize, view: &mut View) -> io::Result<Picture> {
        let moment = &self.moments[moment];
        let scene = self.reader.at(&moment.qpos);
        view.follow(&scene);
        let mut picture = paint(&scene, view);
        let end = if moment.terminated { " (ended)" } else { "" };
        let count = format!("return {:.1}, step {}{end}", moment.sum, moment.steps);
        label::write(&mut picture, &count, Corner::UpperLeft)?;
        label::write(&mut picture, &self.caption, Corner::LowerLeft)?;
        Ok(picture)
    }
}
