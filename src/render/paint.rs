//! A scene as pixels: light from above, a checkered ground that fades into the distance, shadows.

use super::palette::{GROUND, LIMBS, Rgb, SKY, SOLID, mix};
use super::ray::{Ray, Vector, dot, meet, plus, reach, unit};
use super::view::View;
use crate::env::scene::{Scene, Solid};

/// Pixels row by row from the upper left corner.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// pixels in a row
    pub width: u32,
    /// rows
    pub height: u32,
    /// red, green, blue of every pixel
    pub rgb: Vec<[u8; 3]>,
}

/// Length of a square of the ground, as a share of the distance of the camera.
const SQUARE: f64 = 0.14;
/// From where on the ground fades, and where it has faded, in distances of the camera.
const FADES: (f64, f64) = (0.9, 2.6);
/// Rays across and down in a pixel at an edge.
const FINE: u32 = 4;

/// Draws a scene.
pub fn paint(scene: &Scene, view: &View) -> Picture {
    let light = unit([-0.45, -0.55, 1.0]);
    let (width, height) = view.size();
    let bounds = scene.solids.iter().map(|solid| view.bounds(solid)).collect();
    let square = unit_of_length(SQUARE * view.distance());
    let stage = Stage { scene, view, light, bounds, square };
    let coarse: Vec<Sample> = pixels(width, height)
        .map(|(x, y)| stage.sample(x, y, f64::from(x) + 0.5, f64::from(y) + 0.5))
        .collect();
    let at = |x: u32, y: u32| &coarse[(y * width + x) as usize];
    let edge = |x: u32, y: u32| {
        let here = at(x, y).surface;
        let across = [x.saturating_sub(1), (x + 1).min(width - 1)];
        let down = [y.saturating_sub(1), (y + 1).min(height - 1)];
        across.iter().any(|&x| at(x, y).surface != here) || down.iter().any(|&y| at(x, y).surface != here)
    };
    let pixel = |(x, y): (u32, u32)| {
        let colour = if edge(x, y) { stage.fine(x, y) } else { at(x, y).colour };
        colour.map(|c| (c + 0.5).clamp(0.0, 255.0) as u8)
    };
    Picture { width, height, rgb: pixels(width, height).map(pixel).collect() }
}

fn pixels(width: u32, height: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
}

/// The length among 1, 2, 5, 10, ... and their tenths that is nearest below.
fn unit_of_length(length: f64) -> f64 {
    let mut best = 0.01;
    for step in [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        if step <= length {
            best = step;
        }
    }
    best
}

/// What a ray meets. Where neighbours differ there is an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Surface {
    Sky,
    Ground { dark: bool, lit: bool },
    Solid { number: usize, lit: bool },
}

struct Sample {
    surface: Surface,
    colour: Rgb,
}

struct Stage<'a> {
    scene: &'a Scene,
    view: &'a View,
    /// towards the light
    light: Vector,
    /// of every solid, in pixels
    bounds: Vec<[i64; 4]>,
    /// length of a square of the ground
    square: f64,
}

impl Stage<'_> {
    /// The mean over a pixel.
    fn fine(&self, x: u32, y: u32) -> Rgb {
        let mut sum = [0.0; 3];
        for (i, j) in pixels(FINE, FINE) {
            let inside = |k: u32| (f64::from(k) + 0.5) / f64::from(FINE);
            let colour = self.sample(x, y, f64::from(x) + inside(i), f64::from(y) + inside(j)).colour;
            sum = plus(sum, 1.0 / f64::from(FINE * FINE), colour);
        }
        sum
    }

    /// What is seen at a point of pixel (x, y).
    fn sample(&self, x: u32, y: u32, at_x: f64, at_y: f64) -> Sample {
        let ray = self.view.ray(at_x, at_y);
        let (px, py) = (i64::from(x), i64::from(y));
        let mut nearest = None;
        for (number, (solid, b)) in self.scene.solids.iter().zip(&self.bounds).enumerate() {
            if px < b[0] || py < b[1] || px > b[2] || py > b[3] {
                continue;
            }
            if let Some(met) = meet(solid, ray)
                && nearest.is_none_or(|(_, n): (usize, super::ray::Meeting)| met.distance < n.distance)
            {
                nearest = Some((number, met));
            }
        }
        let ground = self.ground(ray);
        match nearest {
            Some((number, met)) if ground.is_none_or(|g| met.distance < g) => {
                self.on_solid(number, ray, met.distance, met.normal)
            }
            _ => match ground {
                Some(distance) => self.on_ground(ray, distance),
                None => Sample { surface: Surface::Sky, colour: sky(ray) },
            },
        }
    }

    fn ground(&self, ray: Ray) -> Option<f64> {
        let height = self.scene.ground?;
        let distance = (height - ray.from[2]) / ray.along[2];
        (distance > 0.0 && distance < FADES.1 * self.view.distance()).then_some(distance)
    }

    fn on_ground(&self, ray: Ray, distance: f64) -> Sample {
        let at = plus(ray.from, distance, ray.along);
        let cell = |x: f64| (x / self.square).floor() as i64;
        let dark = (cell(at[0]) + cell(at[1])).rem_euclid(2) == 1;
        let lit = !self.shaded(at, None);
        let colour = GROUND[usize::from(dark)].map(|c| if lit { c } else { 0.78 * c });
        let (from, to) = FADES;
        let far = ((distance / self.view.distance() - from) / (to - from)).clamp(0.0, 1.0);
        let fade = far * far * (3.0 - 2.0 * far);
        Sample { surface: Surface::Ground { dark, lit }, colour: mix(colour, sky(ray), fade) }
    }

    fn on_solid(&self, number: usize, ray: Ray, distance: f64, normal: Vector) -> Sample {
        let at = plus(ray.from, distance, ray.along);
        let facing = dot(normal, self.light);
        let lit = facing > 0.0 && !self.shaded(plus(at, 1e-4, normal), Some(number));
        let direct = if lit { facing } else { 0.0 };
        // Halfway between light and eye a smooth surface shines.
        let half = unit(plus(self.light, -1.0, ray.along));
        let shine = if lit { (0..5).fold(dot(normal, half).max(0.0), |x, _| x * x) } else { 0.0 };
        let shade = 0.24 + 0.24 * (0.5 + 0.5 * normal[2]) + 0.40 * direct + 0.3 * shine;
        Sample {
            surface: Surface::Solid { number, lit },
            colour: paint_of(&self.scene.solids[number], shade),
        }
    }

    /// Whether something stands between a point and the light. A solid does not shade itself: its own dark side does.
    fn shaded(&self, at: Vector, own: Option<usize>) -> bool {
        let ray = Ray { from: at, along: self.light };
        let others = self.scene.solids.iter().enumerate().filter(|(n, _)| Some(*n) != own);
        others.into_iter().any(|(_, solid)| {
            let to = plus(solid.centre, -1.0, at);
            dot(to, self.light) > -reach(solid.shape) && meet(solid, ray).is_some()
        })
    }
}

/// The colour of a solid under so much light, from 0 to 1. Every other link is a little darker, so that joints are seen.
fn paint_of(solid: &Solid, shade: f64) -> Rgb {
    let colour = if solid.fixed { SOLID } else { LIMBS[solid.limb % LIMBS.len()] };
    super::palette::under(colour, shade - if solid.link % 2 == 1 { 0.1 } else { 0.0 })
}

/// Paler towards the horizon.
fn sky(ray: Ray) -> Rgb {
    let height = (3.0 * ray.along[2]).clamp(0.0, 1.0);
    mix(SKY[0], SKY[1], height)
}
