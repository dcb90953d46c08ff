//! Tables and figures of invented results. Above 400 lines because each says what it expects of words and numbers.

use super::actions::{self, Actions};
use super::answers::Answers;
use super::curve::{Curve, Point};
use super::figures;
use super::graph::Data;
use super::metric::Metric;
use super::pictures;
use super::results::{Absent, Method, Outcome, Results, Why, file};
use super::{table, values};
use crate::report::{Chart as _, Panels};
use std::path::PathBuf;

const DATA: [&str; 9] = [
    "halfcheetah-medium-expert",
    "hopper-medium-expert",
    "walker2d-medium-expert",
    "halfcheetah-medium-replay",
    "hopper-medium-replay",
    "walker2d-medium-replay",
    "halfcheetah-medium",
    "hopper-medium",
    "walker2d-medium",
];
const METHODS: [&str; 8] =
    ["IQL", "IQL + SO2", "IQL + SUF", "IQL + BAQ", "CQL", "CQL + SO2", "CQL + SUF", "CQL + BAQ"];

/// Reproducible noise in -0.5 to 0.5.
fn noise(i: u64) -> f64 {
    let x = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ x >> 32) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

fn outcome(data: usize, method: usize, seed: u64) -> Outcome {
    let salt = (data * 100 + method) as u64 * 1000 + seed;
    let shared = (data * 100 + method / 4 * 4) as u64 * 1000 + seed;
    let level = 45.0 + 7.0 * data as f64 + 12.0 * noise(shared);
    let offline = (1..=20u64).map(|i| {
        let grown = 1.0 - (-(i as f64) / 5.0).exp();
        Point { step: i * 5000, score: level * grown + 6.0 * noise(shared * 31 + i) }
    });
    let gain = [4.0, -6.0, -9.0, 8.0][method % 4];
    let online = (0..=30u64).map(|i| {
        let t = i as f64 / 30.0;
        let dip = if i == 0 { 0.0 } else { 10.0 * (-(t * 8.0)).exp() * (1.0 + noise(salt)) };
        let wobble = if i == 0 { 6.0 * noise(shared * 31 + 20) } else { 8.0 * noise(salt * 37 + i) };
        Point { step: i * 1000, score: level + t * gain - dip + wobble }
    });
    Outcome {
        data: DATA[data].into(),
        method: METHODS[method].into(),
        seed,
        curve: Curve { scored: true, offline: offline.collect(), online: online.collect() },
        offline_updates: 100_000,
        updates: 130_000,
        env_steps: 30_000,
        hours: Some(0.4 + method as f64 / 10.0),
    }
}

/// So many data sets and methods, three seeds each.
fn invented(data: usize, methods: usize) -> Results {
    let outcomes =
        (0..data).flat_map(|d| (0..methods).flat_map(move |m| (0..3).map(move |s| outcome(d, m, s))));
    let base = |m: usize| (!m.is_multiple_of(4)).then(|| METHODS[m / 4 * 4].to_string());
    Results {
        name: "paper-table1".into(),
        about: "Table 1 of arXiv 2511.03695: first 30,000 online steps".into(),
        scale: Some("laptop".into()),
        commit: "0123abc".into(),
        data: DATA[..data].iter().map(|d| d.to_string()).collect(),
        files: DATA[..data].iter().map(|d| format!("{d} is {d}-v2.hdf5")).collect(),
        methods: (0..methods).map(|m| Method { label: METHODS[m].into(), base: base(m) }).collect(),
        outcomes: outcomes.collect(),
        absent: Vec::new(),
        trained: Vec::new(),
    }
}

/// `BAQ_KEEP=directory` keeps tables and pictures, to look at them.
fn folder() -> (Option<tempfile::TempDir>, PathBuf) {
    match std::env::var_os("BAQ_KEEP") {
        Some(kept) => {
            let path = PathBuf::from(kept).join("study");
            std::fs::create_dir_all(&path).unwrap();
            (None, path)
        }
        None => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_path_buf();
            (Some(folder), path)
        }
    }
}

