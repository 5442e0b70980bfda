"""What a module holds, by name: the modules below it, their parameters and buffers, and the initial values of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from ..tracing.errors import UnsupportedError, located
from .binding import current_value
from .parameter import Buffer, Parameter, Stored
from .state_dict import IncompatibleKeys, load_initial_values, state_values

if TYPE_CHECKING:
    from .module import Module


class ModuleTree:
    """The walks of a `Module` over what is inside. Inside `bind`, parameters and buffers are given as their values."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Buffer | None]
    _modules: dict[str, Module | None]

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
        stack: list[tuple[str, Module]] = [("", _module(self))]
        while stack:
            path, module = stack.pop()
            if once and module in seen:
                continue
            seen.add(module)
            yield path, module
            below = [(_joined(path, name), child) for name, child in module.named_children(once=False)]
            if path.count(".") > 500:
                raise ValueError(located(f"the modules contain themselves: {path[:80]}..."))
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
        for path, module in self._walk(set(), once=False) if recurse else [("", _module(self))]:
            for table in (module._parameters, module._buffers):
                result += [(_joined(path, name), stored) for name, stored in table.items() if stored is not None]
        return result

    def persistent_stored(self) -> list[tuple[str, Parameter | Buffer]]:
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
        return _named_values(self, Parameter, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """All parameters, tied ones once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """(name, buffer) for all buffers; arguments as in `named_parameters`."""
        return _named_values(self, Buffer, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """All buffers."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at the path `target`; "" is this one. Raises `AttributeError` where there is none."""
        module = _module(self)
        for name in target.split(".") if target else ():
            found: Any = module._modules[name] if name in module._modules else getattr(module, name)
            if not isinstance(found, ModuleTree):
                raise AttributeError(located(f"{name} of {target} is no module, but {type(found).__name__}"))
            module = _module(found)
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` at the path `target`, with `strict` in place of one that is there.

        Raises `AttributeError` where the path leads to no module, `ValueError` for an empty path or what is no module.
        """
        *path, name = target.split(".")
        if not name or not isinstance(module, ModuleTree):
            what = "an empty path" if not name else f"a {type(module).__name__} for a module"
            raise ValueError(located(f"set_submodule takes the path of a module and a module, got {what}"))
        parent = self.get_submodule(".".join(path))
        if name in parent._modules or strict or hasattr(parent, name):
            parent.get_submodule(name)
        parent.add_module(name, module)

    def get_parameter(self, target: str) -> Any:
        """The parameter of the name `target`. Raises `AttributeError` where there is none."""
        return _stored(self, target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Any:
        """The buffer of the name `target`. Raises `AttributeError` where there is none."""
        return _stored(self, target, "_buffers", "buffer")

    def state_dict(
        self,
        seed: int | None = None,
        *,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """The initial values for a seed, by default 0, as NumPy arrays, by name: parameters, tied ones under each of
        their names, and persistent buffers. Inside a step the values are those of the step.

        Those of training are `step.state_dict()`: where a step was compiled of the model, and no seed is given, a
        warning says so. Names begin with `prefix` as it is, and go into `destination`, if given.
        """
        if keep_vars:
            raise UnsupportedError(located("state_dict gives arrays; write model.named_parameters() for parameters"))
        result = {} if destination is None else destination
        result.update((prefix + name, value) for name, value in state_values(_module(self), seed).items())
        return result

    def given_out(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state dict of this model as those take it who ask for it: arrays of NumPy as they are."""
        return dict(state)

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
        return load_initial_values(_module(self), state_dict, strict, assign)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module inside, innermost first, and on this one."""
        for module in self.children():
            module.apply(fn)
        fn(_module(self))
        return self


def _module(tree: ModuleTree) -> Module:
    return cast("Module", tree)


def _named_values(
    tree: ModuleTree, kind: type[Stored], prefix: str, recurse: bool, once: bool
) -> Iterator[tuple[str, Any]]:
    seen: set[Stored] = set()
    for name, stored in tree.all_stored(recurse):
        if isinstance(stored, kind) and not (once and stored in seen):
            seen.add(stored)
            yield _joined(prefix, name), current_value(stored)


def _stored(tree: ModuleTree, target: str, table: str, kind: str) -> Any:
    path, _, name = target.rpartition(".")
    stored = getattr(tree.get_submodule(path), table).get(name)
    if stored is None:
        raise AttributeError(located(f"{type(tree).__name__} has no {kind} {target!r}"))
    return current_value(stored)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
