//! The program at the other end of the pipe.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::process::{ChildStdin, Command};

use super::hello::{self, Sizes, shortened};
use super::running::Running;
use crate::env::mujoco::command::last_line;
use crate::env::{EnvError, Step};

/// Longest text of an error, and most of the end of what stands on standard error; 256 in the other order of bytes is more.
const LONGEST: u32 = (1 << 16) - 1;

/// Most that stands on standard error when an episode begins.
const KEPT: u64 = 1 << 20;

/// A running program.
pub(super) struct Child {
    id: String,
    /// until it is found to have gone
    requests: Option<ChildStdin>,
    answers: BufReader<Running>,
    /// why it is asked nothing any more
    ended: Option<EnvError>,
    /// what it writes on standard error
    said: File,
    /// bytes at its beginning that were given back
    dropped: u64,
    pub(super) sizes: Sizes,
    numbers: u32,
    buffer: Vec<u8>,
}

/// Python with the script for a task of Gymnasium.
pub(super) fn gymnasium(task: &str) -> Command {
    let python = std::env::var_os("BAQ_PYTHON").filter(|python| !python.is_empty());
    let python = python.unwrap_or_else(|| "python3".into());
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
        command.stderr(said.try_clone().map_err(cannot)?);
        let (running, requests) = Running::start(&mut command).map_err(cannot)?;
        let mut child = Child {
            id: id.into(),
            requests: Some(requests),
            answers: BufReader::new(running),
            ended: None,
            said,
            dropped: 0,
            sizes: Sizes::default(),
            numbers: 0,
            buffer: Vec::new(),
        };
        child.sizes = child.hello()?;
        Ok(child)
    }

    fn hello(&mut self) -> Result<Sizes, EnvError> {
        let mut line = Vec::new();
        let read = (&mut self.answers).take(hello::LONGEST as u64 + 1).read_until(b'\n', &mut line);
        if read.is_err() || line.is_empty() {
            return Err(self.gone());
        }
        Sizes::of(&line).map_err(|problem| failed(&self.id, problem))
    }

    /// A number that no environment has yet.
    pub(super) fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers - 1
    }

    pub(super) fn reset(&mut self, number: u32, seed: u64, obs: &mut [f64]) -> Result<(), EnvError> {
        self.drop_old_words();
        self.ask(b'R', number, &seed.to_le_bytes())?;
        self.read(8 * obs.len())?;
        numbers(&self.buffer, obs);
        self.settled()
    }

    pub(super) fn step(&mut self, number: u32, action: &[f32], obs: &mut [f64]) -> Result<Step, EnvError> {
        let bytes: Vec<u8> = action.iter().flat_map(|a| a.to_le_bytes()).collect();
        let flags = if self.sizes.success { 3 } else { 2 };
        self.ask(b'S', number, &bytes)?;
        self.read(8 + flags + 8 * obs.len())?;
        self.settled()?;
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
        match &mut self.requests {
            Some(requests) => requests.write_all(&[&[request], &number.to_le_bytes()[..], rest].concat()),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    /// Sends a request and reads how its answer begins.
    fn ask(&mut self, request: u8, number: u32, rest: &[u8]) -> Result<(), EnvError> {
        if let Some(e) = &self.ended {
            return Err(e.clone());
        }
        // What came late.
        self.settled()?;
        if self.send(request, number, rest).is_err() {
            return Err(self.gone());
        }
        self.read(1)?;
        match self.buffer[0] {
            0 => Ok(()),
            1 => {
                self.read(4)?;
                let length = u32::from_le_bytes(self.buffer[..4].try_into().expect("invariant: 4 bytes"));
                if length > LONGEST {
                    return Err(self.out_of_step(format!(
                        "expected the text of an error of at most {LONGEST} bytes, got {length}; numbers are little-endian"
                    )));
                }
                self.read(length as usize)?;
                Err(failed(
                    &self.id,
                    match length {
                        0 => "an error without a text".into(),
                        _ => shortened(&String::from_utf8_lossy(&self.buffer)),
                    },
                ))
            }
            other => {
                Err(self.out_of_step(format!("expected an answer that begins with 0 or 1, got {other}")))
            }
        }
    }

    /// An error if there is more to read than its answers.
    fn settled(&mut self) -> Result<(), EnvError> {
        match self.answers.buffer().len() as u64 + self.answers.get_ref().unread() {
            0 => Ok(()),
            more => Err(self.out_of_step(format!(
                "expected nothing beyond its answers, got {more} bytes; are `observation` and `success` those of its first line, and does it print nothing?"
            ))),
        }
    }

    fn read(&mut self, bytes: usize) -> Result<(), EnvError> {
        self.buffer.resize(bytes, 0);
        match self.answers.read_exact(&mut self.buffer) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.gone()),
        }
    }

    /// Empties the file of what a program writes on standard error, if that has become long. It writes on where it was:
    /// before that the file has a hole, which takes no room.
    fn drop_old_words(&mut self) {
        let length = self.said.metadata().map_or(0, |m| m.len());
        if length > self.dropped + KEPT && self.said.set_len(0).is_ok() {
            self.dropped = length;
        }
    }

    /// Ends a program of whose bytes nobody can tell which answer they belong to.
    fn out_of_step(&mut self, problem: String) -> EnvError {
        self.requests = None;
        let _ = self.answers.get_mut().end();
        self.over(problem)
    }

    /// Says how a program ended that does not answer; it has ended then.
    fn gone(&mut self) -> EnvError {
        self.requests = None;
        let how = match self.answers.get_mut().farewell() {
            Ok(Some(status)) => format!("its program ended ({status})"),
            Ok(None) => "expected an answer, its program gave none and did not end; it was ended".to_string(),
            Err(e) => format!("its program does not answer ({e})"),
        };
        let mut said = Vec::new();
        let from = self.said.metadata().map_or(0, |m| m.len()).saturating_sub(u64::from(LONGEST));
        let read = self.said.seek(SeekFrom::Start(from)).and_then(|_| self.said.read_to_end(&mut said));
        // The hole.
        said.retain(|byte| *byte != 0);
        match read.map(|_| said.len()) {
            Ok(1..) => self.over(format!("{how}: {}", shortened(&last_line(&said)))),
            _ => self.over(how),
        }
    }

    /// From now on every request gets this answer.
    fn over(&mut self, problem: String) -> EnvError {
        self.ended.insert(failed(&self.id, problem)).clone()
    }
}

impl Drop for Child {
    /// The end of its input is its farewell.
    fn drop(&mut self) {
        if self.requests.take().is_some() {
            let _ = self.answers.get_mut().farewell();
        }
    }
}

fn numbers(bytes: &[u8], to: &mut [f64]) {
    for (x, bytes) in to.iter_mut().zip(bytes.chunks_exact(8)) {
        *x = f64::from_le_bytes(bytes.try_into().expect("invariant: 8 bytes"));
    }
}
