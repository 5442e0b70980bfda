"""Values that the backward reads lie in memory as two bytes, while all arithmetic is float32."""

from __future__ import annotations

from collections.abc import Collection

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


def narrow_kept(graph: Graph, batch: range, dtype: DType) -> Graph:
    """The graph of a step whose backward reads what the forward has made of a `batch` rounded to a `dtype` of two
    bytes.

    What is kept is chosen here, as for a step without a budget; the backward computes all else from that. A rounding is
    a pair of casts, so that no bit depends on what another plan keeps, fuses or recomputes. The batch itself is read as
    it is, and so are sums of the forward along axes, such as means and norms of rows: they take few bytes, and
    all of a row depends on them. A loop that stacks values for the backward stacks them rounded.
    """
    graph = MinCutRemat()(Simplify()(graph))
    kept = _kept(graph, {graph.inputs[i] for i in batch})
    if not kept:
        return graph
    b = Builder()
    new = {v: b.input(v.type, v.name) for v in graph.inputs}
    rounded: dict[Value, Value] = {}
    in_loops = _only_kept(graph, kept)
    for node in graph.nodes:
        b.origin = node.origin
        later = node.origin.role in _READERS
        inputs = [rounded.get(v, new[v]) if later else new[v] for v in node.inputs]
        made = _with_narrow_stacks(b, node, inputs, in_loops, dtype) if in_loops.intersection(node.outputs) else None
        outputs = b.copy(node, inputs).outputs if made is None else made
        new.update(zip(node.outputs, outputs))
        for value in kept.intersection(node.outputs):
            narrow = new[value] if value in in_loops else ew.cast(b, new[value], dtype=dtype)
            rounded[value] = ew.cast(b, narrow, dtype=_FLOAT32)
    return b.graph([new[v] for v in graph.outputs], graph.aliases, graph.output_names)


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
) -> tuple[Value, ...]:
    """The outputs of a loop that stacks some of its values rounded."""
    scan = Scan(node, inputs)
    inside = Builder()
    outputs = list(inside.inline(scan.body, [inside.input(v.type, v.name) for v in scan.body.inputs]))
    for i, stack in enumerate(scan.ys, scan.carry_count):
        if stack in narrow:
            inside.origin = node.origin
            outputs[i] = ew.cast(inside, outputs[i], dtype=dtype)
    return with_bodies(b, node, inputs, [inside.graph(outputs)]).outputs
