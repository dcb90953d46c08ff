//! Environments in other programs: Gymnasium's, bit for bit, and what becomes of programs that go wrong.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use baq::env::{self, EnvError};
use common::Numbers;
use common::place::folder;

const PACKAGES: &[&str] = &["gymnasium"];

/// The episodes of the seeds and actions on standard input, as Gymnasium plays them; floats as their bits.
const PLAY: &str = r#"
import json, struct, sys
import gymnasium as gym, numpy as np
task, low, high, episodes = json.load(open(sys.argv[1]))
env = gym.make(task)
bits = lambda x: struct.pack(">d", float(x)).hex()
out = []
for seed, actions in episodes:
    observation, _ = env.reset(seed=seed)
    rows = [[[bits(x) for x in np.asarray(observation, dtype=np.float64)], bits(0), False, False]]
    for action in actions:
        a = np.array(action, dtype=np.float32)
        if (low, high) != (-1, 1):
            a = (low + (a.astype(np.float64) + 1) * 0.5 * (high - low)).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(a)
        rows.append([[bits(x) for x in np.asarray(observation, dtype=np.float64)], bits(reward), bool(terminated), bool(truncated)])
    out.append(rows)
print(json.dumps(out))
"#;

type Row = (Vec<String>, String, bool, bool);

fn bits(x: f64) -> String {
    format!("{:016x}", x.to_bits())
}

/// A task of Gymnasium by the embedded script, but as a program of one's own.
fn gymnasium(task: &str) -> String {
    gymnasium_with(&common::python::path(PACKAGES), task)
}

/// The same with the modules of a folder, as in `module:Task-v0`.
fn gymnasium_with(modules: &Path, task: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/env/process/gymnasium_tasks.py");
    let (packages, modules) = (common::python::path(PACKAGES), modules.display());
    format!("process:env PYTHONPATH={}:{modules} python3 {} {task}", packages.display(), script.display())
}

/// Random episodes through the protocol and by Gymnasium itself; some end by the time limit.
#[test]
fn gymnasium_answers_the_same_to_the_last_bit() {
    let place = folder("external-bits");
    for (task, low, high) in [("Pendulum-v1", -2.0, 2.0), ("MountainCarContinuous-v0", -1.0, 1.0)] {
        let mut env = env::make(&gymnasium(task)).unwrap_or_else(|e| panic!("{e}"));
        let mut x = Numbers(3);
        let mut obs = vec![0.0; env.obs_dim()];
        let (mut ours, mut asked) = (Vec::new(), Vec::new());
        for episode in 0..3 {
            env.reset(11, episode, &mut obs);
            let seed = env.state()[1] as u64;
            let mut rows: Vec<Row> = vec![(obs.iter().map(|x| bits(*x)).collect(), bits(0.0), false, false)];
            let mut actions = Vec::new();
            for _ in 0..[230, 40, 7][episode as usize] {
                let action: Vec<f32> = (0..env.act_dim()).map(|_| x.unit() as f32).collect();
                let step = env.step(&action, &mut obs).unwrap();
                actions.push(action);
                let observed = obs.iter().map(|x| bits(*x)).collect();
                rows.push((observed, bits(step.reward), step.terminated, step.truncated));
                if step.ended() {
                    break;
                }
            }
            ours.push(rows);
            asked.push((seed, actions));
        }
        assert_ne!(asked[0].0, asked[1].0, "every episode has a seed of its own");
        let file = place.join("episodes.json");
        fs::write(&file, serde_json::json!([task, low, high, asked]).to_string()).unwrap();
        let theirs: Vec<Vec<Row>> =
            serde_json::from_str(&common::python::check(PACKAGES, PLAY, &[&file])).unwrap();
        assert_eq!(ours, theirs, "{task}");
        assert!(task != "Pendulum-v1" || ours[0].last().unwrap().3, "its time limit is 200");
    }
}

