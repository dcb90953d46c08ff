//! Offline training: rounds on a fixed dataset.
//!
//! One loop serves base algorithms and the model of the data that an adaptation needs; what differs is the
//! trace. The state after round N is a function of (configuration, data, N).
//!
//! Above 400 lines because compiled rounds, their loop and where it stops early share one state.

use super::agent::{Agent, Validation, check_columns, fill};
use super::cadence::Roles;
use super::conditions::Simulators;
use super::data::Dataset;
use super::divergence::Watch;
use super::evaluate::Evaluator;
use super::metrics::{self, DatasetFacts, EvaluationLog, MetricLog, Stamp, Timing, TimingLog};
use super::progress::{Progress, Stop};
use super::rundir::RunDir;
use super::state::{Counters, Saved, State};
use super::{TrainError, data};
use crate::algo::Phase;
use crate::audit::ledger::Mark;
use crate::audit::{OFFLINE, Recorder};
use crate::autodiff::{Clock, Flow, Metric, Noise, Pass, Program, Select, Store, Trace, Workspace};
use crate::config::{AuditConfig, Config, OfflineConfig, RunConfig};
use crate::replay::{Composer, Draw, Ring};
use crate::rng::{Rng, Stream};
use rand::seq::SliceRandom;
use std::sync::Arc;

/// Loss on held-out transitions.
pub static VALIDATION_LOSS: Metric =
    Metric::new("validation_loss", "loss on held-out transitions", "", "Held-out loss");

/// Compiled rounds of one trace: a pair of programs, with and without metrics, for each set of roles, and metrics
/// alone.
pub struct Rounds {
    trace: Arc<Trace>,
    compiled: Vec<(Roles, Compiled)>,
    still: (Program, Workspace),
    /// which was measured last
    measured: usize,
}

/// The two programs of one set of roles.
struct Compiled {
    plain: (Program, Workspace),
    measured: (Program, Workspace),
}

impl Compiled {
    fn new(trace: &Trace, roles: Roles) -> Compiled {
        let compile = |metrics| compile(trace, Select { critic: roles.critic, actor: roles.actor, metrics });
        Compiled { plain: compile(false), measured: compile(true) }
    }
}

fn compile(trace: &Trace, select: Select) -> (Program, Workspace) {
    let program = Program::compile(trace, select);
    let workspace = Workspace::new(&program);
    (program, workspace)
}

fn values((program, workspace): &(Program, Workspace)) -> Vec<(&'static Metric, f64)> {
    program.metrics().zip(workspace.metrics(program)).map(|(m, v)| (m, f64::from(v))).collect()
}

impl Rounds {
    /// Compiles a trace for each of these sets of roles.
    pub fn new(trace: Trace, roles: &[Roles]) -> Rounds {
        Rounds {
            compiled: roles.iter().map(|&r| (r, Compiled::new(&trace, r))).collect(),
            still: compile(&trace, Select { critic: false, actor: false, metrics: true }),
            trace: Arc::new(trace),
            measured: 0,
        }
    }

    /// The program of a round with these roles, and its memory.
    pub fn pick(&mut self, roles: Roles, metrics: bool) -> (&Program, &mut Workspace) {
        let found = self.compiled.iter().position(|(r, _)| *r == roles);
        let k = found.expect("invariant: compiled for every set of roles that occurs");
        if metrics {
            self.measured = k;
        }
        let compiled = &mut self.compiled[k].1;
        let (program, workspace) = if metrics { &mut compiled.measured } else { &mut compiled.plain };
        (program, workspace)
    }

    /// What is compiled.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// Metrics that measured rounds report.
    pub fn metrics(&self) -> Vec<&'static Metric> {
        self.compiled[0].1.measured.0.metrics().collect()
    }

    /// Values of the last measured round.
    pub fn values(&self) -> Vec<(&'static Metric, f64)> {
        values(&self.compiled[self.measured].1.measured)
    }

    /// The program that measures and moves nothing.
    pub fn still(&mut self) -> (&Program, &mut Workspace) {
        let (program, workspace) = &mut self.still;
        (program, workspace)
    }

    /// Its values, from its last run.
    pub fn still_values(&self) -> Vec<(&'static Metric, f64)> {
        values(&self.still)
    }
}

