//! Every option of every section with values that nobody should give: each is refused in one line, or runs.
//!
//! A bounded part runs by default, another one for each `BAQ_FUZZ=N`; all of it with `BAQ_FUZZ=full`. The work is done in
//! other processes with little address space, so that memory taken without asking ends them.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use baq::adapt::find_generator;
use baq::algo::{self, FitTo};
use baq::autodiff::NoProbe;
use baq::cli::setup::{RunArgs, known_sections};
use baq::config::{AnySection, Begin, Config, Field, OfflineConfig, OnlineConfig, RunConfig};
use baq::train::conditions::Simulators;
use baq::train::counters::Counters;
use baq::train::effects::{self, Stage};
use baq::train::reach;
use baq::train::run::{self, Sources};
use baq::train::training::{Beginning, Training};
use baq::train::{TrainError, data, memory};
use baq::{adapt, env};
use baq_datasets::synthetic;
use common::place::{COMMON, write_d4rl};

/// Whatever the type, somebody will try it.
const VALUES: &[&str] = &[
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "2",
    "3",
    "0.5",
    "1.5",
    "-1.5",
    "1e-308",
    "-1e-308",
    "5e-324",
    "1e-46",
    "1e-38",
    "1e-20",
    "1e-16",
    "0.999999",
    "0.9999999999",
    "1.0000001",
    "1e3",
    "1e6",
    "1000001",
    "1e9",
    "1e12",
    "1e13",
    "1e20",
    "1e36",
    "1e38",
    "1e308",
    "-1e308",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "\"18446744073709551615\"",
    "99999999999999999999999",
    "0x10",
    "1_0",
    "[]",
    "[0]",
    "[1]",
    "[2, 1]",
    "[4097]",
    "[[1]]",
    "[-1]",
    "[1.5]",
    "[1, \"a\"]",
    "[18446744073709551615]",
    "auto",
    "none",
    "true",
    "false",
    "",
    "\"\"",
    "abc",
    "d4rl",
    "ünïcode ☃",
    "\u{1b}[31m",
    "a=b",
    "'''",
    "{}",
    "{ lr = 1e-3 }",
    "{ lr = -1e-3 }",
    "{ lr = nan }",
    "{ lr = 1e-3, beta1 = 0.999999, beta2 = 0.999999, eps = 1e-16 }",
    "{ lr = 1e36, eps = 1.0 }",
    "{ lr = 1e-3, eps = 0.0 }",
    "{ lr = 1e-3, eps = 1e-308 }",
    "{ lr = 1e-3, beta1 = 1.0 }",
    "{ lr = 1e-3, beta3 = 0.5 }",
    "{ beta1 = 0.5 }",
    "linear(0.5, 0.25, 2)",
    "linear(0, 0, 0)",
    "linear(1e308, -1e308, 9e15)",
    "cosine(1e-3, 0, 1e12)",
    "cosine(1e-3, 0, 1e13)",
    "cosine(0.9)",
    "step(0.5, 0.1, 1)",
    "step(0.5, nan, 1)",
    "linear(",
    "linear()",
    "1979-05-27",
];

/// Arguments of choices that take one.
const ARGUMENTS: &[&str] = &[
    "0", "0.01", "0.5", "1", "2", "-1", "1e-6", "1e-308", "1e6", "1e12", "1e308", "nan", "inf", "", "a",
    "0)(",
];

/// The values to try for an option: the common ones, long ones, its words, and those next to its bounds.
fn values(field: &Field) -> Vec<String> {
    let mut all: Vec<String> = VALUES.iter().map(|s| (*s).to_string()).collect();
    all.push("x".repeat(10_000));
    for (unit, n) in [("1", 16), ("1", 17), ("2", 1000), ("9999999999", 2)] {
        all.push(format!("[{}]", vec![unit; n].join(", ")));
    }
    all.push(format!("{}1{}", "[".repeat(300), "]".repeat(300)));
    for choice in field.choices {
        match choice.word.split_once('(') {
            None => all.push(choice.word.into()),
            Some((word, _)) => all.extend(ARGUMENTS.iter().map(|x| format!("{word}({x})"))),
        }
    }
    for number in
        field.limits.to_string().split([',', '[', ']', '(', ')']).filter_map(|x| x.trim().parse::<f64>().ok())
    {
        for x in [number, number * 0.999_999, number * 1.000_001, number - 1.0, number + 1.0, -number] {
            all.extend([format!("{x:?}"), format!("[{x:?}]"), format!("step({x:?}, {x:?}, 1)")]);
        }
    }
    all
}

