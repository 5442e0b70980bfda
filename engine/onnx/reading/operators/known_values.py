"""Operators whose results are known while a program is traced: shapes, ranges, constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import dtype_of
from ..operator import Call, operator


@operator("Constant")
def constant(
    call: Call,
    *,
    value: Any = None,
    value_float: float | None = None,
    value_floats: Any = None,
    value_int: int | None = None,
    value_ints: Any = None,
) -> Any:
    if value is not None:
        return value
    if value_float is not None or value_floats is not None:
        return np.array(value_floats if value_float is None else value_float, np.float32)
    if value_int is not None or value_ints is not None:
        return np.array(value_ints if value_int is None else value_int, np.int64)
    raise call.refuse("the constant has no value")


@operator("Shape", of_shapes=True)
def shape(call: Call, x: Any, *, start: int = 0, end: int | None = None) -> Any:
    return np.array(x.shape[start:end], np.int64)


@operator("Size", of_shapes=True)
def size(call: Call, x: Any) -> Any:
    return np.array(x.size, np.int64)


@operator("ConstantOfShape", known=(0,))
def constant_of_shape(call: Call, lengths: Any, *, value: Any = None) -> Any:
    fill = np.zeros((), np.float32) if value is None else value.reshape(())
    return np.broadcast_to(fill, call.numbers(lengths, "the shape"))


@operator("Range", known=(0, 1, 2))
def range_(call: Call, start: Any, limit: Any, delta: Any, *, stash_type: int = 1) -> Any:
    first, last, step = (call.known(each, "an end of the range").reshape(()) for each in (start, limit, delta))
    count = max(int(np.ceil((last.astype("float64") - first) / step)), 0)
    return (first + np.arange(count).astype(first.dtype) * step).astype(first.dtype)


@operator("EyeLike", of_shapes=True)
def eye_like(call: Call, x: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    kind = x.dtype if dtype is None else dtype_of(dtype, f"{call.node.label}: the result")
    return np.eye(*x.shape, k=k, dtype=kind)


@operator("NonZero", known=(0,))
def non_zero(call: Call, x: Any) -> Any:
    """How many there are decides a shape, so that the input must be known."""
    return np.array(np.nonzero(call.known(x, "the input")), np.int64)


@operator("OptionalHasElement", of_shapes=True)
def optional_has_element(call: Call, x: Any = None) -> Any:
    """An array is there, or is left out; other optional values are not supported."""
    return np.array(x is not None)


@operator("OptionalGetElement")
def optional_get_element(call: Call, x: Any) -> Any:
    return x
