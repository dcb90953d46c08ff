//! Every combination of file format, chunks, filters and limits that `fixtures/make_fixtures.py zoo DIR` wrote, where
//! `BAQ_HDF5_ZOO` names DIR: some 600 files, too many to be kept here.

mod common;

use baq_datasets::backend::Backend;
use baq_datasets::d4rl;
use common::check_formulas;
use std::path::PathBuf;

fn all_are_read<B: Backend>() {
    let folder = std::env::var_os("BAQ_HDF5_ZOO").expect("BAQ_HDF5_ZOO names the folder of the zoo");
    let files = std::fs::read_dir(folder).expect("the folder of the zoo");
    let mut files: Vec<PathBuf> = files.map(|f| f.expect("an entry").path()).collect();
    files.sort();
    let mut failures = Vec::new();
    for path in &files {
        match d4rl::read_with::<B>(path, false) {
            Ok(recording) => check_formulas(&path.display().to_string(), &recording),
            Err(error) => failures.push(error.to_string()),
        }
    }
    println!("{} files with {}", files.len(), B::NAME);
    assert!(files.len() > 500, "{} files", files.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), files.len(), failures.join("\n"));
}

#[test]
#[ignore = "needs the folder that BAQ_HDF5_ZOO names"]
fn the_zoo_is_read() {
    every_backend!(all_are_read);
}
