//! A dataset stored as Arrow or Parquet (Minari 0.5 and later): for every episode a folder of its number beside
//! `metadata.json`, and in it `part-0.arrow` or `part-0.parquet` with the columns `observations`, `actions`, `rewards`,
//! `terminations` and `truncations`.
//!
//! All columns have T + 1 rows, as many as the observations; what the others hold in the last row is padding (which in
//! flags must be 0 or 1 too). A space of several numbers is a list, a dictionary or tuple a structure of its parts. The folder's
//! own `metadata.json` says T.

use super::metadata::{METADATA, Metadata, steps_of_episode};
use super::{Episode, Place, Rows, bad_shape};
use crate::backend::Backend as _;
use crate::backend::arrow::ArrowFile;
use crate::columns::Source;
use crate::error::{Error, Result, one_line};
use std::path::{Path, PathBuf};

/// Reads all episodes in the order of their numbers. `ending` is that of their files' names.
pub(super) fn read(folder: &Path, ending: &str, meta: &Metadata, rows: &mut Rows) -> Result<Source> {
    let folders = numbered(folder)?;
    if folders.is_empty() {
        return Err(Error::EpisodeFiles {
            folder: folder.display().to_string(),
            expected: format!("folders 0, 1, ... with part-0.{ending}, one for each episode"),
            got: "none".into(),
        });
    }
    meta.check("total_episodes", meta.total_episodes, folders.len(), "episode folders beside it")?;
    let mut files = Vec::with_capacity(folders.len());
    for folder in &folders {
        let file = only_file(folder, ending)?;
        let label = file.display().to_string();
        rows.add(&label, episode(&file, &label, folder))?;
        files.push(file);
    }
    Source::of_parts(folder, files.iter().map(PathBuf::as_path))
}

fn episode(file: &Path, label: &str, folder: &Path) -> Result<Episode> {
    let table = ArrowFile::open(file)?;
    let episode = Episode::read(&table, &Place { label, group: "", padding: 1 })?;
    let metadata = folder.join(METADATA);
    if metadata.is_file()
        && let Some(steps) = steps_of_episode(&metadata)?
        && steps != episode.rewards.len() as u64
    {
        let expected = format!("({steps} + 1,), as {METADATA} beside it says,");
        return Err(bad_shape(label, "rewards".into(), expected, &[episode.rewards.len() as u64 + 1]));
    }
    Ok(episode)
}

/// The folders whose names are numbers, in their order.
fn numbered(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = entries(folder)?.into_iter().filter(|path| path.is_dir());
    let mut numbered: Vec<(u64, PathBuf)> =
        found.filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path))).collect();
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// The one file of this ending that is not hidden.
fn only_file(folder: &Path, ending: &str) -> Result<PathBuf> {
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found = entries(folder)?;
    found.retain(|path| path.extension().is_some_and(|e| e == ending) && !name(path).starts_with(['_', '.']));
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        files => Err(Error::EpisodeFiles {
            folder: folder.display().to_string(),
            expected: format!("one file, part-0.{ending}"),
            got: match files.len() {
                0 => format!("none that ends in .{ending}"),
                n => format!(
                    "{n} ({})",
                    one_line(&files.iter().map(|f| name(f)).collect::<Vec<_>>().join(", "))
                ),
            },
        }),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: std::io::Error| Error::io(folder, "cannot list", &e);
    std::fs::read_dir(folder).map_err(fail)?.map(|entry| Ok(entry.map_err(fail)?.path())).collect()
}
