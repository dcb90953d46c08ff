//! Policies: a trunk and one of four heads.
//!
//! | head | mode | sample | log π(a given s) |
//! |---|---|---|---|
//! | `Deterministic` (D) | tanh f(s) | its mode | none |
//! | `Clipped` (C) | f(s), clipped to [-1, 1] | its mode | none |
//! | `Gaussian` (G) | μ(s) in [-1, 1] | μ + σ ε, clipped to [-1, 1] when acting | Σ log N(a; μ, σ); μ = tanh f(s), or f(s) itself; the tanh sits on the mean, so there is no Jacobian term |
//! | `TanhGaussian` (TG) | tanh μ(s) | tanh(μ + σ ε) | Σ log N(u; μ, σ) - log(1 - tanh² u) |
//!
//! log σ is clamped to bounds, or in head TG laid between them by a tanh; in head G it is a free vector or a second output
//! of the trunk.
//!
//! What a policy reads is a state, or a state beside whatever else it is conditioned on ([`Input`]).
//!
//! An ensemble of E policies of head TG acts as one, whose Gaussian before the tanh has their mixture's mean and variance:
//! μ = mean_i μ_i, σ² = mean_i (μ_i² + σ_i²) - μ², computed as mean_i (σ_i² + (μ_i - μ)²), which no rounding makes
//! negative; log σ is clamped to the same bounds. [`Policy::members`] are its policies each for itself.
//!
//! Above 400 lines because the mode, the draw and the density of every head stand side by side.

use std::f64::consts::{LN_2, PI};

use super::init::Init;
use super::mlp::Mlp;
use super::params::Params;
use crate::autodiff::{Axis, GroupId, NoiseKind, ParamId, Shape, Var};
use crate::config::NetSpec;

/// Largest |a| whose inverse tanh is taken.
const ATANH_BOUND: f64 = 1.0 - 1e-6;

/// Where the mean of a Gaussian stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mean {
    /// tanh f(s), always an action
    Tanh,
    /// f(s); as an action it is clipped to [-1, 1]
    Linear,
}

/// How an output of the trunk becomes a log σ between bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Within {
    /// min(max(l, lo), hi)
    Clamped,
    /// lo + (hi - lo) / 2 (tanh l + 1)
    Tanh,
}

/// How an action is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Acting {
    /// as in an evaluation: the policy's mode
    Greedy,
    /// drawn from the policy
    Sample,
    /// the mode plus clipped normal noise
    Noise {
        /// its standard deviation
        scale: f64,
        /// its bound
        clip: f64,
    },
}

/// What kind of distribution a policy is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Head {
    /// tanh f(s)
    Deterministic,
    /// f(s), clipped
    Clipped,
    /// clipped Gaussian
    Gaussian {
        /// its mean
        mean: Mean,
        /// σ is a function of the state instead of a free vector
        state_std: bool,
        /// bounds of log σ
        log_std: (f64, f64),
    },
    /// tanh of a Gaussian whose mean and spread depend on the state
    TanhGaussian {
        /// bounds of log σ
        log_std: (f64, f64),
        /// how they are kept
        within: Within,
        /// added to 1 - tanh² u in the density; 0: the density as it is
        squash_eps: f64,
        /// log σ = c₁ l + c₀ with trained scalars that begin at (c₁, c₀), l the output of the trunk;
        /// without, log σ = l
        std_scale: Option<(f64, f64)>,
    },
}

impl Head {
    /// Whether it has a density, and with it a spread to draw from.
    pub fn has_density(self) -> bool {
        !matches!(self, Head::Deterministic | Head::Clipped)
    }

    /// Whether it gives draws together with their density, as [`Policy::draw`] does.
    pub fn draws(self) -> bool {
        matches!(self, Head::TanhGaussian { .. })
    }

    /// A tanh-Gaussian with log σ clamped and its density as it is.
    pub fn tanh_gaussian(log_std: (f64, f64)) -> Head {
        Head::TanhGaussian { log_std, within: Within::Clamped, squash_eps: 0.0, std_scale: None }
    }
}

