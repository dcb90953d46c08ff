//! The probe that stops at the first NaN or infinity, and says where it comes from.

use super::Error;
use crate::autodiff::{Flow, OpView, Probe, RoundView, UpdateView};

/// Looks at every batch column, parameter and result of a kernel; where operations run in blocks of rows, at what leaves
/// their region. Infinities that a column brings along (returns to go that are not known yet) are no finding; NaN always is.
#[derive(Debug, Default)]
pub struct Finite {
    round: u64,
    found: Option<Error>,
}

/// What is known of where a number comes from.
const HERE: &str = "nothing before it was";
const IN_BLOCKS: &str = "it became so in one of the operations that run in blocks before it";

impl Finite {
    /// Why it has stopped the run.
    pub fn reason(&mut self) -> Option<Error> {
        self.found.take()
    }

    fn look<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a f32>,
        infinite: bool,
        origin: &str,
        what: impl FnOnce() -> String,
    ) -> Flow {
        let bad = |x: &f32| if infinite { x.is_nan() } else { !x.is_finite() };
        let Some((at, x)) = values.into_iter().enumerate().find(|(_, x)| bad(x)) else {
            return Flow::Continue;
        };
        let update = self.round + 1;
        self.found = Some(Error::NotFinite(format!(
            "not finite: {} is {x} at element {at} in update {update}; {origin}, look at it with \
             `baq audit step RUN --update {update}`",
            what()
        )));
        Flow::Stop
    }
}

impl Probe for Finite {
    fn round(&mut self, view: &RoundView<'_>) -> Flow {
        self.round = view.pass.clock.round;
        for (name, values) in view.columns() {
            if self.look(values, true, HERE, || format!("column {name} of the batch")) == Flow::Stop {
                return Flow::Stop;
            }
        }
        let table = view.store.table();
        for id in table.ids() {
            let what = || format!("parameter {}", table.paths(id)[0].0);
            if self.look(view.store.values[id.index()].iter(), false, HERE, what) == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    fn op(&mut self, view: &OpView<'_>) -> Flow {
        let origin = if view.region { IN_BLOCKS } else { HERE };
        self.look(view.values, view.moves, origin, || format!("`{}` of the update {}", view.text, view.stage))
    }

    /// Gradients that share a kernel with others are seen here.
    fn update(&mut self, view: &UpdateView<'_>) -> Flow {
        for (path, values) in view.gradients() {
            if self.look(values, false, HERE, || format!("gradient of {path}")) == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    fn applied(&mut self, view: &UpdateView<'_>) -> Flow {
        for (path, values) in view.parameters() {
            if self.look(values, false, HERE, || format!("parameter {path} after adam")) == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::Continue
    }
}
