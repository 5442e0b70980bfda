"""What a user's function computes, as a digest: of its bytecode, and of all that it reads from around it."""

from __future__ import annotations

import dis
import hashlib
import platform
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, str, bytes, type(None), type, np.generic, np.dtype)
"""What cannot change, and has a text."""


class UnfrozenError(TypeError):
    """A function reads something that may change, where machine code would hold what it was."""


class FunctionParts:
    """The code of a function and of those that it calls, and the values that they read from around them, by name.

    Raises `UnfrozenError` where one of these is an array, a list, or another object that may change.
    """

    def __init__(self, function: types.FunctionType) -> None:
        self.codes: list[types.CodeType] = []
        self.values: dict[str, str] = {}
        self.functions: dict[types.FunctionType, int] = {}
        self._enter(function)

    @property
    def digest(self) -> str:
        """Equal for functions that do the same, in this version of Python."""
        parts = [platform.python_version(), *map(code_text, self.codes), *map(repr, self.values.items())]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def may_raise(self) -> bool:
        """Whether a `raise` or an `assert` stands in the code."""
        return any(_names_in(code, "RAISE_VARARGS") for code in self.codes)

    def _enter(self, function: types.FunctionType) -> int:
        if function not in self.functions:
            self.functions[function] = len(self.functions)
            self.codes.append(function.__code__)
            for name, value in _read_by(function):
                self.values[f"{len(self.functions)} {name}"] = self._text(name, value)
        return self.functions[function]

    def _text(self, name: str, value: Any) -> str:
        value = getattr(value, "py_func", value)  # of a function that Numba compiled
        if isinstance(value, types.FunctionType):
            return f"function {self._enter(value)}"
        if isinstance(value, (types.ModuleType, types.BuiltinFunctionType, np.ufunc)):
            return f"{value.__name__} {getattr(value, '__version__', '')}"
        if isinstance(value, tuple):
            return f"({', '.join(self._text(name, item) for item in value)})"  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}"  # pyright: ignore[reportUnknownArgumentType]
        if getattr(value, "__module__", "").partition(".")[0] == "numpy" and callable(value):
            return repr(value.__name__)
        kind = type(value).__name__
        raise UnfrozenError(
            f"{name} is of type {kind}, and machine code would hold what it is now; give an array as an input, and "
            "numbers, strings or tuples of them as options by keyword"
        )


def function_of(function: Any) -> types.FunctionType | None:
    """The Python function, also of one that Numba compiled; `None` for what is none."""
    found = getattr(function, "py_func", function)
    return found if isinstance(found, types.FunctionType) else None


def _read_by(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values that a function reads from around it: of its closure, globals, and attributes of modules."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:  # it is not assigned yet
            continue
    attributes = _names_in(function.__code__, "LOAD_ATTR", "LOAD_METHOD")
    for name in _names_in(function.__code__, "LOAD_GLOBAL", "LOAD_NAME"):
        if name in function.__globals__:
            value = function.__globals__[name]
            yield name, value
            if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] not in ("numpy", "math"):
                yield from ((f"{name}.{n}", vars(value)[n]) for n in attributes if n in vars(value))


@lru_cache(512)
def _names_in(code: types.CodeType, *instructions: str) -> tuple[str, ...]:
    """The names that some instructions read, in code and in the functions inside it."""
    own = (i.argval for i in dis.get_instructions(code) if i.opname in instructions)
    inner = (
        name
        for constant in code.co_consts
        if isinstance(constant, types.CodeType)
        for name in _names_in(constant, *instructions)
    )
    return tuple(dict.fromkeys((*own, *inner)))


@lru_cache(512)
def code_text(code: types.CodeType) -> str:
    """Bytecode as text, the same wherever it stands; how arguments are given counts for nothing."""
    constants = [code_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount + code.co_kwonlyargcount, code.co_flags)
    return repr((code.co_code, constants, names, counts))
