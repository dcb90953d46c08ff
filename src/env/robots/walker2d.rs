//! Walker2d: S = 17, A = 6. Ends outside 0.8 m to 2 m of height or when it leans beyond 1 rad.

use super::task::{Generation, Measure, ResetNoise, Task, speed};
use crate::env::mujoco::{ModelText, Part};
use crate::env::{Needs, Spec};

pub static V2: Task = task("walker2d-v2", Generation::V2);
pub static V4: Task = task("walker2d-v4", Generation::V4);
pub static V5: Task = task("walker2d-v5", Generation::V5);

/// The feet differ by an old slip of the model, kept by v2 and v4 and mended in v5.
const EVEN_FEET: (&str, &str) = (
    r#"name="right_foot" class="foot" friction="0.9 0.1 0.1""#,
    r#"name="right_foot" class="foot" friction="1.9 0.1 0.1""#,
);

const fn task(id: &'static str, generation: Generation) -> Task {
    let (name, edit) = match generation {
        Generation::V2 | Generation::V4 => ("walker2d", None),
        Generation::V5 => ("walker2d with even feet", Some(EVEN_FEET)),
    };
    Task {
        spec: Spec {
            id,
            obs_dim: 17,
            act_dim: 6,
            max_episode_steps: 1000,
            score: Some("walker2d"),
            success: false,
            needs: Needs::MuJoCo { nq: 9, nv: 9 },
        },
        model: ModelText { name, mjcf: include_str!("walker2d.xml"), edit, edit_since_3_5: None },
        frame_skip: 4,
        reach: 1.0,
        control_cost: 1e-3,
        charges_controls: false,
        contact_cost: None,
        health: generation.health(1.0, healthy),
        observation: &[Part::Positions { from: 1 }, Part::Velocities { without_last: 0, limit: 10.0 }],
        measure: Measure::Along,
        gain: speed,
        reset_noise: ResetNoise::Uniform(5e-3),
        cut_actions: generation.cuts_actions(),
    }
}

fn healthy(qpos: &[f64], _qvel: &[f64]) -> bool {
    let (height, angle) = (qpos[1], qpos[2]);
    0.8 < height && height < 2.0 && -1.0 < angle && angle < 1.0
}