/// A state taken in the middle of an episode leads on to the same bits, in another instance too.
#[test]
fn a_saved_state_goes_on() {
    let id = gymnasium("Pendulum-v1");
    let (mut a, mut b) = (env::make(&id).unwrap(), env::make(&id).unwrap());
    let (mut x, mut y) = (vec![0.0; 3], vec![0.0; 3]);
    a.reset(5, 2, &mut x);
    for k in 0..30 {
        a.step(&[(k as f32 * 0.3).sin()], &mut x).unwrap();
    }
    let state = a.state();
    b.reset(1, 1, &mut y);
    b.set_state(&state).unwrap();
    for k in 0..20 {
        let action = [(k as f32 * 0.7).cos()];
        let (s, t) = (a.step(&action, &mut x).unwrap(), b.step(&action, &mut y).unwrap());
        assert_eq!((s, &x), (t, &y));
    }
    let mut other = state.clone();
    other[0] += 1.0;
    let refused = b.set_state(&other).unwrap_err().to_string();
    assert!(refused.contains("was made by other versions than gymnasium"), "{refused}");
    assert!(b.set_state(&state[..1]).is_err());
}

/// An episode of a saved state that cannot be acted again to its end is not gone on with.
#[test]
fn a_state_that_is_restored_by_half_takes_no_step() {
    let place = folder("external-half");
    let step = "(1.0, 0, 0, nan if resets == 3 and steps == 2 else 0.0)";
    let mut env = env::make(&program(&place, "half", "0.0", step)).unwrap_or_else(|e| panic!("{e}"));
    let mut obs = [0.0];
    env.reset(0, 0, &mut obs);
    for _ in 0..3 {
        env.step(&[0.5], &mut obs).unwrap();
    }
    let state = env.state();
    let failed = env.set_state(&state).unwrap_err().to_string();
    assert!(failed.ends_with("got observation[0] = NaN at step 2 of an episode"), "{failed}");
    for _ in 0..2 {
        assert_eq!(env.step(&[0.5], &mut obs).unwrap_err().to_string(), failed);
    }
    env.reset(0, 0, &mut obs);
    env.step(&[0.5], &mut obs).unwrap();
    env.set_state(&state).unwrap();
    env.step(&[0.5], &mut obs).unwrap();
}

/// A program that answers otherwise when it acts an episode again is not gone on with.
#[test]
fn another_episode_is_refused() {
    let place = folder("external-another");
    // It depends on how many resets came before.
    for (name, step) in [("observations", "(1.0, 0, 0, resets)"), ("rewards", "(resets, 0, 0, 0.0)")] {
        let id = program(&place, name, "0.25", step);
        let mut env = env::make(&id).unwrap_or_else(|e| panic!("{e}"));
        let mut obs = [0.0];
        env.reset(0, 0, &mut obs);
        env.step(&[0.5], &mut obs).unwrap();
        let state = env.state();
        let said = env.set_state(&state).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{id}: does not play an episode again: ")), "{said}");
        assert_eq!(env.step(&[0.5], &mut obs).unwrap_err().to_string(), said);
        // States of earlier versions have no checksum.
        env.set_state(&[&state[..2], &state[3..]].concat()).unwrap();
        env.step(&[0.5], &mut obs).unwrap();
    }
    let marker = place.join("licence");
    let lives = format!("resets != 9 or steps < 3 or __import__('os').path.exists({marker:?})");
    let step = format!("(steps, 0, 0, resets) if {lives} else exit('no licence')");
    let id = program(&place, "forgets", "0.25", &step);
    let died = small(&place, &id, "run").output().unwrap();
    let said = String::from_utf8_lossy(&died.stderr);
    assert!(said.contains("no licence; the run is saved after 37 steps"), "{said}");
    fs::write(&marker, "").unwrap();
    let ran = baq(&place, "train --resume run");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("does not play an episode again: "), "{said}");
}

/// Why an environment cannot be made.
fn refused(id: &str) -> String {
    match env::make(id) {
        Err(EnvError::Program { id: named, problem }) => {
            assert_eq!(named, id);
            problem
        }
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("{id} was made"),
    }
}

/// A program of this text.
fn script(place: &Path, name: &str, text: &str) -> String {
    let path = place.join(format!("{name}.py"));
    fs::write(&path, text).unwrap();
    format!("process:python3 {}", path.display())
}

/// A program with observations and actions of one number and a limit of 5: what it answers to a reset, an observation, and
/// to a step, (reward, terminated, truncated, observation), in Python that may look at `resets` and `steps`.
fn program(place: &Path, name: &str, reset: &str, step: &str) -> String {
    let text = r#"
import struct
from sys import stdin, stdout
nan = float("nan")
print('{"protocol": 1, "observation": 1, "action": 1, "limit": 5}', flush=True)
resets = steps = 0
while op := stdin.buffer.read(1):
    stdin.buffer.read(4)
    if op == b"C":
        continue
    if op == b"R":
        stdin.buffer.read(8)
        resets, steps = resets + 1, 0
        answer = struct.pack("<d", RESET)
    else:
        stdin.buffer.read(4)
        steps += 1
        answer = struct.pack("<dBBd", *STEP)
    stdout.buffer.write(b"\0" + answer)
    stdout.buffer.flush()
"#;
    script(place, name, &text.replace("RESET", reset).replace("STEP", step))
}

