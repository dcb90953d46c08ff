//! FamO2O, a family of policies with a balance that depends on the state. Wang et al. 2023, arXiv:2310.17966, over IQL.
//!
//!   L_V, L_Q      as in IQL, L_Q summed over critics
//!   β ~ π_b(s),   β = lo + (hi - lo) (z + 1) / 2,  z = tanh(μ(s) + σ ε)
//!   enc(β)        = ( sin(β / n^(2i/6)), cos(β / n^(2i/6)) ), i = 0, 1, 2,  n = 10,000
//!   L_b           =  E[ α_b log π_b(z|s) - min_j Q̂_j(s, a~) ],  a~ ~ π(s, enc β), both reparameterised, π frozen
//!   L_αb          = -α_b E[ log π_b(z|s) + H_b ],  of the same draw
//!   L_π           = -E[ min(e^{β A}, bound) log π(a given s, enc β) ],  A = min_j Q̂_j(s,a) - V(s)
//!
//! In L_π the β of a row is uniform offline and a draw of π_b online, a constant for its gradient either way. It acts with the mode of π_b.
//! `compat_weight`: the weight of row j is mean_i min(e^{β_i A_j}, bound), over the β of all rows.
//!
//! Where an adaptation drops the tie to the data online, or lets it count in part, -E[ min_j Q_j(s, clip(a~, ±1)) ] takes the place
//! of L_π, a~ ~ π(s, enc β) reparameterised.
//!
//! Order: V, π_b, α_b, π, Q, Q̂. L_b and L_αb are formed before π_b moves, L_π on the new V and the old π_b, Q on the new V.
//!
//! Metrics: those of [`super::iql`]; `balance_mean`, `balance_std` = mean and spread of the β that acts over the batch;
//! `balance_loss` = L_b; `balance_temperature` = α_b.
//!
//! Declared differences. From the released program: the draws of β in L_b and L_π are independent; the weight of a row has the
//! row's own β, where a slip of broadcasting gives it that of all rows (`compat_weight`);
//! the rate of π stays, offline and online, where theirs falls along a cosine unless its configuration says otherwise, as that for
//! AntMaze does (`famo2o.actor = cosine(0.0003, 0, auto)`). No configuration for locomotion was released: there the code has τ = .8
//! and raw rewards, the paper τ = .7 and rewards scaled by the range of returns, which the preset `famo2o` takes. AntMaze: β in
//! [8, 14], τ = .9, rewards r - 1.
//!
//! Cost per update (batch 256, 2x256): 0.9 GFLOP.

use std::f64::consts::{LN_2, PI};

use super::foreign::{ANY, Foreign, Ours, POSITIVE, Reading, SHARE, Wrong};
use super::iql::{self, IqlConfig, Values};
use super::measure::{POLICY_LOSS, advantage_weight, policy_metrics};
use super::{ACTOR, Dims, Learner, Round};
use crate::autodiff::{GroupId, NoiseKind, ParamId, Schedule, Shape, Var};
use crate::config::limits::{RATE, WIDTHS};
use crate::config::{AdamConfig, AutoOr, ConfigError, InitScheme, Metric, NetSpec};
use crate::nn::init::Init;
use crate::nn::{Acting, Critics, Head, Mean, Mlp, Params, Policy};

crate::config! {
    Famo2oConfig "famo2o", "FamO2O over IQL" {
        hyper expectile:    Schedule   = 0.7,    0.0..=1.0,   "tau of the values; 0.5 is the mean, towards 1 the best supported action";
        hyper discount:     Schedule   = 0.99,   0.0..=1.0,   "gamma";
        hyper polyak:       Schedule   = 0.005,  0.0..=1.0,   "rho, target update rate";
        shape balance_min:  f64        = 1.0,    0.0..=1e6,   "lo, smallest beta";
        shape balance_max:  f64        = 5.0,    0.0..=1e6,   "hi, largest beta";
        shape balance_entropy: AutoOr<f64> = AutoOr::Auto, -1e6..=1e6, "H_b of the balance policy; auto: -0.5";
        shape weight_bound: f64        = 100.0,  1.0..=1e12,  "largest weight of a cloned action";
        shape compat_weight: bool      = false,  ..,          "weigh a cloned action by the mean over the coefficients of the batch, as the release does";
        shape log_std_min:  f64        = -5.0,   -20.0..2.0,  "lower bound of log sigma of the policy; the upper one is 2";
        shape hidden:       NetSpec    = [256, 256], WIDTHS,  "hidden layers of every network";
        shape critics:      usize      = 2,      1..=64,      "J, number of critics";
        opt   actor:        AdamConfig = 3e-4,   RATE,        "optimiser of the policy";
        opt   balance:      AdamConfig = 3e-4,   RATE,        "optimiser of the balance policy";
        opt   balance_temperature: AdamConfig = 3e-4, RATE,   "optimiser of its temperature";
        opt   value:        AdamConfig = 3e-4,   RATE,        "optimiser of V";
        opt   critic:       AdamConfig = 3e-4,   RATE,        "optimiser of Q";
    }
}

