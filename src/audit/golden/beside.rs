//! The model that an adaptation trains beside its rounds, replayed with both executors: its loss and the priorities
//! that it gives.

use super::files::Files;
use super::report::{Difference, LossRow};
use crate::algo::Dims;
use crate::algo::foreign::Wrong;
use crate::autodiff::reference::{self, ReferenceInputs, ReferenceStore};
use crate::autodiff::{Clock, Noise, Program, Select, Store, Trace, Workspace};
use crate::replay;

/// The compiled model.
pub struct Beside {
    trace: Trace,
    program: Program,
    workspace: Workspace,
}

/// The parameters of both executors.
pub struct Stores<'a> {
    pub exact: &'a mut ReferenceStore,
    pub narrow: &'a mut Store,
}

impl Beside {
    /// Compiles it.
    pub fn new(trace: Trace) -> Beside {
        let program = Program::compile(&trace, Select::WITHOUT_METRICS);
        let workspace = Workspace::new(&program);
        Beside { trace, program, workspace }
    }

    /// One update on the offline, online and drawn rows of batch `update`.
    pub fn update(
        &mut self,
        files: &Files,
        (update, dims): (usize, Dims),
        clock: Clock,
        stores: Stores<'_>,
    ) -> Result<(Option<LossRow>, Option<Difference>), Wrong> {
        let column = |name: &str, width: usize| -> Result<Vec<f64>, Wrong> {
            let parts = ["offline_", "online_", ""].map(|part| format!("batch.{update}.{part}{name}"));
            let parts = parts.iter().map(|key| files.tensor(key, &[&[dims.batch, width]]));
            Ok(parts.collect::<Result<Vec<&[f64]>, Wrong>>()?.concat())
        };
        let columns = [(replay::S, column("observations", dims.s)?), (replay::A, column("actions", dims.a)?)];
        for (name, values) in &columns {
            if let Some(input) = self.workspace.input_mut(&self.program, name) {
                input.iter_mut().zip(values).for_each(|(to, from)| *to = *from as f32);
            }
        }
        self.program.run(&mut self.workspace, stores.narrow, clock, Noise::Recorded(&[]));
        let wide = |name: &str| columns.iter().find(|(n, _)| *n == name).map(|(_, values)| values.clone());
        let inputs = ReferenceInputs {
            columns: self
                .trace
                .inputs
                .iter()
                .map(|i| wide(i.name).expect("invariant: it reads (s, a) alone"))
                .collect(),
            noise: Vec::new(),
        };
        let values = reference::run(&self.trace, stores.exact, &inputs, clock, |_| true);

        let loss = files.log(update, &["density_loss"])?.map(|expected| LossRow {
            update,
            name: "density".into(),
            expected,
            f64: (self.trace.loss("density", &values) - expected).abs(),
            f32: (f64::from(self.workspace.loss(&self.program, 0)) - expected).abs(),
        });
        let key = format!("priority.{update}");
        if !files.tensors.contains_key(&key) {
            return Ok((loss, None));
        }
        let expected = files.tensor(&key, &[&[dims.batch], &[dims.batch, 1]])?;
        let (_, node) = self.trace.outputs[0];
        let exact = values[node.index()].as_ref().expect("invariant: an output is computed");
        let narrow = self.workspace.output(&self.program, replay::PRIORITY);
        let narrow = narrow.iter().map(|x| f64::from(*x));
        Ok((
            loss,
            Some(Difference::of(update + 1, "priority".into(), expected, exact.iter().copied(), narrow)),
        ))
    }
}
