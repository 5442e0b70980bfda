"""Attributes of modules that are computed of parameters and buffers whenever they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..tracing.tracer import current_trace
from .binding import binding_of
from .parameter import Stored

if TYPE_CHECKING:
    from .module import Module


class Computed(Protocol):
    """The rule of one attribute."""

    def value(self, module: Module) -> Any:
        """Its value inside a binding; buffers may be assigned there."""
        ...

    def stored(self, module: Module) -> Stored:
        """What stands for it where there are no values: of the same shape and dtype."""
        ...


def computed_value(module: Module, name: str) -> Any:
    """An attribute's value, which is computed once in each call of its module; outside a binding a parameter."""
    rule = module._computed[name]
    binding = binding_of(module)
    if binding is None:
        return rule.stored(module)
    kept = binding.computed.get(module, {})  # what another trace computed has no meaning in this one
    key = (name, current_trace())
    if key not in kept:
        kept[key] = rule.value(module)
    return kept[key]
