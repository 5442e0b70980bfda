"""Covariance and correlation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tracing.promotion import float_dtype
from ..tracing.tracer import ArrayLike, ShapeError, located
from . import elementwise as e
from .broadcasting import as_arraylike, cast, described, dtype_of, shape_of
from .diagonals import diagonal
from .linear_algebra import matmul
from .manipulation import atleast_2d, concatenate, expand_dims, matrix_transpose, squeeze
from .reductions import mean
from .reductions import sum as sum_of


def cov(
    m: ArrayLike,
    y: ArrayLike | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: ArrayLike | None = None,
    aweights: ArrayLike | None = None,
    *,
    dtype: Any = None,
) -> Any:
    """The covariances (n, n) of n variables, the rows of `m` (n, observations), or its columns without `rowvar`; `y`
    has further ones. Divided by observations - `ddof`, which is 1, or 0 with `bias`. Observations count as often as
    `fweights` says, and as much as `aweights`.

    Raises `ShapeError` for more than two axes.
    """
    wide = float_dtype(np.promote_types(dtype_of(as_arraylike(m)), "float64")) if dtype is None else np.dtype(dtype)
    rows = _variables("m", m, rowvar)
    if y is not None:
        rows = concatenate([rows, _variables("y", y, rowvar)])
    rows = cast(rows, wide)
    weight: Any = None
    for given in (fweights, aweights):
        if given is not None:
            given = cast(as_arraylike(given), wide)
            if shape_of(given) != (shape_of(rows)[1],):
                raise ShapeError(located(f"np.cov: there is a weight for each observation, got {described(given)}"))
            weight = given if weight is None else weight * given
    free = int(not bias) if ddof is None else ddof
    if weight is None:
        centered = rows - mean(rows, 1, keepdims=True)
        scaled, divisor = centered, float(shape_of(rows)[1] - free)
    else:
        total = sum_of(weight)
        centered = rows - expand_dims(sum_of(rows * weight, 1) / total, 1)
        scaled = centered * weight
        lost = total if aweights is None else sum_of(weight * cast(as_arraylike(aweights), wide))
        divisor = total - free if aweights is None else total - free * lost / total
    result = matmul(scaled, matrix_transpose(centered)) / divisor
    return squeeze(result)


def _variables(name: str, x: ArrayLike, rowvar: bool) -> Any:
    x = as_arraylike(x)
    if len(shape_of(x)) > 2:
        raise ShapeError(located(f"np.cov: {name} has one axis or two, got {described(x)}"))
    rows = atleast_2d(x)
    return matrix_transpose(rows) if not rowvar and len(shape_of(x)) == 2 else rows


def corrcoef(x: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """The correlations (n, n) of n variables, in -1 to 1; arguments as of `cov`."""
    found = cov(x, y, rowvar, dtype=dtype)
    if not shape_of(found):
        return found / found
    deviation = e.sqrt(diagonal(found))
    scaled = found / expand_dims(deviation, 1) / deviation
    return e.clip(scaled, -1, 1)
