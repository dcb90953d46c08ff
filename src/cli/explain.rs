//! `baq explain`: what one round of a method computes, read off the traced and compiled programs.
//!
//! Above 400 lines because the text for people and the object for machines are made from one reading.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::setup::{RunArgs, config_method};
use super::{Common, Outcome, Verdict};
use crate::adapt::generator::{Stage, Task};
use crate::adapt::{self, Method, PLAIN};
use crate::algo::{Cadence, Dims, FitTo, OPENING, Pretraining, Sampling};
use crate::autodiff::explain::{Explanation, SymbolText, explain};
use crate::autodiff::print;
use crate::autodiff::{Program, Select, Trace};
use crate::config::{Begin, BufferMode, Config, OfflineConfig, OnlineConfig, RunConfig, Section as _};
use crate::env;
use crate::train::TrainError;
use crate::train::agent::Agent;
use crate::train::cadence;
use crate::train::effects;
use crate::train::plan::{Plan, offline_phase, online_phase};

/// Print what a method computes.
#[derive(Debug, Args)]
pub struct Explain {
    /// base algorithm: see `baq options` (default: that of the preset or the file, else iql)
    #[arg(long)]
    algo: Option<String>,
    /// adaptation: see `baq options` (default: that of the file, else plain)
    #[arg(long)]
    adapt: Option<String>,
    /// what makes up further transitions online: none, cfdg or edis (default: that of the file, else none)
    #[arg(long, value_name = "NAME")]
    generator: Option<String>,
    /// environment that gives the dimensions (default: that of the file, else hopper)
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// which phase (default: online for an adaptation and for what learns from scratch, else offline)
    #[arg(long)]
    phase: Option<Which>,
    /// preset to start from (default: the one named like the algorithm)
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// set one option; may be repeated, and of two values of one option the later counts
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Which {
    Offline,
    Online,
}

/// One program in words.
struct Part {
    /// key in JSON
    name: &'static str,
    /// lines about when and on which rows it runs
    about: Vec<String>,
    batch: usize,
    rounds: u64,
    words: Explanation,
    /// (kernels, floating-point operations) of each update
    stages: Vec<(usize, u64)>,
    program: Cost,
    measured: Cost,
}

/// What a compiled program takes.
struct Cost {
    kernels: usize,
    bytes: usize,
    flops: u64,
}

impl Cost {
    fn of(p: &Program) -> Cost {
        Cost { kernels: p.kernels(), bytes: p.bytes(), flops: p.flops() }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        write!(f, "{} kernels, {mib:.2} MiB of workspace, {}", self.kernels, mflop(self.flops))
    }
}

fn mflop(flops: u64) -> String {
    format!("{:.2} MFLOP", flops as f64 / 1e6)
}

impl Explain {
    /// Runs the command. Errors: options that are refused or have no effect; `--phase offline` with an adaptation or a generator; an
    /// environment that is none or unknown.
    pub fn run(self, common: Common) -> Outcome {
        let args = RunArgs {
            preset: self.preset.clone(),
            config: self.config.clone(),
            sets: self.sets.clone(),
            env: self.env.clone(),
            generator: self.generator.clone(),
            ..RunArgs::default()
        };
        let mut config = args.resolve(common, self.algo.as_deref(), self.adapt.as_deref())?;
        let mut run: RunConfig = config.section();
        let method = Method::of(&config);
        let plain = method.is_plain();
        if self.phase == Some(Which::Offline) && !plain {
            let (option, expected, what, got) = match method.generates() {
                true => ("generator", env::NONE, "generator", &run.generator),
                false => ("adapt", PLAIN, "adaptation", &run.adapt),
            };
            return Err(TrainError::Input(format!(
                "--phase offline: expected --{option} {expected}, since training on data has no {what}, got {got}; leave one of them out"
            )));
        }
        if run.env.is_empty() && (self.env.is_some() || config.is_set(RunConfig::NAME, "env")) {
            return Err(TrainError::Input(
                "run.env: expected an environment, got none: its widths are the networks'; leave it out for those of hopper-v4"
                    .into(),
            ));
        }
        let offline = plain && !from_scratch(&config)?;
        let default = if offline { Which::Offline } else { Which::Online };
        if run.env.is_empty() {
            run.env = env::spec("hopper")?.id.into();
            config.put(run);
        }
        let sheet = Sheet::new(&config, self.phase.unwrap_or(default))?;
        match common.json {
            true => println!("{}", sheet.to_json()),
            false => println!("{sheet}"),
        }
        Ok(Verdict::Done)
    }
}

/// Everything that is printed.
struct Sheet {
    algo: String,
    adapt: String,
    method: String,
    /// whose options are the next to look at
    section: String,
    spec: &'static env::Spec,
    phase: Which,
    parts: Vec<Part>,
    /// from the first phase to the last, the present one among them
    plan: Plan,
    /// what batches are drawn from
    pools: String,
    /// columns that the adaptation computes once per transition, and how
    annotated: Vec<(&'static str, String)>,
}

impl Sheet {
    fn new(config: &Config, which: Which) -> Result<Sheet, TrainError> {
        let run: RunConfig = config.section();
        let spec = env::spec(&run.env)?;
        let (offline, online): (OfflineConfig, OnlineConfig) = (config.section(), config.section());
        let batch = if which == Which::Offline { offline.batch } else { online.rows() };
        let dims = Dims { s: spec.obs_dim, a: spec.act_dim, batch };
        let agent = Agent::outline(config, dims)?;
        effects::check_method(config, dims, effects::Stage::Offline)?;
        let alone = run.dataset.is_empty() && from_scratch(config)? && online.buffer == BufferMode::Append;
        let mut parts = Vec::new();
        let mut annotated = Vec::new();
        match which {
            Which::Offline => {
                let of_learner = agent.learner.pretrain().len();
                let fits = agent.pretraining().into_iter().take(of_learner);
                parts.extend(fits.map(|(fit, trace)| Part::fit(&fit, "the first round", batch, &trace)));
                let mut about = vec![DRAWN.to_string()];
                about.extend(delay(&agent));
                let trace = agent.trace(&offline_phase(config));
                parts.push(Part::new("round", about, batch, offline.updates, &trace));
            }
            Which::Online => {
                let done = if from_scratch(config)? { 0 } else { agent.learner.pretrain().len() };
                let fits = agent.pretraining().into_iter().skip(done);
                let when = "the first environment step";
                parts.extend(fits.map(|(fit, trace)| match fit.to {
                    FitTo::Data => Part::fit(&fit, when, batch, &trace),
                    FitTo::Collected => Part::opening(&fit, &online, &agent, &trace),
                }));
                let cadence = cadence::of(&online, agent.adaptation.as_ref());
                let before = if from_scratch(config)? { 0 } else { offline.updates };
                let phase = online_phase(config, &agent, before);
                let rounds = phase.rounds;
                let mut about =
                    vec![pace(&cadence), rows(online.buffer, alone, &agent.adaptation.sampling())];
                about.extend(switch(&online));
                about.extend(delay(&agent).filter(|_| cadence.actor.is_none()));
                about.extend(generated(&agent));
                parts.push(Part::new("round", about, batch, rounds, &agent.trace(&phase)));
                parts.extend(refresh(&agent));
                if let Some(trace) = agent.reprioritisation_trace() {
                    let about = vec![
                        "after every round; its rows are a third each: offline and online transitions, uniform with replacement, and those of the round".to_string(),
                        "the round's rows get new priorities, new transitions the largest so far".to_string(),
                    ];
                    parts.push(Part::new("priorities", about, 3 * batch, rounds, &trace));
                }
                let trace = adapt::annotation(agent.adaptation.as_ref(), &agent.table, agent.dims);
                annotated = trace.map(|t| print::outputs(&t)).unwrap_or_default();
            }
        }
        let (method, named) = (config_method(config), Method::of(config));
        let section = match (named.generates(), named.is_plain()) {
            (true, _) => named.generator,
            (false, true) => named.algo,
            (false, false) => named.adapt,
        };
        let (plan, pools) = (plan(config, &agent, which)?, pools(which, alone, &online));
        Ok(Sheet {
            algo: run.algo,
            adapt: run.adapt,
            method,
            section,
            spec,
            phase: which,
            parts,
            plan,
            pools,
            annotated,
        })
    }

