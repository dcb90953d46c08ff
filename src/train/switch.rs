//! The switch to fine-tuning: what training fixed stays as it was.
//!
//! Parameters mean something only beside what they were trained with: how states and rewards are scaled, which tensors
//! and heads there are, whose values a critic estimates. None of it can change when another phase begins. Learning rates,
//! batches, and how strongly a method pulls (expectile, penalty, temperature, ...) can.

use super::agent::Agent;
use super::data::Scales;
use super::error::TrainError;
use super::plan;
use super::state::Saved;
use crate::adapt::Method;
use crate::algo::Dims;
use crate::autodiff::{ParamTable, Schedule};
use crate::config::value::{FieldValue as _, render};
use crate::config::{AnySection, Config, DataConfig, OfflineConfig, RunConfig, Section};
use crate::env;

/// What critics estimate, although no tensor shows it.
const ESTIMATED: [&str; 2] = [DISCOUNT, "entropy_backup"];
const DISCOUNT: &str = "discount";
/// What acts before the first update only.
const BEGINNING: [&str; 1] = ["init"];

/// An error that names the first option in which `config` contradicts the run that `origin` is of.
pub fn check(origin: &Saved, trained: &Config, config: &Config) -> Result<(), TrainError> {
    let (file, dims) = (origin.file(), origin.dims(1)?);
    check_options(file, dims, trained, config)?;
    let (run, new): (RunConfig, RunConfig) = (trained.section(), config.section());
    if run.adapt != new.adapt {
        let agent = Agent::outline(trained, dims)?;
        let (done, planned) = online_rounds(origin, trained, &agent)?;
        if !agent.adaptation.critics_are_values(done, planned) {
            return Err(TrainError::Input(format!(
                "run.adapt: {file} was fine-tuned with {}, whose critics are no values by themselves: expected --adapt {}, or a run from before it",
                run.adapt, run.adapt
            )));
        }
    }
    let rounds = match origin.is_online()? {
        true => online_rounds(origin, trained, &Agent::outline(trained, dims)?)?,
        false => (origin.counters()?.round, trained.section::<OfflineConfig>().horizon()),
    };
    check_discounts(file, rounds, trained, config)
}

/// An error unless γ is what critics have learnt with last, after so many rounds of so many that were planned. Errors call
/// the run `origin`.
pub fn check_discounts(
    origin: &str,
    (done, planned): (u64, u64),
    trained: &Config,
    config: &Config,
) -> Result<(), TrainError> {
    for section in fixed_sections(trained, &config.section())? {
        let Some(then) = scheduled_discount(section, DISCOUNT) else { continue };
        let (section, reached) = (section.name(), then.over(planned).at(done));
        match config.get(section, DISCOUNT).as_ref().and_then(Schedule::from_toml) {
            Some(Schedule::Constant(now)) if (now - reached).abs() < 1e-9 => {}
            None => {}
            Some(now) => {
                return Err(TrainError::Input(format!(
                    "{section}.{DISCOUNT}: expected {reached:.9}, to which {then} had come in {origin}, got {now}; its critics estimate no other values: give the number, or train anew"
                )));
            }
        }
    }
    Ok(())
}

