//! Multi-layer perceptrons, one or several heads: value networks and critics.

use super::init::{self, Init};
use super::params::Params;
use super::simba;
use crate::autodiff::{Axis, GroupId, NoiseKind, ParamId, Shape, Var};
use crate::config::{Activation, NetSpec, Norm};

/// Weights and biases of a perceptron, `[J, K, N]` and `[J, 1, N]`; the last layer may be without bias.
#[derive(Clone, Debug)]
pub struct Mlp {
    group: GroupId,
    layers: Vec<(ParamId, Option<ParamId>)>,
    /// gain and shift `[J, 1, N]` of each hidden layer that is normalised
    norms: Vec<(ParamId, ParamId)>,
    norm: Norm,
    activation: Activation,
    residual: bool,
    simba: bool,
}

impl Mlp {
    /// Adds the layers `layer0.weight`, `layer0.bias`, ... to a group, and `norm0.weight`, `norm0.bias`, ... between them
    /// if hidden layers are normalised.
    pub fn declare(
        params: &mut Params,
        group: GroupId,
        heads: usize,
        sizes: (usize, usize),
        net: &NetSpec,
    ) -> Mlp {
        Mlp::part(params, (group, ""), heads, sizes, net)
    }

    /// The same as one of several parts of a group, each with a prefix of its own in the names.
    pub fn part(
        params: &mut Params,
        (group, prefix): (GroupId, &str),
        heads: usize,
        (inputs, outputs): (usize, usize),
        net: &NetSpec,
    ) -> Mlp {
        let hidden = if net.simba { simba::widths(&net.hidden) } else { net.hidden.clone() };
        let widths: Vec<usize> = std::iter::once(inputs).chain(hidden).chain([outputs]).collect();
        let last = widths.len() - 2;
        let (mut layers, mut norms) = (Vec::new(), Vec::new());
        for (i, w) in widths.windows(2).enumerate() {
            let (weight, bias) = match net.simba && i < last {
                true => simba::layer(i, w[0]),
                false => init::layer(net.init, w[0], w[1], i == last),
            };
            let heads = if net.one_last && i == last { 1 } else { heads };
            let mut tensor = |name: &str, rows, init| {
                params.tensor(group, &format!("{prefix}{name}"), Shape::new(heads, rows, w[1]), init)
            };
            let weight = tensor(&format!("layer{i}.weight"), w[0], weight);
            let biased = i < last || !net.unbiased_last;
            layers.push((weight, biased.then(|| tensor(&format!("layer{i}.bias"), 1, bias))));
            if net.norm.is_some() && i < last && (!net.simba || simba::is_normalised(i)) {
                norms.push((
                    tensor(&format!("norm{i}.weight"), 1, Init::Constant(1.0)),
                    tensor(&format!("norm{i}.bias"), 1, Init::Constant(0.0)),
                ));
            }
        }
        let NetSpec { norm, activation, simba, .. } = *net;
        Mlp { group, layers, norms, norm, activation, residual: false, simba }
    }

    /// The same with what a hidden layer reads, before activation and norm, added to what it gives, if both are as wide.
    pub fn residual(self) -> Mlp {
        Mlp { residual: true, ..self }
    }

    /// The group that training it means.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// (weight, bias) of every layer, in order.
    pub fn layers(&self) -> &[(ParamId, Option<ParamId>)] {
        &self.layers
    }

    /// All its tensors.
    pub fn tensors(&self) -> Vec<ParamId> {
        let layers = self.layers.iter().flat_map(|&(w, b)| [Some(w), b]);
        layers
            .chain(self.norms.iter().flat_map(|&(gain, shift)| [Some(gain), Some(shift)]))
            .flatten()
            .collect()
    }

