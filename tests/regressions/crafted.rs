//! A valid checksum does not make a checkpoint the state of a run: entries are changed one by one, the checksum is computed
//! anew, and every command that reads checkpoints must refuse in one line, say that the run diverged, or go on.
//!
//! One change of every entry by default; all of them with `BAQ_FUZZ=full`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use baq::checkpoint::container::{Dtype, Reader, Writer};
use baq_datasets::synthetic;
use tempfile::TempDir;

use crate::common::place::write_d4rl;
use crate::common::program::baq;

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
    (
        "sac",
        "train --resume",
        "--algo sac --env toy --set sac.hidden=[4] --set online.random_steps=5 --set online.warmup_steps=10",
    ),
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
        baq(&self.0, line).stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
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
#[derive(Clone, Copy, Debug)]
enum Number {
    Real(f64),
    Whole(u64),
}

/// One change of an entry: a string becomes another or goes, a tensor is changed in values, shape or type.
#[derive(Clone, Copy, Debug)]
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
    for (name, text) in reader.texts() {
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

/// The tensors of a checkpoint and its strings.
fn entries(reader: &Reader) -> Vec<(String, Vec<Change>)> {
    let tensors = reader.names().map(|name| (name.to_string(), CHANGES.to_vec()));
    let texts = reader.texts().keys().map(|name| (name.clone(), TEXTS.map(Change::Text).to_vec()));
    tensors.chain(texts).collect()
}

/// What to write in the place of the checkpoint of a run.
struct Case {
    run: usize,
    entry: String,
    change: Change,
    bytes: Vec<u8>,
}

/// One change of every entry, from entry to entry another one, or all.
fn cases(place: &Place, full: bool) -> Vec<Case> {
    let (mut all, mut turn) = (Vec::new(), 0);
    for (run, (name, _, _)) in RUNS.iter().enumerate() {
        let file = middle(&place.at(name));
        for (entry, changes) in entries(&Reader::open(&file).unwrap()) {
            let n = changes.len();
            let turned = changes.into_iter().cycle().skip(turn % n).take(n);
            let made = turned.filter_map(|change| {
                let bytes = changed(&file, &entry, change)?;
                Some(Case { run, entry: entry.clone(), change, bytes })
            });
            all.extend(made.take(if full { n } else { 1 }));
            turn += 1;
        }
    }
    all
}

#[test]
fn crafted_checkpoints_are_refused_or_obeyed() {
    let place = Place::new();
    let full = std::env::var("BAQ_FUZZ").is_ok_and(|v| v == "full");
    let all = cases(&place, full);
    let mut left = BTreeSet::new();
    for (run, (name, _, _)) in RUNS.iter().enumerate() {
        let reader = Reader::open(&middle(&place.at(name))).unwrap();
        left.extend(entries(&reader).into_iter().map(|(entry, _)| (run, entry)));
    }
    let mut faults = Vec::new();
    let mut tried = 0;
    for (number, case) in all.iter().enumerate() {
        let (name, resume, _) = RUNS[case.run];
        let dir = format!("crafted-{number}");
        copy(&place.at(name), &place.at(&dir));
        std::fs::write(place.at(&dir).join("checkpoint.safetensors"), &case.bytes).unwrap();
        let mut lines = vec![
            format!("evaluate --from {dir} --episodes 1 --threads 1"),
            format!("{resume} {dir} --quiet --threads 1"),
        ];
        if case.run == 0 {
            let tune = format!("finetune --from {dir} --adapt plain --env-steps 3 --quiet --threads 1");
            lines.insert(1, format!("{tune} --set online.eval_episodes=1 --out tuned-{number}"));
        }
        for line in lines {
            tried += 1;
            let fault = place.fault(&line, number);
            faults.extend(
                fault.map(|fault| format!("{name}: {}, {:?}: {line}: {fault}", case.entry, case.change)),
            );
        }
        left.remove(&(case.run, case.entry.clone()));
        std::fs::remove_dir_all(place.at(&dir)).unwrap();
    }
    println!("{tried} commands on {} crafted checkpoints", all.len());
    assert!(left.is_empty(), "entries that were never changed: {left:?}");
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
