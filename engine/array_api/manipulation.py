"""Functions that rearrange elements: reshape, transpose, join, split, pad, repeat, diagonals, triangles."""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.ops import movement
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, Tracer, TracingError, emit, fresh, located, trace_of
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axes_tuple,
    axis_index,
    broadcasts_to,
    described,
    dtype_argument,
    dtype_of,
    fitted,
    integer,
    key_of,
    read_only,
    reshaped,
    shape_of,
    stretched,
    transposed,
    viewing,
)
from .indexing import take


def _shape_argument(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, (tuple, list)):
        return tuple(integer(n, "a length") for n in shape)
    if isinstance(shape, np.ndarray) and shape.ndim:
        return tuple(integer(n, "a length") for n in shape)
    return (integer(shape, "a length"),)


def _row_major(order: str, name: str) -> None:
    if order not in ("C", "K", "A"):
        raise TracingError(
            located(f"np.{name} with order={order!r} is not traced; transpose first, then use order='C'")
        )


# Shape.


@viewing
def reshape(x: ArrayLike, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The elements in row-major order in another shape; one length may be -1. Raises `ShapeError` for a misfit."""
    _row_major(order, "reshape")
    x = as_arraylike(x)
    size = math.prod(shape_of(x))
    wanted = _shape_argument(shape)
    known = math.prod(n for n in wanted if n != -1)
    unknown = wanted.count(-1)
    fits = size == known if not unknown else unknown == 1 and known != 0 and size % known == 0
    if not fits or builtins.any(n < -1 for n in wanted):
        raise ShapeError(located(f"np.reshape: {described(x)} of {size} elements does not fit shape {wanted}"))
    return reshaped(x, tuple(size // known if n == -1 else n for n in wanted))


@viewing
def ravel(x: ArrayLike, /, order: str = "C") -> Any:
    """The elements in row-major order along one axis."""
    _row_major(order, "ravel")
    x = as_arraylike(x)
    return reshaped(x, (math.prod(shape_of(x)),))


@viewing
def squeeze(x: ArrayLike, /, axis: Any = None) -> Any:
    """`x` without axes of length 1: all of them, or `axis`. Raises `ShapeError` for a longer axis."""
    x = as_arraylike(x)
    shape = shape_of(x)
    axes = tuple(i for i, n in enumerate(shape) if n == 1) if axis is None else axes_tuple(axis, len(shape))
    if builtins.any(shape[a] != 1 for a in axes):
        raise ShapeError(located(f"np.squeeze: axis {axis} of {described(x)} is not of length 1"))
    return reshaped(x, tuple(n for i, n in enumerate(shape) if i not in axes))


@viewing
def expand_dims(x: ArrayLike, /, axis: Any = 0) -> Any:
    """`x` with axes of length 1 at the places `axis` of the result."""
    x = as_arraylike(x)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    axes = axes_tuple(axis, len(shape_of(x)) + count)
    lengths = iter(shape_of(x))
    return reshaped(x, tuple(1 if i in axes else next(lengths) for i in range(len(shape_of(x)) + count)))


def atleast_1d(*arrays: ArrayLike) -> Any:
    """Arrays of at least one axis."""
    results = tuple(x if shape_of(x) else reshape(x, (1,)) for x in map(as_arraylike, arrays))
    return results[0] if len(results) == 1 else results


def atleast_2d(*arrays: ArrayLike) -> Any:
    """Arrays of at least two axes; new ones come first."""
    results = tuple(
        x if len(shape_of(x)) >= 2 else reshape(x, (1,) * (2 - len(shape_of(x))) + shape_of(x))
        for x in map(as_arraylike, arrays)
    )
    return results[0] if len(results) == 1 else results


def broadcast_to(x: ArrayLike, /, shape: Any) -> Any:
    """`x` repeated along axes of length 1 and new leading axes. Raises `ShapeError` where it does not fit."""
    x = as_arraylike(x)
    wanted = _shape_argument(shape)
    if not broadcasts_to(shape_of(x), wanted):
        raise ShapeError(located(f"np.broadcast_to: {described(x)} does not broadcast to shape {wanted}"))
    return read_only(stretched(x, wanted))


# Order of axes.


@viewing
def transpose(x: ArrayLike, /, axes: Any = None) -> Any:
    """Axis i of the result is axis `axes[i]` of `x`; all axes in reverse order by default."""
    x = as_arraylike(x)
    ndim = len(shape_of(x))
    perm = tuple(reversed(range(ndim))) if axes is None else tuple(axis_index(a, ndim) for a in axes)
    if sorted(perm) != list(range(ndim)):
        raise ShapeError(located(f"np.transpose: axes {axes} are no permutation of the axes of {described(x)}"))
    return transposed(x, perm)


@viewing
def permute_dims(x: ArrayLike, /, axes: Any) -> Any:
    """`transpose` under the Array API's name."""
    return transpose(x, axes)


@viewing
def swapaxes(x: ArrayLike, /, axis1: int, axis2: int) -> Any:
    """`x` with two axes exchanged."""
    x = as_arraylike(x)
    perm = list(range(len(shape_of(x))))
    a, b = axis_index(axis1, len(perm)), axis_index(axis2, len(perm))
    perm[a], perm[b] = b, a
    return transposed(x, perm)


@viewing
def moveaxis(x: ArrayLike, /, source: Any, destination: Any) -> Any:
    """`x` with axes `source` moved to the places `destination`; the others keep their order."""
    x = as_arraylike(x)
    ndim = len(shape_of(x))
    sources = [axis_index(a, ndim) for a in (source if isinstance(source, (tuple, list)) else [source])]
    places = [axis_index(a, ndim) for a in (destination if isinstance(destination, (tuple, list)) else [destination])]
    if len(sources) != len(places) or len(set(sources)) != len(sources) or len(set(places)) != len(places):
        raise ShapeError(
            located(f"np.moveaxis: {source} and {destination} do not pair distinct axes of {described(x)}")
        )
    perm = [a for a in range(ndim) if a not in sources]
    for place, a in sorted(zip(places, sources)):
        perm.insert(place, a)
    return transposed(x, perm)


@viewing
def matrix_transpose(x: ArrayLike, /) -> Any:
    """The last two axes exchanged."""
    x = as_arraylike(x)
    if len(shape_of(x)) < 2:
        raise ShapeError(located(f"matrix_transpose needs two axes, got {described(x)}"))
    return swapaxes(x, -1, -2)


@viewing
def flip(x: ArrayLike, /, axis: Any = None) -> Any:
    """The elements in reverse order along `axis`, or along all axes."""
    x = as_arraylike(x)
    axes = axes_tuple(axis, len(shape_of(x)))
    return emit(movement.reverse, x, axes=axes) if axes else x


@viewing
def fliplr(x: ArrayLike, /) -> Any:
    """`flip` along axis 1."""
    return flip(x, 1)


@viewing
def flipud(x: ArrayLike, /) -> Any:
    """`flip` along axis 0."""
    return flip(x, 0)


@viewing
def rot90(x: ArrayLike, /, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """`x` turned by `k` times 90 degrees in the plane of two axes, from the first towards the second."""
    x = as_arraylike(x)
    first, second = (axis_index(axis, len(shape_of(x))) for axis in axes)
    if first == second:
        raise ShapeError(located(f"np.rot90: the axes {axes} are the same"))
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(x, (first, second))
    return swapaxes(flip(x, second), first, second) if k % 4 == 1 else flip(swapaxes(x, first, second), second)


def roll(x: ArrayLike, /, shift: Any, axis: Any = None) -> Any:
    """The elements moved on by `shift` along `axis`; what falls off one end comes in at the other."""
    x = as_arraylike(x)
    if axis is None:
        return reshaped(roll(ravel(x), shift, 0), shape_of(x))
    pairs = np.broadcast(np.asarray(shift), np.asarray(axis)) if not isinstance(shift, Tracer) else [(shift, axis)]
    for steps, a in pairs:
        place = axis_index(a, len(shape_of(x)))
        length = shape_of(x)[place]
        cut = length - integer(steps, "a shift") % length if length else 0
        if 0 < cut < length:
            x = concatenate([sliced(x, place, cut, length), sliced(x, place, 0, cut)], place)
    return x


def sliced(x: ArrayLike, axis: int, start: int, stop: int) -> Any:
    """`x[start:stop]` along one axis, within its length."""
    shape = shape_of(x)
    if start == 0 and stop == shape[axis]:
        return x
    return emit(movement.slice_, x, **movement.slice_along(shape, axis, start, stop))


# Joining and splitting.


def concatenate(
    arrays: Sequence[ArrayLike], /, axis: int | None = 0, *, dtype: Any = None, casting: Any = "same_kind"
) -> Any:
    """The arrays one after another along `axis` (flattened first for `None`), promoted to one dtype, or to `dtype`.

    Raises `TypeError` where `casting` does not allow that.
    """
    parts = [as_arraylike(x) for x in arrays]
    if not parts:
        raise ShapeError(located("np.concatenate needs at least one array"))
    if axis is None:
        parts, axis = [ravel(x) for x in parts], 0
    if not shape_of(parts[0]):
        raise ShapeError(located("np.concatenate: arrays without axes cannot be joined; write np.stack"))
    place = axis_index(axis, len(shape_of(parts[0])))
    others = {tuple(n for i, n in enumerate(shape_of(x)) if i != place) for x in parts}
    if len(others) > 1 or len({len(shape_of(x)) for x in parts}) > 1:
        shown = ", ".join(described(x) for x in parts)
        raise ShapeError(located(f"np.concatenate: {shown} differ in more than axis {axis}"))
    wanted = result_dtype(*map(key_of, parts)) if dtype is None else dtype_argument(dtype)
    for x in parts:
        if not np.can_cast(dtype_of(x), wanted, casting):
            message = f"np.concatenate: casting={casting!r} makes no {wanted} of {described(x)}"
            raise TypeError(located(f"{message}; write casting='unsafe', or cast with astype first"))
    trace = trace_of(parts)
    parts = [fitted(x, wanted, shape_of(x), trace) for x in parts]
    return parts[0] if len(parts) == 1 else emit(movement.concatenate, *parts, axis=place)


concat = concatenate


def stack(arrays: Sequence[ArrayLike], /, axis: int = 0, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """Arrays of one shape along a new axis; `dtype` and `casting` as in `concatenate`."""
    parts = [as_arraylike(x) for x in arrays]
    if not parts:
        raise ShapeError(located("np.stack needs at least one array"))
    if len({shape_of(x) for x in parts}) > 1:
        raise ShapeError(located(f"np.stack: {', '.join(described(x) for x in parts)} differ in shape"))
    place = axis_index(axis, len(shape_of(parts[0])) + 1)
    return concatenate([expand_dims(x, place) for x in parts], place, dtype=dtype, casting=casting)


def hstack(arrays: Sequence[ArrayLike], /, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """The arrays joined along axis 1, or along axis 0 where they have one axis."""
    parts = [atleast_1d(x) for x in arrays]
    axis = 0 if parts and len(shape_of(parts[0])) == 1 else 1
    return concatenate(parts, axis, dtype=dtype, casting=casting)


def vstack(arrays: Sequence[ArrayLike], /, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """The arrays, of at least two axes, joined along axis 0."""
    return concatenate([atleast_2d(x) for x in arrays], 0, dtype=dtype, casting=casting)


def column_stack(arrays: Sequence[ArrayLike], /) -> Any:
    """Vectors as the columns of a matrix; matrices joined along axis 1."""
    parts = [as_arraylike(x) for x in arrays]
    return concatenate([transposed(atleast_2d(x), (1, 0)) if len(shape_of(x)) < 2 else x for x in parts], 1)


@viewing
def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The parts of `x` along `axis`, without it."""
    x = as_arraylike(x)
    place = axis_index(axis, len(shape_of(x)))
    rest = tuple(n for i, n in enumerate(shape_of(x)) if i != place)
    return tuple(reshaped(sliced(x, place, i, i + 1), rest) for i in range(shape_of(x)[place]))


@viewing
def array_split(x: ArrayLike, /, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """`x` cut along `axis` into a number of parts, as equal as can be, or at the given places."""
    x = as_arraylike(x)
    place = axis_index(axis, len(shape_of(x)))
    length = shape_of(x)[place]
    if isinstance(indices_or_sections, (tuple, list, np.ndarray)):
        cuts = [slice(0, integer(i, "a place to cut")).indices(length)[1] for i in indices_or_sections]
    else:
        count = integer(indices_or_sections, "the number of sections")
        if count <= 0:
            raise ShapeError(located(f"np.array_split: the number of sections must be positive, got {count}"))
        cuts = [i * (length // count) + builtins.min(i, length % count) for i in range(1, count)]
    bounds = [0, *cuts, length]
    return [sliced(x, place, a, builtins.max(a, b)) for a, b in itertools.pairwise(bounds)]


@viewing
def split(x: ArrayLike, /, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """`array_split` into equal parts. Raises `ShapeError` where the length is no multiple of their number."""
    x = as_arraylike(x)
    length = shape_of(x)[axis_index(axis, len(shape_of(x)))]
    if not isinstance(indices_or_sections, (tuple, list, np.ndarray)):
        count = integer(indices_or_sections, "the number of sections")
        if count <= 0 or length % count:
            raise ShapeError(
                located(f"np.split: axis {axis} of {described(x)} does not divide into {count} equal parts")
            )
    return array_split(x, indices_or_sections, axis)


# Repeating and padding.


def tile(x: ArrayLike, /, reps: Any) -> Any:
    """`x` repeated as a whole `reps` times along each axis."""
    counts = _shape_argument(reps)
    x = as_arraylike(x)
    ndim = builtins.max(len(shape_of(x)), len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - len(shape_of(x))) + shape_of(x)
    spread = reshaped(x, tuple(m for n in shape for m in (1, n)))
    repeated = stretched(spread, tuple(m for c, n in zip(counts, shape) for m in (c, n)))
    return reshaped(repeated, tuple(c * n for c, n in zip(counts, shape)))


def repeat(x: ArrayLike, /, repeats: Any, axis: int | None = None) -> Any:
    """Every element repeated along `axis` (`None`: of the flattened array): `repeats` times, or each its own number."""
    if isinstance(repeats, Tracer):
        raise TracingError(
            located("np.repeat: traced repeats give a shape that depends on values; pass a plain integer")
        )
    x = as_arraylike(x)
    if axis is None:
        x, axis = ravel(x), 0
    place = axis_index(axis, len(shape_of(x)))
    shape = shape_of(x)
    counts = np.asarray(repeats)
    if counts.size == 1:
        count = integer(counts.reshape(()).item(), "repeats")
        before, after = shape[: place + 1], shape[place + 1 :]
        spread = stretched(reshaped(x, (*before, 1, *after)), (*before, count, *after))
        return reshaped(spread, (*shape[:place], shape[place] * count, *after))
    if counts.shape != (shape[place],):
        raise ShapeError(located(f"np.repeat: {counts.size} repeats for axis {axis} of {described(x)}"))
    return take(x, np.repeat(np.arange(shape[place]), counts), place)


def _pairs(values: Any, ndim: int, what: str) -> list[tuple[Any, Any]]:
    if isinstance(values, Tracer):
        raise TracingError(located(f"np.pad: {what} must be known while tracing; join with np.concatenate instead"))
    if isinstance(values, dict):
        values = [values.get(i, values.get(i - ndim, (0, 0))) for i in range(ndim)]
    try:
        pairs = np.broadcast_to(np.asarray(values), (ndim, 2))
    except ValueError:
        raise ShapeError(located(f"np.pad: {what} {values!r} do not fit {ndim} axes")) from None
    return [(before, after) for before, after in pairs.tolist()]


def pad(x: ArrayLike, /, pad_width: Any, mode: str = "constant", *, constant_values: Any = None) -> Any:
    """`x` with elements added before and after along every axis: a constant, or those of `x` as `mode` says.

    Modes: constant, edge, reflect, symmetric, wrap, as NumPy's.
    """
    x = as_arraylike(x)
    ndim = len(shape_of(x))
    widths = [(integer(a, "a width"), integer(b, "a width")) for a, b in _pairs(pad_width, ndim, "widths")]
    if builtins.any(n < 0 for pair in widths for n in pair):
        raise ShapeError(located(f"np.pad: widths are not negative, got {pad_width!r}"))
    if mode == "constant":
        values = 0 if constant_values is None else constant_values
        return _pad_constant(x, widths, _pairs(values, ndim, "constant values"))
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise TracingError(
            located(f"np.pad with mode={mode!r} is not traced; constant, edge, reflect, symmetric, wrap are")
        )
    if constant_values is not None:
        raise ValueError(located(f"np.pad with mode={mode!r} takes no constant_values"))
    for axis, (before, after) in enumerate(widths):
        if before or after:
            order = np.arange(shape_of(x)[axis])
            if not order.size:
                raise ShapeError(located(f"np.pad: the empty axis {axis} of {described(x)} has no {mode} elements"))
            x = take(x, np.pad(order, (before, after), mode), axis)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return x


def _pad_constant(x: ArrayLike, widths: list[tuple[int, int]], values: list[tuple[Any, Any]]) -> Any:
    if not isinstance(x, Tracer):
        return np.pad(x, widths, constant_values=values if values else 0)
    numbers = {value for pair, width in zip(values, widths) for value, n in zip(pair, width) if n}
    rounds = [(widths, numbers.pop())] if len(numbers) == 1 else []
    if numbers:
        # One axis and side at a time, as NumPy does: later axes own the corners.
        for axis, pair in enumerate(widths):
            for side in (0, 1):
                only = [
                    (pair[0] * (side == 0), pair[1] * (side == 1)) if i == axis else (0, 0) for i in range(len(widths))
                ]
                rounds.append((only, values[axis][side]))
    for width, value in rounds:
        if builtins.any(n for pair in width for n in pair):
            low, high = (tuple(pair[side] for pair in width) for side in (0, 1))
            exact = x.dtype.type(value).item()
            x = emit(movement.pad, x, low=low, high=high, interior=(0,) * len(low), value=exact)
    return x


# Neighbours and grids.


def diff(x: ArrayLike, /, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along `axis`, taken `n` times; `prepend` and `append` are joined on first.

    For n = 0 it is `x` alone, as in NumPy. Raises `ValueError` for a negative `n`.
    """
    x = as_arraylike(x)
    times = integer(n, "np.diff: n")
    if times == 0:
        return x
    if times < 0:
        raise ValueError(located(f"np.diff: n is 0 or more, got {times}"))
    place = axis_index(axis, len(shape_of(x)))
    edge = tuple(1 if i == place else m for i, m in enumerate(shape_of(x)))
    ends = [None if end is None else as_arraylike(end) for end in (prepend, append)]
    first, last = (end if end is None or shape_of(end) else broadcast_to(end, edge) for end in ends)
    if first is not None or last is not None:
        x = concatenate([part for part in (first, x, last) if part is not None], place)
    # Beyond the length nothing is left to subtract.
    for _ in range(builtins.min(times, shape_of(x)[place] + 1)):
        length = shape_of(x)[place]
        above, below = (
            sliced(x, place, builtins.min(1, length), length),
            sliced(x, place, 0, builtins.max(length - 1, 0)),
        )
        x = e.not_equal(above, below) if dtype_of(x).kind == "b" else e.subtract(above, below)
    return x


def meshgrid(*arrays: ArrayLike, indexing: str = "xy", sparse: bool = False, copy: bool = True) -> Any:
    """Coordinate arrays of a grid, one for each vector; `xy` exchanges the first two axes."""
    if indexing not in ("xy", "ij"):
        raise ValueError(located(f"np.meshgrid: indexing is 'xy' or 'ij', got {indexing!r}"))
    vectors = [ravel(x) for x in arrays]
    ndim = len(vectors)
    places = list(range(ndim))
    if indexing == "xy" and ndim >= 2:
        places[:2] = [1, 0]
    spread = [reshaped(x, tuple(shape_of(x)[0] if i == p else 1 for i in range(ndim))) for x, p in zip(vectors, places)]
    spread = tuple(spread) if sparse else e.broadcast_arrays(*spread)
    return tuple(map(fresh, spread)) if copy else spread


def copy(x: ArrayLike, /, order: str = "K") -> Any:
    """A copy; `order` is the compiler's choice."""
    x = as_arraylike(x)
    return fresh(x) if isinstance(x, Tracer) else x.copy()
