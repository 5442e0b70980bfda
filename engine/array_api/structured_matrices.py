"""Matrices made of parts, as SciPy names them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, located
from .broadcasting import as_arraylike, cast, described, key_of, reshaped, shape_of
from .complex_numbers import conj
from .indexing import getitem, take
from .manipulation import concatenate, flip, pad


def block_diag(*arrs: ArrayLike) -> Any:
    """The matrices `arrs` along the diagonal of a matrix, and 0 elsewhere, as `scipy.linalg.block_diag`: a vector is a
    row, and without matrices the result is (1, 0). Raises `ShapeError` above two axes.
    """
    if not arrs:
        return np.zeros((1, 0))
    parts = [as_arraylike(x) for x in arrs]
    dtype = result_dtype(*map(key_of, parts))
    for x in parts:
        if len(shape_of(x)) > 2:
            raise ShapeError(located(f"block_diag takes matrices, vectors and numbers, got {described(x)}"))
    parts = [reshaped(cast(x, dtype), (1,) * (2 - len(shape_of(x))) + shape_of(x)) for x in parts]
    columns, rows, left = sum(shape_of(x)[1] for x in parts), [], 0
    for x in parts:
        rows.append(pad(x, ((0, 0), (left, columns - left - shape_of(x)[1]))))
        left += shape_of(x)[1]
    return concatenate(rows)


def toeplitz(c: ArrayLike, r: ArrayLike | None = None) -> Any:
    """The matrix (m, n) with the first column `c` (m,), the first row `r` (n,) but for its first element, and constant
    diagonals, as `scipy.linalg.toeplitz`; by default `r` is the conjugate of `c`. Raises `ShapeError` for other axes.
    """
    c = as_arraylike(c)
    r = conj(c) if r is None else as_arraylike(r)
    c, r = (reshaped(x, (1,)) if not shape_of(x) else x for x in (c, r))
    if len(shape_of(c)) != 1 or len(shape_of(r)) != 1:
        raise ShapeError(located(f"toeplitz takes vectors, got {described(c)} and {described(r)}"))
    dtype, m, n = result_dtype(key_of(c), key_of(r)), shape_of(c)[0], shape_of(r)[0]
    if not m or not n:
        return np.zeros((m, n), dtype)
    diagonals = concatenate([flip(cast(c, dtype)), getitem(cast(r, dtype), slice(1, None))])
    return take(diagonals, np.arange(m - 1, -1, -1)[:, None] + np.arange(n))
