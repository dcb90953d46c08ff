//! What policies do in the states of the data: the actions of the offline-trained policy and those of the behaviour model
//! beside the data's own (BAQ, arXiv 2511.03695, Fig. 1).

use super::directory::{State, Study};
use super::figures::{self, COLUMNS};
use super::graph::Cell;
use super::pictures;
use super::results::{Results, named, range};
use super::statistics as st;
use super::values::written;
use crate::checkpoint::atomic::write_after_others;
use crate::config::{Config, DataConfig, Exploration, ObservationScaling, OnlineConfig, RewardScaling};
use crate::report::{Bar, Bars, Panels, Scatter};
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::data::Dataset;
use crate::train::provenance;
use crate::train::rundir::{self, RunError};
use crate::train::state::Saved;
use indicatif::HumanCount;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// States that are compared in, evenly spaced over the data.
const MOST_ROWS: usize = 10_000;
/// Points of a kind in a scatter plot.
const MOST_POINTS: usize = 800;
/// Places in the palette.
const POLICY: usize = 1;
const MODEL: usize = 0;

/// Greedy actions in states of a data set, row by row: `[rows, dims]` each.
#[derive(Debug, Clone)]
pub struct Actions {
    /// The data set.
    pub data: String,
    /// The training that the policy is of.
    pub training: String,
    /// Its seed.
    pub seed: u64,
    /// Components of an action.
    pub dims: usize,
    /// Those of the data.
    pub taken: Vec<f32>,
    /// Those of the offline-trained policy.
    pub policy: Vec<f32>,
    /// Those of the behaviour model.
    pub model: Vec<f32>,
    /// What the model is called: it reads the data as the training does.
    pub model_name: String,
    /// Updates of the training.
    pub updates: u64,
    /// The commits of the programs that made both.
    pub commits: Vec<String>,
}

/// Compares every trained policy with the behaviour model of its data set and seed, as far as both are there; `notes` says
/// what is missing. `load` reads the data of a configuration, each data set once.
pub fn compare(
    study: &Study,
    load: impl Fn(&Config) -> Result<Dataset, TrainError>,
    notes: &mut Vec<String>,
) -> Vec<Actions> {
    let cells = &study.graph.cells;
    let pairs: BTreeSet<(usize, usize)> =
        cells.iter().filter_map(|cell| Some((cell.origin?, cell.model?))).collect();
    let mut compared = Vec::new();
    for data in &study.spec.data {
        let of_data = pairs.iter().map(|(policy, model)| (&cells[*policy], &cells[*model]));
        let of_data: Vec<(&Cell, &Cell)> = of_data.filter(|(policy, _)| policy.data == *data).collect();
        let done = |cell: &Cell| study.state(cell) == State::Done;
        let ready: Vec<_> = of_data.iter().filter(|(p, m)| done(p) && done(m)).collect();
        if ready.len() < of_data.len() {
            let (n, all) = (ready.len(), of_data.len());
            notes.push(format!(
                "actions on {data}: {n} of {all} policies are trained, with a behaviour model"
            ));
        }
        let Some((first, _)) = ready.first() else { continue };
        let loaded = load(&as_recorded(&first.config));
        let of = |dataset: Dataset| -> Result<Vec<Actions>, TrainError> {
            ready.iter().map(|(policy, model)| Actions::of(study, policy, model, &dataset)).collect()
        };
        match loaded.and_then(of) {
            Ok(found) => compared.extend(found),
            Err(e) => notes.push(format!("actions on {data}: {e}")),
        }
    }
    compared
}

/// The configuration with its data as the file has them.
fn as_recorded(config: &Config) -> Config {
    let (mut config, data) = (config.clone(), config.section::<DataConfig>());
    config.put(DataConfig {
        observation_scaling: ObservationScaling::None,
        reward_scaling: RewardScaling::None,
        action_clip: 0.0,
        ..data
    });
    config
}

