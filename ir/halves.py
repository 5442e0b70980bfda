"""bfloat16 and float16 in the interpreter: float32 inside an op, one rounding of each result to the nearest (ties to
even).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from .types import FLOAT32, Array, ArrayType, is_half


def in_float32(infer: Callable[..., Any], reference: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that also takes floats of two bytes: that of float32, whose results become what the type rule says.

    NumPy computes a sum of them, say, with a rounding after each addition.
    """

    @wraps(reference)
    def evaluate(*arrays: Array, **attrs: Any) -> Any:
        if not any(is_half(array.dtype) for array in arrays):
            return reference(*arrays, **attrs)
        wide = [array.astype(FLOAT32) if is_half(array.dtype) else array for array in arrays]
        result = reference(*wide, **attrs)
        types = infer(*(ArrayType(tuple(array.shape), array.dtype) for array in arrays), **attrs)
        if isinstance(types, ArrayType):
            return _as(result, types)
        return tuple(_as(array, type) for array, type in zip(result, types, strict=True))

    return evaluate


def _as(array: Array, type: ArrayType) -> Array:
    with np.errstate(all="ignore"):  # NaN stays NaN, which NumPy warns of
        return np.asarray(array).astype(type.dtype, copy=False)
