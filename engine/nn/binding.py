"""Giving a model values: inside `bind`, the attributes that name parameters and buffers are arrays."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...ir import Array
from ..tracing.tracer import Trace, current_trace, located, scope
from .calls import CallRecorder
from .init import constant
from .parameter import Buffer, Parameter, Stored

if TYPE_CHECKING:
    from .module import Module

Mode = Literal["train", "eval"]


@dataclass(eq=False)
class Binding:
    """The values of a model's parameters and buffers. `updates` has what was assigned, to some of `assignable`."""

    values: dict[Stored, Any]
    mode: Mode
    paths: dict[Module, str]
    base: str
    assignable: Collection[Stored]
    updates: dict[Stored, Any] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    was_entered: bool = False
    """Whether a module was called."""
    records: dict[str, Any] = field(default_factory=dict)
    """What `record` named, below the paths of modules."""
    recorder: CallRecorder | None = None
    """Where calls of modules are written down."""
    computed: dict[Module, dict[Any, Any]] = field(default_factory=dict)
    """For modules that run, the attributes that they have computed."""

    def value(self, stored: Stored) -> Any:
        """The value of a parameter or buffer after all assignments so far."""
        return self.updates.get(stored, self.values[stored])

    def buffer(self, buffer: Buffer) -> Any:
        """The value of `buffer` after all assignments so far."""
        return self.value(buffer)

    @staticmethod
    def _rounding(trace: Trace | None) -> AbstractContextManager[None]:
        """What makes activations of what is traced inside, where the program is of mixed precision."""
        return nullcontext() if trace is None or trace.precision is None else trace.precision.module()

    @contextmanager
    def entered(self, module: Module) -> Iterator[None]:
        """Put what is traced inside under the path of `module`."""
        path = self.paths[module]
        self.was_entered = True
        outer = self.active[-1] if self.active else ""
        trace = current_trace()
        before = trace.scope if trace else ""
        name = path
        if path == outer or not outer or path.startswith(outer + "."):
            name = path[len(outer) :].lstrip(".")
        elif trace:
            # A module that is used outside its parent is still known by its own path.
            trace.scope = self.base
        self.active.append(path)
        around, self.computed[module] = self.computed.get(module), {}
        try:
            with scope(name), self._rounding(trace):
                yield
        finally:
            self.active.pop()
            if around is None:
                del self.computed[module]
            else:
                self.computed[module] = around
            if trace:
                trace.scope = before


class _Stack(threading.local):
    def __init__(self) -> None:
        self.bindings: list[Binding] = []


_stack = _Stack()


def current_value(stored: Stored) -> Any:
    """The value of `stored` in the innermost binding that has one, else `stored` itself."""
    for binding in reversed(_stack.bindings):
        if stored in binding.values:
            return binding.value(stored)
    return stored


def innermost_binding() -> Binding | None:
    """The binding that was entered last."""
    return _stack.bindings[-1] if _stack.bindings else None


def binding_of(module: Module) -> Binding | None:
    """The innermost binding of a model that `module` is part of."""
    for binding in reversed(_stack.bindings):
        if module in binding.paths:
            return binding
    return None


def assign_buffer(module: Module, name: str, buffer: Buffer, value: Any) -> None:
    """Make `value` the content of `buffer`: inside a binding from then on, else its initial value."""
    binding = _binding_with(buffer)
    if binding is not None:
        assign_live(binding, _place(module, name, buffer, binding), buffer, value)
    else:
        value = _fitting(_place(module, name, buffer, None), buffer, value, False)
        buffer.initialize(constant(np.array(value, dtype=buffer.dtype)))


def assign_parameter(module: Module, name: str, parameter: Parameter | None, value: Any) -> None:
    """Make `value` the content of `parameter` from then on, inside a binding that does not train it."""
    binding = None if parameter is None else _binding_with(parameter)
    if parameter is None or binding is None:
        what = f"{type(module).__name__}.{name} is a parameter and cannot be assigned an array"
        instead = f"the optimizer updates it, and nn.init.constant_(module.{name}, array) sets its initial value"
        raise TypeError(located(f"{what}; {instead}"))
    assign_live(binding, _place(module, name, parameter, binding), parameter, value)


def assign_live(binding: Binding, place: str, stored: Stored, value: Any) -> None:
    """Make `value` the content of `stored` from then on. Raises where the binding leaves it as it is, `TypeError` for
    another shape or dtype.
    """
    if stored in binding.assignable:
        binding.updates[stored] = _fitting(place, stored, value, True)
    elif isinstance(stored, Parameter):
        what = f"{place} cannot be assigned an array here, where the optimizer updates it"
        instead = "a step leaves one to you that it does not train, and so does a function of step.bind"
        raise TypeError(located(f"{what}; {instead}"))
    else:
        what = f"{place} is assigned in eval mode, where nothing is updated"
        instead = "write it under `if self.training:`, or bind the function to a step, which it then updates"
        raise RuntimeError(located(f"{what}; {instead}"))


