"""Linear and bilinear maps, and what is made of class numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.ops import creation
from ....ir.ops import elementwise as ew
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, Tracer, TracingError, emit, located, trace_of


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """`x @ weight.T + bias` for x (..., in), weight (out, in), bias (out,)."""
    x, weight = as_arraylike(input), as_arraylike(weight)
    if weight.ndim not in (1, 2):
        raise ShapeError(located(f"linear: weight is (out, in), or (in,) for one output, got {described(weight)}"))
    if not x.shape or x.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            located(f"linear: the last axis of x, {described(x)}, does not fit weight (out, in) = {weight.shape}")
        )
    product = xp.matmul(x, xp.matrix_transpose(weight) if weight.ndim == 2 else weight)
    return product if bias is None else product + bias


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """x1ᵀ A x2 + bias for x1 (..., in1) and x2 (..., in2), each matrix A of weight (out, in1, in2), and bias (out,)."""
    x1, x2, weight = as_arraylike(input1), as_arraylike(input2), as_arraylike(weight)
    fits = weight.ndim == 3 and x1.ndim > 0 and x1.shape[:-1] == x2.shape[:-1]
    if not fits or (x1.shape[-1], x2.shape[-1]) != tuple(weight.shape[1:]):
        raise ShapeError(
            located(
                f"bilinear: (..., in1) = {described(x1)} and (..., in2) = {described(x2)} do not fit weight "
                f"(out, in1, in2) = {weight.shape}"
            )
        )
    rows = xp.tensordot(x1, weight, axes=((x1.ndim - 1,), (1,)))
    product = xp.sum(rows * xp.expand_dims(x2, -2), axis=-1)
    return product if bias is None else product + bias


def class_places(like: Any, shape: tuple[int, ...]) -> Any:
    """0, 1, 2, ... as int32 along the last axis of `shape`; computed in the program of `like` where that is traced."""
    trace = trace_of([like])
    attrs: dict[str, Any] = {"shape": shape, "axis": len(shape) - 1, "dtype": np.dtype("int32")}
    if trace is None:
        return emit(creation.iota, **attrs)
    return Tracer(trace, trace.emit_node(creation.iota, **attrs).output)


def checked_index(index: Any, size: int, what: str) -> Any:
    """`index` as int32 or int64, checked when the program runs to lie in 0 <= index < size."""
    index = as_arraylike(index)
    if index.dtype.kind not in "iu":
        raise TracingError(located(f"{what} are integers, got {described(index)}; write .astype('int64')"))
    if index.dtype == np.dtype("uint8"):
        index = xp.astype(index, "int32")
    return emit(ew.check_index, index, size=size)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 of shape (*tensor.shape, num_classes): 1 at the class, 0 elsewhere.

    For -1 there is one class more than the largest of `tensor`, where that is known while tracing.
    """
    classes = as_arraylike(tensor)
    if num_classes == -1 and not isinstance(classes, Tracer) and classes.size:
        num_classes = int(classes.max()) + 1
    if num_classes < 1:
        raise ValueError(located(f"one_hot: num_classes must be given, as 1 or more, got {num_classes}"))
    index = checked_index(classes, num_classes, "one_hot: classes")
    places = class_places(index, (*index.shape, num_classes))
    return xp.astype(places == xp.expand_dims(xp.astype(index, "int32"), -1), "int64")
