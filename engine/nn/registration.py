"""Modules and parameters that hide where their model does not see them: in lists, dicts, dataclasses, closures."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..tracing.errors import located
from .parameter import Stored

if TYPE_CHECKING:
    from .module import Module

_TABLES = ("_parameters", "_buffers", "_modules")
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), np.ndarray, np.generic, np.dtype, type, range)
_MOST = 100_000
"""Objects that are looked at, at most: a model may hold a tokenizer, or a data set."""


def check_registered(model: Module) -> None:
    """Raise `TypeError` for a module or parameter that an attribute of one of the model's modules holds, at any depth,
    and that is no part of the model; the one that is reached by the shortest way.
    """
    modules = dict.fromkeys(module for _, module in model.named_modules())
    stored = dict.fromkeys(s for _, s in model.all_stored())
    seen: set[int] = {id(module) for module in modules}
    # What is seen is kept, so that no id is that of another object.
    pending = _attributes(model)
    kept: list[Any] = []
    while pending and len(kept) < _MOST:
        path, value = pending.popleft()
        if _is_plain(value) or id(value) in seen:
            continue
        seen.add(id(value))
        kept.append(value)
        hidden = _hidden(value, modules, stored)
        if hidden:
            raise TypeError(located(f"{path} {hidden}"))
        pending.extend((f"{path}{name}", part) for name, part in _parts(value))


def _is_plain(value: Any) -> bool:
    """Whether nothing hides in a value."""
    return isinstance(value, _PLAIN) and not (isinstance(value, np.ndarray) and value.dtype.hasobject)


def _attributes(model: Module) -> deque[tuple[str, Any]]:
    """(path, value) of what the modules of a model hold beside parameters, buffers and modules."""
    found: deque[tuple[str, Any]] = deque()
    for path, module in model.named_modules():
        own = ((name, value) for name, value in vars(module).items() if name not in _TABLES)
        found.extend((f"{path}.{name}" if path else name, value) for name, value in own)
    return found


def arrays_held(model: Module) -> Iterator[tuple[str, Any]]:
    """(path, array) of arrays and tensors of torch that are no parameters or buffers, at any depth of attributes."""
    seen: set[int] = {id(module) for _, module in model.named_modules()}
    pending = _attributes(model)
    kept: list[Any] = []
    while pending and len(kept) < _MOST:
        path, value = pending.popleft()
        if isinstance(value, np.ndarray) or torch_name(value) == "torch.Tensor":
            yield path, value
        elif not _is_plain(value) and not isinstance(value, Stored) and id(value) not in seen:
            seen.add(id(value))
            kept.append(value)
            pending.extend((f"{path}{name}", part) for name, part in _parts(value))


def _hidden(value: Any, modules: dict[Any, None], stored: dict[Any, None]) -> str | None:
    from .module import Module

    if isinstance(value, Module) and value not in modules:
        return (
            f"is a {type(value).__name__} that is not registered: modules inside lists, dicts, objects and functions "
            "are not seen and would not be trained; use nn.ModuleList, nn.ModuleDict, or an attribute of its own"
        )
    if isinstance(value, Stored) and value not in stored:
        return (
            f"is a {type(value).__name__.lower()} that is not registered: parameters inside lists, dicts, objects and "
            "functions are not seen and would not be trained; use nn.ParameterList, or an attribute of its own"
        )
    name = torch_name(value)
    if name is None:
        return None
    if name.endswith(("Parameter", "Tensor")):
        is_trained = getattr(value, "requires_grad", False)
        instead = "which is a constant here and would not be trained; write nn.Parameter(tensor.detach().numpy())"
        return f"is a {name}, {instead}" if is_trained else None
    return f"is a {name}, which is torch's and would not be trained; {instead_of_torch(name)}"


def torch_name(value: Any) -> str | None:
    """The name of a module or tensor of torch, as `torch.nn.Linear`; `None` for all else. Torch is not imported."""
    for kind in type(value).__mro__:
        if kind.__module__ == "torch.nn.modules.module" and kind.__name__ == "Module":
            mine = type(value)
            return (
                f"torch.nn.{mine.__name__}" if mine.__module__.startswith("torch.nn.") else f"{mine.__name__} of torch"
            )
        if kind.__module__.startswith("torch") and kind.__name__ == "Tensor":
            return "torch.nn.Parameter" if type(value).__name__ == "Parameter" else "torch.Tensor"
    return None


def instead_of_torch(name: str) -> str:
    """What to write instead of a module of torch."""
    from .. import nn

    plain = name.rpartition(".")[2]
    known = name.startswith("torch.nn.") and hasattr(nn, plain)
    return f"write gl.nn.{plain}(...)" if known else "write it as a gl.nn.Module, whose layers have torch's names"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """(how it is reached, part) for what an object holds."""
    if isinstance(value, Mapping):
        items = list(cast("Mapping[Any, Any]", value).items())
        yield from ((f"[{key!r}]", part) for key, part in items)
        yield from ((f".keys()[{i}]", key) for i, (key, _) in enumerate(items))
    elif isinstance(value, np.ndarray):  # of objects
        places = [(f"[{', '.join(map(str, place))}]", place) for place in np.ndindex(value.shape)]
        yield from ((name, value[place]) for name, place in places)
    elif isinstance(value, (list, tuple, deque)):
        yield from ((f"[{i}]", part) for i, part in enumerate(cast("list[Any]", value)))
    elif isinstance(value, (set, frozenset)):
        yield from ((".pop()", part) for part in cast("set[Any]", value))
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield from ((f".args[{i}]", part) for i, part in enumerate(value.args))
        yield from ((f".keywords[{name!r}]", part) for name, part in value.keywords.items())
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or ()):
            try:
                yield f" (closes over {name})", cell.cell_contents
            except ValueError:
                continue  # assigned later
        yield from ((f" (default {i})", part) for i, part in enumerate(value.__defaults__ or ()))
        yield from ((f" (default {name})", part) for name, part in (value.__kwdefaults__ or {}).items())
        if hasattr(value, "__wrapped__"):
            yield ".__wrapped__", value.__wrapped__
    elif _is_of_the_user(value):
        for name, part in getattr(value, "__dict__", {}).items():
            yield f".{name}", part
        for kind in type(value).__mro__:
            for name in _slots(kind):
                if hasattr(value, name):
                    yield f".{name}", getattr(value, name)


def _slots(kind: type) -> tuple[str, ...]:
    slots: Any = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))


def _is_of_the_user(value: Any) -> bool:
    """Whether an object is of a class that a user may have written: not of this package, nor of a library."""
    if isinstance(value, (types.ModuleType, types.BuiltinFunctionType)):
        return False
    module = type(value).__module__ or ""
    root = module.partition(".")[0]
    return root not in _LIBRARIES and root != __name__.partition(".")[0]


_LIBRARIES = ("builtins", "numpy", "scipy", "torch", "optree", "jax", "weakref", "threading", "_thread", "re")