    fn phase(&self) -> &'static str {
        match self.phase {
            Which::Offline => "offline",
            Which::Online => "online",
        }
    }

    fn to_json(&self) -> Value {
        let annotated: Vec<Value> = self
            .annotated
            .iter()
            .map(|(name, formula)| json!({ "column": name, "formula": formula }))
            .collect();
        json!({
            "algo": self.algo, "adapt": self.adapt, "method": self.method, "env": self.spec.id, "phase": self.phase(),
            "plan": self.plan.to_string(), "pools": self.pools, "obs_dim": self.spec.obs_dim, "act_dim": self.spec.act_dim,
            "programs": self.parts.iter().map(Part::to_json).collect::<Vec<_>>(),
            "annotated": annotated,
        })
    }
}

/// The phases from nothing to the end of the one that is explained.
fn plan(config: &Config, agent: &Agent, which: Which) -> Result<Plan, TrainError> {
    let lengths = |fits: Vec<Pretraining<'_>>| {
        let of_data = fits.iter().filter(|fit| fit.to == FitTo::Data);
        of_data.map(|fit| (fit.name, fit.updates)).collect::<Vec<_>>()
    };
    let offline = Plan::offline(config, lengths(agent.learner.pretrain()));
    Ok(match which {
        Which::Offline => offline,
        Which::Online if from_scratch(config)? => Plan::online(config, lengths(agent.fits())),
        Which::Online => Plan::online(config, lengths(agent.adaptation.pretrain())).after(offline),
    })
}

