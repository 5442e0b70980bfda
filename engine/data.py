"""Batches of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import optree

from ..ir import Array


def batches(
    arrays: Any, batch_size: int, shuffle: bool = True, seed: int = 0, epoch: int = 0, drop_last: bool = False
) -> Iterator[Any]:
    """Batches of a pytree of arrays whose first axes run over the same examples.

    Yields pytrees of the same structure, of contiguous arrays with `batch_size` examples; the last batch is smaller
    where the examples do not divide evenly, unless `drop_last`. The order depends on `seed` and `epoch` alone. Raises
    `ValueError` for no arrays, no examples, different numbers of examples, or where no batch would be left.
    """
    paths, leaves, structure = optree.tree_flatten_with_path(arrays)
    names = [".".join(map(str, path)) or "the array" for path in paths]
    sources = [np.asarray(leaf) for leaf in leaves]
    if not sources:
        raise ValueError("there are no arrays to take batches of")
    for name, array in zip(names, sources):
        if array.ndim == 0:
            raise ValueError(f"{name} is a scalar; its first axis must run over the examples")
    lengths = [len(array) for array in sources]
    if len(set(lengths)) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in zip(names, lengths))
        raise ValueError(f"the arrays hold different numbers of examples: {listed}")
    count = lengths[0]
    if count == 0:
        raise ValueError("the arrays hold no examples")
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, got {batch_size}")
    if drop_last and count < batch_size:
        raise ValueError(f"{count} examples make no batch of {batch_size}, and drop_last leaves no smaller one")
    return _iterate(sources, structure, count, batch_size, shuffle, seed, epoch, drop_last)


def _iterate(
    sources: list[Array],
    structure: optree.PyTreeSpec,
    count: int,
    batch_size: int,
    shuffle: bool,
    seed: int,
    epoch: int,
    drop_last: bool,
) -> Iterator[Any]:
    order = np.random.default_rng([seed, epoch]).permutation(count) if shuffle else None
    end = count - count % batch_size if drop_last else count
    for start in range(0, end, batch_size):
        stop = min(start + batch_size, end)
        if order is None:
            taken = [np.ascontiguousarray(array[start:stop]) for array in sources]
        else:
            taken = [np.ascontiguousarray(array[order[start:stop]]) for array in sources]
        yield optree.tree_unflatten(structure, taken)