/// Rows for training and rows held out, both ascending; a function of the seed.
pub fn split(rows: usize, held_out: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let count = (rows as f64 * held_out) as usize;
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut Rng::new(seed, Stream::Validation, 0));
    let mut out = order.split_off(rows - count);
    order.sort_unstable();
    out.sort_unstable();
    (order, out)
}

/// How offline training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// all rounds were done
    Complete,
    /// the held-out loss stopped falling
    Patience,
    /// a signal asked for it; the checkpoint can be resumed
    Interrupted,
}

/// An error if training is to stop early and there is nothing to stop it by.
pub fn check(config: &Config, agent: &Agent, dataset: &Dataset) -> Result<(), TrainError> {
    if dataset.is_absent() || agent.validation_trace(1).is_none() {
        return Ok(());
    }
    let options: OfflineConfig = config.section();
    let (rows, share) = (dataset.columns.len(), options.validation_fraction);
    if options.patience == 0 || (rows as f64 * share) as usize > 0 {
        return Ok(());
    }
    // Two digits, rounded up, so that the product is at least 1.
    let enough = (100.0 / rows as f64).ceil().max(1.0) / 100.0;
    let more = if rows > 1 { format!("set it to {enough} or more, or ") } else { String::new() };
    Err(TrainError::Input(format!(
        "offline.validation_fraction: expected at least one of {rows} transitions held out to stop early by, got none with {share}; {more}train to the end with offline.patience=0",
    )))
}

/// What early stopping has done to a run that has ended, in words; `None` for other runs.
pub fn early_stop(config: &Config, counters: &Counters) -> Option<String> {
    let options: OfflineConfig = config.section();
    let best = counters.best_loss.filter(|_| options.patience > 0 && counters.env_step == 0)?;
    let kept = format!("the weights of update {} are kept", counters.best_round);
    Some(match counters.round < options.updates {
        true => format!(
            "stopped early after update {}: the held-out loss has not fallen below {best:.6} for {} updates; {kept}",
            counters.round,
            counters.round - counters.best_round
        ),
        false => format!(
            "trained to the end, update {}: the smallest held-out loss is {best:.6}; {kept}",
            counters.round
        ),
    })
}

