"""Gymnasium environments behind the protocol of baq's `process:` environments; the program runs this by itself for `gym:ID`."""
import json, math, os, struct, sys

answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what libraries print is no answer
requests = sys.stdin.buffer


def fail(text):
    text = " ".join(str(text).split()).encode()[: 1 << 16]
    answers.write(struct.pack("<BI", 1, len(text)) + text)
    answers.flush()


def hello(**fields):
    answers.write(json.dumps(fields).encode() + b"\n")
    answers.flush()


try:
    import gymnasium as gym
    import numpy as np
except ImportError as e:
    hello(error=f"{e}; gym: environments need it: python3 -m pip install gymnasium (and gymnasium-robotics, ogbench for theirs)")
    sys.exit()

missing = []
for package in ("gymnasium_robotics", "ogbench"):
    try:
        module = __import__(package)
        if package == "gymnasium_robotics":
            gym.register_envs(module)
    except ImportError:
        missing.append(package.replace("_", "-"))

# Of an observation that is a dictionary: first what is seen, then the rest by name.
first = ("observation", "achieved_goal", "desired_goal")


def keys(space):
    return sorted(space.spaces, key=lambda k: (first.index(k) if k in first else len(first), k))


def flat(space, observation):
    if isinstance(space, gym.spaces.Dict):
        return np.concatenate([flat(space[k], observation[k]) for k in keys(space)])
    numbers = np.asarray(observation, dtype=np.float64).ravel()
    if numbers.size != size(space):
        raise ValueError(f"expected an observation of {size(space)} numbers, as its space {space} says, got {numbers.size}")
    return numbers


def size(space):
    if isinstance(space, gym.spaces.Dict):
        return sum(size(space[k]) for k in space.spaces)
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(f"expected observations of numbers (Box, or a Dict of them), got {space}")
    return math.prod(space.shape)


def versions():
    import importlib.metadata as metadata
    names = ("gymnasium", "mujoco", "gymnasium-robotics", "ogbench", "numpy")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return ", ".join(f"{k} {v}" for k, v in found.items())


def said(info):
    """What a step says of success; None if nothing."""
    return next((bool(info[key]) for key in ("success", "is_success") if key in info), None)


def says(task):
    """Whether its first step says so; of an instance of its own, for episodes to depend on their seeds alone."""
    probe = gym.make(task)
    probe.reset(seed=0)
    middle = (probe.action_space.low + probe.action_space.high) / 2
    info = probe.step(middle.astype(probe.action_space.dtype))[4]
    probe.close()
    return said(info) is not None


try:
    made = gym.make(sys.argv[1])
    actions, observations = made.action_space, made.observation_space
    if not isinstance(actions, gym.spaces.Box):
        raise ValueError(f"expected continuous actions (Box), got {actions}")
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise ValueError(f"expected bounded actions, got {actions}")
    limit = made.spec.max_episode_steps
    if limit is None:
        raise ValueError("expected a time limit (max_episode_steps), got none")
    low, high = (np.asarray(x, dtype=np.float64).ravel() for x in (actions.low, actions.high))
    plain = bool((low == -1).all() and (high == 1).all())
    bounds = {} if plain else dict(low=low.tolist(), high=high.tolist())
    success = says(sys.argv[1])
    hello(
        protocol=1,
        observation=size(observations),
        action=int(np.prod(actions.shape)),
        limit=limit,
        success=success,
        versions=versions(),
        **bounds,
    )
except Exception as e:
    hint = f"; not installed: {', '.join(missing)}" if missing else ""
    hello(error=f"{type(e).__name__}: {e}{hint}")
    sys.exit()

count = low.size
free, environments = [made], {}
# Some tasks, as OGBench's, draw from NumPy's global generator: every environment has a state of its own of it.
draws = {}


def act(numbers):
    if not plain:
        numbers = low + (numbers.astype(np.float64) + 1) * 0.5 * (high - low)
    return numbers.astype(actions.dtype).reshape(actions.shape)


def answer(observation, head=b""):
    answers.write(b"\0" + head + flat(observations, observation).astype("<f8").tobytes())
    answers.flush()


while True:
    op = requests.read(1)
    if not op:
        break
    (number,) = struct.unpack("<I", requests.read(4))
    if op == b"C":  # is never answered
        try:
            environments.pop(number).close()
        except Exception:
            pass
        continue
    try:
        if op == b"R":
            (seed,) = struct.unpack("<Q", requests.read(8))
            if number not in environments:
                environments[number] = free.pop() if free else gym.make(sys.argv[1])
            np.random.seed(seed)
            observation, _ = environments[number].reset(seed=seed)
            draws[number] = np.random.get_state()
            answer(observation)
        elif op == b"S":
            action = act(np.frombuffer(requests.read(4 * count), dtype="<f4"))
            np.random.set_state(draws[number])
            observation, reward, terminated, truncated, info = environments[number].step(action)
            draws[number] = np.random.get_state()
            head = struct.pack("<dBB", float(reward), bool(terminated), bool(truncated))
            answer(observation, head + bytes([bool(said(info))]) if success else head)
        else:
            fail(f"unknown request {op!r}")
    except Exception as e:
        fail(f"{type(e).__name__}: {e}")
