//! One phase of a run and its loop, the same for all: units of work (an update; online, an environment step with the
//! rounds it pays for), and at set places metrics, evaluations and checkpoints.
//!
//! The state after unit N is a function of (configuration, data, what the run starts from, N).
//!
//! Above 400 lines because a unit, its checkpoint and the loop share one state.

use super::agent::Agent;
use super::annotation;
use super::batches::Batches;
use super::cadence::{self, Roles};
use super::calibration;
use super::conditions::Simulators;
use super::counters::Counters;
use super::data::{Dataset, Recorded, Scales};
use super::dataset_facts::DatasetFacts;
use super::distribution::{Distribution, write_distributions};
use super::divergence::{Watch, check_finite};
use super::error::TrainError;
use super::evaluating::Evaluating;
use super::evaluations::{Evaluation, EvaluationLog};
use super::gather::check_columns;
use super::generated::Generated;
use super::generation::Generation;
use super::held_out::{self, HeldOut, VALIDATION_LOSS};
use super::interaction::{Interaction, Surroundings, environment};
use super::metrics::MetricLog;
use super::opening::Opening;
use super::periods::Periods;
use super::plan::{Work, offline_phase, online_phase};
use super::progress::{Ended, Progress, Stop};
use super::reprioritiser::Reprioritiser;
use super::rounds::Rounds;
use super::rundir::{self, RunDir};
use super::stamp::{self, Stamp};
use super::state::{OnlineState, Priorities, Saved, State};
use super::tensorboard::TensorBoard;
use super::timing::{Timing, TimingLog};
use crate::algo::Latest;
use crate::audit::ledger::Mark;
use crate::audit::{MODEL, OFFLINE, ONLINE, Recorder};
use crate::autodiff::{Clock, Flow, Metric, Noise, Pass};
use crate::config::{AuditConfig, BufferMode, Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::env::EnvError;
use crate::replay::pools::{OFFLINE as OFFLINE_POOL, ONLINE as ONLINE_POOL};
use crate::replay::stats::Summary;
use crate::replay::{Pools, Recipe, SumTree};
use crate::rng::Stream;
use serde_json::Value;

/// Return of the last finished episode.
pub static EPISODE_RETURN: Metric =
    Metric::new("episode_return", "raw return of the last training episode", "", "Training episodes");

/// A phase under way.
pub struct Training<'a> {
    config: &'a Config,
    run: RunConfig,
    work: Work,
    agent: Agent,
    scales: Scales,
    facts: DatasetFacts,
    simulators: Simulators,
    counters: Counters,
    batches: Batches,
    rounds: Rounds,
    /// rounds of the run before this phase
    before: u64,
    periods: Periods,
    /// the state gone on from is the end of a shorter plan
    extended: bool,
    evaluating: Option<Evaluating>,
    held_out: Option<HeldOut>,
    interaction: Option<Interaction>,
    reprioritiser: Option<Reprioritiser>,
    generation: Option<Generation>,
    opening: Option<Opening>,
}

/// What every phase is made from.
pub struct Beginning<'a, 'b> {
    /// of the run
    pub config: &'a Config,
    /// with the parameters that it begins with or that were saved
    pub agent: Agent,
    /// the data, if there are any
    pub dataset: &'b Dataset,
    /// where the run stands
    pub counters: Counters,
    /// a state of this phase to go on from
    pub saved: Option<&'b Saved>,
    /// what the run is simulated with
    pub simulators: Simulators,
}

