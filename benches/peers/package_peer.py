"""Updates per second of published packages on this processor, as one line of JSON.

d3rlpy  IQL, SAC, TD3+BC and CQL (PyTorch)
sbx     SAC (JAX; many updates in one jitted loop)
Networks and batches have the sizes of `baq bench update`; everything else is the package's own. Batches are drawn beforehand where
the package lets one (d3rlpy); otherwise drawing is part of the measurement, as it is of the package (sbx).
"""

import argparse
import json
import statistics
import time

S, A, B, DRAWS = 11, 3, 256, 10
# What each offers of the four.
OFFERS = {"d3rlpy": ["iql", "sac", "td3_bc", "cql"], "sbx": ["sac"]}


def d3rlpy_update(algo, threads):
    """(makes so many updates, how many at once)"""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    import d3rlpy
    from d3rlpy.algos import CQLConfig, IQLConfig, SACConfig, TD3PlusBCConfig
    from d3rlpy.dataset import TransitionMiniBatch

    config = {"iql": IQLConfig, "sac": SACConfig, "td3_bc": TD3PlusBCConfig, "cql": CQLConfig}[algo]
    encoder = d3rlpy.models.encoders.VectorEncoderFactory([256] * (3 if algo == "cql" else 2))
    names = ["actor_encoder_factory", "critic_encoder_factory"] + ["value_encoder_factory"] * (algo == "iql")
    more = {"n_action_samples": DRAWS} if algo == "cql" else {}
    learner = config(batch_size=B, **{name: encoder for name in names}, **more).create(device=False)
    learner.create_impl((S,), A)
    new = lambda *dims: np.random.default_rng(0).uniform(-1, 1, dims).astype(np.float32)
    batch = TransitionMiniBatch(
        observations=new(B, S), actions=new(B, A), rewards=new(B, 1), next_observations=new(B, S), next_actions=new(B, A),
        terminals=np.zeros((B, 1), np.float32), intervals=np.ones((B, 1), np.float32), transitions=[],
    )  # fmt: skip
    # In pairs, since TD3+BC's updates differ in twos.
    return (lambda: (learner.update(batch), learner.update(batch))), 2


def sbx_update(algo, threads):
    """(makes so many updates, how many at once)"""
    import os

    # Before JAX is imported, which takes as many threads as it may use processors.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    import gymnasium
    import numpy as np
    from sbx import SAC
    from stable_baselines3.common.logger import Logger

    class Still(gymnasium.Env):
        """Says what it is asked for, nothing else."""

        observation_space = gymnasium.spaces.Box(-1, 1, (S,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (A,), np.float32)

        def reset(self, seed=None, options=None):
            return np.zeros(S, np.float32), {}

        def step(self, action):
            return np.zeros(S, np.float32), 0.0, False, False, {}

    model = SAC("MlpPolicy", Still(), batch_size=B, buffer_size=100_000, policy_kwargs={"net_arch": [256, 256]})
    model.set_logger(Logger(None, []))
    r = np.random.default_rng(0)
    for _ in range(100_000):
        model.replay_buffer.add(r.uniform(-1, 1, S), r.uniform(-1, 1, S), r.uniform(-1, 1, A), r.uniform(), np.zeros(1), [{}])
    at_once = 64
    return (lambda: model.train(at_once, B)), at_once


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", choices=OFFERS, required=True)
    parser.add_argument("--algo", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    if args.algo not in OFFERS[args.package]:
        parser.error(f"--algo: expected {' or '.join(OFFERS[args.package])}, which {args.package} offers, got {args.algo}")
    update, at_once = {"d3rlpy": d3rlpy_update, "sbx": sbx_update}[args.package](args.algo, args.threads)
    for _ in range(3):
        update()
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < args.seconds or len(times) < 3:
        start = time.perf_counter()
        update()
        times.append((time.perf_counter() - start) / at_once)
    print(json.dumps({"updates_per_second": 1 / statistics.median(times)}))


if __name__ == "__main__":
    main()
