//! What a program that uses the library begins with: [`Trainer`] trains, [`Policy`] acts.
//!
//! They do what the commands `baq train`, `baq finetune`, `baq evaluate` and `baq act` do, in the same steps: presets, options
//! and their checks are the same, and a run is a directory that all commands read (`baq report RUN`).

use std::path::{Path, PathBuf};

use baq_datasets::Arrays;

use crate::cli::Common;
use crate::cli::evaluate::evaluate;
use crate::cli::finetune::Start;
use crate::cli::learn::{self, Again, Manner};
use crate::cli::setup::{self, RunArgs};
use crate::cli::train::{self, Train};
use crate::config::{Config, DataConfig, Exploration};
use crate::train::TrainError;
use crate::train::data::{self, Dataset};
use crate::train::evaluations::Evaluation;
use crate::train::policy::{Answering, Restored};
use crate::train::progress::Stop;
use crate::train::run::Sources;

/// A run that is planned: what learns, from what, where.
///
/// Nothing happens before [`run`](Trainer::run), which also finds what is wrong. Options are those of the command line
/// (`baq options`, [`mod@crate::config`]), and begin as the preset has them that is named like the algorithm.
///
/// Errors speak of the command line. `--algo` is what [`new`](Trainer::new) is given, `--from` and `--adapt` what
/// [`fine_tune`](Trainer::fine_tune) is, `--out` what [`run`](Trainer::run) is; `--data`, `--env` and `--seed` are the methods of
/// these names, `--set` is [`options`](Trainer::options), `--resume` is [`resume`](Trainer::resume). `--isa` and `--numerics` are
/// chosen once for the whole process, by [`baq_kernels::choose`] (crate `baq-kernels`) before anything else of this library; a
/// program that does not computes in f32, on the best instruction set of its processor.
#[derive(Clone, Debug)]
#[must_use = "nothing is trained before `run`"]
pub struct Trainer<'a> {
    what: What,
    args: RunArgs,
    arrays: Option<Arrays<'a>>,
    seed: Option<u64>,
}

#[derive(Clone, Debug)]
enum What {
    /// an algorithm from nothing
    Algorithm(String),
    /// a run that goes on in an environment, under an adaptation
    Run(PathBuf, String),
}

