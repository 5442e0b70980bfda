"""Keys, and bits drawn from a counter and a key, so that the same program with the same key draws the same.

Inside `key(...)` every draw has a stream of its own, numbered in the order in which the program is written; element i
of a draw depends on the key, the stream and i alone. A value that is computed again is therefore the same value.
Inside the function of a `scan` every step has a key of its own, drawn from the one around it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....ir import as_dtype
from ....ir.ops import creation
from ..numbers import as_whole
from ..tracer import Trace, Tracer, current_trace, emit, located


@dataclass(eq=False)
class Keyed:
    """A key in force, and the streams that are drawn from it so far."""

    given: Any
    """The key, or a function that makes it."""
    stream: int = 0

    @property
    def key(self) -> Any:
        if callable(self.given):
            self.given = self.given()
        return self.given


class _Stack(threading.local):
    def __init__(self) -> None:
        self.contexts: list[Keyed] = []


_stack = _Stack()


def key_of_seed(seed: int) -> np.int64:
    """The key of a seed of 0 or more: 64 well-mixed bits, so that runs with neighbouring seeds share no step's key."""
    whole = as_whole(seed)
    if whole is None or whole < 0:
        raise ValueError(located(f"a seed is 0 or more, and whole, got {seed!r}"))
    return np.random.SeedSequence(whole).generate_state(1, np.uint64).view(np.int64)[0]


@contextmanager
def key(key: Any) -> Iterator[None]:
    """Draw from `key` inside the block: a seed, or a traced int64 scalar that is the key itself."""
    with _drawing(Keyed(key if isinstance(key, Tracer) else np.asarray(key_of_seed(key)))):
        yield


def keys_of_steps(context: Keyed, trace: Trace, length: int) -> Tracer:
    """A key for every step of a loop, int64 (length,), drawn in `trace`."""
    return _drawn_keys(context, trace, (length,))


def _drawn_keys(context: Keyed, trace: Trace, shape: tuple[int, ...]) -> Tracer:
    context.stream += 1
    attrs = {"shape": shape, "dtype": np.dtype("int64"), "stream": context.stream}
    return Tracer(trace, trace.emit_node(creation.random_bits, trace.lift(context.key), **attrs).output)


def key_of_draws(key: int, number: int) -> np.int64:
    """The key of the draws with a number, apart from those of `key` itself and of the other numbers."""
    sequence = np.random.SeedSequence([key & (2**64 - 1), number])
    return sequence.generate_state(1, np.uint64).view(np.int64)[0]


def next_key(context: Keyed, trace: Trace) -> Tracer:
    """A key that is drawn in `trace`, an int64 scalar."""
    return _drawn_keys(context, trace, ())


def draw_key() -> Tracer:
    """A key that is drawn from the one in force, an int64 scalar of the program that is written."""
    trace = current_trace()
    assert trace is not None
    return next_key(_stack.contexts[-1], trace)


@contextmanager
def key_when_drawn(make: Callable[[Keyed], Any]) -> Iterator[None]:
    """Draw inside the block from the key that `make`, at the first draw, makes of the one around, if there is one."""
    if not _stack.contexts:
        yield
        return
    around = _stack.contexts[-1]
    with _drawing(Keyed(lambda: make(around))):
        yield


@contextmanager
def _drawing(context: Keyed) -> Iterator[None]:
    _stack.contexts.append(context)
    try:
        yield
    finally:
        _stack.contexts.remove(context)


def has_key() -> bool:
    """Whether there is a key to draw from."""
    return bool(_stack.contexts)


def random_bits(shape: int | Sequence[int], dtype: npt.DTypeLike = "int32") -> Any:
    """Uniform random bits as int32 or int64. Raises `RuntimeError` outside `key` and outside a compiled step."""
    if not _stack.contexts:
        raise RuntimeError(
            located(
                "randomness (dropout in training, for example) needs a key: gl.compile_step gives one to every step; "
                "elsewhere write `with gl.random.key(seed): ...`"
            )
        )
    context = _stack.contexts[-1]
    context.stream += 1
    lengths = lengths_of(shape)
    held, trace = context.key, current_trace()
    if trace is not None and not isinstance(held, Tracer):
        # Drawn when the program runs, not while it is written down.
        held = Tracer(trace, trace.lift(held))
    return emit(creation.random_bits, held, shape=lengths, dtype=as_dtype(dtype), stream=context.stream)


def lengths_of(shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape that is given as an integer or as several. Raises `TypeError` for what is no length."""
    given = (shape,) if np.ndim(shape) == 0 else tuple(shape)  # type: ignore[arg-type]
    lengths = [as_whole(length) for length in given]
    if any(length is None or length < 0 for length in lengths):
        raise TypeError(located(f"the shape of a draw is of whole numbers of 0 or more, got {shape!r}"))
    return tuple(length for length in lengths if length is not None)
