//! Reports of invented runs.

use super::*;
use crate::config::Metric;
use crate::train::metrics::{
    DatasetFacts, Distribution, Evaluation, EvaluationLog, MetricLog, Phase, Stamp, Timing, TimingLog,
    write_dataset, write_distributions,
};

const LOSS_V: Metric = Metric::new("loss_v", "E[ L2_tau(u) ]", "", "Losses");
const LOSS_Q: Metric = Metric::new("loss_q", "E[ (Q - y)^2 ]", "", "Losses");
const Q: Metric = Metric::new("q_mean", "mean Q(s, a)", "scaled return", "Values");
const V: Metric = Metric::new("v_mean", "mean V(s)", "scaled return", "Values");
const CLIP: Metric = Metric::new("advantage_clip", "share of e^(beta A) > 100", "share", "Advantage clip");
const W_ONLINE: Metric = Metric::new("w_on_q50", "median w, online", "", "Weights w by origin");
const W_OFFLINE: Metric = Metric::new("w_off_q50", "median w, offline", "", "Weights w by origin");
const ALL: [&Metric; 7] = [&LOSS_V, &LOSS_Q, &Q, &V, &CLIP, &W_OFFLINE, &W_ONLINE];

/// Reproducible noise without a generator.
fn noise(i: u64) -> f64 {
    let x = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// A run directory as training would leave it.
fn invent(dir: &Path, algo: &str, adapt: &str, seed: u64, online: bool, k: f64) {
    std::fs::create_dir_all(dir).unwrap();
    let config = format!(
        "# what is trained\n[run]\nalgo = \"{algo}\"\nadapt = \"{adapt}\"\nenv = \"hopper-v4\"\nseed = {seed}\n\n[offline]\nupdates = 200000\n"
    );
    std::fs::write(dir.join(rundir::CONFIG), config).unwrap();
    let mut evaluations = EvaluationLog::create(dir, &[]).unwrap();
    let mut metrics = MetricLog::create(dir, &ALL).unwrap();
    let mut timing = TimingLog::create(dir).unwrap();
    let mut evaluate = |stamp, level: f64, salt: u64| {
        let returns: Vec<f64> =
            (0..10).map(|e| (level + 12.0 * noise(salt * 10 + e)) / 100.0 * 3254.6 - 20.3).collect();
        let mean = returns.iter().sum::<f64>() / 10.0;
        evaluations
            .record(&Evaluation {
                stamp,
                score: Some(100.0 * (mean + 20.27) / 3254.57),
                success: None,
                lengths: returns.iter().map(|r| (r.abs() / 3.3) as u64).collect(),
                returns,
            })
            .unwrap();
    };
    let base: u64 = if algo == "bc" { 7 } else { 1 };
    for i in 1..=40u64 {
        let stamp = Stamp { phase: Phase::Offline, update: i * 5000, env_step: 0 };
        let grown = 1.0 - (-(i as f64) / 8.0).exp();
        evaluate(stamp, k * 62.0 * grown + 10.0 * noise(seed * 1000 + i * base), i * base + 777 * seed);
        metrics
            .record(
                stamp,
                &[
                    (&LOSS_V, 3.0 * (-(i as f64) / 10.0).exp() + 0.4 + 0.2 * noise(i)),
                    (&LOSS_Q, 9.0 * (-(i as f64) / 10.0).exp() + 1.4 + 0.5 * noise(i + 99)),
                    (&Q, 210.0 * grown + 3.0 * noise(i * 3)),
                    (&V, 204.0 * grown + 3.0 * noise(i * 5)),
                    (&CLIP, 0.02 + 0.01 * noise(i * 7)),
                ],
            )
            .unwrap();
        timing.record(Timing { stamp, seconds: i as f64 * 1.9, steps_per_second: 2600.0 }).unwrap();
    }
    if online {
        for i in 0..=30u64 {
            let stamp = Stamp { phase: Phase::Online, update: 200_000 + i * 1000, env_step: i * 1000 };
            let gain = if adapt == "baq" { 26.0 } else { 15.0 };
            let dip = if adapt == "baq" { 5.0 } else { 16.0 };
            let t = i as f64 / 30.0;
            let level = k * 62.0 + gain * t - dip * (t * 12.0) * (-t * 12.0).exp() * 2.7;
            evaluate(stamp, level + 8.0 * noise(seed * 31 + i * 17), 5000 + i + 77 * seed + dip as u64);
            metrics
                .record(
                    stamp,
                    &[
                        (&LOSS_V, 0.5 + 0.1 * noise(i)),
                        (&LOSS_Q, 1.6 + 0.2 * noise(i + 9)),
                        (&Q, 212.0 + 20.0 * t),
                        (&V, 205.0 + 19.0 * t),
                        (&W_ONLINE, 0.72 + 0.12 * t),
                        (&W_OFFLINE, 0.97),
                    ],
                )
                .unwrap();
        }
        let off: Vec<f32> = (0..20_000).map(|i| 1.0 - 0.12 * (2.0 * noise(i)).powi(2) as f32).collect();
        let on: Vec<f32> =
            (0..3_000).map(|i| 0.95 - 0.5 * (noise(i) + noise(i + 9999)).abs() as f32).collect();
        write_distributions(
            dir,
            &[Distribution::of("Weights w at the end", "w", &[("offline", &off), ("online", &on)], 40)],
        )
        .unwrap();
    }
    evaluations.flush().unwrap();
    metrics.flush().unwrap();
    timing.flush().unwrap();
    write_dataset(
        dir,
        &DatasetFacts {
            name: "hopper-mixed <demo>.hdf5".into(),
            sha256: "9f".repeat(32),
            transitions: 200_000,
            used: 199_801,
            episodes: 912,
            complete: 911,
            return_mean: Some(640.0),
            return_std: Some(512.3),
            return_min: Some(8.1),
            return_max: Some(3102.0),
            return_best_tenth: Some(1960.0),
            score_mean: Some(20.3),
            score_best_tenth: Some(60.8),
            notes: vec!["infos/<odd> left out".into()],
            ..DatasetFacts::default()
        },
    )
    .unwrap();
}

/// Four experiments as the demo makes them.
fn invented(at: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for seed in [0, 1] {
        for (algo, adapt, online, k) in
            [("bc", "plain", false, 0.55), ("iql", "plain", true, 0.9), ("iql", "baq", true, 0.9)]
        {
            let dir = at.join(format!("{algo}-{adapt}-{seed}"));
            invent(&dir, algo, adapt, seed, online, k);
            dirs.push(dir);
        }
    }
    dirs
}

#[test]
fn a_comparison_is_one_page_without_outside_references() {
    let folder = tempfile::tempdir().unwrap();
    let dirs = invented(folder.path());
    // `BAQ_KEEP=directory` keeps the pictures, to look at them.
    let out = match std::env::var_os("BAQ_KEEP") {
        Some(kept) => PathBuf::from(kept),
        None => folder.path().join("report"),
    };
    let notes = ["The fine-tuned runs continue the same offline checkpoint.".to_string()];
    let path = write(&out, "BC, IQL and BAQ on hopper", &dirs, &notes, &[]).unwrap();
    let html = std::fs::read_to_string(&path).unwrap();
    for needle in [
        "<!DOCTYPE html>",
        "prefers-color-scheme: dark",
        "iql + baq",
        "data, best tenth",
        "offline (shared)",
        "What differs",
        "run.adapt",
        "w_on_q50, online: hopper-mixed &lt;demo&gt;, hopper-v4",
        "Weights w by origin: median w, online",
        "lowest to highest seed",
        "One chart per metric.",
        "Weights w at the end",
        "<th>online, all in (0, 30k]</th>",
        "hopper-mixed &lt;demo&gt;.hdf5",
        "seeds 0, 1",
        "E[ L2_tau(u) ]",
        "continue the same offline checkpoint",
    ] {
        assert!(html.contains(needle), "{needle}");
    }
    // The namespace of SVG is a name, not a reference.
    let rest = html.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["http://", "https://", "<script ", "src=", "url("] {
        assert!(!rest.contains(foreign), "{foreign}");
    }
    assert_eq!(html.matches("<script>").count(), 1, "one script, inside the page");
    assert!(!html.contains("<h2>Progress</h2>"), "all of it is there");
    // Every seed of both methods behind their means.
    let chart = &html[html.find("<b>q_mean, online").unwrap()..];
    let chart = &chart[..chart.find("</figure>").unwrap()];
    assert_eq!((chart.matches("stroke-opacity").count(), chart.matches("data-v").count()), (4, 2));
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
    assert_eq!(html.matches("<div").count(), html.matches("</div>").count());
    assert!(html.len() < 1_500_000, "{}", html.len());
    let again = write(&out, "BC, IQL and BAQ on hopper", &dirs, &notes, &[]).unwrap();
    assert_eq!(std::fs::read_to_string(again).unwrap(), html);
    if out != folder.path().join("report") {
        write(&out.join("one"), "BAQ on hopper", &dirs[2..3], &[], &[]).unwrap();
        let histogram = &Run::load(&dirs[2]).unwrap().distributions[0];
        Histogram { of: histogram }.png(&out.join("histogram.png"), 540, 340).unwrap();
    }
}

#[test]
fn seeds_are_grouped_and_figures_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<Run> = invented(folder.path()).iter().map(|d| Run::load(d).unwrap()).collect();
    let groups = group(runs);
    let labels: Vec<&str> = groups.iter().map(|g| g.label.as_str()).collect();
    assert_eq!(labels, ["bc, offline", "iql", "iql + baq"]);
    assert!(groups.iter().all(|g| g.runs.len() == 2));
    // Headline by hand, from the file: mean over seeds of the mean of the last five.
    let figures = groups[2].result(|e| e.score);
    let by_hand: f64 = groups[2]
        .runs
        .iter()
        .map(|r| {
            let n = r.evaluations.len();
            r.evaluations[n - 5..].iter().map(|e| e.score.unwrap()).sum::<f64>() / 5.0
        })
        .sum::<f64>()
        / 2.0;
    assert!((figures.online.unwrap().mean - by_hand).abs() < 1e-9);
    // The other reading of "the initial 30,000 steps": all evaluations after the switch, which is in no mean.
    let all: f64 = groups[2]
        .runs
        .iter()
        .map(|r| {
            r.evaluations[r.evaluations.len() - 30..].iter().map(|e| e.score.unwrap()).sum::<f64>() / 30.0
        })
        .sum::<f64>()
        / 2.0;
    assert!((figures.window.unwrap().mean - all).abs() < 1e-9);
    let offline = figures.offline.unwrap();
    assert!(offline.low <= offline.mean && offline.mean <= offline.high);
    assert_eq!(groups[0].result(|e| e.score).online, None);
    let curves = learning_curves(&groups);
    let names: Vec<&str> = curves.series.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(
        names,
        ["bc, offline (2 seeds)", "iql offline (shared)", "iql (2 seeds)", "iql + baq (2 seeds)"]
    );
    assert!(curves.title == "Normalised score: hopper-mixed <demo>, hopper-v4", "{}", curves.title);
    assert_eq!(curves.band, "lowest to highest seed");
    assert_eq!(curves.series[0].points.first().unwrap().0, -195_000.0);
    assert_eq!(curves.series[3].points.last().unwrap().0, 30_000.0);
    assert_eq!(curves.references.len(), 2);
}

