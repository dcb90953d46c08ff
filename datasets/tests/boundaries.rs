//! Where one episode ends and the next begins: flags, seams, the structure of a file, time limits.

mod common;

use baq_datasets::backend::Backend;
use baq_datasets::{
    Columns, Ending, Mode, Options, Recording, Source, TimeLimit, d4rl, episodes, minari, returns,
};
use common::{fixture, s, s2};
use ndarray::{Array1, Array2};

const MODES: [Mode; 3] = [Mode::Episodes, Mode::NextObservations, Mode::D4rl];

fn in_mode(mode: Mode) -> Options {
    Options { mode, ..Options::default() }
}

/// Episodes of the given lengths and ends (`T`, `L`imit, `-`), recorded with the true next states. Component 0 is
/// 100 k + t / 128, so that a transition inside an episode has a step of 1 / 128.
fn recording(parts: &[(usize, char)]) -> Recording {
    let rows: Vec<(usize, usize, bool, char)> = parts
        .iter()
        .enumerate()
        .flat_map(|(k, &(len, end))| (0..len).map(move |t| (k, t, t + 1 == len, end)))
        .collect();
    let n = rows.len();
    let state = |k: usize, t: usize| 100.0 * k as f32 + t as f32 / 128.0;
    let flags = |which| rows.iter().map(|r| r.2 && r.3 == which).collect::<Vec<bool>>();
    Recording {
        observations: Array2::from_shape_fn((n, 1), |(i, _)| state(rows[i].0, rows[i].1)),
        actions: Array2::zeros((n, 1)),
        rewards: Array1::from_shape_fn(n, |i| 1.0 + rows[i].0 as f32 / 8.0),
        next_observations: Some(Array2::from_shape_fn((n, 1), |(i, _)| state(rows[i].0, rows[i].1 + 1))),
        terminals: flags('T'),
        timeouts: Some(flags('L')),
        group_ends: None,
        action_log_probs: None,
        algorithm: None,
        env: None,
        action_bounds: None,
        action_space: None,
        notes: Vec::new(),
        source: Source::in_memory("<test>"),
    }
}

/// Rows with m = 1 whose s' is not one step on.
fn crossing(columns: &Columns) -> usize {
    let step = |i: usize| columns.next_observations[[i, 0]] - columns.observations[[i, 0]];
    let masks = columns.masks();
    (0..columns.len()).filter(|i| masks[*i] == 1.0 && (step(*i) - 1.0 / 128.0).abs() > 1e-4).count()
}

fn lengths(columns: &Columns) -> Vec<usize> {
    episodes::of(columns).iter().map(|e| e.len()).collect()
}

#[test]
fn unflagged_seams_are_crossed_in_d4rl_mode_alone() {
    let rec = recording(&[(4, '-'), (5, 'L'), (1, '-'), (6, '-'), (3, 'T'), (2, '-')]);
    assert_eq!((rec.seams(TimeLimit::Unknown), rec.crossed_by_d4rl(TimeLimit::Unknown)), (3, 3));
    let columns = |mode| rec.clone().into_columns(&in_mode(mode)).expect("rows");
    assert_eq!(lengths(&columns(Mode::Episodes)), [4, 4, 1, 6, 3, 1]);
    assert_eq!(lengths(&columns(Mode::NextObservations)), [4, 4, 1, 6, 3, 1]);
    assert_eq!(MODES.map(|mode| crossing(&columns(mode))), [0, 0, 3]);
    assert_eq!(lengths(&columns(Mode::D4rl)), [8, 10, 1]);
    // The seam's own row stays, with the state that was recorded.
    let default = columns(Mode::Episodes);
    assert_eq!((default.next_observations[[3, 0]], default.endings[3]), (4.0 / 128.0, Ending::Truncated));
    assert_eq!(returns::returns_to_go(&default, 1.0)[9], 6.0 * 1.375);
}

