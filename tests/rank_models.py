"""Models that ranks train together, in tests: what a rank computes as one number."""

from __future__ import annotations

import hashlib
import sys

import gradloom as gl
import numpy as np
from gradloom import nn

ROWS = 32


class Model(nn.Module):
    def __init__(self):
        self.first, self.norm = nn.Linear(12, 40), nn.BatchNorm1d(40)
        self.drop, self.last = nn.Dropout(0.3), nn.Linear(40, 5)

    def forward(self, x):
        return self.last(self.drop(nn.relu(self.norm(self.first(x)))))


def loss_fn(model, batch):
    scores = model(batch["x"])
    right = scores.argmax(axis=1) == batch["y"]
    return nn.cross_entropy(scores, batch["y"]), {"accuracy": right.mean(), "right": right.sum()}


def plain_loss(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def batch_of(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((rows, 12), np.float32), "y": rng.integers(0, 5, rows)}


def digest(ranks, first=0, steps=30, load="", save="", **options) -> str:
    """The bits of parameters, buffers, state, loss and metrics after some steps, as one text. They begin with step
    number `first`, from a file, and are saved, where these are given.
    """
    optimizer = gl.optim.AdamW(1e-2)
    step = gl.compile_step(Model(), loss_fn, optimizer, batch_of(), clip_norm=1.0, ranks=ranks, **options)
    if load:
        step.load(load)
    rows = ROWS // ranks.size
    for i in range(first, steps):
        batch = batch_of(seed=i)
        mine = {name: v[ranks.rank * rows : (ranks.rank + 1) * rows] for name, v in batch.items()}
        loss, metrics = step(mine)
    sent = getattr(step._first.executable, "_ranks", None)
    if sent is not None:
        assert (sent.messages_sent, sent.bytes_sent) == (
            (steps - first) * step.report.messages,
            (steps - first) * step.report.sent_bytes,
        )
    if save:
        step.save(save)
    held = (*step.parameters().values(), *step.buffers().values(), *step.state().values(), loss, *metrics.values())
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in held)).hexdigest()


def tell_digest(**options) -> None:
    """Print the digest of this rank, in one write, so that those of others stand on other lines."""
    sys.stdout.write(f"digest {digest(gl.ranks.mpi(), **options)}\n")