#[test]
fn runs_that_look_alike_are_told_apart_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for (name, updates) in [("a", 100), ("b", 200)] {
        let dir = folder.path().join(name);
        invent(&dir, "iql", "plain", 0, false, 1.0);
        let path = dir.join(rundir::CONFIG);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("200000", &updates.to_string())).unwrap();
        runs.push(Run::load(&dir).unwrap());
    }
    let groups = group(runs);
    assert_eq!(groups[0].label, "iql, updates 100");
    assert_eq!(groups[1].label, "iql, updates 200");
}

#[test]
fn a_bare_run_still_gets_a_page() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(rundir::CONFIG), "[run]\nalgo = \"iql\"\n").unwrap();
    let path = write(folder.path(), "bare", &[folder.path().to_path_buf()], &[], &[]).unwrap();
    assert!(std::fs::read_to_string(path).unwrap().contains("<h1>bare</h1>"));
    let missing = Run::load(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("cannot read the configuration of a run"), "{missing}");
}

/// Few evaluations: the switch is in neither mean; those beyond 30,000 steps are in the last ones alone.
#[test]
fn the_two_readings_of_the_papers_score() {
    let evaluation = |env_step, x: f64| Evaluation {
        stamp: Stamp { phase: Phase::Online, update: env_step, env_step },
        score: None,
        success: None,
        returns: vec![x],
        lengths: vec![1],
    };
    let of = |steps: &[(u64, f64)]| {
        let all: Vec<Evaluation> = steps.iter().map(|(n, x)| evaluation(*n, *x)).collect();
        let figures = OnlineFigures::of(&all, |e| Some(e.mean()));
        (figures.switch, figures.last, figures.window)
    };
    assert_eq!(of(&[(0, 100.0), (1000, 1.0), (2000, 3.0)]), (Some(100.0), Some(2.0), Some(2.0)));
    assert_eq!(of(&[(0, 100.0)]), (Some(100.0), None, None));
    let long: Vec<(u64, f64)> = (0..=7).map(|k| (10_000 * k, k as f64)).collect();
    assert_eq!(of(&long), (Some(0.0), Some(5.0), Some(2.0)));
    assert_eq!(OnlineFigures::of(&[evaluation(5, 1.0)], |e| e.score), OnlineFigures::default());
}

