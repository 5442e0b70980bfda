"""Powers, exponentials and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tracing.promotion import float_dtype
from ..tracing.tracer import ArrayLike, ShapeError, located
from . import elementwise as e
from .broadcasting import as_arraylike, axis_index, cast, described, dtype_of, integer, reshaped, shape_of
from .comparison import less, where
from .factors import inv, solve
from .indexing import getitem
from .linear_algebra import dot, matmul
from .manipulation import expand_dims, moveaxis, stack
from .reductions import max as max_of
from .reductions import sum as sum_of


def _square(name: str, a: ArrayLike) -> ArrayLike:
    a = as_arraylike(a)
    if len(shape_of(a)) < 2 or shape_of(a)[-1] != shape_of(a)[-2]:
        raise ShapeError(located(f"{name} takes square matrices in the last two axes, got {described(a)}"))
    return a


def matrix_power(a: ArrayLike, n: int) -> Any:
    """The product of `n` matrices `a`, the unit matrix for 0, and of inverses for a negative `n`, which is known while
    tracing. Raises `ShapeError` for matrices that are not square.
    """
    a, power = _square("np.linalg.matrix_power", a), integer(n, "np.linalg.matrix_power: n")
    if power == 0:
        return np.broadcast_to(np.eye(shape_of(a)[-1], dtype=dtype_of(a)), shape_of(a)).copy()
    base, power = (inv(a), -power) if power < 0 else (a, power)
    result: Any = None
    while power:
        if power & 1:
            result = base if result is None else matmul(result, base)
        power >>= 1
        base = matmul(base, base) if power else base
    return result


def multi_dot(arrays: Sequence[ArrayLike], *, out: None = None) -> Any:
    """The product of several matrices, of which the first and the last may be vectors, in the order that takes the
    fewest multiplications. Raises `ValueError` for fewer than two.
    """
    parts = [as_arraylike(x) for x in arrays]
    if len(parts) < 2:
        raise ValueError(located("np.linalg.multi_dot: takes two arrays or more"))
    if any(len(shape_of(x)) != 2 for x in parts[1:-1]) or any(len(shape_of(x)) not in (1, 2) for x in parts):
        shapes = ", ".join(str(shape_of(x)) for x in parts)
        raise ShapeError(located(f"np.linalg.multi_dot: matrices are expected, or vectors at the ends, got {shapes}"))
    lengths = [1 if len(shape_of(x)) == 1 and i == 0 else shape_of(x)[0] for i, x in enumerate(parts)]
    lengths.append(1 if len(shape_of(parts[-1])) == 1 else shape_of(parts[-1])[-1])
    count = len(parts)
    cost = [[0] * count for _ in parts]
    cut = [[0] * count for _ in parts]
    for span in range(1, count):
        for i in range(count - span):
            j = i + span
            ways = [
                (cost[i][k] + cost[k + 1][j] + lengths[i] * lengths[k + 1] * lengths[j + 1], k) for k in range(i, j)
            ]
            cost[i][j], cut[i][j] = min(ways)

    def product(i: int, j: int) -> Any:
        return parts[i] if i == j else dot(product(i, cut[i][j]), product(cut[i][j] + 1, j))

    return product(0, count - 1)


def tensorsolve(a: ArrayLike, b: ArrayLike, axes: Sequence[int] | None = None) -> Any:
    """The x with `tensordot(a, x, x.ndim) == b`, where the axes of `a` are those of `b`, then those of x, with as many
    elements; those in `axes` go to the end first. Raises `ShapeError` where they do not fit.
    """
    a, b = as_arraylike(a), as_arraylike(b)
    count = len(shape_of(a))
    if axes is not None:
        a = moveaxis(a, [axis_index(axis, count) for axis in axes], list(range(count - len(axes), count)))
    sides = shape_of(a)[len(shape_of(b)) :]
    size = math.prod(sides)
    if size * size != math.prod(shape_of(a)) or size != math.prod(shape_of(b)):
        rule = "the axes of a are those of b, then others with as many elements"
        raise ShapeError(located(f"np.linalg.tensorsolve: {rule}, got {described(a)} and {described(b)}"))
    return reshaped(solve(reshaped(a, (size, size)), reshaped(b, (size,))), sides)


def tensorinv(a: ArrayLike, ind: int = 2) -> Any:
    """The inverse of `a` as a map from its last axes to its first `ind`, which have as many elements, with the last
    axes first. Raises `ShapeError` where they have not.
    """
    a, ind = as_arraylike(a), integer(ind, "np.linalg.tensorinv: ind")
    if ind < 1:
        raise ValueError(located(f"np.linalg.tensorinv: ind is 1 or more, got {ind}"))
    first, last = shape_of(a)[:ind], shape_of(a)[ind:]
    if math.prod(first) != math.prod(last):
        rule = f"the first {ind} axes have as many elements as the others"
        raise ShapeError(located(f"np.linalg.tensorinv: {rule}, got {described(a)}"))
    return reshaped(inv(reshaped(a, (math.prod(first), math.prod(last)))), (*last, *first))


_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
    670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_LARGEST = 5.371920351148152
_MOST_SQUARINGS = 16


def expm(A: ArrayLike) -> Any:
    """The exponentials Σ Aⁿ / n! of the square matrices in the last two axes, as `scipy.linalg.expm`: a quotient of
    polynomials of degree 13 of A / 2ˢ, squared s times, with s up to 16 by the largest column of each. Higham 2005.

    NaN where that is not enough, for columns whose sum of absolute values is above 350,000. Raises `ShapeError` for
    matrices that are not square.
    """
    A = _square("expm", A)
    A = cast(A, float_dtype(dtype_of(A)))
    if not math.prod(shape_of(A)):
        return A
    largest = max_of(sum_of(e.abs(A), -2), -1)
    squarings = e.maximum(e.ceil(e.log2(e.maximum(largest, 1e-30) / _LARGEST)), 0)
    scale = e.exp2(-e.minimum(squarings, _MOST_SQUARINGS))
    result = _rational(A * expand_dims(expand_dims(scale, -1), -1))
    for i in range(_MOST_SQUARINGS):
        more = expand_dims(expand_dims(less(i, squarings), -1), -1)
        result = where(more, matmul(result, result), result)
    beyond = expand_dims(expand_dims(less(_MOST_SQUARINGS, squarings), -1), -1)
    return where(beyond, math.nan, result)


def _rational(a: Any) -> Any:
    unit, b = np.eye(shape_of(a)[-1], dtype=dtype_of(a)), [float(c) for c in _PADE]
    a2 = matmul(a, a)
    a4 = matmul(a2, a2)
    a6 = matmul(a4, a2)
    odd = matmul(a6, b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * unit
    u = matmul(a, odd)
    v = matmul(a6, b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * unit
    return solve(v - u, v + u)


def cross(
    a: ArrayLike, b: ArrayLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """The vector products of vectors of three elements along `axis`; other axes broadcast. Raises `ShapeError` for
    another length.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    left, right = (
        moveaxis(x, axis_index(place, len(shape_of(x))), -1)
        for x, place in ((as_arraylike(a), axisa), (as_arraylike(b), axisb))
    )
    if shape_of(left)[-1] != 3 or shape_of(right)[-1] != 3:
        raise ShapeError(
            located(f"np.cross: vectors have three elements, got {described(left)} and {described(right)}")
        )
    x, y = ([getitem(v, (..., i)) for i in range(3)] for v in (left, right))
    parts = [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]
    return moveaxis(stack(parts, axis=-1), -1, axisc)
