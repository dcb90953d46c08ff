//! The numbers of a policy as arrays of one `.npz` file, which is not compressed.
//!
//! | array | what |
//! |---|---|
//! | `pi.layerK.weight`, `pi.layerK.bias`, ... | every parameter that acting reads, under its path in checkpoints |
//! | `scale.observation.mean`, `scale.observation.std` | `[S]`, of the states that the networks see |
//! | `scale.action.low`, `scale.action.high` | `[A]`, what -1 and 1 stand for, if the data were rescaled |
//! | `actions` | A |
//! | `squashed` | whether the policy's mode is put through a tanh |
//! | `simba` | whether its layers are blocks of [`crate::nn::simba`] |

use baq_datasets::write::Npz;

use super::onnx;
use crate::config::{Activation, Norm};
use crate::nn::{Head, Mean};
use crate::train::TrainError;
use crate::train::policy::Restored;

/// The file of a policy.
///
/// # Errors
/// A policy that the program of [`mod@crate::export`] does not compute; more parameters than a `.npz` file can hold.
pub fn file(policy: &Restored) -> Result<Vec<u8>, TrainError> {
    if let Some(what) = beyond(policy) {
        return Err(TrainError::Input(format!(
            "{}: expected a policy of one network of rectified layers, or of residual blocks, as NumPy code for these arrays computes it, got {what}; give --format onnx",
            policy.file
        )));
    }
    arrays(policy).map_err(|e| TrainError::Input(format!("{}: as .npz: {e}", policy.file)))
}

/// What of a policy a reader of the arrays would not compute.
fn beyond(policy: &Restored) -> Option<&'static str> {
    let (agent, spec) = (&policy.agent, policy.agent.learner.policy().spec());
    let mut read = agent.acting_parameters().into_iter().flat_map(|id| agent.table.paths(id));
    match () {
        () if !read.all(|(path, _)| path.starts_with("pi.")) => {
            Some("one that takes further networks to act")
        }
        () if onnx::inputs(policy).len() > 1 => Some("one that draws random numbers to act"),
        () if agent.learner.policy().size() > 1 => Some("several policies that act as one"),
        () if spec.activation != Activation::Relu => Some("other activations"),
        () if spec.norm != Norm::None && !spec.simba => Some("normalised layers"),
        () => None,
    }
}

fn arrays(policy: &Restored) -> std::io::Result<Vec<u8>> {
    let agent = &policy.agent;
    let mut npz = Npz::default();
    for id in agent.acting_parameters() {
        let shape = agent.table.param(id).shape;
        for (path, range) in agent.table.paths(id) {
            npz.floats(&path, &[shape.rows, shape.cols], agent.store.values[id.index()][range].iter())?;
        }
    }
    let scale = &policy.scales.observation;
    npz.floats("scale.observation.mean", &[scale.mean.len()], scale.mean.iter())?;
    npz.floats("scale.observation.std", &[scale.std.len()], scale.std.iter())?;
    if let Some(bounds) = &policy.scales.action {
        npz.floats("scale.action.low", &[bounds.low().len()], bounds.low().iter())?;
        npz.floats("scale.action.high", &[bounds.high().len()], bounds.high().iter())?;
    }
    npz.array("actions", "<i8", &[], &(agent.dims.a as i64).to_le_bytes())?;
    let pi = agent.learner.policy();
    let linear = matches!(pi.head(), Head::Clipped | Head::Gaussian { mean: Mean::Linear, .. });
    npz.array("squashed", "|b1", &[], &[u8::from(!linear)])?;
    npz.array("simba", "|b1", &[], &[u8::from(pi.spec().simba)])?;
    npz.finish()
}