/// A method with two readings is never the same row of a table.
#[test]
fn suf_is_named_by_its_reading() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for free in [true, false] {
        let dir = folder.path().join(free.to_string());
        invent(&dir, "iql", "suf", 0, true, 1.0);
        let path = dir.join(rundir::CONFIG);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}\n[suf]\nunconstrained = {free}\n")).unwrap();
        runs.push(Run::load(&dir).unwrap());
    }
    let labels: Vec<String> = group(runs).into_iter().map(|g| g.label).collect();
    assert_eq!(labels, ["iql + suf (unconstrained)", "iql + suf (ratios alone)"]);
}

/// Nor are two generators, or one and none.
#[test]
fn a_generator_is_part_of_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for generator in ["none", "cfdg", "edis"] {
        let dir = folder.path().join(generator);
        invent(&dir, "iql", "plain", 0, true, 1.0);
        let path = dir.join(rundir::CONFIG);
        let text = std::fs::read_to_string(&path).unwrap();
        let named = text.replacen("[run]", &format!("[run]\ngenerator = \"{generator}\""), 1);
        assert_ne!(text, named);
        std::fs::write(&path, named).unwrap();
        runs.push(Run::load(&dir).unwrap());
    }
    let labels: Vec<String> = group(runs).into_iter().map(|g| g.label).collect();
    assert_eq!(labels, ["iql", "iql + cfdg", "iql + edis"]);
}

