"""Arrays cut and joined along axes that the name of the function says, and as nested lists say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..tracing.tracer import ArrayLike, ShapeError, located
from .broadcasting import as_arraylike, axis_index, described, reshaped, shape_of, viewing
from .manipulation import concatenate, moveaxis, split


def hsplit(x: ArrayLike, /, indices_or_sections: Any) -> list[Any]:
    """`split` along the second axis, or the only one."""
    return split(x, indices_or_sections, 0 if len(shape_of(as_arraylike(x))) == 1 else 1)


def vsplit(x: ArrayLike, /, indices_or_sections: Any) -> list[Any]:
    """`split` along the first of two axes or more."""
    return split(x, indices_or_sections, _axis_of_several("vsplit", x, 0))


def dsplit(x: ArrayLike, /, indices_or_sections: Any) -> list[Any]:
    """`split` along the third axis."""
    return split(x, indices_or_sections, _axis_of_several("dsplit", x, 2))


def _axis_of_several(name: str, x: ArrayLike, axis: int) -> int:
    x = as_arraylike(x)
    if len(shape_of(x)) < max(axis + 1, 2):
        raise ShapeError(located(f"np.{name}: {described(x)} has no such axis; write np.split(x, n, axis)"))
    return axis


def dstack(arrays: Sequence[ArrayLike], /) -> Any:
    """The arrays joined along the third axis, which they have or are given."""
    return concatenate([atleast_3d(x) for x in arrays], axis=2)


@viewing
def atleast_3d(x: ArrayLike, /) -> Any:
    """`x` with axes of length 1 around it until it has three: (n,) becomes (1, n, 1), (n, m) becomes (n, m, 1)."""
    x = as_arraylike(x)
    shape = shape_of(x)
    return reshaped(x, {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}.get(len(shape), shape))


def block(arrays: Any) -> Any:
    """Arrays joined as nested lists say: the innermost along the last axis, those around along the one before, ..."""
    depth = _depth(arrays)
    least = max(depth, *(len(shape_of(as_arraylike(x))) for x in _flat(arrays)))

    def joined(part: Any, level: int) -> Any:
        if not isinstance(part, list):
            x = as_arraylike(part)
            return reshaped(x, (*(1,) * (least - len(shape_of(x))), *shape_of(x)))
        return concatenate([joined(inner, level + 1) for inner in part], axis=level - depth)

    return joined(arrays, 0)


def _depth(arrays: Any) -> int:
    depths = {_depth(part) for part in arrays} if isinstance(arrays, list) else {-1}
    if len(depths) != 1:
        raise ValueError(located("np.block: lists are nested equally deep everywhere, and none is empty"))
    return depths.pop() + 1


def _flat(arrays: Any) -> Any:
    return itertools.chain.from_iterable(map(_flat, arrays)) if isinstance(arrays, list) else [arrays]


def rollaxis(x: ArrayLike, /, axis: int, start: int = 0) -> Any:
    """`x` with `axis` before the axis `start`; `moveaxis` says it more plainly."""
    ndim = len(shape_of(as_arraylike(x)))
    place = axis_index(axis, ndim)
    before = start + ndim if start < 0 else start
    if not 0 <= before <= ndim:
        raise ValueError(located(f"np.rollaxis: start is from {-ndim} to {ndim}, got {start}"))
    return moveaxis(x, place, before - 1 if place < before else before)
