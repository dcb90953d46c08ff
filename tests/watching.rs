//! A run that is looked at while it goes on: in its files, in a log, in TensorBoard.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Tags and (step, value) of an event file, by TensorBoard's own reader.
const TAGS: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({t: [(e.step, e.value) for e in events.Scalars(t)] for t in events.Tags()["scalars"]}))
"#;

/// A folder with toy data.
fn place(name: &str) -> PathBuf {
    let folder = common::place::folder(name);
    succeed(&folder, "collect --random --env toy --steps 300 --quiet --out data.hdf5");
    folder
}

fn baq(place: &Path, line: &str) -> Command {
    let mut command = common::program::baq(place, line);
    command.args(["--threads", "1"]);
    command
}

fn succeed(place: &Path, line: &str) -> String {
    let out = baq(place, line).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{line}: {said}");
    said
}

/// Ten million updates with no checkpoint: whatever is found in its files was written row by row.
const ENDLESS: &str = "train --algo td3_bc --data data.hdf5 --env toy --updates 10000000 --set td3.hidden=[8] --set offline.batch=8 \
     --set offline.log_every=50 --set offline.eval_every=200 --set offline.eval_episodes=1 \
     --set offline.checkpoint_every=10000000 --quiet --out run";

fn spawn(place: &Path, line: &str) -> Child {
    baq(place, line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn rows(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.matches('\n').count())
}

/// Waits until a file has so many lines.
fn until(file: &Path, lines: usize) {
    for _ in 0..6000 {
        if rows(file) >= lines {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("{} does not grow", file.display());
}

#[test]
fn a_killed_run_has_its_rows() {
    let place = place("watching-kill");
    let mut run = spawn(&place, ENDLESS);
    until(&place.join("run/evaluations.csv"), 3);
    let before = rows(&place.join("run/metrics.csv"));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!place.join("run/checkpoint.safetensors").exists(), "nothing was saved yet");
    let text = fs::read_to_string(place.join("run/metrics.csv")).unwrap();
    assert!(text.matches('\n').count() >= before && before >= 8, "{before} rows");
    assert!(text.ends_with('\n'), "no row is torn");
    // The kill may have come between the two files of a row.
    let behind = text.matches('\n').count() - (rows(&place.join("run/metrics.jsonl")) + 1);
    assert!(behind <= 1, "{behind} rows");
}

fn tags(place: &Path) -> serde_json::Value {
    let said = common::python::check(&["tensorboard"], TAGS, &[&place.join("run/tensorboard")]);
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

#[test]
fn tensorboard_reads_a_run_that_goes_on() {
    let place = place("watching-tensorboard");
    let mut run = spawn(&place, &format!("{ENDLESS} --tensorboard"));
    until(&place.join("run/evaluations.csv"), 4);
    let shown = tags(&place);
    run.kill().unwrap();
    run.wait().unwrap();
    for tag in ["eval/return", "eval/episode_length", "train/q_data", "train/td_rms"] {
        assert!(shown[tag].as_array().is_some_and(|rows| rows.len() >= 3), "{tag} in {shown}");
    }
    assert_eq!(shown["eval/return"][0][0], 200, "a step is an update");
}

/// The same scalars, once each, however often a run was interrupted and whenever it was asked for.
#[test]
fn tensorboard_goes_on_with_a_run() {
    let place = place("watching-resume");
    let line = |rest: &str| {
        format!(
            "{rest} --data data.hdf5 --env toy --set online.eval_episodes=1 --set online.eval_every=20 --set online.log_every=10 \
             --set online.checkpoint_every=25 --set online.capacity=2000 --set online.batch=8 --quiet"
        )
    };
    let scratch = "train --algo rlpd --set rlpd.policy_hidden=[4] --set rlpd.critic_hidden=[4] --set online.updates_per_step=1 --env-steps";
    succeed(&place, &line(&format!("{scratch} 90 --out run --tensorboard")));
    let whole = tags(&place);
    let table = fs::read_to_string(place.join("run/metrics.csv")).unwrap();
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    for (k, name) in cells[0].iter().enumerate().skip(3) {
        let values = cells[1..].iter().filter(|row| !row[k].is_empty()).count();
        assert_eq!(whole[format!("train/{name}")].as_array().map_or(0, Vec::len), values, "{name}");
    }
    fs::remove_dir_all(place.join("run")).unwrap();
    succeed(&place, &line(&format!("{scratch} 40 --out run")));
    succeed(&place, "train --resume run --extend online=90 --quiet --tensorboard");
    assert_eq!(tags(&place), whole, "asked for when it went on");
    // An event file that is longer than the run, and torn.
    let file = fs::read_dir(place.join("run/tensorboard")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, [&bytes[..], &bytes[bytes.len() - 40..], b"torn"].concat()).unwrap();
    succeed(&place, "train --resume run --extend online=120 --quiet");
    let longer = tags(&place);
    assert_eq!(
        longer["eval/return"].as_array().unwrap().len(),
        whole["eval/return"].as_array().unwrap().len() + 1
    );
}

#[test]
fn a_log_has_lines() {
    let place = place("watching-lines");
    let line = "train --algo bc --data data.hdf5 --env toy --updates 40 --set bc.hidden=[8] --set offline.batch=8 \
         --set offline.eval_every=20 --set offline.eval_episodes=1";
    let said = succeed(&place, &format!("{line} --out run"));
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("baq: bc on ") && lines[0].contains("data.hdf5 (297 transitions), toy: "),
        "{said}"
    );
    assert!(lines[0].contains(": 40 updates in all, evaluated every 20, about "), "{said}");
    assert!(lines[1].starts_with("offline 20/40  ") && lines[1].contains("  return "), "{said}");
    assert!(lines[2].starts_with("offline 40/40  "), "{said}");
    assert_eq!(succeed(&place, &format!("{line} --quiet --out quiet")), "");
}

/// Watches in a terminal of 80 columns and 24 lines until there is a picture, then presses Ctrl-C.
const PTY: &str = r#"
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execv(sys.argv[1], ["baq", "watch", "run"])
seen, pressed = b"", False
while True:
    try:
        more = os.read(terminal, 65536)
    except OSError:
        break
    seen += more
    if not more:
        break
    if b"Ctrl-C ends" in seen and not pressed:
        pressed = True
        os.write(terminal, b"\x03")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(seen)
print("code", code)
"#;

fn output(place: &Path, line: &str, columns: &str) -> (i32, String, String) {
    let out = baq(place, line).env("COLUMNS", columns).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap(), text(&out.stdout), text(&out.stderr))
}

/// While it goes on, and when it has been killed: the same words in the terminal, as JSON and on the page.
#[test]
fn a_run_that_goes_on_is_watched_and_reported() {
    let place = place("watching-live");
    fs::create_dir_all(place.join("notes")).unwrap();
    let mut run = spawn(&place, ENDLESS);
    until(&place.join("run/evaluations.csv"), 4);
    let (code, stdout, stderr) = output(&place, "report run notes data.hdf5 --out page --json", "80");
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("notes: no run (config.toml is missing), left out"), "{stderr}");
    assert!(stderr.contains("data.hdf5: no run"), "{stderr}");
    let said: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let open = said["unfinished"][0].as_str().unwrap();
    assert!(open.starts_with("td3_bc (running, ") && open.ends_with(" of 10,000,000 updates)"), "{open}");
    let page = fs::read_to_string(place.join("page/report.html")).unwrap();
    for needle in ["td3_bc (running, ", "<td>running</td>", "Partial: td3_bc (running, ", "One seed each"] {
        assert!(page.contains(needle), "{needle}");
    }
    // Its own page is what says that a run has ended.
    assert_eq!(output(&place, "report run", "80").0, 0);
    assert!(place.join("report/report.html").exists() && !place.join("run/report.html").exists());
    let (code, _, stderr) = output(&place, "report run --out run", "80");
    assert!(code == 2 && stderr.contains("got that of a run that has not ended"), "{stderr}");
    for (columns, line) in [("80", "watch run --once"), ("120", "watch run"), ("60", "watch run notes")] {
        let (code, stdout, _) = output(&place, line, columns);
        assert_eq!(code, 0);
        let widest = stdout.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= columns.parse().unwrap(), "{widest} columns of {columns}:\n{stdout}");
        assert!(stdout.contains("running") && stdout.contains("/10,000,000 updates"), "{stdout}");
        assert!(!stdout.contains('\u{1b}'), "no terminal, no codes");
    }
    let (_, stdout, _) = output(&place, "watch run --json", "80");
    let said: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let row = &said["runs"][0];
    assert_eq!((&row["state"], &row["planned"]), (&"running".into(), &10_000_000.into()));
    assert!(row["seconds_left"].as_f64().unwrap() > 1.0 && row["metrics"]["td_rms"].is_number(), "{row}");
    let seen =
        Command::new("python3").args(["-c", PTY, env!("CARGO_BIN_EXE_baq")]).current_dir(&place).output();
    let seen = String::from_utf8_lossy(&seen.unwrap().stdout).into_owned();
    let (live, after) = seen.split_once("\u{1b}[?1049l").expect("the screen of its own is left");
    assert!(live.contains("\u{1b}[?1049h") && live.contains("Ctrl-C ends watching"), "{seen}");
    assert!(after.contains("running") && after.trim_end().ends_with("code 0"), "{seen}");
    run.kill().unwrap();
    run.wait().unwrap();
    let (code, stdout, _) = output(&place, "watch run", "80");
    assert!(code == 0 && stdout.contains("stopped"), "{stdout}");
    for line in ["report notes data.hdf5", "watch notes", "watch run nothing"] {
        let (code, _, stderr) = output(&place, line, "80");
        assert!(code == 2 && stderr.contains("expected the directory of a run"), "{line}: {stderr}");
    }
}
