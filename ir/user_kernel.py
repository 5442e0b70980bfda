"""Kernels that users write: a Python function over arrays, or over the elements of some, in what Numba compiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from .op import OPS, Op
from .types import Array, ArrayType

Options = tuple[tuple[str, Any], ...]
"""What a user gives by keyword, fixed in the program: names and values."""

TypesRule = Callable[..., tuple[ArrayType, ...]]
"""`rule(*input_types, options=...)` gives types of arrays."""


@dataclass(frozen=True, eq=False, slots=True)
class UserKernel:
    """The function of a custom op, and what is declared of it.

    - `function(*results, *inputs, *scratch, **options)` writes to every element of the results. Where it is
      `elementwise`, `function(*elements, **options)` returns an element of the result.
    - `digest` is equal for functions that do the same, and `source` the line where this one stands.
    - `rows` are numbers of inputs: row i of every result is made of row i of these, and of no other of their rows.
      Results and these inputs may be cut along their first axis then. Where there are none, the kernel is never cut.
    - `boundscheck`: an index out of range stops the run.
    - `scratch` gives the types of arrays that it works in; what they hold when it begins is not defined.
    """

    name: str
    function: Any
    digest: str
    source: str = ""
    elementwise: bool = False
    rows: tuple[int, ...] = ()
    scratch: TypesRule | None = None
    boundscheck: bool = False

    @property
    def symbol(self) -> str:
        """A name for the function in the source of kernels: it differs where the function does."""
        return f"{self.name}_{self.digest}"

    def scratch_types(self, inputs: Sequence[ArrayType], options: Options) -> tuple[ArrayType, ...]:
        """The arrays that the kernel works in."""
        return () if self.scratch is None else self.scratch(*inputs, options=options)

    def run(self, inputs: Sequence[Array], outputs: Sequence[ArrayType], options: Options) -> tuple[Array, ...]:
        """What the function makes of arrays, in Python. An element that it does not write is NaN, or the least of its
        dtype; an input that it writes to is an error of NumPy's.
        """
        given = [read_only(x) for x in inputs]
        results = tuple(unwritten(t) for t in outputs)
        if self.elementwise:
            (result,) = results
            for place in np.ndindex(result.shape):
                result[place] = self.function(*(x[place] for x in given), **dict(options))
            return results
        working = [unwritten(t) for t in self.scratch_types([_type(x) for x in given], options)]
        self.function(*results, *given, *working, **dict(options))
        return results


def positional(function: FunctionType) -> FunctionType:
    """A function that takes its arguments by name by position too, behind the others, with the same defaults."""
    code: CodeType = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = function.__defaults__ or ()
    known = dict(zip(names[code.co_argcount - len(given) :], given)) | (function.__kwdefaults__ or {})
    defaults = tuple(known[name] for name in reversed([*takewhile(known.__contains__, reversed(names))]))
    code = code.replace(co_argcount=len(names), co_kwonlyargcount=0)
    return FunctionType(code, function.__globals__, function.__name__, defaults, function.__closure__)


CUSTOM_OPS: dict[str, dict[str, Callable[[], Op]]] = {}
"""Custom ops by their names, and by where each is defined; it is declared when it is first used."""


def find_op(name: str) -> Op | None:
    """The primitive or the custom op of this name. Raises `LookupError` where several custom ops have it."""
    defined = CUSTOM_OPS.get(name, {})
    if len(defined) > 1:
        raise LookupError(f"there are {len(defined)} custom ops {name}: {', '.join(defined)}; give one another name=")
    return next((declared() for declared in defined.values()), OPS.get(name))


def read_only(array: Array) -> Array:
    """The elements of an array, row by row, which nothing may be written to."""
    view = np.array(array, order="C", copy=None).view()
    view.flags.writeable = False
    return view


def unwritten(type: ArrayType) -> Array:
    """An array of what no kernel writes by chance."""
    return np.full(type.shape, sentinel(type.dtype), type.dtype)


def sentinel(dtype: np.dtype[Any]) -> Any:
    """An element that says that nothing was written."""
    return np.nan if dtype.kind == "f" else dtype.kind == "b" or np.iinfo(dtype).min


def _type(array: Array) -> ArrayType:
    return ArrayType(tuple(array.shape), array.dtype)
