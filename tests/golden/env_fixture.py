"""Makes recordings of Gymnasium for `baq env replay`: env_fixture.py FOLDER ID:STEPS[:f32]...

    python3 -m pip install gymnasium==1.4.0 mujoco==3.3.7 numpy==2.4.6 safetensors imageio packaging
    python3 env_fixture.py . Ant-v4:200 Ant-v5:100 Humanoid-v4:40 Humanoid-v5:40 Swimmer-v4:200 Swimmer-v5:200 \
        Reacher-v4:150 Reacher-v5:150 InvertedPendulum-v4:200 InvertedPendulum-v5:200

An episode that ends is followed by another one. Actions go a little beyond their bounds; with `:f32` they are given and
stored in f32.
"""
import json, os, pathlib, sys

# Reacher's distance is a dot product, which OpenBLAS rounds otherwise (fused) on processors with AVX-512.
os.environ["OPENBLAS_CORETYPE"] = "Haswell"

import gymnasium as gym
import mujoco
import numpy as np
from safetensors.numpy import save_file

gym.logger.min_level = gym.logger.ERROR  # v4 is old, it would say
folder = pathlib.Path(sys.argv[1])
for wanted in sys.argv[2:]:
    task, steps, *single = wanted.split(":")
    env, draws = gym.make(task), np.random.default_rng(7)
    data, model = env.unwrapped.data, env.unwrapped.model
    reach = env.action_space.high.astype(np.float64)
    tensors, lengths, left = {}, [], int(steps)
    while left > 0:
        observation, _ = env.reset(seed=len(lengths))
        rows = {"observations": [observation], "actions": [], "rewards": [], "terminated": []}
        start = {"qpos": data.qpos.copy(), "qvel": data.qvel.copy()}
        while left > 0:
            # Calm beginnings, so that robots stand a while.
            size = min(1.1, 0.2 + 0.02 * len(rows["actions"]))
            action = size * reach * draws.uniform(-1, 1, size=reach.shape)
            if single:
                action = action.astype(np.float32)
            observation, reward, terminated, truncated, _ = env.step(action)
            for key, value in zip(rows, (observation, action, reward, terminated)):
                rows[key].append(value)
            left -= 1
            if terminated or truncated:
                break
        for key, value in start.items():
            tensors[f"segment.{len(lengths)}.{key}"] = value
        for key, value in rows.items():
            kind = {"terminated": np.uint8, "rewards": np.float64}.get(key)
            tensors[f"segment.{len(lengths)}.{key}"] = np.asarray(value, dtype=kind)
        lengths.append(len(rows["actions"]))
    name = folder / f"env-{task.lower()}"
    save_file(tensors, f"{name}.safetensors")
    about = {
        "env": task,
        "mujoco": mujoco.__version__,
        "gymnasium": gym.__version__,
        "segments": len(lengths),
        "steps": lengths,
        "frame_skip": env.unwrapped.frame_skip,
        "note": "each segment: reset data, set qpos and qvel, forward, then one environment step per action",
    }
    pathlib.Path(f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")
