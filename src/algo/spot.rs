//! SPOT, supported policy optimisation. Wu, Wu, Qiu, Wang, Long 2022, arXiv:2202.06239.
//!
//!   encoder      q(z given s, a) = N(μ, σ²),  z of 2A numbers, log σ in [-4, 15];  decoder  p(s, z) = tanh f(s, z)
//!   ℓ(s, a)      = mean_i ( p_i(s, z) - a_i )² + β mean_k KL_k,  z = μ + σ ε,
//!                  KL_k = -½ ( 1 + log σ_k² - μ_k² - σ_k² )                              eq. 9
//!   before       encoder and decoder learn E[ ℓ(s, a) ] in `vae_updates` rounds, then stay
//!   L_π(φ)       = -κ E[ Q_1(s, π(s)) ] + λ E[ ℓ(s, π(s)) ],  κ = 1 / E[ |Q_1(s, π(s))| ] (no gradient passes)      eq. 12
//!   online       λ (1 - t/T), but not below `cooling_floor` λ, in round t of T, counted from 1
//!
//! TD3 whose policy stays where a variational autoencoder finds the data: ℓ is a bound of -log of the behaviour's density.
//! All else as in TD3, whose options (`td3.*`) hold here too. Order: as TD3's.
//!
//! Metrics: those of [`super::td3`]; `q_weight` = κ; `support_weight` = λ; `support_distance` = E[ ℓ(s, π(s)) ];
//! `support_distance_data` = E[ ℓ(s, a) ] of the batch's own actions.
//!
//! Declared differences. From CORL's program in an update: none. The authors' policy has dropout on locomotion, ours none. An
//! adaptation may drop κ and λ online: plain TD3.
//!
//! Published λ (medium and medium-replay, medium-expert): halfcheetah .05, 1; hopper .1, .2; walker2d .2, .5. AntMaze: umaze
//! .25, medium .05, large .025, with `td3.actor = 1e-4`.
//!
//! Cost per update (batch 256, 2x256, autoencoder 2x750): 1.0 GFLOP, mean of two rounds; 1.8 of fitting the autoencoder.

use super::foreign::{Foreign, Ours, POSITIVE, Reading, SHARE, Wrong};
use super::td3::{Td3, Td3Config};
use super::td3_bc::q_weight;
use super::{CRITIC, Dims, FitTo, Learner, Pretraining, Round};
use crate::autodiff::{Axis, Metric, NoiseKind, Schedule, Var};
use crate::config::limits::{MOST, RATE, WIDTHS};
use crate::config::{AdamConfig, NetSpec};
use crate::nn::{Critics, Mlp, Params};

crate::config! {
    SpotConfig "spot", "TD3 inside the support of the data" {
        hyper support:       Schedule   = 0.1,        0.0..=1e6, "lambda, weight of the distance from the data";
        shape cooling_floor: f64        = 0.2,        0.0..=1.0, "share of lambda below which it does not fall during fine-tuning; 1: it stays";
        shape latent_weight: f64        = 0.5,        0.0..=1e6, "beta, weight of the latent variable's divergence in the distance";
        run   vae_updates:   u64        = 100_000,    1..=MOST,  "rounds that fit the autoencoder before training";
        shape vae_hidden:    NetSpec    = [750, 750], WIDTHS,    "hidden layers of encoder and decoder";
        opt   vae:           AdamConfig = 1e-3,       RATE,      "optimiser of the autoencoder";
    }
}

/// Outside its own section: fresh moments at the switch, the policy's full rate.
pub const DEFAULTS: &str = "[online]\nreset_optimisers = true\nactor_lr = \"constant(1)\"\n";

/// λ.
pub static WEIGHT: Metric =
    Metric::new("support_weight", "lambda", "", "Weight of the distance from the data");
/// Distance of the policy.
pub static DISTANCE: Metric =
    Metric::new("support_distance", "E[ l(s, pi(s)) ]", "", "Distance from the data");
/// Distance of the data.
pub static DISTANCE_DATA: Metric =
    Metric::new("support_distance_data", "E[ l(s, a) ]", "", "Distance from the data");

/// Bounds of log σ of the latent variable.
const LOG_STD: (f64, f64) = (-4.0, 15.0);
/// The stage that fits the autoencoder.
const FIT: &str = "autoencoder";

/// A conditional variational autoencoder of actions.
#[derive(Debug)]
pub struct Vae {
    encoder: Mlp,
    decoder: Mlp,
    latent: usize,
    weight: f64,
}

impl Vae {
    /// Declares encoder and decoder as two groups, for a latent variable of 2A numbers.
    pub fn declare(weight: f64, net: &NetSpec, dims: Dims, params: &mut Params) -> Vae {
        let latent = 2 * dims.a;
        let group = params.group("vae_encoder", false);
        let encoder = Mlp::declare(params, group, 1, (dims.s + dims.a, 2 * latent), net);
        let group = params.group("vae_decoder", false);
        let decoder = Mlp::declare(params, group, 1, (dims.s + latent, dims.a), net);
        Vae { encoder, decoder, latent, weight }
    }

