//! Where a ray meets a solid, in the solid's own coordinates, and which way its surface looks there.

use crate::env::scene::{Shape, Solid};

/// A point or a direction.
pub type Vector = [f64; 3];

/// A point and a direction of length 1.
#[derive(Clone, Copy, Debug)]
pub struct Ray {
    /// where it begins
    pub from: Vector,
    /// where it goes
    pub along: Vector,
}

/// The nearest meeting in front of a ray's beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Meeting {
    /// from the beginning of the ray
    pub distance: f64,
    /// of the surface, outwards, of length 1
    pub normal: Vector,
}

/// Nearer meetings are that of a surface with itself.
const NEAREST: f64 = 1e-6;

/// a · b
pub fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// a + s b
pub fn plus(a: Vector, s: f64, b: Vector) -> Vector {
    [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]]
}

/// a × b
pub fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The same direction with length 1; that of no length stays.
pub fn unit(a: Vector) -> Vector {
    let length = dot(a, a).sqrt();
    if length > 0.0 { a.map(|x| x / length) } else { a }
}

/// R v
fn turn(r: &[f64; 9], v: Vector) -> Vector {
    [dot([r[0], r[1], r[2]], v), dot([r[3], r[4], r[5]], v), dot([r[6], r[7], r[8]], v)]
}

/// Rᵀ v
fn turn_back(r: &[f64; 9], v: Vector) -> Vector {
    [dot([r[0], r[3], r[6]], v), dot([r[1], r[4], r[7]], v), dot([r[2], r[5], r[8]], v)]
}

/// Radius of a ball around the solid's origin that holds it.
pub fn reach(shape: Shape) -> f64 {
    match shape {
        Shape::Ellipsoid([a, b, c]) => a.max(b).max(c),
        Shape::Capsule { radius, half } => radius + half,
        Shape::Cylinder { radius, half } => (radius * radius + half * half).sqrt(),
        Shape::Cuboid(h) => dot(h, h).sqrt(),
    }
}

/// The first point of a solid on a ray, if there is one.
pub fn meet(solid: &Solid, ray: Ray) -> Option<Meeting> {
    let from = turn_back(&solid.rotation, plus(ray.from, -1.0, solid.centre));
    let along = turn_back(&solid.rotation, ray.along);
    // Most rays miss: the closest they come to the origin is farther than the solid reaches.
    let (back, reach) = (dot(from, along), reach(solid.shape));
    if dot(from, from) - back * back > reach * reach {
        return None;
    }
    let (distance, normal) = match solid.shape {
        Shape::Ellipsoid(axes) => ellipsoid(axes, from, along),
        Shape::Capsule { radius, half } => capsule(radius, half, from, along),
        Shape::Cylinder { radius, half } => cylinder(radius, half, from, along),
        Shape::Cuboid(half) => cuboid(half, from, along),
    }?;
    (distance > NEAREST).then(|| Meeting { distance, normal: turn(&solid.rotation, unit(normal)) })
}

/// The smaller root of a t² + 2 b t + c, if there are two.
fn smaller_root(a: f64, b: f64, c: f64) -> Option<f64> {
    let discriminant = b * b - a * c;
    (discriminant > 0.0 && a > 0.0).then(|| (-b - discriminant.sqrt()) / a)
}

fn ellipsoid(axes: Vector, from: Vector, along: Vector) -> Option<(f64, Vector)> {
    let scaled = |v: Vector| [v[0] / axes[0], v[1] / axes[1], v[2] / axes[2]];
    let (f, d) = (scaled(from), scaled(along));
    let t = smaller_root(dot(d, d), dot(f, d), dot(f, f) - 1.0)?;
    Some((t, scaled(plus(f, t, d))))
}

/// Distance and height at which a ray meets the infinite cylinder along z from outside.
fn side(radius: f64, from: Vector, along: Vector) -> Option<(f64, f64)> {
    let a = along[0] * along[0] + along[1] * along[1];
    let b = from[0] * along[0] + from[1] * along[1];
    let t = smaller_root(a, b, from[0] * from[0] + from[1] * from[1] - radius * radius)?;
    Some((t, from[2] + t * along[2]))
}

fn capsule(radius: f64, half: f64, from: Vector, along: Vector) -> Option<(f64, Vector)> {
    if let Some((t, z)) = side(radius, from, along)
        && z.abs() <= half
    {
        return Some((t, [from[0] + t * along[0], from[1] + t * along[1], 0.0]));
    }
    let end = |z: f64| {
        let f = [from[0], from[1], from[2] - z];
        let t = smaller_root(1.0, dot(f, along), dot(f, f) - radius * radius)?;
        Some((t, plus(f, t, along)))
    };
    nearer(end(half), end(-half))
}

