//! `baq bench`: speed on this machine, beside what its processor can do.
//!
//! Above 400 lines because what is measured and how it is said stand side by side.

use baq_kernels::Unit;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::learn::Manner;
use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict, train};
use crate::adapt::Method;
use crate::algo::Dims;
use crate::autodiff::Cost;
use crate::config::{Begin, By, Config, OfflineConfig, RunConfig};
use crate::env::{self, cost, process};
use crate::train::TrainError;
use crate::train::bench::{self, Acting, Measured, Round, Samples};
use crate::train::data::EMBEDDED;
use crate::train::effects::{self, Stage};
use crate::train::metrics::read_timing;
use crate::train::progress::{Ended, Stop};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// one round of a method: gradients, optimiser steps, target networks
    Update,
    /// one action of a policy in one state
    Acting,
    /// drawing a batch with what the method looks up for it, gathering it, changing its priorities
    Replay,
    /// one environment step, and the simulator's share of it
    Env,
    /// training on a file as `baq train` does it: drawing, updates, metrics, logging; thousand by thousand
    Train,
}

/// Measure speed.
#[derive(Debug, Args)]
pub struct Bench {
    what: What,
    /// base algorithm (default: that of the preset, else iql)
    #[arg(long)]
    algo: Option<String>,
    /// adaptation; other than plain: the online round, sampled as the adaptation wants (default: plain)
    #[arg(long)]
    adapt: Option<String>,
    /// length of an observation (default: 11, as in Hopper)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    obs: Option<u16>,
    /// length of an action (default: 3)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    act: Option<u16>,
    /// environment of `env` (default: hopper-v4)
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// data of `train` (default: the slice inside the program)
    #[arg(long, value_name = "FILE")]
    data: Option<String>,
    /// updates of `train` (default: 21000)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(WINDOW..=1_000_000_000))]
    updates: Option<u64>,
    /// transitions to draw from (default: 2000000 for replay, otherwise 1000000)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rows: Option<u32>,
    /// seconds to measure
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// preset to start from (default: the one named like the algorithm)
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// set one option; may be repeated, and of two values of one option the later counts
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("expected a number of seconds above 0, at most 3600".into()),
    }
}

/// An error unless the method is a base alone.
fn plain(config: &Config, why: &str) -> Result<(), TrainError> {
    let run: RunConfig = config.section();
    match Method::of(config).is_plain() {
        true => Ok(()),
        false => Err(TrainError::Input(format!(
            "run.adapt, run.generator: expected plain and none, got {} and {}: {why}",
            run.adapt, run.generator
        ))),
    }
}

impl Bench {
    /// Runs the command. Errors: an argument of no use for what is measured; options that are refused or have no
    /// effect; data or an environment that cannot be had; what does not fit in memory; of `train`, `--updates` that are
    /// no whole thousands, a TMPDIR without room, and a signal.
    pub fn run(self, common: Common) -> Outcome {
        self.check(common)?;
        let report = match self.what {
            What::Update => self.update(common)?,
            What::Acting => self.acting(common)?,
            What::Replay => self.replay(common)?,
            What::Env => self.environment()?,
            What::Train => self.training(common)?,
        };
        match common.json {
            true => println!("{}", report.json),
            false => println!("{}", report.text.trim_end()),
        }
        Ok(Verdict::Done)
    }

    fn config(&self, common: Common) -> Result<Config, TrainError> {
        let args = RunArgs { preset: self.preset.clone(), sets: self.sets.clone(), ..RunArgs::default() };
        let config = args.resolve(common, self.algo.as_deref(), self.adapt.as_deref())?;
        let (s, a) = self.dims();
        effects::check_method(&config, Dims { s, a, batch: 1 }, Stage::Offline)?;
        Ok(config)
    }

