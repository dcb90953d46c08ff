//! Which probes look at a run: `--ledger`, `--probe finite`, `--probe reference:every=1000`.

use std::path::Path;

use clap::Args;

use crate::audit::Probes;
use crate::audit::finite::Finite;
use crate::audit::ledger::{Header, Scribe, sha256};
use crate::audit::roundoff::RoundOff;
use crate::config::{AuditConfig, Config, RunConfig};
use crate::train::TrainError;
use crate::train::data::Dataset;
use crate::train::rundir::{self, RunDir, RunError};
use crate::train::state::Saved;

/// What is recorded so that a run can be checked.
#[derive(Clone, Debug, Default, Args)]
pub struct ProbeArgs {
    /// write down every update in ledger.bin, for `baq audit verify`
    #[arg(long)]
    ledger: bool,
    /// `finite` stops at the first number that is none; `reference:every=N` compares every N-th update with f64; may be
    /// repeated
    #[arg(long = "probe", value_name = "PROBE")]
    probes: Vec<String>,
}

impl ProbeArgs {
    /// Writes the arguments into the configuration.
    pub fn apply(&self, config: &mut Config) -> Result<(), TrainError> {
        let mut audit: AuditConfig = config.section();
        audit.ledger |= self.ledger;
        for probe in &self.probes {
            let every =
                probe.strip_prefix("reference:every=").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
            match (probe.as_str(), every) {
                ("finite", _) => audit.finite = true,
                (_, Some(every)) => audit.reference_every = every,
                _ => {
                    return Err(TrainError::Input(format!(
                        "--probe {probe}: expected `finite` or `reference:every=N` with N from 1 up"
                    )));
                }
            }
        }
        config.put(audit);
        Ok(())
    }
}

/// What the ledger of the run in `dir` belongs to. `origin` is the checkpoint that fine-tuning begins from.
pub fn header(
    config: &Config,
    dir: &Path,
    dataset: (&str, &str),
    origin: Option<&Path>,
) -> Result<Header, TrainError> {
    let read = |path: &Path| std::fs::read(path).map_err(RunError::io(path, "read the file"));
    let run: RunConfig = config.section();
    Ok(Header {
        code: env!("CARGO_PKG_VERSION").into(),
        isa: baq_kernels::active().isa.name().into(),
        numerics: baq_kernels::active().arithmetic(),
        config: sha256(&read(&dir.join(rundir::CONFIG))?),
        dataset: dataset.0.into(),
        dataset_sha256: dataset.1.into(),
        origin: origin.map(|path| Ok::<_, RunError>(sha256(&read(path)?))).transpose()?,
        seed: run.seed,
    })
}

/// The probes that the configuration asks for: new ones, or those of a run that goes on from `saved`.
pub fn probes(
    config: &Config,
    dir: &RunDir,
    dataset: &Dataset,
    saved: Option<&Saved>,
    origin: Option<&Path>,
) -> Result<Probes, TrainError> {
    let audit: AuditConfig = config.section();
    let mut all = Probes { finite: audit.finite.then(Finite::default), ..Probes::default() };
    if audit.ledger {
        let facts = &dataset.facts;
        let header = header(config, dir.path(), (&facts.name, &facts.sha256), origin)?;
        let path = dir.file(rundir::LEDGER);
        let mark = saved.map(Saved::mark).transpose()?.flatten();
        if saved.is_some() && mark.is_none() {
            return Err(TrainError::Input(format!(
                "{}: expected a checkpoint that knows its ledger, got one without; train from the beginning with --ledger",
                dir.file(rundir::CHECKPOINT).display()
            )));
        }
        all.ledger = Some(Scribe::resume(&path, &header, mark)?);
        let rows: Vec<u8> = dataset.rows.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        dir.write(rundir::LEDGER_ROWS, &rows)?;
    }
    if audit.reference_every > 0 {
        let kept = saved.map(|saved| Ok::<_, TrainError>(saved.counters()?.round)).transpose()?;
        all.roundoff = Some(RoundOff::to_file(audit.reference_every, &dir.file(rundir::ROUNDOFF), kept)?);
    }
    Ok(all)
}