/// Trains an agent on a dataset inside a run directory.
pub struct Offline<'a> {
    config: &'a Config,
    run: RunConfig,
    options: OfflineConfig,
    agent: Agent,
    scales: data::Scales,
    facts: DatasetFacts,
    simulators: Simulators,
    ring: Ring,
    validation: Option<Validation>,
    /// the agent at the smallest held-out loss so far, where training stops early
    best: Option<Store>,
    evaluator: Option<Evaluator>,
    rounds: Rounds,
    counters: Counters,
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl<'a> Offline<'a> {
    /// Prepares a run from its beginning, or from a saved state.
    pub fn new(
        config: &'a Config,
        mut agent: Agent,
        dataset: &Dataset,
        saved: Option<&Saved>,
    ) -> Result<Offline<'a>, TrainError> {
        let run: RunConfig = config.section();
        let options: OfflineConfig = config.section();
        check(config, &agent, dataset)?;
        let held_out = agent.validation_trace(1).map_or(0.0, |_| options.validation_fraction);
        let (train, held) = split(dataset.columns.len(), held_out, run.seed);
        let validation = match held.is_empty() {
            true => None,
            false => Validation::new(&agent, dataset.ring(&held, 0, &[], None)?),
        };
        let evaluator = if options.eval_episodes > 0 && !run.env.is_empty() {
            Some(Evaluator::new(&agent, &run.env, options.eval_episodes, run.seed)?)
        } else {
            None
        };
        let phase = Phase::offline(options.updates);
        let ring = dataset.ring(&train, 0, &[], agent.learner.return_to_go())?;
        let trace = agent.trace(&phase);
        check_columns(&trace, ring.layout())?;
        let rounds = Rounds::new(trace, Roles::of_delay(agent.learner.actor_every()));
        let mut counters = Counters::default();
        if let Some(saved) = saved {
            saved.check_dataset(&dataset.facts)?;
            counters = saved.restore(&mut agent)?;
            if counters.round > options.updates {
                return Err(TrainError::Input(format!(
                    "{}: expected at most offline.updates = {} updates, got {}; take the checkpoint of this run",
                    saved.file(),
                    options.updates,
                    counters.round,
                )));
            }
        }
        let saved_best = saved.map(|saved| saved.best(&agent)).transpose()?.flatten();
        let known = saved_best.is_some();
        let best = (options.patience > 0 && validation.is_some())
            .then(|| saved_best.unwrap_or_else(|| agent.store.clone()));
        let this = Offline {
            config,
            run,
            ring,
            scales: dataset.scales.clone(),
            facts: dataset.facts.clone(),
            simulators: Simulators::of(config, saved, counters.round)?,
            validation,
            best,
            evaluator,
            rounds,
            counters,
            rows: vec![0; options.batch],
            weights: vec![1.0; options.batch],
            options,
            agent,
        };
        let c = &this.counters;
        if let Some(saved) = saved
            && this.best.is_some()
            && this.over().is_none()
            && !known
            && c.best_loss.is_some()
            && c.best_round != c.round
        {
            return Err(TrainError::Input(format!(
                "{}: expected the weights of update {}, the best so far, got those of update {} alone; it was written by a version that kept the last: train anew",
                saved.file(),
                c.best_round,
                c.round,
            )));
        }
        Ok(this)
    }

    fn stamp(&self) -> Stamp {
        Stamp { phase: metrics::Phase::Offline, update: self.counters.round, env_step: 0 }
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
            best: self
                .best
                .as_ref()
                .filter(|_| self.over().is_none() && self.counters.best_round < self.counters.round),
            online: None,
            ledger,
        }
    }

    /// Whether metrics are measured in the round that makes so many.
    fn measures(&self, next: u64) -> bool {
        next.is_multiple_of(self.options.log_every) || next == self.options.updates
    }

    /// One round. Allocates nothing unless it measures.
    fn round<R: Recorder>(&mut self, measure: bool, probe: &mut R) -> Result<(), TrainError> {
        let draw = Draw { seed: self.run.seed, stream: Stream::Batch as u32, update: self.counters.round };
        Composer::Uniform { stratified: false }.compose(
            draw,
            &self.ring,
            None,
            0.0,
            &mut self.rows,
            &mut self.weights,
        );
        let roles = Roles::delayed(self.counters.round, self.agent.learner.actor_every());
        let (program, workspace) = self.rounds.pick(roles, measure);
        fill(workspace, program, &self.ring, &self.rows);
        let clock = Clock { round: self.counters.round, phase_round: self.counters.round };
        let pass = Pass { clock, noise: Noise::Seed(self.run.seed), rows: &self.rows };
        if program.run_with(workspace, &mut self.agent.store, pass, probe) == Flow::Stop {
            return Err(probe.reason().into());
        }
        self.counters.round += 1;
        Ok(())
    }

    /// Goes on to round `until` and leaves no trace in the run's directory.
    pub fn replay<R: Recorder>(&mut self, until: u64, probe: &mut R) -> Result<(), TrainError> {
        begin(probe, OFFLINE, &self.rounds)?;
        while self.counters.round < until && self.over().is_none() {
            let measure = self.measures(self.counters.round + 1);
            self.round(measure, probe)?;
            if measure {
                self.validate();
            }
            self.go_back();
        }
        Ok(())
    }

    /// How training has ended, if it has. A function of the counters alone, so that an ended run stays so.
    fn over(&self) -> Option<Ended> {
        let c = &self.counters;
        let impatient = self.best.is_some()
            && c.best_loss.is_some()
            && self.measures(c.round)
            && c.round >= c.best_round + self.options.patience;
        match c.round >= self.options.updates {
            true => Some(Ended::Complete),
            false => impatient.then_some(Ended::Patience),
        }
    }

    /// The held-out loss, where there is one; remembers the agent at the smallest.
    fn validate(&mut self) -> Option<f64> {
        let loss = self.validation.as_mut()?.loss(&mut self.agent.store);
        if let Some(best) = &mut self.best
            && self.counters.judge(loss)
        {
            copy(&self.agent.store, best);
        }
        Some(loss)
    }

    /// At the end, back to the agent at the smallest held-out loss.
    fn go_back(&mut self) {
        if let (Some(_), Some(best), Some(_)) = (self.over(), &self.best, self.counters.best_loss) {
            copy(best, &mut self.agent.store);
        }
    }

    /// An error if the parameters as they stand have diverged, seen on the last batch.
    fn examine(&mut self, watch: &Watch) -> Result<(), TrainError> {
        let (program, workspace) = self.rounds.still();
        fill(workspace, program, &self.ring, &self.rows);
        let clock = Clock { round: self.counters.round, phase_round: self.counters.round };
        program.run(workspace, &mut self.agent.store, clock, Noise::Seed(self.run.seed));
        watch.parameters(&self.agent, self.counters.round)?;
        watch.metrics(&self.rounds.still_values(), self.counters.round)
    }

    /// Runs to the end, writing metrics, evaluations and checkpoints; `stop` is looked at every round.
    pub fn run<R: Recorder>(
        &mut self,
        dir: &RunDir,
        resumed: bool,
        stop: &Stop,
        quiet: bool,
        probe: &mut R,
    ) -> Result<Ended, TrainError> {
        let keep_every = self.config.section::<AuditConfig>().keep_every;
        begin(probe, OFFLINE, &self.rounds)?;
        let mut columns = self.rounds.metrics();
        if self.validation.is_some() {
            columns.push(&VALIDATION_LOSS);
        }
        let (mut log, mut evaluations, mut timing) = if resumed {
            let stamp = self.stamp();
            (
                MetricLog::resume(dir.path(), &columns, stamp)?,
                EvaluationLog::resume(dir.path(), stamp)?,
                TimingLog::resume(dir.path(), stamp)?,
            )
        } else {
            (
                MetricLog::create(dir.path(), &columns)?,
                EvaluationLog::create(dir.path(), &[])?,
                TimingLog::create(dir.path())?,
            )
        };
        let mut progress = Progress::new("offline", self.options.updates, self.counters.round, quiet);
        let mut watch = Watch::new(dir, self.run.q_bound, resumed.then_some(self.counters.round));
        let mut ended = self.over();
        while ended.is_none() {
            let next = self.counters.round + 1;
            let measure = self.measures(next);
            self.round(measure, probe)?;
            progress.advance(1);
            if measure {
                let mut values = self.rounds.values();
                values.extend(self.validate().map(|loss| (&VALIDATION_LOSS, loss)));
                watch.metrics(&values, next)?;
                log.record(self.stamp(), &values)?;
                let (seconds, updates_per_second) = (progress.seconds(), progress.rate());
                timing.record(Timing { stamp: self.stamp(), seconds, updates_per_second })?;
            }
            self.go_back();
            ended = self.over();
            let last = ended.is_some();
            let interrupted = stop.reached(&self.counters);
            let keep = keep_every > 0 && next.is_multiple_of(keep_every);
            let saves = next.is_multiple_of(self.options.checkpoint_every) || last || interrupted || keep;
            let evaluates = next.is_multiple_of(self.options.eval_every) || last;
            if saves || evaluates {
                self.examine(&watch)?;
            }
            if let Some(evaluator) = &mut self.evaluator
                && evaluates
            {
                let stamp = Stamp { phase: metrics::Phase::Offline, update: next, env_step: 0 };
                let evaluation =
                    evaluator.run(&mut self.agent.store, &self.scales, self.counters.evaluations, stamp)?;
                self.counters.evaluations += 1;
                progress.evaluated(&evaluation);
                evaluations.record(&evaluation)?;
            }
            if saves {
                log.flush()?;
                evaluations.flush()?;
                timing.flush()?;
                self.state(probe.flush()?).save(dir, keep)?;
                watch.saved(next);
            }
            if interrupted {
                ended.get_or_insert(Ended::Interrupted);
            }
        }
        progress.finish();
        Ok(ended.expect("invariant: the loop ends when training has ended"))
    }

    /// The agent, trained so far.
    pub fn into_agent(self) -> Agent {
        self.agent
    }
}

/// Parameters, moments and steps of one agent's store into another's.
fn copy(from: &Store, to: &mut Store) {
    let tensors =
        [(&from.values, &mut to.values), (&from.first, &mut to.first), (&from.second, &mut to.second)];
    for (from, to) in tensors {
        from.iter().zip(to).for_each(|(from, to)| to.copy_from_slice(from));
    }
    to.steps.copy_from_slice(&from.steps);
}

/// Tells a probe which rounds come.
pub fn begin<R: Recorder>(probe: &mut R, phase: &'static str, rounds: &Rounds) -> Result<(), TrainError> {
    match probe.phase(phase, rounds.trace()) {
        Flow::Continue => Ok(()),
        Flow::Stop => Err(probe.reason().into()),
    }
}
