"""Updates of tables of which a step reads few rows: no gradient of the size of a table is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import creation, indexing, movement, reduction, scatter, sorting
from ...ir.ops import elementwise as ew
from ...ir.types import BOOL, INT64
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass
from .row_gradients import RowUpdate, is_row_by_row, row_updates


@dataclass(frozen=True)
class RowSparseUpdates(Pass):
    """`f(p, scatter_add(0, rows, g))` -> `scatter_set(p, rows, f(gather(p, rows), sums of g))`, f element-wise.

    Known elsewhere as sparse gradients, or lazy updates. f is what an optimizer makes of a table and of its gradient,
    where `f(p, 0)` is p itself: of SGD without momentum and decay, of Adagrad, of SparseAdam. Rows that the step has
    not read are not touched. The sums are those of the dense gradient, bit for bit, and so is all that is computed of
    them. A sum of all elements of the gradient, as in its norm, is one over the rows that were read.

    A number of the optimizer times 0 is 0 here, though infinity times 0 is NaN: a row without a gradient keeps its
    values, whatever the learning rate.

    It is done where a table has at least `least` times as many rows as the step reads.
    """

    in_bodies = False

    least: int = 4

    def __call__(self, graph: Graph) -> Graph:
        updates = [u for u in row_updates(graph) if u.count * self.least <= u.table_shape[0]]
        if not updates:
            return graph
        b = Builder()
        new = {v: b.input(v.type, v.name) for v in graph.inputs}
        writers = [_Writer(b, update, new) for update in updates]
        of_node = {node: writer for writer in writers for node in writer.rules}
        for node in graph.nodes:
            b.origin = node.origin
            inputs = [new[v] for v in node.inputs]
            writer = of_node.get(node)
            if writer is None:
                new.update(zip(node.outputs, b.copy(node, inputs).outputs))
            else:
                new[node.output] = writer.rules[node](node, inputs)
        outputs = [new[v] for v in graph.outputs]
        return without_dead_code(Graph(b.inputs, b.nodes, outputs, graph.aliases, graph.output_names))


class _Writer:
    """Writes one update into a graph in the making, of which `new` has the values by those of the old graph."""

    def __init__(self, b: Builder, update: RowUpdate, new: dict[Value, Value]) -> None:
        self.b, self.update, self.new = b, update, new
        self.rules: dict[Node, Callable[[Node, list[Value]], Value]] = {
            **dict.fromkeys(update.gradients, lambda node, inputs: inputs[0]),
            **dict.fromkeys(update.nodes, self.elementwise),
            **dict.fromkeys(update.sums, self.sum),
        }
        self.read: dict[Value, Value] = {}
        """Values of the old graph in the rows that were read, one row for each look-up."""
        self.rows: _Rows | None = None

    def elementwise(self, node: Node, inputs: list[Value]) -> Value:
        """Compute a node for the rows that were read. What is needed whole is as it was in the others."""
        rows, result = self.known_rows(), node.output
        self.read[result] = self.b.emit(node.op, *map(self.read_rows, node.inputs), **node.attrs)
        before = self.update.unread[result]
        if result not in self.update.results or not isinstance(before, Value):
            return self.read[result]  # which nothing outside reads
        return scatter.scatter_set(self.b, self.new[before], rows.numbers, self.read[result], axis=0, batch=0)

    def sum(self, node: Node, inputs: list[Value]) -> Value:
        """Sum up the rows that were read, each once."""
        rows, value = self.known_rows(), self.read_rows(node.inputs[0])
        once = OPS["broadcast"](self.b, rows.is_first, shape=value.type.shape, axes=(0,))
        kept = ew.select(self.b, once, value, self.b.full_like(value, 0))
        return self.b.emit(node.op, kept, **node.attrs)

    def known_rows(self) -> _Rows:
        """The rows that were read."""
        if self.rows is None:
            self.rows = _Rows(self.b, [self.new[v] for v in self.update.indices], self.update.table_shape[0])
        return self.rows

    def read_rows(self, value: Value) -> Value:
        """A value of the old graph in the rows that were read. What is computed of a table is computed of its rows."""
        if value not in self.read:
            self.read[value] = self._read_rows(value)
        return self.read[value]

    def _read_rows(self, value: Value) -> Value:
        node, b = value.node, self.b
        rows, few = self.known_rows(), ArrayType((self.update.count, *value.type.shape[1:]), value.type.dtype)
        if node in self.update.gradients:
            return self._summed(node, rows, few)
        if node is not None and node.op is creation.full:
            return b.full(node.attrs["value"], few)
        if node is not None and node.op is movement.broadcast and 0 not in node.attrs["axes"]:
            return b.emit(node.op, self.new[node.inputs[0]], shape=few.shape, axes=node.attrs["axes"])
        if node is not None and is_row_by_row(node):
            return b.emit(node.op, *map(self.read_rows, node.inputs), **node.attrs)
        return indexing.gather(b, self.new[value], rows.numbers, axis=0, batch=0)

    def _summed(self, node: Node, rows: _Rows, few: ArrayType) -> Value:
        """What a gradient adds up to in the row of each look-up."""
        slots = rows.slots[self.update.indices.index(node.inputs[1])]
        updates = OPS["reshape"](self.b, self.new[node.inputs[2]], shape=(slots.type.size, *few.shape[1:]))
        sums = self.b.emit(node.op, self.b.full(0, few), slots, updates, axis=0, batch=0)
        return indexing.gather(self.b, sums, rows.slot, axis=0, batch=0)


class _Rows:
    """The rows of a table that look-ups name, of which several may name one row."""

    def __init__(self, b: Builder, indices: Sequence[Value], length: int) -> None:
        self.numbers = _joined(b, [_from_0(b, x, length) for x in indices])
        """The row of each look-up, int64."""
        order = sorting.argsort(b, self.numbers, axis=0, descending=False)
        in_order = indexing.gather(b, self.numbers, order, axis=0, batch=0)
        no, yes = (b.full(value, ArrayType((1,), BOOL)) for value in (False, True))
        differs = _differs_from_last(b, in_order)
        group = reduction.cumsum(b, ew.cast(b, _joined(b, [no, differs]), dtype=INT64), axis=0, reverse=False)
        self.slot = scatter.scatter_set(b, b.full_like(group, 0), order, group, axis=0, batch=0)
        """A number below their count for each look-up, the same for those of one row."""
        first = _joined(b, [yes, differs])
        self.is_first = scatter.scatter_set(b, b.full(False, first.type), order, first, axis=0, batch=0)
        """Whether no look-up before names the row."""
        ends = list(accumulate((x.type.size for x in indices), initial=0))
        self.slots = [OPS["slice"](b, self.slot, start=(i,), stop=(j,), step=(1,)) for i, j in pairwise(ends)]
        """The slots by the array of indices."""


def _from_0(b: Builder, indices: Value, length: int) -> Value:
    """Indices in one line, counted from the first row."""
    line = ew.cast(b, OPS["reshape"](b, indices, shape=(indices.type.size,)), dtype=INT64)
    if indices.node is not None and indices.node.op is ew.check_index:
        return line
    negative = OPS["lt"](b, line, b.full_like(line, 0))
    return ew.select(b, negative, ew.add(b, line, b.full_like(line, length)), line)


def _differs_from_last(b: Builder, line: Value) -> Value:
    count = line.type.size
    last, this = (OPS["slice"](b, line, start=(i,), stop=(count - 1 + i,), step=(1,)) for i in (0, 1))
    return OPS["ne"](b, last, this)


def _joined(b: Builder, parts: Sequence[Value]) -> Value:
    return OPS["concatenate"](b, *parts, axis=0) if len(parts) > 1 else parts[0]
