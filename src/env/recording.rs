//! Replays recorded trajectories of Gymnasium and reports where ours differ.
//!
//! A trace is a pair `NAME.safetensors` and `NAME.json`. The JSON names the environment (`env`) and
//! may state the MuJoCo release (`mujoco`), `frame_skip` and the number of `segments`. For every K
//! from 0 the tensors `segment.K.{qpos, qvel, actions [T, A], observations [T+1, S], rewards [T],
//! terminated [T]}` hold a start pose and what followed; floats are F32 or F64. The time limit
//! plays no part.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use super::locomotion::Locomotion;
use super::{EnvError, mujoco, spec};

/// Largest absolute difference that still counts as agreement.
pub const TOLERANCE: f64 = 1e-9;

/// The worst difference of one quantity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// Largest absolute difference; infinite when one side is not a number.
    pub difference: f64,
    /// Segment in which it occurs.
    pub segment: usize,
    /// Environment step of that segment after which it occurs; 0 is the start.
    pub step: usize,
    /// Component of the quantity.
    pub component: usize,
}

impl Worst {
    const NONE: Worst = Worst { difference: 0.0, segment: 0, step: 0, component: 0 };

    fn compare(&mut self, ours: &[f64], theirs: &[f64], segment: usize, step: usize) {
        for (component, (a, b)) in ours.iter().zip(theirs).enumerate() {
            let difference = (a - b).abs();
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            if difference > self.difference {
                *self = Worst { difference, segment, step, component };
            }
        }
    }
}

/// The outcome of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceReport {
    /// Canonical id of the environment.
    pub env: &'static str,
    /// MuJoCo release of the replay.
    pub mujoco: String,
    /// MuJoCo release of the recording, when the JSON states it.
    pub recorded_with: Option<String>,
    /// Segments replayed.
    pub segments: usize,
    /// Environment steps replayed.
    pub steps: usize,
    /// Of the position part of the observations.
    pub positions: Worst,
    /// Of the velocity part of the observations.
    pub velocities: Worst,
    /// Of the rewards.
    pub rewards: Worst,
    /// Steps at which `terminated` differs.
    pub termination_mismatches: usize,
    /// Segment and step of the first of them.
    pub first_mismatch: Option<(usize, usize)>,
    /// [`TOLERANCE`].
    pub tolerance: f64,
    /// Everything agrees within the tolerance.
    pub passed: bool,
}

impl TraceReport {
    /// Name and worst difference of every quantity.
    pub fn quantities(&self) -> [(&'static str, &Worst); 3] {
        [("positions", &self.positions), ("velocities", &self.velocities), ("rewards", &self.rewards)]
    }

    /// The verdict in one line.
    pub fn verdict(&self) -> String {
        let worst = self.quantities().map(|(_, worst)| worst.difference).into_iter().fold(0.0, f64::max);
        let versions = match &self.recorded_with {
            Some(theirs) if *theirs != self.mujoco => format!(
                "; recorded with MuJoCo {theirs}, replayed with {}: small differences grow",
                self.mujoco
            ),
            _ => String::new(),
        };
        let figures = format!(
            "{} steps in {} segments, worst difference {worst:.1e} (tolerance {:.0e}), {} endings differ",
            self.steps, self.segments, self.tolerance, self.termination_mismatches
        );
        let word = if self.passed { "agrees" } else { "DIFFERS" };
        format!("{}: {word}: {figures}{versions}", self.env)
    }
}

impl std::fmt::Display for TraceReport {
    /// A line per quantity, then the verdict.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, worst) in self.quantities() {
            write!(f, "{name:<12} {:.3e}", worst.difference)?;
            if worst.difference > 0.0 {
                let Worst { segment, step, component, .. } = worst;
                write!(f, "  (segment {segment}, step {step}, component {component})")?;
            }
            writeln!(f)?;
        }
        write!(f, "{:<12} {} mismatches", "terminated", self.termination_mismatches)?;
        if let Some((segment, step)) = self.first_mismatch {
            write!(f, "  (first: segment {segment}, step {step})")?;
        }
        write!(f, "\n{}", self.verdict())
    }
}

/// Replays a trace, given by either of its two files.
///
/// # Errors
/// [`EnvError::Trace`] for a missing or malformed file, [`EnvError::MuJoCo`], and
/// [`EnvError::Action`] or [`EnvError::Unstable`] when the recorded actions cannot be simulated.
pub fn replay(path: &Path) -> Result<TraceReport, EnvError> {
    let recording = Recording::read(path)?;
    let mut task = Locomotion::new(recording.env)?
        .ok_or_else(|| recording.wrong(format!("{} has no traces", recording.env)))?;
    if let Some(frame_skip) = recording.frame_skip
        && frame_skip != task.frame_skip() as u64
    {
        let expected = task.frame_skip();
        return Err(recording.wrong(format!("frame_skip is {frame_skip}, expected {expected}")));
    }
    let mut report = TraceReport {
        env: recording.env,
        mujoco: mujoco::library()?.version().to_string(),
        recorded_with: recording.mujoco.clone(),
        segments: recording.segments.len(),
        steps: 0,
        positions: Worst::NONE,
        velocities: Worst::NONE,
        rewards: Worst::NONE,
        termination_mismatches: 0,
        first_mismatch: None,
        tolerance: TOLERANCE,
        passed: false,
    };
    let spec = spec(recording.env)?;
    let mut observation = vec![0.0; spec.obs_dim];
    let positions = task.dof() - 1;
    for (k, segment) in recording.segments.iter().enumerate() {
        let mut expected = segment.observations.chunks_exact(spec.obs_dim);
        let mut compare = |report: &mut TraceReport, ours: &[f64], t: usize| {
            let theirs = expected.next().expect("invariant: T+1 observations");
            let (p, v) = (..positions, positions..);
            report.positions.compare(&ours[p], &theirs[p], k, t);
            report.velocities.compare(&ours[v.clone()], &theirs[v], k, t);
        };
        task.start_from(&segment.qpos, &segment.qvel, &mut observation);
        compare(&mut report, &observation, 0);
        for (t, action) in segment.actions.chunks_exact(spec.act_dim).enumerate() {
            let step = task.step_f64(action, &mut observation)?;
            compare(&mut report, &observation, t + 1);
            let theirs = segment.rewards[t];
            report.rewards.compare(&[step.reward], &[theirs], k, t + 1);
            if step.terminated != segment.terminated[t] {
                report.termination_mismatches += 1;
                report.first_mismatch.get_or_insert((k, t + 1));
            }
        }
        report.steps += segment.rewards.len();
    }
    report.passed = report.termination_mismatches == 0
        && report.quantities().iter().all(|(_, worst)| worst.difference <= TOLERANCE);
    Ok(report)
}

