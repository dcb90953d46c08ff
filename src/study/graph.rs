//! From a question to runs: the cells of a study, which of them share what, and in which order they can be made.
//!
//! data -> training (data, base, seed) and behaviour model (data, seed) -> fine-tuning (data, method, seed). What two
//! methods share is one cell. Seeds are paired: methods with the same seed begin with the same weights, see the same
//! exploration noise and are evaluated from the same states wherever they share them.
//!
//! A cell's directory is named by what it is and by a hash of its configuration and of what it starts from, so that other
//! settings are another directory and nothing is ever overwritten.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::spec::{Base, Begin, Interaction, Method, Spec, Training};
use crate::algo::Given;
use crate::config::{Config, RunConfig};
use crate::train::TrainError;
use crate::train::data::EMBEDDED;

/// What a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// training on data
    Offline,
    /// the behaviour model
    Model,
    /// fine-tuning
    Finetune,
    /// learning from scratch
    Scratch,
}

impl Kind {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Offline => "offline",
            Kind::Model => "model",
            Kind::Finetune => "fine-tuning",
            Kind::Scratch => "from scratch",
        }
    }

    /// The command that makes it.
    pub fn verb(self) -> &'static str {
        if self == Kind::Finetune { "finetune" } else { "train" }
    }
}

/// Options of the data in which a behaviour model must agree with what is fine-tuned beside it; those of rewards it does not read.
const READING: [&str; 6] = [
    "observation_scaling",
    "mode",
    "keep_timeout_transitions",
    "max_episode_steps",
    "clip_actions",
    "action_clip",
];

/// A run of a study.
#[derive(Clone, Debug)]
pub struct Cell {
    /// what it is
    pub kind: Kind,
    /// data set, as the study names it
    pub data: String,
    /// name of the training, or label of the method
    pub label: String,
    /// seed
    pub seed: u64,
    /// options of the command, without what it starts from and where it is put
    pub words: Vec<String>,
    /// the cell whose run it goes on from
    pub origin: Option<usize>,
    /// the cell of its behaviour model
    pub model: Option<usize>,
    /// what is run; decided before anything is
    pub config: Config,
    /// identifies the configuration, and those of the cells it starts from
    pub hash: String,
}

impl Cell {
    /// Its directory within the study's: `DATA/LABEL/sSEED-HASH`.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.place(), self.hash)
    }

    /// The directory but for the hash.
    pub fn place(&self) -> String {
        place(self.kind, &self.data, &self.label, self.seed)
    }

    /// In a sentence.
    pub fn name(&self) -> String {
        format!("{} on {}, seed {}", self.label, self.data, self.seed)
    }

    /// What must be there first.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        [self.origin, self.model].into_iter().flatten()
    }
}

/// How the folders of behaviour models begin.
const MODEL: &str = "model.";
/// File systems take 255 bytes, with what is put behind a name.
const LONGEST_FOLDER: usize = 200;

/// A training and a method may be called the same; they are at two places.
fn place(kind: Kind, data: &str, label: &str, seed: u64) -> String {
    format!("{}/{}/s{seed}", folder_name(data), folder(kind, label))
}

/// Of a training, a model or a method.
pub fn folder(kind: Kind, label: &str) -> String {
    let before = match kind {
        Kind::Offline => "train.",
        Kind::Model => MODEL,
        Kind::Finetune | Kind::Scratch => "",
    };
    format!("{before}{}", folder_name(label))
}

/// `IQL + BAQ` is `iql-baq`, `../x.hdf5` is `x`.
pub fn folder_name(label: &str) -> String {
    let stem = match label.ends_with(".hdf5") || label.ends_with('/') {
        true => Path::new(label).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
        false => label.to_string(),
    };
    let mut name = String::new();
    for c in stem.to_lowercase().chars() {
        match c.is_ascii_alphanumeric() || "_.".contains(c) {
            true => name.push(c),
            false if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            false => {}
        }
    }
    let name = name.trim_matches(['-', '.']).to_string();
    if name.is_empty() { "x".into() } else { name }
}

/// Where a data set is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// as `--data` takes it
    pub file: String,
    /// as runs note it; empty for what the program brings itself
    pub sha256: String,
}

impl Data {
    /// What the program brings itself.
    pub fn embedded() -> Data {
        Data { file: EMBEDDED.into(), sha256: String::new() }
    }
}

/// Makes configurations of the options of commands, as the commands do.
pub trait Resolve {
    /// That of `baq train` with these options. Errors: options that it refuses; nothing would be learnt.
    fn train(&self, words: &[String]) -> Result<Config, TrainError>;
    /// That of `baq finetune` with these options from a run of that configuration, and what model it can be given.
    /// Errors: the same; no environment.
    fn finetune(
        &self,
        trained: &Config,
        model: Option<&Config>,
        words: &[String],
    ) -> Result<(Config, Option<Given>), TrainError>;
}

