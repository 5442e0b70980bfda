"""Arrays as a program takes them: of an exact type, dense, aligned, in native byte order; without a copy where they are so."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..ir import Array, ArrayType
from .tracer import as_array


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """`threads`, by default one for each usable core. Raises `ValueError` unless it is 1 or more."""
    if threads is None:
        return usable_cores()
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ValueError(f"threads is a whole number of 1 or more, or None for one a core; got {threads!r}")
    return min(int(threads), 256)


def check_target(target: str) -> None:
    """Raise `ValueError` for a target that there is not."""
    if target != "cpu":
        raise ValueError(f"target {target!r} is not available; write target='cpu'")


def dense(array: Any) -> Array:
    """The array itself where a program can read it as it is, else a copy that it can."""
    if type(array) is np.ndarray and array.flags.carray and array.dtype.isnative:
        return array
    return np.require(as_array(array), requirements=["C_CONTIGUOUS", "ALIGNED"])


def type_key(leaf: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype, quickly."""
    return leaf.shape, leaf.dtype


def has_type(array: Array, wanted: ArrayType) -> bool:
    """Whether shape and dtype are those of `wanted`."""
    return array.shape == wanted.shape and array.dtype == wanted.dtype
