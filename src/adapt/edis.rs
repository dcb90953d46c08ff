//! EDIS, energy-guided diffusion sampling. Liu, Liu, Zhang, Li, Liu 2024, arXiv:2407.12448.
//!
//!   D(x; σ)          a denoiser ([`crate::nn::diffusion`]) of rows [s, a, r, s'], from scratch in every refresh, of all transitions
//!   E_s, E_a, E_d    energies of noised rows: of where the policy goes, of what it does there, of what comes of it
//!   L_E = -E[ log( e^(-E(x⁺)) / (e^(-E(x⁺)) + Σ_k e^(-E(x⁻_k))) ) ],  k <= K,  x⁺ and x⁻_k with noise of one level σ
//!     E_s   x⁺ a collected row;                            x⁻ draws of D
//!     E_a   x⁺ = (s, a), s collected, a ~ π(s);            x⁻ draws of D, s given
//!     E_d   x⁺ a collected row;                            x⁻ draws of D, s and a given
//!   a slope          (x - D(x; σ)) / σ + g,  g = c_s P_s ∇E_s + c_a P_a ∇E_a + c_d P_s' ∇E_d, P the columns of a block,
//!                    |g| <= 10 √(size of a row) in every row; with all c at 0 the sampler without energies
//!   a refresh        D; then each energy for some rounds; then M rows with these slopes, none of which ends its episode
//!   a batch          a share f of these rows, the rest collected ones; until the first refresh by the rule of the method
//!
//! Over IQL and Cal-QL in the paper, here over any method whose batches are drawn without priorities. Generated rows count as
//! collected ones. For Cal-QL the authors refresh before the first step too: `edis.at_start`.
//!
//! Order: as in [`super::cfdg`].
//!
//! Metrics: `generator_loss` = L of the denoiser's weights as they stand, on a batch of the same kind; from the first refresh on.
//!
//! Declared differences. From the paper's sizes: `cpu`, the default, has smaller ones; `--preset edis_paper` has the authors'.
//! From the released program: its mask for what is given lies over the rows of a batch and so keeps everything, and it mixes
//! rows when it reorders noise levels: here each draw keeps its own columns and its own level. Energies see rows as D does,
//! normalised and scaled by the level, and the level as D does; there rows as they are and the number of the step. They learn at
//! levels uniform in eq. 5's variable, each positive beside K negatives of its own; there E_s does at the first step alone, over
//! the whole batch. E_a reads s and a alone, since r and s' of a recorded row do not belong to an action that the policy draws.
//! Batches are mixed at every step, as its Cal-QL script has it.
//!
//! Cost: `cpu`: a refresh of 5,000 rounds and 10,000 rows on Hopper takes 2.5 and some 0.5 TFLOP, its energies 0.8 more.

use super::generator::{GENERATOR_LOSS, Generator, Rows, Stage, Task, Under};
use crate::algo::Dims;
use crate::autodiff::{Axis, GroupId, NoiseKind, Role, Shape, Trace, Tracer, Var};
use crate::config::limits::{MOST, RATE, WIDTHS};
use crate::config::{AdamConfig, ConfigError, NetSpec};
use crate::nn::diffusion::{self, Denoiser, Method, Sampler, slope};
use crate::nn::{Acting, Mlp, Params};
use crate::replay::{self, GENERATED, ONLINE_POOL, Recipe, Source};

crate::config! {
    EdisConfig "edis", "Energy-guided diffusion sampling" {
        run   every:          u64      = 10_000, 1..=MOST,        "environment steps between refreshes";
        run   at_start:       bool     = false,  ..,              "a refresh also before the first step that learns";
        run   updates:        u64      = 5_000,  1..=MOST,        "rounds of learning of the denoiser in a refresh";
        run   energy_updates: u64      = 20,     1..=MOST,        "rounds of learning of each energy in a refresh";
        run   rows:           usize    = 10_000, 10..=10_000_000, "M, rows that a refresh draws";
        run   share:          f64      = 0.5,    0.0..=0.95,      "f, share of generated rows in a batch";
        shape state:          f64      = 1.0,    0.0..=1e3,       "c_s, pull towards states that are visited";
        shape policy:         f64      = 0.2,    0.0..=1e3,       "c_a, pull towards the policy's actions";
        shape transition:     f64      = 0.2,    0.0..=1e3,       "c_d, pull towards next states that come about";
        shape negatives:      usize    = 10,     1..=100,         "K, draws beside each row that an energy learns from";
        shape energy_batch:   usize    = 64,     1..=10_000,      "rows of a round of learning of an energy";
        shape energy_hidden:  NetSpec  = [256, 256, 256], WIDTHS, "hidden layers of each energy";
        opt   energy:         AdamConfig = 1e-3, RATE,            "optimiser of each energy";
        shape batch:          usize    = 256,    2..=1_000_000,   "rows of a round of learning of the denoiser";
        shape hidden:         NetSpec  = [128, 256, 256, 256, 256, 256], WIDTHS, "the denoiser: width of the features of the noise level, then of the layers, residual where they are as wide";
        opt   denoiser:       AdamConfig = diffusion::optimiser(), RATE, "its optimiser; schedules run over a refresh";
        shape average:        f64      = 0.005,  0.0..=1.0,       "rate at which the average of the weights follows them, in every tenth round";
        shape sampler:        Method   = Method::Heun, ..,        "from one noise level to the next";
        shape steps:          usize    = 16,     2..=1000,        "noise levels of a draw";
        shape churn:          f64      = 0.0,    0.0..=1e3,       "S_churn, noise that is added between levels; 0: none";
    }
}

