"""Diagonals and triangles of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.ops import creation, movement
from ..tracing.mutable_arrays import perhaps_view
from ..tracing.tracer import ArrayLike, ShapeError, Trace, Tracer, emit, located, trace_of
from . import elementwise as e
from .broadcasting import as_arraylike, axis_index, described, dtype_of, reshaped, shape_of, stretched, transposed
from .manipulation import pad, sliced
from .reductions import sum


def diagonal(x: ArrayLike, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The elements whose indices along two axes differ by `offset`, along a new last axis."""
    x = as_arraylike(x)
    return perhaps_view(x, _diagonal(x, offset, axis1, axis2))


def _diagonal(x: ArrayLike, offset: int, axis1: int, axis2: int) -> ArrayLike:
    shape = shape_of(x)
    if len(shape) < 2:
        raise ShapeError(located(f"np.diagonal needs two axes, got {described(x)}"))
    first, second = axis_index(axis1, len(shape)), axis_index(axis2, len(shape))
    if first == second:
        raise ShapeError(located(f"np.diagonal: axis1 and axis2 are both {axis1}"))
    x = transposed(x, (*(i for i in range(len(shape)) if i not in (first, second)), first, second))
    *rest, rows, columns = shape_of(x)
    top, left = max(-offset, 0), max(offset, 0)
    length = max(min(rows - top, columns - left), 0)
    ndim = len(shape)
    if length == 0:
        return reshaped(sliced(sliced(x, ndim - 2, 0, 0), ndim - 1, 0, min(1, columns)), (*rest, 0))
    square = sliced(sliced(x, ndim - 2, top, top + length), ndim - 1, left, left + length)
    flat = reshaped(square, (*rest, length * length))
    if length == 1:
        return flat
    # In a row-major square the diagonal is every (n + 1)-th element.
    return emit(
        movement.slice_,
        flat,
        start=(0,) * (ndim - 1),
        stop=(*rest, length * length),
        step=(*(1 for _ in rest), length + 1),
    )


def diag(x: ArrayLike, /, k: int = 0) -> Any:
    """The k-th diagonal of a matrix, or a matrix with the vector `x` as its k-th diagonal."""
    x = as_arraylike(x)
    if len(shape_of(x)) == 2:
        return diagonal(x, k)
    if len(shape_of(x)) != 1:
        raise ShapeError(located(f"np.diag takes a vector or a matrix, got {described(x)}"))
    if not isinstance(x, Tracer):
        return np.diag(x, k)
    (n,) = x.shape
    zero = x.dtype.type(0).item()
    square = x
    if n > 1:
        square = emit(movement.pad, x, low=(0,), high=(0,), interior=(n,), value=zero)
    square = reshaped(square, (n, n))
    return pad(square, [(max(-k, 0), max(k, 0)), (max(k, 0), max(-k, 0))])


def trace(x: ArrayLike, /, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """The sum of a diagonal."""
    return sum(diagonal(x, offset, axis1, axis2), -1, dtype)


def _triangle(x: ArrayLike, k: int, lower: bool, name: str) -> Any:
    x = as_arraylike(x)
    shape = shape_of(x)
    if len(shape) == 1:
        x, shape = stretched(x, (*shape, *shape)), (*shape, *shape)
    if len(shape) < 2:
        raise ShapeError(located(f"np.{name} needs two axes, got {described(x)}"))
    active = trace_of([x])
    if active is None:
        return (np.tril if lower else np.triu)(x, k)
    rows = _iota(active, shape[-2:], 0)
    columns = _iota(active, shape[-2:], 1)
    bound = e.add(rows, k if lower else k - 1)
    kept = e.less_equal(columns, bound) if lower else e.greater(columns, bound)
    return e.where(kept, x, dtype_of(x).type(0))


def _iota(trace: Trace, shape: tuple[int, ...], axis: int) -> Tracer:
    node = trace.emit_node(creation.iota, shape=shape, axis=axis, dtype=np.dtype("int64"))
    return Tracer(trace, node.output)


def diagflat(v: ArrayLike, k: int = 0) -> Any:
    """A matrix with the flattened elements on its k-th diagonal, and 0 elsewhere."""
    v = as_arraylike(v)
    return diag(reshaped(v, (math.prod(shape_of(v)),)), k)


def tril(x: ArrayLike, /, k: int = 0) -> Any:
    """The elements of the last two axes on and below the k-th diagonal; 0 elsewhere."""
    return _triangle(x, k, True, "tril")


def triu(x: ArrayLike, /, k: int = 0) -> Any:
    """The elements of the last two axes on and above the k-th diagonal; 0 elsewhere."""
    return _triangle(x, k, False, "triu")
