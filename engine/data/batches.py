"""Batches of arrays, and of datasets of examples."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optree

from ...ir import Array, kind_of
from ..ranks import Ranks
from ..tracing.errors import located
from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_whole


@tells_keywords
def batches(
    arrays: Any,
    batch_size: int,
    shuffle: bool = True,
    seed: int = 0,
    epoch: int = 0,
    drop_last: bool = False,
    start: int = 0,
    ranks: Ranks | None = None,
) -> Iterator[Any]:
    """Batches of a pytree of arrays whose first axes run over the same examples, or of a dataset.

    Yields pytrees of the same structure, of contiguous arrays with `batch_size` examples; the last batch is smaller
    where the examples do not divide evenly, unless `drop_last`. The order depends on `seed` and `epoch` alone; `start`
    leaves out so many batches, which are not made. A dataset has a length and gives example i, a pytree of arrays and
    numbers, as `dataset[i]`, as those of PyTorch do: its batches are pytrees like an example, stacked. Raises
    `ValueError` for no arrays, no examples, different numbers of examples, or where no batch would be left; `TypeError`
    for what holds no numbers.
    """
    size, options, begin = as_whole(batch_size), (as_whole(seed), as_whole(epoch)), as_whole(start)
    if size is None or size < 1:
        raise ValueError(located(f"batch_size is at least 1, got {batch_size!r}; it is a whole number"))
    if any(number is None or number < 0 for number in options):
        raise ValueError(located(f"seed and epoch are whole numbers of 0 or more, got {seed!r} and {epoch!r}"))
    if begin is None or begin < 0:
        raise ValueError(located(f"start is a whole number of 0 or more, got {start!r}"))
    count, take = _examples(arrays)
    if count == 0:
        raise ValueError(located(f"the {'dataset holds' if is_dataset(arrays) else 'arrays hold'} no examples"))
    if drop_last and count < size:
        raise ValueError(located(f"{count} examples make no batch of {size}, and drop_last leaves no smaller one"))
    draws: Any = options
    order = np.random.default_rng(draws).permutation(count) if shuffle else np.arange(count)
    end = count - count % size if drop_last else count
    batches_of_numbers = (order[i : min(i + size, end)] for i in range(begin * size, end, size))
    if ranks is not None:
        share = checked_ranks(ranks)
        return (take(numbers[share_of(share, len(numbers))]) for numbers in batches_of_numbers)
    return (take(numbers) for numbers in batches_of_numbers)


def checked_ranks(ranks: Any) -> Ranks:
    """Raise `TypeError` for what are no ranks."""
    if not isinstance(ranks, Ranks):
        raise TypeError(located(f"ranks are those of gl.ranks.mpi(), or gl.ranks.one(); got {type(ranks).__name__}"))
    return ranks


def share_of(ranks: Ranks, length: int) -> slice:
    """The rows that this rank has of so many, which follow those of the rank before."""
    return slice(length * ranks.rank // ranks.size, length * (ranks.rank + 1) // ranks.size)


def common_length(tree: Any) -> int | None:
    """The length of a batch: that of the first axes of most leaves, and of these the longest. `None` for scalars."""
    lengths = Counter(np.shape(leaf)[0] for leaf in optree.tree_leaves(tree) if np.ndim(leaf))
    return max(lengths, key=lambda length: (lengths[length], length), default=None)


def count_of_examples(arrays: Any) -> int:
    """How many examples a pytree of arrays, or a dataset, holds."""
    return _examples(arrays, texts=True)[0]


def take_examples(arrays: Any, chosen: Array) -> Any:
    """The examples with these numbers, in this order, of a pytree of arrays or a dataset, as one batch."""
    return _examples(arrays, texts=True)[1](chosen)


def leading_length(tree: Any) -> int:
    """The length of the first axis of the first leaf that has one: how many examples a batch holds. 1 for scalars."""
    return next((np.shape(leaf)[0] for leaf in optree.tree_leaves(tree) if np.ndim(leaf)), 1)


Take = Callable[[Array], Any]
"""The batch of some examples, by their numbers."""


def _examples(arrays: Any, texts: bool = False) -> tuple[int, Take]:
    return _of_dataset(arrays) if is_dataset(arrays) else _of_arrays(arrays, texts)


def _of_arrays(arrays: Any, texts: bool) -> tuple[int, Take]:
    """The number of examples, and what takes some of them, of a pytree of arrays, which may hold texts."""
    paths, leaves, structure = optree.tree_flatten_with_path(arrays)
    names = [".".join(map(str, path)) or "the array" for path in paths]
    if not leaves:
        raise ValueError(located("there are no arrays to take batches of"))
    for name, leaf in zip(names, leaves):
        if not hasattr(leaf, "__array__") and not isinstance(leaf, (bool, int, float, complex)):
            kind = type(leaf).__name__
            raise TypeError(located(f"{name} is of type {kind}, which is neither an array nor a dataset{_hint(leaf)}"))
    sources = [_numbers(name, leaf, texts) for name, leaf in zip(names, leaves)]
    for name, array in zip(names, sources):
        if array.ndim == 0:
            raise ValueError(located(f"{name} is a scalar; its first axis must run over the examples"))
    lengths = [len(array) for array in sources]
    if len(set(lengths)) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in zip(names, lengths))
        raise ValueError(located(f"the arrays hold different numbers of examples: {listed}"))
    return lengths[0], lambda chosen: optree.tree_unflatten(
        structure, [np.ascontiguousarray(array[chosen]) for array in sources]
    )


def is_dataset(given: Any) -> bool:
    """Whether examples are found by their number; an array, and what can become one, is none."""
    if isinstance(given, (np.ndarray, list, tuple, str, bytes, Mapping)) or hasattr(given, "__array__"):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def _of_dataset(dataset: Any) -> tuple[int, Take]:
    """The number of examples of a dataset, and what stacks some of them."""

    def take(chosen: Array) -> Any:
        several = getattr(dataset, "__getitems__", None)  # of torch and Hugging Face: all at once
        numbers: list[int] = chosen.tolist()
        examples: Any = [dataset[i] for i in numbers] if several is None else several(numbers)
        try:
            return optree.tree_map(_stacked, *examples)
        except (TypeError, ValueError, RuntimeError):
            _check_alike(numbers, examples)
            raise

    return len(dataset), take


def _stacked(*leaves: Any) -> Array:
    """An array of one leaf of each example. Raises what `_check_alike` has words for."""
    kind = type(leaves[0])
    if kind.__module__ == "torch" and kind.__name__ == "Tensor" and all(type(leaf) is kind for leaf in leaves):
        return np.asarray(sys.modules["torch"].stack(leaves))  # many times as fast as an array of each
    if not all(isinstance(leaf, (np.ndarray, np.generic, bool, int, float, complex)) for leaf in leaves):
        if any(isinstance(leaf, (list, tuple, Mapping)) for leaf in leaves):
            raise TypeError(located("the examples are pytrees of different structures"))
        leaves = tuple(map(np.asarray, leaves))
    return _numbers("a column", np.array(leaves))


def _check_alike(numbers: Sequence[int], examples: Sequence[Any]) -> None:
    """Raise what is wrong with examples that cannot be stacked: `TypeError`, or `ValueError` for shapes that differ."""
    structure = optree.tree_structure(examples[0])
    shapes: list[tuple[int, ...]] = []
    for i, example in zip(numbers, examples):
        paths, leaves, found = optree.tree_flatten_with_path(example)
        if found != structure:
            raise TypeError(located(f"example {i} of the dataset is {found}, example {numbers[0]} is {structure}"))
        names = (f"example {i} of the dataset" + "".join(f"[{key!r}]" for key in path) for path in paths)
        row = [_numbers(name, leaf).shape for name, leaf in zip(names, leaves)]
        shapes = shapes or row
        for shape, first in zip(row, shapes):
            if shape != first:
                raise ValueError(
                    located(
                        f"example {i} of the dataset has shape {shape} where example {numbers[0]} has {first}; "
                        "examples of a batch are stacked: pad or cut them to one shape"
                    )
                )


def _numbers(name: str, leaf: Any, texts: bool = False) -> Array:
    """An array of numbers or booleans, or with `texts` of NumPy strings. Raises `TypeError` for any other."""
    array = np.asarray(leaf)
    if kind_of(array.dtype) not in ("biufcU" if texts else "biufc"):
        what = f"{name} is {type(leaf).__name__} of {array.dtype}, which holds no numbers"
        raise TypeError(located(what + "; gl.data.categories makes some of texts" * (array.dtype.kind == "U")))
    return array


def _hint(leaf: Any) -> str:
    if hasattr(leaf, "__getitem__") and hasattr(leaf, "__len__"):
        return "; give a dataset by itself, not inside a container"
    if hasattr(leaf, "__iter__"):
        return "; what gives batches itself, such as a DataLoader, is iterated over: for batch in loader"
    return ""
