"""Llama 2, 6.74 billion parameters: Touvron et al. 2023, "Llama 2: open foundation and fine-tuned chat models"."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradloom as gl
from gradloom.examples import llama

SIZES = llama.SMALL | {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "vocab_size": 32000}
SIZES |= {"num_attention_heads": 32, "num_key_value_heads": 32}


def recipe() -> tuple[Any, ...]:
    """One sequence of 4096 tokens; the cache of keys and values, which no training reads, is of one."""
    model = llama.Llama(SimpleNamespace(**SIZES), length=1)
    adam = gl.optim.AdamW(3e-4, betas=(0.9, 0.95), weight_decay=0.1)
    return model, llama.loss_fn, adam, {name: gl.spec((1, 4096), "int64") for name in ("x", "y")}
