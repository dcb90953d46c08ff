//! CFDG, classifier-free diffusion generation: rows like the data's and rows like collected ones from one model.
//!
//!   D(x; σ, c)        a denoiser ([`crate::nn::diffusion`]) with the label c of a row: offline, online, or none
//!   learning          L on rows half of the data, half collected; c is none with probability p_u
//!   drawing           D~ = (1 + w) D(x; σ, c) - w D(x; σ, none); with w = 0 one evaluation instead of two
//!   every T_d steps   the model learns on, then M rows are drawn anew, offline : online = 2 : 8
//!   a batch           1 - r by the rule of the method under it, r generated ones, offline : online = 2 : 8
//!
//! Over IQL, PEX and APL in the paper, here over any method. Generated rows of either kind count as rows of that kind wherever
//! a method tells them apart. The losses are those of the method.
//!
//! Order: an environment step; where a refresh is due, the model's rounds and then the draws; then the rounds of the step.
//! A refresh precedes the first step after a multiple of T_d that learns; until the first one batches are the method's own.
//!
//! Metrics: `generator_loss` = L of the weights as they stand, on a batch of the same kind; from the first refresh on.
//!
//! Declared differences. There is no public program. The text fixes: one model with two classes, labels without a classifier,
//! that generated rows lean to the online class by 8:2, r = 1/3, that the real part of a batch keeps the method's own rule.
//! Ours are: w, p_u, T_d and M, of which nothing is said; every size; that both classes have equal shares while the model
//! learns, or the online one would starve; that the model goes on from refresh to refresh with a rate that begins anew; that
//! ends of episodes are drawn (`terminals`), since rows that never end would be worth too much. Rewards and states are
//! generated as the replay has them, scaled; actions are clipped to [-1, 1]; a return to go of a generated row is unknown.
//!
//! Cost: `cpu`, the default: a refresh of 5,000 rounds and 10,000 rows on Hopper takes 2.5 and 0.4 TFLOP; `--preset cfdg_paper` has
//! the sizes of the diffusion models that the paper builds on: some 330 and 750.

use super::generator::{GENERATOR_LOSS, Generator, Rows, Stage, Task, Under};
use crate::algo::Dims;
use crate::autodiff::{NoiseKind, Shape, Trace, Tracer};
use crate::config::limits::{MOST, RATE, WIDTHS};
use crate::config::{AdamConfig, ConfigError, NetSpec};
use crate::nn::Params;
use crate::nn::diffusion::{self, Denoiser, Method, Sampler, slope};
use crate::replay::{self, GENERATED, OFFLINE, ONLINE_POOL, Source};

crate::config! {
    CfdgConfig "cfdg", "Classifier-free diffusion generation" {
        run   every:       u64        = 10_000, 1..=MOST,        "T_d, environment steps between refreshes";
        run   updates:     u64        = 5_000,  1..=MOST,        "rounds of learning of a refresh";
        run   rows:        usize      = 10_000, 10..=10_000_000, "M, rows that a refresh draws";
        run   share:       f64        = 1.0 / 3.0, 0.0..0.95,    "r, share of generated rows in a batch";
        run   online_share: f64       = 0.8,    0.0..=1.0,       "share of rows of the online class among the generated ones";
        shape guidance:    f64        = 1.0,    0.0..=100.0,     "w; 0: the plain conditional model";
        shape unlabelled:  f64        = 0.1,    0.0..=1.0,       "p_u, probability that a row has no label while the model learns";
        shape terminals:   bool       = true,   ..,              "ends of episodes are drawn; false: no generated row ends one";
        shape batch:       usize      = 256,    2..=1_000_000,   "rows of a round of learning";
        shape hidden:      NetSpec    = [128, 256, 256, 256, 256, 256], WIDTHS, "the denoiser: width of the features of the noise level, then of the layers, residual where they are as wide";
        opt   denoiser:    AdamConfig = diffusion::optimiser(), RATE, "its optimiser; schedules run over a refresh";
        shape average:     f64        = 0.005,  0.0..=1.0,       "rate at which the average of the weights follows them, in every tenth round";
        shape sampler:     Method     = Method::Heun, ..,        "from one noise level to the next";
        shape steps:       usize      = 16,     2..=1000,        "noise levels of a draw";
        shape churn:       f64        = 0.0,    0.0..=1e3,       "S_churn, noise that is added between levels; 0: none";
    }
}

