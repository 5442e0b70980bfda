"""What bounds a planned step, by the nodes of its graph: the critical path, and what the peak is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..engine.report.schema import MemoryReport
from ..ir import Node
from ..passes.memory.plan import Plan


@dataclass(frozen=True)
class Bounds:
    """The nodes on the critical path, and for others the bytes that they make without which the peak would be lower."""

    critical: frozenset[Node] = frozenset()
    peak: Mapping[Node, int] = field(default_factory=dict[Node, int])


NO_BOUNDS = Bounds()
"""Of a graph without a plan."""


def bounds_of(report: MemoryReport) -> Bounds:
    """The bounds of a report that has a plan. What is made in a loop counts for the loop too."""
    assert report.plan is not None
    nodes = list(_nodes(report.plan))
    peak: dict[Node, int] = {}
    for removal in report.removals:
        for i in removal.values:
            value = report.values[i]
            number: int | None = value.made_by
            while number is not None:
                peak[nodes[number]] = peak.get(nodes[number], 0) + value.bytes
                loop = report.units[number].loop
                number = None if loop is None else report.loops[loop].unit
    return Bounds(frozenset(nodes[i] for i in report.critical_path.units), peak)


def _nodes(plan: Plan) -> Iterator[Node]:
    """The nodes that the units of a report are, in its order: after a loop those of its body."""
    for phase in plan.phases:
        for node in phase:
            yield node
            for body in plan.bodies.get(node, ()):
                yield from _nodes(body)