#[test]
fn the_limit_that_was_announced_ends_episodes() {
    let place = folder("external-limit");
    let flags = |id: &str| {
        let mut env = env::make(id).unwrap_or_else(|e| panic!("{e}"));
        let mut obs = [0.0];
        [0, 1].map(|episode| {
            env.reset(0, episode, &mut obs);
            [(); 5].map(|()| {
                let step = env.step(&[0.0], &mut obs).unwrap();
                (step.terminated, step.truncated)
            })
        })
    };
    let (on, limit, both) = ((false, false), (false, true), (true, true));
    let endless = program(&place, "endless", "0.0", "(1.0, 0, 0, steps)");
    assert_eq!(flags(&endless), [[on, on, on, on, limit]; 2]);
    let ends = program(&place, "ends", "0.0", "(1.0, steps == 5, 0, steps)");
    assert_eq!(flags(&ends), [[on, on, on, on, both]; 2]);
    // The commands come to an end too.
    let line = "train --algo sac --quiet --threads 1 --env-steps 20 --out run --set sac.hidden=[8] --set online.batch=8 \
         --set online.eval_episodes=2 --set online.random_steps=10 --set online.warmup_steps=10 --set online.eval_every=20 \
         --set online.capacity=2000";
    let ran = common::program::baq(&place, line).args(["--env", &endless]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Programs that live on but will never answer.
#[test]
fn programs_that_cannot_answer_are_ended() {
    let place = folder("external-mute");
    let text = "import os, time; open('pid', 'w').write(str(os.getpid())); os.close(1); time.sleep(100000)";
    let pid = place.join("pid");
    let closes =
        script(&place, "closes", &text.replace("'pid'", &format!("{:?}", pid.display().to_string())));
    assert_eq!(refused(&closes), "expected an answer, its program gave none and did not end; it was ended");
    let process = Path::new("/proc").join(fs::read_to_string(pid).unwrap());
    assert!(!process.exists(), "it lives on");
    let bytes =
        r"import sys, time; sys.stdout.buffer.write(b'\xff\xfe\n'); sys.stdout.flush(); time.sleep(100000)";
    let said = refused(&script(&place, "bytes", bytes));
    assert!(said.starts_with("expected a line of JSON in UTF-8 with its sizes, got bytes"), "{said}");
}

/// A program that dies leaves nobody waiting, although another one that it has started holds its output open.
#[cfg(unix)]
#[test]
fn what_a_program_leaves_behind_is_ended() {
    let place = folder("external-orphan");
    let pid = place.join("pid");
    let starts = "__import__('subprocess').Popen(['sleep', '100000']).pid";
    let dies = format!("open({pid:?}, 'w').write(str({starts})) and exit('no licence')");
    let id = program(&place, "dies", &format!("0.25 if resets == 1 else {dies}"), "(1.0, 0, 0, 0.0)");
    let mut env = env::make(&id).unwrap_or_else(|e| panic!("{e}"));
    env.reset(0, 0, &mut [0.0]);
    let died = env.step(&[0.0], &mut [0.0]).unwrap_err().to_string();
    assert!(died.ends_with("(exit status: 1): no licence"), "{died}");
    assert!(ends(number(&pid).unwrap()), "it lives on");
}

/// Of a program whose answers can no longer be told apart nothing is taken any more.
#[test]
fn a_program_that_is_out_of_step_is_ended() {
    let place = folder("external-step");
    let text = r#"
import struct
from sys import stdin, stdout
print('{"protocol": 1, "observation": 1, "action": 1, "limit": 5}', flush=True)
while stdin.buffer.read(1) == b"R":
    stdin.buffer.read(12)
    stdout.buffer.write(ANSWER)
    stdout.buffer.flush()
"#;
    // What comes of the first reset, of another one, and of a step after that.
    let told = |id: &str| match env::make(id) {
        Err(e) => e.to_string(),
        Ok(mut env) => {
            env.reset(0, 0, &mut [0.0]);
            env.step(&[0.0], &mut [0.0]).unwrap_err().to_string()
        }
    };
    for (name, answer, problem) in [
        ("long", r#"b"\0" + struct.pack("<dd", 0.5, 0.25)"#, "nothing beyond its answers, got 8 bytes; "),
        ("status", r#"b"\7" + bytes(8)"#, "an answer that begins with 0 or 1, got 7"),
        (
            "text",
            r#"b"\1" + struct.pack("<I", 70000) + bytes(70000)"#,
            "the text of an error of at most 65535 bytes, got 70000; ",
        ),
        // Text of so many bytes never comes; 256 are 65,536 in the other order.
        (
            "order_256",
            r#"struct.pack(">BI", 1, 256) + bytes(256)"#,
            "the text of an error of at most 65535 bytes, got 65536; numbers are little-endian",
        ),
        (
            "order",
            r#"struct.pack(">BI", 1, 3) + b"bad""#,
            "the text of an error of at most 65535 bytes, got 50331648; numbers are little-endian",
        ),
    ] {
        let id = script(&place, name, &text.replace("ANSWER", answer));
        let first = told(&id);
        assert!(first.starts_with(&format!("{id}: expected {problem}")), "{first}");
        assert_eq!(told(&id), first, "{name}: it answers on");
    }
}

/// Tasks of Gymnasium that do not keep to what they say of themselves.
#[test]
fn tasks_that_break_their_word_are_named() {
    let place = folder("external-word");
    let tasks = r#"
import gymnasium as gym, numpy as np

class Task(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (3,))
    action_space = gym.spaces.Box(-1, 1, (1,))
    def __init__(self, length):
        self.zeros = np.zeros(length, dtype=np.float32)
    def reset(self, seed=None, options=None):
        return self.zeros, {}
    def step(self, action):
        return self.zeros, 0.0, False, False, {}

for name, length in [("Long", 4), ("Short", 2)]:
    gym.register(f"{name}-v0", Task, max_episode_steps=5, disable_env_checker=True, kwargs=dict(length=length))
"#;
    fs::write(place.join("tasks.py"), tasks).unwrap();
    let id = |name: &str| gymnasium_with(&place, &format!("tasks:{name}-v0"));
    for (name, length) in [("Long", 4), ("Short", 2)] {
        let problem = refused(&id(name));
        assert!(problem.starts_with("ValueError: expected an observation of 3 numbers, "), "{problem}");
        assert!(problem.ends_with(&format!(" says, got {length}")), "{problem}");
    }
}

/// What a program writes on standard error takes no more room the longer it runs, and its last words are still told.
#[test]
#[cfg(target_os = "linux")]
fn a_program_that_writes_on_and_on_fills_no_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let place = folder("external-chatty");
    let chatty = "print('x' * 3_000_000, file=__import__('sys').stderr) or 0.25";
    let mut env = env::make(&program(&place, "chatty", chatty, "exit('no licence')")).unwrap();
    for episode in 0..12 {
        env.reset(0, episode, &mut [0.0]);
    }
    let files = fs::read_dir("/proc/self/fd").unwrap().filter_map(|file| {
        let file = file.unwrap().path();
        let gone = fs::read_link(&file).is_ok_and(|name| name.to_string_lossy().ends_with("(deleted)"));
        // Another test may close its own meanwhile.
        gone.then(|| fs::metadata(&file).map_or(0, |m| m.blocks() * 512))
    });
    let room: u64 = files.sum();
    assert!((3_000_000..9_000_000).contains(&room), "{room} bytes");
    let died = env.step(&[0.0], &mut [0.0]).unwrap_err().to_string();
    assert!(died.ends_with("(exit status: 1): no licence"), "{died}");
}

/// Options of a small run.
const SMALL: &str = "--set sac.hidden=[8] --set online.batch=8 --set online.random_steps=10 --set online.warmup_steps=10 \
     --set online.eval_episodes=0 --set online.log_every=20 --set online.capacity=2000";

/// A small run in a program.
fn small(place: &Path, id: &str, out: &str) -> Command {
    let line = format!("train --algo sac --quiet --threads 1 --env-steps 60 {SMALL}");
    let mut command = common::program::baq(place, &line);
    command.args(["--out", out, "--env", id]);
    command
}

/// A program that dies in the middle of a run takes nothing with it.
#[test]
fn a_run_outlives_its_program() {
    let place = folder("external-dies");
    let marker = place.join("licence");
    let lives = format!("resets != 9 or __import__('os').path.exists({marker:?})");
    let step = format!("(steps, 0, 0, steps / 10) if {lives} else exit('no licence')");
    let id = program(&place, "dies", "0.25", &step);
    let start = |out: &str| small(&place, &id, out).output().unwrap();
    let died = start("run");
    let said = String::from_utf8_lossy(&died.stderr).into_owned();
    assert_eq!(died.status.code(), Some(2), "{said}");
    assert!(said.contains("no licence; the run is saved after 35 steps"), "{said}");
    fs::write(&marker, "").unwrap();
    let ran = baq(&place, "train --resume run");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(start("whole").status.success());
    let read = |run: &str| fs::read_to_string(place.join(run).join("metrics.csv")).unwrap();
    assert_eq!(read("whole"), read("run"));
    // One that dies in an evaluation takes the run back to where it was saved.
    let id = program(
        &place,
        "evaluated",
        "0.25",
        "(steps, 0, 0, steps / 10) if resets != 23 else exit('no licence')",
    );
    let evaluated =
        small(&place, &id, "evaluated").args(["--set", "online.eval_episodes=3"]).output().unwrap();
    let said = String::from_utf8_lossy(&evaluated.stderr).into_owned();
    assert_eq!(evaluated.status.code(), Some(2), "{said}");
    assert!(
        said.contains("no licence; it played an evaluation: mend the program and go on from the last"),
        "{said}"
    );
}

/// The reset after the last step fails: the run is whole. So is one whose program dies in an earlier reset, and goes on.
#[test]
fn a_run_outlives_a_program_that_dies_in_a_reset() {
    let place = folder("external-resets");
    for (out, reset, code, steps) in [("last", 14, 0, 60), ("early", 9, 2, 35)] {
        let marker = place.join(out.to_string() + "-licence");
        let lives = format!("resets != {reset} or __import__('os').path.exists({marker:?})");
        let id = program(
            &place,
            out,
            &format!("0.25 if {lives} else exit('no licence')"),
            "(steps, 0, 0, steps / 10)",
        );
        let whole = format!("{out}-whole");
        let died = small(&place, &id, out).output().unwrap();
        assert_eq!(died.status.code(), Some(code), "{out}: {}", String::from_utf8_lossy(&died.stderr));
        let saved = baq::train::state::Saved::open(&place.join(out)).unwrap().counters().unwrap();
        assert_eq!(saved.env_step, steps, "{out}");
        fs::write(&marker, "").unwrap();
        let ran = baq(&place, &format!("train --resume {out}"));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(small(&place, &id, &whole).status().unwrap().success());
        let read = |run: &str| fs::read_to_string(place.join(run).join("metrics.csv")).unwrap();
        assert_eq!(read(&whole), read(out), "{out}");
    }
}

/// What a program evaluates that writes its number into a file and hangs.
#[cfg(unix)]
fn hangs(pid: &Path) -> String {
    format!("open({pid:?}, 'w').write(str(__import__('os').getpid())), __import__('time').sleep(100000)")
}

/// The number of a process in a file, if it is there yet.
#[cfg(unix)]
fn number(pid: &Path) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(fs::read_to_string(pid).ok()?.parse().ok()?)
}

/// The same once a command has come so far.
#[cfg(unix)]
fn awaited(ran: &mut std::process::Child, pid: &Path) -> rustix::process::Pid {
    loop {
        if let Some(number) = number(pid) {
            return number;
        }
        assert!(ran.try_wait().unwrap().is_none(), "{}: it ended", pid.display());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Whether a process ends soon.
#[cfg(unix)]
fn ends(process: rustix::process::Pid) -> bool {
    // Whoever takes over orphans may not have looked at it yet.
    let gone = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid()));
        state.map_or(true, |state| state.contains(") Z "))
    };
    (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        gone() || rustix::process::test_kill_process(process).is_err()
    })
}

