//! Ant: A = 8 on four legs, and free to turn over. Ends outside 0.2 m to 1 m of height.
//!
//! S = 27 in v4, and 105 in v5, which adds the forces on the bodies (cut to ±1) and charges for them. S = 111 in v2, as in
//! D4RL, whose 84 forces were never computed and are zero.

use super::numpy::sum_of_squares;
use super::task::{Generation, Measure, ResetNoise, Task, speed};
use crate::env::mujoco::{ModelText, Part, Quantity};
use crate::env::{Needs, Spec};

pub static V2: Task = task("ant-v2", 111, Generation::V2);
pub static V4: Task = task("ant-v4", 27, Generation::V4);
pub static V5: Task = task("ant-v5", 105, Generation::V5);

const POSITIONS: Part = Part::Positions { from: 2 };
const VELOCITIES: Part = Part::Velocities { without_last: 0, limit: f64::INFINITY };
/// Without the world's.
const FORCES: Part = Part::Computed { of: Quantity::ExternalForces, from: 6, limit: 1.0 };

const fn task(id: &'static str, obs_dim: usize, generation: Generation) -> Task {
    Task {
        spec: Spec {
            id,
            obs_dim,
            act_dim: 8,
            max_episode_steps: 1000,
            score: Some("ant"),
            success: false,
            needs: Needs::MuJoCo { nq: 15, nv: 14 },
        },
        model: ModelText {
            name: "ant",
            mjcf: include_str!("ant.xml"),
            edit: None,
            edit_since_3_5: Some((r#"margin="0.01""#, r#"margin="0.005""#)),
        },
        frame_skip: 5,
        reach: 1.0,
        observation: match generation {
            Generation::V2 => &[POSITIONS, VELOCITIES, Part::Zeros { count: 84 }],
            Generation::V4 => &[POSITIONS, VELOCITIES],
            Generation::V5 => &[POSITIONS, VELOCITIES, FORCES],
        },
        measure: Measure::Body("torso"),
        gain: speed,
        control_cost: 0.5,
        charges_controls: false,
        contact_cost: match generation {
            Generation::V2 | Generation::V4 => None,
            Generation::V5 => Some(contact_cost),
        },
        health: generation.health(1.0, healthy),
        reset_noise: ResetNoise::UniformNormal(0.1),
        cut_actions: generation.cuts_actions(),
    }
}

fn healthy(qpos: &[f64], _qvel: &[f64]) -> bool {
    (0.2..=1.0).contains(&qpos[2])
}

fn contact_cost(forces: &[f64]) -> f64 {
    5e-4 * sum_of_squares(forces.iter().map(|f| f.clamp(-1.0, 1.0)))
}
