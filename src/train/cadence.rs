//! How often each role runs: updates per environment step, fractions included.
//!
//! Every environment step earns so many updates of each role. A role's update is due when more than half of
//! one is owed, so that after n steps the number done is the nearest integer to G n, halves rounded down: 0.5
//! fires in steps 2, 4, ... What is owed stands in the counters of the run and goes into its checkpoint.
//!
//! An opening may only collect: then its last step earns what all of its steps would have, and makes thousands of
//! rounds. An interruption does not wait for them; what is left to do follows from the counters ([`Due::left`]).
//!
//! A round runs the roles that are due. Where one role has fewer updates in a step than the other, it runs in
//! the last rounds of the step: ten critic updates and one of the policy are nine rounds of the critic and
//! one of both.

use super::counters::Counters;
use crate::algo::{Adaptation, Cadence, Delay};
use crate::config::{AutoOr, OnlineConfig};

/// The roles of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// value functions, their targets, models of the data
    pub critic: bool,
    /// policies and temperatures
    pub actor: bool,
}

impl Roles {
    /// All updates of a round.
    pub const BOTH: Roles = Roles { critic: true, actor: true };
    /// Without the policy.
    pub const CRITIC: Roles = Roles { critic: true, actor: false };
    /// The policy alone.
    pub const ACTOR: Roles = Roles { critic: false, actor: true };

    /// Those of round `round`, counted from 0 at the beginning of the run.
    pub fn delayed(round: u64, delay: Delay) -> Roles {
        Roles { critic: true, actor: delay.acts(round) }
    }

    /// All that [`Roles::delayed`] can give.
    pub fn of_delay(delay: Delay) -> &'static [Roles] {
        if delay.every > 1 { &[Roles::BOTH, Roles::CRITIC] } else { &[Roles::BOTH] }
    }
}

/// The cadence of an online phase: what the user sets, else what the adaptation asks for.
pub fn of(options: &OnlineConfig, adaptation: &dyn Adaptation) -> Cadence {
    let asked = adaptation.cadence();
    let critic = options.updates_per_step.or_else(|| asked.critic);
    let actor = match options.actor_updates_per_step {
        AutoOr::Value(rate) => Some(rate),
        // A critic rate set by hand leaves the adaptation's rate of the policy as it is.
        AutoOr::Auto => asked.actor,
    };
    let (opening, factor) = asked.opening;
    // A phase that ends inside the opening makes its updates at its end.
    let opening = if asked.opening_collects { opening.min(options.learning_horizon()) } else { opening };
    Cadence { critic, actor, opening: (opening, factor), ..asked }
}

/// All roles that the rounds of a cadence can have.
pub fn roles(cadence: &Cadence, delay: Delay) -> Vec<Roles> {
    let Some(actor) = cadence.actor else { return Roles::of_delay(delay).to_vec() };
    if actor == cadence.critic {
        return vec![Roles::BOTH];
    }
    // With a whole number of rounds in every step, the slower role never runs alone.
    let whole = cadence.critic.max(actor).fract() == 0.0;
    let mut all = vec![Roles::BOTH];
    all.extend((!whole || actor < cadence.critic).then_some(Roles::CRITIC));
    all.extend((!whole || actor > cadence.critic).then_some(Roles::ACTOR));
    all
}

/// The rounds that one environment step pays for and that are still to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    critic: u64,
    actor: Option<u64>,
}

impl Due {
    /// Takes what is due after environment step number `env_step`, counted from 1, out of the counters.
    pub fn earn(cadence: &Cadence, env_step: u64, counters: &mut Counters) -> Due {
        let (critic, actor) = cadence.at(env_step);
        counters.credit += critic;
        let critic = take(&mut counters.credit);
        let actor = actor.map(|rate| {
            counters.actor_credit += rate;
            take(&mut counters.actor_credit)
        });
        Due { critic, actor }
    }

    /// What is left to do where a run was interrupted, after so many environment steps that learn: all that they have
    /// earned but what the counters say is done.
    pub fn left(cadence: &Cadence, env_steps: u64, counters: &Counters) -> Due {
        let (opening, factor) = cadence.opening;
        let opened = if cadence.opening_collects && env_steps < opening { 0 } else { env_steps };
        let steps = opened as f64 + opened.min(opening) as f64 * (factor as f64 - 1.0);
        let earned = |rate: f64| take(&mut (rate * steps));
        let (critic, actor) = (earned(cadence.critic), earned(cadence.actor.unwrap_or(0.0)));
        Due {
            critic: critic.saturating_sub(counters.critic_updates),
            actor: cadence.actor.map(|_| actor.saturating_sub(counters.actor_updates)),
        }
    }

    /// How many rounds.
    pub fn rounds(&self) -> u64 {
        self.critic.max(self.actor.unwrap_or(0))
    }