/// Commands that have nothing to save end by a signal at once, and a program that hangs ends with them.
#[cfg(unix)]
#[test]
fn a_program_that_hangs_outlives_no_command() {
    use rustix::process::Signal;
    use std::os::unix::process::ExitStatusExt as _;
    let place = folder("external-outlives");
    let trains = program(&place, "trains", "0.25", "(steps, 0, 0, steps / 10)");
    assert!(small(&place, &trains, "run").output().unwrap().status.success());
    let pid = place.join("pid");
    let id = program(&place, "hangs", &hangs(&pid), "(1.0, 0, 0, 0.0)");
    for line in ["evaluate --from run", "render run --out walk.gif", "bench env"] {
        let _ = fs::remove_file(&pid);
        let mut command = common::program::baq(&place, line);
        let mut ran = command.args(["--threads", "1", "--env", &id]).spawn().unwrap();
        let process = awaited(&mut ran, &pid);
        common::place::terminate(&ran);
        assert_eq!(ran.wait().unwrap().signal(), Some(Signal::TERM.as_raw()), "{line}");
        assert!(ends(process), "{line}: it lives on");
    }
}

/// What was collected before a program died or a signal came is kept: what fewer steps would have given.
#[cfg(unix)]
#[test]
fn collected_steps_are_kept() {
    let place = folder("external-collected");
    let collect = |id: &str, steps: u64, out: &str| {
        let mut command = common::program::baq(&place, "collect --random --json --threads 1");
        command.args(["--env", id, "--out", out, "--steps", &steps.to_string()]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    let same = |id: &str, steps: u64, out: &str| {
        let whole = format!("whole-{out}");
        assert!(collect(id, steps, &whole).output().unwrap().status.success());
        assert!(fs::read(place.join(out)).unwrap() == fs::read(place.join(whole)).unwrap(), "{out}");
    };
    // Episodes of five steps; the first reset is that of making.
    let dies = "(steps, 0, 0, steps / 10) if (resets, steps) != (4, 3) else exit('no licence')";
    let id = program(&place, "dies", "0.25", dies);
    let died = collect(&id, 100, "died.hdf5").output().unwrap();
    let said = String::from_utf8_lossy(&died.stderr).into_owned();
    assert_eq!(died.status.code(), Some(2), "{said}");
    assert!(said.contains("died.hdf5 holds the first 12 of 100 steps"), "{said}");
    assert!(said.contains("no licence"), "{said}");
    same(&id, 12, "died.hdf5");

    let pid = place.join("pid");
    let notes = format!("open({pid:?}, 'w').write(str(__import__('os').getpid())) and 0.25");
    let step = "(__import__('time').sleep(0.005) or steps, 0, 0, steps / 10)";
    let slow = program(&place, "slow", &format!("{notes} if resets == 3 else 0.25"), step);
    let mut ran = collect(&slow, 100_000, "stopped.hdf5").spawn().unwrap();
    awaited(&mut ran, &pid);
    common::place::terminate(&ran);
    let stopped = ran.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(3));
    let json: serde_json::Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert!(json["ended"] == "interrupted" && json["again"].as_str().unwrap().contains("stopped-2.hdf5"));
    same(&slow, json["n_transitions"].as_u64().unwrap(), "stopped.hdf5");
}

/// A program that hangs is ended some time after a signal, and with a second Ctrl-C at once; what was learnt is kept.
#[cfg(unix)]
#[test]
fn a_program_that_hangs_keeps_nobody_from_stopping() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = folder("external-hangs");
    let pid = place.join("pid");
    let hangs = hangs(&pid);
    let hangs = format!("({hangs}) if resets == 9 else (steps, 0, 0, steps / 10)");
    let id = program(&place, "hangs", "0.25", &hangs);
    for (out, signals, code) in
        [("run", &[Signal::TERM][..], 3), ("pressed", &[Signal::INT, Signal::INT], 130)]
    {
        let _ = fs::remove_file(&pid);
        let mut ran = small(&place, &id, out).spawn().unwrap();
        let process = awaited(&mut ran, &pid);
        for signal in signals {
            kill_process(Pid::from_child(&ran), *signal).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        assert_eq!(ran.wait().unwrap().code(), Some(code), "{out}");
        assert!(ends(process), "{out}: it lives on");
    }
    let saved = baq::train::state::Saved::open(&place.join("run")).unwrap().counters().unwrap();
    assert_eq!(saved.env_step, 35);
}

#[test]
fn numbers_that_are_not_finite_are_the_programs() {
    let place = folder("external-numbers");
    let expected = |got: &str| format!("expected numbers that are finite in f32, got {got}");
    let still = "(1.0, 0, 0, 0.0)";
    let first = program(&place, "first", "nan", still);
    assert_eq!(refused(&first), expected("observation[0] = NaN at a reset"));
    let wide = program(&place, "wide", "-1e300", still);
    assert_eq!(refused(&wide), expected("observation[0] = -1e300 at a reset"));
    // Made with one reset; the error is in another, or in the third step after it.
    for (name, reset, step, got) in [
        ("later", "nan if resets == 2 else 0.0", still, "observation[0] = NaN at a reset"),
        (
            "steps",
            "0.0",
            "(1.0, 0, 0, 1e300 if steps == 3 else 0.0)",
            "observation[0] = 1e300 at step 3 of an episode",
        ),
        ("rewards", "0.0", "(nan if steps == 3 else 1.0, 0, 0, 0.0)", "reward = NaN at step 3 of an episode"),
    ] {
        let id = program(&place, name, reset, step);
        let mut env = env::make(&id).unwrap_or_else(|e| panic!("{e}"));
        let mut obs = [0.0];
        env.reset(0, 0, &mut obs);
        let problem = (0..5).find_map(|_| env.step(&[0.5], &mut obs).err());
        assert_eq!(problem.unwrap().to_string(), format!("{id}: {}", expected(got)), "{name}");
    }
}

/// Without a simulator there is nothing to compare with, and no other environment is made.
#[test]
fn the_cost_of_a_program_is_measured_alone() {
    let place = folder("external-cost");
    // Made, begun, begun again after its five steps, which nobody looks at any more.
    let id = program(&place, "alone", "0.25 if resets < 3 else nan", "(1.0, 0, 0, 0.0)");
    let cost = env::cost::measure(&id, 0.0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((cost.steps, cost.raw.len()), (5, 0));
}

#[test]
fn greetings_are_refused_by_the_key_that_is_wrong() {
    let place = folder("external-greetings");
    let says = |name: &str, line: &str| refused(&script(&place, name, &format!("print({line})")));
    assert_eq!(
        says("limitless", r#"'{"protocol": 1, "observation": 1, "action": 1}'"#),
        "expected `limit` to be a whole number of steps, at least 1, got none"
    );
    assert_eq!(
        says("negative", r#"'{"protocol": 1, "observation": 1, "action": -1, "limit": 5}'"#),
        "expected `action` to be a whole number from 1 to 10,000, got -1"
    );
    // What is quoted is short.
    let long = says("long", "'x' * (1 << 21)");
    assert!(
        long.starts_with("expected a line of JSON with its sizes, got one of more than 1048576 bytes: `xxx")
    );
    assert!(long.chars().count() < 520, "{long}");
    let error = says("error", r#"'{"error": "' + 'e' * 5000 + ' at the end"}'"#);
    assert!(error.starts_with("eee") && error.ends_with(" at the end"), "{error}");
    assert!(error.chars().count() < 520, "{error}");
    // As many actions as there may be, with bounds of all their digits.
    let text = r#"
import json, struct
from sys import stdin, stdout
bounds = dict(low=[-1.2345678901234567] * 10000, high=[1.2345678901234567] * 10000)
print(json.dumps(dict(protocol=1, observation=1, action=10000, limit=5, **bounds)), flush=True)
while stdin.buffer.read(1) == b"R":
    stdin.buffer.read(12)
    stdout.buffer.write(b"\0" + struct.pack("<d", 0.0))
    stdout.buffer.flush()
"#;
    let env = env::make(&script(&place, "many", text)).unwrap_or_else(|e| panic!("{e}"));
    let (low, high) = env.action_bounds().unwrap();
    assert_eq!((low.len(), high.len(), low[9_999]), (10_000, 10_000, -high[9_999]));
}

#[test]
fn programs_that_go_wrong_are_named() {
    assert!(refused("process:no-such-program here").starts_with("cannot start no-such-program: "));
    assert_eq!(refused("process:"), "expected process:COMMAND, got no command");
    assert!(refused("process:false").starts_with("its program ended (exit status: 1)"));
    assert!(refused("process:echo hello").starts_with("expected a line of JSON with its sizes, got `hello`"));
    let place = folder("external-errors");
    let program = |text: &str| script(&place, "program", text);
    let hello = r#"print('{"protocol": 1, "observation": 1, "action": 1, "limit": 5}', flush=True)"#;
    assert!(
        refused(&program(r#"print('{"protocol": 2, "observation": 1, "action": 1, "limit": 5}')"#))
            .contains("expected `protocol` to be 1, got 2")
    );
    assert!(refused(&program(r#"import sys; sys.exit("no licence")"#)).ends_with(": no licence"));
    assert_eq!(
        refused(&program(&format!(
            "{hello}\nimport sys; sys.stdin.buffer.read(13); sys.stdout.buffer.write(b'\\x01\\x04\\0\\0\\0oops'); sys.stdout.flush(); sys.stdin.read()"
        ))),
        "oops"
    );
    let unknown = refused(&gymnasium("NoSuchTask-v0"));
    assert!(unknown.contains("NoSuchTask"), "{unknown}");
    let discrete = refused(&gymnasium("CartPole-v1"));
    assert!(discrete.contains("expected continuous actions (Box)"), "{discrete}");
}

fn baq(place: &Path, line: &str) -> Output {
    baq_on(1, place, &format!("{line} --quiet"))
}

fn baq_on(threads: usize, place: &Path, line: &str) -> Output {
    common::program::baq(place, line)
        .args(["--threads", &threads.to_string()])
        .env("PYTHONPATH", common::python::path(PACKAGES))
        .output()
        .unwrap()
}

/// Learning in Gymnasium, stopped in the middle of an episode and gone on with: the same bytes.
#[test]
fn a_run_in_gymnasium_resumes_to_equal_bytes() {
    let place = folder("external-run");
    let sets = "--set sac.hidden=[8] --set online.batch=8 --set online.random_steps=20 --set online.warmup_steps=20 \
         --set online.eval_episodes=2 --set online.eval_every=150 --set online.log_every=50 --set online.checkpoint_every=70 \
         --set online.capacity=2000";
    let run = |steps: u32, out: &str| {
        let line = format!("train --algo sac --env gym:Pendulum-v1 --env-steps {steps} {sets} --out {out}");
        let ran = baq(&place, &line);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    run(300, "whole");
    run(130, "parts");
    let ran = baq(&place, "train --resume parts --extend online=300");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for file in ["metrics.csv", "evaluations.csv"] {
        let read = |run: &str| fs::read_to_string(place.join(run).join(file)).unwrap();
        assert_eq!(read("whole"), read("parts"), "{file}");
    }
    // With several threads there are several programs, and the same episodes.
    let evaluated = |threads| {
        let ran = baq_on(threads, &place, "evaluate --from whole --episodes 5 --json");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    assert_eq!(evaluated(1), evaluated(3));
}

/// An episode succeeds that reaches its goal once; evaluations tell how many did, in files, on the screen and in JSON.
#[test]
fn success_is_counted_where_a_program_tells_it() {
    let place = folder("external-success");
    // Every second seed reaches the goal, in the second of four steps.
    let program = r#"
import struct, sys
from sys import stdin, stdout
print('{"protocol": 1, "observation": 1, "action": 1, "limit": 4, "success": true}', flush=True)
runs = {}
while op := stdin.buffer.read(1):
    (number,) = struct.unpack("<I", stdin.buffer.read(4))
    if op == b"R":
        runs[number] = [stdin.buffer.read(8)[0] % 2, 0]
        stdout.buffer.write(b"\0" + struct.pack("<d", 0.0))
    elif op == b"S":
        stdin.buffer.read(4)
        runs[number][1] += 1
        lucky, step = runs[number]
        head = struct.pack("<dBBB", lucky * (step == 2), 0, step == 4, lucky * (step == 2))
        stdout.buffer.write(b"\0" + head + struct.pack("<d", step))
    stdout.buffer.flush()
"#;
    fs::write(place.join("program.py"), program).unwrap();
    let sets = "--set sac.hidden=[8] --set online.batch=8 --set online.random_steps=20 --set online.warmup_steps=20 \
         --set online.eval_episodes=6 --set online.eval_every=20 --set online.capacity=2000 --env-steps 40 --out run";
    let line = format!("train --algo sac --quiet --threads 2 {sets}");
    let ran =
        common::program::baq(&place, &line).args(["--env", "process:python3 program.py"]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let evaluations = baq::train::metrics::read_evaluations(&place.join("run")).unwrap();
    assert_eq!(evaluations.len(), 3);
    for e in &evaluations {
        // A step of success is worth 1.
        assert_eq!(e.success, Some(e.mean()), "{e:?}");
    }
    assert!(evaluations.iter().any(|e| e.success > Some(0.0) && e.success < Some(1.0)));
    let header = fs::read_to_string(place.join("run/evaluations.csv")).unwrap();
    assert!(header.lines().next().unwrap().ends_with(",lengths,success"), "{header}");
    let said = baq_on(1, &place, "evaluate --from run --episodes 6");
    assert!(String::from_utf8_lossy(&said.stdout).contains(" % succeed"), "{said:?}");
}
