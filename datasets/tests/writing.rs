//! What is written is what is read, by every backend, and appears whole or not at all.

mod common;

use baq_datasets::backend::Backend;
use baq_datasets::{Columns, Mode, Options, Source, d4rl, synthetic, write};
use ndarray::Array1;
use std::path::Path;

fn sample() -> Columns {
    // More rows than one chunk holds.
    let mut columns = synthetic::point(3, 5000, 4, 3);
    columns.action_log_probs = Some((0..5000).map(|i| i as f32 / 8.0).collect::<Array1<f32>>());
    columns
}

fn options() -> write::Options {
    write::Options { algorithm: Some("tqc".into()), ..write::Options::default() }
}

fn round_trip<B: Backend>() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("out.hdf5");
    let columns = sample();
    write::d4rl(&path, &columns, &options()).expect("written");
    let rec = d4rl::read_with::<B>(&path, false).expect("our own file");
    assert_eq!(rec.algorithm.as_deref(), Some("tqc"));
    let mode = Mode::NextObservations;
    let keep = Options { mode, keep_timeout_transitions: true, ..Options::default() };
    let mut back = rec.into_columns(&keep).expect("rows");
    back.source = columns.source.clone();
    assert_eq!(back, columns);
}

#[test]
fn columns_survive_the_round_trip() {
    every_backend!(round_trip);
}

#[test]
fn the_same_columns_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (a, b) = (folder.path().join("a.hdf5"), folder.path().join("b.hdf5"));
    write::d4rl(&a, &sample(), &options()).expect("written");
    write::d4rl(&b, &sample(), &options()).expect("written");
    assert_eq!(std::fs::read(a).expect("a"), std::fs::read(b).expect("b"));
}

#[test]
fn nothing_is_overwritten_or_left_behind() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("out.hdf5");
    std::fs::write(&path, "precious").expect("write");
    let error = write::d4rl(&path, &sample(), &options()).expect_err("in use");
    assert!(error.to_string().contains("expected a path that is free"), "{error}");
    assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
    write::d4rl(&path, &sample(), &write::Options { overwrite: true, ..options() }).expect("allowed");
    assert!(d4rl::read(&path, false).is_ok());
    let absent = folder.path().join("no/such/folder/out.hdf5");
    assert!(write::d4rl(&absent, &sample(), &options()).is_err());
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("folder").filter_map(|e| Some(e.ok()?.file_name())).collect();
    assert_eq!(names, ["out.hdf5"], "no temporary file stays");
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let target = Path::new("/nonexistent/never.hdf5");
    let refuse = |change: &dyn Fn(&mut Columns), pieces: &[&str]| {
        let mut columns = sample();
        change(&mut columns);
        let text = write::d4rl(target, &columns, &options()).expect_err("refused").to_string();
        assert!(pieces.iter().all(|p| text.contains(p)), "{text}");
    };
    refuse(&|c| c.actions[[3, 1]] = 1.5, &["`actions`", "[-1, 1]", "1.5"]);
    refuse(&|c| c.rewards[3] = f32::NAN, &["`rewards`", "finite", "NaN"]);
    refuse(&|c| c.endings.truncate(10), &["`endings`", "5000 rows", "got 10"]);
    refuse(
        &|c| {
            *c = synthetic::point(0, 0, 2, 1);
            c.source = Source::in_memory("<none>");
        },
        &["`rewards`", "at least 1"],
    );
}
