//! HalfCheetah: S = 17, A = 6. Never ends early; every episode lasts 1000 steps.

use super::task::{Generation, Measure, ResetNoise, Task, speed};
use crate::env::mujoco::{ModelText, Part};
use crate::env::{Needs, Spec};

pub static V2: Task = task("halfcheetah-v2", Generation::V2);
pub static V4: Task = task("halfcheetah-v4", Generation::V4);
pub static V5: Task = task("halfcheetah-v5", Generation::V5);

const fn task(id: &'static str, generation: Generation) -> Task {
    Task {
        spec: Spec {
            id,
            obs_dim: 17,
            act_dim: 6,
            max_episode_steps: 1000,
            score: Some("halfcheetah"),
            success: false,
            needs: Needs::MuJoCo { nq: 9, nv: 9 },
        },
        model: ModelText {
            name: "half cheetah",
            mjcf: include_str!("half_cheetah.xml"),
            edit: None,
            edit_since_3_5: None,
        },
        frame_skip: 5,
        reach: 1.0,
        control_cost: 0.1,
        charges_controls: false,
        contact_cost: None,
        health: None,
        observation: &[
            Part::Positions { from: 1 },
            Part::Velocities { without_last: 0, limit: f64::INFINITY },
        ],
        measure: Measure::Along,
        gain: speed,
        reset_noise: ResetNoise::UniformNormal(0.1),
        cut_actions: generation.cuts_actions(),
    }
}