/// A run that stays at a level, after 10,000 updates.
fn level(data: &str, method: &str, seed: u64, score: f64) -> Outcome {
    let at = |steps: &[u64]| steps.iter().map(|step| Point { step: *step, score }).collect();
    Outcome {
        data: data.into(),
        method: method.into(),
        seed,
        curve: Curve { scored: true, offline: at(&[10_000]), online: at(&[0, 500, 1000]) },
        offline_updates: 10_000,
        updates: 11_000,
        env_steps: 1000,
        hours: Some(0.25),
    }
}

/// Two data sets, a base and one that is better by 3 on the first and worse by 1 on the second; 3 seeds.
fn small() -> Results {
    let seeds = |data, method, scores: [f64; 3]| {
        scores.into_iter().enumerate().map(move |(seed, score)| level(data, method, seed as u64, score))
    };
    let outcomes = seeds("a", "Base", [10.0, 20.0, 30.0])
        .chain(seeds("b", "Base", [40.0, 50.0, 60.0]))
        .chain(seeds("a", "New", [13.0, 23.0, 33.0]))
        .chain(seeds("b", "New", [39.0, 49.0, 59.0]));
    Results {
        name: "small".into(),
        about: "What is computed by hand".into(),
        data: vec!["a".into(), "b".into()],
        files: vec!["a is a.hdf5".into()],
        methods: vec![
            Method { label: "Base".into(), base: None },
            Method { label: "New".into(), base: Some("Base".into()) },
        ],
        outcomes: outcomes.collect(),
        ..invented(0, 0)
    }
}

/// A number of the CSV; `None` where it is empty. Data are empty over all data sets.
fn number(rows: &[Vec<String>], (data, method): (&str, &str), head: &str) -> Option<f64> {
    let column = |head: &str| rows[0].iter().position(|h| h == head).unwrap();
    let row = rows.iter().find(|row| row[column("data")] == data && row[column("method")] == method).unwrap();
    row[column(head)].parse().ok()
}

#[test]
fn a_small_study_by_hand() {
    let results = small();
    let rows = values::rows(&Answers::of(&results, Metric::Final));
    let expect = |place, head, expected: Option<f64>| {
        let got = number(&rows, place, head);
        let same = match (got, expected) {
            (Some(got), Some(expected)) => (got - expected).abs() < 1e-12,
            (got, expected) => got == expected,
        };
        assert!(same, "{place:?} {head}: {got:?}, expected {expected:?}");
    };
    expect(("a", "Base"), "mean", Some(20.0));
    expect(("a", "Base"), "std", Some((200.0f64 / 3.0).sqrt()));
    expect(("a", "Base"), "low", Some(10.0));
    expect(("a", "Base"), "difference", None);
    // Three equal differences: of 8 assignments of signs two are as far from 0.
    for (head, expected) in [("difference", 3.0), ("difference_low", 3.0), ("p", 0.25), ("pairs", 3.0)] {
        expect(("a", "New"), head, Some(expected));
    }
    expect(("b", "New"), "difference", Some(-1.0));
    // Sums of x/2 + y/6 with x, y in -3, -1, 1, 3 at odds 1, 3, 3, 1: 22 of 64 are 1 or farther from 0.
    for (head, expected) in [
        ("difference", 1.0),
        ("difference_high", 1.0),
        ("p", 22.0 / 64.0),
        ("pairs", 6.0),
        ("runs", 6.0),
        ("better_than_base", (6.0 / 9.0 + 3.0 / 9.0) / 2.0),
    ] {
        expect(("", "New"), head, Some(expected));
    }
    // Without the lowest and the highest of 10, 20, ..., 60; halfway between 20 and 50.
    for (head, expected) in [("mean", 35.0), ("iqm", 35.0), ("median", 35.0), ("optimality_gap", 65.0)] {
        expect(("", "Base"), head, Some(expected));
    }
    let text = table::table(&Answers::of(&results, Metric::Final)).text(100);
    for words in [
        "20.0 \u{b1} 8.2",
        "+3.0, p 0.250",
        "better on 1 of 2",
        "every cell with a number rests on 3 seeds",
        "scale laptop",
    ] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
}

