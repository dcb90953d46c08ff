//! `baq data convert`: from the files that people have to the layout that training reads, and back.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use baq_datasets::convert::{self, Actions, Converted, Options};
use baq_datasets::{Format, Layout, Recording, TimeLimit, minari, write};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::suite::ready;
use super::{Common, Outcome, Verdict, hints, new_file};
use crate::suite::PREFIX;
use crate::train::TrainError;
use crate::train::data::EMBEDDED;
use crate::train::progress::Stop;

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
        // Before, a signal ends the process, which has nothing to clear away.
        let stop = Stop::on_signal()?;
        match self.write(format, &converted.recording, &stop) {
            Err(_) if stop.requested() => return Ok(self.interrupted(common)),
            written => written?,
        }
        self.say(common, format, &converted);
        Ok(Verdict::Done)
    }

    /// Creates the file. Errors: the recording or the file cannot be written; `stop` comes first.
    fn write(&self, format: Format, recording: &Recording, stop: &Stop) -> Result<(), TrainError> {
        new_file::create(&self.output, |file| {
            Ok(write::recording(format, &self.output, recording, Until { file, stop })?)
        })
    }

    /// Says that nothing was written, and how to begin again.
    fn interrupted(&self, common: Common) -> Verdict {
        let (file, again) = (self.output.display(), self.again(common));
        match common.json {
            true => println!("{}", json!({ "file": self.output, "ended": "interrupted", "again": again })),
            false => println!("interrupted; {file} was not written; start over with: {again}"),
        }
        Verdict::Interrupted
    }

    fn again(&self, common: Common) -> String {
        let (input, output) = (hints::path(&self.input), hints::path(&self.output));
        let mut words = vec!["data", "convert", &input, &output];
        let layout: &[&str] = match self.layout {
            Meaning::Auto => &[],
            Meaning::D4rl => &["--layout", "d4rl"],
            Meaning::Ogbench => &["--layout", "ogbench"],
        };
        words.extend(layout);
        let flags = [
            (self.zero_rewards, "--zero-rewards"),
            (self.skip_bad, "--skip-bad"),
            (self.clip_actions, "--clip-actions"),
        ];
        words.extend(flags.iter().filter(|f| f.0).map(|f| f.1));
        let steps = self.max_episode_steps.map(|n| n.to_string());
        words.extend(steps.iter().flat_map(|n| ["--max-episode-steps", n]));
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        let rescale = self.rescale_actions.as_ref().map(|bounds| match bounds {
            None => "--rescale-actions".to_string(),
            Some((low, high)) => format!("--rescale-actions={}:{}", list(low), list(high)),
        });
        words.extend(rescale.as_deref());
        hints::command(common, &words)
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

/// A file that is written until a signal comes.
struct Until<'a> {
    file: &'a mut File,
    stop: &'a Stop,
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stop.requested() {
            true => Err(io::Error::other("interrupted")),
            false => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Until<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
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

    #[test]
    fn an_interrupted_conversion_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let stop = Stop::default();
        stop.request();
        for name in ["x.npz", "x.csv", "x.hdf5"] {
            let out = folder.path().join(name);
            let convert = Line::parse_from([EMBEDDED, out.to_str().unwrap()]).convert;
            let recording = convert.read().unwrap().recording;
            let format = Format::to_write(&out).unwrap();
            assert!(convert.write(format, &recording, &stop).is_err(), "{name}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
        }
    }

    #[test]
    fn what_starts_over_is_the_same_command() {
        for more in
            ["", " --layout ogbench --zero-rewards --skip-bad", " --clip-actions --max-episode-steps 9"]
        {
            let line = format!("data convert in.npz out.csv{more}");
            let convert = Line::parse_from(line.split(' ').skip(2)).convert;
            assert_eq!(convert.again(Common::of_library()), format!("baq {line}"));
        }
        let line = ["in.npz", "out.csv", "--rescale-actions=-2,-1:2,0.5"];
        let again = Line::parse_from(line).convert.again(Common::of_library());
        assert!(again.contains("--rescale-actions=-2,-1:2,0.5"), "{again}");
    }
}
