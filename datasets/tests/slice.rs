//! The embedded slice is what its README says.

use baq_datasets::{Options, d4rl, embedded_hopper, inspect, scale::RewardScale, scale::RewardTransform};

#[test]
fn numbers_of_the_embedded_slice() {
    let bytes = embedded_hopper();
    assert!(bytes.len() < 6_000_000);
    let recording = d4rl::read_bytes("slice", bytes, false).expect("our own file");
    let expected = inspect::Expected { env: "Hopper-v4", obs_dim: 11, act_dim: 3 };
    let summary = inspect::summarize(&recording, &Options::default(), Some(expected)).expect("a Hopper file");
    assert_eq!((summary.n_transitions, summary.n_qlearning), (27_107, 27_100));
    assert_eq!((summary.n_episodes, summary.n_complete), (118, 118));
    assert_eq!((summary.n_terminals, summary.n_timeouts), (111, 7));
    let close =
        |got: f64, expected: f64| assert!((got - expected).abs() < 5e-7 * expected.abs(), "{got} {expected}");
    // Figures of NumPy, in f64, on the same file.
    close(summary.sum_rewards, 81219.48099982645);
    let returns = summary.returns.as_ref().expect("complete episodes");
    close(returns.mean, 688.3006864392072);
    close(returns.std, 808.0230938585138);
    close(returns.min, 5.812183529138565);
    close(returns.max, 3641.193106472492);
    close(returns.best_tenth, 2713.854694932699);
    let lengths = summary.lengths.expect("complete episodes");
    close(lengths.mean, 229.72033898305085);
    assert_eq!((lengths.min, lengths.max), (8.0, 1000.0));
    assert_eq!(summary.source.sha256, "f0ad0cf6c90cd35ba7b990b69cdf2b0c3ccafa5c8538ec52b2f84958bee4ec27");
    assert_eq!(summary.algorithm.as_deref(), Some("mixed"));
    assert!(summary.has_next_observations && summary.max_abs_action == 1.0);
    let (mean, best) = summary.scores.expect("Hopper has references");
    assert!((mean - 21.77).abs() < 0.01 && (best - 84.01).abs() < 0.01, "{mean} {best}");
}

#[test]
fn the_slice_trains_with_default_options() {
    let recording = d4rl::read_bytes("slice", embedded_hopper(), false).expect("our own file");
    let columns = recording.into_columns(&Options::default()).expect("default options fit");
    assert_eq!((columns.len(), columns.obs_dim(), columns.act_dim()), (27_100, 11, 3));
    columns.check_dims("Hopper-v4", 11, 3).expect("fits");
    let fitted = RewardScale::fit(RewardTransform::ReturnRange, &columns).expect("a range");
    // 1000 / (3641.19 - 5.81), a little more because timeout rows are not in the view.
    assert!(fitted.scale > 0.2750 && fitted.scale < 0.2756, "{}", fitted.scale);
}
