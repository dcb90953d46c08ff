//! Archives of NumPy's in memory, and what becomes of them.

use baq_datasets::convert::{self, Converted};
use std::io::{Cursor, Write as _};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An array of NumPy's: type, shape with its parentheses, bytes.
pub type Array<'a> = (&'a str, &'a str, &'a str, Vec<u8>);

pub fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub fn npz(arrays: &[Array], compression: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (key, descr, shape, bytes) in arrays {
        zip.start_file(format!("{key}.npy"), SimpleFileOptions::default().compression_method(compression))
            .expect("entry");
        let fortran = if descr.ends_with('F') { "True" } else { "False" };
        let descr = descr.trim_end_matches('F');
        let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").expect("magic");
        zip.write_all(&(text.len() as u16).to_le_bytes()).expect("length");
        zip.write_all(text.as_bytes()).expect("header");
        zip.write_all(bytes).expect("elements");
    }
    zip.finish().expect("archive").into_inner()
}

/// Four rows, S = 2, A = 1.
pub fn small() -> Vec<Array<'static>> {
    vec![
        ("observations", "<f4", "(4, 2)", floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])),
        ("actions", "<f4", "(4, 1)", floats(&[0.5, -0.5, 1.0, -1.0])),
        ("rewards", "<f4", "(4,)", floats(&[1.0, 2.0, 3.0, 4.0])),
        ("terminals", "|b1", "(4,)", vec![0, 1, 0, 0]),
    ]
}

pub fn with<'a>(mut arrays: Vec<Array<'a>>, array: Array<'a>) -> Vec<Array<'a>> {
    arrays.retain(|a| a.0 != array.0);
    arrays.push(array);
    arrays
}

pub fn without(mut arrays: Vec<Array<'static>>, key: &str) -> Vec<Array<'static>> {
    arrays.retain(|a| a.0 != key);
    arrays
}

/// A file in a folder of its own, converted.
pub fn converted(name: &str, bytes: &[u8], options: &convert::Options) -> baq_datasets::Result<Converted> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("write");
    convert::read(&path, options)
}
