"""Min-cut rematerialization: which values of the forward are residuals, and which the backward recomputes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ...ir import Builder, Graph, Node, Recompute, Value
from ..graph.dead_code import without_dead_code
from ..graph.min_cut import sink_side
from ..graph.rewrite import Pass, rewrite_nodes
from ..target import DEFAULT_TARGET, Target
from .remat_bytes import peak_bytes

# Capacities are counted in units of this many bytes: smaller differences are not worth another order.
_UNIT = 256
_UNBOUNDED = 1 << 62
# A value out of reach counts for one part in so many less than its bytes, so that it wins against its equals: it is
# what other values are recomputed from, and a value of the same size next to it is not.
_TIE_BREAK = 32
# Reaches that are tried, from far to near, where fewer residuals may not mean a lower peak.
_REACHES = (8, 4.5, 3)
# A lower peak counts from one part in so many.
_WORTH = 20


@dataclass(frozen=True)
class MinCutRemat(Pass):
    """y = f(x), backward reads y    ->    backward reads f(x), where x is a cheaper residual, and f is element-wise.

    Residuals are the fewest bytes of forward values from which the backward can recompute all that it reads, by
    element-wise ops and views alone. They are a minimum cut. An edge leads from each value to its recomputable readers,
    with the value's bytes as its capacity. The source is what must be computed anyway, the sink is what the backward
    reads. Graph inputs cost nothing. Of several minimum cuts the one nearest to the backward is taken, which recomputes
    least. Known elsewhere as the min-cut partitioner of PyTorch's AOTAutograd; here only ops that a fused loop gives
    for free are recomputed.

    Values whose recomputation reads more than `reach` times their own bytes are residuals. Otherwise the cut would
    recompute a whole residual stream from the output of each layer. With a reach the stream is kept at every few
    layers, and the layers between may be recomputed by themselves. Without a `reach` there is no bound, unless the
    recomputed chain, which is live as a whole once its end is needed, would take more bytes than keeping some of it:
    see `peak_bytes`.

    A comparison of forward values moves to the forward. Where the backward of a relu reads nothing but the sign, the
    residual is a boolean.
    """

    reach: float | None = None
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        graph = _move_comparisons_forward(graph)
        # What `checkpoint` recomputes leaves residuals of its own for the backward, by the same rule.
        for role in ("forward", "recompute"):
            residuals = _residuals(
                graph, role, _out_of_reach(graph, role, math.inf if self.reach is None else self.reach)
            )
            if residuals is not None:
                residuals = residuals if self.reach is not None else _lowest_peak(graph, role, residuals, self.target)
                graph = _recomputing(graph, residuals, role)
        return graph


def _lowest_peak(graph: Graph, role: str, residuals: set[Value], target: Target) -> set[Value]:
    """Residuals for the fewest live bytes: `residuals`, which are the fewest in all, or some more of them.

    The minimum cut counts what is kept, not what is recomputed at once. A long chain may be live as a whole while its
    end is read, so a nearer reach is tried as long as the chain is a good part of the peak.
    """

    def peak(residuals: set[Value]) -> tuple[int, int]:
        def is_recomputed(value: Value) -> bool:
            node = value.node
            return node is not None and value not in residuals and node.origin.role == role and can_recompute(node)

        return peak_bytes(graph, residuals, lambda node: _is_later(node, role), is_recomputed, target)

    lowest, kept_bytes = peak(residuals)
    far: set[Value] = set()
    for reach in _REACHES:
        if lowest - kept_bytes <= lowest // _WORTH:
            break
        before, far = far, _out_of_reach(graph, role, reach)
        more = _residuals(graph, role, far) if far != before else None
        if more is not None and (found := peak(more)[0]) + lowest // _WORTH < lowest:
            residuals, lowest = more, found
    return residuals


def _is_later(node: Node, role: str) -> bool:
    """Whether a node is a reader of residuals that nodes of `role` leave."""
    earlier = ("forward", "recompute") if role == "recompute" else ("forward",)
    return node.origin.role not in earlier


def is_comparison(node: Node) -> bool:
    """Whether a node makes booleans of larger elements."""
    if not node.op.is_elementwise or node.output.type.dtype.kind != "b":
        return False
    return node.inputs[0].type.dtype.itemsize > 1


def _move_comparisons_forward(graph: Graph) -> Graph:
    """Comparisons of forward values, or of recomputed ones, get the role of these values; the constants that they
    compare with too.
    """
    roles = {node: role for node in graph.nodes if (role := _earlier_role(node)) is not None}
    if not roles:
        return graph

    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        if node not in roles:
            return None
        role = roles[node]
        alone = [v.node for v in inputs if v.node is not None and not v.node.inputs]
        constants = {m.output: b.copy(m, [], m.origin.with_role(role)).output for m in alone}
        return [b.copy(node, [constants.get(v, v) for v in inputs], node.origin.with_role(role)).output]

    return without_dead_code(rewrite_nodes(graph, rule))


def _earlier_role(node: Node) -> str | None:
    """The role of the operands of a comparison in the backward, if that is an earlier one."""
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
    """Whether the forward has values that a pass with this `reach` would keep, in the bodies of loops too."""
    bodies = (body for node in graph.nodes for body in node.bodies)
    return bool(_out_of_reach(graph, "forward", reach)) or any(has_far_values(body, reach) for body in bodies)


def _out_of_reach(graph: Graph, role: str, reach: float) -> set[Value]:
    """Values whose recomputation would read more than `reach` times their own bytes.

    A value that is found ends the chain: what is made of it is recomputed from it, and counts from there.
    """
    found: set[Value] = set()
    if reach == math.inf:
        return found
    sources: dict[Value, frozenset[Value]] = {}
    for node in graph.nodes:
        if node.origin.role != role or not can_recompute(node):
            continue
        for value in node.outputs:
            read = frozenset[Value]().union(*(sources.get(v, (v,)) for v in node.inputs))
            if sum(v.type.nbytes for v in read) > reach * value.type.nbytes:
                found.add(value)
            else:
                sources[value] = read
    return found


def _residuals(graph: Graph, role: str, far: set[Value]) -> set[Value] | None:
    """The values of `role` to keep for later nodes, or None if these read none; those of `far` are not recomputed."""
    early = [node for node in graph.nodes if not _is_later(node, role)]
    values = [*graph.inputs, *(v for node in early for v in node.outputs)]
    number = {value: i for i, value in enumerate(values)}
    read = {v for node in graph.nodes if _is_later(node, role) for v in node.inputs if v in number}
    wanted = {v for v in read if v.node is not None and v.node.origin.role == role}
    if not wanted:
        return None

    late = {v for node in graph.nodes if node.origin.role != "forward" for v in node.inputs}

    def recomputable(value: Value) -> bool:
        # A node that reads a value of another role, as the optimizer's step counter, stays where it is.
        node = value.node
        if node is None or node.origin.role != role or not can_recompute(node) or value in far:
            return False
        return all(v in number for v in node.inputs)

    def weight(value: Value) -> int:
        # A residual of the forward costs nothing to what `checkpoint` recomputes: it is live anyway.
        there = value.node is None or (value.node.origin.role != role and value in late)
        nbytes = value.type.nbytes
        return 0 if there else max(nbytes - nbytes // _TIE_BREAK if value in far else nbytes, 1)

    return fewest_bytes(wanted, recomputable, weight)


def fewest_bytes(
    wanted: Iterable[Value], recomputable: Callable[[Value], bool], weight: Callable[[Value], int]
) -> set[Value]:
    """The values of the least weight from which every wanted value can be recomputed, through recomputable nodes.

    Of several minimum cuts the one nearest to the wanted values. A constant costs nothing.
    """
    wanted = list(dict.fromkeys(wanted))
    # The network has the values upstream of a wanted one, as far as recomputable nodes lead. Value i is the edge from
    # node 2i to node 2i + 1: to cut it is to keep the value. All other edges are unbounded, so they are never cut.
    part: dict[Value, int] = {}
    stack = list(wanted)
    while stack:
        value = stack.pop()
        if value in part:
            continue
        part[value] = len(part)
        if value.node is not None and recomputable(value):
            stack.extend(value.node.inputs)
    source, sink = 2 * len(part), 2 * len(part) + 1
    edges = [(2 * part[value] + 1, sink, _UNBOUNDED) for value in wanted]
    for value, i in part.items():
        node = value.node if value.node is not None and recomputable(value) else None
        free = node is not None and not node.inputs
        edges.append((2 * i, 2 * i + 1, 0 if free else -(-weight(value) // _UNIT)))
        if node is None:
            edges.append((source, 2 * i, _UNBOUNDED))
        else:
            edges += ((2 * part[v] + 1, 2 * i, _UNBOUNDED) for v in dict.fromkeys(node.inputs))
    behind = sink_side(edges, source, sink)
    return {value for value, i in part.items() if 2 * i not in behind and 2 * i + 1 in behind}


def _recomputing(graph: Graph, residuals: set[Value], role: str) -> Graph:
    """The graph whose later nodes read residuals, or copies of the nodes that recompute from these."""
    b = Builder()
    mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    copies: dict[Value, Value] = {}

    def for_later(value: Value) -> Value:
        """`value` for a later reader. An explicit stack: chains may be longer than Python's recursion limit."""
        stack = [value]
        while stack:
            top = stack[-1]
            node = top.node
            if top in copies:
                stack.pop()
            elif node is None or top in residuals or node.origin.role != role or not can_recompute(node):
                copies[top] = mapping[top]
                stack.pop()
            elif missing := [v for v in node.inputs if v not in copies]:
                stack.extend(missing)
            else:
                copied = b.copy(node, [copies[v] for v in node.inputs], replace(node.origin, role="backward"))
                copies.update(zip(node.outputs, copied.outputs))
                stack.pop()
        return copies[value]

    for node in graph.nodes:
        inputs = [for_later(v) if _is_later(node, role) else mapping[v] for v in node.inputs]
        copied = b.copy(node, inputs)
        mapping.update(zip(node.outputs, copied.outputs))
    outputs = [mapping[v] for v in graph.outputs]
    return without_dead_code(b.graph(outputs, graph.aliases, graph.output_names))