/// A run with these evaluations, one in 100 updates, and this configuration.
fn small(dir: &Path, config: &str, returns: &[f64]) -> Run {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join(rundir::CONFIG), config).unwrap();
    let mut log = EvaluationLog::create(dir, &[]).unwrap();
    for (i, x) in (1..).zip(returns) {
        let stamp = Stamp { phase: Phase::Offline, update: i * 100, env_step: 0 };
        log.record(&Evaluation { stamp, score: None, success: None, returns: vec![*x], lengths: vec![1] })
            .unwrap();
    }
    log.flush().unwrap();
    Run::load(dir).unwrap()
}

fn settings(seed: u64, env: &str, more: &str) -> String {
    format!("[run]\nalgo = \"iql\"\nenv = \"{env}\"\nseed = {seed}\n{more}\n[offline]\nupdates = 300\n")
}

fn labels(runs: Vec<Run>) -> Vec<String> {
    group(runs).into_iter().map(|g| format!("{} x{}", g.label, g.runs.len())).collect()
}

#[test]
fn seeds_at_different_progress_are_not_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: u64, returns: &[f64]| {
        small(&folder.path().join(seed.to_string()), &settings(seed, "hopper-v4", ""), returns)
    };
    let runs = vec![run(0, &[1.0, 2.0, 3.0]), run(1, &[3.0, 4.0]), run(2, &[5.0, 6.0, 7.0]), run(3, &[])];
    let groups = group(runs);
    assert_eq!((groups.len(), groups[0].label.as_str()), (1, "iql"));
    assert_eq!(groups[0].legend(), "iql (4 seeds; seed 1, 3 stopped, 0 to 200 of 300 updates)");
    let curves = learning_curves(&groups);
    assert_eq!(
        curves.series[0].points,
        [(100.0, 3.0), (200.0, 4.0)],
        "the mean ends where the shortest seed does"
    );
    let beyond: Vec<_> = curves.series.iter().filter(|s| s.thin).map(|s| s.points.clone()).collect();
    assert_eq!(beyond, [[(200.0, 2.0), (300.0, 3.0)], [(200.0, 6.0), (300.0, 7.0)]]);
    assert!(curves.caption.contains("up to where the shortest one is"), "{}", curves.caption);
    assert!(curves.caption.contains("Runs without an evaluation are in no mean."), "{}", curves.caption);
    // Neither does the table compare the third evaluation of one with the second of another.
    assert_eq!(groups[0].result(|e| Some(e.mean())).last.unwrap().mean, 4.0);
    let text = page("t", &groups, &[], &[]);
    assert!(
        text.contains("<h2>Progress</h2>") && text.contains("<td>stopped</td><td>200 of 300 updates</td>")
    );
    assert!(text.contains("<th>iql</th><td>3 of 4</td>"), "{text}");
}

