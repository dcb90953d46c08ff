//! Diffusion over rows of numbers: a denoiser, its loss, and samplers. Karras, Aittala, Aila, Laine 2022, arXiv:2206.00364.
//!
//!   D(x; σ)  = c_skip x + c_out F(c_in x; c_noise),   data of standard deviation 1
//!   c_skip   = 1/(σ²+1),  c_out = σ/√(σ²+1),  c_in = 1/√(σ²+1),  c_noise = ln σ / 4            table 1
//!   L        = E[ w(σ) mean_i (D(x + σ ε; σ) - x)_i² ],  w = (σ²+1)/σ²,  ln σ ~ N(-1.2, 1.2²)  eq. 8
//!            = E[ mean_i (F - c_in (σ x - ε))_i² ],  since w c_out² = 1
//!   σ_i      = (σ_max^(1/7) + i/(n-1) (σ_min^(1/7) - σ_max^(1/7)))^7, i < n;  σ_n = 0            eq. 5
//!   a step     σ^ = σ_i (1 + γ_i),  x^ = x + √(σ^² - σ_i²) 1.003 ε,  γ_i = min(churn/n, √2 - 1) within [0.05, 50]
//!              d = (x^ - D(x^; σ^)) / σ^,  x' = x^ + (σ_{i+1} - σ^) d
//!     heun     then, unless σ_{i+1} = 0,  x' = x^ + (σ_{i+1} - σ^) (d + d')/2,  d' the slope at x'     algorithm 2
//!     ddim     stays with x': the deterministic sampler of Song, Meng, Ermon 2021 in these variables
//!
//! F is the residual perceptron of SynthER (Lu, Ball, Teh, Parker-Holder 2023, arXiv:2303.06614), widths `[T, W, W, ..]`:
//! h = Linear(x) + Linear(silu(Linear([sin, cos of 8 fixed random frequencies, c_noise]))) + a row for the label, T wide; then
//! Linear to W, blocks h ← h + Linear(relu(h)), and Linear(relu(h)). Samplers read an average of its weights, which follows
//! them every [`AVERAGED_EVERY`]th update.
//!
//! *Inpainting*: the first columns may be given. Whenever a slope is taken they are the given ones with fresh noise of that
//! level, at the end the given ones themselves.

use std::f64::consts::PI;
use std::sync::Arc;

use super::init::{self, Init};
use super::mlp::Mlp;
use super::params::Params;
use crate::autodiff::{
    Adam, GroupId, NoiseKind, ParamId, ParamTable, Role, Schedule, Shape, Trace, Tracer, Var,
};
use crate::config::{Activation, AdamConfig, ConfigError, NetSpec};

/// Mean and standard deviation of ln σ while training.
const LOG_SIGMA: (f64, f64) = (-1.2, 1.2);
/// Noise levels of a sampler, from the last to the first.
const SIGMAS: (f64, f64) = (0.002, 80.0);
/// ρ of eq. 5.
const RHO: f64 = 7.0;
/// Noise levels at which a sampler churns.
const CHURNED: (f64, f64) = (0.05, 50.0);
/// Factor of the noise that churning adds.
const CHURN_NOISE: f64 = 1.003;
/// Fixed random frequencies of the noise level.
const FREQUENCIES: usize = 8;
/// Updates between two steps of the average of the weights.
pub const AVERAGED_EVERY: u64 = 10;

/// The optimiser that a denoiser is usually trained with.
pub fn optimiser() -> AdamConfig {
    let lr = Schedule::Cosine { from: 3e-4, to: 0.0, steps: Schedule::AUTO };
    AdamConfig { beta2: 0.99, clip: 1.0, ..AdamConfig::new(lr) }
}

/// One copy of F.
#[derive(Clone, Debug)]
struct Net {
    group: GroupId,
    time: Mlp,
    input: Mlp,
    /// `[labels, T]`
    labels: Option<ParamId>,
    body: Mlp,
}

