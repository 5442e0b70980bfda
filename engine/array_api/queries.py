"""What is known of an array while tracing: its shape, its dtype, and what follows from them. Nothing is emitted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import BFLOAT16, DType, is_complex
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, located
from .broadcasting import as_arraylike, axes_tuple
from .comparison import equal
from .reductions import all as all_of


def shape(x: ArrayLike, /) -> tuple[int, ...]:
    """The length of every axis."""
    return x.shape if isinstance(x, Tracer) else np.shape(as_arraylike(x))


def ndim(x: ArrayLike, /) -> int:
    """The number of axes."""
    return len(shape(x))


def size(x: ArrayLike, /, axis: Any = None) -> int:
    """The number of elements, or of those along `axis`."""
    lengths = shape(x)
    return math.prod(lengths[a] for a in axes_tuple(axis, len(lengths)))


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that NumPy's promotion gives for arrays, dtypes and Python numbers."""
    return np.result_type(*map(_dtype_or_itself, arrays_and_dtypes))


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether a dtype, or that of an array, can be cast to the dtype `to`."""
    return np.can_cast(_dtype_or_itself(from_), to, casting)


def common_type(*arrays: ArrayLike) -> Any:
    """The floating-point type of scalars that all arrays can be cast to."""
    return np.common_type(*(np.empty(0, as_arraylike(x).dtype) for x in arrays))


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind ("bool", "real floating", "numeric", ...) or that dtype; of a tuple, any.

    bfloat16 is a "real floating" dtype.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return any(_is_of_kind(dtype, k) for k in kinds)


def _is_of_kind(dtype: Any, kind: Any) -> bool:
    if isinstance(kind, str):
        return np.isdtype(np.float32 if dtype == BFLOAT16 else dtype, kind)
    return dtype == kind if BFLOAT16 in (dtype, kind) else np.isdtype(dtype, kind)


def min_scalar_type(x: ArrayLike, /) -> DType:
    """The dtype of a traced array; the smallest that holds a number."""
    return x.dtype if isinstance(x, Tracer) else np.min_scalar_type(x)


def iscomplexobj(x: ArrayLike, /) -> bool:
    """Whether the dtype is complex."""
    return is_complex(as_arraylike(x).dtype)


def isrealobj(x: ArrayLike, /) -> bool:
    """Whether the dtype is real."""
    return not iscomplexobj(x)


def _dtype_or_itself(x: Any) -> Any:
    return x.dtype if isinstance(x, Tracer) else x


__all__ = [
    "can_cast",
    "common_type",
    "iscomplexobj",
    "isdtype",
    "isrealobj",
    "min_scalar_type",
    "ndim",
    "result_type",
    "shape",
    "size",
]


def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Any:
    """Whether two arrays broadcast against each other and are equal then, all elements; bool."""
    a1, a2 = as_arraylike(a1), as_arraylike(a2)
    try:
        np.broadcast_shapes(shape(a1), shape(a2))
    except ValueError:
        return np.bool_(False)
    return all_of(equal(a1, a2))


def einsum_path(*operands: Any, optimize: Any = "greedy") -> tuple[list[Any], str]:
    """The order in which NumPy's `einsum` would multiply, and a text about it: shapes alone decide."""
    known = [np.broadcast_to(np.zeros((), x.dtype), x.shape) if isinstance(x, Tracer) else x for x in operands]
    try:
        return np.einsum_path(*known, optimize=optimize)
    except IndexError as error:
        raise ShapeError(
            located(f"np.einsum_path: the subscripts and the operands do not fit together: {error}")
        ) from None


def typename(char: str) -> str:
    """The words for a dtype's letter, as `numpy.typename`. Raises `ValueError` for anything else."""
    try:
        return np.typename(char)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except (KeyError, TypeError):
        advice = "the name of an array's dtype is x.dtype.name"
        raise ValueError(located(f"np.typename takes a letter such as 'f', got {char!r}; {advice}")) from None


def diag_indices_from(arr: ArrayLike) -> tuple[Any, ...]:
    """The indices of the diagonal of all axes, which have one length. Raises `ShapeError` where they have not."""
    lengths = shape(arr)
    if len(lengths) < 2 or len(set(lengths)) != 1:
        raise ShapeError(located(f"np.diag_indices_from: arr has axes of one length, two at least, got {lengths}"))
    return np.diag_indices(lengths[0], len(lengths))


def tril_indices_from(arr: ArrayLike, k: int = 0) -> tuple[Any, Any]:
    """The indices of the elements of a matrix on and below its k-th diagonal. Raises `ShapeError` for other axes."""
    return np.tril_indices(*_sides("tril_indices_from", arr, k))


def triu_indices_from(arr: ArrayLike, k: int = 0) -> tuple[Any, Any]:
    """The indices of the elements of a matrix on and above its k-th diagonal. Raises `ShapeError` for other axes."""
    return np.triu_indices(*_sides("triu_indices_from", arr, k))


def _sides(name: str, arr: ArrayLike, k: int) -> tuple[int, int, int]:
    if ndim(arr) != 2:
        raise ShapeError(located(f"np.{name}: arr is a matrix, got {shape(arr)}"))
    return shape(arr)[0], k, shape(arr)[1]