#[test]
fn without_seams_the_default_is_d4rl_to_the_bit() {
    let ends = [(7, 'T'), (5, 'L'), (1, 'T'), (1, 'L'), (6, 'T'), (3, '-')];
    for parts in [&ends[..], &ends[..5], &ends[1..4], &ends[3..]] {
        let rec = recording(parts);
        let columns = |mode| rec.clone().into_columns(&in_mode(mode)).expect("rows");
        assert_eq!(columns(Mode::Episodes), columns(Mode::D4rl), "{parts:?}");
        assert_eq!((rec.seams(TimeLimit::Unknown), rec.crossed_by_d4rl(TimeLimit::Unknown)), (0, 0));
        let mut bare = rec.clone();
        bare.next_observations = None;
        for mode in MODES {
            let same = bare.clone().into_columns(&in_mode(mode)).expect("rows");
            assert_eq!(same, columns(Mode::D4rl), "{mode:?} {parts:?}");
        }
    }
}

#[test]
fn seams_at_the_first_and_last_row_and_in_every_row() {
    let first = recording(&[(1, '-'), (3, '-')]).into_columns(&Options::default()).expect("rows");
    assert_eq!((lengths(&first), crossing(&first)), (vec![1, 2], 0));
    let last = recording(&[(3, '-'), (1, '-')]).into_columns(&Options::default()).expect("rows");
    assert_eq!((lengths(&last), last.endings[2]), (vec![3], Ending::Truncated));
    // Shuffled rows: every one is a seam, and every transition is right.
    let all = recording(&[(1, '-'); 5]);
    assert_eq!(all.seams(TimeLimit::Unknown), 4);
    let columns = all.into_columns(&Options::default()).expect("rows");
    assert_eq!((columns.len(), crossing(&columns)), (4, 0));
    let rec = recording(&[(2, 'T'); 3]);
    assert_eq!((rec.seams(TimeLimit::Unknown), rec.episodes(TimeLimit::Unknown).len()), (0, 3));
    // Signed zero and a difference below rounding are no seams; the next row is s'.
    let mut rec = recording(&[(4, '-')]);
    rec.observations[[1, 0]] = -0.0;
    rec.next_observations.as_mut().expect("recorded")[[0, 0]] = 1e-8;
    assert_eq!(rec.seams(TimeLimit::Unknown), 0);
    let columns = rec.into_columns(&Options::default()).expect("rows");
    assert_eq!(columns.next_observations[[0, 0]].to_bits(), (-0.0f32).to_bits());
}

#[test]
fn a_row_with_both_flags_and_rows_that_all_end() {
    let mut rec = recording(&[(3, 'T'), (3, 'T')]);
    rec.timeouts.as_mut().expect("flags")[2] = true;
    let columns = rec.into_columns(&Options::default()).expect("rows");
    assert_eq!((columns.len(), columns.endings[1]), (4, Ending::Truncated));
    let columns = recording(&[(1, 'T'); 4]).into_columns(&Options::default()).expect("rows");
    assert_eq!(columns.masks().sum(), 0.0);
    let text = recording(&[(1, 'L'); 4]).into_columns(&Options::default()).expect_err("none").to_string();
    assert!(text.contains("got none from 4 rows"), "{text}");
}

/// A limit that is counted ends nothing that ends of itself.
#[test]
fn a_failure_where_the_count_ends_is_one() {
    let mut rec = recording(&[(20, 'T'), (20, 'T'), (20, '-')]);
    rec.timeouts = None;
    let limit = TimeLimit::Asked(20);
    let columns =
        rec.clone().into_columns(&Options { time_limit: limit, ..Options::default() }).expect("rows");
    assert_eq!((lengths(&columns), columns.masks().sum()), (vec![20, 20, 19], 57.0));
    assert_eq!(rec.episodes(limit).len(), 3);
}

