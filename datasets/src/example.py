import numpy as np

rng, rows = np.random.default_rng(0), 1000
actions = rng.uniform(-1, 1, size=(rows, 2))
timeouts = np.arange(1, rows + 1) % 50 == 0  # episodes of 50 rows, each from a new beginning
terminals = np.zeros(rows, dtype=bool)
states = np.concatenate([0.1 * np.cumsum(actions[i : i + 50], axis=0) for i in range(0, rows, 50)])
rewards = -np.linalg.norm(states, axis=1)
np.savez("mine.npz", observations=states, actions=actions, rewards=rewards, terminals=terminals, timeouts=timeouts)
