import numpy as np

def load(path):
    z = dict(np.load(path))
    layers = sorted({k.split(".")[1] for k in z if k.startswith("pi.layer")}, key=lambda k: int(k[5:]))
    return z, [(z[f"pi.{k}.weight"], z[f"pi.{k}.bias"]) for k in layers]

def norm(z, k, x):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
    return x * z[f"pi.norm{k}.weight"] + z[f"pi.norm{k}.bias"]

def network(z, layers, x):
    dense = lambda k, x: x @ layers[k][0] + layers[k][1]
    h, last = dense(0, x), len(layers) - 1
    if z["simba"]:
        for k in range(1, last, 2):
            h = h + dense(k + 1, np.maximum(dense(k, norm(z, k - 1, h)), 0))
        return dense(last, norm(z, last - 1, h))
    for k in range(1, last + 1):
        h = dense(k, np.maximum(h, 0))
    return h

def act(policy, observation):
    z, layers = policy
    f = network(z, layers, (observation - z["scale.observation.mean"]) / z["scale.observation.std"])
    mean = f[..., : int(z["actions"])]
    action = np.clip(np.tanh(mean) if z["squashed"] else mean, -1, 1)
    if "scale.action.low" not in z:
        return action
    low, high = z["scale.action.low"], z["scale.action.high"]
    return low + (action + 1) * 0.5 * (high - low)
