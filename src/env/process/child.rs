//! The program at the other end of the pipe.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use crate::env::mujoco::command::last_line;
use crate::env::{EnvError, Step};

/// Longest text of an error that is read.
const LONGEST: u32 = 1 << 16;

/// What a program says when it is ready.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Sizes {
    protocol: u32,
    pub(super) observation: usize,
    pub(super) action: usize,
    pub(super) limit: usize,
    #[serde(default)]
    pub(super) success: bool,
    #[serde(default)]
    pub(super) versions: String,
    /// what -1 and 1 stand for; both or neither
    #[serde(default)]
    pub(super) low: Vec<f32>,
    #[serde(default)]
    pub(super) high: Vec<f32>,
}

impl Sizes {
    /// Whether the bounds of actions, if there are any, are those of as many components, with room between them.
    fn bounds_fit(&self) -> bool {
        let none = self.low.is_empty() && self.high.is_empty();
        let all = [self.low.len(), self.high.len()] == [self.action; 2];
        let room = self.low.iter().zip(&self.high).all(|(low, high)| low < high && (high - low).is_finite());
        none || (all && room)
    }

    /// A checksum of what is to be the same when a saved state is gone on from.
    pub(super) fn version(&self) -> u32 {
        crc32c::crc32c(self.versions.as_bytes())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Hello {
    Error { error: String },
    Ready(Sizes),
}

/// A running program.
pub(super) struct Child {
    id: String,
    process: process::Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// what it writes on standard error
    said: File,
    pub(super) sizes: Sizes,
    numbers: u32,
    buffer: Vec<u8>,
}

/// Python with the script for a task of Gymnasium.
pub(super) fn gymnasium(task: &str) -> Command {
    let python = std::env::var("BAQ_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", include_str!("gymnasium_tasks.py"), task]);
    command
}

/// A command line, its words between blanks.
pub(super) fn words(id: &str, line: &str) -> Result<Command, EnvError> {
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else {
        return Err(failed(id, "expected process:COMMAND, got no command"));
    };
    let mut command = Command::new(program);
    command.args(words);
    Ok(command)
}

fn failed(id: &str, problem: impl Into<String>) -> EnvError {
    EnvError::Program { id: id.into(), problem: problem.into() }
}

impl Child {
    pub(super) fn start(id: &str, mut command: Command) -> Result<Child, EnvError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let cannot = |e: std::io::Error| failed(id, format!("cannot start {program}: {e}"));
        let said = tempfile::tempfile().map_err(cannot)?;
        let end = said.try_clone().map_err(cannot)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(end);
        // Ctrl-C is for this program, which still needs its environments while it saves.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn().map_err(cannot)?;
        let requests = process.stdin.take().expect("invariant: it is piped");
        let answers = BufReader::new(process.stdout.take().expect("invariant: it is piped"));
        let sizes = Sizes::default();
        let mut child =
            Child { id: id.into(), process, requests, answers, said, sizes, numbers: 0, buffer: Vec::new() };
        child.sizes = child.hello()?;
        Ok(child)
    }

    fn hello(&mut self) -> Result<Sizes, EnvError> {
        let mut line = String::new();
        let read = (&mut self.answers).take(LONGEST.into()).read_line(&mut line);
        if read.is_err() || line.is_empty() {
            return Err(self.gone());
        }
        let wrong = |what: String| failed(&self.id, what);
        match serde_json::from_str::<Hello>(&line) {
            Ok(Hello::Error { error }) => Err(wrong(error)),
            Ok(Hello::Ready(sizes)) if !sizes.bounds_fit() => Err(wrong(format!(
                "expected `low` and `high` to be {} numbers each, one below the other, got {}",
                sizes.action,
                line.trim()
            ))),
            Ok(Hello::Ready(sizes)) => match (sizes.protocol, sizes.observation, sizes.action, sizes.limit) {
                (1, 1..=100_000, 1..=10_000, 1..) => Ok(sizes),
                _ => Err(wrong(format!(
                    "expected protocol 1 with 1 to 100,000 observations, 1 to 10,000 actions and a time limit, got {}",
                    line.trim()
                ))),
            },
            Err(e) => {
                Err(wrong(format!("expected a line of JSON with its sizes, got `{}`: {e}", line.trim())))
            }
        }
    }

    /// A number that no environment has yet.
    pub(super) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers - 1
    }

    pub(super) fn reset(&mut self, number: u32, seed: u64, obs: &mut [f64]) -> Result<(), EnvError> {
        self.ask(b'R', number, &seed.to_le_bytes())?;
        self.read(8 * obs.len())?;
        numbers(&self.buffer, obs);
        Ok(())
    }

    pub(super) fn step(&mut self, number: u32, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        let bytes: Vec<u8> = action.iter().flat_map(|a| a.to_le_bytes()).collect();
        self.ask(b'S', number, &bytes)?;
        let flags = if self.sizes.success { 3 } else { 2 };
        self.read(8 + flags + 8 * obs.len())?;
        let (head, rest) = self.buffer.split_at(8 + flags);
        let mut reward = [0.0];
        numbers(&head[..8], &mut reward);
        numbers(rest, obs);
        Ok(Step {
            reward: reward[0],
            terminated: head[8] != 0,
            truncated: head[9] != 0,
            success: head.get(10).map(|said| *said != 0),
        })
    }

    /// A program that has gone needs no farewell.
    pub(super) fn close(&mut self, number: u32) {
        let _ = self.send(b'C', number, &[]);
    }

    fn send(&mut self, request: u8, number: u32, rest: &[u8]) -> std::io::Result<()> {
        self.requests.write_all(&[&[request], &number.to_le_bytes()[..], rest].concat())
    }

    /// Sends a request and reads how its answer begins.
    fn ask(&mut self, request: u8, number: u32, rest: &[u8]) -> Result<(), EnvError> {
        if self.send(request, number, rest).is_err() {
            return Err(self.gone());
        }
        self.read(1)?;
        match self.buffer[0] {
            0 => Ok(()),
            1 => {
                self.read(4)?;
                let length = u32::from_le_bytes(self.buffer[..4].try_into().expect("invariant: 4 bytes"));
                self.read(length.min(LONGEST) as usize)?;
                Err(failed(&self.id, String::from_utf8_lossy(&self.buffer).into_owned()))
            }
            other => {
                Err(failed(&self.id, format!("expected an answer that begins with 0 or 1, got {other}")))
            }
        }
    }

    fn read(&mut self, bytes: usize) -> Result<(), EnvError> {
        self.buffer.resize(bytes, 0);
        match self.answers.read_exact(&mut self.buffer) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.gone()),
        }
    }

    /// Says how a program ended that does not answer.
    fn gone(&mut self) -> EnvError {
        let how = match self.process.wait() {
            Ok(status) => format!("its program ended ({status})"),
            Err(e) => format!("its program does not answer ({e})"),
        };
        let mut said = Vec::new();
        let read = self.said.seek(SeekFrom::Start(0)).and_then(|_| self.said.read_to_end(&mut said));
        match read {
            Ok(1..) => failed(&self.id, format!("{how}: {}", last_line(&said))),
            _ => failed(&self.id, how),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn numbers(bytes: &[u8], to: &mut [f64]) {
    for (x, bytes) in to.iter_mut().zip(bytes.chunks_exact(8)) {
        *x = f64::from_le_bytes(bytes.try_into().expect("invariant: 8 bytes"));
    }
}
