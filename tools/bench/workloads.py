"""What is measured: models, initial parameters and a batch, the same for every side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...ir import Array
from ..recipes.bench_mlps import BATCH_SIZES, WIDTHS

CLASSES = 10

COMPARED_STEPS = 3
"""The loss of the last of them must be the same on every side: AdamW soon makes rounding errors grow."""

WARM_UP_STEPS = 5
"""Steps before the clock starts."""


@dataclass(frozen=True)
class Mlp:
    """Linear layers of `widths` with ReLU between them, cross entropy, AdamW with its defaults."""

    name: str
    widths: tuple[int, ...]
    batch_size: int

    def parameters(self) -> dict[str, Array]:
        """By the names and in the layout of PyTorch's `Sequential`: "0.weight" (out, in), "0.bias" (out,)."""
        rng = np.random.default_rng(0)
        result: dict[str, Array] = {}
        for i, (inner, outer) in enumerate(pairwise(self.widths)):
            bound = inner**-0.5
            result[f"{2 * i}.weight"] = rng.uniform(-bound, bound, (outer, inner)).astype(np.float32)
            result[f"{2 * i}.bias"] = rng.uniform(-bound, bound, outer).astype(np.float32)
        return result

    def batch(self) -> tuple[Array, Array]:
        """x (batch_size, widths[0]) float32 and y (batch_size,) int64."""
        rng = np.random.default_rng(1)
        x = rng.standard_normal((self.batch_size, self.widths[0]), np.float32)
        return x, rng.integers(0, CLASSES, self.batch_size)


WORKLOADS: Mapping[str, Mlp] = {name: Mlp(name, WIDTHS[name], BATCH_SIZES[name]) for name in WIDTHS}