/// Bound of the guidance of a row, over the root of its size.
const LONGEST: f64 = 10.0;

/// An energy of the first columns of noised rows.
#[derive(Debug)]
pub struct Energy {
    net: Mlp,
    columns: usize,
}

impl Energy {
    /// An energy that reads so many columns, as a group of its own.
    pub fn declare(params: &mut Params, name: &str, columns: usize, spec: &NetSpec) -> Energy {
        let group = params.group(name, false);
        // L_E and the slopes are the same for E and E + a number.
        let spec = NetSpec { unbiased_last: true, ..spec.clone() };
        Energy { net: Mlp::declare(params, group, 1, (columns + 1, 1), &spec), columns }
    }

    /// Its group.
    pub fn group(&self) -> GroupId {
        self.net.group()
    }

    /// E(x) `[B, 1]` of rows x `[B, D]` with noise of level σ `[B or 1, 1]`.
    pub fn at<'t>(&self, x: Var<'t>, sigma: Var<'t>) -> Var<'t> {
        let column = Shape { cols: 1, ..x.shape() };
        let level = (sigma.log() * 0.25).expand(column);
        self.net.forward((x.slice(0, self.columns) * diffusion::scale_in(sigma)).concat(level))
    }

    /// L_E of rows `[B, D]` beside K others each, `[B·K, D]`, all without noise.
    pub fn loss<'t>(&self, positive: Var<'t>, negative: Var<'t>) -> Var<'t> {
        let (rows, k) = (positive.shape().rows, negative.shape().rows / positive.shape().rows);
        let column = Shape::new(1, rows, 1);
        let sigma = diffusion::level(positive.noise("noise level", NoiseKind::Uniform, column));
        let noised =
            |x: Var<'t>, sigma: Var<'t>| x + sigma * x.noise("noise of rows", NoiseKind::Normal, x.shape());
        let of = |x: Var<'t>, sigma: Var<'t>| self.at(noised(x, sigma), sigma);
        let (here, there) = (of(positive, sigma), of(negative, sigma.repeat(k)));
        let all = (-here).concat(-there.reshape(Shape::new(1, rows, k)));
        (all.log_sum_exp() + here).mean()
    }

    /// ∇E `[B, D]` in x.
    pub fn gradient<'t>(&self, x: Var<'t>, sigma: Var<'t>) -> Var<'t> {
        self.at(x, sigma).total().gradient(x)
    }
}

/// EDIS under any method.
#[derive(Debug)]
pub struct Edis {
    config: EdisConfig,
    rows: Rows,
    denoiser: Denoiser,
    /// of states, of the policy, of transitions
    energies: [Energy; 3],
}

impl Edis {
    /// Declares the denoiser and the energies. Errors: `hidden` without any width, or with simba.
    pub fn declare(config: &EdisConfig, dims: Dims, params: &mut Params) -> Result<Edis, ConfigError> {
        let c = config;
        let rows = Rows { s: dims.s, a: dims.a, terminals: false };
        let denoiser = Denoiser::declare(params, "denoiser", (rows.size(), 0), &c.hidden)?;
        let all = rows.size();
        let energies =
            [("energy_state", all), ("energy_policy", dims.s + dims.a), ("energy_transition", all)]
                .map(|(name, columns)| Energy::declare(params, name, columns, &c.energy_hidden));
        Ok(Edis { config: c.clone(), rows, denoiser, energies })
    }

    fn sampler(&self) -> Sampler {
        let c = &self.config;
        Sampler { steps: c.steps, method: c.sampler, churn: c.churn }
    }

    fn learn(&self, under: &Under<'_>) -> Trace {
        let (c, t) = (&self.config, Tracer::new(under.table.clone()));
        {
            let loss = self.denoiser.loss(self.rows.encode(&t, c.batch), None);
            t.metric(&GENERATOR_LOSS, loss);
            let mut optimiser = c.denoiser.adam();
            optimiser.lr = optimiser.lr.over(c.updates);
            self.denoiser.train(&t, &optimiser, c.average, loss);
        }
        t.finish()
    }

