//! What processes of a study share: arrays that one of them makes and all read.
//!
//! A shelf is a folder. Its files are named by what decides their content, appear whole, and are never written again; so
//! whoever finds one uses it, and the folder may be deleted whenever nobody works on the study. A file, its numbers in the
//! byte order of the machine:
//!
//! | bytes | what |
//! |---|---|
//! | 4 n | floats |
//! | t | a text on what they are |
//! | 8 | `MAGIC`, which is another one in another byte order |
//! | 8, 8 | n, t |
//! | 8 | checksum of the floats, the text and the file's name |
//!
//! Floats come first so that they can be mapped: on Linux their pages are one copy for all processes of a machine, until
//! a process writes one ([`Buffer::mapped`]); elsewhere every process reads them into memory of its own.
//!
//! A file that is damaged is made anew. Who finds none makes it, under the temporary name and the lock of
//! [`atomic`](crate::checkpoint::atomic), and who finds that somebody is making it waits; what a killed process leaves is
//! removed by the next one. What goes wrong with files costs memory and time, is said, and ends no run.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
#[cfg(target_os = "linux")]
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baq_datasets::Source;
use baq_kernels::Buffer;
use baq_kernels::digest::join;

use super::error::TrainError;
use crate::checkpoint::atomic::{Draft, create_directories, sweep};

/// Which files these are, and of which format.
const MAGIC: u64 = u64::from_be_bytes(*b"baqshlf1");
/// Bytes behind the text.
const TRAILER: usize = 32;
/// Between two looks at a file that another process is making, and how many of them.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 12_000;

/// A folder of such files, or those in it that belong to one thing.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
    /// of what they belong to
    name: String,
}

/// What is in a file.
pub struct Volume {
    /// its floats, and zeros behind them where room was asked for
    pub floats: Buffer,
    /// what they are
    pub text: String,
}

impl Shelf {
    /// The one in a folder, which is made when there is something to put there.
    pub fn new(folder: PathBuf) -> Shelf {
        Shelf { folder, name: String::new() }
    }

    /// What in it belongs to what these words name.
    pub fn of(&self, words: &str) -> Shelf {
        Shelf { folder: self.folder.clone(), name: self.named(words) }
    }

    /// A name that only these words have.
    fn named(&self, words: &str) -> String {
        let words = format!("{} {words}", self.name);
        Source::of_bytes("", words.as_bytes()).sha256[..24].to_string()
    }

    /// The volume of this kind that is named by these words, its floats in memory for at least `room`. What `make` gives, as
    /// it must for the same words, unless that is there.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn volume(
        &self,
        (kind, words): (&str, &str),
        room: usize,
        make: impl FnOnce() -> Result<Volume, TrainError>,
    ) -> Result<Volume, TrainError> {
        let path = self.folder.join(format!("{kind}-{}", self.named(words)));
        let own = |e: io::Error| {
            eprintln!("baq: note: {}: {e}; this run keeps its data to itself", path.display());
        };
        let draft = match self.look(&path, room).map_err(own) {
            Ok(Ok(volume)) => return Ok(volume),
            Ok(Err(draft)) => Some(draft),
            Err(()) => None,
        };
        let mut made = make()?;
        if let Some(draft) = draft
            && let Ok(volume) = write(draft, &path, &made).and_then(|()| read(&path, room)).map_err(own)
        {
            return Ok(volume);
        }
        if made.floats.len() < room {
            let mut roomy = Buffer::new(room);
            roomy[..made.floats.len()].copy_from_slice(&made.floats);
            made.floats = roomy;
        }
        Ok(made)
    }

    /// What is there or, where nothing is, the right to put it there.
    fn look(&self, path: &Path, room: usize) -> io::Result<Result<Volume, Draft>> {
        create_directories(&self.folder)?;
        sweep(&self.folder)?;
        let mut draft = None;
        for _ in 0..LOOKS {
            match (read(path, room), draft) {
                (Ok(volume), _) => return Ok(Ok(volume)),
                (Err(e), Some(draft)) => {
                    if e.kind() != ErrorKind::NotFound {
                        eprintln!("baq: note: {}: {e}; it is made anew", path.display());
                    }
                    return Ok(Err(draft));
                }
                (Err(_), None) => {}
            }
            draft = match Draft::of(path) {
                // Before it could be begun another process may have finished it.
                Ok(draft) => Some(draft),
                Err(e) if e.kind() == ErrorKind::ResourceBusy => {
                    std::thread::sleep(LOOK);
                    None
                }
                Err(e) => return Err(e),
            };
        }
        Err(io::Error::new(ErrorKind::TimedOut, "another process has been making it for very long"))
    }
}

