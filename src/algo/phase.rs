//! What a trace must know about the phase it is for.

use crate::autodiff::{Adam, Role, Schedule};
use crate::config::{AdamConfig, OnlineActorLr};

/// The rounds of a phase: how many, what they follow, how their schedules run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// batches carry the origin of their rows
    pub online: bool,
    /// planned rounds: the length of `auto` schedules
    pub rounds: u64,
    /// rounds of the run before this phase; 0 offline
    pub before: u64,
    /// the length of `auto` schedules in the offline phase
    pub offline: u64,
    /// rule for the learning rates of the actor's role at the switch; without effect offline
    pub actor_lr: OnlineActorLr,
    /// the policy's updates have a rate of their own ([`super::Cadence::actor`]) in place of
    /// [`super::Learner::delay`]
    pub own_pace: bool,
}

impl Phase {
    /// Offline training of so many rounds.
    pub fn offline(rounds: u64) -> Phase {
        Phase {
            online: false,
            rounds,
            before: 0,
            offline: rounds,
            actor_lr: OnlineActorLr::Restart,
            own_pace: false,
        }
    }

    /// An optimiser whose schedule begins anew with every phase.
    pub fn adam_anew(&self, config: &AdamConfig) -> Adam {
        Adam { lr: config.lr.over(self.rounds), ahead: 0, ..config.adam() }
    }

    /// The optimiser of a role. At the switch the actor's schedules, those of log α and of BRAC's α_D among them, follow
    /// `actor_lr`; that of a critic or a model goes on.
    pub fn adam(&self, role: Role, config: &AdamConfig) -> Adam {
        // Without an offline phase there is none to go on with.
        let offline = if self.before > 0 { self.offline } else { self.rounds };
        let rule = if role == Role::Actor { self.actor_lr } else { OnlineActorLr::Continue };
        let (lr, ahead) = match rule {
            _ if !self.online => (config.lr.over(self.rounds), 0),
            OnlineActorLr::Constant(share) => (Schedule::Constant(decimal(config.lr.ends()[0] * share)), 0),
            OnlineActorLr::Continue => (config.lr.over(offline), self.before),
            OnlineActorLr::Restart => (config.lr.over(self.rounds), 0),
            OnlineActorLr::Fixed(rate) => (Schedule::Constant(rate), 0),
        };
        Adam { lr, ahead, ..config.adam() }
    }
}

/// The number that a person means by a product of two short decimals: 3e-5, not 2.9999999999999997e-5.
fn decimal(x: f64) -> f64 {
    format!("{x:.12e}").parse().expect("invariant: a formatted number is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A training that stopped after 40 of the 80 rounds of its schedule goes on with it, not with another of 40.
    #[test]
    fn a_schedule_that_goes_on_keeps_its_length() {
        let lr = "cosine(0.001, 0, auto)".parse().expect("a schedule");
        let config = AdamConfig::new(lr);
        let phase = Phase { online: true, before: 40, offline: 80, ..Phase::offline(7) };
        let adam = phase.adam(Role::Critic, &config);
        assert_eq!((adam.lr, adam.ahead), (config.lr.over(80), 40));
        // Learning from scratch, there is none to go on with.
        let scratch = Phase { before: 0, ..phase };
        assert_eq!(scratch.adam(Role::Critic, &config).lr, config.lr.over(7));
        assert_eq!((phase.adam_anew(&config).lr, phase.adam_anew(&config).ahead), (config.lr.over(7), 0));
    }
}