/// All cells of a study, each after those that it needs.
#[derive(Clone, Debug)]
pub struct Graph {
    /// in an order in which they can be run one after the other
    pub cells: Vec<Cell>,
}

/// What is resolved once and shared by the seeds of a (data, method).
struct Expansion<'a, R> {
    spec: &'a Spec,
    data: &'a BTreeMap<String, Data>,
    resolve: &'a R,
    cells: Vec<Cell>,
    /// cells by place
    known: BTreeMap<String, usize>,
}

impl Graph {
    /// The cells of a study, and where each of its data sets is. A method that cannot be run is refused with its line.
    pub fn new<R: Resolve>(
        spec: &Spec,
        data: &BTreeMap<String, Data>,
        resolve: &R,
    ) -> Result<Graph, TrainError> {
        check_folders(spec)?;
        if let Some(name) = spec.data.iter().find(|name| !data.contains_key(*name)) {
            let at = spec.at(&format!("data {name}"));
            return Err(TrainError::Input(format!(
                "{at}: data {name}: nothing says where they are; baq study run finds them"
            )));
        }
        let mut all = Expansion { spec, data, resolve, cells: Vec::new(), known: BTreeMap::new() };
        for data in &spec.data {
            for seed in 0..spec.seeds {
                for method in spec.methods.iter().filter(|m| m.seeds.is_none_or(|n| seed < n)) {
                    all.method(data, seed, method).map_err(|e| {
                        let Spec { origin, .. } = spec;
                        let Method { label, line, .. } = method;
                        TrainError::Input(format!("{origin}, line {line}: method `{label}`: {e}"))
                    })?;
                }
            }
        }
        // One data set after the other, for an early first table; in each the trainings first, for which others wait.
        let rank = |cell: &Cell| spec.data.iter().position(|name| *name == cell.data);
        let mut order: Vec<usize> = (0..all.cells.len()).collect();
        order.sort_by_key(|i| (rank(&all.cells[*i]), all.cells[*i].kind >= Kind::Finetune, *i));
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, old)| place[*old] = new);
        let mut cells: Vec<Cell> = order.iter().map(|i| all.cells[*i].clone()).collect();
        for cell in &mut cells {
            cell.origin = cell.origin.map(|i| place[i]);
            cell.model = cell.model.map(|i| place[i]);
        }
        Ok(Graph { cells })
    }
}

/// An error if a name makes no folder, or two names the same one.
fn check_folders(spec: &Spec) -> Result<(), TrainError> {
    let refuse = |at: &str, what: String| Err(TrainError::Input(format!("{at}: {what}")));
    let named = |kind, name: &String| (spec.at(&format!("{kind} {name}")), format!("{kind} `{name}`"));
    let data = spec.data.iter().map(|name| (folder_name(name), named("data", name)));
    let trained = spec.offline.keys().map(|name| (folder(Kind::Offline, name), named("offline", name)));
    let compared = spec.methods.iter().map(|m| {
        let at = format!("{}, line {}", spec.origin, m.line);
        (folder(Kind::Finetune, &m.label), (at, format!("method `{}`", m.label)))
    });
    // Of the behaviour models it is known only later what they are.
    if let Some((_, (at, what))) = compared.clone().find(|(folder, _)| folder.starts_with(MODEL)) {
        let what = format!("{what}: folders that begin with {MODEL} are those of behaviour models");
        return refuse(&at, what + "; name it otherwise");
    }
    let beside: [Vec<_>; 2] = [data.collect(), trained.chain(compared).collect()];
    for names in beside {
        for (i, (folder, (at, what))) in names.iter().enumerate() {
            if folder.len() > LONGEST_FOLDER {
                let got = folder.len();
                return refuse(
                    at,
                    format!(
                        "{what}: expected a name for a folder of at most {LONGEST_FOLDER} letters, got {got}"
                    ),
                );
            }
            if let Some((_, (_, other))) = names[..i].iter().find(|(before, _)| before == folder) {
                return refuse(
                    at,
                    format!("{what} and {other} would share the folder {folder}; name one otherwise"),
                );
            }
        }
    }
    Ok(())
}

