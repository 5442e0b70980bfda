"""torch's options of `linear_cross_entropy`: taken, so that a model is written as in torch, and nothing to choose."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ...tracing.errors import UnsupportedError
from ...tracing.torch_methods import numpy_dtype
from ...tracing.tracer import located

_POLICIES = ("auto", "accurate", "balanced", "compact")


@dataclass(frozen=True, slots=True)
class LinearCrossEntropyOptions:
    """How torch trades time for memory in `linear_cross_entropy`. Here no result depends on it: a step is planned, and
    makes its logits some rows at a time where that saves memory; gradients may be asked for as often as wanted.

    Raises `ValueError` for what torch refuses.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None

    def __post_init__(self) -> None:
        if self.acc_policy not in _POLICIES:
            raise ValueError(located(f"acc_policy is one of {', '.join(_POLICIES)}, got {self.acc_policy!r}"))
        name, _, factor = str(self.chunking_method or "auto").partition(":")
        if name not in ("auto", "aspect_ratio") or (factor and not (factor.isdigit() and int(factor) > 0)):
            known = "'auto', 'aspect_ratio', 'aspect_ratio:N' with N of 1 or more, or None"
            raise ValueError(located(f"chunking_method is {known}, got {self.chunking_method!r}"))
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, (int, np.integer)) and size > 0):
            raise ValueError(located(f"batch_chunk_size is a whole number of 1 or more, or None, got {size!r}"))


_NAMES = [field.name for field in fields(LinearCrossEntropyOptions)]


def check_options(what: str, options: Any) -> None:
    """Raise `TypeError` unless `options` are `None`, or such, ours or torch's; `UnsupportedError` for sums in another
    dtype than ours, which is float32, or float64 for float64.
    """
    if options is None:
        return
    if not all(hasattr(options, name) for name in _NAMES):
        raise TypeError(located(f"{what}: options are nn.LinearCrossEntropyOptions(...), got {options!r}"))
    if options.acc_dtype is not None and np.dtype(numpy_dtype(options.acc_dtype)) not in ("float32", "float64"):
        raise UnsupportedError(located(f"{what}: sums are float32 or float64, got acc_dtype={options.acc_dtype}"))