impl Net {
    fn declare(params: &mut Params, name: &str, size: usize, labels: usize, spec: &NetSpec) -> Net {
        let group = params.group(name, false);
        let time_width = spec.hidden[0];
        let of_time =
            NetSpec { hidden: vec![time_width], activation: Activation::Silu, ..NetSpec::default() };
        let plain = |hidden: &[usize]| NetSpec {
            hidden: hidden.to_vec(),
            activation: spec.activation,
            norm: spec.norm,
            ..NetSpec::default()
        };
        let mut part = |prefix, sizes, net: &NetSpec| Mlp::part(params, (group, prefix), 1, sizes, net);
        let time = part("time.", (2 * FREQUENCIES + 1, time_width), &of_time);
        let input = part("input.", (size, time_width), &plain(&[]));
        let body = part("body.", (time_width, size), &plain(&spec.hidden[1..])).residual();
        let labels = (labels > 0).then(|| {
            let (weight, _) = init::layer(spec.init, labels, time_width, false);
            params.tensor(group, "labels", Shape::new(1, labels, time_width), weight)
        });
        Net { group, time, input, labels, body }
    }

    /// F `[B, D]` of x `[B, D]`, c_noise `[B or 1, 1]` and the label, one of several as ones and zeros `[B or 1, labels]`.
    fn forward<'t>(
        &self,
        x: Var<'t>,
        c_noise: Var<'t>,
        frequencies: ParamId,
        label: Option<Var<'t>>,
    ) -> Var<'t> {
        let angles = c_noise * x.param(frequencies) * (2.0 * PI);
        let time = self.time.forward(angles.sin().concat(angles.cos()).concat(c_noise));
        let mut h = self.input.forward(x) + time;
        if let (Some(table), Some(label)) = (self.labels, label) {
            let table = x.param(table);
            let zeros = x.constant(0.0).expand(Shape { rows: 1, ..table.shape() });
            h = h + label.linear(table, zeros);
        }
        self.body.forward(h)
    }
}

/// D, and the average of its weights.
#[derive(Clone, Debug)]
pub struct Denoiser {
    live: Net,
    average: Net,
    frequencies: ParamId,
    size: usize,
    labels: usize,
}

impl Denoiser {
    /// A denoiser of rows of `size` numbers with so many labels, or none: groups `name`, `name_average`, `name_frequencies`.
    ///
    /// # Errors
    /// No width at all.
    pub fn declare(
        params: &mut Params,
        name: &str,
        (size, labels): (usize, usize),
        spec: &NetSpec,
    ) -> Result<Denoiser, ConfigError> {
        if spec.hidden.is_empty() {
            return Err(ConfigError::Other(
                "hidden: expected the width of the features of the noise level, then those of the layers, got none; give at least one"
                    .into(),
            ));
        }
        if spec.simba {
            return Err(ConfigError::Other(format!(
                "hidden: expected layers, which are residual by themselves here, got \"{spec}\"; write widths without simba"
            )));
        }
        let fixed = params.group(&format!("{name}_frequencies"), false);
        let frequencies =
            params.tensor(fixed, "values", Shape::new(1, 1, FREQUENCIES), Init::TruncatedNormal(1.0));
        let live = Net::declare(params, name, size, labels, spec);
        let average = Net::declare(params, &format!("{name}_average"), size, labels, spec);
        params.starts_equal(live.group, average.group);
        Ok(Denoiser { live, average, frequencies, size, labels })
    }

    /// Numbers of a row.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The groups that learning moves: F, and the average of its weights.
    pub fn groups(&self) -> [GroupId; 2] {
        [self.live.group, self.average.group]
    }