/// What a network reads: a variable, or several side by side, as the state and what a policy is conditioned on.
pub trait Input<'t>: Copy {
    /// All of it as one variable `[B, K]`.
    fn joined(self) -> Var<'t>;
    /// As the printer calls it.
    fn name(self) -> String;
}

impl<'t> Input<'t> for Var<'t> {
    fn joined(self) -> Var<'t> {
        self
    }
    fn name(self) -> String {
        Var::name(self)
    }
}

impl<'t, const N: usize> Input<'t> for [Var<'t>; N] {
    fn joined(self) -> Var<'t> {
        self.into_iter().reduce(Var::concat).expect("invariant: a network reads something")
    }
    fn name(self) -> String {
        self.map(Var::name).join(", ")
    }
}

/// π(a given s); where there is more to be given, s stands for all of it.
#[derive(Clone, Debug)]
pub struct Policy {
    name: String,
    net: Mlp,
    head: Head,
    free_log_std: Option<ParamId>,
    std_scale: Option<(ParamId, ParamId)>,
    dims: (usize, usize),
    spec: NetSpec,
    size: usize,
    joint: bool,
}

impl Policy {
    /// A policy of so many inputs and action dimensions as a group of its own.
    pub fn declare(
        params: &mut Params,
        name: &str,
        dims: (usize, usize),
        head: Head,
        net: &NetSpec,
    ) -> Policy {
        Policy::ensemble(params, name, 1, dims, head, net)
    }

    /// `size` policies as one group; paths carry their numbers if there are several. Panics for several of a head that
    /// has no draws.
    pub fn ensemble(
        params: &mut Params,
        name: &str,
        size: usize,
        dims: (usize, usize),
        head: Head,
        net: &NetSpec,
    ) -> Policy {
        assert!(size == 1 || head.draws(), "an ensemble has head TG");
        let group = params.group(name, size > 1);
        params.mean(format!("{name}: {head:?}"));
        let (inputs, a_dim) = dims;
        let outputs = match head {
            Head::Gaussian { state_std: true, .. } | Head::TanhGaussian { .. } => 2 * a_dim,
            _ => a_dim,
        };
        let (spec, net) = (net.clone(), Mlp::declare(params, group, size, (inputs, outputs), net));
        let free_log_std = match head {
            Head::Gaussian { state_std: false, .. } => {
                Some(params.tensor(group, "log_std", Shape::new(1, 1, a_dim), Init::Constant(0.0)))
            }
            _ => None,
        };
        let std_scale = match head {
            Head::TanhGaussian { std_scale: Some((factor, offset)), .. } => {
                let mut scalar =
                    |name, x| params.tensor(group, name, Shape::new(size, 1, 1), Init::Constant(x));
                Some((scalar("log_std_multiplier", factor), scalar("log_std_offset", offset)))
            }
            _ => None,
        };
        Policy { name: name.into(), net, head, free_log_std, std_scale, dims, spec, size, joint: true }
    }

    /// Its target as a group of its own, which begins as a copy.
    pub fn target(&self, params: &mut Params) -> Policy {
        let name = format!("{}_target", self.name);
        let target = Policy::ensemble(params, &name, self.size, self.dims, self.head, &self.spec);
        params.starts_equal(self.group(), target.group());
        target
    }

    /// E, the number of policies that act as one.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The policies each for itself: all that they give is `[E, ..]`.
    pub fn members(&self) -> Policy {
        Policy { joint: false, ..self.clone() }
    }

    /// Its group.
    pub fn group(&self) -> GroupId {
        self.net.group()
    }

    /// Its trunk.
    pub fn net(&self) -> &Mlp {
        &self.net
    }

    /// The free log σ, where the head has one.
    pub fn free_log_std(&self) -> Option<ParamId> {
        self.free_log_std
    }

    /// How many numbers it reads: those of a state, or more.
    pub fn inputs(&self) -> usize {
        self.dims.0
    }

    /// Its hidden layers.
    pub fn spec(&self) -> &NetSpec {
        &self.spec
    }

