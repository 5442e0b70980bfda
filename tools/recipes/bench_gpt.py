"""The transformer of the benchmark."""

from __future__ import annotations

from typing import Any

from ...engine import array_api as xp
from ...engine import nn, optim
from ...engine.nn import functional as F
from ...ir import spec
from .recipe import Ingredients

LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY, BATCH_SIZE = 4, 128, 4, 128, 256, 8


class Block(nn.Module):
    """Causal attention and a GELU layer, each behind a layer norm and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        rows, length, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(rows, length, 3, self.heads, width // self.heads)
        q, k, v = (xp.permute_dims(parts[:, :, i], (0, 2, 1, 3)) for i in range(3))
        attended = xp.permute_dims(F.scaled_dot_product_attention(q, k, v, is_causal=True), (0, 2, 1, 3))
        x = x + self.proj(attended.reshape(rows, length, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class Transformer(nn.Module):
    """Logits (N, T, vocabulary) for tokens (N, T)."""

    def __init__(self, vocabulary: int, context: int, width: int, heads: int, layers: int) -> None:
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight)))


def loss(model: Any, batch: Any) -> Any:
    """The mean cross entropy of the next token."""
    logits = model(batch["x"])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"].reshape(-1))


def gpt() -> Ingredients:
    """4 blocks of width 128 with 4 heads, 128 tokens of a vocabulary of 256, batches of 8, AdamW."""
    tokens = spec((BATCH_SIZE, CONTEXT), "int64")
    model = Transformer(VOCABULARY, CONTEXT, WIDTH, HEADS, LAYERS)
    return Ingredients(model, loss, optim.AdamW(1e-3), {"x": tokens, "y": tokens})
