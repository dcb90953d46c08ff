//! Replays recorded trajectories of Gymnasium and reports where ours differ.
//!
//! A recording is a pair `NAME.safetensors` and `NAME.json`. The JSON names the environment (`env`) and
//! may state the MuJoCo release (`mujoco`), `frame_skip` and the number of `segments`. For every K
//! from 0 the tensors `segment.K.{qpos, qvel, actions [T, A], observations [T+1, S], rewards [T],
//! terminated [T]}` hold a start pose and what followed; floats are F32 or F64. Actions are in the units
//! of the model; if they are F32, Gymnasium was given them so, and NumPy summed the control cost in f32. The time limit plays no
//! part.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::{Serialize, Serializer};

use super::{EnvError, Needs, Simulated, Spec, make, mujoco, process, spec};

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

/// The worst difference of every part of the observations, then of the rewards, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantities(Vec<(&'static str, Worst)>);

impl Quantities {
    /// Name and worst difference of every quantity.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Worst)> {
        self.0.iter().map(|(name, worst)| (*name, worst))
    }
}

impl std::ops::Index<&str> for Quantities {
    type Output = Worst;

    fn index(&self, name: &str) -> &Worst {
        self.iter().find(|(n, _)| *n == name).expect("invariant: a quantity of the environment").1
    }
}

impl Serialize for Quantities {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

/// The outcome of replaying a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
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
    /// Where observations and rewards differ most.
    #[serde(flatten)]
    pub quantities: Quantities,
    /// Steps at which `terminated` differs.
    pub termination_mismatches: usize,
    /// Segment and step of the first of them.
    pub first_mismatch: Option<(usize, usize)>,
    /// [`TOLERANCE`].
    pub tolerance: f64,
    /// Everything agrees within the tolerance.
    pub passed: bool,
}

impl Report {
    fn worst(&self) -> f64 {
        self.quantities.iter().map(|(_, worst)| worst.difference).fold(0.0, f64::max)
    }

    /// The verdict in one line.
    pub fn verdict(&self) -> String {
        let versions = match &self.recorded_with {
            Some(theirs) if *theirs != self.mujoco => format!(
                "; recorded with MuJoCo {theirs}, replayed with {}: small differences grow",
                self.mujoco
            ),
            _ => String::new(),
        };
        let figures = format!(
            "{} steps in {} segments, worst difference {:.1e} (tolerance {:.0e}), {} endings differ",
            self.steps,
            self.segments,
            self.worst(),
            self.tolerance,
            self.termination_mismatches
        );
        let word = if self.passed { "agrees" } else { "DIFFERS" };
        format!("{}: {word}: {figures}{versions}", self.env)
    }
}

