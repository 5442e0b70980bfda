"""Arrays that have values at once, as the suite wants them, and answer what traced arrays answer.

Every function, operator, method and index is traced for the types of its arguments, and the graph is run. So what is
tested is a traced array's: names, arguments, dtypes, shapes and values. NumPy holds values and reads them, and
computes none. `GRADLOOM_SUITE_RUNS=compiled` runs native code where else the interpreter runs the graph.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any

import gradloom as gl
import numpy as np
import optree
from gradloom.engine.tracing.trace import trace_with_structure
from gradloom.engine.tracing.tracer import Tracer

_COMPILED = os.environ.get("GRADLOOM_SUITE_RUNS") == "compiled"


class Array:
    """An array with values. What it answers is traced, but for what reads values."""

    __hash__ = None

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"Array({self.values!r})"

    # What reads values: results of compiled functions are NumPy arrays.

    def __bool__(self) -> bool:
        return bool(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __float__(self) -> float:
        return float(self.values)

    def __complex__(self) -> complex:
        return complex(self.values)

    def __index__(self) -> int:
        return operator.index(self.values)

    @property
    def __dlpack__(self) -> Any:
        return self.values.__dlpack__

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()

    # What a traced array answers.

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        def ask(x: Any) -> Any:
            assert x.__array_namespace__(api_version=api_version) is gl.numpy

        run(ask, self)
        import eager_gradloom

        return eager_gradloom

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__array_"):
            raise AttributeError(name)  # protocols of NumPy's
        known = _attribute(name, self.values.shape, self.values.dtype)
        if known is _METHOD:
            return _method(name).__get__(self)
        return run(lambda x: getattr(x, name), self) if known is _ARRAY else known

    def __iter__(self) -> Iterator[Array]:
        return iter(run(lambda x: tuple(x), self))

    def __getitem__(self, key: Any) -> Array:
        return run(operator.getitem, self, _with_known_masks(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        self.values = run(lambda x, key, value: x.at[key].set(value), self, _with_known_masks(key), value).values


def _with_known_masks(key: Any) -> Any:
    """A key whose masks are known while tracing, as the shape of what they choose must be."""
    parts = key if isinstance(key, tuple) else (key,)
    known = tuple(k.values if isinstance(k, Array) and k.values.dtype == bool else k for k in parts)
    return known if isinstance(key, tuple) else known[0]


_METHOD, _ARRAY = object(), object()


@functools.cache
def _attribute(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """An attribute that the types tell, as `shape`; `_ARRAY` for one that is an array."""
    found: list[Any] = []

    def program(x: Any) -> Any:
        found.append(getattr(x, name))
        return x

    trace_with_structure(program, gl.spec(shape, dtype))
    return _METHOD if callable(found[0]) else _ARRAY if _is_array(found[0]) else found[0]


def _method(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(Tracer, name))
    def method(self: Array, *args: Any, **kwargs: Any) -> Any:
        return run(lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs), self, *args, **kwargs)

    return method


def _operator(name: str) -> Callable[..., Any]:
    def method(self: Array, *others: Any) -> Any:
        return run(lambda *given: getattr(operator, name)(*given), self, *others)

    return method


def _reflected(name: str) -> Callable[..., Any]:
    def method(self: Array, other: Any) -> Any:
        return run(lambda x, other: getattr(operator, name)(other, x), self, other)

    return method


def _in_place(name: str) -> Callable[..., Any]:
    def method(self: Array, other: Any) -> Array:
        self.values = run(lambda x, other: getattr(operator, name)(x.copy(), other), self, other).values
        return self

    return method


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
for _name in _BINARY:
    _dunder = f"__{_name}__"
    setattr(Array, _dunder, _operator(_dunder))
    setattr(Array, f"__r{_name}__", _reflected(_dunder))
    setattr(Array, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Array, f"__{_name}__", _operator(f"__{_name}__"))


# Tracing and running.


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `function` gives for traced arrays, as arrays with values.

    An argument that comes back is the same array: what is written to one is read in the other.
    """
    leaves, tree = optree.tree_flatten((args, kwargs), none_is_leaf=True)
    given = [leaf for leaf in leaves if isinstance(leaf, Array)]
    answer: list[Any] = []

    def program(*arrays: Any) -> Any:
        traced = iter(arrays)
        filled = [next(traced) if isinstance(leaf, Array) else leaf for leaf in leaves]
        args, kwargs = optree.tree_unflatten(tree, filled)
        found, places = optree.tree_flatten(function(*args, **kwargs))
        same = [next((array for array, x in zip(given, arrays) if x is leaf), None) for leaf in found]
        answer[:] = [found, places, same]
        return tuple(leaf for leaf in found if _is_array(leaf))

    arrays = [array.values for array in given]
    if _COMPILED:
        results = gl.compile(program)(*arrays)
    else:
        results = gl.interpret(trace_with_structure(program, *arrays).graph, *arrays)
    values = iter(results)
    found, places, same = answer
    made = [Array(np.asarray(next(values))) if _is_array(leaf) else leaf for leaf in found]
    return optree.tree_unflatten(places, [new if old is None else old for new, old in zip(made, same)])


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (Tracer, np.ndarray, np.generic))
