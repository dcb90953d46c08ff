//! A simulation as the tasks see it: pose in, control in, pose and computed quantities out, and a complete state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ffi::{self, Data, Model, QPOS, QVEL, TIME};
use super::layout::{NEWEST, Quantity};
use super::library::{MuJoCo, library};
use super::scene_reader::SceneReader;
use super::version::Version;
use crate::env::EnvError;

/// A model as text, and what to change in it before it is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelText {
    /// Unique name; models are compiled once per name and process.
    pub name: &'static str,
    /// MJCF.
    pub mjcf: &'static str,
    /// `(from, to)`, each `from` occurring exactly once.
    pub edit: Option<(&'static str, &'static str)>,
    /// The same, from 3.5.0 on: since then a contact's margin is the sum of those of the two
    /// geoms and no longer the larger one, so equal margins must be halved.
    pub edit_since_3_5: Option<(&'static str, &'static str)>,
}

impl ModelText {
    /// The text for one release of MuJoCo.
    pub fn resolve(&self, version: Version) -> String {
        let margin = self.edit_since_3_5.filter(|_| version >= Version(3, 5, 0));
        let mut text = self.mjcf.to_string();
        for (from, to) in self.edit.into_iter().chain(margin) {
            assert_eq!(text.matches(from).count(), 1, "invariant: {from} occurs once in {}", self.name);
            text = text.replace(from, to);
        }
        text
    }
}

/// One simulation with its scratch space; nothing is allocated after construction.
pub(crate) struct Sim {
    mujoco: &'static MuJoCo,
    data: Data,
    /// The present time, positions and velocities: `[1 + nq + nv]`.
    now: Vec<f64>,
    nq: usize,
    nv: usize,
    nu: usize,
    timestep: f64,
    /// A step ends with the forces from outside.
    forces: bool,
}

impl Sim {
    /// A simulation of the model in its initial pose.
    pub fn new(text: &ModelText) -> Result<Sim, EnvError> {
        let mujoco = library()?;
        let model = model(mujoco, text)?;
        let (nq, nv, nu) = (model.size(QPOS), model.size(QVEL), model.size(mujoco.control));
        let mut data = Data::new(model)
            .ok_or_else(|| EnvError::MuJoCo(format!("{mujoco} has no memory for model {}", text.name)))?;
        // The time step without looking into the struct: 0 + dt is exact.
        let mut timestep = [0.0];
        data.step(1);
        data.get(TIME, &mut timestep);
        data.reset();
        let mut sim = Sim {
            mujoco,
            data,
            now: vec![0.0; 1 + nq + nv],
            nq,
            nv,
            nu,
            timestep: timestep[0],
            forces: false,
        };
        sim.look();
        Ok(sim)
    }

    /// nq, nv, nu.
    pub fn dims(&self) -> (usize, usize, usize) {
        (self.nq, self.nv, self.nu)
    }

    /// Seconds per simulation step.
    pub fn timestep(&self) -> f64 {
        self.timestep
    }

    /// Positions, `[nq]`.
    pub fn qpos(&self) -> &[f64] {
        &self.now[1..1 + self.nq]
    }

    /// Velocities, `[nv]`.
    pub fn qvel(&self) -> &[f64] {
        &self.now[1 + self.nq..]
    }

    /// Back to the model's initial pose, forgetting everything.
    pub fn reset(&mut self) {
        self.data.reset();
        self.look();
    }

    /// The number of a body.
    ///
    /// # Errors
    /// For a name that the model does not have.
    pub fn body(&self, name: &str) -> Result<usize, EnvError> {
        let found = self.data.model().body(name);
        found.ok_or_else(|| EnvError::MuJoCo(format!("{}: the model has no body {name}", self.mujoco)))
    }

    /// Where a body's frame is. After a step: where it was before the last simulation step, as MuJoCo leaves it.
    pub fn place(&self, body: usize) -> [f64; 3] {
        self.data.frame(body).0
    }

