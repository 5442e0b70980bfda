"""NumPy's protocols: which of our functions answers which of NumPy's, and what is said where none does."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import array_api as api
from ..tracer import Tracer, TracingError, located

_REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: api.sum,
    np.multiply: api.prod,
    np.maximum: api.max,
    np.minimum: api.min,
    np.logical_and: api.all,
    np.logical_or: api.any,
}

# What to write instead, for functions that come up.
_INSTEAD: dict[str, str] = {
    "argsort": "argmax and argmin are traced",
    "argwhere": "its shape depends on values; use np.where(condition, a, b)",
    "compress": "its shape depends on values; use np.where(condition, a, b)",
    "cumprod": "np.exp(np.cumsum(np.log(x))) is traced, for positive x",
    "extract": "its shape depends on values; use np.where(condition, a, b)",
    "flatnonzero": "its shape depends on values; use np.where(condition, a, b)",
    "median": "np.mean, np.min and np.max are traced",
    "nonzero": "its shape depends on values; use np.where(condition, a, b)",
    "partition": "np.max and np.min are traced",
    "put": "traced arrays are not written to; use np.where(mask, new, x)",
    "sort": "np.max, np.min, np.argmax and np.argmin are traced",
    "unique": "its shape depends on values",
}


@functools.cache
def _functions() -> dict[Any, Callable[..., Any]]:
    table: dict[Any, Callable[..., Any]] = {}
    for theirs, ours in ((np, api), (np.linalg, api.linalg)):
        for name in ours.__all__:
            function = getattr(theirs, name, None)
            if callable(function) and not isinstance(function, type):
                table[function] = getattr(ours, name)
    return table


# By name: importing SciPy takes longer than importing all of this package.
_OF_SCIPY: dict[str, Callable[..., Any]] = {"erf": api.erf, "expit": api.expit}


@functools.cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is not inspect.Parameter.POSITIONAL_ONLY
    )


@functools.cache
def _most_positional(function: Callable[..., Any]) -> float:
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return math.inf
    return sum(kind is not inspect.Parameter.KEYWORD_ONLY for kind in kinds)


def alternatives(name: str) -> str:
    """What to write instead of NumPy's function `name`."""
    if name in _INSTEAD:
        return _INSTEAD[name]
    near = difflib.get_close_matches(name, [*api.__all__, *api.linalg.__all__], n=3, cutoff=0.6)
    if near:
        return f"similar ones that are traced: {', '.join('np.' + n for n in near)}"
    return "compute it outside and pass the result in, or write it with functions of gradloom.numpy"


def _full_name(function: Any) -> str:
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module.replace('numpy', 'np', 1)}.{function.__name__}"


def _refuse_out(name: str, kwargs: dict[str, Any], operands: Sequence[Any] = ()) -> None:
    out = kwargs.pop("out", None)
    outs = out if isinstance(out, tuple) else (out,)
    if all(o is None for o in outs):
        return
    inplace = any(o is x for o in outs for x in operands)
    advice = "write y = y + x instead of y += x for a NumPy array y" if inplace else f"write y = {name}(...)"
    raise TracingError(located(f"{name} cannot write a traced result into an array (out=); {advice}"))


def call_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What `ufunc.method(*inputs, **kwargs)` means for traced arrays. Raises `TracingError` where it is not traced."""
    name = f"np.{ufunc.__name__}" if getattr(np, ufunc.__name__, None) is ufunc else f"scipy.special.{ufunc.__name__}"
    if method != "__call__":
        name = f"{name}.{method}"
    _refuse_out(name, kwargs, inputs)
    if method == "reduce" and ufunc in _REDUCTIONS:
        return _reduce(ufunc, name, inputs, dict(kwargs))
    if method == "accumulate" and ufunc is np.add:
        return _called(api.cumsum, name, (inputs[0], *(inputs[1:] or (kwargs.pop("axis", 0),))), kwargs)
    if method == "outer" and len(inputs) == 2:
        ndim = np.ndim(inputs[1]) if not isinstance(inputs[1], Tracer) else inputs[1].ndim
        left = api.asarray(inputs[0])
        return _called(
            _functions().get(ufunc), name, (api.reshape(left, (*left.shape, *(1,) * ndim)), inputs[1]), kwargs
        )
    if method != "__call__":
        raise TracingError(located(f"{name} is not traced; write it with slices, np.sum, np.cumsum or np.take"))
    dtype = kwargs.pop("dtype", None)
    if dtype is not None:
        inputs = [api.astype(api.asarray(x), dtype) for x in inputs]
    if kwargs.get("where", True) is True:
        kwargs.pop("where", None)
    else:
        raise TracingError(located(f"{name} with where= is not traced; write np.where(mask, {name}(...), other)"))
    for option in ("casting", "order", "subok"):
        kwargs.pop(option, None)
    return _called(_functions().get(ufunc) or _OF_SCIPY.get(ufunc.__name__), name, inputs, kwargs)


def _reduce(ufunc: np.ufunc, name: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    names = ("axis", "dtype", "out", "keepdims")
    kwargs.update(zip(names, inputs[1:]))
    _refuse_out(name, kwargs)
    if kwargs.get("dtype", 0) is None:
        del kwargs["dtype"]
    return _called(_REDUCTIONS[ufunc], name, (inputs[0],), {"axis": 0, **kwargs})


def call_function(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What NumPy's `function` means for traced arrays. Raises `TracingError` where it is not traced."""
    name = _full_name(function)
    kwargs = dict(kwargs)
    _refuse_out(name, kwargs)
    return _called(_functions().get(function), name, args, kwargs)


def _called(ours: Callable[..., Any] | None, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if ours is None:
        raise TracingError(located(f"{name} is not traced: {alternatives(name.rpartition('.')[2])}"))
    unknown = [key for key in kwargs if key not in _parameters(ours)]
    if unknown:
        raise TracingError(located(f"{name}: the argument {unknown[0]!r} is not traced; known are {_known(ours)}"))
    if len(args) > _most_positional(ours):
        raise TracingError(located(f"{name}: give the arguments after the first {_most_positional(ours)} by name"))
    return ours(*args, **kwargs)


def _known(ours: Callable[..., Any]) -> str:
    return ", ".join(sorted(_parameters(ours))) or "positional arguments only"