impl<R: Resolve> Expansion<'_, R> {
    fn method(&mut self, data: &str, seed: u64, method: &Method) -> Result<(), TrainError> {
        let online = interaction(&self.spec.online);
        match &method.begin {
            Begin::From { offline, adapt } => {
                let base = &self.spec.offline[offline];
                let origin = self.trained(Kind::Offline, data, seed, offline, base)?;
                let mut words = vec!["--adapt".to_string(), adapt.clone()];
                words.extend(online);
                words.extend(sets(&method.set));
                let (mut config, given) = self.resolve.finetune(&self.cells[origin].config, None, &words)?;
                let model = given.map(|given| self.model(data, seed, given.algo, origin)).transpose()?;
                if let Some(model) = model {
                    let [trained, fitted] = [origin, model].map(|i| &self.cells[i].config);
                    config = self.resolve.finetune(trained, Some(fitted), &words)?.0;
                }
                self.add(Kind::Finetune, (data, &method.label, seed), words, config, [Some(origin), model])?;
            }
            Begin::Scratch { algo, preset } => {
                let mut words = self.words(data, seed, algo, preset.as_deref());
                words.extend(online);
                words.extend(sets(&["run.begin=online".to_string()]));
                words.extend(sets(&method.set));
                let config = self.resolve.train(&words)?;
                self.add(Kind::Scratch, (data, &method.label, seed), words, config, [None, None])?;
            }
        }
        Ok(())
    }

    /// The cell of the behaviour model for what `origin` has trained, made if it is not there: one for all that read the data
    /// alike.
    fn model(&mut self, data: &str, seed: u64, algo: &str, origin: usize) -> Result<usize, TrainError> {
        let mut base = Base { algo: algo.into(), preset: None, training: self.spec.model.clone() };
        let mut label = algo.to_string();
        let plain = self.resolve.train(&self.training(data, seed, &base))?;
        for key in READING {
            let [own, asked] = [&plain, &self.cells[origin].config].map(|config| config.text("data", key));
            if own == asked {
                continue;
            }
            let set = format!("data.{key}=");
            if self.spec.model.set.iter().any(|option| option.replace(' ', "").starts_with(&set)) {
                let what = "as the training has it that the model serves; leave it out";
                return Err(TrainError::Input(format!("model: {set}{own}: expected {asked}, {what}")));
            }
            label += &format!(" {key}={asked}");
            base.training.set.push(set + &asked);
        }
        self.trained(Kind::Model, data, seed, &label, &base)
    }

    /// The cell of a training, made if it is not there.
    fn trained(
        &mut self,
        kind: Kind,
        data: &str,
        seed: u64,
        label: &str,
        base: &Base,
    ) -> Result<usize, TrainError> {
        if let Some(i) = self.known.get(&place(kind, data, label, seed)) {
            return Ok(*i);
        }
        let words = self.training(data, seed, base);
        let config = self.resolve.train(&words)?;
        self.add(kind, (data, label, seed), words, config, [None, None])
    }

    /// What the command of a training is given.
    fn training(&self, data: &str, seed: u64, base: &Base) -> Vec<String> {
        let mut words = self.words(data, seed, &base.algo, base.preset.as_deref());
        let Training { updates, set } = &base.training;
        words.extend(updates.iter().flat_map(|n| ["--updates".to_string(), n.to_string()]));
        words.extend(sets(set));
        words
    }

    fn words(&self, data: &str, seed: u64, algo: &str, preset: Option<&str>) -> Vec<String> {
        let mut words = vec!["--algo".to_string(), algo.to_string()];
        words.extend(preset.iter().flat_map(|p| ["--preset".to_string(), p.to_string()]));
        let Data { file, sha256 } = &self.data[data];
        words.extend(["--data".to_string(), file.clone()]);
        if !sha256.is_empty() {
            words.extend(sets(&[format!("run.dataset_sha256={sha256}")]));
        }
        words.extend(["--seed".to_string(), seed.to_string()]);
        words
    }

    fn add(
        &mut self,
        kind: Kind,
        (data, label, seed): (&str, &str, u64),
        words: Vec<String>,
        config: Config,
        [origin, model]: [Option<usize>; 2],
    ) -> Result<usize, TrainError> {
        let (run, Data { file, sha256 }): (RunConfig, &Data) = (config.section(), &self.data[data]);
        if run.seed != seed || run.dataset != *file || run.dataset_sha256 != *sha256 {
            let what = "set: expected neither run.seed nor run.dataset, which the study says for all its runs; leave it out";
            return Err(TrainError::Input(what.into()));
        }
        // The same data may be elsewhere tomorrow; what they are is checked when they are read.
        let mut parts = vec![data.to_string(), config.hash(&["run.dataset", "run.dataset_sha256"])];
        parts.extend([origin, model].into_iter().flatten().map(|i| self.cells[i].hash.clone()));
        let hash = crate::files::sha256(parts.join(" ").as_bytes())[..8].to_string();
        let (data, label) = (data.to_string(), label.to_string());
        self.known.insert(place(kind, &data, &label, seed), self.cells.len());
        self.cells.push(Cell { kind, data, label, seed, words, origin, model, config, hash });
        Ok(self.cells.len() - 1)
    }
}

fn sets(set: &[String]) -> impl Iterator<Item = String> {
    set.iter().map(|s| format!("--set={s}"))
}

fn interaction(online: &Interaction) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(steps) = online.env_steps {
        words.extend(["--env-steps".to_string(), steps.to_string()]);
    }
    let counts = [("eval_every", online.eval_every), ("eval_episodes", online.eval_episodes)];
    for (key, n) in counts.into_iter().filter_map(|(key, n)| Some((key, n?))) {
        words.extend(["--set".to_string(), format!("online.{key}={n}")]);
    }
    words.extend(sets(&online.set));
    words
}