    /// ℓ(s, a) `[B, 1]`, on one draw of z.
    pub fn distance<'t>(&self, s: Var<'t>, a: Var<'t>) -> Var<'t> {
        let out = self.encoder.forward(s.concat(a));
        let mean = out.slice(0, self.latent).named("mu_z");
        let log_std = out.slice(self.latent, self.latent).clamp(LOG_STD.0, LOG_STD.1);
        let noise = s.noise("latent", NoiseKind::Normal, mean.shape());
        let std = log_std.exp().named("sigma_z");
        let back = self.decoder.forward(s.concat(mean + std * noise)).tanh().named("p(s, z)");
        let error = (back - a).square().mean_over(Axis::Cols);
        let divergence = (log_std * 2.0 + 1.0 - mean.square() - std.square()) * -0.5;
        error + divergence.mean_over(Axis::Cols) * self.weight
    }

    /// One round of fitting it.
    fn fit(&self, b: &Round<'_>, optimiser: &AdamConfig) {
        let loss = self.distance(b.s, b.a).mean();
        b.train("encoder", CRITIC, self.encoder.group(), optimiser, loss);
        b.train("decoder", CRITIC, self.decoder.group(), optimiser, loss);
    }
}

/// TD3 with a model of the data and another policy loss.
#[derive(Debug)]
pub struct Spot {
    config: SpotConfig,
    base: Td3,
    vae: Vae,
}

impl Spot {
    /// Declares the networks of TD3 and the autoencoder.
    pub fn declare(config: &SpotConfig, base: &Td3Config, dims: Dims, params: &mut Params) -> Spot {
        let c = config;
        let td3 = Td3::declare(base, dims, params);
        Spot { config: c.clone(), base: td3, vae: Vae::declare(c.latent_weight, &c.vae_hidden, dims, params) }
    }

    /// λ of the round.
    fn weight<'t>(&self, b: &Round<'t>) -> Var<'t> {
        let c = &self.config;
        let weight = b.hyper("spot.support", &c.support);
        if !b.phase().online || c.cooling_floor == 1.0 {
            return weight;
        }
        // 1 - t/T with t counted from 1, where schedules count from 0.
        let (steps, one) = (b.phase().rounds, 1.0 / b.phase().rounds.max(1) as f64);
        let left = b.hyper("left", &Schedule::Linear { from: 1.0 - one, to: -one, steps });
        weight * left.clamp(c.cooling_floor, 1.0)
    }
}

impl Learner for Spot {
    fn trace<'t>(&self, b: &Round<'t>) {
        b.metric(&DISTANCE_DATA, self.vae.distance(b.s, b.a).mean());
        self.base.round(b, |a, q| {
            if b.unconstrained() {
                return -q.mean();
            }
            let kappa = q_weight(b, "q_weight", 1.0, q);
            let (weight, distance) = (self.weight(b).named("lambda"), self.vae.distance(b.s, a).mean());
            b.metric(&WEIGHT, weight);
            b.metric(&DISTANCE, distance);
            b.tied(weight * distance) - kappa * q.mean()
        });
    }

    as_base!();

    fn target<'t>(&self, b: &Round<'t>, critics: &Critics) -> Option<Var<'t>> {
        self.base.target(b, critics)
    }

    fn keeps_tie(&self) -> bool {
        true
    }

    fn pretrain(&self) -> Vec<Pretraining<'_>> {
        vec![Pretraining {
            name: FIT,
            group: self.vae.encoder.group(),
            to: FitTo::Data,
            updates: self.config.vae_updates,
            trace: Box::new(|b| self.vae.fit(b, &self.config.vae)),
            given: None,
        }]
    }
}

/// Their modules, our groups.
const NETWORKS: &[(&str, &str)] =
    &[("vae.encoder_shared", "vae_encoder"), ("vae", "vae_encoder"), ("vae.decoder", "vae_decoder")];

/// Traces of CORL's program: of fitting the autoencoder, and of fine-tuning.
pub const FOREIGN: &[Foreign] = &[
    Foreign {
        networks: NETWORKS,
        losses: &[("encoder", &["VAE/vae_loss"])],
        ..Foreign::new("spot-vae", |r, ours| {
            let spot = vae(r)?;
            ours.config.put(spot);
            ours.config.put(Td3Config { hidden: vec![1].into(), ..Td3Config::default() });
            ours.fits = Some(FIT);
            Ok(())
        })
    },
    Foreign { networks: NETWORKS, ..Foreign::new("spot", foreign) },
];

/// The options of the autoencoder.
fn vae(r: &mut dyn Reading) -> Result<SpotConfig, Wrong> {
    r.number("vae_log_std_min", (LOG_STD.0, LOG_STD.0))?;
    r.number("vae_log_std_max", (LOG_STD.1, LOG_STD.1))?;
    let latent = 2 * r.dims().a;
    r.check_size("latent_dim", latent, "twice the actions")?;
    Ok(SpotConfig {
        latent_weight: r.number_or("beta", (0.0, 1e9), 0.5)?,
        vae_hidden: r.hidden("vae_decoder"),
        vae: r.adam_or(&["vae_lr"], 1e-3)?,
        ..SpotConfig::default()
    })
}

fn foreign(r: &mut dyn Reading, ours: &mut Ours) -> Result<(), Wrong> {
    super::td3::foreign(r, ours)?;
    r.number("num_samples", (1.0, 1.0))?;
    let cools = r.flag_or("lambd_cool", false)?;
    ours.online = true;
    if cools {
        ours.rounds = r.whole_or("max_online_steps", u64::MAX, ours.rounds)?;
    }
    ours.config.put(SpotConfig {
        support: r.constant_or("lambd", POSITIVE, 1.0)?,
        cooling_floor: if cools { r.number_or("lambd_end", SHARE, 0.2)? } else { 1.0 },
        ..vae(r)?
    });
    Ok(())
}
