//! `baq audit step`: one update with everything in it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::adapt::Method;
use crate::audit::capture::{Capture, Piece};
use crate::cli::rerun;
use crate::cli::{Common, Outcome, Verdict, hints, setup};
use crate::config::{Config, RunConfig};
use crate::report::{Run, State};
use crate::train::TrainError;
use crate::train::state::Saved;

/// Look at one update.
#[derive(Debug, Args)]
pub struct Step {
    /// directory of a run
    run: PathBuf,
    /// which update (one round of all losses), as metrics.csv counts them: from 1, or, of a fine-tuned run, on from the last
    /// one of the run it starts from
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    update: u64,
    /// write everything to this safetensors file
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// where the data are now, if not where the run read them
    #[arg(long, value_name = "FILE")]
    data: Option<String>,
}

/// Replays a run up to the end of an update, counted from 1, and keeps what that update computed.
pub(super) fn capture(run: &Path, data: Option<&str>, update: u64) -> Result<(Config, Capture), TrainError> {
    let mut config = rerun::configuration(run)?;
    if let Some(data) = data {
        let mut section: RunConfig = config.section();
        section.dataset = data.into();
        config.put(section);
    }
    refuse_beyond(run, update)?;
    let dataset = setup::load_again(&config, None)?;
    let saved = rerun::start(run, update - 1)?;
    if let Some(saved) = &saved {
        saved.check_dataset(&dataset.facts)?;
    }
    let mut probe = Capture::of(update - 1);
    let mut training = rerun::last_phase(&config, run, dataset, saved.as_ref(), &mut probe)?;
    training.rerun(update, 0, &mut probe)?;
    let (_, there, _) = training.into_parts();
    if probe.pieces.is_empty() {
        let first = there.offline_rounds + 1;
        // The replay ends at the last update; for one before the first it has not begun.
        let (last, hint) = match update < first {
            true => (Saved::open(run)?.counters()?.round.max(first), "the run that it starts from has it"),
            false => (there.round, "see metrics.csv"),
        };
        return Err(TrainError::Input(format!(
            "{}: --update: expected {first} to {last}, got {update}; {hint}",
            run.display()
        )));
    }
    Ok((config, probe))
}

/// An error for an update that a run which was ended before its plan has never made.
fn refuse_beyond(run: &Path, update: u64) -> Result<(), TrainError> {
    let made = Run::load(run)?;
    if !matches!(made.standing.state, State::Stopped | State::Running) {
        return Ok(());
    }
    let measured =
        made.metrics.iter().flat_map(|table| table.rows.last()).map(|(stamp, _)| stamp.update).max();
    let saved = || Saved::open(run).ok()?.counters().ok();
    let last = measured.unwrap_or(0).max(saved().map_or(0, |counters| counters.round));
    match update <= last {
        true => Ok(()),
        false => Err(TrainError::Input(format!(
            "{}: --update: expected at most {last}, the last that is known to be made, got {update}; the run is not at its end, resume it first",
            run.display()
        ))),
    }
}

/// Says that another kind of arithmetic than the run's gives other bits.
fn say_arithmetic(run: &Path) -> Result<(), TrainError> {
    let Ok(saved) = Saved::open(run) else { return Ok(()) };
    let ((isa, numerics), here) = (saved.arithmetic()?, baq_kernels::active());
    if (isa, numerics) != (here.isa.name(), &here.arithmetic()) {
        eprintln!(
            "note: the run was made with {isa} and {numerics}, this process computes with {} and {}: its numbers are \
             those of the run but for rounding; for its bits say --isa {isa} --numerics {}",
            here.isa,
            here.arithmetic(),
            numerics.split(' ').next().unwrap_or(numerics)
        );
    }
    Ok(())
}

impl Step {
    pub(super) fn run(self, common: Common) -> Outcome {
        if let Some(path) = &self.export
            && path.exists()
        {
            return Err(TrainError::Input(format!(
                "{}: exists already; choose another --export",
                path.display()
            )));
        }
        say_arithmetic(&self.run)?;
        let (config, found) = capture(&self.run, self.data.as_deref(), self.update)?;
        let run: RunConfig = config.section();
        let note = format!(
            "update {} of {}: {}, seed {}, {}, {}",
            self.update,
            self.run.display(),
            Method::of(&config),
            run.seed,
            baq_kernels::active().isa,
            baq_kernels::active().arithmetic()
        );
        if let Some(path) = &self.export {
            found.export(path, &note)?;
        }
        if common.json {
            let tensors: Vec<Value> = found.pieces.iter().map(to_json).collect();
            println!(
                "{}",
                json!({ "about": note, "rows": found.rows, "tensors": tensors, "export": self.export })
            );
            return Ok(Verdict::Done);
        }
        println!("{note}");
        let more = if found.rows.len() > 8 { " ..." } else { "" };
        println!("rows of the batch: {}{more}", join(found.rows.iter().take(8)));
        let width = found.pieces.iter().map(|p| p.name.len()).max().unwrap_or(0);
        // Moments can be read in the file; here they would bury the rest.
        for piece in found.pieces.iter().filter(|p| !p.name.contains("/adam.")) {
            let shape = format!("{:?}", piece.shape);
            println!("{:width$}  {shape:>16}  {:<46} {}", piece.name, numbers(piece), piece.text);
        }
        match &self.export {
            Some(path) => println!("{}: read it in Python with safetensors.numpy.load_file", path.display()),
            None => {
                let (update, file) = (self.update.to_string(), hints::free(Path::new("step.safetensors")));
                let (run, file) = (hints::path(&self.run), hints::path(&file));
                let mut words = vec!["audit", "step", &run, "--update", &update, "--export", &file];
                words.extend(self.data.iter().flat_map(|data| ["--data", data]));
                println!("next: {}", hints::command(common, &words));
            }
        }
        Ok(Verdict::Done)
    }
}

fn join(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|x| x.to_string()).collect::<Vec<_>>().join(" ")
}

/// The first numbers.
fn numbers(piece: &Piece) -> String {
    let more = if piece.values.len() > 3 { " ..." } else { "" };
    join(piece.values.iter().take(3).map(|x| format!("{x:.6e}"))) + more
}

/// JSON has no word for NaN; it becomes null.
fn to_json(piece: &Piece) -> Value {
    let squares: f64 = piece.values.iter().map(|&x| f64::from(x).powi(2)).sum();
    json!({
        "name": piece.name, "shape": piece.shape, "text": piece.text, "norm": squares.sqrt(),
        "first": piece.values.iter().take(3).collect::<Vec<_>>(),
    })
}