#[test]
fn data_that_are_called_as_they_are_named_are_not_explained() {
    assert_eq!(file("embedded", &Data::embedded()), None);
    assert_eq!(file("own", &Data::embedded()).as_deref(), Some("own is embedded"));
    let text = |files| table::table(&Answers::of(&Results { files, ..small() }, Metric::Final)).text(100);
    assert!(text(vec!["a is a.hdf5".into()]).contains("data: a is a.hdf5"));
    assert!(!text(Vec::new()).contains("data: "));
}

#[test]
fn runs_without_a_result_are_named_and_never_counted() {
    let mut results = small();
    let whole = values::csv(&Answers::of(&results, Metric::Final));
    let failed = Why::Failure("failed: diverged at update 700".into());
    for (seed, why) in [(1, failed), (2, Why::Unfinished(0.4))] {
        results.outcomes.retain(|o| (o.data.as_str(), o.method.as_str(), o.seed) != ("a", "New", seed));
        results.absent.push(Absent { data: "a".into(), method: "New".into(), seed, why });
    }
    let answers = Answers::of(&results, Metric::Final);
    let rows = values::rows(&answers);
    assert_eq!(number(&rows, ("a", "New"), "mean"), Some(13.0));
    assert_eq!(number(&rows, ("a", "New"), "low"), None, "no interval of one seed");
    assert_eq!(
        (number(&rows, ("a", "New"), "runs"), number(&rows, ("a", "New"), "planned")),
        (Some(1.0), Some(3.0))
    );
    assert_eq!(number(&rows, ("a", "New"), "pairs"), Some(1.0));
    assert_eq!(number(&rows, ("", "New"), "iqm_low"), None);
    let table = table::table(&answers);
    for text in [table.text(100), table.markdown(), table.tex(), table.html()] {
        let plain = text.replace("\n  ", " ");
        for words in [
            "failed: diverged at update 700",
            "unfinished, 40",
            "rest on 1 to 3 seeds, which stand in brackets",
            "(1)",
            "(3)",
        ] {
            assert!(plain.contains(words), "{words} in\n{text}");
        }
    }
    assert_ne!(values::csv(&answers), whole);
    // Nothing at all is a table too.
    results.outcomes.clear();
    let empty = table::table(&Answers::of(&results, Metric::Final)).text(80);
    assert!(empty.contains("no runs") && empty.contains("\u{2013}"), "{empty}");
}

#[test]
fn what_has_no_number_is_left_out_with_its_reason() {
    let mut results = small();
    results.outcomes[0].curve.online[2].score = f64::NAN;
    results.outcomes[1].curve.online.clear();
    results.outcomes[1].curve.offline.clear();
    results.outcomes[2].curve.scored = false;
    let answers = Answers::of(&results, Metric::Final);
    let notes = answers.notes.join("\n");
    for words in
        ["seed 0: `final` is NaN", "seed 1: its evaluations do not tell", "seed 2: raw returns beside"]
    {
        assert!(notes.contains(words), "{words} in\n{notes}");
    }
    assert!(answers.cells[0][0].summary.is_none() && answers.cells[0][1].summary.is_some());
    assert_eq!(number(&values::rows(&answers), ("a", "New"), "difference"), None);
}

