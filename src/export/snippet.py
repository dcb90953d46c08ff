import numpy as np

def load(path):
    z = dict(np.load(path))
    layers = sorted({k.split(".")[1] for k in z if k.startswith("pi.layer")}, key=lambda k: int(k[5:]))
    return z, [(z[f"pi.{k}.weight"], z[f"pi.{k}.bias"]) for k in layers]

def act(policy, observation):
    z, layers = policy
    h = (observation - z["scale.observation.mean"]) / z["scale.observation.std"]
    for k, (w, b) in enumerate(layers):
        h = h @ w + b if k + 1 == len(layers) else np.maximum(h @ w + b, 0)
    mean = h[..., : int(z["actions"])]
    action = np.clip(np.tanh(mean) if z["squashed"] else mean, -1, 1)
    if "scale.action.low" not in z:
        return action
    low, high = z["scale.action.low"], z["scale.action.high"]
    return low + (action + 1) * 0.5 * (high - low)