    /// L on rows x `[B, D]` of mean 0 and standard deviation 1.
    pub fn loss<'t>(&self, x: Var<'t>, label: Option<Var<'t>>) -> Var<'t> {
        let column = Shape { cols: 1, ..x.shape() };
        let (mean, std) = LOG_SIGMA;
        let log_sigma = x.noise("noise level", NoiseKind::Normal, column) * std + mean;
        let noise = x.noise("noise of rows", NoiseKind::Normal, x.shape());
        let sigma = log_sigma.exp().named("sigma");
        let c_in = scale_in(sigma).named("c_in");
        let noised = (x + sigma * noise).named("x_noised");
        let f = self.live.forward(noised * c_in, log_sigma * 0.25, self.frequencies, label);
        let f = f.named(match label {
            Some(_) => "F(c_in * x_noised, ln(sigma) / 4, c)",
            None => "F(c_in * x_noised, ln(sigma) / 4)",
        });
        (f - (sigma * x - noise) * c_in).square().mean()
    }

    /// One update on this loss, in the critic's role; the step of the average is in the actor's, which runs in every
    /// [`AVERAGED_EVERY`]th round.
    pub fn train(&self, t: &Tracer, optimiser: &Adam, rate: f64, loss: Var<'_>) {
        t.train("denoiser", Role::Critic, self.live.group, optimiser, loss);
        let rate = Schedule::Constant(rate);
        t.polyak(Role::Actor, self.live.group, self.average.group, "average", &rate);
    }

    /// D(x; σ, c) `[B, D]` of the averaged weights; σ `[B or 1, 1]`, c one of the labels, if there are any.
    pub fn denoise<'t>(&self, x: Var<'t>, sigma: Var<'t>, label: Option<usize>) -> Var<'t> {
        let c_in = scale_in(sigma);
        let chosen = |c: usize| (0..self.labels).map(move |i| x.constant(if i == c { 1.0 } else { 0.0 }));
        let label = label.and_then(|c| chosen(c).reduce(Var::concat));
        let f = self.average.forward(x * c_in, sigma.log() * 0.25, self.frequencies, label);
        x * c_in.square() + f * (sigma * c_in)
    }

    /// (1 + w) D(x; σ, c) - w D(x; σ, none), none being the last label; without guidance, w = 0, one evaluation.
    pub fn guided<'t>(&self, x: Var<'t>, sigma: Var<'t>, label: usize, w: f64) -> Var<'t> {
        let given = self.denoise(x, sigma, Some(label));
        match w {
            0.0 => given,
            w => given * (1.0 + w) - self.denoise(x, sigma, Some(self.labels - 1)) * w,
        }
    }
}

/// The slope dx/dσ at (x, σ), given what is denoised there.
pub fn slope<'t>(x: Var<'t>, sigma: Var<'t>, denoised: Var<'t>) -> Var<'t> {
    (x - denoised) / sigma
}

/// The level σ of eq. 5 at a share u `[B, 1]` of the way from the first to the last.
pub fn level(u: Var<'_>) -> Var<'_> {
    let (lo, hi) = (SIGMAS.0.powf(1.0 / RHO), SIGMAS.1.powf(1.0 / RHO));
    (u.affine(lo - hi, hi).log() * RHO).exp().named("sigma")
}

/// 1/√(σ²+1), which brings rows with noise of this level to a standard deviation of 1.
pub fn scale_in(sigma: Var<'_>) -> Var<'_> {
    1.0 / (sigma.square() + 1.0).sqrt()
}

crate::choices! {
    /// How a sampler steps from one noise level to the next.
    Method {
        Heun = "heun", "second order, two evaluations of the denoiser but in the last step";
        Ddim = "ddim", "first order, one evaluation";
    }
}

/// How rows are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// n, noise levels
    pub steps: usize,
    /// from one to the next
    pub method: Method,
    /// 0: deterministic, given the first noise
    pub churn: f64,
}

/// The numbers of one step of a sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// σ^, where the slope is taken
    pub sigma: f64,
    /// σ_{i+1}
    pub next: f64,
    /// standard deviation of the noise that leads from σ_i to σ^
    pub added: f64,
}

/// Input and output of a sampler's programs: the rows on their way `[B, D]`.
pub const X: &str = "x";
/// Input: σ^ `[1, 1]`.
pub const SIGMA: &str = "sigma";
/// Input: σ_{i+1} `[1, 1]`.
pub const NEXT: &str = "next_sigma";
/// Input: [`Level::added`] `[1, 1]`.
pub const ADDED: &str = "added";
/// Input: the given columns of an inpainting `[B, known]`.
pub const KNOWN: &str = "known";