/// Whether the online phase of the method comes after no other one.
fn from_scratch(config: &Config) -> Result<bool, TrainError> {
    let begin = config.section::<RunConfig>().begin;
    Ok(begin == Begin::Online || !Method::of(config).algorithm()?.needs_data)
}

/// What batches are drawn from.
fn pools(which: Which, alone: bool, online: &OnlineConfig) -> String {
    match which {
        Which::Offline => "offline (the data set)".into(),
        Which::Online if alone => {
            format!("online (the latest {} collected transitions)", HumanCount(online.capacity as u64))
        }
        Which::Online => format!(
            "offline ({} of the data set's transitions), online (collected ones); {} in both",
            online.offline_rows,
            HumanCount(online.capacity as u64)
        ),
    }
}

/// A share in percent, without the digits of its rounding.
fn percent(share: f64) -> f64 {
    (1e6 * share).round() / 1e4
}

/// Where the rows of an online batch come from.
fn rows(buffer: BufferMode, alone: bool, sampling: &Sampling) -> String {
    let mut text = match buffer {
        BufferMode::Append if alone => "online transitions".to_string(),
        BufferMode::Append => "offline and online transitions in one buffer".to_string(),
        BufferMode::Mix(share) => {
            format!("{}% of the rows offline transitions, the others online ones", percent(share))
        }
        BufferMode::Proportional => {
            "as many of the rows offline transitions as of the buffer, the others online ones".to_string()
        }
        BufferMode::Concat(share) => {
            format!("{}% of the rows online transitions, the others offline and online ones", percent(share))
        }
    };
    text += match (sampling.prioritised, sampling.stratified) {
        (false, _) => ", uniform with replacement",
        (true, false) => ", by priority",
        (true, true) => ", by priority, stratified",
    };
    if let Some(share) = sampling.online_share {
        let _ = write!(text, ", {}% of the mass online", percent(share));
    }
    if let Some(share) = sampling.opening_share.filter(|share| *share > 0.0) {
        let first = HumanCount(OPENING);
        let _ = write!(text, ", the first {first} online ones with {}% of the mass", percent(share));
    }
    if let Some(latest) = &sampling.latest {
        let (share, rows, after) = (percent(latest.share), latest.rows, HumanCount(latest.after));
        let _ = write!(
            text,
            ", {share}% of the batches of the latest {} online ones alone, once more than {after} are collected",
            HumanCount(rows as u64)
        );
    }
    if let Some(exponent) = sampling.importance {
        let _ = write!(text, ", importance weights with exponent {exponent}");
    }
    if sampling.refresh {
        text += ", annotated anew when drawn";
    }
    text
}

/// How many updates an environment step earns.
fn pace(cadence: &Cadence) -> String {
    let mut text = match cadence.actor {
        Some(actor) if actor != cadence.critic => format!(
            "{} of what is marked critic and {actor} of what is marked actor per environment step",
            plural(cadence.critic, "update")
        ),
        _ => format!("{} per environment step", plural(cadence.critic, "round")),
    };
    if let (steps @ 1.., factor) = cadence.opening {
        let when = if cadence.opening_collects { ", made after the last of these" } else { "" };
        let _ = write!(text, ", {factor} times as many in the first {}{when}", HumanCount(steps));
    }
    text
}

/// What happens at the switch before the first round.
fn switch(online: &OnlineConfig) -> Option<String> {
    let mut parts = Vec::new();
    if online.idle_steps() > 0 {
        parts.push(format!("the first {} environment steps only collect", HumanCount(online.idle_steps())));
    }
    if online.reset_optimisers {
        parts.push("moments begin anew".to_string());
    }
    if online.reset_targets {
        parts.push("targets begin as copies".to_string());
    }
    (!parts.is_empty()).then(|| format!("at the beginning: {}", parts.join(", ")))
}

