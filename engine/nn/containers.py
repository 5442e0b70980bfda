"""Modules that hold modules."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, ClassVar, Self, cast, overload

import numpy as np

from ..tracing.tracer import located
from .binding import binding_of, current_value
from .module import Module
from .parameter import Parameter
from .registration import instead_of_torch, torch_name
from .settings import settings_changed


class _Indexed(Module):
    """Modules under the names "0", "1", ..."""

    def _listed(self) -> list[Module]:
        return [cast(Module, module) for module in self._modules.values()]

    def _position(self, index: int) -> str:
        length = len(self._modules)
        place = operator.index(index)
        if not -length <= place < length:
            raise IndexError(located(f"index {place} is out of range for {length} modules"))
        return list(self._modules)[place]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._listed())

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    @overload
    def __getitem__(self, index: int) -> Module: ...

    def __getitem__(self, index: int | slice) -> Module | Self:
        if isinstance(index, slice):
            return self._sliced(list(self._modules.items())[index])
        return cast(Module, self._modules[self._position(index)])

    def _sliced(self, items: list[tuple[str, Module | None]]) -> Self:
        return cast(Any, type(self))([module for _, module in items])

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._position(index), checked_module(module))

    def __delitem__(self, index: int | slice) -> None:
        """Take modules out; the others are numbered anew, as in torch."""
        listed = self._listed()
        del listed[index if isinstance(index, slice) else list(self._modules).index(self._position(index))]
        self._modules.clear()
        settings_changed()
        self.extend(listed)

    def pop(self, key: int) -> Module:
        """Take the module at `key` out, and give it. Raises `IndexError` where there is none."""
        module = self[key]
        del self[key]
        return module

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def append(self, module: Module) -> Self:
        """Add `module` at the end."""
        self.add_module(str(len(self._modules)), checked_module(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add `modules` at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Insert `module` before `index`."""
        listed = self._listed()
        listed.insert(index, checked_module(module))
        self._modules.clear()
        self.extend(listed)


def checked_module(module: Any) -> Module:
    """`module`. Raises `TypeError` where it is none, which says what to write."""
    if not isinstance(module, Module):
        name = torch_name(module)
        if name is not None:
            raise TypeError(located(f"expected a module of gl.nn, got a {name}; {instead_of_torch(name)}"))
        what = f"the class {module.__name__}; write {module.__name__}(...)" if isinstance(module, type) else None
        function = "a function; write a Module whose forward calls it" if callable(module) else type(module).__name__
        raise TypeError(located(f"expected a module, got {what or function}"))
    return module


class Container(Module):
    """Modules under names that are given as keywords; torch's oldest container."""

    def __init__(self, **kwargs: Module) -> None:
        for name, module in kwargs.items():
            self.add_module(name, checked_module(module))


class Sequential(_Indexed):
    """The modules one after another: `Sequential(Linear(4, 8), ReLU())`, or of a dict of named modules."""

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, checked_module(module))
        else:
            self.extend(cast("tuple[Module, ...]", modules))

    def _sliced(self, items: list[tuple[str, Module | None]]) -> Self:
        return type(self)(cast("dict[str, Module]", dict(items)))

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *other)

    def __mul__(self, other: int) -> Sequential:
        """The same modules so many times, one after another."""
        return Sequential(*self._listed() * self._times(other))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Self:
        return self.extend(self._listed() * (self._times(other) - 1))

    def _times(self, count: int) -> int:
        if operator.index(count) < 1:
            raise ValueError(located(f"a Sequential is repeated once or more, got {count}"))
        return operator.index(count)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input


class ModuleList(_Indexed):
    """A list of modules; `forward` is the business of the module around it."""

    def __init__(self, modules: Iterable[Any] = ()) -> None:
        self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def printed_children(self) -> list[tuple[str, Any]]:
        result: list[tuple[str, Any]] = []
        for text, group in groupby(self._modules.items(), key=lambda item: repr(item[1])):
            names = [name for name, _ in group]
            if len(names) == 1:
                result.append((names[0], self._modules[names[0]]))
            else:
                result.append((f"{names[0]}-{names[-1]}", _Repeated(f"{len(names)} x {text}")))
        return result


