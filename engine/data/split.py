"""Examples in two parts or more, such as those to train with and those to validate with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import Array
from ..tracing.errors import located
from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_whole
from .batches import count_of_examples, is_dataset, take_examples


class Subset:
    """Some examples of a dataset, by their numbers."""

    def __init__(self, dataset: Any, indices: Array) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Any:
        return self.dataset[int(self.indices[i])]


@tells_keywords
def split(data: Any, parts: float | int | Sequence[float | int], seed: int = 0) -> tuple[Any, ...]:
    """A pytree of arrays, of texts too, or a dataset, in parts that share no example, drawn by `seed` alone.

    `parts` is the last part: a share such as 0.2, or a number of examples; or a list of the sizes of all parts, of
    which one may be -1 for what is left. `train, validation = gl.data.split(data, 0.2)`. In each part the examples
    stand in the order that they had. Arrays are copied, a dataset is not: its parts look the examples up. Raises
    `ValueError` for sizes that the examples do not have, or for an empty part.
    """
    count = count_of_examples(data)
    seed_number = as_whole(seed)
    if seed_number is None or seed_number < 0:
        raise ValueError(located(f"seed is a whole number of 0 or more, got {seed!r}"))
    sizes = _sizes(parts, count)
    order = np.random.default_rng(seed_number).permutation(count)
    ends = np.cumsum(sizes)
    chosen = [np.sort(order[end - size : end]) for size, end in zip(sizes, ends)]
    if is_dataset(data):
        return tuple(Subset(data, numbers) for numbers in chosen)
    return tuple(take_examples(data, numbers) for numbers in chosen)


def _sizes(parts: Any, count: int) -> list[int]:
    given = [-1, parts] if np.ndim(parts) == 0 else list(parts)
    sizes = [_size(part, count) for part in given]
    rest = [i for i, size in enumerate(sizes) if size < 0]
    left = count - sum(size for size in sizes if size >= 0)
    if len(rest) == 1:
        sizes[rest[0]] = left
    elif not rest and any(isinstance(part, float) for part in given):
        sizes[0] += left  # shares are rounded
    if len(rest) > 1 or sum(sizes) != count or min(sizes) < 1:
        raise ValueError(
            located(
                f"{parts!r} is no way to part {count} examples: each part has one example or more, and all "
                "together have them all; write a share such as 0.2, or sizes such as [-1, 100]"
            )
        )
    return sizes


def _size(part: Any, count: int) -> int:
    whole = as_whole(part)
    if whole is not None and not isinstance(part, float):
        return int(whole)
    if isinstance(part, (float, np.floating)) and 0 < part < 1:
        return max(1, round(part * count))
    raise ValueError(located(f"a part is a share between 0 and 1, or a number of examples, got {part!r}"))
