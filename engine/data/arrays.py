"""Batches of arrays in memory, of memory maps, and of datasets of examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..ranks import Ranks
from ..tracing.keywords import tells_keywords
from .batches import batches, checked_ranks, count_of_examples
from .loader import Loader


class Arrays(Loader):
    """Batches of a pytree of arrays whose first axes run over the same examples, or of a dataset of examples.

    Each epoch gives every example once, in an order that follows from `seed` and the number of the epoch; where they do
    not fill the last batch it is smaller, or with `drop_last` left out. Arrays may be memory maps, of which a batch
    reads its rows. With `ranks` each rank reads its own rows of every batch. Arguments and errors are those of
    `gl.data.batches`, and raised at once.
    """

    @tells_keywords
    def __init__(
        self,
        tree: Any,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        batches(tree, batch_size, shuffle, seed, 0, drop_last, ranks=ranks)  # raises what can be wrong
        self._ranks = ranks
        self.is_shared = ranks is not None
        self._tree = tree
        self._shuffle, self._seed, self._drop_last = bool(shuffle), seed, bool(drop_last)
        self.batch_size = int(batch_size)
        self.examples = count_of_examples(tree)

    def __len__(self) -> int:
        whole, rest = divmod(self.examples, self.batch_size)
        return whole + (rest > 0 and not self._drop_last)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        options = self._shuffle, self._seed, number, self._drop_last, start
        return batches(self._tree, self.batch_size, *options, ranks=self._ranks)

    def share(self, ranks: Ranks) -> Loader:
        """The rows of this rank of each of its batches; no others are read."""
        if self._ranks is not None:
            return super().share(ranks)
        return Arrays(self._tree, self.batch_size, self._shuffle, self._seed, self._drop_last, checked_ranks(ranks))

    def __repr__(self) -> str:
        shared = "" if self._ranks is None else f", shared by {self._ranks.size} ranks"
        return f"Arrays({self.examples} examples, batch_size={self.batch_size}, {len(self)} batches an epoch{shared})"
