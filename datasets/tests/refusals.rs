//! Every bad fixture is refused with one line that names file, key, expected and got.

mod common;

use baq_datasets::backend::Backend;
use baq_datasets::backend::pure::PureFile;
use baq_datasets::{Error, Options, d4rl, minari};
use common::fixture;
use std::path::Path;

/// Fixture, a word of the variant's debug form, and pieces the message must have.
const CASES: &[(&str, &str, &[&str])] = &[
    ("absurd", "AbsurdSize", &["`observations`", "52776558133248"]),
    ("action-range", "ActionRange", &["`actions`", "[-1, 1]", "1.5", "row 33", "(2 such", "--clip-actions"]),
    ("byte-flags", "NotFlag", &["`terminals`", "0 or 1", "got 255 ", "row 19", "(3 such"]),
    ("empty", "OtherFormat", &["expected an HDF5 file", "empty"]),
    ("enum-flags", "NotFlag", &["`timeouts`", "got 2 ", "row 44", "(1 such"]),
    ("filter", "Unsupported", &["`rewards`", "filter 32015 (Zstandard)", "h5repack"]),
    ("gzip", "OtherFormat", &["gzip", "gunzip"]),
    ("half-flags", "NotFlag", &["`timeouts`", "got 0.5 ", "row 19"]),
    ("html", "OtherFormat", &["HTML"]),
    ("integer-observations", "Dtype", &["`observations`", "f32 or f64", "integer"]),
    ("length", "Shape", &["`rewards`", "(60,) or (60, 1)", "(59,)"]),
    ("lfs-pointer", "OtherFormat", &["git-lfs pointer", "git lfs pull"]),
    ("link-broken", "BrokenLink", &["`timeouts`", "`nowhere`", "copy"]),
    ("link-loop", "BrokenLink", &["`rewards`", "16 links"]),
    ("misspelt", "Uncertain", &["`timeouts`", "`timeout`", "rename"]),
    ("missing-rewards", "MissingKey", &["`rewards`", "(N,)", "terminals, timeouts"]),
    ("nan", "NotFinite", &["`observations`", "NaN", "row 41"]),
    ("nan-flags", "NotFlag", &["`terminals`", "NaN", "row 5"]),
    ("negative-flags", "NotFlag", &["`timeouts`", "got -1 ", "row 44"]),
    ("next-width", "Shape", &["`next_observations`", "(60, 3)", "(60, 2)"]),
    ("overflow", "NotFinite", &["`rewards`", "inf", "row 7"]),
    ("rank", "Shape", &["`actions`", "(60, D)", "(60,)"]),
    ("text-rewards", "Dtype", &["`rewards`", "string"]),
    ("unwritten-chunk", "Unwritten", &["`rewards`", "expected 4", "got 3"]),
    ("unwritten-contiguous", "Unwritten", &["`rewards`", "expected 1", "got 0"]),
    ("zero-rows", "TooFewRows", &["`observations`", "got 0"]),
];

fn refused<B: Backend>() {
    for (name, variant, pieces) in CASES {
        let path = fixture(&format!("bad-{name}.hdf5"));
        let error = d4rl::read_with::<B>(&path, false).expect_err(name);
        check(name, &error, variant, pieces, &path);
        let bytes = std::fs::read(&path).expect("fixture");
        let error = d4rl::read_bytes_with::<B>("label", &bytes, false).expect_err(name);
        check(name, &error, variant, pieces, Path::new("label"));
    }
}

fn check(name: &str, error: &Error, variant: &str, pieces: &[&str], path: &Path) {
    let text = error.to_string();
    assert!(format!("{error:?}").starts_with(variant), "{name}: {error:?}");
    assert!(text.starts_with(&path.display().to_string()), "{name}: {text}");
    assert!(!text.contains('\n'), "{name}: {text}");
    assert!(text.contains("expected") && text.contains("got"), "{name}: {text}");
    for piece in pieces {
        assert!(text.contains(piece), "{name}: `{piece}` is not in: {text}");
    }
}

#[test]
fn each_bad_file_is_refused_in_one_line() {
    every_backend!(refused);
}

#[test]
fn no_bad_fixture_is_forgotten() {
    let folder = std::fs::read_dir(fixture("")).expect("folder");
    let mut names: Vec<String> = folder
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter_map(|n| Some(n.strip_prefix("bad-")?.strip_suffix(".hdf5")?.to_string()))
        .filter(|n| n != "cut")
        .collect();
    names.sort();
    let listed: Vec<&str> = CASES.iter().map(|(name, ..)| *name).collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
}