/// How many rows of a batch are made up, and what a refresh of them is.
fn generated(agent: &Agent) -> Vec<String> {
    let Some(generator) = &agent.generator else { return Vec::new() };
    let parts = generator.parts(agent.dims.batch);
    let words = parts.iter().filter(|(_, n)| *n > 0).map(|(source, n)| format!("{n} {source}"));
    let of_batch = words.collect::<Vec<_>>().join(", ");
    let stages = agent.refresh();
    let words = stages.iter().map(|stage| match &stage.task {
        Task::Draw { drawing, .. } => {
            let (rows, steps) = (drawing.rows, drawing.levels.len());
            format!("{} in {} draws of {rows} rows, {steps} steps each", stage.name, stage.rounds)
        }
        Task::Learn { .. } | Task::Contrast { .. } => {
            format!("{} in {} rounds", stage.name, HumanCount(stage.rounds))
        }
    });
    let refresh = words.collect::<Vec<_>>().join("; ");
    let every = HumanCount(generator.every());
    let others = if generator.rest(1).is_some() { "the others collected ones" } else { "the others as said" };
    let begin = if generator.at_start() { "before the first update and " } else { "" };
    vec![
        format!("of the rows, once there are such: {of_batch}; {others}"),
        format!("{begin}after each {every} environment steps a refresh: {refresh}"),
    ]
}

/// What a generator learns in a refresh.
fn refresh(agent: &Agent) -> Vec<Part> {
    let part = |stage: Stage| match stage.task {
        Task::Draw { .. } => None,
        Task::Learn { trace, rows } | Task::Contrast { trace, rows, .. } => {
            let names = rows.iter().map(|(source, n)| format!("{n} {source}"));
            let drawn = format!("on transitions of the replay: {}", names.collect::<Vec<_>>().join(", "));
            let batch = rows.iter().map(|(_, n)| n).sum();
            let about = vec!["in every refresh".to_string(), drawn];
            Some(Part::new(stage.name, about, batch, stage.rounds, &trace))
        }
    };
    agent.refresh().into_iter().filter_map(part).collect()
}

/// When the actor's updates run, if not in every round.
fn delay(agent: &Agent) -> Option<String> {
    let every = agent.learner.delay().every;
    (every > 1).then(|| format!("what is marked actor runs in one round out of {every}"))
}

/// How batches are drawn from the data alone.
const DRAWN: &str = "transitions of the data set, uniform with replacement";

impl Part {
    /// What is fitted before `when`.
    fn fit(fit: &Pretraining<'_>, when: &str, batch: usize, trace: &Trace) -> Part {
        let unless = fit.given.map_or("", |_| ", unless a fitted model is given");
        let about = vec![format!("once, before {when}{unless}"), DRAWN.to_string()];
        Part::new(fit.name, about, batch, fit.updates, trace)
    }

    /// What is fitted to collected transitions.
    fn opening(fit: &Pretraining<'_>, online: &OnlineConfig, agent: &Agent, trace: &Trace) -> Part {
        let steps = HumanCount(online.idle_steps().max(1));
        let mut about = vec![
            format!("once, after the first {steps} environment steps"),
            "half of the rows transitions of the data set, the others collected ones, uniform with replacement".into(),
        ];
        about.extend(delay(agent));
        Part::new(fit.name, about, fit.to.rows(agent.dims.batch), fit.updates, trace)
    }

    fn new(name: &'static str, about: Vec<String>, batch: usize, rounds: u64, trace: &Trace) -> Part {
        let program = Program::compile(trace, Select::WITHOUT_METRICS);
        Part {
            name,
            about,
            batch,
            rounds,
            words: explain(trace),
            stages: program.stages(),
            program: Cost::of(&program),
            measured: Cost::of(&Program::compile(trace, Select::ALL)),
        }
    }

    fn to_json(&self) -> Value {
        let mut stages = self.stages.iter();
        let effects: Vec<Value> = self
            .words
            .effects
            .iter()
            .map(|e| {
                let mut v = json!({
                    "name": e.name, "role": e.role, "group": e.group, "parameters": e.parameters,
                    "formula": e.formula, "optimiser": e.optimiser, "ops": e.ops,
                });
                if e.optimiser.is_some()
                    && let Some((kernels, flops)) = stages.next()
                {
                    v["kernels"] = json!(kernels);
                    v["flops"] = json!(flops);
                }
                v
            })
            .collect();
        let symbols: Vec<Value> = self
            .words
            .symbols
            .iter()
            .map(|s| json!({ "symbol": s.symbol, "meaning": s.meaning, "used_by": s.used_by }))
            .collect();
        let columns: Vec<Value> = self
            .words
            .columns
            .iter()
            .map(
                |(name, shape, called)| json!({ "name": name, "shape": shape.to_string(), "called": called }),
            )
            .collect();
        let noises: Vec<Value> = self
            .words
            .noises
            .iter()
            .map(|n| json!({ "stream": n.stream, "what": n.what, "metrics_only": n.metrics_only }))
            .collect();
        let cost = |c: &Cost| json!({ "kernels": c.kernels, "workspace_bytes": c.bytes, "flops": c.flops });
        json!({
            "name": self.name, "about": self.about, "batch": self.batch, "rounds": self.rounds,
            "effects": effects, "symbols": symbols, "columns": columns, "noise": noises,
            "cost": cost(&self.program), "cost_with_metrics": cost(&self.measured),
        })
    }
}

