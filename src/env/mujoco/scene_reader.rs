//! What a model looks like, read out of what MuJoCo prints of it: shapes and limbs once, places for every position.

use super::ffi::{Data, QPOS, QVEL};
use crate::env::scene::{Scene, Shape, Solid};

/// The solids of a model, placed by its positions.
pub struct SceneReader {
    /// A simulation of its own, so that looking changes no other.
    data: Data,
    geoms: Vec<Geom>,
    ground: Option<f64>,
}

/// A solid in its body.
struct Geom {
    body: usize,
    /// placed in the body, not in the world
    solid: Solid,
}

/// The body whose joints move the whole: 0 is the world.
const ROOT: usize = 1;
/// Geoms of higher groups are not shown by MuJoCo's own viewer either.
const SHOWN: f64 = 2.0;

impl SceneReader {
    /// Reads the printed text of the model of `data`.
    pub(super) fn of(data: Data, text: &str) -> Result<SceneReader, String> {
        let parents: Vec<usize> = blocks(text, "BODY")
            .map(|block| Ok(block.numbers::<1>("body_parentid")?[0] as usize))
            .collect::<Result<_, String>>()?;
        if parents.len() <= ROOT
            || parents.len() != data.model().bodies()
            || parents.iter().enumerate().any(|(body, &p)| body > 0 && p >= body)
        {
            return Err("its bodies are in an unknown order".into());
        }
        let limbs = limbs(&parents);
        let (mut geoms, mut ground) = (Vec::new(), None);
        for block in blocks(text, "GEOM") {
            let [kind] = block.numbers::<1>("geom_type")?;
            let ([group], rgba) = (block.numbers("geom_group")?, block.numbers::<4>("geom_rgba")?);
            let ([body], size) = (block.numbers::<1>("geom_bodyid")?, block.numbers("geom_size")?);
            let (centre, quaternion) = (block.numbers::<3>("geom_pos")?, block.numbers("geom_quat")?);
            let body = body as usize;
            if body >= parents.len() {
                return Err(format!("a geom belongs to body {body} of {}", parents.len()));
            }
            if kind == PLANE {
                ground = Some(centre[2]);
            } else if let (Some(shape), true) = (shape(kind, size), group <= SHOWN && rgba[3] > 0.0) {
                let (limb, link) = limbs[body];
                let (fixed, rotation) = (body < ROOT, rotation(quaternion));
                geoms.push(Geom { body, solid: Solid { shape, limb, link, fixed, centre, rotation } });
            }
        }
        Ok(SceneReader { data, geoms, ground })
    }

    /// The scene at positions `[nq]`.
    pub fn at(&mut self, qpos: &[f64]) -> Scene {
        self.data.set(QPOS, qpos);
        self.data.kinematics();
        let (root, _) = self.data.frame(ROOT);
        let place = |geom: &Geom| {
            let (at, turn) = self.data.frame(geom.body);
            let (centre, rotation) = (product::<1, 3>(&turn, &geom.solid.centre), &geom.solid.rotation);
            Solid {
                centre: [0, 1, 2].map(|i| at[i] + centre[i]),
                rotation: product::<3, 9>(&turn, rotation),
                ..geom.solid
            }
        };
        let solids = self.geoms.iter().map(place).collect();
        let model = self.data.model();
        Scene { solids, ground: self.ground, root, spatial: model.size(QPOS) > model.size(QVEL) }
    }
}

/// Of every body its limb and its link: the trunk is the root and what hangs on it alone, one below the other.
fn limbs(parents: &[usize]) -> Vec<(usize, usize)> {
    let children = |body: usize| parents.iter().skip(1).filter(|&&p| p == body).count();
    let (mut of, mut count) = (vec![(0, 0)], 0);
    for (body, &parent) in parents.iter().enumerate().skip(1) {
        let (limb, link) = of[parent];
        of.push(match body == ROOT || (parent != 0 && children(parent) < 2) {
            true => (limb, link + 1),
            false => {
                count += 1;
                (count, 0)
            }
        });
    }
    of
}

