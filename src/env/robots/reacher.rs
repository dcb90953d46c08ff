//! Reacher: A = 2, an arm of two links and a goal that its tip shall reach; S = 11 (v4) or 10 (v5, without the height of
//! the tip above the goal, which is zero). Never ends early; an episode has 50 steps.
//!
//! The reward is minus the distance between tip and goal: before the step in v4, after it in v5.
//! Gymnasium leaves that distance to NumPy's BLAS, which fuses multiplications and additions on processors with AVX-512: there its
//! rewards can differ in the last bit from these, which are of one kind everywhere.

use super::task::{Generation, Measure, ResetNoise, Task};
use crate::env::mujoco::{ModelText, Part};
use crate::env::{Needs, Spec};

pub static V4: Task = task("reacher-v4", 11, Generation::V4);
pub static V5: Task = task("reacher-v5", 10, Generation::V5);

const ANGLES: usize = 2;

const COSINES: Part = Part::Cosines { count: ANGLES };
const SINES: Part = Part::Sines { count: ANGLES };
const GOAL: Part = Part::Positions { from: ANGLES };
const VELOCITIES: Part = Part::Velocities { without_last: 2, limit: f64::INFINITY };
const TO_TIP_3: Part = Part::Way { from: "target", to: "fingertip", count: 3 };
const TO_TIP_2: Part = Part::Way { from: "target", to: "fingertip", count: 2 };

const fn task(id: &'static str, obs_dim: usize, generation: Generation) -> Task {
    let v5 = matches!(generation, Generation::V5);
    Task {
        spec: Spec {
            id,
            obs_dim,
            act_dim: 2,
            max_episode_steps: 50,
            score: None,
            success: false,
            needs: Needs::MuJoCo { nq: 4, nv: 4 },
        },
        model: ModelText {
            name: "reacher",
            mjcf: include_str!("reacher.xml"),
            edit: None,
            edit_since_3_5: None,
        },
        frame_skip: 2,
        reach: 1.0,
        observation: if v5 {
            &[COSINES, SINES, GOAL, VELOCITIES, TO_TIP_2]
        } else {
            &[COSINES, SINES, GOAL, VELOCITIES, TO_TIP_3]
        },
        measure: Measure::Distance("fingertip", "target"),
        gain: if v5 { |_, after, _| -after } else { |before, _, _| -before },
        control_cost: 1.0,
        charges_controls: false,
        contact_cost: None,
        health: None,
        reset_noise: ResetNoise::Goal { positions: 0.1, velocities: 0.005, radius: 0.2 },
        cut_actions: generation.cuts_actions(),
    }
}