#[test]
fn censored_runs_are_counted_as_such() {
    let mut results = small();
    // Falls to 0 and never returns, or after 500 steps.
    for (i, scores) in [[10.0, 0.0, 0.0], [20.0, 0.0, 25.0], [30.0, 30.0, 30.0]].iter().enumerate() {
        for (point, score) in results.outcomes[i].curve.online.iter_mut().zip(scores) {
            point.score = *score;
        }
    }
    let answers = Answers::of(&results, Metric::Recovery);
    let rows = values::rows(&answers);
    assert_eq!(number(&rows, ("a", "Base"), "censored"), Some(1.0));
    assert_eq!(number(&rows, ("a", "Base"), "mean"), Some(2000.0 / 3.0));
    let text = table::table(&answers).text(100);
    assert!(text.contains("\u{2265} 667") && text.contains("2 of 3 recovered"), "{text}");
    // Behind the cells too: over all data sets, in differences, in figures.
    let line = |head: &str, after: &str| -> String {
        let lines = text.split_once(after).unwrap().1.lines();
        lines.skip(2).find(|line| line.starts_with(head)).unwrap().to_string()
    };
    assert_eq!(line("Base", "Over all data sets").matches("\u{2265} ").count(), 3, "{text}");
    assert!(line("Base", "Over all data sets").ends_with("5 of 6"), "{text}");
    assert!(line("New", "Over all data sets").ends_with("6 of 6"), "{text}");
    assert!(line("a", "Difference to").contains("\u{2264} \u{2212}667"), "{text}");
    assert!(line("all data sets", "Difference to").contains("\u{2264} \u{2212}333"), "{text}");
    assert!(text.contains("1 of 6 pairs") && !line("b", "Difference to").contains('\u{2264}'), "{text}");
    let drawn = |figure: Panels| {
        let (width, height) = figure.whole();
        words_of(&figure.svg(width, height))
    };
    let scores = drawn(figures::scores(&answers));
    assert!(scores.contains("1 of 12 runs never recovered"), "{scores}");
    assert_eq!(scores.matches("Base (\u{2265})").count(), 2, "on a and over all: {scores}");
    let differences = drawn(figures::differences(&answers).unwrap());
    assert_eq!(differences.matches("New (\u{2264})").count(), 2, "{differences}");
    // Both of a pair: no side is known.
    for point in &mut results.outcomes[6].curve.online[1..] {
        point.score = 0.0;
    }
    let both = table::table(&Answers::of(&results, Metric::Recovery)).text(100);
    assert!(both.contains("? \u{2212}333") && both.contains("1 of 3 pairs"), "{both}");
    // By other metrics nothing is said of it.
    let other = Answers::of(&results, Metric::Dip);
    let text = table::table(&other).text(100) + &drawn(figures::scores(&other));
    assert!(!text.contains("recovered") && !text.contains('\u{2265}'), "{text}");
}

/// One that recovered at its last evaluation is quicker than one that never did, though both have taken all their steps.
#[test]
fn who_never_recovers_loses_to_who_does() {
    let mut results = small();
    for (i, outcome) in results.outcomes.iter_mut().enumerate() {
        let online = &mut outcome.curve.online;
        let last = online.len() - 1;
        online[1..last].iter_mut().for_each(|point| point.score = 0.0);
        online[last].score = if i < 6 { 0.0 } else { 100.0 };
    }
    let rows = values::rows(&Answers::of(&results, Metric::Recovery));
    assert_eq!(number(&rows, ("a", "New"), "difference"), Some(0.0));
    assert_eq!(number(&rows, ("", "New"), "better_than_base"), Some(1.0));
}

#[test]
fn failures_are_named_however_much_is_missing() {
    let mut results = small();
    let absent =
        |method: &str, data: &str, why| Absent { data: data.into(), method: method.into(), seed: 0, why };
    for k in 0..20 {
        let why = if k < 8 { Why::NotBegun } else { Why::Unfinished(f64::from(k) / 100.0) };
        results.absent.push(absent(&format!("M{k}"), "a", why));
    }
    results.absent.push(absent("New", "b", Why::Failure("failed: diverged".into())));
    let notes = Answers::of(&results, Metric::Final).notes;
    assert_eq!(
        notes,
        [
            "no result: New on b: failed: diverged (seed 0)",
            "no result: 21 of 33 runs: 8 not begun, 12 unfinished, 1 failed",
            "of runs with 2 evaluations behind the switch, final is the mean of these",
        ]
    );
}

/// Methods with unequal numbers of runs: what weighs data sets by them says so, the gap weighs them equally.
#[test]
fn unequal_numbers_of_runs_are_told() {
    let mut results = small();
    results.outcomes.retain(|o| (o.data.as_str(), o.method.as_str(), o.seed > 0) != ("a", "New", true));
    let answers = Answers::of(&results, Metric::Final);
    assert!(answers.notes.iter().any(|note| note.ends_with("of which these have unequal numbers: New")));
    // 13 alone on the first, 39, 49 and 59 on the second.
    assert_eq!(
        number(&values::rows(&answers), ("", "New"), "optimality_gap"),
        Some(100.0 - (13.0 + 49.0) / 2.0)
    );
}