/// Outside its own section: the policies' full rate.
pub const DEFAULTS: &str = "[online]\nactor_lr = \"constant(1)\"\n";

/// Mean β.
pub static BALANCE_MEAN: Metric =
    Metric::new("balance_mean", "E[ beta of the mode of pi_b ]", "", "Balance of the family");
/// Spread of β over states.
pub static BALANCE_STD: Metric =
    Metric::new("balance_std", "its standard deviation over the batch", "", "Balance of the family");
/// Loss of the balance policy.
pub static BALANCE_LOSS: Metric = Metric::new("balance_loss", "L_b", "", "Loss of the balance policy");
/// Its temperature.
pub static BALANCE_TEMPERATURE: Metric =
    Metric::new("balance_temperature", "alpha_b", "", "Temperature of the balance policy");

/// Bounds of log σ of the balance policy.
const LOG_STD: (f64, f64) = (-10.0, 2.0);
/// n of the encoding.
const BASE: f64 = 10_000.0;
/// Numbers of an encoded β.
pub(super) const CODE: usize = 6;

/// π_b: a tanh-Gaussian of one dimension with a free spread.
#[derive(Debug)]
struct Balance {
    net: Mlp,
    log_std: ParamId,
    range: (f64, f64),
}

impl Balance {
    fn declare(params: &mut Params, s_dim: usize, range: (f64, f64), net: &NetSpec) -> Balance {
        let group = params.group("balance", false);
        let net = Mlp::declare(params, group, 1, (s_dim, 1), net);
        let log_std = params.tensor(group, "log_std", Shape::new(1, 1, 1), Init::Constant(0.0));
        Balance { net, log_std, range }
    }

    /// β `[B, 1]` of z in [-1, 1].
    fn beta<'t>(&self, z: Var<'t>) -> Var<'t> {
        between(z, self.range)
    }

    /// β of the mode.
    fn mode<'t>(&self, s: Var<'t>) -> Var<'t> {
        self.beta(self.net.forward(s).tanh())
    }

    /// A reparameterised β and the log π of its z, both `[B, 1]`.
    fn draw<'t>(&self, s: Var<'t>) -> (Var<'t>, Var<'t>) {
        let mean = self.net.forward(s);
        let log_std = s.param(self.log_std).clamp(LOG_STD.0, LOG_STD.1);
        let noise = s.noise("noise of the balance", NoiseKind::Normal, mean.shape());
        let u = mean + log_std.exp() * noise;
        let density = noise.square() * -0.5 - log_std - 0.5 * (2.0 * PI).ln();
        let squash = (LN_2 - u - (u * -2.0).softplus()) * 2.0;
        (self.beta(u.tanh()), density - squash)
    }
}

/// Networks of FamO2O.
#[derive(Debug)]
pub struct Famo2o {
    config: Famo2oConfig,
    values: Values,
    pi: Policy,
    balance: Balance,
    log_alpha: (GroupId, ParamId),
    target_entropy: f64,
}

