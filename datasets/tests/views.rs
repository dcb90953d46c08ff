//! From rows to transitions, episodes, returns and scales, on numbers small enough for a hand.

mod common;

use baq_datasets::scale::{self, ObservationScale, RewardScale, RewardTransform};
use baq_datasets::{
    Columns, Ending, Mode, Options, Recording, Source, TimeLimit, episodes, inspect, returns, synthetic,
};
use common::{fixture, r, s, s2};
use ndarray::{Array1, Array2, array};

fn fixture_columns(name: &str, options: &Options) -> Columns {
    baq_datasets::read(&fixture(name), options).expect("good fixture")
}

fn next_observations() -> Options {
    Options { mode: Mode::NextObservations, ..Options::default() }
}

/// Time-out rows too.
fn keep_all() -> Options {
    Options { keep_timeout_transitions: true, ..next_observations() }
}

/// File rows of the standard view of the fixtures: all but the timeout 44 and the last, 59.
fn kept() -> Vec<usize> {
    (0..59).filter(|i| *i != 44).collect()
}

#[test]
fn d4rl_mode_takes_the_next_row_whatever_it_is() {
    let columns = fixture_columns("gzip.hdf5", &Options { mode: Mode::D4rl, ..Options::default() });
    assert_eq!(columns.len(), 58);
    for (row, i) in kept().into_iter().enumerate() {
        assert_eq!(columns.observations[[row, 1]], s(i, 1));
        assert_eq!(columns.next_observations[[row, 1]], s(i + 1, 1), "file row {i}");
        assert_eq!(columns.rewards[row], r(i));
        assert_eq!(columns.endings[row] == Ending::Terminated, i == 19);
    }
    assert_eq!(columns.masks().sum(), 57.0);
}

#[test]
fn next_observations_mode_has_the_same_rows_with_the_true_next_state() {
    let columns = fixture_columns("gzip.hdf5", &next_observations());
    assert_eq!(columns.len(), 58);
    for (row, i) in kept().into_iter().enumerate() {
        assert_eq!(columns.next_observations[[row, 2]], s2(i, 2), "file row {i}");
    }
    assert_eq!(columns.endings[19], Ending::Terminated);
    // Row 44 is gone: the trajectory now stops after row 43.
    assert_eq!(columns.endings[43], Ending::Truncated);
    assert_eq!(columns.endings[57], Ending::Running);
    let p = columns.action_log_probs.as_ref().expect("in this fixture");
    assert_eq!((p.len(), p[43], p[44]), (58, 43.0 / 64.0, 45.0 / 64.0));
    let lengths: Vec<usize> = episodes::of(&columns).iter().map(|e| e.len()).collect();
    assert_eq!(lengths, [20, 24, 14]);
}

#[test]
fn timeout_transitions_can_be_kept() {
    let options = keep_all();
    let columns = fixture_columns("gzip.hdf5", &options);
    assert_eq!(columns.len(), 60);
    assert_eq!((columns.endings[43], columns.endings[44]), (Ending::Running, Ending::Truncated));
    assert_eq!(columns.next_observations[[44, 0]], s2(44, 0));
    assert_eq!(columns.masks()[44], 1.0);
    let text = baq_datasets::read(&fixture("no-next-observations.hdf5"), &options)
        .expect_err("no such key")
        .to_string();
    assert!(text.contains("`next_observations`") && text.contains("keep_timeout_transitions"), "{text}");
    for mode in [Mode::D4rl, Mode::Episodes] {
        let options = Options { mode, ..options.clone() };
        assert!(baq_datasets::read(&fixture("gzip.hdf5"), &options).is_err());
    }
}

