"""The one function of the package ndindex that the suite calls."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np


def iter_indices(*shapes: tuple[int, ...], skip_axes: Any = ()) -> Iterator[tuple[SimpleNamespace, ...]]:
    """For every element that broadcasting makes of arrays of the shapes, where it lies in each: `.raw` is the index.

    `skip_axes` takes no part and is a whole slice there: one integer or tuple for all shapes, or a list of tuples.
    """
    of_each = isinstance(skip_axes, list) and any(isinstance(given, (tuple, list)) for given in skip_axes)
    axes = skip_axes if of_each else [skip_axes] * len(shapes)
    skipped = [{a % len(shape) for a in np.atleast_1d(np.asarray(given, int))} for shape, given in zip(shapes, axes)]
    kept = [[n for a, n in enumerate(shape) if a not in skip] for shape, skip in zip(shapes, skipped)]
    for place in np.ndindex(np.broadcast_shapes(*map(tuple, kept))):
        yield tuple(SimpleNamespace(raw=_index(shape, skip, place)) for shape, skip in zip(shapes, skipped))


def _index(shape: tuple[int, ...], skip: set[int], place: tuple[int, ...]) -> tuple[Any, ...]:
    kept = [a for a in range(len(shape)) if a not in skip]
    own = dict(zip(reversed(kept), reversed(place)))
    return tuple(slice(None) if a in skip else own[a] if shape[a] != 1 else 0 for a in range(len(shape)))
