//! What a run does, phase by phase: `[offline 1M] -> [bc 100k] -> [online 30k]`.
//!
//! The plan follows from the configuration, the agent, and what the run starts from; a checkpoint says in which phase it
//! was made. Training on data fits the models that the learner reads and then learns. Fine-tuning fits what the adaptation
//! needs first and then goes online; learning from scratch, with data beside the environment or without, fits both.

use std::fmt;

use super::agent::Agent;
use super::cadence;
use crate::algo::Phase;
use crate::config::{Begin, Config, OfflineConfig, OnlineActorLr, OnlineConfig, RunConfig};

/// What a phase does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Updates on the data.
    Offline,
    /// Fits the model of this name, which the learner or the adaptation needs before what comes next.
    Fit(&'static str),
    /// Environment steps, and the rounds they pay for.
    Online,
}

impl Work {
    /// Words of the kinds, as a checkpoint has them.
    pub const WORDS: [&str; 3] = ["offline", Work::FIT, Work::ONLINE];
    /// The second.
    pub const FIT: &str = "fit";
    /// The last of them.
    pub const ONLINE: &str = "online";

    /// Which kind.
    pub fn word(self) -> &'static str {
        match self {
            Work::Offline => Work::WORDS[0],
            Work::Fit(_) => Work::FIT,
            Work::Online => Work::ONLINE,
        }
    }

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Work::Fit(name) => name,
            Work::Offline | Work::Online => self.word(),
        }
    }
}

/// One phase of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// what it does
    pub work: Work,
    /// for how long: updates; online, environment steps
    pub length: u64,
}

/// The phases of a run, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<Stage>);

impl Plan {
    /// Training on the data: first the models that the learner needs, (name, updates).
    pub fn offline(config: &Config, fits: impl IntoIterator<Item = (&'static str, u64)>) -> Plan {
        let length = config.section::<OfflineConfig>().updates;
        Plan::fitting(fits, Stage { work: Work::Offline, length })
    }

    /// Going online: first the models that are still to be fitted.
    pub fn online(config: &Config, fits: impl IntoIterator<Item = (&'static str, u64)>) -> Plan {
        let length = config.section::<OnlineConfig>().env_steps;
        Plan::fitting(fits, Stage { work: Work::Online, length })
    }

    fn fitting(fits: impl IntoIterator<Item = (&'static str, u64)>, last: Stage) -> Plan {
        let fit = |(name, length)| Stage { work: Work::Fit(name), length };
        Plan(fits.into_iter().map(fit).chain([last]).collect())
    }

    /// This one after another.
    pub fn after(self, earlier: Plan) -> Plan {
        Plan([earlier.0, self.0].concat())
    }
}

/// Whether a run that starts from nothing goes online at once.
pub fn starts_online(config: &Config) -> bool {
    let run: RunConfig = config.section();
    match run.begin {
        Begin::Auto => run.dataset.is_empty(),
        Begin::Offline => false,
        Begin::Online => true,
    }
}

/// What the traces of the offline phase are made for.
pub fn offline_phase(config: &Config) -> Phase {
    Phase::offline(config.section::<OfflineConfig>().horizon())
}

/// What the traces of the online phase are made for, after `before` rounds of an earlier run.
pub fn online_phase(config: &Config, agent: &Agent, before: u64) -> Phase {
    let options: OnlineConfig = config.section();
    let cadence = cadence::of(&options, agent.adaptation.as_ref());
    Phase {
        online: true,
        rounds: cadence.rounds(options.learning_horizon()),
        before,
        // A run that learnt from scratch has made rounds of no other kind.
        offline: match config.has::<OfflineConfig>() {
            true => config.section::<OfflineConfig>().horizon(),
            false => before,
        },
        // An untrained agent comes to no switch.
        actor_lr: if before == 0 { OnlineActorLr::Restart } else { options.actor_lr },
        own_pace: cadence.actor.is_some(),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, stage) in self.0.iter().enumerate() {
            let arrow = if k > 0 { " -> " } else { "" };
            write!(f, "{arrow}[{} {}]", stage.work.name(), count(stage.length))?;
        }
        Ok(())
    }
}

/// 1M, 30k, 1500.
fn count(n: u64) -> String {
    match n {
        _ if n > 0 && n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        _ if n > 0 && n.is_multiple_of(1000) => format!("{}k", n / 1000),
        _ => n.to_string(),
    }
}

/// The way back: `100k`, `1M`, `1500`.
pub fn parse_count(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1000),
        b'M' => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let digits = digits.replace('_', "");
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_printed_and_lengths_are_read() {
        let stage = |work, length| Stage { work, length };
        let plan = Plan(vec![stage(Work::Fit("bc"), 100_000), stage(Work::Online, 30_500)]);
        let plan = plan.after(Plan(vec![stage(Work::Offline, 1_000_000)]));
        assert_eq!(plan.to_string(), "[offline 1M] -> [bc 100k] -> [online 30500]");
        for (text, n) in [("1M", 1_000_000), ("30k", 30_000), ("1_500", 1500), ("7", 7)] {
            assert_eq!(parse_count(text), Some(n), "{text}");
        }
        for text in ["", "k", "1.5k", "-3", "1e3", "99999999999999999999", "9999999999999999M"] {
            assert_eq!(parse_count(text), None, "{text}");
        }
    }
}