/// Labels: of the data, of collected rows, none.
const LABELS: usize = 3;

/// CFDG under any method.
#[derive(Debug)]
pub struct Cfdg {
    config: CfdgConfig,
    rows: Rows,
    denoiser: Denoiser,
}

impl Cfdg {
    /// Declares the denoiser. Errors: `hidden` without any width, or with simba; labels that it does not learn.
    pub fn declare(config: &CfdgConfig, dims: Dims, params: &mut Params) -> Result<Cfdg, ConfigError> {
        let c = config;
        if c.unlabelled == 1.0 || c.unlabelled == 0.0 && c.guidance > 0.0 {
            return Err(ConfigError::Other(format!(
                "cfdg.unlabelled: expected a number below 1, and above 0 unless cfdg.guidance = 0, got {}: draws with a label and without one would come from one that is not learnt",
                c.unlabelled
            )));
        }
        let rows = Rows { s: dims.s, a: dims.a, terminals: c.terminals };
        let denoiser = Denoiser::declare(params, "denoiser", (rows.size(), LABELS), &c.hidden)?;
        Ok(Cfdg { config: c.clone(), rows, denoiser })
    }

    /// Of so many generated rows: (offline, online).
    fn split(&self, n: usize) -> [usize; 2] {
        let online = (self.config.online_share * n as f64).round() as usize;
        [n - online, online]
    }

    fn learn(&self, under: &Under<'_>) -> Trace {
        let (c, t) = (&self.config, Tracer::new(under.table.clone()));
        {
            let x = self.rows.encode(&t, c.batch);
            let online = t.input(replay::ONLINE, c.batch, 1);
            let unit = t.noise("whether to hide the label", NoiseKind::Uniform, Shape::new(1, c.batch, 1));
            let none = unit.less(t.constant(c.unlabelled)).named("none");
            let shown = 1.0 - none;
            let label = ((1.0 - online) * shown).concat(online * shown).concat(none).named("c");
            let loss = self.denoiser.loss(x, Some(label));
            t.metric(&GENERATOR_LOSS, loss);
            let mut optimiser = c.denoiser.adam();
            optimiser.lr = optimiser.lr.over(c.updates);
            self.denoiser.train(&t, &optimiser, c.average, loss);
        }
        t.finish()
    }
}

impl Generator for Cfdg {
    fn every(&self) -> u64 {
        self.config.every
    }

    fn stages(&self, under: &Under<'_>) -> Vec<Stage> {
        let c = &self.config;
        let halves =
            vec![(Source::Pool(OFFLINE), c.batch / 2), (Source::Pool(ONLINE_POOL), c.batch - c.batch / 2)];
        let task = Task::Learn { trace: Box::new(self.learn(under)), rows: halves };
        let mut stages = vec![Stage { name: "denoiser", rounds: c.updates, task }];
        let sampler = Sampler { steps: c.steps, method: c.sampler, churn: c.churn };
        for (class, pool) in self.pools().into_iter().enumerate().filter(|(_, (_, rows))| *rows > 0) {
            stages.push(Stage::draw(under, pool, self.rows, &sampler, &|x, sigma| {
                slope(x, sigma, self.denoiser.guided(x, sigma, class, c.guidance))
            }));
        }
        stages
    }

    fn pools(&self) -> Vec<(&'static str, usize)> {
        GENERATED.into_iter().zip(self.split(self.config.rows)).collect()
    }

    fn parts(&self, batch: usize) -> Vec<(Source, usize)> {
        let n = (self.config.share * batch as f64).round() as usize;
        GENERATED.into_iter().map(Source::Pool).zip(self.split(n)).collect()
    }

    fn rows(&self) -> Rows {
        self.rows
    }
}
