"""Batches, epoch after epoch, whose position can be kept and taken up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Self

import numpy as np
import optree

from ..ranks import Ranks
from ..tracing.errors import located
from ..tracing.numbers import as_whole
from .batches import checked_ranks, common_length, share_of
from .prefetch import prefetched


class Loader:
    """What gives the batches of a run. Iterating over it gives those of one epoch, and of the next one the next time.

    A subclass defines `epoch`, and `__len__` where the number of batches is known. What a loader gives in an epoch
    follows from the number of the epoch alone, so that a run that was interrupted goes on with what comes next.
    """

    repeatable = True
    """Whether an epoch can be asked for again, and gives the same batches."""
    is_shared = False
    """Whether its batches are the rows of one rank."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Raise `TypeError` for what torch's DataLoader takes: this is the base of loaders."""
        if cls is Loader and (args or kwargs):
            raise TypeError(located("gl.data.Loader is the base of loaders; write gl.data.batches(data, batch_size)"))
        return super().__new__(cls)

    _next_epoch = 0
    _start = 0
    _position = (0, 0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of epoch `number`, from batch `start` on; both count from 0."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Batches in an epoch. Raises `TypeError` where that is not known."""
        raise TypeError(located(f"how many batches {type(self).__name__} gives is not known before they came"))

    def __iter__(self) -> Iterator[Any]:
        number, start = self._next_epoch, self._start
        self._next_epoch, self._start = number + 1, 0
        self._position = (number, start)
        return self._counted(number, start)

    def _counted(self, number: int, start: int) -> Iterator[Any]:
        for i, batch in enumerate(self.epoch(number, start), start + 1):
            self._position = (number, i)
            yield batch
        self._position = (number + 1, 0)

    def __repr__(self) -> str:
        try:
            count = f"{len(self)} batches in an epoch"
        except TypeError:
            count = "batches"
        return f"<{type(self).__name__} of {count}>"

    def state_dict(self) -> dict[str, int]:
        """Where it stands: the epoch, and how many batches of it were given out."""
        epoch, batch = self._position
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from where `state_dict` was taken. Raises `ValueError` for what that did not return."""
        place = [as_whole(state.get(name)) for name in ("epoch", "batch")] if isinstance(state, Mapping) else []
        if set(state) != {"epoch", "batch"} or any(number is None or number < 0 for number in place):
            raise ValueError(located(f"a loader's state is like {{'epoch': 2, 'batch': 7}}, got {state!r}"))
        epoch, batch = int(state["epoch"]), int(state["batch"])
        self._next_epoch, self._start, self._position = epoch, batch, (epoch, batch)

    def map(self, fn: Callable[..., Any], seed: int | None = None) -> Loader:
        """Its batches through `fn(batch)`; with a `seed` through `fn(batch, rng)`, whose generator of NumPy follows
        from the seed, the epoch and the place of the batch.
        """
        return Mapped(self, fn, seed)

    def prefetch(self, count: int = 2) -> Loader:
        """Its batches, `count` of them made ahead in a thread while a step runs, which does not hold Python's lock."""
        return Prefetched(self, count)

    def share(self, ranks: Ranks) -> Loader:
        """The rows of this rank of each of its batches, which are those of all ranks together: rank r's follow those of
        rank r - 1, so that every example comes once. Raises `ValueError` where they share its batches already.
        """
        return Shared(self, ranks)

    def __getitem__(self, i: Any) -> NoReturn:
        """A loader has no batch of a number."""
        raise TypeError(located(f"{type(self).__name__} gives batches one after another: for batch in loader"))


class _Wrapper(Loader):
    """A loader with the batches of another."""

    def __init__(self, loader: Loader) -> None:
        if not isinstance(loader, Loader):
            raise TypeError(located(f"expected a loader of gl.data, got {type(loader).__name__}"))
        self._loader = loader
        self.repeatable = loader.repeatable
        self.is_shared = loader.is_shared

    def __len__(self) -> int:
        return len(self._loader)


class Shared(_Wrapper):
    """The rows that this rank has of the batches of a loader; what has no axis of that length stays whole."""

    def __init__(self, loader: Loader, ranks: Ranks) -> None:
        super().__init__(loader)
        if loader.is_shared:
            raise ValueError(located(f"ranks share the batches of {loader} already"))
        self._ranks = checked_ranks(ranks)
        self.is_shared = True

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        return (rows_of(batch, self._ranks) for batch in self._loader.epoch(number, start))


def rows_of(batch: Any, ranks: Ranks) -> Any:
    """The rows that this rank has of a batch."""
    length = common_length(batch)
    if length is None:
        return batch
    share = share_of(ranks, length)
    return optree.tree_map(
        lambda leaf: np.ascontiguousarray(leaf[share]) if np.ndim(leaf) and len(leaf) == length else leaf, batch
    )


class Mapped(_Wrapper):
    """The batches of a loader, each through a function."""

    def __init__(self, loader: Loader, fn: Callable[..., Any], seed: int | None) -> None:
        super().__init__(loader)
        if not callable(fn):
            raise TypeError(located(f"map takes a function of a batch, got {type(fn).__name__}"))
        if seed is not None and ((whole := as_whole(seed)) is None or whole < 0):
            raise ValueError(located(f"seed is a whole number of 0 or more, or None; got {seed!r}"))
        if seed is None and _takes_two(fn):
            raise TypeError(located("the function takes a generator beside the batch; write loader.map(fn, seed=0)"))
        self._fn = fn
        self._seed = seed

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        for i, batch in enumerate(self._loader.epoch(number, start), start):
            if self._seed is None:
                yield self._fn(batch)
            else:
                yield self._fn(batch, np.random.default_rng([self._seed, number, i]))


def _takes_two(fn: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except ValueError:
        return False  # a builtin that does not tell
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty for p in parameters if p.kind in positional) > 1


class Prefetched(_Wrapper):
    """The batches of a loader, some of them made ahead in a thread."""

    def __init__(self, loader: Loader, count: int) -> None:
        super().__init__(loader)
        whole = as_whole(count)
        if whole is None or whole < 1:
            raise ValueError(located(f"the number of batches made ahead is 1 or more, got {count!r}"))
        self._count = whole

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from batch `start` on."""
        return prefetched(self._loader.epoch(number, start), self._count)

    def share(self, ranks: Ranks) -> Loader:
        """The rows of this rank of each of its batches."""
        return Prefetched(self._loader.share(ranks), self._count)