/// The part of [`check`] that configurations decide by themselves, before anything is trained. Errors call the run
/// `origin`; its widths are `dims`.
pub fn check_options(origin: &str, dims: Dims, trained: &Config, config: &Config) -> Result<(), TrainError> {
    let (run, new): (RunConfig, RunConfig) = (trained.section(), config.section());
    let refuse = |key: &str, expected: &str, got: &str, why: &str| {
        Err(TrainError::Input(format!(
            "{key}: expected {expected}, as {origin} was trained with, got {got}; {why}"
        )))
    };
    if run.algo != new.algo {
        return refuse(
            "run.algo",
            &run.algo,
            &new.algo,
            "fine-tuning goes on with the algorithm: leave it out",
        );
    }
    if !run.env.is_empty() && task(&run.env) != task(&new.env) {
        let got = if new.env.is_empty() { env::NONE } else { &new.env };
        return refuse("run.env", &run.env, got, "fine-tuning goes on with the task: leave it out");
    }
    let networks = Networks::of(trained, dims)?;
    for section in fixed_sections(trained, &new)? {
        let other = config.sections().find(|s| s.name() == section.name());
        for field in section.fields() {
            let then = section.get(field.key).expect("invariant: fields() are readable");
            // What it has come to is known of a run alone.
            if scheduled_discount(section, field.key).is_some() {
                continue;
            }
            let Some(now) = other.and_then(|o| o.get(field.key)).filter(|now| *now != then) else { continue };
            let key = format!("{}.{}", section.name(), field.key);
            let why = match field.key {
                _ if section.name() == DataConfig::NAME => "its networks know no other data",
                key if ESTIMATED.contains(&key) => "its critics estimate other values",
                key if BEGINNING.contains(&key) => "it has no effect on trained networks",
                _ if networks.changed_by(trained, section.name(), field.key, &render(&now), dims)? => {
                    "its networks are others"
                }
                _ => continue,
            };
            let why = format!("{why}: leave it out, or train anew with it");
            return refuse(&key, &render(&then), &render(&now), &why);
        }
    }
    Ok(())
}

/// The sections of `trained` of which something may not change: those of the data and of the methods that both have.
fn fixed_sections<'a>(
    trained: &'a Config,
    new: &RunConfig,
) -> Result<impl Iterator<Item = &'a dyn AnySection>, TrainError> {
    let method = Method::of(trained);
    let mut names = vec![DataConfig::NAME];
    names.extend(method.algorithm()?.sections());
    if trained.section::<RunConfig>().adapt == new.adapt {
        names.extend(method.adaptation()?.sections());
    }
    Ok(trained.sections().filter(move |s| names.contains(&s.name())))
}

/// Rounds of the fine-tuning that `origin` is of: done, and planned.
fn online_rounds(origin: &Saved, trained: &Config, agent: &Agent) -> Result<(u64, u64), TrainError> {
    let counters = origin.counters()?;
    let phase = plan::online_phase(trained, agent, counters.offline_rounds);
    Ok((counters.round - counters.offline_rounds, phase.rounds))
}

/// The schedule that γ has followed, if it was none of one value.
fn scheduled_discount(section: &dyn AnySection, key: &str) -> Option<Schedule> {
    let schedule = Schedule::from_toml(&section.get(key).filter(|_| key == DISCOUNT)?)?;
    (!matches!(schedule, Schedule::Constant(_))).then_some(schedule)
}

/// An error if these transforms are not those of the saved networks.
pub fn check_scales(origin: &Saved, scales: &Scales) -> Result<(), TrainError> {
    if origin.scales()? == *scales {
        return Ok(());
    }
    Err(TrainError::Input(format!(
        "{}: expected states, actions and rewards scaled as its networks saw them, got other constants from the same data; go on with the version and the data.* options that it was trained with",
        origin.file(),
    )))
}

/// The name of an environment without its version.
fn task(env: &str) -> &str {
    env.rsplit_once("-v").map_or(env, |(task, _)| task)
}

/// Tensors and what they mean.
#[derive(PartialEq)]
struct Networks {
    table: ParamTable,
    meanings: Vec<String>,
}

impl Networks {
    fn of(config: &Config, dims: Dims) -> Result<Networks, TrainError> {
        let agent = Agent::outline(config, dims)?;
        Ok(Networks { table: (*agent.table).clone(), meanings: agent.meanings })
    }

    /// Whether this one option makes others of them.
    fn changed_by(
        &self,
        trained: &Config,
        section: &str,
        key: &str,
        value: &str,
        dims: Dims,
    ) -> Result<bool, TrainError> {
        let mut config = trained.clone();
        config.apply_text("the switch", &format!("[{section}]\n{key} = {value}\n"))?;
        // What makes sense only beside other changes is judged with them, when the agent is built.
        Ok(Networks::of(&config, dims).is_ok_and(|networks| networks != *self))
    }
}