impl std::fmt::Display for Report {
    /// A line per quantity, then the verdict.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, worst) in self.quantities.iter() {
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

/// Replays a recording, given by either of its two files.
///
/// # Errors
/// [`EnvError::Recording`] for a missing or malformed file, also for poses and actions that are not finite,
/// [`EnvError::MuJoCo`], and [`EnvError::Unstable`] when the recorded actions cannot be simulated.
pub fn replay(path: &Path) -> Result<Report, EnvError> {
    let recording = Recording::read(path)?;
    let spec = recording.env;
    let mut env = make(spec.id)?;
    let task = env.simulated().expect("invariant: what needs a simulator has one");
    if let Some(frame_skip) = recording.frame_skip
        && frame_skip != task.frame_skip() as u64
    {
        let expected = task.frame_skip();
        return Err(wrong(&recording.file, format!("frame_skip is {frame_skip}, expected {expected}")));
    }
    let parts = task.parts();
    let mut report = Report {
        env: spec.id,
        mujoco: mujoco::library()?.version().to_string(),
        recorded_with: recording.mujoco.clone(),
        segments: recording.segments.len(),
        steps: 0,
        quantities: Quantities(parts.iter().map(|(name, _)| (*name, Worst::NONE)).collect()),
        termination_mismatches: 0,
        first_mismatch: None,
        tolerance: TOLERANCE,
        passed: false,
    };
    report.quantities.0.push(("rewards", Worst::NONE));
    for (k, segment) in recording.segments.iter().enumerate() {
        report.follow(task, &parts, segment, k)?;
    }
    report.passed = report.termination_mismatches == 0 && report.worst() <= TOLERANCE;
    Ok(report)
}

impl Report {
    /// Replays segment number `k`.
    fn follow(
        &mut self,
        task: &mut dyn Simulated,
        parts: &[(&str, usize)],
        segment: &Segment,
        k: usize,
    ) -> Result<(), EnvError> {
        let mut ours = vec![0.0; task.obs_dim()];
        let mut theirs = segment.observations.chunks_exact(task.obs_dim());
        let mut compare = |quantities: &mut Quantities, ours: &[f64], t: usize| {
            let theirs = theirs.next().expect("invariant: T+1 observations");
            let mut at = 0;
            for ((_, length), (_, worst)) in parts.iter().zip(&mut quantities.0) {
                worst.compare(&ours[at..at + length], &theirs[at..at + length], k, t);
                at += length;
            }
        };
        task.start_from(&segment.qpos, &segment.qvel, &mut ours);
        compare(&mut self.quantities, &ours, 0);
        for (t, action) in segment.actions.chunks_exact(task.act_dim()).enumerate() {
            let step =
                task.step_controls(action, segment.single, &mut ours).map_err(|e| placed(e, k, t + 1))?;
            compare(&mut self.quantities, &ours, t + 1);
            let (_, rewards) = self.quantities.0.last_mut().expect("invariant: rewards stand last");
            rewards.compare(&[step.reward], &[segment.rewards[t]], k, t + 1);
            if step.terminated != segment.terminated[t] {
                self.termination_mismatches += 1;
                self.first_mismatch.get_or_insert((k, t + 1));
            }
        }
        self.steps += segment.rewards.len();
        Ok(())
    }
}

/// An unstable simulation with where in the recording it is.
fn placed(e: EnvError, segment: usize, step: usize) -> EnvError {
    match e {
        EnvError::Unstable { time, warning } => EnvError::Unstable {
            time,
            warning: format!("segment {segment}, step {step} of the recording: {warning}"),
        },
        e => e,
    }
}

struct Segment {
    qpos: Vec<f64>,
    qvel: Vec<f64>,
    /// [T, A]
    actions: Vec<f64>,
    /// actions are F32: what they cost was summed so
    single: bool,
    /// [T+1, S]
    observations: Vec<f64>,
    /// [T]
    rewards: Vec<f64>,
    /// [T]
    terminated: Vec<bool>,
}

struct Recording {
    file: PathBuf,
    env: &'static Spec,
    mujoco: Option<String>,
    frame_skip: Option<u64>,
    segments: Vec<Segment>,
}

impl Recording {
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
        let refuse = |id: &str| {
            Err(wrong(&beside, format!("{id} runs on no simulator here, so nothing is recorded of it")))
        };
        // A file of data starts no program.
        if process::is_external(id) {
            return refuse(id);
        }
        let spec = spec(id)?;
        let Needs::MuJoCo { nq, nv } = spec.needs else { return refuse(spec.id) };

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
        let whole = |key: &str| stated(&beside, &json, key, "a whole number", serde_json::Value::as_u64);
        if let Some(stated) = whole("segments")?
            && stated != count as u64
        {
            let problem = format!("holds {count} segments, its JSON says {stated}");
            return Err(wrong(&file, problem));
        }
        let segments =
            (0..count).map(|k| segment(&file, &tensors, k, spec, (nq, nv))).collect::<Result<_, _>>()?;
        Ok(Recording {
            file,
            env: spec,
            mujoco: stated(&beside, &json, "mujoco", "a text", |v| v.as_str().map(str::to_string))?,
            frame_skip: whole("frame_skip")?,
            segments,
        })
    }
}

/// What the JSON may state under a key.
fn stated<T>(
    file: &Path,
    json: &serde_json::Value,
    key: &str,
    expected: &str,
    read: impl Fn(&serde_json::Value) -> Option<T>,
) -> Result<Option<T>, EnvError> {
    match &json[key] {
        serde_json::Value::Null => Ok(None),
        value => match read(value) {
            Some(stated) => Ok(Some(stated)),
            None => Err(wrong(file, format!("key {key:?}: expected {expected}, got {value}"))),
        },
    }
}

fn segment(
    file: &Path,
    tensors: &SafeTensors,
    k: usize,
    spec: &Spec,
    (nq, nv): (usize, usize),
) -> Result<Segment, EnvError> {
    let read = |name, shape: &[usize]| floats(file, tensors, &format!("segment.{k}.{name}"), shape);
    // What is simulated; of what is compared, any number shows as a difference.
    let finite = |name, shape: &[usize]| {
        let numbers = read(name, shape)?;
        match numbers.iter().position(|x| !x.is_finite()) {
            None => Ok(numbers),
            Some(index) => Err(wrong(
                file,
                format!(
                    "key segment.{k}.{name} holds {} at index {index}, expected finite numbers",
                    numbers[index]
                ),
            )),
        }
    };
    let rewards = tensors
        .tensor(&format!("segment.{k}.rewards"))
        .map_err(|_| wrong(file, format!("key segment.{k}.rewards is missing")))?;
    let t = rewards.shape().first().copied().unwrap_or(0);
    let actions = format!("segment.{k}.actions");
    Ok(Segment {
        single: tensors.tensor(&actions).is_ok_and(|actions| actions.dtype() == Dtype::F32),
        qpos: finite("qpos", &[nq])?,
        qvel: finite("qvel", &[nv])?,
        actions: finite("actions", &[t, spec.act_dim])?,
        observations: read("observations", &[t + 1, spec.obs_dim])?,
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
        // Rewards that are whole numbers.
        Dtype::I64 => Ok(bytes.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect()),
        other => {
            Err(wrong(file, format!("key {key} has type {other:?}, expected F64, F32, I64, U8 or BOOL")))
        }
    }
}

fn wrong(file: &Path, problem: String) -> EnvError {
    EnvError::Recording { file: file.to_path_buf(), problem }
}