#[test]
fn without_a_timeout_column_the_counter_of_d4rl_is_followed() {
    // After the terminal in row 19 D4RL counts on from 1, so with limit 10 it drops 9; 19 is a 10th step too.
    let rec = baq_datasets::read_recording(&fixture("no-timeouts.hdf5"), &Options::default()).expect("good");
    let dropped = |rows: Vec<bool>| (0..60).filter(|i| !rows[*i]).collect::<Vec<usize>>();
    let d4rl = |steps| dropped(rec.qlearning_rows(TimeLimit::OfTask(steps)));
    let episodes = |steps| {
        let options = Options { time_limit: TimeLimit::OfTask(steps), ..Options::default() };
        dropped(rec.training_rows(&options))
    };
    assert_eq!(d4rl(10), [9, 19, 29, 39, 49, 59]);
    // By default a failure in the last row that the limit allows is one.
    assert_eq!(episodes(10), [9, 29, 39, 49, 59]);
    // With limit 12: 11, then the terminal 19 restarts the counter at 1, so 30 (not 31), 42, 54.
    assert_eq!(d4rl(12), [11, 30, 42, 54, 59]);
    // The default counts right: the last of 12 rows.
    assert_eq!(episodes(12), [11, 31, 43, 55, 59]);
    assert_eq!(rec.into_columns(&Options::default()).expect("59 rows").len(), 59);
}

