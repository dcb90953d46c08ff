//! Commands that the program proposes: each can be pasted into a shell as it stands.

use std::path::{Path, PathBuf};

use baq_kernels::Numerics;
use serde_json::json;

use super::{Common, Outcome, Verdict};
use crate::files::shell_word;
use crate::train::TrainError;
use crate::train::rundir::{self, RunDir};
use crate::train::state::Saved;

/// A command line with these words, and with the options of all commands on which bits depend.
pub fn command(common: Common, words: &[&str]) -> String {
    let mut line = String::from("baq");
    for word in words {
        line += " ";
        line += &shell_word(word);
    }
    if let Some(isa) = common.isa {
        line += &format!(" --isa {isa}");
    }
    if common.numerics != Numerics::F32 {
        line += &format!(" --numerics {}", common.numerics);
    }
    if let Some(threads) = common.threads {
        line += &format!(" --threads {threads}");
    }
    line
}

/// A path as a word; one that begins like an option does not stay so.
pub fn path(path: &Path) -> String {
    let text = path.display().to_string();
    if text.starts_with('-') { format!("./{text}") } else { text }
}

/// The first of `name.ext`, `name-2.ext`, ... that does not exist.
pub fn free(first: &Path) -> PathBuf {
    let stem = first.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = |k: u32| match first.extension() {
        Some(ext) => format!("{stem}-{k}.{}", ext.to_string_lossy()),
        None => format!("{stem}-{k}"),
    };
    let others = (2..).map(|k| first.with_file_name(name(k)));
    let mut all = std::iter::once(first.to_path_buf()).chain(others);
    all.find(|path| !path.exists()).expect("invariant: some name is free")
}

/// Ends an interrupted run of `baq train` or `baq finetune`: says how to go on, with its data at `moved` if they are.
/// Errors: with `--json` a checkpoint that is there and cannot be read.
pub fn interrupted(common: Common, verb: &str, run: &Path, moved: Option<&str>) -> Outcome {
    let dir = path(run);
    let mut words = vec![verb, "--resume", &dir];
    words.extend(moved.iter().flat_map(|data| ["--data", data]));
    let resume = command(common, &words);
    if !common.json {
        println!("interrupted; go on with: {resume}");
        return Ok(Verdict::Interrupted);
    }
    let at = match run.join(rundir::CHECKPOINT).exists() {
        true => Some(Saved::open(run)?.counters()?),
        false => None,
    };
    let (updates, env_steps) = (at.map(|c| c.round), at.map(|c| c.env_step));
    println!(
        "{}",
        json!({ "run": run, "ended": "interrupted", "updates": updates, "env_steps": env_steps, "resume": resume })
    );
    Ok(Verdict::Interrupted)
}

/// An error that says what to do if `given` is not the directory of a run of `baq VERB`, the one that it names.
pub fn check_resume(given: &Path, verb: &str) -> Result<(), TrainError> {
    let shown = path(given);
    let is_run = |dir: &Path| dir.join(rundir::CONFIG).is_file();
    let kind = |dir: &Path| if dir.join(rundir::ORIGIN).exists() { "finetune" } else { "train" };
    let resume = |dir: &Path| format!("baq {} --resume {}", kind(dir), shell_word(&path(dir)));
    let refuse = |what: String| Err(TrainError::Input(format!("--resume {shown}: {what}")));
    if !given.exists() {
        let near = given.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        let runs = runs_in(near.unwrap_or(Path::new(".")));
        return refuse(match runs.is_empty() {
            true => {
                format!("no such directory; begin a run there with baq {verb} --out {}", shell_word(&shown))
            }
            false => format!("no such directory; the runs beside it are {}", runs.join(", ")),
        });
    }
    if !given.is_dir() {
        let parent = given.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        let run = parent.into_iter().flat_map(|p| [Some(p), p.parent()]).flatten().find(|p| is_run(p));
        return refuse(match run {
            Some(run) => format!(
                "expected the directory of a run, got a file; go on from the run's last checkpoint with: {}; or begin with this one: baq finetune --from {}",
                resume(run),
                shell_word(&shown),
            ),
            None => "expected the directory of a run, got a file; name what baq train created".into(),
        });
    }
    if is_run(given) {
        return match (verb, kind(given)) {
            (a, b) if a == b => Ok(()),
            (_, "train") => refuse(format!(
                "a run of baq train, not of baq finetune; go on with: {}; or fine-tune what it has learnt: baq finetune --from {}",
                resume(given),
                shell_word(&shown),
            )),
            _ => refuse(format!("a run of baq finetune, not of baq train; go on with: {}", resume(given))),
        };
    }
    if let Some(run) = given.parent().filter(|p| given.ends_with(rundir::KEPT) && is_run(p)) {
        return refuse(format!("the kept checkpoints of a run, not the run; go on with: {}", resume(run)));
    }
    match runs_in(given) {
        // The directory says itself what it lacks.
        runs if runs.is_empty() => RunDir::resume(given).map(drop).map_err(TrainError::from),
        runs => refuse(format!(
            "no run to resume ({} is missing); the runs in it are {}",
            rundir::CONFIG,
            runs.join(", ")
        )),
    }
}

/// Directories of runs in a folder, the first few by name.
fn runs_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut runs: Vec<String> = entries
        .map(|e| e.path())
        .filter(|p| p.join(rundir::CONFIG).is_file())
        .map(|p| p.strip_prefix(".").unwrap_or(&p).display().to_string())
        .collect();
    runs.sort();
    runs.truncate(5);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        let words =
            ["plain/path-1.hdf5", "", "with blank", "it's", "a\"b", "$HOME", "*", "~/x", "[8,8]", "a;b", "é"];
        let line: Vec<String> = words.iter().map(|w| shell_word(w)).collect();
        let script = format!("printf '%s\\n' {}", line.join(" "));
        let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let read: Vec<String> = String::from_utf8(out.stdout).unwrap().lines().map(String::from).collect();
        assert_eq!(read, words);
        assert_eq!(path(Path::new("-x")), "./-x");
    }
}
