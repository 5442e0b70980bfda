"""Fusion: element-wise nodes and reductions become regions, loops whose inner values never lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import NOWHERE, OPS, Builder, Graph, Node, Recompute, Value
from ...ir.ops import elementwise as ew
from ...ir.ops import movement
from ..autodiff.min_cut_remat import is_comparison
from ..graph.casts import is_narrowing, is_widening, rounds_input
from ..graph.rewrite import Pass
from ..graph.topological_order import topological_order
from ..graph.views import base_of
from ..kernels.loop_nest import reduction_form, squeezed, summed_tiles
from ..target import DEFAULT_TARGET, Target

# Nodes of a region: a longer body compiles too slowly, and holds too many numbers at once.
_MAX_NODES = 256
# Products that are live at once because one sum reads them all. A longer sum adds each as soon as it is computed.
_MAX_WAITING = 4


@dataclass(frozen=True)
class Fuse(Pass):
    """`a = f(x); b = g(a, y); s = reduce_sum(b)` -> `b, s = region(x, y)`, with f, g and the sum in its body.

    Known elsewhere as loop fusion, producer-consumer fusion and multi-output fusion (XLA), fused kernels (Inductor).

    A region runs over a *domain*, its largest shape without axes of length 1. The first `rows` axes of the domain count
    rows, the other axes are the inside of a row. Every value of the body is *full* (an element for each element of the
    domain), a *row* value (an element for each row), or the result of a *crossing* reduction over rows, which nothing
    in the region reads. The order in which a crossing reduction adds follows from its operand alone. A region holds
    only reductions that want the same rows and tiles, so no bit depends on what is fused with what.

    First, nodes join the region of a consumer, last nodes first. What is cheap is so computed where it is read, instead
    of being stored. Second, regions join the region of a producer, where that saves more bytes than it costs: a
    crossing reduction joins the region of its operand. The additions of a sum of many products join nothing, lest all
    products wait for the last one.

    With `separate_comparisons` the backward compares values of the forward in regions of their own. Booleans, a quarter
    of the bytes, are then the residuals that wait for the gradient that they select.
    """

    separate_comparisons: bool = False
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        groups = _join_consumers(graph, self.separate_comparisons, self.target)
        _join_producers(graph, groups)
        return _emit(graph, groups)


@dataclass(eq=False)
class _Group:
    """A region under construction; `kinds` says of each member whether it is full, row or crossing.

    `rows` is None until a member asks for a number of row axes; it is -1 where one asks for one axis cut into chunks.

    Two numbers keep the groups free of cycles without a search in the graph. The height of a group is above that of all
    groups that read it, its depth above that of all groups that it reads.

    A group that `widens` begins with a cast from bfloat16 for a reader that is no region: what makes the bfloat16 stays
    outside, and stores that.
    """

    height: int
    fusable: bool
    machine: Target
    widens: bool = False
    domain: tuple[int, ...] = ()
    rows: int | None = None
    kinds: dict[Node, str] = field(default_factory=dict["Node", str])
    depth: int = 0

    def shape_of(self, kind: str) -> tuple[int, ...]:
        return self.domain if kind == "full" or self.rows is None or self.rows < 0 else self.domain[: self.rows]


def _is_stored_for_readers(node: Node, readers: list[Node], separate_comparisons: bool) -> bool:
    """Whether a value lies in memory for its readers, and so joins none of them.

    A saved value does, so that its readers can be recomputed without it. So do booleans whose readers are all of
    another role, and what is rounded for these: they are residuals, and smaller than their operands.
    """
    if is_narrowing(node):
        return all(r.origin.role != node.origin.role for r in readers)
    if not is_comparison(node):
        return node.op.recompute is Recompute.NEVER
    return (separate_comparisons and compares_forward(node)) or all(r.origin.role != node.origin.role for r in readers)


def compares_forward(node: Node) -> bool:
    """Whether a node of the backward compares arrays of the forward."""
    if node.origin.role != "backward" or not is_comparison(node):
        return False
    made = [v.node for v in node.inputs if v.node is None or not v.node.op.is_generated]
    return bool(made) and all(other is not None and other.origin.role != "backward" for other in made)


def _reads_saved(members: list[Node]) -> bool:
    return any(v.node is not None and v.node.op.recompute is Recompute.NEVER for node in members for v in node.inputs)


def _new_group(node: Node, height: int, machine: Target) -> _Group:
    group = _Group(height, node.op.is_fusible, machine)
    if not group.fusable:
        return group
    if node.op.is_reduction:
        group.domain = squeezed(node.inputs[0].type.shape)
        form, rows = reduction_form(node)
        if form == "all" and "axis" in node.attrs:
            form, rows = "row", 0  # the only row; argmax has no partial results that could be combined
        group.kinds[node] = "row" if form == "row" else "crossing"
        group.rows = len(group.domain) - 1 or -1 if form == "all" else rows
    else:
        group.domain = squeezed(node.output.type.shape)
        group.kinds[node] = "full"
        group.widens = is_widening(node)
    return group


def _join_consumers(graph: Graph, separate_comparisons: bool, machine: Target) -> dict[Node, _Group]:
    consumers = graph.users()
    outputs = set(graph.outputs)
    alone = _long_sums(graph, consumers)
    groups: dict[Node, _Group] = {}
    for node in reversed(graph.nodes):
        readers = [r for v in node.outputs for r in consumers[v]]
        reading = {id(groups[r]): groups[r] for r in readers}
        height = 1 + max((g.height for g in reading.values()), default=0)
        group = None
        joins = node.op.fusion != "never" and node not in alone
        if reading and joins and not _is_stored_for_readers(node, readers, separate_comparisons):
            # The highest group is the only safe one. A path may lead from it to a lower consumer. In the lower group
            # the node would have to run before the highest group reads it, and after the highest group has run: a
            # cycle. Between groups of one height there is no path, since heights fall along every edge: they may become
            # one.
            top = max(g.height for g in reading.values())
            highest = [g for g in reading.values() if g.height == top]
            best = highest[0]
            # A shared view or constant is no reason to merge units: apart, each frees its inputs when it has run.
            movable = node.op.fusion != "reshaping" and not node.op.is_generated
            if len(highest) == 1 or (movable and _merge_siblings(highest, groups)):
                # Inside a region a view is a value of the loop. If lower groups read it too, it stays a view of memory.
                shared_view = node.op.fusion == "reshaping" and (len(reading) > len(highest) or node.output in outputs)
                members = [r for r in readers if groups[r] is best]
                open_ = not best.widens or rounds_input(node)
                if (
                    best.fusable
                    and open_
                    and not shared_view
                    and len(best.kinds) < _MAX_NODES
                    and _join(best, node, members)
                ):
                    group = best
        groups[node] = group or _new_group(node, height, machine)
    return groups


def _long_sums(graph: Graph, consumers: Mapping[Value, Sequence[Node]]) -> set[Node]:
    """The additions of sums with many products as terms; each is a unit of its own.

    In one region all products would be live until the last one is computed. The last addition may join its consumer.
    """
    outputs = set(graph.outputs)
    last: dict[Node, Node] = {}  # of each addition, the last one of its sum
    waiting: dict[Node, int] = {}  # products among the terms of a sum, by its last addition
    for node in reversed(graph.nodes):
        if node.op is not ew.add:
            continue
        readers = consumers[node.output]
        inner = len(readers) == 1 and readers[0] in last and node.output not in outputs
        last[node] = last[readers[0]] if inner else node
        products = sum(_is_made_outside_regions(value) for value in node.inputs)
        waiting[last[node]] = waiting.get(last[node], 0) + products
    return {node for node, end in last.items() if node is not end and waiting[end] > _MAX_WAITING}


def _is_made_outside_regions(value: Value) -> bool:
    """Whether a value is the result of a unit that is no region, such as a product."""
    producer = base_of(value).node
    return producer is not None and not producer.op.is_stored and not producer.op.is_fusible


def _merge_siblings(siblings: list[_Group], groups: dict[Node, _Group]) -> bool:
    """Make one group of several groups of one height, if their loops are the same."""
    first = siblings[0]
    if not all(g.fusable and g.domain == first.domain for g in siblings) or first.domain == ():
        return False
    asked = {g.rows for g in siblings if g.rows is not None}
    if len(asked) > 1 or not _have_same_tiles(siblings) or sum(len(g.kinds) for g in siblings) > _MAX_NODES:
        return False
    for other in siblings[1:]:
        first.kinds.update(other.kinds)
        first.rows = first.rows if first.rows is not None else other.rows
        groups.update((node, first) for node in other.kinds)
    return True


def _have_same_tiles(groups: list[_Group]) -> bool:
    """Whether all crossing reductions have the same tiles by themselves: tiles fix the order of sums."""
    return len({summed_tiles(n, g.machine) for g in groups for n, kind in g.kinds.items() if kind == "crossing"}) <= 1


def _join(group: _Group, node: Node, readers: list[Node]) -> bool:
    """Enter `node` in the group of all its `readers`, if its shape allows; it may decide the `rows` of the group."""
    wanted = {_reads_as(group, reader, node.output) for reader in readers}
    if len(wanted) != 1:
        return False
    (kind,) = wanted
    out = squeezed(node.output.type.shape)
    if out != group.shape_of(kind):
        return False
    if node.op is movement.reshape:
        if squeezed(node.inputs[0].type.shape) != out:
            return False
        group.kinds[node] = kind
        return True
    if node.op is movement.broadcast:
        return _join_broadcast(group, node, kind)
    if node.op.is_reduction:
        return _join_reduction(group, node, kind)
    group.kinds[node] = kind
    return True


def _reads_as(group: _Group, reader: Node, value: Value) -> str:
    """Whether a member reads `value` as a full or as a row value."""
    kind = group.kinds[reader]
    if reader.op is movement.broadcast and squeezed(value.type.shape) != squeezed(reader.output.type.shape):
        return "row"
    if reader.op.is_reduction:
        return "full" if squeezed(value.type.shape) == group.domain else "row"
    return kind


def _join_broadcast(group: _Group, node: Node, kind: str) -> bool:
    """Enter a broadcast of row values: its source has the leading axes of the domain, and these become the rows."""
    source = squeezed(node.inputs[0].type.shape)
    target = node.output.type.shape
    if kind != "full" or not source:
        return False
    long_axes = [a for a, n in enumerate(target) if n != 1]
    placed = [a for a in node.attrs["axes"] if target[a] != 1]
    if placed != long_axes[: len(placed)]:
        return False
    if len(source) == len(group.domain):
        group.kinds[node] = kind
        return True
    if group.rows is not None and group.rows != len(source):
        return False
    group.rows = len(source)
    group.kinds[node] = kind
    return True


def _join_reduction(group: _Group, node: Node, kind: str) -> bool:
    """Enter a reduction along the rows, whose result is a row value for its readers."""
    form, rows = reduction_form(node)
    if form != "row" or rows == 0:
        return False
    source = squeezed(node.inputs[0].type.shape)
    if kind == "row" and group.domain == source and group.rows == rows:
        group.kinds[node] = "row"
        return True
    # softmax(x) / y: so far the region runs over the rows alone. With the reduction it runs over what is reduced, and
    # its full values become row values.
    whole = group.rows is None or group.rows == len(group.domain)
    if kind == "full" and whole and group.domain == source[:rows]:
        group.kinds = {n: "row" if k == "full" else k for n, k in group.kinds.items()}
        group.domain, group.rows = source, rows
        group.kinds[node] = "row"
        return True
    return False


def _join_producers(graph: Graph, groups: dict[Node, _Group]) -> None:
    """Move regions into the region of a producer: those that end in crossing reductions, since their operand is then
    read while it is in the cache, and those that store fewer bytes than they alone read.
    """
    members: dict[_Group, list[Node]] = {}
    for node in graph.nodes:
        members.setdefault(groups[node], []).append(node)
    consumers, outputs = graph.users(), set(graph.outputs)
    written_back = {graph.outputs[i] for i in graph.aliases}
    order = topological_order(graph, groups)
    for group in order:
        sources = _producers(members[group], groups)
        group.depth = 1 + max((g.depth for g in sources if g is not group), default=0)
    for group in order:
        if not group.fusable or _reads_saved(members[group]):
            continue
        sources = _producers(members[group], groups)
        candidates = [g for g in sources if g is not group and _may_merge(g, group, members[group], groups)]
        if "crossing" not in group.kinds.values():
            here = members[group], groups, consumers, outputs, written_back
            candidates = [g for g in candidates if _saved_bytes(g, group, *here) > 0]
        if not candidates:
            continue
        # The deepest producer runs last. All other producers have run then, and nothing waits longer than it has to.
        target = max(candidates, key=lambda g: g.depth)
        target.rows = group.rows if group.rows is not None else target.rows
        target.kinds.update(group.kinds)
        members[target] += members.pop(group)
        groups.update((member, target) for member in members[target])


def _saved_bytes(
    target: _Group,
    group: _Group,
    members: list[Node],
    groups: dict[Node, _Group],
    consumers: Mapping[Value, list[Node]],
    outputs: set[Value],
    written_back: set[Value],
) -> int:
    """Bytes of `target` that `group` alone reads, less the bytes that `group` stores for others.

    Merged, the first are never stored, and the second are live from the time of `target` on. A value that is written
    over an input of the graph takes no bytes.
    """

    def is_stored(value: Value) -> bool:
        takes_memory = value in outputs and value not in written_back
        return takes_memory or any(groups[r] is not group for r in consumers[value])

    read = dict.fromkeys(v for m in members for v in m.inputs if v.node is not None and groups[v.node] is target)
    unshared = (
        v
        for v in read
        if v not in outputs and all(groups[r] in (group, target) for r in consumers[v])
        if v.node is not None and not v.node.op.is_generated
    )
    return sum(v.type.nbytes for v in unshared) - sum(v.type.nbytes for m in members for v in m.outputs if is_stored(v))


def _producers(members: list[Node], groups: dict[Node, _Group]) -> list[_Group]:
    return list(dict.fromkeys(groups[v.node] for m in members for v in m.inputs if v.node is not None))


def _may_merge(target: _Group, group: _Group, members: list[Node], groups: dict[Node, _Group]) -> bool:
    if not target.fusable or target.domain != group.domain or len(target.kinds) + len(group.kinds) > _MAX_NODES:
        return False
    if target.rows is not None and group.rows is not None and target.rows != group.rows:
        return False
    if not _have_same_tiles([target, group]):
        return False
    for member in members:
        for value in member.inputs:
            if value.node is None:
                continue
            source = groups[value.node]
            # A third producer at least as deep as the target may depend on it. The merged region would be a cycle.
            if source is not group and source is not target and source.depth >= target.depth:
                return False
            # The loops of both must agree on what the value is: an element for each element, or one for each row.
            if source is target and _reads_as(group, member, value) != target.kinds.get(value.node):
                return False
    return True


def _emit(graph: Graph, groups: dict[Node, _Group]) -> Graph:
    """The graph with a `region` node for each group."""
    members: dict[_Group, list[Node]] = {}
    unit_of: dict[Node, _Group | Node] = {}
    for node in graph.nodes:
        group = groups[node]
        # A view of a value from outside the region is a view of memory: it costs nothing there, and its strides are
        # known to the loops that read it.
        inside = group.fusable and not (
            node.op.fusion == "reshaping" and (node.inputs[0].node is None or unit_of[node.inputs[0].node] is not group)
        )
        unit_of[node] = group if inside else node
        if inside:
            members.setdefault(group, []).append(node)
    read_by = {value: {unit_of[r]: None for r in readers} for value, readers in graph.users().items()}
    read_by_nodes = {value for value, units in read_by.items() if any(isinstance(unit, Node) for unit in units)}
    outputs = set(graph.outputs)
    b = Builder()
    mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    for unit in topological_order(graph, unit_of):
        if isinstance(unit, Node):
            copied = b.copy(unit, [mapping[v] for v in unit.inputs])
            mapping.update(zip(unit.outputs, copied.outputs))
            continue

        def leaves(value: Value, unit: _Group = unit) -> bool:
            if value in outputs:
                return True
            if value.node is not None and value.node.op.is_generated:
                return value in read_by_nodes  # each region computes a constant for itself
            return any(other is not unit for other in read_by[value])

        _emit_region(b, unit, members[unit], leaves, mapping)
    return b.graph([mapping[v] for v in graph.outputs], graph.aliases, graph.output_names)


def _emit_region(
    b: Builder, group: _Group, members: list[Node], leaves: Callable[[Value], bool], mapping: dict[Value, Value]
) -> None:
    body = Builder()
    local: dict[Value, Value] = {}
    arguments: list[Value] = []
    results: list[Value] = []

    def argument(value: Value) -> Value:
        if value not in local:
            if value.node is not None and value.node.op.is_generated:
                local[value] = body.copy(value.node, []).output
            else:
                local[value] = body.input(value.type)
                arguments.append(mapping[value])
        return local[value]

    for node in members:
        left = [v for v in node.outputs if leaves(v)]
        if node.op.is_generated and not left:
            continue
        copied = body.copy(node, [argument(v) for v in node.inputs])
        local.update(zip(node.outputs, copied.outputs))
        results += left
    if not results:
        return
    region = b.emit_node(
        OPS["region"],
        *arguments,
        body=body.graph([local[v] for v in results]),
        domain=group.domain,
        rows=-1 if group.rows is None else group.rows,
    )
    known = [n.origin for n in members if n.origin != NOWHERE]
    region.origin = known[-1] if known else members[-1].origin
    mapping.update(zip(results, region.outputs))
