"""NumPy 2's type promotion (NEP 50), restricted to the nine dtypes of the IR.

NumPy itself resolves every case; what it answers outside of these is mapped: float16 (of bool and uint8, in functions
such as `sqrt`) becomes float32, and uint64 (sums of uint8) becomes int64. Any other dtype is a `TypeError`.

bfloat16, which NumPy does not know, stands below float32, and above integers and booleans: JAX's rule.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np

from ...ir import DTYPES, DType, is_inexact
from ...ir.types import BFLOAT16, FLOAT32, FLOAT64
from .errors import located

Key = Any
"""What promotion knows of an operand: its dtype, or `int`, `float` or `complex` for a Python scalar, which is weak."""

_MAPPED: dict[DType, DType] = {np.dtype("float16"): np.dtype("float32"), np.dtype("uint64"): np.dtype("int64")}
_EXAMPLES: dict[Key, Any] = {int: 0, float: 0.0, complex: 0j}
_DEFAULTS: dict[Key, DType] = {
    int: np.dtype("int64"),
    float: np.dtype("float64"),
    complex: np.dtype("complex128"),
}


def supported(dtype: DType, what: str) -> DType:
    """`dtype` as one of the nine. Raises `TypeError` that names it where there is none."""
    mapped = _MAPPED.get(dtype, dtype)
    if mapped not in DTYPES:
        advice = "cast first, for example x.astype('int64')"
        raise TypeError(located(f"{what} gives {dtype} in NumPy, which is not supported; {advice}"))
    return mapped


@lru_cache(maxsize=4096)
def result_dtype(*keys: Key) -> DType:
    """The common dtype of operands, as `numpy.result_type`."""
    if BFLOAT16 in keys:
        wider = [key for key in keys if key not in _DEFAULTS and key in (FLOAT32, FLOAT64)]
        return np.result_type(*wider) if wider else BFLOAT16
    return supported(np.result_type(*(_EXAMPLES.get(key, key) for key in keys)), "promotion")


@lru_cache(maxsize=4096)
def ufunc_dtypes(
    ufunc: np.ufunc, *keys: Key, dtype: DType | None = None, casting: str = "same_kind"
) -> tuple[DType, ...]:
    """The dtypes that `ufunc` casts its operands to, and those of its results, which are `dtype` where that is given.

    Raises `TypeError` where it refuses, `ValueError` for a `casting` that there is not.
    """
    if dtype == BFLOAT16 or (dtype is None and BFLOAT16 in keys and result_dtype(*keys) == BFLOAT16):
        # What float32 does, for itself and for integers that meet it.
        wide = tuple(key if key in _DEFAULTS else FLOAT32 for key in keys)
        resolved = ufunc_dtypes(ufunc, *wide, dtype=dtype and FLOAT32, casting=casting)
        return tuple(BFLOAT16 if found == FLOAT32 else found for found in resolved)
    keys = tuple(FLOAT32 if key == BFLOAT16 else key for key in keys)
    given = tuple(_DEFAULTS[key] for key in keys) if all(key in _DEFAULTS for key in keys) else keys
    outputs = (None,) * ufunc.nout
    options: dict[str, Any] = {} if dtype is None else {"signature": (*(None,) * ufunc.nin, *(dtype for _ in outputs))}
    resolved = ufunc.resolve_dtypes((*given, *outputs), casting=cast(Any, casting), **options)
    return tuple(supported(found, f"np.{ufunc.__name__}") for found in resolved)


@lru_cache(maxsize=64)
def float_dtype(key: Key) -> DType:
    """The dtype of means and norms: floats and complex numbers stay, all else is float64."""
    dtype = cast(DType, _DEFAULTS.get(key, key))
    return dtype if is_inexact(dtype) else np.dtype("float64")


@lru_cache(maxsize=64)
def sum_dtype(key: Key) -> DType:
    """The dtype of sums and products: floats and complex numbers stay, all else is int64 (NumPy: uint64 of uint8)."""
    dtype = cast(DType, _DEFAULTS.get(key, key))
    return dtype if is_inexact(dtype) else np.dtype("int64")