impl<'a> Training<'a> {
    /// Training on the data. Errors: nothing held out to stop early by; losses that read a column which the data lack;
    /// a saved state beyond `offline.updates` or without what it goes back to; an environment or a simulator that
    /// cannot be had.
    pub fn offline(start: Beginning<'a, '_>) -> Result<Training<'a>, TrainError> {
        let Beginning { config, agent, dataset, mut counters, saved, simulators } = start;
        let (run, options): (RunConfig, OfflineConfig) = (config.section(), config.section());
        held_out::check(config, &agent, dataset.transitions())?;
        let (train, held) = held_out::split_of(config, &agent, dataset);
        let pools = dataset.pools(&train, 0, &[], Recorded::offline(agent.learner.as_ref()))?;
        let trace = agent.trace(&offline_phase(config));
        check_columns(&trace, pools.layout())?;
        let rounds = Rounds::new(trace, Roles::of_delay(agent.learner.delay()));
        let periods = Periods {
            total: options.updates,
            log_every: options.log_every,
            eval_every: options.eval_every,
            checkpoint_every: options.checkpoint_every,
            keep_every: config.section::<AuditConfig>().keep_every,
        };
        reach(saved, "offline.updates", "updates", counters.round, options.updates)?;
        let extended = was_the_end(saved, ("offline", "updates"), counters.round, options.updates)?;
        let held_out = match held.is_empty() {
            true => None,
            false => {
                let pools = dataset.pools(&held, 0, &[], Recorded::default())?;
                HeldOut::new(&agent, pools, options.patience, &periods, saved)?
            }
        };
        let evaluates = options.eval_episodes > 0 && !run.env.is_empty();
        periods.forget(extended && evaluates, &mut counters);
        let evaluating = evaluates
            .then(|| Evaluating::new(&agent, &run, options.eval_episodes, &dataset.scales))
            .transpose()?;
        let batches =
            Batches::uniform(pools, (run.seed, Stream::Batch), options.batch).with_neighbours(&agent);
        Ok(Training {
            work: Work::Offline,
            scales: dataset.scales.clone(),
            facts: dataset.facts.clone(),
            simulators,
            before: 0,
            extended,
            interaction: None,
            reprioritiser: None,
            generation: None,
            opening: None,
            config,
            run,
            agent,
            counters,
            batches,
            rounds,
            periods,
            evaluating,
            held_out,
        })
    }

    /// Fitting, on all of the data, the model of this name that the adaptation needs before it goes online. Errors:
    /// losses that read a column which the data lack; a saved state beyond its updates; a simulator that cannot be had.
    pub fn fit(start: Beginning<'a, '_>, name: &'static str) -> Result<Training<'a>, TrainError> {
        let Beginning { config, agent, dataset, counters, saved, simulators } = start;
        let run: RunConfig = config.section();
        let all: Vec<usize> = (0..dataset.columns.len()).collect();
        let pools = dataset.pools(&all, 0, &[], Recorded::default())?;
        let (updates, trace) = agent.pretraining_of(name);
        check_columns(&trace, pools.layout())?;
        let periods = Periods {
            total: updates,
            log_every: updates,
            eval_every: updates,
            checkpoint_every: config.section::<OfflineConfig>().checkpoint_every,
            keep_every: 0,
        };
        reach(saved, name, "updates", counters.fitted, updates)?;
        let batch = agent.dims.batch;
        Ok(Training {
            work: Work::Fit(name),
            scales: dataset.scales.clone(),
            facts: dataset.facts.clone(),
            simulators,
            before: counters.round,
            extended: false,
            interaction: None,
            reprioritiser: None,
            generation: None,
            opening: None,
            batches: Batches::uniform(pools, (run.seed, Stream::Model), batch),
            rounds: Rounds::new(trace, &[Roles::BOTH]),
            evaluating: None,
            held_out: None,
            config,
            run,
            agent,
            counters,
            periods,
        })
    }

    /// Learning in the environment, `pools` holding what there is at its beginning: annotates it, fixes the adaptation's
    /// constants, compiles. `collected` is what is to be fitted to collected transitions, by its name in [`Agent::fits`].
    /// Errors: an environment that is not named, cannot be had or does not fit the data; a saved state beyond
    /// `online.env_steps` or of another buffer; sampling that the options, the adaptation or the generator exclude;
    /// losses that read a column which the pools lack; priorities that no tree takes.
    pub fn online(
        start: Beginning<'a, '_>,
        mut pools: Pools,
        collected: Option<&str>,
    ) -> Result<Training<'a>, TrainError> {
        let Beginning { config, mut agent, dataset, mut counters, saved, simulators } = start;
        let (run, options): (RunConfig, OnlineConfig) = (config.section(), config.section());
        let env = environment(&run, dataset)?;
        let online = saved.map(|saved| restore(saved, &agent, &mut pools)).transpose()?;
        reach(saved, "online.env_steps", "environment steps", counters.env_step, options.env_steps)?;
        let ended = was_the_end(saved, ("online", "env_steps"), counters.env_step, options.env_steps)?;
        let recipe = recipe(&options, &agent)?;
        let cadence = cadence::of(&options, agent.adaptation.as_ref());
        let rounds = cadence.rounds(options.learning_horizon());
        let batches = Batches::adapted(&mut agent, pools, recipe, (run.seed, rounds), online.as_ref())?;
        let batches = batches.with_neighbours(&agent);
        let trace = agent.trace(&online_phase(config, &agent, counters.offline_rounds));
        let layout = batches.pools().layout();
        check_columns(&trace, layout)?;
        let rounds = Rounds::new(trace, &cadence::roles(&cadence, agent.learner.delay()));
        let offline = batches.pools().pool(OFFLINE_POOL).len();
        let newest = online.as_ref().and_then(|o| o.priorities.as_ref()).map(|p| p.newest);
        let reprioritiser = Reprioritiser::new(&agent, run.seed, offline, newest)?;
        let scales = online.as_ref().and_then(|o| o.generated.scales.clone());
        let generation = Generation::new(&agent, &options, run.seed, batches.pools(), scales);
        if let Some(saved) = saved {
            believe(saved, &counters, &batches, generation.as_ref())?;
        }
        // Of no transition at all nothing can be learnt.
        let after = options.idle_steps().max(1);
        let opening = collected
            .map(|name| Opening::new(&agent, name, (run.seed, after), batches.pools()))
            .transpose()?;
        let mut interaction = Interaction::new(config, env, &agent, dataset, layout);
        match online {
            Some(state) => interaction.restore(&state.env, state.observation, &counters)?,
            None => interaction.begin_episode(&mut counters),
        }
        // Within its last step it had not been evaluated yet.
        let due = interaction.due()
            + opening.as_ref().map_or(0, |opening| opening.due(&counters))
            + generation.as_ref().map_or(0, |generation| generation.due(&counters));
        let extended = ended && due == 0;
        let evaluating = match options.eval_episodes {
            0 => None,
            n => Some(Evaluating::new(&agent, &run, n, &dataset.scales)?),
        };
        let periods = Periods {
            total: options.env_steps,
            log_every: options.log_every,
            eval_every: options.eval_every,
            checkpoint_every: options.checkpoint_every,
            keep_every: config.section::<AuditConfig>().keep_every,
        };
        periods.forget(extended && evaluating.is_some(), &mut counters);
        Ok(Training {
            work: Work::Online,
            scales: dataset.scales.clone(),
            facts: dataset.facts.clone(),
            simulators,
            before: counters.offline_rounds,
            extended,
            interaction: Some(interaction),
            held_out: None,
            config,
            run,
            agent,
            counters,
            batches,
            rounds,
            periods,
            evaluating,
            reprioritiser,
            generation,
            opening,
        })
    }

    /// The agent, how far the run has come, and what it was simulated with, for the next phase.
    pub fn into_parts(self) -> (Agent, Counters, Simulators) {
        (self.agent, self.counters, self.simulators)
    }

    fn stamp(&self) -> Stamp {
        let c = &self.counters;
        match self.work {
            Work::Online => Stamp { phase: stamp::Phase::Online, update: c.round, env_step: c.env_step },
            Work::Offline | Work::Fit(_) => {
                Stamp { phase: stamp::Phase::Offline, update: c.round, env_step: 0 }
            }
        }
    }

    /// The last row that a log keeps: that of the present state, unless it is still to come, within a step, or is there only
    /// because a shorter plan ended with it, and the longer one has none there.
    fn last_row(&self, planned: bool) -> Stamp {
        let stamp = self.stamp();
        match (self.due() > 0 || self.extended && !planned, self.work) {
            (false, _) => stamp,
            (true, Work::Online) => Stamp { env_step: stamp.env_step - 1, ..stamp },
            (true, _) => Stamp { update: stamp.update - 1, ..stamp },
        }
    }

    /// Units that are done.
    fn done(&self) -> u64 {
        match self.work {
            Work::Offline => self.counters.round,
            Work::Fit(_) => self.counters.fitted,
            Work::Online => self.counters.env_step,
        }
    }

    /// Rounds that are still to be made for the last unit.
    fn due(&self) -> u64 {
        self.interaction.as_ref().map_or(0, Interaction::due) + self.opens() + self.generating()
    }

    /// Those of them that fit a network to collected transitions.
    fn opens(&self) -> u64 {
        self.opening.as_ref().map_or(0, |opening| opening.due(&self.counters))
    }

    /// Those of them that the generator makes first.
    fn generating(&self) -> u64 {
        self.generation.as_ref().map_or(0, |generation| generation.due(&self.counters))
    }

    /// How the phase has ended, if it has. A function of the counters alone, so that an ended one stays so.
    fn over(&self) -> Option<Ended> {
        if self.done() >= self.periods.total {
            return (self.due() == 0).then_some(Ended::Complete);
        }
        self.held_out.as_ref()?.over(&self.counters, &self.periods)
    }

    /// Where the next round stands: in the run, and in its phase.
    fn clock(&self) -> Clock {
        match self.work {
            Work::Fit(_) => Clock { round: self.counters.fitted, phase_round: self.counters.fitted },
            _ => {
                let c = &self.counters;
                Clock { round: c.round, phase_round: c.round - self.before - c.fitted }
            }
        }
    }

    /// One round on a batch. Allocates nothing unless it measures.
    fn round<R: Recorder>(&mut self, roles: Roles, measure: bool, probe: &mut R) -> Result<(), TrainError> {
        let clock = self.clock();
        self.batches.draw(&mut self.agent, clock.round, clock.phase_round)?;
        if roles.actor || measure {
            self.batches.seek(&mut self.agent);
        }
        let (program, workspace) = self.rounds.pick(roles, measure);
        self.batches.fill(workspace, program);
        let store = &mut self.agent.store;
        let pass = Pass { clock, noise: Noise::Seed(self.run.seed), rows: self.batches.rows() };
        let mut flow = program.run_with(workspace, store, pass, probe);
        if let (Flow::Continue, Some(beside)) = (flow, &mut self.reprioritiser) {
            flow = beside.round(store, &mut self.batches, clock, measure, probe)?;
        }
        if flow == Flow::Stop {
            return Err(probe.reason().into());
        }
        let c = &mut self.counters;
        match self.work {
            Work::Fit(_) => c.fitted += 1,
            Work::Offline => c.round += 1,
            Work::Online => {
                c.round += 1;
                c.critic_updates += u64::from(roles.critic);
                c.actor_updates += u64::from(roles.actor);
            }
        }
        Ok(())
    }

    /// One unit, or in the middle of one what is left of it, until after one of its rounds it is `enough`; how many rounds
    /// of the phase.
    fn unit<R: Recorder>(
        &mut self,
        enough: impl Fn(&Counters) -> bool,
        probe: &mut R,
    ) -> Result<u64, TrainError> {
        let delay = self.agent.learner.delay();
        if self.interaction.is_none() {
            let measure = self.periods.measures(self.done() + 1);
            let roles = match self.work {
                Work::Fit(_) => Roles::BOTH,
                _ => Roles::delayed(self.counters.round, delay),
            };
            self.round(roles, measure, probe)?;
            return Ok(1);
        }
        let (mut made, mut begun) = (0, false);
        while self.due() > 0 && (!begun || !enough(&self.counters)) {
            begun = true;
            let (opens, generating) = (self.opens() > 0, self.generating() > 0);
            if let (true, Some(opening)) = (opens, &mut self.opening) {
                opening.round(&mut self.agent, self.batches.pools(), &mut self.counters, probe)?;
                continue;
            }
            if let (true, Some(generation)) = (generating, &mut self.generation) {
                generation.round(&mut self.agent, &mut self.batches, self.counters.generator_rounds)?;
                self.counters.generator_rounds += 1;
                continue;
            }
            let round = self.counters.round;
            let interaction = self.interaction.as_mut().expect("invariant: a phase in an environment");
            let roles = interaction.next_round(round, delay);
            // The last round of a step is the one that is measured.
            self.round(roles, self.periods.measures(self.done()) && self.due() == 0, probe)?;
            made += 1;
        }
        Ok(made)
    }

    /// An environment step, where there is an environment and the last one has no rounds due.
    fn advance(&mut self) -> Result<(), TrainError> {
        if self.due() > 0 {
            return Ok(());
        }
        let Some(interaction) = &mut self.interaction else { return Ok(()) };
        interaction.advance(&mut Surroundings {
            agent: &mut self.agent,
            batches: &mut self.batches,
            counters: &mut self.counters,
            scales: &self.scales,
            newest: self.reprioritiser.as_ref().map(Reprioritiser::newest),
        })
    }

    /// Tells a probe which rounds come.
    fn begin<R: Recorder>(&self, probe: &mut R) -> Result<(), TrainError> {
        let name = match self.work {
            Work::Offline => OFFLINE,
            Work::Fit(_) => MODEL,
            Work::Online => ONLINE,
        };
        self.rounds.begin(name, probe)?;
        let beside = self.opening.as_ref().map(|beside| beside.begin(probe));
        let beside = beside.into_iter().chain(self.reprioritiser.as_ref().map(|beside| beside.begin(probe)));
        match beside.into_iter().find(|flow| *flow == Flow::Stop) {
            Some(_) => Err(probe.reason().into()),
            None => Ok(()),
        }
    }

    /// The held-out loss, where there is one.
    fn validate(&mut self) -> Option<f64> {
        let held_out = self.held_out.as_mut()?;
        Some(held_out.measure(&mut self.agent.store, &mut self.counters))
    }

    /// At the end, back to the agent at the smallest held-out loss.
    fn settle(&mut self) {
        if let (Some(_), Some(held_out)) = (self.over(), &self.held_out) {
            held_out.go_back(&mut self.agent.store, &self.counters);
        }
    }

    /// Goes on until there have been so many rounds (where a model is fitted: of it) and environment steps, and leaves no trace in the run's directory.
    /// Errors: an environment that fails, priorities that no tree takes, generated rows that are not finite, the
    /// probe's reason to stop.
    pub fn rerun<R: Recorder>(
        &mut self,
        rounds: u64,
        env_steps: u64,
        probe: &mut R,
    ) -> Result<(), TrainError> {
        self.begin(probe)?;
        let fits = matches!(self.work, Work::Fit(_));
        let short = |c: &Counters| match fits {
            true => c.fitted < rounds,
            false => c.round < rounds || c.env_step < env_steps,
        };
        while short(&self.counters) && self.over().is_none() {
            self.advance()?;
            self.unit(|c| !short(c), probe)?;
            if self.interaction.is_none() && self.periods.measures(self.done()) {
                self.validate();
            }
            self.settle();
        }
        Ok(())
    }

    /// An error if the parameters as they stand have diverged, seen on the last batch.
    fn examine(&mut self, watch: &Watch) -> Result<(), TrainError> {
        let clock = self.clock();
        let round = clock.round;
        if self.batches.pools().is_empty() {
            return watch.parameters(&self.agent, round);
        }
        let (program, workspace) = self.rounds.observer();
        self.batches.fill(workspace, program);
        program.run(workspace, &mut self.agent.store, clock, Noise::Seed(self.run.seed));
        watch.parameters(&self.agent, round)?;
        watch.metrics(&self.rounds.observed(), round)
    }

    /// From now on training does not wait for evaluations where it need not, see [`super::evaluating`]. Errors: the
    /// system gives no thread.
    pub fn evaluate_beside(&mut self) -> Result<(), TrainError> {
        self.evaluating.as_mut().map_or(Ok(()), Evaluating::beside)
    }

    /// Begins an evaluation, and writes it down if it is played at once.
    fn evaluate(&mut self, desk: &mut Desk<'_>) -> Result<(), TrainError> {
        self.evaluated(desk, true)?;
        let stamp = self.stamp();
        let Some(evaluating) = &mut self.evaluating else { return Ok(()) };
        evaluating.begin(&self.agent.store, self.counters.evaluations, stamp);
        self.counters.evaluations += 1;
        self.evaluated(desk, false)
    }

    /// Writes down the evaluation that is played, if it is over or this is to `wait` for it.
    fn evaluated(&mut self, desk: &mut Desk<'_>, wait: bool) -> Result<(), TrainError> {
        let taken = self.evaluating.as_mut().map_or(Ok(None), |evaluating| evaluating.take(wait))?;
        let Some(evaluation) = taken else { return Ok(()) };
        desk.progress.evaluated(&evaluation);
        desk.logs.evaluated(&evaluation)
    }

    /// The state as a checkpoint has it.
    pub fn state(&self, ledger: Option<Mark>) -> State<'_> {
        State {
            config: self.config,
            agent: &self.agent,
            scales: &self.scales,
            dataset: &self.facts,
            counters: &self.counters,
            simulators: &self.simulators,
            best: match self.over() {
                None => self.held_out.as_ref().and_then(|h| h.best(&self.counters)),
                Some(_) => None,
            },
            phase: self.work,
            online: self.interaction.as_ref().map(|interaction| self.online_state(interaction)),
            ledger,
        }
    }

    fn online_state(&self, interaction: &Interaction) -> OnlineState {
        let pools = self.batches.pools();
        let (env, observation) = interaction.state();
        OnlineState {
            capacity: pools.capacity() as u64,
            offline: pools.pool(OFFLINE_POOL).len() as u64,
            pushed: pools.pool(ONLINE_POOL).pushed(),
            records: pools.records(ONLINE_POOL),
            width: pools.layout().width(),
            annotated: self.batches.moving(),
            means: self.batches.means(),
            priorities: self.reprioritiser.as_ref().zip(self.batches.tree()).map(|(beside, tree)| {
                let leaves = pools.iter().flat_map(|pool| {
                    let mut leaves = vec![0.0; pool.len()];
                    tree.read(pool.rows().start, &mut leaves);
                    leaves
                });
                Priorities { leaves: leaves.collect(), newest: beside.newest() }
            }),
            generated: Generated {
                scales: self.generation.as_ref().and_then(|generation| generation.scales().cloned()),
                pools: pools.generated().map(|pool| (pool.pushed(), pools.records(pool.name()))).collect(),
            },
            env,
            observation,
        }
    }

    /// Metrics that the phase logs.
    fn columns(&self) -> Vec<&'static Metric> {
        let mut columns = self.rounds.metrics();
        columns.extend(self.held_out.iter().map(|_| &VALIDATION_LOSS));
        columns.extend(self.reprioritiser.iter().flat_map(Reprioritiser::metrics));
        columns.extend(self.generation.iter().flat_map(Generation::metrics));
        columns.extend(self.interaction.iter().map(|_| &EPISODE_RETURN));
        columns
    }

    /// Their values after a measured unit of so many rounds.
    fn values(&mut self, rounds: u64) -> Vec<(&'static Metric, f64)> {
        let mut values = Vec::new();
        if rounds > 0 {
            values.extend(self.rounds.values());
            values.extend(self.reprioritiser.iter().flat_map(Reprioritiser::values));
        }
        if let Some(generation) = &mut self.generation {
            let (store, done) = (&mut self.agent.store, self.counters.generator_rounds);
            values.extend(generation.values(store, self.batches.pools(), done));
        }
        values.extend(self.validate().map(|loss| (&VALIDATION_LOSS, loss)));
        values
    }

    /// Runs to the end, writing metrics, evaluations and checkpoints; `stop` is looked at after every round. `earlier` are
    /// the evaluations of the run that this one starts from, for the whole curve. Errors: those of [`Training::rerun`];
    /// numbers that show divergence; an evaluation that fails; files that cannot be read or written.
    pub fn run<R: Recorder>(
        &mut self,
        dir: &RunDir,
        earlier: &[Evaluation],
        resumed: bool,
        (stop, quiet): (&Stop, bool),
        probe: &mut R,
    ) -> Result<Ended, TrainError> {
        self.begin(probe)?;
        let progress = Progress::new(self.work.name(), self.periods.total, self.done(), quiet);
        let logs = match (self.work, resumed) {
            (Work::Fit(_), _) => Logs::default(),
            (_, true) => {
                let done = self.done();
                let (measured, evaluated) = (
                    done.is_multiple_of(self.periods.log_every),
                    done.is_multiple_of(self.periods.eval_every),
                );
                Logs::resume(dir, &self.columns(), self.last_row(measured), self.last_row(evaluated))?
            }
            (_, false) => {
                let success = self.evaluating.as_ref().is_some_and(Evaluating::tells_success);
                Logs::create(dir, self.stamp().phase, &self.columns(), earlier, success)?
            }
        };
        let good = (resumed || self.interaction.is_some()).then_some(self.counters.round);
        let watch = Watch::new(dir, self.run.q_bound, good);
        let mut desk = Desk { dir, logs, watch, progress };
        let ended = self.go_on(&mut desk, resumed, stop, probe);
        // Whatever ended it came later.
        let ended = match self.evaluated(&mut desk, true).and(ended) {
            // Later evaluations come after this one: the run goes back to where it was saved, and plays it again.
            Err(e @ TrainError::Env(EnvError::Program { .. })) if dir.file(rundir::CHECKPOINT).exists() => {
                if stop.requested() {
                    return Ok(Ended::Interrupted);
                }
                return Err(TrainError::Input(format!(
                    "{e}; it played an evaluation: mend the program and go on from the last checkpoint with --resume"
                )));
            }
            ended => ended?,
        };
        desk.progress.finish();
        if self.interaction.is_some() && ended == Ended::Complete {
            write_distributions(dir.path(), &self.distributions())?;
        }
        Ok(ended)
    }

    /// Unit after unit, to the end of the phase or until `stop`.
    fn go_on<R: Recorder>(
        &mut self,
        desk: &mut Desk<'_>,
        resumed: bool,
        stop: &Stop,
        probe: &mut R,
    ) -> Result<Ended, TrainError> {
        if self.interaction.is_some() && !resumed {
            self.evaluate(desk)?;
            self.save(desk, probe, false)?;
        }
        let mut ended = self.over();
        while ended.is_none() {
            if let Err(e) = self.advance() {
                // Networks that have diverged choose actions that no environment takes.
                self.examine(&desk.watch)?;
                let TrainError::Env(EnvError::Program { .. }) = e else {
                    return Err(desk.watch.divergence(e, self.counters.round));
                };
                // The step that failed has left no trace.
                self.save(desk, probe, false)?;
                if stop.requested() {
                    return Ok(Ended::Interrupted);
                }
                let at = self.counters.env_step;
                return Err(TrainError::Input(format!(
                    "{e}; the run is saved after {at} steps: mend the program and go on with --resume"
                )));
            }
            let fits = matches!(self.work, Work::Fit(_));
            // A model has no place at which others would stop.
            let enough = |c: &Counters| if fits { stop.requested() } else { stop.reached(c) };
            let made = self.unit(enough, probe);
            let rounds = made.map_err(|e| desk.watch.divergence(e, self.counters.round))?;
            if self.due() > 0 {
                // In the middle of a step's rounds; the step is written down when they are made.
                self.examine(&desk.watch)?;
                self.save(desk, probe, false)?;
                return Ok(Ended::Interrupted);
            }
            desk.progress.advance(1);
            if self.periods.measures(self.done()) {
                let values = self.values(rounds);
                self.check(&desk.watch, &values)?;
                // An event file has all rows in the order of steps.
                let wait = desk.logs.tensorboard();
                self.evaluated(desk, wait)?;
                desk.logs.measured(self.stamp(), values, self.counters.last_return, &desk.progress)?;
            }
            self.settle();
            ended = self.over();
            let interrupted = enough(&self.counters);
            self.after_unit(desk, probe, ended.is_some() || interrupted)?;
            if interrupted {
                ended.get_or_insert(Ended::Interrupted);
            }
        }
        Ok(ended.expect("invariant: the loop ends when the phase has ended"))
    }

    /// An error if metrics show divergence.
    fn check(&self, watch: &Watch, values: &[(&'static Metric, f64)]) -> Result<(), TrainError> {
        match self.work {
            Work::Fit(_) => check_finite(values, self.counters.fitted),
            _ => watch.metrics(values, self.counters.round),
        }
    }

    /// After a unit, evaluates and saves where this is due, or because this is the `last` one for now.
    fn after_unit<R: Recorder>(
        &mut self,
        desk: &mut Desk<'_>,
        probe: &mut R,
        last: bool,
    ) -> Result<(), TrainError> {
        let done = self.done();
        let evaluates = self.periods.evaluates(done) || self.over().is_some();
        let saves = self.periods.saves(done) || last;
        if saves || evaluates {
            self.examine(&desk.watch)?;
        }
        if evaluates {
            self.evaluate(desk)?;
        }
        if saves {
            self.save(desk, probe, self.periods.keeps(done))?;
            desk.watch.saved(self.counters.round);
        }
        Ok(())
    }

    /// Saves the state, behind the rows that lead to it.
    fn save<R: Recorder>(
        &mut self,
        desk: &mut Desk<'_>,
        probe: &mut R,
        keep: bool,
    ) -> Result<(), TrainError> {
        self.evaluated(desk, true)?;
        desk.logs.flush()?;
        self.state(probe.flush()?).save(desk.dir, keep)
    }

    /// Quantities of the adaptation over all rows, pool by pool, and where they should lie.
    pub fn calibration(&self) -> Value {
        let names: Vec<&'static str> = self.batches.pools().iter().map(|p| p.name()).collect();
        let summaries = |values: Vec<Vec<f64>>| {
            let of = |(name, mut x): (&&'static str, Vec<f64>)| (*name, Summary::of(&mut x));
            names.iter().zip(values).map(of).collect()
        };
        let all = self.batches.quantities(&self.agent);
        let all: Vec<_> = all.into_iter().map(|(name, values)| (name, summaries(values))).collect();
        calibration::to_json(&all, self.agent.adaptation.ranges())
    }

    fn distributions(&self) -> Vec<Distribution> {
        let names: Vec<&'static str> = self.batches.pools().iter().map(|p| p.name()).collect();
        let single = |x: &Vec<f64>| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let of = |(name, values): (&'static str, Vec<Vec<f64>>)| {
            let values: Vec<Vec<f32>> = values.iter().map(single).collect();
            let pools: Vec<(&str, &[f32])> =
                names.iter().zip(&values).map(|(name, x)| (*name, &x[..])).collect();
            Distribution::of(name, name, &pools, 40)
        };
        self.batches.quantities(&self.agent).into_iter().map(of).collect()
    }
}

/// Where a phase writes, and who watches over it.
struct Desk<'d> {
    dir: &'d RunDir,
    logs: Logs,
    watch: Watch,
    progress: Progress,
}

/// The logs of a phase; a model that is fitted has none.
#[derive(Default)]
struct Logs(Option<Written>);

struct Written {
    metrics: MetricLog,
    evaluations: EvaluationLog,
    timing: TimingLog,
    tensorboard: Option<TensorBoard>,
}

impl Logs {
    fn create(
        dir: &RunDir,
        phase: stamp::Phase,
        columns: &[&'static Metric],
        earlier: &[Evaluation],
        success: bool,
    ) -> Result<Logs, TrainError> {
        let dir = dir.path();
        let evaluations = EvaluationLog::create_for(dir, earlier, success)?;
        let (metrics, timing) = (MetricLog::create(dir, columns)?, TimingLog::create(dir)?);
        Ok(Logs(Some(Written { metrics, evaluations, timing, tensorboard: TensorBoard::of(dir, phase)? })))
    }

    /// Those of an interrupted run, cut back to the last row with metrics and the last evaluation.
    fn resume(
        dir: &RunDir,
        columns: &[&'static Metric],
        measured: Stamp,
        evaluated: Stamp,
    ) -> Result<Logs, TrainError> {
        let dir = dir.path();
        let metrics = MetricLog::resume(dir, columns, measured)?;
        let evaluations = EvaluationLog::resume(dir, evaluated)?;
        let timing = TimingLog::resume(dir, measured)?;
        let tensorboard = TensorBoard::of(dir, measured.phase)?;
        Ok(Logs(Some(Written { metrics, evaluations, timing, tensorboard })))
    }

    fn measured(
        &mut self,
        stamp: Stamp,
        mut values: Vec<(&'static Metric, f64)>,
        last_return: Option<f64>,
        progress: &Progress,
    ) -> Result<(), TrainError> {
        let Some(to) = &mut self.0 else { return Ok(()) };
        values.extend(last_return.map(|r| (&EPISODE_RETURN, r)));
        to.metrics.record(stamp, &values)?;
        if let Some(tensorboard) = &mut to.tensorboard {
            let named: Vec<(&str, f64)> = values.iter().map(|(metric, x)| (metric.name, *x)).collect();
            tensorboard.measured(stamp, &named)?;
        }
        let (seconds, steps_per_second) = (progress.seconds(), progress.rate());
        Ok(to.timing.record(Timing { stamp, seconds, steps_per_second })?)
    }

    fn tensorboard(&self) -> bool {
        self.0.as_ref().is_some_and(|to| to.tensorboard.is_some())
    }

    fn evaluated(&mut self, evaluation: &Evaluation) -> Result<(), TrainError> {
        let Some(to) = &mut self.0 else { return Ok(()) };
        to.evaluations.record(evaluation)?;
        Ok(to.tensorboard.as_mut().map_or(Ok(()), |tensorboard| tensorboard.evaluated(evaluation))?)
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        let Some(to) = &mut self.0 else { return Ok(()) };
        to.metrics.flush()?;
        to.evaluations.flush()?;
        Ok(to.timing.flush()?)
    }
}

/// The rule that the options, the adaptation's sampling and the generator ask for; an error if one cannot follow the other.
pub fn recipe(options: &OnlineConfig, agent: &Agent) -> Result<Recipe, TrainError> {
    let batch = options.rows();
    let whole = real_recipe(options, agent, batch)?;
    let Some(generator) = &agent.generator else { return Ok(whole) };
    let parts = generator.parts(batch);
    let left = batch - parts.iter().map(|(_, n)| n).sum::<usize>();
    if left == batch {
        return Err(TrainError::Input(format!(
            "run.generator: expected a share of generated rows of at least one in a batch of {batch}, got none, for which nothing need be generated; raise its share, or leave the generator out"
        )));
    }
    let real = match generator.rest(left) {
        Some(_) if whole.is_prioritised() || agent.adaptation.sampling().latest.is_some() => {
            return Err(TrainError::Input(
                "run.generator: expected one that leaves the choice of recorded and collected transitions to the adaptation, which has a rule of its own; take another generator, or --adapt plain".into(),
            ));
        }
        Some(rule) => rule,
        None => real_recipe(options, agent, left)?,
    };
    Ok(Recipe::Generated {
        real: Box::new(real),
        parts,
        whole: Box::new(whole),
        stream: Stream::Generated as u32,
    })
}

/// The rule for so many rows without a generator.
fn real_recipe(options: &OnlineConfig, agent: &Agent, batch: usize) -> Result<Recipe, TrainError> {
    let sampling = agent.adaptation.sampling();
    if let Some(Latest { share, rows, after }) = sampling.latest {
        return match options.buffer {
            BufferMode::Append => Ok(Recipe::Either { share, rows, after }),
            other => Err(TrainError::Input(format!(
                "online.buffer: expected append, because some batches are of the latest transitions alone, got {other}; set online.buffer=append"
            ))),
        };
    }
    match (options.buffer, sampling.prioritised) {
        (BufferMode::Append, false) => Ok(Recipe::Uniform { stratified: false }),
        (BufferMode::Append, true) => {
            Ok(Recipe::Prioritised { stratified: sampling.stratified, online_share: sampling.online_share })
        }
        (BufferMode::Mix(share), false) => Ok(Recipe::mix(share, batch)),
        (BufferMode::Proportional, false) => Ok(Recipe::Proportional),
        (BufferMode::Concat(share), false) => {
            Ok(Recipe::concat((batch as f64 * share).round() as usize, batch))
        }
        (other, true) => Err(TrainError::Input(format!(
            "online.buffer: expected append with prioritised sampling, got {other}; set online.buffer=append or switch priorities off",
        ))),
    }
}

/// What was saved of the online part, its rows back in their pool.
fn restore(saved: &Saved, agent: &Agent, pools: &mut Pools) -> Result<OnlineState, TrainError> {
    let names = annotation::columns(agent);
    let sampling = agent.adaptation.sampling();
    let moving = if sampling.refresh { &names[..] } else { &[] };
    let mut state = saved.online(pools.layout().width(), moving, sampling.opening_share.is_some())?;
    let offline = pools.pool(OFFLINE_POOL).len() as u64;
    let differ =
        [("capacity", pools.capacity() as u64, state.capacity), ("offline rows", offline, state.offline)];
    for (what, expected, got) in differ {
        if expected != got {
            return Err(crate::replay::Error::State { what, expected, got }.into());
        }
    }
    pools.restore(ONLINE_POOL, state.pushed, &state.records)?;
    if let Some(generator) = &agent.generator {
        let sizes = generator.pools();
        state.generated = saved.generated(&sizes, pools.layout().width(), generator.rows().normalised())?;
        for ((name, _), (pushed, records)) in sizes.iter().zip(&state.generated.pools) {
            pools.restore(name, *pushed, records)?;
        }
    }
    Ok(state)
}

/// An error if a checkpoint is no state of an online phase of this configuration.
fn believe(
    saved: &Saved,
    counters: &Counters,
    batches: &Batches,
    generation: Option<&Generation>,
) -> Result<(), TrainError> {
    let (c, massless) = (counters, |tree: &SumTree| tree.total() <= 0.0);
    let what = match () {
        () if c.offline_rounds.saturating_add(c.fitted) > c.round => {
            "rounds of a model within those of the phase"
        }
        () if generation.is_some_and(|generation| generation.lacks_scales(c)) => {
            "generator.scales within a refresh"
        }
        () if !batches.pools().is_empty() && batches.tree().is_some_and(massless) => {
            "priorities that are not all 0"
        }
        () => return Ok(()),
    };
    Err(TrainError::Input(format!(
        "{}: expected {what}, got others; no run has this, take another checkpoint",
        saved.file()
    )))
}

/// An error if a checkpoint lies beyond the end of its phase.
fn reach(saved: Option<&Saved>, option: &str, unit: &str, done: u64, planned: u64) -> Result<(), TrainError> {
    match saved {
        Some(saved) if done > planned => Err(TrainError::Input(format!(
            "{}: expected at most {option} = {planned} {unit}, got {done}; take the checkpoint of this run",
            saved.file(),
        ))),
        _ => Ok(()),
    }
}

/// Whether a checkpoint is the last one of a run that was planned to end there, and now is longer.
fn was_the_end(
    saved: Option<&Saved>,
    (section, key): (&str, &str),
    done: u64,
    planned: u64,
) -> Result<bool, TrainError> {
    let Some(saved) = saved.filter(|_| done < planned) else { return Ok(false) };
    let then = saved.planned(section, key)?;
    Ok(then == Some(done))
}