fn checksum(floats: &[f32], text: &str, path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let words = [text.as_bytes(), name].concat();
    let of_floats = (baq_kernels::active().digest)(floats).checksum;
    words.iter().fold(of_floats, |sum, byte| join(sum, u64::from(*byte)))
}

fn write(mut draft: Draft, path: &Path, volume: &Volume) -> io::Result<()> {
    let Volume { floats, text } = volume;
    let file = draft.file();
    let mut bytes = Vec::new();
    for some in floats.chunks(1 << 16) {
        bytes.clear();
        some.iter().for_each(|x| bytes.extend_from_slice(&x.to_ne_bytes()));
        file.write_all(&bytes)?;
    }
    bytes.clear();
    bytes.extend_from_slice(text.as_bytes());
    for number in [MAGIC, floats.len() as u64, text.len() as u64, checksum(floats, text, path)] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    file.write_all(&bytes)?;
    if cfg!(unix) {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
    }
    draft.replace()
}

/// A whole file; an error of kind `NotFound` if there is none.
fn read(path: &Path, room: usize) -> io::Result<Volume> {
    let damaged = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_string());
    let mut file = crate::files::open(path)?;
    let end = file.metadata()?.len().checked_sub(TRAILER as u64).ok_or_else(|| damaged("cut short"))?;
    let mut trailer = [0; TRAILER];
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut trailer)?;
    let (words, _) = trailer.as_chunks();
    let [magic, n, t, sum] = [0, 1, 2, 3].map(|k: usize| u64::from_ne_bytes(words[k]));
    let length = n.checked_mul(4).and_then(|bytes| bytes.checked_add(t));
    let (Ok(n), true) = (usize::try_from(n), magic == MAGIC && length == Some(end)) else {
        return Err(damaged("expected the end of a shared file, got something else"));
    };
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(end - t))?;
    (&file).take(t).read_to_end(&mut text)?;
    let text = String::from_utf8(text).map_err(|_| damaged("not text (no valid UTF-8)"))?;
    let floats = memory(&mut file, n, room.max(n))?;
    match checksum(&floats[..n], &text, path) == sum {
        true => Ok(Volume { floats, text }),
        false => Err(damaged("not what was written (its checksum differs)")),
    }
}

