//! The cells of a study on a cluster: job arrays that anybody can read, and the commands that submit them.
//!
//! One array for each training, each model and each method, a task for each (data set, seed). A method's array waits for its
//! training's, task by task (`aftercorr`). Every task is `baq study cell`, which begins, goes on, or finds that nothing is
//! left; so a study may be submitted again at any time. What a cell says is in its log, as anywhere; `slurm/logs` has what
//! Slurm says. Two minutes before its time is up a task gets USR1, saves, and puts
//! itself back into the queue.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::directory::{CELLS, LOGS, Study};
use super::graph::{Cell, Kind, folder};
use crate::checkpoint::atomic::{create_directories, write_after_others};
use crate::files::shell_word;
use crate::train::TrainError;

/// Slurm's usual bound on the tasks of an array.
const LARGEST_ARRAY: usize = 1000;

/// How a study is submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// the program
    pub program: PathBuf,
    /// options of every command but threads, as `--isa avx2`
    pub options: Vec<String>,
    /// cores of a task
    pub threads: usize,
    /// tasks of an array that run at once; `None` leaves it to the cluster
    pub at_once: Option<usize>,
    /// of `sbatch`, as `--time=04:00:00`
    pub sbatch: Vec<String>,
}

/// An array of jobs.
struct Array {
    name: String,
    /// cells, with the number of their task: the same for a method and for its training
    tasks: Vec<(usize, usize)>,
    /// arrays it waits for
    after: Vec<String>,
}

/// Writes the scripts of a study to its directory, those of the arrays before the one that submits them; their paths and
/// texts. Errors: one cannot be saved.
pub fn write(study: &Study, submission: &Submission) -> Result<Vec<(PathBuf, String)>, TrainError> {
    let folder = study.dir.join("slurm");
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let mut scripts: Vec<(PathBuf, String)> = Vec::new();
    let mut submit =
        String::from("#!/bin/bash\n# Submits the study; may be run again at any time.\nset -euo pipefail\n");
    let _ = writeln!(submit, "cd {}\nmkdir -p logs", shell_word(&folder.display().to_string()));
    let arrays = arrays(study);
    for (i, array) in arrays.iter().enumerate() {
        let script = format!("{}.job", array.name);
        scripts.push((folder.join(&script), text(study, submission, array)));
        let before = arrays.iter().enumerate().filter(|(_, other)| array.after.contains(&other.name));
        let after: Vec<String> = before.map(|(j, _)| format!(":$job_{j}")).collect();
        let dependency = match after.is_empty() {
            true => String::new(),
            false => format!("--dependency=aftercorr{} --kill-on-invalid-dep=yes ", after.concat()),
        };
        // Where there are several clusters, the name of one stands behind the number.
        let _ =
            writeln!(submit, "job_{i}=$(sbatch --parsable {dependency}{script}); job_{i}=${{job_{i}%%;*}}");
        let _ = writeln!(submit, "echo \"$job_{i} {}: {} tasks\"", array.name, array.tasks.len());
    }
    scripts.push((folder.join("submit.sh"), submit));
    for (path, text) in &scripts {
        let saved = create_directories(&folder).and_then(|()| write_after_others(path, text.as_bytes()));
        saved.map_err(|e| TrainError::Input(format!("{}: {e}", path.display())))?;
    }
    Ok(scripts)
}

/// Trainings first: others wait for them.
fn arrays(study: &Study) -> Vec<Array> {
    let cells = &study.graph.cells;
    let name = |cell: &Cell, chunk: usize| {
        // No folder's name has a plus.
        let chunk = if chunk > 0 { format!("+{chunk}") } else { String::new() };
        folder(cell.kind, &cell.label) + &chunk
    };
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|index| cells[*index].kind >= Kind::Finetune);
    let mut all: Vec<Array> = Vec::new();
    for index in order {
        let cell = &cells[index];
        let data = study.spec.data.iter().position(|d| *d == cell.data).unwrap_or(0);
        let task = data * study.spec.seeds as usize + cell.seed as usize;
        let (chunk, task) = (task / LARGEST_ARRAY, task % LARGEST_ARRAY);
        let own = name(cell, chunk);
        let after = cell.needs().map(|need| name(&cells[need], chunk)).collect();
        match all.iter_mut().find(|array| array.name == own) {
            Some(array) => array.tasks.push((task, index)),
            None => all.push(Array { name: own, tasks: vec![(task, index)], after }),
        }
    }
    all
}

