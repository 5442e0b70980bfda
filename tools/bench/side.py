"""What a framework gives to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """What a side trains on: a target of Gradloom's, a CPU or a GPU, and what factors of products are rounded to:
    "fp32", "tf32" or "bf16".
    """

    target: str = "cpu"
    precision: str = "fp32"

    @property
    def on_gpu(self) -> bool:
        """Whether frameworks train on a GPU."""
        return self.target.partition(":")[0] == "cuda"


@dataclass(frozen=True)
class Side:
    """`step` does one training step and returns its loss, on a CPU computed to the end; who reads a loss of a GPU
    waits. `bytes_beyond` is what a step holds beside its parameters, the optimizer's state and the batch, measured the
    way the framework measures its own.

    `matmul_flops` of a step and the number of `parameters` come from one side, for all do the same work; so does
    whether a step `draws` random numbers, which are others on each side.
    """

    step: Callable[[], Any]
    bytes_beyond: Callable[[], int]
    matmul_flops: int = 0
    parameters: int = 0
    draws: bool = False