impl Famo2o {
    /// Declares IQL's values, the policy of the family, the balance policy and its temperature.
    /// Errors: `balance_min` above `balance_max`.
    pub fn declare(config: &Famo2oConfig, dims: Dims, params: &mut Params) -> Result<Famo2o, ConfigError> {
        let c = config;
        let range = range("famo2o", (c.balance_min, c.balance_max))?;
        let net = c.hidden.begin(InitScheme::Orthogonal { last: 2f64.sqrt() });
        let values = Values::declare(&c.values(), dims, params);
        let head = Head::Gaussian { mean: Mean::Tanh, state_std: false, log_std: (c.log_std_min, 2.0) };
        let pi = Policy::declare(params, "pi", (dims.s + CODE, dims.a), head, &net);
        let balance = Balance::declare(params, dims.s, range, &net);
        let group = params.group("log_alpha_balance", false);
        let alpha = params.tensor(group, "value", Shape::SCALAR, Init::Constant(0.0));
        let target_entropy = c.balance_entropy.or_else(|| -0.5);
        Ok(Famo2o { config: config.clone(), values, pi, balance, log_alpha: (group, alpha), target_entropy })
    }

    /// L_b and L_αb, on one draw.
    fn balance_losses<'t>(&self, b: &Round<'t>) -> [Var<'t>; 2] {
        let alpha = b.s.param(self.log_alpha.1).exp().named("alpha_b");
        let (beta, log_pi) = self.balance.draw(b.s);
        let a = self.pi.sample([b.s, encode(beta)]);
        let loss = (alpha * log_pi - self.values.target_critics().min(b.s, a)).mean();
        b.metric(&BALANCE_LOSS, loss);
        b.metric(&BALANCE_TEMPERATURE, alpha);
        [loss, -(alpha * (log_pi + self.target_entropy)).mean()]
    }

    /// β of the rows that π clones, a constant.
    fn coefficient<'t>(&self, b: &Round<'t>) -> Var<'t> {
        if b.phase().online {
            return self.balance.draw(b.s).0.detach().named("beta");
        }
        let unit = b.noise("balance", NoiseKind::Uniform, Shape::new(1, b.dims().batch, 1));
        self.balance.beta(unit * 2.0 - 1.0)
    }

    /// The loss of π that clones the actions of the rows, each with its β.
    fn cloning_loss<'t>(&self, b: &Round<'t>, beta: Var<'t>) -> Var<'t> {
        let advantage = self.values.advantage(b, b.a);
        let of = match self.config.compat_weight {
            true => beta.reshape(Shape::new(1, 1, b.dims().batch)).named("beta_i"),
            false => beta,
        };
        let weight = advantage_weight(b, advantage, of * advantage, self.config.weight_bound);
        -(weight * self.pi.log_prob([b.s, encode(beta)], b.a)).mean()
    }

    /// -E[ min_j Q_j(s, a~) ]
    fn free_loss<'t>(&self, b: &Round<'t>, beta: Var<'t>) -> Var<'t> {
        let a = self.pi.sample([b.s, encode(beta)]).clamp(-1.0, 1.0).named("a~pi(s, beta)");
        -self.values.critics().min(b.s, a).mean()
    }

    fn train_pi<'t>(&self, b: &Round<'t>, beta: Var<'t>) {
        let loss = match (b.unconstrained(), b.tie()) {
            (true, _) => self.free_loss(b, beta),
            (false, Some(tie)) => tie * self.cloning_loss(b, beta) + (1.0 - tie) * self.free_loss(b, beta),
            (false, None) => self.cloning_loss(b, beta),
        };
        b.metric(&POLICY_LOSS, loss);
        b.train("policy", ACTOR, self.pi.group(), &self.config.actor, loss);
    }
}

/// (lo, hi) of the options of a section, unless they are the wrong way round.
pub(super) fn range(section: &str, (lo, hi): (f64, f64)) -> Result<(f64, f64), ConfigError> {
    if lo > hi {
        return Err(ConfigError::Other(format!(
            "{section}.balance_min: expected at most {section}.balance_max = {hi}, got {lo}; lower it or raise the other"
        )));
    }
    Ok((lo, hi))
}

/// β in [lo, hi] of z in [-1, 1].
pub(super) fn between(z: Var<'_>, (lo, hi): (f64, f64)) -> Var<'_> {
    (z * (0.5 * (hi - lo)) + 0.5 * (hi + lo)).named("beta")
}

/// Mean and spread of the β that acts.
pub(super) fn balance_metrics<'t>(b: &Round<'t>, acting: Var<'t>) {
    let mean = acting.mean();
    b.metric(&BALANCE_MEAN, mean);
    b.metric(&BALANCE_STD, (acting - mean).square().mean().sqrt());
}

