"""Updates per second of IQL, SAC, TD3+BC and CQL in PyTorch on this processor, as one line of JSON.

plain     a module per network, an optimiser per network, a backward pass per loss, Polyak tensor by tensor
tuned     fused Adam, Polyak in one foreach call, critics as one batched product, no gradient that nobody reads
compiled  tuned, each loss through torch.compile
Formulas, orders and sizes are those of `baq bench update` with its defaults; batches are drawn beforehand.
"""

import argparse
import copy
import json
import math
import statistics
import time

import torch
from torch.nn import functional as F

S, A, B, DRAWS = 11, 3, 256, 10
GAMMA, RHO = 0.99, 0.005


class Layers(torch.nn.Module):
    """`heads` perceptrons of one shape in one batched product, `[J, B, out]`; one head without the batch."""

    def __init__(self, sizes, heads=1):
        super().__init__()
        self.heads = heads
        shape = (heads,) if heads > 1 else ()
        pairs = list(zip(sizes[:-1], sizes[1:]))
        bound = [1 / math.sqrt(k) for k, _ in pairs]
        new = lambda *dims, b: torch.nn.Parameter(torch.empty(*shape, *dims).uniform_(-b, b))
        self.w = torch.nn.ParameterList([new(k, n, b=b) for (k, n), b in zip(pairs, bound)])
        self.b = torch.nn.ParameterList([new(1, n, b=b) for (_, n), b in zip(pairs, bound)])

    def forward(self, x):
        if self.heads > 1:
            x = x.expand(self.heads, *x.shape)
        for i, (w, b) in enumerate(zip(self.w, self.b)):
            x = torch.baddbmm(b, x, w) if self.heads > 1 else torch.addmm(b, x, w)
            if i + 1 < len(self.w):
                x = F.relu(x)
        return x


class Apart(torch.nn.Module):
    """The same as modules of their own."""

    def __init__(self, sizes, heads):
        super().__init__()
        def net():
            layers = []
            for k, n in zip(sizes[:-1], sizes[1:]):
                layers += [torch.nn.Linear(k, n), torch.nn.ReLU()]
            return torch.nn.Sequential(*layers[:-1])
        self.nets = torch.nn.ModuleList([net() for _ in range(heads)])

    def forward(self, x):
        return torch.stack([net(x) for net in self.nets])


class Peer:
    """What the algorithms share: networks, optimisers, targets."""

    def __init__(self, mode):
        self.tuned = mode != "plain"
        self.compile = torch.compile if mode == "compiled" else (lambda f: f)
        self.batches = [
            (torch.randn(B, S), torch.rand(B, A) * 2 - 1, torch.randn(B), torch.randn(B, S), torch.ones(B))
            for _ in range(64)
        ]
        self.done = 0

    def critics(self, hidden):
        sizes = [S + A, *hidden, 1]
        return Layers(sizes, 2) if self.tuned else Apart(sizes, 2)

    def net(self, inputs, hidden, outputs):
        sizes = [inputs, *hidden, outputs]
        return Layers(sizes) if self.tuned else Apart(sizes, 1).nets[0]

    def adam(self, params, lr=3e-4):
        return torch.optim.Adam(list(params), lr=lr, fused=True) if self.tuned else torch.optim.Adam(list(params), lr=lr)

    def target(self, net):
        return copy.deepcopy(net).requires_grad_(False)

    def follow(self, target, net):
        with torch.no_grad():
            if self.tuned:
                torch._foreach_lerp_(list(target.parameters()), list(net.parameters()), RHO)
            else:
                for t, p in zip(target.parameters(), net.parameters()):
                    t.copy_((1 - RHO) * t + RHO * p)

    def step(self, optimiser, loss):
        optimiser.zero_grad(set_to_none=self.tuned)
        loss.backward()
        optimiser.step()

    def q(self, net, s, a):
        return net(torch.cat([s, a], -1)).squeeze(-1)

    def update(self):
        self.round(self.batches[self.done % len(self.batches)])
        self.done += 1


