//! What is written is what is read, by every backend.

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

/// The bytes of a file.
fn encoded(columns: &Columns) -> Vec<u8> {
    let mut bytes = Vec::<u8>::new();
    write::encode(Path::new("out.hdf5"), columns, &options(), &mut bytes).expect("written");
    bytes
}

fn round_trip<B: Backend>() {
    let columns = sample();
    let rec = d4rl::read_bytes_with::<B>("out.hdf5", &encoded(&columns), false).expect("our own file");
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
    assert!(encoded(&sample()) == encoded(&sample()));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let refuse = |change: &dyn Fn(&mut Columns), pieces: &[&str]| {
        let mut columns = sample();
        change(&mut columns);
        let mut bytes = Vec::<u8>::new();
        let written = write::encode(Path::new("never.hdf5"), &columns, &options(), &mut bytes);
        let text = written.expect_err("refused").to_string();
        assert!(bytes.is_empty() && pieces.iter().all(|p| text.contains(p)), "{text}");
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
