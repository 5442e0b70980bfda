"""GPT-2 XL, 1.56 billion parameters: Radford et al. 2019, "Language models are unsupervised multitask learners"."""

from __future__ import annotations

from typing import Any

from gpt2_small import ingredients


def recipe() -> tuple[Any, ...]:
    """48 blocks of width 1600, 2 sequences of 1024 tokens."""
    return ingredients(1600, 25, 48, rows=2)
