"""NumPy's protocols: which of our functions answers which of NumPy's, and what is said where none does."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.near_names import near_names
from .. import array_api as api
from ..tracing.array_methods import refuse_out
from ..tracing.tracer import Tracer, TracingError, as_operand, located
from . import special
from .broadcasting import cast, loop_dtypes
from .refused_names import REFUSED

_REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: api.sum,
    np.multiply: api.prod,
    np.maximum: api.max,
    np.minimum: api.min,
    np.logical_and: api.all,
    np.logical_or: api.any,
}

_RUNNING: dict[np.ufunc, Callable[..., Any]] = {
    np.add: api.cumsum,
    np.multiply: api.cumprod,
    np.maximum: api.cummax,
    np.minimum: api.cummin,
}


@functools.cache
def _functions() -> dict[Any, Callable[..., Any]]:
    table: dict[Any, Callable[..., Any]] = {}
    for theirs, ours in ((np, api), (np.linalg, api.linalg), (np.fft, api.fft)):
        for name in ours.__all__:
            function = getattr(theirs, name, None)
            # What is NumPy's own function here too would come back without end.
            if callable(function) and not isinstance(function, type) and function is not getattr(ours, name):
                table[function] = getattr(ours, name)
    return table


# By name: importing SciPy takes longer than importing all of this package.
_OF_SCIPY: dict[str, Callable[..., Any]] = {
    **{name: getattr(special, name) for name in special.__all__},
    "_zeta": special.zeta,  # what `scipy.special.zeta` calls
}


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
    if name in REFUSED:
        return REFUSED[name]
    known = {
        **{name: f"gl.special.{name}" for name in special.__all__},
        **{name: f"np.fft.{name}" for name in api.fft.__all__},
        **{name: f"np.linalg.{name}" for name in api.linalg.__all__},
        **{name: f"np.{name}" for name in api.__all__},
    }
    near = near_names(name, known)
    if near:
        return f"similar ones that are traced: {', '.join(known[n] for n in near)}"
    return "compute it outside and pass the result in, or write it with functions of gradloom.numpy"


def _full_name(function: Any) -> str:
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module.replace('numpy', 'np', 1)}.{function.__name__}"


def call_ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What `ufunc.method(*inputs, **kwargs)` means for traced arrays. Raises `TracingError` where it is not traced."""
    name = f"np.{ufunc.__name__}" if getattr(np, ufunc.__name__, None) is ufunc else f"scipy.special.{ufunc.__name__}"
    if method != "__call__":
        name = f"{name}.{method}"
    refuse_out(name, kwargs.pop("out", None), inputs)
    if method == "reduce" and ufunc in _REDUCTIONS:
        return _reduce(ufunc, name, inputs, dict(kwargs))
    if method == "accumulate" and ufunc in _RUNNING:
        return called(_RUNNING[ufunc], name, (inputs[0], *(inputs[1:] or (kwargs.pop("axis", 0),))), kwargs)
    if method == "outer" and len(inputs) == 2:
        ndim = np.ndim(inputs[1]) if not isinstance(inputs[1], Tracer) else inputs[1].ndim
        left = api.asarray(inputs[0])
        inputs = api.reshape(left, (*left.shape, *(1,) * ndim)), inputs[1]
    elif method == "at":
        ways = {np.add: "add", np.subtract: "subtract", np.multiply: "multiply", np.maximum: "max", np.minimum: "min"}
        raise TracingError(
            located(f"{name} writes into an array; write x = x.at[indices].{ways.get(ufunc, 'set')}(values)")
        )
    elif method != "__call__":
        raise TracingError(located(f"{name} is not traced; write it with slices, np.sum, np.cumsum or np.take"))
    options = {option: kwargs.pop(option) for option in ("dtype", "casting") if kwargs.get(option) is not None}
    if options:
        operands = [as_operand(x) for x in inputs]
        inputs = [cast(x, d) for x, d in zip(operands, loop_dtypes(ufunc, operands, **options))]
    if kwargs.get("where", True) is True:
        kwargs.pop("where", None)
    else:
        raise TracingError(located(f"{name} with where= is not traced; write np.where(mask, {name}(...), other)"))
    for option in ("dtype", "order", "subok"):
        kwargs.pop(option, None)
    return called(_functions().get(ufunc) or _OF_SCIPY.get(ufunc.__name__), name, inputs, kwargs)


def _reduce(ufunc: np.ufunc, name: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if kwargs.get("dtype", 0) is None:
        del kwargs["dtype"]
    return called(_REDUCTIONS[ufunc], name, (inputs[0],), {"axis": 0, **kwargs})


def call_function(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What NumPy's `function` means for traced arrays. Raises `TracingError` where it is not traced."""
    name = _full_name(function)
    kwargs = dict(kwargs)
    ours = _functions().get(function)
    if ours is not None and (len(args) > _most_positional(ours) or not kwargs.keys() <= _parameters(ours)):
        args, kwargs = _as_ours(function, ours, args, kwargs)
    refuse_out(name, kwargs.pop("out", None))
    return called(ours, name, args, kwargs)


def _as_ours(
    theirs: Any, ours: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """The arguments of NumPy's function for ours: by position what has no name here, by name the rest."""
    try:
        bound = inspect.signature(theirs).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return args, kwargs
    parameters = inspect.signature(theirs).parameters
    if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        return args, kwargs
    given: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        given.update(value if parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value})
    nameless = sum(p.kind is p.POSITIONAL_ONLY for p in inspect.signature(ours).parameters.values())
    leading = [name for name in list(parameters)[:nameless] if name in given]
    return [given.pop(name) for name in leading], given


def called(ours: Callable[..., Any] | None, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """`ours(*args, **kwargs)`, where it takes these. Raises `TracingError` where not, or where there is none."""
    if ours is None:
        raise TracingError(located(f"{name} is not traced: {alternatives(name.rpartition('.')[2])}"))
    unknown = [key for key in kwargs if key not in _parameters(ours)]
    if unknown:
        raise TracingError(located(f"{name}: the argument {unknown[0]!r} is not traced; known are {_known(ours)}"))
    return ours(*args, **kwargs)


def _known(ours: Callable[..., Any]) -> str:
    return ", ".join(sorted(_parameters(ours))) or "positional arguments only"
