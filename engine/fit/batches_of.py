"""What a user gives as data, as a loader of batches for a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import optree

from ..data.arrays import Arrays
from ..data.batches import count_of_examples, is_dataset, leading_length
from ..data.iterables import Batches
from ..data.loader import Loader
from ..step.loaded import Loaded
from ..step.step import Step
from ..tracing.tracer import located

_MOST = 256
"""Examples of a batch for what has no batch of its own."""


def batches_of(step: Step | Loaded, data: Any, shuffle: bool = False, seed: int = 0, drop_last: bool = False) -> Loader:
    """The batches of `data`: of a loader, of any iterable of batches, or of a pytree of arrays, or a dataset, whose
    examples are cut into batches of the step's size in the order that `shuffle` and `seed` say. What was loaded takes
    batches as they are, and any tuple as one.

    Raises `TypeError` for what is none of these.
    """
    structure = optree.tree_structure(step.batch) if isinstance(step, Step) else None
    if isinstance(data, Loader):
        return _fitting(data, structure)
    if is_dataset(data) or isinstance(data, Mapping) or hasattr(data, "__array__") or _is_tree(data, structure):
        size = leading_length(step.batch) if isinstance(step, Step) else max(1, min(count_of_examples(data), _MOST))
        return _fitting(_arrays(data, size, shuffle, seed, drop_last), structure)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        return _fitting(Batches(data), structure)
    what = "a pytree of arrays, a dataset, a loader of gl.data, or an iterable of batches"
    call = "; call it, and give what it returns" if callable(data) else ""
    raise TypeError(located(f"data is {what}, got {type(data).__name__}{call}"))


def _arrays(data: Any, size: int, shuffle: bool, seed: int, drop_last: bool) -> Arrays:
    if drop_last and 0 < (count := count_of_examples(data)) < size:
        few = f"{count} examples fill no batch of {size}, which the step was compiled for"
        raise ValueError(located(f"{few}; compile it for a smaller batch, or give gl.data.Arrays(data, {count})"))
    return Arrays(data, size, shuffle, seed, drop_last)


def _fitting(loader: Loader, structure: optree.PyTreeSpec | None) -> Loader:
    return loader if structure is None else _Fitting(loader, structure)


def _is_tree(data: Any, structure: optree.PyTreeSpec | None) -> bool:
    """Whether a list or a tuple is a batch of all examples, not a list of batches."""
    if structure is None:
        return isinstance(data, tuple)
    if not isinstance(data, Sequence) or isinstance(data, (str, bytes)):
        return False
    return _as(structure, data) is not None


class _Fitting(Loader):
    """The batches of a loader in the structure that a step takes: a list is given to one that takes a tuple."""

    def __init__(self, loader: Loader, structure: optree.PyTreeSpec) -> None:
        self._loader = loader
        self._structure = structure
        self.repeatable = loader.repeatable

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        structure = self._structure
        if structure.type not in (tuple, list):
            return self._loader.epoch(number, start)
        return (
            batch if (found := _as(structure, batch)) is None else found for batch in self._loader.epoch(number, start)
        )


def _as(structure: optree.PyTreeSpec, batch: Any) -> Any:
    """A list or tuple as the other of these, where that is the structure; `None` where it is not."""
    kind: Any = structure.type
    if isinstance(batch, (list, tuple)) and kind in (tuple, list):
        batch = kind(batch)
    found: Any = batch
    return found if optree.tree_structure(found) == structure else None
