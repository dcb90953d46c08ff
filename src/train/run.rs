//! A run in its directory, from its beginning or from a checkpoint: every phase of its plan, one after another.
//!
//! A run starts from nothing (training on data; learning from scratch, with data beside the environment or without) or
//! from another one, whose checkpoint stands in its directory ([`rundir::ORIGIN`]): fine-tuning.

use std::path::Path;

use baq_datasets::episodes;
use rand::seq::SliceRandom;

use super::agent::Agent;
use super::annotation;
use super::conditions::Simulators;
use super::counters::Counters;
use super::data::{Dataset, Recorded};
use super::dataset_facts::write_dataset;
use super::error::TrainError;
use super::evaluations::read_evaluations;
use super::plan::{Plan, Work, starts_online};
use super::progress::{Ended, Stop};
use super::rundir::{self, EARLIER, MODEL, ORIGIN, RunDir};
use super::start::{self, Start};
use super::state::Saved;
use super::switch;
use super::training::{Beginning, Training};
use crate::algo::{Dims, FitTo, Pretraining};
use crate::audit::Recorder;
use crate::config::{Config, OfflineConfig, OfflineRows, OnlineConfig, RunConfig};
use crate::replay::Pools;
use crate::replay::pools::ONLINE;
use crate::rng::{Rng, Stream};

/// What a run starts from.
#[derive(Default)]
pub struct Sources {
    /// checkpoint of the run that this one fine-tunes
    pub origin: Option<Saved>,
    /// checkpoint of a run that serves as a model which would be fitted otherwise
    pub model: Option<Saved>,
}

impl Sources {
    /// Those of a run directory. Errors: those of [`Saved::open`], for a file that is there.
    pub fn of(dir: &Path) -> Result<Sources, TrainError> {
        let open = |name: &str| match dir.join(name).exists() {
            true => Saved::open(&dir.join(name)).map(Some),
            false => Ok(None),
        };
        Ok(Sources { origin: open(ORIGIN)?, model: open(MODEL)? })
    }

    /// Whether the run goes online.
    pub fn goes_online(&self, config: &Config) -> bool {
        self.origin.is_some() || starts_online(config)
    }

    /// The configuration with room in the buffer for all that it will hold, unless the user has said how much there is.
    /// Errors: an origin of the online phase without collected transitions.
    pub fn with_room(&self, config: &Config, dataset: &Dataset) -> Result<Config, TrainError> {
        match self.goes_online(config) && !dataset.is_absent() {
            true => Ok(start::with_room(config, self.first(&config.section(), dataset)?)),
            false => Ok(config.clone()),
        }
    }

    /// How many transitions the buffer begins with: offline ones, and those that are carried on.
    fn first(&self, options: &OnlineConfig, dataset: &Dataset) -> Result<u64, TrainError> {
        let carried = match &self.origin {
            Some(origin) if options.carry => origin.collected_rows()?,
            _ => 0,
        };
        Ok(kept(dataset, options) as u64 + carried)
    }

    /// The phases of the run. Errors: an origin that does not name its networks.
    pub fn plan(&self, config: &Config, agent: &Agent) -> Result<Plan, TrainError> {
        match self.goes_online(config) {
            true => Ok(Plan::online(config, self.fits(&agent.fits(), FitTo::Data, agent)?)),
            false => Ok(Plan::offline(config, self.fits(&agent.learner.pretrain(), FitTo::Data, agent)?)),
        }
    }

