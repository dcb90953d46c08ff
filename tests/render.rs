//! Episodes as pictures. Without MuJoCo the tests that draw an episode fail and say how to get it; `BAQ_NO_MUJOCO=1` skips
//! them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use baq::env::scene::{Scene, Shape, Solid};
use baq::render::{Picture, View, paint};
use common::place::folder;
use common::{program, without_mujoco};
use serde_json::Value;

const UPRIGHT: [f64; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

fn baq(at: &Path, line: &str) -> Output {
    program::baq(at, line).output().expect("the program runs")
}

fn json(at: &Path, line: &str) -> Value {
    let out = baq(at, line);
    assert!(out.status.success(), "baq {line}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

/// A policy that lies in the program's own suite.
fn walker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/data/suite/walker2d-medium.safetensors")
}

fn draw(solids: Vec<Solid>) -> Picture {
    let scene = Scene { solids, ground: Some(0.0), root: [0.0, 0.0, 1.0], spatial: false };
    paint(&scene, &View::of(std::slice::from_ref(&scene), (120, 90)))
}

fn pillar(x: f64, limb: usize) -> Solid {
    let shape = Shape::Capsule { radius: 0.2, half: 0.7 };
    Solid { shape, limb, link: 0, fixed: false, centre: [x, 0.0, 1.0], rotation: UPRIGHT }
}

#[test]
fn a_scene_is_sky_above_ground_below_and_a_solid_before_them() {
    let picture = draw(vec![pillar(0.0, 0)]);
    let at = |x: u32, y: u32| picture.rgb[(y * picture.width + x) as usize].map(i32::from);
    let [r, g, b] = at(60, 45);
    assert!(b > r + 60 && b > g + 20, "the trunk is blue: {:?}", at(60, 45));
    let sky = at(5, 2);
    assert!(sky[2] > sky[0] && sky[0] > 180, "{sky:?}");
    let ground: Vec<[i32; 3]> = (0..120).map(|x| at(x, 85)).collect();
    let brightness = |c: &[i32; 3]| c[0] + c[1] + c[2];
    let (dark, light) =
        (ground.iter().map(brightness).min().unwrap(), ground.iter().map(brightness).max().unwrap());
    assert!(light - dark > 60, "squares of two tones: {dark} to {light}");
    let shadow = draw(vec![]);
    let darker = picture.rgb.iter().zip(&shadow.rgb).filter(|(a, b)| a[0] < b[0] && a[0] > 120).count();
    assert!(darker > 20, "the pillar throws a shadow");
    assert_eq!(draw(vec![pillar(0.0, 0)]), picture);
}

#[test]
fn what_is_nearer_hides_what_is_farther_in_any_order() {
    let mut behind = pillar(0.0, 1);
    behind.centre[1] = 1.5;
    let one = draw(vec![pillar(0.0, 0), behind]);
    let other = draw(vec![behind, pillar(0.0, 0)]);
    assert_eq!(one, other);
    let [r, _, b] = one.rgb[(45 * one.width + 60) as usize];
    assert!(b > r, "the trunk stands before the limb");
}

#[test]
fn a_film_shows_the_episode_that_evaluate_measures() {
    if without_mujoco("a_film_shows_the_episode_that_evaluate_measures") {
        return;
    }
    let at = folder("render");
    let policy = walker().display().to_string();
    let measured = json(&at, &format!("evaluate --from {policy} --episodes 1 --seed 3 --json"));
    let line =
        format!("render {policy} --out walk.gif --size 64x48 --fps 10 --max-steps 1000 --seed 3 --json");
    let drawn = json(&at, &line);
    assert_eq!(drawn["return"], measured["returns"][0]);
    assert_eq!(drawn["steps"], measured["lengths"][0]);
    assert_eq!(drawn["env"], "walker2d-v4");

    // 13 steps of 0.008 s from picture to picture, and the last one stays.
    let file = fs::File::open(at.join("walk.gif")).unwrap();
    let mut film = gif::DecodeOptions::new().read_info(file).expect("a GIF");
    assert_eq!((film.width(), film.height()), (64, 48));
    let mut delays = Vec::new();
    while let Some(frame) = film.read_next_frame().expect("whole pictures") {
        delays.push(frame.delay);
    }
    let steps = drawn["steps"].as_u64().unwrap() as usize;
    assert_eq!(delays.len(), steps.div_ceil(13) + 1);
    assert_eq!(drawn["pictures"], delays.len());
    assert!(delays[..delays.len() - 2].iter().all(|d| [10, 11].contains(d)), "{delays:?}");

    let bytes = fs::read(at.join("walk.gif")).unwrap();
    let again = baq(&at, &line);
    assert_eq!(again.status.code(), Some(2), "a file is not replaced");
    json(&at, &(line.replace("walk.gif", "again.gif") + " --threads 1"));
    assert_eq!(fs::read(at.join("again.gif")).unwrap(), bytes, "equal episodes have equal bytes");
}

#[test]
fn a_strip_has_as_many_pictures_as_asked_for_at_most_one_a_step() {
    if without_mujoco("a_strip_has_as_many_pictures_as_asked_for_at_most_one_a_step") {
        return;
    }
    let (at, policy) = (folder("render_strip"), walker().display().to_string());
    for (frames, pictures, width) in [(5, 5, 5 * 65 - 1), (9, 8, 8 * 65 - 1)] {
        let out = format!("{frames}.png");
        let line = format!("render {policy} --out {out} --size 64x48 --frames {frames} --max-steps 7 --json");
        assert_eq!(json(&at, &line)["pictures"], pictures);
        let file = fs::read(at.join(out)).unwrap();
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        let side = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!((side(16), side(20)), (width, 48));
    }
}

#[test]
fn what_cannot_be_drawn_is_said_and_leaves_no_file() {
    let at = folder("render_refused");
    let trained = baq(
        &at,
        "train --algo sac --env toy --env-steps 40 --out run --quiet --set online.eval_episodes=0 --set sac.hidden=[4] --set online.batch=4",
    );
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let walker = walker().display().to_string();
    for (line, said) in [
        (
            "render run --out a.gif".to_string(),
            "toy: cannot be drawn: expected a task that this program simulates with MuJoCo",
        ),
        ("render run --out a.jpg".into(), "--out a.jpg: expected a name that ends in .gif or .png"),
        (format!("render {walker} --out a.gif --env toy"), "choose the environment it was trained for"),
        (format!("render {walker} --out no/a.gif"), "expected a file in an existing folder"),
        (format!("render {walker} --size 40x4000"), "expected WIDTHxHEIGHT, each from 48 to 1920"),
    ] {
        let out = baq(&at, &line);
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{line}: {text}");
        assert!(text.contains(said) && text.trim_end().lines().count() == 1, "{line}: {text}");
    }
    let left: Vec<_> = fs::read_dir(&at).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["run"]);
}
