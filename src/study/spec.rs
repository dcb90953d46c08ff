//! A study: what is compared, on which data, for how long. Its file is read by [`file`](super::file).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::adapt::PLAIN;

/// A study as its file has it, with one of its scales applied.
#[derive(Clone, Debug)]
pub struct Spec {
    /// what errors call its file
    pub origin: String,
    /// identifies it, and its directory
    pub name: String,
    /// the question in a sentence
    pub about: String,
    /// of the scales, if any
    pub scale: Option<String>,
    /// seeds are 0, 1, ... below it
    pub seeds: u64,
    /// data sets in the order of tables
    pub data: Vec<String>,
    /// lines in the file, from 1, of `data NAME`, `offline NAME` and `model`
    pub lines: BTreeMap<String, usize>,
    /// what is trained on data, by name
    pub offline: BTreeMap<String, Base>,
    /// the behaviour model
    pub model: Training,
    /// in the order of tables
    pub methods: Vec<Method>,
    /// of every method
    pub online: Interaction,
}

/// What is trained on data.
#[derive(Clone, Debug)]
pub struct Base {
    /// base algorithm
    pub algo: String,
    /// its preset, if not the usual
    pub preset: Option<String>,
    /// how long, and other settings
    pub training: Training,
}

/// Length and settings of a training on data.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// gradient updates
    pub updates: Option<u64>,
    /// `SECTION.KEY=VALUE`
    #[serde(default)]
    pub set: Vec<String>,
}

impl Training {
    /// Whether it says anything.
    pub fn is_stated(&self) -> bool {
        self.updates.is_some() || !self.set.is_empty()
    }

    /// This one with what a reduction states.
    pub(super) fn over(&self, reduction: &Training) -> Training {
        let set = self.set.iter().chain(&reduction.set).cloned().collect();
        Training { updates: reduction.updates.or(self.updates), set }
    }
}

/// The phase in an environment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interaction {
    /// environment steps
    pub env_steps: Option<u64>,
    /// environment steps between evaluations
    pub eval_every: Option<u64>,
    /// episodes of an evaluation
    pub eval_episodes: Option<u64>,
    /// `SECTION.KEY=VALUE`
    #[serde(default)]
    pub set: Vec<String>,
}

/// One of those that are compared.
#[derive(Clone, Debug)]
pub struct Method {
    /// as tables name it
    pub label: String,
    /// how it begins
    pub begin: Begin,
    /// `SECTION.KEY=VALUE`
    pub set: Vec<String>,
    /// at most so many
    pub seeds: Option<u64>,
    /// label of the method it is compared with, if that is not the plain one over the same training
    pub against: Option<String>,
    /// line in the file, from 1
    pub line: usize,
}

/// How a method begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// From what was trained on data.
    From {
        /// name of the training
        offline: String,
        /// adaptation
        adapt: String,
    },
    /// In the environment, the data beside what it collects.
    Scratch {
        /// base algorithm
        algo: String,
        /// its preset, if not the usual
        preset: Option<String>,
    },
}

impl Spec {
    /// How an error begins that is about `data NAME`, `offline NAME` or `model`: with the file, and the line if it is known.
    pub fn at(&self, what: &str) -> String {
        let line = self.lines.get(what).map(|line| format!(", line {line}")).unwrap_or_default();
        format!("{}{line}", self.origin)
    }

    /// The study as its directory names it.
    pub fn title(&self) -> String {
        match &self.scale {
            Some(scale) => format!("{}-{scale}", self.name),
            None => self.name.clone(),
        }
    }

    /// What a method is compared with: what it names, or the first one that is plain over the same training.
    pub fn base_of(&self, method: &Method) -> Option<&Method> {
        if let Some(label) = &method.against {
            return self.methods.iter().find(|m| m.label == *label);
        }
        let Begin::From { offline, .. } = &method.begin else { return None };
        let plain = Begin::From { offline: offline.clone(), adapt: PLAIN.into() };
        self.methods.iter().find(|m| m.begin == plain).filter(|m| m.label != method.label)
    }
}