/// Runs of other seeds start from other trainings.
#[test]
fn runs_are_better_than_those_of_the_base_of_the_same_seeds() {
    let mut results = small();
    let better = |results: &Results| {
        number(&values::rows(&Answers::of(results, Metric::Final)), ("", "New"), "better_than_base")
    };
    let base = |seed, score| level("a", "Base", seed, score);
    results.outcomes = vec![base(0, 50.0), base(1, 55.0), base(2, 60.0), level("a", "New", 0, 51.0)];
    assert_eq!(better(&results), Some(1.0));
    // Where the base has fewer, and where they have none in common.
    results.outcomes = vec![base(0, 50.0), level("a", "New", 0, 51.0), level("a", "New", 1, 49.0)];
    assert_eq!(better(&results), Some(1.0));
    results.outcomes = vec![base(0, 50.0), level("a", "New", 1, 51.0)];
    assert_eq!(better(&results), None);
}

#[test]
fn a_recovery_that_is_no_number_is_neither_true_nor_false() {
    let mut results = small();
    results.outcomes[0].curve.online[2].score = f64::NAN;
    let runs = values::runs(&results);
    let ends: Vec<&str> = runs.lines().skip(1).map(|line| line.rsplit(',').next().unwrap()).collect();
    assert_eq!(ends[..3], ["", "true", "true"], "{runs}");
}

#[test]
fn a_run_that_was_not_evaluated_online_has_no_final_score() {
    let mut results = small();
    results.outcomes[0].curve.online.clear();
    results.outcomes[1].curve = Curve::default();
    let answers = Answers::of(&results, Metric::Final);
    let notes = answers.notes.join("\n");
    for seed in [0, 1] {
        let words = format!("left out: Base on a, seed {seed}: its evaluations do not tell `final`");
        assert!(notes.contains(&words), "{words} in\n{notes}");
    }
    assert_eq!(answers.cells[0][0].values(), [30.0]);
    assert!(values::runs(&results).lines().nth(1).unwrap().contains(",true,,,,"));
}

#[test]
fn panels_of_curves_name_their_units() {
    let mut results = small();
    let drawn = |results: &Results| {
        let figure = figures::curves(results);
        let (width, height) = figure.whole();
        (figure.title.clone(), words_of(&figure.svg(width, height)))
    };
    let counted = |text: &str| ["normalised score ", "return "].map(|unit| text.matches(unit).count());
    let (title, text) = drawn(&results);
    assert_eq!((title.as_str(), counted(&text)), ("small: learning curves, normalised scores", [2, 0]));
    results.outcomes.iter_mut().filter(|o| o.data == "b").for_each(|o| o.curve.scored = false);
    let (title, text) = drawn(&results);
    assert_eq!((title.as_str(), counted(&text)), ("small: learning curves, scores and returns", [1, 1]));
    results.outcomes.iter_mut().for_each(|o| o.curve.scored = false);
    let (title, text) = drawn(&results);
    assert_eq!((title.as_str(), counted(&text)), ("small: learning curves, returns", [0, 2]));
    // Returns of one run beside the scores of others are in no mean of them.
    results.outcomes.iter_mut().skip(1).for_each(|o| o.curve.scored = true);
    let (title, text) = drawn(&results);
    assert_eq!((title.as_str(), counted(&text)), ("small: learning curves, normalised scores", [2, 0]));
    assert!(text.contains("1 run left out: raw returns beside normalised scores."), "{text}");
}

/// What is over all data sets says where it is over fewer, and every picture how many runs are in none of its numbers.
#[test]
fn pictures_tell_what_is_left_out() {
    let mut results = small();
    let drawn = |results: &Results| {
        let answers = Answers::of(results, Metric::Final);
        let differences = figures::differences(&answers).expect("there is a base");
        let profiles = figures::profiles(&answers).expect("scores are levels");
        [figures::scores(&answers), differences, profiles].map(|figure| {
            let (width, height) = figure.whole();
            words_of(&figure.svg(width, height))
        })
    };
    for text in drawn(&results) {
        assert!(!text.contains("left out") && !text.contains("data set)"), "{text}");
    }
    results.outcomes[1].curve.online[2].score = f64::NAN;
    for text in drawn(&results) {
        assert!(text.contains("1 run left out; the table says why."), "{text}");
    }
    results.outcomes[2].curve.online[2].score = f64::INFINITY;
    results.outcomes.retain(|o| (o.data.as_str(), o.method.as_str()) != ("b", "New"));
    for text in drawn(&results) {
        assert!(text.contains("2 runs left out; the table says why."), "{text}");
        assert_eq!(text.matches("New (1 data set)").count(), 1, "over all alone: {text}");
        assert!(!text.contains("Base (1"), "{text}");
    }
}

