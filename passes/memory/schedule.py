"""The order in which units run, for few live bytes, and the phases of units that run concurrently."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...ir import Graph, Node, Value
from ..graph.casts import only_widens
from ..graph.rewrite import Pass
from ..graph.views import View, resolve_views
from ..kernels.accumulators import accumulator_chain, reads_of_bases
from ..target import DEFAULT_TARGET, Target
from .late_updates import updates_last
from .live_bytes import most_bytes, read_bases, steps

_NUMBER_BYTES = 16


@dataclass(frozen=True)
class Schedule(Pass):
    """The nodes of a fused graph -> the same nodes in an order with few live bytes.

    Known elsewhere as memory-minimizing list scheduling (XLA's memory scheduler). Of two greedy orders the one with
    fewer live bytes is taken. The first keeps the order of the graph, but a node that frees more bytes than it needs
    runs as soon as it is ready: a parameter is updated when its gradient is whole. The second, the *frugal* one, always
    runs the node that adds the fewest bytes: the gradient to a weight before that to an input.

    A node that overwrites an input (see `Graph.aliases`) runs after all other readers of that input. It also runs after
    every node that may trap, so that a step that traps has changed nothing. On a GPU such nodes come last, as far as
    that takes no bytes.
    """

    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        views = resolve_views(graph.inputs, graph.nodes)
        extra = extra_dependencies(graph, views)
        orders = [_order(graph, views, extra, frugal) for frugal in (False, True)]
        best = min(orders, key=lambda order: most_bytes(steps(graph, views, order), {}))
        if self.target.is_gpu:
            best = updates_last(graph, views, best)
        return Graph(graph.inputs, late_casts(best, views), graph.outputs, graph.aliases, graph.output_names)


def late_casts(order: Sequence[Node], views: Mapping[Value, View]) -> list[Node]:
    """The order with each unit that only widens bfloat16 just before what reads it first, which takes fewer bytes."""
    result: list[Node] = []
    waiting: dict[Value, Node] = {}
    for node in order:
        # What an input of the graph holds may be written over before the reader runs.
        if only_widens(node) and all(views[v].base.node is not None for v in node.inputs):
            waiting[node.output] = node
            continue
        read = [v for v in dict.fromkeys(node.inputs) if v in waiting]
        result += [*(waiting.pop(v) for v in read), node]
    return [*result, *waiting.values()]


def _writers(graph: Graph, views: Mapping[Value, View]) -> dict[Value, Node]:
    """For each input that an output overwrites, the first node that does so: the one that makes this output, unless
    others before it have added to the same sum.
    """
    reads = reads_of_bases(graph.nodes, graph.outputs, views)
    found: dict[Value, Node] = {}
    for i, j in graph.aliases.items():
        value = (graph.outputs[i], *accumulator_chain(graph.outputs[i], graph.inputs[j], reads))[-1]
        if value.node is not None:
            found[graph.inputs[j]] = value.node
    return found


def _traps(graph: Graph) -> list[Node]:
    """The nodes that may trap, without those that read the very indices that another one has checked."""
    found: list[Node] = []
    checked: set[tuple[Value, int]] = set()
    for node in graph.nodes:
        if not node.can_trap:
            continue
        if node.op.family == "indexing":
            axis: int = node.attrs["axis"]
            indices = (node.inputs[1], node.inputs[0].type.shape[axis])
            if indices in checked:
                continue
            checked.add(indices)
        found.append(node)
    return found


def _wanted_before(
    graph: Graph, views: Mapping[Value, View], writers: Mapping[Value, Node]
) -> dict[Node, dict[Node, None]]:
    """For each writer, what should have run before it: other readers of what it overwrites, and all that may trap."""
    traps = dict.fromkeys(_traps(graph)) if writers else {}
    before = {writer: dict(traps) for writer in writers.values()}
    for node in graph.nodes:
        if not node.op.is_view:
            for value in node.inputs:
                writer = writers.get(views[value].base)
                if writer is not None and writer is not node:
                    before[writer][node] = None
    return before


@dataclass(frozen=True)
class Overwriting:
    """The nodes that overwrite inputs of a graph, and what should have run before them."""

    graph: Graph
    views: Mapping[Value, View]
    writers: Mapping[Value, Node]
    """For each input that is overwritten, the first node that does so."""
    before: Mapping[Node, Mapping[Node, None]]
    """For each of these nodes, what should have run before it."""

    @cached_property
    def late(self) -> set[Value]:
        """Inputs that cannot be overwritten by the node that makes their new content, which is kept apart until the
        end.

        They are still read when their new content is known, or two of them exchange their contents, or a node that may
        trap needs the new content.
        """
        cyclic = _between_cycles(self.graph, self.before)
        return {value for value, writer in self.writers.items() if writer in cyclic}

    @property
    def wanted_later(self) -> set[Value]:
        """Inputs that cannot be overwritten in the order that the graph has, whoever chose it: after the node that
        makes their new content comes one that should run before.
        """
        place = {node: i for i, node in enumerate(self.graph.nodes)}
        last = {w: max(map(place.__getitem__, b), default=-1) for w, b in self.before.items()}
        return {value for value, writer in self.writers.items() if last[writer] > place[writer]}

    @property
    def extra_dependencies(self) -> dict[Node, list[Node]]:
        """For each node that overwrites an input, the nodes that must have run before it, besides those it reads."""
        if not self.late:
            return {writer: list(nodes) for writer, nodes in self.before.items()}
        left = {value: node for value, node in self.writers.items() if value not in self.late}
        return {writer: list(nodes) for writer, nodes in _wanted_before(self.graph, self.views, left).items()}


def overwriting(graph: Graph, views: Mapping[Value, View]) -> Overwriting:
    """The nodes that overwrite inputs of `graph`."""
    writers = _writers(graph, views)
    return Overwriting(graph, views, writers, _wanted_before(graph, views, writers))


def extra_dependencies(graph: Graph, views: Mapping[Value, View]) -> dict[Node, list[Node]]:
    """For each node that overwrites an input, the nodes that must have run before it, besides those it reads."""
    return overwriting(graph, views).extra_dependencies


def _between_cycles(graph: Graph, before: Mapping[Node, Mapping[Node, None]]) -> set[Node]:
    """The nodes on cycles through what must run before, and on ways from one cycle to another; without them there is
    none.
    """
    sources: dict[Node, list[Node]] = {}
    readers: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for node in graph.nodes:
        sources[node] = [v.node for v in node.inputs if v.node is not None]
        sources[node] += before.get(node, ())
        for source in sources[node]:
            readers[source].append(node)
    left = dict.fromkeys(graph.nodes)
    for into, out in ((sources, readers), (readers, sources)):
        waiting = {node: sum(other in left for other in into[node]) for node in left}
        free = [node for node, count in waiting.items() if count == 0]
        while free:
            node = free.pop()
            del left[node]
            for other in out[node]:
                if other in left:
                    waiting[other] -= 1
                    if waiting[other] == 0:
                        free.append(other)
    return set(left)


def _order(graph: Graph, views: Mapping[Value, View], extra: Mapping[Node, Sequence[Node]], frugal: bool) -> list[Node]:
    """An order of the nodes in which `extra` run before some: of those that are ready and win no bytes, the first of
    the graph, or the most `frugal`.
    """
    readers: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    waiting: dict[Node, int] = {}
    reading: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        sources = dict.fromkeys(v.node for v in node.inputs if v.node is not None)
        sources.update(dict.fromkeys(extra.get(node, ())))
        waiting[node] = len(sources)
        for source in sources:
            readers[source].append(node)
        for base in read_bases(node, views):
            reading.setdefault(base, []).append(node)
    uses = {base: len(nodes) for base, nodes in reading.items()}
    for value in graph.outputs:
        uses[views[value].base] = uses.get(views[value].base, 0) + 1
    rank = {node: i for i, node in enumerate(graph.nodes)}
    overwriting = {graph.outputs[i] for i in graph.aliases}

    def gain(node: Node) -> int:
        """Bytes freed less bytes needed by running `node` now."""
        freed = sum(b.type.nbytes for b in read_bases(node, views) if b.node is not None and uses[b] == 1)
        return freed - made(node)

    def made(node: Node) -> int:
        return sum(v.type.nbytes for v in node.outputs if not node.op.is_view and v not in overwriting)

    def priority(node: Node) -> tuple[bool, int, int, int]:
        """Views and numbers first: they cost nothing, and what waits for them may free much."""
        costly = not node.op.is_view and any(v.type.nbytes > _NUMBER_BYTES for v in node.outputs)
        if not (frugal and costly):
            return costly, 0, 0, rank[node]
        return costly, -gain(node), made(node), rank[node]

    ready = [priority(node) for node in graph.nodes if waiting[node] == 0]
    heapq.heapify(ready)
    frees: list[tuple[int, int]] = []
    done: set[Node] = set()
    order: list[Node] = []
    # Two heaps: `ready` by priority, and `frees`, the ready nodes that win bytes, which go first. An entry may be old:
    # `gain` changes when another reader is done, so it is asked again when a node is taken.
    while ready or frees:
        node = None
        while frees:
            _, position = heapq.heappop(frees)
            candidate = graph.nodes[position]
            if candidate not in done and gain(candidate) > 0:
                node = candidate
                break
        if node is None:
            if not ready:
                continue
            node = graph.nodes[heapq.heappop(ready)[-1]]
            if node in done:
                continue
        done.add(node)
        order.append(node)
        touched: list[Node] = []
        for base in read_bases(node, views):
            uses[base] -= 1
            if uses[base] == 1 and frugal:
                # Its last reader adds fewer bytes than it was ranked by.
                touched += (n for n in reading[base] if n not in done and waiting[n] == 0)
        for reader in readers[node]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                touched.append(reader)
        for reader in touched:
            heapq.heappush(ready, priority(reader))
            if (bytes_won := gain(reader)) > 0:
                heapq.heappush(frees, (-bytes_won, rank[reader]))
    assert len(order) == len(graph.nodes), "the graph has a cycle through what it overwrites"
    return order


def phases(
    graph: Graph,
    views: Mapping[Value, View],
    nodes: Sequence[Node],
    scratch: Mapping[Node, int],
    extra: Mapping[Node, Sequence[Node]],
    elsewhere: Collection[Value] = (),
) -> list[list[Node]]:
    """Runs of neighbouring units that do not depend on each other, which workers run concurrently. A barrier stands
    only between two phases.

    A phase takes no more bytes, `scratch` included, than its units take at most one after the other. Loops are the
    exception: they are concurrent wherever they can be, since each alone keeps few threads busy. Some units run after
    `extra` others that they do not read. What lies `elsewhere` takes no bytes.
    """
    found = steps(graph, views, nodes, elsewhere)
    most = most_bytes(found, scratch)
    phase_of: dict[Node, int] = {}
    result: list[list[Node]] = []
    live = held = 0
    read: set[Value] = set()
    for step in found:
        node = step.node
        bases = read_bases(node, views)
        sources = [base.node for base in bases]
        latest = max((phase_of[s] for s in (*sources, *extra.get(node, ())) if s in phase_of), default=-1)
        needed = step.made + scratch.get(node, 0)
        # What others of a phase read cannot be written over, since units of a phase run in any order.
        concurrent = needed + sum(v.type.nbytes for v in step.over if v in read)
        loops = bool(result) and node.op.is_scan and result[-1][-1].op.is_scan
        # What comes back from host memory begins a phase, so that its bytes are not taken before they have to be.
        returns = node.op.moves_to == "device" and bool(result) and result[-1][-1].op.moves_to is None
        if latest == len(result) - 1 or not result or returns or (held + concurrent > most and not loops):
            result.append([])
            held, concurrent, read = live, needed, set[Value]()
        result[-1].append(node)
        phase_of[node] = len(result) - 1
        held += concurrent
        live += step.made - step.freed
        read.update(bases)
    return result
