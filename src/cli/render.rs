//! `baq render`: a policy's episode as a picture.

use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde_json::json;

use super::{Common, Outcome, Verdict, new_file};
use crate::env::{Simulated, Spec, process};
use crate::render::{Film, Moment};
use crate::train::TrainError;
use crate::train::evaluate::Play;
use crate::train::policy::Restored;
use crate::train::rundir::RunError;

/// Draw an episode of a trained policy: an animated GIF, or a strip of pictures as PNG
///
/// Needs no display. Episodes are those of `baq evaluate` with the same seed (of policies that act with noise, as FQL and EMaQ: with other noise). The film plays as fast as the task is.
#[derive(Debug, Args)]
pub struct Render {
    /// run directory, checkpoint or policy file
    run: PathBuf,
    /// file to create, .gif or .png
    #[arg(long, value_name = "FILE", default_value = "walk.gif")]
    out: PathBuf,
    /// environment (default: that of the run)
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// which episode, counted as `baq evaluate` counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    episode: u64,
    /// pixels of a picture
    #[arg(long, value_name = "WxH", default_value = "400x300")]
    size: Size,
    /// most pictures in a second of the GIF (default: 25)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    fps: Option<u32>,
    /// pictures of the PNG (default: 6)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    frames: Option<u32>,
    /// steps after which the film ends (default: 10 simulated seconds)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    max_steps: Option<u64>,
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug)]
struct Size(u32, u32);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let side = |side: &str| side.parse().ok().filter(|n| (48..=1920).contains(n));
        let sides = text.split_once('x').and_then(|(w, h)| Some(Size(side(w)?, side(h)?)));
        sides.ok_or_else(|| "expected WIDTHxHEIGHT, each from 48 to 1920, as in 480x360".into())
    }
}

/// Pictures in a second of a GIF, and pictures of a PNG, if nobody says how many.
const FPS: u32 = 25;
const FRAMES: u32 = 6;
/// Seconds of a film if nobody says how many steps.
const LASTS: f64 = 10.0;

impl Render {
    /// Runs the command. Errors: an `--out` that ends in neither .gif nor .png, is there already, or lies in no folder;
    /// `--frames` of a GIF, `--fps` of a PNG; nothing to take a policy from; an environment that it does not fit, or
    /// that is not simulated here.
    pub fn run(self, common: Common) -> Outcome {
        let moving = self.moving()?;
        new_file::check(&self.out)?;
        process::end_with_this_process()?;
        let mut policy = Restored::open(&self.run)?;
        let spec = policy.environment(self.env.as_deref())?;
        let size = (self.size.0, self.size.1);
        let play = Play { spec, seed: common.seed.unwrap_or(0), episode: self.episode - 1 };
        let film = film(&mut policy, play, self.max_steps, size)?;
        let mut film = film.ok_or_else(|| not_simulated(spec))?;
        let drawn = match moving {
            true => film.gif(self.fps.unwrap_or(FPS)),
            false => film.strip(self.frames.unwrap_or(FRAMES) as usize),
        };
        let (bytes, pictures) = drawn.map_err(RunError::io(&self.out, "draw the picture"))?;
        new_file::create(&self.out, |file| {
            Ok(file.write_all(&bytes).map_err(RunError::io(&self.out, "write the file"))?)
        })?;
        let (file, last) = (self.out.display(), film.last());
        if common.json {
            println!(
                "{}",
                json!({
                    "file": self.out, "bytes": bytes.len(), "pictures": pictures, "env": spec.id,
                    "method": policy.method, "seed": play.seed, "episode": self.episode, "steps": last.steps,
                    "return": last.sum, "terminated": last.terminated,
                })
            );
            return Ok(Verdict::Done);
        }
        let kilobytes = bytes.len().div_ceil(1000);
        println!("{file}: {pictures} pictures, {kilobytes} kB: {} in {}", policy.describe(), spec.id);
        println!("episode {}: return {:.2} after {} steps", self.episode, last.sum, last.steps);
        Ok(Verdict::Done)
    }

    /// Whether a GIF is asked for.
    fn moving(&self) -> Result<bool, TrainError> {
        let extension = self.out.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "gif" if self.frames.is_none() => Ok(true),
            "png" if self.fps.is_none() => Ok(false),
            "gif" => {
                Err(TrainError::Input("--frames: a GIF has all pictures, --fps of them in a second".into()))
            }
            "png" => Err(TrainError::Input(
                "--fps: a PNG stands still; --frames says how many pictures it has".into(),
            )),
            _ => Err(TrainError::Input(format!(
                "--out {}: expected a name that ends in .gif or .png",
                self.out.display()
            ))),
        }
    }
}

/// The episode that a policy plays, ready to be drawn in pictures of so many pixels; `None` for an environment that is
/// not simulated by MuJoCo in this process.
pub fn film(
    policy: &mut Restored,
    play: Play,
    max_steps: Option<u64>,
    size: (u32, u32),
) -> Result<Option<Film>, TrainError> {
    let mut env = play.begin()?;
    let Some(simulated) = env.simulated() else { return Ok(None) };
    let (reader, seconds) = (simulated.scene()?, simulated.seconds());
    let most = max_steps.unwrap_or_else(|| (LASTS / seconds).round().max(1.0) as u64);
    let mut moments = Vec::new();
    play.run(env.as_mut(), policy, most, &mut |env, played| {
        let qpos = env.simulated().map(|s: &mut dyn Simulated| s.qpos().to_vec()).unwrap_or_default();
        moments.push(Moment { qpos, steps: played.steps, sum: played.sum, terminated: played.terminated });
    })?;
    let caption = format!("{}, {}", play.spec.id, policy.describe());
    Ok(Some(Film { reader, seconds, moments, caption, size }))
}

fn not_simulated(spec: &Spec) -> TrainError {
    TrainError::Input(format!(
        "{}: cannot be drawn: expected a task that this program simulates with MuJoCo, as hopper-v4; a task of another program is drawn by that",
        spec.id
    ))
}
