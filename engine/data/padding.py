"""Sequences of several lengths as arrays of one, and in batches of a few lengths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import optree

from ...ir import Array
from ..tracing.errors import located
from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_whole
from .loader import Loader


@tells_keywords
def pad_sequences(sequences: Sequence[Any], length: int | None = None, value: Any = 0) -> tuple[Array, Array]:
    """Sequences, arrays whose first axes have several lengths, as one array: `(padded, lengths)`.

    `padded` is (sequences, length, ...), filled up with `value`; by default `length` is that of the longest. `lengths`
    is int64. Raises `ValueError` for none, for a longer one than `length`, and for other axes that differ.
    """
    if not isinstance(sequences, Iterable):
        raise TypeError(located(f"sequences is a list of arrays, got {type(sequences).__name__}"))
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays:
        raise ValueError(located("there are no sequences to pad"))
    for i, array in enumerate(arrays):
        if array.ndim == 0 or array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                located(
                    f"sequence {i} has shape {array.shape}, sequence 0 has {arrays[0].shape}: only the first "
                    "axis may differ"
                )
            )
    lengths = np.array([len(array) for array in arrays], np.int64)
    whole = int(lengths.max()) if length is None else as_whole(length)
    if whole is None or whole < lengths.max():
        raise ValueError(
            located(f"length is {length!r}, the longest sequence has {lengths.max()}; cut it, or give more")
        )
    padded = np.empty((len(arrays), whole, *arrays[0].shape[1:]), np.result_type(*arrays))
    try:
        padded[...] = value
    except (TypeError, ValueError) as error:
        raise type(error)(located(f"value cannot fill up arrays of {padded.dtype}: {error}")) from None
    for row, array in zip(padded, arrays):
        row[: len(array)] = array
    return padded, lengths


class Buckets(Loader):
    """Batches of sequences of several lengths, padded to a few of them, so that few programs are compiled.

    `examples` is a dataset, or a sequence, of dicts of arrays. The length of an example is that of its longest first
    axis; arrays of that length are padded, others of its dict are stacked as they are. `lengths` are those that batches
    have: a list, or how many to choose of quantiles of what comes. `value` fills up, one for all or a dict by name.
    With `mask` batches have one more array under that name, (batch, length) and true where nothing was padded.

    Each epoch gives every example once, in an order that follows from `seed` and the number of the epoch: those of one
    length together, `batch_size` at a time. Where they fill no batch it is smaller, or with `drop_last` left out.
    """

    @tells_keywords
    def __init__(
        self,
        examples: Any,
        batch_size: int,
        lengths: int | Sequence[int] = 4,
        value: Any = 0,
        mask: str | None = "mask",
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        size, seed_number = as_whole(batch_size), as_whole(seed)
        if size is None or size < 1:
            raise ValueError(located(f"batch_size is at least 1, got {batch_size!r}; it is a whole number"))
        if seed_number is None or seed_number < 0:
            raise ValueError(located(f"seed is a whole number of 0 or more, got {seed!r}"))
        if len(examples) == 0:
            raise ValueError(located("there are no examples"))
        self._examples = examples
        self._value, self._mask = value, mask
        self._shuffle, self._seed, self._drop_last = bool(shuffle), seed_number, bool(drop_last)
        self.batch_size = size
        self._own = np.array([_length(i, examples[i]) for i in range(len(examples))])
        self.lengths = _chosen(lengths, self._own)
        self._bucket = np.searchsorted(self.lengths, self._own)

    def __len__(self) -> int:
        counts = np.bincount(self._bucket, minlength=len(self.lengths))
        whole = counts // self.batch_size
        return int((whole if self._drop_last else whole + (counts % self.batch_size > 0)).sum())

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        return (self._batch(chosen) for chosen in self._order(number)[start:])

    def _order(self, number: int) -> list[Array]:
        """The examples of each batch of an epoch."""
        rng = np.random.default_rng([self._seed, number])
        order = rng.permutation(len(self._own)) if self._shuffle else np.arange(len(self._own))
        found: list[Array] = []
        for bucket in range(len(self.lengths)):
            own = order[self._bucket[order] == bucket]
            end = len(own) - len(own) % self.batch_size if self._drop_last else len(own)
            found += [own[i : i + self.batch_size] for i in range(0, end, self.batch_size)]
        return [found[i] for i in rng.permutation(len(found))] if self._shuffle else found

    def _batch(self, chosen: Array) -> Any:
        examples = [self._examples[int(i)] for i in chosen]
        own = self._own[chosen]
        length = int(self.lengths[self._bucket[chosen[0]]])
        batch: dict[str, Any] = {}
        for name in examples[0]:
            rows = [np.asarray(example[name]) for example in examples]
            if all(row.ndim and len(row) == n for row, n in zip(rows, own)):
                value = self._value.get(name, 0) if isinstance(self._value, Mapping) else self._value
                batch[name] = pad_sequences(rows, length, value)[0]
            else:
                batch[name] = np.stack(rows)
        if self._mask is not None:
            batch[self._mask] = np.arange(length) < own[:, None]
        return batch


def _length(i: int, example: Any) -> int:
    if not isinstance(example, Mapping):
        raise TypeError(located(f"example {i} is {type(example).__name__}; examples are dicts of arrays"))
    lengths = [np.shape(leaf)[0] for leaf in optree.tree_leaves(cast(Any, dict(example))) if np.ndim(leaf)]
    if not lengths:
        raise ValueError(located(f"example {i} holds no sequence"))
    return max(lengths)


def _chosen(lengths: Any, own: Array) -> Array:
    """The lengths that batches have, in their order."""
    count = as_whole(lengths) if np.ndim(lengths) == 0 else None
    if count is not None:
        if count < 1:
            raise ValueError(located(f"lengths is how many there are, 1 or more, or a list of them; got {lengths!r}"))
        return np.unique(np.quantile(own, np.arange(1, count + 1) / count, method="higher"))
    found = np.unique([as_whole(length) or 0 for length in lengths])
    if not len(found) or found[0] < 1 or found[-1] < own.max():
        raise ValueError(
            located(
                f"lengths are whole numbers, up to {own.max()} at least, which the longest example has; got {lengths!r}"
            )
        )
    return found