def _binding_with(stored: Stored) -> Binding | None:
    return next((b for b in reversed(_stack.bindings) if stored in b.values), None)


def _place(module: Module, name: str, stored: Stored, binding: Binding | None) -> str:
    path = binding.paths.get(module, "") if binding else ""
    return f"{stored.what} {path}.{name}" if path else f"{stored.what} {name}"


def _fitting(where: str, stored: Stored, value: Any, exactly: bool) -> Any:
    """The value as an array, once its shape, and with `exactly` its dtype, is seen to be that of `stored`."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        value = np.asarray(value)
        shape, dtype = value.shape, value.dtype
    if tuple(shape) != stored.shape or (exactly and dtype != stored.dtype):
        message = f"{where} is {stored.type} and stays so, it cannot become {dtype} of shape {tuple(shape)}"
        raise TypeError(
            located(f"{message}; write value.astype({str(stored.dtype)!r}) or value.reshape({stored.shape})")
        )
    return value


@contextmanager
def bind(
    model: Module,
    values: Mapping[Any, Any],
    mode: Mode = "train",
    recorder: CallRecorder | None = None,
    assignable: Collection[Stored] | None = None,
) -> Iterator[Binding]:
    """Inside the block, `model` computes with `values`: `{parameter or buffer: array or traced array}`.

    In mode "train" each module follows its own `training` flag (true unless `eval()` was called on it); in mode "eval"
    none is training. What is `assignable` may be assigned: by default the buffers in "train", and nothing in "eval".
    The binding holds for the current thread. A `recorder` is told of every call of a module. Raises `TypeError` for
    modules or parameters that were put in a list or dict where the model cannot see them.
    """
    if mode not in ("train", "eval"):
        raise ValueError(located(f"mode is 'train' or 'eval', not {mode!r}"))
    model.check_registered()
    trace = current_trace()
    paths = {module: path for path, module in model.named_modules()}
    if assignable is None:
        assignable = [stored for stored in values if isinstance(stored, Buffer)] if mode == "train" else ()
    base = trace.scope if trace else ""
    around = binding_of(model)
    if recorder is None and around is not None and around.recorder is not None:
        recorder = around.recorder.within(around.paths[model])
    binding = Binding(dict(values), mode, paths, base, frozenset(assignable), recorder=recorder)
    _stack.bindings.append(binding)
    try:
        yield binding
    finally:
        _stack.bindings.remove(binding)


def init_parameters(model: Module, seed: int = 0) -> dict[str, Array]:
    """The initial value of every parameter, by name. A parameter's depends on `seed` and its own name alone."""
    return {name: parameter.initial(name, seed) for name, parameter in model.stored_parameters()}


def init_buffers(model: Module, seed: int = 0) -> dict[str, Array]:
    """The initial value of every buffer, by name."""
    return {name: buffer.initial(name, seed) for name, buffer in model.stored_buffers()}


def functional_call(model: Module, values: Mapping[str, Any], *args: Any, training: bool = False, **kwargs: Any) -> Any:
    """`model(*args, **kwargs)` with the parameters and buffers given by name: arrays, or traced arrays in `gl.grad`.

    A tied parameter may come under any of its names. Buffers that are not given have their initial values; what a
    forward in training assigns to buffers is dropped (use `bind` to get it). Raises `TypeError` that lists the names
    that are missing, unknown or of another shape.
    """
    by_name = dict(model.all_stored())
    missing = {p for _, p in model.stored_parameters()}
    bound: dict[Stored, Any] = {}
    problems: list[str] = []
    for name, value in values.items():
        stored = by_name.get(name)
        if stored is None:
            problems.append(f"{name} is not in the model")
            continue
        if not hasattr(value, "shape"):
            value = np.asarray(value)
        if tuple(value.shape) != stored.shape:
            problems.append(f"{name} has shape {tuple(value.shape)}, expected {stored.shape}")
        if stored in bound and bound[stored] is not value:
            problems.append(f"{name} is tied to a parameter that is given already, as another array")
        bound[stored] = value
        if isinstance(stored, Parameter):
            missing.discard(stored)
    names = [name for name, p in model.stored_parameters() if p in missing]
    problems += [f"{name} is missing" for name in names]
    if problems:
        raise TypeError(located("the values do not fit the model: " + "; ".join(problems)))
    for name, buffer in model.stored_buffers():
        if buffer not in bound:
            bound[buffer] = buffer.initial(name)
    with bind(model, bound, "train" if training else "eval"):
        return model(*args, **kwargs)
