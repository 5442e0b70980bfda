"""A module of torch as a model: parameters and buffers under torch's names, and a forward that traces its export."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from ...ir import BFLOAT16
from ..nn.binding import current_value
from ..nn.module import Module
from ..nn.parameter import Buffer, Parameter, Stored
from ..tracing.errors import located
from .dtypes import numpy_array
from .programs import Programs
from .torch_package import torch_package


class _Part(Module):
    """A module inside one of torch's: it holds parameters and buffers, and is run as a part of the whole."""

    _by_key: ClassVar[bool] = True
    _shown: str

    def extra_repr(self) -> str:
        return self._shown

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            located("a part of a module of torch is not run by itself; export it by gl.from_torch too")
        )


class TorchModule(_Part):
    """A module of torch that was exported by `gl.from_torch`.

    Parameters and buffers have torch's names and, at first, its values. A call takes what the module's `forward` takes.
    """

    _programs: Programs
    _stored: dict[str, Stored]

    @property
    def torch_module(self) -> Any:
        """The module of torch."""
        return self._programs.module

    @property
    def kept_arguments(self) -> dict[str, Any]:
        """The keyword arguments that hold for all calls."""
        return self._programs.kept

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._programs.traced(self, args, kwargs, self.training)

    def value(self, name: str) -> Any:
        """The value of a parameter or buffer by torch's name."""
        return current_value(self._stored[name])

    def assign(self, name: str, value: Any) -> None:
        """Make an array the content of a buffer from here on."""
        path, _, own = name.rpartition(".")
        setattr(self.get_submodule(path), own, value)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As `Module.state_dict`, of tensors of torch, which the module's `load_state_dict` takes."""
        return self.given_out(super().state_dict(*args, **kwargs))

    def given_out(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays by name as tensors of torch."""
        torch = torch_package()
        return {name: torch.from_numpy(value) if _is_plain(value) else value for name, value in state.items()}

    def to(self, dtype: Any) -> NoReturn:
        """Raises `TypeError`: what was exported has its dtypes in its ops."""
        name = str(dtype).rpartition(".")[2]
        instead = f"write gl.from_torch(module.to(torch.{name}), ...)"
        raise TypeError(located(f"a module of torch is converted before it is exported; {instead}"))


def _is_plain(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "flags")


@functools.cache
def _class_named(name: str, base: type) -> type:
    """A class whose instances are shown as what they are in torch."""
    return type(name, (base,), {"__module__": base.__module__, "__doc__": base.__doc__})


def model_of(module: Any, programs: Programs) -> TorchModule:
    """The model of a module: parts, parameters and buffers as torch has them, tied ones tied. Raises `TypeError` for a
    dtype that there is not here.
    """
    made: dict[int, Any] = {}
    stored: dict[int, Stored] = {}
    by_name: dict[str, Stored] = {}
    model = _built(module, "", TorchModule, made, stored, by_name)
    model.__dict__["_programs"] = programs
    model.__dict__["_stored"] = by_name
    return model


def _built(
    module: Any, path: str, base: type, made: dict[int, Any], stored: dict[int, Stored], by_name: dict[str, Stored]
) -> Any:
    part: Any = made.get(id(module))
    if part is None:
        part = made[id(module)] = _class_named(type(module).__name__, base)()
        part.__dict__["_shown"] = module.extra_repr() if type(module).__module__.startswith("torch.nn") else ""
    for name, tensor in module._parameters.items():
        part._parameters[name] = None if tensor is None else _entered(path + name, tensor, module, stored)
        by_name |= {path + name: part._parameters[name]} if tensor is not None else {}
    for name, tensor in module._buffers.items():
        part._buffers[name] = None if tensor is None else _entered(path + name, tensor, module, stored)
        by_name |= {path + name: part._buffers[name]} if tensor is not None else {}
    for name, child in module._modules.items():
        below = None if child is None else _built(child, f"{path}{name}.", _Part, made, stored, by_name)
        part._modules[name] = below
    return part


def _entered(name: str, tensor: Any, module: Any, stored: dict[int, Stored]) -> Stored:
    found = stored.get(id(tensor))
    if found is not None:
        return found
    try:
        array = numpy_array(tensor)
        if array.dtype == BFLOAT16:
            raise TypeError(f"{tensor.dtype} is not what parameters and buffers are stored in")
        if type(tensor).__name__ == "Parameter" or tensor.requires_grad:
            made: Stored = Parameter(array, requires_grad=tensor.requires_grad)
        else:
            last = name.rpartition(".")[2]
            made = Buffer(array, persistent=last not in module._non_persistent_buffers_set)
    except (TypeError, RuntimeError) as error:
        instead = "; convert the module first: module.float()" if "float" in str(tensor.dtype) else ""
        raise TypeError(located(f"{name} of {type(module).__name__}: {error}{instead}")) from None
    made.label = name
    stored[id(tensor)] = made
    return made
