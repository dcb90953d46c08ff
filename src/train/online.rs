//! The online phase, after offline training or without any: an environment step, then the rounds it pays for.
//!
//!   a ~ exploration policy(s); (r, s') from the environment; m = 0 only if the task itself ended
//!   store (s, a, r, s', m) with its annotated columns and its priority, then learn
//!
//! The state after step N is a function of (configuration, data, offline checkpoint, N).
//!
//! Above 400 lines because one step, its round, its checkpoint and its loop share one state.

use super::TrainError;
use super::agent::{Actor, Agent, Annotator, check_columns, fill};
use super::balance::{self, Balance};
use super::cadence::{self, Due, Roles};
use super::calibration;
use super::conditions::Simulators;
use super::data::{Dataset, Scales};
use super::divergence::{Watch, check_finite, check_priorities, reprioritise};
use super::evaluate::Evaluator;
use super::metrics::{
    self, DatasetFacts, Distribution, Evaluation, EvaluationLog, MetricLog, Stamp, Timing, TimingLog,
    write_distributions,
};
use super::offline::{Ended, Rounds, begin};
use super::progress::{Progress, Stop};
use super::rundir::RunDir;
use super::state::{Counters, OnlineState, Priorities, Saved, State};
use crate::algo::{Cadence, Phase, Sampling};
use crate::audit::ledger::Mark;
use crate::audit::{MODEL, ONLINE, Recorder};
use crate::autodiff::{Clock, Flow, Metric, Noise, Pass, Program, Workspace};
use crate::config::{AuditConfig, BufferMode, Config, OfflineRows, OnlineActorLr, OnlineConfig, RunConfig};
use crate::env::{self, Env};
use crate::replay::stats::{ByOrigin, by_origin};
use crate::replay::{self, Composer, Draw, Origin, Ring, SumTree, annotate};
use crate::rng::{Rng, Stream, derive, uniform_action};
use rand::seq::SliceRandom;
use serde_json::Value;

/// Return of the last finished episode.
pub static EPISODE_RETURN: Metric =
    Metric::new("episode_return", "raw return of the last training episode", "", "Training episodes");

/// Fits what the adaptation names in place `k` of its pretraining; returns whether a signal stopped it.
pub fn pretrain<R: Recorder>(
    agent: &mut Agent,
    k: usize,
    ring: &Ring,
    seed: u64,
    (stop, quiet): (&Stop, bool),
    probe: &mut R,
) -> Result<bool, TrainError> {
    let (name, updates, trace) = {
        let (fit, trace) = agent.pretraining().swap_remove(k);
        (fit.name, fit.updates, trace)
    };
    check_columns(&trace, ring.layout())?;
    let mut rounds = Rounds::new(trace, &[Roles::BOTH]);
    begin(probe, MODEL, &rounds)?;
    let mut progress = Progress::new(name, updates, 0, quiet);
    let mut rows = vec![0; agent.dims.batch];
    let mut weights = vec![0.0; agent.dims.batch];
    for update in 0..updates {
        let draw = Draw { seed, stream: Stream::Model as u32, update };
        Composer::Uniform { stratified: false }.compose(draw, ring, None, 0.0, &mut rows, &mut weights);
        let (program, workspace) = rounds.pick(Roles::BOTH, update + 1 == updates);
        fill(workspace, program, ring, &rows);
        let clock = Clock { round: update, phase_round: update };
        let pass = Pass { clock, noise: Noise::Seed(seed), rows: &rows };
        if program.run_with(workspace, &mut agent.store, pass, probe) == Flow::Stop {
            return Err(probe.reason().into());
        }
        progress.advance(1);
        if stop.requested() {
            return Ok(true);
        }
    }
    check_finite(&rounds.values(), updates)?;
    progress.finish();
    Ok(false)
}

/// How many offline transitions the online buffer begins with.
pub(super) fn kept(dataset: &Dataset, options: &OnlineConfig) -> usize {
    let all = dataset.columns.len();
    match options.offline_rows {
        OfflineRows::All => all,
        OfflineRows::Subset(n) => all.min(n as usize),
        OfflineRows::None => 0,
    }
}

