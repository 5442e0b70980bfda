"""Categories that are drawn, orders, and elements of an array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import axis_index, broadcasts_to, described, dtype_of, integer, shape_of
from ..keywords import tells_keywords
from ..promotion import float_dtype
from ..tracer import ShapeError, Tracer, as_array, located
from .continuous import Shape, gumbel, known, uniform
from .discrete import randint
from .keys import lengths_of, random_bits


@tells_keywords
def categorical(logits: Any, axis: int = -1, shape: Shape | None = None, replace: bool = True) -> Any:
    """Indices (int64) along `axis`, each with probability `softmax(logits, axis)`.

    `shape` ends with the shape of `logits` without `axis`, or broadcasts with it; axes in front of it are further
    draws, which all differ where `replace` is False. A logit of -inf is never drawn. Raises `ShapeError` for another
    shape, `ValueError` where there are fewer categories than draws that differ. Known elsewhere as the Gumbel-max
    trick.
    """
    given = xp.asarray(logits)
    place = axis_index(axis, len(shape_of(given)))
    values = xp.astype(given, float_dtype(dtype_of(given)))
    own = (*values.shape[:place], *values.shape[place + 1 :])
    lengths = own if shape is None else lengths_of(shape)
    further = lengths[: max(len(lengths) - len(own), 0)]
    if not broadcasts_to(own, lengths):
        raise ShapeError(located(f"categorical: the shape {lengths} does not end with that of the draws, {own}"))
    count = values.shape[place]
    if not count:
        raise ValueError(located(f"categorical: there are no categories along axis {axis} of {described(given)}"))
    whole = list(lengths[len(further) :])
    whole.insert(place, count)
    if replace:
        noise = gumbel((*further, *whole), values.dtype)
        return xp.argmax(noise + values, axis=len(further) + place)
    draws = math.prod(further)
    if draws > count:
        raise ValueError(located(f"categorical: {draws} draws that differ are more than the {count} categories"))
    _, indices = xp.top_k(gumbel(whole, values.dtype) + values, draws, axis=place)
    return xp.reshape(xp.moveaxis(indices, place, 0), lengths)


@tells_keywords
def permutation(x: Any, axis: int = 0, independent: bool = False) -> Any:
    """An integer's range, or an array along `axis`, in a random order; each line in one of its own, `independent`."""
    if not isinstance(x, Tracer) and np.ndim(x) == 0:
        count = integer(x, "permutation: a number of elements")
        if count < 0:
            raise ValueError(located(f"permutation: a number of elements is 0 or more, got {count}"))
        return xp.argsort(random_bits((count,), "int64"))
    array = xp.asarray(x)
    if not shape_of(array):
        raise TypeError(located("permutation takes an integer known while tracing, or an array with axes"))
    place = axis_index(axis, len(array.shape))
    if independent:
        order = xp.argsort(random_bits(array.shape, "int64"), axis=place)
        return xp.take_along_axis(array, order, place)
    return xp.take(array, xp.argsort(random_bits((array.shape[place],), "int64")), axis=place)


@tells_keywords
def choice(a: Any, shape: Shape = (), replace: bool = True, p: Any = None, axis: int = 0) -> Any:
    """Entries of `a` along `axis`, or of the range of an integer, drawn with the probabilities `p`, or evenly.

    With `replace=False` all draws differ. Raises `ValueError` where there are not enough entries, or where `p` is known
    while tracing and no probabilities.
    """
    lengths = lengths_of(shape)
    is_number = not isinstance(a, Tracer) and np.ndim(a) == 0
    array = None if is_number else xp.asarray(a)
    place = 0 if array is None else axis_index(axis, len(array.shape))
    count = integer(a, "choice: a number of entries") if array is None else array.shape[place]
    draws = math.prod(lengths)
    if draws and (count < 1 or (not replace and draws > count)):
        raise ValueError(located(f"choice: {draws} draws{'' if replace else ' that differ'} from {count} entries"))
    if p is not None and replace:
        at = _drawn_by(_probabilities(p, count), lengths)
    elif p is not None:
        at = categorical(xp.log(_probabilities(p, count)), shape=lengths, replace=False)
    elif replace:
        at = randint(lengths, 0, max(count, 1))
    else:
        at = xp.reshape(permutation(count)[:draws], lengths)
    return at if array is None else xp.take(array, at, axis=place)


def _probabilities(p: Any, count: int) -> Any:
    values = known(p)
    if tuple(shape_of(p if values is None else values)) != (count,):
        raise ShapeError(located(f"choice: p has an entry for each of {count} entries, got {described(as_array(p))}"))
    if values is not None and not (np.all(values >= 0) and abs(float(np.sum(values)) - 1) < 1e-4):
        raise ValueError(located("choice: p are probabilities, 0 or more, whose sum is 1"))
    given = xp.asarray(p)
    return xp.astype(given, float_dtype(dtype_of(given)))


def _drawn_by(p: Any, lengths: tuple[int, ...]) -> Any:
    """Indices of the shape `lengths`, each the first whose sum of `p` up to it is above a number that is drawn evenly:
    one number a draw, and a binary search. What has the probability 0 is never drawn.
    """
    sums = xp.cumsum(p) if isinstance(p, Tracer) else np.cumsum(p, dtype="float64")
    at = xp.searchsorted(sums, uniform(lengths, sums.dtype) * sums[-1], side="right")
    return xp.minimum(at, sums.shape[0] - 1)  # for sums that are NaN
