//! What `baq study table` says of a finished run whose evaluations are cut, and where it cannot write; and the example of
//! a study.

mod common;

use std::process::Output;

use common::place::Place;
use common::program;

/// One run, from nothing, of moments.
const STUDY: &str = r#"
name  = "toys"
about = "what is tried here"
seeds = 1
data  = ["toy.hdf5"]
[[method]]
label = "SAC"
algo  = "sac"
set   = ["run.env=toy", "sac.hidden=[8,8]", "online.capacity=2000"]
[online]
env_steps     = 400
eval_every    = 200
eval_episodes = 1
set           = ["online.batch=16", "online.warmup_steps=50"]
"#;

fn baq(place: &Place, line: &str) -> Output {
    program::baq(&place.0, line).output().unwrap()
}

/// What it says on standard output, and on standard error.
fn said(out: &Output) -> [String; 2] {
    [&out.stdout, &out.stderr].map(|text| String::from_utf8_lossy(text).into_owned())
}

fn run(place: &Place, line: &str) -> String {
    let out = baq(place, line);
    assert!(out.status.success(), "baq {line}: {:?}", said(&out));
    said(&out)[0].clone()
}

/// The finished study.
fn finished() -> Place {
    let place = Place::new();
    std::fs::write(place.path("s.toml"), STUDY).unwrap();
    run(&place, "study run s.toml --out s --jobs 1 --quiet");
    place
}

#[test]
fn a_finished_run_with_evaluations_cut_off_has_no_result() {
    let place = finished();
    let status: serde_json::Value = serde_json::from_str(&run(&place, "study status s --json")).unwrap();
    let folder = status["cells"][0]["run"].as_str().unwrap();
    let path = place.path(folder).join("evaluations.csv");
    let within = folder.strip_prefix("s/").unwrap();
    let absent = || {
        run(&place, "study table s");
        std::fs::read_to_string(place.path("s/absent.csv")).unwrap()
    };
    let cut = |whole: &str, expected: &str| {
        // In the middle of the last row.
        std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        let absent = absent();
        for words in [
            &format!("cannot be read: {within}/evaluations.csv: {expected}"),
            "restore it, or remove the run",
        ] {
            assert!(absent.contains(words), "{words} in {absent}");
        }
        std::fs::write(&path, whole).unwrap();
    };
    let whole = std::fs::read_to_string(&path).unwrap();
    assert_eq!(absent().lines().count(), 1, "{}", absent());
    cut(&whole, "expected an evaluation after step 400, got none");
    // Of none at all nothing else is said.
    let head = whole.lines().next().unwrap();
    cut(&format!("{head}\nonline,0,0,1"), "expected an evaluation after step 200, got none");
    // In the middle too; whole but for a row.
    let lacking: Vec<&str> =
        whole.lines().filter(|row| !row.starts_with("online,") || !row.contains(",200,")).collect();
    assert_eq!(lacking.len() + 1, whole.lines().count(), "{whole}");
    std::fs::write(&path, lacking.join("\n") + "\n").unwrap();
    assert!(absent().contains("expected an evaluation after step 200, got none"), "{}", absent());
    let last = whole.lines().last().unwrap();
    std::fs::write(&path, format!("{whole}{last}\n")).unwrap();
    assert!(absent().contains("expected steps in order, each once, got 400 after 400"), "{}", absent());
    // One that was extended is judged by its own length.
    std::fs::write(&path, &whole).unwrap();
    run(&place, &format!("train --resume {folder} --extend online=600 --quiet"));
    assert_eq!(absent().lines().count(), 1, "{}", absent());
    let longer = std::fs::read_to_string(&path).unwrap();
    cut(&longer, "expected an evaluation after step 600, got none");
}

#[test]
fn a_table_is_printed_even_if_it_cannot_be_written() {
    let place = finished();
    std::fs::create_dir(place.path("s/table.csv")).unwrap();
    let out = baq(&place, "study table s");
    let [text, error] = said(&out);
    assert_eq!(out.status.code(), Some(2), "{text}{error}");
    assert!(text.contains("Final score") && text.contains("SAC") && !text.contains("written:"), "{text}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for words in ["table.csv: cannot write the table", "what is printed is whole", "repeat the command"] {
        assert!(error.contains(words), "{words} in {error}");
    }
    let out = baq(&place, "study table s --json");
    let [text, error] = said(&out);
    assert_eq!(out.status.code(), Some(2), "{text}{error}");
    let table: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(table["rows"][0]["method"], "SAC");
    // The others are written, and told.
    assert_eq!(table["files"].as_array().unwrap().len(), 6, "{}", table["files"]);
    assert!(place.path("s/hours.csv").is_file());
}

/// The example in the documentation of a study's file can be run, whole and at its scale.
#[test]
fn the_example_of_a_study_is_one() {
    let place = tempfile::tempdir().expect("a directory");
    for scale in ["", "--scale tiny"] {
        let mut command = program::baq(&place, &format!("study run --on slurm --dry-run {scale}"));
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/src/study/example.toml");
        let out = command.arg(example).output().unwrap();
        assert!(out.status.success(), "{scale}: {:?}", said(&out));
    }
}
