"""Gradient accumulation: the whole step in parts of the batch, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Graph, Node, Value
from ..graph.rewrite import Pass
from ..target import DEFAULT_TARGET, Target
from .batch import is_cheap, is_narrow, merged_sums, own_tile
from .tiled_axis import Axis, LoopBody, Untileable, all_operands, follow_all
from .tiled_loop import TilePhase, with_phases


@dataclass(frozen=True)
class Accumulate(Pass):
    """forward and backward of the batch -> scan over `parts` parts of the batch, sums as carries; the update

    Every input that no output overwrites is cut along its first axis. Values and gradients are those of the whole
    batch. The graph falls into phases, each a loop. A loop computes what is batched, and adds up the sums over the
    batch. What is batched and needs such a sum, as the gradient of a ratio of two sums does, comes in the next loop,
    which recomputes what it reads of the loops before, part by part. What is neither batched nor such a sum, as a
    matrix of similarities between all examples, is computed whole between the loops. Where `TileBatch` has tiles no
    larger than a part, the graph stays as it is: it holds no more than was asked for.

    Known elsewhere as gradient accumulation, there by hand and for losses that are means.
    """

    parts: int = 1
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        written = set(graph.aliases.values())
        given = [v for i, v in enumerate(graph.inputs) if i not in written and v.type.ndim and v.type.size]
        batch = {v: Axis(0, v.type.shape[0] // self.parts) for v in given if v.type.shape[0] % self.parts == 0}
        if self.parts < 2 or not graph.aliases or not batch:
            return graph
        own = own_tile(graph, self.target)
        if own is not None and own[0] * self.parts <= own[1]:
            return graph
        phases = _phases(graph, batch, self.parts)
        if not phases.crossing and not phases.last:
            return graph
        cut = (self.parts, 1)
        return with_phases(graph, phases.axes, _tile_phases(phases), cut, lambda v: not phases.phase.get(v, 0))


@dataclass
class _Phases:
    """Which nodes run in loops over the parts of the batch, and in which.

    `phase` says of a batched value the first loop that makes it, and of any other one before which loop it is there;
    0 is left out.
    """

    graph: Graph
    parts: int
    axes: dict[Value, Axis]
    before: set[Node]
    """Cheap nodes that run for the whole batch before the first loop."""
    phase: dict[Value, int] = field(default_factory=dict[Value, int])
    looped: set[Node] = field(default_factory=set[Node])
    crossing: set[Node] = field(default_factory=set[Node])
    whole: set[Node] = field(default_factory=set[Node])

    @property
    def last(self) -> int:
        """The number of the last phase."""
        return max(self.phase.values(), default=0)

    def of(self, values: Sequence[Value]) -> int:
        """The phase of what reads `values`."""
        return max((self.phase.get(v, 0) for v in values), default=0)


def _phases(graph: Graph, batch: Mapping[Value, Axis], parts: int) -> _Phases:
    before: set[Node] = set()
    while True:
        phases = _Phases(graph, parts, dict(batch), before)
        early = _sort_nodes(phases)
        if early <= before:
            return phases
        before = before | early


def _sort_nodes(phases: _Phases) -> set[Node]:
    """Fill in `phases`. Returns nodes of cheap sums that something batched needs: to run before the first loop they
    save another one.
    """
    axes, phase = phases.axes, phases.phase
    early: set[Node] = set()
    for node in phases.graph.nodes:
        batched = [v for v in node.inputs if v in axes]
        now = phases.of(node.inputs)
        if not batched or node in phases.before:
            phases.whole.add(node)
        if batched:
            if now > phases.of(batched):
                early |= _cheap_ancestors(phases, [v for v in node.inputs if v not in axes])
            kind = _place(node, axes, phases.parts)
            if isinstance(kind, Mapping):
                axes.update(kind)
                phases.looped.add(node)
            elif node not in phases.before:
                in_loop = kind == "sum" and not _beside_larger(node, phases)
                (phases.crossing if in_loop else phases.whole).add(node)
                now = now + 1 if in_loop else max(now, phases.of(batched) + 1)
        if now:
            phase.update(dict.fromkeys(node.outputs, now))
    return early


def _place(node: Node, axes: Mapping[Value, Axis], parts: int) -> Mapping[Value, Axis] | str:
    """Where the axis is in the outputs of a node that reads batched values; else whether it is a sum over the axis that
    parts add up to, or reads all of the axis at once.
    """
    known = {v: axes[v] for v in node.inputs if v in axes}
    try:
        # What was computed whole may be an operand beside a batched one.
        places = follow_all(node, all_operands(node, known), parts)
        if places is None:
            return "whole" if is_narrow(node) else "sum"
        if node.op.is_scan:
            # In the body of a loop there are tiles of its own operands alone: none of what stands whole beside them.
            LoopBody({**axes, **places}, parts, 1, lambda value: True).compute(node)
    except Untileable:
        return "whole"
    return places


def _beside_larger(node: Node, phases: _Phases) -> bool:
    """Whether a sum over the axis reads what was computed whole, and nothing batched that is larger: computed whole too
    it saves a loop.
    """
    late = sum(v.type.nbytes for v in node.inputs if v not in phases.axes and phases.phase.get(v, 0))
    return late >= sum(v.type.nbytes for v in node.inputs if v in phases.axes)


def _cheap_ancestors(phases: _Phases, values: Sequence[Value]) -> set[Node]:
    """The nodes on the way from the batch to sums over it among `values`, and to what is made of such, where all of
    them are few and cheap; else none.
    """
    found: set[Node] = set()
    stack = [v.node for v in values if v.node is not None and phases.phase.get(v, 0)]
    while stack:
        node = stack.pop()
        if node in found or (node in phases.whole and not phases.of(node.outputs)):
            continue
        if not is_cheap(node) or len(found) > 64:
            return set()
        if node in phases.looped or node in phases.crossing or node in phases.whole:
            found.add(node)
            stack += [v.node for v in node.inputs if v.node is not None]
    return found


def _tile_phases(phases: _Phases) -> list[TilePhase]:
    """What runs whole before each loop, and what runs in it."""
    graph = phases.graph
    totals = merged_sums(graph, phases.crossing, phases.whole, lambda v: phases.phase.get(v, 0))
    found = [TilePhase([]) for _ in range(phases.last + 1)]
    there = {v for node in phases.before for v in node.outputs}
    read = {v for node in phases.whole for v in node.inputs} | set(graph.outputs)
    for node in graph.nodes:
        if node in phases.whole:
            found[0 if node in phases.before else phases.of(node.outputs)].whole.append(node)
        elif node in phases.crossing:
            found[phases.of(node.outputs) - 1].sums[node] = totals[node]
        if node in phases.looped:
            for value in node.outputs:
                if value in read and value not in there:
                    found[phases.phase.get(value, 0)].leaving.append(value)
    left: set[Value] = set()
    for phase in found:
        phase.nodes = _needed(phases, phase, left)
        left.update(phase.leaving)
    return found


def _needed(phases: _Phases, phase: TilePhase, left: set[Value]) -> set[Node]:
    """The batched nodes of a loop; what has left an earlier one is read as it is."""
    found: set[Node] = set()
    stack = [v for node in phase.sums for v in node.inputs] + phase.leaving
    while stack:
        value = stack.pop()
        node = value.node
        if node is not None and node in phases.looped and node not in found and value not in left:
            found.add(node)
            stack += node.inputs
    return found