/// Writes `actions.csv`, the errors on all data sets as the figure `actions`, and the actions of the first seed on each
/// data set as `actions-DATA+TRAINING`. Nothing of nothing. Gives the paths back.
pub fn write(dir: &Path, results: &Results, compared: &[Actions]) -> Result<Vec<PathBuf>, RunError> {
    if compared.is_empty() {
        return Ok(Vec::new());
    }
    let path = dir.join("actions.csv");
    write_after_others(&path, csv(compared).as_bytes()).map_err(RunError::io(&path, "write the numbers"))?;
    let mut paths = vec![path];
    paths.extend(pictures::write_figure(dir, "actions", &errors(results, compared))?);
    let mut drawn: Vec<(&str, &str)> = Vec::new();
    for actions in compared {
        let what = (actions.data.as_str(), actions.training.as_str());
        if !drawn.contains(&what) {
            drawn.push(what);
            let folder = super::graph::folder_name;
            // No folder's name has a plus.
            let name = format!("actions-{}+{}", folder(what.0), folder(what.1));
            paths.extend(pictures::write_figure(dir, &name, &actions.figure(results))?);
        }
    }
    Ok(paths)
}

/// Mean squared errors by data set, training, seed and component.
fn csv(compared: &[Actions]) -> String {
    let heads = ["data", "training", "seed", "component", "rows", "mse_policy", "mse_model"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    for actions in compared {
        for (dim, (policy, model)) in actions.mean_squared_errors().into_iter().enumerate() {
            let mut row = vec![actions.data.clone(), actions.training.clone()];
            row.extend([actions.seed, dim as u64 + 1, actions.rows() as u64].map(|n| n.to_string()));
            row.extend([policy, model].map(|error| error.to_string()));
            rows.push(row);
        }
    }
    written(rows)
}

/// What a figure says of the policies in it.
fn facts(results: &Results, compared: &[Actions]) -> String {
    let updates = format!("{} offline updates", range(compared.iter().map(|a| a.updates)));
    let commits = compared.iter().flat_map(|a| a.commits.clone()).collect();
    results.facts_of(&updates, compared.iter().map(|a| a.seed), &named(commits))
}

/// The errors of all, one panel per data set.
fn errors(results: &Results, compared: &[Actions]) -> Panels {
    let bar = |label: String, values: Vec<f64>, colour: usize| Bar {
        label,
        value: st::mean(&values),
        interval: st::estimate(std::slice::from_ref(&values), st::mean_of_means)
            .interval
            .map(|i| (i.low, i.high)),
        dots: values,
        colour,
    };
    let of_data = |data: &String| {
        let here: Vec<&Actions> = compared.iter().filter(|a| a.data == *data).collect();
        let trainings: BTreeSet<&str> = here.iter().map(|a| a.training.as_str()).collect();
        let policy = |training: &str| {
            let of = here.iter().filter(|a| a.training == training).map(|a| a.mean_over_components().0);
            bar(format!("{training}, offline"), of.collect(), POLICY)
        };
        let mut bars: Vec<Bar> = trainings.iter().map(|training| policy(training)).collect();
        // One for every way of reading the data; of trainings that share one, the first has it.
        let models: BTreeSet<&str> = here.iter().map(|a| a.model_name.as_str()).collect();
        for name in &models {
            let training = here.iter().find(|a| a.model_name == **name).map(|a| a.training.as_str());
            let of = here.iter().filter(|a| a.model_name == **name && Some(a.training.as_str()) == training);
            let label = match models.len() {
                1 => "behaviour model".to_string(),
                _ => format!("behaviour model, {name}"),
            };
            bars.push(bar(label, of.map(|a| a.mean_over_components().1).collect(), MODEL));
        }
        Bars { title: data.clone(), x_label: "mean squared error".into(), bars, range: None }
    };
    let known = results.data.iter().filter(|data| compared.iter().any(|a| a.data == **data));
    let mut panels: Vec<Bars> = known.map(of_data).collect();
    Bars::share_axis(&mut panels);
    let most = panels.iter().map(|p| p.bars.len()).max().unwrap_or(0);
    let caption = format!(
        "{}. Bar: mean over seeds of the mean squared error per component, dots: seeds. {}",
        facts(results, compared),
        figures::band("Line")
    );
    figures::grid(
        (format!("{}: distance from the data's actions", results.name), caption),
        panels,
        62 + 26 * most as u32,
    )
}

impl Actions {
    fn of(study: &Study, policy: &Cell, model: &Cell, dataset: &Dataset) -> Result<Self, TrainError> {
        let columns = &dataset.columns;
        let n = columns.len().min(MOST_ROWS);
        let rows = (0..n).map(|i| i * columns.len() / n);
        let states: Vec<f32> = rows.clone().flat_map(|i| columns.observations.row(i).to_vec()).collect();
        let taken: Vec<f32> = rows.flat_map(|i| columns.actions.row(i).to_vec()).collect();
        Ok(Self {
            data: policy.data.clone(),
            training: policy.label.clone(),
            seed: policy.seed,
            dims: columns.act_dim(),
            policy: greedy(study, policy, &states, n)?,
            model: greedy(study, model, &states, n)?,
            model_name: model.label.clone(),
            updates: Saved::open_unchecked(&study.folder(policy).join(rundir::CHECKPOINT))?.counters()?.round,
            commits: [policy, model]
                .into_iter()
                .flat_map(|c| provenance::commits(&study.folder(c)))
                .collect(),
            taken,
        })
    }

    fn rows(&self) -> usize {
        self.taken.len() / self.dims.max(1)
    }

    /// Component `dim` of pairs of the data's action and another one.
    fn pairs(&self, other: &[f32], dim: usize) -> Vec<(f64, f64)> {
        let component = |all: &[f32]| {
            all.iter().skip(dim).step_by(self.dims.max(1)).map(|a| f64::from(*a)).collect::<Vec<_>>()
        };
        component(&self.taken).into_iter().zip(component(other)).collect()
    }

    /// Mean squared distance from the data's actions per component, of the policy and of the behaviour model.
    pub fn mean_squared_errors(&self) -> Vec<(f64, f64)> {
        let error = |other, dim| {
            let squares: Vec<f64> = self.pairs(other, dim).iter().map(|(a, b)| (a - b).powi(2)).collect();
            st::mean(&squares)
        };
        (0..self.dims).map(|dim| (error(&self.policy, dim), error(&self.model, dim))).collect()
    }

    /// Their means over components.
    fn mean_over_components(&self) -> (f64, f64) {
        let (policy, model): (Vec<f64>, Vec<f64>) = self.mean_squared_errors().into_iter().unzip();
        (st::mean(&policy), st::mean(&model))
    }

    /// One panel per component.
    pub fn figure(&self, results: &Results) -> Panels {
        let every = self.rows().div_ceil(MOST_POINTS).max(1);
        let few = |other: &[f32], dim| self.pairs(other, dim).into_iter().step_by(every).collect::<Vec<_>>();
        let panel = |(dim, (policy, model)): (usize, (f64, f64))| {
            let title = format!("component {}: policy {policy:.3}, model {model:.3}", dim + 1);
            let chart = Scatter {
                title: title.clone(),
                x_label: "action in the data".into(),
                y_label: String::new(),
                groups: vec![(POLICY, few(&self.policy, dim)), (MODEL, few(&self.model, dim))],
                range: Some((-1.05, 1.05)),
            };
            (title, figures::boxed(chart))
        };
        let (policy, model) = self.mean_over_components();
        let about = format!(
            "Seed {}, {} states. Mean squared error: policy {policy:.4}, behaviour model {model:.4}; of each component above \
             it. On the dashed line both actions are equal.",
            self.seed,
            HumanCount(self.rows() as u64)
        );
        Panels {
            title: format!("{}: actions of {} on {}", results.name, self.training, self.data),
            caption: format!("{}. {about}", facts(results, std::slice::from_ref(self))),
            band: String::new(),
            legend: vec![("offline-trained policy".into(), POLICY), ("behaviour model".into(), MODEL)],
            columns: COLUMNS,
            size: (330, 300),
            panels: self.mean_squared_errors().into_iter().enumerate().map(panel).collect(),
        }
    }
}

/// Actions of a trained cell in `n` states as recorded.
fn greedy(study: &Study, cell: &Cell, states: &[f32], n: usize) -> Result<Vec<f32>, TrainError> {
    let saved = Saved::open(&study.folder(cell))?;
    let mut agent = Agent::new(&cell.config, saved.dims(1)?)?;
    saved.restore(&mut agent)?;
    let mut states = states.to_vec();
    saved.scales()?.observation.apply(&mut states);
    let mut actor = agent.actor(n, Exploration::Greedy, &OnlineConfig::default());
    Ok(actor.act(&mut agent.store, &states, 0, 0).to_vec())
}