    /// An error for an argument that says nothing about what is measured.
    fn check(&self, common: Common) -> Result<(), TrainError> {
        let given = [
            ("--algo", self.algo.is_some()),
            ("--preset", self.preset.is_some()),
            ("--set", !self.sets.is_empty()),
            ("--obs", self.obs.is_some()),
            ("--act", self.act.is_some()),
            ("--adapt", self.adapt.is_some()),
            ("--rows", self.rows.is_some()),
            ("--env", self.env.is_some()),
            ("--data", self.data.is_some()),
            ("--updates", self.updates.is_some()),
        ];
        let idle = match self.what {
            What::Update | What::Replay => [&given[7..], &[]],
            What::Acting => [&given[5..], &[]],
            What::Env => [&given[..7], &given[8..]],
            What::Train => [&given[3..8], &[]],
        };
        if let (What::Env, Some(seed)) = (self.what, common.seed) {
            return Err(TrainError::Input(format!(
                "--seed {seed}: `baq bench env` plays the same episodes always; leave it out"
            )));
        }
        match idle.concat().iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((argument, _)) => Err(TrainError::Input(format!(
                "{argument}: `baq bench {}` has no use for it; leave it out",
                self.what.to_possible_value().expect("invariant: every kind has a word").get_name()
            ))),
        }
    }

    fn dims(&self) -> (usize, usize) {
        (self.obs.unwrap_or(11).into(), self.act.unwrap_or(3).into())
    }

    fn rows(&self, default: usize) -> usize {
        self.rows.map_or(default, |n| n as usize)
    }

    fn update(&self, common: Common) -> Result<Report, TrainError> {
        let config = self.config(common)?;
        let run: RunConfig = config.section();
        let (obs, act) = self.dims();
        let mut round = Round::new(&config, (obs, act), self.rows(1_000_000))?;
        let (sampling, measured) = round.measure(self.seconds * 0.75);
        let steps = round.profile(self.seconds * 0.25);
        let (stages, kinds) = (stages(&steps), kinds(&steps));
        let mut report = Report::new("update", &measured, "updates");
        report.set("algo", json!(run.algo));
        report.set("adapt", json!(run.adapt));
        report.set("method", json!(Method::of(&config).to_string()));
        report.set("obs", json!(obs));
        report.set("act", json!(act));
        report.set("batch", json!(round.batch()));
        report.set("sampling_microseconds", json!(sampling.median() * 1e6));
        report.set(
            "stages",
            stages.iter().map(|(name, s)| json!({ "name": name, "microseconds": s * 1e6 })).collect(),
        );
        report.set("kernels", kinds.iter().map(Kind::json).collect());
        report.line(&format!(
            "{}, observations of {obs}, actions of {act}, batches of {}, {}",
            Method::of(&config),
            round.batch(),
            machine(),
        ));
        report.rates(&measured, "updates");
        report.line(&format!("sampling a batch {:.1} us, not included above", sampling.median() * 1e6));
        let which = if round.cycle() > 1 { " of a round with the policy's turn" } else { "" };
        let beside = if round.reprioritises() { ", without the model that gives priorities" } else { "" };
        report.line(&format!("\nleast time of each part{which}{beside}"));
        let all: f64 = stages.iter().map(|(_, s)| s).sum();
        for (name, s) in &stages {
            report.line(&format!("  {name:<34} {:>9.1} us {:>5.1} %", s * 1e6, 100.0 * s / all));
        }
        report.line("\nleast time of each kernel, calls per update");
        for kind in &kinds {
            report.line(&kind.line(all, measured.peak.most()));
        }
        Ok(report)
    }

    fn acting(&self, common: Common) -> Result<Report, TrainError> {
        let config = self.config(common)?;
        plain(&config, "policies are measured alone; choose the base alone")?;
        let (obs, act) = self.dims();
        let algo = config.section::<RunConfig>().algo;
        let measured = Acting::new(&config, (obs, act))?.measure(self.seconds);
        let mut report = Report::new("acting", &measured, "actions");
        report.set("algo", json!(algo));
        report.set("obs", json!(obs));
        report.set("act", json!(act));
        report.line(&format!("a policy of {algo}, one state of {obs}, actions of {act}, {}", machine()));
        report.rates(&measured, "actions");
        Ok(report)
    }

    fn replay(&self, common: Common) -> Result<Report, TrainError> {
        let rows = self.rows(2_000_000);
        let config = self.config(common)?;
        let run: RunConfig = config.section();
        let (obs, act) = self.dims();
        let cost = bench::replay(&config, (obs, act), rows, self.seconds)?;
        let mut report = Report::empty("replay");
        report.set("algo", json!(run.algo));
        report.set("adapt", json!(run.adapt));
        report.set("method", json!(Method::of(&config).to_string()));
        report.set("rows", json!(rows));
        report.set("allocations", json!(cost.allocations));
        report.line(&format!(
            "batches of {} from {rows} transitions of {obs} and {act} numbers, {}",
            Method::of(&config),
            machine(),
        ));
        let parts = [
            ("draw", &cost.draw),
            ("gather", &cost.gather),
            ("sample", &cost.sample),
            ("reprioritise", &cost.reprioritise),
        ];
        for (name, samples) in parts {
            report.set(&format!("{name}_microseconds"), json!(samples.median() * 1e6));
            report.line(&format!(
                "  {name:<14} {:>7.1} us (least {:.1})",
                samples.median() * 1e6,
                samples.least() * 1e6
            ));
        }
        report.line(&allocations(cost.allocations));
        Ok(report)
    }

    fn training(&self, common: Common) -> Result<Report, TrainError> {
        let args = RunArgs {
            preset: self.preset.clone(),
            sets: self.sets.clone(),
            data: Some(self.data.clone().unwrap_or_else(|| EMBEDDED.into())),
            env: Some(env::NONE.into()),
            ..RunArgs::default()
        };
        let mut config = args.resolve(common, self.algo.as_deref(), None)?;
        let why = "training on data has no adaptation; `baq bench update --adapt` measures one";
        plain(&config, why)?;
        for (section, key) in
            [("run", "begin"), ("offline", "updates"), ("offline", "log_every"), ("offline", "patience")]
        {
            if let Some(asked) = config.find_stated(section, key).filter(|s| s.by == By::Set) {
                return Err(TrainError::Input(format!(
                    "{}: `baq bench train` trains on data, as long as --updates says, and logs every {WINDOW}; leave it out",
                    asked.place
                )));
            }
        }
        if let Some(updates) = self.updates.filter(|n| !n.is_multiple_of(WINDOW)) {
            return Err(TrainError::Input(format!(
                "--updates {updates}: expected whole thousands, which are what is timed"
            )));
        }
        config.put(RunConfig { begin: Begin::Offline, ..config.section() });
        config.put(OfflineConfig {
            updates: self.updates.unwrap_or(21_000),
            log_every: WINDOW,
            patience: 0,
            ..config.section()
        });
        let columns = setup::load(&config, None)?.columns;
        let (dims, rows) = ((columns.obs_dim(), columns.act_dim()), columns.len());
        drop(columns);
        let folder = tempfile::tempdir().map_err(|e| {
            TrainError::Input(format!("{e}; the run needs room in the directory that TMPDIR names"))
        })?;
        let run = folder.path().join("run");
        if train::begin(&config, &run, Manner::new(&Stop::on_signal()?, common.json))? == Ended::Interrupted {
            return Err(TrainError::Interrupted("interrupted: nothing was measured".into()));
        }
        let mut before = (0, 0.0);
        let rates: Vec<f64> = read_timing(&run)?
            .iter()
            .map(|row| {
                let now = (row.stamp.update, row.seconds);
                let (updates, seconds) = (now.0 - before.0, now.1 - before.1);
                before = now;
                updates as f64 / seconds
            })
            .collect();
        // The same updates without the loop around them.
        let (_, alone) = Round::new(&config, dims, rows)?.measure(self.seconds);
        Ok(trained(&config, &rates, &alone))
    }

    fn environment(&self) -> Result<Report, TrainError> {
        process::end_with_this_process()?;
        let spec = env::spec(self.env.as_deref().unwrap_or("hopper-v4"))?;
        let cost = cost::measure(spec.id, self.seconds)?;
        let of = |list: &[f64]| list.iter().copied().collect::<Samples>();
        let step = of(&cost.step).median();
        // Neighbouring blocks are disturbed alike, so the ratio is taken before the median.
        let ratios: Vec<f64> = cost.step.iter().zip(&cost.raw).map(|(step, raw)| step / raw - 1.0).collect();
        let mut report = Report::empty("env");
        report.set("env", json!(spec.id));
        report.set("steps", json!(cost.steps));
        report.set("steps_per_second", json!(1.0 / step));
        report.line(&format!("{}: {:.0} steps/s, {:.2} us each", spec.id, 1.0 / step, step * 1e6));
        if !ratios.is_empty() {
            let (raw, overhead) = (of(&cost.raw).median(), of(&ratios).median());
            report.set("simulator_microseconds", json!(raw * 1e6));
            report.set("overhead", json!(overhead));
            report.line(&format!(
                "the simulator alone {:.2} us; ours around it {:.1} %",
                raw * 1e6,
                overhead * 100.0
            ));
        }
        if !cost.reset.is_empty() {
            report.set("reset_microseconds", json!(of(&cost.reset).median() * 1e6));
            report.line(&format!("a reset {:.1} us", of(&cost.reset).median() * 1e6));
        }
        Ok(report)
    }
}