fn cut_file<B: Backend>() {
    // The C library notices a cut file itself, in its own words.
    let error = d4rl::read_with::<B>(&fixture("bad-cut.hdf5"), false).expect_err("cut");
    let text = error.to_string();
    assert!(!text.contains('\n') && (text.contains("cut short") || text.contains("truncated")), "{text}");
    if B::NAME == "pure" {
        assert!(text.contains("expected 24360") && text.contains("got 14616"), "{text}");
    }
}

#[test]
fn a_cut_file_is_called_so() {
    every_backend!(cut_file);
}

/// Such a superblock is shorter, so its checksum lies elsewhere.
#[test]
fn narrow_addresses_are_no_damage() {
    for version in [2, 3] {
        let mut bytes = b"\x89HDF\r\n\x1a\n".to_vec();
        bytes.extend([version, 4, 4, 0]);
        bytes.resize(100, 0);
        let error = d4rl::read_bytes_with::<PureFile>("narrow", &bytes, false).expect_err("not read");
        let pieces = ["addresses of 4 and lengths of 4 bytes"];
        check("narrow", &error, "Unsupported", &pieces, Path::new("narrow"));
    }
}

fn absent<B: Backend>() {
    let error = d4rl::read_with::<B>(Path::new("/no/such/file.hdf5"), false).expect_err("absent");
    assert!(error.to_string().starts_with("/no/such/file.hdf5: cannot open"), "{error}");
}

#[test]
fn a_missing_file_is_called_so() {
    every_backend!(absent);
}

#[test]
fn clipping_is_an_explicit_choice() {
    let options = Options { clip_actions: true, ..Options::default() };
    let columns = baq_datasets::read(&fixture("bad-action-range.hdf5"), &options).expect("clipped");
    // Row 44 is dropped, so file row 50 is row 49 here.
    assert_eq!((columns.actions[[33, 1]], columns.actions[[49, 0]]), (1.0, -1.0));
}

#[test]
fn dimensions_are_held_against_the_environment() {
    let columns = baq_datasets::read(&fixture("plain.hdf5"), &Options::default()).expect("good");
    columns.check_dims("toy", 3, 2).expect("fits");
    let text = columns.check_dims("Hopper-v4", 11, 3).expect_err("too narrow").to_string();
    assert!(text.contains("`observations`: expected width 11 for Hopper-v4, got 3"), "{text}");
    let text = columns.check_dims("other", 3, 6).expect_err("actions").to_string();
    assert!(text.contains("`actions`: expected width 6 for other, got 2"), "{text}");
}

#[test]
fn minari_folders_are_checked_against_their_metadata() {
    let source = fixture("minari/toy/fixture-v0/data");
    let json = std::fs::read_to_string(source.join("metadata.json")).expect("fixture");
    let cases: [(&str, String, &[&str]); 5] = [
        (
            "episodes",
            json.replace("\"total_episodes\": 3", "\"total_episodes\": 4"),
            &["`total_episodes`", "expected 3", "got 4"],
        ),
        (
            "steps",
            json.replace("\"total_steps\": 60", "\"total_steps\": 61"),
            &["`total_steps`", "expected 60", "got 61"],
        ),
        (
            "format",
            json.replace("\"hdf5\"", "\"zarr\""),
            &["`data_format`", "expected hdf5, arrow or parquet", "got zarr"],
        ),
        (
            "space",
            json.replacen("\\\"Box\\\"", "\\\"Dict\\\"", 1),
            &["`observation_space`", "Box", "got Dict"],
        ),
        ("json", json.replacen(':', ";", 1), &["a JSON object"]),
    ];
    for (name, changed, pieces) in cases {
        assert_ne!(changed, json, "{name} must change something");
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::copy(source.join("main_data.hdf5"), folder.path().join("main_data.hdf5")).expect("copy");
        std::fs::write(folder.path().join("metadata.json"), changed).expect("write");
        let text = minari::read(folder.path(), false).expect_err(name).to_string();
        assert!(text.contains("metadata.json") && !text.contains('\n'), "{text}");
        for piece in pieces {
            assert!(text.contains(piece), "{name}: `{piece}` is not in: {text}");
        }
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let text = baq_datasets::read(folder.path(), &Options::default()).expect_err("empty folder").to_string();
    assert!(text.contains("data/main_data.hdf5"), "{text}");
}
