"""What a model is made of: modules that hold parameters, buffers and other modules under names."""

from __future__ import annotations

import inspect
import reprlib
from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from ...ir import Array, as_dtype, is_float
from ..tracing.errors import UnsupportedError
from ..tracing.missing_names import of_a_module
from ..tracing.tracer import located
from .binding import assign_buffer, assign_parameter, binding_of, current_value
from .computed import Computed, computed_value
from .hooks import Hook, Hooks, RemovableHandle
from .hyperparameters import with_plain_numbers
from .in_place import in_place_where_said
from .module_html import module_html
from .module_tree import ModuleTree
from .parameter import Buffer, Parameter, Stored
from .registration import check_registered
from .settings import settings_changed
from .spelling import drop_torch_argument, torch_arguments


class Module(ModuleTree):
    """The base of all layers and models: a subclass defines `forward`.

    Assigning a `Parameter`, a `Buffer` or a `Module` to an attribute registers it under that name; a list, tuple or
    dict of modules becomes a `ModuleList` or `ModuleDict`. Inside a step the attributes of parameters and buffers give
    their values, so that `x @ self.weight.T` is plain NumPy code. Names are as in PyTorch: `layers.0.weight`.
    """

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
        if not cls.__module__.startswith(f"{__package__}."):
            return
        if "__init__" in vars(cls):
            cls.__init__ = torch_arguments(with_plain_numbers(cls.__init__))
        if "forward" in vars(cls) and "inplace" in inspect.signature(cls.__init__).parameters:
            cls.forward = in_place_where_said(cls.forward)

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
            raise TypeError(
                located(f"{type(self).__name__}.{name} is a module and cannot be assigned {type(value).__name__}")
            )
        elif name == "requires_grad":
            raise AttributeError(located(f"a module has no requires_grad; write module.requires_grad_({value!r})"))
        else:
            object.__setattr__(self, name, value)
            settings_changed()

    def _register(self, name: str, value: Any, kind: type) -> None:
        if not name or "." in name:
            raise ValueError(located(f"a name in a module is not empty and has no dots, got {name!r}"))
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
        raise AttributeError(located(f"{said}; {instead}") if instead else said, name=name, obj=self)

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

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # Calling.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; a subclass says so."""
        raise NotImplementedError(located(f"{type(self).__name__} defines no forward(self, ...)"))

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before each forward, or `hook(module, args, kwargs)`, in steps that are compiled
        from now on, while they are traced. It may give other arguments: a tuple, a single one, or (args, kwargs).
        """
        return Hooks.add(self._own_hooks().before, hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after each forward, or `hook(module, args, kwargs, output)`, in steps that
        are compiled from now on, while they are traced. It may give another output.

        `always_call`, for a forward that fails, is not taken: an error while tracing ends the trace.
        """
        if always_call:
            raise UnsupportedError(located("always_call=True: an error in forward ends the trace, and no hook runs"))
        return Hooks.add(self._own_hooks().after, hook, prepend, with_kwargs)

    def _own_hooks(self) -> Hooks:
        return self.__dict__.setdefault("_hooks", Hooks())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        binding = binding_of(self)
        if binding is None:
            return self._hooked(*args, **kwargs)
        recorder = binding.recorder
        try:
            with binding.entered(self):
                if recorder is None:
                    return self._hooked(*args, **kwargs)
                given = recorder.arrays((args, kwargs))
                result = self._hooked(*args, **kwargs)
                recorder.add(binding.paths[self], self, given, result)
                return result
        except Exception as error:
            path = binding.paths[self]
            if path and not getattr(error, "__notes__", None):
                error.add_note(f"in {path}: {type(self).__name__}({self.extra_repr()})")
            raise

    def _hooked(self, *args: Any, **kwargs: Any) -> Any:
        """What forward gives, with the hooks around it."""
        hooks: Hooks | None = self.__dict__.get("_hooks")
        if hooks is None:
            return self.forward(*args, **kwargs)
        args, kwargs = hooks.given(self, args, kwargs)
        return hooks.returned(self, args, kwargs, self.forward(*args, **kwargs))

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

    # Dtypes and checks.

    def float(self) -> Self:
        """The same as `to("float32")`."""
        return self.to("float32")

    def double(self) -> Self:
        """The same as `to("float64")`."""
        return self.to("float64")

    def to(self, dtype: npt.DTypeLike) -> Self:
        """Make all floating-point parameters and buffers float32 or float64."""
        try:
            resolved = as_dtype(dtype)
        except TypeError as error:
            where = "where a program runs is said when it is compiled, target=; a model needs no .to(device)"
            raise TypeError(located(f"model.to takes a dtype, got {dtype!r}; {where}")) from error
        if not is_float(resolved):
            raise TypeError(located(f"parameters are float32 or float64, not {resolved}"))
        for _, stored in self._once():
            if is_float(stored.dtype):
                stored.cast(resolved)
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
                            located(
                                f"{kind.__name__}.{name} is a {type(value).__name__} of the class, which all its "
                                f"instances share and no step would train; write self.{name} = ... in __init__"
                            )
                        )
        check_registered(self)

    # Printing.

    def extra_repr(self) -> str:
        """The arguments that are printed; a subclass says which."""
        return ""

    @reprlib.recursive_repr("(itself)")
    def __repr__(self) -> str:
        said = ", ".join(filter(None, [self.extra_repr(), "inplace=True" if self.__dict__.get("inplace") else ""]))
        lines = said.split("\n") if said else []
        children = [f"({name}): {_indented(repr(module))}" for name, module in self.printed_children()]
        if not children and len(lines) <= 1:
            return f"{type(self).__name__}({''.join(lines)})"
        return "\n".join([f"{type(self).__name__}(", *("  " + line for line in (*lines, *children)), ")"])

    def _repr_html_(self) -> str:
        return module_html(self)

    def printed_children(self) -> list[tuple[str, Any]]:
        """(name, module) as they are printed."""
        return list(self._modules.items())


_OWN_NAMES = ("_parameters", "_buffers", "_modules", "_computed", "_training", "_hooks")


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
