//! Options at the ends of what they may be.

mod common;

use baq::config::{Config, OnlineConfig, RunConfig};
use baq::train::{data, run};
use baq_datasets::{Ending, synthetic};
use common::config;
use common::place::{Place, write_d4rl};
use common::program::{baq, ran, succeed};

const BASE: &str = "train --algo iql --data toy.hdf5 --env toy --quiet --updates 10 --set offline.batch=16 \
    --set offline.eval_episodes=0 --set iql.hidden=[4] --out base";

/// The best episodes are those of the largest recorded returns, whatever scales and shifts rewards.
#[test]
fn scaled_rewards_do_not_choose_the_best_episodes() {
    let place = Place::new();
    let path = place.path("two.hdf5");
    // An episode of 10 rows, one of 100, and a last row, which is no transition.
    let mut columns = synthetic::point(5, 111, 3, 1);
    columns.observations.fill(0.0);
    columns.next_observations.fill(0.0);
    for i in 0..111 {
        columns.rewards[i] = if i < 10 { 0.1 } else { 1.0 };
        columns.endings[i] = if i == 9 || i == 109 { Ending::Terminated } else { Ending::Running };
    }
    write_d4rl(&path, &columns);
    for (scale, bias) in [(1, 0), (1, -5), (-1, 0), (0, 0)] {
        let affine = [format!("data.reward_scale={scale}"), format!("data.reward_bias={bias}")];
        let sets = ["online.offline_rows=best(1)", "data.reward_scaling=affine", &affine[0], &affine[1]];
        let mut config: Config = config("iql", "plain", 0, &sets);
        config.put(RunConfig { dataset: path.display().to_string(), ..config.section() });
        let dataset = data::load(&config).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(dataset.columns.len(), 110);
        let kept = run::kept(&dataset, &config.section::<OnlineConfig>());
        assert_eq!(kept, 100, "rewards times {scale} plus {bias}");
    }
}

/// Priorities that f32 cannot hold are no sign of divergence: the run goes to its end, its metrics are numbers.
#[test]
fn the_largest_priorities_do_not_end_a_run() {
    let place = Place::new();
    let folder = place.0.path();
    succeed(folder, BASE);
    succeed(
        folder,
        "finetune --adapt baq --from base --quiet --env-steps 10 --set online.batch=16 --set online.log_every=5 \
         --set online.capacity=1000 --set online.eval_episodes=0 --set baq.model_updates=10 --set baq.model_hidden=[4] \
         --set baq.k_rho=fixed(0.000001) --set baq.priority_exponent=8 --out tuned",
    );
    let metrics = std::fs::read_to_string(place.path("tuned/metrics.csv")).expect("metrics");
    let (names, last) = (metrics.lines().next().expect("names"), metrics.lines().last().expect("rows"));
    let at = names.split(',').position(|name| name == "rho_offline").expect("a column");
    let rho: f64 = last.split(',').nth(at).expect("a value").parse().expect("a number");
    assert!(rho.is_finite() && rho > 1e25, "{rho}");
}

/// A generator that draws no numbers has diverged, as any other network would have.
#[test]
fn a_generator_that_draws_nan_has_diverged() {
    let place = Place::new();
    let folder = place.0.path();
    succeed(folder, BASE);
    let line = "finetune --adapt plain --from base --generator edis --quiet --env-steps 8 --set online.eval_episodes=0 \
         --set online.batch=4 --set online.warmup_steps=1 --set edis.every=3 --set edis.updates=20 --set edis.average=1 \
         --set edis.rows=20 --set edis.batch=4 --set edis.hidden=[4,8,8] --set edis.steps=3 --set edis.energy_batch=3 \
         --set edis.energy_updates=2 --set edis.energy_hidden=[5] --set edis.denoiser=1e36 --out tuned";
    let (code, _, error) = ran(&mut baq(folder, line));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("diverged: after update ") && error.contains(" of generated rows"), "{error}");
    assert!(place.path("tuned/diverged.txt").exists());
}
