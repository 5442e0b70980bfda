"""Numbers that say how a function or a layer computes, as Python's own: NumPy's would make float32 arrays float64."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np

from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_real
from ..tracing.tracer import located

F = TypeVar("F", bound=Callable[..., Any])

_NUMERIC = re.compile(r"\b(int|float|Numbers|Size|OutputSize|Widths)\b")
"""In the annotation of an argument that takes a number, or several."""


def with_plain_numbers(fn: F) -> F:
    """`fn`, whose arguments that are annotated as numbers may be NumPy's, also arrays without axes, and none of which
    may be a boolean: that is a `TypeError`.
    """
    arguments = list(inspect.signature(fn).parameters.values())
    numeric = {a.name for a in arguments if isinstance(a.annotation, str) and _NUMERIC.search(a.annotation)}
    if not numeric:
        return fn
    places = [a.name for a in arguments if a.kind is not a.KEYWORD_ONLY]
    of_layer = fn.__name__ == "__init__"

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        what = type(args[0]).__name__ if of_layer else fn.__name__
        given = [_plain(what, n, v) if n in numeric else v for n, v in zip(places, args)] + list(args[len(places) :])
        named = {n: _plain(what, n, v) if n in numeric else v for n, v in kwargs.items()}
        return fn(*given, **named)

    return cast(F, called)


def _plain(what: str, name: str, value: Any) -> Any:
    """A number, or a sequence of numbers, as Python's; anything else as it is."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, np.ndarray) and value.dtype == np.bool_):
        raise TypeError(located(f"{what}: {name} is a number, got {value!r}"))
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(_plain(what, name, v) for v in value)
    if isinstance(value, (list, tuple)):
        items = cast("Iterable[Any]", value)
        return type(value)(_plain(what, name, v) for v in items) if type(value) in (list, tuple) else value
    number = as_real(value)
    return value if number is None else number


def take_plain_numbers(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Make the functions of these names `with_plain_numbers`, whose misspelt keywords are told, in the namespace and
    where they are defined: what is pickled by its name is found there.
    """
    for name in names:
        fn = namespace[name]
        if inspect.isfunction(fn):
            changed = with_plain_numbers(tells_keywords(fn))
            namespace[name] = changed
            home = sys.modules[fn.__module__].__dict__
            if home.get(name) is fn:
                home[name] = changed
