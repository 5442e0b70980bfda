"""Topological order of groups of nodes."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TypeVar

from ...ir import Graph, Node, Value

_Unit = TypeVar("_Unit")


def topological_order(
    graph: Graph, unit_of: Mapping[Node, _Unit], also: Mapping[_Unit, Sequence[Value]] | None = None
) -> list[_Unit]:
    """The groups, each behind the groups that it reads, and those of the values that `also` lists for it.

    Of several orders the one nearest to the order of their last nodes. Raises `ValueError` where groups form a cycle.
    """
    waiting: dict[_Unit, int] = {}
    rank: dict[_Unit, int] = {}
    readers: dict[_Unit, dict[_Unit, None]] = {}
    for position, node in enumerate(graph.nodes):
        unit = unit_of[node]
        rank[unit] = position
        waiting.setdefault(unit, 0)
        _await(unit, node.inputs, unit_of, waiting, readers)
    for unit, values in (also or {}).items():
        _await(unit, values, unit_of, waiting, readers)
    ready = [(rank[unit], unit) for unit, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order: list[_Unit] = []
    while ready:
        _, unit = heapq.heappop(ready)
        order.append(unit)
        for reader in readers.get(unit, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (rank[reader], reader))
    if len(order) < len(waiting):
        raise ValueError("units form a cycle")
    return order


def _await(
    unit: _Unit,
    values: Sequence[Value],
    unit_of: Mapping[Node, _Unit],
    waiting: dict[_Unit, int],
    readers: dict[_Unit, dict[_Unit, None]],
) -> None:
    for value in values:
        if value.node is not None:
            source = unit_of[value.node]
            into = readers.setdefault(source, {})
            if source is not unit and unit not in into:
                into[unit] = None
                waiting[unit] += 1
