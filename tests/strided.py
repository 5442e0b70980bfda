"""Arrays that reach an op through a view of the graph, so that their elements do not stand one after another.

    source, view = KINDS["sliced"](array)

`view(b, x)` of the graph's value `x`, which holds `source`, is a value that holds `array`: a window onto the memory of
`x`, whose other elements differ from those of `array`. A kind gives None for an array that has too few axes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from gradloom.ir import OPS, Array, Builder, Value

View = Callable[[Builder, Value], Value]
Kind = Callable[[Array], "tuple[Array, View] | None"]


def _transposed(array: Array) -> tuple[Array, View] | None:
    """The last axis is the first in memory."""
    if array.ndim < 2:
        return None
    perm = (*range(1, array.ndim), 0)
    source = np.ascontiguousarray(array.transpose(np.argsort(perm)))
    return source, lambda b, x: OPS["transpose"](b, x, perm=perm)


def _window(array: Array, axes: int, step: int) -> tuple[Array, View]:
    """Every `step`th element along the leading `axes`, from the second on."""
    moved = [i < axes for i in range(array.ndim)]
    start = tuple(int(m) for m in moved)
    stop = tuple(n * step + 1 if m else n for n, m in zip(array.shape, moved))
    steps = tuple(step if m else 1 for m in moved)
    source = np.full(stop, 3 if array.dtype.kind in "iu" else 0.7, array.dtype)
    source[tuple(slice(a, z, s) for a, z, s in zip(start, stop, steps))] = array
    return source, lambda b, x: OPS["slice"](b, x, start=start, stop=stop, step=steps)


def _sliced(array: Array) -> tuple[Array, View]:
    """Every second element along every axis; a scalar is the second of three elements."""
    if array.ndim:
        return _window(array, array.ndim, 2)
    source, view = _window(array.reshape(1), 1, 2)
    return source, lambda b, x: OPS["reshape"](b, view(b, x), shape=())


def _offset(array: Array) -> tuple[Array, View] | None:
    """One run of elements that begins behind the beginning of the memory."""
    return _window(array, 1, 1) if array.ndim else None


def _reversed(array: Array) -> tuple[Array, View] | None:
    """The memory from its end to its beginning."""
    axes = tuple(range(array.ndim))
    return (np.flip(array).copy(), lambda b, x: OPS["reverse"](b, x, axes=axes)) if axes else None


def _repeated(array: Array, axes: Sequence[int]) -> tuple[Array, View] | None:
    """The first of the elements along `axes` instead of all of them: the one kind that changes what the op is given."""
    if array.ndim == 0 or array.size == 0:
        return None
    others = tuple(i for i in range(array.ndim) if i not in axes)
    source = array[tuple(slice(None) if i in others else 0 for i in range(array.ndim))]
    return np.array(source, order="C"), lambda b, x: OPS["broadcast"](b, x, shape=array.shape, axes=others)


KINDS: dict[str, Kind] = {
    "transposed": _transposed,
    "sliced": _sliced,
    "broadcast": lambda array: _repeated(array, (array.ndim - 1,)),
    "reversed": _reversed,
    "offset": _offset,
    "broadcast along the first axis": lambda array: _repeated(array, (0,)),
    "broadcast from one element": lambda array: _repeated(array, range(array.ndim)),
}

REPEATING = frozenset(kind for kind in KINDS if kind.startswith("broadcast"))
"""The kinds that change what an op is given."""
