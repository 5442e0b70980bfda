"""The order of units in which messages between ranks travel beside them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...ir import Graph, Node, Value
from ...ir.ops import collectives
from ..graph.rewrite import Pass
from ..graph.views import resolve_views
from ..ranks.shard_gathers import begins_gather, copies_of_inputs
from .schedule import extra_dependencies

_BEGINNING = (collectives.start_gather, collectives.start_exchange, collectives.start_swap)


@dataclass(frozen=True)
class OverlapMessages(Pass):
    """A scheduled graph -> messages begin as soon as what they send is there, and what waits for them comes later

    What needs a message waits until so many others have begun behind it. Meanwhile the backward of other layers runs.
    More of them would hold more bytes. A parameter whose shards are gathered is asked for when the one before has come:
    one layer ahead of its reader.

    Known elsewhere as communication overlap, and prefetching.
    """

    in_bodies: ClassVar[bool] = False
    under_way: int = 2

    def __call__(self, graph: Graph) -> Graph:
        if not any(node.op in _BEGINNING for node in graph.nodes):
            return graph
        order = _Order(graph, self.under_way).run()
        return Graph(graph.inputs, order, graph.outputs, graph.aliases, graph.output_names)


class _Order:
    def __init__(self, graph: Graph, under_way: int) -> None:
        self.graph, self.most = graph, under_way
        self.readers: Mapping[Value, Sequence[Node]] = graph.users()
        extra = extra_dependencies(graph, resolve_views(graph.inputs, graph.nodes))
        self.before = {n: [v.node for v in n.inputs if v.node is not None] + extra.get(n, []) for n in graph.nodes}
        self.behind: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
        for node, sources in self.before.items():
            for source in dict.fromkeys(sources):
                self.behind[source].append(node)
        inputs = set(graph.inputs)
        self.gathers = deque(n for n in graph.nodes if begins_gather(n, inputs))
        self.copies = {gather: copies_of_inputs(gather.inputs[0], inputs) or [] for gather in self.gathers}
        """What a gather of inputs copies to a bucket first."""
        self.of_input = {node for gather in self.gathers for node in (gather, *self.copies[gather])}
        self.place = {node: i for i, node in enumerate(graph.nodes)}
        self.waiting = {node: len(set(sources)) for node, sources in self.before.items()}
        self.ready = [self.place[n] for n in graph.nodes if not self.waiting[n] and n not in self.of_input]
        self.order: list[Node] = []
        self.done: set[Node] = set()
        self.under_way: deque[Node] = deque()
        """What has begun, and is not waited for yet: the oldest first."""
        self.urgent: set[Node] = set()
        self.early: dict[Node, bool] = {}
        self.held: dict[Node, Node] = {}
        """What waits for it, and could run."""

    def run(self) -> list[Node]:
        heapq.heapify(self.ready)
        self._prefetch()
        while len(self.order) < len(self.graph.nodes):
            if self.ready:
                self._emit(self.graph.nodes[heapq.heappop(self.ready) % len(self.graph.nodes)])
            elif self.under_way:
                self._release()
            else:
                self._prefetch()
        return self.order

    def _release(self) -> None:
        """Let the oldest of what has begun be waited for."""
        waits = self.held.pop(self.under_way.popleft(), None)
        if waits is not None:
            heapq.heappush(self.ready, self._first(waits))

    def _first(self, node: Node) -> int:
        """The place of a node that goes before all others, with all that follows on it: it frees what was received."""
        return self.place[node] - len(self.graph.nodes)

    def _emit(self, node: Node) -> None:
        if node in self.done:
            return
        self.order.append(node)
        self.done.add(node)
        if node.op is collectives.finish and node.inputs[0].node not in self.of_input:
            self.urgent.add(node)
        if node.op in _BEGINNING and node not in self.of_input:
            self.under_way.append(node)
        for reader in dict.fromkeys(self.behind[node]):
            self.waiting[reader] -= 1
            if node in self.urgent:
                self.urgent.add(reader)
            if not self.waiting[reader] and reader not in self.of_input:
                self._now_ready(reader)
        if len(self.under_way) > self.most:
            self._release()
        if node.op is collectives.finish and node.inputs[0].node in self.of_input:
            self._prefetch()

    def _now_ready(self, node: Node) -> None:
        begun = node.inputs[0].node if node.op is collectives.finish else None
        if begun is not None and begun in self.under_way:
            self.held[begun] = node
        elif self._is_early(node):
            self._emit(node)
        else:
            # What waits for a message that was released before it became ready.
            first = node in self.urgent or (begun in self.done and begun not in self.of_input)
            heapq.heappush(self.ready, self._first(node) if first else self.place[node])

    def _prefetch(self) -> None:
        """Ask for the next parameter."""
        if self.gathers:
            gather = self.gathers.popleft()
            for node in (*self.copies[gather], gather):
                self._emit(node)

    def _is_early(self, node: Node) -> bool:
        """Whether a node leads to a message and costs next to nothing itself."""
        if node not in self.early:
            moves = node.op.is_view or node.op.only_moves
            readers = [reader for value in node.outputs for reader in self.readers[value]] if moves else []
            self.early[node] = node.op in _BEGINNING or any(map(self._is_early, readers))
        return self.early[node]
