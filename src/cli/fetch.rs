//! `baq fetch`: MuJoCo in the cache before anything needs it, as on a login node.

use clap::Args;
use serde_json::json;

use super::{Common, Outcome, Verdict};
use crate::env::mujoco;

/// Get MuJoCo into the cache, for machines that have no network later
///
/// Downloaded by pip once, checked against a fixed SHA-256, and kept in $XDG_CACHE_HOME/baq or ~/.cache/baq, where every
/// later command finds it. MUJOCO_PATH comes before the cache.
#[derive(Debug, Args)]
pub struct Fetch {}

impl Fetch {
    /// Runs the command. Errors: there is no cache folder; MuJoCo cannot be downloaded, or not be opened.
    pub fn run(self, common: Common) -> Outcome {
        let (library, downloaded) = mujoco::fetched()?;
        if common.json {
            println!(
                "{}",
                json!({
                    "version": library.version().to_string(), "path": library.path().display().to_string(),
                    "sha256": library.sha256(), "downloaded": downloaded,
                })
            );
            return Ok(Verdict::Done);
        }
        let how = if downloaded { "downloaded" } else { "was there already" };
        println!("MuJoCo {} {how}: {}", library.version(), library.path().display());
        println!("sha256 {}", library.sha256());
        Ok(Verdict::Done)
    }
}
