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

use std::io::Cursor;

use ndarray::{Array2, ArrayView1, arr0};
use ndarray_npy::{NpzWriter, WriteNpzError};

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
        () if spec.activation != Activation::Relu => Some("other activations"),
        () if spec.norm != Norm::None && !spec.simba => Some("normalised layers"),
        () => None,
    }
}

fn arrays(policy: &Restored) -> Result<Vec<u8>, WriteNpzError> {
    let agent = &policy.agent;
    let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
    for id in agent.acting_parameters() {
        let shape = agent.table.param(id).shape;
        for (path, range) in agent.table.paths(id) {
            let values = agent.store.values[id.index()][range].to_vec();
            let array = Array2::from_shape_vec((shape.rows, shape.cols), values);
            npz.add_array(path, &array.expect("invariant: a tensor has the length of its shape"))?;
        }
    }
    let scale = &policy.scales.observation;
    npz.add_array("scale.observation.mean", &ArrayView1::from(&scale.mean))?;
    npz.add_array("scale.observation.std", &ArrayView1::from(&scale.std))?;
    if let Some(bounds) = &policy.scales.action {
        npz.add_array("scale.action.low", &ArrayView1::from(bounds.low()))?;
        npz.add_array("scale.action.high", &ArrayView1::from(bounds.high()))?;
    }
    npz.add_array("actions", &arr0(agent.dims.a as i64))?;
    let pi = agent.learner.policy();
    let linear = matches!(pi.head(), Head::Clipped | Head::Gaussian { mean: Mean::Linear, .. });
    npz.add_array("squashed", &arr0(!linear))?;
    npz.add_array("simba", &arr0(pi.spec().simba))?;
    Ok(npz.finish()?.into_inner())
}