fn text(study: &Study, submission: &Submission, array: &Array) -> String {
    let numbers: Vec<String> = array.tasks.iter().map(|(task, _)| task.to_string()).collect();
    // By what they are, not by their place: a script that waits means the same when the study has grown.
    let cells = array
        .tasks
        .iter()
        .map(|(task, index)| format!("[{task}]={}", shell_word(&study.graph.cells[*index].folder())));
    let cells: Vec<String> = cells.collect();
    let dir = std::path::absolute(&study.dir).unwrap_or_else(|_| study.dir.clone());
    let bound = submission.at_once.map(|n| format!("%{n}")).unwrap_or_default();
    let mut out = String::from("#!/bin/bash\n");
    let title = format!("{}/{}", study.spec.title(), array.name);
    // Relative paths in the environment mean what they mean where the study is submitted.
    let here = std::env::current_dir().unwrap_or_default();
    let said = dir.join("slurm/logs").display().to_string().replace('%', "%%");
    for option in [
        format!("--job-name={title}"),
        of_path("--chdir", &here.display().to_string()),
        format!("--array={}{bound}", numbers.join(",")),
        format!("--cpus-per-task={}", submission.threads),
        "--requeue".into(),
        "--signal=B:USR1@120".into(),
        "--open-mode=append".into(),
        of_path("--output", &format!("{said}/{}-%a.log", array.name)),
    ]
    .into_iter()
    .chain(submission.sbatch.iter().map(|option| quoted(option)))
    {
        let _ = writeln!(out, "#SBATCH {option}");
    }
    let words = [&submission.program.display().to_string(), "study", "cell", &dir.display().to_string()]
        .map(shell_word);
    let options: Vec<String> = submission.options.iter().map(|word| shell_word(word)).collect();
    let _ = write!(
        out,
        r#"
cells=({})
cell="${{cells[$SLURM_ARRAY_TASK_ID]}}"
log={}/"$cell".log
failed={}/"$cell".failed
mkdir -p "${{log%/*}}"
{} "$cell" --threads "${{SLURM_CPUS_PER_TASK:-{}}}" {} >> "$log" 2>&1 &
run=$!
late=
trap 'late=1; kill -USR1 $run' USR1
trap 'kill -TERM $run' TERM
# A signal ends the first wait, not the run.
while true; do
  wait $run
  code=$?
  kill -0 $run 2>/dev/null || break
done
# It may have ended between the two.
if [ $code -gt 128 ]; then
  wait $run
  code=$?
fi
# Ended without a word, and by none of the signals at which it saves.
case $code in
  [0-3] | 129 | 130 | 138 | 140 | 143) ;;
  *)
    reason="ended with code $code; see its log"
    [ $code = 137 ] && reason="killed, perhaps for want of memory"
    mkdir -p "${{failed%/*}}"
    echo "{{\"code\":null,\"reason\":\"$reason\"}}" > "$failed"
    ;;
esac
# Saved because its time was up: on with it, later.
if [ $code = 3 ] && [ -n "$late" ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit $code
"#,
        cells.join(" "),
        shell_word(&dir.join(LOGS).display().to_string()),
        shell_word(&dir.join(CELLS).display().to_string()),
        words.join(" "),
        submission.threads,
        options.join(" "),
    );
    out
}

/// An option with a path, as a line of `#SBATCH` has it. Slurm undoes quotes and backslashes as a shell does.
fn of_path(option: &str, path: &str) -> String {
    match path.chars().all(|c| c.is_alphanumeric() || "/._-+=:,@%".contains(c)) {
        true => format!("{option}={path}"),
        false => format!("{option}=\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// An option of the user as a line of `#SBATCH` has it: a value with blanks, or with what begins a comment, in quotes.
fn quoted(option: &str) -> String {
    match option.split_once('=') {
        Some((key, value))
            if key.starts_with("--") && value.contains([' ', '#']) && !value.contains(['"', '\'']) =>
        {
            format!("{key}=\"{value}\"")
        }
        _ => option.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_what_slurm_reads_stand_in_quotes() {
        for (path, line) in [
            ("/home/a_b-1/x.y/%a.log", "--chdir=/home/a_b-1/x.y/%a.log"),
            ("/o'brien", "--chdir=\"/o'brien\""),
            ("/a \"b\" #1", "--chdir=\"/a \\\"b\\\" #1\""),
            ("/a\\b", "--chdir=\"/a\\\\b\""),
            ("/a\tb", "--chdir=\"/a\tb\""),
        ] {
            assert_eq!(of_path("--chdir", path), line);
        }
    }

    #[test]
    fn values_with_blanks_stand_in_quotes() {
        for (given, line) in [
            ("--time=04:00:00", "--time=04:00:00"),
            ("--comment=two words", "--comment=\"two words\""),
            ("--comment=\"two words\"", "--comment=\"two words\""),
            ("--comment='two words'", "--comment='two words'"),
            ("--comment=a#b", "--comment=\"a#b\""),
            ("-p gpu", "-p gpu"),
        ] {
            assert_eq!(quoted(given), line);
        }
    }
}
