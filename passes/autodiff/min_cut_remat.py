"""What the backward reads of the forward: kept only where it cannot be rebuilt for free inside a fused kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ...ir import Builder, Graph, Node, Recompute, Value
from ..graph.dead_code import without_dead_code
from ..graph.min_cut import sink_side
from ..graph.rewrite import Pass, rewrite_nodes
from .remat_bytes import most_held

# Capacities are counted in units of this many bytes: smaller differences are not worth another order.
_UNIT = 256
_UNBOUNDED = 1 << 62
# One in so many bytes of what is kept because it is far from what makes it does not count.
_SLIGHT = 32
# What is rebuilt may reach through so many values of its own size, where that holds fewer bytes at once.
_REACHES = (8, 4.5, 3)
# One in so many bytes fewer is worth it.
_WORTH = 20


@dataclass(frozen=True)
class MinCutRemat(Pass):
    """Chooses the fewest bytes of forward values from which the backward can recompute, by element-wise ops and
    views alone, all that it reads; and recomputes the rest there.

    A minimum cut: an edge from each value to its rebuildable readers, capacity its bytes, between what must be kept
    or computed for other reasons and what the backward reads. Graph inputs cost nothing. Among equal cuts the one
    nearest to the backward is taken, which rebuilds least. (Jia et al. 2023 and the partitioner of PyTorch's
    AOTAutograd cut the same way; here only what a fused loop gives for free is rebuilt.)

    What would have to be rebuilt from values of more than `reach` times its own bytes is kept instead: what runs
    through all layers of a net, and would be rebuilt from what each of them added to it, is then there at every few
    layers, and what lies between may be recomputed by itself. It is even kept where something as large that is made of
    it would do, since other things are made of it as well: a sum of residuals rather than its difference from its mean.
    Without a `reach` there is no bound, unless such a chain, which is whole in memory once its end is needed, would
    take more bytes than keeping some of it: see `most_held`.

    What the backward compares of the forward may as well be compared there: where nothing else of a relu's result is
    read, the booleans are kept.
    """

    reach: float | None = None

    def __call__(self, graph: Graph) -> Graph:
        graph = _compared_early(graph)
        for maker in ("forward", "recompute"):
            kept = _kept(graph, maker, _far(graph, maker, math.inf if self.reach is None else self.reach))
            if kept is not None:
                kept = kept if self.reach is not None else _fewest_held(graph, maker, kept)
                graph = _rebuilt(graph, kept, maker)
        return graph


def _fewest_held(graph: Graph, maker: str, kept: set[Value]) -> set[Value]:
    """What to keep for the fewest bytes at once: `kept`, which are the fewest in all, or more of what is far."""

    def most(kept: set[Value]) -> tuple[int, int]:
        def is_rebuilt(value: Value) -> bool:
            node = value.node
            return node is not None and value not in kept and node.origin.role == maker and can_recompute(node)

        return most_held(graph, kept, lambda node: _is_later(node, maker), is_rebuilt)

    fewest, in_all = most(kept)
    far: set[Value] = set()
    for reach in _REACHES:
        if fewest - in_all <= fewest // _WORTH:
            break
        before, far = far, _far(graph, maker, reach)
        nearer = _kept(graph, maker, far) if far != before else None
        if nearer is not None and (held := most(nearer)[0]) + fewest // _WORTH < fewest:
            kept, fewest = nearer, held
    return kept


def _is_later(node: Node, maker: str) -> bool:
    """Whether a node reads what nodes of the role `maker` leave for later."""
    roles = ("forward", "recompute") if maker == "recompute" else ("forward",)
    return node.origin.role not in roles


def is_comparison(node: Node) -> bool:
    """Whether a node makes booleans of larger elements."""
    if not node.op.is_elementwise or node.output.type.dtype.kind != "b":
        return False
    return node.inputs[0].type.dtype.itemsize > 1


def _compared_early(graph: Graph) -> Graph:
    """Comparisons of values of the forward, or of what is computed again, are made in the role of those values; the
    numbers that they compare with too.
    """
    roles = {node: role for node in graph.nodes if (role := _earlier_role(node)) is not None}
    if not roles:
        return graph

    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        if node not in roles:
            return None
        role = roles[node]
        alone = [v.node for v in inputs if v.node is not None and not v.node.inputs]
        again = {m.output: b.copy(m, [], m.origin.with_role(role)).output for m in alone}
        return [b.copy(node, [again.get(v, v) for v in inputs], node.origin.with_role(role)).output]

    return without_dead_code(rewrite_nodes(graph, rule))


def _earlier_role(node: Node) -> str | None:
    """The role of what a comparison in the backward reads, if that is earlier."""
    if node.origin.role != "backward" or not is_comparison(node):
        return None
    roles = {v.node.origin.role for v in node.inputs if v.node is not None and v.node.inputs}
    if not roles or not roles <= {"forward", "recompute"}:
        return None
    return "recompute" if "recompute" in roles else "forward"


def can_recompute(node: Node) -> bool:
    """Whether a fused loop gives the outputs of `node` for free: element-wise ops, creation and views."""
    return node.op.recompute >= Recompute.CHEAP


def has_far_values(graph: Graph, reach: float) -> bool:
    """Whether the forward makes values that a pass of this `reach` would rather keep, in the bodies of loops too."""
    bodies = (node.attrs["body"] for node in graph.nodes if node.op.is_scan)
    return bool(_far(graph, "forward", reach)) or any(has_far_values(body, reach) for body in bodies)


def _far(graph: Graph, maker: str, reach: float) -> set[Value]:
    """Values that would be rebuilt from more than `reach` times their own bytes, if none of them were kept."""
    found: set[Value] = set()
    if reach == math.inf:
        return found
    sources: dict[Value, frozenset[Value]] = {}
    for node in graph.nodes:
        if node.origin.role != maker or not can_recompute(node):
            continue
        for value in node.outputs:
            read = frozenset[Value]().union(*(sources.get(v, (v,)) for v in node.inputs))
            if sum(v.type.nbytes for v in read) > reach * value.type.nbytes:
                found.add(value)
            else:
                sources[value] = read
    return found


def _kept(graph: Graph, maker: str, far: set[Value]) -> set[Value] | None:
    """The values made in the role `maker` to keep for what comes later, or None where that reads none; those of `far`
    are not rebuilt.
    """
    early = [node for node in graph.nodes if not _is_later(node, maker)]
    values = [*graph.inputs, *(v for node in early for v in node.outputs)]
    number = {value: i for i, value in enumerate(values)}
    read = {v for node in graph.nodes if _is_later(node, maker) for v in node.inputs if v in number}
    wanted = {v for v in read if v.node is not None and v.node.origin.role == maker}
    if not wanted:
        return None

    late = {v for node in graph.nodes if node.origin.role != "forward" for v in node.inputs}

    def rebuildable(value: Value) -> bool:
        # What reads a value of another role, a step counter of the optimizer, stays where it is.
        node = value.node
        if node is None or node.origin.role != maker or not can_recompute(node) or value in far:
            return False
        return all(v in number for v in node.inputs)

    def weight(value: Value) -> int:
        # What was kept before is there anyway.
        there = value.node is None or (value.node.origin.role != maker and value in late)
        nbytes = value.type.nbytes
        return 0 if there else max(nbytes - nbytes // _SLIGHT if value in far else nbytes, 1)

    return cheapest_cut(wanted, rebuildable, weight)


def cheapest_cut(
    wanted: Iterable[Value], rebuildable: Callable[[Value], bool], weight: Callable[[Value], int]
) -> set[Value]:
    """The values of the least bytes in all from which every wanted one can be rebuilt through rebuildable nodes.

    Among equal cuts the one nearest to what is wanted. A rebuildable value that is made of nothing costs nothing.
    """
    wanted = list(dict.fromkeys(wanted))
    # Only what lies upstream of a wanted value through rebuildable nodes takes part.
    part: dict[Value, int] = {}
    stack = list(wanted)
    while stack:
        value = stack.pop()
        if value in part:
            continue
        part[value] = len(part)
        if value.node is not None and rebuildable(value):
            stack.extend(value.node.inputs)
    source, sink = 2 * len(part), 2 * len(part) + 1
    edges = [(2 * part[value] + 1, sink, _UNBOUNDED) for value in wanted]
    for value, i in part.items():
        node = value.node if value.node is not None and rebuildable(value) else None
        free = node is not None and not node.inputs
        edges.append((2 * i, 2 * i + 1, 0 if free else -(-weight(value) // _UNIT)))
        if node is None:
            edges.append((source, 2 * i, _UNBOUNDED))
        else:
            edges += ((2 * part[v] + 1, 2 * i, _UNBOUNDED) for v in dict.fromkeys(node.inputs))
    behind = sink_side(edges, source, sink)
    return {value for value, i in part.items() if 2 * i not in behind and 2 * i + 1 in behind}


def _rebuilt(graph: Graph, kept: set[Value], maker: str) -> Graph:
    b = Builder()
    mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    again: dict[Value, Value] = {}

    def rebuilt(value: Value) -> Value:
        """`value` for a reader in the backward; a stack, because chains may be long."""
        stack = [value]
        while stack:
            top = stack[-1]
            node = top.node
            if top in again:
                stack.pop()
            elif node is None or top in kept or node.origin.role != maker or not can_recompute(node):
                again[top] = mapping[top]
                stack.pop()
            elif missing := [v for v in node.inputs if v not in again]:
                stack.extend(missing)
            else:
                copied = b.copy(node, [again[v] for v in node.inputs], replace(node.origin, role="backward"))
                again.update(zip(node.outputs, copied.outputs))
                stack.pop()
        return again[value]

    for node in graph.nodes:
        inputs = [rebuilt(v) if _is_later(node, maker) else mapping[v] for v in node.inputs]
        copied = b.copy(node, inputs)
        mapping.update(zip(node.outputs, copied.outputs))
    outputs = [mapping[v] for v in graph.outputs]
    return without_dead_code(b.graph(outputs, graph.aliases, graph.output_names))