    /// Output `[J, B, N]` for input `[J or 1, B, K]`; nothing follows the last layer.
    pub fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.forward_with(x, |id| x.param(id))
    }

    /// Output `[1, B, N]` of one of several heads.
    fn forward_head<'t>(&self, x: Var<'t>, j: usize) -> Var<'t> {
        self.forward_with(x, |id| x.param(id).head(j))
    }

    /// The output with these values in place of its tensors, in the order of [`Mlp::tensors`].
    fn forward_at<'t>(&self, x: Var<'t>, values: &[Var<'t>]) -> Var<'t> {
        let tensors = self.tensors();
        let place = |id| tensors.iter().position(|&t| t == id).expect("invariant: it is one of them");
        self.forward_with(x, |id| values[place(id)])
    }

    fn forward_with<'t>(&self, x: Var<'t>, param: impl Fn(ParamId) -> Var<'t>) -> Var<'t> {
        let (w, b) = self.layers[0];
        self.after_first(layer(x, param(w), b.map(&param)), param)
    }

    /// Output `[J, B·k, N]` for `[s, a]`, where each of the B rows of s `[1, B, S]` stands beside k successive rows
    /// of a `[1, B·k, A]`: the first layer's half that belongs to s is computed once per row of s.
    fn forward_groups<'t>(&self, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let (w, b) = self.layers[0];
        let (w, split) = (s.param(w), s.shape().cols);
        let of_s = layer(s, w.rows(0, split), b.map(|b| s.param(b)));
        self.after_first(a.linear(w.rows(split, a.shape().cols), of_s), |id| s.param(id))
    }

    /// The output, given what the first layer computes before its activation.
    fn after_first<'t>(&self, z: Var<'t>, param: impl Fn(ParamId) -> Var<'t>) -> Var<'t> {
        if self.simba {
            return self.after_embedding(z, param);
        }
        let (layers, last) = (self.layers[1..].iter().enumerate(), self.layers.len() - 1);
        layers.fold(z, |z, (i, &(w, b))| {
            let y = dense(self.hidden(i, z, &param), param(w), b.map(&param));
            if self.residual && i + 1 < last && y.shape() == z.shape() { z + y } else { y }
        })
    }

    /// The output of the blocks of [`simba`] and the last layer, given the embedding.
    fn after_embedding<'t>(&self, x: Var<'t>, param: impl Fn(ParamId) -> Var<'t>) -> Var<'t> {
        let of = |(w, b): (ParamId, Option<ParamId>), x| dense(x, param(w), b.map(&param));
        let (last, blocks) = self.layers[1..].split_last().expect("invariant: a network has a last layer");
        let blocks = blocks.chunks_exact(2).enumerate();
        let x = blocks
            .fold(x, |x, (k, block)| x + of(block[1], of(block[0], self.normalised(k, x, &param)).relu()));
        of(*last, self.normalised(self.norms.len() - 1, x, &param))
    }

    /// z after its norm, the k-th there is, if it has one.
    fn normalised<'t>(&self, k: usize, z: Var<'t>, param: &impl Fn(ParamId) -> Var<'t>) -> Var<'t> {
        match (self.norm, self.norms.get(k)) {
            (Norm::Layer { eps } | Norm::LayerAfter { eps }, Some(&(gain, shift))) => {
                z.layer_norm(param(gain), param(shift), eps)
            }
            _ => z,
        }
    }

    /// What a hidden layer hands to the next one.
    fn hidden<'t>(&self, i: usize, z: Var<'t>, param: &impl Fn(ParamId) -> Var<'t>) -> Var<'t> {
        let active = |z: Var<'t>| match self.activation {
            Activation::Relu => z.relu(),
            Activation::Gelu => z.gelu(),
            Activation::Silu => z.silu(),
        };
        match self.norm {
            Norm::None => active(z),
            Norm::Layer { .. } => active(self.normalised(i, z, param)),
            Norm::LayerAfter { .. } => self.normalised(i, active(z), param),
        }
    }
}

/// x w + b
fn layer<'t>(x: Var<'t>, w: Var<'t>, b: Option<Var<'t>>) -> Var<'t> {
    match b {
        Some(b) => x.linear(w, b),
        None => x.linear_without_bias(w),
    }
}