def value_through(net, s, a):
    """Q(s, a) with a gradient in a alone, without a break in the compiled graph."""
    frozen = {name: p.detach() for name, p in net.named_parameters()}
    return torch.func.functional_call(net, frozen, (torch.cat([s, a], -1),)).squeeze(-1)


class Iql(Peer):
    def __init__(self, mode):
        super().__init__(mode)
        hidden = [256, 256]
        self.v, self.pi, self.qs = self.net(S, hidden, 1), self.net(S, hidden, A), self.critics(hidden)
        self.log_std = torch.nn.Parameter(torch.zeros(A))
        self.qt = self.target(self.qs)
        self.ov, self.oq = self.adam(self.v.parameters()), self.adam(self.qs.parameters())
        self.op = self.adam([*self.pi.parameters(), self.log_std])
        self.lv, self.lp, self.lq = map(self.compile, (self.loss_v, self.loss_pi, self.loss_q))

    def loss_v(self, s, a):
        with torch.no_grad():
            q = self.q(self.qt, s, a).min(0).values
        u = q - self.v(s).squeeze(-1)
        return (torch.where(u > 0, 0.7, 0.3) * u * u).mean(), q

    def loss_pi(self, s, a, q):
        with torch.no_grad():
            weight = (3.0 * (q - self.v(s).squeeze(-1))).exp().clamp(max=100.0)
        log_std = self.log_std.clamp(-5.0, 2.0)
        z = (a - torch.tanh(self.pi(s))) * (-log_std).exp()
        log_prob = (-0.5 * z * z - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
        return -(weight * log_prob).mean()

    def loss_q(self, s, a, r, s2, m):
        with torch.no_grad():
            y = r + GAMMA * m * self.v(s2).squeeze(-1)
        return ((y - self.q(self.qs, s, a)) ** 2).mean(-1).sum()

    def round(self, batch):
        s, a, r, s2, m = batch
        loss, q = self.lv(s, a)
        self.step(self.ov, loss)
        self.step(self.op, self.lp(s, a, q))
        self.step(self.oq, self.lq(s, a, r, s2, m))
        self.follow(self.qt, self.qs)


class Soft(Peer):
    """SAC's parts, which CQL shares."""

    def __init__(self, mode, hidden, actor_lr=3e-4):
        super().__init__(mode)
        self.pi, self.qs = self.net(S, hidden, 2 * A), self.critics(hidden)
        self.qt, self.log_alpha = self.target(self.qs), torch.nn.Parameter(torch.zeros(()))
        self.op, self.oq = self.adam(self.pi.parameters(), actor_lr), self.adam(self.qs.parameters())
        self.oa = self.adam([self.log_alpha], actor_lr)
        self.lp, self.lq = self.compile(self.loss_pi), self.compile(self.loss_q)

    def draw(self, s, n=1):
        """n actions of each state, `[B·n, A]`, and their log-densities; the network runs once per state."""
        mean, log_std = self.pi(s).chunk(2, -1)
        mean, log_std = (x.repeat_interleave(n, 0) for x in (mean, log_std.clamp(-20.0, 2.0)))
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        density = -0.5 * noise * noise - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = (density - 2 * (math.log(2) - u - F.softplus(-2 * u))).sum(-1)
        return torch.tanh(u), log_prob

    def loss_pi(self, s):
        a, log_prob = self.draw(s)
        alpha = self.log_alpha.detach().exp()
        value = value_through(self.qs, s, a) if self.tuned else self.q(self.qs, s, a)
        return (alpha * log_prob - value.min(0).values).mean(), log_prob.detach().mean()

    def round(self, batch):
        s, a, r, s2, m = batch
        # All losses before anything moves.
        policy, log_prob = self.lp(s)
        temperature = -self.log_alpha * (log_prob - A)
        critic = self.lq(s, a, r, s2, m)
        for optimiser in (self.oa, self.op, self.oq):
            optimiser.zero_grad(set_to_none=self.tuned)
        temperature.backward()
        policy.backward()
        if not self.tuned:
            self.oq.zero_grad()
        critic.backward()
        for optimiser in (self.oa, self.op, self.oq):
            optimiser.step()
        self.follow(self.qt, self.qs)


class Sac(Soft):
    def __init__(self, mode):
        super().__init__(mode, [256, 256])

    def loss_q(self, s, a, r, s2, m):
        with torch.no_grad():
            a2, log_prob = self.draw(s2)
            y = r + GAMMA * m * (self.q(self.qt, s2, a2).min(0).values - self.log_alpha.exp() * log_prob)
        return ((y - self.q(self.qs, s, a)) ** 2).mean(-1).sum()


class Cql(Soft):
    def __init__(self, mode):
        super().__init__(mode, [256, 256, 256], 3e-5)

    def loss_q(self, s, a, r, s2, m):
        with torch.no_grad():
            a2, _ = self.draw(s2)
            y = r + GAMMA * m * self.q(self.qt, s2, a2).min(0).values
            uniform = torch.rand(B * DRAWS, A) * 2 - 1
            of_next, density_next = self.draw(s2, DRAWS)
            of_this, density_this = self.draw(s, DRAWS)
            states = s.repeat_interleave(DRAWS, 0)
        value = lambda a: self.q(self.qs, states, a).reshape(2, B, DRAWS)
        rows = lambda x: x.reshape(B, DRAWS)
        all_of = torch.cat(
            [value(uniform) + A * math.log(2), value(of_next) - rows(density_next), value(of_this) - rows(density_this)], -1
        )
        q = self.q(self.qs, s, a)
        gap = (torch.logsumexp(all_of, -1) - q).mean(-1)
        return (((y - q) ** 2).mean(-1) + 10.0 * gap).sum()


class Td3Bc(Peer):
    def __init__(self, mode):
        super().__init__(mode)
        hidden = [256, 256]
        self.pi, self.qs = self.net(S, hidden, A), self.critics(hidden)
        self.pt, self.qt = self.target(self.pi), self.target(self.qs)
        self.op, self.oq = self.adam(self.pi.parameters()), self.adam(self.qs.parameters())
        self.lp, self.lq = self.compile(self.loss_pi), self.compile(self.loss_q)

    def loss_q(self, s, a, r, s2, m):
        with torch.no_grad():
            noise = (0.2 * torch.randn_like(a)).clamp(-0.5, 0.5)
            a2 = (torch.tanh(self.pt(s2)) + noise).clamp(-1.0, 1.0)
            y = r + GAMMA * m * self.q(self.qt, s2, a2).min(0).values
        return ((y - self.q(self.qs, s, a)) ** 2).mean(-1).sum()

    def loss_pi(self, s, a):
        own = torch.tanh(self.pi(s))
        q = value_through(self.qs, s, own)[0] if self.tuned else self.q(self.qs, s, own)[0]
        weight = 2.5 / q.abs().mean().detach()
        return ((own - a) ** 2).mean() - weight * q.mean()

    def round(self, batch):
        s, a, r, s2, m = batch
        self.step(self.oq, self.lq(s, a, r, s2, m))
        if self.done % 2:
            self.step(self.op, self.lp(s, a))
            self.follow(self.qt, self.qs)
            self.follow(self.pt, self.pi)


PEERS = {"iql": Iql, "sac": Sac, "td3_bc": Td3Bc, "cql": Cql}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--algo", choices=PEERS, required=True)
    parser.add_argument("--mode", choices=["plain", "tuned", "compiled"], required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    peer = PEERS[args.algo](args.mode)
    begin = time.perf_counter()
    while peer.done < 6 or time.perf_counter() - begin < 1.0:
        peer.update()
    times, begin = [], time.perf_counter()
    while not times or time.perf_counter() - begin < args.seconds:
        # In pairs, since TD3+BC's updates differ in twos.
        last = time.perf_counter()
        peer.update()
        peer.update()
        times.append((time.perf_counter() - last) / 2)
    rate = 1 / statistics.median(times)
    print(json.dumps({"updates_per_second": rate, "program": f"torch {torch.__version__}", "mode": args.mode}))


if __name__ == "__main__":
    main()
