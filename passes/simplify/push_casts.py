"""Casts from bfloat16 to float32, moved down to where float32 is computed with: what is moved and kept is bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import BFLOAT16, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32
from ..graph.rewrite import Pass, all_nodes, rewrite_nodes
from ..graph.scan import Scan
from .simplify_scan import fill_value


@dataclass(frozen=True)
class PushCasts(Pass):
    """`move(cast(x))` -> `cast(move(x))`, and `cast(cast(x))` -> `x`, for x of bfloat16 that is cast to float32.

    Known elsewhere as cast propagation. The first cast loses nothing, so no bit changes. Stacks that a loop makes,
    and sequences and constants that it reads, are bfloat16 too, where its body or the graph around it has them as
    such; so is a carry whose start is.
    """

    in_bodies = False  # the rule for loops does it

    def __call__(self, graph: Graph) -> Graph:
        if not any(value.type.dtype == BFLOAT16 for node in all_nodes(graph) for value in node.inputs):
            return graph
        return rewrite_nodes(graph, self._rule)

    def _rule(self, b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        if node.op.is_scan:
            return self._loop(b, Scan(node, inputs))
        if node.op.bodies:
            return None
        if node.op is ew.cast:
            source = _source(inputs[0])
            return [source] if source is not None and node.attrs["dtype"] == BFLOAT16 else None
        if node.op.family not in ("movement", "indexing") or not node.op.only_moves or node.op.changes is not None:
            return None
        moved = [x for x in inputs if x.type.dtype == FLOAT32]
        sources = {x: source for x in moved if (source := _source(x)) is not None}
        if not sources or len(sources) < len(set(moved)):
            return None
        narrow = b.emit(node.op, *(sources.get(x, x) for x in inputs), **node.attrs)
        return [ew.cast(b, narrow, dtype=FLOAT32)]

    def _loop(self, b: Builder, scan: Scan) -> list[Value]:
        """The loop with bfloat16 for what is that on either side of its border."""
        body = self(scan.body)
        given = [_source(x) for x in scan.inputs]
        carried = range(scan.first_carry, scan.first_x)
        for i in carried:
            stays = _source(body.outputs[i - scan.first_carry]) is not None
            given[i] = (given[i] or _exact_full(b, scan.inputs[i])) if stays else None
        inner = Builder(scan.node.origin)
        fresh = [inner.input(v.type if narrow is None else _narrow(v), v.name) for v, narrow in zip(body.inputs, given)]
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
        """The results of the body, without the cast of those that leave it as bfloat16."""
        made: list[Value] = []
        for k, value in enumerate(results):
            source = _source(value)
            leaves = k >= scan.carry_count or given[scan.first_carry + k] is not None
            made.append(source if source is not None and leaves else value)
        return made


def _exact_full(b: Builder, value: Value) -> Value | None:
    """A filled array of float32 as one of bfloat16, if that is the same number."""
    number = fill_value(value)
    if number is None or value.type.dtype != FLOAT32 or float(BFLOAT16.type(number)) != number:
        return None
    return b.full(number, _narrow(value))


def _narrow(value: Value) -> ArrayType:
    return ArrayType(value.type.shape, BFLOAT16)


def _source(value: Value) -> Value | None:
    """The bfloat16 that a float32 was cast from, if that is what made it."""
    node = value.node
    if node is None or node.op is not ew.cast or node.inputs[0].type.dtype != BFLOAT16:
        return None
    return node.inputs[0] if value.type.dtype == FLOAT32 else None
