"""What a framework gives to be measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """What a side trains on: a target of Gradloom's, a CPU or a GPU, and what factors of products are rounded to:
    "fp32", "tf32" or "bf16". Gradloom alone may be told its threads, and the cores that it cuts its work for.
    """

    target: str = "cpu"
    precision: str = "fp32"
    threads: int | None = None
    cores: int | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether frameworks train on a GPU."""
        return self.target.partition(":")[0] == "cuda"


@dataclass(frozen=True)
class Work:
    """What a step does, told by one side, for all do the same: operations of matrix products, parameters that are
    updated, and whether random numbers are drawn, which are others on each side.
    """

    matmul_flops: int = 0
    parameters: int = 0
    draws: bool = False


@dataclass(frozen=True)
class Side:
    """`step` does one training step and returns its loss, on a CPU computed to the end; who reads a loss of a GPU
    waits. Inference returns an array of outputs. `bytes_beyond` is what a step holds beside its parameters, the
    optimizer's state and the batch, measured the way the framework measures its own.
    """

    step: Callable[[], Any]
    bytes_beyond: Callable[[], int]
    work: Callable[[], Work] = Work

    def number(self) -> float:
        """A step, and the one number that sides are compared by: its loss, or the mean size of its outputs."""
        found = self.step()
        return float(abs(found).mean() if math.prod(getattr(found, "shape", ())) > 1 else found)
