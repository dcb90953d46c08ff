//! `baq demo`: the whole way on the slice of rollouts inside the program, in a few minutes.
//!
//! Behaviour cloning and IQL on the data, then two fine-tuning runs from the same checkpoint, plain and
//! BAQ, and one page that compares them.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::finetune::Start;
use super::learn::{self, Again, Manner};
use super::notes;
use super::setup::{self, RunArgs};
use super::{Common, Outcome, Verdict, hints, render, train};
use crate::config::{Config, DEMO, OfflineConfig, OnlineConfig};
use crate::env;
use crate::report::{self, Illustration, LAST};
use crate::train::TrainError;
use crate::train::data::{self, EMBEDDED};
use crate::train::evaluate::Play;
use crate::train::metrics::{Evaluation, Phase, read_dataset, read_evaluations};
use crate::train::policy::Restored;
use crate::train::progress::{Ended, Stop};
use crate::train::rundir::{self, RunDir, RunError};

/// Pre-train and fine-tune on the embedded data
#[derive(Debug, Args)]
pub struct Demo {
    /// folder for the four runs and the page: a new one, or that of a demo with the same options, to go on with
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// updates of IQL; the other lengths follow
    #[arg(long, value_name = "N", default_value_t = 24_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    updates: u64,
    /// environment steps of each fine-tuning run
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    env_steps: u64,
    /// environment
    #[arg(long, value_name = "ENV", default_value = "hopper-v4")]
    env: String,
    /// no progress bars
    #[arg(long)]
    quiet: bool,
}

impl Demo {
    /// Runs the command. Errors: an `--env` that is none, unknown, or not one that the data fit; an `--out` that holds
    /// anything but a demo of the same options; no MuJoCo; a run that diverges.
    pub fn run(self, common: Common) -> Outcome {
        if self.env == env::NONE {
            return Err(TrainError::Input(
                "--env none: expected an environment to fine-tune in, as hopper-v4".into(),
            ));
        }
        let stop = Stop::on_signal()?;
        let manner = Manner::new(&stop, self.quiet || common.json);
        let folder = |name: &str| self.out.join(name);
        // The folder itself is claimed like a run, so that nothing in it is ever overwritten but by its own demo.
        let claimed = RunDir::claim(&self.out, &HOLDS)?;
        let say = |text: &str| {
            if !common.json {
                println!("{text}");
            }
        };

        say("1/4  behaviour cloning on 27,107 recorded transitions of Hopper");
        let mut cloning = self.arguments(Some(DEMO.cloning)).resolve(common, Some(DEMO.cloning), None)?;
        cloning.apply_set(DEMO.cloning_set)?;
        self.shorten(&mut cloning, self.updates / 2);
        let cloning = setup::note_simulator(cloning, true, false)?;
        if offline(&cloning, &folder(DEMO.cloning), manner)? == Ended::Interrupted {
            return self.interrupted(common);
        }
        say("2/4  implicit Q-learning on the same data");
        let mut base = self.arguments(Some(DEMO.base_preset)).resolve(common, Some(DEMO.base), None)?;
        self.shorten(&mut base, self.updates);
        let base = setup::note_simulator(base, true, false)?;
        if offline(&base, &folder(DEMO.base), manner)? == Ended::Interrupted {
            return self.interrupted(common);
        }
        for (step, adapt) in [("3/4", DEMO.unchanged), ("4/4", DEMO.adapted)] {
            say(&format!("{step}  {} environment steps from that policy, {adapt}", self.env_steps));
            let with_model = adapt == DEMO.adapted;
            let start = Start { from: folder(DEMO.base), model: with_model.then(|| folder(DEMO.cloning)) };
            let mut config = start.configuration(&self.arguments(None), common, adapt)?;
            if with_model {
                config.apply_set(DEMO.adapted_set)?;
            }
            self.shorten_online(&mut config);
            let config = setup::note_simulator(config, true, false)?;
            let ended = match begun(&config, &folder(adapt))? {
                true => learn::go_on(&folder(adapt), &Again::default(), None, manner)?.0,
                false => start.run(&config, &folder(adapt), manner)?,
            };
            if ended == Ended::Interrupted {
                return self.interrupted(common);
            }
        }
        drop(claimed);

        let runs: Vec<PathBuf> = DEMO.runs().map(folder).to_vec();
        let notes = [notes::calibration_verdict(&folder(DEMO.adapted))?];
        // The fine-tuning runs carry the offline curve of IQL themselves.
        let shown = [&runs[0], &runs[2], &runs[3]].map(Clone::clone);
        let title = "baq demo: Hopper, offline to online";
        let films = self.films(common)?;
        let page = report::write(&self.out, title, &shown, &notes, &films)?;
        let rows = self.rows(&runs)?;
        if common.json {
            println!("{}", json!({"report": page, "runs": rows.iter().map(Row::json).collect::<Vec<_>>()}));
            return Ok(Verdict::Done);
        }
        println!("\n{:<22} {:>14} {:>8}", format!("last {LAST} evaluations"), "mean return", "score");
        for row in &rows {
            println!("{:<22} {:>14.0} {:>8.1}", row.label, row.mean, row.score.unwrap_or(f64::NAN));
        }
        println!("\nopen {} in a browser", page.display());
        println!("your own data: baq train --algo {} --data FILE", DEMO.base);
        let tuned = hints::path(&folder(DEMO.adapted));
        println!("next: {}", hints::command(common, &["evaluate", "--from", &tuned, "--episodes", "100"]));
        Ok(Verdict::Done)
    }

