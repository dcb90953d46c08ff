"""Writes simba.json: a network of SimBa's blocks and one update of it, by torch, for tests/simba.rs.

    pip install torch numpy
    python simba_fixture.py > simba.json

Two heads of S inputs, two blocks of width H and N outputs, in float64, from the text of arXiv:2410.09754 (fig. 4, sec. 4):
an embedding, blocks x + Linear(4H, H)(relu(Linear(H, 4H)(LayerNorm(x)))), a LayerNorm, a last layer. The loss is the mean
over heads, rows and outputs of (f - y)^2, followed by one step of AdamW with decay. Matrices are [inputs, outputs].
"""

import json

import torch
from torch import nn

S, H, N, ROWS, HEADS, BLOCKS = 2, 3, 2, 5, 2, 2
LR, DECAY = 1e-3, 1e-2

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(H, eps=1e-6), nn.Linear(H, 4 * H), nn.Linear(4 * H, H)

    def forward(self, x):
        return x + self.outer(torch.relu(self.inner(self.norm(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.blocks = nn.Linear(S, H), nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.last = nn.LayerNorm(H, eps=1e-6), nn.Linear(H, N)

    def forward(self, x):
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x)
        return self.last(self.norm(x))

    def ours(self):
        """Layers under the engine's names."""
        inner = [layer for block in self.blocks for layer in (block.inner, block.outer)]
        layers = {f"layer{i}": layer for i, layer in enumerate([self.embedding, *inner, self.last])}
        norms = {f"norm{2 * i}": norm for i, norm in enumerate([*(b.norm for b in self.blocks), self.norm])}
        return {**layers, **norms}


def flat(tensor):
    return (tensor.T if tensor.dim() == 2 else tensor).flatten().tolist()


def tensors(nets, of):
    """name -> the numbers of all heads in succession"""
    out = {}
    for name, layer in ((n, l) for net in nets for n, l in net.ours().items()):
        for kind in ("weight", "bias"):
            out.setdefault(f"{name}.{kind}", []).extend(flat(of(getattr(layer, kind))))
    return out


nets = [Net() for _ in range(HEADS)]
for p in (p for net in nets for p in net.parameters()):
    p.data = (p.data + 0.3 * torch.randn_like(p)).round(decimals=3)
x, y = torch.randn(ROWS, S).round(decimals=3), torch.randn(ROWS, N).round(decimals=3)
before = tensors(nets, lambda p: p)
f = torch.stack([net(x) for net in nets])
loss = ((f - y) ** 2).mean()
loss.backward()
gradient = tensors(nets, lambda p: p.grad)
optimiser = torch.optim.AdamW([p for net in nets for p in net.parameters()], lr=LR, weight_decay=DECAY)
optimiser.step()
print(
    json.dumps(
        {
            "sizes": {"inputs": S, "width": H, "outputs": N, "rows": ROWS, "heads": HEADS, "blocks": BLOCKS},
            "lr": LR,
            "decay": DECAY,
            "x": x.flatten().tolist(),
            "y": y.flatten().tolist(),
            "f": f.flatten().tolist(),
            "loss": loss.item(),
            "before": before,
            "gradient": gradient,
            "after": tensors(nets, lambda p: p),
        }
    )
)
