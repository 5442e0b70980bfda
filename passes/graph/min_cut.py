"""Minimum cuts by maximum flows: Dinic's algorithm, 1970.

SciPy has one too. Its import takes a sixth of a second, longer than the plan of a small step.
"""

from __future__ import annotations

from collections.abc import Sequence

Edge = tuple[int, int, int]
"""From node, to node, capacity."""


def sink_side(edges: Sequence[Edge], source: int, sink: int) -> set[int]:
    """The nodes from which the sink can be reached once a maximum flow has filled the edges: of all minimum cuts the
    one nearest to the sink.
    """
    found = {sink}
    for part in _parts(edges, source, sink):
        found |= _Network(part).filled(source, sink)
    return found


def _parts(edges: Sequence[Edge], source: int, sink: int) -> list[list[Edge]]:
    """The edges by connected components, once source and sink are removed: each part has a maximum flow of its own."""
    above: dict[int, int] = {}

    def top(node: int) -> int:
        while (parent := above.setdefault(node, node)) != node:
            above[node] = above[parent]
            node = parent
        return node

    for a, b, _ in edges:
        if a != source and b != sink:
            above[top(a)] = top(b)
    parts: dict[int, list[Edge]] = {}
    for edge in edges:
        parts.setdefault(top(edge[1] if edge[0] == source else edge[0]), []).append(edge)
    return list(parts.values())


class _Network:
    """Edges and their residual capacities; the reverse of edge `e` is `e ^ 1`."""

    def __init__(self, edges: Sequence[Edge]) -> None:
        self.heads: list[int] = []
        self.left: list[int] = []
        self.out: dict[int, list[int]] = {}
        for a, b, capacity in edges:
            for node in (a, b):
                self.out.setdefault(node, []).append(len(self.heads))
                self.heads.append(b if node == a else a)
                self.left.append(capacity if node == a else 0)

    def filled(self, source: int, sink: int) -> set[int]:
        """The nodes from which the sink can be reached in the residual network of a maximum flow."""
        if source in self.out and sink in self.out:
            while sink in (levels := self.levels(source, sink)):
                self.fill(levels, source, sink)
        reached = {sink} & self.out.keys()
        stack = list(reached)
        while stack:
            for edge in self.out[stack.pop()]:
                before = self.heads[edge]
                if self.left[edge ^ 1] and before not in reached:
                    reached.add(before)
                    stack.append(before)
        return reached

    def levels(self, source: int, sink: int) -> dict[int, int]:
        """The distance of nodes from the source in the residual network, as far as the sink."""
        levels = {source: 0}
        row = [source]
        while row and sink not in levels:
            following: list[int] = []
            for node in row:
                for edge in self.out[node]:
                    head = self.heads[edge]
                    if self.left[edge] and head not in levels:
                        levels[head] = levels[node] + 1
                        following.append(head)
            row = following
        return levels

    def fill(self, levels: dict[int, int], source: int, sink: int) -> None:
        """Add a blocking flow: shortest paths, until none has residual capacity."""
        heads, left = self.heads, self.left
        tried = dict.fromkeys(levels, 0)  # edges of each node that lead nowhere
        path: list[int] = []
        node = source
        while True:
            if node == sink:
                most = min(left[edge] for edge in path)
                for edge in path:
                    left[edge] -= most
                    left[edge ^ 1] += most
                full = next(i for i, edge in enumerate(path) if not left[edge])
                node = heads[path[full] ^ 1]
                del path[full:]
            edges, i = self.out[node], tried[node]
            while i < len(edges) and not (left[edges[i]] and levels.get(heads[edges[i]]) == levels[node] + 1):
                i += 1
            tried[node] = i
            if i < len(edges):
                path.append(edges[i])
                node = heads[edges[i]]
            elif path:
                node = heads[path.pop() ^ 1]
                tried[node] += 1
            else:
                return
