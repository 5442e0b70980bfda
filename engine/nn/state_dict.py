"""The initial values of a model as a dict by name: given for a seed, and set from PyTorch tensors or NumPy arrays."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ...ir import Array, is_float
from ..tracing.errors import warn
from ..tracing.tracer import Tracer, located
from .binding import Binding, assign_live, binding_of, current_value
from .init import constant
from .parameter import Stored
from .registration import torch_name
from .settings import has_a_step
from .uninitialized import is_uninitialized

if TYPE_CHECKING:
    from .module import Module

_LISTED = 8


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not set, and what it did not use."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def state_values(model: Module, seed: int | None) -> dict[str, Any]:
    """By every name, tied ones too, the initial value of a parameter or persistent buffer; inside `bind` its value."""
    values: dict[Stored, Any] = {}
    result: dict[str, Any] = {}
    for name, stored in model.persistent_stored():
        if stored not in values:
            value = current_value(stored)
            if value is stored:
                value = stored.initial(name, seed or 0)
                if seed is None and has_a_step(stored):
                    _warn_of_initial_values(model)
                    seed = 0
            values[stored] = value
        result[name] = values[stored]
    return result


def _warn_of_initial_values(model: Module) -> None:
    warn(
        f"{type(model).__name__}.state_dict() gives initial values, and a step that was compiled of the model has its "
        "own; write step.state_dict() for what was trained, or model.state_dict(seed=0) for the initial values"
    )


def load_initial_values(model: Module, given: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """Make the arrays of `given` the initial values of a model, as `Module.load_state_dict` says."""
    if not isinstance(given, Mapping):
        raise TypeError(located(f"load_state_dict takes a dict of arrays by name, got {type(given).__name__}"))
    expected = dict(model.persistent_stored())
    binding = binding_of(model)
    if binding is not None:
        return _load_live_values(model, binding, expected, given, strict)
    arrays: dict[Stored, tuple[str, Array]] = {}
    unexpected: list[str] = []
    problems: list[str] = []
    for name, value in given.items():
        stored = expected.get(name)
        if stored is None:
            unexpected.append(name)
            continue
        array = plain_array(value)
        if is_uninitialized(stored):
            stored.materialize(Stored(array))
        problem = _misfit(name, stored, array) or _conflict(name, array, arrays.get(stored))
        if problem:
            problems.append(problem)
        arrays.setdefault(stored, (name, array))
    keys = _keys(expected, arrays, unexpected)
    _check(model, problems, keys, strict)
    if any(has_a_step(stored) for stored in arrays):
        warn(
            f"{type(model).__name__}.load_state_dict sets initial values, and a step that was compiled of the model "
            "goes on with its own; write step.load_state_dict(state_dict), or load before the step is compiled"
        )
    for stored, (_, array) in arrays.items():
        if assign:
            stored.cast(array.dtype)
        stored.initialize(constant(_converted(array, stored.dtype)))
    return keys


def _load_live_values(
    model: Module, binding: Binding, expected: Mapping[str, Stored], given: Mapping[str, Any], strict: bool
) -> IncompatibleKeys:
    """Make the arrays of `given` the content of parameters and buffers from here on, in a program that is traced."""
    arrays = {expected[name]: (name, value) for name, value in given.items() if name in expected}
    keys = _keys(expected, arrays, [name for name in given if name not in expected])
    _check(model, [], keys, strict)
    for stored, (name, value) in arrays.items():
        array = value if isinstance(value, Tracer) else _converted(plain_array(value), stored.dtype)
        assign_live(binding, f"{stored.what} {name}", stored, array)
    return keys


def _keys(expected: Mapping[str, Stored], found: Container[Stored], unexpected: list[str]) -> IncompatibleKeys:
    names = {stored: name for name, stored in reversed(list(expected.items()))}
    missing = [names[stored] for stored in dict.fromkeys(expected.values()) if stored not in found]
    return IncompatibleKeys(missing, unexpected)


def _check(model: Module, problems: list[str], keys: IncompatibleKeys, strict: bool) -> None:
    """Raise `RuntimeError` for problems, and where it is `strict` for keys."""
    said = ("missing", "not in the model")
    problems += [f"{what}: {_listed(names)}" for what, names in zip(said, keys) if names and strict]
    if problems:
        more = [f"and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
        lines = "\n  ".join([*problems[:_LISTED], *more])
        raise RuntimeError(located(f"the state dict does not fit {type(model).__name__}\n  {lines}"))


def plain_array(value: Any) -> Array:
    """An array or a tensor of torch, also in bfloat16, as a NumPy array."""
    if torch_name(value) is None:
        return np.asarray(value)
    tensor = value.detach().cpu()
    return np.asarray((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())


def _misfit(name: str, stored: Stored, array: Array) -> str | None:
    """Why an array cannot be the value of what has this name."""
    if tuple(array.shape) != stored.shape:
        return f"{name} has shape {tuple(array.shape)}, the model's is {stored.shape}"
    try:
        fits = is_float(stored.dtype) or np.array_equal(_converted(array, stored.dtype), array)
    except (TypeError, ValueError):
        fits = False
    if not fits or array.dtype.kind in "cOSU":
        return f"{name} is {array.dtype}, which does not become the model's {stored.dtype}"
    return None


def _conflict(name: str, array: Array, before: tuple[str, Array] | None) -> str | None:
    """Why an array cannot be the value of a tied parameter that came under another name before."""
    if before is None or np.array_equal(before[1], array, equal_nan=is_float(array.dtype)):
        return None
    return f"{before[0]} and {name} differ, but are one tied parameter in the model"


def _converted(array: Array, dtype: Any) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(array, dtype=dtype, order="C")


def _listed(names: Any) -> str:
    items = cast("list[str]", list(names))
    shown = ", ".join(map(str, items[:_LISTED]))
    return shown if len(items) <= _LISTED else f"{shown} and {len(items) - _LISTED} more"
