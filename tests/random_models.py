"""Random models with a loss, an optimizer and a batch, as a user writes them.

ingredients = random_step(Random(0))      # model, loss_fn, optimizer, batch
step = gl.compile_step(*ingredients)
"""

from __future__ import annotations

from random import Random
from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn, optim

Ingredients = tuple[Any, Any, Any, Any]


class _Residual(nn.Module):
    def __init__(self, *inner: Any) -> None:
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


class _Checkpointed(nn.Module):
    def __init__(self, *inner: Any) -> None:
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Any) -> Any:
        return gl.checkpoint(self.inner)(x)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Any) -> Any:
        n, t, d = x.shape
        q, k, v = np.moveaxis(self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads), (2, 3), (0, 2))
        mixed = nn.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(np.moveaxis(mixed, 1, 2).reshape(n, t, d))


class _Last(nn.Module):
    """What a recurrent cell leaves of every step."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def forward(self, x: Any) -> Any:
        return self.cell(x)[0]


def _activation(random: Random) -> Any:
    return random.choice([nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU])()


def _deeper(random: Random, blocks: list[Any]) -> list[Any]:
    """Blocks as they are, as residuals, or checkpointed."""
    return [random.choice([lambda b: b, lambda b: b, _Residual, _Checkpointed])(block) for block in blocks]


def _rows(random: Random) -> tuple[Any, dict[str, Any], int]:
    width, rows = random.choice([8, 32, 48]), random.choice([3, 16, 64, 120])
    blocks: list[Any] = []
    for _ in range(random.randint(2, 7)):
        inner = [nn.Linear(width, width), _activation(random)]
        inner += [nn.Dropout(0.2)] * random.randint(0, 1) + [nn.LayerNorm(width)] * random.randint(0, 1)
        inner += [nn.BatchNorm1d(width)] * random.randint(0, 1)
        blocks.append(nn.Sequential(*inner))
    batch = {"x": np.random.default_rng(0).standard_normal((rows, width)).astype("float32")}
    return nn.Sequential(*_deeper(random, blocks), nn.Linear(width, 5)), batch, rows


def _images(random: Random) -> tuple[Any, dict[str, Any], int]:
    channels, size, n = random.choice([4, 16]), random.choice([8, 12]), random.choice([2, 8, 24])
    blocks: list[Any] = []
    for _ in range(random.randint(1, 4)):
        kernel = random.choice([1, 3])
        inner = [nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=random.choice([1, 1, channels]))]
        inner += [nn.BatchNorm2d(channels)] * random.randint(0, 1) + [_activation(random)]
        blocks.append(nn.Sequential(*inner))
    pool = [nn.MaxPool2d(2)] * random.randint(0, 1)
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]
    model = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), *_deeper(random, blocks), *pool, *ends)
    return model, {"x": np.random.default_rng(0).standard_normal((n, 3, size, size)).astype("float32")}, n


def _sequences(random: Random) -> tuple[Any, dict[str, Any], int]:
    width, n, steps = random.choice([8, 16]), random.choice([2, 6]), random.choice([7, 16, 33])
    kinds = ["attention", "lstm", "gru", "linear"]
    blocks: list[Any] = []
    for _ in range(random.randint(1, 3)):
        match random.choice(kinds):
            case "attention":
                blocks.append(nn.Sequential(nn.LayerNorm(width), _Attention(width, 2), nn.Dropout(0.1)))
            case "linear":
                wide = (nn.Linear(width, 4 * width), _activation(random), nn.Linear(4 * width, width))
                blocks.append(nn.Sequential(*wide))
            case kind:
                blocks.append(_Last((nn.LSTM if kind == "lstm" else nn.GRU)(width, width, batch_first=True)))
    model = nn.Sequential(nn.Embedding(11, width), *_deeper(random, blocks), nn.Linear(width, 5))
    return model, {"x": np.random.default_rng(0).integers(0, 11, (n, steps))}, n


def _loss(model: Any, batch: Any) -> Any:
    logits = model(batch["x"])
    return nn.cross_entropy(logits.reshape(-1, 5), batch["y"].reshape(-1))


def random_step(random: Random) -> Ingredients:
    """A model of rows, images or sequences, its loss, an optimizer and a batch."""
    model, batch, _ = random.choice([_rows, _images, _sequences])(random)
    x = batch["x"]
    labels = x.shape if x.dtype.kind == "i" else x.shape[:1]
    batch["y"] = np.random.default_rng(1).integers(0, 5, labels)
    optimizer = random.choice([optim.SGD(0.1), optim.SGD(0.1, momentum=0.9), optim.AdamW(1e-3)])
    return model, _loss, optimizer, batch