/// x w + b, where one w may serve all heads of x.
fn dense<'t>(x: Var<'t>, w: Var<'t>, b: Option<Var<'t>>) -> Var<'t> {
    let shape = x.shape();
    if w.shape().heads == shape.heads {
        return layer(x, w, b);
    }
    let below = layer(x.reshape(Shape::new(1, shape.heads * shape.rows, shape.cols)), w, b);
    below.reshape(Shape { cols: w.shape().cols, ..shape })
}

/// V(s).
#[derive(Clone, Debug)]
pub struct ValueNet {
    net: Mlp,
}

impl ValueNet {
    /// A value network as a group of its own.
    pub fn declare(params: &mut Params, name: &str, s_dim: usize, net: &NetSpec) -> ValueNet {
        let group = params.group(name, false);
        ValueNet { net: Mlp::declare(params, group, 1, (s_dim, 1), net) }
    }

    /// Its group.
    pub fn group(&self) -> GroupId {
        self.net.group()
    }

    /// V(s) `[B, 1]`
    pub fn at<'t>(&self, s: Var<'t>) -> Var<'t> {
        self.net.forward(s).named(format!("v({})", s.name()))
    }
}

/// J critics Q_j(s, a) in one object; or E times J, those of one member of an ensemble in succession.
#[derive(Clone, Debug)]
pub struct Critics {
    net: Mlp,
    name: String,
    /// as the printer calls them
    symbol: String,
    heads: usize,
    members: usize,
    inputs: usize,
    spec: NetSpec,
}

impl Critics {
    /// J critics of states and actions of these sizes as one group; paths carry the critic's number.
    pub fn declare(
        params: &mut Params,
        name: &str,
        heads: usize,
        (s_dim, a_dim): (usize, usize),
        net: &NetSpec,
    ) -> Critics {
        Critics::of(params, (name, name), heads, s_dim + a_dim, net)
    }

    fn of(
        params: &mut Params,
        (name, symbol): (&str, &str),
        heads: usize,
        inputs: usize,
        spec: &NetSpec,
    ) -> Critics {
        let group = params.group(name, true);
        let net = Mlp::declare(params, group, heads, (inputs, 1), spec);
        let (name, symbol, spec) = (name.into(), symbol.into(), spec.clone());
        Critics { net, name, symbol, heads, members: 1, inputs, spec }
    }

    /// Their target as a group of its own, which begins as a copy; Q̂ beside Q.
    pub fn target(&self, params: &mut Params) -> Critics {
        let names = (format!("{}_target", self.name), format!("{}^", self.symbol));
        let target = Critics::of(params, (&names.0, &names.1), self.heads, self.inputs, &self.spec);
        params.starts_equal(self.group(), target.group());
        target.of_members(self.members)
    }

    /// Other critics of the same form as a group of their own, with initial weights of their own.
    pub fn others(&self, params: &mut Params, name: &str) -> Critics {
        Critics::of(params, (name, name), self.heads, self.inputs, &self.spec).of_members(self.members)
    }

    /// All their tensors.
    pub fn tensors(&self) -> Vec<ParamId> {
        self.net.tensors()
    }

    /// The same critics shared out among the E members of an ensemble.
    pub fn of_members(self, members: usize) -> Critics {
        assert!(self.heads.is_multiple_of(members), "{} critics for {members} members", self.heads);
        Critics { members, ..self }
    }

    /// Their group.
    pub fn group(&self) -> GroupId {
        self.net.group()
    }

