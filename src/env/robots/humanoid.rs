//! Humanoid: A = 17, S = 376 (v4) or 348 (v5). Ends outside 1 m to 2 m of height.
//!
//! Beside positions and velocities it observes inertias, velocities and outer forces of all bodies and the forces of its
//! motors. v5 leaves out what is always zero (the world, and the motors that the root has not) and charges for contacts.
//! An action of 1 is a control of 0.4.

use super::numpy::sum_of_squares;
use super::task::{Generation, Measure, ResetNoise, Task};
use crate::env::mujoco::{ModelText, Part, Quantity};
use crate::env::{Needs, Spec};

pub static V4: Task = task("humanoid-v4", 376, Generation::V4);
pub static V5: Task = task("humanoid-v5", 348, Generation::V5);

const POSITIONS: Part = Part::Positions { from: 2 };
const VELOCITIES: Part = Part::Velocities { without_last: 0, limit: f64::INFINITY };

const fn computed(of: Quantity, from: usize) -> Part {
    Part::Computed { of, from, limit: f64::INFINITY }
}

const EVERYTHING: &[Part] = &[
    POSITIONS,
    VELOCITIES,
    computed(Quantity::Inertias, 0),
    computed(Quantity::Velocities, 0),
    computed(Quantity::ActuatorForces, 0),
    computed(Quantity::ExternalForces, 0),
];

const WHAT_VARIES: &[Part] = &[
    POSITIONS,
    VELOCITIES,
    computed(Quantity::Inertias, 10),
    computed(Quantity::Velocities, 6),
    computed(Quantity::ActuatorForces, 6),
    computed(Quantity::ExternalForces, 6),
];

const fn task(id: &'static str, obs_dim: usize, generation: Generation) -> Task {
    let v5 = matches!(generation, Generation::V5);
    Task {
        spec: Spec {
            id,
            obs_dim,
            act_dim: 17,
            max_episode_steps: 1000,
            score: None,
            success: false,
            needs: Needs::MuJoCo { nq: 24, nv: 23 },
        },
        model: ModelText {
            name: "humanoid",
            mjcf: include_str!("humanoid.xml"),
            edit: None,
            edit_since_3_5: Some((r#"margin="0.001""#, r#"margin="0.0005""#)),
        },
        frame_skip: 5,
        reach: 0.4,
        observation: if v5 { WHAT_VARIES } else { EVERYTHING },
        measure: Measure::Centre,
        gain: |before, after, seconds| 1.25 * ((after - before) / seconds),
        control_cost: 0.1,
        charges_controls: true,
        contact_cost: if v5 { Some(contact_cost) } else { None },
        health: generation.health(5.0, healthy),
        reset_noise: ResetNoise::Uniform(1e-2),
        cut_actions: generation.cuts_actions(),
    }
}

fn healthy(qpos: &[f64], _qvel: &[f64]) -> bool {
    1.0 < qpos[2] && qpos[2] < 2.0
}

fn contact_cost(forces: &[f64]) -> f64 {
    (5e-7 * sum_of_squares(forces.iter().copied())).min(10.0)
}
