//! A recipe: everything that a task's data sets are made from, in one TOML file.
//!
//! | table | what |
//! |---|---|
//! | (top) | environment, version in the names of files, lengths of rollouts (the first is the usual one) |
//! | `rule` | which checkpoints of the training are the expert and the medium policy |
//! | `d4rl.KIND` | D4RL's own figures, to be shown beside ours |
//! | `trained` | written by `baq suite adopt`: commit, instruction set, the two checkpoints and their policies' SHA-256 |
//! | `files.NAME` | written by it too: length, SHA-256 and figures of every data set |
//! | `config.*` | the training's configuration, as `baq train --config` takes it |

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{
    AuditConfig, Config, DataConfig, MujocoConfig, ObservationScaling, OnlineConfig, RewardScaling, RunConfig,
};
use crate::env;
use crate::train::TrainError;
use crate::train::collect::Collected;
use crate::train::plan::starts_online;
use crate::train::sections;

/// Longest rollout.
const MOST_ROWS: u64 = 100_000_000;

/// What a data set of a task holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// everything that the training collected up to the medium checkpoint
    MediumReplay,
    /// rollouts of the medium policy
    Medium,
    /// rollouts of both policies, half each
    MediumExpert,
    /// rollouts of the expert
    Expert,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::MediumReplay, Kind::Medium, Kind::MediumExpert, Kind::Expert];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::MediumReplay => "medium-replay",
            Kind::Medium => "medium",
            Kind::MediumExpert => "medium-expert",
            Kind::Expert => "expert",
        })
    }
}

/// A recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// id of the environment
    pub env: String,
    /// version of the data sets, in the names of their files
    pub version: u32,
    /// lengths of rollouts in rows; the first is meant where none is named
    pub rows: Vec<u64>,
    /// which checkpoints are taken
    pub rule: Rule,
    /// D4RL's own figures
    #[serde(default)]
    pub d4rl: BTreeMap<Kind, Figures>,
    /// what came of the training; absent before it
    pub trained: Option<Trained>,
    /// the data sets by their names
    #[serde(default)]
    pub files: BTreeMap<String, Recorded>,
    /// sections of the training's configuration
    pub config: toml::Table,
}

/// Which checkpoints are taken, by the mean return of the evaluation that was made there. Neither depends on the other, so
/// that the medium policy is known long before the expert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// the expert is the first checkpoint from the planned length of the training on with at least this mean
    pub expert_return: f64,
    /// the medium policy is the first checkpoint with at least this mean
    pub medium_return: f64,
    /// environment steps by which a training without an expert is made longer
    pub extend_by: u64,
    /// environment steps after which it is given up
    pub most_steps: u64,
}

/// Figures of a data set; returns are those of complete episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// transitions
    pub rows: u64,
    /// episodes, an unfinished last one included
    pub episodes: u64,
    /// mean undiscounted return
    pub return_mean: Option<f64>,
    /// largest return
    pub return_max: Option<f64>,
}

/// What came of the training so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trained {
    /// commit of the program that trained
    pub commit: String,
    /// its instruction set, for which the replay's bits hold
    pub isa: String,
    /// the medium policy
    pub medium: Picked,
    /// the expert; none before the training is long enough
    pub expert: Option<Picked>,
}

/// A checkpoint that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picked {
    /// environment steps at which it stands
    pub env_step: u64,
    /// mean return of its evaluation
    pub return_mean: f64,
    /// SHA-256 of its policy's file
    pub sha256: String,
}

/// A data set as it was built first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// length of the file
    pub bytes: u64,
    /// its SHA-256
    pub sha256: String,
    /// what is in it
    #[serde(flatten)]
    pub figures: Figures,
}

impl Trained {
    /// The policies that there are, with their roles.
    pub fn policies(&self) -> impl Iterator<Item = (Kind, &Picked)> {
        let expert = self.expert.as_ref().map(|expert| (Kind::Expert, expert));
        std::iter::once((Kind::Medium, &self.medium)).chain(expert)
    }
}

