"""From a plan to its launches: units in their phases, loops with the launches of their bodies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from ...ir import Node
from ...passes.graph.scan import Scan
from ...passes.memory.plan import Plan
from .data_movement import copy_elements
from .launch import Launch, Pointer, Traps
from .unit import lower_unit

Stages = list[list[Launch]]
"""Launches of a unit: those of a stage may run concurrently, each stage waits for the one before."""


@dataclass
class Loop:
    """A `scan`: stages that run before it, and the launches of its body, for each iteration anew."""

    node: Node
    before: Stages
    body: LaunchList

    @property
    def iterations(self) -> range:
        """The iterations in the order in which they run."""
        scan = Scan(self.node)
        return range(scan.length)[:: -1 if scan.reverse else 1]


@dataclass
class LaunchList:
    """A plan as phases of units, which may run concurrently. The bodies of loops share the `traps`."""

    plan: Plan
    traps: Traps
    phases: list[list[Stages | Loop]] = field(default_factory=list["list[Stages | Loop]"])

    def sources(self) -> Iterator[str]:
        """The sources of all kernels, bodies included."""
        return (source for source, _ in self.uses())

    def uses(self) -> Iterator[tuple[str, Node | None]]:
        """The sources of the kernels of each unit, bodies included, and the unit: none copies to where inputs are."""
        for phase, nodes in zip_longest(self.phases, self.plan.phases, fillvalue=()):
            for unit, node in zip_longest(phase, nodes):
                stages = unit.before if isinstance(unit, Loop) else unit
                for call in (call for stage in stages for launch in stage for call in launch.calls):
                    yield from ((source, node) for source in call.sources())
                if isinstance(unit, Loop):
                    yield from unit.body.uses()

    def plans(self) -> Iterator[Plan]:
        """The plan and those of all bodies, in the order in which their constants are numbered."""
        yield self.plan
        for phase in self.phases:
            for unit in phase:
                if isinstance(unit, Loop):
                    yield from unit.body.plans()


def lower(plan: Plan, traps: Traps | None = None) -> LaunchList:
    """The launches of all units of a plan."""
    traps = Traps() if traps is None else traps
    phases = [[_unit(node, plan, traps) for node in phase] for phase in plan.phases]
    if plan.copied_back:
        phases.append(
            [
                [[copy_elements(Pointer(value), Pointer(plan.graph.inputs[j]), value.type)]]
                for value, j in plan.copied_back.items()
            ]
        )
    return LaunchList(plan, traps, phases)


def _unit(node: Node, plan: Plan, traps: Traps) -> Stages | Loop:
    if not node.op.is_scan:
        stages: Stages = []
        for launch in lower_unit(node, plan, traps):
            if launch.concurrent:
                stages[-1].append(launch)
            else:
                stages.append([launch])
        return stages
    # A carry begins as what it is given, in the place where it ends.
    scan, given = Scan(node), plan.in_place.get(node, {})
    begin = [
        copy_elements(Pointer.to(plan.views[start]), Pointer(end), end.type)
        for start, end in zip(scan.carries, scan.last_carries)
        if end.index not in given and end.type.size
    ]
    return Loop(node, [begin], lower(plan.bodies[node], traps))
