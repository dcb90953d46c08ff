//! Policies that leave: what acts, as a file for other programs.
//!
//! | format | what it is | read by |
//! |---|---|---|
//! | `onnx` | [the whole of acting](mod@onnx): scaling of states, networks, head, bounds | onnxruntime and whatever else runs ONNX, operator set 17 |
//! | `numpy` | [the numbers](mod@numpy): parameters and scales as arrays of one `.npz` | `numpy.load` |
//! | `safetensors` | the policy file of [`crate::train::policy`] | `baq evaluate`, `baq collect`, `baq act`, `safetensors` |
//!
//! # The forward pass
//!
//! A policy `pi` of K hidden layers and A actions, with the arrays of a `numpy` file:
//!
//! ```text
//! x   = (observation - scale.observation.mean) / scale.observation.std
//! h_0 = x,   h_k+1 = relu(h_k W_k + b_k)  for the hidden layers,   f = h_K W_K + b_K
//! ```
//!
//! W_k is `pi.layerK.weight` `[inputs, outputs]`, b_k `pi.layerK.bias`; [`crate::nn::simba`] has f of residual blocks. The
//! action is tanh f in heads D and TG (there of the first A of the 2 A components: the others are log σ) and in head G with a
//! mean of `Tanh`, else f; then it is clipped to [-1, 1], and laid between `scale.action.low` and `scale.action.high` if the
//! data were rescaled. [`crate::nn::Policy`] has the heads; `baq explain` prints them for a method. In NumPy, for IQL, BC, TD3,
//! TD3+BC, SAC, CQL and whatever else acts by one policy, of rectified layers without a normalisation or of residual blocks:
//!
//! ```python
#![doc = include_str!("snippet.py")]
//! ```
//!
//! Methods that take more to act (PEX chooses between two policies, EMaQ among candidates), and other networks, leave as `onnx` alone.

mod builder;
pub mod numpy;
pub mod onnx;
mod proto;