/// The rotation of a unit quaternion, real part first.
fn rotation([w, x, y, z]: [f64; 4]) -> [f64; 9] {
    let twice = |a: f64, b: f64| 2.0 * a * b;
    [
        1.0 - twice(y, y) - twice(z, z),
        twice(x, y) - twice(w, z),
        twice(x, z) + twice(w, y),
        twice(x, y) + twice(w, z),
        1.0 - twice(x, x) - twice(z, z),
        twice(y, z) - twice(w, x),
        twice(x, z) - twice(w, y),
        twice(y, z) + twice(w, x),
        1.0 - twice(x, x) - twice(y, y),
    ]
}

/// A matrix `[3, 3]` times one `[3, C]` of as many numbers.
fn product<const C: usize, const N: usize>(a: &[f64; 9], b: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|k| (0..3).map(|i| a[3 * (k / C) + i] * b[C * i + k % C]).sum())
}

/// `mjtGeom`
const PLANE: f64 = 0.0;

/// `None` for what is not drawn: meshes, height fields.
fn shape(kind: f64, [a, b, c]: [f64; 3]) -> Option<Shape> {
    match kind as i64 {
        2 => Some(Shape::Ellipsoid([a; 3])),
        3 => Some(Shape::Capsule { radius: a, half: b }),
        4 => Some(Shape::Ellipsoid([a, b, c])),
        5 => Some(Shape::Cylinder { radius: a, half: b }),
        6 => Some(Shape::Cuboid([a, b, c])),
        _ => None,
    }
}

/// One block: a line like `GEOM 3:` and the lines below it.
struct Block<'a>(&'a str);

fn blocks<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = Block<'a>> {
    let is = move |block: &str| {
        let rest = block.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' '));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    text.split("\n\n").map(|block| block.trim_start_matches('\n')).filter(move |block| is(block)).map(Block)
}

impl Block<'_> {
    /// The first N numbers of a key.
    fn numbers<const N: usize>(&self, key: &str) -> Result<[f64; N], String> {
        let line = self.0.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(' '));
        let numbers: Option<Vec<f64>> =
            line.and_then(|line| line.split_whitespace().take(N).map(|word| word.parse().ok()).collect());
        numbers.and_then(|n| n.try_into().ok()).ok_or_else(|| {
            let name = self.0.lines().next().unwrap_or_default();
            format!("{name} expected {N} numbers of {key}, got {}", line.unwrap_or("none").trim())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_begin_where_a_body_has_several_children() {
        // A chain; a trunk with two legs of two links; a second body of the world, as a target.
        assert_eq!(limbs(&[0, 0, 1, 2]), [(0, 0), (0, 1), (0, 2), (0, 3)]);
        let walker = limbs(&[0, 0, 1, 2, 1, 4, 0]);
        assert_eq!(walker[1..], [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]);
    }

    #[test]
    fn quaternions_turn() {
        let h = std::f64::consts::FRAC_1_SQRT_2;
        let about_y = rotation([h, 0.0, h, 0.0]);
        let turned = product::<1, 3>(&about_y, &[0.0, 0.0, 1.0]);
        assert!((turned[0] - 1.0).abs() < 1e-12 && turned[1].abs() + turned[2].abs() < 1e-12, "{turned:?}");
        let twice = product::<3, 9>(&about_y, &about_y);
        let about_z = product::<3, 9>(&twice, &rotation([0.0, 1.0, 0.0, 0.0]));
        let expected = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0];
        assert!(about_z.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{about_z:?}");
    }

    #[test]
    fn blocks_are_read_and_what_is_missing_is_named() {
        let text = "GEOMS 2\n\nGEOM 0:\n  name   floor\n  geom_size  1 2.5 3 \n\n\nGEOM 1:\n  geom_sizes 1\n\nGEOM x:\n";
        let all: Vec<Block> = blocks(text, "GEOM").collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].numbers("geom_size"), Ok([1.0, 2.5, 3.0]));
        assert_eq!(
            all[1].numbers::<1>("geom_size").unwrap_err(),
            "GEOM 1: expected 1 numbers of geom_size, got none"
        );
    }
}
