//! A ledger that grows.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::{Change, Closing, Header, LINK, Ledger, Link, MAGIC, Mark, Note, Scribe, Sink, link, root};
use crate::audit::Error;
use crate::autodiff::Flow;
use crate::checkpoint::atomic::write_atomic;

/// Bytes that wait for the disk.
const WAITING: usize = 1 << 16;

/// Appends records to a file.
pub struct Writer {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
    mark: Mark,
    failed: Option<Error>,
}

/// The two lines of text.
pub fn text(header: &Header) -> Vec<u8> {
    let json = serde_json::to_string(header).expect("invariant: strings and numbers are JSON");
    format!("{MAGIC}{json}\n").into_bytes()
}

impl Scribe<Writer> {
    /// A new ledger, in the place of an old one. Errors: the file cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Scribe<Writer>, Error> {
        let text = text(header);
        let create = || -> io::Result<File> {
            write_atomic(path, &text)?;
            OpenOptions::new().append(true).open(path)
        };
        let file = create().map_err(Error::io(path, "write the file"))?;
        let mark = Mark { records: 0, bytes: text.len() as u64, chain: root(&text) };
        Ok(Scribe::new(Writer::new(path, file, mark), Vec::new()))
    }

    /// The ledger of an interrupted run, cut back to the checkpoint's mark (to nothing without one). Its header must be
    /// this one, and every link up to the mark must hold. Errors: either fails; the file is no ledger, ends before the
    /// mark, or cannot be read or written.
    pub fn resume(path: &Path, header: &Header, mark: Option<Mark>) -> Result<Scribe<Writer>, Error> {
        let Some(mark) = mark else { return Scribe::create(path, header) };
        let ledger = Ledger::read(path)?;
        ledger.check_header(header)?;
        let phases = ledger.up_to(&mark)?;
        drop(ledger);
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.set_len(mark.bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(Error::io(path, "cut back the file"))?;
        Ok(Scribe::new(Writer::new(path, file, mark), phases))
    }
}

impl Writer {
    fn new(path: &Path, file: File, mark: Mark) -> Writer {
        Writer { path: path.into(), file, waiting: Vec::with_capacity(WAITING), mark, failed: None }
    }

    fn write(&mut self) -> Result<(), Error> {
        self.file.write_all(&self.waiting).map_err(Error::io(&self.path, "write the file"))?;
        self.waiting.clear();
        Ok(())
    }

    /// The updates that follow are simulated with another release. Errors: what waits cannot be written to the file.
    pub fn change(&mut self, change: Change) -> Result<(), Error> {
        self.note(&Note::Change(change))
    }

    /// Ends the ledger. Errors: what waits cannot be written to the file.
    pub fn close(&mut self, closing: Closing) -> Result<(), Error> {
        self.note(&Note::Closing(closing))?;
        self.flush().map(|_| ())
    }

    fn note(&mut self, note: &Note) -> Result<(), Error> {
        let mut body = 0u32.to_le_bytes().to_vec();
        serde_json::to_writer(&mut body, note).expect("invariant: strings and numbers are JSON");
        match self.take(&body) {
            Flow::Continue => Ok(()),
            Flow::Stop => Err(self.failed.take().expect("invariant: it says why it stops")),
        }
    }

    fn fail(&mut self, error: Error) -> Flow {
        self.failed = Some(error);
        Flow::Stop
    }
}

impl Sink for Writer {
    fn take(&mut self, body: &[u8]) -> Flow {
        let chain: Link = link(&self.mark.chain, body);
        let size = 4 + body.len() + LINK;
        if self.waiting.len() + size > WAITING
            && let Err(error) = self.write()
        {
            return self.fail(error);
        }
        self.waiting.extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.waiting.extend_from_slice(body);
        self.waiting.extend_from_slice(&chain);
        self.mark = Mark { records: self.mark.records + 1, bytes: self.mark.bytes + size as u64, chain };
        Flow::Continue
    }

    fn refuse(&mut self, phase: &str) -> Flow {
        let what = format!(
            "the {phase} phase of this run computes something else than this program does; \
             resume it with the version that began it"
        );
        self.fail(Error::Ledger { path: self.path.clone(), what })
    }

    fn flush(&mut self) -> Result<Mark, Error> {
        self.write()?;
        self.file.sync_data().map_err(Error::io(&self.path, "write the file"))?;
        Ok(self.mark)
    }

    fn reason(&mut self) -> Option<Error> {
        self.failed.take()
    }
}

impl Drop for Writer {
    /// A run that ends with an error leaves its last records behind, for whoever looks for the cause.
    fn drop(&mut self) {
        let _ = self.write();
    }
}
