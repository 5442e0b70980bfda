"""Attention and its relatives: a language model, a vision transformer, blocks of Llama, an MLP mixer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..frameworks import Framework


def block(f: Framework, width: int, heads: int, causal: bool) -> Any:
    """Attention and a GELU layer, each behind a layer norm and added to the stream."""
    nn = f.nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.norm2, self.fc1 = nn.LayerNorm(width), nn.Linear(width, 4 * width)
            self.fc2 = nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            rows, length, _ = x.shape
            parts = self.qkv(self.norm1(x)).reshape(rows, length, 3, heads, width // heads)
            q, k, v = (parts[:, :, i].swapaxes(1, 2) for i in range(3))
            attended = f.functional.scaled_dot_product_attention(q, k, v, is_causal=causal).swapaxes(1, 2)
            x = x + self.proj(attended.reshape(rows, length, width))
            return x + self.fc2(f.functional.gelu(self.fc1(self.norm2(x)), approximate="tanh"))

    return Block()


def transformer(
    f: Framework, vocabulary: int, context: int, width: int, heads: int, layers: int, tied: bool = False
) -> Any:
    """Logits (N, T, vocabulary) for tokens (N, T); with `tied` the head's weight is that of the embedding."""
    nn = f.nn

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
            self.blocks = nn.Sequential(*[block(f, width, heads, causal=True) for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
            if tied:
                self.head.weight = self.tokens.weight

        def forward(self, tokens: Any) -> Any:
            return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight)))

    return Transformer()


def vision(f: Framework, side: int, patch: int, width: int, heads: int, layers: int, classes: int) -> Any:
    """Logits (N, classes) for images (N, 3, side, side), by the mean over the patches."""
    nn = f.nn

    class Vision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, patch, patch)
            self.positions = nn.Embedding((side // patch) ** 2, width)
            self.blocks = nn.Sequential(*[block(f, width, heads, causal=False) for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

        def forward(self, x: Any) -> Any:
            x = self.patches(x).reshape(len(x), width, -1).swapaxes(1, 2) + self.positions.weight
            return self.head(self.norm(self.blocks(x)).mean(1))

    return Vision()


def llama(f: Framework, vocabulary: int, context: int, width: int, heads: int, groups: int, layers: int) -> Any:
    """Logits (N, T, vocabulary) for tokens (N, T): RMS norms, rotary positions, queries in groups, and SwiGLU."""
    nn = f.nn
    size, inner = width // heads, 8 * width // 3 // 8 * 8
    angles = np.arange(context)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    cosine, sine = (f.constant(wave(angles).astype(np.float32)) for wave in (np.cos, np.sin))

    def turned(x: Any) -> Any:
        first, second = x[..., : size // 2], x[..., size // 2 :]
        return f.numpy.concat([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.RMSNorm(width, eps=1e-5)
            self.q, self.k = nn.Linear(width, width, bias=False), nn.Linear(width, groups * size, bias=False)
            self.v, self.o = nn.Linear(width, groups * size, bias=False), nn.Linear(width, width, bias=False)
            self.norm2 = nn.RMSNorm(width, eps=1e-5)
            self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
            self.down = nn.Linear(inner, width, bias=False)

        def forward(self, x: Any) -> Any:
            rows, length, _ = x.shape
            h = self.norm1(x)
            q, k, v = (each(h).reshape(rows, length, -1, size).swapaxes(1, 2) for each in (self.q, self.k, self.v))
            attended = f.functional.scaled_dot_product_attention(
                turned(q), turned(k), v, is_causal=True, enable_gqa=True
            )
            x = x + self.o(attended.swapaxes(1, 2).reshape(rows, length, width))
            h = self.norm2(x)
            return x + self.down(f.functional.silu(self.gate(h)) * self.up(h))

    class Llama(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.layers = nn.Sequential(*[Layer() for _ in range(layers)])
            self.norm, self.head = nn.RMSNorm(width, eps=1e-5), nn.Linear(width, vocabulary, bias=False)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.norm(self.layers(self.tokens(tokens))))

    return Llama()


def mixer(f: Framework, side: int, patch: int, width: int, tokens: int, layers: int, classes: int) -> Any:
    """Logits (N, classes) for images (N, 3, side, side): layers over the patches, then over the channels.

    Tolstikhin et al. 2021, "MLP-Mixer: an all-MLP architecture for vision".
    """
    nn = f.nn
    patches = (side // patch) ** 2

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.over_patches = nn.Sequential(nn.Linear(patches, tokens), nn.GELU(), nn.Linear(tokens, patches))
            self.norm2 = nn.LayerNorm(width)
            self.over_channels = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            x = x + self.over_patches(self.norm1(x).swapaxes(1, 2)).swapaxes(1, 2)
            return x + self.over_channels(self.norm2(x))

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, patch, patch)
            self.layers = nn.Sequential(*[Layer() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

        def forward(self, x: Any) -> Any:
            x = self.patches(x).reshape(len(x), width, -1).swapaxes(1, 2)
            return self.head(self.norm(self.layers(x)).mean(1))

    return Mixer()


def words(f: Framework, vocabulary: int, context: int, width: int) -> Any:
    """Logits (N, vocabulary) of the word behind `context` words (N, context): their vectors side by side, and a layer.

    Bengio, Ducharme, Vincent and Jauvin 2003, "A neural probabilistic language model".
    """
    nn = f.nn

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.inner = nn.Embedding(vocabulary, width), nn.Linear(context * width, width)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, tokens: Any) -> Any:
            read = self.tokens(tokens).reshape(len(tokens), context * width)
            return self.head(f.numpy.tanh(self.inner(read))) / math.sqrt(width)

    return Words()