    /// The k-th energy's rounds: the columns that its negatives have given, the draws, the learning.
    fn contrast(&self, k: usize, under: &Under<'_>) -> Stage {
        const NAMES: [&str; 3] = ["energy_state", "energy_policy", "energy_transition"];
        let (c, rows) = (&self.config, self.rows);
        let known = [0, rows.s, rows.s + rows.a][k];
        let drawn = c.energy_batch * c.negatives;
        let t = Tracer::new(under.table.clone());
        if known > 0 {
            let given = rows.encode(&t, c.energy_batch).slice(0, known).repeat(c.negatives);
            t.output(diffusion::KNOWN, given);
        }
        let given = t.finish();
        let t = Tracer::new(under.table.clone());
        {
            let action = (k == 1).then(|| {
                let s = t.input(replay::S, c.energy_batch, rows.s);
                under.adaptation.act(under.learner, s, Acting::Sample).clamp(-1.0, 1.0)
            });
            let positive = rows.encode_with(&t, c.energy_batch, action);
            let negative = t.input(replay::NEGATIVES, drawn, rows.size());
            let loss = self.energies[k].loss(positive, negative);
            let mut optimiser = c.energy.adam();
            optimiser.lr = optimiser.lr.over(c.energy_updates);
            t.train(NAMES[k], Role::Critic, self.energies[k].group(), &optimiser, loss);
        }
        let sizes = (drawn, rows.size(), known);
        let drawing = self.sampler().trace(
            under.table,
            sizes,
            &|x, sigma| slope(x, sigma, self.denoiser.denoise(x, sigma, None)),
            &|t, x| t.output(diffusion::X, x),
        );
        let task = Task::Contrast {
            trace: Box::new(t.finish()),
            rows: vec![(Source::Pool(ONLINE_POOL), c.energy_batch)],
            given: Box::new(given),
            drawing: Box::new(drawing),
        };
        Stage { name: NAMES[k], rounds: c.energy_updates, task }
    }

    /// The slope with the energies, or without if none pulls.
    fn guided<'t>(&self, x: Var<'t>, sigma: Var<'t>) -> Var<'t> {
        let plain = slope(x, sigma, self.denoiser.denoise(x, sigma, None));
        let (c, Rows { s, a, .. }) = (&self.config, self.rows);
        let pulls = [c.state, c.policy, c.transition];
        if pulls == [0.0; 3] {
            return plain;
        }
        let nothing = |cols| x.constant(0.0).expand(Shape { cols, ..x.shape() });
        let block = |k: usize, start, cols| match pulls[k] {
            0.0 => nothing(cols),
            pull => self.energies[k].gradient(x, sigma).slice(start, cols) * pull,
        };
        let of_s = block(0, 0, s).concat(block(1, s, a));
        plain + bounded(of_s.concat(nothing(1)).concat(block(2, s + a + 1, s)))
    }
}

/// g `[B, D]`, rows longer than 10 √D cut to this.
pub fn bounded(g: Var<'_>) -> Var<'_> {
    let most = LONGEST * (g.shape().cols as f64).sqrt();
    let norm = (g.square().sum(Axis::Cols) + 1e-12).sqrt();
    g * (most / norm).clamp(0.0, 1.0)
}

impl Generator for Edis {
    fn every(&self) -> u64 {
        self.config.every
    }

    fn at_start(&self) -> bool {
        self.config.at_start
    }

    fn anew(&self) -> Vec<GroupId> {
        self.denoiser.groups().into_iter().chain(self.energies.iter().map(Energy::group)).collect()
    }

    fn stages(&self, under: &Under<'_>) -> Vec<Stage> {
        let c = &self.config;
        let rows = vec![(Source::All, c.batch)];
        let task = Task::Learn { trace: Box::new(self.learn(under)), rows };
        let mut stages = vec![Stage { name: "denoiser", rounds: c.updates, task }];
        stages.extend((0..3).map(|k| self.contrast(k, under)));
        let pool = (GENERATED[1], c.rows);
        stages.push(Stage::draw(under, pool, self.rows, &self.sampler(), &|x, sigma| self.guided(x, sigma)));
        stages
    }

    fn pools(&self) -> Vec<(&'static str, usize)> {
        vec![(GENERATED[1], self.config.rows)]
    }

    fn parts(&self, batch: usize) -> Vec<(Source, usize)> {
        vec![(Source::Pool(GENERATED[1]), (self.config.share * batch as f64).round() as usize)]
    }

    fn rest(&self, rows: usize) -> Option<Recipe> {
        Some(Recipe::Parts(vec![(Source::Pool(ONLINE_POOL), rows)]))
    }

    fn rows(&self) -> Rows {
        self.rows
    }
}
