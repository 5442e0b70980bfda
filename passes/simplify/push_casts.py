"""Casts from two bytes to float32, moved down to where float32 is computed with: less is moved and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import ArrayType, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, DType, is_half
from ..graph.rewrite import Pass, all_nodes, rewrite_nodes
from ..graph.scan import Scan
from .simplify_scan import fill_value


@dataclass(frozen=True)
class PushCasts(Pass):
    """`move(cast(x))` -> `cast(move(x))`, and `cast(cast(x))` -> `x`, for x of two bytes that is cast to float32.

    Known elsewhere as cast propagation. The first cast loses nothing, so no bit changes. Stacks that a loop makes,
    and sequences and constants that it reads, have two bytes too, where its body or the graph around it has them as
    such; so is a carry whose start is.
    """

    in_bodies = False  # the rule for loops does it

    def __call__(self, graph: Graph) -> Graph:
        if not any(is_half(value.type.dtype) for node in all_nodes(graph) for value in node.inputs):
            return graph
        return rewrite_nodes(graph, self._rule)

    def _rule(self, b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        if node.op.is_scan:
            return self._loop(b, Scan(node, inputs))
        if node.op.bodies:
            return None
        if node.op is ew.cast:
            source = _source(inputs[0])
            return [source] if source is not None and node.attrs["dtype"] == source.type.dtype else None
        if node.op.family not in ("movement", "indexing") or not node.op.only_moves or node.op.changes is not None:
            return None
        moved = [x for x in inputs if x.type.dtype == FLOAT32]
        sources = {x: source for x in moved if (source := _source(x)) is not None}
        if not sources or len(sources) < len(set(moved)) or len({x.type.dtype for x in sources.values()}) > 1:
            return None
        narrow = b.emit(node.op, *(sources.get(x, x) for x in inputs), **node.attrs)
        return [ew.cast(b, narrow, dtype=FLOAT32)]

    def _loop(self, b: Builder, scan: Scan) -> list[Value]:
        """The loop with two bytes for what is that on either side of its border."""
        body = self(scan.body)
        given = [_source(x) for x in scan.inputs]
        carried = range(scan.first_carry, scan.first_x)
        for i in carried:
            given[i] = _start(b, scan.inputs[i], given[i], _source(body.outputs[i - scan.first_carry]))
        inner = Builder(scan.node.origin)
        fresh = [
            inner.input(v.type if narrow is None else _in_dtype(v, narrow.type.dtype), v.name)
            for v, narrow in zip(body.inputs, given)
        ]
        start = [x if x.type == v.type else ew.cast(inner, x, dtype=FLOAT32) for x, v in zip(fresh, body.inputs)]
        results = list(inner.inline(body, start))
        made = self._results(scan, results, given)
        changed = [old is not new for old, new in zip(results, made)]
        if not any(changed) and all(narrow is None for narrow in given):
            return list(scan.emit(b, body).outputs)
        smaller = self(inner.graph(made)) if any(narrow is not None for narrow in given) else inner.graph(made)
        read = [x if narrow is None else narrow for x, narrow in zip(scan.inputs, given)]
        outputs = scan.emit(b, smaller, *scan.split(read)).outputs
        return [x if x.type == v.type else ew.cast(b, x, dtype=FLOAT32) for x, v in zip(outputs, scan.node.outputs)]

    def _results(self, scan: Scan, results: Sequence[Value], given: Sequence[Value | None]) -> list[Value]:
        """The results of the body, without the cast of those that leave it as two bytes."""
        made: list[Value] = []
        for k, value in enumerate(results):
            source = _source(value)
            leaves = k >= scan.carry_count or given[scan.first_carry + k] is not None
            made.append(source if source is not None and leaves else value)
        return made


def _start(b: Builder, value: Value, source: Value | None, last: Value | None) -> Value | None:
    """The start of a carry as the two bytes that its iterations end with, if they do and it is the same number."""
    if last is None:
        return None
    dtype = last.type.dtype
    if source is not None:
        return source if source.type.dtype == dtype else None
    number = fill_value(value)
    if number is None or value.type.dtype != FLOAT32 or float(dtype.type(number)) != number:
        return None
    return b.full(number, _in_dtype(value, dtype))


def _in_dtype(value: Value, dtype: DType) -> ArrayType:
    """The type of a value in another dtype."""
    return ArrayType(value.type.shape, dtype)


def _source(value: Value) -> Value | None:
    """The two bytes that a float32 was cast from, if that is what made it."""
    node = value.node
    if node is None or node.op is not ew.cast or not is_half(node.inputs[0].type.dtype):
        return None
    return node.inputs[0] if value.type.dtype == FLOAT32 else None