fn cylinder(radius: f64, half: f64, from: Vector, along: Vector) -> Option<(f64, Vector)> {
    let round = side(radius, from, along)
        .filter(|(_, z)| z.abs() <= half)
        .map(|(t, _)| (t, [from[0] + t * along[0], from[1] + t * along[1], 0.0]));
    // Of the two lids only the one that looks at the ray's beginning is seen.
    let up = if along[2] < 0.0 { 1.0 } else { -1.0 };
    let lid = (along[2] != 0.0)
        .then(|| (up * half - from[2]) / along[2])
        .filter(|t| {
            let (x, y) = (from[0] + t * along[0], from[1] + t * along[1]);
            x * x + y * y <= radius * radius
        })
        .map(|t| (t, [0.0, 0.0, up]));
    nearer(round, lid)
}

fn cuboid(half: Vector, from: Vector, along: Vector) -> Option<(f64, Vector)> {
    let (mut enter, mut leave, mut normal) = (f64::NEG_INFINITY, f64::INFINITY, [0.0; 3]);
    for i in 0..3 {
        if along[i] == 0.0 {
            if from[i].abs() > half[i] {
                return None;
            }
            continue;
        }
        let sign = along[i].signum();
        if (-sign * half[i] - from[i]) / along[i] > enter {
            enter = (-sign * half[i] - from[i]) / along[i];
            normal = [0.0; 3];
            normal[i] = -sign;
        }
        leave = leave.min((sign * half[i] - from[i]) / along[i]);
    }
    (enter < leave).then_some((enter, normal))
}

fn nearer(a: Option<(f64, Vector)>, b: Option<(f64, Vector)>) -> Option<(f64, Vector)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turned by a right angle about y: local z is the world's x.
    const LYING: [f64; 9] = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0];

    fn solid(shape: Shape) -> Solid {
        Solid { shape, limb: 0, link: 0, fixed: false, centre: [10.0, 0.0, 0.0], rotation: LYING }
    }

    fn distance(shape: Shape, from: Vector, along: Vector) -> Option<f64> {
        let met = meet(&solid(shape), Ray { from, along: unit(along) })?;
        assert!((dot(met.normal, met.normal) - 1.0).abs() < 1e-12 && dot(met.normal, along) <= 0.0);
        Some(met.distance)
    }

    #[test]
    fn solids_are_met_where_they_begin() {
        let x = [1.0, 0.0, 0.0];
        let down = [0.0, 0.0, -1.0];
        let capsule = Shape::Capsule { radius: 0.5, half: 2.0 };
        let cylinder = Shape::Cylinder { radius: 0.5, half: 2.0 };
        let near = |shape: Shape, from: Vector, along: Vector, expected: f64| {
            let got = distance(shape, from, along);
            assert!(
                got.is_some_and(|d| (d - expected).abs() < 1e-12),
                "{shape:?}: {got:?}, expected {expected}"
            );
        };
        near(capsule, [0.0; 3], x, 7.5);
        near(cylinder, [0.0; 3], x, 8.0);
        near(Shape::Ellipsoid([0.5, 0.5, 3.0]), [0.0; 3], x, 7.0);
        near(Shape::Cuboid([0.5, 1.0, 4.0]), [0.0; 3], x, 6.0);
        for (shape, z) in [(capsule, 0.5), (cylinder, 0.5), (Shape::Cuboid([0.5, 1.0, 4.0]), 0.5)] {
            near(shape, [11.0, 0.0, 3.0], down, 3.0 - z);
            assert_eq!(distance(shape, [20.0, 0.0, 3.0], down), None, "{shape:?}");
            assert_eq!(distance(shape, [0.0; 3], [-1.0, 0.0, 0.0]), None, "behind: {shape:?}");
        }
        // Past the end of the cylinder, on the half sphere.
        near(capsule, [12.3, 0.0, 3.0], down, 2.6);
        assert_eq!(distance(cylinder, [12.3, 0.0, 3.0], down), None);
    }

    #[test]
    fn the_ball_around_a_solid_holds_it() {
        for shape in [
            Shape::Ellipsoid([0.2, 0.7, 0.4]),
            Shape::Capsule { radius: 0.3, half: 0.6 },
            Shape::Cylinder { radius: 0.3, half: 0.6 },
            Shape::Cuboid([0.2, 0.5, 0.4]),
        ] {
            for k in 0..200 {
                let (a, b) = (f64::from(k % 20) - 9.5, f64::from(k / 20) - 4.5);
                let from = [10.0 + a, b, 8.0];
                let toward = plus([10.0 + 0.03 * b, 0.02 * a, 0.0], -1.0, from);
                if let Some(t) = distance(shape, from, toward) {
                    let at = plus(plus(from, t, unit(toward)), -1.0, [10.0, 0.0, 0.0]);
                    assert!(dot(at, at).sqrt() <= reach(shape) + 1e-9, "{shape:?}");
                }
            }
        }
    }
}
