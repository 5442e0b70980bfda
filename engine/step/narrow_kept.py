"""Values that the backward reads lie in memory as two bytes, while all arithmetic is float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ...ir import Builder, DType, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...passes.autodiff.min_cut_remat import MinCutRemat
from ...passes.graph.rewrite import with_bodies
from ...passes.graph.scan import Scan
from ...passes.simplify.simplify import Simplify

_FLOAT32 = np.dtype("float32")
_READERS = ("backward", "recompute")
"""Roles of nodes that read what is kept."""
_UNIT = 1 << 14
"""Elements that are cast in the time that a unit of its own takes to begin."""


def narrow_kept(graph: Graph, batch: range, dtype: DType, most: int | None = None) -> Graph:
    """The graph of a step whose backward reads what the forward has made of a `batch` rounded to a `dtype` of two
    bytes: all of it, or the first `most` values of `kept_values`.

    What is kept is chosen here, as for a step without a budget; the backward computes all else from that. A rounding is
    a pair of casts, so that no bit depends on what another plan keeps, fuses or recomputes. The batch itself is read as
    it is, and so are sums of the forward along axes, such as means and norms of rows: they take few bytes, and
    all of a row depends on them. A loop that stacks values for the backward stacks them rounded.
    """
    return kept_values(graph, batch).narrowed(dtype, most)


@dataclass(frozen=True)
class KeptValues:
    """The `values` that the backward reads of the forward, those first that save most bytes for the work of rounding
    them, and the `graph` in which it was chosen what they are.
    """

    graph: Graph
    values: tuple[Value, ...]
    stacks: frozenset[Value]
    """Those of them that loops stack for the backward alone."""

    def narrowed(self, dtype: DType, most: int | None = None) -> Graph:
        """The graph with the first `most` of the values, or all of them, rounded where the backward reads them."""
        graph, kept = self.graph, set(self.values[:most])
        if not kept:
            return graph
        b = Builder()
        new = {v: b.input(v.type, v.name) for v in graph.inputs}
        rounded: dict[Value, Value] = {}
        in_loops = self.stacks & kept
        for node in graph.nodes:
            b.origin = node.origin
            later = node.origin.role in _READERS
            inputs = [rounded.get(v, new[v]) if later else new[v] for v in node.inputs]
            stacks = in_loops.intersection(node.outputs)
            outputs = (_with_narrow_stacks(b, node, inputs, stacks, dtype) if stacks else b.copy(node, inputs)).outputs
            new.update(zip(node.outputs, outputs))
            for value in kept.intersection(node.outputs):
                narrow = new[value] if value in in_loops else ew.cast(b, new[value], dtype=dtype)
                rounded[value] = ew.cast(b, narrow, dtype=_FLOAT32)
        return b.graph([new[v] for v in graph.outputs], graph.aliases, graph.output_names)


def kept_values(graph: Graph, batch: range) -> KeptValues:
    """What `narrow_kept` rounds. To round a value takes a cast of it, and one back for each node that reads it; a loop
    rounds what it stacks on the way. Units of their own for that cost all the more, the smaller a value is.
    """
    graph = MinCutRemat()(Simplify()(graph))
    kept = _kept(graph, {graph.inputs[i] for i in batch})
    stacks = _only_kept(graph, kept)
    readers = Counter(v for node in graph.nodes if node.origin.role in _READERS for v in set(node.inputs) & kept)

    def saved(value: Value) -> float:
        casts = readers[value] + (value not in stacks)
        return value.type.size / (casts * value.type.size + _UNIT)

    in_order = [v for node in graph.nodes for v in node.outputs if v in kept]
    return KeptValues(graph, tuple(sorted(in_order, key=saved, reverse=True)), frozenset(stacks))


def _kept(graph: Graph, batch: set[Value]) -> set[Value]:
    """What the forward makes of the batch, and the backward reads."""
    made, sums, parts = set[Value](), set[Value](), set(batch)
    for node in graph.nodes:
        moves = node.op.is_view or node.op.only_moves
        if node.origin.role != "forward" or not (made | parts).intersection(node.inputs):
            continue
        arrays = [v for v in node.inputs if v in made or v in parts]
        if moves and not made.intersection(node.inputs):
            parts.update(node.outputs)
            continue
        made.update(node.outputs)
        if node.op.is_reduction or ((moves or node.op.is_elementwise) and sums.issuperset(arrays)):
            sums.update(node.outputs)
    read = {v for node in graph.nodes if node.origin.role in _READERS for v in node.inputs}
    return {v for v in read & made - sums if v.type.dtype == _FLOAT32 and v.type.shape}


def _only_kept(graph: Graph, kept: set[Value]) -> set[Value]:
    """The stacks of loops that only the backward reads."""
    others = {v for node in graph.nodes if node.origin.role not in _READERS for v in node.inputs} | set(graph.outputs)
    return {y for node in graph.nodes if node.op.is_scan for y in Scan(node).ys if y in kept and y not in others}


def _with_narrow_stacks(
    b: Builder, node: Node, inputs: list[Value], narrow: Collection[Value], dtype: DType
) -> Node:
    """A loop that stacks some of its values rounded."""
    scan = Scan(node, inputs)
    inside = Builder()
    outputs = list(inside.inline(scan.body, [inside.input(v.type, v.name) for v in scan.body.inputs]))
    for i, stack in enumerate(scan.ys, scan.carry_count):
        if stack in narrow:
            inside.origin = node.origin
            outputs[i] = ew.cast(inside, outputs[i], dtype=dtype)
    return with_bodies(b, node, inputs, [inside.graph(outputs)])