fn plural(n: f64, word: &str) -> String {
    if n == 1.0 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// Lines under a heading in the left margin.
fn block(f: &mut std::fmt::Formatter<'_>, heading: &str, lines: &[String]) -> std::fmt::Result {
    for (i, line) in lines.iter().enumerate() {
        writeln!(f, "{:<8} {line}", if i == 0 { heading } else { "" })?;
    }
    Ok(())
}

impl std::fmt::Display for Sheet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spec = self.spec;
        writeln!(
            f,
            "{}, {} phase, on {} (S = {}, A = {})",
            self.method,
            self.phase(),
            spec.id,
            spec.obs_dim,
            spec.act_dim
        )?;
        writeln!(f, "plan {}", self.plan)?;
        writeln!(f, "pools {}", self.pools)?;
        for part in &self.parts {
            writeln!(f)?;
            self.part(f, part)?;
        }
        if !self.annotated.is_empty() {
            writeln!(f, "\ncomputed once per transition and kept with it")?;
            for (name, formula) in &self.annotated {
                writeln!(f, "  {name} = {formula}")?;
            }
        }
        write!(f, "\nnext: baq options {}", self.section)
    }
}

impl Sheet {
    fn part(&self, f: &mut std::fmt::Formatter<'_>, part: &Part) -> std::fmt::Result {
        let words = &part.words;
        writeln!(f, "{}: batch {}, {} in all", part.name, part.batch, HumanCount(part.rounds))?;
        for line in &part.about {
            writeln!(f, "  {line}")?;
        }
        let mut stages = part.stages.iter();
        for (i, e) in words.effects.iter().enumerate() {
            let line = |f: &mut std::fmt::Formatter<'_>, what: &str, text: &str| {
                writeln!(f, "     {what:<7} {text}")
            };
            let parameters = HumanCount(e.parameters as u64);
            match &e.optimiser {
                Some(optimiser) => {
                    writeln!(f, "  {}  {}: trains {} ({parameters}), {}", i + 1, e.name, e.group, e.role)?;
                    line(f, "loss", &e.formula)?;
                    line(f, "adam", optimiser)?;
                    if let Some((kernels, flops)) = stages.next() {
                        line(f, "cost", &format!("{} ops, {kernels} kernels, {}", e.ops, mflop(*flops)))?;
                    }
                }
                None => {
                    writeln!(f, "  {}  {}: moves ({parameters}), {}", i + 1, e.name, e.role)?;
                    line(f, "rule", &e.formula)?;
                }
            }
        }
        if part.stages.len() > 1 {
            writeln!(f, "  what several updates need is in the cost of the first")?;
        }
        block(f, "where", &meanings(&words.symbols))?;
        let columns = words.columns.iter().map(|(name, shape, called)| match *called == *name {
            true => format!("{name} {shape}"),
            false => format!("{name} {shape} (here {called})"),
        });
        block(f, "columns", &[columns.collect::<Vec<_>>().join("  ")])?;
        let noises = words.noises.iter().map(|n| {
            let only = if n.metrics_only { ", for metrics only" } else { "" };
            format!("stream {}: {}{only}", n.stream, n.what)
        });
        let (noises, none): (Vec<String>, _) = (noises.collect(), ["none".to_string()]);
        block(f, "noise", if noises.is_empty() { &none } else { &noises })?;
        block(f, "program", &[part.program.to_string(), format!("with metrics: {}", part.measured)])
    }
}

/// A symbol per line; who uses it is said only where one symbol has several meanings.
fn meanings(symbols: &[SymbolText]) -> Vec<String> {
    let width = symbols.iter().map(|s| s.symbol.chars().count()).max().unwrap_or(0);
    let line = |s: &SymbolText| {
        let several = symbols.iter().filter(|o| o.symbol == s.symbol).count() > 1;
        let used = if several { format!("  (in {})", s.used_by.join(", ")) } else { String::new() };
        format!("{:<width$} = {}{used}", s.symbol, s.meaning)
    };
    symbols.iter().map(line).collect()
}