    /// Makes a quantity readable, which costs time if it is [`Quantity::ExternalForces`]; returns its length.
    ///
    /// # Errors
    /// For a release in which nobody knows where it is.
    pub fn expose(&mut self, of: Quantity) -> Result<usize, EnvError> {
        self.forces |= of == Quantity::ExternalForces;
        let found = self.data.quantity(of).map(<[f64]>::len);
        found.ok_or_else(|| {
            EnvError::MuJoCo(format!(
                "{}: where it keeps {} is known up to {NEWEST}; use an older one (MUJOCO_PATH)",
                self.mujoco,
                of.name()
            ))
        })
    }

    /// A quantity that was made readable, as of the last computation. [`Quantity::ExternalForces`]: of the last step;
    /// zero after a reset.
    pub fn quantity(&self, of: Quantity) -> &[f64] {
        self.data.quantity(of).expect("invariant: it was exposed")
    }

    /// Continues from the pose that `write` leaves in positions and velocities (time and solver memory stay).
    pub fn pose(&mut self, write: impl FnOnce(&mut [f64], &mut [f64])) {
        let (qpos, qvel) = self.now[1..].split_at_mut(self.nq);
        write(qpos, qvel);
        self.data.set(QPOS | QVEL, &self.now[1..]);
        self.data.forward();
    }

    /// `count` simulation steps under a constant control `[nu]`.
    ///
    /// # Errors
    /// MuJoCo answers numbers beyond its limits by starting over; the clock shows it, and in an episode's first
    /// step its warning alone.
    pub fn step(&mut self, control: &[f64], count: usize) -> Result<(), EnvError> {
        let expected = self.now[0] + count as f64 * self.timestep;
        let _ = ffi::take_warning();
        self.advance(control, count);
        self.look();
        let warning = ffi::take_warning();
        let drift = (self.now[0] - expected).abs();
        let began_anew = drift >= 0.5 * self.timestep || warning.contains("unstable");
        if !began_anew && self.now[1..].iter().all(|x| x.is_finite()) {
            return Ok(());
        }
        Err(EnvError::Unstable { time: expected, warning })
    }

    /// The same without looking at what came of it.
    pub fn advance(&mut self, control: &[f64], count: usize) {
        self.data.set(self.mujoco.control, control);
        self.data.step(count);
        if self.forces {
            self.data.find_forces();
        }
    }

    /// Appends everything on which the next step depends.
    pub fn save(&self, to: &mut Vec<f64>) {
        let start = to.len();
        to.resize(start + self.state_len(), 0.0);
        self.data.get(self.everything(), &mut to[start..]);
    }

    /// Numbers in a saved state.
    pub fn state_len(&self) -> usize {
        self.data.model().size(self.everything())
    }

    /// Continues exactly where `from`, written by [`Sim::save`], was.
    pub fn restore(&mut self, from: &[f64]) {
        self.data.reset();
        self.data.set(self.everything(), from);
        self.look();
    }

    /// What the model looks like.
    ///
    /// # Errors
    /// Where the library cannot print it.
    pub fn scene(&self) -> Result<SceneReader, EnvError> {
        let problem = |e: String| {
            EnvError::MuJoCo(format!("{}: what the model looks like is not known: {e}", self.mujoco))
        };
        let text = self.data.model().print().map_err(problem)?;
        let data = self.data.another().ok_or_else(|| problem("there is no memory for another one".into()))?;
        SceneReader::of(data, &text).map_err(problem)
    }

    fn everything(&self) -> u32 {
        TIME | QPOS | QVEL | self.mujoco.warmstart | self.mujoco.control
    }

    fn look(&mut self) {
        self.data.get(TIME | QPOS | QVEL, &mut self.now);
    }
}

/// The compiled model, shared by all simulations of the process.
fn model(mujoco: &MuJoCo, text: &ModelText) -> Result<Arc<Model>, EnvError> {
    static MODELS: Mutex<BTreeMap<&str, Arc<Model>>> = Mutex::new(BTreeMap::new());
    let mut models = MODELS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(model) = models.get(text.name) {
        return Ok(model.clone());
    }
    let model = mujoco
        .compile(&text.resolve(mujoco.version()))
        .map_err(|e| EnvError::MuJoCo(format!("{mujoco} refuses model {}: {e}", text.name)))?;
    models.insert(text.name, model.clone());
    Ok(model)
}