/// An error if the buffer cannot hold the offline transitions, those that are carried on and all that are collected.
/// Without data the oldest give way, as in any replay.
pub fn check_capacity(config: &Config, dataset: &Dataset, carried: u64) -> Result<(), TrainError> {
    let online: OnlineConfig = config.section();
    let kept = kept(dataset, &online) as u64 + carried;
    let needed = kept.saturating_add(online.env_steps);
    if dataset.is_absent() || online.capacity as u64 >= needed {
        return Ok(());
    }
    Err(TrainError::Input(format!(
        "online.capacity: expected at least {needed} ({kept} transitions to begin with and {} environment steps), got {}; raise it, or old transitions are overwritten unasked",
        online.env_steps, online.capacity,
    )))
}

/// The offline transitions that the online buffer begins with.
pub fn ring(dataset: &Dataset, agent: &Agent, config: &Config) -> Result<Ring, TrainError> {
    let run: RunConfig = config.section();
    let online: OnlineConfig = config.section();
    let mut rows: Vec<usize> = (0..dataset.columns.len()).collect();
    let keep = kept(dataset, &online);
    if keep < rows.len() {
        rows.shuffle(&mut Rng::new(run.seed, Stream::Subset, 0));
        rows.truncate(keep);
        rows.sort_unstable();
    }
    let columns = agent.annotator(1).map(|a| a.columns().to_vec()).unwrap_or_default();
    dataset.ring(&rows, online.capacity, &columns, agent.learner.return_to_go())
}

/// The transitions that the run one starts from has collected, as (floats of a row, rows one after another), if they are
/// to be carried on.
pub fn carried(config: &Config, origin: &Saved) -> Result<Option<(usize, Vec<f32>)>, TrainError> {
    match config.section::<OnlineConfig>().carry {
        true => origin.collected(),
        false => Ok(None),
    }
}

/// Appends carried transitions to the ring. What an adaptation annotated is left behind: another one may go on.
pub fn append(ring: &mut Ring, agent: &Agent, (width, rows): &(usize, Vec<f32>)) -> Result<(), TrainError> {
    let annotated = agent.annotator(1).map_or(0, |a| a.columns().len());
    let base = ring.layout().width() - annotated;
    if *width < base {
        return Err(TrainError::Input(format!(
            "the run one starts from: expected collected transitions of at least {base} numbers, got {width}; leave them behind with online.carry=false"
        )));
    }
    let mut record = vec![0.0; base + annotated];
    for row in rows.chunks_exact(*width) {
        record[..base].copy_from_slice(&row[..base]);
        ring.push(&record);
    }
    Ok(())
}

/// An error if the adaptation, the options of the online phase and the data cannot go together.
pub fn check(config: &Config, agent: &Agent, dataset: &Dataset) -> Result<(), TrainError> {
    let run: RunConfig = config.section();
    let options: OnlineConfig = config.section();
    composer(options.buffer, &agent.adaptation.sampling())?;
    balance::check(agent, !dataset.is_absent() && options.offline_rows != OfflineRows::None)?;
    if !dataset.is_absent() {
        return Ok(());
    }
    if let Some(fit) = agent.adaptation.pretrain().iter().find(|fit| fit.pool == replay::OFFLINE) {
        return Err(TrainError::Input(format!(
            "run.adapt: expected plain without data, got {}, whose {} is fitted to data; give --adapt plain",
            run.adapt, fit.name,
        )));
    }
    match options.buffer {
        BufferMode::Append => Ok(()),
        _ => Err(TrainError::Input(
            "online.buffer: expected append without data, got a mixture with offline transitions; set online.buffer=append".into(),
        )),
    }
}

/// Programs and columns of an adaptation that annotates transitions.
struct Annotation {
    one: Annotator,
    batch: Annotator,
    values: Vec<f32>,
}