/// Methods begin with one training; where their first evaluation stands is their own.
#[test]
fn what_is_shared_ends_where_training_on_data_did() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs: Vec<Run> = ["baq", "plain"]
        .map(|adapt| {
            let dir = folder.path().join(adapt);
            invent(&dir, "iql", adapt, 0, true, 1.0);
            Run::load(&dir).unwrap()
        })
        .into();
    let end = runs[0].phase(Phase::Offline).last().unwrap().score.unwrap();
    let switches: Vec<f64> =
        runs.iter().map(|r| r.phase(Phase::Online).next().unwrap().score.unwrap()).collect();
    assert!(switches[0] != switches[1] && !switches.contains(&end));
    for _ in 0..2 {
        let curves = learning_curves(&group(runs.clone()));
        let shared = curves.series.iter().find(|s| s.label == "iql offline (shared)").unwrap();
        assert_eq!(shared.points.last(), Some(&(0.0, end)));
        runs.reverse();
    }
    // What went online before began elsewhere.
    for e in runs[0].evaluations.iter_mut().filter(|e| e.stamp.phase == Phase::Online) {
        e.stamp.update += 1000;
    }
    assert!(!learning_curves(&group(runs)).series.iter().any(|s| s.label.contains("shared")));
}

#[test]
fn axes_are_those_of_the_phase() {
    let folder = tempfile::tempdir().unwrap();
    let online = "[run]\nbegin = \"online\"\nenv = \"toy\"\n[online]\nenv_steps = 120\neval_episodes = 0\n";
    let run = small(folder.path(), online, &[]);
    let curves = learning_curves(&group(vec![run]));
    assert!(matches!(curves.x, XAxis::Switch) && curves.x_to == Some(120.0));
    assert_eq!(curves.caption, "No evaluation: online.eval_episodes = 0.");
    // Early stopping ends before what was planned.
    let mut run = small(folder.path(), &settings(0, "hopper-v4", ""), &[1.0, 2.0]);
    assert_eq!(run.offline_end(), 300);
    run.standing = Standing { state: State::Finished, ..run.standing };
    assert_eq!(
        (run.offline_end(), run.offline_curve(|e| Some(e.mean()))),
        (200, vec![(-100.0, 1.0), (0.0, 2.0)])
    );
}

