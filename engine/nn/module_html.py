"""A model in a notebook: its tree, and the parameters of its parts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...ir.html import block, folded, preformatted, table
from .uninitialized import is_uninitialized

if TYPE_CHECKING:
    from .module import Module

_MOST_PARTS = 24
_MOST_LINES = 60


def module_html(model: Module) -> str:
    """The model as HTML."""
    tree = repr(model)
    shown = preformatted(tree) if tree.count("\n") < _MOST_LINES else folded("all modules", tree)
    parts = [(name, type(part).__name__, _counted(part)) for name, part in model.named_children()]
    if len(parts) > _MOST_PARTS:
        left = len(parts) - _MOST_PARTS
        parts = [*parts[:_MOST_PARTS], (f"and {left} more", "", "")]
    title = f"{type(model).__name__}, parameters: {_counted(model)}"
    return block(title, shown, table(parts, ("part", "module", "parameters"), {2}) if parts else "")


def _counted(module: Module) -> str:
    """How many elements its parameters have; those of lazy layers are told by the first batch."""
    stored = [parameter for _, parameter in module.stored_parameters()]
    known = sum(math.prod(parameter.type.shape) for parameter in stored if not is_uninitialized(parameter))
    return f"{known:,}" + (" and more" if any(map(is_uninitialized, stored)) else "")
