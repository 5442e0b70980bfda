"""The table of ops: by torch's name of an op, the function that traces it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Traced = Callable[..., Any]
F = TypeVar("F", bound=Traced)

_TABLE: dict[str, Traced] = {}
_PREFERRED: list[str] = []
_IN_MEMORY: set[str] = set()


def aten(*names: str, whole: bool = False, in_memory: bool = False) -> Callable[[F], F]:
    """Enter a function for ops of the library `aten`, each named with its overload: `add.Tensor`.

    The function takes the arguments of the op's schema: arrays, numbers, sequences of them, dtypes of NumPy. Where an
    op is `whole`, torch would decompose it: it is kept, because its own function plans better. One that reads its first
    operand as it lies `in_memory` takes only what lies there row by row, and is no part of something else.
    """

    def enter(function: F) -> F:
        for name in names:
            _TABLE[f"aten.{name}"] = function
            if whole:
                _PREFERRED.append(name)
            if in_memory:
                _IN_MEMORY.add(f"aten.{name}")
        return function

    return enter


def op(name: str) -> Callable[[F], F]:
    """Enter a function for an op of another library than `aten`, by its whole name."""

    def enter(function: F) -> F:
        _TABLE[name] = function
        return function

    return enter


def traced_op(name: str) -> Traced | None:
    """The function for an op, by its whole name; `None` where there is none."""
    from . import aten as families

    assert families
    return _TABLE.get(name)


def whole_ops() -> tuple[str, ...]:
    """The ops of `aten` that torch is not to decompose."""
    from . import aten as families

    assert families
    return tuple(_PREFERRED)


def reads_memory(name: str) -> bool:
    """Whether an op reads its first operand as it lies in memory."""
    return name in _IN_MEMORY
