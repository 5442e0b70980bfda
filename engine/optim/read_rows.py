"""Which rows of a table a step has read, told by how its gradient is made."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

from ...ir import Value
from ...ir.ops import creation, movement, scatter
from ...passes.simplify.row_gradients import is_row_gradient
from .. import array_api as xp
from ..tracing.tracer import Tracer, emit


def read_rows(gradient: Any) -> Any | None:
    """A mask like `gradient`: True in the rows that look-ups have read. None where it is not made by look-ups alone."""
    if not isinstance(gradient, Tracer) or not gradient.ndim:
        return None
    indices = _indices(gradient.own_value)
    if not indices:
        return None
    return reduce(operator.or_, (_marked(gradient, Tracer(gradient.owner, index)) for index in indices))


def _marked(table: Any, rows: Any) -> Any:
    there = xp.ones((*rows.shape, *table.shape[1:]), "bool")
    return emit(scatter.scatter_set, xp.zeros(table.shape, "bool"), rows, there, axis=0, batch=0)


def _indices(gradient: Value) -> list[Value] | None:
    """The indices of all look-ups of which a gradient is the sum, maybe scaled or clipped."""
    found: dict[Value, None] = {}
    seen, stack = {gradient}, [gradient]
    while stack:
        value = stack.pop()
        node = value.node
        if node is None:
            return None
        if is_row_gradient(node):
            found[node.inputs[1]] = None
        elif node.op.is_elementwise:
            more = [v for v in node.inputs if v not in seen]
            seen.update(more)
            stack += more
        elif node.op is not creation.full and not (node.op is movement.broadcast and not node.inputs[0].type.shape):
            return None
    return list(found)