/// A recording of S = A = 1 with the given flags.
fn recording(terminals: Vec<bool>, timeouts: Vec<bool>, seam: Option<usize>) -> Recording {
    let n = terminals.len();
    let column = |f: &dyn Fn(usize) -> f32| Array2::from_shape_fn((n, 1), |(i, _)| f(i));
    Recording {
        observations: column(&|i| i as f32),
        actions: column(&|_| 0.0),
        rewards: Array1::from_elem(n, 1.0),
        next_observations: Some(column(&|i| {
            if seam == Some(i) { 100.0 } else { (i + 1) as f32 }
        })),
        terminals,
        timeouts: Some(timeouts),
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

#[test]
fn a_last_row_is_no_transition_even_where_the_task_ends() {
    let all = recording(vec![false, false, true], vec![false; 3], None);
    assert_eq!(all.into_columns(&Options::default()).expect("two transitions").len(), 2);
}

#[test]
fn both_flags_on_one_row() {
    // D4RL drops the row; kept, it is a failure of the environment, so nothing is bootstrapped from it.
    let rec = recording(vec![false, true, false], vec![false, true, false], None);
    assert_eq!(rec.qlearning_rows(TimeLimit::Unknown), [true, false, false]);
    let keep = keep_all();
    let columns = rec.into_columns(&keep).expect("rows");
    assert_eq!(columns.endings, [Ending::Running, Ending::Terminated, Ending::Running]);
}

#[test]
fn a_seam_without_flag_ends_a_trajectory() {
    let rec = recording(vec![false; 6], vec![false; 6], Some(2));
    let found = rec.episodes(TimeLimit::Unknown);
    assert_eq!(found.len(), 2);
    assert!(!found[0].is_complete(), "nobody said that it was over");
    let columns = rec.into_columns(&Options::default()).expect("rows");
    assert_eq!(columns.endings[2], Ending::Truncated);
    assert_eq!(episodes::of(&columns).len(), 2);
}

#[test]
fn arrays_in_another_memory_order_are_understood() {
    let rec = recording(vec![false, true, false, false], vec![false; 4], None);
    let expected = rec.clone().into_columns(&Options::default()).expect("rows");
    let mut odd = rec;
    // Column-major, and a view into a longer buffer.
    odd.actions = Array2::from_shape_fn((2, 4), |(k, i)| (i + k) as f32 / 8.0).reversed_axes();
    let mut longer = Array2::from_elem((6, 1), -1.0);
    longer.slice_mut(ndarray::s![2.., ..]).assign(&odd.observations);
    odd.observations = longer.slice_move(ndarray::s![2.., ..]);
    let columns = odd.into_columns(&Options::default()).expect("rows");
    assert_eq!(columns.observations, expected.observations);
    assert_eq!(columns.actions, array![[0.0, 0.125], [0.125, 0.25], [0.25, 0.375]]);
}

#[test]
fn a_first_row_that_times_out_and_a_lonely_row() {
    let rec = recording(vec![false; 3], vec![true, false, false], None);
    let columns = rec.into_columns(&Options::default()).expect("row 1 is left");
    assert_eq!((columns.len(), columns.observations[[0, 0]]), (1, 1.0));
    let error =
        recording(vec![false], vec![false], None).into_columns(&Options::default()).expect_err("no pair");
    assert!(error.to_string().contains("expected at least 2"), "{error}");
    // The last row is flagged: the row before it is a cut, not an open end.
    let columns = recording(vec![false; 3], vec![false, false, true], None).into_columns(&Options::default());
    assert_eq!(columns.expect("rows").endings, [Ending::Running, Ending::Truncated]);
}

#[test]
fn returns_of_the_toy_by_hand() {
    let toy = synthetic::toy();
    assert_eq!(returns::episode_returns(&toy), [6.0, 4.0, -4.5]);
    assert_eq!(returns::return_range(&toy), Some((-4.5, 6.0)));
    let to_go = returns::returns_to_go(&toy, 0.5);
    // 1 + 2/2 + 3/4, 2 + 3/2, 3 | 1 + 1/2 + 1/4 + 1/8, ... | -5 + 0.5/2, 0.5
    assert_eq!(to_go, array![2.75, 3.5, 3.0, 1.875, 1.75, 1.5, 1.0, -4.75, 0.5]);
    assert_eq!(returns::returns_to_go(&toy, 1.0)[3], 4.0);
}

#[test]
fn return_scale_of_the_toy_by_hand() {
    let toy = synthetic::toy();
    // The tail counts: 1000 / (6 - -4.5).
    let fitted = RewardScale::fit(RewardTransform::ReturnRange, &toy).expect("a range");
    assert_eq!(fitted, RewardScale { scale: (1000.0f64 / 10.5) as f32, shift: 0.0 });
    // A length counter of 7 would have merged the first two trajectories (return 10) and given 1000 / 14.5.
    let affine =
        RewardScale::fit(RewardTransform::Affine { scale: 10.0, shift: -5.0 }, &toy).expect("constants");
    assert_eq!((affine.apply(1.0), affine.apply(0.0)), (5.0, -5.0));
    assert_eq!(RewardScale::fit(RewardTransform::None, &toy).expect("identity").apply(0.3), 0.3);
    let mut flat = toy;
    flat.rewards.fill(0.0);
    let error = RewardScale::fit(RewardTransform::ReturnRange, &flat).expect_err("no range");
    assert!(error.to_string().contains("return range of 0"), "{error}");
}

#[test]
fn return_scale_survives_dropped_timeouts() {
    // The same toy as a recording: the view loses the timeout row, yet the trajectories stay apart.
    let toy = synthetic::toy();
    let flags = |which: Ending| toy.endings.iter().map(|e| *e == which).collect::<Vec<bool>>();
    let rec = Recording {
        observations: toy.observations.clone(),
        actions: toy.actions.clone(),
        rewards: toy.rewards.clone(),
        next_observations: Some(toy.next_observations.clone()),
        terminals: flags(Ending::Terminated),
        timeouts: Some(flags(Ending::Truncated)),
        group_ends: None,
        action_log_probs: None,
        algorithm: None,
        env: None,
        action_bounds: None,
        action_space: None,
        notes: Vec::new(),
        source: Source::in_memory("<toy>"),
    };
    for mode in [Mode::Episodes, Mode::NextObservations, Mode::D4rl] {
        let columns = rec.clone().into_columns(&Options { mode, ..Options::default() }).expect("rows");
        assert_eq!(returns::episode_returns(&columns), [6.0, 3.0, -5.0], "{mode:?}");
    }
    let keep = keep_all();
    assert_eq!(returns::episode_returns(&rec.into_columns(&keep).expect("rows")), [6.0, 4.0, -4.5]);
}

/// States that differ by rounding continue, and still do once they are standardised, where rounding is far more.
#[test]
fn episodes_do_not_depend_on_the_scale_of_states() {
    let n = 200;
    let s = Array2::from_shape_fn((n, 1), |(i, _)| 1900.0 + 0.05 * ((i * 37 % 101) as f32 / 50.0 - 1.0));
    let next = Array2::from_shape_fn((n, 1), |(i, _)| f32::from_bits(s[[(i + 1) % n, 0]].to_bits() + 1));
    let timeouts = (0..n).map(|i| i % 50 == 49).collect();
    let rec = Recording {
        observations: s,
        next_observations: Some(next),
        ..recording(vec![false; n], timeouts, None)
    };
    for mode in [Mode::Episodes, Mode::NextObservations, Mode::D4rl] {
        let mut columns = rec.clone().into_columns(&Options { mode, ..Options::default() }).expect("rows");
        let scale = ObservationScale::fit(columns.observations.view());
        for states in [&mut columns.observations, &mut columns.next_observations] {
            scale.apply(states.as_slice_mut().expect("dense"));
        }
        assert_eq!(returns::episode_returns(&columns), [49.0; 4], "{mode:?}");
        assert_eq!(returns::returns_to_go(&columns, 1.0)[0], 49.0, "{mode:?}");
    }
}

#[test]
fn observation_scale_by_hand() {
    let data = array![[1.0f32, 5.0], [3.0, 5.0]];
    let fitted = ObservationScale::fit(data.view());
    assert_eq!(fitted.mean, [2.0, 5.0]);
    assert_eq!(fitted.std, [1.001, 0.001]);
    let mut rows = [3.001, 5.0, 2.0, 5.001];
    fitted.apply(&mut rows);
    for (got, expected) in rows.iter().zip([1.0, 0.0, 0.0, 1.0]) {
        assert!((got - expected).abs() < 1e-3, "{rows:?}");
    }
    let mut same = [0.5, -7.0];
    ObservationScale::identity(2).apply(&mut same);
    assert_eq!(same, [0.5, -7.0]);
}

#[test]
fn actions_are_clipped_inside_the_tanh_range() {
    let mut actions = array![[1.0f32, -1.0], [0.25, -0.999_999]];
    scale::clip_actions(&mut actions, 1.0 - 1e-5);
    assert_eq!(actions, array![[0.99999f32, -0.99999], [0.25, -0.99999]]);
    assert!(actions.iter().all(|a| a.atanh().is_finite()));
}

#[test]
fn summary_of_a_fixture_by_hand() {
    let options = Options::default();
    let expected = inspect::Expected { env: "hopper", obs_dim: 3, act_dim: 2 };
    let summary = inspect::inspect(&fixture("gzip.hdf5"), &options, Some(expected)).expect("good");
    let json = summary.to_json();
    for (key, value) in [
        ("n_transitions", 60),
        ("n_episodes", 3),
        ("n_complete", 2),
        ("n_terminals", 1),
        ("n_timeouts", 1),
        ("n_qlearning", 58),
        ("obs_dim", 3),
        ("act_dim", 2),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    let total: f32 = (0..60).map(r).sum();
    let (first, second): (f32, f32) = ((0..20).map(r).sum(), (20..45).map(r).sum());
    assert_eq!(json["sum_rewards"], f64::from(total));
    assert_eq!(json["returns"]["mean"], f64::from(first + second) / 2.0);
    assert_eq!(json["returns"]["best_tenth_mean"], f64::from(first.max(second)));
    assert_eq!(json["lengths"]["min"], 20);
    assert_eq!(json["checksum"]["verdict"], "unknown");
    let table = summary.to_table();
    assert!(table.contains("3 (2 complete, 1 unfinished)") && table.contains("normalised score"), "{table}");
    let wrong = inspect::Expected { obs_dim: 11, ..expected };
    assert!(inspect::inspect(&fixture("gzip.hdf5"), &options, Some(wrong)).is_err());
    let bare = inspect::inspect(&fixture("no-timeouts.hdf5"), &options, None).expect("good");
    assert_eq!((bare.n_qlearning, bare.n_timeouts, bare.has_timeouts), (59, 0, false));
    assert!(bare.to_table().contains("no such column"));
}

#[test]
fn synthetic_points_are_repeatable_and_whole() {
    let (one, two) = (synthetic::point(7, 500, 3, 2), synthetic::point(7, 500, 3, 2));
    assert_eq!(one, two);
    assert_ne!(one, synthetic::point(8, 500, 3, 2));
    one.check_lengths().expect("equal lengths");
    assert!(one.actions.iter().all(|a| a.abs() <= 1.0));
    let found = episodes::of(&one);
    assert!(
        found.iter().any(|e| e.ending == Ending::Terminated)
            && found.iter().any(|e| e.ending == Ending::Truncated)
    );
    assert!(found.iter().all(|e| e.len() <= 50));
    assert_eq!(found.iter().map(|e| e.len()).sum::<usize>(), 500);
}
