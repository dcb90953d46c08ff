//! What a simulated task looks like: its solids, where they are.

/// A solid around its own origin; lengths in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Semi-axes along x, y, z; a sphere has three equal ones.
    Ellipsoid([f64; 3]),
    /// A cylinder along z, so long either way, with half spheres at its ends.
    Capsule {
        /// of cylinder and half spheres
        radius: f64,
        /// half the length of the cylinder
        half: f64,
    },
    /// A cylinder along z, so long either way.
    Cylinder {
        /// of the circle
        radius: f64,
        /// half the length
        half: f64,
    },
    /// Half the lengths along x, y, z.
    Cuboid([f64; 3]),
}

/// A solid in the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solid {
    /// what it is
    pub shape: Shape,
    /// Which limb it belongs to: 0 is the trunk, and a new limb begins wherever a body has several children.
    pub limb: usize,
    /// Its joints' distance from the root of the limb; neighbours have different ones.
    pub link: usize,
    /// Whether it belongs to no body, as a target or a wall.
    pub fixed: bool,
    /// where its origin is
    pub centre: [f64; 3],
    /// A rotation, row by row: world = rotation · local + centre.
    pub rotation: [f64; 9],
}

/// A scene at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// all that is drawn
    pub solids: Vec<Solid>,
    /// Height of the ground, if there is one.
    pub ground: Option<f64>,
    /// Where the body is that a camera follows: the first of the model.
    pub root: [f64; 3],
    /// Whether bodies move in more than a plane.
    pub spatial: bool,
}
