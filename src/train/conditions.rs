//! What the bits of a run depend on beside its configuration and its data: instruction set, numerics and simulator. A
//! checkpoint says under which it was made, so that nobody goes on under others unawares.

use super::error::TrainError;
use crate::config::{Config, MujocoConfig};
use crate::env::mujoco;

/// The commit that this program was built from.
pub const COMMIT: &str = env!("BAQ_COMMIT");

/// The simulator of this process. Errors: MuJoCo cannot be found, fetched or used.
pub fn simulator() -> Result<MujocoConfig, TrainError> {
    let library = mujoco::library()?;
    Ok(MujocoConfig { release: library.release().into(), sha256: library.sha256().into() })
}

/// An error if this process has another simulator than a run was begun with: a replay would not be of that run.
pub fn check_simulator(config: &Config) -> Result<(), TrainError> {
    let began: MujocoConfig = config.section();
    if began.release.is_empty() {
        return Ok(());
    }
    let here = simulator()?;
    match began == here {
        true => Ok(()),
        false => Err(TrainError::Input(format!(
            "bits hold for one simulator: expected {began}, this process has {here}; set MUJOCO_PATH to the other"
        ))),
    }
}

/// Simulators of a run in order of time, each with the round from which on; there is more than one only if somebody
/// accepted it. A run that uses none has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulators(Vec<(u64, MujocoConfig)>);

impl Simulators {
    /// Those of a run that stands at `round`: the configuration's, or after a checkpoint its own and, if that is
    /// another, the one of this process. Errors: those of [`simulator`], after a checkpoint of a run that uses one.
    pub fn of(config: &Config, saved: Option<Simulators>, round: u64) -> Result<Simulators, TrainError> {
        let begun: MujocoConfig = config.section();
        if begun.release.is_empty() {
            return Ok(Simulators::default());
        }
        let Some(mut all) = saved else { return Ok(Simulators(vec![(0, begun)])) };
        let here = simulator()?;
        if all.last() != Some(&here) {
            all.0.push((round, here));
        }
        Ok(all)
    }

    /// The present one.
    pub fn last(&self) -> Option<&MujocoConfig> {
        self.0.last().map(|(_, simulator)| simulator)
    }

    /// The first change: the round from which on, and to which.
    pub fn change(&self) -> Option<&(u64, MujocoConfig)> {
        self.0.get(1)
    }

    /// As metadata: a line for each.
    pub fn text(&self) -> String {
        let lines = self.0.iter().map(|(round, m)| format!("{round} {} {}", m.release, m.sha256));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The way back; `None` for anything else.
    pub fn parse(text: &str) -> Option<Simulators> {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (round, release, sha256) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
            let simulator = MujocoConfig { release: release.into(), sha256: sha256.into() };
            words.next().is_none().then_some((round, simulator))
        };
        text.lines().map(line).collect::<Option<Vec<_>>>().map(Simulators)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulators_are_written_and_read() {
        let of = |release: &str| MujocoConfig { release: release.into(), sha256: "0f".into() };
        let all = Simulators(vec![(0, of("3.3.7")), (70, of("3.2.0"))]);
        assert_eq!(all.text(), "0 3.3.7 0f\n70 3.2.0 0f");
        assert_eq!(Simulators::parse(&all.text()), Some(all.clone()));
        assert_eq!((all.last(), all.change()), (Some(&of("3.2.0")), Some(&(70, of("3.2.0")))));
        assert_eq!(Simulators::parse(""), Some(Simulators::default()));
        for text in ["3.3.7 0f", "0 3.3.7", "0 3.3.7 0f more", "x 3.3.7 0f"] {
            assert_eq!(Simulators::parse(text), None, "{text}");
        }
    }
}
