//! Names of run directories that were given none.

use std::path::{Path, PathBuf};

use crate::adapt::Method;
use crate::config::{Config, RunConfig};
use crate::files::sha256;
use crate::train::data::EMBEDDED;
use crate::train::{TrainError, rundir};

/// The folder of a run that was given no name: `runs/METHOD-DATA-sSEED-HASH`, as in `runs/iql-hopper-medium-v2-s0-3fa9c1`.
/// Other data, origins and settings have another hash, so that only the same run has the same name.
pub fn default_out(config: &Config, preset: Option<&str>, origins: &[PathBuf]) -> PathBuf {
    let run: RunConfig = config.section();
    let method = Method::of(config).folder(preset, !origins.is_empty());
    let origins: Vec<_> = origins.iter().map(|p| p.canonicalize().unwrap_or_else(|_| p.clone())).collect();
    let hash = sha256(format!("{} {origins:?}", config.hash(&["run.seed", "run.dataset_sha256"])).as_bytes());
    let name = format!("{method}-{}-s{}-{}", data_name(&run), run.seed, &hash[..6]);
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    Path::new("runs").join(name.chars().map(plain).collect::<String>())
}

/// What a person calls the data, with the task in it.
fn data_name(run: &RunConfig) -> String {
    let task = run.env.rsplit_once("-v").map_or(run.env.as_str(), |(task, _)| task);
    if ["", EMBEDDED].contains(&run.dataset.as_str()) {
        return if run.env.is_empty() { run.dataset.clone() } else { run.env.clone() };
    }
    let name: String = baq_datasets::short_name(Path::new(&run.dataset)).chars().take(60).collect();
    if name.to_lowercase().contains(task) { name } else { format!("{task}-{name}") }
}

/// The folder that was asked for, or the default one, which must not hold a run yet. Errors: none is asked for, and the
/// default one holds a run already.
pub fn out(asked: Option<&Path>, default: PathBuf, verb: &str) -> Result<PathBuf, TrainError> {
    match asked {
        Some(out) => Ok(out.to_path_buf()),
        None if default.join(rundir::CONFIG).exists() => Err(TrainError::Input(format!(
            "{0}: this very run is there already; if it was interrupted go on with: baq {verb} --resume {0}, or do it again under another name with --out",
            default.display()
        ))),
        None => Ok(default),
    }
}
