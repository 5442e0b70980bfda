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


def batches_to_train(step: Step, data: Any, shuffle: bool = False, seed: int = 0, drop_last: bool = False) -> Loader:
    """The batches of `data` as `batches_of` makes them, in the order that `shuffle` and `seed` say; of a step that
    several ranks train, the rows of this one.
    """
    ranks = step.ranks
    loader = _loader(data, step, leading_length(step.batch) * ranks.size, shuffle, seed, drop_last)
    shared = loader if loader.is_shared or ranks.size == 1 else loader.share(ranks)
    return _fitting(shared, _structure(step))


def batches_of(step: Step | Loaded, data: Any) -> Loader:
    """The batches of `data`: of a loader, of any iterable of batches, or of a pytree of arrays, or a dataset, whose
    examples are cut into batches of the step's size. What was loaded takes batches as they are, and any tuple as one.

    Raises `TypeError` for what is none of these.
    """
    size = _examples_at_a_time(step) if isinstance(step, Step) else None
    return _fitting(_loader(data, step, size, False, 0, False), _structure(step))


def _examples_at_a_time(step: Step) -> int:
    """Those of a batch of the step; where ranks share its parts, those of a part, for any number of ranks."""
    rows, parallel = leading_length(step.batch), step._options.get("ranks")
    return rows if parallel is None else rows * parallel.ranks // parallel.parts


def _structure(step: Step | Loaded) -> optree.PyTreeSpec | None:
    return optree.tree_structure(step.batch) if isinstance(step, Step) else None


def _loader(data: Any, step: Step | Loaded, size: int | None, shuffle: bool, seed: int, drop_last: bool) -> Loader:
    """The batches of `size` examples, or of what else that is a loader gives."""
    if isinstance(data, Loader):
        return data
    if is_dataset(data) or isinstance(data, Mapping) or hasattr(data, "__array__") or _is_tree(data, _structure(step)):
        size = max(1, min(count_of_examples(data), _MOST)) if size is None else size
        return _arrays(data, size, shuffle, seed, drop_last)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        return Batches(data)
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
        self.is_shared = loader.is_shared

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