    /// What is to be fitted to collected transitions, unless the origin has done so.
    fn collected(&self, agent: &Agent) -> Result<Option<&'static str>, TrainError> {
        Ok(self.fits(&agent.fits(), FitTo::Collected, agent)?.first().map(|(name, _)| *name))
    }

    /// What of `all` is fitted to these transitions and neither the origin nor a given run has fitted, as (name, updates).
    fn fits(
        &self,
        all: &[Pretraining<'_>],
        to: FitTo,
        agent: &Agent,
    ) -> Result<Vec<(&'static str, u64)>, TrainError> {
        let saved = self.origin.as_ref().map_or(Ok(Vec::new()), Saved::groups)?;
        let there = |fit: &Pretraining<'_>| {
            let name = &agent.table.group(fit.group).name;
            let adopted = agent.adaptation.adopt(name, &saved).is_some_and(|from| saved.contains(&from));
            adopted || (self.model.is_some() && fit.given.is_some())
        };
        Ok(all.iter().filter(|fit| fit.to == to && !there(fit)).map(|fit| (fit.name, fit.updates)).collect())
    }

    /// The agent at the beginning of the run: untrained, or with the parameters of the origin and of the model.
    ///
    /// # Errors
    /// Data, options and checkpoints that cannot go together.
    pub fn agent(&self, config: &Config, dataset: &Dataset) -> Result<Agent, TrainError> {
        let Some(origin) = &self.origin else {
            let batch = match starts_online(config) {
                true => config.section::<OnlineConfig>().rows(),
                false => config.section::<OfflineConfig>().batch,
            };
            let dims = Dims { s: dataset.columns.obs_dim(), a: dataset.columns.act_dim(), batch };
            let agent = Agent::new(config, dims)?;
            check(config, &agent, dataset, self)?;
            return Ok(agent);
        };
        let options: OnlineConfig = config.section();
        origin.check_dataset(&dataset.facts)?;
        switch::check_scales(origin, &dataset.scales)?;
        let mut agent = Agent::new(config, origin.dims(options.rows())?)?;
        check(config, &agent, dataset, self)?;
        let saved = origin.groups()?;
        let groups: Vec<String> = agent.table.groups().iter().map(|g| g.name.clone()).collect();
        // What generates begins anew with every fine-tuning.
        for (k, name) in groups.iter().enumerate().take(agent.own_groups) {
            let Some(from) = agent.adaptation.adopt(name, &saved).map(str::to_string) else { continue };
            // The adaptation's own networks need not be there; those of the base must.
            if k < agent.base_groups || saved.contains(&from.as_str()) {
                origin.restore_group(&mut agent, &from, name)?;
            }
        }
        let given = agent.adaptation.pretrain().into_iter().find_map(|fit| Some((fit.given?, fit.group)));
        if let (Some((given, group)), Some(model)) = (given, &self.model) {
            model.check_dataset(&dataset.facts)?;
            let scales = model.scales()?;
            if (&scales.observation, &scales.action) != (&dataset.scales.observation, &dataset.scales.action)
            {
                return Err(TrainError::Input(format!(
                    "{}: expected a behaviour model trained on states scaled as in {}, got another scaling; train it with the same data.* options",
                    model.file(),
                    origin.file(),
                )));
            }
            model.restore_group(&mut agent, given.group, &groups[group.index()])?;
        }
        agent.switch(&options);
        Ok(agent)
    }

    /// Where the counters stand at the beginning.
    fn counters(&self) -> Result<Counters, TrainError> {
        let Some(origin) = &self.origin else { return Ok(Counters::default()) };
        let before = origin.counters()?;
        Ok(Counters {
            round: before.round,
            offline_rounds: before.round,
            evaluations: before.evaluations,
            // Starts that the origin has seen do not come again.
            episode: before.episode,
            ..Counters::default()
        })
    }

    /// Transitions that the origin has collected, as (floats of a row, rows one after another), if they are carried on.
    fn carried(&self, config: &Config) -> Result<Option<(usize, Vec<f32>)>, TrainError> {
        match &self.origin {
            Some(origin) if config.section::<OnlineConfig>().carry => origin.collected(),
            _ => Ok(None),
        }
    }
}

/// How many offline transitions the online phase begins with.
pub fn kept(dataset: &Dataset, options: &OnlineConfig) -> usize {
    match options.offline_rows {
        OfflineRows::Best(n) => of_best(dataset, n as usize).len(),
        _ => start::kept_of(dataset.columns.len(), options),
    }
}

/// The rows of so many episodes, the ones with the largest recorded returns, in the order of the data.
fn of_best(dataset: &Dataset, episodes: usize) -> Vec<usize> {
    let (all, returns) = (episodes::of(&dataset.columns), &dataset.returns);
    let mut best: Vec<usize> = (0..all.len()).collect();
    best.sort_by(|&a, &b| returns[b].total_cmp(&returns[a]));
    best.truncate(episodes);
    best.sort_unstable();
    best.into_iter().flat_map(|k| all[k].rows.clone()).collect()
}

/// The offline transitions that the online phase begins with, and room for those that are collected. Errors: those of
/// [`Dataset::pools_beside`].
pub fn pools(dataset: &Dataset, agent: &Agent, config: &Config) -> Result<Pools, TrainError> {
    let (run, options): (RunConfig, OnlineConfig) = (config.section(), config.section());
    let mut rows: Vec<usize> = (0..dataset.columns.len()).collect();
    let keep = kept(dataset, &options);
    if let OfflineRows::Best(n) = options.offline_rows {
        rows = of_best(dataset, n as usize);
    } else if keep < rows.len() {
        rows.shuffle(&mut Rng::new(run.seed, Stream::Subset, 0));
        rows.truncate(keep);
        rows.sort_unstable();
    }
    let recorded = Recorded::online(agent.learner.as_ref());
    let generated = agent.generator.as_ref().map(|g| g.pools()).unwrap_or_default();
    dataset.pools_beside(&rows, (options.capacity, &generated), &annotation::columns(agent), recorded)
}

/// Puts carried transitions into their pool. What an adaptation annotated is left behind: another one may go on.
/// Errors: fewer numbers in a row than the pools have without annotated columns.
pub fn carry(pools: &mut Pools, agent: &Agent, (width, rows): &(usize, Vec<f32>)) -> Result<(), TrainError> {
    let annotated = annotation::columns(agent).len();
    let base = pools.layout().width() - annotated;
    if *width < base {
        return Err(TrainError::Input(format!(
            "the run one starts from: expected collected transitions of at least {base} numbers, got {width}; leave them behind with online.carry=false"
        )));
    }
    let mut record = vec![0.0; base + annotated];
    for row in rows.chunks_exact(*width) {
        record[..base].copy_from_slice(&row[..base]);
        pools.push(ONLINE, &record);
    }
    Ok(())
}

