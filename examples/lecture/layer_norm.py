"""A transformer with layer norm, with and without the element-wise scale and shift."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting

TITLE = "Layer norm, with and without the element-wise scale"
CLAIM = """Layer norm normalizes each example by itself, with or without a trained scale and shift for each element; a
transformer trains with either, and worse without any norm."""

_WIDTH, _LENGTH, _SYMBOLS = 32, 16, 12


class _Block(nn.Module):
    """Attention and two layers; what stands before each is a norm, or nothing."""

    def __init__(self, norm: Any) -> None:
        self.norm1, self.norm2 = norm(), norm()
        self.attention = nn.MultiheadAttention(_WIDTH, 4, batch_first=True)
        self.inner, self.outer = nn.Linear(_WIDTH, 2 * _WIDTH), nn.Linear(2 * _WIDTH, _WIDTH)

    def forward(self, x: Any) -> Any:
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.outer(nn.gelu(self.inner(self.norm2(x))))


class _Sorter(nn.Module):
    """Tells the sorted sequence, place by place."""

    def __init__(self, norm: Any) -> None:
        self.symbols = nn.Embedding(_SYMBOLS, _WIDTH)
        self.places = nn.Parameter((_LENGTH, _WIDTH), initializer=nn.init.normal())
        self.blocks = nn.ModuleList([_Block(norm) for _ in range(4)])
        self.norm, self.out = norm(), nn.Linear(_WIDTH, _SYMBOLS)

    def forward(self, tokens: Any) -> Any:
        x = self.symbols(tokens) + self.places
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


def _loss(model: Any, batch: Any) -> Any:
    logits = model(batch["x"])
    return nn.cross_entropy(logits.reshape(-1, _SYMBOLS), batch["y"].reshape(-1))


def run(setting: Setting) -> Outcome:
    """Train a small transformer to sort symbols."""
    rng = np.random.default_rng(setting.seed)
    x = rng.integers(0, _SYMBOLS, (2000, _LENGTH))
    data, held_out = {"x": x[:1600], "y": np.sort(x[:1600])}, {"x": x[1600:], "y": np.sort(x[1600:])}
    norms: dict[str, Any] = {
        "with scale and shift": lambda: nn.LayerNorm(_WIDTH),
        "without them": lambda: nn.LayerNorm(_WIDTH, elementwise_affine=False),
        "no norm": nn.Identity,
    }
    rows, curves = [], {}
    for name, norm in norms.items():
        batch = {"x": gl.spec((32, _LENGTH), "int64"), "y": gl.spec((32, _LENGTH), "int64")}
        step = gl.compile_step(_Sorter(norm), _loss, gl.optim.Adam(2e-3), batch, seed=setting.seed)
        history = gl.fit(
            step, data, epochs=setting.of(8, 30), validate=held_out, metrics=[gl.metrics.accuracy], progress=False
        )
        rows.append([name, history["loss"][-1], history["val_loss"][-1], history["val_accuracy"][-1]])
        curves[name] = (history["epoch"], history["val_loss"])
    agrees = max(rows[0][2], rows[1][2]) < rows[2][2] and abs(rows[0][3] - rows[1][3]) < 0.1
    seen = f"""With scale and shift {rows[0][3]:.1%} of the places are told right after training, without them
    {rows[1][3]:.1%}, and without a norm {rows[2][3]:.1%}."""
    columns = ["layer norm", "training loss", "held-out loss", "held-out accuracy"]
    return Outcome(columns, rows, seen, agrees, [Panel("held-out", "epoch", "loss", curves)])
