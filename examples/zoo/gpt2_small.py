"""GPT-2 small, 124 million parameters: Radford et al. 2019, "Language models are unsupervised multitask learners"."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradloom as gl
from gradloom import nn
from gradloom.nn import functional as F

VOCABULARY, CONTEXT = 50_257, 1024


class GPT2(nn.Module):
    """Logits (N, T, vocabulary) of the tokens that follow on each of `tokens` (N, T)."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float = 0.1) -> None:
        gelu = partial(F.gelu, approximate="tanh")
        self.wte = nn.Embedding(VOCABULARY, width)
        self.wpe = nn.Embedding(CONTEXT, width)
        self.drop = nn.Dropout(dropout)
        sizes = (width, heads, 4 * width, dropout, gelu)
        self.h = nn.ModuleList(
            [nn.TransformerEncoderLayer(*sizes, batch_first=True, norm_first=True) for _ in range(layers)]
        )
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Any) -> Any:
        x = self.drop(self.wte(tokens) + self.wpe.weight[: tokens.shape[1]])
        for block in self.h:
            x = block(x, is_causal=True)
        return self.lm_head(self.ln_f(x))


def loss_fn(model: Any, batch: Any) -> Any:
    logits = model(batch["tokens"])
    return F.cross_entropy(logits.reshape(-1, VOCABULARY), batch["next"].reshape(-1))


def ingredients(width: int, heads: int, layers: int, rows: int, dropout: float = 0.1) -> tuple[Any, ...]:
    """A GPT-2 of this size, for `rows` sequences of 1024 tokens."""
    batch = {name: gl.spec((rows, CONTEXT), "int64") for name in ("tokens", "next")}
    return GPT2(width, heads, layers, dropout), loss_fn, gl.optim.AdamW(2.5e-4, weight_decay=0.01), batch


def recipe() -> tuple[Any, ...]:
    """12 blocks of width 768, 8 sequences of 1024 tokens."""
    return ingredients(768, 12, 12, rows=8)


def recipe_without_dropout() -> tuple[Any, ...]:
    """The same without dropout, so that other frameworks compute the same loss."""
    return ingredients(768, 12, 12, rows=8, dropout=0.0)


def recipe_without_dropout_torch() -> tuple[Any, ...]:
    """The same in PyTorch, for `gradloom bench`."""
    import torch
    import torch_models

    model, loss = torch_models.built("gpt2_small", dropout=0.0)
    return model, loss, torch.optim.AdamW(model.parameters(), lr=2.5e-4, weight_decay=0.01, fused=True)
