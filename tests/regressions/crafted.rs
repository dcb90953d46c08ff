//! A checkpoint with a valid checksum is not for that a state of a run: entries are changed one by one, the checksum is computed
//! anew, and every command that reads checkpoints must refuse in one line, say that the run diverged, or go on.
//!
//! A share of all changes by default; all of them with `BAQ_FUZZ=full`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baq::checkpoint::container::{Dtype, Reader, Writer};
use baq_datasets::synthetic;
use tempfile::TempDir;

use crate::common::place::write_d4rl;

const OFFLINE: &str = "train --data toy.hdf5 --env toy --quiet --threads 1 --updates 40 --set offline.batch=8 \
    --set offline.eval_episodes=1 --set offline.log_every=5 --set audit.keep_every=20";
const ONLINE: &str = "--quiet --threads 1 --env-steps 40 --set online.batch=8 --set online.eval_episodes=1 \
    --set online.log_every=5 --set audit.keep_every=20";

/// Runs that have a checkpoint of their middle, each with how it goes on.
const RUNS: [(&str, &str, &str); 5] = [
    ("iql", "train --resume", "--algo iql --set iql.hidden=[4]"),
    (
        "bc",
        "train --resume",
        "--algo bc --set bc.hidden=[4] --set offline.validation_fraction=0.2 --set offline.patience=30",
    ),
    ("sac", "train --resume", "--algo sac --env toy --set sac.hidden=[4] --set online.random_steps=5"),
    (
        "baq",
        "finetune --resume",
        "finetune --from iql --adapt baq --set baq.model_hidden=[4] --set baq.model_updates=5 --set baq.relax=follow(0.01)",
    ),
    (
        "off2on",
        "finetune --resume",
        "finetune --from iql --adapt off2on --set off2on.density_hidden=[4] --set off2on.opening=spread",
    ),
];

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        write_d4rl(&place.at("toy.hdf5"), &synthetic::point(5, 600, 3, 1));
        for (name, _, options) in RUNS {
            let line = match name {
                "iql" | "bc" => format!("{OFFLINE} {options} --out {name}"),
                "sac" => format!("train {ONLINE} {options} --set online.capacity=60 --out {name}"),
                _ => format!("{options} {ONLINE} --set online.capacity=1000 --out {name}"),
            };
            let out = place.start(&line, Stdio::piped()).wait_with_output().unwrap();
            assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, line: &str, stderr: Stdio) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baq"));
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
    }

    /// What is wrong with how a command ended, if anything is.
    fn fault(&self, line: &str, number: usize) -> Option<String> {
        let log = self.at(&format!("stderr-{number}"));
        let mut child = self.start(line, std::fs::File::create(&log).unwrap().into());
        let mut looks = 0;
        let code = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if looks > 60_000 => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    return Some("it hangs".into());
                }
                None => {
                    looks += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        let lines = text.lines().filter(|line| line.starts_with("baq: ")).count();
        match code {
            Some(0) => None,
            Some(1 | 2) if lines == 1 && !text.contains('\u{1b}') => None,
            other => Some(format!("exit code {other:?}: {text}")),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// The middle of a run: its files, and the checkpoint that was kept there.
fn middle(run: &Path) -> PathBuf {
    let kept = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path());
    kept.min().expect("a kept checkpoint")
}

/// An element as any number.
#[derive(Clone, Copy)]
enum Number {
    Real(f64),
    Whole(u64),
}

/// One change of an entry: a string becomes another or goes, a tensor is changed in values, shape or type.
#[derive(Clone, Copy)]
enum Change {
    Text(Option<&'static str>),
    Remove,
    First(Number),
    Every(Number),
    Longer,
    Flat,
    Empty,
    OtherType,
}

const CHANGES: [Change; 16] = [
    Change::Remove,
    Change::First(Number::Real(f64::NAN)),
    Change::Every(Number::Real(f64::NAN)),
    Change::First(Number::Real(f64::INFINITY)),
    Change::First(Number::Real(-1.0)),
    Change::Every(Number::Real(1e38)),
    Change::Every(Number::Real(-1e300)),
    Change::First(Number::Whole(u64::MAX)),
    Change::Every(Number::Whole(1 << 40)),
    Change::First(Number::Whole(1 << 32)),
    Change::Every(Number::Whole(0)),
    Change::First(Number::Whole(7)),
    Change::Longer,
    Change::Flat,
    Change::Empty,
    Change::OtherType,
];

const TEXTS: [Option<&str>; 6] =
    [None, Some(""), Some("\u{1b}[31m\n"), Some("online"), Some("offline"), Some("pi pi pi q")];

/// The file with one entry changed and a checksum that holds; `None` where nothing is changed.
fn changed(file: &Path, entry: &str, change: Change) -> Option<Vec<u8>> {
    let reader = Reader::open(file).unwrap();
    let mut w = Writer::new();
    let mut differs = false;
    for (name, text) in texts(&reader) {
        match change {
            Change::Text(None) if name == entry => differs = true,
            Change::Text(Some(other)) if name == entry => {
                differs = other != text;
                w.text(name, other);
            }
            _ => w.text(name, text),
        }
    }
    for name in reader.names() {
        let (dtype, shape, bytes) = reader.raw(name).unwrap();
        let mut shape = shape.to_vec();
        macro_rules! put {
            ($t:ty) => {{
                let (words, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
                let mut values: Vec<$t> = words.iter().map(|b| <$t>::from_le_bytes(*b)).collect();
                let of = |n: Number| match n {
                    Number::Real(x) => x as $t,
                    Number::Whole(x) => x as $t,
                };
                let before = (values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>(), shape.clone());
                if name == entry {
                    match change {
                        Change::Text(_) | Change::Remove | Change::OtherType => {}
                        Change::First(n) => values.iter_mut().take(1).for_each(|v| *v = of(n)),
                        Change::Every(n) => values.fill(of(n)),
                        Change::Longer => {
                            values.push(values.last().copied().unwrap_or_default());
                            shape = vec![values.len()];
                        }
                        Change::Flat => shape = vec![values.len(), 1, 1],
                        Change::Empty => (values, shape) = (Vec::new(), vec![0]),
                    }
                    let now = (values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>(), shape.clone());
                    differs |= now != before || matches!(change, Change::Remove | Change::OtherType);
                }
                match change {
                    Change::Remove if name == entry => {}
                    Change::OtherType if name == entry => w.tensor(name, &[bytes.len()], bytes.to_vec()),
                    _ => w.tensor(name, &shape, values),
                }
            }};
        }
        match dtype {
            Dtype::F32 => put!(f32),
            Dtype::F64 => put!(f64),
            Dtype::U64 => put!(u64),
            Dtype::I64 => put!(i64),
            _ => put!(u8),
        }
    }
    differs.then(|| w.to_bytes())
}

/// The strings of a checkpoint.
fn texts(reader: &Reader) -> impl Iterator<Item = (&'static str, String)> {
    ["format", "groups", "config", "dataset", "dataset.sha256", "phase", "isa", "numerics", "mujoco"]
        .into_iter()
        .filter_map(|name| Some((name, reader.find_text(name)?.to_string())))
}

/// What to write in the place of the checkpoint of a run, with the words for it.
fn cases(place: &Place) -> Vec<(usize, String, Vec<u8>)> {
    let mut all = Vec::new();
    for (run, (name, _, _)) in RUNS.iter().enumerate() {
        let file = middle(&place.at(name));
        let reader = Reader::open(&file).unwrap();
        for entry in reader.names() {
            for (k, change) in CHANGES.into_iter().enumerate() {
                if let Some(bytes) = changed(&file, entry, change) {
                    all.push((run, format!("{name}: {entry}, change {k}"), bytes));
                }
            }
        }
        for (entry, _) in texts(&reader) {
            for value in TEXTS {
                if let Some(bytes) = changed(&file, entry, Change::Text(value)) {
                    all.push((run, format!("{name}: {entry} = {value:?}"), bytes));
                }
            }
        }
    }
    all
}

#[test]
fn crafted_checkpoints_are_refused_or_obeyed() {
    let place = Place::new();
    let all = cases(&place);
    let full = std::env::var("BAQ_FUZZ").is_ok_and(|v| v == "full");
    // A stride prime to the number of changes meets every tensor and every change.
    let stride = if full { 1 } else { 47 };
    let mut faults = Vec::new();
    let mut tried = 0;
    for (number, (run, what, bytes)) in all.iter().enumerate().step_by(stride) {
        let (name, resume, _) = RUNS[*run];
        let dir = format!("crafted-{number}");
        copy(&place.at(name), &place.at(&dir));
        std::fs::write(place.at(&dir).join("checkpoint.safetensors"), bytes).unwrap();
        let mut lines = vec![
            format!("evaluate --from {dir} --episodes 1 --threads 1"),
            format!("{resume} {dir} --quiet --threads 1"),
        ];
        if *run == 0 {
            let tune = format!("finetune --from {dir} --adapt plain --env-steps 3 --quiet --threads 1");
            lines.insert(1, format!("{tune} --set online.eval_episodes=1 --out tuned-{number}"));
        }
        for line in lines {
            tried += 1;
            faults.extend(place.fault(&line, number).map(|fault| format!("{what}: {line}: {fault}")));
        }
        std::fs::remove_dir_all(place.at(&dir)).unwrap();
    }
    println!("{tried} commands on {} of {} crafted checkpoints", all.len().div_ceil(stride), all.len());
    assert!(
        faults.is_empty(),
        "{} faults, the first: {}",
        faults.len(),
        faults[..faults.len().min(8)].join("\n")
    );
}

/// What entries say together is believed no more than what each says.
#[test]
fn states_of_no_phase_are_refused() {
    let place = Place::new();
    let file = middle(&place.at("off2on"));
    let bytes =
        changed(&file, "replay.priorities", Change::Every(Number::Whole(0))).expect("it has priorities");
    copy(&place.at("off2on"), &place.at("massless"));
    std::fs::write(place.at("massless/checkpoint.safetensors"), bytes).unwrap();
    let out = place
        .start("finetune --resume massless --quiet --threads 1", Stdio::piped())
        .wait_with_output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("expected priorities that are not all 0") && said.lines().count() == 1, "{said}");
}

/// However steep priorities are, they are numbers.
#[test]
fn off2on_steep_priorities_are_numbers() {
    let place = Place::new();
    for temperature in ["0.01", "0.002"] {
        let line = format!(
            "finetune --from iql --adapt off2on --quiet --threads 1 --env-steps 400 --set online.batch=32 \
             --set off2on.density_hidden=[16] --set off2on.density=0.1 --set off2on.opening=spread --set off2on.priority_temperature={temperature} \
             --set online.capacity=4000 --set online.eval_episodes=1 --set online.checkpoint_every=5 --out t{temperature}"
        );
        let out = place.start(&line, Stdio::piped()).wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}
