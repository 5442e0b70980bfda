"""`gradloom.numpy` for arrays that have values at once: the module that the suite tests."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gradloom as gl
from eager_array import Array, run


def _function(theirs: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(theirs)
    def function(*args: Any, **kwargs: Any) -> Any:
        return run(theirs, *args, **kwargs)

    return function


def _names_of(module: Any) -> dict[str, Any]:
    found = {}
    for name in module.__all__:
        value = getattr(module, name)
        found[name] = _function(value) if callable(value) and not isinstance(value, type) else value
    return found


__array_api_version__ = gl.numpy.__array_api_version__
__array_namespace_info__ = gl.numpy.__array_namespace_info__
globals().update(_names_of(gl.numpy))


@functools.wraps(gl.numpy.repeat)
def repeat(x: Any, repeats: Any, /, **kwargs: Any) -> Any:
    known = repeats.values if isinstance(repeats, Array) else repeats  # the shape of the result is known while tracing
    return run(gl.numpy.repeat, x, known, **kwargs)


for _name in ("linalg", "fft"):
    if hasattr(gl.numpy, _name):
        globals()[_name] = SimpleNamespace(**_names_of(getattr(gl.numpy, _name)))
