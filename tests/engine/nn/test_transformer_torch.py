"""Transformers that run as loops over the batch and over rows, against PyTorch from the same parameters."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
tnn: Any = torch.nn

VOCABULARY, WIDTH, HEADS = 23, 16, 2


class Block(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.l1, self.l2 = nn.LayerNorm(WIDTH, dtype=dtype), nn.LayerNorm(WIDTH, dtype=dtype)
        self.qkv, self.p = nn.Linear(WIDTH, 3 * WIDTH, dtype=dtype), nn.Linear(WIDTH, WIDTH, dtype=dtype)
        self.f1, self.f2 = nn.Linear(WIDTH, 4 * WIDTH, dtype=dtype), nn.Linear(4 * WIDTH, WIDTH, dtype=dtype)

    def forward(self, x):
        n, t, _ = x.shape
        parts = np.split(self.qkv(self.l1(x)), 3, -1)
        q, k, v = (p.reshape(n, t, HEADS, -1).transpose(0, 2, 1, 3) for p in parts)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 2, 1, 3).reshape(n, t, WIDTH)
        x = x + self.p(o)
        return x + self.f2(F.gelu(self.f1(self.l2(x)), approximate="tanh"))


class Model(nn.Module):
    def __init__(self, context, dtype, tied):
        super().__init__()
        self.tied = tied
        self.e, self.pe = nn.Embedding(VOCABULARY, WIDTH, dtype=dtype), nn.Embedding(context, WIDTH, dtype=dtype)
        self.bs = nn.ModuleList([Block(dtype) for _ in range(2)])
        if not tied:
            self.h = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=dtype)

    def forward(self, i):
        x = self.e(i) + self.pe(np.arange(i.shape[1]))
        for block in self.bs:
            x = block(x)
        return x @ self.e.weight.T if self.tied else self.h(x)


def peer(context, tied):
    class PeerBlock(tnn.Module):
        def __init__(self):
            super().__init__()
            self.l1, self.l2 = tnn.LayerNorm(WIDTH), tnn.LayerNorm(WIDTH)
            self.qkv, self.p = tnn.Linear(WIDTH, 3 * WIDTH), tnn.Linear(WIDTH, WIDTH)
            self.f1, self.f2 = tnn.Linear(WIDTH, 4 * WIDTH), tnn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = (p.view(n, t, HEADS, -1).transpose(1, 2) for p in self.qkv(self.l1(x)).split(WIDTH, -1))
            o = tnn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.p(o.transpose(1, 2).reshape(n, t, WIDTH))
            return x + self.f2(tnn.functional.gelu(self.f1(self.l2(x)), approximate="tanh"))

    class Peer(tnn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.pe = tnn.Embedding(VOCABULARY, WIDTH), tnn.Embedding(context, WIDTH)
            self.bs = tnn.ModuleList([PeerBlock() for _ in range(2)])
            if not tied:
                self.h = tnn.Linear(WIDTH, VOCABULARY, bias=False)

        def forward(self, i):
            x = self.e(i) + self.pe(torch.arange(i.shape[1]))
            for block in self.bs:
                x = block(x)
            return x @ self.e.weight.T if tied else self.h(x)

    return Peer()


def batches(n, context, steps):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        x, y = rng.integers(0, VOCABULARY, (2, n, context))
        y[rng.random(y.shape) < 0.1] = -100
        yield {"x": x, "y": y}


def loss_fn(model, batch):
    return F.cross_entropy(model(batch["x"]).reshape(-1, VOCABULARY), batch["y"].reshape(-1))


@pytest.mark.parametrize(
    ("n", "context", "dtype", "tied", "steps"),
    [
        (32, 32, "float32", True, 50),
        (32, 32, "float64", False, 50),
        (8, 512, "float64", True, 4),
        (9, 128, "float32", False, 10),
    ],
)
def test_a_tiled_transformer_trains_as_torch_does(n, context, dtype, tied, steps):
    torch.set_num_threads(1)
    data = list(batches(n, context, steps))
    step = gl.compile_step(Model(context, dtype, tied), loss_fn, optim.AdamW(3e-3), data[0], threads=2)
    (loop,) = (node for node in step.report.plan.graph.nodes if node.op.name == "scan")
    assert loop.attrs["length"] in (2, 3)
    model = peer(context, tied).to(getattr(torch, dtype))
    names = dict(model.named_parameters())
    with torch.no_grad():
        for name, array in step.parameters().items():
            names[name].copy_(torch.from_numpy(array))
    trainer = torch.optim.AdamW(model.parameters(), 3e-3)
    relative = 2e-4 if dtype == "float32" else 1e-9
    for batch in data:
        trainer.zero_grad()
        logits = model(torch.from_numpy(batch["x"]))
        wanted = tnn.functional.cross_entropy(logits.view(-1, VOCABULARY), torch.from_numpy(batch["y"]).view(-1))
        wanted.backward()
        trainer.step()
        np.testing.assert_allclose(step(batch), wanted.item(), rtol=relative)
    for name, array in step.parameters().items():
        # The gradient of the keys' bias is rounding alone, which in float32 Adam makes much of.
        if dtype == "float64":
            np.testing.assert_allclose(array, names[name].detach().numpy(), rtol=20 * relative, atol=10 * relative)
