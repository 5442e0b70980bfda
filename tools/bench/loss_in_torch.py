"""A loss function of ours as one of torch: its own code, with torch's functions under the names that it reads."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ...engine import array_api
from ...engine.nn import functional

_OURS = __name__.partition(".")[0]


def loss_in_torch(loss: Any) -> Callable[..., Any] | None:
    """A copy of a function in which `gl`, `gl.nn`, its functional, `gl.numpy` and `np` are namespaces of torch's
    functions, and functions of the user's that it calls are such copies too; `None` for what is no plain function.

    What torch has under another name or in another order is not found, or gives another loss: a benchmark compares the
    losses of both.
    """
    return _copied(loss, {}) if isinstance(loss, types.FunctionType) else None


def _copied(function: types.FunctionType, copies: dict[Any, Any]) -> Any:
    if function in copies:
        return copies[function]
    known = _module_of(function).__dict__
    copied = types.FunctionType(function.__code__, known, function.__name__, function.__defaults__, _cells(function))
    copied.__kwdefaults__ = function.__kwdefaults__
    copies[function] = copied
    for name in _names(function.__code__) & function.__globals__.keys():
        known[name] = _in_torch(function.__globals__[name], copies)
    for cell in copied.__closure__ or ():
        cell.cell_contents = _in_torch(cell.cell_contents, copies)
    return copied


def _module_of(function: types.FunctionType) -> types.ModuleType:
    """A module for copies of the functions of a module: `torch.compile` looks for their names there."""
    name = f"{function.__globals__['__name__']}_in_torch"
    if name not in sys.modules:
        sys.modules[name] = _namespace(name, {**function.__globals__, "__name__": name})
    return sys.modules[name]


def _names(code: types.CodeType) -> set[str]:
    """The names that a function reads, and those inside of it."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)


def _cells(function: types.FunctionType) -> tuple[types.CellType, ...] | None:
    cells = function.__closure__
    return None if cells is None else tuple(types.CellType(cell.cell_contents) for cell in cells)


def _in_torch(value: Any, copies: dict[Any, Any]) -> Any:
    """A name's value as torch's: a namespace, a function; anything else is as it is."""
    if isinstance(value, types.ModuleType):
        name = value.__name__
        if name == "numpy" or name.startswith(_OURS):
            return _numpy() if name.endswith(("numpy", "array_api")) else _ours() if name == _OURS else _functions()
        return value
    if not isinstance(value, types.FunctionType):
        named = getattr(np, getattr(value, "__name__", ""), None)  # a ufunc, or another function of NumPy's own
        return getattr(_numpy(), value.__name__, value) if callable(value) and value is named else value
    if value.__module__.startswith(f"{_OURS}.engine.nn"):
        return getattr(_functions(), value.__name__, value)
    if value.__module__.startswith((f"{_OURS}.engine.array_api", "numpy")):
        return getattr(_numpy(), value.__name__, value)
    return value if value.__module__.startswith(("torch", _OURS)) else _copied(value, copies)


def _ours() -> types.ModuleType:
    """What stands for `gl`."""
    return _namespace("gl", {"nn": _functions(), "numpy": _numpy()})


@functools.cache
def _functions() -> types.ModuleType:
    """What stands for `gl.nn` and `gl.nn.functional`."""
    import torch.nn.functional as F  # pyright: ignore[reportMissingImports]

    names = [name for name in dir(functional) if hasattr(F, name)]
    found = _namespace("nn", {name: _by_dim(getattr(functional, name), getattr(F, name)) for name in names})
    setattr(found, "functional", found)  # noqa: B010
    return found


@functools.cache
def _numpy() -> types.ModuleType:
    """What stands for `np` and `gl.numpy`."""
    import torch  # pyright: ignore[reportMissingImports]

    names = [name for name in {*dir(np), *dir(array_api)} if hasattr(torch, name) and not name.startswith("_")]
    spread = {name: functools.partial(getattr(torch, name), correction=0) for name in ("var", "std")}
    return _namespace("np", {**{name: getattr(torch, name) for name in names}, **spread})


def _by_dim(ours: Any, theirs: Any) -> Any:
    """Torch's function under our argument `axis`, where it has one."""
    if not callable(ours) or "axis" not in inspect.signature(ours).parameters:
        return theirs

    def renamed(*args: Any, **kwargs: Any) -> Any:
        return theirs(*args, **{{"axis": "dim", "keepdims": "keepdim"}.get(key, key): x for key, x in kwargs.items()})

    return renamed


def _namespace(name: str, values: dict[str, Any]) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(values)
    return made