#[test]
fn data_without_runs_have_no_unit() {
    let mut results = small();
    results.outcomes.retain(|o| o.data == "a");
    let answers = Answers::of(&results, Metric::Final);
    let units: Vec<String> =
        values::rows(&answers)[1..].iter().map(|row| format!("{} {}", row[5], row[2])).collect();
    let score = |data| format!("{data} normalised score");
    assert_eq!(units, [score("a"), score("a"), "b ".into(), "b ".into(), score(""), score("")]);
    for figure in [figures::scores(&answers), figures::differences(&answers).expect("there is a base")] {
        let (width, height) = figure.whole();
        let text = words_of(&figure.svg(width, height));
        assert!(text.contains("normalised score") && !text.contains(" return "), "{text}");
    }
}

#[test]
fn evaluations_at_other_steps_are_told() {
    let mut results = small();
    let told = |results: &Results| Answers::of(results, Metric::Final).notes.join("\n");
    assert_eq!(told(&results).matches("different steps").count(), 0);
    let runs = results.outcomes.iter_mut().filter(|o| o.data == "b" && o.method == "New");
    runs.for_each(|o| o.curve.online.insert(1, Point { step: 250, score: 50.0 }));
    assert!(
        told(&results).contains("evaluated at different steps, so that their numbers may not compare: b")
    );
}

/// A picture that there is no longer is not left there.
#[test]
fn pictures_of_an_earlier_state_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut results = small();
    let write =
        |results: &Results| pictures::write(folder.path(), &Answers::of(results, Metric::Final)).unwrap();
    write(&results);
    let profile = folder.path().join("profiles.png");
    assert!(profile.exists());
    results.outcomes.iter_mut().for_each(|o| o.curve.scored = false);
    assert!(write(&results).iter().all(|path| path.exists()) && !profile.exists());
}

/// Seeds of one training that end at different updates begin together, and meet at the switch.
#[test]
fn curves_of_seeds_that_stop_early_are_laid_over_each_other() {
    let mut results = small();
    for (outcome, updates) in results.outcomes.iter_mut().zip([300, 200, 300]) {
        outcome.offline_updates = updates;
        outcome.curve.offline =
            (1..=updates / 100).map(|i| Point { step: i * 100, score: i as f64 }).collect();
    }
    let line = figures::line(&results.runs("a", "Base"), 0, true);
    // Of three seeds the interval is their range; of two there is none.
    let range = |&(x, y): &(f64, f64)| if x < 0.0 { (x, y, y) } else { (x, 10.0, 30.0) };
    assert_eq!(line.band, line.points.iter().map(range).collect::<Vec<_>>());
    assert!(figures::line(&results.runs("a", "Base")[..2], 0, true).band.is_empty());
    assert_eq!(line.points, [(-200.0, 1.0), (-100.0, 2.0), (0.0, 20.0), (500.0, 20.0), (1000.0, 20.0)]);
}

