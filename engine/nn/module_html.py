"""A model in a notebook: its tree, and the parameters of its parts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...ir.html import block, folded, preformatted, table

if TYPE_CHECKING:
    from .module import Module

_MOST_PARTS = 24
_MOST_LINES = 60


def module_html(model: Module) -> str:
    """The model as HTML."""
    tree = repr(model)
    shown = preformatted(tree) if tree.count("\n") < _MOST_LINES else folded("all modules", tree)
    parts = [(name, type(part).__name__, f"{_count(part):,}") for name, part in model.named_children()]
    if len(parts) > _MOST_PARTS:
        left = len(parts) - _MOST_PARTS
        parts = [*parts[:_MOST_PARTS], (f"and {left} more", "", "")]
    own = _count(model)
    title = f"{type(model).__name__} with {own:,} parameter{'s' * (own != 1)}"
    return block(title, shown, table(parts, ("part", "module", "parameters"), {2}) if parts else "")


def _count(module: Module) -> int:
    return sum(math.prod(parameter.type.shape) for _, parameter in module.stored_parameters())
