"""What a model is made of: modules that hold parameters, buffers and other modules under names."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from ...ir import Array, as_dtype, is_float, spec
from ..tracing.errors import UnsupportedError
from ..tracing.missing_names import of_a_module
from ..tracing.tracer import located
from .binding import assign_buffer, assign_parameter, binding_of, current_value
from .computed import Computed, computed_value
from .hyperparameters import with_plain_numbers
from .parameter import Buffer, Parameter, Stored
from .registration import check_registered
from .settings import settings_changed
from .spelling import drop_torch_argument, torch_arguments
from .state_dict import IncompatibleKeys, load_initial_values, state_values


class Module:
    """The base of all layers and models: a subclass defines `forward`.

    Assigning a `Parameter`, a `Buffer` or a `Module` to an attribute registers it under that name; a list, tuple or
    dict of modules becomes a `ModuleList` or `ModuleDict`. Inside a step the attributes of parameters and buffers give
    their values, so that `x @ self.weight.T` is plain NumPy code. Names are as in PyTorch: `layers.0.weight`.
    """

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Buffer | None]
    _modules: dict[str, Module | None]
    _computed: dict[str, Computed]
    _training: bool
    _by_key: ClassVar[bool] = False
    """Whether what is registered is found by its key alone, and not as an attribute."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls.__init__ is object.__init__:  # which would let any argument pass
            for name in list(kwargs):
                drop_torch_argument(f"nn.{cls.__name__}", kwargs, name)
            if args or kwargs:
                raise TypeError(located(f"{cls.__name__} takes no arguments, got {_listed(args, kwargs)}"))
        # Here, so that a subclass may assign before or without calling super().__init__().
        self = object.__new__(cls)
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _computed={}, _training=True)
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith(f"{__package__}.") and "__init__" in vars(cls):
            cls.__init__ = torch_arguments(with_plain_numbers(cls.__init__))

    # Attributes.

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._computed:
            instead = "nn.utils.parametrize.remove_parametrizations(module, name) makes it a parameter again"
            raise TypeError(located(f"{type(self).__name__}.{name} is computed of other parameters; {instead}"))
        value = _as_container(value)
        kind = next((k for k in (Parameter, Buffer, Module) if isinstance(value, k)), None)
        if kind is not None:
            self._register(name, value, kind)
        elif name in self._parameters and value is None:
            self._parameters[name] = None
        elif name in self._parameters:
            assign_parameter(self, name, self._parameters[name], value)
        elif self._buffers.get(name) is not None:
            assign_buffer(self, name, cast(Buffer, self._buffers[name]), value)
        elif name in self._modules and value is None:
            self._modules[name] = None
        elif name in self._modules:
            raise TypeError(f"{type(self).__name__}.{name} is a module and cannot be assigned {type(value).__name__}")
        elif name == "requires_grad":
            raise AttributeError(located(f"a module has no requires_grad; write module.requires_grad_({value!r})"))
        else:
            object.__setattr__(self, name, value)
            settings_changed()

    def _register(self, name: str, value: Any, kind: type) -> None:
        if not name or "." in name:
            raise ValueError(f"a name in a module is not empty and has no dots, got {name!r}")
        if not self._by_key and (name in _OWN_NAMES or hasattr(type(self), name)):
            raise TypeError(located(_hidden(type(self), name, kind)))
        settings_changed()
        if isinstance(value, Stored) and not value.label:
            value.label = f"{type(self).__name__}.{name}"
        tables: dict[type, dict[str, Any]] = {
            Parameter: self._parameters,
            Buffer: self._buffers,
            Module: self._modules,
        }
        self.__dict__.pop(name, None)
        for other, table in tables.items():
            if other is not kind:
                table.pop(name, None)
        tables[kind][name] = value

    def __getattr__(self, name: str) -> Any:
        stored = self.__dict__.get("_parameters", {})
        if name in stored:
            return None if stored[name] is None else current_value(stored[name])
        stored = self.__dict__.get("_buffers", {})
        if name in stored:
            return None if stored[name] is None else current_value(stored[name])
        modules = self.__dict__.get("_modules", {})
        if name in modules:
            return modules[name]
        if name in self.__dict__.get("_computed", {}):
            return computed_value(self, name)
        instead = of_a_module(name)
        said = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(located(f"{said}; {instead}") if instead else said)

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                settings_changed()
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules, *self._computed})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register `param` under `name`; `None` says that there could be one."""
        if param is None:
            self._register(name, None, Parameter)
        else:
            setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Buffer | Array | None, persistent: bool = True) -> None:
        """Register a buffer under `name`, given as such or as the array that it holds at first. One that is not
        `persistent` is not part of state dicts.
        """
        if tensor is None:
            self._register(name, None, Buffer)
            return
        buffer = tensor if isinstance(tensor, Buffer) else Buffer(np.asarray(tensor))
        buffer.persistent = buffer.persistent and persistent
        setattr(self, name, buffer)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register `module` under `name`."""
        self._register(name, module, Module)

    # Calling.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; a subclass says so."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, ...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        binding = binding_of(self)
        if binding is None:
            return self.forward(*args, **kwargs)
        recorder = binding.recorder
        try:
            with binding.entered(self):
                if recorder is None:
                    return self.forward(*args, **kwargs)
                given = recorder.arrays((args, kwargs))
                result = self.forward(*args, **kwargs)
                recorder.add(binding.paths[self], self, given, result)
                return result
        except Exception as error:
            path = binding.paths[self]
            if path and not getattr(error, "__notes__", None):
                error.add_note(f"in {path}: {type(self).__name__}({self.extra_repr()})")
            raise

    # Modes.

    @property
    def training(self) -> bool:
        """Whether layers such as dropout behave as in training: false in `step.bind`, and after `eval()`."""
        binding = binding_of(self)
        return self._training and (binding is None or binding.mode == "train")

    @training.setter
    def training(self, value: bool) -> None:
        binding = binding_of(self)
        if binding is not None and binding.mode == "eval":
            if value:
                raise RuntimeError(
                    located(
                        "train() has no effect here: what is bound to a step runs in evaluation, and functional_call "
                        "too; write step.bind(fn, training=True), or functional_call(..., training=True)"
                    )
                )
            return  # it is in evaluation, and stays what it was for steps that are compiled later
        self.__dict__["_training"] = bool(value)
        settings_changed()

    def train(self, mode: bool = True) -> Self:
        """Set this module and all below to training, or to evaluation; a step that is compiled later follows it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """The same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters of this module and below in steps that are compiled from now on, or with `False` freeze
        them: they have no gradient and no optimizer state, and keep their values. A step that is compiled already does
        not follow, and says so when it is called.
        """
        for _, parameter in self.stored_parameters():
            parameter.requires_grad_(requires_grad)
        return self

    # What is inside. Inside `bind`, parameters and buffers are given as their values.

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(path, module) for this module, whose path is `prefix`, and all below; each module once, under its first
        path, unless `remove_duplicate` says no. Modules in `memo` are left out; those that are given are added to it.
        """
        for path, module in self._walk(set() if memo is None else memo, remove_duplicate):
            yield _joined(prefix, path), module

    def _walk(self, seen: set[Module], once: bool) -> Iterator[tuple[str, Module]]:
        """(path, module) for every path, depth first, or for those of modules that are met for the first time."""
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if once and module in seen:
                continue
            seen.add(module)
            yield path, module
            below = [(_joined(path, name), child) for name, child in module.named_children(once=False)]
            if path.count(".") > 500:
                raise ValueError(f"the modules contain themselves: {path[:80]}...")
            stack.extend(reversed(below))

    def named_children(self, once: bool = True) -> Iterator[tuple[str, Module]]:
        """(name, module) for the modules directly inside; each once, unless `once=False`."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and not (once and module in seen):
                seen.add(module)
                yield name, module

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below, each once, unless `remove_duplicate` says no."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def children(self) -> Iterator[Module]:
        """The modules directly inside."""
        return (module for _, module in self.named_children())

    def all_stored(self, recurse: bool = True) -> list[tuple[str, Parameter | Buffer]]:
        """(name, parameter or buffer) for every name: a tied parameter comes once for each of its names. Without
        `recurse` those of this module alone.
        """
        result: list[tuple[str, Parameter | Buffer]] = []
        for path, module in self._walk(set(), once=False) if recurse else [("", self)]:
            for table in (module._parameters, module._buffers):
                result += [(_joined(path, name), stored) for name, stored in table.items() if stored is not None]
        return result

    def persistent(self) -> list[tuple[str, Parameter | Buffer]]:
        """As `all_stored`, without the buffers that are not part of state dicts."""
        return [(name, s) for name, s in self.all_stored() if not isinstance(s, Buffer) or s.persistent]

    def stored_parameters(self) -> list[tuple[str, Parameter]]:
        """(name, parameter), each once under its first name, as specs also inside `bind`."""
        return [(name, p) for name, p in self._once() if isinstance(p, Parameter)]

    def stored_buffers(self) -> list[tuple[str, Buffer]]:
        """(name, buffer), each once under its first name, as specs also inside `bind`."""
        return [(name, b) for name, b in self._once() if isinstance(b, Buffer)]

    def _once(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        seen: set[Parameter | Buffer] = set()
        for name, stored in self.all_stored():
            if stored not in seen:
                seen.add(stored)
                yield name, stored

    def tied_names(self) -> dict[str, str]:
        """For every further name of a parameter or buffer that has several, its first name."""
        first: dict[Parameter | Buffer, str] = {}
        result: dict[str, str] = {}
        for name, stored in self.all_stored():
            if first.setdefault(stored, name) != name:
                result[name] = first[stored]
        return result

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """(name, parameter) for all parameters, or without `recurse` for those of this module alone; a tied one once,
        under its first name, unless `remove_duplicate` says no. Names begin with `prefix`.
        """
        return self._values(Parameter, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """All parameters, tied ones once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """(name, buffer) for all buffers; arguments as in `named_parameters`."""
        return self._values(Buffer, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """All buffers."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _values(self, kind: type[Stored], prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[Stored] = set()
        for name, stored in self.all_stored(recurse):
            if isinstance(stored, kind) and not (once and stored in seen):
                seen.add(stored)
                yield _joined(prefix, name), current_value(stored)

    def get_submodule(self, target: str) -> Module:
        """The module at the path `target`; "" is this one. Raises `AttributeError` where there is none."""
        module: Any = self
        for name in target.split(".") if target else ():
            module = getattr(module, name) if name not in module._modules else module._modules[name]
            if not isinstance(module, Module):
                raise AttributeError(located(f"{name} of {target} is no module, but {type(module).__name__}"))
        return module

    def get_parameter(self, target: str) -> Any:
        """The parameter of the name `target`. Raises `AttributeError` where there is none."""
        return self._get(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Any:
        """The buffer of the name `target`. Raises `AttributeError` where there is none."""
        return self._get(target, "_buffers", "buffer")

    def _get(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        stored = getattr(self.get_submodule(path), table).get(name)
        if stored is None:
            raise AttributeError(located(f"{type(self).__name__} has no {kind} {target!r}"))
        return current_value(stored)

    def state_dict(
        self, seed: int = 0, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """The initial values for a seed as NumPy arrays, by name: parameters, tied ones under each of their names, and
        persistent buffers. Those of training are `step.parameters()`.

        Names begin with `prefix` as it is, and go into `destination`, if given. Inside a step the values are those of
        the step.
        """
        if keep_vars:
            raise UnsupportedError(located("state_dict gives arrays; write model.named_parameters() for parameters"))
        result = {} if destination is None else destination
        result.update((prefix + name, value) for name, value in state_values(self, seed).items())
        return result

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Make PyTorch tensors or arrays the initial values by name, converted to the dtypes of the model; with
        `assign` the model takes on theirs. A tied parameter may come under any of its names.

        Returns the names that were missing and those that were not in the model. Raises `RuntimeError` where there are
        such, unless `strict` is False, and where a shape is another; nothing has changed then. A step that was compiled
        before keeps its values, which a warning says: `step.load_state_dict` changes those. In a function of
        `step.bind` the arrays, which may be computed there, become the values of the step: `model.target.
        load_state_dict(model.online.state_dict())`.
        """
        return load_initial_values(self, state_dict, strict, assign)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module inside, innermost first, and on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, dtype: npt.DTypeLike) -> Self:
        """Make all floating-point parameters and buffers float32 or float64."""
        try:
            resolved = as_dtype(dtype)
        except TypeError as error:
            where = "where a program runs is said when it is compiled, target=; a model needs no .to(device)"
            raise TypeError(located(f"model.to takes a dtype, got {dtype!r}; {where}")) from error
        if not is_float(resolved):
            raise TypeError(f"parameters are float32 or float64, not {resolved}")
        for _, stored in self._once():
            if is_float(stored.dtype):
                stored.type = spec(stored.shape, resolved)
        return self

    def check_registered(self) -> None:
        """Raise `TypeError` where modules or parameters hide in what attributes hold, at any depth (lists, dicts,
        objects, closures), or are attributes of a class.
        """
        for module in self.modules():
            for kind in type(module).__mro__:
                for name, value in vars(kind).items():
                    if isinstance(value, (Module, Stored)):
                        raise TypeError(
                            f"{kind.__name__}.{name} is a {type(value).__name__} of the class, which all its instances "
                            f"share and no step would train; write self.{name} = ... in __init__"
                        )
        check_registered(self)

    # Printing.

    def extra_repr(self) -> str:
        """The arguments that are printed; a subclass says which."""
        return ""

    @reprlib.recursive_repr("(itself)")
    def __repr__(self) -> str:
        lines = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({name}): {_indented(repr(module))}" for name, module in self.printed_children()]
        if not children and len(lines) <= 1:
            return f"{type(self).__name__}({''.join(lines)})"
        return "\n".join([f"{type(self).__name__}(", *("  " + line for line in (*lines, *children)), ")"])

    def printed_children(self) -> list[tuple[str, Any]]:
        """(name, module) as they are printed."""
        return list(self._modules.items())


