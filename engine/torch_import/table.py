"""The table of ops: by torch's name of an op, the function that traces it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..tracing.errors import located

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


def user_ops(given: Mapping[str, Traced]) -> dict[str, Traced]:
    """Functions of the user's for ops of `torch.library`, by the names that an export has for them. Raises `TypeError`.
    """
    found: dict[str, Traced] = {}
    for name, function in given.items():
        parts = re.fullmatch(r"(\w+)::(\w+)(?:\.(\w+))?", name)
        if parts is None or not callable(function):
            shown = f"{name!r}: {function!r}"
            raise TypeError(located(f'custom_ops are functions by the names of ops, {{"mylib::f": f}}, got {shown}'))
        found[f"{parts[1]}.{parts[2]}.{parts[3] or 'default'}"] = function
    return found


def whole_ops() -> tuple[str, ...]:
    """The ops of `aten` that torch is not to decompose."""
    from . import aten as families

    assert families
    return tuple(_PREFERRED)


def reads_memory(name: str) -> bool:
    """Whether an op reads its first operand as it lies in memory."""
    return name in _IN_MEMORY
