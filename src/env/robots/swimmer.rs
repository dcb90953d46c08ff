//! Swimmer: S = 8, A = 2, three links in a viscous fluid. Never ends early; v4 and v5 are the same task.

use super::task::{Generation, Measure, ResetNoise, Task, speed};
use crate::env::mujoco::{ModelText, Part};
use crate::env::{Needs, Spec};

pub static V4: Task = task("swimmer-v4", Generation::V4);
pub static V5: Task = task("swimmer-v5", Generation::V5);

const fn task(id: &'static str, generation: Generation) -> Task {
    Task {
        spec: Spec {
            id,
            obs_dim: 8,
            act_dim: 2,
            max_episode_steps: 1000,
            score: None,
            success: false,
            needs: Needs::MuJoCo { nq: 5, nv: 5 },
        },
        model: ModelText {
            name: "swimmer",
            mjcf: include_str!("swimmer.xml"),
            edit: None,
            edit_since_3_5: None,
        },
        frame_skip: 4,
        reach: 1.0,
        observation: &[
            Part::Positions { from: 2 },
            Part::Velocities { without_last: 0, limit: f64::INFINITY },
        ],
        measure: Measure::Along,
        gain: speed,
        control_cost: 1e-4,
        charges_controls: false,
        contact_cost: None,
        health: None,
        reset_noise: ResetNoise::Uniform(0.1),
        cut_actions: generation.cuts_actions(),
    }
}
