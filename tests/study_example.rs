//! The example in the documentation of a study's file can be run, whole and at its scale.

use std::process::Command;

#[test]
fn the_example_of_a_study_is_one() {
    let place = tempfile::tempdir().expect("a directory");
    for scale in [&[][..], &["--scale", "tiny"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baq"));
        command.current_dir(place.path()).args(["study", "run", "--on", "slurm", "--dry-run"]).args(scale);
        let out = command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/study/example.toml")).output();
        let out = out.expect("the program");
        assert!(out.status.success(), "{scale:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}
