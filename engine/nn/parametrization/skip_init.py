"""A module whose initial values nobody will read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ...tracing.tracer import located
from ..module import Module

P = ParamSpec("P")
M = TypeVar("M", bound=Module)


def skip_init(module_cls: Callable[P, M], *args: P.args, **kwargs: P.kwargs) -> M:
    """`module_cls(*args, **kwargs)`: no module draws anything when it is made, and what is loaded is never drawn.

    Raises `TypeError` for what is no class of modules.
    """
    kind: Any = module_cls
    if not (isinstance(kind, type) and issubclass(kind, Module)):
        raise TypeError(located(f"skip_init: a class of modules is expected, got {module_cls!r}"))
    return module_cls(*args, **kwargs)
