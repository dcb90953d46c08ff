//! `baq data convert`: from the files that people have to the layout that training reads, and back.

use std::path::{Path, PathBuf};

use baq_datasets::convert::{self, Actions, Converted, Options};
use baq_datasets::{Format, Layout, TimeLimit, minari, write};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::suite::ready;
use super::{Common, Outcome, Verdict, hints, new_file};
use crate::suite::PREFIX;
use crate::train::TrainError;
use crate::train::data::EMBEDDED;

/// Convert a data file.
#[derive(Debug, Args)]
pub struct Convert {
    /// file or Minari folder; `embedded` is the slice inside the program, `suite:NAME` a data set of `baq suite list`
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// file to create; its name ends in .hdf5, .h5, .npz or .csv
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// what `terminals` mean: the task ended (d4rl), or last rows of trajectories (ogbench)
    #[arg(long, value_enum, default_value_t = Meaning::Auto)]
    layout: Meaning,
    /// write rewards of 0 where there are none, as in OGBench's files
    #[arg(long)]
    zero_rewards: bool,
    /// time limit that ends episodes beside the flags, in rows; it is written as timeouts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    max_episode_steps: Option<u64>,
    /// leave out episodes with numbers that are not finite or with columns of other lengths, and count them
    #[arg(long)]
    skip_bad: bool,
    /// rescale actions to [-1, 1] and keep the bounds: -2:2, or one number for each component as in -1,-2:1,2; auto: those of the
    /// action space that Minari records, else the smallest and largest actions
    #[arg(long, value_name = "LOW:HIGH", num_args = 0..=1, require_equals = true, default_missing_value = "auto", value_parser = bounds, allow_hyphen_values = true, conflicts_with = "clip_actions")]
    rescale_actions: Option<Bounds>,
    /// clip actions to [-1, 1]
    #[arg(long)]
    clip_actions: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Meaning {
    /// by the keys of the file
    Auto,
    D4rl,
    Ogbench,
}

/// Lower and upper bounds; `None`: automatic ones.
type Bounds = Option<(Vec<f32>, Vec<f32>)>;

fn bounds(text: &str) -> Result<Bounds, String> {
    if text == "auto" {
        return Ok(None);
    }
    let list = |text: &str| -> Option<Vec<f32>> {
        text.split(',').map(|x| x.trim().parse().ok().filter(|x: &f32| x.is_finite())).collect()
    };
    let both = text.split_once(':').and_then(|(low, high)| Some((list(low)?, list(high)?)));
    both.map(Some).ok_or_else(|| format!("expected LOW:HIGH as in -2:2 or -1,-2:1,2, or auto, got {text}"))
}

impl Convert {
    /// Runs the command. Errors: an output whose name tells no format, that is there already, or that lies in no
    /// folder; an option that is not for such an input; an input that cannot be read or converted; what the output's format
    /// cannot hold.
    pub fn run(self, common: Common) -> Outcome {
        let format = Format::to_write(&self.output)?;
        new_file::check(&self.output)?;
        self.check_options()?;
        let converted = self.read()?;
        new_file::create(&self.output, |file| {
            Ok(write::recording(format, &self.output, &converted.recording, file)?)
        })?;
        self.say(common, format, &converted);
        Ok(Verdict::Done)
    }

    /// Error: an option that a Minari dataset has no use for.
    fn check_options(&self) -> Result<(), TrainError> {
        let given = [("--layout", self.layout != Meaning::Auto), ("--zero-rewards", self.zero_rewards)];
        match given.iter().find(|(_, given)| *given && minari::is_minari(&self.input)) {
            None => Ok(()),
            Some((option, _)) => Err(TrainError::Input(format!(
                "{}: option `{option}`: expected a file in D4RL's or OGBench's layout, got a Minari dataset, which has rewards and flags of one meaning; leave the option out",
                self.input.display()
            ))),
        }
    }

