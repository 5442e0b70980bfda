"""Torch's type promotion: the kind of number decides first, then arrays with axes come before those without."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...ir import BFLOAT16, DType, is_complex, is_float, is_inexact
from .. import array_api as xp
from ..tracing.promotion import result_dtype
from ..tracing.tracer import Tracer

BOOL, INT64, FLOAT32 = np.dtype("bool"), np.dtype("int64"), np.dtype("float32")


class _Default(threading.local):
    dtype: DType = FLOAT32


_default = _Default()


@contextmanager
def default_float_is(dtype: DType) -> Iterator[None]:
    """Inside the block, `dtype` is what floats of Python and quotients of integers are: torch's default dtype."""
    before, _default.dtype = _default.dtype, dtype
    try:
        yield
    finally:
        _default.dtype = before


def default_float() -> DType:
    """Torch's default dtype, as it was when the program was exported."""
    return _default.dtype


def is_array(x: Any) -> bool:
    """Whether an argument is an array, and no number of Python."""
    return isinstance(x, (Tracer, np.ndarray, np.generic))


def _kind(dtype: DType) -> int:
    return 0 if dtype == BOOL else 3 if is_complex(dtype) else 2 if is_float(dtype) or dtype == BFLOAT16 else 1


def _joined(dtypes: list[DType]) -> DType | None:
    return result_dtype(*dtypes) if dtypes else None


def dtype_of_number(x: Any) -> DType:
    """The dtype that a number of Python has by itself."""
    if isinstance(x, complex):
        return as_complex(default_float())
    return BOOL if isinstance(x, bool) else INT64 if isinstance(x, int) else default_float()


def as_complex(dtype: DType) -> DType:
    """The complex dtype for numbers as precise as these floats."""
    return np.dtype("complex128" if dtype == np.dtype("float64") else "complex64")


def common_dtype(*operands: Any) -> DType:
    """The dtype that torch computes an op of these operands in: `torch.result_type`."""
    arrays = [x for x in operands if is_array(x)]
    numbers = [dtype_of_number(x) for x in operands if not is_array(x)]
    levels = [
        _joined([x.dtype for x in arrays if x.ndim]),
        _joined([x.dtype for x in arrays if not x.ndim]),
        _joined(numbers),
    ]
    result: DType | None = None
    for dtype in levels:
        if dtype is not None and (result is None or _kind(dtype) > _kind(result)):
            # A complex scalar makes arrays of floats complex, of their precision.
            is_wider = result is not None and _kind(result) == 2 and is_complex(dtype)
            result = as_complex(result) if is_wider and result is not None else dtype
    assert result is not None
    return result


def converted(x: Any, dtype: DType) -> Any:
    """An array as `dtype`, a number of Python as the number that `dtype` has."""
    if is_array(x):
        return x if x.dtype == dtype else xp.astype(x, dtype)
    return bool(x) if dtype == BOOL else x if is_inexact(dtype) else int(x)


def promoted(*operands: Any) -> list[Any]:
    """The operands in their common dtype."""
    dtype = common_dtype(*operands)
    return [converted(x, dtype) for x in operands]


def as_floats(*operands: Any) -> list[Any]:
    """The operands in their common dtype, or torch's default dtype where that is no float."""
    dtype = common_dtype(*operands)
    return [converted(x, dtype if is_inexact(dtype) else default_float()) for x in operands]
