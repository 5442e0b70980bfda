"""Batches of what gives them itself: a `DataLoader` of PyTorch, a generator, a list of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from ..tracing.errors import located
from .loader import Loader


class Batches(Loader):
    """The batches of an iterable, which is iterated over once for each epoch.

    What comes in which epoch is the iterable's matter; batches that are left out, because a run goes on in the middle
    of an epoch, are made and thrown away. An iterator, such as what a generator function returns, gives its batches
    once: a second epoch is a `ValueError`.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        if not isinstance(batches, Iterable):
            raise TypeError(located(f"an iterable of batches is expected, got {type(batches).__name__}"))
        self._batches = batches
        self.repeatable = isinstance(batches, Sequence)
        self._used = False

    def __len__(self) -> int:
        if isinstance(self._batches, Sequence) or hasattr(self._batches, "__len__"):
            return len(self._batches)  # pyright: ignore[reportArgumentType]
        return super().__len__()

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        found = iter(self._batches)
        if found is self._batches:
            if self._used:
                kind = type(found).__name__
                raise ValueError(
                    located(
                        f"the {kind} gave its batches once, and has none for another epoch: give a list of batches, or "
                        "an object whose __iter__ begins anew"
                    )
                )
            self._used = True
        return islice(found, start, None)
