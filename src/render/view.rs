//! Where the camera stands: beside what moves in an upright plane, above what lies flat, aslant of everything else.

use super::ray::{Ray, Vector, cross, dot, plus, reach, unit};
use crate::env::scene::{Scene, Solid};

/// A camera that follows the root of a scene over the ground.
#[derive(Clone, Debug)]
pub struct View {
    width: u32,
    height: u32,
    /// from the camera to what it looks at, of length 1; to the right; upwards
    forward: Vector,
    right: Vector,
    up: Vector,
    /// from the root to what it looks at
    offset: Vector,
    /// height that stays whatever the root does
    level: f64,
    /// from the camera to what it looks at
    distance: f64,
    eye: Vector,
}

/// Distance of a picture from the eye, in heights of it.
const FOCUS: f64 = 1.8;
/// Share of the picture that the solids fill in the beginning, along the tighter direction.
const FILLED: f64 = 0.62;

impl View {
    /// A camera for pictures of so many pixels, by the scenes of an episode, of which the first must be there. What lies
    /// flat is seen whole in all of them, as an arm that turns about its root; anything else may stretch and fall.
    ///
    /// # Panics
    /// Without a scene.
    pub fn of(scenes: &[Scene], (width, height): (u32, u32)) -> View {
        let scene = &scenes[0];
        let (mut low, mut high) = extent(scene);
        let flat = high[2] - low[2] < 0.3 * (high[0] - low[0]).max(high[1] - low[1]);
        for other in scenes.iter().skip(1).filter(|_| flat) {
            let (l, h) = extent(other);
            for i in 0..2 {
                // As if its root were where that of the first is.
                let moved = scene.root[i] - other.root[i];
                (low[i], high[i]) = (low[i].min(l[i] + moved), high[i].max(h[i] + moved));
            }
        }
        let size = plus(high, -1.0, low);
        let middle = plus(low, 0.5, size);
        let toward_eye = match (flat, scene.spatial) {
            (true, false) => [0.0, -0.55, 1.0],
            (_, true) => [0.55, -1.0, 0.5],
            (false, false) => [0.22, -1.0, 0.2],
        };
        let forward = unit(toward_eye).map(|x| -x);
        let right = unit(cross(forward, [0.0, 0.0, 1.0]));
        let up = cross(right, forward);
        // Half of what is seen of the box around the solids, to the right and upwards.
        let seen = |axis: Vector| 0.5 * dot(size, axis.map(f64::abs));
        let aspect = f64::from(width) / f64::from(height);
        let tighter = seen(up).max(seen(right) / aspect).max(0.05);
        let mut view = View {
            width,
            height,
            forward,
            right,
            up,
            offset: plus(middle, -1.0, scene.root),
            level: middle[2],
            distance: tighter * 2.0 * FOCUS / FILLED + 0.5 * dot(size, forward.map(f64::abs)),
            eye: [0.0; 3],
        };
        view.follow(scene);
        view
    }

    /// Moves with the root, sideways only.
    pub fn follow(&mut self, scene: &Scene) {
        let mut target = plus(scene.root, 1.0, self.offset);
        target[2] = self.level;
        self.eye = plus(target, -self.distance, self.forward);
    }

    /// Pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// From the camera to what it looks at.
    pub fn distance(&self) -> f64 {
        self.distance
    }

    /// The ray through a point of the picture in pixels from its upper left corner.
    pub fn ray(&self, x: f64, y: f64) -> Ray {
        let height = f64::from(self.height);
        let (a, b) = ((x - 0.5 * f64::from(self.width)) / height, (0.5 * height - y) / height);
        let along = plus(plus(self.forward.map(|f| f * FOCUS), a, self.right), b, self.up);
        Ray { from: self.eye, along: unit(along) }
    }

    /// Pixels (left, top, right, bottom) outside of which a solid is not seen.
    pub fn bounds(&self, solid: &Solid) -> [i64; 4] {
        let (w, h) = (i64::from(self.width), i64::from(self.height));
        let to = plus(solid.centre, -1.0, self.eye);
        let (deep, reach) = (dot(to, self.forward), reach(solid.shape));
        if deep <= 1.5 * reach {
            return if deep < -reach { [0; 4] } else { [0, 0, w, h] };
        }
        let height = f64::from(self.height);
        let at = |side: f64| side / deep * FOCUS * height;
        let (x, y) =
            (0.5 * f64::from(self.width) + at(dot(to, self.right)), 0.5 * height - at(dot(to, self.up)));
        // Perspective makes a ball at the margin an ellipse; it stays within this.
        let r = 1.3 * reach / (deep - reach) * FOCUS * height + 2.0;
        let pixel = |v: f64, most: i64| (v.clamp(-1e6, 1e6) as i64).clamp(0, most);
        [pixel(x - r, w), pixel(y - r, h), pixel(x + r + 1.0, w), pixel(y + r + 1.0, h)]
    }
}

/// Corners of the box around all solids that move; around all if none does.
fn extent(scene: &Scene) -> (Vector, Vector) {
    let moving = scene.solids.iter().any(|s| !s.fixed);
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for solid in scene.solids.iter().filter(|s| !moving || !s.fixed) {
        let half = half_box(solid);
        for i in 0..3 {
            low[i] = low[i].min(solid.centre[i] - half[i]);
            high[i] = high[i].max(solid.centre[i] + half[i]);
        }
    }
    if scene.solids.is_empty() { (scene.root, scene.root) } else { (low, high) }
}

/// Half the lengths of a box along the world's axes around a solid.
fn half_box(solid: &Solid) -> Vector {
    use crate::env::scene::Shape::{Capsule, Cuboid, Cylinder, Ellipsoid};
    let (local, round) = match solid.shape {
        Ellipsoid(axes) => (axes, 0.0),
        Cuboid(half) => (half, 0.0),
        Capsule { radius, half } => ([0.0, 0.0, half], radius),
        Cylinder { radius, half } => ([radius, radius, half], 0.0),
    };
    let r = &solid.rotation;
    [0, 3, 6].map(|i| dot([r[i], r[i + 1], r[i + 2]].map(f64::abs), local) + round)
}
