"""A character-level GPT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...engine import nn
from ...engine.nn import functional as F
from ...ir import Array
from . import characters
from .recipe import Ingredients

_STD = 0.02


@dataclass(frozen=True)
class Settings(characters.Settings):
    """A GPT and how it is trained."""

    name = "gpt"

    width: int = 128
    heads: int = 4
    layers: int = 4
    dropout: float = 0.0
    tied: bool = True
    """Whether the head's weight is that of the embedding."""

    def model(self, vocabulary: int) -> nn.Module:
        return GPT(vocabulary, self)


class GPT(nn.Module):
    """Logits (N, T, vocabulary) of the characters that follow on each of `tokens` (N, T), for T up to the context.

    Radford et al. 2019, "Language models are unsupervised multitask learners", with its initial values.
    """

    def __init__(self, vocabulary: int, settings: Settings) -> None:
        width = settings.width
        gelu = partial(F.gelu, approximate="tanh")
        block = nn.TransformerEncoderLayer(
            width, settings.heads, 4 * width, settings.dropout, gelu, batch_first=True, norm_first=True
        )
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(settings.context, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.TransformerEncoder(block, settings.layers, nn.LayerNorm(width))
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if settings.tied:
            self.lm_head.weight = self.embedding.weight
        for name, parameter in self.stored_parameters():
            if parameter.ndim == 2:
                # What is added to the residual stream shrinks with the number of additions.
                last = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(parameter, std=_STD / math.sqrt(2 * settings.layers if last else 1))
        nn.init.constant_(self.positions.weight, _sinusoids(settings.context, width))

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        return self.lm_head(self.blocks(self.dropout(x), is_causal=True))


def _sinusoids(length: int, width: int) -> Array:
    """(length, width) sines and cosines of falling frequencies, as large as other initial values are.

    From these "the character before" is one and the same linear map at every place; from random values each place would
    have to learn it for itself, and the last one hardly would. Vaswani et al. 2017, "Attention is all you need", 3.5.
    """
    angles = np.arange(length)[:, None] * float(length) ** (-np.arange(0, width, 2) / width)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, -1)[:, :width]
    return (_STD * math.sqrt(2) * waves).astype(np.float32)


def gpt() -> Ingredients:
    """4 blocks of width 128 over 128 characters of Python's documentation, batches of 8, AdamW."""
    return Settings().ingredients()
