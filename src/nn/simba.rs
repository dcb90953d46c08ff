//! SimBa, networks of residual blocks. Lee et al. 2024, arXiv:2410.09754, and the authors' program.
//!
//!   x_0     = W x + b                                                  the embedding
//!   x_k     = x_{k-1} + W''_k relu( W'_k norm(x_{k-1}) + b'_k ) + b''_k,  W'_k `[H, 4H]`, W''_k `[4H, H]`
//!   f       = W_f norm(x_K) + b_f
//!
//! Any network that is told as a [`NetSpec`](crate::config::NetSpec) can be one: `"512x512 simba"` are K = 2 blocks of width
//! H = 512, which all have in common. norm is layer normalisation, 1e-6 added to the variance. `layer0` is the embedding,
//! `layer{2k-1}` and `layer{2k}` are block k, `norm{2k}` normalises what has come out of `layer{2k}` and all before it.
//!
//! The embedding begins orthogonal with gain 1, blocks truncated normal with variance 2/fan_in, biases 0, whatever the scheme
//! of the method is; the last layer begins as that says.
//!
//! Published with it, and in the preset `rlpd_simba`: policies `"128 simba"`, critics `"512x512 simba"`, AdamW (a rate of
//! `{ lr = 1e-4, decay = 0.01 }`), states standardised.
//!
//! Declared differences. The authors' last layers begin orthogonal with gain 1. They standardise states by running statistics;
//! here buffers hold states as networks see them, so statistics that move would have every row computed again: those of the
//! data are used instead (`data.observation_scaling = standardise`), and without data states are as they are.

use super::init::{self, Init};

/// How much wider a block is inside.
const EXPANSION: usize = 4;

/// What the layers before the last one give, for the widths of the blocks.
pub(super) fn widths(blocks: &[usize]) -> Vec<usize> {
    let embedding = blocks.first().copied();
    embedding.into_iter().chain(blocks.iter().flat_map(|&h| [EXPANSION * h, h])).collect()
}

/// Whether the network as it is after this layer is normalised: after the embedding, and after every block.
pub(super) fn is_normalised(layer: usize) -> bool {
    layer.is_multiple_of(2)
}

/// Distributions of (weight, bias) of a layer before the last one.
pub(super) fn layer(layer: usize, inputs: usize) -> (Init, Init) {
    let weight = if layer == 0 { Init::Orthogonal(1.0) } else { init::he(inputs) };
    (weight, Init::Constant(0.0))
}

#[cfg(test)]
mod tests {
    use crate::config::{InitScheme, NetSpec, Norm};
    use crate::nn::{Mlp, Params};

    /// Whatever the method's scheme is, but for the last layer.
    #[test]
    fn shapes_and_initial_weights() {
        let blocks = NetSpec { simba: true, norm: Norm::Layer { eps: 1e-6 }, ..vec![64; 2].into() };
        let begun = [InitScheme::Torch, InitScheme::Rlkit { last: 3e-3 }].map(|init| {
            let mut params = Params::default();
            let group = params.group("net", false);
            let net = Mlp::declare(&mut params, group, 1, (100, 1), &blocks.begin(init));
            let (table, store) = params.finish(5);
            let shape = |id: &crate::autodiff::ParamId| table.param(*id).shape.dims();
            let shapes: Vec<_> = net.layers().iter().map(|(w, _)| shape(w)).collect();
            assert_eq!(
                shapes,
                [[1, 100, 64], [1, 64, 256], [1, 256, 64], [1, 64, 256], [1, 256, 64], [1, 64, 1]]
            );
            let values = |id: crate::autodiff::ParamId| store.values[id.index()].to_vec();
            let square = |w: &[f32]| w.iter().map(|x| f64::from(x * x)).sum::<f64>() / w.len() as f64;
            let all: Vec<_> =
                net.layers().iter().map(|&(w, b)| (values(w), values(b.expect("a bias")))).collect();
            for ((w, b), variance) in all.iter().zip([0.01, 2.0 / 64.0, 2.0 / 256.0, 2.0 / 64.0, 2.0 / 256.0])
            {
                assert!((square(w) / variance - 1.0).abs() < 0.1, "{} for {variance}", square(w));
                assert!(b.iter().all(|x| *x == 0.0));
            }
            let names: Vec<_> =
                table.params().iter().map(|p| p.name.as_str()).filter(|n| n.starts_with("norm")).collect();
            assert_eq!(names[..2], ["norm0.weight", "norm0.bias"]);
            assert_eq!((names.len(), names[5]), (6, "norm4.bias"));
            all
        });
        let [torch, rlkit] = begun;
        assert_eq!(torch[..5], rlkit[..5]);
        assert!(torch[5].0.iter().any(|x| x.abs() > 3e-3) && rlkit[5].0.iter().all(|x| x.abs() <= 3e-3));
        // Nothing may change what a seed begins with.
        let first = [torch[0].0[0], torch[1].0[0], torch[2].0[0]];
        assert_eq!(first, [-0.1887639, 0.11849061, 0.18547763]);
    }
}