impl Figures {
    /// Those of collected transitions.
    pub fn of(c: &Collected) -> Figures {
        Figures {
            rows: c.steps,
            episodes: c.episodes,
            return_mean: c.returns.as_ref().map(|r| r.mean),
            return_max: c.returns.as_ref().map(|r| r.max),
        }
    }
}

impl Recipe {
    /// Reads and checks a recipe that `origin` names. Errors are one line with the place.
    pub fn parse(origin: &str, text: &str) -> Result<Recipe, TrainError> {
        let recipe: Recipe = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|at| text[..at.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map(|n| format!(", line {n}")).unwrap_or_default();
            TrainError::Input(format!("{origin}{line}: {}", e.message().replace('\n', " ")))
        })?;
        recipe.check(origin)?;
        Ok(recipe)
    }

    fn check(&self, origin: &str) -> Result<(), TrainError> {
        let refuse = |place: &str, expected: &str, got: String| {
            Err(TrainError::Input(format!("{origin}: {place}: expected {expected}, got {got}")))
        };
        env::spec(&self.env).map_err(|e| TrainError::Input(format!("{origin}: env: {e}")))?;
        let distinct = self.rows.iter().enumerate().all(|(i, n)| !self.rows[..i].contains(n));
        if self.rows.is_empty() || !distinct || self.rows.iter().any(|n| !(1..=MOST_ROWS).contains(n)) {
            return refuse("rows", "different lengths from 1 to 1e8", format!("{:?}", self.rows));
        }
        let rule = &self.rule;
        let finite = rule.expert_return.is_finite() && rule.medium_return.is_finite();
        if !finite || rule.medium_return > rule.expert_return {
            let got = format!("{} and {}", rule.medium_return, rule.expert_return);
            return refuse("rule", "a medium_return of at most the expert_return, both finite", got);
        }
        if rule.extend_by == 0 {
            return refuse("rule.extend_by", "a number above 0", "0".into());
        }
        let config = self.config(origin)?;
        let (run, data): (RunConfig, DataConfig) = (config.section(), config.section());
        let (online, audit): (OnlineConfig, AuditConfig) = (config.section(), config.section());
        if run.env != self.env || !run.dataset.is_empty() || !starts_online(&config) {
            let expected = format!("a run that learns in {} alone (run.begin = online)", self.env);
            return refuse(
                "config.run",
                &expected,
                format!("env = {:?}, dataset = {:?}", run.env, run.dataset),
            );
        }
        let raw = (ObservationScaling::None, RewardScaling::None);
        if (data.observation_scaling, data.reward_scaling) != raw {
            return refuse(
                "config.data",
                "transitions as they are, without scaling",
                "another scaling".into(),
            );
        }
        if audit.keep_every != online.eval_every || online.eval_episodes == 0 {
            let got = format!("{} beside online.eval_every = {}", audit.keep_every, online.eval_every);
            return refuse("config.audit.keep_every", "a kept checkpoint at every evaluation", got);
        }
        Ok(())
    }

    /// The configuration of the training. Errors: a section, option or value that there is not.
    pub fn config(&self, origin: &str) -> Result<Config, TrainError> {
        let text = toml::to_string(&self.config).expect("invariant: a table that was read can be written");
        sections::of_text(&format!("{origin}: config"), &text)
    }

    /// The simulator that the bits hold for; empty strings where the environment needs none. Errors: those of
    /// [`Recipe::config`].
    pub fn simulator(&self, origin: &str) -> Result<MujocoConfig, TrainError> {
        Ok(self.config(origin)?.section())
    }

    /// The file. Comments are not kept.
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("invariant: a recipe is a table");
        format!("# Recipe of the suite; `trained` and `files` are written by `baq suite adopt`.\n\n{text}")
    }
}