    /// Which head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// (location before any squashing, log σ) `[B, A]`, `[B or 1, A]`; no log σ in heads D and C.
    fn parts<'t>(&self, s: Var<'t>) -> (Var<'t>, Option<Var<'t>>) {
        let f = self.net.forward(s);
        match self.head {
            Head::Deterministic | Head::Clipped => (f, None),
            Head::Gaussian { state_std, log_std: (lo, hi), .. } => {
                let (mean, log_std) = match self.free_log_std {
                    Some(p) if !state_std => (f, s.param(p)),
                    _ => (f.slice(0, self.dims.1), f.slice(self.dims.1, self.dims.1)),
                };
                (mean, Some(log_std.clamp(lo, hi)))
            }
            Head::TanhGaussian { log_std: (lo, hi), within, .. } => {
                let l = f.slice(self.dims.1, self.dims.1);
                let log_std = match self.std_scale {
                    Some((factor, offset)) => s.param(factor) * l + s.param(offset),
                    None => l,
                };
                let mean = f.slice(0, self.dims.1);
                let log_std = match within {
                    Within::Clamped => log_std.clamp(lo, hi),
                    Within::Tanh => (log_std.tanh() + 1.0) * (0.5 * (hi - lo)) + lo,
                };
                match self.joint && self.size > 1 {
                    false => (mean, Some(log_std)),
                    true => {
                        let joint = mean.mean_over(Axis::Heads);
                        let spread = (log_std * 2.0).exp() + (mean - joint).square();
                        let log_std = spread.mean_over(Axis::Heads).log() * 0.5;
                        (joint, Some(log_std.clamp(lo, hi)))
                    }
                }
            }
        }
    }

    /// The mean of what head G samples from and of what the others put through a tanh, after it.
    fn centre<'t>(&self, location: Var<'t>) -> Var<'t> {
        match self.head {
            Head::Gaussian { mean: Mean::Linear, .. } => location,
            Head::Clipped => location.clamp(-1.0, 1.0),
            _ => location.tanh(),
        }
    }

    /// A, components of an action.
    pub fn actions(&self) -> usize {
        self.dims.1
    }

    /// μ(s) and log σ(s) `[B, A]` of the Gaussian before the tanh. Panics for head D, which has none.
    pub fn gaussian<'t>(&self, s: impl Input<'t>) -> (Var<'t>, Var<'t>) {
        let (mean, log_std) = self.parts(s.joined());
        (mean, log_std.expect("invariant: a deterministic policy has no spread"))
    }

    /// Whether it has a density and a spread; without them it is a function of the state.
    pub fn has_density(&self) -> bool {
        self.head.has_density()
    }

    /// An action `[B, A]`; it may leave [-1, 1] unless it is the mode.
    pub fn act<'t>(&self, s: impl Input<'t>, how: Acting) -> Var<'t> {
        match how {
            Acting::Greedy => self.mode(s),
            Acting::Sample => self.sample(s),
            Acting::Noise { scale, clip } => {
                let x = s.joined();
                let shape = Shape::new(1, x.shape().rows, self.dims.1);
                let noise = x.noise("exploration", NoiseKind::Normal, shape);
                self.mode(s) + (noise * scale).clamp(-clip, clip)
            }
        }
    }

    /// The mode `[B, A]` (of the members of an ensemble `[E, B, A]`, here and below), inside [-1, 1]: the action of an evaluation.
    pub fn mode<'t>(&self, s: impl Input<'t>) -> Var<'t> {
        let label = format!("{}({})", self.name, s.name());
        let centre = self.centre(self.parts(s.joined()).0);
        match self.head {
            Head::Gaussian { mean: Mean::Linear, .. } => centre.clamp(-1.0, 1.0),
            _ => centre,
        }
        .named(label)
    }

    /// A reparameterised sample `[B, A]`; head G may leave [-1, 1], heads D and C return their mode.
    pub fn sample<'t>(&self, s: impl Input<'t>) -> Var<'t> {
        let (mean, log_std) = self.parts(s.joined());
        let Some(log_std) = log_std else { return self.centre(mean) };
        let noise = mean.noise("policy sample", NoiseKind::Normal, mean.shape());
        match self.head {
            Head::TanhGaussian { .. } => (mean + log_std.exp() * noise).tanh(),
            _ => self.centre(mean) + log_std.exp() * noise,
        }
    }

    /// `n` reparameterised samples for every state and their log π: `[B·n, A]` and `[B·n, 1]`, those of one
    /// state in succession. The network runs once per state; log π is taken from the sample before the
    /// tanh, where no action is saturated. Panics for any head but TG.
    pub fn draw<'t>(&self, s: impl Input<'t>, n: usize) -> (Var<'t>, Var<'t>) {
        assert!(self.head.draws(), "samples with their density are head TG's");
        let (mean, log_std) = self.parts(s.joined());
        let log_std = log_std.expect("invariant: head TG has a spread").repeat(n);
        let mean = mean.repeat(n);
        let state = s.name();
        let noise = mean.noise(&format!("noise of {}({state})", self.name), NoiseKind::Normal, mean.shape());
        let u = mean + log_std.exp() * noise;
        let density = noise.square() * -0.5 - log_std - 0.5 * (2.0 * PI).ln();
        let action = u.tanh().named(format!("a~{}({state})", self.name));
        (action, (density - self.squash(u)).sum(Axis::Cols).named(format!("log {}(a~ | {state})", self.name)))
    }

    /// log π(a given s) `[B, 1]`, summed over action dimensions. Panics for heads D and C, which have none.
    pub fn log_prob<'t>(&self, s: impl Input<'t>, a: Var<'t>) -> Var<'t> {
        let label = format!("log {}({} | {})", self.name, a.name(), s.name());
        let (mean, log_std) = self.parts(s.joined());
        let log_std = log_std.expect("invariant: a deterministic policy has no density");
        match self.head {
            Head::TanhGaussian { .. } => {
                let a = a.clamp(-ATANH_BOUND, ATANH_BOUND);
                let u = ((a + 1.0).log() - (1.0 - a).log()) * 0.5;
                (gaussian(u, mean, log_std) - self.squash(u)).sum(Axis::Cols)
            }
            _ => gaussian(a, self.centre(mean), log_std).sum(Axis::Cols),
        }
        .named(label)
    }

    /// log π `[B, 1]` of the action that lies so many standard deviations from the mean in every dimension, before any tanh.
    /// Panics for heads D and C, which have none.
    pub fn log_prob_at<'t>(&self, s: impl Input<'t>, deviations: f64) -> Var<'t> {
        let (mean, log_std) = self.gaussian(s);
        let constant = -0.5 * deviations * deviations - 0.5 * (2.0 * PI).ln();
        let density = (constant - log_std).expand(mean.shape());
        match self.head {
            Head::TanhGaussian { .. } => density - self.squash(mean + log_std.exp() * deviations),
            _ => density,
        }
        .sum(Axis::Cols)
    }

    /// σ `[B or 1, A]`; `None` in heads D and C.
    pub fn std<'t>(&self, s: impl Input<'t>) -> Option<Var<'t>> {
        if !self.has_density() {
            return None;
        }
        let label = format!("sigma_{}({})", self.name, s.name());
        Some(self.parts(s.joined()).1?.exp().named(label))
    }

    /// log(1 - tanh² u) = 2 (log 2 - u - softplus(-2u)), finite for any u; or log(1 - tanh² u + ε).
    fn squash<'t>(&self, u: Var<'t>) -> Var<'t> {
        match self.head {
            Head::TanhGaussian { squash_eps, .. } if squash_eps > 0.0 => {
                (1.0 - u.tanh().square() + squash_eps).log()
            }
            _ => (LN_2 - u - (u * -2.0).softplus()) * 2.0,
        }
    }
}

/// log N(x; mean, e^log_std), element by element.
fn gaussian<'t>(x: Var<'t>, mean: Var<'t>, log_std: Var<'t>) -> Var<'t> {
    let z = (x - mean) / log_std.exp();
    z.square() * -0.5 - log_std - 0.5 * (2.0 * PI).ln()
}
