"""Functions that run before and after a module's forward while a program is traced."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..tracing.tracer import located
from .settings import settings_changed

if TYPE_CHECKING:
    from .module import Module

Hook = Callable[..., Any]
_counter = itertools.count()


class RemovableHandle:
    """What `register_forward_hook` gives: `remove()` takes the hook away, as does the end of a `with` block."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks = hooks
        self.id = key

    def remove(self) -> None:
        """Take the hook away; steps that are compiled later are without it."""
        self._hooks.pop(self.id, None)
        settings_changed()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *args: object) -> None:
        self.remove()


class Hooks:
    """The hooks of one module, in the order in which they run: (hook, whether it takes keyword arguments too)."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Hook, bool]] = {}
        self.after: dict[int, tuple[Hook, bool]] = {}

    @staticmethod
    def add(hooks: dict[int, tuple[Hook, bool]], hook: Any, prepend: bool, with_kwargs: bool) -> RemovableHandle:
        """Add `hook`, as the last one or, with `prepend`, as the first. Raises `TypeError` for what is no function."""
        if not callable(hook):
            raise TypeError(located(f"a hook is a function, got {type(hook).__name__}"))
        key = next(_counter)
        others = list(hooks.items())
        hooks[key] = (hook, with_kwargs)
        if prepend:
            hooks.clear()
            hooks.update([(key, (hook, with_kwargs)), *others])
        settings_changed()
        return RemovableHandle(hooks, key)

    def given(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The arguments, as the hooks before leave them. Raises `RuntimeError` where one gives anything else."""
        for hook, with_kwargs in list(self.before.values()):
            result = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if result is None:
                continue
            if not with_kwargs:
                args = result if isinstance(result, tuple) else (result,)
            elif isinstance(result, tuple) and len(result) == 2:
                args, kwargs = result
            else:
                said = "a hook before forward with_kwargs gives None or (args, kwargs)"
                raise RuntimeError(located(f"{said}, got {type(result).__name__}"))
        return args, kwargs

    def returned(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """The result, as the hooks after forward leave it."""
        for hook, with_kwargs in list(self.after.values()):
            other = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
            result = result if other is None else other
        return result
