//! Building data sets: each file appears whole, with the checksum that is recorded for it, or not at all.
//!
//! Rollouts are acted by the portable kernels, whatever the process computes with, so that their bits depend on the
//! recipe's simulator alone. A replay comes from training again, whose bits hold for one instruction set.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use baq_datasets::{Columns, write};
use baq_kernels::Isa;
use sha2::{Digest, Sha256};

use super::catalogue::{Name, PREFIX, Suite};
use super::join;
use super::place::{self, DATA, Found};
use super::recipe::{Figures, Kind, Picked, Recipe, Recorded, Trained};
use super::replay;
use crate::checkpoint::atomic::Draft;
use crate::config::{MujocoConfig, RunConfig};
use crate::env::{self, Spec};
use crate::train::TrainError;
use crate::train::collect::{Behaviour, Collected, collect};
use crate::train::conditions;
use crate::train::policy::Restored;
use crate::train::progress::Stop;
use crate::train::state::Saved;

/// Environment steps per second of collecting and of training on one core, to say how long it takes: the bar knows better.
const COLLECTED_PER_SECOND: u64 = 6_000;
const TRAINED_PER_SECOND: u64 = 130;

/// Transitions, and who made them.
struct Made {
    columns: Columns,
    algorithm: String,
    /// instruction set that they depend on
    isa: String,
    seed: u64,
}

/// Builds the data sets of a suite in a folder.
pub struct Builder<'a> {
    /// the recipes
    pub suite: &'a Suite,
    /// where the files lie
    pub folder: PathBuf,
    /// what ends it early
    pub stop: &'a Stop,
    /// no progress bars
    pub quiet: bool,
}

