//! Generators: what makes up transitions online beside recorded and collected ones, under any base and any adaptation.
//!
//! From time to time a generator is *refreshed*: its rounds, in the order of its [`Stage`]s, learn from the rows of the replay
//! and then fill pools of their own. Batches take a share of their rows from these pools, the rest by the rule of the method
//! under it, which knows nothing of them. Every fine-tuning names its own, whose networks begin untrained. To add one: a file here and a line in [`super::GENERATORS`].

use std::fmt::Debug;
use std::sync::Arc;

use crate::algo::{Adaptation, Learner};
use crate::autodiff::{GroupId, Metric, ParamTable, Trace, Tracer, Var};
use crate::nn::diffusion::{Drawing, Sampler, Slope};
use crate::replay::{self, Recipe, Source};

/// What makes up transitions.
pub trait Generator: Debug + Send + Sync {
    /// Environment steps between refreshes.
    fn every(&self) -> u64;

    /// Whether there is a refresh before the first step that learns, too.
    fn at_start(&self) -> bool {
        false
    }

    /// Groups that begin anew in every refresh.
    fn anew(&self) -> Vec<GroupId> {
        Vec::new()
    }

    /// A refresh, stage by stage.
    fn stages(&self, under: &Under<'_>) -> Vec<Stage>;

    /// Its pools, and the rows that a refresh puts into each.
    fn pools(&self) -> Vec<(&'static str, usize)>;

    /// Generated rows of a batch of so many, from each source.
    fn parts(&self, batch: usize) -> Vec<(Source, usize)>;

    /// The rule for so many rows of a batch that are not generated, if not that of the method.
    fn rest(&self, _rows: usize) -> Option<Recipe> {
        None
    }

    /// What its rows are like.
    fn rows(&self) -> Rows;
}

/// What a generator works under.
#[derive(Clone, Copy)]
pub struct Under<'a> {
    /// all parameters
    pub table: &'a Arc<ParamTable>,
    /// the base
    pub learner: &'a dyn Learner,
    /// what modifies it
    pub adaptation: &'a dyn Adaptation,
}

/// Successive rounds of a refresh.
pub struct Stage {
    /// as people call it
    pub name: &'static str,
    /// how many
    pub rounds: u64,
    /// what each does
    pub task: Task,
}

/// Rows that are drawn together.
const BLOCK: usize = 500;

impl Stage {
    /// Draws so many rows into a pool, block by block; the last block may be more than are left.
    pub fn draw(
        under: &Under<'_>,
        (pool, count): (&'static str, usize),
        rows: Rows,
        sampler: &Sampler,
        slope: &Slope<'_>,
    ) -> Stage {
        let block = count.min(BLOCK);
        let drawing = sampler.trace(under.table, (block, rows.size(), 0), slope, &|t, x| rows.decode(t, x));
        let task = Task::Draw { pool, drawing: Box::new(drawing) };
        Stage { name: pool, rounds: count.div_ceil(block) as u64, task }
    }

    /// What is learnt in it, if anything is.
    pub fn learns(&self) -> Option<&Trace> {
        match &self.task {
            Task::Learn { trace, .. } | Task::Contrast { trace, .. } => Some(trace),
            Task::Draw { .. } => None,
        }
    }
}

/// What a round of a refresh does.
pub enum Task {
    /// A round of learning on rows of these sources.
    Learn {
        /// traces it; the step of an average is in the actor's role
        trace: Box<Trace>,
        /// rows of its batch from each source
        rows: Vec<(Source, usize)>,
    },
    /// A round of learning on rows of these sources beside rows that are drawn for it.
    Contrast {
        /// traces it; reads the drawn rows as [`replay::NEGATIVES`]
        trace: Box<Trace>,
        /// rows of its batch from each source
        rows: Vec<(Source, usize)>,
        /// puts out what the draws are given of the batch, [`KNOWN`](crate::nn::diffusion::KNOWN), if anything
        given: Box<Trace>,
        /// puts out [`X`](crate::nn::diffusion::X)
        drawing: Box<Drawing>,
    },
    /// Draws rows and puts them into a pool.
    Draw {
        /// which one
        pool: &'static str,
        /// the programs
        drawing: Box<Drawing>,
    },
}

/// The fit of a generator, logged with the metrics of rounds.
pub static GENERATOR_LOSS: Metric =
    Metric::new("generator_loss", "L of the denoiser", "", "Fit of the generator");

/// What a generated row is: `[s, a, r, s']`, every number of mean 0 and standard deviation 1 over the replay; with
/// `terminals` 1 - m behind them, as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// S
    pub s: usize,
    /// A
    pub a: usize,
    /// whether ends are drawn; otherwise no generated row ends its episode
    pub terminals: bool,
}

impl Rows {
    /// The columns of the replay that are normalised, in order.
    pub const NORMALISED: [&'static str; 4] = [replay::S, replay::A, replay::R, replay::S2];

    /// Numbers that are normalised.
    pub fn normalised(self) -> usize {
        2 * self.s + self.a + 1
    }

    /// D, numbers of a row.
    pub fn size(self) -> usize {
        self.normalised() + usize::from(self.terminals)
    }

    fn scales(self, t: &Tracer) -> (Var<'_>, Var<'_>) {
        let n = self.normalised();
        (t.input(replay::ROW_MEAN, 1, n), t.input(replay::ROW_STD, 1, n))
    }

    /// Rows `[B, D]` of the batch.
    pub fn encode(self, t: &Tracer, batch: usize) -> Var<'_> {
        self.encode_with(t, batch, None)
    }

    /// The same with other actions `[B, A]`.
    pub fn encode_with<'t>(self, t: &'t Tracer, batch: usize, action: Option<Var<'t>>) -> Var<'t> {
        let (mean, std) = self.scales(t);
        let column = |name, cols| t.input(name, batch, cols);
        let raw = column(replay::S, self.s)
            .concat(action.unwrap_or_else(|| column(replay::A, self.a)))
            .concat(column(replay::R, 1))
            .concat(column(replay::S2, self.s));
        let x = (raw - mean) / std;
        if self.terminals { x.concat(1.0 - column(replay::M, 1)) } else { x }.named("x")
    }

    /// Puts out the columns of rows x `[B, D]`: actions clipped to [-1, 1], an end where more than half of one is drawn.
    pub fn decode<'t>(self, t: &'t Tracer, x: Var<'t>) {
        let (mean, std) = self.scales(t);
        let n = self.normalised();
        let raw = x.slice(0, n) * std + mean;
        let (s, a) = (self.s, self.a);
        t.output(replay::S, raw.slice(0, s));
        t.output(replay::A, raw.slice(s, a).clamp(-1.0, 1.0));
        t.output(replay::R, raw.slice(s + a, 1));
        t.output(replay::S2, raw.slice(s + a + 1, s));
        let goes_on = match self.terminals {
            true => x.slice(n, 1).less(x.constant(0.5)),
            false => x.slice(0, 1) * 0.0 + 1.0,
        };
        t.output(replay::M, goes_on);
    }
}
