//! Where data may come from: links inside a folder, and no pipes, devices or directories.

mod common;

use baq_datasets::backend::Backend;
use baq_datasets::{Options, Recording, d4rl, minari, plain};
use common::{check_formulas, fixture};
use std::path::Path;

fn links_are_followed<B: Backend>() {
    let whole: Recording = minari::read_with::<B>(&fixture("linked"), false).expect("external links");
    assert_eq!((whole.len(), whole.obs_dim(), whole.act_dim()), (60, 3, 2));
    // The checksum covers both files.
    let data = fixture("linked/data");
    let bytes = |name: &str| std::fs::metadata(data.join(name)).expect("fixture").len();
    assert_eq!(whole.source.bytes, bytes("main_data.hdf5") + bytes("additional_data_0.hdf5"));

    let folder = tempfile::tempdir().expect("temporary folder");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("create");
    for name in ["main_data.hdf5", "metadata.json"] {
        std::fs::copy(data.join(name), inner.join(name)).expect("copy");
    }
    let refused =
        || minari::read_with::<B>(&inner, false).expect_err("the other file is not there").to_string();
    let text = refused();
    assert!(text.contains("a link into additional_data_0.hdf5, which is not beside the file"), "{text}");
    assert!(!text.contains("damaged") && !text.contains('\n'), "{text}");
    #[cfg(unix)]
    {
        let outside = folder.path().join("outside.hdf5");
        std::fs::copy(data.join("additional_data_0.hdf5"), &outside).expect("copy");
        std::os::unix::fs::symlink(&outside, inner.join("additional_data_0.hdf5")).expect("symlink");
        let text = refused();
        assert!(text.contains("lies outside of the file's folder and is not followed"), "{text}");
    }
}

#[test]
fn links_called_damage() {
    every_backend!(links_are_followed);
}

fn links_of_linked_files<B: Backend>() {
    let rec = d4rl::read_with::<B>(&fixture("nested/main.hdf5"), false).expect("external links");
    check_formulas("nested", &rec);
    let names = ["main.hdf5", "inner/middle.hdf5", "inner/values.hdf5"];
    let bytes = |name: &str| std::fs::metadata(fixture("nested").join(name)).expect("fixture").len();
    assert_eq!(rec.source.bytes, names.map(bytes).iter().sum::<u64>());

    // Without a file beside the link, the one beside the main file is meant; the C library looks nowhere else.
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = folder.path().join("home");
    std::fs::create_dir_all(home.join("inner")).expect("create");
    for name in ["main.hdf5", "inner/middle.hdf5", "values.hdf5"] {
        std::fs::copy(fixture("nested").join(name), home.join(name)).expect("copy");
    }
    let read = || d4rl::read_with::<B>(&home.join("main.hdf5"), false);
    if B::NAME == "pure" {
        assert!(read().expect("beside the main file").rewards.iter().all(|r| *r == 1.0));
    }
    #[cfg(unix)]
    {
        let outside = folder.path().join("outside.hdf5");
        std::fs::copy(fixture("nested/values.hdf5"), &outside).expect("copy");
        std::os::unix::fs::symlink(&outside, home.join("inner/values.hdf5")).expect("symlink");
        let text = read().expect_err("outside").to_string();
        assert!(text.contains("lies outside of the file's folder and is not followed"), "{text}");
    }
}

#[test]
fn links_mean_the_files_beside_them() {
    every_backend!(links_of_linked_files);
}

fn loops_end<B: Backend>() {
    let error = d4rl::read_with::<B>(&fixture("bad-link-loop.hdf5"), false).expect_err("a loop");
    assert!(error.to_string().contains("more than 16 links"), "{error}");
    let error = d4rl::read_with::<B>(&fixture("bad-link-broken.hdf5"), false).expect_err("a dangling link");
    assert!(error.to_string().contains("a link to `nowhere`, which is not there"), "{error}");
}

#[test]
fn links_that_lead_nowhere_are_named() {
    every_backend!(loops_end);
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let pipe = folder.path().join("pipe.hdf5");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let socket = folder.path().join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    for (path, what) in [
        (pipe.as_path(), "a named pipe"),
        (Path::new("/dev/zero"), "a device"),
        (Path::new("/dev/stdin"), "expected"),
        (socket.as_path(), "a socket"),
    ] {
        // Standard input may be a file, as far as these tests know.
        if path.metadata().is_ok_and(|m| m.is_file()) {
            continue;
        }
        let text = baq_datasets::read(path, &Options::default()).expect_err("no file").to_string();
        assert!(text.contains(what) && !text.contains('\n'), "{text}");
        assert!(
            baq_datasets::files::read(path).is_err() && baq_datasets::files::read_to_string(path).is_err()
        );
    }
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("create");
    std::os::unix::fs::symlink("/dev/zero", data.join("metadata.json")).expect("symlink");
    std::os::unix::fs::symlink("/dev/zero", data.join("main_data.hdf5")).expect("symlink");
    assert!(baq_datasets::read(folder.path(), &Options::default()).is_err());
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let shown = plain("a\u{1b}[31m\u{9b}\u{7f}\u{202e}b\r\n\tc");
    assert_eq!(shown, "a\\u001b[31m\\u009b\\u007f\\u202eb\\u000d\n\tc");
    let recording =
        baq_datasets::read_recording(&fixture("escapes.hdf5"), &Options::default()).expect("good");
    assert_eq!(recording.algorithm.as_deref(), Some("SAC\\u001b[2J\\u009b31m"));
    let summary = baq_datasets::inspect::summarize(&recording, &Options::default(), None).expect("good");
    assert!(!summary.to_table().contains(|c: char| c.is_control() && c != '\n'));
}