impl Builder<'_> {
    /// Where the data set lies.
    pub fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(self.suite.file(name))
    }

    /// Where the training of a replay goes on after an interruption.
    fn run(&self, name: &Name) -> PathBuf {
        self.path(name).with_extension("run")
    }

    /// The file, built if it is not there or not whole.
    ///
    /// # Errors
    /// Nothing is recorded of it; another simulator or instruction set than it was recorded with; no room;
    /// [`TrainError::Interrupted`].
    pub fn ready(&self, name: &Name) -> Result<PathBuf, TrainError> {
        let (path, recorded) = (self.path(name), self.suite.record(name)?);
        if place::look(&path, recorded)? == Found::Whole {
            return Ok(path);
        }
        place::make(&self.folder)?;
        let Some(_lock) = place::lock(&path, self.stop)? else { return Err(self.interrupted(name)) };
        match place::look(&path, recorded)? {
            Found::Whole => return Ok(path),
            Found::Damaged(why) => eprintln!("baq: {}: {why}; it is built again", path.display()),
            Found::Missing => {}
        }
        self.check_conditions(name)?;
        place::check_space(&self.folder, self.needed(name)?)?;
        self.announce(name)?;
        let made = self.make(name)?;
        self.write(name, &made, Some(recorded))?;
        let run = self.run(name);
        if run.exists() {
            // Best effort: it takes room, and no more.
            let _ = fs::remove_dir_all(run);
        }
        Ok(path)
    }

    /// Builds a file of a new recipe and gives what is to be recorded of it. A replay is taken from `replay`, the medium
    /// checkpoint. Errors: the recipe lacks the policy, or it is another one; the folder cannot be written to;
    /// [`TrainError::Interrupted`].
    pub fn first(&self, name: &Name, replay: &Saved) -> Result<Recorded, TrainError> {
        place::make(&self.folder)?;
        let path = self.path(name);
        let Some(_lock) = place::lock(&path, self.stop)? else { return Err(self.interrupted(name)) };
        let made = match name.kind {
            Kind::MediumReplay => self.replayed(name, replay)?,
            _ => self.make(name)?,
        };
        self.write(name, &made, None)
    }

    fn trained(&self, name: &Name) -> Result<(&Recipe, &Trained), TrainError> {
        let recipe = self.suite.recipe(name);
        Ok((recipe, recipe.trained.as_ref().ok_or_else(|| self.untrained(name))?))
    }

    /// That the recipe records the file, but not the policy that it is made with.
    fn untrained(&self, name: &Name) -> TrainError {
        let origin = self.suite.origin(&name.task);
        TrainError::Input(format!(
            "{PREFIX}{}: {origin}: expected its policy in the table `trained`",
            name.text
        ))
    }

    fn interrupted(&self, name: &Name) -> TrainError {
        TrainError::Interrupted(format!(
            "{PREFIX}{}: interrupted before it was built; the same command builds it, and goes on with a training that was begun",
            name.text
        ))
    }

    /// An error unless this process computes what the recorded one did.
    fn check_conditions(&self, name: &Name) -> Result<(), TrainError> {
        let (recipe, trained) = self.trained(name)?;
        if env::spec(&recipe.env)?.needs_mujoco() {
            let then: MujocoConfig = recipe.simulator(&self.suite.origin(&name.task))?;
            let here = conditions::simulator()?;
            if then.release != here.release {
                return Err(TrainError::Input(format!(
                    "{PREFIX}{}: the recorded checksum holds for MuJoCo {}, this process has {here}; set MUJOCO_PATH to that release",
                    name.text, then.release
                )));
            }
        }
        let here = baq_kernels::active();
        let run: RunConfig = recipe.config(&self.suite.origin(&name.task))?.section();
        let same = here.isa.name() == trained.isa && here.numerics.name() == run.numerics;
        if name.kind == Kind::MediumReplay && !same {
            let rows = trained.medium.env_step;
            return Err(TrainError::Input(format!(
                "{PREFIX}{0}: the recorded checksum holds for the instruction set {1} and {2} numerics, this process uses {3} \
                 and {4}; its {rows} rows come from training again: build it first with `baq suite build {0} --isa {1} --numerics {2}`",
                name.text, trained.isa, run.numerics, here.isa, here.numerics
            )));
        }
        Ok(())
    }

    /// Bytes that are written until it is there.
    fn needed(&self, name: &Name) -> Result<u64, TrainError> {
        let own = self.suite.record(name)?.bytes;
        let more = match name.kind {
            Kind::Medium | Kind::Expert => 0,
            // The checkpoint holds the transitions once more, twice while it is replaced.
            Kind::MediumReplay => {
                let (recipe, trained) = self.trained(name)?;
                let spec = env::spec(&recipe.env)?;
                2 * 4 * trained.medium.env_step * (2 * spec.obs_dim + spec.act_dim + 2) as u64
            }
            Kind::MediumExpert => {
                let mut sum = 0;
                for half in self.halves(name)? {
                    if place::look(&self.path(&half), self.suite.record(&half)?)? != Found::Whole {
                        sum += self.needed(&half)?;
                    }
                }
                sum
            }
        };
        Ok(own + more)
    }

    /// Says what is about to be done, and how long it takes.
    fn announce(&self, name: &Name) -> Result<(), TrainError> {
        let (_, trained) = self.trained(name)?;
        let minutes = |steps: u64, rate: u64| format!("{} min", (steps / rate).div_ceil(60));
        let work = match (name.kind, name.rows) {
            (Kind::MediumReplay, _) => {
                let steps = trained.medium.env_step;
                format!(
                    "training for {steps} environment steps, about {} on a free core",
                    minutes(steps, TRAINED_PER_SECOND)
                )
            }
            (Kind::MediumExpert, _) => "joining the rollouts of both policies".into(),
            (_, Some(rows)) => {
                format!(
                    "collecting {rows} steps, about {} on a free core",
                    minutes(rows, COLLECTED_PER_SECOND)
                )
            }
            (_, None) => return Ok(()),
        };
        eprintln!("baq: {PREFIX}{}: {work}; kept in {} ({DATA})", name.text, self.folder.display());
        Ok(())
    }

    fn make(&self, name: &Name) -> Result<Made, TrainError> {
        let (recipe, trained) = self.trained(name)?;
        match name.kind {
            Kind::Medium => self.rollouts(name, &trained.medium),
            Kind::Expert => match &trained.expert {
                Some(expert) => self.rollouts(name, expert),
                None => Err(self.untrained(name)),
            },
            Kind::MediumExpert => self.joined(name),
            Kind::MediumReplay => {
                let origin = self.suite.origin(&name.task);
                let (steps, run) = (trained.medium.env_step, self.run(name));
                let saved = replay::train(recipe, &origin, steps, &run, (self.stop, self.quiet))?;
                self.replayed(name, &saved.ok_or_else(|| self.interrupted(name))?)
            }
        }
    }

    fn spec(&self, name: &Name) -> Result<&'static Spec, TrainError> {
        Ok(env::spec(&self.suite.recipe(name).env)?)
    }

    /// Rollouts of the expert do not begin where those of the medium policy do.
    fn seed(&self, name: &Name) -> Result<u64, TrainError> {
        let run: RunConfig = self.suite.recipe(name).config(&self.suite.origin(&name.task))?.section();
        Ok(run.seed.wrapping_add(u64::from(name.kind == Kind::Expert)))
    }

    fn rollouts(&self, name: &Name, picked: &Picked) -> Result<Made, TrainError> {
        let mut policy = Restored::of(&self.suite.policy(&name.task, name.kind, picked)?)?;
        let spec = policy.environment(Some(&self.suite.recipe(name).env))?;
        if policy.env != spec.id {
            return Err(TrainError::Input(format!(
                "{}: expected a policy that learned in {}, got one that did in {}; restore the file that came with the recipe",
                policy.file, spec.id, policy.env
            )));
        }
        let (algorithm, how) = (policy.describe(), policy.options.exploration);
        let kernels =
            baq_kernels::for_isa(Isa::Portable).expect("invariant: the portable table always exists");
        let (mut env, seed) = (env::make(spec.id)?, self.seed(name)?);
        let behaviour = Behaviour::policy(&mut policy, how, kernels);
        let rows = name.rows.expect("invariant: rollouts have a length");
        let columns = collect(env.as_mut(), behaviour, rows, seed, self.stop, self.quiet)?;
        let columns = columns.ok_or_else(|| self.interrupted(name))?;
        Ok(Made { columns, algorithm, isa: Isa::Portable.name().into(), seed })
    }

    fn replayed(&self, name: &Name, saved: &Saved) -> Result<Made, TrainError> {
        let policy = Restored::of(saved)?;
        let (isa, _) = saved.arithmetic()?;
        let columns = replay::columns(saved, self.spec(name)?)?;
        let algorithm = format!("{}, all transitions", policy.describe());
        Ok(Made { columns, algorithm, isa: isa.into(), seed: self.seed(name)? })
    }

    fn halves(&self, name: &Name) -> Result<[Name; 2], TrainError> {
        let all = self.suite.of_task(&name.task, name.rows)?;
        let half = |kind| all.iter().find(|n| n.kind == kind).cloned();
        let halves = half(Kind::Medium).zip(half(Kind::Expert));
        let (medium, expert) = halves.expect("invariant: a task has every kind");
        Ok([medium, expert])
    }

    fn joined(&self, name: &Name) -> Result<Made, TrainError> {
        let [medium, expert] = self.halves(name)?;
        let columns = join::read(&self.ready_or_there(&medium)?, &self.ready_or_there(&expert)?)?;
        let algorithm = format!("{}, then {}", medium.text, expert.text);
        Ok(Made { columns, algorithm, isa: Isa::Portable.name().into(), seed: self.seed(name)? })
    }

    /// A part of the file that is being built: of a new recipe, which records nothing yet, it was built just before.
    fn ready_or_there(&self, half: &Name) -> Result<PathBuf, TrainError> {
        match self.suite.recorded(half) {
            Some(_) => self.ready(half),
            None => Ok(self.path(half)),
        }
    }

    /// Writes the file, if it is the one that is recorded.
    fn write(&self, name: &Name, made: &Made, recorded: Option<&Recorded>) -> Result<Recorded, TrainError> {
        let path = self.path(name);
        let fail =
            |e: io::Error| TrainError::Input(format!("{}: cannot write the file: {e}", path.display()));
        let mut draft = Draft::of(&path).map_err(fail)?;
        let mut out = Hashed { out: draft.file(), hash: Sha256::new(), bytes: 0 };
        write::encode(&path, &made.columns, &self.options(name, made)?, &mut out)?;
        let (bytes, sha256) = (out.bytes, crate::files::hex(&out.hash.finalize()));
        if let Some(recorded) = recorded.filter(|recorded| recorded.sha256 != sha256) {
            // A training that led elsewhere must not be gone on with.
            let _ = fs::remove_dir_all(self.run(name));
            return Err(self.differs(name, recorded, &sha256)?);
        }
        draft.replace().map_err(fail)?;
        let figures = Figures::of(&Collected::of(&made.columns, self.spec(name)?));
        Ok(Recorded { bytes, sha256, figures })
    }

    /// That this machine computes something else than what is recorded.
    fn differs(&self, name: &Name, recorded: &Recorded, got: &str) -> Result<TrainError, TrainError> {
        let then = self.suite.recipe(name).simulator(&self.suite.origin(&name.task))?;
        let here = match self.spec(name)?.needs_mujoco() {
            true => format!("; it was recorded with {then}, this process has {}", conditions::simulator()?),
            false => String::new(),
        };
        Ok(TrainError::Input(format!(
            "{PREFIX}{}: expected sha256 {}, this machine builds {got}{here}; nothing was kept: report it, or make data of your own \
             with `baq collect`",
            name.text, recorded.sha256
        )))
    }

    fn options(&self, name: &Name, made: &Made) -> Result<write::Options, TrainError> {
        let (recipe, trained) = self.trained(name)?;
        let simulator = recipe.simulator(&self.suite.origin(&name.task))?;
        let entries = [
            ("env", recipe.env.clone()),
            ("seed", made.seed.to_string()),
            ("commit", trained.commit.clone()),
            ("mujoco", simulator.release),
            ("isa", made.isa.clone()),
            ("recipe", format!("{PREFIX}{}, version {}", name.text, recipe.version)),
        ];
        let metadata = entries.map(|(key, value)| (key.to_string(), value)).into();
        Ok(write::Options { algorithm: Some(made.algorithm.clone()), metadata, ..write::Options::default() })
    }
}