/// Another task has other returns, and metrics of its own.
#[test]
fn what_is_of_one_task_is_not_said_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let [hopper, ant] = ["hopper", "ant"].map(|name| folder.path().join(name));
    invent(&hopper, "iql", "baq", 0, true, 1.0);
    let alone = group(vec![Run::load(&hopper).unwrap()]);
    assert_eq!(learning_curves(&alone).references.len(), 2);
    let other =
        small(&ant, "[run]\nalgo = \"td3\"\nenv = \"ant-v4\"\n[offline]\nupdates = 200\n", &[1.0, 2.0]);
    let both = group(vec![Run::load(&hopper).unwrap(), other]);
    assert!(learning_curves(&both).references.is_empty());
    assert!(metric_charts(&both).iter().all(|chart| !chart.title.contains("ant-v4")));
    let text = page("t", &both, &[], &[]);
    assert!(!text.contains("The data themselves"));
    assert!(text.contains("Weights w at the end: hopper-mixed &lt;demo&gt;, hopper-v4<"));
}

/// A run with nothing in it yet has a page that says so; one that is written to is running.
#[test]
fn a_run_that_has_just_begun_is_said_to_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(rundir::CONFIG), settings(0, "hopper-v4", "")).unwrap();
    let run = Run::load(folder.path()).unwrap();
    assert_eq!((run.standing.state, run.standing.progress()), (State::Stopped, "0 of 300 updates".into()));
    let text = page("t", &group(vec![run]), &[], &[]);
    assert!(
        text.contains("No evaluation yet: the first comes after ")
            && text.contains("iql (stopped, 0 of 300 updates)")
    );
    std::fs::write(folder.path().join(rundir::DIVERGED), "diverged: after update 2").unwrap();
    let groups = group(vec![Run::load(folder.path()).unwrap()]);
    assert_eq!(groups[0].legend(), "iql (diverged, 0 of 300 updates)");
    assert_eq!(groups[0].runs[0].diverged.as_deref(), Some("diverged: after update 2"));
    assert_eq!(learning_curves(&groups).caption, "No evaluation: it diverged before the first.");
}

/// Without an environment there is no evaluation at the end to wait for.
#[test]
fn a_run_for_no_environment_is_finished_when_its_metrics_are() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(rundir::CONFIG), settings(0, "", "")).unwrap();
    let loss = Metric::new("loss", "L", "", "Losses");
    let mut log = MetricLog::create(folder.path(), &[&loss]).unwrap();
    for (update, state) in [(299, State::Stopped), (300, State::Finished)] {
        log.record(Stamp { phase: Phase::Offline, update, env_step: 0 }, &[(&loss, 1.0)]).unwrap();
        let run = Run::load(folder.path()).unwrap();
        assert_eq!(run.standing.state, state);
        assert!(
            page("t", &group(vec![run]), &[], &[])
                .contains("No evaluation: it is trained for no environment")
        );
    }
}

#[test]
fn shares_go_from_zero_to_one_and_nothing_falls_below_zero() {
    let folder = tempfile::tempdir().unwrap();
    let share = Metric::new("kept", "share of rows", Metric::SHARE, "Rows");
    let zero = Metric::new("zero", "nothing", "", "Rows");
    std::fs::write(folder.path().join(rundir::CONFIG), settings(0, "hopper-v4", "")).unwrap();
    let mut log = MetricLog::create(folder.path(), &[&share, &zero]).unwrap();
    for update in 1..=3 {
        let stamp = Stamp { phase: Phase::Offline, update, env_step: 0 };
        log.record(stamp, &[(&share, 0.25), (&zero, 0.0)]).unwrap();
    }
    let charts = metric_charts(&group(vec![Run::load(folder.path()).unwrap()]));
    assert_eq!(charts[0].y, Some((0.0, 1.0)));
    let svg = |i: usize| charts[i].svg(480, 280);
    assert!(
        svg(0).contains(">0.2<") && svg(0).contains(">1.0<") && !svg(1).contains("\u{2212}"),
        "{}",
        svg(0)
    );
}

