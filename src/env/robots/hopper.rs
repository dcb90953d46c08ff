//! Hopper: S = 11, A = 3. Ends when it stoops below 0.7 m, leans beyond 0.2 rad or flings itself
//! about (any other position or velocity beyond ±100).

use super::task::{Generation, Measure, ResetNoise, Task, speed};
use crate::env::mujoco::{ModelText, Part};
use crate::env::{Needs, Spec};

pub static V2: Task = task("hopper-v2", Generation::V2);
pub static V4: Task = task("hopper-v4", Generation::V4);
pub static V5: Task = task("hopper-v5", Generation::V5);

const fn task(id: &'static str, generation: Generation) -> Task {
    Task {
        spec: Spec {
            id,
            obs_dim: 11,
            act_dim: 3,
            max_episode_steps: 1000,
            score: Some("hopper"),
            success: false,
            needs: Needs::MuJoCo { nq: 6, nv: 6 },
        },
        model: ModelText {
            name: "hopper",
            mjcf: include_str!("hopper.xml"),
            edit: None,
            edit_since_3_5: Some((r#"margin="0.001""#, r#"margin="0.0005""#)),
        },
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

fn healthy(qpos: &[f64], qvel: &[f64]) -> bool {
    let (height, angle) = (qpos[1], qpos[2]);
    let calm = qpos[2..].iter().chain(qvel).all(|x| x.abs() < 100.0);
    calm && height > 0.7 && angle.abs() < 0.2
}