#[test]
fn figures_name_their_data_methods_seeds_steps_commit_and_scale() {
    let (_folder, dir) = folder();
    let mut results = invented(9, 8);
    results.outcomes.retain(|o| {
        let third = o.method == "IQL + SUF" && o.seed == 2;
        let cell = o.data == "hopper-medium" && o.method == "CQL + SUF";
        !third && !cell
    });
    results.absent.push(Absent {
        data: "hopper-medium".into(),
        method: "CQL + SUF".into(),
        seed: 0,
        why: Why::Failure("failed: diverged at update 12,345".into()),
    });
    let answers = Answers::of(&results, Metric::Final);
    let files = pictures::write(&dir, &answers).unwrap();
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["curves", "scores", "differences", "profiles"] {
        assert!(names.contains(&format!("{name}.svg").as_str()), "{names:?}");
        assert!(std::fs::metadata(dir.join(format!("{name}.png"))).unwrap().len() > 20_000);
        let svg = std::fs::read_to_string(dir.join(format!("{name}.svg"))).unwrap();
        let text = svg.replace("</text>", " ").replace("&amp;", "&");
        let facts = ["laptop", "100,000", "30,000", "seeds 0, 1, 2", "0123abc", "1 of"];
        let labels = METHODS.iter().filter(|m| name != "differences" || m.contains('+'));
        let words: Vec<&str> = facts.iter().chain(labels).chain(&DATA).copied().collect();
        assert!(!text.contains("NaN"), "{name}");
        let plain = words_of(&text);
        for words in words {
            assert!(plain.contains(words), "{name}: {words} in {plain}");
        }
    }
    let given = table::table(&answers).markdown();
    for words in ["paper 46.0 \u{b1} 0.95", "paper 85.1 \u{b1} 6.3", "paper 686.26"] {
        assert!(given.contains(words), "{words} in\n{given}");
    }
    let first = std::fs::read(dir.join("curves.svg")).unwrap();
    pictures::write(&dir, &answers).unwrap();
    assert!(first == std::fs::read(dir.join("curves.svg")).unwrap());
    if std::env::var_os("BAQ_KEEP").is_some() {
        for metric in Metric::ALL {
            table::write(&dir, &Answers::of(&results, metric)).1.unwrap();
        }
        let text = table::table(&answers).text(120);
        std::fs::write(dir.join("table.txt"), text).unwrap();
    }
}

/// The text of a picture, in the order of drawing.
fn words_of(svg: &str) -> String {
    let pieces = svg.split('<').filter_map(|tag| tag.split_once('>').map(|(_, text)| text.trim()));
    pieces.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn actions_are_compared_component_by_component() {
    let (_folder, dir) = folder();
    let taken: Vec<f32> = (0..9000).map(|i| (3.0 * noise(i)).tanh() as f32).collect();
    let near = |salt: u64, spread: f64| -> Vec<f32> {
        let moved = taken.iter().zip(0..).map(|(a, i)| *a + (spread * noise(salt + i)) as f32);
        moved.map(|a| a.clamp(-1.0, 1.0)).collect()
    };
    let actions = Actions {
        data: DATA[1].into(),
        training: "iql".into(),
        seed: 0,
        dims: 3,
        policy: near(1 << 40, 0.9),
        model: taken.clone(),
        model_name: "bc".into(),
        updates: 50_000,
        commits: vec!["0123abc".into()],
        taken: taken.clone(),
    };
    assert!(actions.mean_squared_errors().iter().all(|(policy, model)| *policy > 0.01 && *model == 0.0));
    let shifted = Actions { policy: taken.iter().map(|a| a + 0.5).collect(), ..actions.clone() };
    assert!(shifted.mean_squared_errors().iter().all(|(policy, _)| (policy - 0.25).abs() < 1e-6));
    let all = [actions, Actions { seed: 1, model: near(1 << 41, 0.3), ..shifted }];
    let files = actions::write(&dir, &invented(2, 2), &all).unwrap();
    assert_eq!(files.len(), 1 + 2 + 2);
    let csv = std::fs::read_to_string(dir.join("actions.csv")).unwrap();
    assert!(csv.lines().count() == 7 && csv.contains("hopper-medium-expert,iql,0,1,3000,0."), "{csv}");
    let svg = std::fs::read_to_string(dir.join("actions-hopper-medium-expert+iql.svg")).unwrap();
    for words in [
        "component 3",
        "offline-trained policy",
        "behaviour model",
        "laptop",
        "50,000 offline updates; seeds 0; commit 0123abc",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    assert!(actions::write(&dir, &invented(2, 2), &[]).unwrap().is_empty());
}

#[test]
fn folders_are_plain_words() {
    let name = super::graph::folder_name;
    assert_eq!(name("IQL + BAQ"), "iql-baq");
    assert_eq!(name("../data/hopper-medium-v2.hdf5"), "hopper-medium-v2");
    assert_eq!(name("suite:hopper-medium"), "suite-hopper-medium");
    assert_eq!(name("..."), "x");
}