/// enc(β) `[B, 6]`
pub(super) fn encode(beta: Var<'_>) -> Var<'_> {
    let waves = (0..CODE / 2).flat_map(|i| {
        let x = beta / BASE.powf(2.0 * i as f64 / CODE as f64);
        [x.sin(), x.cos()]
    });
    waves.reduce(Var::concat).expect("invariant: a code has numbers").named("enc(beta)")
}

impl Famo2oConfig {
    /// The values are IQL's.
    fn values(&self) -> IqlConfig {
        IqlConfig {
            expectile: self.expectile,
            discount: self.discount,
            polyak: self.polyak,
            order: iql::Order::Official,
            init: iql::InitRule::Orthogonal,
            hidden: self.hidden.clone(),
            critics: self.critics,
            value: self.value,
            critic: self.critic,
            ..IqlConfig::default()
        }
    }
}

impl Learner for Famo2o {
    fn trace<'t>(&self, b: &Round<'t>) {
        let (c, n) = (&self.config, &self.values);
        let acting = self.balance.mode(b.s);
        policy_metrics(b, b.greedy(), &self.pi, [b.s, encode(acting)]);
        balance_metrics(b, acting);
        n.train_v(b);
        let [balance, temperature] = self.balance_losses(b);
        let beta = self.coefficient(b);
        b.train("balance", ACTOR, self.balance.net.group(), &c.balance, balance);
        b.train("balance temperature", ACTOR, self.log_alpha.0, &c.balance_temperature, temperature);
        self.train_pi(b, beta);
        n.train_q(b, n.target(b));
    }

    fn policy(&self) -> &Policy {
        &self.pi
    }

    fn act<'t>(&self, s: Var<'t>, how: Acting) -> Var<'t> {
        self.pi.act([s, encode(self.balance.mode(s))], how)
    }

    fn critics(&self) -> Option<&Critics> {
        Some(self.values.critics())
    }
}

/// Traces of the authors' program, or of its evident intent.
pub const FOREIGN: &[Foreign] = &[Foreign {
    networks: &[("balance", "balance"), ("log_temp", "log_alpha_balance")],
    ..Foreign::new("famo2o-iql", foreign)
}];

/// The two readings of the weights of L_π.
const OF_THE_ROW: &str = "of the row";
const OF_THE_BATCH: &str = "mean over the coefficients of the batch, as released";

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    ours.online = r.word_or("phase", &["offline", "online"])? == "online";
    let weight = r.word_or("actor_weight", &[OF_THE_ROW, OF_THE_BATCH])?;
    r.number("embedding_base", (BASE, BASE))?;
    r.number("embedding_dim", (CODE as f64, CODE as f64))?;
    r.number("balance_log_std_min", (LOG_STD.0, LOG_STD.0))?;
    r.number("log_std_max", (LOG_STD.1, LOG_STD.1))?;
    let rate = r.adam_or(&["lr"], 3e-4)?;
    ours.config.put(Famo2oConfig {
        expectile: r.constant_or("iql_tau", SHARE, 0.7)?,
        discount: r.constant_or("discount", SHARE, 0.99)?,
        polyak: r.constant_or("tau", SHARE, 0.005)?,
        balance_min: r.number_or("beta_low", ANY, 1.0)?,
        balance_max: r.number_or("beta_high", ANY, 5.0)?,
        balance_entropy: AutoOr::Value(r.number_or("target_entropy", ANY, -0.5)?),
        weight_bound: r.number_or("exp_adv_max", POSITIVE, 100.0)?,
        compat_weight: weight == OF_THE_BATCH,
        log_std_min: r.number_or("actor_log_std_min", (-1e3, 2.0), -5.0)?,
        hidden: r.hidden("v"),
        critics: r.copies("q"),
        actor: rate,
        balance: rate,
        balance_temperature: rate,
        value: rate,
        critic: rate,
    });
    Ok(())
}