impl<'a> Trainer<'a> {
    /// Trains this algorithm: on data if some are given, else in an environment from scratch.
    pub fn new(algo: &str) -> Trainer<'a> {
        Trainer::of(What::Algorithm(algo.into()))
    }

    /// Fine-tunes the run in this directory in an environment, under an adaptation (`plain`: as it is). Options are the run's;
    /// arrays that it was trained on must be given again. An adaptation with a behaviour model, as `baq`, fits it first
    /// (`baq.model_updates`), unless the run has one already.
    pub fn fine_tune(run: impl AsRef<Path>, adapt: &str) -> Trainer<'a> {
        Trainer::of(What::Run(run.as_ref().into(), adapt.into()))
    }

    fn of(what: What) -> Trainer<'a> {
        Trainer { what, args: RunArgs::default(), arrays: None, seed: None }
    }

    /// Learns from these rows.
    pub fn arrays(self, arrays: Arrays<'a>) -> Trainer<'a> {
        Trainer { arrays: Some(arrays), ..self.data(baq_datasets::ARRAYS) }
    }

    /// Learns from a file or folder, or by `embedded` from the slice of Hopper rollouts inside the library.
    pub fn data(mut self, data: &str) -> Trainer<'a> {
        self.args.data = Some(data.into());
        self.arrays = None;
        self
    }

    /// The environment to evaluate in, and to learn in where the run goes online: by default the one that the data name; arrays name
    /// none, and without one, or with `none`, nothing is evaluated. See [`crate::env::register`] for one's own.
    pub fn env(mut self, id: &str) -> Trainer<'a> {
        self.args.env = Some(id.into());
        self
    }

    /// Sets options, each as in `offline.updates=1000`; of two values of one the later counts.
    pub fn options(mut self, options: &[&str]) -> Trainer<'a> {
        self.args.sets.extend(options.iter().map(|option| option.to_string()));
        self
    }

    /// Seed of initialisation, batches, noise and environments; 0 if not given.
    pub fn seed(mut self, seed: u64) -> Trainer<'a> {
        self.seed = Some(seed);
        self
    }

    /// Trains to the end in a new directory, and reads the policy back. It computes on the threads of the rayon pool that it is
    /// called in, and evaluates on one more beside them if the process may use more cores; no file depends on either.
    ///
    /// # Errors
    /// What is wrong with options, data or environment, and an `out` that holds something, before anything is created;
    /// [`TrainError::Diverged`]; a disk that is full. A run that was cut off goes on with [`resume`](Trainer::resume).
    pub fn run(self, out: impl AsRef<Path>) -> Result<Policy, TrainError> {
        let (out, stop) = (out.as_ref(), Stop::default());
        let manner = Manner::new(&stop, true);
        let common = Common { seed: self.seed, ..Common::of_library() };
        match &self.what {
            What::Algorithm(algo) => {
                let config = Train::new(algo, self.args.clone()).planned(common)?;
                let acts = train::acts(&config);
                let config = setup::note_simulator(config, acts, false)?;
                let dataset = self.dataset(&config)?;
                learn::begin(&config, out, dataset, &Sources::default(), &[], manner)?;
            }
            What::Run(from, adapt) => {
                let start = Start { from: from.clone(), model: None };
                let config = start.configuration(&self.args, common, adapt.as_str())?;
                let config = setup::note_simulator(config, true, false)?;
                start.run_on(self.dataset(&config)?, &config, out, manner)?;
            }
        }
        Policy::open(out)
    }

    /// Goes on with a run that was cut off, of this program or the command line, to its end, and reads the policy back: the same
    /// bits as if it had never been. Everything comes from its directory; own environments and methods are registered before.
    ///
    /// # Errors
    /// No run, or one that another program works on or made otherwise (instruction set, simulator); data that have changed or were
    /// arrays in memory; those of [`run`](Trainer::run) behind its beginning.
    pub fn resume(run: impl AsRef<Path>) -> Result<Policy, TrainError> {
        let (run, stop) = (run.as_ref(), Stop::default());
        learn::go_on(run, &Again::default(), None, Manner::new(&stop, true))?;
        Policy::open(run)
    }

    fn dataset(&self, config: &Config) -> Result<Dataset, TrainError> {
        match &self.arrays {
            Some(arrays) => {
                data::of_recording(config, arrays.recording(config.section::<DataConfig>().clip_actions)?)
            }
            None => setup::load(config, None),
        }
    }
}

/// A trained policy.
pub struct Policy {
    answering: Answering,
    /// states that it has answered
    answered: u64,
}

impl Policy {
    /// That of a run directory, a checkpoint, or a policy file.
    ///
    /// # Errors
    /// Nothing there is a run, a checkpoint or a policy file, or it is damaged.
    pub fn open(run: impl AsRef<Path>) -> Result<Policy, TrainError> {
        let answering = Answering::new(Restored::open(run.as_ref())?, Exploration::Greedy);
        Ok(Policy { answering, answered: 0 })
    }

    /// The action `[A]` that it thinks best in this state `[S]`, both as the data or the environment have them. Methods that draw
    /// to choose it (FQL, EMaQ, PEX) draw anew in every call, as `baq act` does in every line.
    ///
    /// # Errors
    /// A state of another length, with numbers that are not finite, or from which no finite action comes.
    pub fn act(&mut self, observation: &[f32]) -> Result<&[f32], TrainError> {
        let Restored { file, agent, .. } = &self.answering.policy;
        let refuse = |what: String| Err(TrainError::Input(format!("{file}: {what}")));
        if observation.len() != agent.dims.s {
            let (s, got) = (agent.dims.s, observation.len());
            return refuse(format!("expected a state of {s} numbers, got {got}"));
        }
        if let Some(x) = observation.iter().find(|x| !x.is_finite()) {
            return refuse(format!("expected a state of finite numbers, got {x}"));
        }
        self.answered += 1;
        self.answering.act(observation, 0, self.answered - 1).map_err(TrainError::Input)
    }

    /// Returns of so many episodes in the environment of its run; their starts depend on the seed.
    ///
    /// # Errors
    /// The run had no environment, or it does not answer; no episodes.
    pub fn evaluate(&mut self, episodes: usize, seed: u64) -> Result<Evaluation, TrainError> {
        if episodes == 0 {
            return Err(TrainError::Input("episodes of an evaluation: expected one or more, got 0".into()));
        }
        Ok(evaluate(&mut self.answering.policy, None, episodes, seed)?.1)
    }
}
