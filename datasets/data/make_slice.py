"""Cuts hopper-mixed-slice.hdf5 out of two larger rollout files in D4RL layout.

    python make_slice.py MIXED.hdf5 MEDIUM.hdf5 hopper-mixed-slice.hdf5

Whole complete episodes only. The episodes of each file are sorted by return and every k-th is taken, so that the whole
range of returns is covered; those taken are written in the order of their files. Needs h5py and numpy; the product never
runs this.
"""

import sys

import h5py
import numpy as np

KEYS = ["observations", "actions", "rewards", "next_observations", "terminals", "timeouts"]


def rows_of(path, every, offset):
    """All columns of `path` and the rows of the chosen episodes."""
    with h5py.File(path) as f:
        columns = {key: f[key][:] for key in KEYS}
    last = np.flatnonzero(columns["terminals"] | columns["timeouts"])
    first = np.r_[0, last[:-1] + 1]
    returns = [columns["rewards"][a : b + 1].astype(np.float64).sum() for a, b in zip(first, last)]
    chosen = np.sort(np.argsort(returns, kind="stable")[offset::every])
    return columns, np.concatenate([np.arange(first[i], last[i] + 1) for i in chosen])


def main():
    mixed, medium, out = sys.argv[1:]
    parts = [rows_of(mixed, 8, 4), rows_of(medium, 80, 40)]
    with h5py.File(out, "w") as f:
        for key in KEYS:
            data = np.concatenate([columns[key][rows] for columns, rows in parts])
            f.create_dataset(key, data=data, compression="gzip", compression_opts=4, track_times=False)
        f.create_dataset("metadata/algorithm", data=np.bytes_("mixed"), track_times=False)


if __name__ == "__main__":
    main()