    /// The beginning of an episode before and after fine-tuning, from the same start.
    fn films(&self, common: Common) -> Result<Vec<Illustration>, TrainError> {
        let mut films = Vec::new();
        for (label, run) in
            [("before: IQL, offline", DEMO.base), ("after: IQL + BAQ, fine-tuned", DEMO.adapted)]
        {
            let mut policy = Restored::open(&self.out.join(run))?;
            let spec = policy.environment(None)?;
            let play = Play { spec, seed: common.seed.unwrap_or(0), episode: 0 };
            let Some(mut film) = render::film(&mut policy, play, Some(FILM.steps), FILM.size)? else {
                continue;
            };
            film.caption.clear();
            let (gif, _) = film.gif(FILM.fps).map_err(RunError::io(&self.out, "draw an episode"))?;
            films.push(Illustration { title: label.into(), gif });
        }
        Ok(films)
    }

    fn arguments(&self, preset: Option<&str>) -> RunArgs {
        RunArgs {
            preset: preset.map(str::to_string),
            data: Some(EMBEDDED.into()),
            env: Some(self.env.clone()),
            ..RunArgs::default()
        }
    }

    fn shorten(&self, config: &mut Config, updates: u64) {
        let every = (updates / 8).max(1);
        let mut offline: OfflineConfig = config.section();
        offline.updates = updates;
        offline.eval_every = every;
        offline.checkpoint_every = every;
        offline.log_every = (updates / 48).max(1);
        offline.patience = 0;
        config.put(offline);
    }

    fn shorten_online(&self, config: &mut Config) {
        let mut online: OnlineConfig = config.section();
        online.env_steps = self.env_steps;
        online.eval_every = (self.env_steps / 10).max(1);
        online.checkpoint_every = (self.env_steps / 2).max(1);
        online.log_every = (self.env_steps / 100).max(1);
        config.put(online);
    }

    fn interrupted(&self, common: Common) -> Outcome {
        let (updates, env_steps) = (self.updates.to_string(), self.env_steps.to_string());
        let out = hints::path(&self.out);
        let words =
            ["demo", "--out", &out, "--env", &self.env, "--updates", &updates, "--env-steps", &env_steps];
        let again =
            hints::command(common, &words) + &common.seed.map(|s| format!(" --seed {s}")).unwrap_or_default();
        match common.json {
            true => println!("{}", json!({ "run": self.out, "ended": "interrupted", "again": again })),
            false => {
                println!("interrupted; what was finished is in {}, go on with: {again}", self.out.display())
            }
        }
        Ok(Verdict::Interrupted)
    }

    /// The table that is printed: the data, and the last evaluations of each run.
    fn rows(&self, runs: &[PathBuf]) -> Result<Vec<Row>, TrainError> {
        let facts = read_dataset(&runs[0])?;
        let mut rows: Vec<Row> = [
            ("data, mean", facts.return_mean, facts.score_mean),
            ("data, best tenth", facts.return_best_tenth, facts.score_best_tenth),
        ]
        .into_iter()
        .filter_map(|(label, mean, score)| Some(Row { label: label.into(), mean: mean?, score }))
        .collect();
        for (label, run, phase) in [
            ("behaviour cloning", &runs[0], Phase::Offline),
            ("IQL, offline", &runs[1], Phase::Offline),
            ("IQL, fine-tuned", &runs[2], Phase::Online),
            ("IQL + BAQ, fine-tuned", &runs[3], Phase::Online),
        ] {
            rows.push(Row::of(label, run, phase)?);
        }
        Ok(rows)
    }
}

/// Films small enough to stand in a page.
struct Films {
    size: (u32, u32),
    fps: u32,
    steps: u64,
}

const FILM: Films = Films { size: (320, 240), fps: 10, steps: 500 };

/// What the folder of a demo may hold.
const HOLDS: [&str; 7] = [
    DEMO.cloning,
    DEMO.base,
    DEMO.unchanged,
    DEMO.adapted,
    rundir::REPORT,
    rundir::CURVES_SVG,
    rundir::CURVES_PNG,
];

/// Trains, or goes on with what an earlier call of the same command has begun.
fn offline(config: &Config, run: &Path, manner: Manner<'_>) -> Result<Ended, TrainError> {
    match begun(config, run)? {
        true => Ok(learn::go_on(run, &Again::default(), None, manner)?.0),
        false => train::begin(config, run, manner),
    }
}

/// Whether the run has been begun; an error if it is not of this configuration.
fn begun(config: &Config, run: &Path) -> Result<bool, TrainError> {
    let file = run.join(rundir::CONFIG);
    match std::fs::read(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(RunError::io(&file, "read the file")(e).into()),
        Ok(text) if text == data::load(config)?.pin(config).to_toml().as_bytes() => Ok(true),
        Ok(_) => Err(TrainError::Input(format!(
            "{}: expected the configuration of this demo, got another; give the options that it was begun with, or choose another --out",
            file.display()
        ))),
    }
}

struct Row {
    label: String,
    mean: f64,
    score: Option<f64>,
}

impl Row {
    /// Mean over the last evaluations of a phase, as reports have it.
    fn of(label: &str, run: &Path, phase: Phase) -> Result<Row, TrainError> {
        let all = read_evaluations(run)?;
        let begun = |e: &&Evaluation| phase == Phase::Offline || e.stamp.env_step > 0;
        let of_phase: Vec<_> = all.iter().filter(|e| e.stamp.phase == phase).filter(begun).collect();
        let last = &of_phase[of_phase.len().saturating_sub(LAST)..];
        let n = last.len().max(1) as f64;
        let score: Option<f64> = last.iter().map(|e| e.score).sum::<Option<f64>>().map(|s| s / n);
        Ok(Row { label: label.into(), mean: last.iter().map(|e| e.mean()).sum::<f64>() / n, score })
    }

    fn json(&self) -> serde_json::Value {
        json!({"label": self.label, "mean_return": self.mean, "score": self.score})
    }
}