    /// How many there are, of all members.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Q_j(s, a) `[E·J, B·k, 1]` for states `[B, S]` and actions `[B·k, A]`, k for every state; actions `[E, B·k, A]`
    /// are each member's own
    pub fn all<'t>(&self, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let label = format!("{}_j({}, {})", self.symbol, s.name(), a.name());
        let q = match s.shape().rows == a.shape().rows && a.shape().heads == 1 {
            true => self.net.forward(s.concat(a)),
            false => self.net.forward_groups(s, self.per_critic(a)),
        };
        q.named(label)
    }

    /// Q_j(s, a) `[E·J, B, 1]` with these values in place of their tensors, in the order of [`Critics::tensors`].
    pub fn all_at<'t>(&self, values: &[Var<'t>], s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let label = format!("{}'_j({}, {})", self.symbol, s.name(), a.name());
        self.net.forward_at(s.concat(a), values).named(label)
    }

    /// ∇_a Q_j(s, a) `[J, B, A]` of every critic, for an action of all `[B, A]`; losses may train through it. Up to the first
    /// layer it is the forward pass of [`Critics::all`].
    pub fn slopes<'t>(&self, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let (x, label) = (s.concat(a), format!("grad_a {}_j({}, {})", self.symbol, s.name(), a.name()));
        let (w, bias) = self.net.layers[0];
        let w = s.param(w);
        // Below the first layer all critics read the same numbers; above it each has its own.
        let in_first = self.net.forward(x).total().gradient(layer(x, w, bias.map(|b| s.param(b))));
        in_first.linear_transposed(w.rows(s.shape().cols, a.shape().cols)).named(label)
    }

    /// What belongs to a member `[E, B, N]` beside each of its critics `[E·J, B, N]`; what belongs to all as it is.
    pub fn per_critic<'t>(&self, x: Var<'t>) -> Var<'t> {
        let (s, k) = (x.shape(), self.heads / self.members);
        if s.heads == 1 || k == 1 {
            return x;
        }
        let repeated = x.reshape(Shape::new(s.heads, 1, s.rows * s.cols)).repeat(k);
        repeated.reshape(Shape { heads: s.heads * k, ..s })
    }

    /// Q_j(s, a) `[B, 1]` of one critic alone, counted from 0 as in the paths; printed from 1 as in papers.
    pub fn one<'t>(&self, s: Var<'t>, a: Var<'t>, j: usize) -> Var<'t> {
        let label = format!("{}_{}({}, {})", self.symbol, j + 1, s.name(), a.name());
        self.net.forward_head(s.concat(a), j).named(label)
    }

    /// min Q_j(s, a) `[1, B·k, 1]` over `n` of the critics, drawn without replacement, the same for all rows; only these are
    /// evaluated. States are `[B, S]`, actions `[B·k, A]`, k for every state. Panics for the critics of an ensemble.
    pub fn min_of_drawn<'t>(&self, s: Var<'t>, a: Var<'t>, n: usize) -> Var<'t> {
        self.min_of_picked(s, a, n, NoiseKind::Subset { of: self.heads })
    }

    /// The same, drawn with replacement.
    pub fn min_of_chosen<'t>(&self, s: Var<'t>, a: Var<'t>, n: usize) -> Var<'t> {
        self.min_of_picked(s, a, n, NoiseKind::Choices { of: self.heads })
    }

    fn min_of_picked<'t>(&self, s: Var<'t>, a: Var<'t>, n: usize, kind: NoiseKind) -> Var<'t> {
        assert!(self.members == 1, "critics are drawn from those of one agent");
        let which = s.noise("critics of the minimum", kind, Shape::new(1, 1, n));
        let label = format!("min_{n} {}_j({}, {})", self.symbol, s.name(), a.name());
        let picked = |id| {
            let all = s.param(id);
            if all.shape().heads == self.heads { all.pick_heads(which) } else { all }
        };
        let s = s.repeat(a.shape().rows / s.shape().rows);
        let q = self.net.forward_with(s.concat(a), picked);
        q.min(Axis::Heads).named(label)
    }

    /// min_j Q_j(s, a) `[E, B·k, 1]`, as [`Critics::all`], for every member over its own critics
    pub fn min<'t>(&self, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let q = self.all(s, a);
        let label = format!("min_j {}", q.name());
        if self.members == 1 {
            return q.min(Axis::Heads).named(label);
        }
        let (rows, k) = (q.shape().rows, self.heads / self.members);
        let least = q.reshape(Shape::new(self.members, k, rows)).min(Axis::Rows);
        least.reshape(Shape::new(self.members, rows, 1)).named(label)
    }
}
