"""Python floats that are arguments of a traced program."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .misuse import needs_value

if TYPE_CHECKING:
    pass
from .tracer import Tracer


class FloatArgument(Tracer):
    """A Python float that is an argument of the program: weak in promotion, as NumPy has it, and so is what Python's
    operators make of it and of other numbers.
    """

    __slots__ = ()

    @property
    def __class__(self) -> type:
        """What `isinstance` is told: it is a float, as the caller's is, and code that asks takes the same way."""
        return float

    def __hash__(self) -> int:
        needs_value("a float as a key (of a dict, a set or a cache)", "keep it as an array", self)

    def __str__(self) -> str:
        needs_value("a float as text", "return it from the traced function", self)

    def __format__(self, spec: str) -> str:
        needs_value("a float as text", "return it from the traced function", self)

    def __round__(self, ndigits: int | None = None) -> Any:
        return _weak(super().__round__(ndigits))


def _weak(x: Any) -> Any:
    """What Python's operators give for a float and a number: a float."""
    return FloatArgument(x.owner, x.value) if isinstance(x, Tracer) and x.dtype == np.dtype("float64") else x


def _operator(name: str) -> Callable[..., Any]:
    of_array = getattr(Tracer, name)

    def operator(self: FloatArgument, *others: Any) -> Any:
        result = of_array(self, *others)
        if not all(type(other) in (float, int, bool, FloatArgument) for other in others):
            return result
        return tuple(map(_weak, result)) if isinstance(result, tuple) else _weak(result)

    operator.__name__ = name
    return operator


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow"):
    for _side in ("", "r"):
        setattr(FloatArgument, f"__{_side}{_name}__", _operator(f"__{_side}{_name}__"))
for _name in ("neg", "pos", "abs"):
    setattr(FloatArgument, f"__{_name}__", _operator(f"__{_name}__"))