/// `len` floats that begin with the `n` of a file.
fn memory(file: &mut File, n: usize, len: usize) -> io::Result<Buffer> {
    #[cfg(target_os = "linux")]
    match Buffer::mapped(file.as_fd(), n, len) {
        Ok(buffer) => return Ok(buffer),
        Err(e) => eprintln!("baq: note: data cannot be shared: {e}; this process has a copy of its own"),
    }
    let mut buffer = Buffer::new(len);
    let mut bytes = vec![0; 1 << 18];
    file.seek(SeekFrom::Start(0))?;
    for some in buffer[..n].chunks_mut(1 << 16) {
        let bytes = &mut bytes[..4 * some.len()];
        file.read_exact(bytes)?;
        some.iter_mut().zip(bytes.as_chunks().0).for_each(|(x, b)| *x = f32::from_ne_bytes(*b));
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn volume(numbers: &[f32], text: &str) -> Volume {
        let mut floats = Buffer::new(numbers.len());
        floats.copy_from_slice(numbers);
        Volume { floats, text: text.into() }
    }

    fn names(folder: &Path) -> Vec<PathBuf> {
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }

    /// Numbers over several pages, asked for with room for some more; how often they were made is counted.
    struct Asking {
        shelf: Shelf,
        numbers: Vec<f32>,
        made: Cell<u32>,
    }

    impl Asking {
        fn new(folder: PathBuf) -> Asking {
            let numbers = (0..70_001).map(|i| i as f32 - 0.25).collect();
            Asking { shelf: Shelf::new(folder), numbers, made: Cell::new(0) }
        }

        fn ask(&self) {
            let make = || {
                self.made.set(self.made.get() + 1);
                Ok(volume(&self.numbers, "a text"))
            };
            let room = self.numbers.len() + 40_000;
            let got = self.shelf.volume(("kind", "words"), room, make).unwrap();
            assert_eq!((got.floats.len(), got.text.as_str()), (room, "a text"));
            let (numbers, rest) = got.floats.split_at(self.numbers.len());
            assert!(numbers == self.numbers && rest.iter().all(|x| x.to_bits() == 0));
        }
    }

    #[test]
    fn what_is_there_is_not_made_again_unless_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let asking = Asking::new(folder.path().join("shared"));
        asking.ask();
        asking.ask();
        assert_eq!(asking.made.get(), 1);
        let path = names(&asking.shelf.folder).pop().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let end = whole.len();
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let damaged = [
            whole[..end - 1].to_vec(),
            whole[..10].to_vec(),
            Vec::new(),
            [&whole[..], &whole[end - TRAILER..]].concat(),
            flipped(0),
            flipped(200_000),
            flipped(end - TRAILER - 1),
            flipped(end - TRAILER),
            flipped(end - TRAILER + 15),
            flipped(end - 1),
        ];
        for (k, bytes) in damaged.iter().enumerate() {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            asking.ask();
            assert_eq!(asking.made.get(), 2 + k as u32);
            assert!(std::fs::read(&path).unwrap() == whole, "damage {k} is left");
        }
        // Another one's file under this name.
        let other = asking.shelf.volume(("kind", "other"), 0, || Ok(volume(&[1.0], "a text"))).unwrap();
        assert_eq!((&other.floats[..], names(&asking.shelf.folder).len()), (&[1.0][..], 2));
        let others = names(&asking.shelf.folder).into_iter().find(|name| *name != path).unwrap();
        std::fs::rename(others, &path).unwrap();
        asking.ask();
        assert!(std::fs::read(&path).unwrap() == whole);
    }

    #[test]
    fn a_killed_writer_is_forgotten_and_a_living_one_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let asking = Asking::new(folder.path().to_path_buf());
        asking.ask();
        let path = names(folder.path()).pop().unwrap();
        std::fs::remove_file(&path).unwrap();
        let temporary = folder.path().join(format!(".{}.baq-tmp", path.file_name().unwrap().display()));
        std::fs::write(&temporary, "half").unwrap();
        std::fs::write(folder.path().join(".gone.baq-tmp"), "half").unwrap();
        asking.ask();
        assert_eq!(names(folder.path()), [&*path]);
        std::fs::remove_file(&path).unwrap();
        let draft = Draft::of(&path).unwrap();
        let (shelf, numbers) = (asking.shelf.clone(), asking.numbers.clone());
        let waiting = std::thread::spawn(move || {
            let never = || Err(TrainError::Input("made a second time".into()));
            shelf.volume(("kind", "words"), 0, never).map(|got| got.floats[..] == numbers)
        });
        std::thread::sleep(3 * LOOK);
        assert!(!waiting.is_finished());
        write(draft, &path, &volume(&asking.numbers, "a text")).unwrap();
        assert!(waiting.join().unwrap().unwrap());
    }

    #[test]
    fn what_cannot_be_shared_is_made_by_everyone_and_errors_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let asking = Asking::new(folder.path().join("file"));
        asking.ask();
        asking.ask();
        assert_eq!(asking.made.get(), 2);
        let shelf = Shelf::new(folder.path().join("shared"));
        let fail = || Err(TrainError::Input("no data".into()));
        assert!(shelf.volume(("kind", "words"), 5, fail).is_err());
        assert!(names(&shelf.folder).is_empty());
    }
}