_OWN_NAMES = ("_parameters", "_buffers", "_modules", "_computed", "_training")


def _hidden(kind: type, name: str, registered: type) -> str:
    """Why a name of a class cannot be that of a parameter, buffer or module too."""
    held = getattr(kind, name, None)
    what = "a method" if callable(held) else "a property" if isinstance(held, property) else f"the default {held!r}"
    what = "an attribute of every module" if name in _OWN_NAMES else what
    advice = "" if hasattr(Module, name) or callable(held) else f", or delete {name} from the class"
    return (
        f"{kind.__name__}.{name} cannot be a {registered.__name__.lower()}: it is {what} of the class, which "
        f"self.{name} would go on to give; use another name{advice}"
    )


def _listed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return ", ".join((*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _as_container(value: Any) -> Any:
    """A list, tuple or dict of modules as a module; anything else as it is."""
    if not isinstance(value, (list, tuple, dict)) or not value or hasattr(value, "_fields"):
        return value  # the parts of a named tuple go by their names, which a list has not
    items = cast("list[Any]", list(value.values() if isinstance(value, dict) else value))
    if not all(isinstance(item, Module) for item in items):
        return value
    from .containers import ModuleDict, ModuleList

    return ModuleDict(cast("dict[str, Module]", value)) if isinstance(value, dict) else ModuleList(items)
