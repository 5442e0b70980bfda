"""What a framework gives to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Side:
    """`step` does one training step and returns its loss, computed to the end; `bytes_beyond` is what a step holds
    beside its parameters, the optimizer's state and the batch, measured the way the framework measures its own.

    `matmul_flops` of a step and the number of `parameters` come from one side, for all do the same work.
    """

    step: Callable[[], Any]
    bytes_beyond: Callable[[], int]
    matmul_flops: int = 0
    parameters: int = 0