fn check(config: &Config, agent: &Agent, dataset: &Dataset, from: &Sources) -> Result<(), TrainError> {
    let rows = dataset.transitions();
    let first = from.goes_online(config).then(|| from.first(&config.section(), dataset)).transpose()?;
    start::check(config, agent, Start { rows, first })
}

/// A run under way.
pub struct Run<'a, 'b> {
    /// its configuration
    pub config: &'a Config,
    /// its directory
    pub path: &'b Path,
    /// its data, or none
    pub dataset: Dataset,
    /// the state to go on from
    pub saved: Option<&'b Saved>,
    /// what ends it early, and whether it shows no progress
    pub manner: (&'b Stop, bool),
    /// evaluations are played on a thread beside it
    pub beside: bool,
}

impl<'a> Run<'a, '_> {
    /// Does what is left of the run and writes everything into its directory that the run determines; if it diverges, also why.
    /// Errors: checkpoints, data and options that cannot go together; those of [`Training::run`] and of its files.
    pub fn learn<R: Recorder>(self, dir: &RunDir, probe: &mut R) -> Result<Ended, TrainError> {
        dir.remove(rundir::DIVERGED)?;
        let ended = self.finish(dir, probe);
        if let Some(e) = ended.as_ref().err().filter(|e| e.is_divergence()) {
            // That it diverged is what the user must hear, even on a full disk.
            let _ = dir.write(rundir::DIVERGED, format!("{e}\n").as_bytes());
        }
        ended
    }

    fn finish<R: Recorder>(self, dir: &RunDir, probe: &mut R) -> Result<Ended, TrainError> {
        if !self.dataset.is_absent() {
            write_dataset(dir.path(), &self.dataset.facts)?;
        }
        let (from, manner, saved, beside) = (dir.path().to_path_buf(), self.manner, self.saved, self.beside);
        let Some((mut training, resumed)) = self.last_phase(Some(dir), probe)? else {
            return Ok(Ended::Interrupted);
        };
        let earlier = match from.join(EARLIER).exists() {
            true => read_evaluations(&from.join(EARLIER))?,
            false => Vec::new(),
        };
        let resumed = resumed && saved.is_some();
        if beside {
            training.evaluate_beside()?;
        }
        let ended = training.run(dir, &earlier, resumed, manner, probe)?;
        if ended != Ended::Interrupted && from.join(ORIGIN).exists() {
            dir.write(rundir::CALIBRATION, training.calibration().to_string().as_bytes())?;
        }
        Ok(ended)
    }

    /// The last phase of the run, at its beginning or where it was saved, and whether the latter; those before it are done
    /// first, in `dir` if there is one. `None` if a signal came meanwhile.
    pub fn last_phase<R: Recorder>(
        self,
        dir: Option<&RunDir>,
        probe: &mut R,
    ) -> Result<Option<(Training<'a>, bool)>, TrainError> {
        let Run { config, path, dataset, saved, manner, beside: _ } = self;
        let sources = Sources::of(path)?;
        let mut agent = sources.agent(config, &dataset)?;
        let stages = sources.plan(config, &agent)?.0;
        let mut counters = match saved {
            Some(saved) => {
                saved.check_dataset(&dataset.facts)?;
                saved.restore(&mut agent)?
            }
            None => sources.counters()?,
        };
        let then = saved.map(Saved::simulators).transpose()?;
        let (at, mut simulators) = (counters.phase as usize, Simulators::of(config, then, counters.round)?);
        for (k, stage) in stages.iter().enumerate().skip(at) {
            // A state of an earlier phase is none of this one.
            let saved = saved.filter(|_| k == at);
            counters.phase = k as u64;
            let start = Beginning { config, agent, dataset: &dataset, counters, saved, simulators };
            let mut training = match stage.work {
                Work::Offline => Training::offline(start)?,
                Work::Fit(name) => Training::fit(start, name)?,
                Work::Online => {
                    let mut pools = pools(&dataset, &start.agent, config)?;
                    if let (None, Some(rows)) = (saved, sources.carried(config)?) {
                        carry(&mut pools, &start.agent, &rows)?;
                    }
                    let opening = sources.collected(&start.agent)?;
                    Training::online(start, pools, opening)?
                }
            };
            if k + 1 == stages.len() {
                return Ok(Some((training, saved.is_some())));
            }
            let ended = match dir {
                Some(dir) => training.run(dir, &[], saved.is_some(), manner, probe)?,
                None => training.rerun(u64::MAX, u64::MAX, probe).map(|()| Ended::Complete)?,
            };
            if ended == Ended::Interrupted {
                return Ok(None);
            }
            (agent, counters, simulators) = training.into_parts();
            counters.fitted = 0;
        }
        Err(TrainError::Input(format!(
            "{}: expected a checkpoint of one of {} phases, got phase {at}; take another checkpoint",
            saved.map_or("", Saved::file),
            stages.len()
        )))
    }
}
