//! What a run computes beside its rounds: models that are fitted first, refreshes of a generator. For estimates of its time.

use super::agent::Agent;
use super::error::TrainError;
use super::generation::Refreshes;
use crate::adapt::generator::Task;
use crate::algo::Dims;
use crate::autodiff::{Program, Select, Trace};
use crate::config::{Begin, Config, OfflineConfig, OnlineConfig, RunConfig};
use crate::nn::diffusion::Drawing;

/// What a run does last, which takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// updates on data
    Offline,
    /// steps in an environment, whatever came before them
    Online {
        /// the model that the adaptation needs has been fitted
        given: bool,
    },
}

/// Useful floating-point operations of models that are fitted before the last stage and of the refreshes within it, for states of
/// `s` and actions of `a` numbers. Errors: those of [`Agent::outline`].
pub fn flops(config: &Config, (s, a): (usize, usize), last: Last) -> Result<u64, TrainError> {
    let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
    let batch = if last == Last::Offline { offline.batch } else { online.rows() };
    let agent = Agent::outline(config, Dims { s, a, batch })?;
    let tunes = last != Last::Offline && config.section::<RunConfig>().begin != Begin::Online;
    let origin = if tunes { agent.learner.pretrain().len() } else { 0 };
    let given = last == Last::Online { given: true };
    let flops = |trace: &Trace| Program::compile(trace, Select::ALL).flops();
    let fits = agent.pretraining().into_iter().skip(origin).filter(|(fit, _)| fit.given.is_none() || !given);
    let fits: u64 = fits.map(|(fit, trace)| fit.updates * flops(&trace)).sum();
    let Some(generator) = agent.generator.as_ref().filter(|_| last != Last::Offline) else {
        return Ok(fits);
    };
    let refreshes = Refreshes::new(generator.as_ref(), &online).before(online.env_steps);
    let drawn = |drawing: &Drawing| {
        let steps = drawing.levels.len() as u64 - 1;
        flops(&drawing.begin) + steps * flops(&drawing.step) + flops(&drawing.last)
    };
    let round = |task: &Task| match task {
        Task::Learn { trace, .. } => flops(trace),
        Task::Contrast { trace, drawing, .. } => flops(trace) + drawn(drawing),
        Task::Draw { drawing, .. } => drawn(drawing),
    };
    let refresh: u64 = agent.refresh().iter().map(|stage| stage.rounds * round(&stage.task)).sum();
    Ok(fits + refreshes * refresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `flops` of this text, for states of 11 and actions of 3 numbers.
    fn beside(text: &str, last: Last) -> u64 {
        let config = super::super::sections::from_text("test", text).unwrap();
        flops(&config, (11, 3), last).unwrap()
    }

    #[test]
    fn models_and_refreshes_cost_as_often_as_they_come() {
        let online = Last::Online { given: false };
        assert_eq!(beside("[run]\nalgo = \"iql\"", Last::Offline), 0);
        let spot = |n: u64| format!("[run]\nalgo = \"spot\"\n[spot]\nvae_updates = {n}");
        let fit = beside(&spot(1), Last::Offline);
        assert!(fit > 0);
        assert_eq!(beside(&spot(1000), Last::Offline), 1000 * fit);
        // Done by the run that is fine-tuned.
        assert_eq!(beside(&spot(1000), online), 0);
        let baq = "[run]\nalgo = \"iql\"\nadapt = \"baq\"\n[baq]\nmodel_updates = 7";
        assert!(beside(baq, online) > 0);
        assert_eq!(beside(baq, Last::Online { given: true }), 0);
        let cfdg = |steps: u64| {
            format!(
                "[run]\nalgo = \"iql\"\ngenerator = \"cfdg\"\n[online]\nenv_steps = {steps}\n[cfdg]\nevery = 100"
            )
        };
        let refresh = beside(&cfdg(101), online);
        assert!(refresh > 0);
        assert_eq!(beside(&cfdg(100), online), 0);
        assert_eq!(beside(&cfdg(1000), online), 9 * refresh);
        // Steps that only collect hide those that fall among them, and no others.
        assert_eq!(beside(&cfdg(1010).replace("[cfdg]", "warmup_steps = 150\n[cfdg]"), online), 9 * refresh);
    }
}
