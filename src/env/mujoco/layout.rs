//! Where releases of MuJoCo keep what no function of theirs returns.
//!
//! Positions, velocities, controls and the poses of bodies come from functions. Ant and Humanoid also observe quantities
//! that are only in the structs, and those move in almost every release. So: one offset per quantity and release, as
//! `offsetof(mjData, ...)` and `offsetof(mjModel, body_mass)` with the headers of that release gave it (all on PyPI were
//! asked, for x86-64; 64-bit systems lay these structs out alike). Releases beyond the table are refused.

use super::version::Version;

/// A computed quantity, one row per body or one number per degree of freedom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Positions of the bodies' centres of mass, `[bodies, 3]`.
    Centres,
    /// Inertia and mass about the centre of mass of the tree, `[bodies, 10]`.
    Inertias,
    /// Forces of the actuators, `[nv]`.
    ActuatorForces,
    /// Velocities, rotation first, `[bodies, 6]`.
    Velocities,
    /// Forces from outside, torque first, `[bodies, 6]`; zero until asked for after a step.
    ExternalForces,
    /// Masses of the model's bodies, `[bodies]`.
    Masses,
}

impl Quantity {
    /// MuJoCo's name.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Centres => "xipos",
            Quantity::Inertias => "cinert",
            Quantity::ActuatorForces => "qfrc_actuator",
            Quantity::Velocities => "cvel",
            Quantity::ExternalForces => "cfrc_ext",
            Quantity::Masses => "body_mass",
        }
    }

    /// Numbers in a model of so many bodies and degrees of freedom.
    pub fn count(self, bodies: usize, nv: usize) -> usize {
        match self {
            Quantity::Centres => 3 * bodies,
            Quantity::Inertias => 10 * bodies,
            Quantity::ActuatorForces => nv,
            Quantity::Velocities | Quantity::ExternalForces => 6 * bodies,
            Quantity::Masses => bodies,
        }
    }
}

/// Byte offsets of one release, in the order of [`Quantity`]: five in `mjData`, the last in `mjModel`.
#[derive(Debug)]
pub struct Layout([usize; 6]);

impl Layout {
    /// The layout of a release, if it is known.
    pub fn of(version: Version) -> Option<&'static Layout> {
        if version > NEWEST {
            return None;
        }
        TABLE.iter().rev().find(|(since, _)| *since <= version).map(|(_, layout)| layout)
    }

    /// Where the pointer to a quantity stands.
    pub fn offset(&self, of: Quantity) -> usize {
        self.0[of as usize]
    }
}

/// The newest release in the table.
pub const NEWEST: Version = Version(4, 0, 1);

/// The first release of every layout.
static TABLE: &[(Version, Layout)] = &[
    (Version(3, 0, 0), Layout([161832, 161944, 162312, 162176, 162368, 1400])),
    (Version(3, 0, 1), Layout([161832, 161944, 162344, 162176, 162400, 1432])),
    (Version(3, 1, 2), Layout([161816, 161928, 162328, 162160, 162384, 1464])),
    (Version(3, 2, 0), Layout([161816, 161928, 162328, 162160, 162384, 1472])),
    (Version(3, 2, 3), Layout([161816, 161928, 162376, 162160, 162432, 1480])),
    (Version(3, 2, 5), Layout([161816, 161928, 162400, 162184, 162456, 1480])),
    (Version(3, 2, 6), Layout([161816, 161928, 162400, 162184, 162456, 1488])),
    (Version(3, 2, 7), Layout([161816, 161928, 162400, 162176, 162456, 1488])),
    (Version(3, 3, 0), Layout([161816, 161928, 162400, 162176, 162456, 1504])),
    (Version(3, 3, 1), Layout([161816, 161928, 162432, 162176, 162488, 1504])),
    (Version(3, 3, 2), Layout([161808, 161920, 162424, 162168, 162480, 1504])),
    (Version(3, 3, 3), Layout([161816, 161928, 162408, 162184, 162464, 1504])),
    (Version(3, 3, 6), Layout([161816, 161928, 162304, 162184, 162360, 1504])),
    (Version(3, 3, 7), Layout([161816, 161928, 162304, 162184, 162360, 1496])),
    (Version(3, 4, 0), Layout([161840, 161952, 162368, 162248, 162424, 1504])),
    (Version(3, 5, 0), Layout([161848, 161960, 162368, 162248, 162424, 1864])),
    (Version(3, 6, 0), Layout([161848, 161960, 162344, 162224, 162400, 1872])),
    (Version(3, 7, 0), Layout([161840, 161952, 162336, 162216, 162392, 1872])),
    (Version(3, 8, 0), Layout([161840, 161952, 162336, 162216, 162392, 1880])),
    (Version(3, 8, 1), Layout([161840, 161952, 162336, 162216, 162392, 1888])),
    (Version(3, 9, 0), Layout([161848, 161960, 162344, 162224, 162400, 1888])),
    (Version(3, 10, 0), Layout([160840, 160952, 161336, 161216, 161392, 1888])),
    (Version(3, 11, 0), Layout([160856, 160968, 161360, 161232, 161416, 1944])),
    (Version(3, 13, 0), Layout([160864, 160976, 161368, 161240, 161424, 1944])),
    (Version(3, 14, 0), Layout([160864, 160976, 161384, 161256, 161440, 1944])),
    (Version(3, 15, 0), Layout([160864, 160976, 161408, 161280, 161464, 1936])),
    (Version(3, 16, 0), Layout([160864, 160976, 161408, 161280, 161464, 1944])),
    (Version(4, 0, 0), Layout([160872, 161008, 161424, 161296, 161480, 1944])),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_layout_since_which_nothing_moved() {
        let at = |version| Layout::of(version).map(|layout| layout.offset(Quantity::ExternalForces));
        assert_eq!(at(Version(3, 3, 7)), Some(162_360));
        assert_eq!(at(Version(3, 1, 5)), at(Version(3, 1, 2)));
        assert_eq!(at(NEWEST), at(Version(4, 0, 0)));
        assert_eq!(at(Version(2, 3, 7)), None);
        assert_eq!(at(Version(4, 0, 2)), None);
        assert!(TABLE.windows(2).all(|rows| rows[0].0 < rows[1].0));
    }
}