/// The method that an option of a section is tried on.
fn method(section: &dyn AnySection, k: usize) -> (&'static str, &'static str) {
    let base = algo::ALGORITHMS.iter().find(|e| e.name == section.name());
    let modifier = adapt::ADAPTATIONS.iter().find(|e| e.name == section.name());
    match (base, modifier) {
        (Some(base), _) if base.name == "bc" => ("bc", "plain"),
        (Some(base), _) => {
            let over = |m| common::methods().any(|pair| pair == (base.name, m));
            (base.name, if k % 2 == 1 && over("so2") { "so2" } else { "plain" })
        }
        (_, Some(modifier)) => {
            let over: Vec<_> = common::methods().filter(|pair| pair.1 == modifier.name).collect();
            let usual: Vec<_> =
                over.iter().copied().filter(|(base, _)| ["iql", "cql"].contains(base)).collect();
            let pairs = if usual.is_empty() { over } else { usual };
            pairs[k % pairs.len()]
        }
        _ => [("iql", "plain"), ("iql", "baq"), ("td3", "plain"), ("cql", "off2on"), ("bc", "plain")][k % 5],
    }
}

/// The phases in which it can be tried.
fn phases(section: &dyn AnySection) -> &'static [&'static str] {
    match section.name() {
        "offline" => &["offline"],
        name if adapt::find(name).is_some() || find_generator(name).is_some() => &["online"],
        _ => &["offline", "online"],
    }
}

fn resolve(file: &Path, (algo, adapt): (&str, &str), set: &str, phase: &str) -> Result<Config, TrainError> {
    let set_key = set.split_once('=').map_or(set, |(key, _)| key);
    // A generator's options are tried with it.
    let tested = Some(set_key.split('.').next().unwrap_or_default()).filter(|s| find_generator(s).is_some());
    let tested = tested.unwrap_or_default();
    let of_method = |s: &&&str| {
        let section = s.split_once('.').map_or("", |(section, _)| section);
        let extends = algo::find(algo).and_then(|e| e.extends);
        let modifies = section == adapt || section == tested;
        section == algo || Some(section) == extends || (modifies && phase == "online")
    };
    let small =
        ["offline.updates=3", "offline.eval_episodes=1", "online.env_steps=6", "online.eval_episodes=1"];
    let rest = ["offline.batch=4", "online.batch=4", "online.capacity=500"];
    let sets = common::SMALL.iter().filter(of_method).copied().chain(small).chain(rest);
    // What is under test is said once.
    let sets = sets.filter(|s| s.split_once('=').is_none_or(|(key, _)| key != set_key));
    // Some adaptations drop the penalty that samples.
    let sets =
        sets.filter(|s| phase == "offline" || !s.starts_with("offline.") && !s.starts_with("cql.samples"));
    let args = RunArgs {
        sets: sets.map(str::to_string).chain((!set.is_empty()).then(|| set.to_string())).collect(),
        env: (set_key != "run.env").then(|| "toy".into()),
        data: (set_key != "run.dataset").then(|| file.display().to_string()),
        generator: find_generator(tested).map(|g| g.name.to_string()),
        ..RunArgs::default()
    };
    let adapt = if phase == "offline" { None } else { Some(adapt) };
    args.resolve(
        COMMON,
        Some(algo).filter(|_| set_key != "run.algo"),
        adapt.filter(|_| set_key != "run.adapt"),
    )
}

/// A few rounds offline.
fn offline(config: &Config) -> Result<(), TrainError> {
    let batch = config.section::<OfflineConfig>().batch;
    learn(config, Stage::Offline, if is_large(batch) { None } else { Some((3, 0)) })
}

/// A few environment steps and rounds.
fn online(config: &Config) -> Result<(), TrainError> {
    let mut config = config.clone();
    config.put(RunConfig { begin: Begin::Online, ..config.section() });
    let options: OnlineConfig = config.section();
    let quick = !is_large(options.rows()) && options.updates_per_step.or_else(|| 1.0) < 100.0;
    learn(&config, Stage::Online { before: 3, collected: 0 }, quick.then_some((6, 6)))
}

