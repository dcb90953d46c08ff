"""Writes rliable.json: what rliable 1.2.0 says of made-up scores, for tests/statistics.rs.

    pip install rliable==1.2.0
    python rliable_fixture.py > rliable.json

Scores are rounded to halves, so that there are ties. x and y are [runs, tasks]; `interval` are percentile intervals
of a stratified bootstrap, and random: those of the fixture come from 20,000 resamples (2,000 of the slower improvement)
with the seed below.
"""

import json

import numpy as np
from rliable import library, metrics

CASES = {"three seeds, nine tasks": (3, 9), "five seeds, four tasks": (5, 4), "ten seeds, one task": (10, 1)}
TARGET = 100.0
THRESHOLDS = [-10.0, 0.0, 20.0, 42.5, 60.0, 77.5, 100.0, 130.0]
AGGREGATES = {
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "iqm": metrics.aggregate_iqm,
    "gap": lambda s: metrics.aggregate_optimality_gap(s, TARGET),
}


def aggregates(scores):
    return np.array([of(scores) for of in AGGREGATES.values()])


def profile(scores, of_runs):
    shares, _ = library.create_performance_profile({"it": scores}, np.array(THRESHOLDS), of_runs, reps=10)
    return shares["it"].tolist()


def case(name, runs, tasks, rng):
    level = rng.uniform(10.0, 110.0, tasks)
    made = lambda gain: np.round(2.0 * (level + gain + rng.normal(0.0, 12.0, (runs, tasks)))) / 2.0
    x, y = made(6.0), made(0.0)
    interval = lambda scores, of, reps: library.get_interval_estimates(
        {"it": scores}, of, reps=reps, random_state=np.random.RandomState(7)
    )[1]["it"]
    ends = interval(x, aggregates, 20_000)
    improvement = lambda a, b: np.array([metrics.probability_of_improvement(a, b)])
    return {
        "name": name,
        "x": x.tolist(),
        "y": y.tolist(),
        "aggregates": {
            key: {"value": float(of(x)), "interval": ends[:, i].tolist()}
            for i, (key, of) in enumerate(AGGREGATES.items())
        },
        "improvement": {
            "value": float(metrics.probability_of_improvement(x, y)),
            "interval": interval((x, y), improvement, 2_000)[:, 0].tolist(),
        },
        "profile": profile(x, True),
        "profile_of_means": profile(x, False),
    }


rng = np.random.default_rng(20260628)
cases = [case(name, *shape, rng) for name, shape in CASES.items()]
print(json.dumps({"target": TARGET, "thresholds": THRESHOLDS, "cases": cases}))
