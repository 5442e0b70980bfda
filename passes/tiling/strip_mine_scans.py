"""Strip-mining of loops over time: the products around a loop are made segment by segment, with its iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...ir import Graph, Node, Recompute, Value
from ...ir.ops import contraction, indexing, movement
from ...ir.ops import elementwise as ew
from ..graph.rewrite import Pass
from ..graph.scan import Scan
from ..graph.topological_order import topological_order
from ..kernels.cost import work
from ..target import DEFAULT_TARGET, Target
from .tile_size import Limits, TileCosts, divisors
from .tiled_axis import Axis, Untileable, all_operands, follow, through_reshape
from .tiled_loop import RowLoop, with_loops

_OF_CACHE, _OF_CACHE_IN_A_SEGMENT = 16, 4
"""What takes less than this part of the last cache stays there, or does not weigh. In a segment, which is cut again
where it holds a larger part, so much more does."""
_LEAST_SEGMENTS = 8
"""With fewer of them a segment holds much of what the whole sequence does."""
_OVERHEAD = 0.05
"""What segments add to the time of the products is at most this part of it."""
_SHARING = (0.05, 0.1, 0.2)
"""Threads that share every product of a segment may lose the first of these parts of the time of the products. Where no
segment loses so little, they may lose the next one of this time and of that of the barriers of the loop's own steps.
That is so for small products: beside the loop they take little time, but hold a good part of its bytes.
"""
_MOST_NODES = 400
"""Loops with more nodes between them are more than layers."""
_LONGEST_CHAIN = 32
"""What is made again is made in so many nodes, one after the other, at most."""
_STEPS = Axis(0, 1)
_ROLES = ("forward", "recompute", "optimizer", "backward")


@dataclass(frozen=True)
class StripMineScans(Pass):
    """gates = x @ w                             scan over segments:
    ys = loop(gates)                   ->         gates = x of the segment @ w
                                                  ys of the segment = loop(gates)
    dgates = backward loop(dys)               reverse scan over segments:
    dw = x^T @ dgates                  ->         dgates = backward loop(dys of the segment)
    dx = dgates @ w^T                             dw += x^T of the segment @ dgates
                                                  dx of the segment = dgates @ w^T

    A loop over time becomes a loop over segments, each a loop over the iterations of one segment. Products that make
    its sequences, and those that read its stacks, run in the segments too. So gates and their gradients exist for one
    segment only. Loops of layers run in the same segments where one reads the stack of the other and both have one
    direction. A product that makes less than it reads stays before the loop. Short or small sequences stay as they are.
    Iterations behind the last whole segment run outside. Segments follow from the graph and the target alone, since
    they fix the order of sums. `steps` is the length of all segments, whatever they cost; 0 leaves it to the pass.

    Known elsewhere as strip-mining or loop sectioning, with the fusion of producers and consumers into the strips.
    """

    saves_by_tiles = True

    steps: int = 0
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        scans = [node for node in graph.nodes if _is_over_time(node)]
        if not scans:
            return graph
        groups = _groups(graph, scans)
        cheap = _recomputable(graph)
        for group in groups:
            group.recomputed = _recomputed_in(group, groups, cheap)
            group.axes.update((n.output, place) for n, place in group.recomputed.items())
        groups = [group for group in groups if self.steps or group.largest() >= _least_bytes(group, graph, self.target)]
        alike = {group.length: [g for g in groups if g.length == group.length] for group in groups}
        users = graph.users()
        steps: dict[int, int] = {}
        for length, same in alike.items():
            limits = _SHARING[:1] if any(_is_segment(g, graph) for g in same) else _SHARING
            steps[length] = self.fixed(length) or _steps_of_a_segment(same, users, limits, self.target)
        groups = [group for group in groups if steps[group.length]]
        rows = [_row_loop(group, cheap, steps[group.length]) for group in groups]
        return with_loops(graph, rows) if rows else graph

    def fixed(self, length: int) -> int:
        """`steps` where loops of this length have segments of so many; otherwise 0."""
        return self.steps if length >= _LEAST_SEGMENTS * self.steps else 0


def _is_over_time(node: Node) -> bool:
    """Whether a node is a loop of many steps, each of which needs the one before for more than a sum."""
    if not node.op.is_scan or node.attrs["length"] < 2 * _LEAST_SEGMENTS:
        return False
    scan = Scan(node)
    users = scan.body.users()
    return any(not _is_sum(users, old, new) for old, new in zip(scan.body_carries, scan.new_carries))


def _is_sum(users: Mapping[Value, Sequence[Node]], value: Value, total: Value) -> bool:
    """Whether a carry is only added to, up to its new value, `total`."""
    while value is not total:
        readers = users[value]
        if len(readers) != 1 or readers[0].op not in (ew.add, indexing.scatter_add):
            return False
        value = readers[0].output
    return True


@dataclass
class _Group:
    """Loops over time that run in the same segments, and the nodes that run with them, in the order of the graph.

    `axes` tells where time is in what they make. Nodes of `sums` sum over it. What is `looked_up` in a table for the
    steps is looked up in every loop that reads it; products that make no less than they read, `wide`, are made in every
    loop that runs again. What others have that is made `anew` here is not among the nodes.
    """

    length: int
    scans: list[Node]
    nodes: list[Node] = field(default_factory=list["Node"])
    axes: dict[Value, Axis] = field(default_factory=dict["Value", Axis])
    sums: list[Node] = field(default_factory=list["Node"])
    looked_up: dict[Node, Axis] = field(default_factory=dict["Node", Axis])
    wide: dict[Node, Axis] = field(default_factory=dict["Node", Axis])
    recomputed: dict[Node, Axis] = field(default_factory=dict["Node", Axis])

    def largest(self) -> int:
        """Bytes of the largest value that stands for a segment alone, if a product makes or reads it."""
        products = [n for n in (*self.nodes, *self.recomputed) if n.op is contraction.dot]
        return max((v.type.nbytes for n in products for v in (*n.inputs, n.output) if v in self.axes), default=0)

    def straight(self) -> list[Node]:
        """The nodes that are no loops over time."""
        return [node for node in self.nodes if node not in self.scans]

    def alone(self, users: Mapping[Value, Sequence[Node]]) -> set[Value]:
        """What products read or make of the group that nothing else reads: it stands for a segment alone."""
        inside = set(self.nodes)

        def is_read_here(value: Value) -> bool:
            readers = users[value]
            return inside.issuperset(readers) and all(is_read_here(n.output) for n in readers if n.op.is_view)

        found: set[Value] = set()
        for node in self.straight():
            for value in (*node.inputs, node.output) if node.op is contraction.dot else ():
                while value.node in inside and value.node.op.is_view:
                    value = value.node.inputs[0]
                if value.node in inside and value in self.axes and is_read_here(value):
                    found.add(value)
        return found

    def batched(self) -> dict[Value, Axis]:
        """`axes` with what comes in for products."""
        found = dict(self.axes)
        for node in self.straight():
            if node.op is contraction.dot:
                found.update(all_operands(node, {v: self.axes[v] for v in node.inputs if v in self.axes}))
                if node.output in self.axes:
                    found.update(_sources(node, self.axes[node.output], self.length) or {})
        return found


# ---- which loops run together, and what with them


def _groups(graph: Graph, scans: Sequence[Node]) -> list[_Group]:
    """Groups of loops, of the forward first, then those that run again; as many loops in one as do not wait for each
    other, in the backward those whose forwards are in one, so that it can run these again.
    """
    found: list[_Group] = []
    home: dict[Node, _Group] = {}
    taken: set[Node] = set()
    # The forward comes first, because a group of the backward follows the one of its forward. Of each role the last
    # loop comes first, because a group grows from a loop towards those whose stacks it reads.
    for scan in (s for role in _ROLES for s in reversed(scans) if s.origin.role == role):
        if scan in taken:
            continue
        of_forward = home.get(_forward_of(scan, scans))
        alike = [s for s in scans if _alike(s, scan) and home.get(_forward_of(s, scans)) is of_forward]
        # Layers that wait for each other's ends cannot share segments: then the loop has segments of its own.
        for together in (alike, [scan]):
            group = _group(graph, scan, taken, together)
            if group is not None and _in_order(graph, [*found, group]):
                found.append(group)
                home.update(dict.fromkeys(group.scans, group))
                taken.update(group.nodes)
                break
    return found


def _forward_of(scan: Node, scans: Sequence[Node]) -> Node:
    """The loop that a loop of the backward is the derivative of; of another the loop itself."""
    made = (s for v in scan.inputs for s in scans if v.node is s and not _is_backward(s))
    return next(made, scan) if _is_backward(scan) else scan


def _is_backward(scan: Node) -> bool:
    return scan.origin.role == "backward"


def _in_order(graph: Graph, groups: Sequence[_Group]) -> bool:
    unit_of: dict[Node, Node | int] = {node: node for node in graph.nodes}
    for i, group in enumerate(groups):
        unit_of.update(dict.fromkeys(group.nodes, i))
    try:
        topological_order(graph, unit_of)
    except ValueError:
        return False
    return True


def _group(graph: Graph, scan: Node, taken: set[Node], together: Sequence[Node]) -> _Group | None:
    """A loop, and those before it that may run `together` with it, with the nodes between them; in the forward with
    those that make what it reads from what is no wider, in the backward with those that read what it makes. None where
    one of them needs the end of another.
    """
    length, forward = scan.attrs["length"], not _is_backward(scan)
    scans, before = _behind(scan, taken, together)
    group = _Group(length, scans)
    group.looked_up.update((n, place) for n, place in before.items() if forward and n.op is indexing.gather)
    made: set[Value] = set()
    late: set[Value] = set()
    ends: set[Node] = set(scans)
    for node in graph.nodes:
        if (node in scans or node in before) and not late.isdisjoint(node.inputs):
            return None
        if node in scans:
            late.update(Scan(node).last_carries)
            group.axes.update((v, _STEPS) for v in Scan(node).ys)
        elif node in before and (not made.isdisjoint(node.inputs) or (forward and _widens(node, before[node], length))):
            group.axes.update((v, before[node]) for v in node.outputs)
            ends.add(node)
        elif made.isdisjoint(node.inputs) and late.isdisjoint(node.inputs):
            continue
        elif forward or node in taken or not _follows(group, node, late):
            late.update(node.outputs)
            continue
        elif node.op is contraction.dot or node in group.sums:
            ends.add(node)
        made.update(node.outputs)
        group.nodes.append(node)
    users = graph.users()
    kept: set[Node] = set()
    # What leads to no loop, product or sum of the group would run in segments for nothing.
    for node in reversed(group.nodes):
        if node in ends or any(not kept.isdisjoint(users[v]) for v in node.outputs):
            kept.add(node)
    group.nodes = [node for node in group.nodes if node in kept]
    if forward:
        group.wide.update((n, before[n]) for n in group.nodes if n in before and _widens(n, before[n], length))
    return group


def _follows(group: _Group, node: Node, late: set[Value]) -> bool:
    """Whether a node that reads what the group makes can run with it; where it is entered in the group."""
    known = {v: group.axes[v] for v in node.inputs if v in group.axes}
    if not known or not late.isdisjoint(node.inputs) or len(group.nodes) >= _MOST_NODES or node.op.is_scan:
        return False
    try:
        place = follow(node, all_operands(node, known), group.length)
    except Untileable:
        return False
    if place is None:
        group.sums.append(node)
        late.update(node.outputs)
    else:
        group.axes.update((v, place) for v in node.outputs)
    return True


def _behind(scan: Node, taken: set[Node], together: Sequence[Node]) -> tuple[list[Node], dict[Node, Axis]]:
    """The loops in whose segments a loop runs, and the nodes that make what they read step by step, with the axis that
    is time.
    """
    length = scan.attrs["length"]
    scans = [scan]
    found: dict[Node, Axis] = {}
    pending = [(v, _STEPS) for v in Scan(scan).xs]
    while pending and len(found) < _MOST_NODES:
        value, place = pending.pop()
        node = value.node
        if node is None or node in found or node in scans or node in taken:
            continue
        if node.op.is_scan:
            if node in together and place == _STEPS and value in Scan(node).ys:
                scans.append(node)
                pending += ((v, _STEPS) for v in Scan(node).xs)
            continue
        sources = _sources(node, place, length)
        if sources is not None:
            found[node] = place
            pending += sources.items()
    return scans, found


def _alike(node: Node, scan: Node) -> bool:
    """Whether two loops over time go through the same steps in the same order, both forward or both backward."""
    same = all(node.attrs[key] == scan.attrs[key] for key in ("length", "reverse"))
    return same and node.origin.role == scan.origin.role


def _widens(node: Node, place: Axis, length: int) -> bool:
    """Whether a node is a product that makes no less than it reads."""
    sources = _sources(node, place, length) or {}
    return node.op is contraction.dot and all(v.type.size <= node.output.type.size for v in sources)


def _sources(node: Node, place: Axis, length: int) -> dict[Value, Axis] | None:
    """The inputs of a node along which its output is batched on this axis; None where it needs more than they have."""
    if len(node.outputs) > 1 or node.op.body != "none" or node.op.family == "window" or not node.inputs:
        return None
    if node.op.is_check:
        return None
    try:
        if node.op is movement.reshape:
            source = node.inputs[0]
            found = {source: through_reshape(node.output.type.shape, source.type.shape, place, length)}
        else:
            rule = node.op.axes([v.type for v in node.inputs], node.output.type, node.attrs)
            found: dict[Value, Axis] = {}
            for value, of_input in zip(node.inputs, rule):
                axis = of_input[place.axis]
                if axis is not None and value.type.shape[axis] == length * place.inner:
                    found[value] = Axis(axis, place.inner)
        return found if found and follow(node, found, length) == place else None
    except Untileable:
        return None


# ---- segments


def _is_segment(group: _Group, graph: Graph) -> bool:
    """Whether the loops of a group go on with what `graph` is given, and give it back: as those of a segment do, which
    is the body of a loop itself.
    """
    ends = set(graph.outputs)
    scans = [Scan(node) for node in group.scans]
    return all(v.node is None for s in scans for v in s.carries) and ends.issuperset(
        v for s in scans for v in s.last_carries
    )


def _least_bytes(group: _Group, graph: Graph, target: Target) -> int:
    return target.l3_bytes // (_OF_CACHE_IN_A_SEGMENT if _is_segment(group, graph) else _OF_CACHE)


def _steps_of_a_segment(
    groups: Sequence[_Group], users: Mapping[Value, Sequence[Node]], limits: Sequence[float], target: Target
) -> int:
    """The fewest steps of a segment for all these loops of one length that cost little time, or less than what need not
    go through memory saves; or up to twice as many of which none are left over. Of the `limits` of what sharing a
    segment may cost the first is taken that a segment keeps; 0 if all cost much.
    """
    length = groups[0].length
    alone = sum(v.type.nbytes for g in groups for v in g.alone(users))
    costs = TileCosts(
        [(g.straight(), g.batched()) for g in groups],
        length,
        target,
        time=sum(work(g.nodes, target) for g in groups),
        saved=2 * alone * (1 / target.memory_bytes_per_ns - 1 / target.cache_bytes_per_ns),
    )
    # Each step of the loops ends at a barrier in any case.
    with_barriers = replace(costs, barriers=sum(2 * target.barrier_ns * length * len(g.scans) for g in groups))
    most = length // _LEAST_SEGMENTS
    for limit in limits:
        known, allowed = costs if limit == _SHARING[0] else with_barriers, Limits(_OVERHEAD, limit)
        least = known.smallest(allowed, range(2, most + 1))
        if least:
            return known.smallest(allowed, divisors(length, least, min(2 * least, most))) or least
    return 0


def _row_loop(group: _Group, cheap: set[Value], steps: int) -> RowLoop:
    """The loop over segments of a group, in which what is `cheap` is made again."""
    nodes, recomputed = dict.fromkeys(group.nodes), dict.fromkeys(group.recomputed)
    scans = frozenset(group.scans)
    return RowLoop(group.length, steps, 0, group.axes, cheap.__contains__, nodes, recomputed, scans=scans)


def _recomputed_in(group: _Group, groups: Sequence[_Group], cheap: set[Value]) -> dict[Node, Axis]:
    """What a group reads that is looked up for others too, or made where its loops run for the first time."""
    alike = [g for g in groups if g.length == group.length]
    there = {n: place for g in alike for n, place in g.looked_up.items()}
    if any(scan.origin.role == "recompute" for scan in group.scans):
        there.update((n, place) for g in alike if g is not group for n, place in g.wide.items())
    read = _read(group, cheap)
    return {n: place for n, place in there.items() if n.output in read}


def _read(group: _Group, cheap: set[Value]) -> set[Value]:
    """What the nodes of a group read that they do not make, and what that is made of again."""
    made = {v for node in group.nodes for v in node.outputs}
    pending = [v for node in group.nodes for v in node.inputs if v not in made]
    found: set[Value] = set()
    while pending:
        value = pending.pop()
        if value in found:
            continue
        found.add(value)
        if value.node is not None and (value in cheap or value.node.op.is_view):
            pending += value.node.inputs
    return found


def _recomputable(graph: Graph) -> set[Value]:
    """Element-wise values that are made of no more bytes than they have, beside inputs of the graph, in a few nodes."""
    sources: dict[Value, frozenset[Value]] = {}
    depths: dict[Value, int] = {}
    found: set[Value] = set()
    for node in graph.nodes:
        if node.op.family == "creation" and not node.op.is_stored:
            sources.update(dict.fromkeys(node.outputs, frozenset()))
        elif node.op.recompute >= Recompute.CHEAP:
            whole = frozenset(s for v in node.inputs for s in sources.get(v, _own(v)))
            depth = 1 + max((depths.get(v, 0) for v in node.inputs), default=0)
            if sum(s.type.nbytes for s in whole) <= node.output.type.nbytes and depth <= _LONGEST_CHAIN:
                sources[node.output], depths[node.output] = whole, depth
                if not node.op.is_view:
                    found.add(node.output)
    return found


def _own(value: Value) -> frozenset[Value]:
    return frozenset() if value.node is None else frozenset((value,))
