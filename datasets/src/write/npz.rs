//! NumPy's archive (`.npz`), not compressed, and a recording as one: flags are of type bool, numbers float32.

use super::{Rows, bounds};
use crate::recording::Recording;
use std::io::{Cursor, Result, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Longest array that an entry of the plain zip format holds.
const PLAIN: usize = u32::MAX as usize - (1 << 16);

pub(super) fn write(recording: &Recording, mut out: impl Write) -> Result<()> {
    // In memory, where nothing fails: a writer of archives that is dropped after an error tries once more, and says so.
    let mut npz = Npz::default();
    let rows = Rows::of_recording(recording);
    for (key, array) in &rows.matrices {
        npz.floats(key, &[array.nrows(), array.ncols()], array.iter())?;
    }
    npz.floats("rewards", &[rows.rewards.len()], rows.rewards.iter())?;
    for (key, flags) in &rows.flags {
        let bytes: Vec<u8> = flags.iter().map(|flag| u8::from(*flag)).collect();
        npz.array(key, "|b1", &[flags.len()], &bytes)?;
    }
    if let Some(log_probs) = rows.action_log_probs {
        npz.floats("infos/action_log_probs", &[log_probs.len()], log_probs.iter())?;
    }
    if let Some(name) = recording.algorithm.as_deref().filter(|name| !name.is_empty()) {
        npz.array("metadata/algorithm", &format!("|S{}", name.len()), &[], name.as_bytes())?;
    }
    for (key, values) in recording.action_bounds.iter().flat_map(bounds) {
        npz.floats(key, &[values.len()], values.iter())?;
    }
    out.write_all(&npz.finish()?)
}

/// An archive that is being written.
pub struct Npz(ZipWriter<Cursor<Vec<u8>>>);

impl Default for Npz {
    fn default() -> Npz {
        Npz(ZipWriter::new(Cursor::new(Vec::new())))
    }
}

impl Npz {
    /// The bytes of the file.
    ///
    /// # Errors
    /// More than an archive holds.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.0.finish()?.into_inner())
    }

    /// An array of float32 of this shape, row after row.
    ///
    /// # Errors
    /// A key that is there already; more than an archive holds.
    pub fn floats<'a>(
        &mut self,
        key: &str,
        shape: &[usize],
        values: impl Iterator<Item = &'a f32>,
    ) -> Result<()> {
        let bytes: Vec<u8> = values.flat_map(|v| v.to_le_bytes()).collect();
        self.array(key, "<f4", shape, &bytes)
    }

    /// An array whose elements are these bytes, of the type that NumPy calls `descr`, as `<i8`: one entry, the header of format 1.0,
    /// padded so that the elements begin at a multiple of 64, and the elements.
    ///
    /// # Errors
    /// As [`floats`](Npz::floats).
    pub fn array(&mut self, key: &str, descr: &str, shape: &[usize], bytes: &[u8]) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() > PLAIN);
        self.0.start_file(format!("{key}.npy"), options)?;
        let extents: String = shape.iter().map(|n| format!("{n}, ")).collect();
        let extents = if shape.len() > 1 { extents.trim_end_matches(", ") } else { extents.trim_end() };
        let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
        while (10 + text.len() + 1) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let length = u16::try_from(text.len()).map_err(std::io::Error::other)?;
        self.0.write_all(b"\x93NUMPY\x01\x00")?;
        self.0.write_all(&length.to_le_bytes())?;
        self.0.write_all(text.as_bytes())?;
        self.0.write_all(bytes)
    }
}