    fn read(&self) -> Result<Converted, TrainError> {
        let options = Options {
            layout: match self.layout {
                Meaning::Auto => Layout::Auto,
                Meaning::D4rl => Layout::D4rl,
                Meaning::Ogbench => Layout::Ogbench,
            },
            zero_rewards: self.zero_rewards,
            skip_bad: self.skip_bad,
            max_episode_steps: self.max_episode_steps.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            actions: match &self.rescale_actions {
                Some(bounds) => Actions::Rescale(bounds.clone()),
                None if self.clip_actions => Actions::Clip,
                None => Actions::Keep,
            },
        };
        let named = self.input.to_string_lossy();
        Ok(match self.input == Path::new(EMBEDDED) {
            true => convert::read_embedded(&options)?,
            false if named.starts_with(PREFIX) => convert::read(&ready(&named)?, &options)?,
            false => convert::read(&self.input, &options)?,
        })
    }

    fn say(&self, common: Common, format: Format, converted: &Converted) {
        let Converted { recording: r, skipped, clipped, timed_out, unfinished, marked } = converted;
        let episodes = r.episodes(TimeLimit::Unknown).len();
        let mut notes = r.notes.clone();
        if format == Format::Csv && r.algorithm.is_some() {
            notes.push("left out, as a table has no place for it: metadata/algorithm".into());
        }
        notes.extend((*unfinished > 0).then(|| {
            format!("ends of episodes without a flag, for which D4RL's layout has no other place: {unfinished}; these episodes count as unfinished from now on")
        }));
        notes.extend((*marked > 0).then(|| {
            format!("ends without a flag that next_observations do not show: {marked}; they are timeouts from now on, and their rows no transitions")
        }));
        notes.extend(
            r.env.as_ref().map(|env| format!("recorded in {env}, which --env has to name from now on")),
        );
        if common.json {
            let skipped: Vec<_> = skipped
                .reasons()
                .map(|(reason, episodes, rows)| json!({ "reason": reason, "episodes": episodes, "rows": rows }))
                .collect();
            let bounds = r.action_bounds.as_ref().map(|b| json!({ "low": b.low(), "high": b.high() }));
            println!(
                "{}",
                json!({
                    "file": self.output, "n_transitions": r.len(), "n_episodes": episodes, "obs_dim": r.obs_dim(),
                    "act_dim": r.act_dim(), "skipped": skipped, "n_clipped": clipped, "n_timed_out": timed_out,
                    "n_unfinished": unfinished, "n_marked": marked,
                    "action_bounds": bounds, "notes": notes,
                })
            );
            return;
        }
        let file = hints::path(&self.output);
        println!(
            "{file}: {} rows in {episodes} episodes, observations {}, actions {}",
            r.len(),
            r.obs_dim(),
            r.act_dim()
        );
        for (reason, episodes, rows) in skipped.reasons() {
            let rows = if rows > 0 { format!(" ({rows} rows)") } else { String::new() };
            println!("skipped {episodes} episodes{rows} with {reason}");
        }
        if let Some(limit) = self.max_episode_steps {
            println!("time limit of {limit} rows: ends {timed_out} episodes beside the flags");
        }
        if let Some(bounds) = &r.action_bounds {
            println!("actions: [-1, 1] stands for {bounds}");
        }
        if self.clip_actions {
            println!("actions: {clipped} numbers clipped to [-1, 1]");
        }
        notes.iter().for_each(|note| println!("note: {note}"));
        println!("next: {}", hints::command(common, &["data", "inspect", &file]));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::outcome::exit_code;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        convert: Convert,
    }

    #[test]
    fn options_of_files_are_refused_for_minari() {
        let folder = tempfile::tempdir().unwrap();
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/tests/fixtures/minari/toy/fixture-v0");
        let out = folder.path().join("out.npz");
        let convert = |more: &[&str]| {
            let words = [&[data, out.to_str().unwrap()][..], more].concat();
            Line::parse_from(words).convert.run(Common::of_library())
        };
        for more in [&["--layout", "d4rl"][..], &["--layout", "ogbench"], &["--zero-rewards"]] {
            let error = convert(more).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(data) && text.contains(more[0]) && !text.contains('\n'), "{text}");
            assert!(exit_code(&error) == 2 && !out.exists(), "{text}");
        }
        convert(&["--layout", "auto"]).unwrap();
        assert!(out.exists());
    }
}