/// Trains an agent in an environment inside a run directory.
pub struct Online<'a> {
    config: &'a Config,
    run: RunConfig,
    options: OnlineConfig,
    agent: Agent,
    scales: Scales,
    facts: DatasetFacts,
    simulators: Simulators,
    env: Box<dyn Env>,
    env_seed: u64,
    act_seed: u64,
    actor: Actor,
    evaluator: Option<Evaluator>,
    rounds: Rounds,
    cadence: Cadence,
    ring: Ring,
    tree: Option<SumTree>,
    sampling: Sampling,
    composer: Composer,
    annotation: Option<Annotation>,
    balance: Option<Balance>,
    /// discount, and the reward of episodes that fail for ever
    return_to_go: Option<(f64, Option<f32>)>,
    counters: Counters,
    due: Due,
    observation: Vec<f64>,
    next: Vec<f64>,
    state: Vec<f32>,
    random: Vec<f32>,
    record: Vec<f32>,
    rows: Vec<u32>,
    weights: Vec<f32>,
    priorities: Vec<f64>,
}

impl<'a> Online<'a> {
    /// Prepares the online phase: annotates the data, fixes the adaptation's constants, compiles.
    /// `ring` holds the offline transitions. With a saved online state it goes on from there.
    pub fn new(
        config: &'a Config,
        mut agent: Agent,
        dataset: &Dataset,
        mut ring: Ring,
        counters: Counters,
        saved: Option<&Saved>,
    ) -> Result<Online<'a>, TrainError> {
        let run: RunConfig = config.section();
        let options: OnlineConfig = config.section();
        if run.env.is_empty() {
            return Err(TrainError::Input(
                "run.env: expected an environment, got none; name one with --env, as in hopper-v4".into(),
            ));
        }
        let env = env::make(&run.env)?;
        dataset.columns.check_dims(env.spec().id, env.obs_dim(), env.act_dim())?;