#[test]
fn a_file_without_timeouts_reads_as_if_the_limit_had_been_flagged() {
    let parts = [(1000, 'L'), (400, 'T'), (1000, 'L'), (1000, 'L'), (70, '-')];
    let flagged = recording(&parts);
    for mode in [Mode::Episodes, Mode::NextObservations] {
        let expected = flagged.clone().into_columns(&in_mode(mode)).expect("rows");
        for with_next in [true, false] {
            let mut bare = flagged.clone();
            bare.timeouts = None;
            bare.next_observations = bare.next_observations.filter(|_| with_next);
            let options = Options { time_limit: TimeLimit::OfTask(1000), ..in_mode(mode) };
            let got = bare.into_columns(&options).expect("rows");
            if with_next || mode == Mode::Episodes {
                assert_eq!(got, expected, "{mode:?} {with_next}");
            }
            assert_eq!(got.endings, expected.endings);
        }
    }
    // D4RL itself counts on from 1 after a terminal, misses the limit by a row and crosses it.
    let mut bare = flagged.clone();
    bare.timeouts = None;
    let limit = TimeLimit::OfTask(1000);
    let keep = bare.qlearning_rows(limit);
    assert_eq!((0..3470).filter(|i| !keep[*i]).collect::<Vec<_>>(), [999, 2398, 3398, 3469]);
    assert_eq!(bare.crossed_by_d4rl(limit), 2);
    assert_eq!(bare.seams(limit), 0);
    // The task's limit is for files without flags, one that was asked for is for all.
    assert_eq!(flagged.episodes(TimeLimit::OfTask(10)).len(), 5);
    assert_eq!(flagged.episodes(TimeLimit::Asked(500)).len(), 2 + 1 + 2 + 2 + 1);
    assert_eq!(bare.episodes(TimeLimit::Unknown).len(), 5, "next observations tell");
    bare.next_observations = None;
    assert_eq!(bare.episodes(TimeLimit::Unknown).len(), 2, "only the terminal tells");
}

fn minari_ends<B: Backend>() {
    let rec = minari::read_with::<B>(&fixture("minari/hopper/cut-v0"), false).expect("good fixture");
    assert_eq!(rec.episodes(TimeLimit::Unknown).len(), 4);
    assert!(rec.episodes(TimeLimit::Unknown).iter().all(|e| e.is_complete() && e.len() == 12));
    assert_eq!((rec.seams(TimeLimit::Unknown), rec.crossed_by_d4rl(TimeLimit::Unknown)), (1, 0));
    for mode in MODES {
        let columns = rec.clone().into_columns(&in_mode(mode)).expect("rows");
        // One row at the truncation and the last one of the file are dropped.
        assert_eq!(lengths(&columns), [12, 11, 12, 11], "{mode:?}");
        for i in 0..columns.len() {
            let step = columns.next_observations[[i, 0]] - columns.observations[[i, 0]];
            assert!((step - 0.01).abs() < 1e-3, "{mode:?}: row {i} moves by {step}");
        }
        assert_eq!(columns.masks().iter().filter(|m| **m == 0.0).count(), 1);
    }
}

#[test]
fn minari_episodes_are_never_crossed_whatever_the_flags_say() {
    every_backend!(minari_ends);
}

fn unused<B: Backend>() {
    let plain = d4rl::read_with::<B>(&fixture("plain.hdf5"), false).expect("good fixture");
    for (name, why) in [("inf", "got -inf in row 7"), ("wide", "got (60, 3)"), ("text", "type string")] {
        let path = fixture(&format!("odd-log-probs-{name}.hdf5"));
        let mut rec = d4rl::read_with::<B>(&path, false).unwrap_or_else(|e| panic!("{name}: {e}"));
        let note = rec.notes.pop().expect("a note");
        assert!(rec.notes.is_empty() && note.contains(why), "{note}");
        assert!(note.starts_with("left out") && note.contains("`infos/action_log_probs`"), "{note}");
        rec.source = plain.source.clone();
        assert_eq!(rec, plain);
    }
}

#[test]
fn unused_log_probs_block_no_file() {
    every_backend!(unused);
}