/// Updates between two times of `bench train`.
const WINDOW: u64 = 1_000;

/// What `bench train` says of a run with these rates, beside the same updates alone.
fn trained(config: &Config, rates: &[f64], alone: &Measured) -> Report {
    let (run, offline): (RunConfig, OfflineConfig) = (config.section(), config.section());
    let all: Samples = rates.iter().copied().collect();
    let (first, last) = (rates[0], rates[rates.len() - 1]);
    let (whole, update) = (all.median(), 1.0 / alone.call.median());
    let mut report = Report::empty("train");
    report.set("algo", json!(run.algo));
    report.set("data", json!(run.dataset));
    report.set("updates", json!(offline.updates));
    report.set("updates_per_second", json!(whole));
    report.set("first_thousand", json!(first));
    report.set("last_thousand", json!(last));
    report.set("last_to_first", json!(last / first));
    report.set("thousands", json!(rates));
    report.set("update_alone_per_second", json!(update));
    report.set("share_of_update_alone", json!(whole / update));
    report.line(&format!("{} on {}, {} updates, {}", run.algo, run.dataset, offline.updates, machine()));
    report.line(&format!("  median of the thousands {whole:>9.1} updates/s"));
    report.line(&format!("  first thousand          {first:>9.1} updates/s"));
    report.line(&format!(
        "  last thousand           {last:>9.1} updates/s = {:.1} % of the first",
        100.0 * last / first
    ));
    report.line(&format!(
        "  the update alone        {update:>9.1} updates/s, of which the loop reaches {:.1} %",
        100.0 * whole / update
    ));
    report
}