/// The programs of a sampler: the first noise; a step, for all levels but the last; the last step.
#[derive(Debug)]
pub struct Drawing {
    /// puts out [`X`]
    pub begin: Trace,
    /// reads and puts out [`X`]
    pub step: Trace,
    /// reads [`X`] and puts out what `finish` says
    pub last: Trace,
    /// of all steps
    pub levels: Vec<Level>,
    /// rows that are drawn together
    pub rows: usize,
}

/// The slope dx/dσ at (x, σ).
pub type Slope<'a> = dyn for<'t> Fn(Var<'t>, Var<'t>) -> Var<'t> + 'a;
/// What is put out of the finished rows.
pub type Finish<'a> = dyn for<'t> Fn(&'t Tracer, Var<'t>) + 'a;

impl Sampler {
    /// The levels of all steps.
    pub fn levels(&self) -> Vec<Level> {
        let n = self.steps;
        let (lo, hi) = (SIGMAS.0.powf(1.0 / RHO), SIGMAS.1.powf(1.0 / RHO));
        let sigma = |i: usize| match i {
            _ if i == n => 0.0,
            0 => SIGMAS.1,
            _ => (hi + i as f64 / (n - 1) as f64 * (lo - hi)).powf(RHO),
        };
        let level = |i: usize| {
            let churned = (CHURNED.0..=CHURNED.1).contains(&sigma(i));
            let gamma = if churned { (self.churn / n as f64).min(2f64.sqrt() - 1.0) } else { 0.0 };
            let above = sigma(i) * (1.0 + gamma);
            let added = (above.powi(2) - sigma(i).powi(2)).sqrt() * CHURN_NOISE;
            Level { sigma: above, next: sigma(i + 1), added }
        };
        (0..n).map(level).collect()
    }

    /// The programs that draw `rows` rows of `size` numbers, the first `known` of which are given.
    pub fn trace(
        &self,
        table: &Arc<ParamTable>,
        (rows, size, known): (usize, usize, usize),
        slope: &Slope<'_>,
        finish: &Finish<'_>,
    ) -> Drawing {
        let all = Shape::new(1, rows, size);
        let begin = Tracer::new(table.clone());
        begin.output(X, begin.noise("first noise", NoiseKind::Normal, all) * SIGMAS.1);
        let step = |last: bool| {
            let t = Tracer::new(table.clone());
            let given = (known > 0).then(|| t.input(KNOWN, rows, known));
            {
                let (mut x, sigma) = (t.input(X, rows, size), t.input(SIGMA, 1, 1));
                if self.churn > 0.0 {
                    x = x + t.input(ADDED, 1, 1) * t.noise("churn", NoiseKind::Normal, all);
                }
                let x = fix(x, given, Some(sigma));
                let d = slope(x, sigma);
                if last {
                    finish(&t, fix(x - sigma * d, given, None));
                } else {
                    let next = t.input(NEXT, 1, 1);
                    let mut to = x + (next - sigma) * d;
                    if self.method == Method::Heun {
                        let there = fix(to, given, Some(next));
                        to = x + (next - sigma) * 0.5 * (d + slope(there, next));
                    }
                    t.output(X, to);
                }
            }
            t.finish()
        };
        Drawing { begin: begin.finish(), step: step(false), last: step(true), levels: self.levels(), rows }
    }
}

/// x with its first columns replaced by given ones, plus noise of this level.
fn fix<'t>(x: Var<'t>, given: Option<Var<'t>>, sigma: Option<Var<'t>>) -> Var<'t> {
    let Some(given) = given else { return x };
    let known = given.shape().cols;
    let given = match sigma {
        Some(sigma) => given + sigma * x.noise("noise of given columns", NoiseKind::Normal, given.shape()),
        None => given,
    };
    match x.shape().cols - known {
        0 => given,
        rest => given.concat(x.slice(known, rest)),
    }
}
