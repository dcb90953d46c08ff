//! HalfCheetah: S = 17, A = 6. Never ends early; every episode lasts 1000 steps.

use super::{Generation, ModelText, ResetNoise, Spec, Task};

pub(super) const fn task(id: &'static str, generation: Generation) -> Task {
    Task {
        spec: Spec {
            id,
            obs_dim: 17,
            act_dim: 6,
            max_episode_steps: 1000,
            score: Some("halfcheetah"),
            needs_mujoco: true,
        },
        model: ModelText {
            name: "half cheetah",
            mjcf: include_str!("half_cheetah.xml"),
            edit: None,
            edit_since_3_5: None,
        },
        frame_skip: 5,
        control_cost: 0.1,
        health: None,
        velocity_limit: f64::INFINITY,
        reset_noise: ResetNoise::UniformNormal(0.1),
        cut_actions: generation.cuts_actions(),
    }
}
