"""Updates per second of IQL, SAC, TD3+BC and CQL in JAX on this processor, as one line of JSON: many updates in one jitted scan.

Formulas, orders and sizes are those of `baq bench update` with its defaults; batches are drawn beforehand.
"""

import argparse
import json
import math
import os
import statistics
import time

S, A, B, DRAWS = 11, 3, 256, 10
GAMMA, RHO, BATCHES = 0.99, 0.005, 64


def threads(n):
    """XLA takes as many threads as it may use processors; before it is imported."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])
    if n == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"


def build(algo):
    """(a jitted scan over the batches, its state, the batches)"""
    import jax
    import jax.numpy as jnp

    keys = iter(jax.random.split(jax.random.PRNGKey(0), 1000))

    def net(sizes, heads=()):
        layers = []
        for k, n in zip(sizes[:-1], sizes[1:]):
            bound = 1 / math.sqrt(k)
            uniform = lambda shape: jax.random.uniform(next(keys), (*heads, *shape), minval=-bound, maxval=bound)
            layers.append((uniform((k, n)), uniform((1, n))))
        return layers

    def forward(layers, x):
        for i, (w, b) in enumerate(layers):
            x = x @ w + b
            x = jax.nn.relu(x) if i + 1 < len(layers) else x
        return x

    q = lambda p, s, a: forward(p, jnp.concatenate([s, a], -1))[..., 0]
    moments = lambda p: (jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p))

    def adam(p, grad, moment, t, lr=3e-4):
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moment[0], grad)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moment[1], grad)
        rate = lr * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), p, m, v), (m, v)

    follow = lambda target, p: jax.tree.map(lambda t, p: (1 - RHO) * t + RHO * p, target, p)

    def draw(p, key, s, n=1):
        mean, log_std = jnp.split(forward(p, s), 2, -1)
        mean, log_std = (jnp.repeat(x, n, 0) for x in (mean, jnp.clip(log_std, -20.0, 2.0)))
        noise = jax.random.normal(key, mean.shape)
        u = mean + jnp.exp(log_std) * noise
        density = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        return jnp.tanh(u), (density - 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))).sum(-1)

    def iql():
        h = [256, 256]
        nets = {"v": net([S, *h, 1]), "q": net([S + A, *h, 1], (2,)), "pi": (net([S, *h, A]), jnp.zeros(A))}
        state = {**nets, "qt": nets["q"], "o": {k: moments(p) for k, p in nets.items()}, "t": 0.0}

        def update(state, batch):
            s, a, r, s2, m, _ = batch
            t, o = state["t"] + 1, state["o"]
            low = q(state["qt"], s, a).min(0)

            def loss_v(v):
                u = low - forward(v, s)[:, 0]
                return (jnp.where(u > 0, 0.7, 0.3) * u * u).mean()

            v, ov = adam(state["v"], jax.grad(loss_v)(state["v"]), o["v"], t)
            weight = jnp.minimum(jnp.exp(3.0 * (low - forward(v, s)[:, 0])), 100.0)

            def loss_pi(pi):
                log_std = jnp.clip(pi[1], -5.0, 2.0)
                z = (a - jnp.tanh(forward(pi[0], s))) * jnp.exp(-log_std)
                return -(weight * (-0.5 * z * z - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)).mean()

            pi, op = adam(state["pi"], jax.grad(loss_pi)(state["pi"]), o["pi"], t)
            y = r + GAMMA * m * forward(v, s2)[:, 0]
            loss_q = lambda p: ((y - q(p, s, a)) ** 2).mean(-1).sum()
            p, oq = adam(state["q"], jax.grad(loss_q)(state["q"]), o["q"], t)
            o = {"v": ov, "q": oq, "pi": op}
            return {"v": v, "q": p, "pi": pi, "qt": follow(state["qt"], p), "o": o, "t": t}, None

        return update, state

    def soft(h, loss_q, lr):
        nets = {"pi": net([S, *h, 2 * A]), "q": net([S + A, *h, 1], (2,)), "alpha": jnp.zeros(())}
        state = {**nets, "qt": nets["q"], "o": {k: moments(p) for k, p in nets.items()}, "t": 0.0}

        def update(state, batch):
            s, *_, key = batch
            k1, k2 = jax.random.split(key)
            t, o, alpha = state["t"] + 1, state["o"], jnp.exp(state["alpha"])

            def loss_pi(pi):
                a, log_prob = draw(pi, k1, s)
                return (alpha * log_prob - q(state["q"], s, a).min(0)).mean(), log_prob.mean()

            grad_pi, log_prob = jax.grad(loss_pi, has_aux=True)(state["pi"])
            grad_q = jax.grad(lambda p: loss_q(p, state, k2, batch))(state["q"])
            new_alpha, oa = adam(state["alpha"], -(log_prob - A), o["alpha"], t, lr)
            pi, op = adam(state["pi"], grad_pi, o["pi"], t, lr)
            p, oq = adam(state["q"], grad_q, o["q"], t)
            o = {"pi": op, "q": oq, "alpha": oa}
            return {"pi": pi, "q": p, "alpha": new_alpha, "qt": follow(state["qt"], p), "o": o, "t": t}, None

        return update, state

    def sac():
        def loss_q(p, state, key, batch):
            s, a, r, s2, m, _ = batch
            a2, log_prob = draw(state["pi"], key, s2)
            y = r + GAMMA * m * (q(state["qt"], s2, a2).min(0) - jnp.exp(state["alpha"]) * log_prob)
            return ((y - q(p, s, a)) ** 2).mean(-1).sum()

        return soft([256, 256], loss_q, 3e-4)

    def cql():
        def loss_q(p, state, key, batch):
            s, a, r, s2, m, _ = batch
            k = jax.random.split(key, 4)
            a2, _ = draw(state["pi"], k[0], s2)
            y = r + GAMMA * m * q(state["qt"], s2, a2).min(0)
            uniform = jax.random.uniform(k[1], (B * DRAWS, A), minval=-1.0)
            (of_next, density_next), (of_this, density_this) = draw(state["pi"], k[2], s2, DRAWS), draw(state["pi"], k[3], s, DRAWS)
            states = jnp.repeat(s, DRAWS, 0)
            value = lambda a: q(p, states, a).reshape(2, B, DRAWS)
            rows = lambda x: x.reshape(B, DRAWS)
            parts = [value(uniform) + A * math.log(2), value(of_next) - rows(density_next), value(of_this) - rows(density_this)]
            own = q(p, s, a)
            gap = (jax.nn.logsumexp(jnp.concatenate(parts, -1), -1) - own).mean(-1)
            return (((y - own) ** 2).mean(-1) + 10.0 * gap).sum()

        return soft([256, 256, 256], loss_q, 3e-5)

    def td3_bc():
        h = [256, 256]
        nets = {"pi": net([S, *h, A]), "q": net([S + A, *h, 1], (2,))}
        state = {**nets, "pt": nets["pi"], "qt": nets["q"], "o": {k: moments(p) for k, p in nets.items()}, "t": 0.0}

        def update(state, batch):
            s, a, r, s2, m, key = batch
            t, o = state["t"] + 1, state["o"]
            noise = jnp.clip(0.2 * jax.random.normal(key, a.shape), -0.5, 0.5)
            a2 = jnp.clip(jnp.tanh(forward(state["pt"], s2)) + noise, -1.0, 1.0)
            y = r + GAMMA * m * q(state["qt"], s2, a2).min(0)
            p, oq = adam(state["q"], jax.grad(lambda p: ((y - q(p, s, a)) ** 2).mean(-1).sum())(state["q"]), o["q"], t)

            def loss_pi(pi):
                own = jnp.tanh(forward(pi, s))
                first = q([(w[0], b[0]) for w, b in p], s, own)
                weight = jax.lax.stop_gradient(2.5 / jnp.abs(first).mean())
                return ((own - a) ** 2).mean() - weight * first.mean()

            def delayed(_):
                pi, op = adam(state["pi"], jax.grad(loss_pi)(state["pi"]), o["pi"], t / 2)
                return pi, op, follow(state["pt"], pi), follow(state["qt"], p)

            kept = lambda _: (state["pi"], o["pi"], state["pt"], state["qt"])
            pi, op, pt, qt = jax.lax.cond(t % 2 == 0, delayed, kept, None)
            return {"pi": pi, "q": p, "pt": pt, "qt": qt, "o": {"pi": op, "q": oq}, "t": t}, None

        return update, state

    update, state = {"iql": iql, "sac": sac, "cql": cql, "td3_bc": td3_bc}[algo]()
    # Targets begin as what they follow, in memory of their own.
    state = jax.tree.map(lambda x: jnp.array(x, dtype=jnp.float32), state)
    key = jax.random.PRNGKey(1)
    batches = (
        jax.random.normal(key, (BATCHES, B, S)),
        jax.random.uniform(key, (BATCHES, B, A), minval=-1.0),
        jax.random.normal(key, (BATCHES, B)),
        jax.random.normal(key, (BATCHES, B, S)),
        jnp.ones((BATCHES, B)),
        jax.random.split(key, BATCHES),
    )
    return jax.jit(lambda state, batches: jax.lax.scan(update, state, batches)[0], donate_argnums=0), state, batches


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--algo", choices=["iql", "sac", "td3_bc", "cql"], required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    threads(args.threads)
    import jax

    run, state, batches = build(args.algo)
    # Short scans where an update is long.
    n = 8 if args.algo == "cql" else BATCHES
    batches = jax.tree.map(lambda x: x[:n], batches)
    state = jax.block_until_ready(run(state, batches))
    times, begin = [], time.perf_counter()
    while not times or time.perf_counter() - begin < args.seconds:
        last = time.perf_counter()
        state = jax.block_until_ready(run(state, batches))
        times.append((time.perf_counter() - last) / n)
    rate = 1 / statistics.median(times)
    print(json.dumps({"updates_per_second": rate, "program": f"jax {jax.__version__}", "mode": "loop"}))


if __name__ == "__main__":
    main()
