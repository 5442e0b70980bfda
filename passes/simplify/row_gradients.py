"""Which values are computed, element by element, from a gradient of a few rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import ArrayType, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.ops import indexing, reduction, scatter
from .simplify_scan import fill_value

Number = float | int | bool
Unread = Number | Value | None
"""What a value is in the rows that were not read: filled with a number, or another value; None: some other."""


class RowUpdate:
    """The gradients of a table that are zeros but for rows that were read, and what is computed of them."""

    def __init__(self, type: ArrayType) -> None:
        self.table_shape = type.shape
        self.gradients: list[Node] = []
        self.nodes: list[Node] = []
        """Element-wise ones, in their order."""
        self.sums: list[Node] = []
        """Sums of all elements of a value that is 0 in the rows that were not read."""
        self.unread: dict[Value, Unread] = {}
        self.results: set[Value] = set()
        """Values of `nodes` that are needed whole."""

    @property
    def indices(self) -> list[Value]:
        """The arrays of indices by which rows are read."""
        return list(dict.fromkeys(node.inputs[1] for node in self.gradients))

    @property
    def count(self) -> int:
        """How many rows are read, each counted as often as it is."""
        return sum(index.type.size for index in self.indices)

    def absorb(self, other: RowUpdate) -> None:
        """Take over all that is computed of another gradient of the table."""
        self.gradients += other.gradients
        self.nodes += other.nodes
        self.sums += other.sums
        self.unread.update(other.unread)


def row_updates(graph: Graph) -> list[RowUpdate]:
    """All updates of tables in a step that need no gradient of the size of the table. Two gradients belong to one
    update where something is computed of both.
    """
    of_value: dict[Value, RowUpdate] = {}
    for node in graph.nodes:
        if is_row_gradient(node):
            update = RowUpdate(node.output.type)
            update.gradients.append(node)
            update.unread[node.output] = fill_value(node.inputs[0])
            of_value[node.output] = update
            continue
        found = list(dict.fromkeys(of_value[v] for v in node.inputs if v in of_value))
        # Only an optimizer's own factors are taken to be finite; the sum of two gradients has none.
        if not found or not (node.origin.role == "optimizer" or all(v in of_value for v in node.inputs)):
            continue
        if _is_whole_sum(node, found[0]):
            found[0].sums.append(node)
        elif is_row_by_row(node):
            update, *others = found
            for other in others:
                update.absorb(other)
                of_value.update({v: update for v, of in of_value.items() if of is other})
            update.nodes.append(node)
            update.unread[node.output] = _unread(node, update.unread)
            of_value[node.output] = update
    updates = list(dict.fromkeys(of_value.values()))
    return [update for update in updates if _is_closed(graph, update)]


def is_row_gradient(node: Node) -> bool:
    """Whether the node adds rows onto zeros, or marks rows: the first axis of its output is that of the table."""
    if node.op not in (indexing.scatter_add, scatter.scatter_set) or node.attrs["axis"] or node.attrs["batch"]:
        return False
    return fill_value(node.inputs[0]) == 0 and node.inputs[1].type.size > 0


def is_row_by_row(node: Node) -> bool:
    """Whether the node makes each row of its output of the same row of its inputs, whichever row that is."""
    return node.op.is_elementwise and not (node.op.can_trap or node.op.depends_on_place)


def _is_whole_sum(node: Node, update: RowUpdate) -> bool:
    (x, *_) = node.inputs
    return node.op is reduction.reduce_sum and not node.output.type.shape and update.unread.get(x) == 0


def _unread(node: Node, unread: dict[Value, Unread]) -> Unread:
    """What an element-wise node makes in rows that were not read."""
    operands = [unread[v] if v in unread else _operand(v) for v in node.inputs]
    if node.op is ew.select:
        condition, x, y = operands
        if isinstance(condition, Value) or condition is None:
            return x if x == y else None
        return x if condition else y
    if all(isinstance(x, Number) for x in operands):
        arrays = [np.array(x, v.type.dtype) for x, v in zip(operands, node.inputs)]
        with np.errstate(all="ignore"):
            return np.asarray(node.op.reference(*arrays, **node.attrs)).item()
    first_is_0, second_is_0 = (isinstance(x, Number) and x == 0 for x in [*operands, None][:2])
    if (node.op is ew.mul and (first_is_0 or second_is_0)) or (node.op is ew.div and first_is_0):
        return 0
    if node.op in (ew.add, ew.sub) and second_is_0:
        return operands[0]
    return operands[1] if node.op is ew.add and first_is_0 else None


def _operand(value: Value) -> Unread:
    number = fill_value(value)
    return value if number is None else number


def _is_closed(graph: Graph, update: RowUpdate) -> bool:
    """Whether all that is needed whole stays as it is in rows that were not read. Notes what that is."""
    inside = {*update.nodes, *update.sums}
    update.results = {v for v in graph.outputs if v in update.unread}
    update.results.update(v for node in graph.nodes if node not in inside for v in node.inputs if v in update.unread)
    return all(isinstance(update.unread[v], Value) for v in update.results) and _is_known_before(graph, update)


def _is_known_before(graph: Graph, update: RowUpdate) -> bool:
    """Whether it is known which rows are read before anything is computed of a gradient."""
    place = {v: i for i, node in enumerate(graph.nodes, 1) for v in node.outputs}
    made: Sequence[Node] = [*update.nodes, *update.sums]
    known = max(place.get(index, 0) for index in update.indices)
    return bool(made) and known < min(place[node.output] for node in made)