/// A picture and the page have the same labels on their axes.
#[test]
fn picture_and_page_have_the_same_ticks() {
    let folder = tempfile::tempdir().unwrap();
    let runs = invented(folder.path()).iter().map(|dir| Run::load(dir).unwrap()).collect();
    let curves = learning_curves(&group(runs));
    let labels = |svg: &str| -> Vec<String> {
        let texts = svg
            .split("<text ")
            .skip(1)
            .map(|t| t[t.find('>').unwrap() + 1..t.find('<').unwrap()].to_string());
        texts.filter(|t| t.starts_with(|c: char| c.is_ascii_digit() || c == '\u{2212}')).collect()
    };
    let (width, height) = html::WIDE;
    let picture = labels(&curves.svg(width, height));
    assert!(picture.len() >= 8, "{picture:?}");
    assert_eq!(picture, labels(&curves.inline_svg(width, height).into_string()));
}

#[test]
fn seeds_of_other_data_or_environments_are_not_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: u64, env: &str, data: &str, sha: &str| {
        let dir = folder.path().join(seed.to_string());
        let run =
            small(&dir, &settings(seed, env, &format!("dataset = \"/x/{seed}/{data}.hdf5\"")), &[1.0; 3]);
        write_dataset(&dir, &DatasetFacts { name: data.into(), sha256: sha.into(), ..Default::default() })
            .unwrap();
        drop(run);
        Run::load(&dir).unwrap()
    };
    // The same file in two folders is one data set.
    let same = vec![run(0, "hopper-v4", "medium", "a"), run(1, "hopper-v4", "medium", "a")];
    assert_eq!(labels(same), ["iql x2"]);
    let data = vec![run(0, "hopper-v4", "medium", "a"), run(1, "hopper-v4", "expert", "b")];
    assert_eq!(labels(data), ["iql on medium x1", "iql on expert x1"]);
    let files = labels(vec![run(0, "hopper-v4", "medium", "a"), run(1, "hopper-v4", "medium", "b")]);
    assert!(files[0] != files[1], "{files:?}");
    let both = group(vec![run(0, "hopper-v4", "medium", "a"), run(1, "walker2d-v4", "medium", "a")]);
    assert_eq!(
        both.iter().map(|g| g.label.as_str()).collect::<Vec<_>>(),
        ["iql in hopper-v4", "iql in walker2d-v4"]
    );
    assert!(page("t", &both, &[], &[]).contains("hopper-v4, walker2d-v4"));
}

/// As many settings are named as tell a group from all that look like it.
#[test]
fn no_two_groups_have_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = |k: usize, [a, b, c]: [u32; 3]| {
        let text = format!("{}[iql]\na = {a}\nb = {b}\nc = {c}\n", settings(0, "hopper-v4", ""));
        small(&folder.path().join(k.to_string()), &text, &[1.0])
    };
    let all = [[1, 1, 1], [1, 1, 2], [2, 1, 1], [1, 2, 1]];
    let mut labels = labels((0..).zip(all).map(|(k, x)| run(k, x)).collect());
    assert_eq!(labels[2], "iql, a 2 x1", "one is enough");
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), all.len(), "{labels:?}");
}

/// A run and its own continuation are no seeds of one method.
#[test]
fn runs_from_other_origins_are_not_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: u64, update: u64| {
        let dir = folder.path().join(format!("{seed}-{update}"));
        let text =
            format!("{}patience = 20000\n[online]\nenv_steps = 300\n", settings(seed, "hopper-v4", ""));
        small(&dir, &text, &[]);
        let mut log = EvaluationLog::create(&dir, &[]).unwrap();
        for k in 0..4 {
            let stamp = Stamp { phase: Phase::Online, update: update + 100 * k, env_step: 100 * k };
            let e = Evaluation { stamp, score: None, success: None, returns: vec![1.0], lengths: vec![1] };
            log.record(&e).unwrap();
        }
        log.flush().unwrap();
        Run::load(&dir).unwrap()
    };
    let again = labels(vec![run(0, 300), run(1, 300), run(0, 600)]);
    assert_eq!(again, ["iql, origin update 300 x2", "iql, origin update 600 x1"]);
    // Seeds whose training stopped early.
    assert_eq!(labels(vec![run(0, 300), run(1, 200), run(2, 250)]), ["iql x3"]);
}

