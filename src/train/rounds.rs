//! Compiled rounds of one trace: a program for each cadence, with metrics and without.

use std::sync::Arc;

use super::cadence::Roles;
use super::error::TrainError;
use crate::audit::Recorder;
use crate::autodiff::{Flow, Metric, Program, Select, Trace, Workspace};

/// A program and its memory.
type Compiled = (Program, Workspace);

/// A pair of programs, with and without metrics, for each set of roles, and metrics alone.
pub struct Rounds {
    trace: Arc<Trace>,
    /// roles, without metrics, with them
    compiled: Vec<(Roles, Compiled, Compiled)>,
    observer: Compiled,
    /// which was measured last
    measured: usize,
}

fn compile(trace: &Trace, select: Select) -> Compiled {
    let program = Program::compile(trace, select);
    let workspace = Workspace::new(&program);
    (program, workspace)
}

fn values((program, workspace): &Compiled) -> Vec<(&'static Metric, f64)> {
    program.metrics().zip(workspace.metrics(program)).map(|(m, v)| (m, f64::from(v))).collect()
}

impl Rounds {
    /// Compiles a trace for each of these sets of roles.
    pub fn new(trace: Trace, roles: &[Roles]) -> Rounds {
        let of = |r: Roles, metrics| compile(&trace, Select { critic: r.critic, actor: r.actor, metrics });
        Rounds {
            compiled: roles.iter().map(|&r| (r, of(r, false), of(r, true))).collect(),
            observer: compile(&trace, Select { critic: false, actor: false, metrics: true }),
            trace: Arc::new(trace),
            measured: 0,
        }
    }

    /// The program of a round with these roles, and its memory.
    pub fn pick(&mut self, roles: Roles, metrics: bool) -> (&Program, &mut Workspace) {
        let found = self.compiled.iter().position(|(r, ..)| *r == roles);
        let k = found.expect("invariant: compiled for every set of roles that occurs");
        let (_, plain, measuring) = &mut self.compiled[k];
        let (program, workspace) = if metrics {
            self.measured = k;
            measuring
        } else {
            plain
        };
        (program, workspace)
    }

    /// What is compiled.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// Metrics that measured rounds report.
    pub fn metrics(&self) -> Vec<&'static Metric> {
        self.observer.0.metrics().collect()
    }

    /// Values of the last measured round.
    pub fn values(&self) -> Vec<(&'static Metric, f64)> {
        values(&self.compiled[self.measured].2)
    }

    /// The program that measures and moves nothing.
    pub fn observer(&mut self) -> (&Program, &mut Workspace) {
        let (program, workspace) = &mut self.observer;
        (program, workspace)
    }

    /// Its values, from its last run.
    pub fn observed(&self) -> Vec<(&'static Metric, f64)> {
        values(&self.observer)
    }

    /// Tells a probe which rounds come. Errors: its reason, if it stops the run.
    pub fn begin<R: Recorder>(&self, phase: &'static str, probe: &mut R) -> Result<(), TrainError> {
        match probe.phase(phase, &self.trace) {
            Flow::Continue => Ok(()),
            Flow::Stop => Err(probe.reason().into()),
        }
    }
}
