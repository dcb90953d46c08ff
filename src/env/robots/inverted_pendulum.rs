//! InvertedPendulum: S = 4, A = 1. A cart holds a pole up, 1 a step; ends when the pole leans beyond 0.2 rad.
//! An action of 1 is a control of 3.

use super::task::{Generation, Measure, ResetNoise, Task};
use crate::env::mujoco::{ModelText, Part};
use crate::env::{Needs, Spec};

pub static V4: Task = task("invertedpendulum-v4", Generation::V4);
pub static V5: Task = task("invertedpendulum-v5", Generation::V5);

const fn task(id: &'static str, generation: Generation) -> Task {
    Task {
        spec: Spec {
            id,
            obs_dim: 4,
            act_dim: 1,
            max_episode_steps: 1000,
            score: None,
            success: false,
            needs: Needs::MuJoCo { nq: 2, nv: 2 },
        },
        model: ModelText {
            name: "inverted pendulum",
            mjcf: include_str!("inverted_pendulum.xml"),
            edit: None,
            edit_since_3_5: None,
        },
        frame_skip: 2,
        reach: 3.0,
        observation: &[
            Part::Positions { from: 0 },
            Part::Velocities { without_last: 0, limit: f64::INFINITY },
        ],
        measure: Measure::Nothing,
        gain: |_, _, _| 0.0,
        control_cost: 0.0,
        charges_controls: false,
        contact_cost: None,
        health: generation.health(1.0, |qpos, _| qpos[1].abs() <= 0.2),
        reset_noise: ResetNoise::Uniform(0.01),
        cut_actions: generation.cuts_actions(),
    }
}