    /// Roles of the next of them, which is round `round` of the run. Panics if there is none.
    pub fn next(&mut self, round: u64, delay: Delay) -> Roles {
        let left = self.rounds();
        assert!(left > 0, "invariant: a round is due");
        let roles = match self.actor {
            None => Roles::delayed(round, delay),
            Some(actor) => Roles { critic: self.critic == left, actor: actor == left },
        };
        self.critic = self.critic.min(left - 1);
        self.actor = self.actor.map(|actor| actor.min(left - 1));
        roles
    }
}

/// The nearest integer to what is owed, halves down whatever rounding has made of them; it is owed no more.
fn take(credit: &mut f64) -> u64 {
    const SLACK: f64 = 1e-9;
    let n = (*credit - 0.5 - SLACK).ceil().max(0.0);
    *credit -= n;
    n as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Updates of (critic, actor) in each of `steps` environment steps, and the kinds of rounds that occur.
    fn run(cadence: Cadence, steps: u64) -> (Vec<(u64, u64)>, Vec<Roles>) {
        let (mut counters, mut done, mut kinds) = (Counters::default(), Vec::new(), Vec::new());
        for step in 1..=steps {
            let mut due = Due::earn(&cadence, step, &mut counters);
            let mut n = (0, 0);
            while due.rounds() > 0 {
                let roles = due.next(counters.round, Delay::last_of(2));
                counters.round += 1;
                counters.critic_updates += u64::from(roles.critic);
                counters.actor_updates += u64::from(roles.actor);
                assert_eq!(Due::left(&cadence, step, &counters).rounds(), due.rounds());
                n = (n.0 + u64::from(roles.critic), n.1 + u64::from(roles.actor));
                if !kinds.contains(&roles) {
                    kinds.push(roles);
                }
            }
            done.push(n);
        }
        (done, kinds)
    }

    fn rates(critic: f64, actor: Option<f64>) -> Cadence {
        Cadence { critic, actor, ..Cadence::default() }
    }

    #[test]
    fn counters_are_exact_for_fractions() {
        for critic in [0.0, 0.1, 0.2, 1.0 / 3.0, 0.5, 2.0 / 3.0, 0.7, 1.0, 1.7, 2.25, 10.0] {
            for actor in [0.0, 0.1, 0.3, 0.5, 0.6667, 1.0, 1.1, 3.0] {
                let cadence = rates(critic, Some(actor));
                let (done, kinds) = run(cadence, 1000);
                let (mut q, mut pi) = (0, 0);
                for (n, (c, a)) in done.iter().enumerate() {
                    (q, pi) = (q + c, pi + a);
                    let steps = (n + 1) as f64;
                    assert!((q as f64 - critic * steps).abs() < 0.5 + 1e-6, "{critic}: {q} after {steps}");
                    assert!((pi as f64 - actor * steps).abs() < 0.5 + 1e-6, "{actor}: {pi} after {steps}");
                }
                assert_eq!(q as f64, (critic * 1000.0).round());
                assert_eq!(pi as f64, (actor * 1000.0).round());
                let compiled = roles(&cadence, Delay::NONE);
                assert!(kinds.iter().all(|k| compiled.contains(k)), "{critic}, {actor}: {kinds:?}");
            }
        }
    }

    #[test]
    fn the_slower_role_runs_last() {
        assert_eq!(run(rates(10.0, Some(1.0)), 3).0, [(10, 1); 3]);
        let mut due = Due { critic: 10, actor: Some(1) };
        let roles: Vec<Roles> = (0..10).map(|round| due.next(round, Delay::NONE)).collect();
        assert_eq!(roles[..9], [Roles::CRITIC; 9]);
        assert_eq!(roles[9], Roles::BOTH);
        assert_eq!(run(rates(1.0, Some(0.5)), 4).0, [(1, 0), (1, 1), (1, 0), (1, 1)]);
        assert_eq!(run(rates(0.5, Some(1.0)), 4).0, [(0, 1), (1, 1), (0, 1), (1, 1)]);
    }

    #[test]
    fn without_a_rate_of_its_own_the_policy_follows_the_base() {
        assert_eq!(run(rates(1.0, None), 4).0, [(1, 0), (1, 1), (1, 0), (1, 1)]);
        assert_eq!(run(rates(3.0, None), 2).0, [(3, 1), (3, 2)]);
    }

    #[test]
    fn the_opening_is_denser() {
        let cadence = Cadence { opening: (3, 10), ..rates(1.0, Some(0.5)) };
        let (done, _) = run(cadence, 6);
        assert_eq!(done, [(10, 5), (10, 5), (10, 5), (1, 0), (1, 1), (1, 0)]);
        assert_eq!(cadence.rounds(6), 33);
        assert_eq!(cadence.rounds(2), 20);
        let collects = Cadence { opening_collects: true, ..cadence };
        let (done, _) = run(collects, 6);
        assert_eq!(done, [(0, 0), (0, 0), (30, 15), (1, 0), (1, 1), (1, 0)]);
        assert_eq!(collects.rounds(6), 33);
        assert_eq!(rates(0.5, None).rounds(101), 50);
        assert_eq!(rates(0.5, Some(2.0)).rounds(10), 20);
    }
}