fn machine() -> String {
    let threads = baq_kernels::threads();
    let plural = if threads == 1 { "" } else { "s" };
    let kernels = baq_kernels::active();
    format!("{}, {}, {threads} thread{plural}", kernels.isa, kernels.arithmetic())
}

fn allocations(n: Option<u64>) -> String {
    n.map_or_else(|| "allocations are not counted".into(), |n| format!("{n} allocations"))
}

/// The same facts as text and as JSON.
struct Report {
    text: String,
    json: Value,
}

impl Report {
    fn empty(what: &str) -> Report {
        let kernels = baq_kernels::active();
        let json = json!({
            "what": what, "isa": kernels.isa.name(), "numerics": kernels.numerics.name(),
            "unit": kernels.unit.map(Unit::name), "threads": baq_kernels::threads(),
        });
        Report { text: String::new(), json }
    }

    fn new(what: &str, m: &Measured, calls: &str) -> Report {
        let (median, least) = (m.call.median(), m.call.least());
        let mut report = Report::empty(what);
        report.set(&format!("{calls}_per_second"), json!(1.0 / median));
        report.set("gflops", json!(m.gflops(median)));
        report.set("fraction_of_peak", json!(m.fraction()));
        report.set("peak_gflops", json!(m.peak.median()));
        report.set("allocations", json!(m.allocations));
        report.set("microseconds", json!(median * 1e6));
        report.set("mflop", json!(m.flops as f64 * 1e-6));
        report.set(calls, json!(m.calls));
        report.set(
            "best",
            json!({
                "microseconds": least * 1e6, "gflops": m.gflops(least),
                "fraction_of_peak": m.best_fraction(), "peak_gflops": m.peak.most(),
            }),
        );
        report
    }