/// The file of a data set `suite:NAME` in this process's suite and folder, built if it is not there or not whole.
///
/// # Errors
/// No such data set; those of [`Builder::ready`].
pub fn ready(name: &str) -> Result<PathBuf, TrainError> {
    let (suite, stop) = (Suite::here()?, Stop::on_signal()?);
    let name = suite.find(name)?;
    Builder { suite: &suite, folder: place::folder()?, stop: &stop, quiet: false }.ready(&name)
}

/// Bytes of the file of a data set `suite:NAME` that is still to be built; `None` if it is there. Its length is all that is
/// looked at.
pub fn unbuilt(name: &str) -> Result<Option<u64>, TrainError> {
    let suite = Suite::here()?;
    let name = suite.find(name)?;
    let recorded = suite.record(&name)?;
    let there = place::seems_there(&place::folder()?.join(suite.file(&name)), recorded);
    Ok((!there).then_some(recorded.bytes))
}

/// Instruction set and numerics of the training that a data set `suite:NAME` comes from, if it is still to be built and this
/// process has others. Errors: no such data set, nothing recorded of it, or no folder for it.
pub fn trained_otherwise(name: &str) -> Result<Option<(String, String)>, TrainError> {
    if unbuilt(name)?.is_none() {
        return Ok(None);
    }
    let suite = Suite::here()?;
    let name = suite.find(name)?;
    let recipe = suite.recipe(&name);
    let run: RunConfig = recipe.config(&suite.origin(&name.task))?.section();
    let here = baq_kernels::active();
    let of_training = |trained: &Trained| (trained.isa.clone(), run.numerics.clone());
    let then = recipe.trained.as_ref().filter(|_| name.kind == Kind::MediumReplay).map(of_training);
    Ok(then.filter(|(isa, numerics)| (&**isa, &**numerics) != (here.isa.name(), here.numerics.name())))
}

/// Bytes of the file of a data set `suite:NAME`, there or not. Errors: no such data set, or nothing recorded of it.
pub fn bytes(name: &str) -> Result<u64, TrainError> {
    let suite = Suite::here()?;
    Ok(suite.record(&suite.find(name)?)?.bytes)
}

/// Hashes what it passes on.
struct Hashed<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.out.write(data)?;
        self.hash.update(&data[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