        let names: Vec<&'static str> = agent.annotator(1).map(|a| a.columns().to_vec()).unwrap_or_default();
        let sampling = agent.adaptation.sampling();
        let mut online = None;
        if let Some(saved) = saved {
            let moving = if sampling.refresh { &names[..] } else { &[] };
            let state = saved.online(ring.layout().width(), moving, sampling.opening_share.is_some())?;
            ring.restore(state.ring, &state.records)?;
            online = Some(state);
            if counters.env_step > options.env_steps {
                return Err(TrainError::Input(format!(
                    "{}: expected at most online.env_steps = {} environment steps, got {}; take the checkpoint of this run",
                    saved.file(),
                    options.env_steps,
                    counters.env_step,
                )));
            }
        }
        if online.is_none()
            && let Some(mut block) = agent.annotator(annotate::BLOCK)
        {
            let carried: Vec<u32> = (0..ring.online_len()).map(|k| ring.online_slot(k) as u32).collect();
            block.all(&mut agent.store, &mut ring, &carried);
        }
        if let Some(mut block) = agent.annotator(annotate::BLOCK)
            && !ring.offline_rows().is_empty()
        {
            block.offline(&mut agent.store, &mut ring);
            let offline = ring.offline_rows();
            let means: Vec<f64> = names
                .iter()
                .map(|name| {
                    let column = ring.column(name);
                    let sum: f64 = offline.clone().map(|i| f64::from(ring.get(i, column)[0])).sum();
                    sum / offline.len() as f64
                })
                .collect();
            agent.adaptation.calibrate(&means);
        }
        if let Some(state) = &online {
            // Annotated values that move have been saved.
            for (name, values) in &state.annotated {
                let (column, slots) = (ring.column(name), ring.offline_rows());
                ring.write_column(column, slots, values);
            }
        }
        let cadence = cadence::of(&options, agent.adaptation.as_ref());
        let phase = Phase {
            online: true,
            rounds: cadence.rounds(options.learning_steps()),
            before: counters.offline_rounds,
            // An untrained agent comes to no switch.
            actor_lr: match dataset.is_absent() && counters.offline_rounds == 0 {
                true => OnlineActorLr::Restart,
                false => options.actor_lr,
            },
            own_pace: cadence.actor.is_some(),
        };
        let trace = agent.trace(&phase);
        check_columns(&trace, ring.layout())?;
        let rounds = Rounds::new(trace, &cadence::roles(&cadence, agent.learner.actor_every()));
        let annotation = match (agent.annotator(1), agent.annotator(agent.dims.batch)) {
            (Some(one), Some(batch)) => Some(Annotation { one, batch, values: vec![0.0; names.len()] }),
            _ => None,
        };
        let composer = composer(options.buffer, &sampling)?;
        let tree = match composer.is_prioritised() {
            true => {
                let mut tree = SumTree::new(ring.capacity());
                let computed = || (0..ring.len()).map(|i| priority(&agent, &ring, &names, i)).collect();
                let masses = match online.as_ref().and_then(|o| o.priorities.as_ref()) {
                    Some(saved) => saved.leaves.clone(),
                    None => computed(),
                };
                check_priorities(&masses)?;
                tree.assign(0, &masses);
                Some(tree)
            }
            false => None,
        };
        let offline = ring.offline_rows().len();
        let mut balance = Balance::new(&agent, run.seed, offline)?;
        if let (Some(balance), Some(saved)) =
            (&mut balance, online.as_ref().and_then(|o| o.priorities.as_ref()))
        {
            balance.restore(saved.newest);
        }
        let evaluator = match options.eval_episodes {
            0 => None,
            n => Some(Evaluator::new(&agent, &run.env, n, run.seed)?),
        };
        let batch = agent.dims.batch;
        let width = ring.layout().width();
        let mut this = Online {
            env_seed: derive(run.seed, Stream::TrainReset),
            act_seed: derive(run.seed, Stream::Explore),
            actor: agent.actor(1, options.exploration, &options),
            observation: vec![0.0; env.obs_dim()],
            next: vec![0.0; env.obs_dim()],
            state: vec![0.0; env.obs_dim()],
            random: vec![0.0; env.act_dim()],
            record: vec![0.0; width],
            rows: vec![0; batch],
            weights: vec![1.0; batch],
            priorities: vec![0.0; batch],
            scales: dataset.scales.clone(),
            facts: dataset.facts.clone(),
            simulators: Simulators::of(config, saved, counters.round)?,
            config,
            run,
            options,
            evaluator,
            rounds,
            cadence,
            due: Due::default(),
            ring,
            tree,
            sampling,
            composer,
            annotation,
            balance,
            return_to_go: agent.learner.return_to_go().map(|rule| (rule.discount, dataset.failing(rule))),
            counters,
            agent,
            env,
        };
        match online {
            Some(state) => {
                this.env.set_state(&state.env)?;
                this.observation = state.observation;
                this.due = Due::left(&this.cadence, this.learning(), &this.counters);
            }
            None => this.begin_episode(),
        }
        Ok(this)
    }

    fn stamp(&self) -> Stamp {
        let c = &self.counters;
        Stamp { phase: metrics::Phase::Online, update: c.round, env_step: c.env_step }
    }

    fn begin_episode(&mut self) {
        self.env.reset(self.env_seed, self.counters.episode, &mut self.observation);
        self.counters.episode += 1;
        self.counters.episode_step = 0;
        self.counters.episode_return = 0.0;
    }

    /// One environment step; the transition goes into the buffer.
    fn step(&mut self) -> Result<(), TrainError> {
        self.scales.state(&self.observation, &mut self.state);
        // Unlike the steps of this run, it goes on counting where transitions were carried on: no noise comes twice.
        let position = self.ring.state().pushed;
        let action = if self.counters.env_step < self.options.random_steps {
            uniform_action(self.run.seed, Stream::RandomAction, position, &mut self.random);
            &self.random
        } else {
            self.actor.act(&mut self.agent.store, &self.state, self.act_seed, position)
        };
        let step = self.env.step(action, &mut self.next)?;

        let layout = self.ring.layout();
        let mut put = |name: &str, values: &[f32]| {
            let c = layout.column(name);
            self.record[c.offset..c.offset + c.len].copy_from_slice(values);
        };
        put(replay::S, &self.state);
        put(replay::A, action);
        put(replay::R, &[self.scales.reward.apply(step.reward as f32)]);
        put(replay::M, &[step.ending().m()]);
        if self.return_to_go.is_some() {
            // Unknown until the episode ends; -inf is the value that changes nothing.
            put(replay::RETURN_TO_GO, &[f32::NEG_INFINITY]);
        }
        let mut mass = 1.0;
        if let Some(a) = &mut self.annotation {
            a.one.one(&mut self.agent.store, &self.state, action, &mut a.values);
            for (name, value) in a.one.columns().iter().zip(&a.values) {
                put(name, &[*value]);
            }
            mass = self.agent.adaptation.priority(&a.values, true);
        }
        if let Some(balance) = &self.balance {
            mass = balance.newest();
        }
        self.scales.state(&self.next, &mut self.state);
        put(replay::S2, &self.state);
        check_priorities(&[mass])?;
        match &mut self.tree {
            Some(tree) => self.ring.push_with_priority(&self.record, tree, mass),
            None => self.ring.push(&self.record),
        };

        std::mem::swap(&mut self.observation, &mut self.next);
        self.counters.env_step += 1;
        self.counters.episode_step += 1;
        self.counters.episode_return += step.reward;
        if step.ended() {
            if let Some((discount, failing)) = self.return_to_go {
                let steps = self.counters.episode_step as usize;
                annotate::return_to_go(&mut self.ring, steps, discount, failing);
            }
            self.counters.last_return = Some(self.counters.episode_return);
            self.begin_episode();
        }
        Ok(())
    }

    /// One round on a batch of the buffer.
    fn round<R: Recorder>(&mut self, roles: Roles, measure: bool, probe: &mut R) -> Result<(), TrainError> {
        let c = &self.counters;
        let phase_round = c.round - c.offline_rounds;
        let draw = Draw { seed: self.run.seed, stream: Stream::Batch as u32, update: c.round };
        let exponent = self
            .sampling
            .importance
            .map_or(0.0, |s| s.over(self.cadence.rounds(self.options.learning_steps())).at(phase_round));
        self.composer.compose(
            draw,
            &self.ring,
            self.tree.as_ref(),
            exponent,
            &mut self.rows,
            &mut self.weights,
        );
        if let (true, Some(a)) = (self.sampling.refresh, &mut self.annotation) {
            a.batch.rows(&mut self.agent.store, &mut self.ring, &self.rows);
            if let Some(tree) = &mut self.tree {
                let names = a.batch.columns();
                for (p, &row) in self.priorities.iter_mut().zip(&self.rows) {
                    *p = priority(&self.agent, &self.ring, names, row as usize);
                }
                reprioritise(tree, &self.rows, &self.priorities)?;
            }
        }
        let (program, workspace) = self.rounds.pick(roles, measure);
        fill_online(workspace, program, &self.ring, &self.rows, &self.weights);
        let clock = Clock { round: c.round, phase_round };
        let pass = Pass { clock, noise: Noise::Seed(self.run.seed), rows: &self.rows };
        if program.run_with(workspace, &mut self.agent.store, pass, probe) == Flow::Stop {
            return Err(probe.reason().into());
        }
        if let (Some(balance), Some(tree)) = (&mut self.balance, &mut self.tree)
            && balance.round(&mut self.agent.store, &self.ring, tree, &self.rows, clock, measure, probe)?
                == Flow::Stop
        {
            return Err(probe.reason().into());
        }
        self.counters.round += 1;
        self.counters.critic_updates += u64::from(roles.critic);
        self.counters.actor_updates += u64::from(roles.actor);
        Ok(())
    }

    /// Whether metrics are due after so many environment steps.
    fn measures(&self, now: u64) -> bool {
        now.is_multiple_of(self.options.log_every) || now == self.options.env_steps
    }

    /// Environment steps so far that learn.
    fn learning(&self) -> u64 {
        self.counters.env_step.saturating_sub(self.options.idle_steps())
    }

    /// An environment step, unless the last one still has rounds due.
    fn advance(&mut self) -> Result<(), TrainError> {
        if self.due.rounds() > 0 {
            return Ok(());
        }
        self.step()?;
        if self.learning() > 0 {
            self.due = Due::earn(&self.cadence, self.learning(), &mut self.counters);
        }
        Ok(())
    }

    /// The rounds that are due, until after one of them it is `enough`; how many.
    fn learn<R: Recorder>(
        &mut self,
        enough: impl Fn(&Counters) -> bool,
        probe: &mut R,
    ) -> Result<u64, TrainError> {
        let mut made = 0;
        while self.due.rounds() > 0 && (made == 0 || !enough(&self.counters)) {
            let roles = self.due.next(self.counters.round, self.agent.learner.actor_every());
            // The last round of a step is the one that is measured.
            self.round(roles, self.measures(self.counters.env_step) && self.due.rounds() == 0, probe)?;
            made += 1;
        }
        Ok(made)
    }

    /// Tells a probe which rounds come.
    fn begin<R: Recorder>(&self, probe: &mut R) -> Result<(), TrainError> {
        begin(probe, ONLINE, &self.rounds)?;
        match self.balance.as_ref().map(|balance| balance.begin(probe)) {
            Some(Flow::Stop) => Err(probe.reason().into()),
            _ => Ok(()),
        }
    }

    /// Goes on until there have been so many rounds and environment steps, and leaves no trace in the run's directory.
    pub fn replay<R: Recorder>(
        &mut self,
        rounds: u64,
        env_steps: u64,
        probe: &mut R,
    ) -> Result<(), TrainError> {
        self.begin(probe)?;
        let short = |c: &Counters| c.round < rounds || c.env_step < env_steps;
        while short(&self.counters)
            && (self.counters.env_step < self.options.env_steps || self.due.rounds() > 0)
        {
            self.advance()?;
            self.learn(|c| !short(c), probe)?;
        }
        Ok(())
    }

    /// An error if the parameters as they stand have diverged, seen on the last batch.
    fn examine(&mut self, watch: &Watch) -> Result<(), TrainError> {
        let c = &self.counters;
        if self.ring.is_empty() {
            return watch.parameters(&self.agent, c.round);
        }
        let (program, workspace) = self.rounds.still();
        fill_online(workspace, program, &self.ring, &self.rows, &self.weights);
        let clock = Clock { round: c.round, phase_round: c.round - c.offline_rounds };
        program.run(workspace, &mut self.agent.store, clock, Noise::Seed(self.run.seed));
        watch.parameters(&self.agent, c.round)?;
        watch.metrics(&self.rounds.still_values(), c.round)
    }

    fn evaluate(&mut self, progress: &Progress) -> Result<Option<Evaluation>, TrainError> {
        let stamp = self.stamp();
        let Some(evaluator) = &mut self.evaluator else { return Ok(None) };
        let number = self.counters.evaluations;
        let evaluation = evaluator.run(&mut self.agent.store, &self.scales, number, stamp)?;
        self.counters.evaluations += 1;
        progress.evaluated(&evaluation);
        Ok(Some(evaluation))
    }

    /// The state as a checkpoint has it.
    pub fn state(&self, ledger: Option<Mark>) -> State<'_> {
        let annotated = match (&self.annotation, self.sampling.refresh) {
            (Some(a), true) => {
                let slots = self.ring.offline_rows();
                a.one
                    .columns()
                    .iter()
                    .map(|name| {
                        let mut values = vec![0.0; slots.len()];
                        self.ring.read_column(self.ring.column(name), slots.clone(), &mut values);
                        (*name, values)
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        let online = OnlineState {
            ring: self.ring.state(),
            records: self.ring.online_records(),
            width: self.ring.layout().width(),
            annotated,
            priorities: self.balance.as_ref().zip(self.tree.as_ref()).map(|(balance, tree)| {
                let mut leaves = vec![0.0; self.ring.len()];
                tree.read(0, &mut leaves);
                Priorities { leaves, newest: balance.newest() }
            }),
            env: self.env.state(),
            observation: self.observation.clone(),
        };
        State {
            config: self.config,
            agent: &self.agent,
            scales: &self.scales,
            dataset: &self.facts,
            counters: &self.counters,
            simulators: &self.simulators,
            best: None,
            online: Some(online),
            ledger,
        }
    }

    /// Whether nothing is left to do.
    fn is_over(&self) -> bool {
        self.counters.env_step >= self.options.env_steps && self.due.rounds() == 0
    }

    /// Runs to the end, writing metrics, evaluations and checkpoints. `earlier` are the evaluations of the
    /// offline phase, for the whole curve.
    pub fn run<R: Recorder>(
        &mut self,
        dir: &RunDir,
        earlier: &[Evaluation],
        resumed: bool,
        stop: &Stop,
        quiet: bool,
        probe: &mut R,
    ) -> Result<Ended, TrainError> {
        let keep_every = self.config.section::<AuditConfig>().keep_every;
        self.begin(probe)?;
        let mut columns = self.rounds.metrics();
        columns.extend(self.balance.iter().flat_map(Balance::metrics));
        columns.push(&EPISODE_RETURN);
        let stamp = self.stamp();
        let total = self.options.env_steps;
        let mut progress = Progress::new("online", total, self.counters.env_step, quiet);
        let (mut log, mut evaluations, mut timing);
        if resumed {
            log = MetricLog::resume(dir.path(), &columns, stamp)?;
            evaluations = EvaluationLog::resume(dir.path(), stamp)?;
            timing = TimingLog::resume(dir.path(), stamp)?;
        } else {
            log = MetricLog::create(dir.path(), &columns)?;
            evaluations = EvaluationLog::create(dir.path(), earlier)?;
            timing = TimingLog::create(dir.path())?;
            if let Some(e) = self.evaluate(&progress)? {
                evaluations.record(&e)?;
            }
            evaluations.flush()?;
            log.flush()?;
            timing.flush()?;
            self.state(probe.flush()?).save(dir, false)?;
        }
        let mut watch = Watch::new(dir, self.run.q_bound, Some(self.counters.round));
        let mut ended = Ended::Complete;
        while !self.is_over() {
            // Networks that have diverged choose actions that no environment takes.
            self.advance()
                .or_else(|e| self.examine(&watch).and(Err(watch.priority(e, self.counters.round))))?;
            let now = self.counters.env_step;
            let last = now == total;
            let measure = self.measures(now);
            let learned = self.learn(|c| stop.reached(c), probe);
            let rounds = learned.map_err(|e| watch.priority(e, self.counters.round))?;
            if self.due.rounds() > 0 {
                // In the middle of a step's rounds; the step is written down when they are made.
                self.examine(&watch)?;
                log.flush()?;
                evaluations.flush()?;
                timing.flush()?;
                self.state(probe.flush()?).save(dir, false)?;
                ended = Ended::Interrupted;
                break;
            }
            progress.advance(1);
            if measure {
                let mut values = if rounds > 0 { self.rounds.values() } else { Vec::new() };
                if rounds > 0 {
                    values.extend(self.balance.iter().flat_map(Balance::values));
                }
                watch.metrics(&values, self.counters.round)?;
                if let Some(r) = self.counters.last_return {
                    values.push((&EPISODE_RETURN, r));
                }
                log.record(self.stamp(), &values)?;
                let (seconds, updates_per_second) = (progress.seconds(), progress.rate());
                timing.record(Timing { stamp: self.stamp(), seconds, updates_per_second })?;
            }
            let interrupted = stop.reached(&self.counters);
            let keep = keep_every > 0 && now.is_multiple_of(keep_every);
            let saves = now.is_multiple_of(self.options.checkpoint_every) || last || interrupted || keep;
            let evaluates = now.is_multiple_of(self.options.eval_every) || last;
            if saves || evaluates {
                self.examine(&watch)?;
            }
            if evaluates && let Some(e) = self.evaluate(&progress)? {
                evaluations.record(&e)?;
            }
            if saves {
                log.flush()?;
                evaluations.flush()?;
                timing.flush()?;
                self.state(probe.flush()?).save(dir, keep)?;
                watch.saved(self.counters.round);
            }
            if interrupted && !last {
                ended = Ended::Interrupted;
                break;
            }
        }
        progress.finish();
        if ended == Ended::Complete {
            write_distributions(dir.path(), &self.distributions())?;
        }
        Ok(ended)
    }

    /// Quantities of the adaptation over the whole buffer, split by origin.
    pub fn calibration(&self) -> Value {
        calibration::to_json(&self.quantities(), self.agent.adaptation.ranges())
    }

    fn quantities(&self) -> Vec<(&'static str, ByOrigin)> {
        let Some(a) = &self.annotation else { return Vec::new() };
        let columns: Vec<_> = a.one.columns().iter().map(|n| self.ring.column(n)).collect();
        let of = |slot: usize| {
            let values: Vec<f32> = columns.iter().map(|c| self.ring.get(slot, *c)[0]).collect();
            let online = self.ring.origin(slot) == Origin::Online;
            self.agent.adaptation.quantities(&values, online)
        };
        if self.ring.is_empty() {
            return Vec::new();
        }
        let names: Vec<&'static str> = of(0).into_iter().map(|(name, _)| name).collect();
        names
            .into_iter()
            .enumerate()
            .map(|(k, name)| (name, by_origin(&self.ring, |slot| of(slot)[k].1)))
            .collect()
    }

    fn distributions(&self) -> Vec<Distribution> {
        let Some(a) = &self.annotation else { return Vec::new() };
        let columns: Vec<_> = a.one.columns().iter().map(|n| self.ring.column(n)).collect();
        let mut all: Vec<(&'static str, [Vec<f32>; 2])> = Vec::new();
        for slot in 0..self.ring.len() {
            let values: Vec<f32> = columns.iter().map(|c| self.ring.get(slot, *c)[0]).collect();
            let online = self.ring.origin(slot) == Origin::Online;
            for (k, (name, x)) in self.agent.adaptation.quantities(&values, online).into_iter().enumerate() {
                if all.len() == k {
                    all.push((name, Default::default()));
                }
                all[k].1[usize::from(online)].push(x as f32);
            }
        }
        all.iter()
            .map(|(name, [offline, online])| {
                Distribution::of(name, name, &[("offline", offline), ("online", online)], 40)
            })
            .collect()
    }
}

/// The rule that an adaptation's sampling asks for; an error if the buffer cannot follow it.
pub fn composer(buffer: BufferMode, sampling: &Sampling) -> Result<Composer, TrainError> {
    match (buffer, sampling.prioritised) {
        (BufferMode::Append, false) => Ok(Composer::Uniform { stratified: false }),
        (BufferMode::Append, true) => {
            Ok(Composer::Prioritised { stratified: sampling.stratified, online_share: sampling.online_share })
        }
        (BufferMode::Mix(share), false) => Ok(Composer::Mix(share)),
        (BufferMode::Proportional, false) => Ok(Composer::Proportional),
        (BufferMode::Concat(share), false) => Ok(Composer::Concat(share)),
        (other, true) => Err(TrainError::Input(format!(
            "online.buffer: expected append with prioritised sampling, got {other}; set online.buffer=append or switch priorities off",
        ))),
    }
}

/// The columns of an online batch, with the origin of its rows and their importance weights.
fn fill_online(workspace: &mut Workspace, program: &Program, ring: &Ring, rows: &[u32], weights: &[f32]) {
    fill(workspace, program, ring, rows);
    if let Some(online) = workspace.input_mut(program, replay::ONLINE) {
        for (x, &row) in online.iter_mut().zip(rows) {
            *x = if ring.origin(row as usize) == Origin::Online { 1.0 } else { 0.0 };
        }
    }
    if let Some(importance) = workspace.input_mut(program, replay::IMPORTANCE) {
        importance.copy_from_slice(weights);
    }
}

fn priority(agent: &Agent, ring: &Ring, names: &[&'static str], slot: usize) -> f64 {
    // Two columns at most today; the array keeps this off the heap.
    let mut values = [0.0; 8];
    for (v, name) in values.iter_mut().zip(names) {
        *v = ring.get(slot, ring.column(name))[0];
    }
    agent.adaptation.priority(&values[..names.len()], ring.origin(slot) == Origin::Online)
}