    fn set(&mut self, key: &str, value: Value) {
        self.json[key] = value;
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn rates(&mut self, m: &Measured, calls: &str) {
        let (median, least) = (m.call.median(), m.call.least());
        // Products of bf16 parts may be faster than it.
        let probed = if baq_kernels::active().unit.is_some() { "f32's probed" } else { "the probed" };
        let mut row = |name: &str, call: f64, fraction: f64, peak: f64| {
            self.line(&format!(
                "  {name:<7} {:>9.1} us {:>9.1} {calls}/s {:>7.1} GFLOP/s = {:>5.1} % of {probed} {peak:.1}",
                call * 1e6,
                1.0 / call,
                m.gflops(call),
                fraction * 100.0,
            ));
        };
        row("median", median, m.fraction(), m.peak.median());
        row("best", least, m.best_fraction(), m.peak.most());
        let mflop = m.flops as f64 * 1e-6;
        self.line(&format!("{mflop:.3} MFLOP each, {} in {} {calls}", allocations(m.allocations), m.calls));
    }
}

/// Steps of one kind and size.
struct Kind {
    name: String,
    calls: usize,
    seconds: f64,
    flops: u64,
}

impl Kind {
    fn json(&self) -> Value {
        let gflops = (self.flops > 0).then(|| self.flops as f64 * 1e-9 / self.seconds);
        json!({ "kernel": self.name, "calls": self.calls, "microseconds": self.seconds * 1e6, "gflops": gflops })
    }

    fn line(&self, all: f64, peak: f64) -> String {
        let (name, s) = (&self.name, self.seconds);
        let mut line =
            format!("  {name:<30} {:>3} {:>9.1} us {:>5.1} %", self.calls, s * 1e6, 100.0 * s / all);
        if self.flops > 0 {
            let gflops = self.flops as f64 * 1e-9 / s;
            line.push_str(&format!(" {gflops:>7.1} GFLOP/s = {:>5.1} % of the peak", 100.0 * gflops / peak));
        }
        line
    }
}

/// Seconds of each update, in order.
fn stages(steps: &[(Cost, f64)]) -> Vec<(&'static str, f64)> {
    let mut stages: Vec<(&'static str, f64)> = Vec::new();
    for (cost, s) in steps {
        match stages.last_mut() {
            Some((name, sum)) if *name == cost.stage => *sum += s,
            _ => stages.push((cost.stage, *s)),
        }
    }
    stages
}

/// Steps of equal kind together, dense layers by size, the dearest first.
fn kinds(steps: &[(Cost, f64)]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for (cost, s) in steps {
        let name = if cost.flops > 0 { format!("{} {}", cost.kind, cost.sizes) } else { cost.kind.into() };
        match kinds.iter_mut().find(|k| k.name == name) {
            Some(k) => {
                k.calls += 1;
                k.seconds += s;
                k.flops += cost.flops;
            }
            None => kinds.push(Kind { name, calls: 1, seconds: *s, flops: cost.flops }),
        }
    }
    kinds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kinds
}
