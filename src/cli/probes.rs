//! Which probes look at a run: `--ledger`, `--probe finite`, `--probe reference:every=1000`.

use std::path::Path;

use clap::Args;

use super::contents;
use crate::audit::Probes;
use crate::audit::finite::Finite;
use crate::audit::ledger::{Change, Closing, Header, Scribe};
use crate::audit::roundoff::{Reach, RoundOff};
use crate::config::value::FieldValue as _;
use crate::config::{AuditConfig, Config, MujocoConfig, RunConfig};
use crate::train::TrainError;
use crate::train::conditions::Simulators;
use crate::train::data::Dataset;
use crate::train::rundir::{self, RunDir, RunError};
use crate::train::state::Saved;

/// What is recorded so that a run can be checked.
#[derive(Clone, Debug, Default, Args)]
pub struct ProbeArgs {
    /// write down every update in ledger.bin, for `baq audit verify`
    #[arg(long)]
    ledger: bool,
    /// `finite` stops at the first NaN or infinity; `reference:every=N` compares every N-th update with f64; may be
    /// repeated
    #[arg(long = "probe", value_name = "PROBE")]
    probes: Vec<String>,
}

impl ProbeArgs {
    /// Writes the arguments into the configuration. Errors: a `--probe` that is neither `finite` nor
    /// `reference:every=N` with N from 1 up; `--set` gives the same option another value.
    pub fn apply(&self, config: &mut Config) -> Result<(), TrainError> {
        if self.ledger {
            config.apply_argument("--ledger", ("audit", "ledger"), &true.to_toml())?;
        }
        for probe in &self.probes {
            let argument = format!("--probe {probe}");
            let every: Option<u64> =
                probe.strip_prefix("reference:every=").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
            match (probe.as_str(), every) {
                ("finite", _) => config.apply_argument(&argument, ("audit", "finite"), &true.to_toml())?,
                (_, Some(every)) => {
                    config.apply_argument(&argument, ("audit", "reference_every"), &every.to_toml())?;
                }
                _ => {
                    return Err(TrainError::Input(format!(
                        "--probe {probe}: expected `finite` or `reference:every=N` with N from 1 up"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// What the ledger of the run in `dir` belongs to; `dataset` is the name of the data and their SHA-256. Errors: one of
/// the run's files that it names by their checksums is there and cannot be read.
pub fn header(config: &Config, dir: &Path, dataset: (&str, &str)) -> Result<Header, TrainError> {
    let sum = |name: &str| -> Result<Option<String>, RunError> {
        let path = dir.join(name);
        let read = || crate::files::read(&path).map_err(RunError::io(&path, "read the file"));
        path.exists().then(|| Ok(crate::files::sha256(&read()?))).transpose()
    };
    let run: RunConfig = config.section();
    let mujoco: MujocoConfig = config.section();
    Ok(Header {
        code: env!("CARGO_PKG_VERSION").into(),
        isa: baq_kernels::active().isa.name().into(),
        numerics: baq_kernels::active().arithmetic(),
        subnormals: baq_kernels::subnormals().into(),
        mujoco: if mujoco.release.is_empty() { String::new() } else { mujoco.to_string() },
        config: sum(rundir::CONFIG)?.unwrap_or_default(),
        dataset: dataset.0.into(),
        dataset_sha256: dataset.1.into(),
        origin: sum(rundir::ORIGIN)?,
        model: sum(rundir::MODEL)?,
        earlier: sum(&format!("{}/{}", rundir::EARLIER, rundir::EVALUATIONS_CSV))?,
        seed: run.seed,
    })
}

/// The probes that the configuration asks for: new ones, or those of a run that goes on from `saved`. Errors: a ledger
/// is asked for, and `saved` does not know one, or the file is of another run or was changed; files that cannot be read
/// or written.
pub fn probes(
    config: &Config,
    dir: &RunDir,
    dataset: &Dataset,
    saved: Option<&Saved>,
) -> Result<Probes, TrainError> {
    let audit: AuditConfig = config.section();
    let mut all = Probes { finite: audit.finite.then(Finite::default), ..Probes::default() };
    if audit.ledger {
        let facts = &dataset.facts;
        let header = header(config, dir.path(), (&facts.name, &facts.sha256))?;
        let path = dir.file(rundir::LEDGER);
        let mark = saved.map(Saved::mark).transpose()?.flatten();
        if saved.is_some() && mark.is_none() {
            return Err(TrainError::Input(format!(
                "{}: expected a checkpoint that knows its ledger, got one without; train from the beginning with --ledger",
                dir.file(rundir::CHECKPOINT).display()
            )));
        }
        let mut ledger = Scribe::resume(&path, &header, mark)?;
        if let Some(saved) = saved {
            let round = saved.counters()?.round;
            let (then, now) =
                (saved.simulators()?, Simulators::of(config, Some(saved.simulators()?), round)?);
            if let Some(simulator) = now.last().filter(|_| then != now) {
                ledger.sink.change(Change { from: round, simulator: simulator.to_string() })?;
            }
        }
        all.ledger = Some(ledger);
        write_rows(dir, dataset)?;
    }
    if audit.reference_every > 0 {
        let kept = saved.map(reach).transpose()?;
        all.roundoff = Some(RoundOff::to_file(audit.reference_every, &dir.file(rundir::ROUNDOFF), kept)?);
    }
    Ok(all)
}

/// How far a checkpoint reaches in the file of round-offs. Errors: the checkpoint lacks its counters or its phase.
pub fn reach(saved: &Saved) -> Result<Reach, TrainError> {
    Ok(Reach { updates: saved.counters()?.round, fitting: saved.fitting()? })
}

/// Writes the checksums of all transitions. Errors: the file cannot be written.
pub fn write_rows(dir: &RunDir, dataset: &Dataset) -> Result<(), TrainError> {
    let rows: Vec<u8> = dataset.rows.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    Ok(dir.write(rundir::LEDGER_ROWS, &rows)?)
}

/// Ends the ledger of a run that has ended, if it has one. Errors: a file of the run cannot be read, or the ledger not
/// be written.
pub fn close(dir: &RunDir, probes: &mut Probes) -> Result<(), TrainError> {
    if let Some(ledger) = &mut probes.ledger {
        ledger.sink.close(Closing { files: contents::digests(dir.path())? })?;
    }
    Ok(())
}
