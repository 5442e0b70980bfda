"""The multi-layer perceptrons of the benchmark, in three sizes."""

from __future__ import annotations

from ...engine import optim
from .classification import batch_of, loss, perceptron
from .recipe import Ingredients

WIDTHS = {
    "mlp_s": (64, 64, 64, 10),
    "mlp_m": (784, 512, 512, 10),
    "mlp_l": (1024, 2048, 2048, 2048, 1024, 10),
}
BATCH_SIZES = {"mlp_s": 32, "mlp_m": 128, "mlp_l": 256}


def _mlp(name: str) -> Ingredients:
    widths = WIDTHS[name]
    return Ingredients(perceptron(*widths), loss, optim.AdamW(1e-3), batch_of(BATCH_SIZES[name], widths[0]))


def mlp_s() -> Ingredients:
    """64-64-64-10, batches of 32, AdamW."""
    return _mlp("mlp_s")


def mlp_m() -> Ingredients:
    """784-512-512-10, batches of 128, AdamW."""
    return _mlp("mlp_m")


def mlp_l() -> Ingredients:
    """1024-2048-2048-2048-1024-10, batches of 256, AdamW."""
    return _mlp("mlp_l")