/// As the commands do it, for so many rounds and environment steps if any.
fn learn(config: &Config, stage: Stage, length: Option<(u64, u64)>) -> Result<(), TrainError> {
    let dataset = data::load(config)?;
    effects::check(config, &dataset, stage)?;
    reach::check_run(config, &dataset, stage)?;
    match stage {
        Stage::Offline => memory::check(config, &dataset)?,
        _ => memory::check_online(config, &dataset)?,
    }
    let from = Sources::default();
    let mut agent = from.agent(config, &dataset)?;
    if length.is_none() {
        return Ok(());
    }
    let begin = |agent, counters| {
        let simulators = Simulators::default();
        Beginning { config, agent, dataset: &dataset, counters, saved: None, simulators }
    };
    let fits = |to| {
        let all = agent.adaptation.pretrain();
        all.iter().filter(|fit| fit.to == to).map(|fit| fit.name).collect::<Vec<&'static str>>()
    };
    let (of_data, collected) = (fits(FitTo::Data), fits(FitTo::Collected));
    for fit in of_data {
        if stage != Stage::Offline {
            let mut training = Training::fit(begin(agent, Counters::default()), fit)?;
            training.rerun(2, 0, &mut NoProbe)?;
            agent = training.into_parts().0;
        }
    }
    let counters = Counters { round: 3, offline_rounds: 3, ..Counters::default() };
    let mut training = match stage {
        Stage::Offline => Training::offline(begin(agent, Counters::default()))?,
        _ => {
            let pools = run::pools(&dataset, &agent, config)?;
            Training::online(begin(agent, counters), pools, collected.first().copied())?
        }
    };
    let (rounds, env_steps) = length.unwrap_or_default();
    training.rerun(rounds, env_steps, &mut NoProbe)
}

/// Right, but slow.
fn is_large(batch: usize) -> bool {
    batch > 20_000
}

/// The work is done in so many processes at once, a section in one of them.
const PARTS: usize = 2;

/// Starts a process that does this part.
fn start(part: usize) -> Child {
    Command::new("sh")
        .args(["-c", "ulimit -c 0; ulimit -v 4000000; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "every_option_is_refused_or_runs", "--nocapture"])
        .env("BAQ_FUZZ_PART", part.to_string())
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_option_is_refused_or_runs() {
    let Some(part) = std::env::var("BAQ_FUZZ_PART").ok().and_then(|part| part.parse::<usize>().ok()) else {
        let started: Vec<Child> = (0..PARTS).map(start).collect();
        let ended: Vec<_> = started.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        for out in ended {
            let said = String::from_utf8_lossy(&out.stdout);
            let complaint = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{:?}\n{said}{complaint}", out.status);
            assert!(said.contains("1 passed"), "the other process tried nothing: {said}");
            print!("{said}");
        }
        return;
    };
    let fuzz = std::env::var("BAQ_FUZZ").unwrap_or_default();
    let (stride, offset) = match fuzz.as_str() {
        "full" => (1, 0),
        seed => (STRIDE, seed.parse().unwrap_or(0) % STRIDE),
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("toy.hdf5");
    write_d4rl(&file, &synthetic::point(5, 300, 3, 1));
    assert!(env::spec("toy").is_ok());
    let (mut tried, mut ran, mut failed) = (0, 0, Vec::new());
    let mut k = 0;
    for (n, section) in known_sections().iter().enumerate() {
        let mine = n % PARTS == part;
        if mine {
            for k in 0..5 {
                for phase in phases(section.as_ref()) {
                    let method = method(section.as_ref(), k);
                    assert_eq!(attempt(&file, method, "", phase), Ok(true), "{method:?} {phase} as it is");
                }
            }
        }
        for field in section.fields() {
            for value in values(field) {
                k += 1;
                if !mine || k % stride != offset {
                    continue;
                }
                tried += 1;
                let set = format!("{}.{}={value}", section.name(), field.key);
                let phases = phases(section.as_ref());
                let phase = phases[k / stride % phases.len()];
                match attempt(&file, method(section.as_ref(), k / stride / 2), &set, phase) {
                    Ok(true) => ran += 1,
                    Ok(false) => {}
                    Err(why) => failed.push(why),
                }
            }
        }
    }
    println!(
        "{tried} values of options: {ran} ran, {} refused, {} failed",
        tried - ran - failed.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(ran > tried / 10, "nearly everything is refused");
}

/// By default one value in so many is tried.
const STRIDE: usize = 11;

/// Whether it ran; an error if it panicked or was refused in other than one line.
fn attempt(file: &Path, method: (&str, &str), set: &str, phase: &str) -> Result<bool, String> {
    let shown: String = set.chars().take(80).collect();
    let run = std::panic::AssertUnwindSafe(|| {
        let config = resolve(file, method, set, phase)?;
        let run: RunConfig = config.section();
        if phase == "offline" && run.adapt == "plain" { offline(&config) } else { online(&config) }
    });
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => Ok(true),
        // `baq` joins the lines of a message.
        Ok(Err(e)) if !e.to_string().trim().is_empty() => {
            if std::env::var_os("BAQ_FUZZ_SHOW").is_some() {
                println!("{phase} {method:?} --set {shown}: {e}");
            }
            Ok(false)
        }
        Ok(Err(e)) => Err(format!("{phase} {method:?} --set {shown}: no reason in {e:?}")),
        Err(_) => Err(format!("{phase} {method:?} --set {shown}: panicked")),
    }
}
