"""What nodes compute of one example, for all examples at once. Known elsewhere as vectorization, or batching in JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ...ir import OPS, ArrayType, Builder, Node, Op, Value
from ...ir.ops import creation, indexing
from ...ir.ops import elementwise as ew
from ..graph.batching import batched, can_batch
from ..graph.scan import emit_scan

Outputs = Sequence["tuple[Value, bool]"]
"""The outputs of a node, each with whether it is mapped."""
Rule = Callable[["Vectorizer", Node, "list[Value]", "list[bool]"], Outputs]


class Vectorizer:
    """Appends to `b` the nodes that compute for `count` examples what given nodes compute for one.

    A value of one example is *mapped* where it differs between examples; its counterpart in `b` has them as the first
    axis. What does not depend on the examples is computed once. With `running`, a mapped bool, only these examples are
    meant: what others would look up may be out of range, and is replaced.

    `rules` are those of ops whose attributes do not say the same for a further first axis; an op without a rule and
    without a batching rule of its own runs in a loop over the examples.
    """

    def __init__(self, b: Builder, count: int, rules: Mapping[Op, Rule], running: Value | None = None) -> None:
        self.b = b
        self.count = count
        self.rules = rules
        self.running = running
        self.made: dict[Value, Value] = {}
        self.mapped: set[Value] = set()

    def enter(self, value: Value, counterpart: Value, is_mapped: bool) -> None:
        """Let `counterpart` stand for a value of one example."""
        self.made[value] = counterpart
        if is_mapped:
            self.mapped.add(value)

    def run(self, nodes: Iterable[Node]) -> None:
        """Append the counterparts of nodes, in order."""
        for node in nodes:
            inputs, flags = [self.made[v] for v in node.inputs], [v in self.mapped for v in node.inputs]
            with self.b.at(node.origin):
                if self.running is not None and node.op.can_trap:
                    inputs, flags = self._guarded(node, inputs, flags)
                if any(flags):
                    outputs = self._outputs(node, inputs, flags)
                else:
                    outputs = [(v, False) for v in self.b.copy(node, inputs).outputs]
            for value, (counterpart, is_mapped) in zip(node.outputs, outputs, strict=True):
                self.enter(value, counterpart, is_mapped)

    def whole(self, value: Value) -> Value:
        """The counterpart of a value with the examples as its first axis."""
        return self.made[value] if value in self.mapped else self.repeated(self.made[value])

    def repeated(self, x: Value) -> Value:
        """What is the same for all examples, once for each; a view."""
        shape = (self.count, *x.type.shape)
        if x.node is not None and x.node.op is creation.full:
            return self.b.emit(creation.full, **{**x.node.attrs, "shape": shape})
        return self.b.emit(OPS["broadcast"], x, shape=shape, axes=tuple(range(1, len(shape))))

    def all_repeated(self, inputs: Sequence[Value], flags: Sequence[bool]) -> list[Value]:
        """Inputs of a node with the examples as the first axis of each."""
        return [x if is_mapped else self.repeated(x) for x, is_mapped in zip(inputs, flags)]

    def moved(self, x: Value, source: int, target: int) -> Value:
        """`x` with one axis at another place."""
        perm = [i for i in range(x.type.ndim) if i != source]
        perm.insert(target, source)
        return x if source == target else self.b.emit(OPS["transpose"], x, perm=tuple(perm))

    def select(self, flags: Value, x: Value, y: Value) -> Value:
        """`x` for the examples whose flag is true, `y` for the others; both are mapped."""
        whole = self.b.emit(OPS["broadcast"], flags, shape=x.type.shape, axes=(0,)) if x.type.ndim > 1 else flags
        return ew.select(self.b, whole, x, y)

    def inside(self, b: Builder, running: Value | None = None) -> Vectorizer:
        """One for a graph inside a node, which is appended to `b`."""
        return Vectorizer(b, self.count, self.rules, running)

    def results(self, outputs: Sequence[Value], flags: Sequence[bool]) -> list[Value]:
        """The counterparts of the outputs of a graph, mapped where a flag says so."""
        return [self.whole(value) if is_mapped else self.made[value] for value, is_mapped in zip(outputs, flags)]

    def _outputs(self, node: Node, inputs: list[Value], flags: list[bool]) -> Outputs:
        rule = self.rules.get(node.op)
        if rule is not None:
            return rule(self, node, inputs, flags)
        kernel = node.op.kernel
        if kernel is not None and kernel.rows and not any(f for i, f in enumerate(flags) if i not in kernel.rows):
            return self.in_rows(node, inputs, flags, kernel.rows)
        if node.op.batch is None:
            return self.in_turn(node, inputs, flags)
        if len(node.outputs) == 1 and can_batch(node, flags):
            return [(batched(self.b, node, inputs, flags, self.count), True)]
        made = self.b.emit_node(node.op, *self.all_repeated(inputs, flags), **node.op.batch(node.attrs, self.count))
        return [(v, True) for v in made.outputs]

    def in_turn(self, node: Node, inputs: Sequence[Value], flags: Sequence[bool]) -> Outputs:
        """The node in a loop over the examples."""
        inner = Builder(self.b.origin)
        given = [
            inner.input(ArrayType(x.type.shape[1:], x.type.dtype) if is_mapped else x.type)
            for x, is_mapped in zip(inputs, flags)
        ]
        outputs = inner.copy(node, given).outputs
        consts = [i for i, is_mapped in enumerate(flags) if not is_mapped]
        xs = [i for i, is_mapped in enumerate(flags) if is_mapped]
        inner.inputs = [given[i] for i in (*consts, *xs)]
        body = inner.graph(outputs)
        loop = emit_scan(self.b, body, [inputs[i] for i in consts], [], [inputs[i] for i in xs], self.count)
        return [(v, True) for v in loop.outputs]

    def in_rows(self, node: Node, inputs: Sequence[Value], flags: Sequence[bool], rows: Sequence[int]) -> Outputs:
        """A node that works row by row, with the rows of all examples; other inputs are the same for all of them."""
        given = list(inputs)
        for i in rows:
            given[i] = self._joined(inputs[i] if flags[i] else self.repeated(inputs[i]))
        made = self.b.emit_node(node.op, *given, **node.attrs)
        shapes = [(self.count, *v.type.shape) for v in node.outputs]
        return [(self.b.emit(OPS["reshape"], v, shape=shape), True) for v, shape in zip(made.outputs, shapes)]

    def _joined(self, x: Value) -> Value:
        """The rows of all examples, one after the other."""
        count, rows, *rest = x.type.shape
        return self.b.emit(OPS["reshape"], x, shape=(count * rows, *rest))

    def _guarded(self, node: Node, inputs: list[Value], flags: list[bool]) -> tuple[list[Value], list[bool]]:
        """The inputs of a node that may stop the run, with harmless ones where an example does not run."""
        place = 0 if node.op.is_check else 1 if node.op.family == indexing.gather.family else None
        if place is None:
            return inputs, flags
        assert self.running is not None
        index = inputs[place] if flags[place] else self.repeated(inputs[place])
        inputs, flags = list(inputs), list(flags)
        inputs[place], flags[place] = self.select(self.running, index, self.b.full_like(index, 0)), True
        return inputs, flags


def mapped_type(value: Value, count: int, is_mapped: bool) -> ArrayType:
    """The type of the counterpart of a value."""
    return ArrayType((count, *value.type.shape), value.type.dtype) if is_mapped else value.type
