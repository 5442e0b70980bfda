"""Parametrizations: a parameter that modules compute of another one, as `torch.nn.utils.parametrize` has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ....ir import Array, DType
from ...tracing.missing_names import attributes_of
from ...tracing.tracer import located
from ..binding import functional_call
from ..containers import ModuleDict, ModuleList, checked_module
from ..init import Initializer
from ..module import Module
from ..parameter import Parameter, Stored

__all__ = [
    "ParametrizationList",
    "add_list",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "stored_parameter",
]

_TABLE = "parametrizations"


class ParametrizationList(ModuleList):
    """The modules that compute a parameter, one after another, of `original`, or of `original0`, `original1`, ..."""

    def __init__(self, modules: list[Module], originals: dict[str, Parameter], described_by: str) -> None:
        super().__init__(modules)
        for name, parameter in originals.items():
            setattr(self, name, parameter)
        self._names = tuple(originals)
        self._described_by = described_by

    @property
    def described_by(self) -> Parameter:
        """The original that has the shape of the result."""
        return cast(Parameter, self._parameters[self._described_by])

    def forward(self) -> Any:
        value: Any = None
        for i, module in enumerate(self):
            value = module(*(getattr(self, name) for name in self._names)) if i == 0 else module(value)
        return value


class _ByList:
    """An attribute that the list of its name computes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def value(self, module: Module) -> Any:
        """What the list computes."""
        result = _list_of(module, self._name)()
        stored = self.stored(module)
        if tuple(result.shape) != stored.shape or result.dtype != stored.dtype:
            got = f"{result.dtype} of shape {tuple(result.shape)}"
            raise TypeError(located(f"the parametrization of {self._name} made it {got}, it is {stored.type}"))
        return result

    def stored(self, module: Module) -> Stored:
        """The original."""
        return _list_of(module, self._name).described_by


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let `parametrization(original)` be the parameter `tensor_name` of a module from now on; returns the module.

    The parameter goes on as `module.parametrizations.<tensor_name>.original`, and keeps its shape and dtype. A second
    parametrization is applied to what the first gives. Where it has a `right_inverse(value)`, the original begins as
    that of the initial value. In a step the value is computed once in each call of the module. Raises `ValueError`
    where there is no such parameter.
    """
    checked_module(parametrization)
    if unsafe:
        raise NotImplementedError(located("a parametrization keeps shape and dtype: unsafe=True is not supported"))
    inverse = getattr(parametrization, "right_inverse", None)
    if is_parametrized(module, tensor_name):
        found = _list_of(module, tensor_name)
        if len(found._names) > 1 and inverse is not None:
            raise NotImplementedError(located("right_inverse behind a parametrization of several parameters"))
        _invert(found.described_by, inverse)
        found.append(parametrization)
        return module
    parameter = stored_parameter(module, tensor_name)
    _invert(parameter, inverse)
    return add_list(module, tensor_name, ParametrizationList([parametrization], {"original": parameter}, "original"))


def _invert(parameter: Parameter, inverse: Any) -> None:
    if inverse is not None:
        parameter.initialize(partial(_inverted, draw=parameter.initializer, inverse=inverse))


def _inverted(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: DType, draw: Initializer, inverse: Any
) -> Array:
    return np.asarray(inverse(draw(generator, shape, dtype)), dtype)


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make `tensor_name` a plain parameter again, which begins as what was computed of the initial values, or without
    `leave_parametrized` as the original; returns the module.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(located(f"{type(module).__name__} has no parametrization of {tensor_name!r}"))
    found = _list_of(module, tensor_name)
    parameter = found.described_by
    if not leave_parametrized and len(found._names) > 1:
        raise ValueError(located(f"{tensor_name} is computed of {', '.join(found._names)}, none of which it can be"))
    if leave_parametrized:
        like = Parameter(parameter.type, requires_grad=parameter.requires_grad)
        parameter = like.initialize(partial(_computed_first, computed_by=found))
    del module._computed[tensor_name]
    lists = cast(ModuleDict, module._modules[_TABLE])
    del lists[tensor_name]
    if not len(lists):
        delattr(module, _TABLE)
    setattr(module, tensor_name, parameter)
    return module


def _computed_first(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: DType, computed_by: ParametrizationList
) -> Array:
    return functional_call(computed_by, computed_by.state_dict(int(generator.integers(2**31))))


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a parameter of a module, or the one of this name, has a parametrization."""
    lists = module._modules.get(_TABLE)
    if not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


@contextmanager
def cached() -> Iterator[None]:
    """Nothing to do here: in a step a value is computed once in each call of its module."""
    yield


def stored_parameter(module: Module, name: str) -> Parameter:
    """A parameter of a module as it is stored. Raises `ValueError` where there is none of this name."""
    parameter = module._parameters.get(name)
    if parameter is None:
        there = ", ".join(n for n, p in module._parameters.items() if p is not None) or "none"
        raise ValueError(located(f"{type(module).__name__} has no parameter {name!r} of its own; there is {there}"))
    return parameter


def add_list(module: Module, name: str, computed_by: ParametrizationList) -> Module:
    """Let a list compute the attribute `name` instead of a parameter; returns the module."""
    del module._parameters[name]
    if _TABLE not in module._modules:
        module.add_module(_TABLE, ModuleDict())
    cast(ModuleDict, module._modules[_TABLE])[name] = computed_by
    module._computed[name] = _ByList(name)
    return module


def _list_of(module: Module, name: str) -> ParametrizationList:
    return cast(ParametrizationList, cast(ModuleDict, module._modules[_TABLE])[name])


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "nn.utils.parametrize")
__dir__ = __all__.copy