class _Repeated:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class ModuleDict(Module):
    """Modules by name; `forward` is the business of the module around it."""

    _by_key: ClassVar[bool] = True

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add `modules`."""
        if not isinstance(modules, Mapping):
            raise TypeError(located(f"a ModuleDict is made of a dict of modules, got {type(modules).__name__}"))
        for name, module in modules.items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        return cast(Module, self._modules[name])

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str):
            raise TypeError(located(f"the names in a ModuleDict are strings, got {name!r}"))
        self.add_module(name, checked_module(module))

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        settings_changed()

    def pop(self, key: str) -> Module:
        """Take the module `key` out, and give it. Raises `KeyError` where there is none."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()
        settings_changed()

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> list[Module]:
        """The modules."""
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, Module]]:
        """(name, module)."""
        return [(name, self[name]) for name in self]


class ParameterList(Module):
    """A list of parameters; an array becomes one."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.extend(values)

    def append(self, value: Any) -> Self:
        """Add a parameter at the end."""
        setattr(self, str(len(self._parameters)), _as_parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add parameters at the end."""
        for value in values:
            self.append(value)
        return self

    def __iadd__(self, other: Iterable[Any]) -> Self:
        return self.extend(other)

    def __len__(self) -> int:
        return len(self._parameters)

    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...

    @overload
    def __getitem__(self, index: int) -> Any: ...

    def __getitem__(self, index: int | slice) -> Any:
        names = list(self._parameters)
        if isinstance(index, slice):
            return ParameterList([self._parameters[name] for name in names[index]])
        return getattr(self, names[operator.index(index)])

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, list(self._parameters)[operator.index(index)], _as_parameter(value))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {parameter!r}" for name, parameter in self._parameters.items())


def _as_parameter(value: Any) -> Parameter:
    if isinstance(value, np.ndarray):
        return Parameter(cast(Any, value))
    if not isinstance(value, Parameter):
        raise TypeError(located(f"expected a parameter, or an array that becomes one, got {type(value).__name__}"))
    return value


class ParameterDict(Module):
    """Parameters by name, in the order in which they came; inside a step they are values. What is no parameter is made
    one, as in torch. A name has no dots.
    """

    _by_key: ClassVar[bool] = True

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        self.update(parameters or {})

    def __getitem__(self, key: str) -> Any:
        stored = self._parameters[key]
        return None if stored is None else current_value(stored)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(located(f"the names in a ParameterDict are strings, got {key!r}"))
        if key in self._parameters and not isinstance(value, Parameter) and binding_of(self) is not None:
            setattr(self, key, value)  # a value of a running program
            return
        self._register(key, value if isinstance(value, Parameter) else Parameter(np.asarray(value)), Parameter)

    def __delitem__(self, key: str) -> None:
        del self._parameters[key]
        settings_changed()

    def __contains__(self, key: object) -> bool:
        return key in self._parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._parameters))

    def __len__(self) -> int:
        return len(self._parameters)

    def __or__(self, other: ParameterDict) -> ParameterDict:
        return ParameterDict({**self._parameters, **other._parameters})

    def __ior__(self, other: ParameterDict) -> Self:
        self.update(other._parameters)
        return self

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._parameters.keys()

    def values(self) -> list[Any]:
        """The parameters."""
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, Any]]:
        """(name, parameter)."""
        return [(name, self[name]) for name in self]

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of the name `key`, or `default`."""
        if key in self:
            return self[key]
        return default

    def pop(self, key: str) -> Any:
        """Remove the parameter of the name `key`, and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last parameter, and return it with its name."""
        name = next(reversed(self))
        return name, self.pop(name)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter of the name `key`, which is made of `default` where there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Remove all parameters."""
        self._parameters.clear()
        settings_changed()

    def copy(self) -> ParameterDict:
        """Another dict of the same parameters."""
        return ParameterDict(dict(self._parameters))

    @staticmethod
    def fromkeys(keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A dict in which each of `keys` has a parameter of `default`."""
        return ParameterDict(dict.fromkeys(keys, default))

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add `parameters`, which replace those of the same names."""
        if isinstance(parameters, ParameterDict):
            pairs: list[tuple[str, Any]] = list(parameters._parameters.items())
        else:
            pairs = list(dict(parameters).items())
        for key, value in pairs:
            self[key] = value

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {parameter!r}" for name, parameter in self._parameters.items())
