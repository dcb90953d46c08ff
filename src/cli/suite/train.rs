//! `baq suite train`: from a recipe that only says how to train to one with policies and checksums.

use clap::Args;

use super::adopt::{Asked, check_same};
use crate::cli::learn::{self, Again, Manner};
use crate::cli::{Common, Outcome, rerun, setup};
use crate::config::OnlineConfig;
use crate::suite::{Recipe, pick};
use crate::train::TrainError;
use crate::train::data;
use crate::train::metrics::read_evaluations;
use crate::train::progress::{Ended, Stop};
use crate::train::run::Sources;
use crate::train::rundir::{self, RunDir};
use crate::train::state::Saved;

/// Train a task's policies.
#[derive(Debug, Args)]
pub struct Train {
    #[command(flatten)]
    asked: Asked,
}

impl Train {
    /// Runs the command.
    pub fn run(self, common: Common) -> Outcome {
        let (suite, task) = self.asked.suite(common)?;
        let stop = Stop::on_signal()?;
        let manner = Manner::new(&stop, self.asked.quiet || common.json);
        if self.expert(suite.of(&task), &suite.origin(&task), manner)? == Ended::Interrupted {
            return Ok(self.asked.interrupted("train", common));
        }
        self.asked.adopt(suite, &task, &stop, common)
    }

    /// Trains until there is an expert.
    fn expert(&self, recipe: &Recipe, origin: &str, manner: Manner<'_>) -> Result<Ended, TrainError> {
        let (config, path) = (recipe.config(origin)?, &self.asked.run);
        let planned = config.section::<OnlineConfig>().env_steps;
        if !path.join(rundir::CONFIG).exists() {
            let config = setup::note_simulator(config.clone(), true, false)?;
            let dataset = data::load(&config)?;
            if learn::begin(&config, path, dataset, &Sources::default(), &[], manner)? == Ended::Interrupted {
                return Ok(Ended::Interrupted);
            }
        }
        let mut again = Again::default();
        loop {
            check_same(&config, path)?;
            let length = rerun::configuration(path)?.section::<OnlineConfig>().env_steps;
            let saved = Saved::last(&RunDir::resume(path)?)?;
            let done = saved.map_or(Ok(0), |s| s.counters().map(|c| c.env_step))?;
            if done < length || again.extend.is_some() {
                if learn::go_on(path, &again, None, manner)?.0 == Ended::Interrupted {
                    return Ok(Ended::Interrupted);
                }
                again.extend = None;
                continue;
            }
            let all = read_evaluations(path)?;
            let (rule, at_last) = (&recipe.rule, recipe.rule.most_steps);
            if pick::expert(&all, rule, planned).is_some() {
                return Ok(Ended::Complete);
            }
            if length >= at_last {
                return Err(TrainError::Input(format!(
                    "{}: no evaluation from step {planned} to {length} reaches {} (the best: {}); train with another seed or raise rule.most_steps",
                    path.display(),
                    rule.expert_return,
                    pick::best(&all, planned)
                )));
            }
            again.extend = Some(format!("online={}", (length + rule.extend_by).min(at_last)));
        }
    }
}
