//! `baq export`: a policy as a file for other programs.

use std::fmt::{self, Display};
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Common, Outcome, Verdict, hints, new_file};
use crate::export::{numpy, onnx};
use crate::train::TrainError;
use crate::train::policy::{self, Restored};
use crate::train::rundir::RunError;
use crate::train::state::Saved;

/// Write a policy as a file for other programs
///
/// It holds what acting takes and nothing else: scaling of states, networks, head and bounds. The file is a function of the
/// checkpoint.
#[derive(Debug, Args)]
pub struct Export {
    /// run directory, checkpoint or policy file
    run: PathBuf,
    /// what kind of file
    #[arg(long, value_enum)]
    format: Format,
    /// file to create (default: policy.onnx, policy.npz or policy.safetensors in the run directory)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// the whole of acting as a graph, for onnxruntime
    Onnx,
    /// parameters and scales as arrays, .npz
    Numpy,
    /// a policy file of this program
    Safetensors,
}

impl Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("invariant: every format has a name").get_name())
    }
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::Numpy => "npz",
            Format::Safetensors => "safetensors",
        }
    }

    fn how_to_read(self, common: Common, file: &str, inputs: &[String]) -> String {
        match self {
            Format::Onnx => {
                let more = match inputs {
                    [] | [_] => String::new(),
                    [_, drawn @ ..] => format!(
                        "; its further inputs, random numbers that its metadata tell how to draw: '{}'",
                        drawn.join("', '")
                    ),
                };
                format!(
                    "onnxruntime.InferenceSession({}).run(None, {{'observation': states}}){more}",
                    json!(file)
                )
            }
            Format::Numpy => format!("numpy.load({})", json!(file)),
            Format::Safetensors => hints::command(common, &["act", file]),
        }
    }
}

impl Export {
    /// Runs the command. Errors: nothing at the path to take a policy from; no `--out` where that is no directory; an
    /// output that is there already or lies in no folder; a policy that the format cannot express.
    pub fn run(self, common: Common) -> Outcome {
        let saved = Saved::acting(&self.run)?;
        let out = self.out()?;
        new_file::check(&out)?;
        let policy = Restored::of(&saved)?;
        let bytes = match self.format {
            Format::Onnx => onnx::file(&policy)?,
            Format::Numpy => numpy::file(&policy)?,
            Format::Safetensors => policy::file_of(&saved)?,
        };
        new_file::create(&out, |file| {
            Ok(file.write_all(&bytes).map_err(RunError::io(&out, "write the file"))?)
        })?;
        let file = hints::path(&out);
        let inputs = match self.format {
            Format::Onnx => onnx::inputs(&policy),
            _ => Vec::new(),
        };
        if common.json {
            println!(
                "{}",
                json!({
                    "file": out, "format": self.format.to_string(), "bytes": bytes.len(), "method": policy.method,
                    "env": policy.env, "s_dim": policy.agent.dims.s, "a_dim": policy.agent.dims.a,
                    "inputs": inputs,
                })
            );
            return Ok(Verdict::Done);
        }
        println!("{file}: {}, {} bytes", policy.describe(), bytes.len());
        println!("read it with: {}", self.format.how_to_read(common, &file, &inputs));
        Ok(Verdict::Done)
    }

    fn out(&self) -> Result<PathBuf, TrainError> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        match self.run.is_dir() {
            true => Ok(self.run.join("policy").with_extension(self.format.extension())),
            false => Err(TrainError::Input(format!(
                "--out: expected a file to write to, as {} is no directory",
                self.run.display()
            ))),
        }
    }
}