/// Many methods make a picture higher, not its plot lower.
#[test]
fn a_picture_grows_with_its_legend() {
    let with = |n: usize| {
        let line = |k: usize| {
            Series::new(format!("a method with a long name, {k}"), k, vec![(0.0, 1.0), (1.0, 2.0)])
        };
        Curves { series: (0..n).map(line).collect(), ..Curves::default() }
    };
    assert_eq!(with(2).extra(480), 0);
    assert!(with(14).extra(480) > 150);
    assert!(with(14).svg(480, 300).contains(&format!("height=\"{}\"", 300 + with(14).extra(480))));
}

#[test]
fn bookkeeping_makes_no_other_method() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: u64, more: &str| {
        let text = format!("{}{more}", settings(seed, "hopper-v4", ""));
        small(&folder.path().join(seed.to_string()), &text, &[1.0; 3])
    };
    let runs = vec![
        run(0, "checkpoint_every = 7\n[audit]\nledger = true\n"),
        run(1, "checkpoint_every = 9\nlog_every = 3\n[audit]\nledger = false\nkeep_every = 5\n"),
        run(3, "[online]\nbatch = 7\n"),
        run(2, "checkpoint_every = 9\nbatch = 8\n[audit]\nledger = false\n"),
    ];
    assert_eq!(labels(runs), ["iql, batch \u{2013} x3", "iql, batch 8 x1"]);
}

#[test]
fn files_edited_by_hand_are_drawn_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let build =
        || write(&dir, "t", std::slice::from_ref(&dir), &[], &[]).map(|_| ()).map_err(|e| e.to_string());
    small(&dir, &settings(0, "hopper-v4", ""), &[1e308, -1e308, f64::MAX]);
    assert_eq!(build(), Ok(()));
    small(&dir, &settings(0, "hopper-v4", ""), &[]);
    let facts =
        DatasetFacts { return_mean: Some(1e-323), return_best_tenth: Some(0.0), ..Default::default() };
    write_dataset(&dir, &facts).unwrap();
    assert_eq!(build(), Ok(()));
    let wild = Distribution {
        title: "w".into(),
        x_label: "w".into(),
        edges: vec![-1.0, 1e300, 1.0],
        groups: vec![("a".into(), vec![u64::MAX, u64::MAX, 3]), ("b".into(), vec![])],
    };
    write_distributions(
        &dir,
        &[wild, Distribution { edges: vec![-1e308, 1e308], ..Distribution::of("w", "w", &[], 1) }],
    )
    .unwrap();
    assert_eq!(build(), Ok(()));
    std::fs::write(dir.join(rundir::EVALUATIONS_CSV), "phase,update,env_step,episodes\noffline,1,0,1\n")
        .unwrap();
    let refused = build().unwrap_err();
    assert!(refused.contains("evaluations.csv, line 1: expected columns episodes,return_mean"), "{refused}");
}

#[test]
fn a_report_replaces_reports_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, out) = (folder.path().join("run"), folder.path().join("mine"));
    small(&dir, &settings(0, "hopper-v4", ""), &[1.0]);
    let build = |out: &Path| write(out, "t", std::slice::from_ref(&dir), &[], &[]).map_err(|e| e.to_string());
    for precious in [rundir::REPORT, rundir::CURVES_SVG, rundir::CURVES_PNG] {
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join(precious), "precious").unwrap();
        let refused = build(&out).unwrap_err();
        assert!(refused.contains(&format!("{precious}: not made by this program")), "{refused}");
        assert_eq!(std::fs::read_to_string(out.join(precious)).unwrap(), "precious");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "nothing was added");
        std::fs::remove_dir_all(&out).unwrap();
    }
    build(&out).unwrap();
    // As a kill behind the page leaves it.
    std::fs::remove_file(out.join(rundir::CURVES_PNG)).unwrap();
    build(&out).unwrap();
    let data = folder.path().join("data.hdf5");
    std::fs::write(&data, "only copy").unwrap();
    assert!(write_page(&data, "<html>").is_err());
    assert!(write_page(&out.join(rundir::REPORT), "<html>").is_ok());
}
