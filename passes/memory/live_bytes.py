"""Bytes that are live while nodes run one after the other, as far as it follows from their order alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Graph, Node, Value
from ..graph.views import View
from ..kernels.accumulators import accumulated_input


@dataclass(frozen=True, slots=True)
class Step:
    """A node that runs: bytes that it makes room for, `over` the dying arrays that it may write over instead, and bytes
    that nothing reads any more once it has run.
    """

    node: Node
    made: int
    over: tuple[Value, ...]
    freed: int


def read_bases(node: Node, views: Mapping[Value, View]) -> list[Value]:
    """The arrays that a node reads, each once; views read nothing."""
    return list(dict.fromkeys(views[v].base for v in node.inputs)) if not node.op.is_view else []


def steps(
    graph: Graph, views: Mapping[Value, View], nodes: Iterable[Node], elsewhere: Collection[Value] = ()
) -> list[Step]:
    """What each of the `nodes` of the graph, in this order, does to the bytes that are live; inputs never die, and what
    lies `elsewhere` takes none.
    """
    order = [node for node in nodes if node.op.has_kernel]
    last = {base: node for node in order for base in read_bases(node, views)}
    kept = {views[v].base for v in graph.outputs}
    overwriting = {*elsewhere, *(graph.outputs[i] for i in graph.aliases)}
    here: set[Node | None] = set(order)
    found: list[Step] = []
    for node in order:
        dying = [
            base
            for base in read_bases(node, views)
            if last[base] is node and base not in kept and base.node in here and base not in elsewhere
        ]
        # A loop may have as many outputs as the model has parameters.
        made, over, left = 0, list[Value](), dict.fromkeys(dying)
        for value in node.outputs:
            if value in overwriting:
                continue
            old = _written_over(node, value, left, views)
            if old is not None:
                over.append(old)
                del left[old]
            else:
                made += value.type.nbytes
        unread = sum(v.type.nbytes for v in node.outputs if v not in last and v not in kept)
        freed = unread + sum(b.type.nbytes for b in left)
        found.append(Step(node, made, tuple(over), freed))
    return found


def _written_over(node: Node, value: Value, dying: Collection[Value], views: Mapping[Value, View]) -> Value | None:
    """The one of the `dying` arrays that an output of a node may be written over."""
    if node.op.is_region:
        same = (value.type.dtype, value.type.size)
        return next((base for base in dying if (base.type.dtype, base.type.size) == same), None)
    begins = accumulated_input(node, value.index)
    if begins is None:
        return None
    base = views[node.inputs[begins]].base
    return base if base in dying and base.type.nbytes == value.type.nbytes else None


def most_bytes(order: Sequence[Step], scratch: Mapping[Node, int]) -> int:
    """The most bytes live while one of the steps runs, with the `scratch` of its node."""
    live = most = 0
    for step in order:
        most = max(most, live + step.made + scratch.get(step.node, 0))
        live += step.made - step.freed
    return most
