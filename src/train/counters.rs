//! How far a run has come.

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Counters {
    /// rounds since the beginning, offline and online
    pub round: u64,
    /// rounds before the online phase; known online
    pub offline_rounds: u64,
    /// which phase of the plan, counted from 0
    pub phase: u64,
    /// rounds of a model that the phase fits; 0 in other phases
    pub fitted: u64,
    /// environment steps of the online phase
    pub env_step: u64,
    /// episodes begun online
    pub episode: u64,
    /// steps of the present episode
    pub episode_step: u64,
    /// evaluations so far
    pub evaluations: u64,
    /// round of the smallest held-out loss, where training stops early
    pub best_round: u64,
    /// the smallest held-out loss, where training stops early
    pub best_loss: Option<f64>,
    /// critic updates that are owed to the environment steps, in [-0.5, 0.5]; see [`super::cadence`]
    pub credit: f64,
    /// the same for the policy, where its rate is given
    pub actor_credit: f64,
    /// critic updates of the online phase
    pub critic_updates: u64,
    /// policy updates of the online phase
    pub actor_updates: u64,
    /// rounds of the generator's refreshes, in the online phase
    pub generator_rounds: u64,
    /// raw reward of the present episode so far
    pub episode_return: f64,
    /// raw return of the last finished online episode
    pub last_return: Option<f64>,
}

impl Counters {
    /// Takes note of a held-out loss; whether it is the smallest so far.
    pub fn judge(&mut self, loss: f64) -> bool {
        let best = self.best_loss.is_none_or(|best| loss < best);
        if best {
            self.best_loss = Some(loss);
            self.best_round = self.round;
        }
        best
    }

    /// Whole numbers as a checkpoint has them.
    pub(super) fn whole(&self) -> [u64; 9] {
        [
            self.round,
            self.offline_rounds,
            self.env_step,
            self.episode,
            self.episode_step,
            self.evaluations,
            self.best_round,
            self.phase,
            self.fitted,
        ]
    }

    /// Real numbers as a checkpoint has them; absent ones are NaN in the file.
    pub(super) fn real(&self) -> [f64; 4] {
        let or_nan = |x: Option<f64>| x.unwrap_or(f64::NAN);
        [self.credit, or_nan(self.best_loss), self.episode_return, or_nan(self.last_return)]
    }
}