#[test]
fn unknown_next_states_are_no_harm_where_nobody_needs_them() {
    let read = |name: &str, mode| baq_datasets::read(&fixture(name), &in_mode(mode));
    let plain = read("plain.hdf5", Mode::Episodes).expect("good fixture");
    for mode in [Mode::Episodes, Mode::D4rl] {
        let columns = read("odd-next-unknown.hdf5", mode).expect("all are at ends");
        assert_eq!(columns.next_observations, plain.next_observations);
    }
    // This mode bootstraps nothing from the terminal, but it would hand the NaN to the networks.
    let text = read("odd-next-unknown.hdf5", Mode::NextObservations).expect_err("row 19").to_string();
    assert!(text.contains("`next_observations`") && text.contains("NaN in row 19"), "{text}");
    for mode in [Mode::Episodes, Mode::NextObservations] {
        let text = read("odd-next-nan.hdf5", mode).expect_err("row 30").to_string();
        assert!(text.contains("`next_observations`") && text.contains("NaN in row 30 (3 such"), "{text}");
    }
    let columns = read("odd-next-nan.hdf5", Mode::D4rl).expect("the column is not used");
    assert_eq!(columns.next_observations[[30, 1]], s(31, 1));
    assert_ne!(s(20, 1), s2(19, 1), "the fixture tells the two apart");
}

fn attributes<B: Backend>() {
    let old =
        minari::read_with::<B>(&fixture("minari/toy/attributes-v0"), false).expect("as Minari 0.4 has it");
    let new = minari::read_with::<B>(&fixture("minari/toy/fixture-v0"), false).expect("good fixture");
    assert_eq!((&old.env, &old.algorithm), (&new.env, &new.algorithm));
    assert_eq!(old, Recording { source: old.source.clone(), ..new });
}

#[test]
fn metadata_may_be_attributes() {
    every_backend!(attributes);
}

#[test]
fn minari_says_what_it_cannot_read() {
    let good = std::fs::read_to_string(fixture("minari/toy/fixture-v0/data/metadata.json")).expect("fixture");
    let zarr = good.replace("\"hdf5\"", "\"zarr\"");
    let space = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from} must be there");
        changed
    };
    let cases: [(&str, String, &[&str]); 4] = [
        (
            "data",
            zarr.clone(),
            &[
                "data/metadata.json",
                "`data_format`: expected hdf5, arrow or parquet, got zarr",
                "save it again",
            ],
        ),
        (".", zarr, &["`data_format`: expected hdf5, arrow or parquet, got zarr"]),
        ("data", space("\\\"Box\\\"", "\\\"Dict\\\""), &["`observation_space`", "got Dict", "flatten"]),
        ("data", space("[3]", "[3, 64, 64]"), &["`observation_space`", "[3,64,64], such as an image"]),
    ];
    for (place, text, pieces) in cases {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = folder.path().join(place);
        std::fs::create_dir_all(files.join("0")).expect("folder");
        std::fs::write(files.join("metadata.json"), text).expect("write");
        std::fs::write(files.join("0/part-0.arrow"), "ARROW1").expect("write");
        for path in [folder.path(), files.as_path()] {
            let text =
                baq_datasets::read_recording(path, &Options::default()).expect_err("refused").to_string();
            assert!(pieces.iter().all(|p| text.contains(p)) && !text.contains('\n'), "{text}");
        }
    }
    // A namespace is no dataset; those in it are named.
    let text = baq_datasets::read_recording(&fixture("minari/toy"), &Options::default()).expect_err("folder");
    assert!(text.to_string().contains("give one of the 2 in it: attributes-v0, fixture-v0"), "{text}");
}

#[test]
fn names_tell_data_sets_apart() {
    let name = |path: &str| baq_datasets::short_name(&fixture(path));
    assert_eq!(name("minari/hopper/cut-v0"), "hopper-cut-v0");
    assert_eq!(name("minari/hopper/cut-v0/data/main_data.hdf5"), "hopper-cut-v0");
    assert_eq!(name("minari/toy/attributes-v0/data"), "toy-fixture-v0");
    assert_eq!((name("plain.hdf5"), name("none.hdf5")), ("plain".into(), "none".into()));
    let env = |path: &str| baq_datasets::recorded_env(&fixture(path));
    assert_eq!(env("minari/hopper/cut-v0/data").as_deref(), Some("Hopper-v5"));
    assert_eq!(env("minari/toy/attributes-v0").as_deref(), Some("Toy-v0"));
    assert_eq!(env("plain.hdf5"), None);
}