struct Segment {
    qpos: Vec<f64>,
    qvel: Vec<f64>,
    /// [T, A]
    actions: Vec<f64>,
    /// [T+1, S]
    observations: Vec<f64>,
    /// [T]
    rewards: Vec<f64>,
    /// [T]
    terminated: Vec<bool>,
}

struct Recording {
    file: PathBuf,
    env: &'static str,
    mujoco: Option<String>,
    frame_skip: Option<u64>,
    segments: Vec<Segment>,
}

impl Recording {
    fn wrong(&self, problem: String) -> EnvError {
        wrong(&self.file, problem)
    }

    fn read(path: &Path) -> Result<Recording, EnvError> {
        let file = path.with_extension("safetensors");
        let beside = path.with_extension("json");
        let read =
            |file: &Path| crate::files::read(file).map_err(|e| wrong(file, format!("cannot be read ({e})")));
        let bytes = read(&file)?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|e| wrong(&file, format!("is not a safetensors file ({e})")))?;

        let json: serde_json::Value = serde_json::from_slice(&read(&beside)?)
            .map_err(|e| wrong(&beside, format!("is not JSON ({e})")))?;
        let id = json["env"].as_str().ok_or_else(|| {
            wrong(&beside, "key \"env\" is missing, expected an id such as \"Hopper-v4\"".into())
        })?;
        let spec = spec(id)?;

        // Segments by number; a gap shows as a missing key of the segment that should be there.
        let mut numbers = BTreeSet::new();
        for name in tensors.names() {
            let mut parts = name.splitn(3, '.');
            if let (Some("segment"), Some(k)) = (parts.next(), parts.next())
                && let Ok(k) = k.parse::<usize>()
            {
                numbers.insert(k);
            }
        }
        let count = numbers.len();
        if count == 0 {
            return Err(wrong(&file, "holds no tensor segment.0.*".into()));
        }
        if let Some(stated) = json["segments"].as_u64()
            && stated != count as u64
        {
            let problem = format!("holds {count} segments, its JSON says {stated}");
            return Err(wrong(&file, problem));
        }
        let segments = (0..count)
            .map(|k| segment(&file, &tensors, k, spec.obs_dim, spec.act_dim))
            .collect::<Result<_, _>>()?;
        Ok(Recording {
            file,
            env: spec.id,
            mujoco: json["mujoco"].as_str().map(str::to_string),
            frame_skip: json["frame_skip"].as_u64(),
            segments,
        })
    }
}

fn segment(file: &Path, tensors: &SafeTensors, k: usize, s: usize, a: usize) -> Result<Segment, EnvError> {
    let dof = s.div_ceil(2);
    let read = |name, shape: &[usize]| floats(file, tensors, &format!("segment.{k}.{name}"), shape);
    let rewards = tensors
        .tensor(&format!("segment.{k}.rewards"))
        .map_err(|_| wrong(file, format!("key segment.{k}.rewards is missing")))?;
    let t = rewards.shape().first().copied().unwrap_or(0);
    Ok(Segment {
        qpos: read("qpos", &[dof])?,
        qvel: read("qvel", &[dof])?,
        actions: read("actions", &[t, a])?,
        observations: read("observations", &[t + 1, s])?,
        rewards: read("rewards", &[t])?,
        terminated: read("terminated", &[t])?.into_iter().map(|flag| flag != 0.0).collect(),
    })
}

/// One tensor of a known shape as f64. Flags may be stored as any of these types.
fn floats(file: &Path, tensors: &SafeTensors, key: &str, shape: &[usize]) -> Result<Vec<f64>, EnvError> {
    let tensor = tensors.tensor(key).map_err(|_| wrong(file, format!("key {key} is missing")))?;
    if tensor.shape() != shape {
        let got = tensor.shape();
        let problem = format!("key {key} has shape {got:?}, expected {shape:?}");
        return Err(wrong(file, problem));
    }
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => Ok(bytes.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b)).collect()),
        Dtype::F32 => {
            Ok(bytes.as_chunks::<4>().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect())
        }
        Dtype::U8 | Dtype::BOOL => Ok(bytes.iter().map(|&b| f64::from(b)).collect()),
        other => Err(wrong(file, format!("key {key} has type {other:?}, expected F64, F32, U8 or BOOL"))),
    }
}

fn wrong(file: &Path, problem: String) -> EnvError {
    EnvError::Trace { file: file.to_path_buf(), problem }
}
