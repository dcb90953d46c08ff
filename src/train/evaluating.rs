//! Evaluations of a phase: its training waits for them, or goes on while they are played on a thread beside it.
//!
//! An evaluation is a function of (seed, number, parameters), and the parameters are copied when it begins, so that it does
//! not matter when it is played. Its result is taken before the next one begins, before every checkpoint and before
//! whatever ends the phase; with an event file, which has its rows in the order of steps, before the next row of metrics too.
//! So no file differs, and behind a checkpoint there are the rows of all evaluations that it counts, whenever a run is
//! killed. The price: where a checkpoint falls on the unit of an evaluation, training waits.

use baq_kernels::{Beside, Pending};

use super::agent::Agent;
use super::data::Scales;
use super::error::TrainError;
use super::evaluate::Evaluator;
use super::evaluations::Evaluation;
use super::stamp::Stamp;
use crate::autodiff::{ParamId, Store};
use crate::config::RunConfig;

/// Plays the evaluations of a phase, one at a time.
pub struct Evaluating {
    /// `None` while it plays
    player: Option<Player>,
    playing: Option<Pending<(Player, Result<Evaluation, TrainError>)>>,
    thread: Option<Beside>,
}

/// Everything that an evaluation needs, and nothing that training touches.
struct Player {
    evaluator: Evaluator,
    scales: Scales,
    read: Vec<ParamId>,
    /// a copy of what acting reads
    store: Store,
}

impl Evaluating {
    /// Evaluations of the agent in the environment of its run, for which training waits.
    ///
    /// # Errors
    /// Those of [`Evaluator::new`].
    pub fn new(
        agent: &Agent,
        run: &RunConfig,
        episodes: usize,
        scales: &Scales,
    ) -> Result<Evaluating, TrainError> {
        let evaluator = Evaluator::new(agent, &run.env, episodes, run.seed)?;
        let read = agent.acting_parameters();
        let store = Store::of_values(agent.table.clone(), &read);
        let player = Player { evaluator, scales: scales.clone(), read, store };
        Ok(Evaluating { player: Some(player), playing: None, thread: None })
    }

    /// From now on training does not wait for them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn beside(&mut self) -> Result<(), TrainError> {
        let thread = Beside::new();
        let thread = thread.map_err(|e| {
            TrainError::Input(format!(
                "cannot start a thread for evaluations: {e}; do without by --evaluate-beside off"
            ))
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Whether the environment says if goals are reached; asked before the first begins.
    pub fn tells_success(&self) -> bool {
        self.player.as_ref().is_some_and(|player| player.evaluator.tells_success())
    }

    /// Begins the evaluation of this number with the parameters as they are. The result of the one before must have been
    /// taken.
    pub fn begin(&mut self, parameters: &Store, number: u64, stamp: Stamp) {
        let mut player = self.player.take().expect("invariant: one at a time");
        for id in &player.read {
            player.store.values[id.index()].copy_from_slice(&parameters.values[id.index()]);
        }
        let play = move || {
            let Player { evaluator, scales, store, .. } = &mut player;
            let evaluation = evaluator.run(store, scales, number, stamp);
            (player, evaluation)
        };
        self.playing = Some(match &self.thread {
            Some(thread) => thread.start(play),
            None => Pending::done(play()),
        });
    }

    /// The evaluation that was begun, if it is over or this is to `wait` for it; `None` too if none was, or if it was taken.
    ///
    /// # Errors
    /// The environment failed.
    pub fn take(&mut self, wait: bool) -> Result<Option<Evaluation>, TrainError> {
        let Some((player, evaluation)) = self.playing.as_ref().and_then(|playing| playing.take(wait)) else {
            return Ok(None);
        };
        (self.player, self.playing) = (Some(player), None);
        evaluation.map(Some)
    }
}
